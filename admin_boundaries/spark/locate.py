"""Locate points on Spark: any number of them, wherever Spark can read them."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from admin_boundaries.locate.answers import FIELDS, NEAREST
from admin_boundaries.locate.bad_points import SAMPLE, BadPoints
from admin_boundaries.locate.coordinates import InColumns, InGeometry, coordinates_in, numeric, refuse_clashes
from admin_boundaries.spark.refusals import IndexUnseen, of_spark
from admin_boundaries.spark.shipping import is_remote, placed, shipped
from admin_boundaries.spark.worker import Place, answer, are_usable, has_point
from ingest.errors import ExportFailed, FormatUnknown, IngestError, SchemaDrift, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

BAD = "bad coordinates"
# Spark's defaults would take a row of another length as it comes, and a backslash for the end of a quotation.
CSV: dict[str, Any] = {"header": True, "mode": "FAILFAST", "enforceSchema": False, "multiLine": True, "escape": '"'}


@dataclass(frozen=True)
class Located:
    """What came of a job.

    Attributes
    ----------
    rows : int
        Rows written, which is as many as were read.
    bad : int
        Of these, how many have coordinates that cannot be used.
    """

    rows: int
    bad: int


def located(
    points: DataFrame, index_folder: str | Path, lon: str = "lon", lat: str = "lat", *, nearest: float | None = None
) -> DataFrame:
    """Add the answers of `locate` to points, in a job of one's own.

    A small job runs at once: it finds out whether all workers see the index, which is shipped to them otherwise. All
    else happens when the result is used, batch by batch, without a shuffle. The folder must stay until then.

    Parameters
    ----------
    points : DataFrame
        Of classic Spark, or of Spark Connect.
    index_folder : path
        The folder of the index: `admin_boundaries.locate.index.Index.folder` returns it, and makes it if need be.
    lon, lat : str
        The columns that hold degrees on WGS 84, as numbers of any type or as text.
    nearest : float, optional
        For points in no unit, add the nearest within so many metres.

    Returns
    -------
    DataFrame
        All columns of the points, then those of `admin_boundaries.locate.answers.FIELDS`, and of
        `admin_boundaries.locate.answers.NEAREST` if asked for. The answer to coordinates that cannot be used is
        ``bad coordinates``.

    Raises
    ------
    SchemaDrift
        When there are no such columns, or one has the name of an answer.
    TargetUnavailable
        When a worker's Python lacks something, or has it in another version.
    MartsMissing
        When the folder holds no index.
    """
    columns = InColumns(lon, lat)
    schema = _arrow_schema(points, "The points")
    missing = sorted({lon, lat} - set(schema.names))
    if missing:
        raise SchemaDrift(f"The points have no column {missing[0]}.", f"They have: {', '.join(schema.names)}.")
    refuse_clashes(schema.names, _fields(nearest), "The table of points")
    with of_spark():
        place = placed(points.sparkSession, Path(index_folder))
    return _answered(points, place, numeric(schema, columns, "The points"), nearest)


def locate_paths(
    spark: SparkSession,
    index_folder: Path,
    source: str,
    target: str,
    *,
    nearest: float | None = None,
    overwrite: bool = False,
) -> Located:
    """Locate the points of files, and write a folder of Parquet.

    Parameters
    ----------
    spark : SparkSession
        From `admin_boundaries.spark.session.spark_session`.
    index_folder : Path
        The folder of the index.
    source : str
        What Spark can read: a file, a folder or a pattern, with the scheme of its storage, of Parquet files; or of CSV
        files, if it ends with ``.csv`` or ``.csv.gz``. Coordinates are found as in
        `admin_boundaries.points.locate_file`.
    target : str
        The folder to write. ``_SUCCESS`` in it says that it is complete.
    nearest : float, optional
        See `located`.
    overwrite : bool
        Replace an existing folder. What it held is removed first.

    Raises
    ------
    SourceUnavailable, FormatUnknown, SchemaDrift, SourceDamaged, UsageError
        When the paths cannot be used, or no row has coordinates that can. Nothing is written then.
    TargetUnavailable
        When a worker's Python lacks something, or has it in another version.
    ExportFailed
        When the job fails, or another one wrote to the folder at the same time. There is no ``_SUCCESS`` then.
    """
    if target.lower().endswith((".csv", ".csv.gz")):
        raise UsageError(f"{target} is not a folder of Parquet, which is what Spark writes.", "Give another --output.")
    with of_spark():
        if not overwrite and _is_there(spark, target):
            raise UsageError(f"{target} already exists.", "Use --overwrite to replace it.")
        points = _read(spark, source)
        schema = _arrow_schema(points, source)
        refuse_clashes(schema.names, _fields(nearest), source)
        where = _where(points, schema, source)
        if any(_is_within(file, target) for file in points.inputFiles()):  # Spark would remove it before it is read
            raise UsageError(f"{target} holds some of the input.", "Give another --output.")
        place = placed(spark, index_folder)
        _look_ahead(points, where, source)
        try:
            return _written(_answered(points, place, where, nearest), target, overwrite=overwrite)
        except IndexUnseen:  # by a worker that came later
            place = shipped(spark, place)
            return _written(_answered(points, place, where, nearest), target, overwrite=overwrite)


def _fields(nearest: float | None) -> list[pa.Field]:
    return [*FIELDS, *(NEAREST if nearest else [])]


def _answered(points: DataFrame, place: Place, where: InColumns | InGeometry, nearest: float | None) -> DataFrame:
    import pyarrow as pa
    from pyspark.sql.pandas.types import from_arrow_schema
    from pyspark.sql.types import StructType

    fields = _fields(nearest)
    schema = StructType([*points.schema.fields, *from_arrow_schema(pa.schema(fields)).fields])
    work = partial(answer, place=place, where=where, nearest=nearest, fields=fields)
    return points.mapInArrow(work, schema)


def _written(answers: DataFrame, target: str, *, overwrite: bool) -> Located:
    from pyspark.sql import Observation
    from pyspark.sql import functions as f

    seen = Observation()
    answers = answers.observe(
        seen, f.count(f.lit(1)).alias("rows"), f.count_if(f.col("located_status") == BAD).alias("bad")
    )
    mode = "overwrite" if overwrite else "error"
    try:
        with of_spark():
            answers.write.mode(mode).option("compression", "zstd").parquet(target)
    except UsageError:
        raise
    except IngestError:
        _remove_empty(answers.sparkSession, target)
        raise
    rows = int(seen.get["rows"])
    with of_spark():
        _refuse_if_others_wrote(answers, target, rows)
    return Located(rows, int(seen.get["bad"]))


def _refuse_if_others_wrote(answers: DataFrame, target: str, rows: int) -> None:
    """Count what is in the folder: jobs that write to one at the same time clear away what the others have done."""
    spark = answers.sparkSession
    found = spark.read.schema(answers.schema).parquet(target).count()
    if found == rows:
        return
    _remove_success(spark, target)
    raise ExportFailed(
        f"{target} holds {found} rows instead of {rows}: something else wrote to it at the same time.",
        "Give each job an --output of its own, and run this one again with --overwrite.",
    )


def _read(spark: SparkSession, source: str) -> DataFrame:
    if source.lower().endswith((".csv", ".csv.gz")):
        header = spark.read.options(**{**CSV, "header": False, "mode": "PERMISSIVE"}).csv(source).first()
        if header is None:
            raise FormatUnknown(f"{source} is empty.", "Give a CSV file with a header.")
        points = spark.read.options(**CSV).csv(source)
        refuse_clashes([name or "" for name in header], [], source)  # Spark would give them other names
        return points
    return spark.read.option("mergeSchema", True).parquet(source)  # else columns that only some files have were lost


def _arrow_schema(points: DataFrame, source: str) -> pa.Schema:
    from pyspark.errors import PySparkTypeError
    from pyspark.sql.pandas.types import to_arrow_schema

    try:
        return to_arrow_schema(points.schema)
    except PySparkTypeError as error:
        raise SchemaDrift(
            f"{source}: Spark cannot hand over all columns to Python: {error}.", "Drop those columns, or cast them."
        ) from error


def _where(points: DataFrame, schema: pa.Schema, source: str) -> InColumns | InGeometry:
    """Return where all files have their coordinates. A session by Spark Connect gets at no metadata of GeoParquet."""
    import pyarrow as pa

    may_be_points = [kind for kind in schema.types if pa.types.is_binary(kind) or pa.types.is_struct(kind)]
    if not may_be_points or is_remote(points.sparkSession):
        return coordinates_in(schema, source)
    first_of = {geo: path for path, geo in reversed(list(_metadata(points)))}
    found = {coordinates_in(schema.with_metadata({b"geo": geo}), path) for geo, path in first_of.items()}
    if len(found) > 1:
        raise SchemaDrift(
            f"{source}: some files have points in a geometry, others in columns.", "Locate them one after another."
        )
    return found.pop() if found else coordinates_in(schema, source)


def _metadata(points: DataFrame) -> Iterator[tuple[str, bytes]]:
    """Return the paths of files, and the metadata of GeoParquet that each has."""
    context: Any = points.sparkSession.sparkContext
    java, conf = context._jvm, context._jsc.hadoopConfiguration()
    for path in points.inputFiles():
        where = java.org.apache.hadoop.fs.Path(java.java.net.URI(path))
        reader = java.org.apache.parquet.hadoop.ParquetFileReader.open(
            java.org.apache.parquet.hadoop.util.HadoopInputFile.fromPath(where, conf)
        )
        try:
            texts = reader.getFileMetaData().getKeyValueMetaData()
        finally:
            reader.close()
        yield path, (texts.get("geo") or "{}").encode()


def _look_ahead(points: DataFrame, where: InColumns | InGeometry, source: str) -> None:
    """Refuse, before anything is written, points of which no row is good, and columns that say something else.

    The first rows are looked at here, where a refusal is one sentence: of what a worker raises, Spark prints pages.
    Only if none of them is good, a job looks for the first that is.
    """
    read = (where.lon, where.lat, where.geometry) if isinstance(where, InColumns) else (where.name,)
    names = dict.fromkeys(name for name in (*read, *(rival for rival, _ in where.rivals)) if name is not None)
    columns = points.select(*(f"`{name.replace('`', '``')}`" for name in names))
    first = columns.limit(SAMPLE).toArrow().combine_chunks()
    if not len(first):
        return
    found = where.of(first.to_batches()[0])
    if has_point(*found[:2]):
        return
    usable = columns.mapInArrow(partial(are_usable, where=where), "is_usable boolean").where("is_usable")
    if usable.isEmpty():
        bad = BadPoints()
        bad.note(*found)
        bad.count = columns.count()
        raise bad.of_every_row(source)


def _is_there(spark: SparkSession, path: str) -> bool:
    from pyspark.errors import AnalysisException

    try:
        spark.read.format("binaryFile").load(path).schema  # noqa: B018  it is asked for
    except AnalysisException as error:
        if error.getCondition() == "PATH_NOT_FOUND":
            return False
        raise
    return True


def _is_within(file: str, folder: str) -> bool:
    """Whether a file that Spark reads, as a URL, is in a folder, or is the folder."""
    of, within = urlsplit(file), urlsplit(folder)
    if within.scheme and (within.scheme, within.netloc) != (of.scheme, of.netloc):
        return False
    is_local = of.scheme in {"", "file"}
    path, wanted = unquote(of.path), within.path if within.scheme else folder
    resolved = os.path.realpath if is_local else posixpath.normpath
    return PurePosixPath(resolved(path)).is_relative_to(resolved(wanted))


def _remove_empty(spark: SparkSession, path: str) -> None:
    """Remove a folder in which a failed job left nothing; a session by Spark Connect cannot."""
    if is_remote(spark):
        return
    folder, files = _folder(spark, path)
    if files.exists(folder) and not list(files.listStatus(folder)):
        files.delete(folder, False)


def _remove_success(spark: SparkSession, path: str) -> None:
    """Remove what says that a folder is complete; a session by Spark Connect cannot."""
    if not is_remote(spark):
        folder, files = _folder(spark, path)
        files.delete(folder.suffix("/_SUCCESS"), False)


def _folder(spark: SparkSession, path: str) -> tuple[Any, Any]:
    """Return a path of Hadoop's, and its file system."""
    context: Any = spark.sparkContext
    folder = context._jvm.org.apache.hadoop.fs.Path(path)
    return folder, folder.getFileSystem(context._jsc.hadoopConfiguration())
