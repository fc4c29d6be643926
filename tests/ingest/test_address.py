"""A path is a path, made absolute where it is typed; only addresses are unquoted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingest import console
from ingest.cli import cli
from ingest.errors import SourceUnavailable, UsageError
from ingest.ledger import Ledger, Request
from ingest.pipeline import runs
from ingest.sources import cache
from ingest.sources.address import Source, absolute, printable
from tests.fixtures import boundaries

SHA256 = "ab" * 32


@pytest.mark.parametrize(
    "name",
    ["gadm%20TGO", "100%25", "a#b", "a#", "a?b", "a&b;c", 'it\'s "q"', "東京", "a\nb", "-x", " x ", "~", "a=b", "a@b"],
)
def test_what_is_typed_is_the_name_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).write_text("{}")
    monkeypatch.chdir(tmp_path)
    for text, sha256 in ((name, None), (f"{name}#sha256={SHA256}", SHA256)):
        source = Source.parse(absolute(text))
        assert (source.path, source.sha256) == (tmp_path / name, sha256)
        assert Source.parse(Source.parse(source.noted).noted) == source
    assert cache.fetch(Source.parse(absolute(name)), tmp_path).path == tmp_path / name


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("file:///data/gadm%20TGO.gpkg", "/data/gadm TGO.gpkg"),
        ("file://localhost/data/100%2525.gpkg", "/data/100%25.gpkg"),
        ("FILE:///data/a%23b#c.gpkg", "/data/a#b#c.gpkg"),
        ("file:///data/latin%E9.gpkg", os.fsdecode(b"/data/latin\xe9.gpkg")),
    ],
)
def test_the_address_of_a_file_is_unquoted(address: str, path: str) -> None:
    assert Source.parse(absolute(address)).path == Path(path)


@pytest.mark.parametrize("address", ["file://gadm.gpkg", "file://host/gadm.gpkg", "file://", "file:///a%00b"])
def test_the_address_of_a_file_elsewhere_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a file of this machine"):
        absolute(address)


def test_the_scheme_of_an_address_has_no_letter_case() -> None:
    assert Source.parse("HTTPS://host/A%20b.zip").location == "https://host/A%20b.zip"
    assert absolute("https://host/A%20b.zip") == "https://host/A%20b.zip"


def test_a_path_is_absolute_and_keeps_what_only_the_system_can_resolve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "x.json").write_text("right")
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "x.json").write_text("wrong")
    (tmp_path / "cwd" / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    monkeypatch.chdir(tmp_path / "cwd")
    path = Source.parse(absolute("link/../x.json")).path
    assert path is not None
    assert path.is_absolute()
    assert path.read_text() == "right"
    monkeypatch.chdir(tmp_path / "cwd" / "link")
    assert Path(absolute("../x.json")).read_text() == "right"
    assert absolute("/data/x.gpkg") == "/data/x.gpkg"


@pytest.mark.parametrize("path", ["C:\\data\\gadm.gpkg", "c:/data/gadm.gpkg", "\\\\host\\share\\gadm.gpkg"])
def test_a_path_of_windows_is_told_as_such_unless_there_is_such_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is a path of Windows"):
        absolute(path)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).touch()
    assert absolute(path) == str(tmp_path / path)


@pytest.mark.parametrize("text", ["", "#sha256=" + SHA256, "a\0b"])
def test_an_empty_path_is_a_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="is empty, or contains a null character"):
        absolute(text)


def test_a_folder_that_is_gone_makes_no_path_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UsageError, match="The current folder is gone"):
        absolute("x.gpkg")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("~/x.gpkg", "Only a shell replaces ~"),
        ("x" * 300, "File name too long"),
        ("/dev/null", "is neither a file nor a folder"),
    ],
)
def test_a_path_that_cannot_be_read_says_why(path: str, message: str) -> None:
    with pytest.raises(SourceUnavailable, match=message):
        cache.fetch(Source.parse(absolute(path)), Path("unused"))


def test_what_is_shown_of_a_path_is_one_line_of_text() -> None:
    name = os.fsdecode(b"/a\n\x1b[31m\xe9/B\xc3\xa9nin")
    assert printable(name) == Source(name).public == r"/a\n\x1b[31m\xe9/Bénin"
    assert Source(name).noted == name


@pytest.mark.parametrize("way", ["command", "start"])
def test_a_relative_path_means_the_folder_of_the_command(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    boundaries.write_levels_gpkg(tmp_path / "mine.gpkg", boundaries.levels({"AAA": 0}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "_see_through", lambda *_arguments, **_options: None)
    if way == "command":
        cli.main(["gadm", "--source", "./mine.gpkg", "--async"], standalone_mode=False)
    else:
        request = Request("gadm", "4.1", "sedonadb", ("mine.gpkg",), "custom")
        runs.start([request], console, workers=1, is_async=True)
    (run,) = ledger.active_runs()
    assert run.request.sources == (str(tmp_path / "mine.gpkg"),)
