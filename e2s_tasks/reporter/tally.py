"""What a run adds to sums over many runs: the additive figures of its summary, by the same functions, and no others.

It needs only the run's spans, processes and decisions, so that a million spans can be told in a minute.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from e2s_tasks.core.energy import COMPONENTS, Energy
from e2s_tasks.core.kpi import Figure, Spent
from e2s_tasks.core.records import DecisionRecord, Kind, RunRecords, SpanRecord
from e2s_tasks.reporter import avoided, figures, grid
from e2s_tasks.reporter.kpis import declared
from e2s_tasks.reporter.reuse import made_here
from e2s_tasks.reporter.stages import joules_by_stage
from e2s_tasks.reporter.steps import energy_by_step
from e2s_tasks.reporter.tree import SpanTree, ended, last_root, tree


@dataclass(frozen=True, slots=True)
class Tally:
    """The additive figures of a root run, in joules and grams; None, or no entry, where nobody knows.

    energy: by step, as the summary's rows of depth 0 call them. provenance: of each component. cached_j: what reused
    results had cost. avoided_g: by waiting; negative where that did not pay. gaps: spans by the component they lack.
    """

    run_id: str
    flow: str
    solution: str | None
    status: str
    started_at: float
    ended_at: float | None
    energy: dict[str, Energy] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)
    stages: dict[str, float | None] = field(default_factory=dict)
    total_j: float | None = None
    unsuccessful_j: float | None = None
    waiting_j: float = 0.0
    cached_j: float | None = None
    emissions_g: float | None = None
    signal: str | None = None
    avoided_g: float | None = None
    gaps: dict[str, int] = field(default_factory=dict)
    forecast: DecisionRecord | None = None

    def by_component(self) -> Iterator[tuple[str, str, str, float]]:
        """Step, component, provenance and joules of each known figure."""
        for step, energy in self.energy.items():
            for component, joules in zip(COMPONENTS, energy.by_component(), strict=True):
                if joules is not None:
                    yield step, component, self.provenance[component], joules


def tally(run: RunRecords, avoided_by: figures.Avoided) -> Tally:
    """The figures of a run that has spans. avoided_by: as for `summarise`."""
    spans = tree(run.spans, run.run_id)
    root = last_root(spans, run.run_id) or run.spans[0]
    energy = figures.run_energy(run.spans)
    waiting_j = figures.waiting(spans)
    emissions = _emissions(run, energy.total)
    return Tally(
        run_id=run.run_id,
        flow=root.name,
        solution=root.solution,
        status=str(root.status),
        started_at=min(life.started_at for life in _lives(spans, root)),
        ended_at=ended(root, spans),
        energy=energy_by_step(spans),
        provenance=figures.provenance(run, energy),
        stages=joules_by_stage(spans) if any(one.stage for one in run.spans) else {},
        total_j=energy.total,
        unsuccessful_j=figures.unsuccessful(spans, figures.lost(spans)),
        waiting_j=waiting_j,
        cached_j=figures.total_avoided(figures.avoided(spans, made_here(spans.spans), avoided_by)),
        emissions_g=emissions["total"],
        signal=emissions["signal"],
        avoided_g=(avoided.waited(run, energy.total, waiting_j, declared(run).pue) or {}).get("avoided_g"),
        gaps=figures.gaps(run),
        forecast=grid.planned(run.decisions),
    )


def _lives(spans: SpanTree, root: SpanRecord) -> list[SpanRecord]:
    """The lives of the root flow run: one that was retried, or waited, has several."""
    same = [one for one in spans.roots if one.kind == Kind.FLOW and one.flow_run_id == root.flow_run_id]
    return same if root.kind == Kind.FLOW else [root]


def _emissions(run: RunRecords, joules: float | None) -> dict[str, Any]:
    """As in the run's summary: those of the facility, whose overhead is declared."""
    facility = Spent(energy=Figure(joules), declared=declared(run)).facility
    return figures.emissions(facility.value, grid.met(run))
