"""Three roles on a real server: each does its work and nothing else. No secret is left behind, no forged task runs."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
import redis
from huey.serializer import SignedSerializer

from ingest import catalog, sessions, settings
from ingest.errors import IngestError, PermissionMissing
from ingest.setup import doctor, keeper, rights
from ingest.sinks import Staging
from ingest.sinks.postgres import PostgresSink
from tests.conftest import ROOT
from tests.fixtures import boundaries
from tests.fixtures.publisher import Publisher, serving
from tests.integration import marts, servers
from tests.integration.conftest import WITHOUT_TESTS, NewWarehouse, Warehouse, World

pytestmark = [pytest.mark.servers, pytest.mark.slow]

LOADER, TRANSFORMER, READER = "boundaries_loader", "boundaries_transformer", "boundaries_reader"
KEEPER = "boundaries_keeper"
SIGNATURE = "5igned-by-the-publi5her"
PASSWORD = "pa55word-of-the-tests"


def as_role(warehouse: Warehouse, role: str) -> Warehouse:
    """Return the same warehouse as another role sees it."""
    assert warehouse.dsn is not None
    dsn = re.sub(r"user=\S+", f"user={role}", warehouse.dsn)
    return replace(warehouse, env={**warehouse.env, "PGUSER": role}, dsn=dsn)


def refused(warehouse: Warehouse, statement: str) -> bool:
    """Return whether the server refuses a statement because a permission is missing."""
    assert warehouse.dsn is not None
    with psycopg.connect(warehouse.dsn) as connection:
        try:
            connection.execute(statement)  # type: ignore[arg-type]
        except psycopg.errors.InsufficientPrivilege:
            return True
        finally:
            connection.rollback()
    return False


@contextmanager
def consumer(warehouse: Warehouse) -> Iterator[Path]:
    """Run a consumer for as long as the context lasts, and yield its log."""
    warehouse.ingest("status")
    log = warehouse.home / "consumer.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ingest", "worker", "-w", "2"],
            cwd=ROOT,
            env=warehouse.env,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: "Huey consumer started" in log.read_text() or process.poll() is not None)
        yield log
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@dataclass(frozen=True)
class Divided:
    """A warehouse whose work three roles have done, two loads and two builds of it."""

    loader: Warehouse
    transformer: Warehouse
    reader: Warehouse
    again: str


@pytest.fixture(scope="module")
def divided(new_warehouse: NewWarehouse, world: World) -> Divided:
    warehouse = new_warehouse()
    warehouse.ingest("init")
    again = warehouse.ingest("init").stdout
    loader, transformer, reader = (as_role(warehouse, role) for role in (LOADER, TRANSFORMER, READER))
    for options in (WITHOUT_TESTS, ()):
        loader.ingest("gadm", "timezones", *world.options, "--force")
        transformer.dbt("build", *options)
    return Divided(loader, transformer, reader, again)


def test_a_second_init_finds_nothing_to_do(divided: Divided) -> None:
    assert "nothing to do" in divided.again
    assert ";" not in divided.again


def test_no_role_has_more_rights_than_a_role_has(divided: Divided) -> None:
    rights = "rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
    rows = divided.loader.query(f"select distinct {rights} from pg_roles where rolname like 'boundaries\\_%'")
    assert rows == [(False,) * 5]
    may_make_schemas = "rolname like 'boundaries\\_%' and has_database_privilege(rolname, current_database(), 'create')"
    assert divided.loader.query(f"select rolname::text from pg_roles where {may_make_schemas}") == [(TRANSFORMER,)]


def test_the_loader_loads_and_the_transformer_builds_every_mart(divided: Divided, world: World) -> None:
    assert divided.reader.one("select sum(rows_staged) from marts.internal_level_counts") == sum(world.counts)
    assert divided.reader.one("select count(*) from marts.timezones") == world.zone_count


def test_every_schema_and_all_that_is_in_it_has_its_owner(divided: Divided) -> None:
    rows = divided.loader.query(
        "select distinct nspname::text, pg_get_userbyid(nspowner)::text, pg_get_userbyid(relowner)::text "
        "from pg_namespace n join pg_class c on relnamespace = n.oid "
        "where nspname in ('raw', 'staging', 'intermediate', 'marts', 'seeds') order by 1"
    )
    assert rows == [
        ("intermediate", TRANSFORMER, TRANSFORMER),
        ("marts", TRANSFORMER, TRANSFORMER),
        ("raw", KEEPER, KEEPER),
        ("seeds", TRANSFORMER, TRANSFORMER),
        ("staging", TRANSFORMER, TRANSFORMER),
    ]


def test_the_transformer_makes_the_docs_page(divided: Divided) -> None:
    divided.transformer.dbt("docs", "generate", "--static")
    page = (divided.transformer.home / "target" / "static_index.html").read_text(encoding="utf-8")
    assert all(table in page for table in marts.TABLES)


@pytest.mark.parametrize("table", marts.TABLES)
def test_the_reader_reads_every_mart(divided: Divided, table: str) -> None:
    assert divided.reader.one(f"select count(*) > 0 from marts.{table}") in (True, False)


def test_the_reader_asks_where_a_point_and_a_name_is(divided: Divided) -> None:
    assert "no unit" in divided.reader.ingest("locate", "-30", "20").stdout
    assert "No unit has a name" in divided.reader.ingest("find", "zzzzzz", expect=1).stderr
    with psycopg.connect(divided.reader.dsn or "") as connection:
        connection.execute("select * from marts.locate(0, 0)")
    assert divided.reader.one(
        "select bool_and(has_function_privilege(p.oid, 'execute') and proowner <> 0) from pg_proc p "
        "where pronamespace = 'marts'::regnamespace"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "select from raw.ingest_runs",
        "select from raw.gadm_adm_0",
        "select from staging.stg_gadm__adm_0",
        "select from seeds.key_repairs",
        "delete from marts.admin_units",
        "create table marts.mine (a int)",
        "create table public.mine (a int)",
        "create schema mine",
    ],
)
def test_the_reader_does_nothing_else(divided: Divided, statement: str) -> None:
    assert refused(divided.reader, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "update raw.ingest_runs set state = 'failed'",
        "create table raw.mine (a int)",
        "drop view raw.gadm_adm_0",
        "create or replace view raw.gadm_adm_0 as select 1",
        "create table public.mine (a int)",
    ],
)
def test_the_transformer_reads_raw_and_does_not_write_it(divided: Divided, statement: str) -> None:
    assert divided.transformer.one("select count(*) > 0 from raw.ingest_slices")
    assert refused(divided.transformer, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "select from marts.admin_units",
        "drop table marts.admin_units",
        "create table marts.mine (a int)",
        "create table staging.mine (a int)",
        "create schema mine",
    ],
)
def test_the_loader_does_not_touch_what_comes_after_raw(divided: Divided, statement: str) -> None:
    assert refused(divided.loader, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "create function raw.mine() returns int language sql return 1",
        "create type raw.mine as enum ('a')",
        "create table raw.gadm_adm_0__mine (a int)",
        "create view raw.gadm_adm_0__mine as select 1 as a",
        "create or replace view raw.gadm_adm_0 as select 1 as a",
        "create index on raw.ingest_runs (lower(state))",
        "create statistics raw.mine on lower(state), run_id from raw.ingest_runs",
        "create rule mine as on update to raw.ingest_runs do instead nothing",
        'create rule "_RETURN" as on select to raw.ingest_errors do instead select 1 as a',
        "create policy mine on raw.ingest_runs using (true)",
        "create trigger mine before update on raw.ingest_runs execute function suppress_redundant_updates_trigger()",
        "create table pg_temp.mine () inherits (raw.ingest_runs)",
        "alter table raw.ingest_runs enable row level security",
        "alter table raw.ingest_runs add check (state <> '')",
        "alter table raw.ingest_runs alter worker set default 'a'",
        "alter table raw.ingest_runs rename to mine",
        "drop table raw.ingest_errors",
        "set role boundaries_keeper",
        "alter function raw.drop_table(text) owner to boundaries_loader",
        "create or replace function raw.drop_table(name text) returns void language sql as ''",
        "create schema mine",
    ],
)
def test_the_loader_puts_nothing_that_runs_where_the_transformer_reads(divided: Divided, statement: str) -> None:
    assert refused(divided.loader, statement)


@pytest.mark.parametrize(
    "call",
    [
        "make_table('ingest_runs', '{a}', '{text}', true)",
        "make_table('a__b\" (x int); drop table raw.ingest_runs; --', '{a}', '{text}', true)",
        "make_table('a__b', '{a}', '{text default raw.mine()}', true)",
        "make_table('a__b', '{a}', '{raw.mine}', true)",
        "make_table('a__b', '{a,b}', '{text}', true)",
        "make_table('a__b', '{a}', array[null], true)",
        f"make_table('a__{'b' * 64}', '{{a}}', '{{text}}', true)",
        "drop_table('ingest_errors')",
        "analyze_table('ingest_errors')",
        "show_table('ingest_errors', 'gadm_adm_0__empty', 'a', 'b', '{gid_0}')",
        "show_table('gadm_adm_0__mine', 'gadm_adm_0__empty', 'a', 'b', '{gid_0}')",
        "show_table('mine', 'ingest_errors', 'a', 'b', '{error}')",
        "show_table('mine', 'gadm_adm_0__empty', 'a', 'b', '{gid_0 from raw.ingest_runs --}')",
    ],
)
def test_the_keeper_takes_names_and_no_sql(divided: Divided, call: str) -> None:
    with psycopg.connect(divided.loader.dsn or "") as connection:
        wrong = psycopg.errors.InvalidName, psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedColumn
        with pytest.raises(wrong):
            connection.execute(f"select raw.{call}")  # type: ignore[arg-type]
    assert (
        divided.loader.one("select count(*) from pg_class where relname in ('a__b', 'mine', 'gadm_adm_0__mine')") == 0
    )


def test_a_run_id_cannot_become_sql_of_the_transformer(divided: Divided) -> None:
    ((run_id,),) = divided.transformer.query("select run_id from marts.marts_meta where dataset = 'gadm'")
    odd = (
        """update marts.marts_meta set run_id = run_id || '" cross join (select 1/0) as b --' where dataset = 'gadm'"""
    )
    right = f"update marts.marts_meta set run_id = '{run_id}' where dataset = 'gadm'"
    with for_now(divided.transformer, odd, right):
        failed = divided.transformer.dbt("compile", "--select", "stg_gadm__adm_0", expect=2)
    assert "The ledger names a run of gadm that ingest cannot have made" in failed.stdout


def test_only_the_loader_calls_the_keeper_for_whom_a_table_is_plain(divided: Divided) -> None:
    assert refused(divided.transformer, "select raw.drop_table('a__b')")
    with psycopg.connect(divided.loader.dsn or "") as connection:
        odd = ["a", 'odd "name"; drop', "geom"]
        kinds = ["text", "double precision", "geometry(MultiPolygon,4326)"]
        for names, types in ((odd[::2], kinds[::2]), (odd, kinds)):  # made, and then given what it lacks
            connection.execute("select raw.make_table('odd__one', %s, %s, false)", [names, types])
        connection.execute("select raw.show_table('odd', 'odd__one', %s, null, %s)", ["it's \\ one", odd])
        assert connection.execute("table raw.odd").fetchall() == []
        connection.execute("insert into raw.odd__one (a) values ('b')")
        assert connection.execute("select run_id, release, a from raw.odd").fetchone() == ("it's \\ one", None, "b")
        connection.rollback()


def test_a_role_that_may_not_load_is_told_so_without_a_traceback(divided: Divided, world: World) -> None:
    for role in (divided.reader, divided.transformer):
        failed = role.ingest("timezones", *world.options[1:], "--force", expect=1)
        assert "permission denied" in failed.stderr
        assert "Traceback" not in failed.stderr


def test_a_dry_run_prints_the_sql_and_changes_nothing(new_warehouse: NewWarehouse) -> None:
    warehouse = new_warehouse()
    printed = warehouse.ingest("init", "--dry-run", "--loader", 'odd"na me').stdout
    assert 'create role "odd""na me" login;' in printed
    assert 'grant usage on schema "raw" to "odd""na me";' in printed
    assert warehouse.one("select count(*) from pg_roles where rolname like 'odd%'") == 0
    assert warehouse.one("select count(*) from pg_namespace where nspname = 'raw'") == 0


def test_a_warehouse_that_one_user_has_filled_is_divided_afterwards(new_warehouse: NewWarehouse, world: World) -> None:
    warehouse = new_warehouse()
    warehouse.ingest("timezones", *world.options[1:])
    zones = ["--select", "stg_timezones__timezones", "timezones_set_aside", "timezones", "--empty"]
    warehouse.dbt("seed")
    warehouse.dbt("run", *zones)
    assert warehouse.one("select to_regproc('marts.fold_name') is not null")  # the transformer has to replace it
    warehouse.ingest("init")
    loader, transformer = as_role(warehouse, LOADER), as_role(warehouse, TRANSFORMER)
    loader.ingest("timezones", *world.options[1:], "--force")
    transformer.dbt("build", *zones, "--exclude", "test_type:data")
    assert "nothing to do" in warehouse.ingest("init").stdout
    assert not refused(as_role(warehouse, READER), "select from marts.timezones")


def test_an_owner_of_the_database_who_is_no_superuser_can_init(new_warehouse: NewWarehouse) -> None:
    warehouse = new_warehouse()
    assert warehouse.dsn is not None
    with psycopg.connect(warehouse.dsn, autocommit=True) as connection:
        connection.execute("create role dba login createrole")
        connection.execute(f"alter database {warehouse.env['PGDATABASE']} owner to dba")  # type: ignore[arg-type]
    names = [f"--{role}=other_{role}" for role in ("loader", "transformer", "reader", "keeper")]
    owner = as_role(warehouse, "dba")
    assert "\\password" in owner.ingest("init", *names).stdout
    assert "nothing to do" in owner.ingest("init", *names).stdout
    loader = as_role(warehouse, "other_loader")
    assert "has no marts of gadm yet. Load the datasets and build the marts" in loader.ingest("status").stdout
    assert "ok" in re.sub(r"\x1b\[\d+m", "", loader.ingest("doctor").stdout)
    assert not refused(as_role(warehouse, "other_transformer"), "select from raw.ingest_runs")
    assert refused(owner, "select from raw.ingest_runs")


def test_who_may_not_init_is_told_what_to_do_and_nothing_is_changed(new_warehouse: NewWarehouse) -> None:
    warehouse = new_warehouse()
    warehouse.ingest("init", "--dry-run")
    assert warehouse.dsn is not None
    with psycopg.connect(warehouse.dsn, autocommit=True) as connection:
        connection.execute("create role somebody login")
    names = [f"--{role}=no_{role}" for role in ("loader", "transformer", "reader", "keeper")]
    failed = as_role(warehouse, "somebody").ingest("init", *names, expect=1)
    assert "Run it as a superuser" in failed.stderr
    assert warehouse.one("select count(*) from pg_roles where rolname like 'no\\_%'") == 0


def changed(warehouse: Warehouse, *statements: str) -> None:
    """Execute statements."""
    assert warehouse.dsn is not None
    with psycopg.connect(warehouse.dsn) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


@contextmanager
def for_now(warehouse: Warehouse, made: str, removed: str) -> Iterator[None]:
    """Undo at the end what would last longer than the warehouse: roles belong to the server."""
    changed(warehouse, made)
    try:
        yield
    finally:
        changed(warehouse, removed)


def where(warehouse: Warehouse) -> settings.Postgres:
    """Return how a warehouse is connected to."""
    found = settings.read_settings(warehouse.env).postgres
    assert found is not None
    return found


@pytest.fixture
def initialised(new_warehouse: NewWarehouse) -> Warehouse:
    """A warehouse after `init`, with nothing in it, as a superuser sees it."""
    warehouse = new_warehouse()
    rights.init(settings.read_settings(warehouse.env), rights.Roles(), dry_run=False, report=lambda _line: None)
    return warehouse


def test_schemas_that_a_build_has_put_in_place_leave_init_nothing_to_do(initialised: Warehouse) -> None:
    changed(
        as_role(initialised, TRANSFORMER),
        "create schema marts_next",
        f"grant usage on schema marts_next to {READER}",
        f"alter default privileges in schema marts_next grant select on tables to {READER}",
        f"alter default privileges in schema marts_next grant execute on functions to {READER}",
        "create table marts_next.admin_units (gid text)",
        "alter schema marts rename to marts_old_0123abcd",
        "alter schema marts_next rename to marts",
    )
    assert "nothing to do" in initialised.ingest("init").stdout
    assert not refused(as_role(initialised, READER), "select from marts.admin_units")


def test_what_a_build_of_a_superuser_has_left_can_be_cleared_away_by_the_transformer(initialised: Warehouse) -> None:
    left = ("staging_next", "intermediate_next", "marts_next", "marts_old_0123abcd")
    for schema in left:
        changed(
            initialised,
            f"create schema {schema} create table t (a int) create view v as select a from t",
            f"create function {schema}.f(a int) returns int language sql return a",
        )
    changed(initialised, "create schema marts_older create table t (a int)")
    transformer = as_role(initialised, TRANSFORMER)
    assert refused(transformer, "drop schema marts_next cascade")
    initialised.ingest("init")
    assert "nothing to do" in initialised.ingest("init").stdout
    changed(transformer, *(f"create or replace function {schema}.f(a int) returns int return a + 1" for schema in left))
    changed(transformer, *(f"drop table {schema}.t cascade" for schema in left))
    changed(transformer, *(f"drop schema {schema} cascade" for schema in left))
    assert refused(transformer, "drop schema marts_older cascade")


@pytest.fixture
def older(initialised: Warehouse) -> Warehouse:
    """A warehouse as `init` left it before there was a keeper."""
    changed(
        initialised,
        *(f"drop function raw.{function.name}" for function in keeper.FUNCTIONS),
        f"alter schema raw owner to {LOADER}",
        f"alter default privileges for role {LOADER} in schema raw grant select on tables to {TRANSFORMER}",
    )
    return initialised


def test_the_doctor_tells_of_a_warehouse_whose_loader_owns_what_dbt_reads(older: Warehouse) -> None:
    def checked() -> doctor.Check:
        with sessions.connect(where(as_role(older, LOADER)), to_write=True) as connection:
            return {check.what: check for check in doctor._database(connection)}[
                "schema raw is out of the loader's hands"
            ]

    assert not checked().is_good
    rights.init(settings.read_settings(older.env), rights.Roles(), dry_run=False, report=lambda _line: None)
    assert checked().is_good


def test_a_load_that_dbt_could_not_read_is_refused_before_anything_is_created(
    older: Warehouse, publisher: Publisher
) -> None:
    initialised = older
    failed = initialised.ingest("gadm", f"--source={publisher.url('gadm.gpkg')}", expect=1)
    said = " ".join(failed.stderr.split())
    assert (
        f"{TRANSFORMER}, which builds the marts, could not read the tables that warehouse would create in the schema "
        f"raw. Set PGUSER={LOADER}, which owns that schema, or run `python -m ingest init` as a superuser." in said
    )
    assert "Traceback" not in said
    assert initialised.one("select count(*) from pg_class where relnamespace = 'raw'::regnamespace") == 0
    assert publisher.asked == []
    as_role(initialised, LOADER).ingest("gadm", f"--source={publisher.url('gadm.gpkg')}")
    for command in (["resume"], ["refresh"], ["rollback", "gadm"]):
        assert "could not read the tables" in initialised.ingest(*command, expect=1).stderr.replace("\n", " ")
    assert "published" in initialised.ingest("status").stdout


def test_a_worker_of_another_user_creates_no_tables_that_dbt_could_not_read(older: Warehouse) -> None:
    staging, tables = Staging("a_run", "gadm", "4.1"), catalog.get("gadm").tables
    with pytest.raises(PermissionMissing, match=f"{TRANSFORMER}, which builds the marts, could not read"):
        PostgresSink(where(older)).prepare(staging, tables)
    assert older.one("select count(*) from pg_class where relnamespace = 'raw'::regnamespace") == 0
    PostgresSink(where(as_role(older, LOADER))).prepare(staging, tables)


BUILDERS = (
    "select distinct pg_get_userbyid(nspowner)::text from pg_namespace "
    "where nspname in ('staging', 'marts') and pg_get_userbyid(nspowner) <> 'warehouse'"
)
DEFAULTS = "alter default privileges for role stranger {} grant select on tables to {}"


@pytest.mark.parametrize(
    ("made", "removed", "is_refused"),
    [
        ("select 1", "select 1", True),
        (DEFAULTS.format("in schema marts", TRANSFORMER), "select 1", True),
        (DEFAULTS.format("in schema raw", READER), "select 1", True),
        (DEFAULTS.format("in schema raw", TRANSFORMER), "select 1", False),
        (
            f"revoke usage on schema raw from {TRANSFORMER}; " + DEFAULTS.format("in schema raw", TRANSFORMER),
            "select 1",
            True,
        ),
        (DEFAULTS.format("in schema raw", "public"), "select 1", False),
        (DEFAULTS.format("", TRANSFORMER), "select 1", False),
        (
            f"create role staff role {TRANSFORMER}; " + DEFAULTS.format("in schema raw", "staff"),
            "drop owned by staff; drop role staff",
            False,
        ),
        (f"grant stranger to {TRANSFORMER}", f"revoke stranger from {TRANSFORMER}", False),
        (f"grant pg_read_all_data to {TRANSFORMER}", f"revoke pg_read_all_data from {TRANSFORMER}", False),
        ("revoke create on schema raw from stranger", "select 1", False),
        ("alter schema staging owner to stranger; alter schema marts owner to stranger", "select 1", False),
        ("alter schema staging owner to warehouse; alter schema marts owner to warehouse", "select 1", False),
        ("alter schema staging owner to warehouse", "select 1", True),
        ("drop schema staging; drop schema marts", "select 1", False),
    ],
)
def test_who_loads_need_not_be_the_loader_if_dbt_can_read_what_is_loaded(
    older: Warehouse, made: str, removed: str, is_refused: bool
) -> None:
    if not older.one("select count(*) from pg_roles where rolname = 'stranger'"):
        changed(older, "create role stranger login")
    changed(older, "grant usage, create on schema raw to stranger")
    stranger = as_role(older, "stranger")
    with for_now(older, made, removed):
        if is_refused:
            with pytest.raises(PermissionMissing, match=rf"{TRANSFORMER}, .* stranger .* Set PGUSER={LOADER}, "):
                rights.check_load(where(stranger))
        else:
            rights.check_load(where(stranger))
        if not refused(stranger, "create table raw.probe ()"):
            changed(stranger, "create table raw.probe ()")
            for (builder,) in older.query(BUILDERS):
                assert refused(as_role(older, builder), "select from raw.probe") is is_refused


def test_who_owns_raw_is_not_sent_to_itself(older: Warehouse) -> None:
    changed(older, "alter schema raw owner to warehouse")
    with pytest.raises(PermissionMissing) as caught:
        rights.check_load(where(older))
    assert caught.value.hint == "Run `python -m ingest init` as a superuser."


def test_the_loader_keeps_a_run_that_views_of_the_transformer_read(initialised: Warehouse) -> None:
    loader, transformer = as_role(initialised, LOADER), as_role(initialised, TRANSFORMER)
    sink, tables = PostgresSink(where(loader)), catalog.get("gadm").tables
    kept, other = Staging("a_run", "gadm", "4.1"), Staging("another", "gadm", "4.1")
    for staging in (kept, other):
        sink.prepare(staging, tables)
    changed(
        transformer,
        'create schema staging_next create view v as select gid_1 from raw."gadm_adm_1__a_run"',
        "create schema marts_next; create table marts_next.marts_meta as select 'another'::text as run_id",
    )
    for staging in (kept, other):  # it may not look into marts_next, which must be no error
        sink.drop(staging, tables)
    assert sink.stored_runs("gadm", tables) == {"a_run"}
    assert len(initialised.query("select from pg_tables where tablename like '%\\_\\_a\\_run'")) == len(tables)
    changed(transformer, "drop schema staging_next cascade")
    sink.drop(kept, tables)
    assert sink.stored_runs("gadm", tables) == set()


HOSTILE = """
create table raw.loot (who text);
grant insert on raw.loot to public;
create function raw.noted() returns int language sql as 'insert into raw.loot values (current_user) returning 1';
create function raw.innocent() returns int immutable language plpgsql as $$
begin
    return case when current_user = session_user and current_user = 'boundaries_loader' then 1 else raw.noted() end;
