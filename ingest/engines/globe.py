"""Put polygons on the globe: between ±180° and ±90°, split where they lie across the date line, closed over a pole.

Only geometries that `ingest.engines.screen` found odd come here. A polygon is first laid out in a plane of longitudes
without end, where it is in one piece and 181° is next to 180°; there it is checked, repaired and cut at every odd
multiple of 180°, and the pieces are shifted back.

A ring of a projected layer is followed along its edges as they are in the projection, in steps so small that each goes
the shorter way round the globe. A ring that does not come back to the longitude where it began has gone round a pole
and is closed over it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
import shapely.affinity

from ingest.engines.screen import FAR, ROUNDING, has_leap
from ingest.engines.wkb import Floats, Rings
from ingest.layers.reference import MAX_LON

SNAP = 1e-6  # degrees beyond ±180 or ±90 that are rounding
TOLERANCE = 1e-3  # degrees by which a straight edge may miss the projected one
ROUNDS = 40  # an edge is halved at most so many times
MOST_FURTHER = (
    100_000  # vertices that a ring may need to be followed; one that goes round the globe for ever needs more
)
AT_POLE = 1e-7  # degrees from a pole, a centimetre: the way round it does not matter
INWARD = (1e-12, 1e-9, 1e-7)  # of the distance from the origin
WORLD = shapely.box(-180, -90, 180, 90)

Geometries = npt.NDArray[np.object_]


class Unplaceable(Exception):
    """A geometry has no place on the globe; the text says why."""


@dataclass(frozen=True)
class Projection:
    """A reference system that is not EPSG:4326.

    Attributes
    ----------
    to_degrees, from_degrees : pyproj.Transformer
        Transformations, longitude before latitude.
    """

    to_degrees: pyproj.Transformer
    from_degrees: pyproj.Transformer

    @classmethod
    def of(cls, crs: str) -> Projection:
        """Return the transformations of a reference system given as WKT, or as any text that PROJ accepts."""
        return cls(
            pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True),
            pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True),
        )

    def degrees(self, points: Floats) -> Floats:
        """Return longitudes and latitudes of points; infinite where there are none."""
        found = np.column_stack(self.to_degrees.transform(points[:, 0], points[:, 1]))
        for inward in INWARD:  # the outline of a world map is beyond the projection as soon as it is rounded
            is_outside = ~np.isfinite(found).all(axis=1)
            if is_outside.any():
                moved = points[is_outside] * (1 - inward)
                found[is_outside] = np.column_stack(self.to_degrees.transform(moved[:, 0], moved[:, 1]))
        beyond = np.abs(found[:, 1]) - 90  # where PROJ has nothing to compute, it lets through any latitude
        is_rounded = (beyond > 0) & (beyond <= SNAP)
        found[is_rounded, 1] = np.copysign(90, found[is_rounded, 1])
        return found

    def holds_pole(self, polygon: shapely.Polygon) -> bool:
        """Return whether a pole lies in a polygon of the projection's plane."""
        poles = np.column_stack(self.from_degrees.transform([0.0, 0.0], [90.0, -90.0]))
        return any(polygon.intersects(shapely.Point(pole)) for pole in poles if np.isfinite(pole).all())


