"""Which task instances' results went into which others: the XComs that arguments stand for, and those that are pulled.

Of a mapped task no instance knows how many there are, so that each of them says whom its own result is handed to.
"""

from collections.abc import Iterable, Iterator
from functools import wraps
from typing import Any

from e2s_tasks.integrations.airflow.identity import task_instance_id
from e2s_tasks.recorder.guard import guarded

Edge = tuple[str, str]  # the step whose result was handed on, and the one that it was handed to
Pulled = tuple[Any, str, int]  # the task instance that pulled, and the id and map index of whose result
_pulled: list[Pulled] = []
NO_INDEX = -1


def edges_of(task_instance: Any) -> list[Edge]:
    """What the attempt's arguments stand for, and to whom the result of a mapped instance is handed."""
    dag = task_instance.task.dag
    authored = dag.task_dict if dag is not None else {}
    return sorted({*_handed_to(task_instance, authored), *_handed_on(task_instance, authored)})


def _handed_to(here: Any, authored: dict[str, Any]) -> Iterator[Edge]:
    own = authored.get(here.task_id)
    for task_id, each in _referred(own) if own is not None else ():
        index = NO_INDEX
        if _has_instances(authored.get(task_id)):
            if not (each and _index(here) >= 0):
                continue  # it says so itself
            index = _index(here)
        yield _step(here, task_id, index), _step(here, here.task_id, _index(here))


def _handed_on(here: Any, authored: dict[str, Any]) -> Iterator[Edge]:
    if _index(here) < 0:
        return
    for task_id, other in authored.items():
        if not _has_instances(other) and any(one == here.task_id for one, _ in _referred(other)):
            yield _step(here, here.task_id, _index(here)), _step(here, task_id, NO_INDEX)


def _referred(task: Any) -> Iterator[tuple[str, bool]]:
    """The ids of the tasks that the DAG's author handed to a task, and whether each instance has its own part."""
    from airflow.sdk.definitions.xcom_arg import XComArg

    given = (getattr(task, name, None) for name in ("expand_input", "op_kwargs_expand_input"))
    expanded = [one.value for one in given if one is not None]
    in_a_group = task.get_closest_mapped_task_group() is not None
    whole = [getattr(task, "partial_kwargs", None)]
    if not expanded:
        whole += [getattr(task, name, None) for name in getattr(task, "template_fields", ()) or ()]
    for arguments, each in ((expanded, True), (whole, in_a_group)):
        for operator, _ in XComArg.iter_xcom_references(arguments):
            yield operator.task_id, each


def _has_instances(task: Any) -> bool:
    return task is not None and (task.is_mapped or task.get_closest_mapped_task_group() is not None)


def _step(here: Any, task_id: str, index: int) -> str:
    return task_instance_id(here.dag_id, here.run_id, task_id, index)


def _index(here: Any) -> int:
    return NO_INDEX if here.map_index is None else here.map_index


def watch_pulls(task_instance_class: type[Any]) -> None:
    """From now on what a task instance of this process pulls is noted: also while its templates are rendered."""
    pull = task_instance_class.xcom_pull
    if hasattr(pull, "e2s_watches"):
        return

    @wraps(pull)
    def watched(self: Any, task_ids: Any = None, dag_id: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(task_ids, str | None):
            task_ids = list(task_ids)  # which may be had only once
        _note(self, task_ids, dag_id, kwargs)
        return pull(self, task_ids, dag_id, *args, **kwargs)

    watched.e2s_watches = True  # type: ignore[attr-defined]
    task_instance_class.xcom_pull = watched


@guarded
def _note(here: Any, task_ids: Any, dag_id: Any, options: dict[str, Any]) -> None:
    if task_ids is None or dag_id not in {None, here.dag_id} or options.get("run_id") not in {None, here.run_id}:
        return  # its own, or of another run
    indexes = options.get("map_indexes")
    for task_id in [task_ids] if isinstance(task_ids, str) else task_ids:
        _pulled.extend((here, task_id, index) for index in _numbers(indexes))


def _numbers(indexes: Any) -> Iterable[int]:
    if isinstance(indexes, int):
        return (indexes,)
    return tuple(indexes) if isinstance(indexes, list | tuple | range) else (NO_INDEX,)


def pulled(task_instance: Any) -> list[Edge]:
    """What the attempt has pulled since the last time it was asked."""
    found = {
        (_step(here, task_id, index), _step(here, here.task_id, _index(here)))
        for here, task_id, index in _pulled
        if here is task_instance and (task_id, index) != (here.task_id, _index(here))
    }
    _pulled.clear()
    return sorted(found)
