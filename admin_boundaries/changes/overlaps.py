"""Which ground of a release is which ground of the other, unit by unit.

Units with the same geometry are the same ground, and nothing else: they need no overlay. Those that are left are laid
over each other, as few at a time as fit into memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from admin_boundaries.areas import KM2, Areas
from admin_boundaries.changes.overlay import common_ground, may_be_wide, rest_widths
from admin_boundaries.changes.releases import LEVELS, NONE, Release, compared, numbered, texts_of
from admin_boundaries.coverage.arrays import Flags, Numbers, Positions, Texts, at_or_zero, counted, widest
from admin_boundaries.python_models import Relation

BATCH_ROWS = 1 << 15
MOST_KEYS = 10_000  # in a condition; to read all of a release takes as long as to find more
SHARE_OF_SIZE = 1 / 40  # of the size of a unit: what is narrower is not looked at, however coarse borders are

SCHEMA = pa.schema(
    [
        pa.field("overlap_key", pa.string()),
        pa.field("from_gid", pa.string()),
        pa.field("to_gid", pa.string()),
        pa.field("area_km2", pa.float64()),
        pa.field("width_km", pa.float64()),
        pa.field("edge_km", pa.float64()),
        pa.field("admin_level", pa.int32()),
        pa.field("border_km", pa.float64()),
        pa.field("edge_count", pa.int64()),
    ]
)


NUMBERS = ("area_km2", "width_km", "edge_km", "admin_level", "border_km", "edge_count")


@dataclass(frozen=True)
class Located:
    """What is known of the located units of a release from their geometry.

    Attributes
    ----------
    areas_km2, border_km : ndarray of float64, shape (n,)
        By the positions of units: the area, and the length of the border; 0 where it was not needed.
    edge_counts : ndarray of float64, shape (n,)
        Of how many edges the border is made.
    rest_widths_km, rest_edges_km : ndarray of float64, shape (n, LEVELS)
        By level, how wide the ground is that no unit of the other release has there, and how long the edges are around
        it; 0 where it cannot be wide.
    """

    areas_km2: Numbers
    border_km: Numbers
    edge_counts: Numbers
    rest_widths_km: Numbers
    rest_edges_km: Numbers


@dataclass(frozen=True)
class Overlaps:
    """The ground of located units of two releases.

    Attributes
    ----------
    before, now : ndarray of int, shape (n,)
        Pairs of units that have ground in common, by positions.
    areas_km2, widths_km, edges_km : ndarray of float64, shape (n,)
        The area in common, how wide it is, and how long the edges are around its widest piece.
    is_same : ndarray of bool, shape (n,)
        Whether they have the same geometry.
    units : (Located, Located)
        The units of both releases.
    """

    before: Positions
    now: Positions
    areas_km2: Numbers
    widths_km: Numbers
    edges_km: Numbers
    is_same: Flags
    units: tuple[Located, Located]


def unit_overlaps(
    before: Relation, now: Relation, areas_before: Relation, areas_now: Relation, folder: Path | None = None
) -> pa.RecordBatchReader:
    """Lay the located units of two releases over each other.

    Parameters
    ----------
    before, now : Relation
        The units, with the columns that `Release` reads.
    areas_before, areas_now : Relation
        ``gid``, ``is_changed`` and ``geom`` of those that are located, in degrees.
    folder : Path, optional
        Of the files on disk; by default that of the system.

    Returns
    -------
    RecordBatchReader
        One row per pair of units with ground in common, and one per located unit of either release, with NULL for the
        other; of the columns of `SCHEMA`. Units that have the same geometry in both are not among them.
    """
    return pa.RecordBatchReader.from_batches(SCHEMA, _batches(before, now, areas_before, areas_now, folder))


def _batches(
    before: Relation, now: Relation, areas_before: Relation, areas_now: Relation, folder: Path | None
) -> Iterator[pa.RecordBatch]:
    releases = compared(before, now)
    if not len(releases[0]):
        return
    with ExitStack() as open_until:
        same = same_units(*releases)
        areas = [open_until.enter_context(Areas(len(release), folder)) for release in releases]
        sides = zip(areas, releases, reversed(releases), (areas_before, areas_now), same, strict=True)
        size = 0
        for own, release, other, relation, alike in sides:
            _read(own, release, other, relation, alike, size)
            size = own.total_bytes
        overlaps = _overlaps(releases, (areas[0], areas[1]))
        yield from _rows(*releases, overlaps, same).to_batches(BATCH_ROWS)


def same_units(before: Release, now: Release) -> tuple[Positions, Positions]:
    """Return the located units that have the same geometry in both releases and count on the same levels.

    Returns
    -------
    (ndarray of int, ndarray of int)
        The pairs; each unit is in one at most.
    """
    hashes = numbered(before.hashes, now.hashes)
    sides = [
        pd.DataFrame({"unit": at, "hash": numbers[at], "above": release.level_above[at], "to": release.level_to[at]})
        for release, numbers in zip((before, now), hashes, strict=True)
        for at in [np.flatnonzero(release.is_located & (numbers != NONE))]
    ]
    place = ["hash", "above", "to"]
    by_key = sides[0].assign(other=now.positions(before.gids[sides[0]["unit"]]))
    by_key = by_key.merge(sides[1], left_on=[*place, "other"], right_on=[*place, "unit"])
    left = [side[~side["unit"].isin(by_key[f"unit_{name}"])] for side, name in zip(sides, "xy", strict=True)]
    # of several with one geometry, the first is the first
    one, two = (side.assign(copy=side.groupby(place).cumcount()) for side in left)
    others = one.merge(two, on=[*place, "copy"])
    found = pd.concat([by_key, others])
    return found["unit_x"].to_numpy(np.int64), found["unit_y"].to_numpy(np.int64)


def _read(areas: Areas, release: Release, other: Release, relation: Relation, same: Positions, before: int) -> None:
    """Read the areas of located units that are not the same: those with a geometry of their own, and a few others."""
    is_needed = release.is_located.copy()
    is_needed[same] = False
    others = release.gids[is_needed & pd.Index(release.hashes, dtype=object).isin(other.hashes)]
    keys = ", ".join("'" + gid.replace("'", "''") + "'" for gid in others)
    condition = f"is_changed or gid in ({keys})" if len(others) <= MOST_KEYS else "true"

    def wanted() -> Iterator[tuple[Positions, pa.Array]]:
        for batch in relation.select("gid", "geom").where(condition if len(others) else "is_changed").batches():
            at = release.positions(batch["gid"].to_numpy(zero_copy_only=False))
            yield at[is_needed[at]], batch["geom"].filter(pa.array(is_needed[at]))

    areas.fill(wanted(), before)


def _overlaps(releases: tuple[Release, Release], areas: tuple[Areas, Areas]) -> Overlaps:
    before, now = releases

    def may_meet(unit: Positions, other: Positions) -> Flags:
        above = np.maximum(before.level_above[unit], now.level_above[other])
        together: Flags = above < np.minimum(before.level_to[unit], now.level_to[other])
        return together

    ground, polygons = common_ground(*areas, may_meet)
    pairs = polygons.before, polygons.now
    located = (
        _located(before, now, areas, pairs, polygons.areas_km2),
        _located(now, before, areas[::-1], pairs[::-1], polygons.areas_km2),
    )
    is_same = np.zeros(len(ground.before), bool)
    return Overlaps(ground.before, ground.now, ground.areas_km2, ground.widths_km, ground.edges_km, is_same, located)


def _located(
    release: Release,
    other: Release,
    areas: tuple[Areas, Areas],
    pairs: tuple[Positions, Positions],
    common: Numbers,
) -> Located:
    """Return what is known of the units of a release, by the pairs of polygons of which the first are its own."""
    own, others = areas
    sizes = own.sizes * KM2
    resolution = np.divide(own.border_km, own.edge_counts, out=np.zeros(len(release)), where=own.edge_counts > 0)
    least = np.minimum(resolution, np.sqrt(sizes) * SHARE_OF_SIZE)[own.units]
    polygon_sizes = own.polygon_sizes * KM2
    widths, edges = np.zeros((len(release), LEVELS)), np.zeros((len(release), LEVELS))
    covered = np.full(len(release), np.nan)
    order = np.lexsort((-common, pairs[0]))
    for level in reversed(range(LEVELS)):
        # between a unit's own level and that of the next one above that counts itself, other ground may cover it
        counts = order[other.counts_on(level)[others.units[pairs[1][order]]]]
        here = np.bincount(pairs[0][counts], common[counts], minlength=len(own.units))
        of_unit = np.bincount(own.units, here, minlength=len(release))
        is_other = (own.sizes > 0) & release.counts_on(level) & (release.levels >= level)
        is_other &= (release.levels == level) | ~np.isclose(of_unit, covered)
        covered = of_unit
        below = min(level + 1, LEVELS - 1)
        polygon = np.flatnonzero(is_other[own.units] & may_be_wide(np.maximum(polygon_sizes - here, 0), least))
        first, last = (np.searchsorted(pairs[0][counts], at) for at in (polygon, polygon + 1))
        covers = pairs[1][counts[counted(first, last - first)]]
        rest = polygon_sizes[polygon] - here[polygon]
        wide, long = rest_widths(own, others, polygon, np.append(0, np.cumsum(last - first)), covers, rest)
        at = widest(own.units[polygon], wide, long, len(release))
        widths[:, level] = np.where(is_other, at_or_zero(wide, at), widths[:, below])
        edges[:, level] = np.where(is_other, at_or_zero(long, at), edges[:, below])
    return Located(sizes, own.border_km, own.edge_counts, widths, edges)


def _rows(before: Release, now: Release, overlaps: Overlaps, same: tuple[Positions, Positions]) -> pa.Table:
    """Return the overlaps of units that are not the same as rows, by keys."""
    pairs = pd.DataFrame(
        {
            "from_gid": before.gids[overlaps.before],
            "to_gid": now.gids[overlaps.now],
            "area_km2": overlaps.areas_km2,
            "width_km": overlaps.widths_km,
            "edge_km": overlaps.edges_km,
        }
    ).sort_values(["from_gid", "to_gid"])
    units = []
    for release, located, name, alike in zip((before, now), overlaps.units, ("from_gid", "to_gid"), same, strict=True):
        widths, is_laid = located.rest_widths_km, release.is_located.copy()
        is_laid[alike] = False
        for level in range(LEVELS):
            is_other = widths[:, level] != widths[:, min(level + 1, LEVELS - 1)]
            own = release.levels == level
            at = np.flatnonzero(is_laid & (own | (is_other & (release.levels > level))))
            units.append(
                pd.DataFrame(
                    {
                        name: release.gids[at],
                        "area_km2": located.areas_km2[at],
                        "width_km": widths[at, level],
                        "edge_km": located.rest_edges_km[at, level],
                        "admin_level": level,
                        "border_km": located.border_km[at],
                        "edge_count": located.edge_counts[at],
                    }
                )
            )
    alone = pd.concat(units, ignore_index=True)
    pairs["overlap_key"] = pairs["from_gid"] + " > " + pairs["to_gid"]
    sides = [alone[name].fillna("") if name in alone else "" for name in ("from_gid", "to_gid")]
    alone["overlap_key"] = alone["admin_level"].astype(str) + " " + sides[0] + " > " + sides[1]
    rows = pd.concat([pairs, alone], ignore_index=True)
    return pa.table([pa.array(rows[field.name], field.type, from_pandas=True) for field in SCHEMA], schema=SCHEMA)


def read_overlaps(before: Release, now: Release, rows: Relation) -> Overlaps:
    """Return the overlaps that `unit_overlaps` wrote, and those of units that have the same geometry.

    Parameters
    ----------
    before, now : Release
        The units.
    rows : Relation
        With the columns of `SCHEMA`.
    """
    table = rows.select(*SCHEMA.names).batches().read_all()
    one, two = (texts_of(table[name]) for name in ("from_gid", "to_gid"))
    numbers = {name: table[name].to_pandas().to_numpy(np.float64) for name in NUMBERS}
    has = [keys != None for keys in (one, two)]  # noqa: E711 elementwise
    same = same_units(before, now)
    located = (
        _read_located(before, one, numbers, has[0] & ~has[1], same[0]),
        _read_located(now, two, numbers, has[1] & ~has[0], same[1]),
    )
    is_pair = has[0] & has[1]
    ones, twos = before.positions(one[is_pair]), now.positions(two[is_pair])
    order = np.lexsort((twos, ones))  # a table has none of its own
    sizes = located[0].areas_km2[same[0]]
    return Overlaps(
        np.concatenate([ones[order], same[0]]),
        np.concatenate([twos[order], same[1]]),
        np.concatenate([numbers["area_km2"][is_pair][order], sizes]),
        np.concatenate([numbers["width_km"][is_pair][order], 2 * np.sqrt(sizes / np.pi)]),
        np.concatenate([numbers["edge_km"][is_pair][order], np.zeros(len(sizes))]),
        np.arange(len(order) + len(sizes)) >= len(order),
        located,
    )


def _read_located(release: Release, gids: Texts, numbers: dict[str, Numbers], rows: Flags, same: Positions) -> Located:
    at = release.positions(gids[rows])
    level = numbers["admin_level"][rows]
    columns = {name: np.zeros(len(release)) for name in NUMBERS}
    for name, column in columns.items():
        column[at] = numbers[name][rows]
    columns["area_km2"][same] = np.nan_to_num(release.areas_km2[same])
    rest = {name: np.zeros((len(release), LEVELS)) for name in ("width_km", "edge_km")}
    for deepest in reversed(range(LEVELS)):  # what is said of a level holds up to where something else is said
        is_here = level == deepest
        for name, of_levels in rest.items():
            of_levels[at[is_here], : deepest + 1] = numbers[name][rows][is_here, None]
    return Located(columns["area_km2"], columns["border_km"], columns["edge_count"], rest["width_km"], rest["edge_km"])
