"""Commands that load, watch, keep and mend: everything up to the build."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from ingest import console
from ingest.cli.options import (
    build_afterwards,
    faults_of_marts,
    finish,
    marts_of_dataset,
    of_countries,
    outdated_caches,
    parse_levels,
    workers_to_start,
)
from ingest.errors import IngestError, PermissionMissing, SourceUnavailable, UsageError, did_you_mean

if TYPE_CHECKING:
    from ingest.settings import Settings


@click.command()
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
@of_countries(
    "Load the publisher's file of this country instead of the world's; of Overture, its rows. An ISO code or its "
    "name. Repeatable."
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
    callback=parse_levels,
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
    from ingest.cli import cli
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
        finish(is_built, *names)


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


@click.command()
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
@click.option(
    "--build",
    "is_building",
    is_flag=True,
    help="Run `dbt build` whenever other runs are published than those of the marts, then `prune`.",
)
def worker(workers: int, run_ids: Sequence[str], schedule: str | None, is_building: bool) -> None:
    """Run a consumer: worker processes that take tasks from the queue."""
    from ingest import logs
    from ingest.pipeline import consumer, retries, runs
    from ingest.pipeline.builder import Builder

    if is_building and run_ids:
        raise UsageError("--build goes on for ever, and --until-ended ends.", "Leave out one of the two.")
    logs.configure()
    settings, ledger = retries.patiently(runs.open_target, consumer.PATIENCE_SECONDS if run_ids else 0)
    schedule = schedule if schedule is not None else "" if run_ids else settings.refresh_schedule
    caches = partial(outdated_caches, settings)
    builder = Builder(settings, ledger, faults_of_marts, caches) if is_building else None
    consumer.run(settings, ledger, workers, run_ids, schedule, builder)


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--watch", is_flag=True, help="Follow RUN, or every run in progress, until it ends.")
@marts_of_dataset
def status(run_id: str | None, watch: bool, current: Settings) -> None:
    """Show the latest runs and which of them the marts are of, or every file and slice of RUN."""
    from ingest.pipeline import runs

    try:
        _settings, ledger = runs.open_target()
    except PermissionMissing as fault:
        if run_id or watch:
            raise
        console.warning(f"The runs cannot be shown. {fault}")
        _show_editions(current)  # which every reader may read
        return
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


@click.command()
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
    finish(is_built, *filter(None, [run_id]))


@click.command()
@click.argument("what", metavar="DATASET|RUN")
@build_afterwards
def rollback(what: str, is_built: bool) -> None:
    """Return DATASET to its previous publication, or to RUN."""
    from ingest.pipeline import runs

    runs.rollback(what, console)
    finish(is_built, what)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--undo", is_flag=True, help="Leave RUN to retention again.")
def keep(run_id: str, undo: bool) -> None:
    """Keep the tables of the publication RUN until further notice."""
    from ingest.pipeline import runs

    runs.keep(run_id, console, is_kept=not undo)


@click.command()
@click.argument("run_id", metavar="RUN")
def abandon(run_id: str) -> None:
    """Abandon RUN. It ends as failed; what readers see does not change."""
    from ingest.pipeline import runs

    runs.abandon(run_id, console)


@click.command()
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--days",
    type=click.IntRange(1, 36500),
    default=90,
    show_default=True,
    help="Age from which logs and the ledger's records of runs without tables are removed.",
)
def prune(is_dry: bool, days: int) -> None:
    """Remove tables, files, caches, logs and records that no kept publication and no run in progress needs."""
    from ingest import sinks
    from ingest.pipeline import prune as pruning
    from ingest.pipeline import runs

    settings, ledger = runs.open_target()
    sink, caches = sinks.get(settings), partial(outdated_caches, settings)
    freed = pruning.prune(settings, ledger, sink, console.say, is_dry=is_dry, caches=caches, days=days)
    console.say(f"{freed:,} bytes {'would be' if is_dry else 'are'} freed.")


@click.command()
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


@click.command()
@workers_to_start
@build_afterwards
def refresh(workers: int, is_built: bool) -> None:
    """Check the publishers once, and load what is new."""
    from ingest.pipeline import runs

    try:
        runs.refresh_published(console, workers=workers)
    except SourceUnavailable:  # what the other publishers have is loaded
        finish(is_built)
        raise
    finish(is_built)


@click.command()
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


@click.command()
@click.argument("dataset")
def scaffold(dataset: str) -> None:
    """Write the staging models of a DATASET of ingest/catalog.yaml; `BOUNDARIES=DATASET dbt build` then builds it."""
    from ingest import catalog
    from ingest import scaffold as staging
    from ingest.settings import PROJECT_ROOT, require_project

    require_project()
    files = staging.staging_folder(catalog.get(dataset))
    folder = PROJECT_ROOT / "models" / "staging" / dataset
    for path in staging.write(files, folder):
        console.say(f"{path.relative_to(PROJECT_ROOT)}: written")
    console.say(f"Next: `python -m ingest {dataset} timezones`, then `BOUNDARIES={dataset} dbt build`.")


@click.command()
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


@click.command()
@click.option(
    "--repair", "is_repaired", is_flag=True, help="Restore what can be derived from the rest: links, views, the queue."
)
@marts_of_dataset
def doctor(is_repaired: bool, current: Settings) -> None:
    """Check what the target needs and what has been damaged, say how to fix it, and how large everything is."""
    from admin_boundaries import duckdb_spatial
    from ingest import catalog
    from ingest.pipeline import damage
    from ingest.setup import doctor as checks
    from ingest.setup import sizes

    console.say(f"target: {current.target}")
    damaged = damage.examine(current, is_repaired=is_repaired)
    found = [*damaged, *checks.examine(current, duckdb_spatial.version, partial(faults_of_marts, current))]
    try:
        checks.require(found, console.check)
    finally:
        measured = list(sizes.measure(current, catalog.hierarchies()))
        if measured:
            console.table(sizes.COLUMNS, [each.cells for each in measured])
