"""The contents of the pages: sections of HTML, rendered from the ledger, the queue and the marts.

The ledger is read for each request; this process keeps no state of a run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import jinja2
from huey.exceptions import HueyException
from redis.exceptions import RedisError

from admin_boundaries import edition, what_changed
from admin_boundaries.warehouse import open_warehouse
from ingest import __version__, catalog
from ingest.errors import IngestError, MartsMissing, TargetUnavailable
from ingest.ledger import File, FileState, Ledger, Run, Slice, SliceState, progress
from ingest.pipeline import consumer, faults
from ingest.pipeline.queue import huey
from ingest.settings import PROJECT_ROOT, Settings

RECENT_RUNS = 20
CHART_BINS, BIN = 60, timedelta(seconds=10)  # ten minutes
RATE_SPAN = timedelta(seconds=60)
MARTS_SECONDS = 3.0  # how old the page's knowledge of the marts may be

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("ingest.dashboard", "pages"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(name: str, *, settings: Settings, **values: Any) -> str:
    """Return a whole page.

    Parameters
    ----------
    name : str
        Name of its template.
    settings : Settings
        Settings of the target.
    **values
        Variables of the template. ``sections`` are HTML; everything else is escaped.
    """
    where = settings.postgres.place if settings.postgres else str(settings.home).removeprefix(f"{PROJECT_ROOT}/")
    return _templates.get_template(name).render(target=settings.target, where=where, version=__version__, **values)


def section(name: str, **values: Any) -> str:
    """Return a section of a page."""
    return _templates.get_template(name).render(**values)


def plain(settings: Settings, text: str | None) -> str:
    """Return a text that may be shown, with secrets and queries of addresses redacted."""
    return faults.redact(text or "", faults.secrets_of(settings))


@dataclass(frozen=True)
class _Known:
    """What is known of the marts of a dataset: which runs they are of, and what changed; or why it is not known."""

    editions: dict[str, edition.Edition]
    changes: str = ""
    unknown: str = ""

    @property
    def build_ids(self) -> set[str | None]:
        """The builds that they are of."""
        return {each.build_id for each in self.editions.values()}


class Marts:
    """Which runs the marts are of, read again every few seconds: opening the warehouse takes longer than the ledger.

    Parameters
    ----------
    settings : Settings
        Of the target, and the dataset whose marts flat datasets are looked up in.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, _Known]] = {}

    def of(self, dataset: catalog.Dataset) -> Settings:
        """Return the settings with the dataset whose marts a dataset is looked up in."""
        return replace(self._settings, boundaries=dataset.name) if dataset.is_hierarchy else self._settings

    def read(self, dataset: catalog.Dataset) -> tuple[edition.Edition | None, str]:
        """Return the edition of a dataset; if that is not known, the reason."""
        known = self._read(dataset)
        return known.editions.get(dataset.name), known.unknown

    def changes(self, dataset: catalog.Dataset) -> str:
        """Return what changed in the marts of a dataset since the release before, in one line; empty if none was."""
        return self._read(dataset).changes if dataset.is_hierarchy else ""

    def _read(self, dataset: catalog.Dataset) -> _Known:
        settings = self.of(dataset)
        with self._lock:  # pages that are open at the same time read once
            read_at, known = self._found.get(settings.boundaries, (-MARTS_SECONDS, _Known({})))
            if time.monotonic() - read_at >= MARTS_SECONDS:
                known = _known(settings, known)
                self._found[settings.boundaries] = time.monotonic(), known
        return known


def _known(settings: Settings, before: _Known) -> _Known:
    """Read what is known of marts. What changed is counted once a build."""
    build = f"`{settings.build_command}`"
    try:
        with open_warehouse(settings) as warehouse:
            found = _Known({each.dataset: each for each in warehouse.editions()})
            if not found.editions:
                return replace(found, unknown=f"{edition.UNKNOWN} Run {build}.")
            is_counted = found.build_ids == before.build_ids
            return replace(found, changes=before.changes if is_counted else what_changed.told(warehouse))
    except MartsMissing:
        return _Known({}, unknown=f"They are not built: run {build}.")
    except IngestError as error:
        return _Known({}, unknown=error.message)


