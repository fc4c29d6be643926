"""The readable reference engine: returns the same rows as ``sedonadb``, batch by batch, with GeoPandas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import shapely

from ingest.engines import AREA_CRS, SliceSource, open_features, schema
from ingest.engines.repair import multipolygons, reason
from ingest.engines.text import TRIMMED

CRS = "EPSG:4326"


class GeoPandasEngine:
    """GeoPandas: a frame per batch, cleaned column by column."""

    @contextmanager
    def read(self, source: SliceSource) -> Iterator[pa.RecordBatchReader]:
        """Open a slice; see `ingest.engines.Engine.read`."""
        wanted = schema(tuple(name for name, _ in source.columns))
        with open_features(source) as (meta, reader):
            geometry = meta.get("geometry_name") or "wkb_geometry"
            batches = (_rows(batch, geometry, source, wanted) for batch in reader)
            yield pa.RecordBatchReader.from_batches(wanted, batches)


def _rows(batch: pa.RecordBatch, geometry: str, source: SliceSource, wanted: pa.Schema) -> pa.RecordBatch:
    """Turn a batch of features into rows of the raw table."""
    wkb = batch.column(geometry)
    storage = wkb.storage if isinstance(wkb, pa.ExtensionArray) else wkb
    frame = gpd.GeoDataFrame(
        {name: batch.column(name).to_pandas() for _, name in source.columns if name},
        geometry=gpd.GeoSeries(shapely.from_wkb(np.array(storage.to_pylist(), dtype=object), on_invalid="ignore")),
        crs=source.crs or CRS,
    ).to_crs(CRS)
    reasons = reason(frame.geometry.to_numpy(), is_validated=source.is_validated)
    frame["invalid_reason"] = reasons
    frame["is_valid"] = frame["invalid_reason"].isna().astype(object)
    is_unchecked = frame["invalid_reason"].isna() & (not source.is_validated)
    is_unknown = shapely.is_missing(frame.geometry.to_numpy()) | is_unchecked
    frame.loc[is_unknown, "is_valid"] = None
    repaired = multipolygons(frame.geometry.to_numpy(), reasons)
    frame.geometry = gpd.GeoSeries(repaired, index=frame.index, crs=CRS)

    (fid,) = set(batch.schema.names) - {geometry, *(name for _, name in source.columns if name)}
    rows: dict[str, object] = {**source.origin, "source_fid": batch.column(fid).to_pandas()}
    for raw, name in source.columns:
        rows[raw] = _clean(frame[name], source.missing_text) if name else None
    rows["geom"] = shapely.to_wkb(frame.geometry.to_numpy(), byte_order=1)
    rows |= _facts(frame.geometry)
    rows |= {"is_valid": frame["is_valid"], "invalid_reason": frame["invalid_reason"]}
    table = pd.DataFrame(rows, index=frame.index, columns=wanted.names)
    return pa.RecordBatch.from_pandas(table, schema=wanted, preserve_index=False)


def _clean(text: pd.Series[str], missing_text: tuple[str, ...]) -> pd.Series[str]:
    trimmed = (
        text.astype(object)
        .where(text.notna(), None)
        .map(lambda value: value if value is None else value.strip(TRIMMED))
    )
    return trimmed.where(~trimmed.isin(["", *missing_text]), None)


def _facts(geometry: gpd.GeoSeries) -> dict[str, object]:
    is_present = geometry.notna()
    bounds = geometry.bounds
    points = geometry.representative_point()
    counts = shapely.get_num_coordinates(geometry.to_numpy())
    return {
        "vertex_count": pd.Series(counts, index=geometry.index, dtype="Int64").where(is_present),
        "area_km2": (geometry.to_crs(AREA_CRS).area / 1e6).where(is_present),
        "point_lon": points.x.where(is_present),
        "point_lat": points.y.where(is_present),
        "min_lon": bounds["minx"],
        "min_lat": bounds["miny"],
        "max_lon": bounds["maxx"],
        "max_lat": bounds["maxy"],
    }
