"""What the map tells of a unit that is clicked: where it belongs, its names, clocks, codes and neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from admin_boundaries.marts import Mart, quoted, relation
from admin_boundaries.warehouse import Warehouse

MOST_NEIGHBOURS = 60
DIVIDED = ("split", "merged", "complex")  # units whose ground is of several, or of a part
LEVELS = range(6)
OF_LEVEL = (
    *("name_local", "name_variants", "type_local", "type_english", "licence", "attribution"),
    *("west_lon", "min_lat", "east_lon", "max_lat", "point_lon", "point_lat"),
)


def of_units(warehouse: Warehouse, known: Mapping[str, Mart], gids: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is known of units, in the order of their keys.

    Parameters
    ----------
    warehouse : Warehouse
        The marts.
    known : mapping of str to Mart
        All of them; what comes from one that is not built is left out.
    gids : sequence of str
        Keys. Those that no unit has are left out.

    Returns
    -------
    list of dict
        ``gid``, ``name``, ``level``, ``area``, ``children``, ``chain`` (from the country down), ``local``,
        ``variants``, ``type``, ``licence``, ``attribution``, ``box`` (west, south, east, north; east is over 180
        across the date line), ``zones`` (name and share, the primary one first), ``codes``, ``neighbours``, ``faults``,
        ``change`` (what became of it since which release, and of which units it is: key, name, share of it). What is
        unknown is missing.
    """
    if not gids:
        return []
    marks = ", ".join("?" * len(gids))
    found: dict[str, dict[str, Any]] = {
        gid: {"gid": gid, "name": name, "level": level, "area": area, "children": children}
        for gid, name, level, area, children in warehouse.rows(
            "select gid, name, admin_level, area_km2, child_count "  # noqa: S608  it contains no value
            f"from {relation(known['admin_units'])} where gid in ({marks})",
            gids,
        )
    }
    for level in sorted({each["level"] for each in found.values()}):
        _add_level(warehouse, known[f"admin_level_{level}"], found, level)
    for table, columns, condition, key, order in (
        ("admin_unit_ancestors", "gid, ancestor_gid, ancestor_level", "true", "chain", 2),
        ("admin_unit_timezones", "gid, tzid, area_share, is_primary", "not is_border_sliver", "zones", 1),
        ("admin_unit_codes", "gid, scheme, code", "true", "codes", 1),
        ("admin_anomalies", "gid, severity, anomaly_type, detail, action", "true", "faults", 1),
        ("admin_unit_neighbours", "gid, neighbour_gid, border_km", "true", "neighbours", -2),
    ):
        if table in known:
            rows = warehouse.rows(
                f"select {columns} from {relation(known[table])} where ({condition}) and gid in ({marks})",  # noqa: S608
                gids,
            )
            reverse = order < 0
            rows.sort(key=lambda row: row[1])
            for row in sorted(rows, key=lambda row: row[abs(order)] or 0, reverse=reverse):
                found[row[0]].setdefault(key, []).append(list(row[1:]))
    _add_changes(warehouse, known, found, gids)
    names = _names(warehouse, known, found)
    for each in found.values():
        each["chain"] = [[gid, names.get(gid, gid), level] for gid, level in each.get("chain", [])]
        beside = each.pop("neighbours", [])
        each["neighbours"] = [[gid, names.get(gid, gid)] for gid, _km in beside[:MOST_NEIGHBOURS]]
        each["more_neighbours"] = max(len(beside) - MOST_NEIGHBOURS, 0)
        zones = sorted(each.get("zones", []), key=lambda zone: (not zone[2], -(zone[1] or 0)))
        each["zones"] = [[tzid, share] for tzid, share, _is_primary in zones]
    return [
        {key: value for key, value in found[gid].items() if value not in (None, [], 0) or key == "level"}
        for gid in sorted(found)
    ]


def _add_level(warehouse: Warehouse, mart: Mart, found: dict[str, dict[str, Any]], level: int) -> None:
    gids = [gid for gid, each in found.items() if each["level"] == level]
    columns = [name for name in OF_LEVEL if name in mart.columns]
    rows = warehouse.rows(
        f"select gid, {', '.join(map(quoted, columns))} from {relation(mart)} "  # noqa: S608
        f"where gid in ({', '.join('?' * len(gids))})",
        gids,
    )
    for gid, *values in rows:
        row = dict(zip(columns, values, strict=True))
        each = found[gid]
        each["local"] = _split(row.get("name_local"))
        each["variants"] = _split(row.get("name_variants"))
        each["type"] = row.get("type_english") or row.get("type_local")
        each["licence"], each["attribution"] = row.get("licence"), row.get("attribution")
        box = [row.get(side) for side in ("west_lon", "min_lat", "east_lon", "max_lat")]
        if None in box:
            box = [row.get(side) for side in ("point_lon", "point_lat") * 2]
        if None not in box:
            west, south, east, north = (round(float(side), 5) for side in box if side is not None)
            each["box"] = [west, south, east + 360 if east < west else east, north]


def _add_changes(
    warehouse: Warehouse, known: Mapping[str, Mart], found: dict[str, dict[str, Any]], gids: Sequence[str]
) -> None:
    if "admin_unit_changes" not in known:
        return
    marks = ", ".join("?" * len(gids))
    changes = relation(known["admin_unit_changes"])
    rows = warehouse.rows(
        "select to_gid, change_type, from_release, from_gid, from_name "  # noqa: S608
        f"from {changes} where unit_of in ('both', 'to') and change_type <> 'kept' and to_gid in ({marks})",
        gids,
    )
    for gid, change_type, release, from_gid, from_name in sorted(rows):
        found[gid]["change"] = [change_type, release, [[from_gid, from_name, None]] if from_gid else []]
    divided = [gid for gid, each in found.items() if each.get("change", [""])[0] in DIVIDED]
    if not divided or "admin_unit_crosswalk" not in known:
        return
    marks = ", ".join("?" * len(divided))
    pairs = warehouse.rows(
        "select pairs.to_gid, pairs.share_of_to, pairs.from_gid, before.from_name "  # noqa: S608
        f"from {relation(known['admin_unit_crosswalk'])} as pairs "
        f"inner join {changes} as before on pairs.from_gid = before.from_gid "
        f"where before.unit_of <> 'to' and not pairs.is_sliver and pairs.from_level = pairs.to_level "
        f"and pairs.admin_level = pairs.to_level and pairs.to_gid in ({marks})",
        divided,
    )
    for gid in divided:
        of_unit = sorted((row for row in pairs if row[0] == gid), key=lambda row: (-(row[1] or 0), row[2]))
        found[gid]["change"][2] = [[from_gid, name, share] for _gid, share, from_gid, name in of_unit]


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in text.split("|") if part.strip()] if text else []


def _names(
    warehouse: Warehouse, known: Mapping[str, Mart], found: Mapping[str, Mapping[str, Any]]
) -> dict[str, str | None]:
    """Return the names of all units that others refer to."""
    wanted = sorted(
        {row[0] for each in found.values() for key in ("chain", "neighbours") for row in each.get(key, [])}
        - found.keys()
    )
    names = {gid: each["name"] for gid, each in found.items()}
    if wanted:
        names |= dict(
            warehouse.rows(
                f"select gid, name from {relation(known['admin_units'])} "  # noqa: S608
                f"where gid in ({', '.join('?' * len(wanted))})",
                wanted,
            )
        )
    return {gid: name or gid for gid, name in names.items()}
