"""Configuration comes from the environment and the dbt profile, and no secret of it shows."""

from __future__ import annotations

import multiprocessing
import os
import re
import stat
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from ingest import settings
from ingest.errors import SettingsError
from ingest.sources import cache

PG = {"WAREHOUSE_TARGET": "postgres", "INGEST_SECRET": "s"}


def test_nothing_set_means_the_embedded_target_in_the_project(tmp_path: Path) -> None:
    root = settings.PROJECT_ROOT
    found = settings.read_settings({"INGEST_SECRET": "s"}, root)
    assert (found.target, found.postgres, found.home) == ("embedded", None, root / ".warehouse")
    assert (cache.downloads_in(found.home), found.lake) == (
        root / ".warehouse" / "downloads",
        root / ".warehouse" / "raw",
    )


def test_dbt_finds_the_one_profile_in_the_root() -> None:
    root = settings.PROJECT_ROOT
    assert (root / "profiles.yml").samefile(root / "profiles" / "profiles.yml"), "it must be a symbolic link"


def test_an_empty_variable_counts_as_unset() -> None:
    found = settings.read_settings(
        {"WAREHOUSE_TARGET": "", "WAREHOUSE_HOME": "", "REDIS_URL": "", "INGEST_SECRET": "s", "PGPORT": ""}
    )
    assert (found.target, found.home.name, found.redis_url) == ("embedded", ".warehouse", "redis://localhost:6379/0")


@pytest.mark.parametrize("text", ["soon", "-1", "0", "nan", "1e9", "٣"])
def test_a_limit_that_is_not_a_number_of_seconds_is_told(text: str) -> None:
    assert settings.read_settings({"INGEST_SECRET": "s", "INGEST_PLANNING_SECONDS": "0.5"}).planning_seconds == 0.5
    with pytest.raises(SettingsError, match=r"INGEST_PLANNING_SECONDS=.* is not a number of seconds"):
        settings.read_settings({"INGEST_SECRET": "s", "INGEST_PLANNING_SECONDS": text})


def test_a_relative_home_is_relative_to_the_project_and_an_absolute_one_is_not(tmp_path: Path) -> None:
    assert (
        settings.read_settings({"WAREHOUSE_HOME": "data/wh", "INGEST_SECRET": "s"}).home
        == settings.PROJECT_ROOT / "data" / "wh"
    )
    assert settings.read_settings({"WAREHOUSE_HOME": str(tmp_path), "INGEST_SECRET": "s"}).home == tmp_path


def test_a_home_that_no_shell_has_expanded_is_refused() -> None:
    with pytest.raises(SettingsError, match="WAREHOUSE_HOME=~/data begins with ~"):
        settings.read_settings({"WAREHOUSE_HOME": "~/data", "INGEST_SECRET": "s"})


@pytest.mark.parametrize("mark", ["#", "?", ";", "{", "}"])
def test_where_dbt_could_not_build_nothing_is_loaded_and_what_is_there_can_be_read(mark: str, tmp_path: Path) -> None:
    env = {"WAREHOUSE_HOME": str(tmp_path / f"C{mark} maps"), "INGEST_SECRET": "s"}
    with pytest.raises(SettingsError, match=f"contains {re.escape(mark)}: dbt could not build"):
        settings.require_home_for_dbt(settings.read_settings(env))
    with pytest.raises(SettingsError, match="WAREHOUSE_HOME without any of # "):
        settings._profile_output(settings.PROJECT_ROOT / "profiles" / "profiles.yml", "embedded", env)
    settings.require_home_for_dbt(settings.read_settings({**env, **PG}))
    settings.require_home_for_dbt(settings.read_settings({**env, "WAREHOUSE_HOME": str(tmp_path / "it's [1] * %25 ä")}))


def test_a_home_on_an_object_store_is_refused() -> None:
    with pytest.raises(SettingsError, match="WAREHOUSE_HOME=s3a://bucket/home is an address") as caught:
        settings.read_settings({"WAREHOUSE_HOME": "s3a://bucket/home", "INGEST_SECRET": "s"})
    assert "SPARK_WAREHOUSE" in caught.value.hint


def test_the_connection_is_the_one_that_dbt_uses() -> None:
    env = {
        **PG,
        "PGHOST": "db.example.org",
        "PGPORT": "6543",
        "PGUSER": "anna",
        "PGPASSWORD": "pw",
        "PGDATABASE": "geo",
    }
    assert settings.read_settings(env).postgres == settings.Postgres("db.example.org", 6543, "anna", "pw", "geo")


