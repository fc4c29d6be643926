"""`dbt build` on both targets: it reads one run to its end, and what readers see is whole, or as it was."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow.parquet as pq
import pytest

from admin_boundaries.duckdb_spatial import load_spatial
from tests.conftest import ROOT
from tests.fixtures.editions import write_edition
from tests.integration import forked, servers
from tests.integration.conftest import COMMAND_SECONDS, NewWarehouse, Warehouse, copy_project

pytestmark = [pytest.mark.servers, pytest.mark.slow]

POINT = (-66.1, 18.4)  # in San Juan, Puerto Rico
SAMPLE = ROOT / "sample" / "boundaries-levels.zip"
NAMES = {"admin_level_0": "name", "admin_level_1": "name", "admin_units": "name", "admin_unit_names": "path"}
# derived marts are one node more each, and take as long as half of the others; unit tests read no run
WITHOUT_DERIVED = ("--exclude", "tag:derived", "test_type:unit")
QUICK = ("--exclude-resource-type", "test", "unit_test", *WITHOUT_DERIVED)
WITH_FEW_TESTS = (*WITHOUT_DERIVED, "test_type:generic")  # they take longer than the build, and no test here needs them


@dataclass(frozen=True)
class Building:
    """A build that was started, and the file to which it prints."""

    process: forked.Fork
    log: Path

    def wait_for(self, text: str) -> None:
        """Wait until it has printed a text."""
        deadline = time.monotonic() + COMMAND_SECONDS
        while text not in self.log.read_text():
            has_ended = self.process.poll() is not None
            assert text in self.log.read_text() or not has_ended, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def end(self, expect: int = 0) -> None:
        """Wait for its end."""
        assert self.process.wait(COMMAND_SECONDS) == expect, self.log.read_text()

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Place:
    """A warehouse of one target in which edition A is loaded and built, and then edition B is loaded."""

    warehouse: Warehouse
    runs: dict[str, str]  # by edition

    @property
    def is_embedded(self) -> bool:
        """Whether it is a DuckDB file."""
        return self.warehouse.env["WAREHOUSE_TARGET"] == "embedded"

    @property
    def file(self) -> Path:
        """The DuckDB file that readers open."""
        return self.warehouse.home / "warehouse.duckdb"

    @contextmanager
    def connect(self, *, read_only: bool = True) -> Iterator[Any]:
        """Open the marts as a reader does."""
        if self.is_embedded:
            with duckdb.connect(str(self.file), read_only=read_only) as embedded:
                load_spatial(embedded)
                yield embedded
        else:
            assert self.warehouse.dsn is not None
            with psycopg.connect(self.warehouse.dsn, autocommit=True) as postgres:
                yield postgres

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the marts."""
        with self.connect() as connection:
            found: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
            return found

    def editions(self) -> set[str]:
        """Return the editions that the marts are of: by their names and runs, by the history, and by `locate`."""
        letters = {
            letter
            for mart, column in NAMES.items()
            for (letter,) in self.ask(f"select distinct right({column}, 1) from marts.{mart}")
        }
        ((path,),) = self.ask(f"select path from marts.locate({POINT[0]}, {POINT[1]})")
        names = self.ask("select distinct right(name, 1) from marts.admin_units_history where valid_to is null")
        runs = self.ask(
            "select run_id from marts.marts_meta where dataset = 'gadm' "
            "union select run_id from marts.built_releases where dataset = 'gadm' and valid_to is null"
        )
        found = {letter for letter, run_id in self.runs.items() if (run_id,) in runs}
        return letters | {path[-1]} | {letter for (letter,) in names} | found

    def history(self) -> list[tuple[Any, ...]]:
        """Return how many units of which edition are current, and how many are not."""
        return self.ask(
            "select right(name, 1), valid_to is null, count(*) from marts.admin_units_history group by 1, 2 order by 1"
        )

    def stamp(self) -> str:
        """Return what changes when anything in the marts does: the file's bytes, or rows and storage of every table."""
        if self.is_embedded:
            return hashlib.sha256(self.file.read_bytes()).hexdigest()
        tables = self.ask("select relname::text from pg_class where relnamespace = 'marts'::regnamespace order by 1")
        stored = self.ask(
            "select relname::text, oid::int, relfilenode::int from pg_class "
            "where relnamespace = 'marts'::regnamespace and relkind <> 'c' order by 1"
        )
        rows = {
            name: self.ask(f"select md5(string_agg(t::text, '' order by t::text)) from marts.{name} t")
            for (name,) in tables
            if not name.endswith(("_idx", "_pkey")) and len(name) < 30 and "_" in name
        }
        return hashlib.sha256(repr((stored, rows)).encode()).hexdigest()

    def build(self, *arguments: str, project: Path = ROOT) -> Building:
        """Start ``dbt build``."""
        log = Path(tempfile.mkstemp(suffix=".log", dir=self.warehouse.home.parent)[1])
        env = {**self.warehouse.env, "PYTHONPATH": str(ROOT), "DBT_WRITE_JSON": "false"}
        return Building(forked.Fork("dbt", ("build", *arguments), project, env, [log] * 2), log)

    def dbt(self, *arguments: str, project: Path = ROOT, expect: int = 0) -> str:
        """Run dbt, in the project or a copy of it, and check how it ended."""
        return self.warehouse.dbt(*arguments, folder=project, expect=expect).stdout

    def leftovers(self) -> list[str]:
        """Return what builds have left beside the marts."""
        if self.is_embedded:
            return sorted(path.name for path in (self.file.parent / "build").iterdir() if path.name != "lock")
        return [
            name
            for (name,) in self.ask(
                "select nspname::text from pg_namespace where nspname ~ '_(next|old_[0-9a-f]+)$' order by 1"
            )
        ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The two editions."""
    folder = tmp_path_factory.mktemp("editions")
    found = {letter: folder / f"edition-{letter}.gpkg" for letter in "AB"}
    for letter, path in found.items():
        write_edition(SAMPLE, path, f"~{letter}", is_reversed=letter == "B")
    return found


@pytest.fixture(scope="module", params=["postgres", "embedded"])
def prepared(request: pytest.FixtureRequest, new_warehouse: NewWarehouse, files: dict[str, Path]) -> Place:
    """The warehouse that tests change, and find as it is here."""
    warehouse = new_warehouse()
    warehouse.env["WAREHOUSE_TARGET"] = request.param
    runs = {}
    for letter, file in files.items():
        printed = warehouse.ingest("gadm", "--source", str(file)).stdout
        runs[letter] = next(line for line in printed.splitlines() if "| run " in line).rpartition("run ")[2].strip()
        if letter == "A":
            warehouse.dbt("build", *QUICK)
    return Place(warehouse, runs)


@pytest.fixture
def place(prepared: Place, pristine: Callable[[], None]) -> Place:
    """The warehouse, its marts of edition A while edition B is published, as if no test had been there."""
    pristine()
    return prepared


@pytest.fixture(scope="module")
def pristine(
    prepared: Place, postgres: servers.Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], None]:
    """Return what puts the warehouse back as it was prepared, in its old place: dbt parses all files for a new one."""
    home, kept = prepared.warehouse.home, tmp_path_factory.mktemp("prepared") / "home"
    name, parsed = prepared.warehouse.env["PGDATABASE"], home / "target" / "partial_parse.msgpack"
    shutil.copytree(home, kept, symlinks=True)

    def database(statement: str) -> None:
        with psycopg.connect(f"host=127.0.0.1 port={postgres.port} user=warehouse dbname=postgres") as admin:
            admin.autocommit = True
            admin.execute(statement)  # type: ignore[arg-type]

    def put_back() -> None:
        latest = parsed.read_bytes() if parsed.exists() else b""
        shutil.rmtree(home)
        shutil.copytree(kept, home, symlinks=True)
        if latest:
            parsed.write_bytes(latest)
        if not prepared.is_embedded:
            database(f"drop database {name} with (force)")
            database(f"create database {name} template {name}_prepared")

    if not prepared.is_embedded:
        database(f"create database {name}_prepared template {name}")
    return put_back


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the dbt project, to be broken."""
    return copy_project(tmp_path / "project")


@pytest.mark.parametrize(
    "moment", ["START sql view model staging.stg_gadm__adm_0", "int_admin_units__deduplicated", "marts.admin_units "]
)
def test_a_build_reads_the_run_that_it_began_with_whatever_is_published(place: Place, moment: str) -> None:
    is_seen_through = moment.startswith("int_")  # one build with its tests, and one more after it, are enough
    building = place.build(*(WITHOUT_DERIVED if is_seen_through else QUICK))
    building.wait_for(moment)
    place.warehouse.ingest("rollback", "gadm")
    building.end()
    assert place.editions() == {"B"}
    if is_seen_through:
        place.dbt("build", *QUICK)
        assert place.editions() == {"A"}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param("models/marts/admin/admin_units.sql", "from lineage", "from lineage_of_nobody", id="a model"),
        pytest.param("tests/dbt/rows_are_balanced.sql", "where not is_balanced", "where true", id="a test"),
        pytest.param(
            "models/marts/lookup/admin_unit_names.sql", "where spelled.name", "where 1 = 0 and spelled.name", id="rows"
        ),
    ],
)
def test_what_fails_leaves_the_marts_byte_for_byte_and_retry_publishes_the_rest(
    place: Place, project: Path, file: str, old: str, new: str
) -> None:
    options = list(WITH_FEW_TESTS)
    if "names" in file:
        options.remove("test_type:unit")  # that of names fails, so that the retry builds the model
        (project / "tests/dbt/every_unit_has_a_name.sql").write_text(
            "select 1 as one where not exists (select 1 from {{ ref('admin_unit_names') }})"
        )
    before, text = place.stamp(), (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))
    printed = place.dbt("build", *options, project=project, expect=1)
    assert "The marts stay as they were" in printed
    assert place.stamp() == before
    assert place.editions() == {"A"}
    (project / file).write_text(text)
    place.dbt("retry", project=project)
    assert place.editions() == {"B"}
    assert place.leftovers() == []


