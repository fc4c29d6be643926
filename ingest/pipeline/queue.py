"""The Huey instance, and nothing else.

The queue is in Redis on the ``postgres`` target and in a SQLite file on the embedded one; tasks and workers are the
same on both. Messages are signed: a consumer refuses an unsigned one before it unpickles anything, and carries on.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from huey import Huey

from ingest.errors import SettingsError, TargetUnavailable
from ingest.pipeline.messages import RedisQueue, Serializer, SqliteQueue, damaged
from ingest.settings import Settings, private_folder, read_settings


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
        return SqliteQueue(filename=str(file), fsync=False, **options)
    except (OSError, sqlite3.Error) as error:
        raise TargetUnavailable(
            f"The queue {file} cannot be opened: {error}.",
            "Is the disk full, or does the folder belong to another user? WAREHOUSE_HOME sets another one.",
        ) from error


huey = create(read_settings())
