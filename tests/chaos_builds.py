"""Publish, roll back and kill while ``dbt build`` runs, and see what readers that never stop asking are told.

``make chaos`` runs it after `tests.chaos`, on both targets: ``python -m tests.chaos_builds --rounds 10``. Each round
starts a build, whole or partial, and at random moments publishes the other of two editions of a small file, rolls back,
or kills dbt and builds again. The marts must then be those of a quiet build, before and after a last build.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from admin_boundaries.duckdb_spatial import load_spatial
from tests import chaos
from tests.chaos_readers import Place, Readers, Tally
from tests.conftest import ROOT
from tests.fixtures.editions import write_edition
from tests.integration import servers

TARGETS = ("embedded", "postgres")
FAULTS = ("publication", "rollback", "kill")
BUILDS = (
    *((),) * 3,
    ("-s", "admin_units+"),
    ("-s", "int_admin_units__parents_resolved+"),
    ("--exclude", "admin_anomalies"),
)
MARKS = ("~A", "~B")
COMMAND_SECONDS = 300
MOMENTS = (-0.3, 0.95)  # of a build: below zero, before its first step, which is where dbt spends half of its time
STEP = re.compile(r"(\d+) of (\d+) START")
PATIENCE = "{publish_patience: 240}"  # a part waits for readers of whom one or another always sits in a transaction
GROWTH = 1.05  # of the DuckDB file from one whole build to the next
NAMES_A_BUILD = ("run_id", "build_id", "built_at", "published_at")
RUN_IS_GONE = "The marts are of a run whose tables are gone"
Digest = dict[str, tuple[int, str]]


@dataclass
class Report:
    """What happened in all rounds, and what readers were told."""

    rounds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    builds: Counter[str] = field(default_factory=Counter)
    told: Tally = field(default_factory=Tally)
    untrue: list[str] = field(default_factory=list)
    rounds_that_differ: int = 0
    leftovers: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = {
            "rounds": self.rounds,
            "faults injected": _listed(self.faults),
            "builds": _listed(self.builds),
            "reads": f"{self.told.reads:,}",
            "editions seen": len(self.told.marks),
            "longest wait for a short answer": f"{self.told.longest:.2f} s ({self.told.slowest})",
            "mixed reads": len(self.told.mixed) + len(self.untrue),
            "empty answers": len(self.told.empty),
            "errors of readers": len(self.told.errors),
            "builds that failed": self.builds["failed"],
            "rounds whose marts differ": self.rounds_that_differ,
            "left behind": len(self.leftovers),
        }
        return "\n".join([f"{name:<34} {value}" for name, value in lines.items()] + self.complaints)

    @property
    def complaints(self) -> list[str]:
        """What readers should not have been told, each once, and what was left behind."""
        told = self.told
        return list(dict.fromkeys([*told.mixed, *self.untrue, *told.empty, *told.errors, *self.leftovers]))

    @property
    def is_clean(self) -> bool:
        """Whether readers saw only whole editions, and every round ended with the same marts."""
        return not (self.complaints or self.builds["failed"] or self.rounds_that_differ)


def _listed(counted: Counter[str]) -> str:
    return f"{counted.total()} ({', '.join(f'{name} {count}' for name, count in sorted(counted.items()))})"


class Yard(chaos.Ground):
    """Two editions of a file, published in turn, and the marts that are built of them."""

    def __init__(self, folder: Path, target: str) -> None:
        super().__init__(folder, target)
        self.target = target
        self.home = folder / "home"
        self.file = self.home / "warehouse.duckdb"
        self.log = folder / "builds.log"
        self.points: list[tuple[float, float]] = []
        for number, mark in enumerate(MARKS):
            self.points = write_edition(
                ROOT / "sample" / "boundaries-levels.zip", self._edition(mark), mark, is_reversed=number == 1
            )
        self.mark_of: dict[str, str] = {}

    def _edition(self, mark: str) -> Path:
        return self.folder / f"edition-{mark[-1].lower()}.gpkg"

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the warehouse, of its ledger or of the marts."""
        if self.target == "postgres":
            return self.query(sql)
        ledger = f"read_parquet('{self.home}/raw/ledger/ingest_runs.parquet')"
        with duckdb.connect(str(self.file) if self.file.exists() else ":memory:", read_only=self.file.exists()) as file:
            load_spatial(file)
            return file.execute(sql.replace("raw.ingest_runs", ledger)).fetchall()

    def published(self) -> str:
        """Return the run that is published."""
        ((run,),) = self.ask("select run_id from raw.ingest_runs where dataset = 'gadm' and state = 'published'")
        return str(run)

    def publish(self, mark: str | None = None) -> subprocess.Popen[bytes]:
        """Start a load of an edition: of the one that is not published."""
        mark = mark or next(other for other in MARKS if other != self.mark_of[self.published()])
        self._loading = mark
        return self.command("gadm", "--source", str(self._edition(mark)), "--workers", "2", "--force")

    def finish(self, load: subprocess.Popen[bytes] | None) -> None:
        """Wait until a load has published its run."""
        if load is not None:
            self._expect(load)
            self.mark_of[self.published()] = self._loading

    def roll_back(self) -> None:
        """Return to the publication before."""
        self._expect(self.command("rollback", "gadm"))

    def _expect(self, command: subprocess.Popen[bytes]) -> None:
        if command.wait(COMMAND_SECONDS):
            log = (self.folder / "commands.log").read_text()
            raise RuntimeError(f"{command.args!r} ended with {command.returncode}:\n{log[-4000:]}")

    def start_build(self, options: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start ``dbt build``."""
        with self.log.open("wb") as output:
            return subprocess.Popen(
                [str(Path(sys.executable).with_name("dbt")), "build", *options, "--vars", PATIENCE],
                cwd=ROOT,
                env=self.env,
                stdout=output,
                stderr=output,
            )

    def build(self) -> None:
        """Build all marts; a build that fails is an error of the round."""
        if self.start_build().wait(COMMAND_SECONDS):
            raise RuntimeError(f"dbt build failed:\n{self.log.read_text()[-4000:]}")

    def digest(self) -> Digest:
        """Return rows and a digest of every mart, whatever their order; what names build and run is left out."""
        text = "text" if self.target == "postgres" else "varchar"
        columns: dict[str, list[str]] = {}
        for table, column in self.ask(
            "select table_name, column_name from information_schema.columns "
            "where table_schema = 'marts' order by table_name, ordinal_position"
        ):
            columns.setdefault(table, []).append(column)
        found = {}
        for table, names in columns.items():
            row = ", ".join(f"{name}::{text}" for name in names if name not in NAMES_A_BUILD)
            ((rows, digest),) = self.ask(
                "select count(*), md5(string_agg(line, '' order by line)) "
                f"from (select md5(row({row})::{text}) as line from marts.{table}) as lines"
            )
            found[table] = (rows, digest)
        return found

    def leftovers(self, *, is_quiet: bool) -> list[str]:
        """Return what builds have left behind. A reader may still need the edition before, unless all is quiet."""
        if self.target == "embedded":
            found = [f"{path} is left" for path in (self.home / "build").iterdir() if path.name != "lock"]
            size = self.file.stat().st_size
            if is_quiet and size > GROWTH * self.size:
                found.append(f"{self.file} has grown from {self.size:,} to {size:,} bytes")
            return found
        schemas = [name for (name,) in self.query("select nspname from pg_namespace order by 1")]
        found = [f"schema {name} is left" for name in schemas if name.endswith("_next")]
        if is_quiet:
            found += [f"schema {name} is left" for name in schemas if "_old_" in name]
            editions = [name for name in schemas if name.startswith("marts_edition_")]
            found += [f"schemas {', '.join(editions)} are left"] if len(editions) > 1 else []
        return found

    def prepare(self) -> dict[str, Digest]:
        """Publish and build both editions; return the marts of each."""
        wanted = {}
        for mark in MARKS:
            self.finish(self.publish(mark))
            began = time.monotonic()
            self.build()
            self.seconds = time.monotonic() - began
            self.seconds_before_steps = self.seconds / 2
            wanted[mark] = self.digest()
        self.size = self.file.stat().st_size if self.target == "embedded" else 0
        return wanted

    def place(self) -> Place:
        """Return what readers need to know."""
        ((units,),) = self.ask("select count(*) from marts.admin_units")
        address = self.admin + "warehouse" if self.target == "postgres" else str(self.file)
        return Place(self.target, address, units, tuple(self.points))


def play(
    yard: Yard,
    options: Sequence[str],
    faults: Sequence[str],
    moments: Sequence[float],
    dice: random.Random,
    report: Report,
) -> None:
    """Play one round: a build, faults at moments of it (see `_wait_for`), and its end."""
    build, load = yard.start_build(options), None
    for moment, fault in zip(moments, faults, strict=True):
        _wait_for(yard, build, moment)
        if fault == "kill":
            if build.poll() is not None:  # an earlier fault took longer than the build
                _judge(build, yard, report)
                build = yard.start_build(options)
                _wait_for(yard, build, dice.uniform(*MOMENTS))
            build.kill()
            build.wait()
            report.builds["killed"] += 1
            build = yard.start_build(options)
        else:
            yard.finish(load)
            load = None
            if fault == "publication":
                load = yard.publish()
            else:
                yard.roll_back()
        report.faults[fault] += 1
    yard.finish(load)
    _judge(build, yard, report)


def _wait_for(yard: Yard, build: subprocess.Popen[bytes], moment: float) -> None:
    """Wait until a build has begun a share of its steps; below zero, a share of the time before its first step."""
    if moment < 0:
        time.sleep((1 - moment / MOMENTS[0]) * yard.seconds_before_steps)
        return
    while build.poll() is None:
        steps = STEP.findall(yard.log.read_text())
        if steps and int(steps[-1][0]) >= moment * int(steps[-1][1]):
            return
        time.sleep(0.02)


def _judge(build: subprocess.Popen[bytes], yard: Yard, report: Report) -> None:
    """Wait for a build: it ends well, unless it is a partial one whose run is no longer kept."""
    if build.wait(COMMAND_SECONDS) == 0:
        report.builds["published"] += 1
    elif RUN_IS_GONE in (log := yard.log.read_text()):
        report.builds["refused, as the run is gone"] += 1
    else:
        report.builds["failed"] += 1
        report.leftovers.append(f"a build failed: {log[-2000:]}")


def differs(yard: Yard, wanted: dict[str, Digest], *, is_last: bool) -> bool:
    """Return whether the marts differ from a quiet build of their run, or, after a last build, are of another run."""
    ((built,),) = yard.ask("select run_id from marts.marts_meta where dataset = 'gadm'")
    return yard.digest() != wanted[yard.mark_of[built]] or (is_last and built != yard.published())


def add_told(report: Report, told: Tally, mark_of: dict[str, str]) -> None:
    """Add what readers were told, and compare the mark in every answer with that of its run."""
    report.told.add(told)
    report.untrue += [
        f"{count} answers of run {run}, with names of {mark}"
        for (run, mark), count in told.marks.items()
        if mark_of.get(run) != mark
    ]


def check_after(yard: Yard, report: Report) -> None:
    """Build with nobody else there, and see what is left."""
    yard.build()
    report.leftovers += yard.leftovers(is_quiet=True)


def run(target: str, rounds: int, seed: int, say: Callable[[str], object] = print) -> Report:
    """Play rounds of random faults.

    Parameters
    ----------
    target : str
        ``embedded`` or ``postgres``.
    rounds, seed : int
        How many, and what the dice begin with: the same seed chooses the same builds, faults and moments.
    say : callable
        Takes a line per round.

    Returns
    -------
    Report
    """
    dice, report = random.Random(seed), Report()
    with servers.open_folder() as folder:
        yard = Yard(folder, target)
        try:
            wanted = yard.prepare()
            say(f"{target}: a build without a fault takes {yard.seconds:.1f} s")
            with Readers(yard.place()) as readers:
                for number in range(1, rounds + 1):
                    options = dice.choice(BUILDS)
                    faults = [dice.choice(FAULTS) for _ in range(dice.randint(1, 3))]
                    began = time.monotonic()
                    moments = sorted(dice.uniform(*MOMENTS) for _ in faults)
                    play(yard, options, faults, moments, dice, report)
                    has_changed = differs(yard, wanted, is_last=False)
                    yard.build()
                    has_changed |= differs(yard, wanted, is_last=True)
                    report.rounds += 1
                    report.rounds_that_differ += has_changed
                    report.leftovers += yard.leftovers(is_quiet=False)
                    add_told(report, readers.told(), yard.mark_of)
                    seconds = time.monotonic() - began
                    what = f"build {' '.join(options)}".strip() + f": {' + '.join(faults)}"
                    outcome = "DIFFERS" if has_changed else "the same marts"
                    say(f"round {number:2}: {what:<80} {seconds:5.1f} s, {outcome}")
            add_told(report, readers.told(), yard.mark_of)
            check_after(yard, report)
        finally:
            yard.close()
    return report


def main() -> None:
    """Run from the command line; exit code 1 when a reader was told anything but a whole edition, or marts differ."""
    parser = argparse.ArgumentParser(description="Publications, rollbacks and kills over builds, and what readers see.")
    parser.add_argument("--rounds", type=int, default=10, help="on each target")
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one")
    arguments = parser.parse_args()
    is_clean = True
    for target in arguments.target or TARGETS:
        report = run(target, arguments.rounds, arguments.seed)
        print(report)
        is_clean &= report.is_clean
    sys.exit(not is_clean)


if __name__ == "__main__":
    main()
