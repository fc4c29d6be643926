"""The session of a dbt command on Spark, and the edition that a build makes in it.

Tables are known to the session as temporary views, which are its own, also on a server that it shares with others: the
tables of the published edition have their names until the build has made others. Readers know nothing of it; they have
the pointer.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dbt.flags import get_flags
from dbt_common.exceptions import DbtRuntimeError
from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from admin_boundaries.dbt_command import is_whole
from admin_boundaries.lake import Lake
from admin_boundaries.spark import functions
from admin_boundaries.spark.edition import Edition, Table, publish, read_edition, version, view_name
from admin_boundaries.spark.session import require_answer
from admin_boundaries.spark.storage import storage
from ingest.errors import IngestError, TargetUnavailable
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
    """A session, with views of the tables of the published edition.

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
        self._unseen: dict[str, Table] = {}
        self._known: dict[str, str] = {}
        self._adding = threading.Lock()
        functions.register(self.spark)
        self._add_what_is_there()

    def _add_what_is_there(self) -> None:
        """Add the copy of the ledger to the session, and the published edition, unless all of it is made anew."""
        for file in sorted((self._lake / "ledger").glob("*.parquet")):
            self._add(f"raw.{file.stem}", "parquet", file.as_uri())
        if self._published is None or is_whole(get_flags()):  # type: ignore[no-untyped-call]
            return
        for name, table in self._published.tables.items():
            self._add(name, table.format, self._files.at(table.path))
        gone = []
        for dataset, source, run_id in self._published.raw:
            if self._has(dataset, run_id):
                self.add_raw_table(dataset, source, run_id)
            else:
                gone.append(view_name(f"raw.{source}__{run_id}"))
        for name, sql in self._published.views.items():
            if not any(source in sql for source in gone):
                self.spark.sql(f"create or replace temporary view {view_name(name)} as {sql}")
                self._known[name] = "view"

    def _has(self, dataset: str, run_id: str) -> bool:
        """Whether the files of a run are there: retention keeps two."""
        return (self._lake / dataset / "runs" / run_id).is_dir()

    def _add(self, name: str, file_format: str, place: str) -> None:
        self.spark.read.format(file_format).load(place).createOrReplaceTempView(view_name(name))
        self._known[name] = "table"

    def known_in(self, schema: str) -> dict[str, str]:
        """Return the names in a schema that were there when the session began, each with what it is: table or view."""
        return {name.partition(".")[2]: kind for name, kind in self._known.items() if name.startswith(f"{schema}.")}

    def run(self, sql: str) -> DataFrame:
        """Run a statement, in Spark's words; a table that it has written is seen by the next one."""
        found = self.spark.sql(sql)
        for name, table in list(self._unseen.items()):
            place = self._files.at(table.path)
            if f"'{place}'" in sql:
                self._add(name, table.format, place)
                del self._unseen[name]
        return found

    def add_raw_table(self, dataset: str, table: str, run_id: str) -> str:
        """Return the name of a raw table of a run, which is added to the session at its first use."""
        name, place = f"raw.{table}__{run_id}", self._lake / dataset / "runs" / run_id / table
        with self._adding:
            if name not in self._raw:
                self._add(name, "geoparquet", place.as_uri())
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
        self._tables[name] = self._unseen[name] = Table(file_format, path)
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
        self._add(name, "parquet", place)
        del self._unseen[name]

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
        return _remote(credentials)
    options = dict(credentials.server_side_parameters)
    jars = [_jars(jar, project) for jar in options.get("spark.jars", "").split(",") if jar]
    options["spark.jars"] = ",".join(jars)
    is_local = options.get("spark.master", "").startswith("local")
    if is_local:
        # nobody else is to be reached
        options |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    builder = SparkSession.builder.appName("admin_boundaries")
    for name, value in options.items():
        builder = builder.config(name, value)
    session: SparkSession = builder.getOrCreate()
    if is_local and session.sparkContext.pythonExec == "python3":  # nobody has named another
        session.sparkContext.pythonExec = sys.executable
    return session


def _remote(credentials: Any) -> SparkSession:
    """Return a session of Spark Connect, with those of the settings that are a session's own."""
    try:
        require_answer(credentials.remote)
        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)  # dbt says what went wrong
        session: SparkSession = SparkSession.builder.remote(credentials.remote).create()
        atexit.register(session.stop)  # else the server keeps it for an hour
        for name, value in credentials.server_side_parameters.items():
            if session.conf.isModifiable(name):
                session.conf.set(name, value)
        try:
            session.sql("select st_point(0, 0)").schema  # noqa: B018  asks the server
        except AnalysisException as error:
            raise TargetUnavailable(
                f"The server of Spark Connect at {credentials.remote} knows no Sedona.",
                "Start it with Sedona's jars and extensions, as docs/spark.md says.",
            ) from error
    except IngestError as error:
        raise DbtRuntimeError(f"{error} {error.hint}") from error
    return session


def _jars(pattern: str, project: Path) -> str:
    """Return the paths of jars, with commas between them; an address stays as it is."""
    if ":/" in pattern:
        return pattern
    path = project / pattern
    found = sorted(map(str, path.parent.glob(path.name)))
    if not found:
        raise DbtRuntimeError(f"There is no jar {path}. Fetch Sedona's: make spark")
    return ",".join(found)
