"""The records that the ledger takes and returns, and their states.

JSON is used only here: `Request` and `Reading` are JSON in the ledger and objects everywhere else.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from ingest.sources.address import Source

if TYPE_CHECKING:
    from sqlalchemy.engine import RowMapping

RAW_SHAPE = 3  # increase it when the raw tables change, so that unchanged files are loaded again


class RunState(enum.StrEnum):
    """State of a run."""

    QUEUED = "queued"  # recorded; no worker has started yet
    FETCHING = "fetching"  # its files are being downloaded and unpacked
    PLANNING = "planning"  # its layers are being checked and cut into slices
    LOADING = "loading"  # its slices are being loaded
    PUBLISHING = "publishing"  # its counts are compared, then readers are switched to it
    PUBLISHED = "published"  # readers see it
    SUPERSEDED = "superseded"  # it was published before
    UNCHANGED = "unchanged"  # its source is the same as the published one; nothing was loaded
    FAILED = "failed"  # it ended without being published

    @property
    def is_active(self) -> bool:
        """Whether the run is in progress; a dataset has at most one such run."""
        return self in (self.QUEUED, self.FETCHING, self.PLANNING, self.LOADING, self.PUBLISHING)

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended, successfully or not."""
        return not self.is_active


class FileState(enum.StrEnum):
    """State of a file of a run."""

    QUEUED = "queued"  # to be fetched
    RUNNING = "running"  # claimed by a worker
    FETCHED = "fetched"  # a worker has downloaded it, or found it on its disk
    FAILED = "failed"  # it could not be fetched


class SliceState(enum.StrEnum):
    """State of a slice."""

    QUEUED = "queued"  # to be loaded
    RUNNING = "running"  # claimed by a worker
    LOADED = "loaded"  # its rows are in the staging table
    FAILED = "failed"  # it could not be loaded


class BuildState(enum.StrEnum):
    """State of a build of the marts."""

    RUNNING = "running"  # dbt is at work
    BUILT = "built"  # the marts are of its runs
    FAILED = "failed"  # a model or a test failed; the marts stay as they were
    DIED = "died"  # the process that had begun it was killed, or lost the ledger


@dataclass(frozen=True)
class Request:
    """What a run is to load.

    Attributes
    ----------
    dataset, release, engine : str
        Names of the dataset and the release as in the catalog, and of the engine.
    sources : tuple of str
        Paths or URLs, see `ingest.sources.address.Source.parse`.
    scope : str
        ``world`` (the publisher's whole release), ``countries`` or ``custom`` (the user's own source).
    variant : str or None
        Variant of a time zone release, such as ``now, with oceans``.
    levels : tuple of int or None
        Levels to load, all of which the source must have; None loads the levels that it has.
    mirrors : tuple of tuple of str
        For each source, further addresses of the same file; they do not affect the result of a run.
    is_validated : bool
        Whether geometries are validated.
    crs, encoding : str or None
        Reference system of the coordinates and encoding of the attributes, where the files state none or a wrong one.
    is_added : bool
        Whether the sources replace only their own countries in the present publication.
    first_file_no : int
        Number of the first source in the run: files of the publication that it is added to have the numbers before.
    only_public : bool
        Whether the sources may be fetched from public addresses only; it does not affect the result of a run.
    listed : tuple of tuple of (str, str)
        For each source, raw columns that the files do not have, and their values in the publisher's list of files.
    only_countries : tuple of str
        Of files that hold the world: the countries whose rows are loaded, as the file names them; all if empty.
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
    crs: str | None = None
    encoding: str | None = None
    is_added: bool = False
    first_file_no: int = 0
    only_public: bool = False
    listed: tuple[tuple[tuple[str, str], ...], ...] = ()
    only_countries: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Parse the JSON of `to_json`."""
        values = json.loads(text)
        levels = values.pop("levels")
        values |= {"sources": tuple(values["sources"]), "mirrors": tuple(map(tuple, values.get("mirrors", ())))}
        values["listed"] = tuple(_pairs(each) for each in values.get("listed", ()))
        values["only_countries"] = tuple(values.get("only_countries", ()))
        return cls(**values, levels=None if levels is None else tuple(levels))

    def to_json(self) -> str:
        """Return the request as JSON for the ledger: without the queries of its addresses, which are secret."""
        # named only if they say something: older requests stay equal
        later = ("mirrors", "is_added", "first_file_no", "only_public", "listed", "only_countries")
        values = {name: value for name, value in asdict(self).items() if value or name not in later}
        return json.dumps({**values, "sources": [Source.parse(source).noted for source in self.sources]})

    @property
    def public_sources(self) -> list[str]:
        """The sources in a form that may be shown."""
        return [Source.parse(location).public for location in self.sources]

    def identity(self, of_sources: Sequence[str | None]) -> str | None:
        """Return a text that is equal for runs with the same result.

        Parameters
        ----------
        of_sources : sequence of str or None
            For each source, a text that identifies its version; None if there is no way to know.

        Returns
        -------
        str or None
            None if the version of any source is unknown.
        """
        if any(source is None for source in of_sources):
            return None
        alike = replace(self, mirrors=(), first_file_no=0, only_public=False)
        return json.dumps([RAW_SHAPE, alike.to_json(), list(of_sources)])


