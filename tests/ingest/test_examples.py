"""The examples in docs/examples begin what exists, as this version spells it."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.cli import cli
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
    assert re.match(r"0 3 \* \* \* cd \S+ && flock --nonblock ", line)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_the_examples_for_orchestrators_parse_and_name_what_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    ast.parse(text)
    assert f"docs/examples/{path.name}" in text
    assert '"profiles"' in text
