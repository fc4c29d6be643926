"""The command line: parses arguments, calls the packages, prints, sets the exit code. It holds no logic of its own."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingest import __version__, console
from ingest.errors import (
    DISK_FULL,
    DiskFull,
    IngestError,
    NameUnknown,
    QueryFailed,
    SourceUnavailable,
    UsageError,
    did_you_mean,
)

if TYPE_CHECKING:
    from datetime import datetime

    from admin_boundaries.edition import Edition
    from ingest.settings import Settings

MAX_NAMES = 1000
MAKING_INDEX = "Making the index that answers for many points, once for this build: a minute or two for the world."
LOG_FORMAT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"
LEVELS = re.compile(r"(\d)(?:-(\d))?")


class DatasetsOrCommand(click.Group):
    """A group that also takes a dataset in place of a command: ``python -m ingest gadm`` loads it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert ``load`` when the first argument is neither a command nor an option of the group."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "--version"):
            args = ["load", *args]
        return super().parse_args(ctx, args)


@click.group(cls=DatasetsOrCommand, context_settings={"help_option_names": ["--help"]})
@click.version_option(__version__, prog_name="ingest")
def cli() -> None:
    """Load administrative boundaries and time zones into the warehouse.

    \b
    python -m ingest gadm                 load GADM's world download
    python -m ingest gadm timezones       load both datasets side by side
    python -m ingest datasets             list all datasets and their licences
    python -m ingest status               list the latest runs
    """  # noqa: D301  click reads the escape as a character


