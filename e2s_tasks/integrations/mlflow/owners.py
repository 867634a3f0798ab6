"""Which of the user's own MLflow runs stand for a flow run or a step, so that none is doubled."""

from collections import defaultdict
from dataclasses import dataclass, field

from e2s_tasks.core.records import Kind, RunRecords, SpanRecord
from e2s_tasks.integrations.mlflow.watch import RUNS
from e2s_tasks.reporter.tree import SpanTree


@dataclass(slots=True)
class Started:
    """The MLflow runs that a flow run's work started: in the root flow's own body, and in each step (by its index)."""

    in_body: list[str] = field(default_factory=list)
    in_steps: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    elsewhere: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[str]:
        """Each of them once."""
        inside = [run for runs in self.in_steps.values() for run in runs]
        return list(dict.fromkeys([*self.in_body, *inside, *self.elsewhere]))

    def parent(self, around: str | None) -> str | None:
        """The run that stands for the flow run: the one open around it, else the only one that its body started."""
        if around is not None:
            return around
        return self.in_body[0] if len(self.in_body) == 1 else None

    def of_step(self, step: int) -> str | None:
        """The run that stands for a step: the only one that its attempts started."""
        runs = self.in_steps.get(step, [])
        return runs[0] if len(runs) == 1 else None


def started(run: RunRecords, spans: SpanTree, step_of: dict[str, int]) -> Started:
    """The MLflow runs that the spans noted, by where their work lies."""
    found = Started()
    for span in run.spans:
        runs = [str(one) for one in span.attributes.get(RUNS, ())]
        if not runs:
            continue
        if _in_root_body(span, spans, run.run_id):
            found.in_body += runs
        elif span.id in step_of:
            found.in_steps[step_of[span.id]] += runs
        else:
            found.elsewhere += runs
    return found


def _in_root_body(span: SpanRecord, spans: SpanTree, run_id: str) -> bool:
    around = [span, *spans.ancestors(span)]
    inner = [one for one in around if one.kind == Kind.ATTEMPT or (one.kind == Kind.FLOW and one.flow_run_id != run_id)]
    return not inner and any(one.kind == Kind.FLOW for one in around)
