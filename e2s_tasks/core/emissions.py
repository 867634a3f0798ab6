"""Which carbon intensity work met that used its energy at one time or another."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from e2s_tasks.core.records import DecisionRecord

OBSERVED = "observed"  # of a decision's plan: its slots are what the grid was, not what was expected
RUNG = "rung"  # of a decision's plan: what kind of source it asked
TIMELESS = {"average", "nothing"}  # rungs that tell no hour from another

MOMENT_S = 1e-3
Slot = tuple[float, float, float]  # from, to (seconds since the epoch), gCO2eq/kWh


@dataclass(frozen=True, slots=True)
class Intensities:
    """Carbon intensities in slots that are in order and do not overlap; before, after and between them the nearest.

    otherwise: what holds without a slot; None: unknown. observed: the slots that were observed; the rest is as it was
    expected.
    """

    slots: tuple[Slot, ...] = ()
    otherwise: float | None = None
    observed: tuple[Slot, ...] = ()

    def mean(self, *times: tuple[float, float]) -> float | None:
        """The time-weighted mean over stretches of time, each from and to; at a moment where both are the same."""
        if not self.slots:
            return self.otherwise
        parts = [part for start, end in times for part in _within(self.slots, start, max(end, start + MOMENT_S))]
        return sum(seconds * intensity for seconds, intensity in parts) / sum(seconds for seconds, _ in parts)

    def constant(self, start: float, end: float) -> float | None:
        """The intensity if it is the same all the time; None if it changes, or is not known."""
        if not self.slots:
            return self.otherwise
        slot = self.slots[min(bisect_left(self.slots, start, key=lambda slot: slot[1]), len(self.slots) - 1)]
        return slot[2] if slot[0] <= start and end <= slot[1] else None

    def observed_part(self, start: float, end: float) -> float:
        """For how much of start..end, from 0 to 1, the intensity is an observed one."""
        if end <= start:
            return 0.0
        return min(1.0, sum(seconds for seconds, _ in _within(self.observed, start, end)) / (end - start))


def holding(decisions: Iterable[DecisionRecord]) -> DecisionRecord | None:
    """The decision whose zone and source a run's emissions rest on; None without any.

    It is the newest of those that know an intensity: one that knows the hours before a yearly average, and one of a
    zone that somebody named before one of none.
    """
    return max(decisions, key=lambda one: (*_worth(one), one.zone is not None, one.at), default=None)


def _worth(decision: DecisionRecord) -> tuple[bool, bool]:
    """Whether it knows an intensity, and whether that is of its hours."""
    return decision.intensity is not None, decision.plan.get(RUNG) not in TIMELESS


def intensities(decisions: Sequence[DecisionRecord]) -> Intensities:
    """What the decisions of a run know: of each time what was observed, else what the latest of them expected.

    Of the zone that holds, and of nothing worse than what is known of it: another zone's hours, and averages beside
    better figures, do not mix in.
    """
    holds = holding(decisions)
    if holds is None:
        return Intensities()
    alike = [one for one in decisions if one.zone == holds.zone and _worth(one) == _worth(holds)]
    latest_first = sorted(alike, key=lambda one: (bool(one.plan.get(OBSERVED)), one.at), reverse=True)
    slots: list[Slot] = []
    for decision in latest_first:
        slots = _filled(slots, decision.plan.get("slots", []))
    seen = [slot for one in latest_first if one.plan.get(OBSERVED) for slot in one.plan.get("slots", [])]
    return Intensities(_joined(slots), holds.intensity, tuple(_filled([], seen)))


def _joined(slots: Sequence[Slot]) -> tuple[Slot, ...]:
    """The slots without gaps: each goes on half way to the next, the first has always been, the last lasts for ever."""
    middles = [(one[1] + other[0]) / 2 for one, other in pairwise(slots)]
    return tuple(zip((-math.inf, *middles), (*middles, math.inf), [slot[2] for slot in slots], strict=False))


def _within(slots: Sequence[Slot], start: float, end: float) -> Iterable[tuple[float, float]]:
    """The seconds of each slot that lie in start..end, with its intensity."""
    first = bisect_left(slots, start, key=lambda slot: slot[1])
    for begin, until, intensity in slots[first:]:
        if begin >= end:
            return
        seconds = min(until, end) - max(begin, start)
        if seconds > 0:
            yield seconds, intensity


def _filled(slots: Sequence[Slot], others: Iterable[Sequence[float]]) -> list[Slot]:
    """The slots, and those parts of the others that they leave open."""
    if not slots:
        return sorted([(begin, end, intensity) for begin, end, intensity in others if begin < end])
    found = list(slots)
    for begin, end, intensity in others:
        at = begin
        for start, until, _ in slots:
            if until <= at:
                continue
            if start >= end:
                break
            if start > at:
                found.append((at, start, intensity))
            at = max(at, until)
        if at < end:
            found.append((at, end, intensity))
    return sorted(found)
