"""What changed between two releases: worlds of a few units, with answers that are known, and of random ones."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import Mock

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon, box
from shapely.geometry.base import BaseGeometry

from admin_boundaries.areas import KM2, Areas
from admin_boundaries.changes import crosswalk, kernels, overlaps, overlay, unit_changes
from admin_boundaries.changes.differences import differences
from admin_boundaries.changes.names import name_change
from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.python_models import DuckDBRelation

Row = dict[str, Any]
MIRROR = {"split": "merged", "merged": "split", "new": "gone", "gone": "new", "from": "to", "to": "from"}
KINDS = ("change_type", "unit_of")
LEFT_OUT = ("country_gid", "from_release", "to_release")  # not the mirror image
COLUMNS = (
    "gid text, admin_level integer, parent_gid text, country_gid text, name text, is_leaf boolean, "
    "is_located boolean, area_km2 double, geom_hash text, release text, wkb blob"
)


@dataclass(frozen=True)
class Unit:
    """A unit of an invented release; of one without an area, the children are the area."""

    gid: str
    parent: str | None = None
    area: BaseGeometry | None = None
    name: str = "a name"
    level: int | None = None


@pytest.fixture(scope="module")
def session() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database for the units of both releases."""
    with duckdb.connect() as connection:
        load_spatial(connection)
        yield connection


numbers = itertools.count()


def tables(session: duckdb.DuckDBPyConnection, units: Sequence[Unit], release: str) -> str:
    """Write a release into a table, as the models that are compared have it."""
    table = f"units_{next(numbers)}"
    by_key = {unit.gid: unit for unit in units}
    areas = {unit.gid: unit.area or _of_children(unit.gid, units) for unit in units}

    def level(unit: Unit) -> int:
        return unit.level if unit.level is not None else (level(by_key[unit.parent]) + 1 if unit.parent else 0)

    def country(unit: Unit) -> str:
        return country(by_key[unit.parent]) if unit.parent else unit.gid

    rows = []
    for unit in units:
        children = [areas[child.gid] for child in units if child.parent == unit.gid]
        area = areas[unit.gid]
        covered = sum(_km2(child) for child in children)
        is_covered = bool(children) and abs(covered - _km2(area)) <= 1e-6 * _km2(area)
        wkb = shapely.to_wkb(area) if not area.is_empty else None
        rows.append(
            (
                *(unit.gid, level(unit), unit.parent, country(unit), unit.name, not children, not is_covered),
                *(_km2(area) if wkb else None, wkb and hashlib.md5(wkb).hexdigest(), release, wkb),
            )
        )
    session.execute(f"create table {table} ({COLUMNS})")
    session.executemany(f"insert into {table} values ({', '.join('?' * 11)})", rows)
    return table


def _of_children(gid: str, units: Sequence[Unit]) -> BaseGeometry:
    return shapely.union_all(
        [unit.area or _of_children(unit.gid, units) for unit in units if unit.parent == gid]
    ).normalize()


def _km2(area: BaseGeometry) -> float:
    areas = Areas(1)
    with areas:
        areas.fill([(np.array([0]), pa.array([shapely.to_wkb(area)]))])
        return float(areas.sizes[0] * KM2)


@dataclass(frozen=True)
class Compared:
    """The rows of both marts."""

    changes: list[Row]
    crosswalk: list[Row]

    def types(self) -> dict[str, str]:
        """Return what became of every unit that is not just kept, by the keys before and now."""
        return {row["change_key"]: row["change_type"] for row in self.changes if row["change_type"] != "kept"}

    def one(self, gid: str) -> Row:
        """Return the row of a unit now."""
        (row,) = (row for row in self.changes if row["to_gid"] == gid and row["unit_of"] != "from")
        return row

    def shares(self, gid: str) -> dict[str | None, float]:
        """Return where the ground of a unit before is, on its own level."""
        return {
            row["to_gid"]: round(row["share_of_from"], 4)
            for row in self.crosswalk
            if row["from_gid"] == gid and row["admin_level"] == row["from_level"]
        }


