"""Rows of the marts, read when they are asked for: as Arrow, or as a frame of pandas or GeoPandas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ingest.errors import UsageError

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    import pyarrow as pa

SHORT_OFFSETS = 1 << 30  # bytes; Arrow's usual texts and bytes hold twice as many in one piece


class Rows:
    """Rows that are read when they are asked for, and each time anew. Geometry is WKB, marked as ``geoarrow.wkb``.

    Whatever reads Arrow streams takes them as they are: ``pyarrow.table(rows)``, ``polars.from_arrow(rows)``, or
    ``rows`` in a query of DuckDB's Python package after ``register``.

    Parameters
    ----------
    read : callable
        Returns the rows as a stream.
    failures : callable
        Returns a context that turns what a driver raises into an expected failure.
    order : sequence of str
        Columns that `arrow` sorts by, where they are there. Streams are in no order.
    """

    def __init__(
        self,
        read: Callable[[], pa.RecordBatchReader],
        failures: Callable[[], AbstractContextManager[None]],
        order: Sequence[str] = (),
    ) -> None:
        self._read, self._failures, self._order = read, failures, order

    def __repr__(self) -> str:
        return "<Rows, not read yet: .to_pandas(), .to_geopandas(), .arrow() or .reader()>"

    def reader(self) -> pa.RecordBatchReader:
        """Return the rows as a stream of batches, of which few are in memory at a time.

        Returns
        -------
        pyarrow.RecordBatchReader
        """
        with self._failures():
            return self._read()

    def arrow(self) -> pa.Table:
        """Return all rows.

        Returns
        -------
        pyarrow.Table
        """
        with self._failures():
            table = self._read().read_all()
        return _sorted(table, [name for name in self._order if name in table.column_names])

    def to_pandas(self) -> pd.DataFrame:
        """Return all rows as a frame; geometry is WKB."""
        frame: pd.DataFrame = self.arrow().to_pandas()
        return frame

    def to_geopandas(self) -> gpd.GeoDataFrame:
        """Return all rows as a frame with geometry, in longitude and latitude on WGS 84.

        Raises
        ------
        UsageError
            When there is no geometry in them.
        """
        import geopandas as gpd

        from admin_boundaries.geometry import CRS, geometry_columns, shapes

        table = self.arrow()
        geometry = geometry_columns(table.schema)
        if not geometry:
            raise UsageError("There is no geometry in these rows.", "Take them as to_pandas().")
        frame = table.drop_columns([table.column_names[at] for at in geometry]).to_pandas()
        for at in geometry:
            found = gpd.GeoSeries(shapes(table.column(at)), crs=CRS, index=frame.index)
            frame.insert(at, table.column_names[at], found)
        return gpd.GeoDataFrame(frame, geometry=table.column_names[geometry[0]])

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.reader().__arrow_c_stream__(requested_schema)


def with_plain_geometry(reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Return a stream with its geometry as WKB by OGC: PostGIS adds the reference system to it."""
    import pyarrow as pa
    import shapely

    from admin_boundaries.geometry import geometry_columns, marked, shapes

    geometry = geometry_columns(reader.schema)
    if not geometry:
        return reader
    schema = pa.schema([marked(field.name) if at in geometry else field for at, field in enumerate(reader.schema)])

    def plain(at: int, column: pa.Array) -> Any:
        return pa.array(shapely.to_wkb(shapes(column), include_srid=False), pa.binary()) if at in geometry else column

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            yield pa.record_batch([plain(*column) for column in enumerate(batch.columns)], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _sorted(table: pa.Table, order: Sequence[str]) -> pa.Table:
    """Return a table in an order that does not depend on the target."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not order:
        return table
    if table.nbytes > SHORT_OFFSETS:
        wide = [
            field.with_type(pa.large_binary()) if pa.types.is_binary(field.type) else field for field in table.schema
        ]
        table = table.cast(pa.schema(wide))
    return table.take(pc.sort_indices(table.select(order), [(name, "ascending") for name in order]))
