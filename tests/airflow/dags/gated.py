"""DAGs whose tasks wait for a cleaner grid. Each task says in a file when it did its work."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, BaseOperator, setup, task, teardown
from airflow.sdk.bases.sensor import BaseSensorOperator
from airflow_errors import AirflowException, TaskDeferred

from e2s_tasks import CarbonPolicy
from e2s_tasks.integrations.airflow import CarbonIntensitySensor, carbon_gate

WORKED = Path(os.environ.get("WORKED", "/dev/null"))
POLICY = CarbonPolicy("GB", max_delay="4m", expected_duration="10s")


def work(context):
    """Say that a task does its work."""
    ti = context["ti"]
    told = {"dag": ti.dag_id, "run": ti.run_id, "task": ti.task_id, "index": ti.map_index, "try": ti.try_number}
    with WORKED.open("a") as file:
        file.write(json.dumps(told | {"at": time.time()}) + "\n")


class Works(BaseOperator):
    """Works, and no more."""

    def execute(self, context):
        work(context)


class WorksAndDefers(BaseOperator):
    """Works, waits in the triggerer by itself, and ends."""

    def execute(self, context):
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        work(context)
        raise TaskDeferred(trigger=TimeDeltaTrigger(timedelta(seconds=9)), method_name="go_on")

    def go_on(self, context, event=None):
        return "both"


class AtOnce(BaseSensorOperator):
    """Finds at once what it looks for."""

    def poke(self, context):
        work(context)
        return True


class SecondLook(BaseSensorOperator):
    """Finds what it looks for when it looks again."""

    def poke(self, context):
        work(context)
        return context["ti"].get_first_reschedule_date(context) is not None


with DAG("gated", schedule=None, catchup=False, default_args={"retry_delay": timedelta(0)}):
    gate = carbon_gate(POLICY)

    @task(pre_execute=gate)
    def python(**context):
        work(context)
        return 5

    @task(pre_execute=gate)
    def mapped(number, **context):
        work(context)

    @task(pre_execute=gate, retries=1)
    def retried(**context):
        work(context)
        if context["ti"].try_number == 1:
            raise AirflowException("the first time it fails")

    @task
    def told(decision, **context):
        work(context)
        return decision["reason"]

    @task(pre_execute=carbon_gate(CarbonPolicy("nowhere", max_delay="2m", expected_duration="10s")))
    def of_no_zone(**context):
        work(context)

    BashOperator(
        task_id="bash",
        pre_execute=carbon_gate(POLICY, then=work),
        bash_command="test {{ ti.try_number }} = 1",
    )
    python(), mapped.expand(number=[1, 2]), retried(), of_no_zone()
    WorksAndDefers(task_id="defers", pre_execute=gate)
    looks = SecondLook(task_id="looks", mode="reschedule", poke_interval=10, soft_fail=True, pre_execute=gate)
    looks >> Works(task_id="after_looking")
    sensor = CarbonIntensitySensor(task_id="sensor", zone="GB", max_delay="4m", expected_duration="10s")
    told(sensor.output)


with DAG(
    "gated_by_tags",
    schedule=None,
    catchup=False,
    tags=["e2s:carbon", "e2s:zone=GB", "e2s:max-delay=4m", "e2s:expected-duration=10s"],
):

    @setup
    def prepare(**context):
        work(context)

    @teardown
    def tidy(**context):
        work(context)

    @task
    def each(number, **context):
        work(context)

    found = AtOnce(task_id="found")
    first, last = prepare(), tidy()
    many = each.expand(number=[1, 2])
    second = Works(task_id="second")
    last.as_teardown(setups=first)
    EmptyOperator(task_id="start") >> found >> many >> second
    first >> second >> last
    Works(task_id="at_once", params={"e2s": {"wait": False}})
    second >> Works(task_id="own", params={"e2s": {"zone": "GB", "max_delay": "2m", "expected_duration": "10s"}})
