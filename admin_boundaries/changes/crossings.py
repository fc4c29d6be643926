"""The ground that pairs of polygons have in common, by the crossings of their borders: the loops, which numba compiles.

A general overlay builds the geometry of what it finds, and first makes both borders one graph. To measure the common
ground of two polygons whose borders only cross, one walk is enough: along the border of the first until it leaves the
second, then along that of the second until it leaves the first, and so on until the walk is back where it began. What
it went round is a piece. Rings that cross nothing are a border of common ground where they lie inside the other
polygon.

This holds where no vertex of one lies on the border of the other, no crossing can be mistaken for another by rounding,
and no piece has a hole beside other pieces. Where one of these cannot be told from the coordinates, the pair is left
to GEOS: a wrong answer is none.

Sources: Weiler and Atherton, "Hidden surface removal using polygon area sorting" (1977); Shewchuk, "Adaptive precision
floating-point arithmetic and fast robust geometric predicates" (1997), for how far rounding can turn a point's side.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from admin_boundaries.areas import KM
from admin_boundaries.locate.compiled import compiled

Numbers = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

ROUNDING = 3.3306690738754716e-16  # of the two products whose difference says on which side of an edge a point lies
APART = 1e-9  # of an edge: two crossings that are closer may be in either order
MEASURED, UNSURE = 1, 0
FLAT = 1e-6  # the least square of the cosine of a latitude, for lengths: that of areas.py
RADIAN = np.pi / 180


@compiled
def _side(ax: float, ay: float, bx: float, by: float, x: float, y: float) -> int:
    """Return 1 for a point to the left of the line from a to b, -1 to the right, 0 if rounding might turn it."""
    one, two = (ax - x) * (by - y), (ay - y) * (bx - x)
    turn = one - two
    least = ROUNDING * (abs(one) + abs(two))
    if turn > least:
        return 1
    if turn < -least:
        return -1
    return 0


@compiled
def _turned(points: Numbers, ends: Integers, firsts: Integers) -> Numbers:
    """Return the points of polygons' rings with the inside to the left: shells anticlockwise, holes clockwise."""
    turned = points.copy()
    for polygon in range(len(firsts) - 1):
        for ring in range(firsts[polygon], firsts[polygon + 1]):
            begin, end = ends[ring], ends[ring + 1]
            area, x, y = 0.0, points[begin, 0], points[begin, 1]
            for at in range(begin, end - 1):
                area += (points[at, 0] - x) * (points[at + 1, 1] - y) - (points[at + 1, 0] - x) * (points[at, 1] - y)
            if (area < 0) == (ring == firsts[polygon]):
                turned[begin:end] = points[begin:end][::-1]
    return turned


@compiled
def _boxes(points: Numbers, ends: Integers, firsts: Integers) -> Numbers:
    """Return the boxes of polygons, of which the shell is the first ring."""
    boxes = np.empty((len(firsts) - 1, 4))
    for polygon in range(len(boxes)):
        ring = firsts[polygon]
        west, south, east, north = np.inf, np.inf, -np.inf, -np.inf
        for at in range(ends[ring], ends[ring + 1]):
            west, south = min(west, points[at, 0]), min(south, points[at, 1])
            east, north = max(east, points[at, 0]), max(north, points[at, 1])
        boxes[polygon, 0], boxes[polygon, 1], boxes[polygon, 2], boxes[polygon, 3] = west, south, east, north
    return boxes


@compiled
def _edges_near(points: Numbers, ends: Integers, first: int, last: int, box: Numbers, axis: int) -> Integers:
    """Return the edges, by their first points, whose boxes meet a box; by where they begin along an axis."""
    start = ends[first]
    found = np.empty(len(points), np.int64)
    count = 0
    for ring in range(first, last):
        for at in range(ends[ring] - start, ends[ring + 1] - start - 1):
            x, y, u, v = points[at, 0], points[at, 1], points[at + 1, 0], points[at + 1, 1]
            if max(x, u) >= box[0] and min(x, u) <= box[2] and max(y, v) >= box[1] and min(y, v) <= box[3]:
                found[count] = at
                count += 1
    begins = np.empty(count)
    for number in range(count):
        at = found[number]
        begins[number] = min(points[at, axis], points[at + 1, axis])
    return found[:count][np.argsort(begins)]


