"""Two releases of a generated world, of which it is known what changed from the first to the second.

Units are split, merged, re-keyed, renamed, moved to another parent, added and removed; names that were read in a wrong
encoding are mended; and borders are digitised anew, which is no change. Levels nest exactly in both releases, except
that a parent keeps the ground of a unit that only one release has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from benchmarks.generate import KEYS, LAND_HEIGHT, LAND_WIDTH, NAMES, Country, Unit, World, redrawn, world

KEY = re.compile(r"[A-Z]{3}(\.\d+)+_\d+")  # one that says its place; others have faults of their own
KINDS = ("split", "merged", "re-keyed", "renamed", "mended", "moved", "new", "gone")
REDRAWN = 0.02  # of all borders, by blocks: every unit that has a part in one differs
ADDED = 900_000  # numbers of new units: no real one is as high
SMALL_COUNTRY = 60  # units
MANY_COUNTRIES = 30
NEARLY = 0.75  # of a unit, before its coast is drawn: one of which more is left may still be that unit, not another one
LESS = 0.4  # of a unit: if more of it goes, what is left may be taken for another one
Row = tuple[str, str | None, str | None]  # which release has the unit, its key before, its key now


@dataclass
class Place:
    """A unit, and the unit above it."""

    unit: Unit
    parent: Unit | None


@dataclass
class Releases:
    """The two releases.

    Attributes
    ----------
    before, now : World
        The units.
    truth : dict
        By the rows of `admin_unit_changes`: what happened to each unit that is not the same in both.
    names : dict
        By the keys now of renamed units: how the name has changed.
    planted : dict
        How many changes of each kind there are.
    """

    before: World
    now: World
    truth: dict[Row, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    planted: dict[str, int] = field(default_factory=dict)


def make(scale: float, share: float = 0.05, *, all_differ: bool = False) -> Releases:
    """Make both releases.

    Parameters
    ----------
    scale : float
        As of `benchmarks.generate.write`.
    share : float
        Of all units, how many are changed.
    all_differ : bool
        Whether all borders are digitised anew, and not only some.
    """
    before = world(scale)
    now = World(
        dict(before.table),
        [_copy(country) for country in before.countries],
        [redrawn(country, 1.0 if all_differ else REDRAWN) for country in before.laid_out],
    )
    releases = Releases(before, now)
    _Planter(releases, share).plant()
    return releases


def _copy(unit: Unit) -> Unit:
    return Unit(
        unit.row, unit.level, [_copy(child) for child in unit.children], unit.leaf_from, unit.leaf_to, unit.rectangle
    )


def _walk(unit: Unit, parent: Unit | None = None) -> Iterator[Place]:
    yield Place(unit, parent)
    for child in unit.children:
        yield from _walk(child, unit)


class _Planter:
    """Changes units, each at most once, and notes what it did."""

    def __init__(self, releases: Releases, share: float) -> None:
        self.releases = releases
        self.tables = [
            {name: list(values) for name, values in release.table.items()}
            for release in (releases.before, releases.now)
        ]
        self.random = np.random.default_rng(7)
        self.places = [place for country in releases.now.countries for place in _walk(country)]
        self.old = {
            id(now.unit): old
            for now, old in zip(
                self.places,
                (place for country in releases.before.countries for place in _walk(country)),
                strict=True,
            )
        }
        self.islands = [
            _island_areas(country, unit.leaf_to)
            for unit, country in zip(releases.before.countries, releases.before.laid_out, strict=True)
        ]
        self.steps = [LAND_WIDTH * LAND_HEIGHT / country.side**2 for country in releases.before.laid_out]
        self.country = {
            id(place.unit): number for number, country in enumerate(releases.now.countries) for place in _walk(country)
        }
        self.each = max(1, round(share * len(self.places) / len(KINDS)))
        self.used: set[int] = set()
        self.number = ADDED

    def plant(self) -> None:
        """Make all changes: first those of the tree, so that keys and names reach all who are in it at the end."""
        ways: dict[str, Callable[[Place], bool]] = {
            "moved": self._move,
            "merged": self._merge,
            "split": self._split,
            "new": self._add,
            "gone": self._remove,
            "re-keyed": self._rekey,
            "mended": self._mend,
            "renamed": self._rename,
        }
        self._countries()
        for kind, change in ways.items():
            done = 0
            for at in self.random.permutation(len(self.places)):
                if done == self.each:
                    break
                done += change(self.places[at])
            self.releases.planted[kind] = done
        for release, table in zip((self.releases.before, self.releases.now), self.tables, strict=True):
            release.table = {name: _objects(values) for name, values in table.items()}

    def _countries(self) -> None:
        """Let the first release lack a small country, and the second one another."""
        releases = self.releases
        if len(releases.now.countries) < MANY_COUNTRIES:
            return
        small = [
            at for at, each in enumerate(releases.now.countries) if 1 < sum(1 for _ in _walk(each)) < SMALL_COUNTRY
        ]
        one, other = (int(at) for at in self.random.choice(small, 2, replace=False))
        for kind, at in (("new", one), ("gone", other)):
            for place in _walk(releases.now.countries[at]):
                self.used.add(id(place.unit))
                self._note(kind, place.unit)
        for release, at in ((releases.before, one), (releases.now, other)):
            del release.countries[at], release.laid_out[at]

    def _area(self, unit: Unit, number: int) -> float:
        """Return how large a unit of a country is, in square degrees."""
        left, below, right, above = unit.rectangle
        islands = self.islands[number][unit.leaf_to] - self.islands[number][unit.leaf_from]
        return (right - left) * (above - below) * self.steps[number] + float(islands)

    def _is_free(self, *units: Unit | None) -> bool:
        return all(
            unit is not None and id(unit) not in self.used and KEY.fullmatch(self._key(unit)) is not None
            for unit in units
        )

    def _key(self, unit: Unit, table: int = 1) -> str:
        return str(self.tables[table][KEYS[unit.level]][unit.row])

    def _name(self, unit: Unit) -> str:
        return str(self.tables[1][NAMES[unit.level]][unit.row])

    def _note(self, kind: str, unit: Unit, key: str | None = None) -> None:
        """Note what happened to a unit of both releases, or of one; ``key`` is that now."""
        mine = self._key(unit, 0) if unit.row < len(self.tables[0][KEYS[0]]) else self._key(unit)
        rows: dict[str, Row] = {
            "new": ("to", None, mine),
            "gone": ("from", mine, None),
        }
        self.releases.truth[rows.get(kind, ("both", mine, key or mine))] = kind

    def _new_key(self, unit: Unit) -> str:
        self.number += 1
        return re.sub(r"\.\d+_\d+$", f".{self.number}_1", self._key(unit))

    def _write(self, unit: Unit, columns: list[str], value: str) -> None:
        """Write a value into the column of a unit's level, for it and all units below it."""
        for place in _walk(unit):
            self.tables[1][columns[unit.level]][place.unit.row] = value

    def _derived(self, unit: Unit, name: str) -> Unit:
        """Return a new unit at the place of another in the tree."""
        table = self.tables[1]
        for column in table.values():
            column.append(column[unit.row])
        made = Unit(len(table[KEYS[0]]) - 1, unit.level, [], unit.leaf_from, unit.leaf_to, unit.rectangle)
        key = self._new_key(unit)
        self._write(made, KEYS, key)
        self._write(made, NAMES, name)
        self.used.add(id(made))
        return made

    def _split(self, place: Place) -> bool:
        """Split a leaf into two or three, along its longer side."""
        unit, parent = place.unit, place.parent
        if unit.children or not self._is_free(unit) or parent is None:
            return False
        left, below, right, above = unit.rectangle
        is_wide = right - left >= above - below
        begin, end = (left, right) if is_wide else (below, above)
        count = int(self.random.integers(2, 4))
        if end - begin < 4 * count:
            return False
        cuts = [begin, *(begin + (end - begin) * number // count for number in range(1, count)), end]
        first = replace(unit, rectangle=(begin, below, cuts[1], above) if is_wide else (left, begin, right, cuts[1]))
        country = self.country[id(unit)]
        if self._area(first, country) > NEARLY * self._area(unit, country):
            return False
        parts = []
        for number, (low, high) in enumerate(pairwise(cuts)):
            part = self._derived(unit, f"{self._name(unit)} {'ABC'[number]}")
            part.rectangle = (low, below, high, above) if is_wide else (left, low, right, high)
            if number:
                part.leaf_from = part.leaf_to  # the islands stay with the first
            parts.append(part)
        at = _position(parent, unit)
        parent.children[at : at + 1] = parts
        self._became("split", [unit], parts)
        return True

    def _merge(self, place: Place) -> bool:
        """Merge a leaf with the next one of its parent."""
        unit, parent = place.unit, place.parent
        if parent is None or unit.children or not self._is_free(unit):
            return False
        at = _position(parent, unit)
        other = parent.children[at + 1] if at + 1 < len(parent.children) else None
        if other is None or other.children or other.level != unit.level or not self._is_free(other):
            return False
        rectangle = _union(unit.rectangle, other.rectangle)
        areas = [self._area(each, self.country[id(unit)]) for each in (unit, other)]
        if rectangle is None or max(areas) > NEARLY * sum(areas):
            return False
        merged = self._derived(unit, f"{self._name(unit)}-{self._name(other)}")
        merged.rectangle, merged.leaf_to = rectangle, other.leaf_to
        parent.children[at : at + 2] = [merged]
        self._became("merged", [unit, other], [merged])
        return True

    def _became(self, kind: str, before: list[Unit], now: list[Unit]) -> None:
        self.used |= {id(unit) for unit in before}
        truth = self.releases.truth
        truth.update({("from", self._key(unit, 0), None): kind for unit in before})
        truth.update({("to", None, self._key(unit)): kind for unit in now})

    def _move(self, place: Place) -> bool:
        """Move the last unit of a parent to the next parent, so that both are rectangles as before."""
        home, above = place.unit, place.parent
        if above is None or len(home.children) < 2 or not self._is_free(home):
            return False
        at, unit = _position(above, home), home.children[-1]
        host = above.children[at + 1] if at + 1 < len(above.children) else None
        if host is None or not host.children or host.level != home.level or not self._is_free(host, unit):
            return False
        joined, rest = _union(unit.rectangle, host.rectangle), _rest(home.rectangle, unit.rectangle)
        if joined is None or rest is None or unit.level != home.level + 1:
            return False
        area, *areas = (self._area(each, self.country[id(unit)]) for each in (unit, home, host))
        if area > LESS * min(areas[0], areas[1] + area):
            return False
        home.children.pop()
        host.children.insert(0, unit)
        home.rectangle, host.rectangle = rest, joined
        home.leaf_to = host.leaf_from = unit.leaf_from
        self._write_above(unit, host)
        self.used |= {id(each) for each in (unit, home, host)}
        self._note("moved", unit)
        self._note("reshaped", home)
        self._note("reshaped", host)
        return True

    def _write_above(self, unit: Unit, parent: Unit) -> None:
        for place in _walk(unit):
            for columns in (KEYS, NAMES):
                column = self.tables[1][columns[parent.level]]
                column[place.unit.row] = column[parent.row]

    def _add(self, place: Place) -> bool:
        """Let the first release lack a leaf."""
        return self._leave_out("new", place, self.old[id(place.unit)])

    def _remove(self, place: Place) -> bool:
        """Let the second release lack a leaf."""
        return self._leave_out("gone", place, place)

    def _leave_out(self, kind: str, place: Place, of: Place) -> bool:
        unit, parent = place.unit, place.parent
        if parent is None or unit.children or len(parent.children) < 4 or not self._is_free(unit, parent):
            return False
        assert of.parent is not None
        del of.parent.children[_position(of.parent, of.unit)]
        self.used |= {id(unit), id(parent)}
        self._note(kind, unit)
        return True

    def _rekey(self, place: Place) -> bool:
        """Give a unit another key: a leaf another number, any other one another version."""
        unit = place.unit
        if not self._is_free(unit):
            return False
        key = re.sub(r"_\d+$", "_99", self._key(unit)) if unit.children else self._new_key(unit)
        self._note("re-keyed", unit, key)
        self._write(unit, KEYS, key)
        self.used.add(id(unit))
        return True

    def _rename(self, place: Place) -> bool:
        """Give a unit another name."""
        unit = place.unit
        if not self._is_free(unit):
            return False
        self.number += 1
        self._write(unit, NAMES, f"Nova Terra {self.number}")
        self._renamed(unit, "other")
        return True

    def _mend(self, place: Place) -> bool:
        """Let the first release have misread the name of a unit."""
        unit, name = place.unit, self._name(place.unit)
        misread = name.encode().decode("latin-1")
        if not self._is_free(unit) or misread == name or not misread.isprintable():
            return False
        for each in _walk(self.old[id(unit)].unit):
            self.tables[0][NAMES[unit.level]][each.unit.row] = misread
        self._renamed(unit, "encoding")
        return True

    def _renamed(self, unit: Unit, how: str) -> None:
        self.used.add(id(unit))
        self._note("renamed", unit)
        self.releases.names[self._key(unit)] = how


def _island_areas(country: Country, leaves: int) -> npt.NDArray[np.float64]:
    """Return the area of the islands of all leaves before each one, in square degrees."""
    x, y = country.islands.T
    twice = np.append(x[:-1] * y[1:] - x[1:] * y[:-1], 0)
    twice[country.island_ends[1:] - 1] = 0
    areas = np.abs(np.add.reduceat(twice, country.island_ends[:-1])) / 2
    return np.concatenate([[0], np.cumsum(np.bincount(country.island_owners, areas, minlength=leaves))])


def _objects(values: list[object]) -> npt.NDArray[np.object_]:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def _position(parent: Unit, unit: Unit) -> int:
    return next((at for at, child in enumerate(parent.children) if child is unit), len(parent.children))


def _union(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> tuple[int, int, int, int] | None:
    """Return the union of two rectangles, the other one right of or above the first, if it is a rectangle."""
    is_right = one[2] == other[0] and (one[1], one[3]) == (other[1], other[3])
    is_above = one[3] == other[1] and (one[0], one[2]) == (other[0], other[2])
    return (one[0], one[1], other[2], other[3]) if is_right or is_above else None


def _rest(whole: tuple[int, int, int, int], part: tuple[int, int, int, int]) -> tuple[int, int, int, int] | None:
    """Return what is left of a rectangle without its right or upper part, if it is a rectangle."""
    left, below, right, above = whole
    if (part[1], part[2], part[3]) == (below, right, above) and part[0] > left:
        return left, below, part[0], above
    if (part[0], part[2], part[3]) == (left, right, above) and part[1] > below:
        return left, below, right, part[1]
    return None
