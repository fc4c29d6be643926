"""What a monitoring system asks: numbers for Prometheus, and whether all is well.

Both are read at most every few seconds, however often they are asked for, and within a limit of time: a database that
hangs must not take the dashboard with it. They need no rights beyond those of the pages.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from huey.exceptions import HueyException
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from admin_boundaries.edition import Edition
from ingest import catalog
from ingest.dashboard import views
from ingest.errors import IngestError
from ingest.ledger import BuildState, Ledger, Run, Tally
from ingest.pipeline import consumer
from ingest.pipeline.queue import huey
from ingest.settings import Settings

KEPT_SECONDS = 5.0  # how old an answer may be
LIMIT_SECONDS = 8.0  # Prometheus gives up after ten
GRACE = timedelta(seconds=30)  # for work that waits until a consumer has started
PREFIX = "boundaries"
Rows = Iterable[tuple[Iterable[str], float | None]]  # values of the labels, and the number


@dataclass(frozen=True)
class Mart:
    """A publication, and whether the marts are of it.

    Attributes
    ----------
    run : Run
        The published run.
    marts : str
        The dataset whose marts were looked into.
    edition : Edition or None
        What they hold; None if that is not known, for the reason in ``unknown``.
    """

    run: Run
    marts: str
    edition: Edition | None
    unknown: str

    @property
    def is_fresh(self) -> bool:
        """Whether the marts are of the published run."""
        return self.edition is not None and self.edition.is_of(self.run.run_id)


@dataclass(frozen=True)
class State:
    """What was seen at one moment.

    Attributes
    ----------
    faults : dict of str to str
        Of the database and the queue, why it does not answer; empty if it does.
    tally : Tally or None
        None if the database does not answer.
    marts : tuple of Mart
        All publications.
    waiting : int or None
        Messages in the queue; None if it does not answer.
    consumers, workers : int
        Live consumers of this queue, and their processes.
    """

    taken_at: datetime
    faults: dict[str, str] = field(default_factory=lambda: {"database": "", "queue": ""})
    tally: Tally | None = None
    marts: tuple[Mart, ...] = ()
    waiting: int | None = None
    consumers: int = 0
    workers: int = 0


class Monitor:
    """Answers ``/metrics`` and ``/health``.

    Parameters
    ----------
    settings, ledger
        Settings and ledger of the target.
    marts : views.Marts
        What the pages know of the marts.
    """

    def __init__(self, settings: Settings, ledger: Ledger, marts: views.Marts) -> None:
        self._settings, self._ledger, self._marts = settings, ledger, marts
        self._lock = threading.Lock()
        self._state, self._read_at = State(datetime.now(UTC)), -KEPT_SECONDS

    def routes(self) -> list[Route]:
        """Return what to add to a server."""
        return [Route("/metrics", self.metrics), Route("/health", self.health)]

    async def metrics(self, _request: Request) -> Response:
        """Respond with all numbers, as Prometheus reads them."""
        state = await self._seen()
        registry = CollectorRegistry()
        registry.register(_Collector(families(state)))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def health(self, _request: Request) -> Response:
        """Respond with 200 if all is well, else with 503, and with what was looked at."""
        found = list(checks(await self._seen(), timedelta(seconds=self._settings.stale_seconds)))
        is_good = all(good for _, good, _ in found)
        told = [
            {"what": what, "is_good": good, "detail": views.plain(self._settings, detail)}
            for what, good, detail in found
        ]
        body = {"status": "ok" if is_good else "failing", "checks": told}
        return JSONResponse(body, status_code=200 if is_good else 503)

    async def _seen(self) -> State:
        try:
            return await asyncio.wait_for(run_in_threadpool(self._read), LIMIT_SECONDS)
        except TimeoutError:
            late = f"It has not answered for {LIMIT_SECONDS:.0f} s."
            return State(datetime.now(UTC), {"database": late, "queue": late})

    def _read(self) -> State:
        if not self._lock.acquire(timeout=LIMIT_SECONDS):  # somebody else is still waiting for an answer
            raise TimeoutError
        try:
            if time.monotonic() - self._read_at >= KEPT_SECONDS:
                self._state, self._read_at = self._look(), time.monotonic()
            return self._state
        finally:
            self._lock.release()

    def _look(self) -> State:
        faults = {"database": "", "queue": ""}
        waiting, queue_id = None, ""
        try:
            queue_id = consumer.queue_id(self._settings)
            waiting = huey.pending_count() + huey.scheduled_count()
        except (IngestError, RedisError, HueyException) as error:
            faults["queue"] = str(error)
        try:
            moment, tally = self._ledger.now(), self._ledger.tally()
            live = self._ledger.live_consumers(queue_id) if queue_id else []
        except IngestError as error:
            return State(datetime.now(UTC), {**faults, "database": str(error)}, waiting=waiting)
        return State(
            moment,
            faults,
            tally,
            tuple(self._mart(run) for run in tally.published),
            waiting,
            len(live),
            sum(each.workers for each in live),
        )

    def _mart(self, run: Run) -> Mart:
        dataset = catalog.get(run.dataset)
        edition, unknown = self._marts.read(dataset)
        return Mart(run, self._marts.of(dataset).boundaries, edition, unknown)


class _Collector:
    def __init__(self, found: Iterable[GaugeMetricFamily]) -> None:
        self._found = list(found)

    def collect(self) -> list[GaugeMetricFamily]:
        return self._found


def _gauge(
    name: str, text: str, labels: Iterable[str], rows: Iterable[tuple[Iterable[str], float | None]]
) -> GaugeMetricFamily:
    made = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=list(labels))
    for values, number in rows:
        if number is not None:
            made.add_metric([str(value) for value in values], float(number))
    return made


def families(state: State) -> Iterator[GaugeMetricFamily]:
    """Yield the metrics of a state. All are gauges: the ledger forgets old runs, so that its counts may fall."""
    up = [([part], not fault) for part, fault in state.faults.items()]
    yield _gauge("up", "Whether this part, the database or the queue, answers.", ["part"], up)
    waiting = [((), state.waiting)]
    yield _gauge("queue_messages", "Messages in the queue, those that are to be retried included.", [], waiting)
    if state.tally is None:
        return
    yield _gauge("consumers", "Live consumers of this queue.", [], [((), state.consumers)])
    yield _gauge("workers", "Their worker processes.", [], [((), state.workers)])
    yield from _of_publications(state)
    tally = state.tally
    runs = [((dataset, run_state), number) for (dataset, run_state), number in sorted(tally.runs.items())]
    yield _gauge("runs", "Runs in the ledger.", ["dataset", "state"], runs)
    parts = [((name,), number) for name, number in sorted(tally.slices.items())]
    yield _gauge("slices", "Slices of the runs in progress.", ["state"], parts)
    yield _gauge("failed_attempts", "Failed attempts of tasks in the ledger.", [], [((), tally.faults)])
    builds = [((dataset, name), number) for (dataset, name), number in sorted(tally.builds.items())]
    yield _gauge("builds", "Builds of the marts in the ledger.", ["dataset", "state"], builds)
    latest = [([each.dataset], each.state == BuildState.FAILED) for each in tally.latest_builds]
    yield _gauge("last_build_failed", "Whether the latest build that ended has failed.", ["dataset"], latest)
    lasting = [([each.dataset], each.seconds) for each in tally.latest_builds]
    yield _gauge("last_build_seconds", "How long it took.", ["dataset"], lasting)


def _of_publications(state: State) -> Iterator[GaugeMetricFamily]:
    info = [((each.run.dataset, each.run.release, each.run.run_id), 1) for each in state.marts]
    yield _gauge("publication_info", "What is published, as labels.", ["dataset", "release", "run"], info)
    ages = [([each.run.dataset], _seconds(state, each.run.published_at)) for each in state.marts]
    yield _gauge("publication_age_seconds", "Since when that was loaded.", ["dataset"], ages)
    rows = [([each.run.dataset], each.run.rows_loaded) for each in state.marts]
    yield _gauge("publication_rows", "Rows that it loaded.", ["dataset"], rows)
    lasted = [([each.run.dataset], _lasted(each.run)) for each in state.marts]
    yield _gauge("publication_load_seconds", "How long that took.", ["dataset"], lasted)
    built = [
        ((each.marts, each.run.dataset, each.edition.run.release, each.edition.run.run_id), 1)
        for each in state.marts
        if each.edition and each.edition.run
    ]
    yield _gauge("marts_info", "What the marts are of, as labels.", ["marts", "dataset", "release", "run"], built)
    built_ages = [
        ((each.marts, each.run.dataset), _seconds(state, each.edition.built_at)) for each in state.marts if each.edition
    ]
    yield _gauge("marts_age_seconds", "Since when the marts were built.", ["marts", "dataset"], built_ages)
    fresh = [((each.marts, each.run.dataset), each.is_fresh) for each in state.marts]
    yield _gauge("marts_fresh", "Whether the marts are of the published run.", ["marts", "dataset"], fresh)
    stale = [((each.marts, each.run.dataset), _stale_seconds(state, each)) for each in state.marts]
    yield _gauge("marts_stale_seconds", "Since when they are not; 0 if they are.", ["marts", "dataset"], stale)


def checks(state: State, limit: timedelta) -> Iterator[tuple[str, bool, str]]:
    """Yield what was looked at, whether it is well, and a sentence about it.

    Parameters
    ----------
    state : State
        What was seen.
    limit : timedelta
        How long marts may be of another run than the published one.
    """
    for part, fault in state.faults.items():
        yield part, not fault, fault or "answers"
    if state.tally is None:
        return
    oldest = state.tally.oldest_active
    is_late = oldest is not None and state.taken_at - oldest > GRACE
    detail = f"{state.consumers} alive, with {state.workers} workers; {sum(state.tally.slices.values())} slices"
    yield "consumers", bool(state.consumers) or not is_late, f"{detail} of runs in progress"
    for each in state.marts:
        seconds = _stale_seconds(state, each)
        what = f"marts of {each.run.dataset}"
        if each.is_fresh:
            yield what, True, f"of run {each.run.run_id} (release {each.run.release})"
            continue
        why = each.unknown or (each.edition and each.edition.staleness) or "They hold nothing of it."
        yield what, seconds <= limit.total_seconds(), f"stale for {seconds:.0f} s: {why}"


def _seconds(state: State, since: datetime | None) -> float | None:
    return max((state.taken_at - since).total_seconds(), 0) if since else None


def _stale_seconds(state: State, mart: Mart) -> float:
    return 0.0 if mart.is_fresh else _seconds(state, mart.run.shown_at or mart.run.published_at) or 0.0


def _lasted(run: Run) -> float | None:
    return (run.finished_at - run.started_at).total_seconds() if run.finished_at and run.started_at else None
