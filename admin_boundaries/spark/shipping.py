"""The index gets to Spark's workers: in its folder, if all of them see it, or else as an archive."""

from __future__ import annotations

import ast
import os
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from admin_boundaries.files import replacing
from admin_boundaries.locate.index import LAYERS
from admin_boundaries.spark.refusals import WORKERS
from admin_boundaries.spark.worker import Place, files_in, look_around, versions
from ingest.errors import MartsMissing, TargetUnavailable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ARCHIVE = "index.tar"
LOOKS = 4  # tasks for each core, so that every worker gets one


def placed(spark: SparkSession, folder: Path) -> Place:
    """Find out by a small job whether all workers see the folder of an index; ship it to them if one does not.

    Parameters
    ----------
    spark : SparkSession
        Of the cluster.
    folder : Path
        Of the index.

    Raises
    ------
    TargetUnavailable
        When a worker's Python lacks something, or has it in another version.
    MartsMissing
        When the folder holds no index.
    """
    files = files_in(folder)
    if not files:
        raise MartsMissing(f"There is no index in {folder}.", "Make one: docs/spark.md says how.")
    place = Place(str(folder.absolute()), files)
    count = LOOKS * _cores(spark)
    looks = spark.range(0, count, 1, count).mapInArrow(
        partial(look_around, place=place), "host string, is_seen boolean, versions string"
    )
    rows = [(row["host"], row["is_seen"], row["versions"]) for row in looks.collect()]
    here = versions()
    for host, _, found in rows:
        for name, there in ast.literal_eval(found):
            if there != here[name]:
                raise TargetUnavailable(f"{name} on worker {host} is {there}, and here {here[name]}.", WORKERS)
    return place if all(is_seen for _, is_seen, _ in rows) else shipped(spark, place)


def shipped(spark: SparkSession, place: Place) -> Place:
    """Ship an index to all workers, also to those that come later; each unpacks it when it first needs it."""
    folder = Path(place.folder)
    name = f"index-{folder.name}"
    archive = f"{archived(folder)}#{name}"
    if is_remote(spark):
        spark.addArtifacts(archive, archive=True)
    else:
        spark.sparkContext.addArchive(archive)
    return replace(place, shipped=name)


def is_remote(spark: SparkSession) -> bool:
    """Whether a session is one of Spark Connect."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


def archived(folder: Path) -> Path:
    """Return the archive of an index, which is in its folder and removed with it; make it first if it is not there.

    It is not compressed: arrays of coordinates hardly get smaller, and each worker would wait for it.
    """
    archive = folder / ARCHIVE
    try:
        with FileLock(folder / f"{ARCHIVE}.lock"):
            if not archive.exists():
                with replacing(archive) as draft:
                    _write_archive(draft, folder)
    except OSError as error:
        raise TargetUnavailable(
            f"The archive of the index cannot be written to {folder}: {error.strerror}.",
            "Make room there (4 GB for the world), or put WAREHOUSE_HOME where all workers see it.",
        ) from error
    return archive


def _write_archive(path: Path, folder: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for layer in LAYERS:
            tar.add(folder / layer, arcname=layer)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _cores(spark: SparkSession) -> int:
    """Return how many tasks run at once, as far as is known: a server of Spark Connect does not tell."""
    return 4 if is_remote(spark) else max(2, spark.sparkContext.defaultParallelism)
