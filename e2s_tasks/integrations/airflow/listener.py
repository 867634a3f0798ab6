"""What Airflow calls when a task instance or a DAG run begins and ends; of other processes' tasks only the end is told.

The hooks of task instances are called in the process of each attempt with the task SDK's task instance; in the
scheduler, for tasks that were killed, and in the API server, for those that somebody has marked, with a row of the
database. Only of the latter Airflow does not say what they were before.
"""

from typing import Any

from airflow.listeners import hookimpl

from e2s_tasks.integrations.airflow import attempts, runs
from e2s_tasks.recorder.guard import guarded

TRIGGERER = "TriggererJob"


@hookimpl
def on_starting(component: Any) -> None:
    """A process of Airflow begins."""
    if _runs_a_task(component):
        attempts.process_begins()
    elif getattr(component, "job_type", None) == TRIGGERER:
        _prepare_triggers()


@hookimpl
def before_stopping(component: Any) -> None:
    """A process of Airflow ends."""
    if _runs_a_task(component):
        attempts.process_ends()


@hookimpl
def on_task_instance_running(previous_state: Any, task_instance: Any) -> None:  # noqa: ARG001 - Airflow's signature
    """An attempt begins."""
    if _is_in_its_process(task_instance):
        attempts.attempt_begins(task_instance)


@hookimpl
def on_task_instance_failed(previous_state: Any, task_instance: Any, error: Any) -> None:
    """An attempt has failed."""
    if _is_in_its_process(task_instance):
        attempts.attempt_failed(error)
    else:
        runs.marked(task_instance, by_hand=previous_state is None)


@hookimpl
def on_task_instance_success(previous_state: Any, task_instance: Any) -> None:
    """An attempt has succeeded, of which the runner tells, or was marked so in the API server."""
    if not _is_in_its_process(task_instance):
        runs.marked(task_instance, by_hand=previous_state is None)


@hookimpl
def on_task_instance_skipped(previous_state: Any, task_instance: Any) -> None:
    """The same of one that was skipped."""
    if not _is_in_its_process(task_instance):
        runs.marked(task_instance, by_hand=previous_state is None)


@hookimpl
def on_dag_run_running(dag_run: Any, msg: str) -> None:  # noqa: ARG001
    """A DAG run begins, in the scheduler."""
    runs.begun(dag_run)


@hookimpl
def on_dag_run_success(dag_run: Any, msg: str) -> None:  # noqa: ARG001
    """A DAG run has succeeded, in the scheduler, or was marked so in the API server."""
    runs.ended(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: Any, msg: str) -> None:  # noqa: ARG001
    """A DAG run has failed, in the scheduler, or was marked so in the API server."""
    runs.ended(dag_run)


@guarded
def _prepare_triggers() -> None:
    """The process in which a triggerer's triggers run is forked from this one, and has what this one has loaded."""
    from e2s_tasks.integrations.airflow import trigger

    trigger.load()


def _runs_a_task(component: Any) -> bool:
    return type(component).__name__ == "TaskRunnerMarker"


def _is_in_its_process(task_instance: Any) -> bool:
    return hasattr(task_instance, "get_template_context") and hasattr(task_instance, "_ti_context_from_server")
