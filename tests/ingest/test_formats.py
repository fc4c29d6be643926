"""Only a few formats are read, told by their bytes: no harmless name makes GDAL open another file or address."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiona
import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from admin_boundaries import export
from ingest import catalog, engines
from ingest.errors import FormatUnknown, IngestError, SchemaDrift
from ingest.layers import discover, flatgeobuf, gdal
from ingest.layers.formats import check_format
from ingest.settings import Settings
from ingest.sources import parts
from tests.fixtures import boundaries
from tests.fixtures import marts as built
from tests.fixtures.publisher import Publisher, serving
from tests.ingest.conftest import Pipeline, layers_of, read, slice_of

KINDS = [
    ("gpkg", "GPKG"),
    ("shp", "ESRI Shapefile"),
    ("json", "GeoJSON"),
    ("fgb", "FlatGeobuf"),
    ("geojsonl", "GeoJSONSeq"),
    ("parquet", "Parquet"),
]
SUFFIXES = ["shp", "json", "geojson", "fgb", "geojsonl", "geojsons", "ndjson"]
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


def sequence(path: Path, *features: object, before: str = "") -> Path:
    """Write features one to a line."""
    path.write_text("".join(f"{before}{each if isinstance(each, str) else json.dumps(each)}\n" for each in features))
    return path


def flatgeobuf_of(folder: Path, frame: gpd.GeoDataFrame, **options: str) -> Path:
    """Write a level of country AAA as FlatGeobuf."""
    path = folder / f"gadm41_AAA_{sum(name.startswith('GID_') for name in frame) - 1}.fgb"
    pyogrio.write_dataframe(frame, path, driver="FlatGeobuf", **options)
    return path


def parquet_of(folder: Path, frame: gpd.GeoDataFrame, **options: Any) -> Path:
    """Write a level of country AAA as GeoParquet."""
    path = folder / f"gadm41_AAA_{sum(name.startswith('GID_') for name in frame) - 1}.parquet"
    frame.to_parquet(path, **options)
    return path


@pytest.mark.parametrize(("write", "driver"), KINDS)
def test_a_file_is_what_its_bytes_say(tmp_path: Path, write: str, driver: str) -> None:
    made = boundaries.levels({"AAA": 0})
    paths = {
        "gpkg": lambda: boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made),
        "shp": lambda: boundaries.write_shapefiles(tmp_path, made) / "gadm41_AAA_0.shp",
        "json": lambda: boundaries.write_geojson(tmp_path, made) / "gadm41_AAA_0.json",
        "fgb": lambda: flatgeobuf_of(tmp_path, made[0]),
        "geojsonl": lambda: sequence(tmp_path / "gadm41_AAA_0.geojsonl", FEATURE, FEATURE),
        "parquet": lambda: parquet_of(tmp_path, made[0]),
    }
    assert check_format(paths[write]()) == driver


@pytest.mark.parametrize(
    "name", ["gadm.gpkg", *(f"gadm41_AAA_0.{suffix}" for suffix in ("shp", "json", "geojson", "fgb", "parquet"))]
)
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


def test_no_driver_but_ours_may_open_a_file() -> None:
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
    """A folder with a GeoPackage, a GeoParquet, and one with shapefiles in it."""
    folder, made = tmp_path_factory.mktemp("plain"), boundaries.levels({"AAA": 0})
    boundaries.write_levels_gpkg(folder / "gadm.gpkg", made)
    boundaries.write_shapefiles(folder / "shapes", made)
    parquet_of(folder, made[0])
    return folder


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_a_path_is_only_a_path(tmp_path: Path, plain: Path, name: str) -> None:
    shutil.copytree(plain, tmp_path / name)
    shutil.copy(plain / "gadm.gpkg", tmp_path / f"{name}.gpkg")
    folder = tmp_path / name
    for root, path in (
        (folder / "gadm.gpkg", folder / "gadm.gpkg"),
        (folder / "shapes", folder / "shapes" / "gadm41_AAA_0.shp"),
        (folder / "gadm41_AAA_0.parquet", folder / "gadm41_AAA_0.parquet"),
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
    wanted, said = export.Wanted(["admin_level_1"]), list[str]()
    say = said.append
    export.export(
        *(settings, wanted, output), overwrite=False, of_datasets={}, report=say, warn=say, warn_of_licences=say
    )
    assert "FlatGeobuf" in pyogrio.list_drivers()
    gdal.restrict_pyogrio()
    assert set(pyogrio.list_drivers()) == gdal.DRIVERS


@pytest.mark.parametrize("has_index", ["YES", "NO"])
@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_flatgeobuf_gives_the_same_rows_as_a_geopackage(tmp_path: Path, engine: str, has_index: str) -> None:
    made = boundaries.levels({"AAA": 1}, parts=5)
    gpkg = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made)
    path = flatgeobuf_of(tmp_path, made[1], SPATIAL_INDEX=has_index)
    (layer,) = layers_of(path).values()
    assert (layer.row_count, layer.is_divisible, len(discover.features(layer)[0])) == (25, False, 25)
    assert discover.features(layer)[1].min() > 16 * 5
    columns = [column.name for column in layer.table.columns] + ["geom", "area_km2", "is_valid"]
    rows = [read(engine, slice_of(each)).select(columns).sort_by("gid_1") for each in (layer, layers_of(gpkg)[1])]
    assert rows[0].equals(rows[1])


def with_reference_system(path: Path, authority: str, code: str) -> None:
    """Have a FlatGeobuf name its reference system by these, in a table that takes the place of the system's text."""
    content = bytearray(path.read_bytes())
    (size,) = struct.unpack_from("<I", content, 8)
    body = bytes(content[12 : 12 + size])
    header = flatgeobuf._Table(body, struct.unpack_from("<I", body)[0])
    system = header.table(flatgeobuf.CRS)
    assert system is not None
    room, pointer = 12 + system._target(4), 12 + header._at(flatgeobuf.CRS)
    table, texts = room + 16, room + 28
    struct.pack_into("<8H", content, room, 16, 12, 4, 0, 0, 0, 0, 8)
    struct.pack_into("<i", content, table, 16)
    for number, text in enumerate((authority.encode(), code.encode())):
        struct.pack_into("<I", content, table + 4 + 4 * number, texts - (table + 4 + 4 * number))
        struct.pack_into(f"<I{len(text) + 1}s", content, texts, len(text), text)
        texts += 4 + (len(text) // 4 + 1) * 4
    struct.pack_into("<I", content, pointer, table - pointer)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("authority", "code"), [("http", "{}"), ("http:{}", "1"), ("OGC", "{}"), ("/etc/passwd", "1"), ("WKT", '["x"]')]
)
def test_a_flatgeobuf_cannot_make_gdal_fetch_its_reference_system(
    tmp_path: Path, gadm: catalog.Dataset, elsewhere: Publisher, authority: str, code: str
) -> None:
    made = boundaries.levels({"AAA": 0})[0]
    with_reference_system(path := flatgeobuf_of(tmp_path, made), "OGC", "CRS84")
    assert [layer.crs for layer in discover.layers(path, gadm, gadm.release())] == [None]
    flatgeobuf_of(tmp_path, made)
    address = elsewhere.url("crs").partition(":")[2]
    with_reference_system(path, authority.format(address), code.format(address))
    with pytest.raises(FormatUnknown, match=r"gadm41_AAA_0\.fgb links to its reference system"):
        discover.layers(path, gadm, gadm.release())
    assert not elsewhere.asked


