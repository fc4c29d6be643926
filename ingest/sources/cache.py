"""The download cache: a file is kept under a name derived from its address, together with its HTTP validators.

A cached file is requested conditionally, so an unchanged file costs one response without a body.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import filelock

from ingest.errors import ChecksumMismatch, SourceInterrupted, SourceUnavailable
from ingest.sources import http
from ingest.sources.address import Source
from ingest.sources.http import Validators

NAME_CHARACTERS = 100  # of the end of a file's name; file systems take 255 bytes, with suffixes of ours


@dataclass(frozen=True)
class Fetched:
    """A source on this machine's disk.

    Attributes
    ----------
    path : Path
        The file, or the folder.
    bytes : int
        Size of the file, or of all files in the folder.
    sha256 : str or None
        Checksum of the file, or of the names and checksums of the folder's files. None for a single local file
        without an expected checksum: `checksum` computes it later.
    was_cached : bool
        Whether nothing had to be transferred.
    """

    path: Path
    bytes: int
    sha256: str | None
    was_cached: bool


def downloads_in(home: Path) -> Path:
    """Return the folder of the cache in the home of a warehouse."""
    return home / "downloads"


def version_of(source: Source) -> str | None:
    """Return a text that differs between versions of a source, without reading its content.

    Returns
    -------
    str or None
        JSON of the paths, sizes and modification times of local files, or of the address, ETag, Last-Modified and size
        of a remote file. None if a HEAD request yields neither ETag nor Last-Modified.

    Raises
    ------
    SourceUnavailable
        When the file does not exist, or no server answers.
    """
    if not source.is_remote:
        path = _local_path(source)
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        stats = [(str(file), file.stat()) for file in files if file.is_file()]
        return json.dumps([[name, entry.st_size, entry.st_mtime_ns] for name, entry in stats])
    validators = Validators()
    for attempt in http.retrying():
        with attempt:
            status = http.request(source, validators, head=True)
    if status != 200 or not (validators.etag or validators.last_modified):
        return None
    return json.dumps([source.location, validators.etag, validators.last_modified, validators.bytes])


def address_of(version: str) -> str | None:
    """Return the address in the version of a remote file; None for the version of local files."""
    first = json.loads(version)[0]
    return first if isinstance(first, str) else None


def fetch(source: Source, downloads: Path, known_sha256: str | None = None) -> Fetched:
    """Download a source, unless it is local or cached, and verify it.

    An interrupted transfer is resumed where it stopped, in up to five attempts with growing pauses. Processes that want
    the same file share one transfer.

    Parameters
    ----------
    source : Source
        What to fetch.
    downloads : Path
        Folder of the cache.
    known_sha256 : str, optional
        Checksum that another task has verified. If that version is on this disk, no request is sent and no file is
        read.

    Returns
    -------
    Fetched

    Raises
    ------
    SourceUnavailable
        When the file cannot be fetched (``SourceInterrupted`` if a later attempt may succeed).
    ChecksumMismatch
        When the file does not have the checksum in ``source.sha256``.
    """
    if not source.is_remote:
        path = _local_path(source)
        sha256 = known_sha256
        if sha256 is None and (source.sha256 or path.is_dir() or is_zip(path)):
            sha256 = checksum(path)
            _verify(source, sha256)
        return Fetched(path, _size(path), sha256, was_cached=True)
    name = PurePosixPath(urllib.parse.urlsplit(source.location).path).name or "download"
    folder = downloads / hashlib.sha256(source.location.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)[-NAME_CHARACTERS:]
    with filelock.FileLock(f"{path}.lock"):
        if known_sha256 and path.exists() and Validators.of(path).sha256 == known_sha256:
            return Fetched(path, path.stat().st_size, known_sha256, was_cached=True)
        for attempt in http.retrying():
            with attempt:
                was_cached = _transfer(source, path)
        validators = Validators.of(path)
        try:
            _verify(source, validators.sha256)
        except ChecksumMismatch:
            http.forget(path)
            raise
        return Fetched(path, path.stat().st_size, validators.sha256, was_cached)


def _local_path(source: Source) -> Path:
    if "://" in source.location and not source.location.startswith("file://"):
        scheme = source.location.partition("://")[0]
        raise SourceUnavailable(f"{scheme}:// addresses are not supported.", "Give a path, or an http(s):// address.")
    path = Path(urllib.parse.unquote(source.location.removeprefix("file://"))).absolute()
    if not path.exists():
        raise SourceUnavailable(f"There is no file {path}.", "Check the path given to --source.")
    if not os.access(path, os.R_OK):
        raise SourceUnavailable(f"This user may not read {path}.", "Check its permissions.")
    return path


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))


def is_zip(path: Path) -> bool:
    """Return whether a file has the suffix of a zip archive."""
    return path.suffix.lower() == ".zip"


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and checksums of a folder's files."""
    if path.is_dir():
        lines = (f"{file.relative_to(path)} {checksum(file)}" for file in _files(path))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(source: Source, sha256: str) -> None:
    if source.sha256 and source.sha256 != sha256:
        raise ChecksumMismatch(
            f"{source.public} has the SHA-256 {sha256}, not {source.sha256}.",
            "Check the address and the checksum; the file is damaged, or it is another one.",
        )


def _transfer(source: Source, path: Path) -> bool:
    """Download ``path``, or the missing rest of it; return True if the cached file is still current."""
    kept, part = Validators.of(path), Path(f"{path}.part")
    if path.exists() and kept.sha256 and (kept.etag or kept.last_modified):
        answer = Validators()
        if http.request(source, answer, known=kept) == 304:
            return True
    partial = Validators.of(part) if part.exists() else Validators()
    answer = Validators()
    with part.open("ab") as file:
        offset = file.tell() if partial.etag or partial.last_modified else 0
        file.truncate(offset)
        file.seek(offset)
        status = http.request(source, answer, into=file, offset=offset, known=partial, keep=part)
    if status not in (200, 206):
        part.unlink(missing_ok=True)
        raise SourceInterrupted(f"{source.public} answered {status} to a resumed download.", "Try again.")
    if answer.bytes >= 0 and part.stat().st_size != answer.bytes:
        size = part.stat().st_size
        if size > answer.bytes:
            part.unlink()
        raise SourceInterrupted(f"{source.public} announced {answer.bytes:,} bytes and sent {size:,}.")
    answer.sha256 = checksum(part)
    part.rename(path)
    answer.keep(path)
    http.forget(part)
    return False
