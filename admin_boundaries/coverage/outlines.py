"""The units of a level as vertices on disk, and the segments that two of them have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import geoarrow.pyarrow as ga
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from admin_boundaries.coverage import segments
from admin_boundaries.coverage.arrays import Flags, Hashes, Numbers, Positions
from admin_boundaries.coverage.hashing import lines_of
from admin_boundaries.coverage.parsed import parsed
from admin_boundaries.coverage.segments import Buckets, Spill, rows_of
from admin_boundaries.coverage.sorting import NUMBER, parted_words
from admin_boundaries.coverage.threads import in_threads

PIECE_BYTES = 1 << 22  # of WKB that a thread is given, besides the unit that goes beyond
BLOCK_POINTS = 1 << 18  # whose segments are hashed together; a single unit can have millions


@dataclass(frozen=True)
class Piece:
    """Some units, taken apart.

    Attributes
    ----------
    points : ndarray of float64, shape (n, 2)
        Their vertices, ring after ring.
    stops : ndarray of int64
        Where those of each unit end.
    is_segment : ndarray of bool, shape (n,)
        Whether a segment begins at a vertex.
    words : list of (ndarray of uint64, ndarray of int64)
        Upper bits of the hash of each segment, and the position of its vertex, `parted`.
    """

    points: Numbers
    stops: Positions
    is_segment: Flags
    words: list[tuple[Hashes, Positions]]


class Outlines:
    """The vertices of the units of a level: a segment has the number of the vertex that it begins at.

    Parameters
    ----------
    folder : Path, optional
        Of the files, 24 bytes for each vertex of the largest level; by default that of the system.

    Attributes
    ----------
    words : Buckets
        Upper bits of the hash of each segment, and its number.
    is_alone : ndarray of bool
        Of each vertex: whether a segment begins there that no other unit is known to have.
    """

    def __init__(self, folder: Path | None = None) -> None:
        with ExitStack() as open_until:
            self._points = open_until.enter_context(Spill(folder, width=2))
            self.words = open_until.enter_context(Buckets(1, folder, np.uint64))
            self._open_until = open_until.pop_all()

    def __enter__(self) -> Outlines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open_until.close()

    def read(self, units: Iterable[pa.Array]) -> None:
        """Put units in the place of those before.

        Parameters
        ----------
        units : iterable of Array
            Polygons as WKB; None and what is empty have no vertices.
        """
        self._points.clear()
        self.words.clear()
        stops, is_segment = [np.zeros(1, np.int64)], [np.empty(0, bool)]

        def put(piece: Piece) -> None:
            first = stops[-1][-1]
            if first + len(piece.points) > NUMBER:
                raise ValueError(f"A level of more than {NUMBER:,} vertices is too large.")
            self._points.add(piece.points)
            for words, of_buckets in piece.words:
                self.words.put(words + np.uint64(first), of_buckets)
            stops.append(piece.stops + first)
            is_segment.append(piece.is_segment)

        in_threads(piece_of, (piece for wkb in units for piece in pieces(wkb)), put)
        self._stops = np.concatenate(stops)[1:]
        self.is_alone = np.concatenate(is_segment)

    def points(self, start: int, stop: int) -> Numbers:
        """Return longitude and latitude of some vertices."""
        return self._points.parts([start], [stop])

    def rows(self, number: Positions, owner: Positions) -> Numbers:
        """Return segments as `rows_of` does."""
        points, position = self._points.around(number)
        return rows_of(points, position, owner)

    def owners(self, number: npt.NDArray[Any]) -> Positions:
        """Return the positions of the units that vertices belong to."""
        owner: Positions = np.searchsorted(self._stops, number, side="right")
        return owner


def pieces(units: pa.Array) -> Iterator[pa.BinaryArray]:
    """Cut an array of WKB by its size."""
    wkb = ga.as_wkb(units).storage
    stops = np.cumsum(pa.compute.binary_length(wkb).fill_null(0).to_numpy().astype(np.int64))
    starts = np.flatnonzero(np.diff(stops // PIECE_BYTES, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(wkb)], strict=True):
        yield wkb.slice(start, stop - start)


def piece_of(wkb: pa.BinaryArray) -> Piece:
    """Take polygons apart; see `admin_boundaries.coverage.segments.segments`."""
    units = parsed(wkb)
    points, rings = units.points, units.rings
    is_segment = np.ones(len(points), bool)
    is_segment[rings[1:] - 1] = False
    words = []
    for start in range(0, len(points) - 1, BLOCK_POINTS):
        has_length, hashes = lines_of(points[start : start + BLOCK_POINTS + 1])
        is_segment[start : start + len(hashes)] &= has_length
        number = np.flatnonzero(is_segment[start : start + len(hashes)])
        block = (hashes[number] & ~NUMBER) | (number + start).astype(np.uint64)
        words.append(parted_words(block, segments.BUCKET_BITS))
    return Piece(points, rings[units.polygons[units.units[1:]]], is_segment, words)
