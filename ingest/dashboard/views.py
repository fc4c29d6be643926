"""What the pages of the dashboard show: rows of the ledger and counts of the queue, made into sections of HTML.

Everything is read anew for every look: the ledger is the truth, and this process remembers nothing of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import jinja2
import sqlalchemy as sa
from huey.exceptions import HueyException
from redis.exceptions import RedisError
from sqlalchemy.engine import RowMapping

from ingest import __version__, catalog
from ingest.errors import TargetUnavailable
from ingest.ledger import progress
from ingest.ledger.ledger import ACTIVE, ENDED, Ledger, consumers, files, runs, slices
from ingest.pipeline import consumer, faults
from ingest.pipeline.queue import huey
from ingest.settings import Settings

RECENT_RUNS = 20
CHART_BINS, BIN = 60, timedelta(seconds=10)  # ten minutes
RATE_SPAN = timedelta(seconds=60)

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
        Its template.
    settings : Settings
        Of the target.
    **values
        What the template asks for; ``sections`` are HTML, everything else is escaped.
    """
    where = settings.postgres.place if settings.postgres else str(settings.home)
    return _templates.get_template(name).render(target=settings.target, where=where, version=__version__, **values)


def section(name: str, **values: Any) -> str:
    """Return a part of a page."""
    return _templates.get_template(name).render(**values)


def plain(settings: Settings, text: str | None) -> str:
    """Return a text that may be shown: without secrets, and without queries of addresses."""
    return faults.blotted(text or "", faults.secrets_of(settings))


def overview(settings: Settings, ledger: Ledger, token: str) -> dict[str, str]:
    """Return the sections of the first page.

    Parameters
    ----------
    settings, ledger
        Of the target.
    token : str
        For the buttons; without one there are none.

    Returns
    -------
    dict of str to str
        HTML by the section's name.
    """
    now = progress.now(ledger)
    with ledger.transaction() as connection:
        recent = _all(connection, runs.select().order_by(runs.c.requested_at.desc()).limit(RECENT_RUNS))
        active = _all(connection, runs.select().where(runs.c.state.in_(ACTIVE)).order_by(runs.c.requested_at))
        parts = {run["run_id"]: _slices(connection, run["run_id"]) for run in active}
        done = _all(connection, _finished_since(now - CHART_BINS * BIN))
        failed = faults.latest(connection)
        in_hand = _in_hand(connection, [run["run_id"] for run in active]) if active else []
        waiting = sum(row["state"] == "queued" for rows in parts.values() for row in rows)
    queue, crew = _queue(settings, ledger, now)
    shared = {"now": now, "plain": lambda text: plain(settings, text), "token": token, "page": "overview"}
    running = [_run_card(run, parts[run["run_id"]], now) for run in active]
    return {
        "state": section(
            "state.html",
            queue=queue,
            crew=crew,
            waiting=waiting,
            speed=_speed(done, now),
            chart=_chart(done, now),
            active=len(active),
            **shared,
        ),
        "running": section("running.html", cards=running, crew=crew, **shared),
        "published": section("published.html", datasets=_published(ledger), **shared),
        "workers": section("workers.html", crew=crew, in_hand=in_hand, **shared),
        "errors": section("errors.html", errors=failed, with_run=True, **shared),
        "runs": section("runs.html", runs=recent, **shared),
    }


def run(settings: Settings, ledger: Ledger, run_id: str, token: str) -> dict[str, str]:
    """Return the sections of a run's page.

    Raises
    ------
    RunNotFound
        When there is no such run.
    """
    now, row = progress.now(ledger), ledger.run(run_id)
    with ledger.transaction() as connection:
        parts = _slices(connection, run_id)
        sources = _all(connection, files.select().where(files.c.run_id == run_id).order_by(files.c.file_no))
        failed = faults.latest(connection, run_id, limit=50)
    _, crew = _queue(settings, ledger, now)
    shared = {"now": now, "plain": lambda text: plain(settings, text), "token": token, "page": "run"}
    summary = progress.summary(row, parts, settings.target) if row["state"] in ENDED else None
    return {
        "head": section("head.html", card=_run_card(row, parts, now), summary=summary, crew=crew, **shared),
        "errors": section("errors.html", errors=failed, with_run=False, **shared),
        "files": section("files.html", files=sources, **shared),
        "slices": section("slices.html", slices=parts, **shared),
    }


def _all(connection: sa.Connection, query: sa.Select[Any]) -> Sequence[RowMapping]:
    return connection.execute(query).mappings().all()


