"""Every way in which an ingest can fail, as a type.

A message says what is wrong and where; ``hint`` says what to do about it. Which faults may pass by themselves, so
that a task is worth repeating, stands in `ingest.pipeline.retries`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class IngestError(Exception):
    """Base of all expected failures.

    Parameters
    ----------
    message : str
        What is wrong, and where.
    hint : str, optional
        What to do next.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(IngestError):
    """The command was given something it does not take."""

    exit_code = 2


class SettingsError(IngestError):
    """The environment or the dbt profile cannot be used."""


class TargetUnavailable(IngestError):
    """The database or the queue does not answer, or lacks what is needed."""


class DiskFull(IngestError):
    """A disk that rows are written to has no room left."""


class PermissionMissing(IngestError):
    """The database does not allow this user to do it."""


class SourceUnavailable(IngestError):
    """A file cannot be had for good: no such address, no such path, no right to it."""


class SourceInterrupted(SourceUnavailable):
    """A transfer failed in a way that may pass: worth another try."""


class ChecksumMismatch(IngestError):
    """A file is not the one that was asked for."""


class ArchiveInvalid(IngestError):
    """An archive is damaged, or would write where it must not."""


class FormatUnknown(IngestError):
    """A file is none of the formats that are read."""


class LayerMissing(IngestError):
    """A layer that was asked for is not in the source."""


class SchemaDrift(IngestError):
    """A layer lacks a column, or holds other geometry than polygons."""


class SourceDamaged(IngestError):
    """A layer could be opened, and not be read to its end."""


class CountMismatch(IngestError):
    """Rows read, loaded and counted do not agree."""


class LedgerTooNew(IngestError):
    """A newer version of this package has changed the ledger."""


class RunNotFound(IngestError):
    """No run goes by this id."""


class RunInProgress(IngestError):
    """Another run of the same dataset has not ended."""


class MartsMissing(IngestError):
    """The marts that are asked were never built."""


class NameUnknown(IngestError):
    """No unit goes by the name."""


class SliceTaken(IngestError):
    """Another worker has taken the slice over; what this one loaded is discarded."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known word, or all of them.

    Parameters
    ----------
    word : str
        What was written.
    known : iterable of str
        What could have been meant.

    Returns
    -------
    str
        A sentence; never empty as long as anything is known.
    """
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(choices)}." if choices else ""
