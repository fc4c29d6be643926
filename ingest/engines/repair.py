"""Repair geometries to valid MultiPolygons; shared by both engines, so that their results are the same.

On the fast path of ``sedonadb`` no row reaches Python: only geometries that need a repair come here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely
from shapely.validation import explain_validity

from ingest.engines import FACTS, globe, measures
from ingest.engines.globe import Geometries, Projection, Unplaceable
from ingest.engines.wkb import Polygons, Rings, Unreadable, decode

TYPES = dict(FACTS)


def polygonal(geometry: shapely.Geometry) -> shapely.MultiPolygon | None:
    """Return the polygonal part of a geometry as a valid MultiPolygon; None where no polygon is left."""
    parts = globe.polygons(globe.made_valid(geometry))
    return shapely.MultiPolygon(parts) if parts else None


def reason(shapes: Geometries, *, is_simple: bool) -> tuple[bool, str | None]:
    """Return whether polygons make a valid MultiPolygon, and why GEOS finds them invalid.

    Parameters
    ----------
    shapes : numpy.ndarray of Polygon, shape (n,)
        Polygons of one geometry.
    is_simple : bool
        Whether they are of one Polygon or MultiPolygon, and so must not overlap. Those of a collection may: they are
        united, which needs no reason.

    Returns
    -------
    (bool, str or None)
        The reason with the position, such as ``Self-intersection[10 20]``; None if there is none.
    """
    whole = shapely.MultiPolygon(list(shapes))
    if shapely.is_valid(whole):
        return True, None
    if is_simple:
        return False, explain_validity(whole)
    return False, next((explain_validity(shape) for shape in shapes if not shapely.is_valid(shape)), None)


@dataclass(frozen=True)
class Restored:
    """What was made of geometries that are not plain, or not valid.

    Attributes
    ----------
    wkb : pyarrow.BinaryArray, shape (n,)
        2D MultiPolygons on the globe, EPSG:4326, degrees; NULL if no polygon is left.
    facts : dict of str to pyarrow.Array
        The other columns of `ingest.engines.FACTS`, except for the hash.
    """

    wkb: pa.BinaryArray
    facts: dict[str, pa.Array]


def restore(
    wkb: Sequence[bytes | None], projection: Projection | None = None, *, is_validated: bool = True
) -> Restored:
    """Repair geometries of any kind and put them on the globe. Both engines use it, for the same rows.

    Parameters
    ----------
    wkb : sequence of bytes or None, length n
        As read from the file.
    projection : Projection, optional
        Reference system of the coordinates, if it is not EPSG:4326.
    is_validated : bool
        Whether validity is checked, which is costly; the other checks always run.
    """
    made = [_restored(value, projection, is_validated=is_validated) for value in wkb]
    shapes = np.array([one.geometry for one in made], dtype=object)
    reasons = [one.reason for one in made]
    binary = pa.array(shapely.to_wkb(shapes, byte_order=1), pa.binary())
    points = shapely.point_on_surface(shapes)
    facts = measures.measure(binary)
    is_known = [
        value is not None and (is_validated or why is not None) for value, why in zip(wkb, reasons, strict=True)
    ]
    in_source = [
        one.area_in_source if one.reason else area
        for area, one in zip(facts["area_km2"].to_pylist(), made, strict=True)
    ]
    facts |= {
        "area_km2_in_source": pa.array(in_source, pa.float64()),
        "point_lon": pa.array(shapely.get_x(points), from_pandas=True),
        "point_lat": pa.array(shapely.get_y(points), from_pandas=True),
        "is_valid": pa.array([why is None if known else None for why, known in zip(reasons, is_known, strict=True)]),
        "invalid_reason": pa.array(reasons, pa.string()),
    }
    return Restored(binary, {name: column.cast(TYPES[name]) for name, column in facts.items()})


@dataclass(frozen=True)
class _Made:
    """A restored geometry, why it had to be repaired, and its area before; None if that cannot be measured."""

    geometry: shapely.MultiPolygon | None
    reason: str | None
    area_in_source: float | None = None


def _restored(wkb: bytes | None, projection: Projection | None, *, is_validated: bool) -> _Made:
    if wkb is None:
        return _Made(None, "null geometry")
    try:
        found = decode(wkb)
        if not found.is_finite:
            raise Unplaceable("coordinates that are not numbers")
        if not found.parts:
            notes = "; ".join(found.notes)
            raise Unplaceable("nothing polygonal" if found.has_others else notes or "empty geometry")
        with np.errstate(all="ignore"):  # coordinates may be as large as numbers are
            parts = globe.naive(found.parts, projection) if projection else found.parts
            if projection and parts is None:
                return _projected(found, projection)
            return _in_degrees(found, parts or [], is_validated=is_validated)
    except Unreadable:
        return _Made(None, "unreadable geometry")
    except Unplaceable as fault:
        return _Made(None, str(fault))


def _in_degrees(found: Polygons, parts: list[Rings], *, is_validated: bool) -> _Made:
    """Repair polygons in degrees, and put them on the globe."""
    laid, leaps = globe.in_degrees(parts)
    notes = [*found.notes, *(["edge of more than 340°"] if leaps else [])]
    shapes = _polygons(laid)
    area = sum(measures.area(rings) for rings in parts)
    is_within = all(ring[:, 0].min() >= -180 and ring[:, 0].max() <= 180 for rings in laid for ring in rings)
    if not is_validated and is_within and found.is_simple and not notes:
        return _Made(shapely.MultiPolygon(list(shapes)), None, area)
    is_valid, why = reason(shapes, is_simple=found.is_simple)
    notes += [why] if why else []
    shapes = shapes if is_valid else _repaired(shapes)
    made = shapely.MultiPolygon(list(shapes)) if len(shapes) else None
    if not is_within:
        made = _united([piece for shape in shapes for piece in globe.polygons(globe.split(shape))])
    return _Made(made, "; ".join(notes) or None, area)


def _projected(found: Polygons, projection: Projection) -> _Made:
    """Repair polygons in the plane of a projection, and put them on the globe."""
    shapes = _polygons(found.parts)
    before = float(np.sum(shapely.area(shapes)))
    is_valid, why = reason(shapes, is_simple=found.is_simple)
    notes = [*found.notes, *([why] if why else [])]
    shapes = shapes if is_valid else _repaired(shapes)
    after = float(np.sum(shapely.area(shapes)))
    made = _united([piece for shape in shapes for piece in globe.polygons(globe.projected(shape, projection))])
    # What is invalid has a place in the plane only, so its area is that of what was made of it, in proportion.
    area = measures.measure(pa.array([shapely.to_wkb(made)], pa.binary()))["area_km2"][0].as_py() if made else None
    return _Made(made, "; ".join(notes) or None, area * before / after if area and after else None)


def _polygons(parts: list[Rings]) -> Geometries:
    return np.array([shapely.Polygon(rings[0], rings[1:]) for rings in parts], dtype=np.object_)


def _repaired(shapes: Geometries) -> Geometries:
    """Return the polygons of a valid geometry made of these."""
    valid = polygonal(shapely.MultiPolygon(list(shapes)))
    return np.array(valid.geoms if valid else [], dtype=np.object_)


def _united(pieces: list[shapely.Polygon]) -> shapely.MultiPolygon | None:
    """Return polygons as a valid MultiPolygon, united where they touch or overlap; None if there is none."""
    if not pieces:
        return None
    whole = shapely.MultiPolygon(pieces)
    if shapely.is_valid(whole):
        return whole
    return polygonal(shapely.union_all([globe.made_valid(piece) for piece in pieces]))
