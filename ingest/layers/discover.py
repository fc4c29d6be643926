"""Find the layers of a file, their levels and columns, and the size of every feature."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import fiona
import numpy as np
import numpy.typing as npt
from fiona.errors import FionaError

from ingest.catalog import Dataset, Release, Rows, Table
from ingest.errors import FormatUnknown, LayerMissing, SchemaDrift, UsageError, did_you_mean
from ingest.layers import (
    encodings,
    flatgeobuf,
    geodatabase,
    geojsonseq,
    geopackage,
    geoparquet,
    nested,
    reference,
    shapefile,
)
from ingest.layers.formats import check_format
from ingest.layers.gdal import only_our_drivers, open_options, restrict_pyogrio
from ingest.layers.lending import lend
from ingest.sources import parts
from ingest.sources.address import printable

log = logging.getLogger(__name__)

OTHER_SHAPEFILES = "shapefiles of other names"
POLYGONAL = {"Polygon", "MultiPolygon", "Unknown", "GeometryCollection"}


@dataclass(frozen=True)
class Layer:
    """A layer of a file, matched to the raw table that it is loaded into.

    Attributes
    ----------
    path : Path
        The file.
    name : str
        The layer's own name.
    driver : str
        GDAL driver.
    table : Table
        The raw table.
    columns : tuple of (str, str or None)
        Raw column and the layer's name for it, None if the layer lacks it.
    crs : str or None
        Coordinate reference system as WKT when it is not EPSG:4326, degrees, else None.
    fid_column : str
        Name of the feature id in a filter.
    row_count : int
        Features in the layer, as the file states: a hint, see `features`.
    encoding : str or None
        Encoding of the attributes, by Python's name; None in a format that is always UTF-8.
    beside : tuple of str
        Columns whose names differ from those of `columns` only in case.
    version : str
        What `ingest.sources.parts.version` said of the file before it was opened.
    only : tuple of (str, tuple of str)
        Columns, and the values that the rows of the layer have in them, if the file holds others too.
    starts : tuple of int
        Ids with which a range of features begins at best; empty if it may be any.
    """

    path: Path
    name: str
    driver: str
    table: Table
    columns: tuple[tuple[str, str | None], ...]
    crs: str | None
    fid_column: str
    row_count: int
    encoding: str | None = None
    beside: tuple[str, ...] = ()
    version: str = ""
    only: geoparquet.Values = ()
    starts: tuple[int, ...] = ()

    @property
    def is_divisible(self) -> bool:
        """Whether the format allows reading a range of features."""
        return self.driver in ("GPKG", "ESRI Shapefile", "Parquet")

    def where(self, fid_from: int, fid_to: int) -> str | None:
        """Return the filter that selects a range of features; None if the layer can only be read whole."""
        if not self.is_divisible:
            return None
        if self.driver == "Parquet":
            return geoparquet.where(fid_from, fid_to, self.only)
        fid = geopackage.quote(self.fid_column) if self.driver == "GPKG" else self.fid_column
        return f"{fid} between {fid_from} and {fid_to}"


def layers(
    root: Path, dataset: Dataset, release: Release, *, crs: str | None = None, encoding: str | None = None
) -> list[Layer]:
    """Find the layers of a dataset in a file or folder.

    Parameters
    ----------
    root : Path
        A file, or a folder that is searched recursively. What is not a layer there is passed over and logged.
    dataset, release
        The dataset and release to look for.
    crs, encoding : str, optional
        Reference system of the coordinates and encoding of the attributes, in place of those that the files state.

    Returns
    -------
    list of Layer
        Ordered by path, then as in the file; empty if no layer's name matches.

    Raises
    ------
    FormatUnknown
        When there is no file to read, or a file is damaged or not in the format that its name says.
    SchemaDrift
        When a layer lacks a required column or holds no polygons.
    SourceDamaged
        When a file changes while it is read.
    """
    files = [root] if root.is_file() else _files(root, release)
    with only_our_drivers():
        return [layer for path in files for layer in _layers(path, dataset, release, crs, encoding)]


def select(found: Sequence[Layer], dataset: Dataset, levels: Sequence[int] | None, found_in: str) -> list[Layer]:
    """Select the layers of the requested levels.

    Parameters
    ----------
    found : sequence of Layer
        The layers of all sources together.
    dataset : Dataset
        The dataset that they belong to.
    levels : sequence of int or None
        Levels that must be present; None selects all that are present, provided that no level between them is missing,
        as one may be where rows say their levels.
    found_in : str
        Names of the sources, for messages.

    Raises
    ------
    LayerMissing
        When there is no layer, a requested level is missing, or there is a gap between the levels.
    """
    if not found:
        raise LayerMissing(f"{found_in} has no layer of {dataset.name}.", "Check --release, or the file.")
    present = {layer.table.level for layer in found if layer.table.level is not None}
    without_gap = range(min(present), max(present) + 1) if present and dataset.rows is None else present
    wanted = set(without_gap if levels is None else levels)
    missing = sorted(wanted - present)
    if missing and dataset.is_hierarchy:
        there = ", ".join(map(str, sorted(present)))
        raise LayerMissing(
            f"{found_in} has no level {', '.join(map(str, missing))}; there are {there}.",
            "Choose the levels to load with --levels.",
        )
    return [layer for layer in found if layer.table.level is None or layer.table.level in wanted]


def features(layer: Layer) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the id and the size in bytes of every feature, as a rule without reading a geometry.

    Both come from the rows of a GeoPackage, and from the records of a shapefile, FlatGeobuf or GeoJSON sequence: what a
    file states as its number of rows may be older than its content. Every feature of a GeoJSON counts as an equal share
    of the file. The geometries of a geodatabase or GeoParquet are read.

    Returns
    -------
    tuple of numpy.ndarray
        Two arrays of int64 of one length, ordered by id: ids, and bytes.

    Raises
    ------
    FormatUnknown
        When the file is damaged.
    """
    if layer.driver in MEASURED:
        return MEASURED[layer.driver](layer)
    if layer.driver == "OpenFileGDB":
        with lend(layer.path) as lent:
            return geodatabase.features(lent, layer.name, layer.row_count)
    if layer.driver == "GeoJSONSeq":
        sizes = geojsonseq.sizes(layer.path)
        if len(sizes) != layer.row_count:
            raise FormatUnknown(
                f"{printable(layer.path.name)} has {len(sizes):,} records, of which {layer.row_count:,} can be read.",
                "Each must be a Feature, and lie on one line. Download it again if it is cut off.",
            )
        return np.arange(len(sizes), dtype=np.int64), sizes
    share = layer.path.stat().st_size // max(layer.row_count, 1)
    return np.arange(layer.row_count, dtype=np.int64), np.full(layer.row_count, share, np.int64)


