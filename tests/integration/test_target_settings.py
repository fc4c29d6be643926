"""What a role, a database, the environment or a hosted server set otherwise changes nothing, or is refused in time."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import psycopg
import pytest

from ingest import sessions, settings
from tests.conftest import ROOT
from tests.fixtures import boundaries
from tests.integration import servers
from tests.integration.conftest import NewWarehouse, Warehouse

pytestmark = [pytest.mark.servers, pytest.mark.slow]

NAMES = ("São Nordvåg", "Łódźland 東京", "O'Brien \\ 100 %")
PLACE = "Odd Schema"  # of PostGIS
ROLES = {name: f"boundaries_{name}" for name in ("loader", "transformer", "reader")}
OTHERWISE = {
    "client_encoding": "LATIN1",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-12",
    "quote_all_identifiers": "on",
    "default_transaction_isolation": "serializable",
    "search_path": "hostile",
}
LIMIT_MS = 500
ENVIRONMENT = {
    "PGCLIENTENCODING": "LATIN1",
    "PGOPTIONS": "-c DateStyle=German -c search_path=hostile -c extra_float_digits=-12",
    "PGTZ": "Asia/Tokyo",
    "PGDATESTYLE": "SQL,MDY",
}
HOSTILE = f"""
create schema hostile;
grant usage on schema hostile to public;
create function hostile.st_dwithin("{PLACE}".geometry, "{PLACE}".geometry, double precision) returns boolean
language sql as 'select 1 / 0 = 1';
create function hostile.lower(text) returns text language sql as 'select (1 / 0)::text';
create function "{PLACE}".st_dwithin("{PLACE}".geometry, "{PLACE}".geometry, numeric) returns boolean
language sql as 'select 1 / 0 = 1';
"""


def as_role(warehouse: Warehouse, name: str) -> Warehouse:
    """Return the same warehouse as one of the roles sees it."""
    assert warehouse.dsn is not None
    dsn = re.sub(r"user=\S+", f"user={ROLES[name]}", warehouse.dsn)
    return replace(warehouse, env={**warehouse.env, **ENVIRONMENT, "PGUSER": ROLES[name]}, dsn=dsn)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GeoPackage with the names."""
    made = boundaries.levels()
    for row, name in enumerate(NAMES):
        boundaries.set_cell(made, 1, row, "NAME_1", name)
    return boundaries.write_levels_gpkg(tmp_path_factory.mktemp("source") / "levels.gpkg", made)


@pytest.fixture(scope="module")
def strange(new_warehouse: NewWarehouse, file: Path) -> Warehouse:
    """A warehouse that was set up, loaded and built where everything is set otherwise than usual."""
    warehouse = new_warehouse()
    assert warehouse.dsn is not None
    with psycopg.connect(warehouse.dsn) as connection:
        connection.execute(
            f'drop extension postgis; create schema "{PLACE}"; create extension postgis schema "{PLACE}"'
        )
    warehouse.ingest("init")
    database = warehouse.env["PGDATABASE"]
    with psycopg.connect(warehouse.dsn) as connection:
        connection.execute(HOSTILE)
        for name, value in OTHERWISE.items():
            connection.execute(
                f"alter database {database} set {name} to {value if name == 'search_path' else repr(value)}"
            )  # type: ignore[arg-type]
        for role in (ROLES["loader"], ROLES["transformer"]):
            for name in ("statement_timeout", "lock_timeout"):
                connection.execute(f"alter role {role} in database {database} set {name} = '{LIMIT_MS}ms'")  # type: ignore[arg-type]
    as_role(warehouse, "loader").ingest("gadm", "--source", str(file))
    as_role(warehouse, "transformer").dbt("build")
    return warehouse


def test_names_arrive_as_the_file_has_them_whatever_the_sessions_are_told(strange: Warehouse) -> None:
    for query in ("select name_1 from raw.gadm_adm_1", "select name from marts.admin_level_1"):
        with psycopg.connect(strange.dsn or "", client_encoding="UTF8") as connection:
            assert {name for (name,) in connection.execute(query)} >= set(NAMES)  # type: ignore[arg-type]


def test_the_reader_needs_no_path_and_what_others_put_there_is_not_called(strange: Warehouse) -> None:
    with psycopg.connect(as_role(strange, "reader").dsn or "", options="-c search_path=hostile") as connection:
        assert connection.execute("show search_path").fetchone() == ("hostile",)
        row = connection.execute("select gid, point_lon, point_lat from marts.admin_level_4 order by gid").fetchone()
        assert row is not None
        one, at = row[:1], row[1:]
        assert connection.execute("select gid from marts.locate(%s, %s)", at).fetchone() == one
        many = "select gid from marts.locate_points(array[%s::float8], array[%s::float8])"
        assert connection.execute(many, at).fetchone() == one
        assert connection.execute("select marts.fold_name('SÃO')").fetchone() == ("sao",)


