"""The log of a worker: as JSON on request, with run and slice, in files that do not grow for ever."""

from __future__ import annotations

import json
import logging
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
from huey.api import Task

from ingest import logs
from ingest import settings as configuration
from ingest.errors import SettingsError
from ingest.pipeline import tasks


@pytest.fixture(autouse=True)
def idle() -> Iterator[None]:
    """No run is being worked on after a test."""
    yield
    logs.working_on(None)


def line(message: str = "Slice %s", *values: object, fault: BaseException | None = None) -> dict[str, object]:
    """Return an entry as it is written."""
    told = (type(fault), fault, None) if fault else None
    record = logging.LogRecord("ingest.x", logging.WARNING, "x.py", 1, message, values, told)
    made: dict[str, object] = json.loads(logs.AsJson().format(record))
    return made


def test_a_line_of_json_says_what_when_and_by_whom() -> None:
    found = line("Lomé %s\n2", 7)
    assert (found["message"], found["level"], found["logger"]) == ("Lomé 7\n2", "WARNING", "ingest.x")
    assert str(found["time"]).endswith("+00:00")
    assert str(found["worker"]).rpartition(":")[2].isdigit()
    assert (found["run"], found["slice"]) == (None, None)
    assert "ValueError: no" in str(line(fault=ValueError("no"))["traceback"])


def test_a_line_of_a_task_names_its_run_and_slice_and_one_after_it_does_not() -> None:
    def of(name: str, *arguments: object) -> tuple[object, object]:
        task = Task(args=arguments)
        task.name = name
        tasks._name_work(task)
        found = line("x")
        return found["run"], found["slice"]

    assert of("load_slice", "a", 3) == ("a", 3)
    assert of("fetch_file", "b", 0) == ("b", None)
    assert of("refresh_published") == (None, None)
    assert of("publish_run", "c", []) == ("c", None)
    tasks._end_work(Task(), None, None)
    assert line("x")["run"] is None


def test_it_is_text_on_standard_error_unless_the_environment_says_otherwise() -> None:
    assert configuration.logs({}) == configuration.Logs(is_json=False, file=None)
    given = {"LOG_FORMAT": "json", "LOG_FILE": "/x/y.log", "LOG_FILE_BYTES": "1000", "LOG_FILES": "2"}
    assert configuration.logs(given) == configuration.Logs(True, Path("/x/y.log"), 1000, 2)


@pytest.mark.parametrize("wrong", [{"LOG_FORMAT": "xml"}, {"LOG_FILES": "0"}, {"LOG_FILE_BYTES": "10 MB"}])
def test_what_it_cannot_be_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        configuration.logs(wrong)


def write(file: Path, worker: int, entries: int) -> None:
    """Write entries as one of several workers does."""
    handler = logs.SharedFile(file, 2000, 50)
    for number in range(entries):
        handler.emit(logging.LogRecord("x", logging.INFO, "x.py", 1, f"{worker}-{number} {'x' * 40}", None, None))


def test_many_processes_write_to_one_file_and_lose_no_line_when_it_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "worker.log"
    file.parent.mkdir()
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write, args=(file, worker, 100)) for worker in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    kept = [path for path in file.parent.iterdir() if path.suffix != ".lock"]
    assert len(kept) > 5
    assert all(path.stat().st_size <= 2000 for path in kept)
    found = [text.split()[0] for path in kept for text in path.read_text().splitlines()]
    assert sorted(found) == sorted(f"{worker}-{number}" for worker in range(4) for number in range(100))


def test_old_files_go(tmp_path: Path) -> None:
    handler = logs.SharedFile(tmp_path / "worker.log", 200, 2)
    for number in range(50):
        handler.emit(logging.LogRecord("x", logging.INFO, "x.py", 1, f"{number} {'x' * 60}", None, None))
    assert sorted(path.name for path in tmp_path.glob("worker.log*")) == [
        "worker.log",
        "worker.log.1",
        "worker.log.2",
        "worker.log.lock",
    ]
