"""What may be done with the rows of marts, and who wants to be named: as the units that they are about say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from admin_boundaries.marts import TIMEZONES, Mart, quoted, relation
from admin_boundaries.warehouse import Warehouse

RIGHTS = ("licence", "attribution", "source_name")
MAY_NOT_BE_PUBLISHED = re.compile(r"\bnot be redistributed\b")
UNKNOWN = "no licence stated"
OfDatasets: TypeAlias = Mapping[str, tuple[str, str, str]]  # licence, attribution and source name, by dataset
MOST_LISTED = 5


@dataclass(frozen=True)
class Rights:
    """What some units have in common.

    Attributes
    ----------
    licence : str
        What may be done with them.
    attribution, source_name : str or None
        Whom to name, in full and in short.
    count : int
        How many they are.
    noun : str
        What they are: ``units`` or ``time zones``.
    """

    licence: str
    attribution: str | None
    source_name: str | None
    count: int
    noun: str = "units"


def of_marts(
    warehouse: Warehouse,
    known: Mapping[str, Mart],
    marts: Iterable[Mart],
    of_datasets: OfDatasets,
    countries: Sequence[str] = (),
    chosen: Mapping[str, tuple[str, Sequence[object]]] | None = None,
) -> list[Rights]:
    """Return the rights in the rows of marts, those of most units first.

    Marts that do not have them themselves, such as names or borders, are made from all units of the dataset.

    Parameters
    ----------
    warehouse : Warehouse
        Where the marts are.
    known : mapping of str to Mart
        All of them, by name.
    marts : iterable of Mart
        Those that are asked about.
    of_datasets : mapping of str to (str, str, str)
        Those of whole datasets: time zones, and one that units are compared with.
    countries : sequence of str
        Keys of the countries whose rows are; all if empty.
    chosen : mapping of str to (str, sequence), optional
        By mart, the condition of its rows and the values of its parameters, instead of the countries.
    """
    marts = list(marts)
    found: list[Rights] = []
    of_units = [mart for mart in marts if not mart.name.startswith("timezone")]
    if any(not _has_rights(mart) for mart in of_units):
        of_units = [mart for mart in known.values() if _has_rights(mart)]
    counts: Counter[tuple[str | None, ...]] = Counter()
    for mart in of_units:
        where, parameters = (chosen or {}).get(mart.name, (in_countries(mart, countries), countries))
        query = (
            f"select {', '.join(RIGHTS)}, count(*) from {relation(mart)} "  # noqa: S608  it contains no value
            f"where {where} group by {', '.join(RIGHTS)}"
        )
        for *rights, count in warehouse.rows(query, tuple(parameters)):
            counts[tuple(rights)] += count
    for (licence, attribution, source_name), count in counts.items():
        found.append(Rights(licence or UNKNOWN, attribution, source_name, count))
    for mart in marts:
        if "other_dataset" in mart.columns:
            query = f"select other_dataset, count(other_gid) from {relation(mart)} group by other_dataset"  # noqa: S608
            found += [Rights(*of_datasets[name], count) for name, count in warehouse.rows(query)]
    if TIMEZONES in known and any("timezone" in mart.name for mart in marts):
        ((count,),) = warehouse.rows(f"select count(*) from {relation(known[TIMEZONES])}")  # noqa: S608
        found.append(Rights(*of_datasets["timezones"], count, "time zones"))
    return sorted(found, key=lambda rights: (-rights.count, rights.licence))


def in_countries(mart: Mart, countries: Sequence[str]) -> str:
    """Return the SQL condition that a row is of some countries, with ``?`` for each; of none, every row is."""
    if not countries or mart.country is None:
        return "true"
    return f"{quoted(mart.country)} in ({', '.join('?' * len(countries))})"


def texts(rights: Sequence[Rights]) -> dict[str, str]:
    """Return licences, attributions and sources, each as one text for the metadata of a file."""
    listed = {name: dict.fromkeys(getattr(each, name) for each in rights) for name in RIGHTS}
    joined = {name: "; ".join(filter(None, values)) for name, values in listed.items()}
    return {name: text for name, text in joined.items() if text}


def warnings(rights: Sequence[Rights], what: str) -> Iterator[str]:
    """Yield a sentence if something may not be published, and one if there are several licences.

    Parameters
    ----------
    rights : sequence of Rights
        Of all that is written.
    what : str
        What it is written to.
    """
    private = [each for each in rights if MAY_NOT_BE_PUBLISHED.search(each.licence)]
    if private:
        yield f"{what} holds data that may not be published: {_listed(private)}."
    if len({each.licence for each in rights}) > 1:
        yield f"{what} mixes licences: {_listed(rights)}."


def _listed(rights: Iterable[Rights]) -> str:
    counts: Counter[tuple[str, str]] = Counter()
    for each in rights:
        counts[each.licence, each.noun] += each.count
    shown = [
        f"{licence} ({count:,} {noun if count != 1 else noun.removesuffix('s')})"
        for (licence, noun), count in counts.most_common(MOST_LISTED)
    ]
    more = len(counts) - len(shown)
    return "; ".join([*shown, f"{more} more"] if more else shown)


def _has_rights(mart: Mart) -> bool:
    return set(RIGHTS) <= set(mart.columns)
