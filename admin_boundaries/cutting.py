"""Cuts polygons into pieces small enough to be probed with a point, for targets that cannot do so themselves."""

from __future__ import annotations

from typing import Any

import shapely

LAST_PIECE = 2**60  # ends the halving where more vertices coincide than a piece may have


def cut_polygon(wkb: bytes, max_vertices: int) -> list[dict[str, Any]]:
    """Cut a polygon into pieces of few vertices, as ``macros/spatial/pieces_of.sql`` does on PostGIS.

    Parameters
    ----------
    wkb : bytes
        The polygon, as WKB.
    max_vertices : int
        Maximum number of vertices in a piece.

    Returns
    -------
    list of dict
        ``piece_number`` (1 for a polygon that was not cut; piece n is halved into 2n and 2n + 1) and ``geom``, WKB of a
        Polygon or MultiPolygon. No piece is empty.
    """
    found, left = [], [(1, shapely.from_wkb(wkb))]
    while left:
        number, piece = left.pop()
        if piece.is_empty:
            continue
        if shapely.get_num_coordinates(piece) <= max_vertices or number >= LAST_PIECE:
            found.append({"piece_number": number, "geom": shapely.to_wkb(piece)})
            continue
        min_lon, min_lat, max_lon, max_lat = piece.bounds
        if max_lon - min_lon > max_lat - min_lat:
            middle = (min_lon + max_lon) / 2
            boxes = ((min_lon, min_lat, middle, max_lat), (middle, min_lat, max_lon, max_lat))
        else:
            middle = (min_lat + max_lat) / 2
            boxes = ((min_lon, min_lat, max_lon, middle), (min_lon, middle, max_lon, max_lat))
        left += [(number * 2 + side, shapely.clip_by_rect(piece, *box)) for side, box in enumerate(boxes)]
    return found
