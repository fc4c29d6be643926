"""Print a digest of every mart, to compare what two versions of the code build from the same input.

Run ``python scripts/digest_marts.py`` after ``dbt build``; ``WAREHOUSE_TARGET``, ``BOUNDARIES`` and related variables
select the warehouse and the dataset. Each line has a table of the schema of the marts, its number of rows, and a digest
of its columns' names and types and of all values. The order of the rows does not matter. Digests of different targets
always differ, since their types do.

Only ``ingest.settings`` is imported from the project, so that this script also reads warehouses of other versions.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import duckdb
import psycopg

from admin_boundaries.duckdb_spatial import load_spatial
from ingest import sessions
from ingest.settings import Settings, read_settings

LEFT_OUT = {"run_id"}  # every load has a new one
BATCH_ROWS = 4096
# The last bits of a sum depend on the order of addition, which sometimes changes the rounded value: at 12 digits of one
# value in 10,000, at 9 digits of one in 10 million.
SIGNIFICANT_DIGITS = 9
Row = Sequence[Any]

POSTGRES_COLUMNS = """
select pg_class.relname, pg_attribute.attname, format_type(pg_attribute.atttypid, pg_attribute.atttypmod)
from pg_attribute
inner join pg_class
    on pg_attribute.attrelid = pg_class.oid
where
    pg_class.relnamespace = to_regnamespace(%s)
    and pg_class.relkind in ('r', 'p', 'v', 'm')
    and pg_attribute.attnum > 0
    and not pg_attribute.attisdropped