def test_a_load_takes_as_long_as_it_takes_and_readers_keep_their_limits(strange: Warehouse) -> None:
    found = settings.read_settings(as_role(strange, "loader").env).postgres
    assert found is not None
    wait = f"select pg_sleep({LIMIT_MS / 1000 + 0.1})"
    with sessions.connect(found, to_write=True) as connection:
        connection.execute(wait)  # type: ignore[arg-type]
    with closing(sessions.connect_adbc(found, to_write=True)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(wait)
        assert cursor.fetchone() is not None
    with (
        sessions.connect(found, to_write=False) as connection,
        pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"),
    ):
        connection.execute(wait)  # type: ignore[arg-type]


def test_every_function_of_the_marts_has_a_path_of_its_own(strange: Warehouse) -> None:
    found = strange.query(
        "select proname::text, proconfig::text[] from pg_proc where pronamespace = 'marts'::regnamespace order by 1"
    )
    assert [name for name, _ in found] == ["fold_name", "locate", "locate_points"]
    for _, path in found:
        assert f'search_path=pg_catalog, "{PLACE}", pg_temp' in path


def test_the_commands_of_a_reader_work(strange: Warehouse, tmp_path: Path) -> None:
    reader = as_role(strange, "reader")
    assert "São Nordvåg" in reader.ingest("find", "sao nord").stdout
    reader.ingest("export", "admin_level_1", "--output", str(tmp_path / "out.parquet"))
    assert set(gpd.read_parquet(tmp_path / "out.parquet")["name"]) >= set(NAMES)
    (tmp_path / "in.csv").write_text("lon,lat\n999,1\n0.25,0.25\n,\n")
    reader.ingest("locate", "--input", str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.csv"))
    answers = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [answers[row]["located_status"] for row in (0, 2)] == ["bad coordinates"] * 2


def test_the_doctor_and_a_second_init_find_nothing_to_do(strange: Warehouse) -> None:
    assert "missing" not in as_role(strange, "loader").ingest("doctor").stdout
    assert "nothing to do" in strange.ingest("init").stdout


def test_a_server_that_takes_no_writes_is_said_to_be_read_only(strange: Warehouse, file: Path) -> None:
    loader = as_role(strange, "loader")
    standby = replace(loader, env={**loader.env, "PGOPTIONS": "-c default_transaction_read_only=on"})
    refusal = standby.ingest("gadm", "--force", "--source", str(file), expect=1).stderr
    assert "is read-only: cannot execute" in " ".join(refusal.split())


@pytest.fixture
def latin(strange: Warehouse, postgres: servers.Postgres) -> Iterator[Warehouse]:
    """A warehouse whose database is encoded in LATIN1."""
    name, admin = "in_latin1", f"host=127.0.0.1 port={postgres.port} user=warehouse dbname="
    with psycopg.connect(admin + "postgres", autocommit=True) as connection:
        connection.execute(
            f"create database {name} encoding 'LATIN1' template template0 lc_collate 'C' lc_ctype 'C'"  # type: ignore[arg-type]
        )
    with psycopg.connect(admin + name) as connection:
        connection.execute("create extension postgis")
    yield replace(strange, env={**strange.env, "PGDATABASE": name}, dsn=admin + name)
    with psycopg.connect(admin + "postgres", autocommit=True) as connection:
        connection.execute(f"drop database {name}")  # type: ignore[arg-type]


def test_a_database_that_cannot_hold_every_name_is_refused_before_anything_is_created(
    latin: Warehouse, file: Path
) -> None:
    for command in (["gadm", "--source", str(file)], ["init"], ["status"]):
        refusal = latin.ingest(*command, expect=1).stderr
        assert "is encoded in LATIN1: names of the whole world need UTF8" in " ".join(refusal.split())
        assert "create database NAME encoding 'UTF8' template template0" in " ".join(refusal.split())
    assert "missing encoding that can hold every name: LATIN1" in latin.ingest("doctor", expect=1).stdout
    assert latin.one("select count(*) from pg_namespace where nspname = 'raw'") == 0


def test_a_server_is_found_as_libpq_finds_it(strange: Warehouse, tmp_path: Path) -> None:
    env = {key: value for key, value in strange.env.items() if not key.startswith("PG")}
    database, port = strange.env["PGDATABASE"], strange.env["PGPORT"]
    (tmp_path / "services").write_text(f"[geo]\nhost=127.0.0.1\nport={port}\nuser=warehouse\ndbname={database}\n")
    service = {"PGSERVICEFILE": str(tmp_path / "services"), "PGSERVICE": "geo", "PGHOST": "nowhere.invalid"}
    several = {"PGHOST": f"{tmp_path},127.0.0.1", "PGPORT": f"1,{port}", "PGDATABASE": database}
    for more in (service, several):
        assert " published " in replace(strange, env={**env, **more}).ingest("status").stdout
    for more, reason in ((service, "dbt cannot use the service"), (several, "dbt takes no list of several")):
        assert reason in replace(strange, env={**env, **more}).dbt("debug", expect=2).stdout


def test_without_a_home_folder_and_from_elsewhere_everything_reads_the_warehouse_of_the_project(
    file: Path, tmp_path: Path
) -> None:
    home, elsewhere = tmp_path / "warehouse", tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = {
        **{name: value for name, value in os.environ.items() if name != "HOME"},
        "WAREHOUSE_TARGET": "embedded",
        "WAREHOUSE_HOME": os.path.relpath(home, ROOT),
        "DBT_TARGET_PATH": str(tmp_path / "target"),
        "DBT_LOG_PATH": str(tmp_path / "logs"),
        "PYTHONPATH": str(ROOT),
    }
    there = Warehouse(env={**env, "HOME": "/nonexistent"}, home=home, folder=elsewhere)
    there.ingest("gadm", "--source", str(file))
    folders = ["--project-dir", os.path.relpath(ROOT, elsewhere), "--profiles-dir", str(ROOT)]
    described = replace(there, env={**there.env, "DBT_WRITE_JSON": "true"})  # for the diagram of the tables
    described.dbt("build", *folders, "--exclude-resource-type", "test", "unit_test")
    assert "São Nordvåg" in there.ingest("find", "sao nord").stdout
    without = replace(there, env=env)  # HOME is not even set
    without.ingest("export", "admin_level_1", "--output", str(tmp_path / "out.gpkg"))
    without.ingest("pictures")
    assert list(elsewhere.iterdir()) == []
    assert (home / "warehouse.duckdb").exists()
