"""Units with fewer vertices: countries that are made up, whose borders must stay shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import duckdb
import geopandas
import numpy as np
import pyarrow as pa
import pytest
import shapely
from shapely import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from admin_boundaries.coverage.simplify import (
    TOLERANCES,
    Country,
    Drawing,
    coverage_simplified,
    drawing_of,
    restore,
    simplified,
)
from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.python_models import DuckDBRelation
from tests.conftest import ROOT

SAMPLE = f"/vsizip/{ROOT}/sample/boundaries-levels.zip"
AMERICAN = ("ASM", "GUM", "MNP", "PRI", "USA", "VIR")
Line = list[tuple[float, float]]
Level = Mapping[str, tuple[str | None, BaseGeometry | None]]  # by key: the key of the unit above, and the shape


def simplify(*levels: Level, tolerances: Sequence[float] = TOLERANCES) -> dict[tuple[str, float], MultiPolygon]:
    """Simplify units; return the shapes by key and tolerance."""
    parents = {parent for level in levels for parent, _ in level.values()}
    country: dict[str, str] = {}
    for level in levels:
        country |= {gid: country.get(parent or gid, gid) for gid, (parent, _) in level.items()}
    with duckdb.connect() as session:
        load_spatial(session)
        for number, level in enumerate(levels):
            shapes = [shape for _, shape in level.values()]
            units = pa.table(
                {
                    "gid": pa.array(list(level), pa.string()),
                    "parent_gid": pa.array([parent for parent, _ in level.values()], pa.string()),
                    "gid_0": [country[gid] for gid in level],
                    "is_leaf": [gid not in parents for gid in level],
                    "area_km2": pa.array([None if shape is None else shape.area * 12_000 for shape in shapes]),
                    "geom": pa.array([None if shape is None else shapely.to_wkb(_multi(shape)) for shape in shapes]),
                }
            )
            session.register("units", units)
            session.execute(
                f"create table level_{number} as select * replace (st_geomfromwkb(geom) as geom) from units"
            )
        relations = [DuckDBRelation(session, f"level_{number}") for number in range(len(levels))]
        rows = simplified(relations, tolerances).read_all().to_pylist()
    found = {(row["gid"], row["tolerance_degrees"]): shapely.from_wkb(row["geom"]) for row in rows}
    assert len(found) == len(rows)
    for row in rows:
        shape = found[row["gid"], row["tolerance_degrees"]]
        assert shape.is_valid
        assert shape.geom_type == "MultiPolygon"
        assert row["vertex_count"] == shapely.get_num_coordinates(shape)
        assert row["admin_level"] == next(number for number, level in enumerate(levels) if row["gid"] in level)
    return found


def _multi(shape: BaseGeometry) -> MultiPolygon:
    return MultiPolygon(shapely.get_parts(shape).tolist())


def wiggle(start: tuple[float, float], end: tuple[float, float], seed: int, vertices: int = 60) -> Line:
    """Return a line with small bends, with its start and without its end."""
    dice = np.random.default_rng(seed)
    share = np.linspace(0, 1, vertices, endpoint=False)[:, None]
    points = np.array(start) * (1 - share) + np.array(end) * share
    across = 1 if start[1] == end[1] else 0
    points[1:, across] += dice.uniform(-0.008, 0.008, vertices - 1)
    return [tuple(point) for point in points.tolist()]


class Grid:
    """Cells of one degree with crooked borders, each drawn once for the two cells that share it."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows

    def side(self, start: tuple[int, int], end: tuple[int, int]) -> Line:
        """Return the border from a corner to the next, with its start and without its end."""
        low, high = sorted([start, end])
        line = [*wiggle(low, high, seed=low[0] * 1000 + low[1] * 10 + high[0] - low[0]), high]
        return (line if start == low else line[::-1])[:-1]

    def cell(self, column: int, row: int) -> Polygon:
        """Return a cell."""
        corners = [(column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1)]
        return Polygon(
            [point for at in range(4) for point in self.side(corners[at], corners[(at + 1) % 4])],
        )


