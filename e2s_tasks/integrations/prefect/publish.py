"""At the end of a root flow run: its energy summary on the run's page, and on a terminal if started by hand."""

import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.settings import get_current_settings

from e2s_tasks.core.records import Status
from e2s_tasks.errors import NotFoundError
from e2s_tasks.integrations.mlflow.sender import send_ended_run
from e2s_tasks.integrations.prefect.carbon import wait_for_the_grid
from e2s_tasks.integrations.prefect.live import end_live
from e2s_tasks.recorder import process_recorder
from e2s_tasks.recorder.delivery import PATIENCE_S
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.recorder.open_span import current_span
from e2s_tasks.settings import settings, switched_on

ARTIFACT_KEY = "energy-summary"

# How Prefect says that a run ended whose process could not tell. What it calls crashed is so already.
ENDINGS = {
    StateType.CANCELLING: Status.CANCELLED,
    StateType.CANCELLED: Status.CANCELLED,
    StateType.COMPLETED: Status.COMPLETED,
    StateType.FAILED: Status.FAILED,
}


def e2s_publish_summary(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - a Prefect state hook
    """One summary per root run; a subflow is a part of its measured root's. Never fails the flow."""
    if not switched_on() or (flow_run.parent_task_run_id is not None and current_span() is not None):
        return
    try:
        if not _publish(flow_run, state):
            _leave_to_the_next(flow_run)
    except NotFoundError:  # it failed before it began, so there is nothing to tell
        return
    except Exception as error:  # noqa: BLE001 - law 5
        _leave_to_the_next(flow_run)
        warn_once("publishing the energy summary", error)


def _publish(flow_run: FlowRun, state: State[Any]) -> bool:
    from e2s_tasks.ledger import Ledger, replay
    from e2s_tasks.ledger.endings import has_ended
    from e2s_tasks.ledger.orphans import forget, publish_orphans
    from e2s_tasks.reporter import summarise_run

    options = settings()
    recorder = process_recorder()
    untouched = end_live(str(flow_run.id)) and flow_run.run_count <= 1  # an earlier life may have left a page
    wait_for_the_grid(recorder, str(flow_run.id))
    recorder.flush()
    if not recorder.delivered:
        return False
    ledger = Ledger.open(options.ledger, PATIENCE_S)
    replay(options.journals, ledger)  # what task runs in other processes wrote down
    if state.is_cancelling() or state.is_cancelled():
        believe(ledger, str(flow_run.id), state)
    run_id = ledger.root_run(str(flow_run.id))
    if run_id != str(flow_run.id) and not has_ended(ledger.as_written(run_id)):
        return True  # who started it tells of it, too, at its own end
    summary = summarise_run(ledger, run_id)
    try:
        with get_client(sync_client=True) as client:
            put_summary(client, summary, run_id, new=untouched and run_id == str(flow_run.id))
    finally:
        if _wants_terminal(flow_run):
            from e2s_tasks.reporter import terminal

            terminal.print_summary(summary, page=_page(run_id), stream=sys.stderr)
    forget(options.journals, run_id)
    send_ended_run(options, ledger, run_id)
    publish_orphans(options.journals)  # of flow runs that were killed, which the replay may have found
    return True


def _leave_to_the_next(flow_run: FlowRun) -> None:
    """Have the next command that reads the ledger publish the summary; in vain where nothing can be written at all."""
    from e2s_tasks.ledger.orphans import note

    url = get_current_settings().api.url
    with suppress(Exception):
        if url is not None:  # else the orchestrator ends with this process
            note(settings().journals, str(flow_run.id), str(url))


def believe(ledger: Any, run_id: str, state: State[Any] | None) -> None:
    """Let a run have ended as the orchestrator says, where its processes could not tell: stopped, they look crashed."""
    from e2s_tasks.ledger.endings import endings

    ended = ENDINGS.get(state.type) if state is not None else None
    if ended is not None:
        ledger.ingest(endings(ledger.as_written(run_id), ended))


def put_summary(client: Any, summary: dict[str, Any], run_id: str, *, new: bool = False) -> None:
    """Put the summary of a run that is over on its page, and tell who follows the flow. new: as for `put_page`."""
    from e2s_tasks.integrations.prefect.history import follow

    follow(client, put_page(client, summary, run_id, new=new))


def put_page(client: Any, summary: dict[str, Any], run_id: str, *, new: bool = False) -> dict[str, Any]:
    """Put a summary on the page of its flow run, in place of the one that is there; the result is its headline.

    new: there is surely none yet, so that nobody need ask an orchestrator that is busy at that moment.
    """
    from e2s_tasks.reporter import markdown, phrases
    from e2s_tasks.reporter.headline import headline, to_texts

    now = headline(summary)
    line, page = markdown.text(phrases.one_line(summary)), markdown.render(summary, datetime.now(UTC))
    told = to_texts(now)
    for earlier in [] if new else summaries(client, run_id):
        client.update_artifact(UUID(earlier["id"]), ArtifactUpdate(description=line, data=page, metadata_=told))
        break
    else:
        client.create_artifact(
            ArtifactCreate(
                key=ARTIFACT_KEY, type="markdown", description=line, data=page, metadata_=told, flow_run_id=UUID(run_id)
            )
        )
    return now


def summaries(client: Any, run_id: str) -> list[dict[str, Any]]:
    """The summaries that are on the page of a flow run."""
    wanted = {"artifacts": {"key": {"any_": [ARTIFACT_KEY]}, "flow_run_id": {"any_": [run_id]}}}
    found: list[dict[str, Any]] = client.request("POST", "/artifacts/filter", json=wanted).json()
    return found


def is_final(summary: dict[str, Any]) -> bool:
    """Whether a summary on a page is that of a run that is over."""
    return f'"{Status.RUNNING}"' != (summary.get("metadata_") or {}).get("e2s_status")


def _wants_terminal(flow_run: FlowRun) -> bool:
    """Whoever starts a flow by hand is shown its summary (on stderr); a worker's log is spared it."""
    choice = settings().print_summary
    return choice == "always" or (choice == "auto" and flow_run.deployment_id is None)


def _page(run_id: str) -> str | None:
    """The run's page in the Prefect UI, and how to see it where the server ends with this process."""
    from e2s_tasks.reporter.commands import command

    prefect_settings = get_current_settings()
    page = f"/runs/flow-run/{run_id}"
    if prefect_settings.api.url is None:  # a server that is started later has the same database
        server = prefect_settings.server.api
        return f"{command('prefect')} server start, and open\nhttp://{server.host}:{server.port}{page}"
    url = prefect_settings.ui_url
    return None if url is None else str(url).rstrip("/") + page
