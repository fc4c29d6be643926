"""Check that a target has what a load needs, and say how to get what is missing."""

from __future__ import annotations

import os
import shutil
import sys
import urllib.parse
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from ingest import refusals, sessions
from ingest.errors import IngestError
from ingest.settings import MOUNT, Postgres, Settings, has_given_secret, lost_link
from ingest.setup import keeper, limits

GIB = 1 << 30
# An estimate for all of GADM 4.1: 1.4 GB of zip, 4.7 GB unpacked, as much again each in staging and in the marts, and
# both of these twice while one release replaces another.
WORLD_DISK_BYTES = 25 * GIB
WORKER_MEMORY_BYTES = GIB
WORKERS = 3
MIN_POSTGRES = 130000
SECRET_LENGTH, SECRET_DIFFERENT = 20, 8
GUESSED = ("secret", "passw", "changeme", "change-me", "change_me", "ingest", "warehouse", "boundar", "12345", "qwert")

IS_READER = """
    select
        bool_or(nspname ~ '^marts(_|$)' and has_schema_privilege(oid, 'usage'))
        and not bool_or(nspname = 'raw' and has_schema_privilege(oid, 'usage'))
    from pg_namespace
"""


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes
    ----------
    what : str
        What was checked.
    is_good : bool
        Whether the check passed.
    detail : str
        What was found.
    fix : str
        What to do if the check failed.
    is_needed : bool
        False if the project works without it, only not at full size.
    """

    what: str
    is_good: bool
    detail: str
    fix: str = ""
    is_needed: bool = True


def examine(
    settings: Settings, try_duckdb: Callable[[], str], faults_of_marts: Callable[[], Sequence[str]]
) -> Iterator[Check]:
    """Check everything that the target of the settings needs.

    Parameters
    ----------
    settings : Settings
        Of the target.
    try_duckdb : callable
        Opens DuckDB as the embedded target does and returns its version; raises if that fails.
    faults_of_marts : callable
        Returns a sentence for each dataset whose marts are stale; raises `IngestError` if there are none to read.

    Yields
    ------
    Check
        In the order in which they matter. A check that depends on a failed one is skipped.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check(
        "Python 3.11 or newer", sys.version_info >= (3, 11), version, "Install Python 3.11, then `make install`."
    )
    yield from _home(settings.home)
    yield _memory()
    if has_given_secret():  # the one that is generated is
        yield _secret(settings.secret)
    if settings.postgres:
        answers = yield from _postgres(settings.postgres)
        yield from _redis(settings.redis_url)
    else:
        engine = _duckdb(try_duckdb)
        yield engine
        answers = engine.is_good
    if answers:
        yield _marts(faults_of_marts, settings)


def _home(home: Path) -> Iterator[Check]:
    nearest = next(path for path in (home, *home.parents) if path.exists())
    lost = next(filter(None, map(lost_link, (home, *home.parents))), "")
    writable = nearest.is_dir() and os.access(nearest, os.W_OK) and not lost
    other = "Set WAREHOUSE_HOME to a folder that you may write to."
    yield Check("WAREHOUSE_HOME is writable", writable, lost or str(home), MOUNT if lost else other)
    free = shutil.disk_usage(nearest).free
    yield Check(
        "disk space for the whole world",
        free >= WORLD_DISK_BYTES,
        f"{free / GIB:.0f} GiB free, {WORLD_DISK_BYTES / GIB:.0f} GiB recommended",
        "Set WAREHOUSE_HOME to a larger disk, or load countries with --country.",
        is_needed=False,
    )


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wanted = WORKERS * WORKER_MEMORY_BYTES
    return Check(
        f"memory for {WORKERS} workers",
        total >= wanted,
        f"{total / GIB:.0f} GiB, {wanted / GIB:.0f} GiB recommended",
        "Run with --workers 1.",
        is_needed=False,
    )


def _secret(secret: str) -> Check:
    """Check that a secret cannot be guessed. Whoever guesses it can run code in the workers."""
    length, different = len(secret), len(set(secret))
    faults = {
        f"it has {length} characters, and {SECRET_LENGTH} are recommended": length < SECRET_LENGTH,
        f"it has only {different} different characters": different < SECRET_DIFFERENT,
        "it repeats itself": secret in (secret + secret)[1:-1],
        "it contains a word that everybody tries first": any(word in secret.lower() for word in GUESSED),
    }
    found = [fault for fault, is_so in faults.items() if is_so]
    fix = "Set one that is generated, on every host: python -c 'import secrets; print(secrets.token_hex(32))'"
    return Check("INGEST_SECRET is hard to guess", not found, "; ".join(found) or "yes", fix, is_needed=False)


