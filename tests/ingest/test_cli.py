"""The command line: help for everything, exit codes 0, 1 and 2, and a hint where a word was mistyped."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ingest import cli as command_line
from ingest import engines, settings
from ingest.cli import loading, options
from ingest.errors import IngestError, did_you_mean
from ingest.ledger import Ledger, Request, RunState
from ingest.settings import Settings
from tests.conftest import ROOT
from tests.fixtures import boundaries


def commands(
    group: click.Command = command_line.cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with the words that lead to it."""
    yield path, group
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, (*path, name))


ALL = dict(commands())
OPTIONS = [
    (path, option) for path, command in ALL.items() for option in command.params if isinstance(option, click.Option)
]


def run(*arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run a command in this process and return its exit code and all that it printed."""
    code, out, err = run_apart(*arguments, capsys=capsys, monkeypatch=monkeypatch)
    return code, out + err


def run_apart(
    *arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """Run a command in this process and return its exit code, its output and its error output."""
    monkeypatch.setattr(sys, "argv", ["ingest", *arguments])
    code: int | str | None = 0
    try:
        command_line.main()
    except SystemExit as ended:
        code = ended.code
    printed = capsys.readouterr()
    assert isinstance(code, int)
    return code, printed.out, printed.err


@pytest.fixture
def ingest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """Return a function that runs ``python -m ingest`` in this process."""
    return lambda *arguments: run(*arguments, capsys=capsys, monkeypatch=monkeypatch)


@pytest.mark.parametrize("path", ALL, ids=lambda path: " ".join(path) or "ingest")
def test_every_command_says_what_it_does(path: tuple[str, ...]) -> None:
    assert (ALL[path].help or "").strip()


@pytest.mark.parametrize(
    ("path", "option"), OPTIONS, ids=lambda value: " ".join(value) if isinstance(value, tuple) else value.name
)
def test_every_option_says_what_it_does(path: tuple[str, ...], option: click.Option) -> None:
    assert (option.help or "").strip()


@pytest.mark.parametrize("path", ALL, ids=lambda path: " ".join(path) or "ingest")
def test_help_ends_well(ingest: object, path: tuple[str, ...]) -> None:
    code, printed = ingest(*path, "--help")  # type: ignore[operator]
    assert code == 0
    assert printed.startswith("Usage: python -m ingest")


def test_every_engine_can_be_chosen() -> None:
    (option,) = (option for option in ALL["load",].params if option.name == "engine")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == engines.ENGINES


def test_the_version_is_that_of_the_package(ingest: object) -> None:
    from ingest import __version__

    assert ingest("--version") == (0, f"admin-boundaries, version {__version__}\n")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gdam"], "no dataset or command 'gdam'. Did you mean 'gadm'?"),
        (["gadm", "timezone"], "'timezone'. Did you mean 'timezones'?"),
        (["staus"], "'staus'. Did you mean 'status'?"),
        (["load"], "Missing argument"),
        (["gadm", "--levels", "x"], "'x' is neither a level nor a range"),
        (["gadm", "--levels", "3-1"], "'3-1' begins after its end"),
        (["gadm", "--levels", ""], "neither a level nor a range"),
        (["gadm", "--levels", "0-6"], "gadm has no level 6"),
        (["gadm", "--country", "Tog0"], "Did you mean TGO (Togo)?"),
        (["gadm", "--country", "../"], "neither a code of ISO 3166-1"),
        (["gadm", "--engine", "ogr2ogr"], "'ogr2ogr' is not one of"),
        (["locate", "1,2", "-6,25"], "not two numbers. With decimal points and a blank between them: 1.2 -6.25"),
        (["locate", "1.2,6.2"], "With decimal points and a blank between them: 1.2 6.2"),
        (["locate", "1,2; 6,2"], "With decimal points and a blank between them: 1.2 6.2"),
        (["locate", "1.2;", "6.2"], "With decimal points and a blank between them: 1.2 6.2"),
        (["locate", "here", "there"], "'here' and 'there' are not two numbers. Give degrees"),
        (["find", "x", "--near", "1,2", "6,2"], "With decimal points and a blank between them: 1.2 6.2"),
        (["gadm", "--workers", "0"], "--workers"),
        (["gadm", "--release", "4.2"], "gadm has no release '4.2'. Did you mean '4.1'?"),
        (["gadm", "--source", "timezones=/x.zip"], "is for timezones, which this command does not load"),
        (["gadm", "--no-such-option"], "--no-such-option"),
        (["gadm", "--source", "/x.zip#sha256=1"], "is not a SHA-256 checksum"),
    ],
)
def test_a_wrong_usage_ends_with_2_and_says_why(ingest: object, arguments: list[str], message: str) -> None:
    code, printed = ingest(*arguments)  # type: ignore[operator]
    assert code == 2
    assert message in " ".join(printed.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gadm", "--source", "/no/such/file.gpkg"], "There is no file /no/such/file.gpkg"),
        (["gadm", "--source", "ftp://host/x.zip"], "ftp:// addresses are not supported"),
        (["status", "no-such-run"], "There is no run 'no-such-run'"),
        (["resume", "no-such-run"], "There is no run 'no-such-run'"),
    ],
)
def test_a_failure_ends_with_1_and_says_what_to_do(ingest: object, arguments: list[str], message: str) -> None:
    code, printed = ingest(*arguments)  # type: ignore[operator]
    assert code == 1
    assert message in printed
    assert printed.count("\n") >= 2
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("number", "told"),
    [
        *(
            (number, "cannot be written: {}. Free some space where")
            for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        ),
        *((number, "cannot be used: {}. Does it belong to another user") for number in (errno.EACCES, errno.ENOTDIR)),
        *((number, "cannot be used: {}. Does it belong to another user") for number in (errno.EROFS, errno.EEXIST)),
        (errno.ECONNRESET, None),
    ],
)
def test_a_full_disk_or_a_file_that_cannot_be_used_anywhere_ends_with_1_and_says_which_file(
    ingest: object, monkeypatch: pytest.MonkeyPatch, number: int, told: str | None
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number), "/home/of/it")

    monkeypatch.setattr(settings, "read_settings", fail)
    if told is None:
        with pytest.raises(OSError, match="reset"):
            ingest("doctor")  # type: ignore[operator]
        return
    code, printed = ingest("doctor")  # type: ignore[operator]
    assert code == 1
    assert f"/home/of/it {told.format(os.strerror(number))}" in " ".join(printed.split())


@pytest.mark.parametrize("state", [RunState.PUBLISHED, RunState.FAILED, RunState.UNCHANGED, RunState.SUPERSEDED])
def test_a_run_that_has_ended_is_not_resumed_and_starts_no_worker(
    ingest: object, ledger: Ledger, settings: Settings, request_of: object, state: RunState
) -> None:
    run_id = ledger.create_run(request_of(), None)  # type: ignore[operator]
    ledger.set_state(run_id, state)
    code, printed = ingest("resume", run_id)  # type: ignore[operator]
    assert (code, f"Run {run_id} has ended: {state}." in printed) == (2, True)
    assert not (settings.home / "logs").exists()


def test_levels_are_single_numbers_and_ranges() -> None:
    parse = options.parse_levels
    context, option = click.Context(command_line.cli), click.Option(["--levels"])
    assert parse(context, option, None) is None
    assert parse(context, option, "0-2, 4,1") == (0, 1, 2, 4)


def test_options_are_sorted_by_dataset() -> None:
    per_dataset = loading._per_dataset
    values = ["/both.zip", "gadm=/a=b.zip", "timezones=http://host/?x=y"]
    assert per_dataset(values, ["gadm", "timezones"]) == {
        "gadm": ["/both.zip", "/a=b.zip"],
        "timezones": ["/both.zip", "http://host/?x=y"],
    }
    assert per_dataset(["http://host/x?gadm=1"], ["gadm"]) == {"gadm": ["http://host/x?gadm=1"]}


def test_the_state_of_runs_and_slices_is_shown(
    ingest: object, ledger: Ledger, settings: Settings, request_of: object
) -> None:
    made: Request = request_of("gadm", "/a [b].gpkg")  # type: ignore[operator]
    run_id = ledger.create_run(made, None)
    ledger.fail(run_id, "Self-intersection[10 20] in [bold]")
    code, listed = ingest("status")  # type: ignore[operator]
    assert (code, run_id in listed, "failed" in listed) == (0, True, True)
    code, shown = ingest("status", run_id)  # type: ignore[operator]
    assert code == 0
    assert "Self-intersection[10 20] in [bold]" in shown
    assert "/a [b].gpkg" in shown


def test_the_nearest_word_is_named_or_all_of_them() -> None:
    assert did_you_mean("gdam", ["gadm", "timezones"]) == "Did you mean 'gadm'?"
    assert did_you_mean("xyz", ["b", "a"]) == "Known: a, b."
    assert did_you_mean("xyz", []) == ""


def test_a_message_ends_with_its_hint() -> None:
    assert str(IngestError("It broke.", "Mend it.")) == "It broke. Mend it."
    assert str(IngestError("It broke.")) == "It broke."


@pytest.mark.slow
def test_the_command_loads_a_file_with_workers_of_its_own(tmp_path: Path) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 2}))
    command = [sys.executable, "-m", "ingest", "gadm", "--source", str(path), "--workers", "1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    first, again = (
        subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False) for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    counts = dict(line.split()[2:4] for line in first.stdout.splitlines() if " gadm_adm_" in line)
    assert counts == {
        "gadm_adm_0": "1",
        "gadm_adm_1": "4",
        "gadm_adm_2": "16",
        "gadm_adm_3": "0",
        "gadm_adm_4": "0",
        "gadm_adm_5": "0",
    }
    assert again.returncode == 0, again.stderr
    assert "unchanged" in again.stdout
