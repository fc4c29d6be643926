"""Which units share a border, and along how many kilometres.

Segments that two units have in common are found by a hash, in buckets on disk. What is left has one owner: coasts, and
borders that two units do not draw vertex by vertex. Most coasts are far from any other unit, so these segments are
looked at in stretches first, in the cells of a grid and by their boxes, and one by one only where stretches of two
units meet: a segment borders on another as far as it runs within `TOLERANCE` of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import shapely

from admin_boundaries.coverage.arrays import TOLERANCE, Flags, Hashes, Numbers, Positions, counted
from admin_boundaries.coverage.outlines import Outlines
from admin_boundaries.coverage.segments import OWNER, Buckets, hashes_of, lengths_km, parted
from admin_boundaries.coverage.sorting import NUMBER, NUMBER_BITS, meetings, ordered
from admin_boundaries.coverage.threads import in_threads

DEGREES = 0.1  # of the cells in which stretches of borders are looked for that may be close to each other
STRETCH = 32  # segments one after the other that are looked at together
BOX_CELLS = 16  # when the box of a stretch has more, the cells are those of its single segments
BLOCK = 1 << 18  # vertices that a thread looks at together
NEAR_BLOCK = 1 << 11  # stretches that a thread compares, more if they are in one cell
ORIGIN = (-181.0372319, -91.0218637)  # of the cells, so that no border along a round degree is one of theirs
NANOMETRES = 1e12  # of a kilometre; sums of whole ones are the same in any order
BATCH_ROWS = 1 << 15  # pairs per batch of the answer

SCHEMA = pa.schema(
    [
        pa.field("gid", pa.string()),
        pa.field("neighbour_gid", pa.string()),
        pa.field("admin_level", pa.int32()),
        pa.field("border_km", pa.float64()),
    ]
)


def neighbours(
    levels: Iterable[tuple[int, Iterable[pa.RecordBatch]]], folder: Path | None = None
) -> pa.RecordBatchReader:
    """Find the units of a level that share a border.

    Memory holds a batch, some buckets, and of a level a byte for each vertex, boxes of what only one unit draws, and
    the pairs that were found. The answer is the same to the bit, whatever the order of units and the size of batches.

    Parameters
    ----------
    levels : iterable of (int, iterable of RecordBatch)
        The number of each level, and its units: ``gid`` (string) and ``geom`` (WKB in degrees, or null).
    folder : Path, optional
        Of the files on disk, some 30 bytes for each vertex of the largest level; by default that of the system.

    Returns
    -------
    RecordBatchReader
        ``gid``, ``neighbour_gid``, ``admin_level`` and ``border_km``: each pair both ways, by level and keys. The
        length is that on the ellipsoid. Units that touch in points only are no neighbours.
    """
    return pa.RecordBatchReader.from_batches(SCHEMA, _batches(levels, folder))


def _batches(levels: Iterable[tuple[int, Iterable[pa.RecordBatch]]], folder: Path | None) -> Iterator[pa.RecordBatch]:
    with Outlines(folder) as outlines, Buckets(1, folder, np.uint64) as pairs:
        for level, units in levels:
            gids: list[pa.Array] = []
            outlines.read(_noted(units, gids))
            borders = Borders(sum(map(len, gids)))
            add_equal_borders(outlines, pairs, borders)
            add_close_borders(outlines, borders)
            yield from borders.batches(pa.chunked_array(gids, pa.string()).combine_chunks(), level)


def _noted(units: Iterable[pa.RecordBatch], gids: list[pa.Array]) -> Iterator[pa.Array]:
    """Yield the geometries of units, and add their keys to a list."""
    for batch in units:
        gids.append(batch["gid"].take(np.arange(len(batch))))  # a copy: memory of a batch is freed as a whole
        yield batch["geom"]


class Borders:
    """The lengths of the borders of pairs of units, as they are found."""

    def __init__(self, unit_count: int) -> None:
        self._unit_count = unit_count
        self._found = [(np.empty(0, np.int64), np.empty(0, np.int64))]

    def add(self, one: Positions, other: Positions, km: Numbers) -> None:
        """Add lengths to the borders of units, by their positions."""
        pairs = np.minimum(one, other) * self._unit_count + np.maximum(one, other)
        self._found.append(_summed(pairs, np.rint(km * NANOMETRES).astype(np.int64)))

    def batches(self, gids: pa.StringArray, level: int) -> Iterator[pa.RecordBatch]:
        """Yield each pair both ways, by the keys of its units."""
        pairs, lengths = _summed(*map(np.concatenate, zip(*self._found, strict=True)))
        rank = np.empty(len(gids), np.int64)
        in_order = pa.compute.sort_indices(gids).to_numpy()
        rank[in_order] = np.arange(len(gids))
        low, high = divmod(pairs, self._unit_count)
        units, others = np.concatenate([low, high]), np.concatenate([high, low])
        order = np.lexsort([rank[others], rank[units]])
        for start in range(0, len(order), BATCH_ROWS):
            rows = order[start : start + BATCH_ROWS]
            yield pa.record_batch(
                [
                    gids.take(pa.array(units[rows])),
                    gids.take(pa.array(others[rows])),
                    pa.array(np.full(len(rows), level, np.int32)),
                    pa.array(lengths[rows % len(pairs)] / NANOMETRES),
                ],
                schema=SCHEMA,
            )


def _summed(keys: Positions, numbers: Positions) -> tuple[Positions, Positions]:
    """Return every key once, in their order, with the sum of its numbers."""
    starts = np.flatnonzero(np.diff(keys, prepend=-1))  # first those that follow each other, as along a border
    keys, numbers = keys[starts], np.add.reduceat(numbers, starts)
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    return keys[order[starts]], np.add.reduceat(numbers[order], starts)


def equal_pairs(rows: Numbers) -> tuple[Positions, Positions, Flags]:
    """Find the segments that several units have.

    Parameters
    ----------
    rows : ndarray of float64, shape (n, 5)
        Segments, as those of `segments`.

    Returns
    -------
    one, other : ndarray of int64, shape (m,)
        Positions of two equal segments of different units.
    is_alone : ndarray of bool, shape (n,)
        Whether no other unit has the segment.
    """
    one, other = meetings((hashes_of(rows) & ~NUMBER) | np.arange(len(rows), dtype=np.uint64))
    is_pair = _are_equal(rows[one], rows[other]) & (rows[one, OWNER] != rows[other, OWNER])
    one, other = one[is_pair], other[is_pair]
    is_alone = np.ones(len(rows), bool)
    is_alone[one] = is_alone[other] = False
    return one, other, is_alone


def add_equal_borders(outlines: Outlines, pairs: Buckets, borders: Borders) -> None:
    """Add the borders that two units draw alike, and note which segments are alone.

    Parameters
    ----------
    outlines : Outlines
        Of the units.
    pairs : Buckets
        For what is found on the way; of words.
    borders : Borders
        Where they are added.
    """
    pairs.clear()
    in_threads(partial(_meetings, len(outlines.is_alone)), outlines.words, lambda found: pairs.put(*found))
    in_threads(partial(_equal_borders, outlines), pairs, lambda found: borders.add(*found))


def _meetings(count: int, words: Hashes) -> tuple[Hashes, Positions]:
    """Return `meetings` of some of so many segments as words of two numbers, `parted` by the first one."""
    one, other = meetings(words[:, 0])
    found = one.astype(np.uint64)
    return parted(found << NUMBER_BITS | other.astype(np.uint64), found * (~np.uint64(0) // np.uint64(max(count, 1))))


def _equal_borders(outlines: Outlines, pairs: Hashes) -> tuple[Positions, Positions, Numbers]:
    """Return two units and a length for each pair of equal segments, and note that these are not alone."""
    pairs = ordered(pairs[:, 0])
    one, other = (pairs >> NUMBER_BITS).astype(np.int64), (pairs & NUMBER).astype(np.int64)
    breaks = (np.diff(one, prepend=-2) != 1) | (np.abs(np.diff(other, prepend=-2)) != 1)
    starts = np.flatnonzero(breaks)  # what follows is a line along which both units stay the same
    lengths = np.diff(starts, append=len(pairs))
    owner, other_owner = (np.repeat(outlines.owners(number[starts]), lengths) for number in (one, other))
    rows, other_rows = outlines.rows(one, owner), outlines.rows(other, other_owner)
    is_border = (owner != other_owner) & _are_equal(rows, other_rows)
    outlines.is_alone[one[is_border]] = False
    outlines.is_alone[other[is_border]] = False
    return owner[is_border], other_owner[is_border], lengths_km(rows)[is_border]


def _are_equal(rows: Numbers, other_rows: Numbers) -> Flags:
    """Tell which segments are equal, whichever way round they are drawn."""
    found = np.zeros(len(rows), bool)
    for columns in ((0, 1, 2, 3), (2, 3, 0, 1)):
        found |= np.logical_and.reduce([rows[:, at] == other_rows[:, column] for at, column in enumerate(columns)])
    return found


def add_close_borders(outlines: Outlines, borders: Borders) -> None:
    """Add the borders that units do not draw alike: with other vertices, or up to `TOLERANCE` apart.

    Parameters
    ----------
    outlines : Outlines
        Of the units, with what is alone.
    borders : Borders
        Where they are added.
    """
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    in_threads(partial(_close_borders, outlines), _near(outlines), found.append)
    one, other, km = map(np.concatenate, zip(*found, strict=True))
    _pairs, once = np.unique(one << np.int64(NUMBER_BITS) | other, return_index=True)
    borders.add(outlines.owners(one[once]), outlines.owners(other[once]), km[once])


def _near(outlines: Outlines) -> Iterator[tuple[Positions, Positions, Numbers]]:
    """Yield `_stretches` that are alone in cells with those of other units, and together with these."""
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((4, 0)))]
    in_threads(partial(_stretches, outlines), range(0, len(outlines.is_alone), BLOCK), found.append)
    first, count, boxes = (np.concatenate(of, axis=-1) for of in zip(*found, strict=True))
    row, cell = _in_shared_cells(*_cells_of_stretches(outlines, first, count, boxes), outlines.owners(first))
    cells = np.flatnonzero(np.diff(cell, prepend=-1))
    blocks = cells[np.diff(cells // NEAR_BLOCK, prepend=-1) != 0]
    for start, stop in pairwise([*blocks, len(row)]):
        once = np.unique(row[start:stop])
        yield first[once], count[once], boxes[:, once]


def _stretches(outlines: Outlines, start: int) -> tuple[Positions, Positions, Numbers]:
    """Return where segments of a block are alone, some at a time.

    Returns
    -------
    first : ndarray of int64, shape (n,)
        Number of the first one of a stretch.
    count : ndarray of int64, shape (n,)
        How many they are, at most `STRETCH`.
    boxes : ndarray of float64, shape (4, n)
        The least longitude and latitude of their ends, and the greatest, with the tolerance.
    """
    is_alone = outlines.is_alone[start : start + BLOCK]
    begins, ends = is_alone.copy(), is_alone.copy()
    begins[1:] &= ~is_alone[:-1]
    ends[:-1] &= ~is_alone[1:]
    begins[::STRETCH] = is_alone[::STRETCH]
    ends[STRETCH - 1 :: STRETCH] = is_alone[STRETCH - 1 :: STRETCH]
    first, last = np.flatnonzero(begins), np.flatnonzero(ends)
    points = np.ascontiguousarray(outlines.points(start, start + BLOCK + 1).T)
    between = np.column_stack([first, last + 1]).ravel()
    low, high = (
        of(of.reduceat(points, between, axis=1)[:, ::2], points[:, last + 1]) for of in (np.minimum, np.maximum)
    )
    high[0, low[0] == -180] = 180  # what lies on the date line is there
    return first + start, last + 1 - first, np.concatenate([low - TOLERANCE, high + TOLERANCE])


def _in_shared_cells(row: Positions, cell: Positions, owner: Positions) -> tuple[Positions, Positions]:
    """Return rows and their cells, of these the ones that have rows of several owners; cell by cell."""
    words = ordered(cell.astype(np.uint64) << NUMBER_BITS | row.astype(np.uint64))
    row, cell = (words & NUMBER).astype(np.int64), (words >> NUMBER_BITS).astype(np.int64)
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    owner = owner[row]
    is_shared = np.minimum.reduceat(owner, starts) != np.maximum.reduceat(owner, starts)
    is_shared = np.repeat(is_shared, np.diff(starts, append=len(row)))
    return row[is_shared], cell[is_shared]


def _cells_of_stretches(
    outlines: Outlines, first: Positions, count: Positions, boxes: Numbers
) -> tuple[Positions, Positions]:
    """As `_cells`: all cells of the box of each stretch, or if they are many, those that its segments run through."""
    low, high = _across_and_along(boxes[0], boxes[1]), _across_and_along(boxes[2], boxes[3])
    size = high - low + 1
    cells = size.prod(axis=0)
    is_box = cells <= BOX_CELLS
    in_box = np.repeat(np.flatnonzero(is_box), cells[is_box])
    across, along = divmod(counted(0, cells[is_box]), size[1, in_box])
    wide = np.flatnonzero(~is_box)
    number, of = counted(first[wide], count[wide]), np.repeat(wide, count[wide])
    row, cell = _cells(outlines.rows(number, of))
    return (
        np.concatenate([in_box, of[row]]),
        np.concatenate([_number(low[0, in_box] + across, low[1, in_box] + along), cell]),
    )


def _cells(rows: Numbers) -> tuple[Positions, Positions]:
    """Return the cells that segments run through, with those that are within the tolerance.

    Returns
    -------
    row : ndarray of int64
        Position of the segment.
    cell : ndarray of int64
        Number of the cell. It is there again if several pieces of a segment lie in it.
    """
    lon, lat, other_lon, other_lat = (rows[:, column].copy() for column in range(4))
    low = _cell(np.minimum(lon, other_lon) - TOLERANCE, np.minimum(lat, other_lat) - TOLERANCE)
    high = _cell(np.maximum(lon, other_lon) + TOLERANCE, np.maximum(lat, other_lat) + TOLERANCE)
    is_in_several = low != high
    within, across = np.flatnonzero(~is_in_several), np.flatnonzero(is_in_several)
    row, cell = _cells_of_pieces(rows[across])
    return np.concatenate([within, across[row]]), np.concatenate([low[within], cell])


def _cells_of_pieces(rows: Numbers) -> tuple[Positions, Positions]:
    """As `_cells`: cut segments into pieces of half a cell, so that each lies in the cells of its box's corners."""
    extent = np.abs(rows[:, 2:4] - rows[:, :2]).max(axis=1, initial=0)
    pieces = np.maximum(np.ceil(extent / (DEGREES / 2)), 1).astype(np.int64)
    row = np.repeat(np.arange(len(rows)), pieces)
    piece = counted(0, pieces)
    begin = rows[row, :2]
    step = (rows[row, 2:4] - begin) / pieces[row, None]
    begin, end = begin + step * piece[:, None], begin + step * (piece[:, None] + 1)
    low, high = np.minimum(begin, end) - TOLERANCE, np.maximum(begin, end) + TOLERANCE
    corners = [_cell(lon[:, 0], lat[:, 1]) for lon in (low, high) for lat in (low, high)]
    found_rows, found_cells = [row], [corners[0]]
    for number, corner in enumerate(corners[1:], start=1):
        is_new = np.logical_and.reduce([corner != earlier for earlier in corners[:number]])
        found_rows.append(row[is_new])
        found_cells.append(corner[is_new])
    return np.concatenate(found_rows), np.concatenate(found_cells)


