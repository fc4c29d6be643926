"""Write seeds/iso_countries.csv and seeds/iso_subdivisions.csv: the codes that ISO 3166 has given.

Read from the PyPI packages ``iso3166`` and ``iso3166-2``, both under the MIT licence, so that the same versions always
give the same files:

    python -m scripts.build_iso_lists
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import iso3166

from scripts.build_name_folding import fold_name

SEEDS = Path(__file__).resolve().parent.parent / "seeds"
COUNTRIES = ("alpha_2", "alpha_3", "name", "package_version")
SUBDIVISIONS = ("code", "country_alpha_2", "parent_code", "subdivision_type", "name", "folded_names", "package_version")
CODE_IN_NAME = re.compile(r" GB-[A-Z]{3}")  # `Cardiff [Caerdydd GB-CRD]`
LANGUAGE = re.compile(r" \([a-z0-9]{3,}\)$")  # `Bavaria (eng)`


def countries() -> Iterator[tuple[str, ...]]:
    """Yield the countries by their alpha-2 codes."""
    for country in sorted(iso3166.countries, key=lambda country: country.alpha2):
        yield country.alpha2, country.alpha3, country.apolitical_name, version("iso3166")


def subdivisions() -> Iterator[tuple[str, ...]]:
    """Yield the subdivisions by their codes."""
    listed = Path(str(distribution("iso3166-2").locate_file("iso3166_2/iso3166-2.json")))
    for country, found in sorted(json.loads(listed.read_text(encoding="utf-8")).items()):
        for code, entry in sorted(found.items()):
            folded = "|".join(dict.fromkeys(filter(None, map(fold_name, names(entry)))))
            parent = entry["parentCode"] or ""
            yield code, country, parent, entry["type"], entry["name"], folded, version("iso3166-2")


def names(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield all names of a subdivision, each by itself.

    The list writes ``Catalunya [Cataluña]`` and ``Valenciana, Comunidad``, and other names with their languages.
    """
    first, _, rest = CODE_IN_NAME.sub("", entry["name"]).partition("[")
    for name in (first.strip(), rest.rstrip("] ")):
        word, _, before = name.partition(", ")
        yield f"{before} {word}".strip()
    for name in re.split(r", |; ", entry["localOtherName"] or ""):
        yield LANGUAGE.sub("", name.strip("'"))


def write(path: Path, header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Write a seed."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main() -> None:
    """Write both seeds."""
    write(SEEDS / "iso_countries.csv", COUNTRIES, countries())
    write(SEEDS / "iso_subdivisions.csv", SUBDIVISIONS, subdivisions())


if __name__ == "__main__":
    main()
