"""Compute area, bounding box and number of vertices of geometries from their WKB, without a geometry library.

The cylindrical equal-area projection (EPSG:6933) preserves areas: x is proportional to the longitude, and y to the
authalic function q of the latitude. So the area of a ring is the sum of its trapezoids in longitude and q. Projecting
every vertex with PROJ gives the same number with a larger rounding error, at seven times the cost.
"""

from __future__ import annotations

from dataclasses import dataclass
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
MEASURED = ("vertex_count", "area_km2", "min_lon", "min_lat", "max_lon", "max_lat", "west_lon", "east_lon")
NARROW = 1e-9  # degrees between polygons that touch, but for rounding
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


@dataclass(frozen=True)
class Vertices:
    """The vertices of MultiPolygons, in columns.

    Attributes
    ----------
    longitudes, latitudes : numpy.ndarray
        Of all vertices.
    ring_ends, polygon_ends, geometry_ends : numpy.ndarray
        Offsets, one more than there are: of each ring in the vertices, of each polygon in the rings, and of each
        geometry in the polygons.
    """

    longitudes: Floats
    latitudes: Floats
    ring_ends: Ints
    polygon_ends: Ints
    geometry_ends: Ints

    @property
    def vertex_ends(self) -> Ints:
        """Offsets of each geometry in the vertices."""
        ends: Ints = self.ring_ends[self.polygon_ends[self.geometry_ends]]
        return ends


