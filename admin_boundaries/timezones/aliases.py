"""The mart `timezone_aliases`: the loaded zone that is meant by each name of the time zone database.

A release of zones has fewer names than the database. Links are left out, such as ``US/Eastern``; and most variants
merge zones whose clocks have been the same since 1970, or are from now on, such as ``America/Detroit``.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections import defaultdict

import pyarrow as pa

from admin_boundaries.python_models import Relation
from admin_boundaries.timezones.clocks import END, RELEASE, VERSION, clocks, links, names, spans
from admin_boundaries.timezones.zones import INSTANT, MICROSECONDS, zones_of

NOW = int(dt.datetime(int(RELEASE[:4]), 1, 1, tzinfo=dt.UTC).timestamp())  # of the database
AT_SEA = "Etc/"
NOBODY = "-00"  # what the database calls local time where there is none
SCHEMA = pa.schema(
    [
        pa.field("name", pa.string()),
        pa.field("tzid", pa.string()),
        pa.field("match_kind", pa.string()),
        pa.field("same_since", INSTANT),
        pa.field("tzdata_version", pa.string()),
    ]
)
Offsets = tuple[tuple[int, int], ...]  # from which instant on, how far ahead of UTC


def timezone_aliases(zones: Relation) -> pa.RecordBatchReader:
    """Return the loaded zone of every name.

    Parameters
    ----------
    zones : Relation
        With ``tzid``.

    Returns
    -------
    RecordBatchReader
        One row per name of the database, and per loaded zone that it lacks, of the columns of `SCHEMA`.
    """
    found = aliases(zones_of(zones))
    return pa.Table.from_pylist(
        [
            {
                "name": name,
                "tzid": tzid,
                "match_kind": kind,
                "same_since": None if since is None else since * MICROSECONDS,
                "tzdata_version": VERSION,
            }
            for name, (tzid, kind, since) in sorted(found.items())
        ],
        SCHEMA,
    ).to_reader()


@functools.cache
def aliases(loaded: tuple[str, ...]) -> dict[str, tuple[str | None, str | None, int | None]]:
    """Return, for every name, the loaded zone that is meant, how it was found, and since when clocks are the same.

    Parameters
    ----------
    loaded : tuple of str
        Names of zones.

    Returns
    -------
    dict
        By name, (zone, kind, instant in seconds since 1970). The kind is ``zone`` for a loaded zone itself, ``link`` if
        the database says that both are one, ``same_since_1970`` or ``same_from_now`` by their clocks. All three are
        None where no loaded zone has the same clocks.
    """
    known = sorted(set(loaded) & set(names()))
    link_of = links()
    by_target = {link_of.get(name, name): name for name in reversed(known)}
    alike = defaultdict(list)
    for name in known:
        alike[_offsets(name, NOW)].append(name)
    found: dict[str, tuple[str | None, str | None, int | None]] = {name: (name, "zone", 0) for name in loaded}
    for name in names():
        if name in found:
            continue
        target = link_of.get(name, name)
        if target in by_target:
            found[name] = by_target[target], "link", 0
        elif (candidates := alike[_offsets(name, NOW)]) and NOBODY not in _abbreviations(name):
            best = min(candidates, key=functools.partial(_rank, target))
            since = _same_since(name, best)
            found[name] = best, "same_from_now" if since else "same_since_1970", since
        else:
            found[name] = None, None, None
    return found


def same_everywhere_since(loaded: tuple[str, ...]) -> dict[str, int]:
    """Return since when the clocks of all that is merged into each loaded zone have been the same, in seconds.

    It is 0, that is 1970, for a zone into which nothing is merged by what its clocks show from now on.
    """
    found = dict.fromkeys(loaded, 0)
    for zone, _kind, since in aliases(loaded).values():
        if zone is not None and since is not None:
            found[zone] = max(found[zone], since)
    return found


def _rank(name: str, zone: str) -> tuple[object, ...]:
    """Return what to sort zones with the same clocks by, the one that is meant by a name first.

    On land, one on land is meant, and at sea one at sea; then one that calls its clocks the same; then the one that
    has had the same clocks for longest; then one of the same continent.
    """
    return (
        zone.startswith(AT_SEA) != name.startswith(AT_SEA),
        _abbreviations(name) != _abbreviations(zone),
        _same_since(name, zone),
        zone.partition("/")[0] != name.partition("/")[0],
        zone,
    )


@functools.cache
def _offsets(name: str, since: int) -> Offsets:
    """Return the offsets of a zone from an instant on, each with the instant since when it holds."""
    found: list[tuple[int, int]] = []
    for clock in clocks(name) or ():
        start = max(clock.start, since)
        while found and found[-1][0] == start:
            found.pop()  # it ended before
        if not found or found[-1][1] != clock.offset:
            found.append((start, clock.offset))
    return tuple(found)


@functools.cache
def _abbreviations(name: str) -> frozenset[str]:
    """Return how the clocks of a zone are called from now on."""
    return frozenset(clock.abbreviation for clock, end in spans(name) if end > NOW)


def _same_since(name: str, other: str) -> int:
    """Return since when the clocks of two zones show the same, up to the end; 0 if they have since 1970."""
    one, two = list(_offsets(name, 0)), list(_offsets(other, 0))
    since = END
    while one and two and one[-1][1] == two[-1][1]:
        starts = one[-1][0], two[-1][0]
        since = max(starts)
        if starts[0] >= since:
            one.pop()
        if starts[1] >= since:
            two.pop()
    return since
