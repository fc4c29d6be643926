"""The loops that measure ground: they find what GEOS finds, or leave it to GEOS."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import shapely
from shapely import Polygon, box
from shapely.geometry.base import BaseGeometry

from admin_boundaries.areas import KM
from admin_boundaries.changes import kernels, overlay
from admin_boundaries.coverage.arrays import Flags, Numbers, Shapes

COUNT = 200
Draw = Callable[[np.random.Generator], BaseGeometry]


def star(random: np.random.Generator) -> BaseGeometry:
    """Return a polygon of many points around a centre, here and there with a hole."""
    middle, size = random.random(2) * 2, random.random() + 0.2
    angles = np.sort(random.random(random.integers(5, 60))) * 2 * np.pi
    around = np.column_stack((np.cos(angles), np.sin(angles))) * (random.random(len(angles)) + 0.5)[:, None]
    hole = np.column_stack((np.cos(angles[::-1]), np.sin(angles[::-1]))) * 0.2
    return Polygon(middle + around * size, [middle + hole * size] if random.random() < 0.3 else [])


def on_a_grid(random: np.random.Generator) -> BaseGeometry:
    """Return a polygon of few points, so that two of them share corners, edges, and corners on edges."""
    return Polygon(random.integers(0, 8, (random.integers(3, 9), 2)))


def squares(random: np.random.Generator) -> BaseGeometry:
    """Return squares of a grid that are connected: with holes, some of which touch each other or the shell."""
    corners = random.integers(0, 5, (random.integers(1, 22), 2))
    return shapely.union_all([box(x, y, x + 1, y + 1) for x, y in corners])


def cells(random: np.random.Generator) -> BaseGeometry:
    """Return cells of a coverage of which some corners moved: most are where they are in any other."""
    chosen = coverage(random)[random.random(36) < random.random()]
    return shapely.union_all(chosen)


def far_away(random: np.random.Generator) -> BaseGeometry:
    """Return a polygon of a metre or so, beside the date line."""
    return shapely.transform(star(random), lambda points: points * 1e-5 + np.array([179.5, -80]))


def coverage(random: np.random.Generator) -> Shapes:
    """Return cells that meet without gaps."""
    shape = 7, 7, 2
    points = np.stack(np.meshgrid(np.arange(7.0), np.arange(7.0), indexing="ij"), -1)
    points += np.random.default_rng(5).uniform(-0.2, 0.2, shape)
    points += random.uniform(-0.1, 0.1, shape) * (random.random((7, 7, 1)) < 0.3)
    around = [points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]]
    return np.asarray(shapely.polygons(np.stack(around, axis=2).reshape(-1, 4, 2)))


def drawn(draw: Draw, random: np.random.Generator) -> Polygon:
    """Draw until there is a valid polygon; return the largest part, whose rings may go either way round."""
    while True:
        parts = [part for part in shapely.get_parts(draw(random)) if part.is_valid and part.area]
        if parts:
            found: Polygon = max(parts, key=lambda part: part.area)
            return found if random.random() < 0.5 else found.reverse()


def prepared(shapes: Sequence[Polygon]) -> overlay.Polygons:
    """Return polygons as the loops take them."""
    _, points, (rings, polygons) = shapely.to_ragged_array(np.array(shapes, object))
    return kernels.prepared(points, rings.astype(np.int64), polygons.astype(np.int64))


def measured(ask: int, shapes: Sequence[Polygon], others: Sequence[Sequence[Polygon]]) -> tuple[Numbers, Flags]:
    """Return area, width and length of edges for each, and where that is sure."""
    counts = [len(each) for each in others]
    every = [other for each in others for other in each]
    expected = [
        shape.area - sum(shape.intersection(other).area for other in each)
        for shape, each in zip(shapes, others, strict=True)
    ]
    starts, at = np.append(0, np.cumsum(counts)), np.arange(len(every))
    found, states = kernels.measured(
        ask, prepared(shapes), prepared(every), np.arange(len(shapes)), starts, at, np.array(expected)
    )
    return found, states == kernels.MEASURED


def by_geos(shapes: Shapes) -> Numbers:
    """Return what GEOS finds."""
    return np.column_stack((shapely.area(shapes), *overlay.widths_of(shapes)))


@pytest.mark.parametrize("draw", [star, on_a_grid, squares, cells, far_away])
def test_what_two_polygons_have_in_common_is_what_geos_finds(draw: Draw) -> None:
    random = np.random.default_rng(1)
    one, two = ([drawn(draw, random) for _ in range(COUNT)] for _ in range(2))
    two[::20] = one[::20]
    found, is_sure = measured(kernels.COMMON, one, [[other] for other in two])
    expected = by_geos(shapely.intersection(one, two))
    assert is_sure.mean() > 0.98
    assert (expected[is_sure, 0] > 0).sum() > COUNT / 4
    assert found[is_sure, 0] == pytest.approx(expected[is_sure, 0], rel=1e-9, abs=1e-14)
    assert found[is_sure, 1:] == pytest.approx(expected[is_sure, 1:], abs=1.1e-6)


@pytest.mark.parametrize("draw", [star, squares, cells])
def test_what_others_leave_of_a_polygon_is_what_geos_finds(draw: Draw) -> None:
    random = np.random.default_rng(2)
    shapes = [drawn(draw, random) for _ in range(COUNT)]
    others = []
    for shape in shapes:
        every = coverage(random)[random.random(36) < 0.8]
        others.append([other for other in every if other.intersection(shape).area > 0])
    found, is_sure = measured(kernels.REST, shapes, others)
    expected = by_geos(np.array([shape - shapely.union_all(each) for shape, each in zip(shapes, others, strict=True)]))
    assert is_sure.mean() > 0.9
    assert (expected[is_sure, 0] > 0).sum() > COUNT / 4
    assert found[is_sure, 0] == pytest.approx(expected[is_sure, 0], rel=1e-9, abs=1e-14)
    assert found[is_sure, 1:] == pytest.approx(expected[is_sure, 1:], abs=1.1e-6)


SQUARE = box(0, 0, 4, 4)
FRAME = SQUARE - box(1, 1, 3, 3)


@pytest.mark.parametrize(
    ("one", "two", "area", "width"),
    [
        (SQUARE, box(5, 5, 6, 6), 0, 0),
        (SQUARE, box(4, 0, 8, 4), 0, 0),
        (SQUARE, box(4, 4, 8, 8), 0, 0),
        (SQUARE, SQUARE, 16, 4),
        (box(0, 0, 10, 10), box(2, 2, 3, 3), 1, 1),
        (FRAME, box(1.5, 1.5, 2.5, 2.5), 0, 0),
        (FRAME, box(1, 1, 3, 3), 0, 0),
        (FRAME, SQUARE, 12, 4 * 12 / 24),
        (FRAME, box(-1, 1.5, 5, 2.5), 2, 1),  # two pieces
        (FRAME, box(0.5, 0.5, 3.5, 3.5), 9 - 4, 4 * 5 / 20),  # a piece with a hole
        (FRAME, Polygon(SQUARE.exterior, [[(1, 1), (1, 2), (0.5, 2)]]), 16 - 4 - 0.25, None),  # holes that touch
    ],
)
def test_rings_around_ground_are_told_from_holes_in_it(
    one: Polygon, two: Polygon, area: float, width: float | None
) -> None:
    # where the globe is flat: a degree is as long up as along
    one, two = (shapely.transform(each, lambda points: points / 1e4) for each in (one, two))
    for pair in ((one, two), (two, one)):
        found, is_sure = measured(kernels.COMMON, [pair[0]], [[pair[1]]])
        assert is_sure.all()
        assert found[0, 0] * 1e8 == pytest.approx(area, abs=1e-6)
        expected = overlay.widths_of(np.array([one & two]))[0][0] if width is None else width / 1e4 * KM
        assert found[0, 1] == pytest.approx(expected, abs=1e-5)


def test_others_that_overlap_are_left_to_geos() -> None:
    inside = box(1, 1, 2, 2)
    for others in (
        [box(0, 0, 2, 4), box(1, 0, 3, 4)],
        [box(0, 0, 2, 3), box(1, 1, 3, 4)],
        [box(0, 0, 3, 3), inside],
        [box(0.5, 0.5, 3, 3), inside],
        [SQUARE, inside],
        [SQUARE, SQUARE],
    ):
        _, is_sure = measured(kernels.REST, [SQUARE], [others])
        assert not is_sure.any()
