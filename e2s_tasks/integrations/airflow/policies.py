"""What Airflow calls for each DAG that it has read, and each of its tasks: mistakes are told, and some tasks wait.

A DAG's policy (tags `e2s:carbon`, `e2s:zone=GB`, `e2s:max-delay=6h`, or the param `e2s`) is of the whole run: its first
tasks wait, and those after them go on without waiting again. A task that states a policy of its own, by its param
`e2s`, waits wherever it stands.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.policies import hookimpl

from e2s_tasks.errors import SettingError
from e2s_tasks.recorder.guard import warn_once


@hookimpl
def dag_policy(dag: Any) -> None:
    """See that the DAG's tags and its param say what somebody reads.

    Raises:
        AirflowClusterPolicyViolation: they do not; the DAG's page says why.
    """
    from e2s_tasks.integrations.airflow.active import is_active

    if not is_active():
        return
    with _refusing(dag.dag_id):
        from e2s_tasks.integrations.airflow import spelling

        spelling.check_dag(dag)


@hookimpl
def task_policy(task: Any) -> None:
    """See that the task's own param says what somebody reads; have it wait, if its DAG's policy, or its own, says so.

    Raises:
        AirflowClusterPolicyViolation: the param, or the policy, cannot be used; the DAG's page says why.
    """
    from e2s_tasks.integrations.airflow.active import is_active

    if not is_active():
        return
    with _refusing(f"{task.task_id} of {task.dag_id}"):
        from e2s_tasks.integrations.airflow import gating, spelling

        spelling.check_task(task)
        gating.gate(task)


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """A mistake becomes an import error of the DAG; whatever else goes wrong, a warning."""
    try:
        yield
    except SettingError as error:
        from airflow.exceptions import AirflowClusterPolicyViolation

        raise AirflowClusterPolicyViolation(f"{name}: {error}") from None
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once("reading what a DAG declares", error, "its tasks start at once")
