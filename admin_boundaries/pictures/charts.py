"""Draw a chart of the counts."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from admin_boundaries.pictures import style
from admin_boundaries.warehouse import Warehouse

WIDTH = 9.0
MOST_COUNTRIES = 10
BAR, SPACE = 0.24, 1.3  # inches: one bar, and everything but the bars
LEVEL_COLOURS = ("#22303c", "#2f6f8f", "#58a6c4", "#9ccfe0", "#ffd166", "#f4a261")


def counts(warehouse: Warehouse) -> Figure:
    """Draw the number of units of each level, and the levels of the countries with most units.

    Parameters
    ----------
    warehouse : Warehouse
        The warehouse to read.
    """
    levels = warehouse.rows(
        "select admin_level, rows_in_mart, rows_set_aside "  # noqa: S608  it contains no value
        f"from {warehouse.marts}.internal_level_counts order by admin_level"
    )
    countries = warehouse.rows(
        "select country_gid, coalesce(max(country_name), country_gid), sum(unit_count) as units "  # noqa: S608
        f"from {warehouse.marts}.internal_country_counts group by country_gid order by units desc, country_gid"
    )[:MOST_COUNTRIES]
    bars = max(len(levels), len(countries), 4)
    figure = style.canvas(WIDTH, bars * BAR + SPACE)
    total, aside = (int(sum(row[at] or 0 for row in levels)) for at in (1, 2))
    kept = (
        f"{aside:,} rows of the file are set aside, each with its reason" if aside else "every row of the file is kept"
    )
    style.title(figure, f"{total:,} units", kept)
    height = figure.get_figheight()
    bottom, tall = 0.25 / height, (height - SPACE) / height
    left = figure.add_axes((0.085, bottom, 0.30, tall))
    _bars(left, [f"Level {level}" for level, *_ in levels], [[int(row[1] or 0) for row in levels]], LEVEL_COLOURS[1:2])
    right = figure.add_axes((0.60, bottom, 0.33, tall))
    by_level = []
    for level in range(6):
        counts = f"{warehouse.marts}.internal_country_counts"
        query = f"select country_gid, unit_count from {counts} where admin_level = ?"  # noqa: S608
        found = dict(warehouse.rows(query, [level]))
        by_level.append([int(found.get(gid) or 0) for gid, *_ in countries])
    _bars(right, [_short(name) for _, name, _ in countries], by_level, LEVEL_COLOURS)
    _legend(figure)
    return figure


def _bars(axes: Axes, names: list[str], parts: list[list[int]], colours: tuple[str, ...]) -> None:
    """Draw stacked horizontal bars, the first on top, each labelled with its sum."""
    starts = [0] * len(names)
    for values, colour in zip(parts, colours, strict=True):
        axes.barh(names, values, left=starts, color=colour, height=0.72)
        starts = [start + value for start, value in zip(starts, values, strict=True)]
    longest = max([*starts, 1])
    for place, value in enumerate(starts):
        axes.text(value + longest * 0.02, place, f"{value:,}", va="center", size=8, color=style.INK)
    axes.set_xlim(0, longest * 1.02)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0, labelsize=8)
    for name in ("top", "right", "bottom"):
        axes.spines[name].set_visible(False)
    axes.spines["left"].set_color(style.LINE)


def _legend(figure: Figure) -> None:
    height = figure.get_figheight()
    at = 0.60
    for level, colour in enumerate(LEVEL_COLOURS):
        figure.text(at, 1 - 0.62 / height, "■", color=colour, size=9, va="center")
        figure.text(at + 0.016, 1 - 0.62 / height, str(level), size=8, va="center", color=style.QUIET)
        at += 0.038
    figure.text(0.60, 1 - 0.36 / height, "Countries with most units, by level", size=9, weight="bold", va="center")


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
