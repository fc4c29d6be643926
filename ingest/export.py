"""Write marts into files that other programs open: GeoParquet, GeoPackage, FlatGeobuf.

Rows stream from the warehouse into the file, some megabytes at a time. A file appears under its name when it is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingest import marts
from ingest.errors import IngestError, UsageError, did_you_mean
from ingest.marts import GEOMETRY, Mart, Marts
from ingest.settings import Settings

FORMATS = {".parquet": "GeoParquet", ".gpkg": "GeoPackage", ".fgb": "FlatGeobuf"}
LEVELS = tuple(f"admin_level_{level}" for level in range(6))
CRS = "EPSG:4326"
BOX = ("min(min_lon)", "min(min_lat)", "max(max_lon)", "max(max_lat)")


class ExportFailed(IngestError):
    """A file could not be written."""


@dataclass(frozen=True)
class Selection:
    """What is written of a mart.

    Attributes
    ----------
    mart : Mart
        Which one.
    where : str
        Condition, in SQL.
    parameters : tuple
        Its values.
    geometry_type : str or None
        As GDAL names it; None where the mart has no shapes.
    """

    mart: Mart
    where: str
    parameters: tuple[Any, ...]
    geometry_type: str | None


def export(
    settings: Settings,
    names: Sequence[str],
    countries: Sequence[str],
    output: Path,
    *,
    overwrite: bool,
    report: Callable[[str], None],
) -> None:
    """Write marts, or what they hold of some countries, into a file.

    Parameters
    ----------
    settings : Settings
        Of the target.
    names : sequence of str
        Marts; all levels when empty.
    countries : sequence of str
        Keys of level 0; everything when empty.
    output : Path
        Its suffix says the format: ``.parquet``, ``.gpkg`` (the only one that holds several marts) or ``.fgb``.
    overwrite : bool
        Replace a file that is there.
    report : callable
        Is given a line for each mart that was written.

    Raises
    ------
    UsageError
        When the request makes no sense: an unknown mart, country or format, or a file that is there.
    ExportFailed
        When the file cannot be written.
    """
    suffix = output.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"{output.name} names no format by its suffix.", f"Known: {', '.join(FORMATS)}.")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} is there already.", "--overwrite replaces it.")
    if not output.parent.is_dir():
        raise UsageError(f"There is no folder {output.parent}.", "Make it first.")
    with marts.opened(settings) as open_marts:
        known = marts.find(open_marts)
        chosen = [marts.get(known, name) for name in (names or LEVELS)]
        if len(chosen) > 1 and suffix != ".gpkg":
            raise UsageError(f"{FORMATS[suffix]} holds one mart, not {len(chosen)}.", "Name one, or write a .gpkg.")
        _check_countries(open_marts, countries)
        selections = [_select(open_marts, mart, countries, suffix) for mart in chosen]
        with _draft_of(output) as draft:
            for number, selection in enumerate(selections):
                write = _write_parquet if suffix == ".parquet" else partial(_write_ogr, suffix, number > 0)
                rows = write(open_marts, selection, draft)
                report(f"{selection.mart.name}: {rows:,} rows")
    report(f"{output}: {FORMATS[suffix]}, {output.stat().st_size / 1e6:,.1f} MB")


def _check_countries(open_marts: Marts, countries: Sequence[str]) -> None:
    if not countries:
        return
    known = {gid for (gid,) in open_marts.rows("select gid from marts.admin_level_0")}
    for country in countries:
        if country not in known:
            raise UsageError(f"{country} is not in the warehouse.", did_you_mean(country, known))


def _select(open_marts: Marts, mart: Mart, countries: Sequence[str], suffix: str) -> Selection:
    if not mart.has_geometry and suffix == ".fgb":
        raise UsageError(f"{mart.name} has no shapes, and FlatGeobuf holds nothing else.", "Write a .parquet or .gpkg.")
    where, parameters = "true", tuple(countries)
    if countries:
        if mart.country is None:
            raise UsageError(f"{mart.name} does not say which country a row belongs to.", "Leave --country out.")
        where = f"{marts.quoted(mart.country)} in ({', '.join('?' * len(countries))})"
    return Selection(mart, where, parameters, _geometry_type(open_marts, mart) if mart.has_geometry else None)


def _geometry_type(open_marts: Marts, mart: Mart) -> str:
    """Return what all shapes of a mart are, as GDAL names it; ``Unknown`` where they differ."""
    query = f"select distinct upper(replace(cast(ST_GeometryType({GEOMETRY}) as varchar), 'ST_', '')) from {marts.relation(mart)} where {GEOMETRY} is not null"  # noqa: S608, E501
    found = {kind for (kind,) in open_marts.rows(query)}
    if found <= {"MULTIPOLYGON"}:
        return "MultiPolygon"
    return "Polygon" if found == {"POLYGON"} else "Unknown"


def _columns(open_marts: Marts, mart: Mart) -> list[str]:
    """Return the SQL of a mart's columns, the shape as WKB and last."""
    plain = [marts.quoted(name) for name in mart.columns if name != GEOMETRY]
    return plain + ([f"{open_marts.as_wkb}({GEOMETRY}) as {GEOMETRY}"] if mart.has_geometry else [])


def _reader(open_marts: Marts, selection: Selection, faults: list[Exception]) -> pa.RecordBatchReader:
    """Return the rows as a stream whose faults are noted: GDAL would tell of them in its own words."""
    columns = _columns(open_marts, selection.mart)
    batches = open_marts.batches(selection.mart, columns, selection.where, selection.parameters)
    first = next(batches, None)
    if first is None:  # the columns of nothing are still columns
        first = next(iter(_empty(open_marts, selection.mart, columns)))
    schema = pa.schema([pa.field(field.name, _type(field.type)) for field in first.schema])

    def passed_on() -> Iterator[pa.RecordBatch]:
        try:
            yield pa.RecordBatch.from_arrays([column.cast(kind) for column, kind in zip(first, schema.types, strict=True)], schema=schema)
            for batch in batches:
                yield pa.RecordBatch.from_arrays([column.cast(kind) for column, kind in zip(batch, schema.types, strict=True)], schema=schema)
        except Exception as error:
            faults.append(error)
            raise

    return pa.RecordBatchReader.from_batches(schema, passed_on())
