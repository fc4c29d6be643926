"""Where two polygons differ, found by their edges: the same as an overlay finds."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon

from admin_boundaries.changes import differences as module
from admin_boundaries.changes.differences import differences
from admin_boundaries.coverage.arrays import Numbers

HOLE = np.array([[-0.1, -0.1], [0.1, -0.1], [0.1, 0.1], [-0.1, 0.1]])


def outline(count: int, random: np.random.Generator) -> Numbers:
    """Return points around a place, on a line that is not smooth."""
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    far = 1 + 0.2 * np.sin(5 * turn) + random.normal(size=count) / count
    return np.column_stack((far * np.cos(turn), far * np.sin(turn)))


def redrawn(points: Numbers, places: int, random: np.random.Generator) -> Numbers:
    """Return points of which some that follow each other are elsewhere."""
    found, length = points.copy(), 20
    for start in random.choice(len(points) // length - 1, places, replace=False) * length:
        found[start : start + length] += random.normal(size=(length, 2)) / len(points)
    return found


def stairs(steps: Numbers) -> Polygon:
    """Return what is below a line of steps, all of whose edges lie along the axes."""
    x = np.repeat(np.arange(len(steps) + 1.0), 2)[1:-1]
    return Polygon([(0, -1), *zip(x, np.repeat(steps, 2), strict=True), (float(len(steps)), -1)])


def check(one: Polygon, other: Polygon) -> None:
    """Compare what is found with the overlay of both."""
    found = differences(one, other)
    assert found is not None
    for pieces, expected in zip(found, (one.difference(other), other.difference(one)), strict=True):
        assert shapely.area(pieces).sum() == pytest.approx(expected.area, rel=1e-6, abs=1e-12)
        assert shapely.union_all(pieces).symmetric_difference(expected).area < 1e-12


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_the_pieces_are_those_of_an_overlay(seed: int, places: int) -> None:
    random = np.random.default_rng(seed)
    points = outline(2000, random)
    one, other = Polygon(points, [HOLE]), Polygon(redrawn(points, places, random), [HOLE])
    if one.is_valid and other.is_valid:
        check(one, other)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_edges_along_the_axes_are_no_trouble(seed: int, places: int) -> None:
    random = np.random.default_rng(seed)
    steps = random.integers(0, 6, 200).astype(np.float64)
    others = steps.copy()
    others[random.choice(200, places)] += random.integers(1, 4)
    check(stairs(steps), stairs(others))


def test_it_does_not_matter_where_a_ring_begins_nor_which_way_it_goes() -> None:
    points = outline(1000, np.random.default_rng(1))
    found = differences(Polygon(points, [HOLE]), Polygon(np.roll(points, 300, axis=0)[::-1], [HOLE[::-1]]))
    assert found is not None
    assert [len(pieces) for pieces in found] == [0, 0]


def test_a_hole_that_is_filled_is_a_piece() -> None:
    points = outline(1000, np.random.default_rng(1))
    check(Polygon(points, [HOLE]), Polygon(points))


def test_a_point_more_on_a_straight_border_is_no_difference() -> None:
    plain = stairs(np.zeros(200))
    more = Polygon([*plain.exterior.coords[:6], (2.5, 0), *plain.exterior.coords[6:]])
    found = differences(plain, more)
    assert found is not None
    assert [shapely.area(pieces).sum() for pieces in found] == [0, 0]
    moved = np.zeros(200)
    moved[100] = 0.5
    check(more, stairs(moved))


def test_a_place_that_lies_in_the_box_of_another_counts_once() -> None:
    turn = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    points = np.column_stack((np.cos(turn), np.sin(turn)))
    moved = points.copy()
    moved[:120] *= 0.999
    hole = HOLE / 10 + np.array([0.8, 0.3])
    check(Polygon(points, [hole]), Polygon(moved, [hole + 0.001]))


def test_polygons_that_are_drawn_anew_all_over_are_for_an_overlay() -> None:
    points = outline(1000, np.random.default_rng(1))
    assert differences(Polygon(points), Polygon(points + 1e-5)) is None


def test_a_difference_from_one_end_to_the_other_is_for_an_overlay() -> None:
    steps = np.zeros(1000)
    long = stairs(steps)
    assert differences(long, Polygon([(0, -2), *long.exterior.coords[1:-2], (1000, -2)])) is None


def test_edges_that_are_taken_for_others_do_not_go_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = outline(1000, np.random.default_rng(1))
    moved = points.copy()
    moved[10:20] *= 1.001
    moved[500:510] *= 1.001

    def one_less(edges: Numbers, others: Numbers) -> Numbers | None:
        found = of_all(edges, others)
        return None if found is None else found[found[:, 0] > 0]

    of_all = module._differing_edges
    assert differences(Polygon(points), Polygon(moved)) is not None
    monkeypatch.setattr(module, "_differing_edges", one_less)
    assert differences(Polygon(points), Polygon(moved)) is None
