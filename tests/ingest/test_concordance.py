"""Which unit of one dataset is which unit of another: worlds of a few units, with answers that are known."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import shapely
from shapely import Polygon, box

from admin_boundaries import areas
from admin_boundaries.concordance.matches import SCHEMA, unit_matches
from admin_boundaries.concordance.names import without_type
from admin_boundaries.concordance.side import Marts
from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.python_models import DuckDBRelation

LAND = box(0, 0, 8, 8)
WEST, EAST = box(0, 0, 4, 8), box(4, 0, 8, 8)
Row = dict[str, Any]


@dataclass(frozen=True)
class Unit:
    """A unit of an invented dataset; the number of keys in its path says the level, unless ``level`` does."""

    gid: str
    parent: str | None = None
    name: str = ""
    others: Sequence[str] = ()
    codes: Mapping[str, str] = field(default_factory=dict)
    area: Polygon | None = None
    level: int | None = None


@pytest.fixture
def session() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database for the marts of both datasets."""
    with duckdb.connect() as connection:
        load_spatial(connection)
        yield connection


numbers = itertools.count()


def marts(session: duckdb.DuckDBPyConnection, units: Sequence[Unit]) -> Marts:
    """Write units into tables, as the marts of a dataset have them."""
    schema = f"dataset_{next(numbers)}"
    levels: dict[str, int] = {}
    for unit in units:
        above = levels[unit.parent] + 1 if unit.parent else 0
        levels[unit.gid] = above if unit.level is None else unit.level
    session.execute(f"create schema {schema}")
    tables: dict[str, list[tuple[Any, ...]]] = {
        "units (gid text, admin_level integer, parent_gid text)": [
            (unit.gid, levels[unit.gid], unit.parent) for unit in units
        ],
        "names (gid text, name_kind text, folded_name text)": [
            (unit.gid, kind, name)
            for unit in units
            for kind, names in (("name", [unit.name]), ("variant", unit.others))
            for name in names
            if name
        ],
        "codes (gid text, scheme text, code text)": [
            (unit.gid, *code) for unit in units for code in unit.codes.items()
        ],
        "areas (gid text, wkb blob)": [
            (unit.gid, None if unit.area is None else shapely.to_wkb(unit.area)) for unit in units
        ],
    }
    for table, rows in tables.items():
        session.execute(f"create table {schema}.{table}")
        if rows:
            name = table.partition(" ")[0]
            session.executemany(f"insert into {schema}.{name} values ({', '.join('?' * len(rows[0]))})", rows)
    session.execute(f"create view {schema}.geoms as select gid, st_geomfromwkb(wkb) as geom from {schema}.areas")
    listed, named, coded, drawn = (
        DuckDBRelation(session, f"{schema}.{table}") for table in ("units", "names", "codes", "geoms")
    )
    return Marts(listed, named, coded, [drawn])


def matched(
    session: duckdb.DuckDBPyConnection,
    ours: Sequence[Unit],
    theirs: Sequence[Unit],
    iso: Mapping[str, str] = {},
) -> list[Row]:
    """Match two datasets, check what holds for any two, and return the rows."""
    session.execute("create or replace table subdivisions (code text, folded_names text)")
    for code in iso.items():
        session.execute("insert into subdivisions values (?, ?)", list(code))
    subdivisions = DuckDBRelation(session, "subdivisions")
    one, other = marts(session, ours), marts(session, theirs)
    found = unit_matches(one, other, subdivisions, "theirs").read_all()
    back = unit_matches(other, one, subdivisions, "ours").read_all().to_pylist()
    assert found.schema == SCHEMA
    rows: list[Row] = found.to_pylist()
    assert sorted(row["gid"] for row in rows if row["gid"]) == sorted(unit.gid for unit in ours)
    assert sorted(row["other_gid"] for row in rows if row["other_gid"]) == sorted(unit.gid for unit in theirs)
    assert len({row["match_key"] for row in rows}) == len(rows)
    both_ways = [("gid", "other_gid"), ("admin_level", "other_admin_level"), ("share_of_unit", "share_of_other")]
    swap = dict(both_ways) | {other: one for one, other in both_ways}
    mirrored = [{swap.get(name, name): value for name, value in row.items()} for row in back]
    for row in (*rows, *mirrored):
        row.pop("match_key")
        row.pop("other_dataset")
    assert sorted(map(str, map(sorted, map(dict.items, rows)))) == sorted(
        map(str, map(sorted, map(dict.items, mirrored)))
    )
    return rows


