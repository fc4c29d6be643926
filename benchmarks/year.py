"""A year of daily refreshes, at the size of a toy: whether disk, ledger and the time of queries stay level.

``python -m benchmarks.year`` prints a row for each quarter. What is simulated is all that piles up: runs, of which some
fail, with files, slices, errors and alerts; builds; logs; and `prune` after each. The rows of the marts do not: each
build replaces them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ingest.ledger import Ledger, Request
from ingest.settings import Settings
from ingest.sources import seal
from tests.fixtures.days import Days, records

QUARTER = 91


def main() -> None:
    """Simulate the days and print what has become of the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365, help="days to simulate")
    parser.add_argument("--kept", type=int, default=90, help="days that records and logs are kept")
    arguments = parser.parse_args()
    columns = (
        "day",
        "rows of the ledger",
        "ledger, kB",
        "lake, kB",
        "logs, kB",
        "counts, ms",
        "latest runs, ms",
        "prune, s",
    )
    print("|", " | ".join(columns), "|")
    print("|---:" * len(columns) + "|")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        settings = Settings("embedded", home, None, "", "of-the-benchmark")
        ledger = Ledger(settings)
        ledger.open()
        days = Days(settings, ledger, _request)
        for day in range(1, arguments.days + 1):
            days.pass_one(day, arguments.kept)
            if day % QUARTER == 0 or day == arguments.days:
                sizes = [seal.size(home / name) / 1000 for name in ("ledger.sqlite", "raw", "logs")]
                took = [_seconds(ledger.tally) * 1000, _seconds(ledger.recent_runs) * 1000, _seconds(days.prune)]
                cells = [day, sum(records(ledger).values()), *(round(each) for each in sizes)]
                print("|", " | ".join([*map(str, cells), *(f"{each:.1f}" for each in took)]), "|", flush=True)


def _request() -> Request:
    return Request("gadm", "4.1", "sedonadb", ("/data/gadm.gpkg",), "custom")


def _seconds(what: Callable[[], object]) -> float:
    """Return the processor's time, which other work on the machine does not change."""
    begun = time.process_time()
    what()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
