"""Tasks that somebody marks while they are deferred, or while they work and then end otherwise."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator, task
from airflow_errors import AirflowFailException, AirflowSkipException

HOME = Path(os.environ["AIRFLOW_HOME"])


class IsDeferred(BaseOperator):
    """It waits for longer than any test."""

    def execute(self, context):
        self.defer(trigger=TimeDeltaTrigger(timedelta(hours=1)), method_name="goes_on")

    def goes_on(self, context, event=None):
        """It never does."""


def waits_for_its_mark(name):
    (HOME / f"{name}_works").touch()
    while not (HOME / f"{name}_is_marked").exists():
        time.sleep(0.05)


@task
def skips():
    waits_for_its_mark("skips")
    raise AirflowSkipException


@task
def fails():
    waits_for_its_mark("fails")
    raise AirflowFailException


@task
def has_its_own_handler():
    signal.signal(signal.SIGTERM, lambda *_: None)
    (HOME / "has_its_own_handler_works").touch()
    time.sleep(120)


with DAG("marked", schedule=None):
    IsDeferred(task_id="succeeds")
    IsDeferred(task_id="is_failed")
    IsDeferred(task_id="keeps_the_run_going") >> EmptyOperator(task_id="never_begins")
    IsDeferred(task_id="is_scheduled", pool="of_nobody")

with DAG("cleared", schedule=None):
    IsDeferred(task_id="is_cleared")

with DAG("marked_at_work", schedule=None):
    skips()
    fails()
    has_its_own_handler()
