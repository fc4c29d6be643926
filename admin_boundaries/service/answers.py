"""What a service answers: where points lie, which units have a name, what is known of a unit, and what changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from admin_boundaries import edition, sql, what_changed
from admin_boundaries.explorer import details
from admin_boundaries.locate import COLUMNS, as_text
from admin_boundaries.marts import first_line, relation
from admin_boundaries.service import features
from admin_boundaries.service.marts import Asked
from ingest.errors import NotThere, QueryFailed, UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

MOST_POINTS, MOST_NAMES, MOST_UNITS, MOST_ROWS, MOST_CHANGES = 10_000, 100, 100, 1000, 500
MOST_BYTES = 1_000_000  # of the rows of a statement of somebody else's
MOST_CONSIDERED = 1000  # names, among which are those of a country
READS = ("select", "with", "from", "values", "table", "explain", "describe", "show", "summarize", "(select")

# What `admin_boundaries.explorer.details` calls otherwise than the marts do.
COLUMN_OF = {
    "level": "admin_level",
    "area": "area_km2",
    "children": "child_count",
    "local": "local_names",
    "variants": "name_variants",
}
ROWS_OF = {
    "chain": ("gid", "name", "admin_level"),
    "zones": ("tzid", "area_share"),
    "codes": ("scheme", "code"),
    "neighbours": ("gid", "name"),
    "faults": ("severity", "anomaly_type", "detail", "action"),
}


def about(asked: Asked) -> dict[str, Any]:
    """Return what every answer says of the marts that it is from."""
    build = asked.build
    return {
        "dataset": asked.warehouse.dataset,
        "releases": dict(build.releases),
        "build": build.id,
        "built_at": build.built_at and as_text(build.built_at),
        "stale": list(build.stale),
        **asked.credit,
    }


def locate(
    asked: Asked, lon: float, lat: float, *, at: datetime | None = None, metres: float | None = None
) -> dict[str, Any]:
    """Return the units and time zones at a point: from the index where it has been made, else from the marts.

    Parameters
    ----------
    asked : Asked
        The marts.
    lon, lat : float
        Degrees on WGS 84.
    at : datetime, optional
        When to say what clocks show there; without an offset, it is what a clock there shows.
    metres : float, optional
        Within which to look for the nearest unit, of a point in none.

    Returns
    -------
    dict
        `admin_boundaries.locate.COLUMNS`; ``where`` in words if the point is in no unit; ``clock`` and ``nearest`` if
        they were asked for.
    """
    answer = dict(zip(COLUMNS, (asked.locator or asked.warehouse).locate(lon, lat), strict=True))
    if answer["status"] == "no unit":
        answer["where"] = edition.no_unit(asked.warehouse.editions(), asked.warehouse.dataset)
    if at is not None:
        from admin_boundaries.timezones.local_time import LocalTimes

        clocks = asked.once("clocks", lambda: LocalTimes(asked.warehouse))
        shown = asdict(clocks.at(answer["tzid"], at))
        answer["clock"] = {
            name: as_text(value) if isinstance(value, datetime) else value for name, value in shown.items()
        }
    if metres is not None:
        answer["nearest"] = None
        if answer["status"] == "no unit":
            from admin_boundaries.locate.nearby import nearest_unit

            found = nearest_unit(asked.warehouse, lon, lat, metres)
            answer["nearest"] = asdict(found) if found else None
    return answer


def locate_points(asked: Asked, points: Sequence[tuple[float, float]]) -> list[dict[str, Any]]:
    """Return the units and time zones at many points, in their order; see `locate`."""
    import numpy as np

    if not points:
        return []
    lons, lats = np.array(points, np.float64).T
    if locator := asked.locator:
        rows = locator.rows(locator.find(lons, lats))
    else:
        rows = asked.warehouse.locate_points(np.ascontiguousarray(lons), np.ascontiguousarray(lats))
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def find(asked: Asked, name: str, limit: int, country: str | None = None) -> dict[str, Any]:
    """Return the units that have a name, or one that begins so.

    Parameters
    ----------
    asked : Asked
        The marts.
    name : str
        A name in any known spelling, or its beginning.
    limit : int
        How many units to return.
    country : str, optional
        Key of the country that they are to be in.

    Returns
    -------
    dict
        ``found``, and ``more``: whether there are others.

    Raises
    ------
    UsageError
        When there is no such country.
    """
    wanted = limit + 1 if country is None else MOST_CONSIDERED
    names = asked.warehouse.find(name, wanted)
    is_all = len(names) < wanted
    if country is not None:
        known = _countries(asked)
        if country not in known:
            raise UsageError(f"There is no country {country!r} in these marts.", did_you_mean(country, known))
        own = _of_country(asked, [each.gid for each in names], country)
        names = [each for each in names if each.gid in own]
    found = [
        {
            "gid": each.gid,
            "admin_level": each.admin_level,
            "name": each.name,
            "name_kind": each.name_kind,
            "type_english": each.type_english,
            "path": each.path,
            "is_exact": each.is_exact,
        }
        for each in names[:limit]
    ]
    return {"found": found, "more": len(names) > limit or not is_all}


def _countries(asked: Asked) -> frozenset[str]:
    def read() -> frozenset[str]:
        units = relation(asked.known["admin_units"])
        query = f"select distinct country_gid from {units} where country_gid is not null"  # noqa: S608
        return frozenset(gid for (gid,) in asked.warehouse.rows(query))

    return asked.once("countries", read)


def _of_country(asked: Asked, gids: Sequence[str], country: str) -> set[str]:
    if not gids:
        return set()
    query = (
        f"select gid from {relation(asked.known['admin_units'])} "  # noqa: S608  it contains no value
        f"where country_gid = ? and gid in ({', '.join('?' * len(gids))})"
    )
    return {gid for (gid,) in asked.warehouse.rows(query, [country, *gids])}


def unit(asked: Asked, gid: str, geometry: features.Shape = "none") -> str:
    """Return what is known of a unit as a GeoJSON feature; see `admin_boundaries.explorer.details`.

    Raises
    ------
    NotThere
        When there is none with this key.
    """
    found = units(asked, [gid])
    if not found:
        raise NotThere(f"There is no unit {gid!r} in these marts.", "Find its key by name: /find?q=NAME")
    properties = found[0]
    shape = "null"
    if geometry != "none":
        name = f"admin_level_{properties['admin_level']}"
        shape = features.shapes(asked, features.collection(asked, name), [gid], geometry).get(gid, "null")
    return features.feature(gid, shape, properties)


def units(asked: Asked, gids: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is known of units, by their keys; those that there are none of are left out.

    Raises
    ------
    UsageError
        When they are more than `MOST_UNITS`.
    """
    if len(gids) > MOST_UNITS:
        raise UsageError(f"{len(gids)} units are asked for, and {MOST_UNITS} are the most.", "Ask for some at a time.")
    found = details.of_units(asked.warehouse, asked.known, list(dict.fromkeys(gids)))
    return [{COLUMN_OF.get(key, key): _named(key, value) for key, value in each.items()} for each in found]


