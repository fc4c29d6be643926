"""Every published geometry lies on the globe: split at the date line, closed over a pole, or left out and said so."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely

from ingest import catalog
from ingest.engines import measures
from ingest.errors import SchemaDrift, UsageError
from ingest.layers import discover, reference
from tests.fixtures import boundaries
from tests.ingest.conftest import layers_of, read, slice_of
from tests.ingest.test_engines_odd import both

ARCTIC = "EPSG:3571"  # equal area around the north pole; 0° points up
SOUTHERN = "EPSG:3031"
PACIFIC = "EPSG:3832"  # Mercator whose middle is 150° E


def in_plane(shape: shapely.Geometry, crs: str) -> shapely.Geometry:
    """Project a shape in degrees."""
    transform = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform
    return shapely.transform(shape, lambda points: np.column_stack(transform(points[:, 0], points[:, 1])))


def fine_box(west: float, south: float, east: float, north: float) -> shapely.Polygon:
    """Return a box in degrees with a vertex every quarter of a degree."""
    fine: shapely.Polygon = shapely.segmentize(shapely.box(west, south, east, north), 0.25)
    return fine


def placed(shape: shapely.Geometry, crs: str | None = None) -> dict[str, Any]:
    """Let both engines read one shape."""
    (row,) = both([shapely.to_wkb(shape)], crs=crs)
    return {**row, "shape": shapely.from_wkb(row["geom"])}


def area_of(west: float, south: float, east: float, north: float) -> float:
    """Return the area of a box in degrees."""
    return measures.area([shapely.get_coordinates(shapely.box(west, south, east, north))])


def distance_to_pole(crs: str, latitude: float) -> float:
    """Return the radius of a parallel in a polar projection."""
    return float(np.hypot(*pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(0, latitude)))


def disc(crs: str, latitude: float) -> shapely.Polygon:
    """Return a pole's surroundings in a polar projection."""
    return shapely.Point(0, 0).buffer(distance_to_pole(crs, latitude), quad_segs=64)


NARROW_RING = disc(ARCTIC, 75).difference(disc(ARCTIC, 85))

# Area in km², west and east, of shapes in the plane of a projection.
PROJECTED: dict[str, tuple[shapely.Geometry, str, float, tuple[float, float]]] = {
    "across the date line": (in_plane(fine_box(179, -18, 181, -17), PACIFIC), PACIFIC, 23_507, (179, -179)),
    "its four corners": (in_plane(shapely.box(179, -16, 181, -15), PACIFIC), PACIFIC, 23_745, (179, -179)),
    "in the last UTM zone": (in_plane(fine_box(178, -18, 182, -17), "EPSG:32760"), "EPSG:32760", 47_014, (178, -178)),
    "in the first UTM zone": (
        in_plane(fine_box(-182, -18, -178, -17), "EPSG:32701"),
        "EPSG:32701",
        47_014,
        (178, -178),
    ),
    "up to the date line": (in_plane(fine_box(178, -18, 180, -17), "EPSG:32760"), "EPSG:32760", 23_507, (178, 180)),
    "from the date line": (in_plane(fine_box(-180, -18, -178, -17), "EPSG:32701"), "EPSG:32701", 23_507, (-180, -178)),
    "around the south pole": (disc(SOUTHERN, -75), SOUTHERN, area_of(-180, -90, 180, -75), (-180, 180)),
    "the other way round": (disc(SOUTHERN, -75).reverse(), SOUTHERN, area_of(-180, -90, 180, -75), (-180, 180)),
    "a ring around the north pole": (NARROW_RING, ARCTIC, area_of(-180, 75, 180, 85), (-180, 180)),
    "around a pole, four corners": (shapely.box(-1e6, -1e6, 1e6, 1e6), ARCTIC, 4e6, (-180, 180)),
    "a hole across the date line": (
        shapely.box(-1e6, -1e6, 1e6, 1e6).difference(shapely.box(-1e5, 1e5, 1e5, 3e5)),
        ARCTIC,
        3.96e6,
        (-180, 180),
    ),
    "an edge through the pole": (shapely.box(-1e6, -1e6, 1e6, 0), ARCTIC, 2e6, (90, -90)),
    "an edge past the pole": (shapely.box(-1e6, 1e3, 1.5e6, 1e6), ARCTIC, 2.4975e6, (-89.9427, 89.9618)),
    "a corner at the pole": (shapely.box(-1e6, 0, 0, 1e6), ARCTIC, 1e6, (0, 90)),
    "a corner at the pole, outwards": (
        shapely.box(-1e6, -1e6, 1e6, 1e6).difference(shapely.box(0, 0, 1e6, 1e6)),
        ARCTIC,
        3e6,
        (0, -90),
    ),
    "beyond the pole, seen from Europe": (shapely.box(3e6, 6e6, 6e6, 9e6), "EPSG:3035", 9e6, (-180, 180)),
    "both ends of a world map": (
        in_plane(shapely.MultiPolygon([fine_box(177, -18, 180, -17), fine_box(-180, -18, -178, -17)]), "ESRI:54030"),
        "ESRI:54030",
        58_767,
        (177, -178),
    ),
    "the bottom of a world map": (
        in_plane(fine_box(-180, -90, 180, -70), "ESRI:54009"),
        "ESRI:54009",
        area_of(-180, -90, 180, -70),
        (-180, 180),
    ),
    "a whole world map": (
        shapely.box(-20037508.342789244, -1e7, 20037508.342789244, 1e7),
        "EPSG:3857",
        467_233_568,
        (-180, 180),
    ),
    "beyond the edge of a world map": (
        shapely.box(19937508.34, -1e6, 20137508.34, 1e6),
        "EPSG:3857",
        394_141,
        (179.1, -179.1),
    ),
    "all but a circle": (shapely.Point(0, 0).buffer(1.5e7, quad_segs=64), "+proj=aeqd +lat_0=0", 435e6, (-180, 180)),
}


