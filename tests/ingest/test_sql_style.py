"""What sqlfluff does not look at: comments of Jinja, and the yml beside the models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from ingest import sessions
from tests.conftest import ROOT

LONGEST = 120
LONGEST_NAME = 63  # dbt makes a relation of this name
FOLDERS = ("models", "snapshots", "macros", "seeds", "tests/dbt")


def written() -> Iterator[Path]:
    """Yield the project's SQL and yml; CSV and Markdown have lines as long as their text."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".sql", ".yml"}:
                yield path


def test_no_line_of_sql_or_yml_is_longer_than_can_be_read() -> None:
    lines = [
        (path, number, line)
        for path in written()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    ]
    assert len({path for path, _, _ in lines}) > 100
    assert [f"{path}:{number}" for path, number, line in lines if len(line) > LONGEST] == []


def test_no_unit_test_of_dbt_has_a_name_that_postgresql_cuts_off() -> None:
    names = [
        test["name"]
        for path in written()
        if path.suffix == ".yml"
        for test in yaml.safe_load(path.read_text(encoding="utf-8")).get("unit_tests", [])
    ]
    assert len(names) >= 10
    assert [name for name in names if len(name) > LONGEST_NAME] == []


def test_dbt_begins_with_the_settings_that_ingest_begins_with() -> None:
    text = (ROOT / "macros" / "own_session.sql").read_text(encoding="utf-8")
    wanted = {**sessions.SETTINGS, **sessions.SETTINGS_TO_WRITE}
    del wanted["client_encoding"]  # psycopg2 has a function for it
    assert dict(re.findall(r"\('(\w+)', '([^']+)'\)", text)) == wanted
    assert " ".join(sessions.ENDED_WITH_ITS_CLIENT.split()) in " ".join(text.split())
