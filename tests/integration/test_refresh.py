"""The refresh end to end, on the embedded target: real processes, a publisher whose file changes, a webhook."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fixtures import boundaries
from tests.fixtures.publisher import Publisher, serving
from tests.fixtures.webhook import Webhook
from tests.integration.conftest import NewWarehouse, Warehouse

pytestmark = pytest.mark.slow

SECONDS = 120


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """The publisher of a world that fits into a test."""
    with serving(b"") as found:
        yield found


@pytest.fixture
def warehouse(publisher: Publisher, webhook: Webhook, tmp_path: Path) -> Warehouse:
    """An embedded warehouse into which the publisher's file was loaded as a release is."""
    home = tmp_path / "home"
    env = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    env |= {"WAREHOUSE_TARGET": "embedded", "WAREHOUSE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    env |= {"INGEST_SECRET": "secret-of-the-tests", "ALERT_WEBHOOK": webhook.url}
    made = Warehouse(env=env, home=home)
    offer(publisher, tmp_path, countries=1)
    made.ingest("gadm", "--source", publisher.url("gadm_410-levels.zip"), "--workers", "1")
    with sqlite3.connect(home / "ledger.sqlite") as connection:
        for column in ("scope", "request", "identity"):  # as if the address were that of the catalog
            connection.execute(f"update ingest_runs set {column} = replace({column}, 'custom', 'world')")
    return made


def offer(publisher: Publisher, folder: Path, countries: int) -> None:
    """Have the publisher offer a world of so many countries."""
    levels = boundaries.levels(dict.fromkeys(("AAA", "BBB", "CCC")[:countries], 1))
    shutil.rmtree(folder / "world", ignore_errors=True)
    (folder / "world").mkdir()
    boundaries.write_levels_gpkg(folder / "world" / "gadm_410-levels.gpkg", levels)
    archive = shutil.make_archive(str(folder / "gadm_410-levels"), "zip", folder / "world")
    publisher.body, publisher.etag = Path(archive).read_bytes(), f'"{countries}"'


def rows(warehouse: Warehouse) -> int:
    """Return the units of level 1 that readers see."""
    with sqlite3.connect(warehouse.home / "ledger.sqlite") as connection:
        query = (
            "select sum(s.rows_loaded) from ingest_slices s join ingest_runs r using (run_id) "
            "where r.state = 'published' and s.table_name = 'gadm_adm_1'"
        )
        return int(connection.execute(query).fetchone()[0] or 0)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until something is so, as long as the process lives."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_refresh_loads_a_changed_file_and_no_other_and_tells_how_it_went(
    warehouse: Warehouse, publisher: Publisher, webhook: Webhook, tmp_path: Path
) -> None:
    downloads = len(publisher.downloads())
    assert "gadm 4.1: unchanged since run" in warehouse.ingest("refresh").stdout
    assert len(publisher.downloads()) == downloads
    assert rows(warehouse) == 4
    assert not webhook.told

    offer(publisher, tmp_path, countries=2)
    assert "gadm 4.1: no longer what run" in warehouse.ingest("refresh", "--workers", "1").stdout
    assert rows(warehouse) == 8
    assert [message["event"] for message in webhook.told] == ["release_loaded"]
    assert webhook.told[0]["counts"]["gadm_adm_1"] == {"rows_in_file": 8, "rows_loaded": 8}
    assert "Since release 4.1: 5 keys new, all others with the same shape;" in webhook.told[0]["text"]

    publisher.body, publisher.etag = b"<html>We are moving</html>", '"3"'
    assert "HTML page" in warehouse.ingest("refresh", "--workers", "1", expect=1).stderr
    assert rows(warehouse) == 8
    assert [message["event"] for message in webhook.told] == ["release_loaded", "run_failed"]


def test_a_worker_with_a_schedule_refreshes_by_itself(
    warehouse: Warehouse, publisher: Publisher, webhook: Webhook, tmp_path: Path
) -> None:
    offer(publisher, tmp_path, countries=3)
    command = [sys.executable, "-m", "ingest", "worker", "--workers", "1", "--refresh", "* * * * *"]
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=warehouse.env, stdout=output, stderr=output)
    try:
        wait_for(lambda: rows(warehouse) == 12, process)
        wait_for(lambda: bool(webhook.told), process)
    finally:
        process.send_signal(signal.SIGINT)
        ended = process.wait(60)
    assert ended == 0, log.read_text()
    assert [message["event"] for message in webhook.told] == ["release_loaded"]
    assert "token=hush" not in log.read_text()


@pytest.mark.servers
def test_on_postgresql_too_a_failed_run_is_told_once(
    new_warehouse: NewWarehouse, webhook: Webhook, tmp_path: Path
) -> None:
    warehouse = new_warehouse()
    warehouse.env["ALERT_WEBHOOK"] = webhook.url
    (tmp_path / "gadm.zip").write_text("<html>503</html>")
    warehouse.ingest("gadm", "--source", str(tmp_path / "gadm.zip"), expect=1)
    assert [message["event"] for message in webhook.told] == ["run_failed"]
    assert warehouse.query("select event, subject = (select run_id from raw.ingest_runs) from raw.ingest_alerts") == [
        ("run_failed", True)
    ]
