"""Send alerts to a webhook: for each run or build that failed, and each new release that a refresh has loaded.

These runs are looked up in the ledger, so it does not matter which process ended them, or whether that process is still
alive. A row in ``raw.ingest_alerts`` makes sure that an alert is sent once: the process that writes the row sends the
message. The address of the webhook is a secret, and appears in no message, log or table.
"""

from __future__ import annotations

import html
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pycurl
import tenacity

from ingest import catalog, sinks
from ingest.errors import AlertNotSent, IngestError, SettingsError
from ingest.ledger import Ledger, Run, SliceState
from ingest.pipeline import build
from ingest.settings import Settings
from ingest.sinks import difference
from ingest.sinks.difference import Difference
from ingest.sources import http
from ingest.sources.address import Source

log = logging.getLogger(__name__)

ATTEMPTS = 3
SECONDS = 5  # timeout of a whole attempt
LONGEST_SECONDS = difference.SECONDS + ATTEMPTS * (SECONDS + 2)  # that an alert may take
LOOK_SECONDS = 2.0
MEMORY = timedelta(days=1)  # runs that ended earlier are no longer announced
TEXT_CHARACTERS = 500
HINT = "Check ALERT_WEBHOOK, and its server."
RUN_FAILED, RELEASE_LOADED, NEWER_RELEASE = "run_failed", "release_loaded", "newer_release"
BUILD_FAILED, BUILD_RECOVERED = "build_failed", "build_recovered"


class _Temporary(AlertNotSent):
    """The webhook failed in a way that is worth a retry."""


def notice(settings: Settings, ledger: Ledger) -> None:
    """Announce every run that has ended and has not been announced yet. Failures to do so are logged, not raised.

    Parameters
    ----------
    settings, ledger
        Settings and ledger of the target. Does nothing without a webhook.
    """
    if not settings.alert_webhook:
        return
    try:
        since = datetime.now(UTC) - MEMORY
        for event, run in ledger.runs_to_announce(since, failed=RUN_FAILED, published=RELEASE_LOADED):
            if ledger.claim_alert(event, run.run_id):
                _try_to_send(settings, _run_message(settings, ledger, event, run))
    except IngestError as error:
        log.warning("Could not check for ended runs: %s", error)


def announce(settings: Settings, ledger: Ledger, event: str, subject: str, text: str, **facts: Any) -> None:
    """Announce an event other than the end of a run, once per subject."""
    if settings.alert_webhook and ledger.claim_alert(event, subject):
        _try_to_send(settings, _message(event, subject, text, **facts))


def send_now(settings: Settings, text: str | None = None) -> None:
    """Send a message now: the given text, or a test message.

    Raises
    ------
    SettingsError
        When no webhook is configured.
    AlertNotSent
        When the webhook does not accept the message.
    """
    if not settings.alert_webhook:
        raise SettingsError("ALERT_WEBHOOK is not set.", "Set it to the URL that receives alerts.")
    body = text or f"Test alert from admin-boundaries on {socket.gethostname()}."
    send(settings.alert_webhook, _message("message" if text else "test", f"{datetime.now(UTC):%Y%m%dt%H%M%S}", body))


@contextmanager
def watching(settings: Settings, ledger: Ledger) -> Iterator[None]:
    """Announce ended runs every two seconds while the block runs, and once more at its end.

    This happens in a thread of its own, so that a webhook that hangs does not delay the heartbeats of a consumer.
    """
    if not settings.alert_webhook:
        yield
        return
    ended = threading.Event()

    def check() -> None:
        while not ended.wait(LOOK_SECONDS):
            notice(settings, ledger)

    thread = threading.Thread(target=check, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LONGEST_SECONDS)
        notice(settings, ledger)


