"""What is kept of marts beside them, made anew when it is needed: the index of points, and the tiles of the map."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

from admin_boundaries.locate.index import HELD
from admin_boundaries.warehouse import open_warehouse
from ingest.errors import IngestError, MartsMissing
from ingest.settings import Settings, with_dataset


def outdated(settings: Settings) -> Iterator[Path]:
    """Yield the caches of the marts of a dataset that are of another build than these, and that nobody holds.

    The newest tiles of a map stay, whatever build they are of: a server may be showing them.
    """
    points = settings.home / "points" / settings.target / settings.marts
    tiles = settings.home / with_dataset("map", settings.boundaries)
    if not points.is_dir() and not tiles.is_dir():
        return
    try:
        with open_warehouse(settings) as warehouse:
            builds = {each.build_id for each in warehouse.editions() if each.build_id}
    except MartsMissing:
        builds = set()
    except IngestError:  # it is not known of which build they are
        return
    for folder in sorted(points.iterdir()) if points.is_dir() else ():
        if folder.is_dir() and not any(folder.name.endswith(build) for build in builds) and not _is_held(folder):
            yield folder
    drawn = sorted(tiles.glob("*.pmtiles"), key=lambda path: path.stat().st_mtime)
    yield from (path for path in drawn[:-1] if path.stem not in builds)


def _is_held(folder: Path) -> bool:
    """Whether a process uses an index, or is making it."""
    lock = folder.parent / "lock" if folder.name.startswith("making-") else folder / HELD
    try:
        file = lock.open("a")
    except OSError:
        return True
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
