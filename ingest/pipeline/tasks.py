"""The Huey tasks: fetch → plan → one task per slice → publish.

No task waits for another. Files are fetched by a chord whose callback plans; slices are loaded by a chord whose
callback publishes. A chord's callback runs when all its members have ended, well or not, so callbacks look into the
ledger and never at results. Every task may run twice without harm. A fault that nobody foresaw is noted like any other
before it is raised: a run that neither goes on nor has ended would keep its command waiting and its dataset locked.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from huey import chord
from huey.api import Task
from huey.signals import SIGNAL_ERROR
from sqlalchemy.engine import RowMapping

from ingest import catalog, engines, sinks
from ingest.errors import CountMismatch, SliceTaken, SourceDamaged, UsageError
from ingest.layers import discover
from ingest.layers.plan import BATCH_BYTES, plan
from ingest.ledger.ledger import Ledger, Request
from ingest.pipeline import faults, publication, retries, signed_addresses
from ingest.pipeline.publication import Outcome
from ingest.pipeline.queue import huey
from ingest.settings import Settings, load
from ingest.sources import mirrors
from ingest.sources.address import Source
from ingest.sources.archive import unpack, unpacked
from ingest.sources.cache import checksum

log = logging.getLogger(__name__)


@huey.signal(SIGNAL_ERROR)
def _arrange_retry(_signal: str, task: Task, error: Exception | None = None) -> None:
    """Apply the policies of `ingest.pipeline.retries` to every fault of a task, wherever in it the fault happens."""
    if error is not None:
        retries.arrange(task, error)


@huey.signal(SIGNAL_ERROR)
def _note_error(_signal: str, task: Task, error: Exception | None = None) -> None:
    """Keep the traceback of every failed attempt, also of one that a retry makes good."""
    if error is not None:
        settings = load()
        faults.note(settings, Ledger(settings), task, error)


def submit(ledger: Ledger, run_id: str) -> None:
    """Enqueue what a run lacks: all of a new one, the missing part of one that was interrupted.

    Parameters
    ----------
    ledger : Ledger
        Where the run is noted.
    run_id : str
        A run that has not ended.

    Raises
    ------
    UsageError
        When the run has ended.
    """
    state = ledger.run(run_id)["state"]
    if state in ("queued", "fetching"):
        rows = ledger.files(run_id)
        missing = [row["file_no"] for row in rows if row["state"] == "queued"]
        if missing or not _is_any_running(rows):
            huey.enqueue(chord([fetch_file.s(run_id, number) for number in missing], plan_run.s(run_id)))
    elif state == "planning":
        huey.enqueue(plan_run.s(run_id, []))
    elif state == "loading":
        rows = ledger.slices(run_id)
        missing = [row["slice_no"] for row in rows if row["state"] == "queued"]
        if missing or not _is_any_running(rows):
            _enqueue_slices(run_id, missing)
    elif state == "publishing":
        huey.enqueue(publish_run.s(run_id, []))
    else:
        raise UsageError(f"Run {run_id} has ended: {state}.", "Start a new one.")


def recover(ledger: Ledger) -> None:
    """Enqueue again what was lost: work whose holder is gone, and messages that the queue has forgotten.

    Every consumer does so every two seconds. Work that is enqueued once too often is harmless: only one process can
    claim it. A queue that still has messages is left to itself, unless a holder is gone.

    Parameters
    ----------
    ledger : Ledger
        Of the target.
    """
    is_idle = huey.pending_count() == 0 and huey.scheduled_count() == 0
    for run in ledger.active_runs():
        expired = ledger.requeue_expired(run["run_id"])
        if expired:
            log.warning("Run %s: %s files or slices were left by a dead worker.", run["run_id"], expired)
        if expired or is_idle:
            submit(ledger, run["run_id"])
    if is_idle:
        signed_addresses.forget_ended(ledger)


def _is_any_running(rows: Iterable[RowMapping]) -> bool:
    return any(row["state"] == "running" for row in rows)


@huey.task(retries=retries.RETRIES, context=True)
def fetch_file(run_id: str, file_no: int, task: Task) -> None:
    """Bring one source of a run onto this host and note its checksum."""
    settings = load()
    ledger = Ledger(settings)
    request = Request.from_json(ledger.run(run_id)["request"])
    if not ledger.claim_file(run_id, file_no):
        return
    try:
        with ledger.holding(run_id, file_no=file_no):
            first = signed_addresses.whole(run_id, request, file_no)
            source, fetched = mirrors.bring(mirrors.candidates(first, request, file_no), settings.downloads)
            unpack(fetched, settings.home)
        ledger.finish_file(
            run_id,
            file_no,
            checksum=fetched.sha256,
            size=fetched.bytes,
            was_cached=fetched.was_cached,
            source=source.public,
        )
    except Exception as error:
        ledger.release_file(run_id, file_no, error, will_retry=_will_retry(task, error))
        raise


@huey.task(retries=retries.RETRIES, context=True)
def plan_run(run_id: str, _results: object, task: Task) -> None:
    """Cut the layers of a run into slices, create its staging tables and enqueue the slices."""
    settings = load()
    ledger = Ledger(settings)
    files = ledger.files(run_id)
    if any(row["state"] in ("queued", "running") for row in files):
        return  # who brings the last one calls again
    faults = [f"{row['source']}: {row['error']}" for row in files if row["state"] != "fetched"]
    if faults:
        ledger.fail(run_id, "; ".join(faults))
        return
    if not ledger.take_stage(run_id, "planning", only_from=("queued", "fetching", "planning")):
        return
    request = Request.from_json(ledger.run(run_id)["request"])
    dataset = catalog.get(request.dataset)
    try:
        with ledger.holding(run_id):
            rows = _slices(settings, run_id, request, dataset, files)
            sinks.get(settings).prepare(_staging(run_id, request), dataset.tables)
    except Exception as error:
        if _will_retry(task, error):
            ledger.give_up_stage(run_id)
        else:
            ledger.fail(run_id, str(error))
        raise
    planned = ledger.create_slices(
        run_id,
        rows,
        rows_read=sum(row["rows_planned"] for row in rows),
        bytes_read=sum(row["bytes"] for row in rows),
    )
    if planned:
        _enqueue_slices(run_id, range(len(rows)))
        _note_checksums(settings, ledger, run_id)  # other workers load meanwhile


@huey.task(retries=retries.RETRIES, context=True)
def load_slice(run_id: str, slice_no: int, task: Task) -> None:
    """Stream one slice from its file into its staging table."""
    settings = load()
    ledger = Ledger(settings)
    claimed = ledger.claim(run_id, slice_no)
    if claimed is None:
        return
    row, attempt = claimed
    try:
        with ledger.holding(run_id, slice_no=slice_no):
            _load(settings, ledger, row, attempt)
    except SliceTaken:
        log.warning("Slice %s of run %s was taken over by another worker.", slice_no, run_id)
    except Exception as error:
        ledger.release(run_id, slice_no, attempt, error, will_retry=_will_retry(task, error))
        raise


@huey.task(retries=retries.RETRIES, context=True)
def publish_run(run_id: str, _results: object, task: Task) -> None:
    """Put a run before the readers once every slice has arrived and every count agrees."""
    settings = load()
    ledger = Ledger(settings)
    try:
        _note_checksums(settings, ledger, run_id)
        if publication.publish(ledger, sinks.get(settings), run_id) is Outcome.INCOMPLETE:
            submit(ledger, run_id)
    except Exception as error:
        # A run that cannot be failed any more is before the readers already: its tables stay.
        if not _will_retry(task, error) and ledger.set_state(run_id, "failed", error=str(error)):
            publication.drop(ledger, sinks.get(settings), run_id)
        raise


def _enqueue_slices(run_id: str, numbers: Iterable[int]) -> None:
    huey.enqueue(chord([load_slice.s(run_id, number) for number in numbers], publish_run.s(run_id)))


def _will_retry(task: Task, error: Exception) -> bool:
    """Tell whether Huey will run the task again; a fault that is there for good is not tried again."""
    return retries.arrange(task, error)


def _staging(run_id: str, request: Request) -> sinks.Staging:
    return sinks.Staging(run_id=run_id, dataset=request.dataset, release=request.release)


def _bring(settings: Settings, run_id: str, request: Request, file: RowMapping) -> Path:
    """Return the file or folder of a source that the run has fetched already, on whichever host this is."""
    file_no, sha256 = file["file_no"], file["checksum"]
    root = unpacked(sha256, settings.home) if sha256 else None
    if root is not None:
        return root
    first = signed_addresses.whole(run_id, request, file_no)
    sources = mirrors.candidates(first, request, file_no, came_from=file["source"])
    source, fetched = mirrors.bring(sources, settings.downloads, known_sha256=sha256)
    if fetched.sha256 != sha256:
        raise CountMismatch(f"{source.public} changed while it was being loaded.", "Start the run again.")
    return unpack(fetched, settings.home)


def _note_checksums(settings: Settings, ledger: Ledger, run_id: str) -> None:
    """Take the checksums of files that were fetched without: planning begins it, publishing makes sure of it."""
    request = Request.from_json(ledger.run(run_id)["request"])
    for file in ledger.files(run_id):
        if file["checksum"] is None:
            ledger.note_checksum(run_id, file["file_no"], checksum(_bring(settings, run_id, request, file)))


def _slices(
    settings: Settings, run_id: str, request: Request, dataset: catalog.Dataset, files: Sequence[RowMapping]
) -> list[dict[str, Any]]:
    """Return the ledger's rows for the slices of a run, heaviest first."""
    release = dataset.release(request.release)
    layers, file_nos, roots = [], [], []
    for file in files:
        root = _bring(settings, run_id, request, file)
        found = discover.discover(root, dataset, release)
        layers += found
        file_nos += [file["file_no"]] * len(found)
        roots += [root] * len(found)
    names = ", ".join(Source.parse(location).public for location in request.sources)
    kept = discover.select(layers, dataset, request.levels, names)
    positions = [layers.index(layer) for layer in kept]
    ranges = plan([discover.features(layer) for layer in kept], [layer.driver != "GeoJSON" for layer in kept])
    rows = []
    for slice_no, part in enumerate(ranges):
        layer, position = kept[part.layer_no], positions[part.layer_no]
        root = roots[position]
        source_file = layer.path.name if root.is_file() else layer.path.relative_to(root).as_posix()
        fid = discover.quote(layer.fid_column) if layer.driver == "GPKG" else layer.fid_column
        where = None if layer.driver == "GeoJSON" else f"{fid} between {part.fid_from} and {part.fid_to}"
        batch_bytes = BATCH_BYTES + discover.most_bytes(layer, part.heaviest)
        spec = {"columns": layer.columns, "crs": layer.crs, "where": where, "batch_bytes": batch_bytes}
        rows.append(
            {
                "slice_no": slice_no,
                "table_name": layer.table.name,
                "level": layer.table.level,
                "file_no": file_nos[position],
                "source_file": source_file,
                "source_layer": layer.name,
                "fid_from": part.fid_from,
                "fid_to": part.fid_to,
                "rows_planned": part.row_count,
                "bytes": part.bytes,
                "engine": request.engine,
                "spec": json.dumps(spec),
            }
        )
    return rows


