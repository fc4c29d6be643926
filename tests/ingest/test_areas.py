"""Areas on the cylinder: loops of our own take for valid only what is, and measure what GEOS measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
import shapely
from shapely import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from admin_boundaries import areas, areas_kernels
from admin_boundaries.areas import Areas, Batch
from admin_boundaries.coverage.arrays import Flags

LAKE = Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(2, 2), (2, 7), (7, 7), (7, 2)]])
ISLAND = MultiPolygon([LAKE, box(3, 3, 5, 5), box(20, 3, 21, 4)])
POND = MultiPolygon([LAKE, Polygon([(3, 3), (6, 3), (6, 6), (3, 6)], [[(4, 4), (4, 5), (5, 5), (5, 4)]])])
FAULTS = {
    "edges cross": Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]),
    "an edge goes back": Polygon([(0, 0), (2, 0), (1, 0), (1, 1)]),
    "a ring has no area": Polygon([(0, 0), (1, 1), (0, 0)]),
    "a corner is on another edge": Polygon([(0, 0), (4, 0), (4, 4), (2, 0), (0, 4)]),
    "a hole is outside": Polygon(box(0, 0, 1, 1).exterior, [box(2, 0, 3, 1).exterior]),
    "a hole is around the shell": Polygon(box(1, 1, 2, 2).exterior, [box(0, 0, 3, 3).exterior]),
    "a hole is in a hole": Polygon(box(0, 0, 9, 9).exterior, [box(1, 1, 8, 8).exterior, box(2, 2, 3, 3).exterior]),
    "a hole is in another polygon": MultiPolygon(
        [Polygon(box(0, 0, 1, 1).exterior, [box(5.2, 0.2, 5.4, 0.4).exterior]), box(5, 0, 6, 1)]
    ),
    "a polygon is in another": MultiPolygon([LAKE, box(0.5, 0.5, 1, 1)]),
    "polygons cross": MultiPolygon([box(0, 0, 2, 2), box(1, 1, 3, 3)]),
    "the hole of an island is one of the lake": MultiPolygon(
        [Polygon(LAKE.exterior, [*LAKE.interiors, box(4, 4, 5, 5).exterior]), box(3, 3, 6, 6)]
    ),
}


def batch(shapes: Sequence[BaseGeometry], **how: Any) -> Batch:
    """Return geometries as they are read."""
    return np.arange(len(shapes)), pa.array(shapely.to_wkb(np.array(shapes, object), **how), pa.binary())


def are_valid(shapes: Sequence[BaseGeometry]) -> Flags:
    """Return which of some areas are valid for certain."""
    polygons = areas._Polygons.of(shapely.get_parts(np.array(shapes, object)))
    starts = np.append(0, np.cumsum([shapely.get_num_geometries(shape) for shape in shapes]))
    return areas_kernels.are_valid(*polygons.ragged(), starts)


def stars(number: int) -> list[Polygon]:
    """Return polygons of many points around a centre, here and there with a hole, from one pole to the other."""
    random = np.random.default_rng(3)
    found = []
    for _ in range(number):
        count = int(random.integers(8, 300))
        angles = (np.arange(count) + random.random(count) * 0.8) / count * 2 * np.pi
        around = np.column_stack((np.cos(angles), np.sin(angles)))
        middle, wide = random.uniform([-178, -80], [178, 80]), random.random((len(angles), 1)) + 0.5
        found.append(Polygon(middle + around * wide, [middle + around * 0.2] if random.random() < 0.3 else []))
    return found


def same(one: Sequence[areas._Measured], other: Sequence[areas._Measured]) -> None:
    """Hold two lists of the same areas against each other."""
    whole = []
    for measured in (one, other):
        order = np.argsort(np.concatenate([each.units for each in measured]))
        rows = [(each.units, each.boxes, each.sizes) for each in measured]
        whole.append([np.concatenate(values)[order] for values in zip(*rows, strict=True)])
        units = np.concatenate([each.units[each.of_unit] for each in measured])
        order = np.argsort(units, kind="stable")
        rows_of_polygons = [(each.polygon_boxes, each.polygon_sizes, each.polygon_borders) for each in measured]
        whole[-1] += [units[order], *(np.concatenate(values)[order] for values in zip(*rows_of_polygons, strict=True))]
        whole[-1].append(np.concatenate([each.polygons.counts for each in measured])[order])
    for mine, theirs in zip(*whole, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [LAKE, ISLAND, POND, box(0, 0, 1, 1), Polygon([(0, 0), (1, 0), (0, 1)])])
def test_an_area_whose_edges_do_not_meet_is_valid_for_certain(shape: BaseGeometry) -> None:
    assert are_valid([shape]).tolist() == [True]


@pytest.mark.parametrize("fault", FAULTS)
def test_an_area_with_a_fault_is_not_valid_for_certain(fault: str) -> None:
    assert are_valid([FAULTS[fault]]).tolist() == [False]
    assert not shapely.is_valid(FAULTS[fault])


def test_whatever_is_valid_for_certain_is_valid() -> None:
    random = np.random.default_rng(2)
    on_a_grid = [Polygon(random.integers(0, 6, (random.integers(3, 7), 2))) for _ in range(2000)]
    crossed = []
    for each in stars(200):
        points = shapely.get_coordinates(each.exterior)[:-1]
        crossed.append(Polygon(points + random.normal(0, 0.02, points.shape), list(each.interiors)))
    parts = [MultiPolygon([Polygon(each.exterior) for each in on_a_grid[at : at + 2]]) for at in range(0, 2000, 2)]
    shapes = [*on_a_grid, *crossed, *parts, *stars(200)]
    found = are_valid(shapes)
    assert shapely.is_valid(np.array(shapes, object))[found].all()
    assert 200 < found.sum() < len(shapes) - 200
    assert are_valid(stars(200)).all()


def test_loops_of_our_own_measure_what_geos_does() -> None:
    shapes = [*stars(200), LAKE, ISLAND, POND, MultiPolygon(), Polygon(), *FAULTS.values(), *stars(3)]
    given = batch(shapes)
    found = areas._measured_by_loops(given)
    assert [len(each.units) for each in found] == [len(FAULTS), 206]
    same(found, [areas._measured(given)])


@pytest.mark.parametrize("how", [{"byte_order": 0}, {"flavor": "extended"}, {"output_dimension": 3}])
def test_wkb_of_another_kind_is_left_to_geos(how: dict[str, Any]) -> None:
    shapes = [shapely.force_3d(LAKE, 1), ISLAND]
    given = batch([shapely.set_srid(shape, 4326) for shape in shapes], **how, include_srid="flavor" in how)
    same(areas._measured_by_loops(given), [areas._measured(given)])


def test_much_is_read_as_little(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [*stars(20), FAULTS["edges cross"], ISLAND]
    nothing = pa.array([None, None], pa.binary())
    geometries = pa.concat_arrays([nothing, batch(shapes)[1]]).slice(1)
    given = [(np.append(len(shapes), np.arange(len(shapes))), geometries)]
    read = []
    for much in (1 << 30, 0):
        monkeypatch.setattr(areas, "MUCH", much)
        by_loops = Mock(side_effect=areas._measured_by_loops)
        monkeypatch.setattr(areas, "_measured_by_loops", by_loops)
        with Areas(len(shapes) + 1) as kept:
            kept.fill(given)
            read.append((kept.read(np.arange(len(shapes) + 1)), kept.sizes, kept.border_km))
        assert by_loops.called == (much == 0)
    assert shapely.equals(*(shapes for shapes, *_ in read)).all()
    np.testing.assert_allclose(read[0][1], read[1][1])
    np.testing.assert_allclose(read[0][2], read[1][2])
