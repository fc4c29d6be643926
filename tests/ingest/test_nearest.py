"""The nearest unit of a point outside of all: by brute force along densely drawn borders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyproj
import pytest
import shapely
from shapely import affinity

from admin_boundaries.locate.distance import metres_of
from admin_boundaries.locate.layer import Layer, make_layer
from admin_boundaries.locate.nearest import nearest
from ingest.errors import UsageError

Floats = npt.NDArray[np.float64]
SPACING = 200  # metres
GEOD = pyproj.Geod(ellps="WGS84")


def layer_of(folder: Path, shapes: list[shapely.MultiPolygon], ancestors: list[tuple[int, ...]] | None = None) -> Layer:
    keys = pa.array([f"{number:05}" for number in range(len(shapes))])
    above = np.array(ancestors or [(-1,)] * len(shapes), np.int32)
    make_layer(folder, keys, above, iter([pa.record_batch({"gid": keys, "geom": [shape.wkb for shape in shapes]})]))
    return Layer.opened(folder)


def densely(shape: shapely.MultiPolygon) -> Floats:
    """Return points along the border of a shape, on the globe no farther from each other than `SPACING`."""
    _, south, _, north = shape.bounds
    narrowed = np.cos(np.radians(0 if south < 0 < north else min(abs(south), abs(north))))  # how meridians converge
    on_globe = affinity.scale(shape, narrowed, origin=(0, 0))
    points: Floats = shapely.get_coordinates(shapely.segmentize(on_globe, SPACING / 111_700)) / (narrowed, 1)
    return points


def by_brute_force(borders: list[Floats], lon: float, lat: float) -> list[float]:
    """Return the metres from a point to each border, too many by what lies between two points of it."""
    metres = []
    for border in borders:
        _, _, away = GEOD.inv(np.full(len(border), lon), np.full(len(border), lat), *border.T)
        metres.append(float(np.min(away)))
    return metres


@pytest.mark.parametrize(
    ("x", "y"), [(10, 0), (10, 45), (-70, -60), (179.9, 20), (-179.95, -70), (30, 88.9), (0, -89.6)]
)
def test_the_nearest_unit_is_what_brute_force_finds_anywhere_on_earth(x: float, y: float, tmp_path: Path) -> None:
    random = np.random.default_rng(int(abs(x * 100 + y)))
    wide = 1 / np.cos(np.radians(min(abs(y), 89)))
    shapes = []
    for _ in range(12):
        west, south = x + random.uniform(-0.6, 0.6) * wide, y + random.uniform(-0.6, 0.3)
        across, up = random.uniform(0.01, 0.3) * wide, random.uniform(0.01, 0.25)
        shape = shapely.Polygon([(west, south), (west + across, south + up / 3), (west + across / 4, south + up)])
        inside = shapely.box(-180, -90, 180, 90)
        pieces = [affinity.translate(shape, turn) for turn in (-360, 0, 360)]
        polygons = [
            part
            for piece in pieces
            for part in shapely.get_parts(piece.intersection(inside))
            if part.geom_type == "Polygon" and part.area > 0
        ]
        if polygons:
            shapes.append(shapely.MultiPolygon(polygons))
    lons = (x + random.uniform(-1, 1, 60) * wide + 180) % 360 - 180
    lats = np.clip(y + random.uniform(-0.8, 0.8, 60), -90, 90)
    outside = ~shapely.intersects_xy(shapely.union_all(shapes), lons, lats)
    lons, lats = lons[outside], lats[outside]
    units, metres = nearest(layer_of(tmp_path, shapes), lons, lats, 60_000)
    borders = [densely(shape) for shape in shapes]
    for lon, lat, unit, away in zip(lons.tolist(), lats.tolist(), units.tolist(), metres.tolist(), strict=True):
        expected = by_brute_force(borders, lon, lat)
        if min(expected) > 60_020:
            assert unit == -1
            assert np.isnan(away)
        elif min(expected) < 59_980:
            assert away < min(expected) * 1.0001 + 1
            assert expected[unit] < np.hypot(away, SPACING / 2) * 1.0001 + 1
    assert (units >= 0).sum() > 5


def test_a_border_beyond_the_date_line_is_as_near_as_any_other(tmp_path: Path) -> None:
    slanting = shapely.MultiPolygon([shapely.Polygon([(-179.5, -1), (-179, 1), (-178, 0)])])
    units, metres = nearest(layer_of(tmp_path, [slanting]), np.array([179.9]), np.array([0.3]), 200_000)
    assert units.tolist() == [0]
    assert metres[0] == pytest.approx(by_brute_force([densely(slanting)], 179.9, 0.3)[0], abs=1)


def test_of_units_that_are_equally_near_it_is_the_finer_one_or_the_first_by_key(tmp_path: Path) -> None:
    country, left, right = shapely.box(0, 0, 2, 1), shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1)
    shapes = [shapely.MultiPolygon([shape]) for shape in (country, left, right)]
    layer = layer_of(tmp_path, shapes, [(-1, -1), (0, -1), (0, -1)])
    units, metres = nearest(layer, np.array([-0.1, 1.0, 2.1, 1.0]), np.array([0.5, 1.1, 0.5, 5.0]), 50_000)
    assert units.tolist() == [1, 1, 2, -1]
    assert metres[0] == pytest.approx(GEOD.inv(-0.1, 0.5, 0, 0.5)[2], abs=0.02)


@pytest.mark.parametrize(("text", "metres"), [("25km", 25_000), ("800m", 800), ("1.5 km", 1500), ("500km", 500_000)])
def test_a_distance_is_metres_or_kilometres(text: str, metres: float) -> None:
    assert metres_of(text) == metres


@pytest.mark.parametrize("text", ["25", "0km", "-3km", "501km", "near", "25 miles", ""])
def test_what_is_no_distance_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a distance"):
        metres_of(text)
