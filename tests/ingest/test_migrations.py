"""A ledger of an older version is brought up to date with all that it holds; one of a newer version is refused."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from ingest import __version__
from ingest.errors import LedgerTooNew, TargetUnavailable
from ingest.ledger import Ledger, Reading, RunState, migrations
from ingest.ledger.migrations import STEPS, Step
from ingest.settings import Settings
from tests.fixtures import marts

FIRST_EDITION = Path(__file__).parent.parent / "fixtures" / "ledgers" / "first_edition.sqlite.sql"
ADDED = (
    *("ingest_version", "is_private", "shown_at", "stage_attempts", "is_kept", "stored_bytes", "stored_sha256"),
    *("base_run_id", "countries", "rows_replaced", "carried_from"),
)
BREAKS = Step(STEPS[-1].number + 1, "breaks half way", ("alter table {raw}ingest_runs add column x text", "no SQL"))


@contextmanager
def sqlite(settings: Settings) -> Iterator[sqlite3.Connection]:
    """Open the ledger's file without the ledger."""
    with closing(sqlite3.connect(settings.home / "ledger.sqlite")) as connection, connection:
        yield connection


@pytest.fixture
def old(settings: Settings) -> Ledger:
    """A ledger that the first edition wrote: ten runs, one of them interrupted while it was loading."""
    ledger = Ledger(settings)
    with sqlite(settings) as connection:
        connection.executescript(FIRST_EDITION.read_text(encoding="utf-8"))
    return ledger


def columns(ledger: Ledger) -> dict[str, list[str]]:
    """Return the columns of every table of a ledger, in order of their names: a new one is added behind the others."""
    with ledger.transaction() as connection:
        known = sa.inspect(connection)
        return {table: sorted(c["name"] for c in known.get_columns(table)) for table in known.get_table_names()}


def rows(settings: Settings, table: str) -> list[tuple[object, ...]]:
    """Return the rows of a table, by what the first edition had of it."""
    with sqlite(settings) as connection:
        names = [row[1] for row in connection.execute(f"pragma table_info({table})") if row[1] not in ADDED]
        return sorted(connection.execute(f"select {', '.join(names)} from {table}").fetchall(), key=repr)


def test_a_ledger_of_the_first_edition_gets_the_shape_of_a_new_one(
    old: Ledger, settings: Settings, tmp_path: Path
) -> None:
    new = Ledger(Settings(target="embedded", home=tmp_path / "new", postgres=None, redis_url="", secret="s"))
    new.open()
    assert columns(old) != columns(new)
    old.open()
    assert columns(old) == columns(new)


def test_nothing_that_the_first_edition_noted_is_lost(old: Ledger, settings: Settings) -> None:
    tables = ("ingest_runs", "ingest_files", "ingest_slices", "ingest_errors", "ingest_alerts", "ingest_consumers")
    before = {table: rows(settings, table) for table in tables}
    assert all(before.values())
    old.open()
    assert {table: rows(settings, table) for table in tables} == before


def test_a_run_that_the_first_edition_left_half_loaded_goes_on(old: Ledger) -> None:
    old.open()
    (run,) = old.active_runs()
    assert (run.state, run.ingest_version) == (RunState.LOADING, None)
    assert old.requeue_expired(run.run_id) == 1
    queued = next(part for part in old.slices(run.run_id) if part.state == "queued")
    claimed = old.claim(run.run_id, queued.slice_no)
    assert claimed is not None
    assert claimed.request == run.request
    assert claimed.file == old.files(run.run_id)[claimed.file_no]
    assert isinstance(claimed.reading, Reading)
    assert claimed.reading.columns


def test_every_run_of_the_first_edition_can_be_read(old: Ledger) -> None:
    old.open()
    assert {run.state for run in old.recent_runs()} >= {"published", "superseded", "unchanged", "failed", "loading"}
    for run in old.recent_runs():
        assert run.request.public_sources
        assert len(old.files(run.run_id)) <= len(run.request.sources)
    assert old.faults()


def test_a_ledger_from_before_the_table_of_errors_gets_it(old: Ledger, settings: Settings) -> None:
    with sqlite(settings) as connection:
        connection.execute("drop table ingest_errors")
    old.open()
    assert old.faults() == []


def test_a_ledger_that_is_up_to_date_is_left_alone(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "metadata", None)
    assert migrations.bring_up_to_date(ledger) == []


def test_the_steps_are_noted_with_the_version_that_took_them(old: Ledger, settings: Settings) -> None:
    old.open()
    with sqlite(settings) as connection:
        noted = connection.execute("select step, ingest_version from ingest_migrations order by step").fetchall()
    assert noted == [(step.number, __version__) for step in STEPS if step.number > 1]


def test_a_new_run_says_which_version_noted_it(ledger: Ledger, request_of: object) -> None:
    run_id = ledger.create_run(request_of(), None)  # type: ignore[operator]
    assert ledger.run(run_id).ingest_version == __version__


def test_a_ledger_of_a_newer_version_is_refused_and_not_touched(ledger: Ledger, settings: Settings) -> None:
    with sqlite(settings) as connection:
        connection.execute("insert into ingest_migrations values (99, 'from the future', '2030-01-01', '9.9')")
    before = columns(ledger)
    with pytest.raises(LedgerTooNew, match=r"is at step 99, written by version 9\.9"):
        ledger.open()
    assert columns(ledger) == before


def test_a_step_that_fails_changes_nothing(old: Ledger) -> None:
    before = columns(old)
    with pytest.raises(TargetUnavailable, match="syntax error"):
        migrations.bring_up_to_date(old, [*STEPS, BREAKS])
    assert columns(old) == before


def test_of_many_that_open_an_old_ledger_at_once_one_takes_the_steps(old: Ledger, settings: Settings) -> None:
    taken: list[list[Step]] = []
    threads = [
        threading.Thread(target=lambda: taken.append(migrations.bring_up_to_date(Ledger(settings)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 8
    assert sum(map(len, taken)) == len(STEPS) - 1


def test_a_new_ledger_is_not_reported_as_upgraded(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert migrations.bring_up_to_date(Ledger(settings)) == []
    Ledger(settings).open()
    assert "upgraded" not in caplog.text


def test_the_pictures_of_a_docs_page_upgrade_an_old_ledger_first(
    old: Ledger, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from admin_boundaries import pictures
    from ingest import cli

    told: list[str] = []
    marts.write(settings.home)
    monkeypatch.setenv("WAREHOUSE_HOME", str(settings.home))
    monkeypatch.setattr(pictures, "draw", lambda *_arguments: [])
    monkeypatch.setattr(pictures, "finish", lambda _page, _drawn, loaded: told.append(loaded))
    cli.cli.main(["pictures", "--page", str(tmp_path / "page.html")], standalone_mode=False)
    assert "release" in told[0]


def test_the_numbers_of_the_steps_run_without_a_gap() -> None:
    assert [step.number for step in STEPS] == list(range(1, len(STEPS) + 1))
