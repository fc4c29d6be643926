"""What counts as text, for both engines: which characters are trimmed, and how values of other types are written.

`macros/clean_text.sql` trims the same characters; a test compares the two.
"""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.errors import SchemaDrift, SourceDamaged

if TYPE_CHECKING:
    from ingest.engines import SliceSource

WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space
CONTROL = "\x01-\x1f\x7f-\x9f"
WITHOUT_WIDTH = "\xad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
MAX_WHOLE = float(2**63)  # beyond, whole numbers are written with an exponent


def _listed(ranges: str) -> str:
    """Write out ranges such as ``a-z``."""
    spelled = re.sub(r"(.)-(.)", lambda ends: "".join(map(chr, range(ord(ends[1]), ord(ends[2]) + 1))), ranges)
    return "".join(sorted(set(spelled)))


TRIMMED = _listed(WHITE_SPACE + CONTROL + WITHOUT_WIDTH)  # off both ends of a text


def readable(batch: pa.RecordBatch, source: SliceSource) -> pa.RecordBatch:
    """Return a batch of GDAL with all attributes as text.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Feature ids in the first column. Texts may be in any encoding, which GDAL does not check.
    source : SliceSource
        What is read.

    Returns
    -------
    pyarrow.RecordBatch
        Feature ids, `SliceSource.names` as strings, and the other columns, which hold the geometry.

    Raises
    ------
    SourceDamaged
        When a value is not text in its encoding; the message names its row and column.
    """
    columns = [
        _text(values, name, batch.column(0), source) if name in source.names else values
        for name, values in zip(batch.schema.names, batch.columns, strict=True)
        if name not in source.beside
    ]
    return pa.RecordBatch.from_arrays(columns, schema=readable_schema(batch.schema, source))


def readable_schema(schema: pa.Schema, source: SliceSource) -> pa.Schema:
    """Return the schema of batches that are `readable`.

    Raises
    ------
    SchemaDrift
        When there are two columns of one name.
    """
    twice = next((name for name in source.names if schema.names.count(name) > 1), None)
    if twice:
        raise SchemaDrift(f"{source.layer} in {source.source_file} has two columns {twice}.", "Rename one of them.")
    return pa.schema(
        pa.field(field.name, pa.string()) if field.name in source.names else field
        for field in schema
        if field.name not in source.beside
    )


def _text(values: pa.Array, column: str, fids: pa.Array, source: SliceSource) -> pa.StringArray:
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return as_text(values)
    encoding = source.encoding or "utf-8"
    stored = values.cast(pa.string()).view(pa.binary())
    try:
        return decode(stored, encoding)
    except ValueError:
        row, value = next((row, value) for row, value in enumerate(stored.to_pylist()) if not _is_text(value, encoding))
        hint = "If the file states a wrong encoding, or none, name the right one with --encoding."
        if source.encoding is None:
            hint = "The file is damaged: its text has to be UTF-8. Write it again with the program that made it."
        where = f"{source.layer} in {source.source_file}, feature {fids[row]}"
        raise SourceDamaged(
            f"{where}: {column} is {value[:60]!r}, which is not text in {encoding.upper()}.", hint
        ) from None


def decode(values: pa.BinaryArray, encoding: str) -> pa.StringArray:
    """Return bytes as text.

    Raises
    ------
    ValueError
        When a value is not text in this encoding.
    """
    offset_bytes, data = values.buffers()[1:]
    is_ascii = data is None or not (np.frombuffer(data, np.uint8) & 0x80).any()
    if encoding == "utf-8" or (is_ascii and offset_bytes is not None):
        text = values.view(pa.string())
        text.validate(full=True)
        return text
    listed = values.fill_null(b"").to_pylist()
    decoded = b"\0".join(listed).decode(encoding).split("\0")  # all at once: a NUL is part of no other character
    if len(decoded) != len(listed):
        decoded = [value.decode(encoding) for value in listed]
    return pc.if_else(values.is_valid(), pa.array(decoded, pa.string()), None)


def _is_text(value: bytes | None, encoding: str) -> bool:
    try:
        (value or b"").decode(encoding)
    except ValueError:
        return False
    return True


def as_text(values: pa.Array) -> pa.StringArray:
    """Return values of another type as text.

    Numbers are as short as can be without loss (7, not 7.0), and NaN is nothing; times follow ISO 8601, lists are
    JSON, bytes are hexadecimal digits.
    """
    kind = values.type
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.string())
    if pa.types.is_floating(kind):
        text = pc.if_else(pc.is_nan(values), None, values).cast(pa.string())
        is_whole = pc.and_(pc.equal(pc.trunc(values), values), pc.less(pc.abs(values), MAX_WHOLE))
        whole = pc.if_else(is_whole, values, None).cast(pa.int64()).cast(pa.string())
        return pc.if_else(pc.fill_null(is_whole, False), whole, text)
    if pa.types.is_timestamp(kind):
        return _time(values)
    if pa.types.is_time(kind):
        return _without_zeros(values.cast(pa.string()))
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_date(kind):
        return values.cast(pa.string())
    return pa.array([None if value is None else _json(value) for value in values.to_pylist()], pa.string())


def _time(values: pa.TimestampArray) -> pa.StringArray:
    zone = values.type.tz
    naive = values.cast(pa.timestamp(values.type.unit))
    ahead = re.fullmatch(r"([+-])(\d\d):?(\d\d)", zone or "")
    if ahead:
        shift = timedelta(hours=int(ahead[2]), minutes=int(ahead[3])) * (-1 if ahead[1] == "-" else 1)
        naive = pc.add(naive, pa.scalar(shift, pa.duration(values.type.unit)))
    text = _without_zeros(pc.strftime(naive, format="%Y-%m-%dT%H:%M:%S"))
    return pc.binary_join_element_wise(text, zone if ahead else "Z", "") if zone else text


def _without_zeros(text: pa.StringArray) -> pa.StringArray:
    return pc.replace_substring_regex(pc.replace_substring_regex(text, r"(\.\d*?)0+$", r"\1"), r"\.$", "")


def _json(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex().upper()
    plain = [None if isinstance(each, float) and math.isnan(each) else each for each in value]
    return json.dumps(plain, ensure_ascii=False, default=str)
