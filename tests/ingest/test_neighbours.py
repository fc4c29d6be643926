"""What borders what: coverages that are made up, with answers that are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from shapely import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from admin_boundaries.coverage.arrays import TOLERANCE
from admin_boundaries.coverage.neighbours import equal_pairs, neighbours, overlaps
from admin_boundaries.coverage.segments import lengths_km, segments

WGS84 = Geod(ellps="WGS84")


def units(shapes: Mapping[str, BaseGeometry | None]) -> list[pa.RecordBatch]:
    """Stream the units of a level, two at a time."""
    wkb = [None if shape is None else shapely.to_wkb(shape) for shape in shapes.values()]
    table = pa.table({"gid": pa.array(list(shapes), pa.string()), "geom": pa.array(wkb, pa.binary())})
    return list(table.to_batches(max_chunksize=2))


def km(*points: tuple[float, float]) -> float:
    """Return the length of a line on the ellipsoid."""
    lons, lats = zip(*points, strict=True)
    return float(WGS84.line_length(lons, lats)) / 1000


def borders(**shapes: BaseGeometry | None) -> dict[str, float]:
    """Return the length of the border of every pair of units, which each has to be there both ways."""
    found = neighbours([(1, units(shapes))]).read_all().to_pylist()
    lengths = {row["gid"] + row["neighbour_gid"]: row["border_km"] for row in found}
    assert [row["gid"] + row["neighbour_gid"] for row in found] == sorted(lengths)
    assert all(lengths[pair[::-1]] == length for pair, length in lengths.items())
    return {pair: length for pair, length in lengths.items() if pair == "".join(sorted(pair))}


def test_two_units_share_the_border_that_both_draw() -> None:
    assert borders(A=box(0, 0, 1, 1), B=box(1, 0, 2, 1)) == {"AB": pytest.approx(km((1, 0), (1, 1)), rel=1e-9)}


def test_units_that_touch_in_a_point_are_no_neighbours() -> None:
    found = borders(A=box(0, 0, 1, 1), B=box(1, 0, 2, 1), C=box(0, 1, 1, 2), D=box(1, 1, 2, 2))
    assert list(found) == ["AB", "AC", "BD", "CD"]


def test_a_unit_in_the_hole_of_another_borders_on_it_all_around() -> None:
    hole = box(1, 1, 2, 2)
    around = km((1, 1), (2, 1), (2, 2), (1, 2), (1, 1))
    assert borders(A=box(0, 0, 3, 3) - hole, B=hole) == {"AB": pytest.approx(around, rel=1e-6)}


def test_an_island_has_no_neighbours_and_its_unit_keeps_its_others() -> None:
    mainland = MultiPolygon([box(0, 0, 1, 1), box(5, 5, 6, 6)])
    assert list(borders(A=mainland, B=box(1, 0, 2, 1), C=box(8, 8, 9, 9))) == ["AB"]


def test_three_countries_at_a_point_border_in_pairs() -> None:
    middle = (1.0, 1.0)
    found = borders(
        A=Polygon([(0, 0), (1, 0), middle, (0, 1)]),
        B=Polygon([(1, 0), (2, 0), (2, 2), middle]),
        C=Polygon([(0, 1), middle, (2, 2), (0, 2)]),
    )
    assert found == {
        "AB": pytest.approx(km((1, 0), middle), rel=1e-6),
        "AC": pytest.approx(km((0, 1), middle), rel=1e-6),
        "BC": pytest.approx(km(middle, (2, 2)), rel=1e-6),
    }


def test_a_border_with_a_vertex_on_one_side_only_is_found() -> None:
    found = borders(A=box(0, 0, 1, 1), B=box(1, 0, 2, 0.4), C=box(1, 0.4, 2, 1))
    assert found == {
        "AB": pytest.approx(km((1, 0), (1, 0.4)), rel=1e-6),
        "AC": pytest.approx(km((1, 0.4), (1, 1)), rel=1e-6),
        "BC": pytest.approx(km((1, 0.4), (2, 0.4)), rel=1e-6),
    }


@pytest.mark.parametrize(
    ("apart", "is_border"), [(TOLERANCE / 2, True), (-TOLERANCE / 2, True), (TOLERANCE * 2, False)]
)
def test_a_border_that_is_drawn_a_little_apart_is_found(apart: float, is_border: bool) -> None:
    found = borders(A=box(0, 0, 1, 1), B=box(1 + apart, 0.25, 2, 0.75))
    assert found == ({"AB": pytest.approx(km((1, 0.25), (1, 0.75)), rel=1e-6)} if is_border else {})


def test_a_border_on_the_date_line_is_found_from_both_sides() -> None:
    west, east = box(179, 60, 180, 61), box(-180, 60, -179, 61)
    assert borders(A=west, B=east) == {"AB": pytest.approx(km((180, 60), (180, 61)), rel=1e-6)}
    assert borders(A=MultiPolygon([west, east])) == {}


def test_units_that_meet_at_a_pole_share_their_meridian_only() -> None:
    found = borders(A=box(0, -90, 90, -80), B=box(90, -90, 180, -80))
    assert found == {"AB": pytest.approx(km((90, -90), (90, -80)), rel=1e-6)}


def test_a_line_along_a_pole_has_no_length() -> None:
    found = borders(A=Polygon([(0, -90), (90, -90), (45, -80)]), B=Polygon([(0, -90), (90, -90), (45, -70)]))
    assert found == {}


def test_equal_segments_are_found_whichever_way_round_they_are_drawn_and_whatever_sign_zero_has() -> None:
    for shape in (box(0, 0, 1, 1), box(0, 0, 1, 1, ccw=False), box(-0.0, -0.0, 1, 1)):
        rows, hashes = segments(np.array([box(0, 0, 1, 1), shape]))
        assert sorted(hashes[:4]) == sorted(hashes[4:])
        one, other, is_alone = equal_pairs(rows)
        assert (len(one), len(other), is_alone.sum()) == (4, 4, 0)


def test_units_that_lie_on_each_other_border_in_all_pairs() -> None:
    same = box(0, 0, 1, 1)
    assert list(borders(A=same, B=same, C=same)) == ["AB", "AC", "BC"]


def test_zero_is_zero_whatever_its_sign() -> None:
    assert list(borders(A=box(-1, 0, -0.0, 1), B=box(0.0, -0.0, 1, 1))) == ["AB"]


def test_a_unit_without_geometry_has_no_neighbours() -> None:
    assert list(borders(A=None, B=box(0, 0, 1, 1), C=MultiPolygon(), D=box(1, 0, 2, 1))) == ["BD"]
    assert borders(A=None) == {}
    assert borders() == {}


def test_every_level_is_looked_at_by_itself() -> None:
    shapes = {"A": box(0, 0, 1, 1), "B": box(1, 0, 2, 1)}
    found = neighbours([(0, units(shapes)), (3, units(shapes))]).read_all().to_pylist()
    assert [(row["gid"], row["neighbour_gid"], row["admin_level"]) for row in found] == [
        ("A", "B", 0),
        ("B", "A", 0),
        ("A", "B", 3),
        ("B", "A", 3),
    ]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 99).map(lambda percent: percent / 100), max_size=4, unique=True),
    st.lists(st.integers(1, 99).map(lambda percent: percent / 100), max_size=4, unique=True),
    st.tuples(st.floats(-150, 150), st.floats(-60, 60)),
)
def test_vertices_on_a_border_change_nothing(left: list[float], right: list[float], place: tuple[float, float]) -> None:
    lon, lat = place

    def side(heights: list[float]) -> list[tuple[float, float]]:
        return [(lon, lat), *((lon + 0.3 * height, lat + height) for height in sorted(heights)), (lon + 0.3, lat + 1)]

    found = borders(
        A=Polygon([(lon - 1, lat), *side(left), (lon - 1, lat + 1)]),
        B=Polygon([(lon + 1, lat), *side(right), (lon + 1, lat + 1)]),
    )
    assert found == {"AB": pytest.approx(km((lon, lat), (lon + 0.3, lat + 1)), rel=1e-4)}


def test_lengths_are_those_of_the_ellipsoid() -> None:
    dice = np.random.default_rng(1)
    begin = np.column_stack([dice.uniform(-179, 179, 1000), dice.uniform(-88, 88, 1000)])
    rows = np.column_stack([begin, begin + dice.uniform(-0.1, 0.1, (1000, 2)), np.zeros(1000)])
    metres = WGS84.inv(*rows[:, :4].T)[2]
    assert lengths_km(rows) == pytest.approx(metres / 1000, rel=1e-5)


def test_a_segment_runs_along_another_as_far_as_it_is_close() -> None:
    rows = np.array([[0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]], float)
    others = np.array([[0.5, 0, 2, 0, 1], [0.2, 0, 0.1, 0, 1], [0.5, -1, 0.5, 1, 1], [1, 0, 2, 0, 1]], float)
    parts = overlaps(rows, others)
    assert np.hypot(*(parts[:, 2:4] - parts[:, :2]).T) == pytest.approx([0.5, 0.1, 0, 0])


def test_segments_of_several_rings_are_not_joined() -> None:
    holed = Polygon(box(0, 0, 9, 9).exterior, [box(3, 3, 4, 4).exterior])
    rows, _hashes = segments(np.array([MultiPolygon([holed, box(20, 0, 21, 1)])]))
    assert len(rows) == 12
