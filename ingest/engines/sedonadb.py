"""The default engine: SedonaDB cleans Arrow batches with SQL, without a row in Python.

Odd geometries, which GEOS might refuse, are screened out first and measured on the way. The query cleans texts, checks
each geometry and computes a point on it. Shapely then repairs the odd geometries and those that failed the check. All
others, which is nearly all, pass from GDAL's batch to the sink without being copied. SedonaDB has no hash functions:
DuckDB takes the hashes of a batch when its geometries are final.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import duckdb
import geoarrow.pyarrow as ga
import pyarrow as pa
import pyarrow.compute as pc
import sedonadb

from ingest.engines import FACTS, SliceSource, open_features, schema
from ingest.engines.globe import Projection
from ingest.engines.measures import MEASURED
from ingest.engines.repair import restore
from ingest.engines.screen import points, screen
from ingest.engines.text import TRIMMED
from ingest.layers.geopackage import quote

FID, GEOMETRY, ODD = "__fid", "__geometry", "__odd"
GEOMETRY_FIELD = pa.field(GEOMETRY, ga.wkb())
TYPES = dict(FACTS)


class SedonaEngine:
    """SedonaDB: GDAL's Arrow stream in, SQL, Arrow stream out."""

    @contextmanager
    def read(self, source: SliceSource) -> Iterator[pa.RecordBatchReader]:
        """Open a slice; see `ingest.engines.Engine.read`."""
        wanted = schema(tuple(name for name, _ in source.columns))
        # SedonaDB reads in passing threads of its own, in which a transformation of pyproj crashes.
        with (
            ThreadPoolExecutor(max_workers=1) as pool,
            duckdb.connect(config={"threads": 1}) as hasher,
            open_features(source) as (meta, stream),
        ):
            tap = _Tap(stream)
            projection = Projection.of(source.crs) if source.crs else None
            try:
                features = _screened(tap, meta, source.names, projection, pool)
                cleaned = _query(statement(source), features, source.batch_rows)
                rows = (_rows(batch, source, projection, wanted, hasher) for batch in tap.telling(cleaned))
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
        A select over the view ``features``: feature id, texts, the plain geometries with what was measured, the odd
        ones as bytes; ``is_good`` (plain, and valid if ``is_validated``), and a point on each good geometry.
    """
    texts = ",\n    ".join(f"{_clean(name, source.missing_text)} as {quote(raw)}" for raw, name in source.columns)
    names = ", ".join(quote(raw) for raw, _ in source.columns)
    measured = ", ".join(map(quote, MEASURED))
    is_good = "g is not null" + (" and ST_IsValid(g)" if source.is_validated else "")
    return f"""
with cleaned as (
    select {quote(FID)} as source_fid,
    {texts},
    {quote(GEOMETRY)} as g, {quote(ODD)} as odd, {measured}
    from features
),
checked as (
    select *, coalesce({is_good}, false) as is_good
    from cleaned
),
pointed as (
    select *, ST_GeomFromWKBUnchecked(case when is_good then ST_AsBinary(ST_PointOnSurface(g)) end) as point
    from checked
)
select source_fid, {names}, g, odd, {measured}, is_good, ST_X(point) as point_lon, ST_Y(point) as point_lat
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


def _rows(
    batch: pa.RecordBatch,
    source: SliceSource,
    projection: Projection | None,
    wanted: pa.Schema,
    hasher: duckdb.DuckDBPyConnection,
) -> pa.RecordBatch:
    """Turn a batch of cleaned features into rows of the raw table; good geometries are not copied."""
    columns = {name: batch.column(name) for name in batch.schema.names}
    wkb, odd, is_good = _storage(columns.pop("g")), columns.pop("odd"), columns.pop("is_good")
    columns |= {
        **{name: pa.repeat(value, len(batch)) for name, value in source.origin.items()},
        "geom": wkb,
        "area_km2_in_source": columns["area_km2"],
        "is_valid": pa.repeat(True, len(batch)) if source.is_validated else pa.nulls(len(batch), pa.bool_()),
        "invalid_reason": pa.nulls(len(batch), pa.string()),
    }
    if not pc.all(is_good).as_py():
        is_odd = wkb.is_null()
        if source.keeps_points:
            is_point, longitudes, latitudes = points(_storage(odd), projection.to_degrees if projection else None)
            for name, values in (("point_lon", longitudes), ("point_lat", latitudes)):
                columns[name] = pc.replace_with_mask(columns[name], pa.array(is_point), pa.array(values))
            is_odd, is_good = pc.and_not(is_odd, pa.array(is_point)), pc.or_(is_good, pa.array(is_point))
        for is_bad, values, crs in ((is_odd, odd, projection), (pc.invert(pc.or_(is_good, is_odd)), wkb, None)):
            made = restore(values.filter(is_bad).to_pylist(), crs, is_validated=source.is_validated)
            for name, column in {"geom": made.wkb, **made.facts}.items():
                columns[name] = pc.replace_with_mask(columns[name], is_bad, column)
    columns["geom_hash"] = _hashes(columns["geom"], hasher)
    return pa.RecordBatch.from_arrays([columns[field.name].cast(field.type) for field in wanted], schema=wanted)


def _hashes(wkb: pa.BinaryArray, hasher: duckdb.DuckDBPyConnection) -> pa.StringArray:
    """Return the MD5 of each geometry, in hexadecimal digits."""
    hashes = hasher.from_arrow(pa.table({"geom": wkb})).project("md5(geom)").to_arrow_table()
    return hashes.column(0).combine_chunks()


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


def _screened(
    tap: _Tap, meta: dict[str, Any], names: Iterable[str], projection: Projection | None, pool: Executor
) -> pa.RecordBatchReader:
    """Screen the geometries, and rename the id and geometry columns to names that no attribute has."""
    fields = []
    for field in tap.schema:
        if field.name in names:
            fields.append(field)
        elif field.name == (meta.get("geometry_name") or "wkb_geometry"):
            fields.append(GEOMETRY_FIELD)
        else:
            fields.append(field.with_name(FID))
    position = fields.index(GEOMETRY_FIELD)
    further = [pa.field(ODD, pa.binary()), *((name, TYPES[name]) for name in MEASURED)]
    schema = pa.schema([*fields, *further])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in tap:
            geometries = _storage(batch.column(position))
            if projection:
                found = pool.submit(screen, geometries, projection.to_degrees).result()
            else:
                found = screen(geometries)
            columns = batch.columns
            columns[position] = GEOMETRY_FIELD.type.wrap_array(found.plain)
            yield pa.RecordBatch.from_arrays([*columns, found.odd, *found.facts.values()], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())
