"""A few invented units and zones as the tables that time zones and lookups are made from, on both targets.

Their shapes, areas and points need not agree: a test sets each to what shows its rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import psycopg
from shapely import MultiPolygon, Polygon

from admin_boundaries.duckdb_spatial import load_spatial
from ingest import catalog, sinks
from ingest.ledger import Ledger
from ingest.settings import read_settings
from tests.integration.conftest import Warehouse

STAGED = "staging.stg_gadm__adm_{}"
TABLES = f"""
create schema staging;
create schema intermediate;
create schema marts;
create table marts.marts_meta (
    dataset text, build_id text, built_at {{2}}, run_id text, release text, variant text, scope text, published_at {{2}}
);
insert into marts.marts_meta (dataset) values ('gadm'), ('timezones');
create table intermediate.int_admin_units__parents_resolved (
    gid text, admin_level int, file_no int, source_file text, source_layer text, source_fid bigint,
    is_leaf boolean, is_covered_by_children boolean
);
{
    "".join(
        f'''
create table {STAGED.format(level)} (
    file_no int, source_file text, source_layer text, source_fid bigint, admin_level int, area_km2 {{0}},
    vertex_count bigint, point_lon {{0}}, point_lat {{0}}, min_lon {{0}}, min_lat {{0}}, max_lon {{0}}, max_lat {{0}},
    geom {{1}}
);'''
        for level in range(6)
    )
}
create table marts.admin_units (
    gid text primary key, parent_gid text, country_gid text, admin_level int, path text, name text
);
create table marts.admin_unit_ancestors (
    gid text, ancestor_gid text, admin_level int, ancestor_level int, distance int
);
create table marts.timezones (tzid text primary key);
create table marts.internal_leaf_parts (
    gid text, polygon_number int, piece_number bigint, vertex_count bigint,
    min_lon {{0}}, min_lat {{0}}, max_lon {{0}}, max_lat {{0}}, geom {{1}}
);
create table marts.internal_timezone_parts (
    tzid text, polygon_number int, piece_number bigint, vertex_count bigint,
    min_lon {{0}}, min_lat {{0}}, max_lon {{0}}, max_lat {{0}}, geom {{1}}
);
"""
ON_POSTGRES = ("double precision", "geometry(MultiPolygon, 4326)", "timestamptz")
ON_DUCKDB = ("double", "geometry('EPSG:4326')", "timestamptz")


@dataclass(frozen=True)
class Unit:
    """A unit. One with polygons, or with only a point, is a leaf; or it has children, which do not cover it.

    Attributes
    ----------
    ancestors : tuple of str
        Keys from the country down to the parent, each a level below the one before if it is no unit of the list.
    polygons : tuple of Polygon
        Each becomes a part of the unit.
    point : (float, float)
        Longitude and latitude of its representative point.
    level : int, optional
        Its level, where it is not one below that of its parent.
    """

    gid: str
    ancestors: tuple[str, ...] = ()
    polygons: tuple[Polygon, ...] = ()
    area_km2: float | None = None
    point: tuple[float, float] | None = None
    level: int | None = None


@dataclass(frozen=True)
class Target:
    """A connection to one target, after ``dbt run`` of what is made from the tables."""

    name: str
    connection: Any

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query that both targets understand."""
        rows: list[tuple[Any, ...]] = self.connection.execute(sql).fetchall()
        return rows

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a mart whole."""
        found = self.connection.execute(f"select * from marts.{table}")
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def locate_points(self, points: Sequence[tuple[str, str]]) -> list[tuple[Any, ...]]:
        """Return what ``locate_points`` answers, without the number; coordinates are SQL."""
        if self.name == "postgres":
            lons, lats = (f"array[{', '.join(side)}]::float8[]" for side in zip(*points, strict=True))
            return [row[1:] for row in self.ask(f"select * from marts.locate_points({lons}, {lats})")]
        singly = " union all ".join(
            f"select {number} as point_number, cast({lon} as double) as lon, cast({lat} as double) as lat"
            for number, (lon, lat) in enumerate(points)
        )
        self.connection.execute(f"create or replace temp table points as {singly}")
        return [row[1:] for row in self.ask("select * from marts.locate_points('points')")]


@contextmanager
def built(
    new_warehouse: Callable[[], Warehouse], units: Sequence[Unit], zones: Mapping[str, Sequence[Polygon]]
) -> Iterator[tuple[Target, Target]]:
    """Fill the tables on PostGIS and on DuckDB, and have dbt make the marts of time zones and the lookup functions."""
    postgres, embedded = _sorting_by_language(new_warehouse()), new_warehouse()
    embedded.env["WAREHOUSE_TARGET"] = "embedded"
    for warehouse, types in ((postgres, ON_POSTGRES), (embedded, ON_DUCKDB)):
        target = read_settings(warehouse.env)
        Ledger(target).open()
        for name, dataset in catalog.datasets().items():
            sinks.get(target).ensure_published(name, dataset.tables)
        with connected(warehouse) as connection:
            for statement in (*TABLES.format(*types).split(";"), *_inserts(units, zones, types[1])):
                if statement.strip():
                    connection.execute(statement)
        warehouse.dbt("run", "--select", "int_located_unit_timezones", "admin_unit_timezones")
    with connected(postgres) as on_postgres, connected(embedded) as on_duckdb:
        yield Target("postgres", on_postgres), Target("embedded", on_duckdb)


def _sorting_by_language(warehouse: Warehouse) -> Warehouse:
    """Return a warehouse on a database that sorts texts as people do: what is sorted by bytes must say so itself."""
    assert warehouse.dsn is not None
    name = f"{warehouse.env['PGDATABASE']}_by_language"
    with psycopg.connect(warehouse.dsn, autocommit=True) as connection:
        connection.execute(
            f"create database {name} template template0 locale 'C.UTF-8' locale_provider icu icu_locale 'en-US'"
        )
    moved = replace(warehouse, env={**warehouse.env, "PGDATABASE": name}, dsn=f"{warehouse.dsn}_by_language")
    with connected(moved) as connection:
        connection.execute("create extension postgis")
    return moved


@contextmanager
def connected(warehouse: Warehouse) -> Iterator[Any]:
    """Open a warehouse of either target to write to it; its file is made if it is not there."""
    if warehouse.env["WAREHOUSE_TARGET"] == "postgres":
        assert warehouse.dsn is not None
        with psycopg.connect(warehouse.dsn, autocommit=True) as postgres:
            yield postgres
    else:
        path, version = warehouse.home / "warehouse.duckdb", "v1.5.0"  # as in profiles.yml
        with duckdb.connect(str(path), config={"storage_compatibility_version": version}) as embedded:
            load_spatial(embedded)
            yield embedded


def _inserts(units: Sequence[Unit], zones: Mapping[str, Sequence[Polygon]], geometry: str) -> Iterator[str]:
    levels = {unit.gid: len(unit.ancestors) if unit.level is None else unit.level for unit in units}
    parents = {ancestor for unit in units for ancestor in unit.ancestors}
    for number, unit in enumerate(units):
        chain = (*unit.ancestors, unit.gid)
        level, is_leaf = levels[unit.gid], unit.gid not in parents
        parent = unit.ancestors[-1] if unit.ancestors else None
        yield _insert("marts.admin_units", unit.gid, parent, chain[0], level, " > ".join(chain), unit.gid.lower())
        for position, ancestor in enumerate(chain):
            above = levels.get(ancestor, position)
            yield _insert("marts.admin_unit_ancestors", unit.gid, ancestor, level, above, level - above)
        if unit.polygons or unit.point:
            origin = (0, "f", "l", number)
            yield _insert("intermediate.int_admin_units__parents_resolved", unit.gid, level, *origin, is_leaf, False)
            vertex_count = 1 if unit.polygons else None
            facts = (unit.area_km2, vertex_count, *(unit.point or (None, None)), *(None for _ in range(5)))
            yield _insert(STAGED.format(level), 0, "f", "l", number, level, *facts)
            yield from _parts("marts.internal_leaf_parts", unit.gid, unit.polygons, geometry)
    for tzid, polygons in zones.items():
        yield _insert("marts.timezones", tzid)
        yield from _parts("marts.internal_timezone_parts", tzid, polygons, geometry)


def _parts(table: str, key: str, polygons: Sequence[Polygon], geometry: str) -> Iterator[str]:
    for number, polygon in enumerate(polygons, start=1):
        wkt = MultiPolygon([polygon]).wkt
        shape = f"st_geomfromtext('{wkt}', 4326)" if geometry in ON_POSTGRES else f"st_geomfromtext('{wkt}')"
        vertices = len(polygon.exterior.coords)
        yield _insert(table, key, number, 1, vertices, *polygon.bounds, geom=shape)


def _insert(table: str, *values: object, geom: str | None = None) -> str:
    listed = ["null" if value is None else f"'{value}'" if isinstance(value, str) else repr(value) for value in values]
    return f"insert into {table} values ({', '.join([*listed, geom] if geom else listed)})"
