"""Repair geometries to valid MultiPolygons; shared by both engines, so that their results are the same.

On the fast path of ``sedonadb`` no row reaches Python: only geometries that need a repair come here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

Geometries = npt.NDArray[np.object_]


def polygonal(geometries: Geometries) -> Geometries:
    """Return the polygonal part of every geometry as a valid 2D MultiPolygon.

    Parameters
    ----------
    geometries : numpy.ndarray of shapely geometries, shape (n,)
        Anything: invalid, 3D, collections, None.

    Returns
    -------
    numpy.ndarray of MultiPolygon, shape (n,)
        None where no polygon is left.
    """
    valid = shapely.make_valid(shapely.force_2d(geometries), method="structure", keep_collapsed=False)
    result = np.full(len(valid), None, dtype=object)
    for position, geometry in enumerate(valid):
        parts: Geometries = shapely.get_parts(geometry) if geometry is not None else np.empty(0, dtype=object)
        while any(shapely.get_type_id(part) > shapely.GeometryType.POLYGON for part in parts):
            parts = shapely.get_parts(shapely.get_parts(parts))
        polygons = [
            part for part in parts if shapely.get_type_id(part) == shapely.GeometryType.POLYGON and not part.is_empty
        ]
        if polygons:
            result[position] = shapely.multipolygons(polygons)
    return result


def multipolygons(geometries: Geometries, reasons: npt.NDArray[np.object_]) -> Geometries:
    """Repair faulty geometries, drop Z and M, and turn every Polygon into a MultiPolygon.

    Parameters
    ----------
    geometries : numpy.ndarray of shapely geometries, shape (n,)
        As read from the file.
    reasons : numpy.ndarray of str or None, shape (n,)
        What is wrong with each, from `reason`.

    Returns
    -------
    numpy.ndarray of MultiPolygon, shape (n,)
        None where no polygon is left.
    """
    result = geometries.copy()
    wrong = np.array([why is not None for why in reasons], dtype=bool)
    result[wrong] = polygonal(result[wrong])
    result = shapely.force_2d(result)
    single = shapely.get_type_id(result) == shapely.GeometryType.POLYGON
    result[single] = shapely.multipolygons(result[single], indices=np.arange(single.sum()))
    odd = ~np.isin(shapely.get_type_id(result), [shapely.GeometryType.MULTIPOLYGON, -1])
    result[odd] = polygonal(result[odd])
    return result


def reason(geometries: Geometries, *, is_validated: bool = True) -> npt.NDArray[np.object_]:
    """Return what is wrong with each geometry, or None.

    Parameters
    ----------
    geometries : numpy.ndarray of shapely geometries, shape (n,)
        As read from the file.
    is_validated : bool
        Whether to check validity as well, which is costly; the other checks always run.

    Returns
    -------
    numpy.ndarray of str or None, shape (n,)
        ``null geometry``, ``empty geometry``, ``nothing polygonal``, or GEOS' reason with the position, such as
        ``Self-intersection[10 20]``.
    """
    result = np.full(len(geometries), None, dtype=object)
    missing = shapely.is_missing(geometries)
    empty = shapely.is_empty(geometries)
    invalid = np.zeros(len(geometries), dtype=bool)
    if is_validated:
        invalid = ~missing & ~empty & ~shapely.is_valid(geometries)
    linear = ~missing & ~empty & (shapely.get_dimensions(geometries) < 2)  # points, lines, and collections of them
    result[invalid] = shapely.is_valid_reason(geometries[invalid])
    result[linear] = "nothing polygonal"
    result[empty] = "empty geometry"
    result[missing] = "null geometry"
    return result