def _named(key: str, value: Any) -> Any:
    """Return what is told of a unit under a key, its parts by name."""
    if key == "change":
        change_type, release, before = value
        return {
            "change_type": change_type,
            "from_release": release,
            "from": [dict(zip(("gid", "name", "share"), row, strict=True)) for row in before],
        }
    return [dict(zip(ROWS_OF[key], row, strict=True)) for row in value] if key in ROWS_OF else value


def changes(asked: Asked, wanted: what_changed.Wanted, limit: int) -> dict[str, Any]:
    """Return what changed since the release before: a sentence, and the first rows.

    Raises
    ------
    ReleaseMissing
        When the marts compare no releases.
    UsageError
        When a country is in neither of the two.
    """
    found = what_changed.read(asked.warehouse, wanted, limit)
    rows = [dict(zip(what_changed.HEADINGS, cells, strict=True)) for cells in found.cells]
    return {"summary": found.summary, "rows": rows, "rows_in_all": found.rows}


def query(asked: Asked, statement: str, limit: int) -> dict[str, Any]:
    """Return the first rows of a statement of somebody else's; geometry is WKT.

    Raises
    ------
    QueryFailed
        When it is no question, or the database refuses it.
    """
    if not statement.strip().lower().startswith(READS):
        raise QueryFailed("This is not a query, and the marts are read-only.", "Ask by select.")
    import pyarrow as pa

    reader = asked.warehouse.query(statement)
    try:
        rows, is_more = _first(reader, limit)
    except (OSError, pa.ArrowException) as error:  # of the database, while rows are fetched
        raise QueryFailed(first_line(error)) from error
    return {"columns": reader.schema.names, "rows": rows, "more": is_more}


def _first(reader: pa.RecordBatchReader, limit: int) -> tuple[list[list[Any]], bool]:
    rows: list[list[Any]] = []
    size = 0
    for values in sql.rows_of(reader):
        row = [value if isinstance(value, bool | int | float | str | None) else as_text(value) for value in values]
        size += len(json.dumps(row, ensure_ascii=False))
        if len(rows) == limit or size > MOST_BYTES:
            return rows, True
        rows.append(row)
    return rows, False
