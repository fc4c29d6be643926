"""The staging tables of PostGIS: a slice arrives whole and once, and readers see one run."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from admin_boundaries.postgres_warehouse import connected
from ingest import catalog, sessions, settings
from ingest.errors import IngestError, ServerLimit, SliceTaken, TargetUnavailable
from ingest.ledger import ClaimedSlice, Ledger, Request, RunState
from ingest.pipeline import prune, publication
from ingest.setup import limits
from ingest.setup.rights import check_load
from ingest.sinks import Staging, get, postgres
from ingest.sinks.difference import Difference
from ingest.sinks.postgres import PostgresSink
from tests.conftest import ROOT
from tests.fixtures import boundaries
from tests.ingest.conftest import batches_of, claimed_slice, expire_leases, planned_slice
from tests.integration.conftest import NewWarehouse, Warehouse

pytestmark = pytest.mark.servers
LEVEL_1 = catalog.get("gadm").table(1)


@dataclass(frozen=True)
class Target:
    """A warehouse on PostGIS with every table in place, and a file with four units at level 1."""

    warehouse: Warehouse
    ledger: Ledger
    sink: PostgresSink
    path: Path

    def new_run(self) -> Staging:
        """Begin a run with one slice, ready to be loaded."""
        request = Request("gadm", "4.1", "sedonadb", ("/a",), "custom")
        run_id = self.ledger.create_run(request, None)
        self.ledger.set_state(run_id, RunState.PLANNING)
        self.ledger.create_slices(run_id, [planned_slice()])
        staging = Staging(run_id, "gadm", "4.1")
        self.sink.prepare(staging, catalog.get("gadm").tables)
        return staging

    def claim(self, staging: Staging) -> ClaimedSlice:
        """Claim the slice."""
        return claimed_slice(self.ledger, staging.run_id)

    def load(self, staging: Staging, claimed: ClaimedSlice, batches: pa.RecordBatchReader | None = None) -> int:
        """Load the slice as one of its claimants."""
        return self.sink.write(
            staging,
            0,
            LEVEL_1,
            batches or batches_of(self.path),
            lambda rows: Ledger.loaded(claimed, rows_read=rows, rows_loaded=rows),
        )

    def rows(self, staging: Staging) -> int:
        """Return what others see of the run's staging table."""
        return int(self.warehouse.one(f'select count(*) from raw."{LEVEL_1.name}__{staging.run_id}"'))

    def state(self, staging: Staging) -> str:
        """Return the state of the slice."""
        return str(self.ledger.slices(staging.run_id)[0].state)

    def publish(self) -> Staging:
        """Load and publish a run."""
        staging = self.new_run()
        self.load(staging, self.claim(staging))
        publication.publish(self.ledger, self.sink, staging.run_id)
        return staging


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
def target(warehouse: Warehouse, tmp_path: Path) -> Iterator[Target]:
    """A target on which no run is under way, before and after."""
    found = settings.read_settings(warehouse.env)
    ledger, sink = Ledger(found), get(found)
    assert isinstance(sink, PostgresSink)
    ledger.open()
    sink.ensure_published("gadm", catalog.get("gadm").tables)
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))
    yield Target(warehouse, ledger, sink, path)
    for run in ledger.active_runs():
        ledger.fail(run.run_id, "the test has ended")


def test_the_rows_of_a_worker_that_was_overtaken_are_rolled_back(target: Target) -> None:
    staging = target.new_run()
    first = target.claim(staging)
    expire_leases(target.ledger)
    second = target.claim(staging)
    with pytest.raises(SliceTaken, match=r"Slice 0 .* was taken over"):
        target.load(staging, first)
    assert (target.rows(staging), target.state(staging)) == (0, "running")
    assert target.load(staging, second) == 4
    assert (target.rows(staging), target.state(staging)) == (4, "loaded")


def test_a_slice_that_is_loaded_twice_counts_once(target: Target) -> None:
    staging = target.new_run()
    claimed = target.claim(staging)
    target.load(staging, claimed)
    with pytest.raises(SliceTaken):
        target.load(staging, claimed)
    assert target.rows(staging) == 4 == target.sink.count(staging, LEVEL_1)