def overview(settings: Settings, ledger: Ledger, token: str, marts: Marts) -> dict[str, str]:
    """Return the sections of the first page.

    Parameters
    ----------
    settings, ledger
        Settings and ledger of the target.
    token : str
        Token for the buttons; no buttons if it is empty.
    marts : Marts
        The marts of the target.

    Returns
    -------
    dict of str to str
        HTML of each section, by name.
    """
    now = ledger.now()
    active = ledger.active_runs()
    parts = {run.run_id: ledger.slices(run.run_id) for run in active}
    done = ledger.slices_loaded_since(now - CHART_BINS * BIN)
    held = [work for run in active for work in _held(ledger.files(run.run_id), parts[run.run_id])]
    waiting = sum(part.state == SliceState.QUEUED for rows in parts.values() for part in rows)
    queue, consumers = _queue(settings, ledger, now)
    shared = {"now": now, "plain": lambda text: plain(settings, text), "token": token, "page": "overview"}
    running = [_run_card(run, parts[run.run_id], now) for run in active]
    return {
        "state": section(
            "state.html",
            queue=queue,
            consumers=consumers,
            waiting=waiting,
            speed=_speed(done, now),
            chart=_chart(done, now),
            active=len(active),
            **shared,
        ),
        "running": section("running.html", cards=running, consumers=consumers, **shared),
        "published": section(
            "published.html", datasets=_published(ledger, marts), project=f"{PROJECT_ROOT}/", **shared
        ),
        "workers": section(
            "workers.html", consumers=consumers, held=sorted(held, key=lambda work: str(work.worker)), **shared
        ),
        "errors": section("errors.html", errors=ledger.faults(), with_run=True, **shared),
        "runs": section("runs.html", runs=ledger.recent_runs(RECENT_RUNS), **shared),
    }


def run(settings: Settings, ledger: Ledger, run_id: str, token: str) -> dict[str, str]:
    """Return the sections of the page of a run.

    Raises
    ------
    RunNotFound
        When there is no such run.
    """
    now, found, parts = ledger.now(), ledger.run(run_id), ledger.slices(run_id)
    _, consumers = _queue(settings, ledger, now)
    shared = {"now": now, "plain": lambda text: plain(settings, text), "token": token, "page": "run"}
    summary = progress.summary(found, parts, settings.target) if found.state.has_ended else None
    failed = ledger.faults(run_id, limit=50)
    return {
        "head": section("head.html", card=_run_card(found, parts, now), summary=summary, consumers=consumers, **shared),
        "errors": section("errors.html", errors=failed, with_run=False, **shared),
        "files": section("files.html", files=ledger.files(run_id), **shared),
        "slices": section("slices.html", slices=parts, **shared),
    }


@dataclass(frozen=True)
class _Held:
    """A file or slice that a worker holds."""

    kind: str
    run_id: str
    number: int
    what: str
    worker: str | None
    lease_until: datetime | None
    started_at: datetime | None


def _held(files: Sequence[File], slices: Sequence[Slice]) -> Iterator[_Held]:
    """Yield the files and slices of a run that workers hold now."""
    running: list[tuple[str, int, str, File | Slice]] = [
        *(("file", file.file_no, file.source, file) for file in files if file.state == FileState.RUNNING),
        *(("slice", part.slice_no, part.table_name, part) for part in slices if part.state == SliceState.RUNNING),
    ]
    for kind, number, what, work in running:
        yield _Held(kind, work.run_id, number, what, work.worker, work.lease_until, work.started_at)


@dataclass(frozen=True)
class _Consumer:
    """A consumer, as the page shows it."""

    consumer: str
    workers: int
    started_at: datetime
    is_alive: bool
    is_elsewhere: bool
    silent: float  # seconds since its last heartbeat


