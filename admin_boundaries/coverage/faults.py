"""Where units do not fit together: gaps, overlaps, units that reach out of their parent, slivers.

Most of a source fits, so what does is passed over without an overlay. The outline of a unit is a chain of segments,
each with a direction. If units tile their parent, the sum of their outlines is the outline of the parent: inner borders
are drawn once in either direction and cancel. The converse holds as well, since an outline tells of every point how
often it is covered. So one number for the outline of each unit shows of every parent whether its children tile it.

Where it does not fit, the segments that did not cancel are the outline of what is wrong. They are cut at their
crossings, put together to faces, and each face asks the units which of them it lies in.

A fault is listed at the level where it begins: what is wrong between states is wrong between their counties as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import shapely

from admin_boundaries.coverage.arrays import Flags, Hashes, Numbers, Positions, Shapes, Texts
from admin_boundaries.coverage.faces import (
    Beside,
    Fault,
    Measured,
    drawn,
    faces,
    holders,
    left_over,
    measured,
    merged,
    places,
)
from admin_boundaries.coverage.faults_between_countries import Countries, Outlines, outlines_of
from admin_boundaries.coverage.hashing import FACTOR
from admin_boundaries.coverage.parsed import Parsed, parsed
from admin_boundaries.coverage.segments import OWNER, segments
from admin_boundaries.coverage.threads import in_threads
from admin_boundaries.python_models import Relation

SLIVER_METRES = 20  # a part of a unit that is narrower, and `SLIVER_RATIO` times as long, is a sliver
KEYS_AT_ONCE = 500  # in a condition
PIECE_BYTES = 32 << 20  # of geometry, looked at as one

SCHEMA = pa.schema(
    [
        ("fault_number", pa.int32()),
        ("admin_level", pa.int32()),
        ("fault_kind", pa.string()),
        ("country_gid", pa.string()),
        ("parent_gid", pa.string()),
        ("gid", pa.string()),
        ("other_gid", pa.string()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("area_km2", pa.float64()),
        ("length_km", pa.float64()),
        ("width_m", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Level:
    """The units of a level, without their geometry.

    Attributes
    ----------
    gids, parents, countries : ndarray of str or None, shape (n,)
        The key of each, of its parent and of its country.
    child_counts : ndarray of int64, shape (n,)
        How many units each has below it, on any level.
    outlines : ndarray of uint64, shape (n,)
        One number for the outline of each.
    is_drawn : ndarray of bool, shape (n,)
        Whether it has a geometry.
    """

    gids: Texts
    parents: Texts
    countries: Texts
    child_counts: Positions
    outlines: Hashes
    is_drawn: Flags


def faults(levels: Sequence[Relation]) -> pa.RecordBatchReader:
    """Find what is wrong within countries and between them.

    Memory holds a country with two of its levels, and of all countries what lies near their borders.

    Parameters
    ----------
    levels : sequence of Relation
        ``admin_level_0`` and so on.

    Returns
    -------
    RecordBatchReader
        Of `SCHEMA`, by level, kind, keys and place. Units without geometry have no faults, and what their parent lacks
        is not a gap. A unit is only compared with its children if all of them are on the level below.
    """

    def batches() -> Iterator[pa.RecordBatch]:
        yield _batch(list(_found(levels)))

    return pa.RecordBatchReader.from_batches(SCHEMA, batches())


def _batch(found: list[Fault]) -> pa.RecordBatch:
    rows = sorted((fault.row() for fault in found), key=lambda row: ["" if value is None else value for value in row])
    columns = (
        zip(*((number, *row) for number, row in enumerate(rows, start=1)), strict=True) if rows else [()] * len(SCHEMA)
    )
    return pa.record_batch(list(map(pa.array, columns, SCHEMA.types)), schema=SCHEMA)


def _found(levels: Sequence[Relation]) -> Iterator[Fault]:
    above, known = None, np.empty(0, np.uint64)
    for number, relation in enumerate(levels):
        slivers = Slivers(number, known)
        if number == 0:
            with Countries() as countries:
                level = _read_level(number, relation, slivers, countries)
                yield from countries.faults(relation, level.gids)
        else:
            level = _read_level(number, relation, slivers, None)
        yield from slivers.found
        known = slivers.outlines()
        if above is not None:
            for country, parents in _suspects(above, level).items():
                yield from _within(number, country, parents, levels[number - 1], relation)
        above = level


def _read_level(number: int, relation: Relation, slivers: Slivers, countries: Countries | None) -> Level:
    """Read the units of a level once, and look at each by itself."""
    columns = ("gid", "parent_gid", "gid_0", "child_count", "geom") if number else ("gid", "child_count", "geom")
    read = [(*(np.empty(0, object),) * 3, np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, bool))]

    def take(piece: _Piece) -> None:
        gids = _texts(piece.rows["gid"])
        parents = _texts(piece.rows["parent_gid"]) if number else np.full(len(gids), None, object)
        home = _texts(piece.rows["gid_0"]) if number else gids
        if countries is not None and piece.outlines is not None:
            countries.add(piece.outlines)
        slivers.add(piece, gids, parents, home)
        is_drawn = np.diff(piece.units.polygons[piece.units.units]) > 0
        child_counts = piece.rows["child_count"].to_numpy()
        read.append((gids, parents, home, child_counts, piece.measured.outlines, is_drawn))

    batches = relation.select(*columns).batches()
    pieces = (piece for batch in batches for piece in _pieces(batch))
    in_threads(partial(_measured, with_outlines=countries is not None), pieces, take)
    return Level(*map(np.concatenate, zip(*read, strict=True)))


@dataclass(frozen=True)
class _Piece:
    """Some units, looked at by themselves.

    Attributes
    ----------
    rows : RecordBatch
    units : Parsed
    measured : Measured
    outlines : Outlines, optional
        Of countries.
    """

    rows: pa.RecordBatch
    units: Parsed
    measured: Measured
    outlines: Outlines | None


def _measured(rows: pa.RecordBatch, *, with_outlines: bool) -> _Piece:
    units = parsed(rows["geom"])
    found = measured(units)
    return _Piece(rows, units, found, outlines_of(units, found) if with_outlines else None)


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield a batch in pieces whose geometry takes some `PIECE_BYTES`, or is one."""
    sizes = pa.compute.fill_null(pa.compute.binary_length(batch["geom"]), 0).to_numpy()
    piece = np.cumsum(sizes, dtype=np.int64) // PIECE_BYTES
    stops = np.append(np.flatnonzero(np.diff(piece)) + 1, len(batch))
    for start, stop in zip([0, *stops[:-1]], stops, strict=True):
        yield batch.slice(start, stop - start)


