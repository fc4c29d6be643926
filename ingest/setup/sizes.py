"""How large everything is that a warehouse keeps, and where it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ingest import sessions
from ingest.settings import Postgres, Settings, with_dataset

COLUMNS = ("what", "where", "size")
FILES = (
    ("raw tables", "raw"),
    ("ledger", "ledger.sqlite"),
    ("queue", "queue.sqlite"),
    ("downloads", "downloads"),
    ("unpacked archives", "unpacked"),
    ("index of points", "points"),
    ("build in progress", "build"),
    ("logs", "logs"),
)
OF_DATASETS = (("marts", "warehouse", ".duckdb"), ("tiles of the map", "map", ""), ("pictures", "pictures", ""))
SCHEMAS = """
    select
        pg_namespace.nspname,
        sum(pg_total_relation_size(pg_class.oid))::bigint
    from pg_class
    inner join pg_namespace on pg_namespace.oid = pg_class.relnamespace
    where pg_class.relkind in ('r', 'm')
        and pg_namespace.nspname ~ '^(raw|staging|intermediate|marts|seeds)(_|$)'
    group by pg_namespace.nspname
    order by pg_namespace.nspname
"""


@dataclass(frozen=True)
class Size:
    """How large something is.

    Attributes
    ----------
    what, where : str
        What it is, and its file, folder or schema.
    bytes : int
        What it takes on the disk.
    """

    what: str
    where: str
    bytes: int

    @property
    def cells(self) -> tuple[str, str, str]:
        """As a row of a table for people, under `COLUMNS`."""
        return self.what, self.where, f"{self.bytes / 1e6:,.1f} MB"


def measure(settings: Settings, datasets: Sequence[str]) -> Iterator[Size]:
    """Yield the sizes of all that is there.

    Parameters
    ----------
    settings : Settings
        Of the target.
    datasets : sequence of str
        The datasets that may have marts.
    """
    named = list(FILES)
    for what, name, suffix in OF_DATASETS:
        named += [(what, f"{with_dataset(name, dataset)}{suffix}") for dataset in datasets]
    for what, name in named:
        path = settings.home / name
        if path.exists():
            yield Size(what, str(path), on_disk(path))
    if settings.postgres:
        yield from _schemas(settings.postgres)


def on_disk(path: Path) -> int:
    """Return what a file or folder takes on the disk, in bytes; a file with two names counts once."""
    found = {_place(path)} if path.is_file() else set()
    for folder, _folders, files in os.walk(path):
        found |= {_place(Path(folder) / name) for name in files}
    return sum(size for _device, _inode, size in found)


def _place(file: Path) -> tuple[int, int, int]:
    try:
        stat = file.lstat()
    except OSError:  # it has just been removed
        return 0, 0, 0
    return stat.st_dev, stat.st_ino, stat.st_blocks * 512


def _schemas(where: Postgres) -> Iterator[Size]:
    try:
        with sessions.connect(where, to_write=False, timeout=5) as connection:
            for name, size in connection.execute(SCHEMAS):
                yield Size("schema", name, size)
    except psycopg.Error:  # the checks say so
        return