def _levels(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
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


def _countries(_ctx: click.Context, _param: click.Parameter, value: Sequence[str]) -> tuple[str, ...]:
    for code in value:
        if not re.fullmatch(r"[A-Za-z]{3}", code):
            raise click.BadParameter(f"{code!r} is not an ISO 3166-1 alpha-3 code (example: TGO).")
    return tuple(code.upper() for code in value)


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
        _check_has_marts(chosen)
    return replace(current, boundaries=chosen)


def _check_has_marts(name: str) -> None:
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


def _finish(is_built: bool, *published: str) -> None:
    """End a command that has published datasets or runs: build their marts, or say that this is what to do next.

    If none is given, it may have been any.
    """
    from ingest import catalog
    from ingest.pipeline import build, runs

    current, ledger = runs.open_target()
    known = [name for name in catalog.datasets() if ledger.published_run(name)]
    if not known:
        console.say("Nothing is published: nothing to build.")
        return
    datasets = {each if each in known else ledger.run(each).dataset for each in published}
    due = build.due(current, datasets or known, _faults_of_marts)
    for each in due:
        if is_built:
            build.build(each)
        else:
            console.say(f"Next: `{each.build_command}` builds the marts from the published runs.")
    if not due:
        console.say("The marts are of the published runs: nothing to build.")


def _faults_of_marts(settings: Settings) -> Sequence[str]:
    from admin_boundaries import edition
    from admin_boundaries.warehouse import open_warehouse

    with open_warehouse(settings) as warehouse:
        return edition.faults(warehouse.editions())


def _warn(settings: Settings, text: str) -> None:
    """Warn that the marts are not what is published."""
    console.warning(f"{text} Run `{settings.build_command}`.")


def _warn_if_stale(settings: Settings, editions: Sequence[Edition]) -> None:
    from admin_boundaries import edition

    for text in edition.faults(editions):
        _warn(settings, text)


@cli.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option(
    "--release", "releases", multiple=True, metavar="[DATASET=]RELEASE", help="Release to load; `datasets` lists them."
)
@click.option(
    "--variant",
    type=click.Choice(["now", "1970", "all"]),
    default="now",
    show_default=True,
    help="Time zones to keep apart: those that differ from now on, since 1970, or all.",
)
@click.option("--oceans/--no-oceans", default=True, show_default=True, help="Include the time zones of the oceans.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="[DATASET=]PATH_OR_URL",
    help="Load this file or URL instead of the publisher's; append #sha256=HEX to verify it. Repeatable.",
)
@click.option(
    "--country",
    "countries",
    multiple=True,
    metavar="ISO3",
    callback=_countries,
    help="Load the publisher's file of this country instead of the world's; of Overture, its rows. Repeatable.",
)
@click.option(
    "--add",
    "is_added",
    is_flag=True,
    help="Keep what is published of other countries; replace only those of the --source or --country.",
)
@click.option(
    "--levels",
    metavar="0-5",
    callback=_levels,
    help="Levels to load, for example 0-2 or 1,3; fails if the source lacks one.",
)
@click.option(
    "--engine",
    type=click.Choice(["sedonadb", "geopandas"]),
    default="sedonadb",
    show_default=True,
    help="Library that reads and cleans the layers.",
)
@workers_to_start
@click.option(
    "--validate/--no-validate",
    "is_validated",
    default=True,
    show_default=True,
    help="Validate every geometry; repair and report the invalid ones.",
)
@click.option(
    "--crs",
    metavar="EPSG:CODE",
    help="Reference system of the coordinates, for sources that state none or a wrong one.",
)
@click.option(
    "--encoding", metavar="NAME", help="Encoding of a shapefile's attributes, where it states none or a wrong one."
)
@click.option(
    "--no-private-addresses",
    "only_public",
    is_flag=True,
    help="Fetch sources from public addresses only, also after a redirect. INGEST_NO_PRIVATE_ADDRESSES=1 sets it "
    "for every load of a host.",
)
@click.option("--force", is_flag=True, help="Load even if the source has not changed.")
@click.option("--async", "is_async", is_flag=True, help="Print the ID of each run and return at once.")
@build_afterwards
def load(
    datasets: Sequence[str],
    releases: Sequence[str],
    variant: str,
    oceans: bool,
    sources: Sequence[str],
    countries: Sequence[str],
    is_added: bool,
    levels: tuple[int, ...] | None,
    engine: str,
    workers: int,
    is_validated: bool,
    crs: str | None,
    encoding: str | None,
    only_public: bool,
    force: bool,
    is_async: bool,
    is_built: bool,
) -> None:
    """Load DATASETS into the raw tables and publish them."""
    from ingest import catalog
    from ingest.pipeline import runs

    if is_built and is_async:
        raise UsageError(
            "--build waits until the runs are published, and --async does not wait.", "Leave out one of the two."
        )
    names = list(dict.fromkeys(datasets))
    for name in names:
        if name not in catalog.datasets():
            raise UsageError(
                f"There is no dataset or command {name!r}.", did_you_mean(name, [*catalog.datasets(), *cli.commands])
            )
    if crs:
        from ingest.layers import reference

        reference.check(crs)
    requests = runs.requests(
        names,
        releases=_per_dataset(releases, names),
        sources=_per_dataset(sources, names),
        countries=countries,
        levels=levels,
        engine=engine,
        variant=variant,
        oceans=oceans,
        is_validated=is_validated,
        crs=crs,
        encoding=encoding,
        is_added=is_added,
        only_public=only_public,
    )
    runs.start(requests, console, workers=workers, force=force, is_async=is_async)
    if not is_async:
        _finish(is_built, *names)


def _per_dataset(values: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Sort ``[DATASET=]VALUE`` options by dataset; a value without a dataset applies to all of them."""
    from ingest import catalog

    sorted_values: dict[str, list[str]] = {name: [] for name in names}
    for value in values:
        name, mark, rest = value.partition("=")
        if mark and re.fullmatch(r"\w+", name) and name in catalog.datasets():
            if name not in sorted_values:
                raise UsageError(
                    f"An option is for {name}, which this command does not load.", f"Add {name} to the command."
                )
            sorted_values[name].append(rest)
        else:
            for each in sorted_values.values():
                each.append(value)
    return sorted_values


@cli.command()
@click.option(
    "--workers", "-w", type=click.IntRange(1, 64), default=3, show_default=True, help="Number of worker processes."
)
@click.option(
    "--until-ended",
    "run_ids",
    multiple=True,
    metavar="RUN",
    help="Stop once this run has ended. Repeatable: stop once all have.",
)
@click.option(
    "--refresh",
    "schedule",
    metavar="CRON",
    help='Check for new releases on this schedule (UTC), for example "0 3 * * *".',
)
def worker(workers: int, run_ids: Sequence[str], schedule: str | None) -> None:
    """Run a consumer: worker processes that take tasks from the queue."""
    from ingest.pipeline import consumer, retries, runs

    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    settings, ledger = retries.patiently(runs.open_target, consumer.PATIENCE_SECONDS if run_ids else 0)
    schedule = schedule if schedule is not None else "" if run_ids else settings.refresh_schedule
    consumer.run(settings, ledger, workers, run_ids, schedule)


@cli.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--watch", is_flag=True, help="Follow RUN, or every run in progress, until it ends.")
@marts_of_dataset
def status(run_id: str | None, watch: bool, current: Settings) -> None:
    """Show the latest runs and which of them the marts are of, or every file and slice of RUN."""
    from ingest.pipeline import runs

    _settings, ledger = runs.open_target()
    if watch:
        runs.watch(current, ledger, run_id, console)
    if run_id:
        console.run(ledger, ledger.run(run_id), current.target)
    else:
        console.runs(ledger.recent_runs())
        _show_editions(current)


def _show_editions(settings: Settings) -> None:
    """Show which runs the marts are of. It is not known if they cannot be read, which is no reason to fail."""
    from admin_boundaries import edition
    from admin_boundaries.warehouse import open_warehouse

    try:
        with open_warehouse(settings) as warehouse:
            editions = warehouse.editions()
    except IngestError as fault:
        console.say(f"marts: {fault}")
        return
    if editions:
        console.table(edition.COLUMNS, [each.cells for each in editions])
    else:
        console.say(f"marts: {edition.UNKNOWN} Run `{settings.build_command}`.")


@cli.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@workers_to_start
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="URL",
    help="Supply a source URL of RUN again, with its query string. Repeatable.",
)
@build_afterwards
def resume(run_id: str | None, workers: int, sources: Sequence[str], is_built: bool) -> None:
    """Finish RUN, or every run in progress. Loaded slices stay; missing ones are loaded."""
    from ingest.pipeline import runs

    runs.resume(run_id, console, workers=workers, sources=sources)
    _finish(is_built, *filter(None, [run_id]))


@cli.command()
@click.argument("what", metavar="DATASET|RUN")
@build_afterwards
def rollback(what: str, is_built: bool) -> None:
    """Return DATASET to its previous publication, or to RUN."""
    from ingest.pipeline import runs

    runs.rollback(what, console)
    _finish(is_built, what)


@cli.command()
@click.argument("run_id", metavar="RUN")
@click.option("--undo", is_flag=True, help="Leave RUN to retention again.")
def keep(run_id: str, undo: bool) -> None:
    """Keep the tables of the publication RUN until further notice."""
    from ingest.pipeline import runs

    runs.keep(run_id, console, is_kept=not undo)


@cli.command()
@click.argument("run_id", metavar="RUN")
def abandon(run_id: str) -> None:
    """Abandon RUN. It ends as failed; what readers see does not change."""
    from ingest.pipeline import runs

    runs.abandon(run_id, console)


@cli.command()
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what would be removed.")
def prune(is_dry: bool) -> None:
    """Remove tables, downloads and unpacked files that no kept publication and no run in progress needs."""
    from ingest import sinks
    from ingest.pipeline import prune as pruning
    from ingest.pipeline import runs

    settings, ledger = runs.open_target()
    freed = pruning.prune(settings, ledger, sinks.get(settings), console.say, is_dry=is_dry)
    console.say(f"{freed:,} bytes {'would be' if is_dry else 'are'} freed.")


@cli.command()
def datasets() -> None:
    """List the datasets that can be loaded: licence, attribution, releases, levels, and what is loaded."""
    from ingest import catalog
    from ingest.pipeline import runs

    loaded: dict[str, str | None] = {}
    try:
        _, ledger = runs.open_target()
        loaded = {name: runs.published(ledger, name) for name in catalog.datasets()}
    except IngestError as fault:  # what can be loaded is known without a target
        console.warning(f"What is loaded is not known. {fault}")
    console.datasets(loaded)


@cli.command()
@click.option(
    "--loader",
    default="boundaries_loader",
    show_default=True,
    metavar="ROLE",
    help="Role that writes to the schema raw and nowhere else.",
)
@click.option(
    "--transformer",
    default="boundaries_transformer",
    show_default=True,
    metavar="ROLE",
    help="Role that reads raw and owns staging, intermediate, marts and seeds.",
)
@click.option(
    "--reader",
    default="boundaries_reader",
    show_default=True,
    metavar="ROLE",
    help="Role that reads marts and nothing else.",
)
@click.option(
    "--keeper",
    default="boundaries_keeper",
    show_default=True,
    metavar="ROLE",
    help="Role that owns the schema raw; nobody logs in as it.",
)
@click.option("--dry-run", is_flag=True, help="Print the SQL without running it.")
def init(loader: str, transformer: str, reader: str, keeper: str, dry_run: bool) -> None:
    """Create missing roles, schemas, permissions, PostGIS and ledger. Run it as a superuser or the database's owner."""
    from ingest import settings
    from ingest.ledger import Ledger
    from ingest.setup import rights

    found = settings.read_settings()
    roles = rights.Roles(loader=loader, transformer=transformer, reader=reader, keeper=keeper)
    rights.init(found, roles, dry_run=dry_run, report=console.say, open_ledger=lambda: Ledger(found).open())


@cli.command()
@workers_to_start
@build_afterwards
def refresh(workers: int, is_built: bool) -> None:
    """Check the publishers once, and load what is new."""
    from ingest.pipeline import runs

    try:
        runs.refresh_published(console, workers=workers)
    except SourceUnavailable:  # what the other publishers have is loaded
        _finish(is_built)
        raise
    _finish(is_built)


@cli.command()
@click.argument("text", required=False)
@click.option("--test", "is_test", is_flag=True, help="Send a test message.")
def alert(text: str | None, is_test: bool) -> None:
    """Send TEXT, or a test message, to the webhook."""
    from ingest import settings
    from ingest.pipeline import alerts

    if bool(text) == is_test:
        raise UsageError("Give either TEXT or --test.")
    alerts.send_now(settings.read_settings(), text)
    console.say("The webhook accepted the message.")


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("lon", required=False)
@click.argument("lat", required=False)
@click.option(
    "--input", "source", metavar="FILE", help="CSV or GeoParquet file of points; for Spark, any path that it can read."
)
@click.option(
    "--output",
    "target",
    metavar="FILE",
    help="File to write the answers to, in the same format; for Spark, a folder of Parquet.",
)
@may_overwrite
@click.option(
    "--at",
    metavar="TIME",
    help="Say what clocks show there at a time, such as 2026-03-29T00:30Z; without the Z, at what a clock shows there.",
)
@click.option("--time-column", metavar="NAME", help="The same for a file, by a column that has the time of each row.")
@click.option(
    "--engine",
    type=click.Choice(["local", "spark"]),
    default="local",
    show_default=True,
    help="What locates the points of files: this machine, or Spark (SPARK_MASTER, SPARK_REMOTE).",
)
@click.option(
    "--nearest", metavar="DISTANCE", help="For points in no unit, say which is the nearest within a distance: 25km."
)
@marts_of_dataset
def locate(
    lon: str | None,
    lat: str | None,
    source: str | None,
    target: str | None,
    overwrite: bool,
    at: str | None,
    time_column: str | None,
    engine: str,
    nearest: str | None,
    current: Settings,
) -> None:
    """Find the units and time zones at a point: LON and LAT in degrees, or every point of a file.

    \b
    python -m ingest locate -66.1 18.4
    python -m ingest locate -66.1 18.4 --at 2026-03-29T00:30Z
    python -m ingest locate --input points.csv --output located.csv
    """  # noqa: D301  click reads the escape as a character
    from admin_boundaries import edition
    from admin_boundaries.locate import COLUMNS
    from admin_boundaries.locate.distance import metres_of
    from admin_boundaries.warehouse import of_one_build, open_warehouse

    time = None if at is None else _time(at)
    metres = None if nearest is None else metres_of(nearest)
    if source is not None or target is not None:
        if source is None or target is None or lon is not None:
            raise UsageError("Give either LON and LAT, or --input and --output.")
        if at is not None and time_column is not None:
            raise UsageError("Give either --at or --time-column.")
        if engine == "spark":
            if at is not None or time_column is not None:
                raise UsageError(
                    "Spark does not say what clocks show.", "Leave out --at and --time-column, or --engine spark."
                )
            _locate_on_spark(current, source, target, metres, overwrite)
            return
        from admin_boundaries import points
        from admin_boundaries.locate.index import Index

        when = points.When(time, time_column) if at is not None or time_column is not None else None
        with open_warehouse(current) as warehouse:
            _warn_if_stale(current, warehouse.editions())
            index = Index(current, warehouse, lambda: console.note(MAKING_INDEX))
            with console.points_bar() as report:
                rows = points.locate_file(
                    warehouse, index, Path(source), Path(target), report, when=when, nearest=metres, overwrite=overwrite
                )
        console.say(f"{rows} rows: {target}")
        return
    if time_column is not None:
        raise UsageError("--time-column is for a file.", "For one point, give --at.")
    if engine == "spark":
        raise UsageError("--engine spark is for files.", "For one point, leave it out.")
    coordinates = _coordinates(lon, lat)
    with open_warehouse(current) as warehouse:
        editions = warehouse.editions()
        _warn_if_stale(current, editions)
        clock = near = None
        with nullcontext() if time is None and metres is None else of_one_build(warehouse):
            answer = dict(zip(COLUMNS, warehouse.locate(*coordinates), strict=True))
            if time is not None:
                from admin_boundaries.timezones.local_time import LocalTimes

                clock = asdict(LocalTimes(warehouse).at(answer["tzid"], time))
            if metres is not None and answer["status"] == "no unit":
                from admin_boundaries.locate.nearby import nearest_unit

                found = nearest_unit(warehouse, *coordinates, metres)
                near = f"{found.gid}, {found.path}: {found.metres:,.0f} m" if found else f"none within {nearest}"
    console.location(answer, edition.no_unit(editions, current.boundaries), clock, near)


def _locate_on_spark(current: Settings, source: str, target: str, metres: float | None, overwrite: bool) -> None:
    from admin_boundaries.locate.index import Index
    from admin_boundaries.spark.locate import locate_paths
    from admin_boundaries.spark.session import spark_session
    from admin_boundaries.warehouse import open_warehouse
    from ingest import settings

    with ExitStack() as stack:
        spark = stack.enter_context(spark_session(settings.spark()))
        with open_warehouse(current) as warehouse:  # and not while points are located, which may take hours
            _warn_if_stale(current, warehouse.editions())
            index = Index(current, warehouse, lambda: console.note(MAKING_INDEX))
            folder = stack.enter_context(index.held())
        done = locate_paths(spark, folder, source, target, nearest=metres, overwrite=overwrite)
    if done.bad:
        console.note(f"{done.bad} rows have bad coordinates.")
    console.say(f"{done.rows} rows: {target}")


def _time(text: str) -> datetime:
    from admin_boundaries.timezones.local_time import time_of

    time = time_of(text)
    if time is None:
        raise UsageError(
            f"{text!r} is not a time.",
            "Give it as in 2026-03-29T00:30Z, or without the Z for what a clock shows there.",
        )
    return time


def _coordinates(lon: str | None, lat: str | None) -> tuple[float, float]:
    if lon is None or lat is None:
        raise UsageError(
            "Give LON and LAT in degrees, as in: locate -66.1 18.4", "For many points, use --input and --output."
        )
    try:
        degrees = float(lon), float(lat)
    except ValueError as error:
        raise UsageError(
            f"{lon!r} and {lat!r} are not two numbers.", "Give degrees, as in: locate -66.1 18.4"
        ) from error
    if not (-180 <= degrees[0] <= 180 and -90 <= degrees[1] <= 90):
        swapped = -90 <= degrees[0] <= 90 and -180 <= degrees[1] <= 180
        hint = "Longitude comes first." if swapped else "Longitude ranges from -180 to 180, latitude from -90 to 90."
        raise UsageError(f"LON {lon}, LAT {lat} is outside the valid range.", hint)
    return degrees


@cli.command()
@click.argument("name")
@click.option(
    "--limit", type=click.IntRange(1, MAX_NAMES), default=20, show_default=True, help="Maximum number of results."
)
@marts_of_dataset
def find(name: str, limit: int, current: Settings) -> None:
    """Find units by NAME or its beginning, in any known spelling. Accents are ignored."""
    from admin_boundaries.warehouse import open_warehouse

    with open_warehouse(current) as warehouse:
        _warn_if_stale(current, warehouse.editions())
        found = warehouse.find(name, limit + 1)
    if not found:
        raise NameUnknown(f"No unit has a name that begins with {name!r}.", "Try only the first letters.")
    console.table(["gid", "level", "type", "name", "path"], [name.cells for name in found[:limit]])
    if len(found) > limit:
        console.hint_at_more(limit, MAX_NAMES)


@cli.command()
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Folder to write to.  [default: WAREHOUSE_HOME/pictures, of another dataset than gadm pictures_NAME]",
)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="dbt's manifest, which names the keys of the tables.  [default: target/manifest.json of the project]",
)
@click.option(
    "--page", type=click.Path(path_type=Path), help="Docs page to embed them in, such as target/static_index.html."
)
@marts_of_dataset
def pictures(output: Path | None, manifest: Path | None, page: Path | None, current: Settings) -> None:
    """Draw maps, counts and a diagram of the tables from the marts."""
    from admin_boundaries import pictures as drawings
    from admin_boundaries import what_changed
    from admin_boundaries.warehouse import open_warehouse
    from ingest import settings
    from ingest.ledger.ledger import Ledger

    faults: list[str] = []

    def warn(text: str) -> None:
        faults.append(text)
        _warn(current, text)

    folder = output or current.home / settings.with_dataset("pictures", current.boundaries)
    drawn = drawings.draw(current, folder, manifest or settings.dbt_manifest(), console.say, warn)
    if page:
        ledger = Ledger(current)
        ledger.open()
        with open_warehouse(current) as warehouse:
            changed = what_changed.told(warehouse)
        told = [f"**What changed**, {changed}."] if changed else []
        drawings.finish(page, drawn, " ".join([console.published(ledger), *faults, *told]))


