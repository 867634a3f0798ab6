"""Starts of runs of which only so many may run at once: how good, how quick, and what a cap costs.

    .venv/bin/python benchmarks/capacity.py [--quick]

10,000 runs over 192 slots (DE 2022, ../shared/data): arrivals, lengths, slacks and powers at random; the cap is twice
the mean number at once. A plan is compared with the dual bound, which no plan within the cap can beat, so its part of
the linear program's saving is at least the figure. Then a 4 h run that arrives each hour of the year, 24 h slack.
"""

import time
import tracemalloc

import numpy as np
from common import Row, main
from traces import hourly_2022

from e2s_tasks.core.capacity import Runs, plan_together

SLOTS = 192


def measure(quick: bool) -> list[Row]:
    """Seconds, MB, and percent of what could be saved within the cap."""
    trace = hourly_2022()["DE"]
    rows = _many(trace[24 * 60 :][:SLOTS], 1000 if quick else 10_000)
    return rows + (_capped(trace[: 24 * 30], {}) if quick else _capped(trace, {2: 13}))


def _many(forecast: np.ndarray, number: int) -> list[Row]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, number)
    slacks = np.minimum(rng.integers(0, 49, number), SLOTS - lengths)
    arrivals = (rng.random(number) * (SLOTS - lengths - slacks + 1)).astype(np.int64)
    runs = Runs(arrivals, lengths, slacks, rng.uniform(0.1, 2.0, number))
    cap = int(2 * lengths.sum() / SLOTS)
    tracemalloc.start()
    plan_together(forecast, runs, cap)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    begin = time.perf_counter()
    plan = plan_together(forecast, runs, cap)
    took = time.perf_counter() - begin
    return [
        Row(f"{number:,} runs x {SLOTS} slots, time", took, "s", 2),
        Row("the same, memory", peak, "MB", 300),
        Row("the same, part of the most that could be saved", _part(forecast, runs, plan), "%", 95, least=True,
            note=f"{len(plan.over)} runs above the cap {cap}"),
    ]  # fmt: skip


def _capped(trace: np.ndarray, goals: dict[float, float]) -> list[Row]:
    hours, slack = 4, 24
    arrivals = np.arange(len(trace) - hours - slack)
    same = np.full(len(arrivals), 1)
    runs = Runs(arrivals, same * hours, same * slack, same * 1.0)
    rows = []
    for times in (1.25, 1.5, 2, 3):
        plan = plan_together(trace, runs, int(times * hours))
        saving, most = (100 * (1 - cost / _now(trace, runs)) for cost in (plan.cost, plan.bound))
        rows.append(
            Row(f"hourly 4 h runs, cap {times} x: saving", saving, "%", goals.get(times), least=True,
                note=f"at most {most:.1f}; peak {plan.peak} of {int(times * hours)}")
        )  # fmt: skip
    return rows


def _part(forecast: np.ndarray, runs: Runs, plan: object) -> float:
    now = _now(forecast, runs)
    return 100 * (now - plan.cost) / (now - plan.bound)


def _now(forecast: np.ndarray, runs: Runs) -> float:
    sums = np.concatenate([[0.0], np.cumsum(forecast)])
    return float(((sums[runs.arrivals + runs.lengths] - sums[runs.arrivals]) * runs.power).sum())


if __name__ == "__main__":
    main(measure)