def _geoms(column: pa.Array) -> Shapes:
    """Return geometry whose shells are drawn counterclockwise."""
    geoms: Shapes = shapely.orient_polygons(shapely.from_wkb(column.to_numpy(zero_copy_only=False)))
    return geoms


def _texts(column: pa.Array) -> Texts:
    texts: Texts = column.to_numpy(zero_copy_only=False)
    return texts


def _suspects(above: Level, level: Level) -> dict[str | None, list[str]]:
    """Return the parents that their children do not tile, by country; only those whose children are all in `level`."""
    number = {gid: at for at, gid in enumerate(above.gids)}
    of_parent = np.array([number.get(parent, -1) for parent in level.parents], np.int64)
    has_parent = of_parent >= 0
    sums, children, undrawn = np.zeros(len(number), np.uint64), np.zeros(len(number), int), np.zeros(len(number), int)
    np.add.at(sums, of_parent[has_parent], level.outlines[has_parent])
    np.add.at(children, of_parent[has_parent], 1)
    np.add.at(undrawn, of_parent[has_parent & ~level.is_drawn], 1)
    has_all = (children > 0) & (children == above.child_counts)
    is_suspect = has_all & (undrawn == 0) & above.is_drawn & (sums != above.outlines)
    found: dict[str | None, list[str]] = defaultdict(list)
    for at in np.flatnonzero(is_suspect):
        found[above.countries[at]].append(above.gids[at])
    return {country: sorted(found[country]) for country in sorted(found, key=lambda country: country or "")}


