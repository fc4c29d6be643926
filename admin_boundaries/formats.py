"""The formats of exported files, each written from a stream of rows; the last column is WKB if there is a geometry."""

from __future__ import annotations

import csv
import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyogrio
import pyproj
import shapely
from pyogrio._ogr import _register_drivers

from admin_boundaries import hilbert
from admin_boundaries.locate import as_text
from admin_boundaries.marts import GEOMETRY

CRS = "EPSG:4326"
BOX = "bbox"
DECIMALS = 7  # of degrees in GeoJSON: a centimetre, as RFC 7946 advises
DBF_NAME, DBF_TEXT = 10, 254  # the longest that a shapefile holds, in bytes
PLAIN = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)


@dataclass(frozen=True)
class Layer:
    """What a stream of rows is.

    Attributes
    ----------
    name : str
        Of the mart.
    geometry_type : str or None
        GDAL's name of it; None if the rows have no geometry.
    texts : mapping of str to str
        Licence, attribution and source.
    key : str or None
        The column that identifies a row by itself, if one does.
    is_first : bool
        Whether the file holds nothing yet.
    has_wkt : bool
        Whether a CSV has the geometry, as WKT.
    """

    name: str
    geometry_type: str | None
    texts: Mapping[str, str]
    key: str | None = None
    is_first: bool = True
    has_wkt: bool = False


Write = Callable[[pa.RecordBatchReader, Layer, Path], list[str]]


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes
    ----------
    title : str
        What people call it.
    suffixes : tuple of str
        Of its files, the usual one first.
    write : callable
        Called with rows, what they are, and the file; returns sentences about what the format did not take as it was.
    needs_geometry : bool
        Whether rows without a geometry cannot be written.
    holds_several : bool
        Whether a file holds several marts.
    holds_rights : bool
        Whether a file says under which licence it is.
    is_text : bool
        Whether a terminal shows it.
    """

    title: str
    suffixes: tuple[str, ...]
    write: Write
    needs_geometry: bool = False
    holds_several: bool = False
    holds_rights: bool = True
    is_text: bool = False


def write_parquet(reader: pa.RecordBatchReader, layer: Layer, path: Path) -> list[str]:
    """Write Parquet; with a geometry as GeoParquet 1.1, along a Hilbert curve, each row with its box."""
    writing = partial(pq.ParquetWriter, path, compression="zstd", compression_level=3)
    if layer.geometry_type is None:
        with writing(reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
            writer.add_key_value_metadata(dict(layer.texts))
        return []
    with tempfile.NamedTemporaryFile(prefix=f"{path.name}.", dir=path.parent) as rows:
        spool = hilbert.Spool(reader, Path(rows.name))
        at, box = len(spool.schema) - 1, pa.field(BOX, hilbert.BOX_TYPE)
        schema = spool.schema.insert(at, box)
        # of all columns but the geometry, whose least and greatest WKB help nobody and make the footer large
        measured = [*spool.schema.names[:-1], *(f"{BOX}.{name}" for name in hilbert.BOX_FIELDS)]
        with writing(schema, write_statistics=measured) as writer:
            for batch, boxes in spool.groups():
                writer.write_batch(batch.add_column(at, box, hilbert.box_column(boxes)))
            writer.add_key_value_metadata({**layer.texts, "geo": json.dumps(_geo(spool))})
    return []


def _geo(spool: hilbert.Spool) -> dict[str, Any]:
    """Return the metadata of GeoParquet 1.1; coordinates are in the order longitude, latitude."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted(_title(kind) for kind in spool.kinds),
        "crs": pyproj.CRS(CRS).to_json_dict(),
        "edges": "planar",
        "covering": {"bbox": {name: [BOX, name] for name in hilbert.BOX_FIELDS}},
    }
    if not np.isnan(spool.boxes).all():
        column["bbox"] = [*np.nanmin(spool.boxes[:, :2], axis=0), *np.nanmax(spool.boxes[:, 2:], axis=0)]
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}


def _title(kind: str) -> str:
    return {name.upper(): name for name in GEOMETRY_TYPES}[kind]


