"""Which units `find` gives for a name, a key or a code, in which order, and what may have been meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from admin_boundaries.duckdb_warehouse import DuckdbWarehouse
from admin_boundaries.find import Name, meant, nearest_first
from admin_boundaries.spelling import nearest

Find = Callable[[str], list[Name]]
CODES = [
    ("TGO.1_1", "iso_3166_2", "TG-M"),
    ("TGO.1.1_1", "geoid", "06075"),
    ("GHA.1_1", "hasc", "LOME"),
]
PLACES = {"TGO.1_1": (1.2, 6.1), "TGO.1.1_1": (1.3, 6.2), "TGO.2_1": (0.0, 0.0), "TGO.3_1": (1.2, 6.0)}

NAMES = [
    # gid, level, kind, name
    ("TGO.1_1", 1, "name", "Lome"),
    ("TGO.1.1_1", 2, "name", "Lome"),
    ("TGO.2_1", 1, "name", "Lome Commune"),
    ("TGO.3_1", 1, "name", "Golfe"),
    ("TGO.3_1", 1, "variant", "Lome"),
    ("TGO.4_1", 1, "name", "Bè"),
    ("TGO.4_1", 1, "local", "Lome"),
    ("TGO.4_1", 1, "variant", "Lome Bè"),
    ("GHA.1_1", 1, "name", "Kpalime"),
    ("BEN.1_1", 1, "name", "A"),
    ("BEN.1_1", 1, "variant", "A Plus"),
]


@pytest.fixture
def warehouse() -> Iterator[DuckdbWarehouse]:
    """Return a warehouse with a few names and codes."""
    with duckdb.connect() as connection:
        connection.execute("create schema marts")
        connection.execute("create macro marts.fold_name(name) as trim(replace(lower(name), '-', ' '))")
        connection.execute(
            "create table marts.admin_unit_names (gid text, admin_level int, name_kind text, name text, "
            "folded_name text, type_english text, path text)"
        )
        connection.executemany(
            "insert into marts.admin_unit_names select $1, $2, $3, $4, marts.fold_name($4), null, $1", NAMES
        )
        connection.execute(
            "create table marts.admin_units as select gid, admin_level, name, path from marts.admin_unit_names "
            "where name_kind = 'name'"
        )
        connection.execute("create table marts.admin_unit_codes (gid text, scheme text, code text)")
        connection.executemany("insert into marts.admin_unit_codes values (?, ?, ?)", CODES)
        for level in range(6):
            shape = "gid text, point_lon double, point_lat double, cc_code text"
            connection.execute(f"create table marts.admin_level_{level} ({shape})")
        for gid, level, kind, _ in NAMES:
            if kind == "name":
                place = PLACES.get(gid, (None, None))
                row = [gid, *place, "7" if gid == "BEN.1_1" else None]
                connection.execute(f"insert into marts.admin_level_{level} values (?, ?, ?, ?)", row)
        yield DuckdbWarehouse(connection, Path("/no/lake"), "gadm")


@pytest.fixture
def find(warehouse: DuckdbWarehouse) -> Find:
    """Return `find`, on a warehouse with a few names."""
    return lambda name: warehouse.find(name, 10)


def test_a_code_comes_before_whole_names_then_own_names_then_higher_levels(find: Find) -> None:
    assert [(found.gid, found.name_kind, found.is_exact) for found in find("LOME")] == [
        ("GHA.1_1", "code", True),
        ("TGO.1_1", "name", True),
        ("TGO.1.1_1", "name", True),
        ("TGO.3_1", "variant", True),
        ("TGO.4_1", "local", True),
        ("TGO.2_1", "name", False),
    ]


def test_the_beginning_of_a_name_is_enough(find: Find) -> None:
    assert [(found.name, found.is_exact) for found in find("kpal")] == [("Kpalime", False)]
    assert find("palime") == []


def test_a_unit_is_found_once_by_the_name_that_fits_best(find: Find) -> None:
    assert [(found.gid, found.name) for found in find("A")] == [("BEN.1_1", "A")]


@pytest.mark.parametrize("word", ["", " ", "-"])
def test_a_word_without_a_letter_finds_nothing(find: Find, word: str) -> None:
    assert find(word) == []


@pytest.mark.parametrize(
    ("typed", "gid"), [("TGO.1_1", "TGO.1_1"), ("tgo.1_1 ", "TGO.1_1"), ("tg-m", "TGO.1_1"), ("7", "BEN.1_1")]
)
def test_a_unit_is_found_by_its_key_and_by_any_of_its_codes(find: Find, typed: str, gid: str) -> None:
    assert [(found.gid, found.name_kind, found.is_exact) for found in find(typed)] == [(gid, "code", True)]


def test_a_code_is_found_whole_and_with_its_zeros(find: Find) -> None:
    assert [found.name for found in find("06075")] == ["Lome"]
    assert find("6075") == find("0607") == []


def test_a_unit_that_is_found_by_code_and_by_name_is_there_once_and_counts(warehouse: DuckdbWarehouse) -> None:
    (connection,) = [warehouse._connection]
    connection.execute("insert into marts.admin_unit_codes values ('TGO.1_1', 'hasc', 'LOME')")
    found = [each.gid for each in warehouse.find("lome", 4)]
    assert found == ["GHA.1_1", "TGO.1_1", "TGO.1.1_1", "TGO.3_1"]


def test_near_a_place_whole_names_come_first_and_of_these_the_nearest(warehouse: DuckdbWarehouse) -> None:
    found = nearest_first(warehouse, warehouse.find("lome", 10), 1.2, 6.0)
    assert [(each.gid, each.is_exact) for each in found] == [
        *(("TGO.3_1", True), ("TGO.1_1", True), ("TGO.1.1_1", True), ("GHA.1_1", True), ("TGO.4_1", True)),
        ("TGO.2_1", False),
    ]
    assert [each.away_km for each in found][:2] == [0, pytest.approx(11.12, abs=0.01)]
    assert [each.away_km for each in found][3:5] == [None, None], "no point is known"


def test_near_the_date_line_the_other_side_is_near(warehouse: DuckdbWarehouse) -> None:
    warehouse._connection.execute(
        "update marts.admin_level_1 set point_lon = -179.9, point_lat = 0 where gid = 'TGO.3_1'"
    )
    assert nearest_first(warehouse, warehouse.find("golfe", 1), 179.9, 0)[0].away_km == pytest.approx(22.24, abs=0.01)


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("Kaplime", ["Kpalime"]),
        ("gofle", ["Golfe"]),
        ("LOMME", ["Lome"]),
        ("lome komune", ["Lome Commune"]),
        ("zzzzzz", []),
        ("xy", []),
        ("", []),
    ],
)
def test_what_may_have_been_meant_is_what_is_spelled_almost_so(
    warehouse: DuckdbWarehouse, typed: str, names: list[str]
) -> None:
    assert meant(warehouse, typed) == names


def test_of_names_that_are_equally_near_the_first_by_letter_is_named_first_whatever_their_order() -> None:
    known = ["rome", "lime", "dome", "lomes", "somewhere"]
    assert nearest("lome", known, 3) == nearest("lome", known[::-1], 3) == ["dome", "lime", "lomes"]
