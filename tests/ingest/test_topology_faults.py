"""What does not fit together: coverages that are made up, with faults that are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pyproj import Geod
from shapely import MultiPolygon, Polygon, box
from shapely.affinity import rotate, translate
from shapely.geometry.base import BaseGeometry

from admin_boundaries.coverage.faces import left_over, measured
from admin_boundaries.coverage.faults import SCHEMA, faults
from admin_boundaries.coverage.parsed import parsed
from admin_boundaries.coverage.segments import segments
from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.python_models import DuckDBRelation

WGS84 = Geod(ellps="WGS84")
METRE = 1 / 111_320  # degrees of longitude at the equator
BETWEEN = "faults_between_countries"
LIMITS = ("RUN_LENGTH", "BOXES_AT_ONCE")

Unit = tuple[str | None, BaseGeometry | None]
Fault = dict[str, Any]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        load_spatial(opened)
        yield opened


class Atlas:
    """The levels of some countries."""

    def __init__(self, session: duckdb.DuckDBPyConnection) -> None:
        self._session = session

    def faults(self, *levels: dict[str, Unit]) -> list[Fault]:
        """Return the faults of levels, each with the parent and the shape of its units."""
        relations = []
        country: dict[str | None, str | None] = {}
        child_counts = Counter(parent for units in levels for parent, _ in units.values())
        for number, units in enumerate(levels):
            table = f"level_{number}"
            self._session.execute(
                f"create or replace table {table} (gid text, parent_gid text, gid_0 text, child_count bigint, "
                "min_lon double, min_lat double, max_lon double, max_lat double, geom geometry)"
            )
            for gid, (parent, shape) in units.items():
                country[gid] = country.get(parent) if number else gid
                bounds = (None,) * 4 if shape is None else shape.bounds
                self._session.execute(
                    f"insert into {table} values (?, ?, ?, ?, ?, ?, ?, ?, st_geomfromwkb(?))",
                    [gid, parent, country[gid], child_counts[gid], *bounds, None if shape is None else shape.wkb],
                )
            relations.append(DuckDBRelation(self._session, table))
        found: list[Fault] = faults(relations).read_all().to_pylist()
        return found


@pytest.fixture
def atlas(connection: duckdb.DuckDBPyConnection) -> Atlas:
    return Atlas(connection)


def names(found: list[Fault]) -> list[tuple[Any, ...]]:
    """Return kind, level and keys of faults."""
    return [(row["fault_kind"], row["admin_level"], row["parent_gid"], row["gid"], row["other_gid"]) for row in found]


def is_like(fault: Fault, shape: BaseGeometry) -> bool:
    """Tell whether a fault has a place in a shape, and its size."""
    area, outline = WGS84.geometry_area_perimeter(shapely.orient_polygons(shape))
    return (
        shape.buffer(1e-12).contains(shapely.Point(fault["lon"], fault["lat"]))
        and fault["area_km2"] == pytest.approx(area / 1e6, rel=1e-6)
        and fault["length_km"] == pytest.approx(outline / 2000, rel=1e-6)
        and fault["width_m"] * fault["length_km"] / 1000 == pytest.approx(fault["area_km2"])
    )


def only(found: list[Fault], kind: str) -> Fault:
    """Return the only fault of a kind."""
    (fault,) = (row for row in found if row["fault_kind"] == kind)
    return fault


COUNTRY = Polygon([(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2), (0, 1)])
QUARTERS: dict[str, Unit] = {
    "A.1": ("A", box(0, 0, 1, 1)),
    "A.2": ("A", box(1, 0, 2, 1)),
    "A.3": ("A", box(0, 1, 1, 2)),
    "A.4": ("A", box(1, 1, 2, 2)),
}
WHOLE: dict[str, Unit] = {"A": (None, COUNTRY)}
POND = box(0.4, 0.4, 0.6, 0.6)


def test_units_that_tile_their_parents_have_no_faults(atlas: Atlas) -> None:
    halves: dict[str, Unit] = {
        f"{gid}.{side}": (gid, shapely.intersection(shape, box(west, -9, west + 0.5, 9)))
        for gid, (_parent, shape) in QUARTERS.items()
        for side, west in enumerate((shape.bounds[0], shape.bounds[0] + 0.5))  # type: ignore[union-attr]
    }
    assert atlas.faults(WHOLE, QUARTERS, halves) == []


def test_a_parent_without_children_is_not_a_fault(atlas: Atlas) -> None:
    children: dict[str, Unit] = {"A.1.1": ("A.1", box(0, 0, 1, 1))}
    assert atlas.faults(WHOLE | {"B": (None, box(7, 7, 8, 8))}, QUARTERS, children) == []
    assert atlas.faults(WHOLE, {}) == []
    assert atlas.faults({}, {}) == []


def test_what_no_child_covers_is_a_gap(atlas: Atlas) -> None:
    found = atlas.faults(WHOLE, QUARTERS | {"A.1": ("A", box(0, 0, 1, 1) - POND)})
    assert names(found) == [("gap", 1, "A", "A.1", None)]
    assert found[0]["country_gid"] == "A"
    assert is_like(found[0], POND)


def test_a_child_that_is_missing_is_a_gap_between_the_units_beside_it(atlas: Atlas) -> None:
    found = atlas.faults(WHOLE, {gid: unit for gid, unit in QUARTERS.items() if gid != "A.4"})
    assert names(found) == [("gap", 1, "A", "A.2", "A.3")]
    assert is_like(found[0], box(1, 1, 2, 2))


def test_a_unit_whose_children_are_on_several_levels_is_not_compared_with_some_of_them(atlas: Atlas) -> None:
    quarters = {gid: unit for gid, unit in QUARTERS.items() if gid != "A.4"}
    assert atlas.faults(WHOLE, quarters, {"A.4": QUARTERS["A.4"]}) == []


def test_an_island_that_no_child_has_is_a_gap_beside_nothing(atlas: Atlas) -> None:
    island = box(5, 5, 5.5, 5.5)
    found = atlas.faults({"A": (None, MultiPolygon([COUNTRY, island]))}, QUARTERS)
    assert names(found) == [("gap", 1, "A", None, None)]
    assert is_like(found[0], island)


def test_an_island_that_a_child_has_is_not_a_fault(atlas: Atlas) -> None:
    island = box(5, 5, 5.5, 5.5)
    country = MultiPolygon([COUNTRY, island])
    assert atlas.faults({"A": (None, country)}, QUARTERS | {"A.5": ("A", island)}) == []


def test_a_narrow_gap_has_a_length_and_a_width(atlas: Atlas) -> None:
    west = Polygon([(0, 0), (1, 0), (1 - 3 * METRE, 0.5), (1, 1), (0, 1)])
    found = atlas.faults(WHOLE, QUARTERS | {"A.1": ("A", west)})
    assert names(found) == [("gap", 1, "A", "A.1", "A.2")]
    assert found[0]["length_km"] == pytest.approx(110.57, abs=0.01)
    assert found[0]["width_m"] == pytest.approx(1.5, abs=0.01)


def test_what_two_children_draw_is_an_overlap(atlas: Atlas) -> None:
    found = atlas.faults(WHOLE, QUARTERS | {"A.1": ("A", shapely.union(box(0, 0, 1, 1), box(0.9, 0.2, 1.1, 0.4)))})
    assert names(found) == [("overlap", 1, "A", "A.1", "A.2")]
    assert is_like(found[0], box(1, 0.2, 1.1, 0.4))


def test_units_that_are_drawn_twice_overlap(atlas: Atlas) -> None:
    found = atlas.faults(WHOLE, QUARTERS | {"A.5": ("A", box(0, 0, 1, 1))})
    assert names(found) == [("overlap", 1, "A", "A.1", "A.5")]
    assert is_like(found[0], box(0, 0, 1, 1))


def test_three_units_over_each_other_overlap_in_pairs(atlas: Atlas) -> None:
    found = atlas.faults(WHOLE, QUARTERS | {"A.5": ("A", POND), "A.6": ("A", POND)})
    assert names(found) == [("overlap", 1, "A", *pair) for pair in (("A.1", "A.5"), ("A.1", "A.6"), ("A.5", "A.6"))]


def test_a_child_that_reaches_into_the_sea_is_outside_its_parent(atlas: Atlas) -> None:
    found = atlas.faults(WHOLE, QUARTERS | {"A.1": ("A", shapely.union(box(0, 0, 1, 1), box(-1, 0.2, 0.5, 0.4)))})
    assert names(found) == [("outside_parent", 1, "A", "A.1", None)]
    assert is_like(found[0], box(-1, 0.2, 0, 0.4))


def test_a_child_that_reaches_into_another_parent_is_outside_its_own_and_over_what_is_there(atlas: Atlas) -> None:
    children: dict[str, Unit] = {f"{gid}.1": (gid, shape) for gid, (_parent, shape) in QUARTERS.items()}
    children["A.1.1"] = ("A.1", shapely.union(box(0, 0, 1, 1), box(0.9, 0.2, 1.1, 0.4)))
    found = atlas.faults(WHOLE, QUARTERS, children)
    assert names(found) == [("outside_parent", 2, "A.1", "A.1.1", None), ("overlap", 2, "A.1", "A.1.1", "A.2.1")]
    assert all(is_like(fault, box(1, 0.2, 1.1, 0.4)) for fault in found)


def test_a_child_of_the_wrong_parent_is_a_gap_of_neither(atlas: Atlas) -> None:
    children: dict[str, Unit] = {f"{gid}.1": (gid, shape) for gid, (_parent, shape) in QUARTERS.items()}
    children |= {"A.2.1": ("A.2", box(1, 0, 1.5, 1)), "A.2.2": ("A.1", box(1.5, 0, 2, 1))}
    found = atlas.faults(WHOLE, QUARTERS, children)
    assert names(found) == [("outside_parent", 2, "A.1", "A.2.2", None)]
    assert is_like(found[0], box(1.5, 0, 2, 1))


def test_what_is_wrong_between_states_is_not_told_again_of_their_counties(atlas: Atlas) -> None:
    states = QUARTERS | {"A.1": ("A", box(0, 0, 1, 1) - POND)}
    counties: dict[str, Unit] = {f"{gid}.1": (gid, shape) for gid, (_parent, shape) in states.items()}
    assert names(atlas.faults(WHOLE, states, counties)) == [("gap", 1, "A", "A.1", None)]


def test_an_overlap_of_states_is_not_told_again_of_their_counties(atlas: Atlas) -> None:
    states = QUARTERS | {"A.1": ("A", box(0, 0, 1.25, 1))}
    counties: dict[str, Unit] = {f"{gid}.1": (gid, shape) for gid, (_parent, shape) in states.items()}
    twice = box(1.1, 0.1, 1.2, 0.9)
    found = atlas.faults(WHOLE, states, counties | {"A.1.2": ("A.1", twice), "A.2.2": ("A.2", twice)})
    assert names(found) == [
        ("overlap", 1, "A", "A.1", "A.2"),
        ("overlap", 2, "A.1", "A.1.1", "A.1.2"),
        ("overlap", 2, "A.2", "A.2.1", "A.2.2"),
    ]
    outside = MultiPolygon([states["A.1"][1], box(0.2, 1, 0.4, 1.2)])  # type: ignore[list-item]
    found = atlas.faults(WHOLE, states, counties | {"A.1.1": ("A.1", outside)})
    assert names(found)[1:] == [("outside_parent", 2, "A.1", "A.1.1", None), ("overlap", 2, "A.1", "A.1.1", "A.3.1")]


def test_a_vertex_on_one_side_of_a_border_is_not_a_fault(atlas: Atlas) -> None:
    west = Polygon([(0, 0), (1, 0), (1, 0.3), (1, 1), (0, 1)])
    assert atlas.faults(WHOLE, QUARTERS | {"A.1": ("A", west)}) == []
    east = Polygon([(2, 0), (3, 0), (3, 2), (2, 2), (2, 1.3), (2, 0.3)])
    assert atlas.faults(WHOLE | {"B": (None, east)}) == []


@pytest.mark.parametrize(("apart", "kinds"), [(0.4e-7, []), (-0.4e-7, []), (4e-7, ["gap"]), (-4e-7, ["overlap"])])
def test_a_border_that_is_drawn_apart_is_a_fault_where_neighbours_miss_it(
    atlas: Atlas, apart: float, kinds: list[str]
) -> None:
    west = Polygon([(0, 0), (1 - apart, 0.1), (1 - apart, 0.9), (0, 1)])
    parent = shapely.union_all([west, box(1 - max(apart, 0), 0.1, 1, 0.9), box(1, 0.1, 2, 0.9)])
    children: dict[str, Unit] = {"A.1": ("A", west), "A.2": ("A", box(1, 0.1, 2, 0.9))}
    found = atlas.faults({"A": (None, parent)}, children)
    assert names(found) == [(kind, 1, "A", "A.1", "A.2") for kind in kinds]
    assert all(fault["length_km"] == pytest.approx(88.46, abs=0.01) for fault in found)


def test_a_part_that_is_much_longer_than_wide_is_a_sliver(atlas: Atlas) -> None:
    strip = box(5, 0, 5 + 12 * METRE, 0.01)
    found = atlas.faults({"A": (None, MultiPolygon([COUNTRY, strip]))})
    assert names(found) == [("sliver", 0, None, "A", None)]
    assert is_like(found[0], strip)
    assert found[0]["width_m"] == pytest.approx(12, abs=0.2)


@pytest.mark.parametrize("lat", [0, 60, 80])
def test_a_sliver_is_measured_in_metres(atlas: Atlas, lat: float) -> None:
    metre = METRE / np.cos(np.radians(lat))
    narrow, wide = (box(5, lat, 5 + width * metre, lat + 0.01) for width in (18, 22))
    assert len(atlas.faults({"A": (None, narrow), "B": (None, translate(wide, 1))})) == 1


def test_a_small_island_is_not_a_sliver(atlas: Atlas) -> None:
    assert atlas.faults({"A": (None, box(0, 0, 12 * METRE, 12 * METRE))}) == []


def test_a_sliver_that_a_parent_has_is_not_told_again_of_its_children(atlas: Atlas) -> None:
    strip = box(5, 0, 5 + 5 * METRE, 0.01)
    turned = Polygon(np.roll(shapely.get_coordinates(strip)[:-1], 1, axis=0))
    child = MultiPolygon([COUNTRY, turned])
    found = atlas.faults(
        {"A": (None, MultiPolygon([COUNTRY, strip]))}, {"A.1": ("A", child)}, {"A.1.1": ("A.1", child)}
    )
    assert names(found) == [("sliver", 0, None, "A", None)]
    counties: dict[str, Unit] = {"A.1.1": ("A.1", strip), "A.1.2": ("A.1", box(5 + 5 * METRE, 0, 6, 0.01))}
    found = atlas.faults({"A": (None, box(5, 0, 6, 0.01))}, {"A.1": ("A", box(5, 0, 6, 0.01))}, counties)
    assert ("sliver", 2, "A.1", "A.1.1", None) in names(found)


def test_countries_that_fit_have_no_faults(atlas: Atlas) -> None:
    middle = (1.0, 1.0)
    countries: dict[str, Unit] = {
        "A": (None, Polygon([(0, 0), (1, 0), middle, (0, 1)])),
        "B": (None, Polygon([(1, 0), (2, 0), (2, 2), middle])),
        "C": (None, Polygon([(0, 1), middle, (2, 2), (0, 2)])),
        "D": (None, box(0.2, 3, 0.8, 4)),
    }
    assert atlas.faults(countries) == []


def test_countries_that_cross_overlap(atlas: Atlas) -> None:
    found = atlas.faults({"A": (None, box(0, 0, 1, 1)), "B": (None, box(0.9, 0.4, 2, 0.6))})
    assert names(found) == [("overlap", 0, None, "A", "B")]
    assert is_like(found[0], box(0.9, 0.4, 1, 0.6))


def test_a_country_within_another_is_an_overlap_unless_there_is_a_hole_for_it(atlas: Atlas) -> None:
    enclave = box(0.7, 0.7, 1.3, 1.3)
    found = atlas.faults({"A": (None, COUNTRY), "B": (None, enclave)})
    assert names(found) == [("overlap", 0, None, "A", "B")]
    assert is_like(found[0], enclave)
    assert atlas.faults({"A": (None, COUNTRY - enclave), "B": (None, enclave)}) == []


def test_countries_that_are_drawn_twice_overlap(atlas: Atlas) -> None:
    assert names(atlas.faults({"B": (None, COUNTRY), "A": (None, COUNTRY)})) == [("overlap", 0, None, "A", "B")]


def test_countries_that_share_a_border_and_leave_it_overlap_where_both_are(atlas: Atlas) -> None:
    bulge = shapely.union(box(2, 0, 4, 2), box(1.5, 0.5, 2, 1.5))
    found = atlas.faults({"A": (None, COUNTRY), "B": (None, bulge)})
    assert names(found) == [("overlap", 0, None, "A", "B")]
    assert is_like(found[0], box(1.5, 0.5, 2, 1.5))


def test_a_narrow_space_between_countries_is_a_gap_and_a_wide_one_is_not(atlas: Atlas) -> None:
    for metres, is_gap in ((3, True), (90, True), (110, False)):
        east = Polygon([(2, 0), (4, 0), (4, 2), (2, 2), (2 + 2 * metres * METRE, 1)])
        found = atlas.faults({"A": (None, COUNTRY), "B": (None, east)})
        assert names(found) == ([("gap", 0, None, "A", "B")] if is_gap else [])
    assert names(atlas.faults({"A": (None, COUNTRY), "B": (None, translate(COUNTRY, 2 + 3 * METRE))})) == [
        ("gap", 0, None, "A", "B")
    ]
    assert atlas.faults({"A": (None, COUNTRY), "B": (None, translate(COUNTRY, 2 + 30 * METRE))}) == []


def test_a_gap_that_is_open_to_the_sea_is_as_long_as_the_border(atlas: Atlas) -> None:
    (gap,) = atlas.faults({"A": (None, COUNTRY), "B": (None, box(2 + 3 * METRE, 0.5, 3, 2))})
    assert gap["length_km"] == pytest.approx(1.5 * 110.57, rel=1e-3)
    assert gap["width_m"] == pytest.approx(3, rel=1e-2)


def test_countries_that_come_close_in_one_place_have_no_gap(atlas: Atlas) -> None:
    corner = rotate(box(0, 0, 1, 1), 45)
    corner = translate(corner, 2 + 3 * METRE - corner.bounds[0])
    assert atlas.faults({"A": (None, COUNTRY), "B": (None, corner)}) == []


def test_two_coasts_that_meet_at_a_sharp_angle_have_no_gap(atlas: Atlas) -> None:
    wedge = Polygon([(2, 2), (2 - 0.5 * METRE, 2 + 15 * METRE), (2 - 1, 3), (2 - 1, 2)])
    other = Polygon([(2, 2), (2 + 0.5 * METRE, 2 + 15 * METRE), (2 + 1, 3), (2 + 1, 2)])
    assert atlas.faults({"A": (None, wedge), "B": (None, other)}) == []


def test_a_narrow_hole_is_a_gap_and_a_lake_is_not(atlas: Atlas) -> None:
    crack = box(1, 1, 1 + 2 * METRE, 1.1)
    assert names(atlas.faults({"A": (None, COUNTRY - POND - crack)})) == [("gap", 0, None, "A", None)]
    assert atlas.faults({"A": (None, COUNTRY - box(1, 1, 1 + 12 * METRE, 1.1))}) == []
    assert names(atlas.faults({"A": (None, COUNTRY - crack), "B": (None, crack)})) == [("sliver", 0, None, "B", None)]


def test_the_two_sides_of_the_date_line_fit(atlas: Atlas) -> None:
    west, east = box(179, 60, 180, 61), box(-180, 60, -179, 61)
    halves = [box(-180, 60, -179, 60.5), box(-180, 60.5, -179, 61)]
    country: dict[str, Unit] = {"A": (None, MultiPolygon([west, east]))}
    states: dict[str, Unit] = {"A.1": ("A", MultiPolygon([west, halves[0]])), "A.2": ("A", halves[1])}
    assert atlas.faults(country, states) == []
    assert atlas.faults({"A": (None, west), "B": (None, east)}) == []
    found = atlas.faults(country, {gid: unit for gid, unit in states.items() if gid == "A.1"})
    assert names(found) == [("gap", 1, "A", "A.1", None)]
    assert is_like(found[0], halves[1])


def test_units_without_geometry_are_passed_over(atlas: Atlas) -> None:
    assert atlas.faults(WHOLE | {"B": (None, None)}, QUARTERS | {"A.4": ("A", None), "B.1": ("B", POND)}) == []


def test_keys_may_have_any_characters(atlas: Atlas) -> None:
    country: dict[str, Unit] = {"O'A?": (None, COUNTRY)}
    states: dict[str, Unit] = {"?'": ("O'A?", box(0, 0, 1, 2))}
    assert names(atlas.faults(country, states)) == [("gap", 1, "O'A?", "?'", None)]
    found = atlas.faults({"O'A?": (None, COUNTRY), "B": (None, POND)})
    assert names(found) == [("overlap", 0, None, "B", "O'A?")]


def test_faults_are_numbered_in_the_order_of_their_places(atlas: Atlas) -> None:
    holes = [box(x, y, x + 0.1, y + 0.1) for x, y in ((0.7, 0.2), (0.2, 0.7), (0.2, 0.2))]
    found = atlas.faults(WHOLE, QUARTERS | {"A.1": ("A", box(0, 0, 1, 1) - shapely.union_all(holes))})
    assert [row["fault_number"] for row in found] == [1, 2, 3]
    assert [(round(row["lon"], 2), round(row["lat"], 2)) for row in found] == [(0.25, 0.25), (0.25, 0.75), (0.75, 0.25)]
    assert list(found[0]) == SCHEMA.names


@pytest.mark.parametrize(
    "limit", ["faults.PIECE_BYTES", "faults.KEYS_AT_ONCE", *(f"{BETWEEN}.{name}" for name in LIMITS)]
)
def test_what_is_found_does_not_depend_on_how_much_is_looked_at_as_one(
    atlas: Atlas, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = QUARTERS | {"A.1": ("A", box(0, 0, 1.25, 1)), "B.1": ("B", POND), "B.2": ("B", POND)}
    counties: dict[str, Unit] = {f"{gid}.1": (gid, shape - POND) for gid, (_parent, shape) in QUARTERS.items()}  # type: ignore[operator]
    counties["A.4.1"] = ("A.4", box(1, 1, 2, 1.5))
    countries: dict[str, Unit] = WHOLE | {"B": (None, POND), "C": (None, box(2, -1, 3, 3)), "D": (None, None)}
    countries["E"] = (None, box(7, 7, 7 + 5 * METRE, 8))
    before = atlas.faults(countries, states, counties)
    assert len({(fault["admin_level"], fault["fault_kind"]) for fault in before}) > 3
    monkeypatch.setattr(f"admin_boundaries.coverage.{limit}", 1)
    assert atlas.faults(countries, states, counties) == before


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3), st.integers(-9, 9), st.integers(-9, 9)), max_size=6))
def test_gaps_and_overlaps_are_those_of_an_overlay(atlas: Atlas, moves: list[tuple[int, int, int, int]]) -> None:
    corners: dict[int, list[tuple[float, float]]] = {}
    for cell in range(9):
        north, east = divmod(cell, 3)
        corners[cell] = [(east, north), (east + 1, north), (east + 1, north + 1), (east, north + 1)]
    for cell, corner, across, along in moves:
        lon, lat = corners[cell][corner]
        corners[cell][corner] = (lon + across / 40, lat + along / 40)
    shapes = {f"A.{cell}": Polygon(np.array(ring) / 10) for cell, ring in corners.items()}
    assume(all(shape.is_valid for shape in shapes.values()))
    whole = box(0, 0, 0.3, 0.3)
    states: dict[str, Unit] = {gid: ("A", shape) for gid, shape in shapes.items()}
    covered = shapely.union_all(list(shapes.values()))
    pairs = {
        (one, other): area
        for one, other in combinations(sorted(shapes), 2)
        if (area := km2(shapely.intersection(shapes[one], shapes[other]))) > 0
    }
    outside = {gid: area for gid, shape in shapes.items() if (area := km2(shape - whole)) > 0}
    found = atlas.faults({"A": (None, whole)}, states)
    gap = {("A",): km2(whole - covered)} if whole - covered else {}
    assert sum_of(found, "gap", "parent_gid") == pytest.approx(gap, rel=1e-3)
    assert sum_of(found, "overlap", "gid", "other_gid") == pytest.approx(pairs, rel=1e-3)
    assert sum_of(found, "outside_parent", "gid") == pytest.approx(
        {(gid,): area for gid, area in outside.items()}, rel=1e-3
    )
    found = atlas.faults({gid: (None, shape) for gid, shape in shapes.items()})
    assert sum_of(found, "overlap", "gid", "other_gid") == pytest.approx(pairs, rel=1e-3)


def km2(shape: BaseGeometry) -> float:
    """Return the area of what is wider than the tolerance."""
    parts = [part for part in shapely.get_parts(shape) if part.area > 0 and 2 * part.area / part.length > 1e-7]
    return sum(abs(WGS84.geometry_area_perimeter(part)[0]) for part in parts) / 1e6


def sum_of(found: list[Fault], kind: str, *keys: str) -> dict[tuple[Any, ...], float]:
    """Add up the areas of the faults of a kind, by some of their keys."""
    areas: dict[tuple[Any, ...], float] = {}
    for fault in found:
        if fault["fault_kind"] == kind:
            key = tuple(fault[name] for name in keys)
            areas[key] = areas.get(key, 0) + fault["area_km2"]
    return areas


def test_the_outlines_of_units_add_up_to_that_of_what_they_tile() -> None:
    parts = np.array([box(0, 0, 1, 1), box(1, 0, 2, 1), Polygon([(0, 1), (1, 1), (2, 1), (1, 2)]), POND])
    whole = Polygon([(2, 1), (1, 2), (0, 1), (0, 0), (1, 0), (2, 0)])
    numbers = measured(parsed(wkb_of([*parts, whole, None]))).outlines
    assert numbers[:3].sum() == numbers[4]
    assert len(set(numbers.tolist())) == 6
    assert numbers[5] == 0
    holed = measured(parsed(wkb_of([box(0, 0, 1, 1) - POND, POND, box(0, 0, 1, 1)]))).outlines
    assert holed[0] + holed[1] == holed[2]


def wkb_of(geoms: list[BaseGeometry | None]) -> pa.Array:
    return pa.array(shapely.to_wkb(np.array(geoms)), pa.binary())


def test_what_two_units_draw_between_them_cancels_and_what_both_draw_alike_does_not() -> None:
    for other, count in ((box(1, 0, 2, 1), 6), (box(0, 0, 1, 1), 4), (box(1, 0.5, 2, 1), 8)):
        rows, hashes = segments(shapely.orient_polygons(np.array([box(0, 0, 1, 1), other])))
        assert len(left_over(rows, hashes, np.ones(len(rows), np.int64))) == count
    rows, hashes = segments(shapely.orient_polygons(np.array([box(0, 0, 1, 1), box(0, 0, 1, 1)])))
    assert len(left_over(rows, hashes, np.repeat([1, -1], 4))) == 0
