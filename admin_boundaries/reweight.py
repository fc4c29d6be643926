"""Carry the columns of somebody's table from the units of one release to those of another.

An amount (``--sum``), such as a population, is divided by area: each unit gets the share of it that the crosswalk
states. A level (``--mean``), such as an income, becomes the mean over what a unit is made of, weighted by the area in
common or by a column. What is not known is not zero: a unit gets what is known of it, and ``known_share`` says of how
much of its ground that is. `macros/changes/reweight.sql` does the same within dbt.

The table is read, joined and written by a DuckDB of its own, which keeps to :data:`MEMORY` and a temporary file.
"""

from __future__ import annotations

import csv
import glob
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from admin_boundaries import licences, tables
from admin_boundaries.compared_releases import CHANGES, CROSSWALK, Releases, compared
from admin_boundaries.files import replacing
from admin_boundaries.locate.coordinates import other_separator
from admin_boundaries.marts import Mart, first_line, quoted
from admin_boundaries.warehouse import Warehouse, of_one_build
from ingest.errors import (
    CountMismatch,
    ExportFailed,
    SchemaDrift,
    SourceDamaged,
    SourceUnavailable,
    UsageError,
    did_you_mean,
)

MEMORY = "1GB"
KNOWN_SHARE = "known_share"
UNKNOWN = ("", "NA", "NaN", "NULL")  # how programs write that they do not know a number
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
RELATIVE_TOLERANCE = 1e-9  # of totals: they are sums of the same numbers in another order
DOUBLED = 1 + 1e-6  # of a unit's ground: more has been given twice
EXAMPLES = 3
CHUNK = 1 << 20
VECTOR_ROWS = 2048
# Why a row is not carried, in the order of the tests. `{}` is the release.
NO_KEY, TWICE, BAD, UNKNOWN_KEY, NO_AREA, NO_FIGURE = (
    "without a key",
    "whose key is in several rows",
    "with what is not a number",
    "whose key is not in {}",
    "of units without an area in {}",
    "without a figure",
)
HINTS = {
    NO_KEY: "Fill the column of the key.",
    TWICE: "Add up the rows of a unit first.",
    BAD: "Write numbers such as 1234.5, without units or thousands separators, and nothing where one is not known.",
    UNKNOWN_KEY: "Check --key and --from. Keys are text: 01001 is not 1001.",
    NO_AREA: "Units without an area have no share in anything.",
    NO_FIGURE: "Fill the columns.",
}


@dataclass(frozen=True)
class Columns:
    """What is taken of a table.

    Attributes
    ----------
    key : str
        The column with keys of units.
    sums : tuple of str
        Amounts, which are divided; the weight is one of them.
    means : tuple of str
        Levels, which are averaged.
    weight : str or None
        The amount that means are weighted by; None for the area in common.
    """

    key: str
    sums: tuple[str, ...]
    means: tuple[str, ...]
    weight: str | None

    @classmethod
    def named(cls, key: str, sums: Sequence[str], means: Sequence[str], weight: str | None) -> Columns:
        """Return columns as a user names them: a weight is carried as a sum, whether or not it is named as one.

        Raises
        ------
        UsageError
            When nothing is to be carried, or a column is to be two things.
        """
        if not sums and not means:
            raise UsageError("No column is to be carried.", "Name amounts with --sum and levels with --mean.")
        if weight is not None and not means:
            raise UsageError(
                "--weight weights means, and there are none.", "Name columns with --mean, or leave it out."
            )
        weights = [weight] if weight is not None else []
        amounts = tuple(dict.fromkeys([*sums, *weights]))
        repeated = Counter([key, *amounts, *dict.fromkeys(means)])
        for name, count in repeated.items():
            if count > 1:
                raise UsageError(f"The column {name} is named for two things.", "Name it once.")
        return cls(key, amounts, tuple(dict.fromkeys(means)), weight)

    @property
    def figures(self) -> tuple[str, ...]:
        """The columns that are carried."""
        return (*self.sums, *self.means)


@dataclass(frozen=True)
class SetAside:
    """Rows that were not carried: why, how many, and the keys of a few of them."""

    reason: str
    rows: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Total:
    """What became of an amount: in the file, carried, fallen outside, and in rows that were set aside."""

    column: str
    given: float
    carried: float
    outside: float
    set_aside: float


