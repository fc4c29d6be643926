"""The benchmarks run, on a very small world: every way loads every row, and the report can be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from benchmarks import generate, locate, locate_peers, locate_points, locate_postgis, next_release, report
from tests.conftest import ROOT
from tests.integration import servers

pytestmark = pytest.mark.slow

SCALE = 0.001
DIGITISING = 0.2  # degrees: more than a step of the lattice of any country
# Two countries of sixteen units each, with sea between them, and two zones.
SQUARES = """
create schema marts;
create table marts.internal_leaf_parts as
select
    case when x < 4 then 'AAA' else 'BBB' end || '.' || (x + 10 * y) as gid,
    5 as vertex_count,
    geom::geometry('EPSG:4326') as geom
from (
    select x, y, st_makeenvelope(5 + 2 * x, 45 + y, 5.2 + 2.2 * x, 46 + y) as geom
    from range(8) as xs (x), range(4) as ys (y)
);
create table marts.internal_timezone_parts as
select tzid, 5 as vertex_count, geom::geometry('EPSG:4326') as geom
from (values
    ('Europe/Berlin', st_makeenvelope(0, 40, 12.9, 60)), ('Europe/Vienna', st_makeenvelope(12.9, 40, 30, 60))
) as zones (tzid, geom);
create table marts.admin_units as
select gid, 1 as admin_level, gid as path, gid as name from marts.internal_leaf_parts
union all
select distinct gid[:3], 0, gid[:3], gid[:3] from marts.internal_leaf_parts;
create table marts.admin_unit_ancestors as
select gid, gid[:3] as ancestor_gid, 0 as ancestor_level from marts.admin_units
union all
select gid, gid, 1 from marts.admin_units where admin_level = 1;
create table marts.published_runs as select 1 as one;
create table marts.marts_meta as
select
    dataset, 'squares' as build_id, now() as built_at, '1' as run_id, 'r' as release, null::text as variant,
    null::text as scope, now() as published_at
from (values ('gadm'), ('timezones')) as datasets (dataset);
"""
QUICK = ("ingest-sedonadb-2$", "dbt-build", "server-alone", "ogr2ogr", "to-postgis", "original", "duckdb")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the shape of the world's, three countries of it."""
    path = tmp_path_factory.mktemp("generated") / "world.gpkg"
    generate.write(path, SCALE)
    return path


def test_the_generated_units_are_valid_and_tile_their_parents(file: Path) -> None:
    frames = [pyogrio.read_dataframe(file, layer=str(name)) for name, _ in pyogrio.list_layers(file)]
    assert len(frames) == 6
    for level, frame in enumerate(frames):
        assert frame.geometry.is_valid.all()
        assert set(frame.geom_type) == {"MultiPolygon"}
        assert frame.crs == "EPSG:4326"
        if level:
            key = f"GID_{level - 1}"
            parents = frames[level - 1].set_index(key).geometry
            children = frame.dissolve(key).geometry
            complete = children.index.intersection(parents.index)
            gaps = shapely.area(shapely.symmetric_difference(children[complete].values, parents[complete].values))
            assert (gaps > 1e-9).mean() < 0.05  # a few parents have children only in part


def read(made: generate.World, path: Path) -> dict[str | None, Any]:
    """Write a release; return the geometry of each unit by its key."""
    generate.write_world(path, made)
    frames = ((int(str(name)[-1]), pyogrio.read_dataframe(path, layer=name)) for name, _ in pyogrio.list_layers(path))
    return {
        key: shape for level, frame in frames for key, shape in zip(frame[f"GID_{level}"], frame.geometry, strict=True)
    }


def test_the_next_release_has_the_changes_that_it_tells_of_and_no_others(tmp_path: Path) -> None:
    releases = next_release.make(SCALE, 0.2, all_differ=True)
    before, now = read(releases.before, tmp_path / "before.gpkg"), read(releases.now, tmp_path / "now.gpkg")
    rekeyed = {row[1:] for row, kind in releases.truth.items() if kind == "re-keyed"}
    gone = {old for of, old, _ in releases.truth if of == "from"} | {old for old, _ in rekeyed}
    fresh = {new for of, _, new in releases.truth if of == "to"} | {new for _, new in rekeyed}
    assert set(releases.truth.values()) >= {"split", "merged", "re-keyed", "renamed", "new", "gone"}
    assert (set(before) - set(now), set(now) - set(before)) == (gone, fresh)
    assert all(shape.is_valid for shape in now.values())
    for old, new in rekeyed | {(key, key) for key in set(before) & set(now)}:
        is_same = shapely.hausdorff_distance(before[old].envelope, now[new].envelope) < DIGITISING
        assert not before[old].equals_exact(now[new])
        assert is_same or releases.truth.get(("both", old, new)) == "reshaped"


@pytest.mark.servers
def test_every_way_loads_every_row(file: Path, tmp_path: Path) -> None:
    options = [f"--scale={SCALE}", f"--file={file}", f"--results={tmp_path}", *(f"--only={name}" for name in QUICK)]
    command = [sys.executable, "-m", "benchmarks.run", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / f"scale-{SCALE:g}.json").read_text())
    assert [result["fault"] for result in found["results"]] == [None] * 12, done.stdout
    assert all(result["peak_bytes"] > 0 for result in found["results"])
    assert "server alone" in (tmp_path / f"scale-{SCALE:g}.md").read_text()
    assert (tmp_path / f"scale-{SCALE:g}.svg").read_text().startswith("<?xml")


