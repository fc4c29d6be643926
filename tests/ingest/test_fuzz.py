"""Damaged and hostile files end in a fault of our own kind: never in a crash, never in a foreign exception."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import struct
from pathlib import Path

import fiona
import pyogrio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import catalog, engines
from ingest.engines import SliceSource
from ingest.errors import FormatUnknown, IngestError
from ingest.layers import discover, geopackage
from tests.fixtures import boundaries
from tests.ingest.conftest import layers_of, read

# The same examples every time: a crash of GDAL would otherwise end some later, unrelated run of the suite.
steady = settings(derandomize=True, deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
KINDS = ["gpkg", "shp", "json", "fgb", "geojsonl", "gdb"]
few = settings(steady, max_examples=30)  # each writes a file
damage = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole files in all formats, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("whole")
    made = boundaries.levels({"AAA": 1})
    (folder / "gpkg").mkdir()
    boundaries.write_levels_gpkg(folder / "gpkg" / "gadm.gpkg", made)
    boundaries.write_shapefiles(folder / "shp", made)
    boundaries.write_geojson(folder / "json", made)
    (folder / "fgb").mkdir()
    pyogrio.write_dataframe(made[1], folder / "fgb" / "gadm41_AAA_1.fgb", driver="FlatGeobuf")
    (folder / "geojsonl").mkdir()
    pyogrio.write_dataframe(made[1], folder / "geojsonl" / "gadm41_AAA_1.geojsonl", driver="GeoJSONSeq")
    pyogrio.write_dataframe(made[1], folder / "made.gdb", layer="ADM_1", driver="OpenFileGDB")
    (folder / "made.gdb").rename(folder / "gdb")
    return folder


@steady
@given(
    kind=st.sampled_from(["gpkg", "shp", "json", "fgb"]), at=st.integers(0, 50), changes=damage, kept=st.floats(0.1, 6)
)
def test_a_file_with_wrong_bytes_is_read_or_refused(
    whole: Path,
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    at: int,
    changes: list[tuple[float, int]],
    kept: float,
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    for file in (whole / kind).iterdir():
        shutil.copy(file, folder)
    victim = sorted(folder.iterdir())[at % len(list(folder.iterdir()))]
    content = bytearray(victim.read_bytes())
    for number, (place, value) in enumerate(changes):
        reach = len(content) if number % 2 else min(len(content), 400)  # headers are where it hurts
        content[int(place * reach)] = value
    victim.write_bytes(content[: int(kept * len(content))])
    with contextlib.suppress(IngestError):
        for layer in layers_of(folder).values():
            discover.features(layer)


def test_a_geopackage_with_damaged_text_in_its_schema_never_reaches_gdal(
    whole: Path, tmp_path: Path, gadm: catalog.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (whole / "gpkg" / "gadm.gpkg").read_bytes()
    assert b"'now'" in content
    path = tmp_path / "gadm.gpkg"
    path.write_bytes(content.replace(b"'now'", b"'now\xbd"))
    monkeypatch.setattr(fiona, "listlayers", lambda _path: pytest.fail("fiona crashes on it"))
    with pytest.raises(FormatUnknown, match=r"gadm\.gpkg is damaged"):
        discover.layers(path, gadm, gadm.release())


ENDLESS = "with recursive r(x) as (select 1 union all select x + 1 from r)"


VIEW_OF = ["alter table {0} rename to was", f"create view {{0}} as {ENDLESS} select {{1}} from was, r"]


def changed(path: Path, *statements: str) -> Path:
    """Write a GeoPackage with a layer ADM_0, and change it."""
    boundaries.write_levels_gpkg(path, boundaries.levels({"AAA": 0}))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for (name,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            connection.execute(f'drop trigger "{name}"')
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        *(
            ([each.format(name, "was.*") for each in VIEW_OF], f"is not a plain GeoPackage: {name} is computed")
            for name in ("gpkg_spatial_ref_sys", "gpkg_contents", "gpkg_extensions", "gpkg_ogr_contents")
        ),
        ([VIEW_OF[1].format("gpkgext_relations", "x").replace("was, ", "")], "gpkgext_relations is computed"),
        (["drop table rtree_ADM_0_geom", "create table was (x)", VIEW_OF[1].format("rtree_ADM_0_geom", "x")], "rtree"),
        (["alter table gpkg_contents add column more generated always as (hex(zeroblob(1e9)))"], "gpkg_contents is c"),
        ([each.format("ADM_0", "x as fid, geom, COUNTRY") for each in VIEW_OF], r"ADM_0 in gadm\.gpkg is a view"),
        ([each.format("adm_0", "x as fid, geom, COUNTRY") for each in VIEW_OF], r"ADM_0 in gadm\.gpkg is a view"),
        (["drop table ADM_0", "create virtual table ADM_0 using fts5(fid, geom)"], "ADM_0 .* is a virtual table"),
        (["alter table ADM_0 add column more generated always as (hex(zeroblob(1e9)))"], "ADM_0 .* computed .*: more"),
    ],
)
def test_a_geopackage_that_computes_its_rows_is_refused_before_they_are_asked_for(
    statements: list[str], message: str, tmp_path: Path, gadm: catalog.Dataset
) -> None:
    path = changed(tmp_path / "gadm.gpkg", *statements)
    with pytest.raises(IngestError, match=message):
        discover.layers(path, gadm, gadm.release())


def test_what_computes_something_that_is_not_asked_for_does_no_harm(tmp_path: Path) -> None:
    path = changed(
        tmp_path / "gadm.gpkg",
        f"create view summary as {ENDLESS} select x from r",
        "create index some on ADM_0 (length(COUNTRY)) where COUNTRY > ''",
        f"create trigger more after insert on ADM_0 begin insert into ADM_0 (COUNTRY) {ENDLESS} select x from r; end",
    )
    assert [len(discover.features(layer)[0]) for layer in layers_of(path).values()] == [1]


def test_what_takes_too_long_to_examine_is_interrupted(
    tmp_path: Path, gadm: catalog.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = changed(tmp_path / "gadm.gpkg")
    layer = layers_of(path)[0]
    monkeypatch.setattr(geopackage, "SECONDS", -1)
    monkeypatch.setattr(geopackage, "STEPS", 1)
    for examine in (lambda: discover.layers(path, gadm, gadm.release()), lambda: discover.features(layer)):
        with pytest.raises(FormatUnknown, match=r"gadm\.gpkg takes too long to examine"):
            examine()


def test_more_tables_than_gdal_lists_are_refused(
    tmp_path: Path, gadm: catalog.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = changed(tmp_path / "gadm.gpkg")
    monkeypatch.setattr(geopackage, "MAX_TABLES", 3)
    with pytest.raises(FormatUnknown, match=r"gadm\.gpkg has \d+ tables, and 3 are read"):
        discover.layers(path, gadm, gadm.release())


def test_rows_without_end_in_a_damaged_table_are_noticed_before_they_are_counted(
    tmp_path: Path, gadm: catalog.Dataset
) -> None:
    path = changed(tmp_path / "gadm.gpkg")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("select rootpage from sqlite_master where name = 'ADM_0'").fetchone()
        (size,) = connection.execute("pragma page_size").fetchone()
    content = bytearray(path.read_bytes())
    content += content[(root - 1) * size : root * size]  # the rows; above them pages of 200 times the same child
    child = len(content) // size
    for level in range(8):
        page = bytearray(size)
        struct.pack_into(">BHHHBI", page, 0, 5, 0, 200, size - 1000, 0, child)
        for cell in range(200):
            struct.pack_into(">H", page, 12 + 2 * cell, size - 5 * (cell + 1))
            struct.pack_into(">IB", page, size - 5 * (cell + 1), child, min(cell, 127))
        if level < 7:
            content += page
            child += 1
        else:
            content[(root - 1) * size : root * size] = page
    struct.pack_into(">I", content, 28, len(content) // size)
    path.write_bytes(content)
    with pytest.raises(FormatUnknown, match=r"ADM_0 in gadm\.gpkg has more rows than the file has room for"):
        discover.layers(path, gadm, gadm.release())


def test_a_geojson_in_another_encoding_is_refused(whole: Path, tmp_path: Path, gadm: catalog.Dataset) -> None:
    content = (whole / "json" / "gadm41_AAA_0.json").read_bytes()
    (tmp_path / "gadm41_AAA_0.json").write_bytes(content.replace(b"Country", "Côté".encode("latin-1")))
    with pytest.raises(FormatUnknown, match=r"is not UTF-8"):
        discover.layers(tmp_path, gadm, gadm.release())


def test_a_geojson_that_ends_inside_a_character_is_refused(whole: Path, tmp_path: Path, gadm: catalog.Dataset) -> None:
    content = (whole / "json" / "gadm41_AAA_0.json").read_bytes()
    (tmp_path / "gadm41_AAA_0.json").write_bytes(content + "é".encode()[:1])
    with pytest.raises(FormatUnknown, match=r"is not UTF-8"):
        discover.layers(tmp_path, gadm, gadm.release())


def test_a_geopackage_whose_ids_are_no_numbers_is_refused(tmp_path: Path) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 0}))
    layer = layers_of(path)[0]
    with sqlite3.connect(path) as connection:
        connection.execute("drop table ADM_0")
        connection.execute("create table ADM_0 (fid text primary key, geom blob)")
        connection.execute("insert into ADM_0 values ('x', null)")
    with pytest.raises(FormatUnknown, match=r"gadm\.gpkg"):
        discover.features(layer)


@few
@given(
    name=st.text(
        st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20
    )
)
def test_any_layer_and_column_name_is_only_a_name(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("layer")
    made = boundaries.levels({"AAA": 0})[0].rename(columns={"COUNTRY": f"c{name}"})
    with contextlib.suppress(Exception):  # GDAL refuses to write some names
        boundaries.write_layers(folder / "x.gpkg", {f"l{name}": made})
    if not (folder / "x.gpkg").exists():
        return
    connection = sqlite3.connect(folder / "x.gpkg")
    rows = connection.execute("select table_name from gpkg_contents").fetchall()
    connection.close()
    for (written,) in rows:
        path, fid = folder / "x.gpkg", geopackage.quote(geopackage.columns(folder / "x.gpkg", written)[0])
        columns = (("country", f"c{name}"),)
        source = SliceSource(path, written, 0, path.name, columns, ("NA",), None, f"{fid} between 1 and 1", 8)
        ours, theirs = (
            read(engine, source).drop_columns(["area_km2", "area_km2_in_source"]) for engine in engines.ENGINES
        )  # nearly equal
        assert ours.equals(theirs)
