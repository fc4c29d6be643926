"""The health check of a worker container, beside a consumer that lives and one that was killed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import ROOT

SECONDS = 60


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of a container: an embedded warehouse of its own."""
    return {**os.environ, "WAREHOUSE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "INGEST_SECRET": "of-the-tests"}


@pytest.fixture
def consumer(env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A consumer in a process of its own."""
    command = [sys.executable, "-m", "ingest", "worker", "--workers", "1"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def check(env: dict[str, str]) -> Callable[[], subprocess.CompletedProcess[str]]:
    """Return the health check, as the container runs it."""
    command = [sys.executable, "docker/worker_alive.py"]
    return lambda: subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_a_container_is_healthy_while_its_consumer_lives_and_no_longer(
    consumer: subprocess.Popen[bytes], check: Callable[[], subprocess.CompletedProcess[str]]
) -> None:
    deadline = time.monotonic() + SECONDS
    while (found := check()).returncode != 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert (found.returncode, found.stderr) == (0, "")
    consumer.kill()
    consumer.wait()
    dead = check()
    assert (dead.returncode, dead.stderr) == (1, "No consumer on this host sends a heartbeat.\n")


def test_a_consumer_on_another_host_makes_no_container_healthy(
    consumer: subprocess.Popen[bytes], check: Callable[[], subprocess.CompletedProcess[str]], env: dict[str, str]
) -> None:
    deadline = time.monotonic() + SECONDS
    while check().returncode != 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    consumer.kill()
    consumer.wait()
    with closing(sqlite3.connect(Path(env["WAREHOUSE_HOME"]) / "ledger.sqlite")) as ledger, ledger:
        moved = "update ingest_consumers set consumer = 'another.host:1', heartbeat_at = datetime('now', '+1 minute')"
        assert ledger.execute(moved).rowcount == 1
    found = check()
    assert (found.returncode, found.stderr) == (1, "No consumer on this host sends a heartbeat.\n")


def test_a_container_whose_ledger_is_away_is_not_healthy(
    env: dict[str, str], check: Callable[[], subprocess.CompletedProcess[str]]
) -> None:
    (Path(env["WAREHOUSE_HOME"]) / "ledger.sqlite").mkdir()
    found = check()
    assert found.returncode == 1
    assert "ledger.sqlite is damaged: it is a folder" in found.stderr
    assert "Traceback" not in found.stderr
