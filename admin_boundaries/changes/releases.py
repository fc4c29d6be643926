"""The units of a release, in columns, as they are compared with those of another."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from admin_boundaries.coverage.arrays import Flags, Positions, Rows, Texts
from admin_boundaries.python_models import Relation

NONE = -1  # a position of no unit
LEVELS = 6
COLUMNS = (
    *("gid", "admin_level", "parent_gid", "country_gid", "name", "is_leaf", "is_located", "area_km2", "geom_hash"),
    "release",
)


class Release:
    """The units of a release in the order of their keys; a unit is its position there.

    Units whose own geometry says where they are, are *located*: those without children, and those that their children
    do not cover. Every other one is what its children are. On a level, a unit that is located counts itself, from the
    level above the next such unit below it up to its own.

    Parameters
    ----------
    units : Relation
        With the columns `COLUMNS`.

    Attributes
    ----------
    gids, names, hashes, countries : ndarray of object
        Of each unit; None where it has none.
    levels, parents : ndarray of int
        The level, and the position of the parent, or `NONE`.
    areas_km2 : ndarray of float64
        Not a number where it is not known.
    is_leaf, is_located : ndarray of bool
        See above.
    release : str or None
        The name of the release; None if it has no units.
    """

    def __init__(self, units: Relation) -> None:
        self._read(units.select(*COLUMNS).batches().read_all().sort_by("gid"))

    def _read(self, units: pa.Table) -> None:
        self.gids: Texts = texts_of(units["gid"])
        self.names, self.hashes = texts_of(units["name"]), texts_of(units["geom_hash"])
        self.countries = texts_of(units["country_gid"])
        self.levels: Positions = units["admin_level"].to_numpy().astype(np.int64)
        self.areas_km2 = units["area_km2"].to_pandas().to_numpy(np.float64)
        self.is_leaf, self.is_located = (units[name].to_numpy().astype(bool) for name in ("is_leaf", "is_located"))
        self.release: str | None = units["release"][0].as_py() if len(units) else None
        self.parents = self.positions(texts_of(units["parent_gid"]))

    def __len__(self) -> int:
        return len(self.gids)

    @cached_property
    def _index(self) -> pd.Index[Any]:
        return pd.Index(self.gids, dtype=object)

    def positions(self, gids: Texts) -> Positions:
        """Return where units are; `NONE` where there is none of a key."""
        found: Positions = self._index.get_indexer(pd.Index(gids, dtype=object)).astype(np.int64)
        return found

    def at_level(self, level: int) -> Positions:
        """Return for each unit itself or the closest of its ancestors that is not below a level; `NONE` for none."""
        found = np.arange(len(self))
        while (is_below := (found != NONE) & (self.levels[found] > level)).any():
            found[is_below] = self.parents[found[is_below]]
        return found

    @cached_property
    def level_above(self) -> Positions:
        """For each unit, the level of its closest ancestor that is located; -1 if there is none.

        From there upwards, that ancestor counts in its place.
        """
        found = np.full(len(self), -1)
        at = self.parents.copy()
        while (is_open := at != NONE).any():
            hit = is_open.copy()
            hit[is_open] = self.is_located[at[is_open]]
            found[hit] = self.levels[at[hit]]
            at[hit] = NONE
            climbing = at != NONE
            at[climbing] = self.parents[at[climbing]]
        return found

    @cached_property
    def level_to(self) -> Positions:
        """For each unit, the last level on which it counts itself: the deepest of all if it has no children."""
        return np.where(self.is_leaf, LEVELS - 1, self.levels)

    def counts_on(self, level: int) -> Flags:
        """Return which units count themselves on a level."""
        counts: Flags = self.is_located & (self.level_above < level) & (level <= self.level_to)
        return counts


def compared(before: Relation, now: Relation) -> tuple[Release, Release]:
    """Return two releases as they are compared: what is located in one is located in the other, too.

    A child that is gone makes its parent a unit that speaks for itself. It is still to be compared with what it was,
    and not with all its children.
    """
    releases = Release(before), Release(now)
    located = [release.gids[release.is_located] for release in releases]
    for release, in_other in zip(releases, reversed(located), strict=True):
        also = release.positions(in_other)
        also = also[also != NONE]
        release.is_located[also] |= release.hashes[also] != None  # noqa: E711 elementwise
    return releases


def numbered(texts: Texts, others: Texts) -> tuple[Positions, Positions]:
    """Return numbers for texts of two releases, the same for the same text; `NONE` where there is none."""
    numbers = pd.factorize(np.concatenate([texts, others]))[0].astype(np.int64)
    return numbers[: len(texts)], numbers[len(texts) :]


def texts_of(column: pa.ChunkedArray) -> Texts:
    """Return the texts of a column; None for NULL."""
    found: Texts = column.to_numpy(zero_copy_only=False)
    return found


def taken(values: Rows, at: Positions) -> Rows:
    """Return the values of units; of numbers floating ones, not a number for no unit, else None."""
    found: Rows = values[at].astype(object if values.dtype == object else np.float64)
    found[at == NONE] = None if found.dtype == object else np.nan
    return found


def taken_at(positions: Positions, at: Positions) -> Positions:
    """Return the positions that belong to units; `NONE` for no unit."""
    found: Positions = np.where(at == NONE, NONE, positions[at])
    return found
