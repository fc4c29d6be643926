"""The same input through both targets gives the same rows in every mart."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration import marts
from tests.integration.conftest import Warehouse, World

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def both(new_warehouse: Callable[[], Warehouse], world: World) -> tuple[Warehouse, Warehouse]:
    """One warehouse on PostGIS and one on DuckDB, loaded from the same files."""
    postgres, embedded = new_warehouse(), new_warehouse()
    embedded.env["WAREHOUSE_TARGET"] = "embedded"
    for warehouse in (postgres, embedded):
        warehouse.ingest("gadm", "timezones", *world.options)
        warehouse.dbt("build")
    return postgres, embedded


@pytest.mark.parametrize("table", marts.TABLES)
def test_every_mart_has_the_same_rows_on_both_targets(table: str, both: tuple[Warehouse, Warehouse]) -> None:
    marts.assert_same(*both, table)
