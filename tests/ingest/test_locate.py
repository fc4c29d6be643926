"""Many points by the index: the answers are those of plain geometry, and the index is that of the build."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from admin_boundaries import points
from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.duckdb_warehouse import DuckdbWarehouse
from admin_boundaries.locate import COLUMNS, as_text, search
from admin_boundaries.locate.index import Index
from admin_boundaries.locate.kernels import PER_DEGREE, SIDE
from admin_boundaries.locate.layer import Layer, Sets, make_layer
from admin_boundaries.locate.locator import Locator
from admin_boundaries.locate.nearby import nearest_unit
from admin_boundaries.locate.parquet import TextWriter
from admin_boundaries.locate.search import look_up
from ingest.errors import MartsMissing, MartsReplaced, TargetUnavailable
from ingest.settings import read_settings

Floats = npt.NDArray[np.float64]
Shapes = list[shapely.MultiPolygon]
ON_BORDER = 1e-9
CELL = 1 / PER_DEGREE
NO_ANCESTORS = (-1,)


def found_in(
    folder: Path, shapes: Shapes, asked: Floats, ancestors: Sequence[tuple[int, ...]] | None = None
) -> list[tuple[int, ...]]:
    """Return the numbers of the shapes that are found at each point."""
    keys = pa.array([f"{number:05}" for number in range(len(shapes))])
    above = np.array(ancestors or [NO_ANCESTORS] * len(shapes), np.int32)
    batches = [
        pa.record_batch({"gid": keys[begin : begin + 7], "geom": [shape.wkb for shape in shapes[begin : begin + 7]]})
        for begin in range(0, len(shapes), 7)
    ]
    folder.mkdir(parents=True)
    make_layer(folder, keys, above, iter(batches))
    layer = Layer.opened(folder)
    sets = Sets(layer.ancestors, layer.set_starts, layer.set_units)
    return [sets.units(number) for number in look_up(layer, sets, *asked.T.copy()).tolist()]


def held_by(shapes: Shapes, asked: Floats) -> list[tuple[int, ...]]:
    """Return the same by asking every shape."""
    every = np.array(shapes, dtype=np.object_)
    shapely.prepare(every)
    return [
        tuple(np.flatnonzero(shapely.dwithin(every, point, ON_BORDER)).tolist())
        for point in np.asarray(shapely.points(asked))
    ]


def around(shapes: Shapes, random: np.random.Generator, count: int) -> Floats:
    """Return points in and around shapes: anywhere, at vertices, on edges, close to both, and where cells meet."""
    west, south, east, north = shapely.total_bounds(shapes)
    anywhere = np.column_stack([random.uniform(west, east, count), random.uniform(south, north, count)])
    vertices = shapely.get_coordinates(shapes)
    some = vertices[random.integers(0, len(vertices), count)]
    on_edges = [
        shapely.get_coordinates(shape.boundary.interpolate(random.uniform(), normalized=True)) for shape in shapes
    ]
    close = some + random.choice([3e-10, 9e-10, 1e-9, 1.1e-9, 1e-8, 3e-7, 2e-6], some.shape) * random.choice(
        [-1, 1], some.shape
    )
    corners = np.round(some * PER_DEGREE) / PER_DEGREE + random.choice([0, 0, 1e-13, -1e-13], some.shape)
    asked = np.concatenate([anywhere, some, *on_edges, close, corners])
    clipped: Floats = np.clip(asked, (-180, -90), (180, 90))
    return clipped


def blobs(random: np.random.Generator, count: int, size: float) -> Shapes:
    """Return polygons with borders like coasts, some with a hole, near one another, so that some overlap."""
    made = []
    for _ in range(count):
        x, y = random.uniform(-1, 1, 2) * size
        angles = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(3, 60))))
        reach = random.uniform(0.2, 1, len(angles)) * size / 2
        shape = shapely.make_valid(
            shapely.Polygon(np.column_stack([x + reach * np.cos(angles), y + reach * np.sin(angles)]))
        )
        if random.uniform() < 0.3:
            shape = shape.difference(shape.centroid.buffer(size / 20))
        polygons = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon" and not part.is_empty]
        if polygons:
            made.append(shapely.MultiPolygon(polygons))
    return made


@pytest.mark.parametrize("size", [CELL / 3, CELL, CELL * SIDE, 2.0, 40.0])
def test_points_are_in_the_units_that_hold_them_however_large_these_are(size: float, tmp_path: Path) -> None:
    random = np.random.default_rng(int(size * 1e6))
    shapes = blobs(random, 40, size)
    asked = around(shapes, random, 400)
    assert found_in(tmp_path / "layer", shapes, asked) == held_by(shapes, asked)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_units_that_follow_the_lines_of_the_grid_are_told_apart(seed: int) -> None:
    random = np.random.default_rng(seed)
    steps = random.choice([CELL, CELL * SIDE, CELL * 3, 1e-7, 1e-9, 0.0371], 8)
    xs, ys = np.cumsum([-60.0, *random.permutation(steps)]), np.cumsum([12.0, *random.permutation(steps)])
    shapes = [shapely.MultiPolygon([shapely.box(x0, y0, x1, y1)]) for x0, x1 in pairwise(xs) for y0, y1 in pairwise(ys)]
    asked = around(shapes, random, 100)
    with TemporaryDirectory() as folder:
        assert found_in(Path(folder) / "layer", shapes, asked) == held_by(shapes, asked)


def test_the_date_line_is_one_meridian_and_a_pole_is_what_touches_it(tmp_path: Path) -> None:
    shapes = [
        shapely.MultiPolygon([shapely.box(179, -20, 180, -10), shapely.box(-180, -20, -179, -10)]),
        shapely.MultiPolygon([shapely.box(170, -30, 180, -20)]),
        shapely.MultiPolygon([shapely.box(-180, -40, -170, -20)]),
        shapely.MultiPolygon([shapely.box(-180, -90, 180, -60)]),
        shapely.MultiPolygon([shapely.box(10, 80, 20, 90)]),
        shapely.MultiPolygon([shapely.box(175, 40, 180, 50)]),
        shapely.MultiPolygon([shapely.box(-180, 60, -175, 70)]),
    ]
    asked = np.array([
        *((180, -15), (-180, -15), (180, -25), (-180, -25), (180, -35), (-180, -20), (180, 0), (179.5, -15)),
        *((0, -90), (180, -90), (-180, -90), (15, 90), (25, 90), (20, 90)),
        *((-180, 45), (180, 45), (-180, 65), (180, 65), (-179.9, 45), (179.9, 65)),
    ])  # fmt: skip
    assert found_in(tmp_path / "layer", shapes, asked) == [
        *((0,), (0,), (1, 2), (1, 2), (2,), (0, 1, 2), (), (0,)),
        *((3,), (3,), (3,), (4,), (), (4,)),
        *((5,), (5,), (6,), (6,), (), ()),
    ]


def test_what_is_no_coordinate_is_told_from_what_is_nowhere(tmp_path: Path) -> None:
    keys, above = pa.array(["A"]), np.array([NO_ANCESTORS], np.int32)
    make_layer(tmp_path, keys, above, iter([pa.record_batch({"gid": keys, "geom": [shapely.box(0, 0, 1, 1).wkb]})]))
    layer = Layer.opened(tmp_path)
    lons = np.array([0.5, 5, np.nan, 0, 180.1, 0, np.inf])
    lats = np.array([0.5, 5, 0, np.nan, 0, -90.1, 0])
    assert look_up(layer, Sets(layer.ancestors), lons, lats).tolist() == [1, 0, -2, -2, -2, -2, -2]


def test_where_a_finer_unit_is_there_the_coarser_one_is_not_the_answer(tmp_path: Path) -> None:
    country, west, hamlet = shapely.box(0, 0, 10, 10), shapely.box(0, 0, 5, 10), shapely.box(1.001, 1.001, 1.003, 1.003)
    shapes = [shapely.MultiPolygon([shape]) for shape in (country, west, hamlet)]
    ancestors = [(-1, -1), (0, -1), (0, 1)]
    asked = np.array([[7, 5], [2, 5], [1.002, 1.002], [5, 5], [0, 0], [1.001, 1.002], [4.999999, 3], [5.000001, 3]])
    expected = [(0,), (1,), (2,), (1,), (1,), (2,), (1,), (0,)]
    assert found_in(tmp_path / "layer", shapes, asked, ancestors) == expected


def test_units_in_a_unit_are_its_answer_near_borders_without_asking_geos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_by_geos", None)
    shapes = [
        shapely.MultiPolygon([shapely.box(0, 0, 0.02, 0.02)]),
        shapely.MultiPolygon([shapely.box(0, 0, 0.01, 0.02)]),
    ]
    assert found_in(tmp_path / "layer", shapes, np.array([[0.001, 0.001], [0.019, 0.001]]), [(-1,), (0,)]) == [
        (1,),
        (0,),
    ]


def test_a_part_that_is_cut_may_come_in_several_pieces(tmp_path: Path) -> None:
    pieces = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 0, 3, 1)])
    other = shapely.MultiPolygon([shapely.box(5, 0, 6, 1)])
    assert found_in(
        tmp_path / "layer", [pieces, other], np.array([[0.5, 0.5], [2.5, 0.5], [5.5, 0.5], [0.0, 0.5]])
    ) == [*((0,), (0,), (1,), (0,))]


def test_more_units_may_cover_a_point_than_anybody_expects(tmp_path: Path) -> None:
    border = shapely.box(0.02, 0, 0.03, 0.01)  # through the cell of the point
    shapes = [shapely.MultiPolygon([shapely.box(-1 - n / 9, -1, 1, 1)]) for n in range(40)]
    asked = np.array([[0.0195, 0.0055], [-0.5, 0.5]])
    assert found_in(tmp_path / "layer", [*shapes, shapely.MultiPolygon([border])], asked) == [tuple(range(40))] * 2


def test_threads_that_find_different_units_give_them_different_numbers() -> None:
    class Slow(list[tuple[int, ...]]):
        def append(self, units: tuple[int, ...]) -> None:
            super().append(units)
            Event().wait(1e-4)  # `time.sleep` does nothing in these tests

    sets = Sets(np.full((12, 1), -1, np.int32))
    sets._several = Slow()
    pairs = [(one, other) for one in range(12) for other in range(one + 1, 12)]
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda first: [sets.number(pair) for pair in pairs[first::4]], range(4)))
    assert [[sets.units(number) for number in some] for some in numbers] == [pairs[first::4] for first in range(4)]


def test_a_layer_without_parts_has_nothing_anywhere(tmp_path: Path) -> None:
    make_layer(tmp_path, pa.array([], pa.string()), np.empty((0, 1), np.int32), iter([]))
    layer = Layer.opened(tmp_path)
    assert look_up(layer, Sets(layer.ancestors), np.array([1.0]), np.array([2.0])).tolist() == [0]


MARTS = """
create schema marts;
create table marts.admin_units (gid text, admin_level integer, path text, name text);
create table marts.admin_unit_ancestors (gid text, ancestor_gid text, ancestor_level integer);
create table marts.internal_leaf_parts (gid text, geom geometry);
create table marts.internal_timezone_parts (tzid text, geom geometry);
create table marts.marts_meta as select 'gadm' as dataset, 'one' as build_id, now() as built_at, null::text as run_id,
    null::text as release, null::text as variant, null::text as scope, null::timestamptz as published_at;
