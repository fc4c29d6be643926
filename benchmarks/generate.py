"""Generate a GeoPackage like GADM 4.1: real keys and names, synthetic geometry of realistic size.

    python -m benchmarks.generate --scale 1 world.gpkg

Keys and names are from the PyPI package ``pygadm``. GADM's geometry may not be redistributed, so it is replaced: every
country gets a cell of a grid and is cut into its units, and these into theirs. Levels nest exactly, neighbours share
their borders vertex by vertex, and every geometry is valid. As in the real file, most vertices are in detailed coasts
and islands, a few countries of level 0 take 100 MB and more, and the coarse levels repeat the vertices of the finer.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyogrio.raw
import shapely

LEVELS = range(6)
KEYS = [f"GID_{level}" for level in LEVELS]
NAMES = [f"NAME_{level}" for level in LEVELS]

COAST_VERTICES = 48.5e6  # of all countries together at scale 1, in one level
LEAF_BORDER_VERTICES = 170  # about as many as a real unit of the finest levels has
HEAVY_COASTS = {"CAN": 7.5, "RUS": 5.5, "NOR": 4.5, "USA": 4.0, "GRL": 3.5, "IDN": 3.5, "CHL": 3.0, "PHL": 1.6}
HEAVY_COASTS |= {"AUS": 1.6, "SWE": 1.3, "FIN": 1.3, "GBR": 1.3, "JPN": 1.2, "GRC": 1.0, "BRA": 1.0, "ATA": 1.0}
ISLAND_VERTICES = 150
WIGGLE = 0.4  # share of a lattice step; below one half, borders cannot cross
REDRAWN = 0.5  # how much of that is another one where a border is digitised anew
BLOCK = 40  # steps of the lattice, about the width of a leaf: borders are digitised anew by blocks

TENTH = 0.1  # below this scale, whole countries are left out as well
SMALL_WORLD = "RWA CAN"  # always kept: a country with five levels, and one with a long coast

COLUMNS_OF_PLACES = 24  # countries are placed on a grid of 24 × 11 cells of 15° × 15°
LAND_WIDTH, LAND_HEIGHT = 14.0, 9.0
SEA_HEIGHT, COAST_DEPTH = 4.0, 0.5
CHUNK_VERTICES = 4_000_000

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass
class Unit:
    """A unit, its rectangle in the lattice of its country, and its range of the country's leaves."""

    row: int
    level: int
    children: list[Unit] = field(default_factory=list)
    leaf_from: int = 0
    leaf_to: int = 0
    rectangle: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True)
class Country:
    """The parts that the geometries of a country's units are built from.

    Attributes
    ----------
    number : int
        Position on the grid; also seeds its randomness.
    side : int
        Width and height of the lattice, in steps.
    coast_steps : int
        Points of the coast per step of the lattice.
    coast : ndarray of float64, shape (side · coast_steps + 1,)
        Distance of the coast below the land's lower edge, degrees; 0 wherever a border may reach it.
    islands : ndarray of float64, shape (n, 2)
        Rings of all islands, one after another, in degrees; closed.
    island_ends : ndarray of int64
        Where each island's ring begins and ends.
    island_owners : ndarray of int64
        The leaf that each island belongs to, ascending.
    redrawn : float
        Share of the country whose borders are digitised anew.
    redrawn_by : float
        How much of the displacement of a point of the lattice is another one there.
    """

    number: int
    side: int
    coast_steps: int
    coast: Floats
    islands: Floats
    island_ends: Ints
    island_owners: Ints
    redrawn: float = 0.0
    redrawn_by: float = 0.0

    @property
    def corner(self) -> tuple[float, float]:
        """Longitude and latitude of the land's lower left corner."""
        column, row = self.number % COLUMNS_OF_PLACES, self.number // COLUMNS_OF_PLACES
        return -179.5 + 15.0 * column, -80.0 + 15.0 * row + SEA_HEIGHT + COAST_DEPTH


@dataclass
class World:
    """The units of a release: columns of keys and names, the trees of the countries, and what they are built from."""

    table: dict[str, npt.NDArray[np.object_]]
    countries: list[Unit]
    laid_out: list[Country]


def write(path: Path, scale: float = 1.0) -> dict[str, int]:
    """Write the file.

    Parameters
    ----------
    path : Path
        The GeoPackage to create; layers ``ADM_0`` … ``ADM_5``, MultiPolygon, EPSG:4326.
    scale : float
        Share of the level-1 units, with all below them, and of the coasts; 1 gives about 400,000 units and 4.7 GB.
        Below 0.1, whole countries are left out as well.

    Returns
    -------
    dict of str to int
        Rows per layer.
    """
    return write_world(path, world(scale))


