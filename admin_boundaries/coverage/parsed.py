"""Units as arrays: their vertices, and where rings, polygons and units begin among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import geoarrow.pyarrow as ga
import numpy as np
import pyarrow as pa

from admin_boundaries.coverage.arrays import Flags, Numbers, Positions, counted

MULTIPOLYGON = ga.multipolygon().with_coord_type(ga.CoordType.INTERLEAVED)


@dataclass(frozen=True)
class Parsed:
    """Some units.

    Attributes
    ----------
    units, polygons, rings : ndarray of int64
        Offsets: where the polygons of each unit begin, the rings of each polygon, and the vertices of each ring, the
        last of which is the first.
    points : ndarray of float64, shape (n, 2)
        In degrees.
    """

    units: Positions
    polygons: Positions
    rings: Positions
    points: Numbers

    @property
    def is_shell(self) -> Flags:
        """Whether a ring is the outer one of a polygon: the first."""
        found = np.zeros(len(self.rings) - 1, bool)
        found[self.polygons[:-1][np.diff(self.polygons) > 0]] = True
        return found

    @property
    def unit_of_polygon(self) -> Positions:
        """The unit of each polygon."""
        return np.repeat(np.arange(len(self.units) - 1), np.diff(self.units))

    @property
    def unit_of_ring(self) -> Positions:
        """The unit of each ring."""
        return np.repeat(self.unit_of_polygon, np.diff(self.polygons))

    def vertices_of(self, rings: Positions) -> Positions:
        """Return the positions of the vertices of some rings, but for the last of each."""
        return counted(self.rings[rings], np.maximum(np.diff(self.rings)[rings] - 1, 0))


def parsed(wkb: pa.BinaryArray) -> Parsed:
    """Take polygons apart; None and what is empty have none."""
    storage: Any = ga.as_geoarrow(ga.as_wkb(wkb), type=MULTIPOLYGON).storage
    of_polygons, of_rings = storage.values, storage.values.values
    units, polygons, rings = (np.asarray(of.offsets).astype(np.int64) for of in (storage, of_polygons, of_rings))
    return Parsed(units, polygons, rings, of_rings.values.values.to_numpy().reshape(-1, 2))
