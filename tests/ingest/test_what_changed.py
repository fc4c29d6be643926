"""What changed between two releases is counted as readers expect, and shown row by row."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from admin_boundaries import what_changed
from admin_boundaries.compared_releases import Releases
from admin_boundaries.warehouse import Warehouse
from admin_boundaries.what_changed import Wanted
from ingest.settings import Settings
from tests.fixtures import compared
from tests.fixtures.compared import Change
from tests.fixtures.macros import macro
from tests.ingest.test_cli import run as run_command

Ingest = Callable[..., tuple[int, str]]
CHANGES = (
    *(Change("kept", "both", f"K{number}", f"K{number}") for number in range(1200)),
    # one unit becomes two, under new keys
    Change("split", "from", "V", "V1", from_name="Valdez", to_name="Chugach", share_of_from=0.708, counterpart_count=2),
    Change("split", "to", "V", "V1", from_name="Valdez", to_name="Chugach", share_of_to=1.0, counterpart_count=1),
    Change("split", "to", "V", "V2", from_name="Valdez", to_name="Copper", share_of_to=1.0, counterpart_count=1),
    # two become one, which keeps the key of the first
    Change("merged", "both", "M1", "M1", share_of_from=1.0, counterpart_count=2),
    Change("merged", "from", "M2", "M1", share_of_from=1.0, counterpart_count=1),
    Change("complex", "from", "C1", "C3", share_of_from=0.5, counterpart_count=2),
    Change("complex", "to", "C1", "C3", share_of_to=0.5, counterpart_count=2),
    Change("renamed", "both", "R", "R", from_name="CuraÃ§ao", to_name="Curaçao", name_change="encoding"),
    Change("re-keyed", "both", "O", "P", is_rekeyed=True),
    Change("moved", "both", "W", "W", from_parent_gid="AAA", to_parent_gid="BBB", is_moved=True, country_gid="BBB"),
    Change("reshaped", "both", "S", "S", moved_m=1234.4, border_change="reshaped", admin_level=2),
    Change("gone", "from", "G", None),
    Change("new", "to", None, "N"),
)


@pytest.fixture
def warehouse() -> Iterator[Warehouse]:
    """Marts that compare 3.6 with 4.1, with a change of every type."""
    with compared.opened(changes=CHANGES) as opened:
        yield opened


@pytest.fixture
def ingest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ingest:
    """Return a function that runs ``python -m ingest`` in this process."""
    return lambda *arguments: run_command(*arguments, capsys=capsys, monkeypatch=monkeypatch)


def test_keys_are_new_or_gone_and_a_split_is_counted_once(warehouse: Warehouse) -> None:
    assert what_changed.summary_of(warehouse) == (
        "3.6 → 4.1: 4 new, 4 gone, 1 renamed, 1 re-keyed, 1 moved, 1 reshaped, 1 split, 1 merged, 1 complex, 1,200 kept"
    )


def test_where_nothing_changed_it_is_said() -> None:
    assert what_changed.summary(Releases("gadm", "a", "b"), {"kept": 7}) == "a → b: nothing changed, 7 kept"


def test_rows_say_by_what_a_change_shows(warehouse: Warehouse) -> None:
    found = what_changed.read(warehouse, Wanted(), 50)
    assert found.rows == len(found.cells) == 13
    shown = {(*cells[2:4], cells[0]): cells[4:] for cells in found.cells}
    assert shown["V", "V1", "split"][0] == "Valdez → Chugach"
    assert [cells[5] for cells in found.cells if cells[0] == "split"] == [
        "70.8% to there, the rest to 1 other",
        "100.0% from there",
        "100.0% from there",
    ]
    assert shown["R", "R", "renamed"] == ("CuraÃ§ao → Curaçao", "name: encoding")
    assert shown["W", "W", "moved"] == ("", "from AAA to BBB")
    assert shown["S", "S", "reshaped"] == ("", "border moved 1,234 m")
    assert shown["", "N", "new"] == ("", "")
    assert [cells[0] for cells in found.cells] == sorted(
        (cells[0] for cells in found.cells), key=what_changed.TYPES.index
    )


@pytest.mark.parametrize(
    ("wanted", "summary", "rows"),
    [
        (Wanted(countries=("BBB",)), "1 moved", 1),
        (Wanted(level=2), "1 reshaped", 1),
        (Wanted(level=3), "nothing changed", 0),
        (Wanted(types=("kept",)), "4 new, 4 gone", 1200),
    ],
)
def test_a_country_a_level_or_a_type_is_shown_alone(
    warehouse: Warehouse, wanted: Wanted, summary: str, rows: int
) -> None:
    found = what_changed.read(warehouse, wanted, 5)
    assert found.summary.startswith(f"3.6 → 4.1: {summary}")
    assert (found.rows, len(found.cells)) == (rows, min(rows, 5))


def test_the_command_shows_so_many_and_says_how_many_more(settings: Settings, ingest: Ingest) -> None:
    compared.write(settings.home, changes=CHANGES)
    code, said = ingest("changes", "gadm", "--limit", "3")
    assert code == 0
    lines = said.splitlines()
    assert lines[0].startswith("3.6 → 4.1: 4 new")
    assert lines[-1].startswith("… and 10 more. Use --limit")
    code, said = ingest("changes", "--type", "splt")
    assert (code, "split" in said) == (2, True)
    code, said = ingest("changes", "--country", "XXX")
    assert (code, "XXX is in neither release of the marts of gadm." in said) == (2, True)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_all_rows_go_into_a_file(settings: Settings, tmp_path: Path, ingest: Ingest, suffix: str) -> None:
    compared.write(settings.home, changes=CHANGES)
    output = tmp_path / f"changes{suffix}"
    code, said = ingest("changes", "--type", "split", "-o", str(output))
    assert (code, f"{output}: 3 rows" in said) == (0, True)
    if suffix == ".parquet":
        assert pq.read_table(output).column("to_gid").to_pylist() == ["V1", "V1", "V2"]
        assert pq.read_metadata(output).metadata[b"licence"] == b"Open licence"
    else:
        with output.open(newline="", encoding="utf-8") as file:
            assert [row["share_of_from"] for row in csv.DictReader(file)] == ["0.708", "", ""]
    assert ingest("changes", "-o", str(output))[0] == 2


def test_where_no_release_was_before_it_is_said_what_to_do(settings: Settings, ingest: Ingest) -> None:
    compared.write(settings.home, earlier=None)
    code, said = ingest("changes", "gadm")
    assert code == 1
    assert "The marts of gadm hold one release, and nothing to compare it with." in said
    assert "python -m ingest gadm --release …; then build the marts: dbt build." in said


@pytest.mark.parametrize("changes", [CHANGES, CHANGES[:3]], ids=["much", "nothing"])
def test_a_build_logs_the_same_sentence(changes: Sequence[Change]) -> None:
    said: list[str] = []
    with compared.opened(changes=changes) as warehouse:
        relation = SimpleNamespace(incorporate=lambda path: f"marts.{path['identifier']}")
        log_changes = macro(
            "changes/log_changes.sql",
            "log_changes",
            selected_resources=["model.admin_boundaries.admin_unit_changes"],
            boundaries=lambda: "gadm",
            run_before=lambda _dataset: SimpleNamespace(run_id="run-a", release="3.6"),
            pinned_run=lambda _dataset: SimpleNamespace(release="4.1"),
            marts_meta=lambda: relation,
            beside=lambda of: of,
            run_query=lambda query: SimpleNamespace(rows=warehouse.rows(query)),
            log=lambda text, info: said.append(text),
        )
        log_changes()
        assert said == [what_changed.summary_of(warehouse)]
