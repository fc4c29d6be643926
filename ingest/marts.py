"""Read the marts that dbt built, on either target: rows for people, Arrow batches for files and maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import adbc_driver_postgresql.dbapi as adbc
import duckdb
import psycopg
import pyarrow as pa

from ingest.duckdb_spatial import load_spatial
from ingest.errors import TargetUnavailable, UsageError, did_you_mean
from ingest.settings import Settings

SCHEMA = "marts"
GEOMETRY = "geom"
BATCH_BYTES = 32 * 2**20
BYTES_PER_VERTEX = 16
BYTES_PER_ROW = 512  # of all the rest
NARROW_ROWS = 2**15  # of a mart without shapes, in one batch
NOT_BUILT = "`dbt build` makes the marts; `python -m ingest` loads what they are made from."


@dataclass(frozen=True)
class Mart:
    """A mart and its columns, in order.

    Attributes
    ----------
    name : str
        Without its schema.
    columns : tuple of str
        All of them, the geometry among them.
    """

    name: str
    columns: tuple[str, ...]

    @property
    def has_geometry(self) -> bool:
        """Whether it has shapes."""
        return GEOMETRY in self.columns

    @property
    def key(self) -> str:
        """The column that orders it: its key, or the first part of it."""
        return self.columns[0]

    @property
    def country(self) -> str | None:
        """The column that holds the country's key; None where rows belong to no country."""
        known = ("gid_0", "country_gid", "gid") if self.name == "admin_level_0" else ("gid_0", "country_gid")
        return next((name for name in known if name in self.columns), None)


