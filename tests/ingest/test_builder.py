"""An unattended consumer keeps the marts current: whatever is killed, whatever fails, and however many look."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from ingest import settings as configuration
from ingest.errors import BuildFailed, MartsMissing, TargetUnavailable
from ingest.ledger import Build, BuildState, Ledger, Request, RunState
from ingest.ledger import ledger as leases
from ingest.ledger.tables import builds as table
from ingest.pipeline import alerts, build, builder, prune, runs
from ingest.pipeline.builder import Builder
from ingest.settings import Settings
from tests.conftest import ROOT
from tests.fixtures.webhook import Webhook
from tests.ingest.test_cli import run as run_command

GOOD = "print('Done. PASS=9')"
FAILS = """
print('14:00:00  1 of 9 START test')
print('14:00:01  \\x1b[31mCompleted with 1 error, 0 partial successes, and 0 warnings:\\x1b[0m')
print('14:00:01  ')
print('14:00:01  Failure in test units_lie_in_one_country (tests/dbt/units_lie_in_one_country.sql)')
print('14:00:01    Got 3 results, configured to fail if != 0, password=hunter22')
raise SystemExit(1)
"""
BUSY = f"print('{build.BUSY} in .warehouse. Wait for it to end, then build again.'); raise SystemExit(2)"
HANGS = "import time; print('begun', flush=True); time.sleep(60)"


@dataclass
class Place:
    """A target with published runs, and a dbt that does what it is told.

    Attributes
    ----------
    does : str
        Python that stands for ``dbt build``.
    is_stale : bool
        Whether the marts are of other runs than those published.
    built : list of str
        The datasets whose build has begun.
    """

    settings: Settings
    ledger: Ledger
    does: str = GOOD
    is_stale: bool = True
    built: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def builder(self) -> Builder:
        """Return a process that builds, in this one."""
        return Builder(self.settings, self.ledger, self.faults_of_marts)

    def faults_of_marts(self, settings: Settings) -> Sequence[str]:
        """Return in words that the marts are stale, if they are."""
        if settings.boundaries != "gadm":
            raise MartsMissing("There is no warehouse.")
        return [f"The marts of {settings.boundaries} are of another run."] if self.is_stale else []

    def states(self) -> list[str]:
        """Return how the builds ended, oldest first."""
        return [str(each.state) for each in reversed(self.ledger.builds())]


@pytest.fixture
def publish(ledger: Ledger, request_of: Callable[..., Request]) -> Callable[[str], str]:
    """Return a function that publishes a run of a dataset."""

    def publish(dataset: str) -> str:
        ledger.set_state(ledger.published_runs().get(dataset, ""), RunState.SUPERSEDED, only_from=[RunState.PUBLISHED])
        run_id = ledger.create_run(request_of(dataset), None)
        ledger.set_state(run_id, RunState.PUBLISHED, published_at=ledger.now())
        return run_id

    return publish


@pytest.fixture
def place(
    settings: Settings,
    ledger: Ledger,
    webhook: Webhook,
    publish: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    """A target whose GADM is published and not built."""
    made = Place(replace(settings, alert_webhook=webhook.url), ledger)

    def start(of: Settings, *, output: object = None, root: Path = ROOT) -> subprocess.Popen[bytes]:
        made.built.append(of.boundaries)
        return subprocess.Popen([sys.executable, "-c", made.does], stdout=output, stderr=output)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(build, "start", start)
    monkeypatch.setattr(builder, "RENEWAL_SECONDS", 0.05)
    monkeypatch.setattr(prune, "prune", lambda *_target, **_options: 0)
    publish("gadm")
    yield made
    made.ended.set()


def test_what_is_published_and_not_built_is_built_once(place: Place) -> None:
    worker = place.builder()
    worker.look(place.ended)
    place.is_stale = False
    worker.look(place.ended)
    worker.look(place.ended)
    assert (place.built, place.states()) == (["gadm"], ["built"])


def test_marts_that_are_current_are_left_alone_until_something_else_is_published(
    place: Place, publish: Callable[[str], str]
) -> None:
    worker, place.is_stale = place.builder(), False
    worker.look(place.ended)
    assert place.built == []
    publish("timezones")
    place.is_stale = True
    worker.look(place.ended)
    assert place.built == ["gadm"]


def test_it_waits_for_runs_in_progress_but_not_for_ever(
    place: Place, request_of: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = place.builder()
    run_id = place.ledger.create_run(request_of("timezones"), None)
    worker.look(place.ended)
    assert place.built == []
    monkeypatch.setattr(builder, "PATIENCE", timedelta())
    worker.look(place.ended)
    assert place.built == ["gadm"]
    place.ledger.fail(run_id, "no")


def test_of_two_hosts_one_builds(place: Place) -> None:
    first = place.ledger.claim_build("gadm", "gadm=a", lambda _earlier: True)
    assert first is not None
    place.builder().look(place.ended)
    assert place.built == []
    assert place.ledger.end_build(first, BuildState.BUILT)
    place.builder().look(place.ended)
    assert place.built == ["gadm"]


def test_of_many_that_look_at_the_same_moment_one_claims(place: Place) -> None:
    claimed: list[Build | None] = []

    def claim() -> None:
        claimed.append(Ledger(place.settings).claim_build("gadm", "gadm=a", lambda _earlier: True))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([each for each in claimed if each]) == 1


def test_a_build_whose_process_was_killed_is_run_again_at_once(place: Place) -> None:
    leave_dead(place)
    place.builder().look(place.ended)
    assert (place.built, place.states()) == (["gadm"], ["died", "built"])


def test_a_build_that_kills_three_processes_is_told_and_waits(place: Place, webhook: Webhook) -> None:
    worker = place.builder()
    worker._begun.add(f"gadm {of_runs(place)}")
    for _ in range(3):
        leave_dead(place)
        place.ledger.bury_builds() if len(place.states()) < 3 else None
    worker.look(place.ended)
    assert place.built == []
    (message,) = webhook.of(alerts.BUILD_FAILED)
    assert message["text"].startswith("`dbt build` died 3 times in a row. Is there enough memory?")


def leave_dead(place: Place) -> None:
    """Leave a build as a process leaves it that is killed: begun, and its lease over."""
    claimed = place.ledger.claim_build("gadm", of_runs(place), lambda _earlier: True)
    assert claimed is not None
    with place.ledger.transaction() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(sa.update(table).where(table.c.build_no == claimed.build_no).values(lease_until=past))


def of_runs(place: Place) -> str:
    """Return what is published, as the builds name it."""
    return " ".join(f"{name}={run}" for name, run in sorted(place.ledger.published_runs().items()))


def test_a_build_that_fails_is_told_once_with_its_reason_and_not_repeated_at_once(
    place: Place, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.does, worker = FAILS, place.builder()
    worker.look(place.ended)
    worker.look(place.ended)
    assert place.states() == ["failed"]
    (message,) = webhook.of(alerts.BUILD_FAILED)
    assert message["text"] == (
        "`dbt build` failed, and the marts stay as they were: Completed with 1 error, 0 partial successes, and 0 "
        "warnings: Failure in test units_lie_in_one_country (tests/dbt/units_lie_in_one_country.sql) Got 3 results, "
        "configured to fail if != 0, password=…"
    )
    assert (message["dataset"], message["runs"]) == ("gadm", of_runs(place))
    monkeypatch.setattr(builder, "FIRST_PAUSE", timedelta())
    worker.look(place.ended)
    assert place.states() == ["failed", "failed"]
    assert len(webhook.of(alerts.BUILD_FAILED)) == 1


def test_a_new_process_waits_for_no_pause_since_somebody_may_have_mended_it(place: Place) -> None:
    place.does = FAILS
    place.builder().look(place.ended)
    place.does = GOOD
    place.builder().look(place.ended)
    assert place.states() == ["failed", "built"]


def test_another_publication_is_built_at_once_after_a_failure(place: Place, publish: Callable[[str], str]) -> None:
    place.does, worker = FAILS, place.builder()
    worker.look(place.ended)
    publish("gadm")
    worker.look(place.ended)
    assert place.states() == ["failed", "failed"]


def test_a_build_that_succeeds_after_failures_says_so_once(
    place: Place, webhook: Webhook, publish: Callable[[str], str]
) -> None:
    worker = place.builder()
    worker.look(place.ended)
    assert not webhook.told
    place.does = FAILS
    publish("gadm")
    worker.look(place.ended)
    place.does = GOOD
    for _ in range(2):
        publish("gadm")
        worker.look(place.ended)
    (message,) = webhook.of(alerts.BUILD_RECOVERED)
    assert message["text"] == "`dbt build` succeeded, after 1 that did not."


def test_while_somebody_builds_by_hand_it_waits_and_alerts_nobody(
    place: Place, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.does, worker = BUSY, place.builder()
    worker.look(place.ended)
    assert (place.states(), webhook.told) == ([], [])
    place.does = GOOD
    worker.look(place.ended)
    assert len(place.built) == 1  # to ask again is a start of dbt
    monkeypatch.setattr(worker, "_not_before", 0.0)
    worker.look(place.ended)
    assert place.states() == ["built"]


@pytest.mark.parametrize("file", ["macros/editions/begin_edition.sql", "admin_boundaries/duckdb_edition.py"])
def test_dbt_says_so_in_the_words_that_are_looked_for(file: str) -> None:
    assert build.BUSY in (ROOT / file).read_text(encoding="utf-8")


def test_dbt_ends_with_a_process_that_is_killed(settings: Settings, tmp_path: Path) -> None:
    program = f"""
