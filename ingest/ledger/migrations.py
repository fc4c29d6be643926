"""Numbered steps that upgrade an older ledger to the shape of `ingest.ledger.tables`.

The table ``raw.ingest_migrations`` lists the steps that were applied to a ledger. A ledger without that table is of the
first edition, step 1. The command or worker that first opens an older ledger applies the missing steps, under a lock
and in one transaction. A ledger with steps that are unknown here is refused, because newer code has changed it.

Never edit a released step: a further change is a further step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from ingest import __version__
from ingest.errors import LedgerTooNew
from ingest.ledger.database import Database
from ingest.ledger.tables import RAW, metadata, migrations, runs

LOCK_SECONDS = 10
LOCK = "select pg_advisory_xact_lock(hashtext('admin-boundaries ledger'))"
# A superuser makes tables that belong to the owner of the schema, like all others in it.
AS_OWNER = """
select set_config('role', pg_get_userbyid(nspowner)::text, true)
from pg_namespace
where nspname = 'raw'
    and pg_get_userbyid(nspowner) <> current_user
    and pg_has_role(
        nspowner, case when current_setting('server_version_num')::integer < 160000 then 'member' else 'set' end
    )
"""


@dataclass(frozen=True)
class Step:
    """One change to the shape of the ledger.

    Attributes
    ----------
    number : int
        Steps are applied in this order, each once.
    what : str
        What it changes, in a few words.
    statements : tuple of str
        SQL for both PostgreSQL and SQLite; ``{raw}`` stands for the schema and a dot, or for nothing on SQLite.
    """

    number: int
    what: str
    statements: tuple[str, ...] = ()


STEPS = (
    Step(1, "the tables of the first edition"),
    Step(
        2,
        "runs say which version of the package loaded them",
        ("alter table {raw}ingest_runs add column ingest_version text",),
    ),
    Step(
        3,
        "consumers say whether a command has started them for its own runs",
        ("alter table {raw}ingest_consumers add column is_private boolean not null default false",),
    ),
    Step(
        4,
        "runs say since when readers have seen them, also after a rollback",
        (
            "alter table {raw}ingest_runs add column shown_at timestamp with time zone",
            "update {raw}ingest_runs set shown_at = published_at",
        ),
    ),
    Step(
        5,
        "runs count the attempts at their current stage",
        ("alter table {raw}ingest_runs add column stage_attempts integer not null default 0",),
    ),
    Step(
        6,
        "publications can be kept",
        ("alter table {raw}ingest_runs add column is_kept boolean not null default false",),
    ),
    Step(
        7,
        "slices say how large the file of their rows is, and its checksum",
        (
            "alter table {raw}ingest_slices add column stored_bytes bigint",
            "alter table {raw}ingest_slices add column stored_sha256 text",
        ),
    ),
    Step(
        8,
        "runs say which publication they are added to, files and slices which run they are carried over from",
        (
            "alter table {raw}ingest_runs add column base_run_id text",
            "alter table {raw}ingest_runs add column countries text",
            "alter table {raw}ingest_runs add column rows_replaced bigint",
            "alter table {raw}ingest_files add column carried_from text",
            "alter table {raw}ingest_slices add column carried_from text",
        ),
    ),
    Step(9, "builds of the marts by a worker are noted, in a table of their own"),
)


def bring_up_to_date(database: Database, steps: Sequence[Step] = STEPS) -> list[Step]:
    """Create the tables of the ledger, or apply the steps that an older ledger lacks.

    Parameters
    ----------
    database : Database
        Database of the ledger.
    steps : sequence of Step
        All steps, in order.

    Returns
    -------
    list of Step
        The steps applied now; none if the ledger was new or up to date.

    Raises
    ------
    LedgerTooNew
        When a newer version of the package has changed the ledger.
    """
    if is_current(database, steps):
        return []
    with database.transaction() as connection:
        if database.is_postgres:
            connection.exec_driver_sql(
                f"set local lock_timeout = '{LOCK_SECONDS}s'"
            )  # readers must not queue behind us
            connection.exec_driver_sql(LOCK)
            connection.exec_driver_sql(AS_OWNER)
            if not sa.inspect(connection).has_schema(RAW):
                connection.execute(sa.schema.CreateSchema(RAW))
        else:
            connection.exec_driver_sql("begin immediate")
        last = _last_step(database, connection, steps)  # another process may have been faster
        missing = [step for step in steps if step.number > last]
        raw = f"{RAW}." if database.is_postgres else ""
        for step in missing if last else ():
            for statement in step.statements:
                connection.exec_driver_sql(statement.format(raw=raw))
        metadata.create_all(connection)
        moment = datetime.now(UTC)
        for step in missing:
            values = {"step": step.number, "what": step.what, "applied_at": moment, "ingest_version": __version__}
            connection.execute(migrations.insert().values(**values))
    return missing if last else []


def is_current(database: Database, steps: Sequence[Step] = STEPS) -> bool:
    """Return whether all steps were applied to a ledger.

    Raises
    ------
    LedgerTooNew
        When a newer version of the package has changed it.
    """
    with database.transaction() as connection:
        return _last_step(database, connection, steps) == steps[-1].number


def _last_step(database: Database, connection: sa.Connection, steps: Sequence[Step]) -> int:
    """Return the last step applied to a ledger: 0 if there is no ledger, 1 for a ledger of the first edition."""
    schema = RAW if database.is_postgres else None
    known = sa.inspect(connection)
    if not known.has_table(migrations.name, schema=schema):
        return 1 if known.has_table(runs.name, schema=schema) else 0
    last: int = connection.execute(sa.select(sa.func.coalesce(sa.func.max(migrations.c.step), 0))).scalar_one()
    if last > steps[-1].number:
        version: str = connection.execute(
            sa.select(migrations.c.ingest_version).where(migrations.c.step == last)
        ).scalar_one()
        raise LedgerTooNew(
            f"The ledger at {database.place} is at step {last}, written by version {version}; this installation, "
            f"version {__version__}, knows only {steps[-1].number} steps.",
            "Update this installation: all commands and workers of a warehouse must run the same version.",
        )
    return last or 1