@cli.command()
@click.argument("statement", required=False)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="What to print.",
)
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="Maximum number of rows of a table."
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File to write all rows to: .csv, .json or .parquet."
)
@may_overwrite
@marts_of_dataset
def sql(statement: str | None, kind: str, limit: int, output: Path | None, overwrite: bool, current: Settings) -> None:
    """Answer a STATEMENT of SQL from the marts, read-only; without one, a prompt, or what is piped in.

    It is in the SQL of the target, DuckDB or PostgreSQL, with all spatial functions. A table cuts long values;
    geometry is WKT, in .parquet WKB.
    """
    from admin_boundaries import sql as queries
    from admin_boundaries.warehouse import open_warehouse

    if output:
        queries.check_output(output, overwrite=overwrite)
    if statement is None and not sys.stdin.isatty():
        statement = sys.stdin.read()
    with open_warehouse(current) as warehouse:
        _warn_if_stale(current, warehouse.editions())

        def answer(text: str) -> None:
            if kind != "table":
                queries.write_text(warehouse, text, kind, sys.stdout)
                return
            columns, rows, is_more = queries.first_rows(warehouse, text, limit)
            console.table(columns, rows)
            if is_more:
                console.note(
                    f"… and more than these {limit} rows. Use --limit, or write all of them to a file: -o FILE"
                )

        if statement is not None and output:
            console.say(f"{output}: {queries.write(warehouse, statement, output):,} rows")
        elif statement is not None:
            answer(statement)
        elif output:
            raise UsageError("There is no statement whose rows could be written.", "Give one before -o.")
        else:
            console.say(f"SQL on {warehouse.marts} of {current.target}. End a statement with ; and leave with Ctrl+D.")
            queries.prompt(console.ask, partial(_answer_or_say_why, answer))


