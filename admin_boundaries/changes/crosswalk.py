"""How much of each unit of a release is in each unit of the other, to carry data from one to the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from admin_boundaries.changes.judgement import MOST, Judge, usual_moves
from admin_boundaries.changes.links import Links, links_on
from admin_boundaries.changes.overlaps import BATCH_ROWS, read_overlaps
from admin_boundaries.changes.releases import LEVELS, NONE, Release, compared, taken
from admin_boundaries.python_models import Relation

SCHEMA = pa.schema(
    [
        pa.field("crosswalk_key", pa.string()),
        pa.field("admin_level", pa.int32()),
        pa.field("from_level", pa.int32()),
        pa.field("to_level", pa.int32()),
        pa.field("from_gid", pa.string()),
        pa.field("to_gid", pa.string()),
        pa.field("from_release", pa.string()),
        pa.field("to_release", pa.string()),
        pa.field("area_km2", pa.float64()),
        pa.field("share_of_from", pa.float64()),
        pa.field("share_of_to", pa.float64()),
        pa.field("is_sliver", pa.bool_()),
    ]
)


def unit_crosswalk(before: Relation, now: Relation, overlaps: Relation) -> pa.RecordBatchReader:
    """Return the ground that units of two releases have in common, on every level.

    Parameters
    ----------
    before, now : Relation
        The units, with the columns that `Release` reads.
    overlaps : Relation
        What `admin_boundaries.changes.overlaps.unit_overlaps` returned.

    Returns
    -------
    RecordBatchReader
        One row per level and pair of units, and one per unit with ground that is in no unit of the other release, of
        the columns of `SCHEMA`; none if there is no release before. The shares of a unit add up to 1 on its own level.
    """
    return pa.RecordBatchReader.from_batches(SCHEMA, _batches(before, now, overlaps))


def _batches(before: Relation, now: Relation, overlaps: Relation) -> Iterator[pa.RecordBatch]:
    releases = compared(before, now)
    if not len(releases[0]):
        return
    ground = read_overlaps(*releases, overlaps)
    levels = [links_on(level, *releases, ground) for level in range(LEVELS)]
    moves = usual_moves(*releases, levels)
    for level, links in enumerate(levels):
        yield from _rows(level, *releases, links, Judge(*releases, links, moves)).to_batches(BATCH_ROWS)


def _rows(level: int, before: Release, now: Release, links: Links, judge: Judge) -> pa.Table:
    pairs = pd.DataFrame(
        {
            "unit": links.before,
            "other": links.now,
            "area_km2": links.areas_km2,
            "share_of_from": links.shares_before,
            "share_of_to": links.shares_now,
            "is_sliver": ~judge.are_ground(),
        }
    )
    outside = []
    for at, (release, name, share) in enumerate(((before, "unit", "share_of_from"), (now, "other", "share_of_to"))):
        side = links.sides[at]
        units = np.flatnonzero((release.levels == level) & (side.outside_km2 > 0))
        shares = side.outside_km2[units] / side.totals_km2[units]
        outside.append(
            pd.DataFrame(
                {
                    "unit": NONE,
                    "other": NONE,
                    "area_km2": side.outside_km2[units],
                    "is_sliver": ~judge.have_wide_rest(at)[units] & (shares < MOST),
                    name: units,
                    share: shares,
                }
            )
        )
    rows = pd.concat([pairs, *outside], ignore_index=True)
    unit, other = rows["unit"].to_numpy(np.int64), rows["other"].to_numpy(np.int64)
    for name, release, units in (("from", before, unit), ("to", now, other)):
        rows[f"{name}_gid"] = taken(release.gids, units)
        rows[f"{name}_level"] = taken(release.levels, units)
        rows[f"{name}_release"] = release.release
    rows["admin_level"] = level
    rows["crosswalk_key"] = f"{level} " + rows["from_gid"].fillna("") + " > " + rows["to_gid"].fillna("")
    rows = rows.sort_values(["from_gid", "to_gid"])
    return pa.table([pa.array(rows[field.name], field.type, from_pandas=True) for field in SCHEMA], schema=SCHEMA)
