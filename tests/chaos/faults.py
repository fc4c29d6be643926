"""The faults: each waits for something to hit, hits it, and says whether it struck.

A fault has struck when what it hit was at work: the killed process held a slice, the server was down while a run was in
progress, a command was refused beside it. Whether a fault that was aimed at a stage has struck is known at the end.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import psycopg

from ingest.ledger.migrations import STEPS
from tests.chaos.ground import MARKS, Ask, Command, Ground, Holder, is_alive
from tests.chaos.readers import Readers

ACTIVE = ("queued", "fetching", "planning", "loading", "publishing")
HOUR = 3600.0
OUTAGE_SECONDS = (0.2, 2.0)
STOPPED_SECONDS = 30.0  # within them, another process must have taken over what a stopped one holds
FULL_SECONDS = 8.0
SLOWED_SECONDS = 20.0
AFTER_OUTAGE_SECONDS = 2.0
LEDGERS = Path(__file__).parent.parent / "fixtures" / "ledgers"
FULL = ("No space left", "disk is full", "is full", "could not extend", "could not be completed", "disk I/O error")
RUN_IS_GONE = "The marts are of a run whose tables are gone"
STEP = re.compile(r"(\d+) of (\d+) START")
ROLES = ("loader", "transformer", "reader")
RIGHTS = """
    select 'schema', nspname::text, nspowner::regrole::text, nspacl::text from pg_namespace where nspname !~ '^pg_'
    union all
    select 'default', defaclrole::regrole::text, coalesce(defaclnamespace::regnamespace::text, ''), defaclacl::text
    from pg_default_acl
    union all
    select 'role', m.roleid::regrole::text, m.member::regrole::text, ''
    from pg_auth_members m where m.member::regrole::text ~ '_(loader|transformer|reader)$'
    order by 1, 2, 3
"""
OLD_ROWS = "select run_id, state, source, requested_at from {raw}ingest_runs order by run_id"
STEPS_APPLIED = "select step from {raw}ingest_migrations order by step"
BUILDS = (
    *((),) * 3,
    ("-s", "admin_units+"),
    ("-s", "int_admin_units__parents_resolved+"),
    ("--exclude", "admin_anomalies"),
)
MOMENTS = (0.2, 2.0)


@dataclass
class Round:
    """A load of the edition that is not published, a build beside it where a fault needs one, and what hits them."""

    ground: Ground
    readers: Readers
    dice: random.Random
    mark: str
    before: frozenset[str] = frozenset()
    counted: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)  # the runs that readers saw, one after the other
    is_crashed: bool = False  # what was published may have lost its rows
    is_full: bool = False
    load: Command | None = None
    building: Command | None = None

    @property
    def run_id(self) -> str | None:
        """The run of this round's load; if it was begun anew, the one that is in progress or was published."""
        new = {run: state for run, state in self.ground.runs().items() if run not in self.before}
        order = ("failed", "superseded", "published")
        return max(new, key=lambda run: (order.index(new[run]) if new[run] in order else len(order), run), default=None)

    @property
    def state(self) -> str | None:
        """The state of this round's run."""
        return self.ground.runs().get(self.run_id or "")

    @property
    def is_active(self) -> bool:
        """Whether the run of this round is in progress."""
        return self.state in ACTIVE

    def keep_going(self) -> None:
        """Resume the run when its command has ended before it, and no consumer is left."""
        if self.load is None or self.load.is_alive or self.ground.consumers():
            return
        self.load.wait()
        run = self.run_id
        if run is None or self.state == "failed":
            self.counted["runs begun anew"] += run is not None
            self.load = self.ground.load(self.mark, "--force")
        elif self.is_active:
            self.counted["runs resumed"] += 1
            self.load = self.ground.ingest("resume", run, "--workers", "2")

    def start_build(self) -> None:
        """Start a build of all marts, or of a part."""
        self.building = self.ground.build(*self.dice.choice(BUILDS))

    def judge_build(self) -> None:
        """Wait for the build: it ends well, unless its run is no longer kept, or its server or disk was away."""
        if self.building is None:
            return
        code, output = self.building.wait(), self.building.output
        if code == 0:
            self.counted["builds published"] += 1
        elif RUN_IS_GONE in output:
            self.counted["builds refused, as the run is gone"] += 1
        elif self.is_crashed or self.is_full:
            self.counted["builds that failed with their server or disk"] += 1
        else:
            self.counted["builds that failed"] += 1
            self.complaints.append(f"{self.building.label} failed: {output[-3000:]}")

    def is_hit(self, holder: Holder) -> bool:
        """Whether a process that was killed or stopped still holds what it held."""
        return any(
            each.process == holder.process and each.attempts == holder.attempts
            for each in self.ground.holders(self.run_id or "")
        )

    def target(self) -> Holder | None:
        """Wait until somebody holds something of the run, and return one of them; None once the run is published."""
        while self.state not in ("published", "superseded"):
            if found := [each for each in self.ground.holders(self.run_id or "") if is_alive(each.process)]:
                return self.dice.choice(found)
            self.keep_going()
            time.sleep(0.02)
        return None


