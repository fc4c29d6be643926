"""The same input through both targets gives the same rows in every mart."""

from __future__ import annotations

import pytest

from tests.integration import marts
from tests.integration.conftest import Warehouse

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("both targets")]


@pytest.mark.parametrize("table", marts.TABLES)
def test_every_mart_has_the_same_rows_on_both_targets(table: str, both: tuple[Warehouse, Warehouse]) -> None:
    marts.assert_same(*both, table)