def world(scale: float = 1.0) -> World:
    """Make the units of `write`."""
    table, countries = _units(scale)
    weights = _coast_vertices([str(table[KEYS[0]][unit.row]) for unit in countries], countries, scale)
    laid_out = [_lay_out(*both, number) for number, both in enumerate(zip(countries, weights, strict=True))]
    return World(table, countries, laid_out)


def write_world(path: Path, made: World) -> dict[str, int]:
    """Write units as `write` does."""
    os.environ["OGR_SQLITE_SYNCHRONOUS"] = "OFF"
    counts = {}
    for level in LEVELS:
        rows: list[int] = []
        for chunk_rows, wkb in _chunks(made.countries, made.laid_out, level):
            _append(path, level, made.table, chunk_rows, wkb, is_first=not rows)
            rows += chunk_rows
        if rows:
            counts[f"ADM_{level}"] = len(rows)
    return counts


def redrawn(country: Country, share: float) -> Country:
    """Return a country in which a share of all borders is digitised anew.

    A point moves alike for all units that have it, so that they still fit together; and by less than the vertices of a
    leaf are apart on average, which is less than a step of the lattice where it has a coast or islands.
    """
    sizes = np.diff(country.island_ends)
    island, firsts = np.repeat(np.arange(len(sizes)), sizes), country.island_ends[:-1]
    leaves = int(country.island_owners.max(initial=0)) + 1
    edges = LEAF_BORDER_VERTICES * (3 + country.coast_steps) / 4 + 2 * len(country.islands) / leaves
    by = REDRAWN * min(1.0, LEAF_BORDER_VERTICES / edges)
    moves, _ = _noise(np.arange(len(country.islands)), np.zeros(len(country.islands), np.int64), country.number)
    moves[country.island_ends[1:] - 1] = moves[firsts]
    centres = ((np.add.reduceat(country.islands, firsts) - country.islands[firsts]) / (sizes - 1)[:, None])[island]
    rays = country.islands - centres
    radii = np.maximum.reduceat(np.hypot(*rays.T), firsts)
    most = np.minimum(np.minimum(0.05, 1 / sizes), WIGGLE * by * LAND_HEIGHT / country.side / radii)[island]
    picked, _ = _noise(island, np.ones(len(island), np.int64), country.number)
    factors = 1 + np.where((picked + 1) / 2 < share, moves * most, 0)
    return replace(country, islands=centres + rays * factors[:, None], redrawn=share, redrawn_by=by)


def _units(scale: float) -> tuple[dict[str, npt.NDArray[np.object_]], list[Unit]]:
    """Return the columns of keys and names, and the countries with all units below them."""
    frame = pd.read_parquet(Path(str(distribution("pygadm").locate_file("pygadm/data/gadm_database.parquet"))))
    table = {name: frame[name].to_numpy(dtype=object) for name in KEYS + NAMES}
    keys = np.column_stack([table[name] for name in KEYS])
    levels = 5 - np.argmax(keys[:, ::-1] != "", axis=1)
    known: dict[tuple[str, ...], Unit] = {}
    countries: list[Unit] = []
    for row in np.argsort(levels, kind="stable"):
        level, path = int(levels[row]), tuple(keys[row])
        unit = Unit(int(row), level)
        known.setdefault(path[: level + 1], unit)
        if level == 0:
            countries.append(unit)
        else:  # if the parent is missing, as for a few, the unit goes directly into its country
            (known.get(path[:level]) or known[path[:1]]).children.append(unit)
    share = min(1.0, scale / TENTH)
    countries = sorted(countries, key=lambda unit: SMALL_WORLD.find(str(keys[unit.row][0])) if share < 1 else 0)
    countries = countries[-max(3, round(share * len(countries))) :]
    random = np.random.default_rng(41)
    for country in countries:
        kept = max(1, round(scale / share * len(country.children)))
        country.children = [country.children[i] for i in sorted(random.permutation(len(country.children))[:kept])]
        _number_leaves(country, 0)
    return table, countries


def _number_leaves(unit: Unit, first: int) -> int:
    unit.leaf_from = unit.leaf_to = first
    for child in unit.children:
        unit.leaf_to = _number_leaves(child, unit.leaf_to)
    unit.leaf_to = max(unit.leaf_to, first + 1)
    return unit.leaf_to


