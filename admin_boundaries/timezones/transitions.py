"""The mart `timezone_transitions`: from when to when the clocks of each loaded zone show what."""

from __future__ import annotations

import pyarrow as pa

from admin_boundaries.python_models import Relation
from admin_boundaries.timezones.aliases import same_everywhere_since
from admin_boundaries.timezones.clocks import VERSION, as_text, spans
from admin_boundaries.timezones.zones import INSTANT, MICROSECONDS, zones_of

SCHEMA = pa.schema(
    [
        pa.field("tzid", pa.string()),
        pa.field("starts_at", INSTANT),
        pa.field("ends_at", INSTANT),
        pa.field("utc_offset", pa.string()),
        pa.field("utc_offset_seconds", pa.int32()),
        pa.field("is_dst", pa.bool_()),
        pa.field("abbreviation", pa.string()),
        pa.field("same_everywhere_since", INSTANT),
        pa.field("tzdata_version", pa.string()),
    ]
)


def timezone_transitions(zones: Relation) -> pa.RecordBatchReader:
    """Return what clocks show, zone by zone.

    Parameters
    ----------
    zones : Relation
        With ``tzid``.

    Returns
    -------
    RecordBatchReader
        One row per zone and span in which its clocks stay as they are, of the columns of `SCHEMA`. The spans of a zone
        go from 1970 to `clocks.END` without a gap. A zone that the database does not know has none.
    """
    rows, loaded = [], zones_of(zones)
    since = same_everywhere_since(loaded)
    for tzid in loaded:
        rows += [
            {
                "tzid": tzid,
                "starts_at": clock.start * MICROSECONDS,
                "ends_at": end * MICROSECONDS,
                "utc_offset": as_text(clock.offset),
                "utc_offset_seconds": clock.offset,
                "is_dst": clock.is_dst,
                "abbreviation": clock.abbreviation,
                "same_everywhere_since": since[tzid] * MICROSECONDS,
                "tzdata_version": VERSION,
            }
            for clock, end in spans(tzid)
        ]
    return pa.Table.from_pylist(rows, SCHEMA).to_reader()
