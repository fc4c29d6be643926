"""Export marts, or some of their rows, to files that other programs open.

Rows stream from the warehouse into the file, batch by batch. A file appears under its name only when it is complete.
It says itself under which licence it is, and whom to name, where its format has a place for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyogrio

from admin_boundaries import edition, licences, spelling
from admin_boundaries.files import check_place, replacing, replacing_folder
from admin_boundaries.formats import FORMATS, Format, Layer
from admin_boundaries.licences import Rights
from admin_boundaries.marts import GEOMETRY, Mart, quoted, relation
from admin_boundaries.warehouse import Warehouse, how_to_make, known_marts, named, of_one_build, open_warehouse
from ingest.errors import CountMismatch, ExportFailed, MartsMissing, UsageError, did_you_mean
from ingest.settings import Settings

LEVELS = tuple(f"admin_level_{level}" for level in range(6))
SIMPLIFIED = "admin_units_simplified"
NO_COUNTRY = "__HIVE_DEFAULT_PARTITION__"
FAULTS = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, RuntimeError, RuntimeWarning)


@dataclass(frozen=True)
class Wanted:
    """What to export, and how.

    Attributes
    ----------
    marts : sequence of str
        By name; the levels of the units if empty, which are all levels without ``gids`` and ``parents``.
    countries : sequence of str
        Keys of level 0; everything if empty.
    gids : sequence of str
        Keys of units: only these.
    parents : sequence of str
        Keys of units: only those right under them, or of a mart that is named, all that lie in them.
    tolerance : float or None
        With the shapes that ``admin_units_simplified`` has for this many degrees.
    has_wkt : bool
        Whether a CSV has the geometry, as WKT.
    is_by_country : bool
        Write a folder, with a folder for each country in it.
    """

    marts: Sequence[str] = ()
    countries: Sequence[str] = ()
    gids: Sequence[str] = ()
    parents: Sequence[str] = ()
    tolerance: float | None = None
    has_wkt: bool = False
    is_by_country: bool = False


@dataclass(frozen=True)
class Selection:
    """The rows of a mart to export.

    Attributes
    ----------
    mart : Mart
        The mart.
    where : str
        SQL condition; ``?`` stands for a parameter.
    parameters : tuple
        Values of the parameters.
    columns : sequence of str
        SQL expressions of the columns, the geometry as WKB in the last.
    shape : str or None
        SQL expression of the geometry, if there is one.
    rights : sequence of Rights
        What may be done with the rows.
    """

    mart: Mart
    where: str
    parameters: tuple[Any, ...]
    columns: Sequence[str]
    shape: str | None
    rights: Sequence[Rights]


def format_of(output: Path, kind: str | None) -> Format:
    """Return the format of a file, by what was asked for or else by its suffix.

    Raises
    ------
    UsageError
        When it is not known.
    """
    if kind:
        return FORMATS[kind]
    for each in FORMATS.values():
        if output.name.lower().endswith(each.suffixes):
            return each
    known = ", ".join(each.suffixes[0] for each in FORMATS.values())
    hint = "A shapefile is several files: write a .shp.zip." if output.suffix.lower() == ".shp" else f"Known: {known}."
    raise UsageError(f"The suffix of {output.name} is not a known format.", hint)


def export(
    settings: Settings,
    wanted: Wanted,
    output: Path,
    *,
    kind: str | None = None,
    called: str | None = None,
    overwrite: bool,
    of_datasets: licences.OfDatasets,
    report: Callable[[str], None],
    warn: Callable[[str], None],
    warn_of_licences: Callable[[str], None],
) -> None:
    """Write marts, or some of their rows, to a file, with licence, attribution and source.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset.
    wanted : Wanted
        What to write.
    output : Path
        The file, or the folder of files by country.
    kind : str or None
        The format, a key of `FORMATS`; by default, the suffix says it.
    called : str or None
        What it is called in what is said, if not by the name of the file.
    overwrite : bool
        Replace what is there.
    of_datasets : mapping of str to (str, str, str)
        Licence, attribution and source name of each dataset, for rows that do not have them.
    report : callable
        Called with a line of text for each mart and for the file.
    warn : callable
        Called with a sentence for each dataset whose marts are stale.
    warn_of_licences : callable
        Called with a sentence if the file holds data that may not be published, if it mixes licences, and for what the
        format did not take as it was.

    Raises
    ------
    UsageError
        When a mart, country, key or format is unknown or does not fit, or the file exists.
    ExportFailed
        When the file cannot be written.
    MartsReplaced
        When a build replaced the marts meanwhile. Nothing is written then.
    """
    written = FORMATS["parquet"] if wanted.is_by_country else format_of(output, kind)
    check_place(output, overwrite=overwrite)
    if wanted.has_wkt and written is not FORMATS["csv"]:
        raise UsageError(f"--wkt is for CSV, not for {written.title}.", "Leave it out.")
    with open_warehouse(settings) as warehouse:
        known = known_marts(warehouse)
        check_countries(warehouse, wanted.countries)
        for fault in edition.faults(warehouse.editions()):
            warn(fault)
        with (replacing_folder if wanted.is_by_country else replacing)(output) as draft, of_one_build(warehouse):
            chosen = _chosen(warehouse, known, wanted)
            if len(chosen) > 1 and not (written.holds_several or wanted.is_by_country):
                raise UsageError(
                    f"A {written.title} file holds one mart, not {len(chosen)}: {', '.join(chosen)}.",
                    "Name one, or write a .gpkg.",
                )
            selections = [
                _select(warehouse, known, named(known, name), wanted, units, of_datasets, written)
                for name, units in chosen.items()
            ]
            told: list[str] = []
            for number, selection in enumerate(selections):
                rows = 0
                for part, path in _parts(warehouse, known, selection, of_datasets, draft, is_cut=wanted.is_by_country):
                    count, remarks = _write(warehouse, part, written, path, number == 0, wanted.has_wkt)
                    rows += count
                    told += remarks
                _check_count(warehouse, selection, rows)
                report(f"{selection.mart.name}: {rows:,} rows")
            conditions = {each.mart.name: (each.where, each.parameters) for each in selections}
            marts = [each.mart for each in selections]
            rights = licences.of_marts(warehouse, known, marts, of_datasets, wanted.countries, conditions)
    for text in told:
        warn_of_licences(f"{called or output.name}: {text}")
    report(f"{called or output}: {_described(written, selections, output)}")
    if not written.holds_rights and not all(set(licences.RIGHTS) <= set(mart.columns) for mart in marts):
        said = "; ".join(licences.texts(rights).values())
        report(f"{written.title} has no place for the licence. Keep it beside the file: {said}")
    for warning in licences.warnings(rights, called or output.name):
        warn_of_licences(warning)


def check_countries(warehouse: Warehouse, countries: Sequence[str]) -> None:
    """Refuse countries that are not in the marts.

    Raises
    ------
    UsageError
        When there is one.
    """
    if not countries:
        return
    query = f"select gid from {warehouse.marts}.admin_level_0"  # noqa: S608  it contains no value
    known = {gid for (gid,) in warehouse.rows(query)}
    for country in countries:
        if country not in known:
            raise UsageError(f"{country} is not in the marts of {warehouse.dataset}.", did_you_mean(country, known))


def _described(written: Format, selections: Sequence[Selection], output: Path) -> str:
    files = [path for path in output.rglob("*") if path.is_file()] if output.is_dir() else [output]
    taken = sum(path.stat().st_size for path in files)
    size = f"{taken / 1e6:,.1f} MB" if taken >= 1e5 else f"{taken / 1e3:,.1f} kB"
    is_plain = written is FORMATS["parquet"] and not any(each.shape for each in selections)
    title = "Parquet" if is_plain else written.title
    return f"{title}, {len(files):,} files, {size}" if output.is_dir() else f"{title}, {size}"


def _check_count(warehouse: Warehouse, selection: Selection, rows: int) -> None:
    query = f"select count(*) from {relation(selection.mart)} where {selection.where}"  # noqa: S608
    ((held,),) = warehouse.rows(query, selection.parameters)
    if rows != held:
        raise CountMismatch(
            f"{selection.mart.name} has {held:,} rows, but {rows:,} were written.",
            "Try again; dbt may have rebuilt it meanwhile.",
        )


def _level_of(name: str) -> int | None:
    return LEVELS.index(name) if name in LEVELS else None


def _chosen(warehouse: Warehouse, known: dict[str, Mart], wanted: Wanted) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the marts to export, each with the condition of its units and the values of the parameters."""
    gids, parents = tuple(dict.fromkeys(wanted.gids)), tuple(dict.fromkeys(wanted.parents))
    if not gids and not parents:
        return {named(known, name).name: ("true", ()) for name in (wanted.marts or LEVELS)}
    levels = levels_of(warehouse, known, (*gids, *parents))
    if not wanted.marts:
        found = {LEVELS[level]: [gid for gid in gids if levels[gid] == level] for level in set(levels.values())}
        chosen = {name: _any_of([("gid", own)]) for name, own in found.items() if own}
        for name in LEVELS[1:]:
            below = _any_of([("parent_gid", parents)])
            if parents and warehouse.rows(f"select 1 from {relation(known[name])} where {below[0]} limit 1", below[1]):  # noqa: S608
                chosen[name] = _any_of([("gid", found.get(name, ())), ("parent_gid", parents)])
        if not chosen:
            raise UsageError(f"{', '.join(parents)} has no units under it.", "Export it by --gid.")
        return dict(sorted(chosen.items()))
    marts = [named(known, name) for name in wanted.marts]
    missing = [gid for gid in gids if levels[gid] not in map(_level_of, wanted.marts)]
    if missing and all(_level_of(mart.name) is not None for mart in marts):
        raise UsageError(
            f"{missing[0]} is of level {levels[missing[0]]}, not in {', '.join(wanted.marts)}.",
            "Leave out the level; or to have what lies in it, use --children-of.",
        )
    return {mart.name: _units_in(mart, gids, parents, levels) for mart in marts}


