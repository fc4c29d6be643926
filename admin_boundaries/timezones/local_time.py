"""What clocks show at a place at a time, by the mart `timezone_transitions`.

A time that says how far it is from UTC is an instant. Any other is what a clock at the place shows, and may be two
instants or none: when clocks are put back, an hour comes twice, and when they are put forward, one does not come. As
RFC 5545 has it, the first of two is meant, and a time that does not come is counted from before the change, so that
02:30 is 03:30.
"""

from __future__ import annotations

import datetime as dt
import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa

from admin_boundaries.timezones.clocks import as_text
from admin_boundaries.timezones.zones import INSTANT
from admin_boundaries.warehouse import Warehouse

ONE, TWICE, SKIPPED, UNCERTAIN = "one time", "ambiguous", "missing", "uncertain"
BAD, OUTSIDE, NO_ZONE = "bad time", "out of range", "no zone"
FIELDS = [
    pa.field("time_status", pa.string()),
    pa.field("utc_time", INSTANT),
    pa.field("local_time", pa.timestamp("us")),
    pa.field("utc_offset", pa.string()),
    pa.field("is_dst", pa.bool_()),
    pa.field("abbreviation", pa.string()),
]
HAS_A_CLOCK = re.compile(r"\s*\d{4}-?\d\d-?\d\d[T ]\d\d.*", re.DOTALL)
EPOCH = dt.datetime(1970, 1, 1)
SECOND = dt.timedelta(seconds=1)
MOST_SECONDS = 26 * 3600  # between local time and UTC, on either side of a change
SPANS = """
    select
        tzid,
        cast(extract(epoch from starts_at) as bigint),
        cast(extract(epoch from ends_at) as bigint),
        utc_offset_seconds,
        is_dst,
        abbreviation,
        cast(extract(epoch from same_everywhere_since) as bigint)
    from {marts}.timezone_transitions
    order by
        tzid,
        starts_at
"""


@dataclass(frozen=True)
class Shown:
    """What clocks show.

    Attributes
    ----------
    time_status : str
        ``one time``; ``ambiguous`` or ``missing`` of a local time that comes twice or not at all; ``uncertain`` where
        clocks of the zone did not all show the same then: the variant of the zones merges those that do from now on. Or
        why nothing else is said: ``bad time``, ``out of range`` of the mart, or ``no zone`` of which anything is known.
    utc_time : datetime, optional
        The instant, in UTC.
    local_time : datetime, optional
        What clocks show then, without a zone.
    utc_offset : str, optional
        How far local time is ahead of UTC, such as ``+05:45``.
    is_dst : bool, optional
        Whether it is daylight saving time.
    abbreviation : str, optional
        Such as ``CEST``.
    """

    time_status: str
    utc_time: dt.datetime | None = None
    local_time: dt.datetime | None = None
    utc_offset: str | None = None
    is_dst: bool | None = None
    abbreviation: str | None = None

    @property
    def values(self) -> tuple[object, ...]:
        """As values of `FIELDS`."""
        return tuple(getattr(self, field.name) for field in FIELDS)


@dataclass
class _Spans:
    """The spans of a zone, in seconds since 1970 in UTC; each ends where the next one starts."""

    starts: list[int]
    end: int
    same_since: int  # the clocks of all that is merged into the zone
    shown: list[tuple[int, bool, str]]  # how far ahead of UTC, whether it is daylight saving time, abbreviation

    def instants(self, local: int) -> tuple[str, int] | None:
        """Return whether a local time comes once, and at which instant; None before the first span and after the last.

        Parameters
        ----------
        local : int
            What clocks show, in seconds since they showed the beginning of 1970.
        """
        near = range(
            max(0, bisect_right(self.starts, local - MOST_SECONDS) - 1), bisect_right(self.starts, local + MOST_SECONDS)
        )
        instants = [local - self.shown[at][0] for at in near]
        starts, ends = self.starts[near.start : near.stop], [*self.starts[near.start + 1 : near.stop + 1], self.end]
        found = [instant for start, instant, end in zip(starts, instants, ends, strict=False) if start <= instant < end]
        if found:
            return (ONE if len(found) == 1 else TWICE), found[0]
        for (instant, next_instant), end in zip(pairwise(instants), ends, strict=False):
            if instant >= end > next_instant:
                return SKIPPED, instant
        return None


class LocalTimes:
    """What clocks of the loaded zones show at any time.

    Parameters
    ----------
    warehouse : Warehouse
        Whose marts are read, once.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._zones: dict[str, _Spans] = {}
        for tzid, start, end, offset, is_dst, name, same in warehouse.rows(SPANS.format(marts=warehouse.marts)):
            spans = self._zones.setdefault(tzid, _Spans([], end, same, []))
            spans.starts.append(start)
            spans.shown.append((offset, is_dst, name))
            spans.end = end

    def at(self, tzid: str | None, time: dt.datetime | None) -> Shown:
        """Return what clocks of a zone show at a time.

        Parameters
        ----------
        tzid : str, optional
            The zone; None for nowhere.
        time : datetime, optional
            With an offset of its own, an instant; without, what a clock shows. None for one that could not be read.
        """
        if time is None:
            return Shown(BAD)
        spans = self._zones.get(tzid or "")
        if spans is None:
            return Shown(NO_ZONE)
        status = ONE
        try:
            given = time if time.tzinfo is None else time.astimezone(dt.UTC).replace(tzinfo=None)
        except OverflowError:
            return Shown(OUTSIDE)
        seconds = (given - EPOCH) // SECOND
        if time.tzinfo is None:
            found = spans.instants(seconds)
            if found is None:
                return Shown(OUTSIDE)
            status, seconds = found
        if not spans.starts[0] <= seconds < spans.end:
            return Shown(OUTSIDE)
        instant = EPOCH + seconds * SECOND + dt.timedelta(microseconds=given.microsecond)
        offset, is_dst, abbreviation = spans.shown[bisect_right(spans.starts, seconds) - 1]
        local = instant + offset * SECOND
        status = status if seconds >= spans.same_since else UNCERTAIN
        return Shown(status, instant.replace(tzinfo=dt.UTC), local, as_text(offset), is_dst, abbreviation)


def time_of(value: object) -> dt.datetime | None:
    """Return the time that a value is, as ISO 8601 writes it; None for any other, and for a day without a time."""
    if isinstance(value, dt.datetime):
        return value
    if not isinstance(value, str) or not HAS_A_CLOCK.fullmatch(value):
        return None
    try:
        return dt.datetime.fromisoformat(value.strip())
    except ValueError:
        return None