def compared(session: duckdb.DuckDBPyConnection, before: Sequence[Unit], now: Sequence[Unit]) -> Compared:
    """Compare two releases, and check what holds for any two."""
    found, back = _compared(session, before, now), _compared(session, now, before)
    for mirrored, own in (
        (_mirrored(back.changes, "change_key"), _sorted(found.changes)),
        (_mirrored(back.crosswalk, "crosswalk_key"), _sorted(found.crosswalk)),
    ):
        assert set(mirrored) - set(own) == set(own) - set(mirrored)
        assert mirrored == own
    for side, units in (("from", before), ("to", now)):
        other = "to" if side == "from" else "from"
        keys = [row[f"{side}_gid"] for row in found.changes if row["unit_of"] != other]
        assert sorted(keys) == sorted(unit.gid for unit in units)
        sums: dict[str, float] = {}
        for row in found.crosswalk:
            if row[f"{side}_level"] == row["admin_level"]:
                sums[row[f"{side}_gid"]] = sums.get(row[f"{side}_gid"], 0) + row[f"share_of_{side}"]
        assert sorted(sums) == sorted(unit.gid for unit in units if unit.area or not unit.level)
        assert all(math.isclose(share, 1, abs_tol=1e-9) for share in sums.values())
    return found


def _compared(session: duckdb.DuckDBPyConnection, before: Sequence[Unit], now: Sequence[Unit]) -> Compared:
    sides = tables(session, before, "1"), tables(session, now, "2")
    for one, other in itertools.permutations(sides):
        session.execute(
            f"create view areas_of_{one} as select gid, st_geomfromwkb(wkb) as geom, "
            f"geom_hash not in (select geom_hash from {other} where geom_hash is not null) as is_changed from {one} "
            f"where wkb is not null and (is_located or gid in (select gid from {other} where is_located))"
        )
    units = [DuckDBRelation(session, side) for side in sides]
    areas = [DuckDBRelation(session, f"areas_of_{side}") for side in sides]
    laid = overlaps.unit_overlaps(*units, *areas).read_all()  # type: ignore[arg-type]
    table = f"overlaps_{next(numbers)}"
    shuffled = random.Random(1).sample(range(len(laid)), len(laid))
    session.register("laid", laid.take(pa.array(shuffled, pa.int64())))
    session.execute(f"create table {table} as select * from laid")
    ground = DuckDBRelation(session, table)
    return Compared(
        unit_changes.unit_changes(units[0], units[1], ground).read_all().to_pylist(),
        crosswalk.unit_crosswalk(units[0], units[1], ground).read_all().to_pylist(),
    )


def _mirrored(rows: list[Row], key: str) -> list[str]:
    """Return rows as those of the comparison the other way round."""
    swapped = []
    for row in rows:
        mirror = {
            _other_side(name): MIRROR.get(value, value) if name in KINDS else value for name, value in row.items()
        }
        one, two = row[key].removeprefix(f"{row['admin_level']} ").split(" > ")
        mirror[key] = f"{two} > {one}"
        if mirror.get("unit_of") == "both":  # a row is filed where its unit is now
            mirror["admin_level"] = mirror["to_level"]
        swapped.append(mirror)
    return _sorted(swapped)


def _other_side(name: str) -> str:
    if name.startswith("from_") or name.endswith("_from"):
        return name.replace("from", "to")
    return re.sub("^to_|_to$", lambda found: found.group().replace("to", "from"), name)


def _sorted(rows: list[Row]) -> list[str]:
    found = []
    for row in rows:
        own = {name: value for name, value in row.items() if name not in LEFT_OUT}
        own = {name: round(value, 6) if isinstance(value, float) else value for name, value in own.items()}
        if "crosswalk_key" in own:
            own["crosswalk_key"] = own["crosswalk_key"].removeprefix(f"{row['admin_level']} ")
        found.append(str(sorted(own.items())))
    return sorted(found)


