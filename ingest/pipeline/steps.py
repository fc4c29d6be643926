"""The work of the tasks, as plain functions that need no queue: fetch a file, plan a run, load a slice, publish.

Each function is idempotent, and reads from the ledger what is left to do.
"""

from __future__ import annotations

import faulthandler
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import sqlalchemy as sa

from ingest import catalog, engines, sinks, sources
from ingest.errors import CopyDamaged, CountMismatch, IngestError, LayerMissing, SourceDamaged
from ingest.layers import discover
from ingest.layers.discover import Layer
from ingest.layers.plan import BATCH_BYTES, plan
from ingest.ledger import (
    Carrying,
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
from ingest.pipeline import adding, publication, signed_addresses
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

    If it is added to a publication, slices of what is kept of that follow. A run whose files take too long fails, see
    `ingest.settings.Settings.planning_seconds`.
    """
    dataset, sink = catalog.get(run.dataset), sinks.get(settings)
    with ledger.renewing(run.run_id):
        roots = [_root(settings, run.request, file) for file in files]  # another host may have fetched them
        try:
            with _limited(ledger, run, settings.planning_seconds):
                chosen = _chosen(run.request, dataset, files, roots)
                if run.base_run_id is None:
                    planned = _planned(settings, run.request, chosen)
                else:
                    named = [(layer, _name(layer.path, root)) for layer, _, root in chosen]
                    countries = adding.countries_of(dataset, named)
                    kept, rows_replaced = adding.carried(ledger, sink, run, countries)
                    ledger.note_addition(run.run_id, countries=countries, rows_replaced=rows_replaced)
                    planned = [*_planned(settings, run.request, chosen, countries), *kept]
        finally:
            for root in roots:
                if sources.is_copy(root, settings.home) and not sources.is_intact(root):
                    raise _changed_copy(root)
        if run.request.only_countries and not planned:
            names = ", ".join(run.request.only_countries)
            raise LayerMissing(f"No row is of the country {names}.", "Does the publisher count it to another one?")
        if not planned:  # what readers see is not replaced by nothing
            names = ", ".join(run.request.public_sources)
            raise LayerMissing(f"{names} has no rows: there is nothing to load.", "Is the file what it should be?")
        sink.prepare(sinks.Staging.of(run), dataset.tables)
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
    """Stream a slice from its file into its staging table, or carry it over from the publication that it is added to.

    Raises
    ------
    SliceTaken
        When another worker has claimed the slice in the meantime. Nothing was loaded.
    CountMismatch
        When the number of rows differs from the planned one.
    SourceDamaged
        When the file cannot be read to the end of the slice, or is not the version that was planned.
    BaseUnusable
        When the publication that it is carried over from is damaged.
    """
    with ledger.renewing(claimed.run_id, slice_no=claimed.slice_no):
        request, reading = claimed.request, claimed.reading
        dataset = catalog.get(request.dataset)
        if isinstance(reading, Carrying):
            _carry(settings, ledger, claimed, reading)
            return
        root = _root(settings, request, claimed.file, claimed.source_file)
        path = _member(root, claimed.source_file)
        at_first = parts.version(path) if reading.version is None else None
        source = engines.SliceSource(
            path=path,
            layer=claimed.source_layer,
            file_no=claimed.file_no,
            source_file=claimed.source_file,
            columns=reading.columns,
            missing_text=dataset.missing_text,
            crs=reading.crs,
            where=reading.where,
            batch_bytes=reading.batch_bytes,
            is_validated=request.is_validated,
            encoding=reading.encoding,
            beside=reading.beside,
            keeps_points=dataset.keeps_points,
        )
        staging = sinks.Staging(claimed.run_id, request.dataset, request.release)
        faults: list[Exception] = []

        def check_version() -> None:
            """Make sure that the file is still the one that was planned, so that a run never mixes two versions."""
            planned = reading.version
            if planned is None and not (sources.is_intact(root, path) and parts.version(path) == at_first):
                raise _changed_copy(path)
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
            with engines.get(request.engine).read(source) as read:
                table, batches = dataset.table(claimed.level), engines.filled(read, reading.listed)
                if reading.countries:
                    batches = adding.checked(batches, dataset.country, reading.countries, _features(claimed))
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


def _carry(settings: Settings, ledger: Ledger, claimed: ClaimedSlice, carrying: Carrying) -> None:
    """Carry over what is kept of a slice of the publication that a run is added to."""
    request = claimed.request
    staging = sinks.Staging(claimed.run_id, request.dataset, request.release)

    def on_loaded(rows: int) -> sa.Update:
        if rows != claimed.rows_planned:
            raise CountMismatch(
                f"{_features(claimed)}: {rows:,} rows of run {carrying.run_id} were carried over "
                f"instead of {claimed.rows_planned:,}.",
                "That run has lost rows: load it again.",
            )
        return ledger.loaded(claimed, rows_read=rows, rows_loaded=rows)

    table = catalog.get(request.dataset).table(claimed.level)
    base = replace(staging, run_id=carrying.run_id)
    sinks.get(settings).carry(staging, claimed.slice_no, table, base, carrying, on_loaded)


def publish(settings: Settings, ledger: Ledger, run_id: str) -> publication.Outcome:
    """Publish a run, if every slice is loaded and all counts agree."""
    note_checksums(settings, ledger, run_id)
    return publication.publish(ledger, sinks.get(settings), run_id)


def note_checksums(settings: Settings, ledger: Ledger, run_id: str) -> None:
    """Compute the checksums of files that are read where they are: after planning, or at the latest to publish."""
    request = ledger.run(run_id).request
    for file in ledger.files(run_id):
        if file.checksum is None and file.carried_from is None:
            source = Source.parse(request.sources[file.file_no - request.first_file_no])
            ledger.note_checksum(file, sources.checksum(source, _root(settings, request, file)))


def _features(claimed: ClaimedSlice) -> str:
    return f"{claimed.source_layer} in {claimed.source_file}, features {claimed.fid_from} to {claimed.fid_to}"


def _candidates(request: Request, file: File, came_from: str | None = None) -> list[Source]:
    first = signed_addresses.full_address(file.run_id, request, file.file_no)
    return mirrors.candidates(first, request.mirrors, file.file_no - request.first_file_no, came_from)


def _changed_copy(path: Path) -> CopyDamaged:
    """Return the error for a downloaded or unpacked file of which no single version was read."""
    return CopyDamaged(
        f"{printable(str(path))} was changed while it was being read.",
        "It is fetched or unpacked again. Whoever writes there should stop.",
    )


def _root(settings: Settings, request: Request, file: File, member: str | None = None) -> Path:
    """Return the local file or folder of a source.

    If another host fetched it, or the copy on this one is damaged, it is fetched and unpacked first. With ``member``,
    only that file of an unpacked folder is looked at.
    """
    for part in [member, None] if member else [None]:
        root = sources.at_hand(file.checksum, settings.home, part)
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
    return printable(path.name if path == root else path.relative_to(root).as_posix())


def _chosen(
    request: Request, dataset: catalog.Dataset, files: list[File], roots: list[Path]
) -> list[tuple[Layer, File, Path]]:
    """Return the layers that a run loads, each with its file and where that is."""
    release = dataset.release(request.release)
    found = [
        (layer, file, root)
        for file, root in zip(files, roots, strict=True)
        for layer in discover.layers(root, dataset, release, crs=request.crs, encoding=request.encoding)
    ]
    names = ", ".join(request.public_sources)
    kept = discover.select([layer for layer, _, _ in found], dataset, request.levels, names)
    chosen = [each for each in found if any(layer is each[0] for layer in kept)]
    if dataset.rows is None or not request.only_countries:
        return chosen
    only = (dataset.rows.country, request.only_countries)
    return [(replace(layer, only=(*layer.only, only)), file, root) for layer, file, root in chosen]


def _planned(
    settings: Settings, request: Request, chosen: Sequence[tuple[Layer, File, Path]], countries: tuple[str, ...] = ()
) -> list[PlannedSlice]:
    """Return the slices of layers, the largest first; ``countries`` are those that their rows may be of."""
    parts = plan(
        [discover.features(layer) for layer, _, _ in chosen],
        [layer.is_divisible for layer, _, _ in chosen],
        [layer.starts for layer, _, _ in chosen],
    )
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
                    version=None if sources.is_copy(root, settings.home) else layer.version,
                    countries=countries,
                    listed=request.listed[file.file_no - request.first_file_no] if request.listed else (),
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