def _slices(connection: sa.Connection, run_id: str) -> Sequence[RowMapping]:
    """Return the slices of a run without their `spec`, which nobody reads here."""
    columns = [column for column in slices.c if column.name != "spec"]
    return _all(connection, sa.select(*columns).where(slices.c.run_id == run_id).order_by(slices.c.slice_no))


def _finished_since(moment: datetime) -> sa.Select[Any]:
    query = sa.select(slices.c.finished_at, slices.c.rows_loaded, slices.c.bytes)
    return query.where(slices.c.state == "loaded", slices.c.finished_at > moment)


def _in_hand(connection: sa.Connection, run_ids: Sequence[str]) -> list[RowMapping]:
    """Return what processes hold at the moment: slices and files, with their leases."""
    found: list[RowMapping] = []
    for table, number, what in (
        (files, files.c.file_no, files.c.source),
        (slices, slices.c.slice_no, slices.c.table_name),
    ):
        columns = table.c.run_id, number.label("number"), what.label("what"), table.c.worker, table.c.lease_until
        query = sa.select(*columns, table.c.started_at, sa.literal(table.name).label("kind"))
        found.extend(_all(connection, query.where(table.c.run_id.in_(run_ids), table.c.state == "running")))
    return sorted(found, key=lambda row: str(row["worker"]))


def _queue(settings: Settings, ledger: Ledger, now: datetime) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return Huey's own counts, and every consumer that was seen in the last day with whether it lives."""
    try:
        mine = consumer.queue_id(settings)
        counts: dict[str, Any] = {"pending": huey.pending_count(), "scheduled": huey.scheduled_count(), "fault": ""}
    except (TargetUnavailable, RedisError, HueyException) as error:
        mine, counts = "", {"pending": None, "scheduled": None, "fault": plain(settings, str(error))}
    live = {row["consumer"] for row in ledger.live_consumers(mine)} if mine else set()
    with ledger.transaction() as connection:
        known = _all(connection, consumers.select().order_by(consumers.c.heartbeat_at.desc()))
    crew = [
        {
            **row,
            "is_alive": row["consumer"] in live,
            "is_elsewhere": bool(mine) and row["queue_id"] != mine,
            "silent": max((now - row["heartbeat_at"]).total_seconds(), 0.0),
        }
        for row in known
    ]
    return counts, crew


def _published(ledger: Ledger) -> list[dict[str, Any]]:
    names = catalog.load()
    return [{"name": name, "now": ledger.published_run(name), "before": ledger.superseded_run(name)} for name in names]


def _run_card(row: RowMapping, parts: Sequence[RowMapping], now: datetime) -> dict[str, Any]:
    return {
        "run": row,
        "is_active": row["state"] in ACTIVE,
        "layers": progress.layers(parts, now),
        "total": progress.total(parts, now),
    }


def _speed(done: Sequence[RowMapping], now: datetime) -> dict[str, float]:
    """Return rows and megabytes per second over the last minute."""
    last = [row for row in done if row["finished_at"] > now - RATE_SPAN]
    seconds = RATE_SPAN.total_seconds()
    return {
        "rows": sum(row["rows_loaded"] or 0 for row in last) / seconds,
        "megabytes": sum(row["bytes"] for row in last) / 1e6 / seconds,
    }


def _chart(done: Sequence[RowMapping], now: datetime) -> dict[str, Any]:
    """Return megabytes per second in every ten seconds of the last ten minutes, oldest first, with the highest."""
    bins = [0.0] * CHART_BINS
    for row in done:
        back = int((now - row["finished_at"]) / BIN)
        if 0 <= back < CHART_BINS:
            bins[-1 - back] += row["bytes"] / 1e6 / BIN.total_seconds()
    return {"bins": bins, "highest": max(bins)}


def _ago(seconds: float) -> str:
    return (
        "now" if seconds < 1.5 else f"{round(seconds)} s ago" if seconds < 60 else f"{progress.duration(seconds)} ago"
    )


def _seconds(row: Mapping[str, Any], now: datetime) -> str:
    """Return how long a thing took, or has taken so far."""
    if not row["started_at"]:
        return ""
    end = row.get("finished_at") or now
    return progress.duration(max((end - row["started_at"]).total_seconds(), 0.0))


_filters: dict[str, Callable[..., str]] = {
    "clock": lambda value: "" if value is None else f"{value.astimezone():%Y-%m-%d %H:%M:%S}",
    "number": lambda value: "" if value is None else f"{value:,}",
    "megabytes": lambda value: "" if value is None else f"{value / 1e6:,.1f}",
    "ago": _ago,
    "duration": progress.duration,
}
_templates.filters |= _filters
_templates.globals |= {"seconds_of": _seconds, "rate": progress.rate, "left": progress.left}
