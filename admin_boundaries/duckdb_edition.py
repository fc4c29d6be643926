"""The DuckDB file of an edition: made beside the one that readers open, and put in its place in one step.

A build never writes to ``warehouse.duckdb``. It works on ``build/warehouse.duckdb`` and renames it when everything is
built and tested: a reader that has the old file open goes on reading it, and the next one opens the new one. A whole
build starts from an empty file, so that no space is lost from one build to the next; a partial one from a copy.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from dbt_common.exceptions import DbtRuntimeError

from ingest.settings import private_folder, with_dataset

# A group of rows is written when it is full: one of 122,880 units, DuckDB's own size, holds gigabytes until then.
# There is no journal: a build that is killed begins anew, and rows need not be written twice.
OPTIONS = "row_group_size 16384, recovery_mode no_wal_writes"
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
        self._held: list[int] = []
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
            connection.execute(f"attach if not exists {_text(file)} as {file.stem} (read_only)")

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
            connection.execute(f"attach {_text(self.warehouse)} as {alias} (read_only)")
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

    def hold_run(self, dataset: str, run_id: str) -> bool:
        """Keep retention away from the files of a run; return False where they are gone.

        Whoever drops a run takes the lock exclusively, and renames the folder before removing it.
        """
        folder = self.warehouse.parent / "raw" / dataset / "runs" / run_id
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            self._held.append(descriptor)
            return os.path.samestat(os.fstat(descriptor), folder.stat())
        except FileNotFoundError:
            return False

    def is_comparable(self, dataset: str, run_id: str, column: str) -> bool:
        """Return whether the files of a run are there and have a column, which an older version did not write.

        Such a run is held as by `hold_run`.
        """
        schemas = (self.warehouse.parent / "raw" / dataset / "runs" / run_id).glob("*/columns.parquet")
        found = [column in pq.read_schema(path).names for path in schemas]
        return bool(found) and all(found) and self.hold_run(dataset, run_id)

    def damage_of_run(self, dataset: str, run_id: str) -> str:
        """Return what is wrong with the files of a run, by the copy of the ledger, and what to do; empty if nothing is.

        Every byte is read: a build may take minutes, and this takes seconds.
        """
        lake = self.warehouse.parent / "raw"
        try:
            found = _damage(lake / dataset / "runs" / run_id, lake / "ledger", run_id)
        except (OSError, pa.ArrowException) as error:
            return f"The copy of the ledger cannot be read: {error}. Run `python -m ingest doctor --repair`."
        return found and f"Run {run_id} of {dataset} is damaged: {found}. Load it again: python -m ingest {dataset}"

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
        for descriptor in self._held:
            os.close(descriptor)
        self._held.clear()
        os.close(_locks.pop(self.file.parent / "lock"))
        return str(self.warehouse)

    @staticmethod
    def _journal(file: Path) -> Path:
        return file.with_name(f"{file.name}.wal")


def _damage(folder: Path, ledger: Path, run_id: str) -> str:
    """Return what is wrong with the first file that is not what was loaded."""
    runs = pq.read_table(ledger / "ingest_runs.parquet", filters=[("run_id", "=", run_id)]).to_pylist()
    if not folder.is_dir():
        return f"{folder} is gone" if any(run["state"] == "published" for run in runs) else ""
    loaded = [("run_id", "=", run_id), ("state", "=", "loaded")]
    slices = pq.read_table(ledger / "ingest_slices.parquet", filters=loaded).to_pylist()
    with ThreadPoolExecutor() as pool:
        return next(filter(None, pool.map(partial(_damage_of_slice, folder), slices)), "")


def _damage_of_slice(folder: Path, part: dict[str, Any]) -> str:
    path = folder / part["table_name"] / f"slice-{part['slice_no']:04}.parquet"
    try:
        size = path.stat().st_size
        if part.get("stored_bytes") not in (None, size) or not path.is_file():  # to open a pipe would wait for ever
            return f"{path} has {size:,} bytes instead of {part['stored_bytes']:,}"
        with path.open("rb") as file:
            sha256 = part.get("stored_sha256")  # an older version recorded none
            is_right = sha256 is None or hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return "" if is_right else f"{path} is not what was loaded"


_locks: dict[Path, int] = {}  # held by this process, until it publishes or ends


def _text(path: Path) -> str:
    """Return a path as an SQL literal."""
    return "'" + str(path).replace("'", "''") + "'"
