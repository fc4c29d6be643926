"""A monitoring system sees what the pages show: numbers that Prometheus reads, and red when something is wrong."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request as Asked

from ingest.dashboard import metrics, views
from ingest.dashboard import server as served
from ingest.dashboard.explorer import Explorer
from ingest.errors import TargetUnavailable
from ingest.ledger import BuildState, Ledger, Request, RunState
from ingest.pipeline import consumer
from ingest.settings import Settings
from tests.conftest import ROOT
from tests.fixtures import marts as built
from tests.ingest.conftest import claimed_slice, note_loaded, planned_slice

MakeRequest = Callable[..., Request]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
TABLE = re.compile(r"  \| metric, .*?\n\n", re.DOTALL)
SECRET = "5igned-by-the-publi5her"


@pytest.fixture
def monitor(settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> metrics.Monitor:
    """The monitor of a target, which looks anew each time."""
    monkeypatch.setattr(metrics, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(views, "MARTS_SECONDS", 0.0)
    return metrics.Monitor(settings, ledger, views.Marts(settings))


@pytest.fixture
def published(ledger: Ledger, request_of: MakeRequest) -> str:
    """The published run of GADM, which loaded 8 rows."""
    run_id = ledger.create_run(request_of(), None)
    ledger.set_state(run_id, RunState.PUBLISHED, published_at=ledger.now(), shown_at=ledger.now(), rows_loaded=8)
    return run_id


def numbers(monitor: metrics.Monitor) -> dict[str, dict[tuple[str, ...], float]]:
    """Return what Prometheus reads: of each metric, the number for each set of labels."""
    answer = asyncio.run(monitor.metrics(Asked({"type": "http"})))
    assert answer.headers["content-type"].startswith("text/plain")
    found = text_string_to_metric_families(bytes(answer.body).decode())
    return {
        each.name.removeprefix("boundaries_"): {tuple(row.labels.values()): row.value for row in each.samples}
        for each in found
        if each.documentation
    }


def health(monitor: metrics.Monitor) -> tuple[int, dict[str, str]]:
    """Return the status, and what is said of each thing that is not well."""
    answer = asyncio.run(monitor.health(Asked({"type": "http"})))
    body: dict[str, Any] = json.loads(bytes(answer.body))
    assert (body["status"] == "ok") == (answer.status_code == 200)
    return answer.status_code, {each["what"]: each["detail"] for each in body["checks"] if not each["is_good"]}


def test_an_empty_target_is_well_and_has_numbers(monitor: metrics.Monitor) -> None:
    assert health(monitor) == (200, {})
    assert numbers(monitor)["up"] == {("database",): 1, ("queue",): 1}


def test_the_numbers_are_those_of_the_ledger(
    monitor: metrics.Monitor, ledger: Ledger, published: str, request_of: MakeRequest, settings: Settings
) -> None:
    active = ledger.create_run(request_of("timezones"), None)
    ledger.set_state(active, RunState.PLANNING)
    ledger.create_slices(active, [planned_slice(), planned_slice(), planned_slice()])
    note_loaded(ledger, claimed_slice(ledger, active))
    ledger.note_fault(active, "load", 1, error_type="E", error="e", traceback="t")
    ledger.heartbeat("elsewhere:1", consumer.queue_id(settings), 3)
    failed = ledger.claim_build("gadm", "gadm=x", lambda _earlier: True)
    assert failed is not None
    ledger.end_build(failed, BuildState.FAILED, "no")
    found = numbers(monitor)
    assert found["runs"] == {("gadm", "published"): 1, ("timezones", "loading"): 1}
    assert found["slices"] == {("loaded",): 1, ("queued",): 2}
    assert found["publication_info"] == {("gadm", "4.1", published): 1}
    assert found["publication_rows"] == {("gadm",): 8}
    assert 0 <= found["publication_age_seconds"][("gadm",)] < 60
    assert (found["failed_attempts"], found["consumers"], found["workers"]) == ({(): 1}, {(): 1}, {(): 3})
    assert (found["builds"], found["last_build_failed"]) == ({("gadm", "failed"): 1}, {("gadm",): 1})
    assert found["queue_messages"] == {(): 0}


@pytest.mark.parametrize("is_of_published", [True, False])
def test_marts_are_fresh_or_red_after_a_while(
    monitor: metrics.Monitor, settings: Settings, published: str, is_of_published: bool, ledger: Ledger
) -> None:
    built.write(settings.home)
    run_id = published if is_of_published else "20260101t000000_0000"
    built.write_meta(settings.home, {"gadm": (run_id, "4.0")})
    built.publish(settings.home, {"gadm": (published, "4.1")})
    found = numbers(monitor)
    assert found["marts_info"] == {("gadm", "gadm", "4.0", run_id): 1}
    assert found["marts_fresh"] == {("gadm", "gadm"): int(is_of_published)}
    assert health(monitor) == (200, {})
    monitor._settings = replace(settings, stale_seconds=0.0)
    status, red = health(monitor)
    assert status == (200 if is_of_published else 503)
    if not is_of_published:
        assert published in red["marts of gadm"]


def test_marts_that_are_missing_are_stale(monitor: metrics.Monitor, settings: Settings, published: str) -> None:
    monitor._settings = replace(settings, stale_seconds=0.0)
    assert numbers(monitor)["marts_fresh"] == {("gadm", "gadm"): 0}
    status, red = health(monitor)
    assert (status, list(red)) == (503, ["marts of gadm"])
    assert "They are not built: run `dbt build`." in red["marts of gadm"]


def test_work_that_nobody_takes_is_red(
    monitor: metrics.Monitor, ledger: Ledger, request_of: MakeRequest, settings: Settings, monkeypatch: Any
) -> None:
    ledger.create_run(request_of(), None)
    assert health(monitor)[0] == 200  # its consumer may be starting
    monkeypatch.setattr(metrics, "GRACE", timedelta(seconds=-60))
    assert list(health(monitor)[1]) == ["consumers"]
    ledger.heartbeat("elsewhere:1", consumer.queue_id(settings), 3)
    assert health(monitor)[0] == 200


def test_a_database_that_does_not_answer_is_red_and_tells_no_secret(
    monitor: metrics.Monitor, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise TargetUnavailable(f"connection to postgresql://anna:{SECRET}@db failed, {settings.secret}")

    monkeypatch.setattr(ledger, "now", fails)
    status, red = health(monitor)
    assert (status, list(red)) == (503, ["database"])
    assert SECRET not in red["database"]
    assert settings.secret not in red["database"]
    assert numbers(monitor)["up"] == {("database",): 0, ("queue",): 1}


def test_a_queue_that_does_not_answer_is_red(monitor: metrics.Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_settings: Settings) -> None:
        raise TargetUnavailable("The queue does not answer.")

    monkeypatch.setattr(consumer, "queue_id", fails)
    assert health(monitor) == (503, {"queue": "The queue does not answer."})
    assert numbers(monitor)["up"] == {("database",): 1, ("queue",): 0}


def test_a_database_that_hangs_is_red_in_time(
    monitor: metrics.Monitor, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(ledger, "now", lambda: answers.wait(20))
    monkeypatch.setattr(metrics, "LIMIT_SECONDS", 0.2)

    async def ask() -> int:
        answer = await monitor.health(Asked({"type": "http"}))
        answers.set()  # the thread ends, and the loop with it
        return answer.status_code

    assert asyncio.run(ask()) == 503


def test_however_often_it_is_asked_it_looks_every_few_seconds(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    kept = ledger.tally
    monkeypatch.setattr(ledger, "tally", lambda: looked.append(1) or kept())  # type: ignore[func-returns-value]
    monitor = metrics.Monitor(settings, ledger, views.Marts(settings))
    for _ in range(5):
        health(monitor)
        numbers(monitor)
    assert looked == [1]


def test_the_examples_for_prometheus_name_metrics_that_are_there(monitor: metrics.Monitor, published: str) -> None:
    rules = (ROOT / "docs" / "examples" / "prometheus_rules.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"\bboundaries_(\w+)", rules))
    documented = set(re.findall(r"`(\w+)`", TABLE.search(OPERATIONS)[0]))  # type: ignore[index]
    assert [group["name"] for group in yaml.safe_load(rules)["groups"]] == ["boundaries"]
    answer = asyncio.run(monitor.metrics(Asked({"type": "http"})))
    found = set(re.findall(r"^# HELP boundaries_(\w+)", bytes(answer.body).decode(), re.MULTILINE))
    assert named <= found <= documented


def test_the_dashboard_serves_both(settings: Settings, ledger: Ledger) -> None:
    app: Starlette = served.Dashboard(settings, ledger, Explorer(settings, {})).app(["localhost"])
    assert {"/metrics", "/health"} <= {getattr(route, "path", "") for route in app.routes}
