"""dbt-duckdb plugin: DuckDB's spatial extension from the package index, loaded without network.

``profiles/profiles.yml`` names this module; dbt-duckdb calls :meth:`Plugin.configure_connection` once per DuckDB
instance. The extension binary comes from the PyPI package ``duckdb-extension-spatial``, whose version must equal
that of ``duckdb``.
"""

from __future__ import annotations

from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection
from duckdb_extensions import import_extension


def load_spatial(connection: DuckDBPyConnection) -> None:
    """Put the packaged spatial extension in place, once per machine, and load it.

    Parameters
    ----------
    connection : DuckDBPyConnection
        Where it is loaded; cursors made from it share it.
    """
    import_extension("spatial", con=connection)
    connection.load_extension("spatial")


class Plugin(BasePlugin):
    """Install the packaged spatial extension and load it."""

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Load the extension and keep times in UTC, so that a build does not depend on where it runs.

        Parameters
        ----------
        conn : DuckDBPyConnection
            The fresh connection; cursors made from it share what is loaded here.
        """
        load_spatial(conn)
