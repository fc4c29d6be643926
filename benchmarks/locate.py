"""Look many points up in a generated world, by `locate` and by other ways.

    python -m benchmarks.locate --scale 1 --timezones FILE_OR_URL --results benchmarks/results

The world and the time zones are loaded into an embedded warehouse of its own, the marts that `locate` needs are built,
and two files of points are made: evenly on land, and like people live, which is denser where units are small. Each way
runs in a process of its own (`benchmarks.locate_peers`); those that nothing else here needs are installed for the time
of the benchmark. A folder that is given is kept, and what is in it is not made again, except for our index. With
`--only`, what was measured of other ways is taken from there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq

from benchmarks import locate_points
from benchmarks.changes import environment, step
from benchmarks.generate import world, write_world
from benchmarks.locate_peers import locator
from benchmarks.locate_zones import agreement
from benchmarks.measure import Cost, machine, run
from ingest.settings import PROJECT_ROOT

MARTS = ("internal_leaf_parts", "internal_timezone_parts", "admin_units", "admin_unit_ancestors", "published_runs")
BUILD = ["dbt", "build", "--resource-type", "seed", "--resource-type", "model", "--select"]
INSTALLED = ("tzfpy==2.1.1", "reverse_geocoder==1.5.1")
VERSIONS = ("duckdb", "apache-sedona", "geopandas", "shapely", "timezonefinder", "numba")
START = 1000  # points, to set things up
SINGLES, FEW_SINGLES = 20_000, 100
PATIENCE_SECONDS = 1800.0
SETS = {"land": "evenly on land", "people": "like people live"}
BOTH, ZONES, CITIES = "units and zones", "zones only", "cities"
OURS, OURS_CSV, DUCKDB, POSTGIS = "locate", "locate-csv", "duckdb-join", "postgis-join"


@dataclass(frozen=True)
class Way:
    """A way to look many points up.

    Attributes
    ----------
    name, title : str
        For ``--only``, and for people.
    answers : str
        What it tells of a point.
    share : float
        Of all points, how many it gets: slow ones get fewer.
    """

    name: str
    title: str
    answers: str
    share: float = 1.0


WAYS = (
    Way(OURS, "`ingest locate`, Parquet", BOTH),
    Way(OURS_CSV, "`ingest locate`, CSV", BOTH, 0.1),
    Way("locate-sql", "`marts.locate_points` on DuckDB", BOTH, 0.005),
    Way(DUCKDB, "DuckDB, `SPATIAL_JOIN`", BOTH),
    Way("sedonadb-join", "SedonaDB, join", BOTH, 0.2),
    Way("geopandas-sjoin", "GeoPandas, `sjoin`", BOTH, 0.1),
    Way(POSTGIS, "PostGIS, join in two sessions", BOTH, 0.02),
    Way("timezonefinder", "timezonefinder", ZONES, 0.5),
    Way("tzfpy", "tzfpy", ZONES, 0.5),
    Way("reverse-geocoder", "reverse_geocoder", CITIES, 0.1),
)
SINGLE = {
    "locator": ("`Locator.locate`", BOTH, SINGLES),
    "locate-sql": ("`marts.locate` on DuckDB", BOTH, FEW_SINGLES),
    "postgis": ("PostGIS, join", BOTH, SINGLES),
    "timezonefinder": ("timezonefinder", ZONES, SINGLES),
    "tzfpy": ("tzfpy", ZONES, SINGLES),
}
COLUMNS = """\
*Points a second* is in steady state: what {start:,} points take is subtracted, which for a join means that the index of
its polygons is there. *Set-up* is everything before: start, imports, loading polygons, and the index of a join; our own
index is made once for each build of the marts (below). *In all* is the command from start to end, points read from
Parquet (or CSV) and answers written as such. Memory is the high-water mark of a single process; pages of our index that
it shares with others count. Slow ways get fewer points, the first of the same file.

Every join has the same parts as `locate`, and answers with keys of units and zones only; `locate` writes 13 columns.
DuckDB joins in the order as written, which is three times as fast as what its optimizer makes of it. PostgreSQL has a
copy of the parts with GiST indexes, and no functions of ours. timezonefinder, tzfpy and reverse_geocoder have data of
their own, and use one core, except for the last.
"""
ALL_PARTS = """(
    select vertex_count from marts.internal_leaf_parts
    union all
    select vertex_count from marts.internal_timezone_parts
) as parts"""
# The join also tells of coarser units, where children leave something of them.
DIFFER = """
    select
        count(*),
        count(*) filter (not is_same)
    from (
        select
            id,
            bool_and(
                theirs.gid is null
                or theirs.gid in (ours.gid_0, ours.gid_1, ours.gid_2, ours.gid_3, ours.gid_4, ours.gid_5)
                or coalesce(list_contains(ours.gids, theirs.gid), false)
            )
            and bool_or(theirs.gid is not distinct from ours.gid)
            and bool_and(theirs.tzid is null or coalesce(list_contains(ours.tzids, theirs.tzid), false))
            and bool_or(theirs.tzid is not distinct from ours.tzid) as is_same
        from '{ours}' as ours
        inner join '{theirs}' as theirs using (id)
        group by id
    ) as points
