"""Compare two releases of a generated world, of which it is known what changed, with what dbt says of them.

    python -m benchmarks.changes --scale 1 --results benchmarks/results
    python -m benchmarks.changes --scale 1 --all-differ --results benchmarks/results
    python -m benchmarks.changes --peer --results benchmarks/results

`benchmarks.next_release` makes the releases. Both are loaded, and the marts are built, in an embedded warehouse of its
own; then each model that compares them is run once more by itself, for its time and memory. With `--all-differ`, every
border is digitised anew. With `--peer`, the counties of the sample's two editions are compared by `topo-tools` as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from admin_boundaries.duckdb_spatial import load_spatial
from benchmarks import next_release
from benchmarks.generate import write_world
from benchmarks.measure import Cost, machine, run
from ingest.settings import PROJECT_ROOT

MODELS = ("int_units_before", "int_units_now", "int_unit_overlaps", "admin_unit_changes", "admin_unit_crosswalk")
RELEASES = ("3.6", "4.1")
SECONDS = 7200.0
SHOWN = 5  # of the misses of a kind
TOLERANCE = 1e-6
PEER = "topo-tools==0.18.0"
CHANGES = "select unit_of, from_gid, to_gid, change_type, name_change, border_change from {marts}.admin_unit_changes"
SUMS = """
    select count(*), count(*) filter (abs(share - 1) > {tolerance}), max(abs(share - 1))
    from (
        select sum(share_of_{side}) as share
        from {marts}.admin_unit_crosswalk
        where {side}_gid is not null
            and admin_level = {side}_level
        group by {side}_gid
    ) as units