def _answer_or_say_why(answer: Callable[[str], None], statement: str) -> None:
    """Answer a statement at the prompt, which goes on where one is refused."""
    try:
        answer(statement)
    except QueryFailed as error:
        console.error(error)


@cli.command()
@click.argument("names", metavar="[MART]...", nargs=-1)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), required=True, help="File to write: .parquet, .gpkg or .fgb."
)
@click.option(
    "--country",
    "countries",
    multiple=True,
    metavar="ISO3",
    callback=_countries,
    help="Export only this country. Repeatable.",
)
@may_overwrite
@marts_of_dataset
def export(names: Sequence[str], output: Path, countries: Sequence[str], overwrite: bool, current: Settings) -> None:
    """Export MARTs, or all levels, to a GeoParquet, GeoPackage or FlatGeobuf file.

    Licence, attribution and source are written into the file. A warning says if it holds data that may not be
    published, or mixes licences: which, and of how many units.
    """
    from admin_boundaries import export as exports
    from ingest import catalog

    exports.export(
        current,
        names,
        countries,
        output,
        overwrite=overwrite,
        of_datasets=catalog.rights_of_datasets(),
        report=console.say,
        warn=partial(_warn, current),
        warn_of_licences=console.warning,
    )


@cli.command()
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="Archive to write: .pmtiles.")
@click.option(
    "--country",
    "countries",
    multiple=True,
    metavar="ISO3",
    callback=_countries,
    help="Draw only this country and its time zones. Repeatable.",
)
@may_overwrite
@marts_of_dataset
def tiles(output: Path, countries: Sequence[str], overwrite: bool, current: Settings) -> None:
    """Write all units and time zones as vector tiles, to one PMTiles archive that maps on the web read by ranges."""
    from admin_boundaries.tiles import archive
    from ingest import catalog

    with console.share_bar() as progress:
        said = archive.write(
            current,
            countries,
            output,
            overwrite=overwrite,
            of_datasets=catalog.rights_of_datasets(),
            progress=progress,
            warn=partial(_warn, current),
            warn_of_licences=console.warning,
        )
    for text in said:
        console.say(text)