order by pg_class.relname, pg_attribute.attnum
"""
DUCKDB_COLUMNS = """
select table_name, column_name, data_type
from duckdb_columns()
where schema_name = ? and not internal
order by table_name, column_index
"""


@dataclass(frozen=True)
class Column:
    """A column as the database describes it; ``type`` includes its length, scale or reference system."""

    name: str
    type: str

    @property
    def is_geometry(self) -> bool:
        """Whether it holds geometry."""
        return "geometry" in self.type.lower()

    @property
    def quoted(self) -> str:
        """Its name as an SQL identifier."""
        return _quoted(self.name)


@dataclass(frozen=True)
class Digest:
    """The digest of a table: ``value`` is a SHA-256 in hexadecimal digits."""

    table: str
    rows: int
    value: str

    def __str__(self) -> str:
        return f"{self.table:<24}{self.rows:>10}  {self.value}"


class Warehouse(Protocol):
    """The marts of a dataset, on either target."""

    def columns(self) -> Iterable[tuple[str, str, str]]:
        """Return table, name and type of every column, tables by name and their columns in order."""
        ...

    def rows(self, table: str, columns: Sequence[Column]) -> Iterator[Row]:
        """Stream the given columns; geometry is the SHA-256 of its WKB, taken in the database."""
        ...


class _Postgres:
    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._connection, self._schema = connection, schema

    def columns(self) -> Iterable[tuple[str, str, str]]:
        return self._connection.execute(POSTGRES_COLUMNS, [self._schema]).fetchall()

    def rows(self, table: str, columns: Sequence[Column]) -> Iterator[Row]:
        values = [f"sha256(ST_AsBinary({each.quoted}, 'NDR'))" if each.is_geometry else each.quoted for each in columns]
        with self._connection.cursor(name="digest") as cursor:
            cursor.itersize = BATCH_ROWS
            cursor.execute(_select(values, self._schema, table).encode())
            yield from cursor


class _Duckdb:
    def __init__(self, connection: duckdb.DuckDBPyConnection, schema: str) -> None:
        self._connection, self._schema = connection, schema

    def columns(self) -> Iterable[tuple[str, str, str]]:
        return self._connection.execute(DUCKDB_COLUMNS, [self._schema]).fetchall()

    def rows(self, table: str, columns: Sequence[Column]) -> Iterator[Row]:
        values = [f"sha256(ST_AsWKB({each.quoted}))" if each.is_geometry else each.quoted for each in columns]
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(_select(values, self._schema, table))
            while batch := cursor.fetchmany(BATCH_ROWS):
                yield from batch


def digests(warehouse: Warehouse) -> Iterator[Digest]:
    """Return the digest of every mart, by name.

    Raises
    ------
    TypeError
        When a column holds values that :func:`canonical` cannot render.
    """
    tables: dict[str, list[Column]] = {}
    for table, name, data_type in warehouse.columns():
        tables.setdefault(table, []).append(Column(name, data_type))
    for table, columns in tables.items():
        kept = [column for column in columns if column.name not in LEFT_OUT]
        yield _digest(table, kept, warehouse.rows(table, kept))


def _digest(table: str, columns: Sequence[Column], rows: Iterable[Row]) -> Digest:
    """Add up the hashes of the rows: a sum does not depend on their order, and unlike XOR it counts duplicates."""
    count = total = 0
    for row in rows:
        count += 1
        total += int.from_bytes(hashlib.sha256(canonical(tuple(row))).digest(), "big")
    header = [(column.name, column.type) for column in columns]
    return Digest(table, count, hashlib.sha256(canonical((header, total))).hexdigest())


def canonical(value: object) -> bytes:
    """Return bytes that are the same only for equal values: NULL, an empty text and 0 all differ.

    Floating-point numbers are equal when their first `SIGNIFICANT_DIGITS` digits are.

    Raises
    ------
    TypeError
        When the type of the value is unknown.
    """
    match value:
        case None:
            kind, content = "null", b""
        case bool():
            kind, content = "boolean", str(value).encode()
        case int():
            kind, content = "integer", str(value).encode()
        case float():  # adding 0 makes -0.0 the same as 0.0
            kind, content = "float", f"{value + 0.0:.{SIGNIFICANT_DIGITS}g}".encode()
        case Decimal():
            kind, content = "decimal", f"{value.normalize():f}".encode()
        case str():
            kind, content = "text", value.encode()
        case bytes() | bytearray() | memoryview():
            kind, content = "bytes", bytes(value)
        case dt.datetime() if value.tzinfo:
            kind, content = "time", value.astimezone(dt.UTC).isoformat().encode()
        case dt.date() | dt.time():
            kind, content = "time", value.isoformat().encode()
        case list() | tuple():
            kind, content = "list", b"".join(map(canonical, value))
        case dict():
            kind, content = "fields", b"".join(map(canonical, value.items()))
        case _:
            raise TypeError(f"No rule for a value of type {type(value).__name__}: add one to `canonical`.")
    return f"{kind} {len(content)}:".encode() + content


@contextmanager
def opened(settings: Settings) -> Iterator[Warehouse]:
    """Open the warehouse of the target read-only, as a snapshot of this moment."""
    if settings.postgres:
        with sessions.connect(settings.postgres, to_write=False) as postgres:
            postgres.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            postgres.read_only = True
            yield _Postgres(postgres, settings.marts)
    else:
        with duckdb.connect(_existing(settings), read_only=True) as embedded:
            load_spatial(embedded)
            yield _Duckdb(embedded, settings.marts)


def main() -> None:
    """Print the digests."""
    count = 0
    settings = read_settings()
    with opened(settings) as warehouse:
        for digest in digests(warehouse):
            print(digest, flush=True)
            count += 1
    if not count:
        sys.exit(f"There are no marts here. Run `{settings.build_command}` first.")


def _existing(settings: Settings) -> str:
    path = settings.warehouse
    if not path.is_file():
        sys.exit(f"{path} does not exist. Run `{settings.build_command}` first.")
    return str(path)


def _select(values: Sequence[str], schema: str, table: str) -> str:
    return f"select {', '.join(values)} from {_quoted(schema)}.{_quoted(table)}"  # noqa: S608  names come from the catalog


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


if __name__ == "__main__":
    main()
