"""How much of two units is the same, as a part of their areas on the globe."""

from __future__ import annotations

import numpy as np
import shapely

from admin_boundaries.areas import PARTS_AHEAD, Areas, parts_of, read_once
from admin_boundaries.coverage.arrays import Flags, Numbers, Positions
from admin_boundaries.coverage.threads import in_threads

DECIMALS = 6  # of a share


def can_share(ours: Areas, theirs: Areas, unit: Positions, other: Positions, share: float) -> Flags:
    """Return which pairs of units may have a share in common, each way, as far as boxes and sizes tell.

    A pair of which one has no area may not.
    """
    one, two = ours.boxes[unit], theirs.boxes[other]
    meet = (one[:, :2] <= two[:, 2:]).all(axis=1) & (two[:, :2] <= one[:, 2:]).all(axis=1)
    sizes = np.sort(np.column_stack((ours.sizes[unit], theirs.sizes[other])), axis=1)
    return np.asarray(meet & (sizes[:, 0] > 0) & (sizes[:, 0] >= share * sizes[:, 1]))


def shares(ours: Areas, theirs: Areas, unit: Positions, other: Positions) -> Numbers:
    """Measure what pairs of units have in common.

    Parameters
    ----------
    ours, theirs : Areas
        Of the units of either side.
    unit, other : ndarray of int, shape (n,)
        The pairs, by positions.

    Returns
    -------
    ndarray of float64, shape (n, 2)
        The part of the unit that lies in the other, and the part of the other that lies in the unit, from 0 to 1; not
        a number where one of the two has no area.
    """
    found = np.full((len(unit), 2), np.nan)

    def measured(pairs: Positions) -> tuple[Positions, Numbers]:
        one, two = (read_once(areas.read, at[pairs]) for areas, at in ((ours, unit), (theirs, other)))
        return pairs, shapely.area(shapely.intersection(one, two))

    def note(result: tuple[Positions, Numbers]) -> None:
        pairs, common = result
        sizes = np.column_stack((ours.sizes[unit[pairs]], theirs.sizes[other[pairs]]))
        found[pairs] = np.round(np.clip(common[:, None] / sizes, 0, 1), DECIMALS)

    pairs = np.flatnonzero((ours.sizes[unit] > 0) & (theirs.sizes[other] > 0))
    pairs = pairs[np.argsort(unit[pairs])]
    sizes = ours.bytes_of(unit[pairs]) + theirs.bytes_of(other[pairs])
    in_threads(measured, (pairs[part] for part in parts_of(sizes)), note, ahead=PARTS_AHEAD)
    return found
