"""Look points up in a layer: by its cell, and where a border runs through the cell, by the parts that touch it.

Where a border is close to a point, it is GEOS that says on which side the point is, as in the database.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

from admin_boundaries.locate.kernels import OPEN, Floats, Numbers, Offsets, search, value_at
from admin_boundaries.locate.layer import Layer, Sets

ON_BORDER = 1e-9  # degrees; `border_degrees` in macros/lookup
AT_ONCE = 4096  # pairs of a point and a part, which may have a thousand vertices
PREPARED = 8  # points of a part from which on GEOS is faster with an index of its edges


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
    search(lons, lats, *layer.searched, found)
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
        at = shapely.points([pair[2:] for pair in some])
        is_at = shapely.distance(polygons[places], at) <= ON_BORDER  # `dwithin` errs by the last digit
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
