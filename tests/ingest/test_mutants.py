"""The list of faults fits the code that it is put into: `make mutants` takes too long to find that out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.mutants import Mutant, listed

MUTANTS = listed()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.harm}")
def test_a_fault_has_one_place_in_the_code(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1
    assert mutant.old != mutant.new
    assert mutant.harm


def test_the_tests_that_are_to_notice_exist(request: pytest.FixtureRequest) -> None:
    collected = {item.nodeid for item in request.session.items}  # in a whole run, these are all
    known = collected | {name.partition(end)[0] for name in collected for end in ("[", "::")}
    if names := sorted({name for mutant in MUTANTS for name in mutant.tests} - known):
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider", *names]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]


def test_there_are_enough_of_them_and_none_twice() -> None:
    assert len(MUTANTS) >= 100
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)
