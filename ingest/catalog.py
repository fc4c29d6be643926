"""The datasets that can be loaded, as ``catalog.yaml`` describes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ingest.errors import LayerMissing, SettingsError, UsageError, did_you_mean
from ingest.settings import PROJECT_ROOT

CATALOG = Path(__file__).with_name("catalog.yaml")


@dataclass(frozen=True)
class Column:
    """A text column of a raw table, with the names that it has in the source files.

    ``staged_as`` is what the staging view makes of it.
    """

    name: str
    source: tuple[str, ...]
    required: bool
    staged_as: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A raw table: one level of a hierarchy, or the single table of a flat dataset.

    Attributes
    ----------
    name : str
        Name in the schema ``raw``; the same for every release.
    level : int or None
        Level of the hierarchy; None for a flat dataset.
    columns : tuple of Column
        Text columns, in the order of the table.
    """

    name: str
    level: int | None
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Release:
    """One release of a dataset: the addresses of its files and the names of its layers."""

    name: str
    url: str
    country_url: str | None
    layers: tuple[re.Pattern[str], ...]
    sha256: str | None = None
    mirrors: tuple[str, ...] = ()
    country_mirrors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Latest:
    """How to find the newest release: an address that redirects to it, and a pattern that picks its name."""

    url: str
    pattern: re.Pattern[str]


@dataclass(frozen=True)
class Dataset:
    """A dataset of the catalog.

    ``country`` is the raw column, in every table, that says which country a row belongs to; None if there is none.
    """

    name: str
    title: str
    licence: str
    tables: tuple[Table, ...]
    missing_text: tuple[str, ...]
    default_release: str
    variants: Mapping[str, str]
    oceans: Mapping[str, str]
    _releases: Mapping[str, Mapping[str, Any]]
    latest: Latest | None = None
    country: str | None = None
    attribution: str = ""
    source_name: str = ""

    @property
    def is_hierarchy(self) -> bool:
        """Whether the dataset has levels."""
        return self.tables[0].level is not None

    def release(self, name: str | None = None) -> Release:
        """Return a release by name, or the default release.

        Raises
        ------
        UsageError
            When the catalog has no such release.
        """
        wanted = name or self.default_release
        for pattern, entry in self._releases.items():
            if pattern == wanted or (
                "[" in pattern and re.fullmatch(pattern, wanted)
            ):  # without a bracket it is a plain name: "4.1" must not match 4x1
                return Release(
                    name=wanted,
                    url=entry["url"],
                    country_url=entry.get("country_url"),
                    layers=tuple(re.compile(layer, re.IGNORECASE) for layer in entry["layers"]),
                    sha256=entry.get("sha256"),
                    mirrors=tuple(entry.get("mirrors", ())),
                    country_mirrors=tuple(entry.get("country_mirrors", ())),
                )
        raise UsageError(f"{self.name} has no release {wanted!r}.", did_you_mean(wanted, self._releases))

    def table(self, level: int | None) -> Table:
        """Return the table of a level; None means the single table of a flat dataset.

        Raises
        ------
        LayerMissing
            When the dataset has no such level.
        """
        for table in self.tables:
            if table.level == level:
                return table
        raise LayerMissing(f"{self.name} has no level {level}.", f"Levels: 0 to {len(self.tables) - 1}.")


def urls(
    dataset: Dataset,
    release: Release,
    *,
    countries: Sequence[str] = (),
    variant: str = "now",
    oceans: bool = True,
    root: Path = PROJECT_ROOT,
) -> tuple[str, ...]:
    """Return the addresses of a release's files.

    Parameters
    ----------
    dataset, release
        What to load.
    countries : sequence of str
        ISO 3166-1 alpha-3 codes, to get the per-country files instead of the world file.
    variant : str
        Variant of a time zone release: ``now``, ``1970`` or ``all``.
    oceans : bool
        Whether to include the zones of the oceans.
    root : Path
        Folder that relative paths in the catalog start from.

    Returns
    -------
    tuple of str
        URLs, or absolute paths of files that come with the project, without checksums.
    """
    found = addresses(dataset, release, countries=countries, variant=variant, oceans=oceans, root=root)
    return tuple(first.partition("#sha256=")[0] for first, *_ in found)