@dataclass(frozen=True)
class Report:
    """What became of a table.

    Attributes
    ----------
    releases : tuple of (str, str)
        From and to.
    rows_in, rows_carried, rows_out : int
        Rows of the file, those whose figures were carried, and rows written.
    set_aside : tuple of SetAside
        The other rows of the file.
    totals : tuple of Total
        Of each amount.
    partly_outside, wholly_outside : int
        Carried rows of which a part of the ground, or all of it, lies in no unit of the other release.
    partly_known : int
        Rows written that are made from less than 99 % of their ground.
    left_out : tuple of str
        Columns of the file that were not carried.
    """

    releases: tuple[str, str]
    rows_in: int
    rows_carried: int
    rows_out: int
    set_aside: tuple[SetAside, ...]
    totals: tuple[Total, ...]
    partly_outside: int
    wholly_outside: int
    partly_known: int
    left_out: tuple[str, ...]


def reweight(
    warehouse: Warehouse,
    source: Path,
    output: Path,
    columns: Columns,
    from_release: str,
    to_release: str,
    *,
    has_slivers: bool,
    overwrite: bool,
    of_datasets: licences.OfDatasets,
    warn_of_licences: Callable[[str], None],
) -> Report:
    """Carry columns of a table from the units of one release to those of another.

    Parameters
    ----------
    warehouse : Warehouse
        The warehouse with the marts that compare the two releases.
    source : Path
        A CSV file with a header, or a Parquet file; one row per unit.
    output : Path
        The file to write: one row per unit of the other release that got something, with the key under the name that
        it has in the source, the carried columns as numbers, and ``known_share``: of how much of its ground, from 0 to
        1, all figures were known.
    columns : Columns
        What is taken of the source.
    from_release, to_release : str
        The release that the keys are of, and the one to carry to: the two that the marts compare, in either order.
    has_slivers : bool
        Whether to give a unit also what it has in common with others only because borders were drawn anew, and to count
        such ground as fallen outside.
    overwrite : bool
        Replace an existing file.
    of_datasets : mapping of str to (str, str, str)
        As for `admin_boundaries.licences.of_marts`: what is made from shares of areas is made from the boundaries.
    warn_of_licences : callable
        Called with a sentence if the file holds what may not be published, and if it mixes licences.

    Returns
    -------
    Report

    Raises
    ------
    ReleaseMissing
        When the marts compare other releases.
    SourceUnavailable, FormatUnknown, SchemaDrift, SourceDamaged, UsageError
        When a file or a column cannot be used, or no row of it. Nothing is written in these cases.
    CountMismatch
        When an amount carried and the amount that fell outside do not add up to what was given. Nothing is written.
    MartsReplaced
        When a build replaced the marts meanwhile. Nothing is written then, either.
    """
    tables.check_output(output, overwrite=overwrite)
    if output.exists() and source.exists() and source.samefile(output):
        raise UsageError(f"{output} is the input file itself.", "Give another --output.")
    names, relation = _opened(source)
    if KNOWN_SHARE in (*columns.figures, columns.key):
        raise UsageError(f"The output has a column {KNOWN_SHARE} of its own.", "Rename that of the file.")
    missing = next((name for name in (columns.key, *columns.figures) if name not in names), None)
    if missing is not None:
        hint = other_separator(names, lambda each: missing in each) or did_you_mean(missing, names)
        raise SchemaDrift(f"{source} has no column {missing!r}.", hint)
    with _scratch() as scratch, of_one_build(warehouse):
        releases, known = compared(warehouse)
        is_backwards = releases.is_backwards(from_release, to_release)
        _read(scratch, source, relation, names, columns)
        _link(scratch, warehouse, known, is_backwards=is_backwards, has_slivers=has_slivers)
        _sort(scratch)
        report = _report(scratch, source, columns, releases, is_backwards, names)
        rights = licences.of_marts(warehouse, known, [known[CROSSWALK]], of_datasets)
        with replacing(output) as draft:
            rows = scratch.execute("select * from carried order by 1").to_arrow_reader(VECTOR_ROWS)
            shape = pa.schema(
                [
                    field.with_name(name)
                    for field, name in zip(rows.schema, (columns.key, *columns.figures, KNOWN_SHARE), strict=True)
                ]
            )
            renamed = pa.RecordBatchReader.from_batches(shape, (_renamed(batch, shape) for batch in rows))
            written = tables.write(renamed, draft, licences.texts(rights))
            if written != report.rows_out:
                raise CountMismatch(
                    f"{report.rows_out:,} rows were to be written, but {written:,} were.", "Run the command again."
                )
    for warning in licences.warnings(rights, output.name):
        warn_of_licences(warning)
    return report