@dataclass(frozen=True)
class Reading:
    """How an engine reads a slice.

    Attributes
    ----------
    columns : tuple of (str, str or None)
        Name of each raw column, and its name in the layer; None if the layer has no such column.
    crs : str or None
        Reference system as WKT; None for EPSG:4326.
    where : str or None
        Filter that selects the features of the slice; None selects the whole layer.
    batch_bytes : int
        Maximum size of the geometries of a batch, in bytes.
    encoding : str or None
        Encoding of the attributes, by Python's name; None in a format that is always UTF-8.
    beside : tuple of str
        Columns whose names differ from those of others only in case.
    version : str or None
        What `ingest.sources.parts.version` said of a file when it was planned; None if it is a copy that stays.
    countries : tuple of str
        The countries that the rows may be of, in a run that is added to a publication; otherwise empty.
    listed : tuple of (str, str)
        Raw columns that the file does not have, and the value that each has in all rows.
    """

    columns: tuple[tuple[str, str | None], ...]
    crs: str | None
    where: str | None
    batch_bytes: int
    encoding: str | None = None
    beside: tuple[str, ...] = ()
    version: str | None = None
    countries: tuple[str, ...] = ()
    listed: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_json(cls, text: str) -> Reading:
        """Parse the JSON of `to_json`."""
        values = json.loads(text)
        columns = tuple((raw, name) for raw, name in values["columns"])
        texts = {name: tuple(values.get(name, ())) for name in ("beside", "countries")}
        return cls(**{**values, **texts, "columns": columns, "listed": _pairs(values.get("listed", ()))})

    def to_json(self) -> str:
        """Return the reading as JSON."""
        return json.dumps(asdict(self))


def _pairs(values: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in values)


@dataclass(frozen=True)
class Carrying:
    """How a slice is carried over from a publication: which of its rows are copied.

    Attributes
    ----------
    run_id, slice_no : str, int
        The publication, and the slice of it.
    file_no, source_file, source_layer : int, str, str
        Where the rows came from, which they keep.
    fids : tuple of (int, int) or None
        First and last feature id; None if no other slice is of the same layer.
    row_count : int
        Rows of the slice in the publication.
    column : str
        The raw column of the country.
    replaced : tuple of str
        The countries whose rows are left out.
    stored_bytes, stored_sha256 : int, str or None
        See `Slice`, of the slice in the publication.
    """

    run_id: str
    slice_no: int
    file_no: int
    source_file: str
    source_layer: str
    fids: tuple[int, int] | None
    row_count: int
    column: str
    replaced: tuple[str, ...]
    stored_bytes: int | None = None
    stored_sha256: str | None = None

    @classmethod
    def from_json(cls, text: str) -> Carrying:
        """Parse the JSON of `to_json`."""
        values = json.loads(text)
        fids = values["fids"] and (values["fids"][0], values["fids"][1])
        return cls(**{**values, "fids": fids, "replaced": tuple(values["replaced"])})

    def to_json(self) -> str:
        """Return the carrying as JSON."""
        return json.dumps(asdict(self))


class _FromRow:
    """A record with the fields of a ledger row."""

    @classmethod
    def from_row(cls, row: RowMapping, **fields: Any) -> Self:
        """Return the record of a row; ``fields`` are the values that do not come from the row."""
        names = {field.name for field in dataclasses.fields(cls)} - fields.keys()  # type: ignore[arg-type]
        return cls(**{name: row[name] for name in names}, **fields)


