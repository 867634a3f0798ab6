"""A DAG that reads what a Prefect flow wrote."""

import os
from pathlib import Path

from airflow.sdk import DAG, task

LAKE = Path(os.environ["AIRFLOW_HOME"]) / "lake"


@task
def reads_it():
    from e2s_tasks.io import read_parquet, write_parquet

    write_parquet(read_parquet(LAKE / "by_prefect.parquet"), LAKE / "by_airflow.parquet")


with DAG("after_prefect", schedule=None):
    reads_it()
