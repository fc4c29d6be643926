"""The chain as Airflow sees it, with astronomer-cosmos: a refresh, then one task that builds and tests all marts.

Install beside the project: ``pip install apache-airflow astronomer-cosmos``; put this file, or a link to it, into the
folder of DAGs: ``docs/examples/airflow_boundaries.py``. One task for all models, not Cosmos' task for each: a build is
put before readers when all of it has passed, and tasks of one model each would publish their own part.
"""

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from cosmos import ProfileConfig
from cosmos.operators.local import DbtBuildLocalOperator

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ProfileConfig(
    profile_name="admin_boundaries",
    target_name=os.environ.get("WAREHOUSE_TARGET") or "embedded",
    profiles_yml_filepath=ROOT / "profiles" / "profiles.yml",
)

with DAG(
    dag_id="admin_boundaries",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10)},
):
    refresh = BashOperator(
        task_id="refresh", cwd=str(ROOT), bash_command=f"{sys.executable} -m ingest refresh", append_env=True
    )
    build = DbtBuildLocalOperator(
        task_id="build", project_dir=str(ROOT), profile_config=PROFILE, append_env=True, install_deps=False
    )
    prune = BashOperator(
        task_id="prune", cwd=str(ROOT), bash_command=f"{sys.executable} -m ingest prune", append_env=True
    )
    refresh >> build >> prune
