"""Record failed attempts of tasks, with their tracebacks, for the dashboard.

Every failed attempt is recorded in the ledger, even if a retry succeeds later. A traceback may contain messages of
libraries that quote an address or a password, so everything that looks like one is redacted first.
"""

from __future__ import annotations

import logging
import re
import traceback
import urllib.parse
from collections.abc import Iterable

from huey.api import Task

from ingest.errors import IngestError
from ingest.ledger import Ledger
from ingest.settings import PROJECT_ROOT, Settings

log = logging.getLogger(__name__)

STAGES = {"fetch_file": "fetch", "plan_run": "plan", "load_slice": "load", "publish_run": "publish"}
TRACEBACK_CHARACTERS = 16_000
SHORTEST_SECRET = 6  # a shorter one occurs in ordinary words, and would redact half of the text
REDACTED = "…"

_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/?#'\"<>]*@", re.IGNORECASE)
_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?'\"<>]*\?)[^\s'\"<>]+", re.IGNORECASE)
_NAMED = re.compile(r"\b((?:pg)?pass(?:word|wd)?|secret|token|signature)(\s*[=:]\s*)[^\s&,;'\"<>]+", re.IGNORECASE)


def note(settings: Settings, ledger: Ledger, task: Task, error: Exception) -> None:
    """Record a failed attempt of a task. If the ledger does not answer, that is logged and not raised.

    Parameters
    ----------
    settings, ledger
        Settings and ledger of the target.
    task : Task
        A task of `ingest.pipeline.tasks`. Other tasks belong to no run, and are ignored.
    error : Exception
        The exception that the task raised.
    """
    stage = STAGES.get(task.name)
    if stage is None:
        return
    secrets = secrets_of(settings)
    trace = "".join(traceback.format_exception(error)).replace(f"{PROJECT_ROOT}/", "")
    part_no = task.args[1] if stage in ("fetch", "load") else None
    texts = {
        "error_type": type(error).__name__,
        "error": redact(str(error), secrets),
        "traceback": redact(trace, secrets)[-TRACEBACK_CHARACTERS:],
    }
    try:
        ledger.note_fault(task.args[0], stage, part_no, **texts)
    except IngestError as fault:
        log.warning("An error of run %s could not be recorded: %s", task.args[0], fault)


def secrets_of(settings: Settings) -> list[str]:
    """Return the configured secrets, longest first, both as they are and percent-encoded as in an address."""
    known = [settings.secret, settings.alert_webhook]
    if settings.postgres:
        known.append(settings.postgres.password)
    try:
        known.append(urllib.parse.unquote(urllib.parse.urlsplit(settings.redis_url).password or ""))
    except ValueError:  # malformed: the whole address is treated as a secret
        known.append(settings.redis_url)
    spelled = {each for secret in known for each in (secret, urllib.parse.quote(secret, safe=""))}
    return sorted((secret for secret in spelled if len(secret) >= SHORTEST_SECRET), key=len, reverse=True)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Replace user names and queries in addresses, named passwords, and the given secrets in a text."""
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    for pattern, kept in ((_USERINFO, rf"\1{REDACTED}@"), (_QUERY, rf"\1{REDACTED}"), (_NAMED, rf"\1\2{REDACTED}")):
        text = pattern.sub(kept, text)
    return text
