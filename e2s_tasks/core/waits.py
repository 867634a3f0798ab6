"""The waiting of parts of a run, as their decisions and attempts tell it. Times are seconds since the epoch."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from e2s_tasks.core.records import HELD_BACK, OF_RUN, OF_STEP, WAITS, DecisionRecord

Interval = tuple[float, float]  # from, to


@dataclass(frozen=True, slots=True)
class StepWait:
    """A step that waited for a cleaner grid, from when it arrived until it began; began is None while it waits.

    decisions: those that had it wait, the earliest first. whole_run: the run waited with it. held_back: the keys of
    further tasks that did; None where nobody wrote them down. over: when its run began anew, and no more of it waited.
    """

    step: str
    arrived: float
    began: float | None
    decisions: tuple[DecisionRecord, ...]
    whole_run: bool = False
    held_back: frozenset[str] | None = None
    over: float = float("inf")

    @property
    def delay_s(self) -> float:
        """How much later it began, in seconds; 0 while it waits."""
        return 0.0 if self.began is None else self.began - self.arrived

    def is_before(self, at: float) -> bool:
        """Whether what happened at this moment, in seconds since the epoch, came after it in the same life of a run."""
        return self.began is not None and self.began <= at < self.over


def step_waits(
    decisions: Iterable[DecisionRecord], starts: Mapping[str, Sequence[float]], anew: Sequence[float] = ()
) -> list[StepWait]:
    """The waits of a run's steps, the earliest first. starts: when each step's attempts, or stretches of them, began.

    The stretch in which a step was decided to wait began before that. anew: when the run began again, each time; a step
    that had not begun by then has waited for nothing, and is left out. So is one that was to wait no more before it had
    begun, as somebody had marked it.
    """
    decisions, no_more = sorted(decisions, key=lambda one: one.at), defaultdict(list)
    for one in decisions:
        if one.plan.get(OF_STEP) is not None and one.plan.get(WAITS) is False:
            no_more[one.plan[OF_STEP]].append(one.at)
    by_arrival: dict[tuple[str, float | None], list[DecisionRecord]] = defaultdict(list)
    for one in decisions:
        if one.plan.get(OF_STEP) is not None and one.plan.get(WAITS):
            by_arrival[one.plan[OF_STEP], one.plan.get("arrived")].append(one)
    found = []
    for (step, _), mine in by_arrival.items():
        first = mine[0]
        began = min((at for at in starts.get(step, ()) if at > first.at), default=None)
        over = min((at for at in anew if at > first.at), default=float("inf"))
        gone = min([over, *(at for at in no_more[step] if at > first.at)])
        if gone < float("inf") and (began is None or gone <= began):
            continue
        held_back = frozenset(first.plan[HELD_BACK]) if HELD_BACK in first.plan else None
        whole_run = bool(first.plan.get(OF_RUN))
        arrived = first.plan.get("arrived", first.at)
        found.append(StepWait(step, arrived, began, tuple(mine), whole_run, held_back, over))
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