def _load(settings: Settings, ledger: Ledger, row: Any, attempt: int) -> None:
    run_id, slice_no = row["run_id"], row["slice_no"]
    request = Request.from_json(ledger.run(run_id)["request"])
    dataset = catalog.get(request.dataset)
    root = _bring(settings, run_id, request, ledger.files(run_id)[row["file_no"]])
    spec = json.loads(row["spec"])
    source = engines.SliceSource(
        path=root if root.is_file() else root / row["source_file"],
        layer=row["source_layer"],
        source_file=row["source_file"],
        columns=tuple((raw, name) for raw, name in spec["columns"]),
        missing_text=dataset.missing_text,
        crs=spec["crs"],
        where=spec["where"],
        batch_bytes=spec["batch_bytes"],
        is_validated=request.is_validated,
    )

    def on_loaded(rows: int) -> Any:
        if rows != row["rows_planned"]:
            raise CountMismatch(
                f"{source.layer} in {source.source_file}, features {row['fid_from']} to {row['fid_to']}: the file says "
                f"{row['rows_planned']:,} rows, {rows:,} arrived.",
                "The file is damaged or was changed while it was read.",
            )
        return ledger.loaded(run_id, slice_no, attempt, rows_read=rows, rows_loaded=rows)

    staging, table = _staging(run_id, request), dataset.table(row["level"])
    faults: list[Exception] = []
    try:
        with engines.get(request.engine).read(source) as batches:
            sinks.get(settings).write(staging, slice_no, table, _watched(batches, faults), on_loaded)
    except Exception as error:
        if faults:  # whatever the sink made of it
            raise SourceDamaged(
                f"{source.layer} in {source.source_file}, features {row['fid_from']} to {row['fid_to']}, cannot be "
                f"read: {faults[0]}.",
                "The file is damaged, or its text is not in the encoding that it states (UTF-8 in a GeoPackage).",
            ) from error
        raise


def _watched(batches: pa.RecordBatchReader, faults: list[Exception]) -> pa.RecordBatchReader:
    """Pass batches on, their text verified, and note what goes wrong: it is the source's fault and not the sink's."""

    def passed_on() -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                batch.validate(full=True)  # GDAL hands on text as it stands, whatever its encoding
                yield batch
        except Exception as error:
            faults.append(error)
            raise

    return pa.RecordBatchReader.from_batches(batches.schema, passed_on())
