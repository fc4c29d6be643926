"""Write seeds/timezone_offsets.csv: the UTC offsets of every IANA zone in a given year.

Standard time is the lowest offset of the year, daylight saving time the highest when it differs. Read from the PyPI
package ``tzdata`` (not from the operating system), so that the same package version always gives the same file:

    python scripts/build_timezone_offsets.py --year 2025
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import importlib.resources
import zoneinfo
from pathlib import Path

import tzdata

SEED = Path(__file__).resolve().parent.parent / "seeds" / "timezone_offsets.csv"
HEADER = (
    "tzid",
    "standard_utc_offset",
    "standard_utc_offset_minutes",
    "daylight_utc_offset",
    "daylight_utc_offset_minutes",
    "reference_year",
    "tzdata_version",
)


def zone_names() -> list[str]:
    """Return every zone name of the package, aliases and ``Etc/*`` included, sorted."""
    listing = importlib.resources.files(tzdata).joinpath("zones").read_text(encoding="utf-8")
    return sorted(listing.split())


def offsets_of(name: str, year: int) -> list[int]:
    """Return the distinct UTC offsets of a zone in a year, in minutes, ascending; every hour is checked."""
    with importlib.resources.files(tzdata).joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        zone = zoneinfo.ZoneInfo.from_file(file, key=name)
    hour = dt.datetime(year, 1, 1, tzinfo=dt.UTC)
    found = set()
    while hour.year == year:
        offset = hour.astimezone(zone).utcoffset() or dt.timedelta()
        found.add(round(offset.total_seconds() / 60))
        hour += dt.timedelta(hours=1)
    return sorted(found)


def as_text(minutes: int) -> str:
    """Return an offset as text: 345 gives ``+05:45``."""
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"


def main() -> None:
    """Write the seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--year", type=int, default=2025, help="the year of the offsets (default: %(default)s)")
    year = parser.parse_args().year
    with SEED.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for name in zone_names():
            offsets = offsets_of(name, year)
            low, high = offsets[0], offsets[-1]
            daylight = (as_text(high), high) if high != low else ("", "")
            writer.writerow((name, as_text(low), low, *daylight, year, tzdata.__version__))
    print(f"{SEED.name}: {len(zone_names())} zones, {year}, tzdata {tzdata.__version__}")


if __name__ == "__main__":
    main()
