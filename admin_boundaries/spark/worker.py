"""What runs in the Python of Spark's workers: batches of points in, the same with answers out."""

from __future__ import annotations

import platform
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa

import ingest
from admin_boundaries.locate.bad_points import Floats
from admin_boundaries.locate.coordinates import InColumns, InGeometry
from admin_boundaries.locate.index import LAYERS
from admin_boundaries.locate.locator import Locator
from admin_boundaries.spark.refusals import HINT
from ingest.errors import IngestError

SAME = ("numba", "shapely")  # what answers depend on
OPEN = 2  # indexes that a worker keeps open: of the dataset before, as well


class IndexUnseen(Exception):
    """The folder of the index is not to be seen here, and nothing was shipped."""


@dataclass(frozen=True)
class Place:
    """Where workers find an index.

    Attributes
    ----------
    folder : str
        Its folder, where a worker sees it.
    files : frozenset of (str, int)
        The files in it, with their sizes in bytes, by which another folder of this name is told from it.
    shipped : str, optional
        The name under which it was shipped to all workers.
    """

    folder: str
    files: frozenset[tuple[str, int]]
    shipped: str | None = None

    @property
    def is_seen(self) -> bool:
        """Whether the folder is to be seen here."""
        return files_in(Path(self.folder)) == self.files

    def found(self) -> Path:
        """Return the folder here.

        Raises
        ------
        IndexUnseen
            When there is none.
        """
        if self.is_seen:
            return Path(self.folder)
        if self.shipped is None:
            raise IndexUnseen(f"Worker {socket.gethostname()} does not see {self.folder}.")
        from pyspark import SparkFiles

        return Path(SparkFiles.get(self.shipped))


def files_in(folder: Path) -> frozenset[tuple[str, int]]:
    """Return the files of an index, with their sizes in bytes."""
    paths = [path for layer in LAYERS for path in (folder / layer).glob("*")]
    return frozenset((f"{path.parent.name}/{path.name}", path.stat().st_size) for path in paths)


@lru_cache(OPEN)
def opened(place: Place) -> Locator:
    """Return an index, which is opened once in each process."""
    return Locator(place.found())


def versions() -> dict[str, str]:
    """Return the versions here of what answers depend on."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2]), "admin-boundaries": ingest.__version__}
    return {**found, **{name: version(name) for name in SAME}}


def look_around(batches: Iterator[pa.RecordBatch], place: Place) -> Iterator[pa.RecordBatch]:
    """Return, for each partition, the worker's host, whether it sees the index, and its versions."""
    for _ in batches:
        found = {"host": socket.gethostname(), "is_seen": place.is_seen, "versions": repr(sorted(versions().items()))}
        yield pa.RecordBatch.from_pylist([found])


def _coordinates(batch: pa.RecordBatch, where: InColumns | InGeometry) -> tuple[Floats, Floats]:
    """Return longitudes and latitudes. A refusal has its hint in a line of its own: only its text leaves a worker."""
    try:
        return where.of(batch)[:2]
    except IngestError as error:
        error.add_note(f"{HINT}{error.hint}")
        raise


def are_usable(batches: Iterator[pa.RecordBatch], where: InColumns | InGeometry) -> Iterator[pa.RecordBatch]:
    """Return, for each batch, whether it has a point."""
    for batch in batches:
        yield pa.RecordBatch.from_pydict({"is_usable": [has_point(*_coordinates(batch, where))]})


def has_point(lons: Floats, lats: Floats) -> bool:
    """Whether any of the coordinates can be used."""
    return bool(((np.abs(lons) <= 180) & (np.abs(lats) <= 90)).any())


def answer(
    batches: Iterator[pa.RecordBatch],
    place: Place,
    where: InColumns | InGeometry,
    nearest: float | None,
    fields: list[pa.Field],
) -> Iterator[pa.RecordBatch]:
    """Return batches with their answers.

    Parameters
    ----------
    batches : iterator of RecordBatch
        Of points.
    place, where
        Of the index, and of the coordinates in a batch.
    nearest : float, optional
        Metres within which to look for units where there is none.
    fields : list of Field
        Of the answers.
    """
    locator = opened(place)
    for batch in batches:
        lons, lats = _coordinates(batch, where)
        found = locator.find(lons, lats)
        near = locator.nearest(lons, lats, nearest, found) if nearest else []
        # Java reads no dictionaries
        answers = [
            column.cast(field.type)
            for column, field in zip([*locator.answers(found).columns, *near], fields, strict=True)
        ]
        names = [*batch.schema.names, *(field.name for field in fields)]
        yield pa.RecordBatch.from_arrays([*batch.columns, *answers], names=names)
