"""No secret in the ledger, in a log, in an error or in what a command prints."""

from __future__ import annotations

import base64
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb
import pytest

from admin_boundaries.duckdb_edition import Edition
from ingest.errors import (
    PermissionMissing,
    QueueDamaged,
    SettingsError,
    SourceUnavailable,
    TargetUnavailable,
    UsageError,
)
from ingest.ledger import Ledger, Request
from ingest.pipeline import consumer, signed_addresses, tasks
from ingest.pipeline.queue import create, huey
from ingest.settings import Postgres, Settings
from ingest.sources import cache
from ingest.sources.address import Source
from tests.fixtures import boundaries
from tests.fixtures import publisher as answers
from tests.fixtures.publisher import Publisher, serving

MakeRequest = Callable[..., Request]
SECRET = "5igned-by-the-publi5her"


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    """A publisher of a small world."""
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))
    with serving(path.read_bytes()) as found:
        yield found


@pytest.fixture(autouse=True)
def queue(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty queue that runs every task at once, on the settings of the test."""
    monkeypatch.setattr(tasks, "read_settings", lambda: settings)
    huey.immediate = True
    huey.immediate_use_memory = True
    yield
    huey.immediate = False
    huey.flush()


def start(ledger: Ledger, request: Request) -> str:
    """Run a request as the command does and return the id of the run."""
    hand_over = partial(signed_addresses.hand_over, sources=request.sources)
    run_id = ledger.create_run(request, request.identity(["x"]), on_created=hand_over)
    tasks.submit(ledger, run_id)
    return run_id


def everything_noted(ledger: Ledger) -> str:
    """Return the whole ledger as text."""
    with sqlite3.connect(ledger.place) as connection:
        return "\n".join(connection.iterdump())


def test_a_signed_address_is_loaded_and_stands_in_no_ledger_and_no_log(
    publisher: Publisher, ledger: Ledger, request_of: MakeRequest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    run_id = start(ledger, request_of("gadm", publisher.url(f"gadm.gpkg?signature={SECRET}")))
    assert ledger.run(run_id).state == "published"
    assert all(SECRET in asked.path for asked in publisher.asked)
    assert publisher.url("gadm.gpkg?") in everything_noted(ledger)
    assert SECRET not in everything_noted(ledger) + caplog.text


@pytest.mark.parametrize("code", [403, 503])
def test_an_address_that_is_refused_is_named_without_its_query(
    publisher: Publisher, ledger: Ledger, request_of: MakeRequest, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    caplog.set_level(logging.DEBUG)
    publisher.next_answers = [answers.status(code)] * 100
    run_id = start(ledger, request_of("gadm", publisher.url(f"gadm.gpkg?signature={SECRET}")))
    assert ledger.run(run_id).state == ("failed" if code == 403 else "fetching")
    assert f"gadm.gpkg answered {code}" in everything_noted(ledger) + caplog.text
    assert SECRET not in everything_noted(ledger) + caplog.text


def test_an_address_that_the_queue_has_forgotten_fails_the_run_and_says_what_to_do(
    publisher: Publisher, ledger: Ledger, request_of: MakeRequest
) -> None:
    request = request_of("gadm", publisher.url(f"gadm.gpkg?signature={SECRET}"))
    run_id = ledger.create_run(request, None)
    tasks.submit(ledger, run_id)
    run = ledger.run(run_id)
    assert run.state == "failed"
    assert "The queue has forgotten the query of" in (run.error or "")
    assert "--source" in (run.error or "")


def test_a_run_whose_archive_is_unpacked_goes_on_without_its_address(
    tmp_path: Path, ledger: Ledger, request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = boundaries.write_shapefile_zip(tmp_path / "gadm41_AAA_shp.zip", boundaries.levels({"AAA": 1}))
    real = tasks.plan_run.task_class.execute

    def forgets(task: object) -> object:
        huey.storage.flush_results()
        return real(task)

    monkeypatch.setattr(tasks.plan_run.task_class, "execute", forgets)
    with serving(path.read_bytes()) as publisher:
        run_id = start(ledger, request_of("gadm", publisher.url(f"gadm41_AAA_shp.zip?signature={SECRET}")))
    assert ledger.run(run_id).state == "published"


def test_a_forgotten_address_is_given_again_and_only_for_the_source_that_it_is_of(
    publisher: Publisher, ledger: Ledger, request_of: MakeRequest
) -> None:
    address = publisher.url("gadm.gpkg?signature=")
    checksum = "ab" * 32
    made = ledger.create_run(request_of("gadm", f"{address}{SECRET}#sha256={checksum}", "/data/b.gpkg"), None)
    noted = ledger.run(made).request
    assert signed_addresses.is_forgotten(made, noted)
    with pytest.raises(UsageError, match=f"resume {made} --source") as caught:
        signed_addresses.supply_again(made, noted, [])
    assert SECRET not in str(caught.value)
    with pytest.raises(UsageError, match="has no source http://elsewhere/gadm") as caught:
        signed_addresses.supply_again(made, noted, [f"http://elsewhere/gadm.gpkg?{SECRET}"])
    assert SECRET not in str(caught.value)
    signed_addresses.supply_again(made, noted, [f"{address}another"])
    assert signed_addresses.full_address(made, noted, 0) == Source(f"{address}another", checksum)
    assert signed_addresses.full_address(made, noted, 1) == Source("/data/b.gpkg")
    assert not signed_addresses.is_forgotten(made, noted)


def test_two_files_of_one_script_keep_their_own_queries(ledger: Ledger, request_of: MakeRequest) -> None:
    both = ("http://host/get?file=a", "http://host/get?file=b")
    run_id = ledger.create_run(request_of("gadm", *both), None)
    noted = ledger.run(run_id).request
    signed_addresses.supply_again(run_id, noted, both)
    assert [signed_addresses.full_address(run_id, noted, number).location for number in (0, 1)] == list(both)


def test_addresses_are_removed_once_their_run_has_ended(ledger: Ledger, request_of: MakeRequest) -> None:
    request = request_of("gadm", "http://host/gadm.gpkg?a=b")
    run_id = ledger.create_run(request, None)
    signed_addresses.hand_over(run_id, request.sources)
    signed_addresses.hand_over("is-being-noted", request.sources)
    signed_addresses.forget_ended(ledger)
    assert not signed_addresses.is_forgotten(run_id, request)
    ledger.fail(run_id, "given up")
    signed_addresses.forget_ended(ledger)
    assert signed_addresses.is_forgotten(run_id, request)
    assert not signed_addresses.is_forgotten("is-being-noted", request)


def test_an_address_without_a_query_is_not_handed_over(ledger: Ledger, request_of: MakeRequest) -> None:
    signed_addresses.hand_over("run", ["http://host/gadm.gpkg", "/data/what?.gpkg"])
    assert huey.storage.result_items() == {}


def test_the_identity_of_a_signed_address_is_a_keyed_fingerprint(settings: Settings) -> None:
    signed, plain = Source(f"http://host/a?{SECRET}"), Source("http://host/a")
    found = signed_addresses.fingerprint(settings, signed, f'["http://host/a?{SECRET}", "etag"]')
    assert found is not None
    assert SECRET not in found
    assert found != signed_addresses.fingerprint(settings, signed, f'["http://host/a?{SECRET}", "etag-2"]')
    assert signed_addresses.fingerprint(settings, plain, "as it is") == "as it is"
    assert signed_addresses.fingerprint(settings, signed, None) is None


def test_a_command_never_repeats_a_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from ingest import cli

    for source in (
        f"https://anna:{SECRET}@host/gadm.zip",
        f"https://{SECRET}@host/gadm.zip",
        f"ftp://anna:{SECRET}@host/gadm.zip",
        f"http://anna:{SECRET}@ho\u2100st/gadm.zip",
        f"https://host/gadm.zip#sha256=12?{SECRET}",
        f"timezones=https://host/zones.zip?{SECRET}",
        f"gdam=https://anna:{SECRET}@host/gadm.zip",
    ):
        monkeypatch.setattr("sys.argv", ["ingest", "gadm", "--source", source])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2, source
        printed = capsys.readouterr()
        assert SECRET not in printed.out + printed.err


@pytest.mark.parametrize("address", ["https://anna:pass@host/gadm.zip", "https://token@host", "http://a:b@c@d/?x#y"])
def test_a_password_in_an_address_is_refused_and_netrc_named(address: str) -> None:
    with pytest.raises(UsageError, match=r"~/\.netrc") as caught:
        Source.parse(address)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize("address", ["https://host/a@b.zip", "https://host?to=a@b", "/data/anna@home.gpkg"])
def test_a_mere_at_sign_is_no_password(address: str) -> None:
    assert Source.parse(address).location == address


def test_a_password_in_netrc_is_sent_to_its_host(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guarded(handler: answers.Handler) -> None:
        wanted = "Basic " + base64.b64encode(f"anna:{SECRET}".encode()).decode()
        (answers.honest if handler.headers.get("Authorization") == wanted else answers.status(401))(handler)

    monkeypatch.setenv("HOME", str(tmp_path))
    publisher.next_answers = [guarded, guarded]
    with pytest.raises(SourceUnavailable, match="answered 401"):
        cache.fetch(Source(publisher.url()), tmp_path / "downloads")
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login anna password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert cache.fetch(Source(publisher.url()), tmp_path / "downloads").path.read_bytes() == publisher.body


@pytest.mark.parametrize("entry", ["machine 127.0.0.1", "default"])
def test_a_password_in_netrc_does_not_follow_a_redirect(
    entry: str, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(f"{entry} login anna password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o600)
    with serving(publisher.body) as elsewhere:
        publisher.next_answers = [answers.redirects_to(elsewhere.url())]
        cache.fetch(Source(publisher.url()), tmp_path / "downloads")
    assert "Authorization" in publisher.downloads()[0].headers
    assert "Authorization" not in elsewhere.downloads()[0].headers


def test_a_netrc_that_others_can_read_is_refused(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login anna password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o644)
    with pytest.raises(SourceUnavailable, match="chmod 600") as caught:
        cache.fetch(Source(publisher.url()), tmp_path / "downloads")
    assert SECRET not in str(caught.value)


def test_a_malformed_address_of_redis_is_not_repeated(tmp_path: Path) -> None:
    where = Postgres(host="h", port=1, user="u", password="p", dbname="d")
    settings = Settings(
        target="postgres", home=tmp_path, postgres=where, redis_url=f"redis://:{SECRET}/x@host", secret=SECRET
    )
    with pytest.raises(SettingsError, match="REDIS_URL is malformed") as caught:
        create(settings)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(settings)


def test_who_has_another_secret_sees_another_queue(settings: Settings) -> None:
    mine = consumer.queue_id(settings)
    assert consumer.queue_id(settings) == mine
    assert consumer.queue_id(replace(settings, secret="another")) != mine


def test_the_queue_of_one_machine_is_readable_by_its_owner_only(settings: Settings) -> None:
    create(settings)
    assert (settings.home / "queue.sqlite").stat().st_mode & 0o777 == 0o600


def test_what_holds_data_or_addresses_is_its_owners_alone_whatever_the_umask(
    settings: Settings, request_of: MakeRequest, publisher: Publisher, tmp_path: Path
) -> None:
    zipped = boundaries.write_shapefile_zip(tmp_path / "gadm41_AAA_shp.zip", boundaries.levels({"AAA": 1}))
    before = os.umask(0)
    try:
        create(settings)
        ledger = Ledger(settings)
        ledger.open()
        with serving(zipped.read_bytes()) as elsewhere:
            assert ledger.run(start(ledger, request_of("gadm", elsewhere.url(zipped.name)))).state == "published"
        with duckdb.connect() as connection:
            Edition(settings.home / "warehouse.duckdb").open(connection, is_whole=True, is_retry=False)
    finally:
        os.umask(before)
    found = {path: path.stat().st_mode & 0o777 for path in [settings.home, *settings.home.iterdir()]}
    assert {"downloads", "unpacked", "raw", "build", "queue.sqlite", "ledger.sqlite"} <= {path.name for path in found}
    assert found == {path: 0o700 if path.is_dir() else 0o600 for path in found}
    assert (settings.home / "build" / "warehouse.duckdb").stat().st_mode & 0o777 == 0o600


def test_a_queue_that_cannot_be_opened_is_told(settings: Settings) -> None:
    (settings.home / "queue.sqlite").mkdir(parents=True)
    with pytest.raises(QueueDamaged, match=r"queue\.sqlite is damaged: it is a folder") as caught:
        create(settings)
    assert "doctor --repair" in caught.value.hint


def test_a_queue_in_a_folder_that_cannot_be_made_is_told(settings: Settings) -> None:
    settings.home.write_text("a file in place of the folder")
    with pytest.raises(TargetUnavailable, match=r"queue\.sqlite cannot be opened") as caught:
        create(settings)
    assert "WAREHOUSE_HOME" in caught.value.hint


def test_an_error_of_the_ledger_does_not_quote_the_values_of_a_statement(ledger: Ledger) -> None:
    with pytest.raises(Exception, match="no such table") as caught, ledger.transaction() as connection:
        connection.exec_driver_sql("insert into nowhere values (?)", (SECRET,))
    assert SECRET not in str(caught.value) + str(caught.value.__cause__)
    assert not isinstance(caught.value, PermissionMissing)


def test_an_address_that_is_given_again_is_verified_as_the_first_was(ledger: Ledger, request_of: MakeRequest) -> None:
    checksum, other = "ab" * 32, "cd" * 32
    run_id = ledger.create_run(request_of("gadm", f"http://host/a.gpkg?b#sha256={checksum}"), None)
    noted = ledger.run(run_id).request
    signed_addresses.supply_again(run_id, noted, ["http://host/a.gpkg?c"])
    assert signed_addresses.full_address(run_id, noted, 0) == Source("http://host/a.gpkg?c", checksum)
    signed_addresses.supply_again(run_id, noted, [f"http://host/a.gpkg?d#sha256={other}"])
    assert signed_addresses.full_address(run_id, noted, 0) == Source("http://host/a.gpkg?d", other)
