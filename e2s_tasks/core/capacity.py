"""Starts for many runs of which only so many may run at once: Lagrangian prices, and greedy plans at those prices.

Without a cap every run would wait for the same clean hours. A price per slot, raised where too many want to run and
lowered where there is room, makes them spread; the least that all prices prove to be needed is a bound on any plan. The
plans are made whole by placing run after run where there is room; where a run finds none within its slack it starts
where it exceeds the cap least: a deadline is worth more than the cap.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from e2s_tasks.errors import SettingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Slots = NDArray[np.int64]

UPDATES = 40
EAGERNESS, CALMER, MOMENTUM = 1.5, 0.8, 0.3  # of the steps; chosen with benchmarks/capacity.py
REPAIRS = 2


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs in slots of a forecast: when each arrives, how long it runs, how much later it may start; and its power.

    power weighs each run's emissions: any unit, the same for all.
    """

    arrivals: "Slots"
    lengths: "Slots"
    slacks: "Slots"
    power: "Values"


@dataclass(frozen=True, slots=True)
class SharedPlan:
    """When each run starts, what all emit, and the least that any plan within the cap emits (gCO2eq/kWh x power).

    peak: how many run at once at most. over: the runs that exceed the cap, since their deadlines leave no other start.
    """

    starts: "Slots"
    cost: float
    bound: float
    peak: int
    over: tuple[int, ...]


def plan_together(forecast: "Values", runs: Runs, cap: int, grids: "Slots | None" = None) -> SharedPlan:
    """The best plan found in which at most `cap` runs run at once, but where deadlines leave no choice.

    forecast: gCO2eq/kWh by slot, at least until the last end of any run. grids: where runs are on several grids, which
    row of `forecast` is that of each run.

    Raises:
        SettingError: a cap below 1, no run, or a run that ends after the forecast.
    """
    import numpy as np

    forecasts = np.atleast_2d(forecast)
    _check(forecasts.shape[1], runs, cap)
    problem = _Problem(forecasts, runs, cap, np.zeros_like(runs.arrivals) if grids is None else grids)
    by_deadline, by_stake = problem.order(runs.arrivals + runs.slacks), problem.order(-problem.stakes())
    plans = [np.array(runs.arrivals), problem.greedy(by_deadline), problem.greedy(by_stake)]
    bound, prices = problem.prices(min(plans, key=problem.rank))
    plans += [problem.repaired(problem.greedy(order, prices)) for order in (by_deadline, by_stake)]
    starts = min(plans, key=problem.rank)
    if problem.rank(starts)[0]:  # who takes clean starts first may leave gaps that no run fits into
        starts = min(starts, problem.repaired(problem.soonest()), key=problem.rank)
    load = problem.load(starts)
    over = [run for run in range(len(starts)) if load[problem.slots_of(run, starts[run])].max() > cap]
    cost = problem.cost(starts)
    return SharedPlan(starts, cost, min(bound, cost), int(load.max()), tuple(over))


