"""The ground that units of two releases have in common, and how wide it is.

Whether a border has moved is a question of width: the ground between two ways to draw the same border is long and
narrow. The width of a piece of ground is four times its area by its perimeter: the diameter of a round piece, and twice
the width of a strip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import shapely
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from admin_boundaries.areas import KM2, PARTS_AHEAD, Areas, borders_of, parts_of, read_once
from admin_boundaries.changes.differences import clipped, differences, sizes_of
from admin_boundaries.coverage.arrays import Flags, Numbers, Positions, Shapes, at_or_zero, widest
from admin_boundaries.coverage.threads import in_threads

Polygons = tuple[Numbers, Positions, Positions, Numbers, Positions, Numbers]  # as `kernels` takes them

QUERIED = 1 << 14  # polygons whose boxes are looked up together
TILE = 2.0  # degrees: polygons of one tile are compared together
MANY = 500  # vertices, from which a polygon is clipped to where it is needed
SMALLER = 0.5  # of its own box
MARGINS = np.array([-1e-6, -1e-6, 1e-6, 1e-6])  # degrees, around a box
LEAST = 1e-9  # of a unit: less ground than this comes from rounding
MUCH = 1 << 25  # bytes of polygons, from which it pays to have loops of our own compiled, which takes half a minute
AGAIN = 16  # of the bytes of a polygon, what it takes to lay it over one more


@dataclass(frozen=True)
class Ground:
    """Ground that units of two releases have in common, or polygons of them.

    Attributes
    ----------
    before, now : ndarray of int, shape (n,)
        The units, or polygons, by positions.
    areas_km2, widths_km, edges_km : ndarray of float64, shape (n,)
        The area in common, the width of the widest piece of it, and how long the edges are around that.
    """

    before: Positions
    now: Positions
    areas_km2: Numbers
    widths_km: Numbers
    edges_km: Numbers

    def where(self, kept: Flags) -> Self:
        """Return some of it."""
        return type(self)(
            self.before[kept], self.now[kept], self.areas_km2[kept], self.widths_km[kept], self.edges_km[kept]
        )


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
    areas, widths, edges = np.zeros(len(one)), np.zeros(len(one)), np.zeros(len(one))
    sizes = before.bytes_of_polygons(one) + now.bytes_of_polygons(two)
    is_much = _is_much(before, now)
    if is_much:
        sizes = _once(before.bytes_of_polygons(one), one) + _once(now.bytes_of_polygons(two), two)
    measure = _measured_by_graph if is_much else _measured

    def measured(pairs: Positions) -> tuple[Positions, Numbers, Numbers, Numbers]:
        return pairs, *measure((before, now), (one[pairs], two[pairs]))

    def note(result: tuple[Positions, Numbers, Numbers, Numbers]) -> None:
        pairs, areas[pairs], widths[pairs], edges[pairs] = result

    in_threads(measured, parts_of(sizes), note, ahead=PARTS_AHEAD)
    has_ground = areas > 0
    polygons = Ground(one, two, areas, widths, edges).where(has_ground)
    return _of_units(before, now, polygons), polygons


def _is_much(areas: Areas, others: Areas) -> bool:
    return areas.total_bytes + others.total_bytes > MUCH


def _once(sizes: Positions, polygons: Positions) -> Positions:
    """Return how much more memory each of some polygons takes, if those that were there before are still there."""
    found = sizes // AGAIN
    first = np.unique(polygons, return_index=True)[1]
    found[first] = sizes[first]
    return found


def _measured_by_graph(
    releases: tuple[Areas, Areas], pairs: tuple[Positions, Positions]
) -> tuple[Numbers, Numbers, Numbers]:
    """Measure as `_measured` does, in loops of our own; what is not certain there, GEOS measures."""
    from admin_boundaries.changes import kernels

    one, two, places, others = _read_once_each(releases, pairs)
    count = len(places)
    found, states = kernels.measured(kernels.COMMON, one, two, places, np.arange(count + 1), others, np.zeros(count))
    measures = found[:, 0] * KM2, found[:, 1], found[:, 2]
    unsure = np.flatnonzero(states == kernels.UNSURE)
    by_geos = _measured(releases, (pairs[0][unsure], pairs[1][unsure]))
    for measure, values in zip(measures, by_geos, strict=True):
        measure[unsure] = values
    return measures


def _read_once_each(
    releases: tuple[Areas, Areas], at: tuple[Positions, Positions]
) -> tuple[Polygons, Polygons, Positions, Positions]:
    """Return the polygons of both sides as `kernels` takes them, and where those that are wanted are among them."""
    from admin_boundaries.changes import kernels

    read, places = [], []
    for areas, of in zip(releases, at, strict=True):
        single, place = np.unique(of, return_inverse=True)
        read.append(kernels.prepared(*areas.read_rings(single)))
        places.append(place)
    return read[0], read[1], places[0], places[1]


def _measured(releases: tuple[Areas, Areas], pairs: tuple[Positions, Positions]) -> tuple[Numbers, Numbers, Numbers]:
    """Return the area that pairs of polygons have in common, how wide it is, and how long the edges around it."""
    shapes = read_once(releases[0].read_polygons, pairs[0]), read_once(releases[1].read_polygons, pairs[1])
    boxes = releases[0].polygon_boxes[pairs[0]], releases[1].polygon_boxes[pairs[1]]
    is_laid_over = ~shapely.equals_exact(*shapes)
    areas = np.where(is_laid_over, 0, shapely.area(shapes[0]) * KM2)
    for at in _alike(shapes, boxes, is_laid_over):
        if pieces := differences(shapes[0][at], shapes[1][at]):
            rests = [shapely.area(side[at]) - shapely.area(of).sum() for side, of in zip(shapes, pieces, strict=True)]
            areas[at], is_laid_over[at] = sum(rests) / 2 * KM2, False
    both = _in_both(*boxes)[is_laid_over]
    near = (_near(side[is_laid_over], own[is_laid_over], both) for side, own in zip(shapes, boxes, strict=True))
    common = shapely.intersection(next(near), next(near))
    areas[is_laid_over] = shapely.area(common) * KM2
    # what two polygons that are nearly the same have in common, has a border like theirs
    borders = [of.polygon_borders[at] for of, at in zip(releases, pairs, strict=True)]
    widths, edges = _widths(areas, *((borders[0] + borders[1]) / 2).T)
    widths[is_laid_over], edges[is_laid_over] = widths_of(common)
    return areas, widths, edges


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
        wanted &= sizes_of(_in_both(before.polygon_boxes[one], now.polygon_boxes[two])) > 0
        ones.append(one[wanted])
        twos.append(two[wanted])
    return np.concatenate(ones), np.concatenate(twos)


def _of_units(before: Areas, now: Areas, polygons: Ground) -> Ground:
    """Add up the ground of pairs of units."""
    keys = before.units[polygons.before] * len(now.sizes) + now.units[polygons.now]
    pairs, of_pair = np.unique(keys, return_inverse=True)
    unit, other = np.divmod(pairs, max(1, len(now.sizes)))
    areas: Numbers = np.bincount(of_pair, polygons.areas_km2, minlength=len(pairs)).astype(np.float64)
    at = widest(of_pair, polygons.widths_km, polygons.edges_km, len(pairs))
    kept = areas > LEAST * KM2 * np.minimum(before.sizes[unit], now.sizes[other])
    return Ground(unit, other, areas, polygons.widths_km[at], polygons.edges_km[at]).where(kept)


def rest_widths(
    areas: Areas, others: Areas, polygon: Positions, starts: Positions, covers: Positions, sizes_km2: Numbers
) -> tuple[Numbers, Numbers]:
    """Return how wide the ground of polygons is that others do not cover, and how long its edges, in km.

    Parameters
    ----------
    areas, others : Areas
        Of the units of this release, and of the other one.
    polygon : ndarray of int, shape (n,)
        The polygons.
    starts, covers : ndarray of int, shape (n + 1,) and (m,)
        The polygons of the other release that each has ground in common with, those first that have more of it; and
        where those of each begin, with the end at the end.
    sizes_km2 : ndarray of float64, shape (n,)
        How large that ground is if none of the others overlap.
    """
    widths, edges = np.zeros(len(polygon)), np.zeros(len(polygon))
    counts = np.diff(starts)
    of_polygon = np.repeat(np.arange(len(polygon)), counts)
    own, their = areas.bytes_of_polygons(polygon), others.bytes_of_polygons(covers)
    is_much = _is_much(areas, others)
    if is_much:
        own, their = _once(own, polygon), _once(their, covers)

    def measured(chosen: Positions) -> tuple[Positions, tuple[Numbers, Numbers]]:
        covered = [covers[starts[at] : starts[at + 1]] for at in chosen]
        if is_much:
            return chosen, _rests_by_graph((areas, others), polygon[chosen], covered, sizes_km2[chosen])
        return chosen, _rests(areas, others, polygon[chosen], covered)

    def note(result: tuple[Positions, tuple[Numbers, Numbers]]) -> None:
        chosen, (wide, long) = result
        widths[chosen], edges[chosen] = wide, long

    sizes = own + np.bincount(of_polygon, their, minlength=len(polygon)).astype(np.int64)
    in_threads(measured, parts_of(sizes), note, ahead=PARTS_AHEAD)
    return widths, edges


def _rests(areas: Areas, others: Areas, polygon: Positions, covered_by: Sequence[Positions]) -> tuple[Numbers, Numbers]:
    """Return how wide the rests of polygons are, and how long the edges around them."""
    rest = areas.read_polygons(polygon)
    first = np.flatnonzero([len(each) > 0 for each in covered_by])
    rest[first] = _without(rest[first], others, np.array([covered_by[int(at)][0] for at in first], np.int64))
    for at in np.flatnonzero(~shapely.is_empty(rest) & np.array([len(each) > 1 for each in covered_by], bool)):
        rest[at] = shapely.difference(rest[at], _united(others, covered_by[int(at)][1:], shapely.bounds(rest[at])))
    return widths_of(rest)


def _rests_by_graph(
    releases: tuple[Areas, Areas], polygon: Positions, covered_by: Sequence[Positions], sizes_km2: Numbers
) -> tuple[Numbers, Numbers]:
    """Measure as `_rests` does, in loops of our own; what is not certain there, GEOS measures."""
    from admin_boundaries.changes import kernels

    covers = np.concatenate([np.empty(0, np.int64), *covered_by])
    one, two, places, others = _read_once_each(releases, (polygon, covers))
    starts = np.append(0, np.cumsum([len(each) for each in covered_by]))
    found, states = kernels.measured(kernels.REST, one, two, places, starts, others, sizes_km2 / KM2)
    widths, edges = found[:, 1], found[:, 2]
    unsure = np.flatnonzero(states == kernels.UNSURE)
    widths[unsure], edges[unsure] = _rests(*releases, polygon[unsure], [covered_by[int(at)] for at in unsure])
    return widths, edges


def _without(shapes: Shapes, others: Areas, at: Positions) -> Shapes:
    """Return what of polygons is not in those of the other release that have most of them."""
    found, covers = shapes.copy(), read_once(others.read_polygons, at)
    around, boxes = shapely.bounds(shapes), others.polygon_boxes[at]
    is_laid_over = ~shapely.equals_exact(shapes, covers)
    found[~is_laid_over] = Polygon()
    for pair in _alike((shapes, covers), (around, boxes), is_laid_over):
        if pieces := differences(shapes[pair], covers[pair]):
            found[pair], is_laid_over[pair] = shapely.multipolygons(_parts_with_area(pieces[0])[0]), False
    near = _near(covers[is_laid_over], boxes[is_laid_over], around[is_laid_over] + MARGINS)
    found[is_laid_over] = shapely.difference(shapes[is_laid_over], near)
    return found


def _united(areas: Areas, at: Positions, around: Numbers) -> BaseGeometry:
    """Return the union of polygons, as it is within a box."""
    boxes = areas.polygon_boxes[at]
    meet = sizes_of(_in_both(boxes, around[None] + MARGINS)) > 0
    near = _near(areas.read_polygons(at[meet]), boxes[meet], np.broadcast_to(around + MARGINS, (meet.sum(), 4)))
    found: BaseGeometry = shapely.union_all(near)
    return found


def _alike(shapes: tuple[Shapes, Shapes], boxes: tuple[Numbers, Numbers], wanted: Flags) -> Positions:
    """Return which of the wanted pairs are large polygons at the same place."""
    both = _in_both(*boxes)
    found = wanted.copy()
    for side, own in zip(shapes, boxes, strict=True):
        is_polygon = shapely.get_type_id(side) == shapely.GeometryType.POLYGON
        found &= is_polygon & _are_large(side) & _is_most_of(both, own)
    return np.flatnonzero(found)


def _near(polygons: Shapes, own: Numbers, boxes: Numbers) -> Shapes:
    """Return polygons that are the same within boxes; of large ones, only what is in there.

    Parameters
    ----------
    polygons : ndarray of Polygon, shape (n,)
        On the cylinder.
    own, boxes : ndarray of float64, shape (n, 4)
        The boxes of the polygons themselves, and those that matter.
    """
    found = polygons.copy()
    large = ~_is_most_of(boxes, own) & _are_large(polygons)
    found[large] = clipped(polygons[large], boxes[large])
    return found


def _are_large(polygons: Shapes) -> Flags:
    large: Flags = shapely.get_num_coordinates(polygons) > MANY
    return large


def _is_most_of(boxes: Numbers, own: Numbers) -> Flags:
    """Return whether boxes are so much of others that it would not pay to clip to them."""
    most: Flags = sizes_of(boxes) >= SMALLER * sizes_of(own)
    return most


def _in_both(boxes: Numbers, others: Numbers) -> Numbers:
    """Return the boxes that pairs of boxes have in common."""
    return np.hstack((np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])))


def widths_of(shapes: Shapes) -> tuple[Numbers, Numbers]:
    """Return how wide shapes on the cylinder are, in kilometres; 0 where there is no area.

    Parameters
    ----------
    shapes : ndarray of geometries, shape (n,)

    Returns
    -------
    (ndarray of float64, ndarray of float64), each of shape (n,)
        The width of the widest piece of each, and how long the edges around it are on average.
    """
    parts, of_shape = _parts_with_area(shapes)
    widths, edges = _widths(shapely.area(parts) * KM2, *borders_of(parts))
    at = widest(of_shape, widths, edges, len(shapes))
    return at_or_zero(widths, at), at_or_zero(edges, at)


def _parts_with_area(shapes: Shapes) -> tuple[Shapes, Positions]:
    """Return the polygons of shapes, and of which each is."""
    parts, of_shape = shapely.get_parts(shapes, return_index=True)
    is_area = (shapely.get_dimensions(parts) == 2) & ~shapely.is_empty(parts)  # an empty polygon has two dimensions
    return parts[is_area], of_shape[is_area]


def _widths(areas_km2: Numbers, lengths_km: Numbers, counts: Numbers | Positions) -> tuple[Numbers, Numbers]:
    """Return how wide pieces are, and how long their edges, by the length of the border and of how many it is made."""
    widths = np.divide(4 * areas_km2, lengths_km, out=np.zeros(len(areas_km2)), where=lengths_km > 0)
    # to the millimetre, so that which of two is wider does not depend on rounding
    return widths.round(6), (lengths_km / np.maximum(counts, 1)).round(6)


def may_be_wide(areas_km2: Numbers, width_km: Numbers) -> Flags:
    """Return where pieces of an area can be that wide at all: the widest one of an area is a circle."""
    wide: Flags = 2 * np.sqrt(areas_km2 / np.pi) > width_km
    return wide