@cli.command()
@click.argument("dataset", required=False)
@click.option(
    "--country", "countries", multiple=True, metavar="ISO3", callback=_countries, help="Only this country. Repeatable."
)
@click.option("--level", type=click.IntRange(0, 5), help="Only this level.")
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    help="Only changes of this type, such as split. Repeatable.  [default: all but kept]",
)
@click.option(
    "--limit", type=click.IntRange(1, MAX_NAMES), default=50, show_default=True, help="Maximum number of rows."
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="File to write all of them to: .csv or .parquet.")
@may_overwrite
@marts_of_dataset
def changes(
    dataset: str | None,
    countries: Sequence[str],
    level: int | None,
    types: Sequence[str],
    limit: int,
    output: Path | None,
    overwrite: bool,
    current: Settings,
) -> None:
    """Show what changed in DATASET since the release before: which units are new, gone, renamed, split …"""  # noqa: D400
    from admin_boundaries import what_changed
    from admin_boundaries.warehouse import open_warehouse
    from ingest import catalog

    for name in types:
        if name not in what_changed.TYPES:
            raise UsageError(f"There is no change of type {name!r}.", did_you_mean(name, what_changed.TYPES))
    if dataset is not None:
        _check_has_marts(dataset)
        current = replace(current, boundaries=dataset)
    wanted = what_changed.Wanted(tuple(countries), level, tuple(types))
    with open_warehouse(current) as warehouse:
        _warn_if_stale(current, warehouse.editions())
        found = what_changed.read(warehouse, wanted, limit)
        if output is not None:
            rows = what_changed.write(
                warehouse,
                wanted,
                output,
                overwrite=overwrite,
                of_datasets=catalog.rights_of_datasets(),
                warn_of_licences=console.warning,
            )
    console.say(found.summary)
    if output is not None:
        console.say(f"{output}: {rows:,} rows")
    elif found.cells:
        console.table(what_changed.HEADINGS, found.cells)
        if found.rows > len(found.cells):
            console.say(
                f"… and {found.rows - len(found.cells):,} more. "
                "Use --limit, --country, --level or --type to see others, or -o FILE for all of them."
            )


