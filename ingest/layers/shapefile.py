"""How many shapes and rows a shapefile holds, by its bytes: the counts in its headers are hints.

GDAL believes these counts and drops the rest without a word: a table that is cut off ends a layer early, a shape that
is cut off loses its geometry. So the three files are compared with each other before GDAL reads them.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ingest.errors import FormatUnknown
from ingest.sources import parts
from ingest.sources.address import printable

Ints = npt.NDArray[np.int64]

HEADER_BYTES = 100  # of a .shp and a .shx; words of 16 bits count lengths and offsets
DELETED, END_OF_TABLE, END_OF_COLUMNS = ord("*"), 0x1A, 0x0D
TEXT_ROWS = 1 << 14  # that are looked at at once
HINT = "Its files are damaged, or not of one shapefile; get all of them again."


@dataclass(frozen=True)
class Shapefile:
    """What a shapefile holds.

    Attributes
    ----------
    sizes : numpy.ndarray of int64
        Bytes of the geometry of each shape, including those whose row is marked as deleted.
    index : bytes or None
        The content of a right ``.shx`` if the one beside it is missing or wrong.
    table : Rows
        The rows of the ``.dbf``.
    """

    sizes: Ints
    index: bytes | None
    table: Rows

    @property
    def is_as_stated(self) -> bool:
        """Whether GDAL reads all of it."""
        return self.index is None and len(self.sizes) <= self.table.stated

    def features(self) -> tuple[Ints, Ints]:
        """Return the id and the size of every feature; a row that is marked as deleted is none."""
        fids = np.flatnonzero(~self.table.deleted(0, len(self.sizes)))
        return fids.astype(np.int64), self.sizes[fids]


def part(path: Path, suffix: str) -> Path | None:
    """Return the part of a shapefile with this suffix, in whatever letter case."""
    return next((file for each, file in parts.beside(path) if each == suffix), None)


def is_known_to_gdal(path: Path) -> bool:
    """Return whether GDAL finds all parts of a shapefile: it knows suffixes all in lower or all in upper case."""
    return all(
        any(path.with_suffix(each) == part(path, suffix) for each in (suffix, suffix.upper()))
        for suffix in {suffix for suffix, _ in parts.beside(path)}
    )


def examine(path: Path) -> Shapefile:
    """Compare shapes, index and rows of a shapefile.

    Parameters
    ----------
    path : Path
        The ``.shp``.

    Returns
    -------
    Shapefile

    Raises
    ------
    FormatUnknown
        When shapes or rows are missing, or the numbers of both differ.
    """
    table = part(path, ".dbf")
    if table is None:
        raise FormatUnknown(f"{printable(path.name)} has no .dbf beside it, which holds its attributes.", HINT)
    rows = Rows.read(table)
    offsets, sizes = _index(path)
    index = None
    if not _is_contiguous(offsets, sizes, path):
        walked = _walk(path)
        is_usable = _leads_to_shapes(offsets, sizes, path)
        if walked is not None and not (is_usable and _is_preferred(offsets, walked[0], path, rows.stated)):
            offsets, sizes = walked
            index = _index_of(path, offsets, sizes)
        elif not is_usable:
            raise FormatUnknown(f"{printable(path.name)} is cut off or damaged.", HINT)
    count, expected = len(sizes), min(rows.stated, rows.held)
    if count > rows.held or not rows.deleted(count, expected).all():
        there = f"{printable(table.name)} holds {rows.held:,} rows"
        raise FormatUnknown(f"{printable(path.name)} holds {count:,} shapes, and {there}.", HINT)
    return Shapefile(sizes, index, rows)


def texts(path: Path) -> Iterator[bytes]:
    """Yield the values of a shapefile's attributes that are not ASCII."""
    if table := part(path, ".dbf"):
        yield from Rows.read(table).texts()


