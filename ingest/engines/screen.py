"""Tell plain geometries from odd ones, before a geometry library that fails on a whole batch sees them.

Plain is what may be published once its validity is known: a 2D Polygon or MultiPolygon whose rings are closed and which
lies on the globe. This is decided for a batch at a time, from the same parsed vertices that are measured; a row reaches
Python only if it is odd. Both engines use it, so both take the same rows for odd.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyproj
from geoarrow.c.lib import GeoArrowCException

from ingest.engines import measures
from ingest.engines.measures import Ints, Vertices

POLYGON = np.frombuffer(bytes.fromhex("0103000000"), np.uint8)  # little-endian WKB headers in two dimensions
MULTIPOLYGON = np.frombuffer(bytes.fromhex("0106000000"), np.uint8)
POINT = np.frombuffer(bytes.fromhex("0101000000"), np.uint8)
POINT_BYTES = 21
MULTIPOLYGON_OF_ONE = bytes.fromhex("010600000001000000")
LEAP = 340  # degrees of longitude; a longer edge is a short one that was written across the date line
FAR = 90  # degrees of longitude; an edge of a projection that turns further may pass by a pole on either side
ROUNDING = 1e-9  # degrees by which a reference system may miss the date line or a pole

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Screened:
    """A batch of geometries, plain ones apart from odd ones.

    Attributes
    ----------
    plain : pyarrow.BinaryArray, shape (n,)
        2D MultiPolygons, EPSG:4326, degrees; NULL where the geometry is odd or missing.
    odd : pyarrow.BinaryArray, shape (n,)
        The odd ones as they were read; NULL where the geometry is plain or missing.
    facts : dict of str to pyarrow.Array
        What `ingest.engines.measures.measure` says of the plain ones.
    """

    plain: pa.BinaryArray
    odd: pa.BinaryArray
    facts: dict[str, pa.Array]


def screen(wkb: pa.BinaryArray, to_degrees: pyproj.Transformer | None = None) -> Screened:
    """Tell plain geometries from odd ones.

    Parameters
    ----------
    wkb : pyarrow.BinaryArray, shape (n,)
        Anything.
    to_degrees : pyproj.Transformer, optional
        Transformation of the coordinates, if they are not in EPSG:4326.
    """
    original = wkb
    is_single, is_multiple = _kinds(wkb)
    is_plain = is_single | is_multiple
    wkb = _kept(wkb, is_plain)
    if is_single.any():
        wkb = pc.if_else(pa.array(is_single), pc.binary_join_element_wise(MULTIPOLYGON_OF_ONE, wkb, b""), wkb)
    try:
        vertices = measures.parse(wkb)
    except GeoArrowCException:  # it does not say of which geometry
        is_plain &= np.array([_is_readable(wkb.slice(row, 1)) for row in range(len(wkb))], dtype=bool)
        wkb = _kept(wkb, is_plain)
        vertices = measures.parse(wkb)
    is_plain &= _is_whole(wkb, vertices)
    with np.errstate(all="ignore"):  # coordinates may be anything
        if to_degrees:
            vertices = _transformed(vertices, to_degrees)
        found = measures.facts(vertices)
        is_plain &= _is_on_globe(vertices, found, ROUNDING if to_degrees else 0)
    if to_degrees:
        wkb = measures.to_wkb(vertices)
    plain = _kept(wkb, is_plain)
    return Screened(
        plain=plain,
        odd=_kept(original, ~is_plain),
        facts={name: pa.array(values, mask=~is_plain) for name, values in found.items()},
    )


def points(
    wkb: pa.BinaryArray, to_degrees: pyproj.Transformer | None = None
) -> tuple[Flags, measures.Floats, measures.Floats]:
    """Find the points among geometries: plain ones, in two dimensions and on the globe.

    Returns
    -------
    (numpy.ndarray, numpy.ndarray, numpy.ndarray)
        Which of the n geometries are points; longitude and latitude of these.
    """
    starts, ends, content = _buffers(wkb)
    is_point: Flags = np.asarray(wkb.is_valid()) & (ends - starts == POINT_BYTES)
    found = content[starts[is_point][:, None] + np.arange(POINT_BYTES)]
    longitudes, latitudes = np.ascontiguousarray(found[:, len(POINT) :]).view("<f8").reshape(-1, 2).T
    if to_degrees:
        longitudes, latitudes = to_degrees.transform(longitudes, latitudes)
    is_plain = (found[:, : len(POINT)] == POINT).all(axis=1)
    is_plain &= (np.abs(longitudes) <= 180) & (np.abs(latitudes) <= 90)  # False for NaN
    is_point[is_point] = is_plain
    return is_point, longitudes[is_plain], latitudes[is_plain]


def _kept(wkb: pa.BinaryArray, is_kept: Flags) -> pa.BinaryArray:
    """Return geometries, NULL instead of those that are not kept; without a copy where all are, or none is."""
    if (is_kept | np.asarray(wkb.is_null())).all():
        return wkb
    return pc.if_else(pa.array(is_kept), wkb, None) if is_kept.any() else pa.nulls(len(wkb), pa.binary())


def _kinds(wkb: pa.BinaryArray) -> tuple[Flags, Flags]:
    """Return which geometries have the header of a plain Polygon, and which that of a plain MultiPolygon."""
    starts, ends, content = _buffers(wkb)
    is_long = np.asarray(wkb.is_valid()) & (ends - starts >= len(MULTIPOLYGON_OF_ONE))
    headers = np.zeros((len(wkb), len(POLYGON)), np.uint8)
    headers[is_long] = content[starts[is_long][:, None] + np.arange(len(POLYGON))]
    return (headers == POLYGON).all(axis=1), (headers == MULTIPOLYGON).all(axis=1)


def _buffers(wkb: pa.BinaryArray) -> tuple[Ints, Ints, npt.NDArray[np.uint8]]:
    """Return where each geometry begins and ends in the bytes of all."""
    _, offsets, content = wkb.buffers()
    limits = np.frombuffer(offsets, np.int32)[wkb.offset : wkb.offset + len(wkb) + 1]
    return limits[:-1], limits[1:], np.frombuffer(content or b"", np.uint8)


def _is_readable(wkb: pa.BinaryArray) -> bool:
    try:
        measures.parse(wkb)
    except GeoArrowCException:
        return False
    return True


def _is_whole(wkb: pa.BinaryArray, vertices: Vertices) -> Flags:
    """Return which geometries have polygons only, all of whose rings are closed.

    geoarrow reads other geometries within a MultiPolygon as if they were polygons, but these have other headers.
    """
    ring_ends, polygon_ends, geometry_ends = vertices.ring_ends, vertices.polygon_ends, vertices.geometry_ends
    points = np.diff(ring_ends)
    is_good_ring = points >= 4
    first, last = ring_ends[:-1][is_good_ring], ring_ends[1:][is_good_ring] - 1
    is_good_ring[is_good_ring] = (vertices.longitudes[first] == vertices.longitudes[last]) & (
        vertices.latitudes[first] == vertices.latitudes[last]
    )
    sizes = 9 + np.diff(_sums(4 + 16 * points.astype(np.int64))[polygon_ends])  # of each polygon in bytes
    starts, ends, content = _buffers(wkb)
    size_sums = _sums(sizes)[geometry_ends]
    is_whole = (np.diff(vertices.vertex_ends) > 0) & (9 + np.diff(size_sums) == ends - starts)
    if is_whole.all():
        part_starts = np.repeat(starts + 9 - size_sums[:-1], np.diff(geometry_ends)) + _sums(sizes)[:-1]
        is_good_part = (content[part_starts[:, None] + np.arange(len(POLYGON))] == POLYGON).all(axis=1)
    else:  # the places of parts are only known within geometries that are whole
        is_good_part = np.zeros(len(sizes), dtype=bool)
        within = np.repeat(is_whole, np.diff(geometry_ends))
        part_starts = (np.repeat(starts + 9 - size_sums[:-1], np.diff(geometry_ends)) + _sums(sizes)[:-1])[within]
        is_good_part[within] = (content[part_starts[:, None] + np.arange(len(POLYGON))] == POLYGON).all(axis=1)
    bad = _sums(~is_good_ring)[polygon_ends[geometry_ends]] + _sums(~is_good_part)[geometry_ends]
    result: Flags = is_whole & (np.diff(bad) == 0)
    return result


def _sums(values: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Return running sums, beginning with 0."""
    return np.concatenate([[0], np.cumsum(values, dtype=np.int64)])


