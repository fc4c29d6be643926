"""The areas of units, kept on disk, on a map on which areas are true.

All of it is on a cylinder: longitude stays, and latitude becomes the sine of its authalic latitude (EPSG:6933, in
degrees). So a part of an area is the same part of the area on the globe, whether it lies at the equator or at a pole.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from admin_boundaries.coverage.arrays import Flags, Numbers, Positions, Shapes, counted
from admin_boundaries.coverage.threads import in_threads

BATCH_BYTES = 1 << 23  # of geometries that are in memory together
PARTS_AHEAD = 8  # of `parts_of`, for threads that read them themselves: until then they are a few numbers
BYTES_OF_POINT = 16
BLOCK = 1 << 15  # points that are measured together: as many as a processor keeps at hand
E2 = 0.0066943799901413165  # of WGS 84: its eccentricity, squared
SEMI_MAJOR_AXIS_KM = 6378.137
MUCH = 1 << 26  # bytes of geometries, from which it pays to have loops of our own compiled, which takes half a minute

Batch = tuple[Positions, pa.Array]  # which units geometries are of, and their WKB


@dataclass(frozen=True)
class _Polygons:
    """Polygons as numbers.

    Attributes
    ----------
    points : ndarray of float64, shape (n, 2)
        Of their rings, one after the other.
    ring_sizes : ndarray of int
        Of how many points each ring is.
    counts : ndarray of int
        Of how many rings each polygon is.
    """

    points: Numbers
    ring_sizes: Positions
    counts: Positions

    @classmethod
    def of(cls, polygons: Shapes) -> Self:
        """Return the numbers of polygons."""
        rings, of_polygon = shapely.get_rings(polygons, return_index=True)
        counts = np.bincount(of_polygon, minlength=len(polygons))
        return cls(shapely.get_coordinates(rings), shapely.get_num_coordinates(rings).astype(np.int64), counts)

    def ragged(self) -> tuple[Numbers, Positions, Positions]:
        """Return the points, where each ring begins among them, and where each polygon does among the rings."""
        rings, polygons = (np.append(0, np.cumsum(sizes)) for sizes in (self.ring_sizes, self.counts))
        return self.points, rings, polygons

    def move_onto_cylinder(self) -> None:
        """Put the sine of the authalic latitude in the place of each latitude."""
        self.points[:, 1] = _sines(self.points[:, 1])

    def where(self, kept: Flags) -> Self:
        """Return some of them."""
        rings = np.repeat(kept, self.counts)
        points = np.repeat(rings, self.ring_sizes)
        return type(self)(self.points[points], self.ring_sizes[rings], self.counts[kept])

    def shapes(self) -> Shapes:
        """Return the polygons."""
        points, *ends = self.ragged()
        found: Shapes = shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, tuple(ends))
        return found

    def borders(self) -> Numbers:
        """Return how long the border of each polygon on the cylinder is in kilometres, and of how many edges."""
        if not len(self.points):
            return np.zeros((0, 2))
        ends = np.cumsum(self.ring_sizes)
        lengths = _lengths(self.points)
        lengths[ends - 1] = 0
        of_rings = np.add.reduceat(lengths, ends - self.ring_sizes), self.ring_sizes - 1
        of_polygon = np.repeat(np.arange(len(self.counts)), self.counts)
        return np.column_stack([np.bincount(of_polygon, each, minlength=len(self.counts)) for each in of_rings])


@dataclass(frozen=True)
class _Measured:
    """Units with what is known of them, and of their polygons."""

    units: Positions
    boxes: Numbers
    sizes: Numbers
    of_unit: Positions
    polygons: _Polygons
    polygon_boxes: Numbers
    polygon_sizes: Numbers
    polygon_borders: Numbers


class Areas:
    """Geometries in a file without a name, polygon by polygon, each read by its position when it is needed.

    Parameters
    ----------
    count : int
        Of the units.
    folder : Path, optional
        Of the file; by default that of the system.

    Attributes
    ----------
    boxes : ndarray of float64, shape (count, 4)
        On the cylinder; not a number where a unit has no area.
    sizes : ndarray of float64, shape (count,)
        The area of each unit, on the cylinder; 0 where it has none. Times `KM2`, it is in square kilometres.
    border_km : ndarray of float64, shape (count,)
        How long the border of each unit is, in kilometres.
    edge_counts : ndarray of float64, shape (count,)
        Of how many edges it is made.
    units : ndarray of int, shape (m,)
        Of which unit each polygon is, once all is taken in.
    polygon_boxes, polygon_sizes : ndarray of float64, shape (m, 4) and (m,)
        On the cylinder.
    polygon_borders : ndarray of float64, shape (m, 2)
        How long the border of each polygon is in kilometres, and of how many edges it is made.
    """

    def __init__(self, count: int, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self.boxes, self.sizes = np.full((count, 4), np.nan), np.zeros(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def fill(self, batches: Iterable[Batch], before: int = 0) -> None:
        """Take geometries in, and make all of them readable.

        Parameters
        ----------
        batches : iterable of (ndarray of int, BinaryArray), each of length n
            Which units they are of, and their WKB in degrees. What is null or empty is left out.
        before : int
            How many bytes of others were measured before these.
        """
        found = [_measured((np.empty(0, np.int64), pa.array([], pa.binary())))]

        def note(measured: list[_Measured]) -> None:
            found.extend(self._write(each) for each in measured)

        in_threads(_measured_by_amount, _with_amount(_parts(batches), before), note)
        self._file.flush()
        self.units = np.concatenate([batch.units[batch.of_unit] for batch in found])
        self.polygon_boxes = np.concatenate([batch.polygon_boxes for batch in found])
        self.polygon_sizes = np.concatenate([batch.polygon_sizes for batch in found])
        self.polygon_borders = np.concatenate([batch.polygon_borders for batch in found])
        self._ring_sizes = np.concatenate([batch.polygons.ring_sizes for batch in found])
        self._ring_counts = np.concatenate([batch.polygons.counts for batch in found])
        self._first_ring = np.cumsum(self._ring_counts) - self._ring_counts
        ends = np.append(0, np.cumsum(self._ring_sizes)) * BYTES_OF_POINT
        self._start = ends[self._first_ring]
        self._bytes = ends[self._first_ring + self._ring_counts] - self._start
        count = len(self.sizes)
        self._count = np.bincount(self.units, minlength=count)
        self._bytes_of_units = np.bincount(self.units, self._bytes, minlength=count).astype(np.int64)
        self._first = np.zeros(count, np.int64)
        self._first[self.units[::-1]] = np.arange(len(self.units))[::-1]
        self.border_km, self.edge_counts = (
            np.bincount(self.units, values, minlength=count).astype(np.float64) for values in self.polygon_borders.T
        )

    def _write(self, batch: _Measured) -> _Measured:
        """Write the points to the file, and return all the rest."""
        self.boxes[batch.units], self.sizes[batch.units] = batch.boxes, batch.sizes
        self._file.write(batch.polygons.points.data)
        return replace(batch, polygons=replace(batch.polygons, points=np.empty((0, 2))))

    def read(self, at: Positions) -> Shapes:
        """Return the geometries of units; an empty one where a unit has none."""
        polygons = self.read_polygons(counted(self._first[at], self._count[at]))
        return _joined(polygons, np.repeat(np.arange(len(at)), self._count[at]), len(at))

    def read_polygons(self, at: Positions) -> Shapes:
        """Return polygons."""
        return self._read(at).shapes()

    def read_rings(self, at: Positions) -> tuple[Numbers, Positions, Positions]:
        """Return the points of polygons' rings, where each ring begins, and where the rings of each polygon do.

        Both of the latter have the end at the end. The first ring of a polygon is its shell.
        """
        return self._read(at).ragged()

    def _read(self, at: Positions) -> _Polygons:
        file = self._file.fileno()
        parts = [os.pread(file, size, start) for start, size in zip(self._start[at], self._bytes[at], strict=True)]
        rings = self._ring_sizes[counted(self._first_ring[at], self._ring_counts[at])]
        return _Polygons(np.frombuffer(b"".join(parts)).reshape(-1, 2), rings, self._ring_counts[at])

    def bytes_of(self, at: Positions) -> Positions:
        """Return how large the geometries of units are."""
        found: Positions = self._bytes_of_units[at]
        return found

    @property
    def total_bytes(self) -> int:
        """How large all polygons are together."""
        return int(self._bytes.sum())

    def bytes_of_polygons(self, at: Positions) -> Positions:
        """Return how large polygons are."""
        found: Positions = self._bytes[at]
        return found


def _parts(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Split batches into such as can be in memory together."""
    for at, geometries in batches:
        for part in parts_of(pc.fill_null(pc.binary_length(geometries), 0).to_numpy()):
            yield at[part], geometries.slice(part[0], len(part))


