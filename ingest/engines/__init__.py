"""Engines read a slice of a layer and return Arrow batches with the columns of the raw table.

Both return the same rows: ``sedonadb`` with SQL on Arrow, ``geopandas`` as the readable reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from ingest.engines.text import TRIMMED, readable, readable_schema
from ingest.errors import UsageError, did_you_mean
from ingest.layers import geoparquet
from ingest.layers.gdal import open_options, restrict_pyogrio
from ingest.layers.lending import lend
from ingest.layers.plan import BATCH_BYTES
from ingest.sources import parts

ENGINES = ("sedonadb", "geopandas")
AREA_CRS = "EPSG:6933"  # cylindrical equal area on the WGS 84 ellipsoid

ORIGIN: tuple[tuple[str, pa.DataType], ...] = (  # identifies a row of a run
    ("file_no", pa.int32()),
    ("source_file", pa.string()),
    ("source_layer", pa.string()),
    ("source_fid", pa.int64()),
)
FACTS: tuple[tuple[str, pa.DataType], ...] = (
    ("vertex_count", pa.int64()),
    ("area_km2", pa.float64()),
    ("area_km2_in_source", pa.float64()),
    ("point_lon", pa.float64()),
    ("point_lat", pa.float64()),
    ("min_lon", pa.float64()),
    ("min_lat", pa.float64()),
    ("max_lon", pa.float64()),
    ("max_lat", pa.float64()),
    ("west_lon", pa.float64()),
    ("east_lon", pa.float64()),
    ("is_valid", pa.bool_()),
    ("invalid_reason", pa.string()),
    ("geom_hash", pa.string()),
)


@dataclass(frozen=True)
class SliceSource:
    """What an engine needs to know about a slice.

    Attributes
    ----------
    path, layer : Path, str
        File and layer.
    file_no, source_file : int, str
        Values of the columns of these names; ``layer`` is the value of ``source_layer``.
    columns : tuple of (str, str or None)
        Raw column and the layer's name for it; None gives NULLs.
    missing_text : tuple of str
        Texts that mean NULL.
    crs : str or None
        The layer's reference system, as WKT or any text that PROJ accepts, when it is not EPSG:4326.
    where : str or None
        Filter that selects the slice's features.
    batch_bytes : int
        Maximum size of the geometries in a batch; more than the size of any one.
    batch_rows : int
        Maximum number of rows in a batch.
    is_validated : bool
        Whether geometries are checked for validity, and invalid ones repaired.
    encoding : str or None
        Encoding of the attributes, by Python's name; None in a format that is always UTF-8.
    beside : tuple of str
        Columns whose names differ from those of others only in case: GDAL cannot be told to skip one of them.
    keeps_points : bool
        Whether a row that is a point keeps it, as that of a unit without an area.
    """

    path: Path
    layer: str
    file_no: int
    source_file: str
    columns: tuple[tuple[str, str | None], ...]
    missing_text: tuple[str, ...]
    crs: str | None
    where: str | None
    batch_bytes: int
    batch_rows: int = 8192
    is_validated: bool = True
    encoding: str | None = None
    beside: tuple[str, ...] = ()
    keeps_points: bool = False

    @property
    def origin(self) -> dict[str, str | int]:
        """The columns that are the same in all rows of the slice."""
        return {"file_no": self.file_no, "source_file": self.source_file, "source_layer": self.layer}

    @property
    def names(self) -> list[str]:
        """The layer's columns to read."""
        return sorted({name for _, name in self.columns if name})