"""


class Bench:
    """The folder of a run: the warehouse, the points, and what has been measured.

    Parameters
    ----------
    folder : Path
        Where to work.
    points : int
        How many points a file has.
    """

    def __init__(self, folder: Path, points: int) -> None:
        self.folder, self.points = folder / "locate", points
        self.warehouse = folder / "home" / "warehouse.duckdb"
        self.home = self.folder / "home"
        self.env = {
            **environment(folder, "gadm"),
            **{"WAREHOUSE_HOME": str(self.home), "PYTHONPATH": f"{PROJECT_ROOT}{os.pathsep}{self.folder / 'peers'}"},
        }
        self._file = self.folder / "measures.json"
        self.found: dict[str, Any] = json.loads(self._file.read_text()) if self._file.exists() else {}
        self.folder.mkdir(parents=True, exist_ok=True)

    def note(self, name: str, what: dict[str, Any]) -> None:
        """Keep what was measured, and print it."""
        self.found[name] = what
        self._file.write_text(json.dumps(self.found, indent=1), encoding="utf-8")
        print(name, json.dumps(what), flush=True)

    def output(self, way: Way, points: str) -> Path:
        """Return where a way writes its answers."""
        return self.folder / f"{way.name}-{points}.{'csv' if way.name == OURS_CSV else 'parquet'}"

    def file(self, points: str, count: int) -> Path:
        """Return a file of so many points."""
        return locate_points.first(self.folder / f"{points}.parquet", count)

    def run(self, command: list[str]) -> Cost:
        """Run a command and measure it."""
        return run(command, self.env, PROJECT_ROOT, self.folder / "log", PATIENCE_SECONDS)


def prepare(folder: Path, scale: float, timezones: str) -> None:
    """Make the world, load it and the time zones, and build the marts, if they are not there."""
    env = environment(folder, "gadm")
    warehouse = folder / "home" / "warehouse.duckdb"
    if _has_marts(warehouse):
        return
    path = folder / "world.gpkg"
    if not path.exists():
        draft = folder / "making.gpkg"
        draft.unlink(missing_ok=True)
        write_world(draft, world(scale))
        draft.rename(path)
    for dataset, source in (("gadm", str(path)), ("timezones", timezones)):
        step([sys.executable, "-m", "ingest", dataset, f"--source={source}"], env, folder)
    step([*BUILD, *(f"+{mart}" for mart in MARTS)], env, folder)
    path.unlink()


def _has_marts(warehouse: Path) -> bool:
    if not warehouse.exists():
        return False
    query = "select count(*) from information_schema.tables where table_schema = 'marts' and table_name in ?"
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        (count,) = connection.execute(query, [list(MARTS)]).fetchone() or (0,)
    return int(count) == len(MARTS)


def make_index(bench: Bench) -> None:
    """Make our index, in a home of its own, so that it is new each time."""
    shutil.rmtree(bench.home, ignore_errors=True)
    bench.home.mkdir(mode=0o700)
    for name in ("warehouse.duckdb", "raw"):
        (bench.home / name).symlink_to(bench.warehouse.parent.absolute() / name)
    cost = _succeeded(bench.run([sys.executable, "-m", "benchmarks.locate_peers", "index"]))
    size = sum(each.stat().st_size for each in (bench.home / "points").rglob("*") if each.is_file())
    bench.note("index", {"seconds": cost.seconds, "peak_bytes": cost.peak_bytes, "bytes": size})


def make_points(bench: Bench) -> None:
    """Write the points, and the parts as GeoParquet for those that read it, if they are not there."""
    with locate_points.connected(bench.warehouse) as connection:
        makers: dict[str, Callable[[], locate_points.Pair]] = {
            "land": lambda: locate_points.on_land(locator(), bench.points),
            "people": lambda: locate_points.like_people(connection, bench.points),
        }
        for name, make in makers.items():
            path = bench.folder / f"{name}.parquet"
            if not path.exists() or pq.read_metadata(path).num_rows != bench.points:
                for old in bench.folder.glob(f"{name}*"):
                    old.unlink()
                locate_points.write(path, *make())
        single = pq.read_table(bench.file("land", SINGLES)).slice(0, SINGLES)
        points = np.column_stack([single["lon"].to_numpy(), single["lat"].to_numpy()]).tolist()
        for count in (SINGLES, FEW_SINGLES):
            (bench.folder / f"single-{count}.json").write_text(json.dumps(points[:count]), encoding="utf-8")
        for name, mart, key in (("units", "internal_leaf_parts", "gid"), ("zones", "internal_timezone_parts", "tzid")):
            path = bench.folder / f"{name}.parquet"
            if not path.exists():
                connection.execute(f"copy (select {key}, geom from marts.{mart}) to '{path}' (format parquet)")


def _agreement(count: int) -> dict[str, Any]:
    return agreement(locator(), count)


def install(bench: Bench) -> None:
    """Install the peers that are no dependencies, into a folder of their own."""
    target = bench.folder / "peers"
    if not target.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", f"--target={target}", *INSTALLED]
        _succeeded(bench.run(command))


def measure_many(bench: Bench, way: Way, points: str) -> None:
    """Run a way on one of the files of points."""
    count = max(START, round(way.share * bench.points))
    start, file, output = bench.file(points, START), bench.file(points, count), bench.output(way, points)
    if way.name in (OURS, OURS_CSV):
        found, cost = _ours(bench, start, file, output)
    else:
        files = [f"--start={start}", f"--points={file}", f"--output={output}"]
        places = [f"--home={bench.home}", f"--parts={bench.folder}"]
        cost = bench.run([sys.executable, "-m", "benchmarks.locate_peers", "many", way.name, *places, *files])
        found = _printed(cost)
    bench.note(f"many {way.name} {points}", {"points": count, **found, "peak_bytes": cost.peak_bytes})


def _ours(bench: Bench, start: Path, file: Path, output: Path) -> tuple[dict[str, Any], Cost]:
    """Run the command on a few points, which is its start, and on all."""
    if output.suffix == ".csv":
        start, file = locate_points.as_csv(start), locate_points.as_csv(file)
    command = [sys.executable, "-m", "ingest", "locate", f"--output={output}", "--overwrite", "--input"]
    few, many = (bench.run([*command, str(source)]) for source in (start, file))
    if few.exit_code or many.exit_code:
        return {"fault": _last_line(few if few.exit_code else many)}, many
    return {"setup_seconds": few.seconds, "start_seconds": 0.0, "seconds": many.seconds - few.seconds}, many


def measure_postgis(bench: Bench, way: Way) -> None:
    """Run all that is asked of PostGIS, whose parts are loaded once."""
    count = max(START, round(way.share * bench.points))
    files = {points: bench.file(points, count) for points in SETS}
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # the server is of another user
        options = [f"--home={bench.home}", f"--start={bench.file('land', START)}"]
        options += [f"--single={bench.folder / f'single-{SINGLES}.json'}"]
        options += [f"--points={file}" for file in files.values()]
        cost = bench.run([sys.executable, "-m", "benchmarks.locate_postgis", name, *options])
    found = _printed(cost)
    for points, file in files.items():
        measured = {"fault": found["fault"]} if "fault" in found else found["many"][str(file)]
        bench.note(f"many {way.name} {points}", {"points": count, **measured, "peak_bytes": cost.peak_bytes})
    bench.note("one postgis", found.get("one", found))
    bench.note("postgis", {"version": found.get("version", "unknown")})


def measure_one(bench: Bench, way: str) -> None:
    """Ask a way for one point after another."""
    file = bench.folder / f"single-{SINGLE[way][2]}.json"
    command = [sys.executable, "-m", "benchmarks.locate_peers", "one", way, f"--points={file}"]
    began = time.time()
    # not watched: what reads its memory every tenth of a second makes each answer half as long again
    done = subprocess.run(
        [*command, f"--began={began}"], env=bench.env, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    output = done.stderr if done.returncode else done.stdout
    bench.note(f"one {way}", _printed(Cost(time.time() - began, 0, done.returncode, output)))


def compare(bench: Bench) -> None:
    """Count the points of which the join in DuckDB says something else than `locate`."""
    ways = {way.name: way for way in WAYS}
    for points in SETS:
        ours, theirs = (bench.output(ways[name], points) for name in (OURS, DUCKDB))
        if ours.exists() and theirs.exists():
            with duckdb.connect(config={"memory_limit": "6GB", "temp_directory": str(bench.folder)}) as connection:
                query = DIFFER.format(ours=ours, theirs=theirs)
                both, differ = connection.execute(query).fetchone() or (0, 0)
            bench.note(f"compared {points}", {"points": both, "differ": differ})


def _succeeded(cost: Cost) -> Cost:
    if cost.exit_code:
        sys.exit(cost.output)
    return cost


def _printed(cost: Cost) -> dict[str, Any]:
    """Return the JSON of the last line that a command printed."""
    if cost.exit_code:
        print(cost.output)
        return {"fault": _last_line(cost)}
    return dict(json.loads(cost.output.splitlines()[-1]))


def _last_line(cost: Cost) -> str:
    return f"exit code {cost.exit_code}: {(cost.output.strip() or 'no output').splitlines()[-1]}"


def rate(found: dict[str, Any] | None) -> float | None:
    """Return how many points a second are looked up in steady state; None if it failed, or took no time."""
    if not found or "fault" in found or found["seconds"] <= found["start_seconds"]:
        return None
    return float((found["points"] - START) / (found["seconds"] - found["start_seconds"]))


def goals(found: dict[str, Any]) -> Iterator[tuple[str, str, str, bool | None]]:
    """Yield each goal, what it asks for, what was found, and whether it is met; None if that is not known."""
    ours, theirs = ({points: rate(found.get(f"many {way} {points}")) for points in SETS} for way in (OURS, DUCKDB))
    for points, goal in (("land", 1_000_000), ("people", 300_000)):
        yield f"points a second, {SETS[points]}", f"≥ {goal:,}", *_met(ours[points], "{:,.0f}", at_least=goal)
    for points, title in SETS.items():
        mine, other = ours[points], theirs[points]
        ratio = mine / other if mine and other else None
        yield f"compared with the join in DuckDB, {title}", "≥ 2.5 ×", *_met(ratio, "{:.1f} ×", at_least=2.5)
    peaks = [found[key]["peak_bytes"] for points in SETS if (key := f"many {OURS} {points}") in found]
    peak = max(peaks) / 1e9 if peaks else None
    yield "memory", "≤ 3 GB", *_met(peak, "{:.1f} GB", at_most=3)
    one = found.get("one locator", {})
    yield "one point, median", "≤ 20 µs", *_met(one.get("median_us"), "{:.1f} µs", at_most=20)
    yield "first answer after a start", "≤ 3 s", *_met(one.get("first_seconds"), "{:.2f} s", at_most=3)


def _met(
    value: float | None, form: str, *, at_least: float = -np.inf, at_most: float = np.inf
) -> tuple[str, bool | None]:
    return ("not measured", None) if value is None else (form.format(value), bool(at_least <= value <= at_most))


def report(found: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    here, index = found["machine"], found["index"]
    met = {True: "met", False: "missed", None: ""}
    lines = [
        "# locate",
        "",
        f"{found['units']:,} units and {found['zones']} zones in {found['parts']:,} parts with {found['vertices']:,} "
        f"vertices (scale {found['scale']:g}), target `embedded`.",
        f"{here['cores']} cores ({here['processor']}), {here['memory_gib']} GiB. "
        f"{', '.join(f'{name} {number}' for name, number in found['versions'].items())}.",
        "",
        "| goal | | found | |",
        "|---|--:|--:|---|",
        *(f"| {name} | {asked} | {value} | {met[is_met]} |" for name, asked, value, is_met in goals(found)),
    ]
    for points, title in SETS.items():
        lines += [
            "",
            f"## Points {title}",
            "",
            "| way | answers | points | points a second | set-up, s | in all, s | peak memory, MB |",
            "|---|---|--:|--:|--:|--:|--:|",
            *(_line(way, found[key]) for way in WAYS if (key := f"many {way.name} {points}") in found),
        ]
    lines += ["", COLUMNS.format(start=START)]
    lines += [
        f"Our index is made in {index['seconds']:,.0f} s with {index['peak_bytes'] / 1e6:,.0f} MB of memory, and takes "
        f"{index['bytes'] / 1e6:,.0f} MB on disk.",
        *(
            f"On {found[key]['differ']:,} of {found[key]['points']:,} points {title}, DuckDB's join says otherwise."
            for points, title in SETS.items()
            if (key := f"compared {points}") in found
        ),
        "",
        "## One point after another, from Python",
        "",
        "On land; files are in the page cache. The first answer is counted from the start of Python, that of PostGIS "
        "from connecting.",
        "",
        "| way | answers | points | median, µs | 99 of 100 within, µs | first answer, s |",
        "|---|---|--:|--:|--:|--:|",
        *(_single(*SINGLE[way][:2], found[key]) for way in SINGLE if (key := f"one {way}") in found),
    ]
    zones = found["agreement"]
    lines += [
        "",
        "## Zones compared with timezonefinder",
        "",
        f"{zones['agree']:,} of {zones['points']:,} random land points agree: {100 * zones['share']:.3f} %.",
        "",
        "| what | points |",
        "|---|--:|",
        *(f"| {kind} | {count:,} |" for kind, count in sorted(zones["kinds"].items(), key=lambda item: -item[1])),
    ]
    return "\n".join(lines) + "\n"


def _line(way: Way, found: dict[str, Any]) -> str:
    first = f"| {way.title} | {way.answers} | {found['points']:,} |"
    if "fault" in found:
        return f"{first} {found['fault']} | | | {found['peak_bytes'] / 1e6:,.0f} |"
    speed = rate(found)
    whole = found["setup_seconds"] + found["seconds"]
    return (
        f"{first} {'' if speed is None else f'{speed:,.0f}'} | {found['setup_seconds']:,.1f} | {whole:,.1f} | "
        f"{found['peak_bytes'] / 1e6:,.0f} |"
    )


def _single(title: str, answers: str, found: dict[str, Any]) -> str:
    if "fault" in found:
        return f"| {title} | {answers} | | {found['fault']} | | |"
    return (
        f"| {title} | {answers} | {found['points']:,} | {found['median_us']:,.1f} | {found['p99_us']:,.1f} | "
        f"{found['first_seconds']:.2f} |"
    )


def _size(warehouse: Path) -> dict[str, int]:
    queries = {
        "units": "select count(*) from marts.admin_units",
        "zones": "select count(distinct tzid) from marts.internal_timezone_parts",
        "parts": f"select count(*) from {ALL_PARTS}",
        "vertices": f"select sum(vertex_count) from {ALL_PARTS}",
    }
    with locate_points.connected(warehouse) as connection:
        return {name: int((connection.execute(query).fetchone() or (0,))[0]) for name, query in queries.items()}


def _versions() -> dict[str, str]:
    installed = dict(each.split("==") for each in INSTALLED)
    return {**{name: version(name) for name in VERSIONS}, **installed}


def measure(bench: Bench, only: list[str], compared: int) -> None:
    """Measure all ways, or those that are wanted."""

    def wanted(name: str) -> bool:
        return not only or any(re.search(pattern, name) for pattern in only)

    if wanted("index") or not bench.home.exists():
        make_index(bench)
    os.environ.update({name: bench.env[name] for name in ("WAREHOUSE_TARGET", "WAREHOUSE_HOME", "BOUNDARIES")})
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # whose memory is free again afterwards
        pool.submit(make_points, bench).result()
        if wanted("zones") or "agreement" not in bench.found:
            bench.note("agreement", pool.submit(_agreement, compared).result())
    if any(wanted(name) for name in ("tzfpy", "reverse-geocoder")):
        install(bench)
    for way in WAYS:
        if wanted(way.name):
            if way.name == POSTGIS:
                measure_postgis(bench, way)
            else:
                for points in SETS:
                    measure_many(bench, way, points)
    for name in SINGLE:
        if name != "postgis" and wanted(f"one {name}"):
            measure_one(bench, name)
    if any(wanted(name) for name in (OURS, DUCKDB, "compared")):
        compare(bench)


def main() -> None:
    """Prepare, measure, and write ``locate.json`` and ``locate.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the whole world (default: 1)")
    parser.add_argument("--timezones", required=True, help="file or URL of the time zones")
    parser.add_argument("--points", type=int, default=10_000_000, help="in each file (default: 10 million)")
    parser.add_argument("--compared", type=int, default=100_000, help="land points to compare zones on")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        help="pattern of what to measure again: the name of a way, or of index, zones, ^one, compared",
    )
    parser.add_argument("--folder", type=Path, help="where to work, and to leave the warehouse and the points")
    parser.add_argument("--results", type=Path, help="folder for the results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = (options.folder or Path(name)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder, options.scale, options.timezones)
        bench = Bench(folder, options.points)
        measure(bench, options.only, options.compared)
        found = {"scale": options.scale, "machine": machine(), **_size(bench.warehouse), **bench.found}
        found["versions"] = {**_versions(), **({"PostGIS": found["postgis"]["version"]} if "postgis" in found else {})}
    print(report(found))
    if options.results:
        options.results.mkdir(parents=True, exist_ok=True)
        (options.results / "locate.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (options.results / "locate.md").write_text(report(found), encoding="utf-8")


if __name__ == "__main__":
    main()
