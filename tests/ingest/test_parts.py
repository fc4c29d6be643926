"""A source is all of its files and no other: any edit of one is noticed, and what is not a layer is passed over."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from ingest import catalog
from ingest.errors import ChecksumMismatch, FormatUnknown, SourceUnavailable
from ingest.layers import discover
from ingest.sources import cache, parts
from ingest.sources.address import Source
from tests.fixtures import boundaries
from tests.ingest.conftest import Pipeline, layers_of

TWO_LEVELS = {"AAA": 1}


@pytest.fixture
def country(tmp_path: Path) -> Path:
    """A folder with the shapefiles of a country."""
    return boundaries.write_shapefiles(tmp_path / "country", boundaries.levels(TWO_LEVELS))


def same_size(path: Path) -> None:
    """Change a byte of a file, and set its old time of modification again."""
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("suffix", ["dbf", "shx", "prj", "cpg", "shp.xml", "DBF", "SHX", "PRJ", "CPG", "SHP.XML"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_every_part_of_a_shapefile_makes_its_version_and_checksum(country: Path, suffix: str, is_folder: bool) -> None:
    path = country / "gadm41_AAA_1.shp"
    part = path.with_suffix(f".{suffix}")
    if suffix.isupper() and path.with_suffix(f".{suffix.lower()}").exists():
        path.with_suffix(f".{suffix.lower()}").rename(part)
    root = country if is_folder else path
    known = set()
    for change in (lambda: None, lambda: part.write_bytes(b"1"), lambda: same_size(part), part.unlink):
        change()
        known.add((cache.version_of(Source(str(root))), parts.checksum(root)))
    assert len({version for version, _ in known}) == len({checksum for _, checksum in known}) >= 3


def test_a_name_corrected_in_the_table_only_is_loaded(pipeline: Pipeline, country: Path) -> None:
    path = country / "gadm41_AAA_1.shp"
    version = cache.version_of(Source(str(path)))
    table = path.with_suffix(".dbf")
    table.write_bytes(table.read_bytes().replace(b"Country AAA 1", b"Contree AAA 1"))
    assert cache.version_of(Source(str(path))) != version
    pipeline.run(path, levels=(1,))
    rows = ds.dataset(pipeline.lake / "gadm" / "current" / "gadm_adm_1").to_table()
    assert "Contree AAA 1" in rows["name_1"].to_pylist()


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "._gadm41_AAA_1.shp", "__MACOSX/x.gpkg", "metadata.json", ".git/x.gpkg", "x.gpkg-shm", "a.zip"],
)
def test_a_bystander_makes_neither_version_nor_checksum(country: Path, name: str) -> None:
    before = cache.version_of(Source(str(country))), parts.checksum(country)
    path = country / name
    path.parent.mkdir(exist_ok=True)
    for content in ("{}", '{"title": "another"}'):
        path.write_text(content)
        assert (cache.version_of(Source(str(country))), parts.checksum(country)) == before


def test_an_edit_within_a_tick_of_the_clock_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gadm.gpkg"
    path.write_text("1")
    clock = [path.stat().st_ctime_ns / 1e9 + 0.001]  # the clock of the file system still shows when it was written
    monkeypatch.setattr("time.time", lambda: clock[0])

    def while_it_is_edited(seconds: float) -> None:
        path.write_text("22")
        clock[0] += seconds + 1

    monkeypatch.setattr("time.sleep", while_it_is_edited)
    (size, *_), *_ = parts.stats([path])
    assert size == 2


def test_the_checksum_of_a_file_is_the_one_that_people_compute(
    country: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = country / "gadm41_AAA_1.shp"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    cache.fetch(Source.parse(f"{path}#sha256={expected}"), tmp_path)
    assert "The checksum given covers gadm41_AAA_1.shp alone, and not gadm41_AAA_1.dbf, " in caplog.text
    same_size(path)
    with pytest.raises(ChecksumMismatch):
        cache.fetch(Source.parse(f"{path}#sha256={expected}"), tmp_path)


def edit_dbf(path: Path) -> None:
    table = path.with_suffix(".dbf")
    table.write_bytes(table.read_bytes().replace(b"Country AAA 1", b"Contree AAA 1"))


def replace_file(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


@pytest.mark.parametrize("change", [edit_dbf, same_size, replace_file, Path.unlink])
@pytest.mark.parametrize("moment", ["planned", "read"])
def test_a_file_that_changes_while_it_is_loaded_is_never_published(
    pipeline: Pipeline, country: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], moment: str
) -> None:
    path = country / "gadm41_AAA_1.shp"
    module, name = (pipeline.steps, "plan") if moment == "planned" else (pipeline.steps.engines, "get")
    original = getattr(module, name)

    def changing(*arguments: object) -> object:
        monkeypatch.setattr(module, name, original)
        found = original(*arguments)
        change(path)
        return found

    monkeypatch.setattr(module, name, changing)
    run_id = pipeline.run(country)
    state, error = pipeline.state(run_id)
    assert state == "failed"
    assert "gadm41_AAA_1.shp changed while it was being read" in (error or "")
    assert pipeline.rows("gadm_adm_1") == 0


def test_a_file_that_no_longer_has_the_expected_checksum_is_not_published(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels(TWO_LEVELS))
    layers = pipeline.steps.discover.layers

    def after_an_edit(*arguments: object, **options: object) -> object:
        path.write_bytes(path.read_bytes().replace(b"Country AAA 1", b"Contree AAA 1"))
        return layers(*arguments, **options)

    monkeypatch.setattr(pipeline.steps.discover, "layers", after_an_edit)
    state, error = pipeline.state(pipeline.run(f"{path}#sha256={parts.checksum(path)}"))
    assert state == "failed"
    assert "has the SHA-256" in (error or "")


def test_another_host_may_read_a_copy_with_other_times(country: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = country / "gadm41_AAA_1.shp"
    planned, sha256 = parts.version(path), parts.checksum(country)
    assert parts.is_same(path, country, planned, None)
    os.utime(path, (1, 1))
    assert not parts.is_same(path, country, planned, sha256)
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert parts.is_same(path, country, planned, None)
    assert parts.is_same(path, country, planned, sha256)
    same_size(path)
    assert not parts.is_same(path, country, planned, sha256)
    path.write_bytes(b"")
    assert not parts.is_same(path, country, planned, None)


def test_bystanders_of_a_folder_are_passed_over_with_a_line_for_each_kind(
    country: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for name in ("readme.txt", "style.qml", ".DS_Store", "._gadm41_AAA_0.shp", "Thumbs.db", "more.zip"):
        (country / name).touch()
    (country / "gadm41-AAA-metaData.json").write_text('{"boundaryISO": "AAA"}')
    (country / "package.json").write_text("[1, 2]")
    (country / "latin.json").write_bytes(b'{"name": "\xe9"}')
    inside = {"type": "FeatureCollection", "features": []}
    (country / "style.json").write_text(json.dumps({"version": 8, "sources": {"a": {"data": inside}}}))
    (country / "roads.shp").write_text("not even a shapefile")
    (country / "folder.gpkg").mkdir()
    assert set(layers_of(country)) == {0, 1}
    assert sorted(line for line in caplog.messages if "passed over" in line) == [
        "country: passed over JSON that is not GeoJSON: gadm41-AAA-metaData.json, latin.json, package.json and 1 more.",
        "country: passed over hidden files and those of __MACOSX: .DS_Store, ._gadm41_AAA_0.shp.",
        "country: passed over other files: Thumbs.db, readme.txt, style.qml.",
        "country: passed over shapefiles of other names: roads.shp.",
        "country: passed over zip archives inside: more.zip.",
    ]


def test_a_folder_with_bystanders_only_is_refused_and_names_them(tmp_path: Path, gadm: catalog.Dataset) -> None:
    for name in ("package.json", "readme.txt", "AAA.zip"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(FormatUnknown, match=r"to load\. Passed over: .*package\.json; .*: AAA\.zip\. Give a zip"):
        discover.layers(tmp_path, gadm, gadm.release())


@pytest.mark.parametrize("content", ['{"error": "not found"}', "", "<html>404</html>", "[1, 2]"])
def test_what_has_the_name_of_a_layer_is_no_bystander(country: Path, gadm: catalog.Dataset, content: str) -> None:
    (country / "gadm41_AAA_2.json").write_text(content)
    with pytest.raises(FormatUnknown, match=r"gadm41_AAA_2\.json"):
        discover.layers(country, gadm, gadm.release())


def test_an_empty_geojson_is_a_layer_without_rows(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = boundaries.write_geojson(tmp_path / "json", boundaries.levels(TWO_LEVELS))
    (folder / "gadm41_AAA_1.json").write_text('{"features": [], "type": "FeatureCollection"}')
    assert pipeline.state(pipeline.run(folder)) == ("published", None)
    assert (pipeline.rows("gadm_adm_0"), pipeline.rows("gadm_adm_1")) == (1, 0)


def test_links_are_followed_but_not_in_circles(country: Path, tmp_path: Path) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "country").symlink_to(country)
    (folder / "again").symlink_to(folder)
    (folder / "up").symlink_to(tmp_path)
    assert [layer.path.parent.name for layer in layers_of(folder).values()] == ["country", "country"]
    (folder / "gadm41_AAA_2.shp").symlink_to("nowhere.shp")
    with pytest.raises(SourceUnavailable, match=r"gadm41_AAA_2\.shp is a link to a file that is not there"):
        cache.version_of(Source(str(folder)))


def nested(root: Path, name: str, count: int) -> None:
    """Make folders inside each other, whose path may be longer than the system takes."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(count):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