def test_the_connection_has_defaults() -> None:
    assert settings.read_settings(PG).postgres == settings.Postgres("localhost", 5432, "warehouse", "", "warehouse")


def test_no_password_and_no_secret_is_in_what_is_printed() -> None:
    found = settings.read_settings({**PG, "PGPASSWORD": "hunter2", "INGEST_SECRET": "swordfish"})
    assert found.postgres is not None
    for text in (repr(found), str(found), repr(found.postgres), str(found.postgres), found.postgres.place):
        assert "hunter2" not in text
        assert "swordfish" not in text


def test_libpq_reads_every_character_of_a_name_as_it_is() -> None:
    odd = "a@b :/?#%20'\\+ é"
    found = conninfo_to_dict(settings.Postgres(f"/run/{odd}", 5432, odd, odd, odd).conninfo())
    assert (found["host"], found["port"]) == (f"/run/{odd}", "5432")
    assert {found[name] for name in ("user", "password", "dbname")} == {odd}


def test_what_is_empty_is_left_to_libpq() -> None:
    found = conninfo_to_dict(settings.Postgres("h", 5432, "anna", "", "geo").conninfo())
    assert sorted(found) == ["client_encoding", "dbname", "host", "port", "user"]


def test_hosts_and_ports_may_be_lists() -> None:
    found = settings.read_settings({**PG, "PGHOST": "a,::1,/run/pg", "PGPORT": "5432,,6543"}).postgres
    assert found is not None
    parameters = conninfo_to_dict(found.conninfo())
    assert (parameters["host"], parameters["port"]) == ("a,::1,/run/pg", "5432,,6543")


def test_an_address_without_a_host_is_its_own_host() -> None:
    found = settings.read_settings({**PG, "PGHOSTADDR": "::1"}).postgres
    assert found is not None
    assert found.host == "::1"  # not localhost, for which a certificate or a line in .pgpass would be looked up


def test_a_service_says_everything_and_dbt_gets_what_libpq_makes_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "services").write_text(
        "[geo]\nhost=db.example.org\nport=6543\nuser=a b\npassword=p w\nsslmode=require\n"
    )
    env = {**PG, "PGSERVICE": "geo", "PGSERVICEFILE": str(tmp_path / "services"), "PGDATABASE": "d", "PGHOST": "other"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    found = settings.read_settings()
    assert found.postgres is not None
    assert (
        conninfo_to_dict(found.postgres.conninfo()).items()
        >= {
            **{"service": "geo", "host": "db.example.org", "port": "6543", "user": "a b", "password": "p w"},
            **{"dbname": "d", "sslmode": "require", "client_encoding": "UTF8"},
        }.items()
    )
    assert found.postgres.place == "service geo"
    given = settings.dbt_environment(found)
    assert given["PGSERVICE"] == ""
    assert (
        given.items()
        >= {
            **{
                "PGHOST": "db.example.org",
                "PGPORT": "6543",
                "PGUSER": "a b",
                "PGPASSWORD": "p w",
                "PGSSLMODE": "require",
            },
            "PGDATABASE": "d",  # which the service does not say
        }.items()
    )


def test_dbt_gets_the_environment_of_this_process_and_the_dataset() -> None:
    for name in ("gadm", "overture"):
        found = settings.read_settings({**PG, "BOUNDARIES": name})
        assert settings.dbt_environment(found) == {**os.environ, "BOUNDARIES": name}


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"PGSERVICE": "geo"}, "PGHOST, because dbt cannot use the service that PGSERVICE names"),
        ({"PGPORT": "5432,5433"}, "PGPORT with one port, because dbt takes no list of several"),
    ],
)
def test_what_dbt_cannot_pass_on_is_refused_before_it_connects_to_anything_else(
    env: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        settings._profile_output(settings.PROJECT_ROOT / "profiles" / "profiles.yml", "postgres", env)


def test_ports_that_are_all_the_same_are_one_port_for_dbt() -> None:
    path = settings.PROJECT_ROOT / "profiles" / "profiles.yml"
    assert settings._profile_output(path, "postgres", {"PGPORT": "6543,6543"})["port"] == "6543"


def test_a_target_that_is_no_output_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(SettingsError, match=r"'postgresql' is not an output .*Did you mean 'postgres'"):
        settings.read_settings({"WAREHOUSE_TARGET": "postgresql"})


def test_a_port_that_is_no_number_is_a_fault_of_the_settings() -> None:
    with pytest.raises(SettingsError, match="PGPORT"):
        settings.read_settings({**PG, "PGPORT": "five"})


def profile(root: Path, text: str) -> Path:
    """Write a dbt profile."""
    path = root / "profiles" / "profiles.yml"
    path.parent.mkdir()
    path.write_text(text)
    return root


def test_a_project_without_a_profile_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"Cannot read .*full clone"):
        settings.read_settings({}, tmp_path)