@cli.command()
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--key", required=True, metavar="COLUMN", help="Column of FILE with the keys of units.")
@click.option("--from", "from_release", required=True, metavar="RELEASE", help="Release that the keys are of.")
@click.option("--to", "to_release", required=True, metavar="RELEASE", help="Release to carry the columns to.")
@click.option(
    "--sum", "sums", multiple=True, metavar="COLUMN", help="Amount, such as a population: divided by area. Repeatable."
)
@click.option(
    "--mean", "means", multiple=True, metavar="COLUMN", help="Level, such as an income: averaged. Repeatable."
)
@click.option("--weight", metavar="COLUMN", help="Amount that means are weighted by.  [default: the area in common]")
@click.option(
    "--slivers/--no-slivers",
    "has_slivers",
    default=True,
    show_default=True,
    help="Carry also what units have in common only because borders were drawn anew.",
)
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="File to write: .csv or .parquet.")
@may_overwrite
@marts_of_dataset
def reweight(
    source: Path,
    key: str,
    from_release: str,
    to_release: str,
    sums: Sequence[str],
    means: Sequence[str],
    weight: str | None,
    has_slivers: bool,
    output: Path,
    overwrite: bool,
    current: Settings,
) -> None:
    """Carry columns of FILE, CSV or Parquet with one row per unit, from one release to another.

    \b
    python -m ingest reweight data.csv --key gid --from 3.6 --to 4.1 --sum population --mean income -o new.csv
    """  # noqa: D301  click reads the escape as a character
    from admin_boundaries import reweight as reweighting
    from admin_boundaries.warehouse import open_warehouse
    from ingest import catalog

    columns = reweighting.Columns.named(key, sums, means, weight)
    with open_warehouse(current) as warehouse:
        _warn_if_stale(current, warehouse.editions())
        report = reweighting.reweight(
            warehouse,
            source,
            output,
            columns,
            from_release,
            to_release,
            has_slivers=has_slivers,
            overwrite=overwrite,
            of_datasets=catalog.rights_of_datasets(),
            warn_of_licences=console.warning,
        )
    if report.totals:
        console.table(reweighting.CELLS, reweighting.cells(report))
    for text in reweighting.warnings_of(report):
        console.warning(text)
    for text in reweighting.sentences(report, output):
        console.say(text)


