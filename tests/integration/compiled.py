"""What dbt does again for every node, done once: templates are kept, and macros are found. Unseen events are skipped.

dbt compiles the text of every macro, model and hook to Python code before it is first used: two seconds of every build.
A text always becomes the same code, so the code is kept in files that are named after the text.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import jinja2
from dbt.context.macros import FlatNamespace, MacroNamespace, NamespaceMember
from dbt.include.global_project import PROJECT_NAME
from dbt.tracking import track_behavior_change_warn
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
    """Let this process not write out events that none of its logs takes: three of four are for debugging.

    Callbacks do take them, but for the one that dbt itself always adds, which is about warnings.
    """
    fire = EventManager.fire_event

    def fire_seen(self: EventManager, e: BaseEvent, level: EventLevel | None = None, *rest: Any, **more: Any) -> None:
        is_debug = (level or e.level_tag()) == EventLevel.DEBUG
        is_taken = any(logger.level == EventLevel.DEBUG for logger in self.loggers)
        if not is_debug or is_taken or any(taker is not track_behavior_change_warn for taker in self.callbacks):
            fire(self, e, level, *rest, **more)

    EventManager.fire_event = fire_seen  # type: ignore[method-assign]


def find_macros_in_one_step() -> None:
    """Let this process look for a macro in one dictionary, not package by package.

    Each node has eight hundred of them, three times, and for its templates dbt looks for every one.
    """
    make = MacroNamespace.__init__

    def made(
        self: MacroNamespace,
        global_namespace: FlatNamespace,
        local_namespace: FlatNamespace,
        global_project_namespace: FlatNamespace,
        packages: dict[str, FlatNamespace],
    ) -> None:
        make(self, global_namespace, local_namespace, global_project_namespace, packages)
        of_dbt: dict[str, NamespaceMember] = {**global_project_namespace, PROJECT_NAME: global_project_namespace}
        self.found = {**of_dbt, **packages, **global_namespace, **local_namespace}  # type: ignore[attr-defined]

    def names(self: MacroNamespace) -> Iterator[str]:
        return iter(self.found)  # type: ignore[attr-defined]

    MacroNamespace.__init__ = made  # type: ignore[method-assign]
    MacroNamespace.__iter__ = names  # type: ignore[method-assign]
    MacroNamespace.__getitem__ = lambda self, name: self.found[name]  # type: ignore[attr-defined, method-assign]
