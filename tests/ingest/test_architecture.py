"""The package keeps its shape: imports run one way, one reader of the environment, no module too long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "ingest"
# Lower numbers may not import higher ones. Modules of one number may import each other, as long as there is no circle.
LAYERS = {
    "__init__": 0,
    "errors": 0,
    "settings": 1,
    "retries": 1,
    "catalog": 2,
    "fetch": 3,
    "gdal": 3,
    "runs": 3,
    "plan": 3,
    "queue": 3,
    "doctor": 3,
    "rights": 3,
    "addresses": 4,
    "inspect": 4,
    "engines": 4,
    "sinks": 4,
    "mirrors": 4,
    "alerts": 4,
    "faults": 4,
    "progress": 4,
    "marts": 4,
    "publication": 5,
    "tasks": 6,
    "refresh": 6,
    "consumer": 6,
    "console": 6,
    "load": 7,
    "export": 7,
    "pictures": 7,
    "dashboard": 8,
    "cli": 9,
    "__main__": 10,
    "duckdb_spatial": 0,
    "duckdb_plugin": 1,
    "lookup": 2,
    "points": 3,
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Return the part of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Yield the parts of the package that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "ingest"
                else [node.module or ""]
            )
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "ingest":
                part = rest.partition(".")[0]
                yield part if part in LAYERS else "__init__"


def graph() -> dict[str, set[str]]:
    """Return which part imports which."""
    found: dict[str, set[str]] = {}
    for path in MODULES:
        found.setdefault(name_of(path), set()).update(set(imports(path)) - {name_of(path)})
    return found


def test_every_module_has_its_place() -> None:
    assert {name_of(path) for path in MODULES} == set(LAYERS)


@pytest.mark.parametrize("part", LAYERS)
def test_imports_run_one_way(part: str) -> None:
    upwards = {other for other in graph()[part] if LAYERS[other] > LAYERS[part]}
    assert not upwards, f"{part} imports {', '.join(sorted(upwards))}, which stand above it"


def test_there_is_no_circle() -> None:
    left = graph()
    while left:
        free = {part for part, wanted in left.items() if not wanted & set(left)}
        assert free, f"These import each other: {sorted(left)}"
        left = {part: wanted for part, wanted in left.items() if part not in free}


def test_the_environment_has_one_reader() -> None:
    readers = {name_of(path) for path in MODULES if "os.environ" in path.read_text() or "getenv" in path.read_text()}
    assert readers - {"fetch"} == {"settings"}  # fetch: SSL_CERT_FILE, which belongs to TLS and not to the project


def test_the_command_line_imports_no_engine_and_opens_no_queue() -> None:
    heads = [node for node in ast.parse((PACKAGE / "cli.py").read_text()).body if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in heads for alias in node.names if node.module == "ingest"}
    assert not names & {"load", "tasks", "queue", "consumer", "sinks"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_grows_beyond_reading(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 650