def _queue(settings: Settings, ledger: Ledger, now: datetime) -> tuple[dict[str, Any], list[_Consumer]]:
    """Return the task counts of the queue, and every consumer of the last day."""
    try:
        mine = consumer.queue_id(settings)
        counts: dict[str, Any] = {"pending": huey.pending_count(), "scheduled": huey.scheduled_count(), "fault": ""}
    except (TargetUnavailable, RedisError, HueyException) as error:
        mine, counts = "", {"pending": None, "scheduled": None, "fault": plain(settings, str(error))}
    live = {each.consumer for each in ledger.live_consumers(mine)} if mine else set()
    consumers = [
        _Consumer(
            consumer=each.consumer,
            workers=each.workers,
            started_at=each.started_at,
            is_alive=each.consumer in live,
            is_elsewhere=bool(mine) and each.queue_id != mine,
            silent=max((now - each.heartbeat_at).total_seconds(), 0.0),
        )
        for each in ledger.consumers()
    ]
    return counts, consumers


def _published(ledger: Ledger, marts: Marts) -> list[dict[str, Any]]:
    cards = []
    for name, dataset in catalog.datasets().items():
        now = ledger.published_run(name)
        found, unknown = marts.read(dataset) if now else (None, "")
        is_current = found and now and found.is_of(now.run_id)
        cards.append(
            {
                "name": name,
                "now": now,
                "before": ledger.superseded_run(name),
                "edition": found,
                "unknown": unknown,
                "freshness": "unknown" if unknown else "current" if is_current else "stale",
                "changes": marts.changes(dataset) if now else "",
                "build": marts.of(dataset).build_command,
            }
        )
    return cards


def _run_card(run: Run, parts: Sequence[Slice], now: datetime) -> dict[str, Any]:
    return {
        "run": run,
        "is_active": run.state.is_active,
        "layers": progress.layers(parts, now),
        "total": progress.total(parts, now),
    }


def _speed(done: Sequence[Slice], now: datetime) -> dict[str, float]:
    """Return rows and megabytes per second, averaged over the last minute."""
    last = [part for part in done if part.finished_at and part.finished_at > now - RATE_SPAN]
    seconds = RATE_SPAN.total_seconds()
    return {
        "rows": sum(part.rows_loaded or 0 for part in last) / seconds,
        "megabytes": sum(part.bytes for part in last) / 1e6 / seconds,
    }


def _chart(done: Sequence[Slice], now: datetime) -> dict[str, Any]:
    """Return the MB/s of every ten seconds of the last ten minutes, oldest first, and the highest of them."""
    bins = [0.0] * CHART_BINS
    for part in done:
        back = int((now - part.finished_at) / BIN) if part.finished_at else CHART_BINS
        if 0 <= back < CHART_BINS:
            bins[-1 - back] += part.bytes / 1e6 / BIN.total_seconds()
    return {"bins": bins, "highest": max(bins)}


def _ago(seconds: float) -> str:
    return (
        "now" if seconds < 1.5 else f"{round(seconds)} s ago" if seconds < 60 else f"{progress.duration(seconds)} ago"
    )


def _seconds(work: Run | File | Slice | _Held, now: datetime) -> str:
    """Return how long the work took, or has taken so far, as text."""
    if not work.started_at:
        return ""
    end = getattr(work, "finished_at", None) or now
    return progress.duration(max((end - work.started_at).total_seconds(), 0.0))


_filters: dict[str, Callable[..., str]] = {
    "clock": lambda value: "" if value is None else f"{value.astimezone():%Y-%m-%d %H:%M:%S}",
    "number": lambda value: "" if value is None else f"{value:,}",
    "megabytes": lambda value: "" if value is None else f"{value / 1e6:,.1f}",
    "ago": _ago,
    "duration": progress.duration,
}
_templates.filters |= _filters
_templates.globals |= {"seconds_of": _seconds, "rate": progress.rate, "left": progress.left}
