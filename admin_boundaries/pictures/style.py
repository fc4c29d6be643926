"""The look of the pictures: colours, fonts and canvas."""

from __future__ import annotations

import colorsys

import matplotlib as mpl
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

INK, QUIET, FAINT, LINE = "#22303c", "#5c6b77", "#a3b1bb", "#c9d3da"
GROUND, SEA, LAND = "#ffffff", "#eef3f6", "#dde4e9"
PALETTE = (
    *("#8ecae6", "#ffd166", "#95d5b2", "#f4a261", "#cdb4db", "#f28482"),
    *("#a3b18a", "#84a9c0", "#e9c46a", "#bde0fe", "#d4a373", "#b8c0ff"),
)
OFFSETS = (-12, 14)  # hours ahead of UTC, of all zones
DOTS_PER_INCH = 180

mpl.rcParams.update(
    {
        "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
        "text.color": INK,
        "axes.labelcolor": QUIET,
        "xtick.color": QUIET,
        "ytick.color": INK,
        "svg.hashsalt": "admin-boundaries",  # the same data give the same file
        "path.simplify": True,
        "path.simplify_threshold": 0.3,
    }
)


def of_offset(minutes: int) -> str:
    """Return the colour of an offset from UTC: around the circle of hues, once from the first offset to the last.

    Parameters
    ----------
    minutes : int
        How far ahead of UTC.
    """
    first, last = OFFSETS
    hue = (minutes / 60 - first) / (last - first + 1)
    lightness = 0.74 if minutes // 60 % 2 else 0.82  # hours beside each other can be told apart
    return to_hex(colorsys.hls_to_rgb(hue, lightness, 0.62))


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure.

    Parameters
    ----------
    width, height : float
        In inches.
    """
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor=GROUND)


def title(figure: Figure, text: str, below: str, *, top: float = 0.0) -> None:
    """Write the title of a picture, and a less prominent line below it."""
    height = figure.get_figheight()
    figure.text(0.25 / figure.get_figwidth(), 1 - (0.36 + top) / height, text, size=13, weight="bold", va="center")
    figure.text(0.25 / figure.get_figwidth(), 1 - (0.62 + top) / height, below, size=8.5, color=QUIET, va="center")


def source(figure: Figure, text: str) -> None:
    """Write the source of the data at the foot of a picture."""
    figure.text(
        1 - 0.25 / figure.get_figwidth(),
        0.14 / figure.get_figheight(),
        text,
        size=6.5,
        color=QUIET,
        ha="right",
        va="center",
    )