end
$$;
create table raw.gadm_adm_0__a (gid_0 text);
create index on raw.gadm_adm_0__a ((raw.innocent() || gid_0));
create view raw.gadm_adm_1 as select raw.noted() as gid_1;
create type raw.sneaky as enum ('a');
create function raw.text_of(raw.sneaky) returns text language sql as 'select raw.noted()::text';
create cast (raw.sneaky as text) with function raw.text_of(raw.sneaky) as implicit;
create table raw.gadm_adm_2__a (gid_2 raw.sneaky);
create table raw.gadm_adm_3__a (gid_3 text);
create statistics raw.s on (raw.innocent() || gid_3), gid_3 from raw.gadm_adm_3__a;
insert into raw.gadm_adm_2__a values ('a');
"""
READ = (  # as a build does, with nothing of raw on the path
    "select gid_0 from raw.gadm_adm_0__a",
    "select gid_1 from raw.gadm_adm_1",
    "select btrim(gid_2) from raw.gadm_adm_2__a",
    "select gid_3 from raw.gadm_adm_3__a where gid_3 = 'a'",
)
OURS = ("gadm_adm_0__a", "gadm_adm_1", "gadm_adm_2__a", "gadm_adm_3__a")


def test_what_the_loader_owns_runs_as_who_reads_it_so_init_takes_over_only_what_runs_nothing(older: Warehouse) -> None:
    loader, transformer = as_role(older, LOADER), as_role(older, TRANSFORMER)
    changed(loader, HOSTILE)
    for number, query in enumerate(READ, 1):
        with sessions.connect(where(transformer), to_write=True) as connection:
            connection.execute(query)
        assert older.one("select count(*) from raw.loot where who = 'boundaries_transformer'") >= number, query
    found = settings.read_settings(older.env)
    with pytest.raises(IngestError) as caught:
        rights.init(found, rights.Roles(), dry_run=False, report=lambda _line: None)
    assert all(f"raw.{name} " in caught.value.message for name in OURS)
    assert "raw.loot" not in caught.value.message
    assert older.one("select nspowner::regrole::text from pg_namespace where nspname = 'raw'") == LOADER
    changed(loader, "drop type raw.sneaky cascade", "drop function raw.innocent() cascade", "drop view raw.gadm_adm_1")
    rights.init(found, rights.Roles(), dry_run=False, report=lambda _line: None)
    assert older.query("select distinct relowner::regrole::text from pg_class where relname ~ '^gadm'") == [(KEEPER,)]
    assert refused(loader, "alter function raw.noted() owner to boundaries_keeper")
    assert refused(loader, "create index on raw.gadm_adm_0__a ((raw.noted() || gid_0))")


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    """A publisher of a small world."""
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 2}))
    with serving(path.read_bytes()) as found:
        yield found


def everything_written(warehouse: Warehouse) -> Iterator[tuple[str, bytes]]:
    """Yield every file of a warehouse and every line of its ledger; not the queue, which is what hands secrets on."""
    for path in warehouse.home.rglob("*"):
        if path.is_file() and not path.is_relative_to(warehouse.home / "downloads") and "queue" not in path.name:
            yield str(path), path.read_bytes()
    if warehouse.env["WAREHOUSE_TARGET"] == "postgres":
        for table in ("ingest_runs", "ingest_files", "ingest_slices", "ingest_consumers"):
            yield table, str(warehouse.query(f"select t::text from raw.{table} t")).encode()


@pytest.mark.parametrize("target", ["embedded", "postgres"])
def test_no_secret_is_printed_noted_or_logged(new_warehouse: NewWarehouse, publisher: Publisher, target: str) -> None:
    warehouse = new_warehouse()
    secret = "5ecret-that-5igns-ta5ks"
    warehouse.env.update(WAREHOUSE_TARGET=target, PGPASSWORD=PASSWORD, INGEST_SECRET=secret)
    warehouse.env["DBT_LOG_LEVEL_FILE"] = "debug"
    address = publisher.url(f"gadm.gpkg?signature={SIGNATURE}")
    printed = []
    with consumer(warehouse):
        for options in (
            [f"--source={address}"],
            [f"--source={address}", "--force"],
            [f"--source={address}x", "--force"],
        ):
            done = warehouse.ingest("gadm", *options)
            printed += [done.stdout, done.stderr]
        publisher.body = b"<html>no such file</html>"
        publisher.etag = '"2"'
        failed = warehouse.ingest("gadm", f"--source={address}", expect=1)
        printed += [failed.stdout, failed.stderr]
    assert sum(f"signature={SIGNATURE}" in asked.path for asked in publisher.asked) > 3
    for arguments in (["status"], ["status", re.findall(r"Run (\S+) of", failed.stderr)[0]], ["doctor"]):
        command = [sys.executable, "-m", "ingest", *arguments]
        raw = subprocess.run(command, cwd=ROOT, env=warehouse.env, capture_output=True, check=False)
        printed += [raw.stdout.decode(), raw.stderr.decode()]
    for arguments in (["build", "--select", "stg_gadm__adm_0"], ["docs", "generate"], ["debug"]):
        dbt = Path(sys.executable).with_name("dbt")
        raw = subprocess.run([dbt, *arguments], cwd=ROOT, env=warehouse.env, capture_output=True, check=False)
        printed += [raw.stdout.decode(), raw.stderr.decode()]
    everything = [*everything_written(warehouse), *(("printed", text.encode()) for text in printed)]
    assert len(everything) > len(printed) + 5
    for value in (SIGNATURE, PASSWORD, secret):
        assert [name for name, content in everything if value.encode() in content] == []


def test_an_unchanged_signed_address_is_noticed_and_one_with_another_signature_is_loaded(
    new_warehouse: NewWarehouse, publisher: Publisher
) -> None:
    warehouse = new_warehouse()
    address = publisher.url(f"gadm.gpkg?signature={SIGNATURE}")
    warehouse.ingest("gadm", f"--source={address}")
    assert "unchanged since run" in warehouse.ingest("gadm", f"--source={address}").stdout
    assert "unchanged since run" not in warehouse.ingest("gadm", f"--source={address}2").stdout
    client = redis.Redis.from_url(warehouse.env["REDIS_URL"])
    assert not [key for key in client.hkeys("huey.results.ingest") if b"addresses" in key]


def test_an_address_that_redis_has_forgotten_is_given_again_to_resume(
    new_warehouse: NewWarehouse, publisher: Publisher
) -> None:
    warehouse = new_warehouse()
    address = publisher.url(f"gadm.gpkg?signature={SIGNATURE}")
    made = subprocess.run(
        [sys.executable, "-c", QUEUED_ONLY, address],
        cwd=ROOT,
        env=warehouse.env,
        capture_output=True,
        text=True,
        check=True,
    )
    run_id = made.stdout.strip()
    assert SIGNATURE not in str(warehouse.query("select r::text from raw.ingest_runs r"))
    redis.Redis.from_url(warehouse.env["REDIS_URL"]).flushdb()
    for arguments in ([run_id], []):
        failed = warehouse.ingest("resume", *arguments, expect=2)
        assert f"resume {run_id} --source" in failed.stderr
    assert warehouse.one("select state from raw.ingest_runs") == "queued"
    warehouse.ingest("resume", run_id, "--source", address)
    assert warehouse.one("select state from raw.ingest_runs") == "published"


# What `python -m ingest gadm` does until it is killed, right after the run is noted.
QUEUED_ONLY = """
import sys
from functools import partial
from ingest.pipeline import runs, signed_addresses
from ingest.ledger import Request
settings, ledger = runs.open_target()
request = Request(dataset="gadm", release="4.1", engine="sedonadb", sources=(sys.argv[1],), scope="custom")
hand_over = partial(signed_addresses.hand_over, sources=request.sources)
print(ledger.create_run(request, None, on_created=hand_over))
"""


class Attack:
    """What makes a file wherever it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        """Say how to unpickle it."""
        return os.system, (f"touch {self.path}",)