def parse(wkb: pa.BinaryArray) -> Vertices:
    """Return the vertices of 2D MultiPolygons.

    Raises
    ------
    pyarrow.ArrowException
        When one is not WKB.
    """
    parsed: Any = ga.as_geoarrow(ga.wkb().wrap_array(wkb), type=MULTIPOLYGON)
    polygons = parsed.storage.values
    rings = polygons.values
    longitudes, latitudes = (rings.values.field(axis).to_numpy(zero_copy_only=True) for axis in (0, 1))
    return Vertices(longitudes, latitudes, _offsets(rings), _offsets(polygons), _offsets(parsed.storage))


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
        straight in EPSG:6933, as after projecting the vertices), the bounding box ``min_lon``, ``min_lat``,
        ``max_lon``, ``max_lat`` (degrees), and ``west_lon`` and ``east_lon``, the box's longitudes by RFC 7946: west
        is greater than east where the geometry lies on both sides of ±180°. NULL if there is no geometry.
    """
    is_null = np.asarray(wkb.is_null())
    return {name: pa.array(values, mask=is_null) for name, values in facts(parse(wkb)).items()}


def to_wkb(vertices: Vertices) -> pa.BinaryArray:
    """Return the WKB of MultiPolygons."""
    kind = MULTIPOLYGON.storage_type
    points = pa.StructArray.from_arrays(
        [pa.array(vertices.longitudes), pa.array(vertices.latitudes)],
        fields=list(kind.value_type.value_type.value_type),
    )
    rings = pa.ListArray.from_arrays(vertices.ring_ends, points, type=kind.value_type.value_type)
    polygons = pa.ListArray.from_arrays(vertices.polygon_ends, rings, type=kind.value_type)
    geometries = pa.ListArray.from_arrays(vertices.geometry_ends, polygons, type=kind)
    return ga.as_wkb(MULTIPOLYGON.wrap_array(geometries)).storage.cast(pa.binary())


def facts(vertices: Vertices) -> dict[str, npt.NDArray[Any]]:
    """Return what `measure` does, 0 where there is no geometry."""
    longitudes, latitudes, vertex_ends = vertices.longitudes, vertices.latitudes, vertices.vertex_ends
    polygon_ends, geometry_ends = vertices.polygon_ends, vertices.geometry_ends
    areas = np.abs(_ring_sums(longitudes, latitudes, vertices.ring_ends))
    is_hole = np.ones(len(areas), dtype=bool)
    is_hole[polygon_ends[:-1][np.diff(polygon_ends) > 0]] = False  # the first ring of a polygon is its shell
    areas[is_hole] *= -1
    found = {
        "vertex_count": np.diff(vertex_ends).astype(np.int64),
        "area_km2": reduced(np.add, reduced(np.add, areas, polygon_ends), geometry_ends) * SCALE,
        "min_lon": reduced(np.minimum, longitudes, vertex_ends),
        "min_lat": reduced(np.minimum, latitudes, vertex_ends),
        "max_lon": reduced(np.maximum, longitudes, vertex_ends),
        "max_lat": reduced(np.maximum, latitudes, vertex_ends),
    }
    found["west_lon"], found["east_lon"] = found["min_lon"].copy(), found["max_lon"].copy()
    for row in np.flatnonzero(found["max_lon"] - found["min_lon"] > 180):
        found["west_lon"][row], found["east_lon"][row] = _west_and_east(vertices, int(row))
    return found


def area(rings: list[Floats]) -> float:
    """Return the area of a polygon in km²: of its shell, without its holes, each as the sum of its trapezoids.

    A ring that crosses itself counts the loops that it turns the other way round as less than nothing.
    """
    points = np.concatenate(rings)
    ends = np.concatenate([[0], np.cumsum([len(ring) for ring in rings])]).astype(np.int32)
    first, *others = np.abs(_ring_sums(points[:, 0].copy(), points[:, 1].copy(), ends)) * SCALE
    return float(first - sum(others))


def _west_and_east(vertices: Vertices, row: int) -> tuple[float, float]:
    """Return the ends of the narrowest range of longitudes that holds a wide geometry."""
    first, last = vertices.geometry_ends[row : row + 2]
    ends = vertices.ring_ends[vertices.polygon_ends[first : last + 1]]
    is_filled = np.diff(ends) > 0
    return widest_gap(
        reduced(np.minimum, vertices.longitudes, ends)[is_filled],
        reduced(np.maximum, vertices.longitudes, ends)[is_filled],
    )


def widest_gap(minima: Floats, maxima: Floats) -> tuple[float, float]:
    """Return west and east of ranges of longitude: the ends of what is left without the widest gap between them.

    Parameters
    ----------
    minima, maxima : numpy.ndarray, shape (n,)
        The ranges, one for each polygon.

    Returns
    -------
    (float, float)
        West is greater than east if the widest gap lies between two ranges. If it is the one that holds the date line,
        or if there is no gap, these are the least and the greatest longitude.
    """
    order = np.argsort(minima)
    reached = np.maximum.accumulate(maxima[order])
    gaps = minima[order][1:] - reached[:-1]
    least, greatest = float(minima.min()), float(maxima.max())
    if len(gaps) == 0 or gaps.max() <= max(NARROW, 360 - (greatest - least)):
        return least, greatest
    widest = int(gaps.argmax())
    return float(minima[order][widest + 1]), float(reached[widest])


def _offsets(lists: pa.ListArray) -> Ints:
    offsets: Ints = lists.offsets.to_numpy()
    return offsets


def reduced(by: np.ufunc, values: Floats, ends: Ints) -> Floats:
    """Return the sum, or another reduction, of each range of values; 0 for an empty range."""
    found = np.zeros(len(ends) - 1)
    is_filled = np.diff(ends) > 0
    if is_filled.any():
        found[is_filled] = by.reduceat(values[: ends[-1]], ends[:-1][is_filled])  # the last range ends there, too
    return found


def _ring_sums(longitudes: Floats, latitudes: Floats, ends: Ints) -> Floats:
    """Return each ring's signed sum of trapezoids: width in degrees times the mean of q."""
    found = np.zeros(len(ends) - 1)
    is_last = np.zeros(len(longitudes), dtype=bool)  # no edge leads from a ring's last vertex to the next ring
    is_last[ends[1:] - 1] = True
    origin = authalic(np.clip(np.nan_to_num(latitudes[:1]), -90, 90))  # a nearby origin reduces the rounding error
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
        found[first:last] += reduced(np.add, trapezoids, np.append(starts, end - begin))
    return found
