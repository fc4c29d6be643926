"""dbt's connection to the embedded warehouse."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from dbt.adapters.duckdb.credentials import DuckDBCredentials

from admin_boundaries import dbt_command, duckdb_plugin
from admin_boundaries.duckdb_edition import Edition


def test_dbt_finds_the_warehouse_again_when_it_connects_a_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_plugin, "get_flags", lambda: None)
    credentials = DuckDBCredentials(path=str(tmp_path / "warehouse.duckdb"), database="warehouse", schema="marts")
    found = []
    for _ in range(2):
        config: dict[str, Any] = {}
        plugin = duckdb_plugin.Plugin.create("admin_boundaries.duckdb_plugin", config={}, credentials=credentials)
        plugin.update_connection_config(credentials, config)
        found.append((credentials.path, config["temp_directory"]))
    assert found[0] == found[1]
    assert str(tmp_path) in found[0][1]


def test_a_build_that_connects_a_second_time_goes_on_with_what_it_has_made(tmp_path: Path) -> None:
    edition = Edition(tmp_path / "warehouse.duckdb")
    for statement in ("create table units as select 1 as n", "insert into units values (2)"):
        with duckdb.connect() as connection:
            edition.open(connection, is_whole=True, is_retry=False)
            connection.execute("use warehouse")
            connection.execute(statement)
    with duckdb.connect(edition.file, read_only=True) as made:
        assert made.execute("select n from units order by n").fetchall() == [(1,), (2,)]


def test_the_marts_of_another_dataset_can_be_read_and_not_written(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "warehouse_tiger.duckdb") as other:
        other.execute("create table units as select 1 as n")
    edition = Edition(tmp_path / "warehouse.duckdb")
    with duckdb.connect() as connection:
        for dataset in ("gadm", "tiger", "overture"):  # the one that is built, one that has been, one that has not
            edition.attach_other(connection, dataset)
        query = "select database_name, readonly from duckdb_databases() where path is not null"
        assert connection.execute(query).fetchall() == [("warehouse_tiger", True)]
        assert connection.execute("select n from warehouse_tiger.units").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("is_whole", "options"),
    [
        (True, {}),
        (True, {"EXCLUDE_RESOURCE_TYPES": ["test", "unit_test"]}),
        (True, {"RESOURCE_TYPES": ["model", "seed", "snapshot"]}),
        (False, {"RESOURCE_TYPES": ["model", "seed"]}),
        (False, {"EXCLUDE_RESOURCE_TYPES": ["snapshot"]}),
        (False, {"EXCLUDE": ["admin_units_history"]}),
        (False, {"WHICH": "snapshot"}),
    ],
)
def test_a_build_that_leaves_out_the_history_starts_from_a_copy(is_whole: bool, options: dict[str, Any]) -> None:
    assert dbt_command.is_whole(SimpleNamespace(**{"WHICH": "build", **options})) is is_whole
