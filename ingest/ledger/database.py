"""The database of the ledger: PostgreSQL on the ``postgres`` target, a SQLite file on the embedded one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, InternalError, OperationalError, ProgrammingError

from ingest import refusals, sessions
from ingest.errors import DiskFull, IngestError, LedgerDamaged, PermissionMissing, TargetUnavailable
from ingest.ledger.tables import RAW, UtcTime
from ingest.settings import Postgres, Settings, private_folder

INSUFFICIENT_PRIVILEGE = "42501"
# A limit on the size of files (ulimit -f) is an error of input and output to SQLite, as is a disk that fails.
UNWRITABLE_CODES = (
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC),
    *(sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_SHMSIZE),
)
DAMAGE_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)


def is_damage(error: BaseException | None) -> bool:
    """Return whether SQLite found a file damaged, or that it holds no database."""
    code = getattr(error, "sqlite_errorcode", None)
    return (code is not None and code & 0xFF in DAMAGE_CODES) or "decode to UTF-8" in str(error)


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
            place = sa.URL.create("sqlite", database=self.place)  # as text, a `%20` or a `?` would be taken for more
            self._engine = sa.create_engine(
                place, poolclass=sa.NullPool, connect_args={"timeout": 30}, hide_parameters=True
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
        LedgerDamaged
            When the file of the embedded target is damaged.
        DiskFull
            When nothing more can be written to it.
        PermissionMissing
            When the database user lacks a permission that the block needs.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except (DatabaseError, sqlite3.DatabaseError) as error:
            fault = self._fault(error)
            if fault is None:
                raise
            raise fault from error

    def _fault(self, error: DatabaseError | sqlite3.DatabaseError) -> IngestError | None:
        """Return what an error of the driver means; None if nobody expects it."""
        driver = error.orig if isinstance(error, DatabaseError) else error
        state, reason = getattr(driver, "sqlstate", None), (str(driver).strip().splitlines() or [""])[0]
        is_folder = not self.is_postgres and Path(self.place).is_dir()
        if is_folder or is_damage(driver):
            return self.damaged("it is a folder" if is_folder else reason)
        if getattr(driver, "sqlite_errorcode", None) in UNWRITABLE_CODES:
            return DiskFull(
                f"The ledger at {self.place} cannot be written: {reason}.",
                "Free some space on its disk, or lift the limit on the size of files (ulimit -f); then "
                "`python -m ingest resume` goes on with what has not ended.",
            )
        if isinstance(error, ProgrammingError) and state == INSUFFICIENT_PRIVILEGE:
            return PermissionMissing(
                f"{self.place}: {reason}.",
                "Is PGUSER the loader? The reader reads the marts, and nothing else. "
                "`python -m ingest init`, run by a superuser, sets up roles and permissions, and "
                "after an upgrade the ledger. A single user for everything needs `grant create on database`.",
            )
        if state == refusals.READ_ONLY:
            self._engine.dispose()  # a session keeps this setting when its role or database has lost it
        is_refusal = self.is_postgres and isinstance(error, (InternalError, OperationalError))
        if found := refusals.error_of(f"The ledger at {self.place}", state, str(driver)) if is_refusal else None:
            return found
        if isinstance(error, (OperationalError, sqlite3.OperationalError)):
            return TargetUnavailable(
                f"The ledger at {self.place} does not answer: {reason}",
                "Is the server running, and are PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE right?"
                if self.is_postgres
                else "Is WAREHOUSE_HOME on a writable disk?",
            )
        return None

    def damaged(self, reason: str) -> LedgerDamaged:
        """Return the error for a file that is no ledger any more."""
        return LedgerDamaged(
            f"The ledger {self.place} is damaged: {reason}.",
            f"Restore it from a backup. Without one, move it and {Path(self.place).parent / 'raw'} to another place, "
            "and load again; the marts stay as they are until the next build.",
        )

    def check(self, how: str = "quick_check") -> None:
        """Let SQLite check the whole file; a server does that itself.

        Raises
        ------
        LedgerDamaged
            When the file is damaged anywhere, even where nothing would be read now.
        """
        if self.is_postgres:
            return
        with self.transaction() as connection:
            found: str = connection.exec_driver_sql(f"pragma {how}(1)").scalar_one()
        if found != "ok":
            raise self.damaged(found.strip().splitlines()[-1])

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
