"""A GeoPackage whose latest changes stand in a second file is read with them, and nothing of the user's is written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ingest import engines, sources
from ingest.errors import DiskFull, SourceDamaged
from ingest.settings import Settings
from ingest.sources import cache, parts, snapshot
from ingest.sources.address import Source
from tests.fixtures import boundaries
from tests.ingest.conftest import Pipeline, layers_of, read, slice_of


def edit(path: Path, *statements: str) -> sqlite3.Connection:
    """Edit a GeoPackage as another program does, and keep it open."""
    connection = sqlite3.connect(path, isolation_level=None)
    for (name,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
        connection.execute(f'drop trigger "{name}"')
    for statement in statements:
        connection.execute(statement)
    return connection


def country(folder: Path) -> Path:
    """Write a GeoPackage of four units."""
    folder.mkdir()
    return boundaries.write_levels_gpkg(folder / "gadm.gpkg", boundaries.levels({"AAA": 1}))


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A GeoPackage that another program holds open: a name and a fifth unit stand in the write-ahead log only."""
    path = country(tmp_path / "held")
    rest = "geom, GID_0, COUNTRY"
    connection = edit(
        path,
        "pragma journal_mode = wal",
        "pragma wal_autocheckpoint = 0",
        "update ADM_1 set NAME_1 = 'Renamed' where fid = 1",
        f"insert into ADM_1 (fid, {rest}, GID_1, NAME_1) select 9, {rest}, 'AAA.9_1', 'New' from ADM_1 where fid = 2",
    )
    with closing(connection):
        yield path


def names(root: Path) -> list[list[str]]:
    """Return the names of level 1 of each engine."""
    layer = layers_of(root)[1]
    return [read(engine, slice_of(layer))["name_1"].to_pylist() for engine in engines.ENGINES]


def bring(path: Path, home: Path) -> sources.Brought:
    """Bring a local source."""
    return sources.bring([Source(str(path))], home)


def log_of(path: Path) -> Path:
    """Return the write-ahead log of a GeoPackage."""
    return path.with_name(f"{path.name}-wal")


