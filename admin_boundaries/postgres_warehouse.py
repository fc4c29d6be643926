"""The marts in PostGIS."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from admin_boundaries import edition
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
from ingest import refusals, sessions
from ingest.errors import MartsMissing, QueryFailed, TargetUnavailable
from ingest.settings import Postgres, with_dataset

if TYPE_CHECKING:
    import pyarrow as pa

    from admin_boundaries.edition import Edition
    from admin_boundaries.locate import Floats, Row

SESSIONS = 4  # many points are split over this many, since each session has a process of the server to itself
SESSION_POINTS = 2000  # fewer are not worth another session
COPIED = ("select", "with", "values", "table", "(select")  # what starts a statement that COPY takes
SAID = re.compile(r"ERROR:\s*(.*?)(?=\n\nQuery was:|\. SQLSTATE:|\Z)", re.DOTALL)
MISSING = (
    *(psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName),
    psycopg.errors.UndefinedColumn,  # the marts are of an older version
)


@dataclass(frozen=True)
class Bounds:
    """What a question may take.

    Attributes
    ----------
    sessions : int
        How many sessions many points are split over at most.
    seconds : int or None
        The longest time of a statement; None for what the server has.
    """

    sessions: int = SESSIONS
    seconds: int | None = None

    @property
    def statement(self) -> str:
        """The SQL that bounds the statements of a session; a stricter limit of the server stays."""
        most = (self.seconds or 0) * 1000
        stricter = f"least(coalesce(nullif(setting::bigint, 0), {most}), {most})"
        timeout = "from pg_settings where name = 'statement_timeout'"
        return f"select set_config('statement_timeout', {stricter}::text, false) {timeout}"


UNBOUNDED = Bounds()


@contextmanager
def connected(
    where: Postgres,
    dataset: str,
    open_session: Callable[[], AbstractContextManager[psycopg.Connection]] | None = None,
    bounds: Bounds = UNBOUNDED,
) -> Iterator[PostgresWarehouse]:
    """Connect to the marts of a dataset on a server; see `admin_boundaries.warehouse.open_warehouse`.

    Parameters
    ----------
    where : Postgres
        The database.
    dataset : str
        The dataset.
    open_session : callable, optional
        Lends a session until its block ends, from a pool; by default, sessions are opened here, and closed at the end.
    bounds : Bounds
        What a question may take.
    """

    def opened() -> AbstractContextManager[psycopg.Connection]:
        return sessions.connect(where, to_write=False, autocommit=True)

    with _unreachable(where), ExitStack() as open_until:

        def connect() -> psycopg.Connection:
            return open_until.enter_context((open_session or opened)())

        warehouse = PostgresWarehouse(connect, where, open_until, dataset, bounds)
        with warehouse.expected_failures():
            yield warehouse


@contextmanager
def _unreachable(where: Postgres) -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError as error:
        raise (
            refusals.error_of(where.place, error.sqlstate, str(error))
            or TargetUnavailable(
                f"{where.place} does not answer: {first_line(error)}.", "Check PGHOST, PGPORT, PGUSER and PGPASSWORD."
            )
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise TargetUnavailable(
            f"{where.place}: {first_line(error)}.", "Set PGUSER to the reader, or run: python -m ingest init"
        ) from error


class PostgresWarehouse:
    """See `admin_boundaries.warehouse.Warehouse`; many points are split over several sessions."""

    as_wkb, kind_of_marts, has_functions = "ST_AsBinary", "BASE TABLE", True
    envelope = "ST_MakeEnvelope(?, ?, ?, ?, 4326)"

    def __init__(
        self,
        connect: Callable[[], Any],
        where: Postgres,
        open_until: ExitStack,
        dataset: str,
        bounds: Bounds = UNBOUNDED,
    ) -> None:
        self.dataset, self.marts = dataset, with_dataset("marts", dataset)
        self._connect, self._where, self._bounds = connect, where, bounds
        self._streams: set[ExitStack] = set()  # whose connections are open
        open_until.callback(self._close_streams)
        self._connection = connect()
        self._sessions = [self._connection]

    def locate(self, lon: float, lat: float) -> Row:
        """Look up one point."""
        query = f"select {ANSWER} from {self.marts}.locate(%s, %s)"  # noqa: S608  it contains no value
        row: Row = self._connection.execute(query, (lon, lat)).fetchone()
        return row

    def locate_points(self, lons: Floats, lats: Floats) -> list[Row]:
        """Look up many points, split over the sessions."""
        from concurrent.futures import ThreadPoolExecutor

        query = f"select {ANSWER} from {self.marts}.locate_points(%s::float8[], %s::float8[])"  # noqa: S608
        while len(self._sessions) < min(self._bounds.sessions, len(lons) // SESSION_POINTS):
            self._sessions.append(self._connect())
        size = max(1, -(-len(lons) // len(self._sessions)))
        parts = [slice(first, first + size) for first in range(0, len(lons), size)]

        def ask(session: Any, part: slice) -> list[Row]:
            rows: list[Row] = session.execute(query, (lons[part].tolist(), lats[part].tolist())).fetchall()
            return rows

        with ThreadPoolExecutor(len(self._sessions)) as pool:
            return [row for rows in pool.map(ask, self._sessions, parts) for row in rows]

    def find(self, name: str, limit: int) -> list[Name]:
        """Find units by key, code, name or prefix.

        The name is folded first, since only a constant pattern can use the index. It then contains neither % nor _.
        """
        (folded,) = self._connection.execute(f"select {self.marts}.fold_name(%s)", (name,)).fetchone()
        begins = "names.folded_name like %(pattern)s"
        query = FIND.format(marts=self.marts, name="%(name)s", begins=begins, limit="%(limit)s")
        rows = self._connection.execute(query, {"name": name, "pattern": f"{folded}%", "limit": limit}).fetchall()
        return joined(by_code(self, name, limit), [Name(*row) for row in rows], limit)

    def editions(self) -> list[Edition]:
        """Compare what the build recorded with the published runs, which the reader sees through a view."""
        try:
            query = edition.query(self.marts, f"{self.marts}.published_runs", "{}")
            return edition.from_rows(self.rows(query, datasets_of(self.dataset)))
        except psycopg.errors.UndefinedTable:
            known_marts(self)
            return []

    def published(self) -> list[str]:
        """Return the datasets that have a published run, according to the ledger; none if the user may not read it."""
        try:
            found = self.rows("select dataset from raw.ingest_runs where state = 'published' order by dataset")
        except (*MISSING, psycopg.errors.InsufficientPrivilege):
            return []
        return [dataset for (dataset,) in found]

    def keep_little(self) -> None:
        """Do nothing: what has been read is in the server's memory."""

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        found: list[tuple[Any, ...]] = self._connection.execute(_with_placeholders(query), parameters).fetchall()
        return found

    def reader(
        self, mart: Mart, columns: Sequence[str], where: str = "true", parameters: Sequence[Any] = ()
    ) -> pa.RecordBatchReader:
        """Stream rows through COPY; geometries are fetched after the sort, row by row."""
        condition = psycopg.ClientCursor(self._connection).mogrify(_with_placeholders(where), parameters)
        query = (
            f"select {', '.join(columns)} from (select * from {relation(mart)} where ({condition}) "  # noqa: S608
            f"order by {quoted(mart.key)} offset 0) as sorted"
        )
        return self._read(query)

    def stream(self, query: str, parameters: Sequence[Any] = ()) -> pa.RecordBatchReader:
        """Stream the rows of a query of ours through COPY."""
        return self._read(psycopg.ClientCursor(self._connection).mogrify(_with_placeholders(query), parameters))

    @contextmanager
    def expected_failures(self) -> Iterator[None]:
        """Say what to do where a mart is missing, the server does not answer, or the user may not read."""
        with _unreachable(self._where):
            try:
                yield
            except MISSING as error:
                raise MartsMissing(
                    f"{self._where.place} lacks some of the marts: {first_line(error)}.",
                    how_to_build(self.dataset, self.published()),
                ) from error
            except psycopg.errors.InsufficientPrivilege as error:
                if self._is_built():  # before that, only the transformer and the reader may look into the schema
                    raise
                raise MartsMissing(
                    f"{self._where.place} has no marts of {self.dataset} yet.",
                    how_to_build(self.dataset, self.published()),
                ) from error

    def _is_built(self) -> bool:
        """Whether the marts are there, for a user who may perhaps not read them."""
        found = self.rows(
            "select from pg_catalog.pg_class inner join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace "
            "where nspname = ? and relname = 'marts_meta'",
            [self.marts],
        )
        return bool(found)

    def query(self, statement: str) -> pa.RecordBatchReader:
        """Stream the rows of one statement of somebody else's; numbers of type `numeric` come as text."""
        import adbc_driver_manager
        import pyarrow as pa

        if not statement.strip():
            raise QueryFailed("This is not one statement.", "Give one at a time.")
        is_copied = statement.split(maxsplit=1)[0].lower() in COPIED
        try:
            reader = self._read(statement, is_read_only=True, is_copied=is_copied)
        except adbc_driver_manager.Error as error:
            raise _refused(str(error)) from error
        schema = pa.schema([_plain_field(field) for field in reader.schema])
        batches = (pa.record_batch(list(map(_storage, batch.columns)), schema=schema) for batch in reader)
        return refused_while_read(pa.RecordBatchReader.from_batches(schema, batches), _refused)

    def _read(self, statement: str, *, is_read_only: bool = False, is_copied: bool = True) -> pa.RecordBatchReader:
        """Return the rows of a statement as a stream, which has a connection of its own until it has been read."""
        import pyarrow as pa

        opened = ExitStack()
        self._streams.add(opened)
        try:
            connection = opened.enter_context(closing(sessions.connect_adbc(self._where, to_write=False)))
            connection.adbc_connection.set_autocommit(True)  # else the transaction holds up the next build
            cursor = opened.enter_context(closing(connection.cursor()))
            if self._bounds.seconds is not None:
                cursor.execute(self._bounds.statement)
            if is_read_only:
                cursor.execute("set default_transaction_read_only = on")
            if not is_copied:
                cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
            cursor.execute(statement)
            reader = opened.enter_context(cursor.fetch_record_batch())
            schema = pa.schema([pa.field(field.name, field.type) for field in reader.schema])  # not PostgreSQL's types
        except BaseException:
            self._close(opened)
            raise

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                yield from (pa.record_batch(batch.columns, schema=schema) for batch in reader)
            finally:
                self._close(opened)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def _close(self, opened: ExitStack) -> None:
        self._streams.discard(opened)
        opened.close()

    def _close_streams(self) -> None:
        while self._streams:
            self._streams.pop().close()


def _refused(said: str) -> QueryFailed:
    """Return the error for what the driver says of a statement."""
    found = SAID.search(said)
    return QueryFailed(found[1].strip() if found else first_line(said))


def _plain_field(field: pa.Field) -> pa.Field:
    """Return a field as it is stored, geometry marked as such."""
    import pyarrow as pa

    is_geometry = getattr(field.type, "type_name", None) == "geometry"
    kind = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
    return pa.field(field.name, kind, metadata={"ARROW:extension:name": "geoarrow.wkb"} if is_geometry else None)


def _storage(column: pa.Array) -> pa.Array:
    import pyarrow as pa

    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _with_placeholders(query: str) -> str:
    """Return a query with the placeholders of psycopg instead of ``?``."""
    return query.replace("%", "%%").replace("?", "%s")
