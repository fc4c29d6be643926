"""The units of one dataset, as they are compared with those of another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from admin_boundaries.areas import Areas
from admin_boundaries.concordance.names import without_type
from admin_boundaries.coverage.arrays import Flags, Positions
from admin_boundaries.python_models import Relation

NONE = -1  # a position of no unit
OWN, OTHER, BARE = range(3)  # kinds of names: that of the unit, another one, either without the words for its type


@dataclass(frozen=True)
class Marts:
    """What is read of a dataset.

    Attributes
    ----------
    units : Relation
        ``gid``, ``admin_level`` and ``parent_gid`` of every unit.
    names : Relation
        ``gid``, ``name_kind`` and ``folded_name``.
    codes : Relation
        ``gid``, ``scheme`` and ``code``.
    levels : sequence of Relation
        ``gid`` and ``geom`` of the units of each level, in degrees.
    """

    units: Relation
    names: Relation
    codes: Relation
    levels: Sequence[Relation]


class Side:
    """The units of a dataset in the order of their keys; a unit is its position there.

    Parameters
    ----------
    marts : Marts
        What is read.
    subdivisions : Table
        ``code`` and ``folded_names`` of ISO's subdivisions: a unit with such a code has these names too.
    open_until : ExitStack
        Until it closes, geometries are kept on disk.
    folder : Path, optional
        Where; by default in the folder of the system.

    Attributes
    ----------
    gids : StringArray
        The keys.
    levels : ndarray of int
        The level of each unit.
    parents : ndarray of int
        The parent of each unit, or `NONE`.
    names : DataFrame
        ``unit``, ``kind`` and ``name``: of each unit every name and kind of name once.
    codes : DataFrame
        ``unit``, ``scheme`` and ``code``.
    areas : Areas
        The areas of the units.
    """

    def __init__(self, marts: Marts, subdivisions: pa.Table, open_until: ExitStack, folder: Path | None = None) -> None:
        units = marts.units.select("gid", "admin_level", "parent_gid").batches().read_all().sort_by("gid")
        self.gids: pa.StringArray = units["gid"].combine_chunks()
        self.levels = units["admin_level"].to_numpy()
        self._index = pd.Index(self.gids.to_pandas())
        self.parents = self._units_of(units["parent_gid"])
        codes = marts.codes.select("gid", "scheme", "code").batches().read_all()
        self.codes = codes.to_pandas().drop(columns="gid").assign(unit=self._units_of(codes["gid"]))
        names = marts.names.select("gid", "name_kind", "folded_name").batches().read_all()
        self.names = self._names(names, subdivisions.to_pandas())
        self.areas = open_until.enter_context(Areas(len(units), folder))
        self.areas.fill(
            (self._units_of(batch["gid"]), batch["geom"])
            for level in marts.levels
            for batch in level.select("gid", "geom").batches()
        )

    def __len__(self) -> int:
        return len(self.gids)

    def _units_of(self, gids: pa.Array) -> Positions:
        found: Positions = self._index.get_indexer(gids.to_pandas())
        return found

    def _names(self, names: pa.Table, subdivisions: pd.DataFrame) -> pd.DataFrame:
        """Return all names, as they are and without the words for types."""
        of_file = pd.DataFrame(
            {
                "unit": self._units_of(names["gid"]),
                "kind": np.where(pc.equal(names["name_kind"], "name").to_numpy(), OWN, OTHER),
                "name": names["folded_name"].to_pandas(),
            }
        )
        of_code = self.codes[self.codes["scheme"] == "iso_3166_2"].merge(subdivisions, on="code")
        of_code = of_code.assign(kind=OTHER, name=of_code["folded_names"].str.split("|")).explode("name")
        listed = pd.concat([of_file, of_code[["unit", "kind", "name"]]], ignore_index=True)
        bare = without_type(pa.array(listed["name"], pa.string())).to_pandas()
        listed = pd.concat([listed, listed.assign(kind=BARE, name=bare)], ignore_index=True)
        found: pd.DataFrame = listed[listed["name"] != ""].drop_duplicates()
        return found

    def closest(self, has: Flags) -> Positions:
        """Return the closest ancestor of each unit that a flag is set for; `NONE` where there is none."""
        found = self.parents
        while (up := (found != NONE) & ~has[found]).any():
            found = np.where(up, self.parents[found], found)
        return found