def test_a_killed_build_leaves_the_marts_and_the_next_one_clears_away_what_it_made(place: Place) -> None:
    before = place.stamp()
    building = place.build(*QUICK)
    building.wait_for("OK created sql table model marts.admin_units ")
    building.kill()
    assert place.stamp() == before
    assert place.leftovers() != []
    place.dbt("build", *QUICK)
    assert place.editions() == {"B"}
    assert place.leftovers() == []


def test_a_retry_does_not_go_on_with_what_another_build_has_left(place: Place, project: Path) -> None:
    broken = project / "models/marts/admin/admin_units.sql"
    text = broken.read_text()
    broken.write_text(text.replace("from lineage", "from lineage_of_nobody"))
    place.dbt("build", *WITH_FEW_TESTS, project=project, expect=1)
    broken.write_text(text)
    results = Path(place.warehouse.env["DBT_TARGET_PATH"]) / "run_results.json"
    of_the_failed = results.read_bytes()
    building = place.build(*QUICK, project=project)
    building.wait_for("OK created sql table model marts.admin_level_0 ")
    building.kill()
    results.write_bytes(of_the_failed)
    assert "There is no failed build to go on with" in place.dbt("retry", project=project, expect=2)
    assert place.editions() == {"A"}


def test_a_build_of_a_part_stays_with_the_run_of_the_rest(place: Place) -> None:
    printed = place.dbt("build", *WITHOUT_DERIVED, "--select", "admin_units", "stg_gadm__adm_1")
    assert place.editions() == {"A"}
    assert f"This build reads run {place.runs['A']} of gadm" in printed
    assert f"To build all of them from run {place.runs['B']}, which is published: dbt build" in printed
    printed = place.dbt("run", *WITHOUT_DERIVED)  # it leaves the history as it is
    assert f"This build reads run {place.runs['A']}" in printed
    assert place.editions() == {"A"}
    assert "This build reads run" not in place.dbt("build", *QUICK, "--full-refresh")
    assert place.editions() == {"B"}
    ((_, _, count), _) = place.history()
    assert place.history() == [("A", False, count), ("B", True, count)]


