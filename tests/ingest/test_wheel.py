"""A wheel holds all that the commands read, and gives a command of its own, which works far from any clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fixtures import marts as built

pytestmark = pytest.mark.slow
PACKAGES = ("ingest", "admin_boundaries", "dbt")
BUILT_FROM = (*PACKAGES, "profiles", "pyproject.toml", "README.md", "LICENSE")
Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built of a copy of the checkout: setuptools writes beside what it packs, and comes from the registry."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in BUILT_FROM:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    command = [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", "dist"]
    subprocess.run(command, cwd=folder, check=True)
    (found,) = (folder / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment with the wheel; all that it depends on is read from the one of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    into = ("--python", str(folder / "bin" / "python"))
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", *into, str(wheel)]
    subprocess.run(install, check=True)
    return folder / "bin"


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Return a function that runs a command in a folder where there is nothing; it returns its code and its output."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(program: str, *arguments: str, **more: str) -> tuple[int, str]:
        command = [str(installed / program), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env={**env, **more}, capture_output=True, text=True, check=False, timeout=120
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_wheel_holds_every_file_of_the_packages_with_its_content(wheel: Path) -> None:
    files = {path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()}
    kept = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    with zipfile.ZipFile(wheel) as archive:
        assert len(kept) > 200
        assert kept <= set(archive.namelist())
        assert archive.read("ingest/profiles.yml") == (ROOT / "profiles" / "profiles.yml").read_bytes()


def test_the_command_of_a_wheel_calls_itself_by_its_name(run: Run) -> None:
    from ingest import __version__

    assert run("admin-boundaries", "--version") == (0, f"admin-boundaries, version {__version__}\n")
    code, printed = run("admin-boundaries", "--help")
    assert (code, printed.splitlines()[0]) == (0, "Usage: admin-boundaries [OPTIONS] COMMAND [ARGS]...")
    assert "python -m ingest" not in printed
    assert "admin-boundaries ingest" not in printed
    code, printed = run("admin-boundaries", "find", "land", WAREHOUSE_HOME="nowhere")
    assert (code, "admin-boundaries gadm timezones, then dbt build" in printed) == (1, True)
    assert (
        "python -m ingest gadm timezones" in run("python", "-m", "ingest", "find", "land", WAREHOUSE_HOME="nowhere")[1]
    )


def test_what_reads_the_marts_works_without_a_clone(run: Run, tmp_path: Path) -> None:
    built.write(tmp_path / "data")
    built.add_lookups(tmp_path / "data")
    asked = ("sql", "select count(*) as n from marts.admin_level_1", "--format", "csv")
    code, printed = run("admin-boundaries", *asked, WAREHOUSE_HOME="data")  # in the folder where it is typed
    assert (code, printed.splitlines()[-2:]) == (0, ["n", "8"])
    ask = "import admin_boundaries as ab; print(ab.__file__, ab.open(home='data').find('land')[0].name, sep='\\n')"
    code, printed = run("python", "-W", "ignore", "-c", ask, WAREHOUSE_HOME="")
    file, name = printed.splitlines()
    assert (code, name) == (0, "Land of gadm")
    assert not Path(file).is_relative_to(ROOT)


@pytest.mark.parametrize(
    "arguments", [("gadm", "--release", "sample"), ("scaffold", "gadm"), ("overture", "--country", "TGO")], ids=" ".join
)
def test_what_needs_the_files_of_a_clone_says_so_without_one(
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    code, printed = run("admin-boundaries", *arguments)
    assert (code, f"{tmp_path} is no clone of the project" in printed) == (1, True), printed
    assert "Traceback" not in printed
