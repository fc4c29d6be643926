"""The default engine: SedonaDB's SQL cleans columns and computes facts on Arrow, batch by batch, no row in Python."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import sedonadb
import shapely
from sedonadb import udf

from ingest.engines import AREA_CRS, WHITESPACE, SliceSource, open_features, schema
from ingest.engines.repair import polygonal, reason
from ingest.inspect import quote

MULTIPOLYGON_OF_ONE = "010600000001000000"  # little-endian WKB header of a MultiPolygon with one part
FID, GEOMETRY = "__fid", "__geometry"


@udf.arrow_udf(pa.binary(), [pa.binary()], name="repair_wkb")
def _repair_wkb(wkb: Any) -> pa.Array:
    return pa.array(shapely.to_wkb(polygonal(_geometries(wkb)), byte_order=1), pa.binary())


@udf.arrow_udf(pa.string(), [pa.binary()], name="invalid_reason_of")
def _invalid_reason_of(wkb: Any) -> pa.Array:
    return pa.array(reason(_geometries(wkb)), pa.string())


class SedonaEngine:
    """SedonaDB: GDAL's Arrow stream in, SQL, Arrow stream out."""

    @contextmanager
    def read(self, source: SliceSource) -> Iterator[pa.RecordBatchReader]:
        """Open a slice; see `ingest.engines.Engine.read`."""
        context = sedonadb.connect()
        # DataFusion otherwise gathers batches to 8,192 rows: that costs memory and stops reading from overlapping
        # with writing.
        for setting in (
            f"datafusion.execution.batch_size = {source.batch_rows}",
            "datafusion.execution.target_partitions = 1",
            "datafusion.execution.coalesce_batches = false",
        ):
            context.sql(f"SET {setting}").execute()
        context.register(_repair_wkb)
        context.register(_invalid_reason_of)
        with open_features(source) as (meta, stream):
            tap = _Tap(pa.RecordBatchReader.from_stream(stream))
            try:
                frame = context.create_data_frame(_named(tap, meta, source.names))
                frame.to_view("features")
                result = context.sql(statement(source)).to_arrow_reader()
                wanted = schema(tuple(name for name, _ in source.columns))
                yield pa.RecordBatchReader.from_stream(result).cast(wanted)
            finally:
                tap.shut()


def statement(source: SliceSource) -> str:
    """Return the SQL that turns the features of a layer into rows of the raw table.

    Parameters
    ----------
    source : SliceSource
        The slice.

    Returns
    -------
    str
        A select over the view ``features``.
    """
    texts = ",\n    ".join(f"{_clean(name, source.missing_text)} as {quote(raw)}" for raw, name in source.columns)
    names = ", ".join(quote(raw) for raw, _ in source.columns)
    geometry = quote(GEOMETRY)
    if source.crs:
        geometry = f"ST_Transform({geometry}, {_literal(source.crs)}, 'EPSG:4326')"
    return f"""
with features_in_degrees as (
    select {quote(FID)} as source_fid,
    {texts},
    {geometry} as g
    from features
),
checked as (
    select *,
        ST_AsBinary(g) as wkb,
        coalesce(
            not ST_IsEmpty(g) and ST_IsValid(g) and ST_GeometryType(g) in ('ST_Polygon', 'ST_MultiPolygon'), false
        ) as is_good
    from features_in_degrees
),
repaired as (
    select source_fid, {names}, wkb is null as is_null, is_good,
        case when is_good then null else invalid_reason_of(wkb) end as invalid_reason,
        case
            when not is_good then repair_wkb(wkb)
            when ST_ZmFlag(g) <> 0 and ST_GeometryType(g) = 'ST_Polygon'
                then X'{MULTIPOLYGON_OF_ONE}' || ST_AsBinary(ST_Force2D(g))
            when ST_ZmFlag(g) <> 0 then ST_AsBinary(ST_Force2D(g))
            when ST_GeometryType(g) = 'ST_Polygon' then X'{MULTIPOLYGON_OF_ONE}' || wkb
            else wkb
        end as geom
    from checked
),
parsed as (
    select *, ST_GeomFromWKBUnchecked(geom) as g from repaired
)
select
    {_literal(source.source_file)} as source_file,
    source_fid, {names},
    geom,
    ST_NPoints(g) as vertex_count,
    ST_Area(ST_Transform(g, 'EPSG:4326', '{AREA_CRS}')) / 1e6 as area_km2,
    ST_X(ST_PointOnSurface(g)) as point_lon, ST_Y(ST_PointOnSurface(g)) as point_lat,
    ST_XMin(g) as min_lon, ST_YMin(g) as min_lat, ST_XMax(g) as max_lon, ST_YMax(g) as max_lat,
    case when is_null then null else invalid_reason is null end as is_valid,
    invalid_reason
from parsed"""  # noqa: S608  every name is quoted, every text a literal


def _clean(name: str | None, missing_text: tuple[str, ...]) -> str:
    if name is None:
        return "cast(null as varchar)"
    text = f"btrim(cast({quote(name)} as varchar), {_literal(WHITESPACE)})"
    for missing in ("", *missing_text):
        text = f"nullif({text}, {_literal(missing)})"
    return text


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class _Tap:
    """A stream that can be shut: SedonaDB's own threads read ahead, and a file must not be read once it is closed."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self.schema = reader.schema
        self._reader = reader
        self._lock = threading.Lock()
        self._is_shut = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._next()) is not None:
            yield batch

    def shut(self) -> None:
        """Give no further batch; one that is being read is waited for."""
        with self._lock:
            self._is_shut = True

    def _next(self) -> pa.RecordBatch | None:
        with self._lock:
            return None if self._is_shut else next(self._reader, None)


def _named(tap: _Tap, meta: dict[str, Any], names: list[str]) -> pa.RecordBatchReader:
    """Give the id and geometry columns names that no attribute has."""
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


def _geometries(wkb: Any) -> np.ndarray[Any, np.dtype[np.object_]]:
    array = pa.array(wkb.to_array())
    return shapely.from_wkb(np.array(array.to_pylist(), dtype=object), on_invalid="ignore")
