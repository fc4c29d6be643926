"""The nearest unit of a point that lies in none, and how far away it is, along the ground of WGS 84.

Borders are straight in longitude and latitude. Which point of them is nearest is found by the length of the chord
through the earth, which knows neither a date line nor a pole; the distance to it is that of the geodesic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from admin_boundaries.locate.kernels import NONE, Floats, Numbers, nearest_of
from admin_boundaries.locate.layer import Layer


def nearest(layer: Layer, lons: Floats, lats: Floats, metres: float) -> tuple[Numbers, Floats]:
    """Return the nearest unit of each point that lies in no unit, and how far away it is.

    Parameters
    ----------
    layer : Layer
        Of the units.
    lons, lats : array of float64
        Degrees on WGS 84.
    metres : float
        Within which to look, at most `admin_boundaries.locate.distance.FURTHEST`.

    Returns
    -------
    array of int32
        Numbers of the units; -1 where there is none.
    array of float64
        Metres to the nearest point of its border, to the centimetre; NaN where there is none.
    """
    import pyproj

    found, at = np.empty(len(lons), np.int32), np.full((len(lons), 2), np.nan)
    nearest_of(lons, lats, metres, *layer.searched, found, at)
    distances: npt.NDArray[np.float64] = np.full(len(lons), np.nan)
    (near,) = np.nonzero(found != NONE)
    _, _, distances[near] = pyproj.Geod(ellps="WGS84").inv(lons[near], lats[near], at[near, 0], at[near, 1])
    return found, np.round(distances, 2)
