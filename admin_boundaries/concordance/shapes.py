"""The areas of units, kept on disk, and how much of two units is the same.

All of it is on a cylinder on which areas are true: longitude stays, and latitude becomes its sine. So a share is one of
the area on the globe, whether the unit reaches from the equator to the pole or not.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from admin_boundaries.coverage.arrays import Flags, Numbers, Positions, Shapes
from admin_boundaries.coverage.threads import in_threads

BATCH_BYTES = 1 << 25  # of geometries that a thread compares
DECIMALS = 6  # of a share


class Areas:
    """Geometries in a file without a name, each read by its position when it is needed.

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
        The area of each unit, on the cylinder; 0 where it has none.
    """

    def __init__(self, count: int, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._start, self._bytes = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._end = 0
        self.boxes, self.sizes = np.full((count, 4), np.nan), np.zeros(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, at: Positions, geometries: pa.Array) -> None:
        """Take geometries in.

        Parameters
        ----------
        at : ndarray of int, shape (n,)
            Which units they are of.
        geometries : BinaryArray of length n
            WKB in degrees. What is null or empty is left out.
        """
        sizes = pc.fill_null(pc.binary_length(geometries), 0).to_numpy()
        for part in _parts(sizes):
            self._write(at[part], geometries.take(part))

    def _write(self, at: Positions, geometries: pa.Array) -> None:
        shapes = shapely.from_wkb(geometries.to_numpy(zero_copy_only=False))
        there = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
        at, shapes = at[there], _on_cylinder(shapes[there])
        self.boxes[at], self.sizes[at] = shapely.bounds(shapes), shapely.area(shapes)
        written = shapely.to_wkb(shapes)
        self._bytes[at] = [len(wkb) for wkb in written]
        self._start[at] = self._end + np.cumsum(self._bytes[at]) - self._bytes[at]
        self._end += sum(map(self._file.write, written))

    def flush(self) -> None:
        """Make all that was taken in readable."""
        self._file.flush()

    def read(self, at: Positions) -> Shapes:
        """Return the geometries of units."""
        file = self._file.fileno()
        return shapely.from_wkb(
            [os.pread(file, size, start) for start, size in zip(self._start[at], self._bytes[at], strict=True)]
        )

    def bytes_of(self, at: Positions) -> Positions:
        """Return how large the geometries of units are."""
        return self._bytes[at]


def _on_cylinder(shapes: Shapes) -> Shapes:
    """Return areas with the sine of their latitude, valid ones."""
    shapes = shapely.transform(shapes, lambda points: np.column_stack((points[:, 0], _sines(points[:, 1]))))
    crossed = ~shapely.is_valid(shapes)
    shapes[crossed] = shapely.make_valid(shapes[crossed], method="structure", keep_collapsed=False)
    return shapes


def _sines(latitudes: Numbers) -> Numbers:
    return np.degrees(np.sin(np.radians(latitudes)))


def can_share(ours: Areas, theirs: Areas, unit: Positions, other: Positions, share: float) -> Flags:
    """Return which pairs of units may have a share in common, each way, as far as boxes and sizes tell.

    A pair of which one has no area may not.
    """
    one, two = ours.boxes[unit], theirs.boxes[other]
    meet = (one[:, :2] <= two[:, 2:]).all(axis=1) & (two[:, :2] <= one[:, 2:]).all(axis=1)
    sizes = np.sort(np.column_stack((ours.sizes[unit], theirs.sizes[other])), axis=1)
    return np.asarray(meet & (sizes[:, 0] > 0) & (sizes[:, 0] >= share * sizes[:, 1]))


def shares(ours: Areas, theirs: Areas, unit: Positions, other: Positions) -> Numbers:
    """Measure what pairs of units have in common.

    Parameters
    ----------
    ours, theirs : Areas
        Of the units of either side.
    unit, other : ndarray of int, shape (n,)
        The pairs, by positions.

    Returns
    -------
    ndarray of float64, shape (n, 2)
        The part of the unit that lies in the other, and the part of the other that lies in the unit, from 0 to 1; not
        a number where one of the two has no area.
    """
    found = np.full((len(unit), 2), np.nan)

    def measured(pairs: Positions) -> tuple[Positions, Numbers]:
        one, two = (_read(areas, at[pairs]) for areas, at in ((ours, unit), (theirs, other)))
        return pairs, shapely.area(shapely.intersection(one, two))

    def note(result: tuple[Positions, Numbers]) -> None:
        pairs, common = result
        sizes = np.column_stack((ours.sizes[unit[pairs]], theirs.sizes[other[pairs]]))
        found[pairs] = np.round(np.clip(common[:, None] / sizes, 0, 1), DECIMALS)

    pairs = np.flatnonzero((ours.sizes[unit] > 0) & (theirs.sizes[other] > 0))
    pairs = pairs[np.argsort(unit[pairs])]
    sizes = ours.bytes_of(unit[pairs]) + theirs.bytes_of(other[pairs])
    in_threads(measured, (pairs[part] for part in _parts(sizes)), note)
    return found


def _parts(sizes: Positions) -> Iterator[Positions]:
    """Split items into such as can be in memory together, in their order, by the bytes that each needs."""
    return filter(len, np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(np.cumsum(sizes) // BATCH_BYTES)) + 1))


def _read(areas: Areas, at: Positions) -> Shapes:
    """Read each geometry once, for all pairs that it is in."""
    single, place = np.unique(at, return_inverse=True)
    return areas.read(single)[place]