def _units_in(
    mart: Mart, gids: Sequence[str], parents: Sequence[str], levels: Mapping[str, int]
) -> tuple[str, tuple[str, ...]]:
    """Return the condition that a row of a mart that was named is of some units, or of what lies in others."""
    level = _level_of(mart.name)
    if level is None:
        if parents or "gid" not in mart.columns:
            raise UsageError(
                f"{mart.name} is no level.", "Give --children-of with levels only, and --gid where there is a gid."
            )
        return _any_of([("gid", gids)])
    for parent in parents:
        if levels[parent] >= level:
            raise UsageError(f"Nothing of {mart.name} lies in {parent}, which is of level {levels[parent]}.")
    own = [gid for gid in gids if levels[gid] == level]
    return _any_of([("gid", own), *((f"gid_{levels[parent]}", [parent]) for parent in parents)])


def _any_of(columns: Sequence[tuple[str, Sequence[str]]]) -> tuple[str, tuple[str, ...]]:
    """Return the condition that one of some columns has one of its values, with these; of none, no row has."""
    given = [(name, values) for name, values in columns if values]
    terms = [f"{quoted(name)} in ({', '.join('?' * len(values))})" for name, values in given]
    return f"({' or '.join(terms) or 'false'})", tuple(value for _, values in given for value in values)


