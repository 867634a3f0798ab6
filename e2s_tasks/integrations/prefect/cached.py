"""Task runs that Prefect serves from its cache: they cost nothing, and name the result that they reused.

Prefect reads a committed transaction where it would have called the function. Noticed there and not by a completion
hook: Prefect announces each hook of each run in two lines of its log, which cost a third of what an attempt does.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

from prefect import transactions
from prefect.context import FlowRunContext, TaskRunContext

from e2s_tasks.core.records import Kind, SpanRecord, Status
from e2s_tasks.integrations.prefect.functions import MeasuredFunction
from e2s_tasks.integrations.prefect.inputs import record_edges
from e2s_tasks.integrations.prefect.results import file_name
from e2s_tasks.recorder import process_recorder
from e2s_tasks.recorder.guard import guarded
from e2s_tasks.recorder.open_span import CURRENT, OpenSpan, current_span, new_id
from e2s_tasks.settings import settings

Method = Callable[..., Any]


@guarded
def notice_cached() -> None:
    """From now on record the cached runs of measured tasks in this process. A second call changes nothing."""
    for name, how in (("Transaction", _reading), ("AsyncTransaction", _reading_later)):
        cls: Any = getattr(transactions, name, None)
        method = None if cls is None else vars(cls).get("read")
        if method is not None and not hasattr(method, "e2s_measures"):
            ours = how(method)
            ours.e2s_measures = True  # type: ignore[attr-defined]
            cls.read = ours


def _reading(method: Method) -> Method:
    @functools.wraps(method)
    def read(self: Any) -> Any:
        record = method(self)
        _note(self, record)
        return record

    return read


def _reading_later(method: Method) -> Method:
    @functools.wraps(method)
    async def read(self: Any) -> Any:
        record = await method(self)
        _note(self, record)
        return record

    return read


@guarded
def _note(transaction: Any, record: Any) -> None:
    context = TaskRunContext.get()
    if context is None or not isinstance(context.task.fn, MeasuredFunction) or not transaction.is_committed():
        return
    if transaction is transactions.get_transaction() and not _has_begun(str(context.task_run.id)):
        _record(context, file_name(getattr(getattr(record, "metadata", None), "storage_key", None)))


def _has_begun(task_run_id: str) -> bool:
    """Whether the function runs already, and reads some transaction of its own."""
    span = current_span()
    while isinstance(span, OpenSpan):
        if span.record.task_run_id == task_run_id:
            return True
        span = span.outer
    return False


def _record(context: TaskRunContext, result_key: str | None) -> None:
    if not settings().enabled:
        return
    run, recorder, parent, flow = context.task_run, process_recorder(), CURRENT.get(), FlowRunContext.get()
    flow_run_id = str(run.flow_run_id) if run.flow_run_id else None
    run_id = parent.run_id if parent else flow_run_id or str(run.id)
    now = time.time()
    recorder.write(
        SpanRecord(
            id=new_id(), seq=1, process_id=recorder.process.id, run_id=run_id, kind=Kind.ATTEMPT,
            name=context.task.name, status=Status.CACHED, started_at=now, ended_at=now,
            parent_id=parent.id if parent else None, flow_run_id=flow_run_id, task_run_id=str(run.id),
            task_key=run.task_key, attempt=max(1, run.run_count), cpu_j=0.0, dram_j=0.0, static_j=0.0,
            result_key=result_key,
            attributes={"task_run_name": run.name, "flow": flow.flow.name if flow and flow.flow else None},
        )
    )  # fmt: skip
    record_edges(recorder.write, run, run_id)
