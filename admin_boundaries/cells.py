"""The mart `admin_unit_cells`: the cells of the H3 grid whose centres lie in a unit, for joins without geometry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import h3.api.numpy_int as h3
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from admin_boundaries.coverage.arrays import Numbers, Positions, Shapes
from admin_boundaries.python_models import Relation

LEAST_CELLS = 100  # that have the area of a unit: it is filled with 100 to 700, before they are compacted
MOST_TESTED = 50_000  # cells in squares around its parts, for which H3 takes memory: a long, thin unit has fewer cells
FINEST = 15
CELL_KM2 = np.array([h3.average_hexagon_area(resolution) for resolution in range(FINEST + 1)])
EARTH_KM = 6371.0072  # radius of the sphere that H3 counts with
SLICE_DEGREES = 30  # of longitude: H3 takes the edge of a box that is wider than 180 to run across the date line
RESOLUTION_BIT = 52  # of an index: where the four bits of its resolution begin
SCHEMA = pa.schema(
    [
        pa.field("gid", pa.string()),
        pa.field("cell", pa.int64()),
        pa.field("cell_resolution", pa.int32()),
        pa.field("unit_resolution", pa.int32()),
    ]
)
Cells = npt.NDArray[np.uint64]
NONE: Cells = np.array([], np.uint64)


def unit_cells(parts: Relation) -> pa.RecordBatchReader:
    """Fill units with cells.

    Parameters
    ----------
    parts : Relation
        ``gid`` and ``geom``, in degrees: the parts of each unit. None crosses the date line.

    Returns
    -------
    RecordBatchReader
        One row per unit and cell, of the columns of `SCHEMA`. One batch of parts is in memory, and the largest unit.
    """
    batches = parts.select("gid", "geom").batches(order_by="gid")
    return pa.RecordBatchReader.from_batches(SCHEMA, map(_filled, _of_whole_units(batches)))


def _of_whole_units(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Cut parts that are sorted by unit into tables of which none ends within a unit."""
    rest = None
    for batch in batches:
        table = pa.Table.from_batches([batch])
        table = table if rest is None else pa.concat_tables([rest, table])
        if not len(table):
            continue
        last = pc.index(table["gid"], table["gid"][-1]).as_py()
        if last:
            yield table.slice(0, last)
        rest = table.slice(last)
    if rest is not None:
        yield rest


def _filled(parts: pa.Table) -> pa.RecordBatch:
    """Return the rows of whole units."""
    gids = np.array(parts["gid"].to_pylist(), dtype=object)
    shapes = shapely.from_wkb(np.array(parts["geom"].to_pylist(), dtype=object))
    starts = np.flatnonzero(np.append(True, gids[1:] != gids[:-1]))
    resolutions = resolutions_of(shapes, starts)
    found = [
        cells_of(shapes[start:end], int(resolution))
        for start, end, resolution in zip(starts, [*starts[1:], len(shapes)], resolutions, strict=True)
    ]
    counts = [len(cells) for cells in found]
    cells = np.concatenate(found).astype(np.int64)
    columns = np.repeat(gids[starts], counts), cells, resolution_of(cells), np.repeat(resolutions, counts)
    return pa.record_batch([pa.array(*each) for each in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA)


def resolutions_of(shapes: Shapes, starts: Positions) -> Positions:
    """Return at which resolution each unit is filled.

    Parameters
    ----------
    shapes : ndarray of Geometry
        Parts of units, in degrees.
    starts : ndarray of int
        Where each unit begins.

    Returns
    -------
    ndarray of int
        The coarsest at which the unit has the area of a hundred cells, or the finest at which squares around its parts
        have no more than 50,000, if that is coarser.
    """
    min_lon, min_lat, max_lon, max_lat = np.radians(shapely.bounds(shapes)).T
    widths, heights = max_lon - min_lon, max_lat - min_lat
    boxes = widths * heights
    shares = np.divide(np.radians(1) ** 2 * shapely.area(shapes), boxes, out=np.zeros(len(shapes)), where=boxes > 0)
    areas = shares * widths * (np.sin(max_lat) - np.sin(min_lat)) * EARTH_KM**2
    is_wanted = np.add.reduceat(areas, starts)[:, None] >= LEAST_CELLS * CELL_KM2
    squares = np.maximum(widths * np.cos(np.clip(0, min_lat, max_lat)), heights) ** 2 * EARTH_KM**2
    is_possible = np.add.reduceat(squares, starts)[:, None] <= MOST_TESTED * CELL_KM2
    found: Positions = np.minimum((~is_wanted).sum(axis=1), is_possible.sum(axis=1) - 1).clip(0, FINEST)
    return found


def cells_of(parts: Shapes, resolution: int) -> Cells:
    """Return the cells of a unit.

    Parameters
    ----------
    parts : ndarray of Geometry
        Of the unit, in degrees.
    resolution : int
        At which it is filled.

    Returns
    -------
    ndarray of uint64
        Sorted indexes of the cells whose centres lie in the unit, seven that make up a coarser one as that one. Where
        there is none, the cell of a point in the largest part.
    """
    shapely.prepare(parts)
    areas = shapely.area(parts)
    cells = np.unique(np.concatenate([NONE, *(_in_part(part, resolution) for part in parts[areas > 0])]))
    if len(cells):
        return np.sort(h3.compact_cells(cells))
    inner = shapely.point_on_surface(parts[np.argmax(areas)])
    return np.array([h3.latlng_to_cell(inner.y, inner.x, resolution)], np.uint64)


def _in_part(part: shapely.MultiPolygon, resolution: int) -> Cells:
    """Return the cells whose centres lie in a part.

    H3 finds those in its box, and GEOS those of them in the part. H3 alone takes a shape with an edge of more than 180
    degrees to lie across the date line, and each of its tests as much longer as the shape has vertices.
    """
    min_lon, min_lat, max_lon, max_lat = part.bounds
    lons = np.linspace(min_lon, max_lon, int((max_lon - min_lon) // SLICE_DEGREES) + 2).tolist()
    slices = [
        h3.LatLngPoly([(min_lat, west), (min_lat, east), (max_lat, east), (max_lat, west)])
        for west, east in pairwise(lons)
    ]
    cells = np.concatenate([h3.h3shape_to_cells(each, resolution) for each in slices])
    centres: Numbers = np.array(list(map(h3.cell_to_latlng, cells.tolist()))).reshape(-1, 2)
    found: Cells = cells[shapely.contains_xy(part, centres[:, 1], centres[:, 0])]
    return found


def resolution_of(cells: npt.NDArray[np.int64]) -> Positions:
    """Return the resolution of each cell, 0 to 15, by its index."""
    return (cells >> RESOLUTION_BIT) & FINEST
