"""By what two publications of a dataset differ, as far as the raw tables tell: keys, names and hashes of shapes.

One statement does it on both targets, in a second or two for the world. What became of the ground of a unit, such as a
split, only the marts know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingest.catalog import Dataset, Table

HASH = "geom_hash"
SECONDS = 20  # that a comparison may take: an alert waits for it


@dataclass(frozen=True)
class Difference:
    """How many keys differ between two publications.

    Attributes
    ----------
    new, gone : int
        Keys that only the later or the earlier one has.
    renamed : int
        Keys of both whose names differ.
    reshaped : int or None
        Keys of both whose shapes differ in any coordinate; None if a version before this one has loaded one of the two.
    """

    new: int
    gone: int
    renamed: int
    reshaped: int | None


@dataclass(frozen=True)
class Raw:
    """A raw table of a run.

    Attributes
    ----------
    table : Table
        As the catalog describes it.
    relation : str
        How SQL refers to it.
    has_hash : bool
        Whether it has the hashes of its shapes.
    """

    table: Table
    relation: str
    has_hash: bool


def query(dataset: Dataset, before: Sequence[Raw], after: Sequence[Raw]) -> str:
    """Return the SQL whose row `from_row` reads, for either target."""
    return f"""
        with before as ({_units(dataset, before)}), after as ({_units(dataset, after)})
        select
            count(*) filter (where before.unit_key is null),
            count(*) filter (where after.unit_key is null),
            count(*) filter (where before.unit_name <> after.unit_name),
            count(*) filter (where before.shape <> after.shape)
        from before full join after on before.unit_key = after.unit_key
    """  # noqa: S608  names come from the catalog


def from_row(row: Sequence[int], before: Sequence[Raw], after: Sequence[Raw]) -> Difference:
    """Return the difference that the row of `query` describes."""
    new, gone, renamed, reshaped = row
    return Difference(new, gone, renamed, reshaped if all(raw.has_hash for raw in (*before, *after)) else None)


def _units(dataset: Dataset, tables: Sequence[Raw]) -> str:
    """Return the SQL of the keys of a run, each with its name and what stands for its shape.

    A key may have several rows: parts of a unit, or repetitions.
    """
    rows = " union all ".join(_rows(dataset, raw) for raw in tables)
    return (
        "select unit_key, min(unit_name) as unit_name, "  # noqa: S608
        f"coalesce(min({HASH}) || max({HASH}), '') || count({HASH}) as shape "
        f"from ({rows}) as units where unit_key is not null group by unit_key"
    )


def _rows(dataset: Dataset, raw: Raw) -> str:
    key, name = _key(raw.table), next(_staged(raw.table, "name"), None)
    is_area = f"source_layer = '{dataset.areas.layer}'" if dataset.areas else "false"
    key_of_area = dataset.areas.key if dataset.areas else "null"
    missing = ", ".join(f"'{text}'" for text in dataset.missing_text) or "''"
    unit_key = f"case when {is_area} then {key_of_area} else {key} end"
    return (
        f"select case when {unit_key} not in ({missing}) then {unit_key} end as unit_key, "  # noqa: S608
        f"case when not {is_area} then {name or 'null'} end as unit_name, "
        f"{HASH if raw.has_hash else f'cast(null as text) as {HASH}'} from {raw.relation}"
    )


def _key(table: Table) -> str:
    """Return the column with the key of a row: in a flat dataset, the first that a file must have."""
    return next(_staged(table, "gid"), None) or next(column.name for column in table.columns if column.required)


def _staged(table: Table, name: str) -> Iterator[str]:
    return (column.name for column in table.columns if name in column.staged_as)
