"""What is a change, and what only a border that was drawn anew.

A border is known no better than its vertices are apart. So ground that changes hands is a sliver if it is narrower than
three quarters of that: of the length of the edges of both units, in the release in which they are longer, or of those
around that ground, as borders are not drawn alike everywhere. At a coast, where islets come and go with the scale, it
may be twice as wide. Few vertices may also mean a straight border that is known well: a unit of four corners has not
moved by less than its size. So the edges count only up to a fortieth of the size of the unit, unless the other borders
of the country have moved, too: then up to ten times what three of four of them have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from admin_boundaries.changes.links import Links
from admin_boundaries.changes.releases import Release
from admin_boundaries.coverage.arrays import Flags, Numbers, Positions, Texts, at_or_zero, widest

TRANSFER = 0.75  # of the distance of vertices
COAST = 1.5
SIZES = 1 / 40  # of the square root of the area
USUALLY = 0.75  # of the borders of a country have moved less
TIMES = 10
ENOUGH = 8  # borders, to tell what is usual in a country
MOST = 0.5  # of a unit: no two units have more than this of it


@dataclass(frozen=True)
class Moves:
    """How far borders usually moved, in kilometres, by country and over all; both the same for either release.

    Attributes
    ----------
    of_countries : (dict, dict)
        By the keys of countries before, and now.
    of_all : float
        Where a country has few borders.
    """

    of_countries: tuple[dict[str, float], dict[str, float]]
    of_all: float

    def of(self, side: int, countries: Texts) -> Numbers:
        """Return how far the borders of countries usually moved."""
        known = self.of_countries[side]
        number, single = pd.factorize(countries)
        return np.array([known.get(country, self.of_all) for country in single] + [self.of_all])[number]


def usual_moves(before: Release, now: Release, levels: list[Links]) -> Moves:
    """Measure how far borders usually moved: of units that have most of each other in common."""
    found = []
    for links in levels:
        is_pair = (links.shares_before > MOST) & (links.shares_now > MOST)
        moved = moves_of(links, is_pair)
        found.append(
            pd.DataFrame(
                {
                    "before": before.countries[links.before[is_pair]],
                    "now": now.countries[links.now[is_pair]],
                    "moved": moved,
                }
            )
        )
    pairs = pd.concat(found)
    of_countries = []
    for name in ("before", "now"):
        groups = pairs.groupby(name)["moved"]
        usual, count = groups.quantile(USUALLY), groups.size()
        of_countries.append({str(key): float(value) for key, value in usual[count >= ENOUGH].items()})
    of_all = float(pairs["moved"].quantile(USUALLY)) if len(pairs) else 0.0
    return Moves((of_countries[0], of_countries[1]), of_all)


def moves_of(links: Links, is_pair: Flags) -> Numbers:
    """Return for each pair of links how wide the widest ground is that either unit shares with others."""
    found = [at_or_zero(links.widths_km, at) for at in others_of(links, is_pair, links.edges_km)]
    return np.maximum(*found)


def others_of(links: Links, is_pair: Flags, weights: Numbers) -> tuple[Positions, Positions]:
    """Return for each pair of links that of the widest ground that either unit shares with others; -1 for none.

    Of several that are equally wide, the one with the largest weight counts.
    """
    others = np.flatnonzero(~is_pair)
    found = []
    for units, side in zip((links.before, links.now), links.sides, strict=True):
        wide = widest(units[others], links.widths_km[others], weights[others], len(side.areas_km2))
        found.append(np.append(others, -1)[wide[units[is_pair]]])
    return found[0], found[1]


class Judge:
    """Tells slivers from ground.

    Parameters
    ----------
    before, now : Release
        The units.
    links : Links
        Of a level.
    moves : Moves
        How far borders usually moved.
    """

    def __init__(self, before: Release, now: Release, links: Links, moves: Moves) -> None:
        self._links = links
        self._most = tuple(
            np.maximum(SIZES * np.sqrt(side.areas_km2), TIMES * moves.of(at, release.countries))
            for at, (release, side) in enumerate(zip((before, now), links.sides, strict=True))
        )

    def known_to(self) -> Numbers:
        """Return how well borders along the ground of links are known, in kilometres, by the worse release."""
        return self._known_by_both(self._links.edges_km)

    def units_known_to(self) -> Numbers:
        """Return how well the borders of the units of links are known, wherever they are."""
        return self._known_by_both(np.zeros(len(self._links.before)))

    def _known_by_both(self, edges: Numbers) -> Numbers:
        links = self._links
        return np.maximum(self._known(0, links.before, edges), self._known(1, links.now, edges))

    def rest_known_to(self, side: int) -> Numbers:
        """Return how well the border is known between units of a release and ground that is outside of the other."""
        of_side = self._links.sides[side]
        return self._known(side, np.arange(len(of_side.areas_km2)), of_side.rest_edges_km)

    def _known(self, side: int, units: Positions, edges: Numbers) -> Numbers:
        longest = np.maximum(self._links.sides[side].resolutions_km[units], edges)
        return np.minimum(longest, self._most[side][units])

    def are_wide(self) -> Flags:
        """Return which links are of more ground than two ways to draw a border leave between them."""
        wide: Flags = self._links.widths_km > TRANSFER * self.known_to()
        return wide

    def are_ground(self) -> Flags:
        """Return which links are more than slivers: wide ones, and most of a unit."""
        links = self._links
        ground: Flags = self.are_wide() | (links.shares_before >= MOST) | (links.shares_now >= MOST)
        return ground

    def have_wide_rest(self, side: int) -> Flags:
        """Return which units of a release have more ground outside of the other one than a coast drawn anew leaves."""
        wide: Flags = self._links.sides[side].rest_widths_km > COAST * self.rest_known_to(side)
        return wide