insert into marts.admin_units values
    ('B', 0, 'Bee', 'Bee'), ('B.1_1', 1, 'Bee > One', 'One'), ('B.2_1', 1, 'Bee > Two', 'Two');
insert into marts.admin_unit_ancestors values
    ('B', 'B', 0), ('B.1_1', 'B', 0), ('B.1_1', 'B.1_1', 1), ('B.2_1', 'B', 0), ('B.2_1', 'B.2_1', 1);
insert into marts.internal_leaf_parts values
    ('B.1_1', st_geomfromtext('MULTIPOLYGON (((0 0, 5 0, 5 9, 0 9, 0 0)))')),
    ('B.2_1', st_geomfromtext('MULTIPOLYGON (((5 0, 9 0, 9 9, 5 9, 5 0)))'));
insert into marts.internal_timezone_parts values
    ('Etc/GMT', st_geomfromtext('MULTIPOLYGON (((-20 -20, 20 -20, 20 20, -20 20, -20 -20)))')),
    ('Zulu/Two', st_geomfromtext('MULTIPOLYGON (((0 0, 9 0, 9 4, 0 4, 0 0)))')),
    ('Zulu/One', st_geomfromtext('MULTIPOLYGON (((0 0, 9 0, 9 9, 0 9, 0 0)))'));
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[DuckdbWarehouse]:
    with duckdb.connect() as connection:
        load_spatial(connection)
        connection.execute(MARTS)
        yield DuckdbWarehouse(connection, tmp_path / "lake", "gadm")


