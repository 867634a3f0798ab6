"""The results of other task runs that a task run was handed, as Prefect knows them."""

from collections.abc import Callable, Iterator

from prefect.client.schemas.objects import TaskRun

from e2s_tasks.core.records import EdgeRecord, Record

NOT_LINEAGE = {"__parents__", "wait_for"}


def upstream_of(run: TaskRun) -> Iterator[str]:
    """The ids of the task runs whose results it was handed."""
    for parameter, inputs in (run.task_inputs or {}).items():
        if parameter not in NOT_LINEAGE:
            ids = (getattr(given, "id", None) for given in inputs)
            yield from (str(one) for one in ids if one is not None)


def record_edges(write: Callable[[Record], None], run: TaskRun, run_id: str) -> None:
    """An edge from each of them to it."""
    for upstream in upstream_of(run):
        write(EdgeRecord(f"{upstream}>{run.id}", run_id, upstream, str(run.id)))
