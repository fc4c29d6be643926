"""The loaded zones, and how instants are written."""

from __future__ import annotations

import pyarrow as pa

from admin_boundaries.python_models import Relation

INSTANT = pa.timestamp("us", tz="UTC")
MICROSECONDS = 1_000_000


def zones_of(zones: Relation) -> tuple[str, ...]:
    """Return the names of the loaded zones, sorted.

    Parameters
    ----------
    zones : Relation
        With ``tzid``.
    """
    return tuple(sorted(zones.select("tzid").batches().read_all()["tzid"].to_pylist()))
