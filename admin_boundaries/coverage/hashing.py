"""Numbers for points, for lines from one to the next, and for outlines, in loops that numba compiles.

numba keeps what it has compiled until this file changes. Whatever that depends on is therefore in this file.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from admin_boundaries.locate.compiled import compiled

Numbers = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

FACTOR, OTHER_FACTOR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
ZERO = np.uint64(0)
MINUS_ZERO = np.uint64(1 << 63)
EAST = np.float64(180).view(np.uint64)
HALF, LESS = np.uint64(32), np.uint64(29)


@compiled
def _mixed(number: np.uint64) -> np.uint64:
    number *= OTHER_FACTOR
    number ^= number >> LESS
    number *= FACTOR
    number ^= number >> HALF
    return number


@compiled
def _number(x: np.uint64, y: np.uint64) -> np.uint64:
    """Return the number of a point by the bits of its coordinates; of the two zeros, one is left."""
    if x == MINUS_ZERO:
        x = ZERO
    if y == MINUS_ZERO:
        y = ZERO
    number = x * FACTOR
    number ^= number >> HALF
    return _mixed(number + y)


@compiled
def _mix(numbers: Hashes) -> None:
    for at in range(len(numbers)):
        numbers[at] = _mixed(numbers[at])


@compiled
def _numbers(bits: Hashes) -> Hashes:
    found = np.empty(len(bits), np.uint64)
    for at in range(len(bits)):
        found[at] = _number(bits[at, 0], bits[at, 1])
    return found


@compiled
def _lines(points: Numbers, bits: Hashes) -> tuple[Flags, Hashes]:
    count = max(len(points) - 1, 0)
    is_segment, hashes = np.empty(count, np.bool_), np.empty(count, np.uint64)
    before, was_at_pole = ZERO, False
    for at in range(len(points)):
        x = EAST if abs(points[at, 0]) == 180 else bits[at, 0]
        here, is_at_pole = _number(x, bits[at, 1]), abs(points[at, 1]) == 90
        if at > 0:
            is_segment[at - 1] = here != before and not (is_at_pole and was_at_pole)
            hashes[at - 1] = _mixed(before + here)
        before, was_at_pole = here, is_at_pole
    return is_segment, hashes


@compiled
def measured_rings(points: Numbers, bits: Hashes, rings: npt.NDArray[np.int64]) -> tuple[Hashes, Numbers]:
    """Measure rings.

    Parameters
    ----------
    points : ndarray of float64, shape (n, 2)
    bits : ndarray of uint64, shape (n, 2)
        The same memory.
    rings : ndarray of int64, shape (r + 1,)
        Offsets; the last vertex of a ring is its first.

    Returns
    -------
    outlines : ndarray of uint64, shape (r,)
        A sum over the segments of each, of what is the opposite if a segment is drawn the other way round.
    measures : ndarray of float64, shape (r, 3)
        Twice the area of each, positive if it turns to the left; its length; and its greatest distance from the
        equator. All in degrees.
    """
    count = len(rings) - 1
    outlines, measures = np.zeros(count, np.uint64), np.zeros((count, 3))
    for ring in range(count):
        start, end = rings[ring], rings[ring + 1]
        if start == end:
            continue
        origin_x, origin_y = points[start, 0], points[start, 1]
        x, y, twice, length, farthest = 0.0, 0.0, 0.0, 0.0, abs(origin_y)
        one, other = ZERO, ZERO
        total = ZERO
        for at in range(start, end):
            next_x, next_y = points[at, 0] - origin_x, points[at, 1] - origin_y
            next_one = _number(bits[at, 0], bits[at, 1])
            next_other = _mixed(next_one ^ OTHER_FACTOR)
            if at > start:
                twice += x * next_y - next_x * y
                length += np.sqrt((next_x - x) ** 2 + (next_y - y) ** 2)
                farthest = max(farthest, abs(points[at, 1]))
                total += one * next_other - next_one * other
            x, y, one, other = next_x, next_y, next_one, next_other
        outlines[ring] = total
        measures[ring, 0], measures[ring, 1], measures[ring, 2] = twice, length, farthest
    return outlines, measures


def mixed(numbers: Hashes) -> Hashes:
    """Spread what numbers differ in over all of their bits, in place."""
    _mix(numbers)
    return numbers


def numbers_of(points: Numbers) -> Hashes:
    """Return a number for each point, of an array of shape (n, 2)."""
    found: Hashes = _numbers(points.view(np.uint64))
    return found


def lines_of(points: Numbers) -> tuple[Flags, Hashes]:
    """Look at the lines from each of n points to the next. What lies on the date line is put at 180 degrees east.

    Returns
    -------
    is_segment : ndarray of bool, shape (n - 1,)
        Whether it has a length. Those at a pole have none.
    hashes : ndarray of uint64, shape (n - 1,)
        Alike for equal lines, whichever way round they are drawn.
    """
    return _lines(points, points.view(np.uint64))
