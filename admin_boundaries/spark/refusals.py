"""What Spark says when a job fails, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ingest import errors
from ingest.errors import (
    ExportFailed,
    FormatUnknown,
    IngestError,
    SchemaDrift,
    SourceDamaged,
    SourceUnavailable,
    TargetUnavailable,
    UsageError,
)

WORKERS = "Install this project where the workers run, and name its Python in PYSPARK_PYTHON: see docs/spark.md."
WHERE = re.compile(r"\(([\w.:-]+) executor (\w+)\)")
HINT = "Hint: "  # begins the line with the hint of a refusal that a worker raised
OURS = re.compile(rf"^ingest\.errors\.(\w+): (.*)\n{HINT}(.*)$", re.MULTILINE)  # how Python ends the trace of a worker


class IndexUnseen(IngestError):
    """A worker sees no index."""


@dataclass(frozen=True)
class Known:
    """A fault of Spark's.

    Attributes
    ----------
    words : str
        Part of its message, as a regular expression.
    kind : type
        Of the error.
    text : str
        What is wrong, for `str.format`: ``{place}`` is where, ``{0}`` what the expression found.
    hint : str
        What to do.
    """

    words: str
    kind: type[IngestError]
    text: str
    hint: str


KNOWN = (
    Known(r"IndexUnseen: (.+)", IndexUnseen, "{0}", "Run the command again."),
    Known(
        r"JAVA_GATEWAY_EXITED",
        TargetUnavailable,
        "Spark did not start: is Java missing?",
        "Install Java 17 or 21 (`make spark` does on Debian), or set JAVA_HOME.",
    ),
    Known(
        r"No module named '([\w.]+)'|PACKAGE_NOT_INSTALLED\] (\w+)",
        TargetUnavailable,
        "Python on {place} lacks {0}.",
        WORKERS,
    ),
    Known(
        r"PYTHON_VERSION_MISMATCH\] Python in worker has different version: (\S+?) than that in driver: (\S+?),",
        TargetUnavailable,
        "Python on {place} is {0}, and here {1}.",
        WORKERS,
    ),
    Known(r'Cannot run program "([^"]+)"', TargetUnavailable, "There is no {0} on {place}.", WORKERS),
    Known(
        r"Class(?:NotFoundException: Class)? (org\.apache\.hadoop\.fs\.s3a\.\w+) not found",
        TargetUnavailable,
        "Spark lacks the classes of s3a.",
        "Add hadoop-aws and its bundle, as docs/spark.md says.",
    ),
    Known(
        r"""No FileSystem for scheme "?(\w+)""",
        TargetUnavailable,
        "Spark does not know {0}://.",
        "S3 is s3a:// for Spark; others need jars of their own: see docs/spark.md.",
    ),
    Known(
        r"PATH_NOT_FOUND\] Path does not exist: (\S+?)\.?\s", SourceUnavailable, "There is no {0}.", "Check the path."
    ),
    Known(
        r"PATH_ALREADY_EXISTS\] Path (\S+) already", UsageError, "{0} already exists.", "Use --overwrite to replace it."
    ),
    Known(
        r"(CANNOT_MERGE_SCHEMAS|CANNOT_MERGE_INCOMPATIBLE_DATA_TYPE)[^\n]*",
        SchemaDrift,
        "A column has another type in some of the files.",
        "Locate them one after another.",
    ),
    Known(
        r"UNABLE_TO_INFER_SCHEMA",
        FormatUnknown,
        "There is no Parquet file in the input.",
        "Give the path of Parquet files, or of CSV files that ends with .csv.",
    ),
    Known(
        r"Illegal Parquet type: ([^\n.]+)|PARQUET_TYPE_ILLEGAL\] Illegal Parquet type: ([^\n.]+)",
        FormatUnknown,
        "Spark cannot read the type {0}.",
        "Write times to the microsecond.",
    ),
    Known(
        r"LogicalType\$_Fields\.ordinal",
        FormatUnknown,
        "A Parquet file has a column of a type that this Spark does not know, such as GEOMETRY.",
        "Write it as plain binary, as GeoParquet 1.1 has it, or give longitude and latitude in columns.",
    ),
    Known(
        r"(\S+) is not a Parquet file|CANNOT_READ_FILE_FOOTER\]? ?[^:]*: (\S+)",
        SourceDamaged,
        "{0} is not a Parquet file.",
        "Check the file.",
    ),
    Known(
        r"MALFORMED_(?:CSV_RECORD|RECORD_IN_PARSING[.\w]*)\] ([^\n]{0,120})",
        SourceDamaged,
        "A row of a CSV file has another number of columns than the header: {0}",
        "Correct it; nothing was written.",
    ),
    Known(
        r"CSV header does not conform to the schema|the number of columns in header",
        SchemaDrift,
        "The CSV files do not have the same header.",
        "Locate them one after another.",
    ),
    Known(
        r"AccessDenied|Access Denied|Permission denied|AccessControlException|NoAuthWithAWSException[^\n]*",
        SourceUnavailable,
        "Spark may not read or write there.",
        "Check the credentials that Spark has (docs/spark.md), and the permissions.",
    ),
)


@contextmanager
def of_spark(place: str = "") -> Iterator[None]:
    """Turn the errors of Spark in a block into ours.

    Parameters
    ----------
    place : str
        The cluster, for messages.

    Raises
    ------
    IngestError
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise error_of(str(error), place) from error


def error_of(message: str, place: str = "") -> IngestError:
    """Return the error for what Spark said.

    Parameters
    ----------
    message : str
        With the traces of Java and Python.
    place : str
        The cluster.
    """
    if ours := OURS.search(message):
        kind, text, hint = ours.groups()
        refusal: IngestError = getattr(errors, kind)(text.removesuffix(hint).rstrip(), hint)
        return refusal
    where = WHERE.search(message)
    place = f"worker {where[1]}" if where else (place or "a worker")
    for known in KNOWN:
        found = re.search(known.words, message + "\n")
        if found:
            words = [word for word in found.groups() if word]
            return known.kind(known.text.format(*words, place=place), known.hint)
    return ExportFailed(f"The Spark job failed: {_gist(message)}", "What Spark printed says more.")


def _gist(message: str) -> str:
    """Return the line that says what went wrong: that of the cause, below the traces."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    causes = [line for line in lines if re.match(r"(Caused by: |[\w.]+(Error|Exception): )", line)]
    return (causes[-1] if causes else (lines or ["no message"])[0])[:300]
