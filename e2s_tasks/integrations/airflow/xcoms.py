"""Which other task instances' results an attempt was handed: the XComs that its arguments refer to."""

from collections.abc import Iterator
from typing import Any

from e2s_tasks.integrations.airflow.identity import task_instance_id


def upstream_of(task_instance: Any) -> list[str]:
    """The steps whose results the task's arguments stand for; of a mapped one all its instances that are known."""
    here = task_instance
    ids = {task_instance_id(here.dag_id, here.run_id, task_id, -1) for task_id in _referred(task_instance)}
    return sorted(ids)


def _referred(task_instance: Any) -> Iterator[str]:
    """The ids of the tasks that the DAG's author handed to this one; its own copy holds their results by now."""
    from airflow.sdk.definitions.xcom_arg import XComArg

    dag = task_instance.task.dag
    authored = dag.task_dict.get(task_instance.task_id) if dag is not None else None
    if authored is None:
        return
    expand = getattr(authored, "expand_input", None)
    arguments = [expand.value] if expand is not None else []
    partial = getattr(authored, "partial_kwargs", None)
    if partial:
        arguments.append(partial)
    arguments += [getattr(authored, name, None) for name in getattr(authored, "template_fields", ()) or ()]
    for argument in arguments:
        for operator, _ in XComArg.iter_xcom_references(argument):
            yield operator.task_id
