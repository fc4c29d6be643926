"""The main job on PostGIS and Redis, as a person runs it: ingest, build, look."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.conftest import ROOT, SHARED_DATA
from tests.fixtures import boundaries
from tests.integration import marts
from tests.integration.conftest import BUILD, WITHOUT_DERIVED, Job, NewWarehouse, Warehouse, World

REAL_COUNTRY_FILES = {
    "shapefiles": "gadm41_TGO_shp.zip",
    "geopackage": "gadm41_TGO.gpkg",
    "geojson": "gadm41_GHA_2.json",
}

pytestmark = [pytest.mark.servers, pytest.mark.slow]


def every_row(warehouse: Warehouse) -> dict[str, list[marts.Row]]:
    """Return all marts, whole."""
    return {table: marts.rows(warehouse, table) for table in marts.TABLES}


def declared_keys(warehouse: Warehouse) -> dict[str, int]:
    """Return the number of validated foreign keys of every mart."""
    return dict(
        warehouse.query(
            "select conrelid::regclass::text, count(*) from pg_constraint join pg_namespace n on n.oid = connamespace "
            "where contype = 'f' and convalidated and n.nspname = 'marts' group by 1"
        )
    )


@pytest.fixture(scope="module")
def job(main_job: Job, new_warehouse: NewWarehouse) -> Job:
    """A copy of what the main job made, to be changed at will."""
    return replace(main_job, warehouse=new_warehouse(main_job.warehouse))


def test_the_ingest_prints_the_rows_of_every_level_and_of_the_zones(job: Job, world: World) -> None:
    printed = [int(rows) for rows in re.findall(r"(?:gadm_adm_\d|timezones) +(\d+) ", job.first)]
    assert printed == [*world.counts, world.zone_count]


def test_both_datasets_were_loaded_at_once_by_different_workers(job: Job) -> None:
    fetchers = dict(
        job.warehouse.query(
            "select dataset, f.worker from raw.ingest_runs r join raw.ingest_files f using (run_id) "
            "where r.state = 'published'"
        )
    )
    assert fetchers["gadm"] != fetchers["timezones"]
    assert job.warehouse.one("select count(distinct worker) from raw.ingest_slices") > 1
    overlapping = job.warehouse.one(
        "select count(*) from raw.ingest_runs a join raw.ingest_runs b on a.dataset < b.dataset "
        "and a.started_at < b.finished_at and b.started_at < a.finished_at "
        "where a.state = 'published' and b.state = 'published'"
    )
    assert overlapping == 1


def test_a_second_run_says_unchanged_and_loads_nothing(job: Job) -> None:
    assert job.second.count("unchanged since run") == 2
    assert job.warehouse.query(
        "select dataset, count(*) from raw.ingest_runs where state = 'unchanged' group by 1 order by 1"
    ) == [
        ("gadm", 1),
        ("timezones", 1),
    ]
    assert job.warehouse.one("select count(distinct run_id) from raw.ingest_slices") == 2


def test_the_ledger_accounts_for_every_row_and_byte(job: Job, world: World) -> None:
    rows = job.warehouse.query(
        "select dataset, rows_read, rows_loaded, bytes_read > 0, length(checksum), finished_at > started_at, error "
        "from raw.ingest_runs where state = 'published' order by dataset"
    )
    total = sum(world.counts)
    assert rows == [
        ("gadm", total, total, True, 64, True, None),
        ("timezones", world.zone_count, world.zone_count, True, 64, True, None),
    ]
    assert job.warehouse.query(
        "select distinct state, rows_read = rows_planned and rows_loaded = rows_planned from raw.ingest_slices"
    ) == [("loaded", True)]


def test_the_build_ends_without_an_error(job: Job) -> None:
    assert re.search(r"ERROR=0 SKIP=0", job.build)


def test_every_unit_of_the_file_is_in_the_marts_or_set_aside(job: Job, world: World) -> None:
    set_aside = job.warehouse.one("select coalesce(sum(rows_set_aside), 0) from marts.internal_level_counts")
    assert job.warehouse.one("select count(*) from marts.admin_units") == sum(world.counts) - set_aside
    per_level = [job.warehouse.one(f"select count(*) from marts.admin_level_{level}") for level in range(6)]
    assert sum(per_level) == sum(world.counts) - set_aside
    assert job.warehouse.one("select count(*) from marts.timezones") == world.zone_count


def test_a_real_world_download_gives_3379_units(job: Job, world: World) -> None:
    expected = 3379 if world.counts[:2] == (8, 113) else sum(world.counts)
    assert job.warehouse.one("select count(*) from marts.admin_units") == expected


def test_every_level_has_a_key_to_its_parent_and_to_every_ancestor(job: Job) -> None:
    keys = declared_keys(job.warehouse)
    for level in range(1, 6):
        assert keys[f"marts.admin_level_{level}"] >= level, f"level {level}"


def test_geometry_is_multipolygon_in_degrees_with_an_index_on_every_level(job: Job) -> None:
    rows = job.warehouse.query(
        "select f_table_name, type, srid from geometry_columns "
        "where f_table_schema = 'marts' and f_geometry_column = 'geom' order by 1"
    )
    assert [row for row in rows if row[0].startswith("admin_level_")] == [
        (f"admin_level_{level}", "MULTIPOLYGON", 4326) for level in range(6)
    ]
    indexed = job.warehouse.query(
        "select tablename from pg_indexes where schemaname = 'marts' and indexdef like '%USING gist%' order by 1"
    )
    assert {f"admin_level_{level}" for level in range(6)} | {"timezones"} <= {name for (name,) in indexed}


def test_rebuilding_only_a_parent_leaves_every_foreign_key_in_place(job: Job) -> None:
    before = declared_keys(job.warehouse)
    job.warehouse.dbt("build", "-s", "admin_level_1")
    assert declared_keys(job.warehouse) == before


def test_a_child_cannot_point_at_a_parent_that_is_not_there(job: Job) -> None:
    assert job.warehouse.dsn is not None
    with psycopg.connect(job.warehouse.dsn) as connection, pytest.raises(psycopg.errors.ForeignKeyViolation):
        connection.execute(
            "update marts.admin_level_2 set parent_gid = 'nowhere' "
            "where gid = (select min(gid) from marts.admin_level_2)"
        )


def test_the_docs_page_shows_every_mart(job: Job) -> None:
    job.warehouse.dbt("docs", "generate", "--static")
    page = (job.warehouse.home / "target" / "static_index.html").read_text(encoding="utf-8")
    for table in marts.TABLES:
        assert table in page
    catalog = json.loads((job.warehouse.home / "target" / "catalog.json").read_text())
    assert {node["metadata"]["name"] for node in catalog["nodes"].values()} >= set(marts.TABLES)


def test_the_reference_engine_gives_the_same_marts(job: Job, world: World, new_warehouse: NewWarehouse) -> None:
    other = new_warehouse()
    other.ingest("gadm", "timezones", *world.options, "--engine", "geopandas")
    other.dbt("build", *WITHOUT_DERIVED)  # which depend on nothing but these marts
    for table in (name for name in marts.TABLES if name not in marts.DERIVED):
        marts.assert_same(other, job.warehouse, table)


def test_staging_that_lost_its_rows_stops_the_build_and_leaves_the_marts(job: Job, world: World) -> None:
    before = every_row(job.warehouse)
    run_id = job.warehouse.one("select run_id from raw.ingest_runs where dataset = 'gadm' and state = 'published'")
    assert job.warehouse.dsn is not None
    with psycopg.connect(job.warehouse.dsn) as connection:
        # what a crash does to an unlogged table
        connection.execute(f'truncate raw."gadm_adm_2__{run_id}"')  # type: ignore[arg-type]
    job.warehouse.dbt(*BUILD, expect=1)
    assert every_row(job.warehouse) == before
    assert "unchanged" not in job.warehouse.ingest("gadm", *world.options[:1]).stdout
    job.warehouse.dbt("build", "--exclude-resource-type", "test", "unit_test")
    assert every_row(job.warehouse) == before


def test_a_database_without_postgis_is_told_with_what_to_do(new_warehouse: NewWarehouse, world: World) -> None:
    warehouse = new_warehouse()
    assert warehouse.dsn is not None
    with psycopg.connect(warehouse.dsn) as connection:
        connection.execute("drop extension postgis")
    for command in (["doctor"], ["timezones", *world.options[1:]]):
        done = warehouse.ingest(*command, expect=1)
        assert "PostGIS" in done.stdout + done.stderr, command
        assert "python -m ingest init" in done.stdout + done.stderr, command
    assert warehouse.query("select 1 from raw.ingest_runs") == []


@pytest.fixture
def consumer(new_warehouse: NewWarehouse) -> Iterator[Warehouse]:
    """A warehouse on whose queue a consumer with two workers runs."""
    warehouse = new_warehouse()
    warehouse.ingest("status")
    process = subprocess.Popen(
        [sys.executable, "-m", "ingest", "worker", "-w", "2"],
        cwd=ROOT,
        env=warehouse.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while warehouse.one("select count(*) from raw.ingest_consumers") == 0:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield warehouse
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


def test_a_consumer_that_runs_is_used_and_none_is_started(consumer: Warehouse, world: World) -> None:
    consumer.ingest("timezones", *world.options[1:])
    assert consumer.one("select count(*) from raw.ingest_consumers") == 1
    assert not (consumer.home / "logs").exists()


def test_an_asynchronous_run_returns_its_id_and_its_status_ends_as_published(consumer: Warehouse, world: World) -> None:
    run_id = consumer.ingest("timezones", *world.options[1:], "--async").stdout.strip()
    assert re.fullmatch(r"\d{8}t\d{6}_[0-9a-f]{4}", run_id)
    deadline = time.monotonic() + 120
    while "published" not in consumer.ingest("status", run_id).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    slices = consumer.ingest("status", run_id).stdout
    assert slices.count(" loaded ") == consumer.one("select count(*) from raw.ingest_slices")
    assert run_id in consumer.ingest("status").stdout


def test_an_asynchronous_run_without_a_consumer_brings_its_own_and_sends_it_home(
    new_warehouse: NewWarehouse, world: World
) -> None:
    warehouse = new_warehouse()
    run_id = warehouse.ingest("timezones", *world.options[1:], "--async").stdout.strip()
    deadline = time.monotonic() + 120
    while warehouse.one(f"select state from raw.ingest_runs where run_id = '{run_id}'") != "published":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    while warehouse.one("select count(*) from raw.ingest_consumers"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="module")
def country_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One country as the publisher gives it: a zip of shapefiles, a GeoPackage, and a GeoJSON of one level."""
    if SHARED_DATA.is_dir():
        folder = SHARED_DATA / "gadm"
        return {kind: folder / name for kind, name in REAL_COUNTRY_FILES.items()}
    folder = tmp_path_factory.mktemp("countries")
    return {
        "shapefiles": boundaries.write_shapefile_zip(folder / "gadm41_AAA_shp.zip"),
        "geopackage": boundaries.write_country_gpkg(folder / "gadm41_AAA.gpkg"),
        "geojson": boundaries.write_geojson(folder / "geojson") / "gadm41_AAA_2.json",
    }


@pytest.mark.parametrize("kind", ["shapefiles", "geopackage", "geojson"])
def test_the_small_files_of_a_country_load_and_build(
    kind: str, country_files: dict[str, Path], new_warehouse: NewWarehouse
) -> None:
    warehouse = new_warehouse()
    warehouse.ingest("gadm", "--source", str(country_files[kind]))
    loaded = warehouse.one("select rows_loaded from raw.ingest_runs where state = 'published'")
    warehouse.dbt("build", *WITHOUT_DERIVED)
    assert loaded > 0
    assert warehouse.one("select count(*) from marts.admin_units") == loaded
    orphans = warehouse.one("select count(*) from marts.admin_units where admin_level > 0 and parent_gid is null")
    reported = warehouse.one("select count(*) from marts.admin_anomalies where anomaly_type = 'parent_not_loaded'")
    assert orphans == reported == (loaded if kind == "geojson" else 0)
