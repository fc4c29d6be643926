"""How many records a GeoJSON text sequence holds, and how large they are: GDAL leaves out those that it cannot read."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ingest.sources import parts

FIRST_LINE = re.compile(rb"(?:\xef\xbb\xbf)?\s*+([^\n]++)\n\s*+\S")
LONGEST_LINE = 64 << 20  # bytes that are parsed to see what they are
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


def is_in_lines(path: Path) -> bool:
    """Return whether the first line of a file is a whole feature, and another line follows."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        is_collection = b'"FeatureCollection"' in text[:512]  # which may be one line of gigabytes
        line = None if is_collection else FIRST_LINE.match(text)
        if line is None or line.end() > LONGEST_LINE:
            return False
        try:
            first = json.loads(line[1])
        except (ValueError, RecursionError):
            return False
    return isinstance(first, dict) and first.get("type") == "Feature"


def _sizes(text: mmap.mmap, separator: bytes) -> Iterator[int]:
    begin = 0
    while begin < len(text):
        end = text.find(separator, begin)
        end = len(text) if end < 0 else end
        if text[begin : min(end, begin + 512)].strip(b"\xef\xbb\xbf \t\r\n"):
            yield end - begin
        begin = end + 1
