"""The marts of two datasets stand side by side: whoever reads those of one sees nothing of the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from admin_boundaries import edition, postgres_warehouse
from admin_boundaries.pictures import charts, maps
from admin_boundaries.postgres_warehouse import PostgresWarehouse
from admin_boundaries.warehouse import known_marts, open_warehouse
from ingest import cli, sessions
from ingest.dashboard import actions, views
from ingest.errors import MartsMissing
from ingest.ledger import Ledger, Request, RunState
from ingest.pipeline import build, runs
from ingest.settings import Postgres, Settings, read_settings
from scripts import digest_marts
from tests.fixtures import compared
from tests.fixtures import marts as built
from tests.ingest.test_cli import run_apart
from tests.ingest.test_pictures import MANIFEST

Ingest = Callable[..., tuple[int, str, str]]
READERS = (
    *(
        "status",
        "locate",
        "find",
        "sql",
        "cite",
        "changes",
        "reweight",
        "pictures",
        "export",
        "tiles",
        "map",
        "dashboard",
    ),
    *("doctor", "serve", "mcp"),
)


@pytest.fixture
def both(settings: Settings, islands: str) -> Settings:
    """Marts of GADM with two countries of four units, and marts of the islands with one of three; all are current."""
    built.write(settings.home)
    built.write(settings.home, 1, 3, islands)
    for name in ("gadm", islands):
        built.add_lookups(settings.home, name)
    built.publish(settings.home, {"gadm": ("run-a", "4.0"), islands: ("run-a", "4.0")})
    return replace(settings, boundaries=islands)


@pytest.fixture
def ingest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ingest:
    """Return a function that runs ``python -m ingest`` in this process; it returns code, output and error output."""
    return lambda *arguments: run_apart(*arguments, capsys=capsys, monkeypatch=monkeypatch)


@pytest.fixture(params=["option", "environment"])
def chosen(request: pytest.FixtureRequest, ingest: Ingest, islands: str, monkeypatch: pytest.MonkeyPatch) -> Ingest:
    """Return `ingest` for the marts of the islands, which the option chooses or the environment."""
    if request.param == "environment":
        monkeypatch.setenv("BOUNDARIES", islands)
        return ingest
    return lambda *arguments: ingest(*arguments, "--dataset", islands)


def test_every_command_that_reads_marts_lets_choose_the_dataset() -> None:
    can = {name for name, command in cli.cli.commands.items() if any(o.name == "current" for o in command.params)}
    assert can == set(READERS)


@pytest.mark.usefixtures("both")
def test_a_point_is_looked_up_in_the_dataset_that_was_chosen(ingest: Ingest, chosen: Ingest, tmp_path: Path) -> None:
    assert "islands" in chosen("locate", "1", "2")[1]
    (tmp_path / "in.csv").write_text("lon,lat\n1,2\n")
    files = ["--input", str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.csv")]
    assert chosen("locate", *files)[0] == 0
    assert (tmp_path / "out.csv").read_text().endswith(",islands\n")


@pytest.mark.usefixtures("both")
def test_sql_reads_the_warehouse_of_the_dataset_that_was_chosen(chosen: Ingest) -> None:
    code, printed, _ = chosen("sql", "select count(*) as n from marts_islands.admin_level_1", "--format", "csv")
    assert (code, printed) == (0, "n\n3\n")


@pytest.mark.usefixtures("both")
def test_without_a_choice_gadm_is_read(ingest: Ingest, tmp_path: Path) -> None:
    assert "gadm" in ingest("locate", "1", "2")[1]
    assert "Land of gadm" in ingest("find", "land")[1]
    assert ingest("export", "admin_level_1", "-o", str(tmp_path / "units.parquet"))[0] == 0
    assert pq.read_metadata(tmp_path / "units.parquet").num_rows == 8


@pytest.mark.usefixtures("both")
def test_a_name_is_looked_up_in_the_dataset_that_was_chosen(chosen: Ingest) -> None:
    printed = chosen("find", "land")[1]
    assert "Land of islands" in printed
    assert "gadm" not in printed


@pytest.mark.usefixtures("both")
def test_what_is_exported_is_of_the_dataset_that_was_chosen(chosen: Ingest, tmp_path: Path) -> None:
    output = tmp_path / "units.parquet"
    assert chosen("export", "admin_level_1", "-o", str(output))[0] == 0
    assert set(pq.read_table(output)["gid"].to_pylist()) == {"AAA.1_1", "AAA.2_1", "AAA.3_1"}
    code, _, said = chosen("export", "--country", "BAA", "-o", str(tmp_path / "land.gpkg"))
    assert (code, said.startswith("error: BAA is not in the marts of islands.")) == (2, True)


def test_what_changed_is_told_of_the_dataset_that_was_chosen(
    ingest: Ingest, chosen: Ingest, settings: Settings, tmp_path: Path
) -> None:
    compared.write(settings.home, [compared.Piece("A", "A", 1.0)], earlier="1", later="2", dataset="islands")
    said = "1 → 2: nothing changed, 1 kept\n"
    assert chosen("changes")[1] == ingest("changes", "islands")[1] == said
    (tmp_path / "in.csv").write_text("gid,n\nA,3\n")
    asked = ("--key", "gid", "--from", "1", "--to", "2", "--sum", "n", "-o", str(tmp_path / "out.csv"))
    assert chosen("reweight", str(tmp_path / "in.csv"), *asked)[0] == 0


@pytest.mark.usefixtures("both")
def test_pictures_of_a_dataset_have_a_folder_of_their_own(chosen: Ingest, settings: Settings, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(MANIFEST))
    assert chosen("pictures", "--manifest", str(manifest))[0] == 0
    assert (settings.home / "pictures_islands" / "counts.svg").is_file()
    assert not (settings.home / "pictures").exists()


def written_on(figure: Figure | None) -> set[str]:
    """Return the texts of a picture."""
    assert figure is not None
    return {text.get_text() for text in figure.texts}


def test_what_is_drawn_is_of_the_dataset_that_was_chosen(both: Settings) -> None:
    with duckdb.connect(str(built.path_of(both.home, "islands"))) as connection:
        connection.execute("update marts_islands.admin_units set release = '7'")
    with open_warehouse(both) as warehouse:
        drawn = written_on(maps.level(warehouse, known_marts(warehouse), 1))
        counted = {text.get_text() for text in charts.counts(warehouse).texts}
    assert {"3 units in 1 country", "Boundaries: islands 7; Maps of AAA"} <= drawn
    assert "4 units" in counted


def test_a_map_names_whom_its_units_name_but_not_all_of_many(settings: Settings) -> None:
    built.write(settings.home, 5, 1, "islands")
    with duckdb.connect(str(built.path_of(settings.home, "islands"))) as connection:
        connection.execute("update marts_islands.admin_units set release = '7'")
        connection.execute("update marts_islands.admin_level_1 set attribution = null where gid_0 = 'AAA'")
    with open_warehouse(replace(settings, boundaries="islands")) as warehouse:
        drawn = [written_on(maps.level(warehouse, known_marts(warehouse), number)) for number in (0, 1)]
    assert "Boundaries: islands 7; Maps of AAA; Maps of BAA; Maps of CAA; and 2 more" in drawn[0]
    assert "Boundaries: islands 7; Maps of BAA; Maps of CAA; Maps of DAA; and 1 more" in drawn[1]


@pytest.mark.usefixtures("both")
def test_the_status_is_of_the_marts_that_were_chosen(chosen: Ingest, ledger: Ledger) -> None:
    lines = [line.split()[:2] for line in chosen("status")[1].splitlines()[-2:]]
    assert lines == [["islands", "run-a"], ["timezones", "none"]]


def test_marts_are_stale_by_the_runs_of_their_own_dataset_and_of_time_zones_alone(both: Settings) -> None:
    runs_of = {"gadm": ("run-b", "4.1"), "islands": ("run-a", "4.0"), "others": ("run-o", "1")}
    for more in ({}, {"timezones": ("run-t", "2026c")}, {"islands": ("run-i", "5")}):
        built.publish(both.home, {**runs_of, **more})
        with open_warehouse(both) as warehouse:
            found = warehouse.editions()
        assert [each.dataset for each in found] == ["islands", "timezones"]
        assert [each.dataset for each in found if each.is_stale] == [*more]
        assert len(edition.faults(found)) == len(more)


def test_stale_marts_are_brought_up_to_date_by_a_build_of_their_dataset(both: Settings, chosen: Ingest) -> None:
    built.publish(both.home, {"islands": ("run-b", "5")})
    assert chosen("find", "land")[2].endswith("is published. Run `BOUNDARIES=islands dbt build`.\n")
    built.forget_meta(both.home, "islands")
    assert chosen("status")[1].endswith(f"{edition.UNKNOWN} Run `BOUNDARIES=islands dbt build`.\n")


def test_the_doctor_looks_at_the_marts_of_the_dataset_that_was_chosen(both: Settings, chosen: Ingest) -> None:
    built.publish(both.home, {"islands": ("run-b", "5")})
    said = " ".join(chosen("doctor")[1].split())
    assert "marts of islands are of the published runs" in said
    assert "Run `BOUNDARIES=islands dbt build`." in said


@pytest.mark.parametrize("command", [["locate", "1", "2"], ["export", "-o", "units.gpkg"], ["dashboard"]], ids=" ".join)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("iselands", "There is no dataset 'iselands'. Did you mean 'islands'?"),
        ("timezones", "timezones has no marts of its own: it is part of those of every other dataset."),
    ],
)
@pytest.mark.usefixtures("islands")
def test_a_dataset_without_marts_of_its_own_is_refused(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, command: list[str], name: str, said: str
) -> None:
    code, _, printed = ingest(*command, "--dataset", name)
    assert (code, said in " ".join(printed.split())) == (2, True)
    monkeypatch.setenv("BOUNDARIES", name)
    code, _, printed = ingest(*command)
    assert (code, said in " ".join(printed.split())) == (2, True)


@pytest.mark.parametrize(
    ("published", "hint"),
    [
        (
            (),
            "Load the datasets and build the marts: python -m ingest islands timezones, "
            "then BOUNDARIES=islands dbt build.",
        ),
        (
            ("gadm", "timezones"),
            "Load the datasets and build the marts: python -m ingest islands, then BOUNDARIES=islands dbt build. "
            "To read what is loaded, choose it with --dataset: gadm.",
        ),
        (("gadm", "islands"), "Run `BOUNDARIES=islands dbt build`. Already loaded: islands."),
    ],
    ids=["nothing", "others", "loaded"],
)
def test_where_marts_are_missing_it_is_said_how_to_make_those_of_this_dataset(
    settings: Settings, published: tuple[str, ...], hint: str
) -> None:
    built.write(settings.home)
    built.publish(settings.home, dict.fromkeys(published, ("run-a", "4.0")))
    with pytest.raises(MartsMissing) as caught, open_warehouse(replace(settings, boundaries="islands")):
        pass
    assert (caught.value.message, caught.value.hint) == (
        f"There is no warehouse {settings.home / 'warehouse_islands.duckdb'}.",
        hint,
    )


def test_the_schema_of_another_dataset_does_not_stand_for_that_of_this_one(settings: Settings) -> None:
    """As on PostgreSQL, where the marts of all datasets are in one database."""
    built.write(settings.home).rename(built.path_of(settings.home, "islands"))
    with open_warehouse(replace(settings, boundaries="islands")) as warehouse:
        with pytest.raises(MartsMissing, match="There are no marts of islands"):
            known_marts(warehouse)
        with pytest.raises(MartsMissing, match="There are no marts of islands"):
            warehouse.editions()


def test_postgresql_is_asked_in_the_schema_of_the_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Recorder:
        def __enter__(self) -> Recorder:
            return self

        def __exit__(self, *_fault: object) -> None:
            pass

        def execute(self, query: str, _parameters: object = None) -> Recorder:
            asked.append(query)
            return self

        def fetchone(self) -> tuple[str]:
            return ("a",)

        def fetchall(self) -> list[object]:
            return []

        def __iter__(self) -> Recorder:
            return self

        def __next__(self) -> None:
            raise StopIteration

    monkeypatch.setattr(sessions, "connect", lambda *_arguments, **_options: Recorder())
    with postgres_warehouse.connected(Postgres("h", 5432, "u", "", "d"), "islands") as warehouse:
        assert isinstance(warehouse, PostgresWarehouse)
        warehouse.locate(1, 2)
        warehouse.locate_points(np.ones(1), np.ones(1))
        warehouse.find("a", 1)
        warehouse.editions()
    for query in asked:
        assert "marts_islands." in query
        assert "marts." not in query
    assert len(asked) == 6


def test_a_card_of_the_dashboard_tells_of_the_marts_of_its_own_dataset(
    both: Settings, ledger: Ledger, publish: Callable[..., list[str]]
) -> None:
    _of_gadm, of_islands, _zones = publish("gadm", "islands", "timezones")
    built.write_meta(both.home, {"islands": (of_islands, "4.1"), "timezones": None}, "islands")
    page = views.overview(both, ledger, "", views.Marts(both))["published"]
    cards = {card.partition("</h3>")[0]: card for card in page.split("<h3>")}
    assert ">current<" in cards["islands"]
    assert "<code>dbt build</code> brings them up to date" in cards["gadm"]
    assert "<code>BOUNDARIES=islands dbt build</code> brings them up to date" in cards["timezones"]


def test_marts_of_a_dataset_are_digested_from_its_own_file(both: Settings) -> None:
    rows = {}
    for settings in (both, replace(both, boundaries="gadm")):
        with digest_marts.opened(settings) as warehouse:
            rows[settings.boundaries] = {each.table: each.rows for each in digest_marts.digests(warehouse)}
    assert (rows["islands"]["admin_level_1"], rows["gadm"]["admin_level_1"]) == (3, 8)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The datasets whose marts were built."""
    done: list[str] = []
    monkeypatch.setattr(build, "build", lambda settings: done.append(settings.boundaries))
    for name in ("start", "resume", "refresh_published", "rollback"):
        monkeypatch.setattr(runs, name, lambda *_arguments, **_options: None)
    monkeypatch.setattr(runs, "requests", lambda *_arguments, **_options: [])
    return done