def two_countries() -> tuple[Level, Level, Level]:
    """Return two countries side by side; the units of one meet the border of the other where no unit of that ends."""
    grid = Grid(4, 4)
    cells = {(column, row): grid.cell(column, row) for column in range(4) for row in range(4)}
    leaves: dict[str, tuple[str | None, BaseGeometry | None]] = {
        f"X.{column}.{row}": (f"X.{column}", cells[column, row]) for column in range(2) for row in range(4)
    }
    middle: dict[str, tuple[str | None, BaseGeometry | None]] = {
        f"X.{column}": ("X", shapely.coverage_union_all([cells[column, row] for row in range(4)]))
        for column in range(2)
    }
    middle |= {f"Y.{row}": ("Y", shapely.coverage_union_all([cells[2, row], cells[3, row]])) for row in range(4)}
    countries: dict[str, tuple[str | None, BaseGeometry | None]] = {
        "X": (None, shapely.coverage_union_all([cells[column, row] for column in range(2) for row in range(4)])),
        "Y": (None, shapely.coverage_union_all([cells[column, row] for column in (2, 3) for row in range(4)])),
    }
    return countries, middle, leaves


@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_borders_stay_shared_within_and_across_countries_and_on_every_level(tolerance: float) -> None:
    levels = two_countries()
    found = simplify(*levels)
    shapes = {gid: shape for (gid, degrees), shape in found.items() if degrees == tolerance}
    assert set(shapes) == {gid for level in levels for gid in level}
    for level in levels:
        drawn = np.array([shapes[gid] for gid in level])
        assert shapely.coverage_is_valid(drawn)
    leaves = [shapes[gid] for gid in shapes if gid.startswith("X.") and gid.count(".") == 2]
    leaves += [shapes[gid] for gid in shapes if gid.startswith("Y.")]
    assert shapely.coverage_is_valid(np.array(leaves))
    for level in levels:
        for gid, (parent, _) in level.items():
            if parent is not None:
                assert shapes[gid].difference(shapes[parent]).area < 1e-12
    for gid in ("X", "X.0", "X.1", "Y"):
        below = [shape for other, shape in shapes.items() if other.startswith(f"{gid}.")]
        assert shapely.union_all(below).symmetric_difference(shapes[gid]).area < 1e-12


def test_a_larger_tolerance_leaves_fewer_vertices_and_the_shape_stays_near() -> None:
    countries, *below = two_countries()
    found = simplify(countries, *below)
    for gid, (_, shape) in countries.items():
        counts = [shapely.get_num_coordinates(found[gid, tolerance]) for tolerance in TOLERANCES]
        assert shapely.get_num_coordinates(shape) > counts[0] > counts[1] > counts[2]
        for tolerance in TOLERANCES:
            assert found[gid, tolerance].hausdorff_distance(shape) < 0.2
            vertices = {tuple(point) for point in shapely.get_coordinates(shape)}
            assert {tuple(point) for point in shapely.get_coordinates(found[gid, tolerance])} <= vertices


def test_a_border_stays_shared_where_one_country_has_a_corner_and_the_other_no_vertex() -> None:
    bent = Polygon([(-1, 0), (0, 0), (0.1, 1), (0, 2), (-1, 2)])
    lower = Polygon([(0, 0), (1, 0), (1, 0.3), (0.03, 0.3)])
    middle = Polygon([(0.03, 0.3), (1, 0.3), (1, 0.45), (0.04, 0.4)])
    upper = Polygon([(0.04, 0.4), (1, 0.45), (1, 1), (0.1, 1)])
    top = Polygon([(0.1, 1), (1, 1), (1, 2), (0, 2)])
    turned = [shapely.affinity.rotate(shape, 13, origin=(0.0, 0.0)) for shape in (bent, upper, middle, lower, top)]
    keys = ("X", "Y", "Z", "V", "W")
    for tolerance in (0.001, 0.5):
        found = simplify({key: (None, shape) for key, shape in zip(keys, turned, strict=True)}, tolerances=[tolerance])
        shapes = np.array([found[key, tolerance] for key in keys])
        union = shapely.union_all(shapes)
        assert shapely.area(shapes).sum() == pytest.approx(union.area, abs=1e-9)
        assert not shapely.get_num_interior_rings(shapely.get_parts(union)).any()