def addresses(
    dataset: Dataset,
    release: Release,
    *,
    countries: Sequence[str] = (),
    variant: str = "now",
    oceans: bool = True,
    root: Path = PROJECT_ROOT,
) -> tuple[tuple[str, ...], ...]:
    """Return the addresses of each file of a release: the publisher's first, then the mirrors in the order to try them.

    The parameters are those of `urls`. If the catalog states the checksum of a file, all of its addresses end in
    ``#sha256=HEX``, so that a mirror cannot serve another file.

    Raises
    ------
    UsageError
        When countries are given and the release has no per-country files.
    """
    words = {"release": release.name}
    if dataset.variants:
        words["variant"] = dataset.variants[variant]
    if dataset.oceans:
        words["oceans"] = dataset.oceans["with" if oceans else "without"]
    if countries:
        if release.country_url is None:
            raise UsageError(f"{dataset.name} {release.name} has no per-country files.", "Leave --country out.")
        templates = (release.country_url, *release.country_mirrors)
        return tuple(tuple(template.format(iso3=code, **words) for template in templates) for code in countries)
    found = [template.format(**words) for template in (release.url, *release.mirrors)]
    mark = f"#sha256={release.sha256}" if release.sha256 else ""
    return (tuple((url if "://" in url else str(root / url)) + mark for url in found),)


@cache
def datasets(path: Path = CATALOG) -> Mapping[str, Dataset]:
    """Read the catalog.

    Returns
    -------
    mapping of str to Dataset

    Raises
    ------
    SettingsError
        When the file cannot be read as a catalog.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["datasets"]
        return {name: _dataset(name, entry) for name, entry in entries.items()}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, re.error) as error:
        raise SettingsError(f"{path} is not a catalog of datasets: {error!r}.") from error


def get(name: str) -> Dataset:
    """Return a dataset by name.

    Raises
    ------
    UsageError
        When the catalog has no such dataset.
    """
    known = datasets()
    if name not in known:
        raise UsageError(f"There is no dataset {name!r}.", did_you_mean(name, known))
    return known[name]


def _dataset(name: str, entry: Mapping[str, Any]) -> Dataset:
    levels: Sequence[int | None] = range(entry["levels"]) if "levels" in entry else (None,)
    tables, country = tuple(_table(entry, level) for level in levels), entry.get("country")
    if country and any(country not in {column.name for column in table.columns} for table in tables):
        raise ValueError(f"{name} has a table without the column {country}")
    return Dataset(
        name=name,
        title=entry["title"],
        licence=entry["licence"],
        tables=tables,
        missing_text=tuple(entry.get("missing_text", ())),
        default_release=str(entry["default_release"]),
        variants=entry.get("variants", {}),
        oceans=entry.get("oceans", {}),
        _releases={str(key): value for key, value in entry["releases"].items()},
        latest=Latest(entry["latest"]["url"], re.compile(entry["latest"]["pattern"])) if "latest" in entry else None,
        country=country,
        attribution=entry.get("attribution", ""),
        source_name=entry.get("source_name", ""),
    )


def _table(entry: Mapping[str, Any], level: int | None) -> Table:
    columns: list[Column] = []
    for item in entry["columns"]:
        lowest, highest = item.get("levels", (0, level or 0))
        if level is not None and not lowest <= level <= highest:
            continue
        above = {"ancestors": range((level or 0) + 1), "parents": range(level or 0)}
        ancestors = above.get(item.get("each"), (0,))
        for k in ancestors:
            words = {"level": level, "k": k}
            columns.append(
                Column(
                    name=item["name"].format(**words),
                    source=tuple(source.format(**words) for source in item["source"]),
                    required=bool(item.get("required", False)),
                    staged_as=(item["as"].format(**words),) if "as" in item else (),
                )
            )
    return Table(name=entry["table"].format(level=level), level=level, columns=tuple(columns))
