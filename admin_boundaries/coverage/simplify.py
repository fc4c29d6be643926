"""Units drawn with fewer vertices, so that borders that two of them share stay shared.

The borders of a country are arcs, and each is simplified once, whoever shares it; no vertex moves, and none goes if
others lie in its triangle, so that there are no gaps and no overlaps. For each vertex is noted at how many tolerances
it stays. A border of two countries is in both: there, a vertex stays as long as it does in either. Units of the levels
above have the arcs that one of the units below them has alone, unless these do not tile them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import geoarrow.pyarrow as ga
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import shapely

from admin_boundaries.coverage import kernels
from admin_boundaries.coverage.arrays import Flags, Hashes, Numbers, Positions, Shapes, Texts, counted
from admin_boundaries.coverage.hashing import numbers_of
from admin_boundaries.coverage.junctions import Lacking, are_among, lacking_vertices, with_vertices
from admin_boundaries.coverage.kernels import Ids, Ranks
from admin_boundaries.coverage.parsed import MULTIPOLYGON, parsed
from admin_boundaries.coverage.segments import Buckets, hashes_of
from admin_boundaries.coverage.threads import from_both_ends, in_threads, mapped
from admin_boundaries.python_models import Relation

TOLERANCES = (0.001, 0.01, 0.1)  # degrees: some 100 m, 1 km and 10 km
SAME_AREA_KM2 = 1e-6
SAME_AREA_SHARE = 1e-9
BATCH_VERTICES = 1 << 19  # before any is left out, of the units that are drawn together
OWNER_SHIFT = 8  # of a country's number, beside a rank
CELL_DEGREES = 0.25
CELLS = round(360 / CELL_DEGREES) * round(180 / CELL_DEGREES)

SCHEMA = pa.schema(
    [
        pa.field("gid", pa.string()),
        pa.field("tolerance_degrees", pa.float64()),
        pa.field("admin_level", pa.int32()),
        pa.field("vertex_count", pa.int32()),
        pa.field("geom", pa.binary()),
    ]
)


def simplified(
    levels: Sequence[Relation], tolerances: Sequence[float] = TOLERANCES, folder: Path | None = None
) -> pa.RecordBatchReader:
    """Simplify all units.

    Memory holds three countries at a time, and the vertices on borders of two countries.

    Parameters
    ----------
    levels : sequence of Relation
        The units of each level, coarsest first: ``gid``, ``parent_gid``, ``gid_0`` (of all but the first), ``is_leaf``,
        ``area_km2`` and ``geom``, a MultiPolygon in degrees or null.
    tolerances : sequence of float
        In degrees, each larger than the one before: a vertex goes if the triangle with those beside it is smaller than
        the square of the tolerance.
    folder : Path, optional
        Of the files on disk, some 25 bytes for each vertex of the world; by default that of the system.

    Returns
    -------
    RecordBatchReader
        ``gid``, ``tolerance_degrees``, ``admin_level``, ``vertex_count`` and ``geom``, the WKB of a MultiPolygon: a row
        for each tolerance and unit that has a geometry, by country, tolerance, level and key. Every part and every
        hole keeps three corners at least.
    """
    return pa.RecordBatchReader.from_batches(SCHEMA, _batches(levels, tolerances, folder))


@dataclass(frozen=True)
class Country:
    """The units of a country, by level and key.

    Attributes
    ----------
    gid : str
        Of the country; empty for units of which it is unknown.
    gids : ndarray of str, shape (n,)
    levels : ndarray of int32, shape (n,)
    parents : ndarray of int64, shape (n,)
        Position of the unit above, or -1.
    is_read : ndarray of bool, shape (n,)
        Whether the geometry itself is simplified: leaves, and units that those below do not tile.
    is_leaf : ndarray of bool, shape (n,)
    has_area : ndarray of bool, shape (n,)
    """

    gid: str
    gids: Texts
    levels: npt.NDArray[np.int32]
    parents: Positions
    is_read: Flags
    is_leaf: Flags
    has_area: Flags

    @property
    def coverages(self) -> Positions:
        """The number of the coverage that a unit is in: -1 of all leaves, or that of its level; shape (n,)."""
        return np.where(self.is_leaf, -1, self.levels)


@dataclass
class Drawing:
    """The units of a country as rings of numbered vertices.

    Attributes
    ----------
    ranks : ndarray of uint8, shape (k,)
        At how many tolerances each vertex is kept, from the smallest one on.
    xs, ys : ndarray of float64, shape (k,)
    is_border : ndarray of bool, shape (k,)
        Whether a vertex is on a border that one unit of a coverage has alone.
    is_node : ndarray of bool, shape (k,)
        Whether borders part there.
    is_new : ndarray of bool, shape (k,)
        Whether some unit got a vertex because it lacked it.
    ids : ndarray of int32
        The vertices of rings, closed.
    starts, ends : ndarray of int64, shape (r,)
        Where those of each ring are.
    polygons : ndarray of int64, shape (p + 1,)
        Where the rings of each polygon begin; the first is its shell.
    units : ndarray of int64, shape (n + 1,)
        Where the polygons of each unit begin.
    unions : ndarray of int64
        Units that are drawn as the unions of those below, since arcs do not make them.
    """

    ranks: Ranks
    xs: Numbers
    ys: Numbers
    is_border: Flags
    is_node: Flags
    is_new: Flags
    ids: Ids
    starts: Positions
    ends: Positions
    polygons: Positions
    units: Positions
    unions: Positions

    def geoms(self, rank: int, units: Positions) -> Shapes:
        """Return some units with the vertices of a rank at least."""
        wkb = ga.as_wkb(self.multipolygons(rank, units)).storage
        found: Shapes = shapely.from_wkb(wkb.to_numpy(zero_copy_only=False))
        return found

    def multipolygons(self, rank: int, wanted: Positions) -> pa.Array:
        """Draw some units with the vertices of a rank at least."""
        of_units = np.diff(self.units)[wanted]
        here = counted(self.units[wanted], of_units)
        of_polygons = np.diff(self.polygons)[here]
        rings = counted(self.polygons[here], of_polygons)
        points, offsets = kernels.drawn(
            self.xs, self.ys, self.ranks, rank, self.ids, self.starts[rings], self.ends[rings]
        )
        units, polygons = (np.concatenate([[0], np.cumsum(of)]) for of in (of_units, of_polygons))
        kinds = [MULTIPOLYGON.storage_type]
        for _ in range(3):
            kinds.append(kinds[-1].value_type)
        found = pa.FixedSizeListArray.from_arrays(pa.array(points.ravel()), type=kinds.pop())
        for of in (offsets, polygons, units):
            found = pa.ListArray.from_arrays(pa.array(of.astype(np.int32)), found, type=kinds.pop())
        return pa.ExtensionArray.from_storage(MULTIPOLYGON, found)

    def sizes(self) -> Positions:
        """Return how many vertices each unit has, before any is left out."""
        of_rings = np.concatenate([[0], np.cumsum(self.ends - self.starts)])
        sizes: Positions = np.diff(of_rings[self.polygons[self.units]])
        return sizes

    def having(self, is_wanted: Flags) -> Positions:
        """Return the units that have one of some vertices."""
        units: Positions = np.unique(self._owners()[is_wanted[self._vertices()]])
        return units

    def vertices_of(self, units: Positions) -> Flags:
        """Tell which vertices some units have."""
        found = np.zeros(len(self.xs), bool)
        found[self._vertices()[np.isin(self._owners(), units)]] = True
        return found

    def boxes(self) -> Numbers:
        """Return the least longitude and latitude of each unit, and the greatest; nothing is within that of nothing."""
        found = np.full((len(self.units) - 1, 4), np.nan)
        owners, vertices = self._owners(), self._vertices()
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        for column, (of, reduce) in enumerate(product((np.minimum, np.maximum), (self.xs, self.ys))):
            found[owners[starts], column] = of.reduceat(reduce[vertices], starts) if len(starts) else 0
        return found

    def _owners(self) -> Positions:
        return np.repeat(np.arange(len(self.units) - 1), self.sizes())

    def _vertices(self) -> Ids:
        return self.ids[counted(self.starts, self.ends - self.starts)]


def _batches(levels: Sequence[Relation], tolerances: Sequence[float], folder: Path | None) -> Iterator[pa.RecordBatch]:
    countries = read_countries(levels)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = _Work(Path(name), tolerances, list(countries.values()))
        work.read(levels)
        from_both_ends(work.take_apart, work.by_size())
        in_threads(work.take_apart, work.complete())
        work.share()
        yield from mapped(work.batch, work.pieces())


class _Work:
    """What is known of all countries while they are simplified: on disk, or small."""

    def __init__(self, folder: Path, tolerances: Sequence[float], countries: list[Country]) -> None:
        self._folder, self._tolerances, self.countries = folder, np.array(tolerances, float), countries
        self._lacking: Lacking | None = None
        self._lack: list[int] = []
        self._common = Common([])
        self._cells: dict[int, Positions] = {}

    def read(self, levels: Sequence[Relation]) -> None:
        """Put the geometries that are simplified on disk, as they come: a table is read once, not for each country."""
        gids, of_level, is_read, is_leaf = (
            np.concatenate([getattr(country, name) for country in self.countries] or [np.empty(0, object)])
            for name in ("gids", "levels", "is_read", "is_leaf")
        )
        row = np.full(len(gids), -1)
        lengths = [np.zeros(1, np.int64)]
        count = 0
        with (self._folder / "wkb").open("wb") as file:
            for level in np.unique(of_level[is_read.astype(bool)]):
                here = np.flatnonzero(is_read & (of_level == level))
                place = dict(zip(gids[here], here, strict=True))
                others = ", ".join(map(_text, gids[here[~is_leaf[here]]]))
                condition = f"is_leaf or gid in ({others})" if others else "is_leaf"
                for batch in levels[level].select("gid", "geom").where(condition).batches():
                    wkb = ga.as_wkb(batch["geom"]).storage.cast(pa.binary())
                    at = np.array([place.get(gid, -1) for gid in batch["gid"].to_pylist()], np.int64)
                    is_wanted = (at >= 0) & wkb.is_valid().to_numpy(zero_copy_only=False)
                    row[at[is_wanted]] = np.flatnonzero(is_wanted) + count
                    count += len(batch)
                    offsets = np.frombuffer(wkb.buffers()[1], np.int32)[wkb.offset : wkb.offset + len(wkb) + 1]
                    if wkb.buffers()[2] is not None:
                        file.write(memoryview(wkb.buffers()[2])[offsets[0] : offsets[-1]])
                    lengths.append(np.diff(offsets))
        self._stops = np.cumsum(np.concatenate(lengths))
        ends = np.cumsum([len(country.gids) for country in self.countries], dtype=np.int64)
        self._rows = np.split(row, ends)[:-1]  # of no country, none

    def _wkb(self, number: int) -> pa.BinaryArray:
        """Return the geometries of a country that are simplified, in the order of its units; null of the others."""
        wanted = self._rows[number]
        rows = np.sort(wanted[wanted >= 0])
        first = rows[np.diff(rows, prepend=-2) != 1]
        last = rows[np.diff(rows, append=-2) != 1]
        with (self._folder / "wkb").open("rb") as file:
            parts = [
                os.pread(file.fileno(), stop - start, start)
                for start, stop in zip(self._stops[first], self._stops[last + 1], strict=True)
            ]
        offsets = np.concatenate([[0], np.cumsum(self._stops[rows + 1] - self._stops[rows])]).astype(np.int32)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(parts))]
        found = pa.BinaryArray.from_buffers(pa.binary(), len(rows), buffers)
        return found.take(pa.array(np.searchsorted(rows, wanted), mask=wanted < 0))

    def by_size(self) -> list[int]:
        """Return the countries, the largest one first."""
        sizes = [int((self._stops[rows + 1] - self._stops[rows])[rows >= 0].sum()) for rows in self._rows]
        return sorted(range(len(sizes)), key=lambda number: -sizes[number])

    def take_apart(self, number: int) -> None:
        """Simplify a country by itself."""
        wkb = self._wkb(number)
        drawing, alone = drawing_of(self.countries[number], wkb, self._tolerances, self._lacking)
        self._save(number, drawing, *(field.name for field in fields(drawing)))
        np.save(self._folder / f"{number}.alone.npy", alone)
        self._cells[number] = np.unique(_cells(drawing.xs[drawing.is_border], drawing.ys[drawing.is_border]))

    def complete(self) -> list[int]:
        """Find the vertices that segments lack; return the countries that have such segments."""
        self._common = self._at_borders()
        with Buckets(4, self._folder) as lines:
            in_threads(self._at_nodes, range(len(self.countries)), lambda rows: lines.add(rows, hashes_of(rows)))
            near = (rows[_that_are_alone(hashes_of(rows))] for rows in lines)
            self._lacking = lacking_vertices(near, self._alone, self._folder)
        segments = np.unique(self._lacking.segments)
        if len(segments):
            alone = enumerate(self._alone())
            self._lack = [number for number, rows in alone if are_among(hashes_of(rows), segments).any()]
        return self._lack

    def _at_nodes(self, number: int) -> Numbers:
        """Return the segments of a country that only one unit has, with an end where borders part or countries meet."""
        rows, xs, ys, is_node = self._load(number, "alone", "xs", "ys", "is_node")
        nodes = _sorted(numbers_of(np.column_stack([xs[is_node], ys[is_node]])))
        ends = numbers_of(rows.reshape(-1, 2))
        found: Numbers = rows[(are_among(ends, nodes) | (self._common.places(ends) >= 0)).reshape(-1, 2).any(axis=1)]
        return found

    def _alone(self) -> Iterator[Numbers]:
        for number in range(len(self.countries)):
            yield self._load(number, "alone")[0]

    def _at_borders(self) -> Common:
        """Return the vertices on borders that several countries have."""
        is_met = np.bincount(np.concatenate([np.empty(0, np.int64), *self._cells.values()]), minlength=CELLS) > 1
        with Buckets(2, self._folder, np.uint64) as found:
            for number, cells in sorted(self._cells.items()):
                if not is_met[cells].any():
                    continue
                xs, ys, ranks, is_border = self._load(number, "xs", "ys", "ranks", "is_border")
                xs, ys, ranks = xs[is_border], ys[is_border], ranks[is_border]
                at = np.flatnonzero(is_met[_cells(xs, ys)])
                numbers = numbers_of(np.column_stack([xs[at], ys[at]]))
                owners = np.full(len(numbers), number << OWNER_SHIFT, np.uint64)
                found.add(np.column_stack([numbers, owners | ranks[at]]), numbers)
            return Common(_in_several(rows) for rows in found)

    def share(self) -> None:
        """Let both sides of a border keep what either of them does."""
        if self._lack:
            self._common = self._at_borders()
        waiting = sorted({*self._lack, *self._common.owners.tolist()})
        while waiting:
            changed: list[tuple[int, Positions, Ranks]] = []
            in_threads(self._settle, waiting, changed.append)
            waiting = sorted(set().union(*(self._common.raised(*of_one) for of_one in changed)))

    def _settle(self, number: int) -> tuple[int, Positions, Ranks]:
        """Draw a country with what others keep on its borders; return the vertices of which it keeps more."""
        drawing, common = self._drawing(number), self._common
        at = np.flatnonzero(drawing.is_border)
        place = common.places(numbers_of(np.column_stack([drawing.xs[at], drawing.ys[at]])))
        at, place = at[place >= 0], place[place >= 0]
        more = common.ranks[place] > drawing.ranks[at]
        is_more = drawing.is_new.copy()
        is_more[at[more]] = True
        drawing.ranks[at[more]] = common.ranks[place[more]]
        restore(drawing, self.countries[number], is_more)
        self._save(number, drawing, "ranks")
        more = drawing.ranks[at] > common.ranks[place]
        return number, place[more], drawing.ranks[at[more]]

    def pieces(self) -> Iterator[tuple[Country, Drawing, int, int, int]]:
        """Yield what is drawn at once: the units of a country from a first to before a last one, at a tolerance."""
        for number, country in enumerate(self.countries):
            drawing = self._drawing(number)
            piece = np.cumsum(drawing.sizes()) // BATCH_VERTICES
            stops = [*np.flatnonzero(np.diff(piece)) + 1, len(piece)]
            for rank in range(1, len(self._tolerances) + 1):
                for first, last in pairwise([0, *stops]):
                    yield country, drawing, rank, first, last

    def batch(self, piece: tuple[Country, Drawing, int, int, int]) -> pa.RecordBatch:
        """Draw a piece."""
        country, drawing, rank, first, last = piece
        units = np.arange(first, last)
        shapes = drawing.multipolygons(rank, units)
        rings = np.asarray(shapes.storage.values.values.offsets)
        polygons, of_units = np.asarray(shapes.storage.values.offsets), np.asarray(shapes.storage.offsets)
        counts = np.diff(rings[polygons[of_units]])
        wkb = ga.as_wkb(shapes).storage
        is_there = counts > 0
        unions = drawing.unions[(drawing.unions >= first) & (drawing.unions < last)]
        if len(unions):
            geoms = np.array([_union_of(drawing, country, rank, unit) for unit in unions])
            wkb = pa.concat_arrays([wkb, pa.array(shapely.to_wkb(geoms), pa.binary())])
            counts, units = np.append(counts, shapely.get_num_coordinates(geoms)), np.append(units, unions)
            is_there = np.append(is_there, np.ones(len(unions), bool))
        if not is_there.all() or len(unions):
            rows = np.flatnonzero(is_there)
            rows = rows[np.argsort(units[rows], kind="stable")]
            wkb, counts, units = wkb.take(pa.array(rows)), counts[rows], units[rows]
        return pa.record_batch(
            [
                pa.array(country.gids[units], pa.string()),
                pa.array(np.full(len(units), self._tolerances[rank - 1])),
                pa.array(country.levels[units]),
                pa.array(counts.astype(np.int32)),
                wkb.cast(pa.binary()),
            ],
            schema=SCHEMA,
        )

    def _drawing(self, number: int) -> Drawing:
        return Drawing(*self._load(number, *(field.name for field in fields(Drawing))))

    def _save(self, number: int, drawing: Drawing, *names: str) -> None:
        for name in names:
            np.save(self._folder / f"{number}.{name}.npy", getattr(drawing, name))

    def _load(self, number: int, *names: str) -> list[Any]:
        return [np.load(self._folder / f"{number}.{name}.npy") for name in names]


def _cells(xs: Numbers, ys: Numbers) -> Positions:
    """Return the number of the cell that each point lies in: what only one country has is passed over by cells."""
    across, along = np.floor((xs + 180) / CELL_DEGREES), np.floor((ys + 90) / CELL_DEGREES)
    found: Positions = np.clip(along * round(360 / CELL_DEGREES) + across, 0, CELLS - 1).astype(np.int64)
    return found


def _in_several(rows: Hashes) -> tuple[Hashes, Positions]:
    """Return the rows, of numbers with owners and ranks, whose number is there more than once."""
    order = np.argsort(rows[:, 0], kind="stable")
    rows = rows[order]
    same = np.flatnonzero(rows[1:, 0] == rows[:-1, 0])
    is_common = np.zeros(len(rows), bool)
    is_common[same] = is_common[same + 1] = True
    return rows[is_common, 0], rows[is_common, 1].astype(np.int64)


class Common:
    """The vertices that several countries have.

    Parameters
    ----------
    rows : iterable of (ndarray of uint64, ndarray of int64)
        Numbers of vertices, all that are equal one after the other, and of whom: country and rank in one.

    Attributes
    ----------
    ranks : ndarray of uint8
        Of each vertex: the greatest.
    owners : ndarray of int64
        The countries that have them.
    """

    def __init__(self, rows: Iterable[tuple[Hashes, Positions]]) -> None:
        read = [(np.empty(0, np.uint64), np.empty(0, np.int64)), *rows]
        numbers, others = (np.concatenate(of) for of in zip(*read, strict=True))
        self._numbers, self._place = np.unique(numbers, return_inverse=True)
        self.owners = others >> OWNER_SHIFT
        self.ranks = np.zeros(len(self._numbers), np.uint8)
        np.maximum.at(self.ranks, self._place, (others & ((1 << OWNER_SHIFT) - 1)).astype(np.uint8))

    def places(self, numbers: Hashes) -> Positions:
        """Return the positions of vertices by their numbers; -1 of those that are not among them."""
        found = np.full(len(numbers), -1)
        at = np.flatnonzero(are_among(numbers, self._numbers))
        found[at] = np.searchsorted(self._numbers, numbers[at])
        return found

    def raised(self, owner: int, places: Positions, ranks: Ranks) -> set[int]:
        """Note that a country keeps more of some vertices; return the others that have them."""
        self.ranks[places] = np.maximum(self.ranks[places], ranks)
        is_met = np.isin(self._place, places)
        return set(self.owners[is_met].tolist()) - {owner}


def read_countries(levels: Sequence[Relation]) -> dict[str, Country]:
    """Read which units there are, by country, and which of them are tiled by the units below."""
    columns = ["gid", "parent_gid", "gid_0", "is_leaf", "area_km2"]
    tables = []
    for number, level in enumerate(levels):
        table = level.select(*(columns if number else [*columns[:2], *columns[3:]])).batches().read_all()
        if not number:
            table = table.append_column("gid_0", table["gid"])
        level_column = pa.array(np.full(len(table), number, np.int32))
        types = [pa.string(), pa.string(), pa.string(), pa.bool_(), pa.float64()]
        table = table.select(columns).cast(pa.schema(list(zip(columns, types, strict=True))))
        tables.append(table.append_column("admin_level", level_column))
    units = pa.concat_tables(tables).sort_by([("admin_level", "ascending"), ("gid", "ascending")])
    gids = units["gid"].combine_chunks()
    parents = pa.compute.index_in(units["parent_gid"].combine_chunks(), gids).fill_null(-1).to_numpy().astype(np.int64)
    area = units["area_km2"].to_numpy().astype(np.float64)
    is_leaf = units["is_leaf"].to_numpy().astype(bool)
    has_parent = parents >= 0
    below = np.bincount(parents[has_parent], np.nan_to_num(area[has_parent]), len(area))
    is_tiled = np.abs(below - area) <= SAME_AREA_KM2 + SAME_AREA_SHARE * area
    country = units["gid_0"].fill_null("").to_numpy().astype(object)
    found = {}
    order = np.argsort(country, kind="stable")
    for at in np.split(order, np.flatnonzero(country[order][1:] != country[order][:-1]) + 1) if len(order) else []:
        within = np.full(len(area) + 1, -1)
        within[at] = np.arange(len(at))
        found[country[at[0]]] = Country(
            gid=country[at[0]],
            gids=gids.take(pa.array(at)).to_numpy(zero_copy_only=False),
            levels=units["admin_level"].to_numpy()[at],
            parents=within[parents[at]],
            is_read=(is_leaf | ~is_tiled)[at] & ~np.isnan(area[at]),
            is_leaf=is_leaf[at],
            has_area=~np.isnan(area[at]),
        )
    return found


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def drawing_of(
    country: Country, wkb: pa.BinaryArray, tolerances: Numbers, lacking: Lacking | None = None
) -> tuple[Drawing, Numbers]:
    """Simplify a country by itself.

    Parameters
    ----------
    country : Country
    wkb : BinaryArray
        The MultiPolygon of each unit that is read; null of the others.
    tolerances : ndarray of float64, shape (t,)
        In degrees, each larger than the one before.
    lacking : Lacking, optional
        Vertices that segments get before.

    Returns
    -------
    drawing : Drawing
    alone : ndarray of float64, shape (m, 4)
        Segments that one unit of a coverage has alone.
    """
    whole = parsed(wkb)
    points, rings = whole.points + 0.0, whole.rings  # of the two zeros, one is left
    if lacking is not None:
        points, rings = with_vertices(points, rings, lacking)
    ids, first, is_node = kernels.vertices(points, rings, numbers_of(points))
    xs, ys = np.ascontiguousarray(points[first].T)
    arcs, offsets, runs = kernels.arcs_of(xs, ys, ids, rings, is_node)
    stays = (np.abs(xs) == 180) | (np.abs(ys) == 90)
    ranks = kernels.ranked(xs, ys, arcs, offsets, _least(arcs, offsets), stays, tolerances)
    owners, is_shell = whole.unit_of_ring, whole.is_shell
    is_alone = np.zeros(len(offsets) - 1, bool)
    coverages = country.coverages[owners[runs[:, 0]]]
    for coverage in np.unique(coverages):
        is_alone |= np.bincount(runs[coverages == coverage, 1], minlength=len(is_alone)) == 1
    is_border, is_new = np.zeros(len(xs), bool), np.zeros(len(xs), bool)
    is_border[arcs[np.repeat(is_alone, np.diff(offsets))]] = True
    if lacking is not None:
        is_new = are_among(numbers_of(points[first]), np.unique(numbers_of(lacking.points)))
    is_left = (kernels.twice_areas(xs, ys, ids, rings) > 0) == is_shell  # of where the ring runs
    directions = np.where(is_left[runs[:, 0]], runs[:, 2], -runs[:, 2])
    above = _items_above(country, owners[runs[:, 0]], runs[:, 1], directions)
    parts = [
        (ids, np.column_stack([rings[:-1], rings[1:]]), is_shell, owners),
        _outlines(xs, ys, arcs, offsets, *above),
    ]
    drawing = _drawing(country, (ranks, xs, ys, is_border, is_node, is_new), parts)
    drawing = _without_wrong_outlines(drawing, country, len(tolerances))
    return drawing, _segments(xs, ys, arcs, offsets, is_alone)


def _least(arcs: Ids, offsets: Positions) -> Positions:
    """Return how many vertices between its ends an arc has to keep, so that rings and what lies between arcs stay."""
    first, last = arcs[offsets[:-1]].astype(np.int64), arcs[offsets[1:] - 1].astype(np.int64)
    _ends, number, count = np.unique(
        np.minimum(first, last) << 32 | np.maximum(first, last), return_inverse=True, return_counts=True
    )
    return np.where(first == last, 2, np.where(count[number] > 1, 1, 0))


def _items_above(
    country: Country, units: Positions, arcs: Positions, directions: Positions
) -> tuple[Positions, Positions, Positions]:
    """Return the arcs of the units that those below tile: the ones that one of these has alone.

    Parameters
    ----------
    country : Country
    units, arcs, directions : ndarray of int64, shape (n,)
        Units that are read, their arcs, and 1 or -1, so that the unit lies on the left.

    Returns
    -------
    units, arcs, directions : ndarray of int64, shape (m,)
        As the parameters, by unit and arc.
    """
    found = [np.empty((3, 0), np.int64)]
    items = np.stack([units, arcs, directions])
    is_made = ~country.is_read & country.has_area
    for level in np.unique(country.levels)[::-1]:
        above = country.parents[items[0]]
        is_below = (above >= 0) & is_made[above] & (country.levels[above] == level)
        owners, arcs, directions = above[is_below], items[1, is_below], items[2, is_below]
        order = np.lexsort([arcs, owners])
        owners, arcs = owners[order], arcs[order]
        starts = np.flatnonzero((np.diff(owners, prepend=-1) != 0) | (np.diff(arcs, prepend=-1) != 0))
        sums = np.sign(np.add.reduceat(directions[order], starts)) if len(starts) else starts
        here = np.stack([owners[starts], arcs[starts], sums])[:, sums != 0]
        found.append(here)
        items = np.concatenate([items, here], axis=1)
    units, arcs, directions = np.concatenate(found, axis=1)
    return units, arcs, directions


def _outlines(
    xs: Numbers, ys: Numbers, arcs: Ids, offsets: Positions, units: Positions, items: Positions, directions: Positions
) -> tuple[Ids, Positions, Flags, Positions]:
    """Put rings together of the arcs of units; each shell is followed by its holes.

    Returns
    -------
    ids : ndarray of int32
    rings : ndarray of int64, shape (r, 2)
        Where each begins and ends.
    is_shell : ndarray of bool, shape (r,)
    of_ring : ndarray of int64, shape (r,)
        The unit of each.
    """
    first, last = arcs[offsets[:-1]], arcs[offsets[1:] - 1]
    begins = np.where(directions > 0, first[items], last[items]).astype(np.int64)
    ends = np.where(directions > 0, last[items], first[items]).astype(np.int64)
    order = np.lexsort([items, begins, units])
    units, items, directions, begins, ends = (of[order] for of in (units, items, directions, begins, ends))
    keys, wanted = units << 32 | begins, units << 32 | ends
    low, high = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, side="right")
    ids, rings, of_ring = kernels.traced(xs, ys, arcs, offsets, units, items, directions, low, high)
    areas = kernels.twice_areas(xs, ys, ids, rings)
    shells = kernels.shells_of(xs, ys, ids, rings, of_ring, areas)
    here = np.flatnonzero(shells >= 0)
    here = here[np.lexsort([shells[here] != here, shells[here]])]
    return ids, np.column_stack([rings[here], rings[here + 1]]), shells[here] == here, of_ring[here]


def _drawing(
    country: Country,
    vertices: tuple[Ranks, Numbers, Numbers, Flags, Flags, Flags],
    parts: Sequence[tuple[Ids, Positions, Flags, Positions]],
) -> Drawing:
    """Put rings in the order of units; a shell comes before its holes.

    Parameters
    ----------
    country : Country
    vertices
        The attributes of a drawing that are those of vertices.
    parts : sequence of (ndarray, ndarray, ndarray, ndarray)
        As `_outlines` has them.
    """
    before = np.cumsum([0, *(len(ids) for ids, *_others in parts)])
    rings = np.concatenate([part[1] + at for part, at in zip(parts, before, strict=False)])
    is_shell, owners = (np.concatenate([part[number] for part in parts]) for number in (2, 3))
    order = np.argsort(owners, kind="stable")
    polygons = np.flatnonzero(is_shell[order])
    units = np.searchsorted(owners[order][polygons], np.arange(len(country.gids) + 1))
    return Drawing(
        *vertices,
        ids=np.concatenate([part[0] for part in parts]),
        starts=rings[order, 0],
        ends=rings[order, 1],
        polygons=np.append(polygons, len(order)),
        units=units,
        unions=np.empty(0, np.int64),
    )


def _without_wrong_outlines(drawing: Drawing, country: Country, rank: int) -> Drawing:
    """Let the units that were put together, and are not valid, be drawn as unions: what is below them overlaps.

    They are looked at with few vertices, which is quick: where borders run into one another, none can be left out.
    """
    made = np.flatnonzero(country.has_area & ~country.is_read)
    is_wrong = ~shapely.is_valid(drawing.geoms(rank, made)) | (np.diff(drawing.units)[made] == 0)
    unions = made[is_wrong]
    if not len(unions):
        return drawing
    counts = np.diff(drawing.units)
    is_left = np.repeat(~np.isin(np.arange(len(counts)), unions), counts)  # of polygons
    of_rings = np.repeat(is_left, np.diff(drawing.polygons))
    sizes = np.diff(drawing.polygons)[is_left]
    counts[unions] = 0
    return replace(
        drawing,
        starts=drawing.starts[of_rings],
        ends=drawing.ends[of_rings],
        polygons=np.concatenate([[0], np.cumsum(sizes)]),
        units=np.concatenate([[0], np.cumsum(counts)]),
        unions=unions,
    )


def _union_of(drawing: Drawing, country: Country, rank: int, unit: int) -> shapely.Geometry:
    """Return the union of the units below one, as a MultiPolygon."""
    below = np.flatnonzero(country.parents == unit)
    drawn = drawing.geoms(rank, below[np.diff(drawing.units)[below] > 0])
    unions = [_union_of(drawing, country, rank, other) for other in below[np.isin(below, drawing.unions)]]
    union = shapely.union_all([*drawn, *unions])
    whole: shapely.Geometry = shapely.multipolygons(
        [part for part in shapely.get_parts(union) if part.geom_type == "Polygon"]
    )
    return whole


def _segments(xs: Numbers, ys: Numbers, arcs: Ids, offsets: Positions, is_wanted: Flags) -> Numbers:
    """Return the segments of some arcs, without those at a pole; what lies on the date line is at 180 degrees east."""
    wanted = np.flatnonzero(is_wanted)
    at = counted(offsets[wanted], np.diff(offsets)[wanted] - 1)
    rows = np.empty((len(at), 4))
    rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3] = xs[arcs[at]], ys[arcs[at]], xs[arcs[at + 1]], ys[arcs[at + 1]]
    on_date_line = (np.abs(rows[:, 0]) == 180) & (np.abs(rows[:, 2]) == 180)
    rows[np.ix_(on_date_line, [0, 2])] = 180
    found: Numbers = rows[(np.abs(rows[:, 1]) != 90) | (np.abs(rows[:, 3]) != 90)]
    return found


def restore(drawing: Drawing, country: Country, is_more: Flags) -> None:
    """Give the units back their vertices that are invalid or overlap with more vertices than a country itself keeps.

    What the country itself keeps makes neither. With vertices that others keep on its borders, it may.

    Parameters
    ----------
    drawing : Drawing
        Of which ranks are raised.
    country : Country
    is_more : ndarray of bool, shape (k,)
        The vertices that stay at more tolerances than the country itself found, or are new.
    """
    boxes: Any = shapely.box(*drawing.boxes().T)
    for rank in range(1, int(drawing.ranks.max(initial=0)) + 1):
        changed = is_more
        while changed.any():
            units = drawing.having(changed)
            wrong = units[~shapely.is_valid(drawing.geoms(rank, units))]
            wrong = np.union1d(wrong, _that_overlap(drawing, country, boxes, rank, units[country.is_read[units]]))
            changed = drawing.vertices_of(wrong) & (drawing.ranks == rank - 1)
            drawing.ranks[changed] = rank


def _that_overlap(drawing: Drawing, country: Country, boxes: Shapes, rank: int, changed: Positions) -> Positions:
    """Return those units of a coverage, some of which were changed, that overlap and do not with all vertices."""
    read = np.flatnonzero(country.is_read & (np.diff(drawing.units) > 0))
    changed_at, at = shapely.STRtree(boxes[read]).query(boxes[changed])
    one, other = changed[changed_at], read[at]
    is_pair = (one != other) & (country.coverages[one] == country.coverages[other])
    one, other = one[is_pair], other[is_pair]
    for of_rank, is_overlap in ((rank, True), (0, False)):
        units = np.union1d(one, other)
        geoms = drawing.geoms(of_rank, units)
        is_met = shapely.relate_pattern(
            geoms[np.searchsorted(units, one)], geoms[np.searchsorted(units, other)], "2********"
        )
        found = is_met == is_overlap
        one, other = one[found], other[found]
    return np.union1d(one, other)


def _sorted(numbers: Hashes) -> Hashes:
    """Return numbers once each, in order; several times as fast as `numpy.unique`."""
    numbers = np.sort(numbers)
    once: Hashes = numbers[np.diff(numbers, prepend=~numbers[:1]) != 0]
    return once


def _that_are_alone(hashes: Hashes) -> Positions:
    """Return the positions of numbers that are there once."""
    order = np.argsort(hashes)
    is_alone = np.ones(len(order), bool)
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    is_alone[same] = is_alone[same + 1] = False
    return order[is_alone]


def coverage_simplified(geoms: Shapes, tolerances: Sequence[float]) -> list[Shapes]:
    """Simplify one coverage.

    Parameters
    ----------
    geoms : ndarray of MultiPolygon, shape (n,)
        In degrees.
    tolerances : sequence of float
        In degrees, each larger than the one before.

    Returns
    -------
    list of ndarray of MultiPolygon, shape (n,)
        For each tolerance.
    """
    count = len(geoms)
    every = np.ones(count, bool)
    whole = Country(
        "", np.arange(count).astype(object), np.zeros(count, np.int32), np.full(count, -1), every, every, every
    )
    drawing, _alone = drawing_of(whole, pa.array(shapely.to_wkb(geoms), pa.binary()), np.array(tolerances))
    return [drawing.geoms(rank, np.arange(count)) for rank in range(1, len(tolerances) + 1)]