MEASURED: dict[str, Callable[[Layer], tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]] = {
    "GPKG": lambda layer: geopackage.features(layer.path, layer.name),
    "ESRI Shapefile": lambda layer: shapefile.examine(layer.path).features(),
    "FlatGeobuf": lambda layer: flatgeobuf.features(layer.path),
    "Parquet": lambda layer: geoparquet.features(layer.path, layer.only, layer.version),
}


def most_bytes(layer: Layer, heaviest: int) -> int:
    """Return an upper bound of the WKB size of the heaviest feature, from its size according to `features`.

    A GeoPackage states the size, and of a geodatabase or GeoParquet it is measured. A record of a shapefile or
    FlatGeobuf at most doubles. In GeoJSON, a vertex takes at least six characters, and 16 bytes as WKB; of a file that
    is not a sequence, only its size is known.
    """
    factors = {"GPKG": 1, "OpenFileGDB": 1, "Parquet": 1, "ESRI Shapefile": 2, "FlatGeobuf": 2, "GeoJSONSeq": 3}
    return factors[layer.driver] * heaviest if layer.driver in factors else 3 * layer.path.stat().st_size


def _files(folder: Path, release: Release) -> list[Path]:
    """Return the files of a folder that may hold layers of a release."""
    found = parts.members(folder)
    named = [path for path in found.passed_over.get(parts.NOT_GEOJSON, ()) if release.level_of(path.stem) is not False]
    if named:
        check_format(named[0])
        raise FormatUnknown(f"{printable(named[0].name)} has the name of a layer, and is not GeoJSON.", "Get it again.")
    others = [path for path in found.files if parts.suffix_of(path) == ".shp" and release.level_of(path.stem) is False]
    if others:
        found.files = [path for path in found.files if path not in others]
        found.passed_over[OTHER_SHAPEFILES] = others
    lines = list(found.lines(folder))
    if not found.files:
        which = f" to load. Passed over: {'; '.join(lines)}" if lines else ""
        hint = "Give a zip archive as a source of its own." if parts.ARCHIVES in found.passed_over else ""
        raise FormatUnknown(
            f"{printable(str(folder))} contains no {parts.FORMATS}{which}.",
            "Is the file of this dataset, and of this release?" if others else hint,
        )
    for line in lines:
        log.info("%s: passed over %s.", printable(folder.name), line)
    if len({printable(str(path)) for path in found.files}) < len(found.files):
        raise FormatUnknown(f"Two files in {printable(str(folder))} have the same name as text.", "Rename one.")
    return found.files


