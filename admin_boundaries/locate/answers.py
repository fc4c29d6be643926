"""Answers for many points: each distinct one is made once, however many points it is for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from admin_boundaries.locate import COLUMNS, Row
from admin_boundaries.locate.kernels import Numbers
from admin_boundaries.locate.layer import Sets

STATUSES = ("no unit", "one unit", "several units", "bad coordinates")
TYPES = {"admin_level": pa.int32(), **dict.fromkeys(("gids", "tzids"), pa.list_(pa.string()))}
SCHEMA = pa.schema([pa.field(name, TYPES.get(name, pa.string())) for name in COLUMNS])
FIELDS = [field.with_name("located_status") if field.name == "status" else field for field in SCHEMA]  # in a file
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
        self._columns = [_Column(column.combine_chunks()) for column in table.columns]
        self._sets = sets

    def row(self, number: int) -> Row:
        """Return the values of the first unit of a set, and the keys of all; None for all in the empty set."""
        units = self._sets.units(number)
        if not units:
            return (None,) * (len(self._columns) + 1)
        return *(column.value(units[0]) for column in self._columns), [self._columns[0].value(unit) for unit in units]

    def texts(self, name: str, units: Numbers) -> pa.DictionaryArray:
        """Return the texts of a column for units; NULL for a unit of -1."""
        column = self._columns[self._names.index(name)]
        return _encoded(column.codes[units], np.arange(len(units), dtype=np.int32), column.values)

    def status(self, number: int) -> str:
        """Return the status of a set of units."""
        return STATUSES[min(len(self._sets.units(number)), 2)]

    def arrays(self, numbers: Numbers) -> list[pa.Array]:
        """Return the values of the first unit of the set at each point, the list of keys, and how many units there are.

        Texts are dictionaries of what occurs, and of nothing else.
        """
        distinct, places = _distinct(np.maximum(numbers, 0))
        firsts, counts, units = self._sets.listed(distinct)
        arrays: list[pa.Array] = []
        for column in self._columns:
            if column.is_text:
                arrays.append(_encoded(column.codes[firsts], places, column.values))
            else:
                arrays.append(column.values.take(pa.array(firsts[places], mask=(firsts < 0)[places])))
        key = self._columns[0]
        lists = _lists(key.codes[units], counts, places, key.values)
        return [*arrays, lists, counts[places]]


class _Column:
    """A column of units: which of its values each has, -1 for NULL, and one more -1 behind them for unit -1."""

    def __init__(self, column: pa.Array) -> None:
        self.is_text = pa.types.is_dictionary(column.type)
        codes = column.indices.fill_null(NULL) if self.is_text else pa.array(range(len(column)), pa.int32())
        self.codes: Numbers = np.append(codes.to_numpy(zero_copy_only=False), NULL).astype(np.int32)
        self.values = column.dictionary if self.is_text else column
        # a scalar of Arrow takes five times as long as to read the buffers
        self._code = self.codes.data
        self._numbers = None if self.is_text else self.values.to_numpy(zero_copy_only=False).data
        if self.is_text:
            _, ends, characters = self.values.buffers()
            self._ends = memoryview(ends or b"").cast("i")[self.values.offset :]
            self._characters = memoryview(characters or b"")

    def value(self, unit: int) -> Any:
        """Return the value of a unit."""
        code = self._code[unit]
        if code < 0:
            return None
        if self._numbers is not None:
            return self._numbers[code]
        return str(self._characters[self._ends[code] : self._ends[code + 1]], "utf-8")


def statuses(numbers: Numbers, counts: Numbers) -> pa.Array:
    """Return the status of each point."""
    codes = np.where(numbers < 0, np.int32(len(STATUSES) - 1), np.minimum(counts, 2).astype(np.int32))
    distinct, places = _distinct(codes)
    return pa.DictionaryArray.from_arrays(pa.array(places), pa.array(STATUSES).take(pa.array(distinct)))


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
