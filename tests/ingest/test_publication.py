"""A run is published whole or not at all, and the newest two publications are kept."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ingest import catalog
from ingest.errors import CountMismatch, RunInProgress, RunNotFound, TargetUnavailable
from ingest.ledger import Ledger, Request, Run, RunState
from ingest.ledger.ledger import MAX_ATTEMPTS
from ingest.ledger.tables import runs, slices
from ingest.pipeline import publication
from ingest.pipeline.publication import Outcome
from ingest.settings import Settings
from ingest.sinks import Staging
from ingest.sinks.geoparquet import GeoParquetSink
from tests.fixtures import boundaries
from tests.ingest.conftest import an_hour_ahead, batches_of, claimed_slice, planned_slice

Loaded = Callable[..., str]


@pytest.fixture
def loaded(ledger: Ledger, sink: GeoParquetSink, request_of: Callable[..., Request], tmp_path: Path) -> Loaded:
    """Return a maker of runs with two slices, of which the given ones are loaded."""
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))
    gadm = catalog.get("gadm")

    def make(*slice_nos: int) -> str:
        run_id = ledger.create_run(request_of(), None)
        ledger.set_state(run_id, RunState.PLANNING)
        ledger.create_slices(run_id, [planned_slice(), planned_slice(table_name="gadm_adm_0", level=0, rows_planned=1)])
        staging = Staging(run_id, "gadm", "4.1")
        sink.prepare(staging, gadm.tables)
        for number in slice_nos or (0, 1):
            level = 1 - number
            claimed = claimed_slice(ledger, run_id, number)
            noted = lambda rows, claimed=claimed: Ledger.loaded(claimed, rows_read=rows, rows_loaded=rows)  # noqa: E731
            sink.write(staging, number, gadm.table(level), batches_of(path, level), noted)
        return run_id

    return make


def published(settings: Settings) -> str:
    """Return the run that readers see."""
    return (settings.lake / "gadm" / "current").resolve().name


def test_a_whole_run_is_put_before_the_readers(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    run_id = loaded()
    publication.publish(ledger, sink, run_id)
    run = ledger.run(run_id)
    assert (run.state, run.rows_loaded) == ("published", 5)
    assert run.published_at == run.finished_at
    assert published(settings) == run_id
    states = pq.read_table(settings.lake / "ledger" / "ingest_runs.parquet")["state"].to_pylist()
    assert states == ["published"]


def test_the_run_before_is_superseded(ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings) -> None:
    first, second = [_publish(ledger, sink, loaded) for _ in range(2)]
    assert (ledger.run(first).state, ledger.run(second).state) == ("superseded", "published")
    assert ledger.published_run("gadm").run_id == second == published(settings)  # type: ignore[union-attr]


def _publish(ledger: Ledger, sink: GeoParquetSink, loaded: Loaded) -> str:
    run_id = loaded()
    publication.publish(ledger, sink, run_id)
    return run_id


def test_the_newest_two_publications_are_kept(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    made = [_publish(ledger, sink, loaded) for _ in range(4)]
    kept = {folder.name for folder in (settings.lake / "gadm" / "runs").iterdir()}
    assert kept == set(made[-publication.KEPT_PUBLICATIONS :])


def test_a_run_that_a_build_reads_outlives_its_turn_and_goes_with_the_publication_after(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    runs = settings.lake / "gadm" / "runs"
    made = [_publish(ledger, sink, loaded)]
    build = os.open(runs / made[0], os.O_RDONLY)
    fcntl.flock(build, fcntl.LOCK_SH)
    made += [_publish(ledger, sink, loaded) for _ in range(3)]
    assert {folder.name for folder in runs.iterdir()} == {made[0], *made[-publication.KEPT_PUBLICATIONS :]}
    os.close(build)
    made += [_publish(ledger, sink, loaded)]
    assert {folder.name for folder in runs.iterdir()} == set(made[-publication.KEPT_PUBLICATIONS :])


def test_what_a_failed_run_has_left_goes_with_the_next_publication(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    failed = loaded()
    ledger.fail(failed, "why")
    run_id = _publish(ledger, sink, loaded)
    assert [folder.name for folder in (settings.lake / "gadm" / "runs").iterdir()] == [run_id]


def test_publishing_twice_is_publishing_once(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    first, second = [_publish(ledger, sink, loaded) for _ in range(2)]
    for run_id in (first, second):
        publication.publish(ledger, sink, run_id)
    assert published(settings) == second
    assert ledger.run(first).state == "superseded"


def test_a_missing_slice_is_named_with_its_own_error(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    before = _publish(ledger, sink, loaded)
    run_id = loaded(1)
    ledger.release(claimed_slice(ledger, run_id), TargetUnavailable("The disk is gone."), will_retry=False)
    with pytest.raises(CountMismatch, match=rf"1 slices of run {run_id} .* ADM_1 in gadm\.gpkg: The disk is gone\."):
        publication.publish(ledger, sink, run_id)
    assert published(settings) == before
    assert ledger.run(before).state == "published"


def test_of_several_missing_slices_one_that_says_why_is_named(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded
) -> None:
    run_id = loaded(1)
    ledger.release(claimed_slice(ledger, run_id), TargetUnavailable("The disk is gone."), will_retry=False)
    with ledger.transaction() as connection:
        silent = {**vars(planned_slice()), "slice_no": -1, "run_id": run_id, "state": "failed", "spec": "{}"}
        del silent["reading"]
        connection.execute(slices.insert().values(**silent))
    with pytest.raises(CountMismatch, match=r"2 slices of run .* The disk is gone\."):
        publication.publish(ledger, sink, run_id)


def test_a_run_with_slices_still_to_load_is_left_to_who_loads_them(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded
) -> None:
    run_id = loaded(1)
    assert publication.publish(ledger, sink, run_id) is Outcome.INCOMPLETE
    assert ledger.run(run_id).state == "loading"


def test_a_table_that_lost_rows_is_not_published(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    before = _publish(ledger, sink, loaded)
    run_id = loaded()
    (settings.lake / "gadm" / "runs" / run_id / "gadm_adm_1" / "slice-0000.parquet").unlink()
    assert publication.publish(ledger, sink, run_id) is Outcome.INCOMPLETE
    assert published(settings) == before
    assert ledger.run(run_id).state == "loading"
    assert {part.state for part in ledger.slices(run_id) if part.table_name == "gadm_adm_1"} == {"queued"}


def test_a_table_that_loses_its_rows_again_and_again_is_an_error(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    run_id = loaded()
    with ledger.transaction() as connection:
        connection.execute(slices.update().values(attempts=MAX_ATTEMPTS))
    (settings.lake / "gadm" / "runs" / run_id / "gadm_adm_1" / "slice-0000.parquet").unlink()
    with pytest.raises(CountMismatch, match=r"gadm_adm_1 .* holds 0 rows, but its slices loaded 4"):
        publication.publish(ledger, sink, run_id)


def test_a_table_with_rows_too_many_is_not_published(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    run_id = loaded()
    folder = settings.lake / "gadm" / "runs" / run_id / "gadm_adm_1"
    (folder / "slice-0099.parquet").write_bytes((folder / "slice-0000.parquet").read_bytes())
    assert publication.publish(ledger, sink, run_id) is Outcome.INCOMPLETE
    assert [file.name for file in folder.iterdir()] == ["columns.parquet"]


def test_a_sink_that_fails_leaves_the_ledger_as_it_was(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _publish(ledger, sink, loaded)
    run_id = loaded()
    sink.ensure_published("gadm", catalog.get("gadm").tables)

    def refuse(*_args: object) -> None:
        raise TargetUnavailable("The disk is gone.")

    with monkeypatch.context() as broken:
        broken.setattr(sink, "_point", refuse)
        with pytest.raises(TargetUnavailable):
            publication.publish(ledger, sink, run_id)
    assert (ledger.run(before).state, ledger.run(run_id).state) == ("published", "publishing")
    assert sink.fault_of_ledger() == ""
    assert published(settings) == before
    publication.publish(ledger, sink, run_id)
    assert published(settings) == run_id


def test_a_run_that_was_ended_meanwhile_is_not_put_before_the_readers(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _publish(ledger, sink, loaded)
    run_id = loaded()
    monkeypatch.setattr(sink, "finish", lambda *_args: ledger.fail(run_id, "abandoned by hand"))
    publication.publish(ledger, sink, run_id)
    assert published(settings) == before
    assert (ledger.run(before).state, ledger.run(run_id).state) == ("published", "failed")


def test_a_run_that_two_workers_publish_at_once_stays_published(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, others = loaded(), [True]

    def other_worker(*_args: object) -> None:
        if others.pop():
            others.append(False)
            publication.publish(ledger, sink, run_id)

    monkeypatch.setattr(sink, "finish", other_worker)
    publication.publish(ledger, sink, run_id)
    assert ledger.run(run_id).state == "published"
    assert published(settings) == run_id


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.UNCHANGED])
def test_a_run_that_has_ended_is_not_published(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings, state: RunState
) -> None:
    run_id = loaded()
    ledger.set_state(run_id, state)
    publication.publish(ledger, sink, run_id)
    assert ledger.run(run_id).state == state
    assert not (settings.lake / "gadm" / "current").exists()


def test_a_run_that_failed_before_all_slices_were_loaded_is_left_as_it_is(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded
) -> None:
    run_id = loaded(1)
    ledger.fail(run_id, "why")
    assert publication.publish(ledger, sink, run_id) is Outcome.NOT_MINE
    assert ledger.run(run_id).error == "why"


def test_the_files_of_a_run_that_will_not_be_published_are_dropped(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    run_id = loaded()
    publication.drop(ledger, sink, run_id)
    assert not (settings.lake / "gadm" / "runs" / run_id).exists()


def test_a_rollback_returns_to_the_publication_before(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    before, after = _publish(ledger, sink, loaded), _publish(ledger, sink, loaded)
    assert publication.rollback(ledger, sink, "gadm") == before
    assert published(settings) == before
    assert (ledger.run(before).state, ledger.run(after).state) == ("published", "superseded")
    assert publication.rollback(ledger, sink, "gadm") == after


def test_a_rollback_returns_to_the_latest_of_several_publications_before(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    first, second, third = (_publish(ledger, sink, loaded) for _ in range(3))
    assert publication.rollback(ledger, sink, "gadm") == second
    assert published(settings) == second
    assert [ledger.run(run_id).state for run_id in (first, second, third)] == [
        "superseded",
        "published",
        "superseded",
    ]


def test_a_publication_that_is_kept_outlives_the_newer_ones_and_can_be_returned_to(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    first = _publish(ledger, sink, loaded)
    publication.keep(ledger, sink, first, is_kept=True)
    newer = [_publish(ledger, sink, loaded) for _ in range(3)]
    assert {folder.name for folder in (settings.lake / "gadm" / "runs").iterdir()} == {first, *newer[1:]}
    assert publication.rollback(ledger, sink, "gadm", first) == first == published(settings)
    publication.rollback(ledger, sink, "gadm")
    publication.keep(ledger, sink, first, is_kept=False)
    last = [_publish(ledger, sink, loaded) for _ in range(2)]
    assert {folder.name for folder in (settings.lake / "gadm" / "runs").iterdir()} == set(last)


def test_only_a_publication_whose_tables_are_there_is_kept_or_returned_to(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded
) -> None:
    first, _, third = (_publish(ledger, sink, loaded) for _ in range(3))
    with pytest.raises(RunNotFound, match=f"The tables of run {first} are gone"):
        publication.keep(ledger, sink, first, is_kept=True)
    with pytest.raises(RunNotFound, match=f"Run {first} has lost rows"):
        publication.rollback(ledger, sink, "gadm", first)
    with pytest.raises(RunNotFound, match="is no earlier publication: it is published"):
        publication.rollback(ledger, sink, "gadm", third)
    pending = loaded()
    with pytest.raises(RunNotFound, match="was not published: it is loading"):
        publication.keep(ledger, sink, pending, is_kept=True)


def test_what_was_rolled_back_from_is_the_first_to_go(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    good, bad = _publish(ledger, sink, loaded), _publish(ledger, sink, loaded)
    publication.rollback(ledger, sink, "gadm")
    newest = _publish(ledger, sink, loaded)
    assert {folder.name for folder in (settings.lake / "gadm" / "runs").iterdir()} == {good, newest}
    assert ledger.run(bad).state == RunState.SUPERSEDED
    assert publication.rollback(ledger, sink, "gadm") == good


def test_a_rollback_returns_to_what_readers_saw_before_though_the_clock_was_set_back(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as ahead:
        ahead.setattr(ledger, "clock", an_hour_ahead)
        _publish(ledger, sink, loaded)
    second, third = _publish(ledger, sink, loaded), _publish(ledger, sink, loaded)
    assert {folder.name for folder in (settings.lake / "gadm" / "runs").iterdir()} == {second, third}
    assert publication.rollback(ledger, sink, "gadm") == second
    assert publication.rollback(ledger, sink, "gadm") == third


def test_a_rollback_to_a_publication_that_lost_rows_is_refused(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings
) -> None:
    before, after = _publish(ledger, sink, loaded), _publish(ledger, sink, loaded)
    (settings.lake / "gadm" / "runs" / before / "gadm_adm_1" / "slice-0000.parquet").unlink()
    with pytest.raises(RunNotFound, match=f"Run {before} has lost rows of gadm_adm_1"):
        publication.rollback(ledger, sink, "gadm")
    assert published(settings) == after


def test_a_rollback_to_tables_of_an_older_version_is_refused(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = _publish(ledger, sink, loaded), _publish(ledger, sink, loaded)
    with ledger.transaction() as connection:
        connection.execute(runs.update().where(runs.c.run_id == before).values(identity='[1, "", []]'))
    with pytest.raises(RunNotFound, match=f"The tables of run {before} were made by an older version"):
        publication.rollback(ledger, sink, "gadm")
    assert published(settings) == after


def test_a_dataset_without_a_publication_before_has_nothing_to_return_to(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded
) -> None:
    _publish(ledger, sink, loaded)
    with pytest.raises(RunNotFound, match="no publication to return to"):
        publication.rollback(ledger, sink, "gadm")


def test_of_two_rollbacks_at_once_one_is_refused(
    ledger: Ledger, sink: GeoParquetSink, loaded: Loaded, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (_publish(ledger, sink, loaded) for _ in range(2))
    count = publication.lost_tables

    def other_command(ledger: Ledger, sink: GeoParquetSink, run: Run) -> list[str]:
        monkeypatch.setattr(publication, "lost_tables", count)
        publication.rollback(ledger, sink, "gadm")
        return count(ledger, sink, run)

    monkeypatch.setattr(publication, "lost_tables", other_command)
    with pytest.raises(RunInProgress, match="in the meantime"):
        publication.rollback(ledger, sink, "gadm")
    assert published(settings) == first
    assert (ledger.run(first).state, ledger.run(second).state) == ("published", "superseded")
