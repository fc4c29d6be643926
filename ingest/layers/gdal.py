"""The GDAL drivers that may open a file: three, and no other ever.

The first bytes of a file do not settle which driver opens it: GDAL asks all that it has, and some look for their mark
anywhere in the head of a file. A GeoJSON with a VRT in one of its texts is opened as a VRT, which names another file.
fiona and pyogrio bring a GDAL each. Neither can be told the drivers for every call, so all others are taken out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

DRIVERS = frozenset({"GPKG", "ESRI Shapefile", "GeoJSON"})


@contextmanager
def only_our_drivers() -> Iterator[None]:
    """Within the block fiona has `DRIVERS` and no other; GDAL leaves out those that it is told to skip."""
    import fiona

    with fiona.Env() as environment:
        others = set(environment.drivers()) - DRIVERS
    with fiona.Env(GDAL_SKIP=",".join(sorted(others))):
        yield


def restrict_pyogrio() -> None:
    """Take all drivers but `DRIVERS` out of pyogrio's GDAL, in this process."""
    import pyogrio
    from pyogrio._ogr import _register_drivers

    others = set(pyogrio.list_drivers()) - DRIVERS
    if not others:
        return
    pyogrio.set_gdal_config_options({"GDAL_SKIP": ",".join(sorted(others))})
    _register_drivers()  # makes GDAL apply the option to what was registered at the import
    pyogrio.set_gdal_config_options({"GDAL_SKIP": None})
