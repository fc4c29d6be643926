"""The areas of units, kept on disk, on a map on which areas are true.

All of it is on a cylinder: longitude stays, and latitude becomes the sine of its authalic latitude (EPSG:6933, in
degrees). So a part of an area is the same part of the area on the globe, whether it lies at the equator or at a pole.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from admin_boundaries.coverage.arrays import Numbers, Positions, Rows, Shapes, counted
from admin_boundaries.coverage.threads import in_threads

BATCH_BYTES = 1 << 25  # of geometries that are in memory together
E2 = 0.0066943799901413165  # of WGS 84: its eccentricity, squared
SEMI_MAJOR_AXIS_KM = 6378.137


@dataclass(frozen=True)
class _Measured:
    """Units with what is known of them, and of their polygons."""

    units: Positions
    boxes: Numbers
    sizes: Numbers
    borders: tuple[Numbers, Positions]
    of_unit: Positions
    polygon_boxes: Numbers
    polygon_sizes: Numbers
    written: Rows


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
    edge_counts : ndarray of int, shape (count,)
        Of how many edges it is made.
    units : ndarray of int, shape (m,)
        Of which unit each polygon is, once all is taken in.
    polygon_boxes, polygon_sizes : ndarray of float64, shape (m, 4) and (m,)
        On the cylinder.
    """

    def __init__(self, count: int, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._first, self._count = np.zeros(count, np.int64), np.zeros(count, np.int64)  # polygons of each unit
        self._bytes = np.zeros(count, np.int64)
        self._polygons: list[tuple[Positions, Numbers, Numbers, Positions]] = [
            (np.empty(0, np.int64), np.empty((0, 4)), np.empty(0), np.empty(0, np.int64))
        ]
        self._polygon_count = 0
        self.boxes, self.sizes = np.full((count, 4), np.nan), np.zeros(count)
        self.border_km, self.edge_counts = np.zeros(count), np.zeros(count, np.int64)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def fill(self, batches: Iterable[tuple[Positions, pa.Array]]) -> None:
        """Take geometries in, and make all of them readable.

        Parameters
        ----------
        batches : iterable of (ndarray of int, BinaryArray), each of length n
            Which units they are of, and their WKB in degrees. What is null or empty is left out.
        """
        in_threads(_measured, _parts(batches), self._write)
        self._file.flush()
        units, boxes, sizes, lengths = zip(*self._polygons, strict=True)
        self.units, self.polygon_boxes, self.polygon_sizes = map(np.concatenate, (units, boxes, sizes))
        self._polygon_bytes = np.concatenate(lengths)
        self._start = np.cumsum(self._polygon_bytes) - self._polygon_bytes

    def _write(self, batch: _Measured) -> None:
        at = batch.units
        self.boxes[at], self.sizes[at] = batch.boxes, batch.sizes
        self.border_km[at], self.edge_counts[at] = batch.borders
        lengths = np.array([len(wkb) for wkb in batch.written], np.int64)
        self._count[at] = np.bincount(batch.of_unit, minlength=len(at))
        self._first[at] = self._polygon_count + np.cumsum(self._count[at]) - self._count[at]
        self._bytes[at] = np.bincount(batch.of_unit, lengths, minlength=len(at))
        self._polygons.append((at[batch.of_unit], batch.polygon_boxes, batch.polygon_sizes, lengths))
        self._polygon_count += len(lengths)
        for wkb in batch.written:
            self._file.write(wkb)

    def read(self, at: Positions) -> Shapes:
        """Return the geometries of units; an empty one where a unit has none."""
        polygons = self.read_polygons(counted(self._first[at], self._count[at]))
        found: Shapes = np.full(len(at), shapely.MultiPolygon())
        if len(polygons):
            shapely.multipolygons(polygons, indices=np.repeat(np.arange(len(at)), self._count[at]), out=found)
        return found

    def read_polygons(self, at: Positions) -> Shapes:
        """Return polygons."""
        file = self._file.fileno()
        found: Shapes = shapely.from_wkb(
            [os.pread(file, size, start) for start, size in zip(self._start[at], self._polygon_bytes[at], strict=True)]
        )
        return found

    def bytes_of(self, at: Positions) -> Positions:
        """Return how large the geometries of units are."""
        return self._bytes[at]

    def bytes_of_polygons(self, at: Positions) -> Positions:
        """Return how large polygons are."""
        return self._polygon_bytes[at]


def _parts(batches: Iterable[tuple[Positions, pa.Array]]) -> Iterator[tuple[Positions, pa.Array]]:
    """Split batches into such as can be in memory together."""
    for at, geometries in batches:
        for part in parts_of(pc.fill_null(pc.binary_length(geometries), 0).to_numpy()):
            yield at[part], geometries.take(part)


def _measured(batch: tuple[Positions, pa.Array]) -> _Measured:
    at, geometries = batch
    shapes = shapely.from_wkb(geometries.to_numpy(zero_copy_only=False))
    there = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    at, shapes = at[there], _on_cylinder(shapes[there])
    polygons, of_unit = shapely.get_parts(shapes, return_index=True)
    return _Measured(
        at,
        shapely.bounds(shapes),
        shapely.area(shapes),
        borders_of(shapes),
        of_unit,
        shapely.bounds(polygons),
        shapely.area(polygons),
        shapely.to_wkb(polygons),
    )


def _on_cylinder(shapes: Shapes) -> Shapes:
    """Return areas with the sine of their latitude, valid ones."""
    shapes = shapely.transform(shapes, lambda points: np.column_stack((points[:, 0], _sines(points[:, 1]))))
    crossed = ~shapely.is_valid(shapes)
    shapes[crossed] = shapely.make_valid(shapes[crossed], method="structure", keep_collapsed=False)
    return shapes


def _q(latitudes: Numbers | float) -> Numbers:
    """Return the authalic function of latitudes in degrees (Snyder, *Map Projections*, 1987, equation 3-12)."""
    sines, e = np.sin(np.radians(latitudes)), np.sqrt(E2)
    return np.asarray((1 - E2) * (sines / (1 - E2 * sines**2) + np.arctanh(e * sines) / e))


def _sines(latitudes: Numbers) -> Numbers:
    return np.degrees(_q(latitudes) / _q(90.0))


KM2 = float(SEMI_MAJOR_AXIS_KM**2 / 2 * _q(90.0) * (np.pi / 180) ** 2)  # of a square degree of the cylinder
KM = float(np.sqrt(KM2))  # of a degree of the cylinder, at the equator


def borders_of(shapes: Shapes) -> tuple[Numbers, Positions]:
    """Return how long the borders of shapes on the cylinder are, and of how many edges they are made.

    Parameters
    ----------
    shapes : ndarray of Polygon or MultiPolygon, shape (n,)

    Returns
    -------
    (ndarray of float64, ndarray of int), each of shape (n,)
        Kilometres on the globe, and edges.
    """
    parts, of_shape = shapely.get_parts(shapes, return_index=True)
    rings, of_part = shapely.get_rings(parts, return_index=True)
    points, of_ring = shapely.get_coordinates(rings, return_index=True)
    is_edge = of_ring[1:] == of_ring[:-1]
    edges = np.diff(points, axis=0)
    # a degree of longitude shrinks with latitude, and one of the cylinder's height grows
    cosines = np.sqrt(np.maximum(1 - np.radians((points[1:, 1] + points[:-1, 1]) / 2) ** 2, 1e-6))
    lengths = np.hypot(edges[:, 0] * cosines, edges[:, 1] / cosines) * KM
    of_edge = of_shape[of_part[of_ring[1:]]][is_edge]
    borders: Numbers = np.bincount(of_edge, lengths[is_edge], minlength=len(shapes)).astype(np.float64)
    return borders, np.bincount(of_edge, minlength=len(shapes)).astype(np.int64)


def parts_of(sizes: Positions) -> Iterator[Positions]:
    """Split items into such as can be in memory together, in their order, by the bytes that each needs."""
    return filter(len, np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(np.cumsum(sizes) // BATCH_BYTES)) + 1))


def read_once(read: Callable[[Positions], Shapes], at: Positions) -> Shapes:
    """Return geometries of which some may be wanted repeatedly; each is read once."""
    single, place = np.unique(at, return_inverse=True)
    return read(single)[place]
