"""Draw what became of units that were split, merged or redrawn: before and after, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath

from admin_boundaries.pictures import style
from admin_boundaries.pictures.maps import WIDTH, path_of
from admin_boundaries.warehouse import Warehouse
from ingest.settings import with_dataset

Shapes = npt.NDArray[np.object_]

TOP, FOOT, SIDE, GAP, HEAD = 0.95, 0.2, 0.25, 0.25, 0.45  # inches
PANEL = (WIDTH - 2 * SIDE - GAP) / 2
TALLEST = 2.9
MARGIN = 0.04  # of the longer side, around the units that changed
DIVIDED = ("split", "merged", "complex")
SIZES = (7, 6, 5, 4.5)  # of a label, in points
LINE = 1.2  # height of a line, in sizes
PADDING = 3  # points beside a label
POINTS = 72  # in an inch
PLACES = 40  # that are tried for a label, from west to east and from south to north
BESIDE = "#e3e9ed"
UNITS = """
select changes.{side}_gid, changes.{side}_name, changes.{side}_release, changes.change_type in {divided},
    case when changes.change_type = 'split' and changes.unit_of = 'to' then changes.share_of_from end,
    {as_wkb}(areas.geom)
from {marts}.admin_unit_changes as changes
inner join {areas} as areas
    on changes.{side}_gid = areas.gid
where changes.unit_of in ('both', '{side}')
    and changes.{side}_parent_gid = ?
