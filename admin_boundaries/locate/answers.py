"""Answers for many points: each distinct one is made once, however many points it is for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from admin_boundaries.locate import COLUMNS, Row
from admin_boundaries.locate.kernels import Numbers
from admin_boundaries.locate.layer import Sets

STATUSES = pa.array(["no unit", "one unit", "several units", "bad coordinates"])
TYPES = {"admin_level": pa.int32(), **dict.fromkeys(("gids", "tzids"), pa.list_(pa.string()))}
SCHEMA = pa.schema([pa.field(name, TYPES.get(name, pa.string())) for name in COLUMNS])
NEAREST = [
    pa.field("nearest_gid", pa.string()),
    pa.field("nearest_path", pa.string()),
    pa.field("nearest_metres", pa.float64()),
]
NULL = -1


class Names:
    """What answers say of the sets of a layer.

    Parameters
    ----------
    table : Table
        One row per unit, in the order of their numbers, the key first. Texts are dictionaries.
    sets : Sets
        Of the layer.
    """

    def __init__(self, table: pa.Table, sets: Sets) -> None:
        self._names = table.column_names
        self._columns = [column.combine_chunks() for column in table.columns]
        self._sets = sets

    def row(self, number: int) -> Row:
        """Return the values of the first unit of a set, and the keys of all; None for all in the empty set."""
        units = self._sets.units(number)
        first = [column[units[0]].as_py() if units else None for column in self._columns]
        return *first, [self._columns[0][unit].as_py() for unit in units] or None

    def texts(self, name: str, units: Numbers) -> pa.DictionaryArray:
        """Return the texts of a column for units; NULL for a unit of -1."""
        column = self._columns[self._names.index(name)]
        return _encoded(_codes(column)[units], np.arange(len(units), dtype=np.int32), column.dictionary)

    def status(self, number: int) -> str:
        """Return the status of a set of units."""
        return str(STATUSES[min(len(self._sets.units(number)), 2)])

    def arrays(self, numbers: Numbers) -> list[pa.Array]:
        """Return the values of the first unit of the set at each point, the list of keys, and how many units there are.

        Texts are dictionaries of what occurs, and of nothing else.
        """
        distinct, places = _distinct(np.maximum(numbers, 0))
        firsts, counts, units = self._sets.listed(distinct)
        arrays: list[pa.Array] = []
        for column in self._columns:
            if pa.types.is_dictionary(column.type):
                arrays.append(_encoded(_codes(column)[firsts], places, column.dictionary))
            else:
                arrays.append(column.take(pa.array(firsts[places], mask=(firsts < 0)[places])))
        key = self._columns[0]
        lists = _lists(_codes(key)[units], counts, places, key.dictionary)
        return [*arrays, lists, counts[places]]


def statuses(numbers: Numbers, counts: Numbers) -> pa.Array:
    """Return the status of each point."""
    codes = np.where(numbers < 0, np.int32(len(STATUSES) - 1), np.minimum(counts, 2).astype(np.int32))
    distinct, places = _distinct(codes)
    return pa.DictionaryArray.from_arrays(pa.array(places), STATUSES.take(pa.array(distinct)))


def _codes(column: pa.DictionaryArray) -> Numbers:
    """Return the indices of a dictionary, -1 for NULL, and one more -1 behind them: that of unit -1, which is none."""
    return np.append(column.indices.fill_null(NULL).to_numpy(zero_copy_only=False), np.int32(NULL))


def _distinct(numbers: Numbers) -> tuple[Numbers, Numbers]:
    """Return the distinct ones of small numbers in order, and where each of them is there: without a sort."""
    occurs = np.zeros(int(numbers.max(initial=0)) + 1, np.bool_)
    occurs[numbers] = True
    (distinct,) = np.nonzero(occurs)
    place = np.zeros(len(occurs), np.int32)
    place[distinct] = np.arange(len(distinct), dtype=np.int32)
    return distinct.astype(np.int32), place[numbers]


def _encoded(codes: Numbers, places: Numbers, dictionary: pa.Array) -> pa.DictionaryArray:
    """Return the texts at places of codes, of which those below 0 are NULL."""
    known, at = _distinct(codes + 1)  # NULL becomes 0, if it occurs
    if len(known) and known[0] == 0:
        known, at = known[1:], at - 1
    indices = pa.array(at[places], mask=(codes < 0)[places])
    return pa.DictionaryArray.from_arrays(indices, dictionary.take(pa.array(known - 1)))


def _lists(codes: Numbers, counts: Numbers, places: Numbers, dictionary: pa.Array) -> pa.Array:
    """Return lists of texts: that of a place begins behind those of the places before it; NULL if it has none."""
    lengths = counts[places]
    ends = np.cumsum(lengths, dtype=np.int64)
    begins = np.cumsum(counts, dtype=np.int64) - counts
    total = int(ends[-1]) if len(ends) else 0
    within = np.arange(total) - np.repeat(ends - lengths, lengths)
    texts = _encoded(codes, (np.repeat(begins[places], lengths) + within).astype(np.int64), dictionary)
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), texts, mask=pa.array(lengths == 0))