def test_a_corner_of_units_on_a_border_stays_on_that_of_the_other_country_too() -> None:
    left = Polygon([(-1, 0), (0, 0), (0.003, 1), (0, 2), (-1, 2)])
    lower, upper = Polygon([(0, 0), (1, 0), (1, 1), (0.003, 1)]), Polygon([(0.003, 1), (1, 1), (1, 2), (0, 2)])
    countries = {"X": (None, left), "Y": (None, shapely.union(lower, upper))}
    found = simplify(countries, {"Y.1": ("Y", lower), "Y.2": ("Y", upper)}, tolerances=[0.1])
    assert shapely.coverage_is_valid(np.array([found[gid, 0.1] for gid in ("X", "Y.1", "Y.2")]))
    assert found["X", 0.1].union(found["Y", 0.1]).area == pytest.approx(4)


def test_the_smallest_island_and_the_smallest_hole_keep_a_triangle() -> None:
    tiny = Polygon([(5, 5), (5.00001, 5), (5.00001, 5.00001), (5.000005, 5.00002), (5, 5.00001)])
    pond = Polygon([(0.5, 0.5), (0.50001, 0.5), (0.50001, 0.50001), (0.5, 0.50001)])
    land = box(0, 0, 1, 1) - pond
    found = simplify({"X": (None, shapely.union(land, tiny)), "Y": (None, tiny)})
    for tolerance in TOLERANCES:
        assert len(found["X", tolerance].geoms) == 2
        assert sum(len(part.interiors) for part in found["X", tolerance].geoms) == 1
        assert 3 <= shapely.get_num_coordinates(found["Y", tolerance]) - 1 <= 5
        assert found["Y", tolerance].area > 0


def test_a_unit_without_geometry_has_no_row_and_those_above_and_beside_it_do() -> None:
    land = Grid(1, 1).cell(0, 0)
    found = simplify({"X": (None, land)}, {"X.1": ("X", land), "X.2": ("X", None)})
    assert {gid for gid, _ in found} == {"X", "X.1"}


def test_a_unit_that_is_not_tiled_by_those_below_is_drawn_by_its_own_border() -> None:
    grid = Grid(2, 1)
    left, right = grid.cell(0, 0), grid.cell(1, 0)
    whole = shapely.coverage_union_all([left, right])
    found = simplify({"X": (None, whole)}, {"X.1": ("X", left)}, tolerances=[0.01])
    assert found["X", 0.01].area == pytest.approx(whole.area, rel=0.02)
    assert found["X.1", 0.01].area == pytest.approx(left.area, rel=0.02)
    along = shapely.intersection(found["X", 0.01].boundary, found["X.1", 0.01].boundary)
    assert along.length > 2.9  # three of its four sides


def test_keys_with_quotes_and_units_of_an_unknown_country_are_simplified() -> None:
    grid = Grid(2, 1)
    found = simplify({"X'; drop": (None, grid.cell(0, 0)), "?": (None, grid.cell(1, 0))})
    assert {gid for gid, _ in found} == {"X'; drop", "?"}


def test_units_above_have_the_parts_and_holes_that_those_below_leave_them() -> None:
    grid = Grid(5, 3)
    ring = {f"X.1.{column}.{row}": ("X.1", grid.cell(column, row)) for column in range(3) for row in range(3)}
    middle = ring.pop("X.1.1.1")[1]
    corners = {f"Y.{(column + row) % 2}.{column}": (column, row) for column in (3, 4) for row in (0, 1)}
    crossed = {gid: (gid[:3], grid.cell(*place)) for gid, place in corners.items()}
    leaves: dict[str, tuple[str | None, BaseGeometry | None]] = {**ring, **crossed}

    def union_of(gid: str) -> BaseGeometry:
        return shapely.union_all([shape for other, (_, shape) in leaves.items() if other.startswith(gid)])

    above: dict[str, tuple[str | None, BaseGeometry | None]] = {
        "X.1": ("X", union_of("X.1")),
        "X.2": ("X", middle),
        **{gid: ("Y", union_of(gid)) for gid in ("Y.0", "Y.1")},
    }
    countries = {"X": (None, shapely.union(union_of("X.1"), middle)), "Y": (None, union_of("Y"))}
    found = simplify(countries, above, leaves)
    for tolerance in TOLERANCES:
        assert [len(part.interiors) for part in found["X.1", tolerance].geoms] == [1]
        assert [len(found[gid, tolerance].geoms) for gid in ("Y.0", "Y.1")] == [2, 2]
        for gid in ("X", "X.1", "Y", "Y.0", "Y.1"):
            below = [found[other, tolerance] for other in (*leaves, "X.2") if other.startswith(f"{gid}.")]
            assert shapely.union_all(below).symmetric_difference(found[gid, tolerance]).area < 1e-12


