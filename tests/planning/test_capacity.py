"""Runs that share a cap, against all the ways to start them."""

from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2s_tasks.core.capacity import Runs, jittered, plan_together
from e2s_tasks.errors import SettingError

SLOTS = 12
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
one_run = st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(0, 4), st.integers(1, 3))
some_runs = st.lists(one_run, min_size=1, max_size=4)
forecasts = st.lists(st.integers(1, 90), min_size=SLOTS, max_size=SLOTS)


def runs_of(rows):
    return Runs(*(np.array(column) for column in zip(*rows, strict=True)))


def load(rows, starts):
    return [sum(at <= slot < at + row[1] for at, row in zip(starts, rows, strict=True)) for slot in range(SLOTS)]


def above(cap, loads):
    return sum(max(0, one - cap) for one in loads)


def emitted(forecast, rows, starts):
    return sum(row[3] * sum(forecast[at : at + row[1]]) for at, row in zip(starts, rows, strict=True))


def all_starts(rows):
    return product(*(range(arrival, arrival + slack + 1) for arrival, _, slack, _ in rows))


@settings(max_examples=120)
@given(forecasts, some_runs, st.integers(1, 3))
def test_no_run_leaves_its_slack_and_no_plan_within_the_cap_beats_the_bound(forecast, rows, cap):
    plan = plan_together(np.array(forecast, dtype=float), runs_of(rows), cap)
    for (arrival, _, slack, _), start in zip(rows, plan.starts, strict=True):
        assert arrival <= start <= arrival + slack
    assert plan.cost == pytest.approx(emitted(forecast, rows, plan.starts))
    assert plan.peak == max(load(rows, plan.starts))
    assert (plan.peak > cap) == bool(plan.over)
    within = [emitted(forecast, rows, starts) for starts in all_starts(rows) if max(load(rows, starts)) <= cap]
    if within:
        assert plan.bound <= min(within) + 1e-6
    if within and not plan.over:
        assert plan.cost >= min(within) - 1e-6


@settings(max_examples=60)
@given(forecasts, some_runs)
def test_a_cap_that_binds_nobody_costs_nothing(forecast, rows):
    plan = plan_together(np.array(forecast, dtype=float), runs_of(rows), len(rows))
    assert plan.cost == pytest.approx(min(emitted(forecast, rows, starts) for starts in all_starts(rows)))
    assert plan.bound == pytest.approx(plan.cost)


def test_where_cap_and_deadline_conflict_the_deadline_wins_and_the_runs_are_named():
    rows = [(0, 2, 0, 1), (0, 2, 0, 1), (4, 2, 4, 1)]
    plan = plan_together(np.arange(1.0, SLOTS + 1), runs_of(rows), 1)
    assert list(plan.starts) == [0, 0, 4]
    assert (plan.peak, plan.over) == (2, (0, 1))


def test_the_price_of_a_clean_hour_sends_the_small_run_elsewhere():
    forecast = np.full(SLOTS, 100.0)
    forecast[3] = 10
    plan = plan_together(forecast, runs_of([(0, 1, 6, 1), (0, 1, 6, 3)]), 1)
    assert plan.starts[1] == 3
    assert plan.starts[0] != 3


@pytest.mark.parametrize(
    ("rows", "cap", "said"),
    [([(0, 1, 0, 1)], 0, "cap=0"), ([(0, 1, 0, 1)], 1.5, "cap=1.5"), ([(9, 3, 4, 1)], 1, "may end in slot 16"),
     ([(0, 0, 4, 1)], 1, "lengths of 1"), ([(-1, 1, 4, 1)], 1, "arrivals and slacks of 0")],
)  # fmt: skip
def test_what_cannot_be_planned_together_is_named(rows, cap, said):
    with pytest.raises(SettingError, match=said):
        plan_together(np.ones(SLOTS), runs_of(rows), cap)


@given(st.text(), st.integers(0, 600), st.integers(0, 300))
def test_jitter_never_passes_the_latest_start_and_is_the_same_each_time(name, within_s, left_s):
    latest = MIDNIGHT + timedelta(seconds=left_s)
    found = jittered(MIDNIGHT, latest, timedelta(seconds=within_s), name)
    assert MIDNIGHT <= found <= min(latest, MIDNIGHT + timedelta(seconds=within_s))
    assert found == jittered(MIDNIGHT, latest, timedelta(seconds=within_s), name)


def test_jitter_spreads_runs_over_the_whole_time():
    latest = MIDNIGHT + timedelta(days=1)
    found = [jittered(MIDNIGHT, latest, timedelta(minutes=10), f"run {number}") for number in range(200)]
    minutes = {(at - MIDNIGHT) // timedelta(minutes=1) for at in found}
    assert minutes == set(range(10))


def test_runs_on_several_grids_share_one_cap():
    forecasts = np.array([[90.0, 10, 90, 90], [90, 10, 20, 90]])
    plan = plan_together(forecasts, runs_of([(0, 1, 3, 1), (0, 1, 3, 1)]), 1, np.array([0, 1]))
    assert list(plan.starts) == [1, 2]


@settings(max_examples=60)
@given(forecasts, some_runs, st.integers(1, 3))
def test_no_plan_is_more_crowded_than_starting_at_once_nor_dirtier_where_that_has_room(forecast, rows, cap):
    plan = plan_together(np.array(forecast, dtype=float), runs_of(rows), cap)
    arrivals = [row[0] for row in rows]
    assert above(cap, load(rows, plan.starts)) <= above(cap, load(rows, arrivals))
    if not above(cap, load(rows, arrivals)):
        assert plan.cost <= emitted(forecast, rows, arrivals) + 1e-9


def test_where_clean_starts_leave_gaps_that_no_run_fits_into_the_cap_is_kept_by_earlier_ones():
    forecast = 180 + 80 * np.sin(np.arange(300) / 42)
    arrivals = np.sort(np.arange(60) * 70 % 600) // 5
    same = np.ones(60, dtype=np.int64)
    plan = plan_together(forecast, Runs(arrivals, same * 12, same * 100, same * 1.0), 4)
    assert (plan.peak, plan.over) == (4, ())
