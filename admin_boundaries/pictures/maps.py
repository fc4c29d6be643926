"""Draw a map of each level, and one of the time zones.

Shapes are simplified to the resolution of the picture batch by batch, as they are read from the warehouse. So a map of
the world needs no more memory than one of a country.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from admin_boundaries.marts import GEOMETRY, Mart, relation
from admin_boundaries.pictures import style
from admin_boundaries.warehouse import Warehouse

Floats = npt.NDArray[np.float64]

WIDTH = 9.0  # inches
MAP_HEIGHT = 3.9
TOP, FOOT, SIDE, GAP = 1.2, 0.32, 0.25, 0.3
MOST_PANELS = 3  # countries that get a panel each
TOGETHER_SHARE = 0.9  # if more than this share of a country's units lie together, the frame leaves out the others
SPECK = 0.0005  # share of the area of the largest country; what is smaller does not widen the frame
CLOSE, EDGE = 0.08, 0.01  # shares of the longer side: what lies as near as this is shown, and how much is empty
FEW = 8  # more countries than this are shown on a map of the world
TOLERANCE_PIXELS = 0.35
METRES_PER_DEGREE = 111_320.0
DEGREES_BETWEEN_POINTS = 1.0
WORLD = "+proj=eqearth +datum=WGS84"
WORLD_EDGE = 17_243_959.06  # half the length of its equator, in metres
WORLD_KM2 = 510_000_000
SOURCES = {
    "gadm": "Boundaries: GADM {release}; not to be redistributed, for non-commercial use",
    "sample": "Boundaries: the bundled sample of open data, see DATA_LICENSES.md",
    "timezones": "Time zones: timezone-boundary-builder {release}, © OpenStreetMap contributors, ODbL",
}
OTHER_SOURCE = "Boundaries: {dataset} {release}; {attributions}"
MOST_ATTRIBUTIONS = 3


@dataclass
class Panel:
    """One map in a picture.

    Attributes
    ----------
    title : str
        Its heading.
    country : str or None
        The country whose units are shown; None for all.
    projection : str
        PROJ string.
    box : tuple of float
        Left, bottom, right, top, in metres of the projection.
    height : float
        Height in inches.
    members : frozenset of str
        Keys of the units that the box is fitted to; if empty, the box stays as it is.
    shapes : dict
        Paths, by the key that determines their colour.
    borders : list of Path
        Outlines drawn over the shapes.
    land : list of Path
        What lies around them, drawn below them.
    """

    title: str
    country: str | None
    projection: str
    box: tuple[float, float, float, float]
    height: float = MAP_HEIGHT
    members: frozenset[str] = frozenset()
    shapes: dict[Any, list[Path]] = field(default_factory=dict)
    borders: list[Path] = field(default_factory=list)
    land: list[Path] = field(default_factory=list)

    @property
    def aspect(self) -> float:
        """Width divided by height."""
        left, bottom, right, top = self.box
        return (right - left) / (top - bottom)

    @property
    def width(self) -> float:
        """Width in inches."""
        return self.height * self.aspect

    @property
    def tolerance(self) -> float:
        """Size in metres below which details cannot be seen."""
        _, bottom, _, top = self.box
        return TOLERANCE_PIXELS * (top - bottom) / (self.height * style.DOTS_PER_INCH)


def level(warehouse: Warehouse, known: Mapping[str, Mart], number: int) -> Figure | None:
    """Draw the units of a level, coloured by the unit of the level above from level 2 on; None if there are none.

    Parameters
    ----------
    warehouse : Warehouse
        The warehouse to read.
    known : mapping of str to Mart
        The existing marts, by name.
    number : int
        The level.
    """
    mart = known[f"admin_level_{number}"]
    country = "gid" if number == 0 else "gid_0"
    units = _units(warehouse, mart, country)
    if not units:
        return None
    names = dict(warehouse.rows(f"select gid, name from {relation(known['admin_level_0'])}"))  # noqa: S608
    panels = _panels(units, names) if number else [_whole(units)]
    if number == 0:
        _read_land(warehouse, known["timezones"], panels[0])
    _read(warehouse, mart, panels, "gid" if number < 2 else "parent_gid", country)
    if number:
        _read_borders(warehouse, known[f"admin_level_{number - 1}"], panels, "gid_0" if number > 1 else "gid")
    _fit(panels)
    countries = len({unit.country for unit in units})
    if number == 0:
        shown = f"{len(units):,} countries and areas"
    else:
        where = "1 country" if countries == 1 else f"{countries} countries"
        shown = f"{len(units):,} units in {where}"
        shown += "; coloured by the unit of the level above, grey where there are none" if number > 1 else ""
        shown += f"; the {len(panels)} with most are shown" if 1 < len(panels) < countries else ""
    return _picture(f"Level {number}", shown, panels, _attribution(warehouse, mart))


def timezones(warehouse: Warehouse, known: Mapping[str, Mart]) -> Figure | None:
    """Draw the time zones, coloured by their standard offset from UTC; None if there are none."""
    offset = "coalesce(standard_utc_offset_minutes, 0)"
    zones = _units(warehouse, known["timezones"], offset)
    if not zones:
        return None
    ((release,),) = warehouse.rows(f"select max(release) from {relation(known['timezones'])}")  # noqa: S608
    covered = sum(zone.area for zone in zones)
    panel = _world(zones) if covered > WORLD_KM2 / 2 else _framed("", None, zones, share=0.5)
    _read(warehouse, known["timezones"], [panel], offset, None)
    _fit([panel])
    colours = {each: style.of_offset(each) for each in panel.shapes}
    panel.borders = [path for paths in panel.shapes.values() for path in paths]
    shown = f"{len(zones):,} zones; coloured by standard offset from UTC, in hours"
    if len(panel.members) and len(panel.members) < len(zones):
        shown += f"; {len(panel.members)} zones are shown"
    figure = _picture("Time zones", shown, [panel], SOURCES["timezones"].format(release=release), colours)
    _label(figure, panel, zones)
    return figure


@dataclass(frozen=True)
class Unit:
    """What a map needs to know about a unit before reading its shape: key, country, a point on it, area in km²."""

    gid: str
    country: Any
    lon: float
    lat: float
    area: float
    south: float
    north: float

    @property
    def radius(self) -> float:
        """Rough distance from its point to its border, in metres."""
        return math.sqrt(max(self.area, 1.0)) * 700


def _units(warehouse: Warehouse, mart: Mart, country: str) -> list[Unit]:
    query = (
        f"select {mart.key}, {country}, point_lon, point_lat, coalesce(area_km2, 0), min_lat, max_lat "  # noqa: S608
        f"from {relation(mart)} where point_lon is not null order by 5 desc, 1"
    )
    return [Unit(*row) for row in warehouse.rows(query)]


def _panels(units: Sequence[Unit], names: Mapping[str, str]) -> list[Panel]:
    """Return a panel for each of the countries with most units, or one of the world if there are many countries."""
    by_country: dict[str, list[Unit]] = {}
    for unit in units:
        by_country.setdefault(unit.country, []).append(unit)
    if len(by_country) > FEW:
        return [_world(units)]
    largest = sorted(by_country, key=lambda country: (-len(by_country[country]), str(country)))[:MOST_PANELS]
    return [
        _framed(f"{names.get(each) or each}: {len(by_country[each]):,}", each, by_country[each]) for each in largest
    ]


def _framed(title: str, country: str | None, units: Sequence[Unit], share: float = TOGETHER_SHARE) -> Panel:
    """Return a panel around the units that lie together, in an equal-area projection about their centre.

    A few remote units, such as Hawaii, are left out, since they would shrink the rest to a speck. If more of them are
    remote, all are shown.
    """
    together = _together(units, share)
    lon0, lat0 = _middle(together)
    projection = f"+proj=laea +lat_0={lat0:.3f} +lon_0={lon0:.3f} +datum=WGS84"
    box = tuple(shapely.total_bounds(_squares(projection, together)).tolist())
    return Panel(title, country, projection, box, members=frozenset(unit.gid for unit in together))


def _together(units: Sequence[Unit], share: float) -> Sequence[Unit]:
    lon0, lat0 = _middle(units)
    squares = _squares(f"+proj=laea +lat_0={lat0:.3f} +lon_0={lon0:.3f} +datum=WGS84", units)
    groups = shapely.get_parts(shapely.union_all(squares))
    members = [[units[at] for at in found] for found in map(shapely.STRtree(squares).query, groups)]
    largest = max(members, key=len)
    return largest if len(largest) > share * len(units) else units


def _squares(projection: str, units: Sequence[Unit]) -> npt.NDArray[np.object_]:
    """Return a square around each unit, slightly larger than the unit."""
    x, y = _project(projection, np.array([unit.lon for unit in units]), np.array([unit.lat for unit in units]))
    radius = np.array([unit.radius for unit in units]) * 1.3
    return np.asarray(shapely.box(x - radius, y - radius, x + radius, y + radius))


def _whole(units: Sequence[Unit]) -> Panel:
    """Return a panel of all units but specks: around them if they lie on one side of the globe, or of the world."""
    large = [unit for unit in units if unit.area > SPECK * units[0].area]
    framed = _framed("", None, large, share=1)
    left, bottom, right, top = framed.box
    return _world(large) if max(right - left, top - bottom) > WORLD_EDGE / 2 else framed


def _world(units: Sequence[Unit]) -> Panel:
    """Return a panel of the world, limited to the latitudes of its units."""
    south = max(min(unit.south for unit in units) - 5, -90.0)
    north = min(max(unit.north for unit in units) + 5, 90.0)
    _, y = _project(WORLD, np.zeros(2), np.array([south, north]))
    return Panel("", None, WORLD, (-WORLD_EDGE, float(y[0]), WORLD_EDGE, float(y[1])))


def _middle(units: Sequence[Unit]) -> tuple[float, float]:
    """Return the area-weighted centre of units on the globe, also if they lie on both sides of the date line."""
    east, north = (np.radians([unit.lon for unit in units]), np.radians([unit.lat for unit in units]))
    weight = np.array([unit.area for unit in units]) + 1.0
    parts = np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)
    x, y, z = (float((part * weight).sum()) for part in parts)
    return math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y)))


def _fit(panels: Sequence[Panel]) -> None:
    """Divide the width among the panels: a wide country gets more of it, but leaves room for the others."""
    room = WIDTH - 2 * SIDE - GAP * (len(panels) - 1)
    shares = np.array([panel.aspect for panel in panels]) ** 0.7
    for panel, width in zip(panels, room * shares / shares.sum(), strict=True):
        panel.height = float(width) / panel.aspect
    too_high = max(panel.height for panel in panels) / MAP_HEIGHT
    for panel in panels:
        panel.height /= max(too_high, 1.0)


def _read(warehouse: Warehouse, mart: Mart, panels: Sequence[Panel], colour: str, country: str | None) -> None:
    """Read the shapes of a mart into the panels, and fit each box to the members of its panel."""
    for panel in panels:
        reach, is_member = [], []
        for gid, key, shape in _shapes(warehouse, mart, panel, colour, country):
            panel.shapes.setdefault(key, []).append(path_of(shape))
            reach.append(shapely.bounds(_without_specks(shape)))
            is_member.append(gid in panel.members)
        if any(is_member):
            panel.box = _frame(np.array(reach), np.array(is_member))


def _without_specks(shape: shapely.Geometry) -> shapely.Geometry:
    """Return a shape without the parts that cannot be seen beside the others, and would widen the frame."""
    parts = shapely.get_parts(shape)
    area = shapely.area(parts)
    return shapely.multipolygons(parts[area > SPECK * area.sum()]) if area.any() else shape


def _frame(reach: Floats, is_member: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return the box around the members and the shapes close to them, which cuts off no small shape."""
    shapes = shapely.box(*reach.T)
    is_shown = is_member | shapely.intersects(shapes, shapely.box(*_around(reach[is_member], CLOSE)))
    while True:
        box = _around(reach[is_shown], EDGE)
        is_cut = ~is_shown & shapely.intersects(shapes, shapely.box(*box))
        is_cut &= shapely.within(shapes, shapely.box(*_around(reach[is_shown], CLOSE)))
        if not is_cut.any():
            return box
        is_shown |= is_cut


