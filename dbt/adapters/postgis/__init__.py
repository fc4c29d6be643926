"""dbt's adapter for PostgreSQL, and Python models: see ``docs/decisions`` for why there is one of our own.

Everything but Python models is dbt-postgres, whose macros apply as well. A Python model runs in dbt's process. What it
refers to is read as Arrow, over a session of its own; what it yields is written in the transaction of the model.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbt.adapters.base.plugin import AdapterPlugin
from dbt.adapters.contracts.connection import AdapterResponse
from dbt.adapters.postgres.connections import PostgresConnectionManager, PostgresCredentials
from dbt.adapters.postgres.impl import PostgresAdapter

from admin_boundaries.python_models import PostgresRelation, module_of
from ingest.sessions import connect_adbc
from ingest.settings import Postgres


@dataclass
class PostgisCredentials(PostgresCredentials):
    """Where the server is, as dbt-postgres has it."""

    @property
    def type(self) -> str:
        """Name of the adapter in ``profiles.yml``."""
        return "postgis"


class PostgisConnectionManager(PostgresConnectionManager):
    """Sessions of dbt-postgres."""

    TYPE = "postgis"


class PostgisAdapter(PostgresAdapter):
    """dbt-postgres, and Python models."""

    ConnectionManager = PostgisConnectionManager

    def submit_python_job(self, parsed_model: dict[str, Any], compiled_code: str) -> AdapterResponse:
        """Run a Python model, and write what it yields into the table that the materialization has made.

        Parameters
        ----------
        parsed_model : dict
            The model, as dbt has parsed it.
        compiled_code : str
            The model, dbt's functions for it, and our ``materialize``.
        """
        credentials = self.config.credentials
        where = Postgres(
            credentials.host, credentials.port, credentials.user, credentials.password, credentials.database
        )
        model = module_of(parsed_model, compiled_code)
        with ExitStack() as open_until:
            session = open_until.enter_context(connect_adbc(where, to_write=True))
            rows = model.model(model.dbtObj(lambda name: PostgresRelation(session, name)), session)
            count = model.materialize(rows, self.connections.get_thread_connection().handle)
        return AdapterResponse(f"SELECT {count}", code="SELECT", rows_affected=count)


Plugin = AdapterPlugin(
    adapter=PostgisAdapter,  # type: ignore[arg-type]
    credentials=PostgisCredentials,
    include_path=str(Path(__file__).parent / "include"),
    dependencies=["postgres"],
    project_name="dbt_postgis",
)
