"""The ledger: one run of a dataset at a time, one owner of a slice, and times that know their zone."""

from __future__ import annotations

import re
import resource
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from ingest.errors import DiskFull, RunInProgress, RunNotFound, TargetUnavailable
from ingest.ledger import Ledger, Request, RunState, records, tables
from ingest.ledger import ledger as runs
from ingest.settings import Settings
from tests.ingest.conftest import claimed_slice, expire_leases, note_loaded, planned_slice

MakeRequest = Callable[..., Request]


def test_a_new_run_is_queued_with_its_files(ledger: Ledger, request_of: MakeRequest) -> None:
    run_id = ledger.create_run(request_of("gadm", "/a", "/b"), "identity")
    run = ledger.run(run_id)
    assert (run.state, run.source, run.identity, run.scope) == ("queued", "/a /b", "identity", "custom")
    assert [(file.file_no, file.source, file.state) for file in ledger.files(run_id)] == [
        (0, "/a", "queued"),
        (1, "/b", "queued"),
    ]
    assert re.fullmatch(r"\d{8}t\d{6}_[0-9a-f]{4}", run_id)


def test_a_second_run_of_a_dataset_is_refused_with_the_id_of_the_first(ledger: Ledger, request_of: MakeRequest) -> None:
    first = ledger.create_run(request_of(), None)
    with pytest.raises(RunInProgress, match=f"Run {first} of gadm has not ended.*resume {first}"):
        ledger.create_run(request_of(), None)
    assert len(ledger.recent_runs()) == 1