def _with_amount(parts: Iterable[Batch], size: int) -> Iterator[tuple[Batch, bool]]:
    """Yield with each part whether there are so many that it pays to have loops of our own compiled."""
    for at, geometries in parts:
        size += geometries.nbytes
        yield (at, geometries), size > MUCH


def _measured_by_amount(item: tuple[Batch, bool]) -> list[_Measured]:
    batch, is_much = item
    return _measured_by_loops(batch) if is_much else [_measured(batch)]


def _measured_by_loops(batch: Batch) -> list[_Measured]:
    """Return what `_measured` does, in loops of our own; areas that are not valid for certain there, GEOS measures."""
    from admin_boundaries import areas_kernels as kernels

    at, geometries = batch
    data, starts = _bytes_of(geometries)
    count, ring_count, point_count = kernels.counted_in(data, starts)
    if count < 0:
        return [_measured(batch)]
    polygons = _Polygons(np.empty((point_count, 2)), np.empty(ring_count, np.int64), np.empty(count, np.int64))
    of_row = np.empty(count, np.int64)
    kernels.read_into(
        data, starts, of_row, polygons.counts, polygons.ring_sizes, polygons.points.reshape(-1).view(np.uint8)
    )
    polygons.move_onto_cylinder()
    rows, firsts = np.unique(of_row, return_index=True)
    is_valid = kernels.are_valid(*polygons.ragged(), np.append(firsts, count))
    found = []
    if not is_valid.all():
        left = rows[~is_valid]
        found.append(_measured((at[left], geometries.take(pa.array(left)))))
        is_kept = np.repeat(is_valid, np.diff(np.append(firsts, count)))
        rows, of_row, polygons = rows[is_valid], of_row[is_kept], polygons.where(is_kept)
    return [*found, _measured_valid(at[rows], np.searchsorted(rows, of_row), polygons)]