@pytest.mark.parametrize("part", ["stg_gadm__adm_1", "admin_level_1"])
def test_a_part_cannot_be_built_from_a_run_that_is_gone(part: str, place: Place, files: dict[str, Path]) -> None:
    if not place.is_embedded:  # there, the views of staging keep the run
        with place.connect() as connection:
            connection.execute("drop schema staging cascade")
    place.warehouse.ingest("gadm", "--source", str(files["B"]), "--force")
    before = place.stamp()
    assert "whose tables are gone" in place.dbt("build", *WITHOUT_DERIVED, "--select", part, expect=2)
    assert place.stamp() == before


def test_a_run_that_an_older_version_loaded_is_not_built(place: Place) -> None:
    table = "gadm_adm_1"
    if place.is_embedded:
        columns = place.warehouse.home / "raw" / "gadm" / "runs" / place.runs["B"] / table / "columns.parquet"
        pq.write_table(pq.read_table(columns).drop_columns("geom_hash"), columns)
    else:
        with place.connect() as connection:
            connection.execute(f'alter table raw."{table}__{place.runs["B"]}" drop column geom_hash cascade')
    before = place.stamp()
    printed = place.dbt("build", *QUICK, expect=2)
    assert "The tables of gadm were made by an older version, and lack columns." in printed
    assert "Load it again: python -m ingest gadm" in printed
    assert place.stamp() == before


