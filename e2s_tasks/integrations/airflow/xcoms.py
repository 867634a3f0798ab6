"""Which task instances' results went into which others, from what an attempt has pulled.

Airflow hands over the results of a mapped task as a list of those that are there. Whose they are is known where each
instance has one, or each that succeeded; else an edge comes from every instance whose result it may have been.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from e2s_tasks.integrations.airflow.identity import task_instance_id
from e2s_tasks.integrations.airflow.pulls import NO_INDEX, NOT_ASKED, Pull
from e2s_tasks.recorder.artifacts import record_input
from e2s_tasks.recorder.guard import warn_once

Edge = tuple[str, str]  # the step whose result was handed on, and the one that it was handed to
EARLIER = "earlier runs"  # instead of the id of a run
NEVER_RAN = (None, "upstream_failed", "removed")


def edges_of(here: Any, pulls: Iterable[Pull]) -> list[Edge]:
    """The edges of what the task instance has pulled from its run; from another it is an input of unknown cost."""
    instances = cache(lambda task_id, count: _instances(here, task_id, count))
    asked = cache(lambda task_id, key: _count(here, task_id, key))

    def sources(pull: Pull) -> Sequence[int]:
        if pull.earlier:  # in this run the task may not even have begun
            return [index for index in instances(pull.task_id, None) if pull.index in {index, None}]
        if pull.index is not None:
            return [pull.index]
        if not _has_instances(here, pull.task_id):
            return [NO_INDEX]
        count = asked(pull.task_id, pull.key) if pull.count == NOT_ASKED else pull.count
        return _part(pull, instances(pull.task_id, count), count)

    found: set[tuple[str, int]] = set()
    for pull in pulls:
        own = (pull.dag_id, pull.run_id) == (here.dag_id, here.run_id)
        if pull.earlier or not own:
            record_input(f"xcom:/{pull.dag_id}/{EARLIER if pull.earlier else pull.run_id}/{pull.task_id}")
        if own:
            found |= {(pull.task_id, index) for index in _or_none(sources, pull)}
    found -= {(here.task_id, _index(here))}
    return [(_step(here, *one), _step(here, here.task_id, _index(here))) for one in sorted(found)]


def _or_none(sources: Callable[[Pull], Sequence[int]], pull: Pull) -> Sequence[int]:
    """Whose results a pull got; where Airflow does not answer that pull alone has no edge."""
    try:
        return sources(pull)
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once(f"following an XCom of the task {pull.task_id}", error)
        return ()


def _part(pull: Pull, instances: Sequence[int], count: int | None) -> Sequence[int]:
    """Of which instances that part of the list may be: any of them that has none moves those after it up by one."""
    if count is None or len(instances) < count:
        return instances
    places = range(count)[slice(*pull.part)]
    return instances[min(places) : max(places) + len(instances) - count + 1] if places else []


def _instances(here: Any, task_id: str, count: int | None) -> Sequence[int]:
    """The map indexes of the instances whose results a list of so many holds, in order; more if that is unknown."""
    asked: dict[str, Any] = {"dag_id": here.dag_id, "task_ids": [task_id], "run_ids": [here.run_id]}
    if count is not None and here.get_ti_count(**asked) == count:
        return range(count)
    states = here.get_task_states(**asked).get(here.run_id, {})
    indexed = sorted((_index_in(name, task_id), state) for name, state in states.items())
    succeeded = [index for index, state in indexed if state == "success"]
    return succeeded if len(succeeded) == count else [index for index, state in indexed if state not in NEVER_RAN]


def _index_in(name: str, task_id: str) -> int:
    """The map index in the name by which Airflow tells of the state of an instance."""
    return NO_INDEX if name == task_id else int(name.removeprefix(f"{task_id}_"))


def _count(here: Any, task_id: str, key: str | None) -> int:
    """How many results of that key the task has."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetXComCount

    asked = GetXComCount(key=key, dag_id=here.dag_id, run_id=here.run_id, task_id=task_id)
    answer: int = task_runner.SUPERVISOR_COMMS.send(asked).len
    return answer


def _has_instances(here: Any, task_id: str) -> bool:
    dag = here.task.dag
    task = None if dag is None else dag.task_dict.get(task_id)
    return task is not None and (task.is_mapped or task.get_closest_mapped_task_group() is not None)


def _step(here: Any, task_id: str, index: int) -> str:
    return task_instance_id(here.dag_id, here.run_id, task_id, index)


def _index(here: Any) -> int:
    return NO_INDEX if here.map_index is None else here.map_index
