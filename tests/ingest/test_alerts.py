"""A webhook is told how runs end: once, without holding anything up, and nobody learns where it is."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest import catalog, sinks
from ingest import settings as configuration
from ingest.errors import SettingsError
from ingest.ledger import Ledger, Request, RunState, tables
from ingest.pipeline import alerts
from ingest.settings import Settings
from ingest.sinks.difference import Difference
from ingest.sinks.geoparquet import GeoParquetSink
from tests.conftest import ROOT
from tests.fixtures.webhook import SECRET, Webhook
from tests.ingest.conftest import claimed_slice, note_loaded, planned_slice
from tests.ingest.test_cli import run as run_command

MakeRequest = Callable[..., Request]


@pytest.fixture
def told(settings: Settings, webhook: Webhook) -> Settings:
    """Settings with the webhook."""
    return replace(settings, alert_webhook=webhook.url)


@pytest.fixture
def failed(ledger: Ledger, request_of: MakeRequest) -> str:
    """A run of which one slice arrived and one did not."""
    run_id = ledger.create_run(request_of(), None)
    ledger.set_state(run_id, RunState.PLANNING)
    ledger.create_slices(run_id, [planned_slice(), planned_slice()])
    note_loaded(ledger, claimed_slice(ledger, run_id))
    ledger.fail(run_id, "the file says 4 rows, 3 arrived.")
    return run_id


def test_a_failed_run_is_told_with_all_that_one_wants_to_know(
    told: Settings, ledger: Ledger, webhook: Webhook, failed: str
) -> None:
    alerts.notice(told, ledger)
    (message,) = webhook.told
    assert message["text"] == f"gadm 4.1 was not loaded: the file says 4 rows, 3 arrived. (run {failed})"
    names = ("id", "event", "run_id", "dataset", "release", "scope", "state", "error")
    assert [message[name] for name in names] == [
        f"run_failed:{failed}",
        "run_failed",
        failed,
        "gadm",
        "4.1",
        "custom",
        "failed",
        "the file says 4 rows, 3 arrived.",
    ]
    assert message["counts"] == {"gadm_adm_1": {"rows_in_file": 8, "rows_loaded": 4}}
    assert message["host"]
    assert datetime.now(UTC) - datetime.fromisoformat(message["time"]) < timedelta(minutes=1)
    assert webhook.types == ["application/json; charset=utf-8"]


def test_it_is_told_once_however_many_notice(told: Settings, ledger: Ledger, webhook: Webhook, failed: str) -> None:
    threads = [threading.Thread(target=alerts.notice, args=(told, Ledger(told))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alerts.notice(told, ledger)
    assert [message["run_id"] for message in webhook.told] == [failed]
    assert webhook.asked == 1


@pytest.mark.parametrize("is_expected", [False, True])
def test_of_all_who_would_tell_one_may(ledger: Ledger, is_expected: bool) -> None:
    if is_expected:
        ledger.expect_alert(alerts.RELEASE_LOADED, "a run")
    assert [ledger.claim_alert(alerts.RELEASE_LOADED, "a run") for _ in range(3)] == [True, False, False]
    assert ledger.claim_alert(alerts.RUN_FAILED, "a run")


def test_each_failed_run_is_told(
    told: Settings, ledger: Ledger, webhook: Webhook, failed: str, request_of: MakeRequest
) -> None:
    other = ledger.create_run(request_of("timezones"), None)
    ledger.fail(other, "no")
    alerts.notice(told, ledger)
    assert {message["run_id"] for message in webhook.told} == {failed, other}


@pytest.mark.parametrize("state", [RunState.PUBLISHED, RunState.UNCHANGED, RunState.SUPERSEDED, RunState.LOADING])
def test_a_run_that_did_not_fail_is_nothing_to_tell(
    told: Settings, ledger: Ledger, webhook: Webhook, request_of: MakeRequest, state: RunState
) -> None:
    ledger.set_state(ledger.create_run(request_of(), None), state)
    alerts.notice(told, ledger)
    assert not webhook.asked


def test_a_release_that_the_refresh_has_loaded_is_told_once(
    told: Settings, ledger: Ledger, webhook: Webhook, request_of: MakeRequest
) -> None:
    run_id = ledger.create_run(request_of(), None)
    ledger.expect_alert(alerts.RELEASE_LOADED, run_id)
    alerts.notice(told, ledger)
    assert not webhook.told
    ledger.set_state(run_id, RunState.PUBLISHED, rows_loaded=1234)
    alerts.notice(told, ledger)
    alerts.notice(told, ledger)
    (message,) = webhook.told
    assert (message["event"], message["run_id"]) == ("release_loaded", run_id)
    assert message["text"] == (f"gadm 4.1 was loaded: 1,234 rows, run {run_id}. `dbt build` updates the marts.")


@pytest.fixture
def publications(told: Settings, ledger: Ledger, request_of: MakeRequest) -> tuple[str, str]:
    """A publication, and the one that a refresh has put in its place; the tables of both are empty."""
    made: list[str] = []
    for release in ("3.6", "4.1"):
        run_id = ledger.create_run(request_of(release=release), None)
        sinks.get(told).prepare(sinks.Staging(run_id, "gadm", release), catalog.get("gadm").tables)
        if made:
            ledger.set_state(made[0], RunState.SUPERSEDED, only_from=(RunState.PUBLISHED,))
        ledger.set_state(run_id, RunState.PUBLISHED, rows_loaded=1234, shown_at=datetime.now(UTC))
        made.append(run_id)
    ledger.expect_alert(alerts.RELEASE_LOADED, made[1])
    return made[0], made[1]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Difference(11, 9, 3, 316), "11 keys new, 9 gone, 3 renamed, 316 with another shape"),
        (Difference(1, 0, 0, 0), "1 key new, all others with the same shape"),
        (Difference(0, 0, 0, 0), "the same keys, names and shapes"),
        (Difference(0, 2, 0, None), "2 gone, shapes unknown, as an older version has loaded one of the two"),
    ],
)
def test_a_new_release_is_told_with_what_it_has_changed(
    told: Settings,
    ledger: Ledger,
    webhook: Webhook,
    publications: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    found: Difference,
    said: str,
) -> None:
    monkeypatch.setattr(GeoParquetSink, "compare", lambda *_arguments: found)
    alerts.notice(told, ledger)
    (message,) = webhook.told
    assert message["text"].endswith(
        f" Since release 3.6: {said}; split and merged after the build: `python -m ingest changes gadm`."
    )
    assert message["differences"] == {"since": publications[0], **asdict(found)}


@pytest.mark.usefixtures("publications")
def test_a_new_release_is_told_even_if_it_cannot_be_compared(
    told: Settings, ledger: Ledger, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    for path in told.lake.glob("gadm/runs/*/gadm_adm_3/*"):
        path.unlink()
    alerts.notice(told, ledger)
    (message,) = webhook.told
    assert message["text"].endswith("updates the marts.")
    assert "differences" not in message
    assert "What changed in gadm could not be found out" in caplog.text


def test_a_release_that_another_has_replaced_meanwhile_is_told_too(
    told: Settings, ledger: Ledger, webhook: Webhook, request_of: MakeRequest
) -> None:
    run_id = ledger.create_run(request_of(), None)
    ledger.expect_alert(alerts.RELEASE_LOADED, run_id)
    ledger.set_state(run_id, RunState.PUBLISHED, rows_loaded=1234)
    ledger.set_state(run_id, RunState.SUPERSEDED, only_from=(RunState.PUBLISHED,))
    alerts.notice(told, ledger)
    assert [message["run_id"] for message in webhook.of("release_loaded")] == [run_id]


def test_a_refresh_that_failed_is_told_as_a_failure(
    told: Settings, ledger: Ledger, webhook: Webhook, failed: str
) -> None:
    ledger.expect_alert(alerts.RELEASE_LOADED, failed)
    alerts.notice(told, ledger)
    assert [message["event"] for message in webhook.told] == ["run_failed"]


def test_what_failed_long_ago_is_no_news(told: Settings, ledger: Ledger, webhook: Webhook, failed: str) -> None:
    with ledger.transaction() as connection:
        connection.execute(tables.runs.update().values(finished_at=datetime.now(UTC) - timedelta(days=2)))
    alerts.notice(told, ledger)
    assert not webhook.asked


def test_whoever_abandons_a_run_need_not_be_told(
    told: Settings, ledger: Ledger, webhook: Webhook, request_of: MakeRequest
) -> None:
    from ingest.dashboard import actions
    from ingest.pipeline import runs as loading

    run_id = ledger.create_run(request_of(), None)
    loading.abandon(run_id, actions.Quiet())
    alerts.notice(told, ledger)
    assert ledger.run(run_id).state == "failed"
    assert not webhook.asked


def test_without_a_webhook_nothing_is_noted(settings: Settings, ledger: Ledger, failed: str) -> None:
    alerts.notice(settings, ledger)
    with ledger.transaction() as connection:
        assert not connection.execute(tables.alerts.select()).all()


@pytest.mark.parametrize(("statuses", "asked"), [([503, 429], 3), ([500] * 3, 3), ([404], 1), ([302], 1)])
def test_a_webhook_that_refuses_is_asked_three_times_where_that_may_help(
    told: Settings,
    ledger: Ledger,
    webhook: Webhook,
    failed: str,
    statuses: list[int],
    asked: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    webhook.statuses = list(statuses)
    alerts.notice(told, ledger)
    assert webhook.asked == asked
    assert len(webhook.told) == (1 if statuses == [503, 429] else 0)
    assert ("was not sent" in caplog.text) == (not webhook.told)


def test_a_webhook_that_is_down_changes_nothing_and_is_logged_without_its_address(
    settings: Settings, ledger: Ledger, failed: str, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = replace(settings, alert_webhook=f"http://127.0.0.1:1/{SECRET}?token=hush")
    before = ledger.run(failed)
    with caplog.at_level(logging.DEBUG):
        alerts.notice(nowhere, ledger)
    assert ledger.run(failed) == before
    assert f"The alert run_failed:{failed} was not sent" in caplog.text
    for secret in (SECRET, "hush", "127.0.0.1"):
        assert secret not in caplog.text
        assert secret not in repr(nowhere)


def test_a_webhook_that_hangs_is_given_up(
    told: Settings, ledger: Ledger, webhook: Webhook, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "SECONDS", 1)
    monkeypatch.setattr(alerts, "ATTEMPTS", 1)
    webhook.hold.clear()
    begun = datetime.now(UTC)
    alerts.notice(told, ledger)
    assert datetime.now(UTC) - begun < timedelta(seconds=5)
    assert not webhook.told


def test_a_ledger_that_is_away_is_logged(
    told: Settings, ledger: Ledger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (told.home / "ledger.sqlite").unlink()
    (told.home / "ledger.sqlite").mkdir()
    alerts.notice(told, Ledger(told))
    assert "Could not check for ended runs" in caplog.text


def test_what_files_call_themselves_is_no_markup_in_the_message(
    told: Settings, ledger: Ledger, webhook: Webhook, request_of: MakeRequest
) -> None:
    run_id = ledger.create_run(request_of(), None)
    ledger.fail(run_id, "<!channel> & <http://evil.example|click> has no column " + "x" * 9999)
    alerts.notice(told, ledger)
    (message,) = webhook.told
    assert "&lt;!channel&gt; &amp; &lt;http://evil.example|click&gt;" in message["text"]
    assert len(message["text"]) < 700
    assert "<!channel> & " in message["error"]


def test_ended_runs_are_looked_for_while_a_consumer_runs_and_at_its_end(
    told: Settings, ledger: Ledger, webhook: Webhook, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "LOOK_SECONDS", 0.01)
    seen = threading.Event()
    notice = alerts.notice

    def noticed(settings: Settings, ledger: Ledger) -> None:
        notice(settings, ledger)
        seen.set()

    monkeypatch.setattr(alerts, "notice", noticed)
    with alerts.watching(told, ledger):
        assert seen.wait(60)
        assert len(webhook.told) == 1
        seen.clear()
    assert seen.is_set()
    with alerts.watching(replace(told, alert_webhook=""), ledger):
        seen.clear()
    assert not seen.is_set()


@pytest.mark.parametrize("address", ["hooks.example/T00/hush", "file:///etc/hush", "ftp://host/hush"])
def test_a_webhook_that_is_no_address_is_refused_and_not_quoted(address: str) -> None:
    with pytest.raises(SettingsError, match=r"ALERT_WEBHOOK is not an http\(s\) URL") as caught:
        configuration.read_settings({"ALERT_WEBHOOK": address})
    assert "hush" not in str(caught.value)


def test_a_test_message_arrives(
    webhook: Webhook, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERT_WEBHOOK", webhook.url)
    code, printed = run_command("alert", "--test", capsys=capsys, monkeypatch=monkeypatch)
    assert (code, printed) == (0, "The webhook accepted the message.\n")
    code, _ = run_command("alert", "dbt build failed", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 0
    assert [message["event"] for message in webhook.told] == ["test", "message"]
    assert webhook.told[1]["text"] == "dbt build failed"


@pytest.mark.parametrize(
    ("arguments", "address", "code", "said"),
    [
        (("--test",), "", 1, "ALERT_WEBHOOK is not set"),
        (("--test",), f"http://127.0.0.1:1/{SECRET}", 1, "The webhook does not answer"),
        ((), "http://host", 2, "either TEXT or --test"),
        (("a", "--test"), "http://host", 2, "either TEXT or --test"),
    ],
)
def test_a_message_that_cannot_be_sent_ends_the_command_and_says_why(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    address: str,
    code: int,
    said: str,
) -> None:
    monkeypatch.setenv("ALERT_WEBHOOK", address)
    ended, printed = run_command("alert", *arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert (ended, said in printed, SECRET in printed) == (code, True, False)


@pytest.mark.slow
def test_the_command_that_waits_ends_with_1_and_of_all_that_notice_one_tells(
    settings: Settings, webhook: Webhook, tmp_path: Path
) -> None:
    bad = tmp_path / "gadm.zip"
    bad.write_text("<html>503</html>")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ALERT_WEBHOOK": webhook.url}
    command = [sys.executable, "-m", "ingest", "gadm", "--source", str(bad), "--workers", "1"]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "HTML page" in ended.stderr
    (message,) = webhook.told
    assert message["event"] == "run_failed"
    assert "HTML page" in message["error"]
    written = [path.read_bytes() for path in settings.home.rglob("*") if path.is_file()]
    assert written
    assert not [text for text in written if SECRET.encode() in text or b"hush" in text]
    assert SECRET not in ended.stdout + ended.stderr
