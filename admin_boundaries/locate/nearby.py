"""The nearest unit of one point, without an index of the whole build: by the parts around it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from admin_boundaries.locate.index import LAYERS, LEVELS
from admin_boundaries.locate.kernels import Numbers, degrees_away
from admin_boundaries.locate.layer import Layer, make_layer
from admin_boundaries.locate.nearest import nearest
from admin_boundaries.warehouse import Warehouse, needed


@dataclass(frozen=True)
class Nearby:
    """The unit that is nearest to a point.

    Attributes
    ----------
    gid, path : str
        Its key, and the names from the country to it.
    metres : float
        How far away its border is.
    """

    gid: str
    path: str
    metres: float


def nearest_unit(warehouse: Warehouse, lon: float, lat: float, metres: float) -> Nearby | None:
    """Return the unit that is nearest to a point in no unit, if one is near enough.

    Parameters
    ----------
    warehouse : Warehouse
        The marts.
    lon, lat : float
        Degrees on WGS 84.
    metres : float
        Within which to look; see `admin_boundaries.locate.nearest`.
    """
    up, across = degrees_away(lat, metres)
    where, box = "min_lat <= ? and max_lat >= ?", [lat + up, lat - up]
    if across < 180:
        sides = [lon + turn for turn in (-360, 0, 360)]  # of the date line
        where += f" and ({' or '.join(['(min_lon <= ? and max_lon >= ?)'] * len(sides))})"
        box += [side + way for side in sides for way in (across, -across)]
    mart = needed(warehouse, LAYERS["units"][0])
    parts = warehouse.reader(mart, ["gid", f"{warehouse.as_wkb}(geom)"], where, box).read_all()
    if not parts.num_rows:
        return None
    keys = pa.array(sorted(pc.unique(parts.column(0)).to_pylist(), key=str.encode), pa.string())
    with tempfile.TemporaryDirectory() as folder:
        make_layer(Path(folder), keys, _ancestors(warehouse, keys.to_pylist()), iter(parts.to_batches()))
        units, away = nearest(Layer.opened(Path(folder)), np.array([lon]), np.array([lat]), metres)
    if units[0] < 0:
        return None
    gid = keys[int(units[0])].as_py()
    ((path,),) = warehouse.rows(f"select path from {warehouse.marts}.admin_units where gid = ?", [gid])  # noqa: S608
    return Nearby(gid, path, float(away[0]))


def _ancestors(warehouse: Warehouse, keys: list[str]) -> Numbers:
    """Return the ancestors of units among them; see `Layer`."""
    marks = ", ".join("?" * len(keys))
    rows = warehouse.rows(
        f"select gid, ancestor_level, ancestor_gid from {warehouse.marts}.admin_unit_ancestors "  # noqa: S608
        f"where gid in ({marks}) and ancestor_gid in ({marks})",
        [*keys, *keys],
    )
    number = {key: place for place, key in enumerate(keys)}
    ancestors = np.full((len(keys), len(LEVELS)), -1, np.int32)
    for gid, level, ancestor in rows:
        ancestors[number[gid], level] = number[ancestor]
    return ancestors