def test_runs_of_one_second_that_draw_the_same_id_draw_again(
    ledger: Ledger, request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Frozen(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2026, 1, 1, tzinfo=tz)

    drawn = iter(("aaaa", "aaaa", "bbbb", "bbbb", "cccc", "aaaa", "dddd"))
    monkeypatch.setattr(runs, "datetime", Frozen)
    monkeypatch.setattr("ingest.ledger.ledger.secrets.token_hex", lambda _bytes: next(drawn))
    handed: list[str] = []
    ledger.create_run(request_of("gadm"), None, handed.append)
    ledger.create_run(request_of("timezones"), None, handed.append)
    ledger.note_unchanged(request_of("tiger"), "identity")
    with pytest.raises(RunInProgress, match="_aaaa of gadm has not ended"):
        ledger.create_run(request_of("gadm"), None, handed.append)
    assert [run_id[-4:] for run_id in handed] == ["aaaa", "bbbb"]
    assert sorted(run.run_id[-4:] for run in ledger.recent_runs()) == ["aaaa", "bbbb", "cccc"]
    assert len(ledger.files(handed[1])) == 1


def test_a_ledger_to_which_nothing_can_be_written_is_told_at_once_with_what_to_free(
    ledger: Ledger, request_of: MakeRequest
) -> None:
    run_id = ledger.create_run(request_of(), None)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(DiskFull, match=r"cannot be written: .*ulimit -f.*resume"):
            ledger.try_to_write(run_id)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    ledger.try_to_write(run_id)
    assert ledger.run(run_id).state == RunState.QUEUED


def test_another_dataset_runs_beside_it(ledger: Ledger, request_of: MakeRequest) -> None:
    ledger.create_run(request_of("gadm"), None)
    ledger.create_run(request_of("timezones"), None)
    assert {run.dataset for run in ledger.recent_runs()} == {"gadm", "timezones"}


@pytest.mark.parametrize("state", [state for state in RunState if state.has_ended])
def test_a_run_that_has_ended_makes_room_for_the_next(ledger: Ledger, request_of: MakeRequest, state: RunState) -> None:
    run_id = ledger.create_run(request_of(), None)
    assert ledger.set_state(run_id, state)
    assert ledger.active_run("gadm") is None
    assert ledger.run(run_id).finished_at is not None
    ledger.create_run(request_of(), None)


def test_of_two_commands_at_once_only_one_gets_a_run(ledger: Ledger, request_of: MakeRequest) -> None:
    made: list[str] = []

    def start() -> None:
        try:
            made.append(ledger.create_run(request_of(), None))
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
    assert not ledger.set_state(loading, RunState.PLANNING, only_from=("queued", "fetching"))
    assert ledger.run(loading).state == "loading"
    assert ledger.set_state(loading, RunState.FAILED, error="why")
    assert not ledger.set_state(loading, RunState.PUBLISHING)
    assert not ledger.fail(loading, "another reason")
    assert ledger.run(loading).error == "why"


def test_two_runs_of_a_dataset_cannot_both_be_published(ledger: Ledger, request_of: MakeRequest) -> None:
    for number in range(2):
        run_id = ledger.create_run(request_of(), None)
        if number:
            with pytest.raises(sa.exc.IntegrityError):
                ledger.set_state(run_id, RunState.PUBLISHED)
        else:
            ledger.set_state(run_id, RunState.PUBLISHED)
    assert ledger.run(run_id).state == "queued"


def test_a_plan_is_noted_once(ledger: Ledger, loading: str) -> None:
    assert ledger.run(loading).state == "loading"
    assert not ledger.create_slices(loading, [planned_slice()])
    assert [(part.slice_no, part.state, part.attempts) for part in ledger.slices(loading)] == [
        (0, "queued", 0),
        (1, "queued", 0),
    ]


def test_a_claim_says_who_works_and_which_attempt_it_is(ledger: Ledger, loading: str) -> None:
    part = claimed_slice(ledger, loading, 1)
    assert (part.slice_no, part.state, part.worker, part.attempts) == (1, "running", runs.worker_name(), 1)
    assert ledger.slices(loading)[0].state == "queued"


def test_what_a_worker_holds_is_not_claimed_by_another_until_the_lease_expires(
    ledger: Ledger, loading: str, request_of: MakeRequest
) -> None:
    fetching = ledger.create_run(request_of("timezones"), None)
    for claim in (lambda: ledger.claim(loading, 0), lambda: ledger.claim_file(fetching, 0)):
        assert claim() is not None
        assert claim() is None
        expire_leases(ledger)
        assert claim() is not None


def test_the_last_claimant_of_a_slice_wins(ledger: Ledger, loading: str) -> None:
    first = claimed_slice(ledger, loading)
    expire_leases(ledger)
    second = claimed_slice(ledger, loading)
    assert (first.attempts, second.attempts) == (1, 2)
    assert not note_loaded(ledger, first)
    assert note_loaded(ledger, second)
    assert not note_loaded(ledger, second)
    assert ledger.counts(loading) == {"gadm_adm_1": 4}


def test_a_slice_that_cannot_be_read_from_the_ledger_is_not_claimed(ledger: Ledger, loading: str) -> None:
    with ledger.transaction() as connection:
        connection.execute(tables.slices.update().values(spec="no JSON"))
    with pytest.raises(ValueError, match="Expecting value"):
        ledger.claim(loading, 0)
    assert (ledger.slices(loading)[0].state, ledger.slices(loading)[0].attempts) == ("queued", 0)


def test_a_run_whose_request_cannot_be_read_is_listed_nevertheless(ledger: Ledger, loading: str) -> None:
    with ledger.transaction() as connection:
        connection.execute(tables.runs.update().values(request='{"written": "by the future"}'))
    assert [run.run_id for run in ledger.recent_runs()] == [loading] == [run.run_id for run in ledger.active_runs()]


def test_a_loaded_slice_is_not_claimed_again(ledger: Ledger, loading: str) -> None:
    note_loaded(ledger, claimed_slice(ledger, loading))
    assert ledger.claim(loading, 0) is None
    assert ledger.claim(loading, 99) is None


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.PUBLISHING, RunState.PUBLISHED])
def test_no_slice_of_a_run_that_is_not_loading_is_claimed(ledger: Ledger, loading: str, state: RunState) -> None:
    ledger.set_state(loading, state)
    assert ledger.claim(loading, 0) is None


@pytest.mark.parametrize(("will_retry", "state"), [(True, "queued"), (False, "failed")])
def test_a_slice_that_could_not_be_loaded_says_why(ledger: Ledger, loading: str, will_retry: bool, state: str) -> None:
    ledger.release(claimed_slice(ledger, loading), ValueError("the reason"), will_retry=will_retry)
    part = ledger.slices(loading)[0]
    assert (part.state, part.error) == (state, "the reason")
    assert part.started_at is not None
    assert part.finished_at is not None
    assert part.finished_at >= part.started_at
    assert ledger.claim(loading, 0) is not None
    assert ledger.slices(loading)[0].error is None


def test_an_old_claimant_cannot_fail_the_slice_of_a_new_one(ledger: Ledger, loading: str) -> None:
    old = claimed_slice(ledger, loading)
    expire_leases(ledger)
    ledger.claim(loading, 0)
    ledger.release(old, ValueError("late"), will_retry=False)
    assert ledger.slices(loading)[0].state == "running"


