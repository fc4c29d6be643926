"""Levels and time zones as collections of features: a page of one, by its key, with a bound on all that it holds.

A page begins behind the key that the one before ended with. So the last page of a large collection takes no longer
than the first, and no unit is missed or given twice when others are added in between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from admin_boundaries.marts import GEOMETRY, TIMEZONES, Mart, quoted, relation
from admin_boundaries.service.marts import Asked
from ingest.errors import NotThere, UsageError, did_you_mean

LEVELS = tuple(f"admin_level_{level}" for level in range(6))
COLLECTIONS = (*LEVELS, TIMEZONES)
SIMPLIFIED = "admin_units_simplified"
TOLERANCE = 0.01  # degrees
HIDDEN = (GEOMETRY, "geom_hash", "file_no", "source_file", "source_layer", "source_fid", "is_valid_in_source")
FILTERS = (
    *("parent_gid", "gid_0", "gid_1", "gid_2", "gid_3", "gid_4", "name", "type_local", "type_english"),
    *("hasc_code", "iso_code", "cc_code", "licence", "source_name", "standard_utc_offset"),
)
MOST_FEATURES, MOST_VERTICES = 1000, 300_000
Shape = Literal["full", "simplified", "none"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Collection:
    """A level, or the time zones.

    Attributes
    ----------
    mart : Mart
        Its rows.
    count : int
        How many they are.
    box : tuple of float or None
        West, south, east and north of all of them; None if it is empty.
    """

    mart: Mart
    count: int
    box: Box | None

    @property
    def id(self) -> str:
        """Its name."""
        return self.mart.name

    @property
    def title(self) -> str:
        """What it is, for people."""
        return "Time zones" if self.id == TIMEZONES else f"Administrative units of level {self.id[-1]}"

    @property
    def properties(self) -> tuple[str, ...]:
        """The columns that a feature tells."""
        return tuple(name for name in self.mart.columns if name not in HIDDEN)

    @property
    def filters(self) -> tuple[str, ...]:
        """The columns that features can be chosen by."""
        return tuple(name for name in FILTERS if name in self.mart.columns)


@dataclass(frozen=True)
class Page:
    """Some features.

    Attributes
    ----------
    features : list of str
        Each as GeoJSON.
    next : str or None
        The key to go on behind; None if these were the last.
    matched : int or None
        How many there are on all pages; None where counting would take long.
    """

    features: list[str]
    next: str | None
    matched: int | None


@dataclass(frozen=True)
class Wanted:
    """Which features are asked for.

    Attributes
    ----------
    box : tuple of float or None
        West, south, east and north that they have a point in common with; west may be greater than east.
    values : mapping of str to str
        Values of columns.
    behind : str or None
        The key that they come after.
    limit : int
        How many at most.
    shape : str
        ``full``, ``simplified`` or ``none``.
    """

    box: Box | None = None
    values: Mapping[str, str] | None = None
    behind: str | None = None
    limit: int = 10
    shape: Shape = "full"


def collections(asked: Asked) -> list[Collection]:
    """Return all collections that the marts have."""

    def read() -> list[Collection]:
        return [_read(asked, asked.known[name]) for name in COLLECTIONS if name in asked.known]

    return asked.once("collections", read)


def _read(asked: Asked, mart: Mart) -> Collection:
    query = f"select count(*), min(min_lon), min(min_lat), max(max_lon), max(max_lat) from {relation(mart)}"  # noqa: S608
    ((count, *box),) = asked.warehouse.rows(query)
    west, south, east, north = box
    return Collection(mart, count, None if west is None else (west, south, east, north))


def collection(asked: Asked, name: str) -> Collection:
    """Return a collection by name.

    Raises
    ------
    NotThere
        When there is none of this name.
    """
    found = {each.id: each for each in collections(asked)}
    if name not in found:
        raise NotThere(f"There is no collection {name!r}.", did_you_mean(name, found))
    return found[name]


def page(asked: Asked, of: Collection, wanted: Wanted) -> Page:
    """Return the next features of a collection, in the order of their keys.

    It ends early when what it holds has `MOST_VERTICES`; one feature may have more.

    Raises
    ------
    UsageError
        When a column cannot be chosen by, or there are no simplified shapes.
    """
    where, values = _condition(asked, of, wanted)
    matched = None if wanted.box else _count(asked, of, where, values)
    if wanted.behind is not None:
        where, values = f"{where} and {quoted(of.mart.key)} > ?", [*values, wanted.behind]
    query = (
        f"select {quoted(of.mart.key)}, vertex_count from {relation(of.mart)} where {where} "  # noqa: S608
        f"order by {quoted(of.mart.key)} limit {wanted.limit + 1}"
    )
    rows = asked.warehouse.rows(query, values)
    keys: list[str] = []
    vertices = 0
    for key, count in rows[: wanted.limit]:
        vertices += count or 0
        if keys and wanted.shape == "full" and vertices > MOST_VERTICES:
            break
        keys.append(key)
    texts = features(asked, of, keys, wanted.shape)
    return Page([texts[key] for key in keys], keys[-1] if len(rows) > len(keys) else None, matched)


def one(asked: Asked, of: Collection, key: str, shape: Shape) -> str:
    """Return a feature.

    Raises
    ------
    NotThere
        When there is none with this key.
    """
    found = features(asked, of, [key], shape)
    if key not in found:
        raise NotThere(f"There is no feature {key!r} in {of.id}.", "")
    return found[key]


def features(asked: Asked, of: Collection, keys: Sequence[str], shape: Shape) -> dict[str, str]:
    """Return features as GeoJSON, by key."""
    if not keys:
        return {}
    columns = ", ".join(map(quoted, of.properties))
    query = (
        f"select {columns} from {relation(of.mart)} "  # noqa: S608  it contains no value
        f"where {quoted(of.mart.key)} in ({', '.join('?' * len(keys))})"
    )
    rows = [dict(zip(of.properties, row, strict=True)) for row in asked.warehouse.rows(query, list(keys))]
    drawn = shapes(asked, of, keys, shape) if shape != "none" else {}
    return {row[of.mart.key]: feature(row[of.mart.key], drawn.get(row[of.mart.key], "null"), row) for row in rows}


def feature(key: str, shape: str, properties: Mapping[str, Any]) -> str:
    """Return a feature of GeoJSON, given the text of its geometry."""
    told = json.dumps(properties, ensure_ascii=False)
    return f'{{"type":"Feature","id":{json.dumps(key, ensure_ascii=False)},"geometry":{shape},"properties":{told}}}'


def shapes(asked: Asked, of: Collection, keys: Sequence[str], shape: Shape) -> dict[str, str]:
    """Return geometries as GeoJSON, by key, with exterior rings counterclockwise.

    Raises
    ------
    UsageError
        When there are no simplified ones.
    """
    import shapely

    mart, where, more = of.mart, "true", list[float]()
    if shape == "simplified":
        if of.id == TIMEZONES or SIMPLIFIED not in asked.known:
            raise UsageError(f"There are no simplified shapes of {of.id}.", "Ask for geometry=full, or for none.")
        mart, where, more = asked.known[SIMPLIFIED], "tolerance_degrees = ?", [TOLERANCE]
    query = (
        f"select {quoted(of.mart.key)}, {asked.warehouse.as_wkb}({GEOMETRY}) from {relation(mart)} "  # noqa: S608
        f"where {where} and {quoted(of.mart.key)} in ({', '.join('?' * len(keys))})"
    )
    found = {}
    for key, wkb in asked.warehouse.rows(query, [*more, *keys]):
        if wkb is not None:
            found[key] = str(shapely.to_geojson(shapely.orient_polygons(shapely.from_wkb(bytes(wkb)))))
    return found


def _condition(asked: Asked, of: Collection, wanted: Wanted) -> tuple[str, list[Any]]:
    tests, values = ["true"], list[Any]()
    for name, value in (wanted.values or {}).items():
        if name not in of.filters:
            raise UsageError(f"Features of {of.id} cannot be chosen by {name!r}.", did_you_mean(name, of.filters))
        tests.append(f"{quoted(name)} = ?")
        values.append(value)
    if wanted.box:
        parts = []
        for west, south, east, north in _in_one_turn(wanted.box):
            within = "min_lon >= ? and min_lat >= ? and max_lon <= ? and max_lat <= ?"
            near = "max_lon >= ? and max_lat >= ? and min_lon <= ? and min_lat <= ?"
            envelope = asked.warehouse.envelope
            parts.append(f"({near} and (({within}) or ST_Intersects({GEOMETRY}, {envelope})))")
            values += [west, south, east, north] * 3
        tests.append(f"({' or '.join(parts)})")
    return " and ".join(tests), values


def _in_one_turn(box: Box) -> list[Box]:
    """Return a box, or its two halves if it lies on both sides of the date line."""
    west, south, east, north = box
    return [box] if west <= east else [(west, south, 180.0, north), (-180.0, south, east, north)]


def _count(asked: Asked, of: Collection, where: str, values: Sequence[Any]) -> int:
    if not values:
        return of.count
    ((count,),) = asked.warehouse.rows(f"select count(*) from {relation(of.mart)} where {where}", values)  # noqa: S608
    return int(count)
