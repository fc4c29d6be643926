"""Which runs the marts are of, and which runs are published: a mart that is not of the published run is stale.

``dbt build`` records the first in ``marts_meta``, beside the marts; a load, a refresh and a rollback change the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = ("marts of", "run", "release", "scope", "built", "build", "state")
UNKNOWN = "The marts do not say which runs they are of: an older version built them."


@dataclass(frozen=True)
class Run:
    """A run of a dataset, as the marts and the ledger name it.

    Attributes
    ----------
    run_id, release, variant, scope : str
        As in ``raw.ingest_runs``; ``variant`` is None for a dataset without variants.
    published_at : datetime
        When the run was published.
    """

    run_id: str
    release: str
    variant: str | None
    scope: str
    published_at: datetime

    def __str__(self) -> str:
        return f"run {self.run_id} (release {self.release})"


@dataclass(frozen=True)
class Edition:
    """What the marts hold of a dataset, beside what is published of it.

    Attributes
    ----------
    dataset : str
        The dataset.
    build_id : str or None
        dbt's invocation id of the build; None if the dataset is newer than the build.
    built_at : datetime or None
        When the build began, and chose the runs that it read.
    run : Run or None
        The run that the marts are of; None if they hold nothing of the dataset.
    published : Run or None
        The run that is published now, which the next build reads; None if there is none, or no ledger to tell.
    """

    dataset: str
    build_id: str | None
    built_at: datetime | None
    run: Run | None
    published: Run | None

    def is_of(self, run_id: str) -> bool:
        """Whether the marts are of a run."""
        return self.run is not None and self.run.run_id == run_id

    @property
    def is_stale(self) -> bool:
        """Whether another run is published than the one that the marts are of."""
        return self.published is not None and not self.is_of(self.published.run_id)

    @property
    def staleness(self) -> str:
        """A sentence about the two runs; empty unless the edition is stale."""
        if not self.is_stale:
            return ""
        if self.run is None:
            return f"The marts hold nothing of {self.dataset}, but {self.published} is published."
        return f"The marts of {self.dataset} are of {self.run}, but {self.published} is published."

    @property
    def cells(self) -> tuple[str, ...]:
        """As a row of a table for people, under `COLUMNS`; times are in the zone of this machine."""
        run = (self.run.run_id, self.run.release, self.run.scope) if self.run else ("none", "", "")
        built_at = f"{self.built_at.astimezone():%Y-%m-%d %H:%M:%S}" if self.built_at else ""
        state = "current" if self.run else ""
        if self.published and self.is_stale:
            state = f"stale: run {self.published.run_id} is published"
        return self.dataset, *run, built_at, self.build_id or "", state


def faults(editions: Sequence[Edition]) -> list[str]:
    """Return a sentence for each dataset whose marts are stale; one for all of them if the marts do not say."""
    if not editions:
        return [UNKNOWN]
    return [edition.staleness for edition in editions if edition.is_stale]


def no_unit(editions: Sequence[Edition], dataset: str) -> str:
    """Return where a point may be that lies in no unit of the marts of a dataset."""
    if not editions:
        return "at sea, or in a country that is not in these marts"
    boundaries = next((edition for edition in editions if edition.dataset == dataset), None)
    if boundaries is None or boundaries.published is None or not boundaries.is_stale:
        return "at sea, or in a country that is not loaded"
    of = f"are of run {boundaries.run.run_id}" if boundaries.run else "hold none"
    return (
        f"at sea, or in a country that is not in these marts: they {of}, "
        f"and run {boundaries.published.run_id} is not built yet"
    )


def query(marts: str, published: str, as_time: str) -> str:
    """Return the SQL whose rows `from_rows` reads.

    Its last parameters are the two datasets that the marts are made from.

    Parameters
    ----------
    marts : str
        Schema of the marts.
    published : str
        Relation of the published runs, of whatever datasets.
    as_time : str
        SQL expression that turns the time ``{}`` into a value that the driver can fetch.
    """
    columns = [
        *("coalesce(built.dataset, published.dataset)", "built.build_id", as_time.format("built.built_at")),
        *(
            as_time.format(f"{side}.{name}") if name == "published_at" else f"{side}.{name}"
            for side in ("built", "published")
            for name in ("run_id", "release", "variant", "scope", "published_at")
        ),
    ]
    return (
        f"select {', '.join(columns)} from {marts}.marts_meta as built "  # noqa: S608  it contains no value
        f"full join {published} as published on built.dataset = published.dataset "
        "where coalesce(built.dataset, published.dataset) in (?, ?) order by 1"
    )


def from_rows(rows: Iterable[Sequence[Any]]) -> list[Edition]:
    """Return the editions that the rows of `query` describe."""
    return [
        Edition(dataset, build_id, _time(built_at), _run(more[:5]), _run(more[5:]))
        for dataset, build_id, built_at, *more in rows
    ]


def _run(values: Sequence[Any]) -> Run | None:
    run_id, release, variant, scope, published_at = values
    return None if run_id is None else Run(run_id, release, variant, scope, _time(published_at))


def _time(value: Any) -> Any:
    """Return a time in UTC: drivers return it with another zone, or as microseconds."""
    if value is None:
        return None
    return EPOCH + timedelta(microseconds=value) if isinstance(value, int) else value.astimezone(UTC)