def test_a_forged_task_is_refused_before_it_is_unpickled_and_the_consumer_goes_on(
    new_warehouse: NewWarehouse, publisher: Publisher, tmp_path: Path
) -> None:
    warehouse = new_warehouse()
    path = tmp_path / "was-here"
    forged = {
        "unsigned": pickle.dumps(Attack(path)),
        "signed with another secret": SignedSerializer(secret="guessed", salt="ingest").serialize(Attack(path)),
        "signed with another salt": SignedSerializer(secret=warehouse.env["INGEST_SECRET"]).serialize(Attack(path)),
        "not even pickled": b"hello:world",
    }
    pickle.loads(forged["unsigned"])
    assert path.exists(), "the attack works where it is let in"
    path.unlink()
    client = redis.Redis.from_url(warehouse.env["REDIS_URL"])
    with consumer(warehouse) as log:
        for message in forged.values():
            client.lpush("huey.redis.ingest", message)
            client.zadd("huey.schedule.ingest", {message: 0})
        wait_for(lambda: log.read_text().count("A message of the queue was refused") == 2 * len(forged))
        assert client.llen("huey.redis.ingest") == client.zcard("huey.schedule.ingest") == 0
        for key in ("huey.redis.ingest", "huey.schedule.ingest", "huey.results.ingest", "huey.counters.ingest"):
            client.delete(key)
            client.set(key, "poison")
        client.zadd("huey.of.others", {"poison": 0})
        wait_for(lambda: log.read_text().count("and is deleted; lost work is sent again") == 4)
        client.hset("huey.results.ingest", mapping={b"ingest-addresses-\xff\0": b"x", "ingest-queue-id": b"\xff\0"})
        client.hset("huey.results.ingest", "rt:queue.task.fetch_file", b"poison")
        client.zadd("huey.schedule.ingest", {b"never due": 1e12})
        warehouse.ingest("gadm", f"--source={publisher.url('gadm.gpkg')}")
        assert warehouse.one("select count(*) from raw.ingest_consumers") == 1
    assert not path.exists()
    assert "mismatch" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_the_reader_sees_what_the_marts_are_of_and_hears_who_sees_the_runs(divided: Divided) -> None:
    seen = divided.reader.ingest("status")
    assert "The runs cannot be shown." in seen.stdout + seen.stderr
    assert "The reader reads the marts, and nothing else." in seen.stdout + seen.stderr
    assert re.search(r"marts of +run", seen.stdout)
    assert "Is PGUSER the loader?" in divided.reader.ingest("status", "x", expect=1).stderr


