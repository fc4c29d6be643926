"""Damaged and hostile files end in a fault of our own kind: never in a crash, never in a foreign exception."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import fiona
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import catalog, engines
from ingest.engines import SliceSource
from ingest.errors import FormatUnknown, IngestError
from ingest.layers import discover
from tests.fixtures import boundaries
from tests.ingest.conftest import layers_of, read

# The same examples every time: a crash of GDAL would otherwise end some later, unrelated run of the suite.
steady = settings(derandomize=True, deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
few = settings(steady, max_examples=30)  # each writes a file
damage = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole files in all three formats, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("whole")
    made = boundaries.levels({"AAA": 1})
    (folder / "gpkg").mkdir()
    boundaries.write_levels_gpkg(folder / "gpkg" / "gadm.gpkg", made)
    boundaries.write_shapefiles(folder / "shp", made)
    boundaries.write_geojson(folder / "json", made)
    return folder


@steady
@given(kind=st.sampled_from(["gpkg", "shp", "json"]), at=st.integers(0, 50), changes=damage, kept=st.floats(0.1, 6))
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


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ("gpkg_spatial_ref_sys", "was.*", "is not a plain GeoPackage: gpkg_spatial_ref_sys is computed"),
        ("gpkg_contents", "was.*", "is not a plain GeoPackage: gpkg_contents is computed"),
        ("ADM_0", "x as fid, geom, COUNTRY, GID_0", r"ADM_0 in gadm\.gpkg is a view"),
    ],
)
def test_a_geopackage_that_computes_its_rows_is_refused_before_they_are_asked_for(
    table: str, columns: str, message: str, tmp_path: Path, gadm: catalog.Dataset
) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 0}))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for (name,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            connection.execute(f'drop trigger "{name}"')
        connection.execute(f"alter table {table} rename to was")
        connection.execute(f"create view {table} as {ENDLESS} select {columns} from was, r")
        connection.commit()
    with pytest.raises(IngestError, match=message):
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
        path, fid = folder / "x.gpkg", discover.quote(discover._gpkg_columns(folder / "x.gpkg", written)[0])
        columns = (("country", f"c{name}"),)
        source = SliceSource(path, written, 0, path.name, columns, ("NA",), None, f"{fid} between 1 and 1", 8)
        ours, theirs = (
            read(engine, source).drop_columns(["area_km2", "area_km2_in_source"]) for engine in engines.ENGINES
        )  # nearly equal
        assert ours.equals(theirs)
