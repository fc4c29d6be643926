"""The loops over vertices and bytes, which numba compiles: units are cut into tiles, and tiles are put together.

All coordinates are whole numbers on the grid of a zoom, `extent` of them along a tile, from the north-western corner of
the world. Two units that share a vertex share it on the grid; where a border is cut, both get the same point: it is the
nearest one of the grid, from whichever end it is computed, and at the edges of the same squares of the quadtree.

numba keeps what it has compiled until this file changes. Whatever that depends on is therefore in this file.

Source: the Mapbox vector tile specification 2.1, for the commands of a geometry; Sutherland and Hodgman, "Reentrant
polygon clipping" (1974); PMTiles version 3, for the order of tiles.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from admin_boundaries.locate.compiled import compiled

Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

PIXELS = 512  # along a tile, as MapLibre shows it
BUFFER_PIXELS = 8  # what a tile has of its neighbours, so that lines along its edge are whole
FULL = -1  # in place of an offset: the piece is the whole tile
MOVE, LINE, CLOSE = 1, 2, 7
LAYER, LAYER_NAME, LAYER_FEATURE, LAYER_KEY, LAYER_EXTENT, LAYER_VERSION = 0x1A, 0x0A, 0x12, 0x1A, 0x28, 0x78
FEATURE_TAGS, FEATURE_TYPE, FEATURE_GEOMETRY, POINT, POLYGON = 0x12, 0x18, 0x22, 1, 3


@compiled
def tile_ids(zoom: int, columns: Integers, rows: Integers) -> Integers:
    """Return the numbers of tiles in a PMTiles archive, which follow a Hilbert curve."""
    ids = np.empty(len(columns), np.int64)
    for at in range(len(columns)):
        x, y = columns[at], rows[at]
        number = ((1 << (2 * zoom)) - 1) // 3
        for bit in range(zoom - 1, -1, -1):
            side = 1 << bit
            right, below = side & x, side & y
            number += ((3 * right) ^ below) << bit
            if below == 0:
                if right != 0:
                    x, y = side - 1 - x, side - 1 - y
                x, y = y, x
        ids[at] = number
    return ids


@compiled
def _longer(numbers: Integers, least: int) -> Integers:
    made = np.empty(max(least, 2 * len(numbers)), np.int64)
    made[: len(numbers)] = numbers
    return made


@compiled
def _more_bytes(data: Bytes, least: int) -> Bytes:
    made = np.empty(max(least, 2 * len(data)), np.uint8)
    made[: len(data)] = data
    return made


@compiled
def _put(data: Bytes, at: int, number: int) -> int:
    """Write a number of seven bits a byte; return where the next one goes."""
    while number > 127:
        data[at] = (number & 127) | 128
        number >>= 7
        at += 1
    data[at] = number
    return at + 1


@compiled
def _get(data: Bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while data[at] > 127:
        number |= (int(data[at]) & 127) << shift
        shift += 7
        at += 1
    return number | (int(data[at]) << shift), at + 1


@compiled
def _zigzag(number: int) -> int:
    return (number << 1) ^ (number >> 63)


@compiled
def _twice_area(xs: Integers, ys: Integers, start: int, end: int) -> int:
    """Return twice the area of a ring: positive if it turns to the right on a map with the north above."""
    area = 0
    before = end - 1
    for at in range(start, end):
        area += int(xs[before] * ys[at] - xs[at] * ys[before])
        before = at
    return area


@compiled
def _without_repeats(xs: Integers, ys: Integers, start: int, end: int) -> int:
    """Leave out vertices that are where the one before them is; return the new end."""
    to = start
    for at in range(start, end):
        if to == start or xs[at] != xs[to - 1] or ys[at] != ys[to - 1]:
            xs[to], ys[to] = xs[at], ys[at]
            to += 1
    while to > start + 1 and xs[to - 1] == xs[start] and ys[to - 1] == ys[start]:
        to -= 1
    return to


@compiled
def _half(xs: Integers, ys: Integers, count: int, to_xs: Integers, to_ys: Integers, limit: int, side: int) -> int:
    """Keep what of a ring lies on one side of a vertical line, ``x * side <= limit * side``; return its length."""
    kept = 0
    before = count - 1
    for at in range(count):
        was_in, is_in = xs[before] * side <= limit * side, xs[at] * side <= limit * side
        if was_in != is_in:
            run = xs[at] - xs[before]
            rise = (limit - xs[before]) * (ys[at] - ys[before])
            to_xs[kept], to_ys[kept] = limit, ys[before] + (2 * rise + run) // (2 * run)  # the same in either direction
            kept += 1
        if is_in:
            to_xs[kept], to_ys[kept] = xs[at], ys[at]
            kept += 1
        before = at
    return kept


@compiled
def _encode(
    xs: Integers, ys: Integers, starts: Integers, first: int, last: int, left: int, top: int, data: Bytes, at: int
) -> int:
    """Write rings as the commands of a geometry; there must be room for them. Return where the next one goes."""
    x, y = left, top
    for ring in range(first, last):
        start, end = starts[ring], starts[ring + 1]
        at = _put(data, at, (1 << 3) | MOVE)
        for vertex in range(start, end):
            if vertex == start + 1:
                at = _put(data, at, ((end - start - 1) << 3) | LINE)
            at = _put(data, at, _zigzag(xs[vertex] - x))
            at = _put(data, at, _zigzag(ys[vertex] - y))
            x, y = xs[vertex], ys[vertex]
        at = _put(data, at, (1 << 3) | CLOSE)
    return at


@compiled
def cut(  # noqa: PLR0912, PLR0915  in pieces, numba would copy what they hand one another
    zoom: int,
    extent: int,
    xs: Integers,
    ys: Integers,
    rings: Integers,
    polygons: Integers,
    unit_starts: Integers,
    unit_ends: Integers,
) -> tuple[Integers, Bytes]:
    """Cut units into the tiles of a zoom.

    A unit that covers less than a pixel becomes a square of one pixel, where the largest part of it is.

    Parameters
    ----------
    zoom, extent : int
        Zoom, and units of its grid along a tile: a power of two.
    xs, ys : ndarray of int64, shape (n,)
        Vertices on the grid; the last vertex of a ring is its first.
    rings, polygons : ndarray of int64
        Offsets: of rings among vertices, of polygons among rings.
    unit_starts, unit_ends : ndarray of int64, shape (units,)
        Where the polygons of each unit begin and end.

    Returns
    -------
    pieces : ndarray of int64, shape (k, 5)
        Unit, column and row of the tile, offset (`FULL`: the piece covers the tile) and length in bytes.
    data : ndarray of uint8
        The commands of all pieces.
    """
    buffer, pixel = BUFFER_PIXELS * extent // PIXELS, extent // PIXELS
    pieces, count = np.empty((1024, 5), np.int64), 0
    data, used = np.empty(1 << 16, np.uint8), 0
    # the rings of the squares that wait, one after the other; each ring begins where the one before it ends
    sx, sy = np.empty(1 << 12, np.int64), np.empty(1 << 12, np.int64)
    starts, is_hole = np.zeros(1 << 10, np.int64), np.zeros(1 << 10, np.int64)
    ax, ay = np.empty(1 << 12, np.int64), np.empty(1 << 12, np.int64)
    bx, by = np.empty(1 << 12, np.int64), np.empty(1 << 12, np.int64)
    waiting = np.empty((256, 5), np.int64)  # zoom, column, row, first ring, last ring
    for unit in range(len(unit_starts)):
        ring_count, length, area, largest = 0, 0, 0, -1
        middle_x = middle_y = 0
        for polygon in range(unit_starts[unit], unit_ends[unit]):
            for ring in range(polygons[polygon], polygons[polygon + 1]):
                inner = ring > polygons[polygon]
                size = rings[ring + 1] - rings[ring] - 1
                if length + size > len(sx):
                    sx, sy = _longer(sx, length + size), _longer(sy, length + size)
                if ring_count + 2 > len(starts):
                    starts, is_hole = _longer(starts, 0), _longer(is_hole, 0)
                sx[length : length + size] = xs[rings[ring] : rings[ring] + size]
                sy[length : length + size] = ys[rings[ring] : rings[ring] + size]
                end = _without_repeats(sx, sy, length, length + size)
                twice = _twice_area(sx, sy, length, end)
                if not inner and abs(twice) > largest:
                    largest = abs(twice)
                    middle_x = (int(sx[length:end].min()) + int(sx[length:end].max())) // 2
                    middle_y = (int(sy[length:end].min()) + int(sy[length:end].max())) // 2
                if twice == 0:
                    if inner:
                        continue
                    break  # and its holes
                if (twice > 0) == inner:
                    sx[length:end], sy[length:end] = sx[length:end][::-1].copy(), sy[length:end][::-1].copy()
                area += -abs(twice) if inner else abs(twice)
                starts[ring_count], starts[ring_count + 1], is_hole[ring_count] = length, end, inner
                ring_count, length = ring_count + 1, end
        if largest < 0:
            continue
        if area < 2 * pixel * pixel:
            west = min(max(middle_x - pixel // 2, 0), (extent << zoom) - pixel)
            north = min(max(middle_y - pixel // 2, 0), (extent << zoom) - pixel)
            sx[0], sx[1], sx[2], sx[3] = west, west + pixel, west + pixel, west
            sy[0], sy[1], sy[2], sy[3] = north, north, north + pixel, north + pixel
            starts[0], starts[1], is_hole[0], ring_count, length = 0, 4, 0, 1, 4
        low_x, high_x = sx[:length].min() - buffer, sx[:length].max() + buffer
        low_y, high_y = sy[:length].min() - buffer, sy[:length].max() + buffer
        depth = zoom
        side = extent
        last_tile = (1 << zoom) - 1
        left, right = max(low_x // side, 0), min(high_x // side, last_tile)
        top, bottom = max(low_y // side, 0), min(high_y // side, last_tile)
        while left != right or top != bottom:
            left, right, top, bottom, depth = left >> 1, right >> 1, top >> 1, bottom >> 1, depth - 1
        waiting[0, 0], waiting[0, 1], waiting[0, 2], waiting[0, 3], waiting[0, 4] = depth, left, top, 0, ring_count
        stacked = 1
        while stacked:
            stacked -= 1
            depth, column, row = waiting[stacked, 0], waiting[stacked, 1], waiting[stacked, 2]
            first, last = waiting[stacked, 3], waiting[stacked, 4]
            side = extent << (zoom - depth)
            full = False
            if last - first == 1:
                whole = 2 * (side + 2 * buffer) * (side + 2 * buffer)
                full = _twice_area(sx, sy, starts[first], starts[last]) == whole
            if full or depth == zoom:
                across = 1 << (zoom - depth)
                if count + across * across > len(pieces):
                    more = np.empty((max(2 * len(pieces), count + across * across), 5), np.int64)
                    more[:count] = pieces[:count]
                    pieces = more
                room = used + 20 * (starts[last] - starts[first]) + 30 * (last - first)
                if room > len(data):
                    data = _more_bytes(data, room)
                end_of_piece = used
                if not full:
                    end_of_piece = _encode(sx, sy, starts, first, last, column * extent, row * extent, data, used)
                for down in range(across):
                    for over in range(across):
                        pieces[count, 0] = unit
                        pieces[count, 1], pieces[count, 2] = column * across + over, row * across + down
                        pieces[count, 3] = FULL if full else used
                        pieces[count, 4] = end_of_piece - used
                        count += 1
                used = end_of_piece
                continue
            half = side >> 1
            ring_end = last
            for child in range(4):
                child_column, child_row = 2 * column + (child & 1), 2 * row + (child >> 1)
                low_x, high_x = child_column * half - buffer, (child_column + 1) * half + buffer
                low_y, high_y = child_row * half - buffer, (child_row + 1) * half + buffer
                child_first = ring_end
                is_outside = False
                for ring in range(first, last):
                    if is_hole[ring] and is_outside:
                        continue
                    is_outside = not is_hole[ring]  # until something of it is kept
                    start, end = starts[ring], starts[ring + 1]
                    box_low_x, box_high_x = sx[start:end].min(), sx[start:end].max()
                    box_low_y, box_high_y = sy[start:end].min(), sy[start:end].max()
                    if box_high_x <= low_x or box_low_x >= high_x or box_high_y <= low_y or box_low_y >= high_y:
                        continue
                    size = end - start
                    if 6 * size + 64 > len(ax):
                        ax, ay = _longer(ax, 6 * size + 64), _longer(ay, 6 * size + 64)
                        bx, by = _longer(bx, 6 * size + 64), _longer(by, 6 * size + 64)
                    ax[:size], ay[:size] = sx[start:end], sy[start:end]
                    if box_low_x < low_x:
                        size = _half(ax, ay, size, bx, by, low_x, -1)
                        ax, ay, bx, by = bx, by, ax, ay
                    if box_high_x > high_x:
                        size = _half(ax, ay, size, bx, by, high_x, 1)
                        ax, ay, bx, by = bx, by, ax, ay
                    if box_low_y < low_y:
                        size = _half(ay, ax, size, by, bx, low_y, -1)
                        ax, ay, bx, by = bx, by, ax, ay
                    if box_high_y > high_y:
                        size = _half(ay, ax, size, by, bx, high_y, 1)
                        ax, ay, bx, by = bx, by, ax, ay
                    size = _without_repeats(ax, ay, 0, size)
                    if size < 3 or _twice_area(ax, ay, 0, size) == 0:
                        continue
                    start = starts[ring_end]
                    if start + size > len(sx):
                        sx, sy = _longer(sx, start + size), _longer(sy, start + size)
                    if ring_end + 2 > len(starts):
                        starts, is_hole = _longer(starts, 0), _longer(is_hole, 0)
                    sx[start : start + size], sy[start : start + size] = ax[:size], ay[:size]
                    starts[ring_end + 1], is_hole[ring_end] = start + size, is_hole[ring]
                    ring_end += 1
                    is_outside = False
                if ring_end > child_first:
                    waiting[stacked, 0], waiting[stacked, 1], waiting[stacked, 2] = depth + 1, child_column, child_row
                    waiting[stacked, 3], waiting[stacked, 4] = child_first, ring_end
                    stacked += 1
    return pieces[:count].copy(), data[:used].copy()


@compiled
def points(zoom: int, extent: int, xs: Integers, ys: Integers) -> tuple[Integers, Bytes]:
    """Return points as pieces of the tiles that they are in, and their commands; see `cut`."""
    pieces, data, used = np.empty((len(xs), 5), np.int64), np.empty(21 * len(xs), np.uint8), 0
    last = (1 << zoom) - 1
    for at in range(len(xs)):
        column, row = min(xs[at] // extent, last), min(ys[at] // extent, last)
        start = used
        used = _put(data, used, (1 << 3) | MOVE)
        used = _put(data, used, _zigzag(xs[at] - column * extent))
        used = _put(data, used, _zigzag(ys[at] - row * extent))
        pieces[at, 0], pieces[at, 1], pieces[at, 2], pieces[at, 3], pieces[at, 4] = at, column, row, start, used - start
    return pieces, data[:used].copy()


@compiled
def coarser(data: Bytes, start: int, end: int, step: int, pixel: int, made: Bytes, at: int) -> int:
    """Write a geometry again with its vertices on every ``step``-th line of the grid; return where the next one goes.

    What has no area then is left out; if nothing else is left, it becomes a square of one pixel.
    """
    xs, ys = np.empty(end - start, np.int64), np.empty(end - start, np.int64)
    starts = np.zeros(2, np.int64)
    x = y = from_x = from_y = 0
    middle_x = middle_y = 0
    begun = at
    is_left_out = False
    while start < end:
        count = 0
        command, start = _get(data, start)
        while command != ((1 << 3) | CLOSE):
            for _ in range(command >> 3):
                over, start = _get(data, start)
                down, start = _get(data, start)
                x, y = x + ((over >> 1) ^ -(over & 1)), y + ((down >> 1) ^ -(down & 1))
                xs[count], ys[count] = x, y
                count += 1
            command, start = _get(data, start)
        is_hole = _twice_area(xs, ys, 0, count) < 0
        middle_x, middle_y = int(xs[0]), int(ys[0])
        for vertex in range(count):
            xs[vertex] = (xs[vertex] + step // 2) // step * step
            ys[vertex] = (ys[vertex] + step // 2) // step * step
        count = _without_repeats(xs, ys, 0, count)
        area = _twice_area(xs, ys, 0, count)
        if not is_hole:
            is_left_out = area <= 0
        if is_left_out or (is_hole and area >= 0):
            continue
        starts[1] = count
        at = _encode(xs, ys, starts, 0, 1, from_x, from_y, made, at)
        from_x, from_y = int(xs[count - 1]), int(ys[count - 1])
    if at == begun:
        xs, ys = np.empty(4, np.int64), np.empty(4, np.int64)
        xs[:], ys[:] = middle_x, middle_y
        xs[1:3] += pixel
        ys[2:4] += pixel
        starts[1] = 4
        at = _encode(xs, ys, starts, 0, 1, 0, 0, made, at)
    return at


@compiled
def _length_of(number: int) -> int:
    length = 1
    while number > 127:
        number >>= 7
        length += 1
    return length


@compiled
def put_together(  # noqa: PLR0912, PLR0915
    tiles: Integers,
    pieces: Integers,
    data: Bytes,
    extent: int,
    step: int,
    codes: Integers,
    values: Bytes,
    value_offsets: Integers,
    names: Bytes,
    name_offsets: Integers,
    keys: Bytes,
    layer_of_points: int,
    used_in: Integers,
) -> tuple[Bytes, Integers]:
    """Put tiles together.

    Parameters
    ----------
    tiles : ndarray of int64, shape (t + 1,)
        Offsets of the tiles among the pieces.
    pieces : ndarray of int64, shape (k, 4)
        Layer, unit, offset in ``data`` or `FULL`, and length; by tile, then by layer.
    data : ndarray of uint8
        The commands of the pieces.
    extent, step : int
        Units of the grid along a tile, and how many lines of it there are to one that is used.
    codes : ndarray of int64, shape (units, keys)
        The number of the value that a unit has of a key, or -1.
    values, value_offsets : ndarray of uint8, ndarray of int64
        Each value as a field of a layer.
    names, name_offsets : ndarray of uint8, ndarray of int64
        The names of layers.
    keys : ndarray of uint8
        The keys of values, as the fields of a layer.
    layer_of_points : int
        The layer whose pieces are points; those of all others are polygons.
    used_in : ndarray of int64, shape (values, 2)
        Room for notes; all -1.

    Returns
    -------
    made : ndarray of uint8
        All tiles, one after the other.
    ends : ndarray of int64, shape (t,)
        Where each ends.
    """
    buffer, pixel = BUFFER_PIXELS * extent // PIXELS, extent // PIXELS
    square_x = np.array([-buffer, extent + buffer, extent + buffer, -buffer])
    square_y = np.array([-buffer, -buffer, extent + buffer, extent + buffer])
    square = np.empty(64, np.uint8)
    square_length = _encode(square_x, square_y, np.array([0, 4]), 0, 1, 0, 0, square, 0)
    made, used = np.empty(1 << 20, np.uint8), 0
    body = np.empty(1 << 20, np.uint8)
    geometry = np.empty(1 << 12, np.uint8)
    in_layer = np.empty(1 << 10, np.int64)
    ends = np.empty(len(tiles) - 1, np.int64)
    key_count = codes.shape[1]
    layer_number = 0
    for tile in range(len(tiles) - 1):
        at = tiles[tile]
        while at < tiles[tile + 1]:
            layer = pieces[at, 0]
            layer_number += 1
            size, value_count, value_bytes = 0, 0, 0
            while at < tiles[tile + 1] and pieces[at, 0] == layer:
                unit, offset, length = pieces[at, 1], pieces[at, 2], pieces[at, 3]
                at += 1
                if 2 * length + 64 > len(geometry):
                    geometry = _more_bytes(geometry, 2 * length + 64)
                if offset == FULL:
                    geometry[:square_length] = square[:square_length]
                    length = square_length
                elif step > 1 and layer != layer_of_points:
                    length = coarser(data, offset, offset + length, step, pixel, geometry, 0)
                else:
                    geometry[:length] = data[offset : offset + length]
                if value_count + key_count > len(in_layer):
                    in_layer = _longer(in_layer, 0)
                tags = 0
                for key in range(key_count):
                    code = codes[unit, key]
                    if code < 0:
                        continue
                    if used_in[code, 0] != layer_number:
                        used_in[code, 0], used_in[code, 1] = layer_number, value_count
                        in_layer[value_count] = code
                        value_count += 1
                        value_bytes += value_offsets[code + 1] - value_offsets[code]
                    tags += _length_of(key) + _length_of(used_in[code, 1])
                feature = 3 + _length_of(tags) + tags + 1 + _length_of(length) + length
                if size + feature + 16 > len(body):
                    body = _more_bytes(body, size + feature + 16)
                body[size] = LAYER_FEATURE
                size = _put(body, size + 1, feature)
                body[size] = FEATURE_TAGS
                size = _put(body, size + 1, tags)
                for key in range(key_count):
                    if codes[unit, key] >= 0:
                        size = _put(body, size, key)
                        size = _put(body, size, used_in[codes[unit, key], 1])
                kind = POINT if layer == layer_of_points else POLYGON
                body[size], body[size + 1], body[size + 2] = FEATURE_TYPE, kind, FEATURE_GEOMETRY
                size = _put(body, size + 3, length)
                body[size : size + length] = geometry[:length]
                size += length
            name = names[name_offsets[layer] : name_offsets[layer + 1]]
            head = 1 + _length_of(len(name)) + len(name) + 1 + _length_of(extent) + 2
            whole = head + size + len(keys) + value_bytes
            if used + whole + 16 > len(made):
                made = _more_bytes(made, used + whole + 16)
            made[used] = LAYER
            used = _put(made, used + 1, whole)
            made[used], made[used + 1] = LAYER_VERSION, 2
            made[used + 2] = LAYER_NAME
            used = _put(made, used + 3, len(name))
            made[used : used + len(name)] = name
            used += len(name)
            made[used : used + size] = body[:size]
            used += size
            made[used : used + len(keys)] = keys
            used += len(keys)
            for number in range(value_count):
                code = in_layer[number]
                value = values[value_offsets[code] : value_offsets[code + 1]]
                made[used : used + len(value)] = value
                used += len(value)
            made[used] = LAYER_EXTENT
            used = _put(made, used + 1, extent)
        ends[tile] = used
    return made[:used].copy(), ends
