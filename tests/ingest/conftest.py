"""What the unit tests of `ingest` share: an embedded target of their own, and the engines side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from ingest import catalog, engines
from ingest.engines import SliceSource
from ingest.layers import discover
from ingest.layers.discover import Layer
from ingest.ledger import ClaimedSlice, Ledger, PlannedSlice, Reading, Request, RunState, Slice, SliceState, tables
from ingest.pipeline import retries
from ingest.settings import Settings
from ingest.sinks.geoparquet import GeoParquetSink
from ingest.sources.address import printable
from tests.conftest import SHARED_DATA
from tests.fixtures import boundaries


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give every test an embedded warehouse of its own, and let no retry wait."""
    monkeypatch.setenv("WAREHOUSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("INGEST_SECRET", "secret-of-the-tests")
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _seconds: None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of the embedded target below ``tmp_path``."""
    return Settings(target="embedded", home=tmp_path / "home", postgres=None, redis_url="", secret="of-the-tests")


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    """A ledger in SQLite, its tables in place."""
    made = Ledger(settings)
    made.open()
    return made


@pytest.fixture
def gadm() -> catalog.Dataset:
    """GADM as the catalog describes it."""
    return catalog.get("gadm")


@pytest.fixture
def islands(gadm: catalog.Dataset, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a hierarchical dataset that is in the catalog beside the others."""
    known = {**catalog.datasets(), "islands": replace(gadm, name="islands", title="Islands")}
    monkeypatch.setattr(catalog, "datasets", lambda: known)
    return "islands"


@pytest.fixture
def request_of() -> Callable[..., Request]:
    """Return a maker of requests with defaults for everything."""

    def make(dataset: str = "gadm", *sources: str, **values: Any) -> Request:
        fixed: dict[str, Any] = {"release": "4.1", "engine": "sedonadb", "scope": "custom"}
        return Request(dataset=dataset, sources=sources or ("/data/gadm.gpkg",), **{**fixed, **values})

    return make


@dataclass
class Pipeline:
    """The tasks, run at once in this process."""

    tasks: ModuleType
    steps: ModuleType
    ledger: Ledger
    lake: Path
    make_request: Callable[..., Request]

    def run(self, *sources: Path | str, dataset: str = "gadm", **values: object) -> str:
        """Load sources and return the id of the run."""
        locations = [str(source) for source in sources]
        run_id = self.ledger.create_run(self.make_request(dataset, *locations, **values), None)
        self.tasks.submit(self.ledger, run_id)
        return run_id

    def state(self, run_id: str) -> tuple[str, str | None]:
        """Return the state and the error of a run."""
        run = self.ledger.run(run_id)
        return run.state, run.error

    def rows(self, table: str, dataset: str = "gadm") -> int:
        """Return the rows that readers see."""
        files = (self.lake / dataset / "current" / table).glob("*.parquet")
        return sum(pq.read_metadata(file).num_rows for file in files)


@pytest.fixture
def pipeline(
    settings: Settings, ledger: Ledger, request_of: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pipeline]:
    """The tasks on a queue that runs each at once and waits for no retry."""
    from ingest.pipeline import steps, tasks
    from ingest.pipeline.queue import huey

    monkeypatch.setattr(tasks, "read_settings", lambda: settings)
    monkeypatch.setattr(retries.Policy, "pause", lambda _policy, _retry: 0)
    huey.immediate = True
    try:
        yield Pipeline(tasks, steps, ledger, settings.lake, request_of)
    finally:
        huey.immediate = False


@pytest.fixture
def loading(ledger: Ledger, request_of: Callable[..., Request]) -> str:
    """A run with two slices, ready to be loaded; nothing is enqueued."""
    run_id = ledger.create_run(request_of(), None)
    ledger.set_state(run_id, RunState.PLANNING)
    ledger.create_slices(run_id, [planned_slice(), planned_slice()])
    return run_id


@pytest.fixture
def sink(settings: Settings) -> GeoParquetSink:
    """The sink of the embedded target."""
    return GeoParquetSink(settings)


@pytest.fixture(scope="session")
def country_gpkg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A country's GeoPackage: Togo's real one where it is at hand, a generated one elsewhere."""
    real = SHARED_DATA / "gadm" / "gadm41_TGO.gpkg"
    if real.is_file():
        return real
    countries = {"TGO": 3}
    return boundaries.write_country_gpkg(
        tmp_path_factory.mktemp("country") / "gadm41_TGO.gpkg", boundaries.levels(countries)
    )


@pytest.fixture
def catalog_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Return a function that puts another catalog in place of the project's."""

    def replace(text: str) -> None:
        path = tmp_path / "catalog.yaml"
        path.write_text(text, encoding="utf-8")
        datasets = catalog.datasets(path)
        monkeypatch.setattr(catalog, "datasets", lambda: datasets)

    return replace


def layers_of(path: Path, dataset: str = "gadm", release: str | None = None) -> dict[int | None, Layer]:
    """Discover the layers of a dataset, by level."""
    found = catalog.get(dataset)
    return {layer.table.level: layer for layer in discover.layers(path, found, found.release(release))}


def slice_of(layer: Layer, *, where: str | None = None, batch_rows: int = 8192, dataset: str = "gadm") -> SliceSource:
    """Describe a whole layer, or what a filter leaves of it, as the planner does."""
    return SliceSource(
        path=layer.path,
        layer=layer.name,
        file_no=0,
        source_file=printable(layer.path.name),
        columns=layer.columns,
        missing_text=catalog.get(dataset).missing_text,
        crs=layer.crs,
        where=where,
        batch_bytes=1 << 30,
        batch_rows=batch_rows,
        encoding=layer.encoding,
        beside=layer.beside,
    )


def read(engine: str, source: SliceSource) -> pa.Table:
    """Read a slice to its end."""
    with engines.get(engine).read(source) as batches:
        table: pa.Table = batches.read_all()
    return table


def batches_of(path: Path, level: int = 1, batch_rows: int = 3) -> pa.RecordBatchReader:
    """Read a level into memory, as an engine gives it."""
    with engines.get("geopandas").read(slice_of(layers_of(path)[level], batch_rows=batch_rows)) as reader:
        table = reader.read_all()
    return table.to_reader()


def planned_slice(**values: Any) -> PlannedSlice:
    """Return a slice as the planner hands it over: four units of level 1, unless told otherwise."""
    fixed: dict[str, Any] = {"table_name": "gadm_adm_1", "level": 1, "file_no": 0, "engine": "sedonadb"}
    source = {"source_file": "gadm.gpkg", "source_layer": "ADM_1"}
    extent = {"fid_from": 1, "fid_to": 4, "rows_planned": 4, "bytes": 100}
    reading = Reading(columns=(), crs=None, where=None, batch_bytes=1 << 30)
    return PlannedSlice(**{**fixed, **source, **extent, "reading": reading, **values})


def slice_in(state: str, **values: Any) -> Slice:
    """Return a slice in a state, as the ledger returns it: without times or rows, unless they are given."""
    plan = dict(vars(planned_slice()))
    del plan["reading"]
    facts = ("rows_read", "rows_loaded", "stored_bytes", "stored_sha256", "carried_from")
    empty = dict.fromkeys((*facts, "lease_until", "queued_at", "started_at", "finished_at", "error"))
    fixed = {"run_id": "run", "slice_no": 0, "state": SliceState(state), "worker": "host:1", "attempts": 1}
    return Slice(**{**plan, **empty, **fixed, **values})


def claimed_slice(ledger: Ledger, run_id: str, slice_no: int = 0) -> ClaimedSlice:
    """Claim a slice that nobody holds."""
    claimed = ledger.claim(run_id, slice_no)
    assert claimed is not None
    return claimed


def note_loaded(ledger: Ledger, claimed: ClaimedSlice, rows: int = 4) -> bool:
    """Note a slice as loaded, as a sink does; False when another worker has claimed it."""
    with ledger.transaction() as connection:
        return connection.execute(ledger.loaded(claimed, rows_read=rows, rows_loaded=rows)).first() is not None


def expire_leases(ledger: Ledger) -> None:
    """Let all leases run out, as if their holders had died a while ago."""
    past = datetime.now(UTC) - timedelta(minutes=1)
    with ledger.transaction() as connection:
        for table in (tables.runs, tables.files, tables.slices):
            connection.execute(table.update().where(table.c.lease_until.is_not(None)).values(lease_until=past))


def an_hour_ahead(ahead: timedelta = timedelta()) -> Any:
    """Return what `Ledger.clock` does, of a clock that is an hour ahead."""
    return sa.literal(datetime.now(UTC) + timedelta(hours=1) + ahead, tables.UtcTime)
