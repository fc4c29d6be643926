"""Locate the points of a CSV or GeoParquet file, and write the same file with the answers as additional columns.

Memory is bounded: rows are read, looked up and written :data:`BATCH_ROWS` at a time, fewer where rows are wide. The
output appears under its name only when it is complete.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from admin_boundaries.coverage.threads import in_threads
from admin_boundaries.files import replacing
from admin_boundaries.locate import COLUMNS, Row, as_text
from admin_boundaries.locate.answers import NEAREST, SCHEMA
from admin_boundaries.locate.bad_points import DEGREES, BadPoints, Floats, Values, shown
from admin_boundaries.locate.parquet import TextWriter
from admin_boundaries.tables import csv_refusals
from admin_boundaries.timezones.local_time import FIELDS as TIME_FIELDS
from admin_boundaries.timezones.local_time import LocalTimes, time_of
from admin_boundaries.warehouse import Warehouse, of_one_build
from ingest.errors import FormatUnknown, SchemaDrift, SourceDamaged, SourceUnavailable, UsageError

if TYPE_CHECKING:  # the index is only for many points
    from admin_boundaries.locate.index import Index
    from admin_boundaries.locate.locator import Locator

Item = TypeVar("Item")
Result = TypeVar("Result")
Report = Callable[[int, float], None]
FEW_ROWS = 50_000  # which the database answers in a second or two, where the index is not there yet
BATCH_ROWS = 1 << 18
BATCH_BYTES = 64 << 20
LON_NAMES = ("lon", "longitude", "lng", "long")
LAT_NAMES = ("lat", "latitude")
FIELDS = [field.with_name("located_status") if field.name == "status" else field for field in SCHEMA]
TZID = COLUMNS.index("tzid")
MINUS = {0x2212: "-"}  # as typographers write it
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class When:
    """At what time to say what clocks show: at one for all points, or at that of each row.

    Attributes
    ----------
    time : datetime, optional
        For every point.
    column : str, optional
        Name of the column that has it.
    """

    time: dt.datetime | None = None
    column: str | None = None


def locate_file(
    warehouse: Warehouse,
    index: Index,
    source: Path,
    target: Path,
    report: Report,
    *,
    when: When | None = None,
    nearest: float | None = None,
    overwrite: bool = False,
) -> int:
    """Locate every point of a file.

    Parameters
    ----------
    warehouse : Warehouse
        The warehouse to look points up in.
    index : Index
        Of its marts. It answers for a file of more than `FEW_ROWS`, and for any other if it is there.
    source : Path
        A CSV with a header, or a Parquet file; longitude and latitude in degrees on WGS 84, in the primary geometry
        column of a GeoParquet file if that holds points, otherwise in columns called ``lon`` and ``lat`` (or
        ``longitude``, ``latitude``, ``lng``, ``long``, or else ``x`` and ``y``, in any letter case), as numbers of any
        type or as text.
    target : Path
        The file to write, in the same format: all columns of the source unchanged, then the answers.
    report : callable
        Called after every batch with the number of rows done so far, and their share of the file.
    when : When, optional
        Add what clocks show, in the columns of `admin_boundaries.timezones.local_time.FIELDS`.
    nearest : float, optional
        For points in no unit, add the nearest within so many metres, in the columns of
        `admin_boundaries.locate.answers.NEAREST`. That needs the index.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    int
        Rows written, which is as many as were read. The answer to missing or non-numeric coordinates is
        ``bad coordinates``.

    Raises
    ------
    SourceUnavailable, FormatUnknown, SchemaDrift, SourceDamaged, UsageError
        When the files cannot be used, or no row has coordinates that can, or none a time. Nothing is written then.
    MartsReplaced
        When a build replaced the marts meanwhile. Nothing is written then, either.
    """
    if not source.is_file():
        raise SourceUnavailable(f"There is no file {source}.", "Check the path.")
    kinds = {".csv": _locate_csv, ".parquet": _locate_parquet, ".geoparquet": _locate_parquet}
    kind, out = kinds.get(source.suffix.lower()), kinds.get(target.suffix.lower())
    if kind is None:
        raise FormatUnknown(f"{source} is neither .csv nor .parquet.", "Give points as CSV or GeoParquet.")
    if out is not kind:
        raise UsageError(f"{target} is not in the format of {source}.", f"Use the suffix {source.suffix}.")
    if target.exists() and source.samefile(target):
        raise UsageError(f"{target} is the input file itself.", "Give another --output.")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} already exists.", "Use --overwrite to replace it.")
    done = 0

    def advance(rows: int, share: float) -> None:
        nonlocal done
        done += rows
        report(done, share)

    try:
        with replacing(target) as draft, of_one_build(warehouse):
            lookup = _Lookup(warehouse, index, when, nearest)
            kind(lookup, source, draft, advance)
            lookup.refuse_if_all_are_bad(source, done)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}.", "Give another --output.") from error
    return done


@dataclass(frozen=True)
class Answers:
    """The answers for a batch, as columns, and as rows of values; each is made when it is asked for."""

    arrays: Callable[[], list[pa.Array]]
    rows: Callable[[], list[Row]]


class _Lookup:
    """Answers for the rows of a file, with a note of those that are bad.

    Parameters
    ----------
    warehouse : Warehouse
        The warehouse to look points up in.
    index : Index
        Of its marts.
    when : When, optional
        What to say of clocks.
    nearest : float, optional
        How far to look for units where there is none.

    Attributes
    ----------
    fields : list of Field
        Of an answer.
    """

    def __init__(self, warehouse: Warehouse, index: Index, when: When | None, nearest: float | None) -> None:
        self._warehouse, self._index, self._when, self._nearest = warehouse, index, when, nearest
        self._bad = BadPoints()
        self._locator: Locator | None = None
        self._local_times = LocalTimes(warehouse) if when else None
        self._bad_times, self._bad_time = 0, ""
        self.fields = [*FIELDS, *(NEAREST if nearest else []), *(TIME_FIELDS if when else [])]

    def prepare(self, *, rows: float) -> None:
        """Open the index, unless a file has few rows, about, and it would have to be made first."""
        if self._index.is_there or self._nearest or rows > FEW_ROWS:
            from admin_boundaries.locate.locator import Locator

            self._locator = Locator(self._index)

    @property
    def says_when(self) -> bool:
        """Whether answers say what clocks show."""
        return self._when is not None

    def time_column(self, names: Sequence[str], source: Path) -> int | None:
        """Return which column holds the time, if one does."""
        if self._when is None or self._when.column is None:
            return None
        if self._when.column not in names:
            raise UsageError(f"{source} has no column {self._when.column!r}.", f"It has: {', '.join(names)}.")
        return list(names).index(self._when.column)

    def note(self, lons: Floats, lats: Floats, given: Callable[[int], Values]) -> None:
        """Note the bad ones among points; ``given`` returns the two values of a row as the file has them."""
        self._bad.note(lons, lats, given)

    def answers(self, lons: Floats, lats: Floats) -> Answers:
        """Return the answers for points."""
        if self._locator is None:
            rows = self._warehouse.locate_points(lons, lats) if len(lons) else []
            return Answers(lambda: columns_of(rows), lambda: rows)
        locator, found, metres = self._locator, self._locator.find(lons, lats), self._nearest

        def arrays() -> list[pa.Array]:
            near = locator.nearest(lons, lats, metres, found) if metres else []
            return [*locator.answers(found).columns, *near]

        return Answers(arrays, lambda: locator.rows(found))

    def for_each(
        self, function: Callable[[Item], Result], items: Iterable[Item], take: Callable[[Result], None]
    ) -> None:
        """Apply a function to items, and another to its results; the index answers in threads."""
        if self._locator is None:
            for item in items:
                take(function(item))
        else:
            in_threads(function, items, take)

    def clocks(self, rows: Sequence[Row], times: Sequence[object] | None) -> list[tuple[Any, ...]]:
        """Return what clocks show, for answers and times as the file has them."""
        assert self._local_times is not None  # noqa: S101  else nobody asks
        assert self._when is not None  # noqa: S101
        read = [self._when.time] * len(rows) if times is None else [time_of(value) for value in times]
        for value, time in zip(times or (), read, strict=False):
            self._bad_time = self._bad_time or (shown(value) if time is None else "")
        self._bad_times += sum(time is None for time in read)
        at = self._local_times.at
        return [at(row[TZID], time).values for row, time in zip(rows, read, strict=True)]

    def refuse_if_all_are_bad(self, source: Path, count: int) -> None:
        """Raise an error if no row of a file is good."""
        if count and self._bad.count == count:
            raise self._bad.of_every_row(source)
        if count and self._bad_times == count:
            raise SchemaDrift(
                f"{source}: no row has a time that can be read ({count:,} read). The first is {self._bad_time}.",
                "Write times as in 2026-03-29T00:30Z, or without the Z for what a clock shows there.",
            )


def columns_of(rows: Sequence[Row], fields: Sequence[pa.Field] = FIELDS) -> list[pa.Array]:
    """Return rows of values as columns."""
    columns = list(zip(*rows, strict=True)) or [()] * len(fields)
    return [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)]


def _column(names: Sequence[str], known: Sequence[str], source: Path) -> int | None:
    """Return the first of the known names; the exact spelling wins over one in other letter case."""
    plain = [name.strip().strip("\ufeff\u200b") for name in names]
    for wanted in known:
        same = [index for index, name in enumerate(plain) if name.lower() == wanted]
        exact = [index for index in same if plain[index] == wanted]
        if len(exact or same) > 1:
            found = ", ".join(repr(names[index]) for index in exact or same)
            raise SchemaDrift(f"{source} has several columns for {wanted}: {found}.", "Rename all but one.")
        if same:
            return (exact or same)[0]
    return None


def _coordinate_columns(names: Sequence[str], source: Path) -> tuple[int, int] | None:
    """Return which columns hold longitude and latitude. An ``x`` goes with a ``y`` and with nothing else."""
    for lons, lats in ((LON_NAMES, LAT_NAMES), (("x",), ("y",))):
        lon, lat = _column(names, lons, source), _column(names, lats, source)
        if lon is not None and lat is not None:
            return lon, lat
    return None


def _refuse_clashes(names: Sequence[str], fields: Sequence[pa.Field], source: Path) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1 and name.strip())
    if twice:
        raise SchemaDrift(f"{source} has several columns called {', '.join(twice)}.", "Rename all but one.")
    clashes = sorted({field.name for field in fields} & set(names))
    if clashes:
        raise SchemaDrift(
            f"{source} already has columns {', '.join(clashes)}.", "Rename them: the answers use these names."
        )


def _no_coordinates(names: Sequence[str], source: Path) -> SchemaDrift:
    found = ", ".join(names) or "none"
    hint = "Rename the columns that hold degrees."
    if names and all(np.isfinite(_degrees(name)) for name in names):
        hint = "Its first line seems to be a point: add a line before it that names the columns, such as lon,lat."
    for mark, marks in SEPARATORS.items():
        if len(names) < 3 and any(_coordinate_columns(name.split(mark), source) for name in names):
            hint = f"Its columns seem to be separated by {marks}: separate them by commas."
    return SchemaDrift(f"{source} has no columns lon and lat; it has: {found}.", hint)


def _locate_csv(lookup: _Lookup, source: Path, draft: Path, advance: Report) -> None:
    size = source.stat().st_size
    with (
        csv_refusals(source),
        _readable(source).open("rb") as read,
        io.TextIOWrapper(read, encoding="utf-8-sig", newline="") as file,
        draft.open("w", encoding="utf-8", newline="") as out,
        _fields_of_any_width(),
    ):
        # strictly: a field whose quotation never ends would swallow the rows behind it
        reader, writer = csv.reader(file, strict=True), csv.writer(out, lineterminator="\n")
        header = next(reader, [])
        columns = _coordinate_columns(header, source)
        if columns is None:
            raise _no_coordinates(header, source)
        _refuse_clashes(header, lookup.fields, source)
        time = lookup.time_column(header, source)
        writer.writerow([*header, *(field.name for field in lookup.fields)])
        batches = _csv_batches(reader, source, len(header))
        first = next(batches, [])
        lookup.prepare(rows=len(first) * size / max(1, read.tell()))
        for rows in chain([first], batches):
            lons, lats = (_all_degrees([row[index] for row in rows]) for index in columns)
            lookup.note(lons, lats, partial(_cells, rows, columns))
            answers = lookup.answers(lons, lats)
            added = [_texts(column) for column in answers.arrays()]
            if lookup.says_when:
                clocks = lookup.clocks(answers.rows(), None if time is None else [row[time] for row in rows])
                added += [list(map(as_text, column)) for column in zip(*clocks, strict=True)]
            writer.writerows([*row, *texts] for row, *texts in zip(rows, *added, strict=True))
            advance(len(rows), read.tell() / size)


def _texts(column: pa.Array) -> list[str]:
    """Return the values of a column of answers as texts, like `as_text`."""
    if pa.types.is_list(column.type):
        lists = pa.ListArray.from_arrays(column.offsets, column.values.cast(pa.string()), mask=column.is_null())
        column = pc.binary_join(lists, "|").dictionary_encode()
    elif not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    texts = ["", *column.dictionary.to_pylist()]
    return [texts[code] for code in (pc.add(column.indices, 1).fill_null(0)).to_pylist()]


def _cells(rows: list[list[str]], columns: Sequence[int], row: int) -> list[str]:
    return [rows[row][index] for index in columns]


def _readable(source: Path) -> Path:
    try:
        source.open("rb").close()
    except OSError as error:
        raise SourceUnavailable(f"{source} cannot be read: {error.strerror}.", "Check its permissions.") from error
    return source


@contextmanager
def _fields_of_any_width() -> Iterator[None]:
    """Lift the limit of Python's CSV reader, 128 KiB a field, which the outlines of a country exceed."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _csv_batches(reader: Any, source: Path, width: int) -> Iterator[list[list[str]]]:
    """Yield rows of the width of the header: shorter ones are filled up, and of longer ones only blanks are cut."""
    rows: list[list[str]] = []
    size = 0
    for row in reader:
        if not row:
            continue  # a blank line is not a row
        if any(row[width:]):
            raise SourceDamaged(
                f"{source}, line {reader.line_num}: {len(row)} columns instead of {width}.",
                "Correct it; nothing was written.",
            )
        rows.append(row if len(row) == width else [*row[:width], *[""] * (width - len(row))])
        size += sum(map(len, row))
        if len(rows) == BATCH_ROWS or size > BATCH_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _degrees(text: str) -> float:
    """Return the number that a text is; NaN for any other, also for ``1_5``, which Python reads as fifteen."""
    try:
        return float("nan") if "_" in text else float(text.translate(MINUS))
    except ValueError:
        return float("nan")


