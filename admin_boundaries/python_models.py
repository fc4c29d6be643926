"""What stands around the Python models of dbt: tables to read, streams of Arrow, and the table that a stream becomes.

A model is a file ``models/**/x.py`` with ``def model(dbt, session)``, the same for both targets. ``dbt.ref`` gives a
`Relation`, and the model returns a stream of record batches. dbt refuses contracts on Python models, so this module
keeps one: the stream has exactly the columns that the model's yml declares, of their types, or nothing is written.
"""

from __future__ import annotations

import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, Self

import pyarrow as pa

from ingest.errors import IngestError

BATCH_ROWS = 2048  # of DuckDB's batches; PostgreSQL's are of 16 MB
TYPES = {
    "text": pa.string(),
    "boolean": pa.bool_(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "double precision": pa.float64(),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
}
GEOMETRY = "geometry"  # declared types that begin like this are written as WKB


class ModelRefused(IngestError):
    """A Python model does not return what it declares."""


class Relation(ABC):
    """A table that a Python model refers to, of which nothing is read before `batches`.

    Parameters
    ----------
    session
        Where it is.
    table : str
        Its name as SQL has it.
    columns : str
        What is selected, in SQL.
    condition : str
        Which rows, in SQL.
    """

    def __init__(self, session: Any, table: str, columns: tuple[str, ...] = (), condition: str = "true") -> None:
        self._session, self._table, self._columns, self._condition = session, table, columns, condition

    def select(self, *columns: str) -> Self:
        """Return the relation with these columns only, by their names."""
        return type(self)(self._session, self._table, columns, self._condition)

    def where(self, condition: str) -> Self:
        """Return the relation with those rows only for which a condition in SQL holds, one that both targets know."""
        return type(self)(self._session, self._table, self._columns, f"{self._condition} and ({condition})")

    def batches(self, order_by: str = "") -> pa.RecordBatchReader:
        """Read the rows as they come from the database.

        Parameters
        ----------
        order_by : str
            Columns to sort by, in SQL.

        Returns
        -------
        RecordBatchReader
            Text is ``string``, geometry is WKB as ``binary``.
        """
        shapes = self._geometry_columns()
        columns = ", ".join(f"{self.as_wkb}({name}) as {name}" if name in shapes else name for name in self._names())
        order = f" order by {order_by}" if order_by else ""
        return self._stream(f"select {columns} from {self._table} where {self._condition}{order}")  # noqa: S608

    def _names(self) -> tuple[str, ...]:
        return self._columns or tuple(self._described())

    def _geometry_columns(self) -> set[str]:
        return {name for name, kind in self._described().items() if kind.lower().startswith(GEOMETRY)}

    as_wkb: str

    @abstractmethod
    def _described(self) -> dict[str, str]:
        """Return the type of every column of the table."""

    @abstractmethod
    def _stream(self, query: str) -> pa.RecordBatchReader:
        """Run a query."""


class DuckDBRelation(Relation):
    """A table in DuckDB, each reading of which has a connection of its own: one holds one open result."""

    as_wkb = "st_aswkb"

    def _described(self) -> dict[str, str]:
        with closing(self._session.cursor()) as cursor:
            return {name: kind for name, kind, *_others in cursor.execute(f"describe {self._table}").fetchall()}

    def _stream(self, query: str) -> pa.RecordBatchReader:
        cursor = self._session.cursor()
        reader = cursor.execute(query).to_arrow_reader(BATCH_ROWS)
        return _closing(cursor, reader)


class PostgresRelation(Relation):
    """A table in PostgreSQL, over a session of ADBC."""

    as_wkb = "st_asbinary"

    def _described(self) -> dict[str, str]:
        query = (
            "select attname::text, format_type(atttypid, null) from pg_attribute "
            "where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum"
        )
        with closing(self._session.cursor()) as cursor:
            cursor.execute(query, (self._table,))
            return {name: kind.rpartition(".")[2] for name, kind in cursor.fetchall()}

    def _stream(self, query: str) -> pa.RecordBatchReader:
        cursor = self._session.cursor()
        cursor.execute(query)
        return _closing(cursor, cursor.fetch_record_batch())


def _closing(cursor: Any, reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Return a reader that closes its cursor behind the last batch."""

    def batches() -> Iterator[pa.RecordBatch]:
        with closing(cursor):
            yield from reader

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def check_columns(model: str, declared: Mapping[str, str], found: pa.Schema) -> None:
    """Make sure that a stream has the columns that its model declares.

    Parameters
    ----------
    model : str
        Name of the model.
    declared : mapping
        The type of each column, as the model's yml has it.
    found : Schema
        Of the stream.

    Raises
    ------
    ModelRefused
        With every column that is missing, not declared, or of another type.
    """
    wrong = [f"{name} is missing" for name in declared if name not in found.names]
    wrong += [f"{name} is not declared" for name in found.names if name not in declared]
    for name, kind in declared.items():
        expected = pa.binary() if kind.lower().startswith(GEOMETRY) else TYPES.get(kind.lower())
        if expected is None:
            wrong.append(f"{name} is declared as {kind}, which Python models cannot write")
        elif name in found.names and (of_type := found.field(name).type) != expected:
            wrong.append(f"{name} is {of_type}, and declared as {kind} ({expected})")
    if wrong:
        raise ModelRefused(
            f"{model} does not return the columns that it declares: {'; '.join(wrong)}.",
            "Change the model, or its yml.",
        )


def in_duckdb(
    name: str,
    model: Callable[[Any, Any], pa.RecordBatchReader],
    dbt_of: Callable[[Callable[[str], Relation]], Any],
    declared: Mapping[str, str],
    table: str,
    create: str,
) -> Callable[[Any, Any], None]:
    """Return a model that reads its own way, and writes what it returns in the transaction of the session.

    Parameters
    ----------
    name : str
        Of the model.
    model : callable
        As it is written.
    dbt_of : callable
        dbt's class of its first argument, made of what reads a table by name.
    declared : mapping
        The type of each column.
    table, create : str
        The table that is written, and the SQL that makes it.
    """

    def run(_dbt: Any, session: Any) -> None:
        rows = model(dbt_of(lambda table: DuckDBRelation(session, table)), session)
        check_columns(name, declared, rows.schema)
        session.execute(create)
        columns = ", ".join(
            f"st_geomfromwkb({column})" if kind.lower().startswith(GEOMETRY) else column
            for column, kind in declared.items()
        )
        session.register("python_model_rows", rows)
        try:
            session.execute(
                f"insert into {table} ({', '.join(declared)}) select {columns} from python_model_rows"  # noqa: S608
            )
        finally:
            session.unregister("python_model_rows")

    return run


def into_postgres(name: str, rows: pa.RecordBatchReader, declared: Mapping[str, str], table: str, session: Any) -> int:
    """Write a stream into a table that is there, in the transaction of the session.

    Parameters
    ----------
    name : str
        Of the model.
    rows : RecordBatchReader
        What it returned.
    declared : mapping
        The type of each column.
    table : str
        The table.
    session
        Connection of psycopg2.

    Returns
    -------
    int
        How many rows there were.
    """
    check_columns(name, declared, rows.schema)
    stream = _Copy(rows)
    columns = ", ".join(rows.schema.names)
    with closing(session.cursor()) as cursor:
        cursor.copy_expert(f"copy {table} ({columns}) from stdin (format binary)", stream, 1 << 20)
    return stream.row_count


class _Copy:
    """The bytes of a binary COPY, made while they are read."""

    def __init__(self, rows: pa.RecordBatchReader) -> None:
        from pgpq import ArrowToPostgresBinaryEncoder

        self._encoder = ArrowToPostgresBinaryEncoder(rows.schema)
        self._pieces = self._made(rows)
        self._piece = memoryview(b"")
        self.row_count = 0

    def _made(self, rows: pa.RecordBatchReader) -> Iterator[bytes]:
        yield self._encoder.write_header()
        for batch in rows:
            self.row_count += len(batch)
            yield self._encoder.write_batch(batch)
        yield self._encoder.finish()

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most so many; none at the end."""
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._piece = memoryview(piece)
        taken, self._piece = self._piece[:size], self._piece[size:]
        return bytes(taken)


def module_of(parsed_model: Mapping[str, Any], compiled_code: str) -> types.ModuleType:
    """Return the module that dbt has made of a Python model and its own functions for it."""
    module = types.ModuleType(parsed_model["alias"])
    exec(compile(compiled_code, parsed_model["original_file_path"], "exec"), module.__dict__)  # noqa: S102
    return module
