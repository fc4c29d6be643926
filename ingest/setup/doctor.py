"""Check what a target needs before an hour is spent on finding out, and say how to get what is missing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from ingest.errors import IngestError
from ingest.settings import Postgres, Settings, has_given_secret

GIB = 1 << 30
# An estimate for GADM 4.1's world: 1.4 GB of zip, 4.7 GB unpacked, as much again in staging and in the marts, and both
# of these twice while a release replaces another.
WORLD_DISK_BYTES = 25 * GIB
WORKER_MEMORY_BYTES = GIB
WORKERS = 3
MIN_POSTGRES = 130000


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes
    ----------
    what : str
        What was checked.
    is_good : bool
        Whether it is as it should be.
    detail : str
        What was found.
    fix : str
        What to do about it; empty where it is good.
    is_needed : bool
        False where the project works without, only not at full size.
    """

    what: str
    is_good: bool
    detail: str
    fix: str = ""
    is_needed: bool = True


def examine(settings: Settings, try_duckdb: Callable[[], str]) -> Iterator[Check]:
    """Check everything that the target of the settings needs.

    Parameters
    ----------
    settings : Settings
        Of the target.
    try_duckdb : callable
        Opens DuckDB as the embedded target does and returns its version; raises when that does not work.

    Yields
    ------
    Check
        One per check, in the order in which they are needed. A check that depends on a failed one is left out.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check(
        "Python 3.11 or newer", sys.version_info >= (3, 11), version, "Install Python 3.11, then `make install`."
    )
    yield from _home(settings.home)
    yield _memory()
    if settings.postgres:
        yield from _postgres(settings.postgres)
        yield from _redis(settings.redis_url)
    else:
        yield _duckdb(try_duckdb)


def _home(home: Path) -> Iterator[Check]:
    nearest = next(path for path in (home, *home.parents) if path.exists())
    writable = nearest.is_dir() and os.access(nearest, os.W_OK)
    yield Check("WAREHOUSE_HOME can be written", writable, str(home), "Set WAREHOUSE_HOME to a folder of yours.")
    free = shutil.disk_usage(nearest).free
    yield Check(
        "disk for the world download",
        free >= WORLD_DISK_BYTES,
        f"{free / GIB:.0f} GiB free, {WORLD_DISK_BYTES / GIB:.0f} GiB wanted",
        "Set WAREHOUSE_HOME to a larger disk, or load countries with --country.",
        is_needed=False,
    )


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wanted = WORKERS * WORKER_MEMORY_BYTES
    return Check(
        f"memory for {WORKERS} workers",
        total >= wanted,
        f"{total / GIB:.0f} GiB, {wanted / GIB:.0f} GiB wanted",
        "Run with --workers 1.",
        is_needed=False,
    )


def _duckdb(try_duckdb: Callable[[], str]) -> Check:
    what = "DuckDB with its spatial extension"
    try:
        return Check(what, True, try_duckdb())
    except Exception as error:  # noqa: BLE001  whatever is wrong with an installation is to be shown
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Check(what, False, reason, "`make install` puts it in place from the package index.")


def _postgres(where: Postgres) -> Iterator[Check]:
    try:
        with psycopg.connect(where.uri(), connect_timeout=5) as connection:
            yield Check("PostgreSQL answers", True, where.place)
            yield from _database(connection, where)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        yield Check(
            "PostgreSQL answers",
            False,
            reason,
            "Start it (`docker compose up -d postgis`), and check PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE.",
        )


def _database(connection: psycopg.Connection, where: Postgres) -> Iterator[Check]:
    def value(query: str) -> object:
        row = connection.execute(query).fetchone()  # type: ignore[arg-type]
        return row[0] if row else None

    version = int(str(value("select current_setting('server_version_num')")))
    shown = str(value("select current_setting('server_version')"))
    yield Check("PostgreSQL 13 or newer", version >= MIN_POSTGRES, shown, "Upgrade the server.")
    installed = value("select extversion from pg_extension where extname = 'postgis'")
    available = value("select default_version from pg_available_extensions where name = 'postgis'")
    yield Check(
        "PostGIS",
        installed is not None,
        str(installed or ("available, not created" if available else "not installed on the server")),
        "As a superuser: python -m ingest init"
        if available
        else "Install PostGIS on the server (Debian: postgresql-15-postgis-3), then create the extension.",
    )
    # The loader writes raw only; one user for everything may create schemas, and write those that are there.
    may_load = value(
        "select coalesce(bool_or(has_schema_privilege(oid, 'create')), "
        "has_database_privilege(current_database(), 'create')) from pg_namespace where nspname = 'raw'"
    )
    yield Check(
        "right to write the schema raw",
        bool(may_load),
        where.user,
        "As a superuser or the database's owner: python -m ingest init. Then set PGUSER to the loader.",
    )


def _redis(url: str) -> Iterator[Check]:
    what = "Redis answers"
    try:
        client = redis.Redis.from_url(url, socket_connect_timeout=5)
        try:
            information = client.info("server")
        finally:
            client.close()
    except (redis.RedisError, ValueError) as error:
        yield Check(what, False, str(error), "Start it (`docker compose up -d redis`), and check REDIS_URL.")
        return
    yield Check(what, True, str(information["redis_version"]))  # type: ignore[index]
    is_local = "@localhost" in url or "//localhost" in url or "//127.0.0.1" in url
    yield Check(
        "INGEST_SECRET shared by all hosts",
        is_local or has_given_secret(),
        "set" if has_given_secret() else "from WAREHOUSE_HOME/secret, which only this host knows",
        "Set the same INGEST_SECRET wherever a command or a consumer runs.",
    )


def is_fit(findings: list[Check]) -> bool:
    """Whether the project works with what was found."""
    return all(finding.is_good for finding in findings if finding.is_needed)


def require(findings: list[Check], report: Callable[[Check], None]) -> None:
    """Report every finding; raise when something needed is missing.

    Raises
    ------
    IngestError
        With the number of things to fix.
    """
    for finding in findings:
        report(finding)
    if not is_fit(findings):
        missing = sum(not finding.is_good and finding.is_needed for finding in findings)
        raise IngestError(f"{missing} of {len(findings)} checks failed.", "Each says above what to do.")
