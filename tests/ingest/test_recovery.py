"""Work whose holder is gone is noticed and enqueued again; work that somebody holds is left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from ingest import sinks
from ingest.ledger import Ledger, Request, RunState, tables
from ingest.ledger import ledger as runs
from ingest.ledger.ledger import MAX_ATTEMPTS
from ingest.pipeline import signed_addresses, steps, tasks
from ingest.pipeline.queue import huey
from ingest.settings import Settings
from tests.ingest.conftest import an_hour_ahead, claimed_slice, expire_leases, note_loaded

MakeRequest = Callable[..., Request]


@pytest.fixture(autouse=True)
def queue() -> Iterator[None]:
    """An empty queue before and after."""
    huey.flush()
    yield
    huey.flush()


def enqueued() -> list[tuple[str, tuple[object, ...]]]:
    """Return the tasks in the queue: name and what they are about."""
    return sorted((task.name, task.args[:2]) for task in huey.pending())


def test_messages_that_the_queue_has_forgotten_are_sent_again(ledger: Ledger, loading: str) -> None:
    tasks.recover(ledger)
    assert enqueued() == [("load_slice", (loading, 0)), ("load_slice", (loading, 1))]


def test_a_queue_that_still_has_messages_is_left_to_itself(ledger: Ledger, loading: str) -> None:
    tasks.recover(ledger)
    tasks.recover(ledger)
    assert len(huey.pending()) == 2


def test_a_slice_that_somebody_holds_is_left_alone(ledger: Ledger, loading: str) -> None:
    ledger.claim(loading, 0)
    tasks.recover(ledger)
    assert enqueued() == [("load_slice", (loading, 1))]


def test_a_slice_whose_holder_died_is_handed_to_another(ledger: Ledger, loading: str) -> None:
    for number in (0, 1):
        ledger.claim(loading, number)
    tasks.recover(ledger)
    assert enqueued() == []
    expire_leases(ledger)
    tasks.recover(ledger)
    assert enqueued() == [("load_slice", (loading, 0)), ("load_slice", (loading, 1))]
    assert {part.state for part in ledger.slices(loading)} == {"queued"}


def test_the_work_of_a_dead_worker_does_not_wait_until_the_queue_is_empty(ledger: Ledger, loading: str) -> None:
    tasks.recover(ledger)
    ledger.claim(loading, 1)
    expire_leases(ledger)
    tasks.recover(ledger)
    assert enqueued().count(("load_slice", (loading, 1))) == 2


def test_a_slice_that_kills_every_worker_fails_in_the_end(ledger: Ledger, loading: str) -> None:
    for _ in range(MAX_ATTEMPTS):
        assert ledger.claim(loading, 0) is not None
        expire_leases(ledger)
        ledger.requeue_expired(loading)
    part = ledger.slices(loading)[0]
    assert part.state == "failed"
    assert f"{MAX_ATTEMPTS} times in a row" in (part.error or "")


def test_a_file_whose_fetcher_died_is_fetched_by_another(ledger: Ledger, request_of: MakeRequest) -> None:
    run_id = ledger.create_run(request_of("gadm", "/a", "/b"), None)
    first = ledger.claim_file(run_id, 0)
    assert first is not None
    ledger.finish_file(first, checksum="abc", size=1, was_cached=False, source="/a")
    ledger.claim_file(run_id, 1)
    assert not ledger.claim_file(run_id, 1)
    expire_leases(ledger)
    tasks.recover(ledger)
    assert enqueued() == [("fetch_file", (run_id, 1))]


def test_a_run_whose_files_are_all_there_is_planned_though_its_chord_is_lost(
    ledger: Ledger, request_of: MakeRequest
) -> None:
    run_id = ledger.create_run(request_of(), None)
    file = ledger.claim_file(run_id, 0)
    assert file is not None
    ledger.finish_file(file, checksum="abc", size=1, was_cached=False, source="/a")
    tasks.recover(ledger)
    assert [name for name, _ in enqueued()] == ["plan_run"]


def test_addresses_of_ended_runs_are_forgotten_once_nothing_is_left_to_do(ledger: Ledger, loading: str) -> None:
    key = f"{signed_addresses.PREFIX}{loading}"
    signed_addresses.hand_over(loading, ["https://host/gadm.gpkg?signature=x"])
    tasks.recover(ledger)
    assert huey.storage.has_data_for_key(key)
    ledger.fail(loading, "no")
    huey.flush()
    signed_addresses.hand_over(loading, ["https://host/gadm.gpkg?signature=x"])
    tasks.recover(ledger)
    assert not huey.storage.has_data_for_key(key)


@pytest.mark.parametrize(("state", "task"), [(RunState.PLANNING, "plan_run"), (RunState.PUBLISHING, "publish_run")])
def test_a_stage_whose_holder_died_is_begun_again(
    ledger: Ledger, request_of: MakeRequest, state: RunState, task: str
) -> None:
    run_id = ledger.create_run(request_of(), None)
    assert ledger.claim_stage(run_id, state, only_from=(RunState.QUEUED,))
    assert not ledger.claim_stage(run_id, state, only_from=(state,))
    expire_leases(ledger)
    tasks.recover(ledger)
    assert enqueued() == [(task, (run_id, []))]
    assert ledger.claim_stage(run_id, state, only_from=(state,))


def test_a_run_whose_slices_are_all_loaded_is_published_though_its_chord_is_lost(ledger: Ledger, loading: str) -> None:
    for number in (0, 1):
        note_loaded(ledger, claimed_slice(ledger, loading, number))
    tasks.recover(ledger)
    assert [name for name, _ in enqueued()] == ["publish_run"]


def test_a_lease_is_renewed_for_as_long_as_the_work_lasts(
    ledger: Ledger, loading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "RENEWAL_SECONDS", 0.01)
    ledger.claim(loading, 0)
    with ledger.renewing(loading, slice_no=0):
        expire_leases(ledger)
        while ledger.requeue_expired(loading) == 0 and _is_expired(ledger, loading):
            pass
        assert not _is_expired(ledger, loading)


def test_a_lease_from_before_the_clock_was_set_back_is_over(
    ledger: Ledger, request_of: MakeRequest, loading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    another = ledger.create_run(request_of("timezones"), None)
    with monkeypatch.context() as ahead:
        ahead.setattr(ledger, "clock", an_hour_ahead)
        ledger.claim(loading, 0)
        ledger.claim_stage(another, RunState.PLANNING, only_from=(RunState.QUEUED,))
    assert ledger.claim_stage(another, RunState.PLANNING, only_from=(RunState.PLANNING,))
    assert ledger.requeue_expired(loading) == 1
    assert ledger.claim(loading, 0) is not None
    assert ledger.requeue_expired(loading) == 0


def test_a_consumer_that_died_before_the_clock_was_set_back_is_not_relied_on(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as ahead:
        ahead.setattr(ledger, "clock", an_hour_ahead)
        ledger.heartbeat("another.host:1", "queue", 3)
        assert len(ledger.live_consumers("queue")) == 1
    assert ledger.live_consumers("queue") == []


def _is_expired(ledger: Ledger, run_id: str) -> bool:
    query = sa.select(tables.slices.c.slice_no).where(
        tables.slices.c.run_id == run_id,
        tables.slices.c.state == "running",
        tables.slices.c.lease_until < ledger.clock(),
    )
    with ledger.transaction() as connection:
        return connection.execute(query).first() is not None


@pytest.mark.parametrize("stage", [RunState.PLANNING, RunState.PUBLISHING])
def test_a_stage_that_kills_every_worker_fails_the_run_in_the_end(
    ledger: Ledger, request_of: MakeRequest, stage: RunState
) -> None:
    run_id = ledger.create_run(request_of(), None)
    for _ in range(MAX_ATTEMPTS):
        assert ledger.run(run_id).state.is_active
        assert ledger.claim_stage(run_id, stage, only_from=(RunState.QUEUED, stage))
        expire_leases(ledger)
        tasks.recover(ledger)
    failed = ledger.run(run_id)
    assert failed.state == RunState.FAILED
    assert failed.error == f"{stage}: its worker died or lost the database, {MAX_ATTEMPTS} times in a row"


def test_a_worker_whose_run_was_abandoned_drops_what_it_was_doing(
    ledger: Ledger, loading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = threading.Event()
    monkeypatch.setattr(runs, "RENEWAL_SECONDS", 0.01)
    monkeypatch.setattr(Ledger, "on_failed", staticmethod(dropped.set))
    claimed_slice(ledger, loading, 0)
    with ledger.renewing(loading, slice_no=0):
        assert not dropped.wait(0.1)
        ledger.fail(loading, "abandoned")
        assert dropped.wait(60)


def test_a_run_whose_files_keep_a_worker_planning_for_ever_fails_and_the_worker_drops_it(
    settings: Settings, ledger: Ledger, request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped, run_id = threading.Event(), ledger.create_run(request_of(), None)
    monkeypatch.setattr(runs, "RENEWAL_SECONDS", 0.01)
    monkeypatch.setattr(Ledger, "on_failed", staticmethod(dropped.set))
    monkeypatch.setattr(steps, "_chosen", lambda *_: [dropped.wait(60)])
    monkeypatch.setattr(steps, "_planned", lambda *_: ["a slice"])
    monkeypatch.setattr(sinks.get(settings).__class__, "prepare", lambda *_: None)
    steps.plan_slices(replace(settings, planning_seconds=0.05), ledger, ledger.run(run_id), [])
    assert dropped.is_set()
    failed = ledger.run(run_id)
    assert failed.state == RunState.FAILED
    assert "took longer than 0 s to open and count" in str(failed.error)


def test_a_worker_whose_run_is_published_goes_on_with_the_cleanup(
    ledger: Ledger, loading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = threading.Event()
    monkeypatch.setattr(runs, "RENEWAL_SECONDS", 0.01)
    monkeypatch.setattr(Ledger, "on_failed", staticmethod(dropped.set))
    with ledger.renewing(loading):
        ledger.set_state(loading, RunState.PUBLISHED)
        assert not dropped.wait(0.1)


def test_a_lease_outlives_whatever_keeps_it_from_being_renewed_once(
    ledger: Ledger, loading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed_slice(ledger, loading, 0)
    transaction, failures, calls = ledger.transaction, [KeyError("x"), OSError("read-only")], [0]
    renewed = threading.Event()

    def failing() -> object:
        calls[0] += 1
        if failures:
            raise failures.pop()
        if calls[0] > 3:  # the one before has ended
            renewed.set()
        return transaction()

    monkeypatch.setattr(runs, "RENEWAL_SECONDS", 0.01)
    expire_leases(ledger)
    monkeypatch.setattr(ledger, "transaction", failing)
    with ledger.renewing(loading, slice_no=0):
        assert renewed.wait(60)
    assert ledger.requeue_expired(loading) == 0


def test_an_ended_run_is_never_woken(ledger: Ledger, loading: str) -> None:
    ledger.fail(loading, "abandoned")
    tasks.recover(ledger)
    assert enqueued() == []
