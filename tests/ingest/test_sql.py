"""SQL of one's own is answered from the marts, and changes nothing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import geoarrow.pyarrow as geoarrow
import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from admin_boundaries import sql
from admin_boundaries.duckdb_warehouse import DuckdbWarehouse, connected
from admin_boundaries.geometry import geometry_columns
from ingest.errors import QueryFailed
from ingest.settings import Settings
from tests.fixtures import marts as built
from tests.ingest.test_cli import run_apart

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run the command on a small warehouse; return its exit code, output and errors."""
    built.write(settings.home)
    return lambda *options: run_apart("sql", *options, capsys=capsys, monkeypatch=monkeypatch)


def test_a_statement_is_answered_as_a_table_of_as_many_rows_as_are_asked_for(ask: Ask) -> None:
    code, printed, said = ask("select gid, geom from marts.admin_level_1 order by gid", "--limit", "2")
    lines = [line.split(maxsplit=1) for line in printed.splitlines()]
    assert (code, [line[0] for line in lines]) == (0, ["gid", "AAA.1_1", "AAA.2_1"])
    assert lines[1][1].startswith("MULTIPOLYGON (((")
    assert "… and more than these 2 rows" in said


def test_geometry_is_known_as_such_whether_or_not_the_process_knows_its_type() -> None:
    metadata = {b"ARROW:extension:name": b"geoarrow.wkb"}
    fields = [pa.field("a", pa.binary(), metadata=metadata), pa.field("b", geoarrow.wkb()), pa.field("c", pa.binary())]
    assert geometry_columns(pa.schema(fields)) == [0, 1]


def test_a_long_value_is_cut_in_a_table_and_whole_elsewhere(ask: Ask) -> None:
    long = f"select '{'x' * 100}' as value"
    assert f"{'x' * (sql.WIDEST - 1)}…" in ask(long)[1]
    assert "x" * 100 in ask(long, "--format", "csv")[1]


def test_csv_and_json_have_the_same_rows(ask: Ask) -> None:
    statement = (
        "select gid, 7 as seven, null as nothing, [gid, 'b'] as list, geom from marts.admin_level_1 order by gid"
    )
    rows = list(csv.DictReader(io.StringIO(ask(statement, "--format", "csv")[1])))
    objects = json.loads(ask(statement, "--format", "json")[1])
    assert len(rows) == len(objects) > 2
    assert (rows[0]["list"], objects[0]["list"]) == ("AAA.1_1|b", ["AAA.1_1", "b"])
    assert (rows[0]["nothing"], objects[0]["nothing"]) == ("", None)
    assert [row["geom"] for row in rows] == [each["geom"] for each in objects]


def test_no_rows_are_an_empty_list_and_a_header(ask: Ask) -> None:
    assert json.loads(ask("select 1 as one where false", "--format", "json")[1]) == []
    assert ask("select 1 as one where false", "--format", "csv")[1] == "one\n"


def test_a_parquet_file_has_geometry_as_geoparquet_has_it(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "units.parquet"
    code, printed, _ = ask("select gid, geom from marts.admin_level_1", "-o", str(path))
    frame = geopandas.read_parquet(path)
    assert (code, frame.crs, set(frame.geom_type)) == (0, "OGC:CRS84", {"MultiPolygon"})
    assert f"{len(frame)} rows" in printed
    plain = tmp_path / "plain.parquet"
    ask("select gid from marts.admin_level_1", "-o", str(plain))
    assert pq.read_metadata(plain).metadata.keys() & {b"geo"} == set()


def test_a_file_that_exists_is_kept_unless_it_may_be_replaced(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("mine")
    assert ask("select 1 as one", "-o", str(path))[0] == 2
    assert path.read_text() == "mine"
    assert ask("select 1 as one", "-o", str(path), "--overwrite")[0] == 0
    assert path.read_text() == "one\n1\n"
    assert ask("select oops", "-o", str(path), "--overwrite")[0] == 1
    assert path.read_text() == "one\n1\n"
    assert ask("select 1", "-o", str(tmp_path / "one.xlsx"))[0] == 1


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("drop table marts.admin_units", "read-only"),
        ("delete from marts.admin_units", "read-only"),
        ("select 1; select 2", "not one statement"),
        ("", "not one statement"),
        ("selec 1", 'syntax error at or near "selec"'),
        ("select * from marts.nowhere", "nowhere does not exist"),
    ],
)
def test_what_changes_something_or_is_no_statement_is_refused(ask: Ask, statement: str, reason: str) -> None:
    code, printed, said = ask(statement)
    assert (code, printed) == (1, "")
    assert reason in said
    assert ask("select count(*) as n from marts.admin_units", "--format", "csv")[1].startswith("n\n")


