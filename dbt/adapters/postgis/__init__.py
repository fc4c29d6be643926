"""dbt's adapter for PostgreSQL, and Python models: see ``docs/decisions`` for why there is one of our own.

Everything but Python models is dbt-postgres, whose macros apply as well. A Python model runs in dbt's process. What it
refers to is read as Arrow, over a session of its own; what it yields is written in the transaction of the model.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from dbt.adapters.base.meta import available
from dbt.adapters.base.plugin import AdapterPlugin
from dbt.adapters.contracts.connection import AdapterResponse, Connection, Identifier
from dbt.adapters.postgres.connections import PostgresConnectionManager, PostgresCredentials
from dbt.adapters.postgres.impl import PostgresAdapter

from admin_boundaries.python_models import PostgresRelation, module_of
from dbt.adapters.postgis.exchange import Exchange
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

    @available
    def exchange_editions(self, replace: str, ours: list[str], patience: float) -> str | None:
        """Put an edition in the place of another; see `Exchange`.

        Parameters
        ----------
        replace : str
            SQL that does so, up to the commit.
        ours : list of str
            The project's tables that are exchanged, as ``schema.table``.
        patience : float
            Seconds after which to give up.

        Returns
        -------
        str or None
            Why it could not be done.
        """
        session = self.connections.get_thread_connection().handle
        try:
            if Exchange(session, self._open_session, replace, ours).run(patience):
                return None
        except psycopg2.Error as error:
            session.rollback()
            return str(error.diag.message_primary or error).strip()
        return (
            "What was built could not be put before readers, since sessions of others hold tables that it replaces: "
            "see pg_stat_activity for those idle in transaction. End them, then build again."
        )

    def _open_session(self) -> Any:
        credentials = self.config.credentials
        opened = self.connections.open(Connection(Identifier(self.type()), "gate", credentials))  # type: ignore[no-untyped-call]
        return opened.handle


Plugin = AdapterPlugin(
    adapter=PostgisAdapter,  # type: ignore[arg-type]
    credentials=PostgisCredentials,
    include_path=str(Path(__file__).parent / "include"),
    dependencies=["postgres"],
    project_name="dbt_postgis",
)
