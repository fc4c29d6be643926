"""Copies in the warehouse: what was changed, cut or added there is noticed, and made again."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest import sources
from ingest.errors import CopyDamaged, DiskFull
from ingest.sinks.geoparquet import GeoParquetSink
from ingest.sources import cache, seal
from ingest.sources.address import Source
from tests.fixtures import boundaries
from tests.fixtures.publisher import Publisher, serving
from tests.ingest.conftest import Pipeline

BODY = b"level 0, level 1, level 2 " * 100


def change(path: Path) -> None:
    """Change one byte, and set the time of modification back."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(5)
        file.write(b"X")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_with_link(path: Path) -> None:
    """Put a link to another file in its place."""
    other = path.with_name("elsewhere")
    other.write_bytes(b"X" * path.stat().st_size)
    path.unlink()
    path.symlink_to(other)


def replace_with_folder(path: Path) -> None:
    """Put a folder in its place."""
    path.unlink()
    (path / "deep").mkdir(parents=True)


def replace_with_pipe(path: Path) -> None:
    """Put a pipe in its place, which nobody writes to."""
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "changed": change,
    "cut": lambda path: os.truncate(path, 100),
    "emptied": lambda path: os.truncate(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"X"),
    "gone": Path.unlink,
    "link": replace_with_link,
    "folder": replace_with_folder,
    "pipe": replace_with_pipe,
    "log beside it": lambda path: Path(f"{path}-wal").write_bytes(b"X" * 4096),
}
damaged = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """A publisher of one file."""
    with serving(BODY) as found:
        yield found


@pytest.fixture
def archive(tmp_path: Path) -> Source:
    """A zip with a GeoPackage in a folder and a GeoJSON."""
    with zipfile.ZipFile(tmp_path / "gadm.zip", "w") as made:
        made.writestr("deep/a.gpkg", BODY)
        made.writestr("b.geojson", '{"type": "FeatureCollection", "features": []}')
    return Source(str(tmp_path / "gadm.zip"))


