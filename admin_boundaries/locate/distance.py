"""Distances as people write them."""

from __future__ import annotations

import re

from ingest.errors import UsageError

FURTHEST = 500_000.0  # metres
DISTANCE = re.compile(r"(\d+(?:\.\d+)?) ?(m|km)")


def metres_of(text: str) -> float:
    """Return the metres that a text such as ``25km`` means.

    Raises
    ------
    UsageError
        When it is no distance, or one of more than `FURTHEST`.
    """
    found = DISTANCE.fullmatch(text.strip())
    metres = float(found[1]) * (1000 if found[2] == "km" else 1) if found else 0.0
    if not 0 < metres <= FURTHEST:
        raise UsageError(f"{text!r} is not a distance.", "Give up to 500 km in metres or kilometres: 800m, 25km.")
    return metres
