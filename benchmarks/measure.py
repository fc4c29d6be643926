"""Run a command, and measure its time and the peak memory of its processes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Cost:
    """The cost of a command.

    Attributes
    ----------
    seconds : float
        Duration of the command.
    peak_bytes : int
        Largest resident memory of any one of its processes.
    exit_code : int
        Exit code of the command; negative if a signal ended it.
    output : str
        Output of the command, including standard error.
    """

    seconds: float
    peak_bytes: int
    exit_code: int
    output: str


def run(command: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path, seconds: float) -> Cost:
    """Run a command to its end and measure it.

    Parameters
    ----------
    command, env, cwd
        As for `subprocess.Popen`.
    log : Path
        File for the output of the command.
    seconds : float
        Time after which the command is killed.
    """
    peaks: dict[int, int] = {}
    ended = threading.Event()
    with log.open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, env=dict(env), stdout=output, stderr=subprocess.STDOUT)
        watch = threading.Thread(target=_watch, args=(process.pid, peaks, ended))
        watch.start()
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            _kill(process.pid)
            code = process.wait()
        took = time.monotonic() - began
    ended.set()
    watch.join()
    return Cost(took, max(peaks.values(), default=0), code, log.read_text(errors="replace"))


def _watch(pid: int, peaks: dict[int, int], ended: threading.Event) -> None:
    """Record the peak memory of each process; the system tracks it, so peaks between two samples are not missed."""
    family = {pid}
    while not ended.wait(SAMPLE_SECONDS):
        for process in psutil.process_iter(["ppid"]):
            if process.info["ppid"] in family:
                family.add(process.pid)  # including those that outlive their parent
        for member in family:
            try:
                status = Path(f"/proc/{member}/status").read_text()
            except OSError:
                continue
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    peaks[member] = max(peaks.get(member, 0), int(line.split()[1]) * 1024)


def _kill(pid: int) -> None:
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def machine() -> dict[str, object]:
    """Return a description of the machine."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "unknown",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"processor": model, "cores": os.cpu_count(), "memory_gib": round(memory / 2**30)}
