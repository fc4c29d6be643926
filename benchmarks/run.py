"""Measure our ingest and its peers on one file, one after another, on private servers.

    python -m benchmarks.run --scale 1

Writes ``benchmarks/results/scale-N.json``, ``.md`` and ``.svg``. Every way gets a new database on the same server. The
file is read into the page cache first, and the rows of every way are counted.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from psycopg import sql

from benchmarks import generate, measure, report
from benchmarks.bench import Bench, Way
from tests.integration import servers

RESULTS = Path(__file__).resolve().parent / "results"
DBT_BUILD = (str(Path(sys.executable).parent / "dbt"), "build")
LEVEL_TABLES = tuple(f"gadm_adm_{level}" for level in range(6))
PEERS = {
    "ogr2ogr": "ogr2ogr, defaults",
    "ogr2ogr_makevalid": "ogr2ogr -makevalid",
    "ogr2ogr_parallel": "ogr2ogr, a process per core, unlogged, no index",
    "to_postgis": "GeoPandas to_postgis",
}
ORIGINALS = {
    "original_pipelined": "original: pipelined",
    "original_parallel": "original: parallel by layer",
    "original_written_once": "original: written once",
    "original_column_loop": "original: written inside the column loop",
}


def ingest(bench: Bench, engine: str, workers: int, *, is_validated: bool = True) -> Way:
    """Return the way of our ingest into PostGIS."""
    name, title = f"ingest-{engine}-{workers}", f"ingest, {engine}, {workers} worker{'s' * (workers > 1)}"
    options = [f"--source={bench.file}", f"--engine={engine}", f"--workers={workers}"]
    if not is_validated:
        name, title, options = f"{name}-unchecked", f"{title}, no validation", [*options, "--no-validate"]
    command = (sys.executable, "-m", "ingest", "gadm", *options)
    return Way(name, title, "ingest", command, tuple(f"raw.{table}" for table in LEVEL_TABLES))


def peer(bench: Bench, way: str, title: str, group: str = "peer") -> Way:
    """Return another way to load the file, see `benchmarks.peers`."""
    command = (sys.executable, "-m", "benchmarks.peers", way, str(bench.file))
    return Way(way.replace("_", "-"), title, group, command, tuple(layer.lower() for layer in bench.layers))


def build_and_find_the_limit(bench: Bench, env: dict[str, str]) -> None:
    """Build and test the marts of the loaded rows, then measure the server alone copying the same rows."""
    tables = ("marts.admin_units", "intermediate.int_admin_units__set_aside")
    bench.run(Way("dbt-build", "dbt build on PostGIS, with all tests", "build", DBT_BUILD, tables), env)
    folder = bench.folder / "copies"
    write_copies(bench, env["PGDATABASE"], folder)
    command = (sys.executable, "-m", "benchmarks.peers", "server_alone", str(folder))
    bench.alone(Way("server-alone", "the server alone: COPY from its own disk", "limit", command, LEVEL_TABLES))


def write_copies(bench: Bench, database: str, folder: Path) -> None:
    """Have the server write each loaded slice to its own disk as binary COPY, and write the DDL of the tables."""
    folder.mkdir()
    folder.chmod(0o777)  # the server runs under another user
    creations = []
    with bench.connect(database) as connection:
        ((run_id,),) = connection.execute("select run_id from raw.ingest_runs where state = 'published'").fetchall()
        for table in LEVEL_TABLES:
            loaded = sql.Identifier("raw", f"{table}__{run_id}")
            ranges = connection.execute(
                "select fid_from, fid_to from raw.ingest_slices where run_id = %s and table_name = %s", [run_id, table]
            ).fetchall()
            for first, last in ranges:
                copy = "copy (select * from {} where source_fid between {} and {}) to {} (format binary)"
                path = sql.Literal(str(folder / f"{table}.{first}.copy"))
                connection.execute(sql.SQL(copy).format(loaded, sql.Literal(first), sql.Literal(last), path))
            ((columns,),) = connection.execute(
                "select string_agg(format('%%I %%s', attname, format_type(atttypid, atttypmod)), ', ' order by attnum) "
                "from pg_attribute where attrelid = %s::regclass and attnum > 0",
                [loaded.as_string(connection)],
            ).fetchall()
            creations.append(f"create unlogged table {table} ({columns})")
            creations.append(f"alter table {table} alter geom set storage external")
    (folder / "tables.sql").write_text(";\n".join(creations))


def everything(bench: Bench) -> None:
    """Run all ways that are wanted; those that a goal compares run close to each other."""
    bench.alone(ingest(bench, "sedonadb", 2), then=lambda env: build_and_find_the_limit(bench, env))
    bench.alone(ingest(bench, "sedonadb", 2, is_validated=False))
    for name in ("ogr2ogr", "ogr2ogr_makevalid", "ogr2ogr_parallel"):
        bench.alone(peer(bench, name, PEERS[name]))
    bench.alone(ingest(bench, "sedonadb", 1))
    bench.alone(ingest(bench, "sedonadb", 3))
    built = Way("embedded-build", "dbt build on DuckDB, with all tests", "embedded", DBT_BUILD)
    command = ingest(bench, "sedonadb", 2).command
    lake = Way("embedded-ingest", "ingest into the lake, 2 workers", "embedded", command)
    bench.alone(lake, "embedded", then=lambda env: bench.run(built, env))
    unchecked = ingest(bench, "sedonadb", 2, is_validated=False).command
    like_for_like = "ingest into the lake, 2 workers, unvalidated"
    bench.alone(Way("embedded-ingest-unchecked", like_for_like, "embedded", unchecked), "embedded")
    st_read = peer(bench, "duckdb_st_read", "DuckDB: create table as … st_read(…)", "embedded")
    bench.alone(replace(st_read, tables=()))
    for workers in (1, 2, 3):
        bench.alone(ingest(bench, "geopandas", workers))
    bench.alone(peer(bench, "to_postgis", PEERS["to_postgis"]))
    for name, title in ORIGINALS.items():
        bench.alone(peer(bench, name, title, "original"))


def main() -> None:
    """Generate the file unless it exists, measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the world (default: 1, the size of GADM 4.1)"
    )
    parser.add_argument(
        "--file", type=Path, help="the GeoPackage of this scale; it is generated and kept there unless it exists"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="run only ways whose name matches; repeatable"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args()
    with servers.open_folder() as folder:
        file = options.file or folder / "world.gpkg"
        if not file.exists():
            generate.write(file, options.scale)
        with file.open("rb") as source:
            while source.read(1 << 24):  # into the page cache
                pass
        bench = Bench(folder, file.resolve(), options.only)
        began = time.monotonic()
        try:
            with bench.running():
                everything(bench)
        finally:
            if bench.results:  # also after an interruption; without any, those of an earlier run are kept
                found = {
                    "scale": options.scale,
                    "measured_on": f"{datetime.now(UTC):%Y-%m-%d}",
                    "minutes": round((time.monotonic() - began) / 60, 1),
                    "machine": measure.machine(),
                    "largest_geometry_bytes": generate.largest_geometry(file),
                    "results": [asdict(result) for result in bench.results],
                }
                report.write(options.results, found)


if __name__ == "__main__":
    main()
