"""DuckDB's spatial extension, loaded from an installed package, without network access.

The extension binary comes from the PyPI package ``duckdb-extension-spatial``, whose version must equal that of
``duckdb``.
"""

from __future__ import annotations

import duckdb
from duckdb_extensions import import_extension


def load_spatial(connection: duckdb.DuckDBPyConnection) -> None:
    """Install the packaged spatial extension, once per machine, and load it.

    Parameters
    ----------
    connection : DuckDBPyConnection
        The connection to load it into; its cursors share the extension.
    """
    import_extension("spatial", con=connection)
    connection.load_extension("spatial")


def version() -> str:
    """Return DuckDB's version, after checking that it works with the spatial extension.

    Raises
    ------
    duckdb.Error, ImportError
        When it does not.
    """
    with duckdb.connect() as connection:
        load_spatial(connection)
        connection.sql("select ST_Point(0, 0)").fetchall()
    return duckdb.__version__
