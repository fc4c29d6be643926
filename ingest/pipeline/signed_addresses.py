"""Addresses with a query: what signs one is a secret, and the ledger must not hold it.

The ledger stores such an address without its query (`ingest.sources.address.Source.noted`). The full address reaches
the workers through the queue's storage, signed like every message there, and is removed once its run has ended. If the
queue loses it, ``resume RUN --source ADDRESS`` supplies it again.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from ingest.errors import RunNotFound, SourceUnavailable, UsageError
from ingest.ledger import Ledger, Request
from ingest.pipeline.queue import huey
from ingest.settings import Settings
from ingest.sources.address import Source

PREFIX = "ingest-addresses-"


def hand_over(run_id: str, sources: Sequence[str]) -> None:
    """Give the workers the addresses of a run whole, where the ledger must not; nothing to do where none has a query.

    Parameters
    ----------
    run_id : str
        The run.
    sources : sequence of str
        Its sources, whole and in order.
    """
    if any(Source.parse(source).has_query for source in sources):
        huey.put(PREFIX + run_id, list(sources))


def whole(run_id: str, request: Request, file_no: int) -> Source:
    """Return a source of a run as it was given.

    Parameters
    ----------
    run_id : str
        The run.
    request : Request
        Its request, as the ledger has it.
    file_no : int
        Which source.

    Returns
    -------
    Source

    Raises
    ------
    SourceUnavailable
        When the queue has forgotten the address.
    """
    noted = Source.parse(request.sources[file_no])
    if not noted.has_query:
        return noted
    known = huey.get(PREFIX + run_id, peek=True)
    if known is None:
        raise SourceUnavailable(
            f"The queue has forgotten the query of {noted.public}.", "Load again, with the whole address as --source."
        )
    return Source.parse(known[file_no])


def is_forgotten(run_id: str, request: Request) -> bool:
    """Tell whether a run has an address whose query nobody knows any more."""
    return any(Source.parse(source).has_query for source in request.sources) and not huey.storage.has_data_for_key(
        PREFIX + run_id
    )


def tell_again(run_id: str, request: Request, sources: Sequence[str]) -> None:
    """Hand addresses of a run over anew: the queue has forgotten them, or their signatures have run out.

    Parameters
    ----------
    run_id : str
        The run.
    request : Request
        Its request, as the ledger has it.
    sources : sequence of str
        Whole addresses; each is, but for its query, one of the run's.

    Raises
    ------
    UsageError
        When one is not, or the queue lacks one that is not given.
    """
    given: dict[str, list[str]] = {}
    for source in sources:
        given.setdefault(Source.parse(source).public, []).append(source)
    noted = [Source.parse(source) for source in request.sources]
    for public in given.keys() - {source.public for source in noted if source.has_query}:
        raise UsageError(
            f"Run {run_id} has no source {public} with a query.", f"See `python -m ingest status {run_id}`."
        )
    known = huey.get(PREFIX + run_id, peek=True) or list(request.sources)
    told = [
        given[source.public].pop(0) if given.get(source.public) else before
        for source, before in zip(noted, known, strict=True)
    ]
    lacking = [Source.parse(source).public for source in told if source.partition("#")[0].endswith("?")]
    if lacking:
        raise UsageError(
            f"The queue has forgotten the query of {', '.join(lacking)}.",
            f"Give the whole address again: python -m ingest resume {run_id} --source ADDRESS",
        )
    hand_over(run_id, [_with_checksum(source, before.sha256) for source, before in zip(told, noted, strict=True)])


def forget_ended(ledger: Ledger) -> None:
    """Remove the addresses of runs that have ended."""
    for key in [key for key in huey.storage.result_items() if str(key).startswith(PREFIX)]:
        try:
            has_ended = ledger.run(str(key).removeprefix(PREFIX)).state.has_ended
        except RunNotFound:  # it is being noted right now
            continue
        if has_ended:
            huey.delete(key)


def fingerprint(settings: Settings, source: Source, identity: str | None) -> str | None:
    """Return an identity of `ingest.sources.cache.identity` that may be noted: keyed, where the source has a query."""
    if identity is None or not source.has_query:
        return identity
    return hmac.new(settings.secret.encode(), identity.encode(), hashlib.sha256).hexdigest()


def _with_checksum(text: str, sha256: str | None) -> str:
    return text if Source.parse(text).sha256 or not sha256 else f"{text}#sha256={sha256}"
