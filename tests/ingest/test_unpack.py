"""Zips: what can be read is written, once; what climbs, links, hides or swells is refused before a byte is written."""

from __future__ import annotations

import hashlib
import random
import shutil
import stat
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ingest.errors import ArchiveInvalid, SourceDamaged
from ingest.sources import archive, parts
from ingest.sources.cache import Fetched
from ingest.sources.signatures import CHUNK_BYTES

BYTES = random.Random(2).randbytes(5000)


def fetched(path: Path) -> Fetched:
    """Describe a local file as `fetch` does."""
    content = path.read_bytes()
    return Fetched(path, len(content), hashlib.sha256(content).hexdigest(), was_cached=True)


def zip_of(path: Path, members: Mapping[Any, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip with these members."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def unpack(path: Path, tmp_path: Path) -> Path:
    """Unpack a file below the home of the test."""
    return archive.unpack(fetched(path), tmp_path / "home")


def assert_refused(path: Path, tmp_path: Path, reason: str) -> None:
    """Make sure that an archive is refused for this reason and has left nothing behind."""
    (tmp_path / "home").mkdir(exist_ok=True)
    before = sorted(file for file in tmp_path.rglob("*"))
    with pytest.raises(ArchiveInvalid, match=reason):
        unpack(path, tmp_path)
    after = sorted(file for file in tmp_path.rglob("*"))
    assert [file for file in after if file.suffix != ".lock" and file.name != "unpacked"] == before


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_only_what_can_be_read_is_unpacked_with_its_folders(tmp_path: Path) -> None:
    members = {
        "a/ADM.gpkg": b"1",
        "b/x.SHP": b"2",
        "b/x.dbf": b"3",
        "licence.txt": b"4",
        "__MACOSX/a/._ADM.gpkg": b"5",
        "run.sh": b"6",
    }
    folder = unpack(zip_of(tmp_path / "gadm.zip", members), tmp_path)
    assert contents(folder) == {"a/ADM.gpkg": b"1", "b/x.SHP": b"2", "b/x.dbf": b"3"}


def test_backslashes_separate_and_a_colon_is_a_character(tmp_path: Path) -> None:
    members = {"a\\b\\x.shp": b"1", "a/12:30.gpkg": b"2", "notes 12:30.txt": b"3", "C:x.json": b"4", "b\\": b""}
    folder = unpack(zip_of(tmp_path / "gadm.zip", members), tmp_path)
    assert contents(folder) == {"a/b/x.shp": b"1", "a/12:30.gpkg": b"2", "C:x.json": b"4"}


def test_of_members_with_one_path_the_last_wins(tmp_path: Path) -> None:
    path = tmp_path / "gadm.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as written:
        warnings.simplefilter("ignore")
        for name, content in (
            ("a/x.dbf", b"1"),
            ("a/x.shp", b"2"),
            ("./a//x.dbf", b"3"),
            ("a\\x.dbf", b"4"),
        ):
            written.writestr(name, content)
    assert contents(unpack(path, tmp_path)) == {"a/x.dbf": b"4", "a/x.shp": b"2"}


def test_what_is_passed_over_is_logged_once_for_each_kind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    bystanders = {f"__MACOSX/{number}/._x.shp": b"" for number in range(1000)}
    bystanders |= {
        "a/._x.gpkg": b"",
        ".DS_Store": b"",
        "Thumbs.db": b"",
        "style.qml": b"",
        "LICENCE": b"",
        ".git/x.json": b"",
    }
    folder = unpack(zip_of(tmp_path / "gadm.zip", {"x.gpkg": b"1", **bystanders}), tmp_path)
    assert contents(folder) == {"x.gpkg": b"1"}
    lines = [line for line in caplog.messages if "passed over" in line]
    assert len(lines) == 2
    assert lines[0].endswith("__MACOSX/0/._x.shp, __MACOSX/1/._x.shp, __MACOSX/2/._x.shp and 1,000 more.")
    assert lines[1] == "gadm.zip: passed over other files: Thumbs.db, style.qml, LICENCE."


def test_a_bystander_may_be_a_link_or_encrypted(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("latest")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    assert contents(unpack(zip_of(tmp_path / "gadm.zip", {"x.gpkg": b"1", link: b"x.gpkg"}), tmp_path)) == {
        "x.gpkg": b"1"
    }


def test_zips_in_a_zip_are_opened_and_those_in_them_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    innermost = zip_of(tmp_path / "innermost", {"x.gpkg": b"3"}).read_bytes()
    inner = {"x.gpkg": b"2", "sub/y.shp": b"4", "deep.zip": innermost}
    packed = zip_of(tmp_path / "inner", inner).read_bytes()
    folder = unpack(zip_of(tmp_path / "gadm.zip", {"x.gpkg": b"1", "a/AAA.ZIP": packed, "._b.zip": b"x"}), tmp_path)
    assert contents(folder) == {"x.gpkg": b"1", "a/AAA.ZIP/x.gpkg": b"2", "a/AAA.ZIP/sub/y.shp": b"4"}
    assert "AAA.ZIP: passed over zip archives inside zip archives inside this one: deep.zip." in caplog.messages


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        ({"../evil.gpkg": b"1"}, "leads out of the archive"),
        ({"a.gpkg": bytes(archive.UNPACK_RATIO * CHUNK_BYTES + 1)}, "zip bomb"),
        ({"a.csv": b"1"}, "contains no GeoPackage"),
        (None, "damaged"),
    ],
)
def test_a_zip_in_a_zip_is_no_safer_than_the_outer_one(
    tmp_path: Path, inner: dict[str, bytes] | None, reason: str
) -> None:
    packed = b"PK" if inner is None else zip_of(tmp_path / "inner", inner).read_bytes()
    (tmp_path / "inner").unlink(missing_ok=True)
    assert_refused(zip_of(tmp_path / "gadm.zip", {"inner.zip": packed}), tmp_path, reason)


def test_a_zip_is_told_by_its_bytes_where_its_name_says_nothing(tmp_path: Path) -> None:
    for name in ("download", "gadm.dat", "GADM.ZIP"):
        path = zip_of(tmp_path / name, {"x.gpkg": name.encode()})
        assert contents(unpack(path, tmp_path)) == {"x.gpkg": name.encode()}


def test_a_zip_that_changes_while_it_is_read_leaves_nothing_behind(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "gadm.zip", {"a.gpkg": b"1"})
    before = replace(fetched(path), stats=parts.stats([path]))
    zip_of(path, {"a.gpkg": b"2"})
    with pytest.raises(SourceDamaged, match=r"gadm\.zip changed while it was being read"):
        archive.unpack(before, tmp_path / "home")
    assert before.sha256 is not None
    assert archive.unpacked(before.sha256, tmp_path / "home") is None


def test_an_archive_is_unpacked_once_per_checksum(tmp_path: Path) -> None:
    first = unpack(zip_of(tmp_path / "one.zip", {"a.gpkg": b"1"}), tmp_path)
    inode = (first / "a.gpkg").stat().st_ino
    shutil.copy(tmp_path / "one.zip", tmp_path / "same.zip")
    assert unpack(tmp_path / "same.zip", tmp_path) == first
    assert (first / "a.gpkg").stat().st_ino == inode
    assert unpack(zip_of(tmp_path / "two.zip", {"a.gpkg": b"2"}), tmp_path) != first


def test_what_was_unpacked_is_found_by_its_checksum(tmp_path: Path) -> None:
    file = fetched(zip_of(tmp_path / "one.zip", {"a.gpkg": b"1"}))
    assert file.sha256 is not None
    assert archive.unpacked(file.sha256, tmp_path / "home") is None
    assert archive.unpacked(file.sha256, tmp_path / "home") is None
    folder = archive.unpack(file, tmp_path / "home")
    assert archive.unpacked(file.sha256, tmp_path / "home") == folder


def test_what_is_no_zip_by_name_is_left_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "gadm.gpkg"
    path.write_bytes(b"1")
    assert unpack(path, tmp_path) == path
    assert archive.unpack(Fetched(tmp_path, 1, "0" * 64, was_cached=True), tmp_path) == tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "../evil.gpkg",
        "a/../../evil.gpkg",
        "/etc/evil.gpkg",
        "..\\evil.gpkg",
        "a\\..\\..\\evil.gpkg",
        "a/..\\../evil.gpkg",
        "\\evil.gpkg",
        "\\\\host\\share\\evil.gpkg",
        "C:/evil.gpkg",
        "c:\\evil.gpkg",
        "._x/../../evil.txt",
        "../evil.txt",
    ],
)
def test_a_member_that_climbs_out_is_refused(tmp_path: Path, name: str) -> None:
    path = zip_of(tmp_path / "gadm.zip", {"good.gpkg": b"1", name: b"2"})
    assert_refused(path, tmp_path, "leads out of the archive")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x" * 400 + ".gpkg", r"has a name of 405 bytes, and 240 are read\. Pack it again"),
        ("x" * 400 + "\\x.gpkg", "has a name of 400 bytes"),
        ("é" * 125 + ".gpkg", "has a name of 255 bytes"),
        ("x" * 240 + ".zip", "has a name of 244 bytes"),
        (f"{'x' * 200}/" * 6 + "x.gpkg", "has a path of 1,212 bytes, and 1,024 are read"),
        ("a/" * 1500 + "x.gpkg", "lies in 1,500 folders inside each other, and 100 are read"),
    ],
)
def test_a_member_with_a_path_that_no_file_can_have_is_refused_and_a_bystander_passed_over(
    tmp_path: Path, name: str, reason: str
) -> None:
    assert_refused(zip_of(tmp_path / "bad.zip", {"good.gpkg": b"1", name: b"2"}), tmp_path, reason)
    folder = unpack(zip_of(tmp_path / "gadm.zip", {"good.gpkg": b"1", f"{name}.txt": b"2"}), tmp_path)
    assert contents(folder) == {"good.gpkg": b"1"}


