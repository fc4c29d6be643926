"""Only three formats are read, told by their bytes: no harmless name makes GDAL open another file or address."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import fiona
import pyarrow as pa
import pyogrio
import pytest

from admin_boundaries import export
from ingest import catalog, engines
from ingest.errors import FormatUnknown, IngestError
from ingest.layers import discover, gdal
from ingest.layers.formats import check_format
from ingest.settings import Settings
from tests.fixtures import boundaries
from tests.fixtures import marts as built
from tests.fixtures.publisher import Publisher, serving
from tests.ingest.conftest import layers_of, read, slice_of

VRT = '<OGRVRTDataSource><OGRVRTLayer name="ADM_0"><SrcDataSource>{}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>'
FEATURE = {
    "type": "Feature",
    "properties": {"GID_0": "AAA", "COUNTRY": "CRS"},
    "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
}


@pytest.fixture
def elsewhere() -> Iterator[Publisher]:
    """A server that must never be asked."""
    with serving(b'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]]]') as found:
        yield found


def geojson(path: Path, crs: str) -> Path:
    """Write a GeoJSON whose first member is this piece of text."""
    features = json.dumps([FEATURE])
    path.write_text(f'{{"type": "FeatureCollection", "name": "gadm41_AAA_0", {crs} "features": {features}}}')
    return path


@pytest.mark.parametrize(("write", "driver"), [("gpkg", "GPKG"), ("shp", "ESRI Shapefile"), ("json", "GeoJSON")])
def test_a_file_is_what_its_bytes_say(tmp_path: Path, write: str, driver: str) -> None:
    made = boundaries.levels({"AAA": 0})
    paths = {
        "gpkg": lambda: boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made),
        "shp": lambda: boundaries.write_shapefiles(tmp_path, made) / "gadm41_AAA_0.shp",
        "json": lambda: boundaries.write_geojson(tmp_path, made) / "gadm41_AAA_0.json",
    }
    assert check_format(paths[write]()) == driver


@pytest.mark.parametrize("name", ["gadm.gpkg", "gadm41_AAA_0.shp", "gadm41_AAA_0.json", "gadm41_AAA_0.geojson"])
@pytest.mark.parametrize(
    "content", [VRT.format("/etc/passwd"), "<html>404</html>", "", "GDAL:/vsicurl/http://host/x", "[1, 2]"]
)
def test_a_virtual_file_or_a_web_page_under_a_harmless_name_never_reaches_gdal(
    tmp_path: Path, name: str, content: str, gadm: catalog.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("GDAL was asked")

    monkeypatch.setattr(fiona, "listlayers", never)
    monkeypatch.setattr(fiona, "open", never)
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(FormatUnknown, match="gadm"):
        discover.layers(tmp_path, gadm, gadm.release())


def test_other_formats_in_a_folder_are_not_looked_at(tmp_path: Path, gadm: catalog.Dataset) -> None:
    boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 0}))
    (tmp_path / "evil.vrt").write_text(VRT.format("/etc/passwd"))
    (tmp_path / "evil.kml").write_text("<kml/>")
    assert [layer.path.name for layer in discover.layers(tmp_path, gadm, gadm.release())] == ["gadm.gpkg"]


@pytest.mark.parametrize(
    "key",
    ['"crs"', '"CRS"', '"\\u0063rs"', '"c\\u0072\\u0053"', "'crs'", '"crs" /* so */', '"crs\\u0000x"'],
)
@pytest.mark.parametrize("kind", ["link", "url", "LINK", "l\\u0069nk"])
def test_a_geojson_cannot_make_gdal_fetch_its_reference_system(
    tmp_path: Path, gadm: catalog.Dataset, elsewhere: Publisher, key: str, kind: str
) -> None:
    link = f'{{"type": "{kind}", "properties": {{"href": "{elsewhere.url()}", "url": "{elsewhere.url()}"}}}}'
    path = geojson(tmp_path / "gadm41_AAA_0.json", f"{key}: {link},")
    with pytest.raises(FormatUnknown, match="not followed"):
        discover.layers(path, gadm, gadm.release())
    assert not elsewhere.asked


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_geojson_with_a_virtual_file_in_one_of_its_texts_is_only_a_geojson(
    tmp_path: Path, gadm: catalog.Dataset, engine: str
) -> None:
    other = boundaries.write_levels_gpkg(tmp_path / "another.gpkg", boundaries.levels({"BBB": 0}))
    layer = f"<OGRVRTLayer name='gadm41_AAA_0'><SrcDataSource>{other}</SrcDataSource><SrcLayer>ADM_0</SrcLayer>"
    virtual = f'"note": "<OGRVRTDataSource>{layer}</OGRVRTLayer></OGRVRTDataSource>",'
    path = geojson(tmp_path / "gadm41_AAA_0.json", virtual)
    assert read(engine, slice_of(layers_of(path)[0])).column("gid_0").to_pylist() == ["AAA"]


def test_no_driver_but_three_may_open_a_file() -> None:
    with gdal.only_our_drivers(), fiona.Env() as environment:
        assert set(environment.drivers()) == gdal.DRIVERS
    gdal.restrict_pyogrio()
    assert set(pyogrio.list_drivers()) == gdal.DRIVERS


@pytest.mark.parametrize("key", ["crs", "coordRefSys", "spatialReference", "$ref", "$schema", "links"])
def test_an_address_anywhere_else_in_a_geojson_is_not_followed_either(
    tmp_path: Path, gadm: catalog.Dataset, elsewhere: Publisher, key: str
) -> None:
    url = elsewhere.url("def/crs/EPSG/0/4326")
    for value in (
        url,
        [url],
        {"type": "name", "properties": {"name": url}},
        {"type": "Reference", "href": url, "epoch": 1},
    ):
        path = geojson(
            tmp_path / "gadm41_AAA_0.json", f'"conformsTo": ["[ogc-json-fg-1-0.1:core]"], "{key}": {json.dumps(value)},'
        )
        with contextlib.suppress(IngestError):
            discover.layers(path, gadm, gadm.release())
        assert not elsewhere.asked


@pytest.mark.parametrize(
    "crs",
    [
        "",
        '"crs": null,',
        '"crs": "CRS",',
        '"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},',
        '"crs" :\n{ "type":"name","properties":{"name":"EPSG:4326"} },',
    ],
)
def test_a_geojson_that_names_its_reference_system_is_read(tmp_path: Path, crs: str) -> None:
    (layer,) = layers_of(geojson(tmp_path / "gadm41_AAA_0.json", crs)).values()
    assert (layer.row_count, layer.crs) == (1, None)


ODD = [
    "a?b",
    "a?",
    "a#b",
    "a%20b",
    "a b",
    "a&b=c",
    "ü'\"",
    "$HOME",
    "http:",
    "a!b",
    "a;b",
    "x.zip!",
    "a\nb",
    "a|b",
    " a ",
    "-a",
]
ODD += ["a*b[1]", "東京", "a\\b", "~", os.fsdecode(b"latin\xe9")]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GeoPackage, and one with shapefiles in it."""
    folder, made = tmp_path_factory.mktemp("plain"), boundaries.levels({"AAA": 0})
    boundaries.write_levels_gpkg(folder / "gadm.gpkg", made)
    boundaries.write_shapefiles(folder / "shapes", made)
    return folder


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_a_path_is_only_a_path(tmp_path: Path, plain: Path, name: str) -> None:
    shutil.copytree(plain, tmp_path / name)
    shutil.copy(plain / "gadm.gpkg", tmp_path / f"{name}.gpkg")
    folder = tmp_path / name
    for root, path in (
        (folder / "gadm.gpkg", folder / "gadm.gpkg"),
        (folder / "shapes", folder / "shapes" / "gadm41_AAA_0.shp"),
        (tmp_path / f"{name}.gpkg", tmp_path / f"{name}.gpkg"),
    ):
        layer = layers_of(root)[0]
        assert layer.path == path
        assert len(discover.features(layer)[0]) == 1
        with engines.open_features(slice_of(layer)) as (_, stream):
            assert pa.RecordBatchReader.from_stream(stream).read_all()["GID_0"].to_pylist() == ["AAA"]


def test_an_export_in_the_same_process_lets_no_further_driver_read(settings: Settings, tmp_path: Path) -> None:
    built.write(settings.home)
    gdal.restrict_pyogrio()
    output = tmp_path / "units.gpkg"
    export.export(settings, ["admin_level_1"], (), output, overwrite=False, report=lambda _line: None, warn=print)
    assert "FlatGeobuf" in pyogrio.list_drivers()
    gdal.restrict_pyogrio()
    assert set(pyogrio.list_drivers()) == gdal.DRIVERS
