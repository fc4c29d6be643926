"""Compute area, bounding box and number of vertices of geometries from their WKB, without a geometry library.

The cylindrical equal-area projection (EPSG:6933) preserves areas: x is proportional to the longitude, and y to the
authalic function q of the latitude. So the area of a ring is the sum of its trapezoids in longitude and q. Projecting
every vertex with PROJ gives the same number with a larger rounding error, at seven times the cost.
"""

from __future__ import annotations

from typing import Any

import geoarrow.pyarrow as ga
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numpy.polynomial import Chebyshev, Polynomial

SEMI_MAJOR_AXIS_KM = 6378.137
FLATTENING = 1 / 298.257223563
E2 = FLATTENING * (2 - FLATTENING)
SCALE = SEMI_MAJOR_AXIS_KM**2 / 2 * np.pi / 180  # from degrees of longitude times q to km²
BLOCK = 1 << 15  # vertices at a time, so that intermediate results stay in the processor's cache
MULTIPOLYGON = ga.multipolygon().with_coord_type(ga.CoordType.SEPARATED)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]


def authalic(latitude: Floats) -> Floats:
    """Return q of latitudes in degrees, by its definition (Snyder, *Map Projections*, 1987, equation 3-12)."""
    sine, e = np.sin(np.radians(latitude)), np.sqrt(E2)
    q: Floats = (1 - E2) * (sine / (1 - E2 * sine**2) + np.arctanh(e * sine) / e)
    return q


def _series() -> Polynomial:
    """Return q / latitude as a polynomial in latitude²: multiplications instead of the sine and log of `authalic`."""
    ratio = Chebyshev.interpolate(lambda square: authalic(np.sqrt(square)) / np.sqrt(square), 12, domain=[1e-9, 8100.5])
    return ratio.convert(kind=Polynomial, domain=[0, 8100], window=[0, 1])


COEFFICIENTS = _series().coef[::-1]


def measure(wkb: pa.BinaryArray) -> dict[str, pa.Array]:
    """Return number of vertices, area and bounding box of geometries, in one pass over their vertices.

    Parameters
    ----------
    wkb : pyarrow.BinaryArray, shape (n,)
        2D MultiPolygons, not empty, EPSG:4326, degrees; NULL if there is no geometry.

    Returns
    -------
    dict of str to pyarrow.Array, shape (n,)
        ``vertex_count`` (closing vertices included), ``area_km2`` (square kilometres on the ellipsoid; edges are
        straight in EPSG:6933, as after projecting the vertices), and the bounding box ``min_lon``, ``min_lat``,
        ``max_lon``, ``max_lat`` (degrees). NULL if there is no geometry.
    """
    parsed: Any = ga.as_geoarrow(ga.wkb().wrap_array(wkb), type=MULTIPOLYGON)
    polygons = parsed.storage.values
    rings = polygons.values
    longitudes, latitudes = (rings.values.field(axis).to_numpy(zero_copy_only=True) for axis in (0, 1))
    ring_ends, polygon_ends, geometry_ends = _offsets(rings), _offsets(polygons), _offsets(parsed.storage)
    vertex_ends = ring_ends[polygon_ends[geometry_ends]]
    areas = np.abs(_ring_sums(longitudes, latitudes, ring_ends))
    is_hole = np.ones(len(areas), dtype=bool)
    is_hole[polygon_ends[:-1][np.diff(polygon_ends) > 0]] = False  # the first ring of a polygon is its shell
    areas[is_hole] *= -1
    found = {
        "vertex_count": np.diff(vertex_ends).astype(np.int64),
        "area_km2": _reduced(np.add, _reduced(np.add, areas, polygon_ends), geometry_ends) * SCALE,
        "min_lon": _reduced(np.minimum, longitudes, vertex_ends),
        "min_lat": _reduced(np.minimum, latitudes, vertex_ends),
        "max_lon": _reduced(np.maximum, longitudes, vertex_ends),
        "max_lat": _reduced(np.maximum, latitudes, vertex_ends),
    }
    is_null = np.asarray(wkb.is_null())
    return {name: pa.array(values, mask=is_null) for name, values in found.items()}


def _offsets(lists: pa.ListArray) -> Ints:
    offsets: Ints = lists.offsets.to_numpy()
    return offsets


def _reduced(by: np.ufunc, values: Floats, ends: Ints) -> Floats:
    """Return the sum, or another reduction, of each range of values; 0 for an empty range."""
    found = np.zeros(len(ends) - 1)
    is_filled = np.diff(ends) > 0
    if is_filled.any():
        found[is_filled] = by.reduceat(values, ends[:-1][is_filled])
    return found


def _ring_sums(longitudes: Floats, latitudes: Floats, ends: Ints) -> Floats:
    """Return each ring's signed sum of trapezoids: width in degrees times the mean of q."""
    found = np.zeros(len(ends) - 1)
    is_last = np.zeros(len(longitudes), dtype=bool)  # no edge leads from a ring's last vertex to the next ring
    is_last[ends[1:] - 1] = True
    origin = authalic(latitudes[:1])  # a nearby origin reduces the rounding error
    for begin in range(0, len(longitudes) - 1, BLOCK):
        end = min(begin + BLOCK, len(longitudes) - 1)
        latitude = latitudes[begin : end + 1]
        square = latitude * latitude / 8100
        q = np.full_like(square, COEFFICIENTS[0])
        for coefficient in COEFFICIENTS[1:]:
            q *= square
            q += coefficient
        q *= latitude
        q -= origin
        trapezoids = np.diff(longitudes[begin : end + 1])
        trapezoids *= (q[1:] + q[:-1]) / 2
        trapezoids[is_last[begin:end]] = 0
        first = int(np.searchsorted(ends, begin, side="right")) - 1
        last = int(np.searchsorted(ends, end, side="left"))
        starts = np.maximum(ends[first:last], begin) - begin
        found[first:last] += _reduced(np.add, trapezoids, np.append(starts, end - begin))
    return found