@contextmanager
def open_features(
    source: SliceSource, *, has_geometry: bool = True
) -> Iterator[tuple[dict[str, Any], pa.RecordBatchReader]]:
    """Open an Arrow stream over the features of a slice, including their ids; on request without geometry.

    GDAL reads them; Arrow itself reads GeoParquet.

    Returns
    -------
    context manager of (dict, pyarrow.RecordBatchReader)
        pyogrio's metadata of the layer, and batches as `readable` returns them, which can only be read inside the
        context.
    """
    if parts.suffix_of(source.path) in parts.PARQUET_SUFFIXES:
        yield {"geometry_name": geoparquet.GEOMETRY}, _rows(source, has_geometry=has_geometry)
        return
    import pyogrio.raw

    restrict_pyogrio()
    # GDAL ends a batch at this size. A number of rows would not limit it: one takes 100 bytes, the next 100 MB.
    pyogrio.set_gdal_config_options({"OGR_ARROW_MEM_LIMIT": str(source.batch_bytes)})
    with (
        lend(source.path) as path,
        pyogrio.raw.open_arrow(
            path,
            layer=source.layer,
            columns=[*source.names, *source.beside],
            where=source.where,
            read_geometry=has_geometry,
            return_fids=True,
            batch_size=source.batch_rows,
            **open_options(path),
            **({"ENCODING": ""} if source.encoding else {}),  # attributes as they are: GDAL loses what it cannot read
        ) as (meta, stream),
    ):
        batches = pa.RecordBatchReader.from_stream(stream)
        wanted = readable_schema(batches.schema, source)
        yield meta, pa.RecordBatchReader.from_batches(wanted, (readable(batch, source) for batch in batches))


def _rows(source: SliceSource, *, has_geometry: bool) -> pa.RecordBatchReader:
    """Return the rows of a slice of a GeoParquet."""
    description = geoparquet.describe(source.path)
    batches = geoparquet.batches(
        source.path,
        description,
        source.names,
        source.where,
        heaviest=max(source.batch_bytes - BATCH_BYTES, 0),
        most_bytes=source.batch_bytes,
        most_rows=source.batch_rows,
        has_geometry=has_geometry,
    )
    wanted = readable_schema(geoparquet.schema(description, source.names, has_geometry=has_geometry), source)
    return pa.RecordBatchReader.from_batches(wanted, (readable(batch, source) for batch in batches))


def cleaned(values: pa.StringArray, missing_text: tuple[str, ...]) -> pa.StringArray:
    """Return texts as the engines clean them: trimmed, and NULL where nothing or a word for missing is left."""
    trimmed = pc.utf8_trim(values, characters=TRIMMED)
    return pc.if_else(pc.is_in(trimmed, value_set=pa.array(["", *missing_text], pa.string())), None, trimmed)


def filled(batches: pa.RecordBatchReader, values: Sequence[tuple[str, str]]) -> pa.RecordBatchReader:
    """Pass on rows with a value in columns that the file does not have; other columns stay as they are."""
    places = {batches.schema.get_field_index(name): text for name, text in values if name in batches.schema.names}

    def rows() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns = [
                pa.repeat(pa.scalar(places[number], pa.string()), batch.num_rows) if number in places else column
                for number, column in enumerate(batch.columns)
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=batches.schema)

    return pa.RecordBatchReader.from_batches(batches.schema, rows()) if places else batches


class Engine(Protocol):
    """Reads a slice as Arrow batches."""

    def read(self, source: SliceSource) -> AbstractContextManager[pa.RecordBatchReader]:
        """Open a slice.

        Returns
        -------
        context manager of pyarrow.RecordBatchReader
            Batches of at most ``batch_rows`` rows and ``batch_bytes`` bytes of geometry, with the columns of `schema`;
            ``geom`` is WKB MultiPolygon, 2D, EPSG:4326, degrees. Invalid geometries are repaired, unless
            ``is_validated`` is off, and NULL if no polygon is left. Of a point that is kept, only ``point_lon`` and
            ``point_lat`` say where it is. ``geom_hash`` is the MD5 of ``geom``, in hexadecimal digits.
        """
        ...


def schema(columns: tuple[str, ...]) -> pa.Schema:
    """Return the Arrow schema of a raw table with these text columns."""
    texts: list[tuple[str, pa.DataType]] = [(name, pa.string()) for name in columns]
    return pa.schema([*ORIGIN, *texts, ("geom", pa.binary()), *FACTS])


def get(name: str) -> Engine:
    """Return an engine by name; its library is imported only here, in the worker."""
    if name == "sedonadb":
        from ingest.engines.sedonadb import SedonaEngine

        return SedonaEngine()
    if name == "geopandas":
        from ingest.engines.geopandas import GeoPandasEngine

        return GeoPandasEngine()
    raise UsageError(f"There is no engine {name!r}.", did_you_mean(name, ENGINES))