GEOMETRY_TYPES = (
    *("Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection"),
)


def write_geopackage(reader: pa.RecordBatchReader, layer: Layer, path: Path) -> list[str]:
    """Write a layer of a GeoPackage, with its metadata."""
    options = {"GEOMETRY_NAME": GEOMETRY} if layer.geometry_type else {}
    _write_ogr("GPKG", reader, layer, path, options, layer_metadata=dict(layer.texts) or None)
    return []


def write_flatgeobuf(reader: pa.RecordBatchReader, layer: Layer, path: Path) -> list[str]:
    """Write a FlatGeobuf, whose header has a text for people in place of metadata."""
    described = "\n".join(f"{name}: {text}" for name, text in layer.texts.items())
    _write_ogr("FlatGeobuf", reader, layer, path, {"DESCRIPTION": described})
    return []


def _write_ogr(
    driver: str, reader: pa.RecordBatchReader, layer: Layer, path: Path, options: dict[str, str], **more: Any
) -> None:
    _register_drivers()  # an engine in this process may have removed the drivers for writing
    if layer.geometry_type:
        more |= {"geometry_name": GEOMETRY, "geometry_type": layer.geometry_type, "crs": CRS}
    pyogrio.write_arrow(
        reader, path, layer=layer.name, driver=driver, append=not layer.is_first, layer_options=options, **more
    )


def write_geojson(reader: pa.RecordBatchReader, layer: Layer, path: Path) -> list[str]:
    """Write a feature collection by RFC 7946, with licence, attribution and source as members of its own."""
    members = {"type": "FeatureCollection", "name": layer.name, **layer.texts}
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(members, ensure_ascii=False).removesuffix("}") + ', "features": [')
        for number, feature in enumerate(_features(reader, layer.key)):
            file.write((",\n" if number else "\n") + feature)
        file.write("\n]}\n")
    return []


def write_geojson_lines(reader: pa.RecordBatchReader, layer: Layer, path: Path) -> list[str]:
    """Write a feature in each line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for feature in _features(reader, layer.key):
            file.write(feature + "\n")
    return []


def _features(reader: pa.RecordBatchReader, key: str | None) -> Iterator[str]:
    for batch in reader:
        shapes = [text or "null" for text in shapely.to_geojson(_for_geojson(_shapes(batch.columns[-1])))]
        for row, shape in zip(batch.drop_columns([GEOMETRY]).to_pylist(), shapes, strict=True):
            identity = f'"id": {json.dumps(row[key], ensure_ascii=False)}, ' if key else ""
            said = json.dumps(row, ensure_ascii=False, default=as_text)
            yield f'{{"type": "Feature", {identity}"properties": {said}, "geometry": {shape}}}'


def _for_geojson(shapes: Any) -> Any:
    """Round, except for a shape that would not be valid any more, and turn outer rings counterclockwise."""
    rounded = shapely.transform(shapes, lambda degrees: degrees.round(DECIMALS))
    chosen = np.where(shapely.is_valid(rounded) | shapely.is_missing(shapes), rounded, shapes)
    return shapely.orient_polygons(chosen, exterior_cw=False)


def write_csv(reader: pa.RecordBatchReader, layer: Layer, path: Path) -> list[str]:
    """Write a table with commas, without the geometry unless it is asked for as WKT."""
    names = reader.schema.names
    if layer.geometry_type and not layer.has_wkt:
        names = names[:-1]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for batch in reader:
            columns = [batch.column(name).to_pylist() for name in names]
            if layer.geometry_type and layer.has_wkt:
                columns[-1] = shapely.to_wkt(_shapes(batch.columns[-1]), rounding_precision=-1).tolist()
            writer.writerows(map(as_text, row) for row in zip(*columns, strict=True))
    return []


def _shapes(column: pa.Array) -> Any:
    return shapely.from_wkb(column.to_numpy(zero_copy_only=False))


def write_shapefile(reader: pa.RecordBatchReader, layer: Layer, path: Path) -> list[str]:
    """Write a zip with a shapefile and a README that says what is not in it as it was."""
    names = short_names(reader.schema.names[:-1])
    changed = [f"{name} is {short}" for name, short in names.items() if name != short]
    cut = _Cut(reader.schema.names[0])
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of GDAL, that it changes a value
            _write_ogr(
                "ESRI Shapefile",
                cut.passed(reader, names),
                layer,
                Path(folder) / f"{layer.name}.shp",
                {"ENCODING": "UTF-8", "2GB_LIMIT": "YES"},
            )
        told = [f"Fields have at most {DBF_NAME} characters: {', '.join(changed)}."] if changed else []
        told += cut.told()
        texts = [f"{name}: {text}" for name, text in layer.texts.items()]
        (Path(folder) / "README.txt").write_text("\n".join([layer.name, *texts, *told, ""]), encoding="utf-8")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(Path(folder).iterdir()):
                archive.write(file, file.name)
    return told


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return a name for each field that a shapefile holds; the last characters tell those apart that begin alike."""
    short: dict[str, str] = {}
    for name in names:
        candidate, number = name[:DBF_NAME], 1
        while candidate.lower() in {taken.lower() for taken in short.values()}:
            number += 1
            candidate = f"{name[: DBF_NAME - 1 - len(str(number))]}_{number}"
        short[name] = candidate
    return short


