"""Staging tables as GeoParquet files in a lake: one file per slice, read in place by DuckDB.

A slice is ``raw/<dataset>/runs/<run>/<table>/slice-0000.parquet``. ``raw/<dataset>/current`` is a symbolic link to the
published run; replacing the link is atomic. ``raw/ledger`` holds a copy of the ledger as Parquet, for dbt.

A build holds a shared lock (``flock``) on the folder of each run that it reads, and once it has the lock, it checks
that the path still leads to the folder that it locked.
"""

from __future__ import annotations

import fcntl
import glob
import json
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from ingest.catalog import Dataset, Table
from ingest.engines import schema
from ingest.errors import DISK_FULL, BaseUnusable, DiskFull, SliceTaken, TargetUnavailable
from ingest.ledger import Carrying, Ledger, RunState, Slice, SliceState
from ingest.settings import Settings, private_folder
from ingest.sinks import KEPT_FOR_NOW, OnLoaded, Staging, difference
from ingest.sinks.difference import Difference, Raw
from ingest.sources import parts, seal

log = logging.getLogger(__name__)

ROW_GROUP_BYTES = 16 << 20
COLUMNS = "columns.parquet"
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
        if self.shown_runs(dataset, tables) <= {empty.run_id}:
            self.prepare(empty, tables)  # also again: an older version may have made it, with other columns
            self._point(empty)
        with Ledger(self._settings).transaction() as connection, self._exporting(connection):
            pass

    def prepare(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Create the folders of a run, each with an empty file that has the columns; see `ingest.sinks.Sink`."""
        for table in tables:
            folder = self._folder(staging, table)
            private_folder(folder)
            with _replacing(folder / COLUMNS) as draft:
                pq.write_table(_file_schema(table).empty_table(), draft)

    def write(
        self, staging: Staging, slice_no: int, table: Table, batches: pa.RecordBatchReader, on_loaded: OnLoaded
    ) -> int:
        """Write the file of a slice and record it in the ledger; see `ingest.sinks.Sink`."""
        wanted = _file_schema(table)
        rows = 0
        path = self._folder(staging, table) / f"slice-{slice_no:04}.parquet"
        with _temporary_beside(path) as draft:
            with _writer(draft, wanted) as writer:
                for group in _gathered(batches):
                    constants = [pa.repeat(pa.scalar(text), len(group)) for text in (staging.run_id, staging.release)]
                    writer.write_table(pa.Table.from_arrays([*constants, *group.columns], schema=wanted))
                    rows += len(group)
            sha256 = parts.checksum_of_file(draft)
            with Ledger(self._settings).transaction() as connection:
                loaded = Ledger.stored(on_loaded(rows), size=draft.stat().st_size, sha256=sha256)
                if connection.execute(loaded).first() is None:
                    raise SliceTaken(f"Slice {slice_no} of run {staging.run_id} was taken over by another worker.")
                seal.sync(draft)
                draft.replace(path)  # before the commit: every slice recorded as loaded has its file
                seal.sync(path.parent)
        return rows

    def count_kept(self, base: Staging, parts: Sequence[tuple[Table, Carrying]]) -> list[tuple[int, int]]:
        """Count the rows of a publication's slices that stay, and the others; see `ingest.sinks.Sink`."""
        counted = []
        for table, carrying in parts:
            kept = total = 0
            with self._opened(base, table, carrying) as (_, file):
                for batch in _batches(file, [carrying.column]):
                    kept += pc.sum(_is_kept(batch, carrying)).as_py() or 0
                    total += len(batch)
            counted.append((kept, total - kept))
        return counted

    def carry(
        self, staging: Staging, slice_no: int, table: Table, base: Staging, carrying: Carrying, on_loaded: OnLoaded
    ) -> int:
        """Link the file of a slice if all of it is kept, or else copy its rows; see `ingest.sinks.Sink`.

        A file is never changed, so two runs can share one. Rows keep the id of the run that loaded them.
        """
        path = self._folder(staging, table) / f"slice-{slice_no:04}.parquet"
        ((rows, left_out),) = self.count_kept(base, [(table, carrying)])
        with _temporary_beside(path) as draft, self._opened(base, table, carrying) as (whole, file):
            sha256 = parts.checksum_of_file(whole)
            if sha256 != (carrying.stored_sha256 or sha256):
                raise _damaged(carrying, f"{whole} is not the file that was loaded")
            if left_out:
                with _writer(draft, _file_schema(table)) as writer:
                    for group in _gathered(batch.filter(_is_kept(batch, carrying)) for batch in _batches(file)):
                        writer.write_table(group)
                sha256 = parts.checksum_of_file(draft)
            else:
                _link(whole, draft)
            with Ledger(self._settings).transaction() as connection:
                carried = Ledger.stored(on_loaded(rows), size=draft.stat().st_size, sha256=sha256)
                if connection.execute(carried).first() is None:
                    raise SliceTaken(f"Slice {slice_no} of run {staging.run_id} was taken over by another worker.")
                seal.sync(draft)
                draft.replace(path)
                seal.sync(path.parent)
        return rows

    @contextmanager
    def _opened(self, base: Staging, table: Table, carrying: Carrying) -> Iterator[tuple[Path, pq.ParquetFile]]:
        """Open the file of a slice of a publication."""
        path = self._folder(base, table) / f"slice-{carrying.slice_no:04}.parquet"
        try:
            size, file = path.stat().st_size, pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(carrying, f"{path} cannot be read: {error}") from error
        with file:
            if size != (carrying.stored_bytes or size):
                raise _damaged(carrying, f"{path} has {size:,} bytes instead of {carrying.stored_bytes:,}")
            if not file.schema_arrow.equals(_file_schema(table)):
                raise _damaged(carrying, f"{path} has the columns of another version")
            yield path, file

    def count(self, staging: Staging, table: Table, connection: sa.Connection | None = None) -> int:
        """Return the number of rows in a run's files; see `ingest.sinks.Sink`."""
        return sum(_rows(file) or 0 for file in self._folder(staging, table).glob("*.parquet"))

    def damage(self, staging: Staging, tables: Sequence[Table], slices: Sequence[Slice]) -> dict[str, str]:
        """Compare the files of a run with what the ledger recorded; see `ingest.sinks.Sink`.

        A file is read again only if it has been touched since the last time that it was right.
        """
        found: dict[str, str] = {}
        unread: dict[Path, str] = {}
        loaded: set[Path] = set()
        names = {table.name for table in tables}
        for part in slices:
            if part.state != SliceState.LOADED or part.table_name not in names:
                continue
            path = self._run(staging) / part.table_name / f"slice-{part.slice_no:04}.parquet"
            if fault := _fault(path, part):
                found.setdefault(part.table_name, fault)
            elif part.stored_sha256:
                unread[path] = part.stored_sha256
            loaded.add(path)
        for table in tables:
            columns = self._folder(staging, table) / COLUMNS
            for path in sorted(columns.parent.glob("*.parquet")):
                if path != columns and path not in loaded:
                    found.setdefault(table.name, f"{path} was not loaded by this run")
            if columns.exists() and _rows(columns):
                found.setdefault(table.name, f"{columns} holds rows")
        for path in seal.differing(unread, seal.beside(self._run(staging) / "slices"), self._run(staging)):
            found.setdefault(path.parent.name, f"{path} is not what was loaded")
        return found

    def shown_runs(self, dataset: str, tables: Sequence[Table]) -> set[str]:
        """Return the run that the link leads to; see `ingest.sinks.Sink`."""
        link = self._link(dataset)
        if not link.is_symlink() or not all(any((link / table.name).glob("*.parquet")) for table in tables):
            return set()
        name = link.readlink().name
        return {name if link.resolve() == self._run(Staging(name, dataset, "")).resolve() else str(link.readlink())}

    def fault_of_ledger(self) -> str:
        """Compare what the copy of the ledger says of the published runs; see `ingest.sinks.Sink`."""
        published: set[str] = set()
        with Ledger(self._settings).transaction() as connection:
            for name, _, rows in Ledger.public_tables(connection):  # the runs come first
                path = self._settings.lake / "ledger" / f"{name}.parquet"
                published |= {row["run_id"] for row in rows if row["state"] == RunState.PUBLISHED}
                if not published:
                    return ""
                try:
                    copied = pq.read_table(path).to_pylist()
                except (OSError, pa.ArrowException) as error:
                    return f"{path} cannot be read: {str(error).splitlines()[0].rstrip('.')}."
                now, then = ([row for row in each if row["run_id"] in published] for each in (rows, copied))
                if [_facts(row) for row in now] != [_facts(row) for row in then]:
                    return f"{path} is not what the ledger says of the published runs."
        return ""

    def clear(self, staging: Staging, table: Table) -> None:
        """Remove the slices of a staging table; see `ingest.sinks.Sink`."""
        for file in self._folder(staging, table).glob("slice-*.parquet"):
            seal.remove(file)

    def finish(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Make sure that a table without slices has its columns; see `ingest.sinks.Sink`."""
        self.prepare(staging, tables)

    def publish(self, connection: sa.Connection, staging: Staging, tables: Sequence[Table]) -> None:
        """Replace the link, within the ledger's transaction; see `ingest.sinks.Sink`."""
        with self._exporting(connection):
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

    def size(self, staging: Staging, tables: Sequence[Table]) -> int:
        """Add up the sizes of the files; see `ingest.sinks.Sink`."""
        return seal.size(self._run(staging))

    def compare(self, before: Staging, after: Staging, dataset: Dataset) -> Difference:
        """Read keys, names and hashes from the files of two runs; see `ingest.sinks.Sink`."""
        import duckdb

        try:
            sides = [[self._raw(staging, table) for table in dataset.tables] for staging in (before, after)]
            with duckdb.connect() as connection:
                late = threading.Timer(difference.SECONDS, connection.interrupt)
                late.start()
                try:
                    row = connection.execute(difference.query(dataset, *sides)).fetchone()
                finally:
                    late.cancel()
        except (duckdb.Error, OSError, pa.ArrowException) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise TargetUnavailable(
                f"Runs {before.run_id} and {after.run_id} of {dataset.name} cannot be compared: {reason}.",
                "Run `python -m ingest doctor`.",
            ) from error
        return difference.from_row(row or (), *sides)

    def _raw(self, staging: Staging, table: Table) -> Raw:
        folder = self._folder(staging, table)
        files = glob.escape(str(folder)).replace("'", "''") + "/*.parquet"
        return Raw(table, f"read_parquet('{files}')", difference.HASH in pq.read_schema(folder / COLUMNS).names)

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
        link = self._link(staging.dataset)
        if link.is_dir() and not link.is_symlink():  # as copied by a program that follows links
            shutil.rmtree(link.rename(link.parent / "runs" / f"{DROPPED}{uuid.uuid4().hex}"), ignore_errors=True)
        with _replacing(link) as draft:
            draft.symlink_to(Path("runs") / staging.run_id, target_is_directory=True)
        seal.sync(link.parent)

    @contextmanager
    def _exporting(self, connection: sa.Connection) -> Iterator[None]:
        """Write the copy of the ledger that dbt reads. It takes its place at the end, unless the block fails."""
        folder = self._settings.lake / "ledger"
        private_folder(folder)
        with ExitStack() as written:
            for name, types, rows in Ledger.public_tables(connection):
                shape = pa.schema([(column, _arrow(kind)) for column, kind in types.items()])
                draft = written.enter_context(_replacing(folder / f"{name}.parquet"))
                pq.write_table(pa.Table.from_pylist(rows, schema=shape), draft)
            yield


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
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; it atomically replaces ``path`` on success, and is removed on failure."""
    with _temporary_beside(path) as draft:
        yield draft
        draft.replace(path)


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """Yield an unused path next to ``path``; a file that is left there is removed at the end.

    Raises
    ------
    DiskFull
        When something is written there, and finds no space.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)  # left by a killed process that had the same id
    try:
        yield draft
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise DiskFull(
            f"The disk that holds {path.parent} is full.",
            "Free some space, or set WAREHOUSE_HOME to another disk; then start the run again.",
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what does not change of a row of the ledger once its run is published."""
    names = ("run_id", "slice_no", "dataset", "release", "variant", "scope", "rows_loaded", "stored_sha256")
    state = {"state": str(row["state"])} if "dataset" in row else {}
    return {name: row[name] for name in names if name in row} | state


def _rows(file: Path) -> int | None:
    """Return the number of rows that a file states at its end; None if it is no whole Parquet file."""
    try:
        return int(pq.read_metadata(file).num_rows) if file.is_file() else None
    except (OSError, pa.ArrowException):
        return None


def _fault(path: Path, part: Slice) -> str | None:
    """Return what is wrong with the file of a slice, as far as it shows without reading it."""
    try:
        size = path.stat().st_size
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    if part.stored_bytes is None:  # an older version recorded its rows only
        return None if _rows(path) == part.rows_loaded else f"{path} does not hold {part.rows_loaded:,} rows"
    return None if size == part.stored_bytes else f"{path} has {size:,} bytes instead of {part.stored_bytes:,}"


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


def _damaged(carrying: Carrying, what: str) -> BaseUnusable:
    return BaseUnusable(f"Run {carrying.run_id} cannot be added to: {what}.", "Load its files again without --add.")


def _batches(file: pq.ParquetFile, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Read a file one row group after the other."""
    for number in range(file.num_row_groups):
        yield from file.iter_batches(row_groups=[number], columns=columns)


def _is_kept(batch: pa.RecordBatch, carrying: Carrying) -> pa.BooleanArray:
    """Return which rows are of other countries, or of none."""
    return pc.invert(pc.is_in(batch.column(carrying.column), value_set=pa.array(carrying.replaced, pa.string())))


def _link(file: Path, path: Path) -> None:
    """Make a second name for a file, or a copy where the file system has no links."""
    try:
        path.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, path)


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Merge batches into row groups of moderate size: small ones are slow to read, large ones take memory."""
    kept: list[pa.RecordBatch] = []
    for batch in batches:
        if kept and sum(item.nbytes for item in [*kept, batch]) > ROW_GROUP_BYTES:
            yield pa.Table.from_batches(kept)
            kept.clear()
        kept.append(batch)
    if kept:
        yield pa.Table.from_batches(kept)
