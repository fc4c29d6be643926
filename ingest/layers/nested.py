"""Values inside nested columns, by path: what a catalog may say instead of a column's name.

======================  ==================================================================================
``names.primary``       a field of a struct, or what a map has under a key
``names.common.*``      all values of a map
``sources[*].dataset``  all elements of a list
``hierarchies[0]``      an element of a list; ``[-1]`` is the last
``…[subtype=a|b]``      of a list of structs, those whose field has one of these values: still a list
======================  ==================================================================================

Steps follow each other: ``hierarchies[0][subtype=country|dependency][-1].division_id``. Several values become one text
with ``|`` between them, each of them once, in their order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

BETWEEN = "|"
NAME = r"[^.\[\]*]+"
PATH = re.compile(rf"{NAME}(?:\.(?:\*|{NAME})|\[(?:\*|-?\d+|{NAME}=[^\]]+)\])+")
STEP = re.compile(
    rf"(?P<all>\.\*|\[\*\])|\.(?P<name>{NAME})|\[(?P<place>-?\d+)\]|\[(?P<field>{NAME})=(?P<values>[^\]]+)\]"
)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Found:
    """The values that a path leads to: ``rows`` says which row each belongs to, in ascending order."""

    rows: Ints
    values: pa.Array


def is_path(name: str) -> bool:
    """Return whether a name in the catalog is a path."""
    return PATH.fullmatch(name) is not None


def column_of(schema: pa.Schema, path: str) -> str:
    """Return the column that a path begins with; a name that a column has is not a path."""
    return path if path in schema.names else re.split(r"[.\[]", path, maxsplit=1)[0]


def has_fields(kind: pa.DataType) -> bool:
    """Return whether values of a type are nested, so that only a path says which one is meant."""
    return bool(pa.types.is_struct(_plain(kind)) or pa.types.is_map(_plain(kind)))


def leads_to_value(schema: pa.Schema, path: str) -> bool:
    """Return whether a path leads to plain values in columns of these types."""
    name = column_of(schema, path)
    if schema.names.count(name) != 1:
        return False
    kind: pa.DataType | None = schema.field(name).type
    for step in STEP.finditer(path, len(name)):
        kind = None if kind is None else _after(kind, step)
    return kind is not None and not bool(pa.types.is_nested(kind))


def values(batch: pa.RecordBatch, path: str) -> pa.Array:
    """Return the value of each row, for the name of a column, or a path that `leads_to_value`.

    Returns
    -------
    pyarrow.Array
        Of the type that the values have; text if they may be several. NULL if there is none.
    """
    name = column_of(batch.schema, path)
    found, is_single = _Found(np.arange(len(batch)), _storage(batch.column(name))), True
    for step in STEP.finditer(path, len(name)):
        found = _stepped(found, step)
        is_single = is_single and not step["all"]
    return found.values if is_single else _joined(found, len(batch))


def _after(kind: pa.DataType, step: re.Match[str]) -> pa.DataType | None:
    """Return the type that a step leads to; None if there is no such step from this type."""
    kind = _plain(kind)
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        return kind.field(step["name"]).type if step["name"] and names.count(step["name"]) == 1 else None
    if pa.types.is_map(kind):
        is_text = pa.types.is_string(_plain(kind.key_type))
        return kind.item_type if is_text and (step["name"] or step[0] == ".*") else None
    if not pa.types.is_list(kind) or step[0] == ".*" or step["name"]:
        return None
    if step["field"]:
        inner = _plain(kind.value_type)
        has_field = pa.types.is_struct(inner) and [field.name for field in inner].count(step["field"]) == 1
        return kind if has_field and pa.types.is_string(_plain(inner.field(step["field"]).type)) else None
    return kind.value_type


def _stepped(found: _Found, step: re.Match[str]) -> _Found:
    current = found.values
    if pa.types.is_struct(current.type):
        return _Found(found.rows, _storage(pc.struct_field(current, step["name"])))
    if pa.types.is_map(current.type):
        if step["name"]:
            key = pa.scalar(step["name"], current.type.key_type)
            return _Found(found.rows, _storage(pc.map_lookup(current, query_key=key, occurrence="first")))
        current = current.cast(pa.list_(pa.struct([current.type.key_field, current.type.item_field])))
    counts = np.asarray(pc.fill_null(pc.list_value_length(current), 0)).astype(np.int64)
    ends, inner = _sums(counts), _storage(current.flatten())
    if step["place"]:
        place = int(step["place"])
        at = ends[:-1] + place if place >= 0 else ends[1:] + place
        is_there = (at >= ends[:-1]) & (at < ends[1:])
        return _Found(found.rows, _storage(inner.take(pa.array(at, mask=~is_there))))
    if step["field"]:
        wanted = pa.array(step["values"].split(BETWEEN), pa.string())
        is_kept = pc.is_in(pc.struct_field(inner, step["field"]).cast(pa.string()), value_set=wanted)
        kept = _sums(np.asarray(is_kept).astype(np.int64))[ends]
        return _Found(found.rows, pa.ListArray.from_arrays(pa.array(kept, pa.int32()), inner.filter(is_kept)))
    if pa.types.is_map(found.values.type):
        inner = _storage(pc.struct_field(inner, 1))
    return _Found(np.repeat(found.rows, counts), inner)


def _joined(found: _Found, count: int) -> pa.StringArray:
    """Return the values of each row as one text."""
    texts = found.values.cast(pa.string())
    is_there = pc.fill_null(pc.greater(pc.binary_length(texts), 0), False)
    rows, texts = found.rows[np.asarray(is_there)], texts.filter(is_there).dictionary_encode()
    codes = np.asarray(texts.indices).astype(np.int64)
    _, first = np.unique(rows * max(len(texts.dictionary), 1) + codes, return_index=True)
    first.sort()
    offsets = np.searchsorted(rows[first], np.arange(count + 1))
    lists = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), texts.dictionary.take(pa.array(codes[first], pa.int64()))
    )
    return pc.if_else(pa.array(np.diff(offsets) > 0), pc.binary_join(lists, BETWEEN), None)


def _storage(column: pa.Array) -> pa.Array:
    """Return an array in the one type that there is for its kind of values."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    plain = _plain(column.type)
    return column if column.type == plain else column.cast(plain)


def _plain(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.ExtensionType):
        return _plain(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_decimal(kind):
        return pa.string()
    is_other_list = pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return pa.list_(kind.value_type) if is_other_list else kind


def _sums(counts: Ints) -> Ints:
    """Return running sums, beginning with 0."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
