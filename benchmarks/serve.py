"""Ask the service over HTTP from several clients at once, and a bare peer on the same marts, and compare them.

    python -m benchmarks.serve --results benchmarks/results

It reads the marts of the embedded target in the environment, and writes nothing there. The peer (`serve_peer.py`) is
what one writes in a few lines: FastAPI over DuckDB's `ST_Contains`. The service is asked twice: before the index of
points has been made, and with it. All are asked the same questions in the same order, one way after another.
"""

from __future__ import annotations

import argparse
import http.client
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from admin_boundaries.locate.index import Index
from admin_boundaries.warehouse import Warehouse, open_warehouse
from benchmarks.measure import machine
from ingest.settings import PROJECT_ROOT, Settings, read_settings
from tests.integration.servers import free_port

SEED, ASKED = 20261127, 2000  # different questions of a kind
START_SECONDS, CLIENT_SECONDS = 120.0, 60.0
OK = 200
KINDS = {"/locate": "a point on land", "/find": "a name", "/units": "a unit", "/items": "ten features, whole"}


@dataclass(frozen=True)
class Measured:
    """What came of asking one kind of question.

    Attributes
    ----------
    seconds : list of float
        How long each answer took that came.
    failed : int
        How many questions were not answered, or with another status than 200.
    lasted : float
        Seconds from the first question to the last answer.
    """

    seconds: list[float]
    failed: int
    lasted: float

    def cells(self) -> list[str]:
        """Return answers a second, and the median and the 99th of a hundred, in milliseconds; and what failed."""
        if not self.seconds:
            return ["0", "", "", str(self.failed)]
        half, slow = np.quantile(self.seconds, [0.5, 0.99]) * 1000
        return [f"{len(self.seconds) / self.lasted:,.0f}", f"{half:,.1f}", f"{slow:,.1f}", str(self.failed)]


def questions(warehouse: Warehouse) -> dict[str, list[str]]:
    """Return what is asked, of each kind: the same for all ways."""
    random = np.random.default_rng(SEED)
    marts = warehouse.marts
    boxes = warehouse.rows(f"select min_lon, min_lat, max_lon, max_lat from {marts}.internal_leaf_parts order by all")
    units = [gid for (gid,) in warehouse.rows(f"select gid from {marts}.admin_units order by gid")]
    names = [name for (name,) in warehouse.rows(f"select name from {marts}.admin_units where name <> '' order by gid")]
    features = [gid for (gid,) in warehouse.rows(f"select gid from {marts}.admin_level_2 order by gid")]
    west, south, east, north = np.array(boxes, np.float64)[random.integers(0, len(boxes), ASKED)].T
    lons, lats = random.uniform(west, east), random.uniform(south, north)

    def some(texts: Sequence[str]) -> list[str]:
        return [urllib.parse.quote(texts[at], safe="") for at in random.integers(0, len(texts), ASKED).tolist()]

    return {
        "/locate": [f"/locate?lon={lon:.6f}&lat={lat:.6f}" for lon, lat in zip(lons, lats, strict=True)],
        "/find": [f"/find?q={name[:80]}" for name in some([name[:20] for name in names])],
        "/units": [f"/units/{gid}" for gid in some(units)],
        "/items": [f"/collections/admin_level_2/items?limit=10&cursor={gid}" for gid in some(features)],
    }


def ask(port: int, paths: Sequence[str], clients: int, seconds: float) -> Measured:
    """Ask for paths, one after another and again from the first, from several clients that each wait for the answer."""
    ends = time.perf_counter() + seconds

    def client(first: int) -> tuple[list[float], int]:
        took: list[float] = []
        failed, at = 0, first
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CLIENT_SECONDS)
        while (began := time.perf_counter()) < ends:
            try:
                connection.request("GET", paths[at % len(paths)])
                answer = connection.getresponse()
                answer.read()
                is_good = answer.status == OK
            except OSError:
                connection.close()
                is_good = False
            if is_good:
                took.append(time.perf_counter() - began)
            else:
                failed += 1
            at += clients
        connection.close()
        return took, failed

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(client, range(clients)))
    lasted = time.perf_counter() - began
    return Measured([each for took, _ in found for each in took], sum(failed for _, failed in found), lasted)


@contextmanager
def served(command: Callable[[int], Sequence[str]], env: dict[str, str], log: Path) -> Iterator[int]:
    """Start a server, wait until it listens, yield its port, and end it."""
    port = free_port()
    with log.open("ab") as output:
        process = subprocess.Popen([*command(port)], env=env, cwd=PROJECT_ROOT, stdout=output, stderr=output)
        try:
            ends = time.monotonic() + START_SECONDS
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > ends:
                    sys.exit(f"The server did not start: {log.read_text()}")
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/alive")
        return connection.getresponse().status == OK
    except OSError:
        return False
    finally:
        connection.close()


def ours(port: int) -> Sequence[str]:
    """Return the command of the service."""
    return [sys.executable, "-m", "ingest", "serve", f"--port={port}"]


def peer(port: int) -> Sequence[str]:
    """Return the command of the peer."""
    options = ["--host=127.0.0.1", f"--port={port}", "--log-level=warning"]
    return [sys.executable, "-m", "uvicorn", "benchmarks.serve_peer:app", *options]


def _home_of_our_own(settings: Settings, folder: Path) -> Settings:
    """Return a home with the marts of another, and without an index."""
    folder.mkdir(mode=0o700)
    for path in (settings.warehouse, settings.lake):
        (folder / path.name).symlink_to(path.absolute())
    return read_settings({"WAREHOUSE_HOME": str(folder), "WAREHOUSE_TARGET": "embedded"})


def main() -> None:
    """Measure all ways, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8, help="how many ask at once (8)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each kind of question (10)")
    parser.add_argument("--results", type=Path, help="folder for serve.md")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        settings = _home_of_our_own(read_settings(), Path(name) / "home")
        env = {**os.environ, "WAREHOUSE_TARGET": "embedded", "WAREHOUSE_HOME": str(settings.home)}
        env["PYTHONPATH"] = str(PROJECT_ROOT)
        with open_warehouse(settings) as warehouse:
            asked = questions(warehouse)
            ((units,),) = warehouse.rows(f"select count(*) from {warehouse.marts}.admin_units")
        for way, command, kinds in (
            ("bare FastAPI over DuckDB", peer, tuple(KINDS)),
            ("`serve`, before there is an index", ours, ("/locate",)),
            ("`serve`", ours, tuple(KINDS)),
        ):
            if way == "`serve`":
                with open_warehouse(settings) as warehouse:
                    Index(settings, warehouse).folder()
            with served(command, env, Path(name) / "log") as port:
                for kind in kinds:
                    ask(port, asked[kind], options.clients, options.seconds / 5)  # what is read once, has been
                    cells = [way, f"`{kind}`", *ask(port, asked[kind], options.clients, options.seconds).cells()]
                    rows.append(f"| {' | '.join(cells)} |")
                    print(rows[-1], flush=True)
    here = machine()
    text = "\n".join(
        [
            f"{options.clients} clients, which ask on one connection each and wait for the answer, "
            f"{options.seconds:g} seconds for each kind of question, on the marts of {units:,} units: "
            f"{'; '.join(f'`{kind}` for {what}' for kind, what in KINDS.items())}. On {here['cores']} cores "
            f"({here['processor']}), which the clients share with the server, and {here['memory_gib']} GiB.",
            "",
            "| way | question | answers a second | median, ms | 99 of 100 within, ms | failed |",
            "|---|---|---:|---:|---:|---:|",
            *rows,
        ]
    )
    print(text)
    if options.results:
        (options.results / "serve.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
