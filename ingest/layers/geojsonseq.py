"""How many records a GeoJSON text sequence holds, and how large they are: GDAL leaves out those that it cannot read."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ingest.sources import parts

SEPARATOR = b"\x1e"  # before each record, by RFC 8142; without any, each line is a record


def sizes(path: Path) -> npt.NDArray[np.int64]:
    """Return the bytes of every record that is not blank."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return np.fromiter(_sizes(text, SEPARATOR if is_separated(text) else b"\n"), dtype=np.int64)


def is_separated(text: mmap.mmap | bytes) -> bool:
    """Return whether records are separated as RFC 8142 says, and not only by line ends."""
    return text[:512].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(SEPARATOR)


def is_features(path: Path) -> bool:
    """Return whether a file begins with a record, and has a feature in it."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        begins = text[:512].lstrip(b"\xef\xbb\xbf \t\r\n" + SEPARATOR).startswith(b"{")
        return begins and parts.FEATURE_COLLECTION.search(text) is not None


def _sizes(text: mmap.mmap, separator: bytes) -> Iterator[int]:
    begin = 0
    while begin < len(text):
        end = text.find(separator, begin)
        end = len(text) if end < 0 else end
        if text[begin : min(end, begin + 512)].strip(b"\xef\xbb\xbf \t\r\n"):
            yield end - begin
        begin = end + 1
