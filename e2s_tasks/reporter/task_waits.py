"""What waiting avoided where single steps of a run waited, as tasks of an Airflow DAG do: the sum over them.

Each joule is compared with the same one as much earlier as the waits lasted that held it back: that of a step which
waited with its own wait, and with those of steps before it that had it, or the whole run, wait.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from e2s_tasks.core.emissions import Intensities, holding, intensities
from e2s_tasks.core.energy import add
from e2s_tasks.core.records import OF_STEP, DecisionRecord, Kind, RunRecords, SpanRecord
from e2s_tasks.core.waits import StepWait, length, step_waits
from e2s_tasks.reporter.figures import grams
from e2s_tasks.reporter.grid import LEAST_S, not_begun, weighted
from e2s_tasks.reporter.tree import own
from e2s_tasks.reporter.units import iso


def waited(run: RunRecords, pue: float | None) -> dict[str, Any] | None:
    """What the waits of a run's steps avoided, predicted and realised; None where none waited.

    Without one that has begun there is only when the first would have. What waiting itself used is taken off.
    """
    waits = _waits(run)
    begun = [one for one in waits if one.began is not None and one.delay_s >= LEAST_S]
    still = [one for one in waits if one.began is None]
    if not begun:
        return not_begun(still[0].arrived, still[0].decisions[0].signal, _told(still, run)) if still else None
    grids = _grids(run)
    parts = [_compared(one, grids[one.zone], pue) for one in _work(run, begun)]
    paid = _paid(run, grids, pue)
    saved = _sum(part.saved_g for part in parts)
    began = min(one.began for one in begun if one.began is not None)
    return {
        "arrived_at": iso(begun[0].arrived),
        "began_at": iso(began),
        "waited_s": length((one.arrived, one.began) for one in begun if one.began is not None),
        "predicted_gco2eq_per_kwh": _mean(parts, lambda part: part.expected),
        "predicted_run_now_gco2eq_per_kwh": _mean(parts, lambda part: part.run_now),
        "predicted_avoided_g": _sum(part.predicted_g for part in parts),
        "realised_gco2eq_per_kwh": _mean(parts, lambda part: part.met),
        "would_have_been_gco2eq_per_kwh": _mean(parts, lambda part: part.would_have),
        "avoided_g": None if saved is None else saved - (paid or 0.0),
        "waiting_g": paid,
        "observed_part": sum(part.observed for part in parts) / max(1, len(parts)),
        "signal": begun[0].decisions[0].signal,
        "not_begun": _told(still, run),
    }


def _waits(run: RunRecords) -> list[StepWait]:
    starts: dict[str, list[float]] = defaultdict(list)
    for span in run.spans:
        if span.kind == Kind.ATTEMPT and span.task_run_id is not None:
            starts[span.task_run_id].append(span.started_at)
    return step_waits(run.decisions, starts, run.began_again)


def _grids(run: RunRecords) -> dict[str | None, Intensities]:
    """What is known of each zone: a wait is worth what the grid was for which it waited."""
    by_zone: dict[str | None, list[DecisionRecord]] = defaultdict(list)
    for one in run.decisions:
        by_zone[one.zone].append(one)
    return {zone: intensities(decisions) for zone, decisions in by_zone.items()}


def _paid(run: RunRecords, grids: dict[str | None, Intensities], pue: float | None) -> float | None:
    """What waiting itself emitted (g), by the grid for which each task waited; None where it used nothing."""
    by_step: dict[str | None, list[DecisionRecord]] = defaultdict(list)
    for one in run.decisions:
        by_step[one.plan.get(OF_STEP)].append(one)
    of_run = holding(run.decisions)
    by_zone: dict[str | None, list[SpanRecord]] = defaultdict(list)
    for span, attempt, waits in _with_attempts(run):
        if waits and own(span).joules:
            decision = None if attempt is None else _decided(attempt, by_step[attempt.task_run_id])
            decision = decision or of_run
            by_zone[None if decision is None else decision.zone].append(span)
    parts = (
        grams(add(own(one).joules for one in spans), weighted(spans, grids[zone], {}), pue)
        for zone, spans in by_zone.items()
    )
    return _sum(parts) if by_zone else None


def _decided(attempt: SpanRecord, of_step: Iterable[DecisionRecord]) -> DecisionRecord | None:
    """The decision for which an attempt did no more than wait: it was made after that had begun."""
    return min((one for one in of_step if one.at >= attempt.started_at), key=lambda one: one.at, default=None)


def _told(waits: Sequence[StepWait], run: RunRecords) -> list[dict[str, Any]]:
    """What was to wait, by the names of its attempts, and until when; None: the whole run."""
    names = {one.task_run_id: one.name for one in run.spans if one.kind == Kind.ATTEMPT}
    return [
        {"step": None if one.whole_run else names.get(one.step, one.step), "until": iso(one.decisions[-1].start)}
        for one in waits
    ]


@dataclass(frozen=True, slots=True)
class _Compared:
    """The work that waited together: its joules, and the intensities (gCO2eq/kWh) that it met and would have met."""

    joules: float | None
    met: float | None
    would_have: float | None
    expected: float | None
    run_now: float | None
    saved_g: float | None
    predicted_g: float | None
    observed: float


class _Shifted(NamedTuple):
    """Spans, and what held all of them back: the earliest wait first."""

    spans: list[SpanRecord]
    waits: list[StepWait]

    @property
    def zone(self) -> str | None:
        """That of the wait which ended last."""
        return self._last.decisions[0].zone

    @property
    def expected(self) -> float | None:
        """The intensity that was expected where all waits had ended."""
        return self._last.decisions[-1].expected

    @property
    def run_now(self) -> float | None:
        """The intensity that was expected before the first wait for the same grid."""
        return next(one.decisions[0].run_now for one in self.waits if one.decisions[0].zone == self.zone)

    @property
    def delay_s(self) -> float:
        """How much earlier the spans would have been."""
        return length((one.arrived, one.began) for one in self.waits if one.began is not None)

    @property
    def _last(self) -> StepWait:
        return max(self.waits, key=lambda one: one.began or 0.0)


def _compared(work: _Shifted, grid: Intensities, pue: float | None) -> _Compared:
    spans, delay, expected, run_now = work.spans, work.delay_s, work.expected, work.run_now
    earlier = [_earlier(one, delay) for one in spans]
    used = add(own(one).joules for one in spans)
    met, would_have = weighted(spans, grid, {}), weighted(earlier, grid, {})
    begin = min(one.started_at for one in spans)
    end = max([begin + 1.0, *(one.ended_at or one.started_at for one in spans)])
    seen = grid.observed_part(begin, end), grid.observed_part(begin - delay, end - delay)
    return _Compared(
        used, met, would_have, expected, run_now,
        _saved(used, met, would_have, pue), _saved(used, expected, run_now, pue), sum(seen) / 2,
    )  # fmt: skip


def _earlier(span: SpanRecord, by_s: float) -> SpanRecord:
    end = span.ended_at
    return replace(span, started_at=span.started_at - by_s, ended_at=None if end is None else end - by_s)


def _saved(joules: float | None, then: float | None, at_once: float | None, pue: float | None) -> float | None:
    if joules == 0:
        return 0.0
    return None if then is None or at_once is None else grams(joules, at_once - then, pue)


def _work(run: RunRecords, waits: Sequence[StepWait]) -> list[_Shifted]:
    """What waited, put together where the same waits held it back."""
    known = _Holding(waits)
    together: dict[tuple[int, ...], _Shifted] = {}
    for span, attempt, waits_itself in _with_attempts(run):
        held = [] if waits_itself else known.back(span, attempt)
        if held:
            together.setdefault(tuple(map(id, held)), _Shifted([], held)).spans.append(span)
    return list(together.values())


class _Holding:
    """The waits of a run, by what they held back."""

    def __init__(self, waits: Sequence[StepWait]) -> None:
        self._own: dict[str | None, list[StepWait]] = defaultdict(list)
        self._before: dict[str | None, list[StepWait]] = defaultdict(list)
        for one in waits:
            self._own[one.step].append(one)
            for key in one.held_back or ():
                self._before[key].append(one)
        self._of_run = _of_run(waits)

    def back(self, span: SpanRecord, attempt: SpanRecord | None) -> list[StepWait]:
        """What held a span of an attempt back, the earliest first; of orchestration only what held the run back."""
        step, key, at = (None, None, span.started_at)
        if attempt is not None:
            step, key, at = attempt.task_run_id, attempt.task_key, attempt.started_at
        own = [one for one in self._own.get(step, ()) if one.is_before(at)]
        before = [*self._before.get(key, ()), *self._of_run]
        held = [*(one for one in before if one.is_before(at) and all(_came_first(one, mine) for mine in own)), *own]
        if span.kind == Kind.ORCHESTRATION and not any(one.whole_run for one in held):
            return []
        return sorted(held, key=lambda one: one.arrived)


def _of_run(waits: Sequence[StepWait]) -> list[StepWait]:
    """The wait of the whole run where nobody wrote down what came after, in each of its lives: until its first task."""
    by_life: dict[float, list[StepWait]] = defaultdict(list)
    for one in waits:
        if one.whole_run and one.held_back is None:
            by_life[one.over].append(one)
    return [
        replace(whole[0], step="", began=min(one.began for one in whole if one.began is not None))
        for whole in by_life.values()
    ]


def _came_first(wait: StepWait, mine: StepWait) -> bool:
    """Whether a wait had a step wait that then waited itself; what a run begins with waits side by side."""
    return wait.began is not None and wait.began <= mine.arrived and not (wait.whole_run and mine.whole_run)


def _with_attempts(run: RunRecords) -> Iterable[tuple[SpanRecord, SpanRecord | None, bool]]:
    """The spans, each with the outermost attempt that it is, or lies in, or ran in it; none of flows that work.

    And whether it does no work, but waits or lies in what only waits.
    """
    by_id = {one.id: one for one in run.spans}
    attempts = [one for one in run.spans if one.kind == Kind.ATTEMPT and one.task_run_id is not None]
    ran, in_process = {one.parent_id: one for one in attempts}, {one.process_id: one for one in attempts}
    for span in run.spans:
        if span.kind == Kind.FLOW and not span.is_waiting:
            continue
        attempt, around, seen, waits = None, span, {span.id}, False
        while True:
            waits = waits or around.is_waiting
            if around.kind == Kind.ATTEMPT:
                attempt = around
            outer = by_id.get(around.parent_id or "")
            if outer is None or outer.id in seen:
                break
            seen.add(outer.id)
            around = outer
        of_process = ran.get(span.id) or in_process.get(span.process_id)  # later stretches lie inside the first
        yield span, of_process if span.kind == Kind.ORCHESTRATION else attempt, waits


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; None where a part is not known."""
    known = list(values)
    return None if None in known else sum(one for one in known if one is not None)


def _mean(parts: Sequence[_Compared], figure: Callable[[_Compared], float | None]) -> float | None:
    """The mean by joules; None where that of a part with joules is not known."""
    known = [(part.joules, figure(part)) for part in parts if part.joules]
    if not known or any(value is None for _, value in known):
        return None
    return sum(used * (value or 0.0) for used, value in known) / sum(used for used, _ in known)