def test_the_doctor_does_not_send_a_reader_to_init(initialised: Warehouse) -> None:
    found = as_role(initialised, READER).ingest("doctor").stdout
    assert f"permission to write to the schema raw: {READER}, who reads the marts" in found
    assert "None is needed to read them. To load, or to see runs, set PGUSER to the loader." in found
    assert not re.search(r"^what +where +size", found, re.MULTILINE)  # there is nothing that a reader may see


def test_the_doctor_tells_a_reader_how_large_the_marts_are(divided: Divided) -> None:
    assert re.search(r"^schema +marts +[\d.,]+ MB", divided.reader.ingest("doctor", expect=1).stdout, re.MULTILINE)


def test_a_dump_restored_elsewhere_has_all_of_it_and_loads_and_answers(
    divided: Divided, postgres: servers.Postgres, tmp_path: Path
) -> None:
    found = where(divided.loader)
    admin = ["--host=127.0.0.1", f"--port={found.port}", "--username=warehouse"]
    dump, restored = tmp_path / "warehouse.dump", f"{found.dbname}_restored"
    programs = servers.postgres_binaries()
    for command in (
        ["pg_dump", *admin, "--format=custom", f"--file={dump}", found.dbname],
        ["createdb", *admin, "--template=template0", restored],
        ["pg_restore", *admin, "--exit-on-error", f"--dbname={restored}", str(dump)],
    ):
        done = subprocess.run([programs / command[0], *command[1:]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    there = {
        role: replace(each, env={**each.env, "PGDATABASE": restored}, dsn=f"{each.dsn} dbname={restored}")
        for role, each in ((LOADER, divided.loader), (READER, divided.reader))
    }
    counts = "select (select count(*) from marts.admin_units), (select count(*) from marts.built_releases)"
    assert there[READER].query(counts) == divided.reader.query(counts)
    raw = "select count(*) from raw.gadm_adm_1"
    assert there[LOADER].one(raw) == divided.loader.one(raw) > 0
    assert "current" in there[LOADER].ingest("status").stdout
    assert there[READER].one("select count(*) from marts.locate(1.2, 6.2)") == 1
    there[LOADER].ingest("doctor")
