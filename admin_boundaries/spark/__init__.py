"""Spark, for more points, or more boundaries, than one machine can take: see ``docs/spark.md``.

from admin_boundaries.spark import open_marts

open_marts(spark)
spark.sql("select gid, name from admin_level_1 where gid_0 = 'TGO'").show()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def open_marts(spark: SparkSession, root: str | None = None, *, dataset: str = "gadm", prefix: str = "") -> str:
    """Make the published marts known to a session, as temporary views with the names of the marts.

    The views are those of one edition, for as long as the session lives: a build that publishes another one changes
    nothing in them. Call this again to see it. What an edition replaces is kept until the one after it is published.

    Parameters
    ----------
    spark : SparkSession
        With Sedona, for the geometry of the marts.
    root : str, optional
        Where the marts are: a folder, or an address such as ``s3a://bucket/folder``; by default what
        ``SPARK_WAREHOUSE`` says, or else the folder ``spark`` of ``WAREHOUSE_HOME``.
    dataset : str
        The hierarchical dataset.
    prefix : str
        What the names of the views begin with.

    Returns
    -------
    str
        The build that the marts are of, as in ``marts_meta``.

    Raises
    ------
    MartsMissing
        When there are none.
    TargetUnavailable
        When the session has no Sedona.
    """
    from pyspark.errors import AnalysisException

    from admin_boundaries.spark.edition import read_edition
    from admin_boundaries.spark.storage import storage
    from ingest.errors import MartsMissing, TargetUnavailable
    from ingest.settings import build_command, marts_on_spark, with_dataset

    root = root or marts_on_spark()
    files, marts = storage(root, spark), with_dataset("marts", dataset)
    edition = read_edition(files, marts)
    if edition is None:
        hint = f"Build them: WAREHOUSE_TARGET=spark {build_command(dataset)}"
        raise MartsMissing(f"There are no marts of {dataset} in {root}.", hint)
    try:
        spark.sql("select st_point(0.0, 0.0) as point").schema  # noqa: B018  over Spark Connect, it is asked for here
    except AnalysisException as error:
        raise TargetUnavailable(
            "The session has no Sedona, which the geometry of the marts needs.",
            "Start it with spark.jars and spark.sql.extensions as docs/spark.md shows.",
        ) from error
    for name, table in edition.tables.items():
        schema, mart = name.split(".")
        if schema == marts:
            rows = spark.read.format(table.format).load(files.at(table.path))
            rows.createOrReplaceTempView(f"{prefix}{mart}")
    return edition.build_id