@compiled
def _crossing(one: Numbers, a: int, two: Numbers, b: int, row: Numbers) -> int:
    """Write where two edges cross to a row; return 1 if they do, 0 if not, -1 if that is not certain."""
    px, py, qx, qy = one[a, 0], one[a, 1], one[a + 1, 0], one[a + 1, 1]
    rx, ry, sx, sy = two[b, 0], two[b, 1], two[b + 1, 0], two[b + 1, 1]
    of_p, of_q = _side(rx, ry, sx, sy, px, py), _side(rx, ry, sx, sy, qx, qy)
    of_r, of_s = _side(px, py, qx, qy, rx, ry), _side(px, py, qx, qy, sx, sy)
    if of_p * of_q > 0 or of_r * of_s > 0:
        return 0
    if of_p * of_q == 0 or of_r * of_s == 0:
        return -1
    turn = (qx - px) * (sy - ry) - (qy - py) * (sx - rx)
    along = ((rx - px) * (sy - ry) - (ry - py) * (sx - rx)) / turn
    other_along = ((rx - px) * (qy - py) - (ry - py) * (qx - px)) / turn
    if not (0.0 <= along <= 1.0 and 0.0 <= other_along <= 1.0):
        return -1
    row[0], row[1], row[2], row[3] = a, along, b, other_along
    row[4], row[5], row[6] = px + along * (qx - px), py + along * (qy - py), of_q
    return 1


@compiled
def _least(points: Numbers, edge: int, axis: int) -> float:
    least: float = min(points[edge, axis], points[edge + 1, axis])
    return least


@compiled
def _most(points: Numbers, edge: int, axis: int) -> float:
    most: float = max(points[edge, axis], points[edge + 1, axis])
    return most


@compiled
def _crossings(one: Numbers, ones: Integers, two: Numbers, twos: Integers, axis: int) -> tuple[Numbers, bool]:
    """Return where edges cross, and whether that is certain.

    Parameters
    ----------
    one, two : ndarray of float64, shape (n, 2)
        The points of both polygons.
    ones, twos : ndarray of int
        Edges, by where they begin along an axis.
    axis : int
        The axis: 0 or 1.

    Returns
    -------
    (ndarray of float64, shape (n, 7), bool)
        Edge of the first, how far along it, edge of the second, how far along it, x, y, and 1 where the first goes
        into the second, -1 where it comes out of it.
    """
    found, count, other = np.empty((16, 7)), 0, 1 - axis
    i, j = 0, 0
    while i < len(ones) and j < len(twos):
        # whichever begins first is held against those of the other side that begin before it ends
        is_first = _least(one, ones[i], axis) <= _least(two, twos[j], axis)
        reach = _most(one, ones[i], axis) if is_first else _most(two, twos[j], axis)
        a, b = i, j
        while a < len(ones) and b < len(twos):
            mine, its = ones[a], twos[b]
            if (_least(two, its, axis) if is_first else _least(one, mine, axis)) > reach:
                break
            if is_first:
                b += 1
            else:
                a += 1
            if _most(one, mine, other) < _least(two, its, other) or _least(one, mine, other) > _most(two, its, other):
                continue
            if count == len(found):
                found = np.concatenate((found, np.empty_like(found)))
            crossing = _crossing(one, mine, two, its, found[count])
            if crossing < 0:
                return found[:0], False
            count += crossing
        if is_first:
            i += 1
        else:
            j += 1
    return found[:count], True


@compiled
def _order(edges: Numbers, along: Numbers) -> tuple[Integers, bool]:
    """Return crossings in their order along borders, and whether it is certain."""
    order = np.argsort(edges + along)  # enough to bring those of an edge together: the rest is done one by one
    for number in range(1, len(order)):
        at = number
        while at > 0:
            one, two = order[at - 1], order[at]
            if edges[one] < edges[two] or (edges[one] == edges[two] and along[one] <= along[two]):
                break
            order[at - 1], order[at] = two, one
            at -= 1
    for number in range(1, len(order)):
        one, two = order[number - 1], order[number]
        if edges[one] == edges[two] and along[two] - along[one] < APART:
            return order, False
    return order, True


@compiled
def _followers(order: Integers, edges: Numbers, enters: Numbers, ends: Integers, first: int, last: int) -> Integers:
    """Return for each crossing the next one along its ring; none at all if they do not go in and out by turns."""
    start = ends[first]
    following = np.empty(len(order), np.int64)
    at = 0
    for ring in range(first, last):
        end = ends[ring + 1] - start
        begin = at
        while at < len(order) and edges[order[at]] < end:
            at += 1
        for number in range(begin, at):
            here = order[number]
            after = order[number + 1] if number + 1 < at else order[begin]
            following[here] = after
            if enters[here] * enters[after] > 0:
                return following[:0]
    return following


@compiled
def _is_inside(points: Numbers, ends: Integers, first: int, last: int, x: float, y: float) -> int:
    """Return 1 if a point is inside a polygon, 0 if not, -1 if it is too near its border to tell."""
    start = ends[first]
    is_inside = False
    for ring in range(first, last):
        for at in range(ends[ring] - start, ends[ring + 1] - start - 1):
            one, two = points[at, 1], points[at + 1, 1]
            if (one > y) == (two > y):
                continue
            side = _side(points[at, 0], points[at, 1], points[at + 1, 0], points[at + 1, 1], x, y)
            if side == 0:
                return -1
            if (side > 0) == (two > one):
                is_inside = not is_inside
    return 1 if is_inside else 0


