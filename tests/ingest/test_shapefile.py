"""Counts in headers are hints: a shapefile is loaded whole, or refused if something of it is missing."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pyproj
import pytest

from ingest import engines
from ingest.errors import FormatUnknown
from ingest.layers import discover
from ingest.sources import parts
from tests.fixtures import boundaries
from tests.ingest.conftest import layers_of, read, slice_of

KEYS = [f"AAA.{number}_1" for number in range(1, 5)]
Change = Callable[[bytearray], bytes | bytearray]


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A shapefile of four units."""
    return boundaries.write_shapefiles(tmp_path / "country", boundaries.levels({"AAA": 1})) / "gadm41_AAA_1.shp"


def change(path: Path, suffix: str, how: Change) -> None:
    """Change the bytes of a part."""
    file = path.with_suffix(suffix)
    file.write_bytes(how(bytearray(file.read_bytes())))


def keys(path: Path) -> list[str]:
    """Return the keys of the units as planned and read, which must be the same with both engines."""
    layer = layers_of(path)[1]
    fids, sizes = discover.features(layer)
    assert len(fids) == len(sizes)
    found: list[list[str]] = []
    for engine in engines.ENGINES:
        table = read(engine, slice_of(layer, where=layer.where(0, 99)))
        assert table["source_fid"].to_pylist() == fids.tolist()
        assert table["geom"].null_count == 0
        found.append(table["gid_1"].to_pylist())
    assert found[0] == found[1]
    return found[0]


def row(number: int) -> Callable[[bytes | bytearray], int]:
    """Return where a row of a .dbf begins."""
    return lambda content: int.from_bytes(content[8:10], "little") + number * int.from_bytes(content[10:12], "little")


def deleted(*rows: int) -> Change:
    """Mark rows of a .dbf as deleted."""

    def mark(content: bytearray) -> bytearray:
        for number in rows:
            content[row(number)(content)] = ord("*")
        return content

    return mark


def stated(count: int) -> Change:
    """Write another number of rows into the header of a .dbf."""
    return lambda content: content[:4] + struct.pack("<I", count) + content[8:]


