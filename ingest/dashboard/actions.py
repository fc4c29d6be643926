"""What the buttons do: the same as the commands, without waiting for a run's end."""

from __future__ import annotations

from collections.abc import Callable

from ingest.errors import UsageError
from ingest.ledger.ledger import ENDED, Ledger, Request
from ingest.pipeline import load as loading
from ingest.sources.address import Source

Action = Callable[[Ledger, str, int], str]


def resume(_ledger: Ledger, run_id: str, workers: int) -> str:
    """Finish a run whose workers are gone.

    Parameters
    ----------
    run_id : str
        The run.
    workers : int
        Worker processes to start where no consumer runs.

    Returns
    -------
    str
        What to tell the person who pressed the button.

    Raises
    ------
    UsageError
        When it has ended, or an address of it must be given again.
    """
    loading.resume(run_id, workers=workers, is_async=True)
    return f"Run {run_id} goes on: what is loaded stays, what is missing is loaded."


def retry(ledger: Ledger, run_id: str, workers: int) -> str:
    """Start a new run of what a failed one was to load.

    Raises
    ------
    UsageError
        When it has not failed, or one of its addresses had a query, which the ledger does not hold.
    RunInProgress
        When another run of the dataset has not ended.
    """
    run = ledger.run(run_id)
    if run["state"] not in ENDED:
        raise UsageError(f"Run {run_id} has not ended.", "Resume it.")
    request = Request.from_json(run["request"])
    signed = [source.public for source in map(Source.parse, request.sources) if source.has_query]
    if signed:
        raise UsageError(
            f"The query of {', '.join(signed)} is kept nowhere.",
            f"On the command line: python -m ingest {request.dataset} --source ADDRESS",
        )
    loading.load([request], workers=workers, force=True, is_async=True)
    return f"Run {ledger.active_run(request.dataset) or 'of ' + request.dataset} was started with the same request."


def rollback(_ledger: Ledger, dataset: str, _workers: int) -> str:
    """Put the publication before the present one before the readers again.

    Raises
    ------
    RunNotFound
        When there is none, or it is not whole any more.
    """
    loading.rollback(dataset)
    return f"{dataset}: readers see the publication before. `dbt build` brings the marts along."
