"""The waiting of parts of a run, as their decisions and attempts tell it. Times are seconds since the epoch."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from e2s_tasks.core.records import HELD_BACK, OF_RUN, OF_STEP, WAITS, DecisionRecord

Interval = tuple[float, float]  # from, to


@dataclass(frozen=True, slots=True)
class StepWait:
    """A step that waited for a cleaner grid, from when it arrived until it began; began is None while it waits.

    decisions: those that had it wait, the earliest first. whole_run: all that came after it in the run waited with it.
    held_back: the keys of further tasks that did.
    """

    step: str
    arrived: float
    began: float | None
    decisions: tuple[DecisionRecord, ...]
    whole_run: bool = False
    held_back: frozenset[str] = frozenset()

    @property
    def delay_s(self) -> float:
        """How much later it began, in seconds; 0 while it waits."""
        return 0.0 if self.began is None else self.began - self.arrived


def step_waits(decisions: Iterable[DecisionRecord], starts: Mapping[str, Sequence[float]]) -> list[StepWait]:
    """The waits of a run's steps, the earliest first. starts: when each step's attempts, or stretches of them, began.

    The stretch in which a step was decided to wait began before that.
    """
    by_step: dict[str, list[DecisionRecord]] = defaultdict(list)
    for one in sorted(decisions, key=lambda one: one.at):
        if one.plan.get(OF_STEP) is not None and one.plan.get(WAITS):
            by_step[one.plan[OF_STEP]].append(one)
    found = []
    for step, mine in by_step.items():
        first = mine[0]
        began = min((at for at in starts.get(step, ()) if at > first.at), default=None)
        held_back = frozenset(first.plan.get(HELD_BACK) or ())
        whole_run = bool(first.plan.get(OF_RUN))
        found.append(StepWait(step, first.plan.get("arrived", first.at), began, tuple(mine), whole_run, held_back))
    return sorted(found, key=lambda one: one.arrived)


def length(intervals: Iterable[Interval]) -> float:
    """The seconds that lie in at least one of the intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def alone(intervals: Sequence[Interval], others: Sequence[Interval]) -> float:
    """The seconds that lie in the intervals, and in none of the others."""
    return length([*intervals, *others]) - length(others)