class Slivers:
    """The parts of the units of a level that are much longer than they are wide.

    Parameters
    ----------
    level : int
        Number of the level.
    known : ndarray of uint64
        Outlines of the slivers of the level above, which are not listed again.
    """

    def __init__(self, level: int, known: Hashes) -> None:
        self._level, self._known = level, known
        self._outlines = [np.empty(0, np.uint64)]
        self.found: list[Fault] = []

    def add(self, piece: _Piece, gids: Texts, parents: Texts, countries: Texts) -> None:
        """Look at units."""
        units, geoms = piece.units, piece.rows["geom"]
        of_polygon = units.unit_of_polygon
        for at in np.flatnonzero(piece.measured.widths < SLIVER_METRES):
            unit, outline = of_polygon[at], piece.measured.of_polygons[at]
            part = shapely.get_geometry(shapely.from_wkb(geoms[int(unit)].as_py()), at - units.units[unit])
            part = shapely.orient_polygons(part)
            fault = Fault("sliver", self._level, countries[unit], parents[unit], gids[unit], None, part)
            if fault.width_m < SLIVER_METRES and fault.is_long:
                self._outlines.append(outline[None])
                if outline not in self._known:
                    self.found.append(fault)

    def outlines(self) -> Hashes:
        """Return the outlines of all that were found, also of those that were known."""
        return np.concatenate(self._outlines)


def _within(number: int, country: str | None, parents: list[str], above: Relation, level: Relation) -> Iterator[Fault]:
    """Find the faults of the children of those units of a country that their children do not tile."""
    level = level.select("gid", "parent_gid", "geom")
    parent_gids, _none, parent_geoms = _read_units(above.select("gid", "geom"), "gid", parents)
    gids, of_child, geoms = _read_units(level, "parent_gid", parents)
    group = {gid: at for at, gid in enumerate(parent_gids)}
    groups = np.array([group[gid] for gid in of_child], np.int64)
    rows = _uncancelled(geoms, groups, parent_geoms)
    polygons = faces(_noded(rows))
    in_parents, in_children = holders(parent_geoms, polygons), holders(geoms, polygons)
    is_outside, is_wrong = np.zeros(len(polygons), bool), np.zeros(len(polygons), bool)
    for at, (inside, held) in enumerate(zip(in_parents, in_children, strict=True)):
        is_outside[at] = any(groups[child] not in inside for child in held)
        is_wrong[at] = is_outside[at] or len(held) > 1 or (bool(inside) and not held)
    if not is_wrong.any():
        return
    strangers = _read_strangers(level, country, set(parents), polygons[is_outside])
    polygons = _cut(polygons[is_wrong], np.concatenate([geoms, strangers[2]]))
    in_parents, in_children = holders(parent_geoms, polygons), holders(geoms, polygons)
    in_strangers = holders(strangers[2], polygons)
    found: dict[tuple[str, str | None, str | None, str | None], list[Any]] = defaultdict(list)
    for face, inside, held, others in zip(polygons, in_parents, in_children, in_strangers, strict=True):
        here = [(gids[child], of_child[child], groups[child] in inside) for child in held]
        for gid, parent, is_inside in here:
            if not is_inside:
                found["outside_parent", parent, gid, None].append(face)
        here = sorted([*here, *((strangers[0][at], strangers[1][at], True) for at in others)])
        for (gid, parent, is_inside), (other, other_parent, is_other_inside) in combinations(here, 2):
            is_of_parents = parent != other_parent and is_inside and is_other_inside
            if not is_of_parents:
                found["overlap", parent, gid, other].append(face)
        if not held:
            for at in inside:
                found["gap", parent_gids[at], None, None].append(face)
    beside = Beside(rows[rows[:, OWNER] < len(gids)], gids)
    for (kind, parent, unit, other), pieces in found.items():
        for shape in merged(pieces):
            sides = beside.of(shape) if kind == "gap" else (unit, other)
            yield Fault(kind, number, country, parent, *sides, shape)


