"""The session of a dbt command on Spark, and the edition that a build makes in it.

The catalog of tables is in the memory of the session, so that it is the build's own: there, the tables of the published
edition have their names until the build has made others. Readers know nothing of it; they have the pointer.
"""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dbt.flags import get_flags
from dbt_common.exceptions import DbtRuntimeError
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from admin_boundaries.dbt_command import is_whole
from admin_boundaries.lake import Lake
from admin_boundaries.spark import functions
from admin_boundaries.spark.edition import Edition, Table, publish, read_edition, version
from admin_boundaries.spark.storage import storage
from ingest.errors import IngestError
from ingest.settings import read_settings

_opening = threading.Lock()
_builds: dict[str, Build] = {}


def open_session(credentials: Any, project: Path) -> Build:
    """Return the session of this process, and open it first if need be.

    Parameters
    ----------
    credentials : SedonaCredentials
        Of ``profiles.yml``.
    project : Path
        Where relative paths begin.
    """
    with _opening:
        if credentials.warehouse not in _builds:
            _builds[credentials.warehouse] = Build(credentials, project)
        return _builds[credentials.warehouse]


class Build:
    """A session, with the tables of the published edition in its catalog.

    Parameters
    ----------
    credentials : SedonaCredentials
        Of ``profiles.yml``.
    project : Path
        Where relative paths begin.

    Raises
    ------
    DbtRuntimeError
        When the pointer of the published edition cannot be read.
    """

    def __init__(self, credentials: Any, project: Path) -> None:
        self.spark = _session(credentials, project)
        self._marts = read_settings().marts
        self._lake: Path = project / credentials.lake
        self._held = Lake(self._lake)
        root = credentials.warehouse if ":/" in credentials.warehouse else str(project / credentials.warehouse)
        try:
            self._files = storage(root, self.spark)
            self._published = read_edition(self._files, self._marts)
        except IngestError as error:
            raise DbtRuntimeError(f"{error} {error.hint}") from error
        self._build_id, self._built_at = "", datetime.now(UTC)
        self._tables: dict[str, Table] = {}
        self._views: dict[str, str] = {}
        self._raw: dict[str, list[str]] = {}
        self._adding = threading.Lock()
        functions.register(self.spark)
        self._fill_catalog()

    def _fill_catalog(self) -> None:
        """Add the copy of the ledger to the catalog, and the published edition, unless all of it is made anew."""
        self.spark.sql("create schema if not exists raw")
        for file in sorted((self._lake / "ledger").glob("*.parquet")):
            rows = f"select * from parquet.`{file.as_uri()}`"  # noqa: S608  it contains no value
            self.spark.sql(f"create or replace view raw.{file.stem} as {rows}")
        if self._published is None or is_whole(get_flags()):  # type: ignore[no-untyped-call]
            return
        for name, table in self._published.tables.items():
            self.spark.sql(f"create schema if not exists {name.split('.')[0]}")
            self._add_table(name, table)
        gone = []
        for dataset, source, run_id in self._published.raw:
            if self._has(dataset, run_id):
                self.add_raw_table(dataset, source, run_id)
            else:
                gone.append(f"raw.{source}__{run_id}")
        for name, sql in self._published.views.items():
            if not any(source in sql for source in gone):
                self.spark.sql(f"create schema if not exists {name.split('.')[0]}")
                self.spark.sql(f"create or replace view {name} as {sql}")

    def _has(self, dataset: str, run_id: str) -> bool:
        """Whether the files of a run are there: retention keeps two."""
        return (self._lake / dataset / "runs" / run_id).is_dir()

    def _add_table(self, name: str, table: Table) -> None:
        place = self._files.at(table.path)
        self.spark.sql(f"create table {name} using {table.format} location '{place}'")

    def add_raw_table(self, dataset: str, table: str, run_id: str) -> str:
        """Return the name of a raw table of a run, which is added to the catalog at its first use."""
        name, place = f"raw.{table}__{run_id}", self._lake / dataset / "runs" / run_id / table
        with self._adding:
            if name not in self._raw:
                self.spark.sql(f"create table {name} using geoparquet location '{place.as_uri()}'")
                self._raw[name] = [dataset, table, run_id]
        return name

    def add_name_folding(self, folding: dict[str, str]) -> None:
        """Make `fold_name` known to the session, from the tables that the other targets have it from."""
        self.spark.udf.register("fold_name", functions.name_folder(folding), "string")

    def begin(self, build_id: str, built_at: datetime) -> None:
        """Begin an edition.

        Parameters
        ----------
        build_id : str
            dbt's invocation id.
        built_at : datetime
            When the build began, in UTC.
        """
        self._build_id, self._built_at = build_id, built_at

    def place_of(self, name: str, file_format: str) -> str:
        """Return the address at which this build writes a table, which is in the edition from now on."""
        path = f"{name.replace('.', '/')}/{version(self._build_id, self._built_at)}"
        self._tables[name] = Table(file_format, path)
        return self._files.at(path)

    def note_view(self, name: str, sql: str) -> None:
        """Note the SQL of a view, in Spark's words, to be made again in other sessions."""
        self._views[name] = sql

    def write_seed(self, name: str, rows: list[list[str | None]], types: dict[str, str]) -> None:
        """Write rows of texts into a table, as values of these types."""
        place = self.place_of(name, "parquet")
        texts = self.spark.createDataFrame(rows, ", ".join(f"`{column}` string" for column in types))
        columns = [f"cast(`{column}` as {kind}) as `{column}`" for column, kind in types.items()]
        texts.selectExpr(*columns).coalesce(1).write.parquet(place)
        self._add_table(name, self._tables[name])

    def hold_run(self, dataset: str, run_id: str) -> str:
        """Keep retention away from the files of a run as long as this process lives; return what is wrong with them."""
        return self._held.damage_of_run(dataset, run_id) or (
            "" if self._held.hold_run(dataset, run_id) else f"The files of run {run_id} of {dataset} are gone."
        )

    def publish(self, kept: list[str]) -> str:
        """Put before readers what was built, beside what stays as it is.

        Parameters
        ----------
        kept : list of str
            The tables and views of the project, as ``schema.name``: what else the edition before had is left out.

        Returns
        -------
        str
            Why it could not be done; empty if it was.
        """
        before = read_edition(self._files, self._marts)
        if before != self._published:
            return (
                "Another dbt build has published its marts meanwhile, and those of this one are left out. Build again."
            )
        tables = {name: table for name, table in (before.tables if before else {}).items() if name in kept}
        views = {name: sql for name, sql in (before.views if before else {}).items() if name in kept}
        edition = Edition(
            build_id=self._build_id,
            built_at=self._built_at.isoformat(),
            tables=dict(sorted((tables | self._tables).items())),
            views=views | self._views,
            raw=sorted(self._raw.values()),
            replaced=[table.path for name, table in sorted((before.tables if before else {}).items())],
        )
        try:
            publish(self._files, self._marts, edition, before, self._built_at)
        except (OSError, Py4JError) as error:
            return f"What was built could not be put before readers: {error}"
        return ""


def _session(credentials: Any, project: Path) -> SparkSession:
    """Return the session of this process."""
    if credentials.remote:
        raise DbtRuntimeError(
            f"SPARK_REMOTE={credentials.remote}: dbt does not build through Spark Connect, since all sessions of a "
            "server share its catalog, and a build there would meet others. Set SPARK_MASTER instead."
        )
    options = dict(credentials.server_side_parameters)
    jars = [_jars(jar, project) for jar in options.get("spark.jars", "").split(",") if jar]
    options["spark.jars"] = ",".join(jars)
    if options.get("spark.master", "").startswith("local"):
        # nobody else is to be reached
        options |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        options["spark.pyspark.python"] = sys.executable
    builder = SparkSession.builder.appName("admin_boundaries")
    for name, value in options.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def _jars(pattern: str, project: Path) -> str:
    """Return the paths of jars, with commas between them; an address stays as it is."""
    if ":/" in pattern:
        return pattern
    path = project / pattern
    found = sorted(map(str, path.parent.glob(path.name)))
    if not found:
        raise DbtRuntimeError(f"There is no jar {path}. Fetch Sedona's: make spark")
    return ",".join(found)