import subprocess, sys, time, pathlib
from ingest.pipeline import build
from ingest.settings import read_settings
made = subprocess.Popen
def sleeping(command, **options):
    return made([*command[:4], "sleep", "600"] if "setpriv" in command[0] else ["sleep", "0.1"], **options)
build.subprocess.Popen = sleeping
with open({str(tmp_path / "said")!r}, "wb") as file:
    print(build.start(read_settings(), output=file).pid, flush=True)
time.sleep(600)
"""
    killed = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    child = Path(f"/proc/{killed.stdout.readline().strip()}")
    wait_for(lambda: "sleep" in (child / "cmdline").read_text())
    killed.kill()
    killed.communicate()
    wait_for(lambda: not child.exists() or "\nState:\tZ" in (child / "status").read_text())


def test_a_build_is_stopped_with_its_consumer_and_left_to_be_done(place: Place) -> None:
    place.does = HANGS
    thread = threading.Thread(target=place.builder().look, args=(place.ended,))
    thread.start()
    wait_for(lambda: any("begun" in log.read_text() for log in (place.settings.home / "logs").glob("build-*.log")))
    place.ended.set()
    thread.join(60)
    assert not thread.is_alive()
    assert place.states() == []


def test_a_build_that_is_taken_for_dead_stops(place: Place) -> None:
    place.does = HANGS
    thread = threading.Thread(target=place.builder().look, args=(place.ended,))
    thread.start()
    wait_for(lambda: place.states() == ["running"])
    with place.ledger.transaction() as connection:
        connection.execute(sa.update(table).values(state=BuildState.DIED))
    thread.join(60)
    assert not thread.is_alive()
    assert place.states() == ["died"]


def test_a_lease_is_renewed_well_before_it_ends(place: Place) -> None:
    assert timedelta(seconds=builder.LOOK_SECONDS / 2) <= leases.WORK_LEASE / 3
    claimed = place.ledger.claim_build("gadm", "x", lambda _earlier: True)
    assert claimed is not None
    assert claimed.lease_until is not None
    assert place.ledger.renew_build(claimed)
    (renewed,) = place.ledger.builds()
    assert renewed.lease_until is not None
    assert renewed.lease_until >= claimed.lease_until


def test_it_looks_again_after_a_ledger_that_did_not_answer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def look(_self: Builder, ended: threading.Event) -> None:
        looks.append(1)
        if len(looks) == 3:
            ended.set()
        raise (TargetUnavailable("The server restarts.") if len(looks) == 1 else KeyError("x"))

    monkeypatch.setattr(Builder, "look", look)
    monkeypatch.setattr(builder, "LOOK_SECONDS", 0.0)
    place.builder().watch(place.ended)
    assert len(looks) == 3


def test_what_is_no_longer_needed_is_removed_after_a_build_and_only_then(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned: list[bool] = []

    def remove(*_target: object, is_dry: bool, **_options: object) -> int:
        pruned.append(is_dry)
        return 0

    monkeypatch.setattr(prune, "prune", remove)
    place.does = FAILS
    place.builder().look(place.ended)
    assert pruned == []
    place.does = GOOD
    place.builder().look(place.ended)
    assert pruned == [False]


def a_build(state: BuildState) -> Build:
    """Return a build that ended so."""
    moment = datetime(2026, 11, 27, tzinfo=UTC)
    return Build(
        build_no=1,
        dataset="gadm",
        runs="gadm=a",
        state=state,
        worker="host:1",
        lease_until=None,
        started_at=moment,
        finished_at=moment,
        error=None,
    )


@pytest.mark.parametrize(
    ("states", "minutes"),
    [("", 0), ("f", 10), ("ff", 20), ("fff", 40), ("f" * 99, 24 * 60), ("d", 0), ("dd", 0), ("ddd", 10), ("dfd", 0)],
)
def test_pauses_grow_with_failures_and_not_with_deaths(states: str, minutes: int) -> None:
    of = {"f": BuildState.FAILED, "d": BuildState.DIED}
    assert builder.pause_after([a_build(of[each]) for each in states]) == timedelta(minutes=minutes)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something has happened, at most a minute: a process that starts beside other tests takes seconds."""
    pause = threading.Event()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("it did not happen")


