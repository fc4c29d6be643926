"""The ledger: one run of a dataset at a time, one owner of a slice, and times that know their zone."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from ingest.errors import RunInProgress, RunNotFound, TargetUnavailable
from ingest.ledger import ledger as runs
from ingest.ledger.ledger import ACTIVE, ENDED, Ledger, Request
from ingest.settings import Settings
from tests.ingest.conftest import expire_leases, slice_row

MakeRequest = Callable[..., Request]


@pytest.fixture
def loading(ledger: Ledger, request_of: MakeRequest) -> str:
    """A run with two slices, ready to be loaded."""
    run_id = ledger.create_run(request_of(), ["/data/gadm.gpkg"], None)
    ledger.set_state(run_id, "planning")
    ledger.create_slices(run_id, [slice_row(0), slice_row(1)])
    return run_id


def note(ledger: Ledger, run_id: str, slice_no: int, attempt: int) -> bool:
    """Note a slice as loaded; False when somebody else holds it."""
    with ledger.transaction() as connection:
        return (
            connection.execute(ledger.loaded(run_id, slice_no, attempt, rows_read=4, rows_loaded=4)).first() is not None
        )


def test_a_new_run_is_queued_with_its_files(ledger: Ledger, request_of: MakeRequest) -> None:
    run_id = ledger.create_run(request_of("gadm", "/a", "/b"), ["/a", "/b"], "identity")
    run = ledger.run(run_id)
    assert (run["state"], run["source"], run["identity"], run["scope"]) == ("queued", "/a /b", "identity", "custom")
    assert [(row["file_no"], row["source"], row["state"]) for row in ledger.files(run_id)] == [
        (0, "/a", "queued"),
        (1, "/b", "queued"),
    ]
    assert re.fullmatch(r"\d{8}t\d{6}_[0-9a-f]{4}", run_id)


def test_a_second_run_of_a_dataset_is_refused_with_the_id_of_the_first(ledger: Ledger, request_of: MakeRequest) -> None:
    first = ledger.create_run(request_of(), ["/a"], None)
    with pytest.raises(RunInProgress, match=f"Run {first} of gadm has not ended.*resume {first}"):
        ledger.create_run(request_of(), ["/a"], None)
    assert len(ledger.recent_runs()) == 1


def test_another_dataset_runs_beside_it(ledger: Ledger, request_of: MakeRequest) -> None:
    ledger.create_run(request_of("gadm"), ["/a"], None)
    ledger.create_run(request_of("timezones"), ["/b"], None)
    assert {row["dataset"] for row in ledger.recent_runs()} == {"gadm", "timezones"}


@pytest.mark.parametrize("state", ENDED)
def test_a_run_that_has_ended_makes_room_for_the_next(ledger: Ledger, request_of: MakeRequest, state: str) -> None:
    run_id = ledger.create_run(request_of(), ["/a"], None)
    assert ledger.set_state(run_id, state)
    assert ledger.active_run("gadm") is None
    assert ledger.run(run_id)["finished_at"] is not None
    ledger.create_run(request_of(), ["/a"], None)


def test_of_two_commands_at_once_only_one_gets_a_run(ledger: Ledger, request_of: MakeRequest) -> None:
    made: list[str] = []

    def start() -> None:
        try:
            made.append(ledger.create_run(request_of(), ["/a"], None))
        except RunInProgress:
            made.append("refused")

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6
    assert made.count("refused") == 5


def test_a_state_is_only_left_from_the_states_that_were_named(ledger: Ledger, loading: str) -> None:
    assert not ledger.set_state(loading, "planning", only_from=("queued", "fetching"))
    assert ledger.run(loading)["state"] == "loading"
    assert ledger.set_state(loading, "failed", error="why")
    assert not ledger.set_state(loading, "publishing")
    ledger.fail(loading, "another reason")
    assert ledger.run(loading)["error"] == "why"


def test_two_runs_of_a_dataset_cannot_both_be_published(ledger: Ledger, request_of: MakeRequest) -> None:
    for number in range(2):
        run_id = ledger.create_run(request_of(), ["/a"], None)
        if number:
            with pytest.raises(sa.exc.IntegrityError):
                ledger.set_state(run_id, "published")
        else:
            ledger.set_state(run_id, "published")
    assert ACTIVE[0] == ledger.run(run_id)["state"]


def test_a_plan_is_noted_once(ledger: Ledger, loading: str) -> None:
    assert ledger.run(loading)["state"] == "loading"
    assert not ledger.create_slices(loading, [slice_row(7)])
    assert [(row["slice_no"], row["state"], row["attempts"]) for row in ledger.slices(loading)] == [
        (0, "queued", 0),
        (1, "queued", 0),
    ]


def test_a_claim_says_who_works_and_which_attempt_it_is(ledger: Ledger, loading: str) -> None:
    claimed = ledger.claim(loading, 1)
    assert claimed is not None
    row, attempt = claimed
    assert (row["slice_no"], row["state"], row["worker"], attempt) == (1, "running", runs.worker_name(), 1)
    assert ledger.slices(loading)[0]["state"] == "queued"


def test_the_last_claimant_of_a_slice_wins(ledger: Ledger, loading: str) -> None:
    assert ledger.claim(loading, 0)[1] == 1  # type: ignore[index]
    expire_leases(ledger)
    assert ledger.claim(loading, 0)[1] == 2  # type: ignore[index]
    assert not note(ledger, loading, 0, attempt=1)
    assert note(ledger, loading, 0, attempt=2)
    assert not note(ledger, loading, 0, attempt=2)
    assert ledger.counts(loading) == {"gadm_adm_1": 4}


def test_a_loaded_slice_is_not_claimed_again(ledger: Ledger, loading: str) -> None:
    ledger.claim(loading, 0)
    note(ledger, loading, 0, 1)
    assert ledger.claim(loading, 0) is None
    assert ledger.claim(loading, 99) is None


@pytest.mark.parametrize("state", ["failed", "publishing", "published"])
def test_no_slice_of_a_run_that_is_not_loading_is_claimed(ledger: Ledger, loading: str, state: str) -> None:
    ledger.set_state(loading, state)
    assert ledger.claim(loading, 0) is None


@pytest.mark.parametrize(("will_retry", "state"), [(True, "queued"), (False, "failed")])
def test_a_slice_that_could_not_be_loaded_says_why(ledger: Ledger, loading: str, will_retry: bool, state: str) -> None:
    ledger.claim(loading, 0)
    ledger.release(loading, 0, 1, ValueError("the reason"), will_retry=will_retry)
    row = ledger.slices(loading)[0]
    assert (row["state"], row["error"]) == (state, "the reason")
    assert row["finished_at"] >= row["started_at"]
    assert ledger.claim(loading, 0) is not None
    assert ledger.slices(loading)[0]["error"] is None


def test_an_old_claimant_cannot_fail_the_slice_of_a_new_one(ledger: Ledger, loading: str) -> None:
    ledger.claim(loading, 0)
    expire_leases(ledger)
    ledger.claim(loading, 0)
    ledger.release(loading, 0, 1, ValueError("late"), will_retry=False)
    assert ledger.slices(loading)[0]["state"] == "running"


def test_a_slice_never_ends_before_it_began(ledger: Ledger, loading: str) -> None:
    ledger.claim(loading, 0)
    note(ledger, loading, 0, 1)
    row = ledger.slices(loading)[0]
    assert row["finished_at"] >= row["started_at"]


def test_the_end_of_a_slice_on_postgresql_is_not_the_beginning_of_its_transaction() -> None:
    statement = Ledger.loaded("run", 0, 1, rows_read=1, rows_loaded=1)
    text = str(statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))  # type: ignore[no-untyped-call]
    assert not re.search(r"current_timestamp|now\(\)", text, re.IGNORECASE)


def test_all_times_know_their_zone(ledger: Ledger, request_of: MakeRequest) -> None:
    loading = ledger.create_run(request_of(), ["/data/gadm.gpkg"], None)
    ledger.claim_file(loading, 0)
    ledger.set_state(loading, "planning")
    ledger.create_slices(loading, [slice_row(0), slice_row(1)])
    ledger.claim(loading, 0)
    note(ledger, loading, 0, 1)
    ledger.set_state(loading, "published", published_at=datetime.now(UTC))
    rows = [ledger.run(loading), *ledger.slices(loading), *ledger.files(loading)]
    times = [value for row in rows for value in row.values() if isinstance(value, datetime)]
    assert len(times) >= 8
    assert {time.utcoffset() for time in times} == {timedelta(0)}


def test_a_file_goes_from_running_to_fetched_or_failed(ledger: Ledger, request_of: MakeRequest) -> None:
    run_id = ledger.create_run(request_of("gadm", "/a", "/b"), ["/a", "/b"], None)
    assert ledger.claim_file(run_id, 0)
    assert (ledger.run(run_id)["state"], ledger.files(run_id)[0]["state"]) == ("fetching", "running")
    ledger.finish_file(run_id, 0, checksum="abc", size=7, was_cached=True)
    ledger.release_file(run_id, 1, TargetUnavailable("gone.", "Look."), will_retry=False)
    done, failed = ledger.files(run_id)
    assert (done["state"], done["checksum"], done["bytes"], done["was_cached"]) == ("fetched", "abc", 7, True)
    assert (failed["state"], failed["error"]) == ("failed", "gone. Look.")


def test_a_run_that_is_not_known_is_told(ledger: Ledger) -> None:
    with pytest.raises(RunNotFound, match="There is no run 'x'"):
        ledger.run("x")


def test_runs_are_listed_newest_first(ledger: Ledger, request_of: MakeRequest) -> None:
    made = []
    for _ in range(3):
        made.append(ledger.create_run(request_of(), ["/a"], None))
        ledger.fail(made[-1], "no")
    assert [row["run_id"] for row in ledger.recent_runs(2)] == made[::-1][:2]


def test_a_consumer_lives_as_long_as_it_beats(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.beat("queue", 3)
    ledger.beat("queue", 3)
    assert [row["consumer"] for row in ledger.live_consumers("queue")] == [runs.worker_name()]
    assert not ledger.live_consumers("another queue")
    later = datetime.now(UTC) + runs.CONSUMER_LEASE * 2
    monkeypatch.setattr(ledger, "clock", lambda ahead=timedelta(): sa.literal(later + ahead, runs.UtcTime))
    assert not ledger.live_consumers("queue")
    ledger.beat("queue", 3)
    ledger.stop_beating()
    assert not ledger.live_consumers("queue")


def test_a_request_survives_the_way_through_json(request_of: MakeRequest) -> None:
    for request in (request_of("gadm", "/a", "/b", levels=(0, 2)), request_of("timezones", variant="now, with oceans")):
        assert Request.from_json(request.to_json()) == request


def test_two_requests_are_the_same_only_when_all_of_them_is(request_of: MakeRequest) -> None:
    base = request_of().identity(["a"])
    assert base == request_of().identity(["a"])
    assert base != request_of(engine="geopandas").identity(["a"])
    assert base != request_of(levels=(0,)).identity(["a"])
    assert base != request_of().identity(["b"])
    assert request_of().identity([None]) is None


def test_tables_can_be_created_again_without_loss(ledger: Ledger, loading: str) -> None:
    ledger.create_tables()
    assert len(ledger.slices(loading)) == 2


def test_a_home_that_cannot_be_written_is_told(settings: Settings) -> None:
    ledger = Ledger(settings)
    (settings.home / "ledger.sqlite").mkdir()
    with pytest.raises(TargetUnavailable, match=r"ledger\.sqlite does not answer"):
        ledger.create_tables()
