"""Measure the marts that Python makes of other marts, against the way that SQL has.

    python -m benchmarks.derived --results benchmarks/results

It reads the marts of the target in the environment, as the Python models do. `neighbours` compares equal segments with
the intersection of every two units that touch; `simplified`, coverages with units that are simplified one by one, whose
borders part. Each way runs in a process of its own, one after the other; on PostgreSQL, the work of SQL is the
server's, whose memory is not measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from admin_boundaries.coverage.neighbours import neighbours
from admin_boundaries.coverage.simplify import TOLERANCES, simplified
from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.python_models import DuckDBRelation, PostgresRelation, Relation
from benchmarks.measure import Cost, machine, run
from ingest import sessions
from ingest.settings import PROJECT_ROOT, Settings, read_settings

LEVELS = range(6)
SECONDS = 7200.0
COMMON = "st_collectionextract(st_intersection(one.geom, other.geom), 2)"
KM = {
    "postgres": f"st_length({COMMON}::geography) / 1000",
    "embedded": f"st_length_spheroid(st_flipcoordinates({COMMON})) / 1000",  # it takes the latitude first
}
PAIRS = """
    select count(*), sum(km)
    from (
        select one.gid, other.gid as other_gid, {km} as km
        from {marts}.admin_level_{level} as one
        inner join {marts}.admin_level_{level} as other
            on one.gid < other.gid
            and st_intersects(one.geom, other.geom)
    ) as pairs
    where km > 0
"""


def by_segments(current: Settings) -> tuple[int, float]:
    """Return how many pairs of units the Python model finds, and the length of all borders."""
    pairs, km = 0, 0.0
    with closing(_session(current)) as session:
        levels = (each.select("gid", "geom").batches() for each in _levels(current, session))
        for batch in neighbours(enumerate(levels)):
            pairs, km = pairs + len(batch), km + batch["border_km"].to_numpy().sum()
    return pairs // 2, km / 2


def by_intersection(current: Settings) -> tuple[int, float]:
    """Return the same, by the intersection of every two units that touch."""
    pairs, km = 0, 0.0
    with closing(_session(current)) as session, closing(session.cursor()) as cursor:
        for level in LEVELS:
            cursor.execute(PAIRS.format(marts=current.marts, level=level, km=KM[current.target]))
            found, length = cursor.fetchone()
            pairs, km = pairs + found, km + (length or 0)
    return pairs, km


def by_coverages(current: Settings) -> tuple[int, int]:
    """Return how many rows the simplified units have, and how many vertices."""
    rows = vertices = 0
    with closing(_session(current)) as session:
        for batch in simplified(_levels(current, session)):
            rows, vertices = rows + len(batch), vertices + batch["vertex_count"].to_numpy().sum()
    return rows, int(vertices)


def one_by_one(current: Settings) -> tuple[int, int]:
    """Return the same, each unit by itself."""
    rows = vertices = 0
    with closing(_session(current)) as session, closing(session.cursor()) as cursor:
        for level, tolerance in product(LEVELS, TOLERANCES):
            cursor.execute(
                f"select count(*), sum(st_npoints(st_simplifypreservetopology(geom, {tolerance}))) "
                f"from {current.marts}.admin_level_{level} where geom is not null"
            )
            found, points = cursor.fetchone()
            rows, vertices = rows + found, vertices + int(points or 0)
    return rows, vertices


def _session(current: Settings) -> Any:
    if current.postgres:
        return sessions.connect_adbc(current.postgres, to_write=False)
    session = duckdb.connect(str(current.warehouse), read_only=True)
    load_spatial(session)
    return session


def _levels(current: Settings, session: Any) -> list[Relation]:
    kind: type[Relation] = PostgresRelation if current.postgres else DuckDBRelation
    return [kind(session, f"{current.marts}.admin_level_{level}") for level in LEVELS]


JOBS: dict[str, dict[str, Callable[[Settings], tuple[int, float]]]] = {
    "neighbours": {"segments": by_segments, "intersections": by_intersection},
    "simplified": {"coverages": by_coverages, "one by one": one_by_one},
}
FOUND = {"neighbours": ("pairs", "border, km"), "simplified": ("rows", "vertices")}


def report(current: Settings, job: str, costs: dict[str, Cost]) -> str:
    """Return the table of the ways of a job."""
    here = machine()
    first, second = FOUND[job]
    lines = [
        f"Measured on the target `{current.target}` with {_units(current):,} units, on {here['cores']} cores "
        f"({here['processor']}), {here['memory_gib']} GiB.",
        "",
        f"| way | {first} | {second} | seconds | peak memory, MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for number, (way, cost) in enumerate(costs.items()):
        found, amount = cost.output.split()[-2:]
        memory = "the server's" if number and current.postgres else f"{cost.peak_bytes / 1e6:,.0f}"
        lines.append(f"| {way} | {int(found):,} | {float(amount):,.0f} | {cost.seconds:,.1f} | {memory} |")
    return "\n".join(lines) + "\n"


def _units(current: Settings) -> int:
    query = f"select count(*) from {current.marts}.admin_units"
    if current.postgres:
        with psycopg.connect(current.postgres.conninfo()) as connection:
            return int(connection.execute(query).fetchall()[0][0])
    with duckdb.connect(str(current.warehouse), read_only=True) as embedded:
        return int(embedded.execute(query).fetchall()[0][0])


def main() -> None:
    """Measure all ways, or be one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, help="folder for JOB-TARGET.md")
    parser.add_argument("--job", choices=JOBS, action="append", help="by default each")
    parser.add_argument("--way")
    arguments = parser.parse_args()
    current, jobs = read_settings(), arguments.job or list(JOBS)
    if arguments.way:
        print(*JOBS[jobs[0]][arguments.way](current))
        return
    for job in jobs:
        costs = {}
        for way in JOBS[job]:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-m", "benchmarks.derived", "--job", job, "--way", way]
                costs[way] = run(command, os.environ, PROJECT_ROOT, Path(folder) / "log", SECONDS)
            if costs[way].exit_code:
                sys.exit(costs[way].output)
        text = report(current, job, costs)
        print(text)
        if arguments.results:
            (arguments.results / f"{job}-{current.target}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