def cell(column: float, row: float, width: float = 1, height: float = 1) -> Polygon:
    """Return a rectangle with many corners, as real borders have: twenty on each side."""
    return shapely.segmentize(box(column, row, column + width, row + height), min(width, height) / 20)


def grid(columns: int = 4, rows: int = 2, parent: str = "A") -> list[Unit]:
    """Return a country of cells."""
    return [
        Unit(parent),
        *(
            Unit(f"{parent}.{column}{row}", parent, cell(column, row), f"name {column}{row}")
            for column in range(columns)
            for row in range(rows)
        ),
    ]


def without(units: Sequence[Unit], *gids: str) -> list[Unit]:
    """Return the units but those with some keys."""
    return [unit for unit in units if unit.gid not in gids]


def changed(units: Sequence[Unit], key: str, **how: Any) -> list[Unit]:
    """Return the units, the one with a key changed."""
    return [replace(unit, **how) if unit.gid == key else unit for unit in units]


def test_a_release_is_all_kept_beside_itself(session: duckdb.DuckDBPyConnection) -> None:
    found = compared(session, grid(), grid())
    assert found.types() == {}
    assert {row["border_change"] for row in found.changes} == {"same"}
    assert found.shares("A.00") == {"A.00": 1.0}


def test_nothing_is_said_where_there_is_no_release_before(session: duckdb.DuckDBPyConnection) -> None:
    found = _compared(session, grid(), grid())
    assert found.changes
    sides = tables(session, grid(), "2")
    session.execute(f"create table none_before as from {sides} limit 0")
    none, units = DuckDBRelation(session, "none_before"), DuckDBRelation(session, sides)
    assert overlaps.unit_overlaps(none, units, none, units).read_all().num_rows == 0
    assert unit_changes.unit_changes(none, units, none).read_all().num_rows == 0
    assert crosswalk.unit_crosswalk(none, units, none).read_all().num_rows == 0


def test_a_unit_is_split(session: duckdb.DuckDBPyConnection) -> None:
    now = [*without(grid(), "A.00"), Unit("A.n", "A", cell(0, 0, 0.7), "n"), Unit("A.s", "A", cell(0.7, 0, 0.3), "s")]
    found = compared(session, grid(), now)
    assert found.types() == {"A.00 > ": "split", " > A.n": "split", " > A.s": "split"}
    assert found.shares("A.00") == {"A.n": 0.7, "A.s": 0.3}
    assert found.one("A.s")["from_gid"] == "A.00"


def test_a_unit_from_which_another_is_cut_off_lives_on_as_split(session: duckdb.DuckDBPyConnection) -> None:
    cut = changed(grid(), "A.00", area=cell(0, 0, 0.7))
    found = compared(session, grid(), [*cut, Unit("A.s", "A", cell(0.7, 0, 0.3), "s")])
    assert found.types() == {"A.00 > A.00": "split", " > A.s": "split"}
    assert found.one("A.00")["is_reshaped"]


def test_units_that_exchange_ground_are_reshaped(session: duckdb.DuckDBPyConnection) -> None:
    now = changed(changed(grid(), "A.00", area=cell(0, 0, 1.3)), "A.10", area=cell(1.3, 0, 0.7))
    found = compared(session, grid(), now)
    assert found.types() == {"A.00 > A.00": "reshaped", "A.10 > A.10": "reshaped"}
    # the ground that changed hands is 0.3 by 1 degrees: 4 times its area by its perimeter is 0.46 degrees
    assert found.one("A.10")["moved_m"] == pytest.approx(0.4615 * 111_200, rel=0.01)
    assert found.one("A.10")["resolution_m"] == pytest.approx(1.3**0.5 * 111_200 / 40, rel=0.01)