def test_what_is_piped_in_is_one_statement(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("select\n 7 as seven;\n"))
    assert ask("--format", "csv")[1] == "seven\n7\n"


def test_a_prompt_takes_statements_of_several_lines_until_the_end() -> None:
    typed = iter(["", "select 1;", "select", "  2;", "select 3"])
    shown: list[str] = []
    asked: list[str] = []

    def read(before: str) -> str:
        shown.append(before.strip())
        line = next(typed, None)
        if line is None:
            raise EOFError
        return line

    sql.prompt(read, asked.append)
    assert asked == ["select 1;", "select\n  2;"]
    assert shown == ["sql>", "sql>", "sql>", "…", "sql>", "…"]


def test_at_the_prompt_a_statement_that_was_begun_can_be_left() -> None:
    typed = iter(["select", KeyboardInterrupt(), "select 2;", EOFError()])  # a line, or what is raised
    asked: list[str] = []

    def read(_before: str) -> str:
        line = next(typed)
        if isinstance(line, str):
            return line
        assert isinstance(line, BaseException)
        raise line

    sql.prompt(read, asked.append)
    assert asked == ["select 2;"]


def test_who_opens_the_marts_again_gets_the_build_that_is_there_and_who_has_them_open_keeps_his(tmp_path: Path) -> None:
    def build(number: int, path: Path) -> None:
        with duckdb.connect(str(path)) as connection:
            connection.execute(f"create schema marts; create table marts.builds as select {number} as number")

    def asked(warehouse: DuckdbWarehouse) -> list[int]:
        (value,) = warehouse.query("select number from marts.builds").read_all()["number"].to_pylist()
        return [value, *(number for (number,) in warehouse.rows("select number from marts.builds"))]

    path = tmp_path / "warehouse.duckdb"
    build(1, path)
    with connected(path, tmp_path, "gadm") as before:
        build(2, tmp_path / "next.duckdb")
        (tmp_path / "next.duckdb").replace(path)
        with connected(path, tmp_path, "gadm") as after:
            assert (asked(before), asked(after)) == ([1, 1], [2, 2])


LATE = "select cast(case when i = 299000 then 'x' else '1' end as int) as value from range(300000) as t(i)"


def test_a_fault_that_shows_while_rows_are_fetched_is_said_like_any_other_and_leaves_no_file(
    ask: Ask, tmp_path: Path
) -> None:
    for suffix in (".csv", ".parquet"):
        code, _, said = ask(LATE, "--output", str(tmp_path / f"out{suffix}"))
        assert (code, said.splitlines()[0]) == (1, "error: Conversion Error: Could not convert string 'x' to INT32")
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("is_late", [False, True])
def test_of_a_fault_in_duckdb_itself_one_sentence_is_said_without_addresses_in_its_program(is_late: bool) -> None:
    words = "INTERNAL Error: Attempted to access index 1 within vector of size 1\n\nStack Trace:\n\n0 duckdb() + 7"

    def fail(*_: object) -> pa.RecordBatchReader:
        if not is_late:
            raise duckdb.InternalException(words)

        def batches() -> Iterator[pa.RecordBatch]:
            raise OSError(words)
            yield

        return pa.RecordBatchReader.from_batches(pa.schema([]), batches())

    class Broken:
        sql = duckdb.connect()

        def extract_statements(self, statement: str) -> list[duckdb.Statement]:
            return self.sql.extract_statements(statement)

        def execute(self, statement: str) -> Broken:
            return self

        def fetchall(self) -> list[tuple[str]]:
            return [("memory",)]

        cursor = property(lambda self: lambda: self)
        to_arrow_reader = staticmethod(fail)

    warehouse = DuckdbWarehouse(Broken(), Path("lake"), "gadm")  # type: ignore[arg-type]
    with pytest.raises(QueryFailed) as refused:
        warehouse.query("select 1").read_all()
    assert refused.value.message == (
        f"DuckDB {duckdb.__version__} cannot answer this statement, for a fault of its own: INTERNAL Error: "
        "Attempted to access index 1 within vector of size 1."
    )