def _all_degrees(texts: list[str]) -> Floats:
    """Return the numbers that texts are, as `_degrees` does for each of them."""
    try:
        numbers: Floats = pa.array(texts, pa.string()).cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # one of them is not a number, or is written as only people do
        return np.array([_degrees(text) for text in texts], dtype=np.float64)
    return numbers


def _locate_parquet(lookup: _Lookup, source: Path, draft: Path, advance: Report) -> None:
    try:
        file = pq.ParquetFile(_readable(source))
    except (pa.ArrowException, OSError) as error:
        raise SourceDamaged(f"{source} is not a Parquet file: {error}.", "Check the file.") from error
    with file:
        schema = file.schema_arrow
        _refuse_clashes(schema.names, lookup.fields, source)
        coordinates = _parquet_coordinates(schema, source)
        time = lookup.time_column(schema.names, source)
        if time is not None and not _can_be_a_time(schema.types[time]):
            raise SchemaDrift(f"{source}: {schema.names[time]} is of type {schema.types[time]}.", "Give times.")
        lookup.prepare(rows=file.metadata.num_rows)
        done = 0
        with TextWriter(draft, schema, lookup.fields) as writer:

            def batches() -> Iterator[tuple[pa.RecordBatch, Floats, Floats]]:
                for batch in _parquet_batches(file, source):
                    lons, lats, given = coordinates(batch)
                    lookup.note(lons, lats, given)
                    yield batch, lons, lats

            def located(item: tuple[pa.RecordBatch, Floats, Floats]) -> tuple[pa.RecordBatch, Answers, list[pa.Array]]:
                batch, lons, lats = item
                answers = lookup.answers(lons, lats)
                return batch, answers, answers.arrays()

            def write(item: tuple[pa.RecordBatch, Answers, list[pa.Array]]) -> None:
                nonlocal done
                batch, answers, arrays = item
                if lookup.says_when:
                    times = None if time is None else _times(batch.column(time))
                    arrays = [*arrays, *columns_of(lookup.clocks(answers.rows(), times), TIME_FIELDS)]
                writer.write([*batch.columns, *arrays])
                done += batch.num_rows
                advance(batch.num_rows, done / file.metadata.num_rows)

            lookup.for_each(located, batches(), write)