class _Problem:
    """What each start of each run costs, by how many slots after the arrival it is."""

    def __init__(self, forecasts: "Values", runs: Runs, cap: int, grids: "Slots") -> None:
        import numpy as np

        self.runs, self.cap, self.slots = runs, cap, forecasts.shape[1]
        self.reach = int(runs.slacks.max()) + 1
        self.groups = [(int(length), np.flatnonzero(runs.lengths == length)) for length in np.unique(runs.lengths)]
        self.own = np.empty((len(runs.arrivals), self.reach))
        for length, same in self.groups:
            for grid, forecast in enumerate(forecasts):
                rows = same[grids[same] == grid]
                self.own[rows] = self._windows(forecast, length, rows) * runs.power[rows, None]
        self.own[np.arange(self.reach) > runs.slacks[:, None]] = np.inf

    def _windows(self, values: "Values", length: int, rows: "Slots") -> "Values":
        """The sums of the windows of the runs in `rows`, by how many slots after the arrival they start."""
        import numpy as np

        sums = np.concatenate([[0.0], np.cumsum(values)])
        windows = np.pad(sums[length:] - sums[:-length], (0, self.reach), mode="edge")
        found: Values = np.lib.stride_tricks.sliding_window_view(windows, self.reach)[self.runs.arrivals[rows]]
        return found

    def slots_of(self, run: int, start: int) -> slice:
        return slice(int(start), int(start + self.runs.lengths[run]))

    def stakes(self) -> "Values":
        """How much more than its cheapest start each run's mean start costs."""
        import numpy as np

        possible = np.isfinite(self.own)
        means = np.where(possible, self.own, 0.0).sum(axis=1) / possible.sum(axis=1)
        stakes: Values = means - self.own.min(axis=1)
        return stakes

    def order(self, by: "Values | Slots") -> "Slots":
        """The runs in the order of `by`; of equals the longer first, which is harder to place."""
        import numpy as np

        found: Slots = np.lexsort((-self.runs.lengths, by))
        return found

    def load(self, starts: "Slots") -> "Slots":
        """How many run in each slot."""
        import numpy as np

        ends = starts + self.runs.lengths
        change = np.bincount(starts, minlength=self.slots + 1) - np.bincount(ends, minlength=self.slots + 1)
        load: Slots = np.cumsum(change)[: self.slots]
        return load

    def cost(self, starts: "Slots") -> float:
        import numpy as np

        rows = np.arange(len(starts))
        return float(self.own[rows, starts - self.runs.arrivals].sum())

    def rank(self, starts: "Slots") -> tuple[int, float]:
        """Less is better: the run-slots above the cap, then the cost."""
        import numpy as np

        return int(np.maximum(self.load(starts) - self.cap, 0).sum()), self.cost(starts)

    def prices(self, feasible: "Slots") -> tuple[float, "Values"]:
        """The highest lower bound that the prices of slots prove, and those prices; by sub-gradients."""
        import numpy as np

        prices, best, best_prices = np.zeros(self.slots), -np.inf, np.zeros(self.slots)
        upper, eagerness, direction = self.cost(feasible), EAGERNESS, np.zeros(self.slots)
        for _ in range(UPDATES):
            starts, value = self._cheapest(prices)
            value -= float(prices.sum()) * self.cap
            if value > best:
                best, best_prices = value, prices
            else:
                eagerness *= CALMER
            direction = self.load(starts) - self.cap + MOMENTUM * direction
            direction = np.where((prices <= 0) & (direction < 0), 0.0, direction)
            if not direction.any():
                break
            step = eagerness * max(upper - value, 1e-9 * abs(upper)) / float(direction @ direction)
            prices = np.maximum(prices + step * direction, 0.0)
        return best, best_prices

    def _cheapest(self, prices: "Values") -> tuple["Slots", float]:
        """The cheapest start of each run at the prices, as if it were alone, and the sum of what they cost."""
        import numpy as np

        waits, total = np.empty(len(self.own), dtype=np.int64), 0.0
        for length, rows in self.groups:
            costs = self.own[rows] + self._windows(prices, length, rows)
            waits[rows] = costs.argmin(axis=1)
            total += float(costs[np.arange(len(rows)), waits[rows]].sum())
        return self.runs.arrivals + waits, total

    def greedy(self, order: "Slots", prices: "Values | None" = None) -> "Slots":
        """Run after run at its cheapest start that has room; where none has, at the one that exceeds the cap least."""
        import numpy as np

        load = np.zeros(self.slots, dtype=np.int64)
        starts = np.array(self.runs.arrivals)
        costs = self._priced(prices)
        self._place(order, starts, load, costs)
        return starts

    def soonest(self) -> "Slots":
        """Run after run, as they arrive, at the first start that has room."""
        import numpy as np

        starts = np.array(self.runs.arrivals)
        waits = np.arange(self.reach, dtype=float)
        load = np.zeros(self.slots, dtype=np.int64)
        self._place(self.order(self.runs.arrivals), starts, load, lambda run: waits[: self.runs.slacks[run] + 1])
        return starts

    def repaired(self, starts: "Slots") -> "Slots":
        """The plan, each run of which has been taken out and put where it is cheapest now."""
        starts = starts.copy()
        load = self.load(starts)
        gain = self.own[range(len(starts)), starts - self.runs.arrivals] - self.own.min(axis=1)
        order = (-gain).argsort(kind="stable")
        for _ in range(REPAIRS):
            self._place(order[: (gain > 0).sum()], starts, load, self._priced(None), taken=True)
        return starts

    def _priced(self, prices: "Values | None") -> Callable[[int], "Values"]:
        """What each start of a run costs."""
        import numpy as np

        if prices is None:
            return lambda run: self.own[run, : self.runs.slacks[run] + 1]
        sums = np.concatenate([[0.0], np.cumsum(prices)])

        def costs(run: int) -> "Values":
            first, length, many = self.runs.arrivals[run], self.runs.lengths[run], self.runs.slacks[run] + 1
            paid: Values = sums[first + length : first + length + many] - sums[first : first + many]
            return self.own[run, :many] + paid

        return costs

    def _place(
        self,
        order: Iterable[int],
        starts: "Slots",
        load: "Slots",
        costs: Callable[[int], "Values"],
        *,
        taken: bool = False,
    ) -> None:
        """Give each run in turn its start, and book it in `load`; taken: it has one already, which is given back."""
        import numpy as np

        for run in order:
            if taken:
                load[self.slots_of(run, starts[run])] -= 1
            first, length = self.runs.arrivals[run], self.runs.lengths[run]
            near = load[first : first + self.runs.slacks[run] + length]
            excess = np.concatenate([[0], np.cumsum(np.maximum(near - self.cap + 1, 0))])
            over = excess[length:] - excess[:-length]
            wait = int(np.where(over == over.min(), costs(run), np.inf).argmin())
            starts[run] = first + wait
            load[self.slots_of(run, starts[run])] += 1


def _check(slots: int, runs: Runs, cap: int) -> None:
    if not isinstance(cap, int) or cap < 1:
        raise SettingError(f"cap={cap!r}: at least one run must be allowed at once; give 1 or more.")
    if not len(runs.arrivals):
        raise SettingError("There is no run to plan: give at least one.")
    last = int((runs.arrivals + runs.slacks + runs.lengths).max())
    if last > slots or int(runs.lengths.min()) < 1 or int(min(runs.arrivals.min(), runs.slacks.min())) < 0:
        raise SettingError(
            f"The forecast has {slots} slots, and the last run may end in slot {last}: give a longer forecast,"
            " lengths of 1 or more, and arrivals and slacks of 0 or more."
        )


def jittered(start: datetime, latest_start: datetime, within: timedelta, name: str) -> datetime:
    """`start`, later by a part of `within` that depends on the run's name only, and never past `latest_start`.

    Runs that are planned for the same edge of a slot do not all begin in the same second.
    """
    part = int.from_bytes(sha256(name.encode()).digest()[:8]) / 2**64
    return max(start, min(start + within * part, latest_start))
