"""The explorer as files that any web server gives out, which answers requests for ranges."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from admin_boundaries import edition, licences
from admin_boundaries.explorer import details
from admin_boundaries.files import replacing
from admin_boundaries.marts import TIMEZONES, Mart, relation
from admin_boundaries.tiles import archive
from admin_boundaries.tiles.attributes import SEVERITIES, WORST
from admin_boundaries.warehouse import Warehouse, known_marts, of_one_build, open_warehouse
from ingest.errors import UsageError
from ingest.settings import Settings

PAGE = Path(__file__).with_name("page")
PAGES = ("index.html", "explorer.css", "explorer.js", "archive.js")
LIBRARY = ("maplibre-gl.js", "maplibre-gl.css")
TILES = "map.pmtiles"
UNITS_IN_FILE, NAMES_IN_FILE = 100, 500
UNITS_AT_ONCE = 5000
LETTERS_AT_ONCE, LISTED = 200, 50


def write(
    settings: Settings,
    folder: Path,
    *,
    overwrite: bool,
    of_datasets: licences.OfDatasets,
    progress: Callable[[float], None],
    warn: Callable[[str], None],
    warn_of_licences: Callable[[str], None],
) -> list[str]:
    """Write the explorer with its data; return what was written.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset.
    folder : Path
        Where to; it is made if it is missing.
    overwrite : bool
        Replace what is in the folder.
    of_datasets, progress, warn, warn_of_licences
        As for `admin_boundaries.tiles.archive.write`.

    Raises
    ------
    UsageError
        When the folder is not empty.
    MartsMissing
        When there are no marts, or no simplified units.
    MartsReplaced
        When a build replaced the marts meanwhile.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not overwrite:
        raise UsageError(f"{folder} already exists and is not empty.", "Use --overwrite to replace the map in it.")
    if not folder.parent.is_dir():
        raise UsageError(f"There is no folder {folder.parent}.", "Create it first.")
    folder.mkdir(exist_ok=True)
    with open_warehouse(settings) as warehouse, of_one_build(warehouse):
        said = archive.write_from(
            warehouse,
            (),
            folder / TILES,
            overwrite=True,
            of_datasets=of_datasets,
            progress=lambda share: progress(0.7 * share),
            warn=warn,
            warn_of_licences=warn_of_licences,
        )
        known = known_marts(warehouse)
        for name in ("units", "names", "codes"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir()
        units = list(_write_units(warehouse, known, folder / "units", progress))
        names, fold = _write_names(warehouse, known, folder / "names")
        codes = _write_codes(warehouse, known, folder / "codes")
        copy_pages(folder)
        described = config(warehouse, known) | {"units": units, "names": names, "fold": fold, "codes": codes}
        with replacing(folder / "config.json") as draft:
            draft.write_text(_text(described), encoding="utf-8")
        with replacing(folder / "lists.json") as draft:
            draft.write_text(_text(lists(warehouse, known)), encoding="utf-8")
    return [*said, f"{folder / 'index.html'}: the map, for any web server that answers requests for ranges"]


def copy_pages(folder: Path) -> None:
    """Copy the page, and the library that draws maps out of the package that carries it."""
    for source in pages():
        shutil.copyfile(source, folder / source.name)


def pages() -> list[Path]:
    """Return the files of the page: ours, and those of the library that draws maps, where its package has them."""
    package = find_spec("maplibre")  # importing it would load what writes notebooks
    if package is None or not package.submodule_search_locations:
        raise UsageError("The package maplibre is missing.", "Install the project again: make install")
    library = Path(package.submodule_search_locations[0]) / "srcjs"
    return [*(PAGE / name for name in PAGES), *(library / name for name in LIBRARY)]


def config(warehouse: Warehouse, known: Mapping[str, Mart]) -> dict[str, Any]:
    """Return what the page needs to know before it shows anything."""
    zones = warehouse.rows(f"select tzid, standard_utc_offset_minutes from {relation(known[TIMEZONES])}")  # noqa: S608
    countries = relation(known["admin_level_0"])
    named = warehouse.rows(f"select gid, name from {countries}")  # noqa: S608
    boxes = warehouse.rows(f"select west_lon, min_lat, east_lon, max_lat from {countries}")  # noqa: S608
    boxes = [box for box in boxes if None not in box]
    west, east = _around([(box[0], box[2]) for box in boxes])
    south, north = (min(box[1] for box in boxes), max(box[3] for box in boxes)) if boxes else (-60, 75)
    releases = [f"{each.dataset} {each.run.release}" for each in warehouse.editions() if each.run]
    return {
        "title": ", ".join(releases) or warehouse.dataset,
        "tiles": TILES,
        "served": False,
        "zones": sorted([list(row) for row in zones], key=lambda row: row[0]),
        "countries": sorted([gid, name or gid] for gid, name in named),
        "box": [west, max(south, -60), east, min(north, 75)],
    }


def _around(spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the shortest span of longitudes, from west to east, that has all others in it; east may be over 180."""
    rest: list[tuple[float, float]] = sorted(
        (west % 360, west % 360 + (east - west) % 360) for west, east in spans if east - west < 360
    )
    if not rest or len(rest) < len(spans):
        return -180.0, 180.0
    end = max(east - 360 for _west, east in rest)
    gap, start = 0.0, rest[0][0]
    for west, east in rest:
        if west - end > gap:
            gap, start = west - end, west
        end = max(end, east)
    if gap == 0:
        return -180.0, 180.0
    start = start - 360 if start >= 180 else start
    return start, start + 360 - gap


def lists(warehouse: Warehouse, known: Mapping[str, Mart]) -> dict[str, dict[str, Any]]:
    """Return which units changed, and which had faults in the source.

    Returns
    -------
    dict
        Of ``change`` and ``anomaly``: the number of units of each kind, and the first of them, as `find` gives units.
    """
    found: dict[str, dict[str, Any]] = {"change": {}, "anomaly": {}}
    kinds = {
        "admin_unit_changes": "select to_gid as gid, change_type as kind from {} "
        "where unit_of in ('both', 'to') and change_type <> 'kept'",
        "admin_anomalies": f"select gid, {WORST} as kind from {{}} where gid is not null group by gid",  # noqa: S608
    }
    for name, (mart, query) in zip(found, kinds.items(), strict=True):
        if mart not in known:
            continue
        rows = warehouse.rows(
            "select kind, number, gid, admin_level, name, path from (select kinds.kind, units.gid, "  # noqa: S608
            "units.admin_level, units.name, units.path, count(*) over (partition by kinds.kind) as number, "
            "row_number() over (partition by kinds.kind order by units.admin_level, units.gid) as place "
            f"from ({query.format(relation(known[mart]))}) as kinds "
            f"inner join {relation(known['admin_units'])} as units on kinds.gid = units.gid) as numbered "
            f"where place <= {LISTED} order by place"
        )
        for kind, count, *values in rows:
            of_kind = found[name].setdefault(SEVERITIES.get(kind, kind), {"count": count, "units": []})
            of_kind["units"].append(dict(zip(("gid", "level", "name", "path"), values, strict=True)))
    return found


def _write_units(
    warehouse: Warehouse, known: Mapping[str, Mart], folder: Path, progress: Callable[[float], None]
) -> Iterator[str]:
    """Write what is known of all units, by key; yield the first key of each file."""
    gids = sorted(gid for (gid,) in warehouse.rows(f"select gid from {relation(known['admin_units'])}"))  # noqa: S608
    number = 0
    for start in range(0, len(gids), UNITS_AT_ONCE):
        found = details.of_units(warehouse, known, gids[start : start + UNITS_AT_ONCE])
        for first in range(0, len(found), UNITS_IN_FILE):
            part = found[first : first + UNITS_IN_FILE]
            (folder / f"{number}.json").write_text(_text(part), encoding="utf-8")
            number += 1
            yield part[0]["gid"]
        progress(0.7 + 0.3 * (start + len(found)) / len(gids))


def _write_names(warehouse: Warehouse, known: Mapping[str, Mart], folder: Path) -> tuple[list[str], dict[str, str]]:
    """Write all names, by what is typed to find them; return the first of each file, and how letters are folded."""
    rows: Sequence[tuple[Any, ...]] = warehouse.rows(
        "select folded_name, name_kind, name, gid, admin_level, type_english, path "  # noqa: S608
        f"from {relation(known['admin_unit_names'])} where folded_name <> ''"
    )
    rows = sorted(rows, key=lambda row: (row[0], row[3], row[1], row[2]))
    firsts = _write_parts(rows, folder)
    letters = sorted(
        {letter for row in rows for letter in row[2].lower() if letter not in " abcdefghijklmnopqrstuvwxyz"}
    )
    fold: dict[str, str] = {}
    for first in range(0, len(letters), LETTERS_AT_ONCE):
        some = letters[first : first + LETTERS_AT_ONCE]
        calls = ", ".join([f"{warehouse.marts}.fold_name(?)"] * len(some))
        (texts,) = warehouse.rows(f"select {calls}", [f"a{letter}a" for letter in some])
        fold |= {letter: text[1:-1] for letter, text in zip(some, texts, strict=True)}
    return firsts, {letter: text for letter, text in fold.items() if text != letter}


def _write_codes(warehouse: Warehouse, known: Mapping[str, Mart], folder: Path) -> list[str]:
    """Write the codes of units, as `find` knows them beside keys; return the first of each file."""
    rows: list[tuple[Any, ...]] = []
    if "admin_unit_codes" in known:
        rows += warehouse.rows(f"select code, gid from {relation(known['admin_unit_codes'])}")  # noqa: S608
    for name, mart in known.items():
        if name.startswith("admin_level_") and "cc_code" in mart.columns:
            national = warehouse.rows(f"select cc_code, gid from {relation(mart)} where cc_code is not null")  # noqa: S608
            rows += [row for row in national if any(letter.isdigit() for letter in row[0])]
    return _write_parts(sorted(set(rows)), folder)


def _write_parts(rows: Sequence[tuple[Any, ...]], folder: Path) -> list[str]:
    """Write rows in their order, some in each file; return what the first of each begins with."""
    parts = [rows[first : first + NAMES_IN_FILE] for first in range(0, len(rows), NAMES_IN_FILE)]
    for number, part in enumerate(parts):
        (folder / f"{number}.json").write_text(_text([list(row) for row in part]), encoding="utf-8")
    return [part[0][0] for part in parts]


def _text(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def build_of(editions: Sequence[edition.Edition]) -> str:
    """Return the build that marts are of; ``unknown`` of those of an older version."""
    return next((each.build_id for each in editions if each.build_id), None) or "unknown"
