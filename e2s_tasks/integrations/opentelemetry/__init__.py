"""Adds the energy of measured work to OpenTelemetry's counter `hw.energy`, in the process that does the work.

By the semantic conventions for hardware: joules, with `hw.type` and `hw.id`; what work it was says `e2s.flow` and
`e2s.step`. The user's own MeterProvider takes it from there; without one nothing happens. docs/prometheus.md.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from opentelemetry.metrics import get_meter

from e2s_tasks.core.energy import Provenance
from e2s_tasks.core.records import Kind
from e2s_tasks.integrations.labels import Names
from e2s_tasks.reporter.steps import ORCHESTRATION, ORCHESTRATION_AND_BODY, body_name

if TYPE_CHECKING:
    from e2s_tasks.recorder.open_span import OpenSpan
    from e2s_tasks.settings import Settings

NAME = "hw.energy"
TYPES = {  # by component: `hw.type`; idle power is a part of the CPU's
    "cpu": "cpu",
    "static": "cpu",
    "dram": "memory",
    "gpu": "gpu",
    "storage": "physical_disk",
    "network": "network",
}
REMOTE = "e2s.remote.energy"  # work that was set off elsewhere: no hardware of this host


class Energy:
    """The recorder's listener. limit: distinct steps that have a name, as for `e2s exporter`."""

    def __init__(self, options: "Settings") -> None:
        meter = get_meter("e2s_tasks")
        self._names = Names(options.exporter_steps)
        self._here = meter.create_counter(NAME, "J", "Energy consumed by the component, by the work that used it.")
        self._elsewhere = meter.create_counter(REMOTE, "J", "Energy that work set off elsewhere, as declared.")

    def used(self, span: "OpenSpan", joules: Mapping[str, float]) -> None:
        """Add what the span used."""
        work = self._work(span)
        for component, more in joules.items():
            hardware = TYPES.get(component)
            if hardware is None:
                self._elsewhere.add(more, work)
            else:
                worth = {"e2s.component": component, "e2s.provenance": _provenance(span, component)}
                self._here.add(more, {"hw.id": component, "hw.type": hardware, **worth, **work})

    def _work(self, span: "OpenSpan") -> dict[str, str]:
        """The flow and step of a span; no flow where that runs in another process."""
        flows, step = _place(span)
        work = {}
        if flows:
            work["e2s.flow"] = self._names.of("flow", flows[0])
        work["e2s.step"] = self._names.step(work.get("e2s.flow", ""), " / ".join([*flows[1:], step]))
        solution = span.handed_down().get("solution")
        if solution:
            work["e2s.solution"] = self._names.of("solution", str(solution))
        return work


def _place(span: "OpenSpan") -> tuple[list[str], str]:
    """The names of the flow runs around a span, the outermost first, and of its step as the summary calls it."""
    around = [span]
    while around[-1].outer is not None:
        around.append(around[-1].outer)
    flows, body = list[str](), ""
    for one in reversed(around):
        if one.kind == Kind.FLOW:
            flows.append(one.name)
            body = body_name(one.record)
        elif one.kind in {Kind.ATTEMPT, Kind.WAIT} or not (flows or one.kind == Kind.ORCHESTRATION):
            return flows, one.name
    if span.kind in {Kind.FLOW, Kind.ORCHESTRATION}:
        return flows[:1], ORCHESTRATION_AND_BODY if flows else ORCHESTRATION
    return flows[:1], body


def _provenance(span: "OpenSpan", component: str) -> str:
    """What the process's figures of a component rest on: measured only where no source of it is a model."""
    kinds = {one.provenance for one in span.recorder.process.sources if one.component == component}
    return str(Provenance.MEASURED if kinds == {Provenance.MEASURED} else Provenance.MODELLED)
