"""Sessions on PostgreSQL: the one place that opens them, for psycopg, SQLAlchemy and ADBC.

A role (`alter role … set`), a database (`alter database … set`) and the environment (``PGOPTIONS``, ``PGTZ`` …) may
change what a session understands and returns. So every session begins with settings of its own. They are sent as SQL
after connecting, and not as ``options`` in the startup message: poolers such as PgBouncer refuse or drop those, and
libpq sends ``PGTZ`` and ``PGDATESTYLE`` behind them, so that they would win. Behind a pooler in transaction mode, the
next transaction may find another client's settings. What we send therefore names the schemas of our tables, and the
functions in ``marts`` have a ``search_path`` of their own. dbt's sessions begin likewise: ``macros/own_session.sql``.

What is left to the administrator: ``role``, ``default_transaction_read_only``, tablespaces and everything that only
changes how fast a query runs.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg

from ingest.errors import TargetUnavailable
from ingest.settings import Postgres

ENCODING = "UTF8"
# In the order: how values are read and written, what a statement may see, and what would end a load half-way. The
# limits are meant for people's queries, and keep applying to sessions that only read.
SETTINGS = {
    "client_encoding": ENCODING,
    "standard_conforming_strings": "on",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "default_transaction_isolation": "read committed",
}
SETTINGS_TO_WRITE = {
    "row_security": "off",  # a policy that hides rows of the ledger is then an error, and not an empty answer
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
# The path holds PostGIS, in whatever schema it is, and nothing that a caller or another user could put before it.
BARE_PATH = "set search_path = pg_catalog, pg_temp"
PATH = (
    "select set_config('search_path', concat_ws(', ', 'pg_catalog', (select quote_ident(nspname) "
    "from pg_extension inner join pg_namespace on pg_namespace.oid = extnamespace where extname = 'postgis'), "
    "'pg_temp'), false)"
)
# What a killed process was about to do, its session would go on with, and keep others waiting. Servers notice within
# this time that nobody is there, if they can: from PostgreSQL 14 on, on Linux.
ENDED_WITH_ITS_CLIENT = (
    "case when current_setting('server_version_num')::integer >= 140000 and position('linux' in version()) > 0 "
    "then set_config('client_connection_check_interval', '5s', false) end"
)


def statements(*, to_write: bool) -> list[str]:
    """Return the SQL that a session begins with."""
    wanted = {**SETTINGS, **(SETTINGS_TO_WRITE if to_write else {})}
    limits = ["set statement_timeout = 0"] if to_write else []  # which is first, because the others are limited by it
    settings = (f"set_config('{name}', '{value}', false)" for name, value in wanted.items())
    return [*limits, BARE_PATH, ", ".join([PATH, *settings, *([ENDED_WITH_ITS_CLIENT] if to_write else [])])]


def connect(
    where: Postgres, *, to_write: bool, autocommit: bool = False, timeout: int = 10, any_encoding: bool = False
) -> psycopg.Connection:
    """Open a session.

    Parameters
    ----------
    where : Postgres
        The database.
    to_write : bool
        Whether it loads or sets up: then no limit on the time of a statement applies.
    autocommit : bool
        Whether every statement is a transaction of its own.
    timeout : int
        Seconds to wait for the server.
    any_encoding : bool
        Open it also on a database that cannot hold every name.

    Returns
    -------
    psycopg.Connection

    Raises
    ------
    psycopg.Error
        When the server does not answer, or lets nobody in.
    TargetUnavailable
        When the database cannot hold every name.
    """
    connection = psycopg.connect(where.conninfo(), connect_timeout=timeout, autocommit=True)
    try:
        if not any_encoding:
            require_utf8(where, encoding(connection))
        connection.execute("; ".join(statements(to_write=to_write)))  # type: ignore[arg-type]
        connection.autocommit = autocommit
    except BaseException:
        connection.close()
        raise
    return connection


def connect_adbc(where: Postgres, *, to_write: bool) -> Any:
    """Open a session of ADBC, for Arrow in and out; see `connect`.

    The driver reads the catalogue before anything else can be said to the server: it knows no type whose name is
    quoted without need, and a strict limit ends it there. So these settings, which hardly anybody changes, are sent
    ahead if they have to be.
    """
    import adbc_driver_postgresql.dbapi as adbc  # takes a quarter of a second, so only those import it who use it

    conninfo = where.conninfo()
    wanted = {"quote_all_identifiers": "off", **({"statement_timeout": "0"} if to_write else {})}
    with connect(where, to_write=to_write) as probe:
        found = probe.execute("select name, reset_val from pg_settings where name = any(%s)", [list(wanted)]).fetchall()
    if dict(found) != wanted:
        options = " ".join([*_given_options(), *(f"-c {name}={value}" for name, value in wanted.items())])
        conninfo = psycopg.conninfo.make_conninfo(conninfo, options=options)
    connection = adbc.connect(conninfo)
    try:
        with closing(connection.cursor()) as cursor:
            for statement in statements(to_write=to_write):
                cursor.execute(statement)
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _given_options() -> list[str]:
    """Return the options of the environment or the service, which libpq drops where others are given."""
    found = {option.keyword: option.val for option in psycopg.pq.Conninfo.get_defaults()}
    return [value.decode()] if (value := found[b"options"]) else []


def postgis_schema(connection: psycopg.Connection) -> str | None:
    """Return the schema that PostGIS is in; None if the database has no PostGIS."""
    query = "select nspname::text from pg_extension inner join pg_namespace on pg_namespace.oid = extnamespace "
    row = connection.execute(query + "where extname = 'postgis'").fetchone()
    return row[0] if row else None


def encoding(connection: psycopg.Connection) -> str:
    """Return the encoding of the database, which the server names on connecting."""
    return connection.info.parameter_status("server_encoding") or ""


def require_utf8(where: Postgres, found: str) -> None:
    """Refuse a database that cannot hold every name, or that would store bytes without knowing what they mean.

    Raises
    ------
    TargetUnavailable
        With the SQL that makes one that can.
    """
    if found != ENCODING:
        raise TargetUnavailable(f"{where.place} is encoded in {found}: names of the whole world need UTF8.", HINT_UTF8)


HINT_UTF8 = "Use another database: create database NAME encoding 'UTF8' template template0"