def partners(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """Return the partner and the method of each unit that has one."""
    return {row["gid"]: (row["other_gid"], row["method"]) for row in rows if row["gid"] and row["other_gid"]}


NORVIA = {"iso_3166_1_alpha_2": "NO"}
OURS = [Unit("A", name="norvia", codes=NORVIA, area=LAND)]
THEIRS = [Unit("a", name="norge", codes=NORVIA, area=LAND)]


def test_a_code_that_both_have_makes_partners_whatever_their_names(session: duckdb.DuckDBPyConnection) -> None:
    (row,) = matched(session, OURS, THEIRS)
    assert row == {
        **{"gid": "A", "other_gid": "a", "admin_level": 0, "other_admin_level": 0, "method": "code"},
        **{"evidence": "iso_3166_1_alpha_2 NO", "share_of_unit": 1.0, "share_of_other": 1.0, "confidence": 1.0},
    }


def test_a_code_wins_over_a_name(session: duckdb.DuckDBPyConnection) -> None:
    code = {"iso_3166_2": "NO-1"}
    rows = matched(
        session,
        [*OURS, Unit("A1", "A", "west", codes=code), Unit("A2", "A", "east")],
        [*THEIRS, Unit("a1", "a", "east", codes=code), Unit("a2", "a", "west")],
    )
    assert partners(rows) == {"A": ("a", "code"), "A1": ("a1", "code")}


def test_a_code_that_several_units_of_a_level_have_proves_nothing(session: duckdb.DuckDBPyConnection) -> None:
    code = {"wikidata": "Q1"}
    rows = matched(
        session,
        [*OURS, Unit("A1", "A", "west", codes=code), Unit("A2", "A", "east", codes=code)],
        [*THEIRS, Unit("a1", "a", "other", codes=code)],
    )
    assert partners(rows) == {"A": ("a", "code")}


def test_of_units_with_one_code_those_of_the_same_level_are_partners(session: duckdb.DuckDBPyConnection) -> None:
    code = {"wikidata": "Q64"}
    rows = matched(
        session,
        [*OURS, Unit("A1", "A", "berlin", codes=code), Unit("A11", "A1", "berlin", codes=code)],
        [*THEIRS, Unit("a1", "a", "berlin", codes=code), Unit("a11", "a1", "berlin", codes=code)],
    )
    assert partners(rows) == {"A": ("a", "code"), "A1": ("a1", "code"), "A11": ("a11", "code")}


def test_a_name_counts_only_among_the_children_of_partners(session: duckdb.DuckDBPyConnection) -> None:
    rows = matched(
        session,
        [
            *OURS,
            Unit("A1", "A", "west"),
            Unit("A2", "A", "east"),
            Unit("A11", "A1", "centre"),
            Unit("A21", "A2", "lone"),
        ],
        [
            *THEIRS,
            Unit("a1", "a", "west"),
            Unit("a2", "a", "east"),
            Unit("a11", "a1", "lone"),
            Unit("a21", "a2", "centre"),
        ],
    )
    assert partners(rows) == {"A": ("a", "code"), "A1": ("a1", "name"), "A2": ("a2", "name")}


def test_other_names_count_where_names_differ(session: duckdb.DuckDBPyConnection) -> None:
    rows = matched(
        session,
        [*OURS, Unit("A1", "A", "geneva", others=["geneve"])],
        [*THEIRS, Unit("a1", "a", "genf", others=["geneve", "ginevra"])],
    )
    assert partners(rows)["A1"] == ("a1", "other_name")
    assert rows[1]["evidence"] == "geneve"


def test_a_unit_is_known_by_the_names_of_its_iso_code(session: duckdb.DuckDBPyConnection) -> None:
    rows = matched(
        session,
        [*OURS, Unit("A1", "A", "catalonia")],
        [*THEIRS, Unit("a1", "a", "cataluna", codes={"iso_3166_2": "ES-CT"})],
        iso={"ES-CT": "catalunya|catalonia"},
    )
    assert partners(rows)["A1"] == ("a1", "other_name")


def test_the_word_for_the_type_may_be_there_or_not_on_either_side(session: duckdb.DuckDBPyConnection) -> None:
    rows = matched(
        session,
        [*OURS, Unit("A1", "A", "orange county"), Unit("A2", "A", "centre"), Unit("A3", "A", "region du nord")],
        [*THEIRS, Unit("a1", "a", "orange"), Unit("a2", "a", "centre region"), Unit("a3", "a", "nord department")],
    )
    found = partners(rows)
    assert [found[gid] for gid in ("A1", "A2", "A3")] == [(gid, "name_without_type") for gid in ("a1", "a2", "a3")]


def test_a_name_that_two_units_have_is_told_apart_by_area(session: duckdb.DuckDBPyConnection) -> None:
    rows = matched(
        session,
        [*OURS, Unit("A1", "A", "baltimore", area=WEST), Unit("A2", "A", "baltimore", area=EAST)],
        [*THEIRS, Unit("a1", "a", "baltimore", area=EAST), Unit("a2", "a", "baltimore", area=WEST)],
    )
    assert partners(rows) == {"A": ("a", "code"), "A1": ("a2", "name"), "A2": ("a1", "name")}


def test_a_name_that_two_units_have_makes_no_partners_without_areas(session: duckdb.DuckDBPyConnection) -> None:
    rows = matched(
        session,
        [*OURS, Unit("A1", "A", "baltimore"), Unit("A2", "A", "baltimore")],
        [*THEIRS, Unit("a1", "a", "baltimore")],
    )
    assert partners(rows) == {"A": ("a", "code")}


def test_one_name_for_two_places_makes_no_partners(session: duckdb.DuckDBPyConnection) -> None:
    rows = matched(
        session,
        [*OURS, Unit("A1", "A", "springfield", area=WEST)],
        [*THEIRS, Unit("a1", "a", "springfield", area=EAST)],
    )
    assert partners(rows) == {"A": ("a", "code")}


def test_areas_make_partners_where_names_do_not(session: duckdb.DuckDBPyConnection) -> None:
    rows = matched(
        session,
        [*OURS, Unit("A1", "A", "west", area=WEST)],
        [*THEIRS, Unit("a1", "a", "ponente", area=box(0, 0, 5, 8))],
    )
    assert partners(rows)["A1"] == ("a1", "area")
    assert rows[1]["share_of_unit"] == 1.0
    assert rows[1]["share_of_other"] == pytest.approx(4 / 5)
    assert rows[1]["evidence"] is None
    assert rows[1]["confidence"] == pytest.approx(0.9 * (1 + 4 / 5) / 2)


def test_half_of_each_other_is_not_enough(session: duckdb.DuckDBPyConnection) -> None:
    rows = matched(
        session, [*OURS, Unit("A1", "A", "west", area=WEST)], [*THEIRS, Unit("a1", "a", "mid", area=box(2, 0, 6, 8))]
    )
    assert partners(rows) == {"A": ("a", "code")}


def test_a_unit_without_area_is_a_partner_by_name_and_has_no_shares(session: duckdb.DuckDBPyConnection) -> None:
    rows = matched(session, [*OURS, Unit("A1", "A", "west", area=WEST)], [*THEIRS, Unit("a1", "a", "west")])
    (row,) = (row for row in rows if row["gid"] == "A1")
    assert (row["method"], row["share_of_unit"], row["share_of_other"]) == ("name", None, None)
    assert row["confidence"] == pytest.approx(0.9 * 0.75)


def test_levels_may_be_skipped_on_one_side(session: duckdb.DuckDBPyConnection) -> None:
    rows = matched(
        session,
        [*OURS, Unit("A1", "A", "region that they lack"), Unit("A11", "A1", "town"), Unit("A12", "A1", "village")],
        [*THEIRS, Unit("a1", "a", "town", level=4), Unit("a2", "a", "village", level=3)],
    )
    assert partners(rows) == {"A": ("a", "code"), "A11": ("a1", "name"), "A12": ("a2", "name")}
    assert {(row["admin_level"], row["other_admin_level"]) for row in rows if row["gid"] == "A11"} == {(2, 4)}


def test_the_same_level_comes_before_others(session: duckdb.DuckDBPyConnection) -> None:
    rows = matched(
        session,
        [*OURS, Unit("A1", "A", "west"), Unit("A11", "A1", "west")],
        [*THEIRS, Unit("a1", "a", "west", level=2)],
    )
    assert partners(rows) == {"A": ("a", "code"), "A11": ("a1", "name")}


def test_a_unit_under_another_ancestor_is_found_in_its_country_if_areas_agree(
    session: duckdb.DuckDBPyConnection,
) -> None:
    def world(area: Polygon | None) -> tuple[list[Unit], list[Unit]]:
        return (
            [*OURS, Unit("A1", "A", "west"), Unit("A2", "A", "east"), Unit("A11", "A1", "moved", area=area)],
            [*THEIRS, Unit("a1", "a", "west"), Unit("a2", "a", "east"), Unit("a21", "a2", "moved", area=area)],
        )

    assert partners(matched(session, *world(WEST)))["A11"] == ("a21", "name")
    assert "A11" not in partners(matched(session, *world(None)))


def test_countries_are_partners_by_name_where_they_have_no_codes(session: duckdb.DuckDBPyConnection) -> None:
    assert partners(matched(session, [Unit("A", name="norvia")], [Unit("a", name="norvia")])) == {"A": ("a", "name")}


def test_below_countries_without_partners_names_need_areas(session: duckdb.DuckDBPyConnection) -> None:
    ours = [Unit("A", name="norvia"), Unit("A1", "A", "west", area=WEST), Unit("A2", "A", "east")]
    theirs = [Unit("a", name="union"), Unit("a1", "a", "west", area=WEST), Unit("a2", "a", "east")]
    assert partners(matched(session, ours, theirs)) == {"A1": ("a1", "name")}


def test_units_without_a_partner_are_there_without_a_method(session: duckdb.DuckDBPyConnection) -> None:
    rows = matched(session, [*OURS, Unit("A1", "A", "west")], [*THEIRS, Unit("a1", "a", "elsewhere")])
    alone = [row for row in rows if row["method"] == "none"]
    assert [(row["gid"], row["other_gid"]) for row in alone] == [(None, "a1"), ("A1", None)]
    assert all(
        row[name] is None for row in alone for name in ("evidence", "share_of_unit", "share_of_other", "confidence")
    )


def test_a_dataset_without_units_leaves_the_other_without_partners(session: duckdb.DuckDBPyConnection) -> None:
    assert partners(matched(session, OURS, [])) == {}


def shuffled(units: Sequence[Unit], seed: int) -> list[Unit]:
    """Return a country and the units of its first level in another order."""
    return [units[0], *random.Random(seed).sample(units[1:], len(units) - 1)]


def test_the_order_of_rows_changes_nothing(session: duckdb.DuckDBPyConnection) -> None:
    ours = [*OURS, *(Unit(f"A{n}", "A", f"name {n % 7}", area=box(n, 0, n + 1, 8)) for n in range(8))]
    theirs = [*THEIRS, *(Unit(f"a{n}", "a", f"name {n % 5}", area=box(n, 0, n + 1.2, 8)) for n in range(8))]
    before = matched(session, ours, theirs)
    for seed in range(3):
        assert matched(session, shuffled(ours, seed), shuffled(theirs, seed)) == before


def test_shares_are_those_of_the_globe(session: duckdb.DuckDBPyConnection) -> None:
    tropics, both = box(0, 0, 10, 30), box(0, 0, 10, 90)
    (row,) = matched(session, [Unit("A", name="x", area=both)], [Unit("a", name="x", area=tropics)])
    assert row["share_of_unit"] == pytest.approx(0.4983, abs=1e-4)  # half on a sphere, a third by degrees
    assert row["share_of_other"] == 1.0


def test_few_geometries_are_in_memory_at_a_time(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = [*OURS, *(Unit(f"A{n}", "A", f"name {n}", area=box(n, 0, n + 1, 8)) for n in range(8))]
    theirs = [*THEIRS, *(Unit(f"a{n}", "a", f"name {n}", area=box(n, 0, n + 1, 8)) for n in range(8))]
    at_once: list[int] = []
    read = areas.Areas.read

    def counted(of: areas.Areas, at: Any) -> Any:
        at_once.append(len(at))
        return read(of, at)

    before = matched(session, ours, theirs)
    monkeypatch.setattr(areas, "BATCH_BYTES", 320)  # of four boxes
    monkeypatch.setattr(areas.Areas, "read", counted)
    assert matched(session, ours, theirs) == before
    assert max(at_once) <= 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("orange county", "orange"),
        ("departement du haut ogooue", "haut ogooue"),
        ("autonomous region of norvia", "norvia"),
        ("the district of columbia", "columbia"),
        ("московская область", "московская"),
        ("广东省", "广东"),
        ("district", "district"),
        ("countyville", "countyville"),
        ("lake of the woods county", "lake of the woods"),
    ],
)
def test_a_name_loses_the_words_for_its_type(name: str, bare: str) -> None:
    assert without_type(pa.array([name])).to_pylist() == [bare]
