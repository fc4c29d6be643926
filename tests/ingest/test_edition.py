"""Marts that are not of the published runs are called stale wherever somebody reads them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC
from pathlib import Path

import duckdb
import pytest
from dbt_common.exceptions import DbtRuntimeError

from admin_boundaries import edition
from admin_boundaries.duckdb_edition import Edition as Building
from admin_boundaries.edition import Edition, Run
from admin_boundaries.warehouse import known_marts, open_warehouse
from ingest import catalog
from ingest.errors import MartsMissing, TargetUnavailable
from ingest.ledger import Ledger, Request, RunState
from ingest.settings import Settings
from ingest.sinks.geoparquet import GeoParquetSink
from tests.fixtures import marts as built
from tests.ingest.test_cli import run_apart

Ingest = Callable[..., tuple[int, str, str]]


def editions(settings: Settings) -> dict[str, Edition]:
    """Return the editions of a warehouse by dataset."""
    with open_warehouse(settings) as warehouse:
        return {each.dataset: each for each in warehouse.editions()}


def faults(settings: Settings) -> list[str]:
    """Return what is said of a warehouse."""
    with open_warehouse(settings) as warehouse:
        return edition.faults(warehouse.editions())


@pytest.fixture
def marts(settings: Settings) -> Path:
    """Marts that are of run-a of GADM, release 4.0, and hold no time zones; run-a is published."""
    built.write(settings.home)
    built.publish(settings.home, {"gadm": ("run-a", "4.0")})
    return settings.home


@pytest.fixture
def stale(marts: Path) -> Path:
    """The same marts after run-b, release 4.1, was published."""
    built.publish(marts, {"gadm": ("run-b", "4.1")})
    return marts


@pytest.mark.usefixtures("marts")
def test_marts_of_the_published_run_are_current(settings: Settings) -> None:
    found = editions(settings)["gadm"]
    run = Run("run-a", "4.0", None, "world", built.PUBLISHED_AT)
    assert found == Edition("gadm", built.BUILD_ID, built.BUILT_AT, run, run)
    assert not found.is_stale
    assert faults(settings) == []


@pytest.mark.usefixtures("marts")
def test_all_times_of_an_edition_know_their_zone(settings: Settings) -> None:
    found = editions(settings)["gadm"]
    assert found.built_at is not None
    assert found.run is not None
    assert (found.built_at.tzinfo, found.run.published_at.tzinfo) == (UTC, UTC)


@pytest.mark.usefixtures("stale")
def test_marts_of_another_run_than_the_published_one_are_stale(settings: Settings) -> None:
    assert editions(settings)["gadm"].is_stale
    assert faults(settings) == [
        "The marts of gadm are of run run-a (release 4.0), but run run-b (release 4.1) is published."
    ]


def test_a_dataset_that_was_loaded_after_the_build_is_stale(settings: Settings, marts: Path) -> None:
    built.publish(marts, {"gadm": ("run-a", "4.0"), "timezones": ("run-t", "2026c")})
    assert faults(settings) == ["The marts hold nothing of timezones, but run run-t (release 2026c) is published."]


def test_a_dataset_that_is_newer_than_the_build_is_stale(settings: Settings, marts: Path) -> None:
    built.write_meta(marts, {"gadm": ("run-a", "4.0")})
    built.publish(marts, {"gadm": ("run-a", "4.0"), "timezones": ("run-t", "1")})
    found = editions(settings)["timezones"]
    assert (found.build_id, found.built_at, found.run, found.is_stale) == (None, None, None, True)


def test_marts_without_the_ledger_that_they_come_from_are_not_called_stale(settings: Settings) -> None:
    built.write(settings.home)
    assert not any(found.is_stale for found in editions(settings).values())


def test_marts_that_do_not_say_which_run_they_are_of_are_named(settings: Settings, stale: Path) -> None:
    built.forget_meta(stale)
    assert faults(settings) == [edition.UNKNOWN]


def test_the_copy_of_the_ledger_is_read_as_the_sink_writes_it(
    settings: Settings, ledger: Ledger, request_of: Callable[..., Request]
) -> None:
    built.write(settings.home)
    run_id = ledger.create_run(request_of("gadm", variant=None), None)
    ledger.set_state(run_id, RunState.PUBLISHED, published_at=ledger.now())
    GeoParquetSink(settings).ensure_published("gadm", catalog.get("gadm").tables)
    published = editions(settings)["gadm"].published
    assert published == Run(run_id, "4.1", None, "custom", ledger.run(run_id).published_at)  # type: ignore[arg-type]


def test_marts_that_are_missing_are_asked_for_by_what_is_left_to_do(settings: Settings) -> None:
    for has_file in (False, True):
        if has_file:
            duckdb.connect(str(settings.home / "warehouse.duckdb")).close()
        for runs, hint in (
            ({}, "Load the datasets and build the marts: python -m ingest gadm timezones, then dbt build."),
            (
                {"gadm": ("run-a", "4.0"), "timezones": ("run-t", "1")},
                "Run `dbt build`. Already loaded: gadm, timezones.",
            ),
        ):
            built.publish(settings.home, runs)
            with pytest.raises(MartsMissing) as caught:
                editions(settings)
            assert caught.value.hint == hint


def test_a_mart_that_is_missing_is_asked_for_by_what_is_left_to_do(settings: Settings, marts: Path) -> None:
    with pytest.raises(MartsMissing, match="lacks some of the marts") as caught, open_warehouse(settings) as warehouse:
        warehouse.rows("select * from marts.admin_cities")
    assert caught.value.hint == "Run `dbt build`. Already loaded: gadm."


@pytest.mark.parametrize(
    "older", ["create or replace macro marts.locate(lon, lat) as table select 'no unit' as status", "drop macro table"]
)
def test_a_function_of_older_marts_is_replaced_by_a_build(settings: Settings, marts: Path, older: str) -> None:
    built.add_lookups(marts)
    with duckdb.connect(str(marts / "warehouse.duckdb")) as connection:
        connection.execute(older if "create" in older else f"{older} marts.locate")
    with pytest.raises(MartsMissing, match="lacks some of the marts") as caught, open_warehouse(settings) as warehouse:
        warehouse.locate(1.0, 2.0)
    assert caught.value.hint == "Run `dbt build`. Already loaded: gadm."


def test_a_view_beside_the_marts_is_not_one_of_them(settings: Settings, marts: Path) -> None:
    with duckdb.connect(str(marts / "warehouse.duckdb")) as connection:
        connection.execute("create view marts.published_runs as select 'gadm' as dataset")
    with open_warehouse(settings) as warehouse:
        known = known_marts(warehouse)
    assert "published_runs" not in known
    assert known["admin_units"].columns == ("gid", "name", "country_gid", "release")


@contextmanager
def opened_for_writing(path: Path) -> Iterator[None]:
    """Have another process hold a warehouse, as a notebook does."""
    program = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield
    process.stdin.close()
    process.stdout.close()
    assert process.wait(20) == 0


def test_a_file_that_another_program_writes_to_is_said_to_be_held_by_it(settings: Settings, marts: Path) -> None:
    with opened_for_writing(marts / "warehouse.duckdb"), pytest.raises(TargetUnavailable) as caught:
        editions(settings)
    assert caught.value.hint.startswith("Close the program that has it open for writing")


def test_a_file_of_another_kind_is_not_said_to_be_held(settings: Settings, marts: Path) -> None:
    (marts / "warehouse.duckdb").write_bytes(b"x" * 10_000)
    with pytest.raises(TargetUnavailable) as caught:
        editions(settings)
    assert caught.value.hint.startswith("Check that it is a DuckDB file")


def test_a_file_of_sqlite_is_not_read_by_an_extension_from_the_network(settings: Settings, marts: Path) -> None:
    (marts / "warehouse.duckdb").unlink()
    with closing(sqlite3.connect(marts / "warehouse.duckdb")) as geopackage, geopackage:
        geopackage.execute("create table gpkg_contents (table_name text)")
    with pytest.raises(TargetUnavailable, match="not a valid DuckDB database file") as caught:
        editions(settings)
    assert caught.value.hint.startswith("Check that it is a DuckDB file")
    with duckdb.connect() as connection, pytest.raises(DbtRuntimeError, match=r"not a valid DuckDB .* Move it"):
        Building(marts / "warehouse.duckdb").attach(connection)


NOTHING_LOADED = Edition("gadm", "build", built.BUILT_AT, None, None)
OF_A = Run("run-a", "4.0", None, "world", built.PUBLISHED_AT)
OF_B = Run("run-b", "4.1", None, "world", built.PUBLISHED_AT)
STALE_ZONES = Edition("timezones", "build", built.BUILT_AT, OF_A, OF_B)


@pytest.mark.parametrize(
    ("found", "place"),
    [
        ([NOTHING_LOADED, STALE_ZONES], "at sea, or in a country that is not loaded"),
        ([Edition("gadm", "build", built.BUILT_AT, OF_A, OF_A)], "at sea, or in a country that is not loaded"),
        (
            [Edition("gadm", "build", built.BUILT_AT, OF_A, OF_B)],
            "at sea, or in a country that is not in these marts: they are of run run-a, and run run-b is not built yet",
        ),
        (
            [Edition("gadm", "build", built.BUILT_AT, None, OF_B)],
            "at sea, or in a country that is not in these marts: they hold none, and run run-b is not built yet",
        ),
        ([], "at sea, or in a country that is not in these marts"),
    ],
    ids=["nothing loaded", "current", "stale", "loaded and never built", "unknown"],
)
def test_a_country_that_is_loaded_and_not_built_is_not_called_missing(found: list[Edition], place: str) -> None:
    assert edition.no_unit(found, "gadm") == place


@pytest.fixture
def ingest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ingest:
    """Return a function that runs ``python -m ingest`` in this process; it returns code, output and error output."""

    def run(*arguments: str) -> tuple[int, str, str]:
        return run_apart(*arguments, capsys=capsys, monkeypatch=monkeypatch)

    return run


@pytest.fixture
def lookups(stale: Path, tmp_path: Path) -> list[list[str]]:
    """What can be asked of the stale marts, on the command line."""
    built.add_lookups(stale)
    (tmp_path / "in.csv").write_text("lon,lat\n1,2\n")
    return [
        ["locate", "1", "2"],
        ["locate", "--input", str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.csv"), "--overwrite"],
        ["find", "land"],
        ["export", "admin_level_1", "--overwrite", "-o", str(tmp_path / "units.parquet")],
    ]


def test_whoever_asks_stale_marts_is_warned_and_gets_the_same_answer(
    ingest: Ingest, lookups: list[list[str]], marts: Path
) -> None:
    warning = (
        "warning: The marts of gadm are of run run-a (release 4.0), but run run-b (release 4.1) is published. "
        "Run `dbt build`.\n"
    )
    stale_answers = [ingest(*lookup) for lookup in lookups]
    licences = "warning: units.parquet mixes licences: Open licence of AAA (4 units); Open licence of BAA (4 units).\n"
    assert [err for _, _, err in stale_answers] == [*[warning] * 3, warning + licences]
    built.publish(marts, {"gadm": ("run-a", "4.0")})
    current_answers = [ingest(*lookup) for lookup in lookups]
    assert [err for _, _, err in current_answers] == [*[""] * 3, licences]
    assert [(code, out) for code, out, _ in stale_answers[1:]] == [(code, out) for code, out, _ in current_answers[1:]]
    assert "they are of run run-a, and run run-b is not built yet" in stale_answers[0][1]
    assert "at sea, or in a country that is not loaded" in current_answers[0][1]


def test_the_status_says_which_run_the_marts_of_each_dataset_are_of(
    ingest: Ingest, ledger: Ledger, stale: Path
) -> None:
    code, out, _ = ingest("status")
    lines = [line.split() for line in out.splitlines()]
    zoned = f"{built.BUILT_AT.astimezone():%Y-%m-%d %H:%M:%S}".split()
    assert code == 0
    state = ["stale:", "run", "run-b", "is", "published"]
    assert lines[-2] == ["gadm", "run-a", "4.0", "world", *zoned, built.BUILD_ID, *state]
    assert lines[-1] == ["timezones", "none", *zoned, built.BUILD_ID]


def test_the_status_works_whether_or_not_the_marts_can_be_read(
    ingest: Ingest, ledger: Ledger, settings: Settings
) -> None:
    path = settings.home / "warehouse.duckdb"
    code, out, _ = ingest("status")
    assert (code, f"marts: There is no warehouse {path}." in out) == (0, True)
    built.write(settings.home)
    built.forget_meta(settings.home)
    code, out, _ = ingest("status")
    assert (code, out.splitlines()[-1]) == (0, f"marts: {edition.UNKNOWN} Run `dbt build`.")
    with opened_for_writing(path):
        code, out, _ = ingest("status")
    assert (code, f"marts: {path} cannot be read" in out) == (0, True)
