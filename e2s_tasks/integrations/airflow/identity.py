"""The ids under which the ledger knows DAG runs and task instances: the same in every process of Airflow."""

from uuid import NAMESPACE_URL, uuid5

from e2s_tasks.settings import settings

TASK_INSTANCE = "task_instance"  # attribute of an attempt: its task_id, map_index and try, as Airflow has them


def dag_run_id(dag_id: str, run_id: str) -> str:
    """The root run of a DAG run."""
    return _id(dag_id, run_id)


def task_instance_id(dag_id: str, run_id: str, task_id: str, map_index: int | None) -> str:
    """The step of a task instance, with all its tries; map_index: -1 or None where it is not mapped."""
    index = -1 if map_index is None else map_index
    return _id(dag_id, run_id, task_id, str(index))


def _id(*parts: str) -> str:
    """The id of what has these names in this Airflow."""
    named = settings().airflow
    of = ("airflow",) if named is None else ("airflow", named)
    return str(uuid5(NAMESPACE_URL, ":".join(("e2s", *of, *parts))))
