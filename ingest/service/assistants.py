"""The marts for an assistant: tools of the Model Context Protocol, over standard input and output."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from admin_boundaries import licences, what_changed
from admin_boundaries.service import answers
from admin_boundaries.service.marts import Asked, Limits, Marts
from ingest import __version__
from ingest.errors import IngestError, SettingsError
from ingest.settings import Settings

INSTRUCTIONS = (
    "Administrative units of countries (level 0) down to neighbourhoods (level 5), and time zones. Every unit has a "
    "key, its gid. To go from a name to a unit, call find and then unit; to go from coordinates, call locate. Answers "
    "name the releases that they are from in `about`; `stale` there says if newer data is loaded than is shown. Name "
    "the `attribution` when you pass data on, and heed the `licence`."
)
Gid = Annotated[str, Field(min_length=1, max_length=200, description="Key of a unit, such as DZA.1_1.")]


def server(marts: Marts) -> Any:
    """Return the server with its tools.

    Parameters
    ----------
    marts : Marts
        The marts.

    Raises
    ------
    SettingsError
        When the package mcp is missing.
    """
    try:
        from mcp.server import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
        from mcp_types import ToolAnnotations
    except ImportError as error:
        raise SettingsError("The package mcp is missing.", "Install it: pip install '.[mcp]'") from error

    served = MCPServer("admin-boundaries", instructions=INSTRUCTIONS, version=__version__)
    reads = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
    tool = served.tool(annotations=reads, structured_output=False)

    def told(question: Callable[[Asked], dict[str, Any]]) -> str:
        try:
            found = marts.ask(lambda asked: {**question(asked), "about": answers.about(asked)})
        except IngestError as error:
            raise ToolError(str(error)) from error
        return json.dumps(found, ensure_ascii=False, default=str)

    @tool
    def locate(
        lon: Annotated[float, Field(ge=-180, le=180, description="Longitude in degrees (WGS 84).")],
        lat: Annotated[float, Field(ge=-90, le=90, description="Latitude in degrees (WGS 84).")],
        at: Annotated[
            str | None, Field(description="A time, such as 2026-03-29T00:30Z: what clocks show there.")
        ] = None,
        nearest_km: Annotated[
            float | None,
            Field(gt=0, le=500, description="Of a point in no unit: the nearest unit within this distance."),
        ] = None,
    ) -> str:
        """Say in which administrative units and which time zone a point lies."""
        from admin_boundaries.timezones.local_time import time_of

        time = None if at is None else time_of(at)
        if at is not None and time is None:
            raise ToolError(f"{at!r} is not a time. Give it as in 2026-03-29T00:30Z.")
        metres = None if nearest_km is None else nearest_km * 1000
        return told(lambda asked: {"answer": answers.locate(asked, lon, lat, at=time, metres=metres)})

    @tool
    def find(
        name: Annotated[
            str, Field(min_length=1, max_length=80, description="A name in any spelling, or its beginning.")
        ],
        limit: Annotated[int, Field(ge=1, le=answers.MOST_NAMES, description="How many units to return.")] = 20,
        country: Annotated[str | None, Field(description="Only units of this country: its key, such as DZA.")] = None,
    ) -> str:
        """Find units by name; whole names come first. Accents and case do not matter."""
        return told(lambda asked: answers.find(asked, name, limit, country))

    @tool
    def unit(gid: Gid) -> str:
        """Tell what is known of a unit: where it belongs, names, area, time zones, codes, neighbours and faults."""
        return told(lambda asked: {"unit": json.loads(answers.unit(asked, gid))["properties"]})

    @tool
    def units(
        gids: Annotated[list[Gid], Field(min_length=1, max_length=answers.MOST_UNITS, description="Keys of units.")],
    ) -> str:
        """Tell the same of several units at once."""

        def tell(asked: Asked) -> dict[str, Any]:
            found = answers.units(asked, gids)
            known = {each["gid"] for each in found}
            return {"units": found, "unknown": [gid for gid in gids if gid not in known]}

        return told(tell)

    @tool
    def sql(
        statement: Annotated[
            str,
            Field(
                min_length=1,
                max_length=10_000,
                description="One select, in the SQL of the target (DuckDB or PostgreSQL, with spatial functions). "
                "information_schema.columns lists the tables; most useful are marts.admin_units (gid, admin_level, "
                "parent_gid, country_gid, name, path, area_km2), marts.admin_level_0 to _5 (with geom), "
                "marts.admin_unit_timezones and marts.timezones. Another dataset than gadm has marts_DATASET.",
            ),
        ],
        limit: Annotated[int, Field(ge=1, le=answers.MOST_ROWS, description="How many rows to return.")] = 100,
    ) -> str:
        """Answer a query, read-only; geometry is WKT, so select it only if it is needed."""
        return told(lambda asked: answers.query(asked, statement, limit))

    @tool
    def changes(
        countries: Annotated[list[str], Field(max_length=50, description="Only these countries: keys.")] = [],  # noqa: B006
        level: Annotated[int | None, Field(ge=0, le=5, description="Only this level.")] = None,
        types: Annotated[
            list[
                Literal["new", "gone", "renamed", "re-keyed", "moved", "reshaped", "split", "merged", "complex", "kept"]
            ],
            Field(description="Only changes of these types; all but kept if none is given."),
        ] = [],  # noqa: B006
        limit: Annotated[int, Field(ge=1, le=answers.MOST_CHANGES, description="How many rows to return.")] = 50,
    ) -> str:
        """Tell what changed since the release before: units that are new, gone, renamed, split, merged or reshaped."""
        wanted = what_changed.Wanted(tuple(countries), level, tuple(types))
        return told(lambda asked: answers.changes(asked, wanted, limit))

    return served


def serve(settings: Settings, *, seconds: int, of_datasets: licences.OfDatasets) -> None:
    """Answer on standard input and output until they are closed.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset.
    seconds : int
        How long a question may take.
    of_datasets : mapping of str to (str, str, str)
        Licence, attribution and source name of whole datasets.
    """
    marts = Marts(settings, of_datasets, Limits(seconds=seconds))
    try:
        server(marts).run("stdio")
    finally:
        marts.close()
