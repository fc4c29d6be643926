"""What a publication has changed is counted from the raw tables: keys, names and hashes of shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from ingest import catalog
from ingest.errors import TargetUnavailable
from ingest.ledger import ClaimedSlice, Ledger, Request, RunState
from ingest.settings import Settings
from ingest.sinks import Staging, difference
from ingest.sinks.difference import Difference, Raw
from ingest.sinks.geoparquet import GeoParquetSink
from tests.fixtures import boundaries
from tests.ingest.conftest import batches_of, claimed_slice, planned_slice

MakeRequest = Callable[..., Request]
Row = tuple[str | None, str | None, str | None]


def compare(before: Sequence[Row], after: Sequence[Row], *, has_hash: bool = True) -> Difference:
    """Compare rows of (key, name, hash) of one level of GADM."""
    gadm = catalog.get("gadm")
    sides = []
    with duckdb.connect() as connection:
        for name, rows in (("earlier", before), ("later", after)):
            connection.execute(f"create table {name} (source_layer text, gid_1 text, name_1 text, geom_hash text)")
            connection.executemany(f"insert into {name} values ('ADM_1', ?, ?, ?)", rows)
            sides.append([Raw(gadm.table(1), name, has_hash)])
        row = connection.execute(difference.query(gadm, *sides)).fetchone()
    assert row is not None
    return difference.from_row(row, *sides)


def test_keys_names_and_shapes_are_compared() -> None:
    before: list[Row] = [
        ("A", "Ayr", "1"),
        ("B", "Bonn", "2"),
        ("C", "Cork", "3"),
        ("D", None, "4"),
        ("E", "Ely", None),
    ]
    after: list[Row] = [
        ("A", "Ayr", "1"),
        ("B", "Born", "2"),
        ("C", "Cork", "0"),
        ("D", "Deal", "4"),
        ("F", "Fes", "6"),
    ]
    assert compare(before, after) == Difference(new=1, gone=1, renamed=1, reshaped=1)
    assert compare(after, before) == Difference(new=1, gone=1, renamed=1, reshaped=1)


def test_a_shape_that_appears_or_vanishes_is_another_shape() -> None:
    assert compare([("A", "Ayr", None)], [("A", "Ayr", "1")]).reshaped == 1


def test_rows_of_a_key_count_once_in_any_order_and_rows_without_one_do_not() -> None:
    before: list[Row] = [("A", "Ayr", "1"), ("A", "Ayr", "2"), (None, "x", "3"), ("NA", "y", "4")]
    assert compare(before, [before[1], before[0]]) == Difference(0, 0, 0, 0)
    assert compare(before, before[:1]) == Difference(0, 0, 0, 1)


def test_shapes_are_unknown_where_an_older_version_has_loaded_them() -> None:
    assert compare([("A", "Ayr", "1")], [("A", "Ayr", "2")], has_hash=False).reshaped is None


def test_a_unit_of_overture_has_the_shape_of_its_area() -> None:
    overture = catalog.get("overture")
    columns = "source_layer text, id text, division_id text, name text, geom_hash text"
    with duckdb.connect() as connection:
        sides = []
        for name, shape in (("earlier", "1"), ("later", "2")):
            connection.execute(f"create table {name} ({columns})")
            connection.execute(f"insert into {name} values ('division', 'D', null, 'Ayr', null)")
            connection.execute(f"insert into {name} values ('division_area', 'A{shape}', 'D', 'Air', '{shape}')")
            sides.append([Raw(overture.table(1), name, True)])
        row = connection.execute(difference.query(overture, *sides)).fetchone()
    assert row == (0, 0, 0, 1)


@pytest.mark.parametrize("name", catalog.datasets())
def test_every_dataset_can_be_compared(name: str) -> None:
    dataset = catalog.get(name)
    tables = [Raw(table, table.name, True) for table in dataset.tables]
    with duckdb.connect() as connection:
        for table in dataset.tables:
            columns = ", ".join(f"{column.name} text" for column in table.columns)
            connection.execute(f"create table {table.name} (source_layer text, {columns}, geom_hash text)")
        assert connection.execute(difference.query(dataset, tables, tables)).fetchone() == (0, 0, 0, 0)


def _noted(claimed: ClaimedSlice, rows: int) -> sa.Update:
    return Ledger.loaded(claimed, rows_read=rows, rows_loaded=rows)


@pytest.fixture
def runs(ledger: Ledger, sink: GeoParquetSink, request_of: MakeRequest, tmp_path: Path) -> tuple[Staging, Staging]:
    """Two runs in the lake: the later has a country more, and a unit with another name."""
    gadm, made = catalog.get("gadm"), list[Staging]()
    for countries in ({"AAA": 1}, {"AAA": 1, "BBB": 1}):
        levels = boundaries.levels(countries)
        if made:
            boundaries.set_cell(levels, 1, 0, "NAME_1", "Otherwise")
        path = boundaries.write_levels_gpkg(tmp_path / f"{len(made)}.gpkg", levels)
        run_id = ledger.create_run(request_of(), None)
        ledger.set_state(run_id, RunState.PLANNING)
        ledger.create_slices(run_id, [planned_slice()])
        staging = Staging(run_id, "gadm", "4.1")
        sink.prepare(staging, gadm.tables)
        noted = partial(_noted, claimed_slice(ledger, run_id))
        sink.write(staging, 0, gadm.table(1), batches_of(path), noted)
        ledger.set_state(run_id, RunState.FAILED)  # a dataset has one active run at most
        made.append(staging)
    return made[0], made[1]


def test_the_files_of_two_runs_are_compared(runs: tuple[Staging, Staging], sink: GeoParquetSink) -> None:
    assert sink.compare(*runs, catalog.get("gadm")) == Difference(new=4, gone=0, renamed=1, reshaped=0)


def test_files_of_an_older_version_have_no_hashes(
    runs: tuple[Staging, Staging], sink: GeoParquetSink, settings: Settings
) -> None:
    for path in (settings.lake / "gadm" / "runs" / runs[0].run_id / "gadm_adm_1").glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["geom_hash"]), path)
    assert sink.compare(*runs, catalog.get("gadm")) == Difference(new=4, gone=0, renamed=1, reshaped=None)


def test_files_that_are_gone_are_a_known_failure(runs: tuple[Staging, Staging], sink: GeoParquetSink) -> None:
    sink.drop(runs[0], catalog.get("gadm").tables)
    with pytest.raises(TargetUnavailable, match="cannot be compared"):
        sink.compare(*runs, catalog.get("gadm"))


def test_a_comparison_that_takes_too_long_is_ended(
    runs: tuple[Staging, Staging], sink: GeoParquetSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(difference, "SECONDS", 0.05)
    monkeypatch.setattr(
        difference, "query", lambda *_arguments: "select count(*) from range(1000000) a, range(1000000) b"
    )
    with pytest.raises(TargetUnavailable, match="INTERRUPT"):
        sink.compare(*runs, catalog.get("gadm"))
