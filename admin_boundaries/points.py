"""Locate the points of a CSV or GeoParquet file, and write the same file with the answers as additional columns.

Memory is bounded: rows are read, looked up and written :data:`BATCH_ROWS` at a time, fewer where rows are wide. The
output appears under its name only when it is complete.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import sys
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

from admin_boundaries.coverage.threads import in_threads
from admin_boundaries.files import replacing
from admin_boundaries.locate import COLUMNS, Row, as_text
from admin_boundaries.locate.answers import FIELDS, NEAREST
from admin_boundaries.locate.bad_points import BadPoints, Floats, Values, shown
from admin_boundaries.locate.coordinates import (
    all_degrees,
    coordinate_columns,
    coordinates_in,
    no_coordinates,
    refuse_clashes,
    require_same,
)
from admin_boundaries.locate.parquet import TextWriter
from admin_boundaries.tables import csv_refusals
from admin_boundaries.timezones.local_time import FIELDS as TIME_FIELDS
from admin_boundaries.timezones.local_time import LocalTimes, time_of
from admin_boundaries.warehouse import Warehouse, of_one_build
from ingest.errors import FormatUnknown, SchemaDrift, SourceDamaged, SourceUnavailable, UsageError

if TYPE_CHECKING:  # the index is only for many points
    import numpy.typing as npt

    from admin_boundaries.locate.index import Index
    from admin_boundaries.locate.locator import Locator

Item = TypeVar("Item")
Result = TypeVar("Result")
Report = Callable[[int, float], None]
FEW_ROWS = 50_000  # which the database answers in a second or two, where the index is not there yet
BATCH_ROWS = 1 << 18
BATCH_BYTES = 64 << 20
TZID = COLUMNS.index("tzid")
TABLE = "The table"


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


def table_of(points: Any, lats: npt.ArrayLike | None = None) -> pa.Table:
    """Return points as a table: longitudes and latitudes, or whatever gives Arrow.

    Raises
    ------
    UsageError
        When they are neither, or there are not as many of the one as of the other.
    """
    if lats is not None:
        lons, lats = np.asarray(points), np.asarray(lats)
        if lons.shape != lats.shape or lons.ndim != 1:
            raise UsageError(f"Longitudes {lons.shape} and latitudes {lats.shape} do not match.", "Give one for each.")
        return pa.table({"lon": lons, "lat": lats})
    if hasattr(points, "to_crs"):  # of GeoPandas, whose own stream has no geometry
        frame = points if points.crs is None else points.to_crs(4326)
        points = frame.to_arrow(index=False, geometry_encoding="WKB")
    if not hasattr(points, "__arrow_c_stream__") and not hasattr(points, "__arrow_c_array__"):
        raise UsageError(
            f"A {type(points).__name__} is no table of points.",
            "Give a table with columns lon and lat, or longitudes and latitudes.",
        )
    return pa.table(points)


def locate_table(warehouse: Warehouse, index: Index, points: pa.Table, *, nearest: float | None = None) -> pa.Table:
    """Locate the points of a table in memory.

    Parameters
    ----------
    warehouse, index, nearest
        As of `locate_file`.
    points : Table
        With coordinates as the file of `locate_file` has them, or with a column of ``geoarrow.wkb``.

    Returns
    -------
    Table
        The answers, in the order of the points.

    Raises
    ------
    SchemaDrift
        When it has no coordinates that can be used.
    MartsReplaced
        When a build replaced the marts meanwhile.
    """
    with of_one_build(warehouse):
        lookup = _Lookup(warehouse, index, None, nearest)
        refuse_clashes(points.column_names, lookup.fields, TABLE)
        coordinates = coordinates_in(points.schema, TABLE)
        lookup.prepare(rows=points.num_rows)
        found: list[list[pa.Array]] = []

        def batches() -> Iterator[tuple[Floats, Floats]]:
            for batch in points.to_batches(max_chunksize=BATCH_ROWS):
                lons, lats, given = coordinates.of(batch)
                lookup.note(lons, lats, given)
                yield lons, lats

        lookup.for_each(lambda each: lookup.answers(*each).arrays(), batches(), found.append)
        lookup.refuse_if_all_are_bad(TABLE, points.num_rows)
    columns = list(zip(*found, strict=True)) or [()] * len(lookup.fields)
    plain = [
        pa.chunked_array([_plain(array, field.type) for array in column], field.type)
        for column, field in zip(columns, lookup.fields, strict=True)
    ]
    return pa.table(plain, schema=pa.schema(lookup.fields))


def _plain(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return an array with texts where it has dictionaries."""
    if pa.types.is_list(kind) and pa.types.is_list(array.type):
        return pa.ListArray.from_arrays(array.offsets, array.values.cast(kind.value_type), mask=array.is_null())
    return array.cast(kind)


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
        """Open the index, unless the database answers, a file has few rows, and the index would have to be made."""
        is_needed = rows > FEW_ROWS or not self._warehouse.has_functions
        if self._index.is_there or self._nearest or is_needed:
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

    def refuse_if_all_are_bad(self, source: object, count: int) -> None:
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
        candidates = coordinate_columns(header, source)
        if candidates is None:
            raise no_coordinates(header, source)
        columns = [each[0] for each in candidates]
        rivals = [each[1:] for each in candidates]
        refuse_clashes(header, lookup.fields, source)
        time = lookup.time_column(header, source)
        writer.writerow([*header, *(field.name for field in lookup.fields)])
        batches = _csv_batches(reader, source, len(header))
        first = next(batches, [])
        lookup.prepare(rows=len(first) * size / max(1, read.tell()))
        for rows in chain([first], batches):
            lons, lats = (all_degrees([row[index] for row in rows]) for index in columns)
            for index, values, others in zip(columns, (lons, lats), rivals, strict=True):
                for other in others:
                    require_same(header[index], values, header[other], all_degrees([row[other] for row in rows]))
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
        column = pc.binary_join(_plain(column, pa.list_(pa.string())), "|").dictionary_encode()
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


def _locate_parquet(lookup: _Lookup, source: Path, draft: Path, advance: Report) -> None:
    try:
        file = pq.ParquetFile(_readable(source))
    except (pa.ArrowException, OSError) as error:
        raise SourceDamaged(f"{source} is not a Parquet file: {error}.", "Check the file.") from error
    with file:
        schema = file.schema_arrow
        refuse_clashes(schema.names, lookup.fields, source)
        coordinates = coordinates_in(schema, source)
        time = lookup.time_column(schema.names, source)
        if time is not None and not _can_be_a_time(schema.types[time]):
            raise SchemaDrift(f"{source}: {schema.names[time]} is of type {schema.types[time]}.", "Give times.")
        lookup.prepare(rows=file.metadata.num_rows)
        done = 0
        with TextWriter(draft, schema, lookup.fields) as writer:

            def batches() -> Iterator[tuple[pa.RecordBatch, Floats, Floats]]:
                for batch in _parquet_batches(file, source):
                    lons, lats, given = coordinates.of(batch)
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
