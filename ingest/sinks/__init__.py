"""Sinks write a slice's Arrow batches into the staging tables of a run, and publish complete runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import sqlalchemy as sa

from ingest.catalog import Table
from ingest.ledger import Run
from ingest.settings import Settings

OnLoaded = Callable[[int], sa.Update]


@dataclass(frozen=True)
class Staging:
    """The staging tables of one run: whose they are, and what they hold."""

    run_id: str
    dataset: str
    release: str

    @classmethod
    def of(cls, run: Run) -> Staging:
        """Return those of a run of the ledger."""
        return cls(run.run_id, run.dataset, run.release)


class Sink(Protocol):
    """Where rows go."""

    def ensure_published(self, dataset: str, tables: Sequence[Table]) -> None:
        """Put an empty table under every stable name that has none yet, so that dbt can read them all."""
        ...

    def prepare(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Create the staging tables of a run; those that are there already stay."""
        ...

    def write(
        self, staging: Staging, slice_no: int, table: Table, batches: pa.RecordBatchReader, on_loaded: OnLoaded
    ) -> int:
        """Load a slice, all of it or nothing, and note it in the ledger in the same transaction.

        Parameters
        ----------
        staging, slice_no, table
            Which slice, and where it goes.
        batches : pyarrow.RecordBatchReader
            What an engine gave; read once, a batch at a time.
        on_loaded : callable
            Given the number of rows loaded, returns the ledger's statement; raises to refuse.

        Returns
        -------
        int
            Rows loaded.

        Raises
        ------
        SliceTaken
            When the ledger says that another worker holds the slice: nothing was loaded.
        """
        ...

    def count(self, staging: Staging, table: Table, connection: sa.Connection | None = None) -> int:
        """Return the rows that a run's staging table holds, within the ledger's transaction if one is given.

        0 when the table is gone.
        """
        ...

    def clear(self, staging: Staging, table: Table) -> None:
        """Empty a run's staging table, that its slices may be loaded again."""
        ...

    def finish(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Prepare a loaded run for its readers, before it is published."""
        ...

    def publish(self, connection: sa.Connection, staging: Staging, tables: Sequence[Table]) -> None:
        """Point the stable names at a run, within the ledger's transaction."""
        ...

    def drop(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Remove the staging tables of a run that nobody reads."""
        ...


def get(settings: Settings) -> Sink:
    """Return the sink of the target."""
    if settings.postgres:
        from ingest.sinks.postgres import PostgresSink

        return PostgresSink(settings.postgres)
    from ingest.sinks.geoparquet import GeoParquetSink

    return GeoParquetSink(settings)
