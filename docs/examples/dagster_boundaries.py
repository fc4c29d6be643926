"""The chain as Dagster sees it, with dagster-dbt: a refresh, then one asset that is all marts of one build.

Install beside the project: ``pip install dagster dagster-webserver dagster-dbt``; then, in the project's folder,
``dagster dev -f docs/examples/dagster_boundaries.py``. Not ``@dbt_assets``: these call ``dbt build --select``, which
builds a part, from the run that the other marts are of, while ``dbt build`` alone takes what was loaded last.
"""

import subprocess
import sys
from pathlib import Path

import dagster as dg
from dagster_dbt import DbtCliResource

ROOT = Path(__file__).resolve().parents[2]
AGAIN = dg.RetryPolicy(max_retries=2, delay=600)


@dg.asset(retry_policy=AGAIN)
def raw_boundaries() -> None:
    """Ask the publishers, and load what is new; readers of the raw tables never see a part of it."""
    subprocess.run([sys.executable, "-m", "ingest", "refresh"], cwd=ROOT, check=True)


@dg.asset(deps=[raw_boundaries], retry_policy=AGAIN)
def marts(dbt: DbtCliResource) -> None:
    """Build and test all marts; they are put before readers in one step if every test passes."""
    dbt.cli(["build"]).wait()


@dg.asset(deps=[marts])
def room() -> None:
    """Remove what no kept publication needs any more."""
    subprocess.run([sys.executable, "-m", "ingest", "prune"], cwd=ROOT, check=True)


defs = dg.Definitions(
    assets=[raw_boundaries, marts, room],
    schedules=[
        dg.ScheduleDefinition(
            name="nightly", target=dg.AssetSelection.all(), cron_schedule="0 3 * * *", execution_timezone="UTC"
        )
    ],
    resources={"dbt": DbtCliResource(project_dir=str(ROOT), profiles_dir=str(ROOT / "profiles"))},
)