def levels_of(warehouse: Warehouse, known: Mapping[str, Mart], gids: Sequence[str]) -> dict[str, int]:
    """Return the level of each unit.

    Raises
    ------
    UsageError
        When there is no such unit.
    """
    found: dict[str, int] = {}
    where, parameters = _any_of([("gid", gids)])
    for level, name in enumerate(LEVELS):
        query = f"select gid from {relation(known[name])} where {where}"  # noqa: S608  it contains no value
        found |= {gid: level for (gid,) in warehouse.rows(query, parameters)}
    for gid in gids:
        if gid not in found:
            raise UsageError(f"{warehouse.dataset} has no unit {gid}.", _nearest_key(warehouse, known, gid))
    return found


def _nearest_key(warehouse: Warehouse, known: Mapping[str, Mart], gid: str) -> str:
    near: set[str] = set()
    for name in LEVELS:
        query = (
            f"select gid from {relation(known[name])} "  # noqa: S608  it contains no value
            "where length(gid) between ? and ?"
        )
        rows = warehouse.rows(query, spelling.lengths(gid))
        near |= {each for (each,) in rows}
    found = spelling.nearest(gid, near, 1)
    return f"Did you mean {found[0]!r}?" if found else "`python -m ingest find NAME` says keys."


def _select(
    warehouse: Warehouse,
    known: Mapping[str, Mart],
    mart: Mart,
    wanted: Wanted,
    units: tuple[str, tuple[str, ...]],
    of_datasets: licences.OfDatasets,
    written: Format,
) -> Selection:
    countries = tuple(wanted.countries)
    if not mart.has_geometry and written.needs_geometry:
        raise UsageError(
            f"{mart.name} has no geometry, which {written.title} requires.", "Write a .parquet, .gpkg or .csv."
        )
    if (countries or wanted.is_by_country) and mart.country is None:
        raise UsageError(
            f"{mart.name} does not say which country a row belongs to.", "Omit --country and --by-country."
        )
    where = f"{licences.in_countries(mart, countries)} and {units[0]}"
    parameters = (*countries, *units[1])
    columns = {name: quoted(name) for name in mart.columns if name != GEOMETRY}
    shape = GEOMETRY if mart.has_geometry else None
    if wanted.tolerance is not None:
        shape = _simplified(warehouse, known, mart, wanted.tolerance, GEOMETRY)
        columns |= {"vertex_count": _simplified(warehouse, known, mart, wanted.tolerance, "vertex_count")}
        columns.pop("geom_hash", None)
    expressions = [f"{expression} as {quoted(name)}" for name, expression in columns.items()]
    if shape:
        expressions.append(f"{warehouse.as_wkb}({shape}) as {GEOMETRY}")
    rights = licences.of_marts(warehouse, known, [mart], of_datasets, countries, {mart.name: (where, parameters)})
    return Selection(mart, where, parameters, expressions, shape, rights)


