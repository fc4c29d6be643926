"""Export marts to files that other programs open: GeoParquet, GeoPackage, FlatGeobuf.

Rows stream from the warehouse into the file, batch by batch. A file appears under its name only when it is complete.
It says itself under which licence it is, and whom to name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
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

from admin_boundaries import edition, licences
from admin_boundaries.files import check_place, replacing
from admin_boundaries.licences import Rights
from admin_boundaries.marts import GEOMETRY, Mart, quoted, relation
from admin_boundaries.warehouse import Warehouse, known_marts, named, of_one_build, open_warehouse
from ingest.errors import CountMismatch, ExportFailed, UsageError, did_you_mean
from ingest.settings import Settings

FORMATS = {".parquet": "GeoParquet", ".gpkg": "GeoPackage", ".fgb": "FlatGeobuf"}
LEVELS = tuple(f"admin_level_{level}" for level in range(6))
CRS = "EPSG:4326"
BOX = ("min(min_lon)", "min(min_lat)", "max(max_lon)", "max(max_lat)")


@dataclass(frozen=True)
class Selection:
    """The rows of a mart to export.

    Attributes
    ----------
    mart : Mart
        The mart.
    where : str
        SQL condition; ``?`` stands for a parameter.
    parameters : tuple
        Values of the parameters.
    geometry_type : str or None
        GDAL's name of it; None if the mart has no geometry.
    rights : sequence of Rights
        What may be done with the rows.
    """

    mart: Mart
    where: str
    parameters: tuple[Any, ...]
    geometry_type: str | None
    rights: Sequence[Rights]


def export(
    settings: Settings,
    names: Sequence[str],
    countries: Sequence[str],
    output: Path,
    *,
    overwrite: bool,
    of_datasets: licences.OfDatasets,
    report: Callable[[str], None],
    warn: Callable[[str], None],
    warn_of_licences: Callable[[str], None],
) -> None:
    """Write marts, or their rows of some countries, to a file, with licence, attribution and source.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset.
    names : sequence of str
        Marts; all levels if empty.
    countries : sequence of str
        Keys of level 0; everything if empty.
    output : Path
        The suffix determines the format: ``.parquet``, ``.gpkg`` (the only one for several marts) or ``.fgb``.
    overwrite : bool
        Replace an existing file.
    of_datasets : mapping of str to (str, str, str)
        Licence, attribution and source name of each dataset, for rows that do not have them.
    report : callable
        Called with a line of text for each mart and for the file.
    warn : callable
        Called with a sentence for each dataset whose marts are stale.
    warn_of_licences : callable
        Called with a sentence if the file holds data that may not be published, and if it mixes licences.

    Raises
    ------
    UsageError
        When a mart, country or format is unknown or does not fit, or the file exists.
    ExportFailed
        When the file cannot be written.
    MartsReplaced
        When a build replaced the marts meanwhile. Nothing is written then.
    """
    suffix = output.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"The suffix of {output.name} is not a known format.", f"Known: {', '.join(FORMATS)}.")
    check_place(output, overwrite=overwrite)
    with open_warehouse(settings) as warehouse:
        known = known_marts(warehouse)
        chosen = [named(known, name) for name in (names or LEVELS)]
        if len(chosen) > 1 and suffix != ".gpkg":
            raise UsageError(
                f"A {FORMATS[suffix]} file holds one mart, not {len(chosen)}.", "Name one, or write a .gpkg."
            )
        check_countries(warehouse, countries)
        for fault in edition.faults(warehouse.editions()):
            warn(fault)
        with replacing(output) as draft, of_one_build(warehouse):
            selections = [_select(warehouse, known, mart, of_datasets, countries, suffix) for mart in chosen]
            for number, selection in enumerate(selections):
                write = _write_parquet if suffix == ".parquet" else partial(_write_ogr, suffix, number > 0)
                rows = write(warehouse, selection, draft)
                _check_count(warehouse, selection, rows)
                report(f"{selection.mart.name}: {rows:,} rows")
            rights = licences.of_marts(warehouse, known, chosen, of_datasets, countries)
    kind = FORMATS[suffix] if selections[0].geometry_type or suffix != ".parquet" else "Parquet"
    report(f"{output}: {kind}, {output.stat().st_size / 1e6:,.1f} MB")
    for warning in licences.warnings(rights, output.name):
        warn_of_licences(warning)


def check_countries(warehouse: Warehouse, countries: Sequence[str]) -> None:
    """Refuse countries that are not in the marts.

    Raises
    ------
    UsageError
        When there is one.
    """
    if not countries:
        return
    query = f"select gid from {warehouse.marts}.admin_level_0"  # noqa: S608  it contains no value
    known = {gid for (gid,) in warehouse.rows(query)}
    for country in countries:
        if country not in known:
            raise UsageError(f"{country} is not in the marts of {warehouse.dataset}.", did_you_mean(country, known))


def _check_count(warehouse: Warehouse, selection: Selection, rows: int) -> None:
    query = f"select count(*) from {relation(selection.mart)} where {selection.where}"  # noqa: S608
    ((held,),) = warehouse.rows(query, selection.parameters)
    if rows != held:
        raise CountMismatch(
            f"{selection.mart.name} has {held:,} rows, but {rows:,} were written.",
            "Try again; dbt may have rebuilt it meanwhile.",
        )


def _select(
    warehouse: Warehouse,
    known: Mapping[str, Mart],
    mart: Mart,
    of_datasets: licences.OfDatasets,
    countries: Sequence[str],
    suffix: str,
) -> Selection:
    if not mart.has_geometry and suffix == ".fgb":
        raise UsageError(f"{mart.name} has no geometry, which FlatGeobuf requires.", "Write a .parquet or .gpkg.")
    if countries and mart.country is None:
        raise UsageError(f"{mart.name} does not say which country a row belongs to.", "Omit --country.")
    return Selection(
        mart,
        licences.in_countries(mart, countries),
        tuple(countries),
        _geometry_type(warehouse, mart) if mart.has_geometry else None,
        licences.of_marts(warehouse, known, [mart], of_datasets, countries),
    )


def _geometry_type(warehouse: Warehouse, mart: Mart) -> str:
    """Return GDAL's name for the geometry type of a mart; ``Unknown`` if its rows differ.

    The rows are read batch by batch, as they are for the export itself.
    """
    batches = warehouse.reader(mart, [f"ST_GeometryType({GEOMETRY}) as kind"], f"{GEOMETRY} is not null")
    kinds = {str(kind) for batch in batches for kind in pc.unique(batch.column(0).cast(pa.string())).to_pylist()}
    found = {kind.upper().removeprefix("ST_") for kind in kinds}
    if found <= {"MULTIPOLYGON"}:
        return "MultiPolygon"
    return "Polygon" if found == {"POLYGON"} else "Unknown"


def _write_ogr(suffix: str, is_appended: bool, warehouse: Warehouse, selection: Selection, draft: Path) -> int:
    """Write a mart as a layer with GDAL; ``is_appended`` adds it to a file that has others."""
    rows, faults = _Counter(), list[Exception]()
    shapes: dict[str, Any] = {}
    if selection.geometry_type:
        shapes = {"geometry_name": GEOMETRY, "geometry_type": selection.geometry_type, "crs": CRS}
    texts = licences.texts(selection.rights)
    if suffix == ".gpkg":
        options = {"GEOMETRY_NAME": GEOMETRY} if shapes else {}
    else:  # its header has a text for people in place of metadata
        options = {"DESCRIPTION": "\n".join(f"{name}: {text}" for name, text in texts.items())}
    _register_drivers()  # an engine in this process may have removed the drivers for writing
    try:
        pyogrio.write_arrow(
            _counted(_reader(warehouse, selection), rows, faults),
            draft,
            layer=selection.mart.name,
            driver={".gpkg": "GPKG", ".fgb": "FlatGeobuf"}[suffix],
            append=is_appended,
            layer_options=options,
            layer_metadata=(texts or None) if suffix == ".gpkg" else None,
            **shapes,
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, RuntimeError) as error:
        raise _failed(selection, faults[0] if faults else error) from error
    return rows.value


def _write_parquet(warehouse: Warehouse, selection: Selection, draft: Path) -> int:
    """Write a mart as Parquet, with the metadata of GeoParquet 1.1 if it has a geometry."""
    rows, faults = _Counter(), list[Exception]()
    try:
        with (
            _counted(_reader(warehouse, selection), rows, faults) as reader,
            pq.ParquetWriter(draft, reader.schema, compression="zstd", compression_level=3) as writer,
        ):
            for batch in reader:
                writer.write_batch(batch)
            writer.add_key_value_metadata(licences.texts(selection.rights))
            if selection.geometry_type:
                writer.add_key_value_metadata({"geo": json.dumps(_geo(warehouse, selection))})
    except (OSError, pa.ArrowException) as error:
        raise _failed(selection, faults[0] if faults else error) from error
    return rows.value


def _failed(selection: Selection, reason: Exception) -> ExportFailed:
    text = str(reason).strip().splitlines()
    return ExportFailed(
        f"{selection.mart.name} was not written: {text[0] if text else type(reason).__name__}.",
        "Check that the disk is not full.",
    )


def _geo(warehouse: Warehouse, selection: Selection) -> dict[str, Any]:
    """Return the metadata of GeoParquet 1.1; coordinates are in the order longitude, latitude."""
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
    """Return the rows of a selection, the geometry as WKB in the last column."""
    columns = [quoted(name) for name in selection.mart.columns if name != GEOMETRY]
    if selection.geometry_type:
        columns.append(f"{warehouse.as_wkb}({GEOMETRY}) as {GEOMETRY}")
    return warehouse.reader(selection.mart, columns, selection.where, selection.parameters)


class _Counter:
    value = 0


def _counted(reader: pa.RecordBatchReader, rows: _Counter, faults: list[Exception]) -> pa.RecordBatchReader:
    """Pass batches on, count their rows, and keep an error, which GDAL would replace by one of its own."""

    def passed_on() -> Iterator[pa.RecordBatch]:
        try:
            for batch in reader:
                rows.value += len(batch)
                yield batch
        except Exception as error:
            faults.append(error)
            raise

    return pa.RecordBatchReader.from_batches(reader.schema, passed_on())
