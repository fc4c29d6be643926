"""What a server refuses because of one of its limits, and what to set.

Every session of ours begins without limits on time (`ingest.sessions`). What is left is set by whoever runs the server:
the number of connections, the size of temporary files, and whether it takes writes at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingest.errors import DiskFull, IngestError, ServerLimit, TargetUnavailable

READ_ONLY = "25006"
QUOTED = r"^'?: (ERROR|FATAL): +"  # what ADBC leaves of its own words, on the line behind the statement that it quotes


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


STANDBY = (
    "It is a standby. Connect to the primary, for example with all hosts in PGHOST and PGTARGETSESSIONATTRS=read-write."
)
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
        STANDBY,
    ),
    Limit("0A000", "unlogged relations during recovery", "is read-only", STANDBY),
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
            line = re.sub(QUOTED, "", (said or lines)[0]).strip()
            text = f"{place} {limit.what}: {line.rstrip('.')}." if limit.what else f"{place}: {line}"
            return limit.kind(text, limit.fix)
    return None
