"""Cells of units: those that brute force over the whole grid finds, at the date line and at the poles as elsewhere."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from unittest.mock import Mock

import duckdb
import h3.api.numpy_int as h3
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon, affinity, box
from shapely.geometry.base import BaseGeometry

from admin_boundaries.cells import CELL_KM2, Cells, cells_of, resolution_of, resolutions_of, unit_cells
from admin_boundaries.coverage.arrays import Numbers
from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.python_models import DuckDBRelation

RESOLUTION = 3  # 41,162 cells on the globe
PARTS = pa.schema([("gid", pa.string()), ("geom", pa.binary())])
ANTARCTICA = Polygon([(-180, -90), (-180, -70), (-60, -64), (10, -70), (120, -66), (180, -70), (180, -90)])


@cache
def grid() -> tuple[Cells, Numbers]:
    """All cells of a resolution, and the longitudes and latitudes of their centres."""
    cells = np.sort(h3.uncompact_cells(h3.get_res0_cells(), RESOLUTION))
    return cells, np.array([h3.cell_to_latlng(cell) for cell in cells.tolist()])[:, ::-1]


def by_brute_force(shape: BaseGeometry) -> list[int]:
    """Return the cells of the grid whose centres lie in a shape."""
    cells, centres = grid()
    found: list[int] = cells[shapely.contains_xy(shape, centres)].tolist()
    return found


def undone(cells: Cells) -> list[int]:
    """Return the cells that others were put together from."""
    return sorted(h3.uncompact_cells(cells, RESOLUTION).tolist())


def parts_of(*polygons: BaseGeometry) -> npt.NDArray[np.object_]:
    """Return polygons as parts of a unit."""
    return np.array([shapely.multipolygons([polygon]) for polygon in polygons], dtype=np.object_)


def filled(units: Mapping[str, Sequence[BaseGeometry]], rows: int = 1000) -> dict[str, list[tuple[int, int, int]]]:
    """Return the rows of units whose parts are read in batches of so many rows."""
    parts = [(gid, shapely.to_wkb(shapely.multipolygons([polygon]))) for gid in sorted(units) for polygon in units[gid]]
    table = pa.table([list(column) for column in zip(*parts, strict=True)] or [[], []], PARTS)
    relation = Mock()
    relation.select.return_value.batches.return_value = table.to_reader(rows)
    found = defaultdict(list)
    for row in unit_cells(relation).read_all().to_pylist():
        found[row["gid"]].append((row["cell"], row["cell_resolution"], row["unit_resolution"]))
    return dict(found)


def polygons_of(shape: BaseGeometry) -> list[Polygon]:
    """Return the polygons of a shape that have an area."""
    return [each for each in shapely.get_parts(shape) if isinstance(each, Polygon) and each.area]


@st.composite
def rings(draw: st.DrawFn) -> BaseGeometry:
    """A box somewhere on the globe, as wide as it may be, without a smaller one."""
    west, south = draw(st.floats(-180, 179)), draw(st.floats(-90, 89))
    whole = box(west, south, draw(st.floats(west + 0.1, 180)), draw(st.floats(south + 0.1, 90)))
    hole = affinity.scale(whole, draw(st.floats(0.1, 0.9)), draw(st.floats(0.1, 1)))
    return whole.difference(affinity.translate(hole, draw(st.floats(-9, 9)), draw(st.floats(-9, 9))))


@given(rings())
@settings(deadline=None, max_examples=60)
def test_a_unit_has_the_cells_whose_centres_lie_in_it(shape: BaseGeometry) -> None:
    found, expected = cells_of(parts_of(*polygons_of(shape)), RESOLUTION), by_brute_force(shape)
    if expected:
        assert undone(found) == expected
    else:
        assert len(found) == 1


@given(rings(), st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=30)
def test_a_unit_has_the_same_cells_however_it_is_cut(shape: BaseGeometry, share: float) -> None:
    west, south, east, north = shape.bounds
    cut = west + share * (east - west)
    halves = [shapely.clip_by_rect(shape, *side) for side in ((west, south, cut, north), (cut, south, east, north))]
    if expected := by_brute_force(shape):
        found = cells_of(parts_of(*(each for half in halves for each in polygons_of(half))), RESOLUTION)
        assert undone(found) == expected


@pytest.mark.parametrize(
    "polygons",
    [
        (box(170, -20, 180, 20), box(-180, -20, -172, 20)),  # across the date line
        (ANTARCTICA,),  # around a pole, with an edge of 360 degrees
        (box(-180, 80, 180, 90),),
        (box(-100, 40, 100, 60),),  # wider than half of the globe, and not across the date line
        (box(-180, 70, -10, 80), box(10, 70, 180, 80)),
    ],
)
def test_the_date_line_and_the_poles_are_as_other_places(polygons: Sequence[Polygon]) -> None:
    expected = by_brute_force(MultiPolygon(polygons))
    assert len(expected) > 100
    assert undone(cells_of(parts_of(*polygons), RESOLUTION)) == expected


def test_the_globe_is_the_coarsest_cells() -> None:
    cells = cells_of(parts_of(box(-180, -90, 180, 90)), RESOLUTION)
    assert cells.tolist() == sorted(h3.get_res0_cells().tolist())
    assert set(resolution_of(cells.astype(np.int64))) == {0}


def test_units_side_by_side_share_no_cell_and_leave_none_out() -> None:
    west, east = ((0, 0), (9, 1), (11, 9), (1, 10)), ((9, 1), (20, 0), (20, 10), (11, 9))
    one, other = (set(undone(cells_of(parts_of(Polygon(each)), RESOLUTION))) for each in (west, east))
    assert not one & other
    assert sorted(one | other) == by_brute_force(shapely.union(Polygon(west), Polygon(east)))


@given(st.floats(-179, 179), st.floats(-89, 89), st.floats(-7, 0.5), st.floats(-7, 0.5))
@settings(deadline=None, max_examples=40)
def test_no_unit_is_without_cells_and_none_has_too_many(lon: float, lat: float, width: float, height: float) -> None:
    size = 10**width, 10**height
    triangle = Polygon([(lon, lat), (lon + size[0] / 2, lat), (lon + size[0], lat + size[1])])
    ((rows),) = filled({"A": [triangle]}).values()
    cells = h3.uncompact_cells(np.array([cell for cell, *_ in rows], np.uint64), rows[0][2])
    assert 1 <= len(cells) <= 1000
    centres = np.array([h3.cell_to_latlng(cell) for cell in cells.tolist()])[:, ::-1]
    if not shapely.contains_xy(triangle, centres).all():
        inner = triangle.point_on_surface()
        assert cells.tolist() == [h3.latlng_to_cell(inner.y, inner.x, rows[0][2])]


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1e-3, 0.1, 1, 20])
def test_the_resolution_is_by_the_area_of_a_unit(size: float) -> None:
    shape = box(7, 45, 7 + size, 45 + size)
    (resolution,) = resolutions_of(parts_of(shape), np.array([0]))
    km2 = shape.area * 111.2**2 * np.cos(np.radians(45 + size / 2))
    cells = km2 / CELL_KM2[resolution]
    assert cells < 1 if size == 1e-12 else cells < 100 and resolution == 15 if size == 1e-6 else 90 < cells < 720
    quarters = [each for west in (7, 7 + size / 2) for each in (box(west, 45, west + size / 2, 45 + size),)]
    assert resolutions_of(parts_of(*quarters, shape), np.array([0, 2])).tolist() == [resolution] * 2


@pytest.mark.parametrize("line", [Polygon([(0, 0), (40, 1e-11), (40, 0)]), Polygon([(5, 5), (6, 6), (7, 7)])])
def test_a_line_of_a_unit_takes_no_longer_than_others(line: Polygon) -> None:
    ((_, _, resolution),) = filled({"A": [line]})["A"]
    assert resolution < 10


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_a_unit_may_be_spread_over_batches(rows: int) -> None:
    units = {
        "A": [box(lon, 0, lon + 1, 1) for lon in range(5)],
        "B": [box(9, 0, 10, 1)],
        "C": [box(lon, 2, lon + 1, 3) for lon in range(4)],
    }
    whole = {gid: [shapely.union_all(polygons)] for gid, polygons in units.items()}
    assert filled(units, rows) == filled(whole)


def test_no_parts_are_no_cells() -> None:
    assert filled({}) == {}


def test_parts_are_read_by_unit_in_whatever_order_they_lie() -> None:
    units = {gid: [box(lon + step, 0, lon + step + 1, 1) for step in range(4)] for gid, lon in (("A", 0), ("B", 9))}
    parts = [(gid, MultiPolygon([polygon]).wkb) for gid, polygons in units.items() for polygon in polygons]
    random.Random(1).shuffle(parts)
    with duckdb.connect() as session:
        load_spatial(session)
        session.execute("create table parts (gid text, polygon_number integer, geom geometry)")
        session.executemany("insert into parts values (?, 1, st_geomfromwkb(?))", parts)
        rows = unit_cells(DuckDBRelation(session, "parts")).read_all().to_pylist()
    assert rows == [
        dict(zip(("gid", "cell", "cell_resolution", "unit_resolution"), (gid, *row), strict=True))
        for gid, found in filled(units).items()
        for row in found
    ]


def test_seven_cells_are_the_one_that_they_make_up() -> None:
    rows = filled({"A": [box(0, 0, 3, 3)]})["A"]
    cells = np.array([cell for cell, *_ in rows], np.uint64)
    assert [resolution for _, resolution, _ in rows] == [h3.get_resolution(cell) for cell in cells.tolist()]
    assert {resolution for _, resolution, _ in rows} >= {rows[0][2], rows[0][2] - 1}
    alone = h3.compact_cells(h3.uncompact_cells(cells, rows[0][2]))
    assert sorted(alone.tolist()) == cells.tolist()
