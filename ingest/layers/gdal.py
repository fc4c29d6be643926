"""Limit GDAL to the three drivers that may open a file.

The first bytes of a file do not determine its driver: GDAL asks every driver, and some search the start of the file for
their signature. A GeoJSON with a VRT in one of its texts would be opened as a VRT, which can point to any other file.
fiona and pyogrio each include a GDAL. Neither accepts a list of drivers for every call, so all others are removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

DRIVERS = frozenset({"GPKG", "ESRI Shapefile", "GeoJSON"})


@contextmanager
def only_our_drivers() -> Iterator[None]:
    """Limit fiona to `DRIVERS` within the block, by having GDAL skip all other drivers."""
    import fiona

    with fiona.Env() as environment:
        others = set(environment.drivers()) - DRIVERS
    with fiona.Env(GDAL_SKIP=",".join(sorted(others))):
        yield


def restrict_pyogrio() -> None:
    """Remove all drivers but `DRIVERS` from pyogrio's GDAL, in this process."""
    import pyogrio
    from pyogrio._ogr import _register_drivers

    others = set(pyogrio.list_drivers()) - DRIVERS
    if not others:
        return
    pyogrio.set_gdal_config_options({"GDAL_SKIP": ",".join(sorted(others))})
    _register_drivers()  # makes GDAL apply the option to the drivers registered at import
    pyogrio.set_gdal_config_options({"GDAL_SKIP": None})
