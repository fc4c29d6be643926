"""Which units of two releases have ground in common, level by level, rolled up from those that are located."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from admin_boundaries.changes.overlaps import Located, Overlaps
from admin_boundaries.changes.releases import NONE, Release
from admin_boundaries.coverage.arrays import Flags, Numbers, Positions, at_or_zero, widest

ROUNDING = 1e-9  # of a unit: less than this outside of the other release is nothing


@dataclass(frozen=True)
class Side:
    """The units of one release that exist on a level, or end above it.

    Attributes
    ----------
    areas_km2, outside_km2, rest_widths_km, rest_edges_km, resolutions_km : ndarray of float64
        By the positions of units: the area; the part of it that is in no unit of the other release, how wide that is
        and how long the edges around its widest piece; and how long the edges of the border are.
    totals_km2 : ndarray of float64
        What shares are of: the area, or where units of the other release overlap, all that they have of it.
    """

    areas_km2: Numbers
    outside_km2: Numbers
    rest_widths_km: Numbers
    rest_edges_km: Numbers
    resolutions_km: Numbers
    totals_km2: Numbers


@dataclass(frozen=True)
class Links:
    """Pairs of units with ground in common on a level, of which one at least is a unit of that very level.

    The other may be the last unit of a branch that ends above the level.

    Attributes
    ----------
    before, now : ndarray of int, shape (n,)
        The units, by positions.
    areas_km2, widths_km, edges_km : ndarray of float64, shape (n,)
        The area in common, the width of its widest piece, and how long the edges are around that.
    shares_before, shares_now : ndarray of float64, shape (n,)
        The part of either unit that is in the other.
    is_changed : ndarray of bool, shape (n,)
        Whether more than units of the same geometry are in it.
    sides : (Side, Side)
        The units of both releases.
    """

    before: Positions
    now: Positions
    areas_km2: Numbers
    widths_km: Numbers
    edges_km: Numbers
    shares_before: Numbers
    shares_now: Numbers
    is_changed: Flags
    sides: tuple[Side, Side]


def links_on(level: int, before: Release, now: Release, overlaps: Overlaps) -> Links:
    """Roll the ground of located units up to a level."""
    ancestors = before.at_level(level), now.at_level(level)
    counts = before.counts_on(level), now.counts_on(level)
    is_here = counts[0][overlaps.before] & counts[1][overlaps.now]
    pairs = ancestors[0][overlaps.before[is_here]], ancestors[1][overlaps.now[is_here]]
    has_both = (pairs[0] != NONE) & (pairs[1] != NONE)
    found, of_pair = np.unique(pairs[0][has_both] * len(now) + pairs[1][has_both], return_inverse=True)
    at = np.flatnonzero(is_here)[has_both]
    areas: Numbers = np.bincount(of_pair, overlaps.areas_km2[at], minlength=len(found)).astype(np.float64)
    is_changed = np.zeros(len(found), bool)
    wide = at[widest(of_pair, overlaps.widths_km[at], overlaps.edges_km[at], len(found))]
    np.logical_or.at(is_changed, of_pair, ~overlaps.is_same[at])
    one, two = np.divmod(found, max(1, len(now)))
    sides = (
        _side(level, before, ancestors[0], counts[0], overlaps.units[0], one, areas),
        _side(level, now, ancestors[1], counts[1], overlaps.units[1], two, areas),
    )
    kept = (before.levels[one] == level) | (now.levels[two] == level)
    one, two, areas, wide, is_changed = (values[kept] for values in (one, two, areas, wide, is_changed))
    return Links(
        one,
        two,
        areas,
        overlaps.widths_km[wide],
        overlaps.edges_km[wide],
        areas / sides[0].totals_km2[one],
        areas / sides[1].totals_km2[two],
        is_changed,
        sides,
    )


def _side(
    level: int,
    release: Release,
    ancestors: Positions,
    counts: Flags,
    located: Located,
    of_pair: Positions,
    common: Numbers,
) -> Side:
    unit = np.flatnonzero(counts & (ancestors != NONE))
    above, size = ancestors[unit], len(release)
    areas: Numbers = np.bincount(above, located.areas_km2[unit], minlength=size).astype(np.float64)
    covered: Numbers = np.bincount(of_pair, common, minlength=size).astype(np.float64)
    outside: Numbers = areas - covered
    outside[outside < ROUNDING * areas] = 0
    rest = located.rest_widths_km[unit, level], located.rest_edges_km[unit, level]
    at = widest(above, *rest, size)
    has_rest = outside > 0
    widths, rest_edges = (np.where(has_rest, at_or_zero(values, at), 0) for values in rest)
    edges = np.bincount(above, located.edge_counts[unit], minlength=size)
    borders = np.bincount(above, located.border_km[unit], minlength=size)
    return Side(
        areas,
        outside,
        widths,
        rest_edges,
        np.divide(borders, edges, out=np.zeros(size), where=edges > 0),
        np.where(outside > 0, areas, covered),
    )
