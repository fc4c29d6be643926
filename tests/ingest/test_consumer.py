"""A consumer of a command's own stays as long as it is needed, and no longer."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from ingest.errors import DiskFull, LedgerDamaged, QueueDamaged, TargetUnavailable
from ingest.ledger import Ledger, Request, worker_name
from ingest.ledger import ledger as runs
from ingest.pipeline import consumer, tasks
from ingest.settings import Settings
from tests.conftest import ROOT

MakeRequest = Callable[..., Request]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The signals that are sent; nothing is enqueued."""
    sent: list[int] = []
    monkeypatch.setattr(tasks, "recover", lambda _ledger: None)
    monkeypatch.setattr(os, "kill", lambda _process, number: sent.append(number))
    return sent


def beat(settings: Settings, ledger: Ledger, *until_ended: str) -> float:
    """Let the heart of a consumer beat once, and return the seconds until it would beat again."""
    stopped, pauses = threading.Event(), [0.0]

    def wait(timeout: float) -> bool:
        pauses.append(timeout)
        stopped.set()
        return True

    stopped.wait = wait  # type: ignore[assignment, method-assign]
    consumer._beat(settings, ledger, worker_name(), 3, until_ended, stopped)
    return pauses[-1]


def test_a_consumer_of_several_runs_stays_until_the_last_has_ended(
    settings: Settings, ledger: Ledger, request_of: MakeRequest, told: list[int]
) -> None:
    first, second = (ledger.create_run(request_of(name), None) for name in ("gadm", "timezones"))
    beat(settings, ledger, first, second)
    ledger.fail(first, "no")
    beat(settings, ledger, first, second)
    assert told == []
    ledger.fail(second, "no")
    beat(settings, ledger, first, second)
    assert told == [signal.SIGINT]


def test_a_consumer_without_runs_of_its_own_stays(settings: Settings, ledger: Ledger, told: list[int]) -> None:
    beat(settings, ledger)
    assert told == []
    assert [each.workers for each in ledger.live_consumers(consumer.queue_id(settings))] == [3]


@pytest.mark.parametrize(
    "error",
    [TargetUnavailable("The server restarts."), sa.exc.InternalError("read-only", None, OSError()), KeyError("x")],
)
def test_a_consumer_survives_whatever_keeps_it_from_sending_a_heartbeat(
    error: Exception, settings: Settings, ledger: Ledger, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(ledger, "heartbeat", fails)
    beat(settings, ledger, "any")
    assert told == []


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (TargetUnavailable("There is no server."), consumer.LOST_SECONDS),
        (DiskFull("It cannot be written."), consumer.FULL_SECONDS),
    ],
)
def test_a_consumer_of_a_command_ends_when_its_ledger_stays_away_or_full(
    error: Exception,
    seconds: float,
    settings: Settings,
    ledger: Ledger,
    told: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*_arguments: object, **_options: object) -> None:
        raise error

    clock = itertools.count(0.0, seconds + 1)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(ledger, "heartbeat", away)
    beat(settings, ledger, "any")
    assert told == [signal.SIGTERM]
    beat(settings, ledger)
    assert told == [signal.SIGTERM]  # a consumer that a supervisor started waits for the server


