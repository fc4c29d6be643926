"""The DuckDB file of an edition: made beside the one that readers open, and put in its place in one step.

A build never writes to ``warehouse.duckdb``. It works on ``build/warehouse.duckdb`` and renames it when everything is
built and tested: a reader that has the old file open goes on reading it, and the next one opens the new one. A whole
build starts from an empty file, so that no space is lost from one build to the next; a partial one from a copy.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import duckdb
from dbt_common.exceptions import DbtRuntimeError

from admin_boundaries.lake import Lake
from ingest.settings import private_folder, with_dataset

# A group of rows is written when it is full: one of 122,880 units, DuckDB's own size, holds gigabytes until then.
# There is no journal: a build that is killed begins anew, and rows need not be written twice.
OPTIONS = "type duckdb, row_group_size 16384, recovery_mode no_wal_writes"
READ_ONLY = "type duckdb, read_only"  # without the type, DuckDB looks for an extension to read a file of SQLite
PUBLISHED = "published"


class Edition:
    """The file that a build works on.

    Parameters
    ----------
    warehouse : Path
        The file that readers open. It need not exist.
    """

    def __init__(self, warehouse: Path) -> None:
        self.warehouse = warehouse
        self.file = warehouse.parent / "build" / warehouse.name
        self.alias = warehouse.stem  # as dbt-duckdb, and whoever opens the file, names the database in it
        self.lake = Lake(warehouse.parent / "raw")
        self._has_begun = False

    def open(self, connection: duckdb.DuckDBPyConnection, *, is_whole: bool, is_retry: bool) -> None:
        """Attach the file of a new edition, or of the one that a failed build left.

        Parameters
        ----------
        connection : DuckDBPyConnection
            Of dbt.
        is_whole : bool
            Whether the build makes all models; otherwise the new file starts as a copy of the published one.
        is_retry : bool
            Whether the build goes on with what a failed one left.

        Raises
        ------
        DbtRuntimeError
            When another build is at work, or another program has the published file open for writing.
        """
        private_folder(self.file.parent)
        self._lock()
        is_new = not is_retry and not self._has_begun  # dbt may connect again in the course of a build
        self._has_begun = True
        if is_new:
            self.file.unlink(missing_ok=True)
            self._journal(self.file).unlink(missing_ok=True)
        if self.warehouse.exists():
            self._attach_published(connection, PUBLISHED)
            if is_new and not is_whole:
                shutil.copyfile(self.warehouse, self.file)
        connection.execute(f"attach {_text(self.file)} as {self.alias} ({OPTIONS})")
        self.file.chmod(0o600)

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Attach the published file read-only, for a command that only reads; without one, an empty database."""
        if self.warehouse.exists():
            self._attach_published(connection, self.alias)
        else:
            connection.execute(f"attach ':memory:' as {self.alias}")

    def attach_other(self, connection: duckdb.DuckDBPyConnection, dataset: str) -> None:
        """Attach the published file of another dataset read-only, if it has been built."""
        file = self.warehouse.with_name(f"{with_dataset('warehouse', dataset)}.duckdb")
        if file != self.warehouse and file.exists():
            connection.execute(f"attach if not exists {_text(file)} as {file.stem} ({READ_ONLY})")

    def _lock(self) -> None:
        """Let no other build begin as long as this process lives."""
        path = self.file.parent / "lock"
        if path in _locks:
            return
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise DbtRuntimeError(
                f"Another dbt build is at work in {self.warehouse.parent}. Wait for it to end, then build again."
            ) from None
        _locks[path] = descriptor

    def _attach_published(self, connection: duckdb.DuckDBPyConnection, alias: str) -> None:
        try:
            connection.execute(f"attach {_text(self.warehouse)} as {alias} ({READ_ONLY})")
        except duckdb.IOException as error:
            if "lock" not in str(error):
                reason = str(error).splitlines()[0].rstrip(".!")
                raise DbtRuntimeError(
                    f"{self.warehouse} cannot be read: {reason}. Move it to another place, and build again "
                    "to have a new one."
                ) from error
            raise DbtRuntimeError(
                f"Another program has {self.warehouse} open for writing: {str(error).splitlines()[0]}. "
                "Close it there, or open it read-only, then build again."
            ) from error

    def publish(self) -> str:
        """Put the detached file in the place of the published one.

        Raises
        ------
        DbtRuntimeError
            When the file is not complete, as on a full disk.
        """
        if self._journal(self.file).exists():
            raise DbtRuntimeError(f"{self.file} could not be completed. Is the disk full?")
        self._journal(self.warehouse).unlink(missing_ok=True)
        self.file.replace(self.warehouse)
        self.lake.release()
        os.close(_locks.pop(self.file.parent / "lock"))
        return str(self.warehouse)

    @staticmethod
    def _journal(file: Path) -> Path:
        return file.with_name(f"{file.name}.wal")


_locks: dict[Path, int] = {}  # held by this process, until it publishes or ends


def _text(path: Path) -> str:
    """Return a path as an SQL literal."""
    return "'" + str(path).replace("'", "''") + "'"