def index(entries: Callable[[bytearray], bytes | bytearray]) -> Change:
    """Replace the entries of a .shx, and state its length."""

    def replaced(content: bytearray) -> bytes:
        made = entries(content[100:])
        return bytes(content[:24] + struct.pack(">i", 50 + len(made) // 2) + content[28:100] + made)

    return replaced


@pytest.mark.parametrize(("rows", "left"), [((0,), KEYS[1:]), ((1, 3), [KEYS[0], KEYS[2]]), ((0, 1, 2, 3), [])])
def test_rows_that_are_marked_as_deleted_are_no_features(shapes: Path, rows: tuple[int, ...], left: list[str]) -> None:
    change(shapes, ".dbf", deleted(*rows))
    assert keys(shapes) == left


@pytest.mark.parametrize("count", [0, 3, 9])
def test_the_number_of_rows_in_the_header_is_a_hint(shapes: Path, count: int) -> None:
    change(shapes, ".dbf", stated(count))
    before = shapes.with_suffix(".dbf").read_bytes()
    assert keys(shapes) == KEYS
    assert shapes.with_suffix(".dbf").read_bytes() == before


@pytest.mark.parametrize(
    "how",
    [
        lambda content: content[:-8],
        lambda content: content[:60],
        index(lambda entries: entries[:-8]),
        index(lambda entries: entries[8:]),
        index(lambda entries: entries[8:16] + entries[:8] + entries[16:]),
        index(lambda entries: bytes(len(entries))),
        index(lambda entries: b""),
        None,
    ],
    ids=["cut", "no header", "one less", "first lost", "swapped", "zeros", "empty", "missing"],
)
def test_a_wrong_index_is_made_anew_and_not_in_the_folder_of_the_file(shapes: Path, how: Change | None) -> None:
    if how:
        change(shapes, ".shx", how)
    else:
        shapes.with_suffix(".shx").unlink()
    before = {file.name: file.read_bytes() for file in shapes.parent.iterdir()}
    assert keys(shapes) == KEYS
    assert {file.name: file.read_bytes() for file in shapes.parent.iterdir()} == before


def test_gaps_that_an_edit_left_between_shapes_are_passed_over(shapes: Path) -> None:
    content, entries = shapes.read_bytes(), shapes.with_suffix(".shx").read_bytes()[100:]
    offset, length = (2 * word for word in struct.unpack(">2i", entries[:8]))
    moved = content + content[offset : offset + 8 + length]  # the first shape was written again, at the end
    shapes.write_bytes(moved)
    change(shapes, ".shx", index(lambda old: struct.pack(">i", len(content) // 2) + old[4:]))
    assert keys(shapes) == KEYS


@pytest.mark.parametrize("suffix", [".SHX", ".DBF"])
def test_parts_in_capitals_are_found(shapes: Path, suffix: str) -> None:
    shapes.with_suffix(suffix.lower()).rename(shapes.with_suffix(suffix))
    change(shapes, ".DBF" if suffix == ".DBF" else ".dbf", stated(2))
    assert keys(shapes) == KEYS


@pytest.mark.parametrize("stem", ["gadm41_AAA_1", "GADM41_aaa_1"])
@pytest.mark.parametrize("suffix", [".Dbf", ".Shx", ".Prj", ".Cpg"])
def test_parts_are_found_whatever_their_letter_case(
    shapes: Path, stem: str, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = shapes.with_suffix(suffix.lower())
    if suffix == ".Prj":  # which GDAL would miss without a word
        before.write_text(pyproj.CRS("EPSG:4267").to_wkt("WKT1_ESRI"))
    elif suffix == ".Cpg":
        before.write_text("1251")
    part = before.rename(before.with_name(f"{stem}{suffix}"))
    assert ("NAD27" in str(layers_of(shapes)[1].crs)) == (suffix == ".Prj")
    assert ("states the encoding CP1251, but its text is UTF-8" in caplog.text) == (suffix == ".Cpg")
    assert keys(shapes) == KEYS
    assert part in parts.of(shapes)
    assert [file.suffix for file in shapes.parent.iterdir() if file.stem == stem and file.suffix == suffix]


def test_a_part_of_another_shapefile_is_not_taken_for_its_letter_case(shapes: Path) -> None:
    other = shapes.with_name("GADM41_AAA_1.SHP")
    shutil.copy(shapes, other)
    table = shapes.with_suffix(".dbf").rename(other.with_suffix(".dbf"))
    assert (table in parts.of(other), table in parts.of(shapes)) == (True, False)
    with pytest.raises(FormatUnknown, match=r"gadm41_AAA_1\.shp has no \.dbf beside it"):
        layers_of(shapes)


@pytest.mark.parametrize("count", [1, 30, 200])
def test_a_shapefile_whose_shapes_are_cut_off_is_refused(shapes: Path, count: int) -> None:
    change(shapes, ".shp", lambda content: content[:-count])
    with pytest.raises(FormatUnknown, match=r"gadm41_AAA_1\.shp is cut off or damaged"):
        layers_of(shapes)


def test_a_shapefile_that_ends_between_two_shapes_is_refused(shapes: Path) -> None:
    offset = 2 * struct.unpack(">i", shapes.with_suffix(".shx").read_bytes()[116:120])[0]
    change(shapes, ".shp", lambda content: content[:offset])
    with pytest.raises(FormatUnknown, match=r"gadm41_AAA_1\.shp holds 2 shapes, and gadm41_AAA_1\.dbf holds 4 rows"):
        layers_of(shapes)


def test_a_table_that_is_cut_off_is_refused(shapes: Path) -> None:
    whole = shapes.with_suffix(".dbf").read_bytes()
    shapes.with_suffix(".dbf").write_bytes(whole[: row(2)(whole) + 9])
    with pytest.raises(FormatUnknown, match=r"gadm41_AAA_1\.dbf is cut off in row 3 of 4"):
        layers_of(shapes)
    shapes.with_suffix(".dbf").write_bytes(whole[: row(3)(whole)])
    with pytest.raises(FormatUnknown, match=r"holds 4 shapes, and gadm41_AAA_1\.dbf holds 3 rows"):
        layers_of(shapes)
    shapes.with_suffix(".dbf").write_bytes(whole[:20])
    with pytest.raises(FormatUnknown, match="is not a dBase table"):
        layers_of(shapes)
    shapes.with_suffix(".dbf").unlink()
    with pytest.raises(FormatUnknown, match=r"has no \.dbf beside it"):
        layers_of(shapes)


def test_a_table_without_its_end_mark_is_whole(shapes: Path) -> None:
    change(shapes, ".dbf", lambda content: content[:-1])
    assert keys(shapes) == KEYS
