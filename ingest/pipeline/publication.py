"""Publish complete runs, roll back to earlier ones, and drop tables that are no longer needed."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ingest import catalog
from ingest.catalog import Table
from ingest.errors import CountMismatch, RunInProgress, RunNotFound
from ingest.ledger import Ledger, Run, RunState, Slice, SliceState
from ingest.sinks import Sink, Staging

KEPT_PUBLICATIONS = 2  # the current one and the one before
RETAINED = "The two newest publications are kept, and those that `python -m ingest keep RUN` names."


class Outcome(enum.Enum):
    """The result of an attempt to publish."""

    PUBLISHED = enum.auto()
    NOT_MINE = enum.auto()  # another process is publishing or has published the run, or the run was abandoned
    INCOMPLETE = enum.auto()  # some slices are not loaded yet


def publish(ledger: Ledger, sink: Sink, run_id: str) -> Outcome:
    """Publish a run in one transaction, if every slice is loaded and all counts agree.

    A run that is already published is left alone. A staging table that has lost rows (unlogged tables do, when the
    server crashes) is emptied and its slices are queued again.

    Parameters
    ----------
    ledger, sink
        Ledger and sink of the target.
    run_id : str
        A run whose slices are loaded or failed; otherwise the result is `Outcome.INCOMPLETE`.

    Returns
    -------
    Outcome

    Raises
    ------
    CountMismatch
        When a slice has failed, a staging table has lost its rows too often, or what is kept and what is replaced of
        the publication that the run is added to are not all of it.
    BaseUnusable
        When readers no longer see the publication that the run is added to.
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
    _check_balance(ledger, run, slices)
    loaded = ledger.counts(run.run_id)
    sink.finish(staging, tables)
    damage = sink.damage(staging, tables, slices)
    with ledger.transaction() as connection:
        # Count in the publishing transaction: if the server crashes after the count, the transaction is lost as well.
        held = {table: sink.count(staging, table, connection) for table in tables}
        lost = [table for table in tables if table.name in damage or held[table] != loaded.get(table.name, 0)]
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


def _check_balance(ledger: Ledger, run: Run, slices: Sequence[Slice]) -> None:
    """Check that every row of the publication that a run is added to was either carried over or replaced."""
    if run.base_run_id is None:
        return
    before = sum(ledger.counts(run.base_run_id).values())
    carried = sum(part.rows_loaded or 0 for part in slices if part.carried_from is not None)
    if before != carried + (run.rows_replaced or 0):
        raise CountMismatch(
            f"Of the {before:,} rows of run {run.base_run_id}, {carried:,} were carried over and "
            f"{run.rows_replaced or 0:,} replaced.",
            "Start the run again.",
        )


def _load_again(ledger: Ledger, sink: Sink, staging: Staging, lost: Sequence[Table], held: Mapping[Table, int]) -> None:
    """Empty the tables that do not hold the rows that their slices loaded, and queue these slices again."""
    loaded = ledger.counts(staging.run_id)
    for table in lost:
        sink.clear(staging, table)
        if not ledger.requeue_table(staging.run_id, table.name):
            raise CountMismatch(
                f"{table.name} of run {staging.run_id} holds {held[table]:,} rows, "
                f"but its slices loaded {loaded.get(table.name, 0):,}.",
                "Start the run again.",
            )


def rollback(ledger: Ledger, sink: Sink, dataset: str, run_id: str | None = None) -> str:
    """Return a dataset to an earlier publication.

    Parameters
    ----------
    ledger, sink
        Ledger and sink of the target.
    dataset : str
        Name of the dataset.
    run_id : str, optional
        The publication; by default the one that readers saw before the present one.

    Returns
    -------
    str
        Id of the run that readers see now.

    Raises
    ------
    RunNotFound
        When there is no such publication, its staging tables have lost rows, or an older version made them.
    RunInProgress
        When another process publishes or rolls back at the same time.
    """
    now = ledger.published_run(dataset)
    before = ledger.run(run_id) if run_id else ledger.superseded_run(dataset)
    if now is None or before is None:
        raise RunNotFound(f"{dataset} has no publication to return to.", RETAINED)
    if before.state != RunState.SUPERSEDED:
        raise RunNotFound(f"Run {before.run_id} is no earlier publication: it is {before.state}.", RETAINED)
    tables, staging = catalog.get(dataset).tables, Staging.of(before)
    lost = lost_tables(ledger, sink, before)
    if before.is_of_older_shape:
        raise RunNotFound(
            f"The tables of run {before.run_id} were made by an older version, and dbt cannot read them.",
            "Load its release again with --release.",
        )
    if lost:
        raise RunNotFound(
            f"Run {before.run_id} has lost rows of {', '.join(lost)}.",
            f"{RETAINED} Load its release again with --release.",
        )
    with ledger.transaction() as connection:
        if not ledger.swap_published(connection, now, before):
            raise RunInProgress(
                f"{dataset} was published or rolled back in the meantime.",
                "Check `python -m ingest status`, then try again.",
            )
        sink.publish(connection, staging, tables)
    return before.run_id


def lost_tables(ledger: Ledger, sink: Sink, run: Run) -> list[str]:
    """Return the staging tables of a run that do not hold what was loaded into them."""
    return [table for table, _ in _lost(ledger, sink, run)]


