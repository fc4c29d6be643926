"""What odd files say is what the marts hold, on both targets: one load of all of them, a build, and every row.

The embedded target reads them with SedonaDB, PostgreSQL with GeoPandas, so both engines and both targets are compared.
"""

from __future__ import annotations

import sqlite3
import struct
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely

from admin_boundaries.warehouse import Warehouse as Marts
from admin_boundaries.warehouse import open_warehouse
from ingest import settings
from tests.fixtures import boundaries
from tests.integration import marts
from tests.integration.conftest import BUILD, NewWarehouse, Warehouse

pytestmark = [pytest.mark.servers, pytest.mark.slow]

Coordinates = list[tuple[float, float]]
Unit = tuple[str, str, shapely.Geometry]

PACIFIC = "EPSG:3832"
UNCLOSED: Coordinates = [(0, 0), (1, 0), (1, 1), (0, 1)]
CURVE = struct.pack("<BIIBIIBII", 1, 12, 1, 1, 10, 1, 1, 8, 5) + struct.pack("<10d", 2, 0, 3, 1, 4, 0, 3, -1, 2, 0)
NAMES = {  # the name as published, and as somebody types it
    "Nord\u2011Mark": "nord-mark",
    "Nord\u2010Berg": "nord berg",
    "Saint\u00a0Aubin": "saint aubin",
    "Rlm\u200f": "rlm",
    "Thin\u2009": "thin",
    unicodedata.normalize("NFD", "Évörd"): "evord",
    unicodedata.normalize("NFD", "Đặng Hạ"): "dang ha",
    "Murang`a": "murang'a",
    "КИЇВСЬКА": "київська",
    "Łódź": "lodz",
}


def frame(level: int, units: list[Unit], crs: str = boundaries.WGS84) -> gpd.GeoDataFrame:
    """Make a layer of units: key, name, geometry. The country is the first part of the key."""
    rows = [
        {"GID_0": key.partition(".")[0], "COUNTRY": name if level == 0 else key.partition(".")[0], "geometry": shape}
        | ({"GID_1": key, "NAME_1": name} if level else {})
        for key, name, shape in units
    ]
    return gpd.GeoDataFrame(rows, geometry="geometry", crs=crs)


def strips(count: int, lon: float, lat: float) -> list[shapely.Geometry]:
    """Make squares side by side, one degree each."""
    return [shapely.box(lon + number, lat, lon + number + 1, lat + 1) for number in range(count)]


def a_country_per_layer(folder: Path) -> Path:
    """Write two countries into one GeoPackage, each with layers of its own whose feature ids begin with 1."""
    layers = {}
    for number, code in enumerate(("QAA", "QAB")):
        parts = strips(2, 10 * number, 20)
        layers[f"gadm41_{code}_0"] = frame(0, [(code, f"Land {code}", shapely.union_all(parts))])
        layers[f"gadm41_{code}_1"] = frame(1, [(f"{code}.{n}_1", f"Part {n}", part) for n, part in enumerate(parts, 1)])
    return boundaries.write_layers(folder / "layers.gpkg", layers)


def over_the_date_line(folder: Path) -> list[Path]:
    """Write a country with longitudes beyond 180, and one that crosses the date line in a projection."""
    west, east = shapely.box(177, -18, 180, -17), shapely.box(180, -18, 182, -17)
    whole = frame(0, [("QFJ", "Beyond", shapely.union_all([west, east]))])
    parts = frame(1, [("QFJ.1_1", "West", west), ("QFJ.2_1", "East", east)])
    to_pacific = pyproj.Transformer.from_crs(boundaries.WGS84, PACIFIC, always_xy=True)
    box = shapely.segmentize(shapely.box(179, -26, 181, -25), 0.25)
    projected = shapely.transform(box, lambda each: np.column_stack(to_pacific.transform(each[:, 0], each[:, 1])))
    return [
        boundaries.write_layers(folder / "beyond.gpkg", {"ADM_0": whole, "ADM_1": parts}),
        boundaries.write_layers(folder / "pacific.gpkg", {"ADM_0": frame(0, [("QPA", "Pacific", projected)], PACIFIC)}),
    ]


