"""The Huey tasks: fetch → plan → one task per slice → publish.

No task waits for another. One chord fetches the files, and its callback plans; another loads the slices, and its
callback publishes. A chord runs its callback once all members have ended, successfully or not, so callbacks read the
ledger and ignore the results. Every task is idempotent. A task records even an unexpected error in the ledger before it
raises it: a run that neither continues nor ends would keep its command waiting and its dataset locked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from huey import chord
from huey.api import Task
from huey.signals import SIGNAL_ERROR

from ingest import logs, sinks
from ingest.errors import SliceTaken, UsageError
from ingest.ledger import File, FileState, Ledger, RunState, Slice, SliceState
from ingest.pipeline import faults, publication, retries, signed_addresses, steps
from ingest.pipeline.queue import huey
from ingest.settings import read_settings

log = logging.getLogger(__name__)


@huey.pre_execute()
def _name_work(task: Task) -> None:
    """Let every line of the log say which run and slice it is about."""
    is_of_run = task.name in faults.STAGES
    logs.working_on(task.args[0] if is_of_run else None, task.args[1] if task.name == "load_slice" else None)


@huey.post_execute()
def _end_work(_task: Task, _value: object, _error: object) -> None:
    logs.working_on(None)


@huey.signal(SIGNAL_ERROR)
def _arrange_retry(_signal: str, task: Task, error: Exception | None = None) -> None:
    """Apply the policies of `ingest.pipeline.retries` to every error of a task, wherever in the task it is raised."""
    if error is not None:
        retries.arrange(task, error)


@huey.signal(SIGNAL_ERROR)
def _note_error(_signal: str, task: Task, error: Exception | None = None) -> None:
    """Record the traceback of every failed attempt, even if a retry succeeds later."""
    if error is not None:
        settings = read_settings()
        faults.note(settings, Ledger(settings), task, error)


def submit(ledger: Ledger, run_id: str) -> None:
    """Enqueue the tasks that a run needs next: all files of a new run, only what is missing of an interrupted one.

    Parameters
    ----------
    ledger : Ledger
        Ledger that holds the run.
    run_id : str
        A run in progress.

    Raises
    ------
    UsageError
        When the run has ended.
    """
    state = ledger.run(run_id).state
    if state in (RunState.QUEUED, RunState.FETCHING):
        files = ledger.files(run_id)
        missing = [file.file_no for file in files if file.state == FileState.QUEUED]
        if missing or not _is_any_running(files):
            huey.enqueue(chord([fetch_file.s(run_id, number) for number in missing], plan_run.s(run_id)))
    elif state == RunState.PLANNING:
        huey.enqueue(plan_run.s(run_id, []))
    elif state == RunState.LOADING:
        slices = ledger.slices(run_id)
        missing = [part.slice_no for part in slices if part.state == SliceState.QUEUED]
        if missing or not _is_any_running(slices):
            _enqueue_slices(run_id, missing)
    elif state == RunState.PUBLISHING:
        huey.enqueue(publish_run.s(run_id, []))
    else:
        raise UsageError(f"Run {run_id} has ended: {state}.", "Start a new run.")


def recover(ledger: Ledger) -> None:
    """Enqueue lost work again: work whose lease has expired, and messages that the queue has lost.

    Every consumer does this every two seconds. Enqueuing work once too often is harmless, because only one process can
    claim it. A run is left alone while the queue has messages, unless one of its leases has expired.

    Parameters
    ----------
    ledger : Ledger
        Ledger of the target.
    """
    is_idle = huey.pending_count() == 0 and huey.scheduled_count() == 0
    for run in ledger.active_runs():
        expired = ledger.requeue_expired(run.run_id)
        if expired:
            log.warning("Run %s: the leases of %s files or slices expired; they are queued again.", run.run_id, expired)
        if expired or is_idle:
            submit(ledger, run.run_id)
    if is_idle:
        signed_addresses.forget_ended(ledger)


def _is_any_running(work: Iterable[File | Slice]) -> bool:
    return any(each.state in (FileState.RUNNING, SliceState.RUNNING) for each in work)


@huey.task(retries=retries.RETRIES, context=True)
def fetch_file(run_id: str, file_no: int, task: Task) -> None:
    """Fetch one file of a run to this host and record its checksum."""
    settings = read_settings()
    ledger = Ledger(settings)
    file = ledger.claim_file(run_id, file_no)
    if file is None:
        return
    try:
        steps.fetch(settings, ledger, file)
    except Exception as error:
        ledger.release_file(file, error, will_retry=retries.arrange(task, error))
        raise


@huey.task(retries=retries.RETRIES, context=True)
def plan_run(run_id: str, _results: object, task: Task) -> None:
    """Cut the layers of a run into slices, create its staging tables, and enqueue the slices."""
    settings = read_settings()
    ledger = Ledger(settings)
    claimed = steps.claim_planning(ledger, run_id)
    if claimed is None:
        return
    try:
        planned = steps.plan_slices(settings, ledger, *claimed)
    except Exception as error:
        if retries.arrange(task, error):
            ledger.release_stage(run_id)
        else:
            ledger.fail(run_id, str(error))
        raise
    if ledger.create_slices(run_id, planned):
        _enqueue_slices(run_id, range(len(planned)))
        steps.note_checksums(settings, ledger, run_id)  # while other workers load


@huey.task(retries=retries.RETRIES, context=True)
def load_slice(run_id: str, slice_no: int, task: Task) -> None:
    """Stream one slice from its file into its staging table."""
    settings = read_settings()
    ledger = Ledger(settings)
    claimed = ledger.claim(run_id, slice_no)
    if claimed is None:
        return
    try:
        steps.load(settings, ledger, claimed)
    except SliceTaken:
        log.warning("Slice %s of run %s was taken over by another worker.", slice_no, run_id)
    except Exception as error:
        ledger.release(claimed, error, will_retry=retries.arrange(task, error))
        raise


@huey.task(retries=retries.RETRIES, context=True)
def publish_run(run_id: str, _results: object, task: Task) -> None:
    """Publish a complete run."""
    settings = read_settings()
    ledger = Ledger(settings)
    try:
        if steps.publish(settings, ledger, run_id) is publication.Outcome.INCOMPLETE:
            submit(ledger, run_id)
    except Exception as error:
        # If the run cannot fail any more, it has been published: keep its tables.
        if not retries.arrange(task, error) and ledger.fail(run_id, str(error)):
            publication.drop(ledger, sinks.get(settings), run_id)
        raise


def _enqueue_slices(run_id: str, numbers: Iterable[int]) -> None:
    huey.enqueue(chord([load_slice.s(run_id, number) for number in numbers], publish_run.s(run_id)))