def _noded(rows: Numbers) -> Shapes:
    """Return segments as lines that meet in their ends only."""
    lines: Shapes = shapely.get_parts(shapely.union_all(drawn(rows)[0]))
    return lines


def _cut(polygons: Shapes, geoms: Shapes) -> Shapes:
    """Cut faces along the borders of units, also those that cancelled: there, one unit follows on another."""
    rows, _hashes = segments(geoms)
    lines, _owners = drawn(rows)
    tree = shapely.STRtree(polygons)
    crossing = np.unique(tree.query(lines, predicate="intersects")[0])
    pieces = faces(shapely.get_parts(shapely.union_all([*lines[crossing], *shapely.boundary(polygons)])))
    within: Shapes = pieces[np.unique(tree.query(shapely.points(places(pieces)), predicate="within")[0])]
    return within


def _read_units(relation: Relation, column: str, keys: Sequence[str]) -> tuple[Texts, Texts, Shapes]:
    """Read the units that have one of these keys in a column: their own keys, their parents' and their geometry."""
    found: list[tuple[Any, Any, Any]] = []
    for start in range(0, len(keys), KEYS_AT_ONCE):
        condition = f"{column} in ({', '.join(map(_quoted, keys[start : start + KEYS_AT_ONCE]))})"
        found += _rows(relation.where(condition))
    return _columns(found)


def _read_strangers(
    level: Relation, country: str | None, parents: set[str], polygons: Shapes
) -> tuple[Texts, Texts, Shapes]:
    """Read the units of a country near polygons whose parents are others than these."""
    if not len(polygons):
        return _columns([])
    west, south, east, north = shapely.total_bounds(polygons)
    home = "gid_0 is null" if country is None else f"gid_0 = {_quoted(country)}"
    near = f"min_lon <= {east} and max_lon >= {west} and min_lat <= {north} and max_lat >= {south}"
    rows = _rows(level.where(home).where(near))
    return _columns([row for row in rows if row[1] not in parents])


def _rows(relation: Relation) -> list[tuple[Any, Any, Any]]:
    found: list[tuple[Any, Any, Any]] = []
    for batch in relation.batches():
        gids = _texts(batch["gid"])
        parents = _texts(batch["parent_gid"]) if "parent_gid" in batch.schema.names else [None] * len(gids)
        found += zip(gids, parents, _geoms(batch["geom"]), strict=True)
    return found


def _columns(rows: list[tuple[Any, Any, Any]]) -> tuple[Texts, Texts, Shapes]:
    """Return the columns of units by their keys, in the order of code points: databases sort in orders of their own."""
    rows = sorted(rows, key=lambda row: row[0])
    columns = [np.empty(len(rows), object) for _ in range(3)]
    for at, row in enumerate(rows):
        for column, value in zip(columns, row, strict=True):
            column[at] = value
    return columns[0], columns[1], columns[2]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _uncancelled(children: Shapes, groups: Positions, parents: Shapes) -> Numbers:
    """Return the segments in which the outlines of parents differ from those of their children.

    Parameters
    ----------
    children : ndarray of MultiPolygon, shape (n,)
        Units, with shells drawn counterclockwise.
    groups : ndarray of int64, shape (n,)
        The position of the parent of each.
    parents : ndarray of MultiPolygon, shape (m,)
        Their parents.

    Returns
    -------
    ndarray of float64, shape (k, 5)
        Segments; their owners are numbered from the first child to the last parent.
    """
    rows, hashes = segments(children)
    outer, outer_hashes = segments(parents, len(children))
    group = np.concatenate([groups[rows[:, OWNER].astype(np.int64)], outer[:, OWNER].astype(np.int64) - len(children)])
    keys = np.concatenate([hashes, outer_hashes]) + group.astype(np.uint64) * FACTOR
    weights = np.repeat([1, -1], [len(rows), len(outer)])
    return left_over(np.concatenate([rows, outer]), keys, weights)
