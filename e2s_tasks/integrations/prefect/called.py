"""Flow runs that another flow run started in a process of their own, with `run_deployment`: they belong to its run.

Prefect puts a task run into the caller for each of them, and names it in the flow run that is started. Only that task
run tells who has started it, and what it was handed: the orchestrator is asked for it once, when the flow run begins.
"""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, TaskRun

from e2s_tasks.core.records import CallRecord, EdgeRecord
from e2s_tasks.integrations.prefect.inputs import upstream_of
from e2s_tasks.recorder import SpanRecorder
from e2s_tasks.recorder.guard import warn_once

PATIENCE_S = 2.0
PARENTS = "__parents__"  # of a task run's inputs: the task run that it was made in


def record_call(recorder: SpanRecorder, run: FlowRun) -> None:
    """Record who started this flow run, if another flow run did; without an answer it stays a root run."""
    if run.parent_task_run_id is None or run.deployment_id is None:
        return
    try:
        call = _asked(run.parent_task_run_id)
        if call.flow_run_id is None:
            return
        around = [str(one.id) for one in call.task_inputs.get(PARENTS, []) if hasattr(one, "id")]
        caller = str(call.flow_run_id)
        recorder.write(CallRecord(str(run.id), caller, around[0] if around else None))
        for upstream in upstream_of(call):
            recorder.write(EdgeRecord(f"{upstream}>{run.id}", caller, upstream, str(run.id)))
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once("asking who started the flow run (it is a run of its own)", error)


def _asked(task_run_id: UUID) -> TaskRun:
    with get_client(httpx_settings={"timeout": PATIENCE_S}, sync_client=True) as client:
        return client.read_task_run(task_run_id)
