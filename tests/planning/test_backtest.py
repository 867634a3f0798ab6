"""Backtests against the same thing done slowly."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.core.planning import Forecast, Slot
from e2s_tasks.core.policy import CarbonPolicy, minimum_gain_of
from e2s_tasks.core.profile import expected
from e2s_tasks.core.strategies import choose
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


POLICIES = st.one_of(
    st.builds(lambda limit: {"strategy": "threshold", "threshold": limit}, st.integers(1, 900)),
    st.builds(lambda part: {"strategy": "percentile", "percentile": part}, st.sampled_from([0, 25, 50, 100])),
)
GAINS = st.sampled_from([None, "0%", "5.01%", "50.01%", "30.01 g/h"])


@given(traces, jobs, POLICIES, GAINS)
def test_a_policy_is_backtested_as_it_would_have_chosen(trace, jobs, asked, gain):
    midnight, hour = datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=1)
    slots = tuple(Slot(midnight + i * hour, midnight + (i + 1) * hour, value) for i, value in enumerate(trace))
    policy = CarbonPolicy("GB", jobs.slack * hour, jobs.length * hour, minimum_gain=gain, **asked)
    views = backtest.known(trace, jobs, 24, truth_known=True, least=24)
    limits = float(asked.get("threshold", 0)) or backtest.percentiles(views, jobs, asked.get("percentile", 0), 24)
    starts = backtest.below(views, jobs, limits)
    starts = backtest.worth_it(views, jobs, starts, minimum_gain_of(gain), 2.0 * jobs.length)
    for arrival, start in zip(jobs.arrivals, starts, strict=True):
        now = midnight + arrival * hour
        energy_j = 2.0 * jobs.length * 3.6e6
        chosen = choose(policy, Forecast("GB", slots, "x", "x"), now, energy_j=energy_j).start
        means = backtest.window_means(trace, jobs.length)
        assert means[(chosen - midnight) // hour] == pytest.approx(means[start])
        assert chosen == midnight + start * hour or means[arrival] == pytest.approx(means[start])


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
