"""Look into a GeoPackage before GDAL does: it is a SQLite database, and thereby a program of the file's author.

What GDAL and the engines ask it for must be stored and end. So metadata and layers that are computed (views, virtual
tables, generated columns) are refused, and whatever is read here is read for a limited time.
"""

from __future__ import annotations

import os
import sqlite3
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ingest.errors import FormatUnknown, SchemaDrift
from ingest.sources import parts

SECONDS = 20.0  # that all questions to a small file may take together
BYTES_PER_SECOND = 20_000_000  # and what a large one gets in addition
STEPS = 20_000  # of SQLite's machine between two looks at the clock; a millisecond or so
MAX_TABLES = 10_000  # GDAL leaves out further ones without a word
MAX_ENTRIES = 100_000  # of the schema, with its indexes and triggers
LEAST_ROW_BYTES = 4
METADATA = ("gpkg", "ogr", "rtree", "sqlite")  # how the tables begin that GDAL reads whatever is asked of it
STORED = ("table", "shadow")  # the latter belong to a virtual table, and are stored


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection that only reads, and that interrupts what takes too long."""
    name = urllib.parse.quote(os.fsencode(path.absolute()))
    connection = sqlite3.connect(f"file://{name}?mode=ro&immutable=1", uri=True)
    deadline = time.monotonic() + SECONDS + path.stat().st_size / BYTES_PER_SECOND
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
    connection.execute("pragma trusted_schema = off")
    return connection


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection; what SQLite or Python cannot read is a fault of the file."""
    connection = None
    try:
        connection = connect(path)
        yield connection
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise _damaged(path, error) from error
        raise FormatUnknown(
            f"{parts.brief(path.name)} takes too long to examine: there may be no end to what it computes.",
            "Write it again, for example with ogr2ogr.",
        ) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError, ValueError, TypeError, OverflowError) as error:
        raise _damaged(path, error) from error
    finally:
        if connection is not None:
            connection.close()


def _damaged(path: Path, error: Exception) -> FormatUnknown:
    return FormatUnknown(f"{path.name} is damaged: {error}.", "Download it again.")


def check(path: Path) -> None:
    """Read the metadata before GDAL does: fiona crashes on messages that quote damaged text.

    Raises
    ------
    FormatUnknown
        When the file is damaged, its metadata are computed, or it has more tables than GDAL lists.
    """
    with _reading(path) as connection:
        entries = sum(1 for _ in connection.execute("select * from sqlite_master"))
        if entries > MAX_ENTRIES:
            raise _too_many(path, entries, MAX_ENTRIES)
        # what the schema says after it was parsed: its own words can be edited
        kinds = dict(connection.execute("select lower(name), type from pragma_table_list where schema = 'main'"))
        computed = sorted(
            name
            for name, kind in kinds.items()
            if name.startswith(METADATA)
            and (_generated(connection, name) if kind in STORED else not _is_index(connection, name))
        )
        if computed:
            raise FormatUnknown(
                f"{parts.brief(path.name)} is not a plain GeoPackage: {parts.brief(', '.join(computed))} is computed "
                "instead of stored.",
                "Write it again, for example with ogr2ogr.",
            )
        tables = sum(kind in ("table", "view") for kind in kinds.values())
        named = [sum(1 for _ in connection.execute(f"select * from {name}")) for name in _metadata(kinds)]  # noqa: S608
        if max(tables, named[0]) > MAX_TABLES:
            raise _too_many(path, max(tables, named[0]), MAX_TABLES)


def _metadata(kinds: dict[str, str]) -> list[str]:
    further = ("gpkg_extensions", "gpkg_ogr_contents", "gpkg_data_columns", "gpkg_metadata", "gpkg_metadata_reference")
    needed = ["gpkg_contents", "gpkg_geometry_columns", "gpkg_spatial_ref_sys"]
    return needed + [name for name in further if name in kinds]


def _too_many(path: Path, found: int, most: int) -> FormatUnknown:
    return FormatUnknown(
        f"{parts.brief(path.name)} has {found:,} tables, and {most:,} are read.",
        "Write the layers to load into a file of their own, for example with ogr2ogr.",
    )


def _is_index(connection: sqlite3.Connection, name: str) -> bool:
    """Return whether a virtual table is the spatial index of a layer."""
    (sql,) = connection.execute("select sql from sqlite_master where lower(name) = ?", (name,)).fetchone()
    return name.startswith("rtree_") and " using rtree" in " ".join(sql.lower().split())


def _generated(connection: sqlite3.Connection, table: str) -> list[str]:
    """Return the columns of a table that are computed."""
    return [name for (name,) in connection.execute("select name from pragma_table_xinfo(?) where hidden > 0", (table,))]


def check_layer(path: Path, layer: str) -> None:
    """Refuse a layer whose rows are computed: nobody knows whether they end.

    Raises
    ------
    SchemaDrift
        When it is a view or a virtual table, or has generated columns.
    FormatUnknown
        When it has more rows than the file has room for, so that they would not end either.
    """
    shown = f"{layer} in {path.name}"
    with _reading(path) as connection:
        query = "select type from pragma_table_list where schema = 'main' and name = ? collate nocase"
        kind = connection.execute(query, (layer,)).fetchone()
        if kind is None:
            return  # GDAL says so
        if kind[0] not in STORED:
            raise SchemaDrift(
                f"{shown} is a {'view' if kind[0] == 'view' else 'virtual table'}, which may have rows without end.",
                "Write its rows into a table, for example with ogr2ogr.",
            )
        if generated := _generated(connection, layer):
            raise SchemaDrift(
                f"{shown} has columns that are computed instead of stored: {', '.join(generated)}.",
                "Write its rows into a table, for example with ogr2ogr.",
            )
        most = path.stat().st_size // LEAST_ROW_BYTES
        counting = f"select count(*) from (select 1 from {quote(layer)} not indexed limit ?)"  # noqa: S608
        (count,) = connection.execute(counting, (most + 1,)).fetchone()
        if count > most:
            raise FormatUnknown(f"{shown} has more rows than the file has room for: it is damaged.", "Get it again.")


def columns(path: Path, layer: str) -> tuple[str, str]:
    """Return the names of a layer's id and geometry columns."""
    with _reading(path) as connection:
        query = "select column_name from gpkg_geometry_columns where table_name = ?"
        row = connection.execute(query, (layer,)).fetchone()
        keys = connection.execute("select name from pragma_table_info(?) where pk = 1", (layer,)).fetchone()
    if row is None:
        raise SchemaDrift(f"{layer} in {path.name} has no geometry.")
    if keys is None:
        raise SchemaDrift(f"{layer} in {path.name} has no feature id column.")
    return keys[0], row[0]


def features(path: Path, layer: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the id and the size in bytes of every feature of a layer, see `ingest.layers.discover.features`."""
    fid, geometry = columns(path, layer)
    wanted = f"{quote(fid)}, coalesce(length({quote(geometry)}), 0)"
    query = f"select {wanted} from {quote(layer)} order by 1"  # noqa: S608
    with _reading(path) as connection:
        connection.execute(f"pragma mmap_size = {path.stat().st_size}")  # reads 400,000 rows three times as fast
        rows = np.array(connection.execute(query).fetchall(), dtype=np.int64).reshape(-1, 2)
    return rows[:, 0].copy(), rows[:, 1].copy()


def quote(identifier: str) -> str:
    """Quote a name for SQL."""
    return '"' + identifier.replace('"', '""') + '"'
