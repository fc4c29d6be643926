"""Where two polygons differ, found by their edges.

A border that is drawn anew in one place is the same everywhere else, vertex for vertex. Ground that only one of two
polygons has is bounded by edges that only one of them has. So it lies within the boxes of those edges, and only there
do the polygons need to be laid over each other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from shapely import Polygon

from admin_boundaries.coverage.arrays import Numbers, Positions, Shapes, linked
from admin_boundaries.coverage.hashing import mixed, numbers_of

MOST = 0.25  # of all edges: if more of them differ, to look for them does not pay
WIDE = 0.5  # of the box of a polygon: to clip to a place that large does not pay
MARGIN = 1e-6  # degrees
ROUNDING = 1e-10  # of the area that both have


def differences(polygon: Polygon, other: Polygon) -> tuple[Shapes, Shapes] | None:
    """Return the ground that each of two polygons has and the other has not.

    Parameters
    ----------
    polygon, other : Polygon
        Valid ones.

    Returns
    -------
    (ndarray of geometries, ndarray of geometries) or None
        By places where they differ, which do not touch. None if an overlay of both is as good: so many edges differ, or
        in so large a place.
    """
    edges = _differing_edges(_edges(polygon), _edges(other))
    if edges is None:
        return None
    places = _places(edges)
    places = places[sizes_of(places) > 0]  # a point more on a straight border is no ground
    if len(places) and sizes_of(places).max() > WIDE * sizes_of(shapely.bounds(polygon)):
        return None
    windows = list(_windows(np.array([polygon, other]), places))
    one, two = np.array(windows, dtype=object).reshape(-1, 2).T
    found = shapely.difference(one, two), shapely.difference(two, one)
    # both have the rest in common, so it is of one size; if not, edges were taken for the same that are not
    rest, rest_of_other = (
        shapely.area(each) - shapely.area(own).sum() for each, own in zip((polygon, other), found, strict=True)
    )
    return found if np.isclose(rest, rest_of_other, rtol=ROUNDING, atol=0) else None


def _edges(polygon: Polygon) -> Numbers:
    """Return the edges of a polygon, of shape (n, 4)."""
    points, of_ring = shapely.get_coordinates(shapely.get_rings(polygon), return_index=True)
    edges: Numbers = np.hstack((points[:-1], points[1:]))[of_ring[1:] == of_ring[:-1]]
    return edges


def _differing_edges(edges: Numbers, others: Numbers) -> Numbers | None:
    """Return the edges that only one of two polygons has, in whatever direction; None if that are many."""
    every = np.concatenate((edges, others))
    numbers = mixed(numbers_of(every[:, :2]) + numbers_of(every[:, 2:]))
    order = np.argsort(numbers)
    is_next = np.diff(numbers[order]) == 0
    is_single = ~(np.append(is_next, False) | np.append(False, is_next))
    if is_single.sum() > MOST * len(every):
        return None
    found: Numbers = every[order[is_single]]
    return found


def _places(edges: Numbers) -> Numbers:
    """Return the boxes of edges that are connected; boxes that meet are one."""
    points, ends = np.unique(numbers_of(edges.reshape(-1, 2)), return_inverse=True)
    of_point = linked(len(points), ends.reshape(-1, 2))
    corners = np.sort(edges.reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    boxes = _united(corners, of_point[ends[::2]])
    while True:
        shapes = np.asarray(shapely.box(*boxes.T))
        pairs = shapely.STRtree(shapes).query(shapes, predicate="intersects")
        if pairs.shape[1] == len(boxes):
            return boxes
        boxes = _united(boxes, linked(len(boxes), pairs.T))


def _united(boxes: Numbers, of: Positions) -> Numbers:
    """Return the boxes around the boxes of each group."""
    order = np.argsort(of)
    starts = np.flatnonzero(np.diff(of[order], prepend=-1))
    if not len(starts):
        return boxes
    return np.hstack((np.minimum.reduceat(boxes[order, :2], starts), np.maximum.reduceat(boxes[order, 2:], starts)))


def _windows(shapes: Shapes, boxes: Numbers) -> Iterator[Shapes]:
    """Return what shapes are within each of several boxes, half of which are looked at together, and so on."""
    if len(boxes) == 1:
        yield clipped(shapes, np.repeat(boxes, len(shapes), axis=0))
    elif len(boxes):
        around = np.append(boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0))
        # what was clipped is not clipped along the same line again: edges on it would be lost
        around += np.array([-1, -1, 1, 1]) * MARGIN * len(boxes)
        inside = np.array([shapely.clip_by_rect(shape, *around) for shape in shapes])
        axis = int(np.argmax(around[2:] - around[:2]))
        for half in np.array_split(np.argsort(boxes[:, axis] + boxes[:, axis + 2]), 2):
            yield from _windows(inside, boxes[half])


def sizes_of(boxes: Numbers) -> Numbers:
    """Return how large boxes are; 0 if they are turned inside out."""
    sizes: Numbers = np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)
    return sizes


def clipped(shapes: Shapes, boxes: Numbers) -> Shapes:
    """Return what of areas is in boxes, as valid geometries.

    Parameters
    ----------
    shapes : ndarray of geometries, shape (n,)
    boxes : ndarray of float64, shape (n, 4)
    """
    found = np.array([shapely.clip_by_rect(shape, *box) for shape, box in zip(shapes, boxes, strict=True)], object)
    crossed = ~shapely.is_valid(found)
    found[crossed] = shapely.make_valid(found[crossed], method="structure", keep_collapsed=False)
    return found
