"""What a tile says of a unit: its key, its name, where it belongs, and what colours it."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from admin_boundaries.marts import TIMEZONES, Mart, relation
from admin_boundaries.tiles.kernels import Bytes, Integers
from admin_boundaries.warehouse import Warehouse

KEYS = ("gid", "name", "parent", "level", "zone", "hue", "anomaly", "change", "offset", "leaf", "from_zoom")
FROM_ZOOM = KEYS.index("from_zoom")
LAST_FROM_ZOOM = 16
DESCRIPTIONS = {
    "gid": "Key of the unit; of a time zone, its name in the IANA database.",
    "name": "Name of the unit.",
    "parent": "Key of the unit above.",
    "level": "Level of the unit: 0 is a country.",
    "zone": "Time zone with the largest share of the unit.",
    "hue": "Number from 0 to 7; units of one parent share it, and those of two parents side by side mostly do not.",
    "anomaly": "What was wrong with the source at worst: info, warning or error.",
    "change": "What became of the unit since the release before, if anything.",
    "offset": "Standard offset of a time zone from UTC, in minutes.",
    "leaf": "Of a label: 1 if there are no units below.",
    "from_zoom": "Of a label: the first zoom where the unit has room for its name.",
}
HUES = 8
ONE_LINE = 14  # letters; the page breaks longer names, too
WORST = "max(case severity when 'error' then 3 when 'warning' then 2 else 1 end)"
SEVERITIES = {1: "info", 2: "warning", 3: "error"}
VALUE = 0x22
TEXT, NUMBER = 0x0A, 0x20


@dataclass(frozen=True)
class Attributes:
    """Values by unit, as numbers of a list of all values.

    Attributes
    ----------
    gids : pyarrow.Array of string, length n
        Keys of units, then names of time zones.
    codes : ndarray of int64, shape (n + units, keys)
        Number of the value that a unit, a time zone, then the label of a unit has of each of `KEYS`, or -1.
    label_widths : ndarray of float64, shape (units,)
        How wide the name of a unit is, in letters of a Latin name; 0 if there is none.
    values : ndarray of uint8
        All values, each as a field of a layer of a tile.
    offsets : ndarray of int64, shape (values + 1,)
    """

    gids: pa.Array
    codes: Integers
    label_widths: npt.NDArray[np.float64]
    values: Bytes
    offsets: Integers


def read(warehouse: Warehouse, known: Mapping[str, Mart], units: tuple[str, Sequence[str]]) -> Attributes:
    """Read what tiles say of units.

    Parameters
    ----------
    warehouse : Warehouse
        The marts.
    known : mapping of str to Mart
        All of them; those that not every build makes may be missing.
    units : tuple of str and sequence of str
        SQL condition on ``gid`` of the units, and its parameters.
    """
    where, parameters = units
    rows = warehouse.rows(
        "select gid, name, parent_gid, admin_level, child_count "  # noqa: S608  it contains no value
        f"from {relation(known['admin_units'])} where {where}",
        parameters,
    )
    rows.sort(key=lambda row: str(row[0]))  # here, since targets sort texts in orders of their own
    zone = dict(_pairs(warehouse, known, "admin_unit_timezones", "gid, tzid", "is_primary"))
    worst = dict(_pairs(warehouse, known, "admin_anomalies", f"gid, {WORST}", "gid is not null group by gid"))
    change = dict(
        _pairs(
            warehouse,
            known,
            "admin_unit_changes",
            "to_gid, change_type",
            "unit_of in ('both', 'to') and change_type <> 'kept'",
        )
    )
    hues = _hues(warehouse, known)
    found: list[Sequence[object]] = [
        (
            gid,
            name,
            parent,
            level,
            zone.get(gid),
            hues.get(parent, _hue(parent or gid)) if parent else hues.get(gid, _hue(gid)),
            SEVERITIES.get(worst.get(gid, 0)),  # type: ignore[call-overload]
            change.get(gid),
            None,
            None,
            None,
        )
        for gid, name, parent, level, _children in rows
    ]
    found += [
        (tzid, tzid, None, None, None, _hue(tzid), None, None, minutes, None, None)
        for tzid, minutes in sorted(
            warehouse.rows(f"select tzid, standard_utc_offset_minutes from {relation(known[TIMEZONES])}")  # noqa: S608
        )
    ]
    labels: list[Sequence[object]] = [
        (gid, name, None, level, None, None, None, None, None, None if children else 1, None)
        for gid, name, _parent, level, children in rows
    ]
    widths = np.array([_width(name or "") for _gid, name, *_ in rows], np.float64)
    return _coded(found, labels, widths)


def _pairs(
    warehouse: Warehouse, known: Mapping[str, Mart], name: str, columns: str, where: str
) -> list[tuple[str, object]]:
    if name not in known:
        return []
    return warehouse.rows(f"select {columns} from {relation(known[name])} where {where}")  # type: ignore[return-value]  # noqa: S608


def _hue(gid: str) -> int:
    return zlib.crc32(gid.encode()) % HUES


def _hues(warehouse: Warehouse, known: Mapping[str, Mart]) -> dict[str, int]:
    """Return a number for each unit with neighbours, so that those side by side differ where eight numbers allow."""
    if "admin_unit_neighbours" not in known:
        return {}
    pairs = warehouse.rows(
        "select gid, neighbour_gid "  # noqa: S608
        f"from {relation(known['admin_unit_neighbours'])}"
    )
    hues: dict[str, int] = {}
    taken: dict[str, set[int]] = {}
    beside: dict[str, list[str]] = {}
    for gid, neighbour in sorted(pairs):
        beside.setdefault(gid, []).append(neighbour)
    for gid, neighbours in beside.items():
        first = _hue(gid)
        wanted = ((first + step) % HUES for step in range(HUES))
        hues[gid] = next((hue for hue in wanted if hue not in taken.get(gid, ())), first)
        for neighbour in neighbours:
            taken.setdefault(neighbour, set()).add(hues[gid])
    return hues


def _width(name: str) -> float:
    """Return how wide a label is, in letters of a Latin name: a long name takes two lines."""
    width = sum(
        0 if unicodedata.combining(letter) else 1.8 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in name
    )
    return max(width / 2 + 2, *map(len, name.split(" "))) if width > ONE_LINE and " " in name else width


def _coded(
    rows: Sequence[Sequence[object]], labels: Sequence[Sequence[object]], widths: npt.NDArray[np.float64]
) -> Attributes:
    codes = np.full((len(rows) + len(labels), len(KEYS)), -1, np.int64)
    numbers: dict[object, int] = {zoom: zoom for zoom in range(LAST_FROM_ZOOM + 1)}  # `write_from_zooms` relies on it
    for at, row in enumerate(chain(rows, labels)):
        for key, value in enumerate(row):
            if value is not None:
                codes[at, key] = numbers.setdefault(value, len(numbers))
    fields = [field_of(VALUE, _value(value)) for value in numbers]
    offsets = np.concatenate([[0], np.cumsum([len(field) for field in fields], dtype=np.int64)])
    gids = pa.array([row[0] for row in rows], pa.string())
    return Attributes(gids, codes, widths, np.frombuffer(b"".join(fields), np.uint8), offsets.astype(np.int64))


def _value(value: object) -> bytes:
    if isinstance(value, int):
        return bytes([NUMBER]) + _varint(value % (1 << 64))
    return field_of(TEXT, str(value).encode())


def field_of(tag: int, content: bytes) -> bytes:
    """Return a field of protocol buffers that has a length."""
    return bytes([tag]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append((number & 127) | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


def write_from_zooms(attributes: Attributes, labels: Integers, zooms: Integers) -> None:
    """Note the first zoom where there is room for each label, whose number is that of its unit."""
    attributes.codes[len(attributes.gids) + labels, FROM_ZOOM] = zooms


def numbers_of(attributes: Attributes, keys: pa.Array) -> Integers:
    """Return the numbers of units by their keys; -1 of one that is unknown."""
    found: Integers = pc.index_in(keys, attributes.gids).fill_null(-1).to_numpy().astype(np.int64)
    return found
