"""Readers that never stop asking while marts are built: each is a process, and notes everything that it is told.

Names of an edition end in its mark (see `tests.fixtures.editions`), so that an answer which was put together from two
editions shows it.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import queue
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import duckdb
import psycopg

from admin_boundaries.duckdb_spatial import load_spatial

if TYPE_CHECKING:
    Results: TypeAlias = "multiprocessing.Queue[Tally]"

PAUSE_SECONDS = 0.05  # between two questions, since builds need the two cores as well
NICENESS = 10
SESSION_SECONDS = 2.0
IDLE_SECONDS = 20.0
FLUSH_SECONDS = 1.0
LONG_POINTS = 5_000
EDITIONS_KEPT_OPEN = 3
Ask: TypeAlias = Callable[[str], list[tuple[Any, ...]]]

RUN = "(select run_id from marts.marts_meta where dataset = 'gadm')"
LEVELS = " union all ".join(f"select gid, name from marts.admin_level_{level}" for level in range(6))
# all units, those whose name is not the same everywhere, and the least and the greatest mark
UNITS = f"""
    with levels as ({LEVELS})
    select
        count(*),
        count(*) filter (
            where levels.name is distinct from units.name or found.name is distinct from units.name
        ),
        min(right(units.path, 2)),
        max(right(units.path, 2)),
        {RUN}
    from levels
    full join marts.admin_units as units
        on levels.gid = units.gid
    full join (select * from marts.admin_unit_names where name_kind = 'name') as found
        on units.gid = found.gid
"""
LOCATE = "select path, " + RUN + " from marts.locate({lon}, {lat})"
LOCATE_POINTS = {
    "postgres": "select path, " + RUN + " from marts.locate_points(array[{lons}], array[{lats}])",
    "embedded": "select path, " + RUN + " from marts.locate_points('chaos_points')",
}
LONG = f"""
    select answer.path, count(*), {RUN}
    from (values {{points}}) as points (lon, lat)
    cross join generate_series(1, {{repeats}})
    cross join lateral marts.locate(lon, lat) as answer
    group by answer.path
