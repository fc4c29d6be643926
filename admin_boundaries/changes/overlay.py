"""The ground that units of two releases have in common, and how wide it is.

Whether a border has moved is a question of width: the ground between two ways to draw the same border is long and
narrow. The width of a piece of ground is four times its area by its perimeter: the diameter of a round piece, and twice
the width of a strip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from admin_boundaries.areas import KM2, Areas, borders_of, parts_of, read_once
from admin_boundaries.coverage.arrays import Flags, Numbers, Positions, Shapes
from admin_boundaries.coverage.threads import in_threads

QUERIED = 1 << 14  # units whose boxes are looked up together
LEAST = 1e-9  # of a unit: less ground than this comes from rounding


@dataclass(frozen=True)
class Ground:
    """Pieces of ground, each in one unit of either release, or in a unit of one only.

    Attributes
    ----------
    before, now : ndarray of int, shape (n,)
        The units, by positions.
    areas_km2, widths_km : ndarray of float64, shape (n,)
        The area in common, and the width of the widest piece of it.
    """

    before: Positions
    now: Positions
    areas_km2: Numbers
    widths_km: Numbers


def pairs_that_meet(before: Areas, now: Areas, units: Positions, others: Positions) -> tuple[Positions, Positions]:
    """Return the pairs of units whose boxes meet, in the order of the first.

    Parameters
    ----------
    before, now : Areas
        Of the units of both releases.
    units, others : ndarray of int
        Which of them.
    """
    units, others = units[before.sizes[units] > 0], others[now.sizes[others] > 0]
    tree = shapely.STRtree(shapely.box(*now.boxes[others].T))
    found = []
    for start in range(0, len(units), QUERIED):
        some = units[start : start + QUERIED]
        one, two = tree.query(shapely.box(*before.boxes[some].T))
        found.append((some[one], others[two]))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate([one for one, _ in found]), np.concatenate([two for _, two in found])


def common_ground(before: Areas, now: Areas, unit: Positions, other: Positions) -> Ground:
    """Measure what pairs of units have in common.

    Parameters
    ----------
    before, now : Areas
        Of the units of both releases.
    unit, other : ndarray of int, shape (n,)
        The pairs.

    Returns
    -------
    Ground
        Of those pairs that have any.
    """
    areas, widths = np.zeros(len(unit)), np.zeros(len(unit))

    def measured(pairs: Positions) -> tuple[Positions, Numbers, Numbers]:
        one, two = read_once(before, unit[pairs]), read_once(now, other[pairs])
        common = shapely.intersection(one, two)
        found = shapely.area(common)
        has_ground = found > 0
        wide = np.zeros(len(pairs))
        wide[has_ground] = widths_of(common[has_ground])
        return pairs, found * KM2, wide

    def note(result: tuple[Positions, Numbers, Numbers]) -> None:
        pairs, found, wide = result
        areas[pairs], widths[pairs] = found, wide

    order = _along_a_curve(before, unit)
    sizes = before.bytes_of(unit[order]) + now.bytes_of(other[order])
    in_threads(measured, (order[part] for part in parts_of(sizes)), note)
    least = LEAST * KM2 * np.minimum(before.sizes[unit], now.sizes[other])
    kept = areas > least
    return Ground(unit[kept], other[kept], areas[kept], widths[kept])


def rest_widths(areas: Areas, others: Areas, unit: Positions, covered_by: Sequence[Positions]) -> Numbers:
    """Return how wide the ground of units is that others do not cover, in kilometres.

    Parameters
    ----------
    areas, others : Areas
        Of the units of this release, and of the other one.
    unit : ndarray of int, shape (n,)
        The units.
    covered_by : sequence of ndarray of int, of length n
        For each, the units of the other release that have ground in common with it.
    """
    found = np.zeros(len(unit))

    def measured(chosen: Positions) -> tuple[Positions, Numbers]:
        rest = read_once(areas, unit[chosen])
        for round_no in range(max((len(covered_by[at]) for at in chosen), default=0)):
            has_more = np.array([len(covered_by[at]) > round_no for at in chosen], bool) & ~shapely.is_empty(rest)
            if has_more.any():
                taken = np.array([covered_by[at][round_no] for at in chosen[has_more]])
                rest[has_more] = shapely.difference(rest[has_more], read_once(others, taken))
        return chosen, widths_of(rest)

    def note(result: tuple[Positions, Numbers]) -> None:
        chosen, wide = result
        found[chosen] = wide

    sizes = areas.bytes_of(unit) + np.array([others.bytes_of(at).sum() for at in covered_by], np.int64)
    in_threads(measured, parts_of(sizes), note)
    return found


def _along_a_curve(areas: Areas, unit: Positions) -> Positions:
    """Return pairs in an order in which those of one neighbourhood are together: by tiles, and in them by unit."""
    middles = (areas.boxes[unit, :2] + areas.boxes[unit, 2:]) / 2
    tiles = np.floor(middles / 2).astype(np.int64)
    return np.lexsort((unit, tiles[:, 0], tiles[:, 1]))


def widths_of(shapes: Shapes) -> Numbers:
    """Return how wide each shape on the cylinder is where it is widest, in kilometres; 0 where it has no area."""
    parts, of_shape = shapely.get_parts(shapes, return_index=True)
    is_area = shapely.get_dimensions(parts) == 2
    parts, of_shape = parts[is_area], of_shape[is_area]
    if not len(parts):
        return np.zeros(len(shapes))
    areas = shapely.area(parts)
    lengths, _ = borders_of(parts)
    widths = np.zeros(len(shapes))
    np.maximum.at(widths, of_shape, np.divide(4 * areas * KM2, lengths, out=np.zeros(len(parts)), where=lengths > 0))
    return widths


def may_be_wide(areas_km2: Numbers, width_km: Numbers) -> Flags:
    """Return where pieces of an area can be that wide at all: the widest one of an area is a circle."""
    wide: Flags = 2 * np.sqrt(areas_km2 / np.pi) > width_km
    return wide