def _layers(path: Path, dataset: Dataset, release: Release, crs: str | None, encoding: str | None) -> Iterator[Layer]:
    """Yield the layers of a file that are layers of the dataset."""
    version = parts.version(path)
    driver = check_format(path)
    if driver == "GPKG":
        if parts.pending(path):  # what was there when it was fetched is part of the copy
            raise parts.changed(path)
        geopackage.check(path)
    elif driver == "FlatGeobuf":
        flatgeobuf.check(path)
    elif driver == "Parquet":
        geoparquet.check(path)
        for layer in _of_parquet(path, dataset, release, crs, encoding):
            yield replace(layer, version=version)
        return
    with lend(path) as lent:
        names = _layer_names(lent)
        levels = {name: level for name in names if (level := release.level_of(name)) is not False}
        if driver in ("GeoJSON", "GeoJSONSeq") and not levels and (level := release.level_of(path.stem)) is not False:
            levels = dict.fromkeys(names, level)  # its single layer may have been given a name by whatever wrote it
        if len(levels) < len(names):
            others = [name for name in names if name not in levels]
            log.info("%s: passed over %s.", printable(path.name), parts.passed_over("layers of other names", others))
        for name, level in levels.items():
            if driver == "GPKG":
                geopackage.check_layer(lent, name)
            layer = _open(lent, name, driver, dataset.table(level), crs, encoding)
            yield replace(layer, path=path, version=version)