def bad_geometry_among_good(folder: Path) -> Path:
    """Write a country with a ring that is not closed, a curve, a vertex that is not a number, and a good unit."""
    shapes = strips(4, 0, 0)
    layer = frame(1, [(f"QCC.{number}_1", f"Unit {number}", shape) for number, shape in enumerate(shapes, 1)])
    whole = frame(0, [("QCC", "Curveland", shapely.box(0, -1, 8, 2))])
    path = boundaries.write_layers(folder / "bad.gpkg", {"ADM_0": whole, "ADM_1": layer})
    replace_geometry(
        path, "ADM_1", {1: polygon(UNCLOSED), 2: CURVE, 3: polygon([(4, 0), (5, 0), (5, float("nan")), (4, 0)])}
    )
    return path


def polygon(ring: Coordinates) -> bytes:
    """Return the WKB of a polygon as it is, closed or not."""
    return struct.pack("<BIII", 1, 3, 1, len(ring)) + b"".join(struct.pack("<2d", *vertex) for vertex in ring)


def replace_geometry(path: Path, layer: str, wkb: Mapping[int, bytes]) -> None:
    """Put other bytes in the place of geometries of a GeoPackage."""
    with closing(sqlite3.connect(path)) as connection:
        for (name,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            connection.execute(f'drop trigger "{name}"')
        for fid, shape in wkb.items():
            header = b"GP\x00\x01" + struct.pack("<i", 4326)
            connection.execute(f'update "{layer}" set geom = ? where fid = ?', (header + shape, fid))
        connection.commit()


def odd_names(folder: Path) -> Path:
    """Write a country whose units have the names of `NAMES`."""
    shapes = strips(len(NAMES), -60, 0)
    units = [(f"QNN.{n}_1", name, shape) for n, (name, shape) in enumerate(zip(NAMES, shapes, strict=True), 1)]
    layers = {"ADM_0": frame(0, [("QNN", "Nameland", shapely.union_all(shapes))]), "ADM_1": frame(1, units)}
    return boundaries.write_layers(folder / "names.gpkg", layers)


@pytest.fixture(scope="module")
def both(new_warehouse: NewWarehouse, tmp_path_factory: pytest.TempPathFactory) -> tuple[Warehouse, Warehouse]:
    """All of the files, one of them given twice, loaded and built on both targets."""
    folder = tmp_path_factory.mktemp("odd")
    layers = a_country_per_layer(folder)
    zones = boundaries.write_timezones_zip(folder / "zones.zip")
    files = [layers, *over_the_date_line(folder), bad_geometry_among_good(folder), odd_names(folder), layers]
    on_postgres, embedded = new_warehouse(), new_warehouse()
    embedded.env["WAREHOUSE_TARGET"] = "embedded"
    for warehouse, engine in ((embedded, "sedonadb"), (on_postgres, "geopandas")):
        boundaries_twice = [f"--source=gadm={file}" for file in files]
        zones_twice = [f"--source=timezones={zones}"] * 2
        warehouse.ingest("gadm", "timezones", *boundaries_twice, *zones_twice, "--engine", engine)
        warehouse.dbt(*BUILD)
    return on_postgres, embedded


@pytest.fixture(scope="module")
def asked(both: tuple[Warehouse, Warehouse]) -> Iterator[tuple[Marts, Marts]]:
    """The marts of both targets."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(open_warehouse(settings.read_settings(each.env))) for each in both)
        yield first, second


@pytest.fixture(scope="module")
def units(both: tuple[Warehouse, Warehouse]) -> dict[str, marts.Row]:
    """The rows of levels 0 and 1 on PostgreSQL, by key."""
    return {row["gid"]: row for level in (0, 1) for row in marts.rows(both[0], f"admin_level_{level}")}


@pytest.mark.parametrize("table", marts.TABLES)
def test_both_engines_and_both_targets_give_the_same_rows(table: str, both: tuple[Warehouse, Warehouse]) -> None:
    marts.assert_same(*both, table)


def test_every_row_is_a_unit_or_set_aside(both: tuple[Warehouse, Warehouse], units: dict[str, marts.Row]) -> None:
    countries = {"QAA": 2, "QAB": 2, "QFJ": 2, "QPA": 0, "QCC": 4, "QNN": len(NAMES)}
    assert set(units) == {*countries} | {
        f"{code}.{n}_1" for code, count in countries.items() for n in range(1, count + 1)
    }
    aside = [row for row in marts.rows(both[0], "admin_anomalies") if row["anomaly_type"] == "duplicate_key"]
    assert {(row["gid"], row["file_no"]) for row in aside} == {
        (key, 5) for key in ("QAA", "QAA.1_1", "QAA.2_1", "QAB", "QAB.1_1", "QAB.2_1")
    }


def test_a_zone_that_is_there_twice_counts_once(both: tuple[Warehouse, Warehouse]) -> None:
    zones = {row["tzid"] for row in marts.rows(both[0], "timezones")}
    aside = marts.rows(both[0], "timezones_set_aside")
    assert len(zones) == 3
    assert {(row["tzid"], row["file_no"], row["kept_file_no"]) for row in aside} == {(zone, 1, 0) for zone in zones}


def test_what_crosses_the_date_line_is_cut_there(units: dict[str, marts.Row], asked: tuple[Marts, Marts]) -> None:
    assert units["QFJ.1_1"]["area_km2"] == pytest.approx(35_260, abs=1)
    assert units["QFJ.2_1"]["area_km2"] == pytest.approx(23_507, abs=1)
    beyond = units["QFJ"]
    assert (beyond["min_lon"], beyond["max_lon"]) == (-180, 180)
    assert (beyond["west_lon"], beyond["east_lon"]) == pytest.approx((177, -178))
    pacific = units["QPA"]
    assert pacific["area_km2"] == pytest.approx(ellipsoidal_area(179, -26, 2, 1), rel=1e-4)
    assert (pacific["west_lon"], pacific["east_lon"]) == pytest.approx((179, -179))
    assert abs(pacific["point_lon"]) > 178
    for each in asked:
        assert "QFJ.2_1" in each.locate(-178.5, -17.5)
        assert "QPA" in each.locate(179.5, -25.5)
        assert "QPA" in each.locate(-179.5, -25.5)


def ellipsoidal_area(lon: float, lat: float, width: float, height: float) -> float:
    """Return the area of a box on the ellipsoid, in km²."""
    box = shapely.segmentize(shapely.box(lon, lat, lon + width, lat + height), 0.01)
    return abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(box)[0]) / 1e6


def test_one_bad_geometry_leaves_its_neighbours_alone(
    both: tuple[Warehouse, Warehouse], units: dict[str, marts.Row]
) -> None:
    one = units["QCC.4_1"]["area_km2"]
    assert units["QCC.1_1"]["area_km2"] == pytest.approx(one, rel=1e-6)  # closed
    assert units["QCC.2_1"]["area_km2"] == pytest.approx(3.1416 * one, rel=2e-3)  # a circle of radius 1°
    said = {
        row["gid"]: row["detail"]
        for row in marts.rows(both[0], "admin_anomalies")
        if row["anomaly_type"] in ("invalid_geometry", "missing_geometry")
    }
    assert set(said) >= {"QCC.1_1", "QCC.3_1"}
    assert set(said) <= {"QCC.1_1", "QCC.2_1", "QCC.3_1"}


def test_a_name_is_found_as_people_type_it_and_kept_as_it_was_published(
    units: dict[str, marts.Row], asked: tuple[Marts, Marts]
) -> None:
    for number, (published, typed) in enumerate(NAMES.items(), 1):
        assert units[f"QNN.{number}_1"]["name"] == published.strip().strip("\u200f\u2009")
        for each in asked:
            assert [found.gid for found in each.find(typed, 5)] == [f"QNN.{number}_1"], typed
