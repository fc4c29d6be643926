"""Settings from the environment and the dbt profile. Nothing else reads these two."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml

from ingest.errors import FileUnusable, SettingsError, did_you_mean

PACKAGES = Path(__file__).resolve().parent.parent
# A wheel holds no dbt project. The folder where the command is typed then takes its place: it may be a clone.
PROJECT_ROOT = PACKAGES if (PACKAGES / "dbt_project.yml").is_file() else Path.cwd()
PROFILE = "admin_boundaries"
EMBEDDED = "embedded"
MOUNT = "Mount the disk that it is on, or let the link lead to the folder."
NOT_IN_A_HOME = "#?;{}"  # see profiles.yml
PLANNING_SECONDS = 600.0
STALE_SECONDS = 86_400.0
LOG_FORMATS = ("text", "json")
BOUNDARIES = "gadm"  # the dataset whose marts have the plain names
ON, OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")

# A worker allocates and frees thousands of batches: with these settings glibc keeps freed memory for the next batch
# instead of returning it to the system, and asks for large pages. Blocks above 32 MiB are still returned at once.
# docker/Dockerfile sets the same for workers in containers.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


SERVICE = (b"service", b"servicefile")  # libpq's keywords of a service


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL connection, in the terms of libpq. What is empty is left to libpq: its variables and its files.

    Attributes
    ----------
    host, port, user, password, dbname
        As in a connection string; ``host`` and ``port`` may be lists, separated by commas.
    service : str
        Section of a service file (``PGSERVICE``), which then says everything else.
    """

    host: str
    port: int | str
    user: str
    password: str = field(repr=False)
    dbname: str
    service: str = ""

    @property
    def place(self) -> str:
        """User, server and database without the password, for messages."""
        if self.service:
            return f"service {self.service}"
        return f"{self.user}@{self.host}:{self.port}/{self.dbname}"

    def conninfo(self) -> str:
        """Return a connection string, in which libpq reads every character of a value as it is.

        libpq takes what is left out from its variables (``PGSSLMODE``, ``PGHOSTADDR``, ``PGPASSFILE`` …).
        """
        given = {
            **(_of_service() if self.service else {}),
            "service": self.service,
            **({} if self.service else self._parts()),
            "client_encoding": "UTF8",
        }
        return " ".join(f"{name}={_quoted(value)}" for name, value in given.items() if value)

    def _parts(self) -> dict[str, str]:
        return {
            "host": self.host,
            "port": str(self.port),
            "user": self.user,
            "password": self.password,
            "dbname": self.dbname,
        }


def _of_service() -> dict[str, str]:
    """Return what libpq makes of ``PGSERVICE`` and its other variables: a service comes before them.

    psycopg looks for the host in the variables first, and dbt knows no services.
    """
    from psycopg import pq

    return {
        option.keyword.decode(): option.val.decode()
        for option in pq.Conninfo.get_defaults()
        if option.val and option.val != option.compiled and option.keyword not in SERVICE
    }


