"""What a file is, by its first bytes. Pure Python: neither a server nor GDAL is needed."""

from __future__ import annotations

from pathlib import Path

CHUNK_BYTES = 1 << 20  # read or copied at once
ZIP_HEAD = b"PK\x03\x04"


def looks_like(path: Path) -> str:
    """Describe a file by its first bytes, in a clause that ends a sentence."""
    with path.open("rb") as file:
        head = file.read(512).lstrip()
    if head.lower().startswith((b"<!doctype html", b"<html")):
        return "it is an HTML page, probably a server's error message"
    if head.startswith(ZIP_HEAD):
        return "it starts like a zip archive"
    return "it is empty" if not head else f"it starts with {head[:8]!r}"