def test_several_units_of_which_others_are_made_are_complex(session: duckdb.DuckDBPyConnection) -> None:
    gone = without(grid(), "A.00", "A.10", "A.20")
    now = [*gone, Unit("A.x", "A", cell(0, 0, 1.5), "x"), Unit("A.y", "A", cell(1.5, 0, 1.5), "y")]
    found = compared(session, grid(), now)
    assert set(found.types().values()) == {"complex"}
    assert found.shares("A.10") == {"A.x": 0.5, "A.y": 0.5}


def test_a_unit_is_new_on_ground_that_nobody_had(session: duckdb.DuckDBPyConnection) -> None:
    found = compared(session, grid(), [*grid(), Unit("A.new", "A", cell(9, 0), "new")])
    assert found.types() == {" > A.new": "new", "A > A": "reshaped"}
    assert found.one("A.new")["from_gid"] is None


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"name": "another"}, "renamed"),
        ({"gid": "A.99"}, "re-keyed"),
        ({"gid": "A.99", "name": "another"}, "re-keyed"),
    ],
)
def test_a_shape_that_stays_is_the_same_unit(
    session: duckdb.DuckDBPyConnection, how: dict[str, str], expected: str
) -> None:
    found = compared(session, grid(), changed(grid(), "A.00", **how))
    (only,) = found.types().values()
    assert only == expected
    assert found.one(how.get("gid", "A.00"))["is_renamed"] == ("name" in how)


def test_keys_that_are_dealt_anew_do_not_follow_the_key(session: duckdb.DuckDBPyConnection) -> None:
    swapped = changed(changed(grid(), "A.00", gid="x"), "A.10", gid="A.00", name="name 10")
    now = changed(swapped, "x", gid="A.10")
    assert compared(session, grid(), now).types() == {"A.00 > A.10": "re-keyed", "A.10 > A.00": "re-keyed"}


def test_a_unit_moves_to_another_parent(session: duckdb.DuckDBPyConnection) -> None:
    before = [Unit("A"), Unit("B"), *(replace(unit, parent="AB"[unit.gid > "A.2"]) for unit in grid()[1:])]
    now = changed(before, "A.20", parent="A")
    types = compared(session, before, now).types()
    assert types == {"A.20 > A.20": "moved", "A > A": "reshaped", "B > B": "reshaped"}


def test_children_of_a_parent_with_another_key_have_not_moved(session: duckdb.DuckDBPyConnection) -> None:
    now = [replace(unit, gid=unit.gid.replace("A", "Z"), parent=unit.parent and "Z") for unit in grid()]
    found = compared(session, grid(), now)
    assert set(found.types().values()) == {"re-keyed"}
    assert not any(row["is_moved"] for row in found.changes)


def jittered(units: Sequence[Unit], metres: float, seed: int = 1) -> list[Unit]:
    """Return units whose vertices have moved at random, those of one place alike."""

    def moved(points: Any) -> Any:
        shifts = [random.Random(f"{seed} {x:.6f} {y:.6f}") for x, y in points]
        return points + np.array([[shift.uniform(-1, 1) for _ in range(2)] for shift in shifts]) * metres / 111_200

    return [replace(unit, area=unit.area and shapely.transform(unit.area, moved)) for unit in units]


def test_a_border_that_is_drawn_anew_is_no_change(session: duckdb.DuckDBPyConnection) -> None:
    found = compared(session, grid(), jittered(grid(), 800))
    assert found.types() == {}
    assert {row["border_change"] for row in found.changes} == {"redrawn"}
    assert 100 < found.one("A.10")["moved_m"] < found.one("A.10")["resolution_m"]


def test_a_real_change_is_found_among_borders_that_are_drawn_anew(session: duckdb.DuckDBPyConnection) -> None:
    now = changed(changed(grid(), "A.00", area=cell(0, 0, 1.3)), "A.10", area=cell(1.3, 0, 0.7))
    types = compared(session, grid(), jittered(now, 800)).types()
    assert types == {"A.00 > A.00": "reshaped", "A.10 > A.10": "reshaped"}


