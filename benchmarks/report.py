"""Report results as text, table and chart, and compare them with the goals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Whose way it is, by the group of a result, and in which colour its bar is.
WHOSE = {
    "ingest": ("this project on PostGIS", "#2f6f8f"),
    "embedded": ("this project on DuckDB", "#58a6c4"),
    "peer": ("other tools", "#f4a261"),
    "original": ("the system before it", "#cdb4db"),
    "limit": ("the server alone", "#a3b1bb"),
}
BUILDS = {"dbt-build": "ingest", "embedded-build": "embedded"}  # results that are no loads, and their group
OF_PEER = ("duckdb-st-read",)  # results of the embedded group that are others' ways
CHART_WIDTH, BAR, LABELS = 9.0, 0.25, 3.1  # inches
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
    """Draw a bar per way to load and per way to build, the fastest on top."""
    from admin_boundaries.pictures import style

    results = sorted((result for result in found["results"] if not result["fault"]), key=lambda each: each["seconds"])
    parts = [
        ("Loads", [result for result in results if result["name"] not in BUILDS]),
        ("Builds, from raw to tested marts", [result for result in results if result["name"] in BUILDS]),
    ]
    heights = [len(those) * BAR for _, those in parts]
    figure = style.canvas(CHART_WIDTH, sum(heights) + 0.42 * len(parts) + 1.15)
    cores = found["machine"]["cores"]
    style.title(figure, f"{_size(found) / 1e9:.1f} GB of boundaries", f"Seconds on {cores} cores; shorter is better")
    high, at = figure.get_figheight(), 1.15
    longest = max((result["seconds"] for result in results), default=1)
    for (heading, those), tall in zip(parts, heights, strict=True):
        if not those:
            continue
        figure.text(0.25 / CHART_WIDTH, 1 - (at + 0.1) / high, heading, size=9, weight="bold", va="center")
        place = (LABELS / CHART_WIDTH, 1 - (at + 0.28 + tall) / high, 1 - (LABELS + 0.25) / CHART_WIDTH, tall / high)
        axes = figure.add_axes(place)
        for number, result in enumerate(those):
            axes.barh(number, result["seconds"], color=WHOSE[_whose(result)][1], height=0.72)
            text = f"{result['seconds']:,.0f} s"
            axes.text(result["seconds"] + longest * 0.01, number, text, va="center", size=8, color=style.INK)
        axes.set(xlim=(0, longest * 1.09), ylim=(len(those) - 0.5, -0.5), xticks=[], yticks=range(len(those)))
        axes.set_yticklabels([result["title"] for result in those], size=8)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.spines["left"].set_color(style.LINE)
        at += tall + 0.42
    left = 0.25
    for group in [group for group in WHOSE if any(_whose(result) == group for result in results)]:
        title, colour = WHOSE[group]
        figure.text(left / CHART_WIDTH, 1 - 0.9 / high, "■", color=colour, size=9, va="center")
        figure.text((left + 0.16) / CHART_WIDTH, 1 - 0.9 / high, title, size=8, va="center", color=style.QUIET)
        left += 0.45 + 0.068 * len(title)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def _whose(result: Found) -> str:
    """Return the group of a result in the chart."""
    return "peer" if result["name"] in OF_PEER else BUILDS.get(result["name"], str(result["group"]))


def _seconds(found: Found) -> dict[str, float]:
    return {result["name"]: result["seconds"] for result in found["results"] if not result["fault"]}


def _size(found: Found) -> float:
    return float(found["results"][0]["bytes"]) if found["results"] else 1.0
