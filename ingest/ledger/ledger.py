"""The ledger: what was asked for, what each file and slice came to, and which run readers see.

Tables ``raw.ingest_runs``, ``raw.ingest_files``, ``raw.ingest_slices`` and ``raw.ingest_consumers`` live in
PostgreSQL on the ``postgres`` target and in ``ledger.sqlite`` on the embedded one. Tasks carry ids only: the ledger
is the truth, the queue is a way to be woken.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from ingest.errors import RightMissing, RunInProgress, RunNotFound, TargetUnavailable
from ingest.settings import Settings
from ingest.sources.address import Source

log = logging.getLogger(__name__)

SCHEMA = "raw"
INSUFFICIENT_PRIVILEGE = "42501"
ACTIVE = ("queued", "fetching", "planning", "loading", "publishing")
ENDED = ("published", "superseded", "unchanged", "failed")
RAW_SHAPE = 1  # raised when the raw tables change, so that an unchanged file is loaded again
CONSUMER_LEASE = timedelta(seconds=10)
WORK_LEASE = timedelta(seconds=8)  # who holds a file, a slice or a run renews it; who is dead does not
RENEWAL_SECONDS = 2.0
MAX_ATTEMPTS = 5  # a slice whose workers die this often is the reason that they die


class UtcTime(sa.types.TypeDecorator[datetime]):
    """A time with its zone, also where the database keeps none (SQLite)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Give naive values the zone they were written in."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


metadata = sa.MetaData(schema=SCHEMA)

runs = sa.Table(
    "ingest_runs",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("release", sa.Text, nullable=False),
    sa.Column("variant", sa.Text),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("checksum", sa.Text),
    sa.Column("identity", sa.Text),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("rows_read", sa.BigInteger),
    sa.Column("rows_loaded", sa.BigInteger),
    sa.Column("bytes_read", sa.BigInteger),
    sa.Column("requested_at", UtcTime, nullable=False),
    sa.Column("started_at", UtcTime),
    sa.Column("finished_at", UtcTime),
    sa.Column("published_at", UtcTime),
    sa.Column("worker", sa.Text),
    sa.Column("lease_until", UtcTime),
    sa.Column("error", sa.Text),
)
for _name, _states in (("ingest_runs_one_active", ACTIVE), ("ingest_runs_one_published", ("published",))):
    _where = runs.c.state.in_(_states)
    sa.Index(_name, runs.c.dataset, unique=True, postgresql_where=_where, sqlite_where=_where)

