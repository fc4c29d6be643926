"""Options and sentences that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ingest import console
from ingest.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from admin_boundaries.edition import Edition
    from ingest.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])
MAX_NAMES = 1000
LEVELS = re.compile(r"(\d)(?:-(\d))?")


def parse_levels(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Return the levels of a list of levels and ranges, such as ``0-2,4``."""
    if value is None:
        return None
    levels: set[int] = set()
    for part in value.split(","):
        match = LEVELS.fullmatch(part.strip())
        if match is None:
            raise click.BadParameter(f"{part!r} is neither a level nor a range such as 0-3.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise click.BadParameter(f"{part!r} begins after its end.")
        levels |= set(range(first, last + 1))
    return tuple(sorted(levels))


def parse_countries(_ctx: click.Context, _param: click.Parameter, value: Sequence[str]) -> tuple[str, ...]:
    """Return the alpha-3 codes of countries, which may be given by any code of ISO 3166-1 or by name."""
    from ingest import catalog

    return tuple(catalog.country(text) for text in value)


def of_countries(effect: str) -> Callable[[Command], Command]:
    """Return the option that chooses countries, given what a command does with them."""
    return click.option(
        "--country", "countries", multiple=True, metavar="COUNTRY", callback=parse_countries, help=effect
    )


may_overwrite = click.option("--overwrite", is_flag=True, help="Replace an existing file.")


workers_to_start = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=3,
    show_default=True,
    help="Worker processes to start if no consumer is running.",
)


build_afterwards = click.option(
    "--build",
    "is_built",
    is_flag=True,
    help="Then run `dbt build`, unless the marts are current.",
)


def _of_dataset(_ctx: click.Context, _param: click.Parameter, name: str | None) -> Settings:
    from ingest import settings

    current = settings.read_settings()
    chosen = name or current.boundaries
    if chosen != settings.BOUNDARIES:
        check_has_marts(chosen)
    return replace(current, boundaries=chosen)


def check_has_marts(name: str) -> None:
    """Refuse a dataset that is not known, or that has no marts of its own."""
    from ingest import catalog

    known = catalog.datasets()
    hierarchical = catalog.hierarchies()
    if name in known and name not in hierarchical:
        raise UsageError(
            f"{name} has no marts of its own: it is part of those of every other dataset.",
            did_you_mean(name, hierarchical),
        )
    if name not in known:
        raise UsageError(f"There is no dataset {name!r}.", did_you_mean(name, hierarchical))


marts_of_dataset = click.option(
    "--dataset",
    "current",
    metavar="NAME",
    callback=_of_dataset,
    help="Read the marts of this dataset.  [default: BOUNDARIES, else gadm]",
)


def finish(is_built: bool, *published: str) -> None:
    """End a command that has published datasets or runs: build their marts, or say that this is what to do next.

    If none is given, it may have been any.
    """
    from ingest import catalog
    from ingest.pipeline import build, builder, runs

    current, ledger = runs.open_target()
    known = [name for name in catalog.datasets() if ledger.published_run(name)]
    if not known:
        console.say("Nothing is published: nothing to build.")
        return
    datasets = {each if each in known else ledger.run(each).dataset for each in published}
    due = build.due(current, datasets or known, faults_of_marts)
    for each in due:
        if is_built:
            builder.build_now(each, ledger)
        else:
            console.say(f"Next: `{each.build_command}` builds the marts from the published runs.")
    if not due:
        console.say("The marts are of the published runs: nothing to build.")


def faults_of_marts(settings: Settings) -> Sequence[str]:
    """Return in words why the marts are not what is published; none if they are."""
    from admin_boundaries import edition
    from admin_boundaries.warehouse import open_warehouse

    with open_warehouse(settings) as warehouse:
        return edition.faults(warehouse.editions())


def outdated_caches(settings: Settings) -> Iterator[Path]:
    """Yield the files and folders that were made from marts which have been replaced, of all datasets."""
    from admin_boundaries import caches
    from ingest import catalog

    for name in catalog.hierarchies():
        yield from caches.outdated(replace(settings, boundaries=name))


def warn(settings: Settings, text: str) -> None:
    """Warn that the marts are not what is published."""
    console.warning(f"{text} Run `{settings.build_command}`.")


def warn_if_stale(settings: Settings, editions: Sequence[Edition]) -> None:
    """Warn if the marts are not what is published."""
    from admin_boundaries import edition

    for text in edition.faults(editions):
        warn(settings, text)
