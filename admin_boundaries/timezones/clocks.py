"""What the clocks of a zone of the IANA time zone database have shown since 1970, and will show by its rules.

The database is read from the PyPI package ``tzdata``, and not from the operating system, so that one version of the
package gives the same answers everywhere. Its files (TZif, RFC 9636) list the instants at which a clock was changed, up
to a year from which on a rule holds.
"""

from __future__ import annotations

import datetime as dt
import functools
import io
import re
import struct
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise

import numpy as np
import tzdata

YEARS_AHEAD = 10
HEADER = 44  # bytes
WEEK = 7 * 86_400  # seconds; no rule puts a clock forward and back within one
NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
VERSION = str(tzdata.__version__)
RELEASE = str(tzdata.IANA_VERSION)  # such as 2026f
END = int(dt.datetime(int(RELEASE[:4]) + YEARS_AHEAD + 1, 1, 1, tzinfo=dt.UTC).timestamp())


@dataclass(frozen=True)
class Clock:
    """What clocks of a zone show from an instant on.

    Attributes
    ----------
    start : int
        The instant, in seconds since 1970 in UTC.
    offset : int
        How far local time is ahead of UTC, in seconds.
    is_dst : bool
        Whether that is daylight saving time, by the database.
    abbreviation : str
        Such as ``CEST``, or the offset where nobody has a name for it.
    """

    start: int
    offset: int
    is_dst: bool
    abbreviation: str


@functools.cache
def names() -> tuple[str, ...]:
    """Return every name of the database, links and ``Etc/*`` included, sorted."""
    return tuple(sorted(resources.files(tzdata).joinpath("zones").read_text(encoding="utf-8").split()))


@functools.cache
def links() -> dict[str, str]:
    """Return the zone of every name that the database has as a link: two names, one zone."""
    text = resources.files(tzdata).joinpath("zoneinfo", "tzdata.zi").read_text(encoding="utf-8")
    pairs = [line.split()[1:3] for line in text.splitlines() if line.startswith("L ")]
    found = {name: zone for zone, name in pairs}
    while chained := {name: found[zone] for name, zone in found.items() if zone in found}:
        found |= chained
    return found


def clocks(name: str) -> tuple[Clock, ...] | None:
    """Return what clocks of a zone show from 1970 to `END`, in order; None for a name that the database lacks.

    The first begins with 1970, and each holds until the next.
    """
    if not NAME.fullmatch(name):
        return None
    file = resources.files(tzdata).joinpath("zoneinfo", *name.split("/"))
    if not file.is_file():
        return None
    return _clocks(file.read_bytes())


def spans(name: str) -> list[tuple[Clock, int]]:
    """Return what clocks of a zone show, each with the instant at which it ends; nothing for an unknown name."""
    shown = clocks(name) or ()
    return list(zip(shown, [*(clock.start for clock in shown[1:]), END], strict=False))


@functools.cache
def _clocks(data: bytes) -> tuple[Clock, ...]:
    """Read a file; many names have the same."""
    zone = zoneinfo.ZoneInfo.from_file(io.BytesIO(data))
    listed = _listed(data)
    instants = [0, *(each for each in listed if 0 < each < END)]
    has_rule = b"," in data.rstrip(b"\n").rpartition(b"\n")[2]
    rest = _by_rule(zone, max([0, *listed])) if has_rule else ()
    found = [_at(zone, start) for start in [*instants, *rest]]
    return (found[0], *(clock for before, clock in pairwise(found) if _shown(before) != _shown(clock)))


def _listed(data: bytes) -> list[int]:
    """Return the instants that a file lists: those of its second part, which has them in 64 bits."""
    utc, standard, leaps, instants, kinds, letters = struct.unpack_from(">6l", data, 20)
    second = HEADER + instants * 5 + kinds * 6 + letters + leaps * 8 + standard + utc
    (count,) = struct.unpack_from(">l", data, second + 32)
    found: list[int] = np.frombuffer(data, ">i8", count, second + HEADER).tolist()
    return found


def _by_rule(zone: zoneinfo.ZoneInfo, last: int) -> Iterator[int]:
    """Yield the instants after the last one listed at which a rule changes the clock."""
    shown = _shown(_at(zone, last))
    for start in range(last, END, WEEK):
        low, high = start, min(start + WEEK, END)
        after = _shown(_at(zone, high))
        if after == shown:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _shown(_at(zone, middle)) == shown else (low, middle)
        shown = after
        if high < END:
            yield high


def _at(zone: zoneinfo.ZoneInfo, instant: int) -> Clock:
    local = dt.datetime.fromtimestamp(instant, zone)
    offset = local.utcoffset() or dt.timedelta()
    return Clock(instant, round(offset.total_seconds()), bool(local.dst()), local.tzname() or "")


def _shown(clock: Clock) -> tuple[int, bool, str]:
    return clock.offset, clock.is_dst, clock.abbreviation


def as_text(offset: int) -> str:
    """Return an offset in seconds as text: 20700 gives ``+05:45``, -2670 gives ``-00:44:30``."""
    hours, rest = divmod(abs(offset), 3600)
    seconds = f":{rest % 60:02}" if rest % 60 else ""
    return f"{'-' if offset < 0 else '+'}{hours:02}:{rest // 60:02}{seconds}"
