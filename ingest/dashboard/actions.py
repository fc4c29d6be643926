"""The actions of the buttons: those of the commands, but without waiting for the run to end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ingest.errors import UsageError
from ingest.ledger import Ledger, Run
from ingest.pipeline import build, runs
from ingest.sources.address import Source

log = logging.getLogger(__name__)

Action = Callable[[Ledger, str, int], str]


class Quiet:
    """A reporter for actions of the dashboard: lines go to the log; the page shows the rest."""

    def say(self, text: str) -> None:
        """Log a line."""
        log.info("%s", text)

    def watch(self, ledger: Ledger, run_ids: Sequence[str], is_alive: Callable[[], bool]) -> None:
        """Show nothing."""

    def counts(self, ledger: Ledger, runs: Sequence[Run]) -> None:
        """Show nothing."""

    def summary(self, ledger: Ledger, run: Run, target: str) -> None:
        """Show nothing."""


def resume(_ledger: Ledger, run_id: str, workers: int) -> str:
    """Finish a run that was interrupted.

    Parameters
    ----------
    run_id : str
        The run.
    workers : int
        Worker processes to start if no consumer is running.

    Returns
    -------
    str
        A message for the person who pressed the button.

    Raises
    ------
    UsageError
        When the run has ended, or one of its addresses must be given again.
    """
    runs.resume(run_id, Quiet(), workers=workers, is_async=True)
    return f"Run {run_id} was resumed. Loaded slices stay; missing ones are loaded."


def retry(ledger: Ledger, run_id: str, workers: int) -> str:
    """Start a new run with the request of a failed one.

    Raises
    ------
    UsageError
        When the run has not ended, or one of its addresses had a query, which the ledger does not store.
    RunInProgress
        When another run of the dataset has not ended.
    """
    run = ledger.run(run_id)
    if run.state.is_active:
        raise UsageError(f"Run {run_id} has not ended.", "Resume it.")
    request = run.request
    signed = [source.public for source in map(Source.parse, request.sources) if source.has_query]
    if signed:
        raise UsageError(
            f"The query of {', '.join(signed)} is not stored, so this run cannot be retried here.",
            f"Load it on the command line: python -m ingest {request.dataset} --source ADDRESS",
        )
    runs.start([request], Quiet(), workers=workers, force=True, is_async=True)
    return f"Run {ledger.active_run(request.dataset) or 'of ' + request.dataset} was started with the same request."


def rollback(_ledger: Ledger, dataset: str, _workers: int) -> str:
    """Return a dataset to its previous publication.

    Raises
    ------
    RunNotFound
        When there is no previous publication, or its tables have lost rows.
    """
    runs.rollback(dataset, Quiet())
    return f"{dataset}: readers see the previous publication again. `{build.command(dataset)}` updates the marts."
