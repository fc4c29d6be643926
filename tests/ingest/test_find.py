"""Which units `find` gives for a name, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from admin_boundaries.duckdb_warehouse import DuckdbWarehouse
from admin_boundaries.find import Name

Find = Callable[[str], list[Name]]

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
def find() -> Iterator[Find]:
    """Return `find`, on a warehouse with a few names."""
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
        warehouse = DuckdbWarehouse(connection, Path("/no/lake"), "gadm")
        yield lambda name: warehouse.find(name, 10)


def test_whole_names_come_first_then_own_names_then_higher_levels(find: Find) -> None:
    assert [(found.gid, found.name_kind, found.is_exact) for found in find("LOME")] == [
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