def test_a_slice_that_breaks_off_leaves_no_rows(target: Target) -> None:
    staging, whole = target.new_run(), batches_of(target.path)

    def breaks_off() -> Iterator[pa.RecordBatch]:
        yield whole.read_next_batch()
        raise OSError("the file is damaged")

    claimed = target.claim(staging)
    with pytest.raises(Exception, match="damaged"):
        target.load(staging, claimed, pa.RecordBatchReader.from_batches(whole.schema, breaks_off()))
    assert (target.rows(staging), target.state(staging)) == (0, "running")
    assert target.load(staging, claimed) == 4


def test_a_view_of_an_older_shape_makes_room_for_the_new_one(target: Target) -> None:
    assert target.warehouse.dsn is not None
    with psycopg.connect(target.warehouse.dsn) as connection:
        connection.execute(
            f"drop view raw.{LEVEL_1.name} cascade; "  # type: ignore[arg-type]
            f"create view raw.{LEVEL_1.name} as select 1 as gid_1, 'x'::text as a_column_of_old; "
            f"create view public.on_top as select a_column_of_old from raw.{LEVEL_1.name}"
        )
    staging = target.publish()
    shown = target.warehouse.query(f"select run_id, release, gid_1 from raw.{LEVEL_1.name} order by source_fid")
    assert shown == [(staging.run_id, "4.1", f"AAA.{number}_1") for number in range(1, 5)]


def test_a_view_of_the_same_shape_is_replaced_and_the_views_on_it_stay(target: Target) -> None:
    target.publish()
    assert target.warehouse.dsn is not None
    with psycopg.connect(target.warehouse.dsn) as connection:
        connection.execute(f"create view public.of_staging as select run_id from raw.{LEVEL_1.name}")  # type: ignore[arg-type]
    staging = target.publish()
    assert target.warehouse.query("select distinct run_id from public.of_staging") == [(staging.run_id,)]


def test_a_slice_that_a_worker_holds_is_held_by_the_clock_of_the_server(target: Target) -> None:
    staging = target.new_run()
    target.claim(staging)
    assert target.ledger.claim(staging.run_id, 0) is None
    assert target.ledger.requeue_expired(staging.run_id) == 0
    expire_leases(target.ledger)
    assert target.ledger.requeue_expired(staging.run_id) == 1


