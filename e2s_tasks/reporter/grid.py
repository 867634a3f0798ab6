"""What the grid was like while a run used its energy, and what its waiting for a cleaner hour avoided."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from e2s_tasks.core.emissions import OBSERVED, Intensities, holding, intensities
from e2s_tasks.core.graph import members
from e2s_tasks.core.lineage import RunGraph
from e2s_tasks.core.records import DecisionRecord, Kind, RunRecords, SpanRecord, Status
from e2s_tasks.reporter.figures import grams, without_waiting
from e2s_tasks.reporter.tree import own
from e2s_tasks.reporter.units import iso

WAITED = (  # what `waited` tells
    "arrived_at", "began_at", "waited_s", "predicted_gco2eq_per_kwh", "predicted_run_now_gco2eq_per_kwh",
    "predicted_avoided_g", "realised_gco2eq_per_kwh", "would_have_been_gco2eq_per_kwh", "avoided_g", "waiting_g",
    "observed_part", "signal", "not_begun",
)  # fmt: skip
AHEAD_S = 10.0  # what decides of a run that has not begun decides at least so much ahead
LEAST_S = 1.0  # a start that is nearer to the arrival than that has not been waited for


def met(run: RunRecords) -> DecisionRecord | None:
    """The decision that holds, with the mean intensity that the run's joules met, each span's in its own time slots."""
    holds = holding(run.decisions)
    if holds is None:
        return None
    found = weighted(run.spans, intensities(run.decisions))
    return replace(holds, intensity=holds.intensity if found is None else found)


def met_by_work(run: RunRecords) -> float | None:
    """The mean intensity that the run's joules met, those of waiting aside; None where nobody knows."""
    holds = met(run)
    if holds is None or not any(one.is_waiting for one in run.spans):
        return None if holds is None else holds.intensity
    work = [one for one in run.spans if not one.is_waiting]
    found = weighted(work, intensities(run.decisions), _waits(run.spans))
    return holds.intensity if found is None else found


def planned(decisions: Sequence[DecisionRecord]) -> DecisionRecord | None:
    """The last decision about the run's start, and what it expected: one that knows an intensity, if any does."""
    expected = [one for one in decisions if not one.plan.get(OBSERVED)]
    return max(expected, key=lambda one: (one.intensity is not None, one.at), default=None)


def curve(decisions: Sequence[DecisionRecord]) -> list[dict[str, Any]]:
    """The intensities that the decisions about starts looked at: observed ones first, else as last expected."""
    planned = [one for one in decisions if one.start is not None and one.plan.get("slots")]
    if not planned:
        return []
    begin = min(one.at for one in planned)
    end = max(slot[1] for one in planned for slot in one.plan["slots"])
    end = min(end, max(one.plan.get("latest_end", end) for one in planned))
    return [
        {"start": iso(max(start, begin)), "end": iso(min(until, end)), "gco2eq_per_kwh": value}
        for start, until, value in intensities(decisions).slots
        if until > begin and start < end
    ]


Waits = Mapping[str | None, SpanRecord]  # by the span that they lie in


def _waits(spans: Iterable[SpanRecord]) -> Waits:
    return {one.parent_id: one for one in spans if one.kind == Kind.WAIT}


def weighted(spans: Sequence[SpanRecord], grid: Intensities, waits: Waits | None = None) -> float | None:
    """The mean intensity by the exclusive joules of spans; None where the grid or every joule is unknown.

    A span's joules are spread evenly over its time; a flow run's over what it did not wait. waits: of the whole run,
    where these are only some of its spans.
    """
    begin = min((one.started_at for one in spans), default=0.0)
    everywhere = grid.constant(begin, max((one.ended_at or one.started_at for one in spans), default=begin))
    if everywhere is not None:
        return everywhere if any(own(one).joules for one in spans) else None
    waits = _waits(spans) if waits is None else waits
    joules = met_g = 0.0
    for span in spans:
        used, mean = own(span).joules, grid.mean(*times(span, waits.get(span.id)))
        if used and mean is not None:
            joules += used
            met_g += used * mean
    return met_g / joules if joules else None


class Emissions:
    """What the steps of a run emitted in gCO2eq, each span's joules with the intensity of their own time slots."""

    def __init__(self, graph: RunGraph, pue: float | None) -> None:
        grid, found = intensities(graph.run.decisions), graph.found
        spans: dict[int | None, list[SpanRecord]] = {None: found.orchestration}
        for span in graph.run.spans:
            if span.id in found.of_span:
                spans.setdefault(found.of_span[span.id], []).append(span)
        waits = _waits(graph.run.spans)
        means = {step: weighted(of_step, grid, waits) for step, of_step in spans.items()}
        everywhere = weighted(graph.run.spans, grid)
        costs = self._costs = graph.costs
        self._grams = [grams(used, means.get(step, everywhere), pue) for step, used in enumerate(costs.total)]
        self._shared = grams(costs.orchestration.total, means[None], pue)

    def of(self, steps: int) -> float | None:
        """The grams of steps (as bits), with their share of the orchestration; None where any of it is unknown."""
        used = self._costs.in_run(steps).total
        if used is None:
            return None
        numbers = members(steps)
        own = [self._grams[step] for step in numbers if self._costs.total[step]]
        own_j = sum(self._costs.total[step] for step in numbers)
        share = own_j / self._costs.sum if self._costs.sum else 0.0
        if share and self._costs.orchestration.total:
            own.append(None if self._shared is None else share * self._shared)
        return None if None in own else sum(one for one in own if one is not None)


