"""The copies that a warehouse has of its sources: what was downloaded, and what was unpacked or taken as a snapshot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock

from ingest.sources import cache, http, seal, snapshot

BESIDE = (".lock", ".seal", ".part", ".part.json")
UNPACKED = re.compile(r"[0-9a-f]{16}-\d+")
LENGTH = 16  # of the part of a checksum in the name of an unpacked folder


@dataclass(frozen=True)
class Copy:
    """A download, or a folder with what was unpacked from one.

    Attributes
    ----------
    path : Path
        The file or folder.
    key : str
        The beginning of the SHA-256 of the file that was downloaded, or that was unpacked; empty if it is unknown.
    """

    path: Path
    key: str

    @property
    def is_sealed(self) -> bool:
        """Whether it was completed; otherwise the next load makes it again."""
        return seal.beside(self.path).exists()

    def is_intact(self) -> bool:
        """Return whether it is what was downloaded or unpacked."""
        return cache.is_intact(self.path) if self.path.is_file() else seal.is_intact(self.path)


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Keep others from fetching or unpacking a copy. Yields False if somebody is doing so, or this user may not."""
    lock = filelock.FileLock(f"{str(path).removesuffix('.part')}.lock")
    try:
        lock.acquire(timeout=0)
    except (filelock.Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def remove(path: Path) -> None:
    """Remove a copy with everything beside it. What reads it has its files open, and notices at the end."""
    http.forget(path)
    seal.remove(path)


def partial(home: Path) -> Iterator[Path]:
    """Yield the downloads that broke off."""
    yield from sorted(cache.downloads_in(home).glob("*/*.part"))


def find(home: Path) -> Iterator[Copy]:
    """Yield the copies in the home of a warehouse."""
    for folder in sorted(cache.downloads_in(home).glob("*/")):
        names = {file.name for file in folder.iterdir() if not file.name.startswith(".")}
        for name in sorted(names):
            if not name.endswith(BESIDE) and name.removesuffix(".json") not in names - {name}:
                yield Copy(folder / name, http.Validators.of(folder / name).sha256[:LENGTH])
    for folder in sorted(snapshot.folder_of("", home).parent.glob("*-*")):
        if UNPACKED.fullmatch(folder.name):
            is_current = folder == snapshot.folder_of(folder.name[:LENGTH], home)
            yield Copy(folder, folder.name[:LENGTH] if is_current else "")
