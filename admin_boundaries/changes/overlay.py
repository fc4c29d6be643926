"""The ground that units of two releases have in common, and how wide it is.

Whether a border has moved is a question of width: the ground between two ways to draw the same border is long and
narrow. The width of a piece of ground is four times its area by its perimeter: the diameter of a round piece, and twice
the width of a strip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from admin_boundaries.areas import KM2, Areas, borders_of, parts_of, read_once
from admin_boundaries.coverage.arrays import Flags, Numbers, Positions, Shapes
from admin_boundaries.coverage.threads import in_threads

QUERIED = 1 << 14  # polygons whose boxes are looked up together
TILE = 2.0  # degrees: polygons of one tile are compared together
LEAST = 1e-9  # of a unit: less ground than this comes from rounding


@dataclass(frozen=True)
class Ground:
    """Ground that units of two releases have in common, or polygons of them.

    Attributes
    ----------
    before, now : ndarray of int, shape (n,)
        The units, or polygons, by positions.
    areas_km2, widths_km : ndarray of float64, shape (n,)
        The area in common, and the width of the widest piece of it.
    """

    before: Positions
    now: Positions
    areas_km2: Numbers
    widths_km: Numbers


def common_ground(
    before: Areas, now: Areas, may_meet: Callable[[Positions, Positions], Flags]
) -> tuple[Ground, Ground]:
    """Measure what units have in common, polygon against polygon.

    Parameters
    ----------
    before, now : Areas
        Of the units of both releases.
    may_meet : callable
        Of pairs of units, which are of interest.

    Returns
    -------
    (Ground, Ground)
        Of the pairs of units that have any, and of the pairs of their polygons.
    """
    one, two = _polygons_that_meet(before, now, may_meet)
    areas, widths = np.zeros(len(one)), np.zeros(len(one))

    def measured(pairs: Positions) -> tuple[Positions, Numbers, Numbers]:
        ones, twos = read_once(before.read_polygons, one[pairs]), read_once(now.read_polygons, two[pairs])
        common = shapely.intersection(ones, twos)
        found = shapely.area(common)
        has_ground = found > 0
        wide = np.zeros(len(pairs))
        wide[has_ground] = widths_of(common[has_ground])
        return pairs, found * KM2, wide

    def note(result: tuple[Positions, Numbers, Numbers]) -> None:
        pairs, found, wide = result
        areas[pairs], widths[pairs] = found, wide

    sizes = before.bytes_of_polygons(one) + now.bytes_of_polygons(two)
    in_threads(measured, parts_of(sizes), note)
    has_ground = areas > 0
    polygons = Ground(one[has_ground], two[has_ground], areas[has_ground], widths[has_ground])
    return _of_units(before, now, polygons), polygons


def _polygons_that_meet(
    before: Areas, now: Areas, may_meet: Callable[[Positions, Positions], Flags]
) -> tuple[Positions, Positions]:
    """Return the pairs of polygons whose boxes meet, those of one neighbourhood together."""
    tree = shapely.STRtree(shapely.box(*now.polygon_boxes.T))
    middles = (before.polygon_boxes[:, :2] + before.polygon_boxes[:, 2:]) / 2
    tiles = np.floor(middles / TILE)
    order = np.lexsort((before.units, tiles[:, 0], tiles[:, 1]))
    ones, twos = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(order), QUERIED):
        some = order[start : start + QUERIED]
        one, two = tree.query(shapely.box(*before.polygon_boxes[some].T))
        one = some[one]
        wanted = may_meet(before.units[one], now.units[two])
        ones.append(one[wanted])
        twos.append(two[wanted])
    return np.concatenate(ones), np.concatenate(twos)


def _of_units(before: Areas, now: Areas, polygons: Ground) -> Ground:
    """Add up the ground of pairs of units."""
    keys = before.units[polygons.before] * len(now.sizes) + now.units[polygons.now]
    pairs, of_pair = np.unique(keys, return_inverse=True)
    unit, other = np.divmod(pairs, max(1, len(now.sizes)))
    areas: Numbers = np.bincount(of_pair, polygons.areas_km2, minlength=len(pairs)).astype(np.float64)
    widths = np.zeros(len(pairs))
    np.maximum.at(widths, of_pair, polygons.widths_km)
    kept = areas > LEAST * KM2 * np.minimum(before.sizes[unit], now.sizes[other])
    return Ground(unit[kept], other[kept], areas[kept], widths[kept])


def rest_widths(areas: Areas, others: Areas, polygon: Positions, covered_by: Sequence[Positions]) -> Numbers:
    """Return how wide the ground of polygons is that others do not cover, in kilometres.

    Parameters
    ----------
    areas, others : Areas
        Of the units of this release, and of the other one.
    polygon : ndarray of int, shape (n,)
        The polygons.
    covered_by : sequence of ndarray of int, of length n
        For each, the polygons of the other release that have ground in common with it.
    """
    found = np.zeros(len(polygon))

    def measured(chosen: Positions) -> tuple[Positions, Numbers]:
        rest = areas.read_polygons(polygon[chosen])
        for round_no in range(max((len(covered_by[at]) for at in chosen), default=0)):
            has_more = np.array([len(covered_by[at]) > round_no for at in chosen], bool) & ~shapely.is_empty(rest)
            if has_more.any():
                taken = np.array([covered_by[at][round_no] for at in chosen[has_more]])
                rest[has_more] = shapely.difference(rest[has_more], read_once(others.read_polygons, taken))
        return chosen, widths_of(rest)

    def note(result: tuple[Positions, Numbers]) -> None:
        chosen, wide = result
        found[chosen] = wide

    lengths = [others.bytes_of_polygons(at).sum() for at in covered_by]
    in_threads(measured, parts_of(areas.bytes_of_polygons(polygon) + np.array(lengths, np.int64)), note)
    return found


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
