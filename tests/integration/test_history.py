"""The history of the units on both targets: it grows by what a build changed, and tells the units of any release."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from ingest import catalog, sinks
from ingest.ledger import Ledger
from ingest.settings import read_settings
from tests.integration.conftest import NewWarehouse, Warehouse
from tests.integration.invented import connected

pytestmark = [pytest.mark.servers, pytest.mark.slow]

Unit = tuple[str, int, str | None, str, str, float | None, str | None]
Rows = list[tuple[Any, ...]]

TABLES = """
create schema marts;
create table marts.marts_meta (
    dataset text, build_id text, built_at timestamptz, run_id text, release text, variant text, scope text,
    published_at timestamptz
);
create table marts.admin_units (
    gid text primary key, admin_level int, parent_gid text, country_gid text, name text, area_km2 double precision,
    geom_hash text, release text
)
"""
FRANCE: Unit = ("FRA", 0, None, "FRA", "France", 100.0, None)
REGIONS: list[Unit] = [
    ("FRA.1_1", 1, "FRA", "FRA", "Alsace", 10.0, "a"),
    ("FRA.2_1", 1, "FRA", "FRA", "Bretagne", 20.0, "b"),
    ("FRA.3_1", 1, "FRA", "FRA", "Île", None, None),
    ("FRA.5_1", 1, "FRA", "FRA", "Savoie", 50.0, "d"),
]
LATER: list[Unit] = [
    ("FRA.1_1", 1, "FRA", "FRA", "Alsace", 10.0 + 1e-9, "a"),  # a sum in another order
    ("FRA.2_1", 1, "FRA", "FRA", "Breizh", 20.0, "b"),
    ("FRA.4_1", 1, "FRA", "FRA", "Corse", 30.0, "c"),
    ("FRA.5_1", 1, "FRA", "FRA", "Savoie", 50.0, "e"),  # another shape
]
RELEASES = (("3.6", [FRANCE, *REGIONS]), ("4.0", [FRANCE, *LATER]), ("4.1", [FRANCE, *LATER]))
ROLLED_BACK = RELEASES[0]


class Target:
    """A warehouse whose units are set by hand, and whose history dbt goes on with."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse

    def build(self, release: str, units: Sequence[Unit], *arguments: str) -> None:
        """Have the marts be of a release, and go on with the history."""
        with connected(self.warehouse) as connection:
            connection.execute("delete from marts.marts_meta")
            connection.execute(
                "insert into marts.marts_meta (dataset, run_id, release) values "
                f"('gadm', 'run_of_{release[0]}{release[2]}', '{release}'), ('timezones', null, null)"
            )
            connection.execute("delete from marts.admin_units")
            for unit in units:
                values = ["null" if value is None else f"'{value}'" for value in (*unit, release)]
                connection.execute(f"insert into marts.admin_units values ({', '.join(values)})")
        self.warehouse.dbt("snapshot", *arguments)

    def ask(self, query: str) -> Rows:
        """Ask the marts."""
        with connected(self.warehouse) as connection:
            found: Rows = connection.execute(query).fetchall()
            return found

    def history(self) -> Rows:
        """Return the history without its times."""
        return self.ask("select gid, name, release, release_to from marts.admin_units_history order by gid, valid_from")

    def as_of(self, *releases: str, expect: int = 0) -> str:
        """Return what dbt prints of the units of some releases."""
        selects = [
            f"select '{release}' as of, name from {{{{ as_of('{release}') }}}} where admin_level = 1"
            for release in releases
        ]
        options = ("--output", "json", "--limit", "100", "--quiet")
        return self.warehouse.dbt("show", "--inline", " union all ".join(selects), *options, expect=expect).stdout


@pytest.fixture(scope="module", params=["postgres", "embedded"])
def target(request: pytest.FixtureRequest, new_warehouse: NewWarehouse) -> Target:
    """A warehouse in which three releases were built, and then the first of them again."""
    warehouse = new_warehouse()
    warehouse.env["WAREHOUSE_TARGET"] = request.param
    settings = read_settings(warehouse.env)
    Ledger(settings).open()
    for name, dataset in catalog.datasets().items():
        sinks.get(settings).ensure_published(name, dataset.tables)
    made = Target(warehouse)
    with connected(warehouse) as connection:
        for statement in TABLES.split(";"):
            connection.execute(statement)
    for release, units in (*RELEASES, ROLLED_BACK):
        made.build(release, units)
    return made


def test_a_row_begins_with_what_changed_and_ends_with_the_next_change(target: Target) -> None:
    assert target.history() == [
        ("FRA", "France", "3.6", None),
        ("FRA.1_1", "Alsace", "3.6", None),
        ("FRA.2_1", "Bretagne", "3.6", "4.0"),
        ("FRA.2_1", "Breizh", "4.0", "3.6"),
        ("FRA.2_1", "Bretagne", "3.6", None),
        ("FRA.3_1", "Île", "3.6", "4.0"),
        ("FRA.3_1", "Île", "3.6", None),
        ("FRA.4_1", "Corse", "4.0", "3.6"),
        ("FRA.5_1", "Savoie", "3.6", "4.0"),
        ("FRA.5_1", "Savoie", "4.0", "3.6"),
        ("FRA.5_1", "Savoie", "3.6", None),
    ]


def test_a_row_ends_when_the_next_one_of_its_unit_begins(target: Target) -> None:
    times = target.ask(
        "select valid_from, valid_to from marts.admin_units_history where gid = 'FRA.2_1' order by valid_from"
    )
    assert [end for _, end in times] == [*(begin for begin, _ in times[1:]), None]
    built: list[tuple[str, datetime, datetime | None]] = target.ask(
        "select release, valid_from, valid_to from marts.built_releases where dataset = 'gadm' order by valid_from"
    )  # type: ignore[assignment]
    assert [release for release, _, _ in built] == ["3.6", "4.0", "4.1", "3.6"]
    assert [end for _, _, end in built] == [*(begin for _, begin, _ in built[1:]), None]
    assert {begin for begin, _ in times} == {begin for release, begin, _ in built if release != "4.1"}


def test_the_units_of_a_release_are_told_also_of_one_that_changed_nothing(target: Target) -> None:
    told = json.loads(target.as_of("3.6", "4.0", "4.1"))["show"]
    found = sorted((row["of"], row["name"]) for row in told)
    names = {release: [name for _, level, _, _, name, *_ in units if level == 1] for release, units in RELEASES}
    assert found == sorted((release, name) for release, listed in names.items() for name in listed)


def test_a_release_that_the_marts_were_never_of_is_refused(target: Target) -> None:
    printed = target.as_of("4.2", expect=2)
    assert "The marts have never been of release 4.2 of gadm. They have been of 3.6, 4.0, 4.1." in printed


def test_a_build_that_reads_no_rows_ends_none(target: Target) -> None:
    before = target.history()
    target.build(*ROLLED_BACK, "--empty")
    assert target.history() == before
