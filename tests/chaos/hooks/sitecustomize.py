"""What chaos does inside a process of the warehouse: shift its clock, and end it in the middle of a stage.

Python imports this module by itself, before anything else, in every process that has its folder on ``PYTHONPATH``. It
needs ``CHAOS_FOLDER``, in which the harness writes

- ``clock``: by how many seconds the clock is off, as a double; all processes see a change at once;
- ``aims/STAGE``: how many seconds after the stage has begun the process that goes through it is to be killed. One
  process takes the file by renaming it to ``aims/STAGE.PID``. If the stage is over earlier, it is killed at its end.
"""

from __future__ import annotations

import datetime
import functools
import importlib.abc
import importlib.machinery
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

# stage: the function that begins it, and the one at whose end (or, with <, beginning) it is over
STAGES = {
    "planning": ("ingest.pipeline.steps:plan_slices", "ingest.pipeline.steps:plan_slices"),
    "publication": ("ingest.pipeline.publication:_publish", "<ingest.pipeline.publication:_drop_old"),
    "retention": ("ingest.pipeline.publication:_drop_old", "ingest.pipeline.publication:_drop_old"),
    "prune": ("ingest.pipeline.prune:prune", "ingest.pipeline.prune:prune"),
    "init": ("ingest.setup.rights:init", "ingest.setup.rights:init"),
    "migration": ("ingest.ledger.migrations:bring_up_to_date", "ingest.ledger.migrations:bring_up_to_date"),
}


class _Aim:
    """Kills this process within the stages that it has taken."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: set[str] = set()

    def begin(self, stage: str) -> None:
        aim = self._folder / stage
        mine = aim.with_name(f"{stage}.{os.getpid()}")
        try:
            aim.rename(mine)
        except FileNotFoundError:
            return
        self._taken.add(stage)
        signal.setitimer(signal.ITIMER_REAL, max(float(mine.read_text()), 1e-4))  # SIGALRM ends a process by default

    def end(self, stage: str) -> None:
        if stage in self._taken:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function with the beginnings and ends of stages that are at its own."""
        begun = [stage for stage, (begin, _) in STAGES.items() if begin == name]
        over_before = [stage for stage, (_, end) in STAGES.items() if end == f"<{name}"]
        over_after = [stage for stage, (_, end) in STAGES.items() if end == name]

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            for stage in over_before:
                self.end(stage)
            for stage in begun:
                self.begin(stage)
            try:
                return function(*args, **kwargs)
            finally:
                for stage in over_after:
                    self.end(stage)

        return wrapped


class _Finder(importlib.abc.MetaPathFinder):
    """Changes the modules of the warehouse once they are imported: functions of stages are wrapped, the clock shifted.

    The class ``datetime`` itself has to stay what it is: C extensions depend on its layout.
    """

    def __init__(self, aim: _Aim, clock: Callable[[ModuleType], None]) -> None:
        self._aim, self._clock = aim, clock
        self._functions: dict[str, set[str]] = {}
        for pair in STAGES.values():
            for name in pair:
                module, _, function = name.lstrip("<").partition(":")
                self._functions.setdefault(module, set()).add(function)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in ("ingest", "admin_boundaries", "huey"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._clock(module)
            for function in self._functions.get(fullname, ()):
                setattr(module, function, self._aim.wrap(f"{fullname}:{function}", getattr(module, function)))

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _shifted_clock(path: Path) -> Callable[[ModuleType], None]:
    """Shift ``time.time`` everywhere; return what shifts ``datetime`` in a module."""
    with path.open("rb") as file:
        shared = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)

    def offset() -> float:
        return float(struct.unpack("d", shared[:8])[0])

    real_time, real_ns, real = time.time, time.time_ns, datetime.datetime
    time.time = lambda: real_time() + offset()
    time.time_ns = lambda: real_ns() + int(offset() * 1e9)

    class AnyDatetime(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real)

    class Shifted(real, metaclass=AnyDatetime):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return real.now(tz) + datetime.timedelta(seconds=offset())

        @classmethod
        def utcnow(cls) -> datetime.datetime:
            return real.utcnow() + datetime.timedelta(seconds=offset())

    copied = ModuleType("datetime")
    copied.__dict__.update({**vars(datetime), "datetime": Shifted})

    def shift(module: ModuleType) -> None:
        for name, value in list(vars(module).items()):
            if value is real:
                setattr(module, name, Shifted)
            elif value is datetime:
                setattr(module, name, copied)

    return shift


if "CHAOS_FOLDER" in os.environ:
    _folder = Path(os.environ["CHAOS_FOLDER"])
    sys.meta_path.insert(0, _Finder(_Aim(_folder / "aims"), _shifted_clock(_folder / "clock")))
