"""How much of what waiting could save is saved with forecasts as they were issued, beside yesterday's curve.

    .venv/bin/python benchmarks/issued_forecasts.py

Queensland, second half of 2021, a forecast of 96 h each midnight (../shared/data). A job
arrives each hour; it starts when no later start is expected to be cleaner, which is asked anew every hour.
"""

import numpy as np
from common import Row, main
from traces import issued_for_queensland

from e2s_tasks.scheduler import backtest

AHEAD, WEEK = 40, 7 * 24


def measure(quick: bool) -> list[Row]:  # noqa: ARG001 - it takes seconds
    """Percent of the oracle's saving, by length and slack."""
    issued, actual = issued_for_queensland()
    trace = actual[: 24 * len(issued)]
    usual = backtest.from_past(trace, 24, AHEAD)
    views = backtest.put_right(backtest.as_issued(issued, 24, AHEAD), trace, usual, 1.0)
    yesterday = _yesterday(trace)
    rows = []
    for hours in (1, 4, 8):
        for slack in (8, 12, 24):
            jobs = backtest.Jobs(np.arange(WEEK, len(trace) - 24 - hours - slack), hours, slack)
            found, of_yesterday, once = (
                backtest.result(trace, jobs, backtest.best_starts(known, jobs, replan=replan)).of_oracle
                for known, replan in ((views, True), (yesterday, True), (yesterday, False))
            )
            rows.append(
                Row(
                    f"{hours} h, {slack} h slack", found, "%", 94 if hours == 1 else 97, least=True,
                    peer=max(of_yesterday, once), peer_name="yesterday's curve",
                )
            )  # fmt: skip
    return rows


def _yesterday(trace: np.ndarray) -> np.ndarray:
    """The same hour of the day before, and the truth for the hour of now."""
    views = np.full((len(trace), AHEAD), np.nan)
    for now in range(24, len(trace)):
        views[now] = np.resize(trace[now - 24 : now], AHEAD)
        views[now, 0] = trace[now]
    return views


if __name__ == "__main__":
    main(measure)
