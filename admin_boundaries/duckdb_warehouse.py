"""The marts in DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.find import FIND, Name
from admin_boundaries.marts import NOT_BUILT, Mart, first_line, quoted, relation
from ingest.errors import MartsMissing, TargetUnavailable

if TYPE_CHECKING:
    import pyarrow as pa

    from admin_boundaries.locate import Floats, Row

VECTOR_ROWS = 2048  # the smallest batch that DuckDB reads


@contextmanager
def connected(path: Path) -> Iterator[DuckdbWarehouse]:
    """Open a warehouse file read-only; see `admin_boundaries.warehouse.open_warehouse`."""
    if not path.exists():
        raise MartsMissing(f"There is no warehouse {path}.", NOT_BUILT)
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            load_spatial(connection)
            yield DuckdbWarehouse(connection)
    except duckdb.CatalogException as error:
        raise MartsMissing(f"{path} lacks some of the marts: {first_line(error)}.", NOT_BUILT) from error
    except duckdb.IOException as error:
        raise TargetUnavailable(
            f"{path} cannot be read: {first_line(error)}.", "Wait for `dbt build` to finish: it locks the file."
        ) from error


class DuckdbWarehouse:
    """See `admin_boundaries.warehouse.Warehouse`."""

    as_wkb = "ST_AsWKB"

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def locate(self, lon: float, lat: float) -> Row:
        """Look up one point."""
        row: Row | None = self._connection.execute("select * from marts.locate(?, ?)", [lon, lat]).fetchone()
        assert row is not None  # noqa: S101  the function returns a row for every point
        return row

    def locate_points(self, lons: Floats, lats: Floats) -> list[Row]:
        """Look up many points; the function reads them from a registered table."""
        import numpy as np
        import pyarrow

        points = pyarrow.table({"point_number": np.arange(len(lons)), "lon": lons, "lat": lats})
        self._connection.register("points_to_locate", points)
        query = "select * exclude (point_number) from marts.locate_points('points_to_locate')"
        return self._connection.execute(query).fetchall()

    def find(self, name: str, limit: int) -> list[Name]:
        """Find units by name or prefix."""
        query = FIND.format(name="?", begins="starts_with(names.folded_name, wanted.folded_name)", limit="?")
        return [Name(*row) for row in self._connection.execute(query, [name, limit]).fetchall()]

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return self._connection.execute(query, list(parameters)).fetchall()

    def reader(
        self, mart: Mart, columns: Sequence[str], where: str = "true", parameters: Sequence[Any] = ()
    ) -> pa.RecordBatchReader:
        """Stream rows in the order of the table: a sort would hold every geometry in memory."""
        query = f"select {', '.join(columns)} from {relation(mart)} where ({where})"  # noqa: S608  it contains no value
        order = "" if mart.has_geometry else f" order by {quoted(mart.key)}"
        return self._connection.cursor().execute(query + order, list(parameters)).to_arrow_reader(VECTOR_ROWS)
