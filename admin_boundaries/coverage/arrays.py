"""What the arrays of a coverage hold, and how close is close."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Shapes = npt.NDArray[np.object_]
Texts = npt.NDArray[np.object_]
Rows = npt.NDArray[Any]

TOLERANCE = 1e-7  # degrees: what is closer together is in one place, so that what is narrower is not a fault


def counted(first: Positions | int, count: Positions) -> Positions:
    """Return so many numbers from each first one on."""
    found: Positions = np.arange(count.sum()) + np.repeat(first - np.cumsum(count) + count, count)
    return found


def widest(of: Positions, widths: Numbers, edges: Numbers, count: int) -> Positions:
    """Return which item of each of so many groups is the widest, of several that with longer edges; -1 for none."""
    found = np.full(count, -1)
    is_alone = np.bincount(of, minlength=count)[of] == 1  # which most are
    found[of[is_alone]] = np.flatnonzero(is_alone)
    others = np.flatnonzero(~is_alone)
    order = others[np.lexsort((-edges[others], -widths[others], of[others]))]
    firsts = order[np.flatnonzero(np.diff(of[order], prepend=-1))]
    found[of[firsts]] = firsts
    return found


def at_or_zero(values: Numbers, at: Positions) -> Numbers:
    """Return values by their positions; 0 for -1."""
    found = np.zeros(len(at))
    found[at >= 0] = values[at[at >= 0]]
    return found


def linked(count: int, links: Positions) -> Positions:
    """Return a number for each of so many items: the same for those that are linked, in one step or several.

    Parameters
    ----------
    count : int
        Of the items.
    links : ndarray of int, shape (n, 2)
        Pairs of items.
    """
    group = np.arange(count)
    ends = group[links]
    while len(ends := ends[ends[:, 0] != ends[:, 1]]):
        np.minimum.at(group, ends.max(axis=1), ends.min(axis=1))
        while ((above := group[group]) != group).any():
            group = above
        ends = group[ends]
    return group
