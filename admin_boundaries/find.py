"""Find units by name: one query for both targets, except for the search by prefix."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Name:
    """A unit that was found by name.

    Attributes
    ----------
    gid, path, type_english : str
        As in ``admin_units`` and ``admin_level_N``; ``type_english`` is None if the publisher has none.
    admin_level : int
        Its level.
    name : str
        The name that matched, as the publisher writes it.
    name_kind : str
        ``name``, ``variant`` or ``local``.
    is_exact : bool
        Whether the whole name matched, not only a prefix.
    """

    gid: str
    admin_level: int
    name: str
    name_kind: str
    type_english: str | None
    path: str
    is_exact: bool

    @property
    def cells(self) -> tuple[str, ...]:
        """As a row of a table for people: key, level, type, name with its kind unless it is the unit's own, path."""
        name = self.name if self.name_kind == "name" else f"{self.name} ({self.name_kind})"
        return self.gid, str(self.admin_level), self.type_english or "", name, self.path


# To be formatted with the schema, the target's placeholders, and its condition that `folded_name` begins as wanted.
FIND = """
with

wanted as (

    select {marts}.fold_name({name}) as folded_name

),

matches as (

    select
        names.gid,
        names.admin_level,
        names.name,
        names.name_kind,
        names.type_english,
        names.path,
        names.folded_name = wanted.folded_name as is_exact,
        row_number() over (
            partition by names.gid
            order by
                case when names.folded_name = wanted.folded_name then 0 else 1 end,
                case names.name_kind when 'name' then 0 when 'variant' then 1 else 2 end,
                names.name
        ) as match_number
    from {marts}.admin_unit_names as names
    inner join wanted
        on {begins}
    where wanted.folded_name <> ''

)

select
    gid,
    admin_level,
    name,
    name_kind,
    type_english,
    path,
    is_exact
from matches
where match_number = 1
order by
    case when is_exact then 0 else 1 end,
    case name_kind when 'name' then 0 when 'variant' then 1 else 2 end,
    admin_level,
    path,
    gid
limit {limit}
"""
