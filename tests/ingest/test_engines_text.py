"""Text in both engines: what is trimmed, how other types are written, which encoding is read, what is refused."""

from __future__ import annotations

import json
import re
import sqlite3
import struct
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import catalog, engines
from ingest.engines.text import TRIMMED, as_text
from ingest.errors import SchemaDrift, SourceDamaged, UsageError
from ingest.layers import encodings
from ingest.layers.discover import Layer, layers
from tests.conftest import ROOT
from tests.fixtures import boundaries
from tests.ingest.conftest import layers_of, read, slice_of

both_engines = pytest.mark.parametrize("engine", engines.ENGINES)
Field = tuple[bytes, str, int, int]


def names_gpkg(path: Path, names: Sequence[str | bytes | None]) -> Path:
    """Write level 1 with these names: text, or any bytes under the name of text."""
    made = boundaries.levels({"AAA": 0})[0].iloc[[0] * len(names)]
    made = made.assign(GID_1=[f"AAA.{number}_1" for number in range(len(names))], NAME_1="")
    boundaries.write_layers(path, {"ADM_1": made})
    with closing(sqlite3.connect(path)) as connection:
        for (trigger,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            connection.execute(f'drop trigger "{trigger}"')
        for fid, name in enumerate(names, 1):
            value = name.encode() if isinstance(name, str) else name
            connection.execute('update "ADM_1" set NAME_1 = cast(? as text) where fid = ?', (value, fid))
        connection.commit()
    return path


def shapefile(folder: Path, fields: Sequence[Field], row: Sequence[bytes], cpg: str | None) -> Path:
    """Write a shapefile of one square, its table byte by byte."""
    path = folder / "gadm41_AAA_1.shp"
    boundaries.write_shapefiles(folder, {1: boundaries.levels({"AAA": 1})[1].iloc[:1]}, code="AAA")
    fields, row = [(b"GID_0", "C", 9, 0), (b"COUNTRY", "C", 9, 0), *fields], [b"AAA", b"Land", *row]
    width = 1 + sum(length for _, _, length, _ in fields)
    table = struct.pack("<BBBBIHH20x", 3, 120, 1, 1, 1, 33 + 32 * len(fields), width)
    for name, kind, length, decimals in fields:
        table += struct.pack("<11sc4xBB14x", name, kind.encode(), length, decimals)
    cells = b"".join(cell.ljust(length) for (_, _, length, _), cell in zip(fields, row, strict=True))
    path.with_suffix(".dbf").write_bytes(table + b"\r " + cells + b"\x1a")
    path.with_suffix(".cpg").unlink(missing_ok=True)
    if cpg is not None:
        path.with_suffix(".cpg").write_text(cpg)
    return path


def named(folder: Path, name: bytes, cpg: str | None) -> Path:
    """Write a shapefile of one unit with this name."""
    return shapefile(folder, [(b"GID_1", "C", 10, 0), (b"NAME_1", "C", 40, 0)], [b"AAA.1_1", name], cpg)


def geojson(path: Path, *properties: Mapping[str, object]) -> Path:
    """Write squares with these properties."""
    square = json.loads(shapely.to_geojson(shapely.box(0, 0, 1, 1)))
    parent = {"GID_0": "AAA", "COUNTRY": "Land"}
    features = [{"type": "Feature", "properties": {**parent, **each}, "geometry": square} for each in properties]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def level_1(path: Path, encoding: str | None = None) -> Layer:
    """Discover the layer of level 1."""
    dataset = catalog.get("gadm")
    (layer,) = layers(path, dataset, dataset.release(None), encoding=encoding)
    return layer


def names_of(engine: str, path: Path, encoding: str | None = None, column: str = "name_1") -> list[object]:
    """Read the names of level 1."""
    values: list[object] = read(engine, slice_of(level_1(path, encoding)))[column].to_pylist()
    return values


def test_white_space_of_unicode_controls_and_marks_without_width_are_trimmed() -> None:
    white = {c for c in map(chr, range(1, 0x11000)) if c.isspace() and c not in "\x1c\x1d\x1e\x1f"}
    controls = {c for c in map(chr, range(1, 256)) if unicodedata.category(c) == "Cc"}
    assert set(TRIMMED) > white | controls
    assert set(TRIMMED) >= set("\u200b\u200c\u200d\u2060\ufeff\u200e\u200f\u061c\u202a\u202e\u2066\u2069\u00ad")
    assert not [c for c in TRIMMED if c.isprintable() and c not in " \u034f\u115f\u1160\u3164\uffa0"]


def test_dbt_trims_the_same_characters_as_the_engines() -> None:
    macro = (ROOT / "macros" / "clean_text.sql").read_text()
    pairs = re.findall(r"\[0x([0-9a-f]+), 0x([0-9a-f]+)\]", macro)
    listed = {chr(point) for first, last in pairs for point in range(int(first, 16), int(last, 16) + 1)}
    assert "['\\\\x01- ']" in macro
    assert listed | set(map(chr, range(0x01, 0x21))) == set(TRIMMED)


@both_engines
def test_a_name_keeps_its_characters_and_loses_what_cannot_be_seen_at_its_ends(tmp_path: Path, engine: str) -> None:
    inside = unicodedata.normalize("NFD", "É\u200d\u200fn\u00a0d\u00ado\u2011")
    path = names_gpkg(tmp_path / "a.gpkg", [TRIMMED + inside + TRIMMED, TRIMMED, TRIMMED + "NA" + TRIMMED, None, "ﬁ"])
    assert names_of(engine, path) == [inside, None, None, None, "ﬁ"]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6), max_size=60))
