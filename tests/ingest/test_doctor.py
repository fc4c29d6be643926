"""The doctor names what a target lacks and how to get it, without a traceback and without changing anything."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from ingest.errors import IngestError
from ingest.settings import Postgres, Settings
from ingest.setup import doctor
from tests.integration.servers import free_port


class Disk(NamedTuple):
    """What `shutil.disk_usage` returns."""

    total: int
    used: int
    free: int


def examined(settings: Settings) -> dict[str, doctor.Finding]:
    """Return the findings by what was checked."""
    return {finding.what: finding for finding in doctor.examine(settings)}


def test_the_embedded_target_lacks_nothing(settings: Settings) -> None:
    findings = examined(settings)
    assert findings["DuckDB with its spatial extension"].is_good
    assert doctor.is_fit(list(findings.values()))


def test_servers_that_are_not_there_are_named_with_what_to_do(settings: Settings) -> None:
    nowhere = free_port()
    where = Postgres(host="127.0.0.1", port=nowhere, user="u", password="pa55word", dbname="d")
    findings = examined(replace(settings, postgres=where, redis_url=f"redis://:pa55word@127.0.0.1:{nowhere}/0"))
    for what, variable in (("PostgreSQL answers", "PGHOST"), ("Redis answers", "REDIS_URL")):
        assert not findings[what].is_good
        assert variable in findings[what].mend
    assert "PostGIS" not in findings  # what cannot be asked is left out
    assert "pa55word" not in repr(findings)
    with pytest.raises(IngestError, match="2 of"):
        doctor.require(list(findings.values()), lambda _finding: None)


def test_a_disk_and_memory_too_small_for_the_world_are_said_and_stop_nobody(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Disk(1, 1, doctor.WORLD_DISK_BYTES - 1))
    monkeypatch.setattr(doctor, "WORKER_MEMORY_BYTES", 1 << 60)
    findings = examined(settings)
    small = [finding for finding in findings.values() if not finding.is_good]
    assert {finding.what.partition(" for")[0] for finding in small} == {"disk", "memory"}
    assert all(finding.mend for finding in small)
    assert doctor.is_fit(list(findings.values()))


def test_a_home_that_cannot_be_written_is_a_fault(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "a-file"
    file.touch()
    findings = examined(replace(settings, home=file / "home"))
    assert not findings["WAREHOUSE_HOME can be written"].is_good
