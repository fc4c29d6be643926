"""The borders of units, vertex by vertex, and the files that they are kept in while they are compared."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Geod

Numbers = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]

WIDTH = 5  # of a row: longitude and latitude of one end, of the other end, and the owner
OWNER = 4
WGS84 = Geod(ellps="WGS84")
BUCKET_BITS = 6
LONG_DEGREES = 0.1  # the length of a longer segment is that of the geodesic
FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)


def segments(geoms: npt.NDArray[np.object_], first_owner: int = 0) -> tuple[Numbers, Hashes]:
    """Take polygons apart.

    What lies on the date line is put at 180 degrees east, so that both sides of it are equal. Segments without length,
    also those at a pole, are left out.

    Parameters
    ----------
    geoms : ndarray of Polygon or MultiPolygon, shape (n,)
        In degrees. None and what is empty have no segments.
    first_owner : int
        Number of the first geometry; the others follow.

    Returns
    -------
    rows : ndarray of float64, shape (m, 5)
        Longitude and latitude of either end, and the number of the geometry that the segment belongs to.
    hashes : ndarray of uint64, shape (m,)
        Alike for equal segments, whichever way round they are drawn.
    """
    there = np.flatnonzero(~shapely.is_missing(geoms) & ~shapely.is_empty(geoms))
    if not len(there):
        return np.empty((0, WIDTH)), np.empty(0, np.uint64)
    _kind, points, (rings, *_polygons) = shapely.to_ragged_array(geoms[there])
    points = points + 0.0  # of the two zeros, one is left
    rows = np.empty((len(points) - 1, WIDTH))
    rows[:, :2], rows[:, 2:4] = points[:-1], points[1:]
    rows[:, OWNER] = np.repeat(there + first_owner, shapely.get_num_coordinates(geoms[there]))[:-1]
    is_segment = np.ones(len(rows), bool)
    is_segment[rings[1:-1] - 1] = False  # from the end of a ring to the beginning of the next
    on_date_line = np.abs(points[:, 0]) == 180
    if on_date_line.any():
        rows[np.ix_(on_date_line[:-1] & on_date_line[1:], [0, 2])] = 180
        points[on_date_line, 0] = 180
    at_ends = _of_points(points)
    is_segment &= at_ends[:-1] != at_ends[1:]
    at_pole = np.abs(points[:, 1]) == 90
    is_segment &= ~(at_pole[:-1] & at_pole[1:])
    hashes = mixed(at_ends[:-1] + at_ends[1:])
    return (rows, hashes) if is_segment.all() else (rows[is_segment], hashes[is_segment])


def hashes_of(rows: Numbers) -> Hashes:
    """Return a number for each segment, alike for equal ones."""
    return mixed(_of_points(np.ascontiguousarray(rows[:, :2])) + _of_points(np.ascontiguousarray(rows[:, 2:4])))


def _of_points(points: Numbers) -> Hashes:
    """Return a number for each point; ``points`` has two columns."""
    bits = points.view(np.uint64)
    numbers = bits[:, 0] * FACTORS[0]
    numbers ^= numbers >> np.uint64(32)
    numbers += bits[:, 1]
    return mixed(numbers)


def mixed(numbers: Hashes) -> Hashes:
    """Spread what numbers differ in over all of their bits, in place."""
    numbers *= FACTORS[1]
    numbers ^= numbers >> np.uint64(29)
    numbers *= FACTORS[0]
    numbers ^= numbers >> np.uint64(32)
    return numbers


def lengths_km(rows: Numbers) -> Numbers:
    """Return the lengths of segments on the ellipsoid, in kilometres.

    Those of up to a tenth of a degree are measured with the ellipsoid's two radii at their middle, which is right to
    1e-5 of the length; longer ones by their geodesic.
    """
    lon, lat, other_lon, other_lat = rows[:, :4].T
    middle = np.radians((lat + other_lat) / 2)
    flattened = 1 - WGS84.es * np.sin(middle) ** 2
    across = WGS84.a / np.sqrt(flattened)
    along = across * (1 - WGS84.es) / flattened
    metres: Numbers = np.hypot(
        np.radians(other_lon - lon) * across * np.cos(middle), np.radians(other_lat - lat) * along
    )
    is_long = np.maximum(np.abs(other_lon - lon), np.abs(other_lat - lat)) > LONG_DEGREES
    if is_long.any():
        metres[is_long] = WGS84.inv(*rows[is_long, :4].T)[2]
    return metres / 1000


class Buckets:
    """Rows on disk, in buckets by the upper bits of a number: what has one number lies in one bucket.

    Parameters
    ----------
    width : int
        Numbers in a row.
    folder : Path, optional
        Of the files, which are gone once closed; by default that of the system.
    """

    def __init__(self, width: int = WIDTH, folder: Path | None = None) -> None:
        self._width = width
        self._files = [tempfile.TemporaryFile(dir=folder) for _ in range(1 << BUCKET_BITS)]  # noqa: SIM115

    def __enter__(self) -> Buckets:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def add(self, rows: Numbers, hashes: Hashes) -> None:
        """Put rows into the buckets that their numbers say."""
        bucket = (hashes >> np.uint64(64 - BUCKET_BITS)).astype(np.uint8)
        sorted_rows = rows.take(np.argsort(bucket, kind="stable"), axis=0)
        stops = np.cumsum(np.bincount(bucket, minlength=len(self._files)))
        for file, start, stop in zip(self._files, [0, *stops[:-1]], stops, strict=True):
            sorted_rows[start:stop].tofile(file)

    def __iter__(self) -> Iterator[Numbers]:
        """Yield the rows of one bucket after the other."""
        for file in self._files:
            file.seek(0)
            yield np.fromfile(file).reshape(-1, self._width)


class Spill:
    """Segments on disk, in the order in which they came."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def __enter__(self) -> Spill:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, rows: Numbers) -> None:
        """Append rows."""
        rows.tofile(self._file)

    def chunks(self, rows: int = 1 << 20) -> Iterator[Numbers]:
        """Yield the rows, so many at a time."""
        self._file.seek(0)
        while len(chunk := np.fromfile(self._file, count=rows * WIDTH)):
            yield chunk.reshape(-1, WIDTH)