@pytest.mark.parametrize("limit", [(parts, "MAX_FILES", 5), (archive, "MAX_DIRECTORY_BYTES", 200)])
def test_an_archive_of_far_too_many_members_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: tuple[object, str, int]
) -> None:
    monkeypatch.setattr(*limit)
    many = zip_of(tmp_path / "gadm.zip", {"x.gpkg": b"1", **{f"{number}.txt": b"" for number in range(5)}})
    assert_refused(many, tmp_path, r"gadm\.zip has more than 50,000 members|more than 5 members\. Unpack it")


def test_archives_in_an_archive_count_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_FILES", 5)
    few = zip_of(tmp_path / "few", {f"{number}.txt": b"" for number in range(4)}).read_bytes()
    path = zip_of(tmp_path / "gadm.zip", {"x.gpkg": b"1", "more.zip": few})
    assert_refused(path, tmp_path, r"gadm\.zip has more than 5 members")


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.gpkg")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert_refused(zip_of(tmp_path / "gadm.zip", {"good.gpkg": b"1", link: b"/etc/passwd"}), tmp_path, "symbolic link")


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "gadm.zip", {"a.gpkg": b"1"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert_refused(path, tmp_path, "encrypted")


def test_a_compression_that_is_not_known_is_no_damage(tmp_path: Path) -> None:
    content = bytearray(zip_of(tmp_path / "gadm.zip", {"a.gpkg": BYTES}).read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(mark) + offset] = 9  # Deflate64, as Windows uses it beyond two gigabytes
    (tmp_path / "gadm.zip").write_bytes(content)
    assert_refused(
        tmp_path / "gadm.zip", tmp_path, "cannot be unpacked: .* not supported. Unpack it, and give the folder"
    )


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "gadm.zip", {"a.gpkg": bytes(archive.UNPACK_RATIO * CHUNK_BYTES + 1)})
    assert path.stat().st_size < CHUNK_BYTES
    assert_refused(path, tmp_path, "zip bomb")