def _cell(lon: Numbers, lat: Numbers) -> Positions:
    """Return the number of the cell that a point lies in."""
    across, along = _across_and_along(lon, lat)
    return _number(across, along)


def _across_and_along(lon: Numbers, lat: Numbers) -> Positions:
    """Return how many cells there are to the west and to the south of a point."""
    found: Positions = np.floor([(lon - ORIGIN[0]) / DEGREES, (lat - ORIGIN[1]) / DEGREES]).astype(np.int64)
    return found


def _number(across: Positions, along: Positions) -> Positions:
    """Return the number of a cell."""
    return across * math.ceil(183 / DEGREES) + along


def _close_borders(
    outlines: Outlines, near: tuple[Positions, Positions, Numbers]
) -> tuple[Positions, Positions, Numbers]:
    """Return two segments of different units, and how far one runs along the other.

    Which one that is follows from their coordinates, so that the order of the units does not matter.
    """
    first, count, boxes = near
    owner = outlines.owners(first)
    shapes = np.asarray(shapely.box(*boxes))
    one, other = shapely.STRtree(shapes).query(shapes)
    one, other = (stretch[owner[one] != owner[other]] for stretch in (one, other))
    number = counted(first[one], count[one])
    rows = outlines.rows(number, number)
    low, high = np.minimum(rows[:, :2], rows[:, 2:4]).T, np.maximum(rows[:, :2], rows[:, 2:4]).T
    beside = boxes[:, np.repeat(other, count[one])]
    number = np.unique(number[((low <= beside[2:]) & (high >= beside[:2])).all(axis=0)])
    owner = outlines.owners(number)
    rows = outlines.rows(number, owner)
    rows[:, :4] = np.sort(rows[:, :4].reshape(-1, 2).view(np.complex128).reshape(-1, 2)).view(np.float64)
    in_order = np.lexsort(rows[:, 3::-1].T)
    number, owner, rows = number[in_order], owner[in_order], rows[in_order]
    lines = np.asarray(shapely.linestrings(rows[:, :4].reshape(-1, 2, 2)))
    one, other = shapely.STRtree(lines).query(lines, predicate="dwithin", distance=2 * TOLERANCE)
    is_pair = (one < other) & (owner[one] != owner[other])
    one, other = one[is_pair], other[is_pair]
    km = lengths_km(overlaps(rows[one], rows[other]))
    return number[one][km > 0], number[other][km > 0], km[km > 0]