def _duckdb(try_duckdb: Callable[[], str]) -> Check:
    import duckdb

    what = "DuckDB with its spatial extension"
    try:
        return Check(what, True, try_duckdb())
    except (duckdb.Error, ImportError) as error:
        reason = str(error).splitlines()[0]
        return Check(what, False, reason, "Run `make install`.")


def _marts(faults_of_marts: Callable[[], Sequence[str]], settings: Settings) -> Check:
    what = f"marts of {settings.boundaries} are of the published runs"
    try:
        faults = faults_of_marts()
    except IngestError as error:
        return Check(what, False, error.message, error.hint, is_needed=False)
    return Check(what, not faults, " ".join(faults) or "current", f"Run `{settings.build_command}`.", is_needed=False)


def _postgres(where: Postgres) -> Generator[Check, None, bool]:
    """Check the database; return whether it answers."""
    try:
        with sessions.connect(where, to_write=True, timeout=5, any_encoding=True) as connection:
            yield Check("PostgreSQL answers", True, where.place)
            yield from _database(connection)
            yield from (Check(*found) for found in limits.examine(connection, WORKERS))
            return sessions.encoding(connection) == sessions.ENCODING
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        limit = refusals.error_of(where.place, error.sqlstate, str(error))
        start = (
            "Start it (`docker compose up -d postgis`), and check PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE."
        )
        yield Check("PostgreSQL answers", False, reason, limit.hint if limit else start)
        return False


def _database(connection: psycopg.Connection) -> Iterator[Check]:
    def value(query: str) -> object:
        row = connection.execute(query).fetchone()  # type: ignore[arg-type]
        return row[0] if row else None

    version = int(str(value("select current_setting('server_version_num')")))
    shown = str(value("select current_setting('server_version')"))
    yield Check("PostgreSQL 13 or newer", version >= MIN_POSTGRES, shown, "Upgrade the server.")
    found = sessions.encoding(connection)
    yield Check("encoding that can hold every name", found == sessions.ENCODING, found, f"{sessions.HINT_UTF8}.")
    installed = value("select extversion from pg_extension where extname = 'postgis'")
    available = value("select default_version from pg_available_extensions where name = 'postgis'")
    yield Check(
        "PostGIS",
        installed is not None,
        str(installed or ("available, not created" if available else "not installed on the server")),
        "Run as a superuser: python -m ingest init"
        if available
        else "Install PostGIS on the server (Debian: postgresql-15-postgis-3), then create the extension.",
    )
    place = sessions.postgis_schema(connection)
    if place:
        yield Check(
            "permission to use PostGIS",
            bool(connection.execute("select has_schema_privilege(%s, 'usage')", [place]).fetchone() == (True,)),
            f"{connection.info.user} in schema {place}",
            "Run as a superuser: python -m ingest init",
        )
    # The loader may have tables made. A single user for everything may create schemas, and write to existing ones.
    may_load = value(f"select {keeper.IS_LENT}") or value(
        "select coalesce(bool_or(has_schema_privilege(oid, 'create')), "
        "has_database_privilege(current_database(), 'create')) from pg_namespace where nspname = 'raw'"
    )
    is_reader = not may_load and bool(value(IS_READER))
    yield Check(
        "permission to write to the schema raw",
        bool(may_load),
        f"{connection.info.user}, who reads the marts" if is_reader else connection.info.user,
        "None is needed to read them. To load, or to see runs, set PGUSER to the loader."
        if is_reader
        else "Run `python -m ingest init` as a superuser or as the database's owner, then set PGUSER to the loader.",
        is_needed=not is_reader,
    )
    is_open = bool(value(f"select {keeper.IS_OPEN}"))
    yield Check(
        "schema raw is out of the loader's hands",
        not is_open,
        "it owns what dbt reads, and so could run anything as the transformer" if is_open else "yes",
        "Run as a superuser: python -m ingest init",
        is_needed=False,
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
    is_local = urllib.parse.urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    yield Check(
        "INGEST_SECRET shared by all hosts",
        is_local or has_given_secret(),
        "set" if has_given_secret() else "from WAREHOUSE_HOME/secret, which only this host has",
        "Set the same INGEST_SECRET on every host that runs a command or a consumer.",
    )


def is_fit(checks: list[Check]) -> bool:
    """Return whether all required checks passed."""
    return all(check.is_good for check in checks if check.is_needed)


def require(checks: list[Check], report: Callable[[Check], None]) -> None:
    """Report every check; raise if a required one failed.

    Raises
    ------
    IngestError
        With the number of failed checks.
    """
    for check in checks:
        report(check)
    if not is_fit(checks):
        missing = sum(not check.is_good and check.is_needed for check in checks)
        raise IngestError(f"{missing} of {len(checks)} checks failed.", "Each failed check above says what to do.")