def test_many_members_that_swell_together_are_a_bomb_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "CHUNK_BYTES", 1000)
    members: dict[str, bytes] = {f"{number}.gpkg": bytes(archive.UNPACK_RATIO * 1000 // 2) for number in range(40)}
    assert_refused(zip_of(tmp_path / "gadm.zip", members), tmp_path, "zip bomb")


def test_a_member_that_lies_about_its_size_writes_no_more_than_it_says(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "gadm.zip", {"a.gpkg": bytes(100_000)})
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(content)
    assert_refused(path, tmp_path, "damaged")


def test_a_member_that_is_shorter_than_the_archive_says_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "gadm.zip", {"a.gpkg": BYTES})
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(mark) + offset
        content[at : at + 4] = (len(BYTES) + 1).to_bytes(4, "little")
    path.write_bytes(content)
    assert_refused(path, tmp_path, "does not have its stated length")


def test_a_small_archive_may_hold_a_file_that_compresses_well(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "gadm.zip", {"a.gpkg": bytes(CHUNK_BYTES)})
    assert path.stat().st_size * archive.UNPACK_RATIO < CHUNK_BYTES
    assert (unpack(path, tmp_path) / "a.gpkg").stat().st_size == CHUNK_BYTES


def test_an_archive_that_does_not_fit_on_the_disk_is_refused_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=archive.UNPACK_FREE_BYTES + 4999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert_refused(zip_of(tmp_path / "gadm.zip", {"a.gpkg": BYTES}), tmp_path, "5,000 bytes .* free")


def test_a_disk_that_fills_up_while_unpacking_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_source: object, file: object, _length: int) -> None:
        file.write(b"begun")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    assert_refused(zip_of(tmp_path / "gadm.zip", {"a.gpkg": BYTES}), tmp_path, "No space left on device")