def _renamed(batch: pa.RecordBatch, shape: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(batch.columns, schema=shape)


@contextmanager
def _scratch() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database of our own in a temporary folder, of bounded memory."""
    with tempfile.TemporaryDirectory(prefix="reweight-") as folder:
        options: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "preserve_insertion_order": False,
        }
        with duckdb.connect(str(Path(folder) / "scratch.duckdb"), config=options) as scratch:
            try:
                yield scratch
            except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
                raise ExportFailed(
                    f"{folder}, where the rows are kept meanwhile, cannot hold them: {first_line(error)}.",
                    "Free some space, or set TMPDIR to another disk.",
                ) from error


def _opened(source: Path) -> tuple[list[str], str]:
    """Return the names of the columns of a file, and the SQL that reads them, as ``c0``, ``c1`` …."""
    if not source.is_file():
        raise SourceUnavailable(f"There is no file {source}.", "Check the path.")
    tables.check_format(source)
    try:
        names = _names_of_csv(source) if source.suffix.lower() == ".csv" else _names_of_parquet(source)
    except OSError as error:
        raise SourceUnavailable(f"{source} cannot be read: {error.strerror}.", "Check its permissions.") from error
    twice = sorted(name for name, count in Counter(names).items() if count > 1 and name.strip())
    if twice:
        raise SchemaDrift(f"{source} has several columns called {', '.join(twice)}.", "Rename all but one.")
    path = "'" + glob.escape(str(source)).replace("'", "''") + "'"
    if source.suffix.lower() != ".csv":
        listed = ", ".join(f"{quoted(name)} as c{number}" for number, name in enumerate(names))
        return names, f"(select {listed} from read_parquet({path}))"  # noqa: S608  names are quoted
    kinds = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(len(names)))
    return names, (
        f"read_csv({path}, auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', "
        f"null_padding = true, parallel = false, max_line_size = {32 << 20}, buffer_size = {64 << 20}, "
        f"columns = {{{kinds}}})"
    )


def _names_of_csv(source: Path) -> list[str]:
    """Read the header, after a look at the quotation marks: DuckDB drops the rows behind one that is never closed."""
    with source.open("rb") as file:
        marks = sum(chunk.count(b'"') for chunk in iter(lambda: file.read(CHUNK), b""))
    if marks % 2:
        raise SourceDamaged(
            f"{source} is not a CSV file: its quotation marks are not in pairs.", 'Quote with ", and double it within.'
        )
    with tables.csv_refusals(source), source.open(encoding="utf-8-sig", newline="") as text:
        names = next(csv.reader(text, strict=True), [])
    if not names:
        raise SourceDamaged(f"{source} is empty.", "Give a file with a header.")
    return names


def _names_of_parquet(source: Path) -> list[str]:
    try:
        return list(pq.read_schema(source).names)
    except pa.ArrowException as error:
        raise SourceDamaged(f"{source} is not a Parquet file: {first_line(error)}.", "Check the file.") from error


def _read(
    scratch: duckdb.DuckDBPyConnection, source: Path, relation: str, names: Sequence[str], columns: Columns
) -> None:
    """Make the table ``given``: key, whether the row has a bad number, and figures ``v0``, ``v1`` …."""
    at = {name: f"c{number}" for number, name in enumerate(names)}
    kinds = dict(scratch.execute(f"select column_name, column_type from (describe from {relation})").fetchall())  # noqa: S608
    if kinds[at[columns.key]] != "VARCHAR":
        raise SchemaDrift(
            f"{source}: the column {columns.key} is of type {kinds[at[columns.key]]}, but keys are text.",
            "Write them as text: a number has lost its leading zeros.",
        )
    listed, bad = [], []
    for number, name in enumerate(columns.figures):
        value, fault = _number(at[name], kinds[at[name]], source, name)
        listed.append(f"{value} as v{number}")
        bad.append(fault)
        if name == columns.weight:
            bad.append(f"coalesce({value} < 0, false)")
    try:
        scratch.execute(
            f"create table given as select trim({at[columns.key]}) as key, "  # noqa: S608
            f"{' or '.join(bad)} as is_bad, {', '.join(listed)} from {relation}"
        )
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise SourceDamaged(
            f"{source} cannot be read to its end: {_line(error)}.", 'Separate columns by commas, quote with ".'
        ) from error


def _line(error: duckdb.Error) -> str:
    """Return the lines of DuckDB's message that say where and what, without its advice about options."""
    lines = [line.strip().rstrip(".") for line in str(error).strip().splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("Original Line")]
    return "; ".join(told[:2])


def _number(column: str, kind: str, source: Path, name: str) -> tuple[str, str]:
    """Return the SQL of a figure as a number, NULL if it is not known, and of whether it is none."""
    if kind == "VARCHAR":
        text = f"replace(trim({column}), '−', '-')"
        unknown = ", ".join(f"'{each}'" for each in UNKNOWN)
        is_number = f"regexp_full_match({text}, '{NUMBER}') and isfinite(try_cast({text} as double))"
        number = f"case when {is_number} then try_cast({text} as double) end"
        return number, f"coalesce({text} not in ({unknown}) and not ({is_number}), false)"
    if kind in ("DOUBLE", "FLOAT"):
        return (
            f"case when isfinite({column}) then cast({column} as double) end",
            f"coalesce(isinf({column}), false)",
        )
    if kind.startswith("DECIMAL") or kind.removeprefix("U") in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"):
        return f"cast({column} as double)", "false"
    raise SchemaDrift(f"{source}: the column {name} is of type {kind}, which is not a number.", "Convert it.")


def _link(
    scratch: duckdb.DuckDBPyConnection,
    warehouse: Warehouse,
    known: Mapping[str, Mart],
    *,
    is_backwards: bool,
    has_slivers: bool,
) -> None:
    """Make the tables ``links``, a unit's partners with their shares, and ``units``, the keys of the release.

    Without slivers, what is left of a unit counts as all of it.
    """
    own, other = ("to", "from") if is_backwards else ("from", "to")
    rows = warehouse.reader(
        known[CROSSWALK],
        [
            f"{own}_gid as key",
            f"{other}_gid as partner",
            "admin_level",
            f"{own}_level as own_level",
            "area_km2",
            f"share_of_{own} as share",
            f"share_of_{other} as share_of_partner",
            "is_sliver",
        ],
    )
    scratch.register("rows_of_crosswalk", rows)
    scratch.execute("create table crosswalk as select * from rows_of_crosswalk")
    shares = "share, share_of_partner"
    if not has_slivers:
        shares = ", ".join(
            f"{share} / (1 - coalesce(sum({share}) filter (where is_sliver) "
            f"over (partition by admin_level, {side}), 0)) as {share}"
            for share, side in (("share", "key"), ("share_of_partner", "partner"))
        )
    scratch.execute(
        f"create table links as select * exclude (is_sliver, admin_level) from (select key, partner, own_level, "  # noqa: S608
        f"area_km2, {shares}, is_sliver, admin_level from crosswalk) as linked where key is not null "
        f"and admin_level = own_level and share is not null{'' if has_slivers else ' and not is_sliver'}"
    )
    units = warehouse.reader(known[CHANGES], [f"{own}_gid as key"], "unit_of <> ?", [other])
    scratch.register("rows_of_changes", units)
    scratch.execute("create table units as select distinct key from rows_of_changes")


def _sort(scratch: duckdb.DuckDBPyConnection) -> None:
    """Make the table ``sorted``: the rows given, each with the reason why it is not carried, if there is one."""
    figures = [name for name, *_ in scratch.execute("describe given").fetchall() if name.startswith("v")]
    tests = (
        (NO_KEY, "coalesce(key, '') = ''"),
        (TWICE, "count(*) over (partition by key) > 1"),
        (BAD, "is_bad"),
        (UNKNOWN_KEY, "key not in (select key from units) and key not in (select key from links)"),
        (NO_AREA, "key not in (select key from links)"),
        (NO_FIGURE, f"coalesce({', '.join(figures)}) is null"),
    )
    cases = " ".join(f"when {test} then '{reason}'" for reason, test in tests)
    scratch.execute(f"create table sorted as select *, case {cases} end as reason from given")  # noqa: S608


def _report(
    scratch: duckdb.DuckDBPyConnection,
    source: Path,
    columns: Columns,
    releases: Releases,
    is_backwards: bool,
    names: Sequence[str],
) -> Report:
    """Make the table ``carried``, check that the totals are kept, and return what became of the rows."""
    pair = (releases.later, releases.earlier) if is_backwards else (releases.earlier, releases.later)
    set_aside = [
        SetAside(reason.format(pair[0]), rows, tuple(filter(None, examples))[:EXAMPLES])
        for reason, rows, examples in scratch.execute(
            "select reason, count(*), list_sort(list_distinct(coalesce(min(key, ?), []))) from sorted "
            "where reason is not null group by reason order by 2 desc, 1",
            [2 * EXAMPLES],  # of a key that several rows have, more than one
        ).fetchall()
    ]
    ((rows_in, rows_carried),) = scratch.execute(
        "select count(*), count(*) filter (where reason is null) from sorted"
    ).fetchall()
    if not rows_carried:
        raise _nothing_carried(source, rows_in, set_aside, pair[0])
    _refuse_nested(scratch, pair)
    scratch.execute(_carried(columns))
    totals = tuple(_total(scratch, number, name) for number, name in enumerate(columns.sums))
    ((partly, wholly),) = scratch.execute(
        "select count(*) filter (where outside < ?), count(*) filter (where outside >= ?) from ("
        "select sum(links.share) as outside from sorted inner join links using (key) "
        "where reason is null and partner is null group by key) as fallen where outside > 0",
        [1 - RELATIVE_TOLERANCE, 1 - RELATIVE_TOLERANCE],
    ).fetchall()
    ((rows_out, partly_known),) = scratch.execute(
        "select count(*), count(*) filter (where known_share < 0.99) from carried"
    ).fetchall()
    used = {columns.key, *columns.figures}
    return Report(
        releases=pair,
        rows_in=rows_in,
        rows_carried=rows_carried,
        rows_out=rows_out,
        set_aside=tuple(set_aside),
        totals=totals,
        partly_outside=partly,
        wholly_outside=wholly,
        partly_known=partly_known,
        left_out=tuple(name for name in names if name not in used),
    )


def _carried(columns: Columns) -> str:
    """Return the SQL that makes the table ``carried``."""
    at = {name: f"v{number}" for number, name in enumerate(columns.figures)}
    listed = [f"fsum({at[name]} * share) as {at[name]}" for name in columns.sums]
    weight = f"{at[columns.weight]} * share" if columns.weight else "area_km2"
    for name in columns.means:
        weights = f"fsum(case when {at[name]} is not null then {weight} end)"
        listed.append(f"fsum({at[name]} * {weight}) / nullif({weights}, 0) as {at[name]}")
    is_known = " and ".join(f"{value} is not null" for value in at.values())
    share = f"round(least(coalesce(fsum(share_of_partner) filter (where {is_known}), 0), 1), 12)"
    return (
        f"create table carried as select partner, {', '.join(listed)}, {share} as known_share "  # noqa: S608
        "from sorted inner join links using (key) where reason is null and partner is not null group by partner"
    )


def _total(scratch: duckdb.DuckDBPyConnection, number: int, name: str) -> Total:
    """Return what became of an amount.

    Raises
    ------
    CountMismatch
        When it is not what was given.
    """
    value = f"v{number}"
    query = (
        f"select coalesce(fsum({value}) filter (where reason is null), 0), "  # noqa: S608
        f"coalesce(fsum({value}) filter (where reason is not null), 0), coalesce(fsum(abs({value})), 0) from sorted"
    )
    ((given, set_aside, size),) = scratch.execute(query).fetchall()
    ((carried,),) = scratch.execute(f"select coalesce(fsum({value}), 0) from carried").fetchall()  # noqa: S608
    ((outside,),) = scratch.execute(
        f"select coalesce(fsum({value} * share), 0) from sorted inner join links using (key) "  # noqa: S608
        "where reason is null and partner is null"
    ).fetchall()
    if abs(given - carried - outside) > RELATIVE_TOLERANCE * size:
        raise CountMismatch(
            f"{name}: {amount(given)} was to be carried, but {amount(carried)} was, "
            f"and {amount(outside)} fell outside.",
            "The shares of the crosswalk do not add up: build the marts again.",
        )
    return Total(name, given + set_aside, carried, outside, set_aside)


def _refuse_nested(scratch: duckdb.DuckDBPyConnection, pair: tuple[str, str]) -> None:
    """Refuse rows of units that lie within each other, where both would be counted in the same unit."""
    carried = "from sorted inner join links using (key) where reason is null and partner is not null"
    doubled = scratch.execute(
        f"select partner {carried} group by partner "
        "having min(own_level) < max(own_level) and sum(share_of_partner) > ? order by 1 limit 1",
        [DOUBLED],
    ).fetchall()
    for (partner,) in doubled:
        ((levels, keys),) = scratch.execute(
            "select list(distinct own_level order by own_level), list(distinct key order by key) "
            f"{carried} and partner = ?",
            [partner],
        ).fetchall()
        raise SchemaDrift(
            f"The file has rows of units within each other: {partner} of {pair[1]} would get the figures of levels "
            f"{' and '.join(map(str, levels))} ({', '.join(keys[:EXAMPLES])}).",
            "Carry the rows of one level at a time.",
        )


def _nothing_carried(source: Path, rows: int, set_aside: Sequence[SetAside], release: str) -> SchemaDrift:
    if not set_aside:
        return SchemaDrift(f"{source} has no rows.", "Give a file with one row per unit.")
    first = set_aside[0]
    examples = f" The first are {', '.join(first.examples)}." if first.examples else ""
    hint = next(hint for reason, hint in HINTS.items() if reason.format(release) == first.reason)
    return SchemaDrift(
        f"{source}: no row can be carried ({rows:,} read): {first.rows:,} {first.reason}.{examples}", hint
    )


def amount(value: float) -> str:
    """Return an amount for people: 12 digits, and no more decimals than it has."""
    return f"{value:,.12g}"


def sentences(report: Report, output: Path) -> Iterator[str]:
    """Yield what became of a table, one line at a time; what was set aside is left to `warnings_of`."""
    from_release, to_release = report.releases
    yield (
        f"{output}: {report.rows_out:,} rows of {to_release}, from {report.rows_carried:,} of {report.rows_in:,} rows "
        f"of {from_release}."
    )
    if report.left_out:
        yield f"Not carried, as neither --sum nor --mean: {', '.join(report.left_out)}."


def warnings_of(report: Report) -> Iterator[str]:
    """Yield a sentence for whatever the rows written do not hold."""
    from_release, to_release = report.releases
    for each in report.set_aside:
        rows = f"{each.rows:,} row{'s' if each.rows != 1 else ''}"
        more = ", …" if each.rows > len(each.examples) == EXAMPLES else ""
        listed = f": {', '.join(each.examples)}{more}" if each.examples else ""
        yield f"Set aside: {rows} {each.reason}{listed}."
    if report.partly_outside or report.wholly_outside:
        yield (
            f"Outside of {to_release} lies a part of {report.partly_outside:,} and all of {report.wholly_outside:,} "
            f"units of {from_release} that were carried."
        )
    if report.partly_known:
        rows = "1 row is" if report.partly_known == 1 else f"{report.partly_known:,} rows are"
        yield f"{rows} made from less than 99 % of the unit's ground: see {KNOWN_SHARE}."


def cells(report: Report) -> list[tuple[str, ...]]:
    """Return what became of each amount, as rows of a table for people."""
    return [
        (each.column, *(amount(value) for value in (each.given, each.carried, each.outside, each.set_aside)))
        for each in report.totals
    ]


CELLS = ("column", "in the file", "carried", "fell outside", "set aside")
