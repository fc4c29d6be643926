"""Which unit of a release is which unit of the other, and what became of those that are none."""

from __future__ import annotations

import numpy as np
import pandas as pd

from admin_boundaries.changes.judgement import MOST, Judge, Moves, others_of, usual_moves
from admin_boundaries.changes.links import Links, links_on
from admin_boundaries.changes.names import folded
from admin_boundaries.changes.overlaps import Overlaps
from admin_boundaries.changes.releases import LEVELS, NONE, Release, numbered
from admin_boundaries.coverage.arrays import Flags, Numbers, Positions, Texts, at_or_zero, linked

NEARLY = 0.9  # of each other: the same unit, whatever it is called
ALIKE = 0.5  # of the larger area, for a unit that is on another level now


class Partners:
    """The pairs of units that are the same unit, and how the others are related to them.

    A unit is one of the other release if it has its geometry; or if each has most of the other, and also the key, the
    name, nearly all of the other, or no ground in common with a third; or if it has its key and name, and any ground.

    Parameters
    ----------
    before, now : Release
        The units.
    overlaps : Overlaps
        Of their located units.

    Attributes
    ----------
    of_before, of_now : ndarray of int
        The partner of each unit, or `NONE`.
    kinds : (ndarray of object, ndarray of object)
        For each unit of either release, what became of it as far as others had a part in it: ``split``, ``merged``,
        ``complex``, ``new`` or ``gone``; empty for the rest.
    moved_km, known_to_km : ndarray of float64
        By units now: how far the border has moved from that of the partner, and how well it is known. Not a number
        without a partner, or where either has no area.
    is_reshaped, is_redrawn : ndarray of bool
        By units now: whether it has moved further than that; whether it differs at all.
    counterparts : (ndarray of int, ndarray of int)
        With how many units of the other release each has more than a sliver in common.
    origins, destinations : ndarray of int
        The unit before from which most of the ground of a unit now came, and the other way round; or `NONE`.
    shares : (ndarray of float64, ndarray of float64), for either release
        The parts of a unit and of its partner (or else origin or destination) that are in the other one.
    """

    def __init__(self, before: Release, now: Release, overlaps: Overlaps) -> None:
        self._releases = before, now
        self._keys, self._hashes = numbered(before.gids, now.gids), numbered(before.hashes, now.hashes)
        self.of_before, self.of_now = np.full(len(before), NONE), np.full(len(now), NONE)
        self.kinds = _texts(len(before)), _texts(len(now))
        self.moved_km, self.known_to_km = np.full(len(now), np.nan), np.full(len(now), np.nan)
        self.is_reshaped, self.is_redrawn = np.zeros(len(now), bool), np.zeros(len(now), bool)
        self.counterparts = np.zeros(len(before), np.int64), np.zeros(len(now), np.int64)
        self.destinations, self.origins = np.full(len(before), NONE), np.full(len(now), NONE)
        self.shares = np.full((len(before), 2), np.nan), np.full((len(now), 2), np.nan)
        levels = [links_on(level, before, now, overlaps) for level in range(LEVELS)]
        moves = usual_moves(before, now, levels)
        for level, links in enumerate(levels):
            self._match(level, links, moves)
        self._match_across_levels()
        for links in levels:
            self._measure(links, moves)

    def _match(self, level: int, links: Links, moves: Moves) -> None:
        """Find the partners of the units of a level, and what became of the rest."""
        before, now = self._releases
        judge = Judge(before, now, links, moves)
        is_level = (before.levels[links.before] == level) & (now.levels[links.now] == level)
        pairs = pd.DataFrame(
            {
                "unit": links.before,
                "other": links.now,
                "share": links.shares_before,
                "share_of_other": links.shares_now,
                "is_ground": judge.are_ground(),
            }
        )[is_level]
        ground = pairs[pairs["is_ground"]]
        np.add.at(self.counterparts[0], ground["unit"], 1)
        np.add.at(self.counterparts[1], ground["other"], 1)
        at_level = [np.flatnonzero(release.levels == level) for release in self._releases]
        self._join(self._alike(self._hashes, *at_level))
        unit, other = pairs["unit"].to_numpy(), pairs["other"].to_numpy()
        has_key = before.gids[unit] == now.gids[other]
        least = pairs[["share", "share_of_other"]].min(axis=1).to_numpy()
        # of the others, of which there are many, no name is asked for
        named = np.flatnonzero(has_key | ((least > MOST) & (least < NEARLY)))
        has_name = np.zeros(len(pairs), bool)
        has_name[named] = _same_names(before.names[unit[named]], now.names[other[named]])
        is_alone = (self.counterparts[0][unit] == 1) & (self.counterparts[1][other] == 1)
        is_likely = (least > MOST) & (has_key | has_name | is_alone | (least >= NEARLY))
        self._join(_best(pairs[is_likely], has_key[is_likely], least[is_likely]))
        is_likely = has_key & has_name
        self._join(_best(pairs[is_likely], has_key[is_likely], least[is_likely]))
        self._join_without_area(links, *at_level)
        self._relate(ground, *at_level)

    def _join(self, pairs: tuple[Positions, Positions]) -> None:
        """Make pairs partners, of which neither has any; of a unit in several, the first counts."""
        unit, other = pairs
        is_open = (self.of_before[unit] == NONE) & (self.of_now[other] == NONE)
        unit, other = unit[is_open], other[is_open]
        is_only = (np.bincount(unit)[unit] == 1) & (np.bincount(other)[other] == 1)
        self.of_before[unit[is_only]], self.of_now[other[is_only]] = other[is_only], unit[is_only]
        for one, two in zip(unit[~is_only], other[~is_only], strict=True):
            if self.of_before[one] == NONE and self.of_now[two] == NONE:
                self.of_before[one], self.of_now[two] = two, one

    def _open(self, of: int, units: Positions) -> Positions:
        """Return those units of a release that have no partner."""
        partners = (self.of_before, self.of_now)[of]
        found: Positions = units[partners[units] == NONE]
        return found

    def _alike(
        self, numbers: tuple[Positions, Positions], units: Positions, others: Positions
    ) -> tuple[Positions, Positions]:
        """Return the pairs of units without a partner that have one number, those with one key first."""
        sides = []
        for side, at in enumerate((self._open(0, units), self._open(1, others))):
            some = at[numbers[side][at] != NONE]
            sides.append(pd.DataFrame({"unit": some, "number": numbers[side][some]}))
        pairs = sides[0].merge(sides[1], on="number")
        unit, other = pairs["unit_x"].to_numpy(np.int64), pairs["unit_y"].to_numpy(np.int64)
        order = np.lexsort((other, unit, self._keys[0][unit] != self._keys[1][other]))
        return unit[order], other[order]

    def _join_without_area(self, links: Links, units: Positions, others: Positions) -> None:
        """Join units with one key of which one has no area, such as a place that is a point."""
        unit, other = self._alike(self._keys, units, others)
        has_none = (links.sides[0].areas_km2[unit] == 0) | (links.sides[1].areas_km2[other] == 0)
        self._join((unit[has_none], other[has_none]))

    def _match_across_levels(self) -> None:
        """Join units that are on another level now: with the same geometry, or the same key, name and size."""
        before, now = self._releases
        every = np.arange(len(before)), np.arange(len(now))
        open_before = self.of_before == NONE, self.of_now == NONE
        self._join(self._alike(self._hashes, *every))
        unit, other = self._alike(self._keys, *every)
        sizes = np.sort(np.nan_to_num(np.column_stack((before.areas_km2[unit], now.areas_km2[other]))), axis=1)
        is_same = _same_names(before.names[unit], now.names[other]) & (sizes[:, 0] >= ALIKE * sizes[:, 1])
        is_same &= before.levels[unit] != now.levels[other]
        self._join((unit[is_same], other[is_same]))
        for kinds, partners, was_open in zip(self.kinds, (self.of_before, self.of_now), open_before, strict=True):
            kinds[was_open & (partners != NONE)] = ""

    def _relate(self, ground: pd.DataFrame, units: Positions, others: Positions) -> None:
        """Note what became of units that have no partner, and of the partners that had a part in it."""
        before, now = self._releases
        unit, other = ground["unit"].to_numpy(np.int64), ground["other"].to_numpy(np.int64)
        is_open = (self.of_before[unit] == NONE) | (self.of_now[other] == NONE)
        paired = self._paired(units)
        edges = np.concatenate(
            [
                np.column_stack((unit[is_open], other[is_open])),
                np.column_stack((paired, self.of_before[paired])),
            ]
        )
        group = linked(len(before) + len(now), edges + np.array([0, len(before)]))
        here, there = group[units], group[len(before) + others]
        counts = [np.bincount(at, minlength=len(group)) for at in (here, there)]
        kind = _texts(len(group))
        kind[(counts[0] == 1) & (counts[1] > 1)] = "split"
        kind[(counts[0] > 1) & (counts[1] == 1)] = "merged"
        kind[(counts[0] > 1) & (counts[1] > 1)] = "complex"
        kind[counts[1] == 0] = "gone"
        kind[counts[0] == 0] = "new"
        self.kinds[0][units], self.kinds[1][others] = kind[here], kind[there]
        # one unit before and one now, and most of one is in the other: there is nothing else that it could be
        alone = (counts[0][here] == 1) & (counts[1][here] == 1) & (self.of_before[units] == NONE)
        first = np.zeros(len(group), np.int64)
        first[there] = others
        self._join((units[alone], first[here[alone]]))

    def _paired(self, units: Positions) -> Positions:
        found: Positions = units[self.of_before[units] != NONE]
        return found

    def _measure(self, links: Links, moves: Moves) -> None:
        """Note how far the borders of partners have moved, and where most of the ground of the others is."""
        before, now = self._releases
        judge = Judge(before, now, links, moves)
        unit, other = links.before, links.now
        is_pair = self.of_before[unit] == other
        pair_unit, pair_other = unit[is_pair], other[is_pair]
        is_ground, other_is_wide = judge.are_ground(), judge.are_wide()[~is_pair]
        is_wide = np.zeros(len(before), bool), np.zeros(len(now), bool)
        for units, wide in zip((unit, other), is_wide, strict=True):
            np.logical_or.at(wide, units[~is_pair], other_is_wide)
        rest = [judge.have_wide_rest(side) for side in (0, 1)]
        known, of_units = judge.known_to(), judge.units_known_to()[is_pair]
        widest_links = others_of(links, is_pair, known)
        # the ground that changed hands, and that which only one release has
        ways = [at_or_zero(links.widths_km, at) for at in widest_links]
        ways += [links.sides[0].rest_widths_km[pair_unit], links.sides[1].rest_widths_km[pair_other]]
        resolutions = [np.where(at < 0, of_units, known[at]) for at in widest_links]
        resolutions += [judge.rest_known_to(0)[pair_unit], judge.rest_known_to(1)[pair_other]]
        moved = np.maximum.reduce(ways)
        self.moved_km[pair_other] = moved
        self.known_to_km[pair_other] = np.maximum.reduce(
            [np.where(way == moved, known_to, 0) for way, known_to in zip(ways, resolutions, strict=True)]
        )
        self.is_reshaped[pair_other] = (
            is_wide[0][pair_unit] | is_wide[1][pair_other] | rest[0][pair_unit] | rest[1][pair_other]
        )
        self.is_redrawn[pair_other] = links.is_changed[is_pair] | (self.moved_km[pair_other] > 0)
        own = np.column_stack((links.shares_before, links.shares_now))
        self.shares[0][pair_unit], self.shares[1][pair_other] = own[is_pair], own[is_pair]
        for at, (units, partners, most, other_units) in enumerate(
            ((unit, self.of_before, self.destinations, other), (other, self.of_now, self.origins, unit))
        ):
            release = self._releases[at]
            exists = release.levels[units] == np.maximum(before.levels[unit], now.levels[other])
            wanted = np.flatnonzero((partners[units] == NONE) & is_ground & exists)
            order = wanted[np.lexsort((other_units[wanted], -links.areas_km2[wanted], units[wanted]))]
            firsts = order[np.flatnonzero(np.diff(units[order], prepend=NONE))]
            most[units[firsts]] = other_units[firsts]
            self.shares[at][units[firsts]] = own[firsts]


def _best(pairs: pd.DataFrame, has_key: Flags, least: Numbers) -> tuple[Positions, Positions]:
    """Return pairs in the order of how likely they are."""
    ranked = pairs.assign(differs=~has_key, least=-least).sort_values(["differs", "least", "unit", "other"])
    return ranked["unit"].to_numpy(np.int64), ranked["other"].to_numpy(np.int64)


def _same_names(names: Texts, others: Texts) -> Flags:
    """Return which pairs of names are the same but for their spelling."""
    same: Flags = names == others
    for at in np.flatnonzero(~same):
        same[at] = folded(names[at]) == folded(others[at])
    return same


def _texts(count: int) -> Texts:
    return np.full(count, "", dtype=object)
