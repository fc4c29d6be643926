"""Start, follow, resume and end runs, for the commands and the dashboard."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import Protocol

from ingest import catalog, sinks
from ingest.errors import RunFailed, SourceUnavailable, UsageError
from ingest.layers import encodings
from ingest.ledger import Ledger, Request, Run, RunState
from ingest.pipeline import adding, alerts, consumer, publication, refresh, retries, signed_addresses
from ingest.pipeline.tasks import submit
from ingest.settings import Settings, read_settings, require_home_for_dbt
from ingest.setup import rights
from ingest.sources import lookup, mirrors, network
from ingest.sources.address import Source, absolute

RUN_ID = re.compile(r"\d{8}t\d{6}_[0-9a-f]{4}")


class Reporter(Protocol):
    """Shows the progress and the outcome of runs to whoever started them. `ingest.console` is one."""

    def say(self, text: str) -> None:
        """Show one line of text."""
        ...

    def watch(self, ledger: Ledger, run_ids: Sequence[str], is_alive: Callable[[], bool]) -> None:
        """Show the progress of runs until all have ended, or ``is_alive`` returns False for a while."""
        ...

    def counts(self, ledger: Ledger, runs: Sequence[Run]) -> None:
        """Show the number of rows of every raw table of the runs."""
        ...

    def summary(self, ledger: Ledger, run: Run, target: str) -> None:
        """Show the outcome of a run in one line."""
        ...


def open_target(*, to_publish: bool = False) -> tuple[Settings, Ledger]:
    """Return the settings and the ledger of the target. The ledger is created or upgraded if necessary.

    With ``to_publish``, a user whose tables dbt could not read is refused before anything is created, as is a folder.
    """
    settings = read_settings()
    if to_publish:
        rights.check_load(settings.postgres)
        require_home_for_dbt(settings)
    ledger = Ledger(settings)
    ledger.open()
    return settings, ledger


def requests(
    names: Sequence[str],
    *,
    releases: Mapping[str, Sequence[str]],
    sources: Mapping[str, Sequence[str]],
    countries: Sequence[str],
    levels: tuple[int, ...] | None,
    engine: str,
    variant: str,
    oceans: bool,
    is_validated: bool = True,
    crs: str | None = None,
    encoding: str | None = None,
    is_added: bool = False,
    only_public: bool = False,
) -> list[Request]:
    """Turn the options of the command into one request per dataset.

    Raises
    ------
    UsageError
        When a dataset, release, level or encoding does not exist, or options exclude each other.
    SourceUnavailable
        When the publisher's list of releases or files is needed, and cannot be fetched or lacks what is wanted.
    """
    encodings.check(encoding)
    made = []
    for name in names:
        dataset = catalog.get(name)
        if is_added and dataset.country is None:
            raise UsageError(f"--add replaces countries, and {name} has none.", "Load it without --add.")
        if len(releases[name]) > 1:
            raise UsageError(f"{name} was given several releases: {', '.join(releases[name])}.", "Name one.")
        mine = countries if dataset.is_hierarchy else ()
        only_countries = catalog.alpha_2(mine) if dataset.rows else ()
        with_own_files = () if only_countries else mine
        release = _release(
            dataset, releases[name], is_at_hand=bool(sources[name] or with_own_files), only_public=only_public
        )
        if mine and sources[name]:
            raise UsageError("--country and --source exclude each other.", "Name the country's file with --source.")
        if dataset.is_hierarchy and levels and (unknown := sorted(set(levels) - set(dataset.levels))):
            raise UsageError(
                f"{name} has no level {unknown[-1]}.", f"Levels: {dataset.levels[0]}-{dataset.levels[-1]}."
            )
        found: Sequence[tuple[str, ...]] = [(absolute(location),) for location in sources[name]]
        listed: Mapping[str, tuple[tuple[str, str], ...]] = {}
        if mine and release.country_lookup:
            with network.only_public(only_public):
                listed = _listed(dataset, release, release.country_lookup, mine, levels)
            found = [(address,) for address in listed]
        elif not found:
            with network.only_public(only_public):
                found = lookup.addresses(
                    dataset, release, countries=with_own_files, levels=levels, variant=variant, oceans=oceans
                )
        made.append(
            Request(
                dataset=name,
                release=release.name,
                engine=engine,
                sources=tuple(first for first, *_ in found),
                scope="custom" if sources[name] or release.is_bundled else "countries" if mine else "world",
                variant=f"{variant}, {'with' if oceans else 'without'} oceans" if dataset.variants else None,
                levels=levels if dataset.is_hierarchy else None,
                mirrors=mirrors.of(found),
                is_validated=is_validated,
                crs=crs,
                encoding=encoding,
                is_added=is_added,
                only_public=only_public,
                listed=tuple(listed.values()) if any(listed.values()) else (),
                only_countries=only_countries,
            )
        )
        if is_added and made[-1].scope == "world":
            raise UsageError(
                "--add needs --source or --country: otherwise the file is that of the world.", "Name what to add."
            )
    if countries and not any(catalog.get(name).is_hierarchy for name in names):
        raise UsageError("--country applies only to datasets with levels.", "Leave it out.")
    return made


def _release(dataset: catalog.Dataset, named: Sequence[str], *, is_at_hand: bool, only_public: bool) -> catalog.Release:
    """Return the release that is named, the publisher's newest if it keeps no other, or the catalog's default."""
    if not named and not is_at_hand and dataset.latest and dataset.latest.is_default:
        with network.only_public(only_public):
            return dataset.release(refresh.latest(dataset.latest))
    return dataset.release(named[0] if named else None)


def _listed(
    dataset: catalog.Dataset,
    release: catalog.Release,
    where: catalog.Lookup,
    countries: Sequence[str],
    levels: Sequence[int] | None,
) -> dict[str, tuple[tuple[str, str], ...]]:
    """Ask the publisher for the files of countries; a file of a single level is taken only if the level is wanted."""
    found = {}
    for country in countries:
        wanted = where.of(country)
        for address, known in lookup.files(wanted.url, wanted.key, wanted.pattern, dataset.listed):
            level = release.level_of(PurePosixPath(address).stem)
            if levels is None or level is False or level in levels:
                found[address] = known
    return found


def start(
    requests: Sequence[Request], reporter: Reporter, *, workers: int, force: bool = False, is_async: bool = False
) -> None:
    """Load datasets in parallel, one run each. Datasets that have not changed since they were published are skipped.

    Parameters
    ----------
    requests : sequence of Request
        At most one per dataset.
    reporter : Reporter
        Shows the progress and the outcome.
    workers : int
        Worker processes to start if no consumer is running.
    force : bool
        Load datasets that have not changed, too.
    is_async : bool
        Report the ids of the runs and return, instead of waiting for the runs to end.

    Raises
    ------
    RunFailed
        When a run ended without being published, or no worker is left to finish it.
    RunInProgress
        When another run of one of the datasets is in progress.
    BaseUnusable
        When a request cannot be added to what is published of its dataset.
    """
    requests = [replace(request, sources=tuple(map(absolute, request.sources))) for request in requests]
    settings, ledger = open_target(to_publish=True)
    sink = sinks.get(settings)
    consumer.queue_id(settings)
    bases = {each.dataset: adding.base_of(ledger, sink, each) for each in requests if each.is_added}
    requests = [
        adding.prepared(ledger, request, bases[request.dataset]) if request.is_added else request
        for request in requests
    ]
    identities = {request.dataset: _identity(settings, request) for request in requests}
    damaged = publication.restore(ledger, sink, reporter.say)
    started, unchanged = [], []
    for request in requests:
        identity, published = identities[request.dataset], ledger.published_run(request.dataset)
        if not force and published and identity and identity == published.identity and request.dataset not in damaged:
            ledger.note_unchanged(request, identity)
            reporter.say(f"{request.dataset} {request.release}: unchanged since run {published.run_id}, nothing to do.")
            unchanged.append(published)
        else:
            base = bases.get(request.dataset)
            if published and (what := _replaced(published, request)):
                reporter.say(what)
            hand_over = partial(signed_addresses.hand_over, sources=request.sources)
            started.append(ledger.create_run(request, identity, on_created=hand_over, base=base))
    if unchanged:
        for name, dataset in catalog.datasets().items():
            sink.ensure_published(name, dataset.tables)
    if started:
        _see_through(settings, ledger, reporter, started, workers=workers, is_async=is_async)
    if not is_async:
        ended = [ledger.run(run_id) for run_id in started]
        done = {run.dataset: run for run in [*unchanged, *ended]}
        reporter.counts(ledger, [done[request.dataset] for request in requests])
        for run in ended:
            reporter.summary(ledger, run, settings.target)
            if added := adding.outcome(ledger, run):
                reporter.say(added)


def published(ledger: Ledger, dataset: str) -> str | None:
    """Return what is published of a dataset, in a clause; None if nothing is."""
    run = ledger.published_run(dataset)
    if run is None:
        return None
    release = f"{run.release} ({run.variant})" if run.variant else run.release
    return f"{release}, {_content(run.request, run.base_run_id)}: {run.rows_loaded or 0:,} rows by run {run.run_id}"


def resume(
    run_id: str | None, reporter: Reporter, *, workers: int, sources: Sequence[str] = (), is_async: bool = False
) -> None:
    """Finish a run, or all runs in progress. Loaded slices stay; missing ones are loaded.

    Nothing is enqueued here: within seconds, a consumer notices work that no worker holds.

    Parameters
    ----------
    run_id : str or None
        The run; None for every run in progress.
    reporter : Reporter
        Shows the progress and the outcome.
    workers : int
        Worker processes to start if no consumer is running.
    sources : sequence of str
        Full addresses of the run, for those that the queue has lost or whose signatures have expired.
    is_async : bool
        Return without waiting for the runs to end.

    Raises
    ------
    RunNotFound
        When there is no such run.
    UsageError
        When the run has ended, or one of its addresses must be given again.
    RunFailed
        When a run ended without being published, or no worker is left to finish it.
    """
    settings, ledger = open_target(to_publish=True)
    if run_id is not None and (state := ledger.run(run_id).state).has_ended:
        raise UsageError(f"Run {run_id} has ended: {state}.", "Start a new run.")
    run_ids = [run_id] if run_id else [run.run_id for run in ledger.active_runs()]
    if not run_ids:
        reporter.say("No run is in progress: nothing to do.")
        return
    if sources and run_id is None:
        raise UsageError(
            "--source needs the run that it belongs to.", "Name it: python -m ingest resume RUN --source ADDRESS"
        )
    consumer.queue_id(settings)
    for each in run_ids:
        request = ledger.run(each).request
        if sources or signed_addresses.is_forgotten(each, request):
            signed_addresses.supply_again(each, request, [absolute(source) for source in sources])
    _see_through(settings, ledger, reporter, run_ids, workers=workers, is_async=is_async, is_new=False)
    if not is_async:
        ended = [ledger.run(run_id) for run_id in run_ids]
        reporter.counts(ledger, ended)
        for added in filter(None, (adding.outcome(ledger, run) for run in ended)):
            reporter.say(added)


def watch(settings: Settings, ledger: Ledger, run_id: str | None, reporter: Reporter) -> None:
    """Follow a run, or every run in progress, until it ends or no worker is left.

    Parameters
    ----------
    settings, ledger
        Settings and ledger of the target.
    run_id : str or None
        The run; None for every run in progress.
    reporter : Reporter
        Shows the progress.

    Raises
    ------
    RunNotFound
        When there is no such run.
    """
    run_ids = [run_id] if run_id else [run.run_id for run in ledger.active_runs()]
    if not run_ids:
        reporter.say("No run is in progress.")
        return
    queue = consumer.queue_id(settings)
    reporter.watch(ledger, run_ids, lambda: bool(ledger.live_consumers(queue)))
    for each in run_ids:
        if ledger.run(each).state.is_active:
            reporter.say(f"No worker is processing run {each}: `python -m ingest resume {each}` finishes it.")


def refresh_published(reporter: Reporter, *, workers: int) -> None:
    """Check the publishers once, report the result, and load what is new.

    Parameters
    ----------
    reporter : Reporter
        Shows the findings, the progress and the outcome.
    workers : int
        Worker processes to start if no consumer is running.

    Raises
    ------
    RunFailed
        When a run ended without being published, or no worker is left to finish it.
    SourceUnavailable
        When a publisher could not be reached. New data of the other publishers is loaded before this is raised.
    """
    settings, ledger = open_target(to_publish=True)
    consumer.queue_id(settings)
    damaged = publication.restore(ledger, sinks.get(settings), reporter.say)
    findings = refresh.check(ledger, damaged)
    for finding in findings:
        reporter.say(finding.text)
    run_ids, waiting = refresh.create_runs(settings, ledger, findings)
    for finding in waiting:
        reporter.say(
            f"{finding.dataset}: run {ledger.active_run(finding.dataset)} is already in progress and continues."
        )
    if run_ids:
        _see_through(settings, ledger, reporter, run_ids, workers=workers, is_async=False)
        reporter.counts(ledger, [ledger.run(run_id) for run_id in run_ids])
    unreachable = [finding for finding in findings if finding.verdict is refresh.Verdict.UNREACHABLE]
    if unreachable:
        names = ", ".join(dict.fromkeys(finding.dataset for finding in unreachable))
        raise SourceUnavailable(f"The publisher of {names} could not be reached.", "Try again later.")


def rollback(what: str, reporter: Reporter) -> None:
    """Return a dataset to its previous publication, or to the publication with this run id.

    Raises
    ------
    UsageError
        When there is no such dataset or run.
    RunNotFound
        When there is no previous publication, or its tables have been dropped or have lost rows.
    RunInProgress
        When another process publishes or rolls back the dataset at the same time.
    """
    settings, ledger = open_target(to_publish=True)
    wanted = ledger.run(what) if RUN_ID.fullmatch(what) else None
    dataset = wanted.dataset if wanted else catalog.get(what).name
    run_id = publication.rollback(ledger, sinks.get(settings), dataset, wanted.run_id if wanted else None)
    reporter.say(f"{dataset}: run {run_id} is published again.")
    reporter.counts(ledger, [ledger.run(run_id)])


def keep(run_id: str, reporter: Reporter, *, is_kept: bool) -> None:
    """Keep the tables of a publication until further notice, or leave them to retention again.

    Raises
    ------
    RunNotFound
        When there is no such run, it was not published, or its tables have been dropped.
    """
    settings, ledger = open_target()
    publication.keep(ledger, sinks.get(settings), run_id, is_kept=is_kept)
    reporter.say(
        f"Run {run_id} is kept: `python -m ingest rollback {run_id}` returns to it."
        if is_kept
        else f"Run {run_id} is no longer kept: it goes when two newer publications are there."
    )


def abandon(run_id: str, reporter: Reporter) -> None:
    """End a run as failed and drop its staging tables. What readers see does not change.

    Raises
    ------
    RunNotFound
        When there is no such run.
    UsageError
        When the run has already ended.
    """
    settings, ledger = open_target()
    state = ledger.run(run_id).state
    if state.is_active:
        ledger.claim_alert(alerts.RUN_FAILED, run_id)  # whoever abandons a run needs no alert about it
    if not ledger.fail(run_id, "abandoned by `python -m ingest abandon`"):
        raise UsageError(f"Run {run_id} has ended: {state}.", "There is nothing to abandon.")
    publication.drop(ledger, sinks.get(settings), run_id)
    reporter.say(f"Run {run_id} is abandoned.")


def _see_through(
    settings: Settings,
    ledger: Ledger,
    reporter: Reporter,
    run_ids: Sequence[str],
    *,
    workers: int,
    is_async: bool,
    is_new: bool = True,
) -> None:
    """Enqueue new runs, start a consumer if none is running, and follow the runs until they end."""
    process = None
    if not ledger.shared_consumers(consumer.queue_id(settings)):
        process, _ = consumer.start(settings, ledger, workers, run_ids)
    has_ended = False
    try:
        for run_id in run_ids if is_new else ():
            retries.patiently(partial(submit, ledger, run_id), consumer.PATIENCE_SECONDS)
        if is_async:
            for run_id in run_ids:
                reporter.say(run_id)
            process = None  # the consumer outlives this command
            return
        reporter.watch(ledger, run_ids, partial(_is_served, settings, ledger, process))
        has_ended = True
    finally:
        if process:
            consumer.stop(process, is_interrupted=not has_ended)
        if not is_async:
            signed_addresses.forget_ended(ledger)
            alerts.notice(settings, ledger)
    for run_id in run_ids:
        run = ledger.run(run_id)
        if run.state.is_active:
            ledger.try_to_write(run_id)  # else nothing could be noted, and that is why
            raise RunFailed(
                f"Run {run_id} of {run.dataset} is {run.state}, and no worker is processing it.",
                f"`python -m ingest resume {run_id}` finishes it.",
            )
        if run.state != RunState.PUBLISHED:
            raise RunFailed(f"Run {run_id} of {run.dataset} ended as {run.state}: {run.error}")


def _replaced(published: Run, request: Request) -> str | None:
    """Return what a load will replace, if that is another part of the world or another release; otherwise None."""
    if request.is_added:
        return adding.intent(published, _content(request))
    before, parts = published.request, []
    if before.release != request.release:
        parts.append(f"release {before.release} by {request.release}")
    is_same = before.scope == request.scope and before.public_sources == request.public_sources
    if published.base_run_id or (not is_same and {before.scope, request.scope} != {"world"}):
        parts.append(f"{_content(before, published.base_run_id)} by {_content(request)}")
    if not parts:
        return None
    return (
        f"{request.dataset}: this replaces the {published.rows_loaded or 0:,} rows of run {published.run_id}: "
        f"{', '.join(parts)}. `python -m ingest rollback {request.dataset}` returns to them."
    )


def _content(request: Request, base_run_id: str | None = None) -> str:
    if request.scope == "world":
        return "the world"
    names = [location.rpartition("/")[2] or location for location in request.public_sources]
    listed = ", ".join(names) if len(names) <= 3 else f"{len(names)} files ({names[0]} …)"
    return f"run {base_run_id} with {listed}" if base_run_id else listed


def _is_served(settings: Settings, ledger: Ledger, process: subprocess.Popen[bytes] | None) -> bool:
    """Whether a consumer works for this command: its own, or one that it shares with others."""
    if process is not None:
        return process.poll() is None
    return bool(ledger.shared_consumers(consumer.queue_id(settings)))


def _identity(settings: Settings, request: Request) -> str | None:
    """Return the identity of a request with the current versions of its sources; None if a version is unknown."""
    sources = [Source.parse(location) for location in request.sources]
    with network.only_public(request.only_public):
        found = [
            mirrors.version_of(mirrors.candidates(source, request.mirrors, number))
            for number, source in enumerate(sources)
        ]
    return request.identity(
        [signed_addresses.fingerprint(settings, *pair) for pair in zip(sources, found, strict=True)]
    )
