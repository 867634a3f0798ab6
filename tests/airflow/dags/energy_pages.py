"""A DAG with what the Energy tabs have to show: a retry, mapped instances, artifacts, and names that are no markup."""

import time
from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, get_current_context, task
from airflow_errors import AirflowException

EVIL = "<script>alert(1)</script>"
FEATURES = Asset("s3://delays/features.parquet")
MODEL = Asset(f"s3://models/{EVIL}")


def burn(seconds):
    """Use so much CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))


with DAG(
    "energy_pages", schedule=None, catchup=False, tags=["e2s:solution=delay-forecast"],
    default_args={"retry_delay": timedelta(0)},
):  # fmt: skip

    @task(outlets=[FEATURES], params={"e2s": {"stage": "data_preparation"}})
    def build_features():
        burn(0.6)

    @task(retries=1, inlets=[FEATURES], outlets=[MODEL], params={"e2s": {"stage": "training"}})
    def train(**context):
        import numpy as np

        ballast = np.ones(12_000_000)  # 96 MB
        burn(0.8)
        if context["ti"].try_number == 1:
            raise AirflowException("the first time it fails")
        return float(ballast[0])

    @task(map_index_template="{{ label }}")
    def score(batch):
        get_current_context()["label"] = f"{EVIL} {batch}"
        burn(0.15 * (1 + batch))

    @task
    def publish(**context):
        burn(0.1)
        time.sleep(float((context["dag_run"].conf or {}).get("sleep_s", 0)))

    build_features() >> train() >> score.expand(batch=[0, 1, 2]) >> publish() >> EmptyOperator(task_id="done")

with DAG("secret_pages", schedule=None, catchup=False):

    @task
    def hidden():
        burn(0.05)

    hidden()
