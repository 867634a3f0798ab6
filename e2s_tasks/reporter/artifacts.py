"""The artifact versions that a run wrote, with their energy-to-solution: in that run, and fully loaded."""

from typing import Any

from e2s_tasks.core.energy import add
from e2s_tasks.core.lineage import Lineage, RunGraph
from e2s_tasks.core.records import Kind, RunRecords, VersionRecord
from e2s_tasks.core.upstream import FullyLoaded, Upstream
from e2s_tasks.reporter import grid
from e2s_tasks.reporter.kpis import declared
from e2s_tasks.reporter.tree import SpanTree
from e2s_tasks.reporter.units import iso

MOST_REASONS = 20


class Emitted:
    """The emissions of versions in gCO2eq, by each run's own grid and PUE; every run is looked at once."""

    def __init__(self) -> None:
        self._runs: dict[str, grid.Emissions] = {}

    def in_run(self, graph: RunGraph, steps: int) -> float | None:
        """Those of steps of a run, given as bits; None where the energy or the grid is not known."""
        run = graph.run
        if run.run_id not in self._runs:
            self._runs[run.run_id] = grid.Emissions(graph, declared(run).pue)
        return self._runs[run.run_id].of(steps)

    def fully_loaded(self, upstream: Upstream, loaded: FullyLoaded) -> float | None:
        """Those of all runs' parts; None where one is not known."""
        parts = []
        for run_id, part in loaded.by_run.items():
            grams = self.in_run(upstream.graphs[run_id], loaded.steps[run_id])
            if part.total and grams is None:
                return None
            parts.append(grams)
        return add(parts)


def artifacts(run: RunRecords, spans: SpanTree, lineage: Lineage, upstream: Upstream) -> list[dict[str, Any]]:
    """Each version that the run wrote, in the order of writing; see docs/summary.md for the fields."""
    ordered, emitted = sorted(run.versions, key=lambda one: (one.created_at, one.id)), Emitted()
    return [artifact(run, spans, lineage, upstream, one, emitted) for one in ordered]


def artifact(  # noqa: PLR0917 - what is known of the run, and the version
    run: RunRecords,
    spans: SpanTree,
    lineage: Lineage,
    upstream: Upstream,
    version: VersionRecord,
    emitted: "Emitted",
) -> dict[str, Any]:
    """One version that the run wrote."""
    cost = lineage.versions[version.id]
    loaded = upstream.of(lineage.graph, version.id)
    return {
        "uri": version.uri,
        "version": run.version_numbers.get(version.id),
        "version_id": version.id,
        "produced_by": _producer(spans, version.span_id),
        "span_id": version.span_id,
        "in_run_j": cost.in_run_j,
        "fully_loaded_j": loaded.joules.total,
        "amortised_j": None if loaded.amortised is None else loaded.amortised.total,
        "attributed_j": cost.attributed_j,
        "emissions_g": emitted.in_run(lineage.graph, cost.closure),
        "fully_loaded_g": emitted.fully_loaded(upstream, loaded),
        "lower_bound": cost.lower_bound,
        "reasons": list(cost.reasons),
        "fully_loaded_lower_bound": bool(loaded.reasons),
        "fully_loaded_reasons": list(loaded.reasons[:MOST_REASONS]),
        "upstream_runs": sum(bool(steps) for run_id, steps in loaded.steps.items() if run_id != run.run_id),
        "final": cost.attributed is not None,
        "bytes": version.bytes,
        "rows": version.rows,
        "created_at": iso(version.created_at),
    }


def unknown(version: VersionRecord) -> dict[str, Any]:
    """One version of whose run nothing is known."""
    reasons = ["the run that wrote it is not in the ledger: its process was killed, or the run was deleted"]
    figures_of_it = (
        "produced_by", "in_run_j", "fully_loaded_j", "amortised_j", "attributed_j", "emissions_g", "fully_loaded_g",
    )  # fmt: skip
    return {
        "uri": version.uri,
        "version": None,
        "version_id": version.id,
        **dict.fromkeys(figures_of_it),
        "span_id": version.span_id,
        "lower_bound": True,
        "reasons": reasons,
        "fully_loaded_lower_bound": True,
        "fully_loaded_reasons": reasons,
        "upstream_runs": 0,
        "final": False,
        "bytes": version.bytes,
        "rows": version.rows,
        "created_at": iso(version.created_at),
    }


def _producer(spans: SpanTree, span_id: str) -> str | None:
    """The name of the outermost task, else of the flow, that wrote a version."""
    span = spans.by_id.get(span_id)
    if span is None:
        return None
    around = [span, *spans.ancestors(span)]
    attempts = [one for one in around if one.kind == Kind.ATTEMPT]
    flows = [one for one in around if one.kind == Kind.FLOW]
    return attempts[-1].name if attempts else flows[0].name if flows else around[-1].name