class Marts(Protocol):
    """An open connection to the marts; it changes nothing."""

    as_wkb: str  # the function that gives the WKB of a geometry

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query; ``?`` stands for a parameter."""
        ...

    def reader(
        self, mart: Mart, columns: Sequence[str], where: str = "true", parameters: Sequence[Any] = ()
    ) -> pa.RecordBatchReader:
        """Return rows of a mart in the order of its key.

        Parameters
        ----------
        mart : Mart
            Which one.
        columns : sequence of str
            SQL of the columns.
        where : str
            Condition; ``?`` stands for a parameter.
        parameters : sequence
            Its values.

        Returns
        -------
        pyarrow.RecordBatchReader
            Batches of some tens of megabytes at most, unless a single row has more.
        """
        ...


@contextmanager
def opened(settings: Settings) -> Iterator[Marts]:
    """Yield the marts of a target.

    Raises
    ------
    TargetUnavailable
        When the warehouse is not there, or somebody else holds it.
    """
    with _postgres(settings) if settings.postgres else _duckdb(settings) as found:
        yield found


def find(marts: Marts) -> dict[str, Mart]:
    """Return all marts by name.

    Raises
    ------
    TargetUnavailable
        When none were built.
    """
    query = (
        "select table_name, column_name from information_schema.columns where table_schema = ? "
        "order by table_name, ordinal_position"
    )
    columns: dict[str, list[str]] = {}
    for table, column in marts.rows(query, [SCHEMA]):
        columns.setdefault(table, []).append(column)
    if not columns:
        raise TargetUnavailable("There are no marts.", NOT_BUILT)
    return {name: Mart(name, tuple(found)) for name, found in columns.items()}


def get(known: dict[str, Mart], name: str) -> Mart:
    """Return a mart by name.

    Raises
    ------
    UsageError
        When there is none of this name.
    """
    if name not in known:
        raise UsageError(f"There is no mart {name!r}.", did_you_mean(name, known))
    return known[name]


def quoted(name: str) -> str:
    """Return an identifier as SQL."""
    return '"' + name.replace('"', '""') + '"'


def relation(mart: Mart) -> str:
    """Return the name of a mart as SQL."""
    return f"{SCHEMA}.{quoted(mart.name)}"


class _DuckDB:
    as_wkb = "ST_AsWKB"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection.execute(query, list(parameters)).fetchall()
        return found

    def reader(
        self, mart: Mart, columns: Sequence[str], where: str = "true", parameters: Sequence[Any] = ()
    ) -> pa.RecordBatchReader:
        """Read by ranges of the key: DuckDB itself would hold the shapes of two thousand rows at once."""
        key = quoted(mart.key)
        query = f"select {', '.join(columns)} from {relation(mart)} where ({where})"  # noqa: S608  no value stands in it
        if not mart.has_geometry:
            ordered = self._connection.execute(f"{query} order by {key}", list(parameters))
            return ordered.to_arrow_reader(NARROW_ROWS)
        schema = self._connection.execute(f"{query} limit 0", list(parameters)).to_arrow_reader().schema

        def ranges() -> Iterator[pa.RecordBatch]:
            for first, last in self._ranges(mart, where, parameters):
                part = f"{query} and {key} between ? and ? order by {key}"
                yield from self._connection.execute(part, [*parameters, first, last]).to_arrow_reader()

        return pa.RecordBatchReader.from_batches(schema, ranges())

    def _ranges(self, mart: Mart, where: str, parameters: Sequence[Any]) -> list[tuple[Any, Any]]:
        key = quoted(mart.key)
        size = f"sum(coalesce(vertex_count, 0)) * {BYTES_PER_VERTEX}" if "vertex_count" in mart.columns else "0"
        weight = f"{size} + count(*) * {BYTES_PER_ROW}"
        weights = f"select {key}, {weight} from {relation(mart)} where ({where}) group by 1 order by 1"  # noqa: S608
        ranges: list[tuple[Any, Any]] = []
        held = 0
        for value, weight in self.rows(weights, parameters):
            if ranges and held + weight <= BATCH_BYTES:
                ranges[-1] = (ranges[-1][0], value)
            else:
                ranges.append((value, value))
                held = 0
            held += weight
        return ranges


class _Postgres:
    as_wkb = "ST_AsBinary"

    def __init__(self, connection: Any, uri: str, open_until: ExitStack) -> None:
        self._connection, self._uri, self._open_until = connection, uri, open_until

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection.execute(_numbered(query), parameters).fetchall()
        return found

    def reader(
        self, mart: Mart, columns: Sequence[str], where: str = "true", parameters: Sequence[Any] = ()
    ) -> pa.RecordBatchReader:
        """Read what the server's COPY gives; shapes are fetched after the sort, row by row."""
        condition = psycopg.ClientCursor(self._connection).mogrify(_numbered(where), parameters)
        query = (
            f"select {', '.join(columns)} from (select * from {relation(mart)} where ({condition}) "  # noqa: S608
            f"order by {quoted(mart.key)} offset 0) as sorted"
        )
        connection = self._open_until.enter_context(closing(adbc.connect(self._uri)))
        cursor = self._open_until.enter_context(closing(connection.cursor()))
        cursor.execute(query)
        return cursor.fetch_record_batch()


def _numbered(query: str) -> str:
    """Return a query as psycopg wants its parameters written."""
    return query.replace("%", "%%").replace("?", "%s")


@contextmanager
def _duckdb(settings: Settings) -> Iterator[Marts]:
    path = settings.home / "warehouse.duckdb"
    if not path.is_file():
        raise TargetUnavailable(f"There is no warehouse {path}.", NOT_BUILT)
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.IOException as error:
        raise TargetUnavailable(
            f"{path} cannot be opened: {str(error).splitlines()[0]}",
            "Does `dbt build` run, or another program hold it?",
        ) from error
    with closing(connection):
        load_spatial(connection)
        yield _DuckDB(connection)


@contextmanager
def _postgres(settings: Settings) -> Iterator[Marts]:
    where = settings.postgres
    assert where is not None  # noqa: S101  the caller looked
    try:
        connection = psycopg.connect(where.uri(), connect_timeout=10, autocommit=True)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise TargetUnavailable(
            f"{where.place} does not answer: {reason}", "`python -m ingest doctor` says more."
        ) from error
    with ExitStack() as open_until:
        open_until.enter_context(closing(connection))
        yield _Postgres(connection, where.uri(), open_until)
