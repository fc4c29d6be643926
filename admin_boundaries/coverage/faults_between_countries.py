"""Where countries do not fit together: overlaps, and gaps that are too narrow to be a strait or a lake.

The outlines of countries are long, and most of them is coast. They are kept on disk, and the boxes of runs of segments
in memory: what lies close to another country is read again, and what both draw alike cancels. The rest is cut at its
crossings. What it encloses, and what it consists of, asks the countries whether it lies in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import shapely

from admin_boundaries.coverage import kernels
from admin_boundaries.coverage.arrays import TOLERANCE, Flags, Numbers, Positions, Shapes, Texts, counted
from admin_boundaries.coverage.faces import (
    SLIVER_RATIO,
    Beside,
    Fault,
    Measured,
    drawn,
    faces,
    left_over,
    merged,
    narrow,
    places,
    wide,
)
from admin_boundaries.coverage.hashing import lines_of
from admin_boundaries.coverage.parsed import Parsed
from admin_boundaries.coverage.segments import OWNER, WIDTH, Spill, hashes_of, rows_of
from admin_boundaries.python_models import Relation

GAP_METRES = 100  # what is wider between two countries is a lake, a strait or a country that is not loaded
HOLE_METRES = 10  # what is wider within one country is a lake
CLOSE_DEGREES = 1e-4  # of countries that do not touch, those that are closer have a gap between them
RUN_LENGTH = 64  # segments whose boxes are compared as one
BOXES_AT_ONCE = 1 << 16


class Runs(NamedTuple):
    """Segments that follow each other, up to `RUN_LENGTH` of them.

    Attributes
    ----------
    starts : ndarray of int64, shape (n,)
        The position of the first vertex of each.
    counts : ndarray of int64, shape (n,)
        The steps from there to its last vertex.
    boxes : ndarray of float64, shape (n, 4)
        West, south, east and north.
    begins : ndarray of float64, shape (n, 2)
        Where it begins.
    owners : ndarray of int64, shape (n,)
        The number of its country.
    is_first : ndarray of bool, shape (n,)
        Whether a ring begins there.
    """

    starts: Positions
    counts: Positions
    boxes: Numbers
    begins: Numbers
    owners: Positions
    is_first: Flags

    def take(self, wanted: Flags) -> Runs:
        """Return some of them."""
        found = (self.starts, self.counts, self.boxes, self.begins, self.owners, self.is_first)
        return Runs(*(of[wanted] for of in found))  # type: ignore[arg-type]  # of several types


class Outlines(NamedTuple):
    """Countries taken apart, numbered from 0.

    Attributes
    ----------
    points : ndarray of float64, shape (n, 2)
    runs : Runs
    holes : ndarray of float64, shape (k, 5)
        The segments of those holes that may be gaps.
    countries : int
        How many they are.
    """

    points: Numbers
    runs: Runs
    holes: Numbers
    countries: int


def outlines_of(units: Parsed, found: Measured) -> Outlines:
    """Take countries apart."""
    ring, starts, counts, boxes, begins = kernels.runs_of(units.points, units.rings, RUN_LENGTH)
    owners = units.unit_of_ring
    runs = Runs(starts, counts, boxes, begins, owners[ring], np.diff(ring, prepend=-1) != 0)
    narrow_holes = np.flatnonzero(~units.is_shell & (found.of_rings < GAP_METRES))
    number = units.vertices_of(narrow_holes)
    of_number = np.repeat(owners[narrow_holes], np.maximum(np.diff(units.rings)[narrow_holes] - 1, 0))
    is_segment, _hashes = lines_of(units.points)
    rows = rows_of(units.points, number[is_segment[number]], of_number[is_segment[number]])
    return Outlines(units.points, runs, rows, len(units.units) - 1)


class Countries:
    """All countries, of which memory holds little."""

    def __init__(self) -> None:
        self._count = 0
        self._points = Spill(width=2)
        none = np.empty(0, np.int64)
        self._runs = [Runs(none, none, np.empty((0, 4)), np.empty((0, 2)), none, np.empty(0, bool))]
        self._holes = [np.empty((0, WIDTH))]

    def __enter__(self) -> Countries:
        return self

    def __exit__(self, *error: Any) -> None:
        self._points.__exit__(*error)

    def add(self, found: Outlines) -> None:
        """Add countries."""
        runs = found.runs
        self._runs.append(runs._replace(starts=runs.starts + self._points.count, owners=runs.owners + self._count))
        self._holes.append(found.holes + np.array([0, 0, 0, 0, self._count]))
        self._points.add(found.points)
        self._count += found.countries

    def faults(self, relation: Relation, gids: Texts) -> Iterator[Fault]:
        """Yield the gaps between countries, and their overlaps.

        Parameters
        ----------
        relation : Relation
            The countries, of which some are read again, one at a time.
        gids : ndarray of str
            Their keys, as they were added.
        """
        in_order = np.argsort(gids)
        rank = np.empty(len(gids), np.int64)
        rank[in_order] = np.arange(len(gids))
        gids = gids[in_order]
        runs = Runs(*map(np.concatenate, zip(*self._runs, strict=True)))
        runs = runs._replace(owners=rank[runs.owners])
        rows = self._rows_near_others(runs, rank)
        lines, owners = drawn(rows)
        noded = shapely.get_parts(shapely.union_all(lines))
        enclosed = faces(noded)
        polygons = np.concatenate([enclosed, _open_faces(lines, owners, enclosed)])
        middles = shapely.get_coordinates(shapely.line_interpolate_point(noded, 0.5, normalized=True))
        nearest = shapely.STRtree(lines).nearest(shapely.points(middles)) if len(lines) else np.empty(0, np.int64)
        points = np.concatenate([places(polygons), middles, runs.begins[runs.is_first]])
        of_point = np.concatenate([np.full(len(polygons), -1), owners[nearest], runs.owners[runs.is_first]])
        holder, point = _holders(relation, gids, runs, points, of_point)
        is_face = point < len(polygons)
        count = np.bincount(point[is_face], minlength=len(polygons))
        both = np.column_stack([holder[~is_face], of_point[point[~is_face]]])
        pairs = set(map(tuple, np.sort(both, axis=1).tolist()))
        pairs |= _pairs(relation, gids, runs, polygons[count > 1])
        yield from _overlaps(relation, gids, pairs)
        is_empty = count == 0
        beside = Beside(rows, gids)
        yield from _gaps(enclosed[is_empty[: len(enclosed)]], beside)
        yield from _open_gaps(polygons[len(enclosed) :][is_empty[len(enclosed) :]], beside)

    def _rows_near_others(self, runs: Runs, rank: Positions) -> Numbers:
        """Return the segments near other countries, and of narrow holes, that do not cancel."""
        near = runs.take(_near_others(runs))
        position = np.cumsum(near.counts + 1) - near.counts - 1  # of its first vertex, among those that are read
        points = self._points.parts(near.starts, near.starts + near.counts + 1)
        is_segment, _hashes = lines_of(points)
        number, owners = counted(position, near.counts), np.repeat(near.owners, near.counts)
        number, owners = number[is_segment[number]], owners[is_segment[number]]
        holes = np.concatenate(self._holes)
        holes[:, OWNER] = rank[holes[:, OWNER].astype(np.int64)]
        rows = np.concatenate([holes, rows_of(points, number, owners)])
        rows = rows[np.argsort(rows[:, OWNER], kind="stable")]
        return left_over(rows, hashes_of(rows), np.ones(len(rows), np.int64))


def _near_others(runs: Runs) -> Flags:
    """Tell which runs come near to one of another country."""
    boxes = np.asarray(shapely.box(*(runs.boxes + np.array([-1, -1, 1, 1]) * CLOSE_DEGREES).T))
    tree = shapely.STRtree(boxes)
    is_near: Flags = np.zeros(len(boxes), np.bool_)
    for start in range(0, len(boxes), BOXES_AT_ONCE):
        one, other = tree.query(boxes[start : start + BOXES_AT_ONCE])
        one += start
        is_near[one[runs.owners[one] != runs.owners[other]]] = True
    return is_near


def _open_faces(lines: Shapes, owners: Positions, enclosed: Shapes) -> Shapes:
    """Return what lies between countries that are close to each other, but is not enclosed by them."""
    found = faces(shapely.get_parts(shapely.union_all(np.concatenate([lines, _caps(lines, owners)]))))
    is_enclosed = np.zeros(len(found), bool)
    is_enclosed[shapely.STRtree(enclosed).query(shapely.point_on_surface(found), predicate="within")[0]] = True
    return found[~is_enclosed]


def _caps(lines: Shapes, owners: Positions) -> Shapes:
    """Return the shortest lines between countries that are close to each other, from each vertex."""
    ends = shapely.get_coordinates(lines)
    of_end = np.repeat(owners, 2)
    _once, first = np.unique(np.column_stack([ends, of_end]), axis=0, return_index=True)
    points, of_end = np.asarray(shapely.points(ends[first])), of_end[first]
    end, line = shapely.STRtree(lines).query(points, predicate="dwithin", distance=CLOSE_DEGREES)
    is_other = of_end[end] != owners[line]
    end, line = end[is_other], line[is_other]
    distance = np.asarray(shapely.distance(points[end], lines[line]))
    order = np.lexsort([distance, owners[line], end])
    end, line, distance = end[order], line[order], distance[order]
    is_shortest = np.ones(len(end), bool)
    is_shortest[1:] = (end[1:] != end[:-1]) | (owners[line[1:]] != owners[line[:-1]])
    is_cap = is_shortest & (distance > TOLERANCE / 10)
    caps: Shapes = np.asarray(shapely.shortest_line(points[end[is_cap]], lines[line[is_cap]]))
    return caps


def _holders(
    relation: Relation, gids: Texts, runs: Runs, points: Numbers, of_point: Positions
) -> tuple[Positions, Positions]:
    """Find the countries that points lie in, but for their own.

    Parameters
    ----------
    relation : Relation
        The countries, of which one at a time is in memory.
    gids : ndarray of str
        Their keys, in order.
    runs : Runs
        All of their outlines.
    points : ndarray of float64, shape (n, 2)
        Points.
    of_point : ndarray of int64, shape (n,)
        The country of each, -1 for none.

    Returns
    -------
    holder, point : ndarray of int64, shape (m,)
        Numbers of countries in order, and of the points that lie in them.
    """
    holder, point = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for number, (low, high) in _extents(runs):
        is_near = (points >= low) & (points <= high)
        asked = np.flatnonzero(is_near.all(axis=1) & (of_point != number))
        if len(asked):
            country = _read(relation, gids[number])
            shapely.prepare(country)
            inside = asked[shapely.contains_xy(country, points[asked])]
            holder.append(np.full(len(inside), number))
            point.append(inside)
    return np.concatenate(holder), np.concatenate(point)


def _pairs(relation: Relation, gids: Texts, runs: Runs, polygons: Shapes) -> set[tuple[int, int]]:
    """Return the numbers of the countries that may overlap in faces that several of them cover."""
    tree = shapely.STRtree(polygons)
    countries: list[list[int]] = [[] for _ in polygons]
    for number, (low, high) in _extents(runs):
        if len(tree.query(shapely.box(*low, *high))):
            for face in tree.query(_read(relation, gids[number]), predicate="intersects"):
                countries[face].append(number)
    return {pair for of_face in countries for pair in combinations(of_face, 2)}


def _extents(runs: Runs) -> Iterator[tuple[int, tuple[Numbers, Numbers]]]:
    """Yield the number of every country that has an outline, with its southwestern and northeastern corners."""
    for number in np.unique(runs.owners).tolist():
        boxes = runs.boxes[runs.owners == number]
        yield number, (boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0))


def _read(relation: Relation, gid: str) -> Any:
    condition = "gid = '" + gid.replace("'", "''") + "'"
    (wkb,) = (value for batch in relation.select("geom").where(condition).batches() for value in batch["geom"])
    return shapely.from_wkb(wkb.as_py())


def _overlaps(relation: Relation, gids: Texts, pairs: set[tuple[int, int]]) -> Iterator[Fault]:
    for one, other in sorted(pairs):
        common = shapely.intersection(_read(relation, gids[one]), _read(relation, gids[other]))
        for shape in wide(common):
            yield Fault("overlap", 0, gids[one], None, gids[one], gids[other], shape)


def _gaps(polygons: Shapes, beside: Beside) -> Iterator[Fault]:
    """Yield of what countries enclose what is narrow."""
    for shape in merged(polygons[narrow(polygons, GAP_METRES)]):
        one, other = beside.of(shape)
        fault = Fault("gap", 0, one, None, one, other, shape)
        if fault.width_m < (HOLE_METRES if other is None else GAP_METRES):
            yield fault


def _open_gaps(polygons: Shapes, beside: Beside) -> Iterator[Fault]:
    """Yield of what lies between countries what is long: two coasts are close to each other wherever they meet."""
    for shape in merged(polygons):
        if shapely.length(shape) / 2 >= SLIVER_RATIO * CLOSE_DEGREES:
            one, other = beside.of(shape)
            yield Fault("gap", 0, one, None, one, other, shape)
