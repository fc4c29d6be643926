"""The Huey instance, and nothing else.

The queue is in Redis on the ``postgres`` target and in a SQLite file on the embedded one; tasks and workers are the
same on both. Messages are signed: a consumer refuses an unsigned one before it unpickles anything, and carries on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huey import Huey
from huey.storage import SqliteStorage

from ingest.errors import QueueDamaged, SettingsError, TargetUnavailable
from ingest.ledger import is_damage
from ingest.pipeline.messages import RedisQueue, Serializer, SqliteQueue
from ingest.settings import Settings, private_folder, read_settings


class _Storage(SqliteStorage):  # type: ignore[misc]
    """Huey's queue in a SQLite file, which may be damaged."""

    @contextmanager
    def db(self, commit: bool = False, close: bool = False) -> Iterator[sqlite3.Cursor]:
        """Yield a cursor.

        Raises
        ------
        QueueDamaged
            When the file is damaged.
        """
        try:
            with super().db(commit, close) as cursor:
                yield cursor
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            raise damaged(Path(self.filename), str(error)) from error


def damaged(file: Path, reason: str) -> QueueDamaged:
    """Return the error for a file that is no queue any more."""
    return QueueDamaged(
        f"The queue {file} is damaged: {reason}.",
        "Stop its consumers, then run `python -m ingest doctor --repair`. Consumers send the messages again; only "
        "signed addresses are lost, and `resume --source` supplies them.",
    )


def create(settings: Settings) -> Huey:
    """Return the queue of a target."""
    options: dict[str, Any] = {"name": "ingest", "serializer": Serializer(secret=settings.secret, salt="ingest")}
    if settings.postgres:
        try:
            # A worker waits this long for a task, then checks whether it should stop.
            return RedisQueue(url=settings.redis_url, read_timeout=0.2, **options)
        except ValueError:  # its message may quote part of the password
            raise SettingsError(
                "REDIS_URL is malformed.",
                "Set redis://:PASSWORD@HOST:6379/0, and percent-encode / ? # @ and % in the password.",
            ) from None
    file = settings.home / "queue.sqlite"
    if file.is_dir():
        raise damaged(file, "it is a folder")
    try:
        private_folder(settings.home)
        file.touch(mode=0o600)  # it may hold addresses with a signature
        return SqliteQueue(storage_class=_Storage, filename=str(file), fsync=False, **options)
    except (OSError, sqlite3.Error) as error:
        raise TargetUnavailable(
            f"The queue {file} cannot be opened: {error}.",
            "Is the disk full, or does the folder belong to another user? WAREHOUSE_HOME sets another one.",
        ) from error


huey = create(read_settings())