def test_a_slice_never_ends_before_it_began(ledger: Ledger, loading: str) -> None:
    note_loaded(ledger, claimed_slice(ledger, loading))
    part = ledger.slices(loading)[0]
    assert part.started_at is not None
    assert part.finished_at is not None
    assert part.finished_at >= part.started_at


def test_the_end_of_a_slice_on_postgresql_is_not_the_beginning_of_its_transaction(ledger: Ledger, loading: str) -> None:
    statement = Ledger.loaded(claimed_slice(ledger, loading), rows_read=1, rows_loaded=1)
    text = str(statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))  # type: ignore[no-untyped-call]
    assert not re.search(r"current_timestamp|now\(\)", text, re.IGNORECASE)


def test_all_times_know_their_zone(ledger: Ledger, request_of: MakeRequest) -> None:
    loading = ledger.create_run(request_of(), None)
    ledger.claim_file(loading, 0)
    ledger.set_state(loading, RunState.PLANNING)
    ledger.create_slices(loading, [planned_slice(), planned_slice()])
    note_loaded(ledger, claimed_slice(ledger, loading))
    ledger.set_state(loading, RunState.PUBLISHED, published_at=datetime.now(UTC))
    rows = [ledger.run(loading), *ledger.slices(loading), *ledger.files(loading)]
    times = [value for row in rows for value in vars(row).values() if isinstance(value, datetime)]
    assert len(times) >= 8
    assert {time.utcoffset() for time in times} == {timedelta(0)}


def test_a_file_goes_from_running_to_fetched_or_failed(ledger: Ledger, request_of: MakeRequest) -> None:
    run_id = ledger.create_run(request_of("gadm", "/a", "/b"), None)
    first, second = ledger.claim_file(run_id, 0), ledger.claim_file(run_id, 1)
    assert first is not None
    assert second is not None
    assert (ledger.run(run_id).state, ledger.files(run_id)[0].state) == ("fetching", "running")
    ledger.finish_file(first, checksum="abc", size=7, was_cached=True, source="/mirror/a")
    ledger.release_file(second, TargetUnavailable("gone.", "Look."), will_retry=False)
    done, failed = ledger.files(run_id)
    assert (done.state, done.checksum, done.bytes, done.was_cached) == ("fetched", "abc", 7, True)
    assert done.source == "/mirror/a"
    assert (failed.state, failed.error) == ("failed", "gone. Look.")


def test_a_run_that_is_not_known_is_told(ledger: Ledger) -> None:
    with pytest.raises(RunNotFound, match="There is no run 'x'"):
        ledger.run("x")


def test_runs_are_listed_newest_first(ledger: Ledger, request_of: MakeRequest) -> None:
    made = []
    for _ in range(3):
        made.append(ledger.create_run(request_of(), None))
        ledger.fail(made[-1], "no")
    assert [run.run_id for run in ledger.recent_runs(2)] == made[::-1][:2]


