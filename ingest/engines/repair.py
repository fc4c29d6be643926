"""Make polygons of what is not one: shared by both engines, so that they repair alike.

Only geometry that needs it passes here: on the fast path no row reaches Python.
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
        None where nothing polygonal is left.
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


def reason(geometries: Geometries) -> npt.NDArray[np.object_]:
    """Say what is wrong with every geometry, None where nothing is.

    Returns
    -------
    numpy.ndarray of str or None, shape (n,)
        ``null geometry``, ``empty geometry``, ``nothing polygonal``, or GEOS' reason with the place, such as
        ``Self-intersection[10 20]``.
    """
    result = np.full(len(geometries), None, dtype=object)
    missing = shapely.is_missing(geometries)
    empty = shapely.is_empty(geometries)
    invalid = ~missing & ~empty & ~shapely.is_valid(geometries)
    linear = ~missing & ~empty & (shapely.get_dimensions(geometries) < 2)  # points, lines, and collections of them
    result[invalid] = shapely.is_valid_reason(geometries[invalid])
    result[linear] = "nothing polygonal"
    result[empty] = "empty geometry"
    result[missing] = "null geometry"
    return result
