"""GeoParquet: what a file says of itself, how large its rows are, and the rows, in batches that fit into memory.

Arrow reads it, GDAL does not. What a file states is checked before a row is read, and sizes are measured, for they
determine the memory of a worker: a page of a few bytes may stand for any number of rows.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.errors import FormatUnknown, SchemaDrift
from ingest.layers import nested
from ingest.sources import parts
from ingest.sources.address import printable

MAGIC, ENCRYPTED = b"PAR1", b"PARE"  # at both ends; the latter if the footer is encrypted
SUFFIXES = parts.PARQUET_SUFFIXES
MAX_FOOTER_BYTES = 64 << 20
MAX_GROUP_BYTES = 16 << 30  # of a row group, decompressed
MAX_EXPANSION = 2_000  # times that it may be larger than the file
CRS84 = "OGC:CRS84"  # what is meant where a file leaves the reference system out
BATCH_ROWS = 16  # few, while nobody knows how large they are
FID, GEOMETRY = "__row", "__geometry"  # of the batches; no path in the catalog begins like that
AGAIN = "Download it again."

Ints = npt.NDArray[np.int64]
Values = tuple[tuple[str, tuple[str, ...]], ...]  # columns, and the values that rows have in them


@dataclass(frozen=True)
class Description:
    """What a file says of itself.

    Attributes
    ----------
    schema : pyarrow.Schema
        Its columns, with that of the geometry.
    geometry : str
        Name of the geometry column.
    types : frozenset of str
        Types of its geometries; empty if they are not stated.
    crs : str or None
        Its reference system as text; None if it says that this is unknown.
    extent : tuple of float, or None
        West, south, east, north, if it is stated.
    row_groups : tuple of int
        Rows of each row group.
    """

    schema: pa.Schema
    geometry: str
    types: frozenset[str]
    crs: str | None
    extent: tuple[float, ...] | None
    row_groups: tuple[int, ...]

    @property
    def row_count(self) -> int:
        """Rows of the file."""
        return sum(self.row_groups)

    @property
    def starts(self) -> Ints:
        """The number of the first row of each row group, and that after the last one."""
        return np.concatenate([[0], np.cumsum(self.row_groups, dtype=np.int64)])


def describe(path: Path) -> Description:
    """Read the footer of a file.

    Raises
    ------
    FormatUnknown
        When it is damaged, cut off or encrypted, is not GeoParquet, or would take more memory than it should.
    SchemaDrift
        When its geometries are in another form than WKB with straight edges.
    """
    with _opened(path) as file:
        metadata, schema = file.metadata, file.schema_arrow
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        _check_sizes(path, metadata, groups)
        said = _said(path, schema)
        geometry = said["primary_column"]
        about = said["columns"][geometry]
        _check_geometry(path, schema, geometry, about)
        return Description(
            schema=schema,
            geometry=geometry,
            types=frozenset(about.get("geometry_types") or ()),
            crs=_crs(about),
            extent=_extent(about.get("bbox")),
            row_groups=tuple(group.num_rows for group in groups),
        )


def counts(path: Path, columns: Sequence[str]) -> dict[tuple[str | None, ...], int]:
    """Return how many rows have each combination of values in columns of text.

    Raises
    ------
    FormatUnknown
        When the file is damaged.
    """
    found: dict[tuple[str | None, ...], int] = {}
    with _opened(path) as file:
        for number in range(file.metadata.num_row_groups):
            table = pa.table(dict(zip(columns, _texts(file, number, columns), strict=True)))
            grouped = table.group_by(list(columns), use_threads=False).aggregate([([], "count_all")])
            for row in grouped.to_pylist():
                key = tuple(row[name] for name in columns)
                found[key] = found.get(key, 0) + row["count_all"]
    return found


def features(path: Path, only: Values, version: str) -> tuple[Ints, Ints]:
    """Return the number and the bytes of geometry of each row with these values.

    ``version`` is that of the file: its geometries are measured once for all levels that are in it.

    Raises
    ------
    FormatUnknown
        When the file is damaged, or has another number of rows than it states.
    """
    sizes = _sizes(path, version)
    fids = np.arange(len(sizes), dtype=np.int64)
    if not only:
        return fids, sizes
    with _opened(path) as file:
        groups = range(file.metadata.num_row_groups)
        is_wanted = np.concatenate([np.empty(0, bool), *(_mask(file, number, only) for number in groups)])
    return fids[is_wanted], sizes[is_wanted]


def boxes(path: Path, geometry: str) -> npt.NDArray[np.float64]:
    """Return the boxes of the geometries: west, south, east, north; without those that have none."""
    import shapely

    found = [np.empty((0, 4))]
    with _opened(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=[geometry], use_threads=False):
            wkb = np.array(_wkb(batch.column(0)).to_pylist(), dtype=object)
            found.append(shapely.bounds(shapely.from_wkb(wkb, on_invalid="ignore")))
    each = np.concatenate(found)
    return each[np.isfinite(each).all(axis=1)]


def where(first: int, last: int, only: Values) -> str:
    """Return the filter that selects rows by their numbers, both inclusive, and by their values."""
    return json.dumps({"rows": [first, last], "only": only})


def batches(
    path: Path,
    description: Description,
    paths: Sequence[str],
    wanted: str | None,
    *,
    heaviest: int,
    most_bytes: int,
    most_rows: int,
    has_geometry: bool = True,
) -> Iterator[pa.RecordBatch]:
    """Yield rows: their number, the values that paths lead to, and the geometry as WKB.

    Parameters
    ----------
    path, description : Path, Description
        The file.
    paths : sequence of str
        Names of columns, or paths into them as in `ingest.layers.nested`.
    wanted : str or None
        What `where` returned; None for all rows.
    heaviest : int
        Bytes of the heaviest geometry.
    most_bytes, most_rows : int
        Limits of a batch; its geometries take at most so many bytes, or it is of one row.
    has_geometry : bool
        Whether the geometry is read.
    """
    rows, only = (None, ()) if wanted is None else (json.loads(wanted)[name] for name in ("rows", "only"))
    geometry = description.geometry if has_geometry else None
    begins = [nested.column_of(description.schema, path) for path in paths]
    columns = list(dict.fromkeys([*begins, *([geometry] if geometry else [])]))
    at_once = max(BATCH_ROWS, min(most_rows, most_bytes // max(heaviest, 1)))
    with _opened(path) as file:
        begin = 0
        for number in range(file.metadata.num_row_groups):
            fids = np.arange(begin, begin + file.metadata.row_group(number).num_rows, dtype=np.int64)
            begin += len(fids)
            is_wanted = np.ones(len(fids), bool) if rows is None else (fids >= rows[0]) & (fids <= rows[1])
            if is_wanted.any() and only:
                is_wanted &= _mask(file, number, only)
            if not is_wanted.any():
                continue
            at = 0
            for batch in file.iter_batches(at_once, row_groups=[number], columns=columns, use_threads=False):
                kept = is_wanted[at : at + len(batch)]
                numbers = fids[at : at + len(batch)][kept]
                at += len(batch)
                if len(numbers):
                    found = _row_batch(batch.filter(pa.array(kept)), numbers, paths, geometry)
                    yield from _cut(found, most_bytes) if geometry else (found,)


def schema(description: Description, paths: Sequence[str], *, has_geometry: bool = True) -> pa.Schema:
    """Return the schema of `batches`."""
    fields = list(description.schema)
    empty = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in fields], schema=pa.schema(fields))
    geometry = description.geometry if has_geometry else None
    return _row_batch(empty, np.empty(0, np.int64), paths, geometry).schema


def _row_batch(batch: pa.RecordBatch, numbers: Ints, paths: Sequence[str], geometry: str | None) -> pa.RecordBatch:
    """Return rows with their numbers in front."""
    columns = {FID: pa.array(numbers), **{path: nested.values(batch, path) for path in paths}}
    if geometry:
        columns[GEOMETRY] = _wkb(batch.column(geometry))
    return pa.RecordBatch.from_pydict(columns)


def _cut(batch: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """Cut a batch where its geometries would take too many bytes."""
    ends = np.cumsum(np.asarray(pc.fill_null(pc.binary_length(batch.column(GEOMETRY)), 0)).astype(np.int64))
    first = 0
    while first < len(batch):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + most_bytes, side="right")))
        yield batch.slice(first, last - first)
        first = last


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file; what Arrow cannot read is a fault of it."""
    with path.open("rb") as opened:
        try:
            yield pq.ParquetFile(opened)
        except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
            raise FormatUnknown(f"{printable(path.name)} cannot be read: {parts.brief(str(error))}.", AGAIN) from error


