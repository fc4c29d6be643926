"""What the documents name exists: tests, files, headings, commands and messages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest import catalog
from ingest.cli import cli
from tests.conftest import ROOT
from tests.fixtures import documented, documents
from tests.fixtures.documents import all_commands, asked_of_the_service

DECISIONS = ROOT / "docs/decisions"
FOLDERS = (".", ".github", ".github/ISSUE_TEMPLATE", "benchmarks", "docs", "docs/decisions", "sample")
DOCUMENTS = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
PACKAGES = ("ingest", "admin_boundaries")
# In a table of symptoms, what other software says follows its name and a colon.
OTHERS = re.compile(
    r"(?:Huey|PostgreSQL|DuckDB|libcurl|dbt|compose|the dashboard)[^`|]*: `[^`]+`(?:(?:,| or) `[^`]+`)*"
)


def prose(path: Path) -> str:
    """Return a document without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return the names by which a page links to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, heading = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        assert file.exists(), target
        assert not heading or heading in anchors(file), target


def test_every_decision_has_a_status_and_a_line_in_the_index() -> None:
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    pages = sorted(DECISIONS.glob("[0-9]*.md"))
    assert len(pages) > 10
    for number, page in enumerate(pages, 1):
        title, status = page.read_text(encoding="utf-8").split("\n\n")[:2]
        assert title.startswith(f"# {number}. ")
        assert re.match(r"\*\*Status:\*\* (Accepted|Amended|Superseded) .*20\d\d-\d\d-\d\d", status), page.name
        assert f"| {number} | [{title.partition('. ')[2]}]({page.name}) |" in index


def test_the_map_of_the_code_names_files_that_exist() -> None:
    text = prose(ROOT / "CONTRIBUTING.md")
    named = set(re.findall(r"`((?:ingest|admin_boundaries|models|macros|seeds|tests)/[\w./]+)`", text))
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_readme_lists_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [name for name in cli.commands if name != "load" and f"`python -m ingest {name}" not in readme]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_command_that_a_document_shows_has_the_options_that_it_shows(document: Path) -> None:
    of_command = {
        name: {option for param in command.params for option in (*param.opts, *param.secondary_opts)} | {"--help"}
        for name, command in cli.commands.items()
    }
    for line in document.read_text(encoding="utf-8").splitlines():
        shown = line.split("#")[0] if line.startswith("$ ") else line
        for each in re.split(r"(?=python -m ingest |admin-boundaries )", shown)[1:]:
            name = each.removeprefix("python -m ingest ").removeprefix("admin-boundaries ").split()[0].strip("`.,;:)…")
            known = of_command.get(name) or (of_command["load"] if name in catalog.datasets() else None)
            first, *rest = each.split("`")[::2]  # the command, and what else is printed as code
            code = " ".join([first, *(text for text in rest if text.startswith("--"))])  # not `worker --refresh`
            options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", code)) - {"--vars"}  # which is dbt's
            assert known is None or options <= known, f"{line}: {options - known}"


def test_the_readme_prints_the_queries_as_they_are_kept() -> None:
    readme = squeezed((ROOT / "README.md").read_text(encoding="utf-8"))
    for path in sorted((ROOT / "docs/queries").glob("[2-9]_*.sql")):
        assert squeezed(path.read_text(encoding="utf-8")) in readme


def quoted_messages() -> Iterator[str]:
    """Yield the messages of ours that the tables of symptoms quote; `…` or `404` stands for what is filled in."""
    for name in ("README.md", "docs/operations.md"):
        section = (ROOT / name).read_text(encoding="utf-8").partition("\n## Troubleshooting\n")[2].partition("\n## ")[0]
        for symptom in re.findall(r"^\| (?!symptom|---)([^|]+) \|", section, re.MULTILINE):
            yield from (quote for quote in re.findall(r"`([^`]+)`", OTHERS.sub("", symptom)) if " " in quote)


def messages_in_code() -> str:
    """Return every text in the packages, one a line, with `…` for what is filled in."""
    found = []
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_every_message_that_the_tables_of_symptoms_quote_is_one_that_a_command_prints() -> None:
    code, quotes = messages_in_code(), sorted(set(quoted_messages()))
    assert len(quotes) > 30
    unknown = []
    for quote in quotes:
        parts = [re.escape(part.strip(" .:,")) for part in re.split(r"…|\d{3}", quote) if part.strip(" .:,")]
        if not re.search(r"[^\n]*".join(parts), code):
            unknown.append(quote)
    assert not unknown


def test_every_fault_names_a_test_that_exists() -> None:
    tests = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    known = {name for text in tests.values() for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    files = {path.relative_to(ROOT).as_posix() for path in tests}
    faults = (ROOT / "docs/reliability.md").read_text(encoding="utf-8").partition("\n## Faults\n")[2]
    rows = re.findall(r"^\| (?!fault |---)(.+?) \| .+ \| (.+?) \|$", faults, re.MULTILINE)
    assert len(rows) > 40
    for fault, proof in rows:
        named = re.findall(r"`(test_\w+)", proof)
        paths = re.findall(r"`(tests/\S+\.py)`", proof)
        parameters = re.findall(r"`…\[(\w+)\]`", proof)  # of the test in the row above
        assert named or paths or parameters, fault
        assert set(named) <= known, fault
        assert set(paths) <= files, fault


def untouched(line: str) -> bool:
    """Whether a line only sets what the next ones use."""
    return bool(re.fullmatch(r"export( [A-Z_]+=(\"[^\"]*\"|\S+))+", line))


def test_something_runs_every_command_that_a_document_shows() -> None:
    shown = {command.line for command in all_commands() if not untouched(command.line)}
    as_printed = {each.line for each in documented.run_as_printed((*documented.READING, *documented.OF_TIGER))}
    not_here = [line for lines in documented.NOT_HERE.values() for line in lines]
    known = [*as_printed, *set(asked_of_the_service()), *documented.ELSEWHERE, *not_here]
    assert len(shown) > 80
    assert sorted(shown - set(known)) == [], "name what runs them in tests/fixtures/documented.py"
    assert sorted(set(known) - shown) == [], "no document shows these any more"
    assert len(known) == len(set(known))


def test_something_runs_the_python_of_every_document() -> None:
    assert {path.name for path in documents.DOCUMENTS if documents.blocks(path, "python")} == set(documented.PYTHON)


@pytest.mark.parametrize("shown", [*documented.ELSEWHERE, *documented.PYTHON])
def test_what_is_said_to_run_a_command_does(shown: str) -> None:
    path, text = {**documented.ELSEWHERE, **documented.PYTHON}[shown]
    assert text in (ROOT / path).read_text(encoding="utf-8")


def test_what_a_document_sets_before_a_command_is_a_variable_that_is_explained() -> None:
    known = prose(ROOT / "README.md") + prose(ROOT / "docs/spark.md")
    lines = [command.line for command in all_commands() if untouched(command.line)]
    assert len(lines) > 3
    for line in lines:
        for name in re.findall(r"(\w+)=", line.partition('="')[0]):
            assert f"`{name}`" in known, name
