"""Which unit is which: one partner at most, found by codes first, then by names, then by areas.

Codes hold all over the world. Names and areas are compared among units whose closest matched ancestors are each
other's partners, from the countries downwards, so that what is found on one level narrows the search on the next. No
level of one dataset has to be that of the other: units of the same number are compared first, then those one level
apart, and so on. What is left is compared within its country, where names count only if areas agree: the datasets may
put a unit under different ancestors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from admin_boundaries.concordance.shapes import can_share, shares
from admin_boundaries.concordance.side import BARE, NONE, OTHER, OWN, Marts, Side
from admin_boundaries.coverage.arrays import Flags, Positions
from admin_boundaries.python_models import Relation

LEVELS = 6
LEVELS_APART = 2  # of units that may be partners by their names or areas
NAME_SHARE = 0.2  # units of one name have less in common: two places
AREA_SHARE = 0.5  # more than this each way, and no other unit can have as much
SCHEMES = (  # the first ones are those in which a code is given to one unit only
    *("iso_3166_1_alpha_3", "iso_3166_1_alpha_2", "iso_3166_2", "hasc", "geoid", "p_code", "fips", "fips_10_4"),
    *("gers", "shape_id", "wikidata"),
)
CERTAINTY = {"code": 1.0, "name": 0.9, "other_name": 0.85, "name_without_type": 0.8, "area": 0.9}
UNKNOWN_SHARE = 0.5  # what units are taken to have in common for their confidence, where one has no area
NAMED = {"name": (OWN,), "other_name": (OWN, OTHER), "name_without_type": (BARE,)}
PAIR = ("unit", "other", "evidence", "share_of_unit", "share_of_other")
BATCH_ROWS = 1 << 15
LevelPairs: TypeAlias = list[tuple[int, int]]  # levels of ours and theirs that are compared
Groups: TypeAlias = tuple[Positions, Positions]

SCHEMA = pa.schema(
    [
        pa.field("match_key", pa.string()),
        pa.field("gid", pa.string()),
        pa.field("other_gid", pa.string()),
        pa.field("admin_level", pa.int32()),
        pa.field("other_admin_level", pa.int32()),
        pa.field("other_dataset", pa.string()),
        pa.field("method", pa.string()),
        pa.field("evidence", pa.string()),
        pa.field("share_of_unit", pa.float64()),
        pa.field("share_of_other", pa.float64()),
        pa.field("confidence", pa.float64()),
    ]
)


def unit_matches(
    ours: Marts, theirs: Marts, subdivisions: Relation, other_dataset: str, folder: Path | None = None
) -> pa.RecordBatchReader:
    """Find the partner of each unit of a dataset among those of another.

    Memory holds keys, names and codes of both; geometries are on disk, and in memory only while two are compared. The
    answer does not depend on the order of rows, and the other way round it is the same.

    Parameters
    ----------
    ours, theirs : Marts
        Of the dataset that the answer is for, and of the other one.
    subdivisions : Relation
        ``code`` and ``folded_names`` of ISO's subdivisions: a unit with such a code has these names too.
    other_dataset : str
        The name of the other dataset.
    folder : Path, optional
        Of the files on disk; by default that of the system.

    Returns
    -------
    RecordBatchReader
        One row per pair, and one per unit of either side without a partner, of the columns of `SCHEMA`.
    """
    return pa.RecordBatchReader.from_batches(SCHEMA, _batches(ours, theirs, subdivisions, other_dataset, folder))


def _batches(
    ours: Marts, theirs: Marts, subdivisions: Relation, other_dataset: str, folder: Path | None
) -> Iterator[pa.RecordBatch]:
    iso = subdivisions.select("code", "folded_names").batches().read_all()
    with ExitStack() as open_until:
        sides = Side(ours, iso, open_until, folder), Side(theirs, iso, open_until, folder)
        yield from _rows(*sides, Matching(*sides).run(), other_dataset).to_batches(BATCH_ROWS)


class Matching:
    """The pairs that have been found so far.

    Parameters
    ----------
    ours, theirs : Side
        The two datasets.
    """

    def __init__(self, ours: Side, theirs: Side) -> None:
        self._sides = ours, theirs
        self._partners = np.full(len(ours), NONE), np.full(len(theirs), NONE)
        self._found: list[pd.DataFrame] = []

    def run(self) -> pd.DataFrame:
        """Find all pairs.

        Returns
        -------
        DataFrame
            ``unit``, ``other``, ``method``, ``evidence``, ``share_of_unit`` and ``share_of_other``.
        """
        for scheme in SCHEMES:
            self._match_codes(scheme)
        for is_wide in (False, True):
            for level in range(LEVELS):
                steps = [self._levels_of_step(level, apart) for apart in range(min(level, LEVELS_APART) + 1)]
                for levels in filter(None, steps):
                    for method in NAMED:
                        self._match_names(method, levels, is_wide=is_wide)
                for levels in filter(None, steps):
                    self._match_areas(levels, is_wide=is_wide)
        return pd.concat(self._found, ignore_index=True)

    def _levels_of_step(self, level: int, apart: int) -> LevelPairs:
        """Return the levels that are compared together: of two that are apart, neither dataset's comes first."""
        pairs = sorted({(level, level - apart), (level - apart, level)})
        return [pair for pair in pairs if all(at in side.levels for side, at in zip(self._sides, pair, strict=True))]

    def _match_codes(self, scheme: str) -> None:
        """Match units that alone have a code, first among those of the same level."""
        ours, theirs = (side.codes[side.codes["scheme"] == scheme] for side in self._sides)
        pairs = ours.merge(theirs.rename(columns={"unit": "other"}), on=["scheme", "code"])
        pairs["evidence"] = scheme + " " + pairs["code"]
        apart = np.abs(self._sides[0].levels[pairs["unit"]] - self._sides[1].levels[pairs["other"]])
        for distance in range(LEVELS):
            self._add("code", self._measured(_alone(self._free(pairs[apart == distance]))))

    def _match_names(self, method: str, levels: LevelPairs, *, is_wide: bool) -> None:
        """Match units that alone share a name, and whose areas do not say that they are two places."""
        groups = self._groups(is_wide=is_wide)
        pairs = pd.concat(
            [
                self._named(0, method, self._open(0, level, with_area=is_wide), groups)
                .merge(
                    self._named(1, method, self._open(1, other_level, with_area=is_wide), groups),
                    on=["group", "name"],
                )
                .rename(columns={"unit_x": "unit", "unit_y": "other", "name": "evidence"})
                for level, other_level in levels
            ]
        )
        pairs = pairs.sort_values("evidence").drop_duplicates(["unit", "other"])
        is_unknown = ~self._have_areas(pairs) & self._is_narrow(pairs)
        pairs = self._measured(pairs[self._may_share(pairs, NAME_SHARE) | is_unknown])
        self._add(method, _alone(pairs[~(_in_common(pairs) < NAME_SHARE)]))

    def _named(self, of: int, method: str, is_open: Flags, groups: Groups) -> pd.DataFrame:
        """Return the names of some units of a side."""
        names = self._sides[of].names
        unit = names["unit"].to_numpy()
        is_wanted = is_open[unit] & names["kind"].isin(NAMED[method])
        found: pd.DataFrame = names.loc[is_wanted, ["unit", "name"]].drop_duplicates()
        return found.assign(group=groups[of][found["unit"]])

    def _match_areas(self, levels: LevelPairs, *, is_wide: bool) -> None:
        """Match units that have more than half of each other in common."""
        groups = self._groups(is_wide=is_wide)
        pairs = pd.concat([self._meeting(*pair, groups) for pair in levels])
        pairs = self._measured(pairs[self._may_share(pairs, AREA_SHARE)])
        self._add("area", _alone(pairs[_in_common(pairs) > AREA_SHARE]))

    def _meeting(self, level: int, other_level: int, groups: Groups) -> pd.DataFrame:
        """Return the pairs of units of two levels without a partner whose boxes meet, under the same ancestor."""
        unit, other = (np.flatnonzero(self._open(of, at, with_area=True)) for of, at in enumerate((level, other_level)))
        boxes, other_boxes = (
            shapely.box(*side.areas.boxes[at].T) for side, at in zip(self._sides, (unit, other), strict=True)
        )
        one, two = shapely.STRtree(other_boxes).query(boxes)
        unit, other = unit[one], other[two]
        is_together = groups[0][unit] == groups[1][other]
        return pd.DataFrame({"unit": unit[is_together], "other": other[is_together], "evidence": None})

    def _groups(self, *, is_wide: bool) -> Groups:
        """Return where to look for the partner of each unit of both sides, as a unit of ours, or `NONE`.

        That is the closest ancestor that has a partner; with `is_wide`, the country if it has one.
        """
        ours, theirs = (
            side.closest((partners != NONE) & (side.parents == NONE if is_wide else True))
            for side, partners in zip(self._sides, self._partners, strict=True)
        )
        return ours, np.where(theirs == NONE, NONE, self._partners[1][theirs])

    def _open(self, of: int, level: int, *, with_area: bool) -> Flags:
        """Return which units of a level have no partner yet; only those that have an area, if that is needed."""
        is_open: Flags = (self._sides[of].levels == level) & (self._partners[of] == NONE)
        return is_open & (self._sides[of].areas.sizes > 0) if with_area else is_open

    def _free(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Return those pairs of which neither has a partner."""
        ours, theirs = self._partners
        free: pd.DataFrame = pairs[(ours[pairs["unit"]] == NONE) & (theirs[pairs["other"]] == NONE)]
        return free

    def _may_share(self, pairs: pd.DataFrame, share: float) -> Flags:
        ours, theirs = (side.areas for side in self._sides)
        return can_share(ours, theirs, pairs["unit"].to_numpy(), pairs["other"].to_numpy(), share)

    def _have_areas(self, pairs: pd.DataFrame) -> Flags:
        ours, theirs = (side.areas.sizes for side in self._sides)
        have_areas: Flags = (ours[pairs["unit"]] > 0) & (theirs[pairs["other"]] > 0)
        return have_areas

    def _is_narrow(self, pairs: pd.DataFrame) -> Flags:
        """Return whether a name means one place only: under an ancestor that has a partner, or among countries."""
        ours, theirs = (side.parents == NONE for side in self._sides)
        return np.asarray((pairs["group"] != NONE) | (ours[pairs["unit"]] & theirs[pairs["other"]]))

    def _measured(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Add what the units of each pair have in common."""
        ours, theirs = (side.areas for side in self._sides)
        of_unit, of_other = shares(ours, theirs, pairs["unit"].to_numpy(), pairs["other"].to_numpy()).T
        return pairs.assign(share_of_unit=of_unit, share_of_other=of_other)

    def _add(self, method: str, pairs: pd.DataFrame) -> None:
        unit, other = pairs["unit"].to_numpy(), pairs["other"].to_numpy()
        self._partners[0][unit], self._partners[1][other] = other, unit
        self._found.append(pairs[list(PAIR)].assign(method=method))


def _alone(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return those pairs whose units are in no other pair."""
    return pairs[~(pairs.duplicated("unit", keep=False) | pairs.duplicated("other", keep=False))]


def _in_common(pairs: pd.DataFrame) -> pd.Series[float]:
    """Return the smaller share of each pair; not a number where it is not known."""
    return pairs[["share_of_unit", "share_of_other"]].min(axis=1)


def _rows(ours: Side, theirs: Side, pairs: pd.DataFrame, other_dataset: str) -> pa.Table:
    """Return the pairs, and the units without a partner, by keys."""
    common = _in_common(pairs).fillna(UNKNOWN_SHARE)
    pairs = pairs.assign(confidence=(pairs["method"].map(CERTAINTY).astype(float) * (1 + common) / 2).round(3))
    without, others_without = (
        np.setdiff1d(np.arange(len(side)), pairs[name]) for side, name in ((ours, "unit"), (theirs, "other"))
    )
    rows = pd.concat(
        [
            pairs,
            pd.DataFrame({"unit": without, "other": NONE, "method": "none"}),
            pd.DataFrame({"unit": NONE, "other": others_without, "method": "none"}),
        ],
        ignore_index=True,
    )
    rows = rows.sort_values(["unit", "other"])
    gids, levels = _of(ours, rows["unit"])
    other_gids, other_levels = _of(theirs, rows["other"])
    keys = pc.binary_join_element_wise(pc.fill_null(gids, ""), pc.fill_null(other_gids, ""), " = ")
    columns = {
        "match_key": keys,
        "gid": gids,
        "other_gid": other_gids,
        "admin_level": levels,
        "other_admin_level": other_levels,
        "other_dataset": pa.repeat(other_dataset, len(rows)),
        **{name: pa.array(rows[name], from_pandas=True) for name in SCHEMA.names[6:]},
    }
    return pa.table([columns[field.name].cast(field.type) for field in SCHEMA], SCHEMA)


def _of(side: Side, unit: pd.Series[int]) -> tuple[pa.Array, pa.Array]:
    """Return the keys and levels of units; null where there is none."""
    at = pa.array(unit.to_numpy(), mask=(unit == NONE).to_numpy())
    return side.gids.take(at), pa.array(side.levels).take(at)