def check(path: Path) -> None:
    """Check both ends of a file, before Arrow opens it.

    Raises
    ------
    FormatUnknown
        When it is not Parquet, is cut off, or its footer is encrypted or as large as none is.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
        file.seek(max(size - 8, 0))
        tail = file.read(8)
    if ENCRYPTED in (head, tail[4:]):
        raise FormatUnknown(f"{printable(path.name)} is encrypted.", "Write it again without encryption.")
    if len(tail) < 8 or tail[4:] != MAGIC:
        raise FormatUnknown(f"{printable(path.name)} is cut off: its end is missing.", AGAIN)
    (footer,) = struct.unpack("<I", tail[:4])
    if footer > min(MAX_FOOTER_BYTES, size - 12):
        raise FormatUnknown(f"{printable(path.name)} is damaged: its footer would be {footer:,} bytes.", AGAIN)


def _check_sizes(path: Path, metadata: pq.FileMetaData, groups: Sequence[pq.RowGroupMetaData]) -> None:
    """Check what a footer says of row groups; what it says of a column is not asked for, for Arrow may abort on it."""
    if metadata.num_rows != sum(group.num_rows for group in groups) or any(group.num_rows < 0 for group in groups):
        raise FormatUnknown(
            f"{printable(path.name)} is damaged: its row groups have other numbers of rows than it states.", AGAIN
        )
    largest = max((group.total_byte_size for group in groups), default=0)
    size = path.stat().st_size
    if largest > min(MAX_GROUP_BYTES, MAX_EXPANSION * size):
        raise FormatUnknown(
            f"{printable(path.name)} has {size:,} bytes, and a row group of {largest:,} when it is decompressed.",
            "Write it again, with smaller row groups.",
        )


def _said(path: Path, columns: pa.Schema) -> Mapping[str, Any]:
    """Return the file's metadata on its geometries."""
    stated = (columns.metadata or {}).get(b"geo")
    if stated is None:
        raise FormatUnknown(
            f"{printable(path.name)} is Parquet, but not GeoParquet: it says nothing about geometries.",
            "Write it again as GeoParquet, for example with GeoPandas or ogr2ogr.",
        )
    try:
        said = json.loads(stated)
        about = said["columns"][said["primary_column"]]
        is_sound = isinstance(about, dict) and columns.names.count(said["primary_column"]) == 1
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatUnknown(f"{printable(path.name)} has damaged metadata: {error!r}.", AGAIN) from error
    if not is_sound:
        raise FormatUnknown(f"{printable(path.name)} has damaged metadata: they are of another column.", AGAIN)
    found: Mapping[str, Any] = said
    return found


