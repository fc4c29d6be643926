"""The work of the tasks, as plain functions that need no queue: fetch a file, plan a run, load a slice, publish.

Each function is idempotent, and reads from the ledger what is left to do.
"""

from __future__ import annotations

import faulthandler
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import sqlalchemy as sa

from ingest import catalog, engines, sinks, sources
from ingest.errors import CountMismatch, IngestError, SourceDamaged
from ingest.layers import discover
from ingest.layers.plan import BATCH_BYTES, plan
from ingest.ledger import (
    ClaimedFile,
    ClaimedSlice,
    File,
    FileState,
    Ledger,
    PlannedSlice,
    Reading,
    Request,
    Run,
    RunState,
)
from ingest.pipeline import publication, signed_addresses
from ingest.settings import Settings
from ingest.sources import mirrors, network, parts
from ingest.sources.address import Source, printable

UNHEARD_SECONDS = 30.0  # after which a process is ended that should have noticed that its run has failed


def fetch(settings: Settings, ledger: Ledger, file: ClaimedFile) -> None:
    """Fetch a file of a run to this host and record its checksum."""
    with ledger.renewing(file.run_id, file_no=file.file_no), network.only_public(file.request.only_public):
        brought = sources.bring(_candidates(file.request, file), settings.home)
    fetched = brought.fetched
    ledger.finish_file(
        file,
        checksum=fetched.sha256,
        size=fetched.bytes,
        was_cached=fetched.was_cached,
        source=brought.source.public,
    )


def claim_planning(ledger: Ledger, run_id: str) -> tuple[Run, list[File]] | None:
    """Claim the planning of a run whose files have all been fetched.

    A run with a file that could not be fetched ends as failed.

    Returns
    -------
    (Run, list of File) or None
        None if files are still being fetched, the run has failed, or another process has planned it or is planning it.
    """
    files = ledger.files(run_id)
    if any(file.state in (FileState.QUEUED, FileState.RUNNING) for file in files):
        return None  # the task that fetches the last file plans
    missing = [f"{file.source}: {file.error}" for file in files if file.state != FileState.FETCHED]
    if missing:
        ledger.fail(run_id, "; ".join(missing))
        return None
    before = (RunState.QUEUED, RunState.FETCHING, RunState.PLANNING)
    if not ledger.claim_stage(run_id, RunState.PLANNING, only_from=before):
        return None
    return ledger.run(run_id), files


def plan_slices(settings: Settings, ledger: Ledger, run: Run, files: list[File]) -> list[PlannedSlice]:
    """Cut the layers of a run into slices, largest first, and create its staging tables.

    A run whose files take too long fails, see `ingest.settings.Settings.planning_seconds`.
    """
    dataset = catalog.get(run.dataset)
    with ledger.renewing(run.run_id):
        roots = [_root(settings, run.request, file) for file in files]  # another host may have fetched them
        with _limited(ledger, run, settings.planning_seconds):
            planned = _planned(settings, run.request, dataset, files, roots)
        sinks.get(settings).prepare(sinks.Staging.of(run), dataset.tables)
    return planned