def _measured_valid(at: Positions, of_unit: Positions, polygons: _Polygons) -> _Measured:
    """Return what is known of valid areas, by their polygons, of which each unit has at least one."""
    from admin_boundaries import areas_kernels as kernels

    count = len(of_unit)
    boxes, sizes, borders = np.empty((count, 4)), np.empty(count), np.empty((count, 2))
    kernels.measure(*polygons.ragged(), boxes, sizes, borders)
    borders[:, 0] *= KM
    firsts = np.searchsorted(of_unit, np.arange(len(at)))
    around = np.zeros((0, 4))
    if len(at):
        around = np.hstack((np.minimum.reduceat(boxes[:, :2], firsts), np.maximum.reduceat(boxes[:, 2:], firsts)))
    of_units = np.bincount(of_unit, sizes, len(at)).astype(np.float64)
    return _Measured(at, around, of_units, of_unit, polygons, boxes, sizes, borders)


def _bytes_of(geometries: pa.Array) -> tuple[npt.NDArray[np.uint8], Positions]:
    """Return the bytes of values one after the other, and where each begins, with the end at the end."""
    filled = pc.fill_null(geometries, b"")
    _, ends, data = filled.buffers()
    width = np.int64 if filled.type == pa.large_binary() else np.int32
    starts = np.frombuffer(ends, width)[filled.offset : filled.offset + len(filled) + 1]
    return np.frombuffer(data or b"", np.uint8), starts.astype(np.int64)