def test_marts_that_do_not_say_which_run_they_are_of_are_built_as_a_whole(place: Place) -> None:
    with place.connect(read_only=False) as connection:
        connection.execute("drop table marts.marts_meta")
    assert "do not say which run they are of" in place.dbt(
        "build", *WITHOUT_DERIVED, "--select", "admin_units", expect=2
    )
    place.dbt("build", *QUICK)
    assert place.editions() == {"B"}


def test_keys_to_what_a_partial_build_made_are_all_there(place: Place) -> None:
    if place.is_embedded:
        query = (
            "select count(*) from duckdb_constraints() where constraint_type = 'PRIMARY KEY' and schema_name = 'marts'"
        )
    else:
        query = (
            "select string_agg(conname || conrelid::regclass || confrelid::regclass, ' ' order by conname) "
            "from pg_constraint where connamespace = 'marts'::regnamespace and convalidated and contype = 'f'"
        )
    before = place.ask(query)
    place.dbt("build", *WITHOUT_DERIVED, "--select", "admin_units", "admin_level_0", "timezones")
    assert place.ask(query) == before
    assert place.dbt("test", "--select", "foreign_keys_present", "primary_keys_present")


def test_what_others_made_beside_the_marts_is_kept(place: Place) -> None:
    key = "" if place.is_embedded else " references marts.admin_units"
    optional = f"create table marts.admin_unit_cells (gid text{key})"  # as a build with the variable has left it
    with place.connect(read_only=False) as connection:
        connection.execute("create table marts.my_points (n int primary key)")
        connection.execute("insert into marts.my_points values (1), (2)")
        connection.execute(optional)
        connection.execute(f"create table marts.admin_leaf_parts (gid text{key})")  # as an earlier version called it
        if place.is_embedded:
            connection.execute("create schema mine")
            connection.execute("create view mine.places as select gid from marts.admin_units")
            connection.execute("create index mine_by_n on marts.my_points (n)")
            connection.execute("create macro marts.my_macro(n) as n + 1")
    refused = place.dbt("build", *WITHOUT_DERIVED, "--select", "admin_units", expect=2)  # that would keep what is old
    assert "An older version built the marts, with marts.admin_leaf_parts, which has another name now" in refused
    printed = place.dbt("build", "--exclude-resource-type", "test", "unit_test")  # the file of a part is a copy
    assert place.ask("select count(*) from marts.my_points") == [(2,)]
    # no mart of ours stays that this build did not make
    cells = "select count(*) from information_schema.tables where table_name = 'admin_unit_cells'"
    assert place.ask(cells) == [(0,)]
    assert place.ask(cells.replace("unit_cells", "leaf_parts")) == [(0,)]
    if place.is_embedded:
        assert place.ask("select count(*) from mine.places") == place.ask("select count(*) from marts.admin_units")
        assert "Function marts.my_macro" in printed
    with place.connect(read_only=False) as connection:
        connection.execute(optional)
    printed = place.dbt("build", *WITHOUT_DERIVED, "--select", "admin_units")
    assert place.ask("select count(*) from marts.my_points") == [(2,)]
    assert place.ask(cells) == [(1,)]
    assert "is left behind" not in printed


