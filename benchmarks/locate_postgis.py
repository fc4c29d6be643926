"""The join of points with parts in a PostgreSQL of its own: ``python -m benchmarks.locate_postgis FOLDER …``.

The parts are copied into it, since a whole build on PostgreSQL takes much longer. It prints what it took as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.bench import TUNED
from benchmarks.locate_peers import POSTGIS, many, one
from benchmarks.locate_points import connected
from tests.integration import servers

TABLES = {"units": ("internal_leaf_parts", "gid"), "zones": ("internal_timezone_parts", "tzid")}


def load(connection: psycopg.Connection, warehouse: Path) -> None:
    """Copy the parts, as plain geometry without a reference system, and index them."""
    connection.execute("create extension postgis")
    source = connected(warehouse)
    for table, (mart, key) in TABLES.items():
        connection.execute(f"create unlogged table {table} ({key} text, geom geometry)".encode())
        # compressing numbers that hardly repeat costs time, and then again with each point
        connection.execute(f"alter table {table} alter column geom set storage external".encode())
        rows = source.execute(f"select {key}, st_aswkb(geom)::blob from marts.{mart}")
        with (
            connection.cursor() as cursor,
            cursor.copy(f"copy {table} from stdin (format binary)".encode()) as copy,
        ):
            copy.set_types(["text", "bytea"])
            while some := rows.fetchmany(10_000):
                for row in some:
                    copy.write_row(row)
        connection.execute(f"create index on {table} using gist (geom)".encode())
        connection.execute(f"analyze {table}".encode())


def main() -> None:
    """Start the server, load it, run the join for each file of points, ask for single points, and stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name in ("home", "start", "single"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--points", type=Path, action="append")
    given = parser.parse_args()
    began = time.perf_counter()
    server = servers.Postgres(given.folder / "server", servers.free_port(), TUNED)
    server.start()
    try:
        os.environ[POSTGIS] = f"host=127.0.0.1 port={server.port} user=warehouse dbname=postgres"
        with psycopg.connect(os.environ[POSTGIS], autocommit=True) as connection:
            load(connection, given.home / "warehouse.duckdb")
            version = connection.execute("select postgis_lib_version(), current_setting('server_version')").fetchone()
        loaded = time.perf_counter() - began
        found: dict[str, Any] = {
            "version": " on PostgreSQL ".join(version or ()),
            "many": {},
            "one": one("postgis", time.time(), given.single),
        }
        for points in given.points:
            output = given.folder / "located.parquet"
            took = many("postgis-join", given.home, given.folder, (given.start, points, output))
            found["many"][str(points)] = {**took, "setup_seconds": loaded + took["setup_seconds"]}
    finally:
        server.stop()
    print(f"\n{json.dumps(found)}")


if __name__ == "__main__":
    main()
