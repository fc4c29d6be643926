"""Locate many points on a cluster of Spark: with one worker, with two, and with one of two killed midway.

    python -m benchmarks.spark --folder FOLDER --results benchmarks/results

FOLDER is that of `benchmarks.locate`: its warehouse has the marts of a generated world. Points evenly on land are
written once, into files of Parquet. The cluster is a master and workers of one core each, as processes of this
machine, so that two workers have all of its two cores, and share them with the master, the driver and all else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Any

import duckdb
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from admin_boundaries.locate.index import Index
from admin_boundaries.locate.locator import Locator
from admin_boundaries.warehouse import open_warehouse
from benchmarks import locate_points
from benchmarks.changes import environment
from benchmarks.measure import machine
from benchmarks.spark_cluster import Cluster, cluster
from ingest.settings import PROJECT_ROOT, read_settings

FILES = 16
START = 1000  # points, to set things up
SUMS = """
    select count(*), count(distinct id), sum(hash(id, located_status, gid, path, gids, tzid, tzids))
    from '{}/*.parquet'
"""
TEXT = """\
# locate --engine spark

{points:,} points evenly on land, in {files} files of Parquet ({bytes:,} MB), on a standalone cluster of workers of one
core each, on one machine: {cores} cores ({processor}), {memory_gib} GiB. pyspark {pyspark}.
Load average before: {load}.

| workers | in all, s | set-up, s | points a second | Java of a worker, MB | Python of a worker, MB |
|---|--:|--:|--:|--:|--:|
{rows}

*Set-up* is what {start:,} points take: Java, the session, a look at the workers. *Points a second* are without it.
Memory is the high-water mark of a single process; pages of the index that Python shares with others count.

Rows and answers of all runs are the same: {same}.
"""


def write_points(folder: Path, locator: Locator, points: int) -> None:
    """Write the points, if they are not there: in each file those of the file before, a metre further east."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:02}.parquet" for number in range(FILES)]
    if all(path.exists() for path in paths):
        return
    size = points // FILES
    lons, lats = locate_points.on_land(locator, size)
    for number, path in enumerate(paths):
        ids, moved = np.arange(size) + number * size, (lons + number * 1e-5 + 180) % 360 - 180
        pq.write_table(pa.table({"id": ids, "lon": moved, "lat": lats}), path, row_group_size=locate_points.BATCH)


@contextmanager
def watched(running: Cluster) -> Iterator[dict[str, int]]:
    """Yield the most memory that a process of workers has had, by program; it is filled while the block runs."""
    peaks: dict[str, int] = {}
    ended = Event()

    def watch() -> None:
        while not ended.wait(0.5):
            for process in running.processes:
                try:
                    name = "java" if "java" in process.name() else "python"
                    peaks[name] = max(peaks.get(name, 0), process.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue

    with ThreadPoolExecutor(1) as pool:
        pool.submit(watch)
        try:
            yield peaks
        finally:
            ended.set()


def located(running: Cluster, env: dict[str, str], source: Path, target: Path, kill_after: int = 0) -> dict[str, Any]:
    """Run the command; kill a worker when so many tasks are done, and none if that is zero."""
    command = [sys.executable, "-m", "ingest", "locate", "--engine", "spark", "--overwrite"]
    began, killed = time.monotonic(), 0.0
    job = subprocess.Popen(
        [*command, f"--input={source}", f"--output={target}"], env={**env, **running.env()}, cwd=PROJECT_ROOT
    )
    with watched(running) as peaks:
        while job.poll() is None:
            if kill_after and not killed and len(list(target.rglob("task_*"))) >= kill_after:
                running.kill_worker()
                killed = time.monotonic() - began
            time.sleep(0.2)
    if job.returncode:
        sys.exit(job.returncode)
    if kill_after and not killed:
        sys.exit("The job had ended before a worker could be killed: give more points.")
    return {"seconds": time.monotonic() - began, "killed_at": killed, **peaks}


def sums(folder: Path) -> list[int]:
    """Return how many rows there are, how many numbers of rows, and a sum of all answers."""
    with duckdb.connect(config={"memory_limit": "4GB"}) as connection:
        return [int(value) for value in connection.execute(SUMS.format(folder)).fetchone() or ()]


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder of benchmarks.locate")
    parser.add_argument("--points", type=int, default=100_000_000)
    parser.add_argument("--work", type=Path, help="folder for points and answers (9 GB); by default in FOLDER")
    parser.add_argument("--results", type=Path, help="folder to write spark.json and spark.md to")
    given = parser.parse_args()
    work = given.work or given.folder / "spark"
    env = {**environment(given.folder, "gadm"), "PYTHONPATH": str(PROJECT_ROOT)}
    settings = read_settings(env)
    with open_warehouse(settings) as warehouse:
        locator = Locator(Index(settings, warehouse))
    source, start = work / f"points-{given.points}", work / "start.parquet"
    write_points(source, locator, given.points)
    pq.write_table(pq.read_table(source / "00.parquet").slice(0, START), start)
    load, runs, rows = os.getloadavg(), {}, []
    for name, workers, kill_after in (("1", 1, 0), ("2", 2, 0), ("2, of which one is killed midway", 2, 1)):
        with tempfile.TemporaryDirectory() as logs, cluster(Path(logs), workers) as running:
            setup = located(running, env, start, work / "answers")["seconds"]
            found = located(running, env, source, work / "answers", kill_after)
        runs[name] = {"setup_seconds": setup, **found, "sums": sums(work / "answers")}
        print(name, json.dumps(runs[name]), flush=True)
        speed = given.points / (found["seconds"] - setup)
        memory = f"{found['java'] / 1e6:,.0f} | {found['python'] / 1e6:,.0f}"
        rows.append(f"| {name} | {found['seconds']:.0f} | {setup:.0f} | {speed:,.0f} | {memory} |")
    facts = {
        **{"points": given.points, "files": FILES, "start": START, "pyspark": version("pyspark"), **machine()},
        **{"bytes": sum(path.stat().st_size for path in source.iterdir()) // 10**6},
        **{"load": ", ".join(f"{each:.1f}" for each in load), "rows": "\n".join(rows)},
        **{"same": "yes" if len({tuple(run["sums"]) for run in runs.values()}) == 1 else "no"},
    }
    if given.results:
        (given.results / "spark.json").write_text(json.dumps({**facts, "runs": runs}, indent=1) + "\n")
        (given.results / "spark.md").write_text(TEXT.format(**facts))


if __name__ == "__main__":
    main()
