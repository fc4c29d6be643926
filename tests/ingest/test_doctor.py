"""The doctor names what a target lacks and how to get it, without a traceback and without changing anything."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import redis

from admin_boundaries import duckdb_spatial
from ingest.errors import FileUnusable, IngestError, MartsMissing
from ingest.settings import Postgres, Settings, private_folder
from ingest.setup import doctor
from tests.ingest.test_cli import run
from tests.integration.servers import free_port


class Disk(NamedTuple):
    """What `shutil.disk_usage` returns."""

    total: int
    used: int
    free: int


def examined(settings: Settings, faults: Sequence[str] = ()) -> dict[str, doctor.Check]:
    """Return the checks by what was checked."""
    return {check.what: check for check in doctor.examine(settings, duckdb_spatial.version, lambda: faults)}


def test_the_embedded_target_lacks_nothing(settings: Settings) -> None:
    checks = examined(settings)
    assert checks["DuckDB with its spatial extension"].is_good
    assert doctor.is_fit(list(checks.values()))


def test_servers_that_are_not_there_are_named_with_what_to_do(settings: Settings) -> None:
    nowhere = free_port()
    where = Postgres(host="127.0.0.1", port=nowhere, user="u", password="pa55word", dbname="d")
    checks = examined(replace(settings, postgres=where, redis_url=f"redis://:pa55word@127.0.0.1:{nowhere}/0"))
    for what, variable in (("PostgreSQL answers", "PGHOST"), ("Redis answers", "REDIS_URL")):
        assert not checks[what].is_good
        assert variable in checks[what].fix
    assert "PostGIS" not in checks  # what cannot be asked is left out
    assert "pa55word" not in repr(checks)
    with pytest.raises(IngestError, match="2 of"):
        doctor.require(list(checks.values()), lambda _check: None)


def test_a_disk_and_memory_too_small_for_the_world_are_said_and_stop_nobody(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INGEST_SECRET")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Disk(1, 1, doctor.WORLD_DISK_BYTES - 1))
    monkeypatch.setattr(doctor, "WORKER_MEMORY_BYTES", 1 << 60)
    checks = examined(settings)
    small = [check for check in checks.values() if not check.is_good]
    assert {check.what.partition(" for")[0] for check in small} == {"disk space", "memory"}
    assert all(check.fix for check in small)
    assert doctor.is_fit(list(checks.values()))


def test_a_home_that_cannot_be_written_is_a_fault(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "a-file"
    file.touch()
    checks = examined(replace(settings, home=file / "home"))
    assert not checks["WAREHOUSE_HOME is writable"].is_good


def test_a_home_on_a_disk_that_is_not_mounted_is_a_fault(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("/nowhere/data")
    for home in (tmp_path / "data", tmp_path / "data" / "home"):
        check = examined(replace(settings, home=home))["WAREHOUSE_HOME is writable"]
        assert (check.is_good, check.detail) == (
            False,
            f"{tmp_path}/data is a link to /nowhere/data, which is not there",
        )
        with pytest.raises(FileUnusable, match="/data is a link to"):
            private_folder(home)


@pytest.mark.parametrize(
    ("url", "secret", "is_shared"),
    [
        ("redis://localhost:6379/0", "", True),  # commands and consumers of one host find the secret in its home
        ("redis://127.0.0.1:6379/0", "", True),
        ("redis://:pass@localhost:6379/0", "", True),
        ("redis://:pass@127.0.0.1:6379/0", "", True),
        ("redis://[::1]:6379/0", "", True),
        ("redis://localhost.example:6379/0", "", False),
        ("redis://queue.example:6379/0", "", False),
        ("redis://:pass@queue.example:6379/0", "", False),
        ("redis://queue.example:6379/0", "swordfish", True),
    ],
)
def test_a_queue_on_another_host_needs_a_secret_that_is_shared(
    monkeypatch: pytest.MonkeyPatch, url: str, secret: str, is_shared: bool
) -> None:
    server = SimpleNamespace(info=lambda _section: {"redis_version": "7.0"}, close=lambda: None)
    monkeypatch.setattr(redis.Redis, "from_url", lambda _url, **_options: server)
    monkeypatch.setenv("INGEST_SECRET", secret)
    answers, shared = doctor._redis(url)
    assert answers.is_good
    assert shared.is_good is is_shared


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("x7", "2 characters"),
        ("swordfish", "9 characters"),
        ("a" * 64, "only 1 different characters; it repeats itself"),
        ("swordfishes" * 3, "repeats itself"),
        ("0101100010110100110100101101", "only 2 different characters"),
        ("please-change-me-for-production", "a word that everybody tries first"),
        ("f3a91c07be5d48260f1e9a7c3b2d5e84", "yes"),
        ("correct horse battery staple", "yes"),
    ],
)
def test_a_secret_that_can_be_guessed_is_a_warning_that_does_not_repeat_it(secret: str, reason: str) -> None:
    check = doctor._secret(secret)
    assert reason in check.detail
    assert check.is_good == (reason == "yes")
    assert not check.is_needed
    assert secret not in check.detail + check.fix


def test_a_secret_is_looked_at_where_somebody_has_set_one(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    given = replace(settings, secret="swordfish")
    assert not examined(given)["INGEST_SECRET is hard to guess"].is_good
    monkeypatch.delenv("INGEST_SECRET")
    assert "INGEST_SECRET is hard to guess" not in examined(settings)


STALE = "The marts of gadm are of run a (release 4.0), but run b (release 4.1) is published."


def test_stale_marts_are_said_and_stop_nobody(settings: Settings) -> None:
    checks = examined(settings, [STALE])
    marts = checks["marts of gadm are of the published runs"]
    assert (marts.is_good, marts.detail, marts.fix) == (False, STALE, "Run `dbt build`.")
    assert doctor.is_fit(list(checks.values()))
    assert examined(settings)["marts of gadm are of the published runs"].is_good


def test_marts_that_cannot_be_read_are_said_and_stop_nobody(settings: Settings) -> None:
    def missing() -> list[str]:
        raise MartsMissing("There are no marts.", "Build them.")

    checks = list(doctor.examine(settings, duckdb_spatial.version, missing))
    assert (checks[-1].is_good, checks[-1].detail, checks[-1].fix) == (False, "There are no marts.", "Build them.")
    assert doctor.is_fit(checks)


def test_marts_are_not_asked_of_a_database_that_does_not_answer(settings: Settings) -> None:
    where = Postgres(host="127.0.0.1", port=free_port(), user="u", password="", dbname="d")
    checks = doctor.examine(replace(settings, postgres=where), str, lambda: pytest.fail("asked"))
    assert "marts of gadm are of the published runs" not in [check.what for check in checks]


def test_an_empty_home_has_no_table_of_sizes(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_HOME", str(settings.home))
    code, printed = run("doctor", capsys=capsys, monkeypatch=monkeypatch)
    assert (code, printed.splitlines()[0]) == (0, "target: embedded")
    assert "size" not in printed
    (settings.home / "logs").mkdir(parents=True)
    (settings.home / "logs" / "build-1.log").write_text("…")
    assert "size" in run("doctor", capsys=capsys, monkeypatch=monkeypatch)[1]
