"""Which columns of a table hold the coordinates of points, and what numbers the values in them are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from admin_boundaries.geometry import geometry_columns
from admin_boundaries.locate.bad_points import DEGREES, Floats, Values
from ingest.errors import SchemaDrift, SourceDamaged

LON_NAMES = ("lon", "longitude", "lng", "long")
LAT_NAMES = ("lat", "latitude")
MINUS = {0x2212: "-"}  # as typographers write it
ROUNDED = 1e-4  # degrees: four decimals, 11 m
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def _columns(names: Sequence[str], known: Sequence[str], source: object) -> list[int]:
    """Return the columns with one of the known names, in their order; the exact spelling before other letter case."""
    plain = [name.strip().strip("\ufeff\u200b") for name in names]
    found = []
    for wanted in known:
        same = [index for index, name in enumerate(plain) if name.lower() == wanted]
        exact = [index for index in same if plain[index] == wanted]
        if len(exact or same) > 1:
            several = ", ".join(repr(names[index]) for index in exact or same)
            raise SchemaDrift(f"{source} has several columns for {wanted}: {several}.", "Rename all but one.")
        found += [*exact, *(index for index in same if index not in exact)]
    return found


def coordinate_columns(names: Sequence[str], source: object) -> tuple[list[int], list[int]] | None:
    """Return which columns hold longitude and latitude. An ``x`` goes with a ``y`` and with nothing else.

    The first of each is the one to read. Others must say the same: see `require_same`.
    """
    for lons, lats in ((LON_NAMES, LAT_NAMES), (("x",), ("y",))):
        lon, lat = _columns(names, lons, source), _columns(names, lats, source)
        if lon and lat:
            return lon, lat
    return None


def require_same(name: str, values: Floats, other_name: str, others: Floats) -> None:
    """Refuse two columns for one thing, unless the other one says the same, rounded or not, wherever it says anything.

    Raises
    ------
    SchemaDrift
    """
    differ = ~(np.abs(values - others) <= ROUNDED) & ~np.isnan(others)
    if differ.any():
        row = int(np.argmax(differ))
        raise SchemaDrift(
            f"Which column is meant, {name!r} or {other_name!r}? The first says {_text(values[row])} where the other "
            f"says {_text(others[row])}.",
            "Rename or leave out the other one.",
        )


def _text(value: float) -> str:
    return "nothing" if np.isnan(value) else f"{value:.10g}"


def refuse_clashes(names: Sequence[str], fields: Sequence[pa.Field], source: object) -> None:
    """Refuse a table in which two columns have one name, or one has that of an answer.

    Raises
    ------
    SchemaDrift
    """
    twice = sorted(name for name, count in Counter(names).items() if count > 1 and name.strip())
    if twice:
        raise SchemaDrift(f"{source} has several columns called {', '.join(twice)}.", "Rename all but one.")
    clashes = sorted({field.name for field in fields} & set(names))
    if clashes:
        raise SchemaDrift(
            f"{source} already has columns {', '.join(clashes)}.", "Rename them: the answers use these names."
        )


def no_coordinates(names: Sequence[str], source: object) -> SchemaDrift:
    """Return the error for a table without coordinates, which says what it might be."""
    found = ", ".join(names) or "none"
    hint = "Rename the columns that hold degrees."
    if names and all(np.isfinite(degrees(name)) for name in names):
        hint = "Its first line seems to be a point: add a line before it that names the columns, such as lon,lat."
    hint = other_separator(names, lambda each: coordinate_columns(each, source) is not None) or hint
    return SchemaDrift(f"{source} has no columns lon and lat; it has: {found}.", hint)


def other_separator(names: Sequence[str], is_header: Callable[[list[str]], bool]) -> str:
    """Return a hint that columns are not separated by commas; empty unless few names hold a header of other marks."""
    for mark, marks in SEPARATORS.items():
        if len(names) < 3 and any(is_header(name.split(mark)) for name in names):
            return f"Its columns seem to be separated by {marks}: separate them by commas."
    return ""


Coordinates = tuple[Floats, Floats, Callable[[int], Values]]  # and the two values of a row as the file has them


@dataclass(frozen=True)
class InColumns:
    """Coordinates in two columns, of any type of number, or text.

    Attributes
    ----------
    lon, lat : str
        Their names.
    rivals : tuple of (str, str)
        Other columns that could be meant, each with the name of the one that is read; where they are there, they must
        say the same.
    geometry : str, optional
        A column of WKB that could be meant; the points in it must say the same.
    """

    lon: str
    lat: str
    rivals: tuple[tuple[str, str], ...] = ()
    geometry: str | None = None

    def of(self, batch: pa.RecordBatch) -> Coordinates:
        """Return longitudes and latitudes; NULL and what is not a number are NaN."""
        columns = [batch.column(name) for name in (self.lon, self.lat)]
        lons, lats = map(_numbers, columns)
        _compare(batch, self.rivals, {self.lon: lons, self.lat: lats})
        if self.geometry is not None and self.geometry in batch.schema.names:
            xs, ys = _points(batch, self.geometry)
            require_same(self.lon, lons, self.geometry, xs)
            require_same(self.lat, lats, self.geometry, ys)
        return lons, lats, lambda row: tuple(column[row].as_py() for column in columns)


@dataclass(frozen=True)
class InGeometry:
    """Coordinates in a column of points.

    Attributes
    ----------
    name : str
        Its name.
    is_wkb : bool
        Whether it has WKB; else structs of ``x`` and ``y``.
    rivals : tuple of (str, str)
        Columns for longitude (``x``) and latitude (``y``), which must say the same where they are there.
    """

    name: str
    is_wkb: bool
    rivals: tuple[tuple[str, str], ...] = ()

    def of(self, batch: pa.RecordBatch) -> Coordinates:
        """Return longitudes and latitudes; NaN where there is no point."""
        if self.is_wkb:
            lons, lats = _points(batch, self.name)
        else:
            column = _storage(batch.column(self.name))
            lons, lats = (_numbers(column.flatten()[column.type.get_field_index(axis)]) for axis in "xy")
        _compare(batch, self.rivals, {"x": lons, "y": lats}, self.name)
        # of an empty point, blank is what a person sees
        return lons, lats, lambda row: tuple(None if np.isnan(at[row]) else at[row] for at in (lons, lats))


def coordinates_in(schema: pa.Schema, source: object) -> InColumns | InGeometry:
    """Return where a table has its coordinates: in its geometry, if that holds points, or else in two columns.

    Parameters
    ----------
    schema : Schema
        Of the table, with the metadata of GeoParquet.
    source : path or str
        What to call it in messages.

    Raises
    ------
    SchemaDrift
        When there are none, or they are not degrees on WGS 84.
    SourceDamaged
        When its metadata cannot be read.
    """
    columns = coordinate_columns(schema.names, source)
    lons, lats = [[schema.names[index] for index in each] for each in columns or ([], [])]
    marked = [] if b"geo" in (schema.metadata or {}) else [schema.names[at] for at in geometry_columns(schema)]
    if columns is None and marked:
        return InGeometry(marked[0], is_wkb=True)
    geometry = _geometry_column(schema, source, is_needed=columns is None)
    if geometry is not None:
        named = [(each, axis) for names, axis in ((lons, "x"), (lats, "y")) for each in names]
        rivals = named if lons and lons[0].strip().lower() in LON_NAMES else []  # x and y may be metres
        return replace(geometry, rivals=tuple(rivals))
    rivals = [(each, names[0]) for names in (lons, lats) for each in names[1:]]
    return numeric(schema, InColumns(lons[0], lats[0], tuple(rivals), *marked[:1]), source)


def numeric(schema: pa.Schema, columns: InColumns, source: object) -> InColumns:
    """Return the columns, if their types may be numbers.

    Raises
    ------
    SchemaDrift
        When one of them may not.
    """
    for name in (columns.lon, columns.lat):
        kind = schema.field(name).type
        if not _can_be_a_number(kind):
            raise SchemaDrift(f"{source}: {name} is of type {kind}.", DEGREES)
    return columns


def _compare(
    batch: pa.RecordBatch, rivals: Sequence[tuple[str, str]], read: Mapping[str, Floats], geometry: str = ""
) -> None:
    for name, same_as in rivals:
        if name in batch.schema.names and _can_be_a_number(batch.schema.field(name).type):
            require_same(geometry or same_as, read[same_as], name, _numbers(batch.column(name)))


def _points(batch: pa.RecordBatch, name: str) -> tuple[Floats, Floats]:
    """Return the coordinates of a column of WKB; NaN where there is no point."""
    points = shapely.from_wkb(_storage(batch.column(name)).to_numpy(zero_copy_only=False), on_invalid="ignore")
    points[shapely.is_empty(points)] = None  # GEOS raises when asked for a coordinate of an empty point
    return shapely.get_x(points), shapely.get_y(points)


def _storage(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _can_be_a_number(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (
        *(pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null),
        *(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
        *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view),  # text that its writer did not mark
    )
    return any(test(kind) for test in tests)


def _numbers(column: pa.Array) -> Floats:
    """Return a column of any of these types as numbers; NULL and what is not a number are NaN."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_null(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers: Floats = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return numbers
    texts = (value.decode(errors="replace") if isinstance(value, bytes) else value for value in column.to_pylist())
    return all_degrees([text or "" for text in texts])