@cli.command()
@click.argument("dataset")
def scaffold(dataset: str) -> None:
    """Write the staging models of a DATASET of ingest/catalog.yaml; `BOUNDARIES=DATASET dbt build` then builds it."""
    from ingest import catalog
    from ingest import scaffold as staging
    from ingest.settings import PROJECT_ROOT

    files = staging.staging_folder(catalog.get(dataset))
    folder = PROJECT_ROOT / "models" / "staging" / dataset
    for path in staging.write(files, folder):
        console.say(f"{path.relative_to(PROJECT_ROOT)}: written")
    console.say(f"Next: `python -m ingest {dataset} timezones`, then `BOUNDARIES={dataset} dbt build`.")


@cli.command()
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
    """Serve a live web page of runs, slices and workers."""
    from ingest import dashboard as pages

    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    pages.serve(
        current, host=host, port=port, names=names, is_read_only=is_read_only, workers=workers, report=console.say
    )


@cli.command(name="map")
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
    """Serve a map of all units to this machine, or write it as files for any web server that knows ranges."""
    from ingest import catalog

    of_datasets = catalog.rights_of_datasets()
    if output is None:
        from ingest.dashboard import explorer

        explorer.serve(
            current,
            host=host,
            port=port,
            names=names,
            of_datasets=of_datasets,
            bar=console.share_bar,
            report=console.say,
            warn=partial(_warn, current),
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
            warn=partial(_warn, current),
            warn_of_licences=console.warning,
        )
    for text in said:
        console.say(text)


