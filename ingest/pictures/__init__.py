"""Pictures made from the marts: maps, a chart of the counts, a diagram of the tables."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from ingest import marts
from ingest.errors import UsageError
from ingest.pictures import charts, entities, maps
from ingest.settings import Settings

FOLDER = "docs/images"  # as the overview of the docs site and the README name it
COLOURS = 128  # of a map; more cannot be told apart
MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


def draw(settings: Settings, folder: Path, manifest: Path, report: Callable[[str], None]) -> list[Path]:
    """Draw every picture of a warehouse.

    Parameters
    ----------
    settings : Settings
        Of the target.
    folder : Path
        Where the files go; it is made where it is missing.
    manifest : Path
        What dbt knows of its models, ``target/manifest.json``.
    report : callable
        Is given a line for each picture.

    Returns
    -------
    list of Path
        ``level_N.png``, ``timezones.png``, ``counts.svg`` and ``entities.svg``, each below 300 kB.

    Raises
    ------
    UsageError
        When there is no manifest.
    TargetUnavailable
        When there are no marts.
    """
    try:
        known = json.loads(manifest.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"There is no {manifest}.", "`dbt build` or `dbt docs generate` writes it.") from error
    folder.mkdir(parents=True, exist_ok=True)
    with marts.opened(settings) as opened:
        present = marts.find(opened)
        drawn: dict[str, Callable[[], Figure]] = {
            **{f"level_{level}.png": partial(maps.level, opened, present, level) for level in range(6)},
            "timezones.png": partial(maps.timezones, opened, present),
            "counts.svg": partial(charts.counts, opened),
            "entities.svg": partial(entities.diagram, known),
        }
        written = []
        for name, make in drawn.items():
            path = folder / name
            _write(make(), path)
            report(f"{path}  {path.stat().st_size / 1e3:,.0f} kB")
            written.append(path)
    return written


def embed(page: Path, pictures: list[Path]) -> None:
    """Put pictures into a docs page in place of their addresses, so that it is whole in one file.

    Parameters
    ----------
    page : Path
        ``target/static_index.html``, as ``dbt docs generate --static`` writes it.
    pictures : list of Path
        The files; the page names them as ``docs/images/<name>``.

    Raises
    ------
    UsageError
        When there is no such page, or it names none of them.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"There is no page {page}.", "`dbt docs generate --static` writes it.") from error
    by_name = {path.name: path for path in pictures}
    address = re.compile(rf"{FOLDER}/({'|'.join(map(re.escape, by_name))})")
    text, count = address.subn(lambda match: _data_uri(by_name[match[1]]), text)
    if not count:
        raise UsageError(f"{page} names none of the pictures.", "`dbt docs generate --static` writes it anew.")
    draft = page.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(page)


def _data_uri(path: Path) -> str:
    return f"data:{MEDIA_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _write(figure: Figure, path: Path) -> None:
    """Save a figure as small as it goes, and the same for the same data."""
    if path.suffix == ".svg":
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        return
    drawing = io.BytesIO()
    figure.savefig(drawing, format="png", dpi=figure.dpi, metadata={"Software": None})
    with Image.open(drawing) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
