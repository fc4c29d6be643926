"""Compare two releases of a generated world, of which it is known what changed, with what dbt says of them.

    python -m benchmarks.changes --scale 1 --results benchmarks/results
    python -m benchmarks.changes --scale 1 --all-differ --results benchmarks/results
    python -m benchmarks.changes --peer --results benchmarks/results

`benchmarks.next_release` makes the releases. Both are loaded, and the marts are built, in an embedded warehouse of its
own; then each model that compares them is run once more by itself, for its time and memory. With `--all-differ`, every
border is digitised anew. With `--peer`, the counties of the sample's two editions are compared, by us and by the PyPI
package `topo-tools`, which is installed for the time of the benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
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

UNITS = ("int_units_before", "int_units_now")
AREAS = ("int_areas_before", "int_areas_now")
MODELS = (*UNITS, "int_unit_overlaps", "admin_unit_changes", "admin_unit_crosswalk")
RELEASES = ("3.6", "4.1")
SECONDS = 7200.0
SHOWN = 5  # of the misses of a kind
MANY = 20
WHO_IS_RIGHT = """\
Between the two editions, the Census Bureau lists two changes of counties: Valdez–Cordova (02261) became Chugach (02063)
and Copper River (02066), and the eight counties of Connecticut gave way to nine planning regions. Both are found by
either. What they call modified elsewhere are borders that were drawn anew, with an intersection below 0.98 of the
union: small counties (Covington, 51580, has 0.40), or coasts. Where a border moved by less than its vertices are apart,
we say kept. The border of Haines and Juneau (02100, 02110) is drawn 9 km from where it was, which both call a change;
the files do not say why. In Connecticut, they judge pair by pair: a county is `split` where regions have 0.8 of their
ground from it, else `modified`, and Naugatuck Valley (09140), made of parts of three counties, is `created`. All of
these are one knot, which we call complex; what went where is in the shares.
"""
SAME_LABELS = {
    **{"kept": "unchanged", "renamed": "renamed", "re-keyed": "renamed", "moved": "unchanged", "reshaped": "modified"},
    **{"split": "split", "merged": "merge", "complex": "complex", "new": "created", "gone": "removed"},
}
TOLERANCE = 1e-6
# It asks for a newer DuckDB, whose spatial extension no package has: it would be downloaded from elsewhere.
PEER = ("topo-tools==0.18.0", "click", "psutil", "numpy")
DUCKDB_OF_PEER = ("duckdb==1.5.5", "duckdb-extensions==1.5.5", "duckdb-extension-spatial==1.5.5")
EXTENSION = "from duckdb_extensions import import_extension; import_extension('spatial')"
COUNTIES = 2
COLUMNS = tuple(f"--{what}-column-{side}={name}" for what, name in (("code", "gid"), ("name", "name")) for side in "ab")
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


def build_and_measure(env: dict[str, str], folder: Path) -> dict[str, dict[str, float]]:
    """Build what the comparison needs, then each of its models by itself; return what these cost."""
    build = ["dbt", "build", "--resource-type", "model", "--resource-type", "seed", "--select"]
    step([*build, *(f"+{model}" for model in UNITS), "--exclude", *UNITS], env, folder)
    costs = {}
    for model in MODELS:
        if model == "int_unit_overlaps":
            step(["dbt", "run", "--select", *AREAS], env, folder)  # views
        cost = step(["dbt", "run", "--select", model], env, folder)
        costs[model] = {"seconds": _seconds(folder, model), "peak_bytes": cost.peak_bytes}
    return costs


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
    costs = build_and_measure(env, folder)
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
    columns = (changes[name] for name in ("unit_of", "from_gid", "to_gid", "change_type"))
    for unit_of, from_gid, to_gid, kind in zip(*columns, strict=True):
        own = from_gid if unit_of != "to" else None, to_gid if unit_of != "from" else None
        found[str(unit_of), *own] = str(kind)
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
        *(
            f"| `{name}` | {cost['seconds']:,.1f} | {cost['peak_bytes'] / 1e6:,.0f} |"
            for name, cost in found["costs"].items()
        ),
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


def with_peer(folder: Path) -> str:
    """Compare the counties of the sample's editions, by us and by the peer, and return both as Markdown."""
    env = environment(folder, "tiger")
    for release in ("sample", "sample-2023"):
        step([sys.executable, "-m", "ingest", "tiger", "--release", release], env, folder)
    costs = build_and_measure(env, folder)
    with duckdb.connect(str(folder / "home" / "warehouse_tiger.duckdb"), read_only=True) as marts:
        load_spatial(marts)
        for side in ("before", "now"):
            marts.execute(
                f"copy (select units.gid, units.name, areas.geom as geometry from intermediate_tiger.int_units_{side} "
                f"as units inner join intermediate_tiger.int_areas_{side} as areas using (gid) "
                f"where units.admin_level = {COUNTIES}) to '{folder / side}.parquet' (format parquet)"
            )
        ours = marts.execute(
            "select unit_of, from_gid, to_gid, change_type, is_reshaped from marts_tiger.admin_unit_changes "
            f"where admin_level = {COUNTIES}"
        ).df()
    cost, theirs = _peer(folder)
    return report_of_peer(costs, cost, *_labels(ours, theirs))