@dataclass(frozen=True, kw_only=True)
class Run(_FromRow):
    """A run: one request, from its first file to its publication.

    Attributes
    ----------
    source : str
        Its sources in a form that may be shown, separated by spaces.
    checksum : str or None
        SHA-256 of its files, separated by spaces; None until it is published.
    identity : str or None
        See `Request.identity`.
    stage_attempts : int
        Attempts at its current stage; a stage that kills as many workers as a slice may fails the run.
    is_kept : bool
        Whether somebody has asked to keep its tables; retention then leaves them.
    base_run_id : str or None
        The publication that it is added to; it replaces no other.
    countries, rows_replaced : str, int or None
        Its own countries, separated by commas, and the rows of them that the publication had; None until it is planned.
    worker, lease_until : str, datetime
        The process that holds its current stage, and when the lease expires unless it is renewed.
    published_at, shown_at : datetime or None
        When it was published, and when readers began to see it for the last time: later after a rollback to it.
    ingest_version : str or None
        Version of this package that created the run; None if that was before versions were recorded.
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
    request_json: str = field(repr=False)
    state: RunState
    rows_read: int | None
    rows_loaded: int | None
    bytes_read: int | None
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    published_at: datetime | None
    shown_at: datetime | None
    stage_attempts: int
    is_kept: bool
    base_run_id: str | None
    countries: str | None
    rows_replaced: int | None
    worker: str | None
    lease_until: datetime | None
    error: str | None
    ingest_version: str | None

    @cached_property
    def request(self) -> Request:
        """What the run was asked to load."""
        return Request.from_json(self.request_json)

    @property
    def extent(self) -> str:
        """What of the dataset it loads, in words: the world, countries, or a file; and which levels."""
        countries = self.countries or ", ".join(self.request.only_countries)
        named = f"{'added ' if self.base_run_id else ''}{countries}" if countries else self.scope
        levels = self.request.levels
        return named + (f", levels {', '.join(map(str, levels))}" if levels is not None else "")

    @property
    def files_in_short(self) -> str:
        """The name of its file, without the address or folder, and how many more there are."""
        first, *more = self.request.public_sources
        name = first.rstrip("/").rpartition("/")[2]
        return f"{name} and {len(more)} more" if more else name

    @property
    def is_of_older_shape(self) -> bool:
        """Whether its raw tables are known to have other columns than those of this version."""
        return bool(self.identity) and json.loads(self.identity or "")[0] != RAW_SHAPE

    @property
    def source_versions(self) -> list[str]:
        """The text that identifies the version of each source, in order; empty if ``identity`` is None."""
        return list(json.loads(self.identity)[2]) if self.identity else []


@dataclass(frozen=True, kw_only=True)
class File(_FromRow):
    """A file of a run; ``carried_from`` is the run that read it, if its rows were carried over."""

    run_id: str
    file_no: int
    source: str
    checksum: str | None
    bytes: int | None
    was_cached: bool | None
    carried_from: str | None
    state: FileState
    worker: str | None
    lease_until: datetime | None
    attempts: int
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class ClaimedFile(File):
    """A file that this process has claimed, with its request."""

    request: Request


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The part of a layer that a slice covers.

    Attributes
    ----------
    table_name, level : str, int or None
        The raw table that it is loaded into.
    file_no, source_file, source_layer : int, str, str
        Number of the file in the run, its name in the loaded rows, and the layer in it.
    fid_from, fid_to : int
        First and last feature id, both inclusive.
    rows_planned, bytes : int
        Its number of rows and size, according to the file.
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
    """A slice as planned, before it is recorded."""

    reading: Reading | Carrying

    @property
    def carried_from(self) -> str | None:
        """See `Slice`."""
        return self.reading.run_id if isinstance(self.reading, Carrying) else None


@dataclass(frozen=True, kw_only=True)
class Slice(_Part, _FromRow):
    """A slice of a run.

    Attributes
    ----------
    stored_bytes, stored_sha256 : int, str or None
        Size and checksum of the file in the lake that holds its rows; None on PostgreSQL, and for a slice of an older
        version.
    carried_from : str or None
        The publication that its rows are carried over from; None if they are read from the file.
    """

    run_id: str
    slice_no: int
    rows_read: int | None
    rows_loaded: int | None
    stored_bytes: int | None
    stored_sha256: str | None
    carried_from: str | None
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
    """A slice that this process has claimed, with all that is needed to load it.

    ``attempts`` is the fencing token: only the latest claimant can record the slice as loaded.
    """

    reading: Reading | Carrying
    file: File
    request: Request


@dataclass(frozen=True, kw_only=True)
class Consumer(_FromRow):
    """A process that runs workers; ``is_private`` if a command has started it for its own runs."""

    consumer: str
    queue_id: str
    workers: int
    is_private: bool
    started_at: datetime
    heartbeat_at: datetime


@dataclass(frozen=True, kw_only=True)
class Fault(_FromRow):
    """A failed attempt of a task, even if a retry succeeded."""

    error_no: int
    run_id: str
    stage: str
    part_no: int | None
    worker: str
    noted_at: datetime
    error_type: str
    error: str
    traceback: str


@dataclass(frozen=True, kw_only=True)
class Build(_FromRow):
    """A build of the marts, by a worker or after a load.

    Attributes
    ----------
    dataset : str
        The hierarchical dataset whose marts are built.
    runs : str
        What was published when it began: ``dataset=run``, sorted and separated by spaces.
    worker, lease_until : str, datetime or None
        The process that builds, and when its lease expires unless it is renewed.
    error : str or None
        The end of what dbt said; None unless it failed.
    """

    build_no: int
    dataset: str
    runs: str
    state: BuildState
    worker: str
    lease_until: datetime | None
    started_at: datetime
    finished_at: datetime | None
    error: str | None

    @property
    def seconds(self) -> float | None:
        """How long it took; None until it has ended."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


@dataclass(frozen=True)
class Tally:
    """What is in the ledger, counted.

    Attributes
    ----------
    published : list of Run
        The runs that readers see.
    runs : dict of (str, str) to int
        Runs by dataset and state.
    slices : dict of str to int
        Slices of the runs in progress, by state.
    oldest_active : datetime or None
        When the oldest run in progress was requested; None if there is none.
    faults : int
        Failed attempts of tasks.
    builds : dict of (str, str) to int
        Builds by dataset and state.
    latest_builds : list of Build
        Of each dataset, the latest build that ended.
    """

    published: list[Run]
    runs: dict[tuple[str, str], int]
    slices: dict[str, int]
    oldest_active: datetime | None
    faults: int
    builds: dict[tuple[str, str], int]
    latest_builds: list[Build]
