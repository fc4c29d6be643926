"""The digest of a mart on PostGIS; what it tells apart is tested in tests/ingest/test_digest.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg
import pytest

from ingest import settings
from scripts import digest_marts
from tests.integration.conftest import NewWarehouse

pytestmark = pytest.mark.servers
ROWS = (
    "('A', 'Ünit 1', 0.1::float8 + 0.2::float8, 'SRID=4326;POLYGON((0 0, 4 0, 4 4, 0 0))', '{A}', 'one')",
    "('B', null, null, null, null, 'one')",
)


@pytest.fixture(scope="module")
def digest_of(new_warehouse: NewWarehouse) -> Callable[[Sequence[str]], str]:
    """Return a function that writes a mart anew and returns what is printed of it."""
    warehouse = new_warehouse()
    assert warehouse.dsn is not None

    def digest(rows: Sequence[str]) -> str:
        with psycopg.connect(str(warehouse.dsn)) as connection:
            connection.execute("create schema if not exists marts")
            connection.execute("drop table if exists marts.admin_units")
            connection.execute(
                "create table marts.admin_units (gid text primary key, name text, area_km2 double precision, "
                "geom geometry(Polygon, 4326), gids text[], run_id text)"
            )
            connection.execute(f"insert into marts.admin_units values {', '.join(rows)}".encode())
        with digest_marts.opened(settings.read_settings(warehouse.env)) as marts:
            (found,) = digest_marts.digests(marts)
        return str(found)

    return digest


def test_order_and_run_and_the_last_bits_of_a_sum_do_not_show(digest_of: Callable[[Sequence[str]], str]) -> None:
    same = [ROWS[1].replace("one", "two"), ROWS[0].replace("0.1::float8 + 0.2::float8", "0.3::float8")]
    assert digest_of(ROWS) == digest_of(same)
    assert digest_of(ROWS).split()[:2] == ["admin_units", "2"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("4 4", "4 4.0000000001", id="one vertex"),
        pytest.param("Ünit", "Unit", id="one text"),
        pytest.param("'B', null", "'B', ''", id="an empty text for NULL"),
        pytest.param("{A}", '{A,""}', id="an item of an array"),
    ],
)
def test_a_digest_shows_a_change_of(old: str, new: str, digest_of: Callable[[Sequence[str]], str]) -> None:
    rows = [row.replace(old, new) for row in ROWS]
    assert rows != list(ROWS)
    assert digest_of(ROWS) != digest_of(rows)
