"""What went wrong in a task, with its traceback: for the dashboard, and for whoever fixes it.

Every failed attempt is noted in the ledger, also one that a retry made good. A traceback quotes messages of libraries,
and those may quote an address or a password: what looks like one is blotted out before it is noted.
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
SHORTEST_SECRET = 6  # a shorter one would blot out half of the text
BLOT = "…"

_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/?#'\"<>]*@", re.IGNORECASE)
_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?'\"<>]*\?)[^\s'\"<>]+", re.IGNORECASE)
_NAMED = re.compile(r"\b((?:pg)?pass(?:word|wd)?|secret|token|signature)(\s*[=:]\s*)[^\s&,;'\"<>]+", re.IGNORECASE)


def note(settings: Settings, ledger: Ledger, task: Task, error: Exception) -> None:
    """Note a failed attempt of a task; a ledger that does not answer is no further fault.

    Parameters
    ----------
    settings, ledger
        Of the target.
    task : Task
        One of `ingest.pipeline.tasks`; others have no run, and nothing is noted of them.
    error : Exception
        As it was raised.
    """
    stage = STAGES.get(task.name)
    if stage is None:
        return
    secrets = secrets_of(settings)
    trace = "".join(traceback.format_exception(error)).replace(f"{PROJECT_ROOT}/", "")
    part_no = task.args[1] if stage in ("fetch", "load") else None
    texts = {
        "error_type": type(error).__name__,
        "error": blotted(str(error), secrets),
        "traceback": blotted(trace, secrets)[-TRACEBACK_CHARACTERS:],
    }
    try:
        ledger.note_fault(task.args[0], stage, part_no, **texts)
    except IngestError as fault:
        log.warning("An error of run %s was not noted: %s", task.args[0], fault)


def secrets_of(settings: Settings) -> list[str]:
    """Return what must stand in no text: as it is configured, and as an address would spell it."""
    known = [settings.secret, settings.alert_webhook]
    if settings.postgres:
        known.append(settings.postgres.password)
    try:
        known.append(urllib.parse.unquote(urllib.parse.urlsplit(settings.redis_url).password or ""))
    except ValueError:  # malformed: the queue has refused it already
        known.append(settings.redis_url)
    spelled = {each for secret in known for each in (secret, urllib.parse.quote(secret, safe=""))}
    return sorted((secret for secret in spelled if len(secret) >= SHORTEST_SECRET), key=len, reverse=True)


def blotted(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text without users and queries of addresses, passwords by name, and the given secrets."""
    for secret in secrets:
        text = text.replace(secret, BLOT)
    for pattern, kept in ((_USERINFO, rf"\1{BLOT}@"), (_QUERY, rf"\1{BLOT}"), (_NAMED, rf"\1\2{BLOT}")):
        text = pattern.sub(kept, text)
    return text
