"""Build marts after a load, as ``dbt build`` on the command line does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from ingest import catalog
from ingest.errors import BuildFailed, IngestError, MartsMissing
from ingest.settings import BOUNDARIES, PROJECT_ROOT, Settings, build_command, dbt_environment, require_project

BUSY = "Another dbt build is at work"  # what dbt then says, on every target


def command(dataset: str) -> str:
    """Return the command that builds a dataset into marts: its own, or of those that a flat one is in, the first."""
    return build_command(dataset if catalog.get(dataset).is_hierarchy else BOUNDARIES)


def due(
    settings: Settings, loaded: Collection[str], faults_of_marts: Callable[[Settings], Sequence[str]]
) -> list[Settings]:
    """Find the marts to build after a load.

    Marts of a hierarchical dataset are due when it was loaded, and they are missing, stale, or cannot be read. A flat
    dataset is in the marts of every other one: those that exist are due if they are stale.

    Parameters
    ----------
    settings : Settings
        Of the target.
    loaded : collection of str
        The datasets that were loaded.
    faults_of_marts : callable
        Returns a sentence for each dataset whose marts are stale; raises `IngestError` if they cannot be read.

    Returns
    -------
    list of Settings
        With the dataset of the marts; those of `settings` themselves if no dataset has marts yet.
    """
    known = catalog.datasets()
    has_flat = any(not known[name].is_hierarchy for name in loaded)
    found, have_marts = [], False
    for name in catalog.hierarchies():
        if name not in loaded and not has_flat:
            continue
        of_name = replace(settings, boundaries=name)
        try:
            is_due, is_there = bool(faults_of_marts(of_name)), True
        except MartsMissing:
            is_due, is_there = name in loaded, False
        except IngestError:  # only dbt's user may read them, or they are in an object store
            is_due, is_there = name in loaded, False
        have_marts |= is_there
        if is_due:
            found.append(of_name)
    return found or ([] if have_marts else [settings])


def build(settings: Settings, root: Path = PROJECT_ROOT) -> None:
    """Run ``dbt build`` with this Python and this environment, and show its output as it comes.

    It runs in the project's folder, which a relative WAREHOUSE_HOME starts from, whatever the current folder is, on the
    target of the settings and for their dataset.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset.
    root : Path
        Folder of the dbt project.

    Raises
    ------
    BuildFailed
        When dbt fails; its exit code is that of dbt.
    SettingsError
        When there is no dbt project.
    """
    sys.stdout.flush()  # what was printed before comes first
    with start(settings, root=root) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()  # the terminal has interrupted dbt as well, which now cancels its queries
            raise
    if code:
        raise BuildFailed.of_dbt(settings.build_command, code)


def start(settings: Settings, *, output: IO[bytes] | None = None, root: Path = PROJECT_ROOT) -> subprocess.Popen[bytes]:
    """Start ``dbt build`` as `build` does.

    With ``output``, what it says is written there, Ctrl-C does not reach it, and it ends with this process even if that
    is killed, where util-linux is installed. Elsewhere it goes on to its end, and others wait for it.
    """
    require_project()
    folders = ["--project-dir", str(root), "--profiles-dir", str(root / "profiles")]
    # Python warns of the way in which dbt imports its own main module.
    python = [sys.executable, "-W", "ignore::RuntimeWarning:runpy", "-m"]
    command = [*python, "dbt.cli.main", "build", *folders, "--target", settings.target]
    apart: dict[str, Any] = {}
    if output is not None:
        apart = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, "start_new_session": True}
        if bound := shutil.which("setpriv"):
            command = [bound, "--pdeathsig", "TERM", "--", *command]
    return subprocess.Popen(command, cwd=root, env=dbt_environment(settings), **apart)
