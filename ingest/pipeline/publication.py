"""Publish a complete run, and drop what nobody reads any more."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from ingest import catalog
from ingest.catalog import Table
from ingest.errors import CountMismatch, RunInProgress, RunNotFound
from ingest.ledger import Ledger, Run, RunState, Slice, SliceState
from ingest.sinks import Sink, Staging

KEPT_PUBLICATIONS = 2  # the one that readers see, and the one before


class Outcome(enum.Enum):
    """What became of an attempt to publish."""

    PUBLISHED = enum.auto()
    NOT_MINE = enum.auto()  # another process publishes or has published it, or it was abandoned
    INCOMPLETE = enum.auto()  # slices are still to be loaded


def publish(ledger: Ledger, sink: Sink, run_id: str) -> Outcome:
    """Publish a run in one transaction, once every slice has arrived and every count agrees.

    A run that is published already stays as it is. A staging table that lost its rows, as an unlogged one does when
    the server crashes, is emptied and has its slices loaded again.

    Parameters
    ----------
    ledger, sink
        Of the target.
    run_id : str
        A run of which slices have ended.

    Returns
    -------
    Outcome

    Raises
    ------
    CountMismatch
        When a slice has failed for good, or a staging table loses its rows again and again.
    """
    run = ledger.run(run_id)
    slices = ledger.slices(run_id)
    is_left = any(part.state in (SliceState.QUEUED, SliceState.RUNNING) for part in slices)
    if run.state == RunState.LOADING and is_left:
        return Outcome.INCOMPLETE
    if not ledger.claim_stage(run_id, RunState.PUBLISHING, only_from=(RunState.LOADING, RunState.PUBLISHING)):
        return Outcome.NOT_MINE
    try:
        with ledger.renewing(run_id):
            return _publish(ledger, sink, run, slices)
    except Exception:
        ledger.release_stage(run_id)
        raise


def _publish(ledger: Ledger, sink: Sink, run: Run, slices: Sequence[Slice]) -> Outcome:
    tables = catalog.get(run.dataset).tables
    staging = Staging.of(run)
    checksum = " ".join(file.checksum or "" for file in ledger.files(run.run_id))
    failed = [part for part in slices if part.state != SliceState.LOADED]
    if failed:
        first = next((part for part in failed if part.error), failed[0])
        raise CountMismatch(
            f"{len(failed)} slices of run {run.run_id} were not loaded. "
            f"{first.source_layer} in {first.source_file}: {first.error or first.state}"
        )
    loaded = ledger.counts(run.run_id)
    sink.finish(staging, tables)
    with ledger.transaction() as connection:
        # Counted in the transaction that publishes: a server that crashes in between ends it, too.
        held = {table: sink.count(staging, table, connection) for table in tables}
        lost = [table for table in tables if held[table] != loaded.get(table.name, 0)]
        if not lost:
            if not ledger.publish(connection, run, checksum=checksum, rows_loaded=sum(loaded.values())):
                connection.rollback()
                return Outcome.NOT_MINE
            sink.publish(connection, staging, tables)
    if lost:
        _load_again(ledger, sink, staging, lost, held)
        return Outcome.INCOMPLETE
    _drop_old(ledger, sink, run.dataset)
    return Outcome.PUBLISHED


def _load_again(ledger: Ledger, sink: Sink, staging: Staging, lost: Sequence[Table], held: Mapping[Table, int]) -> None:
    """Empty tables that do not hold what their slices came to, and have the slices loaded again."""
    loaded = ledger.counts(staging.run_id)
    for table in lost:
        sink.clear(staging, table)
        if not ledger.requeue_table(staging.run_id, table.name):
            raise CountMismatch(
                f"{table.name} of run {staging.run_id} holds {held[table]:,} rows; "
                f"its slices came to {loaded.get(table.name, 0):,}.",
                "Start the run again.",
            )


def rollback(ledger: Ledger, sink: Sink, dataset: str) -> str:
    """Return to the publication before the present one.

    Parameters
    ----------
    ledger, sink
        Of the target.
    dataset : str
        Which dataset.

    Returns
    -------
    str
        The run that readers see now.

    Raises
    ------
    RunNotFound
        When there is no earlier publication, or its staging tables have lost rows.
    RunInProgress
        When another process publishes or rolls back at the same time.
    """
    now, before = ledger.published_run(dataset), next(iter(ledger.superseded_runs(dataset)), None)
    if now is None or before is None:
        raise RunNotFound(f"{dataset} has no publication to return to.", "The two newest publications are kept.")
    tables, staging = catalog.get(dataset).tables, Staging.of(before)
    lost = lost_tables(ledger, sink, before)
    if lost:
        raise RunNotFound(
            f"Run {before.run_id} has lost rows of {', '.join(lost)}.", "Load its release again with --release."
        )
    with ledger.transaction() as connection:
        if not ledger.swap_published(connection, now, before):
            raise RunInProgress(
                f"{dataset} was published or rolled back meanwhile.", "Check `python -m ingest status`, then try again."
            )
        sink.publish(connection, staging, tables)
    return before.run_id


def lost_tables(ledger: Ledger, sink: Sink, run: Run) -> list[str]:
    """Return the staging tables of a run that do not hold what was loaded into them."""
    staging, loaded = Staging.of(run), ledger.counts(run.run_id)
    tables = catalog.get(run.dataset).tables
    return [table.name for table in tables if sink.count(staging, table) != loaded.get(table.name, 0)]


def drop(ledger: Ledger, sink: Sink, run_id: str) -> None:
    """Drop the staging tables of a run that will not be published."""
    staging = Staging.of(ledger.run(run_id))
    sink.drop(staging, catalog.get(staging.dataset).tables)


def _drop_old(ledger: Ledger, sink: Sink, dataset: str) -> None:
    for run in ledger.superseded_runs(dataset)[KEPT_PUBLICATIONS - 1 :]:
        sink.drop(Staging.of(run), catalog.get(dataset).tables)
