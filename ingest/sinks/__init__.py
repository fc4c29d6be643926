"""Sinks write a slice's Arrow batches into the staging tables of a run, and publish complete runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import sqlalchemy as sa

from ingest.catalog import Dataset, Table
from ingest.ledger import Carrying, Run, Slice
from ingest.settings import Settings
from ingest.sinks.difference import Difference

OnLoaded = Callable[[int], sa.Update]

KEPT_FOR_NOW = "Run %s of %s is kept for now because %s; the next load tries again to remove it."


@dataclass(frozen=True)
class Staging:
    """Identifies the staging tables of one run."""

    run_id: str
    dataset: str
    release: str

    @classmethod
    def of(cls, run: Run) -> Staging:
        """Return the staging tables of a run in the ledger."""
        return cls(run.run_id, run.dataset, run.release)


class Sink(Protocol):
    """A store that rows are loaded into."""

    def ensure_published(self, dataset: str, tables: Sequence[Table]) -> None:
        """Create an empty table for every stable name that has none yet, so that dbt can read all of them."""
        ...

    def prepare(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Create the staging tables of a run; existing ones are kept."""
        ...

    def write(
        self, staging: Staging, slice_no: int, table: Table, batches: pa.RecordBatchReader, on_loaded: OnLoaded
    ) -> int:
        """Load a slice atomically, and record it in the ledger in the same transaction.

        Parameters
        ----------
        staging, slice_no, table
            The slice, and the table that it is loaded into.
        batches : pyarrow.RecordBatchReader
            From an engine; read once, batch by batch.
        on_loaded : callable
            Takes the number of rows loaded and returns the ledger's statement; raises to reject the slice.

        Returns
        -------
        int
            Rows loaded.

        Raises
        ------
        SliceTaken
            When another worker has taken the slice over, according to the ledger. Nothing was loaded.
        """
        ...

    def count_kept(self, base: Staging, parts: Sequence[tuple[Table, Carrying]]) -> list[tuple[int, int]]:
        """Count rows of a publication's slices: those that would be carried over, and those that would be replaced."""
        ...

    def carry(
        self, staging: Staging, slice_no: int, table: Table, base: Staging, carrying: Carrying, on_loaded: OnLoaded
    ) -> int:
        """Copy what is kept of a publication's slice, atomically, and record it in the ledger, as `write` does.

        Raises
        ------
        SliceTaken
            When another worker has taken the slice over, according to the ledger. Nothing was copied.
        BaseUnusable
            When the slice of the publication is gone or damaged.
        """
        ...

    def count(self, staging: Staging, table: Table, connection: sa.Connection | None = None) -> int:
        """Return the number of rows in a run's staging table, or 0 if it does not exist.

        They are counted within the ledger's transaction if one is given.
        """
        ...

    def damage(self, staging: Staging, tables: Sequence[Table], slices: Sequence[Slice]) -> dict[str, str]:
        """Return what is wrong with the files of a run, by the name of the table; nothing where a server keeps them.

        Parameters
        ----------
        staging, tables
            The run.
        slices : sequence of Slice
            Its slices as the ledger has them.
        """
        ...

    def shown_runs(self, dataset: str, tables: Sequence[Table]) -> set[str]:
        """Return the runs that the stable names show: one, unless some names are missing or differ."""
        ...

    def fault_of_ledger(self) -> str:
        """Return what is wrong with the copy of the ledger that dbt reads; empty where dbt reads the ledger itself."""
        ...

    def clear(self, staging: Staging, table: Table) -> None:
        """Empty a run's staging table, so that its slices can be loaded again."""
        ...

    def finish(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Prepare a loaded run for reading, before it is published."""
        ...

    def publish(self, connection: sa.Connection, staging: Staging, tables: Sequence[Table]) -> None:
        """Point the stable names at a run, within the ledger's transaction."""
        ...

    def drop(self, staging: Staging, tables: Sequence[Table]) -> None:
        """Drop the staging tables of a run, all of them or, while something still reads one, none.

        A run that is kept is only logged: nothing waits for its readers, and the next retention tries again.
        """
        ...

    def size(self, staging: Staging, tables: Sequence[Table]) -> int:
        """Return the bytes that the staging tables of a run take."""
        ...

    def compare(self, before: Staging, after: Staging, dataset: Dataset) -> Difference:
        """Return by what two stored runs of a dataset differ.

        Raises
        ------
        IngestError
            When their tables are gone or cannot be read.
        """
        ...

    def stored_runs(self, dataset: str, tables: Sequence[Table]) -> set[str]:
        """Return the ids of the runs of a dataset whose staging tables, or some of them, are stored."""
        ...


def get(settings: Settings) -> Sink:
    """Return the sink of the target."""
    if settings.postgres:
        from ingest.sinks.postgres import PostgresSink

        return PostgresSink(settings.postgres)
    from ingest.sinks.geoparquet import GeoParquetSink

    return GeoParquetSink(settings)