Fault: TypeAlias = Callable[[Round], bool]


def kill_worker(round_: Round) -> bool:
    """Kill a worker that holds a file, a slice or a stage."""
    while (holder := round_.target()) is not None:
        with suppress(ProcessLookupError):
            os.kill(holder.process, signal.SIGKILL)
            while is_alive(holder.process):
                time.sleep(0.01)
            if round_.is_hit(holder):
                return True
    return False


def stop_worker(round_: Round) -> bool:
    """Stop a worker until another process has taken over what it holds, and let it go on."""
    while (holder := round_.target()) is not None:
        run = round_.run_id or ""
        with suppress(ProcessLookupError):
            os.kill(holder.process, signal.SIGSTOP)
            try:
                if _is_taken_over(round_, run, holder):
                    return True
            finally:
                os.kill(holder.process, signal.SIGCONT)
    return False


def _is_taken_over(round_: Round, run: str, holder: Holder) -> bool:
    time.sleep(0.1)
    if not round_.is_hit(holder):
        return False
    until = time.monotonic() + STOPPED_SECONDS
    while is_alive(holder.process) and time.monotonic() < until and round_.is_active:
        if round_.ground.attempts(run, holder) > holder.attempts:
            return True
        round_.keep_going()
        time.sleep(0.1)
    return False


def kill_consumer(round_: Round) -> bool:
    """Kill a consumer, and with it all its workers, while a run is in progress."""
    while round_.target() is not None:
        if consumers := round_.ground.consumers():
            os.kill(round_.dice.choice(consumers), signal.SIGKILL)
            return round_.is_active
    return False


def kill_command(round_: Round) -> bool:
    """Kill the command that waits for the run."""
    while round_.target() is not None:
        if round_.load is not None and round_.load.is_alive:
            round_.load.kill()
            return round_.is_active
        round_.keep_going()
    return False


@contextmanager
def _outage(round_: Round) -> Iterator[None]:
    """Excuse the errors of readers while their server is away, and shortly after."""
    round_.readers.excuse(True)
    try:
        yield
        time.sleep(AFTER_OUTAGE_SECONDS)
    finally:
        round_.readers.excuse(False)


def restart_redis(round_: Round) -> bool:
    """Kill Redis, which loses everything, and start it again."""
    if round_.target() is None:
        return False
    round_.ground.redis.stop()
    time.sleep(round_.dice.uniform(*OUTAGE_SECONDS))
    has_struck = round_.is_active
    round_.ground.redis.start()
    return has_struck


def crash_postgres(round_: Round) -> bool:
    """Crash PostgreSQL, and start it again."""
    if round_.target() is None:
        return False
    with _outage(round_):
        round_.ground.postgres.crash()
        time.sleep(round_.dice.uniform(*OUTAGE_SECONDS))
        round_.ground.postgres.start()
        round_.is_crashed = True
        return round_.is_active


def _shift_clock(hours: float) -> Fault:
    def shift(round_: Round) -> bool:
        if round_.target() is None:
            return False
        round_.ground.set_clock(hours * HOUR)
        time.sleep(0.1)
        has_struck = round_.target() is not None
        if round_.dice.random() < 0.5:  # otherwise it is off until the end of the round
            time.sleep(round_.dice.uniform(*MOMENTS))
            round_.ground.set_clock(0)
        return has_struck

    return shift


def _complaints_of_disk(round_: Round, *more: str) -> int:
    """Return how often consumers, the ledger, the command and other texts have said that the disk is full."""
    said = [path.read_text(errors="replace") for path in (round_.ground.home / "logs").glob("*.log")]
    said += [round_.load.output if round_.load else "", *more]
    with suppress(sqlite3.Error, psycopg.Error):
        said += [text for (text,) in round_.ground.ledger("select error from {raw}ingest_errors", is_waiting=False)]
    return sum(text.count(full) for text in said for full in FULL)


def fill_disk(round_: Round) -> bool:
    """Fill the disk up while a run is in progress, until somebody says so or some seconds have passed."""
    if round_.target() is None:
        return False
    before = _complaints_of_disk(round_)
    round_.is_full = True
    round_.ground.fill_disk()
    try:
        until = time.monotonic() + FULL_SECONDS
        while time.monotonic() < until and _complaints_of_disk(round_) <= before:
            time.sleep(0.2)
        time.sleep(round_.dice.uniform(*MOMENTS))
    finally:
        round_.ground.free_disk()
    return _complaints_of_disk(round_) > before


