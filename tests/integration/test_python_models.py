"""Python models on both targets: tables as those of SQL models are, or an error and no table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import shapely

from tests.conftest import ROOT
from tests.integration import marts
from tests.integration.conftest import NewWarehouse, Warehouse, copy_project

pytestmark = [pytest.mark.servers, pytest.mark.slow]

MODEL = """
import pyarrow as pa
import shapely

SCHEMA = pa.schema(
    [
        ("geom", pa.binary()), ("gid", pa.string()), ("number", pa.int32()), ("large", pa.int64()),
        ("share", pa.float64()), ("is_even", pa.bool_()),
    ]
)


def model(dbt, session):
    areas = dbt.ref("disputed_areas").select("gid").where("gid <> 'Z01'").batches(order_by="gid")
    return pa.RecordBatchReader.from_batches(SCHEMA, made(areas))


def made(areas):
    first = 0
    for batch in areas:
        numbers = range(first, first + len(batch))
        first += len(batch)
        shapes = [shapely.MultiPolygon([shapely.box(n, 0, n + 1, 1)]).wkb for n in numbers]
        yield pa.record_batch(
            [shapes, batch["gid"], list(numbers), [n << 40 for n in numbers], [n / 8 for n in numbers],
             [n % 2 == 0 for n in numbers]],
            schema=SCHEMA,
        )
    # the end
"""
YML = """
version: 2
models:
  - name: invented
    description: Made for a test.
    config: {contract: {enforced: false}}
    columns:
      - {name: gid, description: Key of an area., data_type: text, constraints: [{type: not_null}, {type: primary_key}]}
      - {name: number, data_type: integer, constraints: [{type: not_null}]}
      - {name: large, data_type: bigint}
      - {name: share, data_type: double precision}
      - {name: is_even, data_type: boolean}
      - name: geom
        data_type: "{{ 'geometry(MultiPolygon, 4326)' if target.type == 'postgis' else \\"geometry('EPSG:4326')\\" }}"
"""
COLUMNS = {
    "postgres": "select attname::text, format_type(atttypid, atttypmod), attnotnull, "
    "coalesce(col_description(attrelid, attnum), '') "
    "from pg_attribute where attrelid = 'marts.invented'::regclass and attnum > 0 order by attnum",
    "embedded": "select column_name, data_type, not is_nullable, coalesce(comment, '') from duckdb_columns() "
    "where table_name = 'invented' order by column_index",
}
KEYS = {
    "postgres": "select conkey::text from pg_constraint where conrelid = 'marts.invented'::regclass and contype = 'p'",
    "embedded": "select constraint_column_names::text from duckdb_constraints() "
    "where table_name = 'invented' and constraint_type = 'PRIMARY KEY'",
}


KEYS_MADE = 'batch["gid"], list('
FAULTS = {
    "missing": ("invented.py", '("large", pa.int64()),', "", "large is missing"),
    "undeclared": ("_invented.yml", "- {name: large, data_type: bigint}", "", "large is not declared"),
    "type": ("_invented.yml", "bigint", "integer", "large is int64, and declared as integer (int32)"),
    "unknown type": ("_invented.yml", "bigint", "json", "large is declared as json, which Python models cannot write"),
    "half-way": ("invented.py", "n / 8 for n", "8 / (n - 3) for n", "division by zero"),
    "null": ("invented.py", KEYS_MADE, "[None for _ in numbers], list(", "gid"),
    "key": ("invented.py", KEYS_MADE, '["Z" for _ in numbers], list(', "uplicate"),
    "name": ("invented.py", "dbt.ref(", "dbt.reference(", "reference"),
}


@pytest.fixture(scope="module", params=["postgres", "embedded"])
def warehouse(request: pytest.FixtureRequest, new_warehouse: NewWarehouse) -> Warehouse:
    """A warehouse of which a run is published and nothing is built."""
    made = new_warehouse()
    made.env["WAREHOUSE_TARGET"] = request.param
    made.ingest("gadm", "--source", str(ROOT / "sample" / "boundaries-levels.zip"))
    return made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the dbt project with a Python model more."""
    copied = copy_project(tmp_path / "project")
    folder = copied / "models" / "marts"
    (folder / "invented.py").write_text(MODEL)
    (folder / "_invented.yml").write_text(YML)
    return copied


def change(project: Path, name: str, old: str, new: str) -> None:
    """Change a file of the model."""
    path = project / "models" / "marts" / name
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def build(warehouse: Warehouse, project: Path, expect: int = 0) -> str:
    """Build the model and what it needs."""
    return warehouse.dbt("build", "-s", "+invented", folder=project, expect=expect).stdout


def ask(warehouse: Warehouse, queries: dict[str, str]) -> list[tuple[Any, ...]]:
    """Ask the marts in the words of their target."""
    return marts.ask(warehouse, queries[warehouse.env["WAREHOUSE_TARGET"]])


def tables(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """Return where the model's table is: nowhere, or in which schema."""
    found = marts.ask(
        warehouse, "select table_schema, table_name from information_schema.tables where table_name like '%invented%'"
    )
    return sorted(found)


def test_a_python_model_becomes_a_table_as_it_is_declared(warehouse: Warehouse, project: Path) -> None:
    build(warehouse, project)
    shape = {"postgres": "geometry(MultiPolygon,4326)", "embedded": "GEOMETRY('EPSG:4326')"}
    names = {"text": "VARCHAR", "integer": "INTEGER", "bigint": "BIGINT"}
    names |= {"double precision": "DOUBLE", "boolean": "BOOLEAN"}
    target = warehouse.env["WAREHOUSE_TARGET"]
    kinds = [*names] if target == "postgres" else [*names.values()]
    assert ask(warehouse, COLUMNS) == [
        ("gid", kinds[0], True, "Key of an area."),
        ("number", kinds[1], True, ""),
        ("large", kinds[2], False, ""),
        ("share", kinds[3], False, ""),
        ("is_even", kinds[4], False, ""),
        ("geom", shape[target], False, ""),
    ]
    assert ask(warehouse, KEYS) == [("{1}" if target == "postgres" else "[gid]",)]
    found = marts.rows(warehouse, "invented")
    assert [row["gid"] for row in found] == [f"Z0{number}" for number in range(2, 10)]
    assert {name: value for name, value in found[3].items() if name != "geom"} == {
        "gid": "Z05",
        "number": 3,
        "large": 3 << 40,
        "share": 0.375,
        "is_even": False,
    }
    assert shapely.equals(shapely.from_wkb(found[3]["geom"]), shapely.MultiPolygon([shapely.box(3, 0, 4, 1)]))


@pytest.mark.parametrize(("file", "old", "new", "message"), FAULTS.values(), ids=FAULTS)
def test_a_python_model_that_fails_says_why_and_leaves_no_table(
    warehouse: Warehouse, project: Path, file: str, old: str, new: str, message: str
) -> None:
    before = tables(warehouse)
    original = (project / "models" / "marts" / file).read_text()
    change(project, file, old, new)
    if "missing" in message:
        change(project, file, "[n << 40 for n in numbers], ", "")
    printed = build(warehouse, project, expect=1)
    assert message in printed
    assert tables(warehouse) == before
    (project / "models" / "marts" / file).write_text(original)
    warehouse.dbt("retry", folder=project)
    assert len(marts.rows(warehouse, "invented")) == 8