def test_goals_are_held_against_what_was_found() -> None:
    def result(name: str, seconds: float) -> dict[str, object]:
        return {"name": name, "title": name, "seconds": seconds, "peak_bytes": 7e8, "bytes": 1e9, "fault": None}

    names = {"ingest-sedonadb-2-unchecked": 10.0, "ingest-sedonadb-2": 14.0, "ogr2ogr": 50.0, "ogr2ogr-makevalid": 60.0}
    found = {"results": [result(*each) for each in names.items()], "largest_geometry_bytes": 1e8}
    met = {goal: is_met for goal, _, _, is_met in report.goals(found, None)}
    assert met["faster than `ogr2ogr` by default"] is False
    assert met["what validation adds, compared with what `-makevalid` adds"] is True
    assert met["memory of a worker"] is True


@pytest.fixture(scope="module")
def located(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the points of two small countries were looked up, by us and by DuckDB."""
    folder = tmp_path_factory.mktemp("located")
    (folder / "home").mkdir()
    with locate_points.connected(folder / "home" / "warehouse.duckdb", read_only=False) as connection:
        connection.execute(SQUARES)
    ways = [f"--only={name}" for name in ("index", "^locate$", "duckdb", "locator", "zones")]
    options = [f"--folder={folder}", f"--results={folder}", "--points=2000", "--compared=200", "--timezones=loaded"]
    command = [sys.executable, "-m", "benchmarks.locate", *options, *ways]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_points_are_looked_up_and_the_table_is_written(located: Path) -> None:
    found = json.loads((located / "locate.json").read_text())
    assert not any("fault" in each for each in found.values() if isinstance(each, dict))
    assert [found[f"compared {points}"] for points in locate.SETS] == [{"points": 2000, "differ": 0}] * 2
    assert found["agreement"]["points"] == 200
    table = (located / "locate.md").read_text()
    for text in (
        "| `ingest locate`, Parquet | units and zones | 2,000 |",
        "| `Locator.locate` |",
        "| memory | ≤ 3 GB |",
    ):
        assert text in table


def test_a_point_like_people_live_is_in_any_unit_as_likely(located: Path) -> None:
    gids = pq.read_table(located / "locate" / "locate-people.parquet")["gid"].to_pylist()
    assert None not in gids
    counts = [gids.count(gid) for gid in set(gids)]
    assert len(counts) == 32
    assert max(counts) < 2.5 * min(counts)


@pytest.mark.servers
def test_every_peer_that_joins_finds_the_same(
    located: Path, postgres: servers.Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"host=127.0.0.1 port={postgres.port} user=warehouse"
    with psycopg.connect(f"{where} dbname=postgres", autocommit=True) as connection:
        connection.execute("create database parts")
    monkeypatch.setenv(locate_peers.POSTGIS, f"{where} dbname=parts")
    with psycopg.connect(os.environ[locate_peers.POSTGIS], autocommit=True) as connection:
        locate_postgis.load(connection, located / "home" / "warehouse.duckdb")
    parts = located / "locate"
    start, points = (locate_points.first(parts / "land.parquet", count) for count in (100, 2000))
    expected = rows(parts / "duckdb-join-land.parquet")
    assert len(expected) == 2000
    for way in ("sedonadb-join", "geopandas-sjoin", "postgis-join"):
        took = locate_peers.many(way, located / "home", parts, (start, points, tmp_path / "found.parquet"))
        assert took["seconds"] > 0
        assert rows(tmp_path / "found.parquet") == expected, way
    single = tmp_path / "single.json"
    single.write_text(json.dumps([[10.0, 46.5]] * 20))
    assert all(locate_peers.one(way, 0.0, single)["median_us"] > 0 for way in ("postgis", "timezonefinder"))
    locate_peers.many("timezonefinder", located, parts, (start, points, tmp_path / "found.parquet"))
    assert set(pq.read_table(tmp_path / "found.parquet")["tzid"].to_pylist()) >= {"Europe/Berlin", "Europe/Vienna"}


def rows(path: Path) -> list[tuple[Any, ...]]:
    """Return the numbers of points, and the unit and the zone that were found."""
    return sorted(duckdb.sql(f"select id, gid, tzid from '{path}'").fetchall())


def test_the_marts_that_are_built_for_locating_exist() -> None:
    models = {path.stem for path in (ROOT / "models").rglob("*.*")}
    assert set(locate.MARTS) <= models


def test_goals_of_locating_are_held_against_what_was_found() -> None:
    def result(points: int, seconds: float) -> dict[str, float]:
        return {"points": points + locate.START, "start_seconds": 1.0, "seconds": 1.0 + seconds, "peak_bytes": 2.9e9}

    found = {"many locate land": result(3_000_000, 2.0), "many locate people": result(500_000, 2.0)}
    found |= {"many duckdb-join land": result(1_000_000, 2.0), "one locator": {"median_us": 21.0, "first_seconds": 1.0}}
    met = {goal: is_met for goal, _, _, is_met in locate.goals(found)}
    assert list(met.values()) == [True, False, True, None, True, False, True]
