"""What the ledger returns and takes: frozen records, and the states that they go through.

JSON stays in here: a request and how a slice is to be read are texts in the ledger and objects everywhere else.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from ingest.sources.address import Source

if TYPE_CHECKING:
    from sqlalchemy.engine import RowMapping

RAW_SHAPE = 1  # raised when the raw tables change, so that an unchanged file is loaded again


class RunState(enum.StrEnum):
    """How far a run is."""

    QUEUED = "queued"  # requested; no worker has begun
    FETCHING = "fetching"  # its files are brought onto the workers' hosts
    PLANNING = "planning"  # its layers are cut into slices
    LOADING = "loading"  # its slices are loaded
    PUBLISHING = "publishing"  # its counts are compared, its tables put in place
    PUBLISHED = "published"  # readers see it
    SUPERSEDED = "superseded"  # readers saw it, and see another one now
    UNCHANGED = "unchanged"  # its source was what is published already: nothing was loaded
    FAILED = "failed"  # it ended without being published

    @property
    def is_active(self) -> bool:
        """Whether the run still goes on; a dataset has one such run at most."""
        return self in (self.QUEUED, self.FETCHING, self.PLANNING, self.LOADING, self.PUBLISHING)

    @property
    def has_ended(self) -> bool:
        """Whether nothing of the run is left to do."""
        return not self.is_active


class FileState(enum.StrEnum):
    """How far a file of a run is."""

    QUEUED = "queued"  # to be fetched
    RUNNING = "running"  # claimed by a worker
    FETCHED = "fetched"  # it was on a worker's host
    FAILED = "failed"  # it could not be had


class SliceState(enum.StrEnum):
    """How far a slice is."""

    QUEUED = "queued"  # to be loaded
    RUNNING = "running"  # claimed by a worker
    LOADED = "loaded"  # its rows are in the staging table
    FAILED = "failed"  # it could not be loaded


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
        For each source, where else the same file can be had; the outcome of a run does not depend on it.
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

    @property
    def public_sources(self) -> list[str]:
        """The locations as they may be shown."""
        return [Source.parse(location).public for location in self.sources]

    def identity(self, of_sources: Sequence[str | None]) -> str | None:
        """Return what runs of one outcome share; None where a source cannot be told from its next version."""
        if any(source is None for source in of_sources):
            return None
        return json.dumps([RAW_SHAPE, replace(self, mirrors=()).to_json(), list(of_sources)])


@dataclass(frozen=True)
class Reading:
    """How an engine is to read a slice.

    Attributes
    ----------
    columns : tuple of (str, str or None)
        Raw column and the layer's name for it, None where the layer has no such column.
    crs : str or None
        Reference system as WKT when it is not EPSG:4326.
    where : str or None
        Filter that picks the slice's features; None for all of a layer.
    batch_bytes : int
        Maximum weight of a batch's geometries.
    """

    columns: tuple[tuple[str, str | None], ...]
    crs: str | None
    where: str | None
    batch_bytes: int

    @classmethod
    def from_json(cls, text: str) -> Reading:
        """Read back what `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "columns": tuple((raw, name) for raw, name in values["columns"])})

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))


class _FromRow:
    """A record that has the fields of a ledger row."""

    @classmethod
    def from_row(cls, row: RowMapping, **fields: Any) -> Self:
        """Return the record of a row; ``fields`` are those that the row itself does not have."""
        names = {field.name for field in dataclasses.fields(cls)} - fields.keys()  # type: ignore[arg-type]
        return cls(**{name: row[name] for name in names}, **fields)


@dataclass(frozen=True, kw_only=True)
class Run(_FromRow):
    """A run: one request, from its first file to its publication.

    Attributes
    ----------
    source : str
        Its sources as they may be shown, separated by blanks.
    checksum : str or None
        SHA-256 of its files, separated by blanks, once it is published.
    identity : str or None
        What runs of one outcome share, see `Request.identity`.
    worker, lease_until : str, datetime
        Who works on its present stage, and until when unless the lease is renewed.
    ingest_version : str or None
        The version of this package that noted the run; None for a run of the first edition.
    """

    run_id: str
    dataset: str
    release: str
    variant: str | None
    engine: str
    source: str
    scope: str
    checksum: str | None
    identity: str | None
    request: Request
    state: RunState
    rows_read: int | None
    rows_loaded: int | None
    bytes_read: int | None
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    published_at: datetime | None
    worker: str | None
    lease_until: datetime | None
    error: str | None
    ingest_version: str | None

    @property
    def source_identities(self) -> list[str]:
        """What told the version of each source, in order; empty where some server told nothing."""
        return list(json.loads(self.identity)[2]) if self.identity else []


@dataclass(frozen=True, kw_only=True)
class File(_FromRow):
    """A file of a run."""

    run_id: str
    file_no: int
    source: str
    checksum: str | None
    bytes: int | None
    was_cached: bool | None
    state: FileState
    worker: str | None
    lease_until: datetime | None
    attempts: int
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class ClaimedFile(File):
    """A file that this process is to fetch, with the request that it belongs to."""

    request: Request


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Which features of which layer a slice is.

    Attributes
    ----------
    table_name, level : str, int or None
        The raw table that its rows go to.
    file_no, source_file, source_layer : int, str, str
        The file of the run, what the rows call it, and the layer in it.
    fid_from, fid_to : int
        First and last feature id, both included.
    rows_planned, bytes : int
        What the file says of it.
    """

    table_name: str
    level: int | None
    file_no: int
    source_file: str
    source_layer: str
    fid_from: int
    fid_to: int
    rows_planned: int
    bytes: int
    engine: str


@dataclass(frozen=True, kw_only=True)
class PlannedSlice(_Part):
    """A slice as the planner hands it over."""

    reading: Reading


@dataclass(frozen=True, kw_only=True)
class Slice(_Part, _FromRow):
    """A slice of a run."""

    run_id: str
    slice_no: int
    rows_read: int | None
    rows_loaded: int | None
    state: SliceState
    worker: str | None
    lease_until: datetime | None
    attempts: int
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class ClaimedSlice(Slice):
    """A slice that this process is to load, with all that it needs to know.

    ``attempts`` is the fencing token: only the latest claimant can note the slice as loaded.
    """

    reading: Reading
    file: File
    request: Request


@dataclass(frozen=True, kw_only=True)
class Consumer(_FromRow):
    """A process that runs workers."""

    consumer: str
    queue_id: str
    workers: int
    started_at: datetime
    heartbeat_at: datetime


@dataclass(frozen=True, kw_only=True)
class Fault(_FromRow):
    """A failed attempt of a task, also one that a retry made good."""

    error_no: int
    run_id: str
    stage: str
    part_no: int | None
    worker: str
    noted_at: datetime
    error_type: str
    error: str
    traceback: str
