"""Find out what the coordinates of a layer are in: degrees, or another reference system.

A layer that states nothing usable is taken as degrees if its features fit on the globe. One that states metres is
refused if they all do: somebody named the system without converting the coordinates. Headers are hints: only the
features tell.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyproj
from pyproj.exceptions import CRSError

from ingest.errors import FormatUnknown, SchemaDrift, UsageError
from ingest.layers.gdal import restrict_pyogrio

MAX_LON, MAX_LAT = 540.0, 90.000001  # one turn in either direction beyond ±180, and rounding
Boxes = npt.NDArray[np.float64]  # west, south, east, north of each feature
DEGREES = ("EPSG:4326", "EPSG:4979", "OGC:CRS84", "OGC:CRS84h")


def check(crs: str) -> None:
    """Check a reference system that a person named.

    Raises
    ------
    UsageError
        When PROJ does not know it, or it is not one of places on the earth.
    """
    hint = "Name one that PROJ knows, such as EPSG:3857."
    try:
        named = pyproj.CRS.from_user_input(crs)
    except CRSError as error:
        raise UsageError(f"There is no reference system {crs!r}.", hint) from error
    if not _is_on_earth(named):
        raise UsageError(f"{crs!r} is not a geographic or projected reference system.", hint)


def system_of(
    path: Path,
    layer: str,
    stated: str | None,
    extent: tuple[float, ...] | None,
    named: str | None,
    boxes_of: Callable[[Path, str], Boxes] | None = None,
) -> str | None:
    """Return the reference system of a layer.

    Parameters
    ----------
    path, layer : Path, str
        The layer.
    stated : str or None
        WKT of the system that the file states.
    extent : tuple of float, or None
        Extent according to the file's header: west, south, east, north.
    named : str or None
        System that a person named; it counts for more than the file.
    boxes_of : callable, optional
        What returns the boxes of the features of a layer, of a format that GDAL does not read.

    Returns
    -------
    str or None
        WKT; None for degrees in WGS 84.

    Raises
    ------
    SchemaDrift
        When the coordinates cannot be degrees, and nothing else is known of them; or when they can be nothing else,
        although a projected system is stated.
    """
    crs = _usable(named) if named else _usable(stated)
    if crs and not _is_degrees(crs):
        is_known = extent is not None and bool(np.isfinite(extent).all())
        if _is_in_metres(crs) and not (is_known and not _is_on_globe(np.array([extent])).all()):
            _refuse_degrees(path, layer, crs, (boxes_of or _boxes)(path, layer))
        wkt: str = crs.to_wkt()
        return wkt
    is_stated = crs is not None
    if is_stated and (extent is None or not np.isfinite(extent).all() or _is_on_globe(np.array([extent])).all()):
        return None
    boxes = (boxes_of or _boxes)(path, layer)
    is_within = _is_on_globe(boxes)
    if is_within.any() if is_stated else is_within.all():
        return None  # the engines leave out what is off the globe
    if len(boxes) == 0:
        return None
    says = "is said to be in degrees" if is_stated else "states no reference system"
    raise SchemaDrift(
        f"{layer} in {path.name} {says}, but its extent does not fit on the globe: {_extent_of(boxes)}.",
        "Name its reference system with --crs EPSG:….",
    )


def _refuse_degrees(path: Path, layer: str, crs: pyproj.CRS, boxes: Boxes) -> None:
    """Refuse coordinates that were never converted to the system that is stated, as happens where only a label is set.

    In metres or feet, all that fits on the globe of degrees lies within a kilometre of the origin, and no set of
    administrative units is that small.
    """
    if len(boxes) and _is_on_globe(boxes).all():
        raise SchemaDrift(
            f"{layer} in {path.name} is said to be in {crs.name}, but its coordinates seem to be degrees: "
            f"{_extent_of(boxes)}.",
            "If they are, say so with --crs EPSG:4326.",
        )


def _extent_of(boxes: Boxes) -> str:
    (west, south), (east, north) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return f"x {west:.10g} to {east:.10g}, y {south:.10g} to {north:.10g}"


def contradicts_itself(connect: Callable[[], sqlite3.Connection], layer: str) -> bool:
    """Return whether a GeoPackage names two reference systems for a layer, or one that it does not define."""
    connection = connect()
    try:
        found = connection.execute(
            "select count(distinct named.srs_id), count(distinct known.srs_id)"
            " from (select srs_id from gpkg_contents where table_name = ?"
            " union all select srs_id from gpkg_geometry_columns where table_name = ?) as named"
            " left join (select srs_id from gpkg_spatial_ref_sys) as known using (srs_id)",
            (layer, layer),
        ).fetchone()
    except sqlite3.DatabaseError as error:
        raise FormatUnknown(
            f"The reference system of {layer} cannot be read: {error}.", "Download it again."
        ) from error
    finally:
        connection.close()
    named, defined = found
    return bool(named != 1 or defined != 1)


def _usable(text: str | None) -> pyproj.CRS | None:
    """Return a reference system; None if it says nothing about places on the earth."""
    if not text:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            crs = pyproj.CRS.from_user_input(text)
    except CRSError:
        return None
    return crs if _is_on_earth(crs) and not crs.name.lower().startswith("undefined") else None


def _is_on_earth(crs: pyproj.CRS) -> bool:
    return bool(crs.is_geographic or crs.is_projected)


def _is_in_metres(crs: pyproj.CRS) -> bool:
    """Return whether coordinates are in metres or something shorter."""
    return bool(crs.is_projected and all(axis.unit_conversion_factor <= 1 for axis in crs.axis_info))


def _is_degrees(crs: pyproj.CRS) -> bool:
    """Return whether coordinates are degrees in WGS 84; GDAL gives longitude first whatever the order of the axes."""
    horizontal = next((part for part in crs.sub_crs_list if part.is_geographic), crs) if crs.is_compound else crs
    if any(horizontal.equals(known, ignore_axis_order=True) for known in DEGREES):
        return True
    # Esri's WKT says the same in other words.
    units = {axis.unit_conversion_factor for axis in horizontal.axis_info}
    meridian = horizontal.prime_meridian
    is_plain = meridian is not None and meridian.longitude == 0 and all(abs(u - np.pi / 180) < 1e-12 for u in units)
    return bool(horizontal.is_geographic and is_plain and horizontal.to_epsg() == 4326)


def _boxes(path: Path, layer: str) -> Boxes:
    """Return the boxes of the features of a layer, without those that have none."""
    import pyogrio

    restrict_pyogrio()
    try:
        _, boxes = pyogrio.read_bounds(path, layer=layer)
    except Exception as error:  # a damaged file makes GDAL raise anything
        raise FormatUnknown(
            f"{layer} in {path.name} cannot be read: {error}.", "Download it again; the file is damaged."
        ) from error
    found: Boxes = boxes.T
    return found[np.isfinite(found).all(axis=1)]


def _is_on_globe(boxes: Boxes) -> npt.NDArray[np.bool_]:
    limits = np.array([MAX_LON, MAX_LAT, MAX_LON, MAX_LAT])
    return np.asarray((np.abs(boxes) <= limits).all(axis=1))
