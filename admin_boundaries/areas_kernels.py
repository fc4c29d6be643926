"""Areas as numbers, read from WKB, and whether they are valid for certain: the loops, which numba compiles.

To learn that an area is valid, GEOS builds geometries and labels a graph. Here, an area is valid for certain if no two
of its edges meet but neighbours at their corner, each hole is within its shell, and no two polygons are within each
other, except for one in another one's hole. Whatever is not like this is left to GEOS, valid or not: rings that touch,
repeated points, and what rounding might turn.

numba keeps what it has compiled until this file changes. Whatever that depends on is therefore in this file.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from admin_boundaries.locate.compiled import compiled

Numbers = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

POLYGON, MULTIPOLYGON = 3, 6  # of WKB
HEADER, POINT = 5, 16  # bytes
ROUNDING = 3.3306690738754716e-16  # of two products whose difference says on which side of an edge a point lies
CHUNK = 16  # edges whose box is looked at first
LEAST_EDGES = 3  # of a ring
NO, YES, UNSURE = 0, 1, -1
FLAT = 1e-6  # the least square of the cosine of a latitude, for lengths: that of areas.py
RADIAN = np.pi / 180


@compiled
def _number(data: Bytes, at: int) -> int:
    return int(data[at]) | int(data[at + 1]) << 8 | int(data[at + 2]) << 16 | int(data[at + 3]) << 24


@compiled
def counted_in(data: Bytes, starts: Integers) -> tuple[int, int, int]:
    """Return how many polygons, rings and points there are in geometries.

    Parameters
    ----------
    data : ndarray of uint8
        Their WKB, one after the other.
    starts : ndarray of int
        Where each begins, with the end at the end. One that is null has no bytes.

    Returns
    -------
    (int, int, int)
        The number of polygons is -1 if there is other WKB than that of polygons and multipolygons with two coordinates,
        the least significant byte first.
    """
    polygons, rings, points = 0, 0, 0
    for number in range(len(starts) - 1):
        at, end = starts[number], starts[number + 1]
        if at == end:
            continue
        parts = 1
        if end - at < HEADER + 4 or data[at] != 1:
            return -1, 0, 0
        if _number(data, at + 1) == MULTIPOLYGON:
            parts = _number(data, at + HEADER)
            at += HEADER + 4
        for _ in range(parts):
            if at + HEADER + 4 > end or data[at] != 1 or _number(data, at + 1) != POLYGON:
                return -1, 0, 0
            count = _number(data, at + HEADER)
            at += HEADER + 4
            polygons += count > 0
            rings += count
            for _ in range(count):
                if at + 4 > end:
                    return -1, 0, 0
                size = _number(data, at)
                points += size
                at += 4 + size * POINT
        if at != end:
            return -1, 0, 0
    return polygons, rings, points


@compiled
def read_into(
    data: Bytes, starts: Integers, of_unit: Integers, ring_counts: Integers, ring_sizes: Integers, points: Bytes
) -> None:
    """Write of which geometry each polygon is, how many rings it has, their sizes, and the points."""
    polygon, ring, place = 0, 0, 0
    for number in range(len(starts) - 1):
        at = starts[number]
        if at == starts[number + 1]:
            continue
        parts = 1
        if _number(data, at + 1) == MULTIPOLYGON:
            parts = _number(data, at + HEADER)
            at += HEADER + 4
        for _ in range(parts):
            count = _number(data, at + HEADER)
            at += HEADER + 4
            if count:
                of_unit[polygon], ring_counts[polygon] = number, count
                polygon += 1
            for _ in range(count):
                size = _number(data, at) * POINT
                ring_sizes[ring] = size // POINT
                ring += 1
                points[place : place + size] = data[at + 4 : at + 4 + size]
                place += size
                at += 4 + size


@compiled
def measure(
    points: Numbers, ends: Integers, firsts: Integers, boxes: Numbers, sizes: Numbers, borders: Numbers
) -> None:
    """Write the box of each polygon, its area, the length of its border in degrees as on the globe, and its edges.

    Parameters
    ----------
    points : ndarray of float64, shape (n, 2)
        On the cylinder.
    ends, firsts : ndarray of int
        Where each ring begins among the points, and each polygon among the rings, with the end at the end.
    boxes, sizes, borders : ndarray of float64, shape (m, 4), (m,) and (m, 2)
        What is written.
    """
    for polygon in range(len(firsts) - 1):
        west, south, east, north = np.inf, np.inf, -np.inf, -np.inf
        size, length, edges = 0.0, 0.0, 0
        for ring in range(firsts[polygon], firsts[polygon + 1]):
            begin, end = ends[ring], ends[ring + 1]
            if begin == end:
                continue
            twice, left, bottom = 0.0, points[begin, 0], points[begin, 1]
            x, y = left, bottom
            for at in range(begin, end):
                u, v = points[at, 0], points[at, 1]
                west, south, east, north = min(west, u), min(south, v), max(east, u), max(north, v)
                twice += (x - left) * (v - bottom) - (u - left) * (y - bottom)
                # a degree of longitude shrinks with latitude, and one of the cylinder's height grows
                cosine2 = max(1.0 - ((y + v) * (RADIAN / 2)) ** 2, FLAT)
                length += np.sqrt((u - x) ** 2 * cosine2 + (v - y) ** 2 / cosine2)
                x, y = u, v
            edges += end - begin - 1
            size += abs(twice) / 2 if ring == firsts[polygon] else -abs(twice) / 2
        boxes[polygon, 0], boxes[polygon, 1], boxes[polygon, 2], boxes[polygon, 3] = west, south, east, north
        sizes[polygon], borders[polygon, 0], borders[polygon, 1] = size, length, edges


@compiled
def _side(ax: float, ay: float, bx: float, by: float, x: float, y: float) -> int:
    """Return 1 for a point to the left of the line from a to b, -1 to the right, 0 if that is not certain."""
    one, two = (ax - x) * (by - y), (ay - y) * (bx - x)
    turn = one - two
    least = ROUNDING * (abs(one) + abs(two))
    return 1 if turn > least else -1 if turn < -least else 0


@compiled
def _are_apart(points: Numbers, one: int, two: int) -> bool:
    """Return whether two edges, by their first points, have no point in common for certain."""
    ax, ay, bx, by = points[one, 0], points[one, 1], points[one + 1, 0], points[one + 1, 1]
    px, py, qx, qy = points[two, 0], points[two, 1], points[two + 1, 0], points[two + 1, 1]
    if max(ax, bx) < min(px, qx) or max(px, qx) < min(ax, bx):
        return True
    if max(ay, by) < min(py, qy) or max(py, qy) < min(ay, by):
        return True
    if _side(ax, ay, bx, by, px, py) * _side(ax, ay, bx, by, qx, qy) > 0:
        return True
    return _side(px, py, qx, qy, ax, ay) * _side(px, py, qx, qy, bx, by) > 0


@compiled
def _is_corner(points: Numbers, before: int, at: int, after: int) -> bool:
    """Return whether two edges that follow each other have only their corner in common for certain."""
    ax, ay = points[at, 0] - points[before, 0], points[at, 1] - points[before, 1]
    bx, by = points[after, 0] - points[at, 0], points[after, 1] - points[at, 1]
    if (ax == 0 and ay == 0) or (bx == 0 and by == 0):
        return False
    if ax * bx + ay * by > 0:
        return True
    side = _side(points[before, 0], points[before, 1], points[at, 0], points[at, 1], points[after, 0], points[after, 1])
    return side != 0


@compiled
def _chunks(points: Numbers, ends: Integers, first: int, last: int) -> tuple[Numbers, Integers, bool]:
    """Cut rings into chunks of edges, and compare those of each chunk.

    Returns
    -------
    boxes : ndarray of float64, shape (n, 4)
    places : ndarray of int, shape (n, 3)
        The first edge of each chunk, the one behind the last, and the ring.
    is_simple : bool
        Whether no two edges of a chunk meet for certain, apart from neighbours at their corner.
    """
    count = 0
    for ring in range(first, last):
        count += max(0, ends[ring + 1] - ends[ring] - 1 + CHUNK - 1) // CHUNK
    boxes, places = np.empty((count, 4)), np.empty((count, 3), np.int64)
    at = 0
    for ring in range(first, last):
        begin, end = ends[ring], ends[ring + 1] - 1
        if end - begin < LEAST_EDGES or not _is_corner(points, end - 1, begin, begin + 1):
            return boxes, places, False
        for start in range(begin, end, CHUNK):
            stop = min(start + CHUNK, end)
            west, south, east, north = points[start, 0], points[start, 1], points[start, 0], points[start, 1]
            for edge in range(start + 1, stop + 1):
                x, y = points[edge, 0], points[edge, 1]
                west, south, east, north = min(west, x), min(south, y), max(east, x), max(north, y)
                if edge < end and not _is_corner(points, edge - 1, edge, edge + 1):
                    return boxes, places, False
            boxes[at, 0], boxes[at, 1], boxes[at, 2], boxes[at, 3] = west, south, east, north
            places[at, 0], places[at, 1], places[at, 2] = start, stop, ring
            at += 1
            # around all that comes after an edge and its neighbour: mostly, the edge is not in there
            west = east = points[stop, 0]
            south = north = points[stop, 1]
            for one in range(stop - 3, start - 1, -1):
                x, y = points[one + 2, 0], points[one + 2, 1]
                west, south, east, north = min(west, x), min(south, y), max(east, x), max(north, y)
                x, y, u, v = points[one, 0], points[one, 1], points[one + 1, 0], points[one + 1, 1]
                if max(x, u) < west or min(x, u) > east or max(y, v) < south or min(y, v) > north:
                    continue
                for two in range(one + 2, stop):
                    if not _are_apart(points, one, two) and not (one == begin and two == end - 1):
                        return boxes, places, False
    return boxes, places, True


@compiled
def _are_rings_simple(points: Numbers, ends: Integers, first: int, last: int) -> bool:
    """Return whether no two edges of rings meet for certain, apart from neighbours at their corner.

    Edges are compared by chunks: those of one, and those of two whose boxes meet.
    """
    boxes, places, is_simple = _chunks(points, ends, first, last)
    if not is_simple:
        return False
    axis = 0 if _extent(boxes, 0) > _extent(boxes, 1) else 1
    order = np.argsort(boxes[:, axis])
    for number in range(len(order)):
        one = order[number]
        for another in range(number + 1, len(order)):
            two = order[another]
            if boxes[two, axis] > boxes[one, axis + 2]:
                break
            if boxes[two, 1 - axis] > boxes[one, 3 - axis] or boxes[one, 1 - axis] > boxes[two, 3 - axis]:
                continue
            if not _are_chunks_apart(points, ends, places, boxes, min(one, two), max(one, two)):
                return False
    return True


@compiled
def _extent(boxes: Numbers, axis: int) -> float:
    extent: float = boxes[:, axis + 2].max() - boxes[:, axis].min()
    return extent


@compiled
def _are_chunks_apart(points: Numbers, ends: Integers, places: Integers, boxes: Numbers, one: int, two: int) -> bool:
    """Return whether no edges of two chunks meet for certain, apart from neighbours."""
    west, south = max(boxes[one, 0], boxes[two, 0]), max(boxes[one, 1], boxes[two, 1])
    east, north = min(boxes[one, 2], boxes[two, 2]), min(boxes[one, 3], boxes[two, 3])
    is_ring = places[one, 2] == places[two, 2]
    begin, end = ends[places[one, 2]], ends[places[one, 2] + 1] - 1
    for edge in range(places[one, 0], places[one, 1]):
        x, y, u, v = points[edge, 0], points[edge, 1], points[edge + 1, 0], points[edge + 1, 1]
        if max(x, u) < west or min(x, u) > east or max(y, v) < south or min(y, v) > north:
            continue
        for other in range(places[two, 0], places[two, 1]):
            if is_ring and (other == edge + 1 or (edge == begin and other == end - 1)):
                continue
            if not _are_apart(points, edge, other):
                return False
    return True


@compiled
def _is_within(points: Numbers, begin: int, end: int, x: float, y: float) -> int:
    """Return `YES` if a point is within a ring, `NO` if not, `UNSURE` if that is not certain."""
    is_within = False
    for at in range(begin, end - 1):
        one, two = points[at, 1], points[at + 1, 1]
        if (one > y) == (two > y):
            continue
        side = _side(points[at, 0], points[at, 1], points[at + 1, 0], points[at + 1, 1], x, y)
        if side == 0:
            return UNSURE
        if (side > 0) == (two > one):
            is_within = not is_within
    return YES if is_within else NO


@compiled
def _are_nested(points: Numbers, ends: Integers, firsts: Integers, first: int, last: int) -> bool:
    """Return whether rings that do not meet are holes of their shells, and shells in nothing but holes, for certain."""
    begin = firsts[first]
    count = firsts[last] - begin
    shells = np.empty(count, np.int64)
    for polygon in range(first, last):
        shells[firsts[polygon] - begin : firsts[polygon + 1] - begin] = firsts[polygon] - begin
    boxes = np.empty((count, 4))
    for ring in range(count):
        of = points[ends[begin + ring] : ends[begin + ring + 1]]
        boxes[ring, 0], boxes[ring, 1] = of[:, 0].min(), of[:, 1].min()
        boxes[ring, 2], boxes[ring, 3] = of[:, 0].max(), of[:, 1].max()
    order = np.argsort(boxes[:, 0])
    depths, is_at_home = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    for number in range(count):
        around = order[number]
        for another in range(number + 1, count):
            ring = order[another]
            if boxes[ring, 0] > boxes[around, 2]:
                break
            # one that begins at the very same place meets it, or is not within it
            if (
                boxes[ring, 2] > boxes[around, 2]
                or boxes[ring, 1] < boxes[around, 1]
                or boxes[ring, 3] > boxes[around, 3]
            ):
                continue
            at = ends[begin + ring]
            found = _is_within(points, ends[begin + around], ends[begin + around + 1], points[at, 0], points[at, 1])
            if found == UNSURE:
                return False
            if found == YES:
                depths[ring] += 1
                is_at_home[ring] |= shells[ring] == around
    for ring in range(count):
        is_hole = shells[ring] != ring
        if depths[ring] % 2 != is_hole:
            return False
        if is_hole and not (is_at_home[ring] and depths[shells[ring]] == depths[ring] - 1):
            return False
    return True


@compiled
def are_valid(points: Numbers, ends: Integers, firsts: Integers, starts: Integers) -> Flags:
    """Return which areas are valid for certain.

    Parameters
    ----------
    points, ends, firsts
        Of the polygons, as `measure` takes them.
    starts : ndarray of int
        Where each area begins among the polygons, with the end at the end.
    """
    found = np.zeros(len(starts) - 1, np.bool_)
    for area in range(len(starts) - 1):
        first, last = starts[area], starts[area + 1]
        found[area] = _are_rings_simple(points, ends, firsts[first], firsts[last]) and (
            firsts[last] - firsts[first] == 1 or _are_nested(points, ends, firsts, first, last)
        )
    return found
