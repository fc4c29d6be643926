"""Tracebacks of failed attempts are kept, and hold no secret."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.ledger import Ledger
from ingest.pipeline import faults
from ingest.settings import Postgres, Settings
from tests.fixtures import boundaries
from tests.ingest.conftest import Pipeline

SECRET = "5igned-by-the-publi5her"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("GET https://host/a.zip?X-Amz-Signature=abc&b=c failed", "GET https://host/a.zip?… failed"),
        ("('https://host/a?b', 1)", "('https://host/a?…', 1)"),
        ("postgresql://anna:pass@host/db", "postgresql://…@host/db"),
        ("redis://:pass@host:6379/0", "redis://…@host:6379/0"),
        ("host=db password=pass user=anna", "host=db password=… user=anna"),
        ("is this a question? yes", "is this a question? yes"),
        ("https://host/a.zip answered 404", "https://host/a.zip answered 404"),
    ],
)
def test_what_looks_like_a_secret_is_blotted_out(text: str, redacted: str) -> None:
    assert faults.redact(text) == redacted


def test_every_configured_secret_is_blotted_out_however_it_is_spelled(settings: Settings) -> None:
    where = Postgres(host="h", port=1, user="u", password="p@ss/word", dbname="d")
    full = replace(
        settings,
        postgres=where,
        redis_url="redis://:r%40dis-pass@h/0",
        secret="of-the-queue",
        alert_webhook="https://h/x",
    )
    text = "p@ss/word p%40ss%2Fword r@dis-pass r%40dis-pass of-the-queue https://h/x"
    assert faults.redact(text, faults.secrets_of(full)) == "… … … … … …"


def test_a_failed_attempt_is_noted_with_its_traceback(pipeline: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "gadm.gpkg"
    path.write_text("no GeoPackage")
    run_id = pipeline.run(path)
    found = pipeline.ledger.faults(run_id)
    assert found
    assert {fault.run_id for fault in found} == {run_id}
    assert "Traceback (most recent call last)" in found[0].traceback
    assert found[0].error in (pipeline.state(run_id)[1] or "")
    assert found[0].stage in ("fetch", "plan")


def test_a_traceback_holds_no_query_and_no_secret(
    pipeline: Pipeline, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))

    def fails(*_arguments: object) -> None:
        try:
            raise OSError(f"curl: https://host/gadm.gpkg?signature={SECRET} with {settings.secret}")
        except OSError as error:
            raise RuntimeError("no luck") from error

    monkeypatch.setattr(pipeline.steps, "_planned", fails)
    run_id = pipeline.run(path)
    (fault,) = pipeline.ledger.faults(run_id)
    assert "no luck" in fault.error
    assert "https://host/gadm.gpkg?…" in fault.traceback
    with sqlite3.connect(pipeline.ledger.place) as connection:
        everything = "\n".join(connection.iterdump())
    assert SECRET not in everything
    assert settings.secret not in everything


def test_a_ledger_that_does_not_answer_is_no_further_fault(
    settings: Settings, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    from ingest.pipeline.tasks import fetch_file

    broken = Ledger(replace(settings, home=settings.home / "elsewhere"))
    (settings.home / "elsewhere").rename(settings.home / "gone")
    faults.note(settings, broken, fetch_file.s("run", 0), ValueError("why"))
    assert "could not be recorded" in caplog.text


def test_of_a_long_traceback_the_end_is_kept_which_says_what_happened(settings: Settings, ledger: Ledger) -> None:
    from ingest.pipeline.tasks import fetch_file

    try:
        raise ValueError("x" * faults.TRACEBACK_CHARACTERS + " and that was it")
    except ValueError as error:
        faults.note(settings, ledger, fetch_file.s("run", 3), error)
    (fault,) = ledger.faults()
    assert len(fault.traceback) == faults.TRACEBACK_CHARACTERS
    assert fault.traceback.rstrip().endswith("and that was it")


@pytest.mark.parametrize(("task", "part"), [("fetch_file", 3), ("load_slice", 3), ("plan_run", None)])
def test_a_failed_attempt_says_which_file_or_slice_it_was_about(
    settings: Settings, ledger: Ledger, task: str, part: int | None
) -> None:
    from ingest.pipeline import tasks

    faults.note(settings, ledger, getattr(tasks, task).s("run", 3), ValueError("why"))
    (fault,) = ledger.faults()
    assert (fault.stage, fault.part_no) == (faults.STAGES[task], part)


def test_the_errors_of_a_run_are_its_own_newest_first(settings: Settings, ledger: Ledger) -> None:
    from ingest.pipeline.tasks import fetch_file

    for run_id, text in (("mine", "first"), ("other", "second"), ("mine", "third")):
        faults.note(settings, ledger, fetch_file.s(run_id, 0), ValueError(text))
    assert [fault.error for fault in ledger.faults("mine")] == ["third", "first"]
    assert [fault.error for fault in ledger.faults(limit=2)] == ["third", "second"]


def test_a_secret_that_begins_as_another_does_is_redacted_whole(settings: Settings) -> None:
    alike = replace(settings, secret="swordfish", alert_webhook="swordfish-and-more")
    assert faults.redact("swordfish-and-more swordfish", faults.secrets_of(alike)) == "… …"