def _of_parquet(
    path: Path, dataset: Dataset, release: Release, crs: str | None, encoding: str | None
) -> Iterator[Layer]:
    """Yield the layers of a GeoParquet: one of the file's name, or those that its rows are of."""
    description = geoparquet.describe(path)
    found: list[tuple[str, int | None, int, geoparquet.Values]] = []
    if dataset.rows is not None:
        found = list(_of_rows(path, dataset.rows, release, description))
    elif (level := release.level_of(path.stem)) is not False:
        found = [(path.stem, level, description.row_count, ())]
    if not found:
        log.info("%s: passed over %s.", printable(path.name), parts.passed_over("layers of other names", [path.stem]))
    columns = [field.name for field in description.schema if not nested.has_fields(field.type)]
    kinds = POLYGONAL | ({"Point"} if dataset.keeps_points else set())
    for name, level, row_count, only in found:
        if description.types and not {kind.removesuffix(" Z") for kind in description.types} & kinds:
            raise SchemaDrift(f"{name} in {path.name} holds {', '.join(sorted(description.types))}, not polygons.")
        table = dataset.table(level)
        inside = [
            source
            for column in table.columns
            for source in column.source
            if nested.is_path(source) and nested.leads_to_value(description.schema, source)
        ]
        yield Layer(
            path=path,
            name=name,
            driver="Parquet",
            table=table,
            columns=_match_columns(path, name, table, [*columns, *dict.fromkeys(inside)]),
            crs=reference.system_of(
                path,
                name,
                description.crs,
                description.extent,
                crs,
                lambda file, _: geoparquet.boxes(file, description.geometry),
            ),
            fid_column=geoparquet.FID,
            row_count=row_count,
            encoding=_encoding(path, "Parquet", {}, encoding),
            only=only,
            starts=tuple(description.starts[:-1].tolist()),
        )


def _of_rows(
    path: Path, rows: Rows, release: Release, description: geoparquet.Description
) -> Iterator[tuple[str, int, int, geoparquet.Values]]:
    """Yield name and level of the layers that the rows of a file are of, how many are, and what tells them."""
    columns = description.schema.names
    named = rows.layer if rows.layer in columns else None
    told = [name for name, column in rows.told_by.items() if column in columns]
    if rows.level not in columns or (named is None and len(told) != 1):
        return
    counted: dict[tuple[str, int], int] = {}
    passed_over: Counter[str] = Counter()
    for values, count in geoparquet.counts(path, [rows.level, *([named] if named else [])]).items():
        name, kind = values[1] if named else told[0], values[0]
        if name is None or release.level_of(name) is False:
            passed_over[f"{rows.layer} {name}"] += count
        elif kind is None or kind not in rows.levels:
            raise SchemaDrift(
                f"{count:,} rows of {path.name} have the {rows.level} {parts.brief(str(kind))}, of no known level.",
                "Is there a newer version of this package? The publisher may have added it.",
            )
        elif (level := rows.levels[kind]) is None:
            passed_over[f"{rows.level} {kind}"] += count
        else:
            counted[name, level] = counted.get((name, level), 0) + count
    for what, count in sorted(passed_over.items()):
        log.info("%s: passed over rows of the %s: %s.", printable(path.name), parts.brief(what), f"{count:,}")
    for (name, level), count in sorted(counted.items()):
        only = ((rows.level, rows.of_level(level)), *([(named, (name,))] if named else []))
        yield name, level, count, only


def _layer_names(path: Path) -> list[str]:
    try:
        return list(fiona.listlayers(path, **open_options(path)))
    except (FionaError, OSError, ValueError) as error:
        raise FormatUnknown(
            f"{path.name} cannot be opened: {error}.", "The file is damaged; download it again."
        ) from error


def _open(path: Path, name: str, driver: str, table: Table, named_crs: str | None, encoding: str | None) -> Layer:
    try:
        with fiona.open(path, layer=name, enabled_drivers=[driver], **open_options(path)) as collection:
            properties = list(collection.schema["properties"]) if driver == "GPKG" else _fields(path, name)
            tags = collection.tags(ns="SHAPEFILE") if driver == "ESRI Shapefile" else {}
            geometry = collection.schema["geometry"]
            stated, row_count = collection.crs.to_wkt(), len(collection)
            extent = _extent(collection)
    except Exception as error:  # a damaged file makes fiona raise anything
        raise FormatUnknown(
            f"{name} in {path.name} cannot be read: {error}.", "Download it again; the file is damaged."
        ) from error
    is_described = row_count > 0 or driver != "GeoJSON"  # an empty GeoJSON says nothing about columns
    types = {geometry} if isinstance(geometry, str) else set(geometry)
    if row_count and not {re.sub(r"^3D ", "", kind) for kind in types} & POLYGONAL:
        raise SchemaDrift(f"{name} in {path.name} holds {', '.join(sorted(types))}, not polygons.")
    if driver == "GPKG" and reference.contradicts_itself(lambda: geopackage.connect(path), name):
        stated = ""
    columns = _match_columns(path, name, table, properties) if is_described else _no_columns(table)
    return Layer(
        path=path,
        name=name,
        driver=driver,
        table=table,
        columns=columns,
        crs=reference.system_of(path, name, stated, extent, named_crs),
        fid_column=geopackage.columns(path, name)[0] if driver == "GPKG" else "FID",
        row_count=row_count,
        encoding=_encoding(path, driver, tags, encoding),
        beside=_differ_in_case(properties, columns),
    )


