"""Rounds: a load that is hit while it lasts, seen through to its end as a person would, and what is left of it.

Each round loads the edition that is not published, deals some kinds of faults, and must end with the same staging
tables and marts as a round in which nothing happened. A round in which no fault struck is played again.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tests.chaos.faults import ACTIVE, AIMED, ASIDE, FAULTS, FIRST, OF_BUILDS, Round, kinds
from tests.chaos.ground import MARKS, QUICK, Digests, Ground
from tests.chaos.readers import Place, Readers, Tally
from tests.integration import servers

FAULTS_A_ROUND = 2  # that must strike, on average
DEALT = (2, 4)
AGAIN = 3  # times the rounds that were asked for may be played
SEE_THROUGH_SECONDS = 600.0
LOAD_SECONDS = 1.0  # so long all workers together must load slices, so that faults land in it
MOST_COPIES = 16
GROWTH = 1.2  # of the DuckDB file from one whole build to the next


@dataclass
class Report:
    """What happened in all rounds, and what readers were told."""

    target: str
    rounds_asked: int
    kinds: Sequence[str]
    copies: int = 0
    rounds: int = 0
    rounds_again: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)
    rows_lost: int = 0
    rows_doubled: int = 0
    hangs: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    processes_left: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    told: Tally = field(default_factory=Tally)
    untrue: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = {
            "target": f"{self.target}, {self.copies} copies",
            "rounds": self.rounds,
            "rounds played again, as no fault struck": self.rounds_again,
            "faults that struck": self.struck.total(),
            **{f"  {kind}": self.struck[kind] for kind in self.kinds},
            "faults that found nothing to hit": self.missed.total(),
            "slices repeated": self.counted["slices repeated"],
            "runs resumed": self.counted["runs resumed"],
            "runs begun anew": self.counted["runs begun anew"],
            "publications emptied by a crash, loaded again": self.counted["publications loaded again"],
            "builds beside, published": self.counted["builds published"],
            "  refused, as the run is gone": self.counted["builds refused, as the run is gone"],
            "  failed with their server or disk": self.counted["builds that failed with their server or disk"],
            "reads": f"{self.told.reads:,}",
            "rows lost": self.rows_lost,
            "rows doubled": self.rows_doubled,
            "rounds whose tables or marts differ": len(self.differing),
            "commands that hang": len(self.hangs),
            "builds that failed": self.counted["builds that failed"],
            "processes left over": len(self.processes_left),
            "tables, slices or files left over": len(self.leftovers),
            "mixed reads": len(self.told.mixed) + len(self.untrue),
            "empty answers": len(self.told.empty),
            "errors of readers": len(self.told.errors),
            "minutes": f"{self.seconds / 60:.1f}",
        }
        return "\n".join([f"{name:<46} {value}" for name, value in lines.items()] + self.faults_found)

    @property
    def faults_found(self) -> list[str]:
        """What must not be, each once."""
        told = self.told
        found = [*self.hangs, *self.differing, *self.processes_left, *self.leftovers, *self.complaints]
        found += [*told.mixed, *self.untrue, *told.empty, *told.errors]
        if self.rows_lost or self.rows_doubled:
            found.append(f"{self.rows_lost} rows lost, {self.rows_doubled} doubled")
        if self.rounds < self.rounds_asked:
            found.append(f"only {self.rounds} of {self.rounds_asked} rounds were hit, of {self.rounds_again} more")
        if self.struck.total() < FAULTS_A_ROUND * self.rounds_asked:
            found.append(f"only {self.struck.total()} faults struck in {self.rounds_asked} rounds")
        if self.rounds_asked:
            found += [f"no fault struck of the kind: {kind}" for kind in self.kinds if not self.struck[kind]]
        return list(dict.fromkeys(found))


class Deck:
    """Deals kinds of faults so that every kind comes, and comes again until it has struck."""

    def __init__(self, of: Sequence[str], dice: random.Random) -> None:
        self._of, self._dice = list(of), dice
        self._cards: list[str] = []

    def deal(self) -> list[str]:
        """Return the kinds of a round, each once."""
        wanted = min(self._dice.randint(*DEALT), len(self._of))
        dealt: list[str] = []
        while len(dealt) < wanted:
            if not self._cards:
                self._cards = self._dice.sample(self._of, len(self._of))
            card = next((each for each in self._cards if each not in dealt), None)
            if card is None:
                break
            self._cards.remove(card)
            dealt.append(card)
        return dealt

    def put_back(self, kind: str) -> None:
        """Deal a kind again soon, as it has not struck."""
        self._cards.insert(0, kind)


class Game:
    """The rounds on a ground.

    Parameters
    ----------
    ground : Ground
        Where.
    report : Report
        Takes what happens.
    dice : random.Random
        Chooses faults and moments.
    say : callable
        Takes a line per round.
    """

    def __init__(
        self, ground: Ground, report: Report, dice: random.Random, say: Callable[[str], object] = print
    ) -> None:
        self.ground, self.report, self.dice, self.say = ground, report, dice, say
        self.wanted: dict[str, Digests] = {}
        self.shown: list[str] = []

    def prepare(self, *, is_scaled: bool = True) -> None:
        """Load and build both editions with nothing disturbed; make them larger until a load lasts long enough."""
        ground = self.ground
        ground.write_editions()
        while is_scaled and ground.copies < MOST_COPIES:
            ground.expect(ground.load(MARKS[0], "--force"))
            if self._seconds_at_work() >= LOAD_SECONDS:
                break
            ground.copies *= 2
            ground.write_editions()
        self.report.copies = ground.copies
        for mark in MARKS:
            ground.expect(ground.load(mark, "--force"))
            ground.expect(ground.build(*QUICK))
            self.wanted[mark] = ground.tables()
            self.note_shown()
        if self.wanted[MARKS[0]] == self.wanted[MARKS[1]]:
            raise RuntimeError("The editions cannot be told apart.")
        self.size = ground.file.stat().st_size if ground.target == "embedded" else 0

    def _seconds_at_work(self) -> float:
        """Return how long workers were busy with the slices of the published run, all together."""
        query = (
            "select started_at, finished_at from {raw}ingest_slices where run_id = "
            f"'{self.ground.published()}' and state = 'loaded'"
        )
        moments = [[_moment(value) for value in row] for row in self.ground.ledger(query)]
        return sum((end - start).total_seconds() for start, end in moments)

    def place(self) -> Place:
        """Return what readers need to know."""
        ground = self.ground
        ((units,),) = ground.ask("select count(*) from marts.admin_units")
        address = ground.admin + "warehouse" if ground.target == "postgres" else str(ground.file)
        return Place(ground.target, address, units, tuple(ground.points))

    def mark_of(self, run_id: str) -> str:
        """Return the edition that a run has loaded."""
        ((source,),) = self.ground.ledger(f"select source from {{raw}}ingest_runs where run_id = '{run_id}'")
        return next(mark for mark in MARKS if self.ground.edition(mark).name in source)

    def play(self, dealt: Sequence[str], readers: Readers) -> Counter[str]:
        """Play a round with these kinds of faults; return those that struck."""
        ground, began = self.ground, time.monotonic()
        mark = next(other for other in MARKS if other != self.mark_of(ground.published() or ""))
        round_ = Round(ground, readers, self.dice, mark, frozenset(ground.runs()), shown=self.shown)
        first_command = len(ground.commands)
        struck = self._hit(round_, dealt)
        self._see_through(round_)
        round_.judge_build()
        ground.set_clock(0)
        for kind in dealt:
            if kind in AIMED:
                struck[kind] += FAULTS[kind](round_)
        self._compare(round_, dealt)
        self._look_around(round_, first_command)
        self.report.counted += round_.counted
        self.report.complaints += round_.complaints
        self._add_told(readers.told())
        for kind in dealt:
            (self.report.struck if struck[kind] else self.report.missed)[kind] += 1
        hits = " + ".join(kind if struck[kind] else f"({kind})" for kind in dealt)
        self.say(f"{self.report.rounds + 1:3}: {hits:<84} {time.monotonic() - began:5.1f} s")
        return +struck

    def _hit(self, round_: Round, dealt: Sequence[str]) -> Counter[str]:
        struck: Counter[str] = Counter()
        for kind in dealt:
            if kind in AIMED:
                stage, longest = AIMED[kind]
                round_.ground.aim(stage, self.dice.choice((0.0, self.dice.uniform(0, longest))))
        for kind in (kind for kind in dealt if kind in ASIDE):
            struck[kind] += FAULTS[kind](round_)
        if any(kind in OF_BUILDS for kind in dealt):
            round_.start_build()
            if self.dice.random() < 0.7 and round_.building:
                _wait_for_start(round_)
        round_.load = round_.ground.load(round_.mark, "--force")
        left = [kind for kind in dealt if kind not in ASIDE and kind not in AIMED]
        for kind in sorted(left, key=lambda kind: kind not in FIRST):
            time.sleep(self.dice.uniform(0, 0.3) if kind not in OF_BUILDS else 0)
            struck[kind] += FAULTS[kind](round_)
        return struck

    def _see_through(self, round_: Round) -> None:
        """See the load through as a person would: wait, resume, begin anew only if nothing is left."""
        ground, until = self.ground, time.monotonic() + SEE_THROUGH_SECONDS
        while time.monotonic() < until:
            if round_.load is not None and round_.load.is_alive:
                round_.load.wait()
            while ground.consumers() and round_.is_active and time.monotonic() < until:
                time.sleep(0.1)  # whose command was killed
            if round_.state in ("published", "superseded"):
                self.note_shown()
                if self._is_whole():
                    return
                round_.counted["publications loaded again"] += 1
                round_.before |= frozenset(ground.runs())
                round_.load = ground.load(round_.mark)
            else:
                round_.keep_going()
        self.report.complaints.append(f"round {self.report.rounds + 1}: the load did not end: {ground.runs()}")

    def note_shown(self) -> None:
        """Note the run that readers see now."""
        published = self.ground.published()
        if published is not None and self.shown[-1:] != [published]:
            self.shown.append(published)

    def _is_whole(self) -> bool:
        published = self.ground.published()
        if published is None:
            return False
        expected = self.ground.expected[self.mark_of(published)]
        return all(rows == expected.get(level, 0) for level, (rows, _) in self.ground.counts().items())

    def _compare(self, round_: Round, dealt: Sequence[str]) -> None:
        ground, number = self.ground, self.report.rounds + 1
        published = ground.published()
        mark = self.mark_of(published or "")
        for level, (rows, features) in ground.counts().items():
            self.report.rows_lost += ground.expected[mark].get(level, 0) - features
            self.report.rows_doubled += rows - features
        repeated = "select coalesce(sum(attempts - 1), 0) from {raw}ingest_slices where run_id = "
        for run in ground.runs().keys() - round_.before:
            round_.counted["slices repeated"] += int(ground.ledger(f"{repeated}'{run}'")[0][0])
        build = ground.build(*QUICK)
        if build.wait():
            round_.counted["builds that failed"] += 1
            self.report.complaints.append(f"round {number}: the last build failed: {build.output[-3000:]}")
            return
        found = self.ground.tables()
        differing = [
            table
            for schema, digest in self.wanted[mark].items()
            for table in digest.keys() | found[schema].keys()
            if digest.get(table) != found[schema].get(table)
        ]
        if ground.built() != published:
            differing.append("marts_meta")
        if differing:
            self.report.differing.append(f"round {number} ({', '.join(dealt)}): {', '.join(sorted(differing))} differ")

    def _look_around(self, round_: Round, first_command: int) -> None:
        ground, number = self.ground, self.report.rounds + 1
        self.report.processes_left += [f"round {number}: {left} is left" for left in ground.wait_for_processes()]
        for command in ground.commands[first_command:]:
            if command.is_alive:
                self.report.processes_left.append(f"round {number}: {command.label} is left")
                command.kill()
            if command.hangs:
                self.report.hangs.append(f"round {number}: {command.label} hangs:\n{command.output[-4000:]}")
        self.report.complaints += [
            f"round {number}: {command.label} shows a traceback:\n{command.output[-3000:]}"
            for command in ground.commands[first_command:]
            if command.label.startswith("ingest") and "Traceback (most recent call last)" in command.output
        ]
        active = [run for run, state in ground.runs().items() if state in ACTIVE]
        self.report.leftovers += [f"round {number}: run {run} has not ended" for run in active]

    def _add_told(self, told: Tally) -> None:
        self.report.told.add(told)
        for (run, mark), count in told.marks.items():
            if self.mark_of(run) != mark:
                self.report.untrue.append(f"{count} answers of run {run}, with names of {mark}")

    def check_after(self) -> None:
        """Load and build with nobody else there, and see what is left."""
        ground = self.ground
        ground.expect(ground.load(MARKS[0], "--force"))
        ground.expect(ground.build(*QUICK))  # drops the edition before last, whose views read the tables of its run
        prune = ground.ingest("prune")
        ground.expect(prune)
        runs = ground.runs()
        kept = {run for run, state in runs.items() if state == "published"}
        stored = ground.stored_runs()
        if len(stored - kept) > 1 or not kept <= stored:
            self.report.leftovers.append(
                f"tables of the runs {sorted(stored)} are left, of which {kept} is published: {prune.output}"
            )
        self.report.leftovers += [f"{left} is left" for left in ground.drafts()]
        if ground.target == "embedded" and (size := ground.file.stat().st_size) > GROWTH * self.size:
            self.report.leftovers.append(f"{ground.file} has grown from {self.size:,} to {size:,} bytes")


def _moment(value: str | datetime) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _wait_for_start(round_: Round) -> None:
    while round_.building and round_.building.is_alive and "START" not in round_.building.output:
        time.sleep(0.05)


def run(
    target: str,
    rounds: int,
    seed: int,
    *,
    only: Sequence[str] | None = None,
    is_kept: bool = False,
    say: Callable[[str], object] = lambda text: print(text, flush=True),
) -> Report:
    """Play rounds of random faults.

    Parameters
    ----------
    target : str
        ``embedded`` or ``postgres``.
    rounds, seed : int
        How many, and what the dice begin with: the same seed deals the same faults.
    only : sequence of str, optional
        Kinds of faults; by default all of the target.
    is_kept : bool
        Whether the folder stays when something is wrong.
    say : callable
        Takes a line per round.

    Returns
    -------
    Report
    """
    dice, began = random.Random(seed), time.monotonic()
    chosen = [kind for kind in kinds(target) if only is None or kind in only]
    report, deck = Report(target, rounds, chosen), Deck(chosen, dice)
    with servers.open_folder() as folder:
        ground = Ground(folder, target)
        try:
            game = Game(ground, report, dice, say)
            game.prepare()
            say(f"{target}: {ground.copies} copies, ready after {time.monotonic() - began:.0f} s in {folder}")
            with Readers(game.place()) as readers:
                for _ in range(AGAIN * rounds):
                    if report.rounds == rounds:
                        break
                    dealt = deck.deal()
                    struck = game.play(dealt, readers)
                    for kind in dealt:
                        if not struck[kind]:
                            deck.put_back(kind)
                    if struck:
                        report.rounds += 1
                    else:
                        report.rounds_again += 1
            game.check_after()
        finally:
            report.seconds = time.monotonic() - began
            if is_kept and report.faults_found:
                kept = folder.with_name(f"{folder.name}-kept")
                shutil.copytree(folder / "logs", kept / "logs")
                for log in (ground.home / "logs").glob("*"):
                    shutil.copy(log, kept / "logs")
                say(f"The logs are in {kept}.")
            ground.close()
    return report
