"""The marts in DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from admin_boundaries import edition
from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.find import FIND, Name, by_code, joined
from admin_boundaries.locate import ANSWER
from admin_boundaries.marts import (
    Mart,
    datasets_of,
    first_line,
    how_to_build,
    quoted,
    refused_while_read,
    relation,
)
from admin_boundaries.warehouse import known_marts
from ingest.errors import MartsMissing, QueryFailed, TargetUnavailable
from ingest.settings import build_command, with_dataset

if TYPE_CHECKING:
    import pyarrow as pa

    from admin_boundaries.edition import Edition
    from admin_boundaries.locate import Floats, Row

LITTLE = "500MB"
READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.CALL)
VECTOR_ROWS = 2048  # the smallest batch that DuckDB reads
LOCKED = "Could not set lock"
OWN_FAULTS = ("INTERNAL Error", "FATAL Error")
MISSING = (duckdb.CatalogException, duckdb.BinderException)  # a mart, or a column of one of an older version
# As microseconds, since DuckDB's driver needs another package to fetch a time with a zone.
AS_TIME = "epoch_us({})"
PUBLISHED = (
    "(select dataset, run_id, release, variant, scope, published_at from read_parquet(?) where state = 'published')"
)
NONE_PUBLISHED = (
    "(select null::text as dataset, null::text as run_id, null::text as release, null::text as variant, "
    "null::text as scope, null::timestamptz as published_at where false)"
)


@contextmanager
def connected(path: Path, lake: Path, dataset: str) -> Iterator[DuckdbWarehouse]:
    """Open the warehouse file of a dataset read-only, beside the lake that it is built from; see `open_warehouse`."""
    if not path.exists():
        raise no_warehouse(path, lake, dataset)
    with _unreadable(path, dataset), duckdb.connect() as connection:
        connection.execute(f"use {attach(connection, path)}")
        warehouse = DuckdbWarehouse(connection, lake, dataset, path)
        with warehouse.expected_failures():
            yield warehouse


def no_warehouse(path: Path, lake: Path, dataset: str) -> MartsMissing:
    """Return the error to raise where there is no warehouse file: it says what to load, or to build."""
    with duckdb.connect() as connection:
        published = DuckdbWarehouse(connection, lake, dataset).published()
    return MartsMissing(f"There is no warehouse {path}.", how_to_build(dataset, published))


def attach(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    """Attach a warehouse file to an empty database, read-only, and return its name there, for ``use``.

    DuckDB would give a process that opens it by its path what it has open under that path, although a build has put
    another file there. It would also look for an extension, in the network, to read the file of another program.
    """
    load_spatial(connection)
    place, name = str(path).replace("'", "''"), quoted(path.stem)
    connection.execute(f"attach '{place}' as {name} (type duckdb, read_only)")
    return name


@contextmanager
def _unreadable(path: Path, dataset: str) -> Iterator[None]:
    try:
        yield
    except duckdb.IOException as error:
        hint = (
            "Close the program that has it open for writing, such as a notebook. Opened read-only, it is not locked."
            if LOCKED in str(error)
            else f"Check that it is a DuckDB file that you may read. `{build_command(dataset)}` makes a new one."
        )
        raise TargetUnavailable(f"{path} cannot be read: {first_line(error)}.", hint) from error


class DuckdbWarehouse:
    """See `admin_boundaries.warehouse.Warehouse`."""

    as_wkb, kind_of_marts, has_functions = "ST_AsWKB", "BASE TABLE", True
    envelope = "ST_MakeEnvelope(?, ?, ?, ?)"

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, lake: Path, dataset: str, place: Path | None = None
    ) -> None:
        self.dataset, self.marts = dataset, with_dataset("marts", dataset)
        self._connection, self._place = connection, place or lake
        self._runs = lake / "ledger" / "ingest_runs.parquet"
        ((self._database,),) = connection.execute("select current_database()").fetchall()

    def locate(self, lon: float, lat: float) -> Row:
        """Look up one point."""
        query = f"select {ANSWER} from {self.marts}.locate(?, ?)"  # noqa: S608  it contains no value
        row: Row | None = self._connection.execute(query, [lon, lat]).fetchone()
        assert row is not None  # noqa: S101  the function returns a row for every point
        return row

    def locate_points(self, lons: Floats, lats: Floats) -> list[Row]:
        """Look up many points; the function reads them from a registered table."""
        import numpy as np
        import pyarrow

        points = pyarrow.table({"point_number": np.arange(len(lons)), "lon": lons, "lat": lats})
        self._connection.register("points_to_locate", points)
        points_found = f"{self.marts}.locate_points('points_to_locate')"
        query = f"select {ANSWER} from {points_found}"  # noqa: S608  it contains no value
        return self._connection.execute(query).fetchall()

    def find(self, name: str, limit: int) -> list[Name]:
        """Find units by key, code, name or prefix."""
        begins = "starts_with(names.folded_name, wanted.folded_name)"
        query = FIND.format(marts=self.marts, name="?", begins=begins, limit="?")
        names = [Name(*row) for row in self._connection.execute(query, [name, limit]).fetchall()]
        return joined(by_code(self, name, limit), names, limit)

    def editions(self) -> list[Edition]:
        """Compare what the build recorded with the copy of the ledger in the lake."""
        published, parameters = self._published()
        try:
            query = edition.query(self.marts, published, AS_TIME)
            return edition.from_rows(self.rows(query, [*parameters, *datasets_of(self.dataset)]))
        except duckdb.CatalogException:
            known_marts(self)
            return []

    def published(self) -> list[str]:
        """Return the datasets that have a published run, according to the copy of the ledger in the lake."""
        published, parameters = self._published()
        query = f"select dataset from {published} order by dataset"  # noqa: S608  it contains no value
        return [dataset for (dataset,) in self.rows(query, parameters)]

    def _published(self) -> tuple[str, list[str]]:
        """Return the relation of the published runs and its parameters; nothing is published before the first load."""
        return (PUBLISHED, [str(self._runs)]) if self._runs.exists() else (NONE_PUBLISHED, [])

    def keep_little(self) -> None:
        """Keep no more of the file in memory than queries need."""
        self._connection.execute(f"set memory_limit = '{LITTLE}'")

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        try:
            return self._connection.execute(query, list(parameters)).fetchall()
        except duckdb.Error as error:
            if str(self._runs) not in str(error):
                raise
            reason = f"The copy of the ledger cannot be read: {first_line(error)}."
            raise TargetUnavailable(reason, "Run `python -m ingest doctor --repair`.") from error

    def reader(
        self, mart: Mart, columns: Sequence[str], where: str = "true", parameters: Sequence[Any] = ()
    ) -> pa.RecordBatchReader:
        """Stream rows in the order of the table: a sort would hold every geometry in memory."""
        query = f"select {', '.join(columns)} from {relation(mart)} where ({where})"  # noqa: S608  it contains no value
        order = "" if mart.has_geometry else f" order by {quoted(mart.key)}"
        return self.stream(query + order, parameters)

    def stream(self, query: str, parameters: Sequence[Any] = ()) -> pa.RecordBatchReader:
        """Stream the rows of a query of ours."""
        return self._cursor().execute(query, list(parameters)).to_arrow_reader(VECTOR_ROWS)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection for a stream, which looks into the same file."""
        cursor = self._connection.cursor()
        cursor.execute(f"use {quoted(self._database)}")
        return cursor

    @contextmanager
    def expected_failures(self) -> Iterator[None]:
        """Say what to do where a mart is missing, or the file cannot be read."""
        with _unreadable(self._place, self.dataset):
            try:
                yield
            except MISSING as error:
                raise MartsMissing(
                    f"{self._place} lacks some of the marts: {first_line(error)}.",
                    how_to_build(self.dataset, self.published()),
                ) from error

    def query(self, statement: str) -> pa.RecordBatchReader:
        """Stream the rows of one statement of somebody else's, which may read files as well."""
        try:
            found = [each.type for each in self._connection.extract_statements(statement)]
            if len(found) != 1:
                raise QueryFailed("This is not one statement.", "Give one at a time.")
            if found[0] not in READING:
                raise QueryFailed(f"{found[0].name} is not a query, and the marts are read-only.", "Ask by select.")
            reader = self._cursor().execute(statement).to_arrow_reader(VECTOR_ROWS)
        except duckdb.Error as error:
            raise _refused(str(error)) from error
        return refused_while_read(reader, _refused)


def _refused(said: str) -> QueryFailed:
    """Return the error for what DuckDB says of a statement, without the addresses in its program."""
    if not said.startswith(OWN_FAULTS):
        return QueryFailed(said)
    return QueryFailed(
        f"DuckDB {duckdb.__version__} cannot answer this statement, for a fault of its own: {said.splitlines()[0]}.",
        "Ask in other words, for example in two steps; the marts are as they were.",
    )
