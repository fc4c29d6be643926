"""Work whose holder is gone is noticed and enqueued again; work that somebody holds is left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from ingest.ledger import ledger as runs
from ingest.ledger.ledger import MAX_ATTEMPTS, Ledger, Request
from ingest.pipeline import tasks
from ingest.pipeline.queue import huey
from tests.ingest.conftest import expire_leases, slice_row

MakeRequest = Callable[..., Request]


@pytest.fixture(autouse=True)
def queue() -> Iterator[None]:
    """An empty queue before and after."""
    huey.flush()
    yield
    huey.flush()


@pytest.fixture
def loading(ledger: Ledger, request_of: MakeRequest) -> str:
    """A run with two slices, ready to be loaded; nothing is enqueued."""
    run_id = ledger.create_run(request_of(), ["/data/gadm.gpkg"], None)
    ledger.set_state(run_id, "planning")
    ledger.create_slices(run_id, [slice_row(0), slice_row(1)])
    return run_id


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
    assert {row["state"] for row in ledger.slices(loading)} == {"queued"}


def test_a_slice_that_kills_every_worker_fails_in_the_end(ledger: Ledger, loading: str) -> None:
    for _ in range(MAX_ATTEMPTS):
        assert ledger.claim(loading, 0) is not None
        expire_leases(ledger)
        ledger.requeue_expired(loading)
    row = ledger.slices(loading)[0]
    assert row["state"] == "failed"
    assert f"{MAX_ATTEMPTS} times in a row" in row["error"]


def test_a_file_whose_fetcher_died_is_fetched_by_another(ledger: Ledger, request_of: MakeRequest) -> None:
    run_id = ledger.create_run(request_of("gadm", "/a", "/b"), ["/a", "/b"], None)
    ledger.claim_file(run_id, 0)
    ledger.finish_file(run_id, 0, checksum="abc", size=1, was_cached=False)
    ledger.claim_file(run_id, 1)
    assert not ledger.claim_file(run_id, 1)
    expire_leases(ledger)
    tasks.recover(ledger)
    assert enqueued() == [("fetch_file", (run_id, 1))]


@pytest.mark.parametrize(("state", "task"), [("planning", "plan_run"), ("publishing", "publish_run")])
def test_a_stage_whose_holder_died_is_begun_again(
    ledger: Ledger, request_of: MakeRequest, state: str, task: str
) -> None:
    run_id = ledger.create_run(request_of(), ["/a"], None)
    assert ledger.take_stage(run_id, state, only_from=("queued",))
    assert not ledger.take_stage(run_id, state, only_from=(state,))
    expire_leases(ledger)
    tasks.recover(ledger)
    assert enqueued() == [(task, (run_id, []))]
    assert ledger.take_stage(run_id, state, only_from=(state,))


def test_a_run_whose_slices_are_all_loaded_is_published_though_its_chord_is_lost(ledger: Ledger, loading: str) -> None:
    for number in (0, 1):
        ledger.claim(loading, number)
        with ledger.transaction() as connection:
            connection.execute(ledger.loaded(loading, number, 1, rows_read=4, rows_loaded=4))
    tasks.recover(ledger)
    assert [name for name, _ in enqueued()] == ["publish_run"]


def test_a_lease_is_renewed_for_as_long_as_the_work_lasts(
    ledger: Ledger, loading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "RENEWAL_SECONDS", 0.01)
    ledger.claim(loading, 0)
    with ledger.holding(loading, slice_no=0):
        expire_leases(ledger)
        while ledger.requeue_expired(loading) == 0 and _is_expired(ledger, loading):
            pass
        assert not _is_expired(ledger, loading)


def _is_expired(ledger: Ledger, run_id: str) -> bool:
    query = sa.select(runs.slices.c.slice_no).where(
        runs.slices.c.run_id == run_id, runs.slices.c.state == "running", runs.slices.c.lease_until < ledger.clock()
    )
    with ledger.transaction() as connection:
        return connection.execute(query).first() is not None


def test_an_ended_run_is_never_woken(ledger: Ledger, loading: str) -> None:
    ledger.fail(loading, "given up")
    tasks.recover(ledger)
    assert enqueued() == []
