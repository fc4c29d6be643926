"""Every expected failure is a type here.

A message says what is wrong and where; ``hint`` says what to do about it. `ingest.pipeline.retries` says which faults
are worth a retry.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class IngestError(Exception):
    """Base class of all expected failures.

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
    """The command was called with invalid arguments."""

    exit_code = 2


class SettingsError(IngestError):
    """The environment or the dbt profile cannot be used."""


class TargetUnavailable(IngestError):
    """The database or the queue does not answer, or lacks something that is needed."""


class LedgerDamaged(IngestError):
    """The file of the ledger is damaged."""


class QueueDamaged(IngestError):
    """The file of the queue is damaged."""


class ServerLimit(IngestError):
    """A limit that somebody has set for the database ended a statement or a session, and would do so again."""


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last: no file of this size, as on FAT32
# A file or folder belongs to another user, is on a disk that takes no writes, fails or is gone, or is something else.
NOT_AS_EXPECTED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
    *(errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN),
)


class DiskFull(IngestError):
    """The disk that rows are written to is full."""


class FileUnusable(IngestError):
    """A file or folder of the warehouse, or of the user's, can be neither read nor written."""


class PermissionMissing(IngestError):
    """The database user lacks a permission."""


class SourceUnavailable(IngestError):
    """A file cannot be fetched, and a retry would not help: wrong address, wrong path or no access."""


class SourceInterrupted(SourceUnavailable):
    """A transfer failed for a reason that may be temporary: worth a retry."""


class ChecksumMismatch(IngestError):
    """A file does not have the expected checksum."""


class ArchiveInvalid(IngestError):
    """An archive is damaged, or would write outside its folder."""


class FormatUnknown(IngestError):
    """A file is not in a supported format."""


class CopyDamaged(IngestError):
    """A downloaded or unpacked file was changed while it was read: the next attempt makes it again."""


class LayerMissing(IngestError):
    """The source lacks a requested layer."""


class SchemaDrift(IngestError):
    """A layer lacks a required column, or holds geometries other than polygons."""


class SourceDamaged(IngestError):
    """A layer could be opened but not read to its end."""


class CountMismatch(IngestError):
    """The numbers of rows read, loaded and counted disagree."""


class RunFailed(IngestError):
    """A run ended without being published, or no worker is left to finish it."""


class LedgerTooNew(IngestError):
    """A newer version of this package has changed the ledger."""


class RunNotFound(IngestError):
    """There is no such run, or no publication to return to."""


class BaseUnusable(IngestError):
    """The publication that a run is to be added to is missing, does not fit, or has been replaced meanwhile."""


class RunInProgress(IngestError):
    """Another run of the same dataset is in progress."""


class AlertNotSent(IngestError):
    """The webhook does not accept a message."""


class QueryFailed(IngestError):
    """The database refused a statement of the user's."""


class QuestionTooLong(IngestError):
    """A service was asked something that takes longer than it gives to a question."""


class ServiceBusy(IngestError):
    """A service is answering as many questions as it may at once."""


class NotThere(IngestError):
    """What a service was asked for by its key is not there."""


class ExportFailed(IngestError):
    """A file cannot be written."""


class BuildFailed(IngestError):
    """dbt could not build the marts. The exit code is that of dbt."""

    @classmethod
    def of_dbt(cls, command: str, code: int) -> BuildFailed:
        """Return the error for an exit code of dbt; that of a dbt that a signal ended is negative, and counts as 1."""
        error = cls(
            f"`{command}` failed with exit code {code}: the marts are as they were.",
            "Its output says why. What was loaded stays published.",
        )
        error.exit_code = max(code, 1)
        return error


class MartsMissing(IngestError):
    """The marts have not been built."""


class MartsReplaced(IngestError):
    """A build published other marts while a command was reading them."""


class ReleaseMissing(IngestError):
    """The marts do not compare the releases that a command was asked about."""


class NameUnknown(IngestError):
    """No unit has this name."""


class UnitUnknown(IngestError, KeyError):
    """No unit has this key."""


class SliceTaken(IngestError):
    """Another worker has claimed the slice; the rows that this one loaded are discarded."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the most similar known word, or lists all of them.

    Parameters
    ----------
    word : str
        The word as the user typed it.
    known : iterable of str
        The valid words.

    Returns
    -------
    str
        A sentence; empty only if ``known`` is.
    """
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(choices)}." if choices else ""