def _measured(batch: Batch) -> _Measured:
    at, geometries = batch
    shapes = shapely.from_wkb(geometries.to_numpy(zero_copy_only=False))
    there = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    shapes, polygons, of_unit = _on_cylinder(shapes[there])
    alone = polygons.shapes()
    return _Measured(
        at[there],
        shapely.bounds(shapes),
        shapely.area(shapes),
        of_unit,
        polygons,
        shapely.bounds(alone),
        shapely.area(alone),
        polygons.borders(),
    )


def _on_cylinder(shapes: Shapes) -> tuple[Shapes, _Polygons, Positions]:
    """Return areas with the sine of their latitude, valid ones; and their polygons, and of which each is."""
    parts, of_shape = shapely.get_parts(shapes, return_index=True)
    polygons = _Polygons.of(parts)
    polygons.move_onto_cylinder()
    shapes = _joined(polygons.shapes(), of_shape, len(shapes))
    crossed = ~shapely.is_valid(shapes)
    if crossed.any():
        shapes[crossed] = shapely.make_valid(shapes[crossed], method="structure", keep_collapsed=False)
        parts, of_shape = shapely.get_parts(shapes, return_index=True)
        polygons = _Polygons.of(parts)
    return shapes, polygons, of_shape


def _joined(polygons: Shapes, of: Positions, count: int) -> Shapes:
    """Return areas made of polygons; an empty one where there are none."""
    found: Shapes = np.full(count, shapely.MultiPolygon())
    if len(polygons):
        shapely.multipolygons(polygons, indices=of, out=found)
    return found


def _q(latitudes: Numbers | float) -> Numbers:
    """Return the authalic function of latitudes in degrees (Snyder, *Map Projections*, 1987, equation 3-12)."""
    sines, e = np.sin(np.radians(latitudes)), np.sqrt(E2)
    return np.asarray((1 - E2) * (sines / (1 - E2 * sines**2) + np.arctanh(e * sines) / e))


def _sines(latitudes: Numbers) -> Numbers:
    return np.degrees(_q(latitudes) / _q(90.0))


KM2 = float(SEMI_MAJOR_AXIS_KM**2 / 2 * _q(90.0) * (np.pi / 180) ** 2)  # of a square degree of the cylinder
KM = float(np.sqrt(KM2))  # of a degree of the cylinder, at the equator


def _lengths(points: Numbers) -> Numbers:
    """Return how far each of some points on the cylinder is from the next one, in kilometres; 0 for the last."""
    found = np.zeros(len(points))
    for start in range(0, len(points) - 1, BLOCK):
        x, y = points[start : start + BLOCK + 1].T
        # a degree of longitude shrinks with latitude, and one of the cylinder's height grows
        cosines2 = np.maximum(1 - ((y[1:] + y[:-1]) * (np.pi / 360)) ** 2, 1e-6)
        found[start : start + len(x) - 1] = np.sqrt(np.diff(x) ** 2 * cosines2 + np.diff(y) ** 2 / cosines2)
    return found * KM


def borders_of(polygons: Shapes) -> tuple[Numbers, Numbers]:
    """Return how long the borders of polygons on the cylinder are, and of how many edges they are made.

    Parameters
    ----------
    polygons : ndarray of Polygon, shape (n,)

    Returns
    -------
    (ndarray of float64, ndarray of float64), each of shape (n,)
        Kilometres on the globe, and edges.
    """
    lengths, counts = _Polygons.of(polygons).borders().T
    return lengths, counts


def parts_of(sizes: Positions) -> Iterator[Positions]:
    """Split items into such as can be in memory together, in their order, by the bytes that each needs."""
    return filter(len, np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(np.cumsum(sizes) // BATCH_BYTES)) + 1))


def read_once(read: Callable[[Positions], Shapes], at: Positions) -> Shapes:
    """Return geometries of which some may be wanted repeatedly; each is read once."""
    single, place = np.unique(at, return_inverse=True)
    return read(single)[place]
