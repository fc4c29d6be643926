"""What all tests share: the header with versions, and where real files are."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hypothesis
import pyogrio
import pytest
import shapely
from xdist.scheduler import LoadFileScheduling

from tests.fixtures.webhook import Webhook, listening

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

# What the machine that runs the tests has set must not show through, and nothing of it may be touched.
MACHINE = (
    *("WAREHOUSE_TARGET", "WAREHOUSE_HOME", "REDIS_URL", "INGEST_SECRET", "ALERT_WEBHOOK", "REFRESH_SCHEDULE"),
    *("INGEST_NO_PRIVATE_ADDRESSES", "INGEST_PLANNING_SECONDS", "BOUNDARIES"),
    *("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSERVICE", "PGPASSFILE"),
    *("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
)

# Files that need the same costly fixture of the session: one worker runs them one after the other, and makes it once.
TOGETHER = {f"tests/integration/{name}.py": "the main job" for name in ("test_main_job", "test_parity", "test_api")}

# CI runs the same examples every time: a search for new ones must not fail somebody's unrelated change.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")


def pytest_configure(config: pytest.Config) -> None:
    """Give every test process a queue of its own: importing the tasks opens it, before there is any fixture.

    Without it the processes of one run would share the queue of the checkout, and empty it for its owner.
    """
    for name in MACHINE:
        os.environ.pop(name, None)
    home = tempfile.TemporaryDirectory(prefix="boundaries-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(home.cleanup)
    os.environ["WAREHOUSE_HOME"] = home.name
    # programs of this environment are found by their names, whether or not it was activated
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


class ByFixture(LoadFileScheduling):  # type: ignore[misc]
    """Hands out whole files, those that stand together in `TOGETHER` as one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return TOGETHER.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFixture | None:
    """Schedule whole files so that what several of them need is made by one worker."""
    return ByFixture(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_report_header() -> list[str]:
    """Name the libraries whose version decides what geometry comes out."""
    names = ("apache-sedona", "sedonadb", "geopandas", "dbt-core", "duckdb", "huey", "adbc-driver-postgresql")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    gdal = ".".join(map(str, pyogrio.__gdal_version__))
    real = "real files in ../shared/data" if SHARED_DATA.is_dir() else "no ../shared/data: generated files"
    return [f"GDAL {gdal}, GEOS {shapely.geos_version_string}, {libraries}", real]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A webhook that keeps what it is told."""
    with listening() as found:
        yield found
