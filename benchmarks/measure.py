"""Run a command and say what it cost: seconds, and the most memory that each of its processes held."""

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
    """What a command came to.

    Attributes
    ----------
    seconds : float
        From its start to its end.
    peak_bytes : int
        The most resident memory that one of its processes ever held.
    exit_code : int
        Of the command; negative where a signal ended it.
    output : str
        What it printed, standard error included.
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
        Takes what it prints.
    seconds : float
        The command is killed once it has taken so long.
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
    """Note each process's high-water mark, which the system keeps: what lies between two looks is not missed."""
    family = {pid}
    while not ended.wait(SAMPLE_SECONDS):
        for process in psutil.process_iter(["ppid"]):
            if process.info["ppid"] in family:
                family.add(process.pid)  # also those that outlive the process which started them
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
    """Describe the machine that figures come from."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "unknown",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"processor": model, "cores": os.cpu_count(), "memory_gib": round(memory / 2**30)}
