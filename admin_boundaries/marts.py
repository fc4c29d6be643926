"""What a mart is: its columns by name, and how SQL refers to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MARTS = "marts"
GEOMETRY = "geom"
BOUNDARIES = "gadm"  # the dataset that the units are from
NOT_LOADED = "Load the datasets and build the marts: python -m ingest gadm timezones, then dbt build."


@dataclass(frozen=True)
class Mart:
    """A mart and its columns, in order.

    Attributes
    ----------
    name : str
        Name without the schema.
    columns : tuple of str
        All of them, including the geometry.
    """

    name: str
    columns: tuple[str, ...]

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


def how_to_build(published: Sequence[str]) -> str:
    """Return what to do where marts are missing, given the datasets that have a published run."""
    return f"Run `dbt build`. Already loaded: {', '.join(published)}." if published else NOT_LOADED


def quoted(name: str) -> str:
    """Return an identifier, quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def relation(mart: Mart) -> str:
    """Return the name of a mart, with its schema, for SQL."""
    return f"{MARTS}.{quoted(mart.name)}"


def first_line(error: Exception) -> str:
    """Return the first line of a driver's message; the rest is a hint for programmers, or a position in our SQL."""
    return str(error).strip().splitlines()[0].rstrip(".")