def _is_on_globe(vertices: Vertices, found: dict[str, npt.NDArray[np.float64]], rounding: float) -> Flags:
    """Return which geometries lie between ±180 and ±90, and do not lie across the date line.

    After a transformation, whatever is wide or touches the edge of the globe counts as across: its edges may lead the
    other way round.
    """
    lon, lat = 180 - rounding, 90 - rounding
    west, east, south, north = (found[name] for name in ("min_lon", "max_lon", "min_lat", "max_lat"))
    is_within: Flags = (west >= -lon) & (east <= lon) & (south >= -lat) & (north <= lat)  # False for NaN
    if rounding:
        is_near: Flags = is_within & (east - west <= FAR)
        return is_near
    for row in np.flatnonzero(is_within & (east - west > LEAP)):
        first, last = vertices.vertex_ends[row : row + 2]
        rings = vertices.polygon_ends[vertices.geometry_ends[row : row + 2]]
        is_within[row] = not has_leap(
            vertices.longitudes[first:last],
            vertices.latitudes[first:last],
            vertices.ring_ends[rings[0] + 1 : rings[1]] - first,
        )
    return is_within


def has_leap(longitudes: measures.Floats, latitudes: measures.Floats, ends: Ints) -> bool:
    """Return whether an edge goes nearly round the globe: it means the shorter way, across the date line.

    Edges of 360° and along a pole are as long as they say: they close a shape that goes round the globe.

    Parameters
    ----------
    longitudes, latitudes : numpy.ndarray
        Vertices of rings.
    ends : numpy.ndarray
        Where a ring ends and the next begins.
    """
    is_long = np.abs(np.diff(longitudes)) > LEAP
    is_long[ends - 1] = False
    at = np.flatnonzero(is_long)
    is_frame = np.abs(longitudes[at + 1] - longitudes[at]) >= 360
    is_pole = (np.abs(latitudes[at]) == 90) & (np.abs(latitudes[at + 1]) == 90)
    return bool((~is_frame & ~is_pole).any())


def _transformed(vertices: Vertices, to_degrees: pyproj.Transformer) -> Vertices:
    longitudes, latitudes = to_degrees.transform(vertices.longitudes, vertices.latitudes)
    return Vertices(longitudes, latitudes, vertices.ring_ends, vertices.polygon_ends, vertices.geometry_ends)
