"""The digest of a mart tells contents apart, and nothing but contents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from admin_boundaries.duckdb_spatial import load_spatial
from ingest.settings import Settings
from scripts import digest_marts
from scripts.digest_marts import Digest

Row = tuple[Any, ...]
COLUMNS = ("gid text", "name text", "area_km2 double", "geom geometry('EPSG:4326')")
ROWS: list[Row] = [
    ("AAA.1_1", "Ünit 1", 0.1 + 0.2, "POLYGON((0 0, 4 0, 4 4, 0 0))"),
    ("AAA.2_1", "", 12.5, "POLYGON((4 0, 8 0, 8 4, 4 0))"),
    ("AAA.3_1", None, None, None),
]


def digests(settings: Settings, rows: Sequence[Row] = ROWS, columns: Sequence[str] = COLUMNS) -> list[Digest]:
    """Write a fresh warehouse with one mart, and return what is digested of it."""
    settings.home.mkdir(exist_ok=True)
    path = settings.home / "warehouse.duckdb"
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path), config={"storage_compatibility_version": "v1.5.0"}) as connection:
        load_spatial(connection)
        connection.execute("create schema marts")
        connection.execute(f"create table marts.admin_units ({', '.join(columns)})")
        for row in rows:
            connection.execute(f"insert into marts.admin_units values ({', '.join('?' * len(row))})", row)
    with digest_marts.opened(settings) as warehouse:
        return list(digest_marts.digests(warehouse))


def changed(row: int, column: int, value: object) -> list[Row]:
    """Return the rows with one value replaced."""
    rows = [list(each) for each in ROWS]
    rows[row][column] = value
    return [tuple(each) for each in rows]


def test_the_same_rows_in_another_order_have_the_same_digest(settings: Settings) -> None:
    assert digests(settings) == digests(settings, ROWS[::-1])


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(changed(0, 3, "POLYGON((0 0, 4 0, 4 4.0000000001, 0 0))"), id="one vertex"),
        pytest.param(changed(0, 3, "POLYGON((4 0, 4 4, 0 0, 4 0))"), id="the first vertex of a ring"),
        pytest.param(changed(2, 3, "POLYGON EMPTY"), id="an empty geometry for NULL"),
        pytest.param(changed(0, 1, "Unit 1"), id="one text"),
        pytest.param(changed(1, 1, None), id="NULL for an empty text"),
        pytest.param(changed(2, 2, 0.0), id="0 for NULL"),
        pytest.param(changed(1, 2, 12.50001), id="one number"),
        pytest.param([(ROWS[1][0], *ROWS[0][1:]), (ROWS[0][0], *ROWS[1][1:]), ROWS[2]], id="two keys exchanged"),
        pytest.param(ROWS[:2], id="a missing row"),
        pytest.param([*ROWS, ROWS[0], ROWS[0]], id="a row twice more"),
    ],
)
def test_a_digest_shows_a_change_of(settings: Settings, rows: list[Row]) -> None:
    assert digests(settings)[0].value != digests(settings, rows)[0].value


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param(("key text", *COLUMNS[1:]), id="name"),
        pytest.param((*COLUMNS[:2], "area_km2 float", COLUMNS[3]), id="type"),
        pytest.param((*COLUMNS[:3], "geom geometry('OGC:CRS84')"), id="reference system"),
    ],
)
def test_a_digest_shows_a_changed_column_also_of_an_empty_table(settings: Settings, columns: Sequence[str]) -> None:
    assert digests(settings, [])[0].value != digests(settings, [], columns)[0].value


def test_the_order_in_which_a_sum_was_added_up_does_not_show(settings: Settings) -> None:
    assert 0.1 + 0.2 != 0.3
    assert digests(settings) == digests(settings, changed(0, 2, 0.3))


def test_the_name_of_a_run_does_not_show(settings: Settings) -> None:
    columns = (*COLUMNS, "run_id text")
    first, second = (digests(settings, [(*row, run) for row in ROWS], columns) for run in ("one", "two"))
    assert first == second


def test_the_size_of_a_batch_does_not_show(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = digests(settings)
    monkeypatch.setattr(digest_marts, "BATCH_ROWS", 1)
    assert digests(settings) == whole
    assert whole[0].rows == len(ROWS)


def test_a_digest_shows_which_row_is_there_twice(settings: Settings) -> None:
    first, second = ([ROWS[number], *ROWS, ROWS[number]] for number in (0, 1))
    assert digests(settings, first)[0].value != digests(settings, second)[0].value


def test_text_does_not_run_into_the_next_column() -> None:
    assert digest_marts.canonical(("a", "text:b")) != digest_marts.canonical(("atext:", "b"))


def test_a_value_that_has_no_canonical_form_is_refused() -> None:
    with pytest.raises(TypeError, match="type object"):
        digest_marts.canonical(object())


def test_the_command_prints_a_line_for_every_mart(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    (digest,) = digests(settings)
    digest_marts.main()
    assert capsys.readouterr().out.split() == ["admin_units", "3", digest.value]


def test_a_warehouse_without_marts_is_an_error_and_stays_unmade(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Run `dbt build` first"):
        digest_marts.main()
    assert not list(tmp_path.rglob("warehouse.duckdb"))
    settings.home.mkdir(exist_ok=True)
    duckdb.connect(str(settings.home / "warehouse.duckdb")).close()
    with pytest.raises(SystemExit, match="There are no marts"):
        digest_marts.main()
