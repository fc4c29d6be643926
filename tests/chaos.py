"""Kill things at random while a load runs, let it be finished, and see whether anything was lost or doubled.

``make chaos`` runs thirty rounds: ``python -m tests.chaos --rounds 30``. Each round loads the same file anew into the
same warehouse while workers, the consumer, Redis, PostgreSQL and the command itself are killed, lets ``resume`` finish
what is missing, builds the marts, and compares every staging table and every mart with those of a quiet round.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.conftest import ROOT
from tests.fixtures.world import write_world
from tests.integration import servers

AIM_SECONDS = 60.0  # so long a fault waits for something to hit, as long as the command lives: a busy machine is slow
OUTAGE_SECONDS = (0.2, 2.0)
PATIENCE_SECONDS = 180
FAULTS = ("worker", "consumer", "command", "redis", "postgres")
RAW_TABLES = tuple(f"gadm_adm_{level}" for level in range(6))


@dataclass
class Report:
    """What happened in all rounds."""

    rounds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    slices_repeated: int = 0
    runs_resumed: int = 0
    runs_begun_anew: int = 0
    publications_reloaded: int = 0
    rows_lost: int = 0
    rows_doubled: int = 0
    rounds_that_differ: int = 0

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        lines = {
            "rounds": self.rounds,
            "faults injected": f"{self.faults.total()} ({faults})",
            "slices repeated": self.slices_repeated,
            "runs resumed": self.runs_resumed,
            "runs begun anew": self.runs_begun_anew,
            "publications emptied by a crash, loaded again": self.publications_reloaded,
            "rows lost": self.rows_lost,
            "rows doubled": self.rows_doubled,
            "rounds whose tables differ": self.rounds_that_differ,
        }
        return "\n".join(f"{name:<46} {value}" for name, value in lines.items())

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, doubled or changed."""
        return not (self.rows_lost or self.rows_doubled or self.rounds_that_differ)


