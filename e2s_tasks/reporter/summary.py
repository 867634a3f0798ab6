"""The summary of a run: the one dict from which the terminal, the Prefect page and `e2s show --json` read.

Its shape is documented in docs/summary.md; fields are only ever added.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from e2s_tasks.core.energy import add
from e2s_tasks.core.kpi import Figure
from e2s_tasks.core.lineage import lineage_of
from e2s_tasks.core.records import OF_RUN, OF_STEP, Kind, OutcomeRecord, RunRecords, SpanRecord, Status
from e2s_tasks.core.upstream import Upstream
from e2s_tasks.reporter import avoided, figures, grid
from e2s_tasks.reporter.artifacts import artifacts
from e2s_tasks.reporter.io import process_io
from e2s_tasks.reporter.kpis import assess, by_name
from e2s_tasks.reporter.reuse import all_outcomes, made_here
from e2s_tasks.reporter.stages import by_stage
from e2s_tasks.reporter.steps import consumers, steps
from e2s_tasks.reporter.tree import SpanTree, adopted, ended, last_root, own, tree
from e2s_tasks.reporter.units import iso

SCHEMA_VERSION = 1


def _nobody_knows(span: SpanRecord) -> None:  # noqa: ARG001
    return None


def summarise(
    run: RunRecords,
    avoided_by: Callable[[SpanRecord], float | None] = _nobody_knows,
    replayed: list[OutcomeRecord] | None = None,
    upstream: Upstream | None = None,
) -> dict[str, Any]:
    """The summary of a root run, as plain JSON values.

    avoided_by: what the attempt that produced a cached span's result had used, in joules; None where not known.
    replayed: outcomes of the attempts of other runs whose results cached spans reused, with those spans' ids.
    upstream: what loads the runs that its artifacts came from; without it these count as unknown.
    """
    spans = tree(run.spans, run.run_id)
    lineage = lineage_of(adopted(run, spans))
    energy = figures.run_energy(run.spans)
    decision = grid.met(run)
    made = made_here(spans.spans)
    saved = figures.avoided(spans, made, avoided_by)
    outcomes = all_outcomes(run, spans, replayed)
    found = assess(run, spans, outcomes)
    whole = replace(found.spent, energy=Figure(energy.total))  # waiting is paid for, too
    facility_j = whole.facility.value
    gaps, lacking, lost = figures.gaps(run), figures.lacking(run), figures.lost(spans)
    rows = steps(spans, energy.total, lacking)
    return {
        "schema_version": SCHEMA_VERSION,
        "flow_run": _flow_run(spans, run.run_id),
        "energy_j": figures.energy_figures(energy),
        "energy_j_range": figures.energy_range(run, energy, gaps),
        "provenance": figures.provenance(run, energy),
        "gaps": gaps,
        "cut_short": figures.cut_short(run),
        "begun": figures.begun(run),
        "sources": figures.sources(run),
        "static_policy": sorted({process.static_policy for process in run.processes}),
        "not_attributed_j": figures.not_attributed(spans),
        "orchestration_j": lineage.orchestration_j,
        "orchestration_lower_bound": any(span.id in lacking for span in lineage.graph.found.orchestration),
        "unsuccessful_j": figures.unsuccessful(spans, lost),
        "unsuccessful_lower_bound": not lost.isdisjoint(lacking),
        "unclaimed_j": lineage.unclaimed_j,
        "unclaimed_lower_bound": not figures.unclaimed(lineage).isdisjoint(lacking),
        "waiting_j": figures.waiting(spans),
        "waiting_lower_bound": figures.waiting_lacks(spans, lacking),
        "avoided_j": figures.total_avoided(saved),
        "facility_j": facility_j if found.spent.declared.pue is not None else None,
        "cost": {"value": whole.cost.value, "currency": found.spent.declared.currency},
        "embodied_g": found.spent.embodied.value,
        "declared": found.spent.declared.to_dict(),
        "io": process_io(run),
        "emissions_g": figures.emissions(facility_j, decision),
        "spans": [_span(span, spans, saved) | {"result_from": _origin(span, made)} for span in spans.spans],
        "steps": rows,
        "consumers": consumers(rows, energy.total),
        "artifacts": artifacts(run, spans, lineage, upstream or Upstream(lambda *_: ())),
        "attributed_by": lineage.weights,
        "not_made": list(lineage.not_made),
        "kpis": by_name(found.kpis()),
        "stages": by_stage(spans, lacking),
        "carbon": _carbon(run, spans, facility_j, found.spent.declared.pue),
        "waited": avoided.waited(run, energy.total, figures.waiting(spans), found.spent.declared.pue),
    }


def _carbon(run: RunRecords, spans: SpanTree, joules: float | None, pue: float | None) -> dict[str, Any] | None:
    """The run's decision. joules: of the whole run; one about a single step is told with that step's."""
    decision, curve = grid.planned(run.decisions), grid.curve(run.decisions)
    key = decision.plan.get(OF_STEP) if decision is not None and not decision.plan.get(OF_RUN) else None
    if key is None:
        return figures.carbon(joules, decision, curve)
    attempts = [one for one in run.spans if one.kind == Kind.ATTEMPT and one.task_run_id == key]
    used = add(spans.used[one.id].joules for one in attempts if one.parent_id not in {two.id for two in attempts})
    name = attempts[-1].name if attempts else str(key)
    return figures.carbon(None if used is None else used * (pue or 1.0), decision, curve, name)


def _origin(span: SpanRecord, made: dict[str, SpanRecord]) -> str | None:
    """Which run made the result of a cached span."""
    if span.status != Status.CACHED:
        return None
    return "this_run" if span.id in made else "another_run"


def _flow_run(spans: SpanTree, run_id: str) -> dict[str, Any]:
    """What ran: names, status and times; several lives of one flow run count from the first to the last."""
    root = last_root(spans, run_id)
    if root is None:
        return {"id": run_id} | dict.fromkeys(("name", "flow", "solution", "status", "started_at", "ended_at"))
    lives = [life for life in spans.roots if life.kind == root.kind and life.flow_run_id == root.flow_run_id]
    return {
        "id": run_id,
        "name": root.attributes.get("flow_run_name") or root.attributes.get("task_run_name"),
        "flow": root.name,
        "solution": root.solution,
        "status": str(root.status),
        "started_at": iso(min(life.started_at for life in lives)),
        "ended_at": iso(ended(root, spans)),
    }


def _span(span: SpanRecord, spans: SpanTree, saved: dict[str, float | None]) -> dict[str, Any]:
    """One span: its own figures, and `inclusive_j`, its own and its descendants' joules."""
    return {
        "id": span.id,
        "parent_id": spans.parents[span.id],
        "kind": str(span.kind),
        "name": span.name,
        "attempt": span.attempt,
        "status": str(span.status),
        "stage": span.stage,
        "started_at": iso(span.started_at),
        "duration_s": None if span.ended_at is None else span.ended_at - span.started_at,
        "cpu_s": span.cpu_ns / 1e9,
        "shared_cpu_s": span.shared_cpu_ns / 1e9,
        "inclusive_cpu_s": spans.used[span.id].cpu_ns / 1e9,
        "exclusive_j": own(span).joules,
        "inclusive_j": spans.used[span.id].joules,
        "energy_j": figures.energy_figures(span.energy),
        "bytes_read": span.bytes_read,
        "bytes_written": span.bytes_written,
        "rows": span.rows,
        "task_run_id": span.task_run_id,
        "avoided_j": saved.get(span.id),
    }
