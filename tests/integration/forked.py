"""Run commands in forks of a process that has imported the libraries: dbt alone takes two seconds to import.

A command still has a process, an environment, a folder and streams of its own, and imports this project's code anew.
"""

from __future__ import annotations

import atexit
import faulthandler
import functools
import gc
import importlib
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PROGRAMS = {"dbt": "dbt.cli.main:cli", "ingest": "ingest.cli:main"}
LIBRARIES = (
    "dbt.cli.main",
    "dbt.adapters.duckdb",
    "dbt.adapters.postgres",
    "geopandas",
    "huey",
    "psycopg",
    "pyarrow.dataset",
    "pyogrio",
    "redis",
    "rich.table",
    "sqlalchemy",
    "tests.integration.compiled",
    "tests.integration.parsed",
    "tests.integration.warmed",
)
AT_START = ("PYTHON", "LC_", "LANG", "TZ", "LD_")  # what is read once, when an interpreter starts
SEEN_TO = {"PYTHONPATH", "PYTHONFAULTHANDLER"}  # of these, by `_become`

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(LIBRARIES))


def is_possible(env: Mapping[str, str]) -> bool:
    """Whether an environment differs in nothing that an interpreter reads only when it starts."""
    names = env.keys() ^ os.environ.keys()
    names |= {name for name in env.keys() & os.environ.keys() if env[name] != os.environ[name]}
    return not any(name.startswith(AT_START) for name in names - SEEN_TO)


def run(
    program: str, arguments: Sequence[str], folder: Path, env: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a program as `subprocess.run` does that captures its text.

    Parameters
    ----------
    program : str
        One of `PROGRAMS`.
    arguments : sequence of str
        Of the command line.
    folder : Path
        Working directory.
    env : mapping
        The whole environment.
    seconds : float
        How long it may take.

    Raises
    ------
    subprocess.TimeoutExpired
        When it takes longer; it is killed.
    """
    with tempfile.TemporaryDirectory() as streams:
        printed = [Path(streams) / name for name in ("stdout", "stderr")]
        process = Fork(program, arguments, folder, env, printed)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        out, err = (path.read_text() for path in printed)
    return subprocess.CompletedProcess([program, *arguments], code, out, err)


class Fork:
    """A program that was started, to be watched and hit as a `subprocess.Popen`.

    Parameters
    ----------
    program, arguments, folder, env
        As of `run`.
    printed : sequence of Path
        The files to which it writes what it prints: of its output, and of its errors.
    """

    def __init__(
        self, program: str, arguments: Sequence[str], folder: Path, env: Mapping[str, str], printed: Sequence[Path]
    ) -> None:
        self._command = [program, *arguments]
        streams = [str(path) for path in printed]
        self._process = _context.Process(
            target=_become, args=(program, list(arguments), str(folder), dict(env), streams, _store().name)
        )
        self._process.start()

    def poll(self) -> int | None:
        """Return its exit code, or nothing while it is at work."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code at its end; raise `subprocess.TimeoutExpired` if that takes longer."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._command, timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self._process.exitcode is None and self._process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()


@functools.cache
def _store() -> tempfile.TemporaryDirectory[str]:
    """Return the folder of what dbt has parsed in forks of this process."""
    return tempfile.TemporaryDirectory(prefix="boundaries-parsed-")


def _become(
    program: str, arguments: list[str], folder: str, env: dict[str, str], streams: list[str], store: str
) -> None:
    """Be the program: in the fork."""
    for number, path in enumerate(streams, start=1):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    tempfile.tempdir = None  # the other process may have another one
    sys.path[:0] = [folder, *env.get("PYTHONPATH", "").split(os.pathsep)]
    sys.argv = [program, *arguments]
    if env.get("PYTHONFAULTHANDLER"):
        faulthandler.enable()
    sys.modules.pop("sitecustomize", None)
    with suppress(ImportError):
        importlib.import_module("sitecustomize")  # as an interpreter does at its start
    if program == "dbt":  # it makes few cycles, and a sixth of a build went into looking for them in the whole project
        gc.freeze()
        gc.disable()
        # the server of the forks has them; elsewhere dbt is not imported
        from tests.integration import compiled, parsed

        compiled.keep_templates(Path(store) / "templates")
        compiled.skip_unseen_events()
        compiled.find_macros_in_one_step()
        parsed.take_over(Path(store), arguments)
        atexit.register(parsed.keep, Path(store), arguments)
    try:
        pkgutil.resolve_name(PROGRAMS[program])()
    finally:
        atexit._run_exitfuncs()
