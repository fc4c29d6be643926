"""Engines read a slice of a layer and give it as Arrow batches in the shape of the raw table.

Both give the same table, row for row: ``sedonadb`` by SQL on Arrow, ``geopandas`` as readable reference.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from ingest.errors import UsageError, did_you_mean
from ingest.layers.gdal import restrict_pyogrio

ENGINES = ("sedonadb", "geopandas")
WHITESPACE = " \t\n\r\f\v\u00a0\u2007\u202f\u3000\ufeff"  # what is trimmed off a text at both ends
AREA_CRS = "EPSG:6933"  # cylindrical equal area on the WGS 84 ellipsoid

FACTS: tuple[tuple[str, pa.DataType], ...] = (
    ("vertex_count", pa.int64()),
    ("area_km2", pa.float64()),
    ("point_lon", pa.float64()),
    ("point_lat", pa.float64()),
    ("min_lon", pa.float64()),
    ("min_lat", pa.float64()),
    ("max_lon", pa.float64()),
    ("max_lat", pa.float64()),
    ("is_valid", pa.bool_()),
    ("invalid_reason", pa.string()),
)


@dataclass(frozen=True)
class SliceSource:
    """What an engine needs to know of a slice.

    Attributes
    ----------
    path, layer : Path, str
        File and layer.
    source_file : str
        What the column ``source_file`` says.
    columns : tuple of (str, str or None)
        Raw column and the layer's name for it; None gives NULLs.
    missing_text : tuple of str
        Texts that mean NULL.
    crs : str or None
        WKT of the layer's reference system when it is not EPSG:4326.
    where : str or None
        Filter that picks the slice's features.
    batch_bytes : int
        The most that the geometries of a batch may weigh; more than any of them does.
    batch_rows : int
        The most rows of a batch.
    is_validated : bool
        Whether the validity of geometry is checked, and what is invalid repaired.
    """

    path: Path
    layer: str
    source_file: str
    columns: tuple[tuple[str, str | None], ...]
    missing_text: tuple[str, ...]
    crs: str | None
    where: str | None
    batch_bytes: int
    batch_rows: int = 8192
    is_validated: bool = True

    @property
    def names(self) -> list[str]:
        """The layer's own columns that are read."""
        return sorted({name for _, name in self.columns if name})


def open_features(source: SliceSource) -> AbstractContextManager[tuple[dict[str, Any], Any]]:
    """Open GDAL's Arrow stream over the features of a slice, their ids included.

    Returns
    -------
    context manager of (dict, Arrow stream)
        What pyogrio says of the layer, and the stream; it can be read only inside the context.
    """
    import pyogrio.raw

    restrict_pyogrio()
    # GDAL ends a batch at this weight: a number of rows says little where one weighs 100 bytes and the next 100 MB.
    pyogrio.set_gdal_config_options({"OGR_ARROW_MEM_LIMIT": str(source.batch_bytes)})
    opened: AbstractContextManager[tuple[dict[str, Any], Any]] = pyogrio.raw.open_arrow(
        source.path,
        layer=source.layer,
        columns=source.names,
        where=source.where,
        return_fids=True,
        batch_size=source.batch_rows,
    )
    return opened


class Engine(Protocol):
    """Turns a slice into Arrow."""

    def read(self, source: SliceSource) -> AbstractContextManager[pa.RecordBatchReader]:
        """Open a slice.

        Returns
        -------
        context manager of pyarrow.RecordBatchReader
            Batches of at most ``batch_rows`` rows and ``batch_bytes`` bytes of geometry, with the columns of `schema`;
            ``geom`` is WKB MultiPolygon, 2D, EPSG:4326, degrees, repaired where it was invalid (unless that is not
            checked) and NULL where nothing polygonal is left.
        """
        ...


def schema(columns: tuple[str, ...]) -> pa.Schema:
    """Return the Arrow schema of a raw table with these text columns."""
    texts: list[tuple[str, pa.DataType]] = [(name, pa.string()) for name in columns]
    return pa.schema([("source_file", pa.string()), ("source_fid", pa.int64()), *texts, ("geom", pa.binary()), *FACTS])


def get(name: str) -> Engine:
    """Return an engine by name; its library is imported here, in the worker, and not before."""
    if name == "sedonadb":
        from ingest.engines.sedonadb import SedonaEngine

        return SedonaEngine()
    if name == "geopandas":
        from ingest.engines.geopandas import GeoPandasEngine

        return GeoPandasEngine()
    raise UsageError(f"There is no engine {name!r}.", did_you_mean(name, ENGINES))
