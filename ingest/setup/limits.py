"""The limits of a server that a load or a build would reach; `ingest.refusals` knows those that were reached."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

GIB = 1 << 30
MIN_TEMPORARY = 10 * GIB  # what sorting and indexing the world takes, with some room to spare
# Sessions of a worker: its ledger, the rows that it writes, and for moments a table that it makes or counts. Of the
# command and its consumer: their ledgers, that of the heart, and one to spare.
SESSIONS_OF_WORKER = 3
SESSIONS_OF_COMMAND = 4

CONNECTIONS = """
with backends as (
    select usesysid, datname from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
),

reserved as (
    select coalesce(sum(setting::integer), 0) as slots
    from pg_settings
    where name in ('superuser_reserved_connections', 'reserved_connections')
        and not (select rolsuper from pg_roles where rolname = current_user)
)

select
    'max_connections of the server',
    current_setting('max_connections')::integer - slots - (select count(*) from backends)
from reserved
union all
select
    'the connection limit of the role ' || rolname,
    rolconnlimit - (select count(*) from backends where usesysid = pg_roles.oid)
from pg_roles
where rolname = current_user and rolconnlimit >= 0 and not rolsuper
union all
select
    'the connection limit of the database ' || datname,
    datconnlimit - (select count(*) from backends where backends.datname = pg_database.datname)
from pg_database
where datname = current_database()
    and datconnlimit >= 0
    and not (select rolsuper from pg_roles where rolname = current_user)
order by 2
limit 1
"""


def examine(connection: psycopg.Connection, workers: int) -> Iterator[tuple[str, bool, str, str, bool]]:
    """Check the limits that a load and a build may reach.

    Parameters
    ----------
    connection : psycopg.Connection
        A session of the user who loads.
    workers : int
        Number of workers.

    Yields
    ------
    (str, bool, str, str, bool)
        The fields of a `ingest.setup.doctor.Check`.
    """

    def row(query: str) -> tuple[object, ...]:
        found: tuple[object, ...] | None = connection.execute(query).fetchone()  # type: ignore[arg-type]
        assert found is not None  # noqa: S101  each asks for a value that every server has
        return found

    is_standby, is_read_only, source = row(
        "select pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', "
        "(select source from pg_settings where name = 'default_transaction_read_only')"
    )
    yield (
        "PostgreSQL takes writes",
        not is_read_only,
        "a standby" if is_standby else f"default_transaction_read_only is on ({source})" if is_read_only else "yes",
        "Connect to the primary."
        if is_standby
        else "Set default_transaction_read_only to off for the role, the database or the server.",
        True,
    )
    limit, left = row(CONNECTIONS)
    needed = SESSIONS_OF_COMMAND + SESSIONS_OF_WORKER * workers
    yield (
        f"connections for {workers} workers",
        int(str(left)) >= needed,
        f"{max(int(str(left)), 0)} left of {limit}, {needed} recommended",
        "Raise that limit, end sessions that nobody needs, or run with --workers 1.",
        False,
    )
    (temporary,) = row("select pg_size_bytes(nullif(current_setting('temp_file_limit'), '-1'))")
    yield (
        "temporary files of PostgreSQL",
        temporary is None or int(str(temporary)) >= MIN_TEMPORARY,
        "no limit"
        if temporary is None
        else f"temp_file_limit is {int(str(temporary)) / GIB:.1f} GiB, {MIN_TEMPORARY / GIB:.0f} GiB recommended",
        "Raise temp_file_limit for the roles that load and build, as a superuser.",
        False,
    )
