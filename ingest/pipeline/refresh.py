"""Check the publishers for changed files and new releases, and load what is new.

Every dataset that was published from a publisher's release is checked. If the file at the address that the published
run came from has changed, it is loaded again with the same options. If there is a newer release, and the catalog has
an address that leads to the publisher's newest one, it is loaded too; otherwise it is only announced. The scheduled
check is a task like any other; `python -m ingest refresh` does the same in the foreground.
"""

from __future__ import annotations

import enum
import logging
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from huey import crontab

from ingest import catalog, sinks
from ingest.errors import RunInProgress, SettingsError, SourceUnavailable, UsageError
from ingest.ledger import Ledger, Request, Run
from ingest.pipeline import alerts, publication
from ingest.pipeline.queue import huey
from ingest.pipeline.tasks import submit
from ingest.settings import Settings, read_settings
from ingest.sources import cache, http, lookup, mirrors, network
from ingest.sources.address import Source

log = logging.getLogger(__name__)

CRON_FIELDS = ("minute", "hour", "day", "month", "day_of_week")
PROBE_SECONDS = 30
LIST_BYTES = 1 << 20  # of a publisher's list of releases
CORRECT_LATEST = "Correct `latest` in ingest/catalog.yaml."


class Verdict(enum.Enum):
    """The result of checking a dataset."""

    UNCHANGED = enum.auto()  # the published file is still current
    CHANGED = enum.auto()  # the file has changed: load it again
    NEW_RELEASE = enum.auto()  # there is a newer release: load it
    ANNOUNCED = enum.auto()  # there is a newer release that is not loaded automatically
    SKIPPED = enum.auto()  # there is nothing to compare
    UNREACHABLE = enum.auto()  # the publisher did not answer


@dataclass(frozen=True)
class Finding:
    """What a check found about a dataset.

    Attributes
    ----------
    dataset : str
        Name of the dataset; of several that were never loaded, all of them.
    verdict : Verdict
        The result.
    text : str
        The result as a sentence, for people.
    request : Request or None
        What to load; None if there is nothing to load.
    newest : str or None
        Name of a newer release that is not loaded automatically.
    """

    dataset: str
    verdict: Verdict
    text: str
    request: Request | None = None
    newest: str | None = None


def check(ledger: Ledger, damaged: Collection[str] = ()) -> list[Finding]:
    """Check the publishers of all datasets for changed files and new releases. Nothing is loaded.

    Parameters
    ----------
    ledger : Ledger
        Ledger of the target.
    damaged : collection of str
        Datasets that have lost rows, so that an unchanged file is to be loaded again.

    Returns
    -------
    list of Finding
        One or more per dataset, of which at most one has a ``request``; a single one for all that were never loaded.
    """
    found: list[Finding] = []
    never_loaded = []
    for dataset in catalog.datasets().values():
        published = ledger.published_run(dataset.name)
        if published is None:
            never_loaded.append(dataset.name)
        elif published.base_run_id is not None:
            found.append(_skipped(dataset.name, "loaded with --add, which is not checked"))
        elif published.scope == "custom":
            found.append(_skipped(dataset.name, "loaded with --source, which is not checked"))
        else:
            found += _check_dataset(dataset, published, is_damaged=dataset.name in damaged)
    if never_loaded:
        names = ", ".join(never_loaded)
        found.append(Finding(names, Verdict.SKIPPED, f"{names}: never loaded, nothing to refresh."))
    return found


def create_runs(settings: Settings, ledger: Ledger, findings: Sequence[Finding]) -> tuple[list[str], list[Finding]]:
    """Create a run for each finding with a request, and announce newer releases that have none. Nothing is enqueued.

    Parameters
    ----------
    settings, ledger
        Settings and ledger of the target.
    findings : sequence of Finding
        The result of `check`.

    Returns
    -------
    (list of str, list of Finding)
        The ids of the new runs, and the findings of datasets that already have a run in progress.
    """
    made, waiting = [], []
    for finding in findings:
        if finding.newest:
            subject = f"{finding.dataset} {finding.newest}"
            alerts.announce(settings, ledger, alerts.NEWER_RELEASE, subject, finding.text, dataset=finding.dataset)
        if finding.request is None:
            continue
        try:
            run_id = ledger.create_run(finding.request, _identity_if_reachable(finding.request))
        except RunInProgress:
            waiting.append(finding)
            continue
        ledger.expect_alert(alerts.RELEASE_LOADED, run_id)
        made.append(run_id)
    return made, waiting


