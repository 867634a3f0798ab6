"""A DAG with an attempt of every kind."""

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, PokeReturnValue, TaskGroup, setup, task, teardown
from airflow_errors import AirflowException, AirflowSkipException, TaskDeferred


def burn(seconds):
    """Use so much CPU time."""
    from time import thread_time

    end = thread_time() + seconds
    while thread_time() < end:
        sum(range(1000))


class DefersItself(BaseOperator):
    """Works, waits in the triggerer, and works again."""

    def execute(self, context):
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        burn(0.2)
        raise TaskDeferred(trigger=TimeDeltaTrigger(timedelta(seconds=9)), method_name="go_on")

    def go_on(self, context, event=None):
        burn(0.3)


class Pokes(BaseSensorOperator):
    """Reschedules itself until some seconds have passed."""

    def poke(self, context):
        burn(0.05)
        return PokeReturnValue(is_done=datetime.now(UTC) > context["dag_run"].start_date + timedelta(seconds=12))


with DAG(
    "every_kind", schedule=None, catchup=False, tags=["e2s:solution=test"], default_args={"retry_delay": timedelta(0)}
):

    @setup
    def prepare():
        burn(0.05)

    @teardown
    def tidy():
        burn(0.05)

    @task(params={"e2s": {"stage": "training"}})
    def python():
        burn(0.5)
        return 5

    @task
    def double(number):
        burn(0.01)
        return 2 * number

    @task(retries=1)
    def retried(**context):
        burn(0.1)
        if context["ti"].try_number == 1:
            raise AirflowException("the first time it fails")

    @task
    def skipped():
        burn(0.1)
        raise AirflowSkipException("nothing to do")

    @task(execution_timeout=timedelta(seconds=1))
    def timed_out():
        burn(5)

    @task
    def mapped(number):
        burn(0.02)
        return number

    first, last = prepare(), tidy()
    with TaskGroup("group"):
        bash = BashOperator(
            task_id="bash", bash_command="python3 -c 'import time; t=time.process_time\nwhile t()<0.5: pass'"
        )
    number = python()
    work = [
        number,
        double(number),
        retried(),
        skipped(),
        timed_out(),
        mapped.expand(number=list(range(int(os.environ.get("BENCHMARK_TASKS", "4"))))),
        bash,
        DefersItself(task_id="defers"),
        Pokes(task_id="pokes", mode="reschedule", poke_interval=9),
    ]
    first >> work
    work >> last
    last.as_teardown(setups=first)
