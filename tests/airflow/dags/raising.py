"""Tasks that end with errors, each by another way through Airflow's runner."""

import os
import signal
import subprocess
import time
from datetime import timedelta

from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, Asset, BaseOperator, Variable, task

from e2s_tasks.io import patch


def fails(context):
    raise ValueError("of the callback")


class Defers(BaseOperator):
    def __init__(self, given=None, **kwargs):
        super().__init__(**kwargs)
        self.given = given

    def execute(self, context):
        kwargs = {} if self.given is None else {"given": self.given}
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="goes_on", kwargs=kwargs)

    def goes_on(self, context, event=None):
        raise ValueError("after the deferral")


class FailsToStop(BaseOperator):
    def execute(self, context):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    def on_kill(self):
        raise ValueError("of on_kill")


with DAG("raising", schedule=None) as dag:

    @task(retries=1, retry_delay=timedelta(seconds=0), on_retry_callback=fails, on_failure_callback=fails)
    def raises():
        raise ValueError("of the user's")

    @task
    def raises_from():
        try:
            Variable.get("there is none")
        except KeyError as error:
            raise ValueError("of the user's") from error

    @task
    def takes_long():
        time.sleep(30)

    @task
    def asks_for_long():
        while True:
            Variable.get("there is none", default=None)

    @task
    def fails_for_good():
        raise AirflowFailException("no more tries")

    @task
    def skips():
        raise AirflowSkipException("nothing to do")

    @task
    def has_no_such_program():
        subprocess.run(["there-is-no-such-program"], check=True)

    @task
    def reads_no_file():
        import pandas as pd

        patch()
        pd.read_parquet("there-is-none.parquet")

    @task
    def returns_what_cannot_be_kept():
        return object()

    @task
    def numbers():
        return [1, 2]

    @task
    def each(number):
        return number

    @task
    def picks(numbers):
        return numbers[7]

    @task(outlets=[Asset("file:///tmp/raising")])
    def tells_what_cannot_be_sent(outlet_events=None):
        outlet_events[Asset("file:///tmp/raising")].extra = {"it": object()}

    @task(on_success_callback=fails)
    def is_followed_by_an_error():
        return None

    raises(), raises_from(), fails_for_good(), skips(), has_no_such_program(), reads_no_file()
    returns_what_cannot_be_kept(), tells_what_cannot_be_sent(), is_followed_by_an_error()
    takes_long.override(execution_timeout=timedelta(seconds=1))()
    asks_for_long.override(execution_timeout=timedelta(seconds=1))()
    picks(each.expand(number=numbers()))
    TriggerDagRunOperator(task_id="triggers_none", trigger_dag_id="there_is_none")
    FailsToStop(task_id="fails_to_stop")
    Defers(task_id="defers")
    Defers(task_id="cannot_be_deferred", given=object())
    Defers(task_id="cannot_be_rendered", given="x").template_fields = ("missing",)