@pytest.mark.parametrize(("count", "message"), [(1, "damaged"), (10, "damaged"), (4000, "its end is missing")])
def test_a_truncated_archive_is_refused(tmp_path: Path, count: int, message: str) -> None:
    path = zip_of(tmp_path / "gadm.zip", {"a.gpkg": BYTES})
    path.write_bytes(path.read_bytes()[:-count])
    assert_refused(path, tmp_path, message)


def test_a_web_page_under_the_name_of_a_zip_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "gadm.zip"
    path.write_text("\n <!DOCTYPE html><html><body>503 Service Unavailable</body></html>")
    assert_refused(path, tmp_path, "HTML page")


def test_an_empty_file_under_the_name_of_a_zip_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "gadm.zip"
    path.touch()
    assert_refused(path, tmp_path, "empty")


@pytest.mark.parametrize("members", [{}, {"a.csv": b"1", "b/": b"", "metadata.json": b"{}", "x.shx": b"1"}])
def test_an_archive_with_nothing_to_read_is_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    assert_refused(zip_of(tmp_path / "gadm.zip", members), tmp_path, r"gadm\.zip contains no GeoPackage")


@pytest.mark.parametrize("names", [("a.shp", "a.shp/b.shp"), (".", "a.gpkg/b.gpkg", "a.gpkg")])
def test_members_that_cannot_stand_side_by_side_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "gadm.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")  # of two members with one name
        for name in names:
            archive.writestr(name, b"1")
    assert_refused(path, tmp_path, "damaged|cannot be unpacked")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED])
def test_a_member_whose_bytes_are_damaged_is_refused(tmp_path: Path, method: int) -> None:
    path = zip_of(tmp_path / "gadm.zip", {"a.gpkg": BYTES}, method)
    content = bytearray(path.read_bytes())
    for at in range(50, len(content) - 120, 3):
        content[at] ^= 0xFF
    path.write_bytes(content)
    assert_refused(path, tmp_path, "damaged|cannot be unpacked")


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    at=st.integers(0, 10**6),
    value=st.integers(0, 255),
    method=st.sampled_from([zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]),
)
def test_an_archive_with_a_wrong_byte_anywhere_is_unpacked_right_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int, method: int
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path = zip_of(folder / "gadm.zip", {"a.gpkg": b"level" * 40, "b.gpkg": BYTES[:300]}, method)
    content = bytearray(path.read_bytes())
    content[at % len(content)] = value
    path.write_bytes(content)
    try:
        unpacked = archive.unpack(fetched(path), folder / "home")
    except ArchiveInvalid:
        return
    assert {file.read_bytes() for file in unpacked.rglob("*.gpkg")} <= {b"level" * 40, BYTES[:300]}
