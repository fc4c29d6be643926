"""DuckDB's spatial extension from the package index, loaded without network.

The extension binary comes from the PyPI package ``duckdb-extension-spatial``, whose version must equal that of
``duckdb``.
"""

from __future__ import annotations

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