@pytest.mark.parametrize("error", [LedgerDamaged("It is cut."), QueueDamaged("It is cut.")])
def test_a_consumer_whose_ledger_or_queue_is_damaged_ends(
    error: Exception, settings: Settings, ledger: Ledger, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(ledger, "heartbeat", fails)
    beat(settings, ledger)
    assert told == [signal.SIGTERM]


def test_a_consumer_whose_ledger_was_removed_ends_and_makes_no_new_one(
    settings: Settings, ledger: Ledger, told: list[int]
) -> None:
    Path(ledger.place).unlink()
    beat(settings, ledger)
    assert told == [signal.SIGTERM]
    assert not Path(ledger.place).exists()


def test_a_consumer_is_told_once_to_stop(
    settings: Settings, ledger: Ledger, request_of: MakeRequest, told: list[int]
) -> None:
    run_id = ledger.create_run(request_of(), None)
    ledger.fail(run_id, "no")
    ended, beats = threading.Event(), []

    def wait(timeout: float) -> bool:
        beats.append(timeout)
        if len(beats) == 3:
            ended.set()
        return True

    ended.wait = wait  # type: ignore[assignment, method-assign]
    consumer._beat(settings, ledger, worker_name(), 3, [run_id], ended)
    assert told == [signal.SIGINT]


def test_heartbeats_come_well_within_the_lease(
    settings: Settings, ledger: Ledger, request_of: MakeRequest, told: list[int]
) -> None:
    under_way = ledger.create_run(request_of(), None)
    pauses = [beat(settings, ledger), beat(settings, ledger, under_way)]
    assert 0 < max(pauses) <= runs.CONSUMER_LEASE.total_seconds() / 3
    assert runs.WORK_LEASE.total_seconds() / 3 >= runs.RENEWAL_SECONDS


class Process:
    """A consumer that ends when it is told so often."""

    pid = 123456

    def __init__(self, patience: int) -> None:
        self.told: list[object] = []
        self._patience = patience

    def send_signal(self, number: int) -> None:
        """Note a signal."""
        self.told.append(number)

    def terminate(self) -> None:
        """Note the end."""
        self.told.append("terminate")

    def wait(self, timeout: float | None = None) -> int:
        """End, unless it has patience left."""
        self._patience -= 1
        if self._patience >= 0:
            raise subprocess.TimeoutExpired("consumer", timeout or 0)
        return 0


@pytest.mark.parametrize(
    ("is_interrupted", "patience", "told"),
    [
        (False, 0, []),
        (True, 0, [signal.SIGINT]),
        (False, 1, ["terminate"]),
        (True, 1, [signal.SIGINT, "terminate"]),
        (True, 2, [signal.SIGINT, "terminate", ("group", 123456, signal.SIGKILL)]),
    ],
)
def test_a_consumer_that_stops_by_itself_gets_no_signal_and_one_that_hangs_is_killed(
    is_interrupted: bool, patience: int, told: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(patience)
    monkeypatch.setattr(os, "killpg", lambda group, number: process.told.append(("group", group, number)))
    consumer.stop(process, is_interrupted=is_interrupted)  # type: ignore[arg-type]
    assert process.told == told


BUSY = """
import multiprocessing.process, sys, threading, time
start = multiprocessing.process.BaseProcess.start
def watched(self):
    print("threads at fork:", threading.active_count(), flush=True)
    time.sleep(0.4)  # a busy machine
    start(self)
multiprocessing.process.BaseProcess.start = watched
from ingest.cli import main
sys.argv[1:] = ["worker", "--workers", "3"]
main()
"""


def test_no_thread_runs_while_workers_are_forked_however_long_that_takes_and_a_heart_that_dies_is_replaced(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    env = {**os.environ, "WAREHOUSE_HOME": str(settings.home), "WAREHOUSE_TARGET": "embedded"}
    env |= {"INGEST_SECRET": settings.secret, "PYTHONPATH": str(ROOT), "ALERT_WEBHOOK": "http://127.0.0.1:9/"}
    log = tmp_path / "consumer.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-c", BUSY], cwd=ROOT, env=env, stdout=output, stderr=output)
    try:
        wait_for(lambda: log.read_text().count("threads at fork") >= 5, log)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_for(lambda: len(children.read_text().split()) >= 5, log)
        os.kill(int(children.read_text().split()[-1]), signal.SIGKILL)  # the heart is the last
        wait_for(lambda: "heartbeats died" in log.read_text(), log)
        wait_for(lambda: log.read_text().count("threads at fork") == 6, log)
        before = ledger.consumers()[0].heartbeat_at
        wait_for(lambda: ledger.consumers()[0].heartbeat_at > before, log)
        assert set(re.findall(r"threads at fork: (\d+)", log.read_text())) == {"1"}
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert ledger.consumers() == []


def wait_for(condition: Callable[[], bool], log: Path) -> None:
    """Wait until something has happened, at most a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert "Traceback" not in log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("program", "said"), [("import time; time.sleep(60)", "resume r.* goes on"), ("raise SystemExit(1)", "^See ")]
)
def test_a_consumer_that_is_slow_to_start_is_told_from_one_that_has_ended(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, program: str, said: str
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def begin(*_arguments: object, **_options: object) -> subprocess.Popen[bytes]:
        started.append(popen([sys.executable, "-c", program]))
        if "exit" in program.lower():
            started[0].wait()
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", begin)
    monkeypatch.setattr(consumer, "START_SECONDS", 0.0)
    with pytest.raises(TargetUnavailable) as fault:
        consumer.start(settings, ledger, 1, ["run"])
    assert re.search(said, fault.value.hint)
    assert started[0].wait(60) != 0  # it is not left behind
