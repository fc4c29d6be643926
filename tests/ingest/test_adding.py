"""A load that is added to a publication: its countries are replaced, and every other row is there as before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from ingest import catalog, console
from ingest.errors import BaseUnusable, IngestError, SliceTaken, UsageError
from ingest.ledger import Ledger, Request, Run, tables
from ingest.pipeline import adding, publication
from ingest.pipeline import runs as loading
from ingest.settings import Settings
from ingest.sinks import Staging, geoparquet, get
from ingest.sinks.geoparquet import GeoParquetSink
from tests.fixtures import boundaries
from tests.ingest.conftest import Pipeline, expire_leases

ORIGIN = ("file_no", "source_file", "source_layer", "source_fid")
Add = Callable[..., Run]


def country(folder: Path, code: str, depth: int, name: str = "") -> Path:
    """Write the file of a country, with so many levels below it."""
    return boundaries.write_levels_gpkg(folder / f"{name or code}.gpkg", boundaries.levels({code: depth}))


@pytest.fixture
def load(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Add:
    """Return a function that loads files as the command does, with its tasks at once, and returns the published run."""

    def at_once(_settings: Settings, ledger: Ledger, _reporter: object, run_ids: Sequence[str], **_: object) -> None:
        for run_id in run_ids:
            pipeline.tasks.submit(ledger, run_id)

    monkeypatch.setattr(loading, "_see_through", at_once)

    def made(*paths: Path, **values: Any) -> Run:
        request = pipeline.make_request("gadm", *map(str, paths), **values)
        loading.start([request], console, workers=1)
        published = pipeline.ledger.published_run("gadm")
        assert published is not None
        return published

    return made


@pytest.fixture
def added(load: Add) -> Add:
    """Return the same function with ``--add``."""
    return lambda *paths, **values: load(*paths, is_added=True, **values)


def rows(pipeline: Pipeline, table: str, *, with_origin: bool = False) -> list[tuple[Any, ...]]:
    """Return the rows that readers see, without the run, and without where they came from unless it is asked for."""
    read: pa.Table = pq.read_table(pipeline.lake / "gadm" / "current" / table)
    hidden = {"run_id", "release", *(() if with_origin else ORIGIN)}
    names = [name for name in read.column_names if name not in hidden]
    return sorted((tuple(row.values()) for row in read.select(names).to_pylist()), key=repr)


def world(pipeline: Pipeline, *, with_origin: bool = False) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every level."""
    names = [table.name for table in catalog.get("gadm").tables]
    return {name: rows(pipeline, name, with_origin=with_origin) for name in names}


