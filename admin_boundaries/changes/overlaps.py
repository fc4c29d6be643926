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
from admin_boundaries.changes.overlay import common_ground, may_be_wide, pairs_that_meet, rest_widths
from admin_boundaries.changes.releases import Release, texts_of
from admin_boundaries.coverage.arrays import Flags, Numbers, Positions
from admin_boundaries.python_models import Relation

BATCH_ROWS = 1 << 15
KEYS_AT_ONCE = 1000  # in a condition
SHARE_OF_SIZE = 1 / 40  # of the size of a unit: what is narrower is not looked at, however coarse borders are

SCHEMA = pa.schema(
    [
        pa.field("overlap_key", pa.string()),
        pa.field("from_gid", pa.string()),
        pa.field("to_gid", pa.string()),
        pa.field("area_km2", pa.float64()),
        pa.field("width_km", pa.float64()),
        pa.field("is_same", pa.bool_()),
        pa.field("border_km", pa.float64()),
        pa.field("edge_count", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Located:
    """What is known of the located units of a release from their geometry.

    Attributes
    ----------
    areas_km2, rest_widths_km, border_km : ndarray of float64, shape (n,)
        By the positions of units: the area; how wide the ground is that the other release has not; the length of the
        border. 0 where it was not needed.
    edge_counts : ndarray of int, shape (n,)
        Of how many edges the border is made.
    """

    areas_km2: Numbers
    rest_widths_km: Numbers
    border_km: Numbers
    edge_counts: Positions


@dataclass(frozen=True)
class Overlaps:
    """The ground of located units of two releases.

    Attributes
    ----------
    before, now : ndarray of int, shape (n,)
        Pairs of units that have ground in common, by positions.
    areas_km2, widths_km : ndarray of float64, shape (n,)
        The area in common, and how wide it is.
    is_same : ndarray of bool, shape (n,)
        Whether they have the same geometry.
    units : (Located, Located)
        The units of both releases.
    """

    before: Positions
    now: Positions
    areas_km2: Numbers
    widths_km: Numbers
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
        other; of the columns of `SCHEMA`.
    """
    return pa.RecordBatchReader.from_batches(SCHEMA, _batches(before, now, areas_before, areas_now, folder))


def _batches(
    before: Relation, now: Relation, areas_before: Relation, areas_now: Relation, folder: Path | None
) -> Iterator[pa.RecordBatch]:
    releases = Release(before), Release(now)
    if not len(releases[0]):
        return
    with ExitStack() as open_until:
        same = same_units(*releases)
        areas = []
        for release, relation, alike in zip(releases, (areas_before, areas_now), same, strict=True):
            areas.append(open_until.enter_context(Areas(len(release), folder)))
            _read(areas[-1], release, relation, alike)
        yield from _rows(*releases, _overlaps(releases, (areas[0], areas[1]), same)).to_batches(BATCH_ROWS)


def same_units(before: Release, now: Release) -> tuple[Positions, Positions]:
    """Return the located units that have the same geometry in both releases and count on the same levels.

    Returns
    -------
    (ndarray of int, ndarray of int)
        The pairs; each unit is in one at most.
    """
    sides = [
        pd.DataFrame(
            {
                "unit": at,
                "hash": release.hashes[at],
                "above": release.level_above[at],
                "to": release.level_to[at],
                "gid": release.gids[at],
            }
        )
        for release in (before, now)
        for at in [np.flatnonzero(release.is_located & (release.hashes != None))]  # noqa: E711 elementwise
    ]
    place = ["hash", "above", "to"]
    by_key = sides[0].merge(sides[1], on=[*place, "gid"])
    left = [side[~side["unit"].isin(by_key[f"unit_{name}"])] for side, name in zip(sides, "xy", strict=True)]
    # of several with one geometry, the first is the first
    one, two = (side.assign(copy=side.groupby(place).cumcount()) for side in left)
    others = one.merge(two, on=[*place, "copy"])
    found = pd.concat([by_key, others])
    return found["unit_x"].to_numpy(np.int64), found["unit_y"].to_numpy(np.int64)


def _read(areas: Areas, release: Release, relation: Relation, same: Positions) -> None:
    """Read the areas of units that are not the same: those with a geometry of their own, and a few others."""
    is_needed = release.is_located.copy()
    is_needed[same] = False
    is_read = np.zeros(len(release), bool)

    def take(batch: pa.RecordBatch) -> None:
        at = release.positions(batch["gid"].to_numpy(zero_copy_only=False))
        wanted = is_needed[at] & ~is_read[at]
        areas.add(at[wanted], batch["geom"].filter(pa.array(wanted)))
        is_read[at] = True

    for batch in relation.select("gid", "geom").where("is_changed").batches():
        take(batch)
    others = release.gids[is_needed & ~is_read]
    for start in range(0, len(others), KEYS_AT_ONCE):
        keys = ", ".join("'" + gid.replace("'", "''") + "'" for gid in others[start : start + KEYS_AT_ONCE])
        for batch in relation.select("gid", "geom").where(f"gid in ({keys})").batches():
            take(batch)
    areas.flush()


def _overlaps(
    releases: tuple[Release, Release], areas: tuple[Areas, Areas], same: tuple[Positions, Positions]
) -> Overlaps:
    before, now = releases
    every = [np.flatnonzero(side.sizes > 0) for side in areas]
    one, two = pairs_that_meet(*areas, *every)
    is_together = np.maximum(before.level_above[one], now.level_above[two]) < np.minimum(
        before.level_to[one], now.level_to[two]
    )
    ground = common_ground(*areas, one[is_together], two[is_together])
    located = (
        _located(before, now, areas, (ground.before, ground.now), ground.areas_km2, same[0]),
        _located(now, before, areas[::-1], (ground.now, ground.before), ground.areas_km2, same[1]),
    )
    sizes = located[0].areas_km2[same[0]]
    count = len(same[0])
    return Overlaps(
        np.concatenate([ground.before, same[0]]),
        np.concatenate([ground.now, same[1]]),
        np.concatenate([ground.areas_km2, sizes]),
        np.concatenate([ground.widths_km, 2 * np.sqrt(sizes / np.pi)]),
        np.arange(len(ground.before) + count) >= len(ground.before),
        located,
    )


def _located(
    release: Release,
    other: Release,
    areas: tuple[Areas, Areas],
    pairs: tuple[Positions, Positions],
    common: Numbers,
    same: Positions,
) -> Located:
    """Return what is known of the units of a release, of which the first of all pairs are."""
    own, others = areas
    sizes = own.sizes * KM2
    sizes[same] = np.nan_to_num(release.areas_km2[same])
    # on the level of a unit, all ground of the other release is in one unit that counts there
    counts = (other.level_above[pairs[1]] < release.levels[pairs[0]]) & (
        release.levels[pairs[0]] <= other.level_to[pairs[1]]
    )
    covered = np.bincount(pairs[0][counts], common[counts], minlength=len(release))
    resolution = np.divide(own.border_km, own.edge_counts, out=np.zeros(len(release)), where=own.edge_counts > 0)
    least = np.minimum(resolution, np.sqrt(sizes) * SHARE_OF_SIZE)
    unit = np.flatnonzero((own.sizes > 0) & may_be_wide(np.maximum(sizes - covered, 0), least))
    order = np.lexsort((-common, pairs[0]))
    order = order[counts[order]]
    ends = np.searchsorted(pairs[0][order], np.arange(len(release) + 1))
    covered_by = [pairs[1][order[ends[at] : ends[at + 1]]] for at in unit]
    widths = np.zeros(len(release))
    widths[unit] = rest_widths(own, others, unit, covered_by)
    return Located(sizes, widths, own.border_km, own.edge_counts)


def _rows(before: Release, now: Release, overlaps: Overlaps) -> pa.Table:
    """Return overlaps as rows, by keys."""
    pairs = pd.DataFrame(
        {
            "from_gid": before.gids[overlaps.before],
            "to_gid": now.gids[overlaps.now],
            "area_km2": overlaps.areas_km2,
            "width_km": overlaps.widths_km,
            "is_same": overlaps.is_same,
        }
    ).sort_values(["from_gid", "to_gid"])
    units = []
    for release, located, name in zip((before, now), overlaps.units, ("from_gid", "to_gid"), strict=True):
        at = np.flatnonzero(release.is_located)
        units.append(
            pd.DataFrame(
                {
                    name: release.gids[at],
                    "area_km2": located.areas_km2[at],
                    "width_km": located.rest_widths_km[at],
                    "border_km": located.border_km[at],
                    "edge_count": located.edge_counts[at],
                }
            )
        )
    rows = pd.concat([pairs, *units], ignore_index=True)
    rows["overlap_key"] = rows["from_gid"].fillna("") + " > " + rows["to_gid"].fillna("")
    return pa.table([pa.array(rows[field.name], field.type, from_pandas=True) for field in SCHEMA], schema=SCHEMA)


def read_overlaps(before: Release, now: Release, rows: Relation) -> Overlaps:
    """Return the overlaps that `unit_overlaps` wrote.

    Parameters
    ----------
    before, now : Release
        The units.
    rows : Relation
        With the columns of `SCHEMA`.
    """
    table = rows.select(*SCHEMA.names).batches().read_all()
    one, two = (texts_of(table[name]) for name in ("from_gid", "to_gid"))
    numbers = {
        name: np.nan_to_num(table[name].to_pandas().to_numpy(np.float64))
        for name in ("area_km2", "width_km", "border_km", "edge_count")
    }
    has = [keys != None for keys in (one, two)]  # noqa: E711 elementwise
    located = []
    for release, keys, alone in ((before, one, has[0] & ~has[1]), (now, two, has[1] & ~has[0])):
        at = release.positions(keys[alone])
        columns = {name: np.zeros(len(release)) for name in numbers}
        for name, column in columns.items():
            column[at] = numbers[name][alone]
        edge_counts = columns.pop("edge_count").astype(np.int64)
        located.append(Located(columns["area_km2"], columns["width_km"], columns["border_km"], edge_counts))
    is_pair = has[0] & has[1]
    ones, twos = before.positions(one[is_pair]), now.positions(two[is_pair])
    order = np.lexsort((twos, ones))  # a table has none of its own
    return Overlaps(
        ones[order],
        twos[order],
        numbers["area_km2"][is_pair][order],
        numbers["width_km"][is_pair][order],
        table["is_same"].to_pandas().eq(True).to_numpy()[is_pair][order],
        (located[0], located[1]),
    )
