"""Sessions on PostGIS for many questions at once: each serves one question at a time, and then waits for the next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from admin_boundaries.postgres_warehouse import Bounds, PostgresWarehouse, connected
from admin_boundaries.service.marts import too_long
from ingest import sessions
from ingest.settings import Postgres

CANCELLED, SAID = "57014", "statement timeout"


class PostgresSource:
    """See `admin_boundaries.service.marts.Source`.

    Parameters
    ----------
    where : Postgres
        The database.
    dataset : str
        The hierarchical dataset.
    seconds : int
        How long a statement may take.
    """

    is_of_one_build = False

    def __init__(self, where: Postgres, dataset: str, seconds: int) -> None:
        self._where, self._dataset = where, dataset
        self._bounds = Bounds(sessions=1, seconds=seconds)
        self._lock = threading.Lock()
        self._idle: list[psycopg.Connection] = []

    @contextmanager
    def opened(self) -> Iterator[PostgresWarehouse]:
        """Open the marts for a question."""
        with (
            too_long(self._bounds.seconds or 0, _is_over),
            connected(self._where, self._dataset, self._session, self._bounds) as warehouse,
        ):
            yield warehouse

    def close(self) -> None:
        """Close the sessions that wait."""
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection]:
        """Lend a session. One that an error has gone through is closed, and so is one that the server has ended."""
        session = self._waiting() or self._new()
        try:
            yield session
        except BaseException:
            session.close()
            raise
        with self._lock:
            self._idle.append(session)

    def _waiting(self) -> psycopg.Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                session = self._idle.pop()
            try:
                session.execute("")
            except psycopg.Error:
                session.close()
            else:
                return session

    def _new(self) -> psycopg.Connection:
        session = sessions.connect(self._where, to_write=False, autocommit=True)
        session.prepare_threshold = None  # a pooler may give the next statement to another session of the server
        session.execute("set default_transaction_read_only = on")
        session.execute(self._bounds.statement)
        return session


def _is_over(error: BaseException) -> bool:
    """Whether the server ended a statement because of its time; while rows are fetched, only its message tells."""
    causes = [each for each in (error, error.__cause__) if each]
    said = any(isinstance(each, OSError) and SAID in str(each) for each in causes)
    return said or any(getattr(each, "sqlstate", None) == CANCELLED for each in causes)
