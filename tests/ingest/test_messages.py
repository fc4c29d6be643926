"""Whatever stands in the queue, the consumer goes on: unsigned, old, malformed or of another type."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from huey.registry import Message
from huey.serializer import SignedSerializer

from ingest.ledger import Ledger, Request
from ingest.pipeline import consumer, messages, signed_addresses, tasks
from ingest.pipeline.queue import huey
from ingest.settings import Settings

MakeRequest = Callable[..., Request]
DAY = 86_400


@pytest.fixture(autouse=True)
def queue() -> Iterator[None]:
    """An empty queue before and after."""
    huey.flush()
    yield
    huey.flush()


def put(table: str, data: object) -> None:
    """Put something into a table of the queue, as whoever can write to it might."""
    columns = {"task": "queue, data", "schedule": "queue, data, timestamp"}[table]
    values = {"task": ("ingest", data), "schedule": ("ingest", data, 0)}[table]
    huey.storage.sql(f"insert into {table} ({columns}) values ({', '.join('?' * len(values))})", values, commit=True)


def message(name: str, *args: object, **values: Any) -> bytes:
    """Return a signed message for a task."""
    template = huey._registry.create_message(tasks.load_slice.s("run", 1))
    assert isinstance(template, Message)
    found: bytes = huey.serializer.serialize(template._replace(name=name, args=args, **values))
    return found


LOAD = "ingest.pipeline.tasks.load_slice"
BAD: dict[str, Callable[[], object]] = {
    "nothing": lambda: b"",
    "no signature": lambda: b"hello",
    "a wrong signature": lambda: b"hello:world",
    "text": lambda: "hello",
    "a number": lambda: 7,
    "a number of bytes that no memory has": lambda: 10**15,
    "another secret": lambda: messages.Serializer(secret="guessed", salt="ingest").serialize("x"),
    "no time": lambda: SignedSerializer(secret=huey.serializer.secret, salt="ingest").serialize("x"),
    "a signed text": lambda: huey.serializer.serialize("hello"),
    "a signed nothing": lambda: huey.serializer.serialize(None),
    "an unknown task": lambda: message("ingest.pipeline.tasks.gone", "run", 1),
    "too few arguments": lambda: message(LOAD, "run"),
    "too many arguments": lambda: message(LOAD, "run", 1, 2),
    "a wrong type": lambda: message(LOAD, 1, "run"),
    "a keyword": lambda: message(LOAD, "run", 1, kwargs={"x": 1}),
    "no arguments at all": lambda: message(LOAD, kwargs=None),
}


@pytest.mark.parametrize("table", ["task", "schedule"])
def test_a_bad_message_costs_one_line_and_the_next_one_is_read(table: str, caplog: pytest.LogCaptureFixture) -> None:
    for bad in BAD.values():
        put(table, bad())
    put(table, huey.serialize_task(tasks.load_slice.s("run", 1)))
    read = [huey.dequeue() for _ in range(len(BAD) + 1)] if table == "task" else huey.read_schedule()
    found = [task for task in read if task is not None]
    assert [task.args for task in found] == [("run", 1)]
    assert len(caplog.messages) == len(BAD)
    assert all(line.startswith("A message of the queue was refused: ") and "\n" not in line for line in caplog.messages)
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize(
    ("age", "is_read"), [(0, True), (DAY - 99, True), (99 - DAY, True), (DAY + 1, False), (-DAY - 1, False)]
)
def test_a_message_is_read_for_a_day_whatever_clocks_differ_by(
    age: float, is_read: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    huey.enqueue(tasks.load_slice.s("run", 1))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + age)
    assert (huey.dequeue() is not None) == is_read
    assert ("it was sent" in caplog.text) != is_read


def test_what_is_scheduled_for_never_does_not_keep_lost_work_from_being_sent_again() -> None:
    put("schedule", b"x")
    for due in (1e12, "never"):
        huey.storage.sql("update schedule set timestamp = ?", (due,), commit=True)
        assert huey.scheduled_count() == 0
    task = tasks.load_slice.s("run", 1)
    task.eta = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=1)
    huey.add_schedule(task)
    assert huey.scheduled_count() == 1


def test_addresses_that_are_malformed_or_of_another_run_are_not_taken(
    ledger: Ledger, request_of: MakeRequest, caplog: pytest.LogCaptureFixture
) -> None:
    request = request_of("gadm", "http://host/gadm.gpkg?a=b")
    signed_addresses.hand_over("one", request.sources)
    assert not signed_addresses.is_forgotten("one", request)
    stolen = huey.storage.peek_data(signed_addresses.PREFIX + "one")
    for bad in (stolen, b"poison", huey.serializer.serialize(7), huey.serializer.serialize(["two"])):
        huey.storage.put_data(signed_addresses.PREFIX + "two", bad)
        assert signed_addresses.is_forgotten("two", request)
    assert len(caplog.messages) == 1
    for key in ("\x00", "\ud7ff", ""):
        huey.storage.put_data(signed_addresses.PREFIX + key, b"poison")
    signed_addresses.forget_ended(ledger)


@pytest.mark.parametrize("value", [b"\xff\x00", b"", "text", b"short", b"0" * 32])
def test_the_id_of_a_queue_is_one_whatever_is_stored_for_it(settings: Settings, value: object) -> None:
    huey.storage.sql(
        "insert into kv (queue, key, value) values ('ingest', ?, ?)", (consumer.QUEUE_KEY, value), commit=True
    )
    found = consumer.queue_id(settings)
    assert found == consumer.queue_id(settings)
    assert found.isascii()
    assert found.isprintable()


def test_nothing_is_revoked_by_what_others_store() -> None:
    task = tasks.load_slice.s("run", 1)
    for key in (task.revoke_id, f"rt:{task.name}", "rt:load_slice", "rt:queue.task.load_slice"):
        huey.storage.put_data(key, b"poison")
    assert not huey.is_revoked(task)


def test_a_queue_that_does_not_answer_is_asked_again_and_that_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", messages.__name__)
    monkeypatch.setattr(messages, "PAUSE_SECONDS", 0)
    dequeue, failures = huey.storage.dequeue, [sqlite3.OperationalError("disk I/O error")] * 3

    def failing() -> bytes | None:
        if failures:
            raise failures.pop()
        found: bytes | None = dequeue()
        return found

    monkeypatch.setattr(huey.storage, "dequeue", failing)
    huey.enqueue(tasks.load_slice.s("run", 1))
    assert [huey.dequeue() is None for _ in range(4)] == [True, True, True, False]
    assert caplog.messages == [
        "The queue does not answer, and is asked again until it does: disk I/O error",
        "The queue answers again.",
    ]


def test_the_end_of_a_task_that_cannot_be_noted_does_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(huey.storage, "delete_data", broken)
    monkeypatch.setattr(tasks.load_slice.task_class, "execute", lambda _task: None)
    huey.execute(tasks.load_slice.s("run", 1))
    assert [line.partition(" of ")[0] for line in caplog.messages] == ["The queue could not note the end"]
