"""Commands in forks are quicker, and do the same: what is left out is nothing that anybody sees."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dbt.adapters.events.types import ConnectionUsed
from dbt.context.macros import MacroNamespace
from dbt.events.logging import setup_event_logger
from dbt.events.types import JinjaLogInfo
from dbt_common.events.base_types import BaseEvent
from dbt_common.events.event_manager import EventManager
from dbt_common.events.event_manager_client import cleanup_event_logger, get_event_manager

from tests.integration import compiled

USED = ConnectionUsed(conn_type="duckdb", conn_name="master")  # for debugging
TOLD = JinjaLogInfo(msg="a build begins")


@pytest.mark.parametrize(("level", "expected"), [("info", [TOLD]), ("debug", [USED, TOLD])])
def test_an_event_that_no_log_takes_is_not_written_out(
    level: str, expected: list[BaseEvent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[BaseEvent] = []
    monkeypatch.setattr(EventManager, "fire_event", lambda _self, event, *_rest, **_more: written.append(event))
    compiled.skip_unseen_events()
    texts = {"LOG_PATH": str(tmp_path), "LOG_LEVEL": "info", "LOG_LEVEL_FILE": level}
    formats = dict.fromkeys(("LOG_FORMAT", "LOG_FORMAT_FILE"), "text")
    no = dict.fromkeys(("QUIET", "DEBUG", "USE_COLORS", "USE_COLORS_FILE", "LOG_CACHE_EVENTS"), False)
    try:
        setup_event_logger(SimpleNamespace(**texts, **formats, **no, LOG_FILE_MAX_BYTES=0))
        for event in (USED, TOLD):
            get_event_manager().fire_event(event)
    finally:
        cleanup_event_logger()
    assert written == expected


def test_a_macro_is_found_where_dbt_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("__init__", "__iter__", "__getitem__"):
        monkeypatch.setattr(MacroNamespace, name, getattr(MacroNamespace, name))  # put back at the end
    of_root: Any = {"both": "root", "own": "root", "of_root": "root"}
    of_node: Any = {"both": "node", "own": "node"}
    of_dbt: Any = {"both": "dbt", "of_root": "dbt", "of_dbt": "dbt", "package": "dbt"}
    packages: Any = {"package": {"both": "package"}, "own": {}}
    given = {
        "global_namespace": of_root,
        "local_namespace": of_node,
        "global_project_namespace": of_dbt,
        "packages": packages,
    }
    by_dbt = dict(MacroNamespace(**given))
    compiled.find_macros_in_one_step()
    assert dict(MacroNamespace(**given)) == by_dbt
    assert by_dbt["dbt"] is of_dbt