def test_a_unit_whose_parts_overlap_is_drawn_as_their_union() -> None:
    left, right = box(0, 0, 1.25, 1), box(1, 0.2, 1.75, 1.2)
    found = simplify({"X": (None, box(0, 0, 2, 1))}, {"X.1": ("X", left), "X.2": ("X", right)}, tolerances=[0.01])
    assert found["X", 0.01].equals(shapely.union(left, right))


def test_a_unit_between_two_borders_with_the_same_ends_stays() -> None:
    west: Line = [(0, 0), (-0.05, 1), (0, 2)]
    east: Line = [(0, 0), (0.05, 1), (0, 2)]
    leaves = {
        "X.1": ("X", Polygon([*west, (-3, 2), (-3, 0)])),
        "X.2": ("X", Polygon([*west, (0.05, 1)])),
        "X.3": ("X", Polygon([*east, (3, 2), (3, 0)])),
    }
    found = simplify({"X": (None, box(-3, 0, 3, 2))}, leaves, tolerances=[0.5])
    assert found["X.2", 0.5].area > 0
    assert shapely.coverage_is_valid(np.array([found[gid, 0.5] for gid in leaves]))


def test_a_bay_stays_open_for_the_island_in_it() -> None:
    land = Polygon([(0, 0), (0.5, 1), (1, 0), (1, 2), (0, 2)])
    island = box(0.48, 0.5, 0.52, 0.55)
    levels = {"X": (None, shapely.union(land, island))}, {"X.1": ("X", land), "X.2": ("X", island)}
    found = simplify(*levels, tolerances=[1.0])
    assert found["X.1", 1.0].disjoint(found["X.2", 1.0])


def test_vertices_on_the_date_line_stay() -> None:
    line = [(180.0, lat) for lat in np.linspace(0, 1, 5)]
    found = simplify({"X": (None, Polygon([(179, 0), *line, (179, 1)]))}, tolerances=[0.1])
    assert set(line) <= {tuple(point) for point in shapely.get_coordinates(found["X", 0.1])}


def test_the_answer_is_the_same_whichever_way_the_levels_are_ordered() -> None:
    levels = two_countries()
    backwards = [{gid: level[gid] for gid in reversed(list(level))} for level in levels]
    forwards = simplify(*levels)
    assert list(forwards) == list(found := simplify(*backwards))
    assert all(shapely.equals_identical(forwards[key], found[key]) for key in found)


def drawing_with(shapes: Sequence[Polygon], kept: Line) -> tuple[Country, Drawing, dict[tuple[float, float], int]]:
    """Return units of a country drawn with some vertices, and the numbers of all vertices."""
    geoms = np.array([MultiPolygon([shape]) for shape in shapes])
    assert shapely.coverage_is_valid(geoms)
    every = np.ones(len(shapes), bool)
    country = Country(
        gid="X",
        gids=np.array([f"X.{number}" for number in range(len(shapes))], object),
        levels=np.ones(len(shapes), np.int32),
        parents=np.full(len(shapes), -1),
        is_read=every,
        is_leaf=every,
        has_area=every,
    )
    drawing, _alone = drawing_of(country, pa.array(shapely.to_wkb(geoms), pa.binary()), np.array([0.01]))
    numbers = {point: at for at, point in enumerate(zip(drawing.xs.tolist(), drawing.ys.tolist(), strict=True))}
    drawing.ranks[:] = 0
    drawing.ranks[[numbers[point] for point in kept]] = 1
    nothing = np.zeros(len(drawing.xs), bool)
    restore(drawing, country, nothing)
    assert drawing.ranks.sum() == len(kept)
    assert shapely.coverage_is_valid(drawing.geoms(1, np.arange(len(shapes))))
    return country, drawing, numbers


