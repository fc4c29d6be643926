"""Answer SQL of one's own from the marts, read-only: as a table, CSV or JSON, or into a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from admin_boundaries.files import check_place, replacing
from admin_boundaries.geometry import geometry_columns, shapes
from admin_boundaries.locate import as_text
from ingest.errors import FormatUnknown

SUFFIXES = (".csv", ".json", ".parquet")
WIDEST = 60  # characters of a value in a table


class Answering(Protocol):
    """What can be asked; see `admin_boundaries.warehouse.Warehouse.query`."""

    def query(self, statement: str) -> pa.RecordBatchReader:
        """Return the rows of a statement."""
        ...


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before any work is done.

    Raises
    ------
    FormatUnknown
        When its suffix is none of `SUFFIXES`.
    UsageError
        When it exists, unless it may be replaced, or its folder does not.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise FormatUnknown(f"The suffix of {output.name} is not a known format.", f"Known: {', '.join(SUFFIXES)}.")
    check_place(output, overwrite=overwrite)


def write(warehouse: Answering, statement: str, output: Path) -> int:
    """Write the answer to a file, which appears under its name when it is complete.

    Parameters
    ----------
    warehouse : Answering
        The marts.
    statement : str
        One statement of SQL, as the target understands it.
    output : Path
        Its suffix says the format: CSV and JSON have geometry as WKT, Parquet has it as GeoParquet does.

    Returns
    -------
    int
        How many rows there are.

    Raises
    ------
    QueryFailed
        When the database refuses the statement. Nothing is written then.
    """
    with replacing(output) as draft:
        if output.suffix.lower() == ".parquet":
            return _write_parquet(warehouse.query(statement), draft)
        with draft.open("w", encoding="utf-8", newline="") as file:
            return write_text(warehouse, statement, output.suffix.lower().removeprefix("."), file)


def first_rows(warehouse: Answering, statement: str, limit: int) -> tuple[list[str], list[list[str]], bool]:
    """Return the first rows of the answer as text, for a table.

    Parameters
    ----------
    warehouse, statement
        As of `write`.
    limit : int
        How many rows.

    Returns
    -------
    columns : list of str
        Their names.
    rows : list of list of str
        Long values are cut.
    is_more : bool
        Whether there are others.

    Raises
    ------
    QueryFailed
        When the database refuses the statement.
    """
    reader = warehouse.query(statement)
    found = list(islice(rows_of(reader), limit + 1))
    rows = [[_short(as_text(value)) for value in values] for values in found[:limit]]
    return reader.schema.names, rows, len(found) > limit


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def rows_of(reader: pa.RecordBatchReader) -> Iterator[tuple[Any, ...]]:
    """Yield rows, geometry as WKT."""
    geometry = set(geometry_columns(reader.schema))
    for batch in reader:
        columns = [_wkt(column) if at in geometry else column.to_pylist() for at, column in enumerate(batch.columns)]
        yield from zip(*columns, strict=True)


def _wkt(column: pa.Array) -> list[str | None]:
    texts: list[str | None] = shapely.to_wkt(shapes(column), rounding_precision=-1).tolist()
    return texts


def write_text(warehouse: Answering, statement: str, kind: str, file: IO[str]) -> int:
    """Write the answer as ``csv`` or ``json``, a list of objects; return how many rows there are."""
    reader = warehouse.query(statement)
    names, count = reader.schema.names, 0
    if kind == "csv":
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for values in rows_of(reader):
            writer.writerow([as_text(value) for value in values])
            count += 1
        return count
    file.write("[")
    for count, values in enumerate(rows_of(reader), start=1):
        row = dict(zip(names, values, strict=True))
        file.write((",\n" if count > 1 else "\n") + json.dumps(row, ensure_ascii=False, default=as_text))
    file.write("\n]\n")
    return count


def _write_parquet(reader: pa.RecordBatchReader, draft: Path) -> int:
    """Write Parquet, with the metadata of GeoParquet 1.1 if there is geometry: longitude and latitude on WGS 84."""
    geometry = geometry_columns(reader.schema)
    fields = [
        pa.field(field.name, pa.binary() if at in geometry else field.type) for at, field in enumerate(reader.schema)
    ]
    names = [reader.schema.names[at] for at in geometry]
    columns = {name: {"encoding": "WKB", "geometry_types": []} for name in names}
    geo = {"version": "1.1.0", "primary_column": names[0], "columns": columns} if names else None
    schema = pa.schema(fields, {"geo": json.dumps(geo)} if geo else None)
    count = 0
    with pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        for batch in reader:
            arrays = [
                pa.array(shapely.to_wkb(shapes(column), include_srid=False), pa.binary()) if at in geometry else column
                for at, column in enumerate(batch.columns)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            count += batch.num_rows
    return count


def prompt(read: Callable[[str], str], answer: Callable[[str], None]) -> None:
    """Answer statements that a person types, each of which ends with a semicolon, until the end of the input.

    Parameters
    ----------
    read : callable
        Called with what to print before a line; returns the line, or raises `EOFError`.
    answer : callable
        Called with each statement.
    """
    lines: list[str] = []
    while True:
        try:
            line = read("   … " if lines else "sql> ")
        except EOFError:
            return
        except KeyboardInterrupt:  # forget what was begun
            lines = []
            continue
        lines.append(line)
        if line.rstrip().endswith(";"):
            answer("\n".join(lines))
            lines = []
        elif not "".join(lines).strip():
            lines = []
