"""Consumers: processes that run the tasks, on one host or on many.

A consumer sends a heartbeat to the ledger every two seconds, so that a command knows whether its queue has a consumer.
The heartbeats come from a process of their own. The main process has no threads: whatever lock a thread held while a
worker is forked would stay locked in that worker for ever.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huey.consumer import Consumer as HueyConsumer
from huey.exceptions import HueyException
from redis.exceptions import RedisError

from ingest.errors import DiskFull, IngestError, LedgerDamaged, QueueDamaged, TargetUnavailable
from ingest.ledger import Ledger, worker_name
from ingest.pipeline import alerts, refresh, retries, tasks
from ingest.pipeline.builder import Builder, Event
from ingest.pipeline.queue import huey
from ingest.settings import PROJECT_ROOT, Settings, private_folder, worker_environment

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
ORPHAN_SECONDS = 0.5
START_SECONDS = 120.0  # on a busy host; one that has ended is noticed at once
PATIENCE_SECONDS = 20.0  # of those, for a server that is away just then
STOP_SECONDS = 30.0
KILL_SECONDS = 10.0  # between SIGTERM and SIGKILL
LOST_SECONDS = 300.0  # a command's own consumer ends when its ledger has not answered for so long
FULL_SECONDS = 10.0  # … and when nothing can be written to it for so long
DIED = {
    "Heart": "The process that sends the heartbeats died; it is started again.",
    "Builder": "The process that builds the marts died; it is started again.",
}
QUEUE_KEY = "ingest-queue-id"
QUEUE_ID = re.compile(rb"[0-9a-f]{32}")


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
    text = found if isinstance(found, bytes) else str(found).encode()
    name = text.decode() if QUEUE_ID.fullmatch(text) else hashlib.sha256(text).hexdigest()[:32]
    fingerprint = hmac.new(settings.secret.encode(), name.encode(), hashlib.sha256).hexdigest()
    return f"{name}:{fingerprint[:16]}"


def run(
    settings: Settings,
    ledger: Ledger,
    workers: int,
    until_ended: Sequence[str] = (),
    schedule: str = "",
    builder: Builder | None = None,
) -> None:
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
    builder : Builder, optional
        Builds the marts whenever they are not of the published runs, in a process of its own.

    Raises
    ------
    SettingsError
        When the schedule is not a cron expression.
    """
    is_private, consumer = bool(until_ended), worker_name()

    def beat(ended: Event) -> None:
        with alerts.watching(settings, ledger):
            _beat(settings, ledger, consumer, workers, until_ended, ended)

    process = _Consumer(
        {"Heart": beat, **({"Builder": builder.watch} if builder else {})},
        workers=workers,
        periodic=refresh.set_schedule(schedule),
        initial_delay=0.05,
        max_delay=0.5,
        check_worker_health=True,
        health_check_interval=1,
    )
    retries.patiently(
        lambda: ledger.heartbeat(consumer, queue_id(settings), workers, is_private=is_private),
        PATIENCE_SECONDS if is_private else 0,
    )
    os.register_at_fork(after_in_child=_end_with_parent)
    try:
        process.run()
    finally:
        process.end_others()
        ledger.end_consumer(consumer)


class _Consumer(HueyConsumer):  # type: ignore[misc]
    """Huey's consumer with more processes: the heart, and the builder. They are replaced like a worker that dies."""

    def __init__(self, others: Mapping[str, Callable[[Event], None]], **options: Any) -> None:
        super().__init__(huey, worker_type="process", **options)
        self._ended = self.environment.get_stop_flag()
        self._others = others
        self._processes = {name: self._new(name) for name in others}

    def start(self) -> None:
        """Start all processes."""
        super().start()
        for process in self._processes.values():
            process.start()

    def check_worker_health(self) -> bool:
        """Replace the processes that have died."""
        for name, process in self._processes.items():
            if not self.environment.is_alive(process):
                log.warning(DIED[name])
                self._processes[name] = self._new(name)
                self._processes[name].start()
        return bool(super().check_worker_health())

    def end_others(self) -> None:
        """Let the heart end, and whatever alert it is sending; and the builder, with its dbt."""
        self._ended.set()
        for process in self._processes.values():
            if process.pid is not None:
                process.join(alerts.LONGEST_SECONDS)

    def _new(self, name: str) -> Any:
        def run() -> None:
            for number in (signal.SIGINT, signal.SIGHUP):  # the main process says when to end
                signal.signal(number, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._others[name](self._ended)

        return self.environment.create_process(run, name)


def _end_with_parent() -> None:
    """Make a forked worker exit when its consumer dies, or the run that it works for fails."""
    parent = os.getppid()
    Ledger.on_failed = staticmethod(lambda: os._exit(1))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _beat(
    settings: Settings, ledger: Ledger, consumer: str, workers: int, until_ended: Sequence[str], ended: Event
) -> None:
    """Send heartbeats, queue lost work again, and tell the main process to stop when there is nothing left to do."""
    main_process, last_beat, is_told = os.getppid(), time.monotonic(), False
    while not ended.is_set():
        stop = None
        try:
            if ledger.is_gone():
                log.error("%s is gone: the consumer ends.", ledger.place)
                stop = signal.SIGTERM
            else:
                ledger.heartbeat(consumer, queue_id(settings), workers, is_private=bool(until_ended))
                last_beat = time.monotonic()
                tasks.recover(ledger)
                if until_ended and all(ledger.run(run_id).state.has_ended for run_id in until_ended):
                    stop = signal.SIGINT
        except (LedgerDamaged, QueueDamaged) as error:
            log.error("The consumer ends. %s", error)
            stop = signal.SIGTERM
        except DiskFull as error:
            log.warning("A heartbeat could not be sent: %s", error)
            if until_ended and time.monotonic() - last_beat > FULL_SECONDS:
                log.error("The consumer ends: nothing can be noted.")
                stop = signal.SIGTERM
        except (IngestError, RedisError, HueyException) as error:
            log.warning("A heartbeat could not be sent: %s", error)
        except Exception:
            log.exception("A heartbeat could not be sent; the next one may be.")
        if until_ended and time.monotonic() - last_beat > LOST_SECONDS:
            log.error("The ledger has not answered for %.0f minutes: the consumer ends.", LOST_SECONDS / 60)
            stop = signal.SIGTERM
        if stop and not is_told:  # a second signal would interrupt the cleanup after a publication
            os.kill(main_process, stop)
            is_told = True
        ended.wait(BEAT_SECONDS if not until_ended else BEAT_SECONDS / 8)


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
    logs = private_folder(settings.home / "logs")
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
    consumer = f"{socket.gethostname()}:{process.pid}"
    while not any(
        each.consumer == consumer
        for each in retries.patiently(lambda: ledger.live_consumers(name), deadline - time.monotonic())
    ):
        if process.poll() is not None:
            raise TargetUnavailable("The consumer did not start.", f"See {log_file}.")
        if time.monotonic() > deadline:
            process.terminate()
            raise TargetUnavailable(
                f"The consumer has not started within {START_SECONDS:.0f} s.",
                f"The host may be busy; then `python -m ingest resume {run_ids[0]}` goes on. Otherwise see {log_file}.",
            )
        time.sleep(0.05)
    return process, log_file


def stop(process: subprocess.Popen[bytes], *, is_interrupted: bool) -> None:
    """Wait until a consumer that `start` has started exits.

    After `STOP_SECONDS` it is terminated, and after another `KILL_SECONDS` killed, together with its workers.

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
        try:
            process.wait(timeout=KILL_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # `start` made it the leader of a group
            process.wait()
