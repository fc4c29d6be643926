"""Seals: proof that a copy is what its checksum says, without reading gigabytes again.

Downloads, unpacked archives and the slices of the lake can be changed or cut by people, programs and power failures. A
seal lies beside such a file or folder and is written last, once everything is on the disk. It has the SHA-256 of each
file, and its size, inode and times at that moment. No user can set back the time of change of an inode, so a file with
the same values has the same content; one with other values is read again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISDIR

from ingest.errors import DiskFull, SourceUnavailable
from ingest.sources import parts

THREADS = 4
SUFFIX = ".seal"


@dataclass(frozen=True)
class Entry:
    """A file when it was sealed: its checksum, size, time of modification, time of change and inode."""

    sha256: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    def is_of(self, path: Path) -> bool:
        """Return whether a file has not been touched since."""
        try:
            found = path.stat()
        except OSError:
            return False
        now = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        return now == (self.size, self.mtime_ns, self.ctime_ns, self.inode)


def put(root: Path) -> dict[str, str]:
    """Seal a file, or the files of a folder that are read, after writing everything to the disk.

    Returns
    -------
    dict of str to str
        The SHA-256 of each file, by its name.

    Raises
    ------
    SourceDamaged
        When a file changes while it is read.
    DiskFull
        When the disk does not take everything.
    """
    files = parts.all_of(root)
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(root)}
    try:
        sync(*files, *folders, root.parent)
        entries = _entries(files)
        if len(entries) < len(files):
            raise parts.changed(root)
        sealed = {_name(file, root): entry for file, entry in entries.items()}
        _write(beside(root), sealed)
    except OSError as error:  # many disks say only now that they are full
        raise DiskFull(
            f"{root} cannot be written to the disk: {error.strerror or error}.",
            "Free some space, or set WAREHOUSE_HOME to another disk.",
        ) from error
    return {name: entry.sha256 for name, entry in sealed.items()}


def install(draft: Path, folder: Path) -> None:
    """Put a folder in the place of one that is missing or damaged, and seal it.

    Whoever reads the old one has its files open, and finds out at the end that they are others now.
    """
    old = folder.with_name(f"{folder.name}.old.{os.getpid()}")
    remove(beside(folder))
    remove(old)
    with suppress(FileNotFoundError):
        folder.rename(old)
    draft.rename(folder)
    remove(old)
    try:
        put(folder)
    except Exception:
        remove(folder)
        raise


def is_intact(root: Path, only: Path | None = None) -> bool:
    """Return whether a file or folder is what was sealed, with no file more or less.

    Parameters
    ----------
    root : Path
        The file or folder.
    only : Path, optional
        A layer file in the folder: the others are not looked at.
    """
    sealed = _read(beside(root))
    try:
        files = parts.of(only) if only else parts.all_of(root)
    except (SourceUnavailable, OSError):
        return False
    names = {_name(file, root): file for file in files}
    if not sealed or not (names.keys() <= sealed.keys() if only else names.keys() == sealed.keys()):
        return False
    return not differing({file: sealed[name].sha256 for name, file in names.items()}, beside(root), root)


def differing(expected: Mapping[Path, str], seal: Path, root: Path) -> list[Path]:
    """Return the files that do not have the checksum that is expected of them.

    Only those that have been touched since they were sealed are read, and sealed anew if they are the same.

    Parameters
    ----------
    expected : mapping of Path to str
        SHA-256 of each file.
    seal : Path
        Where the seal is, or will be.
    root : Path
        The file or folder that they belong to.
    """
    sealed = _read(seal)
    unproven = []
    for file, sha256 in expected.items():
        entry = sealed.get(_name(file, root))
        if entry is None or entry.sha256 != sha256 or not entry.is_of(file):
            unproven.append(file)
    if not unproven:
        return []
    right = {file: entry for file, entry in _entries(unproven).items() if entry.sha256 == expected[file]}
    if right:
        with suppress(OSError):  # without a seal, they are read again the next time
            _write(seal, sealed | {_name(file, root): entry for file, entry in right.items()})
    return [file for file in unproven if file not in right]


def sync(*paths: Path) -> None:
    """Wait until files and folders are on the disk, so that a power failure cannot take them."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, and its seal first. What is not there is no fault."""
    if path.suffix != SUFFIX:
        remove(beside(path))
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size(path: Path) -> int:
    """Return the bytes of a file or a folder on the disk."""
    return sum(stat.st_size for stat in _stats(path))


def newest(path: Path) -> float:
    """Return when a file, or one in a folder, was written to last."""
    return max((stat.st_mtime for stat in _stats(path)), default=0.0)


def _stats(path: Path) -> Iterator[os.stat_result]:
    for file in (path, *path.rglob("*")) if path.is_dir() and not path.is_symlink() else (path,):
        with suppress(FileNotFoundError):
            stat = file.lstat()
            if not S_ISDIR(stat.st_mode):
                yield stat


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all, whatever happens."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    if path.is_dir():
        remove(path)
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync(path.parent)


def beside(path: Path) -> Path:
    """Return where the seal of a file or folder is."""
    return Path(f"{path}{SUFFIX}")


def _name(file: Path, root: Path) -> str:
    return file.name if file == root else os.path.relpath(file, root)


def _entries(files: Sequence[Path]) -> dict[Path, Entry]:
    """Read files, and describe those that are there and did not change meanwhile."""
    with ThreadPoolExecutor(THREADS) as pool:
        found = zip(files, pool.map(_entry, files), strict=True)
        return {file: entry for file, entry in found if entry is not None}


def _entry(file: Path) -> Entry | None:
    try:
        if not file.is_file():  # to open a pipe would wait for ever
            return None
        (times,) = parts.stats([file])
        entry = Entry("", *times, file.stat().st_ino)
        entry = replace(entry, sha256=parts.checksum_of_file(file))
    except (OSError, SourceUnavailable):
        return None
    return entry if entry.is_of(file) else None


def _read(path: Path) -> dict[str, Entry]:
    """Return the entries of a seal by the names of the files; none if it is missing or damaged."""
    try:
        return {name: Entry(*values) for name, values in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(path: Path, entries: Mapping[str, Entry]) -> None:
    write_whole(path, json.dumps({name: list(vars(entry).values()) for name, entry in entries.items()}))
