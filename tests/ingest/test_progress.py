"""What people are told of a run while it goes on, and of what it came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ingest import console
from ingest.ledger import Ledger, Request, RunState, Slice, progress
from ingest.pipeline import runs as loading
from ingest.settings import Settings
from tests.ingest.conftest import claimed_slice, note_loaded, planned_slice, slice_in

NOW = datetime(2026, 11, 25, 12, 0, 10, tzinfo=UTC)
BEGUN = NOW - timedelta(seconds=10)
MakeRequest = Callable[..., Request]


def part(state: str, *, table: str = "gadm_adm_1", rows: int = 10, size: int = 5_000_000, **values: object) -> Slice:
    """Return a slice of 10 rows and 5 MB, unless told otherwise."""
    return slice_in(state, table_name=table, rows_planned=rows, bytes=size, **values)


def test_a_layer_says_rows_rate_and_the_time_that_is_left() -> None:
    rows = [
        part("loaded", rows=30, size=20_000_000, started_at=BEGUN, finished_at=NOW),
        part("running", rows=12, size=40_000_000, started_at=BEGUN),
    ]
    (layer,) = progress.layers(rows, NOW)
    assert (layer.rows, layer.rows_total, layer.slices, layer.running) == (30, 42, 1, 1)
    assert layer.megabytes_per_second == pytest.approx(2.0)
    assert layer.seconds_left == pytest.approx(20.0)
    assert (progress.rate(layer), progress.left(layer)) == ("2.0 MB/s", "20 s left")


def test_before_the_first_slice_is_in_nothing_is_promised() -> None:
    (layer,) = progress.layers([part("running", started_at=BEGUN), part("queued")], NOW)
    assert (progress.rate(layer), progress.left(layer)) == ("", "")


def test_the_rate_of_a_finished_layer_does_not_sink_while_others_go_on() -> None:
    rows = [part("loaded", started_at=BEGUN, finished_at=BEGUN + timedelta(seconds=1))]
    (layer,) = progress.layers(rows, NOW + timedelta(hours=1))
    assert progress.rate(layer) == "5.0 MB/s"
    assert progress.left(layer) == ""


def test_only_slices_that_a_worker_has_are_running() -> None:
    states = ("loaded", "running", "running", "queued", "failed")
    (layer,) = progress.layers([part(state, started_at=BEGUN) for state in states], NOW)
    assert (layer.running, layer.failed, layer.slices, layer.slices_total) == (2, 1, 1, 5)


def test_layers_stand_in_the_order_of_their_names_and_failures_are_counted() -> None:
    rows = [part("failed", table="gadm_adm_2"), part("queued", table="gadm_adm_0")]
    assert [(layer.name, layer.failed) for layer in progress.layers(rows, NOW)] == [
        ("gadm_adm_0", 0),
        ("gadm_adm_2", 1),
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.42, "0.4 s"), (12.4, "12 s"), (59.6, "1:00"), (185, "3:05"), (3723, "1:02:03")]
)
def test_spans_of_time_are_short(seconds: float, shown: str) -> None:
    assert progress.duration(seconds) == shown


def test_without_a_terminal_a_run_is_one_plain_line(ledger: Ledger, request_of: MakeRequest) -> None:
    rows = [part("loaded", started_at=BEGUN, finished_at=NOW), part("queued")]
    run = ledger.run(ledger.create_run(request_of(), None))
    assert progress.line(run, rows, NOW) == (
        "gadm: queued, 1 of 2 slices, 10 of 20 rows, 5 of 10 MB, 0.5 MB/s, 10 s left"
    )


def test_the_summary_is_one_line_that_names_no_path_host_or_address(ledger: Ledger, request_of: MakeRequest) -> None:
    run_id = ledger.create_run(request_of("gadm", "/secret/place/gadm.gpkg"), None)
    ledger.set_state(run_id, RunState.PLANNING, started_at=BEGUN)
    ledger.create_slices(run_id, [planned_slice()])
    note_loaded(ledger, claimed_slice(ledger, run_id))
    ledger.set_state(run_id, RunState.PUBLISHED, finished_at=NOW)
    text = progress.summary(ledger.run(run_id), ledger.slices(run_id), "embedded")
    assert "\n" not in text
    assert text.startswith("gadm 4.1 published | 4 rows | 0.0 MB | 1 of 1 slices | 10 s")
    assert "1 worker |" in text
    assert text.endswith(f"run {run_id}")
    assert "/" not in text.replace("MB/s", "")


def test_the_summary_counts_the_workers_whose_rows_arrived(ledger: Ledger, request_of: MakeRequest) -> None:
    run = ledger.run(ledger.create_run(request_of(), None))
    rows = [part("loaded", worker=f"host:{number}") for number in (1, 2, 2)] + [part("failed", worker="host:3")]
    text = progress.summary(replace(run, started_at=BEGUN, finished_at=NOW), rows, "embedded")
    assert "| 3 of 4 slices |" in text
    assert "| 2 workers |" in text


def test_status_watch_says_when_there_is_nothing_to_follow(
    settings: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    loading.watch(settings, ledger, None, console)
    assert "No run is in progress." in capsys.readouterr().out


def test_status_watch_ends_when_nobody_works_on_the_run_and_says_what_to_do(
    settings: Settings,
    ledger: Ledger,
    request_of: MakeRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.0)
    run_id = ledger.create_run(request_of(), None)
    loading.watch(settings, ledger, None, console)
    assert f"resume {run_id}" in capsys.readouterr().out