def test_a_flatgeobuf_with_a_name_that_is_not_text_never_reaches_gdal(
    tmp_path: Path, gadm: catalog.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = flatgeobuf_of(tmp_path, boundaries.levels({"AAA": 0})[0])
    monkeypatch.setattr(fiona, "listlayers", lambda _path: pytest.fail("fiona crashes on it"))
    for text in (b"COUNTRY\0", b"gadm41_AAA_0\0"):
        content = path.read_bytes()
        assert text in content
        (tmp_path / "other.fgb").write_bytes(content.replace(text, text[:-2] + b"\xff\0"))
        with pytest.raises(FormatUnknown, match=r"other\.fgb is damaged or cut off"):
            discover.layers(tmp_path / "other.fgb", gadm, gadm.release())


@pytest.mark.parametrize("has_index", ["YES", "NO"])
def test_a_flatgeobuf_that_is_cut_off_is_never_read_in_part(
    tmp_path: Path, gadm: catalog.Dataset, has_index: str
) -> None:
    path = flatgeobuf_of(tmp_path, boundaries.levels({"AAA": 1}, parts=3)[1], SPATIAL_INDEX=has_index)
    content = path.read_bytes()
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(FormatUnknown):
            [discover.features(layer) for layer in discover.layers(path, gadm, gadm.release())]
    path.write_bytes(content + b"\0\0\0\0")
    with pytest.raises(FormatUnknown, match="damaged or cut off"):
        flatgeobuf.features(path)


@pytest.mark.parametrize("suffix", ["geojsonl", "geojsons", "ndjson"])
@pytest.mark.parametrize("before", ["", "\x1e"])
@pytest.mark.parametrize("engine", engines.ENGINES)
@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_feature_in_each_line_gives_the_same_rows_as_a_collection(
    tmp_path: Path, engine: str, suffix: str, before: str, count: int
) -> None:
    features = [{**FEATURE, "properties": {"GID_0": f"A{number:02}", "COUNTRY": "é"}} for number in range(count)]
    ring = [[number / 5000, 1 - number / 5000] for number in range(5000)]
    features[0]["geometry"] = {"type": "Polygon", "coordinates": [[[0, 0], *ring, [0, 0]]]}
    path = sequence(tmp_path / f"gadm41_AAA_0.{suffix}", *features, before=before)
    (tmp_path / "json").mkdir()
    whole = tmp_path / "json" / "gadm41_AAA_0.json"
    whole.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = [layers_of(each)[0] for each in (path, whole)]
    assert [len(discover.features(layer)[0]) for layer in found] == [count, count]
    assert not found[0].is_divisible
    rows = [read(engine, slice_of(layer)).drop_columns(["source_file"]).sort_by("gid_0") for layer in found]
    assert rows[0].equals(rows[1])


@pytest.mark.parametrize("suffix", ["json", "geojson"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_a_feature_in_each_line_is_known_by_its_lines_and_not_by_a_name(tmp_path: Path, suffix: str, end: str) -> None:
    path = tmp_path / f"gadm41_AAA_0.{suffix}"
    path.write_bytes(end.join([json.dumps(FEATURE)] * 3).encode())
    layer = layers_of(path)[0]
    assert (layer.driver, len(discover.features(layer)[0])) == ("GeoJSONSeq", 3)
    path.write_text(json.dumps(FEATURE) + "\n")
    assert layers_of(path)[0].driver == "GeoJSON"


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(FEATURE)[:-9],
        json.dumps(FEATURE, indent=1),
        json.dumps({"type": "FeatureCollection", "features": [FEATURE, FEATURE]}),
        "nothing",
    ],
)
def test_a_line_that_is_not_a_feature_is_told_and_not_left_out(
    tmp_path: Path, gadm: catalog.Dataset, line: str
) -> None:
    path = sequence(tmp_path / "gadm41_AAA_0.geojsonl", FEATURE, FEATURE, line, FEATURE)
    with pytest.raises(FormatUnknown, match=r"gadm41_AAA_0\.geojsonl (has \d+ records, of which \d can be|cannot be) "):
        [discover.features(layer) for layer in discover.layers(path, gadm, gadm.release())]


def test_a_sequence_cannot_make_gdal_fetch_its_reference_system(
    tmp_path: Path, gadm: catalog.Dataset, elsewhere: Publisher
) -> None:
    link = {"type": "link", "properties": {"href": elsewhere.url()}}
    path = sequence(tmp_path / "gadm41_AAA_0.geojsonl", FEATURE, {"crs": link, **FEATURE})
    with pytest.raises(FormatUnknown, match="not followed"):
        discover.layers(path, gadm, gadm.release())
    assert not elsewhere.asked


def geodatabase_of(path: Path, made: boundaries.Levels) -> Path:
    """Write levels as layers of a file geodatabase."""
    for level, frame in made.items():
        pyogrio.write_dataframe(frame, path, layer=f"ADM_{level}", driver="OpenFileGDB")
    return path


@pytest.fixture(scope="module")
def geodatabase(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file geodatabase with two levels of country AAA, and a lock beside its tables."""
    path = geodatabase_of(tmp_path_factory.mktemp("gdb") / "gadm ü.gdb", boundaries.levels({"AAA": 1}, parts=5))
    (path / "_gdb.HOST.1.2.sr.lock").touch()
    return path


def zipped(path: Path, geodatabase: Path, folder: str) -> Path:
    """Pack a geodatabase, in a folder of this name or in none."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(geodatabase.iterdir()):
            archive.write(file, f"{folder}{file.name}")
    return path


@pytest.mark.parametrize("kind", ["geodatabase", "its folder", "zip", "zip without a folder"])
@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_geodatabase_gives_the_same_rows_as_a_geopackage(
    pipeline: Pipeline, tmp_path: Path, geodatabase: Path, engine: str, kind: str
) -> None:
    source = {
        "geodatabase": lambda: geodatabase,
        "its folder": lambda: geodatabase.parent,
        "zip": lambda: zipped(tmp_path / "gadm.gdb.zip", geodatabase, "gadm.gdb/"),
        "zip without a folder": lambda: zipped(tmp_path / "gadm.gdb.zip", geodatabase, ""),
    }[kind]()
    gpkg = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}, parts=5))
    wanted = read(engine, slice_of(layers_of(gpkg)[1])).drop_columns(["source_file"])
    assert pipeline.state(pipeline.run(source, engine=engine)) == ("published", None)
    files = (pipeline.lake / "gadm" / "current" / "gadm_adm_1").glob("*.parquet")
    rows = pa.concat_tables([pq.read_table(file) for file in files]).select(wanted.schema.names).cast(wanted.schema)
    rows, wanted = rows.sort_by("gid_1"), wanted.sort_by("gid_1")
    names = [column.name for column in catalog.get("gadm").table(1).columns]
    assert rows.select([*names, "source_fid", "is_valid"]).equals(wanted.select([*names, "source_fid", "is_valid"]))
    first, second = (shapely.normalize(shapely.from_wkb(each["geom"].to_pylist())) for each in (rows, wanted))
    assert shapely.equals_exact(first, second, tolerance=1e-8).all()  # a geodatabase rounds coordinates to a grid


