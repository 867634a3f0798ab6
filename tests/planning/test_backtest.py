"""Backtests against the same thing done slowly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.core.profile import expected
from e2s_tasks.scheduler import backtest
from e2s_tasks.scheduler.backtest import Jobs

SLOTS = 60
traces = st.lists(st.integers(1, 900), min_size=SLOTS, max_size=SLOTS).map(lambda values: np.array(values, dtype=float))
jobs = st.builds(
    lambda arrivals, length, slack: Jobs(np.array(arrivals), length, slack),
    st.lists(st.integers(24, 40), min_size=1, max_size=8),
    st.integers(1, 6),
    st.integers(0, 12),
)


def mean(values, start, length):
    return float(np.mean(values[start : start + length]))


@given(traces, jobs)
def test_planning_on_the_truth_is_the_oracle_re_planned_or_not(trace, jobs):
    views = backtest.perfect(trace, jobs.length + jobs.slack)
    for replan in (False, True):
        starts = backtest.best_starts(views, jobs, replan=replan)
        for arrival, start in zip(jobs.arrivals, starts, strict=True):
            best = min(mean(trace, at, jobs.length) for at in range(arrival, arrival + jobs.slack + 1))
            assert mean(trace, start, jobs.length) == pytest.approx(best)
        found = backtest.result(trace, jobs, starts)
        assert found.intensity == pytest.approx(found.oracle)
        assert np.isnan(found.of_oracle) or found.of_oracle == pytest.approx(100)


@given(traces, jobs, st.integers(0, 100))
def test_with_wrong_forecasts_each_job_starts_when_no_later_start_is_expected_to_be_cleaner(trace, jobs, seed):
    views = np.random.default_rng(seed).uniform(1, 900, (SLOTS, jobs.length + jobs.slack))
    starts = backtest.best_starts(views, jobs, replan=True)
    for arrival, start in zip(jobs.arrivals, starts, strict=True):
        last = arrival + jobs.slack
        for now in range(arrival, start + 1):
            expected_means = [mean(views[now], at - now, jobs.length) for at in range(now, last + 1)]
            is_cheapest = expected_means[0] <= min(expected_means) * (1 + 1e-12)
            assert is_cheapest or now < start
            assert not (is_cheapest and now < start)
        assert arrival <= start <= last


@given(traces, jobs, st.sampled_from([0, 25, 50, 100]))
def test_a_threshold_waits_for_a_slot_below_the_percentile_of_the_last_day(trace, jobs, percentile):
    starts = backtest.below(trace, jobs, percentile, 24)
    for arrival, start in zip(jobs.arrivals, starts, strict=True):
        low = [
            at
            for at in range(arrival, arrival + jobs.slack)
            if trace[at] <= np.percentile(trace[at - 24 : at], percentile)
        ]
        assert start == (low[0] if low else arrival + jobs.slack)


@given(traces)
def test_what_the_past_made_expect_at_a_slot_knows_nothing_of_later_ones(trace):
    views = backtest.from_past(trace, 24, 30)
    assert np.isnan(views[:24]).all()
    for now in (24, 40, 59):
        assert views[now] == pytest.approx(expected(trace[:now], 24, 30), nan_ok=True)


@given(traces, jobs)
def test_the_peak_is_how_many_jobs_run_at_once(trace, jobs):
    found = backtest.result(trace, jobs, backtest.at_once(jobs))
    running = [sum(1 for at in jobs.arrivals if at <= slot < at + jobs.length) for slot in range(SLOTS)]
    assert found.peak == found.peak_now == max(running)
    assert (found.saving, found.mean_delay, found.p95_delay) == (0, 0, 0)


def test_an_issued_forecast_grows_old_until_the_next_one_and_is_put_right_by_what_is_known():
    issued = np.array([[100.0] * 48, [200.0] * 48])
    views = backtest.as_issued(issued, 24, 40)
    assert np.array_equal(views[23][:25], [100.0] * 25)
    assert np.isnan(views[23][25:]).all()
    assert views[24][0] == 200
    trace, usual = np.full(48, 150.0), np.full((48, 40), np.nan)
    right = backtest.put_right(views, trace, usual, 1.0)
    assert right[0, 0] == 150
    assert right[0, 12] == pytest.approx(100 + 50 / np.e)
    usual[:] = 0.0
    assert backtest.put_right(views, trace, usual, 1.0)[0, 12] == pytest.approx(0.7 * (100 + 50 / np.e))
