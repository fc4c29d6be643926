"""Real servers, real processes: the commands are run as a person runs them."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pyogrio
import pytest

from ingest import catalog
from tests.conftest import ROOT, SHARED_DATA
from tests.integration import forked, servers

COMMAND_SECONDS = 300
BUILD = ("build", "--exclude-resource-type", "unit_test")  # which the main job and test_sql_units run on either target
WITHOUT_DERIVED = ("--exclude-resource-type", "unit_test", "--exclude", "tag:derived")
WITHOUT_TESTS = ("--exclude-resource-type", "test", "unit_test", "--exclude", "tag:derived")
DATASETS = frozenset(catalog.datasets())
SAMPLE_COUNTS = (7, 222, 3695, 1612, 122, 0)
SAMPLE_ZONES = 36
ADDED = "TGO" if SHARED_DATA.is_dir() else "PRI"  # to one of two warehouses that hold the same
PROJECT = (
    *("dbt_project.yml", "profiles.yml", "profiles", "macros", "models", "seeds", "snapshots"),
    "tests/dbt",
)


@dataclass
class Warehouse:
    """A fresh warehouse: its environment, and the commands that a person would type."""

    env: dict[str, str]
    home: Path
    dsn: str | None = None
    folder: Path = ROOT  # where the commands are typed
    _counter: list[int] = field(default_factory=lambda: [0])

    def run(self, *command: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command, by default in the project's root, and check how it ended."""
        return self._checked(self._run(command, self.folder, self.env), expect)

    @staticmethod
    def _run(command: Sequence[str], folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )

    def _checked(self, done: subprocess.CompletedProcess[str], expect: int) -> subprocess.CompletedProcess[str]:
        logs = "".join(path.read_text() for path in sorted((self.home / "logs").glob("*.log"))) if expect == 0 else ""
        assert done.returncode == expect, (
            f"{done.args} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}\n{logs}"
        )
        return done

    def ingest(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run ``python -m ingest``; one dataset is loaded by one worker: others would start and find nothing to do."""
        is_load = len(DATASETS & set(arguments)) == 1 and arguments[0] in DATASETS and "--async" not in arguments
        alone = ("--workers=1",) if is_load and not any(each.startswith("--workers") for each in arguments) else ()
        command = [sys.executable, "-m", "ingest"]
        return self._program("ingest", command, [*arguments, *alone], self.folder, expect, self.env)

    def dbt(self, *arguments: str, expect: int = 0, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run dbt with its target folder outside the checkout.

        It describes the project and the results in JSON only for who reads that: for the docs, and for a retry.
        """
        command = str(Path(sys.executable).with_name("dbt"))
        is_described = expect != 0 or arguments[0] in {"docs", "retry"}
        env = {"DBT_WRITE_JSON": str(is_described), **self.env}
        return self._program("dbt", [command], arguments, folder or self.folder, expect, env)

    def _program(
        self,
        name: str,
        command: Sequence[str],
        arguments: Sequence[str],
        folder: Path,
        expect: int,
        env: dict[str, str],
    ) -> subprocess.CompletedProcess[str]:
        if forked.is_possible(env):
            return self._checked(forked.run(name, arguments, folder, env, COMMAND_SECONDS), expect)
        return self._checked(self._run([*command, *arguments], folder, env), expect)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL."""
        assert self.dsn is not None
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(sql).fetchall()  # type: ignore[arg-type]

    def one(self, sql: str) -> Any:
        """Ask PostgreSQL for a single value."""
        ((value,),) = self.query(sql)
        return value


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    """A PostgreSQL server with a template database that has PostGIS."""
    with servers.open_folder() as folder:
        server = servers.Postgres(folder / "postgres", servers.free_port())
        server.start()
        try:
            admin = f"host=127.0.0.1 port={server.port} user=warehouse dbname="
            with psycopg.connect(admin + "postgres", autocommit=True) as connection:
                connection.execute("create database with_postgis")
            with psycopg.connect(admin + "with_postgis") as connection:
                connection.execute("create extension postgis")
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis server."""
    server = servers.Redis(tmp_path_factory.mktemp("redis") / "server", servers.free_port())
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


NewWarehouse = Callable[..., Warehouse]


def copy_project(folder: Path) -> Path:
    """Copy what dbt reads of the checkout, to be changed; return the folder."""
    for name in PROJECT:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target, follow_symlinks=False)
    return folder


