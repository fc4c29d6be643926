"""What became of each unit of a release, and where each unit of the next one came from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from admin_boundaries.changes.names import name_change
from admin_boundaries.changes.overlaps import BATCH_ROWS, read_overlaps
from admin_boundaries.changes.partners import Partners
from admin_boundaries.changes.releases import NONE, Release, compared, taken, taken_at
from admin_boundaries.coverage.arrays import Flags, Positions
from admin_boundaries.python_models import Relation

SCHEMA = pa.schema(
    [
        pa.field("change_key", pa.string()),
        pa.field("change_type", pa.string()),
        pa.field("unit_of", pa.string()),
        pa.field("admin_level", pa.int32()),
        pa.field("from_level", pa.int32()),
        pa.field("to_level", pa.int32()),
        pa.field("country_gid", pa.string()),
        pa.field("from_release", pa.string()),
        pa.field("to_release", pa.string()),
        pa.field("from_gid", pa.string()),
        pa.field("to_gid", pa.string()),
        pa.field("from_parent_gid", pa.string()),
        pa.field("to_parent_gid", pa.string()),
        pa.field("from_name", pa.string()),
        pa.field("to_name", pa.string()),
        pa.field("is_rekeyed", pa.bool_()),
        pa.field("is_renamed", pa.bool_()),
        pa.field("is_moved", pa.bool_()),
        pa.field("is_reshaped", pa.bool_()),
        pa.field("name_change", pa.string()),
        pa.field("border_change", pa.string()),
        pa.field("from_area_km2", pa.float64()),
        pa.field("to_area_km2", pa.float64()),
        pa.field("share_of_from", pa.float64()),
        pa.field("share_of_to", pa.float64()),
        pa.field("moved_m", pa.float64()),
        pa.field("resolution_m", pa.float64()),
        pa.field("counterpart_count", pa.int32()),
    ]
)
DECIMALS = 6  # of a share
OWN = ("reshaped", "moved", "re-keyed", "renamed")  # what may have happened to a unit by itself, what is more first


def unit_changes(before: Relation, now: Relation, overlaps: Relation) -> pa.RecordBatchReader:
    """Tell what changed between two releases.

    The other way round, the answer is the mirror image: what was split is merged, what is new is gone.

    Parameters
    ----------
    before, now : Relation
        The units, with the columns that `Release` reads.
    overlaps : Relation
        What `admin_boundaries.changes.overlaps.unit_overlaps` returned.

    Returns
    -------
    RecordBatchReader
        One row per unit of either release; a unit that both have is one row. Of the columns of `SCHEMA`, none if there
        is no release before.
    """
    return pa.RecordBatchReader.from_batches(SCHEMA, _batches(before, now, overlaps))


def _batches(before: Relation, now: Relation, overlaps: Relation) -> Iterator[pa.RecordBatch]:
    releases = compared(before, now)
    if len(releases[0]):
        partners = Partners(*releases, read_overlaps(*releases, overlaps))
        yield from _rows(*releases, partners).to_batches(BATCH_ROWS)


def _rows(before: Release, now: Release, partners: Partners) -> pa.Table:
    both = np.flatnonzero(partners.of_now != NONE)
    lost, fresh = np.flatnonzero(partners.of_before == NONE), np.flatnonzero(partners.of_now == NONE)
    unit = np.concatenate([partners.of_now[both], lost, partners.origins[fresh]])
    other = np.concatenate([both, partners.destinations[lost], fresh])
    unit_of = np.repeat(np.array(["both", "from", "to"], object), [len(both), len(lost), len(fresh)])
    is_from, is_to = unit_of != "to", unit_of != "from"
    names = [taken(side.names, at) for side, at in ((before, unit), (now, other))]
    is_both = unit_of == "both"
    columns = {
        "unit_of": unit_of,
        "from_level": taken(before.levels, unit),
        "to_level": taken(now.levels, other),
        "from_gid": taken(before.gids, unit),
        "to_gid": taken(now.gids, other),
        "from_parent_gid": taken(before.gids, taken_at(before.parents, unit)),
        "to_parent_gid": taken(now.gids, taken_at(now.parents, other)),
        "from_name": names[0],
        "to_name": names[1],
        "is_rekeyed": is_both & (taken(before.gids, unit) != taken(now.gids, other)),
        "is_renamed": is_both & (names[0] != names[1]),
        "is_moved": is_both & _is_moved(before, now, partners, unit, other),
        "is_reshaped": is_both & partners.is_reshaped[other],
        "from_area_km2": taken(before.areas_km2, unit),
        "to_area_km2": taken(now.areas_km2, other),
    }
    rows = pd.DataFrame(columns)
    shares = np.where(is_to[:, None], partners.shares[1][other], partners.shares[0][unit])
    rows["share_of_from"], rows["share_of_to"] = shares.round(DECIMALS).T
    rows["from_release"], rows["to_release"] = before.release, now.release
    rows["admin_level"] = np.where(is_to, now.levels[other], before.levels[unit])
    rows["country_gid"] = np.where(is_to, now.countries[other], before.countries[unit])
    rows["name_change"] = [
        name_change(*both) if is_renamed else None for is_renamed, *both in zip(rows["is_renamed"], *names, strict=True)
    ]
    rows["border_change"] = _border_changes(before, now, partners, unit, other, is_both)
    for name, values in (("moved_m", partners.moved_km), ("resolution_m", partners.known_to_km)):
        rows[name] = np.where(is_both, (values[other] * 1000).round(1), np.nan)
    counts = partners.counterparts
    rows["counterpart_count"] = np.maximum(np.where(is_from, counts[0][unit], 0), np.where(is_to, counts[1][other], 0))
    rows["change_type"] = _types(rows, np.where(is_to, partners.kinds[1][other], partners.kinds[0][unit]))
    own = [rows[name].where(has, "") for name, has in (("from_gid", is_from), ("to_gid", is_to))]
    rows["change_key"] = own[0] + " > " + own[1]
    rows = rows.sort_values(["admin_level", "change_key"])
    return pa.table([pa.array(rows[field.name], field.type, from_pandas=True) for field in SCHEMA], schema=SCHEMA)


def _types(rows: pd.DataFrame, kinds: Flags) -> Flags:
    """Return the type of each change: what others had a part in first, then what happened to the unit itself."""
    own = [rows["is_reshaped"], rows["is_moved"], rows["is_rekeyed"], rows["is_renamed"]]
    return np.select([kinds != "", *own], [kinds, *OWN], "kept")


def _is_moved(before: Release, now: Release, partners: Partners, unit: Positions, other: Positions) -> Flags:
    """Return which pairs are on another level, or under a parent that is not the partner of the one before."""
    above, above_now = taken_at(before.parents, unit), taken_at(now.parents, other)
    partner, partner_now = taken_at(partners.of_before, above), taken_at(partners.of_now, above_now)
    is_other = ((partner != NONE) & (partner != above_now)) | ((partner_now != NONE) & (partner_now != above))
    has_one = (above == NONE) != (above_now == NONE)
    moved: Flags = is_other | has_one | (before.levels[unit] != now.levels[other])
    return moved


def _border_changes(
    before: Release, now: Release, partners: Partners, unit: Positions, other: Positions, is_both: Flags
) -> Flags:
    has_hash = np.array([value is not None for value in now.hashes[other]], bool)
    is_same = (before.hashes[unit] == now.hashes[other]) & has_hash
    # a unit that is drawn by its children, of which none has changed
    is_same |= ~partners.is_redrawn[other] & ~np.isnan(partners.moved_km[other])
    found = np.select([partners.is_reshaped[other], is_same], ["reshaped", "same"], "redrawn").astype(object)
    found[~is_both] = None
    return found
