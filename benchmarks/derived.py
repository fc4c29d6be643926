"""Measure the marts that Python makes of other marts, against the way that SQL has.

    python -m benchmarks.derived --results benchmarks/results

It reads the marts of the target in the environment, as the Python models do. `neighbours` compares equal segments with
the intersection of every two units that touch; `simplified`, coverages with units that are simplified one by one, whose
borders part; SQL has no way for `faults`. Each way runs in a process of its own, one after the other; on PostgreSQL,
the work of SQL is the server's, of which neither processor time nor memory is measured. `derived.json` keeps what was
measured for each target and size, and `derived.md` has the table of it all: run it once for each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from admin_boundaries.coverage.faults import faults
from admin_boundaries.coverage.neighbours import neighbours
from admin_boundaries.coverage.simplify import TOLERANCES, simplified
from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.python_models import DuckDBRelation, PostgresRelation, Relation
from benchmarks.measure import Cost, machine, run
from ingest import sessions
from ingest.settings import PROJECT_ROOT, Settings, read_settings

LEVELS = range(6)
SECONDS = 7200.0
DUCKDB_MEMORY = "2GB"  # as in a build: DuckDB keeps what it has read, up to that
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


def by_outlines(current: Settings) -> tuple[int, float]:
    """Return how many faults the Python model finds, and their area."""
    rows, km2 = 0, 0.0
    with closing(_session(current)) as session:
        for batch in faults(_levels(current, session)):
            rows, km2 = rows + len(batch), km2 + batch["area_km2"].to_numpy().sum()
    return rows, km2


def _session(current: Settings) -> Any:
    if current.postgres:
        return sessions.connect_adbc(current.postgres, to_write=False)
    session = duckdb.connect(str(current.warehouse), read_only=True, config={"memory_limit": DUCKDB_MEMORY})
    load_spatial(session)
    return session


def _levels(current: Settings, session: Any) -> list[Relation]:
    kind: type[Relation] = PostgresRelation if current.postgres else DuckDBRelation
    return [kind(session, f"{current.marts}.admin_level_{level}") for level in LEVELS]


JOBS: dict[str, dict[str, Callable[[Settings], tuple[int, float]]]] = {
    "neighbours": {"segments": by_segments, "intersections": by_intersection},
    "simplified": {"coverages": by_coverages, "one by one": one_by_one},
    "faults": {"outlines": by_outlines},
}
FOUND = {"neighbours": ("pairs", "km"), "simplified": ("rows", "vertices"), "faults": ("rows", "km²")}
BY_SQL = ("intersections", "one by one")


def measured(current: Settings, job: str, way: str, cost: Cost) -> dict[str, Any]:
    """Return what one way of a job took."""
    found, amount, cpu = cost.output.split()[-3:]
    is_server = current.target == "postgres" and way in BY_SQL
    return {
        "target": current.target,
        "units": _units(current),
        "job": job,
        "way": way,
        "found": f"{int(found):,} {FOUND[job][0]}, {float(amount):,.0f} {FOUND[job][1]}",
        "seconds": round(cost.seconds, 1),
        "processor_seconds": None if is_server else float(cpu),
        "peak_mb": None if is_server else round(cost.peak_bytes / 1e6),
    }


def report(results: list[dict[str, Any]]) -> str:
    """Return the table of all that was measured."""
    here = machine()
    lines = [
        f"Measured by `python -m benchmarks.derived` on {here['cores']} cores ({here['processor']}), "
        f"{here['memory_gib']} GiB.",
        "",
        "| target | units | mart | way | found | seconds | processor, s | peak memory, MB |",
        "|---|---:|---|---|---|---:|---:|---:|",
    ]
    for row in results:
        cpu, memory = (
            "the server's" if row[name] is None else f"{row[name]:,{kind}}"
            for name, kind in (("processor_seconds", ".1f"), ("peak_mb", ""))
        )
        lines.append(
            f"| {row['target']} | {row['units']:,} | {row['job']} | {row['way']} | {row['found']} "
            f"| {row['seconds']:,.1f} | {cpu} | {memory} |"
        )
    return "\n".join(lines) + "\n"


def _keep(folder: Path, new: list[dict[str, Any]]) -> None:
    """Put what was measured in the place of what was measured of the same before."""
    file = folder / "derived.json"
    same = ("target", "units", "job", "way")
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    results = {tuple(row[name] for name in same): row for row in (*known, *new)}
    rows = [results[key] for key in sorted(results)]
    file.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "derived.md").write_text(report(rows), encoding="utf-8")


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
    parser.add_argument("--results", type=Path, help="folder for derived.json and derived.md")
    parser.add_argument("--job", choices=JOBS, action="append", help="by default each")
    parser.add_argument("--way", help="be this way of the job, and print what it found and its processor time")
    parser.add_argument("--without-sql", action="store_true", help="measure the Python models only")
    arguments = parser.parse_args()
    current, jobs = read_settings(), arguments.job or list(JOBS)
    if arguments.way:
        found = JOBS[jobs[0]][arguments.way](current)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        print(*found, f"{usage.ru_utime + usage.ru_stime:.1f}")
        return
    results = []
    for job in jobs:
        for way in JOBS[job]:
            if arguments.without_sql and way in BY_SQL:
                continue
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-m", "benchmarks.derived", "--job", job, "--way", way]
                cost = run(command, os.environ, PROJECT_ROOT, Path(folder) / "log", SECONDS)
            if cost.exit_code:
                sys.exit(cost.output)
            results.append(measured(current, job, way, cost))
    print(report(results))
    if arguments.results:
        _keep(arguments.results, results)


if __name__ == "__main__":
    main()
