"""What the documents name is there: a fault without a test that proves what is said of it is only a claim."""

from __future__ import annotations

import re

from tests.conftest import ROOT


def test_every_fault_names_a_test_that_exists() -> None:
    tests = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    known = {name for text in tests.values() for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    files = {path.relative_to(ROOT).as_posix() for path in tests}
    rows = re.findall(
        r"^\| (?!fault |---)(.+?) \| .+ \| (.+?) \|$", (ROOT / "docs/reliability.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 40
    for fault, proof in rows:
        named = re.findall(r"`(test_\w+)", proof)
        paths = re.findall(r"`(tests/\S+\.py)`", proof)
        parameters = re.findall(r"`…\[(\w+)\]`", proof)  # of the test in the row above
        assert named or paths or parameters, fault
        assert set(named) <= known, fault
        assert set(paths) <= files, fault
