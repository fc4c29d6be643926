"""What changed between the two editions of the sample's counties, of 2017 and of 2023, on both targets.

Between them, Valdez-Cordova in Alaska was split, Connecticut's eight counties gave way to nine planning regions, Haines
ceded ground to Juneau, and most other borders were only drawn anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from admin_boundaries import World
from ingest.errors import UsageError
from ingest.settings import read_settings
from tests.conftest import ROOT
from tests.fixtures import documented
from tests.fixtures.documents import blocks
from tests.integration.conftest import NewWarehouse, Warehouse

pytestmark = [pytest.mark.servers, pytest.mark.slow]

TARGETS = ("postgres", "embedded")
BUILD = (
    *("build", "--select", "+admin_unit_changes", "+admin_unit_crosswalk"),
    *("changes_are_complete", "crosswalk_shares_add_up", "--indirect-selection", "empty"),
)
CHANGES = "select * from marts_tiger.admin_unit_changes"
CROSSWALK = "select * from marts_tiger.admin_unit_crosswalk"
SHARES = """
    select to_gid, round(cast(share_of_from as numeric), 4)
    from marts_tiger.admin_unit_crosswalk
    where from_gid = '{}'
        and admin_level = 2
        and not is_sliver
    order by to_gid
"""


@pytest.fixture(scope="module")
def warehouses(new_warehouse: NewWarehouse) -> dict[str, Warehouse]:
    """Two warehouses that have seen both editions, and have built the later one."""
    found = {}
    for target in TARGETS:
        found[target] = warehouse = new_warehouse()
        warehouse.env |= {"WAREHOUSE_TARGET": target, "BOUNDARIES": "tiger"}
        for release in ("sample", "sample-2023"):
            warehouse.ingest("tiger", "--release", release)
        warehouse.dbt(*BUILD)
    return found


@pytest.fixture(params=TARGETS)
def warehouse(request: pytest.FixtureRequest, warehouses: dict[str, Warehouse]) -> Warehouse:
    return warehouses[request.param]


def ask(warehouse: Warehouse, query: str) -> list[tuple[Any, ...]]:
    """Ask the marts of a warehouse."""
    if warehouse.env["WAREHOUSE_TARGET"] == "embedded":
        embedded = duckdb.connect(str(warehouse.home / "warehouse_tiger.duckdb"), read_only=True)
        with closing(embedded):
            return embedded.execute(query).fetchall()
    assert warehouse.dsn is not None
    with psycopg.connect(warehouse.dsn) as postgres:
        return postgres.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]


def shares(warehouse: Warehouse, gid: str) -> dict[str, float]:
    """Return where the ground of a county of 2017 is."""
    return {to_gid: float(share) for to_gid, share in ask(warehouse, SHARES.format(gid))}


def test_what_changed_between_2017_and_2023_is_told_from_borders_drawn_anew(warehouse: Warehouse) -> None:
    told = "select change_type, unit_of, count(*) from ({}) as changes where admin_level = 2 group by 1, 2"
    assert {row[:2]: row[2] for row in ask(warehouse, told.format(CHANGES))} == {
        ("kept", "both"): 3219,
        ("reshaped", "both"): 2,
        ("split", "from"): 1,
        ("split", "to"): 2,
        ("complex", "from"): 8,
        ("complex", "to"): 9,
    }
    reshaped = "select to_name from ({}) as changes where is_reshaped order by 1"
    assert ask(warehouse, reshaped.format(CHANGES)) == [("Haines",), ("Juneau",)]


def test_ground_is_carried_to_where_it_went(warehouse: Warehouse) -> None:
    assert shares(warehouse, "02261") == pytest.approx({"02063": 0.2920, "02066": 0.7077}, abs=1e-3)
    connecticut = {"09120": 0.2191, "09140": 0.0550, "09190": 0.7234}
    assert shares(warehouse, "09001") == pytest.approx(connecticut, abs=1e-3)


def test_both_targets_tell_the_same(warehouses: dict[str, Warehouse]) -> None:
    for query in (CHANGES, CROSSWALK):
        left, right = (sorted(ask(warehouses[target], query), key=str) for target in TARGETS)
        assert left == right


def test_python_reads_the_same_changes_on_both_targets(warehouses: dict[str, Warehouse]) -> None:
    counts = []
    for each in warehouses.values():
        with World(read_settings(each.env)) as world:
            split = world.changes(country="USA", level=2, types=["split"]).arrow()
            with pytest.raises(UsageError, match="Did you mean 'split'"):
                world.changes(types=["splt"])
            with pytest.raises(UsageError, match="TGO is in neither release"):
                world.changes(country="TGO")
            ground = [world.crosswalk(level=2, slivers=slivers).arrow().num_rows for slivers in (True, False)]
            counts.append((split["change_key"].to_pylist(), world.changes().arrow().num_rows, ground))
    assert counts[0] == counts[1]
    keys, changed, ground = counts[0]
    assert len(keys) == 3
    assert (
        changed
        == ask(warehouses["postgres"], f"select count(*) from ({CHANGES}) as c where change_type <> 'kept'")[0][0]
    )
    assert ground[0] > ground[1] > 3000


def test_the_example_of_the_documentation_gives_what_is_shown(warehouses: dict[str, Warehouse], tmp_path: Path) -> None:
    document = ROOT / "docs" / "changes.md"
    shares, counties = blocks(document, "text")
    (tmp_path / "counties.csv").write_text(counties, encoding="utf-8")
    here = warehouses["postgres"]  # as it was made: another test returns to the release before on the other
    here = replace(here, folder=tmp_path)
    commands = documented.run_as_printed(documented.OF_TIGER)
    assert len(commands) == 3
    for command in commands:
        ended = here.ingest(*command.words)
        said = [line.rstrip() for line in f"{ended.stdout}\n{ended.stderr}".splitlines()]
        assert [line for line in command.printed.splitlines() if line not in (*said, "…")] == [], command.line
    (query,) = (query for query in blocks(document, "sql") if "marts_tiger" in query)
    assert [[str(value) for value in row] for row in ask(here, query)] == [
        row.split() for row in shares.splitlines()[1:]
    ]


def test_a_release_that_is_not_kept_is_refused(warehouse: Warehouse) -> None:
    before = {row[0] for row in ask(warehouse, "select distinct from_release from marts_tiger.admin_unit_changes")}
    said = warehouse.dbt(*BUILD, "--vars", 'since: "9.9"', expect=2).stdout
    assert "There is nothing kept of a release 9.9 of tiger to compare with. Kept are: " in said
    assert "To compare with no release: BOUNDARIES=tiger dbt build --vars 'since: none'" in said
    assert {
        row[0] for row in ask(warehouse, "select distinct from_release from marts_tiger.admin_unit_changes")
    } == before


def test_a_build_of_a_part_cannot_compare_with_another_release(warehouses: dict[str, Warehouse]) -> None:
    said = (
        warehouses["postgres"].dbt("build", "--select", "admin_unit_changes", "--vars", "since: none", expect=2).stdout
    )
    assert "This build leaves some marts as they are, which are compared with sample. To compare with another" in said


def test_what_is_no_name_of_a_release_is_refused(warehouses: dict[str, Warehouse]) -> None:
    said = warehouses["embedded"].dbt("build", "--vars", "since:", expect=2).stdout
    assert "`since` is the name of a release in quotes" in said


def test_the_release_before_is_held_until_the_build_is_published(warehouses: dict[str, Warehouse]) -> None:
    warehouse = warehouses["postgres"]
    ((run_id,),) = ask(warehouse, "select before_run_id from marts_tiger.marts_meta where dataset = 'tiger'")
    table = f'raw."tiger_adm_2__{run_id}"'
    assert warehouse.dsn is not None
    with psycopg.connect(warehouse.dsn, autocommit=True) as postgres:
        postgres.execute(f"alter table {table} rename name to elsewhere")  # type: ignore[arg-type]
        try:
            warehouse.dbt("build", "--select", "int_units_before", expect=1)
        finally:
            postgres.execute(f"alter table {table} rename elsewhere to name")  # type: ignore[arg-type]
        held = "select pg_get_viewdef(oid) from pg_class where relname = 'held_runs'"
        ((view,),) = postgres.execute(held).fetchall()
        assert f"tiger_adm_2__{run_id}" in view
        warehouse.dbt("retry")
        assert postgres.execute(held).fetchall() == []


def test_a_release_before_that_is_gone_is_not_compared_with(warehouse: Warehouse) -> None:
    ((run_id,),) = ask(warehouse, "select before_run_id from marts_tiger.marts_meta where dataset = 'tiger'")
    with hidden(warehouse, run_id):
        said = warehouse.dbt("build", "--select", "int_units_before", expect=2).stdout
    assert "The tables of the release before are gone. To compare with another one that is kept, or with none" in said


@contextmanager
def hidden(warehouse: Warehouse, run_id: str) -> Iterator[None]:
    """Take the counties of a run away for a while."""
    if warehouse.env["WAREHOUSE_TARGET"] == "embedded":
        folder = warehouse.home / "raw" / "tiger" / "runs" / run_id
        there, away = folder, folder.with_name("elsewhere")
        there.rename(away)
        try:
            yield
        finally:
            away.rename(there)
        return
    assert warehouse.dsn is not None
    with psycopg.connect(warehouse.dsn, autocommit=True) as postgres:
        name = f"tiger_adm_2__{run_id}"
        postgres.execute(f'alter table raw."{name}" rename to elsewhere')  # type: ignore[arg-type]
        try:
            yield
        finally:
            postgres.execute(f'alter table raw.elsewhere rename to "{name}"')  # type: ignore[arg-type]


def test_a_release_that_one_returns_to_is_compared_with_the_one_that_was_left(warehouses: dict[str, Warehouse]) -> None:
    warehouse = warehouses["embedded"]
    there = ask(warehouse, CROSSWALK)
    warehouse.ingest("rollback", "tiger")
    warehouse.dbt(*BUILD)
    names = "from_gid, to_gid, from_release, to_release, share_of_from"
    mirrored = "to_gid, from_gid, to_release, from_release, share_of_to"
    back = ask(warehouse, CROSSWALK.replace("*", mirrored))
    columns = [name for (name, *_others) in ask(warehouse, f"describe {CROSSWALK}")]
    wanted = [columns.index(name) for name in names.split(", ")]
    assert rounded(back) == rounded([tuple(row[at] for at in wanted) for row in there])


def rounded(rows: list[tuple[Any, ...]]) -> list[str]:
    """Return rows in an order of their own, without what comes from rounding."""
    return sorted(str([round(value, 6) if isinstance(value, float) else value for value in row]) for row in rows)
