"""Write rows without geometry as CSV or Parquet, by the suffix of the file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from admin_boundaries.files import check_place
from admin_boundaries.marts import first_line
from ingest.errors import ExportFailed, FormatUnknown, SourceDamaged

FORMATS = (".csv", ".parquet")


@contextmanager
def csv_refusals(source: Path) -> Iterator[None]:
    """Refuse a CSV file that turns out to be none while it is read.

    Raises
    ------
    SourceDamaged
        When it is not UTF-8, or not CSV.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise SourceDamaged(f"{source} is not UTF-8 ({error.reason} at byte {error.start}).", "Convert it.") from error
    except csv.Error as error:
        raise SourceDamaged(
            f"{source} is not a CSV file: {error}.", 'Separate columns by commas, quote with ".'
        ) from error


def check_format(path: Path) -> None:
    """Refuse a name whose suffix is neither ``.csv`` nor ``.parquet``.

    Raises
    ------
    FormatUnknown
    """
    if path.suffix.lower() not in FORMATS:
        raise FormatUnknown(f"{path} is neither .csv nor .parquet.", "Use one of these two.")


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before any work is done.

    Raises
    ------
    FormatUnknown
        When its suffix is neither ``.csv`` nor ``.parquet``.
    UsageError
        When it exists, unless it may be replaced, or its folder does not.
    """
    check_format(output)
    check_place(output, overwrite=overwrite)


def write(rows: pa.RecordBatchReader, draft: Path, texts: Mapping[str, str]) -> int:
    """Write a stream of rows.

    Parameters
    ----------
    rows : pyarrow.RecordBatchReader
        Read once, batch by batch.
    draft : Path
        The file; one that exists is replaced.
    texts : mapping of str to str
        Metadata of a Parquet file; CSV has no place for it.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    ExportFailed
        When the file cannot be written, or the rows cannot be read to their end.
    """
    try:
        if draft.suffix.lower() == ".csv":
            with duckdb.connect() as connection:
                connection.register("rows_to_write", rows)
                copied = connection.execute("copy rows_to_write to ? (format csv, header)", [str(draft)]).fetchone()
            return int(copied[0]) if copied else 0
        count = 0
        with pq.ParquetWriter(draft, rows.schema, compression="zstd") as writer:
            for batch in rows:
                writer.write_batch(batch)
                count += len(batch)
            writer.add_key_value_metadata(dict(texts))
    except (OSError, pa.ArrowException, duckdb.Error) as error:
        raise ExportFailed(f"{draft.name} was not written: {first_line(error)}.", "Check the disk.") from error
    return count
