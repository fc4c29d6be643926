"""The download cache: a file is kept under a name derived from its address, together with its HTTP validators.

A cached file is requested conditionally, so an unchanged file costs one response without a body.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import filelock

from ingest.errors import ChecksumMismatch, SourceInterrupted, SourceUnavailable
from ingest.settings import private_folder
from ingest.sources import http, parts, seal
from ingest.sources.address import Source, printable
from ingest.sources.http import Validators

log = logging.getLogger(__name__)

NAME_CHARACTERS = 100  # of the end of a file's name; file systems take 255 bytes, with suffixes of ours


@dataclass(frozen=True)
class Fetched:
    """A source on this machine's disk.

    Attributes
    ----------
    path : Path
        The file, or the folder.
    bytes : int
        Size of the file, with its parts, or of all files in the folder that matter.
    sha256 : str or None
        Checksum of the file. None for a local file or folder that is read where it is: `parts.checksum` computes it
        later.
    was_cached : bool
        Whether nothing had to be transferred.
    stats : list of tuple, optional
        What `parts.stats` said of a local file before its checksum was computed.
    """

    path: Path
    bytes: int
    sha256: str | None
    was_cached: bool
    stats: Sequence[tuple[int, int, int]] | None = None


def downloads_in(home: Path) -> Path:
    """Return the folder of the cache in the home of a warehouse."""
    return home / "downloads"


def version_of(source: Source) -> str | None:
    """Return a text that differs between versions of a source, without reading its content.

    Returns
    -------
    str or None
        JSON of the paths, sizes and times of the local files that the source consists of, or of the address, ETag,
        Last-Modified and size of a remote file. None if a HEAD request yields neither ETag nor Last-Modified.

    Raises
    ------
    SourceUnavailable
        When the file does not exist, or no server answers.
    """
    if not source.is_remote:
        path = _local_path(source)
        files = parts.all_of(path)
        return json.dumps(
            [[str(path)], *([str(file), *stat] for file, stat in zip(files, parts.stats(files), strict=True))]
        )
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
        return _local(source, _local_path(source))
    name = PurePosixPath(urllib.parse.urlsplit(source.location).path).name or "download"
    folder = downloads / hashlib.sha256(source.location.encode()).hexdigest()[:16]
    private_folder(folder)
    path = folder / re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)[-NAME_CHARACTERS:]
    with filelock.FileLock(f"{path}.lock"):
        _clear(path)
        if known_sha256 and Validators.of(path).sha256 == known_sha256 and is_intact(path):
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


def _clear(path: Path) -> None:
    """Remove what another program has put in the place of a cached file, or beside it as if it were a part."""
    for folder in (path, Path(f"{path}.part"), Path(f"{path}.json")):
        if folder.is_dir():
            seal.remove(folder)
    for part in parts.of(path)[1:]:
        seal.remove(part)


def is_intact(path: Path) -> bool:
    """Return whether a cached file is there, with the bytes that were downloaded."""
    sha256 = Validators.of(path).sha256
    return bool(sha256) and not seal.differing({path: sha256}, seal.beside(path), path)


def _local_path(source: Source) -> Path:
    path = source.path
    if path is None:
        scheme = source.location.partition("://")[0]
        raise SourceUnavailable(f"{scheme}:// addresses are not supported.", "Give a path, or an http(s):// address.")
    path = path.absolute()
    shown = printable(str(path))
    try:
        is_there = path.exists()
    except OSError as error:  # a name that is too long, or a folder that may not be entered
        raise SourceUnavailable(f"{shown} cannot be read: {error.strerror}.", "Check --source.") from error
    if not is_there:
        is_home = "~" in path.parts
        hint = (
            "Only a shell replaces ~ by the home folder: write $HOME."
            if is_home
            else "Check the path given to --source."
        )
        raise SourceUnavailable(f"There is no file {shown}.", hint)
    if not path.is_file() and not path.is_dir():
        raise SourceUnavailable(f"{shown} is neither a file nor a folder.", "Check the path given to --source.")
    parts.check_readable(path)
    return path


def verify(source: Source, path: Path) -> None:
    """Compare a local file or folder with the checksum that is expected of it, if there is one.

    That of a file covers this file alone, as people compute it, and that of a folder everything that is read there.

    Raises
    ------
    ChecksumMismatch
        When it has another one.
    """
    if source.sha256:
        _verify(source, parts.checksum_of_file(path) if path.is_file() else parts.checksum(path))


def _local(source: Source, path: Path) -> Fetched:
    """Describe a local file or folder; an archive with its checksum."""
    stats = parts.stats([path])
    sha256 = None
    if parts.is_zip(path):
        sha256 = parts.checksum_of_file(path)
        _verify(source, sha256)
    else:
        verify(source, path)
    beside = ", ".join(printable(file.name) for file in parts.of(path)[1:])
    if source.sha256 and path.is_file() and beside:
        log.warning("The checksum given covers %s alone, and not %s.", printable(path.name), beside)
    size = sum(size for size, *_ in parts.stats(parts.all_of(path)))
    return Fetched(path, size, sha256, was_cached=True, stats=stats)


def _verify(source: Source, sha256: str) -> None:
    if source.sha256 and source.sha256 != sha256:
        raise ChecksumMismatch(
            f"{source.public} has the SHA-256 {sha256}, not {source.sha256}.",
            "Check the address and the checksum; the file is damaged, or it is another one.",
        )


def _transfer(source: Source, path: Path) -> bool:
    """Download ``path``, or the missing rest of it; return True if the cached file is still current."""
    kept, part = Validators.of(path), Path(f"{path}.part")
    is_there = path.exists() and kept.sha256
    if is_there and not is_intact(path):
        log.warning("%s is not what was downloaded: it is downloaded again.", printable(str(path)))
    elif is_there and (kept.etag or kept.last_modified):
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
    http.forget(path)  # so that no crash leaves it beside another file
    part.rename(path)
    answer.sha256 = seal.put(path)[path.name]
    answer.keep(path)
    http.forget(part)
    return False
