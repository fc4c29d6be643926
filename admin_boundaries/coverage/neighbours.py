"""Which units share a border, and along how many kilometres.

Segments that two units have in common are found by a hash, in buckets on disk. What is left has one owner: coasts, and
borders that two units do not draw vertex by vertex. These are compared where segments of several owners lie close
together, cell by cell: a segment borders on another as far as it runs within `TOLERANCE` of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import shapely

from admin_boundaries.coverage.segments import (
    OWNER,
    WIDTH,
    Buckets,
    Numbers,
    Positions,
    Spill,
    hashes_of,
    lengths_km,
    mixed,
    segments,
)

TOLERANCE = 1e-7  # degrees
COARSE_DEGREES = 0.05  # of the cells of which a grid of the whole globe is held in memory: 130 MB
FINE_DEGREES = 0.004
ORIGIN = (-181.0372319, -91.0218637)  # of the cells, so that no border along a round degree is one of theirs
INDEX_BITS = 26  # of a key to be sorted, the lower ones are the position of a row in its bucket
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

    Memory holds a batch, a bucket, a grid of the globe and the pairs that were found, but never the units of a level.

    Parameters
    ----------
    levels : iterable of (int, iterable of RecordBatch)
        The number of each level, and its units: ``gid`` (string) and ``geom`` (WKB in degrees, or null).
    folder : Path, optional
        Of the files on disk, some 40 to 80 bytes for each vertex of a level; by default that of the system.

    Returns
    -------
    RecordBatchReader
        ``gid``, ``neighbour_gid``, ``admin_level`` and ``border_km``: each pair both ways, by level and keys. The
        length is that on the ellipsoid. Units that touch in points only are no neighbours.
    """
    return pa.RecordBatchReader.from_batches(
        SCHEMA, (batch for level, units in levels for batch in _of_level(level, units, folder))
    )


def _of_level(level: int, units: Iterable[pa.RecordBatch], folder: Path | None) -> Iterator[pa.RecordBatch]:
    gids: list[pa.Array] = []
    with ExitStack() as open_until:
        buckets = open_until.enter_context(Buckets(folder=folder))
        for batch in units:
            first = sum(map(len, gids))
            buckets.add(*segments(shapely.from_wkb(batch["geom"].to_numpy(zero_copy_only=False)), first))
            gids.append(batch["gid"])
        if not gids:
            return
        alone = open_until.enter_context(Spill(folder=folder))
        borders = Borders(sum(map(len, gids)))
        for rows in buckets:
            one, other, is_alone = equal_pairs(rows)
            borders.add(rows[one, OWNER], rows[other, OWNER], lengths_km(rows[one]))
            alone.add(rows[is_alone])
        add_close_borders(alone, borders, folder)
    yield from borders.batches(pa.chunked_array(gids, pa.string()).combine_chunks(), level)


class Borders:
    """The lengths of the borders of pairs of units, as they are found."""

    def __init__(self, unit_count: int) -> None:
        self._unit_count = unit_count
        self._found: list[tuple[Positions, Numbers]] = []

    def add(self, one: Numbers, other: Numbers, km: Numbers) -> None:
        """Add lengths to the borders of units, by their numbers."""
        pairs = np.minimum(one, other).astype(np.int64) * self._unit_count + np.maximum(one, other).astype(np.int64)
        self._found.append(_summed(pairs, km))

    def batches(self, gids: pa.StringArray, level: int) -> Iterator[pa.RecordBatch]:
        """Yield each pair both ways, by the keys of its units."""
        pairs, km = _summed(*map(np.concatenate, zip(*self._found, strict=True)))
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
                    pa.array(km[rows % len(pairs)]),
                ],
                schema=SCHEMA,
            )


def _summed(keys: Positions, numbers: Numbers) -> tuple[Positions, Numbers]:
    """Return every key once, with the sum of its numbers."""
    once, at = np.unique(keys, return_inverse=True)
    return once, np.bincount(at, numbers, len(once)).astype(np.float64)


