"""Show the results of the demo: row counts, queries with their answers, what changed between two releases, and where.

Run ``python scripts/show_demo.py`` after ``dbt build`` and ``BOUNDARIES=tiger dbt build`` on the embedded target.
"""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table

from admin_boundaries.duckdb_spatial import load_spatial
from ingest.cli import cli
from ingest.settings import PROJECT_ROOT, read_settings

SHOWN_ROWS = 8
MAP = "WAREHOUSE_TARGET=embedded .venv/bin/python -m ingest map"
POINT = ("-66.1", "18.4")  # in San Juan, which is below a country in one dataset and below a state in the other
DIVIDED = "Where has the ground of Valdez-Cordova, Alaska, and Fairfield, Connecticut, gone, and what share of it?"
CROSSWALK = """
select
    pairs.from_gid,
    before.from_name,
    pairs.to_gid,
    now.to_name,
    pairs.share_of_from,
    pairs.share_of_to
from {marts}.admin_unit_crosswalk as pairs
inner join {marts}.admin_unit_changes as before
    on pairs.from_gid = before.from_gid
    and before.unit_of <> 'to'
inner join {marts}.admin_unit_changes as now
    on pairs.to_gid = now.to_gid
    and now.unit_of <> 'from'
where pairs.admin_level = 2
    and pairs.from_gid in ('02261', '09001')
    and not pairs.is_sliver
order by pairs.from_gid, pairs.share_of_from desc
"""
COUNTS = """
select admin_level, rows_in_file, rows_staged, rows_in_mart, rows_set_aside
from {marts}.internal_level_counts
order by admin_level
"""


def show(console: Console, title: str, relation: duckdb.DuckDBPyRelation) -> None:
    """Print the first rows of a relation as a table."""
    rows = relation.fetchall()
    table = Table(*relation.columns, box=None, pad_edge=False, header_style="bold")
    for row in rows[:SHOWN_ROWS]:
        table.add_row(*map(shown, row))
    console.print(f"\n[bold]{title}[/]")
    console.print(table)
    if len(rows) > SHOWN_ROWS:
        console.print(f"… {len(rows) - SHOWN_ROWS} more rows")


def say(console: Console, title: str, *commands: tuple[str, ...]) -> None:
    """Print what commands of `ingest` print."""
    console.print(f"\n[bold]{title}[/]")
    for command in commands:
        console.print(f"$ python -m ingest {' '.join(command)}")
        cli.main(command, standalone_mode=False)


def shown(value: object) -> str:
    """Return a value as text for people."""
    return "" if value is None else f"{value:,.{0 if value >= 1 else 3}f}" if isinstance(value, float) else str(value)


def main() -> None:
    """Print the results of the demo."""
    settings = read_settings()
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, 120)
    with duckdb.connect(str(settings.warehouse), read_only=True) as connection:
        load_spatial(connection)
        counts = COUNTS.format(marts=settings.marts)
        show(console, "Rows in the file, staged, in the mart and set aside", connection.sql(counts))
        for path in sorted((PROJECT_ROOT / "docs" / "queries").glob("*.sql")):
            comment, _, query = path.read_text(encoding="utf-8").partition("\n")
            title = f"{comment.removeprefix('-- ')}  ({path.relative_to(PROJECT_ROOT)})"
            show(console, title, connection.sql(query.replace("marts.", f"{settings.marts}.")))
    changes = ("changes", "tiger", "--type", "split", "--type", "reshaped")
    say(console, "What changed in the United States from 2017 to 2023?", changes)
    of_tiger = read_settings({**os.environ, "BOUNDARIES": "tiger"})
    with duckdb.connect(str(of_tiger.warehouse), read_only=True) as connection:
        show(console, DIVIDED, connection.sql(CROSSWALK.format(marts=of_tiger.marts)))
    locate = [("locate", *options, *POINT) for options in ((), ("--dataset", "tiger"))]
    say(console, "Where is a point, in the default dataset and in one in the public domain?", *locate)
    console.print(f"\nwarehouse  {_shown(settings.warehouse)}")
    console.print(f"docs       {_shown(PROJECT_ROOT / 'target' / 'static_index.html')}")
    console.print(f"map        {MAP}  serves it at http://127.0.0.1:5556/map/")


def _shown(path: Path) -> str:
    return str(path.relative_to(PROJECT_ROOT) if path.is_relative_to(PROJECT_ROOT) else path)


if __name__ == "__main__":
    main()