def test_the_lease_of_a_build_in_the_foreground_is_renewed_until_its_end_whatever_fails_meanwhile(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.01)
    claimed = place.ledger.claim_build("gadm", "gadm=run", lambda _earlier: True)
    assert claimed is not None
    asked: list[Build] = []
    thrice = threading.Event()

    def renew(build: Build) -> bool:
        asked.append(build)
        if len(asked) == 3:
            thrice.set()
        raise TargetUnavailable("The server restarts.")

    monkeypatch.setattr(place.ledger, "renew_build", renew)
    with place.ledger.renewing_build(claimed):
        assert thrice.wait(20)
    seen = len(asked)
    time.sleep(0.05)
    assert asked == [claimed] * seen


def test_a_consumer_that_builds_has_a_process_for_it_which_ends_with_it(settings: Settings, ledger: Ledger) -> None:
    environment = {**configuration.worker_environment(), "WAREHOUSE_HOME": str(settings.home)}
    environment |= {"WAREHOUSE_TARGET": "embedded", "INGEST_SECRET": settings.secret, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ingest", "worker", "--workers", "1", "--build"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_children(process.pid, 4)  # worker, scheduler, heart, builder
    finally:
        process.send_signal(signal.SIGINT)
        _out, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert not re.search("Traceback|died", said)


def wait_for_children(of: int, number: int) -> None:
    """Wait until a process has so many children, at most a minute."""
    children, pause = Path(f"/proc/{of}/task/{of}/children"), threading.Event()
    for _ in range(600):
        if len(children.read_text().split()) == number:
            return
        pause.wait(0.1)
    raise AssertionError(children.read_text())


def test_a_consumer_that_ends_with_its_runs_builds_nothing(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, printed = run_command("worker", "--build", "--until-ended", "x", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 2
    assert "--until-ended" in printed


def test_a_build_that_fails_after_a_refresh_by_hand_or_cron_is_told(
    place: Place, webhook: Webhook, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(settings: Settings) -> None:
        raise BuildFailed.of_dbt(settings.build_command, 1)

    monkeypatch.setenv("ALERT_WEBHOOK", webhook.url)
    monkeypatch.setattr(runs, "refresh_published", lambda *_arguments, **_options: None)
    monkeypatch.setattr(build, "build", fails)
    for _ in range(2):
        assert run_command("refresh", "--build", capsys=capsys, monkeypatch=monkeypatch)[0] == 1
    assert len(webhook.of(alerts.BUILD_FAILED)) == 1
    assert place.states() == ["failed", "failed"]
    monkeypatch.setattr(build, "build", lambda _settings: None)
    assert run_command("refresh", "--build", capsys=capsys, monkeypatch=monkeypatch)[0] == 0
    assert len(webhook.of(alerts.BUILD_RECOVERED)) == 1