def test_a_consumer_lives_as_long_as_it_beats(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.heartbeat(runs.worker_name(), "queue", 3)
    ledger.heartbeat(runs.worker_name(), "queue", 3)
    assert [each.consumer for each in ledger.live_consumers("queue")] == [runs.worker_name()]
    assert not ledger.live_consumers("another queue")
    later = datetime.now(UTC) + runs.CONSUMER_LEASE * 2
    monkeypatch.setattr(ledger, "clock", lambda ahead=timedelta(): sa.literal(later + ahead, tables.UtcTime))
    assert not ledger.live_consumers("queue")
    ledger.heartbeat(runs.worker_name(), "queue", 3)
    ledger.end_consumer(runs.worker_name())
    assert not ledger.live_consumers("queue")


def test_no_other_command_relies_on_a_consumer_that_a_command_has_started_for_itself(ledger: Ledger) -> None:
    ledger.heartbeat(runs.worker_name(), "queue", 3, is_private=True)
    assert len(ledger.live_consumers("queue")) == 1
    assert ledger.shared_consumers("queue") == []
    ledger.heartbeat("another.host:1", "queue", 3)
    assert [each.consumer for each in ledger.shared_consumers("queue")] == ["another.host:1"]


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
    ledger.open()
    assert len(ledger.slices(loading)) == 2


def test_the_ledger_is_its_owners_alone(settings: Settings, ledger: Ledger) -> None:
    assert stat.S_IMODE((settings.home / "ledger.sqlite").stat().st_mode) == 0o600


@pytest.mark.parametrize("state", [state for state in RunState if state not in ("queued", "fetching")])
def test_a_late_message_about_a_file_leaves_a_run_that_is_past_fetching_as_it_is(
    ledger: Ledger, request_of: MakeRequest, state: RunState
) -> None:
    run_id = ledger.create_run(request_of(), None)
    ledger.set_state(run_id, state)
    assert ledger.claim_file(run_id, 0) is None
    assert (ledger.run(run_id).state, ledger.files(run_id)[0].state) == (state, "queued")


@pytest.mark.parametrize("part", ["slice", "file"])
def test_a_worker_that_was_overtaken_does_not_renew_the_lease_of_its_successor(
    ledger: Ledger, request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    run_id = ledger.create_run(request_of(), None)
    if part == "slice":
        ledger.set_state(run_id, RunState.PLANNING)
        ledger.create_slices(run_id, [planned_slice()])

    def claim() -> bool:
        claimed = ledger.claim_file(run_id, 0) if part == "file" else ledger.claim(run_id, 0)
        return claimed is not None

    assert claim()
    expire_leases(ledger)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(runs, "worker_name", lambda: "elsewhere:1")
        assert claim()
    expire_leases(ledger)
    renewals = threading.Semaphore(0)
    clock = ledger.clock

    def counted(ahead: timedelta = timedelta()) -> object:
        if threading.current_thread() is not threading.main_thread():
            renewals.release()
        return clock(ahead)

    monkeypatch.setattr(ledger, "clock", counted)
    monkeypatch.setattr(runs, "RENEWAL_SECONDS", 0.01)
    with ledger.renewing(run_id, **{"slice_no" if part == "slice" else "file_no": 0}):  # type: ignore[arg-type]
        assert renewals.acquire(timeout=30)
        assert renewals.acquire(timeout=30)  # the first renewal has been written by now
    assert ledger.requeue_expired(run_id) == 1


def dead_process() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_consumer_whose_process_has_died_is_not_waited_for_however_fresh_its_heartbeat(
    ledger: Ledger,
) -> None:
    for name in (f"{socket.gethostname()}:{dead_process()}", f"another.host:{dead_process()}"):
        ledger.heartbeat(name, "queue", 1)
    assert [each.consumer.partition(":")[0] for each in ledger.live_consumers("queue")] == ["another.host"]


def test_a_stage_is_released_by_its_holder_only(
    ledger: Ledger, request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = ledger.create_run(request_of(), None)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(runs, "worker_name", lambda: "elsewhere:1")
        assert ledger.claim_stage(run_id, RunState.PLANNING, only_from=(RunState.QUEUED,))
    ledger.release_stage(run_id)
    assert not ledger.claim_stage(run_id, RunState.PLANNING, only_from=(RunState.PLANNING,))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(runs, "worker_name", lambda: "elsewhere:1")
        ledger.release_stage(run_id)
    assert ledger.claim_stage(run_id, RunState.PLANNING, only_from=(RunState.PLANNING,))


def test_a_file_is_another_one_once_the_raw_tables_have_another_shape(
    request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = request_of().identity(["a"])
    monkeypatch.setattr(records, "RAW_SHAPE", records.RAW_SHAPE + 1)
    assert request_of().identity(["a"]) != before


def test_a_consumer_of_long_ago_is_forgotten(ledger: Ledger) -> None:
    now = datetime.now(UTC)
    with ledger.transaction() as connection:
        for name, days in (("old:1", 2), ("young:1", 0.5)):
            moment = now - timedelta(days=days)
            row = {"consumer": name, "queue_id": "q", "workers": 1, "started_at": moment, "heartbeat_at": moment}
            connection.execute(tables.consumers.insert().values(**row))
    ledger.heartbeat(runs.worker_name(), "q", 1)
    with ledger.transaction() as connection:
        known: set[str] = set(connection.execute(sa.select(tables.consumers.c.consumer)).scalars())
    assert known == {"young:1", runs.worker_name()}


@pytest.mark.parametrize("table", [tables.runs, tables.files, tables.slices], ids=lambda table: table.name)
def test_a_state_that_does_not_exist_is_never_written(ledger: Ledger, loading: str, table: sa.Table) -> None:
    with pytest.raises(sa.exc.StatementError, match="almost"), ledger.transaction() as connection:
        connection.execute(table.update().values(state="almost"))
    assert ledger.run(loading).state is RunState.LOADING


def test_dbt_reads_no_address_and_no_request_in_the_ledger(ledger: Ledger, loading: str) -> None:
    with ledger.transaction() as connection:
        shown = {column for _, columns, _ in ledger.public_tables(connection) for column in columns}
    assert {"run_id", "state", "rows_planned"} <= shown
    assert not {"request", "identity", "spec"} & shown
