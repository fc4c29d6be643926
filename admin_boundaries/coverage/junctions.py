"""Vertices that one of two units has on a border that both share, and the other lacks.

Where three units meet, two of them have a corner. The third may be drawn straight on, without a vertex there. As long
as every vertex stays, that makes no difference; but when some are left out, the two sides of the border part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from admin_boundaries.coverage.arrays import TOLERANCE, Flags, Hashes, Numbers, Positions, counted
from admin_boundaries.coverage.hashing import mixed, numbers_of
from admin_boundaries.coverage.segments import Buckets, hashes_of

FILTER_BITS = 22


@dataclass(frozen=True)
class Lacking:
    """Vertices that segments lack.

    Attributes
    ----------
    segments : ndarray of uint64, shape (n,)
        Numbers of the segments, sorted; see `numbers_of_lines`.
    points : ndarray of float64, shape (n, 2)
        A vertex for each.
    """

    segments: Hashes
    points: Numbers


def numbers_of_lines(points: Numbers) -> Hashes:
    """Return a number for each line from a point to the next, alike whichever way round it is drawn."""
    numbers = numbers_of(points)
    return mixed(numbers[:-1] + numbers[1:])


def are_among(numbers: Hashes, wanted: Hashes) -> Flags:
    """Return which numbers are among sorted ones: most are not, which a table of their lowest bits tells."""
    lowest = np.uint64((1 << FILTER_BITS) - 1)
    table = np.zeros(1 << FILTER_BITS, bool)
    table[wanted & lowest] = True
    found: Flags = table[numbers & lowest]
    maybe = np.flatnonzero(found)
    at = np.searchsorted(wanted, numbers[maybe])
    found[maybe] = wanted[np.minimum(at, len(wanted) - 1)] == numbers[maybe] if len(wanted) else False
    return found


def lacking_vertices(
    near: Iterable[Numbers], every: Callable[[], Iterable[Numbers]], folder: Path | None = None
) -> Lacking:
    """Find the vertices that lie on segments which lack them.

    Parameters
    ----------
    near : iterable of ndarray of float64, shape (n, 4)
        Segments that only one unit has, longitude and latitude of either end: those that have an end where borders
        meet.
    every : callable
        Returns all that only one unit has, in the same way.
    folder : Path, optional
        Of the files on disk; by default that of the system.

    Returns
    -------
    Lacking
        What lies within `TOLERANCE` of a segment, between its ends, and is joined to one of them by segments that lie
        along it.
    """
    with Buckets(4, folder) as ends:
        for both in map(_both_ways, near):
            ends.add(both, numbers_of(both[:, :2]))
        new = np.concatenate([np.empty((0, 6)), *(_met(rows) for rows in ends)])
    found = [new]
    while len(new):
        begin = numbers_of(new[:, 4:])
        order = np.argsort(begin)
        new, begin = new[order], begin[order]
        onward = [np.empty((0, 6))]
        for rows in map(_both_ways, every()):
            number = numbers_of(rows[:, :2])
            at = np.flatnonzero(are_among(number, begin))
            low, high = np.searchsorted(begin, number[at]), np.searchsorted(begin, number[at], side="right")
            row = np.repeat(at, high - low)
            of = counted(low, high - low)
            is_on = _lies_on(rows[row, 2:], new[of, 4:], new[of, 2:4])
            onward.append(np.column_stack([new[of[is_on], :4], rows[row[is_on], 2:]]))
        known = numbers_of_met(np.concatenate(found))
        new = np.unique(np.concatenate(onward), axis=0)
        new = new[~np.isin(numbers_of_met(new), known)]
        found.append(new)
    every_one = np.unique(np.concatenate(found), axis=0)
    lines = hashes_of(every_one)
    points, order = every_one[:, 4:], np.argsort(lines, kind="stable")
    once = np.unique(np.column_stack([lines[order], numbers_of(points[order])]), axis=0, return_index=True)[1]
    order = order[np.sort(once)]
    return Lacking(lines[order], points[order])


def _both_ways(rows: Numbers) -> Numbers:
    return np.concatenate([rows, rows[:, [2, 3, 0, 1]]])


def numbers_of_met(rows: Numbers) -> Hashes:
    """Return a number for each segment with a vertex on it."""
    return mixed(hashes_of(rows) + mixed(numbers_of(rows[:, 4:])))


def _met(rows: Numbers) -> Numbers:
    """Return segments, of those that begin in one point, on which the end of another lies, with that end."""
    numbers = numbers_of(rows[:, :2])
    order = np.argsort(numbers, kind="stable")
    rows, numbers = rows[order], numbers[order]
    found = [np.empty((0, 6))]
    for distance in range(1, len(rows)):
        one = np.flatnonzero(numbers[distance:] == numbers[:-distance])
        if not len(one):
            break
        for first, second in ((one, one + distance), (one + distance, one)):
            is_on = _lies_on(rows[second, 2:], rows[first, :2], rows[first, 2:])
            found.append(np.column_stack([rows[first[is_on]], rows[second[is_on], 2:]]))
    return np.concatenate(found)


def _lies_on(points: Numbers, begin: Numbers, end: Numbers) -> Flags:
    """Return which points lie on a segment, between its ends."""
    along, there, rest = end - begin, points - begin, points - end
    length = np.hypot(*along.T)
    off = np.abs(along[:, 0] * there[:, 1] - along[:, 1] * there[:, 0])
    is_between = ((there * along).sum(axis=1) > 0) & ((rest * along).sum(axis=1) < 0)
    is_apart = (np.hypot(*there.T) > TOLERANCE) & (np.hypot(*rest.T) > TOLERANCE)
    found: Flags = is_between & is_apart & (off <= TOLERANCE * length)
    return found


def with_vertices(points: Numbers, rings: Positions, lacking: Lacking) -> tuple[Numbers, Positions]:
    """Give rings the vertices that their segments lack.

    Parameters
    ----------
    points : ndarray of float64, shape (n, 2)
    rings : ndarray of int64
        Where rings begin among them; the last vertex of each is its first.
    lacking : Lacking

    Returns
    -------
    points, rings
        As the parameters.
    """
    numbers = numbers_of_lines(points)
    at = np.flatnonzero(are_among(numbers, np.unique(lacking.segments)))
    at = at[~np.isin(at, rings[1:] - 1)]  # from the end of a ring to the beginning of the next
    low = np.searchsorted(lacking.segments, numbers[at])
    count = np.searchsorted(lacking.segments, numbers[at], side="right") - low
    segment = np.repeat(at, count)
    new = lacking.points[counted(low, count)]
    order = np.lexsort([np.hypot(*(new - points[segment]).T), segment])
    before = np.concatenate([[0], np.cumsum(np.bincount(segment, minlength=len(points)))])
    return np.insert(points, segment[order] + 1, new[order], axis=0), rings + before[rings]