@contextmanager
def _limited(ledger: Ledger, run: Run, seconds: float) -> Iterator[None]:
    """Fail a run whose block takes too long: a file of hostile content may keep GDAL busy for ever.

    The worker notices that with its lease, and exits. If GDAL keeps all of Python from running, nothing notices, and
    the process is ended all the same.
    """

    def fail() -> None:
        names = ", ".join(run.request.public_sources)
        ledger.fail(
            run.run_id,
            f"{names} took longer than {seconds:,.0f} s to open and count. Is the file what it should be? "
            "If it is only large or on a slow disk, set INGEST_PLANNING_SECONDS.",
        )

    timer = threading.Timer(seconds, fail)
    timer.daemon = True
    timer.start()
    faulthandler.dump_traceback_later(seconds + UNHEARD_SECONDS, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        timer.cancel()


def load(settings: Settings, ledger: Ledger, claimed: ClaimedSlice) -> None:
    """Stream a slice from its file into its staging table.

    Raises
    ------
    SliceTaken
        When another worker has claimed the slice in the meantime. Nothing was loaded.
    CountMismatch
        When the number of rows differs from the planned one.
    SourceDamaged
        When the file cannot be read to the end of the slice, or is not the version that was planned.
    """
    with ledger.renewing(claimed.run_id, slice_no=claimed.slice_no):
        request = claimed.request
        dataset = catalog.get(request.dataset)
        root = _root(settings, request, claimed.file)
        path = _member(root, claimed.source_file)
        source = engines.SliceSource(
            path=path,
            layer=claimed.source_layer,
            file_no=claimed.file_no,
            source_file=claimed.source_file,
            columns=claimed.reading.columns,
            missing_text=dataset.missing_text,
            crs=claimed.reading.crs,
            where=claimed.reading.where,
            batch_bytes=claimed.reading.batch_bytes,
            is_validated=request.is_validated,
            encoding=claimed.reading.encoding,
            beside=claimed.reading.beside,
        )
        staging = sinks.Staging(claimed.run_id, request.dataset, request.release)
        faults: list[Exception] = []

        def check_version() -> None:
            """Make sure that the file is still the one that was planned, so that a run never mixes two versions."""
            planned = claimed.reading.version
            if planned is not None and not parts.is_same(path, root, planned, claimed.file.checksum):
                raise parts.changed(path)

        def on_loaded(rows: int) -> sa.Update:
            check_version()
            if rows != claimed.rows_planned:
                raise CountMismatch(
                    f"{_features(claimed)}: the file says {claimed.rows_planned:,} rows, {rows:,} arrived.",
                    "The file is damaged, or it changed while it was being read.",
                )
            return ledger.loaded(claimed, rows_read=rows, rows_loaded=rows)

        check_version()
        try:
            with engines.get(request.engine).read(source) as batches:
                table = dataset.table(claimed.level)
                sinks.get(settings).write(
                    staging, claimed.slice_no, table, _recording_faults(batches, faults), on_loaded
                )
        except Exception as error:
            check_version()
            if faults and isinstance(faults[0], IngestError):
                raise faults[0] from error
            if faults:  # reading failed, even if the sink raised another error because of that
                raise SourceDamaged(
                    f"{_features(claimed)}, cannot be read: {faults[0]}.",
                    "The file is damaged; download it again.",
                ) from error
            raise


def publish(settings: Settings, ledger: Ledger, run_id: str) -> publication.Outcome:
    """Publish a run, if every slice is loaded and all counts agree."""
    note_checksums(settings, ledger, run_id)
    return publication.publish(ledger, sinks.get(settings), run_id)


def note_checksums(settings: Settings, ledger: Ledger, run_id: str) -> None:
    """Compute the checksums of files that are read where they are: after planning, or at the latest to publish."""
    request = ledger.run(run_id).request
    for file in ledger.files(run_id):
        if file.checksum is None:
            source = Source.parse(request.sources[file.file_no])
            ledger.note_checksum(file, sources.checksum(source, _root(settings, request, file)))


def _features(claimed: ClaimedSlice) -> str:
    return f"{claimed.source_layer} in {claimed.source_file}, features {claimed.fid_from} to {claimed.fid_to}"


def _candidates(request: Request, file: File, came_from: str | None = None) -> list[Source]:
    first = signed_addresses.full_address(file.run_id, request, file.file_no)
    return mirrors.candidates(first, request.mirrors, file.file_no, came_from)


def _root(settings: Settings, request: Request, file: File) -> Path:
    """Return the local file or folder of a source. If another host fetched it, fetch it to this one first."""
    root = sources.at_hand(file.checksum, settings.home)
    if root is not None:
        return root
    candidates = [
        source if source.is_remote else replace(source, sha256=None)  # verified when it was fetched
        for source in _candidates(request, file, came_from=file.source)
    ]
    with network.only_public(request.only_public):
        return sources.bring(candidates, settings.home, file.checksum).path


def _member(root: Path, source_file: str) -> Path:
    """Return a file of a source by its name in the loaded rows."""
    path = root if root.is_file() else root / source_file
    if path.exists() or root.is_file():
        return path
    return next((file for file in parts.members(root).files if _name(file, root) == source_file), path)


def _name(path: Path, root: Path) -> str:
    """Return the name of a file in the loaded rows, which is text in any case."""
    return printable(path.name if root.is_file() else path.relative_to(root).as_posix())


def _stays(root: Path, settings: Settings) -> bool:
    """Return whether a source is a copy of this warehouse, of which no other version takes the place during a run."""
    return any(root.is_relative_to(settings.home / folder) for folder in ("downloads", "unpacked"))


def _planned(
    settings: Settings, request: Request, dataset: catalog.Dataset, files: list[File], roots: list[Path]
) -> list[PlannedSlice]:
    """Return the slices of a run, the largest first."""
    release = dataset.release(request.release)
    found = [
        (layer, file, root)
        for file, root in zip(files, roots, strict=True)
        for layer in discover.layers(root, dataset, release, crs=request.crs, encoding=request.encoding)
    ]
    names = ", ".join(request.public_sources)
    kept = discover.select([layer for layer, _, _ in found], dataset, request.levels, names)
    chosen = [each for each in found if any(layer is each[0] for layer in kept)]
    parts = plan([discover.features(layer) for layer, _, _ in chosen], [layer.is_divisible for layer, _, _ in chosen])
    planned = []
    for part in parts:
        layer, file, root = chosen[part.layer_no]
        planned.append(
            PlannedSlice(
                table_name=layer.table.name,
                level=layer.table.level,
                file_no=file.file_no,
                source_file=_name(layer.path, root),
                source_layer=layer.name,
                fid_from=part.fid_from,
                fid_to=part.fid_to,
                rows_planned=part.row_count,
                bytes=part.bytes,
                engine=request.engine,
                reading=Reading(
                    columns=layer.columns,
                    crs=layer.crs,
                    where=layer.where(part.fid_from, part.fid_to),
                    batch_bytes=BATCH_BYTES + discover.most_bytes(layer, part.heaviest),
                    encoding=layer.encoding,
                    beside=layer.beside,
                    version=None if _stays(root, settings) else layer.version,
                ),
            )
        )
    return planned


def _recording_faults(batches: pa.RecordBatchReader, faults: list[Exception]) -> pa.RecordBatchReader:
    """Pass batches on and record errors: these come from the source, not from the sink."""

    def recorded() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except Exception as error:
            faults.append(error)
            raise

    return pa.RecordBatchReader.from_batches(batches.schema, recorded())
