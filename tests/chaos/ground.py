"""A warehouse of one's own for chaos: its servers, its small disk, its clock, its commands and all their processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import psycopg

from admin_boundaries.duckdb_spatial import load_spatial
from tests.conftest import ROOT
from tests.fixtures.editions import write_edition
from tests.integration import forked, servers

TARGETS = ("embedded", "postgres")
MARKS = ("~A", "~B")
LEVELS = range(6)
COMMAND_SECONDS = 240.0  # a command that takes longer hangs
ENDING_SECONDS = 60.0  # so long processes may outlive the commands
PATIENCE_SECONDS = 120.0
DISK_MEGABYTES = 4096
HOOKS = Path(__file__).parent / "hooks"
PATIENCE = "{publish_patience: 240}"  # a part waits for readers of whom one or another always sits in a transaction
QUICK = ("--exclude-resource-type", "test", "unit_test")  # digests tell more than they
NAMES_A_BUILD = (
    *("run_id", "build_id", "built_at", "published_at", "valid_from", "valid_to"),
    *("before_run_id", "before_release", "before_published_at"),
)
TELL_OF_BUILDS = ("admin_units_history", "built_releases")  # whichever there were
Digest = dict[str, tuple[int, str]]
Digests = dict[str, Digest]
Ask: TypeAlias = Callable[[str], list[tuple[Any, ...]]]


class Command:
    """A command that was started, with a deadline and an output of its own."""

    def __init__(self, label: str, process: subprocess.Popen[bytes] | forked.Fork, log: Path) -> None:
        self.label, self.process, self.log, self.hangs = label, process, log, False
        self._deadline = time.monotonic() + COMMAND_SECONDS

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")

    def wait(self) -> int:
        """Return its exit code. One that hangs shows where, in its output, and is killed."""
        try:
            return self.process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.hangs = True
            self.process.send_signal(signal.SIGABRT)  # see PYTHONFAULTHANDLER
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            self.kill()
            return -1

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Holder:
    """What a process holds according to the ledger: a file, a slice, or a stage of a run."""

    what: str
    number: int
    process: int
    attempts: int


@dataclass
class Ground:
    """A warehouse with two editions of a file.

    Attributes
    ----------
    folder : Path
        Everything is in it.
    target : str
        ``embedded`` or ``postgres``.
    copies : int
        Size of the editions.
    has_disk : bool
        Whether the warehouse is on a disk of its own, which can be filled up. That takes root.
    """

    folder: Path
    target: str
    copies: int = 1
    has_disk: bool = True
    commands: list[Command] = field(default_factory=list)
    points: list[tuple[float, float]] = field(default_factory=list)
    mark_of: dict[str, str] = field(default_factory=dict)
    expected: dict[str, dict[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.disk = self.folder / "disk"
        place = self.disk if self.target == "embedded" else self.folder  # the server's disk is another one
        self.home, self.temporary = place / "home", place / "temporary"
        self.aims, self.clock, self.logs = self.folder / "aims", self.folder / "clock", self.folder / "logs"
        for path in (self.disk, self.aims, self.logs):
            path.mkdir(exist_ok=True)
        if self.has_disk:
            done = self._mount(f"size={DISK_MEGABYTES}m,mode=755", "tmpfs")
            if done.returncode:
                raise RuntimeError(f"A disk that can be filled up needs root: {done.stderr.strip()}")
        for path in (self.home, self.temporary):
            path.mkdir(exist_ok=True)
        self.set_clock(0)
        self.file = self.home / "warehouse.duckdb"
        self.env = {
            **os.environ,
            "WAREHOUSE_TARGET": self.target,
            "WAREHOUSE_HOME": str(self.home),
            "DBT_TARGET_PATH": str(self.folder / "target"),
            "DBT_LOG_PATH": str(self.folder / "dbt-logs"),
            "DBT_LOG_LEVEL_FILE": "info",  # writing all that it does takes a tenth of a build
            "DBT_WRITE_JSON": "false",  # nobody reads there what dbt has built
            "TMPDIR": str(self.temporary),
            "CHAOS_FOLDER": str(self.folder),
            "PYTHONPATH": f"{HOOKS}:{ROOT}",
            "PYTHONFAULTHANDLER": "1",
        }
        self.servers: list[servers.Postgres | servers.Redis] = []
        self.admin = ""
        if self.target == "postgres":
            self._serve()

    def _mount(self, options: str, *what: str) -> subprocess.CompletedProcess[str]:
        command = ["mount", *(["-t", "tmpfs"] if what else []), "-o", options, *what, str(self.disk)]
        prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
        return subprocess.run([*prefix, *command], capture_output=True, text=True, check=False)

    def _serve(self) -> None:
        self.postgres = servers.Postgres(self.folder / "postgres", servers.free_port())
        self.redis = servers.Redis(self.folder / "redis", servers.free_port())
        self.servers += [self.postgres, self.redis]
        self.postgres.start()
        self.redis.start()
        self.admin = f"host=127.0.0.1 port={self.postgres.port} user=warehouse dbname="
        tables = self.disk / "tables"
        tables.mkdir()
        if os.geteuid() == 0:
            import shutil

            shutil.chown(tables, "postgres")
        with psycopg.connect(self.admin + "postgres", autocommit=True) as connection:
            connection.execute(f"create tablespace small location '{tables}'")  # type: ignore[arg-type]
            connection.execute("create database warehouse tablespace small")
        with psycopg.connect(self.admin + "warehouse") as connection:
            connection.execute("create extension postgis")
        self.env |= {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.postgres.port),
            "PGUSER": "warehouse",
            "PGDATABASE": "warehouse",
            "REDIS_URL": f"redis://127.0.0.1:{self.redis.port}/0",
        }

    def close(self) -> None:
        """End everything."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for command in self.commands:
            command.kill()
        for server in self.servers:
            server.stop()
        if self.has_disk:
            prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
            subprocess.run([*prefix, "umount", "-l", str(self.disk)], check=True)

    def write_editions(self) -> None:
        """Write both editions."""
        for number, mark in enumerate(MARKS):
            self.points, self.expected[mark] = write_edition(
                ROOT / "sample" / "boundaries-levels.zip",
                self.edition(mark),
                mark,
                is_reversed=number == 1,
                copies=self.copies,
            )

    def edition(self, mark: str) -> Path:
        """Return the file of an edition."""
        return self.folder / f"edition-{mark[-1].lower()}.gpkg"

    # what is done to it

    def set_clock(self, seconds: float) -> None:
        """Shift the clock of all processes of the warehouse, from now on. The servers are other hosts."""
        if not self.clock.exists():
            self.clock.write_bytes(bytes(8))
        with self.clock.open("r+b") as file:
            file.write(struct.pack("d", seconds))

    def fill_disk(self) -> None:
        """Let no further block be written to the disk."""
        while True:
            used = os.statvfs(self.disk)
            size = (used.f_blocks - used.f_bfree) * used.f_frsize
            if self._mount(f"remount,size={size}").returncode == 0:  # otherwise it holds more by now
                return

    def free_disk(self) -> None:
        """Let the disk have room again."""
        self._mount(f"remount,size={DISK_MEGABYTES}m")

    def aim(self, stage: str, seconds: float) -> None:
        """Let the process that goes through a stage next be killed so long after it has begun it."""
        for path in self.aims.glob(f"{stage}*"):
            path.unlink()
        draft = self.folder / f"{stage}.draft"
        draft.write_text(str(seconds))
        draft.rename(self.aims / stage)

    def has_struck(self, stage: str) -> bool:
        """Whether a process took the aim at a stage, and is dead. An aim that nobody took is withdrawn."""
        (self.aims / stage).unlink(missing_ok=True)
        for path in self.aims.glob(f"{stage}.*"):
            process = int(path.name.rpartition(".")[2])
            for _ in range(100):
                if not is_alive(process):
                    return True
                time.sleep(0.05)
        return False

    # what is asked of it

    def ledger(self, sql: str, *, is_waiting: bool = True) -> list[tuple[Any, ...]]:
        """Ask the ledger, of which ``{raw}`` in the query is the schema. One that does not answer is waited for."""
        deadline = time.monotonic() + (PATIENCE_SECONDS if is_waiting else 0)
        while True:
            try:
                if self.target == "postgres":
                    with psycopg.connect(self.admin + "warehouse") as postgres:
                        return postgres.execute(sql.format(raw="raw.")).fetchall()  # type: ignore[arg-type]
                path = self.home / "ledger.sqlite"
                with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as sqlite:
                    return sqlite.execute(sql.format(raw="")).fetchall()
            except (psycopg.OperationalError, sqlite3.OperationalError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def runs(self) -> dict[str, str]:
        """Return the state of every run of the boundaries."""
        try:
            return dict(self.ledger("select run_id, state from {raw}ingest_runs where dataset = 'gadm'"))  # type: ignore[arg-type]
        except psycopg.errors.UndefinedTable:
            return {}

    def published(self) -> str | None:
        """Return the run that is published."""
        return next((run for run, state in self.runs().items() if state == "published"), None)

    def holders(self, run_id: str) -> list[Holder]:
        """Return what processes hold of a run."""
        columns = "{number}, worker, attempts from {{raw}}ingest_{table} where run_id = '{run}' and state = 'running'"
        found = []
        for what, number in (("files", "file_no"), ("slices", "slice_no")):
            query = "select " + columns.format(number=number, table=what, run=run_id)
            found += [(what, *row) for row in self.ledger(query)]
        query = (
            f"select 0, worker, stage_attempts from {{raw}}ingest_runs where run_id = '{run_id}' "
            "and state in ('planning', 'publishing') and lease_until is not null"
        )
        found += [("stage", *row) for row in self.ledger(query)]
        return [Holder(w, n, int(worker.rpartition(":")[2]), attempts) for w, n, worker, attempts in found if worker]

    def attempts(self, run_id: str, holder: Holder) -> int:
        """Return how often what somebody held has been claimed by now."""
        table, number, column = {
            "files": ("ingest_files", "file_no", "attempts"),
            "slices": ("ingest_slices", "slice_no", "attempts"),
            "stage": ("ingest_runs", "0", "stage_attempts"),
        }[holder.what]
        query = f"select {column} from {{raw}}{table} where run_id = '{run_id}' and {number} = {holder.number}"
        ((attempts,),) = self.ledger(query)
        return int(attempts)

    @contextmanager
    def asking(self) -> Iterator[Ask]:
        """Yield what asks the warehouse."""
        if self.target == "postgres":
            yield lambda sql: self.ledger(sql.replace("{", "{{").replace("}", "}}"))
            return
        exists = self.file.exists()
        with duckdb.connect(str(self.file) if exists else ":memory:", read_only=exists) as file:
            load_spatial(file)
            file.execute("set enable_progress_bar = false")
            yield lambda sql: file.execute(sql).fetchall()

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the warehouse one question."""
        with self.asking() as ask:
            return ask(sql)

    def counts(self) -> dict[int, tuple[int, int]]:
        """Return the rows and the different features of every published staging table."""
        with self.asking() as ask:
            query = "select count(*), count(distinct source_fid) from "
            return {level: ask(query + self._staging(level))[0] for level in LEVELS}

    def _staging(self, level: int) -> str:
        name = f"gadm_adm_{level}"
        if self.target == "postgres":
            return f"raw.{name}"
        return f"read_parquet('{self.home}/raw/gadm/current/{name}/*.parquet')"

    def tables(self) -> Digests:
        """Return rows and a digest of every published staging table and every mart, whatever their order.

        What names a build or a run is left out.
        """
        with self.asking() as ask:
            staging = {f"gadm_adm_{level}": self._digest(ask, self._staging(level)) for level in LEVELS}
            names = ask("select distinct table_name::text from information_schema.tables where table_schema = 'marts'")
            marts = {name: self._digest(ask, f"marts.{name}") for (name,) in names if name not in TELL_OF_BUILDS}
            return {"raw": staging, "marts": marts}

    def _digest(self, ask: Ask, table: str) -> tuple[int, str]:
        text = "text" if self.target == "postgres" else "varchar"
        row = ", ".join(f"{name}::{text}" for name in self._columns(ask, table) if name not in NAMES_A_BUILD)
        ((rows, digest),) = ask(
            "select count(*), md5(string_agg(line, '' order by line)) "
            f"from (select md5(row({row})::{text}) as line from {table}) as lines"
        )
        return rows, digest

    def _columns(self, ask: Ask, table: str) -> list[str]:
        if self.target == "embedded":
            return [row[0] for row in ask(f"describe select * from {table}")]
        schema, _, name = table.partition(".")
        query = (
            "select column_name::text from information_schema.columns "
            f"where table_schema = '{schema}' and table_name = '{name}' order by ordinal_position"
        )
        return [name for (name,) in ask(query)]

    def built(self) -> str:
        """Return the run that the marts are of."""
        ((run,),) = self.ask("select run_id from marts.marts_meta where dataset = 'gadm'")
        return str(run)

    def stored_runs(self) -> set[str]:
        """Return the runs of the boundaries that have tables or files."""
        if self.target == "embedded":
            return {path.name for path in (self.home / "raw" / "gadm" / "runs").iterdir()} - {"empty"}
        tables = self.ask("select tablename::text from pg_tables where schemaname = 'raw'")
        return {name.rpartition("__")[2] for (name,) in tables if name.startswith("gadm_adm_")} - {"empty"}

    def drafts(self) -> list[str]:
        """Return the files that whatever was killed has left half-written, and schemas that a build has left."""
        found = [str(path) for path in self.temporary.iterdir()]
        if self.target == "embedded":
            found += [str(path) for path in (self.home / "raw").rglob(".*")]
            found += [str(path) for path in (self.home / "build").iterdir() if path.name != "lock"]
            return found
        schemas = [name for (name,) in self.ask("select nspname::text from pg_namespace order by 1")]
        found += [f"schema {name}" for name in schemas if name.endswith("_next") or "_old_" in name]
        editions = [name for name in schemas if name.startswith("marts_edition_")]
        return found + ([f"schemas {', '.join(editions)}"] if len(editions) > 1 else [])

    # commands and processes

    def ingest(self, *arguments: str, **env: str) -> Command:
        """Start ``python -m ingest``."""
        log = self._next_log()
        with log.open("wb") as output:
            command = [sys.executable, "-m", "ingest", *arguments]
            process = subprocess.Popen(command, cwd=ROOT, env={**self.env, **env}, stdout=output, stderr=output)
        return self._note(f"ingest {' '.join(arguments)}", process, log)

    def load(self, mark: str, *options: str) -> Command:
        """Start a load of an edition."""
        return self.ingest("gadm", "--source", str(self.edition(mark)), "--workers", "2", *options)

    def build(self, *options: str) -> Command:
        """Start ``dbt build``."""
        log = self._next_log()
        # the copies lie on each other, which is all faults for what is derived
        arguments = ("build", *options, "--exclude", "tag:derived", "--vars", PATIENCE)
        return self._note(
            " ".join(["dbt build", *options]), forked.Fork("dbt", arguments, ROOT, self.env, [log] * 2), log
        )

    def _next_log(self) -> Path:
        log = self.logs / f"{len(self.commands):04}.log"
        log.touch()
        return log

    def _note(self, label: str, process: subprocess.Popen[bytes] | forked.Fork, log: Path) -> Command:
        command = Command(label, process, log)
        self.commands.append(command)
        return command

    def expect(self, command: Command) -> Command:
        """Wait for a command that must succeed."""
        if code := command.wait():
            raise RuntimeError(f"{command.label} ended with {code}:\n{command.output[-4000:]}")
        return command

    def processes(self) -> dict[int, int]:
        """Return the processes of this warehouse, except the harness's own and the servers, and their parents."""
        mark, found = f"CHAOS_FOLDER={self.folder}\0".encode(), {}
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError, IndexError):
                state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z" and mark in (path / "environ").read_bytes() + b"\0":
                    found[int(path.name)] = int(parent)
        return found

    def consumers(self) -> list[int]:
        """Return the main processes of consumers."""
        processes = self.processes()
        workers = {process for process in processes if _is_worker(process)}
        return [process for process in workers if processes[process] not in workers]

    def wait_for_processes(self) -> Iterator[str]:
        """Yield what has not ended some time after the commands have."""
        deadline = time.monotonic() + ENDING_SECONDS
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in left:
            yield f"process {process}: {_command_line(process)}"
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def is_alive(process: int) -> bool:
    """Whether a process runs, and is not only waiting for its parent to take notice of its end."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _is_worker(process: int) -> bool:
    return " -m ingest worker " in _command_line(process)
