"""Damage of a warehouse is noticed by the next load, by a build and by the doctor, and repaired where it can be."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from admin_boundaries.duckdb_edition import Edition
from admin_boundaries.warehouse import open_warehouse
from ingest import catalog
from ingest.errors import FileUnusable, LedgerDamaged, QueueDamaged, TargetUnavailable
from ingest.ledger import Ledger, Request, RunState
from ingest.ledger.records import RAW_SHAPE
from ingest.pipeline import consumer, damage, prune, publication, queue, runs
from ingest.settings import Settings
from ingest.setup.doctor import Check
from ingest.sinks import Staging
from ingest.sinks.geoparquet import GeoParquetSink
from ingest.sources import seal, snapshot
from tests.fixtures import boundaries
from tests.ingest.conftest import batches_of, claimed_slice, planned_slice
from tests.ingest.test_cli import run as run_command
from tests.ingest.test_seal import DAMAGES, replace_with_folder

GADM = catalog.get("gadm")
IDENTITY = f'[{RAW_SHAPE}, "", []]'
DEAD = 4_000_000_000  # no process has such a number


def publish(settings: Settings, path: Path) -> str:
    """Load and publish a run with one slice of four rows, and return its id."""
    ledger, sink = Ledger(settings), GeoParquetSink(settings)
    ledger.open()
    for name, dataset in catalog.datasets().items():
        sink.ensure_published(name, dataset.tables)
    run_id = ledger.create_run(Request("gadm", "4.1", "sedonadb", ("/gadm.zip",), "custom"), IDENTITY)
    ledger.set_state(run_id, RunState.PLANNING)
    ledger.create_slices(run_id, [planned_slice()])
    staging = Staging(run_id, "gadm", "4.1")
    sink.prepare(staging, GADM.tables)
    claimed = claimed_slice(ledger, run_id)
    noted = lambda rows: Ledger.loaded(claimed, rows_read=rows, rows_loaded=rows)  # noqa: E731
    sink.write(staging, 0, GADM.table(1), batches_of(path), noted)
    publication.publish(ledger, sink, run_id)
    return run_id


@pytest.fixture(scope="module")
def level_1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with four units at level 1."""
    return boundaries.write_levels_gpkg(tmp_path_factory.mktemp("damage") / "gadm.gpkg", boundaries.levels({"AAA": 1}))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, level_1: Path) -> tuple[Path, str]:
    """A warehouse with a published run, and the id of the run."""
    home = tmp_path_factory.mktemp("whole") / "home"
    settings = Settings(target="embedded", home=home, postgres=None, redis_url="", secret="s")
    return home, publish(settings, level_1)


@pytest.fixture
def run_id(whole: tuple[Path, str], settings: Settings) -> str:
    """Copy that warehouse to the home of the test, and return the id of the run."""
    shutil.copytree(whole[0], settings.home, symlinks=True)
    return whole[1]


def file_of(settings: Settings, run_id: str) -> Path:
    """Return the file of the slice."""
    return settings.lake / "gadm" / "runs" / run_id / "gadm_adm_1" / "slice-0000.parquet"


def examined(settings: Settings, *, is_repaired: bool = False) -> dict[str, Check]:
    """Return the checks by what was checked."""
    return {check.what: check for check in damage.examine(settings, is_repaired=is_repaired)}


def faults(settings: Settings, *, is_repaired: bool = False) -> list[str]:
    """Return what is damaged."""
    return [what for what, check in examined(settings, is_repaired=is_repaired).items() if not check.is_good]


def restored(settings: Settings) -> tuple[set[str], list[str]]:
    """Do what every load does first; return what has to be loaded again, and what was said."""
    told: list[str] = []
    return publication.restore(Ledger(settings), GeoParquetSink(settings), told.append), told


def test_a_warehouse_in_which_nothing_is_damaged_is_whole(settings: Settings, run_id: str) -> None:
    assert faults(settings) == []
    said = examined(settings)
    assert (said["published gadm"].detail, said["published timezones"].detail) == ("whole", "nothing")
    assert restored(settings) == (set(), [])
    assert Edition(settings.home / "warehouse.duckdb").lake.damage_of_run("gadm", run_id) == ""


