"""The other ways to load the file, each as one command: ``python -m benchmarks.peers NAME FILE``.

They connect with libpq's variables (``PGHOST`` …). Every way ends with one table per layer that holds all its rows.
"""

from __future__ import annotations

import argparse
import os
import queue
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import duckdb
import geopandas as gpd
import psycopg
import pyogrio
import sqlalchemy as sa
from psycopg import sql

from admin_boundaries.duckdb_spatial import load_spatial

CHUNK_ROWS = 20_000


def _layers(file: Path) -> list[str]:
    return [str(name) for name, _ in pyogrio.list_layers(file)]


def _address() -> str:
    return "PG:" + " ".join(f"{key}={os.environ['PG' + key.upper()]}" for key in ("host", "port", "user"))


def _ogr2ogr(file: Path, layers: list[str], *options: str) -> None:
    target = f"{_address()} dbname={os.environ['PGDATABASE']}"
    subprocess.run(["ogr2ogr", "-f", "PostgreSQL", target, str(file), *options, *layers], check=True)


def ogr2ogr(file: Path) -> None:
    """Load all layers with GDAL's defaults: COPY, an index on the geometry."""
    _ogr2ogr(file, [])


def ogr2ogr_makevalid(file: Path) -> None:
    """Load with the same defaults, and have every geometry checked and repaired."""
    _ogr2ogr(file, [], "-makevalid")


