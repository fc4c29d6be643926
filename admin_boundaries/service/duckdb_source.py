"""The file of the embedded target, open for many questions at once, until a build puts another in its place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from admin_boundaries.duckdb_warehouse import DuckdbWarehouse, attach, no_warehouse
from admin_boundaries.edition import Edition
from admin_boundaries.marts import first_line
from admin_boundaries.service.marts import too_long
from ingest.errors import TargetUnavailable
from ingest.settings import build_command

AGAIN = 0.2  # seconds between two interruptions: each ends only the statement that is at work
Identity = tuple[int, int, int]


class DuckdbSource:
    """See `admin_boundaries.service.marts.Source`.

    Parameters
    ----------
    path, lake : Path
        The file of the marts, and the lake that they are built from.
    dataset : str
        The hierarchical dataset.
    seconds : int
        How long a question may take.
    """

    is_of_one_build = True

    def __init__(self, path: Path, lake: Path, dataset: str, seconds: int) -> None:
        self._path, self._lake, self._dataset, self._seconds = path, lake, dataset, seconds
        self._lock = threading.Lock()
        self._current: _Opened | None = None

    @contextmanager
    def opened(self) -> Iterator[DuckdbWarehouse]:
        """Open the marts for a question."""
        opened = self._take()
        try:
            session = _Session(opened)
            warehouse = _Served(session, self._lake, self._dataset, self._path)
            with (
                too_long(self._seconds, lambda _error: watch.is_over),
                _Watch(session, self._seconds) as watch,
                warehouse.expected_failures(),
            ):
                yield warehouse
        finally:
            self._give_back(opened)

    def close(self) -> None:
        """Close the file, as soon as nobody reads it."""
        with self._lock:
            retired, self._current = self._current, None
            if retired and not retired.readers:
                retired.connection.close()

    def _take(self) -> _Opened:
        with self._lock:
            identity = self._identity()
            if self._current is None or self._current.identity != identity:
                fresh = self._open(identity)
                retired, self._current = self._current, fresh
                if retired and not retired.readers:
                    retired.connection.close()
            self._current.readers += 1
            return self._current

    def _give_back(self, opened: _Opened) -> None:
        with self._lock:
            opened.readers -= 1
            if not opened.readers and opened is not self._current:
                opened.connection.close()

    def _identity(self) -> Identity:
        try:
            return _identity(self._path)
        except FileNotFoundError as error:
            raise no_warehouse(self._path, self._lake, self._dataset) from error

    def _open(self, identity: Identity) -> _Opened:
        """Attach the file to an empty database, which may read nothing else but the copy of the ledger."""
        connection = duckdb.connect(config={"python_enable_replacements": False})
        try:
            name = attach(connection, self._path)
            ledger = str(self._lake / "ledger" / "ingest_runs.parquet").replace("'", "''")
            connection.execute(
                f"set allowed_paths = ['{ledger}']; set enable_external_access = false; set lock_configuration = true"
            )
        except duckdb.Error as error:
            connection.close()
            raise TargetUnavailable(
                f"{self._path} cannot be read: {first_line(error)}.",
                "Close the program that has it open for writing, or make a new one: " + build_command(self._dataset),
            ) from error
        return _Opened(connection, f"use {name}", identity)


class _Opened:
    """A file that is open, and how many questions read it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, use: str, identity: Identity) -> None:
        self.connection, self.use, self.identity = connection, use, identity
        self.readers = 0
        self.editions: tuple[Identity | None, list[Edition]] | None = None  # by the copy of the ledger


class _Served(DuckdbWarehouse):
    """The marts in a file that stays as it is: of which build they are is read once, and again after each run."""

    def __init__(self, session: _Session, lake: Path, dataset: str, place: Path) -> None:
        super().__init__(session, lake, dataset, place)  # type: ignore[arg-type]
        self._opened = session.opened

    def editions(self) -> list[Edition]:
        try:
            ledger: Identity | None = _identity(self._runs)
        except FileNotFoundError:
            ledger = None
        kept = self._opened.editions
        if kept is None or kept[0] != ledger:
            kept = self._opened.editions = (ledger, super().editions())
        return kept[1]


def _identity(path: Path) -> Identity:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


class _Session:
    """What `DuckdbWarehouse` needs of a connection: all that a question opens looks into the file, and can be ended."""

    def __init__(self, opened: _Opened) -> None:
        self.opened = opened
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._own = self.cursor()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self.opened.connection.cursor()
        cursor.execute(self.opened.use)
        self._cursors.append(cursor)
        return cursor

    def execute(self, query: str, parameters: object = None) -> duckdb.DuckDBPyConnection:
        return self._own.execute(query, parameters)

    def register(self, name: str, table: Any) -> None:
        self._own.register(name, table)

    def extract_statements(self, text: str) -> list[duckdb.Statement]:
        return self._own.extract_statements(text)

    def interrupt(self) -> None:
        for cursor in self._cursors:
            cursor.interrupt()

    def close(self) -> None:
        for cursor in self._cursors:
            cursor.close()


class _Watch:
    """Ends what a question asks when its time is up."""

    def __init__(self, session: _Session, seconds: int) -> None:
        self._session, self._seconds = session, seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.is_over = False

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self._thread.join()
        self._session.close()

    def _run(self) -> None:
        pause = float(self._seconds)
        while not self._done.wait(pause):
            self.is_over, pause = True, AGAIN
            self._session.interrupt()
