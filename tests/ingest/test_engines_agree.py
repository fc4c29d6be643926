"""Both engines give the same table, row for row, whatever is wrong with the source."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from ingest import engines
from ingest.errors import UsageError
from tests.fixtures import boundaries, quirks
from tests.fixtures.boundaries import Quirk
from tests.ingest.conftest import layers_of, read, slice_of

RELATIVE = 1e-12  # of a float; everything else is equal to the last byte
RELATIVE_AREA = 1e-10  # the reference projects each vertex to metres, whose rounding a small unit feels


def assert_same_rows(left: pa.Table, right: pa.Table, area_tolerance: float = 1e-15) -> None:
    """Compare two tables row for row and say where they differ."""
    assert left.schema == right.schema
    for name in left.column_names:
        is_area = name.startswith("area_km2")
        tolerance, absolute = (RELATIVE_AREA, area_tolerance) if is_area else (RELATIVE, 1e-15)
        for row, (a, b) in enumerate(zip(left[name].to_pylist(), right[name].to_pylist(), strict=True)):
            is_close = (
                isinstance(a, float)
                and isinstance(b, float)
                and math.isclose(a, b, rel_tol=tolerance, abs_tol=absolute)
            )
            assert a == b or is_close, f"{name} of row {row}: {a!r} and {b!r}"


def assert_engines_agree(
    path: Path, dataset: str = "gadm", release: str | None = None, batch_rows: int = 5, *, is_validated: bool = True
) -> None:
    """Read every layer of a source with both engines and compare."""
    layers = layers_of(path, dataset, release)
    assert layers
    for layer in layers.values():
        source = replace(slice_of(layer, batch_rows=batch_rows, dataset=dataset), is_validated=is_validated)
        reference = read("geopandas", source)
        assert len(reference) == layer.row_count
        assert_same_rows(read("sedonadb", source), reference)


@pytest.mark.parametrize("quirk", quirks.ALL, ids=lambda quirk: quirk.__name__)
def test_both_engines_read_a_geopackage_with_real_faults_alike(tmp_path: Path, quirk: Quirk) -> None:
    made = boundaries.levels({"AAA": 2, "BBB": 1}, quirks=[quirk])
    assert_engines_agree(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made))


@pytest.mark.parametrize(
    "quirk",
    [quirks.bow_tie, quirks.single_polygons, quirks.with_heights, quirks.missing_geometry, quirks.mixed_geometry],
    ids=lambda quirk: quirk.__name__,
)
def test_both_engines_read_alike_what_is_not_validated(tmp_path: Path, quirk: Quirk) -> None:
    made = boundaries.levels({"AAA": 2, "BBB": 1}, quirks=[quirk])
    assert_engines_agree(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made), is_validated=False)


@pytest.mark.parametrize(
    "quirk",
    [quirks.bow_tie, quirks.strange_names, quirks.absent_text, quirks.holes_and_islands],
    ids=lambda quirk: quirk.__name__,
)
@pytest.mark.parametrize(
    "write", [boundaries.write_shapefiles, boundaries.write_geojson], ids=lambda write: write.__name__
)
def test_both_engines_read_the_other_formats_alike(tmp_path: Path, write: object, quirk: Quirk) -> None:
    made = boundaries.levels({"AAA": 2}, parts=3, quirks=[quirk, quirks.single_polygons])
    for level in (1, 2):  # a shapefile holds no other kind than polygons
        made[level] = made[level].set_geometry(made[level].geometry.force_2d())
    assert_engines_agree(write(tmp_path / "country", made))  # type: ignore[operator]


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:27700", "EPSG:2154", "ESRI:54009", "EPSG:4258"])
def test_both_engines_reproject_alike(tmp_path: Path, crs: str) -> None:
    made = boundaries.levels({"AAA": 1})
    assert_engines_agree(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made, crs=crs))


def test_both_engines_reproject_broken_and_missing_geometry_alike(tmp_path: Path) -> None:
    made = boundaries.levels({"AAA": 2}, parts=3, quirks=[quirks.bow_tie, quirks.with_heights])
    boundaries.set_cell(made, 1, 2, "geometry", None)
    boundaries.set_cell(made, 1, 3, "geometry", quirks.BOW_TIE)
    assert_engines_agree(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made, crs="EPSG:3857"))


def test_both_engines_read_release_36_alike(tmp_path: Path) -> None:
    made = boundaries.as_release_36(boundaries.levels({"AAA": 2}))
    assert_engines_agree(boundaries.write_levels_gpkg(tmp_path / "gadm36.gpkg", made, names="level{}"), release="3.6")


def test_both_engines_read_time_zones_alike(tmp_path: Path) -> None:
    boundaries.write_timezones_zip(tmp_path / "zones.shapefile.zip")
    assert_engines_agree(tmp_path / "zones.shapefile", dataset="timezones")


def test_both_engines_read_a_country_of_the_publisher_alike(country_gpkg: Path) -> None:
    assert_engines_agree(country_gpkg, batch_rows=64)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_slice_holds_the_features_of_its_range_and_no_other(tmp_path: Path, engine: str) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 2}))
    rows = read(engine, slice_of(layers_of(path)[2], where='"fid" between 3 and 7'))
    assert rows["source_fid"].to_pylist() == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_an_engine_gives_the_schema_of_the_raw_table(tmp_path: Path, engine: str) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))
    layer = layers_of(path)[1]
    wanted = engines.schema(tuple(column.name for column in layer.table.columns))
    assert read(engine, slice_of(layer)).schema == wanted


def test_an_engine_that_is_not_known_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(UsageError, match="Did you mean 'sedonadb'"):
        engines.get("sedona")
