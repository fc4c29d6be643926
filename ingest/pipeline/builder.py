"""Build the marts whenever other runs are published than those they are of: the last part of an unattended chain.

A consumer that is told to build has one more process, which does only this, so that no worker is kept from loading.
It has no list of things to do, which could be lost: it compares what is published with what the marts are of. A build
that was killed is therefore still to be done, whoever looks next. The ledger lets one build at a time begin, on
whatever host, by a lease that the process renews while dbt is at work.
"""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from redis.exceptions import RedisError

from ingest import sinks
from ingest.errors import BuildFailed, IngestError
from ingest.ledger import Build, BuildState, Ledger
from ingest.pipeline import alerts, build, faults, prune
from ingest.settings import Settings, private_folder

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
BUSY_SECONDS = 60.0  # while somebody else builds: to ask takes a start of dbt
RENEWAL_SECONDS = 2.0
STOP_SECONDS = 20.0  # between asking dbt to stop and killing it
PATIENCE = timedelta(hours=1)  # with other runs in progress, whose datasets are to be in the same build
MAX_DEATHS = 3  # if so many processes die of a build in a row, it counts as failed
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=10), timedelta(days=1)
REASON_LINES, REASON_CHARACTERS = 12, 1500
DECORATION = re.compile(r"\x1b\[[0-9;]*m|^\d\d:\d\d:\d\d\s+", re.MULTILINE)
SUMMARY = "Completed with "


class Event(Protocol):
    """What events of threads and of processes have."""

    def is_set(self) -> bool: ...  # noqa: D102

    def wait(self, timeout: float) -> bool: ...  # noqa: D102


