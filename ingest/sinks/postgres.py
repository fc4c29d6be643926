"""Staging tables in PostGIS: ADBC writes Arrow through binary COPY."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

import adbc_driver_manager
import psycopg
import pyarrow as pa
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import postgresql

from ingest import catalog, refusals, sessions
from ingest.catalog import Dataset, Table
from ingest.engines import FACTS, ORIGIN
from ingest.errors import BaseUnusable, IngestError, PermissionMissing, SliceTaken, TargetUnavailable
from ingest.ledger import Carrying, Slice
from ingest.settings import Postgres, with_dataset
from ingest.setup import keeper
from ingest.setup.rights import check_load
from ingest.sinks import KEPT_FOR_NOW, OnLoaded, Staging, difference
from ingest.sinks.difference import Difference, Raw

log = logging.getLogger(__name__)

RAW = "raw"
META = "marts_meta"  # in the schema of a build in progress, it says which runs that reads
NEXT_MARTS = [f"{with_dataset('marts', name)}_next" for name in catalog.hierarchies()]
REPLACED = tuple(  # by `dbt build`
    with_dataset(schema, name) for schema in ("staging", "intermediate", "marts") for name in catalog.hierarchies()
)
INSUFFICIENT_PRIVILEGE = "42501"
EMPTY = "empty"
TYPES = {
    pa.string(): "text",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
}
DIALECT: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
LOCK_WAIT = "500ms"  # whoever wants to read a table queues behind a session that waits to drop it
STILL_READ: dict[type[psycopg.Error], str] = {
    psycopg.errors.LockNotAvailable: "another session is using its tables",
    psycopg.errors.DeadlockDetected: "another session is using its tables",
    psycopg.errors.DependentObjectsStillExist: "a view reads its tables",
}
# connection, rollback, resources, not ready, operator, system
TRANSIENT_STATES = ("08", "40", "53", "55", "57", "58")


class PostgresSink:
    """Unlogged tables named after the run, and views with the stable names over them."""

    def __init__(self, where: Postgres) -> None:
        self._where = where

    def ensure_published(self, dataset: str, tables: Sequence[Table]) -> None:
        """Create an empty table for every stable name that has none; see `ingest.sinks.Sink`."""
        with self._connect() as connection:
            self._require_postgis(connection)
            connection.execute("select pg_advisory_xact_lock(hashtext('admin-boundaries publish'))")
            for table in tables:
                shown = _shown_columns(connection, table)
                # columns are missing if an older version has made it
                if not shown or (shown != _names(table) and _shows_nothing(connection, table)):
                    _make(connection, EMPTY, table, is_logged=True)
                    _show(connection, EMPTY, None, None, table)

    def prepare(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Create the staging tables of a run; see `ingest.sinks.Sink`.

        They are unlogged: a crash of the server empties them, and the next `dbt build` then fails at its sources.
        """
        check_load(self._where)  # the command has asked already, but a worker may run as another user
        with self._connect() as connection:
            self._require_postgis(connection)
            for table in tables:
                _make(connection, staging.run_id, table, is_logged=False)

    def write(
        self, staging: Staging, slice_no: int, table: Table, batches: pa.RecordBatchReader, on_loaded: OnLoaded
    ) -> int:
        """Load a slice and record it in the ledger, in one transaction; see `ingest.sinks.Sink`."""
        try:
            with _session(self._where) as connection, closing(connection.cursor()) as cursor:
                rows = cursor.adbc_ingest(_run_table(staging.run_id, table), batches, mode="append", db_schema_name=RAW)
                cursor.execute(_with_values(on_loaded(rows)))
                if cursor.fetchone() is None:
                    connection.rollback()
                    raise SliceTaken(f"Slice {slice_no} of run {staging.run_id} was taken over by another worker.")
                connection.commit()
                return int(rows)
        except adbc_driver_manager.Error as error:
            raise _database_error(self._where, error.sqlstate, str(error)) from error

    def count_kept(self, base: Staging, parts: Sequence[tuple[Table, Carrying]]) -> list[tuple[int, int]]:
        """Count the rows of a publication's slices that stay, and the others; see `ingest.sinks.Sink`."""
        counted = []
        with self._connect() as connection:
            for table, carrying in parts:
                query = sql.SQL("select count(*) filter (where {kept}), count(*) from {base} where {part}").format(
                    kept=_is_kept(carrying), base=_name(base.run_id, table), part=_is_part(carrying)
                )
                kept, total = connection.execute(query).fetchone() or (0, 0)
                counted.append((kept, total - kept))
        return counted

    def carry(
        self, staging: Staging, slice_no: int, table: Table, base: Staging, carrying: Carrying, on_loaded: OnLoaded
    ) -> int:
        """Copy what is kept of a slice, within the server and in one transaction; see `ingest.sinks.Sink`."""
        names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in _columns(table))
        copy = sql.SQL("insert into {new} ({names}) select {names} from {base} where {part} and {kept}").format(
            new=_name(staging.run_id, table),
            names=names,
            base=_name(base.run_id, table),
            part=_is_part(carrying),
            kept=_is_kept(carrying),
        )
        try:
            with self._connect() as connection:
                rows = connection.execute(copy).rowcount
                if connection.execute(_with_values(on_loaded(rows)).encode()).fetchone() is None:
                    connection.rollback()
                    raise SliceTaken(f"Slice {slice_no} of run {staging.run_id} was taken over by another worker.")
                return rows
        except IngestError as error:
            if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
                raise BaseUnusable(f"The tables of run {base.run_id} are gone.", "Load them again.") from error
            raise

    def count(self, staging: Staging, table: Table, connection: sa.Connection | None = None) -> int:
        """Return the number of rows in a staging table; see `ingest.sinks.Sink`."""
        if connection is not None:
            return self._count(connection.connection.dbapi_connection, staging, table)
        with self._connect() as own:
            return self._count(own, staging, table)

    def _count(self, connection: Any, staging: Staging, table: Table) -> int:
        known = connection.execute("select to_regclass(%s)", [f'{RAW}."{_run_table(staging.run_id, table)}"'])
        if known.fetchone()[0] is None:
            return 0
        counted = connection.execute(sql.SQL("select count(*) from {}").format(_name(staging.run_id, table)))
        return int(counted.fetchone()[0])

    def damage(self, staging: Staging, tables: Sequence[Table], slices: Sequence[Slice]) -> dict[str, str]:
        """Return nothing: the server keeps its files itself; see `ingest.sinks.Sink`."""
        return {}

    def shown_runs(self, dataset: str, tables: Sequence[Table]) -> set[str]:
        """Return the runs whose tables the views read, and "" for a view that is missing; see `ingest.sinks.Sink`."""
        query = (
            "select distinct read.relname::text from pg_rewrite "
            "join pg_depend on pg_depend.classid = 'pg_rewrite'::regclass and pg_depend.objid = pg_rewrite.oid "
            "join pg_class as read on pg_depend.refclassid = 'pg_class'::regclass and read.oid = pg_depend.refobjid "
            "where pg_rewrite.ev_class = to_regclass(%s) and read.oid <> pg_rewrite.ev_class"
        )
        shown = set()
        with self._connect() as connection:
            for table in tables:
                read = [row[0] for row in connection.execute(query, [f'{RAW}."{table.name}"'])]
                found = {name.removeprefix(f"{table.name}__") if "__" in name else name for name in read} or {""}
                shown |= found if _shown_columns(connection, table) == _names(table) else {""}
        return shown

    def fault_of_ledger(self) -> str:
        """Return nothing: dbt reads the ledger itself; see `ingest.sinks.Sink`."""
        return ""

    def clear(self, staging: Staging, table: Table) -> None:
        """Empty a staging table; see `ingest.sinks.Sink`."""
        with self._connect() as connection:
            connection.execute(sql.SQL("truncate {}").format(_name(staging.run_id, table)))

    def finish(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Analyze the staging tables; see `ingest.sinks.Sink`."""
        with self._connect() as connection:
            for table in tables:
                _as_keeper_or(
                    connection,
                    (keeper.ANALYZE_TABLE, [_run_table(staging.run_id, table)]),
                    sql.SQL("analyze {}").format(_name(staging.run_id, table)),
                )

    def publish(self, connection: sa.Connection, staging: Staging, tables: Sequence[Table]) -> None:
        """Replace the views, within the ledger's transaction; see `ingest.sinks.Sink`."""
        connection.exec_driver_sql("select pg_advisory_xact_lock(hashtext('admin-boundaries publish'))")
        driver: Any = connection.connection.dbapi_connection
        for table in tables:
            _show(driver, staging.run_id, staging.run_id, staging.release, table)

    def drop(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Drop the staging tables of a run, unless a build or its views read them; see `ingest.sinks.Sink`.

        The views of the last build read its tables directly, also while a newer run is published.
        """
        with self._connect() as connection:
            try:
                with connection.transaction():
                    connection.execute(sql.SQL("set local lock_timeout = {}").format(LOCK_WAIT))
                    if _is_pinned(connection, staging.run_id):
                        log.info(KEPT_FOR_NOW, staging.run_id, staging.dataset, "a build is reading it")
                        return
                    for table in tables:
                        _as_keeper_or(
                            connection,
                            (keeper.DROP_TABLE, [_run_table(staging.run_id, table)]),
                            sql.SQL("drop table if exists {}").format(_name(staging.run_id, table)),
                        )
            except tuple(STILL_READ) as error:
                log.info(KEPT_FOR_NOW, staging.run_id, staging.dataset, STILL_READ[type(error)])

    def size(self, staging: Staging, tables: Sequence[Table]) -> int:
        """Add up the sizes of the tables with all that belongs to them; see `ingest.sinks.Sink`."""
        names = [f'{RAW}."{_run_table(staging.run_id, table)}"' for table in tables]
        query = (
            "select coalesce(sum(pg_total_relation_size(to_regclass(name))), 0)::bigint from unnest(%s::text[]) as name"
        )
        with self._connect() as connection:
            row = connection.execute(query, [names]).fetchone()
        return int(row[0]) if row else 0

    def compare(self, before: Staging, after: Staging, dataset: Dataset) -> Difference:
        """Compare keys, names and hashes of two runs within the server; see `ingest.sinks.Sink`."""
        with self._connect() as connection:
            connection.execute(sql.SQL("set local statement_timeout = {}").format(f"{difference.SECONDS}s"))
            sides = [
                [_raw(connection, staging.run_id, table) for table in dataset.tables] for staging in (before, after)
            ]
            row = connection.execute(difference.query(dataset, *sides).encode()).fetchone()
        return difference.from_row(row or (), *sides)

    def stored_runs(self, dataset: str, tables: Sequence[Table]) -> set[str]:
        """Return the runs that have tables; see `ingest.sinks.Sink`."""
        names = {table.name for table in tables}
        with self._connect() as connection:
            found = connection.execute("select tablename::text from pg_tables where schemaname = %s", [RAW])
            parts = [row[0].rpartition("__") for row in found]
        return {run_id for name, _, run_id in parts if name in names and run_id != EMPTY}

    def _require_postgis(self, connection: psycopg.Connection) -> None:
        place = sessions.postgis_schema(connection)
        if place is None:
            raise TargetUnavailable(
                f"{self._where.place} has no PostGIS.", "Run once as a superuser: python -m ingest init"
            )
        if place in REPLACED:
            raise TargetUnavailable(
                f"{self._where.place} has PostGIS in the schema {place}, which every build replaces.",
                "Create the extension in another schema.",
            )
        if connection.execute("select has_schema_privilege(%s, 'usage')", [place]).fetchone() != (True,):
            raise PermissionMissing(
                f"{self._where.place} may not use PostGIS, which is in the schema {place}.",
                "Run as a superuser: python -m ingest init",
            )

    @contextmanager
    def _connect(self) -> Iterator[psycopg.Connection]:
        try:
            with sessions.connect(self._where, to_write=True) as connection:
                yield connection
        except psycopg.Error as error:
            raise _database_error(self._where, error.sqlstate, str(error)) from error


_sessions: dict[Postgres, Any] = {}  # ADBC connections of this process


@contextmanager
def _session(where: Postgres) -> Iterator[Any]:
    """Yield this process's session on a server; it is kept for the next slice unless an error occurs.

    A new session has to map every page of the server's shared memory again. With 4 GB of it, that costs the server as
    much as the rows of a slice.
    """
    connection = _sessions.pop(where, None)
    if connection is not None and not _is_usable(connection):
        with suppress(adbc_driver_manager.Error):
            connection.close()
        connection = None
    connection = connection or sessions.connect_adbc(where, to_write=True)
    try:
        yield connection
    except BaseException:
        with suppress(adbc_driver_manager.Error):
            connection.close()
        raise
    _sessions[where] = connection


def _is_usable(connection: Any) -> bool:
    try:
        with closing(connection.cursor()) as cursor:
            cursor.execute("select 1")
            cursor.fetchone()
        connection.rollback()
    except adbc_driver_manager.Error:
        return False
    return True


def _database_error(where: Postgres, sqlstate: str | None, message: str) -> IngestError:
    if found := refusals.error_of(where.place, sqlstate, message):
        return found
    text = f"{where.place}: {message.strip().splitlines()[0]}"
    if not sqlstate or sqlstate.startswith(TRANSIENT_STATES):
        return TargetUnavailable(text, "Check that the server is running, and that this user may log in.")
    if sqlstate == INSUFFICIENT_PRIVILEGE:
        return PermissionMissing(text, "Set PGUSER to the loader, or run as a superuser: python -m ingest init")
    return IngestError(text, f"SQLSTATE {sqlstate}.")


def _is_pinned(connection: psycopg.Connection, run_id: str) -> bool:
    """Whether a build in progress, of any dataset, says that it reads a run, as far as this user may see it."""
    known = connection.execute(
        "select nspname::text from pg_class c join pg_namespace n on n.oid = relnamespace "
        "where nspname = any(%s) and relname = %s "
        "and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')",
        [NEXT_MARTS, META],
    ).fetchall()
    for (schema,) in known:
        query = sql.SQL("select from {} where run_id = %s limit 1").format(sql.Identifier(schema, META))
        # the build may just have ended; what it has published, views read
        with suppress(psycopg.errors.UndefinedTable), connection.transaction():
            if connection.execute(query, [run_id]).fetchone() is not None:
                return True
    return False


def _run_table(run_id: str, table: Table) -> str:
    return f"{table.name}__{run_id}"


def _name(run_id: str, table: Table) -> sql.Identifier:
    return sql.Identifier(RAW, _run_table(run_id, table))


def _is_part(carrying: Carrying) -> sql.Composed:
    """Return the condition that selects the rows of a slice."""
    origin = {name: getattr(carrying, name) for name in ("file_no", "source_file", "source_layer")}
    tests = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in origin.items()]
    if carrying.fids:
        tests.append(sql.SQL("source_fid between {} and {}").format(*map(sql.Literal, carrying.fids)))
    return sql.SQL(" and ").join(tests)


def _raw(connection: psycopg.Connection, run_id: str, table: Table) -> Raw:
    relation = _name(run_id, table).as_string(connection)
    query = "select from pg_attribute where attrelid = to_regclass(%s) and attname = %s and not attisdropped"
    found = connection.execute(query, [relation, difference.HASH]).fetchone()
    return Raw(table, relation, found is not None)


def _is_kept(carrying: Carrying) -> sql.Composed:
    """Return the condition that selects the rows of other countries, and those of no country."""
    return sql.SQL("({} <> all ({}::text[])) is not false").format(
        sql.Identifier(carrying.column), sql.Literal(list(carrying.replaced))
    )


def _columns(table: Table) -> list[tuple[str, str]]:
    texts = [(column.name, "text") for column in table.columns]
    origin, facts = ([(name, TYPES[kind]) for name, kind in fields] for fields in (ORIGIN, FACTS))
    return [*origin, *texts, ("geom", "geometry(MultiPolygon,4326)"), *facts]


def _names(table: Table) -> list[str]:
    return ["run_id", "release", *(name for name, _ in _columns(table))]


def _shown_columns(connection: psycopg.Connection, table: Table) -> list[str]:
    """Return the current columns of a published view, in order; empty if it does not exist."""
    query = (
        "select column_name::text from information_schema.columns where table_schema = %s and table_name = %s "
        "order by ordinal_position"
    )
    return [row[0] for row in connection.execute(query, [RAW, table.name])]


def _shows_nothing(connection: psycopg.Connection, table: Table) -> bool:
    """Whether a stable name still shows the empty table that it had before anything was loaded."""
    query = (
        "select from pg_depend join pg_rewrite on pg_rewrite.oid = objid where classid = 'pg_rewrite'::regclass "
        "and ev_class = to_regclass(%s) and refclassid = 'pg_class'::regclass and refobjid = to_regclass(%s)"
    )
    names = [f'{RAW}."{table.name}"', f'{RAW}."{_run_table(EMPTY, table)}"']
    return connection.execute(query, names).fetchone() is not None


def _as_keeper_or(connection: Any, call: tuple[keeper.Function, list[Any]], *statements: sql.Composed) -> None:
    """Let the keeper do something, or do it as the user: whoever is the owner of ``raw``."""
    function, arguments = call
    if keeper.is_there(connection):
        values = sql.SQL(", ").join(
            sql.SQL("{}::{}").format(sql.Literal(value), sql.SQL(kind))  # type: ignore[arg-type]
            for value, kind in zip(arguments, function.types.split(", "), strict=True)
        )
        connection.execute(sql.SQL("select {}({})").format(sql.Identifier(RAW, function.name), values))
        return
    for statement in statements:
        connection.execute(statement)


def _make(connection: Any, run_id: str, table: Table, *, is_logged: bool) -> None:
    """Create a table of a run, or add the columns that it lacks.

    Geometry is stored uncompressed: pglz would take twice the time and save little on coordinates.
    """
    name, columns = _name(run_id, table), _columns(table)
    kind = "" if is_logged else "unlogged "
    defined = [sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(of)) for column, of in columns]
    how = [] if is_logged else ["alter geom set storage external", "alter geom set statistics 0"]
    changes = [*(sql.SQL("add column if not exists {}").format(each) for each in defined), *map(sql.SQL, how)]
    names, kinds = map(list, zip(*columns, strict=True))
    _as_keeper_or(
        connection,
        (keeper.MAKE_TABLE, [_run_table(run_id, table), names, kinds, is_logged]),
        sql.SQL("create {}table if not exists {} ({})").format(sql.SQL(kind), name, sql.SQL(", ").join(defined)),
        sql.SQL("alter table {} {}").format(name, sql.SQL(", ").join(changes)),
    )


def _show(connection: Any, run_id: str, shown_run: str | None, release: str | None, table: Table) -> None:
    """Let a view with the stable name show a table of a run.

    `create or replace` rejects changed columns. The marts are built on the tables of a run, not on this view: what is
    dropped with it are views that somebody else made on top of it.
    """
    view = sql.Identifier(RAW, table.name)
    columns = [name for name, _ in _columns(table)]
    is_changed = _shown_columns(connection, table) not in ([], _names(table))
    _as_keeper_or(
        connection,
        (keeper.SHOW_TABLE, [table.name, _run_table(run_id, table), shown_run, release, columns]),
        *([sql.SQL("drop view {} cascade").format(view)] if is_changed else []),
        sql.SQL("create or replace view {} as select {}::text as run_id, {}::text as release, {} from {}").format(
            view,
            sql.Literal(shown_run),
            sql.Literal(release),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            _name(run_id, table),
        ),
    )


def _with_values(statement: sa.Update) -> str:
    """Return a ledger statement with its values as literals: ADBC takes parameters only as Arrow streams."""
    return str(statement.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))
