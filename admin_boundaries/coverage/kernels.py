"""The loops over the vertices of a country, which numba compiles: its borders as arcs, and what of them is left out.

A vertex that several rings have is one, with a number. An arc is what lies between two nodes, vertices at which not all
rings go the same way; rings without a node are an arc, too. So each border is there once, whoever shares it.

numba keeps what it has compiled until this file changes. Whatever that depends on is therefore in this file.

Source: Visvalingam and Whyatt, "Line generalisation by repeated elimination of points" (1993). That a vertex stays if
others lie in its triangle is how GEOS keeps a coverage whole.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from admin_boundaries.coverage.arrays import Flags, Hashes, Numbers, Positions
from admin_boundaries.locate.compiled import compiled

Ids = npt.NDArray[np.int32]
Ranks = npt.NDArray[np.uint8]

ROUNDING = 1e-15  # of the products of which a determinant is made
CELL_SEGMENTS = 2.0  # how many segments of usual length a cell of the grid is wide
SAMPLE = 1024  # segments of which the usual length is taken


@compiled
def vertices(points: Numbers, rings: Positions, numbers: Hashes) -> tuple[Ids, Positions, Flags]:
    """Return numbers for the vertices of rings, one for each place.

    Parameters
    ----------
    points : ndarray of float64, shape (n, 2)
    rings : ndarray of int64
        Offsets; the last vertex of a ring is its first.
    numbers : ndarray of uint64, shape (n,)
        A hash of each point.

    Returns
    -------
    ids : ndarray of int32, shape (n,)
    first : ndarray of int64, shape (k,)
        Where each vertex is for the first time.
    is_node : ndarray of bool, shape (k,)
        Whether rings part there.
    """
    size = 1024
    while size < 2 * len(points):
        size *= 2
    mask = np.uint64(size - 1)
    table = np.full(size, -1, np.int32)
    ids = np.empty(len(points), np.int32)
    first = np.empty(len(points), np.int64)
    count = 0
    for at in range(len(points)):
        slot = np.int64(numbers[at] & mask)
        while True:
            known = table[slot]
            if known < 0:
                table[slot] = count
                first[count] = at
                ids[at] = count
                count += 1
                break
            there = first[known]
            if points[there, 0] == points[at, 0] and points[there, 1] == points[at, 1]:
                ids[at] = known
                break
            slot = (slot + 1) & np.int64(mask)
    one, other = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
    is_node = np.zeros(count, np.bool_)
    for ring in range(len(rings) - 1):
        start, last = rings[ring], rings[ring + 1] - 1
        for at in range(start, last):
            here = ids[at]
            before, after = ids[at - 1] if at > start else ids[last - 1], ids[at + 1]
            if one[here] < 0:
                one[here], other[here] = before, after
                is_node[here] = after in (before, here) or before == here
            elif not ((one[here] == before and other[here] == after) or (one[here] == after and other[here] == before)):
                is_node[here] = True
    return ids, first[:count].copy(), is_node


@compiled
def _is_before(xs: Numbers, ys: Numbers, one: int, other: int) -> bool:
    found: bool = xs[one] < xs[other] or (xs[one] == xs[other] and ys[one] < ys[other])
    return found


@compiled
def arcs_of(  # noqa: PLR0912, PLR0915  in pieces, numba would copy what they hand one another
    xs: Numbers, ys: Numbers, ids: Ids, rings: Positions, is_node: Flags
) -> tuple[Ids, Positions, Positions]:
    """Cut rings into arcs.

    Parameters
    ----------
    xs, ys : ndarray of float64, shape (k,)
    ids, rings, is_node
        As `vertices` has them.

    Returns
    -------
    arcs : ndarray of int32
        The vertices of all arcs, with both ends.
    offsets : ndarray of int64, shape (a + 1,)
        Where each arc begins. One without a node begins and ends at its westernmost vertex.
    runs : ndarray of int64, shape (r, 3)
        Ring, arc, and 1 or, where the ring runs against the arc, -1: in the order of the rings.
    """
    most = len(rings)
    for at in range(len(ids)):
        if is_node[ids[at]]:
            most += 1
    arcs, used = np.empty(len(ids) + most, np.int32), 0
    offsets = np.zeros(most + 1, np.int64)
    runs = np.empty((most, 3), np.int64)
    arc_at = np.full(len(xs), -1, np.int32)  # of the vertices between the ends of an arc
    size = 1024
    while size < 2 * most:
        size *= 2
    straight = np.full(size, -1, np.int32)  # arcs without such vertices, by their ends
    arc_count = run_count = 0
    for ring in range(len(rings) - 1):
        start, length = rings[ring], rings[ring + 1] - 1 - rings[ring]
        if length < 1:
            continue
        begin = -1
        for step in range(length):
            if is_node[ids[start + step]]:
                begin = step
                break
        if begin < 0:
            begin = 0
            for step in range(1, length):
                if _is_before(xs, ys, ids[start + step], ids[start + begin]):
                    begin = step
        at = begin
        while at < begin + length:
            end = at + 1
            while end < begin + length and not is_node[ids[start + end % length]]:
                end += 1
            a, b = ids[start + at % length], ids[start + end % length]
            second = ids[start + (at + 1) % length]
            arc = -1
            slot = 0
            if end - at > 1:
                arc = arc_at[second]
            elif a == b:
                at = end
                continue
            else:
                slot = (min(a, b) * 1000003 + max(a, b)) & (size - 1)
                while straight[slot] >= 0:
                    known = offsets[straight[slot]]
                    if min(arcs[known], arcs[known + 1]) == min(a, b) and max(arcs[known], arcs[known + 1]) == max(
                        a, b
                    ):
                        arc = straight[slot]
                        break
                    slot = (slot + 1) & (size - 1)
            runs[run_count, 0], runs[run_count, 2] = ring, 1
            if arc < 0:
                arc = arc_count
                arc_count += 1
                for step in range(at, end + 1):
                    arcs[used] = ids[start + step % length]
                    if at < step < end:
                        arc_at[arcs[used]] = arc
                    used += 1
                offsets[arc_count] = used
                if end - at == 1:
                    straight[slot] = arc
            elif arcs[offsets[arc]] != a or arcs[offsets[arc] + 1] != second:
                runs[run_count, 2] = -1
            runs[run_count, 1] = arc
            run_count += 1
            at = end
    return arcs[:used].copy(), offsets[: arc_count + 1].copy(), runs[:run_count].copy()


@compiled
def twice_areas(xs: Numbers, ys: Numbers, ids: Ids, rings: Positions) -> Numbers:
    """Return twice the area of each ring, positive if it turns to the left."""
    found = np.zeros(len(rings) - 1)
    for ring in range(len(rings) - 1):
        x, y = xs[ids[rings[ring]]], ys[ids[rings[ring]]]
        for at in range(rings[ring], rings[ring + 1] - 1):
            one, other = ids[at], ids[at + 1]
            found[ring] += (xs[one] - x) * (ys[other] - y) - (xs[other] - x) * (ys[one] - y)
    return found


@compiled
def _cell(x: int, y: int, blocks: int) -> int:
    """Return the number of a cell, near that of those beside it: blocks of 4 × 4 cells are hashed."""
    block = ((x >> 2) * 73856093 ^ (y >> 2) * 19349663) & (blocks - 1)
    return (block << 4) | ((x & 3) << 2) | (y & 3)


@compiled
def _turn(ax: float, ay: float, bx: float, by: float, x: float, y: float) -> float:
    """Return on which side of a line a point lies: 0 where rounding might decide."""
    one, other = (bx - ax) * (y - ay), (by - ay) * (x - ax)
    found = one - other
    return 0.0 if abs(found) <= ROUNDING * (abs(one) + abs(other)) else found


@compiled
def _is_free(
    xs: Numbers,
    ys: Numbers,
    ranks: Ranks,
    all_rounds: int,
    a: int,
    b: int,
    c: int,
    starts: Ids,
    entries: Ids,
    places: Numbers,
    width: float,
    blocks: int,
) -> bool:
    """Tell whether no vertex that is left lies in a triangle or on its sides, but for its corners."""
    ax, ay, bx, by, cx, cy = xs[a], ys[a], xs[b], ys[b], xs[c], ys[c]
    low_x, high_x = min(ax, bx, cx), max(ax, bx, cx)
    low_y, high_y = min(ay, by, cy), max(ay, by, cy)
    turn = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    side = 1.0 if turn >= 0 else -1.0
    first_column, last_column = math.floor(low_x / width), math.floor(high_x / width)
    first_row, last_row = math.floor(low_y / width), math.floor(high_y / width)
    is_small = (last_column - first_column + 1) * (last_row - first_row + 1) <= 6
    for column in range(first_column, last_column + 1):
        from_row, to_row = first_row, last_row
        if not is_small:  # only the cells that the triangle runs through
            left, right = column * width, (column + 1) * width
            low, high = math.inf, -math.inf
            for number in range(3):
                px, py = (ax, ay) if number == 0 else (bx, by) if number == 1 else (cx, cy)
                qx, qy = (bx, by) if number == 0 else (cx, cy) if number == 1 else (ax, ay)
                if max(px, qx) < left or min(px, qx) > right:
                    continue
                for limit in (left, right):
                    y = py if px == qx else py + (qy - py) * min(max((limit - px) / (qx - px), 0.0), 1.0)
                    low, high = min(low, y), max(high, y)
                if px == qx:
                    low, high = min(low, qy), max(high, qy)
            from_row = max(first_row, math.floor(low / width - 1e-6))
            to_row = min(last_row, math.floor(high / width + 1e-6))
        for row in range(from_row, to_row + 1):
            cell = _cell(column, row, blocks)
            for at in range(starts[cell], starts[cell + 1]):
                x, y = places[at, 0], places[at, 1]  # beside each other in memory, as the vertices are not
                if x < low_x or x > high_x or y < low_y or y > high_y:
                    continue
                v = entries[at]
                if ranks[v] != all_rounds or v in (a, b, c):
                    continue
                if (
                    side * _turn(ax, ay, bx, by, x, y) >= 0
                    and side * _turn(bx, by, cx, cy, x, y) >= 0
                    and side * _turn(cx, cy, ax, ay, x, y) >= 0
                ):
                    return False
    return True


@compiled
def _area(xs: Numbers, ys: Numbers, a: int, b: int, c: int) -> float:
    twice: float = abs((xs[b] - xs[a]) * (ys[c] - ys[a]) - (ys[b] - ys[a]) * (xs[c] - xs[a]))
    return twice / 2


@compiled
def _put(areas: Numbers, places: Ids, count: int, area: float, place: int) -> None:
    at = count
    while at > 0:
        above = (at - 1) >> 1
        if areas[above] < area or (areas[above] == area and places[above] <= place):
            break
        areas[at], places[at] = areas[above], places[above]
        at = above
    areas[at], places[at] = area, place


@compiled
def _take(areas: Numbers, places: Ids, count: int) -> None:
    """Remove the first of so many; the last one is put in its place."""
    area, place = areas[count - 1], places[count - 1]
    count -= 1
    at = 0
    while 2 * at + 1 < count:
        below = 2 * at + 1
        if below + 1 < count and (
            areas[below + 1] < areas[below] or (areas[below + 1] == areas[below] and places[below + 1] < places[below])
        ):
            below += 1
        if area < areas[below] or (area == areas[below] and place <= places[below]):
            break
        areas[at], places[at] = areas[below], places[below]
        at = below
    areas[at], places[at] = area, place


@compiled
def ranked(  # noqa: PLR0912, PLR0915
    xs: Numbers, ys: Numbers, arcs: Ids, offsets: Positions, least: Positions, stays: Flags, tolerances: Numbers
) -> Ranks:
    """Tell at how many tolerances each vertex is kept.

    Arcs are looked at one after the other. A vertex is left out if its triangle is smaller than the square of the
    tolerance and holds no other vertex of the country: so rings that do not cross themselves or others never will.

    Parameters
    ----------
    xs, ys : ndarray of float64, shape (k,)
    arcs, offsets
        As `arcs_of` has them.
    least : ndarray of int64, shape (a,)
        How many vertices between its ends each arc keeps at least.
    stays : ndarray of bool, shape (k,)
        Which vertices are kept at all tolerances, besides the ends of arcs.
    tolerances : ndarray of float64, shape (t,)
        In degrees, each larger than the one before.

    Returns
    -------
    ndarray of uint8, shape (k,)
    """
    rounds = len(tolerances)
    ranks = np.full(len(xs), rounds, np.uint8)
    line, ends = arcs.copy(), offsets[1:].copy()  # what is left of each arc
    longest = 0
    for arc in range(len(ends)):
        longest = max(longest, ends[arc] - offsets[arc])
    before, after = np.empty(longest, np.int32), np.empty(longest, np.int32)
    now = np.empty(longest)
    areas, places = np.empty(3 * longest + 1), np.empty(3 * longest + 1, np.int32)
    left = np.arange(len(xs)).astype(np.int32)
    lengths = np.empty(SAMPLE)
    for number in range(rounds):
        limit = tolerances[number] ** 2
        sampled = 0
        step = max(1, len(ends) // SAMPLE)
        for arc in range(0, len(ends), step):
            if sampled < SAMPLE and ends[arc] - offsets[arc] > 1:
                at = (offsets[arc] + ends[arc]) // 2
                one, other = line[at - 1], line[at]
                lengths[sampled] = max(abs(xs[one] - xs[other]), abs(ys[one] - ys[other]))
                sampled += 1
        usual = np.median(lengths[:sampled]) if sampled else 0.0
        width = max(CELL_SEGMENTS * usual, tolerances[number] / 2)
        count = 0
        for at in range(len(left)):
            if ranks[left[at]] == rounds:
                left[count] = left[at]
                count += 1
        left = left[:count]
        blocks = 16
        while blocks << 4 < count:
            blocks *= 2
        starts = np.zeros((blocks << 4) + 1, np.int32)
        cells = np.empty(count, np.int32)
        for at in range(count):
            v = left[at]
            cells[at] = _cell(math.floor(xs[v] / width), math.floor(ys[v] / width), blocks)
            starts[cells[at] + 1] += 1
        for cell in range(blocks << 4):
            starts[cell + 1] += starts[cell]
        entries, at_entries = np.empty(count, np.int32), np.empty((count, 2))
        for at in range(count - 1, -1, -1):
            cell = cells[at] + 1
            starts[cell] -= 1
            v = left[at]
            entries[starts[cell]] = v
            at_entries[starts[cell], 0], at_entries[starts[cell], 1] = xs[v], ys[v]
        # each of them is now where the cell before it ends: where it begins
        for cell in range(blocks << 4):
            starts[cell] = starts[cell + 1]
        starts[blocks << 4] = count
        for arc in range(len(ends)):
            start, length = offsets[arc], ends[arc] - offsets[arc]
            inner = length - 2
            if inner <= least[arc]:
                continue
            waiting = 0
            for at in range(1, length - 1):
                before[at], after[at] = at - 1, at + 1
                now[at] = _area(xs, ys, line[start + at - 1], line[start + at], line[start + at + 1])
                if now[at] < limit and not stays[line[start + at]]:
                    _put(areas, places, waiting, now[at], at)
                    waiting += 1
            while waiting and inner > least[arc]:
                area, at = areas[0], places[0]
                _take(areas, places, waiting)
                waiting -= 1
                if now[at] != area:
                    continue
                previous, following = before[at], after[at]
                a, b, c = line[start + previous], line[start + at], line[start + following]
                if a == c or not _is_free(xs, ys, ranks, rounds, a, b, c, starts, entries, at_entries, width, blocks):
                    continue
                ranks[b] = number
                now[at] = -1
                inner -= 1
                if previous > 0:
                    after[previous] = following
                if following < length - 1:
                    before[following] = previous
                for beside in (previous, following):
                    if 0 < beside < length - 1:
                        v = line[start + beside]
                        now[beside] = _area(xs, ys, line[start + before[beside]], v, line[start + after[beside]])
                        if now[beside] < limit and not stays[v]:
                            _put(areas, places, waiting, now[beside], beside)
                            waiting += 1
            end = start
            for at in range(length):
                if at == 0 or at == length - 1 or ranks[line[start + at]] == rounds:
                    line[end] = line[start + at]
                    end += 1
            ends[arc] = end
    return ranks


@compiled
def traced(  # noqa: PLR0912, PLR0915
    xs: Numbers,
    ys: Numbers,
    arcs: Ids,
    offsets: Positions,
    owners: Positions,
    items: Positions,
    directions: Positions,
    low: Positions,
    high: Positions,
) -> tuple[Ids, Positions, Positions]:
    """Put the outlines of units together of the arcs that lie on them.

    Parameters
    ----------
    xs, ys, arcs, offsets
        As `arcs_of` has them.
    owners, items, directions : ndarray of int64, shape (m,)
        Unit, arc, and 1 or -1, so that the unit lies on the left.
    low, high : ndarray of int64, shape (m,)
        From and to where those of the unit are that begin where each ends.

    Returns
    -------
    ids : ndarray of int32
        The vertices of rings, closed.
    rings : ndarray of int64, shape (r + 1,)
        Offsets.
    of_ring : ndarray of int64, shape (r,)
        The unit of each.
    """
    total = 0
    for at in range(len(items)):
        total += offsets[items[at] + 1] - offsets[items[at]]
    ids, used = np.empty(total + len(items), np.int32), 0
    rings, of_ring, ring_count = np.zeros(len(items) + 1, np.int64), np.empty(len(items), np.int64), 0
    is_used = np.zeros(len(items), np.bool_)
    stack = np.empty(len(items) + 1, np.int64)
    place = np.full(len(xs), -1, np.int32)  # on the stack, of the vertices at which what is on it begins
    for begin in range(len(items)):
        if is_used[begin]:
            continue
        depth = 0
        item = begin
        while item >= 0:
            is_used[item] = True
            arc, start, end = items[item], offsets[items[item]], offsets[items[item] + 1]
            is_forward = directions[item] > 0
            origin = arcs[start] if is_forward else arcs[end - 1]
            target = arcs[end - 1] if is_forward else arcs[start]
            stack[depth] = item
            place[origin] = depth
            depth += 1
            if place[target] >= 0:  # a ring is closed, and what follows goes on before it
                bottom = place[target]
                of_ring[ring_count] = owners[item]
                for at in range(bottom, depth):
                    start, end = offsets[items[stack[at]]], offsets[items[stack[at]] + 1]
                    if directions[stack[at]] > 0:
                        place[arcs[start]] = -1
                        for step in range(start, end - 1):
                            ids[used] = arcs[step]
                            used += 1
                    else:
                        place[arcs[end - 1]] = -1
                        for step in range(end - 1, start, -1):
                            ids[used] = arcs[step]
                            used += 1
                ids[used] = target
                used += 1
                ring_count += 1
                rings[ring_count] = used
                depth = bottom
            following = -1
            if high[item] - low[item] == 1:
                following = low[item]
            elif high[item] > low[item]:  # the first one clockwise, as seen from here, along what lies on the left
                start, end = offsets[arc], offsets[arc + 1]
                back = arcs[end - 2] if is_forward else arcs[start + 1]
                angle = math.atan2(ys[back] - ys[target], xs[back] - xs[target])
                best = math.inf
                for other in range(low[item], high[item]):
                    start, end = offsets[items[other]], offsets[items[other] + 1]
                    onward = arcs[start + 1] if directions[other] > 0 else arcs[end - 2]
                    turn = angle - math.atan2(ys[onward] - ys[target], xs[onward] - xs[target])
                    if turn <= 0:
                        turn += 2 * math.pi
                    if turn < best:
                        best, following = turn, other
            item = -1
            if following >= 0 and not is_used[following]:
                item = following
        for at in range(depth):  # of a line that does not close
            start, end = offsets[items[stack[at]]], offsets[items[stack[at]] + 1]
            place[arcs[start] if directions[stack[at]] > 0 else arcs[end - 1]] = -1
    return ids[:used].copy(), rings[: ring_count + 1].copy(), of_ring[:ring_count].copy()


@compiled
def shells_of(xs: Numbers, ys: Numbers, ids: Ids, rings: Positions, of_ring: Positions, areas: Numbers) -> Positions:
    """Return for each ring the shell that it is a hole of, or itself; -1 for a hole of none.

    Parameters
    ----------
    ids, rings, of_ring
        As `traced` has them, those of a unit together.
    areas : ndarray of float64, shape (r,)
        Of each ring, twice; that of a hole is negative.
    """
    count = len(of_ring)
    boxes = np.empty((count, 4))
    for ring in range(count):
        boxes[ring, 0] = boxes[ring, 1] = math.inf
        boxes[ring, 2] = boxes[ring, 3] = -math.inf
        for at in range(rings[ring], rings[ring + 1]):
            x, y = xs[ids[at]], ys[ids[at]]
            boxes[ring, 0], boxes[ring, 1] = min(boxes[ring, 0], x), min(boxes[ring, 1], y)
            boxes[ring, 2], boxes[ring, 3] = max(boxes[ring, 2], x), max(boxes[ring, 3], y)
    found = np.full(count, -1, np.int64)
    first = 0
    for ring in range(count):
        if of_ring[ring] != of_ring[first]:
            first = ring
        if areas[ring] > 0:
            found[ring] = ring
            continue
        one, other = ids[rings[ring]], ids[rings[ring] + 1]
        x, y = (xs[one] + xs[other]) / 2, (ys[one] + ys[other]) / 2
        shell = first
        while shell < count and of_ring[shell] == of_ring[ring]:
            if (
                areas[shell] > 0
                and boxes[shell, 0] <= boxes[ring, 0]
                and boxes[shell, 1] <= boxes[ring, 1]
                and boxes[shell, 2] >= boxes[ring, 2]
                and boxes[shell, 3] >= boxes[ring, 3]
                and (found[ring] < 0 or areas[shell] < areas[found[ring]])
            ):
                is_in = False
                for at in range(rings[shell], rings[shell + 1] - 1):
                    a, b = ids[at], ids[at + 1]
                    if (ys[a] > y) != (ys[b] > y) and x < xs[a] + (xs[b] - xs[a]) * (y - ys[a]) / (ys[b] - ys[a]):
                        is_in = not is_in
                if is_in:
                    found[ring] = shell
            shell += 1
    return found


@compiled
def drawn(
    xs: Numbers, ys: Numbers, ranks: Ranks, rank: int, ids: Ids, starts: Positions, ends: Positions
) -> tuple[Numbers, Positions]:
    """Draw rings with the vertices of a rank at least.

    Parameters
    ----------
    starts, ends : ndarray of int64, shape (r,)
        Where the vertices of each ring are; the last is the first.

    Returns
    -------
    points : ndarray of float64, shape (n, 2)
    rings : ndarray of int64, shape (r + 1,)
        Offsets; each ring is closed.
    """
    rings = np.zeros(len(starts) + 1, np.int64)
    for ring in range(len(starts)):
        count = 1
        for at in range(starts[ring], ends[ring] - 1):
            count += ranks[ids[at]] >= rank
        rings[ring + 1] = rings[ring] + count
    points = np.empty((rings[-1], 2))
    for ring in range(len(starts)):
        to = rings[ring]
        for at in range(starts[ring], ends[ring] - 1):
            v = ids[at]
            if ranks[v] >= rank:
                points[to, 0], points[to, 1] = xs[v], ys[v]
                to += 1
        points[to] = points[rings[ring]]
    return points, rings


@compiled
def runs_of(points: Numbers, rings: Positions, most: int) -> tuple[Positions, Positions, Positions, Numbers, Numbers]:
    """Put the segments of rings together that follow each other, up to so many.

    What lies on the date line is put at 180 degrees east. Segments without length, also those at a pole, do not count.

    Parameters
    ----------
    points : ndarray of float64, shape (n, 2)
    rings : ndarray of int64
        Offsets; the last vertex of a ring is its first.
    most : int

    Returns
    -------
    ring, start, count : ndarray of int64, shape (m,)
        Of each run: its ring, the position of its first vertex, and the steps from there to the last one.
    boxes : ndarray of float64, shape (m, 4)
        West, south, east and north.
    begins : ndarray of float64, shape (m, 2)
        Where it begins.
    """
    total = 0
    for number in range(len(rings) - 1):
        total += (rings[number + 1] - rings[number] + most - 2) // most if rings[number + 1] > rings[number] else 0
    ring, start, count = np.empty(total, np.int64), np.empty(total, np.int64), np.empty(total, np.int64)
    boxes, begins = np.empty((total, 4)), np.empty((total, 2))
    made = 0
    for number in range(len(rings) - 1):
        last = rings[number + 1] - 1
        for first in range(rings[number], last, most):
            end = min(first + most, last)
            west = south = math.inf
            east = north = -math.inf
            for at in range(first, end):
                x, y, other_x, other_y = points[at, 0], points[at, 1], points[at + 1, 0], points[at + 1, 1]
                if abs(x) == 180 and abs(other_x) == 180:
                    x = other_x = 180.0
                if (x == other_x and y == other_y) or (abs(y) == 90 and abs(other_y) == 90):
                    continue
                if west == math.inf:
                    begins[made, 0], begins[made, 1] = x, y
                west, south = min(west, x, other_x), min(south, y, other_y)
                east, north = max(east, x, other_x), max(north, y, other_y)
            if west < math.inf:
                ring[made], start[made], count[made] = number, first, end - first
                boxes[made, 0], boxes[made, 1], boxes[made, 2], boxes[made, 3] = west, south, east, north
                made += 1
    return ring[:made].copy(), start[:made].copy(), count[:made].copy(), boxes[:made].copy(), begins[:made].copy()
