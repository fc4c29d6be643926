"""After a load: what is to be done next is said, or done."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import click
import pytest

from ingest import cli
from ingest.errors import BuildFailed, RunFailed, SourceUnavailable, TargetUnavailable
from ingest.ledger import Ledger, Request, RunState
from ingest.pipeline import build, runs
from ingest.settings import PROJECT_ROOT, Settings, dbt_environment
from tests.fixtures import marts as built
from tests.ingest.test_cli import run as run_command

NEXT = "Next: `dbt build` builds the marts from the published runs."
NOTHING = "The marts are of the published runs: nothing to build."
COMMANDS = {
    "start": ["gadm"],
    "resume": ["resume"],
    "refresh_published": ["refresh"],
    "rollback": ["rollback", "gadm"],
}
Ingest = Callable[..., tuple[int, str]]


def without_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every command that loads do nothing but end."""
    for name in COMMANDS:
        monkeypatch.setattr(runs, name, lambda *_arguments, **_options: None)


@pytest.fixture
def ingest(
    ledger: Ledger,
    request_of: Callable[..., Request],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Ingest:
    """Return a function that runs a command in this process; what it would load is there already."""
    without_loading(monkeypatch)
    run_id = ledger.create_run(request_of(), None)
    ledger.set_state(run_id, RunState.PUBLISHED, published_at=ledger.now())
    return lambda *arguments: run_command(*arguments, capsys=capsys, monkeypatch=monkeypatch)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The targets that were built."""
    done: list[str] = []
    monkeypatch.setattr(build, "build", lambda settings: done.append(settings.target))
    return done


@pytest.fixture
def loaded(settings: Settings) -> Path:
    """Marts of run-a, after run-b was published."""
    built.write(settings.home)
    built.publish(settings.home, {"gadm": ("run-b", "4.1")})
    return settings.home


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_load_ends_with_what_to_do_next(ingest: Ingest, builds: list[str], loaded: Path, command: list[str]) -> None:
    code, printed = ingest(*command)
    assert (code, printed.splitlines()[-1], builds) == (0, NEXT, [])


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_load_builds_the_marts_on_request(
    ingest: Ingest, builds: list[str], loaded: Path, command: list[str]
) -> None:
    code, printed = ingest(*command, "--build")
    assert (code, NEXT in printed, builds) == (0, False, ["embedded"])


def test_marts_that_were_never_built_are_built(ingest: Ingest, builds: list[str]) -> None:
    assert ingest("gadm")[1].splitlines()[-1] == NEXT
    ingest("gadm", "--build")
    assert builds == ["embedded"]


def test_marts_that_cannot_be_read_are_built_of_what_was_loaded_and_of_nothing_else(settings: Settings) -> None:
    def faults_of_marts(_: Settings) -> Sequence[str]:
        raise TargetUnavailable("Marts in an object store do not answer.")

    def due(*loaded: str) -> list[str]:
        return [each.boundaries for each in build.due(settings, loaded, faults_of_marts)]

    assert due("gadm", "timezones") == ["gadm"]
    assert due("tiger") == ["tiger"]
    assert due("timezones") == [settings.boundaries]


@pytest.mark.parametrize("options", [[], ["--build"]], ids=["as it is", "with --build"])
def test_where_nothing_is_published_nothing_is_built(
    builds: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    without_loading(monkeypatch)
    code, printed = run_command("resume", *options, capsys=capsys, monkeypatch=monkeypatch)
    assert (code, printed, builds) == (0, "Nothing is published: nothing to build.\n", [])


def test_current_marts_are_not_built_again(ingest: Ingest, builds: list[str], loaded: Path) -> None:
    built.publish(loaded, {"gadm": ("run-a", "4.0")})
    for options in ([], ["--build"]):
        assert ingest("gadm", *options)[1].splitlines()[-1] == NOTHING
    assert builds == []


def test_whoever_does_not_wait_for_the_load_cannot_have_it_built(
    ingest: Ingest, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "start", lambda *_arguments, **_options: pytest.fail("was started"))
    code, printed = ingest("gadm", "--build", "--async")
    assert code == 2
    assert "--build waits until the runs are published, and --async does not wait." in printed


def test_a_load_that_is_not_waited_for_prints_the_ids_of_its_runs_and_no_more(ingest: Ingest, loaded: Path) -> None:
    assert ingest("gadm", "--async") == (0, "")


def test_a_load_that_failed_is_not_built(
    ingest: Ingest, builds: list[str], loaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_arguments: object, **_options: object) -> None:
        raise RunFailed("Run x ended as failed.")

    monkeypatch.setattr(runs, "start", fails)
    assert ingest("gadm", "--build")[0] == 1
    assert builds == []


def test_a_publisher_who_does_not_answer_does_not_keep_the_others_from_being_built(
    ingest: Ingest, builds: list[str], loaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_arguments: object, **_options: object) -> None:
        raise SourceUnavailable("The publisher of timezones could not be reached.")

    monkeypatch.setattr(runs, "refresh_published", fails)
    code, printed = ingest("refresh", "--build")
    assert (code, builds) == (1, ["embedded"])
    assert "The publisher of timezones could not be reached." in printed


@pytest.mark.parametrize(("of_dbt", "code"), [(1, 1), (2, 2), (-signal.SIGKILL, 1)])
def test_a_build_that_fails_ends_the_command_with_its_exit_code(
    ingest: Ingest, loaded: Path, monkeypatch: pytest.MonkeyPatch, of_dbt: int, code: int
) -> None:
    def fails(_settings: Settings) -> None:
        raise BuildFailed.of_dbt("BOUNDARIES=tiger dbt build", of_dbt)

    monkeypatch.setattr(build, "build", fails)
    ended, printed = ingest("gadm", "--build")
    assert ended == code
    assert "`BOUNDARIES=tiger dbt build` failed" in printed


def test_dbt_runs_in_the_project_on_the_target_of_the_load(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[list[str], Path, dict[str, object]]] = []

    class Dbt:
        def __init__(self, command: list[str], *, cwd: Path, **options: object) -> None:
            asked.append((command, cwd, options))

        def __enter__(self) -> Dbt:
            return self

        def __exit__(self, *_fault: object) -> None:
            pass

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(build.subprocess, "Popen", Dbt)  # type: ignore[attr-defined]
    monkeypatch.chdir(tmp_path)
    build.build(settings)
    ((command, folder, options),) = asked
    assert command[0] == sys.executable
    assert command[command.index("-m") :] == [
        *("-m", "dbt.cli.main", "build", "--project-dir", str(PROJECT_ROOT)),
        *("--profiles-dir", str(PROJECT_ROOT / "profiles"), "--target", "embedded"),
    ]
    environment = dbt_environment(settings)
    assert (folder, options) == (PROJECT_ROOT, {"env": environment})  # the terminal is passed on


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "code"), [("select 1 as a", 0), ("select * from nowhere", 1), (None, 2)], ids=["builds", "fails", "none"]
)
def test_dbt_itself_builds_and_its_exit_code_is_kept(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    model: str | None,
    code: int,
) -> None:
    monkeypatch.setenv("DBT_PROFILES_DIR", "/no/such/folder")  # of another project
    (tmp_path / "models").mkdir()
    (tmp_path / "profiles").mkdir()
    if model:
        (tmp_path / "dbt_project.yml").write_text(
            "{name: one, version: 1.0.0, profile: one, flags: {send_anonymous_usage_stats: false}}"
        )
        (tmp_path / "models" / "one.sql").write_text(model)
    (tmp_path / "profiles" / "profiles.yml").write_text(
        "one: {target: other, outputs: {embedded: {type: duckdb, path: one.duckdb}}}"
    )
    print("before")
    if code:
        with pytest.raises(BuildFailed) as caught:
            build.build(replace(settings, boundaries="tiger"), tmp_path)
        assert caught.value.exit_code == code
        assert caught.value.message.startswith("`BOUNDARIES=tiger dbt build` failed")
    else:
        build.build(settings, tmp_path)
        assert (tmp_path / "one.duckdb").is_file()
    printed = capfd.readouterr()
    assert printed.out.startswith("before\n")
    assert "RuntimeWarning" not in printed.err
    assert model is None or "Running with dbt" in printed.out


def test_every_command_that_publishes_can_build() -> None:
    can = {name for name, command in cli.cli.commands.items() if any(o.name == "is_built" for o in command.params)}
    assert can == {"load", "resume", "refresh", "rollback"}
    assert isinstance(cli.cli, click.Group)
