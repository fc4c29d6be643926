"""The ledger: the runs that were requested, the state of each file and slice, and the run that readers see.

It is in the tables ``raw.ingest_*`` on PostgreSQL and in ``ledger.sqlite`` on the embedded target. The ledger is the
source of truth: tasks carry only ids, and the queue only wakes workers. All SQL on the ledger is in this package.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import IntegrityError

from ingest import __version__
from ingest.errors import BaseUnusable, IngestError, RunInProgress, RunNotFound, TargetUnavailable
from ingest.ledger import migrations
from ingest.ledger.database import Database
from ingest.ledger.records import (
    Build,
    BuildState,
    Carrying,
    ClaimedFile,
    ClaimedSlice,
    Consumer,
    Fault,
    File,
    FileState,
    PlannedSlice,
    Reading,
    Request,
    Run,
    RunState,
    Slice,
    SliceState,
    Tally,
)
from ingest.ledger.tables import alerts, builds, consumers, errors, files, runs, slices

log = logging.getLogger(__name__)

ACTIVE = tuple(state for state in RunState if state.is_active)
PUBLICATIONS = (RunState.PUBLISHED, RunState.SUPERSEDED)
CONSUMER_LEASE = timedelta(seconds=10)
WORK_LEASE = timedelta(
    seconds=8
)  # renewed by the process that holds a file, slice or run; expires when the process dies
RENEWAL_SECONDS = 2.0
FORGOTTEN_AT_ONCE = 500  # runs in a statement
MAX_ATTEMPTS = 5  # if this many workers die on a slice, the slice is probably what kills them


def worker_name() -> str:
    """Return the name of this process: ``host:process id``."""
    return f"{socket.gethostname()}:{os.getpid()}"


@contextmanager
def _meanwhile(renew: Callable[[threading.Event], None]) -> Iterator[None]:
    """Renew something every few seconds, in a thread, while the block runs; `renew` is given what is set at its end."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(RENEWAL_SECONDS):
            renew(ended)

    renewal = threading.Thread(target=repeat, daemon=True)
    renewal.start()
    try:
        yield
    finally:
        ended.set()
        renewal.join()


def _run_of(row: RowMapping) -> Run:
    return Run.from_row(row, request_json=row["request"])


def _new_run(request: Request, identity: str | None) -> dict[str, Any]:
    """Return the column values of a new run. Its id sorts by time."""
    moment = datetime.now(UTC)
    return {
        "run_id": f"{moment:%Y%m%dt%H%M%S}_{secrets.token_hex(2)}",
        "dataset": request.dataset,
        "release": request.release,
        "variant": request.variant,
        "engine": request.engine,
        "source": " ".join(request.public_sources),
        "scope": request.scope,
        "identity": identity,
        "request": request.to_json(),
        "requested_at": moment,
        "ingest_version": __version__,
    }


def _carry_files(connection: sa.Connection, run_id: str, carried: Collection[tuple[str | None, int]]) -> None:
    """Copy the records of files from the publication that a run is added to, and name all of its sources."""
    for base, number in sorted((base, number) for base, number in carried if base is not None):
        query = files.select().where(files.c.run_id == base, files.c.file_no == number)
        row = dict(connection.execute(query).mappings().one())
        row |= {"run_id": run_id, "carried_from": row["carried_from"] or base, "lease_until": None}
        connection.execute(files.insert().values(**row))
    sources = sa.select(files.c.source).where(files.c.run_id == run_id).order_by(files.c.file_no)
    named = " ".join(connection.execute(sources).scalars())
    connection.execute(runs.update().where(runs.c.run_id == run_id).values(source=named))


