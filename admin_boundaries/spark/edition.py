"""The edition of the marts that readers see on Spark: one small file that says where each table is.

A build writes each table into a folder of its own, which nobody else writes to again, and puts the *pointer* in its
place when all of them are built and tested. Nothing is renamed or linked, since object stores can do neither.

    <root>/marts.json                                  the pointer
    <root>/marts/admin_units/20261127T110258-5e0c81af/  a version of a table: Parquet, GeoParquet if it has geometry
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from admin_boundaries.spark.storage import Storage
from ingest.errors import IngestError

LAYOUT = 2
STAMP = "%Y%m%dT%H%M%S"
ABANDONED = timedelta(days=1)  # what an unpublished build wrote is cleared when it is older: it may be at work


@dataclass(frozen=True)
class Table:
    """A version of a table.

    Attributes
    ----------
    format : str
        ``geoparquet``, or ``parquet`` for a table without geometry.
    path : str
        Its folder, relative to that of the pointer.
    """

    format: str
    path: str


@dataclass(frozen=True)
class Edition:
    """What a pointer says.

    Attributes
    ----------
    build_id, built_at : str
        As in ``marts_meta``.
    tables : mapping of str to Table
        By ``schema.name``.
    views : mapping of str to str
        SQL by ``schema.name``, each after those that it reads, which it has by the names of `view_name`.
    raw : list of list of str
        The raw tables that the views read: dataset, table and run of each.
    replaced : list of str
        Paths of the edition before, which a reader may still be reading.
    """

    build_id: str
    built_at: str
    tables: Mapping[str, Table] = field(default_factory=dict)
    views: Mapping[str, str] = field(default_factory=dict)
    raw: list[list[str]] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)

    def as_json(self) -> bytes:
        """Return the content of the pointer."""
        return json.dumps({"layout": LAYOUT, **asdict(self)}, indent=1, ensure_ascii=False).encode()


def view_name(name: str) -> str:
    """Return what ``schema.name`` is called in a session: temporary views, which nobody else sees, have no schema."""
    return name.replace(".", "__")


def pointer(marts: str) -> str:
    """Return the path of the pointer of a schema of marts."""
    return f"{marts}.json"


def read_edition(files: Storage, marts: str) -> Edition | None:
    """Read the pointer.

    Parameters
    ----------
    files : Storage
        Where the marts are.
    marts : str
        Their schema: ``marts``, or ``marts_overture``.

    Returns
    -------
    Edition or None
        None before the first build.

    Raises
    ------
    IngestError
        When a newer version of the project wrote it, or it was damaged.
    """
    content = files.read(pointer(marts))
    if content is None:
        return None
    place = files.at(pointer(marts))
    try:
        found: dict[str, Any] = json.loads(content)
        if found.pop("layout") != LAYOUT:
            raise IngestError(
                f"{place} was written by another version of this project.",
                "Use that version; or delete the file, and build again: dbt build",
            )
        tables = {name: Table(**table) for name, table in found.pop("tables").items()}
        return Edition(tables=tables, **found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise IngestError(f"{place} is damaged: {error}.", "Delete it, and build again: dbt build") from error


def version(build_id: str, began: datetime) -> str:
    """Return the name of the folders of a build."""
    return f"{began.astimezone(UTC):{STAMP}}-{build_id[:8]}"


def publish(files: Storage, marts: str, edition: Edition, before: Edition | None, began: datetime) -> None:
    """Put an edition before readers, and clear away what nobody reads any more.

    Parameters
    ----------
    files : Storage
        Where the marts are.
    marts : str
        Their schema.
    edition : Edition
        What was built, and what stays as it is.
    before : Edition or None
        The edition that it replaces.
    began : datetime
        When the build began.
    """
    files.put(pointer(marts), edition.as_json())
    kept = {table.path for table in edition.tables.values()} | set(edition.replaced)
    for path in before.replaced if before else ():
        if path not in kept:
            files.delete(path)
    for name in edition.tables:
        folder = name.replace(".", "/")
        for old in files.folders(folder):
            if f"{folder}/{old}" not in kept and _is_abandoned(old, began):
                files.delete(f"{folder}/{old}")


def _is_abandoned(folder: str, began: datetime) -> bool:
    """Whether a build that was to write this version can no longer be at work."""
    try:
        return datetime.strptime(folder.split("-", maxsplit=1)[0], STAMP).replace(tzinfo=UTC) < began - ABANDONED
    except ValueError:
        return False
