"""Which task instances' results went into which others: the XComs that arguments stand for, and those that are pulled.

Of a mapped task no instance knows how many there are, so that each of them says whom its own result is handed to.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any

from e2s_tasks.integrations.airflow.identity import task_instance_id
from e2s_tasks.recorder.artifacts import record_input
from e2s_tasks.recorder.guard import guarded

Edge = tuple[str, str]  # the step whose result was handed on, and the one that it was handed to
Pulled = tuple[str, str, str, int]  # the ids of DAG, run and task, and the map index of whose result
_pulled: set[Pulled] = set()  # by the attempt of this process, since its arguments and templates were rendered
NO_INDEX = -1
PULLING = {"get_one", "get_all", "aget_one", "aget_all"}
EARLIER = "earlier runs"  # instead of the id of a run
ALL = -2  # instead of a map index: of all instances of the task


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
            if _index(here) < 0:
                continue  # it says so itself
            index = _index(here) if each else ALL
        for one in _instances(here, task_id) if index == ALL else [index]:
            yield _step(here, task_id, one), _step(here, here.task_id, _index(here))


def _handed_on(here: Any, authored: dict[str, Any]) -> Iterator[Edge]:
    if _index(here) < 0:
        return
    for task_id, other in authored.items():
        if not _has_instances(other) and any(one == here.task_id for one, _ in _referred(other)):
            yield _step(here, here.task_id, _index(here)), _step(here, task_id, NO_INDEX)


def _referred(task: Any) -> Iterator[tuple[str, bool]]:
    """The ids of the tasks that the DAG's author handed to a task, and whether each instance has its own part."""
    from airflow.sdk.definitions.xcom_arg import ConcatXComArg, XComArg

    given = (getattr(task, name, None) for name in ("expand_input", "op_kwargs_expand_input"))
    expanded = [one.value for one in given if one is not None]
    joined = [one for value in expanded if isinstance(value, Mapping) for one in value.values()]
    joined = [one for one in joined if isinstance(one, ConcatXComArg)]  # of which no index is an instance's
    in_a_group = task.get_closest_mapped_task_group() is not None
    whole = [getattr(task, "partial_kwargs", None)]
    if not expanded:
        whole += [getattr(task, name, None) for name in getattr(task, "template_fields", ()) or ()]
    of_no_index = {operator.task_id for operator, _ in XComArg.iter_xcom_references(joined)}
    for arguments, each in ((expanded, True), (whole, in_a_group)):
        for operator, _ in XComArg.iter_xcom_references(arguments):
            yield operator.task_id, each and operator.task_id not in of_no_index


def _has_instances(task: Any) -> bool:
    return task is not None and (task.is_mapped or task.get_closest_mapped_task_group() is not None)


def _step(here: Any, task_id: str, index: int) -> str:
    return task_instance_id(here.dag_id, here.run_id, task_id, index)


def _index(here: Any) -> int:
    return NO_INDEX if here.map_index is None else here.map_index


def watch_pulls() -> None:
    """From now on what this process pulls is noted: arguments, templates and what a task asks for itself."""
    from airflow.sdk.bases.xcom import BaseXCom
    from airflow.sdk.execution_time.xcom import XCom

    for cls in {BaseXCom, XCom}:  # the latter is of a backend that may have methods of its own
        for name in vars(cls).keys() & PULLING:
            method = vars(cls)[name].__func__
            if not hasattr(method, "e2s_watches"):
                setattr(cls, name, classmethod(_watched(method)))


def _watched(pull: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(pull)
    def watched(cls: type[Any], **told: Any) -> Any:
        _note(**told)
        return pull(cls, **told)

    watched.e2s_watches = True  # type: ignore[attr-defined]
    return watched


@guarded
def _note(
    *, dag_id: str, run_id: str, task_id: str, map_index: int | None = ALL, include_prior_dates: bool = False, **_: Any
) -> None:
    _pulled.add((dag_id, run_id, task_id, NO_INDEX if map_index is None else map_index))
    if include_prior_dates:
        _pulled.add((dag_id, EARLIER, task_id, NO_INDEX))


def pulled(here: Any) -> list[Edge]:
    """What the attempt has pulled from others of its run; a result of another run is an input whose cost is unknown."""
    found, own = set(), (here.dag_id, here.run_id)
    for dag_id, run_id, task_id, index in sorted(_pulled):
        if (dag_id, run_id) != own:
            record_input(f"xcom:/{dag_id}/{run_id}/{task_id}")
            continue
        for each in _instances(here, task_id) if index == ALL else [index]:
            if (task_id, each) != (here.task_id, _index(here)):
                found.add((_step(here, task_id, each), _step(here, here.task_id, _index(here))))
    _pulled.clear()
    return sorted(found)


def _instances(here: Any, task_id: str) -> Iterable[int]:
    """The map indexes of all instances of a task in the run."""
    dag = here.task.dag
    if not _has_instances(dag.task_dict.get(task_id) if dag is not None else None):
        return (NO_INDEX,)
    return range(here.get_ti_count(dag_id=here.dag_id, task_ids=[task_id], run_ids=[here.run_id]))