def test_a_new_warehouse_says_that_nothing_is_loaded(prepared: Place, new_warehouse: NewWarehouse) -> None:
    empty = new_warehouse()
    empty.env["WAREHOUSE_TARGET"] = prepared.warehouse.env["WAREHOUSE_TARGET"]
    printed = empty.dbt("build", expect=2).stdout
    assert "Nothing has been loaded yet. Load first: python -m ingest gadm timezones" in printed


def only(target: str) -> pytest.MarkDecorator:
    """Run a test on one target: the other cannot have the fault."""
    return pytest.mark.parametrize("prepared", [target], indirect=True)


@only("embedded")
def test_a_notebook_goes_on_reading_what_it_opened(place: Place) -> None:
    with place.connect() as notebook:
        before = notebook.execute("select distinct right(name, 1) from marts.admin_units").fetchall()
        size = place.file.stat().st_size
        for _ in range(2):
            place.dbt("build", *QUICK)
        assert before == [("A",)]
        assert notebook.execute("select distinct right(path, 1) from marts.admin_unit_names").fetchall() == before
    assert place.editions() == {"B"}
    assert place.file.stat().st_size < 1.1 * size


@only("embedded")
def test_a_notebook_that_may_write_stops_a_build_with_one_sentence(place: Place) -> None:
    holding = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place.file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holding.stdout is not None
    assert holding.stdout.readline() == "open\n"
    try:
        printed = place.dbt("build", expect=2)
        assert "open for writing" in printed
        assert "Close it there, or open it read-only, then build again." in printed
    finally:
        holding.communicate("x")
    assert place.editions() == {"A"}


HOLDER = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.readline()"


