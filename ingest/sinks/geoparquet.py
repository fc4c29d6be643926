"""Staging tables as GeoParquet files in a lake: one file per slice, read in place by DuckDB.

A slice is ``raw/<dataset>/runs/<run>/<table>/slice-0000.parquet``. ``raw/<dataset>/current`` is a symbolic link to the
published run; replacing the link is atomic. ``raw/ledger`` holds a copy of the ledger as Parquet, for dbt.

A build holds a shared lock (``flock``) on the folder of each run that it reads, and once it has the lock, it checks
that the path still leads to the folder that it locked.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from ingest.catalog import Table
from ingest.engines import schema
from ingest.errors import DiskFull, SliceTaken
from ingest.ledger import Ledger
from ingest.settings import Settings, private_folder
from ingest.sinks import KEPT_FOR_NOW, OnLoaded, Staging

log = logging.getLogger(__name__)

ROW_GROUP_BYTES = 16 << 20
DROPPED = ".dropped-"  # begins the name of a run's folder while its files are removed
GEO = {
    "version": "1.1.0",
    "primary_column": "geom",
    "columns": {"geom": {"encoding": "WKB", "geometry_types": ["MultiPolygon"]}},
}


class GeoParquetSink:
    """The files of each run, and one link per dataset to the published run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def ensure_published(self, dataset: str, tables: Sequence[Table]) -> None:
        """Publish an empty run if none is published yet, and copy the ledger for dbt; see `ingest.sinks.Sink`."""
        empty = Staging(run_id="empty", dataset=dataset, release="")
        link = self._link(dataset)
        if not link.exists() or link.readlink().name == empty.run_id:
            self.prepare(empty, tables)  # also again: an older version may have made it, with other columns
            self._point(empty)
        with Ledger(self._settings).transaction() as connection:
            self._export(connection)

    def prepare(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Create the folders of a run, each with an empty file that has the columns; see `ingest.sinks.Sink`."""
        for table in tables:
            folder = self._folder(staging, table)
            private_folder(folder)
            with _replacing(folder / "columns.parquet") as draft:
                pq.write_table(_file_schema(table).empty_table(), draft)

    def write(
        self, staging: Staging, slice_no: int, table: Table, batches: pa.RecordBatchReader, on_loaded: OnLoaded
    ) -> int:
        """Write the file of a slice and record it in the ledger; see `ingest.sinks.Sink`."""
        wanted = _file_schema(table)
        rows = 0
        path = self._folder(staging, table) / f"slice-{slice_no:04}.parquet"
        with _reporting_full_disk(path.parent), _temporary_beside(path) as draft:
            with _writer(draft, wanted) as writer:
                for group in _gathered(batches):
                    constants = [pa.repeat(pa.scalar(text), len(group)) for text in (staging.run_id, staging.release)]
                    writer.write_table(pa.Table.from_arrays([*constants, *group.columns], schema=wanted))
                    rows += len(group)
            with Ledger(self._settings).transaction() as connection:
                if connection.execute(on_loaded(rows)).first() is None:
                    raise SliceTaken(f"Slice {slice_no} of run {staging.run_id} was taken over by another worker.")
                draft.replace(path)  # before the commit: every slice recorded as loaded has its file
        return rows

    def count(self, staging: Staging, table: Table, connection: sa.Connection | None = None) -> int:
        """Return the number of rows in a run's files; see `ingest.sinks.Sink`."""
        return sum(pq.read_metadata(file).num_rows for file in self._folder(staging, table).glob("*.parquet"))

    def clear(self, staging: Staging, table: Table) -> None:
        """Remove the slices of a staging table; see `ingest.sinks.Sink`."""
        for file in self._folder(staging, table).glob("slice-*.parquet"):
            file.unlink()

    def finish(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Do nothing: the files are ready to be read."""

    def publish(self, connection: sa.Connection, staging: Staging, tables: Sequence[Table]) -> None:
        """Replace the link, within the ledger's transaction; see `ingest.sinks.Sink`."""
        self._export(connection)
        self._point(staging)

    def drop(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Remove the files of a run, unless a build is reading them; see `ingest.sinks.Sink`.

        The folder is renamed while it is locked, so that no reader finds half of a run: a build that opened it before
        the rename gets its lock afterwards, and then notices that the path leads elsewhere.
        """
        folder = self._run(staging)
        for left in folder.parent.glob(f"{DROPPED}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        try:
            with _locked(folder):
                renamed = folder.rename(folder.with_name(DROPPED + folder.name))
        except FileNotFoundError:
            return  # it was dropped before
        except OSError as error:
            reason = "a build is reading it" if isinstance(error, BlockingIOError) else f"of an error: {error}"
            log.info(KEPT_FOR_NOW, staging.run_id, staging.dataset, reason)
            return
        shutil.rmtree(renamed, ignore_errors=True)

    def stored_runs(self, dataset: str, tables: Sequence[Table]) -> set[str]:
        """Return the runs that have a folder; see `ingest.sinks.Sink`."""
        return {folder.name for folder in (self._settings.lake / dataset / "runs").glob("[!.]*")}

    def _run(self, staging: Staging) -> Path:
        return self._settings.lake / staging.dataset / "runs" / staging.run_id

    def _folder(self, staging: Staging, table: Table) -> Path:
        return self._run(staging) / table.name

    def _link(self, dataset: str) -> Path:
        return self._settings.lake / dataset / "current"

    def _point(self, staging: Staging) -> None:
        with _replacing(self._link(staging.dataset)) as draft:
            draft.symlink_to(Path("runs") / staging.run_id, target_is_directory=True)

    def _export(self, connection: sa.Connection) -> None:
        """Write the copy of the ledger that dbt reads."""
        folder = self._settings.lake / "ledger"
        private_folder(folder)
        for name, types, rows in Ledger.public_tables(connection):
            shape = pa.schema([(column, _arrow(kind)) for column, kind in types.items()])
            with _replacing(folder / f"{name}.parquet") as draft:
                pq.write_table(pa.Table.from_pylist(rows, schema=shape), draft)


def _arrow(kind: sa.types.TypeEngine[Any]) -> pa.DataType:
    """Return the Arrow type of a column of the ledger."""
    if isinstance(kind, sa.BigInteger):
        return pa.int64()
    if isinstance(kind, sa.Integer):
        return pa.int32()
    return {str: pa.string(), bool: pa.bool_(), datetime: pa.timestamp("us", tz="UTC")}[kind.python_type]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the only lock on a folder. Raise ``BlockingIOError`` at once if another process holds one."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _reporting_full_disk(folder: Path) -> Iterator[None]:
    """Raise `DiskFull` when a write below a folder fails for lack of space."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DiskFull(
            f"The disk that holds {folder} is full.",
            "Free some space, or set WAREHOUSE_HOME to another disk; then start the run again.",
        ) from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; it atomically replaces ``path`` on success, and is removed on failure."""
    with _temporary_beside(path) as draft:
        yield draft
        draft.replace(path)


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """Yield an unused path next to ``path``; a file that is left there is removed at the end."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)  # left by a killed process that had the same id
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _file_schema(table: Table) -> pa.Schema:
    columns = schema(tuple(column.name for column in table.columns))
    constants = [pa.field("run_id", pa.string()), pa.field("release", pa.string())]
    return pa.schema([*constants, *columns], metadata={"geo": json.dumps(GEO)})


def _writer(path: Path, wanted: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet file for writing, without dictionary and statistics for the geometry."""
    others = [name for name in wanted.names if name != "geom"]
    return pq.ParquetWriter(
        path, wanted, compression="zstd", compression_level=1, use_dictionary=others, write_statistics=others
    )


def _gathered(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Merge batches into row groups of moderate size: small ones are slow to read, large ones take memory."""
    kept: list[pa.RecordBatch] = []
    for batch in batches:
        if kept and sum(item.nbytes for item in [*kept, batch]) > ROW_GROUP_BYTES:
            yield pa.Table.from_batches(kept)
            kept.clear()
        kept.append(batch)
    if kept:
        yield pa.Table.from_batches(kept)
