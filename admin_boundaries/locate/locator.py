"""Units and time zones at many points, by the index of the marts. The answers are those of SQL `locate`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import feather

from admin_boundaries.locate import Row
from admin_boundaries.locate.answers import SCHEMA, Names, statuses
from admin_boundaries.locate.index import LAYERS, Index
from admin_boundaries.locate.kernels import BAD, NONE, Floats, Numbers
from admin_boundaries.locate.layer import Layer, Sets
from admin_boundaries.locate.nearest import nearest
from admin_boundaries.locate.search import look_up
from ingest.errors import MartsReplaced

KEPT = 1 << 16  # answers that are not made anew each time: some 60 MB


@dataclass(frozen=True)
class Found:
    """What was found at points.

    Attributes
    ----------
    units, zones : array of int32
        For each point, the number of a set of units, and of a set of time zones.
    """

    units: Numbers
    zones: Numbers


class Locator:
    """The index of the marts of a build, open.

    Parameters
    ----------
    index : Index or Path
        It is made first if it is not there; or the folder of one that is.

    Raises
    ------
    MartsReplaced
        When a build replaced the marts meanwhile.

    Attributes
    ----------
    row : callable
        Returns the answer where a set of units and one of zones were found; see `admin_boundaries.locate.COLUMNS`.
    """

    def __init__(self, index: Index | Path) -> None:
        folder = index if isinstance(index, Path) else index.folder()
        try:
            self._layers = {name: Layer.opened(folder / name) for name in LAYERS}
            tables = {name: feather.read_table(folder / name / "names.arrow", memory_map=True) for name in LAYERS}
        except FileNotFoundError as error:
            raise MartsReplaced("A build has replaced the marts meanwhile.", "Run the command again.") from error
        self._sets = {
            name: Sets(layer.ancestors, layer.set_starts, layer.set_units) for name, layer in self._layers.items()
        }
        self._known = sum(len(sets) for sets in self._sets.values())
        self._names = {name: Names(tables[name], self._sets[name]) for name in LAYERS}
        self.row = lru_cache(KEPT)(self._row)

    @property
    def learned(self) -> int:
        """How many sets of units have been found for the first time, each of which is kept: some 250 bytes."""
        return sum(len(sets) for sets in self._sets.values()) - self._known

    def find(self, lons: npt.ArrayLike, lats: npt.ArrayLike) -> Found:
        """Look points up.

        Parameters
        ----------
        lons, lats : array
            Degrees on WGS 84, of any type of number; NaN is no coordinate.

        Raises
        ------
        ValueError
            When there are not as many of the one as of the other.
        """
        x, y = np.ascontiguousarray(lons, np.float64), np.ascontiguousarray(lats, np.float64)
        if len(x) != len(y):
            raise ValueError(f"{len(x)} longitudes and {len(y)} latitudes")
        return Found(**{name: look_up(layer, self._sets[name], x, y) for name, layer in self._layers.items()})

    def locate(self, lon: float, lat: float) -> Row:
        """Return the answer for one point; see `admin_boundaries.locate.COLUMNS`."""
        found = self.find(np.array([lon], np.float64), np.array([lat], np.float64))
        row = self.row(int(found.units[0]), int(found.zones[0]))
        return tuple([*value] if isinstance(value, list) else value for value in row)  # who has it may change it

    def _row(self, units: int, zones: int) -> Row:
        status = "bad coordinates" if units == BAD else self._names["units"].status(units)
        return status, *self._names["units"].row(max(units, 0)), *self._names["zones"].row(max(zones, 0))

    def rows(self, found: Found) -> list[Row]:
        """Return the answers where something was found, as rows."""
        return [self.row(*pair) for pair in zip(found.units.tolist(), found.zones.tolist(), strict=True)]

    def locate_points(self, lons: npt.ArrayLike, lats: npt.ArrayLike) -> pa.RecordBatch:
        """Return the answers for many points; see `admin_boundaries.locate.COLUMNS`. Texts are dictionaries.

        Parameters
        ----------
        lons, lats : array
            Degrees on WGS 84, of any type of number; NaN is no coordinate.
        """
        return self.answers(self.find(lons, lats))

    def answers(self, found: Found) -> pa.RecordBatch:
        """Return the answers where something was found."""
        *places, gids, counts = self._names["units"].arrays(found.units)
        tzid, tzids, _ = self._names["zones"].arrays(found.zones)
        return pa.RecordBatch.from_arrays(
            [statuses(found.units, counts), *places, gids, tzid, tzids], names=SCHEMA.names
        )

    def nearest(self, lons: Floats, lats: Floats, metres: float, found: Found) -> list[pa.Array]:
        """Return the nearest unit for each point at which no unit was found, in the columns of `NEAREST`.

        Parameters
        ----------
        lons, lats : array of float64
            Degrees on WGS 84.
        metres : float
            Within which to look; see `admin_boundaries.locate.nearest`.
        found : Found
            What was found there.
        """
        units, away = np.full(len(lons), NONE, np.int32), np.full(len(lons), np.nan)
        (outside,) = np.nonzero(found.units == 0)
        units[outside], away[outside] = nearest(self._layers["units"], lons[outside], lats[outside], metres)
        texts = [self._names["units"].texts(name, units) for name in ("gid", "path")]
        return [*texts, pa.array(away, mask=np.isnan(away))]