def _no_columns(table: Table) -> tuple[tuple[str, None], ...]:
    return tuple((column.name, None) for column in table.columns)


def _extent(collection: fiona.Collection) -> tuple[float, ...] | None:
    """Return the extent that a header states; None if there is none, as in a layer without features."""
    try:
        extent: tuple[float, ...] = collection.bounds
    except (FionaError, ValueError):
        return None
    return extent


def _match_columns(
    path: Path, name: str, table: Table, properties: Sequence[str]
) -> tuple[tuple[str, str | None], ...]:
    """Find the layer's name for each column: of the names in the catalog, the first that the layer has.

    The exact name wins over one in other letters or with blanks around it; of several such, none can be chosen.
    """
    matched: list[tuple[str, str | None]] = []
    for column in table.columns:
        found = None
        for source in column.source:
            exact = [each for each in properties if each == source]
            alike = exact or [each for each in properties if _folded(each) == _folded(source)]
            if len(alike) > 1:
                raise SchemaDrift(
                    f"{name} in {path.name} has {len(alike)} columns that could be {source}: {', '.join(alike)}.",
                    "Rename or remove all but one.",
                )
            if alike:
                found = alike[0]
                break
        if found is None and column.required and column.layer in (None, name):
            raise SchemaDrift(
                f"{name} in {path.name} has no column {' or '.join(column.source)}.",
                did_you_mean(column.source[0], properties) + " Check --release.",
            )
        matched.append((column.name, found))
    return tuple(matched)


def _folded(column: str) -> str:
    return unicodedata.normalize("NFKC", column).strip().casefold()


def _differ_in_case(properties: Sequence[str], columns: Sequence[tuple[str, str | None]]) -> tuple[str, ...]:
    names = {name for _, name in columns if name}
    lower = {name.lower() for name in names}
    return tuple(sorted({each for each in properties if each.lower() in lower} - names))


def _fields(path: Path, name: str) -> list[str]:
    """Return the columns of a layer as GDAL has them: fiona leaves out lists, and one of two with the same name."""
    import pyogrio

    restrict_pyogrio()
    return list(pyogrio.read_info(path, layer=name)["fields"])


def _stated_or_true(path: Path, codec: str) -> str:
    """Return the encoding that a shapefile states, or UTF-8 if that is what its attributes are in all the same."""
    if codec == encodings.FALLBACK or not encodings.is_utf_8(shapefile.texts(path), codec):
        return codec
    shown = printable(path.name)
    log.warning("%s states the encoding %s, but its text is UTF-8, and is read as that.", shown, codec.upper())
    return encodings.FALLBACK


def _encoding(path: Path, driver: str, tags: Mapping[str, str], named: str | None) -> str | None:
    """Return the encoding of a layer's attributes, by Python's name; None in a format that is always UTF-8."""
    if driver == "ESRI Shapefile":
        return _stated_or_true(path, encodings.stated(tags)) if named is None else encodings.codec_of(named)
    if named is not None:
        raise UsageError(f"--encoding is for shapefiles; the text of {path.name} is UTF-8.", "Leave it out.")
    return None
