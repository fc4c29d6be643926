"""Write marts into files that other programs open: GeoParquet, GeoPackage, FlatGeobuf.

Rows stream from the warehouse into the file, batch by batch. A file appears under its name when it is whole.
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
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyogrio
import pyproj
from pyogrio._ogr import _register_drivers

from admin_boundaries.warehouse import GEOMETRY, Mart, Warehouse, marts, named, open_warehouse, quoted, relation
from ingest.errors import CountMismatch, IngestError, UsageError, did_you_mean
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
    with open_warehouse(settings) as warehouse:
        known = marts(warehouse)
        chosen = [named(known, name) for name in (names or LEVELS)]
        if len(chosen) > 1 and suffix != ".gpkg":
            raise UsageError(f"{FORMATS[suffix]} holds one mart, not {len(chosen)}.", "Name one, or write a .gpkg.")
        _check_countries(warehouse, countries)
        selections = [_select(warehouse, mart, countries, suffix) for mart in chosen]
        with _draft_of(output) as draft:
            for number, selection in enumerate(selections):
                write = _write_parquet if suffix == ".parquet" else partial(_write_ogr, suffix, number > 0)
                rows = write(warehouse, selection, draft)
                _check_count(warehouse, selection, rows)
                report(f"{selection.mart.name}: {rows:,} rows")
    kind = FORMATS[suffix] if selections[0].geometry_type or suffix != ".parquet" else "Parquet"
    report(f"{output}: {kind}, {output.stat().st_size / 1e6:,.1f} MB")


def _check_countries(warehouse: Warehouse, countries: Sequence[str]) -> None:
    if not countries:
        return
    known = {gid for (gid,) in warehouse.rows("select gid from marts.admin_level_0")}
    for country in countries:
        if country not in known:
            raise UsageError(f"{country} is not in the warehouse.", did_you_mean(country, known))


def _check_count(warehouse: Warehouse, selection: Selection, rows: int) -> None:
    query = f"select count(*) from {relation(selection.mart)} where {selection.where}"  # noqa: S608
    ((held,),) = warehouse.rows(query, selection.parameters)
    if rows != held:
        raise CountMismatch(
            f"{selection.mart.name} has {held:,} rows, {rows:,} were written.", "Was it built meanwhile? Try again."
        )


def _select(warehouse: Warehouse, mart: Mart, countries: Sequence[str], suffix: str) -> Selection:
    if not mart.has_geometry and suffix == ".fgb":
        raise UsageError(f"{mart.name} has no shapes, and FlatGeobuf holds nothing else.", "Write a .parquet or .gpkg.")
    where, parameters = "true", tuple(countries)
    if countries:
        if mart.country is None:
            raise UsageError(f"{mart.name} does not say which country a row belongs to.", "Leave --country out.")
        where = f"{quoted(mart.country)} in ({', '.join('?' * len(countries))})"
    return Selection(mart, where, parameters, _geometry_type(warehouse, mart) if mart.has_geometry else None)


def _geometry_type(warehouse: Warehouse, mart: Mart) -> str:
    """Return what all shapes of a mart are, as GDAL names it; ``Unknown`` where they differ.

    They are looked at batch by batch, as they are written afterwards.
    """
    kinds = warehouse.reader(mart, [f"ST_GeometryType({GEOMETRY}) as kind"], f"{GEOMETRY} is not null")
    unlike = {str(kind) for batch in kinds for kind in pc.unique(batch.column(0).cast(pa.string())).to_pylist()}
    found = {kind.upper().removeprefix("ST_") for kind in unlike}
    if found <= {"MULTIPOLYGON"}:
        return "MultiPolygon"
    return "Polygon" if found == {"POLYGON"} else "Unknown"


def _write_ogr(suffix: str, is_further: bool, warehouse: Warehouse, selection: Selection, draft: Path) -> int:
    """Write a mart as a layer by GDAL; ``is_further`` adds it to a file that has others."""
    rows, faults = _Counter(), list[Exception]()
    shapes: dict[str, Any] = {}
    if selection.geometry_type:
        shapes = {"geometry_name": GEOMETRY, "geometry_type": selection.geometry_type, "crs": CRS}
    _register_drivers()  # an engine in this process may have taken all but those that it reads out
    try:
        pyogrio.write_arrow(
            _watched(_reader(warehouse, selection), rows, faults),
            draft,
            layer=selection.mart.name,
            driver={".gpkg": "GPKG", ".fgb": "FlatGeobuf"}[suffix],
            append=is_further,
            layer_options={"GEOMETRY_NAME": GEOMETRY} if suffix == ".gpkg" and shapes else None,
            **shapes,
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, RuntimeError) as error:
        raise _failed(selection, faults[0] if faults else error) from error
    return rows.value


def _write_parquet(warehouse: Warehouse, selection: Selection, draft: Path) -> int:
    """Write a mart as Parquet, its shapes described as GeoParquet 1.1 asks for."""
    rows, faults = _Counter(), list[Exception]()
    try:
        with (
            _watched(_reader(warehouse, selection), rows, faults) as reader,
            pq.ParquetWriter(draft, reader.schema, compression="zstd", compression_level=3) as writer,
        ):
            for batch in reader:
                writer.write_batch(batch)
            if selection.geometry_type:
                writer.add_key_value_metadata({"geo": json.dumps(_geo(warehouse, selection))})
    except (OSError, pa.ArrowException) as error:
        raise _failed(selection, faults[0] if faults else error) from error
    return rows.value


def _failed(selection: Selection, reason: Exception) -> ExportFailed:
    text = str(reason).strip().splitlines()
    return ExportFailed(
        f"{selection.mart.name} was not written: {text[0] if text else type(reason).__name__}.", "Is the disk full?"
    )


def _geo(warehouse: Warehouse, selection: Selection) -> dict[str, Any]:
    """Return the metadata of GeoParquet 1.1; coordinates stand in it as longitude, latitude."""
    kinds = [] if selection.geometry_type == "Unknown" else [selection.geometry_type]
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": kinds,
        "crs": pyproj.CRS(CRS).to_json_dict(),
        "edges": "planar",
    }
    if {"min_lon", "min_lat", "max_lon", "max_lat"} <= set(selection.mart.columns):
        query = f"select {', '.join(BOX)} from {relation(selection.mart)} where {selection.where}"  # noqa: S608
        box = warehouse.rows(query, selection.parameters)[0]
        if None not in box:
            column["bbox"] = list(box)
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}


def _reader(warehouse: Warehouse, selection: Selection) -> pa.RecordBatchReader:
    """Return the rows of a selection, the shape as WKB and last."""
    columns = [quoted(name) for name in selection.mart.columns if name != GEOMETRY]
    if selection.geometry_type:
        columns.append(f"{warehouse.as_wkb}({GEOMETRY}) as {GEOMETRY}")
    return warehouse.reader(selection.mart, columns, selection.where, selection.parameters)


class _Counter:
    value = 0


def _watched(reader: pa.RecordBatchReader, rows: _Counter, faults: list[Exception]) -> pa.RecordBatchReader:
    """Pass batches on, count their rows, and note what goes wrong: GDAL would tell of it in its own words."""

    def passed_on() -> Iterator[pa.RecordBatch]:
        try:
            for batch in reader:
                rows.value += len(batch)
                yield batch
        except Exception as error:
            faults.append(error)
            raise

    return pa.RecordBatchReader.from_batches(reader.schema, passed_on())


@contextmanager
def _draft_of(output: Path) -> Iterator[Path]:
    """Yield a name beside a file; it takes the file's place at the end, or is gone when anything went wrong."""
    draft = output.with_name(f".{output.stem}.{os.getpid()}{output.suffix}")
    try:
        yield draft
        draft.replace(output)
    finally:
        for left in output.parent.glob(f"{draft.name}*"):  # a GeoPackage has journals
            left.unlink()
