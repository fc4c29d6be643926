"""Private servers for a benchmark run, a new warehouse for every way, and the results so far."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
import pyogrio
from psycopg import sql

from benchmarks import measure, report
from tests.integration import servers

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 3600

# The same for all: the file fits in memory, WAL is minimal, and a commit does not wait for the disk.
TUNED = {
    "shared_buffers": "4GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "30min",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "synchronous_commit": "off",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
    "max_connections": "100",
    "autovacuum": "off",  # cleaning up after one way must not slow down another
}


@dataclass(frozen=True)
class Way:
    """One way to load the file, or to continue from the loaded rows.

    Attributes
    ----------
    name, title : str
        For logs and ``--only``; for people.
    group : str
        ``ingest``, ``build``, ``embedded``, ``peer``, ``original`` or ``limit``.
    command : tuple of str
        The command to run.
    tables : tuple of str
        Tables that must hold all rows afterwards; rows are not counted if it is empty.
    """

    name: str
    title: str
    group: str
    command: tuple[str, ...]
    tables: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """The result of a way; see `measure.Cost`. ``fault`` says why it failed."""

    name: str
    title: str
    group: str
    seconds: float
    peak_bytes: int
    rows: int
    bytes: int
    fault: str | None = None


class Bench:
    """Runs ways one after another.

    Parameters
    ----------
    folder : Path
        Folder for servers, warehouses and logs.
    file : Path
        The GeoPackage to load.
    only : sequence of str
        Patterns of the names of the ways to run; all if empty.
    """

    def __init__(self, folder: Path, file: Path, only: Sequence[str]) -> None:
        self.folder, self.file, self.results = folder, file, list[Result]()
        self.layers = [str(name) for name, _ in pyogrio.list_layers(file)]
        self._only = only
        self._rows = sum(pyogrio.read_info(file, layer=layer)["features"] for layer in self.layers)
        self._postgres = servers.Postgres(folder / "postgres", servers.free_port(), TUNED)
        self._redis = servers.Redis(folder / "redis", servers.free_port())
        self._count = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the servers during the block."""
        self._postgres.start()
        self._redis.start()
        try:
            self._admin("create database with_postgis")
            with self.connect("with_postgis") as connection:
                connection.execute("create extension postgis")
            yield
        finally:
            self._redis.stop()
            self._postgres.stop()

    def wants(self, name: str) -> bool:
        """Return whether a way is to be run."""
        return not self._only or any(re.search(pattern, name) for pattern in self._only)

    def connect(self, database: str) -> psycopg.Connection:
        """Open a connection."""
        return psycopg.connect(f"host=127.0.0.1 port={self._postgres.port} user=warehouse dbname={database}")

    @contextmanager
    def warehouse(self, name: str, target: str = "postgres") -> Iterator[dict[str, str]]:
        """Create a warehouse, yield the environment that selects it, and remove it."""
        self._count += 1
        self._admin(f'create database "{name}" template with_postgis')
        self._admin("checkpoint")
        home = self.folder / "homes" / name
        home.mkdir(parents=True)
        try:
            yield {
                "PGHOST": str(self._postgres.folder),  # its socket
                "PGPORT": str(self._postgres.port),
                "PGUSER": "warehouse",
                "PGPASSWORD": "not-a-real-password",
                "PGDATABASE": name,
                "REDIS_URL": f"redis://127.0.0.1:{self._redis.port}/{self._count % 16}",
                "WAREHOUSE_TARGET": target,
                "WAREHOUSE_HOME": str(home),
                "INGEST_SECRET": "secret-of-the-benchmarks",
                "DBT_TARGET_PATH": str(home / "target"),
                "DBT_LOG_PATH": str(home / "dbt-logs"),
                "BENCHMARK_SCRATCH": str(home),
            }
        finally:
            self._admin(f'drop database if exists "{name}" with (force)')
            shutil.rmtree(home, ignore_errors=True)

    def run(self, way: Way, env: dict[str, str]) -> None:
        """Run a way, count its rows, and keep and print the result."""
        cost = measure.run(way.command, {**os.environ, **env}, ROOT, self.folder / f"{way.name}.log", PATIENCE_SECONDS)
        fault = None
        if cost.seconds > PATIENCE_SECONDS:
            fault = f"took more than {PATIENCE_SECONDS // 60} minutes"
        elif cost.exit_code:
            fault = f"exit code {cost.exit_code}"
            print("\n".join(cost.output.splitlines()[-40:]))
        elif way.tables and (found := self._rows_in(env["PGDATABASE"], way.tables)) != self._rows:
            fault = f"{found:,} rows of {self._rows:,} arrived"
        size = self.file.stat().st_size
        result = Result(way.name, way.title, way.group, cost.seconds, cost.peak_bytes, self._rows, size, fault)
        self.results.append(result)
        print(report.line(asdict(result)), flush=True)

    def alone(self, way: Way, target: str = "postgres", then: Callable[[dict[str, str]], None] | None = None) -> None:
        """Run a way, if it is wanted, in a warehouse of its own; ``then`` continues in the same warehouse."""
        if self.wants(way.name):
            with self.warehouse(way.name, target) as env:
                self.run(way, env)
                if then is not None:
                    then(env)

    def _admin(self, statement: str) -> None:
        with self.connect("postgres") as connection:
            connection.autocommit = True
            connection.execute(statement.encode())

    def _rows_in(self, database: str, tables: Sequence[str]) -> int:
        """Count the rows of some tables together."""
        count = sql.SQL("select count(*) from {}")
        with self.connect(database) as connection:
            rows = [connection.execute(count.format(sql.Identifier(*name.split(".")))).fetchone() for name in tables]
        return sum(row[0] for row in rows if row)