"""


@dataclass(frozen=True)
class Place:
    """Where to read, and what there is to be found.

    Attributes
    ----------
    target : str
        ``postgres`` or ``embedded``.
    address : str
        Connection string, or path of the file.
    units : int
        How many units every edition has.
    points : tuple
        Points that lie in units of every edition.
    """

    target: str
    address: str
    units: int
    points: tuple[tuple[float, float], ...]


@dataclass
class Tally:
    """What readers were told."""

    reads: int = 0
    marks: Counter[tuple[str, str]] = field(default_factory=Counter)  # run, mark
    mixed: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    longest: float = 0.0
    slowest: str = ""

    def add(self, other: Tally) -> None:
        """Add what another reader was told."""
        self.reads += other.reads
        self.marks += other.marks
        self.mixed += other.mixed
        self.empty += other.empty
        self.errors += other.errors
        if other.longest > self.longest:
            self.longest, self.slowest = other.longest, other.slowest


class Reader:
    """Asks, and notes the answers.

    Parameters
    ----------
    kind : str
        What it does; see `KINDS`.
    place : Place
        Where.
    stop : Event
        Set when it is to end.
    excused : Event
        Set while errors are to be expected: the server is away.
    results : Queue
        Takes tallies, about one a second.
    """

    def __init__(self, kind: str, place: Place, stop: Event, excused: Event, results: Results) -> None:
        self.kind, self.place, self._stop, self._excused = kind, place, stop, excused
        self._results, self._tally, self._flushed = results, Tally(), time.monotonic()
        self._turn, self.sessions = 0, itertools.count()

    @property
    def is_over(self) -> bool:
        """Whether to end: a reader must not go on when what started it was killed."""
        parent = multiprocessing.parent_process()
        return self._stop.is_set() or (parent is not None and not parent.is_alive())

    def rest(self, seconds: float) -> None:
        """Ask nothing for a while."""
        self._stop.wait(seconds)

    def run(self) -> None:
        """Hold one session after the other."""
        session = KINDS[self.kind]
        while not self.is_over:
            try:
                session(self)
            except (psycopg.Error, duckdb.Error) as error:
                if not self._excused.is_set():
                    self._tally.errors.append(f"{self.kind}: {error}")
                time.sleep(0.1)
        self._flush()

    def ask_all(self, ask: Ask) -> set[str | None]:
        """Ask every short question once; return the runs of which the answers were."""
        self._turn += 1
        points = self.place.points
        lon, lat = points[self._turn % len(points)]
        lons, lats = (", ".join(str(point[axis]) for point in points[:20]) for axis in (0, 1))
        return {
            self._units(self._timed(ask, UNITS)),
            self._located(self._timed(ask, LOCATE.format(lon=lon, lat=lat))),
            self._located(self._timed(ask, LOCATE_POINTS[self.place.target].format(lons=lons, lats=lats))),
        }

    def ask_long(self, ask: Ask) -> None:
        """Ask one question with thousands of calls of ``locate``."""
        points = ", ".join(f"({lon}::float8, {lat}::float8)" for lon, lat in self.place.points)
        repeats = max(1, LONG_POINTS // len(self.place.points))
        rows = ask(LONG.format(points=points, repeats=repeats))
        self._located([(path, run) for path, _, run in rows])

    def note_mixed(self, what: str) -> None:
        """Note an answer that should not have been given."""
        self._tally.mixed.append(f"{self.kind}: {what}")

    def _timed(self, ask: Ask, sql: str) -> list[tuple[Any, ...]]:
        began = time.monotonic()
        rows = ask(sql)
        seconds = time.monotonic() - began
        if seconds > self._tally.longest:
            self._tally.longest, self._tally.slowest = seconds, f"{self.kind}: {' '.join(sql.split())[:60]}"
        time.sleep(PAUSE_SECONDS)
        return rows

    def _units(self, rows: list[tuple[Any, ...]]) -> str | None:
        ((units, differing, least, greatest, run),) = rows
        if not units:
            self._tally.empty.append(f"{self.kind}: no unit")
        elif differing or least != greatest or units != self.place.units:
            self.note_mixed(f"{differing} of {units} units differ, marks {least} to {greatest}, run {run}")
        self._note(run, least)
        return str(run)

    def _located(self, rows: list[tuple[Any, ...]]) -> str | None:
        marks = {mark for path, _ in rows for mark in re.findall("~.", path or "")}
        if not rows or any(path is None for path, _ in rows):
            self._tally.empty.append(f"{self.kind}: no unit at a point that lies in one")
        elif len(marks) != 1:
            self.note_mixed(f"located in units of {marks}")
        run = str(rows[0][1]) if rows else None
        self._note(run, min(marks, default=None))
        return run

    def _note(self, run: str | None, mark: str | None) -> None:
        self._tally.reads += 1
        self._tally.marks[str(run), str(mark)] += 1
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        self._results.put(self._tally)
        self._tally, self._flushed = Tally(), time.monotonic()


def _postgres(reader: Reader, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(reader.place.address, **options)


def _asking(connection: psycopg.Connection[tuple[Any, ...]]) -> Ask:
    return lambda sql: connection.execute(sql).fetchall()  # type: ignore[arg-type]


@contextmanager
def _embedded(reader: Reader) -> Iterator[Ask]:
    with duckdb.connect(reader.place.address, read_only=True, config={"threads": 1}) as connection:
        load_spatial(connection)
        connection.execute("set enable_progress_bar = false")
        values = ", ".join(f"({number}, {lon}, {lat})" for number, (lon, lat) in enumerate(reader.place.points[:20]))
        connection.execute(
            "create temp table chaos_points as "
            "select n as point_number, x::double as lon, y::double as lat "
            f"from (values {values}) as given (n, x, y)"
        )
        yield lambda sql: connection.execute(sql).fetchall()


def short_sessions(reader: Reader) -> None:
    """PostgreSQL: a session of two seconds; every second one prepares its statements and keeps their plans."""
    prepared = next(reader.sessions) % 2 == 0
    with _postgres(reader, autocommit=True, prepare_threshold=0 if prepared else None) as connection:
        until = time.monotonic() + SESSION_SECONDS
        while time.monotonic() < until:
            reader.ask_all(_asking(connection))


def long_statement(reader: Reader) -> None:
    """PostgreSQL: one statement that lasts for seconds, and calls ``locate`` all the while."""
    reader.rest(SESSION_SECONDS / 2)
    with _postgres(reader, autocommit=True) as connection:
        reader.ask_long(_asking(connection))


def idle_in_transaction(reader: Reader) -> None:
    """PostgreSQL: ask, sit idle in the transaction until other marts are there, and ask again in it."""
    query = "select build_id from marts.marts_meta limit 1"
    with _postgres(reader) as session, _postgres(reader, autocommit=True) as watch:
        reader.ask_all(_asking(session))
        before, until = watch.execute(query).fetchone(), time.monotonic() + IDLE_SECONDS
        while not reader.is_over and time.monotonic() < until and watch.execute(query).fetchone() == before:
            time.sleep(0.2)
        reader.ask_all(_asking(session))


def fresh_file(reader: Reader) -> None:
    """DuckDB: open the file, ask, and close it."""
    with _embedded(reader) as ask:
        reader.ask_all(ask)


def open_file(reader: Reader) -> None:
    """DuckDB: keep a file open until three others have taken its place; it must go on answering from what it opened."""
    path, seen = Path(reader.place.address), set[tuple[int, int]]()
    with _embedded(reader) as ask:
        (opened,) = ask(f"select {RUN}")[0]
        while not reader.is_over and len(seen) <= EDITIONS_KEPT_OPEN:
            if (runs := reader.ask_all(ask)) != {opened}:
                reader.note_mixed(f"a file opened with run {opened} answers with {runs}")
            seen.add((path.stat().st_ino, path.stat().st_mtime_ns))


KINDS = {
    "short sessions": short_sessions,
    "long statement": long_statement,
    "idle in transaction": idle_in_transaction,
    "fresh file": fresh_file,
    "open file": open_file,
}
OF_TARGET = {
    "postgres": ("short sessions", "long statement", "idle in transaction"),
    "embedded": ("fresh file", "open file"),
}


def _read(kind: str, place: Place, stop: Event, excused: Event, results: Results) -> None:
    os.nice(NICENESS)
    Reader(kind, place, stop, excused, results).run()


class Readers:
    """All readers of a target, at work from the beginning to the end of the ``with`` block."""

    def __init__(self, place: Place) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop, self._excused = context.Event(), context.Event()
        self._results: Results = context.Queue()
        self._told = Tally()
        shared = (self._stop, self._excused, self._results)
        self._new = [
            partial(context.Process, target=_read, args=(kind, place, *shared), name=kind)
            for kind in OF_TARGET[place.target]
        ]

    def __enter__(self) -> Readers:
        self._stop.clear()
        self._processes = [new() for new in self._new]
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        until = time.monotonic() + IDLE_SECONDS
        while any(process.is_alive() for process in self._processes) and time.monotonic() < until:
            self._drain()  # a process ends when what it has put into the queue was taken out
            time.sleep(0.05)
        for process in self._processes:
            process.kill()
            process.join()
            if process.exitcode:
                self._told.errors.append(f"{process.name}: ended with exit code {process.exitcode}")
        self._drain()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Let nobody read within the ``with`` block."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def excuse(self, is_away: bool) -> None:
        """Expect errors, as the server is away, or no longer."""
        if is_away:
            self._excused.set()
        else:
            self._excused.clear()

    def told(self) -> Tally:
        """Return what they were told since the last call."""
        self._drain()
        told, self._told = self._told, Tally()
        return told

    def _drain(self) -> None:
        while True:
            try:
                self._told.add(self._results.get_nowait())
            except queue.Empty:
                return
