"""Beside a run's summary: an event with its figures, and the history of its deployment as an artifact of its own."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.objects import FlowRun
from prefect.settings import get_current_settings

from e2s_tasks.recorder.guard import guarded
from e2s_tasks.reporter.headline import Comparison, Headline, compared, from_texts
from e2s_tasks.settings import settings

EVENT = "e2s.flow-run.energy"
SUMMARY = "energy-summary"
MOST = 31  # runs that are looked at: their pages come with their figures


@guarded
def follow(client: Any, now: Headline) -> None:
    """Tell what a run used: by an event, and in the history of its deployment, if it is of one."""
    from e2s_tasks.reporter import history

    run = client.read_flow_run(UUID(now["run_id"]))
    rows = [now, *(one for one in _earlier(client, run) if one["run_id"] != now["run_id"])]
    found = compared(now, rows)
    client.request("POST", "/events", json=[_event(client, run, now, found)])
    if run.deployment_id is None:
        return
    name = client.read_deployment(run.deployment_id).name
    flow = now["flow"] or "flow"
    url = get_current_settings().ui_url
    page = None if url is None else f"{str(url).rstrip('/')}/runs/flow-run/"
    told = history.render(f"{flow}/{name}", rows, settings().regression, page)
    _put(client, f"energy-history-{_slug(flow)}-{_slug(name)}-{str(run.deployment_id)[:8]}", told, run.id)


def _earlier(client: Any, run: FlowRun) -> list[Headline]:
    """The headlines of the runs of the same deployment, else of the same flow, the newest first."""
    whose = (
        {"flows": {"id": {"any_": [str(run.flow_id)]}}}
        if run.deployment_id is None
        else {"deployments": {"id": {"any_": [str(run.deployment_id)]}}}
    )
    wanted = {"artifacts": {"key": {"any_": [SUMMARY]}}, "sort": "CREATED_DESC", "limit": MOST, **whose}
    found = client.request("POST", "/artifacts/filter", json=wanted).json()
    rows = [row for one in found if (row := from_texts(one.get("metadata_") or {})) is not None]
    return sorted(rows, key=lambda one: one["started_at"] or "", reverse=True)


def _put(client: Any, key: str, page: str, run_id: UUID) -> None:
    wanted = {"artifacts": {"key": {"any_": [key]}, "flow_run_id": {"any_": [str(run_id)]}}}
    for earlier in client.request("POST", "/artifacts/filter", json=wanted).json():
        client.update_artifact(UUID(earlier["id"]), ArtifactUpdate(data=page))
        return
    said = "Energy of the last runs of this deployment"
    client.create_artifact(ArtifactCreate(key=key, type="markdown", description=said, data=page, flow_run_id=run_id))


def _slug(name: str) -> str:
    """The name as a part of an artifact's key: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "x"


def _event(client: Any, run: FlowRun, now: Headline, found: Comparison | None) -> dict[str, Any]:
    """The event: labels that automations match, and all figures for what they say."""
    above = None if found is None else found.regressed(settings().regression)
    regressed = "unknown" if above is None else str(above).lower()
    related = [
        {"prefect.resource.id": f"prefect.flow.{run.flow_id}", "prefect.resource.role": "flow",
         "prefect.resource.name": now["flow"] or ""},
        *({"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in run.tags),
    ]  # fmt: skip
    if run.deployment_id is not None:
        related.append(
            {"prefect.resource.id": f"prefect.deployment.{run.deployment_id}", "prefect.resource.role": "deployment",
             "prefect.resource.name": client.read_deployment(run.deployment_id).name}
        )  # fmt: skip
    against = None
    if found is not None:
        against = {"figure": found.figure, "value": found.value, "median": found.median, "runs": found.runs,
                   "change": found.change, "at_least": found.at_least}  # fmt: skip
    return {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {
            "prefect.resource.id": f"prefect.flow-run.{run.id}",
            "prefect.resource.name": run.name,
            "e2s.status": now["status"] or "",
            "e2s.solution": now["solution"] or "",
            "e2s.regressed": regressed,
        },
        "related": related,
        "payload": {**now, "against_median": against},
    }