class Builder:
    """Looks whether marts are due, and builds them.

    Parameters
    ----------
    settings, ledger
        Settings and ledger of the target.
    faults_of_marts : callable
        See `ingest.pipeline.build.due`.
    caches : callable
        See `ingest.pipeline.prune.prune`.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        faults_of_marts: Callable[[Settings], Sequence[str]],
        caches: Callable[[], Iterable[Path]] = prune.no_caches,
    ) -> None:
        self._settings, self._ledger, self._faults_of_marts = settings, ledger, faults_of_marts
        self._caches = caches
        self._settled: dict[str, str] | None = None  # the marts were of these runs when they were last looked at
        self._waiting_since: float | None = None
        self._not_before = 0.0
        self._begun: set[str] = set()  # a new process waits for no pause: somebody may have mended what failed

    def watch(self, ended: Event) -> None:
        """Look every few seconds until the event is set. Nothing that fails ends it."""
        while not ended.is_set():
            try:
                self.look(ended)
            except (IngestError, RedisError, OSError) as error:
                log.warning("What is to be built could not be found out: %s", error)
            except Exception:
                log.exception("A build could not begin; the next attempt may succeed.")
            ended.wait(LOOK_SECONDS)

    def look(self, ended: Event) -> None:
        """Build the marts that are due, unless other runs are still in progress."""
        if self._ledger.is_gone():
            return
        for died in self._ledger.bury_builds():
            self._mourn(died)
        published = self._ledger.published_runs()
        if not published or published == self._settled or time.monotonic() < self._not_before or self._waits():
            return
        due = build.due(self._settings, published, self._faults_of_marts)
        if not due:
            self._settled = published
        for each in due:
            if not ended.is_set():
                self._build(each, _named(published), ended)

    def _mourn(self, died: Build) -> None:
        command = build.command(died.dataset)
        log.warning("The process that ran `%s` died; it is run again.", command)
        latest = [each for each in self._ledger.builds(died.dataset) if each.runs == died.runs]
        if deaths_in_a_row(latest) == MAX_DEATHS:
            text = f"`{command}` died {MAX_DEATHS} times in a row. Is there enough memory? The marts stay as they were."
            facts = {"dataset": died.dataset, "runs": died.runs, "error": "its process died"}
            alerts.announce(self._settings, self._ledger, alerts.BUILD_FAILED, _subject(died), text, **facts)

    def _waits(self) -> bool:
        """Whether to wait for runs in progress: of datasets that are loaded together, each would cost a build."""
        if not self._ledger.active_runs():
            self._waiting_since = None
            return False
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        return now - self._waiting_since < PATIENCE.total_seconds()

    def _build(self, settings: Settings, of_runs: str, ended: Event) -> None:
        def may_begin(earlier: Sequence[Build]) -> bool:
            last = earlier[0].finished_at if earlier and key in self._begun else None
            return last is None or self._ledger.now() >= last + pause_after(earlier)

        key = f"{settings.boundaries} {of_runs}"
        claimed = self._ledger.claim_build(settings.boundaries, of_runs, may_begin)
        if claimed is None:
            return
        output = private_folder(settings.home / "logs") / f"build-{claimed.build_no}.log"
        log.info("`%s` begins, for %s. Its output: %s", settings.build_command, of_runs, output)
        code = self._run(settings, claimed, output, ended)
        if code is None:
            return
        self._begun.add(key)
        if code:
            reason = faults.redact(reason_in(output), faults.secrets_of(settings))
            report(self._settings, self._ledger, self._ledger.end_build(claimed, BuildState.FAILED, reason))
            return
        report(self._settings, self._ledger, self._ledger.end_build(claimed, BuildState.BUILT))
        self._prune()

    def _run(self, settings: Settings, claimed: Build, output: Path, ended: Event) -> int | None:
        """Run dbt and return its exit code; None if it was told to stop, or another build is at work."""
        with output.open("wb") as file, build.start(settings, output=file) as process:
            while process.poll() is None:
                try:
                    is_ours = self._ledger.renew_build(claimed)
                except IngestError as error:
                    log.warning("The lease of a build could not be renewed: %s", error)
                    is_ours = True
                if ended.is_set() or not is_ours:
                    log.warning("`%s` is stopped; it is still to be done.", settings.build_command)
                    _stop(process)
                    self._ledger.withdraw_build(claimed)
                    return None
                _wait(process, RENEWAL_SECONDS)
        if process.returncode and build.BUSY in output.read_text(encoding="utf-8", errors="replace"):
            log.info("Another `dbt build` is at work; this one waits.")
            self._not_before = time.monotonic() + BUSY_SECONDS
            self._ledger.withdraw_build(claimed)
            return None
        return int(process.returncode)

    def _prune(self) -> None:
        try:
            sink = sinks.get(self._settings)
            freed = prune.prune(self._settings, self._ledger, sink, log.info, is_dry=False, caches=self._caches)
        except (IngestError, OSError) as error:
            log.warning("What is no longer needed could not be removed: %s", error)
        else:
            log.info("%s bytes of what is no longer needed were removed.", f"{freed:,}")


def pause_after(earlier: Sequence[Build]) -> timedelta:
    """Return how long a build of the same marts from the same runs has to wait after the last one.

    After a death it begins at once, unless that was the third in a row. After a failure, which is likely to happen
    again, it waits for ten minutes, then for twenty, up to a day.

    Parameters
    ----------
    earlier : sequence of Build
        The earlier ones, newest first.
    """
    deaths = deaths_in_a_row(earlier)
    if 0 < deaths < MAX_DEATHS:
        return timedelta()
    failures = sum(each.state == BuildState.FAILED for each in earlier) + (deaths >= MAX_DEATHS)
    return min(FIRST_PAUSE * 2 ** min(failures - 1, 10), LONGEST_PAUSE) if failures else timedelta()


def deaths_in_a_row(latest: Sequence[Build]) -> int:
    """Return how many of the latest builds, newest first, died one after the other."""
    return next((number for number, each in enumerate(latest) if each.state != BuildState.DIED), len(latest))


def build_now(settings: Settings, ledger: Ledger) -> None:
    """Build marts after a load, in the foreground, and record and announce how that ended as any build.

    If another process is building, dbt says so.

    Raises
    ------
    BuildFailed
        When dbt fails.
    """
    claimed = ledger.claim_build(settings.boundaries, _named(ledger.published_runs()), lambda _earlier: True)
    if claimed is None:
        build.build(settings)
        return
    try:
        with ledger.renewing_build(claimed):
            build.build(settings)
    except BuildFailed as error:
        report(settings, ledger, ledger.end_build(claimed, BuildState.FAILED, error.message))
        raise
    except BaseException:
        ledger.withdraw_build(claimed)
        raise
    report(settings, ledger, ledger.end_build(claimed, BuildState.BUILT))


def _named(published: Mapping[str, str]) -> str:
    return " ".join(f"{name}={run}" for name, run in sorted(published.items()))


def report(settings: Settings, ledger: Ledger, ended: Build | None) -> None:
    """Log how a build ended, and announce the first failure of marts, and the first success after failures."""
    if ended is None:
        log.warning("A build was taken for dead by another process.")
        return
    command, before = build.command(ended.dataset), _before(ledger, ended)
    facts = {"dataset": ended.dataset, "runs": ended.runs, "seconds": round(ended.seconds or 0)}
    if ended.state == BuildState.FAILED:
        text = f"`{command}` failed, and the marts stay as they were: {ended.error}"
        log.error("%s", text)
        if not any(each.state == BuildState.FAILED and each.runs == ended.runs for each in before):
            alerts.announce(settings, ledger, alerts.BUILD_FAILED, _subject(ended), text, **facts, error=ended.error)
        return
    log.info("`%s` is done after %.0f s.", command, ended.seconds or 0)
    if before:
        text = f"`{command}` succeeded, after {len(before)} that did not."
        alerts.announce(settings, ledger, alerts.BUILD_RECOVERED, _subject(ended), text, **facts)


def _subject(of: Build) -> str:
    return f"{of.dataset} {of.build_no} {of.started_at:%Y-%m-%dT%H:%M:%S}"


def _before(ledger: Ledger, ended: Build) -> list[Build]:
    """Return the builds of the same marts that have failed or died since one succeeded."""
    found: list[Build] = []
    for each in ledger.builds(ended.dataset, limit=1000):
        if each.build_no >= ended.build_no:
            continue
        if each.state == BuildState.BUILT:
            break
        found.append(each)
    return found


def reason_in(output: Path) -> str:
    """Return what dbt said at its end, without the time before each line."""
    text = DECORATION.sub("", output.read_text(encoding="utf-8", errors="replace"))
    _, mark, rest = text.rpartition(SUMMARY)
    lines = [line.strip() for line in (mark + rest).splitlines() if line.strip()]
    chosen = lines[:REASON_LINES] if mark else lines[-REASON_LINES:]
    return " ".join(chosen)[:REASON_CHARACTERS] or "it said nothing."


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask dbt to cancel its queries, and kill it if it does not end."""
    process.send_signal(signal.SIGINT)
    _wait(process, STOP_SECONDS)
    if process.poll() is None:
        process.kill()
        process.wait()
