"""What a plan with pauses saves beyond one window, with forecasts that are wrong as real ones are.

    .venv/bin/python benchmarks/interruptible.py [--quick]

Hourly figures of 14 zones in 2022 (../shared/data). An 8 h job arrives every 7 hours and may end 24 h later than at
once; 15 minutes are lost per resumption. The error of a forecast is AR(1) over the lead (rho 0.93, the first at 0.3 of
the final spread), with a mean of 20 % of the zone's mean over the window; 20 seeds.
"""

import numpy as np
from common import Row, main
from traces import hourly_2022

from e2s_tasks.core.interruptible import (
    best_window_slots,
    cheapest_slots,
    plan_slots,
    resumptions,
    slots_cost,
)

HOURS, SLACK, RESUME = 8, 24, 0.25
RHO, FIRST, MAE = 0.93, 0.3, 0.2


def measure(quick: bool) -> list[Row]:
    """Percentage points of saving against the window plan, over the zones."""
    zones = hourly_2022()
    if quick:
        zones = dict(list(zones.items())[:2])
    seeds = range(2 if quick else 20)
    found = np.array([np.mean([_gains(trace, seed) for seed in seeds], axis=0) for trace in zones.values()])
    planned, exact, lowest, resumed = found.T
    return [
        Row("mean of the zones, beyond the window", float(planned.mean()), "points", 0.0, least=True,
            peer=float(exact.mean()), peer_name="at the true price", note=f"lowest slots: {lowest.mean():+.2f}"),
        Row("worst zone, beyond the window", float(planned.min()), "points", -0.1, least=True,
            peer=float(exact.min()), peer_name="at the true price", note=f"lowest slots: {lowest.min():+.2f}"),
        Row("resumptions a job", float(resumed.mean()), "", note="a job that runs in one window has none"),
    ]  # fmt: skip


def _gains(trace: np.ndarray, seed: int) -> list[float]:
    arrivals = np.arange(0, len(trace) - HOURS - SLACK, 7)
    truth = np.lib.stride_tricks.sliding_window_view(trace, HOURS + SLACK)[arrivals]
    errors, shape = ar1(len(arrivals), HOURS + SLACK, np.random.default_rng(seed))
    scale = MAE * trace.mean()
    forecast = np.maximum(truth + scale * errors, 0.01 * truth)
    now = truth[:, :HOURS].sum()
    window = slots_cost(truth, best_window_slots(forecast, HOURS), RESUME).sum()
    chosen = plan_slots(forecast, HOURS, RESUME, error_sd=scale * shape)
    plans = chosen, cheapest_slots(forecast, HOURS, RESUME), cheapest_slots(forecast, HOURS, 0.0)
    points = [100 * (window - slots_cost(truth, plan, RESUME).sum()) / now for plan in plans]
    return [*points, float(resumptions(chosen).mean())]


def ar1(runs: int, ahead: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Errors with a mean size of 1 over all leads, and their standard deviation."""
    final = FIRST / np.sqrt(1 - RHO**2)
    errors = np.empty((runs, ahead))
    errors[:, 0] = rng.normal(0, FIRST * final, runs)
    for lead in range(1, ahead):
        errors[:, lead] = RHO * errors[:, lead - 1] + rng.normal(0, FIRST, runs)
    errors /= np.abs(errors).mean()
    return errors, float(errors.std())


if __name__ == "__main__":
    main(measure)