def index_of(warehouse: DuckdbWarehouse, home: Path, begun: list[str] | None = None) -> Index:
    current = read_settings({"WAREHOUSE_HOME": str(home)})
    return Index(current, warehouse, lambda: begun.append("making") if begun is not None else None)


AT = np.array([[2, 2], [7, 8], [5, 3], [-10, 0], [50, 50], [np.nan, 0]])
ANSWERS = [
    (
        "one unit",
        "B.1_1",
        1,
        "B",
        "B.1_1",
        *[None] * 4,
        *("Bee", "One", *[None] * 4),
        "Bee > One",
        ["B.1_1"],
        "Zulu/One",
        ["Zulu/One", "Zulu/Two", "Etc/GMT"],
    ),
    (
        "one unit",
        "B.2_1",
        1,
        "B",
        "B.2_1",
        *[None] * 4,
        *("Bee", "Two", *[None] * 4),
        "Bee > Two",
        ["B.2_1"],
        "Zulu/One",
        ["Zulu/One", "Etc/GMT"],
    ),
    (
        "several units",
        "B.1_1",
        1,
        "B",
        "B.1_1",
        *[None] * 4,
        *("Bee", "One", *[None] * 4),
        "Bee > One",
        ["B.1_1", "B.2_1"],
        "Zulu/One",
        ["Zulu/One", "Zulu/Two", "Etc/GMT"],
    ),
    ("no unit", *[None] * 16, "Etc/GMT", ["Etc/GMT"]),
    ("no unit", *[None] * 18),
    ("bad coordinates", *[None] * 18),
]