def _simplified(warehouse: Warehouse, known: Mapping[str, Mart], mart: Mart, tolerance: float, column: str) -> str:
    """Return a column of `admin_units_simplified` for the unit of a row, as an SQL expression.

    Raises
    ------
    MartsMissing
        When the marts have no simplified units.
    UsageError
        When the rows are no units of a level, or the tolerance is not one of those that there are.
    """
    if _level_of(mart.name) is None:
        raise UsageError(f"{mart.name} is no level, and only their units are simplified.", "Omit --simplify.")
    if SIMPLIFIED not in known:
        raise MartsMissing(f"There is no mart {SIMPLIFIED}.", how_to_make(warehouse))
    table = relation(known[SIMPLIFIED])
    query = f"select distinct tolerance_degrees from {table} order by 1"  # noqa: S608  it contains no value
    tolerances = [each for (each,) in warehouse.rows(query)]
    if tolerance not in tolerances:
        raise UsageError(
            f"No unit is simplified to {tolerance:g} degrees.",
            f"Known: {', '.join(f'{each:g}' for each in tolerances)}.",
        )
    # the inner gid is renamed, so that `gid` is that of the row
    return (
        f"(select simplified.{column} from (select gid as unit_gid, tolerance_degrees, vertex_count, {GEOMETRY} "  # noqa: S608
        f"from {table}) as simplified where simplified.unit_gid = gid and simplified.tolerance_degrees = {tolerance!r})"
    )