files = sa.Table(
    "ingest_files",
    metadata,
    sa.Column("run_id", sa.Text, sa.ForeignKey(runs.c.run_id), primary_key=True),
    sa.Column("file_no", sa.Integer, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("checksum", sa.Text),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("was_cached", sa.Boolean),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("worker", sa.Text),
    sa.Column("lease_until", UtcTime),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("started_at", UtcTime),
    sa.Column("finished_at", UtcTime),
    sa.Column("error", sa.Text),
)

slices = sa.Table(
    "ingest_slices",
    metadata,
    sa.Column("run_id", sa.Text, sa.ForeignKey(runs.c.run_id), primary_key=True),
    sa.Column("slice_no", sa.Integer, primary_key=True),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("level", sa.Integer),
    sa.Column("file_no", sa.Integer, nullable=False),
    sa.Column("source_file", sa.Text, nullable=False),
    sa.Column("source_layer", sa.Text, nullable=False),
    sa.Column("fid_from", sa.BigInteger, nullable=False),
    sa.Column("fid_to", sa.BigInteger, nullable=False),
    sa.Column("rows_planned", sa.BigInteger, nullable=False),
    sa.Column("rows_read", sa.BigInteger),
    sa.Column("rows_loaded", sa.BigInteger),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("worker", sa.Text),
    sa.Column("lease_until", UtcTime),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("queued_at", UtcTime),
    sa.Column("started_at", UtcTime),
    sa.Column("finished_at", UtcTime),
    sa.Column("error", sa.Text),
)

consumers = sa.Table(
    "ingest_consumers",
    metadata,
    sa.Column("consumer", sa.Text, primary_key=True),
    sa.Column("queue_id", sa.Text, nullable=False),
    sa.Column("workers", sa.Integer, nullable=False),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("heartbeat_at", UtcTime, nullable=False),
)


@dataclass(frozen=True)
class Request:
    """What a run was asked to load.

    Attributes
    ----------
    dataset, release, engine : str
        As in the catalog, and the engine's name.
    sources : tuple of str
        Locations, see `ingest.sources.address.Source.parse`.
    scope : str
        ``world`` (the publisher's whole release), ``countries`` or ``custom`` (a source of the user's).
    variant : str or None
        Variant of a time zone release, such as ``now, with oceans``.
    levels : tuple of int or None
        Levels that must be loaded; None takes those that the source has.
    mirrors : tuple of tuple of str
        For each source where else the same file may be had; no part of what a run comes to.
    is_validated : bool
        Whether the validity of geometry is checked.
    """

    dataset: str
    release: str
    engine: str
    sources: tuple[str, ...]
    scope: str
    variant: str | None = None
    levels: tuple[int, ...] | None = None
    mirrors: tuple[tuple[str, ...], ...] = ()
    is_validated: bool = True

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Read back what `to_json` wrote."""
        values = json.loads(text)
        levels = values.pop("levels")
        values |= {"sources": tuple(values["sources"]), "mirrors": tuple(map(tuple, values.get("mirrors", ())))}
        return cls(**values, levels=None if levels is None else tuple(levels))

    def to_json(self) -> str:
        """Return the request as JSON, its addresses as the ledger may hold them: without their queries."""
        values = {name: value for name, value in asdict(self).items() if name != "mirrors" or value}
        return json.dumps({**values, "sources": [Source.parse(source).noted for source in self.sources]})

    def identity(self, of_sources: Sequence[str | None]) -> str | None:
        """Return what runs of one outcome share; None where a source cannot be told from its next version."""
        if any(source is None for source in of_sources):
            return None
        return json.dumps([RAW_SHAPE, replace(self, mirrors=()).to_json(), list(of_sources)])


def worker_name() -> str:
    """Return the name of this process: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _new_run(request: Request, public_sources: Sequence[str], identity: str | None) -> dict[str, Any]:
    """Return what the ledger notes of a request, under a new id that sorts by time."""
    moment = datetime.now(UTC)
    return {
        "run_id": f"{moment:%Y%m%dt%H%M%S}_{secrets.token_hex(2)}",
        "dataset": request.dataset,
        "release": request.release,
        "variant": request.variant,
        "engine": request.engine,
        "source": " ".join(public_sources),
        "scope": request.scope,
        "identity": identity,
        "request": request.to_json(),
        "requested_at": moment,
    }


def _may_live(consumer: str) -> bool:
    """Tell whether a process may be alive: on another host nobody knows, on this one the system does."""
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


@cache
def _postgres_engine(uri: str) -> sa.Engine:
    engine = sa.create_engine(
        sa.make_url(uri).set(drivername="postgresql+psycopg"),
        pool_size=1,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 10},
        hide_parameters=True,
    )
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    return engine


