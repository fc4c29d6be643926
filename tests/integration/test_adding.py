"""A load that is added to a publication on PostgreSQL: rows are copied within the server. Of marts, see test_parity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ingest import catalog, settings
from ingest.errors import BaseUnusable, SliceTaken
from ingest.layers import plan
from ingest.ledger import Ledger, Request, Run
from ingest.pipeline import adding, publication, steps, tasks
from ingest.pipeline.queue import huey
from ingest.settings import Settings
from ingest.sinks import Staging, get, postgres
from tests.fixtures import boundaries
from tests.ingest.conftest import expire_leases
from tests.integration.conftest import NewWarehouse, Warehouse

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def warehouse(new_warehouse: NewWarehouse) -> Iterator[Warehouse]:
    """A database whose connections of this process are closed at the end."""
    made = new_warehouse()
    yield made
    found = settings.read_settings(made.env)
    assert found.postgres is not None
    Ledger(found)._engine.dispose()
    session = postgres._sessions.pop(found.postgres, None)
    if session is not None:
        session.close()


@pytest.fixture
def target(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Its settings, for tasks that run at once in this process."""
    found = settings.read_settings(warehouse.env)
    ledger = Ledger(found)
    ledger.open()
    monkeypatch.setattr(tasks, "read_settings", lambda: found)
    monkeypatch.setattr(huey, "immediate", True)
    yield found
    for run in ledger.active_runs():
        ledger.fail(run.run_id, "the test has ended")


def load(target: Settings, path: Path, base: Run | None = None) -> Run:
    """Load a file, or add it to a publication, and return the run, whatever became of it."""
    ledger, request = Ledger(target), Request("gadm", "4.1", "sedonadb", (str(path),), "custom")
    if base:
        request = adding.prepared(ledger, replace(request, is_added=True), base)
    run_id = ledger.create_run(request, None, base=base)
    tasks.submit(ledger, run_id)
    return ledger.run(run_id)


def test_what_is_there_is_what_a_load_of_both_gives_and_goes_on_without_its_base(
    warehouse: Warehouse, target: Settings, tmp_path: Path
) -> None:
    both = boundaries.levels({"AAA": 2, "BBB": 2})
    boundaries.set_cell(both, 1, 0, "GID_0", boundaries.MISSING)  # a row of no country is nobody's to replace
    path = boundaries.write_levels_gpkg(tmp_path / "it's 100% \\ world.gpkg", both)
    new = boundaries.write_levels_gpkg(tmp_path / "new.gpkg", boundaries.levels({"BBB": 1}))
    base = load(target, path)
    run = load(target, new, base)
    assert (run.state, run.error, run.rows_replaced, run.rows_loaded) == ("published", None, 21, 26)
    names = [table.name for table in catalog.get("gadm").tables]
    counts = [warehouse.one(f"select count(*) from raw.{name}") for name in names]
    assert counts == [2, 8, 16, 0, 0, 0]
    origins = "select file_no, source_file, gid_0, count(*) from raw.gadm_adm_1 group by 1, 2, 3 order by 1, 3"
    assert warehouse.query(origins) == [
        (0, path.name, "AAA", 3),
        (0, path.name, None, 1),
        (1, "new.gpkg", "BBB", 4),
    ]
    ledger, sink = Ledger(target), get(target)
    publication.rollback(ledger, sink, "gadm")
    assert warehouse.one("select count(*) from raw.gadm_adm_2") == 32
    publication.rollback(ledger, sink, "gadm")
    sink.drop(Staging.of(base), catalog.get("gadm").tables)
    again = load(target, new, run)
    assert (again.state, again.rows_loaded) == ("published", 26)


def test_a_slice_is_carried_over_once_and_not_without_its_rows(
    warehouse: Warehouse, target: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(target)
    monkeypatch.setattr(plan, "MIN_SLICE_BYTES", 200)
    base = load(target, boundaries.write_levels_gpkg(tmp_path / "a.gpkg", boundaries.levels({"AAA": 1, "BBB": 1})))
    new = boundaries.write_levels_gpkg(tmp_path / "b.gpkg", boundaries.levels({"BBB": 0}))
    request = Request("gadm", "4.1", "sedonadb", (str(new),), "custom", is_added=True)
    run_id = ledger.create_run(adding.prepared(ledger, request, base), None, base=base)
    file = ledger.claim_file(run_id, 1)
    assert file is not None
    steps.fetch(target, ledger, file)
    planning = steps.claim_planning(ledger, run_id)
    assert planning is not None
    ledger.create_slices(run_id, steps.plan_slices(target, ledger, *planning))
    part, *others = [part for part in ledger.slices(run_id) if part.table_name == "gadm_adm_1" and part.carried_from]
    assert others
    assert sum(each.rows_planned for each in (part, *others)) == 4
    first = ledger.claim(run_id, part.slice_no)
    expire_leases(ledger)
    second = ledger.claim(run_id, part.slice_no)
    assert first is not None
    assert second is not None
    table = f'raw."gadm_adm_1__{run_id}"'
    with pytest.raises(SliceTaken):
        steps.load(target, ledger, first)
    assert warehouse.one(f"select count(*) from {table}") == 0
    steps.load(target, ledger, second)
    assert warehouse.one(f"select count(*) from {table}") == part.rows_planned
    get(target).clear(Staging.of(base), catalog.get("gadm").table(0))  # as a crash of the server does
    tasks.submit(ledger, run_id)
    run = ledger.run(run_id)
    assert run.state == "failed"
    assert "0 rows of run" in str(run.error)
    with pytest.raises(BaseUnusable, match=f"Run {base.run_id} has lost rows of gadm_adm_0"):
        adding.base_of(ledger, get(target), request)