def test_a_strip_is_a_change_where_it_is_wider_than_edges_are_long(session: duckdb.DuckDBPyConnection) -> None:
    def strip(width: float) -> dict[str, str]:
        now = changed(changed(grid(), "A.00", area=cell(0, 0, 1 + width)), "A.10", area=cell(1 + width, 0, 1 - width))
        return compared(session, grid(), now).types()

    # a strip counts twice; edges are a 20th of a degree long, of which a 40th counts in units as small as these
    assert strip(0.015) == {"A.00 > A.00": "reshaped", "A.10 > A.10": "reshaped"}
    assert strip(0.008) == {}


def test_a_unit_with_another_key_is_the_same_though_its_border_is_drawn_anew(
    session: duckdb.DuckDBPyConnection,
) -> None:
    now = jittered(changed(grid(), "A.10", gid="A.99"), 800)
    assert compared(session, grid(), now).types() == {"A.10 > A.99": "re-keyed"}
    now = jittered(changed(grid(), "A.10", gid="A.99", name="another"), 800)
    assert compared(session, grid(), now).types() == {"A.10 > A.99": "re-keyed"}


def test_a_unit_with_another_key_and_its_name_is_the_same_though_it_lost_ground(
    session: duckdb.DuckDBPyConnection,
) -> None:
    now = changed(changed(grid(), "A.00", area=cell(0, 0, 1.3)), "A.10", gid="A.99", area=cell(1.3, 0, 0.7))
    found = compared(session, grid(), now)
    assert found.types() == {"A.00 > A.00": "reshaped", "A.10 > A.99": "reshaped"}
    assert found.one("A.99")["is_rekeyed"]


def test_ground_that_a_neighbour_took_is_not_outside(session: duckdb.DuckDBPyConnection) -> None:
    now = changed(changed(grid(), "A.00", area=cell(0.008, 0, 0.692)), "A.10", area=cell(0.7, 0, 1.3))
    found = compared(session, grid(), now)
    slivers = {row["to_gid"]: row["is_sliver"] for row in found.crosswalk if row["from_gid"] == "A.00"}
    assert slivers == {"A.00": False, "A.10": False, None: True}


def test_a_border_of_two_points_has_moved_if_no_other_has(session: duckdb.DuckDBPyConnection) -> None:
    before = [Unit("A"), *(Unit(f"A.{n}", "A", box(n, 0, n + 1, 1), f"{n}") for n in range(10))]
    now = changed(changed(before, "A.0", area=box(0, 0, 1.2, 1)), "A.1", area=box(1.2, 0, 2, 1))
    assert set(compared(session, before, now).types()) == {"A.0 > A.0", "A.1 > A.1"}


def test_coarse_borders_that_all_move_are_drawn_anew(session: duckdb.DuckDBPyConnection) -> None:
    before = [Unit("A"), *(Unit(f"A.{n}", "A", box(n, 0, n + 1, 1), f"{n}") for n in range(10))]
    edges = [0, *(n + 0.1 * (-1) ** n for n in range(1, 10)), 10]
    now = [Unit("A"), *(Unit(f"A.{n}", "A", box(edges[n], 0, edges[n + 1], 1), f"{n}") for n in range(10))]
    assert compared(session, before, now).types() == {}


def test_an_islet_that_a_coarser_map_leaves_out_is_no_change(session: duckdb.DuckDBPyConnection) -> None:
    with_islet = shapely.union_all([cell(0, 0), cell(-0.2, 0.5, 0.03, 0.03)])
    before = changed(grid(), "A.00", area=shapely.multipolygons(shapely.get_parts(with_islet)))
    assert compared(session, before, grid()).types() == {}
    large = shapely.union_all([cell(0, 0), cell(-1, 0.5, 0.5, 0.5)])
    before = changed(grid(), "A.00", area=shapely.multipolygons(shapely.get_parts(large)))
    assert compared(session, before, grid()).types() == {"A.00 > A.00": "reshaped", "A > A": "reshaped"}