def _peer(folder: Path) -> tuple[Cost, pd.DataFrame]:
    """Install the peer, run it on both files, and return what it cost and what it found."""
    home = folder / "peer"
    venv.create(home, with_pip=True)
    python = str(home / "bin" / "python")
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {"HOME": str(home)}
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps"]
    for command in ([*install, *PEER, *DUCKDB_OF_PEER], [python, "-c", EXTENSION]):
        step(command, env, folder)
    files = [str(folder / f"{name}.parquet") for name in ("before", "now")]
    options = ["--link-by-code", *COLUMNS]
    cost = step([str(home / "bin" / "topo-tools"), "change", *files, str(folder / "peer.csv"), *options], env, folder)
    return cost, pd.read_csv(folder / "peer.csv", dtype=str, encoding="utf-8-sig")


def _labels(ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what both say of each county of either release, counted, and those of which they say different things."""
    own = []
    for side, code in (("from", "code_a"), ("to", "code_b")):
        mine = ours[ours["unit_of"].isin(["both", side])].rename(columns={f"{side}_gid": "gid"})
        said = (
            theirs.dropna(subset=code)
            .groupby(code)["relationship_class"]
            .agg(lambda labels: ", ".join(sorted({*labels})))
        )
        own.append(pd.DataFrame({"side": side, "gid": mine["gid"], "ours": mine["change_type"]}))
        own[-1]["theirs"] = own[-1]["gid"].map(said).fillna("not listed")
    both = pd.concat(own)
    counted = both.groupby(["ours", "theirs"]).size().reset_index(name="counties")
    return counted, both[both["ours"].map(SAME_LABELS) != both["theirs"]]


def report_of_peer(
    costs: dict[str, dict[str, float]], cost: Cost, counted: pd.DataFrame, differing: pd.DataFrame
) -> str:
    """Return both results as Markdown."""
    here = machine()
    seconds, peak = sum(each["seconds"] for each in costs.values()), max(each["peak_bytes"] for each in costs.values())
    lines = [
        "# Counties of 2017 and of 2023: us and topo-tools",
        "",
        f"Both editions of the sample's counties, on {here['cores']} cores ({here['processor']}), "
        f"{here['memory_gib']} GiB. {PEER[0]} with {DUCKDB_OF_PEER[0]}.",
        "",
        "| | seconds | peak memory, MB |",
        "|---|---:|---:|",
        f"| our models, all levels | {seconds:,.1f} | {peak / 1e6:,.0f} |",
        f"| `topo-tools change --link-by-code`, counties | {cost.seconds:,.1f} | {cost.peak_bytes / 1e6:,.0f} |",
        "",
        "What is said of each county of either edition (one that both have is counted twice):",
        "",
        "| ours | theirs | counties |",
        "|---|---|---:|",
        *(f"| {ours} | {theirs} | {count:,} |" for ours, theirs, count in counted.itertuples(index=False)),
        "",
        WHO_IS_RIGHT,
        "Counties of which the two say different things:",
        "",
    ]
    for (said, by_them), group in differing.groupby(["ours", "theirs"]):
        keys = sorted(set(group["gid"]))
        shown = ", ".join(keys[:MANY]) + (" …" if len(keys) > MANY else "")
        lines.append(f"- {said}, they say {by_them} ({len(keys):,}): {shown}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write a file of results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the whole world (default: 1)")
    parser.add_argument("--share", type=float, default=0.05, help="of all units, how many change (default: 0.05)")
    parser.add_argument("--all-differ", action="store_true", help="digitise every border anew")
    parser.add_argument("--peer", action="store_true", help="compare with topo-tools instead, on the sample's counties")
    parser.add_argument("--folder", type=Path, help="where to work, and to leave the warehouse")
    parser.add_argument("--results", type=Path, help="folder for the report")
    options = parser.parse_args()
    if options.results:
        options.results.mkdir(parents=True, exist_ok=True)  # now, since the end is minutes or an hour away
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        if options.peer:
            file, text = "changes-peer.md", with_peer(folder)
        else:
            file = "changes-all-differ.md" if options.all_differ else "changes.md"
            text = report(measure(folder, options.scale, options.share, all_differ=options.all_differ))
    print(text)
    if options.results:
        (options.results / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
