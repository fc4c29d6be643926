"""Copy a GeoPackage together with its write-ahead log or rollback journal, and make one file of them.

A program that has the file open, or was killed, leaves a part of its content in a second file. SQLite could read the
pair where it is, but would write beside it, and every slice might see another state. Sources without such a file are
read where they are.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
import uuid
from pathlib import Path

import filelock

from ingest.errors import DiskFull, SourceDamaged
from ingest.settings import private_folder
from ingest.sources import parts, seal
from ingest.sources.address import printable

ATTEMPTS = 3  # at copying files that another program writes to
EDITION = 4  # increase it when other files of an archive are kept, so that what is there is not taken for complete
FREE_BYTES = 1 << 28  # must stay free on the disk
MERGE_SECONDS = 60.0  # that SQLite may take to merge and check a small file
MERGE_BYTES_PER_SECOND = 5_000_000  # and what a large one gets in addition
MERGE_STEPS = 20_000  # of SQLite's machine between two looks at the clock


def is_needed(path: Path) -> bool:
    """Return whether a part of a GeoPackage of a file or folder stands in a second file."""
    files = parts.members(path).files if path.is_dir() else [path]
    return any(len(parts.of(file)) > 1 for file in files if parts.suffix_of(file) == ".gpkg")


def folder_of(sha256: str, home: Path) -> Path:
    """Return the folder for an unpacked archive or a snapshot, in the home of a warehouse."""
    return home / "unpacked" / f"{sha256[:16]}-{EDITION}"


def take(path: Path, home: Path) -> tuple[Path, str]:
    """Copy a local file or folder, and merge each GeoPackage with its write-ahead log or journal.

    Parameters
    ----------
    path : Path
        The file or folder. It is not changed.
    home : Path
        Home of the warehouse, which holds the copies.

    Returns
    -------
    (Path, str)
        The folder with the copy, and the checksum of what was copied.

    Raises
    ------
    SourceDamaged
        When the files change whenever they are copied, or SQLite cannot merge them.
    DiskFull
        When the copy does not fit.
    """
    draft = home / "unpacked" / f"draft-{uuid.uuid4().hex}.{os.getpid()}"
    private_folder(draft)
    try:
        _copy(path, draft)
        checksum = parts.checksum(draft)
        merge(draft)
        kept = folder_of(checksum, home)
        with filelock.FileLock(f"{kept}.lock"):
            if not seal.is_intact(kept):
                seal.install(draft, kept)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return kept, checksum


def merge(folder: Path) -> None:
    """Merge every GeoPackage of a folder with its write-ahead log, or roll back what its journal says.

    Raises
    ------
    SourceDamaged
        When SQLite cannot do so.
    """
    for path in parts.members(folder).files:
        if parts.suffix_of(path) == ".gpkg" and (pending := parts.pending(path)):
            for file in pending:
                file.rename(f"{path}{parts.sqlite_suffix(file)}")  # as SQLite looks for it
            try:
                _merge(path)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if "interrupted" in str(error):
                    raise SourceDamaged(
                        f"{printable(path.name)} takes too long to merge with the file of its latest changes.",
                        "Close the program that writes it, or write it again, for example with ogr2ogr.",
                    ) from error
                raise SourceDamaged(
                    f"{printable(path.name)} and the file with its latest changes do not fit together: {error}.",
                    "Close the program that writes it, or remove the -wal or -journal if it is not of this file.",
                ) from error


def _merge(path: Path) -> None:
    path.chmod(0o600)
    for log in parts.pending(path):
        with log.open("rb") as file:
            if log.name.endswith("-wal") and file.read(4) not in parts.WAL_HEADS:
                raise sqlite3.DatabaseError("the -wal is not a write-ahead log")  # SQLite would pass over it
    connection = sqlite3.connect(path)
    try:
        connection.execute("pragma trusted_schema = off")
        connection.execute("pragma ignore_check_constraints = on")  # quick_check would compute them
        deadline = time.monotonic() + MERGE_SECONDS + path.stat().st_size / MERGE_BYTES_PER_SECOND
        connection.set_progress_handler(lambda: time.monotonic() > deadline, MERGE_STEPS)
        (mode,) = connection.execute("pragma journal_mode = delete").fetchone()
        (found,) = connection.execute("pragma quick_check(1)").fetchone()
        if mode != "delete" or found != "ok":
            raise sqlite3.DatabaseError(found)
    finally:
        connection.close()
    for suffix in (*parts.SQLITE_SUFFIXES, "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _copy(path: Path, draft: Path) -> None:
    """Copy all files of a source in one state."""
    for _ in range(ATTEMPTS):
        shutil.rmtree(draft)
        draft.mkdir()
        files = parts.all_of(path)
        before = parts.stats(files)
        needed, free = sum(size for size, *_ in before), shutil.disk_usage(draft).free
        if needed > free - FREE_BYTES:
            raise DiskFull(
                f"{printable(path.name)} has to be copied: it needs {needed:,} bytes, and {draft.parent} has {free:,} "
                "free.",
                "Free some space, set WAREHOUSE_HOME to another disk, or close the program that has the file open.",
            )
        for file, target in _targets(path, draft).items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        if parts.all_of(path) == files and parts.stats(files) == before:
            return
    raise parts.changed(path)


def _targets(path: Path, draft: Path) -> dict[Path, Path]:
    """Return where each file goes; a log or journal beside the copy of its GeoPackage, also if that was a link."""
    base = path if path.is_dir() else path.parent
    targets = {}
    for file in parts.members(path).files if path.is_dir() else [path]:
        copy = draft / file.relative_to(base)
        for part in parts.of(file):
            if parts.suffix_of(file) == ".gpkg" and part != file:
                targets[part] = Path(f"{copy}{parts.sqlite_suffix(part)}")
            else:
                targets[part] = copy / part.name if file.is_dir() else copy.with_name(part.name)
    return targets