def equal_pairs(rows: Numbers) -> tuple[Positions, Positions, npt.NDArray[np.bool_]]:
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
    if len(rows) >> INDEX_BITS:
        raise ValueError(f"A bucket of {len(rows):,} segments is too large.")
    index = np.uint64((1 << INDEX_BITS) - 1)
    keys = (hashes_of(rows) << np.uint64(6) & ~index) | np.arange(len(rows), dtype=np.uint64)
    keys.sort()  # one sort of numbers is several times as fast as one that returns positions
    position = (keys & index).astype(np.int64)
    keys >>= np.uint64(INDEX_BITS)
    is_alone = np.ones(len(rows), bool)
    ones, others = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for distance in range(1, len(rows)):
        near = np.flatnonzero(keys[distance:] == keys[:-distance])
        if not len(near):
            break
        one, other = position[near], position[near + distance]
        ends, other_ends = rows[one], rows[other]
        is_pair = _are_equal(ends, other_ends, (0, 1, 2, 3)) | _are_equal(ends, other_ends, (2, 3, 0, 1))
        is_pair &= ends[:, OWNER] != other_ends[:, OWNER]
        ones.append(one[is_pair])
        others.append(other[is_pair])
    one, other = np.concatenate(ones), np.concatenate(others)
    is_alone[one] = is_alone[other] = False
    return one, other, is_alone


