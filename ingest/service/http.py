"""Serve the marts over HTTP until a signal stops it."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from admin_boundaries import licences
from admin_boundaries.service.marts import Limits, Marts
from admin_boundaries.service.tiles import Tiles
from ingest.dashboard.server import listen, names_of
from ingest.errors import IngestError, UsageError
from ingest.service.app import Service
from ingest.settings import Settings


@dataclass(frozen=True)
class Address:
    """Where the service is.

    Attributes
    ----------
    host : str
        What it listens on.
    port : int
        Likewise; 0 picks a free one.
    names : tuple of str
        Further host names that it answers to.
    url : str
        What links begin with, behind a proxy; empty for the address that was asked.
    origins : tuple of str
        Other sites whose pages may read answers; ``*`` for all.

    Raises
    ------
    UsageError
        When the URL or an origin is none.
    """

    host: str
    port: int
    names: tuple[str, ...] = ()
    url: str = ""
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text, example in (
            (self.url, "https://example.org/boundaries"),
            *((o, "https://example.org") for o in self.origins),
        ):
            parts = urllib.parse.urlsplit(text)
            if text not in ("", "*") and (parts.scheme not in ("http", "https") or not parts.hostname):
                raise UsageError(f"{text!r} is not the address of a site.", f"Give it like {example}.")

    @property
    def answers_to(self) -> list[str]:
        """The host names that requests may be for."""
        public = urllib.parse.urlsplit(self.url).hostname
        return names_of(self.host, [*self.names, *([public] if public else [])])


def serve(
    settings: Settings,
    address: Address,
    *,
    tiles: Path,
    seconds: int,
    of_datasets: licences.OfDatasets,
    report: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Serve the marts; where there are none yet, answers say so.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset.
    address : Address
        Where to.
    tiles : Path
        The folder that tiles are drawn to.
    seconds : int
        How long a question may take.
    of_datasets : mapping of str to (str, str, str)
        Licence, attribution and source name of whole datasets.
    report, warn : callable
        Called with lines for the user, and with sentences on what is stale and on what may not be published.

    Raises
    ------
    SettingsError
        When the address or port cannot be used.
    UsageError
        When the target is Spark.
    """
    marts = Marts(settings, of_datasets, Limits(seconds=seconds))
    try:
        said = marts.ask(lambda asked: (*asked.build.stale, *licences.warnings(asked.rights, "This service")))
    except IngestError as error:  # answers say so, too, until there are marts
        said = (str(error),)
    for text in said:
        warn(text)
    app = Service(marts, Tiles(tiles), address.url).app(address.answers_to, address.origins)
    try:
        listen(app, "service", address.host, address.port, report, open_to="all units.")
    finally:
        marts.close()
