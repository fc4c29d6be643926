"""The columns of an answer of `locate`: the same for one point, for many and for a file of them.

``dbt build`` creates the functions that answer, next to the marts, on either target (``macros/lookup``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from ingest.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats: TypeAlias = npt.NDArray[np.float64]

COLUMNS = (
    *("status", "gid", "admin_level", "gid_0", "gid_1", "gid_2", "gid_3", "gid_4", "gid_5"),
    *("name_0", "name_1", "name_2", "name_3", "name_4", "name_5"),
    *("path", "gids", "tzid", "tzids"),
)
ANSWER = ", ".join(COLUMNS)  # to select from the functions
Row = tuple[Any, ...]


def check_degrees(lon: float, lat: float) -> None:
    """Refuse coordinates out of range; NaN is out of every range.

    Raises
    ------
    UsageError
    """
    if -180 <= lon <= 180 and -90 <= lat <= 90:
        return
    swapped = -90 <= lon <= 90 and -180 <= lat <= 180
    hint = "Longitude comes first." if swapped else "Longitude ranges from -180 to 180, latitude from -90 to 90."
    raise UsageError(f"LON {lon}, LAT {lat} is outside the valid range.", hint)


def as_text(value: object) -> str:
    """Return a value of an answer as text: empty for NULL, a list with ``|`` between its items, a time by ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "|".join(map(str, value))
    return str(value)
