"""Draw pictures of the marts: maps, a chart of the counts, a diagram of the tables."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from admin_boundaries import edition
from admin_boundaries.pictures import charts, entities, maps
from admin_boundaries.pictures.page import finish
from admin_boundaries.warehouse import known_marts, open_warehouse
from ingest.errors import MartsMissing, UsageError
from ingest.settings import Settings

__all__ = ["draw", "finish", "save"]

COUNTS = ("internal_level_counts", "internal_country_counts")
NEEDED = (*(f"admin_level_{level}" for level in range(6)), "timezones", *COUNTS)
COLOURS = 128  # of a map; more would look the same


def draw(
    settings: Settings, folder: Path, manifest: Path, report: Callable[[str], None], warn: Callable[[str], None]
) -> list[Path]:
    """Draw every picture of a warehouse.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset.
    folder : Path
        Folder for the files; created if it does not exist.
    manifest : Path
        dbt's description of its models, ``target/manifest.json``.
    report : callable
        Called with a line of text for each picture.
    warn : callable
        Called with a sentence for each dataset whose marts are stale.

    Returns
    -------
    list of Path
        ``level_N.png``, ``timezones.png``, ``counts.svg`` and ``entities.svg``, each below 300 kB. There is none of a
        level that has no units, nor of time zones if none are loaded.

    Raises
    ------
    UsageError
        When there is no manifest.
    MartsMissing
        When the marts have not been built, or only in part.
    """
    try:
        known = json.loads(manifest.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"There is no {manifest}.", f"Run `{settings.build_command}`, which writes it.") from error
    folder.mkdir(parents=True, exist_ok=True)
    with open_warehouse(settings) as warehouse:
        present = known_marts(warehouse)
        missing = [name for name in NEEDED if name not in present]
        if missing:
            raise MartsMissing(f"The marts lack {', '.join(missing)}.", f"Run `{settings.build_command}`.")
        for fault in edition.faults(warehouse.editions()):
            warn(fault)
        drawn: dict[str, Callable[[], Figure | None]] = {
            **{f"level_{level}.png": partial(maps.level, warehouse, present, level) for level in range(6)},
            "timezones.png": partial(maps.timezones, warehouse, present),
            "counts.svg": partial(charts.counts, warehouse),
            "entities.svg": partial(entities.diagram, known),
        }
        written = []
        for name, make in drawn.items():
            path = folder / name
            figure = make()
            if figure is None:  # there is nothing to draw, and a picture of before would be of something else
                path.unlink(missing_ok=True)
                continue
            save(figure, path)
            report(f"{path}  {path.stat().st_size / 1e3:,.0f} kB")
            written.append(path)
    return written


def save(figure: Figure, path: Path) -> None:
    """Save a figure in a small file, which is the same whenever the data are."""
    if path.suffix == ".svg":
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        return
    drawing = io.BytesIO()
    figure.savefig(drawing, format="png", dpi=figure.dpi, metadata={"Software": None})
    with Image.open(drawing) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
