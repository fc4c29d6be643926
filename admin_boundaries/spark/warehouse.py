"""What the command line reads of the marts on Spark: Parquet of the published edition, by DuckDB, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import duckdb

from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.duckdb_warehouse import DuckdbWarehouse
from admin_boundaries.marts import first_line, how_to_build
from admin_boundaries.spark.edition import Edition, read_edition
from admin_boundaries.spark.storage import LocalStorage, is_local
from ingest.errors import MartsMissing, TargetUnavailable
from ingest.settings import with_dataset

if TYPE_CHECKING:
    from admin_boundaries.find import Name
    from admin_boundaries.locate import Floats, Row

HINT = (
    "Ask them with open_marts in a session of Spark, or build them with WAREHOUSE_TARGET=embedded: see docs/spark.md."
)


@contextmanager
def connected(root: str, lake: Path, dataset: str) -> Iterator[SparkWarehouse]:
    """Open the marts of a dataset that lie in a folder, beside the lake; see `open_warehouse`.

    Parameters
    ----------
    root : str
        The folder, or an address.
    lake : Path
        The lake that they are built from.
    dataset : str
        The hierarchical dataset.
    """
    if not is_local(root):
        raise TargetUnavailable(f"Marts on Spark at {root} do not answer on the command line.", HINT)
    marts = with_dataset("marts", dataset)
    edition = read_edition(LocalStorage(Path(root)), marts)
    with duckdb.connect() as connection:
        warehouse = SparkWarehouse(connection, lake, dataset)
        if edition is None:
            raise MartsMissing(f"There are no marts in {root}.", how_to_build(dataset, warehouse.published()))
        load_spatial(connection)
        add_marts(connection, Path(root), marts, edition)
        with warehouse.expected_failures():
            yield warehouse


def add_marts(connection: duckdb.DuckDBPyConnection, root: Path, marts: str, edition: Edition) -> None:
    """Make views on the marts of an edition, in a schema of theirs; geometry needs the spatial extension."""
    connection.execute(f"create schema {marts}")
    for name, table in edition.tables.items():
        if name.startswith(f"{marts}."):
            pattern = str(root / table.path / "*.parquet").replace("'", "''")
            connection.execute(f"create view {name} as select * from read_parquet('{pattern}')")  # noqa: S608


class SparkWarehouse(DuckdbWarehouse):
    """See `admin_boundaries.warehouse.Warehouse`."""

    kind_of_marts, has_functions = "VIEW", False

    @contextmanager
    def expected_failures(self) -> Iterator[None]:
        """Say where to ask instead."""
        try:
            yield
        except duckdb.CatalogException as error:
            raise TargetUnavailable(
                f"The marts on Spark lack what this asks for: {first_line(error)}.", HINT
            ) from error

    def locate(self, lon: float, lat: float) -> NoReturn:
        """Refuse: there is no function to ask."""
        raise TargetUnavailable("`locate` does not answer single points on Spark.", HINT)

    def locate_points(self, lons: Floats, lats: Floats) -> list[Row]:
        """Refuse: there is no function to ask."""
        raise TargetUnavailable("`locate` does not answer with a function of the marts on Spark.", HINT)

    def find(self, name: str, limit: int) -> list[Name]:
        """Refuse: there is no function that folds a name."""
        raise TargetUnavailable("`find` does not answer on Spark.", HINT)
