"""Tell a webhook how runs end: once for each end, whoever notices it.

Runs that failed, and new releases that the scheduled refresh has loaded, are looked for in the ledger, so that it does
not matter which process ended them or whether it still lives. The table ``raw.ingest_alerts`` says what was told:
whoever writes the line sends the message. The address of the webhook is a secret: it stands in no message, log or
table.
"""

from __future__ import annotations

import html
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pycurl
import tenacity

from ingest.errors import IngestError, SettingsError
from ingest.ledger import Ledger, Run, SliceState
from ingest.settings import Settings
from ingest.sources import http
from ingest.sources.address import Source

log = logging.getLogger(__name__)

ATTEMPTS = 3
SECONDS = 5  # for one attempt, from its first byte to its last
LOOK_SECONDS = 2.0
MEMORY = timedelta(days=1)  # what ended longer ago is no news, though nobody was told
TEXT_CHARACTERS = 500
RUN_FAILED, RELEASE_LOADED, NEWER_RELEASE = "run_failed", "release_loaded", "newer_release"


class AlertNotSent(IngestError):
    """The webhook did not take a message."""


class _MayPass(AlertNotSent):
    """It may take it in a moment."""


def notice(settings: Settings, ledger: Ledger) -> None:
    """Tell the webhook of every run that has ended and was not told of; nothing is raised when it does not answer.

    Parameters
    ----------
    settings, ledger
        Of the target. Without a webhook nothing is done.
    """
    if not settings.alert_webhook:
        return
    try:
        since = datetime.now(UTC) - MEMORY
        for event, run in ledger.runs_to_announce(since, failed=RUN_FAILED, published=RELEASE_LOADED):
            if ledger.claim_alert(event, run.run_id):
                _try_to_send(settings, _of_run(ledger, event, run))
    except IngestError as error:
        log.warning("Ended runs were not looked for: %s", error)


def announce(settings: Settings, ledger: Ledger, event: str, subject: str, text: str, **facts: Any) -> None:
    """Tell the webhook of something that is no run's end, once for each subject."""
    if settings.alert_webhook and ledger.claim_alert(event, subject):
        _try_to_send(settings, _message(event, subject, text, **facts))


def send_now(settings: Settings, text: str | None = None) -> None:
    """Send a message at once: a test, or a text of somebody's own.

    Raises
    ------
    SettingsError
        When there is no webhook.
    AlertNotSent
        When it does not take the message.
    """
    if not settings.alert_webhook:
        raise SettingsError("ALERT_WEBHOOK is not set.", "Set it to the address that is to be told.")
    said = text or f"Test of the alerts of admin-boundaries on {socket.gethostname()}: they arrive."
    send(settings.alert_webhook, _message("message" if text else "test", f"{datetime.now(UTC):%Y%m%dt%H%M%S}", said))


@contextmanager
def watching(settings: Settings, ledger: Ledger) -> Iterator[None]:
    """Look for ended runs every two seconds, and once more at the end of the block.

    The look has a thread of its own: a webhook that hangs must not hold up a consumer's signs of life.
    """
    if not settings.alert_webhook:
        yield
        return
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):  # waits first: workers are forked before there is anything to tell
            notice(settings, ledger)

    thread = threading.Thread(target=look, daemon=True)
    start = threading.Timer(0.5, thread.start)  # once the workers are forked: none inherits the thread
    start.start()
    try:
        yield
    finally:
        ended.set()
        start.cancel()
        if thread.is_alive():
            thread.join(ATTEMPTS * (SECONDS + 2))
        notice(settings, ledger)


def send(webhook: str, message: dict[str, Any]) -> None:
    """Post a message, three times at most.

    Raises
    ------
    AlertNotSent
        When the webhook does not take it. Where the webhook is, the message does not say.
    """
    body = json.dumps(message, ensure_ascii=False).encode()
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_MayPass),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=2),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        reraise=True,
    )
    attempts(_post, webhook, body)


def _post(webhook: str, body: bytes) -> None:
    with http.handle(Source(webhook)) as curl:
        curl.setopt(pycurl.FOLLOWLOCATION, False)
        curl.setopt(pycurl.TIMEOUT, SECONDS)
        curl.setopt(pycurl.HTTPHEADER, ["Content-Type: application/json; charset=utf-8", "Expect:"])
        curl.setopt(pycurl.POSTFIELDS, body)
        curl.setopt(pycurl.WRITEFUNCTION, len)
        try:
            curl.perform()
        except pycurl.error as error:  # its text may name the host
            raise _MayPass(f"The webhook does not answer (curl's error {error.args[0]}).") from None
        status = int(curl.getinfo(pycurl.RESPONSE_CODE))
    if status in (408, 425, 429) or status >= 500:
        raise _MayPass(f"The webhook answered {status}.")
    if not 200 <= status < 300:
        raise AlertNotSent(f"The webhook answered {status}.", "Is ALERT_WEBHOOK the right address?")


def _try_to_send(settings: Settings, message: dict[str, Any]) -> None:
    try:
        send(settings.alert_webhook, message)
    except AlertNotSent as error:
        log.error("%s was not told to the webhook: %s", message["id"], error)
    else:
        log.info("%s was told to the webhook.", message["id"])


def _of_run(ledger: Ledger, event: str, run: Run) -> dict[str, Any]:
    counts: dict[str, dict[str, int]] = {}
    for part in ledger.slices(run.run_id):
        count = counts.setdefault(part.table_name, {"rows_in_file": 0, "rows_loaded": 0})
        count["rows_in_file"] += part.rows_planned
        count["rows_loaded"] += part.rows_loaded or 0 if part.state == SliceState.LOADED else 0
    what = f"{run.dataset} {run.release}"
    if event == RUN_FAILED:
        text = f"{what} was not loaded: {_short(run.error or 'the reason is not known')} (run {run.run_id})"
    else:
        text = f"{what} was loaded: {run.rows_loaded:,} rows, run {run.run_id}. `dbt build` updates the marts."
    names = ("run_id", "dataset", "release", "variant", "scope", "state", "error")
    return _message(event, run.run_id, text, **{name: getattr(run, name) for name in names}, counts=counts)


def _message(event: str, subject: str, text: str, **facts: Any) -> dict[str, Any]:
    """Return a message: ``text`` is what Slack and its like show, what files call themselves is no markup in it."""
    return {
        "id": f"{event}:{subject}",
        "event": event,
        "text": html.escape(text, quote=False),
        **facts,
        "host": socket.gethostname(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _short(text: str) -> str:
    return text if len(text) <= TEXT_CHARACTERS else f"{text[:TEXT_CHARACTERS]} …"
