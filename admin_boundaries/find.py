"""Find units by key, by code or by name: the same queries for both targets, except for the search by prefix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from admin_boundaries import spelling

if TYPE_CHECKING:
    from admin_boundaries.warehouse import Warehouse

EARTH_KM = 6371.0088
MOST_NEAR = 10_000  # matches that are put in order by distance
LEAST_LETTERS = 3  # of a word that may be misspelled
MOST_MEANT = 3


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
        The name that matched, as the publisher writes it; the unit's own if a key or a code did, or its key.
    name_kind : str
        ``name``, ``variant`` or ``local``; ``code`` if it is the key that matched, or a code.
    is_exact : bool
        Whether the whole name matched, not only a prefix.
    away_km : float or None
        How far the unit's inner point is from where one asked, if one did.
    """

    gid: str
    admin_level: int
    name: str
    name_kind: str
    type_english: str | None
    path: str
    is_exact: bool
    away_km: float | None = None

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

# Units whose key or code somebody typed. National codes, which no index helps to find, all have a digit.
CODES = """
with

matches as (

    select
        gid,
        0 as place
    from {marts}.admin_units
    where gid in (?, ?)

    union all

    select
        gid,
        1 as place
    from {marts}.admin_unit_codes
    where code in (?, ?)
    {national}

),

best as (

    select
        gid,
        min(place) as place
    from matches
    group by gid

)

select
    units.gid,
    units.admin_level,
    coalesce(units.name, units.gid) as name,
    'code' as name_kind,
    (select max(names.type_english) from {marts}.admin_unit_names as names where names.gid = units.gid) as type_english,
    units.path,
    true as is_exact
from best
inner join {marts}.admin_units as units
    on best.gid = units.gid
order by
    best.place,
    units.admin_level,
    units.path,
    units.gid
limit ?
"""
NATIONAL = """
    union all

    select
        gid,
        1 as place
    from {marts}.admin_level_{level}
    where cc_code in (?, ?)
"""


def by_code(warehouse: Warehouse, text: str, limit: int) -> list[Name]:
    """Return the units whose key or one of whose codes a text is: ``TGO``, ``TGO.1_1``, ``US-CA``, ``06075``.

    Parameters
    ----------
    warehouse : Warehouse
        The marts.
    text : str
        As it was typed, also in small letters.
    limit : int
        Of how many at most.
    """
    marts, spellings = warehouse.marts, (text.strip(), text.strip().upper())
    levels = range(6) if any(letter.isdigit() for letter in text) else ()
    national = "".join(NATIONAL.format(marts=marts, level=level) for level in levels)
    parameters = [*spellings * (2 + len(levels)), limit]
    return [Name(*row) for row in warehouse.rows(CODES.format(marts=marts, national=national), parameters)]


def joined(codes: Sequence[Name], names: Sequence[Name], limit: int) -> list[Name]:
    """Return what was found by code and then what was found by name, each unit once."""
    known = {each.gid for each in codes}
    return [*codes, *(each for each in names if each.gid not in known)][:limit]


def nearest_first(warehouse: Warehouse, found: Sequence[Name], lon: float, lat: float) -> list[Name]:
    """Return what was found, whole names first and of these the nearest, with how far away each is.

    Parameters
    ----------
    warehouse : Warehouse
        The marts.
    found : sequence of Name
        Units.
    lon, lat : float
        From where, in degrees.

    Returns
    -------
    list of Name
        Those without a geometry last.
    """
    points: dict[str, tuple[float | None, float | None]] = {}
    for level in sorted({each.admin_level for each in found}):
        gids = [each.gid for each in found if each.admin_level == level]
        query = (
            f"select gid, point_lon, point_lat from {warehouse.marts}.admin_level_{level} "  # noqa: S608
            f"where gid in ({', '.join('?' * len(gids))})"
        )
        points |= {gid: point for gid, *point in warehouse.rows(query, gids)}
    told = [replace(each, away_km=_kilometres((lon, lat), points.get(each.gid, (None, None)))) for each in found]
    return sorted(told, key=lambda each: (not each.is_exact, math.inf if each.away_km is None else each.away_km))


def _kilometres(one: tuple[float, float], other: Sequence[float | None]) -> float | None:
    """Return how far apart two points are on a sphere, in kilometres."""
    if other[0] is None or other[1] is None:
        return None
    lon, lat, other_lon, other_lat = map(math.radians, (*one, other[0], other[1]))
    straight = (
        math.sin((other_lat - lat) / 2) ** 2
        + math.cos(lat) * math.cos(other_lat) * math.sin((other_lon - lon) / 2) ** 2
    )
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(straight)))


def meant(warehouse: Warehouse, name: str) -> list[str]:
    """Return the names that somebody may have meant who typed one that no unit has: of the least edit distance.

    Parameters
    ----------
    warehouse : Warehouse
        The marts.
    name : str
        As it was typed.

    Returns
    -------
    list of str
        Three at most, the nearest first.
    """
    ((folded,),) = warehouse.rows(f"select {warehouse.marts}.fold_name(?)", [name])
    if not folded or len(folded) < LEAST_LETTERS:
        return []
    names = f"{warehouse.marts}.admin_unit_names"
    query = f"select distinct folded_name from {names} where length(folded_name) between ? and ?"  # noqa: S608
    near = spelling.nearest(folded, (each for (each,) in warehouse.rows(query, spelling.lengths(folded))), MOST_MEANT)
    query = f"select name from {names} where folded_name = ?"  # noqa: S608  it contains no value
    return [min(each for (each,) in warehouse.rows(query, [folded_name])) for folded_name in near]
