"""Limit GDAL to the drivers that may open a file.

The first bytes of a file do not determine its driver: GDAL asks every driver, and some search the start of the file for
their signature. A GeoJSON with a VRT in one of its texts would be opened as a VRT, which can point to any other file.
fiona and pyogrio each include a GDAL. Neither accepts a list of drivers for every call, so all others are removed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.sources import parts

# Surfaces of triangles, curves, and layers of any type with heights or measures: pyogrio refuses their layers, though
# their features arrive as WKB like all others.
FURTHER_TYPES = [
    kind + dimensions
    for kind, dimensions in itertools.product((0, *range(8, 18)), (0, 1000, 2000, 3000, 1 << 31, -(1 << 31)))
]
DRIVERS = frozenset({"GPKG", "ESRI Shapefile", "GeoJSON", "GeoJSONSeq", "FlatGeobuf", "OpenFileGDB"})


@contextmanager
def only_our_drivers() -> Iterator[None]:
    """Limit fiona to `DRIVERS` within the block, by having GDAL skip all other drivers."""
    import fiona

    with fiona.Env() as environment:
        others = set(environment.drivers()) - DRIVERS
    with fiona.Env(GDAL_SKIP=",".join(sorted(others))):
        yield


def open_options(path: Path) -> dict[str, str]:
    """Return GDAL's options for opening a file: a GeoPackage without locks, and without files of SQLite's beside it.

    That is right for a file which does not change; whoever opens it checks its version afterwards. Otherwise, GDAL
    would put a log beside a file that was last used with one, and could merge that of another program.
    """
    return {"IMMUTABLE": "YES"} if parts.suffix_of(path) == ".gpkg" else {}


def restrict_pyogrio() -> None:
    """Remove all drivers but `DRIVERS` from pyogrio's GDAL, in this process; let it read layers of any type."""
    import pyogrio
    from pyogrio._geometry import GEOMETRY_TYPES
    from pyogrio._ogr import _register_drivers

    for kind in FURTHER_TYPES:
        GEOMETRY_TYPES.setdefault(kind, "Unknown")
    others = set(pyogrio.list_drivers()) - DRIVERS
    if not others:
        return
    pyogrio.set_gdal_config_options({"GDAL_SKIP": ",".join(sorted(others))})
    _register_drivers()  # makes GDAL apply the option to the drivers registered at import
    pyogrio.set_gdal_config_options({"GDAL_SKIP": None})
