"""What `import admin_boundaries` gives: the same units, points, names and rows of SQL on both targets."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import shapely

import admin_boundaries as ab
from admin_boundaries.units import Shape
from ingest import errors, settings
from tests.conftest import ROOT
from tests.fixtures.documents import blocks, queries, typed
from tests.integration import marts
from tests.integration.conftest import ADDED, Warehouse

pytestmark = [pytest.mark.servers, pytest.mark.slow]
CONNECT, README = ROOT / "docs" / "connect.md", ROOT / "README.md"
Worlds = tuple[ab.World, ab.World]
NEARLY = ("area_km2", "children_area_share", "area_share", "border_km")  # sums of the same numbers in another order
ORIGIN = ("file_no", "source_file", "source_layer", "source_fid")  # one country is from another file


@pytest.fixture(scope="module")
def worlds(both: tuple[Warehouse, Warehouse]) -> Iterator[Worlds]:
    """The marts of PostgreSQL, and those of DuckDB."""
    with ExitStack() as stack:
        postgres, embedded = (
            stack.enter_context(ab.World(settings.read_settings(warehouse.env))) for warehouse in both
        )
        yield postgres, embedded


def same(worlds: Worlds, ask: Callable[[ab.World], Any]) -> Any:
    """Return what both worlds answer."""
    left, right = (ask(world) for world in worlds)
    assert left == right
    return left


def assert_same_rows(left: pa.Table, right: pa.Table) -> None:
    """Check that two tables have the same columns of the same types, and the same rows."""
    assert left.schema.equals(right.schema, check_metadata=True)
    assert left.num_rows == right.num_rows > 0
    for name in left.column_names:
        if name in NEARLY:
            assert np.allclose(left[name].to_numpy(), right[name].to_numpy(), rtol=1e-9, atol=0, equal_nan=True), name
        elif name not in ORIGIN:
            assert left[name].to_pylist() == right[name].to_pylist(), name


@pytest.mark.parametrize("geometry", ["full", "simplified", None])
def test_units_have_the_same_rows_on_both_targets(worlds: Worlds, geometry: Shape) -> None:
    for asked in ({}, {"level": 1}, {"level": (0, 2), "country": ADDED}):
        tables = [world.units(**asked, geometry=geometry).arrow() for world in worlds]
        assert_same_rows(*tables)
        assert tables[0]["gid"].to_pylist() == [unit.gid for unit in worlds[0].units(**asked)]
        assert len(worlds[1].units(**asked)) == tables[0].num_rows
        assert ("geom" in tables[0].column_names) == (geometry is not None)


def test_columns_of_a_level_and_of_all_units_are_chosen_together(worlds: Worlds) -> None:
    columns = ["name", "path", "parent_source", "gid_1", "licence"]
    tables = [world.units((0, 2), columns=columns, geometry=None).arrow() for world in worlds]
    assert_same_rows(*tables)
    assert tables[0].column_names == ["gid", "admin_level", *columns]
    assert {row["gid_1"] for row in tables[0].to_pylist() if row["admin_level"] == 0} == {None}


def test_units_become_a_frame_with_the_shapes_of_the_marts(worlds: Worlds) -> None:
    for world in worlds:
        frame = world.units(level=1, country=ADDED, columns=["name"]).to_geopandas()
        assert isinstance(frame, gpd.GeoDataFrame)
        assert (frame.crs.to_epsg(), frame.columns.tolist()) == (4326, ["gid", "admin_level", "name", "geom"])
        for gid, shape in zip(frame["gid"][:3], frame.geometry[:3], strict=True):
            assert shapely.equals(world[gid].geometry, shape)
        simple, whole = world[ADDED].simplified(0.1), world[ADDED].geometry
        assert 3 < shapely.get_num_coordinates(simple) < shapely.get_num_coordinates(whole)
        with pytest.raises(errors.UsageError, match="no geometry"):
            world.units(level=1, geometry=None).to_geopandas()
        assert len(pa.table(world.units(level=1, country=ADDED, geometry=None))) == len(frame)


def test_a_unit_knows_those_above_below_and_beside_it(worlds: Worlds) -> None:
    world, top = worlds[0], worlds[0][ADDED]
    children = list(top.children())
    assert same(worlds, lambda world: repr(list(world[ADDED].children()))) == repr(children)
    assert len(children) == top.child_count == len(top.children()) > 1
    assert {(unit.parent, unit.ancestors) for unit in children} == {(top, (top,))}
    for unit in children:
        near = [each.unit for each in unit.neighbours]
        gids = same(worlds, lambda world, gid=unit.gid: [each.unit.gid for each in world[gid].neighbours])  # type: ignore[misc]
        assert [each.gid for each in near] == gids
        assert all(unit in {each.unit for each in other.neighbours} for other in near)
    assert same(worlds, lambda world: [zone.tzid for zone in world[ADDED].zones])
    assert same(worlds, lambda world: world[ADDED].attributes["name"]) == top.name
    leaf = next(unit for unit in world.units() if unit.is_leaf)
    assert (len(leaf.children()), leaf.children().arrow().num_rows, top.parent) == (0, 0, None)


def test_a_key_that_nobody_has_is_a_key_error_that_says_which_is_similar(worlds: Worlds) -> None:
    gid = next(iter(worlds[0].units(level=1, country=ADDED))).gid
    for world in worlds:
        assert gid in world
        assert "nowhere" not in world
        with pytest.raises(KeyError, match=f"Did you mean '{ADDED}"):
            world[gid.lower()]
        with pytest.raises(errors.UnitUnknown, match=f"Did you mean '{ADDED}', {world[ADDED].name}"):
            world[world[ADDED].name]
        with pytest.raises(errors.UnitUnknown, match=f"Did you mean '{ADDED}'"):
            world.units(country=world[ADDED].name)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"level": 7}, "There is no level 7"),
        ({"level": ()}, "No level is chosen"),
        ({"columns": ["nam"]}, "Did you mean 'name'"),
        ({"columns": ["geom"]}, "geometry='full'"),
        ({"geometry": "round"}, "There is no geometry 'round'"),
        ({"geometry": "simplified", "tolerance": 0.2}, r"Known: 0\.001, 0\.01, 0\.1"),
    ],
)
def test_units_that_cannot_be_read_are_refused_when_they_are_asked_for(
    worlds: Worlds, asked: dict[str, Any], said: str
) -> None:
    for world in worlds:
        with pytest.raises(errors.UsageError, match=said):
            world.units(**asked)


def test_a_point_and_a_table_of_points_have_the_same_answer_on_both_targets(worlds: Worlds) -> None:
    inside = worlds[1].units(level=1, country=ADDED, columns=["name"]).to_geopandas()
    inside = inside.set_geometry(inside.representative_point()).drop(columns=["gid", "admin_level"])
    lons, lats = [*inside.geometry.x, np.nan, -30.0], [*inside.geometry.y, 0.0, 20.0]
    tables = [
        table
        for world in worlds
        for table in (
            world.locate_many(lons, lats),
            world.locate_many(pd.DataFrame({"longitude": lons, "latitude": lats})).drop(["longitude", "latitude"]),
        )
    ]
    for other in tables[1:]:
        assert tables[0].equals(other)
    assert tables[0]["located_status"].to_pylist()[-2:] == ["bad coordinates", "no unit"]
    located = [world.locate_many(inside.to_crs(3857)).drop(["name", "geom"]) for world in worlds]
    assert [table.equals(tables[0].slice(0, len(inside))) for table in located] == [True, True]
    place = same(worlds, lambda world: world.locate(lons[0], lats[0]))
    assert place.gid == place.gids[0] == tables[0]["gid"][0].as_py()
    assert place.unit.path == place.path
    assert same(worlds, lambda world: world.locate(-30, 20)).unit is None
    for world in worlds:
        with pytest.raises(errors.UsageError, match="Longitude comes first"):
            world.locate(20, -130)
        with pytest.raises(errors.UsageError, match="do not match"):
            world.locate_many([1.0], [1.0, 2.0])
        with pytest.raises(errors.SchemaDrift, match="no columns lon and lat"):
            world.locate_many(pa.table({"a": [1.0]}))


def test_names_and_sql_have_the_same_answer_on_both_targets(worlds: Worlds) -> None:
    assert same(worlds, lambda world: world.find(world[ADDED].name))[0].gid == ADDED
    query = f"select gid, name, geom from marts.admin_level_1 where gid_0 = '{ADDED}' order by gid"
    tables = [world.sql(query).arrow() for world in worlds]
    assert_same_rows(*tables)
    assert [world.sql(query).to_geopandas().geom_type.unique().tolist() for world in worlds] == [["MultiPolygon"]] * 2
    for world in worlds:
        with pytest.raises(errors.QueryFailed):
            world.sql("drop table marts.admin_units").arrow()


def test_what_the_marts_cannot_tell_is_refused_with_a_word_on_how_to_build_it(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worlds[0]
    for ask in (world.changes, world.crosswalk):
        with pytest.raises(errors.ReleaseMissing, match="Load another release"):
            ask()
    known = {name: mart for name, mart in world._marts.known.items() if name != "admin_unit_neighbours"}
    monkeypatch.setattr(world, "_marts", replace(world._marts, known=known))
    with pytest.raises(errors.MartsMissing, match=r"lack admin_unit_neighbours\. Run `dbt build`"):
        _ = world[ADDED].neighbours


def test_a_server_has_no_connection_left_open_by_what_was_read(worlds: Worlds) -> None:
    world = worlds[0]
    count = "select count(*) from pg_stat_activity where datname = current_database()"
    (before,) = world.warehouse.rows(count)
    for _ in range(5):
        world.units(level=1, geometry=None).arrow()
        world.sql("select 1 as one").arrow()
        unread = world.units(level=1).reader()
        unread.read_next_batch()
        del unread
    for _ in range(50):  # a server process ends a moment after its connection
        if world.warehouse.rows(count) == [before]:
            break
        time.sleep(0.1)
    assert world.warehouse.rows(count) == [before]


def test_a_world_is_opened_by_the_environment_or_by_arguments_and_closed(
    both: tuple[Warehouse, Warehouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = both[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is stale
        with ab.open("embedded", home=embedded.home) as world:
            by_argument = [unit.gid for unit in world.units(level=0)]
        monkeypatch.setenv("WAREHOUSE_HOME", str(embedded.home))
        opened = ab.open()
    assert [unit.gid for unit in opened.units(level=0)] == by_argument
    opened.close()
    opened.close()
    with pytest.raises(errors.UsageError, match="closed"):
        opened.find(ADDED)
    with pytest.raises(errors.MartsMissing, match="BOUNDARIES=tiger dbt build"):
        ab.open(dataset="tiger")


def home_with_spatial(folder: Path) -> Path:
    """Return an empty home folder into which the line that the documents show has put DuckDB's extension."""
    (puts,) = {line for document in (CONNECT, README) for line in typed(document, "$") if line.startswith("python -c")}
    env = {**os.environ, "HOME": str(folder)}
    subprocess.run([sys.executable, *shlex.split(puts)[1:]], env=env, check=True)
    return folder