def test_an_answer_has_the_chain_the_path_and_the_zones_in_their_order(
    warehouse: DuckdbWarehouse, tmp_path: Path
) -> None:
    locator = Locator(index_of(warehouse, tmp_path))
    assert [locator.locate(lon, lat) for lon, lat in AT.tolist()] == ANSWERS
    batch = locator.locate_points(*AT.T.copy())
    assert list(zip(*batch.to_pydict().values(), strict=True)) == ANSWERS
    assert tuple(batch.schema.names) == COLUMNS


def test_points_may_be_in_any_array_and_an_answer_belongs_to_who_asked(
    warehouse: DuckdbWarehouse, tmp_path: Path
) -> None:
    locator = Locator(index_of(warehouse, tmp_path))
    whole = np.array([[2, 2], [7, 8]], np.int8)
    assert locator.locate_points(whole[:, 0], whole[:, 1]).column("gid").to_pylist() == ["B.1_1", "B.2_1"]
    with pytest.raises(ValueError, match="2 longitudes and 1 latitudes"):
        locator.locate_points(np.array([1.0, 2.0]), np.array([1.0]))
    locator.locate(2, 2)[COLUMNS.index("gids")].append("mine")
    assert locator.locate(2, 2) == ANSWERS[0]


def test_a_part_of_a_unit_that_is_not_known_is_of_another_build(warehouse: DuckdbWarehouse, tmp_path: Path) -> None:
    index = index_of(warehouse, tmp_path)
    warehouse.rows("delete from marts.admin_units where gid = 'B.2_1'")
    with pytest.raises(MartsReplaced):
        Locator(index)


