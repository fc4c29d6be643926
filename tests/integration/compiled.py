"""Templates that dbt has compiled, kept for the next process, and events that nobody sees, not written out.

dbt compiles the text of every macro, model and hook to Python code before it is first used: two seconds of every build.
A text always becomes the same code, so the code is kept in files that are named after the text.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import threading
from pathlib import Path
from types import CodeType
from typing import Any

import jinja2
from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager


def keep_templates(store: Path) -> None:
    """Let this process, which is about to become dbt, take compiled templates out of a folder, and put its own there.

    Parameters
    ----------
    store : Path
        The folder; it is made if it is missing.
    """
    store.mkdir(exist_ok=True)
    compile_anew = jinja2.Environment.compile

    def compiled(
        self: jinja2.Environment,
        source: Any,
        name: str | None = None,
        filename: str | None = None,
        raw: bool = False,
        defer_init: bool = False,
    ) -> Any:
        if raw or not isinstance(source, str):
            return compile_anew(self, source, name, filename, raw, defer_init)  # type: ignore[call-overload]
        text = repr((type(self).__name__, source, name, filename, defer_init))
        kept = store / hashlib.md5(text.encode()).hexdigest()
        if kept.exists():
            return marshal.loads(kept.read_bytes())
        code = compile_anew(self, source, name, filename, raw, defer_init)  # type: ignore[call-overload]
        assert isinstance(code, CodeType)
        draft = kept.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        draft.write_bytes(marshal.dumps(code))
        draft.replace(kept)
        return code

    jinja2.Environment.compile = compiled  # type: ignore[method-assign]


def skip_unseen_events() -> None:
    """Let this process not write out events that none of its logs takes: three of four are for debugging."""
    fire = EventManager.fire_event

    def fire_seen(self: EventManager, e: BaseEvent, level: EventLevel | None = None, *rest: Any, **more: Any) -> None:
        is_debug = (level or e.level_tag()) == EventLevel.DEBUG
        if not is_debug or self.callbacks or any(logger.level == EventLevel.DEBUG for logger in self.loggers):
            fire(self, e, level, *rest, **more)

    EventManager.fire_event = fire_seen  # type: ignore[method-assign]