def in_degrees(parts: list[Rings]) -> tuple[list[Rings], bool]:
    """Check the polygons of a layer in degrees, and follow rings that leap across the date line.

    Returns
    -------
    (list of list of numpy.ndarray, bool)
        The rings, laid out; and whether one leapt.

    Raises
    ------
    Unplaceable
        When they are not degrees.
    """
    points = np.concatenate([ring for rings in parts for ring in rings])
    (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
    for name, low, high, limit in (("longitude", west, east, MAX_LON), ("latitude", south, north, 90 + SNAP)):
        if max(-low, high) > limit:
            raise Unplaceable(_off_the_globe(name, low, high))
    is_rounded = east <= 180 + SNAP and west >= -180 - SNAP
    leaps = False
    found = []
    for rings in parts:
        laid = []
        for original in rings:
            ring = original.copy()
            ring[:, 1] = ring[:, 1].clip(-90, 90)
            if is_rounded:
                ring[:, 0] = ring[:, 0].clip(-180, 180)
            if has_leap(ring[:, 0], ring[:, 1], np.empty(0, np.int32)):
                leaps = True
                laid.append(_closed(*_followed(ring)))
            else:
                laid.append(ring)
        found.append(_aligned(laid))
    return found, leaps


def _off_the_globe(name: str, low: float, high: float) -> str:
    return f"off the globe: {name} {low if -low > high else high:.10g}"


def naive(parts: list[Rings], projection: Projection) -> list[Rings] | None:
    """Transform each vertex; None if that is not enough, since the polygons may lie across the date line or a pole.

    An edge that turns far may pass by a pole on either side.
    """
    found = [[projection.degrees(ring) for ring in rings] for rings in parts]
    points = np.concatenate([ring for rings in found for ring in rings])
    if not np.isfinite(points).all():
        raise Unplaceable("outside of its projection")
    (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
    if max(-south, north) > 90:
        raise Unplaceable(_off_the_globe("latitude", south, north))
    lon, lat = 180 - ROUNDING, 90 - ROUNDING
    is_plain = west >= -lon and east <= lon and south >= -lat and north <= lat and east - west <= 180
    is_plain &= all(np.abs(np.diff(ring[:, 0])).max(initial=0) <= FAR for rings in found for ring in rings)
    return found if is_plain else None


def projected(polygon: shapely.Polygon, projection: Projection) -> shapely.Geometry:
    """Return a valid polygon of a projection's plane, on the globe."""
    shell, holes = polygon.exterior, list(polygon.interiors)
    laid = [_laid_out(ring, projection) for ring in (shell, *holes)]
    if all(turns == 0 for _, turns in laid) and not projection.holds_pole(shapely.Polygon(shell)):
        rings = _aligned([ring for ring, _ in laid])
        return split(made_valid(shapely.Polygon(rings[0], rings[1:])))
    regions = [_region(ring, *points, projection) for ring, points in zip((shell, *holes), laid, strict=True)]
    return shapely.difference(regions[0], shapely.union_all(regions[1:])) if holes else regions[0]


def _laid_out(ring: shapely.LinearRing, projection: Projection) -> tuple[Floats, int]:
    """Return a ring of a projection's plane in degrees, and how often it goes round a pole."""
    return _followed(_at_poles(_refined(shapely.get_coordinates(ring), projection)))


def _refined(points: Floats, projection: Projection) -> Floats:
    """Return the vertices of a ring in degrees, with further ones where an edge is not straight in degrees."""
    degrees = projection.degrees(points)
    is_open = np.ones(len(points) - 1, dtype=bool)  # edges that may have to be halved
    further = 0
    for _ in range(ROUNDS):
        at = np.flatnonzero(is_open)
        if len(at) == 0:
            break
        middles = (points[at] + points[at + 1]) / 2
        places = projection.degrees(middles)
        begin, end = degrees[at], degrees[at + 1]
        begin = np.where(_is_pole(begin), np.column_stack([end[:, 0], begin[:, 1]]), begin)  # a pole has any longitude
        end = np.where(_is_pole(end), np.column_stack([begin[:, 0], end[:, 1]]), end)
        turned = _turned(end[:, 0] - begin[:, 0])
        error = places - begin - np.column_stack([turned, end[:, 1] - begin[:, 1]]) / 2
        error[:, 0] = _turned(error[:, 0]) * np.cos(np.radians(places[:, 1]))
        # Near a pole a short edge turns far, and the way round decides on which side of it the polygon lies.
        is_far = (np.abs(turned) > FAR) & (np.abs(places[:, 1]) < 90 - AT_POLE)
        is_bent = np.isfinite(places).all(axis=1) & ((np.hypot(error[:, 0], error[:, 1]) > TOLERANCE) | is_far)
        halved = at[is_bent]
        further += len(halved)
        if further > MOST_FURTHER:
            raise Unplaceable("outside of its projection")
        is_open[at] = is_bent
        points = np.insert(points, halved + 1, middles[is_bent], axis=0)
        degrees = np.insert(degrees, halved + 1, places[is_bent], axis=0)
        is_open = np.insert(is_open, halved + 1, True)
    return degrees


def _is_pole(points: Floats) -> npt.NDArray[np.bool_]:
    is_pole: npt.NDArray[np.bool_] = np.abs(points[:, 1:]) >= 90 - ROUNDING
    return is_pole


def _at_poles(ring: Floats) -> Floats:
    """Return a ring whose vertices at a pole have their neighbours' longitudes: a pole has all longitudes."""
    is_pole = _is_pole(ring)[:, 0]
    if not is_pole.any() or is_pole.all():
        return ring
    first = int(np.flatnonzero(~is_pole)[0])  # begin elsewhere, so that every run of poles has two neighbours
    ring = np.concatenate([ring[first:-1], ring[: first + 1]])
    is_pole = _is_pole(ring)[:, 0]
    found: list[tuple[float, float]] = []
    for number, (lon, lat) in enumerate(ring):
        if not is_pole[number]:
            found.append((lon, lat))
            continue
        pole = np.copysign(90.0, lat)
        if not is_pole[number - 1]:
            found.append((ring[number - 1, 0], pole))
        if not is_pole[number + 1]:
            found.append((ring[number + 1, 0], pole))
    return np.array(found)


def _followed(ring: Floats) -> tuple[Floats, int]:
    """Lay a ring out along its edges, each the shorter way round the globe; count its turns round a pole.

    An edge along a pole goes whichever way closes the ring.
    """
    steps = _turned(np.diff(ring[:, 0]))
    along = np.flatnonzero((np.abs(ring[:-1, 1]) == 90) & (ring[:-1, 1] == ring[1:, 1]))
    if len(along):
        steps[along[0]] -= 360 * np.round(steps.sum() / 360)
    turns = round(float(steps.sum()) / 360)
    laid = np.column_stack([ring[0, 0] + np.concatenate([[0.0], np.cumsum(steps)]), ring[:, 1]])
    # Sums of steps have rounding errors; the longitudes themselves do not.
    laid[:, 0] = ring[:, 0] + 360 * np.round((laid[:, 0] - ring[:, 0]) / 360)
    edge = 180 + 360 * np.round((laid[:, 0] - 180) / 360)
    laid[:, 0] = np.where(np.abs(laid[:, 0] - edge) < ROUNDING, edge, laid[:, 0])
    if turns == 0:
        laid[-1] = laid[0]
    return laid, turns


def _closed(ring: Floats, turns: int, pole: float | None = None) -> Floats:
    """Close a ring that goes round a pole over that pole, by default over the nearer one."""
    if turns == 0:
        return ring
    pole = pole or float(np.copysign(90, ring[:, 1].mean()))
    ends = np.array([[ring[-1, 0], pole], [ring[0, 0], pole]])
    return np.concatenate([ring, ends, ring[:1]])


def _region(ring: shapely.LinearRing, laid: Floats, turns: int, projection: Projection) -> shapely.Geometry:
    """Return the part of the globe inside of a ring of a projection's plane: it holds a point that is inside there."""
    inside = shapely.get_coordinates(shapely.point_on_surface(made_valid(shapely.Polygon(ring))))
    point = shapely.Point(projection.degrees(inside)[0])
    poles = (90.0, -90.0) if turns else (None,)
    candidates = [split(made_valid(shapely.Polygon(_closed(laid, turns, pole)))) for pole in poles]
    found = next((candidate for candidate in candidates if shapely.intersects(candidate, point)), None)
    # Otherwise the ring goes round what lies outside: both poles are inside.
    return shapely.difference(WORLD, candidates[0]) if found is None else found


def _aligned(rings: Rings) -> Rings:
    """Shift holes by whole turns to where their shell is."""
    low, high = rings[0][:, 0].min(), rings[0][:, 0].max()
    found = rings[:1]
    for hole in rings[1:]:
        middle = (hole[:, 0].min() + hole[:, 0].max()) / 2
        turns = 0.0 if low <= middle <= high else np.round(((low + high) / 2 - middle) / 360)
        found.append(hole + np.array([360 * turns, 0]))
    return found


def split(geometry: shapely.Geometry) -> shapely.Geometry:
    """Cut a valid geometry at odd multiples of 180° and shift the pieces to where longitudes are within ±180."""
    west, _, east, _ = shapely.bounds(geometry)
    if np.isnan(west) or (west >= -180 and east <= 180):
        return geometry
    pieces: list[shapely.Polygon] = []
    for turn in range(int(np.floor((west + 180) / 360)), int(np.ceil((east - 180) / 360)) + 1):
        window = shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90)
        piece = geometry if window.covers(geometry) else shapely.intersection(geometry, window)
        moved = shapely.affinity.translate(piece, -360 * turn)
        pieces.extend(part for part in polygons(moved) if part.area > 0)
    whole = shapely.multipolygons(pieces)
    return whole if shapely.is_valid(whole) else shapely.union_all(pieces)


def made_valid(geometry: shapely.Geometry) -> shapely.Geometry:
    """Repair a geometry as all others are repaired."""
    if shapely.is_valid(geometry):
        return geometry
    return shapely.make_valid(geometry, method="structure", keep_collapsed=False)


def polygons(geometry: shapely.Geometry) -> list[shapely.Polygon]:
    """Return the polygons of a geometry, collections within collections included."""
    if isinstance(geometry, shapely.Polygon):
        return [] if geometry.is_empty else [geometry]
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in polygons(part)]


def _turned(difference: Floats) -> Floats:
    """Return differences of longitudes as the shorter way round."""
    turned: Floats = (difference + 180) % 360 - 180
    return turned