def ogr2ogr_parallel(file: Path) -> None:
    """Load heavy layers first, with a process per layer and core, into unlogged tables without an index."""
    heavy_first = [name for name in ("ADM_2", "ADM_1", "ADM_3", "ADM_0", "ADM_4", "ADM_5") if name in _layers(file)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        options = ("-lco", "UNLOGGED=YES", "-lco", "SPATIAL_INDEX=NONE")
        list(pool.map(lambda layer: _ogr2ogr(file, [layer], *options), heavy_first))


def to_postgis(file: Path) -> None:
    """Read each layer whole with GeoPandas, then write it."""
    engine = sa.create_engine("postgresql+psycopg://")
    for layer in _layers(file):
        gpd.read_file(file, layer=layer, use_arrow=True).to_postgis(layer.lower(), engine)


def server_alone(folder: Path) -> None:
    """Copy from binary files on the server's own disk in two sessions: no loader of this server can be faster."""
    files = sorted(folder.glob("*.copy"), key=lambda path: path.stat().st_size, reverse=True)
    todo: queue.SimpleQueue[Path] = queue.SimpleQueue()
    with psycopg.connect(autocommit=True) as connection:
        for statement in (folder / "tables.sql").read_text().split(";"):
            if statement.strip():
                connection.execute(statement.encode())
    for file in files:
        todo.put(file)

    def session() -> None:
        with psycopg.connect(autocommit=True) as connection:
            while not todo.empty():
                try:
                    file = todo.get_nowait()
                except queue.Empty:
                    return
                table = sql.Identifier(file.name.partition(".")[0])
                connection.execute(sql.SQL("copy {} from {} (format binary)").format(table, sql.Literal(str(file))))

    sessions = [threading.Thread(target=session) for _ in range(2)]
    for each in sessions:
        each.start()
    for each in sessions:
        each.join()


def duckdb_st_read(file: Path) -> None:
    """Load with DuckDB: ``create table as select * from st_read(…)`` for every layer."""
    with duckdb.connect(str(Path(os.environ["BENCHMARK_SCRATCH"]) / "peer.duckdb")) as connection:
        load_spatial(connection)
        for layer in _layers(file):
            connection.execute(f"create table {layer} as select * from st_read('{file}', layer = '{layer}')")


# The original system's four approaches, a few lines each: GeoPandas, a cleaned copy of the file, rows one by one.


def _clean(frame: gpd.GeoDataFrame, column: str) -> None:
    frame[column] = frame[column].replace("NA", None).str.strip()


def _columns(frame: gpd.GeoDataFrame) -> list[str]:
    return [name for name in frame.columns if name != "geometry"]


def _create(connection: psycopg.Connection, layer: str, columns: list[str]) -> None:
    texts = [sql.SQL("{} text").format(sql.Identifier(name)) for name in columns]
    create = sql.SQL("create table {} ({}, geometry geometry(MultiPolygon, 4326))")
    connection.execute(create.format(sql.Identifier(layer.lower()), sql.SQL(", ").join(texts)))
    connection.commit()


def _insert(connection: psycopg.Connection, layer: str, frame: gpd.GeoDataFrame) -> None:
    columns = _columns(frame)
    places = sql.SQL(", ").join([sql.Placeholder()] * len(columns) + [sql.SQL("st_geomfromwkb(%s, 4326)")])
    statement = sql.SQL("insert into {} values ({})").format(sql.Identifier(layer.lower()), places)
    wkb = frame.geometry.to_wkb()
    with connection.cursor() as cursor:
        for row, geometry in zip(frame[columns].itertuples(index=False), wkb, strict=True):
            cursor.execute(statement, [*row, geometry])
    connection.commit()


def _load_layer(file: Path, layer: str, *, writes_per_column: bool) -> None:
    frame = gpd.read_file(file, layer=layer)
    cleaned = Path(os.environ["BENCHMARK_SCRATCH"]) / f"{layer}.gpkg"
    for column in _columns(frame):
        _clean(frame, column)
        if writes_per_column:
            frame.to_file(cleaned, driver="GPKG")
    if not writes_per_column:
        frame.to_file(cleaned, driver="GPKG")
    with psycopg.connect() as connection:
        _create(connection, layer, _columns(frame))
        _insert(connection, layer, frame)


def original_column_loop(file: Path) -> None:
    """Load one layer after another; the cleaned file is written inside the loop over columns."""
    for layer in _layers(file):
        _load_layer(file, layer, writes_per_column=True)


def original_written_once(file: Path) -> None:
    """Load one layer after another; the cleaned file is written once."""
    for layer in _layers(file):
        _load_layer(file, layer, writes_per_column=False)


def original_parallel(file: Path) -> None:
    """Load a layer in each process, as many at a time as there are cores."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(_load_layer, file, layer, writes_per_column=False) for layer in _layers(file)]
        for job in jobs:
            job.result()


def _load_chunk(file: Path, layer: str, first: int) -> None:
    frame = gpd.read_file(file, layer=layer, rows=slice(first, first + CHUNK_ROWS))
    for column in _columns(frame):
        _clean(frame, column)
    with psycopg.connect() as connection:
        _insert(connection, layer, frame)


def original_pipelined(file: Path) -> None:
    """Read, clean and insert chunks of layers in parallel, without a copy of the file in between."""
    with ProcessPoolExecutor(os.cpu_count()) as pool, psycopg.connect() as connection:
        jobs = []
        for layer in _layers(file):
            facts = pyogrio.read_info(file, layer=layer)
            _create(connection, layer, [str(name) for name in facts["fields"]])
            starts = range(0, facts["features"], CHUNK_ROWS)
            jobs += [pool.submit(_load_chunk, file, layer, first) for first in starts]
        for job in jobs:
            job.result()


WAYS: dict[str, Callable[[Path], None]] = {
    "ogr2ogr": ogr2ogr,
    "ogr2ogr_makevalid": ogr2ogr_makevalid,
    "ogr2ogr_parallel": ogr2ogr_parallel,
    "to_postgis": to_postgis,
    "server_alone": server_alone,
    "duckdb_st_read": duckdb_st_read,
    "original_column_loop": original_column_loop,
    "original_written_once": original_written_once,
    "original_parallel": original_parallel,
    "original_pipelined": original_pipelined,
}


def main() -> None:
    """Load a file in the given way."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    WAYS[options.way](options.file)


if __name__ == "__main__":
    main()
