"""What it costs to start twice the P95 duration before a deadline, and what it keeps.

    .venv/bin/python benchmarks/latest_start.py [--quick]

Hourly figures of 14 zones in 2022 (../shared/data), known beforehand. A run that is expected to take 4 h (P95: 6 h)
arrives each hour and must have finished 28 h later; what it really takes is log-normal, up to twice the P95. Then the
best window of runs that begin and last off the slots, beside an independent search through all minutes.
"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
from common import Row, main
from traces import hourly_2022

from e2s_tasks.core.planning import Forecast, Slot, best_window
from e2s_tasks.scheduler import backtest

HOURS, P95, WITHIN = 4, 6, 28
MINUTE = timedelta(minutes=1)
YEAR = datetime(2022, 1, 1, tzinfo=UTC)


def measure(quick: bool) -> list[Row]:
    """Missed deadlines, savings, and the distance from the exhaustive search."""
    zones = hourly_2022()
    if quick:
        zones = dict(list(zones.items())[:2])
    with_reserve, without = (
        np.array([_kept(trace, slack) for trace in zones.values()]).mean(axis=0)
        for slack in (WITHIN - 2 * P95, WITHIN - HOURS)
    )
    return [
        Row("deadlines missed, runs up to twice the P95", float(with_reserve[0]), "%", 0,
            peer=float(without[0]), peer_name="no reserve"),
        Row("saving, mean of the zones", float(with_reserve[1]), "%", peer=float(without[1]), peer_name="no reserve",
            note=f"the reserve costs {without[1] - with_reserve[1]:.1f} points"),
        Row("best window, distance from all minutes searched", _search(zones["DE"] if "DE" in zones else
            next(iter(zones.values())), 20 if quick else 300), "gCO2eq/kWh", 1e-9),
    ]  # fmt: skip


def _kept(trace: np.ndarray, slack: int) -> tuple[float, float]:
    """The part of deadlines missed and the saving, both in percent."""
    jobs = backtest.Jobs(np.arange(len(trace) - WITHIN), HOURS, slack)
    starts = backtest.best_starts(backtest.perfect(trace, HOURS + slack), jobs, replan=False)
    spread = np.log(P95 / HOURS) / 1.645
    took = np.minimum(HOURS * np.exp(np.random.default_rng(0).normal(0, spread, len(starts))), 2 * P95)
    missed = 100 * float((starts + took > jobs.arrivals + WITHIN).mean())
    return missed, backtest.result(trace, jobs, starts).saving


def _search(trace: np.ndarray, cases: int) -> float:
    """The greatest distance of the planner's mean from the least of all starts, minute by minute."""
    trace, rng, worst = trace.astype(np.float64), np.random.default_rng(0), 0.0
    for _ in range(cases):
        first = int(rng.integers(0, len(trace) - 40))
        now, length, slack = int(rng.integers(0, 60)), int(rng.integers(1, 500)), int(rng.integers(0, 1440))
        values = trace[first : first + 36]
        edges = [YEAR + hour * 60 * MINUTE for hour in range(37)]
        slots = tuple(Slot(*ends, float(value)) for ends, value in zip(pairwise(edges), values, strict=True))
        at = YEAR + now * MINUTE
        end = at + (length + slack) * MINUTE
        found = best_window(Forecast("zone", slots, "average", "trace"), at, length * MINUTE, end)
        minutely = np.repeat(values, 60)
        least = min(minutely[start : start + length].mean() for start in range(now, now + slack + 1))
        worst = max(worst, abs(found.expected - least))
    return float(worst)


if __name__ == "__main__":
    main(measure)