def _check_geometry(path: Path, columns: pa.Schema, geometry: str, about: Mapping[str, Any]) -> None:
    shown, encoding = printable(path.name), about.get("encoding")
    kind = columns.field(geometry).type
    kind = kind.storage_type if isinstance(kind, pa.ExtensionType) else kind
    is_binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    if encoding != "WKB" or not is_binary:
        raise SchemaDrift(
            f"The geometries of {shown} are encoded as {parts.brief(str(encoding))}, and WKB is read.",
            "Write it again, for example with ogr2ogr -lco GEOMETRY_ENCODING=WKB.",
        )
    if about.get("edges", "planar") != "planar":
        raise SchemaDrift(
            f"The edges of {shown} are {parts.brief(str(about['edges']))}; those that are read are straight.",
            "Add vertices to its edges, and write it again with planar ones.",
        )


def _crs(about: Mapping[str, Any]) -> str | None:
    stated = about.get("crs", CRS84)
    return None if stated is None else stated if isinstance(stated, str) else json.dumps(stated)


def _extent(box: object) -> tuple[float, ...] | None:
    if not isinstance(box, list) or len(box) not in (4, 6) or not all(isinstance(each, int | float) for each in box):
        return None
    half = len(box) // 2
    return (box[0], box[1], box[half], box[half + 1])


@lru_cache(maxsize=1)
def _sizes(path: Path, _version: str) -> Ints:
    """Return the bytes of the geometry of every row."""
    found = [np.empty(0, np.int64)]
    with _opened(path) as file:
        geometry = _said(path, file.schema_arrow)["primary_column"]
        for batch in file.iter_batches(BATCH_ROWS, columns=[geometry], use_threads=False):
            found.append(np.asarray(pc.fill_null(pc.binary_length(_wkb(batch.column(0))), 0)).astype(np.int64))
        stated = file.metadata.num_rows
    sizes = np.concatenate(found)
    if len(sizes) != stated:
        raise FormatUnknown(
            f"{printable(path.name)} states {stated:,} rows, of which {len(sizes):,} can be read.", AGAIN
        )
    return sizes


def _texts(file: pq.ParquetFile, group: int, columns: Sequence[str]) -> list[pa.ChunkedArray]:
    table = file.read_row_group(group, columns=list(columns), use_threads=False)
    return [table.column(name).cast(pa.string()) for name in columns]


def _mask(file: pq.ParquetFile, group: int, only: Values) -> npt.NDArray[np.bool_]:
    """Return which rows of a row group have the values that are wanted."""
    found = [
        np.asarray(pc.is_in(texts, value_set=pa.array(wanted, pa.string())))
        for texts, (_, wanted) in zip(_texts(file, group, [name for name, _ in only]), only, strict=True)
    ]
    is_wanted: npt.NDArray[np.bool_] = np.logical_and.reduce(found)
    return is_wanted


def _wkb(column: pa.Array) -> pa.BinaryArray:
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    return storage.cast(pa.binary())
