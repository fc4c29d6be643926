"""What the queue may hold: messages that are signed and recent. Everything else costs one line in the log.

A message is signed together with the time when it was sent, and refused a day later: a copy of an old one is worth
nothing. No work is lost with it, because consumers send again what the ledger says is missing. The day is longer than
the clocks of hosts differ.
"""

from __future__ import annotations

import logging
import sqlite3
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import redis
from huey import RedisHuey, SqliteHuey, storage
from huey.api import PeriodicTask, Task
from huey.constants import EmptyData
from huey.serializer import SignedSerializer
from redis.exceptions import RedisError, ResponseError

from ingest.errors import IngestError, QueueDamaged
from ingest.ledger import is_damage

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_AGE = timedelta(days=1)
SOON = timedelta(hours=1)  # longer than any pause before a retry
PAUSE_SECONDS = 0.5  # before the queue is asked again after it did not answer
SHOWN_CHARACTERS = 200
FAULTS = (RedisError, sqlite3.Error, IngestError)  # of a queue that does not answer, or not as it should

# Run by Redis: delete a key if it is not of our type, in one step with the look at it.
DELETE_FOREIGN = "if redis.call('type', KEYS[1]).ok == ARGV[1] then return 0 else return redis.call('del', KEYS[1]) end"


class Serializer(SignedSerializer):  # type: ignore[misc]
    """Signs what is stored, together with the time."""

    def _serialize(self, message: Any) -> bytes:
        stamped = struct.pack(">d", time.time()) + super(SignedSerializer, self)._serialize(message)
        return bytes(self._sign(stamped))

    def _deserialize(self, data: bytes) -> Any:
        return super(SignedSerializer, self)._deserialize(self._unsign(data)[8:])

    def _unsign(self, signed: Any) -> bytes:
        if not isinstance(signed, bytes | memoryview):  # SQLite holds text and numbers in a column of bytes, too
            raise ValueError("it does not consist of bytes")
        return bytes(super()._unsign(bytes(signed)))

    def check_age(self, data: bytes) -> None:
        """Make sure that a message is signed and was sent within `MAX_AGE`, by the clocks of both hosts.

        Raises
        ------
        ValueError
            When it was not.
        """
        (sent,) = struct.unpack(">d", self._unsign(data)[:8])
        age = time.time() - sent
        if not abs(age) <= MAX_AGE.total_seconds():
            raise ValueError(f"it was sent {age / 3600:,.0f} hours ago, by the clock of this host")


class _Tolerant:
    """What both kinds of queue have in common: whatever is wrong with them or in them, the consumer goes on."""

    storage: Any
    serializer: Serializer
    _registry: Any
    _is_away = False

    def deserialize_task(self, data: bytes) -> Task:
        """Return the task of a message. Unsigned, old and malformed ones raise whatever they raise."""
        self.serializer.check_age(data)
        task: Task = self._registry.create_task(self.serializer.deserialize(data))
        if not isinstance(task, PeriodicTask) and not _is_well_formed(task):
            raise ValueError(f"the arguments of {task.name} are malformed")
        return task

    def dequeue(self) -> Task | None:
        """Return the next task; None if there is none, its message is refused, or the queue does not answer."""
        data = self._ask(self.storage.dequeue, None)
        return None if data is None else self._read(data)

    def read_schedule(self, timestamp: datetime | None = None) -> list[Task]:
        """Return the tasks that are due."""
        now = timestamp or _now()
        return self._deserialize_all(self._ask(lambda: self.storage.read_schedule(now), ()))

    def execute(self, task: Task, timestamp: datetime | None = None) -> Any:
        """Execute a task. What the storage refuses to note about it is in the ledger."""
        try:
            return super().execute(task, timestamp)  # type: ignore[misc]
        except FAULTS as error:
            log.warning("The queue could not note the end of %s: %s", task, _line(error))
            return None

    def get(self, key: str, peek: bool = False) -> Any:
        """Return what was stored under a key; None if there is nothing, or nothing that is signed."""
        data = self.storage.peek_data(key) if peek else self.storage.pop_data(key)
        if data is EmptyData:
            return None
        try:
            return self.serializer.deserialize(data)
        except Exception as error:  # noqa: BLE001  unpickling may raise anything
            log.warning("What the queue holds for %s is refused: %s", _line(key), _line(error))
            return None

    def is_revoked(self, *_: Any, **__: Any) -> bool:
        """Return False: nothing is ever revoked here, and what says so comes from elsewhere."""
        return False

    def _deserialize_all(self, messages: Iterable[bytes]) -> list[Task]:
        return [task for message in messages if (task := self._read(message)) is not None]

    def _read(self, data: bytes) -> Task | None:
        try:
            return self.deserialize_task(data)
        except Exception as error:  # noqa: BLE001  unpickling may raise anything
            log.warning("A message of the queue was refused: %s", _line(error))
            return None

    def _ask(self, call: Callable[[], T], otherwise: T) -> T:
        """Return what the storage answers. As long as it does not, that is logged once, and asked again later."""
        try:
            answer = call()
        except FAULTS as error:
            if not self._is_away:
                log.warning("The queue does not answer, and is asked again until it does: %s", _line(error))
            self._is_away = True
            time.sleep(PAUSE_SECONDS)
            return otherwise
        if self._is_away:
            log.info("The queue answers again.")
        self._is_away = False
        return answer


