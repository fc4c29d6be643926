"""Rows in the order of a Hilbert curve over the world, so that those of one region stand together in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

BITS = 16  # of each axis: cells of 600 m at the equator
LAST = np.uint32(2**32 - 1)
GROUP_ROWS = 1024
GROUP_BYTES = 4_000_000  # of WKB
TIES = 3  # columns that decide between rows of one cell: no key of a mart has more
SOUTHWEST, SPAN = np.array([-180.0, -90.0]), np.array([360.0, 180.0])
Boxes = npt.NDArray[np.float64]


def places(boxes: Boxes) -> npt.NDArray[np.uint32]:
    """Return where on the curve the middles of boxes lie.

    Parameters
    ----------
    boxes : ndarray of float, shape (n, 4)
        West, south, east, north, in degrees; NaN for a row without a geometry.

    Returns
    -------
    ndarray of uint32, shape (n,)
        The last place for rows without a geometry, and for boxes wider than half the globe: those of units on both
        sides of the date line, any of which makes the box of its group as wide as the world.
    """
    middles = np.nan_to_num((boxes[:, :2] + boxes[:, 2:]) / 2)
    shares = (middles - SOUTHWEST) / SPAN
    x, y = np.clip(shares * 2**BITS, 0, 2**BITS - 1).astype(np.uint32).T
    found = np.zeros(len(boxes), np.uint32)
    for bit in reversed(range(BITS)):
        is_right, is_upper = (x >> bit) & 1, (y >> bit) & 1
        found += ((3 * is_right) ^ is_upper) << np.uint32(2 * bit)
        is_turned = (is_upper == 0) & (is_right == 1)
        x, y = np.where(is_turned, 2**BITS - 1 - x, x), np.where(is_turned, 2**BITS - 1 - y, y)
        x, y = np.where(is_upper == 0, y, x), np.where(is_upper == 0, x, y)
    found[~(boxes[:, 2] - boxes[:, 0] <= 180)] = LAST
    return found


class Spool:
    """Rows on their way into a file, kept in another one until all of their places are known.

    Attributes
    ----------
    boxes : ndarray of float, shape (n, 4)
        Of each row, in the order in which rows came.
    kinds : set of str
        The types of the geometries.
    """

    def __init__(self, reader: pa.RecordBatchReader, path: Path) -> None:
        """Read all rows; the last column is WKB. Memory holds a batch, and a key and a box of each row."""
        self.schema, self._path = reader.schema, path
        boxes, sizes, ties = [np.empty((0, 4))], [np.empty(0, np.int64)], []
        self.kinds: set[str] = set()
        starts = [0]
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
                wkb = batch.columns[-1]
                shapes = shapely.from_wkb(wkb.to_numpy(zero_copy_only=False))
                boxes.append(shapely.bounds(shapes))
                sizes.append(pc.fill_null(pc.binary_length(wkb), 0).to_numpy(zero_copy_only=False).astype(np.int64))
                kinds = np.unique(shapely.get_type_id(shapes))
                self.kinds |= {shapely.GeometryType(kind).name for kind in kinds if kind >= 0}
                ties.append(pa.Table.from_batches([batch]).select(list(range(min(TIES, batch.num_columns - 1)))))
                starts.append(starts[-1] + batch.num_rows)
        self.boxes, self._starts = np.concatenate(boxes), np.array(starts)
        self._sizes = np.concatenate(sizes)
        self._order = self._sorted(ties)

    def _sorted(self, ties: Sequence[pa.Table]) -> npt.NDArray[np.int64]:
        if not ties:
            return np.empty(0, np.int64)
        table = pa.concat_tables(ties).rename_columns([str(at) for at in range(ties[0].num_columns)])
        table = table.append_column("place", pa.array(places(self.boxes)))
        keys = [("place", "ascending"), *((name, "ascending") for name in table.column_names[:-1])]
        found: npt.NDArray[np.int64] = pc.sort_indices(table, sort_keys=keys).to_numpy().astype(np.int64)
        return found

    def groups(self) -> Iterator[tuple[pa.RecordBatch, Boxes]]:
        """Yield the rows in order, in groups for a file, with their boxes."""
        with pa.memory_map(str(self._path)) as mapped:
            file = pa.ipc.open_file(mapped)
            for rows in self._cut():
                numbers = np.searchsorted(self._starts, rows, side="right") - 1
                of_batch = np.argsort(numbers, kind="stable")
                cuts = np.flatnonzero(np.diff(numbers[of_batch])) + 1
                parts = [
                    file.get_batch(int(numbers[part[0]])).take(pa.array(rows[part] - self._starts[numbers[part[0]]]))
                    for part in np.split(of_batch, cuts)
                ]
                yield pa.concat_batches(parts).take(pa.array(np.argsort(of_batch))), self.boxes[rows]

    def _cut(self) -> Iterator[npt.NDArray[np.int64]]:
        first, size = 0, 0
        for at, row in enumerate(self._order):
            if at > first and (at - first == GROUP_ROWS or size + self._sizes[row] > GROUP_BYTES):
                yield self._order[first:at]
                first, size = at, 0
            size += self._sizes[row]
        if first < len(self._order):
            yield self._order[first:]


def box_column(boxes: Boxes) -> pa.Array:
    """Return boxes as a column of GeoParquet's: a struct of four numbers, NULL where there is no geometry."""
    arrays: list[Any] = [pa.array(column) for column in boxes.T]
    return pa.StructArray.from_arrays(arrays, BOX_FIELDS, mask=pa.array(np.isnan(boxes[:, 0])))


BOX_FIELDS = ("xmin", "ymin", "xmax", "ymax")
BOX_TYPE = pa.struct([pa.field(name, pa.float64()) for name in BOX_FIELDS])
