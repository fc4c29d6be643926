"""Build the marts after a load, as ``dbt build`` on the command line does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ingest.errors import BuildFailed
from ingest.settings import PROJECT_ROOT, Settings, dbt_environment


def build(settings: Settings, root: Path = PROJECT_ROOT) -> None:
    """Run ``dbt build`` with this Python and this environment, and show its output as it comes.

    It runs in the project's folder, which a relative WAREHOUSE_HOME starts from, whatever the current folder is, and on
    the target of the settings.

    Parameters
    ----------
    settings : Settings
        Of the target.
    root : Path
        Folder of the dbt project.

    Raises
    ------
    BuildFailed
        When dbt fails; its exit code is that of dbt.
    """
    folders = ["--project-dir", str(root), "--profiles-dir", str(root / "profiles")]
    # Python warns of the way in which dbt imports its own main module.
    python = [sys.executable, "-W", "ignore::RuntimeWarning:runpy", "-m"]
    command = [*python, "dbt.cli.main", "build", *folders, "--target", settings.target]
    sys.stdout.flush()  # what was printed before comes first
    with subprocess.Popen(command, cwd=root, env=dbt_environment(settings)) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()  # the terminal has interrupted dbt as well, which now cancels its queries
            raise
    if code:
        raise BuildFailed.of_dbt(code)