@dataclass(frozen=True)
class Rows:
    """The rows of a .dbf.

    Attributes
    ----------
    path : Path
        The file.
    begin, width : int
        Where the first row begins, and the length of each, in bytes.
    stated, held : int
        Their number according to the header, and the number of complete ones.
    """

    path: Path
    begin: int
    width: int
    stated: int
    held: int

    @classmethod
    def read(cls, path: Path) -> Rows:
        """Read the header of a .dbf, and count what follows it."""
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(12)
        stated, begin, width = struct.unpack("<4xIHH", head) if len(head) == 12 else (0, 0, 0)
        if begin < 32 or width < 1 or begin > size + 1:
            raise FormatUnknown(f"{printable(path.name)} is not a dBase table.", HINT)
        held = max(size - begin, 0) // width
        rows = cls(path, begin, width, stated, held)
        if held < stated and (size - begin) % width > 1:
            raise FormatUnknown(f"{printable(path.name)} is cut off in row {held + 1:,} of {stated:,}.", HINT)
        if held > stated:  # rows that the header does not count, or bytes after the last one
            marks = rows._marks(stated, held)
            is_row = (marks == ord(" ")) | (marks == DELETED)
            held = stated + (int(np.argmin(is_row)) if not is_row.all() else len(is_row))
        return cls(path, begin, width, stated, held)

    def texts(self) -> Iterator[bytes]:
        """Yield the values in columns of text that are not ASCII."""
        columns = list(self._columns_of_text())
        for first in range(0, self.held, TEXT_ROWS):
            count = min(TEXT_ROWS, self.held - first)
            rows = np.fromfile(self.path, np.uint8, count * self.width, offset=self.begin + first * self.width)
            rows = rows.reshape(count, self.width)
            is_odd = rows >= 0x80
            for at, length in columns:
                odd = rows[is_odd[:, at : at + length].any(axis=1), at : at + length]
                yield from (value.tobytes().rstrip(b" \0") for value in odd)

    def _columns_of_text(self) -> Iterator[tuple[int, int]]:
        """Yield where in a row each column of text begins, and its length."""
        with self.path.open("rb") as file:
            head = file.read(self.begin)[32:]
        at = 1  # behind the mark of a deleted row
        for field in range(0, len(head) // 32 * 32, 32):
            if head[field] == END_OF_COLUMNS:
                return
            is_text = head[field + 11] == ord("C")
            length = head[field + 16] + (256 * head[field + 17] if is_text else 0)  # where others count decimals
            if is_text:
                yield at, length
            at += length

    def deleted(self, first: int, end: int) -> npt.NDArray[np.bool_]:
        """Return which rows of a range are marked as deleted."""
        found: npt.NDArray[np.bool_] = self._marks(first, end) == DELETED
        return found

    def _marks(self, first: int, end: int) -> npt.NDArray[np.uint8]:
        end = min(end, self.held)
        if first >= end:
            return np.empty(0, np.uint8)
        content = np.memmap(self.path, np.uint8, "r", offset=self.begin + first * self.width)
        return np.array(content[: (end - first) * self.width : self.width])


def _index(path: Path) -> tuple[Ints, Ints]:
    """Return offset and length of each shape according to the .shx, in bytes; nothing if it is missing or cut off."""
    file = part(path, ".shx")
    empty = np.empty(0, np.int64)
    if file is None or file.stat().st_size < HEADER_BYTES:
        return empty, empty
    with file.open("rb") as opened:
        stated = 2 * int.from_bytes(opened.read(28)[24:], "big")
    if stated != file.stat().st_size:
        return empty, empty
    words = np.fromfile(file, dtype=">i4", offset=HEADER_BYTES)
    words = words[: len(words) // 2 * 2].astype(np.int64) * 2
    return words[::2], words[1::2]


def _is_contiguous(offsets: Ints, sizes: Ints, path: Path) -> bool:
    """Return whether an index covers a .shp from its header to its end, as it does unless something is wrong."""
    ends = np.append(HEADER_BYTES, offsets + sizes + 8)
    return (
        bool((offsets == ends[:-1]).all()) and int(ends[-1]) == path.stat().st_size and part(path, ".shx") is not None
    )


def _leads_to_shapes(offsets: Ints, sizes: Ints, path: Path) -> bool:
    """Return whether every entry of an index leads to a shape of that length; there may be others between them."""
    if part(path, ".shx") is None or len(sizes) == 0:
        return False
    is_null = (offsets == 0) & (sizes == 0)
    offsets, sizes = offsets[~is_null], sizes[~is_null]
    size = path.stat().st_size
    if len(sizes) == 0 or (offsets < HEADER_BYTES).any() or (sizes < 4).any() or (offsets + sizes + 8 > size).any():
        return False
    return bool((2 * _words(path, offsets + 4) == sizes).all())


def _is_preferred(offsets: Ints, walked: Ints, path: Path, rows: int) -> bool:
    """Return whether an index that leads to shapes is to be believed though it leaves some out, or has another order.

    It is after an edit that moved shapes and left gaps. It is not if there are as many shapes as rows without it, or if
    the numbers of the shapes say that they are in order where they are.
    """
    if len(offsets) != rows and len(walked) == rows:
        return False
    are_in_order = bool((_words(path, walked) == np.arange(1, len(walked) + 1)).all())
    is_same_order = len(offsets) != len(walked) or bool((offsets == walked).all())
    return is_same_order or not are_in_order


def _words(path: Path, at: Ints) -> Ints:
    """Return the big-endian numbers of four bytes at these offsets."""
    content = np.memmap(path, np.uint8, "r")[at[:, None] + np.arange(4)].astype(np.int64)
    words: Ints = content @ np.array([1 << 24, 1 << 16, 1 << 8, 1])
    return words


def _walk(path: Path) -> tuple[Ints, Ints] | None:
    """Return offset and length of each shape by going from one to the next; None if the last one is cut off."""
    size = path.stat().st_size
    offsets, sizes = [], []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = HEADER_BYTES
        while at + 8 <= size:
            length = 2 * struct.unpack_from(">i", content, at + 4)[0]
            if length < 4 or at + 8 + length > size:
                return None
            offsets.append(at)
            sizes.append(length)
            at += 8 + length
    return (np.array(offsets, np.int64), np.array(sizes, np.int64)) if at == size else None


def _index_of(path: Path, offsets: Ints, sizes: Ints) -> bytes:
    """Return the content of a .shx: the header of the .shp with another length, and two words for each shape."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    length = struct.pack(">i", (HEADER_BYTES + 8 * len(sizes)) // 2)
    entries = np.stack([offsets // 2, sizes // 2], axis=1).astype(">i4")
    return head[:24] + length + head[28:] + entries.tobytes()
