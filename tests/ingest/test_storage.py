"""How the embedded target stores geometry: the profile as it is in the repository, on a large row group."""

from __future__ import annotations

from pathlib import Path

import duckdb
import yaml

from admin_boundaries.duckdb_spatial import load_spatial
from tests.conftest import ROOT

PROFILE = ROOT / "profiles" / "profiles.yml"
ROWS = 40_000  # DuckDB takes geometry apart in row groups of 30,000 rows and more


def test_geometry_stays_in_one_column_uncompressed(tmp_path: Path) -> None:
    """Else the build takes half as long again, and a point four times as long."""
    profile = yaml.safe_load(PROFILE.read_text())["admin_boundaries"]["outputs"]["embedded"]
    options = {name: value for name, value in profile["config_options"].items() if name != "memory_limit"}
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), config=options) as connection:
        load_spatial(connection)
        connection.execute("create table parts (geom geometry('EPSG:4326') using compression uncompressed)")
        connection.execute(
            "insert into parts select st_setcrs(st_multi(st_makeenvelope(i, 0, i + 1, 1)), 'EPSG:4326') "
            f"from range({ROWS}) as numbers (i)"
        )
        connection.execute("checkpoint")
        stored = connection.execute(
            "select distinct segment_type, compression from pragma_storage_info('parts') "
            "where segment_type <> 'VALIDITY'"
        ).fetchall()
    assert stored == [("GEOMETRY('EPSG:4326')", "Uncompressed")]
