"""Remove what no publication that is kept, and no run in progress, needs any more: files, tables, records.

DuckDB's own file needs no care: every build writes it anew, so that it has no free blocks.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from ingest import catalog
from ingest.ledger import FileState, Ledger
from ingest.pipeline import damage, publication
from ingest.settings import Settings
from ingest.sinks import Sink, Staging
from ingest.sources import copies, seal

RUN_ID = re.compile(r"\d{8}t\d{6}_[0-9a-f]{4}")
DAYS = 90  # that records and logs of what has ended are kept
LOGS = re.compile(r"(?:consumer-(?P<run>\d{8}t\d{6}_[0-9a-f]{4})|build-\d+)\.log")


def no_caches() -> Iterable[Path]:
    """Return that nothing is known of caches."""
    return ()


def prune(
    settings: Settings,
    ledger: Ledger,
    sink: Sink,
    report: Callable[[str], object],
    *,
    is_dry: bool,
    caches: Callable[[], Iterable[Path]] = no_caches,
    days: int = DAYS,
) -> int:
    """Remove tables of runs, copies of files, caches, logs and records that are no longer needed.

    Parameters
    ----------
    settings, ledger, sink
        Of the target.
    report : callable
        Takes a line about everything that is removed.
    is_dry : bool
        Only say what would be removed.
    caches : callable
        Returns the files and folders that were made from marts which have been replaced.
    days : int
        Age from which logs, and the records of runs without stored tables, are removed.

    Returns
    -------
    int
        The bytes that were freed, or would be; records are not counted.
    """
    freed, dropped = 0, set()
    for dataset in catalog.datasets():
        for run_id in _superfluous_runs(ledger, sink, dataset):
            dropped.add(run_id)
            freed += _drop(sink, Staging(run_id, dataset, ""), report, is_dry=is_dry)
    for path in _superfluous_copies(settings, ledger, report):
        with copies.held(path) as is_mine:
            if is_mine:
                freed += _remove(path, report, is_dry=is_dry)
            else:
                report(f"{path} is in use, and stays.")
    files = [*damage.drafts(settings), *caches(), *_old_logs(settings, ledger, days)]
    freed += sum(_remove(path, report, is_dry=is_dry) for path in files)
    _forget(ledger, sink, report, days, dropped if is_dry else set(), is_dry=is_dry)
    return freed


def _forget(
    ledger: Ledger, sink: Sink, report: Callable[[str], object], days: int, dropped: set[str], *, is_dry: bool
) -> None:
    """Remove the records of old runs whose tables are gone, or are among those that would be dropped now."""
    stored = {run for name, each in catalog.datasets().items() for run in sink.stored_runs(name, each.tables)}
    records = ledger.forget(timedelta(days=days), stored - dropped, is_dry=is_dry)
    if records:
        report(f"{records:,} records in the ledger of what ended more than {days} days ago")


def _old_logs(settings: Settings, ledger: Ledger, days: int) -> Iterator[Path]:
    active = {run.run_id for run in ledger.active_runs()}
    limit = time.time() - timedelta(days=days).total_seconds()
    for path in sorted((settings.home / "logs").glob("*.log")):
        match = LOGS.fullmatch(path.name)
        if match and match["run"] not in active and path.stat().st_mtime < limit:
            yield path


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