@compiled
def _walked(state: Numbers, x: float, y: float) -> None:
    """Go on to a point: `state` has the first point, the last one, twice the area, the length, and the edges."""
    ux, uy = state[2], state[3]
    if x == ux and y == uy:
        return
    state[4] += (ux - state[0]) * (y - state[1]) - (x - state[0]) * (uy - state[1])
    cosine2 = max(1.0 - ((uy + y) * (RADIAN / 2)) ** 2, FLAT)
    state[5] += np.sqrt((x - ux) ** 2 * cosine2 + (y - uy) ** 2 / cosine2)
    state[6] += 1.0
    state[2], state[3] = x, y


@compiled
def _begun(x: float, y: float) -> Numbers:
    state = np.zeros(7)
    state[0], state[1], state[2], state[3] = x, y, x, y
    return state


@compiled
def _ring_of(at: int, ends: Integers, first: int, last: int) -> tuple[int, int]:
    """Return where the ring of a polygon's point begins and ends among the polygon's points, by bisection."""
    start = ends[first]
    low, high = first, last - 1
    while low < high:
        middle = (low + high + 1) // 2
        if ends[middle] - start <= at:
            low = middle
        else:
            high = middle - 1
    return ends[low] - start, ends[low + 1] - start


@compiled
def _walk(state: Numbers, points: Numbers, begin: int, end: int, here: Numbers, there: Numbers, place: Numbers) -> None:
    """Go along a ring, the points from `begin` to `end`, from one crossing to another: edge, and how far along it."""
    edge, goal = int(here[0]), int(there[0])
    if edge != goal or there[1] <= here[1]:
        while True:
            edge += 1
            if edge == end - 1:
                edge = begin
            _walked(state, points[edge, 0], points[edge, 1])
            if edge == goal:
                break
    _walked(state, place[0], place[1])


@compiled
def _note(state: Numbers, pieces: Numbers) -> None:
    """Add a closed walk to what is known of a pair.

    `pieces` has the area, how wide the widest piece is, its edges' mean length, the number of pieces and of holes, and
    length and number of the edges of all.
    """
    area, length = state[4] / 2, state[5]
    pieces[0] += area
    pieces[5] += length
    pieces[6] += state[6]
    if area < 0:
        pieces[4] += 1
        return
    pieces[3] += 1
    if length > 0:
        _note_width(4 * area / length, length / state[6], pieces)


@compiled
def _note_width(width: float, edge: float, pieces: Numbers) -> None:
    """Keep the widest, and of those that are as wide to the millimetre the one with the longest edges."""
    width, edge = round(width * KM, 6), round(edge * KM, 6)
    if width > pieces[1] or (width == pieces[1] and edge > pieces[2]):
        pieces[1], pieces[2] = width, edge


@compiled
def _note_whole_rings(
    crossed: Numbers,
    points: Numbers,
    ends: Integers,
    first: int,
    last: int,
    others: Numbers,
    other_ends: Integers,
    other_first: int,
    other_last: int,
    box: Numbers,
    pieces: Numbers,
) -> bool:
    """Note the rings that cross nothing and lie inside the other polygon; return whether that is certain."""
    start = ends[first]
    is_crossed = np.zeros(len(points), np.bool_)
    for edge in crossed:
        is_crossed[_ring_of(int(edge), ends, first, last)[0]] = True
    for ring in range(first, last):
        begin, end = ends[ring] - start, ends[ring + 1] - start
        if is_crossed[begin]:
            continue
        x, y = points[begin, 0], points[begin, 1]
        if x < box[0] or x > box[2] or y < box[1] or y > box[3]:
            continue
        inside = _is_inside(others, other_ends, other_first, other_last, x, y)
        if inside < 0:
            return False
        if inside == 1:
            state = _begun(x, y)
            for at in range(begin + 1, end):
                _walked(state, points[at, 0], points[at, 1])
            _note(state, pieces)
    return True


