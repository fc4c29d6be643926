"""How often a task is tried again, by the kind of its fault."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from huey.api import Task
from huey.signals import SIGNAL_RETRYING

from ingest import errors
from ingest.ledger import Ledger
from ingest.pipeline import retries
from ingest.pipeline.queue import huey
from tests.conftest import ROOT
from tests.fixtures import boundaries
from tests.ingest.conftest import Pipeline

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.IngestError)]


def task() -> SimpleNamespace:
    """Return what Huey makes of a task before its first attempt."""
    return SimpleNamespace(retries=retries.RETRIES, retry_delay=0)


def attempts(error: Exception) -> int:
    """Return how often a task runs that always fails in this way, counted as Huey counts."""
    made, done = task(), 1
    while retries.arrange(made, error):
        made.retries -= 1
        done += 1
    return done


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_fault_that_may_pass_is_tried_again(kind: type[errors.IngestError]) -> None:
    expected = {errors.TargetUnavailable: 9, errors.SourceInterrupted: 3, errors.CopyDamaged: 4}
    assert attempts(kind("It broke.")) == expected.get(kind, 1)


def test_a_fault_that_nobody_foresaw_is_not_tried_again() -> None:
    assert attempts(ZeroDivisionError("x")) == 1


def test_a_kind_of_fault_without_a_line_of_its_own_takes_that_of_the_kind_above() -> None:
    kind = type("RedisGone", (errors.TargetUnavailable,), {})
    assert retries.policy(kind("x")) == retries.POLICIES[errors.TargetUnavailable]


def test_to_arrange_twice_is_to_arrange_once() -> None:
    for error in (errors.TargetUnavailable("x"), errors.SourceInterrupted("x"), errors.SourceUnavailable("x")):
        once, twice = task(), task()
        retries.arrange(once, error)
        retries.arrange(twice, error)
        assert retries.arrange(twice, error) == bool(once.retries)
        assert once.retries == twice.retries


@pytest.mark.parametrize("policy", retries.POLICIES.values())
def test_pauses_grow_to_their_limit_and_differ_from_worker_to_worker(policy: retries.Policy) -> None:
    lengths = [min(policy.seconds * 2**retry, policy.longest) for retry in range(policy.retries)]
    drawn = [[policy.pause(retry) for _ in range(50)] for retry in range(policy.retries)]
    for length, pauses in zip(lengths, drawn, strict=True):
        assert all(length / 2 <= pause <= length for pause in pauses)
        assert len(set(pauses)) > 40
    assert lengths == sorted(lengths)


def test_the_pause_is_set_on_the_task() -> None:
    made = task()
    retries.arrange(made, errors.TargetUnavailable("x"))
    assert 0.5 <= made.retry_delay <= 1
    made.retries -= 7
    retries.arrange(made, errors.TargetUnavailable("x"))
    assert 10 <= made.retry_delay <= 20


def test_a_ledger_that_is_away_when_a_task_begins_is_waited_for(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, faults = Ledger.claim, [retries.POLICIES[errors.TargetUnavailable].retries]

    def away(*arguments: object) -> object:
        if faults[0]:
            faults[0] -= 1
            raise errors.TargetUnavailable("The server restarts.")
        return claim(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "claim", away)
    retried: list[str] = []

    def note(_signal: str, failed: Task) -> None:
        retried.append(failed.name)

    huey.signal(SIGNAL_RETRYING)(note)
    try:
        run_id = pipeline.run(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 0})))
    finally:
        huey.disconnect_signal(note)
    assert pipeline.state(run_id) == ("published", None)
    assert retried == ["load_slice"] * retries.POLICIES[errors.TargetUnavailable].retries


def test_the_documentation_has_the_numbers_of_the_table() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for policy in retries.POLICIES.values():
        line = rf"\| {policy.retries} \| {policy.seconds:g} to {policy.longest:g} s \|"
        assert re.search(line, text), line
