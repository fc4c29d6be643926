"""The datasets that can be loaded, as ``catalog.yaml`` describes them."""

from __future__ import annotations

import csv
import difflib
import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ingest.errors import LayerMissing, SettingsError, UsageError, did_you_mean
from ingest.settings import PROJECT_ROOT, require_project

CATALOG = Path(__file__).with_name("catalog.yaml")
ISO_COUNTRIES = Path("seeds") / "iso_countries.csv"


@dataclass(frozen=True)
class Column:
    """A text column of a raw table.

    Attributes
    ----------
    name : str
        Its name in the raw table.
    source : tuple of str
        The names that it has in the source files; the first that a file has is taken.
    required : bool
        Whether a file without it is refused.
    staged_as : tuple of str
        What the staging view makes of it, such as ``gid``, ``name`` or ``code:wikidata``; empty in datasets whose
        staging views are written by hand.
    listed : str or None
        The key of its value in the publisher's list of files, see `Lookup`, if the files do not have the column.
    layer : str or None
        The only layer that has to have it, if it is required; None if all have.
    """

    name: str
    source: tuple[str, ...]
    required: bool
    staged_as: tuple[str, ...] = ()
    listed: str | None = None
    layer: str | None = None


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
    joined : tuple of (str, tuple of str)
        What the staging view makes of several columns, and these columns, whose texts are joined without a separator: a
        key that the file holds in parts.
    """

    name: str
    level: int | None
    columns: tuple[Column, ...]
    joined: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Layer:
    """A pattern for names of layers, and their level; None where the group ``level`` of the pattern says it."""

    pattern: re.Pattern[str]
    level: int | None = None


@dataclass(frozen=True)
class Lookup:
    """Where a publisher's interface lists the files of a country.

    Attributes
    ----------
    url : str
        Template of an address that answers with JSON.
    key : str
        The key, anywhere in the answer, whose values are addresses of files.
    pattern : str
        Template of a regular expression for the addresses that are wanted.
    """

    url: str
    key: str
    pattern: str

    def of(self, country: str) -> Lookup:
        """Return where the files of a country are listed."""
        codes = {"iso3": country, "iso3_lower": country.lower()}
        pattern = self.pattern  # not a template of `format`: braces mean something else in it
        for name, code in codes.items():
            pattern = pattern.replace(f"{{{name}}}", code)
        return Lookup(self.url.format(**codes), self.key, pattern)


@dataclass(frozen=True)
class Rows:
    """What the rows of a file are, where one file holds several layers or levels.

    Attributes
    ----------
    layer : str
        The column that names the layer of a row.
    told_by : mapping of str to str
        Layers, and a column that only files of this layer have: it tells which one a file without that column holds.
    level : str
        The column whose values stand for levels.
    levels : mapping of str to (int or None)
        What each value stands for; None if such rows are passed over.
    country : str
        The column with the country of a row, as its ISO 3166-1 alpha-2 code.
    """

    layer: str
    told_by: Mapping[str, str]
    level: str
    levels: Mapping[str, int | None]
    country: str

    def of_level(self, level: int | None) -> tuple[str, ...]:
        """Return the values that stand for a level."""
        return tuple(value for value, each in self.levels.items() if each == level)


@dataclass(frozen=True)
class Listing:
    """Where the server of a publisher lists the files of a release.

    Attributes
    ----------
    url : str
        Template of an address, with ``{release}``.
    pattern : str
        Template of a regular expression for the files that are wanted; its group ``path`` is what an address ends in.
    file : str
        Template of their addresses, with ``{path}``.
    more : str
        Regular expression that is found in a list if it is only a part of all.
    """

    url: str
    pattern: str
    file: str
    more: str

    def of(self, release: str) -> Listing:
        """Return where the files of a release are listed."""
        pattern = self.pattern.replace("{release}", re.escape(release))
        return replace(self, url=self.url.format(release=release), pattern=pattern)


@dataclass(frozen=True)
class Release:
    """One release of a dataset: the addresses of its files and the names of its layers.

    ``url`` is the file of the world. Where it is several, there are ``level_urls`` instead: levels and templates.
    """

    name: str
    url: str | None
    country_url: str | None
    layers: tuple[Layer, ...]
    sha256: str | None = None
    mirrors: tuple[str, ...] = ()
    country_mirrors: tuple[str, ...] = ()
    level_urls: tuple[tuple[int, str], ...] = ()
    country_lookup: Lookup | None = None
    listing: Listing | None = None

    @property
    def is_bundled(self) -> bool:
        """Whether its file is in the repository: part of a publisher's release, and never the whole."""
        return self.url is not None and "://" not in self.url

    def level_of(self, layer: str) -> int | bool | None:
        """Return the level in a layer's name; None if the dataset has no levels, False if no pattern matches."""
        for each in self.layers:
            match = each.pattern.fullmatch(layer)
            if match:
                level = match.groupdict().get("level") if each.level is None else each.level
                return None if level is None else int(level)
        return False


