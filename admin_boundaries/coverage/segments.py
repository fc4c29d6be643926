"""The borders of units, vertex by vertex, and the files that they are kept in while they are compared."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np
import shapely
from pyproj import Geod

from admin_boundaries.coverage.arrays import Hashes, Numbers, Positions, Rows, Shapes
from admin_boundaries.coverage.hashing import lines_of, mixed, numbers_of

WIDTH = 5  # of a row: longitude and latitude of one end, of the other end, and the owner
OWNER = 4
WGS84 = Geod(ellps="WGS84")
BUCKET_BITS = 7
NEAR_BITS = 9  # rows that are read together, since the next ones that are looked for will be among them
LONG_DEGREES = 0.1  # the length of a longer segment is that of the geodesic


def segments(geoms: Shapes, first_owner: int = 0) -> tuple[Numbers, Hashes]:
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
    is_segment, hashes = lines_of(points)
    is_segment[rings[1:-1] - 1] = False  # from the end of a ring to the beginning of the next
    number = np.flatnonzero(is_segment)
    owner = np.repeat(there + first_owner, shapely.get_num_coordinates(geoms[there]))
    return rows_of(points, number, owner[number]), hashes[number]


def rows_of(points: Numbers, number: Positions, owner: Positions) -> Numbers:
    """Return the segments that begin at these points, by their positions, as rows; see `segments`."""
    rows = np.empty((len(number), WIDTH))
    rows[:, :2], rows[:, 2:4], rows[:, OWNER] = points.take(number, axis=0), points.take(number + 1, axis=0), owner
    on_date_line = (np.abs(rows[:, 0]) == 180) & (np.abs(rows[:, 2]) == 180)
    if on_date_line.any():
        rows[np.ix_(on_date_line, [0, 2])] = 180
    return rows


def hashes_of(rows: Numbers) -> Hashes:
    """Return a number for each segment, alike for equal ones."""
    return mixed(numbers_of(rows[:, :2]) + numbers_of(rows[:, 2:4]))


def lengths_km(rows: Numbers) -> Numbers:
    """Return the lengths of segments on the ellipsoid, in kilometres.

    Those of up to a tenth of a degree are measured with the ellipsoid's two radii at their middle, which is right to
    1e-5 of the length; longer ones by their geodesic.
    """
    lon, lat, other_lon, other_lat = np.ascontiguousarray(rows[:, :4].T)
    across, along = other_lon - lon, other_lat - lat
    square_of_cosine = np.cos(np.radians((lat + other_lat) / 2)) ** 2
    flattened = 1 - WGS84.es * (1 - square_of_cosine)
    radius = (WGS84.a * np.radians(1)) ** 2 / flattened  # squared, of a degree, as what follows
    metres: Numbers = np.sqrt(
        across**2 * square_of_cosine * radius + along**2 * radius * ((1 - WGS84.es) / flattened) ** 2
    )
    is_long = np.maximum(np.abs(across), np.abs(along)) > LONG_DEGREES
    if is_long.any():
        metres[is_long] = WGS84.inv(*rows[is_long, :4].T)[2]
    return metres / 1000


def parted(rows: Rows, hashes: Hashes) -> tuple[Rows, Positions]:
    """Sort rows by the buckets that their numbers say, and return where those of each bucket end."""
    bucket = (hashes >> np.uint64(64 - BUCKET_BITS)).astype(np.uint8)
    rows = rows.take(np.argsort(bucket, kind="stable"), axis=0)
    return rows, np.cumsum(np.bincount(bucket, minlength=1 << BUCKET_BITS))


class Buckets:
    """Rows on disk, in buckets by the upper bits of a number: what has one number lies in one bucket.

    Parameters
    ----------
    width : int
        Numbers in a row.
    folder : Path, optional
        Of the file, which is gone once closed; by default that of the system.
    kind : type
        Of the numbers.
    """

    def __init__(self, width: int = WIDTH, folder: Path | None = None, kind: type[np.generic] = np.float64) -> None:
        self._rows = Spill(folder, width, kind)
        self._stops = [np.zeros(1 << BUCKET_BITS, np.int64)]  # of the buckets of what was put last

    def __enter__(self) -> Buckets:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._rows.__exit__(kind, error, traceback)

    def clear(self) -> None:
        """Forget all rows."""
        self._rows.clear()
        del self._stops[1:]

    def add(self, rows: Rows, hashes: Hashes) -> None:
        """Put rows into the buckets that their numbers say."""
        self.put(*parted(rows, hashes))

    def put(self, rows: Rows, stops: Positions) -> None:
        """Put rows that are `parted` into their buckets."""
        self._rows.add(rows)
        self._stops.append(self._stops[-1][-1] + stops)

    def __iter__(self) -> Iterator[Rows]:
        """Yield the rows of one bucket after the other, in the order in which they came."""
        starts = [np.concatenate([before[-1:], stops[:-1]]) for before, stops in pairwise(self._stops)]
        for parts in zip(np.transpose(starts), np.transpose(self._stops[1:]), strict=True):
            yield self._rows.parts(*parts)


class Spill:
    """Segments on disk, or other rows, in the order in which they came.

    Parameters
    ----------
    folder : Path, optional
        Of the file, which is gone once closed; by default that of the system.
    width : int
        Numbers in a row.
    kind : type
        Of the numbers.
    """

    def __init__(self, folder: Path | None = None, width: int = WIDTH, kind: type[np.generic] = np.float64) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._width, self._kind = width, kind
        self.count = 0

    def __enter__(self) -> Spill:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def clear(self) -> None:
        """Forget all rows; what follows is written over them, which is faster than into a new file."""
        self._file.seek(0)
        self.count = 0

    def add(self, rows: Rows) -> None:
        """Append rows."""
        rows.tofile(self._file)
        self.count += len(rows)

    def parts(self, starts: Iterable[int], stops: Iterable[int]) -> Rows:
        """Return the rows of some ranges, one after the other; those after the last row are left out."""
        size, file = self._width * np.dtype(self._kind).itemsize, self._file.fileno()
        parts = (
            os.pread(file, (min(stop, self.count) - start) * size, start * size)
            for start, stop in zip(starts, stops, strict=True)
        )
        return np.frombuffer(b"".join(parts), self._kind).reshape(-1, self._width)

    def around(self, number: Positions) -> tuple[Rows, Positions]:
        """Return all rows that are near the ones with these numbers, and where among them these are.

        The row after each of them is there too.
        """
        is_read = np.zeros((self.count >> NEAR_BITS) + 1, bool)
        is_read[number >> NEAR_BITS] = True
        edges = np.flatnonzero(np.diff(is_read, prepend=False, append=False))
        starts, stops = edges[::2] << NEAR_BITS, (edges[1::2] << NEAR_BITS) + 1
        before = np.cumsum(stops - starts) - (stops - starts)
        shift = np.zeros(len(is_read), np.int64)
        shift[is_read] = np.repeat(before - starts, edges[1::2] - edges[::2])
        return self.parts(starts, stops), number + shift[number >> NEAR_BITS]
