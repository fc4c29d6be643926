"""A standalone cluster of Spark: a master and workers of one core each, as processes on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pyspark

from ingest.settings import PROJECT_ROOT

START_SECONDS = 120
MEMORY = "600m"  # of each executor's Java


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Cluster:
    """A master, and the workers that were added.

    Parameters
    ----------
    folder : Path
        Of its logs and of what workers unpack.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._port, web = folder, free_port(), free_port()
        self._workers: list[subprocess.Popen[bytes]] = []
        master = ("master.Master", "--host", "127.0.0.1", "--port", str(self._port), "--webui-port", str(web))
        self._master = self._start(*master, log="master")
        self._wait("master", "I have been elected leader")

    def env(self, **settings: str) -> dict[str, str]:
        """Return the environment of a session on the cluster, with some of Spark's settings (``_`` for a dot)."""
        known = {"spark_executor_memory": MEMORY, "spark_driver_host": "127.0.0.1", **settings}
        options = " ".join(f"--conf {name.replace('_', '.')}={value}" for name, value in known.items())
        return {
            "SPARK_MASTER": f"spark://127.0.0.1:{self._port}",
            "PYSPARK_SUBMIT_ARGS": f"{options} pyspark-shell",
            "SPARK_LOCAL_IP": "127.0.0.1",
        }

    @property
    def processes(self) -> list[psutil.Process]:
        """Of the workers: Java and Python."""
        found: list[psutil.Process] = []
        for worker in self._workers:
            with suppress(psutil.NoSuchProcess):
                found += psutil.Process(worker.pid).children(recursive=True)
        return found

    def add_worker(self) -> None:
        """Add a worker, and wait until the master knows it."""
        name = f"worker{len(self._workers)}"
        place = ("--work-dir", str(self._folder / name), "--webui-port", str(free_port()))
        size = ("--cores", "1", "--memory", "1g", "--host", "127.0.0.1")
        address = f"spark://127.0.0.1:{self._port}"
        self._workers.append(self._start("worker.Worker", *size, *place, address, log=name))
        self._wait(name, "Successfully registered with master")

    def kill_worker(self) -> None:
        """Kill the latest worker with all that it has started, as when its machine fails."""
        worker = self._workers.pop()
        family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        worker.wait()

    def stop(self) -> None:
        """Stop everything."""
        while self._workers:
            self.kill_worker()
        self._master.kill()
        self._master.wait()

    def _start(self, name: str, *arguments: str, log: str) -> subprocess.Popen[bytes]:
        command = [str(Path(pyspark.__file__).parent / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}"]
        env = {
            **os.environ,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "PYTHONPATH": str(PROJECT_ROOT),
            "SPARK_DAEMON_MEMORY": "256m",
        }
        with (self._folder / f"{log}.log").open("wb") as out:
            return subprocess.Popen([*command, *arguments], env=env, stdout=out, stderr=out, cwd=self._folder)

    def _wait(self, log: str, words: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while words not in (said := (self._folder / f"{log}.log").read_text(errors="replace")):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{log} did not start:\n{said}")
            time.sleep(0.1)


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """Yield a cluster."""
    made = Cluster(folder)
    try:
        for _ in range(workers):
            made.add_worker()
        yield made
    finally:
        made.stop()
