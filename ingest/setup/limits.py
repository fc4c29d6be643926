"""Limits of a server: which of them ended a statement or a session, and which of them a load would reach.

Every session of ours begins without limits on time (`ingest.sessions`). What is left is set by whoever runs the server:
the number of connections, the size of temporary files, and whether it takes writes at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from ingest.errors import DiskFull, IngestError, ServerLimit, TargetUnavailable

READ_ONLY = "25006"
GIB = 1 << 30
MIN_TEMPORARY = 10 * GIB  # what sorting and indexing the world takes, with some room to spare
# Sessions of a worker: its ledger, the rows that it writes, and for moments a table that it makes or counts. Of the
# command and its consumer: their ledgers, that of the heart, and one to spare.
SESSIONS_OF_WORKER = 3
SESSIONS_OF_COMMAND = 4


@dataclass(frozen=True)
class Limit:
    """A limit of a server.

    Attributes
    ----------
    sqlstate : str
        What the server states when it is reached.
    words : str
        Part of its message, as a regular expression. A client that is not let in gets no SQLSTATE, so that only these
        tell, unless the server speaks another language. With an SQLSTATE, an empty one fits any message.
    what : str
        What the server does, as the predicate of a sentence; empty where its own message says enough.
    fix : str
        What to set.
    kind : type
        Of the error: `TargetUnavailable` is retried.
    """

    sqlstate: str
    words: str
    what: str
    fix: str
    kind: type[IngestError] = TargetUnavailable


KNOWN = (
    Limit(
        "53300",
        "too many connections for role",
        "takes no more connections of this role",
        "Raise its limit (alter role NAME connection limit N), or use fewer --workers.",
    ),
    Limit(
        "53300",
        "too many connections for database",
        "takes no more connections to this database",
        "Raise its limit (alter database NAME connection limit N), or use fewer --workers.",
    ),
    Limit(
        "53300",
        "too many clients already|remaining connection slots",
        "takes no more connections",
        "Raise max_connections, which needs a restart, end sessions that nobody needs (pg_stat_activity), or use "
        "fewer --workers.",
    ),
    Limit(
        READ_ONLY,
        "during recovery",
        "is read-only",
        "It is a standby. Connect to the primary, for example with all hosts in PGHOST and "
        "PGTARGETSESSIONATTRS=read-write.",
    ),
    Limit(
        READ_ONLY,
        "",
        "is read-only",
        "Is this a standby, or is default_transaction_read_only set for the role, the database or the server?",
    ),
    Limit("53100", "", "", "Free some space on the server's disk, then start the run again.", DiskFull),
    Limit(
        "53400",
        "temp_file_limit",
        "lets a session write no larger temporary files",
        "Raise temp_file_limit as a superuser (alter role NAME set temp_file_limit = '10GB').",
        ServerLimit,
    ),
    Limit(
        "53200",
        "shared memory",
        "has no room for more locks",
        "Raise max_locks_per_transaction, which needs a restart.",
        ServerLimit,
    ),
    Limit(
        "57014",
        "statement timeout",
        "limits the time of a statement",
        "Sessions of ingest begin with statement_timeout = 0. If a pooler mixes them with others, give them a pool of "
        "their own in session mode, or set statement_timeout to 0 for the role.",
        ServerLimit,
    ),
    Limit(
        "55P03",
        "lock timeout|could not obtain lock",
        "is locked by another session",
        "Wait until `dbt build` or whoever reads it in a transaction has finished, then try again.",
    ),
    Limit(
        "25P03",
        "idle-in-transaction timeout",
        "limits the time between two statements of a transaction",
        "Set idle_in_transaction_session_timeout to 0 for the role, and let no pooler mix its sessions with others.",
    ),
    Limit(
        "25P04",
        "transaction timeout",
        "limits the time of a transaction",
        "Set transaction_timeout to 0 for the role.",
        ServerLimit,
    ),
    Limit(
        "57P05",
        "idle-session timeout",
        "limits the time between two transactions",
        "Set idle_session_timeout to 0 for the role.",
    ),
    Limit(
        "57P03",
        "is starting up|is shutting down|in recovery mode|not accepting connections",
        "lets nobody in yet",
        "Wait until the server has started.",
    ),
)


def error_of(place: str, sqlstate: str | None, message: str) -> IngestError | None:
    """Return the error for a limit of the server, which names it and says what to set; None for anything else.

    Parameters
    ----------
    place : str
        What was reached, as the subject of a sentence.
    sqlstate : str or None
        What the server states, if it does.
    message : str
        Its message.
    """
    lines = message.strip().splitlines() or [""]
    for limit in KNOWN:
        said = [line for line in lines if limit.words and re.search(limit.words, line)]
        if (sqlstate == limit.sqlstate and (said or not limit.words)) or (not sqlstate and said):
            line = (said or lines)[0].strip()
            text = f"{place} {limit.what}: {line.rstrip('.')}." if limit.what else f"{place}: {line}"
            return limit.kind(text, limit.fix)
    return None


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
