"""The tables of the ledger, in their newest shape, for PostgreSQL and SQLite.

Every change here needs a step in `ingest.ledger.migrations` that makes the same change to existing ledgers.
"""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ingest.errors import LedgerDamaged
from ingest.ledger.records import BuildState, FileState, RunState, SliceState

RAW = "raw"


class UtcTime(sa.types.TypeDecorator[datetime]):
    """A time with a zone, even if the database stores none (SQLite)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        """Type of the values in Python."""
        return datetime

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Add the zone to values that the database returns without one; they are in UTC."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class State(sa.types.TypeDecorator[enum.StrEnum]):
    """A state: text in the database, a member of its enum in Python."""

    impl = sa.Text
    cache_ok = True

    @property
    def python_type(self) -> type[str]:
        """Type of the values in Python: the members of the enum are strings."""
        return str

    def __init__(self, states: type[enum.StrEnum]) -> None:
        super().__init__()
        self.states = states

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        """Return the state as text; raise ``ValueError`` if it is not a member of the enum."""
        return None if value is None else str(self.states(value))

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> enum.StrEnum | None:
        """Return the member of the enum; no version ever wrote another text."""
        try:
            return None if value is None else self.states(value)
        except ValueError as error:
            raise LedgerDamaged(f"The ledger is damaged: {error}.", "See `python -m ingest doctor`.") from error


metadata = sa.MetaData(schema=RAW)

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
    sa.Column("state", State(RunState), nullable=False),
    sa.Column("rows_read", sa.BigInteger),
    sa.Column("rows_loaded", sa.BigInteger),
    sa.Column("bytes_read", sa.BigInteger),
    sa.Column("requested_at", UtcTime, nullable=False),
    sa.Column("started_at", UtcTime),
    sa.Column("finished_at", UtcTime),
    sa.Column("published_at", UtcTime),
    sa.Column("shown_at", UtcTime),
    sa.Column("stage_attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("is_kept", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("base_run_id", sa.Text),
    sa.Column("countries", sa.Text),
    sa.Column("rows_replaced", sa.BigInteger),
    sa.Column("worker", sa.Text),
    sa.Column("lease_until", UtcTime),
    sa.Column("error", sa.Text),
    sa.Column("ingest_version", sa.Text),
)
for _name, _states in (
    ("ingest_runs_one_active", [state for state in RunState if state.is_active]),
    ("ingest_runs_one_published", [RunState.PUBLISHED]),
):
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
    sa.Column("carried_from", sa.Text),
    sa.Column("state", State(FileState), nullable=False),
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
    sa.Column("stored_bytes", sa.BigInteger),
    sa.Column("stored_sha256", sa.Text),
    sa.Column("carried_from", sa.Text),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("state", State(SliceState), nullable=False),
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
    sa.Column("is_private", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("heartbeat_at", UtcTime, nullable=False),
)

errors = sa.Table(
    "ingest_errors",
    metadata,
    sa.Column("error_no", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False, index=True),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("part_no", sa.Integer),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("noted_at", UtcTime, nullable=False),
    sa.Column("error_type", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("traceback", sa.Text, nullable=False),
)

alerts = sa.Table(
    "ingest_alerts",
    metadata,
    sa.Column("event", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("expected_at", UtcTime),
    sa.Column("sent_at", UtcTime),
    sa.Column("host", sa.Text),
)

builds = sa.Table(
    "ingest_builds",
    metadata,
    sa.Column("build_no", sa.Integer, primary_key=True),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("runs", sa.Text, nullable=False),
    sa.Column("state", State(BuildState), nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("lease_until", UtcTime),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("finished_at", UtcTime),
    sa.Column("error", sa.Text),
)
_at_work = builds.c.state == BuildState.RUNNING
sa.Index("ingest_builds_one_running", builds.c.state, unique=True, postgresql_where=_at_work, sqlite_where=_at_work)

migrations = sa.Table(
    "ingest_migrations",
    metadata,
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("applied_at", UtcTime, nullable=False),
    sa.Column("ingest_version", sa.Text, nullable=False),
)