@pytest.mark.parametrize(
    "text", ["", "other: {}", "admin_boundaries: 7", "admin_boundaries: {outputs: 7}", "a: [", "[]"]
)
def test_a_file_that_is_no_profile_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"profiles\.yml"):
        settings.read_settings({"INGEST_SECRET": "s"}, profile(tmp_path, text))


@pytest.mark.parametrize("value", ["{{ env_var('NO_SUCH') }}", "{{ nothing }}", "{{ env_var( }}"])
def test_a_value_that_cannot_be_rendered_is_told(tmp_path: Path, value: str) -> None:
    root = profile(tmp_path, f'admin_boundaries: {{outputs: {{embedded: {{type: duckdb, path: "{value}"}}}}}}')
    with pytest.raises(SettingsError, match=r"profiles\.yml"):
        settings.read_settings({"INGEST_SECRET": "s"}, root)


def test_an_output_that_lacks_the_host_is_told(tmp_path: Path) -> None:
    root = profile(tmp_path, "admin_boundaries: {outputs: {embedded: {type: postgis, port: 1, user: u, dbname: d}}}")
    with pytest.raises(SettingsError, match="host"):
        settings.read_settings({"INGEST_SECRET": "s"}, root)


def test_the_secret_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    env = {"WAREHOUSE_HOME": str(tmp_path / "home")}
    first, again = settings.read_settings(env), settings.read_settings(env)
    path = tmp_path / "home" / "secret"
    assert first.secret == again.secret == path.read_text()
    assert len(first.secret) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["secret"]


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "empty"), (b"\n", "empty"), (b"\xaf\xfe1", "not text"), (b"\0" * 64, "not text")],
    ids=["empty", "blank", "no text", "zeros"],
)
def test_a_damaged_secret_is_refused_with_what_to_do(tmp_path: Path, content: bytes, what: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    secret.chmod(0o600)
    with pytest.raises(SettingsError, match=f"secret is damaged: it is {what}") as caught:
        settings.read_settings({"WAREHOUSE_HOME": str(tmp_path)})
    assert "delete it: a new one is made" in caught.value.hint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_secret_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of-the-tests")
    secret.chmod(mode)
    with pytest.raises(SettingsError, match="is open to others") as caught:
        settings.read_settings({"WAREHOUSE_HOME": str(tmp_path)})
    assert f"chmod 600 {secret}" in caught.value.hint
    secret.chmod(0o600)
    assert settings.read_settings({"WAREHOUSE_HOME": str(tmp_path)}).secret == "of-the-tests"


def test_a_secret_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"WAREHOUSE_HOME": str(tmp_path)}
    settings.read_settings(env)
    owner = (tmp_path / "secret").stat().st_uid
    found = os.stat_result((0o100600, 0, 0, 1, owner + 1, 0, 64, 0, 0, 0))
    monkeypatch.setattr(os, "geteuid", lambda: owner + 2)
    with pytest.raises(SettingsError, match="belongs to another user"):
        settings._refuse_shared(tmp_path / "secret", found)


def test_a_home_where_no_secret_can_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="neither read nor written") as caught:
        settings.read_settings({"WAREHOUSE_HOME": str(tmp_path / "file" / "home")})
    assert "WAREHOUSE_HOME" in caught.value.hint


def _secret(home: str) -> str:
    return settings.read_settings({"WAREHOUSE_HOME": home}).secret


def test_processes_that_start_together_have_one_secret(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert len(set(pool.map(_secret, [str(tmp_path / "home")] * 9, chunksize=1))) == 1


def test_who_writes_a_secret_second_leaves_that_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("of the first")
    settings._write_secret(tmp_path, path)
    assert path.read_text() == "of the first"
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_a_secret_of_the_environment_is_used_and_written_nowhere(tmp_path: Path) -> None:
    found = settings.read_settings({"WAREHOUSE_HOME": str(tmp_path), "INGEST_SECRET": "swordfish"})
    assert found.secret == "swordfish"
    assert not list(tmp_path.iterdir())


def test_a_worker_keeps_memory_for_the_next_batch_unless_its_user_set_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in settings.ALLOCATOR:
        monkeypatch.delenv(variable, raising=False)
    assert settings.ALLOCATOR.items() <= settings.worker_environment().items()
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert settings.worker_environment()["MALLOC_TRIM_THRESHOLD_"] == "1"