def times(span: SpanRecord, wait: SpanRecord | None) -> list[tuple[float, float]]:
    """When a span used its joules, as from and to: its own time, less the waiting inside it."""
    end = span.ended_at or span.started_at
    if wait is None or wait.ended_at is None:
        return [(span.started_at, end)]
    return [(span.started_at, wait.started_at), (wait.ended_at, max(end, wait.ended_at))]


def waited(run: RunRecords, joules: float | None, waiting_j: float, pue: float | None) -> dict[str, Any] | None:
    """What waiting avoided: predicted, and realised at the energy that the run really used; None if it did not wait.

    Of a run that has not begun, because it waits still or ended before, there is only when it would have started.
    The run is compared with one of the same length and energy at the moment it would have started. What the waiting
    itself used is taken off. Both signals are average or marginal as the source's are: see `signal`.
    """
    moving = [one for one in run.decisions if one.start is not None and one.start > one.at + LEAST_S]
    arrived = [one.plan["arrived"] for one in run.decisions if one.plan.get("arrived") is not None]
    if not arrived or not _moved(run, moving):
        return None
    began, ended = _worked(run)
    if began is None:
        until = max(moving, key=lambda one: one.at).start
        return not_begun(min(arrived), moving[0].signal, [{"step": None, "until": iso(until)}])
    if began < min(arrived) + LEAST_S:
        return None
    first, last = min(moving, key=lambda one: one.at), max(moving, key=lambda one: one.at)
    grid, at = intensities(run.decisions), min(arrived)
    end = max(ended or began, began + 1.0)
    would_have, instead = grid.mean((at, at + end - began)), weighted(_work(run, began), grid)
    spent = without_waiting(joules, waiting_j)
    paid = grams(waiting_j, weighted([one for one in run.spans if one.is_waiting], grid), pue)
    saved = None if would_have is None or instead is None else grams(spent, would_have - instead, pue)
    expected = None if first.run_now is None or last.expected is None else first.run_now - last.expected
    return {
        "arrived_at": iso(at),
        "began_at": iso(began),
        "waited_s": began - at,
        "predicted_gco2eq_per_kwh": last.expected,
        "predicted_run_now_gco2eq_per_kwh": first.run_now,
        "predicted_avoided_g": None if expected is None else grams(spent, expected, pue),
        "realised_gco2eq_per_kwh": instead,
        "would_have_been_gco2eq_per_kwh": would_have,
        "avoided_g": None if saved is None else saved - (paid or 0.0),
        "waiting_g": paid,
        "observed_part": (grid.observed_part(at, at + end - began) + grid.observed_part(began, end)) / 2,
        "signal": first.signal,
        "not_begun": [],
    }


def not_begun(arrived: float, signal: str, what: list[dict[str, Any]]) -> dict[str, Any]:
    """What is told of a wait after which nothing has begun. what: as `not_begun` of the summary's `waited`."""
    return dict.fromkeys(WAITED) | {"arrived_at": iso(arrived), "signal": signal, "not_begun": what}


def _moved(run: RunRecords, moving: Sequence[DecisionRecord]) -> bool:
    """Whether a decision that names a later start was followed, and the run is not just late for other reasons."""
    lives = [one for one in run.spans if one.kind == Kind.FLOW and one.flow_run_id == run.run_id]
    waits = any(one.kind == Kind.WAIT or one.status == Status.SUSPENDED for one in run.spans)
    begun = min((life.started_at for life in lives), default=0.0)
    return bool(moving) and (waits or any(one.at < begun - AHEAD_S for one in moving))


def _worked(run: RunRecords) -> tuple[float | None, float | None]:
    """When the run's work began, after all waiting, and when it ended."""
    lives = [one for one in run.spans if one.kind == Kind.FLOW and one.flow_run_id == run.run_id]
    moved = min((one.started_at for one in lives if one.status == Status.SUSPENDED), default=None)
    lives = [one for one in lives if one.status != Status.SUSPENDED and (moved is None or one.started_at > moved)]
    waits = [one for one in run.spans if one.kind == Kind.WAIT]
    if not lives or any(one.status != Status.COMPLETED for one in waits):
        return None, None
    began = max([min(life.started_at for life in lives), *(one.ended_at for one in waits if one.ended_at is not None)])
    return began, max(life.ended_at or life.started_at for life in lives)


def _work(run: RunRecords, began: float) -> list[SpanRecord]:
    """The spans of the work itself, as far as it began then: no life that only moved the run, and no waiting."""
    after = [one for one in run.spans if not one.is_waiting and (one.ended_at or began) >= began]
    return [replace(one, started_at=max(one.started_at, began)) for one in after]
