"""Measure `locate` against its alternatives, and compare its zones with those of ``timezonefinder``.

    WAREHOUSE_TARGET=postgres … python -m benchmarks.locate --results benchmarks/results

It queries the marts of the target in the environment. Points are spread evenly over the sphere. "Land" is every zone
except those of the oceans (``Etc/…``), so it includes territorial waters. Zones agree if their clocks agree from now
on: the publisher's variant `now` merges such zones, ``timezonefinder`` has all of them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import psycopg
import shapely
from timezonefinder import TimezoneFinder

from admin_boundaries.locate import COLUMNS
from admin_boundaries.warehouse import Warehouse, open_warehouse
from ingest import settings

Floats = npt.NDArray[np.float64]
SINGLES = 2000
BATCH = 50_000
NEAR_DEGREES = 0.02  # about 2 km
YEARS = 3
TZID, TZIDS, GIDS = (COLUMNS.index(name) for name in ("tzid", "tzids", "gids"))


def sphere(count: int, seed: int = 6) -> tuple[Floats, Floats]:
    """Return longitudes and latitudes, evenly spread over the sphere."""
    random = np.random.default_rng(seed)
    return random.uniform(-180, 180, count), np.degrees(np.arcsin(random.uniform(-1, 1, count)))


def land(warehouse: Warehouse, count: int) -> tuple[Floats, Floats, list[list[str]]]:
    """Return random points on land, and the zones that `locate` gives them."""
    lons, lats, zones = [], [], []
    for seed in itertools.count():
        some_lons, some_lats = sphere(BATCH, seed)
        for lon, lat, answer in zip(some_lons, some_lats, warehouse.locate_points(some_lons, some_lats), strict=True):
            if answer[TZID] and not answer[TZID].startswith("Etc/"):
                lons.append(lon)
                lats.append(lat)
                zones.append(list(answer[TZIDS]))
        if len(lons) >= count:
            break
    return np.array(lons[:count]), np.array(lats[:count]), zones[:count]


@cache
def clock(tzid: str) -> tuple[timedelta | None, ...]:
    """Return a zone's offsets from UTC over the next years, every twelve hours; empty if the zone is unknown."""
    try:
        zone = ZoneInfo(tzid)
    except ZoneInfoNotFoundError:
        return ()
    start = datetime(datetime.now(UTC).year + 1, 1, 1, tzinfo=UTC)
    return tuple((start + timedelta(hours=12 * half)).astimezone(zone).utcoffset() for half in range(730 * YEARS))


def agreement(warehouse: Warehouse, finder: TimezoneFinder, count: int) -> dict[str, Any]:
    """Compare zones on random land points, and classify the disagreements."""
    lons, lats, ours = land(warehouse, count)
    kinds: Counter[str] = Counter()
    examples: dict[str, list[Any]] = {}
    for lon, lat, mine in zip(lons, lats, ours, strict=True):
        theirs = finder.timezone_at(lng=lon, lat=lat)
        if theirs and any(clock(zone) == clock(theirs) for zone in mine):
            kinds["agree, in an overlap" if len(mine) > 1 else "agree"] += 1
            continue
        kind = _kind(warehouse, lon, lat, mine, theirs)
        kinds[kind] += 1
        examples.setdefault(kind, []).append([round(lon, 5), round(lat, 5), mine, theirs])
    agreed = kinds["agree"] + kinds["agree, in an overlap"]
    return {"points": count, "agree": agreed, "share": agreed / count, "kinds": dict(kinds), "disagreements": examples}