@contextmanager
def _slowed(round_: Round) -> Iterator[None]:
    """Stop all workers for a while: a command takes longer to start than a load of this size to end."""
    ground = round_.ground
    consumers, processes = ground.consumers(), ground.processes()
    workers = [process for process, parent in processes.items() if parent in consumers]

    def signal_all(number: int) -> None:
        for process in workers:
            with suppress(ProcessLookupError):
                os.kill(process, number)

    go_on = threading.Timer(SLOWED_SECONDS, signal_all, [signal.SIGCONT])  # they may hold a lock that others wait for
    go_on.start()
    signal_all(signal.SIGSTOP)
    try:
        yield
    finally:
        go_on.cancel()
        signal_all(signal.SIGCONT)


def load_second(round_: Round) -> bool:
    """Start a second load beside the first: it must be refused."""
    if round_.target() is None:
        return False
    with _slowed(round_):
        second = round_.ground.load(MARKS[0], "--force")
        code = second.wait()
    return "has not ended" in second.output and code == 1  # otherwise the first had ended, and this was the next


def roll_back(round_: Round) -> bool:
    """Roll back while a run is in progress: readers see the publication before, and then the run."""
    if round_.target() is None:
        return False
    states = round_.ground.runs()
    with _slowed(round_):
        code = round_.ground.ingest("rollback", "gadm").wait()
    if code:
        return False
    if not round_.is_active:
        round_.shown.clear()  # nobody can say whether it came before the load was published or after
        return False
    shown = next((run for run, state in round_.ground.runs().items() if states[run] == "superseded" != state), None)
    if shown is None:
        return False
    expected = next((run for run in reversed(round_.shown) if run != round_.shown[-1]), None)
    if expected not in (None, shown):
        round_.complaints.append(f"rollback returned to {shown}, but what readers saw before was {expected}")
    round_.shown.append(shown)
    return True


def build_beside(round_: Round) -> bool:
    """Have a build read what is published while a run is in progress."""
    building = round_.building
    return round_.target() is not None and building is not None and building.is_alive and round_.is_active


def kill_build(round_: Round) -> bool:
    """Kill a build after some of its steps, and start it again."""
    building = round_.building
    if building is None or not wait_for_steps(building, round_.dice.uniform(0, 0.9)):
        return False
    building.kill()
    round_.counted["builds killed"] += 1
    round_.start_build()
    return True


def fill_disk_in_build(round_: Round) -> bool:
    """Fill the disk up during a build until it fails."""
    building = round_.building
    if building is None or not wait_for_steps(building, round_.dice.uniform(0, 0.7)):
        return False
    round_.is_full = True
    round_.ground.fill_disk()
    try:
        building.wait()
    finally:
        round_.ground.free_disk()
    return any(full in building.output for full in FULL)


def prune(round_: Round) -> bool:
    """Remove what is superfluous while a run is in progress."""
    if round_.target() is None:
        return False
    with _slowed(round_):
        round_.ground.expect(round_.ground.ingest("prune"))
        return round_.is_active


def kill_prune(round_: Round) -> bool:
    """Kill the command that removes what is superfluous."""
    round_.ground.aim("prune", round_.dice.choice((0.0, round_.dice.uniform(0, 0.1))))
    round_.ground.ingest("prune").wait()
    return round_.ground.has_struck("prune")


def wait_for_steps(build: Command, share: float) -> bool:
    """Wait until a build has begun a share of its steps; False if it has ended before."""
    while build.is_alive:
        steps = STEP.findall(build.output)
        if steps and int(steps[-1][0]) >= share * int(steps[-1][1]):
            return True
        time.sleep(0.02)
    return False


def _aimed(stage: str) -> Fault:
    """Return a fault that was aimed at a stage when the round began: has it struck by the end?"""

    def is_struck(round_: Round) -> bool:
        return round_.ground.has_struck(stage)

    return is_struck


