"""Commands that serve pages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingest import console
from ingest.cli.options import marts_of_dataset, warn

if TYPE_CHECKING:
    from ingest.settings import Settings


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on. There is no password.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5555,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@click.option("--name", "names", multiple=True, metavar="HOST", help="Also answer to this host name. Repeatable.")
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
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on. There is no password.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5556,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@click.option("--name", "names", multiple=True, metavar="HOST", help="Also answer to this host name. Repeatable.")
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
        from ingest.dashboard.explorer import Explorer

        def draw(explorer: Explorer) -> None:
            if explorer.is_drawn():
                return
            console.say("Drawing the tiles, once for this build: some minutes for the world.")
            with console.share_bar() as progress:
                explorer.draw(progress, partial(warn, current))

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
            draw=draw,
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