@pytest.mark.parametrize("kind", PROJECTED)
def test_projected_shapes_come_out_right_across_the_date_line_and_over_a_pole(kind: str) -> None:
    shape, crs, area, ends = PROJECTED[kind]
    row = placed(shape, crs)
    assert row["area_km2"] == pytest.approx(area, rel=2e-3)
    assert (row["west_lon"], row["east_lon"]) == pytest.approx(ends, abs=0.02)
    assert (row["is_valid"], row["invalid_reason"]) == (True, None)
    inside = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(row["point_lon"], row["point_lat"])
    assert shapely.contains(shapely.buffer(shape, 1), shapely.Point(inside)) or kind == "beyond the edge of a world map"


def test_a_projected_shape_that_lies_elsewhere_gets_no_further_vertices() -> None:
    box = shapely.box(400_000, 300_000, 500_000, 400_000)
    row = placed(box, "EPSG:27700")
    expected = pyproj.Transformer.from_crs("EPSG:27700", "EPSG:4326", always_xy=True).transform(*box.exterior.xy)
    assert shapely.get_coordinates(row["shape"]) == pytest.approx(np.column_stack(expected), abs=1e-12)


def test_an_invalid_shape_across_the_date_line_is_repaired() -> None:
    row = placed(shapely.Polygon([(3e6, -2e6), (3.8e6, -1.8e6), (3.8e6, -2e6), (3e6, -1.8e6)]), PACIFIC)
    assert row["invalid_reason"] == "Self-intersection[3400000 -1900000]"
    assert row["area_km2"] == pytest.approx(73_255, rel=1e-3)


