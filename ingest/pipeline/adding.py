"""Runs that are added to a publication: they replace the countries of their sources, and carry over all other rows.

The publication, their base, is noted in the ledger when the run is requested. The countries are those in the rows of
the sources, which are read before the run is cut into slices. What is kept of each slice of the base then is a slice
of the new run: it is claimed, counted and recorded like those that are read from files, and the rows are copied within
the target. The new run needs nothing of its base once it is published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from ingest import catalog, engines
from ingest.catalog import Dataset
from ingest.errors import BaseUnusable, CountMismatch, LayerMissing, SchemaDrift
from ingest.layers.discover import Layer
from ingest.layers.plan import BATCH_BYTES
from ingest.ledger import Carrying, Ledger, PlannedSlice, Request, Run, RunState
from ingest.pipeline import publication
from ingest.sinks import Sink, Staging

LISTED = 5  # more countries than this are only counted in a message
AGAIN = "Load it again without --add."
ALL = 2**62  # more than any file has features


def base_of(ledger: Ledger, sink: Sink, request: Request) -> Run:
    """Return the publication that a request is added to.

    Raises
    ------
    BaseUnusable
        When there is none, it is of another release or of an older version, or it has lost rows.
    """
    base = ledger.published_run(request.dataset)
    if base is None:
        raise BaseUnusable(f"{request.dataset} has no publication to add to.", "Load it without --add.")
    if (base.release, base.variant) != (request.release, request.variant):
        raise BaseUnusable(
            f"Run {base.run_id} is of release {_release(base)}, and cannot be added to with {_release(request)}.",
            f"Name its release, if the file is of the same: --release {base.release}",
        )
    if base.is_of_older_shape:
        raise BaseUnusable(f"The tables of run {base.run_id} were made by an older version.", AGAIN)
    if lost := publication.lost_tables(ledger, sink, base):
        raise BaseUnusable(f"Run {base.run_id} has lost rows of {', '.join(lost)}.", AGAIN)
    return base


def prepared(ledger: Ledger, request: Request, base: Run) -> Request:
    """Return a request as it is added to a publication: with file numbers of its own, and the scope of both."""
    first = max(file.file_no for file in ledger.files(base.run_id)) + 1
    is_official = base.scope == request.scope == "countries"
    return replace(request, first_file_no=first, scope="countries" if is_official else "custom")


def countries_of(dataset: Dataset, layers: Iterable[tuple[Layer, str]]) -> tuple[str, ...]:
    """Return the countries of the rows of layers, each with the name of its file; geometries are not read.

    Raises
    ------
    SchemaDrift
        When a row has no country: nobody knows what it would replace.
    LayerMissing
        When there are no rows.
    """
    found: set[str] = set()
    for layer, source_file in layers:
        column = dict(layer.columns)[str(dataset.country)]
        if column is None:  # an empty GeoJSON
            continue
        with engines.open_features(_only(layer, source_file, column), has_geometry=False) as (_, batches):
            for batch in batches:
                values = engines.cleaned(batch.column(column), dataset.missing_text)
                if values.null_count:
                    row = pc.index(values.is_null(), True).as_py()
                    raise SchemaDrift(
                        f"{layer.name} in {source_file}, feature {batch.column(0)[row]}: {column} is empty, so that it "
                        "is unknown which country the row replaces.",
                        "Fill it in, or load the file without --add.",
                    )
                found.update(values.unique().to_pylist())
    if not found:
        names = ", ".join(dict.fromkeys(source_file for _, source_file in layers))
        raise LayerMissing(f"{names} has no rows: there is nothing to add.")
    return tuple(sorted(found))


def _only(layer: Layer, source_file: str, column: str) -> engines.SliceSource:
    return engines.SliceSource(
        path=layer.path,
        layer=layer.name,
        file_no=0,
        source_file=source_file,
        columns=((column, column),),
        missing_text=(),
        crs=None,
        where=layer.where(0, ALL) if layer.only else None,
        batch_bytes=BATCH_BYTES,
        encoding=layer.encoding,
        beside=tuple(name for name in layer.beside if name.lower() == column.lower()),
    )


def carried(ledger: Ledger, sink: Sink, run: Run, countries: Sequence[str]) -> tuple[list[PlannedSlice], int]:
    """Plan what is kept of the publication that a run is added to.

    Returns
    -------
    (list of PlannedSlice, int)
        A slice for each slice of the publication of which rows are kept, the largest first; and the number of the other
        rows, which are replaced.

    Raises
    ------
    BaseUnusable
        When readers no longer see the publication, or it has lost rows.
    """
    base, dataset = ledger.run(str(run.base_run_id)), catalog.get(run.dataset)
    if base.state != RunState.PUBLISHED:
        raise BaseUnusable(
            f"Run {run.run_id} is added to run {base.run_id}, which readers no longer see: it is {base.state}.",
            "Load it again: it is then added to what is published now.",
        )
    parts = ledger.slices(base.run_id)
    sharing = Counter((part.table_name, part.file_no, part.source_file, part.source_layer) for part in parts)
    sought = []
    for part in parts:
        is_alone = sharing[part.table_name, part.file_no, part.source_file, part.source_layer] == 1
        carrying = Carrying(
            run_id=base.run_id,
            slice_no=part.slice_no,
            file_no=part.file_no,
            source_file=part.source_file,
            source_layer=part.source_layer,
            fids=None if is_alone else (part.fid_from, part.fid_to),
            row_count=part.rows_loaded or 0,
            column=str(dataset.country),
            replaced=tuple(countries),
            stored_bytes=part.stored_bytes,
            stored_sha256=part.stored_sha256,
        )
        sought.append((dataset.table(part.level), carrying))
    planned, rows_replaced = [], 0
    for part, (_, carrying), (kept, left_out) in zip(
        parts, sought, sink.count_kept(Staging.of(base), sought), strict=True
    ):
        if kept + left_out != carrying.row_count:
            raise BaseUnusable(
                f"Run {base.run_id} has {kept + left_out:,} rows of {part.source_layer} in {part.source_file} in "
                f"{part.table_name}, and loaded {carrying.row_count:,}.",
                AGAIN,
            )
        rows_replaced += left_out
        if kept:
            planned.append(
                PlannedSlice(
                    table_name=part.table_name,
                    level=part.level,
                    file_no=part.file_no,
                    source_file=part.source_file,
                    source_layer=part.source_layer,
                    fid_from=part.fid_from,
                    fid_to=part.fid_to,
                    rows_planned=kept,
                    bytes=part.bytes * kept // carrying.row_count,
                    engine=part.engine,
                    reading=carrying,
                )
            )
    return sorted(planned, key=lambda part: -part.bytes), rows_replaced


def checked(
    batches: pa.RecordBatchReader, column: str | None, countries: Sequence[str], what: str
) -> pa.RecordBatchReader:
    """Pass on the rows of a source, and make sure that all are of the countries that they replace."""
    known = pa.array(countries, pa.string())

    def rows() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not pc.all(pc.is_in(batch.column(column), value_set=known)).as_py():
                raise CountMismatch(
                    f"{what}: a row is of another country than the run was planned with: {', '.join(countries)}.",
                    "The file changed while it was being read: load it again.",
                )
            yield batch

    return pa.RecordBatchReader.from_batches(batches.schema, rows())


def intent(base: Run, content: str) -> str:
    """Return what a run will add, before it begins."""
    return (
        f"{base.dataset}: this adds {content} to the {base.rows_loaded or 0:,} rows of run {base.run_id}: "
        "the countries in it are replaced, all others are kept. "
        f"`python -m ingest rollback {base.dataset}` returns to what is there now."
    )


def outcome(ledger: Ledger, run: Run) -> str | None:
    """Return what a run has added, replaced and carried over; None if it was added to nothing or not planned."""
    if run.base_run_id is None or run.countries is None:
        return None
    kept = loaded = 0
    for part in ledger.slices(run.run_id):
        if part.carried_from is None:
            loaded += part.rows_loaded or 0
        else:
            kept += part.rows_loaded or 0
    countries = run.countries.split(", ")
    names = ", ".join(countries) if len(countries) <= LISTED else f"{len(countries)} countries ({countries[0]} …)"
    return (
        f"{run.dataset}: {loaded:,} rows of {names} in place of {run.rows_replaced or 0:,}; "
        f"{kept:,} rows of other countries are kept from run {run.base_run_id}."
    )


def _release(what: Run | Request) -> str:
    return f"{what.release} ({what.variant})" if what.variant else what.release