def cron_matcher(expression: str) -> Callable[[datetime], bool]:
    """Parse a cron expression.

    Parameters
    ----------
    expression : str
        Five fields, as in cron: minute, hour, day, month, day of the week. Times are UTC.

    Returns
    -------
    callable
        Takes a time and returns whether its minute is on the schedule.

    Raises
    ------
    SettingsError
        When the expression is invalid.
    """
    fields = expression.split()
    try:
        if len(fields) != len(CRON_FIELDS):
            raise ValueError(f"it has {len(fields)} fields")
        matches: Callable[[datetime], bool] = crontab(**dict(zip(CRON_FIELDS, fields, strict=True)), strict=True)
    except ValueError as error:
        raise SettingsError(
            f"The schedule {expression!r} is not a cron expression: {error}.",
            'Give five fields, as in "0 3 * * *" (every day at 03:00 UTC).',
        ) from error
    return matches


class _Schedule:
    """The refresh schedule of this process: never, until `set_schedule` sets one."""

    expression: str = ""

    def is_due(self, moment: datetime) -> bool:
        return bool(self.expression) and cron_matcher(self.expression)(moment)


schedule = _Schedule()


def set_schedule(expression: str) -> bool:
    """Set the schedule on which the consumer of this process refreshes; an empty expression turns it off.

    Returns
    -------
    bool
        Whether there is a schedule.

    Raises
    ------
    SettingsError
        When the expression is neither empty nor a valid cron expression.
    """
    if expression:
        cron_matcher(expression)
    schedule.expression = expression
    return bool(expression)


@huey.periodic_task(schedule.is_due)
def refresh_published() -> None:
    """Check the publishers and enqueue runs for what is new. Of several consumers at once, only one gets the run."""
    settings = read_settings()
    ledger = Ledger(settings)
    findings = check(ledger, publication.restore(ledger, sinks.get(settings), log.warning))
    for finding in findings:
        level = logging.WARNING if finding.verdict is Verdict.UNREACHABLE else logging.INFO
        log.log(level, "refresh: %s", finding.text)
    run_ids, waiting = create_runs(settings, ledger, findings)
    for finding in waiting:
        log.info("refresh: a run of %s is already in progress and continues.", finding.dataset)
    for run_id in run_ids:
        submit(ledger, run_id)


def _check_dataset(dataset: catalog.Dataset, published: Run, *, is_damaged: bool) -> list[Finding]:
    request = published.request
    newer = _check_newer_release(dataset, request)
    if any(finding.request for finding in newer):
        return newer
    found = _check_published_release(request, published)
    if is_damaged and found.verdict in (Verdict.UNCHANGED, Verdict.SKIPPED):
        text = f"{request.dataset} {request.release}: run {published.run_id} has lost rows, and is loaded again."
        found = Finding(request.dataset, Verdict.CHANGED, text, request)
    return [*newer, found]


def _check_published_release(request: Request, published: Run) -> Finding:
    """Compare the files of the published run with what their addresses, possibly mirrors, serve now."""
    what = f"{request.dataset} {request.release}"
    if not published.identity:
        return _skipped(what, "its server sends neither ETag nor Last-Modified, so a change cannot be detected")
    recorded = zip(published.source_versions, request.sources, strict=True)
    addresses = [cache.address_of(version) or own for version, own in recorded]
    try:
        with network.only_public(request.only_public):
            now = request.identity([cache.version_of(Source.parse(location)) for location in addresses])
    except SourceUnavailable as error:
        return Finding(request.dataset, Verdict.UNREACHABLE, f"{what}: could not be checked. {error}")
    if now is None:
        return _skipped(what, "its server no longer sends ETag or Last-Modified")
    if now == published.identity:
        return Finding(request.dataset, Verdict.UNCHANGED, f"{what}: unchanged since run {published.run_id}.")
    return Finding(request.dataset, Verdict.CHANGED, f"{what}: no longer what run {published.run_id} loaded.", request)


