"""Layers are found in every shape of source, matched to their level, and refused when they lack what is needed."""

from __future__ import annotations

import json
import sqlite3
import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.dataset as ds
import pyogrio
import pytest
import shapely

from ingest import catalog, engines
from ingest.errors import FormatUnknown, IngestError, LayerMissing, SchemaDrift
from ingest.layers import discover
from tests.fixtures import boundaries, quirks
from tests.ingest.conftest import Pipeline, layers_of, read, slice_of

TWO_LEVELS = {"AAA": 2}


def test_the_levels_of_the_world_geopackage_are_told_by_the_names_of_its_layers(tmp_path: Path) -> None:
    found = layers_of(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg"))
    assert {level: layer.name for level, layer in found.items()} == {level: f"ADM_{level}" for level in range(5)}
    assert {layer.driver for layer in found.values()} == {"GPKG"}
    assert [found[level].row_count for level in range(5)] == [3, 8, 32, 64, 256]
    assert found[2].table.name == "gadm_adm_2"


def test_the_levels_of_a_country_are_found_in_every_format(tmp_path: Path) -> None:
    made = boundaries.levels(TWO_LEVELS)
    gpkg = boundaries.write_country_gpkg(tmp_path / "gadm41_AAA.gpkg", made)
    boundaries.write_shapefile_zip(tmp_path / "gadm41_AAA_shp.zip", made)
    shapefiles, geojson = tmp_path / "gadm41_AAA_shp", boundaries.write_geojson(tmp_path / "json", made)
    for path in (gpkg, shapefiles, geojson, geojson / "gadm41_AAA_1.json"):
        found = layers_of(path)
        assert {level: layer.row_count for level, layer in found.items()}.items() <= {0: 1, 1: 4, 2: 16}.items()
        assert len(found) == (1 if path.suffix == ".json" else 3)


def test_the_layers_of_release_36_are_found(tmp_path: Path) -> None:
    made = boundaries.as_release_36(boundaries.levels(TWO_LEVELS))
    found = layers_of(boundaries.write_levels_gpkg(tmp_path / "gadm36.gpkg", made, names="level{}"), release="3.6")
    assert set(found) == {0, 1, 2}
    assert ("country", "NAME_0") in found[1].columns


def test_time_zones_are_one_layer_without_a_level(tmp_path: Path) -> None:
    boundaries.write_timezones_zip(tmp_path / "zones.shapefile.zip")
    (layer,) = layers_of(tmp_path / "zones.shapefile", "timezones").values()
    assert (layer.table.name, layer.table.level, layer.columns) == ("timezones", None, (("tzid", "tzid"),))


def test_layers_of_other_names_are_passed_over(tmp_path: Path) -> None:
    made = boundaries.levels({"AAA": 0})
    layers = {"ADM_0": made[0], "rivers": made[0], "ADM_9": made[0], "xADM_1": made[0]}
    assert list(layers_of(boundaries.write_layers(tmp_path / "gadm.gpkg", layers))) == [0]


def test_a_missing_column_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    made = boundaries.levels(TWO_LEVELS)
    made[1] = made[1].rename(columns={"GID_1": "GID1"})
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made)
    with pytest.raises(SchemaDrift, match=r"ADM_1 in gadm\.gpkg has no column GID_1\. Did you mean 'GID1'"):
        layers_of(path)


def test_a_column_that_need_not_be_there_is_not_missed(tmp_path: Path) -> None:
    made = boundaries.levels(TWO_LEVELS, quirks=[quirks.without_column("VARNAME_2")])
    assert ("varname_2", None) in layers_of(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made))[2].columns


def test_columns_are_matched_in_any_letter_case(tmp_path: Path) -> None:
    made = boundaries.levels(TWO_LEVELS, quirks=[quirks.lower_case_columns])
    assert ("gid_1", "gid_1") in layers_of(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made))[1].columns


@pytest.mark.parametrize(
    "shape", [shapely.Point(1, 2), shapely.LineString([(0, 0), (1, 1)])], ids=lambda shape: shape.geom_type
)
def test_a_layer_of_points_or_lines_is_refused(tmp_path: Path, shape: shapely.Point | shapely.LineString) -> None:
    frame = gpd.GeoDataFrame({"GID_0": ["AAA"], "COUNTRY": ["A"]}, geometry=[shape], crs="EPSG:4326")
    path = boundaries.write_layers(tmp_path / "gadm.gpkg", {"ADM_0": frame})
    with pytest.raises(SchemaDrift, match=f"holds {shape.geom_type}, not polygons"):
        layers_of(path)


