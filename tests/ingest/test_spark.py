"""What is said when Spark cannot do its work, and how a session is found, without a Spark."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.duckdb_warehouse import DuckdbWarehouse
from admin_boundaries.locate.answers import FIELDS, NEAREST
from admin_boundaries.locate.coordinates import InColumns
from admin_boundaries.spark import shipping, worker
from admin_boundaries.spark.locate import _is_within
from admin_boundaries.spark.refusals import IndexUnseen, error_of
from admin_boundaries.spark.session import spark_session
from admin_boundaries.spark.worker import Place, files_in
from ingest import settings
from ingest.errors import (
    ExportFailed,
    FormatUnknown,
    IngestError,
    SchemaDrift,
    SourceUnavailable,
    TargetUnavailable,
    UsageError,
)
from ingest.settings import Spark
from tests.conftest import ROOT
from tests.ingest.test_locate import MARTS, index_of

SAID: list[tuple[str, type[IngestError], str]] = [
    (
        "Lost task 0.3 in stage 0.0 (TID 3) (10.0.0.7 executor 1): …\nModuleNotFoundError: No module named 'numba'",
        TargetUnavailable,
        "Python on worker 10.0.0.7 lacks numba.",
    ),
    (
        "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.10 than that in driver: 3.11, PySpark",
        TargetUnavailable,
        "Python on a worker is 3.10, and here 3.11.",
    ),
    (
        'java.io.IOException: Cannot run program "/opt/python"',
        TargetUnavailable,
        "There is no /opt/python on a worker.",
    ),
    (
        "java.lang.ClassNotFoundException: Class org.apache.hadoop.fs.s3a.S3AFileSystem not found",
        TargetUnavailable,
        "Spark lacks the classes of s3a.",
    ),
    ('UnsupportedFileSystemException: No FileSystem for scheme "s3"', TargetUnavailable, "Spark does not know s3://."),
    ("[PATH_NOT_FOUND] Path does not exist: file:/a/b. SQLSTATE: 42K03", SourceUnavailable, "There is no file:/a/b."),
    ("[PATH_ALREADY_EXISTS] Path file:/a already exists.", UsageError, "file:/a already exists."),
    ("[CANNOT_MERGE_SCHEMAS] Failed merging schemas:", SchemaDrift, "another type in some of the files"),
    (
        'FOOTER] … Cannot invoke "org.apache.parquet.format.LogicalType$_Fields.ordinal()" because the return value …',
        FormatUnknown,
        "a type that this Spark does not know, such as GEOMETRY",
    ),
    ("… IndexUnseen: Worker two does not see /a.\n", IndexUnseen, "Worker two does not see /a."),
    (
        "… Lost task 0.3 in stage 0.0 (TID 3) (10.0.0.7 executor 1): org.apache.spark.api.python.PythonException: …\n"
        "ingest.errors.SchemaDrift: Which column is meant, 'lon' or 'x'? Rename it.\nHint: Rename it.\n\n\tat org.a",
        SchemaDrift,
        "Which column is meant, 'lon' or 'x'?",
    ),
    (
        "org.apache.spark.SparkException: Aborted.\n\tat a.b\nCaused by: java.io.IOException: no space left\n\tat d",
        ExportFailed,
        "Caused by: java.io.IOException: no space left",
    ),
]


@pytest.mark.parametrize(("said", "kind", "words"), SAID)
def test_what_spark_says_becomes_an_error_that_says_what_to_do(said: str, kind: type[IngestError], words: str) -> None:
    error = error_of(said)
    assert type(error) is kind
    assert words in error.message
    assert error.hint
    assert error.hint not in error.message


@pytest.mark.parametrize("name", ["master", "remote"])
def test_a_cluster_that_does_not_listen_is_named_at_once(name: str) -> None:
    address = f"{'spark' if name == 'master' else 'sc'}://127.0.0.1:1"
    with (
        pytest.raises(TargetUnavailable, match=rf"No Spark answers at {address}") as caught,
        spark_session(Spark(**{name: address})),
    ):
        pass
    assert "docs/spark.md" in caught.value.hint


def test_everything_else_works_without_pyspark_and_locate_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pyspark'] = None\n"
        "import ingest.cli, admin_boundaries.spark.locate\n"
        "from admin_boundaries.spark.session import spark_session\n"
        "from ingest.settings import Spark\n"
        "try:\n    spark_session(Spark()).__enter__()\nexcept Exception as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Spark is not installed. Run `make spark`" in done.stdout


def test_where_spark_is_comes_from_the_environment() -> None:
    assert settings.spark({}) == Spark()
    env = {"SPARK_MASTER": "spark://one:7077", "SPARK_REMOTE": "sc://two", "PYSPARK_PYTHON": "/opt/python"}
    assert settings.spark(env) == Spark("spark://one:7077", "sc://two", "/opt/python")


@pytest.mark.parametrize(
    ("file", "folder", "is_within"),
    [
        ("file:///a/b/0.parquet", "/a/b", True),
        ("file:///a/b/0.parquet", "file:/a/b/", True),
        ("file:///a/b%20c/0.parquet", "/a/b c", True),
        ("file:///a/bc/0.parquet", "/a/b", False),
        ("s3a://one/a/0.parquet", "s3a://one/a", True),
        ("s3a://one/a/0.parquet", "s3a://two/a", False),
    ],
)
def test_an_output_that_holds_the_input_is_known(file: str, folder: str, *, is_within: bool) -> None:
    assert _is_within(file, folder) is is_within


def write_index(folder: Path, text: str = "content") -> Path:
    """Write a folder that looks like an index."""
    for layer in ("units", "zones"):
        (folder / layer).mkdir(parents=True)
        (folder / layer / "xs.npy").write_text(text)
    return folder


def test_a_folder_of_the_same_name_is_not_taken_for_the_index(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "there"), files_in(write_index(tmp_path / "here")))
    assert not place.is_seen
    write_index(tmp_path / "there", "half")
    assert not place.is_seen
    with pytest.raises(worker.IndexUnseen, match="does not see"):
        place.found()
    assert Place(str(tmp_path / "here"), place.files).found() == tmp_path / "here"


def test_an_archive_is_made_once_holds_the_index_and_goes_with_it(tmp_path: Path) -> None:
    folder = write_index(tmp_path / "index")
    archive = shipping.archived(folder)
    made = archive.stat().st_mtime_ns
    assert shipping.archived(folder).stat().st_mtime_ns == made
    assert archive.parent == folder
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    assert files_in(tmp_path) == files_in(folder)  # which does not count the archive


def test_a_batch_without_a_point_is_not_usable() -> None:
    batches = [pa.record_batch({"lon": lons, "lat": ["1"] * len(lons)}) for lons in (["1,5", "200"], ["x", "2"], [])]
    found = [batch["is_usable"].to_pylist() for batch in worker.are_usable(iter(batches), InColumns("lon", "lat"))]
    assert found == [[False], [True], [False]]


def test_answers_are_those_of_the_index_and_plain_for_java(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        load_spatial(connection)
        connection.execute(MARTS)
        folder = index_of(DuckdbWarehouse(connection, tmp_path / "lake", "gadm"), tmp_path).folder()
    batch = pa.record_batch({"lat": [2.0, 0.0], "lon": ["2", None]})
    place = Place(str(folder), files_in(folder))
    (found,) = worker.answer(iter([batch]), place, InColumns("lon", "lat"), 1000.0, [*FIELDS, *NEAREST])
    assert found.schema.names == ["lat", "lon", *(field.name for field in [*FIELDS, *NEAREST])]
    assert found.schema.types[2:] == [field.type for field in [*FIELDS, *NEAREST]]
    assert found["located_status"].to_pylist() == ["one unit", "bad coordinates"]
    assert found["gids"].to_pylist() == [["B.1_1"], None]
    assert found["lat"].to_pylist() == [2.0, 0.0]