def copy(held: Path, path: Path) -> Path:
    """Copy a GeoPackage and its log, as from a machine that was switched off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(held, path)
    shutil.copy(log_of(held), log_of(path))
    return path


EXPECTED = [["Renamed", "Country AAA 2", "Country AAA 3", "Country AAA 4", "New"]] * 2


def test_a_geopackage_is_read_with_its_log_wherever_it_is(held: Path, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in held.parent.iterdir()}
    plain = copy(held, tmp_path / "plain" / "gadm.gpkg")
    capitals = copy(held, tmp_path / "capitals" / "GADM.GPKG")
    odd = copy(held, tmp_path / "o!;d" / "a?b#.gpkg")
    link = tmp_path / "links" / "linked.gpkg"
    link.parent.mkdir()
    link.symlink_to(plain)
    packed = tmp_path / "gadm.zip"
    boundaries.zip_files(packed, [plain, log_of(plain)])
    outer = boundaries.zip_files(tmp_path / "outer.zip", [packed])
    home = tmp_path / "home"
    for path in (held, held.parent, plain, capitals, odd, odd.parent, link, link.parent, packed, outer):
        brought = bring(path, home)
        assert names(brought.path) == EXPECTED, path
        assert brought.path.is_relative_to(home)
        assert sources.at_hand(brought.fetched.sha256, home) == brought.path
    assert {file.name: file.read_bytes() for file in held.parent.iterdir()} == before


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_log_is_found_in_whatever_letter_case_it_was_copied(held: Path, tmp_path: Path, is_packed: bool) -> None:
    path = copy(held, tmp_path / "x" / "GADM.GPKG")
    path = path.rename(path.with_name("Gadm.gpkg"))
    log_of(path.with_name("GADM.GPKG")).rename(path.with_name("GADM.GPKG-WAL"))
    source = boundaries.zip_files(tmp_path / "x.zip", sorted(path.parent.iterdir())) if is_packed else path
    assert names(bring(source, tmp_path / "home").path) == EXPECTED
    before = parts.checksum(path)
    other = shutil.copy(path, path.with_name("GADM.GPKG"))  # then it is the log of this one
    assert (parts.pending(path), parts.checksum(path) == before) == ([], False)
    assert parts.pending(Path(other)) == [path.with_name("GADM.GPKG-WAL")]


def test_what_is_no_log_is_refused_unless_nothing_is_in_it(tmp_path: Path) -> None:
    path = country(tmp_path / "x")
    log_of(path).write_bytes(bytes(5000))
    assert bring(path, tmp_path / "home").path == path
    log_of(path).write_bytes(b"<html>" * 1000)
    with pytest.raises(SourceDamaged, match="do not fit together: the -wal is not a write-ahead log"):
        bring(path, tmp_path / "home")


def test_a_geopackage_without_changes_beside_it_is_read_where_it_is(tmp_path: Path) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))
    edit(path, "pragma journal_mode = persist", "update ADM_1 set NAME_1 = 'Renamed' where fid = 1").close()
    log_of(path).touch()
    assert path.with_name("gadm.gpkg-journal").stat().st_size > 0
    assert bring(path, tmp_path / "home").path == path
    assert names(path)[0][0] == "Renamed"


def test_nothing_is_written_beside_a_geopackage_that_was_last_used_with_a_log(tmp_path: Path) -> None:
    path = country(tmp_path / "x")
    edit(path, "pragma journal_mode = wal", "update ADM_1 set NAME_1 = 'Renamed' where fid = 1").close()
    assert [file.name for file in path.parent.iterdir()] == ["gadm.gpkg"]
    os.utime(path.parent, (1, 1))
    assert names(bring(path, tmp_path / "home").path)[1][0] == "Renamed"
    assert path.parent.stat().st_mtime == 1


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_transaction_that_was_not_finished_is_rolled_back(tmp_path: Path, is_folder: bool) -> None:
    path = country(tmp_path / "x")
    change = ("update ADM_1 set NAME_1 = 'Half'", "create table t as select zeroblob(1000000)")
    with closing(edit(path, "pragma cache_size = 1", "begin", *change)):
        assert b"Half" in path.read_bytes()
        brought = bring(path.parent if is_folder else path, tmp_path / "home")
        assert names(brought.path)[0] == [f"Country AAA {number}" for number in range(1, 5)]


@pytest.mark.parametrize("pages", [slice(1, None), slice(12, 13)], ids=["nearly all", "one page"])
def test_a_log_of_another_file_is_refused_if_it_does_not_fit(held: Path, tmp_path: Path, pages: slice) -> None:
    path = copy(held, tmp_path / "x" / "gadm.gpkg")
    content = np.fromfile(path, dtype=np.uint8).reshape(-1, 4096)
    content[pages] = 0
    content.tofile(path)
    with pytest.raises(SourceDamaged, match=r"gadm\.gpkg and the file with its latest changes do not fit together"):
        bring(path, tmp_path / "home")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(path, "gadm.gpkg")
        archive.write(log_of(path), "gadm.gpkg-wal")
    with pytest.raises(SourceDamaged, match="do not fit together"):
        bring(tmp_path / "x.zip", tmp_path / "home")
    assert not [file for file in (tmp_path / "home" / "unpacked").iterdir() if file.is_dir()]


def test_a_merge_takes_a_limited_time_and_computes_no_conditions_of_the_author(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = country(tmp_path / "x")
    statements = (
        "pragma journal_mode = wal",
        "pragma ignore_check_constraints = on",
        "create table slow (x check (x < 0))",
        "insert into slow values (1)",
    )
    with closing(edit(path, *statements)):
        assert bring(path, tmp_path / "home").path != path
        monkeypatch.setattr(snapshot, "MERGE_SECONDS", -1e9)
        monkeypatch.setattr(snapshot, "MERGE_STEPS", 1)
        with pytest.raises(SourceDamaged, match=r"takes too long to merge"):
            bring(path, tmp_path / "again")
    assert list((tmp_path / "again" / "unpacked").iterdir()) == []


def test_an_edit_in_the_log_is_another_version_with_another_checksum(held: Path, tmp_path: Path) -> None:
    source, home = Source(str(held)), tmp_path / "home"
    version, sha256 = cache.version_of(source), bring(held, home).fetched.sha256
    assert (cache.version_of(source), bring(held, home).fetched.sha256) == (version, sha256)
    with closing(edit(held, "update ADM_1 set NAME_1 = 'Again' where fid = 1")):
        assert cache.version_of(source) != version
        assert bring(held, home).fetched.sha256 != sha256


def test_a_geopackage_that_is_written_to_all_the_time_is_refused(
    held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copyfile, edits = shutil.copyfile, iter(range(100))

    def while_it_is_edited(source: Path, target: Path) -> None:
        copyfile(source, target)
        edit(held, f"update ADM_1 set NAME_1 = 'Name {next(edits)}' where fid = 1").close()

    monkeypatch.setattr(shutil, "copyfile", while_it_is_edited)
    with pytest.raises(SourceDamaged, match=r"gadm\.gpkg changed while it was being read"):
        bring(held, tmp_path / "home")
    assert next(edits) == 2 * snapshot.ATTEMPTS


def test_a_copy_that_does_not_fit_is_refused_beforehand(
    held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=snapshot.FREE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(DiskFull, match=r"gadm\.gpkg has to be copied: it needs"):
        bring(held, tmp_path / "home")


@pytest.mark.parametrize("is_zip", [False, True])
def test_a_load_sees_what_stood_in_the_log_when_it_was_fetched(
    pipeline: Pipeline, held: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, is_zip: bool
) -> None:
    source = boundaries.zip_files(tmp_path / "x.zip", [held, log_of(held)]) if is_zip else held
    layers = pipeline.steps.discover.layers

    def edited(*arguments: object, **options: object) -> object:
        edit(held, "update ADM_1 set NAME_1 = 'Too late'", "delete from ADM_1 where fid = 9").close()
        return layers(*arguments, **options)

    monkeypatch.setattr(pipeline.steps.discover, "layers", edited)
    run_id = pipeline.run(source)
    assert pipeline.state(run_id) == ("published", None)
    assert pipeline.rows("gadm_adm_1") == 5
    assert pipeline.ledger.run(run_id).checksum == pipeline.ledger.files(run_id)[0].checksum != parts.checksum(held)