def test_what_is_there_is_what_a_load_of_the_other_countries_and_the_new_file_gives(
    pipeline: Pipeline, load: Add, added: Add, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both, rest = (boundaries.levels(each) for each in ({"AAA": 1, "BBB": 2}, {"AAA": 1}))
    for made in (both, rest):
        boundaries.set_cell(made, 1, 0, "GID_0", boundaries.MISSING)  # a row of no country is nobody's to replace
    path = boundaries.write_levels_gpkg(tmp_path / "world.gpkg", both)
    other = boundaries.write_levels_gpkg(tmp_path / "rest.gpkg", rest)
    blank = boundaries.levels({"BBB": 1})
    boundaries.set_cell(blank, 1, 3, "GID_0", " BBB\u00a0")  # cleaned like every text
    new = boundaries.write_levels_gpkg(tmp_path / "new.gpkg", blank)
    load(other, new)
    wanted = world(pipeline)
    base = load(path)
    before = world(pipeline, with_origin=True)
    capsys.readouterr()
    run = added(new)
    assert world(pipeline) == wanted
    assert [len(found) for found in wanted.values()] == [2, 8, 0, 0, 0, 0]
    assert len(set(before["gadm_adm_1"]) & set(world(pipeline, with_origin=True)["gadm_adm_1"])) == 4
    said = " ".join(capsys.readouterr().out.split())
    assert f"adds new.gpkg to the 26 rows of run {base.run_id}" in said
    assert f"gadm: 5 rows of BBB in place of 21; 5 rows of other countries are kept from run {base.run_id}." in said
    assert (run.base_run_id, run.countries, run.rows_replaced, run.rows_loaded) == (base.run_id, "BBB", 21, 10)
    assert run.rows_read == 5


def test_every_part_says_which_file_and_run_it_came_from_however_often_something_was_added(
    pipeline: Pipeline, load: Add, added: Add, tmp_path: Path, settings: Settings
) -> None:
    load(country(tmp_path, "AAA", 1))
    first = load(country(tmp_path, "AAA", 1), country(tmp_path, "BBB", 0))
    second = added(country(tmp_path, "CCC", 0))
    third = added(country(tmp_path, "BBB", 0, "new"))
    files = pipeline.ledger.files(third.run_id)
    assert [(each.file_no, each.source.rpartition("/")[2], each.carried_from) for each in files] == [
        (0, "AAA.gpkg", first.run_id),
        (2, "CCC.gpkg", second.run_id),
        (3, "new.gpkg", None),
    ]
    assert third.source.split() == [each.source for each in files]
    assert third.checksum is not None
    assert third.checksum.split() == [each.checksum for each in files]
    found = pq.read_table(pipeline.lake / "gadm" / "current" / "gadm_adm_0").to_pylist()
    assert {(row["gid_0"], row["file_no"], row["source_file"]) for row in found} == {
        ("AAA", 0, "AAA.gpkg"),
        ("CCC", 2, "CCC.gpkg"),
        ("BBB", 3, "new.gpkg"),
    }
    assert not publication.lost_tables(pipeline.ledger, get(settings), third)
    publication.rollback(pipeline.ledger, get(settings), "gadm")
    assert {row[1] for row in rows(pipeline, "gadm_adm_0")} == {"AAA", "BBB", "CCC"}
    get(settings).drop(Staging.of(second), catalog.get("gadm").tables)
    assert not publication.lost_tables(pipeline.ledger, get(settings), third)


def test_a_file_in_the_lake_that_holds_other_countries_only_gets_a_second_name(
    pipeline: Pipeline, load: Add, added: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load(country(tmp_path, "AAA", 0), country(tmp_path, "BBB", 0))
    run = added(country(tmp_path, "CCC", 0))

    def inodes(of: Run) -> dict[str, int]:
        found = (pipeline.lake / "gadm" / "runs" / of.run_id / "gadm_adm_0").glob("slice-*.parquet")
        return {pq.read_table(file)["gid_0"][0].as_py(): file.stat().st_ino for file in found}

    assert inodes(run).keys() == {"AAA", "BBB", "CCC"}
    assert inodes(base).items() <= inodes(run).items()
    stored = {part.source_file: part.stored_sha256 for part in pipeline.ledger.slices(run.run_id)}
    assert {
        part.source_file: part.stored_sha256 for part in pipeline.ledger.slices(base.run_id)
    }.items() < stored.items()

    def no_links(_self: Path, _target: Path) -> None:
        raise OSError("this file system has no links")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    copied = added(country(tmp_path, "DDD", 0))
    assert not set(inodes(run).values()) & set(inodes(copied).values())
    assert len(rows(pipeline, "gadm_adm_0")) == 4


def test_what_is_added_twice_is_unchanged_and_a_load_of_the_same_file_replaces_the_world(
    pipeline: Pipeline, load: Add, added: Add, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(country(tmp_path, "AAA", 0))
    new = country(tmp_path, "BBB", 0)
    run = added(new)
    assert added(new).run_id == run.run_id
    assert f"unchanged since run {run.run_id}" in capsys.readouterr().out
    assert load(new).run_id != run.run_id
    assert f"run {run.base_run_id} with BBB.gpkg by BBB.gpkg" in " ".join(capsys.readouterr().out.split())
    assert [row[1] for row in rows(pipeline, "gadm_adm_0")] == ["BBB"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The home of a warehouse with a run that is to be added to two countries, cut into slices; none is loaded."""
    from ingest.pipeline import steps, tasks
    from ingest.pipeline.queue import huey

    folder = tmp_path_factory.mktemp("prepared")
    settings = Settings(target="embedded", home=folder / "home", postgres=None, redis_url="", secret="of-the-tests")
    ledger = Ledger(settings)
    ledger.open()
    fixed: dict[str, Any] = {"dataset": "gadm", "release": "4.1", "engine": "sedonadb", "scope": "custom"}
    world = boundaries.write_levels_gpkg(folder / "world.gpkg", boundaries.levels({"AAA": 1, "BBB": 1}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "read_settings", lambda: settings)
        patch.setattr(huey, "immediate", True)
        tasks.submit(ledger, ledger.create_run(Request(**fixed, sources=(str(world),)), None))
        base = ledger.published_run("gadm")
        assert base is not None
        request = Request(**fixed, sources=(str(country(folder, "BBB", 1)),), is_added=True)
        run_id = ledger.create_run(adding.prepared(ledger, request, base), None, base=base)
        file = ledger.claim_file(run_id, 1)
        assert file is not None
        steps.fetch(settings, ledger, file)
        claimed = steps.claim_planning(ledger, run_id)
        assert claimed is not None
        ledger.create_slices(run_id, steps.plan_slices(settings, ledger, *claimed))
    return settings.home, run_id


@pytest.fixture
def planned(prepared: tuple[Path, str], settings: Settings) -> str:
    """That run, in a copy of that warehouse. To be named before `pipeline`, which opens the ledger."""
    home, run_id = prepared
    shutil.copytree(home, settings.home, symlinks=True)
    return run_id


def test_a_rollback_meanwhile_fails_the_run_and_nothing_that_was_returned_to_is_lost(
    planned: str, pipeline: Pipeline, settings: Settings, sink: GeoParquetSink, tmp_path: Path
) -> None:
    base, is_base = pipeline.ledger.run(planned).base_run_id, tables.runs.c.run_id != planned
    with pipeline.ledger.transaction() as connection:
        before = dict(connection.execute(tables.runs.select().where(is_base)).mappings().one())
        connection.execute(tables.runs.update().where(is_base).values(state="superseded"))
        connection.execute(tables.runs.insert().values(**before | {"run_id": "returned_to"}))
    assert not pipeline.ledger.superseded_runs("gadm", beyond=0)  # retention leaves what is still to be copied
    pipeline.tasks.submit(pipeline.ledger, planned)
    run = pipeline.ledger.run(planned)
    assert run.state == "failed"
    assert f"is added to run {base}, which readers no longer see" in str(run.error)
    assert planned not in sink.stored_runs("gadm", catalog.get("gadm").tables)
    assert [each.run_id for each in pipeline.ledger.superseded_runs("gadm", beyond=0)] == [base]
    assert pipeline.ledger.run("returned_to").state == "published"


def test_a_publication_that_is_replaced_while_its_rows_are_copied_stops_the_plan_of_a_run(
    pipeline: Pipeline, load: Add, tmp_path: Path
) -> None:
    base = load(country(tmp_path, "AAA", 0))
    load(country(tmp_path, "BBB", 0))
    request = pipeline.make_request("gadm", str(country(tmp_path, "CCC", 0)), is_added=True)
    run_id = pipeline.ledger.create_run(adding.prepared(pipeline.ledger, request, base), None, base=base)
    pipeline.tasks.submit(pipeline.ledger, run_id)
    assert "which readers no longer see: it is superseded" in str(pipeline.state(run_id)[1])
    assert [row[1] for row in rows(pipeline, "gadm_adm_0")] == ["BBB"]


def test_of_two_workers_that_carry_a_slice_the_last_claimant_wins(
    planned: str, pipeline: Pipeline, settings: Settings
) -> None:
    number = next(part.slice_no for part in pipeline.ledger.slices(planned) if part.carried_from)
    first = pipeline.ledger.claim(planned, number)
    expire_leases(pipeline.ledger)
    second = pipeline.ledger.claim(planned, number)
    with pytest.raises(SliceTaken):
        pipeline.steps.load(settings, pipeline.ledger, first)
    pipeline.steps.load(settings, pipeline.ledger, second)
    pipeline.tasks.submit(pipeline.ledger, planned)
    assert pipeline.state(planned) == ("published", None)
    assert [len(found) for found in world(pipeline).values()] == [2, 8, 0, 0, 0, 0]


def test_carried_rows_that_are_lost_before_the_publication_are_carried_over_again(
    planned: str, pipeline: Pipeline, settings: Settings
) -> None:
    for part in pipeline.ledger.slices(planned):
        pipeline.steps.load(settings, pipeline.ledger, pipeline.ledger.claim(planned, part.slice_no))
    for file in (pipeline.lake / "gadm" / "runs" / planned / "gadm_adm_1").glob("slice-*.parquet"):
        file.unlink()
    pipeline.tasks.submit(pipeline.ledger, planned)
    assert pipeline.state(planned) == ("published", None)
    assert [len(found) for found in world(pipeline).values()] == [2, 8, 0, 0, 0, 0]


@pytest.mark.parametrize("how", ["gone", "cut", "changed"])
def test_a_damaged_publication_is_never_carried_over(planned: str, pipeline: Pipeline, how: str) -> None:
    base = pipeline.ledger.run(planned).base_run_id
    (file,) = (pipeline.lake / "gadm" / "runs" / str(base) / "gadm_adm_1").glob("slice-*.parquet")
    content = bytearray(file.read_bytes())
    content[8] ^= 1
    file.unlink()
    if how != "gone":
        file.write_bytes(content[:-9] if how == "cut" else content)
    pipeline.tasks.submit(pipeline.ledger, planned)
    state, error = pipeline.state(planned)
    assert state == "failed"
    assert f"Run {base} cannot be added to" in str(error)


def test_rows_that_are_neither_carried_over_nor_replaced_stop_the_publication(planned: str, pipeline: Pipeline) -> None:
    with pipeline.ledger.transaction() as connection:
        connection.execute(tables.runs.update().values(rows_replaced=4))
    pipeline.tasks.submit(pipeline.ledger, planned)
    state, error = pipeline.state(planned)
    assert state == "failed"
    assert "Of the 10 rows of run" in str(error)
    assert "5 were carried over and 4 replaced" in str(error)


def test_a_row_of_a_country_that_was_not_there_when_the_run_was_planned_is_refused(
    planned: str, pipeline: Pipeline
) -> None:
    spec = tables.slices.c.spec
    with pipeline.ledger.transaction() as connection:
        other = sa.func.replace(spec, '"countries": ["BBB"]', '"countries": ["XXX"]')
        connection.execute(tables.slices.update().values(spec=other))
    pipeline.tasks.submit(pipeline.ledger, planned)
    assert "a row is of another country than the run was planned with: XXX" in str(pipeline.state(planned)[1])


def test_a_row_without_a_country_and_a_file_without_rows_are_refused(
    pipeline: Pipeline, load: Add, added: Add, tmp_path: Path
) -> None:
    base = load(country(tmp_path, "AAA", 0))
    made = boundaries.levels({"BBB": 1})
    boundaries.set_cell(made, 1, 2, "GID_0", " NA ")
    odd = boundaries.write_levels_gpkg(tmp_path / "odd.gpkg", made)
    empty = boundaries.write_levels_gpkg(tmp_path / "empty.gpkg", {0: made[0].iloc[:0]})
    for path, why in ((odd, "ADM_1 in odd.gpkg, feature 3: GID_0 is empty"), (empty, "empty.gpkg has no rows")):
        assert added(path).run_id == base.run_id
        assert why in str(pipeline.ledger.recent_runs(1)[0].error)


def test_what_does_not_fit_the_publication_is_refused_before_anything_is_read(
    pipeline: Pipeline, load: Add, added: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = tmp_path / "not-there.gpkg"

    def refused(match: str, **values: object) -> None:
        with pytest.raises(BaseUnusable, match=match):
            added(nothing, **values)

    refused("gadm has no publication to add to")
    base = load(country(tmp_path, "AAA", 0))
    refused(f"Run {base.run_id} is of release 4.1, and cannot be added to with 3.6", release="3.6")
    with monkeypatch.context() as newer:
        newer.setattr(type(base), "is_of_older_shape", True)
        refused("were made by an older version")
    for file in (pipeline.lake / "gadm" / "current" / "gadm_adm_0").glob("slice-*.parquet"):
        file.unlink()
    refused("has lost rows of gadm_adm_0")
    assert len(pipeline.ledger.recent_runs()) == 1


@pytest.mark.parametrize(
    ("dataset", "sources", "message"),
    [
        ("timezones", ["/a.zip"], "--add replaces countries, and timezones has none"),
        ("gadm", [], "--add needs --source or --country"),
    ],
)
def test_an_addition_without_countries_of_its_own_is_wrong_usage(
    dataset: str, sources: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        loading.requests(
            [dataset],
            releases={dataset: []},
            sources={dataset: sources},
            countries=(),
            levels=None,
            engine="sedonadb",
            variant="now",
            oceans=True,
            is_added=True,
        )
    assert caught.value.exit_code == 2


def test_no_more_of_a_carried_file_is_held_in_memory_than_a_group_of_rows(
    planned: str, pipeline: Pipeline, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geoparquet, "ROW_GROUP_BYTES", 1)
    asked: list[object] = []
    read = pq.ParquetFile.iter_batches

    def watched(self: pq.ParquetFile, **options: Any) -> Any:
        asked.append(options["row_groups"])
        return read(self, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    pipeline.tasks.submit(pipeline.ledger, planned)
    assert pipeline.state(planned) == ("published", None)
    assert asked
    assert all(isinstance(groups, list) and len(groups) == 1 for groups in asked)


def test_a_request_that_adds_nothing_is_what_it_was_before_there_was_adding(pipeline: Pipeline) -> None:
    assert not {"is_added", "first_file_no"} & json.loads(pipeline.make_request().to_json()).keys()
    added = pipeline.make_request(is_added=True, first_file_no=3)
    assert Request.from_json(added.to_json()) == added


def test_an_address_of_an_added_run_is_found_by_its_number_in_the_run(pipeline: Pipeline) -> None:
    from ingest.pipeline import signed_addresses

    request = pipeline.make_request("gadm", "/a", "/b", is_added=True, first_file_no=3)
    assert signed_addresses.full_address("run", request, 4).public == "/b"
    with pytest.raises((IndexError, IngestError)):
        signed_addresses.full_address("run", request, 5)
