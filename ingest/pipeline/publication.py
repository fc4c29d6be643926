"""Put a whole run before the readers, and clear away what nobody reads any more."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy.engine import RowMapping

from ingest import catalog
from ingest.catalog import Table
from ingest.errors import CountMismatch, RunInProgress, RunNotFound
from ingest.ledger.ledger import Ledger, runs
from ingest.sinks import Sink, Staging

KEPT_PUBLICATIONS = 2  # the one that readers see, and the one before


class Outcome(enum.Enum):
    """What became of an attempt to publish."""

    PUBLISHED = enum.auto()
    NOT_MINE = enum.auto()  # another process publishes or has published it, or it was given up
    INCOMPLETE = enum.auto()  # slices are still to be loaded


def publish(ledger: Ledger, sink: Sink, run_id: str) -> Outcome:
    """Publish a run in one transaction, once every slice is there and every count agrees.

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
    if run["state"] == "loading" and any(row["state"] in ("queued", "running") for row in slices):
        return Outcome.INCOMPLETE
    if not ledger.take_stage(run_id, "publishing", only_from=("loading", "publishing")):
        return Outcome.NOT_MINE
    try:
        with ledger.holding(run_id):
            return _publish(ledger, sink, run, slices)
    except Exception:
        ledger.give_up_stage(run_id)
        raise


def _publish(ledger: Ledger, sink: Sink, run: RowMapping, slices: Sequence[RowMapping]) -> Outcome:
    run_id = run["run_id"]
    tables = catalog.get(run["dataset"]).tables
    staging = _staging(run)
    checksum = " ".join(file["checksum"] or "" for file in ledger.files(run_id))
    faults = [row for row in slices if row["state"] != "loaded"]
    if faults:
        first = next((row for row in faults if row["error"]), faults[0])
        raise CountMismatch(
            f"{len(faults)} slices of run {run_id} were not loaded. "
            f"{first['source_layer']} in {first['source_file']}: {first['error'] or first['state']}"
        )
    loaded = ledger.counts(run_id)
    sink.finish(staging, tables)
    moment = datetime.now(UTC)
    with ledger.transaction() as connection:
        # Counted where it is published: a server that crashes in between ends this transaction, too.
        held = {table: sink.count(staging, table, connection) for table in tables}
        lost = [table for table in tables if held[table] != loaded.get(table.name, 0)]
        if not lost:
            older = runs.c.dataset == run["dataset"], runs.c.state == "published"
            connection.execute(runs.update().where(*older).values(state="superseded"))
            mine = runs.c.run_id == run_id, runs.c.state == "publishing"
            values = {"state": "published", "checksum": checksum, "rows_loaded": sum(loaded.values())}
            moved = connection.execute(
                runs.update().where(*mine).values(published_at=moment, finished_at=moment, **values)
            )
            if moved.rowcount != 1:  # meanwhile another worker has published the run, or it was given up
                connection.rollback()
                return Outcome.NOT_MINE
            sink.publish(connection, staging, tables)
    if lost:
        _load_again(ledger, sink, staging, lost, held)
        return Outcome.INCOMPLETE
    _drop_old(ledger, sink, run["dataset"])
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
    """Put the publication before the present one before the readers again.

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
        When there is none before, or its staging tables are not whole any more.
    """
    now, before = ledger.published_run(dataset), ledger.superseded_run(dataset)
    if now is None or before is None:
        raise RunNotFound(f"{dataset} has no publication to return to.", "The two newest publications are kept.")
    tables, staging = catalog.get(dataset).tables, _staging(before)
    lost = lost_tables(ledger, sink, before)
    if lost:
        raise RunNotFound(
            f"Run {before['run_id']} has lost rows of {', '.join(lost)}.", "Load its release again with --release."
        )
    with ledger.transaction() as connection:
        for run_id, old, new in (
            (now["run_id"], "published", "superseded"),
            (before["run_id"], "superseded", "published"),
        ):
            query = runs.update().where(runs.c.run_id == run_id, runs.c.state == old)
            if connection.execute(query.values(state=new)).rowcount != 1:
                raise RunInProgress(
                    f"{dataset} was published or rolled back meanwhile.", "Look at `status`, and try again."
                )
        sink.publish(connection, staging, tables)
    return str(before["run_id"])


def lost_tables(ledger: Ledger, sink: Sink, run: RowMapping) -> list[str]:
    """Return the staging tables of a run that do not hold what was loaded into them."""
    staging, loaded = _staging(run), ledger.counts(run["run_id"])
    tables = catalog.get(run["dataset"]).tables
    return [table.name for table in tables if sink.count(staging, table) != loaded.get(table.name, 0)]


def drop(ledger: Ledger, sink: Sink, run_id: str) -> None:
    """Remove the staging tables of a run that will not be published."""
    staging = _staging(ledger.run(run_id))
    sink.drop(staging, catalog.get(staging.dataset).tables)


def _staging(run: RowMapping) -> Staging:
    return Staging(run_id=run["run_id"], dataset=run["dataset"], release=run["release"])


def _drop_old(ledger: Ledger, sink: Sink, dataset: str) -> None:
    with ledger.transaction() as connection:
        query = (
            runs.select()
            .where(runs.c.dataset == dataset, runs.c.state == "superseded")
            .order_by(runs.c.published_at.desc())
            .offset(KEPT_PUBLICATIONS - 1)
        )
        old = connection.execute(query).mappings().all()
    for run in old:
        sink.drop(_staging(run), catalog.get(dataset).tables)
