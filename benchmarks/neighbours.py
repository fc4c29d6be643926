"""Measure how the neighbours of all units are found, against the intersection of every two that touch.

    python -m benchmarks.neighbours --results benchmarks/results

It reads the marts of the target in the environment, as the Python model does. Both ways run in a process of their own,
one after the other; on PostgreSQL, the second one's work is the server's, whose memory is not measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from admin_boundaries.coverage.neighbours import neighbours
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
        from marts.admin_level_{level} as one
        inner join marts.admin_level_{level} as other
            on one.gid < other.gid
            and st_intersects(one.geom, other.geom)
    ) as pairs
    where km > 0
"""


def by_segments(current: Settings) -> tuple[int, float]:
    """Return how many pairs of units the Python model finds, and the length of all borders."""
    pairs, km = 0, 0.0
    with closing(_session(current)) as session:
        kind: type[Relation] = PostgresRelation if current.postgres else DuckDBRelation
        levels = (kind(session, f"marts.admin_level_{level}").select("gid", "geom").batches() for level in LEVELS)
        for batch in neighbours(enumerate(levels)):
            pairs, km = pairs + len(batch), km + batch["border_km"].to_numpy().sum()
    return pairs // 2, km / 2


def by_intersection(current: Settings) -> tuple[int, float]:
    """Return the same, by the intersection of every two units that touch."""
    pairs, km = 0, 0.0
    with closing(_session(current)) as session, closing(session.cursor()) as cursor:
        for level in LEVELS:
            cursor.execute(PAIRS.format(level=level, km=KM[current.target]))
            found, length = cursor.fetchone()
            pairs, km = pairs + found, km + (length or 0)
    return pairs, km


def _session(current: Settings) -> Any:
    if current.postgres:
        return sessions.connect_adbc(current.postgres, to_write=False)
    session = duckdb.connect(str(current.home / "warehouse.duckdb"), read_only=True)
    load_spatial(session)
    return session


WAYS = {"segments": by_segments, "intersection": by_intersection}


def report(current: Settings, costs: dict[str, Cost]) -> str:
    """Return the table of both ways."""
    here = machine()
    lines = [
        f"Measured on the target `{current.target}` with {_units(current):,} units, on {here['cores']} cores "
        f"({here['processor']}), {here['memory_gib']} GiB.",
        "",
        "| way | pairs | border, km | seconds | peak memory, MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for way, cost in costs.items():
        pairs, km = cost.output.split()[-2:]
        memory = f"{cost.peak_bytes / 1e6:,.0f}" if way == "segments" or not current.postgres else "the server's"
        lines.append(f"| by {way} | {int(pairs):,} | {float(km):,.0f} | {cost.seconds:,.1f} | {memory} |")
    return "\n".join(lines) + "\n"


def _units(current: Settings) -> int:
    query = "select count(*) from marts.admin_units"
    if current.postgres:
        with psycopg.connect(current.postgres.conninfo()) as connection:
            return int(connection.execute(query).fetchall()[0][0])
    with duckdb.connect(str(current.home / "warehouse.duckdb"), read_only=True) as embedded:
        return int(embedded.execute(query).fetchall()[0][0])


def main() -> None:
    """Measure both ways, or be one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, help="folder for neighbours-TARGET.md")
    parser.add_argument("--way", choices=WAYS)
    arguments = parser.parse_args()
    current = read_settings()
    if arguments.way:
        print(*WAYS[arguments.way](current))
        return
    costs = {}
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.neighbours", "--way", way]
            costs[way] = run(command, os.environ, PROJECT_ROOT, Path(folder) / "log", SECONDS)
        if costs[way].exit_code:
            sys.exit(costs[way].output)
    text = report(current, costs)
    print(text)
    if arguments.results:
        (arguments.results / f"neighbours-{current.target}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