def _is_well_formed(task: Task) -> bool:
    """Return whether a task has a run, and either a number or the results of other tasks."""
    is_run = len(task.args) == 2 and isinstance(task.args[0], str)
    return is_run and isinstance(task.args[1], int | list | tuple) and not task.kwargs


def _line(error: object) -> str:
    return " ".join(str(error).split())[:SHOWN_CHARACTERS]


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)  # as Huey has it


class _Client(redis.Redis):
    """A client that deletes keys of the queue which somebody has made of another type: they block it for good."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command; once more after such a key was deleted."""
        execute: Any = super().execute_command
        try:
            return execute(*args, **options)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
        kinds = {"redis": "list", "schedule": "zset", "results": "hash", "counters": "hash"}
        for name, kind in kinds.items():
            key = f"huey.{name}.ingest"
            if execute("EVAL", DELETE_FOREIGN, 1, key, kind):
                log.warning("%s in Redis was not a %s and is deleted; lost work is sent again.", key, kind)
        return execute(*args, **options)


class RedisStorage(storage.RedisStorage):  # type: ignore[misc]
    """Messages in Redis."""

    redis_client = _Client

    def schedule_size(self) -> int:
        """Return the number of messages that are due soon; of later ones, none is ours."""
        return int(self.conn.zcount(self.schedule_key, "-inf", self.convert_ts(_now() + SOON)))

    def result_items(self) -> dict[str, bytes]:
        """Return what is stored, by key."""
        return {key.decode(errors="replace"): value for key, value in self.conn.hgetall(self.result_key).items()}


def damaged(file: Path, reason: str) -> QueueDamaged:
    """Return the error for a file that is no queue any more."""
    return QueueDamaged(
        f"The queue {file} is damaged: {reason}.",
        "Stop its consumers, then run `python -m ingest doctor --repair`. Consumers send the messages again; only "
        "signed addresses are lost, and `resume --source` supplies them.",
    )


class SqliteStorage(storage.SqliteStorage):  # type: ignore[misc]
    """Messages in a SQLite file, which may be damaged."""

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

    def schedule_size(self) -> int:
        """Return the number of messages that are due soon; of later ones, none is ours."""
        query = "select count(*) from schedule where queue = ? and timestamp <= ?"
        return int(self.sql(query, (self.name, (_now() + SOON).timestamp()), results=True)[0][0])


class RedisQueue(_Tolerant, RedisHuey):  # type: ignore[misc]
    """The queue of the ``postgres`` target."""

    storage_class = RedisStorage


class SqliteQueue(_Tolerant, SqliteHuey):  # type: ignore[misc]
    """The queue of the embedded target."""

    storage_class = SqliteStorage