def _check_newer_release(dataset: catalog.Dataset, request: Request) -> list[Finding]:
    """Return at most one finding: a release newer than the published one, or that the lookup failed.

    One that is named by a word, such as ``current``, is whatever the publisher has.
    """
    if not any(map(str.isdigit, request.release)):
        return []
    try:
        newest = latest(dataset.latest) if dataset.latest else dataset.default_release
        if _sort_key(newest) <= _sort_key(request.release):
            return []
        why = f"`python -m ingest {dataset.name} --release {newest}` loads it"
        if dataset.latest and request.scope == "world":
            return [_new_release(dataset, dataset.release(newest), request)]
    except SourceUnavailable as error:
        text = f"{dataset.name}: the newest release could not be looked up. {error}"
        return [Finding(dataset.name, Verdict.UNREACHABLE, text)]
    except UsageError as error:
        why = f"the catalog does not know it: {error.message}"
    text = f"{dataset.name} {newest} is newer than the published {request.release}: {why.rstrip('.')}."
    return [Finding(dataset.name, Verdict.ANNOUNCED, text, newest=newest)]


def _new_release(dataset: catalog.Dataset, release: catalog.Release, request: Request) -> Finding:
    """Return a finding that requests a release with the options of the published one."""
    variant, _, oceans = (request.variant or "now, with oceans").partition(", ")
    files = lookup.addresses(dataset, release, levels=request.levels, variant=variant, oceans=oceans == "with oceans")
    sources = tuple(first for first, *_ in files)
    wanted = replace(request, release=release.name, sources=sources, mirrors=mirrors.of(files))
    text = f"{dataset.name} {release.name}: a new release; {request.release} is published."
    return Finding(dataset.name, Verdict.NEW_RELEASE, text, wanted)


def latest(where: catalog.Latest) -> str:
    """Return the name of a publisher's newest release, from the URL that an address redirects to, or from a list.

    Raises
    ------
    SourceUnavailable
        When the address cannot be reached, or there is no release name in that URL or list.
    """
    source, reached, listed = Source.parse(where.url), "", b""
    for attempt in http.retrying():
        with attempt:
            limit = LIST_BYTES if where.is_listed else 0
            reached, listed = http.ask(source, PROBE_SECONDS, CORRECT_LATEST, max_bytes=limit)
    text = listed.decode("utf-8", "replace") if where.is_listed else reached
    names = [match["release"] for match in where.pattern.finditer(text)]
    if not names:
        raise SourceUnavailable(
            f"{where.url} leads to {Source.parse(reached).public}, which names no release.",
            f"Has the publisher moved? {CORRECT_LATEST}",
        )
    return max(names, key=_sort_key) if where.is_listed else names[0]


def _identity_if_reachable(request: Request) -> str | None:
    """Return the identity of a new run, or None if no address answers: then the run itself reports that."""
    try:
        files = [
            mirrors.candidates(Source.parse(location), request.mirrors, number)
            for number, location in enumerate(request.sources)
        ]
        with network.only_public(request.only_public):
            return request.identity([mirrors.version_of(sources) for sources in files])
    except SourceUnavailable as error:
        log.warning("%s %s: %s", request.dataset, request.release, error)
        return None


def _skipped(what: str, why: str) -> Finding:
    return Finding(what.partition(" ")[0], Verdict.SKIPPED, f"{what}: {why}.")


def _sort_key(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts release names by their numbers: 4.10 after 4.9, 2025c after 2025b."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
