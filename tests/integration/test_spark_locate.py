"""Points on Spark: a cluster of processes says the same as this machine, whatever happens to it on the way."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.locate.index import Index
from admin_boundaries.points import locate_file
from admin_boundaries.spark import locate
from admin_boundaries.spark.locate import locate_paths, located
from admin_boundaries.spark.session import spark_session
from admin_boundaries.warehouse import open_warehouse
from benchmarks.spark_cluster import Cluster, cluster
from ingest.errors import (
    ExportFailed,
    FormatUnknown,
    IngestError,
    SchemaDrift,
    SourceDamaged,
    SourceUnavailable,
    UsageError,
)
from ingest.settings import Spark, read_settings
from tests.conftest import ROOT
from tests.ingest.test_locate import MARTS, around, blobs
from tests.integration.conftest import Warehouse

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.slow
FILES = 12
TASK_A_FILE = {"spark_sql_files_maxPartitionBytes": "64k", "spark_sql_files_openCostInBytes": "64k"}
ODD = [
    *((np.nan, 1.0), (200.0, 1.0), (1.0, 95.0), (np.inf, 0.0)),
    *((180.0, 1.0), (-180.0, 1.0), (0.0, 90.0), (0.0, -90.0), (180.0, 90.0)),
]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Units like coasts that overlap, some across the date line, and zones that are as large as continents."""
    home = tmp_path_factory.mktemp("home")
    random = np.random.default_rng(19)
    shapes = [*blobs(random, 250, 30.0), shapely.MultiPolygon([shapely.box(178, -5, 180, 5)])]
    zones = [*blobs(random, 12, 60.0), shapely.MultiPolygon([shapely.box(-180, -90, 180, 90)])]
    with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
        load_spatial(connection)
        connection.execute(MARTS)
        for number, shape in enumerate(shapes):
            gid, part = f"C.{number}_1", [f"C.{number}_1", shape.wkt]
            connection.execute("insert into marts.admin_units values (?, 1, ?, ?)", [gid, f"Cee > {gid}", gid])
            connection.execute("insert into marts.admin_unit_ancestors values (?, 'C', 0), (?, ?, 1)", [gid] * 3)
            connection.execute("insert into marts.internal_leaf_parts values (?, st_geomfromtext(?))", part)
        for number, shape in enumerate(zones):
            part = [f"Zulu/{number:02}", shape.wkt]
            connection.execute("insert into marts.internal_timezone_parts values (?, st_geomfromtext(?))", part)
    env = {**os.environ, "WAREHOUSE_TARGET": "embedded", "WAREHOUSE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    return Warehouse(env=env, home=home)


@pytest.fixture(scope="module")
def points(warehouse: Warehouse) -> Path:
    """A folder of files with points anywhere, on borders, close to them, and with none at all."""
    random = np.random.default_rng(20)
    with duckdb.connect(str(warehouse.home / "warehouse.duckdb"), read_only=True) as connection:
        load_spatial(connection)
        parts = connection.execute("select st_aswkb(geom) from marts.internal_leaf_parts").fetchall()
    shapes: Any = [shapely.from_wkb(bytes(wkb)) for (wkb,) in parts]
    asked = np.concatenate([around(shapes, random, 6_000), ODD])
    random.shuffle(asked)
    assert len(asked) > 20_000
    folder = warehouse.home / "asked"
    folder.mkdir()
    columns = {"id": np.arange(len(asked)), "Lon": ["kept"] * len(asked), "lon": asked[:, 0]}
    table = pa.table({**columns, "lat": pa.array(map(str, asked[:, 1]))})
    for number, begin in enumerate(range(0, len(table), size := -(-len(table) // FILES))):
        pq.write_table(table.slice(begin, size), folder / f"{number:02}.parquet")
    pq.write_table(table, warehouse.home / "asked.parquet")
    return folder


@pytest.fixture(scope="module")
def index(warehouse: Warehouse) -> Path:
    """The folder of the index."""
    current = read_settings(warehouse.env)
    with open_warehouse(current) as marts:
        return Index(current, marts).folder()


@pytest.fixture(scope="module")
def expected(warehouse: Warehouse, points: Path, index: Path) -> pa.Table:
    """The answers of this machine."""
    current, target = read_settings(warehouse.env), warehouse.home / "here.parquet"
    with open_warehouse(current) as marts:
        locate_file(marts, Index(current, marts), points.with_suffix(".parquet"), target, lambda *_: None)
    return rows_of(target)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master and two workers."""
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """A session on this machine."""
    with spark_session(Spark(master="local[1]")) as session:
        yield session


def rows_of(path: Path) -> pa.Table:
    """Return rows in the order of their numbers, and in one piece."""
    table = pq.read_table(path).sort_by("id").combine_chunks()
    return table.cast(pa.schema([field.with_nullable(True) for field in table.schema])).replace_schema_metadata(None)


def same(found: pa.Table, expected: pa.Table) -> bool:
    """Whether two tables have the same columns and rows; NaN is the same as NaN."""
    return found.schema.names == expected.schema.names and bool(found.to_pandas().equals(expected.to_pandas()))


def test_a_worker_that_is_killed_midway_loses_no_row_and_doubles_none(
    warehouse: Warehouse, points: Path, expected: pa.Table, running: Cluster
) -> None:
    target = warehouse.home / "killed"
    paths = [f"--input={points}/*.parquet", f"--output={target}"]
    command = [sys.executable, "-m", "ingest", "locate", "--engine", "spark", *paths]
    job = subprocess.Popen(
        command, env={**warehouse.env, **running.env(**TASK_A_FILE)}, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    while job.poll() is None and not list(target.rglob("task_*")):  # until the first task is done
        time.sleep(0.02)
    running.kill_worker()
    try:
        was_at_work = not (target / "_SUCCESS").exists()
        assert job.communicate()[0] == f"{len(expected)} rows: {target}\n"
    finally:
        running.add_worker()
    assert was_at_work
    assert (target / "_SUCCESS").exists()
    assert same(rows_of(target), expected)


def test_an_index_that_workers_do_not_see_is_shipped_to_them(
    warehouse: Warehouse, points: Path, expected: pa.Table, running: Cluster, index: Path
) -> None:
    target = warehouse.home / "shipped"
    env = {
        **warehouse.env,
        **running.env(**TASK_A_FILE),
        "WAREHOUSE_HOME": "/proc/self/cwd",
    }  # which is another folder for workers
    paths = [f"--input={points}", f"--output={target}"]
    command = [sys.executable, "-m", "ingest", "locate", "--engine", "spark", *paths]
    done = subprocess.run(command, env=env, cwd=warehouse.home, check=True, stderr=subprocess.PIPE, text=True)
    assert "FileStreamSink" not in done.stderr  # a page of Java for each path that is not there yet
    assert (index / "index.tar").exists()
    assert same(rows_of(target), expected)


def test_ones_own_job_and_csv_files_get_the_same_answers(
    spark: SparkSession, index: Path, points: Path, expected: pa.Table, tmp_path: Path
) -> None:
    frame = spark.read.parquet(str(points))
    located(frame, index, nearest=50_000.0).write.parquet(str(tmp_path / "own"))
    own = rows_of(tmp_path / "own")
    assert same(own.select(expected.schema.names), expected)
    metres = own["nearest_metres"].drop_null().to_numpy()
    assert len(metres) > 100
    assert 0 <= metres.min() < metres.max() <= 50_000
    frame.write.option("header", True).csv(str(tmp_path / "in.csv"))
    done = locate_paths(spark, index, str(tmp_path / "in.csv"), str(tmp_path / "out"))
    assert done.rows == len(expected)
    assert done.bad == expected["located_status"].to_pylist().count("bad coordinates") == 4
    read = rows_of(tmp_path / "out").to_pandas().astype({"id": int}).sort_values("id", ignore_index=True)
    answers = expected.schema.names[4:]
    assert read[answers].equals(expected.to_pandas()[answers])


def test_rows_that_another_job_cleared_away_are_missed(
    spark: SparkSession, index: Path, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"

    def beside_another_job(frame: DataFrame, *given: Any) -> DataFrame:
        def clear_away(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for done in target.rglob("task_*"):
                shutil.rmtree(done)
            yield from batches

        answers = answered(frame, *given).repartition(2)
        return answers.mapInArrow(clear_away, answers.schema)

    answered = locate._answered
    monkeypatch.setattr(locate, "_answered", beside_another_job)
    with pytest.raises(ExportFailed, match=r"out holds \d+ rows instead of \d+: something else wrote to it"):
        locate_paths(spark, index, str(points), str(target))
    assert not (target / "_SUCCESS").exists()


def test_a_geometry_of_points_is_read_and_what_is_in_other_files_must_be_one(
    spark: SparkSession, index: Path, tmp_path: Path
) -> None:
    shapes = gpd.GeoSeries([shapely.Point(2, 2), shapely.Point(7, 8), None], crs="EPSG:4326")
    folder = tmp_path / "in"
    folder.mkdir()
    columns = {"id": [0, 1, 2], "lon": [2.0, 7.0, None], "lat": [2.0, 8.0, None]}  # they must say the same
    frame = gpd.GeoDataFrame(columns, geometry=shapes)
    frame.to_parquet(folder / "0.parquet")
    done = locate_paths(spark, index, str(folder), str(tmp_path / "out"))
    assert (done.rows, done.bad) == (3, 1)
    assert [gids and "B.1_1" in gids for gids in rows_of(tmp_path / "out")["gids"].to_pylist()] == [True, False, None]
    frame.to_crs("EPSG:3857").to_parquet(folder / "1.parquet")
    with pytest.raises(SchemaDrift, match=r"1\.parquet: geometry is in WGS 84 / Pseudo-Mercator"):
        locate_paths(spark, index, str(folder), str(tmp_path / "not"))
    wkb = pa.array(shapely.to_wkb(frame.geometry.to_numpy()), pa.binary())
    plain = pa.table({"id": [0, 1, 2], "lon": [50.0] * 3, "lat": [50.0] * 3, "geometry": wkb})
    pq.write_table(plain, folder / "1.parquet")
    with pytest.raises(SchemaDrift, match="some files have points in a geometry, others in columns"):
        locate_paths(spark, index, str(folder), str(tmp_path / "not"))


GOOD = {"lon": [1.0], "lat": [2.0]}
LATE = {"lon": [1.0] * 1500, "lat": [2.0] * 1500, "latitude": [2.0] * 1499 + [5.0]}  # only a worker gets that far
REFUSED: list[tuple[str, object, type[IngestError], str]] = [
    ("in.parquet", None, SourceUnavailable, r"There is no file:.*in\.parquet"),
    ("in.parquet", {"a": [1.0], "b": [2.0]}, SchemaDrift, "no columns lon and lat; it has: a, b"),
    ("in.parquet", {**GOOD, "gid": ["x"]}, SchemaDrift, "already has columns gid"),
    ("in.parquet", {"lon": [True], "lat": [False]}, SchemaDrift, "lon is of type bool"),
    ("in.parquet", {"lon": ["1,5"] * 3, "lat": ["2,5"] * 3}, SchemaDrift, r"\(3 read\): they have decimal commas"),
    ("in.parquet", b"lon,lat\n1,2\n", SourceDamaged, "is not a Parquet file"),
    ("in.parquet", {**GOOD, "longitude": [5.0]}, SchemaDrift, "^Which column is meant, 'lon' or 'longitude'"),
    ("in.parquet", LATE, SchemaDrift, r"^Which column is meant, 'lat' or 'latitude'.* where the other says 5\.$"),
    ("in.csv", b"lon,lat,name\n1,2,a\n1,2,b,c\n", SourceDamaged, "another number of columns"),
    ("in.csv", b"lon,lat,a,a\n1,2,3,4\n", SchemaDrift, "several columns called a"),
    ("in.csv", b"", FormatUnknown, "is empty"),
    ("s3x://bucket/points", None, IngestError, "Spark does not know s3x://"),
]


@pytest.mark.parametrize(("name", "content", "kind", "words"), REFUSED)
def test_what_cannot_be_used_is_said_and_nothing_is_written(
    spark: SparkSession, index: Path, tmp_path: Path, name: str, content: object, kind: type[IngestError], words: str
) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        pq.write_table(pa.table(content), tmp_path / name)
    source = name if "://" in name else str(tmp_path / name)
    with pytest.raises(kind) as caught:
        locate_paths(spark, index, source, str(tmp_path / "out"))
    assert re.search(words, caught.value.message)
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_replaced_only_on_request_and_never_by_its_own_answers(
    spark: SparkSession, index: Path, tmp_path: Path
) -> None:
    source, target = str(tmp_path / "in"), str(tmp_path / "out")
    Path(source).mkdir()
    pq.write_table(pa.table(GOOD), f"{source}/0.parquet")
    assert locate_paths(spark, index, source, target).rows == 1
    with pytest.raises(UsageError, match="out already exists"):
        locate_paths(spark, index, source, target)
    assert locate_paths(spark, index, source, target, overwrite=True).rows == 1
    with pytest.raises(UsageError, match="in holds some of the input"):
        locate_paths(spark, index, source, source, overwrite=True)
    assert pq.read_table(f"{source}/0.parquet").to_pydict() == GOOD
    pq.write_table(pa.table(GOOD).slice(0, 0), f"{source}/0.parquet")
    assert locate_paths(spark, index, source, str(tmp_path / "none")).rows == 0
