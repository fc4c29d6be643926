"""Look points up in a layer: by its cell, and where a border runs through the cell, by the parts that touch it.

What is computed here is only what rounding cannot change: of a point within `NEAR` of a border it is GEOS that says on
which side it is, as in the database.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

from admin_boundaries.locate.compiled import compiled
from admin_boundaries.locate.grid import SIDE, UNIT, Floats, Numbers, Offsets, column_of, row_of
from admin_boundaries.locate.layer import Layer, Sets

NEAR = 10.0  # in `UNIT`: 10 cm
NEAR_DEGREES = NEAR * UNIT
ON_BORDER = 1e-9  # degrees; `border_degrees` in macros/lookup
BAD, OPEN = -2, -1  # coordinates that are none, and points that are left to GEOS
OUTSIDE, INSIDE, CLOSE = 0, 1, 2
AT_ONCE = 4096  # pairs of a point and a part, which may have a thousand vertices
PREPARED = 8  # points of a part from which on GEOS is faster with an index of its edges
MANY = 16  # units at a point of which more are left to GEOS, too


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
        count = 0
        for place in range(list_starts[-1 - value], list_starts[-value]):
            item = items[place]
            if item < 0:
                unit = -1 - item
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
            is_new = True
            for other in range(count):
                is_new &= at_point[other] != unit
            if is_new:
                at_point[min(count, MANY - 1)] = unit
                count += 1
            if unit == OPEN:
                break
        found[number] = _set_of(at_point, count, ancestors)


@compiled
def _set_of(units: Numbers, count: int, ancestors: Numbers) -> int:
    """Return the set of units at a point, where it is none or one that is finer than the others."""
    if count == 0:
        return 0
    finest = OPEN
    for one in range(count):
        if units[one] == OPEN:
            return OPEN
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


def look_up(layer: Layer, sets: Sets, lons: Floats, lats: Floats) -> Numbers:
    """Return the set of units at each of many points, or `BAD`.

    Parameters
    ----------
    layer : Layer
    sets : Sets
        Of the layer; sets that are new are added.
    lons, lats : array of float64
        Degrees.
    """
    found = np.empty(len(lons), np.int32)
    arrays = (
        *(layer.coarse, layer.fine, layer.list_starts, layer.items, layer.units, layer.boxes),
        *(layer.parts, layer.rings, layer.xs, layer.ys, layer.ancestors),
    )
    search(lons, lats, *arrays, found)
    (left,) = np.nonzero(found == OPEN)
    if len(left):
        found[left] = _by_geos(layer, sets, lons[left], lats[left])
    return found


def _by_geos(layer: Layer, sets: Sets, lons: Floats, lats: Floats) -> Numbers:
    units: list[set[int]] = [set() for _ in lons]
    pairs: list[tuple[int, int, float, float]] = []
    for number, (lon, lat) in enumerate(zip(lons.tolist(), lats.tolist(), strict=True)):
        for meridian in {lon, -lon} if abs(lon) == 180 else {lon}:
            value = value_at(layer.coarse, layer.fine, meridian, lat)
            if value >= 0:
                units[number].update(sets.units(value))
                continue
            for item in layer.items[layer.list_starts[-1 - value] : layer.list_starts[-value]].tolist():
                if item < 0:
                    units[number].add(-1 - item)
                else:
                    pairs.append((item, number, meridian, lat))
    pairs.sort()
    for begin in range(0, len(pairs), AT_ONCE):
        some = pairs[begin : begin + AT_ONCE]
        parts, numbers = (np.array(column) for column in list(zip(*some, strict=True))[:2])
        needed, places, uses = np.unique(parts, return_inverse=True, return_counts=True)
        polygons = _polygons(layer, needed)
        shapely.prepare(polygons[uses > PREPARED])
        is_at = shapely.dwithin(polygons[places], shapely.points([pair[2:] for pair in some]), ON_BORDER)
        for number, part in zip(numbers[is_at].tolist(), parts[is_at].tolist(), strict=True):
            units[number].add(int(layer.units[part]))
    return np.array([sets.number(some_units) for some_units in units], np.int32)


def _polygons(layer: Layer, parts: Offsets) -> npt.NDArray[np.object_]:
    """Return parts as polygons."""
    ring_counts = layer.parts[parts + 1] - layer.parts[parts]
    rings = _ranges(layer.parts[parts], ring_counts)
    vertex_counts = layer.rings[rings + 1] - layer.rings[rings]
    vertices = layer.vertices[_ranges(layer.rings[rings], vertex_counts)]
    offsets = tuple(np.concatenate([[0], np.cumsum(counts)]) for counts in (vertex_counts, ring_counts))
    made: npt.NDArray[np.object_] = shapely.from_ragged_array(shapely.GeometryType.POLYGON, vertices, offsets)
    return made


def _ranges(firsts: Offsets, counts: Offsets) -> Offsets:
    """Return all numbers of ranges, one range after another."""
    numbers: Offsets = np.repeat(firsts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    return numbers