@dataclass(frozen=True)
class Latest:
    """How to find the newest release.

    Attributes
    ----------
    url : str
        An address that redirects to the newest release, or that lists all of them.
    pattern : re.Pattern
        What a release is called there, in the group ``release``.
    is_listed : bool
        Whether the pattern is looked for in what the address answers, where the highest name counts, and not in the
        address that it redirects to.
    is_default : bool
        Whether the newest release is loaded when none is named, for older ones are not kept.
    """

    url: str
    pattern: re.Pattern[str]
    is_listed: bool = False
    is_default: bool = False


@dataclass(frozen=True)
class Derived:
    """A unit that the files lack: the union of all units of the level below.

    Attributes
    ----------
    level : int
        Its level, one above the first that has files.
    gid, name : str
        Its key and name.
    codes : mapping of str to str
        Its codes by scheme.
    """

    level: int
    gid: str
    name: str
    codes: Mapping[str, str]


@dataclass(frozen=True)
class Areas:
    """Where the area of a unit is, if its row has none: in a row of another layer.

    Attributes
    ----------
    layer : str
        The layer of the areas.
    key : str
        The raw column with the key of the unit.
    is_land : str
        The raw column that says whether it is the area on land, and not with the territorial sea.
    """

    layer: str
    key: str
    is_land: str


