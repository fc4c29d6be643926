"""What the buttons do: the same as the commands, without waiting for a run's end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ingest.errors import UsageError
from ingest.ledger import Ledger, Run
from ingest.pipeline import runs
from ingest.sources.address import Source

log = logging.getLogger(__name__)

Action = Callable[[Ledger, str, int], str]


class Quiet:
    """A reporter that nobody watches: the page shows the run, and what is said goes to the log."""

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
    runs.resume(run_id, Quiet(), workers=workers, is_async=True)
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
    if run.state.is_active:
        raise UsageError(f"Run {run_id} has not ended.", "Resume it.")
    request = run.request
    signed = [source.public for source in map(Source.parse, request.sources) if source.has_query]
    if signed:
        raise UsageError(
            f"The query of {', '.join(signed)} is kept nowhere.",
            f"On the command line: python -m ingest {request.dataset} --source ADDRESS",
        )
    runs.start([request], Quiet(), workers=workers, force=True, is_async=True)
    return f"Run {ledger.active_run(request.dataset) or 'of ' + request.dataset} was started with the same request."


def rollback(_ledger: Ledger, dataset: str, _workers: int) -> str:
    """Return to the publication before the present one.

    Raises
    ------
    RunNotFound
        When there is none, or it has lost rows.
    """
    runs.rollback(dataset, Quiet())
    return f"{dataset}: readers see the publication before. `dbt build` updates the marts."