def test_a_session_that_the_server_has_ended_is_replaced_before_the_next_slice(target: Target) -> None:
    before = target.new_run()
    target.load(before, target.claim(before))
    target.ledger.fail(before.run_id, "no")
    target.warehouse.query(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    staging = target.new_run()
    assert target.load(staging, target.claim(staging)) == 4


def test_what_is_published_stays_when_tables_are_ensured_again(target: Target) -> None:
    staging = target.publish()
    target.sink.ensure_published("gadm", catalog.get("gadm").tables)
    assert target.warehouse.query(f"select distinct run_id from raw.{LEVEL_1.name}") == [(staging.run_id,)]


@pytest.mark.parametrize(
    "change",
    [
        "drop view raw.gadm_adm_1 cascade",
        "drop view raw.gadm_adm_1 cascade; create view raw.gadm_adm_1 as select gid_0 from raw.gadm_adm_0",
        "create or replace view raw.gadm_adm_1 as select * from raw.gadm_adm_1__other",
    ],
    ids=["gone", "of other columns", "of another run"],
)
def test_readers_find_the_published_run_again_whatever_was_done_to_its_views(target: Target, change: str) -> None:
    staging = target.publish()
    assert target.warehouse.dsn is not None
    with psycopg.connect(target.warehouse.dsn) as connection:
        connection.execute("create table if not exists raw.gadm_adm_1__other as table raw.gadm_adm_1 with no data")
        connection.execute(change)  # type: ignore[arg-type]
    (found,) = publication.damage(target.ledger, target.sink, "gadm")
    assert (found.is_derived, f"instead of run {staging.run_id}" in found.text) == (True, True)
    told: list[str] = []
    assert publication.restore(target.ledger, target.sink, told.append) == set()
    assert len(told) == 1
    assert target.warehouse.query("select distinct run_id, count(*) from raw.gadm_adm_1 group by 1") == [
        (staging.run_id, 4)
    ]
    assert publication.damage(target.ledger, target.sink, "gadm") == []


def test_what_no_publication_needs_is_pruned_and_what_others_made_stays(target: Target) -> None:
    staging = target.publish()
    assert target.warehouse.dsn is not None
    with psycopg.connect(target.warehouse.dsn) as connection:
        for name in ("20200101t000000_0000", "mine"):
            connection.execute(f'create table raw."gadm_adm_1__{name}" as table raw.gadm_adm_1')  # type: ignore[arg-type]
    told: list[str] = []
    found = settings.read_settings(target.warehouse.env)
    assert prune.prune(found, target.ledger, target.sink, told.append, is_dry=False) > 8000
    assert any("20200101t000000_0000" in text for text in told)
    stored = target.sink.stored_runs("gadm", [LEVEL_1])
    assert "20200101t000000_0000" not in stored
    assert {staging.run_id, "mine"} <= stored


def test_empty_tables_of_an_older_version_get_the_columns_that_are_missing(target: Target) -> None:
    dataset = catalog.get("timezones")
    target.sink.ensure_published(dataset.name, dataset.tables)
    assert target.warehouse.dsn is not None
    with psycopg.connect(target.warehouse.dsn) as connection:
        connection.execute(
            "drop view raw.timezones; alter table raw.timezones__empty drop column source_layer; "
            "create view raw.timezones as select 'r'::text as run_id, tzid from raw.timezones__empty; "
            "create view public.on_empty as select tzid from raw.timezones__empty"
        )
    target.sink.ensure_published(dataset.name, dataset.tables)
    assert target.warehouse.query("select run_id, source_layer, geom from raw.timezones") == []
    assert target.warehouse.query("select tzid from public.on_empty") == []


def test_a_table_that_is_cleared_is_empty_and_takes_its_slices_again(target: Target) -> None:
    staging = target.new_run()
    target.load(staging, target.claim(staging))
    target.sink.clear(staging, LEVEL_1)
    assert target.sink.count(staging, LEVEL_1) == 0
    assert target.ledger.requeue_table(staging.run_id, LEVEL_1.name)
    target.load(staging, target.claim(staging))
    assert target.sink.count(staging, LEVEL_1) == 4


def test_a_run_that_is_dropped_leaves_nothing_and_may_be_dropped_again(target: Target) -> None:
    staging, tables = target.new_run(), catalog.get("gadm").tables
    target.load(staging, target.claim(staging))
    for _ in range(2):
        target.sink.drop(staging, tables)
    assert target.sink.count(staging, LEVEL_1) == 0
    left = f"select 1 from pg_class where relname like '%{staging.run_id}'"
    assert target.warehouse.query(left) == []


@contextmanager
def session(target: Target, *statements: str) -> Iterator[None]:
    """Keep a transaction open that has executed some statements; the last context undoes them."""
    with psycopg.connect(str(target.warehouse.dsn)) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]
        yield
        connection.rollback()


@contextmanager
def existing(target: Target, made: str, removed: str) -> Iterator[None]:
    """Let something exist for as long as the context lasts."""
    with psycopg.connect(str(target.warehouse.dsn), autocommit=True) as connection:
        connection.execute(made)  # type: ignore[arg-type]
        try:
            yield
        finally:
            connection.execute(removed)  # type: ignore[arg-type]


def tables_of(target: Target, staging: Staging) -> int:
    """Return the number of tables of a run."""
    return int(target.warehouse.one(f"select count(*) from pg_tables where tablename like '%\\_\\_{staging.run_id}'"))


