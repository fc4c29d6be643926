"""Put results into words, a table and a chart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def line(result: Mapping[str, Any]) -> str:
    """Return a result as a line."""
    if result["fault"]:
        return f"{result['title']:<55} {result['seconds']:8.1f} s   {result['fault']}"
    return (
        f"{result['title']:<55} {result['seconds']:8.1f} s {result['peak_bytes'] / 1e6:8.0f} MB "
        f"{result['bytes'] / 1e6 / result['seconds']:8.1f} MB/s {result['rows'] / result['seconds']:10,.0f} rows/s"
    )


def write(folder: Path, found: Mapping[str, Any]) -> None:
    """Write the results of a run as JSON, Markdown table and chart."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"scale-{found['scale']:g}"
    (folder / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
