"""The loops over cells and edges, which numba compiles: parts are drawn on a grid, and points looked up in it.

The sphere is cut into coarse cells of 0.1°, and a coarse cell through which a border runs into 8 × 8 fine ones. A part
touches a cell if a border of it comes within `MARGIN` of the cell. A cell that it does not touch lies in the part as a
whole or not at all, so that the centre tells which.

Vertices are whole numbers of `UNIT`, which takes half the memory. So what is computed here is only what rounding cannot
change: of a point within `NEAR` of a border, it is GEOS that says on which side it is.

numba keeps what it has compiled until this file changes. Whatever that depends on is therefore in this file.
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
NEAR = 2.0  # in `UNIT`: 2 cm, while no border is drawn more than 0.8 cm from where it is
NEAR_DEGREES = NEAR * UNIT
BAD, OPEN = -2, -1  # coordinates that are none, and points that are left to GEOS
OUTSIDE, INSIDE, CLOSE = 0, 1, 2
MANY = 16  # units at a point of which more are left to GEOS, too
NONE = -1
EQUATOR, FLATTENING = 6_378_137.0, 1 / 298.257223563
ECCENTRICITY = FLATTENING * (2 - FLATTENING)  # squared
LEAST_PER_DEGREE = 110_574.0  # metres of latitude, where degrees are shortest
AS_NEAR = 0.03  # metres, within which two units are equally near: a vertex is a centimetre wide
STRAIGHT = 0.5  # degrees of longitude
SEEN = 64  # parts that are remembered, so as not to be measured again in the next cell


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


@compiled
def value_at(coarse: Numbers, fine: Numbers, lon: float, lat: float) -> int:
    """Return what the cell of a point has: a set, or -1 minus the number of a list."""
    row, column = row_of(lat), column_of(lon)
    value = int(coarse[row // SIDE, column // SIDE])
    return value if value >= 0 else int(fine[((-1 - value) * SIDE + row % SIDE) * SIDE + column % SIDE])


@compiled
def _side_of(x: float, y: float, xs: Numbers, ys: Numbers, rings: Offsets, first: int, end: int) -> int:
    """Return on which side of the rings of a part a point is: inside, outside, or too close to one to say."""
    is_inside = False
    for ring in range(first, end):
        y1 = ys[rings[ring]]
        for at in range(rings[ring], rings[ring + 1] - 1):
            y0, y1 = y1, ys[at + 1]
            if (y0 > y + NEAR and y1 > y + NEAR) or (y0 < y - NEAR and y1 < y - NEAR):
                continue
            x0, x1 = xs[at], xs[at + 1]
            if x0 < x - NEAR and x1 < x - NEAR:
                continue  # to the west of it, while the ray goes east
            if x0 > x + NEAR and x1 > x + NEAR:
                is_inside ^= (y0 > y) != (y1 > y)
                continue
            across, up = float(x1 - x0), float(y1 - y0)
            length = across * across + up * up
            along = ((x - x0) * across + (y - y0) * up) / length if length > 0 else 0.0
            along = min(max(along, 0.0), 1.0)
            away_x, away_y = x0 + along * across - x, y0 + along * up - y
            if away_x * away_x + away_y * away_y < NEAR * NEAR:
                return CLOSE
            if (y0 > y) != (y1 > y):
                is_inside ^= x < x0 + (y - y0) / up * across
    return INSIDE if is_inside else OUTSIDE


@compiled
def search(
    lons: Floats,
    lats: Floats,
    coarse: Numbers,
    fine: Numbers,
    list_starts: Numbers,
    items: Numbers,
    units: Numbers,
    boxes: Floats,
    parts: Offsets,
    rings: Offsets,
    xs: Numbers,
    ys: Numbers,
    ancestors: Numbers,
    found: Numbers,
) -> None:
    """Look points up.

    Parameters
    ----------
    lons, lats : array of float64
        Degrees.
    coarse … ancestors
        See `Layer`.
    found : array of int32
        Set to the number of the set at each point, or to `BAD` or `OPEN`.
    """
    at_point = np.empty(MANY, np.int32)
    for number in range(len(lons)):
        lon, lat = lons[number], lats[number]
        if not (abs(lon) <= 180.0 and abs(lat) <= 90.0):
            found[number] = BAD
            continue
        if abs(lon) == 180.0:  # one meridian with two longitudes
            found[number] = OPEN
            continue
        value = value_at(coarse, fine, lon, lat)
        if value >= 0:
            found[number] = value
            continue
        count, is_open = 0, False
        for place in range(list_starts[-1 - value], list_starts[-value]):
            item = items[place]
            if item < 0:
                unit = -1 - item if count < MANY else OPEN
            else:
                if (
                    lon < boxes[item, 0] - NEAR_DEGREES
                    or lat < boxes[item, 1] - NEAR_DEGREES
                    or lon > boxes[item, 2] + NEAR_DEGREES
                    or lat > boxes[item, 3] + NEAR_DEGREES
                ):
                    continue
                side = _side_of(lon / UNIT, lat / UNIT, xs, ys, rings, parts[item], parts[item + 1])
                if side == OUTSIDE:
                    continue
                unit = units[item] if side == INSIDE and count < MANY else OPEN
            if unit == OPEN:
                is_open = True
                break
            is_new = True
            for other in range(count):
                is_new &= at_point[other] != unit
            if is_new:
                at_point[count] = unit
                count += 1
        found[number] = OPEN if is_open else _set_of(at_point, count, ancestors)


@compiled
def _set_of(units: Numbers, count: int, ancestors: Numbers) -> int:
    """Return the set of units at a point, where it is none or one that is finer than the others."""
    if count == 0:
        return 0
    finest = OPEN
    for one in range(count):
        is_coarser = False
        for other in range(count):
            if other != one:
                for level in range(ancestors.shape[1]):
                    is_coarser |= ancestors[units[other], level] == units[one]
        if not is_coarser:
            if finest != OPEN:
                return OPEN
            finest = units[one]
    return finest + 1


@compiled
def _place(lon: float, lat: float) -> tuple[float, float, float]:
    """Return where a point of the ellipsoid is, in metres from the centre of the earth."""
    along, up = np.radians(lon), np.radians(lat)
    radius = EQUATOR / np.sqrt(1.0 - ECCENTRICITY * np.sin(up) ** 2)
    flat = radius * np.cos(up)
    return flat * np.cos(along), flat * np.sin(along), radius * (1.0 - ECCENTRICITY) * np.sin(up)


@compiled
def _chord(place: tuple[float, float, float], lon: float, lat: float) -> float:
    x, y, z = _place(lon, lat)
    return float(np.sqrt((x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2))


@compiled
def degrees_away(lat: float, chord: float) -> tuple[float, float]:
    """Return how far away in latitude and in longitude a point within a chord may be; 180 where a pole may be."""
    up = min(180.0, 1.001 * chord / LEAST_PER_DEGREE + 1e-6)
    highest = abs(lat) + up
    if highest >= 89.9:
        return up, 180.0
    return up, min(180.0, up / np.cos(np.radians(highest)))


@compiled
def nearest_of(  # noqa: PLR0912  as `draw`
    lons: Floats,
    lats: Floats,
    reach: float,
    coarse: Numbers,
    fine: Numbers,
    list_starts: Numbers,
    items: Numbers,
    units: Numbers,
    boxes: Floats,
    parts: Offsets,
    rings: Offsets,
    xs: Numbers,
    ys: Numbers,
    ancestors: Numbers,
    found: Numbers,
    at: Floats,
) -> None:
    """Find the nearest unit of each point.

    Parameters
    ----------
    lons, lats : array of float64
        Degrees, of points that lie in no unit.
    reach : float
        Metres within which to look.
    coarse … ancestors
        See `Layer`.
    found : array of int32
        Set to the number of the unit, or to `NONE`.
    at : array of float64, (points, 2)
        Set to longitude and latitude of the nearest point of the unit.
    """
    seen = np.empty(SEEN, np.int64)
    for number in range(len(lons)):
        lon, lat = lons[number], lats[number]
        place = _place(lon, lat)
        best, found[number], count = reach, NONE, 0
        up, across = degrees_away(lat, best)
        row, column = row_of(lat) // SIDE, column_of(lon) // SIDE
        rows = int(np.ceil(up * 10)) + 1
        for step in range(2 * rows + 1):  # outwards: what is near rules out what is far
            at_row = row + (step + 1) // 2 * (1 if step % 2 else -1)
            if at_row < 0 or at_row >= COARSE_ROWS:
                continue
            away = max(0.0, at_row / 10 - 90.0 - lat, lat - (at_row + 1) / 10 + 90.0)
            up, across = degrees_away(lat, best)
            if away > up:
                continue
            columns = min(int(np.ceil(across * 10)) + 1, COARSE_COLUMNS // 2)
            for side in range(2 * columns + 1):
                aside = (side + 1) // 2 * (1 if side % 2 else -1)
                value = coarse[at_row, (column + aside) % COARSE_COLUMNS]
                if value >= 0 or (abs(aside) - 1) / 10 > across:
                    continue
                block = (-1 - value) * SIDE * SIDE
                for cell in range(block, block + SIDE * SIDE):
                    if fine[cell] >= 0:
                        continue
                    for index in range(list_starts[-1 - fine[cell]], list_starts[-fine[cell]]):
                        part = items[index]
                        if part < 0:
                            continue
                        is_new = True
                        for other in range(max(0, count - SEEN), count):
                            is_new &= seen[other % SEEN] != part
                        if not is_new:
                            continue
                        seen[count % SEEN] = part
                        count += 1
                        if boxes[part, 1] - lat > up or lat - boxes[part, 3] > up:
                            continue
                        chord, x, y = _nearest_on(place, lon, lat, best, xs, ys, rings, parts[part], parts[part + 1])
                        is_as_near = found[number] != NONE and abs(chord - best) < AS_NEAR
                        is_first = _comes_first(units[part], found[number], ancestors) if is_as_near else chord <= best
                        if is_first:
                            best, found[number] = chord, units[part]
                            at[number, 0], at[number, 1] = x, y
                        up, across = degrees_away(lat, best)


@compiled
def _comes_first(unit: int, other: int, ancestors: Numbers) -> bool:
    """Whether one of two units that are equally near is the answer: the finer one, or else the first by key."""
    for level in range(ancestors.shape[1]):
        if unit != other and ancestors[unit, level] == other:
            return True
        if unit != other and ancestors[other, level] == unit:
            return False
    return unit < other


@compiled
def _nearest_on(
    place: tuple[float, float, float],
    lon: float,
    lat: float,
    best: float,
    xs: Numbers,
    ys: Numbers,
    rings: Offsets,
    first: int,
    end: int,
) -> tuple[float, float, float]:
    """Return the shortest chord to the rings of a part, and where it ends, if it is no longer than the best."""
    found, found_x, found_y = np.inf, 0.0, 0.0
    up, _ = degrees_away(lat, best)
    for ring in range(first, end):
        for at in range(rings[ring], rings[ring + 1] - 1):
            y0, y1 = ys[at] * UNIT, ys[at + 1] * UNIT
            if min(y0, y1) - lat > up or lat - max(y0, y1) > up:
                continue
            x0, x1 = xs[at] * UNIT, xs[at + 1] * UNIT
            pieces = int(abs(x1 - x0) / STRAIGHT) + 1  # near a pole, a long edge is a bow
            for piece in range(pieces):
                begin, end_at = piece / pieces, (piece + 1) / pieces
                from_x, from_y = x0 + begin * (x1 - x0), y0 + begin * (y1 - y0)
                to_x, to_y = x0 + end_at * (x1 - x0), y0 + end_at * (y1 - y0)
                x, y = _planar(lon, lat, from_x, from_y, to_x, to_y)
                chord = _chord(place, x, y)
                if chord < min(found, best) * 1.02 + 1.0:
                    chord, x, y = _refined(place, from_x, from_y, to_x, to_y)
                if chord < found:
                    found, found_x, found_y = chord, x, y
    return found, found_x, found_y


@compiled
def _planar(lon: float, lat: float, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float]:
    """Return the nearest point of an edge, about: as though degrees were equally wide along it."""
    turn = 360.0 * np.round((lon - (x0 + x1) / 2) / 360.0)  # to the side of the date line where the point is
    narrow = np.cos(np.radians((y0 + y1) / 2)) ** 2
    across, rise = x1 - x0, y1 - y0
    length = across * across * narrow + rise * rise
    along = ((lon - x0 - turn) * across * narrow + (lat - y0) * rise) / length if length > 0 else 0.0
    along = min(max(along, 0.0), 1.0)
    return x0 + along * across, y0 + along * rise


@compiled
def _refined(
    place: tuple[float, float, float], x0: float, y0: float, x1: float, y1: float
) -> tuple[float, float, float]:
    """Return the shortest chord to an edge, and where it ends, by dividing the edge into thirds again and again."""
    begin, end = 0.0, 1.0
    while (end - begin) * (abs(x1 - x0) + abs(y1 - y0)) > UNIT:
        third = (end - begin) / 3
        left, right = begin + third, end - third
        if _chord(place, x0 + left * (x1 - x0), y0 + left * (y1 - y0)) < _chord(
            place, x0 + right * (x1 - x0), y0 + right * (y1 - y0)
        ):
            end = right
        else:
            begin = left
    # an end of the edge belongs to the next one, too: both must give the same
    along = 0.0 if begin == 0.0 else 1.0 if end == 1.0 else (begin + end) / 2
    x, y = x0 + along * (x1 - x0), y0 + along * (y1 - y0)
    return _chord(place, x, y), x, y