@only("embedded")
def test_two_builds_of_one_file_do_not_meet(place: Place) -> None:
    (place.file.parent / "build").mkdir(exist_ok=True)
    descriptor = os.open(place.file.parent / "build" / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert "Another dbt build is at work" in place.dbt("build", expect=2)
    finally:
        os.close(descriptor)
    assert place.editions() == {"A"}


@only("postgres")
def test_a_reader_who_sits_in_a_transaction_stops_neither_a_build_nor_other_readers(place: Place) -> None:
    assert place.warehouse.dsn is not None
    with psycopg.connect(place.warehouse.dsn) as idle:
        idle.execute("select count(*) from marts.admin_units").fetchall()
        waits: list[float] = []
        ended = threading.Event()

        def read() -> None:
            while not ended.is_set():
                began = time.monotonic()
                place.ask("select count(*) from marts.admin_units")
                waits.append(time.monotonic() - began)

        reader = threading.Thread(target=read)
        reader.start()
        place.dbt("build", *QUICK)
        ended.set()
        reader.join()
        assert max(waits) < 10  # he would wait for the idle one, that is, for ever
        assert place.editions() == {"B"}
        assert idle.execute("select distinct right(name, 1) from marts.admin_units").fetchall() == [("B",)]
    place.dbt("build", *QUICK)
    assert place.leftovers() == []


@only("postgres")
def test_a_statement_that_found_the_function_before_other_marts_came_is_answered_from_those(place: Place) -> None:
    assert place.warehouse.dsn is not None
    both = (
        "select right(path, 1), (select run_id from marts.marts_meta where dataset = 'gadm') "
        f"from marts.locate({POINT[0]}, {POINT[1]})"
    )
    waiting = "select from pg_locks where not granted"
    with psycopg.connect(place.warehouse.dsn) as idle, psycopg.connect(place.warehouse.dsn) as other:
        idle.execute("select count(*) from marts.admin_units").fetchall()  # keeps edition A from being cleared away
        place.dbt("build", *QUICK)
        ((old,),) = place.ask("select nspname::text from pg_namespace where nspname ~ '^marts_old_'")
        other.execute("lock table marts.marts_meta in access exclusive mode")
        found: list[tuple[Any, ...]] = []
        reader = threading.Thread(target=lambda: found.extend(place.ask(both)))
        reader.start()
        while not place.ask(waiting):
            time.sleep(0.02)
        other.execute("alter schema marts rename to marts_of_b")
        other.execute(f"alter schema {old} rename to marts")  # type: ignore[arg-type]
        other.commit()
        reader.join()
    assert found == [("A", place.runs["A"])]


@only("postgres")
def test_a_transaction_that_began_before_goes_on_with_the_functions_of_its_edition(place: Place) -> None:
    assert place.warehouse.dsn is not None
    where = f"select right(path, 1) from marts.locate_points(array[{POINT[0]}], array[{POINT[1]}])"
    with psycopg.connect(place.warehouse.dsn) as early:
        early.execute("set transaction isolation level repeatable read")
        early.execute("select 1")
        place.dbt("build", *QUICK)
        assert early.execute(where).fetchall() == [("A",)]  # type: ignore[arg-type]
    assert place.editions() == {"B"}


@only("postgres")
def test_a_part_that_cannot_be_put_before_readers_fails_and_says_why(place: Place) -> None:
    before = place.stamp()
    assert place.warehouse.dsn is not None
    with psycopg.connect(place.warehouse.dsn) as idle:
        idle.execute("select count(*) from marts.admin_units").fetchall()
        printed = place.dbt(
            "run", *WITHOUT_DERIVED, "--select", "admin_units", "--vars", "{publish_patience: 2}", expect=1
        )
        assert "idle in transaction" in printed
    assert place.stamp() == before
    place.dbt("run", *WITHOUT_DERIVED, "--select", "admin_units")


@only("postgres")
def test_a_second_build_beside_one_at_work_is_refused(place: Place) -> None:
    assert place.warehouse.dsn is not None
    with psycopg.connect(place.warehouse.dsn, autocommit=True) as other:
        other.execute("create schema marts_next")
        with psycopg.connect(place.warehouse.dsn) as at_work:
            at_work.execute("create table marts_next.admin_units (gid text)")
            printed = place.dbt("build", "--vars", "{publish_patience: 2}", expect=2)
    assert "Another dbt build is at work in this database" in printed
    assert place.editions() == {"A"}


def test_no_part_of_the_name_of_a_home_is_a_pattern_or_the_end_of_a_text(new_warehouse: NewWarehouse) -> None:
    warehouse = new_warehouse()
    warehouse.home /= "it's [1] * of 100%25 ä"
    warehouse.env |= {"WAREHOUSE_TARGET": "embedded", "WAREHOUSE_HOME": str(warehouse.home)}
    warehouse.ingest("timezones", "--release", "sample")
    warehouse.dbt("run", "--select", "stg_timezones__timezones")
    assert (warehouse.home / "warehouse.duckdb").is_file()
