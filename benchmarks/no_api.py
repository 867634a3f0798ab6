"""How much of what waiting could save is saved without any API: the past of each zone is the forecast.

    .venv/bin/python benchmarks/no_api.py [--quick]

Hourly figures of 14 zones in 2022 (../shared/data). A job of 4 h arrives each hour and may end 24 h later than at once;
it starts when no later start is expected to be cleaner, which is asked anew every hour.
"""

import numpy as np
from common import Row, main
from traces import hourly_2022

from e2s_tasks.scheduler import backtest

HOURS, SLACK, WEEK = 4, 24, 7 * 24


def measure(quick: bool) -> list[Row]:
    """Percent of the oracle's saving, over the zones."""
    zones = hourly_2022()
    if quick:
        zones = dict(list(zones.items())[:2])
    once, again = (np.array([_of_oracle(trace, replan=replan) for trace in zones.values()]) for replan in (False, True))
    return [
        Row(what, float(np.percentile(again, part)), "%", goal, least=True,
            note=f"planned once: {np.percentile(once, part):.1f}")
        for what, part, goal in (("median of the zones", 50, 82), ("worst tenth", 10, 62))
    ]  # fmt: skip


def _of_oracle(trace: np.ndarray, *, replan: bool) -> float:
    jobs = backtest.Jobs(np.arange(WEEK, len(trace) - HOURS - SLACK), HOURS, SLACK)
    views = backtest.from_past(trace, 24, HOURS + SLACK)
    return backtest.result(trace, jobs, backtest.best_starts(views, jobs, replan=replan)).of_oracle


if __name__ == "__main__":
    main(measure)
