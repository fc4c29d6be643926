"""Run commands in forks of a process that has imported the libraries: dbt alone takes two seconds to import.

A command still has a process, an environment, a folder and streams of its own, and imports this project's code anew.
"""

from __future__ import annotations

import atexit
import functools
import gc
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
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
    "tests.integration.parsed",
    "tests.integration.warmed",
)
AT_START = ("PYTHON", "LC_", "LANG", "TZ", "LD_")  # what is read once, when an interpreter starts

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(LIBRARIES))


def is_possible(env: Mapping[str, str]) -> bool:
    """Whether an environment differs in nothing that an interpreter reads only when it starts."""
    names = {name for name in env.keys() ^ os.environ.keys() if name != "PYTHONPATH"}
    names |= {name for name in env.keys() & os.environ.keys() if env[name] != os.environ[name]}
    return not any(name.startswith(AT_START) for name in names - {"PYTHONPATH"})


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
        process = _context.Process(
            target=_become,
            args=(program, list(arguments), str(folder), dict(env), [str(path) for path in printed], _store().name),
        )
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([program, *arguments], seconds)
        out, err = (path.read_text() for path in printed)
    return subprocess.CompletedProcess([program, *arguments], process.exitcode, out, err)


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
    sys.path[:0] = [folder, *env.get("PYTHONPATH", "").split(os.pathsep)]
    sys.argv = [program, *arguments]
    if program == "dbt":  # it makes few cycles, and a sixth of a build went into looking for them in the whole project
        gc.freeze()
        gc.disable()
        from tests.integration import parsed  # the server of the forks has it; elsewhere dbt is not imported

        parsed.take_over(Path(store), arguments)
        atexit.register(parsed.keep, Path(store), arguments)
    try:
        pkgutil.resolve_name(PROGRAMS[program])()
    finally:
        atexit._run_exitfuncs()
