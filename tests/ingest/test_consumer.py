"""A consumer of a command's own stays as long as it is needed, and no longer."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable

import pytest

from ingest.errors import TargetUnavailable
from ingest.ledger import Ledger, Request
from ingest.ledger import ledger as runs
from ingest.pipeline import consumer, tasks
from ingest.settings import Settings

MakeRequest = Callable[..., Request]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The signals that are sent; nothing is enqueued."""
    sent: list[int] = []
    monkeypatch.setattr(tasks, "recover", lambda _ledger: None)
    monkeypatch.setattr(os, "kill", lambda _process, number: sent.append(number))
    return sent


def beis_interrupted(settings: Settings, ledger: Ledger, *until_ended: str) -> float:
    """Let the heart of a consumer beat once, and return the seconds until it would beat again."""
    stopped, pauses = threading.Event(), [0.0]

    def wait(timeout: float) -> bool:
        pauses.append(timeout)
        stopped.set()
        return True

    stopped.wait = wait  # type: ignore[assignment, method-assign]
    consumer._beat(settings, ledger, 3, until_ended, stopped)
    return pauses[-1]


def test_a_consumer_of_several_runs_stays_until_the_last_has_ended(
    settings: Settings, ledger: Ledger, request_of: MakeRequest, told: list[int]
) -> None:
    first, second = (ledger.create_run(request_of(name), None) for name in ("gadm", "timezones"))
    beis_interrupted(settings, ledger, first, second)
    ledger.fail(first, "no")
    beis_interrupted(settings, ledger, first, second)
    assert told == []
    ledger.fail(second, "no")
    beis_interrupted(settings, ledger, first, second)
    assert told == [signal.SIGINT]


def test_a_consumer_without_runs_of_its_own_stays(settings: Settings, ledger: Ledger, told: list[int]) -> None:
    beis_interrupted(settings, ledger)
    assert told == []
    assert [each.workers for each in ledger.live_consumers(consumer.queue_id(settings))] == [3]


def test_a_consumer_survives_a_ledger_that_is_away(
    settings: Settings, ledger: Ledger, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_arguments: object) -> None:
        raise TargetUnavailable("The server restarts.")

    monkeypatch.setattr(ledger, "heartbeat", away)
    beis_interrupted(settings, ledger, "any")
    assert told == []


def test_heartbeats_come_well_within_the_lease(
    settings: Settings, ledger: Ledger, request_of: MakeRequest, told: list[int]
) -> None:
    under_way = ledger.create_run(request_of(), None)
    pauses = [beis_interrupted(settings, ledger), beis_interrupted(settings, ledger, under_way)]
    assert 0 < max(pauses) <= runs.CONSUMER_LEASE.total_seconds() / 3
    assert runs.WORK_LEASE.total_seconds() / 3 >= runs.RENEWAL_SECONDS


class Process:
    """A consumer that ends when it is told so often."""

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
    [(False, 0, []), (True, 0, [signal.SIGINT]), (False, 1, ["terminate"]), (True, 1, [signal.SIGINT, "terminate"])],
)
def test_a_consumer_that_stops_by_itself_gets_no_signal(
    is_interrupted: bool, patience: int, told: list[object]
) -> None:
    process = Process(patience)
    consumer.stop(process, is_interrupted=is_interrupted)  # type: ignore[arg-type]
    assert process.told == told