def assert_kept_for_now(target: Target, staging: Staging, caplog: pytest.LogCaptureFixture, reason: str) -> None:
    """Try to drop a run and check that all of its tables stay, and that one sentence says why."""
    tables = catalog.get("gadm").tables
    with caplog.at_level(logging.INFO):
        target.sink.drop(staging, tables)
    assert caplog.messages == [
        f"Run {staging.run_id} of gadm is kept for now because {reason}; the next load tries again to remove it."
    ]
    assert tables_of(target, staging) == len(tables)
    assert staging.run_id in target.sink.stored_runs("gadm", tables)


def assert_dropped(target: Target, staging: Staging) -> None:
    """Drop a run and check that nothing of it is left."""
    tables = catalog.get("gadm").tables
    target.sink.drop(staging, tables)
    assert tables_of(target, staging) == 0
    assert staging.run_id not in target.sink.stored_runs("gadm", tables)


@pytest.mark.parametrize("schema", ["staging", "staging_next"])
def test_a_run_that_views_read_is_kept_as_a_whole_until_they_are_gone(
    target: Target, caplog: pytest.LogCaptureFixture, schema: str
) -> None:
    staging = target.new_run()
    last = catalog.get("gadm").tables[-1].name
    view = f'create schema {schema} create view v as select source_fid from raw."{last}__{staging.run_id}"'
    with existing(target, view, f"drop schema {schema} cascade"):
        assert_kept_for_now(target, staging, caplog, "a view reads its tables")
    assert_dropped(target, staging)


