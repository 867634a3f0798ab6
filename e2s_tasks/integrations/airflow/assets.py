"""Airflow's assets as artifacts: inlets are what a task used, outlets what it made; their events carry the joules."""

import re
from typing import Any

from e2s_tasks.core.energy import Provenance
from e2s_tasks.io.places import uri_of
from e2s_tasks.recorder.artifacts import record_artifact, record_input
from e2s_tasks.recorder.guard import guarded
from e2s_tasks.recorder.open_span import OpenSpan

SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
EXTRA = "e2s"


def name_of(asset: Any) -> str | None:
    """The URI of an asset in the ledger; None for what is no single one, such as an alias."""
    uri = getattr(asset, "uri", None)
    if not isinstance(uri, str) or not uri:
        return None
    return uri if SCHEME.match(uri) else f"asset:{uri}"


@guarded
def begun(span: OpenSpan, task: Any) -> None:
    """The attempt begins: its inlets are its inputs."""
    if task.outlets:
        span.sum_up()
    for inlet in task.inlets or ():
        name = name_of(inlet)
        if name is not None:
            record_input(name)


@guarded
def made(span: OpenSpan, task_instance: Any) -> None:
    """The operator has done its work: its outlets are new versions, unless a measured write has already said so."""
    for outlet in task_instance.task.outlets or ():
        name = name_of(outlet)
        if name is not None and not _is_written(span, uri_of(name)):
            record_artifact(name)


def _is_written(span: OpenSpan, uri: str) -> bool:
    return any(one == uri or one.startswith(uri.rstrip("/") + "/") for one in span.made)


@guarded
def tell(span: OpenSpan, task_instance: Any) -> None:
    """The event of each asset that the task made carries what is known of its energy by now."""
    outlets = [one for one in task_instance.task.outlets or () if name_of(one) is not None]
    if not outlets:
        return
    told = _told(span)
    events = task_instance.get_template_context()["outlet_events"]
    for outlet in outlets:
        events[outlet].extra[EXTRA] = told


def _told(span: OpenSpan) -> dict[str, Any]:
    recorder = span.recorder
    recorder.meter.tick()
    recorder.meter.settle(force=True)
    worth = {one.provenance for one in recorder.process.sources if one.component in span.joules}
    return {
        "attempt_host_energy_j": span.inclusive_j,
        "provenance": str(Provenance.MEASURED if worth == {Provenance.MEASURED} else Provenance.MODELLED),
        "run_id": span.run_id,
    }
