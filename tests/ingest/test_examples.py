"""The examples in docs/examples begin what exists, as this version spells it."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from ingest.cli import cli
from ingest.settings import read_settings
from tests.conftest import ROOT

EXAMPLES = ROOT / "docs" / "examples"
UNITS = sorted((EXAMPLES / "systemd").iterdir())
INGEST = re.compile(r"python -m ingest ([^\n&|']*(?:\"[^\"]*\"[^\n&|']*)*)")


@pytest.mark.parametrize("path", [*UNITS, EXAMPLES / "crontab"], ids=lambda path: path.name)
def test_the_commands_of_an_example_are_accepted(path: Path) -> None:
    text = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    found = [shlex.split(each) for each in INGEST.findall(text)]
    assert found or path.suffix == ".timer"
    for name, *arguments in found:
        cli.commands[name].make_context(name, arguments)


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    assert len(UNITS) == 3
    for path in UNITS:
        text = path.read_text(encoding="utf-8").replace("/opt/admin-boundaries/.venv/bin/python", sys.executable)
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    program = shutil.which("systemd-analyze")
    if program is None:  # not on every machine: then at least each line is of the form that it reads
        for path in tmp_path.iterdir():
            assert all(re.match(r"$|#|\[\w+\]$|\w+=\S", line) for line in path.read_text().splitlines()), path.name
        return
    done = subprocess.run([program, "verify", *sorted(tmp_path.iterdir())], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or line.startswith("boundaries-")]
    assert not said


def test_a_cron_line_has_five_fields_and_a_lock() -> None:
    (line,) = [line for line in (EXAMPLES / "crontab").read_text(encoding="utf-8").splitlines() if line[0].isdigit()]
    assert re.match(r"0 3 \* \* \* cd .+ && flock --nonblock ", line)


def test_what_the_file_of_settings_says_reaches_the_commands_of_cron(tmp_path: Path) -> None:
    (tmp_path / "settings.env").write_text("PGHOST=db.example.org\n", encoding="utf-8")
    (tmp_path / "python").write_text('#!/bin/sh\necho "$PGHOST" "$@"\n', encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    text = (EXAMPLES / "crontab").read_text(encoding="utf-8").replace("/opt/admin-boundaries/.venv/bin", str(tmp_path))
    for shown in ("/opt/admin-boundaries", "/tmp/boundaries.lock", "/etc/admin-boundaries.env"):
        is_folder, is_lock = shown.startswith("/opt"), shown.endswith(".lock")
        text = text.replace(shown, str(tmp_path if is_folder else tmp_path / ("lock" if is_lock else "settings.env")))
    *settings, line = [each for each in text.splitlines() if not each.startswith("#")]
    env = dict(each.split("=", 1) for each in settings)
    command = line.split(" ", 5)[5]
    done = subprocess.run([env["SHELL"], "-c", command], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "db.example.org -m ingest refresh --build",
        "db.example.org -m ingest prune",
    ]


@pytest.mark.parametrize("target", ["", "postgres"])
def test_airflow_builds_where_a_refresh_has_loaded(
    target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    modules = ("airflow.providers.standard.operators.bash", "airflow.sdk", "cosmos", "cosmos.operators.local")
    for name in modules:  # are in another environment
        monkeypatch.setitem(sys.modules, name, MagicMock())
    monkeypatch.setenv("WAREHOUSE_TARGET", target)
    monkeypatch.setenv("WAREHOUSE_HOME", str(tmp_path))
    runpy.run_path(str(EXAMPLES / "airflow_boundaries.py"))
    told = sys.modules["cosmos"].ProfileConfig.call_args.kwargs  # type: ignore[attr-defined]
    assert told["target_name"] == read_settings().target


@pytest.fixture(scope="module")
def orchestrators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The interpreter of an environment with Dagster and Airflow, whose 190 packages come from the registry."""
    folder = tmp_path_factory.mktemp("orchestrators")
    uv = (sys.executable, "-m", "uv", "--quiet")
    subprocess.run([*uv, "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    install = ("pip", "install", "--python", str(python), "--require-hashes", "--only-binary", ":all:")
    subprocess.run([*uv, *install, "-r", str(ROOT / "requirements-examples.lock")], check=True)
    yield python
    shutil.rmtree(folder)


LOADED = {
    "dagster_boundaries": """
defs = example["defs"]
graph = defs.resolve_asset_graph()
above = {key.to_user_string(): [each.to_user_string() for each in graph.get(key).parent_keys]
         for key in graph.get_all_asset_keys()}
told = [above, [[each.name, each.cron_schedule] for each in defs.schedules], defs.resources["dbt"].project_dir]
""",
    "airflow_boundaries": """
(dag,) = (value.dag for name, value in example.items() if name == "build")
told = [{task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks}, [[dag.dag_id, dag.schedule]],
        str(example["build"].project_dir)]
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADED)
def test_an_orchestrator_loads_its_example_as_a_chain_of_three(name: str, orchestrators: Path, tmp_path: Path) -> None:
    path = EXAMPLES / f"{name}.py"
    program = f"import json, runpy\nexample = runpy.run_path({str(path)!r})\n{LOADED[name]}\nprint(json.dumps(told))"
    env = {each: value for each, value in os.environ.items() if each != "PYTHONPATH"}
    env |= {"AIRFLOW_HOME": str(tmp_path), "DAGSTER_DISABLE_TELEMETRY": "yes"}
    done = subprocess.run([str(orchestrators), "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    above, schedules, project = json.loads(done.stdout.splitlines()[-1])
    load, build, prune = ("raw_boundaries", "marts", "room") if "dagster" in name else ("refresh", "build", "prune")
    assert above == {load: [], build: [load], prune: [build]}
    assert schedules == [["nightly" if "dagster" in name else "admin_boundaries", "0 3 * * *"]]
    assert project == str(ROOT)
    assert f"docs/examples/{path.name}" in path.read_text(encoding="utf-8")
