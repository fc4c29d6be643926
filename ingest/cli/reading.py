"""Commands that read the marts: lookups, files, tables and pictures."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from ingest import console
from ingest.cli.options import (
    MAX_NAMES,
    check_has_marts,
    marts_of_dataset,
    may_overwrite,
    of_countries,
    warn,
    warn_if_stale,
)
from ingest.errors import NameUnknown, QueryFailed, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from ingest.settings import Settings

KINDS = ("parquet", "gpkg", "fgb", "geojson", "geojsonl", "csv", "shp")  # of files that `export` writes
MAKING_INDEX = "Making the index that answers for many points, once for this build: a minute or two for the world."


@click.command(context_settings={"ignore_unknown_options": True})
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
            warn_if_stale(current, warehouse.editions())
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
        warn_if_stale(current, editions)
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
            warn_if_stale(current, warehouse.editions())
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
    from admin_boundaries.locate import check_degrees

    meant = _degrees_meant(f"{lon or ''} {lat or ''}")
    if lon is None or lat is None:
        hint = meant or "For many points, use --input and --output."
        raise UsageError("Give LON and LAT in degrees, as in: locate -66.1 18.4", hint)
    try:
        degrees = float(lon), float(lat)
    except ValueError as error:
        hint = meant or "Give degrees, as in: locate -66.1 18.4"
        raise UsageError(f"{lon!r} and {lat!r} are not two numbers.", hint) from error
    check_degrees(*degrees)
    return degrees


def _degrees_meant(text: str) -> str | None:
    """Return what to type instead, where two numbers were typed with a decimal comma, or with one between them."""
    for number, between in ((r"-?\d+[.]?\d*", r"\s*[,;]\s*|\s+"), (r"-?\d+(?:,\d+)?", r"\s*;\s*|,?\s+")):
        found = re.fullmatch(f"({number})(?:{between})({number})[,;]?", text.strip())
        if found:
            lon, lat = (each.replace(",", ".") for each in found.groups())
            return f"With decimal points and a blank between them: {lon} {lat}"
    return None


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.option(
    "--near",
    nargs=2,
    metavar="LON LAT",
    help="Put the units nearest to this point first, by a point inside each, and say how far away they are.",
)
@click.option(
    "--limit", type=click.IntRange(1, MAX_NAMES), default=20, show_default=True, help="Maximum number of results."
)
@marts_of_dataset
def find(name: str, near: tuple[str, str] | None, limit: int, current: Settings) -> None:
    """Find units by NAME or its beginning, in any known spelling, by key or by code. Accents are ignored.

    \b
    python -m ingest find ponce
    python -m ingest find US-CA
    python -m ingest find orange --near -117.9 33.8
    """  # noqa: D301  click reads the escape as a character
    from admin_boundaries import find as finding
    from admin_boundaries.warehouse import of_one_build, open_warehouse

    place = _coordinates(*near) if near else None
    with open_warehouse(current) as warehouse:
        warn_if_stale(current, warehouse.editions())
        with of_one_build(warehouse):
            found = warehouse.find(name, finding.MOST_NEAR if place else limit + 1)
            if place:
                found = finding.nearest_first(warehouse, found, *place)
            meant = [] if found else finding.meant(warehouse, name)
    if not found:
        hint = f"Did you mean {' or '.join(map(repr, meant))}?" if meant else "Try only the first letters."
        raise NameUnknown(f"No unit has a name that begins with {name!r}, nor such a key or code.", hint)
    columns, rows = ["gid", "level", "type", "name", "path"], [each.cells for each in found[:limit]]
    if place:
        columns = [*columns, "km"]
        rows = [
            (*cells, "" if each.away_km is None else f"{each.away_km:,.1f}")
            for cells, each in zip(rows, found, strict=False)
        ]
    console.table(columns, rows)
    if len(found) > limit:
        console.hint_at_more(limit, MAX_NAMES)


@click.command()
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

    def warn_and_keep(text: str) -> None:
        faults.append(text)
        warn(current, text)

    folder = output or current.home / settings.with_dataset("pictures", current.boundaries)
    drawn = drawings.draw(current, folder, manifest or settings.dbt_manifest(), console.say, warn_and_keep)
    if page:
        ledger = Ledger(current)
        ledger.open()
        with open_warehouse(current) as warehouse:
            changed = what_changed.told(warehouse)
        told = [f"**What changed**, {changed}."] if changed else []
        drawings.finish(page, drawn, " ".join([console.published(ledger), *faults, *told]))


@click.command()
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
        warn_if_stale(current, warehouse.editions())

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


@click.command()
@click.option(
    "--format",
    "kind",
    type=click.Choice(["text", "bibtex"]),
    default="text",
    show_default=True,
    help="What to print.",
)
@marts_of_dataset
def cite(kind: str, current: Settings) -> None:
    """Say how to cite what the marts hold: each dataset with its release, licences, and whom to credit."""
    from admin_boundaries import cite as citations
    from admin_boundaries.warehouse import open_warehouse
    from ingest import catalog

    def source_of(dataset: str, release: str) -> tuple[str, str]:
        found = catalog.get(dataset)
        return found.title, found.cited(release)

    with open_warehouse(current) as warehouse:
        warn_if_stale(current, warehouse.editions())
        works = citations.works(warehouse, catalog.rights_of_datasets(), source_of)
    for line in getattr(citations, kind)(works):
        console.say(line)


@click.command()
@click.argument("names", metavar="[MART]...", nargs=-1)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    help="File to write, whose suffix says the format; - for standard output.",
)
@click.option("--format", "kind", type=click.Choice(KINDS), help="Format, where no suffix says it.")
@of_countries("Export only this country, by an ISO code or its name. Repeatable.")
@click.option(
    "--level", "levels", type=click.IntRange(0, 5), multiple=True, help="Export the units of this level. Repeatable."
)
@click.option("--gid", "gids", multiple=True, metavar="KEY", help="Export only this unit. Repeatable.")
@click.option(
    "--children-of",
    "parents",
    multiple=True,
    metavar="KEY",
    help="Export only the units right under this one; of a level, all that lie in it. Repeatable.",
)
@click.option(
    "--simplify",
    "tolerance",
    type=float,
    metavar="DEGREES",
    help="Export shapes with fewer vertices: 0.001, 0.01 or 0.1.",
)
@click.option("--wkt", "has_wkt", is_flag=True, help="Add the geometry to a CSV, as WKT.")
@click.option(
    "--by-country", "is_by_country", is_flag=True, help="Write a folder of GeoParquet, with a folder for each country."
)
@may_overwrite
@marts_of_dataset
def export(
    names: Sequence[str],
    output: Path,
    kind: str | None,
    countries: Sequence[str],
    levels: Sequence[int],
    gids: Sequence[str],
    parents: Sequence[str],
    tolerance: float | None,
    has_wkt: bool,
    is_by_country: bool,
    overwrite: bool,
    current: Settings,
) -> None:
    """Export MARTs, or all levels, to a file: GeoParquet, GeoPackage, FlatGeobuf, GeoJSON, CSV or zipped shapefile.

    Licence, attribution and source are written into the file. A warning says if it holds data that may not be
    published, or mixes licences: which, and of how many units.

    \b
    python -m ingest export --level 2 --country DZA -o algeria.parquet
    python -m ingest export --children-of USA.6_1 --simplify 0.01 -o counties.geojson
    python -m ingest export --gid TGO --format geojson -o - | jq .features[].properties.name
    """  # noqa: D301  click reads the escape as a character
    from admin_boundaries import export as exports
    from admin_boundaries.formats import FORMATS
    from ingest import catalog

    if levels and names:
        raise UsageError("A mart and a level are given.", "A level is a mart: name it by --level or as admin_level_N.")
    if is_by_country and kind not in (None, "parquet"):
        raise UsageError("--by-country writes GeoParquet.", "Leave out --format.")
    marts = names or [exports.LEVELS[level] for level in sorted(set(levels))]
    wanted = exports.Wanted(marts, countries, gids, parents, tolerance, has_wkt, is_by_country)
    is_piped = str(output) == "-"
    write = partial(
        exports.export,
        current,
        wanted,
        kind=kind,
        overwrite=overwrite,
        of_datasets=catalog.rights_of_datasets(),
        report=console.note if is_piped else console.say,
        warn=partial(warn, current),
        warn_of_licences=console.warning,
    )
    if not is_piped:
        write(output)
        return
    if kind is None or is_by_country:
        raise UsageError("Standard output has no suffix that says the format.", f"--format {'|'.join(KINDS)}")
    if sys.stdout.isatty() and not FORMATS[kind].is_text:
        raise UsageError(f"{FORMATS[kind].title} is not for a terminal.", "Write a file, or use a pipe.")
    with TemporaryDirectory() as folder:  # so that nothing comes unless all of it does
        whole = Path(folder) / f"export{FORMATS[kind].suffixes[0]}"
        write(whole, called="standard output")
        console.pass_on(whole)


@click.command()
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="Archive to write: .pmtiles.")
@of_countries("Draw only this country and its time zones, by an ISO code or its name. Repeatable.")
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
            warn=partial(warn, current),
            warn_of_licences=console.warning,
        )
    for text in said:
        console.say(text)


@click.command()
@click.argument("dataset", required=False)
@of_countries("Only this country, by an ISO code or its name. Repeatable.")
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

    what_changed.check_types(types)
    if dataset is not None:
        check_has_marts(dataset)
        current = replace(current, boundaries=dataset)
    wanted = what_changed.Wanted(tuple(countries), level, tuple(types))
    with open_warehouse(current) as warehouse:
        warn_if_stale(current, warehouse.editions())
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


@click.command()
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
        warn_if_stale(current, warehouse.editions())
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
