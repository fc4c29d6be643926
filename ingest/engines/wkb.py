"""Read any WKB as rings of polygons, however odd: what GEOS refuses, and what it does not know.

Only the few geometries that are not plain polygons come here. A GeoPackage holds WKB as its writer left it, and GDAL
passes it on as it is: rings that are not closed, curves, triangulated surfaces, either byte order, EWKB, bytes that end
too early.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rings = list[Floats]  # of one polygon, shell first: arrays of shape (vertices, 2)

POINT, LINE, POLYGON, MULTIPOLYGON, CIRCULAR, COMPOUND, CURVE_POLYGON = 1, 2, 3, 6, 8, 9, 10
COLLECTIONS = {4, 5, 6, 7, 11, 12, 15, 16}  # multi-types, collections and surfaces: a count, then whole geometries
TRIANGLE = 17
SAID = {
    CIRCULAR: "curved edges",
    COMPOUND: "curved edges",
    CURVE_POLYGON: "curved edges",
    11: "curved edges",
    12: "curved edges",
    15: "polyhedral surface",
    16: "triangulated surface",
    TRIANGLE: "triangle",
}
DEEPEST = 32  # levels of collections within collections
ARC_STEP = np.radians(1)  # of a chord that stands for a part of an arc


class Unreadable(Exception):
    """The bytes are not WKB, or end too early."""


@dataclass
class Polygons:
    """The polygons of one geometry.

    Attributes
    ----------
    parts : list of list of numpy.ndarray
        Rings of each polygon, shell first, closed, two dimensions.
    notes : dict of str to None
        What had to be repaired, in the order in which it was met.
    has_others : bool
        Whether there were points or lines as well.
    is_simple : bool
        Whether the geometry was a Polygon or MultiPolygon, whose parts must not overlap.
    is_finite : bool
        Whether all coordinates are numbers.
    """

    parts: list[Rings] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    has_others: bool = False
    is_simple: bool = True
    is_finite: bool = True


def decode(wkb: bytes) -> Polygons:
    """Return the polygons of a geometry.

    Rings are closed, rings of fewer than three different points are left out, arcs become chords of one degree, and
    heights and measures are dropped. Bytes after the end are ignored.

    Raises
    ------
    Unreadable
        When the bytes are not WKB.
    """
    found = Polygons()
    try:
        kind = _Reader(wkb, found).geometry(0)
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise Unreadable from error
    found.is_simple = kind in (POLYGON, MULTIPOLYGON)
    return found


class _Reader:
    """A position in WKB, which moves on as it is read."""

    def __init__(self, wkb: bytes, found: Polygons) -> None:
        self._wkb = wkb
        self._at = 0
        self._found = found

    def geometry(self, depth: int) -> int:
        """Read a geometry and everything in it; return its type."""
        if depth > DEEPEST:
            raise Unreadable
        order, kind, dimensions = self._header()
        if kind in SAID and (kind != TRIANGLE or depth == 0):
            self._found.notes[SAID[kind]] = None
        if kind == POINT:
            self._found.has_others |= not np.isnan(self._coordinates(order, dimensions, 1)).all()
        elif kind in (LINE, CIRCULAR):
            self._found.has_others |= len(self._coordinates(order, dimensions, self._count(order))) > 0
        elif kind in (POLYGON, TRIANGLE):
            self._add([self._coordinates(order, dimensions, self._count(order)) for _ in range(self._count(order))])
        elif kind == COMPOUND:
            self._found.has_others |= len(self._compound(order, depth)) > 0
        elif kind == CURVE_POLYGON:
            self._add([self._curve(depth + 1) for _ in range(self._count(order))])
        elif kind in COLLECTIONS:
            for _ in range(self._count(order)):
                self.geometry(depth + 1)
        else:
            raise Unreadable
        return kind

    def _header(self) -> tuple[str, int, int]:
        """Return byte order, type and number of dimensions, as ISO and as PostGIS write them."""
        marker = self._wkb[self._at]
        if marker > 1:
            raise Unreadable
        order = "<" if marker else ">"
        (code,) = struct.unpack_from(order + "I", self._wkb, self._at + 1)
        self._at += 9 if code & 0x20000000 else 5
        thousands, kind = divmod(code & 0x1FFFFFFF, 1000)
        has_z = bool(code & 0x80000000) or thousands in (1, 3)
        has_m = bool(code & 0x40000000) or thousands in (2, 3)
        if thousands > 3:
            raise Unreadable
        return order, kind, 2 + has_z + has_m

    def _count(self, order: str) -> int:
        (count,) = struct.unpack_from(order + "I", self._wkb, self._at)
        self._at += 4
        return int(count)

    def _coordinates(self, order: str, dimensions: int, count: int) -> Floats:
        values = np.frombuffer(self._wkb, order + "f8", count * dimensions, self._at)
        self._at += 8 * count * dimensions
        return values.reshape(count, dimensions)[:, :2].astype(np.float64)

    def _curve(self, depth: int) -> Floats:
        """Read a line, circular string or compound curve, as a line."""
        if depth > DEEPEST:
            raise Unreadable
        order, kind, dimensions = self._header()
        if kind == COMPOUND:
            return self._compound(order, depth)
        if kind not in (LINE, CIRCULAR):
            raise Unreadable
        points = self._coordinates(order, dimensions, self._count(order))
        return linear(points) if kind == CIRCULAR else points

    def _compound(self, order: str, depth: int) -> Floats:
        pieces = [self._curve(depth + 1) for _ in range(self._count(order))]
        joined = [piece[1:] if number and len(piece) else piece for number, piece in enumerate(pieces)]
        return np.concatenate(joined) if joined else np.empty((0, 2))

    def _add(self, rings: Rings) -> None:
        """Add a polygon, its rings closed; without its shell, nothing of it is left."""
        kept: Rings = []
        for number, ring in enumerate(rings):
            if not np.isfinite(ring).all():
                self._found.is_finite = False
                return
            if len(ring) == 0 and number == 0:
                return
            closed = ring
            if len(ring) and not np.array_equal(ring[0], ring[-1]):
                closed = np.vstack([ring, ring[:1]])
                self._found.notes["ring not closed"] = None
            if len(closed) < 4:
                self._found.notes["ring of too few points"] = None
                if number == 0:
                    return
                continue
            kept.append(closed)
        if kept:
            self._found.parts.append(kept)


def linear(points: Floats) -> Floats:
    """Return a circular string as a line: of every three points, the second lies on the arc between the others."""
    if len(points) < 3 or len(points) % 2 == 0:
        return points
    pieces = [points[:1]]
    for start, middle, end in zip(points[:-2:2], points[1:-1:2], points[2::2], strict=True):
        pieces.append(_arc(start, middle, end)[1:])
    return np.concatenate(pieces)


def _arc(start: Floats, middle: Floats, end: Floats) -> Floats:
    """Return points on an arc, from its start to its end; straight where the three points lie on a line."""
    if np.array_equal(start, end):  # a full circle, the middle opposite
        centre, sweep = (start + middle) / 2, 2 * np.pi
    else:
        (ax, ay), (bx, by) = middle - start, end - start
        twice = 2 * (ax * by - ay * bx)
        if not np.isfinite(twice) or abs(twice) <= 1e-12 * max(ax * ax + ay * ay, bx * bx + by * by):
            return np.array([start, middle, end])
        squares = (ax * ax + ay * ay, bx * bx + by * by)
        centre = start + np.array([by * squares[0] - ay * squares[1], ax * squares[1] - bx * squares[0]]) / twice
        angles = [np.arctan2(*(point - centre)[::-1]) for point in (start, middle, end)]
        sweep = (angles[2] - angles[0]) % (2 * np.pi)
        if (angles[1] - angles[0]) % (2 * np.pi) > sweep:
            sweep -= 2 * np.pi
    first = np.arctan2(*(start - centre)[::-1])
    steps = max(int(np.ceil(abs(sweep) / ARC_STEP)), 2)
    angle = first + sweep * np.arange(steps + 1) / steps
    points: Floats = centre + np.hypot(*(start - centre)) * np.column_stack([np.cos(angle), np.sin(angle)])
    points[0], points[-1] = start, end
    return points