def _parts(
    warehouse: Warehouse,
    known: Mapping[str, Mart],
    selection: Selection,
    of_datasets: licences.OfDatasets,
    draft: Path,
    *,
    is_cut: bool,
) -> Iterator[tuple[Selection, Path]]:
    """Yield what goes into one file each: all of it, or what is of each country."""
    if not is_cut:
        yield selection, draft
        return
    country, mart = quoted(str(selection.mart.country)), selection.mart
    query = (
        f"select distinct {country} from {relation(mart)} "  # noqa: S608  it contains no value
        f"where {selection.where} order by 1"
    )
    for (gid,) in warehouse.rows(query, selection.parameters):
        term = f"{country} is null" if gid is None else f"{country} = ?"
        where = f"{selection.where} and {term}"
        parameters = selection.parameters if gid is None else (*selection.parameters, gid)
        rights = licences.of_marts(warehouse, known, [mart], of_datasets, (), {mart.name: (where, parameters)})
        folder = draft / f"country_gid={NO_COUNTRY if gid is None else gid}"
        folder.mkdir(exist_ok=True)
        part = replace(selection, where=where, parameters=parameters, rights=rights)
        yield part, folder / f"{mart.name}.parquet"


def _write(
    warehouse: Warehouse, selection: Selection, written: Format, path: Path, is_first: bool, has_wkt: bool
) -> tuple[int, list[str]]:
    """Write a selection; return how many rows there were, and what the format did not take as it was."""
    rows, faults = _Counter(), list[Exception]()
    mart = selection.mart
    layer = Layer(
        mart.name,
        _geometry_type(warehouse, selection) if selection.shape else None,
        licences.texts(selection.rights),
        mart.key if _level_of(mart.name) is not None else None,
        is_first,
        has_wkt,
    )
    try:
        reader = warehouse.reader(mart, selection.columns, selection.where, selection.parameters)
        said = written.write(_counted(reader, rows, faults), layer, path)
    except (OSError, pa.ArrowException, *FAULTS) as error:
        raise _failed(selection, faults[0] if faults else error) from error
    return rows.value, said


def _geometry_type(warehouse: Warehouse, selection: Selection) -> str:
    """Return GDAL's name for the geometry type of the rows; ``Unknown`` if they differ.

    The rows are read batch by batch, as they are for the export itself.
    """
    where = f"{selection.where} and {GEOMETRY} is not null"
    kind = f"ST_GeometryType({selection.shape}) as kind"
    batches = warehouse.reader(selection.mart, [kind], where, selection.parameters)
    kinds = {str(kind) for batch in batches for kind in pc.unique(batch.column(0).cast(pa.string())).to_pylist()}
    found = {kind.upper().removeprefix("ST_") for kind in kinds}
    if found <= {"MULTIPOLYGON"}:
        return "MultiPolygon"
    return "Polygon" if found == {"POLYGON"} else "Unknown"


def _failed(selection: Selection, reason: Exception) -> ExportFailed:
    text = str(reason).strip().splitlines()
    return ExportFailed(
        f"{selection.mart.name} was not written: {text[0] if text else type(reason).__name__}.",
        "Check that the disk is not full.",
    )


class _Counter:
    value = 0


def _counted(reader: pa.RecordBatchReader, rows: _Counter, faults: list[Exception]) -> pa.RecordBatchReader:
    """Pass batches on, count their rows, and keep an error, which GDAL would replace by one of its own."""

    def passed_on() -> Iterator[pa.RecordBatch]:
        try:
            for batch in reader:
                rows.value += len(batch)
                yield batch
        except Exception as error:
            faults.append(error)
            raise

    return pa.RecordBatchReader.from_batches(reader.schema, passed_on())