def test_the_examples_of_duckdb_and_psql_run_as_they_are_printed(
    both: tuple[Warehouse, Warehouse], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres, embedded = both
    (tmp_path / ".warehouse").symlink_to(embedded.home)
    monkeypatch.setenv("HOME", str(home_with_spatial(tmp_path)))
    for document in (CONNECT, README):
        (without_us,) = (text for text in blocks(document, "python") if "duckdb.connect" in text)
        subprocess.run([sys.executable, "-c", without_us], cwd=tmp_path, check=True)
        assert set(typed(document, "D")) <= set(typed(CONNECT, "D"))
        assert set(typed(document, "warehouse=>")) <= set(typed(CONNECT, "warehouse=>"))
    with duckdb.connect(str(embedded.home / "warehouse.duckdb"), read_only=True) as connection:
        connection.load_extension("spatial")
        in_shell = [connection.execute(text).fetchall() for text in typed(CONNECT, "D") if text != "load spatial;"]
    statements = typed(CONNECT, "warehouse=>")
    psql = ("psql", "-qAt", "-c")
    in_psql = [subprocess.check_output([*psql, text], env=postgres.env, text=True) for text in statements]
    assert statements == typed(CONNECT, "D")[1:]
    assert ["|".join(map(str, row)) for row in sorted(in_shell[1])] == sorted(in_psql[1].splitlines())
    for line in typed(CONNECT, "$"):
        program, *arguments = shlex.split(line)
        if program == "admin-boundaries" and arguments[0] in {"sql", "cite"}:
            files = [tmp_path / f"{each.env['WAREHOUSE_TARGET']}.parquet" for each in both]
            for each, file in zip(both, files, strict=True):
                assert each.ingest(*(str(file) if word.endswith(".parquet") else word for word in arguments)).stdout


@pytest.mark.parametrize("query", [pytest.param(query, id=name) for name, query in queries()])
def test_a_query_of_the_documents_runs_as_it_is_printed(both: tuple[Warehouse, Warehouse], query: str) -> None:
    made = {  # by the reader, who has places and figures of his own
        "sites": "create temp table sites as select 1 as site_id, -66.1 as lon, 18.4 as lat",
        "figures": "create temp table figures as select 'PRI' as gid, 1 as amount",
    }
    before = [make for name, make in made.items() if f"from {name}" in query and f"table {name}" not in query]
    postgres, embedded = both  # what the document calls a query for one of them is asked of this one
    asked = (postgres,) if "lateral" in query else (embedded,) if "locate_points('sites')" in query else both
    found = [marts.ask(warehouse, *before, *query.split(";")) for warehouse in asked]
    assert len({len(rows) for rows in found}) == 1


def test_another_dbt_project_reads_the_marts_as_a_package_and_cannot_build_them(
    worlds: Worlds, both: tuple[Warehouse, Warehouse], tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT / "docs" / "examples" / "dbt_project", project)
    units = [unit for unit in worlds[1].units(level=1) if unit.name.isalpha()]
    name = next(name for name, count in Counter(unit.name for unit in units).items() if count == 1)
    (project / "seeds" / "places.csv").write_text(f"place,visits\n{name},3\n{name.upper()},4\nnowhere,5\n")
    more = {"ADMIN_BOUNDARIES": str(ROOT), "DBT_TARGET_PATH": str(tmp_path / "target")}
    more["HOME"] = str(home_with_spatial(tmp_path))
    postgres, embedded = (replace(each, env={**each.env, **more}) for each in both)
    embedded.dbt("deps", folder=project)
    for warehouse in (embedded, postgres):
        warehouse.dbt("build", "--select", "package:visits", folder=project)
    with duckdb.connect(str(project / "visits.duckdb"), read_only=True) as connection:
        found = connection.execute("select gid, visits from visits_per_unit").fetchall()
    assert found == [(unit.gid, 7) for unit in units if unit.name == name]
    assert worlds[0].warehouse.rows("select gid, visits from visits.visits_per_unit") == found
    refused = postgres.dbt("run", "--select", "admin_units", folder=project, expect=2).stdout
    assert "Select what is its own: dbt build --select package:visits" in refused
    assert "read-only mode" in embedded.dbt("run", "--select", "admin_units", folder=project, expect=2).stdout
