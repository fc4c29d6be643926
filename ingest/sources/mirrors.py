"""The addresses of one file: the publisher's own first, then its mirrors, until one can be had."""

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
    """Return the mirrors of each file of `ingest.catalog.addresses`; nothing where no file has one."""
    found = tuple(tuple(mirrors) for _, *mirrors in files)
    return found if any(found) else ()


def candidates(
    source: Source, mirrors: Sequence[Sequence[str]], file_no: int, came_from: str | None = None
) -> list[Source]:
    """Return where a file can be had, in the order to try.

    Parameters
    ----------
    source : Source
        Its own address, with its query.
    mirrors : sequence of sequence of str
        The mirrors of each file of a request, see `of`.
    file_no : int
        Which of the files.
    came_from : str, optional
        Public form of the address that the file was fetched from before: it is tried first.
    """
    mine = mirrors[file_no] if mirrors else ()
    return sorted([source, *map(Source.parse, mine)], key=lambda one: one.public != came_from)


def fetch_first(sources: Sequence[Source], downloads: Path, known_sha256: str | None = None) -> tuple[Source, Fetched]:
    """Fetch a file from the first of its addresses that gives it.

    Parameters
    ----------
    sources : sequence of Source
        Where it may be had, in the order to try.
    downloads, known_sha256
        See `ingest.sources.cache.fetch`.

    Returns
    -------
    (Source, Fetched)
        The address that it came from, and the file.

    Raises
    ------
    SourceUnavailable
        When none of them gives it (``SourceInterrupted``: one of them may later).
    ChecksumMismatch
        When one gives another file than the catalog names: nothing is tried after it.
    """
    return _first(sources, lambda source: (source, cache.fetch(source, downloads, known_sha256)))


def identity(sources: Sequence[Source]) -> str | None:
    """Return what tells this version of a file from another, by the first of its addresses that answers.

    Raises
    ------
    SourceUnavailable
        When none of them answers.
    """
    return _first(sources, cache.identity)


def _first(sources: Sequence[Source], ask: Callable[[Source], T]) -> T:
    faults: list[SourceUnavailable] = []
    for source in sources:
        try:
            return ask(source)
        except SourceUnavailable as error:
            faults.append(error)
            if len(faults) < len(sources):
                log.warning("%s The next address of the file is tried.", error.message)
    if len(faults) == 1:
        raise faults[0]
    kind = SourceInterrupted if any(isinstance(fault, SourceInterrupted) for fault in faults) else SourceUnavailable
    raise kind(" ".join(fault.message for fault in faults), faults[0].hint) from faults[0]