class _Cut:
    """Cuts text to what a shapefile holds, and remembers where."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._found: dict[str, list[Any]] = {}  # of a column: in how many rows, and the key of the first

    def passed(self, reader: pa.RecordBatchReader, names: Mapping[str, str]) -> pa.RecordBatchReader:
        fields = [
            pa.field(names[field.name], field.type if any(is_of(field.type) for is_of in PLAIN) else pa.string())
            for field in list(reader.schema)[:-1]
        ]
        schema = pa.schema([*fields, reader.schema.field(GEOMETRY)])
        return pa.RecordBatchReader.from_batches(schema, (self._cut(batch, schema) for batch in reader))

    def _cut(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        columns = []
        for name, column, field in zip(batch.schema.names, batch.columns, schema, strict=True):
            is_text = pa.types.is_string(field.type)
            columns.append(self._texts(name, column, batch.column(self._key)) if is_text else column.cast(field.type))
        return pa.record_batch(columns, schema=schema)

    def _texts(self, name: str, column: pa.Array, keys: pa.Array) -> pa.Array:
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            column = pa.array([None if value is None else as_text(value) for value in column.to_pylist()], pa.string())
        is_long = pc.fill_null(pc.greater(pc.binary_length(column), DBF_TEXT), False)
        rows = np.flatnonzero(is_long.to_numpy(zero_copy_only=False))
        if not len(rows):
            return column.cast(pa.string())
        self._found.setdefault(name, [0, keys[int(rows[0])].as_py()])[0] += len(rows)
        short = column.to_pylist()
        for row in rows:
            short[row] = short[row].encode()[:DBF_TEXT].decode(errors="ignore")
        return pa.array(short, pa.string())

    def told(self) -> list[str]:
        return [
            f"{name} is cut to {DBF_TEXT} bytes in {count:,} row{'s' if count > 1 else ''}, the first {key}."
            for name, (count, key) in self._found.items()
        ]


FORMATS = {
    "parquet": Format("GeoParquet", (".parquet",), write_parquet),
    "gpkg": Format("GeoPackage", (".gpkg",), write_geopackage, holds_several=True),
    "fgb": Format("FlatGeobuf", (".fgb",), write_flatgeobuf, needs_geometry=True),
    "geojson": Format("GeoJSON", (".geojson", ".json"), write_geojson, needs_geometry=True, is_text=True),
    "geojsonl": Format(
        *("newline-delimited GeoJSON", (".geojsonl", ".ndjson"), write_geojson_lines),
        needs_geometry=True,
        holds_rights=False,
        is_text=True,
    ),
    "csv": Format("CSV", (".csv",), write_csv, holds_rights=False, is_text=True),
    "shp": Format("zipped shapefile", (".shp.zip", ".zip"), write_shapefile, needs_geometry=True),
}