@cli.command()
@click.option(
    "--repair", "is_repaired", is_flag=True, help="Restore what can be derived from the rest: links, views, the queue."
)
@marts_of_dataset
def doctor(is_repaired: bool, current: Settings) -> None:
    """Check what the target needs and what has been damaged, and say how to fix it."""
    from admin_boundaries import duckdb_spatial
    from ingest.pipeline import damage
    from ingest.setup import doctor as checks

    faults_of_marts = partial(_faults_of_marts, current)
    console.say(f"target: {current.target}")
    damaged = damage.examine(current, is_repaired=is_repaired)
    checks.require([*damaged, *checks.examine(current, duckdb_spatial.version, faults_of_marts)], console.check)


def main() -> None:
    """Run the command line. An expected failure prints its message and sets its exit code."""
    try:
        cli.main(prog_name="python -m ingest", standalone_mode=False)
    except IngestError as fault:
        console.error(fault)
        sys.exit(fault.exit_code)
    except OSError as fault:
        if fault.errno not in DISK_FULL:
            raise
        full = DiskFull(
            f"{fault.filename or 'A file'} cannot be written: {fault.strerror or fault}.",
            "Free some space, or set WAREHOUSE_HOME to another disk; then start the command again.",
        )
        console.error(full)
        sys.exit(full.exit_code)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.Abort:
        console.err.print("Interrupted. `python -m ingest status` shows how far it got.")
        sys.exit(1)
    except click.ClickException as fault:
        fault.show()
        sys.exit(fault.exit_code)