@pytest.fixture
def publish(ledger: Ledger, request_of: Callable[..., Request], settings: Settings) -> Callable[..., list[str]]:
    """Return a function that publishes runs of datasets, and returns their ids."""

    def publish(*datasets: str) -> list[str]:
        made = [ledger.create_run(request_of(name), None) for name in datasets]
        for run_id in made:
            ledger.set_state(run_id, RunState.PUBLISHED, published_at=ledger.now())
        built.publish(settings.home, {name: (run_id, "4.1") for name, run_id in zip(datasets, made, strict=True)})
        return made

    return publish


NEXT = "Next: `{}` builds the marts from the published runs."


def test_a_load_builds_the_marts_of_what_it_loaded(
    ingest: Ingest, builds: list[str], publish: Callable[..., list[str]], islands: str
) -> None:
    publish("gadm", islands, "timezones")
    assert ingest(islands)[1].splitlines() == [NEXT.format("BOUNDARIES=islands dbt build")]
    ingest(islands, "--build")
    assert builds == [islands]
    ingest("gadm", islands, "--build")
    assert builds == [islands, "gadm", islands]


def test_time_zones_are_built_into_the_marts_of_every_dataset_that_has_some(
    ingest: Ingest, builds: list[str], publish: Callable[..., list[str]], islands: str, settings: Settings
) -> None:
    publish("gadm", islands, "timezones")
    built.write(settings.home, dataset=islands)
    ingest("timezones", "--build")
    assert builds == [islands]
    built.write(settings.home)
    ingest("timezones", "--build")
    assert builds == [islands, "gadm", islands]


