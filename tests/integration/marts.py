"""Read marts from either target and compare them row for row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import duckdb
import psycopg
import shapely

from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.spark.edition import read_edition
from admin_boundaries.spark.storage import LocalStorage
from admin_boundaries.spark.warehouse import add_marts
from ingest.settings import with_dataset
from tests.integration.conftest import Warehouse

TABLES = (
    *(f"admin_level_{level}" for level in range(6)),
    *("admin_units", "admin_unit_ancestors", "admin_unit_neighbours", "admin_units_simplified", "timezones"),
    *("internal_leaf_parts", "internal_timezone_parts", "admin_unit_timezones", "admin_unit_names", "admin_unit_codes"),
    *("internal_level_counts", "internal_country_counts", "admin_anomalies", "timezones_set_aside"),
    *("admin_topology_faults", "admin_topology_summary", "country_coverage", "unit_matches"),
    *("timezone_transitions", "timezone_aliases", "timezone_overlaps"),
)
DERIVED = (
    *("admin_unit_neighbours", "admin_units_simplified", "admin_topology_faults", "admin_topology_summary"),
    *("timezone_transitions", "timezone_aliases", "timezone_overlaps"),
)
INSTANTS = (
    "starts_at",
    "ends_at",
    "same_everywhere_since",
    "same_since",
)  # DuckDB needs another package to return them
# GEOS of two versions: where a line was cut, ends differ in the last bits
CUT = ("internal_leaf_parts", "internal_timezone_parts")
DEGREES_TOLERANCE = 1e-12
ORIGIN = ("file_no", "source_file", "source_layer", "source_fid")
RELATIVE_TOLERANCE = 1e-9  # areas: the engines add up the same numbers in another order
Row = dict[str, Any]


class Connection(Protocol):
    """What both drivers have."""

    def execute(self, query: Any, /) -> Any:
        """Run a query."""
        ...


def _of_dataset(warehouse: Warehouse, name: str) -> str:
    return with_dataset(name, warehouse.env.get("BOUNDARIES") or "gadm")


@contextmanager
def _connect(warehouse: Warehouse) -> Iterator[tuple[Connection, str]]:
    if warehouse.env["WAREHOUSE_TARGET"] == "postgres":
        assert warehouse.dsn is not None
        with psycopg.connect(warehouse.dsn) as postgres:
            yield postgres, "ST_AsBinary"
    elif warehouse.env["WAREHOUSE_TARGET"] == "spark":
        root = Path(warehouse.env.get("SPARK_WAREHOUSE", warehouse.home / "spark"))
        marts = _of_dataset(warehouse, "marts")
        edition = read_edition(LocalStorage(root), marts)
        assert edition is not None
        with duckdb.connect() as on_spark:
            load_spatial(on_spark)
            add_marts(on_spark, root, marts, edition)
            yield on_spark, "ST_AsWKB"
    else:
        with duckdb.connect(
            str(warehouse.home / f"{_of_dataset(warehouse, 'warehouse')}.duckdb"), read_only=True
        ) as embedded:
            yield embedded, "ST_AsWKB"


def columns(warehouse: Warehouse, table: str) -> list[str]:
    """Return the columns of a mart, in order."""
    with _connect(warehouse) as (connection, _):
        return _columns(warehouse, connection, table)


def _columns(warehouse: Warehouse, connection: Connection, table: str) -> list[str]:
    query = (
        "select column_name from information_schema.columns "
        f"where table_schema = '{_of_dataset(warehouse, 'marts')}' and table_name = '{table}' "
        "order by ordinal_position"
    )
    return [name for (name,) in connection.execute(query).fetchall()]


def ask(warehouse: Warehouse, *statements: str) -> list[tuple[Any, ...]]:
    """Ask a warehouse of either target; return what the last statement finds."""
    with _connect(warehouse) as (connection, _):
        if isinstance(connection, duckdb.DuckDBPyConnection):
            load_spatial(connection)
        for statement in statements:
            if statement.strip():
                cursor = connection.execute(statement)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def rows(warehouse: Warehouse, table: str) -> list[Row]:
    """Return the rows of a mart, geometry as WKB, in an order that both targets share; the run's name is left out."""
    return _read(warehouse, table)[1]


def _read(warehouse: Warehouse, table: str) -> tuple[list[str], list[Row]]:
    """Return the columns of a mart, and its rows without the run's name."""
    with _connect(warehouse) as (connection, as_wkb):
        listed = _columns(warehouse, connection, table)
        if "geom" in listed and isinstance(connection, duckdb.DuckDBPyConnection):
            load_spatial(connection)
        names = [name for name in listed if name != "run_id"]
        special = dict.fromkeys(INSTANTS, "cast(extract(epoch from {}) as bigint)") | {"geom": as_wkb + "({})"}
        selected = ", ".join(special.get(name, "{}").format(name) for name in names)
        found = connection.execute(f"select {selected} from {_of_dataset(warehouse, 'marts')}.{table}").fetchall()
    made = [dict(zip(names, map(_plain, row), strict=True)) for row in found]
    return listed, sorted(
        made, key=lambda row: [str(value) for value in row.values() if not isinstance(value, float | bytes)]
    )


def _plain(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview | bytearray) else value


def assert_same(left: Warehouse, right: Warehouse, table: str, *, moved: str = "") -> None:
    """Check that a mart has the same columns and rows in two warehouses: floats nearly, all else exactly.

    The country ``moved`` may be from another file.
    """
    (names, ours), (other_names, theirs) = _read(left, table), _read(right, table)
    assert names == other_names
    assert len(ours) == len(theirs), table
    for one, other in zip(ours, theirs, strict=True):
        is_moved = bool(moved) and (one.get("gid") or "").partition(".")[0] == moved
        for name, value in one.items():
            if is_moved and name in ORIGIN:
                continue
            if isinstance(value, float) and isinstance(other[name], float):
                same = math.isclose(value, other[name], rel_tol=RELATIVE_TOLERANCE)
            elif name == "geom" and table in CUT:
                same = _same_shape(value, other[name])
            else:
                same = value == other[name]
            assert same, f"{table}.{name} of {next(iter(other.values()))}: {value!r} and {other[name]!r}"


def _same_shape(one: Any, other: Any) -> bool:
    left, right = (shapely.normalize(shapely.from_wkb(wkb)) for wkb in (one, other))
    return bool(left.equals_exact(right, DEGREES_TOLERANCE))


def geometry_storage(warehouse: Warehouse) -> set[tuple[str, str]]:
    """Return which marts have geometry, and how each stores it: PostgreSQL's strategy or DuckDB's compression."""
    with _connect(warehouse) as (connection, _):
        tables = connection.execute(
            "select table_name from information_schema.columns where table_schema = 'marts' and column_name = 'geom'"
        ).fetchall()
        query = (
            "select distinct compression from pragma_storage_info('marts.{}') "
            "where column_name = 'geom' and segment_type <> 'VALIDITY'"
            if isinstance(connection, duckdb.DuckDBPyConnection)
            else "select attstorage::text from pg_attribute where attrelid = 'marts.{}'::regclass and attname = 'geom'"
        )
        return {(table, how) for (table,) in tables for (how,) in connection.execute(query.format(table)).fetchall()}
