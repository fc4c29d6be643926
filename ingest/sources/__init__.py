"""Bring a source onto this machine: where it is, how it gets here, what is kept of it, how it is unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import CountMismatch

if TYPE_CHECKING:
    from ingest.sources.address import Source
    from ingest.sources.cache import Fetched


@dataclass(frozen=True)
class Brought:
    """A source that is here.

    Attributes
    ----------
    path : Path
        The file, or the folder that it is or was unpacked into.
    source : Source
        The address that it came from.
    fetched : Fetched
        What was fetched from there.
    """

    path: Path
    source: Source
    fetched: Fetched


def bring(candidates: Sequence[Source], home: Path, known_sha256: str | None = None) -> Brought:
    """Fetch a file from the first of its addresses that has it, verify it, and unpack it if it is an archive.

    Parameters
    ----------
    candidates : sequence of Source
        Where it can be had, in the order to try.
    home : Path
        Folder of downloads and unpacked archives.
    known_sha256 : str, optional
        Checksum of the version that is wanted, and that another task has verified.

    Returns
    -------
    Brought

    Raises
    ------
    SourceUnavailable
        When no address has it (``SourceInterrupted``: one of them may later).
    ChecksumMismatch
        When an address has another file than the one that was asked for.
    CountMismatch
        When it is no longer the known version.
    ArchiveInvalid
        When it is an archive that is damaged, hostile, or holds nothing that can be read.
    """
    from ingest.sources import archive, mirrors  # libcurl is loaded by those who fetch only

    source, fetched = mirrors.fetch_first(candidates, home / "downloads", known_sha256)
    if known_sha256 is not None and fetched.sha256 != known_sha256:
        raise CountMismatch(f"{source.public} changed while it was being loaded.", "Start the run again.")
    return Brought(archive.unpack(fetched, home), source, fetched)


def at_hand(sha256: str | None, home: Path) -> Path | None:
    """Return the folder of an archive that was unpacked on this host before; None where it was not."""
    from ingest.sources import archive

    return archive.unpacked(sha256, home) if sha256 else None
