"""How to cite what the marts hold: which releases, under which licences, and whom to name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from admin_boundaries import licences
from admin_boundaries.licences import OfDatasets, Rights
from admin_boundaries.marts import TIMEZONES
from admin_boundaries.warehouse import Warehouse, known_marts

SPECIAL = re.compile(r"([&%$#_{}])")


@dataclass(frozen=True)
class Work:
    """A release of a dataset, as a text refers to it.

    Attributes
    ----------
    dataset, title, release : str
        What it is.
    citation : str
        The wording that its publisher asks for.
    loaded : date
        When it was loaded, in UTC.
    rights : sequence of Rights
        What may be done with its units, those of most units first.
    """

    dataset: str
    title: str
    release: str
    citation: str
    loaded: date
    rights: Sequence[Rights]


def works(
    warehouse: Warehouse, of_datasets: OfDatasets, source_of: Callable[[str, str], tuple[str, str]]
) -> list[Work]:
    """Return what the marts were made from.

    Parameters
    ----------
    warehouse : Warehouse
        The marts.
    of_datasets : mapping of str to (str, str, str)
        The rights in whole datasets; see `admin_boundaries.licences.of_marts`.
    source_of : callable
        Returns title and citation, given dataset and release.

    Raises
    ------
    MartsMissing
        When the marts have not been built.
    """
    known = known_marts(warehouse)
    names = {False: [f"admin_level_{level}" for level in range(6)], True: [TIMEZONES]}
    found = []
    for each in warehouse.editions():
        if each.run is None:
            continue
        marts = [known[name] for name in names[each.dataset == TIMEZONES] if name in known]
        rights = licences.of_marts(warehouse, known, marts, of_datasets)
        title, citation = source_of(each.dataset, each.run.release)
        found.append(Work(each.dataset, title, each.run.release, citation, each.run.published_at.date(), rights))
    return found


def text(cited: Sequence[Work]) -> Iterator[str]:
    """Yield lines for people."""
    for work in cited:
        yield f"{work.title}: release {work.release}, loaded on {work.loaded:%Y-%m-%d}"
        yield f"  cite     {work.citation}"
        for rights in work.rights:
            yield f"  licence  {rights.licence} ({rights.count:,} {rights.noun})"
            if rights.attribution:
                yield f"  credit   {rights.attribution}"


def bibtex(cited: Sequence[Work]) -> Iterator[str]:
    """Yield an entry of BibTeX for each release."""
    for work in cited:
        key = re.sub(r"[^a-z0-9]+", "_", f"{work.dataset}_{work.release}".lower()).strip("_")
        named = dict.fromkeys(rights.attribution for rights in work.rights if rights.attribution)
        held = dict.fromkeys(rights.licence for rights in work.rights)
        fields = {
            "title": f"{{{_escaped(work.title)}}}",
            "author": f"{{{_escaped('; '.join(named))}}}",
            "version": _escaped(work.release),
            "howpublished": _escaped(work.citation),
            "urldate": f"{work.loaded:%Y-%m-%d}",
            "note": _escaped(f"Licence: {'; '.join(held)}"),
        }
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        yield f"@misc{{{key},\n{lines}\n}}"


def _escaped(value: str) -> str:
    """Return a text as TeX writes it."""
    return SPECIAL.sub(r"\\\1", value)
