"""A server whose ledger the first edition wrote: the next command brings it up to date, and what it holds stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from ingest import __version__
from ingest.ledger.migrations import STEPS
from tests.conftest import ROOT
from tests.integration.conftest import NewWarehouse, Warehouse

pytestmark = pytest.mark.servers

FIRST_EDITION = Path(__file__).parent.parent / "fixtures" / "ledgers" / "first_edition.postgres.sql"
APPLIED = [(step.number,) for step in STEPS if step.number > 1]
ADDED = (
    "{ingest_version,is_private,shown_at,stage_attempts,is_kept,stored_bytes,stored_sha256,"
    "base_run_id,countries,rows_replaced,carried_from}"
)
TABLES = ("ingest_runs", "ingest_files", "ingest_slices", "ingest_errors", "ingest_alerts", "ingest_consumers")


@pytest.fixture
def old(new_warehouse: NewWarehouse) -> Warehouse:
    """A warehouse with the ledger of the first edition."""
    warehouse = new_warehouse()
    with psycopg.connect(str(warehouse.dsn)) as connection:
        connection.execute(FIRST_EDITION.read_text(encoding="utf-8"))  # type: ignore[arg-type]
    return warehouse


def shape(warehouse: Warehouse) -> list[tuple[str, str, str, str]]:
    """Return the columns of the ledger's tables, and their types."""
    return warehouse.query(
        "select table_name::text, column_name::text, data_type::text, is_nullable::text "
        "from information_schema.columns where table_schema = 'raw' and table_name like 'ingest_%' order by 1, 2"
    )


def held(warehouse: Warehouse) -> dict[str, list[tuple[object, ...]]]:
    """Return all that the first edition noted, without the columns that it did not have."""
    return {
        table: warehouse.query(f"select (to_jsonb(t) - '{ADDED}'::text[])::text from raw.{table} t order by 1")
        for table in TABLES
    }


def test_the_next_command_brings_it_up_to_date_and_keeps_what_it_holds(
    old: Warehouse, new_warehouse: NewWarehouse
) -> None:
    before = held(old)
    assert all(before.values())
    assert "loading" in old.ingest("status").stdout
    assert held(old) == before
    assert (
        old.query("select step from raw.ingest_migrations where ingest_version = '" + __version__ + "' order by step")
        == APPLIED
    )
    new = new_warehouse()
    new.ingest("status")
    assert shape(old) == shape(new)


def test_a_view_of_the_marts_on_the_runs_is_no_obstacle_and_stays(old: Warehouse) -> None:
    with psycopg.connect(str(old.dsn)) as connection:
        connection.execute("create view public.published_runs as select run_id, state, release from raw.ingest_runs")
    before = old.query("select * from public.published_runs order by run_id")
    old.ingest("status")
    assert old.query("select step from raw.ingest_migrations order by step") == APPLIED
    assert old.query("select * from public.published_runs order by run_id") == before


def test_several_commands_at_once_take_each_step_once(old: Warehouse) -> None:
    command = [sys.executable, "-m", "ingest", "status"]
    commands = [
        subprocess.Popen(command, cwd=ROOT, env=old.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    assert [(each.communicate(timeout=60)[1], each.returncode) for each in commands] == [("", 0)] * 5
    assert old.query("select step from raw.ingest_migrations order by step") == APPLIED


def test_a_ledger_of_a_newer_version_is_refused_by_commands_and_workers(old: Warehouse) -> None:
    old.ingest("status")
    with psycopg.connect(str(old.dsn)) as connection:
        connection.execute("insert into raw.ingest_migrations values (99, 'from the future', now(), '9.9')")
    before = held(old)
    for arguments in (("status",), ("worker", "--workers", "1"), ("resume",)):
        refused = old.ingest(*arguments, expect=1)
        assert "is at step 99, written by version 9.9" in refused.stderr
        assert "Update this installation" in refused.stderr
    assert held(old) == before


def test_a_session_that_holds_the_ledger_is_named_and_not_waited_for_for_ever(old: Warehouse) -> None:
    with psycopg.connect(str(old.dsn)) as reader:
        reader.execute("select count(*) from raw.ingest_runs")
        waiting = old.ingest("status", expect=1)
    assert "is locked by another session" in waiting.stderr
    assert "Traceback" not in waiting.stderr
    assert old.query("select to_regclass('raw.ingest_migrations') is null") == [(True,)]
    old.ingest("status")
