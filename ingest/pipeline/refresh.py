"""Look whether a publisher has something new, and start a run where there is.

For every published dataset that is the publisher's own release, the address that its run came from is asked again:
a file that changed is loaded as the published run was. Where the catalog knows an address that leads to the newest
release, a newer one than the published is loaded, too; where it does not, a newer one of the catalog is announced.
The scheduled look is a task like any other; `python -m ingest refresh` does the same in the foreground.
"""

from __future__ import annotations

import enum
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pycurl
from huey import crontab

from ingest import catalog
from ingest.errors import RunInProgress, SettingsError, SourceInterrupted, SourceUnavailable, UsageError
from ingest.ledger import Ledger, Request, Run
from ingest.pipeline import alerts
from ingest.pipeline.queue import huey
from ingest.pipeline.tasks import submit
from ingest.settings import Settings, read_settings
from ingest.sources import cache, http, mirrors
from ingest.sources.address import Source

log = logging.getLogger(__name__)

CRON_FIELDS = ("minute", "hour", "day", "month", "day_of_week")
PROBE_SECONDS = 30


class Outcome(enum.Enum):
    """What a look at a dataset came to."""

    UNCHANGED = enum.auto()
    CHANGED = enum.auto()
    NEW_RELEASE = enum.auto()
    ANNOUNCED = enum.auto()
    LEFT_ALONE = enum.auto()
    NOT_REACHED = enum.auto()


@dataclass(frozen=True)
class Finding:
    """What was found of a dataset.

    Attributes
    ----------
    dataset : str
        Which one.
    outcome : Outcome
        What is to be done.
    text : str
        The same in words.
    request : Request or None
        What to load.
    newest : str or None
        A release that is newer than the published one and is not loaded by itself.
    """

    dataset: str
    outcome: Outcome
    text: str
    request: Request | None = None
    newest: str | None = None


def look(ledger: Ledger) -> list[Finding]:
    """Ask the publishers of all datasets whether they have something new; nothing is loaded.

    Parameters
    ----------
    ledger : Ledger
        Of the target.

    Returns
    -------
    list of Finding
        One or more for each dataset; a dataset never has two that are to be loaded.
    """
    found: list[Finding] = []
    for dataset in catalog.datasets().values():
        published = ledger.published_run(dataset.name)
        if published is None:
            found.append(_left_alone(dataset.name, "never loaded, nothing to refresh"))
        elif published.scope == "custom":
            found.append(_left_alone(dataset.name, "loaded from a source of one's own, which is not looked at"))
        else:
            found += _look_at(dataset, published)
    return found


def start(settings: Settings, ledger: Ledger, findings: Sequence[Finding]) -> tuple[list[str], list[Finding]]:
    """Note a run for everything that is to be loaded, and announce what is not; nothing is enqueued.

    Parameters
    ----------
    settings, ledger
        Of the target.
    findings : sequence of Finding
        What `look` returned.

    Returns
    -------
    (list of str, list of Finding)
        The ids of the runs, and the findings of datasets that already have a run under way: that one goes on.
    """
    made, waiting = [], []
    for finding in findings:
        if finding.newest:
            subject = f"{finding.dataset} {finding.newest}"
            alerts.announce(settings, ledger, alerts.NEWER_RELEASE, subject, finding.text, dataset=finding.dataset)
        if finding.request is None:
            continue
        try:
            run_id = ledger.create_run(finding.request, _identity(finding.request))
        except RunInProgress:
            waiting.append(finding)
            continue
        ledger.expect_alert(alerts.RELEASE_LOADED, run_id)
        made.append(run_id)
    return made, waiting


def due(expression: str) -> Callable[[datetime], bool]:
    """Return a function that tells whether a minute is on a schedule.

    Parameters
    ----------
    expression : str
        Five fields as cron has them: minute, hour, day, month, day of the week. The time is UTC.

    Raises
    ------
    SettingsError
        When it is none.
    """
    fields = expression.split()
    try:
        if len(fields) != len(CRON_FIELDS):
            raise ValueError(f"it has {len(fields)} fields")
        matches: Callable[[datetime], bool] = crontab(**dict(zip(CRON_FIELDS, fields, strict=True)), strict=True)
    except ValueError as error:
        raise SettingsError(
            f"The schedule {expression!r} is no cron expression: {error}.",
            'Five fields, as in "0 3 * * *" (every day at 03:00 UTC).',
        ) from error
    return matches


class _Schedule:
    """When the refresh is due, in this process: never, unless a consumer was told."""

    expression: str = ""

    def is_due(self, moment: datetime) -> bool:
        return bool(self.expression) and due(self.expression)(moment)


schedule = _Schedule()


def turn_on(expression: str) -> bool:
    """Have the consumer of this process refresh on a schedule; False when the expression is empty.

    Raises
    ------
    SettingsError
        When it is no cron expression.
    """
    if expression:
        due(expression)
    schedule.expression = expression
    return bool(expression)


@huey.periodic_task(schedule.is_due)
def refresh_published() -> None:
    """Look for new releases and enqueue their runs; of several consumers that do so at once, one gets the run."""
    settings = read_settings()
    ledger = Ledger(settings)
    findings = look(ledger)
    for finding in findings:
        level = logging.WARNING if finding.outcome is Outcome.NOT_REACHED else logging.INFO
        log.log(level, "refresh: %s", finding.text)
    run_ids, waiting = start(settings, ledger, findings)
    for finding in waiting:
        log.info("refresh: a run of %s has not ended; it goes on.", finding.dataset)
    for run_id in run_ids:
        submit(ledger, run_id)


