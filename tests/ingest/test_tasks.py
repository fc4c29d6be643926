"""The whole way in one process: fetch, plan, load, publish; and what each task does when something is wrong."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import shapely

from ingest import engines, sinks
from ingest.errors import TargetUnavailable, UsageError
from ingest.layers import plan
from ingest.ledger import Ledger
from ingest.settings import Settings
from ingest.sinks.geoparquet import GeoParquetSink
from ingest.sources.parts import checksum
from tests.fixtures import boundaries, quirks
from tests.fixtures.publisher import serving
from tests.ingest.conftest import Pipeline, layers_of, read, slice_of


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_world_arrives_whole(pipeline: Pipeline, tmp_path: Path, engine: str) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg")
    run_id = pipeline.run(path, engine=engine)
    assert pipeline.state(run_id) == ("published", None)
    assert [pipeline.rows(f"gadm_adm_{level}") for level in range(6)] == [3, 8, 32, 64, 256, 0]
    run = pipeline.ledger.run(run_id)
    assert (run.rows_read, run.rows_loaded) == (363, 363)
    assert run.started_at is not None
    assert run.finished_at is not None
    assert run.requested_at <= run.started_at <= run.finished_at


def test_no_run_is_published_without_the_checksum_of_its_file(pipeline: Pipeline, tmp_path: Path) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg")
    run_id = pipeline.run(path)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert pipeline.ledger.run(run_id).checksum == expected == pipeline.ledger.files(run_id)[0].checksum


def test_what_arrives_is_what_the_engine_gave(pipeline: Pipeline, tmp_path: Path) -> None:
    made = boundaries.levels(quirks=[quirks.bow_tie, quirks.missing_geometry, quirks.strange_names])
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made)
    pipeline.run(path)
    stored = pq.read_table(pipeline.lake / "gadm" / "current" / "gadm_adm_1").drop_columns(["run_id", "release"])
    given = read("sedonadb", slice_of(layers_of(path)[1]))
    assert stored.sort_by("source_fid").to_pylist() == given.to_pylist()


def test_a_request_for_public_addresses_only_is_kept_to_by_whoever_fetches(pipeline: Pipeline, tmp_path: Path) -> None:
    path = boundaries.write_shapefile_zip(tmp_path / "gadm41_AAA_shp.zip", boundaries.levels({"AAA": 0}))
    with serving(path.read_bytes()) as publisher:
        run_id = pipeline.run(publisher.url("gadm41_AAA_shp.zip"), only_public=True)
    state, error = pipeline.state(run_id)
    assert state == "failed"
    assert "leads to 127.0.0.1, which is not a public address" in str(error)
    assert publisher.asked == []
    request = pipeline.ledger.run(run_id).request
    assert request.only_public
    assert request.identity(["x"]) == replace(request, only_public=False).identity(["x"])
    assert "only_public" not in replace(request, only_public=False).to_json()


def test_a_zip_from_a_server_goes_the_same_way(pipeline: Pipeline, tmp_path: Path) -> None:
    path = boundaries.write_shapefile_zip(tmp_path / "gadm41_AAA_shp.zip", boundaries.levels({"AAA": 2}))
    with serving(path.read_bytes()) as publisher:
        run_id = pipeline.run(publisher.url("gadm41_AAA_shp.zip"))
    assert pipeline.state(run_id) == ("published", None)
    assert [pipeline.rows(f"gadm_adm_{level}") for level in range(4)] == [1, 4, 16, 0]


def test_several_files_become_one_table(pipeline: Pipeline, tmp_path: Path) -> None:
    for code in ("AAA", "BBB"):
        boundaries.write_geojson(tmp_path / code, boundaries.levels({code: 1}), code=code)
    run_id = pipeline.run(tmp_path / "AAA", tmp_path / "BBB")
    assert pipeline.state(run_id) == ("published", None)
    assert (pipeline.rows("gadm_adm_0"), pipeline.rows("gadm_adm_1")) == (2, 8)


def test_time_zones_arrive_beside_the_boundaries(pipeline: Pipeline, tmp_path: Path) -> None:
    path = boundaries.write_timezones_zip(tmp_path / "zones.shapefile.zip")
    run_id = pipeline.run(path, dataset="timezones", release="2025b")
    assert pipeline.state(run_id) == ("published", None)
    assert pipeline.rows("timezones", "timezones") == 3


def test_a_layer_without_features_is_published_empty_but_not_a_source_without_any(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    made = boundaries.levels({"AAA": 1})
    made[1] = made[1].head(0)
    run_id = pipeline.run(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made))
    assert pipeline.state(run_id) == ("published", None)
    assert (pipeline.rows("gadm_adm_0"), pipeline.rows("gadm_adm_1")) == (1, 0)
    made[0] = made[0].head(0)
    state, error = pipeline.state(pipeline.run(boundaries.write_levels_gpkg(tmp_path / "none.gpkg", made)))
    assert (state, "none.gpkg has no rows: there is nothing to load" in str(error)) == ("failed", True)
    assert pipeline.rows("gadm_adm_0") == 1


def test_only_the_levels_that_are_asked_for_are_loaded(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.run(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg"), levels=(0, 2))
    assert [pipeline.rows(f"gadm_adm_{level}") for level in range(4)] == [3, 0, 32, 0]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("missing", "There is no file"),
        ("page", "HTML page"),
        ("column", "no column GID_1"),
        ("hole", "has no level 1"),
        ("empty", "no layer of gadm"),
    ],
)
def test_a_source_that_cannot_be_used_fails_the_run_and_changes_nothing(
    pipeline: Pipeline, tmp_path: Path, source: str, reason: str
) -> None:
    published = pipeline.run(boundaries.write_levels_gpkg(tmp_path / "good.gpkg", boundaries.levels({"AAA": 1})))
    made = boundaries.levels({"AAA": 2}, quirks=[quirks.without_column("GID_1")] if source == "column" else [])
    path = tmp_path / "bad.gpkg"
    if source == "page":
        path = tmp_path / "bad.zip"
        path.write_text("<html>503</html>")
    elif source == "hole":
        boundaries.write_levels_gpkg(path, {level: made[level] for level in (0, 2)})
    elif source != "missing":
        boundaries.write_levels_gpkg(path, made, names="ADM_{}" if source == "column" else "rivers_{}")
    run_id = pipeline.run(path)
    state, error = pipeline.state(run_id)
    assert state == "failed"
    assert reason in (error or "")
    assert pipeline.ledger.published_run("gadm").run_id == published  # type: ignore[union-attr]
    assert pipeline.rows("gadm_adm_1") == 4


@pytest.mark.parametrize("step", ["sources.bring", "discover.layers", "engines.get", "publication.publish"])
def test_a_fault_that_nobody_foresaw_fails_the_run_too(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    owner, _, name = step.partition(".")
    monkeypatch.setattr(getattr(pipeline.steps, owner), name, lambda *_args, **_kwargs: 1 / 0)
    run_id = pipeline.run(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 0})))
    state, error = pipeline.state(run_id)
    assert state == "failed"
    assert "division by zero" in (error or "")


def test_a_plan_that_comes_twice_cannot_fail_a_run_that_another_worker_plans(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 0}))
    run_id = pipeline.ledger.create_run(pipeline.make_request("gadm", str(path)), None)
    file = pipeline.ledger.claim_file(run_id, 0)
    assert file is not None
    pipeline.ledger.finish_file(file, checksum=checksum(path), size=1, was_cached=True, source=str(path))
    monkeypatch.setattr(Ledger, "claim_stage", lambda *_arguments, **_options: 1 / 0)
    with contextlib.suppress(ZeroDivisionError):
        pipeline.tasks.plan_run(run_id, [])
    assert pipeline.state(run_id) == ("fetching", None)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_text_in_another_encoding_than_the_file_states_fails_the_run_and_says_where(
    pipeline: Pipeline, tmp_path: Path, engine: str
) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))
    with sqlite3.connect(path) as connection:
        for (name,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            connection.execute(f'drop trigger "{name}"')
        connection.execute("update ADM_1 set NAME_1 = cast(X'43f47465' as text) where fid = 2")  # Côte in Latin-1
    state, error = pipeline.state(pipeline.run(path, engine=engine))
    assert state == "failed"
    assert "ADM_1 in gadm.gpkg, feature 2: NAME_1 is b'C\\xf4te', which is not text in UTF-8." in (error or "")


def test_a_fault_after_the_publication_does_not_take_it_back(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.steps.publication, "_drop_old", lambda *_args: 1 / 0)
    run_id = pipeline.run(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 0})))
    assert pipeline.state(run_id) == ("published", None)
    assert pipeline.rows("gadm_adm_0") == 1


def test_a_file_that_lost_rows_since_it_was_planned_is_not_published(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = pipeline.steps.discover.features
    monkeypatch.setattr(
        pipeline.steps.discover, "features", lambda layer: [array.repeat(2) for array in features(layer)]
    )
    run_id = pipeline.run(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 0})))
    state, error = pipeline.state(run_id)
    assert state == "failed"
    assert "the file says 2 rows, 1 arrived" in (error or "")
    assert not (pipeline.lake / "gadm" / "runs" / run_id).exists()


def test_a_slice_that_fails_for_a_while_is_loaded_in_a_later_attempt(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, failures = sinks.get, [2]

    class Faulty:
        def __init__(self, settings: Settings) -> None:
            self._sink = sink(settings)

        def __getattr__(self, name: str) -> object:
            if name == "write" and failures[0]:
                failures[0] -= 1
                raise sinks_unavailable
            return getattr(self._sink, name)

    sinks_unavailable = TargetUnavailable("The server restarts.")
    monkeypatch.setattr(pipeline.steps.sinks, "get", Faulty)
    run_id = pipeline.run(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 0})))
    assert pipeline.state(run_id) == ("published", None)
    (part,) = pipeline.ledger.slices(run_id)
    assert (part.attempts, part.state, part.error) == (3, "loaded", None)


def test_a_plan_that_fails_for_a_while_is_made_in_a_later_attempt(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_of, failures = pipeline.steps._planned, [TargetUnavailable("The server restarts.")] * 2

    def fails_twice(*arguments: object) -> object:
        if failures:
            raise failures.pop()
        return plan_of(*arguments)

    monkeypatch.setattr(pipeline.steps, "_planned", fails_twice)
    run_id = pipeline.run(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 0})))
    assert pipeline.state(run_id) == ("published", None)


def test_a_table_that_lost_its_rows_before_it_was_published_is_loaded_again(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes = [True]

    def crash(_sink: GeoParquetSink, staging: sinks.Staging, _tables: object) -> None:
        if crashes:
            crashes.pop()
            (pipeline.lake / "gadm" / "runs" / staging.run_id / "gadm_adm_1" / "slice-0000.parquet").unlink()

    monkeypatch.setattr(GeoParquetSink, "finish", crash)
    run_id = pipeline.run(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1})))
    assert not crashes
    assert pipeline.state(run_id) == ("published", None)
    assert (pipeline.rows("gadm_adm_0"), pipeline.rows("gadm_adm_1")) == (1, 4)


def test_a_task_that_is_delivered_twice_does_no_harm(pipeline: Pipeline, tmp_path: Path) -> None:
    run_id = pipeline.run(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1})))
    pipeline.tasks.fetch_file(run_id, 0)
    pipeline.tasks.plan_run(run_id, [])
    pipeline.tasks.load_slice(run_id, 0)
    pipeline.tasks.publish_run(run_id, [])
    assert pipeline.state(run_id) == ("published", None)
    assert pipeline.rows("gadm_adm_1") == 4


@pytest.mark.parametrize("state", ["queued", "fetching", "planning", "loading", "publishing"])
def test_a_run_is_finished_from_wherever_it_stood(pipeline: Pipeline, tmp_path: Path, state: str) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))
    run_id = pipeline.run(path)
    with pipeline.ledger.transaction() as connection:
        connection.exec_driver_sql(
            "update ingest_runs set state = ?, finished_at = null, published_at = null, lease_until = null", (state,)
        )
        if state in ("queued", "fetching", "planning"):
            connection.exec_driver_sql("delete from ingest_slices")
    pipeline.tasks.submit(pipeline.ledger, run_id)
    assert pipeline.state(run_id) == ("published", None)
    assert pipeline.rows("gadm_adm_1") == 4


def test_a_run_that_has_ended_cannot_be_resumed(pipeline: Pipeline, tmp_path: Path) -> None:
    run_id = pipeline.run(tmp_path / "missing.gpkg")
    with pytest.raises(UsageError, match="has ended: failed"):
        pipeline.tasks.submit(pipeline.ledger, run_id)


def test_a_plan_waits_for_the_file_that_is_still_being_fetched(pipeline: Pipeline, tmp_path: Path) -> None:
    ledger, paths = pipeline.ledger, []
    for code in ("AAA", "BBB"):
        paths.append(str(boundaries.write_geojson(tmp_path / code, boundaries.levels({code: 0}), code=code)))
    run_id = ledger.create_run(pipeline.make_request("gadm", *paths), None)
    second = ledger.claim_file(run_id, 1)
    assert second is not None
    pipeline.tasks.fetch_file(run_id, 0)
    pipeline.tasks.plan_run(run_id, [])
    assert pipeline.state(run_id) == ("fetching", None)
    ledger.finish_file(second, checksum=checksum(tmp_path / "BBB"), size=1, was_cached=True, source=paths[1])
    pipeline.tasks.plan_run(run_id, [])
    assert pipeline.state(run_id) == ("published", None)
    assert pipeline.rows("gadm_adm_0") == 2


def test_a_source_that_changes_between_two_slices_is_not_published_as_a_mixture(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (boundaries.levels({code: 1}) for code in ("AAA", "BBB"))
    write = GeoParquetSink.write
    with serving(boundaries.write_levels_gpkg(tmp_path / "old.gpkg", old).read_bytes()) as publisher:

        def replaced_afterwards(*arguments: object) -> int:
            rows = write(*arguments)  # type: ignore[arg-type]
            publisher.body = boundaries.write_levels_gpkg(tmp_path / "new.gpkg", new).read_bytes()
            publisher.etag = '"2"'
            shutil.rmtree(tmp_path / "home" / "downloads")  # the next slice is loaded on another host
            return rows

        monkeypatch.setattr(GeoParquetSink, "write", replaced_afterwards)
        run_id = pipeline.run(publisher.url("gadm.gpkg"))
    state, error = pipeline.state(run_id)
    assert state == "failed"
    assert "changed while it was being loaded" in (error or "")
    assert pipeline.rows("gadm_adm_0") + pipeline.rows("gadm_adm_1") == 0


def test_a_geojson_larger_than_a_slice_is_read_once_and_whole(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MIN_SLICE_BYTES", 100)
    monkeypatch.setattr(plan, "MAX_SLICE_BYTES", 100)
    run_id = pipeline.run(boundaries.write_geojson(tmp_path / "json", boundaries.levels({"AAA": 2})))
    assert pipeline.state(run_id) == ("published", None)
    assert [pipeline.rows(f"gadm_adm_{level}") for level in range(3)] == [1, 4, 16]


@pytest.mark.parametrize("engine", engines.ENGINES)
@pytest.mark.parametrize("kind", ["geopackage", "shapefiles"])
def test_a_layer_that_is_cut_into_slices_arrives_whole(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, kind: str
) -> None:
    monkeypatch.setattr(plan, "MIN_SLICE_BYTES", 300)
    monkeypatch.setattr(plan, "MAX_SLICE_BYTES", 300)
    made = boundaries.levels({"AAA": 2})
    write = boundaries.write_levels_gpkg if kind == "geopackage" else boundaries.write_shapefiles
    run_id = pipeline.run(write(tmp_path / "gadm.gpkg", made), engine=engine)
    assert pipeline.state(run_id) == ("published", None)
    assert len(pipeline.ledger.slices(run_id)) > 5
    stored = pq.read_table(pipeline.lake / "gadm" / "current" / "gadm_adm_2")
    assert sorted(stored["gid_2"].to_pylist()) == sorted(made[2]["GID_2"])


def test_layers_in_folders_within_folders_are_loaded(pipeline: Pipeline, tmp_path: Path) -> None:
    for code in ("AAA", "BBB"):
        boundaries.write_shapefiles(tmp_path / "top" / "deep" / code, boundaries.levels({code: 1}), code=code)
    run_id = pipeline.run(tmp_path / "top")
    assert pipeline.state(run_id) == ("published", None)
    assert pipeline.rows("gadm_adm_1") == 8
    assert {part.source_file for part in pipeline.ledger.slices(run_id) if part.level == 1} == {
        f"deep/{code}/gadm41_{code}_1.shp" for code in ("AAA", "BBB")
    }


@pytest.mark.parametrize("engine", engines.ENGINES)
@pytest.mark.parametrize("kind", ["geopackage", "shapefiles", "geojson"])
def test_a_feature_heavier_than_a_batch_is_loaded(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, kind: str
) -> None:
    monkeypatch.setattr(pipeline.steps, "BATCH_BYTES", 4096)
    made = boundaries.levels({"AAA": 1})
    heavy = shapely.MultiPolygon([shapely.segmentize(shapely.box(0, 0, 4, 4), 0.001)])
    boundaries.set_cell(made, 1, 2, "geometry", heavy)
    write: dict[str, Callable[..., Path]] = {
        "geopackage": boundaries.write_levels_gpkg,
        "shapefiles": boundaries.write_shapefiles,
        "geojson": boundaries.write_geojson,
    }
    run_id = pipeline.run(write[kind](tmp_path / "gadm.gpkg", made), engine=engine)
    assert pipeline.state(run_id) == ("published", None)
    assert pipeline.rows("gadm_adm_1") == 4


@pytest.mark.parametrize(("is_validated", "told"), [(True, [False, False, True, True]), (False, [None] * 4)])
def test_geometry_is_validated_unless_that_is_not_wanted(
    pipeline: Pipeline, tmp_path: Path, is_validated: bool, told: list[bool | None]
) -> None:
    made = boundaries.levels({"AAA": 2}, quirks=[quirks.bow_tie])
    pipeline.run(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made), is_validated=is_validated)
    stored = pq.read_table(pipeline.lake / "gadm" / "current" / "gadm_adm_1").sort_by("source_fid")
    assert stored["is_valid"].to_pylist() == told