def _parquet_batches(file: pq.ParquetFile, source: Path) -> Iterator[pa.RecordBatch]:
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    row_bytes = sum(group.total_byte_size for group in groups) / max(1, file.metadata.num_rows)
    try:
        yield from file.iter_batches(max(1, min(BATCH_ROWS, int(BATCH_BYTES / max(1, row_bytes)))))
    except (pa.ArrowException, OSError) as error:
        raise SourceDamaged(f"{source} cannot be read to its end: {error}.", "Get it again.") from error


Coordinates = tuple[Floats, Floats, Callable[[int], Values]]


def _parquet_coordinates(schema: pa.Schema, source: Path) -> Callable[[pa.RecordBatch], Coordinates]:
    """Return a function that takes longitudes and latitudes from a batch, and the values as the file has them."""
    columns = _coordinate_columns(schema.names, source)
    geometry = _geometry_column(schema, source, is_needed=columns is None)
    if geometry is None:
        assert columns is not None  # noqa: S101  else a geometry is needed
        for index in columns:
            if not _can_be_a_number(schema.types[index]):
                raise SchemaDrift(f"{source}: {schema.names[index]} is of type {schema.types[index]}.", DEGREES)

        def from_columns(batch: pa.RecordBatch) -> Coordinates:
            lons, lats = (_numbers(batch.column(index)) for index in columns)
            return lons, lats, lambda row: tuple(batch.column(index)[row].as_py() for index in columns)

        return from_columns
    name, is_wkb = geometry

    def from_geometry(batch: pa.RecordBatch) -> Coordinates:
        column = batch.column(name)
        if is_wkb:
            points = shapely.from_wkb(_storage(column).to_numpy(zero_copy_only=False), on_invalid="ignore")
            points[shapely.is_empty(points)] = None  # GEOS raises when asked for a coordinate of an empty point
            lons, lats = shapely.get_x(points), shapely.get_y(points)
        else:
            x, y = (_storage(column).flatten()[_storage(column).type.get_field_index(axis)] for axis in "xy")
            lons, lats = _numbers(x), _numbers(y)
        # of an empty point, blank is what a person sees
        return lons, lats, lambda row: tuple(None if np.isnan(at[row]) else at[row] for at in (lons, lats))

    return from_geometry


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
    return _all_degrees([text or "" for text in texts])


def _can_be_a_time(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_timestamp, pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def _times(column: pa.Array) -> list[object]:
    """Return a column of times, to the microsecond, or of text."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    values: list[object] = column.to_pylist()
    return values


def _geometry_column(schema: pa.Schema, source: Path, *, is_needed: bool) -> tuple[str, bool] | None:
    """Return the name of the geometry column, and whether it is WKB; None where columns of numbers are to be read.

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
            raise _no_coordinates(schema.names, source)
        return None
    if encoding not in ("WKB", "point") or kinds - {"Point", "Point Z"}:
        if is_needed:
            raise SchemaDrift(f"{source}: {name} holds geometry other than points in WKB.", "Give points.")
        return None
    _require_degrees(column.get("crs", {}), name, source)
    return str(name), encoding == "WKB"


def _require_degrees(crs: Any, name: str, source: Path) -> None:
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