order by 1
"""


@dataclass(frozen=True)
class Side:
    """The units below a parent, in one of two releases.

    Attributes
    ----------
    release : str
        The release.
    labels : list of str
        Name of each unit; and of a part of one that was split, its share of that.
    is_divided : numpy.ndarray of bool, shape (n,)
        Which of them were split, merged or redrawn.
    shapes : numpy.ndarray of shapely.Geometry, shape (n,)
        Longitude and latitude, or as projected.
    """

    release: str
    labels: list[str]
    is_divided: npt.NDArray[np.bool_]
    shapes: Shapes

    @property
    def divided(self) -> Shapes:
        """The shapes of the units that were split, merged or redrawn."""
        return self.shapes[self.is_divided]


def divided(warehouse: Warehouse, level: int, parents: Sequence[str]) -> Figure:
    """Draw the units below some parents in the release before, and beside it as they are now.

    Ground keeps the colour of the unit that it belonged to, so that one sees whose ground a new unit has.

    Parameters
    ----------
    warehouse : Warehouse
        A warehouse that may also be read below its marts: the areas of the release before are there.
    level : int
        Level of the units, which have no subdivisions.
    parents : sequence of str
        Keys of their parents, each of which has a unit that was split, merged or redrawn.
    """
    rows = []
    for parent in parents:
        before = _side(warehouse, "from", f"{with_dataset('intermediate', warehouse.dataset)}.int_areas_before", parent)
        now = _side(warehouse, "to", f"{warehouse.marts}.admin_level_{level}", parent)
        rows.append(_projected(before, now))
    names = dict(warehouse.rows(f"select gid, name from {warehouse.marts}.admin_units"))  # noqa: S608
    boxes = [_box(np.concatenate([before.divided, now.divided])) for before, now in rows]
    heights = [min(PANEL * (north - south) / (east - west), TALLEST) for west, south, east, north in boxes]
    height = TOP + sum(heights) + HEAD * len(rows) + FOOT
    figure = style.canvas(WIDTH, height)
    style.title(
        figure,
        "Units whose ground was divided anew",
        "Colours: the unit that ground belonged to before; lines: the borders of each release; grey: units that stay",
    )
    used, top = 0, height - TOP
    for parent, sides, box, tall in zip(parents, rows, boxes, heights, strict=True):
        for number, side in enumerate(sides):
            left = SIDE + number * (PANEL + GAP)
            when = "before" if side is sides[0] else "now"
            heading = f"{names.get(parent) or parent} {when} ({side.release}): {_counted(side)}"
            figure.text(left / WIDTH, (top - 0.1) / height, heading, size=8.5, weight="bold", va="center")
            axes = figure.add_axes((left / WIDTH, (top - 0.25 - tall) / height, PANEL / WIDTH, tall / height))
            _frame(axes, box, PANEL / tall)
            _draw(axes, sides[0], side, used)
        used += int(sides[0].is_divided.sum())
        top -= tall + HEAD
    query = f"select distinct attribution from {warehouse.marts}.admin_level_{level} order by 1"  # noqa: S608
    attributions = "; ".join(attribution for (attribution,) in warehouse.rows(query) if attribution)
    releases = " and ".join(side.release for side in rows[0])
    style.source(figure, f"Boundaries: {warehouse.dataset}, releases {releases}; {attributions}")
    return figure


def _counted(side: Side) -> str:
    count = int(side.is_divided.sum())
    return f"{count} unit{'s' if count > 1 else ''}"


def _side(warehouse: Warehouse, side: str, areas: str, parent: str) -> Side:
    query = UNITS.format(side=side, areas=areas, divided=DIVIDED, marts=warehouse.marts, as_wkb=warehouse.as_wkb)
    _, names, releases, is_divided, shares, shapes = zip(*warehouse.rows(query, [parent]), strict=True)
    labels = [f"{name} {share:.0%}" if share else name for name, share in zip(names, shares, strict=True)]
    return Side(releases[0], labels, np.array(is_divided), shapely.from_wkb(np.array(shapes, dtype=object)))


def _projected(before: Side, now: Side) -> tuple[Side, Side]:
    """Return both sides in an equal-area projection about the units that were divided."""
    middle = shapely.centroid(shapely.union_all(np.concatenate([before.divided, now.divided])))
    to = f"+proj=laea +lat_0={middle.y:.3f} +lon_0={middle.x:.3f} +datum=WGS84"
    transformer = pyproj.Transformer.from_crs("EPSG:4326", to, always_xy=True)

    def moved(side: Side) -> Side:
        shapes = shapely.transform(
            side.shapes, lambda points: np.column_stack(transformer.transform(points[:, 0], points[:, 1]))
        )
        return Side(side.release, side.labels, side.is_divided, shapely.make_valid(shapes))

    return moved(before), moved(now)


def _box(shapes: Shapes) -> tuple[float, float, float, float]:
    west, south, east, north = shapely.total_bounds(shapes).tolist()
    more = MARGIN * max(east - west, north - south)
    return west - more, south - more, east + more, north + more


def _frame(axes: Axes, box: tuple[float, float, float, float], aspect: float) -> None:
    """Fit a box into a panel, with more to see on two sides if the panel has another shape."""
    west, south, east, north = box
    wide = max((north - south) * aspect, east - west)
    tall = wide / aspect
    middle = (west + east) / 2, (south + north) / 2
    axes.set(
        xlim=(middle[0] - wide / 2, middle[0] + wide / 2),
        ylim=(middle[1] - tall / 2, middle[1] + tall / 2),
        aspect="equal",
    )
    axes.set_axis_off()


def _draw(axes: Axes, before: Side, side: Side, used: int) -> None:
    """Draw one side: the ground by whose it was before, the borders as they are on this side."""
    for shape in side.shapes[~side.is_divided]:
        _fill(axes, shape, BESIDE, "white", 0.6)
    for number, old in enumerate(before.divided):
        colour = style.PALETTE[(used + number) % len(style.PALETTE)]
        for piece in shapely.intersection(side.divided, old):
            _fill(axes, piece, colour, "none", 0)
    for shape in side.divided:
        _fill(axes, shape, "none", style.INK, 0.6)
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    frame = shapely.box(west, south, east, north)
    shown = shapely.intersection(side.shapes, frame)
    empty = shapely.difference(frame, shapely.union_all(shown))
    for label, shape, is_divided in zip(side.labels, shown, side.is_divided, strict=True):
        if shape.area:
            _label(axes, label, shape, [shape, empty] if is_divided else [shape], "bold" if is_divided else "normal")


def _fill(axes: Axes, shape: shapely.Geometry, colour: str, edge: str, width: float) -> None:
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    if parts:
        path = path_of(shapely.orient_polygons(shapely.MultiPolygon(parts)))
        axes.add_patch(PathPatch(path, facecolor=colour, edgecolor=edge, linewidth=width, joinstyle="round"))


def _label(axes: Axes, label: str, shape: Any, grounds: Sequence[Any], weight: str) -> None:
    """Write a label on the first of some grounds that has room for it, as large as fits and as close to the shape."""
    inner = shapely.get_coordinates(shapely.maximum_inscribed_circle(shape))[0]
    west, south, east, north = shape.buffer(math.sqrt(shape.area) / 2).bounds
    grid = np.meshgrid(np.linspace(west, east, PLACES), np.linspace(south, north, PLACES))
    places = np.vstack([inner, np.reshape(grid, (2, -1)).T])
    x, y = places[np.argsort(np.hypot(*(places - inner).T))].T
    low, high = axes.get_xlim()
    half = (high - low) / PANEL / POINTS / 2  # of a point
    shapely.prepare(grounds)
    for ground, size, lines in product(grounds, SIZES, (1, 2, 3)):
        text = wrapped(label, lines)
        font = FontProperties(weight=weight, size=size)
        wide = half * (max(TextPath((0, 0), line, prop=font).get_extents().width for line in text) + PADDING)
        tall = half * len(text) * LINE * size
        is_fitting = shapely.covers(ground, shapely.box(x - wide, y - tall, x + wide, y + tall))
        if is_fitting.any():
            at = int(is_fitting.argmax())
            drawn = axes.text(x[at], y[at], "\n".join(text), ha="center", va="center", linespacing=1.1)
            drawn.set(fontproperties=font, color=style.INK if weight == "bold" else style.QUIET)
            return


def wrapped(label: str, lines: int) -> list[str]:
    """Return a label in so many lines, as even as they can be, or in fewer if it has fewer words."""
    words = label.split(" ")
    cuts = combinations(range(1, len(words)), min(lines, len(words)) - 1)
    splits = ([" ".join(words[a:b]) for a, b in pairwise((0, *cut, len(words)))] for cut in cuts)
    return min(splits, key=lambda split: max(map(len, split)))
