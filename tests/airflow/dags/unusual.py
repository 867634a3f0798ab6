"""Operators that copy, pickle and call themselves, and a DAG whose param `e2s` is somebody else's."""

import copy
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context

from airflow.sdk import DAG, Asset, BaseOperator, task


class Copies(BaseOperator):
    """Has a copy of itself do the work."""

    factor = 0

    def execute(self, context):
        if self.factor:
            return self.factor
        other = copy.copy(self)
        other.factor = 7
        return other.execute(context)


class CallsItself(BaseOperator):
    """Does a part of its work by calling itself, and the rest afterwards."""

    depth = 0

    def execute(self, context):
        from time import thread_time

        self.depth += 1
        if self.depth == 1:
            self.execute(context)
            end = thread_time() + 0.5
            while thread_time() < end:
                sum(range(1000))


class UsesAPool(BaseOperator):
    """Sends a method of its own to other processes."""

    def square(self, number):
        return number * number

    def execute(self, context):
        with ProcessPoolExecutor(2, get_context("fork")) as pool:
            return list(pool.map(self.square, [1, 2, 3]))


@task
def lists():
    return [1, 2, 3]


@task
def pulls_by_a_generator(ti=None):
    found = ti.xcom_pull(task_ids=(name for name in ["lists"]))
    assert found == [[1, 2, 3]], found


@task(execution_timeout=timedelta(seconds=3), outlets=[Asset("made just in time")])
def makes_it_just_in_time():
    from time import sleep

    sleep(2.9)


def dawdle(context):
    from time import sleep

    sleep(8)


@task(on_success_callback=dawdle, outlets=[Asset("told of before the callback")])
def is_called_back():
    from time import thread_time

    end = thread_time() + 0.3
    while thread_time() < end:
        sum(range(1000))


@task(map_index_template="{{ label }}")
def labels_itself(number):
    from airflow.sdk import get_current_context

    get_current_context()["label"] = f"number {number}"


class IsNeverWoken(BaseOperator):
    """Defers itself for longer than it may.

    Airflow fails a task that is due again before its executor has told that the process before it has ended.
    """

    def execute(self, context):
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        long = TimeDeltaTrigger(timedelta(minutes=10))
        self.defer(trigger=long, method_name="execute", timeout=timedelta(seconds=5))


class Deadly:
    """What kills who serialises it."""

    def __getattr__(self, name):
        os.kill(os.getpid(), signal.SIGKILL)


@task(outlets=[Asset("of who was killed while its result was sent")])
def is_killed_while_its_result_is_sent():
    from e2s_tasks import record_outcome

    record_outcome(units=10, accurate=10, name="row")
    return Deadly()


@task(on_failure_callback=dawdle)
def returns_what_cannot_be_sent():
    import threading

    return threading.Lock()


with DAG("fails_after_its_work", schedule=None):
    is_killed_while_its_result_is_sent()
    returns_what_cannot_be_sent()

with DAG("deferred_for_too_long", schedule=None):
    IsNeverWoken(task_id="is_never_woken")

with DAG("unusual", schedule=None, params={"e2s": "prod"}):
    [Copies(task_id="copies"), CallsItself(task_id="calls_itself")]
    lists() >> pulls_by_a_generator()
    makes_it_just_in_time()
    is_called_back()
    labels_itself.expand(number=[1])

with DAG("pool", schedule=None):
    UsesAPool(task_id="uses_a_pool")