@compiled
def _walk_round_pieces(
    found: Numbers,
    a: Numbers,
    a_ends: Integers,
    a_first: int,
    a_last: int,
    b: Numbers,
    b_ends: Integers,
    b_first: int,
    b_last: int,
    pieces: Numbers,
) -> bool:
    """Walk along both borders from crossing to crossing until all are done; return whether that is certain."""
    count, enters = len(found), found[:, 6]
    a_order, is_certain = _order(found[:, 0], found[:, 1])
    b_order, is_certain_too = _order(found[:, 2], found[:, 3])
    a_next = _followers(a_order, found[:, 0], enters, a_ends, a_first, a_last)
    b_next = _followers(b_order, found[:, 2], enters, b_ends, b_first, b_last)
    if not (is_certain and is_certain_too) or len(a_next) < count or len(b_next) < count:
        return False
    is_done = np.zeros(count, np.bool_)
    for start in range(count):
        if is_done[start] or enters[start] < 0:
            continue
        state = _begun(found[start, 4], found[start, 5])
        here = start
        while not is_done[here]:
            is_done[here] = True
            there = a_next[here]
            begin, end = _ring_of(int(found[here, 0]), a_ends, a_first, a_last)
            _walk(state, a, begin, end, found[here, :2], found[there, :2], found[there, 4:6])
            here = b_next[there]
            begin, end = _ring_of(int(found[there, 2]), b_ends, b_first, b_last)
            _walk(state, b, begin, end, found[there, 2:4], found[here, 2:4], found[here, 4:6])
        if here != start:
            return False
        _note(state, pieces)
    return True


@compiled
def _measured(
    a: Numbers,
    a_ends: Integers,
    a_first: int,
    a_last: int,
    b: Numbers,
    b_ends: Integers,
    b_first: int,
    b_last: int,
    box: Numbers,
) -> tuple[Numbers, bool]:
    """Return `pieces` of a pair of polygons, given the box that theirs have in common; and whether it is certain."""
    pieces = np.zeros(7)
    if box[0] > box[2] or box[1] > box[3]:
        return pieces, True
    axis = 0 if box[2] - box[0] > box[3] - box[1] else 1
    ones = _edges_near(a, a_ends, a_first, a_last, box, axis)
    twos = _edges_near(b, b_ends, b_first, b_last, box, axis)
    found, is_certain = _crossings(a, ones, b, twos, axis)
    if is_certain and len(found):
        is_certain = _walk_round_pieces(found, a, a_ends, a_first, a_last, b, b_ends, b_first, b_last, pieces)
    if is_certain:
        is_certain = _note_whole_rings(
            found[:, 0], a, a_ends, a_first, a_last, b, b_ends, b_first, b_last, box, pieces
        ) and _note_whole_rings(found[:, 2], b, b_ends, b_first, b_last, a, a_ends, a_first, a_last, box, pieces)
    holes, is_one = pieces[4], pieces[3] == 1
    if holes and is_one:
        pieces[1], pieces[2] = 0, 0
        _note_width(4 * pieces[0] / pieces[5], pieces[5] / pieces[6], pieces)
    return pieces, is_certain and pieces[0] >= 0 and (is_one or not holes)


@compiled
def measure(
    one: tuple[Numbers, Integers, Integers], two: tuple[Numbers, Integers, Integers], pairs: Integers
) -> tuple[Numbers, Integers]:
    """Measure the ground that pairs of polygons have in common.

    Parameters
    ----------
    one, two : (ndarray of float64, shape (n, 2), ndarray of int, ndarray of int)
        Polygons of either side: points on the cylinder, where each ring begins among them, and where each polygon
        begins among the rings; both with the end at the end. Rings are closed, and the first one is the shell.
    pairs : ndarray of int, shape (m, 2)
        By positions.

    Returns
    -------
    (ndarray of float64, shape (m, 3), ndarray of int, shape (m,))
        The area, in square degrees of the cylinder; and in kilometres how wide the widest piece is, and how long the
        edges around it are on average. And `MEASURED`, or `UNSURE` where GEOS is to measure: also where both polygons
        are the same.
    """
    measures, states = np.zeros((len(pairs), 3)), np.full(len(pairs), UNSURE)
    (points, ends, firsts), (others, other_ends, other_firsts) = one, two
    boxes, other_boxes = _boxes(points, ends, firsts), _boxes(others, other_ends, other_firsts)
    points, others = _turned(points, ends, firsts), _turned(others, other_ends, other_firsts)
    box = np.empty(4)
    for number in range(len(pairs)):
        i, j = pairs[number]
        first, last, other_first, other_last = firsts[i], firsts[i + 1], other_firsts[j], other_firsts[j + 1]
        mine, its = points[ends[first] : ends[last]], others[other_ends[other_first] : other_ends[other_last]]
        if len(mine) == len(its) and last - first == other_last - other_first and np.array_equal(mine, its):
            continue
        box[:2] = np.maximum(boxes[i, :2], other_boxes[j, :2])
        box[2:] = np.minimum(boxes[i, 2:], other_boxes[j, 2:])
        pieces, is_certain = _measured(mine, ends, first, last, its, other_ends, other_first, other_last, box)
        if is_certain:
            measures[number] = pieces[:3]
            states[number] = MEASURED
    return measures, states