def test_a_run_that_a_session_reads_is_kept_and_nobody_waits_for_long(
    target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    staging = target.new_run()
    last = catalog.get("gadm").tables[-1].name
    with session(target, f'select from raw."{last}__{staging.run_id}"'):
        assert_kept_for_now(target, staging, caplog, "another session is using its tables")
    assert_dropped(target, staging)


@pytest.mark.parametrize(
    ("schema", "columns"),
    [
        ("marts_next", "'{}' as run_id, null as before_run_id"),
        ("marts_next", "'the run now' as run_id, '{}' as before_run_id"),
        ("marts_naturalearth_next", "'{}' as run_id, null as before_run_id"),
    ],
)
def test_a_run_that_a_build_has_pinned_is_kept_before_the_build_has_made_its_first_view(
    schema: str, columns: str, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    staging, other = target.new_run(), Staging("another", "gadm", "4.1")
    target.sink.prepare(other, catalog.get("gadm").tables)
    pinned = columns.format(staging.run_id)
    pins = f"create schema {schema}; create table {schema}.marts_meta as select {pinned}"
    with existing(target, pins, f"drop schema {schema} cascade"):
        assert_kept_for_now(target, staging, caplog, "a build is reading it")
        assert_dropped(target, other)
    assert_dropped(target, staging)


def test_a_build_that_ends_while_it_is_asked_for_its_runs_stops_no_retention(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging, execute = target.new_run(), psycopg.Connection.execute
    pinned = "select 'another' as run_id, null as before_run_id"
    pins = f"create schema marts_next; create table marts_next.marts_meta as {pinned}"

    def build_ends(self: psycopg.Connection, query: Any, *values: Any) -> psycopg.Cursor:
        if isinstance(query, sql.Composed) and "before_run_id" in query.as_string():
            with psycopg.connect(str(target.warehouse.dsn)) as build:
                execute(build, "drop schema marts_next cascade")
        return execute(self, query, *values)

    with existing(target, pins, "drop schema if exists marts_next cascade"), monkeypatch.context() as watched:
        watched.setattr(psycopg.Connection, "execute", build_ends)
        target.sink.drop(staging, catalog.get("gadm").tables)
    assert not target.warehouse.one("select to_regnamespace('marts_next') is not null")
    assert tables_of(target, staging) == 0


def test_a_run_that_was_kept_goes_with_a_later_publication_and_the_publications_succeed(target: Target) -> None:
    first = target.publish()
    view = f'create schema staging create view v as select source_fid from raw."{LEVEL_1.name}__{first.run_id}"'
    with existing(target, view, "drop schema staging cascade"):
        later = [target.publish() for _ in range(3)]
        assert {target.ledger.run(run.run_id).state for run in later} == {"published", "superseded"}
        assert [tables_of(target, run) > 0 for run in (first, *later)] == [True, False, True, True]
    target.publish()
    assert tables_of(target, first) == 0


def test_what_a_failed_run_has_left_goes_with_the_next_publication(target: Target) -> None:
    failed = target.new_run()
    target.ledger.fail(failed.run_id, "no")
    target.publish()
    assert tables_of(target, failed) == 0


def test_no_time_is_spent_on_compressing_geometry(target: Target) -> None:
    staging = target.new_run()
    storage = (
        "select attstorage::text from pg_attribute where attname = 'geom' "
        f"and attrelid = 'raw.{LEVEL_1.name}__{staging.run_id}'::regclass"
    )
    assert target.warehouse.one(storage) == "e"


@contextmanager
def as_limited(warehouse: Warehouse, setting: str) -> Iterator[settings.Settings]:
    """Yield the settings of a user who may do everything, as long as a setting of the role or database allows it."""
    with psycopg.connect(warehouse.dsn or "", autocommit=True) as admin:
        if not admin.execute("select 1 from pg_roles where rolname = 'limited'").fetchone():
            admin.execute("create role limited login")
            admin.execute("grant usage, create on schema raw to limited")
            admin.execute("grant all on all tables in schema raw to limited")
        admin.execute(f"alter role limited {setting}")  # type: ignore[arg-type]
        found = settings.read_settings({**warehouse.env, "PGUSER": "limited"})
        try:
            yield found
        finally:
            Ledger(found)._engine.dispose()
            admin.execute("alter role limited connection limit -1")
            admin.execute("alter role limited reset all")


def test_a_role_without_connections_left_is_told_which_limit_and_what_to_set(target: Target) -> None:
    with as_limited(target.warehouse, "connection limit 0") as found:
        assert found.postgres is not None
        for ask in (
            lambda: Ledger(found).active_runs(),
            lambda: PostgresSink(found.postgres).finish(Staging("a", "gadm", "4.1"), ()),  # type: ignore[arg-type]
            lambda: check_load(found.postgres),
            lambda: open_until_closed(found),
        ):
            with pytest.raises(TargetUnavailable, match="takes no more connections of this role") as caught:
                ask()
            assert "alter role NAME connection limit" in caught.value.hint


def test_a_strict_limit_ends_no_load_before_it_can_say_that_it_takes_none(target: Target) -> None:
    columns = ", ".join(f"c{number} int" for number in range(1000))
    with psycopg.connect(target.warehouse.dsn or "", autocommit=True) as admin:
        admin.execute("create schema wide")
        for number in range(40):  # the driver reads all of them before anything can be said
            admin.execute(f"create table wide.t{number} ({columns})")  # type: ignore[arg-type]
        try:
            with as_limited(target.warehouse, "set statement_timeout = 5") as found:
                assert found.postgres is not None
                with closing(sessions.connect_adbc(found.postgres, to_write=True)) as connection:
                    assert connection.adbc_get_info()["vendor_name"] == "PostgreSQL"
        finally:
            admin.execute("drop schema wide cascade")


def open_until_closed(found: settings.Settings) -> None:
    """Open the marts as a reader does."""
    assert found.postgres is not None
    with connected(found.postgres, found.boundaries):
        pass


@pytest.mark.parametrize(
    ("settings_of_transaction", "query", "kind", "said"),
    [
        (
            ("temp_file_limit = '64kB'", "work_mem = '64kB'"),
            "select count(*) from (select n from generate_series(1, 100000) n order by -n) numbers",
            ServerLimit,
            "temp_file_limit",
        ),
        (("statement_timeout = 50",), "select pg_sleep(5)", ServerLimit, "statement_timeout"),
        (("transaction_read_only = on",), "create table raw.t (a int)", TargetUnavailable, "is read-only"),
    ],
)
def test_a_limit_that_strikes_the_ledger_is_named(
    target: Target, settings_of_transaction: tuple[str, ...], query: str, kind: type[Exception], said: str
) -> None:
    def ask() -> None:
        with target.ledger.transaction() as connection:
            for setting in settings_of_transaction:
                connection.exec_driver_sql(f"set local {setting}")
            connection.exec_driver_sql(query)

    with pytest.raises(kind) as caught:
        ask()
    assert said in str(caught.value)


def test_a_transaction_that_was_left_idle_for_too_long_is_tried_again(target: Target) -> None:
    def ask() -> None:
        with target.ledger.transaction() as connection:
            connection.exec_driver_sql("set local idle_in_transaction_session_timeout = 20")
            time.sleep(0.2)
            connection.exec_driver_sql("select 1")

    with pytest.raises(TargetUnavailable):
        ask()
    assert target.ledger.active_runs() == []


def test_the_session_of_a_killed_process_ends_whatever_it_is_at(target: Target) -> None:
    code = (
        "import sys; from ingest import sessions, settings; "
        "sessions.connect(settings.read_settings().postgres, to_write=True).execute('select pg_sleep(600)')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=target.warehouse.env)
    asleep = "select count(*) from pg_stat_activity where query like '%sleep(600)%' and pid <> pg_backend_pid()"
    wait_for(target, asleep, 1)
    process.kill()
    process.wait()
    wait_for(target, asleep, 0)


def wait_for(target: Target, query: str, answer: int) -> None:
    """Wait until a query has an answer."""
    deadline = time.monotonic() + 60
    while target.warehouse.one(query) != answer:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_heartbeats_go_on_after_the_server_was_read_only_for_some_seconds(target: Target) -> None:
    with as_limited(target.warehouse, "set default_transaction_read_only = on") as found:
        ledger = Ledger(found)
        for _ in range(2):
            with pytest.raises(TargetUnavailable, match="is read-only: cannot execute"):
                ledger.heartbeat("host:1", "queue", 1)
        changed = "alter role limited reset default_transaction_read_only"
        with psycopg.connect(target.warehouse.dsn or "", autocommit=True) as admin:
            admin.execute(changed)
        ledger.heartbeat("host:1", "queue", 1)  # in a new session: the old one has the old setting for good
        ledger.end_consumer("host:1")


@pytest.mark.parametrize(
    ("setting", "what", "detail"),
    [
        ("connection limit 5", "connections for 3 workers", "5 left of the connection limit of the role limited, 13"),
        ("set default_transaction_read_only = on", "PostgreSQL takes writes", "default_transaction_read_only is on"),
        ("set temp_file_limit = '1GB'", "temporary files of PostgreSQL", "temp_file_limit is 1.0 GiB, 10 GiB"),
    ],
)
def test_the_doctor_looks_at_the_limits_of_a_server(target: Target, setting: str, what: str, detail: str) -> None:
    for is_limited in (True, False):
        with as_limited(target.warehouse, setting if is_limited else "connection limit -1") as found:
            assert found.postgres is not None
            with sessions.connect(found.postgres, to_write=True) as connection:
                checks = {name: (is_good, said) for name, is_good, said, _, _ in limits.examine(connection, 3)}
        assert checks[what][0] is not is_limited
        assert (detail in checks[what][1]) is is_limited


def test_two_runs_are_compared_in_the_database(target: Target, tmp_path: Path) -> None:
    earlier = target.publish()
    levels = boundaries.levels({"AAA": 1, "BBB": 1})
    boundaries.set_cell(levels, 1, 0, "NAME_1", "Otherwise")
    path = boundaries.write_levels_gpkg(tmp_path / "later.gpkg", levels)
    later = target.new_run()
    target.load(later, target.claim(later), batches_of(path))
    gadm = catalog.get("gadm")
    assert target.sink.compare(earlier, later, gadm) == Difference(new=4, gone=0, renamed=1, reshaped=0)
    with psycopg.connect(target.warehouse.dsn or "") as connection:
        connection.execute(f'alter table raw."{LEVEL_1.name}__{earlier.run_id}" drop column geom_hash cascade')
    assert target.sink.compare(earlier, later, gadm).reshaped is None
    target.sink.drop(later, gadm.tables)
    with pytest.raises(IngestError):
        target.sink.compare(earlier, later, gadm)
