"""Consumers: processes that run the tasks, on one host or on many.

A consumer sends a heartbeat to the ledger every two seconds, so that a command knows whether its queue has a consumer.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from huey.exceptions import HueyException
from redis.exceptions import RedisError

from ingest.errors import IngestError, TargetUnavailable
from ingest.ledger import Ledger
from ingest.pipeline import alerts, refresh, tasks
from ingest.pipeline.queue import huey
from ingest.settings import PROJECT_ROOT, Settings, worker_environment

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
ORPHAN_SECONDS = 0.5
START_SECONDS = 30.0
STOP_SECONDS = 30.0
QUEUE_KEY = "ingest-queue-id"


def queue_id(settings: Settings) -> str:
    """Return an id of the queue that this process uses.

    Commands and consumers with the same id share a queue, even if they address its server differently. They can also
    read each other's messages: the id ends in a fingerprint of the secret that signs them.

    Raises
    ------
    TargetUnavailable
        When the queue does not answer.
    """
    try:
        huey.storage.put_if_empty(QUEUE_KEY, uuid.uuid4().hex.encode())
        found = huey.storage.peek_data(QUEUE_KEY)
    except (RedisError, HueyException) as error:
        raise TargetUnavailable(
            f"The queue does not answer: {str(error).rstrip('.')}.", "Is Redis running, and is REDIS_URL right?"
        ) from error
    name = bytes(found).decode()
    fingerprint = hmac.new(settings.secret.encode(), name.encode(), hashlib.sha256).hexdigest()
    return f"{name}:{fingerprint[:16]}"


def run(settings: Settings, ledger: Ledger, workers: int, until_ended: Sequence[str] = (), schedule: str = "") -> None:
    """Run a consumer in this process until a signal stops it: SIGINT after the current tasks, SIGTERM at once.

    Parameters
    ----------
    settings, ledger
        Settings and ledger of the target.
    workers : int
        Number of worker processes.
    until_ended : sequence of str
        Ids of runs; the consumer stops by itself once all of them have ended.
    schedule : str
        Cron expression (UTC) that says when to check for new releases; never when empty.

    Raises
    ------
    SettingsError
        When the schedule is not a cron expression.
    """
    consumer = huey.create_consumer(
        workers=workers,
        worker_type="process",
        periodic=refresh.set_schedule(schedule),
        initial_delay=0.05,
        max_delay=0.5,
        check_worker_health=True,
        health_check_interval=1,
    )
    ledger.heartbeat(queue_id(settings), workers)
    stopped = threading.Event()
    os.register_at_fork(after_in_child=_end_with_parent)
    heart = threading.Thread(target=_beat, args=(settings, ledger, workers, until_ended, stopped), daemon=True)
    threading.Timer(0.5, heart.start).start()  # after the workers are forked, so that none inherits a thread
    try:
        with alerts.watching(settings, ledger):
            consumer.run()
    finally:
        stopped.set()
        ledger.end_consumer()


def _end_with_parent() -> None:
    """Make a forked worker exit when its consumer dies: nothing else would ever stop it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _beat(
    settings: Settings, ledger: Ledger, workers: int, until_ended: Sequence[str], stopped: threading.Event
) -> None:
    while not stopped.is_set():
        try:
            ledger.heartbeat(queue_id(settings), workers)
            tasks.recover(ledger)
            if until_ended and all(ledger.run(run_id).state.has_ended for run_id in until_ended):
                os.kill(os.getpid(), signal.SIGINT)
                return
        except (IngestError, RedisError, HueyException) as error:
            log.warning("A heartbeat could not be sent: %s", error)
        stopped.wait(BEAT_SECONDS if not until_ended else BEAT_SECONDS / 8)


def start(
    settings: Settings, ledger: Ledger, workers: int, run_ids: Sequence[str]
) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a consumer as a separate process that stops once the given runs have ended.

    Parameters
    ----------
    settings, ledger
        Settings and ledger of the target.
    workers : int
        Number of worker processes.
    run_ids : sequence of str
        The runs; at least one.

    Returns
    -------
    (subprocess.Popen, Path)
        The process and its log file.

    Raises
    ------
    TargetUnavailable
        When it exits, or sends no heartbeat within `START_SECONDS`.
    """
    logs = settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log_file = logs / f"consumer-{run_ids[0]}.log"
    arguments = [sys.executable, "-m", "ingest", "worker", "--workers", str(workers)]
    for run_id in run_ids:
        arguments += ["--until-ended", run_id]
    with log_file.open("ab") as output:
        process = subprocess.Popen(
            arguments,
            cwd=PROJECT_ROOT,
            env=worker_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    name = queue_id(settings)
    deadline = time.monotonic() + START_SECONDS
    while not any(each.consumer == f"{socket.gethostname()}:{process.pid}" for each in ledger.live_consumers(name)):
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            raise TargetUnavailable("The consumer did not start.", f"See {log_file}.")
        time.sleep(0.05)
    return process, log_file


def stop(process: subprocess.Popen[bytes], *, is_interrupted: bool) -> None:
    """Wait until a consumer that `start` has started exits; terminate it after `STOP_SECONDS`.

    Parameters
    ----------
    process : subprocess.Popen
        The consumer.
    is_interrupted : bool
        Whether its runs have not ended, so that it has to be told to stop, after the current tasks. Otherwise it stops
        by itself: a second signal would interrupt the cleanup after a publication.
    """
    if is_interrupted:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