@dataclass(frozen=True)
class Dataset:
    """A dataset of the catalog.

    Attributes
    ----------
    title, licence : str
        What it is, and what may be done with it.
    attribution, source_name : str
        What the publisher wants to be named as, in full and in short.
    citation : str
        How a text cites it, with ``{release}``; see `cited`.
    tables : tuple of Table
        Its raw tables, one per level or a single one.
    missing_text : tuple of str
        Texts that mean that there is no value.
    words : mapping of str to tuple of str
        Words of the templates of addresses that stand for a file each.
    derived : Derived or None
        The unit above the first level, where there is no file of it.
    country : str or None
        The raw column, in every table, that says which country a row belongs to; None if there is none.
    rows : Rows or None
        What the rows of its files are, where the name of a layer does not say it.
    keeps_points : bool
        Whether a unit may be a point: it has a place, and no area.
    is_ragged : bool
        Whether a parent may lie more than one level above.
    areas : Areas or None
        Where the areas of units are, if not in their own rows.
    nested : str or None
        Of datasets in which a unit of the last level but one may lie in another one, and then is of the last level: the
        raw column with the key of the outermost.
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
    citation: str = ""
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    derived: Derived | None = None
    rows: Rows | None = None
    keeps_points: bool = False
    is_ragged: bool = False
    areas: Areas | None = None
    nested: str | None = None

    @property
    def is_hierarchy(self) -> bool:
        """Whether the dataset has levels."""
        return self.tables[0].level is not None

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels that have files, from the highest unit down; empty if the dataset has none."""
        return tuple(table.level for table in self.tables if table.level is not None)

    @property
    def listed(self) -> dict[str, str]:
        """The raw columns whose values the publisher's list of files has, and their keys in it."""
        return {column.name: column.listed for table in self.tables for column in table.columns if column.listed}

    @property
    def named_releases(self) -> tuple[str, ...]:
        """The default release, and all others that the catalog knows by their names and not by a pattern."""
        others = (name for name in self._releases if not _is_pattern(name) and name != self.default_release)
        return (self.default_release, *others)

    @property
    def has_further_releases(self) -> bool:
        """Whether the catalog knows releases by a pattern for their names, such as any year."""
        return any(map(_is_pattern, self._releases))

    def cited(self, release: str) -> str:
        """Return how a text cites a release."""
        return str(self._releases.get(release, {}).get("citation", self.citation)).replace("{release}", release)

    @property
    def rights(self) -> Mapping[str, Mapping[str, str]]:
        """The licence, attribution and source name of the releases of which they differ from the dataset's."""
        names = ("licence", "attribution", "source_name")
        found = {name: {key: entry[key] for key in names if key in entry} for name, entry in self._releases.items()}
        return {name: rights for name, rights in found.items() if rights}

    def release(self, name: str | None = None) -> Release:
        """Return a release by name, or the default release.

        Raises
        ------
        UsageError
            When the catalog has no such release.
        """
        wanted = name or self.default_release
        for pattern, entry in self._releases.items():
            if pattern == wanted or (_is_pattern(pattern) and re.fullmatch(pattern, wanted)):
                return _release(wanted, entry)
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
        raise LayerMissing(
            f"{self.name} has no level {level}.", f"Levels: {self.tables[0].level} to {self.tables[-1].level}."
        )


def _is_pattern(release: str) -> bool:
    """Return whether the name of an entry is a pattern; without a bracket it is not: "4.1" must not match 4x1."""
    return "[" in release


