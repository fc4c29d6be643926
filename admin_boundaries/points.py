"""Locate the points of a CSV or GeoParquet file, and write the same file with the answers as additional columns.

Memory is bounded: rows are read, looked up and written :data:`BATCH_ROWS` at a time. The output appears under its name
only when it is complete.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from admin_boundaries.files import replacing
from admin_boundaries.locate import COLUMNS, as_text
from admin_boundaries.warehouse import Warehouse, of_one_build
from ingest.errors import FormatUnknown, SchemaDrift, SourceDamaged, SourceUnavailable, UsageError

Floats = npt.NDArray[np.float64]
BATCH_ROWS = 50_000
LON_NAMES = ("lon", "longitude", "lng", "long", "x")
LAT_NAMES = ("lat", "latitude", "y")
LISTS = ("gids", "tzids")
TYPES = {"admin_level": pa.int32(), **dict.fromkeys(LISTS, pa.list_(pa.string()))}
FIELDS = [pa.field(f"located_{name}" if name == "status" else name, TYPES.get(name, pa.string())) for name in COLUMNS]


def locate_file(warehouse: Warehouse, source: Path, target: Path, report: Callable[[int], None]) -> int:
    """Locate every point of a file.

    Parameters
    ----------
    warehouse : Warehouse
        The warehouse to look points up in.
    source : Path
        A CSV with a header, or a Parquet file; longitude and latitude in degrees on WGS 84, in columns called ``lon``
        and ``lat`` (or ``longitude``, ``latitude``, ``lng``, ``x``, ``y``, in any letter case), or in the primary
        geometry column of a GeoParquet file, which must hold points.
    target : Path
        The file to write, in the same format: all columns of the source unchanged, then the answers. An existing file
        is replaced.
    report : callable
        Called after every batch with the number of rows done so far.

    Returns
    -------
    int
        Rows written, which is as many as were read. The answer to missing or non-numeric coordinates is
        ``bad coordinates``.

    Raises
    ------
    SourceUnavailable, FormatUnknown, SchemaDrift, SourceDamaged, UsageError
        When the files cannot be used. Nothing is written in that case.
    MartsReplaced
        When a build replaced the marts meanwhile. Nothing is written then, either.
    """
    if not source.is_file():
        raise SourceUnavailable(f"There is no file {source}.", "Check the path.")
    kinds = {".csv": _locate_csv, ".parquet": _locate_parquet, ".geoparquet": _locate_parquet}
    kind, out = kinds.get(source.suffix.lower()), kinds.get(target.suffix.lower())
    if kind is None:
        raise FormatUnknown(f"{source} is neither .csv nor .parquet.", "Give points as CSV or GeoParquet.")
    if out is not kind:
        raise UsageError(f"{target} is not in the format of {source}.", f"Use the suffix {source.suffix}.")
    if target.exists() and source.samefile(target):
        raise UsageError(f"{target} is the input file itself.", "Give another --output.")
    done = 0
    try:
        with replacing(target) as draft, of_one_build(warehouse):
            for rows in kind(warehouse, source, draft):
                done += rows
                report(done)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}.", "Give another --output.") from error
    return done


def _column(names: Sequence[str], known: Sequence[str]) -> int | None:
    lowered = [name.strip().lower() for name in names]
    return next((lowered.index(name) for name in known if name in lowered), None)


def _refuse_clashes(names: Sequence[str], source: Path) -> None:
    clashes = sorted({field.name for field in FIELDS} & set(names))
    if clashes:
        raise SchemaDrift(
            f"{source} already has columns {', '.join(clashes)}.", "Rename them: the answers use these names."
        )


def _no_coordinates(names: Sequence[str], source: Path) -> SchemaDrift:
    found = ", ".join(names) or "none"
    return SchemaDrift(
        f"{source} has no columns lon and lat; it has: {found}.", "Rename the columns that hold degrees."
    )


def _locate_csv(warehouse: Warehouse, source: Path, draft: Path) -> Iterator[int]:
    try:
        with (
            source.open(encoding="utf-8-sig", newline="") as file,
            draft.open("w", encoding="utf-8", newline="") as out,
        ):
            reader, writer = csv.reader(file), csv.writer(out, lineterminator="\n")
            header = next(reader, [])
            lon, lat = _column(header, LON_NAMES), _column(header, LAT_NAMES)
            if lon is None or lat is None:
                raise _no_coordinates(header, source)
            _refuse_clashes(header, source)
            writer.writerow([*header, *(field.name for field in FIELDS)])
            for rows in _csv_batches(reader, source, len(header)):
                lons, lats = (np.array([_degrees(row[index]) for row in rows]) for index in (lon, lat))
                answers = warehouse.locate_points(lons, lats)
                writer.writerows([*row, *map(as_text, answer)] for row, answer in zip(rows, answers, strict=True))
                yield len(rows)
    except UnicodeDecodeError as error:
        raise SourceDamaged(f"{source} is not UTF-8 ({error.reason} at byte {error.start}).", "Convert it.") from error
    except csv.Error as error:
        raise SourceDamaged(
            f"{source} is not a CSV file: {error}.", 'Separate columns by commas, quote with ".'
        ) from error


def _csv_batches(reader: Any, source: Path, width: int) -> Iterator[list[list[str]]]:
    rows: list[list[str]] = []
    for row in reader:
        if not row:
            continue  # a blank line is not a row
        if len(row) != width:
            raise SourceDamaged(
                f"{source}, line {reader.line_num}: {len(row)} columns instead of {width}.",
                "Correct it; nothing was written.",
            )
        rows.append(row)
        if len(rows) == BATCH_ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def _degrees(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _locate_parquet(warehouse: Warehouse, source: Path, draft: Path) -> Iterator[int]:
    try:
        file = pq.ParquetFile(source)
    except pa.ArrowException as error:
        raise SourceDamaged(f"{source} is not a Parquet file: {error}.", "Check the file.") from error
    with file:
        schema = file.schema_arrow
        _refuse_clashes(schema.names, source)
        coordinates = _parquet_coordinates(schema, source)
        written = schema
        for field in FIELDS:
            written = written.append(field)
        with pq.ParquetWriter(draft, written, compression="zstd") as writer:
            for batch in file.iter_batches(BATCH_ROWS):
                answers = warehouse.locate_points(*coordinates(batch)) if batch.num_rows else []
                columns = list(zip(*answers, strict=True)) or [()] * len(FIELDS)
                arrays = [pa.array(column, field.type) for column, field in zip(columns, FIELDS, strict=True)]
                writer.write_batch(pa.record_batch([*batch.columns, *arrays], schema=written))
                yield batch.num_rows


def _parquet_coordinates(schema: pa.Schema, source: Path) -> Callable[[pa.RecordBatch], tuple[Floats, Floats]]:
    """Return a function that takes longitudes and latitudes from a batch."""
    lon, lat = _column(schema.names, LON_NAMES), _column(schema.names, LAT_NAMES)
    if lon is not None and lat is not None:
        indices = (lon, lat)

        def from_columns(batch: pa.RecordBatch) -> tuple[Floats, Floats]:
            lons, lats = (batch.column(i).cast(pa.float64()).to_numpy(zero_copy_only=False) for i in indices)
            return lons, lats

        return from_columns
    geometry = _geometry_column(schema, source)

    def from_geometry(batch: pa.RecordBatch) -> tuple[Floats, Floats]:
        points = shapely.from_wkb(batch.column(geometry).to_numpy(zero_copy_only=False))
        points[shapely.is_empty(points)] = None  # GEOS raises when asked for a coordinate of an empty point
        return shapely.get_x(points), shapely.get_y(points)

    return from_geometry


def _geometry_column(schema: pa.Schema, source: Path) -> str:
    import json

    geo = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
    name = geo.get("primary_column")
    if name is None or name not in schema.names:
        raise _no_coordinates(schema.names, source)
    column = geo["columns"][name]
    if column.get("encoding") != "WKB" or set(column.get("geometry_types") or ["Point"]) != {"Point"}:
        raise SchemaDrift(f"{source}: {name} holds geometry other than points in WKB.", "Give points.")
    crs = column.get("crs", {})
    identity = crs.get("id", {}) if crs else {}
    if crs and (identity.get("authority"), str(identity.get("code"))) not in {("OGC", "CRS84"), ("EPSG", "4326")}:
        raise SchemaDrift(f"{source}: {name} is in {crs.get('name')}.", "Convert it to EPSG:4326, degrees on WGS 84.")
    return str(name)
