"""A table is carried from one release to another on PostgreSQL with the numbers that DuckDB gives."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from ingest.settings import BOUNDARIES
from tests.fixtures import compared
from tests.ingest.test_reweight import FIGURES, MACRO, PIECES, carry, table
from tests.integration.conftest import NewWarehouse

pytestmark = pytest.mark.servers
PUBLISHED_RUNS = (
    "create table marts.published_runs "
    "(dataset text, run_id text, release text, variant text, scope text, published_at timestamptz)"
)


def test_the_command_and_the_macro_give_the_numbers_of_the_other_target(
    new_warehouse: NewWarehouse, tmp_path: Path
) -> None:
    warehouse = new_warehouse()
    source = table(tmp_path / "in.csv", FIGURES)
    with compared.opened(PIECES) as embedded:
        expected, report = carry(embedded, source, sums=["people"], means=["income"], weight="people")
    with psycopg.connect(warehouse.dsn or "", autocommit=True) as connection:
        for statement in (*compared.statements("3.6", "4.1", BOUNDARIES), PUBLISHED_RUNS):
            connection.execute(statement.encode())
        for name, rows in compared.rows_of(PIECES, None, "3.6", "4.1").items():
            names, marks = ", ".join(rows[0]), ", ".join(["%s"] * len(rows[0]))
            with connection.cursor() as cursor:
                query = f"insert into marts.{name} ({names}) values ({marks})"
                cursor.executemany(query.encode(), [list(row.values()) for row in rows])
        connection.execute("create table figures (gid text, people numeric, income integer)")
        with connection.cursor() as cursor, cursor.copy("copy figures from stdin (format csv, header)") as copy:
            copy.write(FIGURES)
        select = MACRO("figures", sums=["people"], means=["income"], weight="people")
        found = {gid: values for gid, *values in connection.execute(select.encode())}
    output = tmp_path / "carried.csv"
    asked = ("--key", "gid", "--from", "3.6", "--to", "4.1", "--sum", "people", "--mean", "income")
    said = warehouse.ingest("reweight", str(source), *asked, "--weight", "people", "-o", str(output))
    lines = [line.split(",") for line in output.read_text(encoding="utf-8").splitlines()[1:]]
    assert {gid: values for gid, *values in lines} == {
        gid: [value for name, value in row.items() if name != "gid"] for gid, row in expected.items()
    }
    assert "fell outside" in said.stdout
    assert found.pop(None)[0] == pytest.approx(report.totals[0].outside + report.totals[0].set_aside)
    assert found == {
        gid: [pytest.approx(float(value)) if value else None for name, value in row.items() if name != "gid"]
        for gid, row in expected.items()
    }
