"""What segments enclose, and how large it is: the geometry of faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely

from admin_boundaries.coverage.arrays import (
    TOLERANCE,
    Flags,
    Hashes,
    Numbers,
    Positions,
    Shapes,
    Texts,
)
from admin_boundaries.coverage.hashing import measured_rings
from admin_boundaries.coverage.parsed import Parsed
from admin_boundaries.coverage.segments import OWNER, WGS84, segments

SLIVER_RATIO = 20  # length by width of a sliver, at least
METRES = 110_500  # of a degree of latitude, at least


@dataclass(frozen=True)
class Fault:
    """Something that is wrong, and where.

    Attributes
    ----------
    kind : str
        ``gap``, ``overlap``, ``outside_parent`` or ``sliver``.
    shape : Polygon
        In degrees.
    """

    kind: str
    level: int
    country: str | None
    parent: str | None
    unit: str | None
    other: str | None
    shape: shapely.Polygon

    @cached_property
    def _sizes(self) -> tuple[float, float]:
        """Area and length of the outline, in metres, on the ellipsoid."""
        area, outline = WGS84.geometry_area_perimeter(self.shape)
        return abs(area), outline

    @property
    def width_m(self) -> float:
        """Mean width, so that its product with the length is the area."""
        area, outline = self._sizes
        return 2 * area / outline

    @property
    def is_long(self) -> bool:
        """Whether it is much longer than it is wide."""
        return self._sizes[1] / 2 >= SLIVER_RATIO * self.width_m

    def row(self) -> tuple[Any, ...]:
        """Return level, kind and keys, a point that lies in it, km², and the length in km and mean width in metres."""
        place = shapely.point_on_surface(self.shape)
        area, outline = self._sizes
        keys = (self.level, self.kind, self.country, self.parent, self.unit, self.other)
        return (*keys, place.x, place.y, area / 1e6, outline / 2000, self.width_m)


def is_forward(rows: Numbers) -> Flags:
    """Tell which segments run eastwards, or straight to the north."""
    lon, lat, other_lon, other_lat = rows[:, :4].T
    found: Flags = (lon < other_lon) | ((lon == other_lon) & (lat < other_lat))
    return found


@dataclass(frozen=True)
class Measured:
    """What is known of units without an overlay.

    Attributes
    ----------
    outlines : ndarray of uint64, shape (n,)
        One number for the outline of each unit, its segments with their directions: a segment adds a product of its
        ends that is the opposite if it is drawn the other way round. So what several units draw between them cancels,
        and the sum of units that tile another is the number of the other. 0 for units without geometry.
    of_polygons : ndarray of uint64, shape (p,)
        The same for each polygon.
    widths : ndarray of float64, shape (p,)
        The least mean width that each polygon may have, in metres.
    of_rings : ndarray of float64, shape (r,)
        The same for what each ring encloses.
    """

    outlines: Hashes
    of_polygons: Hashes
    widths: Numbers
    of_rings: Numbers


def measured(units: Parsed) -> Measured:
    """Measure units, whichever way round their rings are drawn."""
    sums, measures = measured_rings(units.points, units.points.view(np.uint64), units.rings)
    twice_area, length, farthest = measures.T
    is_left = (twice_area > 0) == units.is_shell  # of where a ring runs
    sums = np.where(is_left, sums, np.negative(sums))
    total = np.concatenate([[np.uint64(0)], np.cumsum(sums)])[units.polygons]
    area = np.abs(twice_area) * np.where(units.is_shell, 1, -1)
    has_rings = np.diff(units.polygons) > 0
    starts = units.polygons[:-1][has_rings]
    widths = np.full(len(has_rings), np.inf)
    if len(starts):
        widths[has_rings] = _metres(
            np.add.reduceat(area, starts), np.add.reduceat(length, starts), np.maximum.reduceat(farthest, starts)
        )
    return Measured(
        outlines=np.diff(total[units.units]),
        of_polygons=np.diff(total),
        widths=widths,
        of_rings=_metres(np.abs(twice_area), length, farthest),
    )


def _metres(twice_area: Numbers, length: Numbers, farthest: Numbers) -> Numbers:
    """Return the least width in metres of what has such an area, outline and latitude in degrees.

    A degree of longitude is shorter than one of latitude, so the true width is at most that in degrees, and at least
    that times the cosine of the latitude.
    """
    width = np.divide(twice_area, length, out=np.full(len(length), np.inf), where=length > 0)
    found: Numbers = width * np.cos(np.radians(np.minimum(farthest, 89.9))) * METRES
    return found


def left_over(rows: Numbers, keys: Hashes, weights: Positions) -> Numbers:
    """Return the segments that do not cancel.

    Parameters
    ----------
    rows : ndarray of float64, shape (n, 5)
        Segments.
    keys : ndarray of uint64, shape (n,)
        Alike for those that may cancel each other.
    weights : ndarray of int64, shape (n,)
        1 for what is to be drawn, -1 for what it is compared with.

    Returns
    -------
    ndarray of float64, shape (m, 5)
        One segment of those with a key of which not as many run in the one direction as in the other.
    """
    signs = np.where(is_forward(rows), weights, -weights)
    order = np.argsort(keys, kind="stable")
    is_first = np.ones(len(rows), bool)
    is_first[1:] = keys[order[1:]] != keys[order[:-1]]
    starts = np.flatnonzero(is_first)
    if not len(starts):
        return rows
    found: Numbers = rows[order[starts[np.add.reduceat(signs[order], starts) != 0]]]
    return found


def drawn(rows: Numbers) -> tuple[Shapes, Positions]:
    """Return segments as lines, and their owners. Those on the date line are there on both of its sides."""
    on_date_line = (rows[:, 0] == 180) & (rows[:, 2] == 180)
    rows = np.concatenate([rows, rows[on_date_line] * [-1, 1, -1, 1, 1]])
    return _lines(rows), rows[:, OWNER].astype(np.int64)


def _lines(rows: Numbers) -> Shapes:
    lines: Shapes = np.asarray(shapely.linestrings(rows[:, :4].reshape(-1, 2, 2)))
    return lines


def faces(noded: Shapes) -> Shapes:
    """Return what lines enclose that meet in their ends only, but for what is as good as without width."""
    found: Shapes = shapely.get_parts(shapely.polygonize(noded))
    return found[widths(found) > TOLERANCE / 100]


def narrow(polygons: Shapes, metres: float) -> Positions:
    """Return the positions of polygons whose mean width may be below a limit."""
    bounds = shapely.bounds(polygons).reshape(-1, 4)
    farthest = np.abs(bounds[:, [1, 3]]).max(axis=1)
    found: Positions = np.flatnonzero(_metres(2 * shapely.area(polygons), shapely.length(polygons), farthest) < metres)
    return found


def widths(polygons: Shapes) -> Numbers:
    """Return the mean widths of polygons in degrees: twice the area by the length of the outline."""
    found: Numbers = 2 * shapely.area(polygons) / shapely.length(polygons)
    return found


def places(polygons: Shapes) -> Numbers:
    """Return a point inside each polygon, one that no border of another runs through by rule, as it may the middle.

    Returns
    -------
    ndarray of float64, shape (n, 2)
        In the largest triangle of each, but not in its middle.
    """
    triangles, of_polygon = shapely.get_parts(shapely.constrained_delaunay_triangles(polygons), return_index=True)
    order = np.lexsort([-shapely.area(triangles), of_polygon])
    largest = triangles[order[np.searchsorted(of_polygon[order], np.arange(len(polygons)))]]
    corners = shapely.get_coordinates(largest).reshape(-1, 4, 2)[:, :3]
    found: Numbers = (corners * np.array([0.41, 0.34, 0.25])[None, :, None]).sum(axis=1)
    return found


def holders(geoms: Shapes, polygons: Shapes) -> list[list[int]]:
    """Return for each face the positions of the geometries that it lies in."""
    found: list[list[int]] = [[] for _ in polygons]
    points = np.asarray(shapely.points(places(polygons)))
    holder, face = shapely.STRtree(points).query(geoms, predicate="contains")
    for at, inside in sorted(zip(holder.tolist(), face.tolist(), strict=True)):
        found[inside].append(at)
    return found


def merged(polygons: Shapes | Sequence[Any]) -> Shapes:
    """Return faces, those with a common border as one, as far as they are wider than the tolerance."""
    return wide(shapely.union_all(polygons))


def wide(geom: Any) -> Shapes:
    """Return the polygons of a geometry that are wider than the tolerance."""
    parts: Shapes = shapely.get_parts(geom)
    parts = parts[(shapely.get_dimensions(parts) == 2) & ~shapely.is_empty(parts)]
    return parts[widths(parts) > TOLERANCE]


class Beside:
    """Which units lie along the outline of a gap.

    Parameters
    ----------
    rows : ndarray of float64, shape (n, 5)
        Segments of units.
    gids : ndarray of str
        The keys of their owners.
    """

    def __init__(self, rows: Numbers, gids: Texts) -> None:
        self._owners, self._gids = rows[:, OWNER].astype(np.int64), gids
        self._tree = shapely.STRtree(_lines(rows))

    def of(self, shape: Any) -> tuple[str | None, str | None]:
        """Return the keys of the two units with the longest part of the outline, in their order."""
        rows, _hashes = segments(np.array([shape]))
        middles = shapely.points((rows[:, :2] + rows[:, 2:4]) / 2)
        at, line = self._tree.query_nearest(middles, max_distance=TOLERANCE / 10, all_matches=False)
        lengths = np.hypot(*(rows[at, 2:4] - rows[at, :2]).T)
        owners, of_owner = np.unique(self._owners[line], return_inverse=True)
        longest = np.argsort(-np.bincount(of_owner, lengths, len(owners)), kind="stable")[:2]
        found = [*sorted(self._gids[owners[longest]]), None, None]
        return found[0], found[1]