def _lost(ledger: Ledger, sink: Sink, run: Run) -> list[tuple[str, str]]:
    """Return the staging tables that `lost_tables` names, each with what is wrong."""
    staging, loaded = Staging.of(run), ledger.counts(run.run_id)
    tables = catalog.get(run.dataset).tables
    found = sink.damage(staging, tables, ledger.slices(run.run_id))
    for table in tables:
        if table.name not in found and (held := sink.count(staging, table)) != (rows := loaded.get(table.name, 0)):
            found[table.name] = f"{table.name} holds {held:,} rows instead of {rows:,}"
    return sorted(found.items())


@dataclass(frozen=True)
class Damage:
    """Something that readers of a dataset find damaged.

    Attributes
    ----------
    text : str
        What is wrong.
    is_derived : bool
        Whether `restore` can restore it; otherwise the dataset has to be loaded again.
    """

    text: str
    is_derived: bool


def damage(ledger: Ledger, sink: Sink, dataset: str) -> list[Damage]:
    """Return what is damaged of the published run of a dataset: lost rows, or names that show something else."""
    run = ledger.published_run(dataset)
    if run is None:
        return []
    found = [Damage(f"{dataset}: {what}.", is_derived=False) for _, what in _lost(ledger, sink, run)]
    shown = sink.shown_runs(dataset, catalog.get(dataset).tables)
    if shown != {run.run_id}:
        others = ", ".join(sorted(name or "nothing" for name in shown)) or "nothing"
        text = f"{dataset}: readers find {others} instead of run {run.run_id}."
        found.append(Damage(text, is_derived=not found))
    return found


def damaged_earlier(ledger: Ledger, sink: Sink, dataset: str) -> list[tuple[Run, list[str]]]:
    """Return the earlier publications whose tables are stored, and have lost rows, with these tables."""
    stored = sink.stored_runs(dataset, catalog.get(dataset).tables)
    runs = [run for run in ledger.superseded_runs(dataset, beyond=0) if run.run_id in stored]
    return [(run, lost) for run in runs if (lost := lost_tables(ledger, sink, run))]


def restore(ledger: Ledger, sink: Sink, report: Callable[[str], object]) -> set[str]:
    """Let readers of all datasets find the published runs again, or empty tables where nothing is published.

    Parameters
    ----------
    ledger, sink
        Ledger and sink of the target.
    report : callable
        Takes a sentence for everything that is or was damaged.

    Returns
    -------
    set of str
        The datasets whose published run has lost rows, so that they have to be loaded again.
    """
    damaged = set()
    for name, dataset in catalog.datasets().items():
        for each in damage(ledger, sink, name):
            if not each.is_derived:
                damaged.add(name)
                report(f"{each.text} {name} has to be loaded again.")
            elif _show_again(ledger, sink, name):
                report(f"{each.text} They find it again.")
        sink.ensure_published(name, dataset.tables)
    return damaged


def _show_again(ledger: Ledger, sink: Sink, dataset: str) -> bool:
    """Point the stable names at the published run. Return False if another process has just published one."""
    run, tables = ledger.published_run(dataset), catalog.get(dataset).tables
    if run is None:
        return False
    with ledger.transaction() as connection:
        if not ledger.hold_published(connection, run.run_id) or sink.shown_runs(dataset, tables) == {run.run_id}:
            return False
        if not run.is_of_older_shape:
            sink.prepare(Staging.of(run), tables)  # a table into which nothing was loaded may be missing
        sink.publish(connection, Staging.of(run), tables)
    return True


def keep(ledger: Ledger, sink: Sink, run_id: str, *, is_kept: bool) -> None:
    """Keep the tables of a publication until further notice, or leave them to retention again.

    Raises
    ------
    RunNotFound
        When there is no such run, it was not published, or its tables have been dropped.
    """
    run = ledger.run(run_id)
    if is_kept and lost_tables(ledger, sink, run):
        raise RunNotFound(f"The tables of run {run_id} are gone.", RETAINED)
    if not ledger.keep(run_id, is_kept=is_kept):
        raise RunNotFound(f"Run {run_id} was not published: it is {run.state}.", RETAINED)


def drop(ledger: Ledger, sink: Sink, run_id: str) -> None:
    """Drop the staging tables of a run that will not be published."""
    staging = Staging.of(ledger.run(run_id))
    sink.drop(staging, catalog.get(staging.dataset).tables)


def superfluous(ledger: Ledger, dataset: str) -> list[Run]:
    """Return the earlier publications that are not kept, and the failed runs, whether or not anything is stored."""
    return [*ledger.superseded_runs(dataset, beyond=KEPT_PUBLICATIONS - 1), *ledger.failed_runs(dataset)]


def _drop_old(ledger: Ledger, sink: Sink, dataset: str) -> None:
    """Drop what is stored of earlier publications and of failed runs, including what was kept the last time."""
    tables = catalog.get(dataset).tables
    stored = sink.stored_runs(dataset, tables)
    for run in superfluous(ledger, dataset):
        if run.run_id in stored:
            sink.drop(Staging.of(run), tables)