def twice(path: Path) -> None:
    """Put the rows of a slice into the table once more."""
    shutil.copy(path, path.with_name("slice-0001.parquet"))


LOST = {name: do for name, do in DAMAGES.items() if name != "log beside it"}
LOST["no folder"] = lambda path: shutil.rmtree(path.parents[1])


@pytest.mark.parametrize("do", [*LOST.values(), twice], ids=[*LOST, "twice"])
def test_a_slice_that_is_not_what_was_loaded_is_loaded_again_and_stops_a_build(
    settings: Settings, run_id: str, do: Callable[[Path], object]
) -> None:
    do(file_of(settings, run_id))
    assert faults(settings) == ["published gadm"]
    assert "python -m ingest gadm" in examined(settings, is_repaired=True)["published gadm"].fix
    again, told = restored(settings)
    assert again == {"gadm"}
    assert "gadm_adm_1" in told[0]
    assert "gadm has to be loaded again" in told[0]
    if do is not twice:  # dbt counts the rows as well
        found = Edition(settings.home / "warehouse.duckdb").lake.damage_of_run("gadm", run_id)
        assert f"Run {run_id} of gadm is damaged" in found
        assert "python -m ingest gadm" in found


class Told(list[str]):
    """What a command says."""

    say = list.append

    def counts(self, *_arguments: object) -> None:
        """Count nothing."""


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_load_does_not_say_unchanged_over_a_damaged_publication(
    settings: Settings, run_id: str, monkeypatch: pytest.MonkeyPatch, is_damaged: bool
) -> None:
    monkeypatch.setattr(runs, "read_settings", lambda: settings)
    monkeypatch.setattr(runs, "_identity", lambda *_arguments: IDENTITY)
    monkeypatch.setattr(runs, "_see_through", lambda *_arguments, **_options: None)
    monkeypatch.setattr(consumer, "queue_id", lambda _settings: "queue")
    if is_damaged:
        os.truncate(file_of(settings, run_id), 100)
    told = Told()
    runs.start([Request("gadm", "4.1", "sedonadb", ("/gadm.zip",), "custom")], told, workers=1, is_async=True)  # type: ignore[arg-type]
    assert any("unchanged" in text for text in told) is not is_damaged
    assert (Ledger(settings).active_run("gadm") is not None) is is_damaged


def copy_instead(link: Path) -> None:
    """Put a copy of the run in the place of the link, as programs do that follow links."""
    run = link.resolve()
    link.unlink()
    shutil.copytree(run, link)


def file_instead(link: Path) -> None:
    """Put a file in the place of the link."""
    link.unlink()
    link.touch()


def point(link: Path, where: str) -> None:
    """Let the link lead elsewhere."""
    link.unlink()
    link.symlink_to(where)


LINKS: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "dangling": lambda link: point(link, "runs/nowhere"),
    "of no run": lambda link: point(link, "runs/empty"),
    "elsewhere": lambda link: point(link, "../timezones/runs/empty"),
    "copied": copy_instead,
    "file": file_instead,
    "an empty table is missing": lambda link: shutil.rmtree(link / "gadm_adm_5"),
}


@pytest.mark.parametrize("do", LINKS.values(), ids=LINKS)
def test_readers_find_the_published_run_again(settings: Settings, run_id: str, do: Callable[[Path], object]) -> None:
    link = settings.lake / "gadm" / "current"
    do(link)
    assert faults(settings) == ["published gadm"]
    again, told = restored(settings)
    assert (again, len(told)) == (set(), 1)
    assert f"instead of run {run_id}. They find it again." in told[0]
    assert (link.is_symlink(), link.resolve().name) == (True, run_id)
    assert sum(pq.read_metadata(file).num_rows for file in link.glob("*/*.parquet")) == 4
    assert faults(settings) == []


