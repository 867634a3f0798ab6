"""What an attempt does before and after its operator: loading, keeping, waiting for a run that it triggers."""

import os
import shlex
import signal
import sys
from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Asset, task

AT_ONCE = {"retry_delay": timedelta(seconds=0)}


@task
def makes_much():
    return [n * 0.1 for n in range(300_000)]


@task
def takes_much(found):
    assert len(found) == 300_000


@task
def feeds():
    return 7


@task(outlets=[Asset("survived")])
def survives(fed):
    os.kill(os.getpid(), signal.SIGTERM)
    return fed


with DAG("around_the_work", schedule=None):
    takes_much(makes_much())
    survives(feeds())
    BashOperator(task_id="cannot_be_rendered", bash_command="echo {{ 1 / 0 }}", retries=1, **AT_ONCE)

with DAG("child_that_fails", schedule=None, is_paused_upon_creation=False):
    BashOperator(task_id="fails", bash_command="sleep 3; exit 1")

with DAG("child_that_succeeds", schedule=None, is_paused_upon_creation=False):
    BashOperator(task_id="succeeds", bash_command="sleep 3")

PROGRAM = """
from e2s_tasks import record_outcome
from e2s_tasks.io import writing
with writing("made.txt"):
    open("made.txt", "w").close()
record_outcome(3, name="row")
"""

with DAG("a_program", schedule=None):
    BashOperator(
        task_id="runs", bash_command=shlex.join([sys.executable, "-c", PROGRAM]), append_env=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


@task
def writes_in_workers():
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from tests.mixes.writing import write

    for method in ("spawn", "forkserver"):
        with ProcessPoolExecutor(1, get_context(method)) as pool:
            pool.submit(write, Path(os.environ["AIRFLOW_HOME"]) / f"{method}.parquet").result()


with DAG("workers", schedule=None):
    writes_in_workers()


def triggers(dag_id, how="", **more):
    more |= {"wait_for_completion": True, "poke_interval": 1, "outlets": [Asset(f"of {dag_id}{how}")]}
    TriggerDagRunOperator(task_id=f"{dag_id}{how}", trigger_dag_id=dag_id, **more)


with DAG("triggers", schedule=None):
    triggers("child_that_fails")
    triggers("child_that_succeeds")
    triggers("child_that_succeeds", "_deferred", deferrable=True)