def _look_at(dataset: catalog.Dataset, published: Run) -> list[Finding]:
    request = published.request
    newer = _newer(dataset, request)
    if any(finding.request for finding in newer):
        return newer
    return [*newer, _same_release(request, published)]


def _same_release(request: Request, published: Run) -> Finding:
    """Ask the very addresses whose answers were noted when the release was loaded: they may be mirrors."""
    what = f"{request.dataset} {request.release}"
    if not published.identity:
        return _left_alone(what, "its server states neither ETag nor Last-Modified, nobody can tell whether it changed")
    noted = zip(published.source_identities, request.sources, strict=True)
    asked = [cache.address_of(identity) or own for identity, own in noted]
    try:
        now = request.identity([cache.identity(Source.parse(location)) for location in asked])
    except SourceUnavailable as error:
        return Finding(request.dataset, Outcome.NOT_REACHED, f"{what}: could not be looked at. {error}")
    if now is None:
        return _left_alone(what, "its server states neither ETag nor Last-Modified any more")
    if now == published.identity:
        return Finding(request.dataset, Outcome.UNCHANGED, f"{what}: unchanged since run {published.run_id}.")
    return Finding(request.dataset, Outcome.CHANGED, f"{what}: no longer what run {published.run_id} loaded.", request)


def _newer(dataset: catalog.Dataset, request: Request) -> list[Finding]:
    """Look for a release that is newer than the published one."""
    try:
        newest = latest(dataset.latest) if dataset.latest else dataset.default_release
    except SourceUnavailable as error:
        text = f"{dataset.name}: the newest release could not be looked up. {error}"
        return [Finding(dataset.name, Outcome.NOT_REACHED, text)]
    if _order(newest) <= _order(request.release):
        return []
    why = f"`python -m ingest {dataset.name} --release {newest}` loads it"
    if dataset.latest and request.scope == "world":
        try:
            return [_new_release(dataset, dataset.release(newest), request)]
        except UsageError as error:
            why = f"the catalog does not know it: {error.message}"
    text = f"{dataset.name} {newest} is newer than the published {request.release}: {why.rstrip('.')}."
    return [Finding(dataset.name, Outcome.ANNOUNCED, text, newest=newest)]


def _new_release(dataset: catalog.Dataset, release: catalog.Release, request: Request) -> Finding:
    """Return the published request with another release in it."""
    variant, _, oceans = (request.variant or "now, with oceans").partition(", ")
    files = catalog.addresses(dataset, release, variant=variant, oceans=oceans == "with oceans")
    sources = tuple(first for first, *_ in files)
    wanted = replace(request, release=release.name, sources=sources, mirrors=mirrors.of(files))
    text = f"{dataset.name} {release.name}: a new release; {request.release} is published."
    return Finding(dataset.name, Outcome.NEW_RELEASE, text, wanted)


def latest(where: catalog.Latest) -> str:
    """Return the name of a publisher's newest release, read from where an address leads to.

    Raises
    ------
    SourceUnavailable
        When it leads nowhere, or to something without such a name.
    """
    reached = ""
    for attempt in http.retrying():
        with attempt:
            reached = _final_address(Source.parse(where.url))
    match = where.pattern.search(reached)
    if match is None:
        raise SourceUnavailable(
            f"{where.url} leads to {Source.parse(reached).public}, which names no release.",
            "Has the publisher moved? The catalog says where to look.",
        )
    return match["release"]


def _final_address(source: Source) -> str:
    """Return the address that redirects lead to."""
    with http.handle(source) as curl:
        curl.setopt(pycurl.NOBODY, True)
        curl.setopt(pycurl.TIMEOUT, PROBE_SECONDS)
        try:
            curl.perform()
        except pycurl.error as error:
            raise SourceInterrupted(f"{source.public}: {error.args[1]}.", "Is the machine online?") from error
        status, reached = int(curl.getinfo(pycurl.RESPONSE_CODE)), str(curl.getinfo(pycurl.EFFECTIVE_URL))
    if status == 429 or status >= 500:
        raise SourceInterrupted(f"{source.public} answered {status}.", "The server may be busy; try again later.")
    if status >= 400:
        raise SourceUnavailable(f"{source.public} answered {status}.", "The catalog says where to look.")
    return reached


def _identity(request: Request) -> str | None:
    """Return the identity under which a run is noted; None where no address answers: the run will say so."""
    try:
        files = [
            mirrors.candidates(Source.parse(location), request.mirrors, number)
            for number, location in enumerate(request.sources)
        ]
        return request.identity([mirrors.identity(sources) for sources in files])
    except SourceUnavailable as error:
        log.warning("%s %s: %s", request.dataset, request.release, error)
        return None


def _left_alone(what: str, why: str) -> Finding:
    return Finding(what.partition(" ")[0], Outcome.LEFT_ALONE, f"{what}: {why}.")


def _order(name: str) -> list[tuple[int, str]]:
    """Return what sorts release names as people do: 4.10 after 4.9, 2025c after 2025b."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