def overlaps(rows: Numbers, other_rows: Numbers) -> Numbers:
    """Return the part of each segment that runs along another one.

    Parameters
    ----------
    rows, other_rows : ndarray of float64, shape (n, 5)
        Segments.

    Returns
    -------
    ndarray of float64, shape (n, 5)
        What lies within `TOLERANCE` of the other segment; where nothing does, a segment without length.
    """
    begin, along = rows[:, :2], rows[:, 2:4] - rows[:, :2]
    square = (along**2).sum(axis=1)
    at = [((other_rows[:, columns] - begin) * along).sum(axis=1) / square for columns in (slice(0, 2), slice(2, 4))]
    low, high = np.clip(np.minimum(*at), 0, 1), np.clip(np.maximum(*at), 0, 1)
    span = np.where(at[1] == at[0], 1, at[1] - at[0])
    is_close = at[1] != at[0]
    for end in (low, high):
        here = begin + along * end[:, None]
        share = ((end - at[0]) / span)[:, None]
        there = other_rows[:, :2] + (other_rows[:, 2:4] - other_rows[:, :2]) * share
        is_close &= np.hypot(*(here - there).T) <= TOLERANCE
    high = np.where(is_close, high, low)
    parts = rows.copy()
    parts[:, :2], parts[:, 2:4] = begin + along * low[:, None], begin + along * high[:, None]
    return parts