# What longitudes a shape in degrees has afterwards, its area in square degrees, and why it was repaired.
IN_DEGREES: dict[str, tuple[shapely.Geometry, tuple[float, float], float, str | None]] = {
    "beyond 180": (shapely.box(177, -18, 182, -17), (177, -178), 5, None),
    "all beyond 180": (shapely.box(181, -18, 182, -17), (-179, -178), 1, None),
    "below -180": (shapely.box(-190, 50, -170, 60), (170, -170), 200, None),
    "from 0 to 360": (shapely.box(20, 50, 190, 60), (20, -170), 1700, None),
    "the world from 0 to 360": (shapely.box(0, -90, 360, 90), (-180, 180), 64_800, None),
    "the world": (shapely.box(-180, -90, 180, 90), (-180, 180), 64_800, None),
    "parts on either side": (
        shapely.MultiPolygon([shapely.box(177, -18, 179, -17), shapely.box(181, -18, 182, -17)]),
        (177, -178),
        3,
        None,
    ),
    "a hole beyond 180": (
        shapely.box(170, 0, 200, 10).difference(shapely.box(179, 1, 190, 2)),
        (170, -160),
        289,
        None,
    ),
    "a leap": (
        shapely.Polygon([(179, -18), (-179, -18), (-179, -17), (179, -17)]),
        (179, -179),
        2,
        "edge of more than 340°",
    ),
    "a leap at 0": (
        shapely.Polygon([(355, 50), (1, 50), (1, 55), (355, 55)]),
        (-5, 1),
        30,
        "edge of more than 340°",
    ),
    "a coast around a pole": (
        shapely.Polygon([(lon, -75) for lon in range(-179, 180, 2)]),
        (-180, 180),
        5400,
        "edge of more than 340°",
    ),
    "half of the globe": (shapely.box(-100, 50, 100, 60), (-100, 100), 2000, None),
    "a band around the globe": (shapely.box(-180, 50, 180, 60), (-180, 180), 3600, None),
    "islands on either side": (
        shapely.MultiPolygon([shapely.box(-180, 0, -170, 1), shapely.box(0, 0, 9, 1), shapely.box(100, 0, 180, 1)]),
        (0, -170),
        99,
        None,
    ),
}


@pytest.mark.parametrize("kind", IN_DEGREES)
def test_longitudes_beyond_180_are_wrapped_and_split_at_the_date_line(kind: str) -> None:
    shape, ends, area, why = IN_DEGREES[kind]
    row = placed(shape)
    assert (row["west_lon"], row["east_lon"]) == ends
    assert row["shape"].area == pytest.approx(area)
    assert row["invalid_reason"] == why
    is_across = ends[0] > ends[1]
    assert (row["min_lon"] < ends[1] < ends[0] < row["max_lon"]) if is_across else (row["max_lon"] == ends[1])


def test_other_meridians_and_units_are_heard() -> None:
    paris = placed(shapely.box(176, 0, 178.5, 1), "+proj=longlat +pm=paris +datum=WGS84")
    assert (paris["west_lon"], paris["east_lon"]) == pytest.approx((178.33723, -179.16277), abs=1e-5)
    grads = placed(shapely.box(2, 50, 3, 51), "EPSG:4807")  # grads from Paris
    assert (grads["min_lon"], grads["min_lat"]) == pytest.approx((4.13661, 45.0), abs=1e-4)


def write(tmp_path: Path, box: tuple[float, float, float, float], crs: str | None = "EPSG:4326") -> Path:
    """Write a GeoPackage of one box."""
    made = boundaries.levels({"AAA": 0})
    boundaries.set_cell(made, 0, 0, "geometry", shapely.MultiPolygon([shapely.box(*box)]))
    return boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made, crs=crs)


def system_of(path: Path, named: str | None = None) -> str | None:
    """Return what the coordinates of the only layer are taken for."""
    gadm = catalog.get("gadm")
    (layer,) = discover.layers(path, gadm, gadm.release(), crs=named)
    return layer.crs