def test_ground_that_children_leave_out_belongs_to_the_parent(session: duckdb.DuckDBPyConnection) -> None:
    before = [Unit("A", area=cell(0, 0, 4)), Unit("A.1", "A", cell(0, 0)), Unit("A.2", "A", cell(1, 0))]
    now = changed(before, "A.2", area=cell(1, 0, 2))
    found = compared(session, before, now)
    assert found.shares("A") == {"A": 1.0}
    assert found.types() == {"A.2 > A.2": "reshaped"}
    assert found.one("A.2")["share_of_to"] == pytest.approx(0.5, abs=1e-4)


def test_a_parent_of_which_only_a_child_is_left_has_lost_the_rest(session: duckdb.DuckDBPyConnection) -> None:
    before = [Unit("A", area=cell(0, 0, 2)), Unit("A.1", "A", cell(0, 0))]
    found = compared(session, before, [Unit("A", area=cell(0, 0))])
    assert found.shares("A") == {"A": 0.5, None: 0.5}
    assert found.shares("A.1") == {"A": 1.0}
    assert found.types() == {"A > A": "reshaped", "A.1 > ": "gone"}


def test_a_level_that_a_release_has_no_more_is_in_the_units_above(session: duckdb.DuckDBPyConnection) -> None:
    whole = Unit("A.0", "A", cell(0, 0, 2), "zero")
    halves = [Unit("A.0.1", "A.0", cell(0, 0), "one"), Unit("A.0.2", "A.0", cell(1, 0), "two")]
    found = compared(session, [Unit("A"), replace(whole, area=None), *halves], [Unit("A"), whole])
    assert found.types() == {"A.0.1 > ": "gone", "A.0.2 > ": "gone"}
    assert found.shares("A.0.1") == {"A.0": 1.0}
    (gone,) = (row for row in found.changes if row["from_gid"] == "A.0.1")
    assert gone["to_gid"] == "A.0"


def test_a_country_that_becomes_a_province_has_moved(session: duckdb.DuckDBPyConnection) -> None:
    before = [*grid(), Unit("H", area=cell(9, 9), name="Harbour")]
    now = [*grid(), Unit("A.H", "A", cell(9, 9), "Harbour")]
    found = compared(session, before, now)
    assert found.types() == {"H > A.H": "moved", "A > A": "merged"}
    assert found.shares("H") == {"A": 1.0}


def test_places_without_an_area_are_known_by_their_key(session: duckdb.DuckDBPyConnection) -> None:
    place = Unit("A.p", "A", shapely.Polygon(), "place", level=2)
    found = compared(session, [*grid(), place], [*grid(), replace(place, name="Place!")])
    assert found.types() == {"A.p > A.p": "renamed"}
    assert compared(session, [*grid(), place], grid()).types() == {"A.p > ": "gone"}