def _quoted(value: str) -> str:
    """Return a value of a connection string."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(frozen=True)
class Settings:
    """All settings.

    Attributes
    ----------
    target : str
        The dbt output in use: ``embedded``, ``postgres`` or ``spark``.
    home : Path
        Folder of the downloads, the lake, the DuckDB file and the local queue.
    postgres : Postgres or None
        Connection of the ``postgres`` target; None on the others.
    redis_url : str
        Queue of the ``postgres`` target.
    secret : str
        Key that signs the tasks.
    alert_webhook : str
        URL that alerts are posted to; no alerts when empty. It is a secret: anyone who knows it can post there.
    refresh_schedule : str
        Cron expression (UTC) that says when to check for new releases; never when empty.
    planning_seconds : float
        How long the files of a run may take to be opened and counted.
    stale_seconds : float
        How long marts may be of another run than the published one before ``/health`` says so.
    boundaries : str
        The hierarchical dataset whose marts are read.
    spark : str or None
        Folder of the marts of the ``spark`` target, or an address such as ``s3a://bucket/folder``; None on the others.
    """

    target: str
    home: Path
    postgres: Postgres | None
    redis_url: str = field(repr=False)
    secret: str = field(repr=False)
    alert_webhook: str = field(default="", repr=False)
    refresh_schedule: str = ""
    planning_seconds: float = PLANNING_SECONDS
    stale_seconds: float = STALE_SECONDS
    boundaries: str = BOUNDARIES
    spark: str | None = None

    @property
    def marts(self) -> str:
        """Schema of the marts: each dataset has one of its own, so that several stand side by side."""
        return with_dataset("marts", self.boundaries)

    @property
    def warehouse(self) -> Path:
        """The DuckDB file that the marts of the embedded target are in."""
        return self.home / f"{with_dataset('warehouse', self.boundaries)}.duckdb"

    @property
    def build_command(self) -> str:
        """The command that builds the marts."""
        return build_command(self.boundaries)

    @property
    def lake(self) -> Path:
        """Folder of the Parquet files that a load writes, on the targets other than ``postgres``."""
        return self.home / "raw"


def read_settings(env: Mapping[str, str] | None = None, root: Path = PROJECT_ROOT) -> Settings:
    """Read the settings.

    Parameters
    ----------
    env : mapping of str to str, optional
        Environment variables; by default those of this process.
    root : Path
        Folder that holds ``profiles/profiles.yml``.

    Returns
    -------
    Settings

    Raises
    ------
    SettingsError
        When the profile is missing or malformed, the target is not one of its outputs, or a variable is invalid.
    """
    env = os.environ if env is None else env
    target = env.get("WAREHOUSE_TARGET") or EMBEDDED
    home = Path(env.get("WAREHOUSE_HOME") or ".warehouse")
    if home.parts and home.parts[0].startswith("~"):  # else a folder of that name would be made in the project
        raise SettingsError(
            f"WAREHOUSE_HOME={home} begins with ~, which only a shell replaces by the home folder.",
            "Write the path in full.",
        )
    if "://" in env.get("WAREHOUSE_HOME", ""):
        raise SettingsError(
            f"WAREHOUSE_HOME={env['WAREHOUSE_HOME']} is an address, and what is loaded needs a file system.",
            "Name a folder. Marts on Spark may be on an object store, by SPARK_WAREHOUSE: see docs/spark.md.",
        )
    home = home if home.is_absolute() else root / home
    path = _profile(root)
    try:
        # what the profile refuses on behalf of dbt, others can use
        usable = {"PGSERVICE": "", "PGPORT": env.get("PGPORT", "").split(",")[0]}
        usable |= {"WAREHOUSE_HOME": ""} if target == EMBEDDED else {}
        output = _profile_output(path, target, {**env, **usable})
        postgres = _postgres(output, env) if output.get("type") == "postgis" else None
    except (jinja2.TemplateError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"The output {target!r} of {path} cannot be used: {error!r}.", "Is PGPORT a number?"
        ) from error
    return Settings(
        target=target,
        home=home,
        postgres=postgres,
        redis_url=env.get("REDIS_URL") or "redis://localhost:6379/0",
        secret=env.get("INGEST_SECRET") or _local_secret(home),
        alert_webhook=_webhook(env.get("ALERT_WEBHOOK") or ""),
        refresh_schedule=env.get("REFRESH_SCHEDULE") or "",
        planning_seconds=_seconds(env, "INGEST_PLANNING_SECONDS", PLANNING_SECONDS),
        stale_seconds=_seconds(env, "HEALTH_STALE_SECONDS", STALE_SECONDS),
        boundaries=_boundaries(env.get("BOUNDARIES") or BOUNDARIES),
        spark=_in_project(output["warehouse"], root) if output.get("type") == "sedona" else None,
    )


def marts_on_spark(env: Mapping[str, str] | None = None, root: Path = PROJECT_ROOT) -> str:
    """Return where the marts of the ``spark`` target are, whatever target is in use: a folder, or an address."""
    output = _profile_output(_profile(root), "spark", os.environ if env is None else env)
    return _in_project(output["warehouse"], root)


def settings_of_reader(target: str = "", dataset: str = "", home: str | Path | None = None) -> Settings:
    """Return the settings for somebody who only reads, and so needs no secret.

    Parameters
    ----------
    target, dataset : str
        The dbt output, and the hierarchical dataset; if empty, those of the environment.
    home : str or Path, optional
        Folder of the warehouse, relative to the current one; by default that of the environment.

    Raises
    ------
    SettingsError
        As `read_settings`.
    """
    given = {"WAREHOUSE_TARGET": target, "BOUNDARIES": dataset, "WAREHOUSE_HOME": home and str(Path(home).absolute())}
    return read_settings({"INGEST_SECRET": "of a reader", **os.environ, **{k: v for k, v in given.items() if v}})


def require_home_for_dbt(settings: Settings) -> None:
    """Refuse to load where dbt could not build: its adapter takes the path of the warehouse for an address.

    Raises
    ------
    SettingsError
    """
    home = settings.home.relative_to(PROJECT_ROOT) if settings.home.is_relative_to(PROJECT_ROOT) else settings.home
    if settings.target == EMBEDDED and (odd := [mark for mark in NOT_IN_A_HOME if mark in str(home)]):
        raise SettingsError(
            f"WAREHOUSE_HOME={home} contains {' '.join(odd)}: dbt could not build a warehouse there.",
            "Set it to a folder without such marks.",
        )


def require_project(root: Path = PROJECT_ROOT) -> None:
    """Refuse to go on without the dbt project, which a wheel does not hold.

    Raises
    ------
    SettingsError
    """
    if not (root / "dbt_project.yml").is_file():
        raise SettingsError(
            f"{root} is no clone of the project: it has no dbt_project.yml.",
            "This needs the models, seeds and sample of a clone: run it there. What reads the marts works anywhere.",
        )


def _profile(root: Path) -> Path:
    """Return the path of the dbt profile: that of the project, or else the copy that a wheel holds."""
    path = root / "profiles" / "profiles.yml"
    return path if path.exists() or root != PROJECT_ROOT else Path(__file__).with_name("profiles.yml")


def _in_project(place: str, root: Path) -> str:
    """Return an address as it is, and a path as one that begins in the project, whatever the current folder is."""
    return place if ":/" in place else str(root / place)


def with_dataset(name: str, dataset: str) -> str:
    """Return the name of a schema or file as it is for a dataset: ``marts``, or ``marts_overture``."""
    return name if dataset == BOUNDARIES else f"{name}_{dataset}"


def build_command(dataset: str) -> str:
    """Return the command that builds the marts of a dataset."""
    return "dbt build" if dataset == BOUNDARIES else f"BOUNDARIES={dataset} dbt build"


@dataclass(frozen=True)
class Spark:
    """Where Spark is.

    Attributes
    ----------
    master : str
        The cluster, ``SPARK_MASTER``; empty for what Spark's own files say, or else this machine.
    remote : str
        The server of Spark Connect, ``SPARK_REMOTE``, which comes first.
    python : str
        The Python of the workers, ``PYSPARK_PYTHON``; empty for the path of this one.
    """

    master: str = ""
    remote: str = ""
    python: str = ""


def spark(env: Mapping[str, str] | None = None) -> Spark:
    """Return where Spark is, according to the environment."""
    names = ("SPARK_MASTER", "SPARK_REMOTE", "PYSPARK_PYTHON")
    return Spark(*((os.environ if env is None else env).get(name) or "" for name in names))


def _boundaries(name: str) -> str:
    """Return the name of a dataset unchanged: it becomes part of the names of schemas and files."""
    if not re.fullmatch(r"[a-z][a-z0-9]{0,19}", name):
        raise SettingsError(f"BOUNDARIES={name!r} is not the name of a dataset.", "Set BOUNDARIES=gadm, or unset it.")
    return name


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    """Return a variable that is a number of seconds."""
    text = env.get(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,3})?", text) or float(text) == 0:
        raise SettingsError(f"{name}={text!r} is not a number of seconds.", f"Set {name}={default:.0f}, or unset it.")
    return float(text)


@dataclass(frozen=True)
class Logs:
    """How the long-running commands log.

    Attributes
    ----------
    is_json : bool
        ``LOG_FORMAT=json``: a line of JSON for each entry.
    file : Path or None
        ``LOG_FILE``: where to; None for standard error.
    file_bytes, files : int
        ``LOG_FILE_BYTES`` and ``LOG_FILES``: at what size the file is replaced, and how many old ones are kept.
    """

    is_json: bool = False
    file: Path | None = None
    file_bytes: int = 10_000_000
    files: int = 5


def logs(env: Mapping[str, str] | None = None) -> Logs:
    """Return how to log, according to the environment.

    Raises
    ------
    SettingsError
        When a variable is invalid.
    """
    env = os.environ if env is None else env
    layout = env.get("LOG_FORMAT") or LOG_FORMATS[0]
    if layout not in LOG_FORMATS:
        raise SettingsError(f"LOG_FORMAT={layout!r} is neither text nor json.", "Set LOG_FORMAT=json, or unset it.")
    default = Logs()
    return Logs(
        is_json=layout == "json",
        file=Path(env["LOG_FILE"]) if env.get("LOG_FILE") else None,
        file_bytes=_whole(env, "LOG_FILE_BYTES", default.file_bytes),
        files=_whole(env, "LOG_FILES", default.files),
    )


def _whole(env: Mapping[str, str], name: str, default: int) -> int:
    """Return a variable that is a whole number from 1 on."""
    text = env.get(name) or str(default)
    if not re.fullmatch(r"[1-9][0-9]{0,11}", text):
        raise SettingsError(f"{name}={text!r} is not a whole number above 0.", f"Set {name}={default}, or unset it.")
    return int(text)


def private_folder(folder: Path) -> Path:
    """Make a folder, and those that it is in, for its owner only, whatever the umask; return it.

    Raises
    ------
    FileUnusable
        When one of them is a link that leads nowhere, as to a disk that is not mounted.
    """
    for each in reversed((folder, *folder.parents)):
        if not each.exists():
            if where := lost_link(each):
                raise FileUnusable(f"{where}.", MOUNT)
            each.mkdir(mode=0o700, exist_ok=True)
    return folder


def lost_link(path: Path) -> str:
    """Say of a link that leads nowhere where it should lead; empty for anything else."""
    is_lost = path.is_symlink() and not path.exists()
    return f"{path} is a link to {path.readlink()}, which is not there" if is_lost else ""


def dbt_manifest() -> Path:
    """Return where dbt writes its manifest: into ``DBT_TARGET_PATH``, which is relative to the project."""
    return PROJECT_ROOT / (os.environ.get("DBT_TARGET_PATH") or "target") / "manifest.json"


def has_given_secret(env: Mapping[str, str] | None = None) -> bool:
    """Whether ``INGEST_SECRET`` is set: only then can several hosts share the secret."""
    return bool((os.environ if env is None else env).get("INGEST_SECRET"))


def no_private_addresses(env: Mapping[str, str] | None = None) -> bool:
    """Whether ``INGEST_NO_PRIVATE_ADDRESSES`` forbids this host to fetch a source from a private address.

    Raises
    ------
    SettingsError
        When it is neither on nor off.
    """
    text = (os.environ if env is None else env).get("INGEST_NO_PRIVATE_ADDRESSES", "").lower()
    if text not in (*ON, *OFF):
        raise SettingsError(f"INGEST_NO_PRIVATE_ADDRESSES={text!r} is neither 1 nor 0.", "Set 1 or 0, or unset it.")
    return text in ON


def proxies(env: Mapping[str, str] | None = None) -> list[str]:
    """Return the names of the variables that are set and make libcurl use a proxy."""
    names = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    return [name for name in names if (os.environ if env is None else env).get(name)]


def worker_environment() -> dict[str, str]:
    """Return the environment for a worker process that this process starts.

    Returns
    -------
    dict of str to str
        The environment of this process, with the variables of `ALLOCATOR` where they are not set.
    """
    return {**ALLOCATOR, **os.environ}


def dbt_environment(settings: Settings) -> dict[str, str]:
    """Return the environment for a dbt that this process starts.

    dbt gives libpq the host, port, user, password and database one by one, so that a service is resolved here.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset.

    Returns
    -------
    dict of str to str
        The environment of this process, with that dataset, and what libpq makes of ``PGSERVICE``.
    """
    environment = {**os.environ, "BOUNDARIES": settings.boundaries}
    if settings.postgres is None or not settings.postgres.service:
        return environment
    from psycopg import pq

    names = {option.keyword.decode(): option.envvar for option in pq.Conninfo.get_defaults()}
    resolved = {name.decode(): value for key, value in _of_service().items() if (name := names[key])}
    return {**environment, **resolved, "PGSERVICE": ""}


def _webhook(address: str) -> str:
    """Return the address unchanged. It is a secret, so the error message must not quote it."""
    if address and not address.startswith(("http://", "https://")):
        raise SettingsError("ALERT_WEBHOOK is not an http(s) URL.", "Set a URL that begins with https://, or unset it.")
    return address


def _postgres(output: Mapping[str, Any], env: Mapping[str, str]) -> Postgres:
    """Return the connection that a dbt output describes; where libpq's variables say more, libpq reads them."""
    if env.get("PGSERVICE"):
        return Postgres("", "", "", "", "", service=env["PGSERVICE"])
    ports = env.get("PGPORT", "")
    return Postgres(
        host=str(output["host"]),
        port=",".join(port and str(int(port)) for port in ports.split(",")) if "," in ports else int(output["port"]),
        user=str(output["user"]),
        password=str(output.get("password") or output.get("pass") or ""),
        dbname=str(output.get("dbname") or output["database"]),
    )


