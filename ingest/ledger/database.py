"""The database of the ledger: PostgreSQL on the ``postgres`` target, a SQLite file on the embedded one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import InternalError, OperationalError, ProgrammingError

from ingest import sessions
from ingest.errors import PermissionMissing, TargetUnavailable
from ingest.ledger.tables import RAW, UtcTime
from ingest.settings import Postgres, Settings, private_folder

INSUFFICIENT_PRIVILEGE = "42501"
READ_ONLY = "25006"
LOCK_NOT_AVAILABLE = "55P03"


@cache
def _postgres_engine(where: Postgres) -> sa.Engine:
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=lambda: sessions.connect(where, to_write=True),
        pool_size=1,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    return engine


class Database:
    """Transactions and the clock of the database of the ledger.

    A process keeps one connection to PostgreSQL between calls, and checks before each use that it still works. A forked
    worker opens its own. SQLite is opened anew for every call.
    """

    def __init__(self, settings: Settings) -> None:
        self.is_postgres = settings.postgres is not None
        self.place = settings.postgres.place if settings.postgres else str(settings.home / "ledger.sqlite")
        if settings.postgres:
            self._engine = _postgres_engine(settings.postgres)
        else:
            private_folder(settings.home)
            self._engine = sa.create_engine(
                f"sqlite:///{self.place}", poolclass=sa.NullPool, connect_args={"timeout": 30}, hide_parameters=True
            ).execution_options(schema_translate_map={RAW: None})

            @sa.event.listens_for(self._engine, "connect")
            def _wal(connection: Any, _record: Any) -> None:
                connection.execute("pragma journal_mode = wal")

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction, which commits at the end of the block, or rolls back on an error.

        Raises
        ------
        TargetUnavailable
            When the database does not answer.
        PermissionMissing
            When the database user lacks a permission that the block needs.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except ProgrammingError as error:
            if getattr(error.orig, "sqlstate", "") != INSUFFICIENT_PRIVILEGE:
                raise
            raise PermissionMissing(
                f"{self.place}: {str(error.orig).strip().splitlines()[0]}.",
                "Is PGUSER the loader? `python -m ingest init`, run by a superuser, sets up roles and permissions. "
                "After an upgrade, the loader has to run the first command.",
            ) from error
        except InternalError as error:
            if getattr(error.orig, "sqlstate", "") != READ_ONLY:
                raise
            raise TargetUnavailable(
                f"The ledger at {self.place} is read-only: {str(error.orig).strip().splitlines()[0]}.",
                "Is this a standby, or is default_transaction_read_only set for the role, the database or the server?",
            ) from error
        except OperationalError as error:
            reason = str(error.orig).strip().splitlines()[0]
            if getattr(error.orig, "sqlstate", "") == LOCK_NOT_AVAILABLE:
                raise TargetUnavailable(
                    f"The ledger at {self.place} is locked by another session: {reason}.",
                    "Wait until `dbt build` or whoever reads it in a transaction has finished, then try again.",
                ) from error
            raise TargetUnavailable(
                f"The ledger at {self.place} does not answer: {reason}",
                "Is the server running, and are PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE right?"
                if self.is_postgres
                else "Is WAREHOUSE_HOME on a writable disk?",
            ) from error

    def is_gone(self) -> bool:
        """Whether the file of the ledger does not exist any more; never known of a server."""
        return not self.is_postgres and not Path(self.place).exists()

    def clock(self, ahead: timedelta = timedelta()) -> Any:
        """Return an SQL expression for the time by the clock of the ledger, which all hosts share, plus ``ahead``."""
        if self.is_postgres:
            return sa.func.clock_timestamp(type_=sa.DateTime(timezone=True)) + ahead
        return sa.literal(datetime.now(UTC) + ahead, UtcTime)

    def now(self) -> datetime:
        """Return the time by the clock of the ledger."""
        with self.transaction() as connection:
            moment: datetime = connection.execute(sa.select(self.clock())).scalar_one()
        return moment