def kill_init(round_: Round) -> bool:
    """Kill `init` in a new database, and run it again: the rights are those of an `init` that nobody disturbed."""
    ground = round_.ground
    found = []
    for name in ("quiet", "hit"):
        with psycopg.connect(ground.admin + "postgres", autocommit=True) as connection:
            connection.execute(f"create database {name}")  # type: ignore[arg-type]
        roles = [f"{name}_{role}" for role in ROLES]
        options = [part for role in ROLES for part in (f"--{role}", f"{name}_{role}")]
        if name == "hit":
            ground.aim("init", round_.dice.uniform(0, 0.3))
            ground.ingest("init", *options, PGDATABASE=name).wait()
        ground.expect(ground.ingest("init", *options, PGDATABASE=name))
        with psycopg.connect(ground.admin + name, autocommit=True) as connection:
            rows = connection.execute(RIGHTS).fetchall()
            found.append(str(rows).replace(f"{name}_", ""))
        with psycopg.connect(ground.admin + "postgres", autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")  # type: ignore[arg-type]
            connection.execute(f"drop role {', '.join(roles)}")  # type: ignore[arg-type]
    if found[0] != found[1]:
        round_.complaints.append(f"init that was killed and run again gives other rights:\n{found[0]}\n{found[1]}")
    return ground.has_struck("init")


def kill_migration(round_: Round) -> bool:
    """Kill the command that upgrades a ledger of the first edition; the next one upgrades it, and nothing is lost."""
    ground, found = round_.ground, []
    ledger = LEDGERS / f"first_edition.{'postgres' if ground.target == 'postgres' else 'sqlite'}.sql"
    with _old_ledger(ground, ledger.read_text(encoding="utf-8")) as (env, ask):
        before = ask(OLD_ROWS)
        ground.aim("migration", round_.dice.uniform(0, 0.1))
        ground.ingest("status", **env).wait()
        has_struck = ground.has_struck("migration")
        found = [ground.expect(ground.ingest("status", **env)) and ask(query) for query in (OLD_ROWS, STEPS_APPLIED)]
        if found[0] != before:
            round_.complaints.append(f"the rows of a ledger have changed with its upgrade: {before}, then {found[0]}")
        if found[1] != [(step.number,) for step in STEPS if step.number > 1]:
            round_.complaints.append(f"a ledger was upgraded by the steps {found[1]}")
    return has_struck


@contextmanager
def _old_ledger(ground: Ground, script: str) -> Iterator[tuple[dict[str, str], Ask]]:
    home = ground.folder / "old"
    home.mkdir()
    make = _old_sqlite if ground.target == "embedded" else _old_postgres
    with make(ground, home, script) as made:
        yield made
    shutil.rmtree(home)


@contextmanager
def _old_sqlite(_ground: Ground, home: Path, script: str) -> Iterator[tuple[dict[str, str], Ask]]:
    path = home / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)

    def ask(sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute(sql.format(raw="")).fetchall()

    yield {"WAREHOUSE_HOME": str(home)}, ask


@contextmanager
def _old_postgres(ground: Ground, home: Path, script: str) -> Iterator[tuple[dict[str, str], Ask]]:
    def ask(sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(ground.admin + "old") as connection:
            return connection.execute(sql.format(raw="raw.")).fetchall()  # type: ignore[arg-type]

    with psycopg.connect(ground.admin + "postgres", autocommit=True) as admin:
        admin.execute("create database old")
        with psycopg.connect(ground.admin + "old") as connection:
            connection.execute(script)  # type: ignore[arg-type]
        yield {"WAREHOUSE_HOME": str(home), "PGDATABASE": "old"}, ask
        admin.execute("drop database old with (force)")


FAULTS: dict[str, Fault] = {
    "worker killed": kill_worker,
    "worker stopped": stop_worker,
    "consumer killed": kill_consumer,
    "command killed": kill_command,
    "Redis restarted": restart_redis,
    "PostgreSQL crashed": crash_postgres,
    "clock ahead": _shift_clock(1),
    "clock behind": _shift_clock(-1),
    "disk full": fill_disk,
    "disk full in build": fill_disk_in_build,
    "build beside": build_beside,
    "build killed": kill_build,
    "second load": load_second,
    "rollback beside": roll_back,
    "prune beside": prune,
    "prune killed": kill_prune,
    "planning killed": _aimed("planning"),
    "publication killed": _aimed("publication"),
    "retention killed": _aimed("retention"),
    "init killed": kill_init,
    "migration killed": kill_migration,
}
OF_SERVERS = ("Redis restarted", "PostgreSQL crashed", "init killed")
OF_BUILDS = ("build beside", "build killed", "disk full in build")
OF_DISKS = ("disk full", "disk full in build")
FIRST = ("build beside", "second load", "rollback beside", "prune beside")  # they leave the load as it is
ASIDE = ("init killed", "migration killed")  # in a warehouse of their own, whatever the load does
AIMED = {
    "planning killed": ("planning", 0.3),
    "publication killed": ("publication", 0.1),
    "retention killed": ("retention", 0.05),
}


def kinds(target: str, *, has_disk: bool = True) -> list[str]:
    """Return the kinds of faults of a target."""
    left_out = [
        *(OF_SERVERS if target == "embedded" else ()),
        *(OF_DISKS if not has_disk else ()),
    ]
    return [kind for kind in FAULTS if kind not in left_out]