def test_a_layer_without_any_geometry_is_refused(tmp_path: Path) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 0}))
    with sqlite3.connect(path) as connection:
        connection.execute("create table ADM_1 (fid integer primary key, GID_0, COUNTRY, GID_1, NAME_1)")
        contents = (
            "insert into gpkg_contents (table_name, data_type, identifier) values ('ADM_1', 'attributes', 'ADM_1')"
        )
        connection.execute(contents)
    with pytest.raises(SchemaDrift, match="ADM_1"):
        layers_of(path)


@pytest.mark.parametrize("crs", ["EPSG:4326", "OGC:CRS84", None])
def test_degrees_on_wgs84_need_no_transformation(tmp_path: Path, crs: str | None) -> None:
    frame = boundaries.levels({"AAA": 0})[0].set_crs(crs, allow_override=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that nothing says which reference system it is
        path = boundaries.write_layers(tmp_path / "gadm.gpkg", {"ADM_0": frame})
    assert layers_of(path)[0].crs is None


def test_the_reference_system_of_a_shapefile_of_the_publisher_is_recognised(tmp_path: Path) -> None:
    folder = boundaries.write_shapefiles(tmp_path / "country", boundaries.levels({"AAA": 0}))
    assert "GCS_WGS_1984" in (folder / "gadm41_AAA_0.prj").read_text()
    assert layers_of(folder)[0].crs is None


def test_any_other_reference_system_is_kept_for_the_engine(tmp_path: Path) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 0}), crs="EPSG:3857")
    assert "3857" in (layers_of(path)[0].crs or "")


def chosen(
    tmp_path: Path, gadm: catalog.Dataset, present: set[int], wanted: tuple[int, ...] | None
) -> list[int | None]:
    """Return the levels that are selected from a file with these levels."""
    made = {level: frame for level, frame in boundaries.levels({"AAA": 4}).items() if level in present}
    found = layers_of(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made))
    return [layer.table.level for layer in discover.select(list(found.values()), gadm, wanted, "gadm.gpkg")]


def test_all_levels_that_are_there_are_taken_unless_some_are_asked_for(tmp_path: Path, gadm: catalog.Dataset) -> None:
    assert chosen(tmp_path, gadm, {0, 1, 2}, None) == [0, 1, 2]
    assert chosen(tmp_path, gadm, {0, 1, 2}, (0, 2)) == [0, 2]


def test_a_single_level_is_no_hole(tmp_path: Path, gadm: catalog.Dataset) -> None:
    assert chosen(tmp_path, gadm, {2}, None) == [2]


def test_a_hole_in_the_levels_is_refused(tmp_path: Path, gadm: catalog.Dataset) -> None:
    with pytest.raises(LayerMissing, match=r"gadm\.gpkg has no level 1, 2; there are 0, 3\."):
        chosen(tmp_path, gadm, {0, 3}, None)


def test_a_level_that_is_asked_for_and_not_there_is_refused(tmp_path: Path, gadm: catalog.Dataset) -> None:
    with pytest.raises(LayerMissing, match="has no level 4; there are 0, 1"):
        chosen(tmp_path, gadm, {0, 1}, (0, 4))


def test_a_file_with_no_layer_of_the_dataset_is_refused(gadm: catalog.Dataset) -> None:
    with pytest.raises(LayerMissing, match=r"x\.gpkg has no layer of gadm"):
        discover.select([], gadm, None, "x.gpkg")


def test_a_folder_with_nothing_to_read_is_refused(tmp_path: Path, gadm: catalog.Dataset) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(FormatUnknown, match="contains no GeoPackage"):
        discover.layers(tmp_path, gadm, gadm.release())


def test_features_of_a_geopackage_weigh_what_their_geometry_takes(tmp_path: Path) -> None:
    made = boundaries.levels({"AAA": 1})
    boundaries.set_cell(made, 1, 1, "geometry", None)
    boundaries.set_cell(made, 1, 2, "geometry", shapely.segmentize(made[1].geometry[2], 0.01))
    fids, sizes = discover.features(layers_of(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made))[1])
    blobs = [
        0 if shape is None else 40 + len(shapely.to_wkb(shape)) for shape in made[1].geometry
    ]  # 40: GeoPackage's header
    assert (fids.tolist(), sizes.tolist()) == ([1, 2, 3, 4], blobs)