def degrees(text: str) -> float:
    """Return the number that a text is; NaN for any other, also for ``1_5``, which Python reads as fifteen."""
    try:
        return float("nan") if "_" in text else float(text.translate(MINUS))
    except ValueError:
        return float("nan")


def all_degrees(texts: list[str]) -> Floats:
    """Return the numbers that texts are, as `degrees` does for each of them."""
    try:
        numbers: Floats = pa.array(texts, pa.string()).cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # one of them is not a number, or is written as only people do
        return np.array([degrees(text) for text in texts], dtype=np.float64)
    return numbers


def _geometry_column(schema: pa.Schema, source: object, *, is_needed: bool) -> InGeometry | None:
    """Return the column of points; None where columns of numbers are to be read.

    What no file of points may be is refused only if the file has no such columns.
    """
    try:
        geo = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
        name = geo.get("primary_column")
        column = geo["columns"][name] if name in schema.names else None
        encoding, kinds = (column.get("encoding"), set(column.get("geometry_types") or [])) if column else (None, set())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise SourceDamaged(f"{source} has metadata of GeoParquet that cannot be read: {error!r}.", "") from error
    if column is None:
        if is_needed:
            raise no_coordinates(schema.names, source)
        return None
    if encoding not in ("WKB", "point") or kinds - {"Point", "Point Z"}:
        if is_needed:
            raise SchemaDrift(f"{source}: {name} holds geometry other than points in WKB.", "Give points.")
        return None
    _require_degrees(column.get("crs", {}), name, source)
    return InGeometry(str(name), is_wkb=encoding == "WKB")


def _require_degrees(crs: Any, name: str, source: object) -> None:
    """Refuse points in another reference system. Without an entry, GeoParquet means longitude and latitude on WGS 84.

    An entry of null means that the system is unknown: such points are taken for degrees if they can be.
    """
    if not crs:
        return
    import pyproj

    try:
        found = pyproj.CRS.from_json_dict(crs) if isinstance(crs, dict) else pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError as error:
        raise SchemaDrift(f"{source}: {name} is in an unknown reference system.", "Convert it to EPSG:4326.") from error
    flat = found.to_2d()
    if not any(flat.equals(pyproj.CRS(known), ignore_axis_order=True) for known in ("EPSG:4326", "OGC:CRS84")):
        raise SchemaDrift(f"{source}: {name} is in {found.name}.", "Convert it to EPSG:4326, degrees on WGS 84.")
