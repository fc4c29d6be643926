"""The warehouse on Spark: the same marts as on DuckDB, and readers who see whole editions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pyspark
import pytest

from admin_boundaries.spark import open_marts
from benchmarks.spark_cluster import free_port
from ingest.errors import TargetUnavailable
from tests.conftest import ROOT
from tests.integration import marts
from tests.integration.conftest import SAMPLE_COUNTS, Warehouse, copy_project

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.slow

JARS = ROOT / ".spark" / "jars"
MADE_IN_PYTHON = {
    *("admin_unit_neighbours", "admin_units_simplified", "admin_topology_faults", "admin_topology_summary"),
    *("unit_matches", "timezone_transitions", "timezone_aliases", "timezone_overlaps"),
}
ON_SPARK = [table for table in marts.TABLES if table not in MADE_IN_PYTHON]
# Little data: compiling queries takes longer than running them as they are.
LITTLE = "spark.sql.codegen.wholeStage false\nspark.sql.codegen.factoryMode NO_CODEGEN\n"
READER = """
import sys
from pyspark.sql import SparkSession
from admin_boundaries.spark import open_marts

options = {
    "spark.jars": sys.argv[2],
    "spark.sql.extensions": "org.apache.sedona.sql.SedonaSqlExtensions",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}
spark = SparkSession.builder.master("local[1]").config(map=options).getOrCreate()
for line in sys.stdin:
    if line.strip() == "open":
        print("build", open_marts(spark, sys.argv[1]), flush=True)
    else:
        print("rows", spark.sql(line).collect(), flush=True)
"""

SERVER = "org.apache.spark.sql.connect.service.SparkConnectServer"
SERVER_SECONDS = 120
PART = ("--select", "+timezones", "+internal_timezone_parts", "--exclude", "test_type:data")
# dbt, before which somebody else publishes as soon as it has begun
OVERTAKEN = """
from dbt.adapters.sedona.build import Build
from dbt.cli.main import cli

begin = Build.begin

def begin_and_be_overtaken(self, *arguments):
    begin(self, *arguments)
    self._files.put("marts.json", self._files.read("marts.json").replace(b'"build_id": "', b'"build_id": "other-'))

Build.begin = begin_and_be_overtaken
cli()
"""


class Reader:
    """Somebody else's session, in a process of its own."""

    def __init__(self, warehouse: Warehouse) -> None:
        jars = ",".join(str(path) for path in sorted(JARS.glob("sedona-*.jar")))
        self._process = subprocess.Popen(
            [sys.executable, "-c", READER, str(warehouse.home / "spark"), jars],
            env=warehouse.env,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, line: str) -> str:
        """Open the marts, or send a query; return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{' '.join(line.split())}\n")
        self._process.stdin.flush()
        for answer in self._process.stdout:
            if answer.startswith(("build ", "rows ")):
                return answer.partition(" ")[2].strip()
        raise AssertionError(line)

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """The sample, loaded on the target `spark` and built on DuckDB: both read the same lake."""
    home = tmp_path_factory.mktemp("spark")
    env = {
        **os.environ,
        "WAREHOUSE_TARGET": "spark",
        "WAREHOUSE_HOME": str(home),
        "INGEST_SECRET": "secret-of-the-tests",
        "DBT_TARGET_PATH": str(home / "target"),
        "DBT_LOG_PATH": str(home / "dbt-logs"),
        "DBT_LOG_LEVEL_FILE": "info",
        "PYTHONPATH": str(ROOT),
        "SPARK_MASTER": "local[2]",
        "SPARK_SHUFFLE_PARTITIONS": "2",
        "SPARK_CONF_DIR": str(home / "conf"),
        "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1",
    }
    (home / "conf").mkdir()
    (home / "conf" / "spark-defaults.conf").write_text(LITTLE)
    Warehouse(env, home).ingest("gadm", "timezones", "--release", "sample")
    on_duckdb = Warehouse({**env, "WAREHOUSE_TARGET": "embedded", "DBT_TARGET_PATH": str(home / "target-duckdb")}, home)
    on_duckdb.dbt("build", "--exclude", "tag:derived", "test_type:data", "test_type:unit", "resource_type:snapshot")
    return on_duckdb


@pytest.fixture(scope="module")
def spark(embedded: Warehouse) -> Warehouse:
    """The same on Spark, with the tests that are about several marts."""
    warehouse = Warehouse({**embedded.env, "WAREHOUSE_TARGET": "spark"}, embedded.home)
    warehouse.env["DBT_TARGET_PATH"] = str(embedded.home / "target")
    warehouse.dbt("build", "--exclude", "test_type:generic", "test_type:unit")
    return warehouse


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of Spark Connect, as docs/spark.md starts it."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    (folder / "spark-defaults.conf").write_text(LITTLE)
    options = {
        "spark.jars": ",".join(str(path) for path in sorted(JARS.glob("*.jar"))),
        "spark.sql.extensions": "org.apache.sedona.sql.SedonaSqlExtensions",
        "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
        "spark.kryo.registrator": "org.apache.sedona.core.serde.SedonaKryoRegistrator",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
    }
    settings = [part for name, value in options.items() for part in ("--conf", f"{name}={value}")]
    java = ("--driver-java-options", "-Djts.overlay=ng -XX:TieredStopAtLevel=1")
    submit = [f"{pyspark.__path__[0]}/bin/spark-submit", "--class", SERVER, "--master", "local[2]", *java, *settings]
    env = {**os.environ, "PYSPARK_PYTHON": sys.executable, "SPARK_CONF_DIR": str(folder)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*submit, "spark-internal"], env=env, cwd=folder, stdout=log, stderr=log)
    try:
        began = time.monotonic()
        while "Spark Connect server started" not in (said := (folder / "log").read_text()):
            assert process.poll() is None, said
            assert time.monotonic() - began < SERVER_SECONDS, said
            time.sleep(0.2)
        yield f"sc://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def remote(embedded: Warehouse, server: str) -> Warehouse:
    """Time zones and their parts, built there, by a process that finds no Java."""
    names = {"SPARK_REMOTE": server, "SPARK_WAREHOUSE": str(embedded.home / "remote"), "JAVA_HOME": "/none"}
    env = {**embedded.env, **names, "WAREHOUSE_TARGET": "spark", "DBT_TARGET_PATH": str(embedded.home / "target")}
    warehouse = Warehouse(env, embedded.home)
    warehouse.dbt("build", *PART)
    return warehouse


@pytest.fixture
def session(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SparkSession]:
    """Somebody else's session on the server."""
    from pyspark.sql import SparkSession

    monkeypatch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")  # pyspark sets it, and would never take it back
    opened = SparkSession.builder.remote(server).create()
    try:
        yield opened
    finally:
        opened.stop()