def test_a_run_that_is_being_published_is_not_taken_for_damage(
    settings: Settings, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, sink = Ledger(settings), GeoParquetSink(settings)
    (settings.lake / "gadm" / "current").unlink()
    hold = Ledger.hold_published

    def too_late(connection: object, run_id: str) -> bool:
        monkeypatch.setattr(Ledger, "hold_published", staticmethod(hold))
        return False  # another process has published meanwhile

    monkeypatch.setattr(Ledger, "hold_published", staticmethod(too_late))
    assert not publication._show_again(ledger, sink, "gadm")
    assert not (settings.lake / "gadm" / "current").exists()
    assert publication._show_again(ledger, sink, "gadm")


def test_an_earlier_publication_that_lost_rows_is_named_and_no_fault(
    settings: Settings, run_id: str, level_1: Path
) -> None:
    publish(settings, level_1)
    os.truncate(file_of(settings, run_id), 100)
    earlier = examined(settings)["earlier gadm"]
    assert (earlier.is_good, earlier.is_needed) == (False, False)
    assert run_id in earlier.detail


@pytest.mark.parametrize("do", [DAMAGES["emptied"], DAMAGES["gone"], DAMAGES["zeros"]])
def test_a_damaged_copy_of_the_ledger_is_written_again(
    settings: Settings, run_id: str, do: Callable[[Path], object]
) -> None:
    do(settings.lake / "ledger" / "ingest_slices.parquet")
    assert faults(settings) == ["copy of the ledger for dbt"]
    assert "doctor --repair" in Edition(settings.home / "warehouse.duckdb").lake.damage_of_run("gadm", run_id)
    (settings.lake / "ledger" / "ingest_runs.parquet").write_bytes(b"X" * 99)
    with pytest.raises(TargetUnavailable, match=r"doctor --repair"), open_warehouse(settings):
        pass
    assert "written again" in examined(settings, is_repaired=True)["copy of the ledger for dbt"].detail
    assert faults(settings) == []


def overwrite(file: Path) -> None:
    """Overwrite all pages but the first."""
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(os.urandom(size - 4096))


def misspell(file: Path) -> None:
    """Replace the state of a run by a text that is none."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("update ingest_runs set state = 'publishud'")


OF_SQLITE: dict[str, Callable[[Path], object]] = {
    "overwritten": overwrite,
    "cut": lambda file: os.truncate(file, 9000),
    "another file": lambda file: file.write_bytes(b"X" * 9000),
    "folder": replace_with_folder,
}
OF_LEDGER = {
    **OF_SQLITE,
    "empty": lambda file: os.truncate(file, 0),
    "gone": Path.unlink,
    "of another program": lambda file: replace_with_database(file, "create table cookies (name text)"),
    "without tables": lambda file: replace_with_database(file, "pragma user_version = 1"),
}


def replace_with_database(file: Path, statement: str) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize("do", OF_LEDGER.values(), ids=OF_LEDGER)
def test_a_damaged_ledger_is_one_sentence_with_what_to_do(
    settings: Settings,
    run_id: str,
    do: Callable[[Path], object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = settings.home / "ledger.sqlite"
    do(file)
    with pytest.raises(LedgerDamaged, match=r"is damaged: .* backup"):
        Ledger(settings).open()
    assert faults(settings, is_repaired=True) == ["ledger"]
    assert "backup" in examined(settings)["ledger"].fix
    monkeypatch.setattr(runs, "read_settings", lambda: settings)
    code, printed = run_command("status", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 1
    assert f"The ledger {file} is damaged" in printed
    assert "Traceback" not in printed
    # what it says to do
    for path in (file, settings.lake):
        if path.exists():
            path.rename(path.with_name(f"old-{path.name}"))
    Ledger(settings).open()
    assert faults(settings) == []


def test_a_state_that_no_version_wrote_is_damage(settings: Settings, run_id: str) -> None:
    misspell(settings.home / "ledger.sqlite")
    assert faults(settings) == ["ledger"]
    with pytest.raises(LedgerDamaged, match="publishud"):
        Ledger(settings).recent_runs()


@pytest.mark.parametrize("do", OF_SQLITE.values(), ids=OF_SQLITE)
def test_a_damaged_queue_is_removed_by_a_repair(settings: Settings, run_id: str, do: Callable[[Path], object]) -> None:
    file = settings.home / "queue.sqlite"
    storage = queue.create(settings).storage
    storage.put_data("key", b"value")
    storage.close()
    do(file)
    with pytest.raises(QueueDamaged, match=r"doctor --repair"):
        queue.create(settings).storage.peek_data("key")
    assert faults(settings) == ["queue"]
    assert "removed" in examined(settings, is_repaired=True)["queue"].detail
    assert not file.exists()
    queue.create(settings).storage.put_data("key", b"value")
    assert faults(settings) == []


def test_a_queue_that_is_damaged_while_it_is_open_is_told_as_such(settings: Settings) -> None:
    storage = queue.create(settings).storage
    for number in range(500):
        storage.enqueue(b"message" * 50, number)
    storage.close()
    overwrite(settings.home / "queue.sqlite")
    with pytest.raises(QueueDamaged, match="is damaged"):
        storage.dequeue()


def test_a_repair_says_what_it_did_and_fails_while_something_is_left_for_a_person(
    settings: Settings, run_id: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_HOME", str(settings.home))
    monkeypatch.setenv("COLUMNS", "300")
    folder = settings.home / "unpacked" / f"{'0' * 16}-{snapshot.EDITION}"
    folder.mkdir(parents=True)
    (folder / "a.gpkg").write_bytes(b"1")
    seal.put(folder)
    (folder / "a.gpkg").write_bytes(b"2")
    (settings.home / "queue.sqlite").write_bytes(b"X" * 5000)
    (settings.lake / "gadm" / "current").unlink()
    draft = settings.lake / "gadm" / "runs" / run_id / "gadm_adm_1" / f".slice-0000.parquet.{DEAD}"
    mine = draft.with_suffix(f".{os.getpid()}")
    draft.touch()
    mine.touch()
    code, printed = run_command("doctor", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 1
    assert printed.count("doctor --repair") == 4
    assert folder.exists()
    code, printed = run_command("doctor", "--repair", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 0
    for done in ("They find it again", "It is removed", f"{folder}. Removed", f"{draft}. They are removed"):
        assert done in printed
    assert (folder.exists(), draft.exists(), mine.exists()) == (False, False, True)
    assert run_command("doctor", capsys=capsys, monkeypatch=monkeypatch)[0] == 0
    os.truncate(file_of(settings, run_id), 0)
    assert run_command("doctor", "--repair", capsys=capsys, monkeypatch=monkeypatch)[0] == 1


def test_tables_on_a_disk_that_is_not_mounted_are_out_of_reach_and_not_to_be_loaded_again(
    settings: Settings, run_id: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WAREHOUSE_HOME", str(settings.home))
    monkeypatch.setenv("COLUMNS", "300")
    disk = tmp_path / "disk"
    disk.mkdir()
    settings.lake.rename(disk / "raw")
    settings.lake.symlink_to(disk / "raw")
    assert run_command("doctor", capsys=capsys, monkeypatch=monkeypatch)[0] == 0
    disk.rename(tmp_path / "away")
    for repair in ((), ("--repair",)):
        code, printed = run_command("doctor", *repair, capsys=capsys, monkeypatch=monkeypatch)
        assert code == 1
        assert f"{settings.lake} is a link to {disk / 'raw'}, which is not there" in printed
        assert "DuckDB with its spatial extension" in printed
        assert "Load it again" not in printed
    with pytest.raises(FileUnusable, match="which is not there"):
        GeoParquetSink(settings).ensure_published("gadm", GADM.tables)
    assert settings.lake.is_symlink()


def test_a_repair_goes_on_where_a_folder_takes_no_writes(
    settings: Settings, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings.lake / "gadm" / "current").unlink()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(settings.lake))

    monkeypatch.setattr(publication, "restore", refuse)
    last = list(damage.examine(settings, is_repaired=True))[-1]
    assert (last.is_good, last.detail) == (False, f"{settings.lake} cannot be used: Permission denied")


def test_the_doctor_creates_nothing_where_nothing_was_loaded(settings: Settings) -> None:
    assert faults(settings) == []
    assert not settings.home.exists() or list(settings.home.iterdir()) == []


@pytest.fixture
def copies(settings: Settings, run_id: str) -> SimpleNamespace:
    """Downloads and unpacked folders: of the published run, and of no run."""
    ledger = Ledger(settings)
    (file,) = ledger.files(run_id)
    ledger.note_checksum(file, "a" * 64)
    made = {}
    for name, letter in (("needed", "a"), ("other", "b")):
        folder = settings.home / "unpacked" / f"{letter * 16}-{snapshot.EDITION}"
        folder.mkdir(parents=True)
        (folder / "x.gpkg").write_bytes(b"0123456789")
        download = settings.home / "downloads" / letter / "x.zip"
        download.parent.mkdir(parents=True)
        download.write_bytes(b"0123456789")
        Path(f"{download}.json").write_text(f'{{"sha256": "{letter * 64}"}}')
        made[name] = [folder, download]
    part = settings.home / "downloads" / "b" / "y.zip.part"
    part.write_bytes(b"0123456789")
    return SimpleNamespace(**made, part=part)


def pruned(settings: Settings, *, is_dry: bool = False) -> tuple[int, list[str]]:
    """Prune; return the bytes that were freed, and what was said."""
    told: list[str] = []
    return prune.prune(settings, Ledger(settings), GeoParquetSink(settings), told.append, is_dry=is_dry), told


def test_what_no_publication_needs_is_pruned_and_nothing_else(settings: Settings, copies: SimpleNamespace) -> None:
    dry, announced = pruned(settings, is_dry=True)
    assert all(path.exists() for path in [*copies.needed, *copies.other, copies.part])
    assert pruned(settings) == (dry, announced)
    assert dry == 30
    assert [path.exists() for path in copies.needed] == [True, True]
    assert [path.exists() for path in [*copies.other, copies.part]] == [False] * 3
    assert pruned(settings) == (0, [])


def test_runs_that_the_ledger_does_not_know_are_pruned_and_the_kept_ones_stay(
    settings: Settings, run_id: str, level_1: Path
) -> None:
    second = publish(settings, level_1)
    folder = settings.lake / "gadm" / "runs"
    for name in ("20200101t000000_0000", "mine"):
        shutil.copytree(folder / run_id, folder / name)
    freed, (told,) = pruned(settings)
    assert freed > 4000
    assert "20200101t000000_0000" in told
    assert {path.name for path in folder.iterdir()} == {run_id, second, "mine", "empty"}


@pytest.mark.parametrize("has_fetched", [False, True])
def test_what_a_run_in_progress_uses_is_not_pruned(
    settings: Settings, copies: SimpleNamespace, has_fetched: bool
) -> None:
    ledger = Ledger(settings)
    active = ledger.create_run(Request("timezones", "2025b", "sedonadb", ("/b.zip",), "custom"), None)
    claimed = ledger.claim_file(active, 0)
    assert claimed is not None
    if has_fetched:
        ledger.finish_file(claimed, checksum="b" * 64, size=10, was_cached=False, source="/b.zip")
    freed, told = pruned(settings)
    assert freed == 0
    assert ("is still fetching" in " ".join(told)) is not has_fetched
    assert all(path.exists() for path in [*copies.needed, *copies.other, copies.part])


def test_what_is_being_fetched_at_the_moment_is_not_pruned(settings: Settings, copies: SimpleNamespace) -> None:
    with FileLock(f"{copies.other[0]}.lock"):
        assert any("is in use" in text for text in pruned(settings)[1])
    assert copies.other[0].exists()