def send(webhook: str, message: dict[str, Any]) -> None:
    """Post a message, in at most three attempts.

    Raises
    ------
    AlertNotSent
        When the webhook does not accept the message. The error does not name its address.
    """
    body = json.dumps(message, ensure_ascii=False).encode()
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_Temporary),
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
            raise _Temporary(f"The webhook does not answer (curl error {error.args[0]}).", HINT) from None
        status = int(curl.getinfo(pycurl.RESPONSE_CODE))
    if status in (408, 425, 429) or status >= 500:
        raise _Temporary(f"The webhook answered {status}.", HINT)
    if not 200 <= status < 300:
        raise AlertNotSent(f"The webhook answered {status}.", HINT)


def _try_to_send(settings: Settings, message: dict[str, Any]) -> None:
    try:
        send(settings.alert_webhook, message)
    except AlertNotSent as error:
        log.error("The alert %s was not sent: %s", message["id"], error)
    else:
        log.info("The alert %s was sent.", message["id"])


def _run_message(settings: Settings, ledger: Ledger, event: str, run: Run) -> dict[str, Any]:
    counts: dict[str, dict[str, int]] = {}
    for part in ledger.slices(run.run_id):
        count = counts.setdefault(part.table_name, {"rows_in_file": 0, "rows_loaded": 0})
        count["rows_in_file"] += part.rows_planned
        count["rows_loaded"] += part.rows_loaded or 0 if part.state == SliceState.LOADED else 0
    what = f"{run.dataset} {run.release}"
    differences: dict[str, Any] = {}
    if event == RUN_FAILED:
        text = f"{what} was not loaded: {_short(run.error or 'the reason is unknown')} (run {run.run_id})"
    else:
        loaded = f"{what} was loaded: {run.rows_loaded:,} rows, run {run.run_id}."
        text = f"{loaded} `{build.command(run.dataset)}` updates the marts."
        found = _difference(settings, ledger, run)
        if found:
            before, counts_of = found
            text = f"{text} {_differences(before, counts_of, catalog.get(run.dataset))}"
            differences = {"differences": {"since": before.run_id, **asdict(counts_of)}}
    names = ("run_id", "dataset", "release", "variant", "scope", "state", "error")
    return _message(
        event, run.run_id, text, **{name: getattr(run, name) for name in names}, counts=counts, **differences
    )


def _difference(settings: Settings, ledger: Ledger, run: Run) -> tuple[Run, Difference] | None:
    """Return the publication before a run, and by what they differ; None if that cannot be told."""
    try:
        now, before = ledger.published_run(run.dataset), ledger.superseded_run(run.dataset)
        if now is None or now.run_id != run.run_id or before is None:
            return None
        dataset, sink = catalog.get(run.dataset), sinks.get(settings)
        if before.run_id not in sink.stored_runs(run.dataset, dataset.tables):
            return None
        return before, sink.compare(sinks.Staging.of(before), sinks.Staging.of(run), dataset)
    except IngestError as error:
        log.warning("What changed in %s could not be found out: %s", run.dataset, error)
        return None


def _differences(before: Run, found: Difference, dataset: catalog.Dataset) -> str:
    """Return by what a run differs from the publication before, as a sentence."""
    counts = (
        (found.new, f"key{'s' if found.new != 1 else ''} new"),
        (found.gone, "gone"),
        (found.renamed, "renamed"),
        (found.reshaped, "with another shape"),
    )
    told = ", ".join(f"{count:,} {what}" for count, what in counts if count)
    if found.reshaped is None:
        told = f"{told or 'the same keys and names'}, shapes unknown, as an older version has loaded one of the two"
    elif not found.reshaped:
        told = f"{told}, all others with the same shape" if told else "the same keys, names and shapes"
    since = f"Since release {before.release}: {told}"
    if not dataset.is_hierarchy:
        return f"{since}."
    return f"{since}; split and merged after the build: `python -m ingest changes {dataset.name}`."


def _message(event: str, subject: str, text: str, **facts: Any) -> dict[str, Any]:
    """Return a message. Slack and similar services show ``text``, so markup in names from files is escaped there."""
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