def _may_be_alive(consumer: str) -> bool:
    """Whether a process may be alive. On this host it is checked; of a process on another host, it is assumed."""
    host, _, process = consumer.rpartition(":")
    if host != socket.gethostname():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Ledger(Database):
    """Reads and writes the ledger.

    A process claims work (a file, a slice, a stage of a run), and releases it if it could not finish it. A claim is a
    lease that `renewing` keeps alive: when the process dies, the lease expires and the work can be claimed again.
    """

    def open(self) -> None:
        """Create the tables of the ledger if they are missing, and upgrade those of an older version.

        Raises
        ------
        LedgerTooNew
            When a newer version of the package has changed the ledger.
        LedgerDamaged
            When the file of the embedded target is damaged, of another program, or is empty or gone although there is
            published data.
        """
        if not self.is_postgres:
            self.check_is_there()
            Path(self.place).touch(mode=0o600)
            self.check()
        for step in migrations.bring_up_to_date(self):
            log.info("The ledger at %s was upgraded to step %s: %s.", self.place, step.number, step.what)

    def exists(self) -> bool:
        """Return whether there is a ledger, without creating one."""
        if not self.is_postgres:
            return not self.is_gone()
        with self.transaction() as connection:
            return sa.inspect(connection).has_table(runs.name, schema=runs.schema)

    def is_current(self) -> bool:
        """Return whether the ledger has the shape of this version.

        Raises
        ------
        LedgerTooNew
            When a newer version of the package has changed it.
        """
        return migrations.is_current(self)

    def check_is_there(self) -> None:
        """Make sure that no new ledger takes the place of one that was lost.

        Raises
        ------
        LedgerDamaged
            When the file of the embedded target is empty or gone, although runs are published, or is the database of
            another program.
        """
        if self.is_postgres:
            return
        file = Path(self.place)
        if file.exists() and (file.is_dir() or file.stat().st_size > 0):
            with self.transaction() as connection:
                tables = sa.inspect(connection).get_table_names()
            if runs.name in tables:
                return
            if tables:
                raise self.damaged(f"it is the database of another program, with the table {tables[0]}")
        links = [link for link in (file.parent / "raw").glob("*/current") if link.is_symlink()]
        shown = [f"{link.parent.name} {link.readlink().name}" for link in links if link.readlink().name != "empty"]
        if shown and not Path(f"{file}-wal").exists():
            raise self.damaged(f"it is {'empty' if file.exists() else 'gone'}, but published are {', '.join(shown)}")

    def create_run(
        self,
        request: Request,
        identity: str | None,
        on_created: Callable[[str], None] = lambda _run_id: None,
        base: Run | None = None,
    ) -> str:
        """Record a new run with its files, and return its id.

        Parameters
        ----------
        request : Request
            What to load.
        identity : str or None
            See `Request.identity`.
        on_created : callable
            Called with the id of the run before the transaction commits, while no other process can see the run.
        base : Run, optional
            The publication that the run is added to.

        Raises
        ------
        RunInProgress
            When another run of the dataset has not ended.
        """

        def write(connection: sa.Connection, row: Mapping[str, Any]) -> None:
            connection.execute(runs.insert().values(state=RunState.QUEUED, base_run_id=base and base.run_id, **row))
            fixed = {"run_id": row["run_id"], "state": FileState.QUEUED}
            sources = enumerate(request.public_sources, start=request.first_file_no)
            connection.execute(
                files.insert(), [{**fixed, "file_no": number, "source": each} for number, each in sources]
            )
            on_created(row["run_id"])

        try:
            return self._record(request, identity, write)
        except IntegrityError as error:
            active = self.active_run(request.dataset)
            if active is None:
                what = f"Another run of {request.dataset} has ended just now."
                raise RunInProgress(what, "Give the command again.") from error
            raise RunInProgress(
                f"Run {active} of {request.dataset} has not ended.",
                f"See `python -m ingest status {active}`. If its workers died, run `python -m ingest resume {active}`.",
            ) from error

    def note_unchanged(self, request: Request, identity: str) -> None:
        """Record a run that did nothing, because its source is the one already published."""

        def write(connection: sa.Connection, row: Mapping[str, Any]) -> None:
            times = {"started_at": row["requested_at"], "finished_at": row["requested_at"]}
            connection.execute(runs.insert().values(state=RunState.UNCHANGED, **row, **times))

        self._record(request, identity, write)

    def _record(
        self, request: Request, identity: str | None, write: Callable[[sa.Connection, Mapping[str, Any]], None]
    ) -> str:
        """Write a new run and return its id: another one, where a run of the same second has drawn the same."""
        while True:
            row = _new_run(request, identity)
            run_id: str = row["run_id"]
            try:
                with self.transaction() as connection:
                    write(connection, row)
            except IntegrityError:
                if not self._runs(runs.select().where(runs.c.run_id == run_id)):
                    raise
            else:
                return run_id

    def try_to_write(self, run_id: str) -> None:
        """Write what is there already about a run, for the error where that is not possible."""
        with self.transaction() as connection:
            connection.execute(runs.update().where(runs.c.run_id == run_id).values(state=runs.c.state))

    def run(self, run_id: str) -> Run:
        """Return a run.

        Raises
        ------
        RunNotFound
            When there is no run with this id.
        """
        with self.transaction() as connection:
            row = connection.execute(runs.select().where(runs.c.run_id == run_id)).mappings().first()
        if row is None:
            raise RunNotFound(f"There is no run {run_id!r}.", "`python -m ingest status` lists the runs.")
        return _run_of(row)

    def recent_runs(self, limit: int = 20) -> list[Run]:
        """Return the latest runs, newest first."""
        return self._runs(runs.select().order_by(runs.c.requested_at.desc(), runs.c.run_id.desc()).limit(limit))

    def active_runs(self) -> list[Run]:
        """Return the runs in progress, oldest first."""
        return self._runs(runs.select().where(runs.c.state.in_(ACTIVE)).order_by(runs.c.requested_at))

    def active_run(self, dataset: str) -> str | None:
        """Return the id of the run of a dataset that is in progress, or None."""
        found = self._runs(runs.select().where(runs.c.dataset == dataset, runs.c.state.in_(ACTIVE)))
        return found[0].run_id if found else None

    def published_run(self, dataset: str) -> Run | None:
        """Return the run of a dataset that readers see, or None."""
        found = self._runs(runs.select().where(runs.c.dataset == dataset, runs.c.state == RunState.PUBLISHED))
        return found[0] if found else None

    def superseded_run(self, dataset: str) -> Run | None:
        """Return the publication of a dataset that readers saw before the present one."""
        found = self._runs(self._superseded(dataset).limit(1))
        return found[0] if found else None

    def superseded_runs(self, dataset: str, *, beyond: int) -> list[Run]:
        """Return the earlier publications that nobody keeps, latest first, without the first ``beyond``.

        A publication that a run in progress is added to is left out: its rows are still to be copied.
        """
        adding = runs.alias()
        is_needed = sa.exists().where(adding.c.base_run_id == runs.c.run_id, adding.c.state.in_(ACTIVE))
        return self._runs(self._superseded(dataset).where(~runs.c.is_kept, ~is_needed).offset(beyond))

    def keep(self, run_id: str, *, is_kept: bool) -> bool:
        """Record whether the tables of a publication are to be kept. Return False if it is none."""
        published = runs.c.run_id == run_id, runs.c.state.in_(PUBLICATIONS)
        with self.transaction() as connection:
            return connection.execute(runs.update().where(*published).values(is_kept=is_kept)).rowcount == 1

    def publications(self, dataset: str) -> list[Run]:
        """Return the run of a dataset that readers see, and those that they saw before."""
        return self._runs(runs.select().where(runs.c.dataset == dataset, runs.c.state.in_(PUBLICATIONS)))

    def known_runs(self, dataset: str) -> set[str]:
        """Return the ids of all runs of a dataset."""
        with self.transaction() as connection:
            return set(connection.execute(sa.select(runs.c.run_id).where(runs.c.dataset == dataset)).scalars())

    def failed_runs(self, dataset: str) -> list[Run]:
        """Return the runs of a dataset that ended without being published."""
        return self._runs(runs.select().where(runs.c.dataset == dataset, runs.c.state == RunState.FAILED))

    @staticmethod
    def _superseded(dataset: str) -> sa.Select[Any]:
        superseded = runs.c.dataset == dataset, runs.c.state == RunState.SUPERSEDED
        return runs.select().where(*superseded).order_by(runs.c.shown_at.desc())

    def _runs(self, query: sa.Select[Any]) -> list[Run]:
        with self.transaction() as connection:
            return [_run_of(row) for row in connection.execute(query).mappings()]

    def files(self, run_id: str) -> list[File]:
        """Return the files of a run, in order."""
        query = files.select().where(files.c.run_id == run_id).order_by(files.c.file_no)
        with self.transaction() as connection:
            return [File.from_row(row) for row in connection.execute(query).mappings()]

    def slices(self, run_id: str) -> list[Slice]:
        """Return the slices of a run, largest first."""
        return self._slices(slices.c.run_id == run_id)

    def slices_loaded_since(self, moment: datetime) -> list[Slice]:
        """Return the slices of all runs that were loaded after the given time."""
        return self._slices(slices.c.state == SliceState.LOADED, slices.c.finished_at > moment)

    def _slices(self, *conditions: sa.ColumnElement[bool]) -> list[Slice]:
        columns = [column for column in slices.c if column is not slices.c.spec]
        query = sa.select(*columns).where(*conditions).order_by(slices.c.run_id, slices.c.slice_no)
        with self.transaction() as connection:
            return [Slice.from_row(row) for row in connection.execute(query).mappings()]

    def counts(self, run_id: str) -> dict[str, int]:
        """Return the number of rows loaded by a run, per raw table."""
        query = (
            sa.select(slices.c.table_name, sa.func.sum(slices.c.rows_loaded))
            .where(slices.c.run_id == run_id)
            .group_by(slices.c.table_name)
        )
        with self.transaction() as connection:
            return {str(row[0]): int(row[1] or 0) for row in connection.execute(query)}

    def set_state(self, run_id: str, state: RunState, *, only_from: Collection[str] = ACTIVE, **values: Any) -> bool:
        """Move a run to a state, if it is in one of the states ``only_from``. Return whether it was."""
        if RunState(state).has_ended:
            values.setdefault("finished_at", datetime.now(UTC))
        query = runs.update().where(runs.c.run_id == run_id, runs.c.state.in_(only_from))
        with self.transaction() as connection:
            return connection.execute(query.values(state=state, **values)).rowcount == 1

    def fail(self, run_id: str, error: str) -> bool:
        """End a run as failed. Return False if it had already ended."""
        return self.set_state(run_id, RunState.FAILED, error=error)

    def claim_file(self, run_id: str, file_no: int) -> ClaimedFile | None:
        """Claim a file of a run for this process to fetch.

        Returns
        -------
        ClaimedFile or None
            None if the file has been fetched, another process holds it, or its run is past fetching.
        """
        moment = datetime.now(UTC)
        query = (
            files.update()
            .where(
                files.c.run_id == run_id,
                files.c.file_no == file_no,
                sa.or_(
                    files.c.state == FileState.QUEUED,
                    sa.and_(files.c.state == FileState.RUNNING, self._has_expired(files.c.lease_until)),
                ),
                sa.exists().where(runs.c.run_id == run_id, runs.c.state.in_((RunState.QUEUED, RunState.FETCHING))),
            )
            .values(
                state=FileState.RUNNING,
                worker=worker_name(),
                lease_until=self.clock(WORK_LEASE),
                attempts=files.c.attempts + 1,
                started_at=moment,
                error=None,
            )
            .returning(*files.c)
        )
        start_run = (
            runs.update()
            .where(runs.c.run_id == run_id)
            .values(state=RunState.FETCHING, started_at=sa.func.coalesce(runs.c.started_at, moment))
            .returning(runs.c.request)
        )
        with self.transaction() as connection:
            row = connection.execute(query).mappings().first()
            if row is None:
                return None
            request: str = connection.execute(start_run).scalar_one()
        return ClaimedFile.from_row(row, request=Request.from_json(request))

    def release_file(self, file: ClaimedFile, error: Exception, *, will_retry: bool) -> None:
        """Release a file after a failed attempt to fetch it: to be retried, or as failed."""
        state = FileState.QUEUED if will_retry else FileState.FAILED
        self._update_file(file.run_id, file.file_no, state=state, error=str(error), finished_at=datetime.now(UTC))

    def finish_file(self, file: ClaimedFile, *, checksum: str | None, size: int, was_cached: bool, source: str) -> None:
        """Record that a file was fetched; ``source`` is the address that it came from."""
        facts = {"checksum": checksum, "bytes": size, "was_cached": was_cached, "source": source}
        self._update_file(file.run_id, file.file_no, state=FileState.FETCHED, finished_at=datetime.now(UTC), **facts)

    def note_checksum(self, file: File, checksum: str) -> None:
        """Record the checksum of a file that was fetched without one."""
        self._update_file(file.run_id, file.file_no, checksum=checksum)

    def _update_file(self, run_id: str, file_no: int, **values: Any) -> None:
        query = files.update().where(files.c.run_id == run_id, files.c.file_no == file_no)
        with self.transaction() as connection:
            connection.execute(query.values(**values))

    def note_addition(self, run_id: str, *, countries: Sequence[str], rows_replaced: int) -> None:
        """Record the countries of a run that is added to a publication, and the rows that it had of them."""
        planning = runs.c.run_id == run_id, runs.c.state == RunState.PLANNING
        values = {"countries": ", ".join(countries), "rows_replaced": rows_replaced}
        with self.transaction() as connection:
            connection.execute(runs.update().where(*planning).values(**values))

    def create_slices(self, run_id: str, planned: Sequence[PlannedSlice]) -> bool:
        """Record the slices of a run and move it to ``loading``. Return False if another process has done so.

        The files that carried slices came from become files of the run, too.
        """
        read = [part for part in planned if part.carried_from is None]
        totals = {"rows_read": sum(part.rows_planned for part in read), "bytes_read": sum(part.bytes for part in read)}
        fixed = {"run_id": run_id, "state": SliceState.QUEUED, "attempts": 0, "queued_at": datetime.now(UTC)}
        rows = []
        for number, part in enumerate(planned):
            values = {name: value for name, value in vars(part).items() if name != "reading"}
            spec = {"spec": part.reading.to_json(), "carried_from": part.carried_from}
            rows.append({**fixed, **values, **spec, "slice_no": number})
        with self.transaction() as connection:
            query = runs.update().where(runs.c.run_id == run_id, runs.c.state == RunState.PLANNING)
            if connection.execute(query.values(state=RunState.LOADING, **totals)).rowcount != 1:
                return False
            if len(read) < len(planned):
                _carry_files(connection, run_id, {(part.carried_from, part.file_no) for part in planned})
            if rows:
                connection.execute(slices.insert(), rows)
        return True

    def claim(self, run_id: str, slice_no: int) -> ClaimedSlice | None:
        """Claim a slice for this process, with its file and its request.

        Returns
        -------
        ClaimedSlice or None
            None if the slice is already loaded, another process holds it, or its run is not loading.
        """
        query = (
            slices.update()
            .where(
                slices.c.run_id == run_id,
                slices.c.slice_no == slice_no,
                sa.or_(
                    slices.c.state.in_((SliceState.QUEUED, SliceState.FAILED)),
                    sa.and_(slices.c.state == SliceState.RUNNING, self._has_expired(slices.c.lease_until)),
                ),
                sa.exists().where(runs.c.run_id == run_id, runs.c.state == RunState.LOADING),
            )
            .values(
                state=SliceState.RUNNING,
                attempts=slices.c.attempts + 1,
                worker=worker_name(),
                lease_until=self.clock(WORK_LEASE),
                started_at=datetime.now(UTC),
                finished_at=None,
                error=None,
            )
            .returning(*slices.c)
        )
        with self.transaction() as connection:
            row = connection.execute(query).mappings().first()
            if row is None:
                return None
            its_file = files.c.run_id == run_id, files.c.file_no == row["file_no"]
            with_request = sa.select(files, runs.c.request).join(runs, runs.c.run_id == files.c.run_id).where(*its_file)
            file = connection.execute(with_request).mappings().one()
            return ClaimedSlice.from_row(  # unreadable: nothing is claimed
                row,
                reading=(Carrying if row["carried_from"] else Reading).from_json(row["spec"]),
                file=File.from_row(file),
                request=Request.from_json(file["request"]),
            )

    @staticmethod
    def loaded(claimed: ClaimedSlice, *, rows_read: int, rows_loaded: int) -> sa.Update:
        """Return the statement that records a slice as loaded. The sink runs it in the transaction of the rows.

        The statement returns the number of the slice, or no row if another worker has claimed the slice meanwhile.
        """
        moment = datetime.now(UTC)
        return (
            slices.update()
            .where(
                slices.c.run_id == claimed.run_id,
                slices.c.slice_no == claimed.slice_no,
                slices.c.attempts == claimed.attempts,
                slices.c.state == SliceState.RUNNING,
            )
            .values(state=SliceState.LOADED, rows_read=rows_read, rows_loaded=rows_loaded, finished_at=moment)
            .returning(slices.c.slice_no)
        )

    @staticmethod
    def stored(loaded: sa.Update, *, size: int, sha256: str) -> sa.Update:
        """Return the statement of `loaded` that also records the file that holds the rows of the slice."""
        return loaded.values(stored_bytes=size, stored_sha256=sha256)

    def release(self, claimed: ClaimedSlice, error: Exception, *, will_retry: bool) -> None:
        """Release a slice after a failed attempt to load it: to be retried, or as failed."""
        query = slices.update().where(
            slices.c.run_id == claimed.run_id,
            slices.c.slice_no == claimed.slice_no,
            slices.c.attempts == claimed.attempts,
        )
        state = SliceState.QUEUED if will_retry else SliceState.FAILED
        with self.transaction() as connection:
            connection.execute(query.values(state=state, error=str(error), finished_at=datetime.now(UTC)))

    def claim_stage(self, run_id: str, state: RunState, only_from: Collection[RunState]) -> bool:
        """Claim a stage of a run for this process, and move the run to it.

        Return False if the run is in none of the states ``only_from``, or another process holds the stage.
        """
        query = runs.update().where(
            runs.c.run_id == run_id,
            runs.c.state.in_(only_from),
            sa.or_(runs.c.state != state, runs.c.lease_until.is_(None), self._has_expired(runs.c.lease_until)),
        )
        values = {
            "state": state,
            "worker": worker_name(),
            "lease_until": self.clock(WORK_LEASE),
            "stage_attempts": sa.case((runs.c.state == state, runs.c.stage_attempts + 1), else_=1),
        }
        with self.transaction() as connection:
            return connection.execute(query.values(**values)).rowcount == 1

    def release_stage(self, run_id: str) -> None:
        """Release an unfinished stage of a run, so that another process can claim it at once."""
        query = runs.update().where(runs.c.run_id == run_id, runs.c.worker == worker_name())
        with self.transaction() as connection:
            connection.execute(query.values(lease_until=None))

    def _has_expired(self, lease: sa.Column[datetime]) -> sa.ColumnElement[bool]:
        """Whether a lease is over. One that is longer than any was written before the clock was set back."""
        return sa.or_(lease < self.clock(), lease > self.clock(2 * WORK_LEASE))

    on_failed: Callable[[], None] = staticmethod(lambda: None)
    """Called while this process works on a run that has failed meanwhile. A worker exits, whatever it is busy with."""

    def renewing(
        self, run_id: str, *, file_no: int | None = None, slice_no: int | None = None
    ) -> AbstractContextManager[None]:
        """Keep renewing the lease of this process on a run, or on one of its files or slices, while the block runs.

        Once the run has failed, for instance because somebody abandoned it, `on_failed` is called.
        """
        if slice_no is not None:
            table, condition = slices, sa.and_(slices.c.run_id == run_id, slices.c.slice_no == slice_no)
        elif file_no is not None:
            table, condition = files, sa.and_(files.c.run_id == run_id, files.c.file_no == file_no)
        else:
            table, condition = runs, runs.c.run_id == run_id

        def renew(ended: threading.Event) -> None:
            query = table.update().where(condition, table.c.worker == worker_name())
            failed = sa.select(runs.c.run_id).where(runs.c.run_id == run_id, runs.c.state == RunState.FAILED)
            try:
                with self.transaction() as connection:
                    connection.execute(query.values(lease_until=self.clock(WORK_LEASE)))
                    has_failed = connection.execute(failed).first() is not None
            except TargetUnavailable as error:
                log.warning("A lease of run %s could not be renewed: %s", run_id, error)
            except Exception:
                log.exception("A lease of run %s could not be renewed; the next attempt may succeed.", run_id)
            else:
                if has_failed and not ended.is_set():
                    log.warning("Run %s has failed: %s drops what it was doing for it.", run_id, worker_name())
                    self.on_failed()

        return _meanwhile(renew)

    def requeue_expired(self, run_id: str) -> int:
        """Requeue the files and slices of a run whose lease has expired, and return their number.

        Those that have had `MAX_ATTEMPTS` attempts fail instead, and a run at whose stage so many workers died fails.
        """
        reason = f"its worker died or lost the database, {MAX_ATTEMPTS} times in a row"
        found = 0
        stages = (RunState.PLANNING, RunState.PUBLISHING)
        fatal = runs.update().where(
            runs.c.run_id == run_id,
            runs.c.state.in_(stages),
            self._has_expired(runs.c.lease_until),
            runs.c.stage_attempts >= MAX_ATTEMPTS,
        )
        why = sa.cast(runs.c.state, sa.Text) + ": " + reason
        with self.transaction() as connection:
            connection.execute(fatal.values(state=RunState.FAILED, error=why, finished_at=datetime.now(UTC)))
        with self.transaction() as connection:
            for table, states in ((files, FileState), (slices, SliceState)):
                running = table.c.run_id == run_id, table.c.state == states.RUNNING
                expired = *running, self._has_expired(table.c.lease_until)
                failing = table.update().where(*expired, table.c.attempts >= MAX_ATTEMPTS)
                found += connection.execute(failing.values(state=states.FAILED, error=reason)).rowcount
                found += connection.execute(table.update().where(*expired).values(state=states.QUEUED)).rowcount
        return found

    def requeue_table(self, run_id: str, table_name: str) -> bool:
        """Requeue all slices of a staging table. Return False if one has had `MAX_ATTEMPTS` attempts already."""
        of_table = slices.c.run_id == run_id, slices.c.table_name == table_name
        with self.transaction() as connection:
            attempts = connection.execute(sa.select(sa.func.max(slices.c.attempts)).where(*of_table)).scalar() or 0
            if attempts >= MAX_ATTEMPTS:
                return False
            facts = ("rows_loaded", "rows_read", "stored_bytes", "stored_sha256", "finished_at")
            values = {"state": SliceState.QUEUED, **dict.fromkeys(facts)}
            connection.execute(slices.update().where(*of_table).values(**values))
            back = runs.update().where(runs.c.run_id == run_id, runs.c.state == RunState.PUBLISHING)
            connection.execute(back.values(state=RunState.LOADING, lease_until=None))
        return True

    def publish(self, connection: sa.Connection, run: Run, *, checksum: str, rows_loaded: int) -> bool:
        """Record a run as published, in the transaction that switches readers to its tables.

        Return False if another process has published the run meanwhile or it has failed: then roll back.

        Raises
        ------
        BaseUnusable
            When the run is added to a publication that readers no longer see.
        """
        moment = datetime.now(UTC)
        older = [runs.c.dataset == run.dataset, runs.c.state == RunState.PUBLISHED]
        if run.base_run_id is not None:
            older.append(runs.c.run_id == run.base_run_id)
        replaced = connection.execute(runs.update().where(*older).values(state=RunState.SUPERSEDED)).rowcount
        facts = {"checksum": checksum, "rows_loaded": rows_loaded}
        shown_at = self._time_to_show(connection, run.dataset)
        times = {"published_at": moment, "finished_at": moment, "shown_at": shown_at}
        publishing = runs.c.run_id == run.run_id, runs.c.state == RunState.PUBLISHING
        if run.base_run_id is not None and replaced != 1:
            if connection.execute(sa.select(runs.c.run_id).where(*publishing)).first() is None:
                return False
            raise BaseUnusable(
                f"Run {run.run_id} is added to run {run.base_run_id}, which readers no longer see: "
                "another run was published, or returned to, in the meantime.",
                "Load it again: it is then added to what is published now.",
            )
        return (
            connection.execute(
                runs.update().where(*publishing).values(state=RunState.PUBLISHED, **facts, **times)
            ).rowcount
            == 1
        )

    @staticmethod
    def hold_published(connection: sa.Connection, run_id: str) -> bool:
        """Keep others from publishing until the end of the transaction. Return False if it is another run by now."""
        is_published = runs.c.run_id == run_id, runs.c.state == RunState.PUBLISHED
        return connection.execute(runs.update().where(*is_published).values(state=RunState.PUBLISHED)).rowcount == 1

    def swap_published(self, connection: sa.Connection, current: Run, previous: Run) -> bool:
        """Record that readers see ``previous`` instead of ``current``.

        Return False if the state of either has changed meanwhile: then roll back.
        """
        for run, old, new in (
            (current, RunState.PUBLISHED, RunState.SUPERSEDED),
            (previous, RunState.SUPERSEDED, RunState.PUBLISHED),
        ):
            query = runs.update().where(runs.c.run_id == run.run_id, runs.c.state == old)
            shown = {"shown_at": self._time_to_show(connection, run.dataset)} if new is RunState.PUBLISHED else {}
            if connection.execute(query.values(state=new, **shown)).rowcount != 1:
                return False
        return True

    def _time_to_show(self, connection: sa.Connection, dataset: str) -> datetime:
        """Return the time, but later than any publication was shown, even if the clock has been set back since."""
        query = sa.select(self.clock(), sa.func.max(runs.c.shown_at)).where(runs.c.dataset == dataset)
        now: datetime
        latest: datetime | None
        now, latest = connection.execute(query).one()  # type: ignore[assignment]
        return now if latest is None else max(now, latest + timedelta(microseconds=1))

    @staticmethod
    def public_tables(
        connection: sa.Connection,
    ) -> Iterator[tuple[str, dict[str, sa.types.TypeEngine[Any]], list[dict[str, Any]]]]:
        """Yield the tables that dbt reads: their name, the Python type of each column, and the rows.

        Columns that only the pipeline uses are left out.
        """
        for table in (runs, slices):
            columns = [column for column in table.c if column.name not in ("request", "identity", "spec")]
            rows = connection.execute(sa.select(*columns)).mappings()
            yield table.name, {column.name: column.type for column in columns}, [dict(row) for row in rows]

    def heartbeat(self, consumer: str, queue_id: str, workers: int, *, is_private: bool = False) -> None:
        """Record that a consumer of the queue is alive.

        Parameters
        ----------
        consumer : str
            Its name: `worker_name` of its main process.
        queue_id : str
            See `ingest.pipeline.consumer.queue_id`.
        workers : int
            Its number of worker processes.
        is_private : bool
            Whether a command has started it for its own runs; it ends with them, so no other command relies on it.
        """
        moment = self.clock()
        facts = {"queue_id": queue_id, "workers": workers, "is_private": is_private, "heartbeat_at": moment}
        with self.transaction() as connection:
            query = consumers.update().where(consumers.c.consumer == consumer)
            if connection.execute(query.values(**facts)).rowcount == 0:
                connection.execute(consumers.insert().values(consumer=consumer, started_at=moment, **facts))
            connection.execute(consumers.delete().where(consumers.c.heartbeat_at < self.clock(-timedelta(days=1))))

    def end_consumer(self, consumer: str) -> None:
        """Record that a consumer has ended."""
        if self.is_gone():
            return
        with self.transaction() as connection:
            connection.execute(consumers.delete().where(consumers.c.consumer == consumer))

    def consumers(self) -> list[Consumer]:
        """Return the consumers of all queues, dead or alive, that sent a heartbeat within a day; latest first."""
        with self.transaction() as connection:
            found = connection.execute(consumers.select().order_by(consumers.c.heartbeat_at.desc())).mappings()
            return [Consumer.from_row(row) for row in found]

    def shared_consumers(self, queue_id: str) -> list[Consumer]:
        """Return the live consumers of a queue that no command has started for its own runs."""
        return [each for each in self.live_consumers(queue_id) if not each.is_private]

    def live_consumers(self, queue_id: str) -> list[Consumer]:
        """Return the live consumers of a queue: those whose last heartbeat is at most `CONSUMER_LEASE` ago."""
        recently = consumers.c.heartbeat_at.between(self.clock(-CONSUMER_LEASE), self.clock(CONSUMER_LEASE))
        query = consumers.select().where(consumers.c.queue_id == queue_id, recently)
        with self.transaction() as connection:
            found = [Consumer.from_row(row) for row in connection.execute(query).mappings()]
        return [consumer for consumer in found if _may_be_alive(consumer.consumer)]

    def published_runs(self) -> dict[str, str]:
        """Return the id of the run that readers see, by dataset."""
        query = sa.select(runs.c.dataset, runs.c.run_id).where(runs.c.state == RunState.PUBLISHED)
        with self.transaction() as connection:
            return {row.dataset: row.run_id for row in connection.execute(query)}

    def claim_build(self, dataset: str, of_runs: str, may_begin: Callable[[Sequence[Build]], bool]) -> Build | None:
        """Claim the building of marts for this process; of all builds of a ledger, one is at work at a time.

        Parameters
        ----------
        dataset, of_runs
            See `Build`.
        may_begin : callable
            Takes the earlier builds of these marts from these runs, newest first; returns whether this is another.

        Returns
        -------
        Build or None
            None if another process is building, or it may not begin.
        """
        moment = self.clock()
        alike = builds.select().where(builds.c.dataset == dataset, builds.c.runs == of_runs)
        row = {"dataset": dataset, "runs": of_runs, "state": BuildState.RUNNING, "worker": worker_name()}
        times = {"started_at": moment, "lease_until": self.clock(WORK_LEASE)}
        try:
            with self.transaction() as connection:
                earlier = connection.execute(alike.order_by(builds.c.build_no.desc())).mappings()
                if not may_begin([Build.from_row(each) for each in earlier]):
                    return None
                made = connection.execute(builds.insert().values(**row, **times).returning(*builds.c)).mappings().one()
                return Build.from_row(made)
        except IntegrityError:
            return None

    def bury_builds(self) -> list[Build]:
        """Record the builds whose process died, or lost the ledger, and return them."""
        expired = builds.c.state == BuildState.RUNNING, self._has_expired(builds.c.lease_until)
        died = builds.update().where(*expired).values(state=BuildState.DIED, finished_at=self.clock())
        with self.transaction() as connection:
            return [Build.from_row(row) for row in connection.execute(died.returning(*builds.c)).mappings()]

    def renew_build(self, build: Build) -> bool:
        """Renew the lease of a build. Return False if it is taken for dead, so that another may be at work."""
        renewed = builds.update().where(builds.c.build_no == build.build_no, builds.c.state == BuildState.RUNNING)
        with self.transaction() as connection:
            return connection.execute(renewed.values(lease_until=self.clock(WORK_LEASE))).rowcount == 1

    def renewing_build(self, build: Build) -> AbstractContextManager[None]:
        """Keep renewing the lease of a build while the block runs."""

        def renew(_ended: threading.Event) -> None:
            try:
                self.renew_build(build)
            except IngestError as error:
                log.warning("The lease of a build could not be renewed: %s", error)

        return _meanwhile(renew)

    def end_build(self, build: Build, state: BuildState, error: str | None = None) -> Build | None:
        """Record how a build ended, and return it so; None if it had been taken for dead meanwhile."""
        running = builds.c.build_no == build.build_no, builds.c.state == BuildState.RUNNING
        values = {"state": state, "error": error, "finished_at": self.clock()}
        with self.transaction() as connection:
            ended = connection.execute(builds.update().where(*running).values(**values).returning(*builds.c))
            row = ended.mappings().first()
        return Build.from_row(row) if row else None

    def withdraw_build(self, build: Build) -> None:
        """Forget a build that did not begin, or was told to stop."""
        running = builds.c.build_no == build.build_no, builds.c.state == BuildState.RUNNING
        with self.transaction() as connection:
            connection.execute(builds.delete().where(*running))

    def builds(self, dataset: str | None = None, limit: int = 20) -> list[Build]:
        """Return the latest builds, of the marts of one dataset or of all, newest first."""
        query = builds.select().order_by(builds.c.build_no.desc()).limit(limit)
        if dataset is not None:
            query = query.where(builds.c.dataset == dataset)
        with self.transaction() as connection:
            return [Build.from_row(row) for row in connection.execute(query).mappings()]

    def forget(self, age: timedelta, stored: Collection[str], *, is_dry: bool) -> int:
        """Remove the records of what ended long ago: of runs, with files, slices and errors, of builds and alerts.

        Runs stay that readers see, whose tables are stored, that somebody keeps, that another run was added to, and the
        latest of each dataset; of builds, the latest of each dataset; and alerts about releases.

        Parameters
        ----------
        age : timedelta
            How long ago it must have ended.
        stored : collection of str
            The runs whose tables are stored.
        is_dry : bool
            Only count.

        Returns
        -------
        int
            The number of records.
        """
        with self.transaction() as connection:
            limit: datetime = connection.execute(sa.select(self.clock(-age))).scalar_one()
            base, later = runs.alias(), runs.alias()
            is_added_to = sa.exists().where(base.c.base_run_id == runs.c.run_id)
            has_later = sa.exists().where(
                later.c.dataset == runs.c.dataset,
                later.c.requested_at > runs.c.requested_at,
            )
            ended = sa.select(runs.c.run_id).where(
                runs.c.state.in_([state for state in RunState if state.has_ended and state != RunState.PUBLISHED]),
                sa.func.coalesce(runs.c.finished_at, runs.c.requested_at) < limit,
                ~runs.c.is_kept,
                ~is_added_to,
                has_later,
            )
            candidates: Iterator[str] = iter(connection.execute(ended).scalars())
            gone = [run_id for run_id in candidates if run_id not in stored]
            of_builds = sa.select(sa.func.max(builds.c.build_no)).group_by(builds.c.dataset)
            named = [(table, table.c.run_id) for table in (errors, slices, files, runs)]
            count = 0
            for start in range(0, len(gone), FORGOTTEN_AT_ONCE):
                some = gone[start : start + FORGOTTEN_AT_ONCE]
                for table, column in named:
                    count += self._remove(connection, table, column.in_(some), is_dry=is_dry)
            old = builds.c.finished_at < limit, builds.c.build_no.not_in(of_builds)
            count += self._remove(connection, builds, *old, is_dry=is_dry)
            told = alerts.c.sent_at < limit, alerts.c.event != "newer_release"
            count += self._remove(connection, alerts, *told, is_dry=is_dry)
        return count

    @staticmethod
    def _remove(connection: sa.Connection, table: sa.Table, *where: sa.ColumnElement[bool], is_dry: bool) -> int:
        if is_dry:
            return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar_one())
        return connection.execute(table.delete().where(*where)).rowcount

    def tally(self) -> Tally:
        """Count what is in the ledger, in a handful of queries that read no slice of a run that has ended."""
        number = sa.func.count()
        of_runs = sa.select(runs.c.dataset, runs.c.state, number).group_by(runs.c.dataset, runs.c.state)
        of_builds = sa.select(builds.c.dataset, builds.c.state, number).group_by(builds.c.dataset, builds.c.state)
        active = sa.select(runs.c.run_id).where(runs.c.state.in_(ACTIVE))
        of_slices = sa.select(slices.c.state, number).where(slices.c.run_id.in_(active)).group_by(slices.c.state)
        oldest = sa.select(sa.func.min(runs.c.requested_at)).where(runs.c.state.in_(ACTIVE))
        ended = sa.select(sa.func.max(builds.c.build_no)).where(builds.c.finished_at.is_not(None))
        latest = builds.select().where(builds.c.build_no.in_(ended.group_by(builds.c.dataset)))
        published = runs.select().where(runs.c.state == RunState.PUBLISHED).order_by(runs.c.dataset)
        with self.transaction() as connection:
            return Tally(
                published=[_run_of(row) for row in connection.execute(published).mappings()],
                runs={(row[0], str(row[1])): row[2] for row in connection.execute(of_runs)},
                slices={str(row[0]): row[1] for row in connection.execute(of_slices)},
                oldest_active=connection.execute(oldest).scalar_one(),
                faults=connection.execute(sa.select(number).select_from(errors)).scalar_one(),
                builds={(row[0], str(row[1])): row[2] for row in connection.execute(of_builds)},
                latest_builds=[Build.from_row(row) for row in connection.execute(latest).mappings()],
            )

    def note_fault(
        self, run_id: str, stage: str, part_no: int | None, *, error_type: str, error: str, traceback: str
    ) -> None:
        """Record a failed attempt of a task. The texts must not contain secrets."""
        row = {"run_id": run_id, "stage": stage, "part_no": part_no, "worker": worker_name()}
        texts = {"error_type": error_type, "error": error, "traceback": traceback}
        with self.transaction() as connection:
            connection.execute(errors.insert().values(**row, **texts, noted_at=datetime.now(UTC)))

    def faults(self, run_id: str | None = None, limit: int = 10) -> list[Fault]:
        """Return the latest failed attempts, of one run or of all, newest first."""
        query = errors.select().order_by(errors.c.error_no.desc()).limit(limit)
        if run_id is not None:
            query = query.where(errors.c.run_id == run_id)
        with self.transaction() as connection:
            return [Fault.from_row(row) for row in connection.execute(query).mappings()]

    def expect_alert(self, event: str, subject: str) -> None:
        """Record that an event must be announced once it happens."""
        with self.transaction() as connection:
            connection.execute(alerts.insert().values(event=event, subject=subject, expected_at=datetime.now(UTC)))

    def claim_alert(self, event: str, subject: str) -> bool:
        """Claim the announcement of an event for this process. Return False if it has been claimed before."""
        values = {"sent_at": datetime.now(UTC), "host": socket.gethostname()}
        alert = alerts.c.event == event, alerts.c.subject == subject
        try:
            with self.transaction() as connection:
                expected = alerts.update().where(*alert, alerts.c.sent_at.is_(None))
                if connection.execute(expected.values(**values)).rowcount == 0:
                    connection.execute(alerts.insert().values(event=event, subject=subject, **values))
        except IntegrityError:
            return False
        return True

    def runs_to_announce(self, since: datetime, *, failed: str, published: str) -> Iterator[tuple[str, Run]]:
        """Yield the runs that ended after the given time and have not been announced, each with its event.

        Parameters
        ----------
        since : datetime
            Runs that ended earlier are ignored.
        failed : str
            The event of a failed run; all of them are announced.
        published : str
            The event of a published run; announced only if `expect_alert` was called for it.
        """
        recently, its_alerts = runs.c.finished_at > since, alerts.c.subject == runs.c.run_id
        is_announced = sa.exists().where(its_alerts, alerts.c.event == failed)
        unannounced = recently, runs.c.state == RunState.FAILED, ~is_announced
        was_published = runs.c.state.in_(PUBLICATIONS)
        is_expected = sa.exists().where(its_alerts, alerts.c.event == published, alerts.c.sent_at.is_(None))
        for run in self._runs(runs.select().where(*unannounced)):
            yield failed, run
        for run in self._runs(runs.select().where(recently, was_published, is_expected)):
            yield published, run
