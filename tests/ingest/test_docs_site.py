"""The docs site: every table and column described, every text written once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

FILES = [*sorted((ROOT / "models").rglob("*.yml")), ROOT / "seeds" / "_seeds.yml"]
DOC = re.compile(r"doc\('(\w+)'\)")


def described(value: Any) -> Iterator[dict[str, Any]]:
    """Yield what a file describes: models, sources, tables, seeds and their columns, an anchor once."""
    if isinstance(value, dict):
        if "name" in value and ("description" in value or "columns" in value):
            yield value
        for each in value.values():
            yield from described(each)
    elif isinstance(value, list):
        for each in value:
            yield from described(each)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_everything_is_described(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert [each["name"] for each in described(content) if not str(each.get("description", "")).strip()] == []
    columns = [column for each in described(content) for column in each.get("columns", [])]
    assert [column["name"] for column in columns if not column.get("description")] == []


def test_a_text_of_several_columns_is_a_doc_block() -> None:
    texts: Counter[str] = Counter()
    for path in FILES:
        unique = {id(each): each for each in described(yaml.safe_load(path.read_text()))}
        texts.update(
            str(each["description"]).strip() for each in unique.values() if "doc(" not in str(each["description"])
        )
    assert [text for text, count in texts.items() if count > 1] == []


def test_every_doc_block_is_there_once_and_is_used() -> None:
    blocks = re.findall(r"{% docs (\w+) %}", "".join(path.read_text() for path in (ROOT / "models/docs").glob("*.md")))
    used = {name for path in FILES for name in DOC.findall(path.read_text())}
    assert sorted(blocks) == sorted(set(blocks))
    assert used - set(blocks) == set()
    assert set(blocks) - used == {"__overview__"}
