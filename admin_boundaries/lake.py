"""The files of the runs that a build reads, in the lake that `ingest` writes on all targets but PostgreSQL."""

from __future__ import annotations

import fcntl
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


class Lake:
    """The lake, and the runs in it that this process holds.

    Parameters
    ----------
    folder : Path
        The folder ``raw``, beside the ledger.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: list[int] = []

    def hold_run(self, dataset: str, run_id: str) -> bool:
        """Keep retention away from the files of a run; return False where they are gone.

        Whoever drops a run takes the lock exclusively, and renames the folder before removing it.
        """
        folder = self._folder / dataset / "runs" / run_id
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
        schemas = (self._folder / dataset / "runs" / run_id).glob("*/columns.parquet")
        found = [column in pq.read_schema(path).names for path in schemas]
        return bool(found) and all(found) and self.hold_run(dataset, run_id)

    def damage_of_run(self, dataset: str, run_id: str) -> str:
        """Return what is wrong with the files of a run, by the copy of the ledger, and what to do; empty if nothing is.

        Every byte is read: a build may take minutes, and this takes seconds.
        """
        try:
            found = _damage(self._folder / dataset / "runs" / run_id, self._folder / "ledger", run_id)
        except (OSError, pa.ArrowException) as error:
            return f"The copy of the ledger cannot be read: {error}. Run `python -m ingest doctor --repair`."
        return found and f"Run {run_id} of {dataset} is damaged: {found}. Load it again: python -m ingest {dataset}"

    def release(self) -> None:
        """Leave all runs that are held to retention."""
        for descriptor in self._held:
            os.close(descriptor)
        self._held.clear()


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
