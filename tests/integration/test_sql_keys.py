"""Keys in PostgreSQL: every build adds the declared ones, and the tests of the project notice what is missing."""

from __future__ import annotations

import psycopg
import pytest

from ingest import catalog, settings, sinks
from ingest.ledger import Ledger
from tests.integration.conftest import NewWarehouse, Warehouse

pytestmark = [pytest.mark.servers, pytest.mark.slow]
KEYS = (
    "select relname::text, conname::text from pg_constraint join pg_class on pg_class.oid = conrelid "
    "where connamespace = 'marts'::regnamespace and convalidated and contype = '{}'"
)


@pytest.fixture(scope="module")
def built(new_warehouse: NewWarehouse) -> Warehouse:
    """A warehouse with all marts, none of which has rows."""
    warehouse = new_warehouse()
    target = settings.read_settings(warehouse.env)
    Ledger(target).open()
    for name, dataset in catalog.datasets().items():
        sinks.get(target).ensure_published(name, dataset.tables)
    Ledger(target)._engine.dispose()
    warehouse.dbt("build", "--exclude-resource-type", "test", "unit_test")
    return warehouse


@pytest.fixture
def warehouse(built: Warehouse, new_warehouse: NewWarehouse) -> Warehouse:
    """A copy of it, to be changed at will."""
    return new_warehouse(built)


def change(warehouse: Warehouse, statement: str) -> None:
    """Run a statement."""
    assert warehouse.dsn is not None
    with psycopg.connect(warehouse.dsn) as connection:
        connection.execute(statement.encode())


def foreign_keys(warehouse: Warehouse) -> set[str]:
    """Return the names of all foreign keys that were checked."""
    return {name for _, name in warehouse.query(KEYS.format("f"))}


def primary_keys(warehouse: Warehouse) -> list[tuple[str, str]]:
    """Return the tables that have a primary key, and its name."""
    return [(table, name) for table, name in warehouse.query(KEYS.format("p"))]


def test_every_mart_has_a_primary_key(built: Warehouse) -> None:
    tables = {name for (name,) in built.query("select tablename::text from pg_tables where schemaname = 'marts'")}
    assert {table for table, _ in primary_keys(built)} == tables


def test_foreign_keys_lead_to_parents_countries_units_and_zones(built: Warehouse) -> None:
    assert foreign_keys(built) >= {
        *(f"admin_level_{level}_{column}_fkey" for level in range(1, 6) for column in ("parent_gid", "gid_0")),
        *("admin_units_parent_gid_fkey", "admin_units_country_gid_fkey", "admin_unit_ancestors_ancestor_gid_fkey"),
        *("internal_leaf_parts_gid_fkey", "internal_timezone_parts_tzid_fkey", "admin_unit_timezones_tzid_fkey"),
    }


def test_the_next_run_adds_a_foreign_key_that_is_missing(warehouse: Warehouse) -> None:
    before = foreign_keys(warehouse)
    change(warehouse, "alter table marts.admin_units drop constraint admin_units_parent_gid_fkey")
    warehouse.dbt("run", "--select", "timezones")
    assert foreign_keys(warehouse) == before


def test_a_mart_can_be_built_before_the_mart_that_its_key_leads_to(warehouse: Warehouse) -> None:
    change(warehouse, "drop table marts.admin_units cascade")
    warehouse.dbt("run", "--select", "internal_leaf_parts")
    assert "internal_leaf_parts_gid_fkey" not in foreign_keys(warehouse)


@pytest.mark.parametrize(
    "added",
    [
        pytest.param("", id="missing"),
        pytest.param(
            ", add constraint admin_units_parent_gid_fkey foreign key (parent_gid) references marts.admin_units (gid) "
            "not valid",
            id="never checked",
        ),
    ],
)
def test_a_foreign_key_that_does_not_hold_fails_its_test(warehouse: Warehouse, added: str) -> None:
    change(warehouse, f"alter table marts.admin_units drop constraint admin_units_parent_gid_fkey{added}")
    assert "foreign_keys_present" in warehouse.dbt("test", "--select", "foreign_keys_present", expect=1).stdout


def test_a_primary_key_that_is_missing_fails_its_test(warehouse: Warehouse) -> None:
    (name,) = (name for table, name in primary_keys(warehouse) if table == "admin_anomalies")
    change(warehouse, f'alter table marts.admin_anomalies drop constraint "{name}"')
    assert "primary_keys_present" in warehouse.dbt("test", "--select", "primary_keys_present", expect=1).stdout
