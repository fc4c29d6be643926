"""Read the marts that dbt built, on either target: rows for people, Arrow batches for files and maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa

from admin_boundaries import lookup
from ingest.errors import MartsMissing, UsageError, did_you_mean
from ingest.settings import Settings

SCHEMA = "marts"
GEOMETRY = "geom"
VECTOR_ROWS = 2048  # DuckDB reads no fewer at once


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
        """Return rows of a mart as a stream.

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
            Batches of some megabytes from PostgreSQL, in the order of the key; of 2,048 rows from DuckDB.
        """
        ...


@contextmanager
def opened(settings: Settings) -> Iterator[Marts]:
    """Yield the marts of a target.

    Raises
    ------
    MartsMissing
        When the warehouse is not there.
    TargetUnavailable
        When it does not answer, or somebody else writes to it.
    """
    where = settings.postgres
    if where is None:
        with lookup.in_duckdb(settings) as connection:
            yield _DuckDB(connection)
    else:
        with lookup.in_postgres(where) as connection, ExitStack() as open_until:
            yield _Postgres(connection, where.uri(), open_until)


def find(marts: Marts) -> dict[str, Mart]:
    """Return all marts by name.

    Raises
    ------
    MartsMissing
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
        raise MartsMissing("There are no marts.", lookup.NOT_BUILT)
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
        """Read vector by vector, each once, in the order of the table: a sort would hold all shapes."""
        query = f"select {', '.join(columns)} from {relation(mart)} where ({where})"  # noqa: S608  no value stands in it
        order = "" if mart.has_geometry else f" order by {quoted(mart.key)}"
        return self._connection.cursor().execute(query + order, list(parameters)).to_arrow_reader(VECTOR_ROWS)


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
