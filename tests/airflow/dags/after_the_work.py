"""What comes after an attempt's work: its report, which somebody may have made void, and its callbacks."""

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Asset, task
from airflow_errors import AirflowSkipException

from e2s_tasks import record_outcome
from e2s_tasks.io import write_parquet

HOME = Path(os.environ["AIRFLOW_HOME"])


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@task(outlets=[Asset("refused")])
def is_marked_meanwhile():
    record_outcome(units=10, name="row")
    (HOME / "works").touch()
    while not (HOME / "marked").exists():
        time.sleep(0.05)


@task(retries=1)
def is_marked_and_raises():
    (HOME / "works_and_raises").touch()
    while not (HOME / "marked_and_raises").exists():
        time.sleep(0.05)
    raise ValueError("as it is to")


def writes(context):
    import pandas as pd

    burn(0.3)
    write_parquet(pd.DataFrame({"x": [1]}), HOME / "by_a_callback.parquet")


def dies(context):
    os.kill(os.getpid(), signal.SIGKILL)


def exits(context):
    burn(0.5)
    sys.exit(7)


def counts(context):
    record_outcome(units=5, name="row")


@task(on_success_callback=writes)
def tells_of_it():
    time.sleep(3)  # what is beside it ends before


@task
def beside():
    burn(1.0)


@task(on_success_callback=dies, outlets=[Asset("of who died")])
def dies_afterwards():
    record_outcome(units=3, name="row")


@task(on_success_callback=exits, outlets=[Asset("of who exited")])
def exits_afterwards():
    record_outcome(units=2, name="row")


@task(on_failure_callback=exits)
def fails_and_exits():
    raise ValueError("as it is to")


@task(on_skipped_callback=exits)
def skips_and_exits():
    raise AirflowSkipException


@task(on_skipped_callback=dies)
def skips_and_dies():
    raise AirflowSkipException


@task(on_skipped_callback=counts)
def skips():
    raise AirflowSkipException


@task(on_failure_callback=counts, on_retry_callback=counts, retries=1, retry_delay=timedelta(seconds=0))
def fails():
    raise ValueError("as it is to")


with DAG("marked_meanwhile", schedule=None):
    is_marked_meanwhile()

with DAG("marked_and_raises", schedule=None):
    is_marked_and_raises()

with DAG("exits", schedule=None):
    exits_afterwards()
    fails_and_exits()

with DAG("skips", schedule=None):
    skips()
    skips_and_exits()
    skips_and_dies()

with DAG("calls_back", schedule=None):
    tells_of_it()
    beside()
    dies_afterwards()
    fails()