def with_more(
    country: Country, drawing: Drawing, numbers: dict[tuple[float, float], int], more: Line
) -> set[tuple[float, float]]:
    """Draw it with more vertices, which would make units overlap; return all that it has then."""
    is_more = np.zeros(len(drawing.xs), bool)
    is_more[[numbers[point] for point in more]] = True
    drawing.ranks[is_more] = 1
    units = np.arange(len(country.gids))
    assert not shapely.coverage_is_valid(drawing.geoms(1, units))
    restore(drawing, country, is_more)
    drawn = drawing.geoms(1, units)
    assert shapely.coverage_is_valid(drawn)
    return {tuple(point) for point in shapely.get_coordinates(drawn).tolist()}


def test_a_unit_that_a_vertex_of_a_neighbour_country_makes_invalid_gets_its_vertices_back() -> None:
    spike: Line = [(0, 0), (4, 0), (5, 3), (6, 0), (10, 0)]
    dip: Line = [(10, 4), (7, 4), (6.2, 1), (5.8, 4), (0, 4)]
    upper, lower = Polygon([*spike, *dip]), Polygon([*spike[::-1], (0, -2), (10, -2)])
    kept: Line = [(0, 0), (5, 3), (10, 0), (10, 4), (0, 4), (0, -2), (10, -2)]
    assert {(6.0, 0.0), (6.2, 1.0)} <= with_more(*drawing_with([upper, lower], kept), dip)


def test_units_that_a_vertex_of_a_neighbour_country_makes_overlap_get_their_vertices_back() -> None:
    lower = Polygon([(0, 0), (4, 0), (5, 3), (6, 0), (10, 0), (10, -2), (0, -2)])
    upper = Polygon([(0, 1), (3.9, 1), (5, 4), (6.1, 1), (10, 1), (10, 6), (0, 6)])
    kept: Line = [(0, 0), (10, 0), (10, -2), (0, -2), (0, 1), (10, 1), (10, 6), (0, 6)]
    assert {(4.0, 0.0), (5.0, 4.0)} <= with_more(*drawing_with([upper, lower], kept), [(5, 3)])


@cache
def sample() -> tuple[Level, ...]:
    """Return the units of the repository's sample."""
    levels = []
    for number in range(5):
        frame = geopandas.read_file(SAMPLE, layer=f"ADM_{number}")
        above = frame[f"GID_{number - 1}"] if number else [None] * len(frame)
        levels.append(
            {
                gid: (parent, shape)
                for gid, parent, shape in zip(frame[f"GID_{number}"], above, frame.geometry, strict=True)
            }
        )
    return tuple(levels)


@cache
def simplified_sample() -> dict[tuple[str, float], MultiPolygon]:
    """Return its simplified units."""
    return simplify(*sample())


@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_the_counties_of_the_sample_leave_no_gap_and_do_not_overlap(tolerance: float) -> None:
    found = simplified_sample()
    countries, _, _ = levels = [
        [gid for gid, (parent, _) in level.items() if gid[:3] in AMERICAN or parent in ("USA", "USA.MNP")]
        for level in sample()[:3]
    ]
    above = {parent for level in sample() for parent, _ in level.values()}
    counties = [found[gid, tolerance] for level in levels for gid in level if gid not in above]
    assert len(counties) == 3230
    union = shapely.union_all(counties)
    assert union.symmetric_difference(shapely.union_all([found[gid, tolerance] for gid in countries])).area < 1e-9
    assert sum(shape.area for shape in counties) == pytest.approx(union.area, abs=1e-9)


def test_no_unit_of_the_sample_is_lost() -> None:
    there = {gid for level in sample() for gid, (_, shape) in level.items() if shape is not None}
    assert set(simplified_sample()) == {(gid, tolerance) for gid in there for tolerance in TOLERANCES}


def test_a_coverage_of_its_own_has_fewer_vertices_at_each_tolerance_and_stays_one() -> None:
    steps = np.linspace(0, 2, 801)
    border = list(zip(0.15 * np.sin(9 * steps) + 0.004 * np.sin(200 * steps), steps, strict=True))
    zones = np.array([MultiPolygon([Polygon([*border, (side, 2), (side, 0)])]) for side in (-3.0, 3.0)])
    drawn = coverage_simplified(zones, TOLERANCES)
    counts = [int(shapely.get_num_coordinates(shapes).sum()) for shapes in drawn]
    assert counts == sorted({*counts}, reverse=True)
    assert counts[0] < shapely.get_num_coordinates(zones).sum()
    for west, east in drawn:
        assert west.union(east).equals(box(-3, 0, 3, 2))
        assert west.intersection(east).area == 0
