"""A layer of an index: the parts of the units, or of the time zones, sorted into the cells of a grid.

A layer is a folder of flat arrays that are mapped into memory, not read: what no point needs is never loaded, and all
processes of a machine share what is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from admin_boundaries.coverage.threads import in_threads
from admin_boundaries.locate.kernels import (
    COARSE_COLUMNS,
    COARSE_ROWS,
    SIDE,
    UNIT,
    Flags,
    Floats,
    Numbers,
    Offsets,
    draw,
    mark_touched,
)
from ingest.errors import MartsReplaced

BAND = 50  # coarse rows that are drawn at once: 5°

NO_ITEMS = np.empty(0, np.int32)
NO_SETS = np.zeros(1, np.int32)


@dataclass(frozen=True)
class Layer:
    """Parts in a grid. Units are numbered in the order in which an answer lists them.

    Attributes
    ----------
    coarse : array of int32, (`COARSE_ROWS`, `COARSE_COLUMNS`)
        What each coarse cell has: the number of a set of units if that is what lies at each of its points, else -1
        minus the number of a block of fine cells. Set 0 is empty, and set ``n`` is unit ``n - 1``, as long as there are
        units; then those of several units follow.
    fine : array of int32, (blocks, `SIDE`, `SIDE`)
        What each fine cell has: likewise, or -1 minus the number of a list.
    list_starts, items : array of int32
        Where each list begins, with one more for the end of the last, and the lists: numbers of parts that touch the
        cell, and ``-1 - n`` for a unit ``n`` that covers it.
    set_starts, set_units : array of int32
        The sets of several units, likewise.
    units : array of int32
        The unit of each part.
    boxes : array of float64, (parts, 4)
        West, south, east and north of each part, in degrees.
    parts, rings : array of int64
        With which ring each part begins, and each ring with which vertex; one more for the end of the last.
    xs, ys : array of int32
        The vertices, in `UNIT`.
    vertices : array of float64, (vertices, 2)
        The same in degrees.
    ancestors : array of int32, (units, levels)
        The ancestors of each unit by level, among the units of the layer; -1 for none. Where a unit and an ancestor of
        it are found, the answer is the unit.
    """

    coarse: Numbers
    fine: Numbers
    list_starts: Numbers
    items: Numbers
    set_starts: Numbers
    set_units: Numbers
    units: Numbers
    boxes: Floats
    parts: Offsets
    rings: Offsets
    xs: Numbers
    ys: Numbers
    vertices: Floats
    ancestors: Numbers

    @property
    def searched(
        self,
    ) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers, Floats, Offsets, Offsets, Numbers, Numbers, Numbers]:
        """The arrays that the loops are given, in their order."""
        grid = self.coarse, self.fine, self.list_starts, self.items
        return *grid, self.units, self.boxes, self.parts, self.rings, self.xs, self.ys, self.ancestors

    @staticmethod
    def opened(folder: Path) -> Layer:
        """Map the arrays of a folder into memory."""
        return Layer(**{each.name: _mapped(folder / f"{each.name}.npy") for each in fields(Layer)})


def make_layer(folder: Path, keys: pa.Array, ancestors: Numbers, batches: Iterable[pa.RecordBatch]) -> None:
    """Sort parts into a grid, and write the layer.

    Parameters
    ----------
    folder : Path
        Where to write it; it exists.
    keys : array of str
        The keys of the units, in the order of their numbers.
    ancestors : array of int32, (units, levels)
        See `Layer`.
    batches : iterable of RecordBatch
        Key and WKB of each part.

    Raises
    ------
    MartsReplaced
        When a part is of a unit that is not among them.
    """
    units, ring_counts, point_counts, boxes = [], [], [], []
    with Rows(folder, "xs", np.int32) as xs, Rows(folder, "ys", np.int32) as ys, Rows(folder, "vertices") as vertices:

        def decoded(batch: pa.RecordBatch) -> _Parts:
            return _Parts.of(batch, keys)

        def take(parts: _Parts) -> None:
            units.append(parts.units)
            boxes.append(parts.boxes)
            ring_counts.append(parts.ring_counts)
            point_counts.append(parts.point_counts)
            vertices.append(parts.vertices)
            xs.append(parts.fixed[0])
            ys.append(parts.fixed[1])

        in_threads(decoded, batches, take)
    arrays = {
        "units": _joined(units, np.int32),
        "boxes": _joined(boxes, np.float64).reshape(-1, 4),
        "parts": _starts(_joined(ring_counts, np.int64)),
        "rings": _starts(_joined(point_counts, np.int64)),
        "ancestors": ancestors,
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    _sort(folder, arrays)


@dataclass(frozen=True)
class _Parts:
    """Parts of a batch, in arrays; see `Layer`."""

    units: Numbers
    boxes: Floats
    ring_counts: Offsets
    point_counts: Offsets
    vertices: Floats
    fixed: Numbers

    @staticmethod
    def of(batch: pa.RecordBatch, keys: pa.Array) -> _Parts:
        found = pc.index_in(batch.column(0), value_set=keys)
        if found.null_count:
            raise MartsReplaced("A build has replaced the marts while they were read.", "Run the command again.")
        numbers = found.to_numpy(zero_copy_only=False).astype(np.int32)
        shapes = shapely.from_wkb(batch.column(1).to_numpy(zero_copy_only=False))
        polygons, rows = shapely.get_parts(shapes, return_index=True)  # one that is cut may come in several pieces
        _, vertices, (rings, parts) = shapely.to_ragged_array(polygons)
        fixed = np.rint(vertices.T / UNIT).astype(np.int32)
        return _Parts(numbers[rows], shapely.bounds(polygons), np.diff(parts), np.diff(rings), vertices, fixed)


def _sort(folder: Path, of: dict[str, npt.NDArray[Any]]) -> None:
    """Sort parts into the cells, band by band, since there are two hundred million cells if borders are everywhere."""
    xs, ys = (_mapped(folder / f"{axis}.npy") for axis in ("xs", "ys"))
    is_touched = np.zeros((COARSE_ROWS, COARSE_COLUMNS), np.bool_)
    mark_touched(xs, ys, of["rings"], is_touched)
    coarse = np.zeros(is_touched.shape, np.int32)
    sets, blocks_before, lists_before = Sets(of["ancestors"]), 0, 0
    lengths: list[Numbers] = []
    with Rows(folder, "fine", np.int32) as fine, Rows(folder, "items", np.int32) as items:

        def drawn(first: int) -> tuple[slice, _Band]:
            band = slice(first, first + BAND)
            return band, _drawn(xs, ys, of, first * SIDE, is_touched[band])

        def take(found: tuple[slice, _Band]) -> None:
            nonlocal blocks_before, lists_before
            rows, band = found
            touched = is_touched[rows]
            cells = band.cells(sets, lists_before)
            coarse[rows] = cells[: touched.size].reshape(touched.shape)
            coarse[rows][touched] = -1 - blocks_before - np.arange(touched.sum())
            fine.append(cells[touched.size :])
            list_lengths, list_items = band.lists()
            items.append(list_items)
            lengths.append(list_lengths)
            blocks_before += int(touched.sum())
            lists_before += len(list_lengths)

        in_threads(drawn, range(0, COARSE_ROWS, BAND), take)
    set_starts, set_units = sets.arrays()
    list_starts = _starts(_joined(lengths, np.int32)).astype(np.int32)
    arrays = {"coarse": coarse, "list_starts": list_starts, "set_starts": set_starts, "set_units": set_units}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


@dataclass(frozen=True)
class _Band:
    """What there is in the cells of a band: for each, whether a part touches it, and where its items begin."""

    touches: Flags
    counts: Numbers
    starts: Numbers
    items: Numbers

    def cells(self, sets: Sets, lists_before: int) -> Numbers:
        """Return what the cells have; see `Layer.fine`."""
        cells = np.zeros(len(self.counts), np.int32)
        is_one = ~self.touches & (self.counts == 1)
        cells[is_one] = -self.items[self.starts[is_one]]  # the item of unit n is -1 - n, its set n + 1
        for count in range(2, int(self.counts[~self.touches].max(initial=0)) + 1):
            (several,) = np.nonzero(~self.touches & (self.counts == count))
            cells[several] = sets.numbers(-1 - self.items[self.starts[several, np.newaxis] + np.arange(count)])
        cells[self.touches] = -1 - lists_before - np.arange(self.touches.sum(), dtype=np.int32)
        return cells

    def lists(self) -> tuple[Numbers, Numbers]:
        """Return the lengths of the lists of the cells that are touched, and the lists."""
        lengths = self.counts[self.touches]
        begins = np.cumsum(lengths) - lengths
        kept = np.repeat(self.starts[self.touches] - begins, lengths) + np.arange(int(lengths.sum()))
        return lengths, self.items[kept]


def _drawn(xs: Numbers, ys: Numbers, of: dict[str, npt.NDArray[Any]], first_row: int, touched: Flags) -> _Band:
    """Draw the parts on a band, of which it is known which coarse cells are touched."""
    blocks = np.where(touched.ravel(), np.cumsum(touched) - 1, -1).astype(np.int32).reshape(touched.shape)
    count = touched.size + int(touched.sum()) * SIDE * SIDE
    layer = (xs, ys, of["rings"], of["parts"], of["boxes"], of["units"])

    def draw_with(touches: Flags, starts: Numbers, items: Numbers) -> Numbers:
        counts = np.zeros(count, np.int32)
        draw(*layer, first_row, blocks, np.zeros(count, np.int32), counts, touches, starts, items)
        return counts

    touches = np.zeros(count, np.bool_)
    counts = draw_with(touches, NO_ITEMS, NO_ITEMS)
    starts = np.cumsum(counts, dtype=np.int32) - counts
    items = np.empty(int(counts.sum()), np.int32)
    if len(items):
        draw_with(touches, starts, items)
    return _Band(touches, counts, starts, items)


class Rows:
    """A file of an array to which rows are appended.

    Parameters
    ----------
    folder : Path
    name : str
        Of the file, without its suffix.
    kind : dtype
    """

    def __init__(self, folder: Path, name: str, kind: type[np.generic] = np.float64) -> None:
        self._path, self._kind = folder / f"{name}.npy", np.dtype(kind)
        self._shape: tuple[int, ...] = (0,)

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        self._write_header()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Append rows, of which all have the same shape."""
        self._shape = (self._shape[0] + len(rows), *rows.shape[1:])
        np.ascontiguousarray(rows, self._kind).tofile(self._file)

    def _write_header(self) -> None:
        """Write how long the array is: the header leaves room for that to become known."""
        header = {"descr": np.lib.format.dtype_to_descr(self._kind), "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(self._file, header)


def _joined(arrays: list[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, kind)


def _starts(counts: npt.NDArray[Any]) -> Offsets:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _mapped(path: Path) -> npt.NDArray[Any]:
    return np.asarray(np.load(path, mmap_mode="r"))


class Sets:
    """Numbers of the sets of units that are found together.

    Parameters
    ----------
    ancestors : array of int32, (units, levels)
        See `Layer`.
    starts, units : array of int32
        The sets of several units that have numbers already; see `Layer`.
    """

    def __init__(self, ancestors: Numbers, starts: Numbers = NO_SETS, units: Numbers = NO_ITEMS) -> None:
        self._ancestors, self._lock = ancestors, Lock()
        self._several = [tuple(units[start:end].tolist()) for start, end in pairwise(starts.tolist())]
        self._numbers = {units: len(ancestors) + 1 + place for place, units in enumerate(self._several)}

    def __len__(self) -> int:
        return len(self._several)

    def number(self, units: Iterable[int]) -> int:
        """Return the number of the set of units at a point; one of which a finer unit is there does not count."""
        found = {int(unit) for unit in units}
        if len(found) > 1:
            found -= {int(above) for unit in found for above in self._ancestors[unit] if above != unit}
        if len(found) < 2:
            return 1 + found.pop() if found else 0
        key = tuple(sorted(found))
        with self._lock:  # threads look points up side by side
            if key not in self._numbers:
                self._several.append(key)
                self._numbers[key] = len(self._ancestors) + len(self._several)
            return self._numbers[key]

    def units(self, number: int) -> tuple[int, ...]:
        """Return the units of a set."""
        if number <= len(self._ancestors):
            return (number - 1,) if number else ()
        return self._several[number - len(self._ancestors) - 1]

    def listed(self, numbers: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """Return the first unit of each set, or -1, how many it has, and all of them, one set after another."""
        firsts, counts = numbers - 1, np.minimum(numbers, 1)
        units = firsts[firsts >= 0]
        (several,) = np.nonzero(numbers > len(self._ancestors))
        if len(several):
            sets = [self.units(number) for number in numbers[several].tolist()]
            firsts[several] = [units[0] for units in sets]
            counts[several] = [len(units) for units in sets]
            units = np.repeat(firsts, counts)
            ends = np.cumsum(counts)
            for place, found in zip(several.tolist(), sets, strict=True):
                units[ends[place] - counts[place] : ends[place]] = found
        return firsts, counts, units

    def numbers(self, rows: Numbers) -> Numbers:
        """Return the number of each row of units; most rows are like others."""
        alike = np.zeros(len(rows), np.int64)
        for column in rows.T:
            _, alike = np.unique(alike * len(self._ancestors) + column, return_inverse=True)
        _, firsts, places = np.unique(alike, return_index=True, return_inverse=True)
        return np.array([self.number(row) for row in rows[firsts].tolist()], np.int32)[places]

    def arrays(self) -> tuple[Numbers, Numbers]:
        """Return where each set of several units begins, and the units."""
        starts = np.concatenate([[0], np.cumsum([len(units) for units in self._several])]).astype(np.int32)
        return starts, np.array([unit for units in self._several for unit in units], np.int32)