def test_an_index_is_made_once_for_a_build_and_that_of_the_build_before_is_removed(
    warehouse: DuckdbWarehouse, tmp_path: Path
) -> None:
    begun: list[str] = []
    first = index_of(warehouse, tmp_path, begun)
    assert not first.is_there
    before = Locator(first)
    Locator(index_of(warehouse, tmp_path, begun))
    assert begun == ["making"]
    assert first.is_there
    warehouse.rows("update marts.marts_meta set build_id = 'two'")
    second = index_of(warehouse, tmp_path, begun)
    assert not second.is_there
    assert Locator(second).locate(2, 2) == ANSWERS[0]
    assert begun == ["making"] * 2
    assert not first.is_there
    assert before.locate(7, 8) == ANSWERS[1]  # whoever has the old one open goes on


def test_an_index_that_is_held_outlives_the_next_build_and_is_removed_after_that(
    warehouse: DuckdbWarehouse, tmp_path: Path
) -> None:
    first = index_of(warehouse, tmp_path)
    with first.held() as folder:
        warehouse.rows("update marts.marts_meta set build_id = 'two'")
        index_of(warehouse, tmp_path).folder()
        assert Locator(folder).locate(2, 2) == ANSWERS[0]
    warehouse.rows("update marts.marts_meta set build_id = 'three'")
    index_of(warehouse, tmp_path).folder()
    assert not first.is_there