def test_ground_that_two_units_have_counts_for_each_in_part(session: duckdb.DuckDBPyConnection) -> None:
    now = [*without(grid(), "A.00"), Unit("A.n", "A", cell(0, 0, 0.8), "n"), Unit("A.s", "A", cell(0.4, 0, 0.6), "s")]
    found = compared(session, grid(), now)
    assert found.shares("A.00") == {
        "A.n": pytest.approx(0.8 / 1.4, abs=1e-3),
        "A.s": pytest.approx(0.6 / 1.4, abs=1e-3),
    }


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ("Lomé", "Lomé", None),
        ("LomÃ©", "Lomé", "encoding"),
        ("Lomé", "LomÃ©", "encoding"),
        ("Lom?", "Lomé", "encoding"),
        ("Lome", "Lomé", "spelling"),
        ("St. Louis", "St Louis", "spelling"),
        ("Lomé", "Golfe", "other"),
        ("What?", "Whats", "other"),
        (None, "Lomé", "other"),
    ],
)
def test_a_name_that_is_misread_is_told_from_another_name(before: str | None, now: str, expected: str | None) -> None:
    assert name_change(before, now) == expected


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_the_other_way_round_is_the_mirror_image(session: duckdb.DuckDBPyConnection, seed: int) -> None:
    chance = random.Random(seed)
    before = [Unit("X"), Unit("X.A", "X", name="A"), Unit("X.B", "X", name="B"), *grid()[1:]]
    before = [replace(unit, parent=f"X.{'AB'[unit.gid > 'A.2']}") if "A." in unit.gid[:2] else unit for unit in before]
    now = list(before)
    for unit in before[3:]:
        column, row = int(unit.gid[2]), int(unit.gid[3])
        cut = chance.choice([0.01, 0.2, 0.5, 0.7])
        match chance.randrange(9):
            case 0:
                now = changed(now, unit.gid, gid=f"{unit.gid}new", name=chance.choice([unit.name, "other"]))
            case 1:
                now = changed(now, unit.gid, area=cell(column, row, 1 - cut))
            case 2:
                now = [
                    *changed(now, unit.gid, area=cell(column, row, 1 - cut)),
                    Unit(f"{unit.gid}b", unit.parent, cell(column + 1 - cut, row, cut), "b"),
                ]
            case 3:
                now = changed(now, unit.gid, area=cell(column, row, 1 + cut))
            case 4 if len(now) > 6:
                now = without(now, unit.gid)
            case 5:
                now = changed(now, unit.gid, parent=chance.choice(["X.A", "X.B"]))
            case _:
                pass
    now = [unit for unit in now if unit.area or any(child.parent == unit.gid for child in now)]
    compared(session, before, jittered(now, 20) if chance.random() < 0.3 else now)


def bitten(seed: int) -> list[Unit]:
    """Return a country of cells, of which some took a bite of others."""
    chance, areas = random.Random(seed), {unit.gid: unit.area for unit in grid() if unit.area}
    for column in range(3):
        bite = box(column + 0.9, chance.uniform(0.1, 1.8), column + 1 + chance.uniform(0.05, 0.2), 1.9)
        taking = f"A.{column + chance.randrange(2)}{chance.randrange(2)}"
        for gid, area in areas.items():
            areas[gid] = area.union(bite) if gid == taking else area.difference(bite)
    return [replace(unit, area=areas.get(unit.gid)) for unit in grid()]


@pytest.mark.parametrize("seed", range(2))
def test_ground_is_the_same_whether_told_by_edges_or_laid_over(
    session: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    now = bitten(seed)
    monkeypatch.setattr(overlay, "MANY", 10)
    by_edges = Mock(side_effect=differences)
    monkeypatch.setattr(overlay, "differences", by_edges)
    told = compared(session, grid(), now)
    assert by_edges.called
    monkeypatch.setattr(overlay, "differences", lambda *_pair: None)
    laid_over = compared(session, grid(), now)
    assert _sorted(told.crosswalk) == _sorted(laid_over.crosswalk)
    assert _sorted(told.changes) == _sorted(laid_over.changes)


@pytest.mark.parametrize(("is_redrawn", "is_sure"), [(False, True), (True, True), (True, False)])
def test_much_ground_is_the_same_as_little(
    session: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, is_redrawn: bool, is_sure: bool
) -> None:
    now = [*(jittered(grid(), 800) if is_redrawn else bitten(1)), Unit("A.far", "A", cell(9, 0), "far")]
    little = compared(session, grid(), now)
    monkeypatch.setattr(overlay, "MUCH", 0)
    measured = Mock(side_effect=kernels.measured)
    if not is_sure:
        measured.side_effect = lambda _ask, _one, _two, at, *_: (np.ones((len(at), 3)), at * 0 + kernels.UNSURE)
    monkeypatch.setattr(kernels, "measured", measured)
    much = compared(session, grid(), now)
    assert {call.args[0] for call in measured.call_args_list} == {kernels.COMMON, kernels.REST}
    assert _sorted(much.crosswalk) == _sorted(little.crosswalk)
    assert _sorted(much.changes) == _sorted(little.changes)