def state(path: Path, columns: int, contents: int, definition: str | None = None) -> None:
    """Change what a GeoPackage says of its reference system."""
    connection = sqlite3.connect(path)
    for (trigger,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
        connection.execute(f'drop trigger "{trigger}"')
    if definition:
        connection.execute(
            "insert or replace into gpkg_spatial_ref_sys values ('x', ?, 'x', ?, ?, '')", (columns, columns, definition)
        )
    connection.execute("update gpkg_geometry_columns set srs_id = ?", (columns,))
    connection.execute("update gpkg_contents set srs_id = ?", (contents,))
    connection.commit()
    connection.close()


ENGINEERING = 'LOCAL_CS["site",UNIT["metre",1]]'
METRES = (500_000, 4_649_776, 600_000, 4_749_776)


@pytest.mark.parametrize(
    "stated",
    [
        (-1, -1),
        (0, 0),
        (99999, 99999, ENGINEERING),
        (99999, 99999, "undefined"),
        (99999, 99999),
        (4326, 3857),
        (3857, 4326),
    ],
)
def test_what_states_no_usable_reference_system_is_in_degrees_only_if_it_fits_on_the_globe(
    tmp_path: Path, stated: tuple[Any, ...]
) -> None:
    path = write(tmp_path, (177, -18, 182, -17))
    state(path, *stated)
    assert system_of(path) is None
    path = write(tmp_path, METRES)
    state(path, *stated)
    with pytest.raises(
        SchemaDrift, match=r"ADM_0 in gadm\.gpkg states no reference system.*x 500000 to 600000"
    ) as fault:
        system_of(path)
    assert "--crs EPSG:" in fault.value.hint
    assert "UTM zone 33N" in str(system_of(path, "EPSG:32633"))


def test_a_layer_that_is_said_to_be_in_degrees_and_nowhere_is_gets_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaDrift, match="is said to be in degrees"):
        system_of(write(tmp_path, METRES))
    with pytest.raises(SchemaDrift, match="is said to be in degrees"):
        system_of(write(tmp_path, (1, 2, 3, 4), "EPSG:3857"), "EPSG:4326")
    assert "32633" in str(system_of(write(tmp_path, METRES), "EPSG:32633"))


@pytest.mark.parametrize("named", [None, "EPSG:32633"])
def test_degrees_that_are_said_to_be_metres_are_refused(tmp_path: Path, named: str | None) -> None:
    path = write(tmp_path, (14, 46, 15, 47))
    if named is None:
        state(path, 3857, 3857, pyproj.CRS(3857).to_wkt("WKT1_GDAL"))
    with pytest.raises(SchemaDrift, match=r"is said to be in WGS 84 .*seem to be degrees: x 14 to 15, y 46") as fault:
        system_of(path, named)
    assert "--crs EPSG:4326" in fault.value.hint
    assert system_of(path, "EPSG:4326") is None


def test_a_small_country_in_kilometres_is_believed(tmp_path: Path) -> None:
    assert "33" in str(system_of(write(tmp_path, (14, 46, 15, 47)), "+proj=utm +zone=33 +units=km +datum=WGS84"))


def test_a_reference_system_without_a_name_is_one(tmp_path: Path) -> None:
    assert "20" in str(system_of(write(tmp_path, (18, 8, 19, 9), "+proj=aeqd +lat_0=10 +lon_0=20 +datum=WGS84")))


def test_a_shapefile_in_metres_without_a_projection_is_refused_though_its_header_may_lie(tmp_path: Path) -> None:
    made = boundaries.levels({"AAA": 0})
    boundaries.set_cell(made, 0, 0, "geometry", shapely.MultiPolygon([shapely.box(*METRES)]))
    folder = boundaries.write_shapefiles(tmp_path / "country", made)
    (folder / "gadm41_AAA_0.prj").unlink()
    content = bytearray((folder / "gadm41_AAA_0.shp").read_bytes())
    content[36:68] = np.array([0, 0, 8, 8], "<f8").tobytes()
    (folder / "gadm41_AAA_0.shp").write_bytes(content)
    with pytest.raises(SchemaDrift, match="states no reference system"):
        system_of(folder)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4979", "OGC:CRS84"])
def test_wgs_84_in_any_order_of_axes_is_read_as_it_is(tmp_path: Path, crs: str) -> None:
    path = write(tmp_path, (1, 2, 3, 4), crs)
    assert system_of(path) is None
    (row,) = read("sedonadb", slice_of(layers_of(path)[0])).to_pylist()
    assert (row["min_lon"], row["min_lat"], row["max_lon"], row["max_lat"]) == (1, 2, 3, 4)


def test_a_named_reference_system_counts_for_more_than_the_file(tmp_path: Path) -> None:
    assert "British" in str(system_of(write(tmp_path, (1, 2, 3, 4), "EPSG:3857"), "EPSG:27700"))
    assert system_of(write(tmp_path, (1, 2, 3, 4), "EPSG:4258"), "EPSG:4326") is None


@pytest.mark.parametrize("crs", ["EPSG:99999", "nonsense", "", "EPSG:5703", "EPSG:4978"])
def test_a_reference_system_that_is_not_one_of_places_is_wrong_usage(crs: str) -> None:
    with pytest.raises(UsageError, match="reference system"):
        reference.check(crs)
