"""Units drawn with fewer vertices, so that borders that two of them share stay shared.

The leaves of a country are one coverage, which GEOS simplifies without gaps and overlaps. It leaves vertices out and
moves none, so that its answer is a set of vertices to keep. A border of two countries is in two coverages: both keep
what either of them keeps. Units of the levels above are unions of the simplified units below, unless those do not tile
them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import shapely

from admin_boundaries.coverage.arrays import Flags, Hashes, Numbers, Positions, Shapes, Texts, numbers_of
from admin_boundaries.coverage.junctions import Lacking, are_among, lacking_vertices, with_vertices
from admin_boundaries.coverage.segments import Buckets, hashes_of, segments
from admin_boundaries.coverage.threads import in_threads
from admin_boundaries.python_models import Relation

TOLERANCES = (0.001, 0.01, 0.1)  # degrees: some 100 m, 1 km and 10 km
SAME_AREA_KM2 = 1e-6
SAME_AREA_SHARE = 1e-9

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

    Memory holds three countries at a time, and the vertices that are kept on the borders of all.

    Parameters
    ----------
    levels : sequence of Relation
        The units of each level, coarsest first: ``gid``, ``parent_gid``, ``gid_0`` (of all but the first), ``is_leaf``,
        ``area_km2`` and ``geom``, a MultiPolygon in degrees or null.
    tolerances : sequence of float
        In degrees, each larger than the one before: a vertex goes if the triangle with those beside it is smaller than
        the square of the tolerance.
    folder : Path, optional
        Of the files on disk, which hold the answer until all countries are done; by default that of the system.

    Returns
    -------
    RecordBatchReader
        ``gid``, ``tolerance_degrees``, ``admin_level``, ``vertex_count`` and ``geom``, the WKB of a MultiPolygon: a row
        for each tolerance and unit that has a geometry, by country, tolerance, level and key. Every part and every
        hole keeps three corners at least.

    Source: Visvalingam and Whyatt, "Line generalisation by repeated elimination of points" (1993), as GEOS has it.
    """
    return pa.RecordBatchReader.from_batches(SCHEMA, _batches(levels, tolerances, folder))


