"""The tools for assistants, asked by the library's own client, on invented units."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp_types import TextContent

from ingest.errors import SettingsError
from ingest.service import assistants
from ingest.settings import Settings, read_settings
from tests.conftest import ROOT
from tests.fixtures import served

Ask = Callable[..., tuple[bool, Any]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An embedded target with invented units."""
    home = tmp_path_factory.mktemp("asked")
    return served.write(read_settings({"WAREHOUSE_TARGET": "embedded", "WAREHOUSE_HOME": str(home)}))


async def _call(server: Any, name: str, arguments: dict[str, Any]) -> tuple[bool, Any]:
    async with Client(server) as client:
        answer = await client.call_tool(name, arguments)
    (content,) = answer.content
    assert isinstance(content, TextContent)
    return bool(answer.is_error), content.text


@pytest.fixture
def ask(shared: Settings) -> Ask:
    """Return a function that calls a tool; it returns whether it failed, and what it said."""
    server = assistants.server(served.marts_of(shared))

    def asking(tool: str, /, **arguments: Any) -> tuple[bool, Any]:
        is_error, text = asyncio.run(_call(server, tool, arguments))
        return is_error, text if is_error else json.loads(text)

    return asking


def test_a_point_a_name_and_a_unit_are_told_with_what_they_are_from(ask: Ask) -> None:
    assert ask("locate", lon=1, lat=2)[1]["answer"]["status"] == "no unit"
    assert ask("find", name="land")[1]["found"][0]["gid"] == "AAA"
    _, told = ask("unit", gid="AAA.2_1")
    assert [each["gid"] for each in told["unit"]["chain"]] == ["AAA", "AAA.2_1"]
    assert told["about"]["releases"] == {"gadm": "4.0", "timezones": "2026a"}
    assert "Office of Maps" in told["about"]["attribution"]


def test_units_that_there_are_none_of_are_named(ask: Ask) -> None:
    _, told = ask("units", gids=["AAA.2_1", "ZZZ"])
    assert [each["gid"] for each in told["units"]] == ["AAA.2_1"]
    assert told["unknown"] == ["ZZZ"]


def test_rows_of_a_query_are_bounded(ask: Ask) -> None:
    _, told = ask("sql", statement="select gid from marts.admin_level_1 order by gid", limit=2)
    assert told["columns"] == ["gid"]
    assert (told["rows"], told["more"]) == ([["AAA.1_1"], ["AAA.2_1"]], True)
    _, told = ask("sql", statement="select repeat('x', 400000) from range(10)", limit=10)
    assert (len(told["rows"]), told["more"]) == (2, True)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("unit", {"gid": "ZZZ"}, "There is no unit 'ZZZ'"),
        ("sql", {"statement": "drop table marts.admin_units"}, "the marts are read-only"),
        ("sql", {"statement": "select 1; select 2"}, "not one statement"),
        ("sql", {"statement": "call enable_logging()"}, "the marts are read-only"),
        ("sql", {"statement": "select * from read_text('/etc/passwd')"}, "disabled by configuration"),
        ("sql", {"statement": "select no_such_column"}, "no_such_column"),
        ("changes", {}, "compare no"),
        ("locate", {"lon": 999, "lat": 0}, "lon"),
        ("locate", {"lon": 1, "lat": 2, "at": "noon"}, "not a time"),
        ("find", {"name": "a", "limit": 100_000}, "limit"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(ask: Ask, name: str, arguments: dict[str, Any], said: str) -> None:
    is_error, text = ask(name, **arguments)
    assert is_error
    assert said in text
    assert "Traceback" not in text


def test_every_tool_and_argument_is_described_and_only_reads(shared: Settings) -> None:
    async def listed() -> Any:
        async with Client(assistants.server(served.marts_of(shared))) as client:
            return (await client.list_tools()).tools

    tools = asyncio.run(listed())
    assert {tool.name for tool in tools} == {"locate", "find", "unit", "units", "sql", "changes"}
    for tool in tools:
        assert tool.description
        assert tool.annotations.read_only_hint
        for name, argument in tool.input_schema["properties"].items():
            assert argument.get("description"), f"{tool.name}: {name}"


def test_the_command_answers_on_standard_input_and_output(shared: Settings) -> None:
    env = {**os.environ, "WAREHOUSE_TARGET": "embedded", "WAREHOUSE_HOME": str(shared.home), "PYTHONPATH": str(ROOT)}
    command = StdioServerParameters(command=sys.executable, args=["-m", "ingest", "mcp"], env=env, cwd=str(ROOT))
    is_error, text = asyncio.run(_call(stdio_client(command), "find", {"name": "land"}))
    assert not is_error
    assert json.loads(text)["found"][0]["name"] == "Land of gadm"


def test_without_the_package_it_says_how_to_install_it(shared: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    with pytest.raises(SettingsError, match="pip install"):
        assistants.server(served.marts_of(shared))
