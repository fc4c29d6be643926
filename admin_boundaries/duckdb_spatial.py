"""DuckDB's spatial extension, loaded from an installed package, without network access and without a home folder.

The extension binary comes from the PyPI package ``duckdb-extension-spatial``, whose version must equal that of
``duckdb``. It is loaded from where the package has it: DuckDB would install it into the home folder, which a service
may not have, or may not be allowed to write to.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import duckdb


def load_spatial(connection: duckdb.DuckDBPyConnection) -> None:
    """Load the packaged spatial extension.

    Parameters
    ----------
    connection : DuckDBPyConnection
        The connection to load it into; its cursors share the extension.
    """
    folder = Path(str(files("duckdb_extension_spatial"))) / "extensions" / f"v{duckdb.__version__}"
    connection.load_extension(str(folder / "spatial.duckdb_extension"))


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
