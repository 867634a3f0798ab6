"""DAGs of which something is killed, marked, or left behind."""

import os
import signal
from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

PIDS = Path(os.environ["AIRFLOW_HOME"]) / "pids"


@task
def works_for_long():
    from time import thread_time

    from airflow.sdk import get_current_context

    PIDS.mkdir(exist_ok=True)
    (PIDS / get_current_context()["run_id"]).write_text(str(os.getpid()))
    while thread_time() < 60:
        sum(range(1000))


@task(retries=1, retry_delay=timedelta(seconds=0))
def outlives_a_signal():
    os.kill(os.getpid(), signal.SIGTERM)
    raise ValueError("as it is to")


with DAG("outlives", schedule=None):
    outlives_a_signal()

with DAG("stops_in_order", schedule=None):
    BashOperator(task_id="bash", bash_command="echo $$ > $AIRFLOW_HOME/stops_in_order; exec sleep 60")

with DAG("stopped", schedule=None):
    works_for_long()

with DAG("in_the_background", schedule=None):
    burns = "python3 -c 'import time\nwhile time.process_time() < 1: pass'"
    BashOperator(task_id="bash", bash_command=f"{burns} &\nsleep 4")
