"""What a mart is: its columns by name, and how SQL refers to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import QueryFailed
from ingest.settings import build_command

if TYPE_CHECKING:
    import pyarrow as pa

GEOMETRY = "geom"
TIMEZONES = "timezones"  # the dataset that is in all marts


@dataclass(frozen=True)
class Mart:
    """A mart and its columns, in order.

    Attributes
    ----------
    name : str
        Name without the schema.
    columns : tuple of str
        All of them, including the geometry.
    schema : str
        The schema that it is in.
    """

    name: str
    columns: tuple[str, ...]
    schema: str

    @property
    def has_geometry(self) -> bool:
        """Whether its rows have a geometry."""
        return GEOMETRY in self.columns

    @property
    def key(self) -> str:
        """The column that rows are ordered by: the key, or the first part of it."""
        return self.columns[0]

    @property
    def country(self) -> str | None:
        """The column with the country's key; None if rows do not belong to a country."""
        known = ("gid_0", "country_gid", "gid") if self.name == "admin_level_0" else ("gid_0", "country_gid")
        return next((name for name in known if name in self.columns), None)


def datasets_of(dataset: str) -> tuple[str, str]:
    """Return the datasets that the marts of a dataset are made from."""
    return dataset, TIMEZONES


def how_to_build(dataset: str, published: Sequence[str]) -> str:
    """Return what to do where marts of a dataset are missing, given the datasets that have a published run."""
    needed = datasets_of(dataset)
    if dataset in published:
        loaded = ", ".join(name for name in published if name in needed)
        return f"Run `{build_command(dataset)}`. Already loaded: {loaded}."
    missing = " ".join(name for name in needed if name not in published)
    hint = f"Load the datasets and build the marts: python -m ingest {missing}, then {build_command(dataset)}."
    others = ", ".join(name for name in published if name not in needed)
    return f"{hint} To read what is loaded, choose it with --dataset: {others}." if others else hint


def quoted(name: str) -> str:
    """Return an identifier, quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def relation(mart: Mart) -> str:
    """Return the name of a mart, with its schema, for SQL."""
    return f"{mart.schema}.{quoted(mart.name)}"


def first_line(error: Exception | str) -> str:
    """Return the first line of a driver's message; the rest is a hint for programmers, or a position in our SQL."""
    return str(error).strip().splitlines()[0].rstrip(".")


def refused_while_read(reader: pa.RecordBatchReader, refused: Callable[[str], QueryFailed]) -> pa.RecordBatchReader:
    """Pass on the rows of a statement of somebody else's, whose faults may show only while rows are fetched.

    Raises
    ------
    QueryFailed
        While it is read: what ``refused`` makes of the words of the database.
    """
    import pyarrow as pa

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except (OSError, pa.ArrowException) as error:
            raise refused(str(error)) from error

    return pa.RecordBatchReader.from_batches(reader.schema, batches())