def test_time_zones_that_are_loaded_first_are_built_into_the_marts_that_are_read_by_default(
    ingest: Ingest, builds: list[str], publish: Callable[..., list[str]], islands: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("timezones")
    ingest("timezones", "--build")
    monkeypatch.setenv("BOUNDARIES", islands)
    ingest("timezones", "--build")
    assert builds == ["gadm", islands]


def test_marts_that_are_current_stay_as_they_are(
    ingest: Ingest, builds: list[str], publish: Callable[..., list[str]], islands: str, settings: Settings
) -> None:
    built.write(settings.home)
    built.write(settings.home, dataset=islands)
    of_gadm, of_islands = publish("gadm", islands)
    built.write_meta(settings.home, {islands: (of_islands, "4.1")}, islands)
    assert ingest(islands, "--build")[1] == "The marts are of the published runs: nothing to build.\n"
    ingest("refresh", "--build")
    assert builds == ["gadm"]
    built.write_meta(settings.home, {"gadm": (of_gadm, "4.1")})
    ingest("refresh", "--build")
    assert builds == ["gadm"]


def test_a_run_that_is_returned_to_or_resumed_is_built_into_the_marts_of_its_dataset(
    ingest: Ingest, builds: list[str], publish: Callable[..., list[str]], islands: str
) -> None:
    _of_gadm, of_islands = publish("gadm", islands)
    ingest("rollback", of_islands, "--build")
    ingest("rollback", "gadm", "--build")
    ingest("resume", of_islands, "--build")
    assert builds == [islands, "gadm", islands]


@pytest.mark.parametrize(
    ("dataset", "command"),
    [("islands", "BOUNDARIES=islands dbt build"), ("gadm", "dbt build"), ("timezones", "dbt build")],
)
@pytest.mark.usefixtures("builds", "islands")
def test_whoever_hears_of_another_publication_hears_how_to_build_it(ledger: Ledger, dataset: str, command: str) -> None:
    assert actions.rollback(ledger, dataset, 1).endswith(f". `{command}` updates the marts.")
    assert build.command(dataset) == command


def test_the_environment_names_the_dataset_that_is_read() -> None:
    found = read_settings({"BOUNDARIES": "overture"})
    assert (found.marts, found.warehouse.name) == ("marts_overture", "warehouse_overture.duckdb")
    assert (read_settings({}).marts, read_settings({}).warehouse.name) == ("marts", "warehouse.duckdb")
