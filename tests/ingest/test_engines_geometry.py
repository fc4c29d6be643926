"""What an engine makes of geometry: MultiPolygon, 2D, degrees, valid; and the facts that it computes on the way."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely

from ingest import engines
from tests.fixtures import boundaries, quirks
from tests.fixtures.boundaries import Levels
from tests.ingest.conftest import layers_of, read, slice_of

both_engines = pytest.mark.parametrize("engine", engines.ENGINES)
FACTS = [name for name, _ in engines.FACTS if name not in ("is_valid", "invalid_reason")]


def rows_of(engine: str, tmp_path: Path, made: Levels, level: int, crs: str | None = None) -> list[dict[str, Any]]:
    """Write a world, read a level of it, and parse the geometry."""
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made, crs=crs)
    rows: list[dict[str, Any]] = read(engine, slice_of(layers_of(path)[level])).to_pylist()
    return [{**row, "shape": shapely.from_wkb(row["geom"])} for row in rows]


@both_engines
@pytest.mark.parametrize(
    "quirk", [quirks.single_polygons, quirks.with_heights, quirks.bow_tie], ids=lambda quirk: quirk.__name__
)
def test_every_geometry_is_a_multipolygon_in_two_dimensions(
    tmp_path: Path, engine: str, quirk: boundaries.Quirk
) -> None:
    for level in (1, 2):
        for row in rows_of(engine, tmp_path, boundaries.levels({"AAA": 2, "BBB": 2}, quirks=[quirk]), level):
            assert row["shape"].geom_type == "MultiPolygon"
            assert not row["shape"].has_z
            assert row["geom"][:5] == b"\x01\x06\x00\x00\x00"


@both_engines
def test_valid_geometry_passes_without_a_change(tmp_path: Path, engine: str) -> None:
    made = boundaries.levels({"AAA": 0}, quirks=[quirks.holes_and_islands])
    (row,) = rows_of(engine, tmp_path, made, 0)
    assert row["geom"] == shapely.to_wkb(made[0].geometry[0], byte_order=1)
    assert (row["is_valid"], row["invalid_reason"]) == (True, None)


@both_engines
def test_an_invalid_geometry_is_repaired_and_the_reason_recorded(tmp_path: Path, engine: str) -> None:
    rows = rows_of(engine, tmp_path, boundaries.levels({"AAA": 2}, quirks=[quirks.bow_tie]), 1)
    assert rows[0]["is_valid"] is False
    assert rows[0]["invalid_reason"] == "Self-intersection[2 2]"
    assert rows[0]["shape"].is_valid
    assert rows[0]["shape"].equals(
        shapely.MultiPolygon([shapely.Polygon([(0, 0), (2, 2), (0, 4)]), shapely.Polygon([(4, 4), (4, 0), (2, 2)])])
    )
    assert rows[2]["is_valid"] is True


@both_engines
@pytest.mark.parametrize("is_validated", [True, False])
@pytest.mark.parametrize("crs", [None, "EPSG:3857"])
def test_the_hash_is_of_the_geometry_that_is_published(
    tmp_path: Path, engine: str, is_validated: bool, crs: str | None
) -> None:
    made = boundaries.levels({"AAA": 2}, parts=3, quirks=[quirks.bow_tie, quirks.single_polygons])
    boundaries.set_cell(made, 1, 2, "geometry", None)
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made, crs=crs)
    source = replace(slice_of(layers_of(path)[1], batch_rows=2), is_validated=is_validated)
    rows = read(engine, source).select(["geom", "geom_hash"]).to_pylist()
    assert [row["geom"] is None for row in rows] == [number == 2 for number in range(len(rows))]
    for row in rows:
        assert row["geom_hash"] == (row["geom"] and hashlib.md5(row["geom"], usedforsecurity=False).hexdigest())


@both_engines
def test_parts_that_overlap_are_united(tmp_path: Path, engine: str) -> None:
    rows = rows_of(engine, tmp_path, boundaries.levels({"AAA": 1}, quirks=[quirks.overlapping_parts]), 1)
    assert rows[0]["shape"].is_valid
    assert rows[0]["shape"].area == pytest.approx(7)
    assert rows[0]["is_valid"] is False


@both_engines
def test_rows_without_geometry_are_kept_with_nothing_in_its_place(tmp_path: Path, engine: str) -> None:
    rows = rows_of(engine, tmp_path, boundaries.levels({"AAA": 2}, quirks=[quirks.missing_geometry]), 1)
    assert [row["gid_1"] for row in rows] == [f"AAA.{number}_1" for number in range(1, 5)]
    assert [row["invalid_reason"] for row in rows[:3]] == ["null geometry", "empty geometry", "empty geometry"]
    assert [row["is_valid"] for row in rows] == [None, False, False, True]
    for row in rows[:3]:
        assert row["geom"] is None
        assert {row[fact] for fact in FACTS} == {None}


@both_engines
def test_what_is_not_polygonal_is_left_out_and_said(tmp_path: Path, engine: str) -> None:
    rows = rows_of(engine, tmp_path, boundaries.levels({"AAA": 2, "BBB": 2}, quirks=[quirks.mixed_geometry]), 1)
    assert [row["invalid_reason"] for row in rows[:4]] == ["nothing polygonal"] * 4
    assert [row["is_valid"] for row in rows[:4]] == [False] * 4
    assert [row["geom"] for row in rows[:4]] == [None] * 4
    assert [row["vertex_count"] for row in rows[:4]] == [None] * 4


@both_engines
def test_the_polygons_of_a_collection_are_kept(tmp_path: Path, engine: str) -> None:
    rows = rows_of(engine, tmp_path, boundaries.levels({"AAA": 2, "BBB": 2}, quirks=[quirks.mixed_geometry]), 1)
    assert rows[4]["shape"].equals(shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(3, 0, 4, 1)]))
    assert (rows[4]["is_valid"], rows[4]["invalid_reason"]) == (True, None)
    assert (rows[5]["is_valid"], rows[5]["invalid_reason"]) == (False, "Self-intersection[11 2]")
    assert rows[5]["shape"].area == pytest.approx(8)


@both_engines
def test_the_polygons_of_collections_within_collections_are_kept(tmp_path: Path, engine: str) -> None:
    squares = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(3, 0, 4, 1)])
    nested: shapely.Geometry = squares
    for _ in range(5):
        nested = shapely.GeometryCollection([shapely.Point(9, 9), nested])
    made = boundaries.levels({"AAA": 0})
    boundaries.set_cell(made, 0, 0, "geometry", nested)
    (row,) = rows_of(engine, tmp_path, made, 0)
    assert row["shape"].equals(squares)


@both_engines
def test_a_part_without_points_changes_nothing(tmp_path: Path, engine: str) -> None:
    made = boundaries.levels({"AAA": 0})
    (plain,) = rows_of(engine, tmp_path, made, 0)
    (square,) = made[0].geometry[0].geoms
    for parts in ([shapely.Polygon(), square], [square, shapely.Polygon()]):
        boundaries.set_cell(made, 0, 0, "geometry", shapely.multipolygons(parts))
        (row,) = rows_of(engine, tmp_path, made, 0)
        assert [row[fact] for fact in FACTS] == pytest.approx([plain[fact] for fact in FACTS])


@both_engines
def test_a_polygon_without_area_leaves_nothing(tmp_path: Path, engine: str) -> None:
    row = rows_of(engine, tmp_path, boundaries.levels({"AAA": 1}, quirks=[quirks.collapsed_polygon]), 1)[0]
    assert (row["geom"], row["is_valid"], row["vertex_count"], row["area_km2"]) == (None, False, None, None)
    assert row["invalid_reason"]


@both_engines
@pytest.mark.parametrize(("crs", "degrees"), [("EPSG:3857", 1e-9), ("EPSG:27700", 1e-6), ("EPSG:2154", 1e-9)])
def test_other_reference_systems_come_out_as_longitude_and_latitude(
    tmp_path: Path, engine: str, crs: str, degrees: float
) -> None:
    made = boundaries.levels({"AAA": 0})
    box = shapely.box(-4.0, 51.0, -1.5, 53.0)
    boundaries.set_cell(made, 0, 0, "geometry", shapely.MultiPolygon([box]))
    (row,) = rows_of(engine, tmp_path, made, 0, crs=crs)
    assert np.allclose(shapely.get_coordinates(row["shape"]), shapely.get_coordinates(box), rtol=0, atol=degrees)


@both_engines
def test_a_source_without_reference_system_is_taken_as_degrees(tmp_path: Path, engine: str) -> None:
    folder = boundaries.write_shapefiles(tmp_path / "country", boundaries.levels({"AAA": 0}))
    (folder / "gadm41_AAA_0.prj").unlink()
    (row,) = read(engine, slice_of(layers_of(folder)[0])).to_pylist()
    assert (row["min_lon"], row["max_lat"]) == (0, 8)


@both_engines
def test_counts_points_and_boxes_are_those_of_shapely(tmp_path: Path, engine: str) -> None:
    made = boundaries.levels({"AAA": 2, "BBB": 1}, quirks=[quirks.holes_and_islands])
    rows = rows_of(engine, tmp_path, made, 0) + rows_of(engine, tmp_path, made, 1)
    for row in rows:
        shape, point = row["shape"], shapely.Point(row["point_lon"], row["point_lat"])
        assert row["vertex_count"] == shapely.get_num_coordinates(shape)
        assert shape.contains(point)
        assert point == shape.representative_point()
        assert (row["min_lon"], row["min_lat"], row["max_lon"], row["max_lat"]) == shape.bounds


@both_engines
@pytest.mark.parametrize("latitude", [0.0, 47.0, -69.0, 83.0])
def test_areas_are_those_on_the_ellipsoid(tmp_path: Path, engine: str, latitude: float) -> None:
    square = shapely.segmentize(
        shapely.box(10, latitude, 12, latitude + 2), 0.001
    )  # so finely that a chord is a parallel
    made = boundaries.levels({"AAA": 0})
    boundaries.set_cell(made, 0, 0, "geometry", shapely.MultiPolygon([square]))
    (row,) = rows_of(engine, tmp_path, made, 0)
    area, _ = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(square)
    assert row["area_km2"] == pytest.approx(area / 1e6, rel=1e-6)


@both_engines
def test_a_hole_does_not_count_as_area(tmp_path: Path, engine: str) -> None:
    made = boundaries.levels({"AAA": 0})
    (whole,) = rows_of(engine, tmp_path, made, 0)
    quirks.holes_and_islands(made)
    (holed,) = rows_of(engine, tmp_path, made, 0)
    assert 0.94 < holed["area_km2"] / whole["area_km2"] < 0.96  # 64 - 4 + 1 of 64 square degrees, near the equator
