"""The power of a run's steps over time, and the carbon intensity of the grid that they met."""

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from e2s_tasks.core.emissions import intensities
from e2s_tasks.core.records import Kind, RunRecords, SpanRecord
from e2s_tasks.reporter import grid
from e2s_tasks.reporter.steps import rows_of
from e2s_tasks.reporter.tree import SpanTree, own

if TYPE_CHECKING:
    import numpy as np

BINS = 240
LEAST_S = 1e-3


@dataclass(frozen=True, slots=True)
class Timeline:
    """Mean power in W of each step, by its kind and name, in stretches of time between `edges` (epoch seconds).

    intensity: gCO2eq/kWh in the same stretches; None where nobody knows the grid. The area under the powers is the
    run's energy: each span's joules are spread evenly over its own time, as for its emissions.
    """

    edges: "np.ndarray"
    watts: dict[tuple[str, str], "np.ndarray"]
    intensity: "np.ndarray | None"

    @property
    def seconds(self) -> float:
        """How long a stretch is."""
        return float(self.edges[-1] - self.edges[0]) / (len(self.edges) - 1)


def timeline(run: RunRecords, spans: SpanTree, bins: int = BINS, now: float | None = None) -> Timeline | None:
    """The powers of a run while it worked, waiting aside; None for a run without time or energy.

    now: up to when spans that go on have used what they have (epoch seconds).
    """
    import numpy as np

    of_row, waits = rows_of(spans), {one.parent_id: one for one in spans.spans if one.kind == Kind.WAIT}
    waiting = str(Kind.WAIT)  # with what is inside it
    worked = [_so_far(one, now) for one in spans.spans if not one.is_waiting and of_row[one.id][0] != waiting]
    stretches = [(one, _stretches(one, waits.get(one.id))) for one in worked]
    known = [(one, times) for one, times in stretches if own(one).joules and times]
    if not known:
        return None
    end = max(until for _, times in known for _, until in times)
    waited = [wait.ended_at for wait in waits.values() if wait.ended_at is not None and wait.ended_at < end]
    start = max([min(begin for _, times in known for begin, _ in times), *waited])
    edges = np.linspace(start, max(end, start + LEAST_S), bins + 1)
    cumulative: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(bins + 1))
    for one, times in known:
        cumulative[of_row[one.id]] += _used_until(edges, own(one).joules or 0.0, times)
    width = (edges[-1] - edges[0]) / bins
    watts = {row: np.diff(joules) / width for row, joules in cumulative.items()}
    return Timeline(edges, dict(sorted(watts.items(), key=lambda one: -float(one[1].sum()))), _met(run, edges))


def _so_far(span: SpanRecord, now: float | None) -> SpanRecord:
    """The span as if it ended now, where it goes on."""
    return span if span.ended_at is not None or now is None else replace(span, ended_at=max(now, span.started_at))


def _stretches(span: SpanRecord, wait: SpanRecord | None) -> list[tuple[float, float]]:
    return [(begin, max(end, begin + LEAST_S)) for begin, end in grid.times(span, wait) if end >= begin]


def _used_until(edges: "np.ndarray", joules: float, times: list[tuple[float, float]]) -> "np.ndarray":
    """The joules that were used by each edge, spread evenly over the times."""
    import numpy as np

    seconds = sum(end - begin for begin, end in times)
    return sum(
        (np.clip(edges - begin, 0.0, end - begin) * joules / seconds for begin, end in times), np.zeros(len(edges))
    )


def _met(run: RunRecords, edges: "np.ndarray") -> "np.ndarray | None":
    import numpy as np

    known = intensities(run.decisions)
    means = [known.mean((begin, end)) for begin, end in pairwise(edges)]
    return None if None in means else np.array(means, dtype=float)
