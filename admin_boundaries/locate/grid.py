"""The grid that an index sorts its parts into, and how a part is drawn on it.

The sphere is cut into coarse cells of 0.1°, and a coarse cell through which a border runs into 8 × 8 fine ones. A part
touches a cell if a border of it comes within `MARGIN` of the cell. A cell that it does not touch lies in the part as a
whole or not at all, so that the centre tells which.

Vertices are whole numbers of `UNIT`, which takes half the memory; who must know better asks the exact ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from admin_boundaries.locate.compiled import compiled

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

UNIT = 1e-7  # degrees: 1 cm, so that a vertex is at most half of that away from where it is
SIDE = 8  # fine cells along a coarse one
PER_DEGREE = 10 * SIDE  # fine cells
COLUMNS, ROWS = 360 * PER_DEGREE, 180 * PER_DEGREE
COARSE_COLUMNS, COARSE_ROWS = COLUMNS // SIDE, ROWS // SIDE
MARGIN = 2e-7  # degrees; more than a vertex is away, and 1e-9, within which a point is on a border
STEEP = 1e-5  # degrees; an edge that is narrower is taken to touch all rows that it spans, in all its columns
TOUCHED_AT_ONCE = 2 * (COLUMNS + ROWS)  # no edge touches more cells: two rows in each column, and each row once more


@compiled
def column_of(lon: float) -> int:  # noqa: D103
    return min(max(int(np.floor((lon + 180.0) * PER_DEGREE)), 0), COLUMNS - 1)


@compiled
def row_of(lat: float) -> int:  # noqa: D103
    return min(max(int(np.floor((lat + 90.0) * PER_DEGREE)), 0), ROWS - 1)


@compiled
def _touched_by(
    xs: Numbers, ys: Numbers, at: int, first_row: int, end_row: int, rows: Numbers, columns: Numbers
) -> int:
    """Write the fine cells that an edge touches into two buffers, and return how many they are; a few may be more."""
    x0, x1, y0, y1 = xs[at] * UNIT, xs[at + 1] * UNIT, ys[at] * UNIT, ys[at + 1] * UNIT
    low, high = min(y0, y1), max(y0, y1)
    bottom, top = max(first_row, row_of(low - MARGIN)), min(end_row - 1, row_of(high + MARGIN))
    if bottom > top:
        return 0
    first, last = column_of(min(x0, x1) - MARGIN), column_of(max(x0, x1) + MARGIN)
    is_straight = first == last or bottom == top or abs(x1 - x0) < STEEP
    slope = 0.0 if is_straight else (y1 - y0) / (x1 - x0)
    margin = MARGIN * (1.0 + abs(slope))
    count = 0
    for column in range(first, last + 1):
        from_row, to_row = bottom, top
        if not is_straight:
            left = y0 + (column / PER_DEGREE - 180.0 - x0) * slope
            right = y0 + ((column + 1) / PER_DEGREE - 180.0 - x0) * slope
            from_row = max(bottom, row_of(max(low - MARGIN, min(left, right) - margin)))
            to_row = min(top, row_of(min(high + MARGIN, max(left, right) + margin)))
        for row in range(from_row, to_row + 1):
            rows[count], columns[count] = row, column
            count += 1
    return count


@compiled
def mark_touched(xs: Numbers, ys: Numbers, rings: Offsets, is_touched: Flags) -> None:
    """Mark the coarse cells that the edges of rings touch.

    Parameters
    ----------
    xs, ys : array of int32
        In `UNIT`.
    rings : array of int64
        Where each ring begins; one more for the end of the last.
    is_touched : array of bool, (`COARSE_ROWS`, `COARSE_COLUMNS`)
    """
    rows, columns = np.empty(TOUCHED_AT_ONCE, np.int32), np.empty(TOUCHED_AT_ONCE, np.int32)
    for ring in range(len(rings) - 1):
        for at in range(rings[ring], rings[ring + 1] - 1):
            for number in range(_touched_by(xs, ys, at, 0, ROWS, rows, columns)):
                is_touched[rows[number] // SIDE, columns[number] // SIDE] = True


@compiled
def draw(  # noqa: PLR0912  every branch in a function of its own would be called for each vertex
    xs: Numbers,
    ys: Numbers,
    rings: Offsets,
    parts: Offsets,
    boxes: Floats,
    units: Numbers,
    first_row: int,
    blocks: Numbers,
    stamps: Numbers,
    counts: Numbers,
    touches: Flags,
    starts: Numbers,
    items: Numbers,
) -> None:
    """Count what there is of parts in each cell of a band of rows, or note it.

    Parameters
    ----------
    xs, ys : array of int32
        In `UNIT`.
    rings, parts : array of int64
        Where each ring begins, and with which ring each part; one more for the end of the last.
    boxes : array of float64, (parts, 4)
        West, south, east and north of each part, in degrees.
    units : array of int32
        Number of the unit of each part.
    first_row : int
        The lowest row of the band.
    blocks : array of int32, (coarse rows of the band, `COARSE_COLUMNS`)
        Number of the block of fine cells of each coarse cell, counted in the band; -1 where it has none.
    stamps : array of int32
        For each cell of the band, coarse ones first. Zeros.
    counts : array of int32
        For each cell; how many items there are is added.
    touches : array of bool
        For each cell; set where a part touches it.
    starts, items : array of int32
        If there are items, they are written from where they start in each cell on, instead of touches: a part that
        touches the cell by its number, and one that covers it by that of its unit, as ``-1 - unit``.
    """
    rows, columns = np.empty(TOUCHED_AT_ONCE, np.int32), np.empty(TOUCHED_AT_ONCE, np.int32)
    notes = len(items) > 0
    end_row = first_row + len(blocks) * SIDE
    for part in range(len(parts) - 1):
        bottom, top = row_of(boxes[part, 1] - MARGIN), row_of(boxes[part, 3] + MARGIN)
        if top < first_row or bottom >= end_row:
            continue
        for ring in range(parts[part], parts[part + 1]):
            for at in range(rings[ring], rings[ring + 1] - 1):
                for number in range(_touched_by(xs, ys, at, first_row, end_row, rows, columns)):
                    cell = _fine_cell(blocks, rows[number] - first_row, columns[number])
                    if stamps[cell] != part + 1:
                        stamps[cell] = part + 1
                        if notes:
                            items[starts[cell] + counts[cell]] = part
                        else:
                            touches[cell] = True
                        counts[cell] += 1
        bottom, top = max(bottom, first_row), min(top, end_row - 1)
        ends, lons = _crossings(xs, ys, rings, parts[part], parts[part + 1], bottom, top + 1)
        for row in range(bottom - first_row, top + 1 - first_row):
            begin = row + first_row - bottom
            for pair in range(ends[begin], ends[begin + 1] - 1, 2):
                column = max(int(np.ceil((lons[pair] + 180.0) * PER_DEGREE - 0.5)), 0)
                last = min(int(np.floor((lons[pair + 1] + 180.0) * PER_DEGREE - 0.5)), COLUMNS - 1)
                while column <= last:
                    cell = _fine_cell(blocks, row, column)
                    step = 1
                    is_noted = True
                    if cell < 0:  # a coarse cell that nothing touches: noted once, in the first of its rows
                        cell = row // SIDE * COARSE_COLUMNS + column // SIDE
                        step = SIDE - column % SIDE
                        is_noted = row % SIDE == 0
                    if is_noted and stamps[cell] != part + 1:
                        if notes:
                            items[starts[cell] + counts[cell]] = -1 - units[part]
                        counts[cell] += 1
                    column += step


@compiled
def _fine_cell(blocks: Numbers, row: int, column: int) -> int:
    """Return the place of a fine cell behind the coarse ones of a band; -1 in a coarse cell that is not cut."""
    block = blocks[row // SIDE, column // SIDE]
    return -1 if block < 0 else blocks.size + block * SIDE * SIDE + row % SIDE * SIDE + column % SIDE


@compiled
def _crossings(
    xs: Numbers, ys: Numbers, rings: Offsets, first_ring: int, end_ring: int, first_row: int, end_row: int
) -> Any:
    """Return where the edges of a part cross the centres of rows: where the crossings of each row begin, and these."""
    ends = np.zeros(end_row - first_row + 1, np.int64)
    for ring in range(first_ring, end_ring):
        for at in range(rings[ring], rings[ring + 1] - 1):
            first, end = _centres_between(ys[at], ys[at + 1], first_row, end_row)
            for row in range(first, end):
                ends[row - first_row + 1] += 1
    ends = np.cumsum(ends)
    lons = np.empty(ends[-1], np.float64)
    filled = ends.copy()
    for ring in range(first_ring, end_ring):
        for at in range(rings[ring], rings[ring + 1] - 1):
            first, end = _centres_between(ys[at], ys[at + 1], first_row, end_row)
            for row in range(first, end):
                along = (((row + 0.5) / PER_DEGREE - 90.0) / UNIT - ys[at]) / (ys[at + 1] - ys[at])
                along = min(max(along, 0.0), 1.0)  # of an edge that is almost level, rounding makes anything
                lons[filled[row - first_row]] = (xs[at] + along * (xs[at + 1] - xs[at])) * UNIT
                filled[row - first_row] += 1
    for row in range(end_row - first_row):
        lons[ends[row] : ends[row + 1]].sort()
    return ends, lons


@compiled
def _centres_between(y0: int, y1: int, first_row: int, end_row: int) -> Any:
    """Return the first row whose centre is between two latitudes, and the first that no longer is."""
    low, high = min(y0, y1) * UNIT, max(y0, y1) * UNIT
    first, end = int(np.floor((low + 90.0) * PER_DEGREE + 0.5)), int(np.floor((high + 90.0) * PER_DEGREE + 0.5))
    return max(first, first_row), min(end, end_row)