def _coast_vertices(codes: list[str], countries: list[Unit], scale: float) -> Floats:
    """Distribute the coasts: by `HEAVY_COASTS`, and for other countries by the square root of their leaves."""
    named = np.array([HEAVY_COASTS.get(code, 0.0) * 1e6 for code in codes])
    roots = np.where(named > 0, 0, np.sqrt([unit.leaf_to for unit in countries]))
    weights: Floats = named + roots * (COAST_VERTICES - sum(HEAVY_COASTS.values()) * 1e6) / roots.sum()
    weights *= scale * COAST_VERTICES / weights.sum()
    return weights


def _lay_out(unit: Unit, coast_vertices: float, number: int) -> Country:
    """Cut a country's lattice into its units, draw its coast and scatter its islands."""
    leaves = unit.leaf_to
    side = max(4, round(LEAF_BORDER_VERTICES * np.sqrt(leaves) / 4))
    _cut([unit], (0, 0, side, side))
    random = np.random.default_rng(number)
    count = max(1, round(coast_vertices / 2 / ISLAND_VERTICES))
    sizes = np.clip(np.exp(random.normal(np.log(ISLAND_VERTICES) - 0.4, 0.9, count)), 4, 50_000).astype(np.int64)
    islands, ends = _scatter(number, sizes, random)
    owners = np.sort(random.integers(0, leaves, count))
    fine = max(1, round(coast_vertices / 2 / side))
    return Country(number, side, fine, _coast(side, fine, random), islands, ends, owners)


def _coast(side: int, fine: int, random: np.random.Generator) -> Floats:
    """Draw a coast by repeated halving: bays at every scale, proportionally deep, without spikes."""
    depth = np.zeros(side * fine + 1)
    wave = 1 << (len(depth) - 1).bit_length()
    amplitude = COAST_DEPTH / 4
    line = random.uniform(0.5, 1.0, 2) * amplitude
    while wave > 1:
        amplitude = min(amplitude, 0.4 * LAND_WIDTH / side / fine * wave)
        middles = (line[:-1] + line[1:]) / 2 + random.uniform(-0.5, 0.5, len(line) - 1) * amplitude
        line = np.insert(line, np.arange(1, len(line)), middles)
        wave //= 2
    within = np.arange(len(depth)) % fine
    shore = np.minimum(within, fine - within) * LAND_WIDTH / side / fine
    depth[:] = np.minimum(np.minimum(np.abs(line[: len(depth)]), COAST_DEPTH), shore)
    return depth


def _cut(units: list[Unit], rectangle: tuple[int, int, int, int]) -> None:
    """Give each of some siblings its part of a rectangle, in proportion to its leaves, and cut it for its children."""
    if len(units) == 1:
        (unit,) = units
        unit.rectangle = rectangle
        if unit.children:
            _cut(unit.children, rectangle)
        return
    ends = np.cumsum([unit.leaf_to - unit.leaf_from for unit in units])
    middle = min(max(1, int(np.searchsorted(ends, ends[-1] / 2)) + 1), len(units) - 1)
    left, below, right, above = rectangle
    share = ends[middle - 1] / ends[-1]
    is_wide = right - left >= above - below
    begin, end = (left, right) if is_wide else (below, above)
    at = begin + min(max(1, round(share * (end - begin))), end - begin - 1)
    _cut(units[:middle], (left, below, at, above) if is_wide else (left, below, right, at))
    _cut(units[middle:], (at, below, right, above) if is_wide else (left, at, right, above))


