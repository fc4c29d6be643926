"""The ground that polygons have in common, or that others leave of one: the loops, which numba compiles.

The borders are cut where they cross and where they touch, so that they are a graph whose edges either coincide or have
nothing but a node in common. On either side of an edge of a border it is known whether the polygon is there; of the
other borders this is told by the edges around a node, and along a border from one node to the next; a border that
meets no other is inside or outside as a whole. Then each ring around the ground that is asked for is a walk from edge
to edge.

Corners and edges in common are so no special case. All that is not certain is left to GEOS: a wrong answer is none.
That is: an order of edges around a node, or of nodes along an edge, that rounding might turn; sides of edges that
contradict each other, as they do where others overlap.

numba keeps what it has compiled until this file changes. Whatever that depends on is therefore in this file.

Sources: Shewchuk, "Adaptive precision floating-point arithmetic and fast robust geometric predicates" (1997), for how
far rounding can turn a point's side; Dekker, "A floating-point technique for extending the available precision" (1971).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from admin_boundaries.areas import KM
from admin_boundaries.locate.compiled import compiled

Numbers = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Sides = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]
Polygons = tuple[Numbers, Integers, Integers, Numbers, Integers, Numbers]

COMMON, REST = 0, 1  # what is asked for: ground of the first polygon and the other; ground of the first one alone
MEASURED, UNSURE = 1, 0
ROUNDING = 3.3306690738754716e-16  # of two products whose difference says on which side of an edge a point lies
ROUNDING_TWICE = 1e-30  # the same in twice the precision: of less than this, nothing is left
SPLITTER = 134217729.0  # 2 ** 27 + 1
UNKNOWN = -1
CHUNK = 32  # edges whose box is looked at first
STRIP = 64  # edges in a strip of many
MILLIMETRES = 1e6  # in a kilometre
OFF = 1e-10  # of a polygon's box: by how much the areas of its parts may differ from it
NO_AREA = 1e-15  # of the square of a border's length
FLAT = 1e-6  # the least square of the cosine of a latitude, for lengths: that of areas.py
RADIAN = np.pi / 180


@compiled
def _product(one: float, two: float) -> tuple[float, float]:
    """Return a product, and what rounding has left of it."""
    product = one * two
    large = SPLITTER * one
    high = large - (large - one)
    low = one - high
    large = SPLITTER * two
    other_high = large - (large - two)
    other_low = two - other_high
    return product, low * other_low - (product - high * other_high - low * other_high - high * other_low)


@compiled
def _difference(one: float, two: float) -> tuple[float, float]:
    """Return a difference, and what rounding has left of it."""
    difference = one - two
    virtual = one - difference
    return difference, (one - (difference + virtual)) + (virtual - two)


@compiled
def _side_twice(ax: float, ay: float, bx: float, by: float, x: float, y: float) -> int:
    """Return what `_side` does, in twice the precision."""
    one, one_rest = _difference(ax, x)
    two, two_rest = _difference(by, y)
    three, three_rest = _difference(ay, y)
    four, four_rest = _difference(bx, x)
    left, left_rest = _product(one, two)
    right, right_rest = _product(three, four)
    turn, turn_rest = _difference(left, right)
    left_rest += one * two_rest + one_rest * two
    right_rest += three * four_rest + three_rest * four
    turn += turn_rest + (left_rest - right_rest)
    if abs(turn) <= ROUNDING_TWICE * (abs(left) + abs(right)):
        return 0
    return 1 if turn > 0 else -1


@compiled
def _side(ax: float, ay: float, bx: float, by: float, x: float, y: float) -> int:
    """Return 1 for a point to the left of the line from a to b, -1 to the right, 0 on it."""
    one, two = (ax - x) * (by - y), (ay - y) * (bx - x)
    turn = one - two
    least = ROUNDING * (abs(one) + abs(two))
    if turn > least:
        return 1
    if turn < -least:
        return -1
    return _side_twice(ax, ay, bx, by, x, y)


@compiled
def prepared(points: Numbers, ends: Integers, firsts: Integers) -> Polygons:
    """Return polygons as the other functions take them.

    Parameters
    ----------
    points : ndarray of float64, shape (n, 2)
        On the cylinder. Rings are closed.
    ends, firsts : ndarray of int
        Where each ring begins among the points, and each polygon among the rings, with the end at the end. The first
        ring of a polygon is the shell.

    Returns
    -------
    tuple
        The points with the inside to the left, ``ends``, ``firsts``, the boxes of every `CHUNK` edges of a ring, where
        those of each ring begin, and the boxes of the polygons.
    """
    turned = points + 0.0  # of the two zeros, one is left
    chunk_firsts = np.zeros(len(ends), np.int64)
    for ring in range(len(ends) - 1):
        chunk_firsts[ring + 1] = chunk_firsts[ring] + (ends[ring + 1] - ends[ring] - 1 + CHUNK - 1) // CHUNK
    chunks = np.empty((chunk_firsts[-1], 4))
    boxes = np.empty((len(firsts) - 1, 4))
    for polygon in range(len(firsts) - 1):
        boxes[polygon, 0] = boxes[polygon, 1] = np.inf
        boxes[polygon, 2] = boxes[polygon, 3] = -np.inf
        for ring in range(firsts[polygon], firsts[polygon + 1]):
            begin, end = ends[ring], ends[ring + 1]
            area, x, y = 0.0, points[begin, 0], points[begin, 1]
            for at in range(begin, end - 1):
                area += (points[at, 0] - x) * (points[at + 1, 1] - y) - (points[at + 1, 0] - x) * (points[at, 1] - y)
            if (area < 0) == (ring == firsts[polygon]):
                for at in range(begin, end):
                    turned[at, 0] = points[end - 1 - (at - begin), 0] + 0.0
                    turned[at, 1] = points[end - 1 - (at - begin), 1] + 0.0
            for chunk in range(chunk_firsts[ring], chunk_firsts[ring + 1]):
                start = begin + (chunk - chunk_firsts[ring]) * CHUNK
                west, south, east, north = np.inf, np.inf, -np.inf, -np.inf
                for at in range(start, min(start + CHUNK + 1, end)):
                    west, south = min(west, turned[at, 0]), min(south, turned[at, 1])
                    east, north = max(east, turned[at, 0]), max(north, turned[at, 1])
                chunks[chunk, 0], chunks[chunk, 1], chunks[chunk, 2], chunks[chunk, 3] = west, south, east, north
                boxes[polygon, 0], boxes[polygon, 1] = min(boxes[polygon, 0], west), min(boxes[polygon, 1], south)
                boxes[polygon, 2], boxes[polygon, 3] = max(boxes[polygon, 2], east), max(boxes[polygon, 3], north)
    return turned, ends, firsts, chunks, chunk_firsts, boxes


@compiled
def _gather(
    points: Numbers,
    ends: Integers,
    first: int,
    last: int,
    chunks: Numbers,
    chunk_firsts: Integers,
    box: Numbers,
    edges: Numbers,
    count: int,
) -> tuple[Numbers, int]:
    """Add the edges of a polygon whose boxes meet a box; return the edges, and how many there are now."""
    west, south, east, north = box[0], box[1], box[2], box[3]
    for ring in range(first, last):
        for chunk in range(chunk_firsts[ring], chunk_firsts[ring + 1]):
            if (
                chunks[chunk, 0] > east
                or chunks[chunk, 2] < west
                or chunks[chunk, 1] > north
                or chunks[chunk, 3] < south
            ):
                continue
            if count + CHUNK > len(edges):
                more = np.empty((2 * len(edges), 4))
                more[:count] = edges[:count]
                edges = more
            start = ends[ring] + (chunk - chunk_firsts[ring]) * CHUNK
            for at in range(start, min(start + CHUNK, ends[ring + 1] - 1)):
                x, y, u, v = points[at, 0], points[at, 1], points[at + 1, 0], points[at + 1, 1]
                if max(x, u) < west or min(x, u) > east or max(y, v) < south or min(y, v) > north:
                    continue
                if x == u and y == v:
                    continue
                edges[count, 0], edges[count, 1], edges[count, 2], edges[count, 3] = x, y, u, v
                count += 1
    return edges, count


@compiled
def _mixed(x: int, y: int) -> int:
    """Return a number whose last bits depend on all of those of two others."""
    number = x * -7046029254386353131 + (y ^ (y >> 29)) * -4417276706812531889
    return number ^ (number >> 32)


@compiled
def _slot(bits: Integers, x: int, y: int, table: Integers, mask: int) -> int:
    """Return where in a table the number of a node is, or is to be."""
    at = _mixed(x, y) & mask
    while table[at] >= 0 and (bits[table[at], 0] != x or bits[table[at], 1] != y):
        at = (at + 1) & mask
    return at


@compiled
def _table(count: int) -> Integers:
    size = 16
    while size < 2 * count:
        size *= 2
    return np.full(size, -1)


@compiled
def _outer(edges: Numbers, first: int, kept: Integers) -> int:
    """Leave out where two of the others meet: write which edges are kept, and return how many, or -1 if two overlap."""
    count = len(edges)
    table = _table(count)
    mask = len(table) - 1
    bits = edges.view(np.int64)
    is_left_out, is_met = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for edge in range(first, count):
        x, y, u, v = bits[edge, 0], bits[edge, 1], bits[edge, 2], bits[edge, 3]
        at = _mixed(x + u, y + v) & mask
        while table[at] >= 0:
            other = table[at]
            if bits[other, 0] == u and bits[other, 1] == v and bits[other, 2] == x and bits[other, 3] == y:
                break
            if bits[other, 0] == x and bits[other, 1] == y and bits[other, 2] == u and bits[other, 3] == v:
                return -1
            at = (at + 1) & mask
        if table[at] < 0:
            table[at] = edge
        elif is_met[table[at]]:
            return -1
        else:
            is_met[table[at]] = is_left_out[table[at]] = is_left_out[edge] = True
    number = 0
    for edge in range(count):
        if not is_left_out[edge]:
            kept[number] = edge
            number += 1
    return number


@compiled
def _note_cut(cuts: Numbers, count: int, edge: int, x: float, y: float) -> int:
    cuts[count, 0], cuts[count, 1], cuts[count, 2] = edge, x + 0.0, y + 0.0
    return count + 1


@compiled
def _is_between(x: float, y: float, px: float, py: float, qx: float, qy: float) -> bool:
    """Return whether a point on the line of an edge is on the edge."""
    return min(px, qx) <= x <= max(px, qx) and min(py, qy) <= y <= max(py, qy)


@compiled
def _cut(edges: Numbers, a: int, b: int, cuts: Numbers, count: int) -> int:
    """Note where two edges have to be cut, as edge, x and y; return how many such notes there are, or -1 if unsure."""
    px, py, qx, qy = edges[a, 0], edges[a, 1], edges[a, 2], edges[a, 3]
    rx, ry, sx, sy = edges[b, 0], edges[b, 1], edges[b, 2], edges[b, 3]
    is_pr, is_ps = px == rx and py == ry, px == sx and py == sy
    is_qr, is_qs = qx == rx and qy == ry, qx == sx and qy == sy
    if (is_pr and is_qs) or (is_ps and is_qr):
        return count
    of_p = 0 if is_pr or is_ps else _side(rx, ry, sx, sy, px, py)
    of_q = 0 if is_qr or is_qs else _side(rx, ry, sx, sy, qx, qy)
    if of_p * of_q > 0:
        return count
    of_r = 0 if is_pr or is_qr else _side(px, py, qx, qy, rx, ry)
    of_s = 0 if is_ps or is_qs else _side(px, py, qx, qy, sx, sy)
    if of_r * of_s > 0:
        return count
    if of_p != 0 and of_q != 0 and of_r != 0 and of_s != 0:
        # the same point from whichever end
        if qx < px or (qx == px and qy < py):
            px, py, qx, qy = qx, qy, px, py
        if sx < rx or (sx == rx and sy < ry):
            rx, ry, sx, sy = sx, sy, rx, ry
        turn = (qx - px) * (sy - ry) - (qy - py) * (sx - rx)
        if turn == 0:
            return -1
        along = ((rx - px) * (sy - ry) - (ry - py) * (sx - rx)) / turn
        along = min(max(along, 0.0), 1.0)
        x, y = px + along * (qx - px), py + along * (qy - py)
        count = _note_cut(cuts, count, a, x, y)
        return _note_cut(cuts, count, b, x, y)
    if of_p == 0 and not (is_pr or is_ps) and _is_between(px, py, rx, ry, sx, sy):
        count = _note_cut(cuts, count, b, px, py)
    if of_q == 0 and not (is_qr or is_qs) and _is_between(qx, qy, rx, ry, sx, sy):
        count = _note_cut(cuts, count, b, qx, qy)
    if of_r == 0 and not (is_pr or is_qr) and _is_between(rx, ry, px, py, qx, qy):
        count = _note_cut(cuts, count, a, rx, ry)
    if of_s == 0 and not (is_ps or is_qs) and _is_between(sx, sy, px, py, qx, qy):
        count = _note_cut(cuts, count, a, sx, sy)
    return count


@compiled
def _cuts(  # noqa: PLR0912  in pieces, numba would copy what they hand one another
    edges: Numbers, owners: Integers, axis: int
) -> tuple[Numbers, bool]:
    """Return where edges of different owners have to be cut, as edge, x and y, and whether that is certain.

    Of many edges, those of a strip are compared, along the axis.
    """
    number, across = len(edges), 1 - axis
    # by edges: from where to where, along the axis and across
    reach = np.empty((number, 4))
    low, high, total = np.inf, -np.inf, 0.0
    for edge in range(number):
        reach[edge, 0] = min(edges[edge, axis], edges[edge, axis + 2])
        reach[edge, 1] = max(edges[edge, axis], edges[edge, axis + 2])
        reach[edge, 2] = min(edges[edge, across], edges[edge, across + 2])
        reach[edge, 3] = max(edges[edge, across], edges[edge, across + 2])
        low, high = min(low, reach[edge, 2]), max(high, reach[edge, 3])
        total += reach[edge, 3] - reach[edge, 2]
    strips, height = 1, high - low
    if number > 2 * STRIP and height > 0:
        strips = max(1, min(number // STRIP, int(height / (2 * total / number + height / number))))
    starts = np.zeros(strips + 1, np.int64)
    firsts, lasts = np.zeros(number, np.int64), np.zeros(number, np.int64)
    if strips > 1:
        for edge in range(number):
            firsts[edge] = min(strips - 1, int((reach[edge, 2] - low) / height * strips))
            lasts[edge] = min(strips - 1, int((reach[edge, 3] - low) / height * strips))
            for strip in range(firsts[edge], lasts[edge] + 1):
                starts[strip + 1] += 1
        starts = np.cumsum(starts)
    else:
        starts[1] = number
    members, filled = np.empty(starts[-1], np.int64), starts[:-1].copy()
    for edge in range(number):
        for strip in range(firsts[edge], lasts[edge] + 1):
            members[filled[strip]] = edge
            filled[strip] += 1
    cuts, count = np.empty((32, 3)), 0
    for strip in range(strips):
        here = members[starts[strip] : starts[strip + 1]]
        here = here[np.argsort(reach[here, 0])]
        for at in range(len(here)):
            a = here[at]
            owner, end, bottom, top = owners[a], reach[a, 1], reach[a, 2], reach[a, 3]
            for after in range(at + 1, len(here)):
                b = here[after]
                if reach[b, 0] > end:
                    break
                if owners[b] == owner or reach[b, 2] > top or reach[b, 3] < bottom:
                    continue
                if max(firsts[a], firsts[b]) != strip:
                    continue
                if count + 4 > len(cuts):
                    more = np.empty((2 * len(cuts), 3))
                    more[:count] = cuts[:count]
                    cuts = more
                count = _cut(edges, a, b, cuts, count)
                if count < 0:
                    return cuts[:0], False
    return cuts[:count], True


@compiled
def _pieces(edges: Numbers, cuts: Numbers) -> tuple[Numbers, Integers]:
    """Return the edges between nodes, as the points of both ends, and of which edge each is; in their order."""
    number = len(edges)
    starts = np.zeros(number + 1, np.int64)
    for cut in range(len(cuts)):
        starts[int(cuts[cut, 0]) + 1] += 1
    starts = np.cumsum(starts)
    filled, order = starts[:-1].copy(), np.empty(len(cuts), np.int64)
    for cut in range(len(cuts)):
        edge = int(cuts[cut, 0])
        order[filled[edge]] = cut
        filled[edge] += 1
    pieces, of_edge, count = np.empty((number + len(cuts), 4)), np.empty(number + len(cuts), np.int64), 0
    for edge in range(number):
        x, y, u, v = edges[edge, 0], edges[edge, 1], edges[edge, 2], edges[edge, 3]
        first, last = starts[edge], starts[edge + 1]
        if last > first:
            axis = 1 if abs(u - x) > abs(v - y) else 2
            begin = x if axis == 1 else y
            for at in range(first + 1, last):
                here = at
                while here > first and abs(cuts[order[here - 1], axis] - begin) > abs(cuts[order[here], axis] - begin):
                    order[here - 1], order[here] = order[here], order[here - 1]
                    here -= 1
            for at in range(first, last):
                cut_x, cut_y = cuts[order[at], 1], cuts[order[at], 2]
                if (cut_x == x and cut_y == y) or (cut_x == u and cut_y == v):
                    continue
                pieces[count, 0], pieces[count, 1], pieces[count, 2], pieces[count, 3] = x, y, cut_x, cut_y
                of_edge[count] = edge
                count += 1
                x, y = cut_x, cut_y
        pieces[count, 0], pieces[count, 1], pieces[count, 2], pieces[count, 3] = x, y, u, v
        of_edge[count] = edge
        count += 1
    return pieces[:count], of_edge[:count]


@compiled
def _graph(pieces: Numbers, owner_of: Integers) -> tuple[Numbers, Integers, Integers, bool]:
    """Return the graph of the edges between nodes: those that coincide are one.

    Returns
    -------
    nodes : ndarray of float64, shape (n, 2)
    ends : ndarray of int, shape (m, 2)
        The nodes that an edge is between.
    borders : ndarray of int, shape (m, 4)
        Of how many borders of the first polygon each edge is, and of how many of these the inside is to the left; and
        the same of the others.
    is_certain : bool
    """
    count = len(pieces)
    table = _table(2 * count)
    mask = len(table) - 1
    nodes, number = np.empty((2 * count, 2)), 0
    bits = nodes.view(np.int64)
    coordinates = pieces.view(np.int64)
    owners, is_shared = np.empty(2 * count, np.int64), np.zeros(2 * count, np.bool_)
    of_pieces = np.empty((count, 2), np.int64)
    for piece in range(count):
        for end in range(2):
            x, y = coordinates[piece, 2 * end], coordinates[piece, 2 * end + 1]
            if end == 0 and piece and coordinates[piece - 1, 2] == x and coordinates[piece - 1, 3] == y:
                node = of_pieces[piece - 1, 1]
            else:
                slot = _slot(bits, x, y, table, mask)
                node = table[slot]
                if node < 0:
                    node, table[slot] = number, number
                    bits[node, 0], bits[node, 1] = x, y
                    owners[node] = owner_of[piece]
                    number += 1
            if owners[node] != owner_of[piece]:
                is_shared[node] = True
            of_pieces[piece, end] = node
    ends, borders, edge_count = np.empty((count, 2), np.int64), np.zeros((count, 4), np.int64), 0
    pairs = _table(count)
    mask = len(pairs) - 1
    for piece in range(count):
        one, two = of_pieces[piece, 0], of_pieces[piece, 1]
        if one == two:
            return nodes[:0], ends[:0], borders[:0], False
        is_left = one < two
        if not is_left:
            one, two = two, one
        edge = edge_count
        if is_shared[one] and is_shared[two]:
            slot = _slot(ends, one, two, pairs, mask)
            edge = pairs[slot]
            if edge < 0:
                edge, pairs[slot] = edge_count, edge_count
        if edge == edge_count:
            ends[edge, 0], ends[edge, 1] = one, two
            edge_count += 1
        of = 0 if owner_of[piece] == 0 else 2
        borders[edge, of] += 1
        borders[edge, of + 1] += is_left
    return nodes[:number], ends[:edge_count], borders[:edge_count], True


@compiled
def _is_before(nodes: Numbers, node: int, one: int, two: int) -> int:
    """Return 1 if the edge to a node comes before that to another, anticlockwise from east; -1 if not, 0 if unsure."""
    x, y = nodes[node, 0], nodes[node, 1]
    is_low = nodes[one, 1] < y or (nodes[one, 1] == y and nodes[one, 0] < x)
    is_other_low = nodes[two, 1] < y or (nodes[two, 1] == y and nodes[two, 0] < x)
    if is_low != is_other_low:
        return -1 if is_low else 1
    return _side(x, y, nodes[one, 0], nodes[one, 1], nodes[two, 0], nodes[two, 1])


@compiled
def _around(nodes: Numbers, ends: Integers) -> tuple[Integers, Integers, Integers, bool]:
    """Return the ways out of nodes, anticlockwise, where each node's begin, where each way is, and if that is certain.

    A way is an edge in one direction: twice the number of the edge, one more if it leads from its second node.
    """
    starts = np.zeros(len(nodes) + 1, np.int64)
    for edge in range(len(ends)):
        starts[ends[edge, 0] + 1] += 1
        starts[ends[edge, 1] + 1] += 1
    starts = np.cumsum(starts)
    filled, ways, places = starts[:-1].copy(), np.empty(2 * len(ends), np.int64), np.empty(2 * len(ends), np.int64)
    for edge in range(len(ends)):
        for end in range(2):
            node = ends[edge, end]
            ways[filled[node]] = 2 * edge + end
            places[2 * edge + end] = filled[node]
            filled[node] += 1
    for node in range(len(nodes)):
        first, last = starts[node], starts[node + 1]
        if last - first < 3:
            continue
        for at in range(first + 1, last):
            here = at
            while here > first:
                one, two = ways[here - 1], ways[here]
                turn = _is_before(nodes, node, ends[one >> 1, 1 - (one & 1)], ends[two >> 1, 1 - (two & 1)])
                if turn == 0:
                    return ways, starts, places, False
                if turn > 0:
                    break
                ways[here - 1], ways[here] = two, one
                here -= 1
        for at in range(first, last):
            places[ways[at]] = at
    return ways, starts, places, True


@compiled
def _known(borders: Integers, what: int) -> tuple[Sides, bool]:
    """Return whether the ground to the left and right of edges is in the first polygon, or others, and if it can be.

    Sides are 1 or 0, or `UNKNOWN` of edges that are no border of it.
    """
    sides = np.full((len(borders), 2), UNKNOWN, np.int8)
    for edge in range(len(borders)):
        count, left = borders[edge, 2 * what], borders[edge, 2 * what + 1]
        if count == 1:
            sides[edge, 0], sides[edge, 1] = left, 1 - left
        elif count == 2 and left == 1 and what == 1:  # two of the others meet there
            sides[edge, 0] = sides[edge, 1] = 1
        elif count:
            return sides, False
    return sides, True


@compiled
def _told_around_nodes(
    nodes: Numbers, ways: Integers, starts: Integers, sides: Sides, borders: Integers, what: int, box: Numbers
) -> tuple[Flags, bool]:
    """Tell by the borders at nodes on which side of them other edges are; nodes outside of a box are outside.

    Returns
    -------
    is_open : ndarray of bool
        At which nodes all ways are on the same side, of which it is not told.
    is_certain : bool
        Whether nothing contradicts.
    """
    is_open = np.zeros(len(nodes), np.bool_)
    for node in range(len(nodes)):
        first, last = starts[node], starts[node + 1]
        x, y = nodes[node, 0], nodes[node, 1]
        if x < box[0] or x > box[2] or y < box[1] or y > box[3]:
            for at in range(first, last):
                edge = ways[at] >> 1
                if borders[edge, 2 * what] == 0:
                    if sides[edge, 0] == 1:
                        return is_open, False
                    sides[edge, 0] = sides[edge, 1] = 0
            continue
        start = -1
        for at in range(first, last):
            if borders[ways[at] >> 1, 2 * what]:
                start = at
                break
        if start < 0:
            is_open[node] = True
            continue
        way = ways[start]
        here = sides[way >> 1, way & 1]  # to the left of the way
        at = start
        for _ in range(last - first):
            at = at + 1 if at + 1 < last else first
            way = ways[at]
            edge, end = way >> 1, way & 1
            if sides[edge, 1 - end] == UNKNOWN:
                sides[edge, 0] = sides[edge, 1] = here
            elif sides[edge, 1 - end] != here:
                return is_open, False
            here = sides[edge, end]
    return is_open, True


@compiled
def _spread(
    ends: Integers, ways: Integers, starts: Integers, sides: Sides, is_open: Flags, edge: int, waiting: Integers
) -> bool:
    """Tell the edges that are on the same side as one of which it is known; return whether nothing contradicts."""
    waiting[0], count = edge, 1
    side = sides[edge, 0]
    while count:
        count -= 1
        here = waiting[count]
        for end in range(2):
            node = ends[here, end]
            if not is_open[node]:
                continue
            is_open[node] = False
            for at in range(starts[node], starts[node + 1]):
                other = ways[at] >> 1
                if sides[other, 0] == UNKNOWN:
                    sides[other, 0] = sides[other, 1] = side
                    waiting[count] = other
                    count += 1
                elif sides[other, 0] != side:
                    return False
    return True


@compiled
def _is_inside(
    points: Numbers,
    ends: Integers,
    first: int,
    last: int,
    chunks: Numbers,
    chunk_firsts: Integers,
    x: float,
    y: float,
) -> int:
    """Return 1 if a point is inside a polygon, 0 if not, -1 if it is on the border."""
    is_inside = False
    for ring in range(first, last):
        for chunk in range(chunk_firsts[ring], chunk_firsts[ring + 1]):
            if chunks[chunk, 1] > y or chunks[chunk, 3] < y or chunks[chunk, 2] < x:
                continue
            start = ends[ring] + (chunk - chunk_firsts[ring]) * CHUNK
            for at in range(start, min(start + CHUNK, ends[ring + 1] - 1)):
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
def _is_wanted(ask: int, sides: Sides, others: Sides, edge: int, end: int) -> bool:
    """Return whether the ground to the left of a way is what is asked for."""
    wanted: bool = sides[edge, end] == 1 and others[edge, end] == (1 if ask == COMMON else 0)
    return wanted


@compiled
def _rings(
    ask: int,
    nodes: Numbers,
    ends: Integers,
    ways: Integers,
    starts: Integers,
    places: Integers,
    sides: Sides,
    others: Sides,
) -> tuple[Numbers, Integers, bool]:
    """Walk around the ground that is asked for.

    Returns
    -------
    rings : ndarray of float64, shape (r, 4)
        Twice the area (less than 0 of a hole), the length in degrees of the cylinder as on the globe, the number of
        edges, and a way.
    of_way : ndarray of int
        The ring of each way, or -1.
    is_certain : bool
    """
    of_way = np.full(2 * len(ends), -1)
    is_border = np.zeros(2 * len(ends), np.bool_)
    for edge in range(len(ends)):
        left, right = _is_wanted(ask, sides, others, edge, 0), _is_wanted(ask, sides, others, edge, 1)
        is_border[2 * edge], is_border[2 * edge + 1] = left and not right, right and not left
    rings, count = np.empty((4, 4)), 0
    for start in range(2 * len(ends)):
        if not is_border[start] or of_way[start] >= 0:
            continue
        way, area, length, edges = start, 0.0, 0.0, 0
        first = ends[start >> 1, start & 1]
        left, bottom = nodes[first, 0], nodes[first, 1]
        x, y = left, bottom
        while of_way[way] < 0:
            of_way[way] = count
            node = ends[way >> 1, 1 - (way & 1)]
            u, v = nodes[node, 0], nodes[node, 1]
            area += (x - left) * (v - bottom) - (u - left) * (y - bottom)
            cosine2 = max(1.0 - ((y + v) * (RADIAN / 2)) ** 2, FLAT)
            length += np.sqrt((u - x) ** 2 * cosine2 + (v - y) ** 2 / cosine2)
            edges += 1
            x, y = u, v
            # clockwise from where it came, past all that is in the ground
            at = places[way ^ 1]
            here = at
            while True:
                here = here - 1 if here > starts[node] else starts[node + 1] - 1
                if is_border[ways[here]] or here == at:
                    break
            way = ways[here]
            if here == at:
                return rings[:0], of_way, False
        if way != start:
            return rings[:0], of_way, False
        if count == len(rings):
            more = np.empty((2 * count, 4))
            more[:count] = rings
            rings = more
        rings[count, 0], rings[count, 1], rings[count, 2], rings[count, 3] = area, length, edges, start
        count += 1
    return rings[:count], of_way, True


@compiled
def _is_around(ring: int, of_way: Integers, nodes: Numbers, ends: Integers, x: float, y: float) -> int:
    """Return 1 if a ring is around a point, 0 if not, -1 if the point is on it."""
    is_inside = False
    for way in range(len(of_way)):
        if of_way[way] != ring:
            continue
        one, two = ends[way >> 1, way & 1], ends[way >> 1, 1 - (way & 1)]
        if (nodes[one, 1] > y) == (nodes[two, 1] > y):
            continue
        side = _side(nodes[one, 0], nodes[one, 1], nodes[two, 0], nodes[two, 1], x, y)
        if side == 0:
            return -1
        if (side > 0) == (nodes[two, 1] > nodes[one, 1]):
            is_inside = not is_inside
    return 1 if is_inside else 0


@compiled
def _with_holes(rings: Numbers, of_way: Integers, nodes: Numbers, ends: Integers, is_obvious: bool) -> bool:
    """Add each hole to the smallest ring around it, and return whether it is certain which that is.

    It is obvious where there is only one ring that is none, except that a hole within a hole tells of others that
    overlap.
    """
    shells, only = 0, -1
    for ring in range(len(rings)):
        if rings[ring, 0] > NO_AREA * rings[ring, 1] ** 2:
            shells += 1
            only = ring
    whole = rings[:, 0].copy()
    for hole in range(len(rings)):
        if whole[hole] >= -NO_AREA * rings[hole, 1] ** 2:
            continue
        of = only
        if shells != 1 or not is_obvious:
            node = ends[int(rings[hole, 3]) >> 1, int(rings[hole, 3]) & 1]
            of = -1
            for ring in range(len(rings)):
                size = abs(whole[ring])
                if ring == hole or size <= -whole[hole] or (of >= 0 and abs(whole[of]) <= size):
                    continue
                is_around = _is_around(ring, of_way, nodes, ends, nodes[node, 0], nodes[node, 1])
                if is_around < 0:
                    return False
                if is_around:
                    of = ring
        if of < 0 or whole[of] < 0:
            return False
        rings[of, 0] += whole[hole]
        rings[of, 1] += rings[hole, 1]
        rings[of, 2] += rings[hole, 2]
    for ring in range(len(rings)):
        if whole[ring] < 0:
            rings[ring, 0] = 0
    return True


@compiled
def _borders(
    one: Polygons, polygon: int, two: Polygons, others: Integers, around: Numbers, box: Numbers
) -> tuple[Numbers, Integers, bool]:
    """Return the edges that matter, whose they are, and whether that is certain.

    Those of the polygon itself, whose number is 0, meet ``around``, those of the others ``box``. Where two of the
    others meet, there is no border.
    """
    edges, count = np.empty((4 * CHUNK, 4)), 0
    points, ends, firsts, chunks, chunk_firsts, _ = one
    first, last = firsts[polygon], firsts[polygon + 1]
    edges, count = _gather(points, ends, first, last, chunks, chunk_firsts, around, edges, count)
    of_polygon = count
    starts = np.empty(len(others), np.int64)
    points, ends, firsts, chunks, chunk_firsts, _ = two
    for at in range(len(others)):
        starts[at] = count
        first, last = firsts[others[at]], firsts[others[at] + 1]
        edges, count = _gather(points, ends, first, last, chunks, chunk_firsts, box, edges, count)
    owners = np.zeros(count, np.int64)
    for at in range(len(others)):
        owners[starts[at] :] = at + 1
    edges = edges[:count]
    if len(others) > 1:
        kept = np.empty(count, np.int64)
        count = _outer(edges, of_polygon, kept)
        if count < 0:
            return edges, owners, False
        edges, owners = edges[kept[:count]], owners[kept[:count]]
    return edges, owners, True


@compiled
def _are_inside(of: Polygons, polygons: Integers, x: float, y: float) -> int:
    """Return 1 if a node is inside one of several polygons, 0 if not, -1 if it is on the border of the only one."""
    points, ends, firsts, chunks, chunk_firsts, _ = of
    for polygon in polygons:
        first, last = firsts[polygon], firsts[polygon + 1]
        is_inside = _is_inside(points, ends, first, last, chunks, chunk_firsts, x, y)
        if is_inside < 0 and len(polygons) > 1:
            is_inside = 1  # where two of them meet
        if is_inside:
            return is_inside
    return 0


@compiled
def _told(
    what: int,
    nodes: Numbers,
    ends: Integers,
    borders: Integers,
    ways: Integers,
    starts: Integers,
    of: Polygons,
    polygons: Integers,
    box: Numbers,
) -> tuple[Sides, bool]:
    """Return on which sides of edges there is one of some polygons, 1 or 0, and whether that is certain."""
    sides, is_certain = _known(borders, what)
    if not is_certain:
        return sides, False
    is_open, is_certain = _told_around_nodes(nodes, ways, starts, sides, borders, what, box)
    waiting = np.empty(len(ends) + 1, np.int64)
    for edge in range(len(ends)):
        if is_certain and borders[edge, 2 * what] == 0 and sides[edge, 0] != UNKNOWN:
            is_certain = _spread(ends, ways, starts, sides, is_open, edge, waiting)
    for edge in range(len(ends)):
        if is_certain and sides[edge, 0] == UNKNOWN:
            is_inside = _are_inside(of, polygons, nodes[ends[edge, 0], 0], nodes[ends[edge, 0], 1])
            sides[edge, 0] = sides[edge, 1] = is_inside
            is_certain = is_inside >= 0 and _spread(ends, ways, starts, sides, is_open, edge, waiting)
    return sides, is_certain


@compiled
def _note_widest(rings: Numbers, measures: Numbers) -> None:
    """Write how wide the widest ring is, and how long its edges, to `measures`."""
    for ring in range(len(rings)):
        if rings[ring, 0] <= 0:
            continue
        # to the millimetre, so that which of two is wider does not depend on rounding
        width = np.rint(2 * rings[ring, 0] / rings[ring, 1] * KM * MILLIMETRES) / MILLIMETRES
        edge_km = np.rint(rings[ring, 1] / rings[ring, 2] * KM * MILLIMETRES) / MILLIMETRES
        if width > measures[1] or (width == measures[1] and edge_km > measures[2]):
            measures[1], measures[2] = width, edge_km


@compiled
def _laid(  # noqa: PLR0911
    ask: int, one: Polygons, polygon: int, two: Polygons, others: Integers, box: Numbers, measures: Numbers
) -> bool:
    """Measure what is asked for of a polygon and others into `measures`; return whether that is certain."""
    around = box if ask == COMMON else one[5][polygon]
    edges, owners, is_certain = _borders(one, polygon, two, others, around, box)
    if not is_certain:
        return False
    cuts, is_certain = _cuts(edges, owners, 0 if box[2] - box[0] > box[3] - box[1] else 1)
    if not is_certain:
        return False
    pieces, of_edge = _pieces(edges, cuts)
    nodes, ends, borders, is_certain = _graph(pieces, owners[of_edge])
    if not is_certain:
        return False
    ways, starts, places, is_certain = _around(nodes, ends)
    if not is_certain:
        return False
    own = np.full(1, polygon)
    sides, is_certain = _told(0, nodes, ends, borders, ways, starts, one, own, box)
    other_sides, is_certain_too = _told(1, nodes, ends, borders, ways, starts, two, others, box)
    if not (is_certain and is_certain_too):
        return False
    rings, of_way, is_certain = _rings(ask, nodes, ends, ways, starts, places, sides, other_sides)
    if not is_certain:
        return False
    measures[0] = rings[:, 0].sum() / 2
    is_certain = _with_holes(rings, of_way, nodes, ends, len(others) == 1)
    _note_widest(rings, measures)
    return is_certain


@compiled
def measured(
    ask: int, one: Polygons, two: Polygons, polygons: Integers, starts: Integers, others: Integers, expected: Numbers
) -> tuple[Numbers, Integers]:
    """Measure the ground that polygons have in common with others, or that is in none of these.

    Parameters
    ----------
    ask : int
        `COMMON` or `REST`.
    one, two : tuple
        The polygons of either side, `prepared`.
    polygons : ndarray of int, shape (n,)
        Of the first side, by positions.
    starts, others : ndarray of int, shape (n + 1,) and (m,)
        The polygons of the other side that each is laid over, and where those of each begin, with the end at the end.
        `COMMON` is asked for one at a time.
    expected : ndarray of float64, shape (n,)
        How large the `REST` is, in square degrees, if none of the others overlap.

    Returns
    -------
    (ndarray of float64, shape (n, 3), ndarray of int, shape (n,))
        The area, in square degrees of the cylinder; and in kilometres how wide the widest piece is, and how long the
        edges around it are on average. And `MEASURED`, or `UNSURE` where GEOS is to measure.
    """
    measures, states = np.zeros((len(polygons), 3)), np.full(len(polygons), UNSURE)
    for number in range(len(polygons)):
        of, box = others[starts[number] : starts[number + 1]], one[5][polygons[number]].copy()
        size = (box[2] - box[0]) * (box[3] - box[1])
        if ask == COMMON:
            box[:2] = np.maximum(box[:2], two[5][of[0], :2])
            box[2:] = np.minimum(box[2:], two[5][of[0], 2:])
        is_certain = _laid(ask, one, polygons[number], two, of, box, measures[number])
        if is_certain and (ask == COMMON or abs(measures[number, 0] - expected[number]) <= OFF * size):
            states[number] = MEASURED
    return measures, states
