"""Ask the marts: where is a point, and where is a name.

Both targets have the same functions beside their marts, made by ``dbt build`` (``macros/lookup``); this module hands
them what is asked and nothing else. Nothing but the target's own driver is imported, so that a single question is
answered quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ingest.errors import MartsMissing, TargetUnavailable
from ingest.settings import Postgres, Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

NOT_BUILT = "Load the datasets and build the marts: python -m ingest gadm timezones, then dbt build."
COLUMNS = (
    *("status", "gid", "admin_level", "gid_0", "gid_1", "gid_2", "gid_3", "gid_4", "gid_5"),
    *("path", "gids", "tzid", "tzids"),
)
SESSIONS = 4  # of PostgreSQL, over which many points are divided: each is answered by one of the server's processes
SESSION_POINTS = 2000  # fewer are not worth another session
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Name:
    """A unit that goes by a name.

    Attributes
    ----------
    gid, path, type_english : str
        As in ``admin_units`` and ``admin_level_N``; ``type_english`` is None where the publisher has none.
    admin_level : int
        Its level.
    name : str
        The name that was found, as the publisher writes it.
    name_kind : str
        ``name``, ``variant`` or ``local``.
    is_exact : bool
        Whether that is all of the name, or its beginning.
    """

    gid: str
    admin_level: int
    name: str
    name_kind: str
    type_english: str | None
    path: str
    is_exact: bool


class Marts(Protocol):
    """The marts of either target."""

    def locate(self, lon: float, lat: float) -> Row:
        """Answer for one point; see :data:`COLUMNS`."""
        ...

    def locate_points(self, lons: Floats, lats: Floats) -> list[Row]:
        """Answer for many points, in their order."""
        ...

    def find(self, name: str, limit: int) -> list[Name]:
        """Find the units that go by a name or by one that begins so; exact names first, own names before others."""
        ...


@contextmanager
def open_marts(settings: Settings) -> Iterator[Marts]:
    """Connect to the marts of the target.

    Parameters
    ----------
    settings : Settings
        Of the target.

    Yields
    ------
    Marts

    Raises
    ------
    MartsMissing
        When there are none.
    TargetUnavailable
        When the database does not answer, or is being written to by somebody else.
    """
    if settings.postgres:
        where = settings.postgres
        with ExitStack() as sessions:
            yield _PostgresMarts(lambda: sessions.enter_context(in_postgres(where)))
    else:
        with in_duckdb(settings) as connection:
            yield _DuckdbMarts(connection)


FIND = """
with

wanted as (

    select marts.fold_name({name}) as folded_name

),

matches as (

    select
        names.gid,
        names.admin_level,
        names.name,
        names.name_kind,
        names.type_english,
        names.path,
        names.folded_name = wanted.folded_name as is_exact,
        row_number() over (
            partition by names.gid
            order by
                case when names.folded_name = wanted.folded_name then 0 else 1 end,
                case names.name_kind when 'name' then 0 when 'variant' then 1 else 2 end,
                names.name
        ) as match_number
    from marts.admin_unit_names as names
    inner join wanted
        on {begins}
    where wanted.folded_name <> ''

)

select
    gid,
    admin_level,
    name,
    name_kind,
    type_english,
    path,
    is_exact
from matches
where match_number = 1
order by
    case when is_exact then 0 else 1 end,
    case name_kind when 'name' then 0 when 'variant' then 1 else 2 end,
    admin_level,
    path,
    gid
