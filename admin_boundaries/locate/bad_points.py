"""What is wrong with the rows of a file whose coordinates cannot be used, to say it when that is all of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ingest.errors import SchemaDrift

Floats = npt.NDArray[np.float64]
Values = Sequence[object]
SAMPLE = 1000  # bad rows whose values are looked at, to say what is wrong with all of them
DEGREES = "Degrees on WGS 84 are expected, such as -66.1 and 18.4."
# What may be wrong with every row of a file, and what to do about it.
REASONS = {
    "blank": ("they are blank", "Fill the columns of the coordinates."),
    "comma": ("they have decimal commas", "Write decimal points: 18.4 and not 18,4."),
    "swapped": ("longitude and latitude seem to be swapped", "Swap the names of the two columns."),
    "turn": ("their longitudes go beyond 180", "Subtract 360 from longitudes of more than 180."),
    "metres": ("they are not degrees, but seem to be metres", f"Convert them to EPSG:4326. {DEGREES}"),
    "range": ("they are beyond the range of degrees", f"Longitude is within 180, latitude within 90. {DEGREES}"),
    "text": ("they are not numbers", DEGREES),
}
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")


class BadPoints:
    """The rows whose coordinates cannot be used: how many there are, and what is wrong with the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self._kinds = Counter[str]()
        self._example: tuple[object, object] | None = None

    def note(self, lons: Floats, lats: Floats, given: Callable[[int], Values]) -> None:
        """Note the bad ones among the rows of a batch; ``given`` returns the two values of a row as the file has them.

        NaN is not within anything.
        """
        (rows,) = np.nonzero(~((np.abs(lons) <= 180) & (np.abs(lats) <= 90)))
        for row in rows[: max(0, SAMPLE - self.count)].tolist():
            given_lon, given_lat = given(row)
            self._example = self._example or (given_lon, given_lat)
            self._kinds[_fault(given_lon, given_lat, lons[row], lats[row])] += 1
        self.count += len(rows)

    def of_every_row(self, source: object) -> SchemaDrift:
        """Return the error for a file in which no row is good."""
        ((kind, _),) = self._kinds.most_common(1)
        reason, hint = REASONS[kind]
        lon, lat = self._example or ("", "")
        return SchemaDrift(
            f"{source}: no row has coordinates that can be used ({self.count:,} read): {reason}. "
            f"The first are {shown(lon)} and {shown(lat)}.",
            hint,
        )


def shown(value: object) -> str:
    """Return a value of a file as a message shows it."""
    text = "blank" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _fault(given_lon: object, given_lat: object, lon: float, lat: float) -> str:
    """Return which of `REASONS` a pair of values is bad for."""
    texts = ["" if value is None or value != value else str(value) for value in (given_lon, given_lat)]  # noqa: PLR0124
    if not all(text.strip() for text in texts):
        return "blank"
    if any(DECIMAL_COMMA.fullmatch(text) for text in texts):
        return "comma"
    if not (np.isfinite(lon) and np.isfinite(lat)):
        return "text"
    if abs(lon) <= 90 and 90 < abs(lat) <= 180:
        return "swapped"
    if 180 < lon <= 360 and abs(lat) <= 90:
        return "turn"
    return "metres" if abs(lon) > 360 or abs(lat) > 360 else "range"
