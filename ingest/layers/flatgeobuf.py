"""Look into a FlatGeobuf before GDAL does: how large its features are, and whether its header is harmless.

A header is a FlatBuffer, which leads from offset to offset. It may name its reference system by an authority and a
code, which GDAL would join to an address and ask, and its names need not be text.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ingest.errors import FormatUnknown
from ingest.sources.address import printable

MAGIC = b"fgb\x03fgb"  # and a byte for the patch level of the specification
NODE_BYTES = 40  # of the spatial index: a box and an offset
MAX_HEADER_BYTES = 10 << 20  # GDAL reads no larger one
NAME, COLUMNS, COUNT, NODE_SIZE, CRS, TITLE, DESCRIPTION, METADATA = 0, 7, 8, 9, 10, 11, 12, 13  # fields of a header
TEXTS_OF_COLUMN = (0, 2, 3, 10)  # its name, title, description and metadata
AUTHORITY, TEXTS_OF_CRS, CODE = 0, (2, 3, 4), 5
HARMLESS_AUTHORITY = re.compile(r"[A-Za-z0-9_]*")
HARMLESS_CODE = re.compile(r"[A-Za-z0-9_.-]*")


def features(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the id and the size in bytes of every feature, see `ingest.layers.discover.features`.

    Raises
    ------
    FormatUnknown
        When the file is damaged or cut off.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            sizes = np.fromiter(_sizes(content), dtype=np.int64)
        except (struct.error, ValueError) as error:
            raise _damaged(path) from error
    return np.arange(len(sizes), dtype=np.int64), sizes


def check(path: Path) -> None:
    """Read the header before GDAL does.

    Raises
    ------
    FormatUnknown
        When it is damaged, one of its names is not UTF-8, or its reference system is an address.
    """
    with path.open("rb") as file:
        head = file.read(len(MAGIC) + 5 + MAX_HEADER_BYTES)
    try:
        header = _header(head)
        system = header.table(CRS)
        for table, fields in [
            (header, (NAME, TITLE, DESCRIPTION, METADATA)),
            *((column, TEXTS_OF_COLUMN) for column in header.tables(COLUMNS)),
            *([(system, TEXTS_OF_CRS)] if system else []),
        ]:
            for number in fields:
                table.text(number)
        named = (system.text(AUTHORITY), system.text(CODE)) if system else ("", "")
    except (struct.error, ValueError) as error:
        raise _damaged(path) from error
    if not (HARMLESS_AUTHORITY.fullmatch(named[0]) and HARMLESS_CODE.fullmatch(named[1])):
        raise FormatUnknown(
            f"{printable(path.name)} links to its reference system, and links are not followed.",
            "Write it again, for example with ogr2ogr -a_srs EPSG:4326.",
        )


def _sizes(content: mmap.mmap) -> Iterator[int]:
    """Yield the size of each feature; they follow each other to the end of the file."""
    head = content[: len(MAGIC) + 5 + MAX_HEADER_BYTES]
    header = _header(head)
    count, node_size = header.number(COUNT, "<Q", 0), header.number(NODE_SIZE, "<H", 16)
    begin = len(MAGIC) + 5 + struct.unpack_from("<I", head, len(MAGIC) + 1)[0]
    begin += _index_bytes(count, node_size) if count and node_size else 0
    found = 0
    while begin < len(content):
        (size,) = struct.unpack_from("<I", content, begin)
        begin += 4 + size
        if begin > len(content) or size == 0:
            raise ValueError("cut off")
        found += 1
        yield size
    if begin != len(content) or count not in (0, found):
        raise ValueError("not as many features as the header says")


def _index_bytes(count: int, node_size: int) -> int:
    """Return the size of a packed R-tree: nodes of the features, and of the levels above them."""
    nodes = level = count
    while level > 1:
        level = -(-level // max(node_size, 2))
        nodes += level
    return nodes * NODE_BYTES if count > 1 else 2 * NODE_BYTES


def _header(head: bytes) -> _Table:
    if not head.startswith(MAGIC):
        raise ValueError("no FlatGeobuf")
    (size,) = struct.unpack_from("<I", head, len(MAGIC) + 1)
    if size > MAX_HEADER_BYTES:
        raise ValueError("header too large")
    body = head[len(MAGIC) + 5 :][:size]
    return _Table(body, struct.unpack_from("<I", body)[0])


class _Table:
    """A table of a FlatBuffer."""

    def __init__(self, body: bytes, begin: int) -> None:
        self.body, self.begin = body, begin
        self.fields = begin - struct.unpack_from("<i", body, begin)[0]
        if self.fields < 0:
            raise ValueError("outside")
        (self.fields_bytes,) = struct.unpack_from("<H", body, self.fields)

    def number(self, field: int, kind: str, default: int) -> int:
        """Return a number; a field may be left out if it has its default."""
        at = self._at(field)
        return int(struct.unpack_from(kind, self.body, at)[0]) if at else default

    def text(self, field: int) -> str:
        """Return a text; empty if it is left out."""
        at = self._target(field)
        if not at:
            return ""
        (length,) = struct.unpack_from("<I", self.body, at)
        if at + 4 + length > len(self.body):
            raise ValueError("outside")
        return self.body[at + 4 : at + 4 + length].decode("utf-8")

    def table(self, field: int) -> _Table | None:
        """Return a table; None if it is left out."""
        at = self._target(field)
        return _Table(self.body, at) if at else None

    def tables(self, field: int) -> Iterator[_Table]:
        """Yield the tables of a vector."""
        at = self._target(field)
        if not at:
            return
        (length,) = struct.unpack_from("<I", self.body, at)
        for each in range(at + 4, at + 4 + 4 * length, 4):
            yield _Table(self.body, each + struct.unpack_from("<I", self.body, each)[0])

    def _at(self, field: int) -> int:
        """Return where a field is; 0 if it is left out."""
        entry = 4 + 2 * field
        if entry + 2 > self.fields_bytes:
            return 0
        (offset,) = struct.unpack_from("<H", self.body, self.fields + entry)
        return self.begin + offset if offset else 0

    def _target(self, field: int) -> int:
        at = self._at(field)
        return at + struct.unpack_from("<I", self.body, at)[0] if at else 0


def _damaged(path: Path) -> FormatUnknown:
    return FormatUnknown(f"{printable(path.name)} is damaged or cut off.", "Download it again.")