def everything(folder: Path) -> dict[str, bytes]:
    """Return the content of every file that is read."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sources.parts.all_of(folder)}


@damaged
def test_a_damaged_download_is_downloaded_again(
    publisher: Publisher, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    source = Source(publisher.url("gadm.gpkg"))
    first = cache.fetch(source, tmp_path)
    for known in (None, first.sha256):
        damage(first.path)
        fetched = cache.fetch(source, tmp_path, known)
        assert fetched.path.read_bytes() == BODY
        assert cache.fetch(source, tmp_path, known).was_cached
    assert list(first.path.parent.glob("gadm.gpkg-*")) == []


@damaged
def test_a_damaged_copy_of_an_archive_is_unpacked_again(
    archive: Source, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    brought = sources.bring([archive], tmp_path)
    assert brought.fetched.sha256 is not None
    right = everything(brought.path)
    damage(brought.path / "deep" / "a.gpkg")
    assert sources.at_hand(brought.fetched.sha256, tmp_path) is None
    assert sources.at_hand(brought.fetched.sha256, tmp_path, "deep/a.gpkg") is None
    assert everything(sources.bring([archive], tmp_path).path) == right
    assert sources.at_hand(brought.fetched.sha256, tmp_path) == brought.path
    assert [path.name for path in (tmp_path / "unpacked").glob("*.old.*")] == []


@pytest.mark.parametrize(
    "what", ["a layer too many", "no folder", "a file instead", "no seal", "half a seal", "a folder as seal"]
)
def test_a_folder_that_is_not_what_was_unpacked_is_made_again(archive: Source, tmp_path: Path, what: str) -> None:
    folder = sources.bring([archive], tmp_path).path
    right = everything(folder)
    if what == "a layer too many":
        shutil.copy(folder / "b.geojson", folder / "c.geojson")
    elif what == "no seal":
        seal.beside(folder).unlink()
    elif what == "a folder as seal":
        replace_with_folder(seal.beside(folder))
    elif what == "half a seal":
        os.truncate(seal.beside(folder), 30)
    else:
        shutil.rmtree(folder)
        if what == "a file instead":
            folder.write_bytes(b"X")
    assert everything(sources.bring([archive], tmp_path).path) == right
    assert sources.is_intact(folder)


def test_a_copy_that_was_only_touched_is_read_once_and_kept(archive: Source, tmp_path: Path) -> None:
    folder = sources.bring([archive], tmp_path).path
    file = folder / "deep" / "a.gpkg"
    inode = file.stat().st_ino
    file.chmod(0o600)
    assert not any(entry.is_of(file) for entry in seal._read(seal.beside(folder)).values())
    assert sources.bring([archive], tmp_path).path == folder
    assert file.stat().st_ino == inode
    assert any(entry.is_of(file) for entry in seal._read(seal.beside(folder)).values())


def test_a_download_of_a_version_without_seals_is_read_and_not_downloaded_again(
    publisher: Publisher, tmp_path: Path
) -> None:
    source = Source(publisher.url("gadm.gpkg"))
    seal.beside(cache.fetch(source, tmp_path).path).unlink()
    assert cache.fetch(source, tmp_path).was_cached
    assert len(publisher.downloads()) == 1


def test_a_damaged_snapshot_is_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "gadm.gpkg"
    with sqlite3.connect(path) as writing:
        writing.execute("pragma journal_mode = wal")
        writing.execute("create table units as select 'Vestvåg' as name")
        writing.commit()
        first = sources.bring([Source(str(path))], tmp_path / "home")
        right = everything(first.path)
        change(first.path / "gadm.gpkg")
        assert everything(sources.bring([Source(str(path))], tmp_path / "home").path) == right


def test_everything_is_on_the_disk_before_the_seal_is_there(
    archive: Source, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[int, bool] = {}
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.setdefault(os.fstat(descriptor).st_ino, any(tmp_path.rglob("*.seal")))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    folder = sources.bring([archive], tmp_path).path
    for path in (folder / "deep" / "a.gpkg", folder / "b.geojson", folder / "deep", folder, folder.parent):
        assert synced[path.stat().st_ino] is False, path
    seal.beside(folder).unlink()
    synced.clear()
    path = cache.fetch(Source(publisher.url("gadm.gpkg")), tmp_path / "downloads").path
    assert (synced[path.stat().st_ino], synced[path.parent.stat().st_ino]) == (False, False)


def test_a_disk_that_says_only_at_the_end_that_it_is_full_is_told_as_such(
    archive: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="No space left on device"):
        sources.bring([archive], tmp_path)
    assert [path.suffix for path in (tmp_path / "unpacked").iterdir()] == [".lock"]


@pytest.fixture
def gadm_zip(tmp_path: Path) -> Path:
    """A zip of a country's GeoPackage."""
    made = boundaries.write_country_gpkg(tmp_path / "gadm41_AAA.gpkg", boundaries.levels({"AAA": 2}))
    with zipfile.ZipFile(tmp_path / "gadm41_AAA.zip", "w") as packed:
        packed.write(made, made.name)
    return tmp_path / "gadm41_AAA.zip"


def test_a_copy_that_is_changed_while_a_slice_is_read_is_made_again_and_the_slice_read_again(
    pipeline: Pipeline, gadm_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = GeoParquetSink.write
    changed: list[str] = []

    def change_first(self: GeoParquetSink, *arguments: Any) -> int:
        if not changed:
            (path,) = (tmp_path / "home" / "unpacked").rglob("*.gpkg")
            changed.append(hashlib.sha256(path.read_bytes()).hexdigest())
            change(path)
        return write(self, *arguments)

    monkeypatch.setattr(GeoParquetSink, "write", change_first)
    run_id = pipeline.run(gadm_zip)
    assert pipeline.state(run_id) == ("published", None)
    assert {fault.error_type for fault in pipeline.ledger.faults(run_id)} == {CopyDamaged.__name__}
    (path,) = (tmp_path / "home" / "unpacked").rglob("*.gpkg")
    assert [hashlib.sha256(path.read_bytes()).hexdigest()] == changed
    assert max(part.attempts for part in pipeline.ledger.slices(run_id)) == 2


def test_a_copy_that_is_changed_while_layers_are_planned_is_made_again(
    pipeline: Pipeline, gadm_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = pipeline.steps.discover.layers
    cut: list[Path] = []

    def cut_first(root: Path, *arguments: Any, **options: Any) -> Any:
        if not cut:
            (path,) = root.rglob("*.gpkg")
            os.truncate(path, 5000)
            cut.append(path)
        return layers(root, *arguments, **options)

    monkeypatch.setattr(pipeline.steps.discover, "layers", cut_first)
    assert pipeline.state(pipeline.run(gadm_zip)) == ("published", None)
    assert len(cut) == 1