class Ledger:
    """Reads and writes the ledger.

    A process keeps one connection to PostgreSQL for the next call, and verifies it first; a worker that is forked
    starts without. SQLite is opened for every call.
    """

    def __init__(self, settings: Settings) -> None:
        self.is_postgres = settings.postgres is not None
        self.place = settings.postgres.place if settings.postgres else str(settings.home / "ledger.sqlite")
        if settings.postgres:
            self._engine = _postgres_engine(settings.postgres.uri())
        else:
            settings.home.mkdir(parents=True, exist_ok=True)
            self._engine = sa.create_engine(
                f"sqlite:///{self.place}", poolclass=sa.NullPool, connect_args={"timeout": 30}, hide_parameters=True
            ).execution_options(schema_translate_map={SCHEMA: None})

            @sa.event.listens_for(self._engine, "connect")
            def _wal(connection: Any, _record: Any) -> None:
                connection.execute("pragma journal_mode = wal")

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction that commits at the end, or not at all.

        Raises
        ------
        TargetUnavailable
            When the database does not answer.
        RightMissing
            When this user may not do in it what the block does.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except ProgrammingError as error:
            if getattr(error.orig, "sqlstate", "") != INSUFFICIENT_PRIVILEGE:
                raise
            raise RightMissing(
                f"{self.place}: {str(error.orig).strip().splitlines()[0]}.",
                "`python -m ingest init`, run by a superuser, sets up who may do what; is PGUSER the loader?",
            ) from error
        except OperationalError as error:
            reason = str(error.orig).strip().splitlines()[0]
            raise TargetUnavailable(
                f"The ledger at {self.place} does not answer: {reason}",
                "Is the server running, and are PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE right?"
                if self.is_postgres
                else "Is WAREHOUSE_HOME on a disk that can be written?",
            ) from error

    def create_tables(self) -> None:
        """Create the schema and the ledger's tables where they are missing."""
        with self.transaction() as connection:
            if self.is_postgres:
                connection.execute(sa.text("select pg_advisory_xact_lock(hashtext('admin-boundaries ledger'))"))
                if not sa.inspect(connection).has_schema(SCHEMA):
                    connection.execute(sa.schema.CreateSchema(SCHEMA))
            metadata.create_all(connection)

    def create_run(
        self,
        request: Request,
        public_sources: Sequence[str],
        identity: str | None,
        on_noted: Callable[[str], None] = lambda _run_id: None,
    ) -> str:
        """Note a new run with its files and return its id; ``on_noted`` is given it before anybody else can see it.

        Raises
        ------
        RunInProgress
            When a run of the same dataset has not ended.
        """
        row = _new_run(request, public_sources, identity)
        run_id: str = row["run_id"]
        try:
            with self.transaction() as connection:
                connection.execute(runs.insert().values(state="queued", **row))
                connection.execute(
                    files.insert(),
                    [
                        {"run_id": run_id, "file_no": number, "source": source, "state": "queued"}
                        for number, source in enumerate(public_sources)
                    ],
                )
                on_noted(run_id)
        except IntegrityError as error:
            active = self.active_run(request.dataset)
            raise RunInProgress(
                f"Run {active} of {request.dataset} has not ended.",
                f"See `python -m ingest status {active}`; if its workers are gone, `python -m ingest resume {active}`.",
            ) from error
        return run_id

    def note_unchanged(self, request: Request, public_sources: Sequence[str], identity: str) -> None:
        """Note that a source was looked at and is the one already published."""
        row = _new_run(request, public_sources, identity)
        times = {"started_at": row["requested_at"], "finished_at": row["requested_at"]}
        with self.transaction() as connection:
            connection.execute(runs.insert().values(state="unchanged", **row, **times))

    def run(self, run_id: str) -> RowMapping:
        """Return a run's row.

        Raises
        ------
        RunNotFound
            When there is none.
        """
        with self.transaction() as connection:
            row = connection.execute(runs.select().where(runs.c.run_id == run_id)).mappings().first()
        if row is None:
            raise RunNotFound(f"There is no run {run_id!r}.", "`python -m ingest status` lists the runs.")
        return row

    def recent_runs(self, limit: int = 20) -> Sequence[RowMapping]:
        """Return the latest runs, newest first."""
        with self.transaction() as connection:
            query = runs.select().order_by(runs.c.requested_at.desc(), runs.c.run_id.desc()).limit(limit)
            return connection.execute(query).mappings().all()

    def active_runs(self) -> Sequence[RowMapping]:
        """Return the runs that have not ended, oldest first."""
        with self.transaction() as connection:
            query = runs.select().where(runs.c.state.in_(ACTIVE)).order_by(runs.c.requested_at)
            return connection.execute(query).mappings().all()

    def active_run(self, dataset: str) -> str | None:
        """Return the id of the dataset's run that has not ended."""
        with self.transaction() as connection:
            query = sa.select(runs.c.run_id).where(runs.c.dataset == dataset, runs.c.state.in_(ACTIVE))
            return connection.execute(query).scalar()

    def published_run(self, dataset: str) -> RowMapping | None:
        """Return the run of the dataset that readers see."""
        with self.transaction() as connection:
            query = runs.select().where(runs.c.dataset == dataset, runs.c.state == "published")
            return connection.execute(query).mappings().first()

    def superseded_run(self, dataset: str) -> RowMapping | None:
        """Return the latest publication of the dataset that readers do not see any more."""
        with self.transaction() as connection:
            query = runs.select().where(runs.c.dataset == dataset, runs.c.state == "superseded")
            return connection.execute(query.order_by(runs.c.published_at.desc())).mappings().first()

    def files(self, run_id: str) -> Sequence[RowMapping]:
        """Return the files of a run, in order."""
        with self.transaction() as connection:
            query = files.select().where(files.c.run_id == run_id).order_by(files.c.file_no)
            return connection.execute(query).mappings().all()

    def slices(self, run_id: str) -> Sequence[RowMapping]:
        """Return the slices of a run, heaviest first."""
        with self.transaction() as connection:
            query = slices.select().where(slices.c.run_id == run_id).order_by(slices.c.slice_no)
            return connection.execute(query).mappings().all()

    def counts(self, run_id: str) -> dict[str, int]:
        """Return rows loaded per raw table of a run."""
        query = (
            sa.select(slices.c.table_name, sa.func.sum(slices.c.rows_loaded))
            .where(slices.c.run_id == run_id)
            .group_by(slices.c.table_name)
        )
        with self.transaction() as connection:
            return {str(row[0]): int(row[1] or 0) for row in connection.execute(query)}

    def set_state(self, run_id: str, state: str, *, only_from: Sequence[str] = ACTIVE, **values: Any) -> bool:
        """Move a run on; False when it is not in one of the states ``only_from`` (any more)."""
        if state in ENDED:
            values.setdefault("finished_at", datetime.now(UTC))
        query = runs.update().where(runs.c.run_id == run_id, runs.c.state.in_(only_from))
        with self.transaction() as connection:
            return connection.execute(query.values(state=state, **values)).rowcount == 1

    def fail(self, run_id: str, error: str) -> None:
        """End a run as failed, unless it has ended already."""
        self.set_state(run_id, "failed", error=error)

    def claim_file(self, run_id: str, file_no: int) -> bool:
        """Take a file of a run for this process to fetch; False when it is there, or another process fetches it."""
        moment = datetime.now(UTC)
        query = files.update().where(
            files.c.run_id == run_id,
            files.c.file_no == file_no,
            sa.or_(files.c.state == "queued", sa.and_(files.c.state == "running", files.c.lease_until < self.clock())),
            sa.exists().where(runs.c.run_id == run_id, runs.c.state.in_(("queued", "fetching"))),
        )
        values = {
            "state": "running",
            "worker": worker_name(),
            "lease_until": self.clock(WORK_LEASE),
            "attempts": files.c.attempts + 1,
            "error": None,
        }
        begun = runs.update().where(runs.c.run_id == run_id)
        with self.transaction() as connection:
            if connection.execute(query.values(started_at=moment, **values)).rowcount != 1:
                return False
            connection.execute(begun.values(state="fetching", started_at=sa.func.coalesce(runs.c.started_at, moment)))
        return True

    def release_file(self, run_id: str, file_no: int, error: Exception, *, will_retry: bool) -> None:
        """Note that a file could not be had in this attempt."""
        state = "queued" if will_retry else "failed"
        self._update_file(run_id, file_no, state=state, error=str(error), finished_at=datetime.now(UTC))

    def finish_file(self, run_id: str, file_no: int, *, checksum: str | None, size: int, **facts: Any) -> None:
        """Note a fetched file; ``facts``: which of its addresses it came from, and whether it was in the cache."""
        facts |= {"state": "fetched", "checksum": checksum, "bytes": size, "finished_at": datetime.now(UTC)}
        self._update_file(run_id, file_no, **facts)

    def note_checksum(self, run_id: str, file_no: int, checksum: str) -> None:
        """Note the checksum of a file that was fetched without."""
        self._update_file(run_id, file_no, checksum=checksum)

    def _update_file(self, run_id: str, file_no: int, **values: Any) -> None:
        query = files.update().where(files.c.run_id == run_id, files.c.file_no == file_no)
        with self.transaction() as connection:
            connection.execute(query.values(**values))

    def create_slices(self, run_id: str, rows: Sequence[Mapping[str, Any]], **run_values: Any) -> bool:
        """Note the slices of a run and move it to ``loading``; False when another plan was there first."""
        with self.transaction() as connection:
            query = runs.update().where(runs.c.run_id == run_id, runs.c.state == "planning")
            if connection.execute(query.values(state="loading", **run_values)).rowcount != 1:
                return False
            if rows:
                moment = datetime.now(UTC)
                fixed = {"run_id": run_id, "state": "queued", "attempts": 0, "queued_at": moment}
                connection.execute(slices.insert(), [{**row, **fixed} for row in rows])
        return True

    def claim(self, run_id: str, slice_no: int) -> tuple[RowMapping, int] | None:
        """Take a slice for this process.

        Returns
        -------
        (slice, attempt) or None
            The attempt is a fencing token: only the latest claimant can note the slice as loaded. None when the
            slice is loaded already, another process holds it, or its run has ended.
        """
        query = (
            slices.update()
            .where(
                slices.c.run_id == run_id,
                slices.c.slice_no == slice_no,
                sa.or_(
                    slices.c.state.in_(("queued", "failed")),
                    sa.and_(slices.c.state == "running", slices.c.lease_until < self.clock()),
                ),
                sa.exists().where(runs.c.run_id == run_id, runs.c.state == "loading"),
            )
            .values(
                state="running",
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
        return None if row is None else (row, int(row["attempts"]))

    @staticmethod
    def loaded(run_id: str, slice_no: int, attempt: int, *, rows_read: int, rows_loaded: int) -> sa.Update:
        """Return the statement that notes a slice as loaded: for the sink to run in the transaction of its rows.

        It returns the slice's number, or nothing when another worker holds the slice.
        """
        return (
            slices.update()
            .where(
                slices.c.run_id == run_id,
                slices.c.slice_no == slice_no,
                slices.c.attempts == attempt,
                slices.c.state == "running",
            )
            .values(state="loaded", rows_read=rows_read, rows_loaded=rows_loaded, finished_at=datetime.now(UTC))
            .returning(slices.c.slice_no)
        )

    def release(self, run_id: str, slice_no: int, attempt: int, error: Exception, *, will_retry: bool) -> None:
        """Note that a slice could not be loaded in this attempt."""
        query = slices.update().where(
            slices.c.run_id == run_id, slices.c.slice_no == slice_no, slices.c.attempts == attempt
        )
        values = {"state": "queued" if will_retry else "failed", "error": str(error), "finished_at": datetime.now(UTC)}
        with self.transaction() as connection:
            connection.execute(query.values(**values))

    def take_stage(self, run_id: str, state: str, only_from: Sequence[str]) -> bool:
        """Move a run to a stage that this process works on; False when it is past it, or another process holds it."""
        query = runs.update().where(
            runs.c.run_id == run_id,
            runs.c.state.in_(only_from),
            sa.or_(runs.c.state != state, runs.c.lease_until.is_(None), runs.c.lease_until < self.clock()),
        )
        values = {"state": state, "worker": worker_name(), "lease_until": self.clock(WORK_LEASE)}
        with self.transaction() as connection:
            return connection.execute(query.values(**values)).rowcount == 1

    def give_up_stage(self, run_id: str) -> None:
        """Let go of the stage of a run that could not be finished, so that another process may take it at once."""
        query = runs.update().where(runs.c.run_id == run_id, runs.c.worker == worker_name())
        with self.transaction() as connection:
            connection.execute(query.values(lease_until=None))

    @contextmanager
    def holding(self, run_id: str, *, file_no: int | None = None, slice_no: int | None = None) -> Iterator[None]:
        """Renew the lease of a run, or of one of its files or slices, for as long as the block lasts.

        A process that dies stops renewing: within `WORK_LEASE` the work is anybody's.
        """
        if slice_no is not None:
            table, condition = slices, sa.and_(slices.c.run_id == run_id, slices.c.slice_no == slice_no)
        elif file_no is not None:
            table, condition = files, sa.and_(files.c.run_id == run_id, files.c.file_no == file_no)
        else:
            table, condition = runs, runs.c.run_id == run_id
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(RENEWAL_SECONDS):
                query = table.update().where(condition, table.c.worker == worker_name())
                try:
                    with self.transaction() as connection:
                        connection.execute(query.values(lease_until=self.clock(WORK_LEASE)))
                except TargetUnavailable as error:
                    log.warning("A lease of run %s was not renewed: %s", run_id, error)

        renewal = threading.Thread(target=renew, daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()

    def requeue_expired(self, run_id: str) -> int:
        """Put files and slices whose holder is gone back to be taken; return how many.

        What has been tried `MAX_ATTEMPTS` times fails instead.
        """
        hopeless = f"its worker died or lost the database, {MAX_ATTEMPTS} times in a row"
        found = 0
        with self.transaction() as connection:
            for table in (files, slices):
                expired = table.c.run_id == run_id, table.c.state == "running", table.c.lease_until < self.clock()
                failing = table.update().where(*expired, table.c.attempts >= MAX_ATTEMPTS)
                found += connection.execute(failing.values(state="failed", error=hopeless)).rowcount
                found += connection.execute(table.update().where(*expired).values(state="queued")).rowcount
        return found

    def requeue_table(self, run_id: str, table_name: str) -> bool:
        """Have all slices of a staging table loaded again; False when one was tried too often."""
        mine = slices.c.run_id == run_id, slices.c.table_name == table_name
        with self.transaction() as connection:
            attempts = connection.execute(sa.select(sa.func.max(slices.c.attempts)).where(*mine)).scalar() or 0
            if attempts >= MAX_ATTEMPTS:
                return False
            values = {"state": "queued", "rows_loaded": None, "rows_read": None, "finished_at": None}
            connection.execute(slices.update().where(*mine).values(**values))
            back = runs.update().where(runs.c.run_id == run_id, runs.c.state == "publishing")
            connection.execute(back.values(state="loading", lease_until=None))
        return True

    def beat(self, queue_id: str, workers: int) -> None:
        """Note that this process runs a consumer of the queue."""
        name, moment = worker_name(), self.clock()
        with self.transaction() as connection:
            query = consumers.update().where(consumers.c.consumer == name)
            if connection.execute(query.values(queue_id=queue_id, workers=workers, heartbeat_at=moment)).rowcount == 0:
                connection.execute(
                    consumers.insert().values(
                        consumer=name, queue_id=queue_id, workers=workers, started_at=moment, heartbeat_at=moment
                    )
                )
            connection.execute(consumers.delete().where(consumers.c.heartbeat_at < self.clock(-timedelta(days=1))))

    def stop_beating(self) -> None:
        """Note that this process's consumer has ended."""
        with self.transaction() as connection:
            connection.execute(consumers.delete().where(consumers.c.consumer == worker_name()))

    def live_consumers(self, queue_id: str) -> Sequence[RowMapping]:
        """Return the consumers of a queue that gave a sign of life within the lease."""
        query = consumers.select().where(
            consumers.c.queue_id == queue_id, consumers.c.heartbeat_at > self.clock(-CONSUMER_LEASE)
        )
        with self.transaction() as connection:
            return [row for row in connection.execute(query).mappings() if _may_live(row["consumer"])]

    def clock(self, ahead: timedelta = timedelta()) -> Any:
        """Return the time by the ledger's clock, which workers on several hosts share, as an expression."""
        if self.is_postgres:
            return sa.func.clock_timestamp(type_=sa.DateTime(timezone=True)) + ahead
        return sa.literal(datetime.now(UTC) + ahead, UtcTime)