def _are_equal(ends: Numbers, others: Numbers, columns: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Compare the ends of segments with these columns of others."""
    found: npt.NDArray[np.bool_] = ends[:, 0] == others[:, columns[0]]
    for column, other in enumerate(columns[1:], start=1):
        found &= ends[:, column] == others[:, other]
    return found


def add_close_borders(alone: Spill, borders: Borders, folder: Path | None = None) -> None:
    """Add the borders that units do not draw alike: with other vertices, or up to `TOLERANCE` apart.

    Parameters
    ----------
    alone : Spill
        The segments that no other unit has.
    borders : Borders
        Where they are added.
    folder : Path, optional
        Of files on disk.
    """
    is_shared = _shared_cells(alone)
    if not is_shared.any():
        return
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, WIDTH)), np.empty((0, WIDTH)))]
    with Buckets(WIDTH + 2, folder) as close:
        first = 0
        for rows in alone.chunks():
            row, cell = _cells(rows, COARSE_DEGREES)
            near = np.unique(row[is_shared[cell]])
            row, cell = _cells(rows[near], FINE_DEGREES)
            numbered = np.column_stack([rows[near][row], near[row] + first, cell])
            close.add(numbered, mixed(cell.astype(np.uint64)))
            first += len(rows)
        for numbered in close:
            found.append(_close_pairs(numbered))
    one, other, rows, other_rows = map(np.concatenate, zip(*found, strict=True))
    _pairs, once = np.unique(np.column_stack([one, other]), axis=0, return_index=True)
    rows, other_rows = rows[once], other_rows[once]
    parts = overlaps(rows, other_rows)
    km = lengths_km(parts)
    is_border = km > 0
    borders.add(rows[is_border, OWNER], other_rows[is_border, OWNER], km[is_border])


def _shared_cells(alone: Spill) -> npt.NDArray[np.bool_]:
    """Return which cells of the coarse grid hold segments of several units."""
    cells = int(_cell(np.array([180.1]), np.array([90.1]), COARSE_DEGREES)[0]) + 1
    owner_in = np.full(cells, -1, np.int32)
    is_shared = np.zeros(cells, bool)
    for rows in alone.chunks():
        row, cell = _cells(rows, COARSE_DEGREES)
        owner = rows[row, OWNER].astype(np.int32)
        before = owner_in[cell]
        owner_in[cell] = owner
        is_shared[cell[((before != owner) & (before >= 0)) | (owner_in[cell] != owner)]] = True
    return is_shared


def _cells(rows: Numbers, degrees: float) -> tuple[Positions, Positions]:
    """Return the cells that segments run through, with those that are within the tolerance.

    Returns
    -------
    row : ndarray of int64
        Position of the segment.
    cell : ndarray of int64
        Number of the cell. It is there again if several pieces of a segment lie in it.
    """
    lon, lat, other_lon, other_lat = (rows[:, column].copy() for column in range(4))
    low = _cell(np.minimum(lon, other_lon) - TOLERANCE, np.minimum(lat, other_lat) - TOLERANCE, degrees)
    high = _cell(np.maximum(lon, other_lon) + TOLERANCE, np.maximum(lat, other_lat) + TOLERANCE, degrees)
    is_in_several = low != high
    within, across = np.flatnonzero(~is_in_several), np.flatnonzero(is_in_several)
    row, cell = _cells_of_pieces(rows[across], degrees)
    return np.concatenate([within, across[row]]), np.concatenate([low[within], cell])


def _cells_of_pieces(rows: Numbers, degrees: float) -> tuple[Positions, Positions]:
    """As `_cells`: cut segments into pieces of half a cell, so that each lies in the cells of its box's corners."""
    extent = np.abs(rows[:, 2:4] - rows[:, :2]).max(axis=1, initial=0)
    pieces = np.maximum(np.ceil(extent / (degrees / 2)), 1).astype(np.int64)
    row = np.repeat(np.arange(len(rows)), pieces)
    piece = np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begin = rows[row, :2]
    step = (rows[row, 2:4] - begin) / pieces[row, None]
    begin, end = begin + step * piece[:, None], begin + step * (piece[:, None] + 1)
    low, high = np.minimum(begin, end) - TOLERANCE, np.maximum(begin, end) + TOLERANCE
    corners = [_cell(lon[:, 0], lat[:, 1], degrees) for lon in (low, high) for lat in (low, high)]
    found_rows, found_cells = [row], [corners[0]]
    for number, corner in enumerate(corners[1:], start=1):
        is_new = np.logical_and.reduce([corner != earlier for earlier in corners[:number]])
        found_rows.append(row[is_new])
        found_cells.append(corner[is_new])
    return np.concatenate(found_rows), np.concatenate(found_cells)


def _cell(lon: Numbers, lat: Numbers, degrees: float) -> Positions:
    """Return the number of the cell that a point lies in."""
    across, along = np.floor((lon - ORIGIN[0]) / degrees), np.floor((lat - ORIGIN[1]) / degrees)
    cell: Positions = (across * np.ceil(183 / degrees) + along).astype(np.int64)
    return cell


def _close_pairs(numbered: Numbers) -> tuple[Positions, Positions, Numbers, Numbers]:
    """Find segments of different units that come close to each other, in cells that several units share.

    Parameters
    ----------
    numbered : ndarray of float64, shape (n, 7)
        Segments, with their number and that of a cell.

    Returns
    -------
    one, other : ndarray of int64, shape (m,)
        Their numbers, the lower one first.
    rows, other_rows : ndarray of float64, shape (m, 5)
        The segments.
    """
    numbered = numbered[np.argsort(numbered[:, WIDTH + 1], kind="stable")]
    starts = np.flatnonzero(np.diff(numbered[:, WIDTH + 1], prepend=np.nan) != 0)
    if not len(starts):
        empty = np.empty(0, np.int64)
        return empty, empty, np.empty((0, WIDTH)), np.empty((0, WIDTH))
    is_shared = np.minimum.reduceat(numbered[:, OWNER], starts) != np.maximum.reduceat(numbered[:, OWNER], starts)
    numbered = numbered[np.repeat(is_shared, np.diff(starts, append=len(numbered)))]
    number, once = np.unique(numbered[:, WIDTH].astype(np.int64), return_index=True)
    rows = numbered[once, :WIDTH]
    lines = np.asarray(shapely.linestrings(rows[:, :4].reshape(-1, 2, 2)))
    one, other = shapely.STRtree(lines).query(lines, predicate="dwithin", distance=2 * TOLERANCE)
    is_pair = (one < other) & (rows[one, OWNER] != rows[other, OWNER])
    one, other = one[is_pair], other[is_pair]
    return number[one], number[other], rows[one], rows[other]


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