@pytest.mark.parametrize(
    ("name", "count", "reason"),
    [
        ("a", 1500, "country contains more than 100 folders inside each other"),
        ("a" * 200, 30, "File name too long. Give the folders shorter names"),
        ("b" * 250 + ".gpkg", 0, "has a name of 255 bytes, and 240 are read. Give it a shorter name"),
        ("b" * 251 + ".shp", 0, "has a name of 255 bytes"),
        ("/".join(["c" * 200] * 6) + "/b.gpkg", 0, "has a path of 1,212 bytes"),
    ],
)
def test_a_folder_that_is_too_deep_or_has_too_long_names_is_refused(
    country: Path, name: str, count: int, reason: str
) -> None:
    if count:
        nested(country, name, count)
    else:
        (country / name).parent.mkdir(parents=True, exist_ok=True)
        (country / name).touch()
    with pytest.raises(SourceUnavailable, match=reason):
        cache.version_of(Source(str(country)))
    subprocess.run(["rm", "-rf", country / name], check=True)  # pytest removes folders one call a level


def test_a_folder_of_far_too_many_files_is_refused(country: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_FILES", len(list(country.iterdir())))
    assert cache.version_of(Source(str(country)))
    (country / "more").mkdir()
    with pytest.raises(SourceUnavailable, match=r"country contains more than .* files\. Put the files with the layers"):
        cache.version_of(Source(str(country)))


@pytest.mark.parametrize("name", ["gadm41_AAA_1.shp", "gadm41_AAA_1.dbf", "more.json"])
def test_a_part_that_may_not_be_read_is_named(country: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (country / "more.json").touch()
    monkeypatch.setattr("os.access", lambda path, _mode: path.name != name)
    with pytest.raises(SourceUnavailable, match=f"This user may not read .*{name}"):
        cache.version_of(Source(str(country)))


def test_a_member_whose_name_is_not_text_is_found_again(pipeline: Pipeline, tmp_path: Path) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels(TWO_LEVELS))
    folder = tmp_path / "source"
    folder.mkdir()
    path.rename(folder / os.fsdecode(b"latin\xe9\n.gpkg"))
    run_id = pipeline.run(folder)
    assert pipeline.state(run_id) == ("published", None)
    rows = ds.dataset(pipeline.lake / "gadm" / "current" / "gadm_adm_1").to_table()
    assert set(rows["source_file"].to_pylist()) == {r"latin\xe9\n.gpkg"}
