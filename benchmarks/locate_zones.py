"""Compare the zones of `locate` with those of ``timezonefinder``, on points spread evenly over the land.

"Land" is every zone except those of the oceans (``Etc/…``), so it includes territorial waters. Zones agree if their
clocks agree from now on: the publisher's variant `now` merges such zones, ``timezonefinder`` has all of them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from timezonefinder import TimezoneFinder

from admin_boundaries.locate import COLUMNS
from admin_boundaries.locate.locator import Locator
from benchmarks.locate_points import Floats, sphere

BATCH = 50_000
NEAR_DEGREES = 0.02  # about 2 km
YEARS = 3
TZID, TZIDS = (COLUMNS.index(name) for name in ("tzid", "tzids"))


def agreement(locator: Locator, count: int) -> dict[str, Any]:
    """Compare zones on random land points, and classify the disagreements."""
    finder = TimezoneFinder()
    lons, lats, ours = _land(locator, count)
    kinds: Counter[str] = Counter()
    examples: dict[str, list[Any]] = {}
    for lon, lat, mine in zip(lons.tolist(), lats.tolist(), ours, strict=True):
        theirs = finder.timezone_at(lng=lon, lat=lat)
        if theirs and any(_clock(zone) == _clock(theirs) for zone in mine):
            kinds["agree, in an overlap" if len(mine) > 1 else "agree"] += 1
            continue
        kind = _kind(locator, lon, lat, mine, theirs)
        kinds[kind] += 1
        examples.setdefault(kind, []).append([round(lon, 5), round(lat, 5), mine, theirs])
    agreed = kinds["agree"] + kinds["agree, in an overlap"]
    return {"points": count, "agree": agreed, "share": agreed / count, "kinds": dict(kinds), "disagreements": examples}


def _land(locator: Locator, count: int) -> tuple[Floats, Floats, list[list[str]]]:
    """Return random points on land, and the zones that `locate` gives them."""
    lons, lats, zones = [], [], []
    for seed in itertools.count():
        some = sphere(BATCH, seed)
        for lon, lat, answer in zip(*some, locator.rows(locator.find(*some)), strict=True):
            if answer[TZID] and not answer[TZID].startswith("Etc/"):
                lons.append(lon)
                lats.append(lat)
                zones.append(list(answer[TZIDS]))
        if len(lons) >= count:
            break
    return np.array(lons[:count]), np.array(lats[:count]), zones[:count]


@cache
def _clock(tzid: str) -> tuple[timedelta | None, ...]:
    """Return a zone's offsets from UTC over the next years, every twelve hours; empty if the zone is unknown."""
    try:
        zone = ZoneInfo(tzid)
    except ZoneInfoNotFoundError:
        return ()
    start = datetime(datetime.now(UTC).year + 1, 1, 1, tzinfo=UTC)
    return tuple((start + timedelta(hours=12 * half)).astimezone(zone).utcoffset() for half in range(730 * YEARS))


def _kind(locator: Locator, lon: float, lat: float, mine: Sequence[str], theirs: str | None) -> str:
    if theirs is None or theirs.startswith("Etc/"):
        return "coast: open sea to timezonefinder"
    around = [(lon + x * NEAR_DEGREES, lat + y * NEAR_DEGREES) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    near = {zone for x, y in around for zone in locator.locate(x, y)[TZIDS] or ()}
    if any(_clock(zone) == _clock(theirs) for zone in near):
        return "border: less than about 2 km away"
    return f"other rules or borders in the other release: {mine[0]} and {theirs}"
