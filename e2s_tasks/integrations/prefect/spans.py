"""Spans from Prefect's context: a task run's attempt, a flow run."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.settings import get_current_settings
from prefect.transactions import get_transaction

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.core.records import EdgeRecord, Kind
from e2s_tasks.integrations.mlflow import outbox
from e2s_tasks.integrations.prefect.cached import notice_cached
from e2s_tasks.integrations.prefect.called import record_call
from e2s_tasks.integrations.prefect.carbon import look_at_the_grid
from e2s_tasks.integrations.prefect.handed import handed_to
from e2s_tasks.integrations.prefect.inputs import record_edges
from e2s_tasks.integrations.prefect.live import show_live
from e2s_tasks.integrations.prefect.results import attempt_begins, file_name
from e2s_tasks.ledger.orphans import API_URL
from e2s_tasks.recorder import SpanRecorder, process_recorder
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.recorder.open_span import NO_FACTS, OpenSpan
from e2s_tasks.recorder.unmeasured import Unmeasured
from e2s_tasks.settings import settings

if TYPE_CHECKING:
    from e2s_tasks.scheduler.again import Arrival

notice_cached()  # here, as whichever process a measured task is sent to imports this


def begin_attempt(name: str, given: Mapping[str, Any] = NO_FACTS) -> OpenSpan | Unmeasured:
    """A span for this attempt of the current task run; for a plain call outside Prefect, a span of its own.

    given: further fields of its SpanRecord.
    """
    try:
        if not settings().enabled:
            return Unmeasured()
        context = TaskRunContext.get()
        recorder = process_recorder()
        if context is None:
            return recorder.span(name, Kind.ATTEMPT, {"attempt": 1, **given})
        return _attempt(recorder, context, given)
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once("measuring a task run", error)
        return Unmeasured()


def _attempt(recorder: SpanRecorder, context: TaskRunContext, given: Mapping[str, Any]) -> OpenSpan | Unmeasured:
    run = context.task_run
    transaction = get_transaction()
    key = transaction.key if transaction is not None else None
    facts = {
        **given,
        "task_run_id": str(run.id),
        "task_key": run.task_key,
        "attempt": max(1, run.run_count),
        "result_key": file_name(key),
        "attributes": {"task_run_name": run.name, **given.get("attributes", NO_FACTS)},
    }
    if run.flow_run_id:
        facts["flow_run_id"] = str(run.flow_run_id)
    span = recorder.span(context.task.name, Kind.ATTEMPT, facts)
    attempt_begins(span)
    if run.task_inputs and run.run_count <= 1 and isinstance(span, OpenSpan):
        record_edges(recorder.write_later, run, span.run_id)
    return span


def begin_flow_run(
    solution: str | None, policy: CarbonPolicy | None, name: str, given: Mapping[str, Any] = NO_FACTS
) -> OpenSpan | Unmeasured:
    """A span for this attempt of the current flow run; the root run also looks at the grid, on a thread of its own.

    given: further fields of its SpanRecord.
    """
    try:
        if not settings().enabled:
            return Unmeasured()
        recorder = process_recorder()
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            return recorder.span(name, Kind.FLOW, {**given, "solution": solution} if solution else given)
        return _flow_run(recorder, context, solution, policy, given)
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once("measuring a flow run", error)
        return Unmeasured()


def _flow_run(
    recorder: SpanRecorder,
    context: FlowRunContext,
    solution: str | None,
    policy: CarbonPolicy | None,
    given: Mapping[str, Any],
) -> OpenSpan | Unmeasured:
    run = context.flow_run
    assert run is not None and context.flow is not None  # noqa: S101, PT018 - for the type checker
    facts: dict[str, Any] = {
        **given,
        "flow_run_id": str(run.id),
        "attempt": max(1, run.run_count),
        "task_run_id": str(run.parent_task_run_id) if run.parent_task_run_id else None,
        "attributes": {"flow_run_name": run.name, **_where(), **given.get("attributes", NO_FACTS)},
    }
    if solution:
        facts["solution"] = solution
    span = recorder.span(context.flow.name, Kind.FLOW, facts)
    if isinstance(span, OpenSpan):
        for upstream in handed_to(context.flow):
            recorder.write(EdgeRecord(f"{upstream}>{run.id}", span.run_id, upstream, str(run.id)))
        if span.outer is None:
            record_call(recorder, run)
            look_at_the_grid(recorder, span.run_id, policy, partial(_arrival, run), context.flow.name)
            show_live(recorder, span.run_id)
            outbox.begun(recorder.settings, recorder.process, span.run_id)
    return span


def _arrival(run: FlowRun) -> "Arrival":
    from e2s_tasks.integrations.prefect.gate import arrival

    return arrival(run)


def _where() -> dict[str, str]:
    """Where the orchestrator of this flow run is, for who has to publish its summary if this process is killed."""
    url = get_current_settings().api.url
    return {API_URL: str(url)} if url else {}