def _around(reach: Floats, margin: float) -> tuple[float, float, float, float]:
    """Return the box around boxes, extended on each side by a share of its longer side."""
    west, south = reach[:, :2].min(axis=0).tolist()
    east, north = reach[:, 2:].max(axis=0).tolist()
    more = margin * max(east - west, north - south)
    return west - more, south - more, east + more, north + more


def _read_borders(warehouse: Warehouse, mart: Mart, panels: Sequence[Panel], country: str) -> None:
    """Read the outlines of the level above."""
    for panel in panels:
        panel.borders = [path_of(shape) for _, _, shape in _shapes(warehouse, mart, panel, "gid", country)]


def _read_land(warehouse: Warehouse, mart: Mart, panel: Panel) -> None:
    """Read the time zones on land, whose coasts show where the units lie."""
    panel.land = [
        path_of(shape) for _, _, shape in _shapes(warehouse, mart, panel, "tzid", None, "tzid not like 'Etc/%'")
    ]


def _shapes(
    warehouse: Warehouse, mart: Mart, panel: Panel, colour: str, country: str | None, condition: str = "true"
) -> Iterator[tuple[str, Any, shapely.Geometry]]:
    """Yield key, colour key and shape of the units of a panel, simplified and projected."""
    where, parameters = (f"{country} = ?", [panel.country]) if panel.country else (condition, [])
    columns = [mart.key, f"{colour} as colour", f"{warehouse.as_wkb}({GEOMETRY}) as {GEOMETRY}"]
    transformer = _transformer(panel.projection)

    def projected(points: Floats) -> Floats:
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1]))

    for batch in warehouse.reader(mart, columns, where, parameters):
        shapes = shapely.from_wkb(batch.column(2).to_numpy(zero_copy_only=False))
        thinned = shapely.simplify(shapes, panel.tolerance / METRES_PER_DEGREE, preserve_topology=False)
        # a border along a parallel is a curve in the projection, and needs points in between
        bent = shapely.segmentize(shapely.orient_polygons(thinned), DEGREES_BETWEEN_POINTS)
        ready = shapely.transform(bent, projected)
        for gid, key, shape in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), ready, strict=True):
            if shape is not None and not shape.is_empty:
                yield gid, key, shape