limit {limit}
"""


class _PostgresMarts:
    """Asks one session what is asked of one point, and several at once what is asked of many."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._connection = connect()
        self._sessions = [self._connection]

    def locate(self, lon: float, lat: float) -> Row:
        row: Row = self._connection.execute("select * from marts.locate(%s, %s)", (lon, lat)).fetchone()
        return row

    def locate_points(self, lons: Floats, lats: Floats) -> list[Row]:
        from concurrent.futures import ThreadPoolExecutor

        query = "select * from marts.locate_points(%s::float8[], %s::float8[])"
        while len(self._sessions) < min(SESSIONS, len(lons) // SESSION_POINTS):
            self._sessions.append(self._connect())
        size = max(1, -(-len(lons) // len(self._sessions)))
        parts = [slice(first, first + size) for first in range(0, len(lons), size)]

        def ask(session: Any, part: slice) -> list[Row]:
            return [row[1:] for row in session.execute(query, (lons[part].tolist(), lats[part].tolist()))]

        with ThreadPoolExecutor(len(self._sessions)) as pool:
            return [row for rows in pool.map(ask, self._sessions, parts) for row in rows]

    def find(self, name: str, limit: int) -> list[Name]:
        # What is folded holds neither % nor _, and a pattern known beforehand lets the index on the beginning be used.
        (folded,) = self._connection.execute("select marts.fold_name(%s)", (name,)).fetchone()
        begins = "names.folded_name like %(pattern)s"
        query = FIND.format(name="%(name)s", begins=begins, limit="%(limit)s")
        rows = self._connection.execute(query, {"name": name, "pattern": f"{folded}%", "limit": limit}).fetchall()
        return [Name(*row) for row in rows]


class _DuckdbMarts:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def locate(self, lon: float, lat: float) -> Row:
        row: Row = self._connection.execute("select * from marts.locate(?, ?)", [lon, lat]).fetchone()
        return row

    def locate_points(self, lons: Floats, lats: Floats) -> list[Row]:
        import numpy as np
        import pyarrow

        points = pyarrow.table({"point_number": np.arange(len(lons)), "lon": lons, "lat": lats})
        self._connection.register("points_to_locate", points)
        query = "select * exclude (point_number) from marts.locate_points('points_to_locate')"
        rows: list[Row] = self._connection.execute(query).fetchall()
        return rows

    def find(self, name: str, limit: int) -> list[Name]:
        query = FIND.format(name="?", begins="starts_with(names.folded_name, wanted.folded_name)", limit="?")
        return [Name(*row) for row in self._connection.execute(query, [name, limit]).fetchall()]


@contextmanager
def in_postgres(where: Postgres) -> Iterator[Any]:
    """Yield a connection of psycopg to the marts; what goes wrong with it is told as `open_marts` does."""
    import psycopg

    missing = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName)
    try:
        with psycopg.connect(where.uri(), connect_timeout=10, autocommit=True) as connection:
            yield connection
    except missing as error:
        raise MartsMissing(f"{where.place} has not all marts: {_first_line(error)}.", NOT_BUILT) from error
    except psycopg.OperationalError as error:
        raise TargetUnavailable(
            f"{where.place} does not answer: {_first_line(error)}.", "Check PGHOST, PGPORT, PGUSER and PGPASSWORD."
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise TargetUnavailable(
            f"{where.place}: {_first_line(error)}.", "Set PGUSER to the reader, or run: python -m ingest init"
        ) from error


@contextmanager
def in_duckdb(settings: Settings) -> Iterator[Any]:
    """Yield a connection of DuckDB to the marts; what goes wrong with it is told as `open_marts` does."""
    import duckdb

    from admin_boundaries.duckdb_spatial import load_spatial

    path = settings.home / "warehouse.duckdb"
    if not path.exists():
        raise MartsMissing(f"There is no warehouse {path}.", NOT_BUILT)
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            load_spatial(connection)
            yield connection
    except duckdb.CatalogException as error:
        raise MartsMissing(f"{path} has not all marts: {_first_line(error)}", NOT_BUILT) from error
    except duckdb.IOException as error:
        raise TargetUnavailable(
            f"{path} cannot be read: {_first_line(error)}", "While dbt builds, nobody else reads: try again afterwards."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


def as_text(value: object) -> str:
    """Return a value of an answer as it stands in a table of text: nothing for NULL, lists with ``|`` between."""
    if value is None:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "|".join(map(str, value))
    return str(value)