"""


def environment(folder: Path, boundaries: str) -> dict[str, str]:
    """Return the environment of an embedded warehouse in a folder."""
    return {
        **os.environ,
        **{"WAREHOUSE_TARGET": "embedded", "WAREHOUSE_HOME": str(folder / "home"), "BOUNDARIES": boundaries},
        **{"DBT_TARGET_PATH": str(folder / "target"), "DBT_LOG_PATH": str(folder / "logs")},
    }


def step(command: list[str], env: dict[str, str], folder: Path) -> Cost:
    """Run a command to its end; leave with what it printed if it fails."""
    cost = run(command, env, PROJECT_ROOT, folder / "log", SECONDS)
    if cost.exit_code:
        sys.exit(cost.output)
    return cost


def measure(folder: Path, scale: float, share: float, *, all_differ: bool) -> dict[str, Any]:
    """Make both releases, load and build them, and compare what came out with what is known."""
    env = environment(folder, "gadm")
    releases = next_release.make(scale, share, all_differ=all_differ)
    counts = []
    for release, made in zip(RELEASES, (releases.before, releases.now), strict=True):
        path = folder / "world.gpkg"
        counts.append(sum(write_world(path, made).values()))
        step([sys.executable, "-m", "ingest", "gadm", f"--source={path}", "--release", release], env, folder)
        path.unlink()
    build = ["dbt", "build", "--resource-type", "model", "--resource-type", "seed", "--select"]
    step([*build, *(f"+{model}" for model in MODELS)], env, folder)
    costs = {}
    for model in MODELS:
        cost = step(["dbt", "run", "--select", model], env, folder)
        costs[model] = {"seconds": _seconds(folder, model), "peak_bytes": cost.peak_bytes}
    with duckdb.connect(str(folder / "home" / "warehouse.duckdb"), read_only=True) as marts:
        changes = marts.execute(CHANGES.format(marts="marts")).df().astype(object)
        sums = {
            side: marts.execute(SUMS.format(marts="marts", side=side, tolerance=TOLERANCE)).fetchone()
            for side in ("from", "to")
        }
    return {
        "scale": scale,
        "all_differ": all_differ,
        "units": counts,
        "planted": releases.planted,
        "costs": costs,
        "sums": sums,
        **_compared(releases, changes.where(changes.notna(), None)),
    }


def _seconds(folder: Path, model: str) -> float:
    results = json.loads((folder / "target" / "run_results.json").read_text(encoding="utf-8"))["results"]
    return sum(float(each["execution_time"]) for each in results if each["unique_id"].endswith(f".{model}"))


def _compared(releases: next_release.Releases, changes: pd.DataFrame) -> dict[str, Any]:
    """Set the changes against what is known: which are found, missed, or invented."""
    found: dict[next_release.Row, str] = {}
    for row in changes.itertuples(index=False):
        own = (row.from_gid if row.unit_of != "to" else None, row.to_gid if row.unit_of != "from" else None)
        found[row.unit_of, *own] = row.change_type
    kinds: Counter[tuple[str, str]] = Counter()
    wrong: dict[str, list[str]] = {}
    for key, kind in {**dict.fromkeys(found, "kept"), **releases.truth}.items():
        said = found.get(key, "no row")
        kinds[kind, said] += 1
        if said != kind:
            wrong.setdefault(f"{kind}, said to be {said}", []).append(" > ".join(name or "" for name in key[1:]))
    names = dict(zip(changes["to_gid"], changes["name_change"], strict=True))
    return {
        "kinds": [[kind, said, count] for (kind, said), count in sorted(kinds.items())],
        "wrong": {what: sorted(keys) for what, keys in sorted(wrong.items())},
        "names_told_wrong": sum(names.get(key) != how for key, how in releases.names.items()),
        "borders": changes[changes["unit_of"] == "both"]["border_change"].value_counts().to_dict(),
    }


def report(found: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    here = machine()
    units = " and ".join(f"{count:,}" for count in found["units"])
    planted = ", ".join(f"{count:,} {kind}" for kind, count in found["planted"].items())
    borders = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found["borders"].items()))
    right = sum(count for kind, said, count in found["kinds"] if kind == said != "kept")
    missed = sum(count for kind, said, count in found["kinds"] if kind not in (said, "kept"))
    invented = sum(count for kind, said, count in found["kinds"] if kind == "kept" != said)
    lines = [
        "# Changes between two releases",
        "",
        f"Two generated releases of {units} units (scale {found['scale']:g}), on {here['cores']} cores "
        f"({here['processor']}), {here['memory_gib']} GiB, target `embedded`.",
        f"Planted: {planted}.",
        f"Borders of the units in both: {borders}.",
        "",
        f"{right:,} rows of `admin_unit_changes` tell a planted change, {missed:,} miss one, {invented:,} invent one; "
        f"{found['names_told_wrong']:,} of the new names are told wrongly.",
        "",
        "| what it is | what is said | rows |",
        "|---|---|---:|",
        *(f"| {kind} | {said} | {count:,} |" for kind, said, count in found["kinds"]),
        "",
        "| model | seconds | peak memory of dbt, MB |",
        "|---|---:|---:|",
        *(f"| `{name}` | {cost['seconds']:,.1f} | {cost['peak_bytes'] / 1e6:,.0f} |" for name, cost in found["costs"].items()),
        f"| together | {sum(cost['seconds'] for cost in found['costs'].values()):,.1f} | "
        f"{max(cost['peak_bytes'] for cost in found['costs'].values()) / 1e6:,.0f} |",
        "",
        *(
            f"Shares of {count:,} units of the release {'before' if side == 'from' else 'now'}: {off:,} do not add up "
            f"to 1 within {TOLERANCE:g}; the furthest is off by {worst:.1e}."
            for side, (count, off, worst) in found["sums"].items()
        ),
    ]
    if found["wrong"]:
        lines += ["", "Told wrongly, for example:", ""]
        lines += [f"- {what} ({len(keys):,}): {', '.join(keys[:SHOWN])}" for what, keys in found["wrong"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write a file of results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the whole world (default: 1)")
    parser.add_argument("--share", type=float, default=0.05, help="of all units, how many change (default: 0.05)")
    parser.add_argument("--all-differ", action="store_true", help="digitise every border anew")
    parser.add_argument("--folder", type=Path, help="where to work, and to leave the warehouse")
    parser.add_argument("--results", type=Path, help="folder for the report")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        text = report(measure(folder, options.scale, options.share, all_differ=options.all_differ))
    print(text)
    if options.results:
        file = "changes-all-differ.md" if options.all_differ else "changes.md"
        (options.results / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
