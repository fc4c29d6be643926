"""Remove what no publication that is kept, and no run in progress, needs any more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ingest import catalog
from ingest.ledger import FileState, Ledger
from ingest.pipeline import damage, publication
from ingest.settings import Settings
from ingest.sinks import Sink, Staging
from ingest.sources import copies, seal

RUN_ID = re.compile(r"\d{8}t\d{6}_[0-9a-f]{4}")


def prune(settings: Settings, ledger: Ledger, sink: Sink, report: Callable[[str], object], *, is_dry: bool) -> int:
    """Remove tables of runs, downloads and unpacked archives that are no longer needed.

    Parameters
    ----------
    settings, ledger, sink
        Of the target.
    report : callable
        Takes a line about everything that is removed.
    is_dry : bool
        Only say what would be removed.

    Returns
    -------
    int
        The bytes that were freed, or would be.
    """
    freed = 0
    for dataset in catalog.datasets():
        for run_id in _superfluous_runs(ledger, sink, dataset):
            freed += _drop(sink, Staging(run_id, dataset, ""), report, is_dry=is_dry)
    for path in _superfluous_copies(settings, ledger, report):
        with copies.held(path) as is_mine:
            if is_mine:
                freed += _remove(path, report, is_dry=is_dry)
            else:
                report(f"{path} is in use, and stays.")
    return freed + sum(_remove(path, report, is_dry=is_dry) for path in list(damage.drafts(settings)))


def _remove(path: Path, report: Callable[[str], object], *, is_dry: bool) -> int:
    size = seal.size(path)
    if not is_dry:
        with suppress(FileNotFoundError):
            copies.remove(path)
    report(f"{path}: {size:,} bytes")
    return size


def _superfluous_runs(ledger: Ledger, sink: Sink, dataset: str) -> list[str]:
    """Return the stored runs that retention would drop, and those that the ledger does not know."""
    stored = sink.stored_runs(dataset, catalog.get(dataset).tables)
    dropped = {run.run_id for run in publication.superfluous(ledger, dataset)}
    unknown = {run_id for run_id in stored if RUN_ID.fullmatch(run_id)} - ledger.known_runs(dataset)
    return sorted(stored & (dropped | unknown))


def _drop(sink: Sink, staging: Staging, report: Callable[[str], object], *, is_dry: bool) -> int:
    tables = catalog.get(staging.dataset).tables
    size = sink.size(staging, tables)
    if not is_dry:
        sink.drop(staging, tables)
        if staging.run_id in sink.stored_runs(staging.dataset, tables):
            report(f"Run {staging.run_id} of {staging.dataset} is still read, and stays.")
            return 0
    report(f"Run {staging.run_id} of {staging.dataset}: {size:,} bytes")
    return size


def _superfluous_copies(settings: Settings, ledger: Ledger, report: Callable[[str], object]) -> Iterator[Path]:
    """Yield the downloads and unpacked archives that no publication and no run in progress has read."""
    active = ledger.active_runs()
    unfinished = [file for run in active for file in ledger.files(run.run_id) if file.state != FileState.FETCHED]
    if unfinished:
        report(f"Run {unfinished[0].run_id} is still fetching files: all downloads and unpacked archives stay.")
        return
    needed = {run.run_id for run in active}
    for dataset in catalog.datasets():
        superfluous = {run.run_id for run in publication.superfluous(ledger, dataset)}
        needed |= {run.run_id for run in ledger.publications(dataset)} - superfluous
    keys = {(file.checksum or "")[: copies.LENGTH] for run_id in needed for file in ledger.files(run_id)}
    for copy in copies.find(settings.home):
        if not copy.key or copy.key not in keys:
            if {run.run_id for run in ledger.active_runs()} - needed:
                report("A run has begun: the other downloads and unpacked archives stay.")
                return
            yield copy.path
    if not active:
        yield from copies.partial(settings.home)
