"""How long-running commands log: as text or JSON, to standard error or to a file that is replaced when it is full.

Every line says which worker wrote it, and which run and slice it was busy with.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from ingest import settings

TEXT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"

_work: dict[str, str | int | None] = {"run": None, "slice": None}  # a worker is busy with one task at a time


def working_on(run_id: str | None, slice_no: int | None = None) -> None:
    """Name the run and slice of all lines that this process writes from now on."""
    _work.update({"run": run_id, "slice": slice_no})


def configure(level: int = logging.INFO) -> None:
    """Set up logging as the environment says.

    Raises
    ------
    SettingsError
        When a variable is invalid.
    """
    how = settings.logs()
    handler: logging.Handler = logging.StreamHandler()
    if how.file is not None:
        settings.private_folder(how.file.resolve().parent)
        handler = SharedFile(how.file, how.file_bytes, how.files)
    handler.setFormatter(AsJson() if how.is_json else logging.Formatter(TEXT))
    logging.basicConfig(level=level, handlers=[handler])


class AsJson(logging.Formatter):
    """A line of JSON for each entry."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; ``run`` and ``slice`` are null outside of a task."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_work,
            "worker": f"{socket.gethostname()}:{record.process}",
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


class SharedFile(RotatingFileHandler):
    """A rotating file that several processes write to: workers are forked, and each has the file open.

    A lock lets one of them write, and replace the file, at a time; the others notice, and open the new one.
    """

    def __init__(self, file: Path, file_bytes: int, files: int) -> None:
        super().__init__(file, maxBytes=file_bytes, backupCount=files, encoding="utf-8", delay=True)
        self._lock_file = f"{self.baseFilename}.lock"

    def emit(self, record: logging.LogRecord) -> None:
        """Write an entry; one that cannot be written is reported on standard error, as for every handler."""
        try:
            with self._alone():
                self._follow()
                super().emit(record)
        except OSError:
            self.handleError(record)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _follow(self) -> None:
        """Open the file anew if another process has replaced it."""
        if self.stream is None:
            return
        here = os.fstat(self.stream.fileno())
        try:
            there = Path(self.baseFilename).stat()
        except FileNotFoundError:
            there = None
        if there is None or (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
            self.stream.close()
            self.stream = None  # type: ignore[assignment]  # the base class opens it