def test_any_text_comes_out_of_both_engines_as_it_is_but_trimmed(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    names = [*names, *(mark + "x" + mark for mark in TRIMMED), "a\x01b"]
    source = slice_of(level_1(names_gpkg(tmp_path_factory.mktemp("text") / "a.gpkg", names)))
    wanted = [trimmed if (trimmed := name.strip(TRIMMED)) not in ("", "NA") else None for name in names]
    for engine in engines.ENGINES:
        assert read(engine, source)["name_1"].to_pylist() == wanted


KINDS = {  # a property of a GeoJSON, and what is written
    "7": 7,
    "0.1": 0.1,
    "100000000000000000": 1e17,
    "true": True,
    "2020-01-31": "2020-01-31",
    "2020-01-31T12:34:56Z": "2020-01-31T12:34:56Z",
    "2020-01-31T12:34:56.25+02:00": "2020-01-31T12:34:56.250+02:00",
    "12:34:56": "12:34:56",
    '["a", "é"]': ["a", "é"],
    "[1, 2]": [1, 2],
    '{ "a": [ 1 ] }': {"a": [1]},
}


@both_engines
def test_values_of_any_type_in_a_geojson_are_written_alike(tmp_path: Path, engine: str) -> None:
    for number, (written, value) in enumerate(KINDS.items()):
        path = geojson(tmp_path / f"gadm41_AA{number:X}_1.json", {"GID_1": "A", "NAME_1": value}, {"GID_1": "B"})
        assert names_of(engine, path) == [written, None]


@both_engines
def test_values_of_any_type_in_a_shapefile_are_written_alike(tmp_path: Path, engine: str) -> None:
    fields = [
        *((b"GID_1", "N", 9, 0), (b"NAME_1", "N", 9, 3), (b"VARNAME_1", "F", 9, 2), (b"NL_NAME_1", "L", 1, 0)),
        *((b"TYPE_1", "D", 8, 0), (b"ENGTYPE_1", "N", 20, 0), (b"CC_1", "N", 9, 2), (b"HASC_1", "C", 4, 0)),
    ]
    row = [b"7", b"7.500", b"3.00", b"T", b"20200131", b"1234567890123456", b"", b"0700"]
    rows = read(engine, slice_of(level_1(shapefile(tmp_path, fields, row, "UTF-8")))).to_pylist()
    wanted = ["7", "7.5", "3", "true", "2020-01-31", "1234567890123456", None, "0700"]
    assert [rows[0][name.decode().lower()] for name, *_ in fields] == wanted


def test_numbers_are_written_without_loss_and_what_is_no_number_as_nothing() -> None:
    numbers = [7.0, -0.0, 0.1, 2.0**53, 1e22, 1e-7, float("nan"), float("inf"), None]
    assert as_text(pa.array(numbers)).to_pylist() == [
        *("7", "0", "0.1", "9007199254740992", "1e+22", "1e-7", None, "inf", None)
    ]
    assert as_text(pa.array([0.1, 7], pa.float32())).to_pylist() == ["0.1", "7"]
    assert as_text(pa.array([b"\xca\xfe", None])).to_pylist() == ["CAFE", None]
    assert as_text(pa.array([[1.5, float("nan")]])).to_pylist() == ["[1.5, null]"]


@pytest.mark.parametrize(
    ("name", "codec"),
    {
        "UTF8": "utf-8",
        "65001": "utf-8",
        "ANSI 1251": "cp1251",
        "88591": "cp1252",
        "8859-2": "iso8859-2",
        "936": "gb18030",
        "SJIS": "cp932",
        "OEM 850": "cp850",
        "KLINGON": None,
        "utf-16": None,
        "rot13": None,
        "raw_unicode_escape": None,
    }.items(),
)
def test_encodings_are_known_by_the_names_that_files_and_people_give_them(name: str, codec: str | None) -> None:
    assert encodings.codec_of(name) == codec


@both_engines
def test_a_shapefile_is_read_in_the_encoding_that_it_or_a_person_states(tmp_path: Path, engine: str) -> None:
    assert names_of(engine, named(tmp_path / "a", "Cô’te".encode("cp1252"), "ISO-8859-1")) == ["Cô’te"]
    assert names_of(engine, named(tmp_path / "b", "Київ".encode("cp1251"), "ANSI 1251")) == ["Київ"]
    assert names_of(engine, named(tmp_path / "c", "Київ".encode("cp1251"), "UTF-8"), "1251") == ["Київ"]
    assert names_of(engine, named(tmp_path / "d", "東京 ".encode("cp932"), None), "SJIS") == ["東京"]
    assert names_of(engine, named(tmp_path / "e", "Köln".encode(), "ISO-8859-1"), "UTF-8") == ["Köln"]


@both_engines
def test_text_that_is_utf_8_though_the_file_states_another_encoding_is_read_as_that(
    tmp_path: Path, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert names_of(engine, named(tmp_path / "a", "Vestvåg".encode(), "1252")) == ["Vestvåg"]
    assert "states the encoding CP1252, but its text is UTF-8" in caplog.text
    assert names_of(engine, named(tmp_path / "b", "Vestvåg".encode(), "1252"), "1252") == ["VestvÃ¥g"]


def test_only_text_that_cannot_be_anything_else_is_taken_for_utf_8() -> None:
    assert encodings.is_utf_8(["Ålesund".encode(), "Skåne".encode()[:3]], "cp1252")
    assert not encodings.is_utf_8(["Ålesund".encode(), "Skåne".encode("cp1252")], "cp1252")
    assert not encodings.is_utf_8(["Ceará".encode("cp1252"), "Pará".encode("cp1252")], "cp1252")
    assert not encodings.is_utf_8([], "cp1252")
    assert not encodings.is_utf_8(["膳".encode("gb18030")] * 99, "gb18030")
    assert encodings.is_utf_8([f"東京{number}".encode() for number in range(20)], "cp932")


@both_engines
@pytest.mark.parametrize("cpg", ["UTF-8", "SJIS", "KLINGON", None])
def test_a_value_in_another_encoding_is_refused_with_its_row_and_column(
    tmp_path: Path, engine: str, cpg: str | None
) -> None:
    path = named(tmp_path, b"C\xf4te\x81", cpg)
    with pytest.raises(SourceDamaged, match=r"gadm41_AAA_1\.shp, feature 0: NAME_1 is b'C.xf4te.x81'") as raised:
        names_of(engine, path)
    assert "--encoding" in str(raised.value.hint)


@both_engines
@pytest.mark.parametrize("value", [b"C\xf4te", b"\xed\xa0\x80", b"\xc0\x80"])
def test_bytes_in_a_geopackage_that_are_not_utf_8_are_refused_with_their_row(
    tmp_path: Path, engine: str, value: bytes
) -> None:
    path = names_gpkg(tmp_path / "a.gpkg", ["good", "better", value])
    with pytest.raises(SourceDamaged, match=r"ADM_1 in a\.gpkg, feature 3: NAME_1 is .* not text in UTF-8"):
        names_of(engine, path)


@both_engines
def test_a_text_ends_at_a_nul_as_everywhere_in_gdal(tmp_path: Path, engine: str) -> None:
    assert names_of(engine, names_gpkg(tmp_path / "a.gpkg", [b"a\0b", b"\0", b"c\0"])) == ["a", None, "c"]
    assert names_of(engine, geojson(tmp_path / "gadm41_AAA_1.json", {"GID_1": "A", "NAME_1": "a\0b"})) == ["a"]


def test_an_encoding_is_refused_that_is_unknown_or_not_for_a_shapefile(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'KLINGON'"):
        encodings.check("KLINGON")
    with pytest.raises(UsageError, match="--encoding is for shapefiles"):
        level_1(names_gpkg(tmp_path / "a.gpkg", ["x"]), "1252")


@both_engines
@pytest.mark.parametrize("order", [("name_1", "NAME_1", "Name_1"), ("NAME_1", "name_1", "Name_1")])
def test_of_columns_that_differ_in_case_the_exact_name_wins(
    tmp_path: Path, engine: str, order: tuple[str, ...]
) -> None:
    properties = {"GID_1": "A", **{name: f"is {name}" for name in order}}
    assert names_of(engine, geojson(tmp_path / "gadm41_AAA_1.json", properties)) == ["is NAME_1"]
    fields: list[Field] = [(name.encode(), "C", 9, 0) for name in properties]
    path = shapefile(tmp_path, fields, [value.encode() for value in properties.values()], "UTF-8")
    assert names_of(engine, path) == ["is NAME_1"]


@both_engines
def test_a_column_with_blanks_around_its_name_is_found(tmp_path: Path, engine: str) -> None:
    assert names_of(engine, geojson(tmp_path / "gadm41_AAA_1.json", {" Name_1 ": "here", "GID_1": "A"})) == ["here"]


def test_columns_of_which_none_is_the_exact_one_are_refused_by_name(tmp_path: Path) -> None:
    path = geojson(tmp_path / "gadm41_AAA_1.json", {"name_1": "a", "Name_1": "b", "GID_1": "A"})
    with pytest.raises(SchemaDrift, match="2 columns that could be NAME_1: name_1, Name_1"):
        layers_of(path)
    fields = [(b"GID_1", "C", 9, 0), (b"NAME_1", "C", 9, 0), (b"NAME_1", "C", 9, 0)]
    with pytest.raises(SchemaDrift, match="2 columns that could be NAME_1: NAME_1, NAME_1"):
        layers_of(shapefile(tmp_path, fields, [b"A", b"one", b"two"], "UTF-8"))
