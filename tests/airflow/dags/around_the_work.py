"""What an attempt does before and after its operator: loading, keeping, waiting for a run that it triggers."""

import os
import signal
from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Asset, task

AT_ONCE = {"retry_delay": timedelta(seconds=0)}


@task
def makes_much():
    return [n * 0.1 for n in range(1_000_000)]


@task
def takes_much(found):
    assert len(found) == 1_000_000


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


def triggers(dag_id, how="", **more):
    more |= {"wait_for_completion": True, "poke_interval": 1, "outlets": [Asset(f"of {dag_id}{how}")]}
    TriggerDagRunOperator(task_id=f"{dag_id}{how}", trigger_dag_id=dag_id, **more)


with DAG("triggers", schedule=None):
    triggers("child_that_fails")
    triggers("child_that_succeeds")
    triggers("child_that_succeeds", "_deferred", deferrable=True)