def _kind(warehouse: Warehouse, lon: float, lat: float, mine: Sequence[str], theirs: str | None) -> str:
    if theirs is None or theirs.startswith("Etc/"):
        return "coast: open sea to timezonefinder"
    around = [(lon + x * NEAR_DEGREES, lat + y * NEAR_DEGREES) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    inside = [(x, y) for x, y in around if -180 <= x <= 180 and -90 <= y <= 90]
    near = {
        zone
        for row in warehouse.locate_points(*(np.array(side) for side in zip(*inside, strict=True)))
        for zone in row[TZIDS] or ()
    }
    if any(clock(zone) == clock(theirs) for zone in near):
        return "border: less than about 2 km away"
    return f"other rules or borders in the other release: {mine[0]} and {theirs}"


def median_ms(ask: Callable[[float, float], object], lons: Floats, lats: Floats) -> float:
    """Return the median milliseconds of a single lookup, after some lookups to warm up."""
    seconds = []
    for lon, lat in zip(lons.tolist(), lats.tolist(), strict=True):
        began = time.perf_counter()
        ask(lon, lat)
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[len(seconds) // 10 :])


def per_second(ask: Callable[[Floats, Floats], object], lons: Floats, lats: Floats) -> float:
    """Return how many points of a batch are looked up per second."""
    began = time.perf_counter()
    ask(lons, lats)
    return len(lons) / (time.perf_counter() - began)


def inland(warehouse: Warehouse, count: int) -> tuple[Floats, Floats]:
    """Return random points that lie in a unit: the worst case, since there are borders to test."""
    lons, lats = [], []
    for seed in itertools.count(1000):
        some = sphere(BATCH, seed)
        for lon, lat, answer in zip(*some, warehouse.locate_points(*some), strict=True):
            if answer[GIDS]:
                lons.append(lon)
                lats.append(lat)
        if len(lons) >= count or seed > 1100:
            break
    return np.array(lons[:count]), np.array(lats[:count])


def measures(warehouse: Warehouse, where: settings.Settings, finder: TimezoneFinder) -> Iterator[dict[str, Any]]:
    """Yield the speed of each way to look points up."""
    lons, lats = inland(warehouse, BATCH)
    few = lons[:SINGLES], lats[:SINGLES]
    yield {
        "way": f"locate, {where.target}: units and zones",
        "median_ms": median_ms(warehouse.locate, *few),
        "points_per_second": per_second(warehouse.locate_points, lons, lats),
    }
    yield {
        "way": "timezonefinder: zones only",
        "median_ms": median_ms(lambda lon, lat: finder.timezone_at(lng=lon, lat=lat), *few),
        "points_per_second": per_second(
            lambda xs, ys: [finder.timezone_at(lng=x, lat=y) for x, y in zip(xs, ys, strict=True)], lons, lats
        ),
    }
    if where.postgres:
        with psycopg.connect(where.postgres.conninfo(), autocommit=True) as connection:
            plain = " union all ".join(
                f"select gid from marts.admin_level_{level} where st_contains(geom, st_setsrid(st_makepoint(%(x)s, %(y)s), 4326))"  # noqa: E501
                for level in range(6)
            )

            def ask(x: float, y: float) -> object:
                return connection.execute(plain, {"x": x, "y": y}).fetchall()  # type: ignore[arg-type]

            some = slice(0, 200)
            yield {
                "way": "ST_Contains over admin_level_0 … 5: units only",
                "median_ms": median_ms(ask, lons[some], lats[some]),
                "points_per_second": per_second(
                    lambda xs, ys: [ask(x, y) for x, y in zip(xs.tolist(), ys.tolist(), strict=True)],
                    lons[some],
                    lats[some],
                ),
            }
            yield {"way": "GeoPandas sjoin with the leaves in memory: leaf only", **_sjoin(connection, lons, lats)}


def _sjoin(connection: psycopg.Connection, lons: Floats, lats: Floats) -> dict[str, Any]:
    keys: list[str] = []
    shapes: list[Any] = []
    began = time.perf_counter()
    for level in range(6):
        query = f"select gid, st_asbinary(geom) from marts.admin_level_{level} where is_leaf and geom is not null"
        with connection.cursor(binary=True) as cursor:
            for gid, wkb in cursor.execute(query):  # type: ignore[arg-type]
                keys.append(gid)
                shapes.append(shapely.from_wkb(wkb))
    leaves = gpd.GeoDataFrame({"gid": keys}, geometry=shapes, crs="EPSG:4326")
    loaded = time.perf_counter() - began
    points = gpd.GeoDataFrame(geometry=gpd.points_from_xy(lons, lats), crs="EPSG:4326")
    speed = per_second(lambda _xs, _ys: points.sjoin(leaves, predicate="intersects"), lons, lats)
    return {"median_ms": None, "points_per_second": speed, "seconds_to_load": loaded}


def report(found: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# locate", "",
        f"{found['units']:,} units, {found['zones']} zones, {found['machine']}.",
        f"{SINGLES:,} single points in sequence over one connection, then {BATCH:,} at once; all lie in a unit.", "",
        "| way | one point, median ms | points a second |", "|---|--:|--:|",
    ]  # fmt: skip
    for row in found["measures"]:
        single = "" if row["median_ms"] is None else f"{row['median_ms']:.3f}"
        lines.append(f"| {row['way']} | {single} | {row['points_per_second']:,.0f} |")
    zones = found["agreement"]
    lines += [
        "", "## Zones compared with timezonefinder", "",
        f"{zones['agree']:,} of {zones['points']:,} random land points agree: {100 * zones['share']:.3f} %.", "",
        "| what | points |", "|---|--:|",
    ]  # fmt: skip
    lines += [f"| {kind} | {count} |" for kind, count in sorted(zones["kinds"].items(), key=lambda item: -item[1])]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, compare, and write ``locate.json`` and ``locate.md``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--points", type=int, default=100_000, help="random land points to compare zones on")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="folder of the results")
    options = parser.parse_args()
    where, finder = settings.read_settings(), TimezoneFinder()
    with open_warehouse(where) as warehouse:
        found: dict[str, Any] = {"target": where.target, "machine": _machine(), **_size(warehouse)}
        found["measures"] = list(measures(warehouse, where, finder))
        found["agreement"] = agreement(warehouse, finder, options.points)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "locate.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (options.results / "locate.md").write_text(report(found), encoding="utf-8")
    print(report(found))


def _size(warehouse: Any) -> dict[str, int]:
    count = warehouse._connection.execute
    return {
        "units": count("select count(*) from marts.admin_units").fetchone()[0],
        "zones": count("select count(*) from marts.timezones").fetchone()[0],
    }


def _machine() -> str:
    return f"{os.cpu_count()} cores"


if __name__ == "__main__":
    main()
