"""Get a source onto this machine: its address, its mirrors, the download, the cache and unpacking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import CountMismatch

if TYPE_CHECKING:
    from ingest.sources.address import Source
    from ingest.sources.cache import Fetched


@dataclass(frozen=True)
class Brought:
    """A source on this machine, ready to be read.

    Attributes
    ----------
    path : Path
        The file or folder; for an archive, the folder that it was unpacked into.
    source : Source
        The address that it was fetched from.
    fetched : Fetched
        The file or folder as it was fetched, before unpacking.
    """

    path: Path
    source: Source
    fetched: Fetched


def bring(candidates: Sequence[Source], home: Path, known_sha256: str | None = None) -> Brought:
    """Fetch a file from the first of its addresses that serves it, verify it, and unpack it if it is an archive.

    Parameters
    ----------
    candidates : sequence of Source
        Addresses of the file, in the order to try them.
    home : Path
        Folder that holds downloads and unpacked archives.
    known_sha256 : str, optional
        Checksum of the version to load, as another task has verified it.

    Returns
    -------
    Brought

    Raises
    ------
    SourceUnavailable
        When no address serves it (``SourceInterrupted`` if a later attempt may succeed).
    ChecksumMismatch
        When the file at an address does not have the expected checksum.
    CountMismatch
        When the file is no longer the known version.
    ArchiveInvalid
        When the file is an archive that is damaged or unsafe, or that contains nothing readable.
    SourceDamaged
        When the file changes while it is read.
    """
    from ingest.sources import archive, cache, mirrors, snapshot  # they load libcurl, which only a fetch needs

    source, fetched = mirrors.fetch_first(candidates, cache.downloads_in(home), known_sha256)
    if not source.is_remote and snapshot.is_needed(fetched.path):
        path, sha256 = snapshot.take(fetched.path, home)
        fetched = replace(fetched, sha256=sha256)
    else:
        path = archive.unpack(fetched, home)
    if known_sha256 is not None and fetched.sha256 not in (known_sha256, None):
        raise CountMismatch(f"{source.public} changed while it was being loaded.", "Start the run again.")
    return Brought(path, source, fetched)


def at_hand(sha256: str | None, home: Path, member: str | None = None) -> Path | None:
    """Return the folder that an archive was unpacked into on this host; None if it was not, or is not intact.

    With ``member``, only this file in the folder is looked at.
    """
    from ingest.sources import archive

    return archive.unpacked(sha256, home, member) if sha256 else None


def is_copy(path: Path, home: Path) -> bool:
    """Return whether a file or folder is a copy in the warehouse, which no other version takes the place of."""
    return any(path.is_relative_to(home / folder) for folder in ("downloads", "unpacked"))


def is_intact(root: Path, member: Path | None = None) -> bool:
    """Return whether a copy in the warehouse, or a file of it, is what was downloaded or unpacked."""
    from ingest.sources import seal

    return seal.is_intact(root, member)


def checksum(source: Source, path: Path) -> str:
    """Return the checksum of a local source, and compare it with the expected one once more.

    Parameters
    ----------
    source : Source
        Its address.
    path : Path
        The file or folder, after its layers were planned.

    Raises
    ------
    ChecksumMismatch
        When it does not have the expected checksum.
    SourceDamaged
        When it changes while it is read.
    """
    from ingest.sources import cache, parts

    cache.verify(source, path)
    return parts.checksum(path)