@pytest.fixture
def reader(spark: Warehouse) -> Iterator[Reader]:
    opened = Reader(spark)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(tmp_path)


def pointer(warehouse: Warehouse) -> dict[str, Any]:
    root = Path(warehouse.env.get("SPARK_WAREHOUSE", warehouse.home / "spark"))
    found: dict[str, Any] = json.loads((root / "marts.json").read_text())
    return found


def files(warehouse: Warehouse, table: str) -> set[Path]:
    return set((warehouse.home / "spark" / pointer(warehouse)["tables"][table]["path"]).glob("*.parquet"))


@pytest.mark.parametrize("table", ON_SPARK)
def test_a_mart_is_that_of_duckdb_row_for_row(embedded: Warehouse, spark: Warehouse, table: str) -> None:
    marts.assert_same(embedded, spark, table)


def test_what_is_made_in_python_is_left_out_and_all_else_is_there(spark: Warehouse) -> None:
    there = {name.removeprefix("marts.") for name in pointer(spark)["tables"] if name.startswith("marts.")}
    assert there == {*ON_SPARK, "marts_meta"}


def test_readers_see_one_edition_until_the_next_is_tested_and_whole(
    spark: Warehouse, reader: Reader, project: Path
) -> None:
    """A part is built: first with a fault that a test finds, then without; the rest is what it was."""
    env = {**spark.env, "SPARK_JARS": str(JARS / "*.jar")}
    in_project = Warehouse(env, spark.home, folder=project)
    count = "select count(*) as n, count_if(name_kind = 'name') as named, max(length(folded_name)) > 0 from {}"
    first = reader.ask("open")
    before, answer, old = (
        pointer(spark),
        reader.ask(count.format("admin_unit_names")),
        files(spark, "marts.admin_unit_names"),
    )
    assert first == before["build_id"]

    model = project / "models/marts/lookup/admin_unit_names.sql"
    text = model.read_text()
    assert "    units.path\n" in text
    model.write_text(text.replace("    units.path\n", "    upper(units.path) as path\n"))
    printed = in_project.dbt("build", "--select", "admin_unit_names", expect=1).stdout
    assert "every_spelling_of_a_name_is_listed_once" in printed
    assert "The marts stay as they were" in printed
    assert pointer(spark) == before
    assert reader.ask("open") == first

    model.write_text(text.replace("where spelled.name is not null", "where spelled.name_kind = 'name'"))
    in_project.dbt("build", "--select", "admin_unit_names", "--exclude", "test_type:unit")
    after = pointer(spark)
    changed = {name for name, table in after["tables"].items() if table != before["tables"][name]}
    assert changed == {"marts.admin_unit_names", "marts.marts_meta"}
    assert reader.ask(count.format("admin_unit_names")) == answer  # who has opened the edition before goes on with it
    assert old == {path for path in old if path.exists()}
    assert reader.ask("open") == after["build_id"] != first
    assert reader.ask(count.format("admin_unit_names")) != answer


