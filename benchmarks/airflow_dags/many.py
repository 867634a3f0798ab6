"""A DAG of many attempts that do nothing, and the flight-delay pipeline."""

import os

from airflow.sdk import DAG, task


@task
def nothing(number: int) -> None:
    pass


with DAG("many", schedule=None):
    nothing.expand(number=list(range(int(os.environ.get("BENCHMARK_TASKS", "100")))))
