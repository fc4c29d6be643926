"""Read-only access to the marts on either target: lookups for people, Arrow batches for files and maps.

Only the target's own driver is imported, and only when it is needed, so that a single lookup is quick.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from admin_boundaries.marts import Mart, how_to_build
from ingest.errors import MartsMissing, MartsReplaced, UsageError, did_you_mean
from ingest.settings import Settings, build_command

if TYPE_CHECKING:
    import pyarrow as pa

    from admin_boundaries.edition import Edition
    from admin_boundaries.find import Name
    from admin_boundaries.locate import Floats, Row


class Warehouse(Protocol):
    """An open, read-only connection to the marts of a dataset, on either target.

    Attributes
    ----------
    dataset : str
        The hierarchical dataset.
    marts : str
        The schema of its marts.
    as_wkb : str
        The SQL function that returns the WKB of a geometry.
    envelope : str
        The SQL of a rectangle, with ``?`` for west, south, east and north.
    kind_of_marts : str
        What the catalogue calls the marts: `BASE TABLE` or `VIEW`.
    has_functions : bool
        Whether there are functions beside the marts that locate points and find names.
    """

    dataset: str
    marts: str
    as_wkb: str
    envelope: str
    kind_of_marts: str
    has_functions: bool

    def locate(self, lon: float, lat: float) -> Row:
        """Look up one point; see `admin_boundaries.locate.COLUMNS`."""
        ...

    def locate_points(self, lons: Floats, lats: Floats) -> list[Row]:
        """Look up many points; the answers are in the order of the points."""
        ...

    def find(self, name: str, limit: int) -> list[Name]:
        """Find units by key, code, name or prefix.

        Keys and codes come first, then whole names; own names come before variants and local names.
        """
        ...

    def editions(self) -> list[Edition]:
        """Return which run the marts are of, and which is published, for each dataset that they are made from, by name.

        Returns
        -------
        list of Edition
            Empty if the marts do not say: versions before this one recorded no run.

        Raises
        ------
        MartsMissing
            When there are no marts.
        """
        ...

    def published(self) -> list[str]:
        """Return the datasets that have a published run, whether or not there are marts of them."""
        ...

    def keep_little(self) -> None:
        """Use little memory from here on, as for tables that are streamed once: DuckDB keeps all that it has read."""
        ...

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query; ``?`` stands for a parameter."""
        ...

    def reader(
        self, mart: Mart, columns: Sequence[str], where: str = "true", parameters: Sequence[Any] = ()
    ) -> pa.RecordBatchReader:
        """Return rows of a mart as a stream.

        Parameters
        ----------
        mart : Mart
            The mart.
        columns : sequence of str
            SQL expressions of the columns.
        where : str
            SQL condition; ``?`` stands for a parameter.
        parameters : sequence
            Values of the parameters.

        Returns
        -------
        pyarrow.RecordBatchReader
            Batches of a few megabytes from PostgreSQL, ordered by the key; of 2,048 rows from DuckDB.
        """
        ...

    def stream(self, query: str, parameters: Sequence[Any] = ()) -> pa.RecordBatchReader:
        """Return the rows of a query of ours as a stream; ``?`` stands for a parameter."""
        ...

    def expected_failures(self) -> AbstractContextManager[None]:
        """Turn what the driver raises within a block into an expected failure, where it is one.

        For who keeps the marts open longer than a block of `open_warehouse`.

        Raises
        ------
        MartsMissing, TargetUnavailable
            As `open_warehouse`.
        """
        ...

    def query(self, statement: str) -> pa.RecordBatchReader:
        """Return the rows of one statement of somebody else's as a stream. Geometry is WKB, marked as `geoarrow.wkb`.

        Raises
        ------
        QueryFailed
            When the database refuses it, also where it would change something.
        """
        ...


@contextmanager
def open_warehouse(settings: Settings) -> Iterator[Warehouse]:
    """Connect to the marts of a dataset.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset.

    Yields
    ------
    Warehouse

    Raises
    ------
    MartsMissing
        When the marts have not been built.
    TargetUnavailable
        When the database does not answer, or another process has it open for writing.
    """
    if settings.postgres:
        from admin_boundaries import postgres_warehouse

        with postgres_warehouse.connected(settings.postgres, settings.boundaries) as warehouse:
            yield warehouse
    elif settings.spark:
        from admin_boundaries.spark import warehouse as spark_warehouse

        with spark_warehouse.connected(settings.spark, settings.lake, settings.boundaries) as on_spark:
            yield on_spark
    else:
        from admin_boundaries import duckdb_warehouse

        with duckdb_warehouse.connected(settings.warehouse, settings.lake, settings.boundaries) as embedded:
            yield embedded


@contextmanager
def of_one_build(warehouse: Warehouse) -> Iterator[None]:
    """Let a block ask several questions whose answers belong together.

    A question is answered by one build. On PostgreSQL, the next question may be answered by the next build; a DuckDB
    session keeps the file that it opened.

    Raises
    ------
    MartsReplaced
        At the end of the block, when the marts are of another build than when it began.
    """

    def builds() -> set[str | None]:
        return {edition.build_id for edition in warehouse.editions()}

    before = builds()
    yield
    if builds() != before:
        raise MartsReplaced(
            "A build has replaced the marts while they were read, so there is no answer.", "Run the command again."
        )


def known_marts(warehouse: Warehouse) -> dict[str, Mart]:
    """Return all marts by name.

    Raises
    ------
    MartsMissing
        When none have been built.
    """
    query = (
        "select columns.table_name, columns.column_name from information_schema.columns "
        "inner join information_schema.tables using (table_schema, table_name) "
        "where table_schema = ? and tables.table_type = ? order by 1, columns.ordinal_position"
    )
    columns: dict[str, list[str]] = {}
    for table, column in warehouse.rows(query, [warehouse.marts, warehouse.kind_of_marts]):
        columns.setdefault(table, []).append(column)
    if not columns:
        raise MartsMissing(
            f"There are no marts of {warehouse.dataset}.", how_to_build(warehouse.dataset, warehouse.published())
        )
    return {name: Mart(name, tuple(found), warehouse.marts) for name, found in columns.items()}


def needed(warehouse: Warehouse, name: str) -> Mart:
    """Return a mart that an answer is made from.

    Raises
    ------
    MartsMissing
        When it is not there: an earlier version built the marts, or only a part of them has been built.
    """
    known = known_marts(warehouse)
    if name not in known:
        raise MartsMissing(
            f"The marts lack {name}: an earlier version built them, or not all of them have been built.",
            how_to_build(warehouse.dataset, warehouse.published()),
        )
    return known[name]


def how_to_make(warehouse: Warehouse) -> str:
    """Return what to do about a mart that a build makes in Python, and that is missing."""
    if warehouse.kind_of_marts == "VIEW":
        return "Spark does not make it. Build with WAREHOUSE_TARGET=embedded: see docs/spark.md."
    return f"Run `{build_command(warehouse.dataset)}`."


def named(known: dict[str, Mart], name: str) -> Mart:
    """Return a mart by name.

    Raises
    ------
    UsageError
        When there is no such mart.
    """
    if name not in known:
        raise UsageError(f"There is no mart {name!r}.", did_you_mean(name, known))
    return known[name]
