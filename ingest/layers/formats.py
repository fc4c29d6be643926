"""Detect a file's format from its bytes; a virtual or indirect format under a harmless name is refused."""

from __future__ import annotations

import codecs
import mmap
import os
import re
from pathlib import Path
from typing import BinaryIO

from ingest.errors import FormatUnknown
from ingest.layers import flatgeobuf, geodatabase, geojsonseq, geoparquet
from ingest.sources import parts
from ingest.sources.address import printable
from ingest.sources.signatures import CHUNK_BYTES, looks_like

# The key "crs" of a GeoJSON in any spelling, and the values that it may have: GDAL would fetch one of type "link".
CRS_KEY = re.compile(
    rb"""["'](?:c|\\u00[46]3)(?:r|\\u00[57]2)(?:s|\\u00[57]3)(?:\\u0000[^"']*)?["'](?:\s|/\*.*?\*/|//[^\n]*\n)*:\s*""",
    re.IGNORECASE | re.DOTALL,
)
CRS_HARMLESS = re.compile(
    rb"""[^{/\s]|\{\s*"type"\s*:\s*"name"\s*,\s*"properties"\s*:\s*\{\s*"name"\s*:\s*"[^"\\]*"\s*\}\s*\}"""
)

# Driver, and how a file begins, of the formats that are not text.
BINARY: dict[str, tuple[str, bytes | tuple[bytes, ...]]] = {
    ".gpkg": ("GPKG", b"SQLite format 3\0"),
    ".shp": ("ESRI Shapefile", b"\x00\x00\x27\x0a"),
    ".fgb": ("FlatGeobuf", flatgeobuf.MAGIC),
    **dict.fromkeys(parts.PARQUET_SUFFIXES, ("Parquet", (geoparquet.MAGIC, geoparquet.ENCRYPTED))),
}


def check_format(path: Path) -> str:
    """Return the GDAL driver of a file, after checking that its content is in the format that its name says.

    So a virtual or indirect format under a harmless name never reaches GDAL, nor does GeoParquet, which Arrow reads.

    Raises
    ------
    FormatUnknown
        When the content does not match the name.
    """
    suffix, shown = parts.suffix_of(path), printable(path.name)
    if path.is_dir():
        _check_geodatabase(path)
        return "OpenFileGDB"
    with path.open("rb") as file:
        head = file.read(512)
        is_json = suffix in (".geojson", ".json", *parts.SEQUENCE_SUFFIXES)
        is_text = not is_json or _is_utf8(file)
        has_linked_crs = is_json and _has_linked_crs(file)
    if not is_text:
        raise FormatUnknown(f"{shown} is not UTF-8, which GeoJSON requires.", "Convert it, or download it again.")
    if has_linked_crs:
        raise FormatUnknown(
            f"{shown} links to its reference system, and links are not followed.",
            'Name it instead ("crs": {"type": "name", …}), or leave it out for WGS 84.',
        )
    if suffix in BINARY and head.startswith(BINARY[suffix][1]):
        return BINARY[suffix][0]
    if suffix in (".geojson", ".json") and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        if not parts.is_geojson(path):
            raise FormatUnknown(f"{shown} is JSON, but not GeoJSON.", "Give the GeoJSON itself.")
        return "GeoJSONSeq" if geojsonseq.is_in_lines(path) else "GeoJSON"
    if suffix in parts.SEQUENCE_SUFFIXES and geojsonseq.is_features(path):
        is_single = len(geojsonseq.sizes(path)) == 1 and not geojsonseq.is_separated(head)
        return "GeoJSON" if is_single else "GeoJSONSeq"  # as GDAL takes it, whatever its name
    raise FormatUnknown(
        f"{shown} is not a {parts.FORMATS}: {looks_like(path)}.",
        "Give a .gpkg, .shp, .geojson, .geojsonl, .fgb, .parquet or .gdb, or a .zip or folder of them.",
    )


def _check_geodatabase(path: Path) -> None:
    for table in parts.of(path):
        with table.open("rb") as file:
            head = file.read(4)
        if parts.suffix_of(table) == ".gdbtable" and head not in geodatabase.HEADS:
            raise FormatUnknown(
                f"{printable(table.name)} in {printable(path.name)} is not a table of a file geodatabase: "
                f"{looks_like(table)}.",
                "Download it again; geodatabases older than ArcGIS 10 are not read.",
            )


def _is_utf8(file: BinaryIO) -> bool:
    """Return whether a file is UTF-8; fiona crashes on messages of GDAL that quote anything else."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    try:
        while data := file.read(CHUNK_BYTES):
            decoder.decode(data)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _has_linked_crs(file: BinaryIO) -> bool:
    """Return whether a GeoJSON links to its reference system instead of naming it."""
    if os.fstat(file.fileno()).st_size == 0:
        return False
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return any(not CRS_HARMLESS.match(text, key.end()) for key in CRS_KEY.finditer(text))
