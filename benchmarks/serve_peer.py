"""The peer of the service: the same questions, as one answers them in a few lines with FastAPI and DuckDB.

It reads the same marts. To be quick, it asks for the parts of units whose box holds a point, and leaves out what the
service says besides: time zones, names of the units above, the build, the licence, and what is wrong with a question.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import duckdb
from fastapi import FastAPI

from admin_boundaries.duckdb_spatial import load_spatial

LOCATE = """
    select distinct parts.gid, units.path
    from marts.internal_leaf_parts as parts
    inner join marts.admin_units as units on parts.gid = units.gid
    where ? between parts.min_lon and parts.max_lon
        and ? between parts.min_lat and parts.max_lat
        and st_contains(parts.geom, st_point(?, ?))
"""
FIND = """
    select gid, name, path from marts.admin_unit_names
    where starts_with(folded_name, marts.fold_name(?)) order by folded_name limit 20
"""
UNIT = "select gid, name, admin_level, path, parent_gid from marts.admin_units where gid = ?"
ITEMS = "select gid, name, st_asgeojson(geom) from marts.admin_level_2 where gid > ? order by gid limit ?"

app = FastAPI()
_connection = duckdb.connect(str(Path(os.environ["WAREHOUSE_HOME"]) / "warehouse.duckdb"), read_only=True)
load_spatial(_connection)


def _rows(query: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    return _connection.cursor().execute(query, parameters).fetchall()


@app.get("/alive")
def alive() -> str:
    """Say that it listens."""
    return "alive"


@app.get("/locate")
def locate(lon: float, lat: float) -> list[dict[str, Any]]:
    """Tell the units at a point."""
    return [{"gid": gid, "path": path} for gid, path in _rows(LOCATE, [lon, lat, lon, lat])]


@app.get("/find")
def find(q: str) -> list[dict[str, Any]]:
    """Find units by name."""
    return [{"gid": gid, "name": name, "path": path} for gid, name, path in _rows(FIND, [q])]


@app.get("/units/{gid}")
def unit(gid: str) -> dict[str, Any]:
    """Tell what is known of a unit."""
    names = ("gid", "name", "admin_level", "path", "parent_gid")
    return dict(zip(names, _rows(UNIT, [gid])[0], strict=True))


@app.get("/collections/admin_level_2/items")
def items(cursor: str = "", limit: int = 10) -> dict[str, Any]:
    """Give features."""
    found = [
        {"type": "Feature", "id": gid, "properties": {"name": name}, "geometry": json.loads(shape)}
        for gid, name, shape in _rows(ITEMS, [cursor, limit])
    ]
    return {"type": "FeatureCollection", "features": found}
