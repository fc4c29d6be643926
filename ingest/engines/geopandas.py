"""The readable reference engine: returns the same rows as ``sedonadb``, batch by batch, with GeoPandas."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import shapely

from ingest.engines import AREA_CRS, SliceSource, open_features, schema
from ingest.engines.globe import Projection
from ingest.engines.measures import widest_gap
from ingest.engines.repair import restore
from ingest.engines.screen import points, screen
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
            projection = Projection.of(source.crs) if source.crs else None
            batches = (_rows(batch, geometry, source, projection, wanted) for batch in reader)
            yield pa.RecordBatchReader.from_batches(wanted, batches)


def _rows(
    batch: pa.RecordBatch, geometry: str, source: SliceSource, projection: Projection | None, wanted: pa.Schema
) -> pa.RecordBatch:
    """Turn a batch of features into rows of the raw table."""
    texts = pd.DataFrame({name: batch.column(name).to_pandas() for _, name in source.columns if name})
    (fid,) = set(batch.schema.names) - {geometry, *(name for _, name in source.columns if name)}
    rows: dict[str, object] = {**source.origin, "source_fid": batch.column(fid).to_pandas()}
    for raw, name in source.columns:
        rows[raw] = _clean(texts[name], source.missing_text) if name else None

    wkb = batch.column(geometry)
    storage = wkb.storage if isinstance(wkb, pa.ExtensionArray) else wkb
    screened = screen(storage.cast(pa.binary()), projection.to_degrees if projection else None)
    plain = gpd.GeoSeries(shapely.from_wkb(np.array(screened.plain.to_pylist(), dtype=object)), crs=CRS)
    is_odd = shapely.is_missing(plain.to_numpy())
    rows["geom"] = shapely.to_wkb(plain.to_numpy(), byte_order=1)
    rows |= _facts(plain)
    rows |= {"is_valid": True if source.is_validated else None, "invalid_reason": None}
    table = pd.DataFrame(rows, index=plain.index, columns=wanted.names).astype(object)

    is_invalid = ~is_odd & ~shapely.is_valid(plain.to_numpy()) & source.is_validated
    if source.keeps_points:
        is_point, *place = points(screened.odd, projection.to_degrees if projection else None)
        table.loc[is_point, ["point_lon", "point_lat"]] = np.column_stack(place)
        is_odd &= ~is_point
    for is_bad, values, crs in ((is_odd, screened.odd, projection), (is_invalid, screened.plain, None)):
        made = restore(values.filter(pa.array(is_bad)).to_pylist(), crs, is_validated=source.is_validated)
        for name, column in {"geom": made.wkb, **made.facts}.items():
            table.loc[is_bad, name] = pd.Series(column.to_pylist(), index=table.index[is_bad], dtype=object)
    table["geom_hash"] = table["geom"].map(_hash)
    return pa.RecordBatch.from_pandas(table, schema=wanted, preserve_index=False)


def _hash(wkb: bytes | None) -> str | None:
    return None if wkb is None else hashlib.md5(wkb, usedforsecurity=False).hexdigest()


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
    areas = (geometry.to_crs(AREA_CRS).area / 1e6).where(is_present)
    west_and_east = bounds[["minx", "maxx"]].copy()
    for row in bounds.index[bounds["maxx"] - bounds["minx"] > 180]:
        west_and_east.loc[row] = widest_gap(*shapely.bounds(shapely.get_parts(geometry[row])).T[[0, 2]])
    return {
        "vertex_count": pd.Series(counts, index=geometry.index, dtype="Int64").where(is_present),
        "area_km2": areas,
        "area_km2_in_source": areas,
        "point_lon": points.x.where(is_present),
        "point_lat": points.y.where(is_present),
        "min_lon": bounds["minx"],
        "min_lat": bounds["miny"],
        "max_lon": bounds["maxx"],
        "max_lat": bounds["maxy"],
        "west_lon": west_and_east["minx"],
        "east_lon": west_and_east["maxx"],
    }
