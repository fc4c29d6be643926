"""The Huey instance, nothing else.

Redis where the target has a server, a SQLite file where it has none: the same tasks, chord and process workers on both.
Messages are signed; a consumer refuses one that is not before anything of it is unpickled, and goes on.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from huey import Huey, RedisHuey, SqliteHuey
from huey.serializer import SignedSerializer

from ingest.errors import SettingsError, TargetUnavailable
from ingest.settings import Settings, read_settings


def create(settings: Settings) -> Huey:
    """Return the queue of a target."""
    options: dict[str, Any] = {"name": "ingest", "serializer": SignedSerializer(secret=settings.secret, salt="ingest")}
    if settings.postgres:
        try:
            # Workers look up from an empty queue this often, and so hear that they are to stop.
            return RedisHuey(url=settings.redis_url, read_timeout=0.2, **options)
        except ValueError:  # its message may quote a part of the password
            raise SettingsError(
                "REDIS_URL is malformed.",
                "redis://:PASSWORD@HOST:6379/0, where a password's / ? # @ and % are percent-encoded.",
            ) from None
    file = settings.home / "queue.sqlite"
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)  # addresses with a query pass through it
        return SqliteHuey(filename=str(file), fsync=False, **options)
    except (OSError, sqlite3.Error) as error:
        raise TargetUnavailable(
            f"The queue {file} cannot be opened: {error}.",
            "Is the disk full, or the folder another user's? WAREHOUSE_HOME names another.",
        ) from error


huey = create(read_settings())
