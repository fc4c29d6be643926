"""Ground in common, measured by where borders cross: it is what GEOS finds, or it is left to GEOS."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pytest
import shapely
from shapely import Polygon

from admin_boundaries.areas import KM, Areas
from admin_boundaries.changes import crossings, overlay
from admin_boundaries.coverage.arrays import Numbers, Shapes

COUNT = 400
Draw = Callable[[np.random.Generator], Polygon]


def valid(draw: Draw, random: np.random.Generator) -> Polygon:
    """Draw polygons until one is valid and has an area."""
    while True:
        drawn = draw(random)
        if drawn.is_valid and drawn.area:
            return drawn


def star(random: np.random.Generator) -> Polygon:
    """Return a polygon of many points around a centre, here and there with a hole."""
    middle, size = random.random(2) * 2, random.random() + 0.2
    angles = np.sort(random.random(random.integers(5, 60))) * 2 * np.pi
    around = np.column_stack((np.cos(angles), np.sin(angles))) * (random.random(len(angles)) + 0.5)[:, None]
    hole = np.column_stack((np.cos(angles[::-1]), np.sin(angles[::-1]))) * 0.2
    return Polygon(middle + around * size, [middle + hole * size] if random.random() < 0.3 else [])


def on_a_grid(random: np.random.Generator) -> Polygon:
    """Return a polygon of few points, so that two of them share corners, edges, and corners on edges."""
    return Polygon(random.integers(0, 8, (random.integers(3, 9), 2)))


def far_away(random: np.random.Generator) -> Polygon:
    """Return a polygon of a metre or so, beside the date line."""
    return shapely.transform(star(random), lambda points: points * 1e-5 + np.array([179.5, -80]))


def numbers(shapes: Shapes) -> tuple[Numbers, np.ndarray, np.ndarray]:
    """Return polygons as `measure` takes them."""
    _, points, (rings, polygons) = shapely.to_ragged_array(shapes)
    return points, rings.astype(np.int64), polygons.astype(np.int64)


def drawn(draw: Draw, seed: int) -> tuple[Shapes, Shapes]:
    """Return two arrays of polygons; of some, the rings go the other way round."""
    random = np.random.default_rng(seed)
    one, two = (np.array([valid(draw, random) for _ in range(COUNT)]) for _ in range(2))
    one[::3], two[::2] = shapely.reverse(one[::3]), shapely.reverse(two[::2])
    return one, two


@pytest.mark.parametrize(
    ("draw", "share"),
    [(star, 0.95), (on_a_grid, 0.1), (far_away, 0.95)],
    ids=["borders that cross", "borders that touch", "far from the origin"],
)
def test_what_two_polygons_have_in_common_is_what_geos_finds(draw: Draw, share: float) -> None:
    one, two = drawn(draw, seed=5)
    pairs = np.column_stack([np.arange(COUNT)] * 2)
    measures, states = crossings.measure(numbers(one), numbers(two), pairs)
    is_measured = states == crossings.MEASURED
    common = shapely.intersection(one, two)
    areas, (widths, edges) = shapely.area(common), overlay.widths_of(common)
    assert is_measured.mean() > share
    assert (areas[is_measured] > 0).sum() > COUNT * share / 2
    assert measures[is_measured, 0] == pytest.approx(areas[is_measured], rel=1e-9, abs=1e-15)
    assert measures[is_measured, 1] == pytest.approx(widths[is_measured], rel=1e-6, abs=1e-6)
    assert measures[is_measured, 2] == pytest.approx(edges[is_measured], rel=1e-6, abs=1e-6)


SQUARE = shapely.box(0, 0, 4, 4)
FRAME = SQUARE.difference(shapely.box(1, 1, 3, 3))


@pytest.mark.parametrize(
    ("one", "two", "area", "width"),
    [
        (SQUARE, shapely.box(5, 5, 6, 6), 0, 0),
        (shapely.box(0, 0, 10, 10), shapely.box(2, 2, 3, 3), 1, 1),
        (FRAME, shapely.box(1.5, 1.5, 2.5, 2.5), 0, 0),
        (FRAME, shapely.box(-1, -1, 5, 5), 12, 4 * 12 / 24),
        (FRAME, shapely.box(-1, 1.5, 5, 2.5), 2, 1),  # two pieces
        (FRAME, shapely.box(0.5, 0.5, 3.5, 3.5), 9 - 4, 4 * 5 / 20),  # a piece with a hole
        (shapely.box(0.5, 0.5, 3.5, 3.5), FRAME, 9 - 4, 4 * 5 / 20),
    ],
    ids=["apart", "inside", "in a hole", "around a hole", "across a hole", "a frame in a frame", "the same, reversed"],
)
def test_rings_that_cross_nothing_count_where_they_lie_inside(
    one: Polygon, two: Polygon, area: float, width: float
) -> None:
    # not where the globe is flat: a degree is as long up as along
    shift = np.array([0.01, 0.02])
    one, two = (shapely.transform(each, lambda points: points / 1e4 + shift) for each in (one, two))
    measures, states = crossings.measure(numbers(np.array([one])), numbers(np.array([two])), np.array([[0, 0]]))
    assert states.tolist() == [crossings.MEASURED]
    assert measures[0, 0] * 1e8 == pytest.approx(area, abs=1e-6)
    assert measures[0, 1] / KM * 1e4 == pytest.approx(width, rel=1e-4)


@pytest.mark.parametrize(
    "other",
    [SQUARE, shapely.box(4, 0, 8, 4), shapely.box(1, 1, 4, 3), Polygon([(2, 4), (6, 2), (6, 6)])],
    ids=["the same", "a border in common", "a part of a border in common", "a corner on a border"],
)
def test_borders_that_touch_are_left_to_geos(other: Polygon) -> None:
    _, states = crossings.measure(numbers(np.array([SQUARE])), numbers(np.array([other])), np.array([[0, 0]]))
    assert states.tolist() == [crossings.UNSURE]


@pytest.fixture
def releases() -> Iterator[tuple[Areas, Areas]]:
    """Cells of a lattice, and the same cells after some of their borders were digitised anew."""
    random = np.random.default_rng(3)
    side = 12
    corners = np.stack(np.meshgrid(np.arange(side + 1.0), np.arange(side + 1.0), indexing="ij"), axis=-1)
    moved = corners + random.normal(0, 0.01, corners.shape) * (random.random((side + 1, side + 1, 1)) < 0.7)
    with Areas(side * side) as before, Areas(side * side) as now:
        for areas, points in ((before, corners), (now, moved)):
            around = [points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]]
            cells = shapely.polygons(np.stack(around, axis=2).reshape(-1, 4, 2))
            areas.fill([(np.arange(side * side), pa.array(shapely.to_wkb(cells), pa.binary()))])
        yield before, now


def test_many_pairs_get_the_answers_of_few(releases: tuple[Areas, Areas], monkeypatch: pytest.MonkeyPatch) -> None:
    def measured() -> tuple[overlay.Ground, overlay.Ground]:
        return overlay.common_ground(*releases, lambda unit, _: np.ones(len(unit), bool))

    few = measured()
    monkeypatch.setattr(overlay, "MANY_PAIRS", 0)
    for one, other in zip(few, measured(), strict=True):
        assert one.before.tolist() == other.before.tolist()
        assert one.now.tolist() == other.now.tolist()
        assert other.areas_km2 == pytest.approx(one.areas_km2, rel=1e-9)
        assert other.widths_km == pytest.approx(one.widths_km, abs=2e-6)
        assert other.edges_km == pytest.approx(one.edges_km, abs=2e-6)
