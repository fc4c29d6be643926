"""Ways to look points up, each run in a process of its own by `benchmarks.locate`.

    python -m benchmarks.locate_peers many WAY --home HOME --parts PARTS --start FEW --points POINTS --output FILE
    python -m benchmarks.locate_peers one WAY --began SECONDS --points POINTS
    python -m benchmarks.locate_peers index

The first reads a Parquet file of points and writes one of answers; the second asks for one point after another; the
third makes our index. Each prints what it took as JSON. A way imports what it needs by itself, so that its start is
not that of others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

LookUp = Callable[[Path, Path], None]
Ask = Callable[[float, float], object]
OPEN = ExitStack()
POSTGIS = "BENCHMARK_POSTGIS"  # how to connect to it
SESSIONS = 2
FIRST = (9.18, 48.78)
# By itself, the optimizer joins the units the other way round, which takes three times as long.
AS_WRITTEN = "set disabled_optimizers = 'build_side_probe_side,join_order'"
JOIN = """
    select points.id, units.gid, zones.tzid
    from (select id, {point} as point from {points}) as points
    left join {units} as units on st_intersects(points.point, units.geom)
    left join {zones} as zones on st_intersects(points.point, zones.geom)
"""
IN_DUCKDB = JOIN.format(
    **{"point": "st_point(lon, lat)::geometry('EPSG:4326')", "points": "read_parquet('{points}')"},
    **{"units": "marts.internal_leaf_parts", "zones": "marts.internal_timezone_parts"},
)
IN_SEDONADB = JOIN.format(point="st_setsrid(st_point(lon, lat), 4326)", points="given", units="units", zones="zones")
IN_POSTGIS = JOIN.format(
    point="st_makepoint(lon, lat)",
    points="unnest(%s::bigint[], %s::float8[], %s::float8[]) as given (id, lon, lat)",
    units="units",
    zones="zones",
)
ONE_IN_POSTGIS = JOIN.format(
    point="st_makepoint(lon, lat)",
    points="(select 1 as id, %s::float8 as lon, %s::float8 as lat) as given",
    units="units",
    zones="zones",
)


def _read(points: Path) -> tuple[Any, Any, Any]:
    """Return the columns of a file of points."""
    import pyarrow.parquet as pq

    table = pq.read_table(points)
    return tuple(table[name].to_numpy() for name in ("id", "lon", "lat"))  # type: ignore[return-value]


def _write(output: Path, **columns: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), output)


def _opened(home: Path) -> Any:
    from benchmarks.locate_points import connected

    return connected(home / "warehouse.duckdb")


def locator() -> Any:
    """Return a `Locator` of the warehouse of the environment; the index is made if it is not there."""
    from admin_boundaries.locate.index import Index
    from admin_boundaries.locate.locator import Locator
    from admin_boundaries.warehouse import open_warehouse
    from ingest.settings import read_settings

    settings = read_settings()
    with open_warehouse(settings) as warehouse:
        return Locator(Index(settings, warehouse))


def _warehouse() -> Any:
    """Return the warehouse of the environment, open until the process ends."""
    from admin_boundaries.warehouse import open_warehouse
    from ingest.settings import read_settings

    return OPEN.enter_context(open_warehouse(read_settings()))


def _duckdb_join(home: Path, _parts: Path) -> LookUp:
    connection = _opened(home)
    connection.execute(AS_WRITTEN)

    def look_up(points: Path, output: Path) -> None:
        query = IN_DUCKDB.format(points=points)
        plan = str(connection.execute(f"explain {query}").fetchall())
        assert plan.count("SPATIAL_JOIN") == 2, plan
        connection.execute(f"copy ({query}) to '{output}' (format parquet)")

    return look_up


def _sedonadb_join(_home: Path, parts: Path) -> LookUp:
    import sedonadb

    connection = sedonadb.connect()
    for name in ("units", "zones"):
        connection.read_parquet(str(parts / f"{name}.parquet")).to_view(name)

    def look_up(points: Path, output: Path) -> None:
        connection.read_parquet(str(points)).to_view("given", overwrite=True)
        connection.sql(IN_SEDONADB).to_parquet(str(output))

    return look_up


def _geopandas_sjoin(_home: Path, parts: Path) -> LookUp:
    import geopandas as gpd

    frames = [gpd.read_parquet(parts / f"{name}.parquet") for name in ("units", "zones")]
    for frame in frames:
        assert frame.sindex is not None  # it is made when it is asked for

    def look_up(points: Path, output: Path) -> None:
        ids, lons, lats = _read(points)
        given = gpd.GeoDataFrame({"id": ids}, geometry=gpd.points_from_xy(lons, lats), crs=frames[0].crs)
        found = [given.sjoin(frame, how="left", predicate="intersects").drop(columns="index_right") for frame in frames]
        found[0].drop(columns="geometry").merge(found[1].drop(columns="geometry"), on="id").to_parquet(output)

    return look_up


def _postgis_join(_home: Path, _parts: Path) -> LookUp:
    import numpy as np
    import psycopg

    sessions = [psycopg.connect(os.environ[POSTGIS]) for _ in range(SESSIONS)]

    def ask(session: Any, columns: Sequence[Any]) -> list[Any]:
        rows: list[Any] = session.execute(IN_POSTGIS, [column.tolist() for column in columns], binary=True).fetchall()
        return rows

    def look_up(points: Path, output: Path) -> None:
        shares = zip(*(np.array_split(column, SESSIONS) for column in _read(points)), strict=True)
        with ThreadPoolExecutor(SESSIONS) as pool:
            rows = [row for some in pool.map(ask, sessions, shares) for row in some]
        ids, gids, tzids = zip(*rows, strict=True)
        _write(output, id=ids, gid=gids, tzid=tzids)

    return look_up


def _locate_sql(_home: Path, _parts: Path) -> LookUp:
    warehouse = _warehouse()

    def look_up(points: Path, output: Path) -> None:
        from admin_boundaries.locate import COLUMNS

        ids, lons, lats = _read(points)
        answers = zip(*warehouse.locate_points(lons, lats), strict=True)
        _write(output, id=ids, **dict(zip(COLUMNS, answers, strict=True)))

    return look_up


def _timezonefinder(_home: Path, _parts: Path) -> LookUp:
    from timezonefinder import TimezoneFinder

    finder = TimezoneFinder(in_memory=True)

    def look_up(points: Path, output: Path) -> None:
        ids, lons, lats = _read(points)
        _write(output, id=ids, tzid=finder.timezone_names_at(lngs=lons, lats=lats))

    return look_up


def _tzfpy(_home: Path, _parts: Path) -> LookUp:
    tzfpy = import_module("tzfpy")

    def look_up(points: Path, output: Path) -> None:
        ids, lons, lats = _read(points)
        _write(output, id=ids, tzid=list(map(tzfpy.get_tz, lons.tolist(), lats.tolist())))

    return look_up


def _reverse_geocoder(_home: Path, _parts: Path) -> LookUp:
    reverse_geocoder = import_module("reverse_geocoder")

    def look_up(points: Path, output: Path) -> None:
        ids, lons, lats = _read(points)
        cities = reverse_geocoder.search(list(zip(lats.tolist(), lons.tolist(), strict=True)), verbose=False)
        _write(output, id=ids, name=[city["name"] for city in cities], country=[city["cc"] for city in cities])

    return look_up


MANY: dict[str, Callable[[Path, Path], LookUp]] = {
    "duckdb-join": _duckdb_join,
    "sedonadb-join": _sedonadb_join,
    "geopandas-sjoin": _geopandas_sjoin,
    "postgis-join": _postgis_join,
    "locate-sql": _locate_sql,
    "timezonefinder": _timezonefinder,
    "tzfpy": _tzfpy,
    "reverse-geocoder": _reverse_geocoder,
}


def many(way: str, home: Path, parts: Path, files: tuple[Path, Path, Path]) -> dict[str, float]:
    """Look up a few points twice, and then many.

    The first time sets things up; what the second time takes is no work for points, but for instance to build the index
    of polygons again, which a join has to do each time.
    """
    start, points, output = files
    began = time.perf_counter()
    look_up = MANY[way](home, parts)
    look_up(start, output)
    marks = [time.perf_counter()]
    for file in (start, points):
        look_up(file, output)
        marks.append(time.perf_counter())
    return {"setup_seconds": marks[0] - began, "start_seconds": marks[1] - marks[0], "seconds": marks[2] - marks[1]}


def _ask_locator() -> Ask:
    return locator().locate  # type: ignore[no-any-return]


def _ask_timezonefinder() -> Ask:
    from timezonefinder import TimezoneFinder

    finder = TimezoneFinder()
    return lambda lon, lat: finder.timezone_at(lng=lon, lat=lat)


def _ask_tzfpy() -> Ask:
    return import_module("tzfpy").get_tz  # type: ignore[no-any-return]


def _ask_locate_sql() -> Ask:
    return _warehouse().locate  # type: ignore[no-any-return]


def _ask_postgis() -> Ask:
    import psycopg

    session = psycopg.connect(os.environ[POSTGIS], autocommit=True)
    session.prepare_threshold = 0
    return lambda lon, lat: session.execute(ONE_IN_POSTGIS, (lon, lat)).fetchall()  # type: ignore[arg-type]


ONE: dict[str, Callable[[], Ask]] = {
    "locator": _ask_locator,
    "locate-sql": _ask_locate_sql,
    "postgis": _ask_postgis,
    "timezonefinder": _ask_timezonefinder,
    "tzfpy": _ask_tzfpy,
}


def one(way: str, began: float, points: Path) -> dict[str, float]:
    """Ask for one point, and for many of them, one after another.

    Parameters
    ----------
    way : str
        Of `ONE`.
    began : float
        When the process was started, in seconds since 1970.
    points : Path
        A JSON list of longitudes and latitudes.
    """
    ask = ONE[way]()
    ask(*FIRST)
    first = time.time() - began
    seconds = []
    given = json.loads(points.read_text(encoding="utf-8"))
    for lon, lat in given:
        before = time.perf_counter()
        ask(lon, lat)
        seconds.append(time.perf_counter() - before)
    warm = sorted(seconds[len(seconds) // 10 :])
    return {
        "first_seconds": first,
        "points": len(given),
        "median_us": 1e6 * statistics.median(warm),
        "p99_us": 1e6 * warm[int(0.99 * len(warm))],
    }


def main() -> None:
    """Run a way, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["index", "many", "one"])
    parser.add_argument("way", nargs="?", choices=sorted({*MANY, *ONE}))
    parser.add_argument("--began", type=float, default=0.0, help="when the process was started, seconds since 1970")
    for name in ("home", "parts", "start", "points", "output"):
        parser.add_argument(f"--{name}", type=Path)
    given = parser.parse_args()
    if given.kind == "index":
        locator()
        found = {}
    elif given.kind == "one":
        found = one(given.way, given.began, given.points)
    else:
        found = many(given.way, given.home, given.parts, (given.start, given.points, given.output))
    print(f"\n{json.dumps(found)}")


if __name__ == "__main__":
    main()
