"""The lake: whole files or none, one link that says which run is read, and the ledger beside it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from duckdb_extensions import import_extension

from ingest import catalog, engines
from ingest.catalog import Table
from ingest.errors import DiskFull, SliceTaken
from ingest.ledger import ClaimedSlice, Ledger, Request, RunState
from ingest.pipeline import retries
from ingest.settings import Postgres, Settings
from ingest.sinks import Staging, geoparquet, postgres
from ingest.sinks.geoparquet import GeoParquetSink
from tests.fixtures import boundaries
from tests.ingest.conftest import batches_of, claimed_slice, expire_leases, planned_slice

MakeRequest = Callable[..., Request]


@pytest.fixture
def staging(ledger: Ledger, sink: GeoParquetSink, request_of: MakeRequest, gadm: catalog.Dataset) -> Staging:
    """A run with three slices, its folders in place."""
    run_id = ledger.create_run(request_of(), None)
    ledger.set_state(run_id, RunState.PLANNING)
    ledger.create_slices(run_id, [planned_slice() for _ in range(3)])
    made = Staging(run_id, "gadm", "4.1")
    sink.prepare(made, gadm.tables)
    return made


@pytest.fixture
def level_1(tmp_path: Path) -> Path:
    """A file with four units at level 1, one of them without geometry."""
    made = boundaries.levels({"AAA": 1})
    boundaries.set_cell(made, 1, 3, "geometry", None)
    return boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made)


def write(ledger: Ledger, sink: GeoParquetSink, staging: Staging, path: Path, slice_no: int = 0) -> int:
    """Claim a slice and load it."""
    return load(sink, staging, path, claimed_slice(ledger, staging.run_id, slice_no))


def load(sink: GeoParquetSink, staging: Staging, path: Path, claimed: ClaimedSlice) -> int:
    """Load a slice as one of its claimants."""
    table = catalog.get("gadm").table(1)
    noted = lambda rows: Ledger.loaded(claimed, rows_read=rows, rows_loaded=rows)  # noqa: E731
    return sink.write(staging, claimed.slice_no, table, batches_of(path), noted)


def folder(settings: Settings, staging: Staging, table: str = "gadm_adm_1") -> Path:
    """Return where the files of a table of a run are."""
    return settings.lake / "gadm" / "runs" / staging.run_id / table


def parquet(settings: Settings, staging: Staging, table: str = "gadm_adm_1") -> list[str]:
    """Return the names of all files of a table of a run."""
    return sorted(file.name for file in folder(settings, staging, table).iterdir())


def publish(ledger: Ledger, sink: GeoParquetSink, staging: Staging) -> None:
    """Point the readers at a run."""
    with ledger.transaction() as connection:
        sink.publish(connection, staging, catalog.get("gadm").tables)


def test_what_is_written_can_be_read_by_geopandas(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, level_1: Path, settings: Settings
) -> None:
    assert write(ledger, sink, staging, level_1) == 4
    publish(ledger, sink, staging)
    frame = gpd.read_parquet(settings.lake / "gadm" / "current" / "gadm_adm_1" / "slice-0000.parquet")
    assert frame.crs.equals("OGC:CRS84")
    origin = ["run_id", "release", "file_no", "source_file", "source_layer", "source_fid"]
    assert list(frame.columns[:8]) == [*origin, "country", "gid_0"]
    assert frame["gid_1"].tolist() == [f"AAA.{number}_1" for number in range(1, 5)]
    assert set(frame["run_id"]) == {staging.run_id}
    assert set(frame["release"]) == {"4.1"}
    assert shapely.area(frame.geometry.to_numpy()).tolist()[:3] == [16.0] * 3
    assert frame.geometry[3] is None


def test_a_loaded_slice_is_recorded_with_size_and_checksum_of_its_file(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, level_1: Path, settings: Settings
) -> None:
    write(ledger, sink, staging, level_1)
    content = (folder(settings, staging) / "slice-0000.parquet").read_bytes()
    loaded, other, *_ = ledger.slices(staging.run_id)
    assert (loaded.stored_bytes, loaded.stored_sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (other.stored_bytes, other.stored_sha256) == (None, None)


def test_what_is_written_can_be_read_by_duckdb_as_geometry(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, level_1: Path, settings: Settings
) -> None:
    write(ledger, sink, staging, level_1, 0)
    write(ledger, sink, staging, level_1, 1)
    publish(ledger, sink, staging)
    with duckdb.connect() as connection:
        import_extension("spatial", con=connection)
        connection.load_extension("spatial")
        files = settings.lake / "gadm" / "current" / "gadm_adm_1" / "*.parquet"
        facts = "count(*), sum(st_area(geom)), count(geom), any_value(st_geometrytype(geom))::text"
        found = connection.execute(f"select {facts} from read_parquet(?)", [str(files)]).fetchone()
    assert found == (8, 96.0, 6, "MULTIPOLYGON")


def test_a_row_group_ends_before_the_batch_that_would_make_it_too_heavy(
    ledger: Ledger,
    sink: GeoParquetSink,
    staging: Staging,
    level_1: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, last = batches_of(level_1)
    monkeypatch.setattr(geoparquet, "ROW_GROUP_BYTES", first.nbytes + last.nbytes - 1)
    write(ledger, sink, staging, level_1, 0)
    monkeypatch.setattr(geoparquet, "ROW_GROUP_BYTES", first.nbytes + last.nbytes)
    write(ledger, sink, staging, level_1, 1)
    groups = []
    for name in ("slice-0000.parquet", "slice-0001.parquet"):
        facts = pq.read_metadata(folder(settings, staging) / name)
        groups.append([facts.row_group(number).num_rows for number in range(facts.num_row_groups)])
    assert groups == [[3, 1], [4]]


def test_no_smallest_and_largest_geometry_is_sought(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, level_1: Path, settings: Settings
) -> None:
    write(ledger, sink, staging, level_1)
    file = folder(settings, staging) / "slice-0000.parquet"
    columns = pq.read_metadata(file).row_group(0).to_dict()["columns"]
    without = [column["path_in_schema"] for column in columns if not column["is_stats_set"]]
    assert without == ["geom"]


def test_no_dictionary_of_geometry_is_made(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, level_1: Path, settings: Settings
) -> None:
    write(ledger, sink, staging, level_1)
    columns = pq.read_metadata(folder(settings, staging) / "slice-0000.parquet").row_group(0).to_dict()["columns"]
    with_dictionary = {column["path_in_schema"]: "RLE_DICTIONARY" in column["encodings"] for column in columns}
    assert (with_dictionary["geom"], with_dictionary["country"]) == (False, True)


def test_every_table_can_be_read_before_anything_is_loaded(
    ledger: Ledger, sink: GeoParquetSink, settings: Settings
) -> None:
    for name, dataset in catalog.datasets().items():
        sink.ensure_published(name, dataset.tables)
        for table in dataset.tables:
            (file,) = (settings.lake / name / "current" / table.name).glob("*.parquet")
            read = pq.read_table(file)
            assert read.num_rows == 0
            texts = [column.name for column in table.columns]
            facts = [fact for fact, _ in engines.FACTS]
            origin = ["file_no", "source_file", "source_layer", "source_fid"]
            assert read.column_names == ["run_id", "release", *origin, *texts, "geom", *facts]
    assert pq.read_metadata(settings.lake / "ledger" / "ingest_runs.parquet").num_rows == 0


def test_empty_tables_of_an_older_version_get_the_columns_that_are_missing(
    ledger: Ledger, sink: GeoParquetSink, settings: Settings
) -> None:
    sink.ensure_published("gadm", catalog.get("gadm").tables)
    file = settings.lake / "gadm" / "current" / "gadm_adm_1" / "columns.parquet"
    pq.write_table(pq.read_table(file).drop_columns("source_layer"), file)
    sink.ensure_published("gadm", catalog.get("gadm").tables)
    assert "source_layer" in pq.read_schema(file).names


def test_what_is_published_stays_when_tables_are_ensured_again(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, level_1: Path, settings: Settings
) -> None:
    write(ledger, sink, staging, level_1)
    publish(ledger, sink, staging)
    sink.ensure_published("gadm", catalog.get("gadm").tables)
    assert (settings.lake / "gadm" / "current").resolve().name == staging.run_id


def test_a_link_to_a_run_that_is_gone_is_pointed_at_an_empty_one(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, settings: Settings
) -> None:
    publish(ledger, sink, staging)
    sink.drop(staging, catalog.get("gadm").tables)
    sink.ensure_published("gadm", catalog.get("gadm").tables)
    for table in catalog.get("gadm").tables:
        (file,) = (settings.lake / "gadm" / "current" / table.name).glob("*.parquet")
        assert pq.read_metadata(file).num_rows == 0


def test_a_reader_who_has_opened_the_run_before_reads_it_to_the_end(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, level_1: Path, settings: Settings
) -> None:
    write(ledger, sink, staging, level_1)
    publish(ledger, sink, staging)
    seen_before = (settings.lake / "gadm" / "current").resolve()
    other = Staging("another", "gadm", "3.6")
    sink.prepare(other, catalog.get("gadm").tables)
    publish(ledger, sink, other)
    assert (settings.lake / "gadm" / "current").resolve().name == "another"
    assert pq.read_metadata(seen_before / "gadm_adm_1" / "slice-0000.parquet").num_rows == 4


def test_there_is_a_link_at_every_moment_of_a_publication(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(ledger, sink, staging)
    link, seen = settings.lake / "gadm" / "current", []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append(link.exists())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    publish(ledger, sink, staging)
    assert seen
    assert all(seen)


def test_a_publication_that_fails_changes_neither_the_link_nor_the_ledger(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.ensure_published("gadm", catalog.get("gadm").tables)

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(DiskFull, match="gadm is full"):
        publish(ledger, sink, staging)
    assert (settings.lake / "gadm" / "current").resolve().name == "empty"
    assert ledger.run(staging.run_id).state == "loading"


def test_a_slice_that_breaks_off_leaves_no_file(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, level_1: Path, settings: Settings
) -> None:
    whole = batches_of(level_1)

    def breaks_off() -> Iterator[pa.RecordBatch]:
        yield whole.read_next_batch()
        raise OSError("the file is damaged")

    before = parquet(settings, staging)
    broken = pa.RecordBatchReader.from_batches(whole.schema, breaks_off())
    with pytest.raises(OSError, match="damaged"):
        sink.write(staging, 0, catalog.get("gadm").table(1), broken, lambda _rows: pytest.fail("not loaded"))
    assert parquet(settings, staging) == before
    assert ledger.slices(staging.run_id)[0].state == "queued"


def test_a_disk_that_fills_up_under_a_slice_is_told_as_such_and_leaves_no_file(
    ledger: Ledger,
    sink: GeoParquetSink,
    staging: Staging,
    level_1: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_self: object, _table: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(DiskFull, match="gadm_adm_1 is full") as caught:
        write(ledger, sink, staging, level_1)
    assert retries.policy(caught.value) is retries.NEVER
    assert parquet(settings, staging) == ["columns.parquet"]
    assert ledger.slices(staging.run_id)[0].state == "running"


def test_a_disk_that_fills_up_under_the_copy_of_the_ledger_is_told_as_such(
    ledger: Ledger, sink: GeoParquetSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sink.ensure_published("gadm", catalog.get("gadm").tables)
    monkeypatch.setattr(pq, "write_table", full)
    monkeypatch.setattr(sink, "shown_runs", lambda *_arguments: {"a run"})
    with pytest.raises(DiskFull, match="ledger is full"):
        sink.ensure_published("gadm", catalog.get("gadm").tables)


def test_a_full_disk_of_postgresql_is_no_server_that_is_away() -> None:
    where = Postgres(host="h", port=1, user="u", password="", dbname="d")
    fault = postgres._database_error(where, "53100", "could not extend file: No space left on device")
    assert isinstance(fault, DiskFull)
    assert "Free some space" in fault.hint


@pytest.mark.parametrize(
    ("sqlstate", "may_pass"),
    [
        (None, True),  # the connection is gone, and nobody is left to say why
        *((state, True) for state in ("08006", "40001", "40P01", "53300", "55P03", "57P01", "57P03", "58030")),
        *((state, False) for state in ("22021", "23505", "42501", "42P01", "53100", "XX000")),
    ],
)
def test_a_fault_of_postgresql_that_may_pass_is_tried_again_and_no_other(sqlstate: str | None, may_pass: bool) -> None:
    where = Postgres(host="h", port=1, user="u", password="", dbname="d")
    fault = postgres._database_error(where, sqlstate, "FATAL: something happened\nDETAIL: more")
    assert (retries.policy(fault) is not retries.NEVER) is may_pass
    assert fault.message == "u@h:1/d: FATAL: something happened"


def test_a_slice_that_is_refused_leaves_no_file(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, level_1: Path, settings: Settings
) -> None:
    def refuse(rows: int) -> None:
        raise ValueError(f"{rows} rows are not enough")

    with pytest.raises(ValueError, match="4 rows"):
        sink.write(staging, 0, catalog.get("gadm").table(1), batches_of(level_1), refuse)  # type: ignore[arg-type]
    assert parquet(settings, staging) == ["columns.parquet"]


def test_a_slice_whose_file_cannot_be_put_in_place_is_not_noted_as_loaded(
    ledger: Ledger,
    sink: GeoParquetSink,
    staging: Staging,
    level_1: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(_self: Path, _target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write(ledger, sink, staging, level_1)
    assert ledger.slices(staging.run_id)[0].state == "running"
    assert parquet(settings, staging) == ["columns.parquet"]


def test_the_second_claimant_wins_and_the_first_is_told(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, level_1: Path, settings: Settings
) -> None:
    first = claimed_slice(ledger, staging.run_id)
    expire_leases(ledger)
    second = claimed_slice(ledger, staging.run_id)
    with pytest.raises(SliceTaken, match=r"Slice 0 .* was taken over"):
        load(sink, staging, level_1, first)
    assert parquet(settings, staging) == ["columns.parquet"]
    assert load(sink, staging, level_1, second) == 4
    assert sink.count(staging, catalog.get("gadm").table(1)) == 4


def test_a_slice_that_is_loaded_twice_counts_once(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, level_1: Path
) -> None:
    claimed = claimed_slice(ledger, staging.run_id)
    load(sink, staging, level_1, claimed)
    with pytest.raises(SliceTaken):
        load(sink, staging, level_1, claimed)
    assert sink.count(staging, catalog.get("gadm").table(1)) == 4


def test_a_draft_that_a_killed_worker_left_is_no_obstacle_and_no_row(
    ledger: Ledger,
    sink: GeoParquetSink,
    staging: Staging,
    level_1: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as killed:  # a process that is killed tidies nothing up
        killed.setattr(Path, "unlink", lambda *_args, **_kwargs: None)
        killed.setattr(Path, "replace", lambda *_args: None)
        publish(ledger, sink, staging)
    publish(ledger, sink, staging)
    assert (settings.lake / "gadm" / "current").resolve().name == staging.run_id


def test_the_ledger_beside_the_files_has_no_internals(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, settings: Settings
) -> None:
    publish(ledger, sink, staging)
    runs = pq.read_table(settings.lake / "ledger" / "ingest_runs.parquet")
    slices = pq.read_table(settings.lake / "ledger" / "ingest_slices.parquet")
    assert runs["run_id"].to_pylist() == [staging.run_id]
    assert slices.num_rows == 3
    assert not {"request", "identity", "spec"} & {*runs.column_names, *slices.column_names}
    assert runs.schema.field("requested_at").type == pa.timestamp("us", tz="UTC")


def test_a_run_that_is_dropped_leaves_nothing(sink: GeoParquetSink, staging: Staging, settings: Settings) -> None:
    tables: tuple[Table, ...] = catalog.get("gadm").tables
    sink.drop(staging, tables)
    sink.drop(staging, tables)
    assert not (settings.lake / "gadm" / "runs" / staging.run_id).exists()
    assert sink.count(staging, tables[0]) == 0


@contextmanager
def reading(run: Path) -> Iterator[int]:
    """Hold a run as a build does that reads it."""
    descriptor = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_run_that_a_build_reads_is_kept_until_the_build_has_ended(
    sink: GeoParquetSink, staging: Staging, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = parquet(settings, staging)
    with reading(folder(settings, staging).parent), reading(folder(settings, staging).parent):
        sink.drop(staging, ())
        assert parquet(settings, staging) == before
    assert caplog.messages == [
        f"Run {staging.run_id} of gadm is kept for now because a build is reading it; "
        "the next load tries again to remove it."
    ]
    sink.drop(staging, ())
    assert not folder(settings, staging).parent.exists()


def test_no_build_gets_hold_of_a_run_that_is_being_dropped(
    sink: GeoParquetSink, staging: Staging, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder(settings, staging).parent
    opened = os.open(run, os.O_RDONLY)  # by a build that is about to lock it
    rename, refused = Path.rename, []

    def build_comes_in_between(self: Path, target: Path) -> Path:
        with pytest.raises(BlockingIOError), reading(self):
            pass
        refused.append(self)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", build_comes_in_between)
    sink.drop(staging, ())
    assert refused == [run]
    fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert not run.exists(), "which is how the build notices"
    os.close(opened)


def test_no_file_is_removed_from_where_readers_look_and_what_a_kill_leaves_is_removed_by_the_next(
    ledger: Ledger, sink: GeoParquetSink, staging: Staging, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder(settings, staging).parent
    files = sorted(path.name for path in run.rglob("*"))

    def killed(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            sink.drop(staging, ())
    (left,) = run.parent.iterdir()
    assert left != run
    assert sorted(path.name for path in left.rglob("*")) == files
    assert sink.stored_runs("gadm", ()) == set()
    sink.drop(Staging("another", "gadm", "4.1"), ())
    assert list(run.parent.iterdir()) == []


def test_a_run_that_cannot_be_removed_is_no_error_of_the_load(
    sink: GeoParquetSink,
    staging: Staging,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(Path, "rename", refuse)
    sink.drop(staging, ())
    assert "because of an error: [Errno 13] Permission denied; the next load tries again" in caplog.text
    assert sink.stored_runs("gadm", ()) == {staging.run_id}


def test_the_files_say_what_geoparquet_wants_to_hear(
    sink: GeoParquetSink, staging: Staging, settings: Settings
) -> None:
    file = folder(settings, staging) / "columns.parquet"
    geo = json.loads(pq.read_schema(file).metadata[b"geo"])
    assert (geo["primary_column"], geo["columns"]["geom"]["encoding"]) == ("geom", "WKB")
    assert geo["columns"]["geom"]["geometry_types"] == [shapely.MultiPolygon.__name__]
