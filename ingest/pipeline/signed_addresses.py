"""Addresses with a query string: it may hold a signature, which is a secret and must not be in the ledger.

The ledger stores such an address without its query (`ingest.sources.address.Source.noted`). The full address reaches
the workers through the storage of the queue, signed like every message there, and is removed once its run has ended.
If the queue loses it, ``resume RUN --source ADDRESS`` supplies it again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

from ingest.errors import RunNotFound, SourceUnavailable, UsageError
from ingest.ledger import Ledger, Request
from ingest.pipeline.queue import huey
from ingest.settings import Settings
from ingest.sources.address import Source

PREFIX = "ingest-addresses-"
KEY = re.compile(rf"{PREFIX}[\w-]+", re.ASCII)


def hand_over(run_id: str, sources: Sequence[str]) -> None:
    """Pass the full addresses of a run to the workers through the queue. Does nothing if none has a query.

    Parameters
    ----------
    run_id : str
        The run.
    sources : sequence of str
        All sources of the run, in order, with their queries.
    """
    if any(Source.parse(source).has_query for source in sources):
        huey.put(PREFIX + run_id, [run_id, *sources])


def full_address(run_id: str, request: Request, file_no: int) -> Source:
    """Return a source of a run with its query.

    Parameters
    ----------
    run_id : str
        The run.
    request : Request
        The request of the run, as read from the ledger.
    file_no : int
        Number of the source in the run, from `Request.first_file_no`.

    Returns
    -------
    Source

    Raises
    ------
    SourceUnavailable
        When the queue has lost the address.
    """
    number = file_no - request.first_file_no
    noted = Source.parse(request.sources[number])
    if not noted.has_query:
        return noted
    known = _known(run_id, request)
    if known is None:
        raise SourceUnavailable(
            f"The queue has forgotten the query of {noted.public}.", "Load again, with the full address as --source."
        )
    return Source.parse(known[number])


def is_forgotten(run_id: str, request: Request) -> bool:
    """Whether a run has an address whose query the queue has lost."""
    return any(Source.parse(source).has_query for source in request.sources) and _known(run_id, request) is None


def _known(run_id: str, request: Request) -> list[str] | None:
    """Return the full addresses of a run; None if the queue has lost them, or has those of another run instead."""
    found = huey.get(PREFIX + run_id, peek=True)
    if not isinstance(found, list) or found[:1] != [run_id] or len(found) != 1 + len(request.sources):
        return None
    return found[1:]


def supply_again(run_id: str, request: Request, sources: Sequence[str]) -> None:
    """Replace addresses of a run that the queue has lost, or whose signatures have expired.

    Parameters
    ----------
    run_id : str
        The run.
    request : Request
        The request of the run, as read from the ledger.
    sources : sequence of str
        Full addresses. Apart from its query, each must be a source of the run.

    Raises
    ------
    UsageError
        When an address is not a source of the run, or an address that the queue has lost is not given.
    """
    given: dict[str, list[str]] = {}
    for source in sources:
        given.setdefault(Source.parse(source).public, []).append(source)
    noted = [Source.parse(source) for source in request.sources]
    for public in given.keys() - {source.public for source in noted if source.has_query}:
        raise UsageError(
            f"Run {run_id} has no source {public} with a query.", f"See `python -m ingest status {run_id}`."
        )
    known = _known(run_id, request) or list(request.sources)
    full = [
        given[source.public].pop(0) if given.get(source.public) else before
        for source, before in zip(noted, known, strict=True)
    ]
    parsed = [Source.parse(source) for source in full]
    lacking = [each.public for each in parsed if each.has_query and each.location.partition("#")[0].endswith("?")]
    if lacking:
        raise UsageError(
            f"The queue has forgotten the query of {', '.join(lacking)}.",
            f"Give the full address again: python -m ingest resume {run_id} --source ADDRESS",
        )
    hand_over(run_id, [_with_checksum(source, before.sha256) for source, before in zip(full, noted, strict=True)])


def forget_ended(ledger: Ledger) -> None:
    """Remove the addresses of runs that have ended from the queue."""
    for key in [key for key in huey.storage.result_items() if KEY.fullmatch(str(key))]:
        try:
            has_ended = ledger.run(str(key).removeprefix(PREFIX)).state.has_ended
        except RunNotFound:  # its transaction has not committed yet
            continue
        if has_ended:
            huey.delete(key)


def fingerprint(settings: Settings, source: Source, version: str | None) -> str | None:
    """Return the version of a source in a form that the ledger may hold: as a keyed hash if the source has a query."""
    if version is None or not source.has_query:
        return version
    return hmac.new(settings.secret.encode(), version.encode(), hashlib.sha256).hexdigest()


def _with_checksum(text: str, sha256: str | None) -> str:
    return text if Source.parse(text).sha256 or not sha256 else f"{text}#sha256={sha256}"
