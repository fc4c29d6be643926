"""How many bytes of a GeoParquet file are read for the units in a box.

    python -m benchmarks.bytes_read --box 2.5 36.4 3.6 36.9 before.parquet after.parquet

Row groups whose boxes do not meet it are left out, by the statistics of `bbox`, or else of `min_lon` and so on.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = ["gid", "name", "geom"]
BOXES = (
    ("bbox.xmin", "bbox.ymin", "bbox.xmax", "bbox.ymax"),
    ("min_lon", "min_lat", "max_lon", "max_lat"),
)


@dataclass(frozen=True)
class Read:
    """What was read of a file: bytes, row groups, and of how many row groups."""

    byte_count: int
    groups: int
    all_groups: int


class Counting(io.FileIO):
    """A file that counts what is read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Return what is read next."""
        found = super().read(-1 if size is None else size) or b""
        self.count += len(found)
        return found


def read_box(path: Path, box: Sequence[float]) -> Read:
    """Read the units of a box: west, south, east, north in degrees."""
    west, south, east, north = box
    with Counting(path) as counting:
        file = pq.ParquetFile(pa.PythonFile(counting, mode="r"))
        about = file.metadata
        columns = {about.schema.column(number).path: number for number in range(about.num_columns)}
        names = next(names for names in BOXES if names[0] in columns)

        def meets(group: int) -> bool:
            min_lon, min_lat, max_lon, max_lat = (
                about.row_group(group).column(columns[name]).statistics for name in names
            )
            is_within = min_lon.min <= east and max_lon.max >= west
            return bool(is_within and min_lat.min <= north and max_lat.max >= south)

        groups = [group for group in range(about.num_row_groups) if meets(group)]
        if groups:
            file.read_row_groups(groups, columns=COLUMNS)
        return Read(counting.count, len(groups), about.num_row_groups)


def main() -> None:
    """Print a line for each file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bytes_read", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--box", type=float, nargs=4, required=True, metavar=("WEST", "SOUTH", "EAST", "NORTH"))
    parser.add_argument("files", type=Path, nargs="+")
    arguments = parser.parse_args()
    for path in arguments.files:
        found = read_box(path, arguments.box)
        read, size = found.byte_count / 1e6, path.stat().st_size / 1e6
        print(f"{path}: {read:,.1f} of {size:,.1f} MB, {found.groups} of {found.all_groups} row groups")


if __name__ == "__main__":
    main()
