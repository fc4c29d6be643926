"""dbt's adapter for Spark with Sedona: see ``docs/decisions`` for why there is one of our own.

It is dbt-spark by its method ``session``, whose macros apply as well, with one session for all of dbt, SQL that is
written once for all targets, and editions of tables that readers see all at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbt.adapters.base.meta import available
from dbt.adapters.base.plugin import AdapterPlugin
from dbt.adapters.base.relation import BaseRelation
from dbt.adapters.contracts.connection import Connection, ConnectionState
from dbt.adapters.contracts.relation import RelationType
from dbt.adapters.spark.connections import SparkConnectionManager, SparkCredentials
from dbt.adapters.spark.impl import SparkAdapter
from dbt.adapters.spark.relation import SparkRelation
from dbt.adapters.spark.session import Cursor, SessionConnectionWrapper
from dbt.flags import get_flags
from dbt_common.exceptions import DbtRuntimeError
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from admin_boundaries.spark.dialect import in_spark, type_in_spark
from admin_boundaries.spark.edition import view_name
from dbt.adapters.sedona.build import Build, open_session

STACK = re.compile(r"\n\s*at |\n*JVM stacktrace|;? SQLSTATE|\n== SQL")


@dataclass
class SedonaCredentials(SparkCredentials):
    """Where the session runs, and where its tables are.

    Attributes
    ----------
    lake : str
        Folder that `ingest` writes to.
    warehouse : str
        Folder of the marts, or an address such as ``s3a://bucket/folder``.
    remote : str
        Address of a server of Spark Connect, instead of a session in this process.
    """

    lake: str = ""
    warehouse: str = ""
    remote: str = ""
    server_side_parameters: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Let Spark refuse a wrong cast, as the other targets do; dbt-spark would have it return NULL."""
        super().__post_init__()
        self.server_side_parameters["spark.sql.ansi.enabled"] = "true"

    @property
    def type(self) -> str:
        """Name of the adapter in ``profiles.yml``."""
        return "sedona"

    @property
    def unique_field(self) -> str:
        """What dbt tells warehouses apart by."""
        return self.warehouse

    def _connection_keys(self) -> tuple[str, ...]:
        return "lake", "warehouse", "remote", "schema"


class _Cursor(Cursor):
    """A statement in the session."""

    def __init__(self, build: Build) -> None:
        super().__init__()
        self._build = build

    def execute(self, sql: str, *parameters: Any) -> None:
        self._df = self._build.run(in_spark(sql))


class _Handle(SessionConnectionWrapper):
    """What dbt takes for a connection: all threads share the session."""

    def __init__(self, build: Build) -> None:
        super().__init__(handle=None)  # type: ignore[arg-type]
        self._build = build

    def cursor(self) -> _Handle:
        self._cursor = _Cursor(self._build)
        return self


@dataclass(frozen=True, eq=False, repr=False)
class SedonaRelation(SparkRelation):
    """A table or view by the name that it has in the session."""

    def render(self) -> str:
        """Return the name, which for dbt-spark is ``schema.name``."""
        return view_name(super().render())


class SedonaConnectionManager(SparkConnectionManager):
    """The one session of dbt."""

    TYPE = "sedona"

    @classmethod
    def open(cls, connection: Connection) -> Connection:
        """Open the session, if no other thread has."""
        if connection.state != ConnectionState.OPEN:
            connection.handle = _Handle(open_session(connection.credentials, _project()))
            connection.state = ConnectionState.OPEN
        return connection

    @contextmanager
    def exception_handler(self, sql: str) -> Iterator[None]:
        """Report what Spark says, without the stack of its JVM."""
        try:
            yield
        except DbtRuntimeError:
            raise
        except (PySparkException, Py4JError) as error:
            raise DbtRuntimeError(STACK.split(str(error))[0]) from error


class SedonaAdapter(SparkAdapter):
    """dbt-spark, and editions."""

    ConnectionManager = SedonaConnectionManager
    Relation = SedonaRelation

    def list_relations_without_caching(self, schema_relation: BaseRelation) -> list[BaseRelation]:
        """Return what is in a schema: it is no schema of Spark's."""
        schema = schema_relation.schema or ""
        found = self._build.known_in(schema)
        return [
            self.Relation.create(schema=schema, identifier=name, type=RelationType(kind))
            for name, kind in found.items()
        ]

    def list_schemas(self, database: str) -> list[str]:
        """Return the schemas: Spark has none of these."""
        return []

    @property
    def _build(self) -> Build:
        return open_session(self.config.credentials, _project())

    @available
    def place_of(self, schema: str, name: str, file_format: str) -> str:
        """Return the address at which this build writes a table; see `Build.place_of`."""
        return self._build.place_of(f"{schema}.{name}", file_format)

    @available
    def note_view(self, schema: str, name: str, sql: str) -> None:
        """Note that this build has made a view; see `Build.note_view`."""
        self._build.note_view(f"{schema}.{name}", in_spark(sql))

    @available
    def write_seed(self, schema: str, name: str, table: Any, types: dict[str, str]) -> None:
        """Write the rows of a seed into a table; see `Build.write_seed`."""
        rows = [[None if value is None else str(value) for value in row] for row in table.rows]
        names = {column: type_in_spark(types.get(column, "string")) for column in table.column_names}
        self._build.write_seed(f"{schema}.{name}", rows, names)

    @available
    def add_raw_table(self, dataset: str, table: str, run_id: str) -> str:
        """Return the name of a raw table of a run; see `Build.add_raw_table`."""
        return self._build.add_raw_table(dataset, table, run_id)

    @available
    def add_name_folding(self, folding: dict[str, str]) -> None:
        """Make `fold_name` known to the session; see `Build.add_name_folding`."""
        self._build.add_name_folding(folding)

    @available
    def begin_edition(self, build_id: str, built_at: Any) -> None:
        """Begin an edition; see `Build.begin`."""
        self._build.begin(build_id, built_at)

    @available
    def hold_run(self, dataset: str, run_id: str) -> str:
        """Keep retention away from a run; return what is wrong with it; see `Build.hold_run`."""
        return self._build.hold_run(dataset, run_id)

    @available
    def publish_edition(self, kept: list[str]) -> str:
        """Put the edition before readers; return why it could not be done, if it could not; see `Build.publish`."""
        return self._build.publish(kept)


def _project() -> Path:
    """Return the folder in which relative paths begin, as they do for `ingest`, wherever dbt is called."""
    return Path(getattr(get_flags(), "PROJECT_DIR", None) or ".").absolute()  # type: ignore[no-untyped-call]


Plugin = AdapterPlugin(
    adapter=SedonaAdapter,  # type: ignore[arg-type]
    credentials=SedonaCredentials,
    include_path=str(Path(__file__).parent / "include"),
    dependencies=["spark"],
    project_name="dbt_sedona",
)
