"""In which slots a run that can be suspended should run, when each resumption costs time: dynamic programming.

All arrays have a row per run and a column per equal slot, from the first slot in which the run may run to the last.
A resumption takes `resume` slots of the run's power (loading a checkpoint, repeating lost work) at the end of the pause
before it, so that it never moves the end; a pause is long enough for that.
"""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Chosen = NDArray[np.bool_]

PRICED = 4.0  # a forecast flatters pauses: they are planned as if they cost so many times what they do
SURE = 2.0


def plan_slots(forecast: "Values", length: int, resume: float, error_sd: float = 0.0, slot_h: float = 1.0) -> "Chosen":
    """The slots to run in: the cheapest window, or a plan with pauses where that is surely better.

    forecast: gCO2eq/kWh. length and resume: of the run and of a resumption, in slots. error_sd: of the forecast, in
    gCO2eq/kWh; the predicted gain over the window must exceed twice that for an hour.
    """
    window = best_window_slots(forecast, length)
    paused = cheapest_slots(forecast, length, resume, PRICED)
    gain = slots_cost(forecast, window, resume) - slots_cost(forecast, paused, resume, PRICED)
    better = gain * slot_h > SURE * error_sd
    chosen: Chosen = (better[:, None] & paused) | (~better[:, None] & window)
    return chosen


def best_window_slots(forecast: "Values", length: int) -> "Chosen":
    """The slots of the cheapest window of each run, the earliest of equals."""
    import numpy as np

    sums = np.cumsum(np.pad(forecast, ((0, 0), (1, 0))), axis=1)
    start = np.argmin(sums[:, length:] - sums[:, :-length], axis=1)
    slots = np.arange(forecast.shape[1])
    chosen: Chosen = (slots >= start[:, None]) & (slots < start[:, None] + length)
    return chosen


def cheapest_slots(forecast: "Values", length: int, resume: float, times: float = 1.0) -> "Chosen":
    """The slots that cost least together with `times` the resumptions between them; exact."""
    import numpy as np

    runs, slots = forecast.shape
    again = times * _resuming(forecast, resume)
    rows = np.arange(runs)
    done = forecast.copy()  # done[:, t]: the least cost with k slots done, the last of them slot t
    came_from = np.empty((length, runs, slots), dtype=np.int32)
    for k in range(1, length):
        on = np.full_like(done, np.inf)
        on[:, 1:] = done[:, :-1]
        best, where = _least_so_far(done, _pause(resume) + 1)
        resumed = best + again
        came_from[k] = np.where(resumed < on, where, np.arange(slots) - 1)
        done = np.minimum(on, resumed) + forecast
    chosen = np.zeros((runs, slots), dtype=bool)
    at = np.argmin(done, axis=1)
    for k in range(length - 1, -1, -1):
        chosen[rows, at] = True
        if k:
            at = came_from[k][rows, at]
    return chosen


def _least_so_far(done: "Values", back: int) -> tuple["Values", "NDArray[np.int32]"]:
    """For each slot the least value at least `back` slots before it, and where it is; infinite where there is none."""
    import numpy as np

    least = np.minimum.accumulate(done, axis=1)
    is_new = np.concatenate([np.ones((len(done), 1), dtype=bool), done[:, 1:] < least[:, :-1]], axis=1)
    index = np.arange(done.shape[1], dtype=np.int32)
    where = np.maximum.accumulate(np.where(is_new, index, 0), axis=1)
    shifted, place = np.full_like(done, np.inf), np.zeros(done.shape, dtype=np.int32)
    shifted[:, back:], place[:, back:] = least[:, :-back], where[:, :-back]
    return shifted, place


def _pause(resume: float) -> int:
    """The fewest slots that a pause takes."""
    return max(1, math.ceil(resume))


def _resuming(forecast: "Values", resume: float) -> "Values":
    """What a resumption into each slot costs: `resume` slots at the intensities of the pause before it."""
    import numpy as np

    cost = np.zeros_like(forecast)
    for back in range(1, _pause(resume) + 1):
        cost[:, back:] += min(1.0, resume - (back - 1)) * forecast[:, :-back]
    return cost


def slots_cost(values: "Values", chosen: "Chosen", resume: float, times: float = 1.0) -> "Values":
    """What each run emits per kW, in gCO2eq/kWh x slots: its slots, and `times` its resumptions."""
    import numpy as np

    cost: Values = np.where(chosen, values, 0.0).sum(axis=1)
    cost += times * np.where(_resumed(chosen), _resuming(values, resume), 0.0).sum(axis=1)
    return cost


def resumptions(chosen: "Chosen") -> "NDArray[np.int64]":
    """How often each run is resumed."""
    count: NDArray[np.int64] = _resumed(chosen).sum(axis=1)
    return count


def _resumed(chosen: "Chosen") -> "Chosen":
    """The slots in which a run goes on after a pause."""
    import numpy as np

    begins = chosen.copy()
    begins[:, 1:] &= ~chosen[:, :-1]
    later: Chosen = begins & (np.cumsum(begins, axis=1) > 1)
    return later