def _scatter(number: int, sizes: Ints, random: np.random.Generator) -> tuple[Floats, Ints]:
    """Return star-shaped islands on a grid in the sea below a country: no two touch, and no edges cross."""
    columns = int(np.ceil(np.sqrt(len(sizes) * LAND_WIDTH / SEA_HEIGHT)))
    rows = -(-len(sizes) // columns)
    places = np.arange(len(sizes))
    step_x, step_y = LAND_WIDTH / columns, SEA_HEIGHT / rows
    corner_x, corner_y = Country(number, 0, 0, *[np.empty(0)] * 4).corner  # type: ignore[arg-type]
    centre_x = corner_x + (places % columns + 0.5) * step_x
    centre_y = corner_y - COAST_DEPTH - SEA_HEIGHT + (places // columns + 0.5) * step_y
    ends = np.concatenate([[0], np.cumsum(sizes + 1)])
    island = np.repeat(places, sizes + 1)
    angle = 2 * np.pi * (np.arange(ends[-1]) - ends[island]) / sizes[island]
    lobes = random.integers(2, 6, len(sizes))[island]
    rough = np.minimum(0.2, 3 / sizes)[island] * random.uniform(-1, 1, ends[-1])
    radius = 0.45 * min(step_x, step_y) * (0.75 + 0.05 * np.cos(lobes * angle) + rough)
    ring = np.column_stack([centre_x[island] + radius * np.cos(angle), centre_y[island] + radius * np.sin(angle)])
    ring[ends[1:] - 1] = ring[ends[:-1]]
    return ring, ends.astype(np.int64)


def _chunks(
    countries: list[Unit], laid_out: list[Country], level: int
) -> Iterator[tuple[list[int], npt.NDArray[np.object_]]]:
    """Yield the rows of a level with their geometry as WKB, a few million vertices at a time."""
    rows: list[int] = []
    made: list[npt.NDArray[np.object_]] = []
    vertices = 0
    for unit, country in zip(countries, laid_out, strict=True):
        units = _at_level(unit, level)
        while units:
            sizes = np.cumsum([_vertex_count(each, country) for each in units])
            taken = max(1, int(np.searchsorted(sizes, CHUNK_VERTICES)))
            part, units = units[:taken], units[taken:]
            rows += [each.row for each in part]
            made.append(_geometries(part, country))
            vertices += int(sizes[taken - 1])
            if vertices >= CHUNK_VERTICES:
                yield rows, np.concatenate(made)
                rows, made, vertices = [], [], 0
    if rows:
        yield rows, np.concatenate(made)


def _at_level(unit: Unit, level: int) -> list[Unit]:
    if unit.level == level:
        return [unit]
    return [found for child in unit.children if child.level <= level for found in _at_level(child, level)]


def _vertex_count(unit: Unit, country: Country) -> int:
    left, below, right, above = unit.rectangle
    coast = country.coast_steps if below == 0 else 1
    first, last = np.searchsorted(country.island_owners, [unit.leaf_from, unit.leaf_to])
    islands = country.island_ends[last] - country.island_ends[first]
    return int((right - left) * (coast + 1) + 2 * (above - below) + 1 + islands)


def _geometries(units: list[Unit], country: Country) -> npt.NDArray[np.object_]:
    """Return units as WKB MultiPolygons: first the land, then the islands."""
    land, land_ends = _land(np.array([unit.rectangle for unit in units]), country)
    coordinates: list[Floats] = []
    ring_sizes: list[Ints] = []
    part_counts: list[int] = []
    for position, unit in enumerate(units):
        first, last = np.searchsorted(country.island_owners, [unit.leaf_from, unit.leaf_to])
        ends = country.island_ends[first : last + 1]
        coordinates += [land[land_ends[position] : land_ends[position + 1]], country.islands[ends[0] : ends[-1]]]
        ring_sizes += [np.diff(land_ends[position : position + 2]), np.diff(ends)]
        part_counts.append(1 + int(last - first))
    rings = np.concatenate([[0], np.cumsum(np.concatenate(ring_sizes))]).astype(np.int64)
    parts = np.concatenate([[0], np.cumsum(part_counts)]).astype(np.int64)
    geometries = shapely.from_ragged_array(
        shapely.GeometryType.MULTIPOLYGON, np.concatenate(coordinates), (rings, np.arange(len(rings)), parts)
    )
    return np.asarray(shapely.to_wkb(geometries, byte_order=1), dtype=object)


def _land(rectangles: Ints, country: Country) -> tuple[Floats, Ints]:
    """Return the closed rings of some rectangles of the lattice, in degrees, and where each begins and ends.

    The ring runs along the lattice; a point's displacement depends on the point alone, so that neighbours and parents
    have the same border. At the country's lower edge, the coast, it runs in finer steps.
    """
    fine = country.coast_steps
    left, below, right, above = rectangles.T
    steps = np.where(below == 0, fine, 1)
    sides = np.column_stack([(right - left) * steps, above - below, right - left, above - below])
    begins = np.cumsum(np.column_stack([np.zeros(len(sides), np.int64), sides]), axis=1)
    ends = np.concatenate([[0], np.cumsum(begins[:, -1] + 1)])
    ring = np.repeat(np.arange(len(sides)), begins[:, -1] + 1)
    at = (np.arange(ends[-1]) - ends[ring]) % begins[ring, -1]
    side = (at[:, None] >= begins[ring][:, 1:4]).sum(axis=1)
    along = at - begins[ring, side]
    x = np.choose(
        side,
        [
            left[ring] * fine + along * (fine // steps[ring]),
            right[ring] * fine,
            (right[ring] - along) * fine,
            left[ring] * fine,
        ],
    )
    y = np.choose(side, [below[ring], below[ring] + along, above[ring], above[ring] - along])
    return _displaced(x, y, country), ends


def _displaced(x: Ints, y: Ints, country: Country) -> Floats:
    """Convert lattice points (x in steps of the coast) to degrees, each moved by less than half a step."""
    fine, side = country.coast_steps, country.side
    is_coast = y == 0
    move_x, move_y = _noise(x, y, country.number)
    depth = country.coast[np.where(is_coast, x, 0)]
    if country.redrawn:
        picked, _ = _noise(x // (fine * BLOCK), y // BLOCK, country.number + (1 << 10))
        is_redrawn = (picked + 1) / 2 < country.redrawn
        other_x, other_y = _noise(x, y, country.number + (1 << 11))
        part = np.where(is_redrawn, np.where(is_coast, REDRAWN, country.redrawn_by), 0)
        move_x, move_y = move_x + part * (other_x - move_x), move_y + part * (other_y - move_y)
        depth = depth + part * other_y * np.minimum(depth / 2, LAND_WIDTH / side / fine)
    move_x *= np.where(is_coast, np.where(x % fine == 0, 0, WIGGLE), WIGGLE * fine)
    step = LAND_HEIGHT / side
    move_y *= WIGGLE * step
    move_y[is_coast] = -depth[is_coast]
    corner_x, corner_y = country.corner
    return np.column_stack([corner_x + (x + move_x) / (fine * side) * LAND_WIDTH, corner_y + y * step + move_y])


def _noise(x: Ints, y: Ints, seed: int) -> tuple[Floats, Floats]:
    """Return two numbers in [-1, 1) per point that depend on the point alone (splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = x.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed += (y.astype(np.uint64) + np.uint64(seed << 32)) * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    high, low = (mixed >> np.uint64(32)).astype(np.float64), (mixed & np.uint64(0xFFFFFFFF)).astype(np.float64)
    return high / 2**31 - 1, low / 2**31 - 1


def _append(
    path: Path, level: int, table: dict[str, npt.NDArray[np.object_]], rows: list[int], wkb: Any, *, is_first: bool
) -> None:
    columns = _attributes(level, table, np.array(rows))
    pyogrio.raw.write(
        path,
        wkb,
        list(columns.values()),
        list(columns),
        layer=f"ADM_{level}",
        driver="GPKG",
        geometry_type="MultiPolygon",
        crs="EPSG:4326",
        append=not is_first,
        layer_options={"SPATIAL_INDEX": "NO"} if is_first else None,
    )


def _attributes(
    level: int, table: dict[str, npt.NDArray[np.object_]], rows: Ints
) -> dict[str, npt.NDArray[np.object_]]:
    """Return the columns of a level as GADM 4.1 names and fills them."""
    missing = np.full(len(rows), "NA", dtype=object)
    columns = {"GID_0": table["GID_0"][rows], "COUNTRY": table["NAME_0"][rows]}
    for above in range(1, level):
        columns |= {f"GID_{above}": table[f"GID_{above}"][rows], f"NAME_{above}": table[f"NAME_{above}"][rows]}
        columns |= {f"NL_NAME_{above}": missing}
    if level:
        columns |= {f"GID_{level}": table[f"GID_{level}"][rows], f"NAME_{level}": table[f"NAME_{level}"][rows]}
        columns |= {f"VARNAME_{level}": missing, f"NL_NAME_{level}": missing}
        columns |= {f"TYPE_{level}": np.full(len(rows), "Municipio", dtype=object)}
        columns |= {f"ENGTYPE_{level}": np.full(len(rows), "Municipality", dtype=object)}
        columns |= {f"CC_{level}": missing, f"HASC_{level}": missing}
    return columns


def largest_geometry(path: Path) -> int:
    """Return the size of the file's largest geometry in bytes."""
    with closing(sqlite3.connect(path)) as connection:
        layers = connection.execute("select table_name, column_name from gpkg_geometry_columns").fetchall()
        query = 'select max(length("{1}")) from "{0}"'
        return max(int(connection.execute(query.format(*layer)).fetchone()[0]) for layer in layers)


def main() -> None:
    """Write a file and print what it contains."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the whole world (default: 1)")
    parser.add_argument("path", type=Path)
    options = parser.parse_args()
    counts = write(options.path, options.scale)
    total = sum(counts.values())
    print(f"{options.path}: {total:,} units, {options.path.stat().st_size / 1e9:.2f} GB, {counts}")


if __name__ == "__main__":
    main()