def test_features_of_a_shapefile_weigh_what_its_index_says(tmp_path: Path) -> None:
    made = boundaries.levels({"AAA": 1})
    boundaries.set_cell(made, 1, 2, "geometry", shapely.segmentize(made[1].geometry[2], 0.01))
    layer = layers_of(boundaries.write_shapefiles(tmp_path / "country", made))[1]
    fids, sizes = discover.features(layer)
    vertices = shapely.get_num_coordinates(made[1].geometry.to_numpy())
    assert fids.tolist() == [0, 1, 2, 3]
    assert sizes.tolist() == (44 + 4 + 16 * vertices).tolist()  # box and counts, one part, points


@pytest.mark.parametrize("kind", ["geopackage", "shapefile", "flatgeobuf", "geojson", "lines"])
@pytest.mark.parametrize("shape", ["many small parts", "one long ring"])
def test_no_feature_weighs_more_than_its_batch_is_made_for(tmp_path: Path, kind: str, shape: str) -> None:
    triangle = shapely.Polygon([(0, 0), (0, 1), (1, 0)])
    heavy = shapely.MultiPolygon([triangle] * 500)
    if shape == "one long ring":
        heavy = shapely.MultiPolygon([shapely.segmentize(shapely.box(0, 0, 8, 8), 0.01)])
    made = boundaries.levels({"AAA": 0})
    boundaries.set_cell(made, 0, 0, "geometry", heavy)
    if kind == "geopackage":
        path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made)
    elif kind == "shapefile":
        path = boundaries.write_shapefiles(tmp_path / "country", made)
    elif kind == "flatgeobuf":
        path = tmp_path / "gadm41_AAA_0.fgb"
        pyogrio.write_dataframe(made[0], path, driver="FlatGeobuf")
    else:  # no blank and no digit more than it takes
        properties = made[0].drop(columns="geometry").iloc[0].to_dict()
        short = json.loads(shapely.to_geojson(heavy), parse_float=lambda text: json.loads(text.removesuffix(".0")))
        feature = {"type": "Feature", "properties": properties, "geometry": short}
        path = tmp_path / f"gadm41_AAA_0.{'json' if kind == 'geojson' else 'geojsonl'}"
        text = json.dumps(feature, separators=(",", ":"))
        whole = f'{{"type":"FeatureCollection","features":[{text}]}}'
        path.write_text(whole if kind == "geojson" else f"{text}\n{text}\n")
    (layer,) = layers_of(path).values()
    _, sizes = discover.features(layer)
    assert discover.most_bytes(layer, int(sizes.max())) >= len(shapely.to_wkb(heavy))


def test_features_of_a_geojson_share_its_size(tmp_path: Path) -> None:
    layer = layers_of(boundaries.write_geojson(tmp_path / "json", boundaries.levels({"AAA": 1})))[1]
    fids, sizes = discover.features(layer)
    assert np.array_equal(sizes, np.full(4, layer.path.stat().st_size // 4))
    assert len(fids) == 4


@pytest.mark.parametrize("stated", [0, 2, 9, None])
def test_what_a_geopackage_states_as_its_count_is_a_hint(tmp_path: Path, stated: int | None) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))
    with sqlite3.connect(path) as connection:
        connection.execute("update gpkg_ogr_contents set feature_count = ? where table_name = 'ADM_1'", (stated,))
    layer = layers_of(path)[1]
    fids, _ = discover.features(layer)
    assert fids.tolist() == [1, 2, 3, 4]
    for engine in engines.ENGINES:
        assert read(engine, slice_of(layer, where=layer.where(1, 4))).num_rows == 4


@pytest.mark.parametrize("kept", [100, 4096, 20_000, 60_000])
def test_a_truncated_geopackage_is_a_fault_of_its_own_kind(tmp_path: Path, kept: int) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 3}))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(IngestError, match=r"gadm\.gpkg"):
        [discover.features(layer) for layer in layers_of(path).values()]


def test_slices_of_sparse_feature_ids_hold_every_row_once(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))
    with sqlite3.connect(path) as connection:
        for (name,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            connection.execute(f'drop trigger "{name}"')
        for old, new in ((1, -5), (2, 10**12), (3, 2**62), (4, 2**63 - 1)):
            connection.execute("update ADM_1 set fid = ? where fid = ?", (new, old))
    monkeypatch.setattr("ingest.layers.plan.slice_bytes", lambda _total: 1)
    for engine in engines.ENGINES:
        run_id = pipeline.run(path, engine=engine)
        assert pipeline.state(run_id) == ("published", None)
        assert len(pipeline.ledger.slices(run_id)) == 5
        rows = ds.dataset(pipeline.lake / "gadm" / "current" / "gadm_adm_1").to_table()
        assert sorted(rows["source_fid"].to_pylist()) == [-5, 10**12, 2**62, 2**63 - 1]