def test_commands_that_need_functions_of_a_database_refuse(spark: Warehouse) -> None:
    assert "current" in spark.ingest("status").stdout
    refused = spark.ingest("locate", "1.2", "6.1", expect=1)
    assert "does not answer single points on Spark" in refused.stderr
    assert "open_marts" in refused.stderr


def test_a_session_without_sedona_is_told_what_it_lacks(spark: Warehouse) -> None:
    from pyspark.errors import AnalysisException

    class Plain:
        def sql(self, _query: str) -> None:
            raise AnalysisException("[UNRESOLVED_ROUTINE] st_point")

    with pytest.raises(TargetUnavailable, match="no Sedona"):
        open_marts(Plain(), str(spark.home / "spark"))  # type: ignore[arg-type]


def test_files_and_sql_of_ones_own_are_answered_from_the_marts_in_a_folder(spark: Warehouse, tmp_path: Path) -> None:
    exported = tmp_path / "units.parquet"
    spark.ingest("export", "admin_level_1", "-o", str(exported))
    assert pq.read_metadata(exported).num_rows == SAMPLE_COUNTS[1]
    asked = spark.ingest("sql", "select count(*) as n from marts.admin_level_1", "--format", "csv").stdout
    assert asked == f"n\n{SAMPLE_COUNTS[1]}\n"
    assert "read-only" in spark.ingest("sql", "drop view marts.admin_level_1", expect=1).stderr
    (tmp_path / "points.csv").write_text("lon,lat\n-100,40\n")
    spark.ingest("locate", "--input", str(tmp_path / "points.csv"), "--output", str(tmp_path / "located.csv"))
    assert "United States > Kansas > Norton" in (tmp_path / "located.csv").read_text()


@pytest.mark.parametrize("command", [("tiles", "-o", "none.pmtiles"), ("changes", "gadm")])
def test_what_needs_marts_that_spark_does_not_make_says_so(spark: Warehouse, command: tuple[str, ...]) -> None:
    assert "Spark does not make it" in spark.ingest(*command, expect=1).stderr


@pytest.mark.parametrize("table", ["timezones", "internal_timezone_parts"])
def test_a_mart_built_through_spark_connect_is_that_of_duckdb(
    embedded: Warehouse, remote: Warehouse, table: str
) -> None:
    marts.assert_same(embedded, remote, table)


def test_a_server_of_spark_connect_shows_nothing_of_a_build_to_others(remote: Warehouse, session: SparkSession) -> None:
    """They have what a build publishes, once they have opened it."""
    assert [row[0] for row in session.sql("show databases").collect()] == ["default"]
    assert session.sql("show tables").collect() == []
    assert open_marts(session, remote.env["SPARK_WAREHOUSE"]) == pointer(remote)["build_id"]
    assert session.sql("select count(*) from timezones where geom is not null").collect()[0][0] == 36


def test_a_part_is_built_through_spark_connect_beside_what_is_published(remote: Warehouse) -> None:
    before = pointer(remote)["tables"]
    remote.dbt("build", "--select", "internal_timezone_parts", "--exclude", "test_type:unit")
    after = pointer(remote)["tables"]
    changed = {name for name, table in after.items() if table != before[name]}
    assert changed == {"marts.internal_timezone_parts", "marts.marts_meta"}


def test_a_build_that_another_one_has_overtaken_is_left_out_and_fails(remote: Warehouse) -> None:
    done = remote.run(sys.executable, "-c", OVERTAKEN, "build", "--select", "timezone_offsets", expect=2)
    assert "Another dbt build has published its marts meanwhile" in done.stdout
    assert pointer(remote)["build_id"].startswith("other-")


def test_a_server_of_spark_connect_that_does_not_answer_is_named_at_once(remote: Warehouse) -> None:
    refused = Warehouse({**remote.env, "SPARK_REMOTE": "sc://127.0.0.1:1"}, remote.home)
    assert "No Spark answers at sc://127.0.0.1:1" in refused.dbt("build", *PART, expect=2).stdout