@pytest.mark.parametrize("table", ["a00000001.gdbtable", "a00000009.gdbtable"])
@pytest.mark.parametrize("content", [VRT.format("/etc/passwd"), "<html>404</html>", ""])
def test_a_geodatabase_with_something_else_as_a_table_never_reaches_gdal(
    tmp_path: Path,
    gadm: catalog.Dataset,
    geodatabase: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    content: str,
) -> None:
    path = shutil.copytree(geodatabase, tmp_path / "gadm.gdb")
    (path / table).write_text(content)
    monkeypatch.setattr(fiona, "listlayers", lambda _path: pytest.fail("GDAL was asked"))
    with pytest.raises(FormatUnknown, match=rf"{table} in gadm\.gdb is not a table of a file geodatabase"):
        discover.layers(path, gadm, gadm.release())


def test_gdal_sees_only_the_tables_of_a_geodatabase(
    tmp_path: Path, gadm: catalog.Dataset, geodatabase: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copytree(geodatabase, tmp_path / "gadm.gdb")
    for name in ("evil.vrt", "a00000009.spx", "gdb", "a.gdbindexes"):
        (path / name).write_text(VRT.format("/etc/passwd"))
    (path / "deeper.gdb").mkdir()
    seen: set[str] = set()
    listed = fiona.listlayers

    def list_layers(path: Path) -> list[str]:
        seen.update(each.suffix for each in path.iterdir())
        return list(listed(path))

    monkeypatch.setattr(fiona, "listlayers", list_layers)
    assert [layer.name for layer in discover.layers(path, gadm, gadm.release())] == ["ADM_0", "ADM_1"]
    assert seen == {".gdbtable", ".gdbtablx"}


def test_a_change_of_a_table_is_a_change_of_the_geodatabase(tmp_path: Path, geodatabase: Path) -> None:
    path = shutil.copytree(geodatabase, tmp_path / "gadm.gdb")
    before = parts.version(path), parts.checksum(path)
    (path / "_gdb.HOST.1.3.sr.lock").touch()
    assert (parts.version(path), parts.checksum(path)) == before
    with (path / "a00000009.gdbtable").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff")
    assert parts.version(path) != before[0]
    assert parts.checksum(path) != before[1]


def test_a_geodatabase_that_is_cut_off_is_never_read_in_part(
    tmp_path: Path, gadm: catalog.Dataset, geodatabase: Path
) -> None:
    path = shutil.copytree(geodatabase, tmp_path / "gadm.gdb")
    layers = {layer.name: layer for layer in discover.layers(path, gadm, gadm.release())}
    assert len(discover.features(layers["ADM_1"])[0]) == 25
    for table in sorted(path.glob("*.gdbtabl*")):
        content = table.read_bytes()
        for length in range(4, len(content), len(content) // 3):
            table.write_bytes(content[:length])
            with contextlib.suppress(FormatUnknown, SchemaDrift):
                for layer in discover.layers(path, gadm, gadm.release()):
                    assert len(discover.features(layer)[0]) == {"ADM_0": 1, "ADM_1": 25}[layer.name], (table, length)
        table.write_bytes(content)
