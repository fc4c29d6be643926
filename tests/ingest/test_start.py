"""What the commands do before and after the tasks: what is unchanged is left, what is lost is loaded again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ingest import catalog, console, sinks
from ingest.errors import UsageError
from ingest.ledger import Ledger, Request
from ingest.pipeline import runs as loading
from ingest.settings import Settings
from tests.fixtures import boundaries
from tests.ingest.conftest import Pipeline


@pytest.fixture
def started(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were started; their tasks run at once, in this process."""
    made: list[str] = []

    def at_once(
        _settings: Settings, ledger: Ledger, _reporter: object, run_ids: Sequence[str], **_options: object
    ) -> None:
        made.extend(run_ids)
        for run_id in run_ids:
            pipeline.tasks.submit(ledger, run_id)

    monkeypatch.setattr(loading, "_see_through", at_once)
    return made


@pytest.fixture
def request_of_a_file(pipeline: Pipeline, tmp_path: Path) -> Request:
    """A request for a file with two levels."""
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))
    return pipeline.make_request("gadm", str(path))


def run(request: Request, *, force: bool = False) -> None:
    """Load a request as the command does."""
    loading.start([request], console, workers=1, force=force)


def test_an_unchanged_file_is_loaded_again_only_by_force(
    pipeline: Pipeline, request_of_a_file: Request, started: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(request_of_a_file)
    run(request_of_a_file)
    assert len(started) == 1
    assert f"unchanged since run {started[0]}" in capsys.readouterr().out
    run(request_of_a_file, force=True)
    assert [run.state for run in pipeline.ledger.recent_runs()] == ["published", "unchanged", "superseded"]


def test_a_load_that_replaces_something_else_says_so_before_it_begins(
    pipeline: Pipeline,
    request_of_a_file: Request,
    started: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(request_of_a_file)
    run(request_of_a_file, force=True)
    assert "replaces" not in capsys.readouterr().out
    other = boundaries.write_levels_gpkg(tmp_path / "other.gpkg", boundaries.levels({"BBB": 0}))
    run(replace(request_of_a_file, sources=(str(other),)))
    run(replace(request_of_a_file, release="3.6"))
    said = [
        line for line in " ".join(capsys.readouterr().out.split()).split("gadm: this ") if line.startswith("replaces")
    ]
    assert said[0].startswith(f"replaces the 5 rows of run {started[1]}: gadm.gpkg by other.gpkg.")
    assert said[1].startswith(f"replaces the 1 rows of run {started[2]}: release 4.1 by 3.6, other.gpkg by gadm.gpkg.")


def test_that_a_file_was_found_unchanged_can_be_read_beside_the_tables(
    pipeline: Pipeline, request_of_a_file: Request, started: list[str]
) -> None:
    run(request_of_a_file)
    run(request_of_a_file)
    states = pq.read_table(pipeline.lake / "ledger" / "ingest_runs.parquet")["state"].to_pylist()
    assert sorted(states) == ["published", "unchanged"]


def test_an_unchanged_file_whose_rows_were_lost_is_loaded_again(
    pipeline: Pipeline, request_of_a_file: Request, started: list[str]
) -> None:
    run(request_of_a_file)
    for file in (pipeline.lake / "gadm" / "current" / "gadm_adm_1").glob("slice-*.parquet"):
        file.unlink()
    run(request_of_a_file)
    assert len(started) == 2
    assert pipeline.rows("gadm_adm_1") == 4


def test_a_file_is_loaded_again_with_other_options(
    pipeline: Pipeline, request_of_a_file: Request, started: list[str]
) -> None:
    run(request_of_a_file)
    other = pipeline.make_request("gadm", *request_of_a_file.sources, engine="geopandas")
    run(other)
    assert len(started) == 2


def test_an_abandoned_run_leaves_no_tables_and_changes_nothing_for_readers(
    pipeline: Pipeline, request_of_a_file: Request, started: list[str], settings: Settings
) -> None:
    run(request_of_a_file)
    run_id = pipeline.ledger.create_run(request_of_a_file, None)
    staging = sinks.Staging(run_id, "gadm", "4.1")
    sinks.get(settings).prepare(staging, catalog.get("gadm").tables)
    assert (pipeline.lake / "gadm" / "runs" / run_id).exists()
    loading.abandon(run_id, console)
    assert not (pipeline.lake / "gadm" / "runs" / run_id).exists()
    assert pipeline.ledger.run(run_id).state == "failed"
    assert pipeline.rows("gadm_adm_1") == 4
    with pytest.raises(UsageError, match="has ended: failed"):
        loading.abandon(run_id, console)


def test_an_address_is_given_again_to_one_run_and_not_to_all(
    pipeline: Pipeline, request_of_a_file: Request, started: list[str]
) -> None:
    pipeline.ledger.create_run(request_of_a_file, None)
    with pytest.raises(UsageError, match="--source needs the run that it belongs to"):
        loading.resume(None, console, workers=1, sources=["https://host/gadm.gpkg?signature=x"])
    assert started == []
