"""Commands that serve pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingest import console
from ingest.cli.options import Command, marts_of_dataset, warn

if TYPE_CHECKING:
    from ingest.dashboard.explorer import Explorer
    from ingest.settings import Settings

host_to_listen_on = click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on. There is no password."
)
also_called = click.option(
    "--name", "names", multiple=True, metavar="HOST", help="Also answer to this host name. Repeatable."
)
time_of_a_question = click.option(
    "--seconds",
    type=click.IntRange(1, 3600),
    default=20,
    show_default=True,
    help="Longest time of a question; on PostgreSQL, of each of its statements.",
)


def port_to_listen_on(default: int) -> Callable[[Command], Command]:
    """Return the option that chooses another port than a command's own."""
    return click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=default,
        show_default=True,
        help="Port to listen on; 0 picks a free one.",
    )


@click.command()
@host_to_listen_on
@port_to_listen_on(5555)
@also_called
@click.option(
    "--read-only/--with-buttons",
    "is_read_only",
    default=False,
    help="Show no buttons and accept no actions, or do.  [default: with-buttons]",
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=3, show_default=True, help="Worker processes that a button starts."
)
@marts_of_dataset
def dashboard(host: str, port: int, names: Sequence[str], is_read_only: bool, workers: int, current: Settings) -> None:
    """Serve a live web page of runs, slices and workers, and the map."""
    from ingest import catalog, logs
    from ingest import dashboard as pages

    logs.configure()
    pages.serve(
        current,
        host=host,
        port=port,
        names=names,
        is_read_only=is_read_only,
        workers=workers,
        of_datasets=catalog.rights_of_datasets(),
        report=console.say,
    )


@click.command(name="map")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Folder to write the map to, as static files.")
@click.option("--overwrite", is_flag=True, help="Replace the map in the folder.")
@host_to_listen_on
@port_to_listen_on(5556)
@also_called
@marts_of_dataset
def show_map(
    output: Path | None, overwrite: bool, host: str, port: int, names: Sequence[str], current: Settings
) -> None:
    """Serve a map of all units, and the dashboard without buttons, or write the map as files for any web server."""
    from ingest import catalog

    of_datasets = catalog.rights_of_datasets()
    if output is None:
        from ingest import dashboard as pages
        from ingest import logs

        logs.configure()
        pages.serve(
            current,
            host=host,
            port=port,
            names=names,
            is_read_only=True,
            workers=1,
            of_datasets=of_datasets,
            report=console.say,
            draw=lambda explorer: _draw(explorer, current),
        )
        return
    from admin_boundaries.explorer import site

    with console.share_bar() as progress:
        said = site.write(
            current,
            output,
            overwrite=overwrite,
            of_datasets=of_datasets,
            progress=progress,
            warn=partial(warn, current),
            warn_of_licences=console.warning,
        )
    for text in said:
        console.say(text)


def _draw(explorer: Explorer, current: Settings) -> None:
    """Draw the tiles of the build, unless they are there."""
    if explorer.is_drawn():
        return
    console.say("Drawing the tiles, once for this build: some minutes for the world.")
    with console.share_bar() as progress:
        explorer.draw(progress, partial(warn, current))


@click.command()
@host_to_listen_on
@port_to_listen_on(5557)
@also_called
@click.option("--url", default="", metavar="URL", help="Address that links begin with, behind a proxy.")
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Let pages of this site read answers, such as https://example.org; * for all. Repeatable.",
)
@click.option("--tiles", "is_drawn", is_flag=True, help="First draw the tiles of this build, as `map` does.")
@time_of_a_question
@marts_of_dataset
def serve(
    host: str,
    port: int,
    names: Sequence[str],
    url: str,
    origins: Sequence[str],
    is_drawn: bool,
    seconds: int,
    current: Settings,
) -> None:
    """Answer over HTTP, read-only: points, names, units, OGC API Features and tiles."""
    from ingest import catalog, logs
    from ingest.dashboard.explorer import Explorer, folder_of
    from ingest.service import http

    logs.configure()
    of_datasets = catalog.rights_of_datasets()
    if is_drawn:
        _draw(Explorer(current, of_datasets), current)
    http.serve(
        current,
        http.Address(host, port, tuple(names), url, tuple(origins)),
        tiles=folder_of(current),
        seconds=seconds,
        of_datasets=of_datasets,
        report=console.say,
        warn=console.warning,
    )


@click.command()
@time_of_a_question
@marts_of_dataset
def mcp(seconds: int, current: Settings) -> None:
    """Answer an assistant over standard input and output (Model Context Protocol), read-only."""
    from ingest import catalog
    from ingest.service import assistants

    assistants.serve(current, seconds=seconds, of_datasets=catalog.rights_of_datasets())
