"""dbt-duckdb plugin: opens the right file, loads the spatial extension, and adds the functions that models need.

``profiles/profiles.yml`` names this module; dbt-duckdb calls it once per DuckDB instance and once per cursor. dbt's own
connection is to an empty database in memory, to which the warehouse is attached: in a command that builds, the file of
a new edition (see `admin_boundaries.duckdb_edition`), in any other, the published file, read-only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.flags import get_flags
from duckdb import DuckDBPyConnection

from admin_boundaries.cutting import cut_polygon
from admin_boundaries.dbt_command import BUILDING, is_whole
from admin_boundaries.duckdb_edition import Edition
from admin_boundaries.duckdb_spatial import load_spatial


class Plugin(BasePlugin):
    """Attaches the warehouse, loads the packaged spatial extension and registers functions."""

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:
        """Have dbt connect to memory; DuckDB spills into the folder of the build.

        A relative path begins in the project, as it does for `ingest`, and not where dbt is called.
        """
        project = Path(getattr(get_flags(), "PROJECT_DIR", None) or ".").absolute()  # type: ignore[no-untyped-call]
        # once dbt has closed all connections, it comes here again, with credentials that lead to memory
        self._edition: Edition = vars(creds).setdefault("edition", Edition(project / creds.path))
        creds.path = ":memory:"
        config["temp_directory"] = str(self._edition.file.parent / "tmp")

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Attach the warehouse, load the extension and register the functions.

        Parameters
        ----------
        conn : DuckDBPyConnection
            The new connection; its cursors share what is loaded here.
        """
        load_spatial(conn)
        conn.create_function(
            "cut_polygon",
            cut_polygon,
            ["BLOB", "INTEGER"],
            "STRUCT(piece_number BIGINT, geom BLOB)[]",  # type: ignore[arg-type, list-item]
        )
        conn.create_function("hold_run", self._edition.lake.hold_run, side_effects=True)
        conn.create_function("is_comparable", self._edition.lake.is_comparable, side_effects=True)
        conn.create_function("damage_of_run", self._edition.lake.damage_of_run, side_effects=True)
        conn.create_function("publish_warehouse", self._edition.publish, side_effects=True)
        flags = get_flags()  # type: ignore[no-untyped-call]
        if flags.WHICH in BUILDING:
            self._edition.open(conn, is_whole=is_whole(flags), is_retry="retry" in flags.INVOCATION_COMMAND.split())
        else:
            self._edition.attach(conn)
        for dataset in (flags.VARS or {}).get("concordance", ()):
            self._edition.attach_other(conn, dataset)

    def configure_cursor(self, cursor: Any) -> None:
        """Make the warehouse the database that unqualified names refer to, which a cursor does not inherit."""
        cursor.execute(f"use {self._edition.alias}")
