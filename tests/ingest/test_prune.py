"""What has ended makes room, and a warehouse that is refreshed every day for a year stays as large as it was."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

import pytest

from admin_boundaries import caches
from admin_boundaries.locate.index import HELD
from ingest.ledger import BuildState, Ledger, Request, RunState
from ingest.settings import Settings
from ingest.sources import seal
from tests.fixtures import marts as built
from tests.fixtures.days import DAY, Days, age, records

MakeRequest = Callable[..., Request]


@pytest.fixture
def days(settings: Settings, ledger: Ledger, request_of: MakeRequest) -> Days:
    """A target on its first day."""
    return Days(settings, ledger, request_of)


def test_daily_refreshes_leave_disk_and_ledger_level(days: Days, settings: Settings, ledger: Ledger) -> None:
    sizes: list[tuple[int, int]] = []
    for day in range(1, 17):  # `python -m benchmarks.year` does a whole one
        days.pass_one(day, kept_days=2)
        if day % 8 == 0:
            in_lake = seal.size(settings.lake / "gadm") + seal.size(settings.home / "logs")
            sizes.append((sum(records(ledger).values()), in_lake))
    (rows, disk), (rows_at_end, disk_at_end) = sizes
    assert rows_at_end <= rows
    assert disk_at_end <= disk


def test_records_of_what_ended_long_ago_go_and_of_what_is_stored_or_in_progress_stay(
    days: Days, ledger: Ledger
) -> None:
    old, kept, _second = (days.refresh() for _ in range(3))
    ledger.keep(kept, is_kept=True)
    failed = days.refresh(RunState.FAILED)
    ledger.claim_alert("newer_release", "gadm 5.0")
    days.build(BuildState.FAILED)
    days.build()
    age(ledger, 100 * DAY)
    now = days.refresh()
    days.prune(is_dry=True)
    before = records(ledger)
    _bytes, told = days.prune(is_dry=True)
    assert records(ledger) == before
    days.prune()
    left = {run.run_id for run in ledger.recent_runs()}
    assert {old, failed}.isdisjoint(left)
    assert {kept, now} <= left
    assert [each.state for each in ledger.builds()] == [BuildState.BUILT]
    assert not ledger.claim_alert("newer_release", "gadm 5.0")
    assert not ledger.faults(old)
    assert ledger.slices(old) == []
    after = records(ledger)
    gone = sum(before.values()) - sum(after.values())
    assert told[-1] == f"{gone:,} records in the ledger of what ended more than 90 days ago"


def test_the_latest_run_stays_that_was_asked_for_last_of_those_of_one_second(
    days: Days, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_random = iter(("ffff", "0000"))
    monkeypatch.setattr("ingest.ledger.ledger.secrets.token_hex", lambda _bytes: next(at_random))
    earlier, latest = (days.refresh(RunState.FAILED) for _ in range(2))
    age(ledger, 100 * DAY)
    days.prune()
    assert [run.run_id for run in ledger.recent_runs()] == [latest]
    assert earlier.endswith("ffff")


def test_a_run_that_another_was_added_to_stays_in_the_ledger(days: Days, ledger: Ledger) -> None:
    base = days.refresh()
    added = ledger.create_run(days.request_of(is_added=True), None, base=ledger.run(base))
    ledger.fail(added, "no")
    days.refresh()
    days.refresh()
    age(ledger, 100 * DAY)
    ledger.forget(90 * DAY, set(), is_dry=False)
    left = {run.run_id for run in ledger.recent_runs()}
    assert added not in left or base in left


def test_logs_go_by_age_and_only_those_of_this_project(days: Days, settings: Settings) -> None:
    folder = settings.home / "logs"
    folder.mkdir(parents=True)
    names = ("build-1.log", "consumer-20260101t000000_0000.log", "mine.log", "build-2.log")
    for name in names:
        (folder / name).write_text("x")
        if name != "build-2.log":
            os.utime(folder / name, (0, 0))
    run_id = days.ledger.create_run(days.request_of(), None)
    (folder / f"consumer-{run_id}.log").write_text("x")
    os.utime(folder / f"consumer-{run_id}.log", (0, 0))
    assert days.prune()[0] == 2
    assert {path.name for path in folder.iterdir()} == {"mine.log", "build-2.log", f"consumer-{run_id}.log"}


def test_caches_of_replaced_marts_go_unless_somebody_holds_them(days: Days, settings: Settings) -> None:
    built.write(settings.home)
    built.write_meta(settings.home, {"gadm": ("run-x", "4.1")})
    points, tiles = settings.home / "points" / "embedded" / "marts", settings.home / "map"
    current, older, held, draft = (points / f"3-{name}" for name in (built.BUILD_ID, "older", "held", "x"))
    draft = draft.with_name("making-3-x")
    for each in (current, older, held, draft):
        each.mkdir(parents=True)
        (each / "data").write_bytes(b"12345")
    tiles.mkdir()
    for number, name in enumerate(("old", built.BUILD_ID, "older", "newest")):
        (tiles / f"{name}.pmtiles").write_bytes(b"12345")
        os.utime(tiles / f"{name}.pmtiles", (number, number))
    with (held / HELD).open("a") as file, (points / "lock").open("a") as lock:
        fcntl.flock(file, fcntl.LOCK_SH)
        fcntl.flock(lock, fcntl.LOCK_EX)
        freed, _told = days.prune(caches=lambda: caches.outdated(settings))
    assert freed >= 15
    assert {path.name for path in points.iterdir()} == {current.name, held.name, draft.name, "lock"}
    assert {path.stem for path in tiles.iterdir()} == {built.BUILD_ID, "newest"}
    days.prune(caches=lambda: caches.outdated(settings))
    assert {path.name for path in points.iterdir() if path.is_dir()} == {current.name}


def test_caches_stay_while_it_is_not_known_of_which_build_the_marts_are(settings: Settings) -> None:
    points = settings.home / "points" / "embedded" / "marts" / "3-x"
    points.mkdir(parents=True)
    (settings.home / "warehouse.duckdb").write_bytes(b"this is no database")
    assert list(caches.outdated(settings)) == []