class Ground:
    """A warehouse of one's own, with the servers that its target needs."""

    def __init__(self, folder: Path, target: str = "postgres") -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "WAREHOUSE_TARGET": target,
            "WAREHOUSE_HOME": str(folder / "home"),
            "DBT_TARGET_PATH": str(folder / "target"),
            "DBT_LOG_PATH": str(folder / "dbt-logs"),
            "PYTHONPATH": str(ROOT),
        }
        self.servers: list[servers.Postgres | servers.Redis] = []
        if target == "postgres":
            self._serve()

    def _serve(self) -> None:
        self.postgres = servers.Postgres(self.folder / "postgres", servers.free_port())
        self.redis = servers.Redis(self.folder / "redis", servers.free_port())
        self.servers += [self.postgres, self.redis]
        self.postgres.start()
        self.redis.start()
        self.admin = f"host=127.0.0.1 port={self.postgres.port} user=warehouse dbname="
        with psycopg.connect(self.admin + "postgres", autocommit=True) as connection:
            connection.execute("create database warehouse")
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
        """Stop the servers."""
        for server in self.servers:
            server.stop()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL; a server that is just coming back is waited for."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with psycopg.connect(self.admin + "warehouse") as connection:
                    return connection.execute(sql).fetchall()  # type: ignore[arg-type]
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def command(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start ``python -m ingest``, its output in a file."""
        with (self.folder / "commands.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "ingest", *arguments], cwd=ROOT, env=self.env, stdout=output, stderr=output
            )


class Arena(Ground):
    """PostgreSQL, and a file that takes long enough to load."""

    def __init__(self, folder: Path, copies: int) -> None:
        super().__init__(folder)
        self.file = folder / "world.gpkg"
        self.expected = write_world(ROOT / "sample" / "boundaries-levels.zip", self.file, copies)

    def load(self, *, is_forced: bool = True) -> subprocess.Popen[bytes]:
        """Start a load of the file."""
        force = ["--force"] if is_forced else []
        return self.command("gadm", "--source", str(self.file), "--workers", "2", *force)

    def is_whole(self) -> bool:
        """Return whether the staging tables hold all rows."""
        counts = {level: self.query(f"select count(*) from raw.gadm_adm_{level}")[0][0] for level in self.expected}
        return counts == self.expected

    def build(self) -> None:
        """Build the marts; a build that fails is an error of the round."""
        dbt = str(Path(sys.executable).with_name("dbt"))
        done = subprocess.run([dbt, "build"], cwd=ROOT, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"dbt build failed:\n{done.stdout[-4000:]}")

    def newest_run(self) -> tuple[str, str] | None:
        """Return id and state of the newest run."""
        if not self.query("select to_regclass('raw.ingest_runs') is not null")[0][0]:
            return None
        rows = self.query("select run_id, state from raw.ingest_runs order by requested_at desc, run_id desc limit 1")
        return (rows[0][0], rows[0][1]) if rows else None

    def digest(self, schema: str) -> dict[str, tuple[int, str]]:
        """Return rows and a digest of every table of a schema, whatever their order; what names the run is left out."""
        found = {}
        tables = [
            name
            for (name,) in self.query(
                "select distinct table_name from information_schema.columns "
                f"where table_schema = '{schema}' and table_name not like 'ingest%' "
                "and table_name not like '%\\_\\_%' and table_name not in ('marts_meta', 'published_runs') order by 1"
            )
        ]
        for table in tables:
            columns = ", ".join(
                name
                for (name,) in self.query(
                    f"select column_name from information_schema.columns where table_schema = '{schema}' "
                    f"and table_name = '{table}' and column_name <> 'run_id' order by ordinal_position"
                )
            )
            lines = f"select md5(row({columns})::text) as line from {schema}.{table}"
            ((rows, digest),) = self.query(f"select count(*), md5(string_agg(line, '' order by line)) from ({lines}) t")
            found[table] = (rows, digest)
        return found

    def processes(self, of_consumer: bool) -> list[int]:
        """Return the process ids of the consumer, or of its workers."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                command = (path / "cmdline").read_bytes().split(b"\0")
                environ = (path / "environ").read_bytes()
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if b"worker" not in command or str(self.folder).encode() not in environ:
                continue
            is_worker = _runs_worker(parent)
            if is_worker != of_consumer:
                found.append(int(path.name))
        return found


def _runs_worker(process: int) -> bool:
    try:
        return b"worker" in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def inject(arena: Arena, fault: str, command: subprocess.Popen[bytes], dice: random.Random) -> bool:
    """Do one fault; False when there was nothing to hit."""
    if fault in ("worker", "consumer"):
        deadline = time.monotonic() + AIM_SECONDS
        while not (targets := arena.processes(of_consumer=fault == "consumer")):
            if command.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        os.kill(dice.choice(targets), signal.SIGKILL)
    elif fault == "command":
        if command.poll() is not None:
            return False
        command.kill()
    else:
        server, end = (arena.redis, arena.redis.stop) if fault == "redis" else (arena.postgres, arena.postgres.crash)
        end()
        time.sleep(dice.uniform(*OUTAGE_SECONDS))
        server.start()
    return True


def finish(arena: Arena, command: subprocess.Popen[bytes], before: str | None, report: Report) -> str:
    """See a load through to its publication as a person would: wait, resume, and begin anew only if nothing is left."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        command.wait(PATIENCE_SECONDS)
        run = arena.newest_run()
        if run is not None and run[0] != before and run[1] == "published":
            if arena.is_whole():
                return run[0]
            report.publications_reloaded += (
                1  # what is unlogged is empty after a crash; the next load notices by itself
            )
            command, before = arena.load(is_forced=False), run[0]
            continue
        if run is None or run[0] == before or run[1] == "failed":
            report.runs_begun_anew += run is not None and run[0] != before
            command = arena.load()
        else:
            report.runs_resumed += 1
            command = arena.command("resume", run[0])
    raise RuntimeError(f"The load did not end within {PATIENCE_SECONDS} s: {arena.newest_run()}; see {arena.folder}.")


def play(arena: Arena, faults: Sequence[str], within: float, dice: random.Random, report: Report) -> None:
    """Play one round: a load, faults at random moments ``within`` so many seconds, and its end."""
    run = arena.newest_run()
    before = run[0] if run else None
    command = arena.load()
    moments = sorted(dice.uniform(0.2, 1.0) * within for _ in faults)
    started = time.monotonic()
    for moment, fault in zip(moments, faults, strict=True):
        time.sleep(max(0.0, moment - (time.monotonic() - started)))
        report.faults[fault] += inject(arena, fault, command, dice)
    run_id = finish(arena, command, before, report)
    ((repeated,),) = arena.query(f"select sum(attempts - 1) from raw.ingest_slices where run_id = '{run_id}'")
    report.slices_repeated += int(repeated or 0)
    for level, expected in arena.expected.items():
        ((rows, units),) = arena.query(f"select count(*), count(distinct source_fid) from raw.gadm_adm_{level}")
        report.rows_lost += expected - units
        report.rows_doubled += rows - units
    report.rounds += 1


def run(rounds: int, seed: int, copies: int, say: Callable[[str], object] = print) -> Report:
    """Play rounds of random faults.

    Parameters
    ----------
    rounds, seed : int
        How many, and what the dice begin with: the same seed chooses the same faults and moments.
    copies : int
        Size of the file, in copies of the sample.
    say : callable
        Takes a line per round.

    Returns
    -------
    Report
    """
    dice, report = random.Random(seed), Report()
    with servers.open_folder() as folder:
        arena = Arena(folder, copies)
        try:
            quiet = Report()
            play(arena, [], 0, dice, quiet)  # the first one makes the ledger
            began = time.monotonic()
            play(arena, [], 0, dice, quiet)
            within = time.monotonic() - began
            say(f"a load without a fault takes {within:.1f} s")
            arena.build()
            wanted = {schema: arena.digest(schema) for schema in ("raw", "marts")}
            for number in range(1, rounds + 1):
                faults = [dice.choice(FAULTS) for _ in range(dice.randint(1, 3))]
                began = time.monotonic()
                play(arena, faults, within, dice, report)
                arena.build()
                differs = {schema: arena.digest(schema) for schema in wanted} != wanted
                report.rounds_that_differ += differs
                seconds = time.monotonic() - began
                outcome = "DIFFERS" if differs else "the same tables"
                say(f"round {number:2}: {' + '.join(faults):<32} {seconds:5.1f} s, {outcome}")
        finally:
            arena.close()
    return report


def main() -> None:
    """Run from the command line; exit code 1 when anything was lost, doubled or changed."""
    parser = argparse.ArgumentParser(description="Random kills over a load, and what is left of it.")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--copies", type=int, default=12, help="size of the file: copies of the sample, 11 MB each")
    arguments = parser.parse_args()
    report = run(arguments.rounds, arguments.seed, arguments.copies)
    print(report)
    sys.exit(not report.is_clean)


if __name__ == "__main__":
    main()