def _profile_output(path: Path, target: str, env: Mapping[str, str]) -> dict[str, Any]:
    """Return one output of the dbt profile, with ``env_var`` calls resolved as dbt does."""
    try:
        profile = yaml.safe_load(path.read_text(encoding="utf-8"))[PROFILE]
        outputs = profile["outputs"]
    except OSError as error:
        raise SettingsError(
            f"Cannot read {path}: {error.strerror}.", "Run from a full clone of the project."
        ) from error
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} has no profile {PROFILE!r} with outputs ({error}).") from error
    if target not in outputs:
        raise SettingsError(f"WAREHOUSE_TARGET={target!r} is not an output of {path}.", did_you_mean(target, outputs))

    def env_var(name: str, default: str | None = None) -> str:
        value = env.get(name, default)
        if value is None:
            raise SettingsError(f"{path} needs the environment variable {name}, which is not set.")
        return value

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701  YAML, not HTML
    filters = {"as_native": lambda value: value, "as_number": int, "as_text": str, "as_bool": bool}
    environment.filters.update(filters)

    def render(value: Any) -> Any:
        if isinstance(value, str):
            return environment.from_string(value).render(env_var=env_var, target={"name": target})
        return value

    return {key: render(value) for key, value in outputs[target].items()}


def _local_secret(home: Path) -> str:
    """Return the secret of this machine. It is generated once, into a file that only its owner can read."""
    path = home / "secret"
    try:
        if not path.exists():
            private_folder(home)
            _write_secret(home, path)
        _refuse_shared(path, path.stat())
        secret = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise SettingsError(
            f"{path} can be neither read nor written: {error.strerror}.",
            "Is the disk full, or does the folder belong to another user? WAREHOUSE_HOME sets another one.",
        ) from error
    if not secret or not secret.isascii() or not secret.isprintable():
        raise SettingsError(
            f"{path} is damaged: it is {'empty' if not secret else 'not text'}.",
            "Stop the workers and delete it: a new one is made.",
        )
    return secret


def _refuse_shared(path: Path, found: os.stat_result) -> None:
    """Refuse a secret that somebody else can read, or could have written: it decides whose messages are executed."""
    if found.st_uid not in (os.geteuid(), 0):
        raise SettingsError(
            f"{path} belongs to another user.", "Set INGEST_SECRET, or WAREHOUSE_HOME to a folder of your own."
        )
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(
            f"{path} is open to others.",
            f"chmod 600 {path}; if others may have read it, delete it instead, and a new one is made. "
            "Where the disk knows no permissions, set INGEST_SECRET.",
        )


def _write_secret(home: Path, path: Path) -> None:
    """Write a new secret atomically. If another process was faster, its secret stays."""
    draft = home / f"secret.{os.getpid()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
