"""Report results as text, table and chart, and compare them with the goals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

COLOURS = {
    "limit": "#6b7280",
    "ingest": "#0f766e",
    "build": "#b45309",
    "embedded": "#7c3aed",
    "peer": "#2563eb",
    "original": "#be123c",
}
MEMORY_BASE = 512e6

Found = Mapping[str, Any]


def line(result: Found) -> str:
    """Return a result as a line for the terminal."""
    if result["fault"]:
        return f"{result['title']:<50} {result['seconds']:8.1f} s   {result['fault']}"
    return (
        f"{result['title']:<50} {result['seconds']:8.1f} s {result['peak_bytes'] / 1e6:8.0f} MB "
        f"{result['bytes'] / 1e6 / result['seconds']:8.1f} MB/s {result['rows'] / result['seconds']:10,.0f} rows/s"
    )


def write(folder: Path, found: Found) -> None:
    """Write the results of a run: JSON, Markdown, and a chart.

    Parameters
    ----------
    folder : Path
        Takes ``scale-N.json``, ``scale-N.md`` and ``scale-N.svg``.
    found : mapping
        The results, from `benchmarks.run`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"scale-{found['scale']:g}"
    (folder / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
    tenth = folder / f"scale-{found['scale'] / 10:g}.json"
    smaller = json.loads(tenth.read_text()) if tenth.exists() else None
    (folder / f"{name}.md").write_text(markdown(found, smaller))
    chart(found, folder / f"{name}.svg")


def markdown(found: Found, smaller: Found | None) -> str:
    """Return the results as a Markdown page; ``smaller`` holds the results at a tenth of the size."""
    machine, results = found["machine"], found["results"]
    rows, size, heaviest = results[0]["rows"], _size(found) / 1e9, found["largest_geometry_bytes"] / 1e6
    lines = [
        f"Measured on {found['measured_on']} in one run of {found['minutes']} minutes: {rows:,} units, "
        f"{size:.2f} GB, heaviest geometry {heaviest:.0f} MB, on {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gib']} GiB.",
        "",
        "| way | seconds | peak memory of a process, MB | MB/s | rows/s |",
        "|---|---:|---:|---:|---:|",
    ]
    for result in results:
        if result["fault"]:
            lines.append(f"| {result['title']} | {result['seconds']:.1f} | {result['fault']} | | |")
            continue
        lines.append(
            f"| {result['title']} | {result['seconds']:.1f} | {result['peak_bytes'] / 1e6:.0f} "
            f"| {result['bytes'] / 1e6 / result['seconds']:.0f} | {result['rows'] / result['seconds']:,.0f} |"
        )
    lines += ["", "| goal | limit | result | |", "|---|---:|---:|---|"]
    for goal, wanted, value, is_met in goals(found, smaller):
        lines.append(f"| {goal} | {wanted} | {value} | {'met' if is_met else '**missed**'} |")
    return "\n".join(lines) + "\n"


def _at_most(goal: str, limit: float, value: float, unit: str = " ×") -> tuple[str, str, str, bool]:
    return goal, f"≤ {limit:.2f}{unit}", f"{value:.2f}{unit}", value <= limit


def goals(found: Found, smaller: Found | None) -> Iterator[tuple[str, str, str, bool]]:
    """Yield each goal that the results cover: its name, the limit, the result, and whether the goal is met."""
    took = _seconds(found)
    peaks = {result["name"]: result["peak_bytes"] for result in found["results"]}
    plain, checked = took.get("ingest-sedonadb-2-unchecked"), took.get("ingest-sedonadb-2")
    ogr, makevalid, parallel = (took.get(name) for name in ("ogr2ogr", "ogr2ogr-makevalid", "ogr2ogr-parallel"))

    def at_least(goal: str, limit: float, value: float) -> tuple[str, str, str, bool]:
        return goal, f"≥ {limit:.1f} ×", f"{value:.2f} ×", value >= limit

    if plain and (limit := took.get("server-alone")):
        yield _at_most("ingest without validation, compared with the server alone", 1.25, plain / limit)
    if plain and ogr:
        yield at_least("faster than `ogr2ogr` by default", 6, ogr / plain)
    if plain and parallel:
        yield at_least("faster than `ogr2ogr`, a process per core", 3, parallel / plain)
    if plain and checked and ogr and makevalid:
        yield _at_most(
            "what validation adds, compared with what `-makevalid` adds", 1, (checked - plain) / (makevalid - ogr)
        )
    if checked:
        wanted = (MEMORY_BASE + 2 * found["largest_geometry_bytes"]) / 1e6
        yield _at_most("memory of a worker", wanted, peaks["ingest-sedonadb-2"] / 1e6, " MB")
    if build := took.get("dbt-build"):
        yield _at_most("`dbt build`, from raw to tested marts", 60, build, " s")
        if checked and ogr:
            yield _at_most("file to tested marts, compared with `ogr2ogr` alone", 0.6, (checked + build) / ogr)
    if checked and (one := took.get("ingest-sedonadb-1")):
        yield at_least("two workers, compared with one", 1.7, one / checked)
    yield from _embedded_goals(found)
    if checked and smaller and (tenth := _seconds(smaller).get("ingest-sedonadb-2")):
        growth = checked / _size(found) / (tenth / _size(smaller))
        yield _at_most("cost of a byte, compared with a tenth of the size", 1.1, growth)


def _embedded_goals(found: Found) -> Iterator[tuple[str, str, str, bool]]:
    """Yield the goals of the embedded target."""
    took = _seconds(found)
    peaks = {result["name"]: result["peak_bytes"] for result in found["results"]}
    lake, marts, reading = (took.get(name) for name in ("embedded-ingest", "embedded-build", "duckdb-st-read"))
    if (unchecked := took.get("embedded-ingest-unchecked")) and reading:
        yield _at_most("embedded ingest without validation, compared with DuckDB's `st_read`", 1, unchecked / reading)
    if marts:
        yield _at_most("`dbt build` on DuckDB, from raw to tested marts", 50, marts, " s")
        yield _at_most("memory of `dbt build` on DuckDB", 4000, peaks["embedded-build"] / 1e6, " MB")
    if lake and reading:
        yield _at_most("embedded ingest, compared with DuckDB's `st_read`", 1, lake / reading)
        if marts:
            yield _at_most("embedded file to tested marts, compared with `st_read`", 2, (lake + marts) / reading)


def chart(found: Found, path: Path) -> None:
    """Draw a bar per way, the fastest on top."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    results = sorted((result for result in found["results"] if not result["fault"]), key=lambda item: -item["seconds"])
    figure, axes = plt.subplots(figsize=(9, 0.34 * len(results) + 1.1), layout="constrained")
    bars = axes.barh(
        [result["title"] for result in results],
        [result["seconds"] for result in results],
        color=[COLOURS[result["group"]] for result in results],
    )
    axes.bar_label(bars, [f"{result['seconds']:,.0f} s" for result in results], padding=4, fontsize=9)
    axes.set_title(
        f"{_size(found) / 1e9:.1f} GB of boundaries, {found['machine']['cores']} cores", loc="left", fontsize=11
    )
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_xlim(0, max((result["seconds"] for result in results), default=1) * 1.12)
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _seconds(found: Found) -> dict[str, float]:
    return {result["name"]: result["seconds"] for result in found["results"] if not result["fault"]}


def _size(found: Found) -> float:
    return float(found["results"][0]["bytes"]) if found["results"] else 1.0
