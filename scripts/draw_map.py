"""Draw the picture of the README from the warehouse that ``make demo`` made.

Run as ``python scripts/draw_map.py``; writes ``docs/images/sample.svg``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb
import shapely

from ingest.duckdb_spatial import load_spatial
from ingest.settings import PROJECT_ROOT, load

OUTPUT = PROJECT_ROOT / "docs" / "images" / "sample.svg"
PALETTE = ("#8ecae6", "#ffd166", "#95d5b2", "#f4a261", "#cdb4db", "#f28482", "#a3b18a", "#84a9c0", "#e9c46a", "#bde0fe")
HEIGHT = 390


@dataclass(frozen=True)
class Panel:
    """One map: units in colour, and borders of a coarser level over them.

    Attributes
    ----------
    title : str
        What it shows.
    units : str
        Query for WKB and a key that chooses the colour.
    borders : str
        Query for WKB.
    box : tuple of float
        West, south, east, north, in degrees.
    pixels_per_degree : float
        Scale at the middle latitude, northwards.
    """

    title: str
    units: str
    borders: str
    box: tuple[float, float, float, float]
    pixels_per_degree: float

    @property
    def width(self) -> float:
        """Width in pixels: degrees of longitude shrink with the cosine of the latitude."""
        west, south, east, north = self.box
        return (east - west) * self.pixels_per_degree * math.cos(math.radians((south + north) / 2))


PANELS = (
    Panel(
        "Counties of the United States by time zone",
        """select ST_AsWKB(units.geom), timezones.standard_utc_offset || coalesce(timezones.daylight_utc_offset, '')
        from marts.admin_level_2 as units
        inner join marts.timezones on ST_Contains(timezones.geom, ST_Point(units.point_lon, units.point_lat))
        where units.gid_0 = 'USA' and units.point_lon between -125 and -66 and units.point_lat between 24 and 50""",
        """select ST_AsWKB(geom) from marts.admin_level_1
        where gid_0 = 'USA' and point_lon between -125 and -66 and point_lat between 24 and 50""",
        (-125, 24, -66.5, 50),
        13,
    ),
    Panel(
        "Communes of Algeria in their wilayas",
        "select ST_AsWKB(geom), gid_1 from marts.admin_level_3 where gid_0 = 'DZA'",
        "select ST_AsWKB(geom) from marts.admin_level_1 where gid_0 = 'DZA'",
        (-9, 18.5, 12.5, 37.5),
        18,
    ),
)


def path(geometry: shapely.Geometry, panel: Panel) -> str:
    """Return the SVG path of a polygon in a panel's pixels."""
    west, _, _, north = panel.box
    across = panel.width / (panel.box[2] - west)
    commands = []
    for polygon in shapely.get_parts(geometry):
        for ring in [polygon.exterior, *polygon.interiors]:
            down = panel.pixels_per_degree
            points = [(round((x - west) * across, 1), round((north - y) * down, 1)) for x, y in ring.coords]
            thinned = [points[0], *(b for a, b in pairwise(points) if a != b)]
            if len(thinned) > 3:
                commands.append("M" + "L".join(f"{x:g},{y:g}" for x, y in thinned[:-1]) + "Z")
    return "".join(commands)


def draw(panel: Panel, connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the SVG elements of a panel, its corner at the origin."""
    units = connection.sql(panel.units).fetchall()
    borders = connection.sql(panel.borders).fetchall()
    keys = sorted({key for _, key in units})
    tolerance = 1.0 / panel.pixels_per_degree
    lines = [f'<text x="0" y="-10" class="title">{panel.title}</text>']
    shapes = shapely.coverage_simplify(shapely.from_wkb([bytes(wkb) for wkb, _ in units]), tolerance)
    for geometry, (_, key) in zip(shapes, units, strict=True):
        colour = PALETTE[keys.index(key) % len(PALETTE)]
        lines.append(f'<path d="{path(geometry, panel)}" fill="{colour}" class="unit"/>')
    outlines = shapely.coverage_simplify(shapely.from_wkb([bytes(wkb) for (wkb,) in borders]), tolerance)
    lines += [f'<path d="{path(geometry, panel)}" class="border"/>' for geometry in outlines]
    return lines


def picture(panels: Sequence[Panel], connection: duckdb.DuckDBPyConnection) -> str:
    """Return the panels side by side as one SVG document."""
    gap, top = 30.0, 34.0
    width = sum(panel.width for panel in panels) + gap * (len(panels) + 1)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {HEIGHT}">',
        "<style>.title{font:600 15px system-ui,sans-serif;fill:#22303c}.unit{stroke:#fff;stroke-width:.25}"
        ".border{fill:none;stroke:#22303c;stroke-width:.7;stroke-linejoin:round}</style>",
        f'<rect width="{width:.0f}" height="{HEIGHT}" fill="#fff"/>',
    ]
    left = gap
    for panel in panels:
        lines += [f'<g transform="translate({left:.0f},{top:.0f})">', *draw(panel, connection), "</g>"]
        left += panel.width + gap
    return "\n".join([*lines, "</svg>"])


def main() -> None:
    """Write the picture."""
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(load().home / "warehouse.duckdb"), read_only=True) as connection:
        load_spatial(connection)
        OUTPUT.write_text(picture(PANELS, connection), encoding="utf-8")
    print(Path(OUTPUT).relative_to(PROJECT_ROOT))


if __name__ == "__main__":
    main()
