"""What Airflow calls for each task of a DAG that it has read: where a DAG has a carbon policy, tasks of it wait.

A DAG's policy (tags `e2s:carbon`, `e2s:zone=GB`, `e2s:max-delay=6h`, or the param `e2s`) is of the whole run: its first
tasks wait, and those after them go on without waiting again. A task that states a policy of its own, by its param
`e2s`, waits wherever it stands.
"""

from typing import Any

from airflow.policies import hookimpl

from e2s_tasks.errors import SettingError
from e2s_tasks.recorder.guard import warn_once


@hookimpl
def task_policy(task: Any) -> None:
    """Have the task wait, if its DAG's policy, or its own, says so.

    Raises:
        AirflowClusterPolicyViolation: the policy cannot be used; the DAG's page says why.
    """
    from e2s_tasks.integrations.airflow.active import is_active

    if not is_active():
        return
    from e2s_tasks.integrations.airflow import gating

    try:
        gating.gate(task)
    except SettingError as error:
        from airflow.exceptions import AirflowClusterPolicyViolation

        raise AirflowClusterPolicyViolation(f"{task.task_id} of {task.dag_id}: {error}") from None
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once("reading the carbon policy of a DAG", error, "its tasks start at once")