@pytest.fixture(scope="session")
def new_warehouse(
    postgres: servers.Postgres, redis_port: int, tmp_path_factory: pytest.TempPathFactory
) -> NewWarehouse:
    """Return a maker of warehouses, empty or copied, each with a database, a queue and a home of its own."""
    made: list[int] = []

    def make(copied: Warehouse | None = None) -> Warehouse:
        template = copied.env["PGDATABASE"] if copied else "with_postgis"
        made.append(len(made))
        number, admin = len(made), f"host=127.0.0.1 port={postgres.port} user=warehouse dbname="
        name = f"warehouse_{number:03}"
        home = tmp_path_factory.mktemp(name, numbered=False)
        with psycopg.connect(admin + "postgres", autocommit=True) as connection:
            connection.execute(f"create database {name} template {template}")  # type: ignore[arg-type]
        env = {
            **os.environ,
            "WAREHOUSE_TARGET": "postgres",
            "WAREHOUSE_HOME": str(home),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres.port),
            "PGUSER": "warehouse",
            "PGPASSWORD": "not-a-real-password",
            "PGDATABASE": name,
            "REDIS_URL": f"redis://127.0.0.1:{redis_port}/{number % 16}",
            "INGEST_SECRET": "secret-of-the-tests",
            "DBT_TARGET_PATH": str(home / "target"),
            "DBT_LOG_PATH": str(home / "dbt-logs"),
            "DBT_LOG_LEVEL_FILE": "info",  # writing all that it does takes a tenth of a build
            "PYTHONPATH": str(ROOT),
        }
        return Warehouse(env=env, home=home, dsn=admin + name)

    return make


@dataclass(frozen=True)
class World:
    """A world download and its time zones, served over HTTP, and what is in them."""

    address: str
    folder: Path
    boundaries: str
    timezones: str
    counts: tuple[int, ...]
    zone_count: int

    @property
    def options(self) -> list[str]:
        """The ``--source`` options that name both files."""
        return [
            f"--source=gadm={self.address}/{self.boundaries}",
            f"--source=timezones={self.address}/{self.timezones}",
        ]


@dataclass(frozen=True)
class Job:
    """A warehouse on PostGIS after the main job, with what the commands printed."""

    warehouse: Warehouse
    first: str
    second: str
    build: str


@pytest.fixture(scope="session")
def main_job(new_warehouse: NewWarehouse, world: World) -> Job:
    """The main job, done once: load the world and its time zones, load them again, build. Tests change copies of it."""
    warehouse = new_warehouse()
    first = warehouse.ingest("gadm", "timezones", *world.options).stdout
    second = warehouse.ingest("gadm", "timezones", *world.options).stdout
    build = warehouse.dbt("build").stdout
    return Job(warehouse, first, second, build)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name of its base
        """Say nothing."""


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Serve GADM's real files where they are, the bundled sample elsewhere."""
    folder = tmp_path_factory.mktemp("publisher")
    if SHARED_DATA.is_dir():
        boundaries = SHARED_DATA / "gadm" / "gadm_410-levels.zip"
        timezones = SHARED_DATA / "timezones" / "timezones-with-oceans-now.shapefile.zip"
        counts, zone_count = (8, 113, 439, 2195, 624, 0), 90
    else:
        boundaries = ROOT / "sample" / "boundaries-levels.zip"
        timezones = ROOT / "sample" / "timezones-with-oceans-now.shapefile.zip"
        counts, zone_count = SAMPLE_COUNTS, SAMPLE_ZONES
    for path in (boundaries, timezones):
        shutil.copyfile(path, folder / path.name)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    yield World(address, folder, boundaries.name, timezones.name, counts, zone_count)
    server.shutdown()


def write_country(world: Path, path: Path) -> Path:
    """Write the units of one country into a file of its own."""
    (member,) = zipfile.ZipFile(world).namelist()
    for layer, _ in pyogrio.list_layers(f"/vsizip/{world}/{member}"):
        found = pyogrio.read_dataframe(f"/vsizip/{world}/{member}", layer=layer, where=f"GID_0 = '{ADDED}'")
        if len(found):
            pyogrio.write_dataframe(found, path, layer=layer, append=False)
    return path


@pytest.fixture(scope="session")
def both(main_job: Job, new_warehouse: NewWarehouse, world: World) -> tuple[Warehouse, Warehouse]:
    """One warehouse on PostGIS and one on DuckDB, loaded from the same files and built."""
    embedded = new_warehouse()
    embedded.env["WAREHOUSE_TARGET"] = "embedded"
    embedded.ingest("gadm", "timezones", *world.options)
    added = write_country(world.folder / world.boundaries, embedded.home / "added.gpkg")
    assert f"of {ADDED} in place of" in embedded.ingest("gadm", f"--source={added}", "--add").stdout
    embedded.dbt(*BUILD)
    return new_warehouse(main_job.warehouse), embedded
