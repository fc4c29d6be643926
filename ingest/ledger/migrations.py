"""Numbered steps that bring an older ledger to the shape of `ingest.ledger.tables`.

The steps that a ledger has been through are rows of ``raw.ingest_migrations``. A ledger without that table is of the
first edition, step 1. A command or worker that opens a ledger takes the missing steps, under a lock and in one
transaction; a ledger that has been through steps unknown here is refused, since newer code writes it differently.

A step that has been released is never edited: what comes after it is a step of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from ingest import __version__
from ingest.errors import LedgerTooNew
from ingest.ledger.database import Database
from ingest.ledger.tables import SCHEMA, metadata, migrations, runs

LOCK = "select pg_advisory_xact_lock(hashtext('admin-boundaries ledger'))"


@dataclass(frozen=True)
class Step:
    """One change of the ledger's shape.

    Attributes
    ----------
    number : int
        Steps are taken in this order, each once.
    what : str
        What it changes, in a few words.
    statements : tuple of str
        SQL that PostgreSQL and SQLite both take; ``{raw}`` stands for the schema with its dot, nothing on SQLite.
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
)


def bring_up_to_date(database: Database, steps: Sequence[Step] = STEPS) -> list[Step]:
    """Create the ledger's tables, or take the steps that they lack.

    Parameters
    ----------
    database : Database
        The ledger's.
    steps : sequence of Step
        All steps, in order.

    Returns
    -------
    list of Step
        Those taken now; none where the ledger was up to date.

    Raises
    ------
    LedgerTooNew
        When a newer version of the package has changed the ledger.
    """
    with database.transaction() as connection:
        if _taken(database, connection, steps) == steps[-1].number:
            return []
    with database.transaction() as connection:
        if database.is_postgres:
            connection.exec_driver_sql(LOCK)
            if not sa.inspect(connection).has_schema(SCHEMA):
                connection.execute(sa.schema.CreateSchema(SCHEMA))
        else:
            connection.exec_driver_sql("begin immediate")
        taken = _taken(database, connection, steps)  # another process may have been first
        missing = [step for step in steps if step.number > taken]
        raw = f"{SCHEMA}." if database.is_postgres else ""
        for step in missing if taken else ():
            for statement in step.statements:
                connection.exec_driver_sql(statement.format(raw=raw))
        metadata.create_all(connection)
        moment = datetime.now(UTC)
        for step in missing:
            values = {"step": step.number, "what": step.what, "applied_at": moment, "ingest_version": __version__}
            connection.execute(migrations.insert().values(**values))
    return missing


def _taken(database: Database, connection: sa.Connection, steps: Sequence[Step]) -> int:
    """Return the last step that a ledger has been through: 0 where there is none, 1 for one of the first edition."""
    schema = SCHEMA if database.is_postgres else None
    known = sa.inspect(connection)
    if not known.has_table(migrations.name, schema=schema):
        return 1 if known.has_table(runs.name, schema=schema) else 0
    taken: int = connection.execute(sa.select(sa.func.coalesce(sa.func.max(migrations.c.step), 0))).scalar_one()
    if taken > steps[-1].number:
        version: str = connection.execute(
            sa.select(migrations.c.ingest_version).where(migrations.c.step == taken)
        ).scalar_one()
        raise LedgerTooNew(
            f"The ledger at {database.place} is at step {taken}, written by version {version}; this is version "
            f"{__version__}, which knows {steps[-1].number} steps.",
            "Update this installation: all commands and workers of a warehouse run the same version.",
        )
    return taken or 1
