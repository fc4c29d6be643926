"""On PostgreSQL, too, marts that are not of the published run are called stale, by whoever may read them."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest

from admin_boundaries import edition
from admin_boundaries.edition import Edition, Run
from admin_boundaries.warehouse import open_warehouse
from ingest.errors import MartsMissing
from ingest.ledger import Request
from ingest.settings import read_settings
from tests.integration.conftest import NewWarehouse, Warehouse
from tests.integration.test_rights import LOADER, READER, TRANSFORMER, as_role

pytestmark = [pytest.mark.servers, pytest.mark.slow]

AT = datetime(2026, 11, 25, 8, 0, 0, 125_000, tzinfo=UTC)
PUBLISHED_RUNS = """
    create view marts.published_runs as
    select dataset, run_id, release, variant, scope, published_at
    from raw.ingest_runs
    where state = 'published'
"""
META = f"""
    create table marts.marts_meta as
    select
        'gadm' as dataset,
        'build-1' as build_id,
        timestamptz '{AT}' as built_at,
        'run-a' as run_id,
        '4.0' as release,
        null::text as variant,
        'world' as scope,
        timestamptz '{AT}' as published_at
"""


def publish(warehouse: Warehouse, run_id: str, release: str) -> None:
    """Note a run of GADM as the published one."""
    assert warehouse.dsn is not None
    with psycopg.connect(warehouse.dsn) as connection:
        connection.execute("update raw.ingest_runs set state = 'superseded' where state = 'published'")
        connection.execute(
            "insert into raw.ingest_runs (run_id, dataset, release, engine, source, scope, request, state, "
            "requested_at, published_at) values (%s, 'gadm', %s, 'sedonadb', '', 'world', %s, 'published', %s, %s)",
            (run_id, release, Request("gadm", release, "sedonadb", ("world.zip",), "world").to_json(), AT, AT),
        )


def run_as_transformer(warehouse: Warehouse, *statements: str) -> None:
    """Change the marts as a build does."""
    assert warehouse.dsn is not None
    with psycopg.connect(warehouse.dsn) as connection:
        connection.execute(f"set role {TRANSFORMER}")  # type: ignore[arg-type]
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def editions(warehouse: Warehouse) -> list[Edition]:
    """Return the editions as the user of a warehouse sees them."""
    with open_warehouse(read_settings(warehouse.env)) as opened:
        return opened.editions()


@pytest.fixture(scope="module")
def warehouse(new_warehouse: NewWarehouse) -> Warehouse:
    """A warehouse with roles, in which run-a of GADM is published and nothing is built."""
    made = new_warehouse()
    made.ingest("init")
    as_role(made, LOADER).ingest("status")
    publish(made, "run-a", "4.0")
    return made


@pytest.fixture
def built(warehouse: Warehouse, new_warehouse: NewWarehouse) -> Warehouse:
    """A copy of it with marts of run-a."""
    copy = new_warehouse(warehouse)
    run_as_transformer(copy, "create table marts.admin_units (gid text)", PUBLISHED_RUNS, META)
    return copy


def hint(warehouse: Warehouse) -> str:
    """Return what to do where there are no marts."""
    with pytest.raises(MartsMissing) as caught:
        editions(warehouse)
    return caught.value.hint


def test_what_is_loaded_and_not_built_needs_only_a_build(warehouse: Warehouse) -> None:
    assert hint(warehouse) == "Run `dbt build`. Already loaded: gadm."
    assert hint(as_role(warehouse, READER)).startswith("Load the datasets and build")  # it may not see the ledger
    assert "Run `dbt build`. Already loaded: gadm." in warehouse.ingest("locate", "1", "2", expect=1).stderr


def test_where_nothing_is_loaded_the_load_comes_first(new_warehouse: NewWarehouse) -> None:
    assert hint(new_warehouse()).startswith("Load the datasets and build the marts")


def test_the_reader_sees_of_which_run_the_marts_are_and_which_is_published(built: Warehouse) -> None:
    publish(built, "run-b", "4.1")
    of, published = Run("run-a", "4.0", None, "world", AT), Run("run-b", "4.1", None, "world", AT)
    assert editions(as_role(built, READER)) == [Edition("gadm", "build-1", AT, of, published)]
    lines = as_role(built, TRANSFORMER).ingest("doctor", expect=1).stdout
    assert "The marts of gadm are of run run-a (release 4.0), but run run-b (release 4.1) is published." in lines
    run_as_transformer(built, "update marts.marts_meta set run_id = 'run-b', release = '4.1'")
    assert edition.faults(editions(as_role(built, READER))) == []
    run_as_transformer(built, "delete from marts.marts_meta")
    assert edition.faults(editions(as_role(built, READER))) == [
        "The marts hold nothing of gadm, but run run-b (release 4.1) is published."
    ]


def test_the_status_works_for_the_loader_who_may_not_read_the_marts(built: Warehouse) -> None:
    printed = as_role(built, LOADER).ingest("status").stdout
    assert "run-a" in printed
    assert "marts: " in printed
    assert "permission denied" in printed


def test_marts_of_a_version_that_recorded_no_run_are_named(built: Warehouse) -> None:
    run_as_transformer(built, "drop view marts.published_runs", "drop table marts.marts_meta")
    assert editions(as_role(built, READER)) == []
