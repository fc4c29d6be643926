"""The addresses of one file, tried until one works: the publisher's own first, then the mirrors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ingest.errors import SourceInterrupted, SourceUnavailable
from ingest.sources import cache
from ingest.sources.address import Source
from ingest.sources.cache import Fetched

log = logging.getLogger(__name__)

T = TypeVar("T")


def of(files: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Return the mirrors of each file in `ingest.catalog.addresses`; empty if no file has any."""
    found = tuple(tuple(mirrors) for _, *mirrors in files)
    return found if any(found) else ()


def candidates(
    source: Source, mirrors: Sequence[Sequence[str]], file_no: int, came_from: str | None = None
) -> list[Source]:
    """Return the addresses of a file, in the order to try them.

    Parameters
    ----------
    source : Source
        The file's own address, including its query.
    mirrors : sequence of sequence of str
        The mirrors of each file in a request, see `of`.
    file_no : int
        Index of the file in the request.
    came_from : str, optional
        Public form of the address that the file was fetched from before; it is tried first.
    """
    mine = mirrors[file_no] if mirrors else ()
    return sorted([source, *map(Source.parse, mine)], key=lambda one: one.public != came_from)


def fetch_first(sources: Sequence[Source], downloads: Path, known_sha256: str | None = None) -> tuple[Source, Fetched]:
    """Fetch a file from the first of its addresses that serves it.

    Parameters
    ----------
    sources : sequence of Source
        Addresses of the file, in the order to try them.
    downloads, known_sha256
        See `ingest.sources.cache.fetch`.

    Returns
    -------
    (Source, Fetched)
        The address that it was fetched from, and the file.

    Raises
    ------
    SourceUnavailable
        When no address serves it (``SourceInterrupted`` if a later attempt may succeed).
    ChecksumMismatch
        When the file at an address does not have the expected checksum; no further address is tried.
    """
    return _first(sources, lambda source: (source, cache.fetch(source, downloads, known_sha256)))


def version_of(sources: Sequence[Source]) -> str | None:
    """Return the version of a file from the first of its addresses that answers; see `ingest.sources.cache.version_of`.

    Raises
    ------
    SourceUnavailable
        When no address answers.
    """
    return _first(sources, cache.version_of)


def _first(sources: Sequence[Source], ask: Callable[[Source], T]) -> T:
    faults: list[SourceUnavailable] = []
    for source in sources:
        try:
            return ask(source)
        except SourceUnavailable as error:
            faults.append(error)
            if len(faults) < len(sources):
                log.warning("%s Trying the next address of the file.", error.message)
    if len(faults) == 1:
        raise faults[0]
    kind = SourceInterrupted if any(isinstance(fault, SourceInterrupted) for fault in faults) else SourceUnavailable
    raise kind(" ".join(fault.message for fault in faults), faults[0].hint) from faults[0]