def urls(
    dataset: Dataset,
    release: Release,
    *,
    countries: Sequence[str] = (),
    levels: Sequence[int] | None = None,
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
    levels : sequence of int or None
        The levels that are wanted, where each has files of its own; None for all.
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
    found = addresses(dataset, release, countries=countries, levels=levels, variant=variant, oceans=oceans, root=root)
    return tuple(first.partition("#sha256=")[0] for first, *_ in found)


def addresses(
    dataset: Dataset,
    release: Release,
    *,
    countries: Sequence[str] = (),
    levels: Sequence[int] | None = None,
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
        When the release has no per-country files and countries are given, or has no others and none are.
    SettingsError
        When its files come with the project, and there is none.
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
    if release.url is None:
        found = [
            (template.format(**words, **each),)
            for level, template in release.level_urls
            if levels is None or level in levels
            for each in _each(dataset.words, template)
        ]
        if not found:
            raise UsageError(
                f"{dataset.name} {release.name} has no file of the whole world.",
                "Choose countries with --country, or give a file with --source.",
            )
        return tuple(found)
    alike = [template.format(**words) for template in (release.url, *release.mirrors)]
    if not all("://" in url for url in alike):
        require_project(root)
    mark = f"#sha256={release.sha256}" if release.sha256 else ""
    return (tuple((url if "://" in url else str(root / url)) + mark for url in alike),)


def _each(words: Mapping[str, tuple[str, ...]], template: str) -> list[dict[str, str]]:
    """Return the values of the words in a template, one combination for each file that it stands for."""
    used = [word for word in words if f"{{{word}}}" in template]
    return [dict(zip(used, values, strict=True)) for values in itertools.product(*(words[word] for word in used))]


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


def hierarchies() -> tuple[str, ...]:
    """Return the names of the datasets that have levels, and thereby marts of their own."""
    return tuple(name for name, dataset in datasets().items() if dataset.is_hierarchy)


def alpha_2(countries: Sequence[str]) -> tuple[str, ...]:
    """Return the ISO 3166-1 alpha-2 codes of countries that are given by their alpha-3 codes.

    Raises
    ------
    UsageError
        When ISO has not given such a code.
    SettingsError
        When there is no clone of the project, whose list of countries this needs.
    """
    known = {row["alpha_3"]: row["alpha_2"] for row in _iso_countries()}
    for code in countries:
        if code not in known:
            raise UsageError(f"{code} is not the code of a country in ISO 3166-1.", did_you_mean(code, known))
    return tuple(known[code] for code in countries)


def country(text: str) -> str:
    """Return the alpha-3 code that stands for a country: of a code of ISO 3166-1, or of its name there.

    Parameters
    ----------
    text : str
        As somebody typed it: ``TGO``, ``tg``, ``Togo``, ``Bolivia``. Three letters are taken as they are: datasets have
        codes of their own, such as ``XKO``.

    Raises
    ------
    UsageError
        When no country, or more than one, is called so.
    """
    if re.fullmatch("[A-Za-z]{3}", text):
        return text.upper()
    if not (PROJECT_ROOT / ISO_COUNTRIES).is_file():  # as in an installed package, outside the project's folder
        raise UsageError(f"{text!r} has not three letters, and the list of countries is not here.", "Such as: TGO.")
    if re.fullmatch("[A-Za-z]{2}", text):
        found = [row for row in _iso_countries() if row["alpha_2"] == text.upper()]
    else:
        found = _called(_folded(text))
    if len(found) == 1:
        return found[0]["alpha_3"]
    if found:
        listed = ", ".join(f"{row['alpha_3']} ({row['name']})" for row in found)
        raise UsageError(f"{text!r} may be any of {listed}.", "Give the code.")
    names = {_folded(row["name"]): row for row in _iso_countries()}
    near = [names[name] for name in difflib.get_close_matches(_folded(text), names, n=1)]
    hint = f"Did you mean {near[0]['alpha_3']} ({near[0]['name']})?" if near else "Give a code, such as TGO."
    raise UsageError(f"{text!r} is neither a code of ISO 3166-1 nor the name of a country there.", hint)


def _called(folded: str) -> list[dict[str, str]]:
    """Return the countries of a name: the whole one, or else the part before a comma, or else the beginning."""
    names = [(_folded(row["name"]), row) for row in _iso_countries()] if folded else []
    whole = [row for name, row in names if name == folded]
    short = [row for name, row in names if re.split(r",| \(", name)[0] == folded]
    return whole or short or [row for name, row in names if name.startswith(folded)]


def _folded(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.strip().casefold().replace("’", "'"))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _iso_countries() -> list[dict[str, str]]:
    require_project()
    with (PROJECT_ROOT / ISO_COUNTRIES).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def rights_of_datasets() -> dict[str, tuple[str, str, str]]:
    """Return licence, attribution and source name of all datasets, by their names."""
    return {name: (each.licence, each.attribution, each.source_name) for name, each in datasets().items()}


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
    tables, country = tuple(_table(entry, level) for level in _levels(entry)), entry.get("country")
    if country and any(country not in {column.name for column in table.columns} for table in tables):
        raise ValueError(f"{name} has a table without the column {country}")
    for release in entry["releases"].values():
        _release(name, release)  # a fault of any is one of the catalog
    return Dataset(
        name=name,
        title=entry["title"],
        licence=entry["licence"],
        attribution=entry.get("attribution", entry["title"]),
        source_name=entry.get("source_name", entry["title"]),
        citation=entry.get("citation", entry["title"]),
        tables=tables,
        missing_text=tuple(entry.get("missing_text", ())),
        default_release=str(entry["default_release"]),
        variants=entry.get("variants", {}),
        oceans=entry.get("oceans", {}),
        derived=Derived(**entry["derived"]) if "derived" in entry else None,
        words={word: tuple(values) for word, values in entry.get("words", {}).items()},
        _releases={str(key): value for key, value in entry["releases"].items()},
        latest=_latest(entry["latest"]) if "latest" in entry else None,
        country=country,
        rows=Rows(**entry["rows"]) if "rows" in entry else None,
        keeps_points=bool(entry.get("keeps_points", False)),
        is_ragged=bool(entry.get("is_ragged", False)),
        areas=Areas(**entry["areas"]) if "areas" in entry else None,
        nested=entry.get("nested"),
    )


def _levels(entry: Mapping[str, Any]) -> Sequence[int | None]:
    """Return the levels of a dataset: ``6`` stands for 0 to 5, and ``[1, 3]`` for 1 to 3."""
    levels = entry.get("levels")
    if levels is None:
        return (None,)
    lowest, highest = (0, levels - 1) if isinstance(levels, int) else levels
    return range(lowest, highest + 1)


def _latest(entry: Mapping[str, Any]) -> Latest:
    return Latest(
        entry["url"],
        re.compile(entry["pattern"]),
        is_listed=bool(entry.get("listed", False)),
        is_default=bool(entry.get("default", False)),
    )


def _release(name: str, entry: Mapping[str, Any]) -> Release:
    url, layers, lookup = entry.get("url"), entry["layers"], entry.get("country_lookup")
    by_level = url if isinstance(url, Mapping) else {}
    named = layers.items() if isinstance(layers, Mapping) else ((pattern, None) for pattern in layers)
    return Release(
        name=name,
        url=None if by_level else url,
        level_urls=tuple(by_level.items()),
        country_url=entry.get("country_url"),
        country_lookup=Lookup(lookup["url"], lookup["key"], lookup["pattern"]) if lookup else None,
        listing=Listing(**entry["listing"]) if "listing" in entry else None,
        layers=tuple(Layer(re.compile(pattern, re.IGNORECASE), level) for pattern, level in named),
        sha256=entry.get("sha256"),
        mirrors=tuple(entry.get("mirrors", ())),
        country_mirrors=tuple(entry.get("country_mirrors", ())),
    )


def _table(entry: Mapping[str, Any], level: int | None) -> Table:
    columns: list[Column] = []
    for item in entry["columns"]:
        if not _is_of(item, level):
            continue
        for k in _ancestors(item.get("each"), level):
            words = {"level": level, "k": k}
            columns.append(
                Column(
                    name=item["name"].format(**words),
                    source=tuple(source.format(**words) for source in item.get("source", ())),
                    required=bool(item.get("required", False)),
                    staged_as=tuple(staged.format(**words) for staged in _several(item.get("as", ()))),
                    listed=item.get("listed"),
                    layer=item.get("of"),
                )
            )
    names = {column.name for column in columns}
    joined = tuple((item["as"], tuple(item["of"])) for item in entry.get("joined", ()) if _is_of(item, level))
    if missing := {part for _, parts in joined for part in parts} - names:
        raise ValueError(f"level {level} has no column {', '.join(sorted(missing))}")
    return Table(name=entry["table"].format(level=level), level=level, columns=tuple(columns), joined=joined)


def _is_of(item: Mapping[str, Any], level: int | None) -> bool:
    """Return whether an entry applies to a level."""
    lowest, highest = item.get("levels", (0, level or 0))
    return level is None or lowest <= level <= highest


def _ancestors(each: str | None, level: int | None) -> Sequence[int]:
    """Return the levels that a column is repeated for: those above, with or without its own; otherwise a single one."""
    if each is None:
        return (0,)
    return range({"ancestors": (level or 0) + 1, "parents": level or 0}[each])


def _several(value: str | Sequence[str]) -> Sequence[str]:
    return (value,) if isinstance(value, str) else value
