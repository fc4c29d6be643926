"""Area, extent and vertex count from WKB are what shapely and PROJ say, wherever a geometry lies and however long."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.engines import AREA_CRS, measures


def measured(*geometries: shapely.MultiPolygon | None) -> dict[str, list[float | None]]:
    """Measure geometries in one batch."""
    wkb = pa.array(shapely.to_wkb(np.array(geometries, dtype=object)), pa.binary())
    return {name: column.to_pylist() for name, column in measures.measure(wkb).items()}


def projected_area(geometry: shapely.MultiPolygon) -> float:
    """Return the area in km² as PROJ and GEOS tell it."""
    return float(gpd.GeoSeries([geometry], crs="EPSG:4326").to_crs(AREA_CRS).area.iloc[0] / 1e6)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-179, 178), st.floats(-89, 88), st.floats(0.01, 1), st.floats(0.01, 1)),
        min_size=1,
        max_size=5,
    )
)
def test_areas_are_those_of_the_projection(boxes: list[tuple[float, float, float, float]]) -> None:
    geometries = [shapely.MultiPolygon([shapely.box(x, y, x + w, min(y + h, 90))]) for x, y, w, h in boxes]
    expected = [projected_area(geometry) for geometry in geometries]
    assert measured(*geometries)["area_km2"] == pytest.approx(expected, rel=1e-8)


def test_the_whole_earth_has_its_known_area() -> None:
    (area,) = measured(shapely.MultiPolygon([shapely.box(-180, -90, 180, 90)]))["area_km2"]
    assert area == pytest.approx(510_065_621.724, abs=0.001)  # of the WGS 84 ellipsoid


@pytest.mark.parametrize("vertices", [measures.BLOCK - 1, measures.BLOCK, measures.BLOCK + 1, 3 * measures.BLOCK + 7])
def test_rings_may_be_longer_than_what_is_computed_at_a_time(vertices: int) -> None:
    angle = np.linspace(0, 2 * np.pi, vertices - 1, endpoint=False)
    circle = shapely.Polygon(np.column_stack([30 + np.cos(angle), 50 + np.sin(angle)]))
    small = shapely.box(40, 0, 41, 1)
    geometries = [shapely.MultiPolygon([small]), shapely.MultiPolygon([circle, small]), shapely.MultiPolygon([small])]
    found = measured(*geometries)
    assert found["area_km2"] == pytest.approx([projected_area(geometry) for geometry in geometries], rel=1e-10)
    assert found["vertex_count"] == [5, vertices + 5, 5]


def test_holes_and_islands_in_them_are_counted_once() -> None:
    sea = shapely.Polygon(
        shapely.box(0, 0, 9, 9).exterior, [shapely.box(1, 1, 4, 4).exterior, shapely.box(5, 5, 6, 6).exterior]
    )
    island = shapely.box(2, 2, 3, 3)
    both = shapely.MultiPolygon([sea, island])
    assert measured(both)["area_km2"] == pytest.approx([projected_area(both)], rel=1e-10)


def test_the_direction_of_a_ring_does_not_matter() -> None:
    box = shapely.box(0, 0, 1, 1)
    assert measured(shapely.MultiPolygon([box]))["area_km2"] == pytest.approx(
        measured(shapely.MultiPolygon([box.reverse()]))["area_km2"]
    )


def test_where_there_is_no_geometry_there_is_no_number() -> None:
    box = shapely.MultiPolygon([shapely.box(1, 2, 3, 4), shapely.box(-5, -6, -4, -5)])
    found = measured(None, box, None)
    assert {name: values[0] for name, values in found.items()} == dict.fromkeys(found)
    assert [found[name][1] for name in ("min_lon", "min_lat", "max_lon", "max_lat")] == [-5, -6, 3, 4]
    assert measured(None)["area_km2"] == [None]


def test_a_part_without_points_is_passed_over() -> None:
    holed = shapely.Polygon(shapely.box(0, 0, 4, 4).exterior, [shapely.box(1, 1, 2, 2).exterior])
    island, nothing = shapely.box(5, 5, 6, 6), shapely.Polygon()
    (whole,) = zip(*measured(shapely.MultiPolygon([holed, island])).values(), strict=True)
    for parts in ([nothing, holed, island], [holed, nothing, island], [holed, island, nothing]):
        geometry = shapely.multipolygons(parts)  # which keeps what has no points
        assert len(geometry.geoms) == 3
        found = measured(geometry, shapely.MultiPolygon([island]), geometry)
        first, _, last = zip(*found.values(), strict=True)
        assert first == pytest.approx(whole)
        assert last == pytest.approx(whole)


def test_what_lies_over_the_date_line_is_measured_alone_whatever_comes_after_it() -> None:
    islands = shapely.MultiPolygon([shapely.box(-180, 0, -170, 1), shapely.box(172, 0, 180, 1)])
    elsewhere = shapely.MultiPolygon([shapely.box(-60, -20, -50, -10)])
    (alone,) = zip(*measured(islands).values(), strict=True)
    found = measured(elsewhere, islands, elsewhere)
    assert (found["west_lon"][1], found["east_lon"][1]) == (172, -170)
    assert tuple(values[1] for values in found.values()) == pytest.approx(alone)


def test_no_rows_are_no_numbers() -> None:
    assert measured() == {name: [] for name in measures.MEASURED}