def test_an_index_is_on_the_disk_before_it_has_its_name(
    warehouse: DuckdbWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    sync = os.fsync

    def seen(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    folder = index_of(warehouse, tmp_path).folder()
    draft = folder.with_name(f"making-{folder.name}")
    assert synced >= {str(draft / path.relative_to(folder)) for path in folder.rglob("*")}


def test_what_a_killed_process_left_of_an_index_is_cleared_away(warehouse: DuckdbWarehouse, tmp_path: Path) -> None:
    index = index_of(warehouse, tmp_path)
    folder = index.folder()
    for left in (folder.with_name(f"making-{folder.name}"), folder.with_name("making-other")):
        folder.rename(left)
        (left / "half").touch()
        assert index.folder() == folder
        assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]


def test_an_index_that_two_builds_would_have_made_is_not_kept(
    warehouse: DuckdbWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_of(warehouse, tmp_path)
    stream = warehouse.reader

    def replaced(*arguments: Any) -> pa.RecordBatchReader:
        warehouse.rows("update marts.marts_meta set build_id = 'two'")
        return stream(*arguments)

    monkeypatch.setattr(warehouse, "reader", replaced)
    with pytest.raises(MartsReplaced):
        Locator(index)
    assert not index.is_there


def test_an_index_that_cannot_be_written_says_where_and_what_to_do(warehouse: DuckdbWarehouse, tmp_path: Path) -> None:
    (tmp_path / "points").touch()
    with pytest.raises(TargetUnavailable, match=r"cannot be written to .*: Not a directory") as caught:
        index_of(warehouse, tmp_path).folder()
    assert "WAREHOUSE_HOME" in caught.value.hint


def test_marts_of_a_version_that_called_the_parts_otherwise_are_to_be_built_again(
    warehouse: DuckdbWarehouse, tmp_path: Path
) -> None:
    warehouse.rows("alter table marts.internal_leaf_parts rename to admin_leaf_parts")
    for ask in (lambda: Locator(index_of(warehouse, tmp_path)), lambda: nearest_unit(warehouse, 9.1, 2, 50_000)):
        with pytest.raises(MartsMissing, match="The marts lack internal_leaf_parts: an earlier version") as no:
            ask()
        assert "dbt build" in no.value.hint
    assert not index_of(warehouse, tmp_path).is_there


def test_marts_that_do_not_say_of_which_build_they_are_have_no_index(
    warehouse: DuckdbWarehouse, tmp_path: Path
) -> None:
    warehouse.rows("drop table marts.marts_meta")
    index = index_of(warehouse, tmp_path)
    assert not index.is_there  # so that the database answers for a file with few rows
    with pytest.raises(MartsMissing, match="older version"):
        index.folder()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_with_many_rows_has_the_answers_of_the_index_in_the_order_of_its_rows(
    suffix: str, warehouse: DuckdbWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "FEW_ROWS", 5)
    monkeypatch.setattr(points, "BATCH_ROWS", 7)
    asked = np.tile(AT, (6, 1))
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    if suffix == ".csv":
        source.write_text("lon,lat\n" + "".join(f"{lon},{lat}\n" for lon, lat in asked.tolist()))
    else:
        pq.write_table(pa.table({"lon": asked[:, 0], "lat": asked[:, 1]}), source)
    shares: list[tuple[int, float]] = []
    index = index_of(warehouse, tmp_path / "home")
    rows = points.locate_file(warehouse, index, source, target, lambda *done: shares.append(done))
    assert index.is_there
    assert rows == len(asked)
    assert shares[-1] == (len(asked), 1.0)
    if suffix == ".csv":
        lines = target.read_text().splitlines()
        texts = [",".join(map(as_text, answer)) for answer in ANSWERS * 6]
        assert [line.split(",", 2)[2] for line in lines[1:]] == texts
    else:
        written = pq.read_table(target)
        assert list(zip(*written.drop_columns(["lon", "lat"]).to_pydict().values(), strict=True)) == ANSWERS * 6
        assert written.schema.field("gid").type == pa.string()
        assert written.schema.field("gids").type == pa.list_(pa.string())


def test_a_file_with_few_rows_makes_no_index(warehouse: DuckdbWarehouse, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("lon,lat\n2,2\n")
    index = index_of(warehouse, tmp_path / "home")
    asked: list[int] = []

    class Asked:
        has_functions = True
        editions = staticmethod(warehouse.editions)

        @staticmethod
        def locate_points(lons: Floats, lats: Floats) -> list[Any]:
            asked.append(len(lons))
            return ANSWERS[: len(lons)]

    points.locate_file(Asked(), index, tmp_path / "in.csv", tmp_path / "out.csv", lambda *_: None)  # type: ignore[arg-type]
    assert asked == [1]
    assert not index.is_there


def test_where_marts_have_no_functions_the_index_answers_a_file_of_few_rows_as_well(
    warehouse: DuckdbWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.csv").write_text("lon,lat\n2,2\n")
    index = index_of(warehouse, tmp_path / "home")
    monkeypatch.setattr(warehouse, "has_functions", False)
    points.locate_file(warehouse, index, tmp_path / "in.csv", tmp_path / "out.csv", lambda *_: None)
    assert index.is_there


def test_texts_that_are_dictionaries_in_memory_are_texts_in_the_file(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("id", pa.duration("s"), metadata={"unit": "s"})], metadata={"note": "kept"})
    fields = [pa.field("gid", pa.string()), pa.field("level", pa.int32())]
    with TextWriter(tmp_path / "out.parquet", schema, fields) as writer:
        for texts in (["a", "b", "a"], ["c", None]):
            ids = pa.array(range(len(texts)), pa.duration("s"))
            writer.write([ids, pa.array(texts).dictionary_encode(), pa.array(range(len(texts)), pa.int32())])
    read = pq.read_table(tmp_path / "out.parquet")
    assert read.schema.equals(pa.schema([*schema, *fields], metadata=schema.metadata), check_metadata=True)
    assert read["gid"].to_pylist() == ["a", "b", "a", "c", None]
    with TextWriter(tmp_path / "empty.parquet", schema, fields):
        pass
    assert pq.read_schema(tmp_path / "empty.parquet").equals(read.schema, check_metadata=True)
