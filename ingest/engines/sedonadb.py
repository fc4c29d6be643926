"""The default engine: SedonaDB cleans Arrow batches with SQL, without a row in Python.

The query cleans texts, checks each geometry and computes a point on it. Shapely then repairs the geometries that failed
the check. All others, which is nearly all, pass from GDAL's batch to the sink without being copied.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sedonadb
import shapely

from ingest.engines import SliceSource, open_features, schema
from ingest.engines.measures import measure
from ingest.engines.repair import multipolygons, reason
from ingest.engines.text import TRIMMED
from ingest.layers.discover import quote

MULTIPOLYGON_OF_ONE = bytes.fromhex("010600000001000000")  # little-endian WKB header of a MultiPolygon with one part
FID, GEOMETRY = "__fid", "__geometry"


class SedonaEngine:
    """SedonaDB: GDAL's Arrow stream in, SQL, Arrow stream out."""

    @contextmanager
    def read(self, source: SliceSource) -> Iterator[pa.RecordBatchReader]:
        """Open a slice; see `ingest.engines.Engine.read`."""
        wanted = schema(tuple(name for name, _ in source.columns))
        with open_features(source) as (meta, stream):
            tap = _Tap(stream)
            try:
                cleaned = _query(statement(source), _named(tap, meta, source.names), source.batch_rows)
                rows = (_rows(batch, source, wanted) for batch in tap.telling(cleaned))
                yield pa.RecordBatchReader.from_batches(wanted, rows)
            finally:
                tap.shut()


def statement(source: SliceSource) -> str:
    """Return the SQL that cleans the features of a layer and checks their geometries.

    Parameters
    ----------
    source : SliceSource
        The slice.

    Returns
    -------
    str
        A select over the view ``features``: feature id, texts, geometry in EPSG:4326; ``is_good`` (a 2D Polygon or
        MultiPolygon, not empty, and valid if ``is_validated``), ``is_single`` (a good Polygon), and a point on each
        good geometry.
    """
    texts = ",\n    ".join(f"{_clean(name, source.missing_text)} as {quote(raw)}" for raw, name in source.columns)
    names = ", ".join(quote(raw) for raw, _ in source.columns)
    geometry = quote(GEOMETRY)
    if source.crs:
        geometry = f"ST_Transform({geometry}, {_literal(source.crs)}, 'EPSG:4326')"
    return f"""
with cleaned as (
    select {quote(FID)} as source_fid,
    {texts},
    {geometry} as g
    from features
),
checked as (
    select *,
        coalesce(
            not ST_IsEmpty(g) and ST_ZmFlag(g) = 0 and ST_GeometryType(g) in ('ST_Polygon', 'ST_MultiPolygon')
            {"and ST_IsValid(g)" if source.is_validated else ""}, false
        ) as is_good
    from cleaned
),
pointed as (
    select *, ST_GeomFromWKBUnchecked(case when is_good then ST_AsBinary(ST_PointOnSurface(g)) end) as point
    from checked
)
select source_fid, {names}, g, is_good,
    is_good and ST_GeometryType(g) = 'ST_Polygon' as is_single,
    ST_X(point) as point_lon, ST_Y(point) as point_lat
from pointed"""  # noqa: S608  every name is quoted, every text a literal


def _query(statement: str, batches: pa.RecordBatchReader, batch_rows: int) -> pa.RecordBatchReader:
    """Run SQL over the view ``features``, as a stream."""
    context = sedonadb.connect()
    # By default DataFusion merges batches up to 8,192 rows, which costs memory and keeps reading from overlapping with
    # writing.
    for setting in (
        f"datafusion.execution.batch_size = {batch_rows}",
        "datafusion.execution.target_partitions = 1",
        "datafusion.execution.coalesce_batches = false",
    ):
        context.sql(f"SET {setting}").execute()
    context.create_data_frame(batches).to_view("features")
    return pa.RecordBatchReader.from_stream(context.sql(statement).to_arrow_reader())


