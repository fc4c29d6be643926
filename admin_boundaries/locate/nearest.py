"""The nearest unit of a point that lies in none, and how far away it is, along the ground of WGS 84.

Borders are straight in longitude and latitude. Which point of them is nearest is found by the length of the chord
through the earth, which knows neither a date line nor a pole; the distance to it is that of the geodesic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from admin_boundaries.locate.compiled import compiled
from admin_boundaries.locate.grid import (
    COARSE_COLUMNS,
    COARSE_ROWS,
    SIDE,
    UNIT,
    Floats,
    Numbers,
    Offsets,
    column_of,
    row_of,
)
from admin_boundaries.locate.layer import Layer

NONE = -1
EQUATOR, FLATTENING = 6_378_137.0, 1 / 298.257223563
ECCENTRICITY = FLATTENING * (2 - FLATTENING)  # squared
LEAST_PER_DEGREE = 110_574.0  # metres of latitude, where degrees are shortest
AS_NEAR = 0.03  # metres, within which two units are equally near: a vertex is a centimetre wide
STRAIGHT = 0.5  # degrees of longitude
SEEN = 64  # parts that are remembered, so as not to be measured again in the next cell


@compiled
def _place(lon: float, lat: float) -> tuple[float, float, float]:
    """Return where a point of the ellipsoid is, in metres from the centre of the earth."""
    along, up = np.radians(lon), np.radians(lat)
    radius = EQUATOR / np.sqrt(1.0 - ECCENTRICITY * np.sin(up) ** 2)
    flat = radius * np.cos(up)
    return flat * np.cos(along), flat * np.sin(along), radius * (1.0 - ECCENTRICITY) * np.sin(up)


@compiled
def _chord(place: tuple[float, float, float], lon: float, lat: float) -> float:
    x, y, z = _place(lon, lat)
    return float(np.sqrt((x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2))


@compiled
def degrees_away(lat: float, chord: float) -> tuple[float, float]:
    """Return how far away in latitude and in longitude a point within a chord may be; 180 where a pole may be."""
    up = min(180.0, 1.001 * chord / LEAST_PER_DEGREE + 1e-6)
    highest = abs(lat) + up
    if highest >= 89.9:
        return up, 180.0
    return up, min(180.0, up / np.cos(np.radians(highest)))


@compiled
def nearest_of(  # noqa: PLR0912  as `draw`
    lons: Floats,
    lats: Floats,
    reach: float,
    coarse: Numbers,
    fine: Numbers,
    list_starts: Numbers,
    items: Numbers,
    units: Numbers,
    boxes: Floats,
    parts: Offsets,
    rings: Offsets,
    xs: Numbers,
    ys: Numbers,
    ancestors: Numbers,
    found: Numbers,
    at: Floats,
) -> None:
    """Find the nearest unit of each point.

    Parameters
    ----------
    lons, lats : array of float64
        Degrees, of points that lie in no unit.
    reach : float
        Metres within which to look.
    coarse … ancestors
        See `Layer`.
    found : array of int32
        Set to the number of the unit, or to `NONE`.
    at : array of float64, (points, 2)
        Set to longitude and latitude of the nearest point of the unit.
    """
    seen = np.empty(SEEN, np.int64)
    for number in range(len(lons)):
        lon, lat = lons[number], lats[number]
        place = _place(lon, lat)
        best, found[number], count = reach, NONE, 0
        up, across = degrees_away(lat, best)
        row, column = row_of(lat) // SIDE, column_of(lon) // SIDE
        rows = int(np.ceil(up * 10)) + 1
        for step in range(2 * rows + 1):  # outwards: what is near rules out what is far
            at_row = row + (step + 1) // 2 * (1 if step % 2 else -1)
            if at_row < 0 or at_row >= COARSE_ROWS:
                continue
            away = max(0.0, at_row / 10 - 90.0 - lat, lat - (at_row + 1) / 10 + 90.0)
            up, across = degrees_away(lat, best)
            if away > up:
                continue
            columns = min(int(np.ceil(across * 10)) + 1, COARSE_COLUMNS // 2)
            for side in range(2 * columns + 1):
                aside = (side + 1) // 2 * (1 if side % 2 else -1)
                value = coarse[at_row, (column + aside) % COARSE_COLUMNS]
                if value >= 0 or (abs(aside) - 1) / 10 > across:
                    continue
                block = (-1 - value) * SIDE * SIDE
                for cell in range(block, block + SIDE * SIDE):
                    if fine[cell] >= 0:
                        continue
                    for index in range(list_starts[-1 - fine[cell]], list_starts[-fine[cell]]):
                        part = items[index]
                        if part < 0:
                            continue
                        is_new = True
                        for other in range(max(0, count - SEEN), count):
                            is_new &= seen[other % SEEN] != part
                        if not is_new:
                            continue
                        seen[count % SEEN] = part
                        count += 1
                        if boxes[part, 1] - lat > up or lat - boxes[part, 3] > up:
                            continue
                        chord, x, y = _nearest_on(place, lon, lat, best, xs, ys, rings, parts[part], parts[part + 1])
                        is_as_near = found[number] != NONE and abs(chord - best) < AS_NEAR
                        is_first = _comes_first(units[part], found[number], ancestors) if is_as_near else chord <= best
                        if is_first:
                            best, found[number] = chord, units[part]
                            at[number, 0], at[number, 1] = x, y
                        up, across = degrees_away(lat, best)


@compiled
def _comes_first(unit: int, other: int, ancestors: Numbers) -> bool:
    """Whether one of two units that are equally near is the answer: the finer one, or else the first by key."""
    for level in range(ancestors.shape[1]):
        if unit != other and ancestors[unit, level] == other:
            return True
        if unit != other and ancestors[other, level] == unit:
            return False
    return unit < other


@compiled
def _nearest_on(
    place: tuple[float, float, float],
    lon: float,
    lat: float,
    best: float,
    xs: Numbers,
    ys: Numbers,
    rings: Offsets,
    first: int,
    end: int,
) -> tuple[float, float, float]:
    """Return the shortest chord to the rings of a part, and where it ends, if it is no longer than the best."""
    found, found_x, found_y = np.inf, 0.0, 0.0
    up, _ = degrees_away(lat, best)
    for ring in range(first, end):
        for at in range(rings[ring], rings[ring + 1] - 1):
            y0, y1 = ys[at] * UNIT, ys[at + 1] * UNIT
            if min(y0, y1) - lat > up or lat - max(y0, y1) > up:
                continue
            x0, x1 = xs[at] * UNIT, xs[at + 1] * UNIT
            pieces = int(abs(x1 - x0) / STRAIGHT) + 1  # near a pole, a long edge is a bow
            for piece in range(pieces):
                begin, end_at = piece / pieces, (piece + 1) / pieces
                from_x, from_y = x0 + begin * (x1 - x0), y0 + begin * (y1 - y0)
                to_x, to_y = x0 + end_at * (x1 - x0), y0 + end_at * (y1 - y0)
                x, y = _planar(lon, lat, from_x, from_y, to_x, to_y)
                chord = _chord(place, x, y)
                if chord < min(found, best) * 1.02 + 1.0:
                    chord, x, y = _refined(place, from_x, from_y, to_x, to_y)
                if chord < found:
                    found, found_x, found_y = chord, x, y
    return found, found_x, found_y


@compiled
def _planar(lon: float, lat: float, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float]:
    """Return the nearest point of an edge, about: as though degrees were equally wide along it."""
    turn = 360.0 * np.round((lon - (x0 + x1) / 2) / 360.0)  # to the side of the date line where the point is
    narrow = np.cos(np.radians((y0 + y1) / 2)) ** 2
    across, rise = x1 - x0, y1 - y0
    length = across * across * narrow + rise * rise
    along = ((lon - x0 - turn) * across * narrow + (lat - y0) * rise) / length if length > 0 else 0.0
    along = min(max(along, 0.0), 1.0)
    return x0 + along * across, y0 + along * rise


@compiled
def _refined(
    place: tuple[float, float, float], x0: float, y0: float, x1: float, y1: float
) -> tuple[float, float, float]:
    """Return the shortest chord to an edge, and where it ends, by dividing the edge into thirds again and again."""
    begin, end = 0.0, 1.0
    while (end - begin) * (abs(x1 - x0) + abs(y1 - y0)) > UNIT:
        third = (end - begin) / 3
        left, right = begin + third, end - third
        if _chord(place, x0 + left * (x1 - x0), y0 + left * (y1 - y0)) < _chord(
            place, x0 + right * (x1 - x0), y0 + right * (y1 - y0)
        ):
            end = right
        else:
            begin = left
    # an end of the edge belongs to the next one, too: both must give the same
    along = 0.0 if begin == 0.0 else 1.0 if end == 1.0 else (begin + end) / 2
    x, y = x0 + along * (x1 - x0), y0 + along * (y1 - y0)
    return _chord(place, x, y), x, y


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
    arrays = (
        *(layer.coarse, layer.fine, layer.list_starts, layer.items, layer.units, layer.boxes),
        *(layer.parts, layer.rings, layer.xs, layer.ys, layer.ancestors),
    )
    nearest_of(lons, lats, metres, *arrays, found, at)
    distances: npt.NDArray[np.float64] = np.full(len(lons), np.nan)
    (near,) = np.nonzero(found != NONE)
    _, _, distances[near] = pyproj.Geod(ellps="WGS84").inv(lons[near], lats[near], at[near, 0], at[near, 1])
    return found, np.round(distances, 2)