def path_of(shape: shapely.Geometry) -> Path:
    """Return the rings of a shape as one path; holes run in the opposite direction."""
    _, points, (rings, *_) = shapely.to_ragged_array([shape], include_z=False)
    codes = np.full(len(points), Path.LINETO, dtype=Path.code_type)
    codes[rings[:-1]] = Path.MOVETO
    codes[rings[1:] - 1] = Path.CLOSEPOLY
    return Path(points, codes)


def _transformer(projection: str) -> Any:
    return pyproj.Transformer.from_crs("EPSG:4326", projection, always_xy=True)


def _project(projection: str, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    x, y = _transformer(projection).transform(lon, lat)
    return np.asarray(x), np.asarray(y)


def _picture(
    title: str, below: str, panels: Sequence[Panel], credit: str, colours: Mapping[Any, str] | None = None
) -> Figure:
    top = TOP if panels[0].title else 0.9
    tallest = max(panel.height for panel in panels)
    height = tallest + top + FOOT
    figure = style.canvas(WIDTH, height)
    style.title(figure, title, below)
    style.source(figure, credit)
    total = sum(panel.width for panel in panels) + GAP * (len(panels) - 1)
    left = (WIDTH - total) / 2 if len(panels) == 1 else SIDE
    for panel in panels:
        place = (left / WIDTH, (FOOT + tallest - panel.height) / height, panel.width / WIDTH, panel.height / height)
        axes = figure.add_axes(place)
        _draw(axes, panel, colours)
        if panel.title:
            figure.text(left / WIDTH, 1 - 1.0 / height, panel.title, size=8.5, weight="bold", va="center")
        left += panel.width + GAP
    return figure


def _draw(axes: Axes, panel: Panel, colours: Mapping[Any, str] | None) -> None:
    west, south, east, north = panel.box
    axes.set(xlim=(west, east), ylim=(south, north), aspect="equal")
    axes.set_axis_off()
    if panel.projection == WORLD:
        _graticule(axes)
    if panel.land:
        land = Path.make_compound_path(*panel.land)
        axes.add_patch(PathPatch(land, facecolor=style.LAND, edgecolor=style.LINE, linewidth=0.35, joinstyle="round"))
    outline = Path.make_compound_path(*panel.borders) if panel.borders else None
    if outline:  # units of the level above, which may have none below
        axes.add_patch(PathPatch(outline, facecolor=style.LAND, edgecolor="none"))
    count = sum(map(len, panel.shapes.values()))
    width = 0.1 if count > 1500 else 0.22 if count > 250 else 0.35
    for number, key in enumerate(sorted(panel.shapes, key=str)):
        colour = colours[key] if colours else style.PALETTE[number % len(style.PALETTE)]
        whole = Path.make_compound_path(*panel.shapes[key])
        axes.add_patch(PathPatch(whole, facecolor=colour, edgecolor="white", linewidth=width, joinstyle="round"))
    if outline:
        width = 0.45 if len(panel.borders) < 200 else 0.2
        axes.add_patch(PathPatch(outline, facecolor="none", edgecolor=style.INK, linewidth=width, joinstyle="round"))


def _graticule(axes: Axes) -> None:
    """Draw the sea, with meridians and parallels."""
    edge = np.linspace(-90, 90, 91)
    lon = np.concatenate([np.full(91, -180.0), np.full(91, 180.0)])
    x, y = _project(WORLD, lon, np.concatenate([edge, edge[::-1]]))
    axes.fill(x, y, facecolor=style.SEA, edgecolor="none", zorder=0)
    for meridian in range(-180, 181, 30):
        axes.plot(*_project(WORLD, np.full(91, float(meridian)), edge), color=style.GROUND, linewidth=0.7, zorder=0)
    for parallel in range(-60, 61, 30):
        along = np.linspace(-180, 180, 181)
        axes.plot(*_project(WORLD, along, np.full(181, float(parallel))), color=style.GROUND, linewidth=0.7, zorder=0)


def _label(figure: Figure, panel: Panel, zones: Sequence[Unit]) -> None:
    """Label each offset once, on its largest zone on which a label has room, off others and off the frame."""
    axes = figure.axes[0]
    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    taken: list[Bbox] = []
    labelled = set()
    west, _, east, _ = panel.box
    for zone in zones:
        is_shown = not panel.members or zone.gid in panel.members
        if zone.country in labelled or not is_shown or zone.radius <= (east - west) / 60:
            continue
        x, y = _project(panel.projection, np.array([zone.lon]), np.array([zone.lat]))
        text = f"{zone.country / 60:+.4g}".replace("-", "−") if zone.country else "0"
        label = axes.text(float(x[0]), float(y[0]), text, size=8, ha="center", va="center", weight="bold")
        extent = label.get_window_extent(renderer)
        is_inside = frame.x0 < extent.x0 and extent.x1 < frame.x1 and frame.y0 < extent.y0 and extent.y1 < frame.y1
        if not is_inside or any(extent.overlaps(other) for other in taken):
            label.remove()
            continue
        labelled.add(zone.country)
        taken.append(extent)


def _attribution(warehouse: Warehouse, mart: Mart) -> str:
    """Return whose boundaries a map shows: what the publisher asks for, or else whom the units name."""
    ((release,),) = warehouse.rows(f"select max(release) from {warehouse.marts}.admin_units")  # noqa: S608
    source = SOURCES.get("sample" if (warehouse.dataset, release) == ("gadm", "sample") else warehouse.dataset)
    if source:
        return source.format(release=release)
    query = f"select distinct attribution from {relation(mart)} where attribution is not null order by 1"  # noqa: S608
    found = [attribution for (attribution,) in warehouse.rows(query)]
    shown = "; ".join(found[:MOST_ATTRIBUTIONS])
    if len(found) > MOST_ATTRIBUTIONS:
        shown += f"; and {len(found) - MOST_ATTRIBUTIONS} more"
    return OTHER_SOURCE.format(dataset=warehouse.dataset, release=release, attributions=shown)