def _rows(batch: pa.RecordBatch, source: SliceSource, wanted: pa.Schema) -> pa.RecordBatch:
    """Turn a batch of cleaned features into rows of the raw table; good geometries are not copied."""
    columns = {name: batch.column(name) for name in batch.schema.names}
    wkb, is_good, is_single = _storage(columns.pop("g")), columns.pop("is_good"), columns.pop("is_single")
    is_null, reasons = wkb.is_null(), pa.nulls(len(batch), pa.string())
    if pc.any(is_single).as_py():
        wkb = pc.if_else(is_single, pc.binary_join_element_wise(MULTIPOLYGON_OF_ONE, wkb, b""), wkb)
    if not pc.all(is_good).as_py():
        is_bad = pc.invert(is_good)
        geometries = shapely.from_wkb(np.array(wkb.filter(is_bad).to_pylist(), dtype=object), on_invalid="ignore")
        why = reason(geometries, is_validated=source.is_validated)
        repaired = multipolygons(geometries, why)
        points = shapely.point_on_surface(repaired)
        reasons = pc.replace_with_mask(reasons, is_bad, pa.array(why, pa.string()))
        wkb = pc.replace_with_mask(wkb, is_bad, pa.array(shapely.to_wkb(repaired, byte_order=1), pa.binary()))
        for name, values in (("point_lon", shapely.get_x(points)), ("point_lat", shapely.get_y(points))):
            columns[name] = pc.replace_with_mask(columns[name], is_bad, pa.array(values, from_pandas=True))
    is_known = pc.invert(is_null) if source.is_validated else pc.and_not(reasons.is_valid(), is_null)
    columns |= {
        **{name: pa.repeat(value, len(batch)) for name, value in source.origin.items()},
        "geom": wkb,
        "is_valid": pc.if_else(is_known, reasons.is_null(), None),
        "invalid_reason": reasons,
        **measure(wkb),
    }
    return pa.RecordBatch.from_arrays([columns[field.name].cast(field.type) for field in wanted], schema=wanted)


def _storage(geometry: pa.Array) -> pa.BinaryArray:
    """Return the WKB of a geometry column."""
    storage = geometry.storage if isinstance(geometry, pa.ExtensionArray) else geometry
    return storage.cast(pa.binary())


def _clean(name: str | None, missing_text: tuple[str, ...]) -> str:
    if name is None:
        return "cast(null as varchar)"
    text = f"btrim({quote(name)}, {_literal(TRIMMED)})"
    for missing in ("", *missing_text):
        text = f"nullif({text}, {_literal(missing)})"
    return text


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class _Tap:
    """A stream that can be shut: SedonaDB's threads read ahead, and must not read a file after it was closed."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self.schema = reader.schema
        self._reader = reader
        self._lock = threading.Lock()
        self._is_shut = False
        self._fault: Exception | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._next()) is not None:
            yield batch

    def shut(self) -> None:
        """End the stream, after waiting for a batch that is being read."""
        with self._lock:
            self._is_shut = True

    def telling(self, results: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass on what was made of the stream. If that fails because the stream did, raise the stream's own error."""
        try:
            yield from results
        except Exception:
            if self._fault:
                raise self._fault from None
            raise

    def _next(self) -> pa.RecordBatch | None:
        with self._lock:
            try:
                return None if self._is_shut else next(self._reader, None)
            except Exception as error:
                self._fault = error
                raise


def _named(tap: _Tap, meta: dict[str, Any], names: Iterable[str]) -> pa.RecordBatchReader:
    """Rename the id and geometry columns to names that no attribute has."""
    fields = []
    for field in tap.schema:
        if field.name in names:
            fields.append(field)
        elif field.name == (meta.get("geometry_name") or "wkb_geometry"):
            fields.append(field.with_name(GEOMETRY))
        else:
            fields.append(field.with_name(FID))
    renamed = pa.schema(fields)
    return pa.RecordBatchReader.from_batches(
        renamed, (pa.RecordBatch.from_arrays(batch.columns, schema=renamed) for batch in tap)
    )
