"""What changed between two releases, for people: a sentence that counts it, and the rows of ``admin_unit_changes``.

The sentence that a build logs comes from `macros/changes/log_changes.sql`, and is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from admin_boundaries import licences, tables
from admin_boundaries.compared_releases import CHANGES, Releases, compared
from admin_boundaries.files import replacing
from admin_boundaries.marts import Mart, quoted, relation
from admin_boundaries.warehouse import Warehouse, of_one_build
from ingest.errors import ReleaseMissing, UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

KEPT = "kept"
TYPES = ("new", "gone", "renamed", "re-keyed", "moved", "reshaped", "split", "merged", "complex", KEPT)
# A key that only one release has is new or gone, whatever became of its ground. A split is counted where it begins and
# a merger where it ends: one unit that became two is one split, and its parts are new keys.
COUNTED = {
    **{name: f"change_type = '{name}'" for name in TYPES},
    "new": "unit_of = 'to'",
    "gone": "unit_of = 'from'",
    "split": "change_type = 'split' and unit_of <> 'to'",
    "merged": "change_type = 'merged' and unit_of <> 'from'",
    "complex": "change_type = 'complex' and unit_of <> 'to'",
}
HEADINGS = ("change", "level", "from", "to", "name", "evidence")
SHOWN = (
    "change_type",
    "unit_of",
    "admin_level",
    "from_gid",
    "to_gid",
    "from_name",
    "to_name",
    "from_parent_gid",
    "to_parent_gid",
    "name_change",
    "share_of_from",
    "share_of_to",
    "moved_m",
    "counterpart_count",
)


@dataclass(frozen=True)
class Wanted:
    """Which rows of ``admin_unit_changes`` are asked for.

    Attributes
    ----------
    countries : tuple of str
        Keys of level 0; all if empty.
    level : int or None
        A level; None for all.
    types : tuple of str
        Values of ``change_type``; all but ``kept`` if empty.
    """

    countries: tuple[str, ...] = ()
    level: int | None = None
    types: tuple[str, ...] = ()

    @property
    def where(self) -> tuple[str, tuple[object, ...]]:
        """The SQL condition of its countries and level, with its parameters."""
        tests, values = ["true"], list[object]()
        if self.countries:
            tests.append(f"country_gid in ({', '.join('?' * len(self.countries))})")
            values += self.countries
        if self.level is not None:
            tests.append("admin_level = ?")
            values.append(self.level)
        return " and ".join(tests), tuple(values)

    @property
    def where_changed(self) -> tuple[str, tuple[object, ...]]:
        """The same, and of its types."""
        where, values = self.where
        types = self.types or tuple(name for name in TYPES if name != KEPT)
        return f"{where} and change_type in ({', '.join('?' * len(types))})", (*values, *types)


@dataclass(frozen=True)
class Changes:
    """What changed: the sentence, the first rows as cells of a table, and how many rows there are."""

    summary: str
    cells: tuple[tuple[str, ...], ...]
    rows: int


def summary(releases: Releases, counts: Mapping[str, int]) -> str:
    """Return what changed in one line, such as ``3.6 → 4.1: 11 new, 9 gone, 1 split, 3,208 kept``.

    Parameters
    ----------
    releases : Releases
        The two releases.
    counts : mapping of str to int
        How many there are of each of `TYPES`, counted as `COUNTED` says.
    """
    found = [f"{counts[name]:,} {name}" for name in TYPES if counts.get(name)]
    if not any(counts.get(name) for name in TYPES if name != KEPT):
        found.insert(0, "nothing changed")
    return f"{releases}: {', '.join(found)}"


def summary_of(warehouse: Warehouse) -> str:
    """Return what changed in all that the marts hold, in one line.

    Raises
    ------
    ReleaseMissing
        When the marts compare no releases.
    MartsMissing
        When the marts have not been built.
    """
    releases, known = compared(warehouse)
    return summary(releases, _counts(warehouse, known[CHANGES], Wanted()))


def told(warehouse: Warehouse) -> str:
    """Return what changed in one line; empty if the marts compare no releases."""
    try:
        return summary_of(warehouse)
    except ReleaseMissing:
        return ""


def check_types(types: Sequence[str]) -> None:
    """Refuse what is no type of change.

    Raises
    ------
    UsageError
    """
    for name in types:
        if name not in TYPES:
            raise UsageError(f"There is no change of type {name!r}.", did_you_mean(name, TYPES))


def check(warehouse: Warehouse, wanted: Wanted) -> dict[str, Mart]:
    """Return all marts by name, if they can tell what is wanted.

    Raises
    ------
    ReleaseMissing
        When the marts compare no releases.
    UsageError
        When a country is in neither of the two.
    """
    return _compared(warehouse, wanted)[1]


def rows(warehouse: Warehouse, wanted: Wanted) -> pa.RecordBatchReader:
    """Return rows of ``admin_unit_changes`` as a stream.

    Raises
    ------
    ReleaseMissing, UsageError
        As `check`.
    """
    return _stream(warehouse, check(warehouse, wanted)[CHANGES], wanted)


def _stream(warehouse: Warehouse, mart: Mart, wanted: Wanted) -> pa.RecordBatchReader:
    return warehouse.reader(mart, list(map(quoted, mart.columns)), *wanted.where_changed)


def read(warehouse: Warehouse, wanted: Wanted, limit: int) -> Changes:
    """Return what changed, for people.

    Parameters
    ----------
    warehouse : Warehouse
        The warehouse with the marts.
    wanted : Wanted
        Which rows. The sentence counts those of its countries and level, of all types.
    limit : int
        How many rows to return.

    Raises
    ------
    ReleaseMissing
        When the marts compare no releases.
    UsageError
        When a country is in neither of the two.
    """
    releases, known = _compared(warehouse, wanted)
    mart = known[CHANGES]
    where, values = wanted.where_changed
    ((rows,),) = warehouse.rows(f"select count(*) from {relation(mart)} where {where}", values)  # noqa: S608
    order = " ".join(f"when '{name}' then {number}" for number, name in enumerate(TYPES))
    query = (
        f"select {', '.join(SHOWN)} from {relation(mart)} where {where} "  # noqa: S608  it contains no value
        f"order by case change_type {order} end, country_gid, admin_level, coalesce(from_gid, to_gid), unit_of, to_gid "
        f"limit {limit}"
    )
    found = [dict(zip(SHOWN, row, strict=True)) for row in warehouse.rows(query, values)]
    return Changes(summary(releases, _counts(warehouse, mart, wanted)), tuple(map(_cells, found)), rows)


def write(
    warehouse: Warehouse,
    wanted: Wanted,
    output: Path,
    *,
    overwrite: bool,
    of_datasets: licences.OfDatasets,
    warn_of_licences: Callable[[str], None],
) -> int:
    """Write rows of ``admin_unit_changes`` to a CSV or Parquet file, and return how many they are.

    Raises
    ------
    ReleaseMissing
        When the marts compare no releases.
    FormatUnknown, UsageError, ExportFailed
        When the file cannot be written, or a country is in neither release.
    MartsReplaced
        When a build replaced the marts meanwhile. Nothing is written then.
    """
    tables.check_output(output, overwrite=overwrite)
    with replacing(output) as draft, of_one_build(warehouse):
        known = check(warehouse, wanted)
        rights = licences.of_marts(warehouse, known, [known[CHANGES]], of_datasets, wanted.countries)
        count = tables.write(_stream(warehouse, known[CHANGES], wanted), draft, licences.texts(rights))
    for warning in licences.warnings(rights, output.name):
        warn_of_licences(warning)
    return count


def _counts(warehouse: Warehouse, mart: Mart, wanted: Wanted) -> dict[str, int]:
    where, values = wanted.where
    counted = [f"count(*) filter (where {COUNTED[name]})" for name in TYPES]
    query = f"select {', '.join(counted)} from {relation(mart)} where {where}"  # noqa: S608  it contains no value
    (row,) = warehouse.rows(query, values)
    return dict(zip(TYPES, row, strict=True))


def _compared(warehouse: Warehouse, wanted: Wanted) -> tuple[Releases, dict[str, Mart]]:
    releases, known = compared(warehouse)
    _check_countries(warehouse, known[CHANGES], wanted.countries)
    return releases, known


def _check_countries(warehouse: Warehouse, mart: Mart, countries: Sequence[str]) -> None:
    if not countries:
        return
    query = f"select distinct country_gid from {relation(mart)} where country_gid is not null"  # noqa: S608
    known = {gid for (gid,) in warehouse.rows(query)}
    for country in countries:
        if country not in known:
            raise UsageError(
                f"{country} is in neither release of the marts of {warehouse.dataset}.", did_you_mean(country, known)
            )


def _cells(row: Mapping[str, object]) -> tuple[str, ...]:
    """Return a row as cells under `HEADINGS`."""
    names = list(dict.fromkeys(filter(None, (row["from_name"], row["to_name"]))))
    cells = row["change_type"], row["admin_level"], row["from_gid"], row["to_gid"], " → ".join(map(str, names))
    return (*("" if cell is None else str(cell) for cell in cells), ", ".join(_evidence(row)))


def _evidence(row: Mapping[str, object]) -> Iterator[str]:
    """Yield by what a change shows."""
    if row["unit_of"] == "both" and row["from_parent_gid"] != row["to_parent_gid"]:
        yield f"from {row['from_parent_gid'] or 'none'} to {row['to_parent_gid'] or 'none'}"
    if row["name_change"]:
        yield f"name: {row['name_change']}"
    if row["change_type"] in ("split", "merged", "complex"):
        side = "to" if row["unit_of"] == "to" else "from"
        share = row[f"share_of_{side}"]
        if isinstance(share, float):
            yield _share(share, "from" if side == "to" else "to", int(str(row["counterpart_count"])) - 1)
    elif isinstance(row["moved_m"], float) and row["change_type"] == "reshaped":
        yield f"border moved {row['moved_m']:,.0f} m"


def _share(share: float, direction: str, others: int) -> str:
    """Return how much of a unit went to another, or came from it, and to how many more the rest."""
    rest = f", the rest {direction} {others} other{'s' if others != 1 else ''}" if others > 0 else ""
    return f"{share:.1%} {direction} there{rest}"