@dataclass
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
    geoms : ndarray of MultiPolygon, shape (n,)
        Once they are read; None where nothing is.
    """

    gid: str
    gids: Texts
    levels: npt.NDArray[np.int32]
    parents: Positions
    is_read: Flags
    is_leaf: Flags
    has_area: Flags
    geoms: Shapes = field(default_factory=lambda: np.empty(0, object))

    @property
    def coverages(self) -> Positions:
        """The number of the coverage that a unit is in: -1 of all leaves, or that of its level; shape (n,)."""
        return np.where(self.is_leaf, -1, self.levels)


def _batches(levels: Sequence[Relation], tolerances: Sequence[float], folder: Path | None) -> Iterator[pa.RecordBatch]:
    countries = read_countries(levels)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        with Buckets(4, Path(name)) as lines:
            read = (_with_geometry(levels, country) for country in countries.values())
            in_threads(_outline, read, lambda rows: lines.add(rows, hashes_of(rows)))
            lacking = lacking_vertices((rows[_that_are_alone(hashes_of(rows))] for rows in lines), Path(name))
        work = _Work(Path(name), tolerances, list(countries))
        in_threads(work.keep, (_with_geometry(levels, country, lacking) for country in countries.values()))
        work.share()
        again = list(countries)
        while again:
            restored: list[list[Numbers]] = []
            read = (_with_geometry(levels, countries[gid], lacking) for gid in again)
            in_threads(work.draw, read, restored.append)
            again = work.touched_by(dict(zip(again, restored, strict=True)))
        for gid in countries:
            with pa.ipc.open_stream(work.file(gid, "arrow")) as reader:
                yield from reader


def _outline(country: Country) -> Numbers:
    """Return the segments that one unit of a country has alone, without their owner."""
    there = ~shapely.is_missing(country.geoms)
    found, numbers = [np.empty((0, 4))], [np.empty(0, np.uint64)]
    for level in (-1, *np.unique(country.levels)):  # all leaves are one coverage
        rows, hashes = segments(country.geoms[there & (country.coverages == level)])
        at = _that_are_alone(hashes)
        found.append(rows[at, :4])
        numbers.append(hashes[at])
    _once, at = np.unique(np.concatenate(numbers), return_index=True)
    return np.concatenate(found)[at]


class _Work:
    """What is known of all countries while they are simplified: on disk, or small."""

    def __init__(self, folder: Path, tolerances: Sequence[float], countries: list[str]) -> None:
        self._folder, self._tolerances = folder, tolerances
        self._numbers = {gid: number for number, gid in enumerate(countries)}
        self._boxes: dict[str, Numbers] = {}
        self._shared = [np.empty(0, np.uint64)] * len(tolerances)
        self._found: list[Sequence[Hashes]] = []

    def file(self, gid: str, kind: str) -> Path:
        """Return where something of a country is."""
        return self._folder / f"{self._numbers[gid]}.{kind}"

    def keep(self, country: Country) -> None:
        """Find the vertices that a country keeps."""
        kept, at_border = kept_vertices(country, self._tolerances)
        np.savez(self.file(country.gid, "npz"), *kept)
        self._boxes[country.gid] = shapely.total_bounds(country.geoms)
        self._found.append(at_border)

    def share(self) -> None:
        """Let all countries know what was found at the borders of each."""
        self._shared = [_sorted(np.concatenate(of_one)) for of_one in zip(self._shared, *self._found, strict=True)]
        self._found = []

    def draw(self, country: Country) -> list[Numbers]:
        """Write a country's simplified units; return what had to be restored, for each tolerance."""
        with np.load(self.file(country.gid, "npz")) as file:
            kept = [file[key] for key in file.files]
        drawn, restored = drawn_with(country, kept, self._shared)
        np.savez(self.file(country.gid, "npz"), *kept)
        with pa.OSFile(str(self.file(country.gid, "arrow")), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
            for tolerance, geoms in zip(self._tolerances, drawn, strict=True):
                writer.write_batch(_batch(country, tolerance, geoms))
        return restored

    def touched_by(self, restored: Mapping[str, Sequence[Numbers]]) -> list[str]:
        """Return the countries that may have vertices which others had to restore."""
        touched = set()
        for gid, points_of in restored.items():
            self._found.append([numbers_of(points) for points in points_of])
            points = np.concatenate(points_of)
            for other, (low, bottom, high, top) in self._boxes.items():
                is_in = (
                    (points[:, 0] >= low) & (points[:, 0] <= high) & (points[:, 1] >= bottom) & (points[:, 1] <= top)
                )
                if other != gid and is_in.any():
                    touched.add(other)
        self.share()
        return [gid for gid in self._numbers if gid in touched]


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


def _with_geometry(levels: Sequence[Relation], country: Country, lacking: Lacking | None = None) -> Country:
    """Return a country with the geometries that are simplified, and the vertices that they lack."""
    geoms = np.full(len(country.gids), None, object)
    for level in np.unique(country.levels[country.is_read]):
        here = np.flatnonzero(country.is_read & (country.levels == level))
        of_country = f"{'gid_0' if level else 'gid'} = {_text(country.gid)}" if country.gid else "gid_0 is null"
        others = country.gids[here[~country.is_leaf[here]]]
        listed = f" or gid in ({', '.join(map(_text, others))})" if len(others) else ""
        position = dict(zip(country.gids[here], here, strict=True))
        for batch in levels[level].select("gid", "geom").where(f"{of_country} and (is_leaf{listed})").batches():
            at = np.array([position.get(gid, -1) for gid in batch["gid"].to_pylist()], np.int64)
            found = shapely.from_wkb(batch["geom"].to_numpy(zero_copy_only=False))
            geoms[at[at >= 0]] = found[at >= 0]
    return replace(country, geoms=with_vertices(geoms, lacking) if lacking else geoms)


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def kept_vertices(country: Country, tolerances: Sequence[float]) -> tuple[list[Hashes], list[Hashes]]:
    """Find the vertices that a country keeps, each by its number.

    Returns
    -------
    kept : list of ndarray of uint64
        For each tolerance, sorted.
    at_border : list of ndarray of uint64
        Those among them that another country may have as well.
    """
    there = ~shapely.is_missing(country.geoms)
    leaves = country.geoms[there & country.is_leaf]
    others = country.geoms[there & ~country.is_leaf]
    other_levels = country.levels[there & ~country.is_leaf]
    of_leaves = _numbers_in(leaves) if len(others) else np.empty(0, np.uint64)
    kept, at_border = [], []
    for tolerance in tolerances:
        leaves = shapely.coverage_simplify(leaves, tolerance)
        rows, hashes = segments(leaves)
        ends = rows[_that_are_alone(hashes), :4].reshape(-1, 2)
        own = [np.empty(0, np.uint64)]
        for level in np.unique(other_levels):
            others[other_levels == level] = shapely.coverage_simplify(others[other_levels == level], tolerance)
            own.append(np.setdiff1d(_numbers_in(others[other_levels == level]), of_leaves))
        kept.append(_sorted(np.concatenate([_numbers_in(leaves), *own])))
        at_border.append(_sorted(np.concatenate([numbers_of(ends), *own])))
    return kept, at_border


def _that_are_alone(hashes: Hashes) -> Positions:
    """Return the positions of numbers that are there once."""
    order = np.argsort(hashes)
    is_alone = np.ones(len(order), bool)
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    is_alone[same] = is_alone[same + 1] = False
    return order[is_alone]


def _numbers_in(geoms: Shapes) -> Hashes:
    return _sorted(numbers_of(shapely.get_coordinates(geoms)))


def drawn_with(country: Country, kept: list[Hashes], shared: Sequence[Hashes]) -> tuple[list[Shapes], list[Numbers]]:
    """Draw all units of a country with the vertices that are kept.

    What the country itself keeps makes a coverage, as GEOS saw to. Vertices that others keep on its borders may make a
    unit invalid, or overlap another one: then all vertices of such a unit are restored.

    Parameters
    ----------
    country : Country
        With geometries.
    kept : list of ndarray of uint64
        For each tolerance, the numbers of the vertices that the country keeps; what is restored is added.
    shared : sequence of ndarray of uint64
        For each tolerance, those that all countries keep on their borders.

    Returns
    -------
    drawn : list of ndarray of MultiPolygon, shape (n,)
        For each tolerance, all units; None where the unit has no geometry.
    restored : list of ndarray of float64, shape (m, 2)
        For each tolerance, the vertices that were.
    """
    there = np.flatnonzero(~shapely.is_missing(country.geoms))
    before = country.geoms[there]
    coverages = country.coverages[there]
    drawn, restored = [], []
    for number in range(len(kept)):
        points = [np.empty((0, 2))]
        while True:
            now, has_more = only(before, kept[number], shared[number])
            is_wrong = ~shapely.is_valid(now)
            is_wrong[_that_overlap(now, before, coverages, np.flatnonzero(has_more))] = True
            is_wrong &= shapely.get_num_coordinates(now) < shapely.get_num_coordinates(before)
            if not is_wrong.any():
                break
            points.append(shapely.get_coordinates(before[is_wrong]))
            kept[number] = _sorted(np.concatenate([kept[number], numbers_of(points[-1])]))
        restored.append(np.concatenate(points))
        geoms = np.full(len(country.geoms), None, object)
        geoms[there] = now
        drawn.append(_with_unions(country, geoms))
        before = now
    return drawn, restored


def _that_overlap(now: Shapes, before: Shapes, coverage: Positions, changed: Positions) -> Positions:
    """Return those units of a coverage, some of which were changed, that overlap and did not before."""
    changed_at, other = shapely.STRtree(now).query(now[changed])
    one = changed[changed_at]
    is_pair = (one != other) & (coverage[one] == coverage[other])
    one, other = one[is_pair], other[is_pair]
    for geoms, is_overlap in ((now, True), (before, False)):
        found = shapely.relate_pattern(geoms[one], geoms[other], "2********") == is_overlap
        one, other = one[found], other[found]
    return np.union1d(one, other)


def _sorted(numbers: Hashes) -> Hashes:
    """Return numbers once each, in order; several times as fast as `numpy.unique`."""
    numbers = np.sort(numbers)
    once: Hashes = numbers[np.diff(numbers, prepend=~numbers[:1]) != 0]
    return once


def _with_unions(country: Country, geoms: Shapes) -> Shapes:
    """Add the units that those below tile, which are the unions of these."""
    for level in np.unique(country.levels)[::-1]:
        below = np.flatnonzero((country.levels > level) & (country.parents >= 0) & ~shapely.is_missing(geoms))
        below = below[np.argsort(country.parents[below], kind="stable")]
        above, starts = np.unique(country.parents[below], return_index=True)
        for parent, children in zip(above, np.split(below, starts[1:]) if len(below) else [], strict=True):
            if country.levels[parent] != level or geoms[parent] is not None or not country.has_area[parent]:
                continue
            geoms[parent] = _union(geoms[children])
    is_single = shapely.get_type_id(geoms) == shapely.GeometryType.POLYGON
    geoms[is_single] = shapely.multipolygons(geoms[is_single], indices=np.arange(is_single.sum()))
    return geoms


def _union(geoms: Shapes) -> shapely.Geometry:
    """Return the union of polygons: of a coverage the quick way, which does not notice overlaps but by the area."""
    try:
        union = shapely.coverage_union_all(geoms)
    except shapely.errors.GEOSException:
        return shapely.union_all(geoms)
    is_whole = np.isclose(shapely.area(union), shapely.area(geoms).sum(), rtol=SAME_AREA_SHARE, atol=0)
    return union if is_whole and shapely.is_valid(union) else shapely.union_all(geoms)


def only(geoms: Shapes, kept: Hashes, shared: Hashes) -> tuple[Shapes, Flags]:
    """Leave vertices out.

    Parameters
    ----------
    geoms : ndarray of MultiPolygon, shape (n,)
        In degrees.
    kept, shared : ndarray of uint64
        Numbers of the vertices that stay, sorted. Those on the date line and at the poles stay as well, and a ring of
        which fewer than three would is left as it is.

    Returns
    -------
    drawn : ndarray of MultiPolygon, shape (n,)
    has_more : ndarray of bool, shape (n,)
        Whether more than the vertices of `kept` stay.
    """
    if not len(geoms):
        return geoms, np.empty(0, bool)
    kind, points, (rings, *polygons) = shapely.to_ragged_array(geoms)
    numbers = numbers_of(points)
    stays = are_among(numbers, kept)
    is_more = ~stays
    is_more &= are_among(numbers, shared) | (np.abs(points[:, 0]) == 180) | (np.abs(points[:, 1]) == 90)
    stays |= is_more
    has_more = np.zeros(len(geoms), bool)
    has_more[np.repeat(np.arange(len(geoms)), shapely.get_num_coordinates(geoms))[is_more]] = True
    starts, last = rings[:-1], rings[1:] - 1
    stays[last] = False  # the same as the first
    total = np.concatenate([[0], np.cumsum(stays)])
    counts = total[rings[1:]] - total[starts]
    for ring in np.flatnonzero(counts < 3):
        stays[starts[ring] : last[ring]] = True
        counts[ring] = last[ring] - starts[ring]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    staying = np.flatnonzero(stays)
    at = np.insert(staying, offsets[1:], staying[offsets[:-1]])
    closed: tuple[npt.NDArray[np.signedinteger], ...] = (offsets + np.arange(len(offsets)), *polygons)
    drawn = shapely.from_ragged_array(kind, points[at], closed)
    return drawn, has_more


def _batch(country: Country, tolerance: float, geoms: Shapes) -> pa.RecordBatch:
    there = np.flatnonzero(~shapely.is_missing(geoms))
    return pa.record_batch(
        [
            pa.array(country.gids[there], pa.string()),
            pa.array(np.full(len(there), tolerance)),
            pa.array(country.levels[there]),
            pa.array(shapely.get_num_coordinates(geoms[there]).astype(np.int32)),
            pa.array(shapely.to_wkb(geoms[there]), pa.binary()),
        ],
        schema=SCHEMA,
    )
