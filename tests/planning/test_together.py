"""Starts of runs that share a place, against what they may do."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2s_tasks.core.planning import Forecast, Slot
from e2s_tasks.scheduler.together import STEP, Busy, Movable, above, starts_within

MIDNIGHT = datetime(2026, 3, 2, 0, 0, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def forecast(*values, zone="GB", step=HOUR):
    slots = tuple(Slot(MIDNIGHT + i * step, MIDNIGHT + (i + 1) * step, value) for i, value in enumerate(values))
    return Forecast(zone, slots, "average, direct", "a test")


def movable(grid, arrives_h=0.0, slack_h=5.0, length_h=1.0, power=1.0):
    at = MIDNIGHT + arrives_h * HOUR
    return Movable(grid, at, at + slack_h * HOUR, length_h * HOUR, power)


lengths = st.integers(1, 4).map(lambda quarters: quarters / 4)
wishes = st.lists(
    st.tuples(st.integers(0, 8).map(lambda half: half / 2), st.floats(0, 3), lengths), min_size=1, max_size=6
)


@settings(max_examples=150)
@given(wishes, st.integers(1, 3), st.lists(st.integers(10, 400), min_size=8, max_size=8), st.booleans())
def test_no_run_leaves_its_slack_and_what_has_room_at_once_has_room_later(rows, cap, values, two_zones):
    grids = forecast(*values), forecast(*reversed(values), zone="FR" if two_zones else "GB")
    runs = [movable(grids[index % 2 if two_zones else 0], *row) for index, row in enumerate(rows)]
    starts = starts_within(cap, runs, [], MIDNIGHT)
    for run, start in zip(runs, starts, strict=True):
        assert run.earliest <= start <= run.latest
    if not above(cap, [run.at(run.earliest) for run in runs]):
        assert not above(cap, [run.at(start) for run, start in zip(runs, starts, strict=True)])


def test_the_cleanest_hours_are_filled_one_after_the_other():
    grid = forecast(300, 100, 300, 90, 300, 80, 300)
    starts = starts_within(1, [movable(grid) for _ in range(3)], [], MIDNIGHT)
    assert sorted((start - MIDNIGHT) / HOUR for start in starts) == [1, 3, 5]


def test_what_draws_most_gets_the_cleanest_hour():
    grid = forecast(300, 100, 300, 20, 300, 300)
    starts = starts_within(1, [movable(grid), movable(grid, power=5.0)], [], MIDNIGHT)
    assert [(start - MIDNIGHT) / HOUR for start in starts] == [1, 3]


def test_what_is_busy_has_its_place():
    grid = forecast(300, 100, 300, 90, 300, 300)
    busy = [Busy(MIDNIGHT - 2 * HOUR, MIDNIGHT + 30 * MINUTE), Busy(MIDNIGHT + 3 * HOUR, MIDNIGHT + 4 * HOUR)]
    assert starts_within(1, [movable(grid)], busy, MIDNIGHT) == [MIDNIGHT + HOUR]
    assert starts_within(2, [movable(grid)], busy, MIDNIGHT) == [MIDNIGHT + 3 * HOUR]


def test_each_zone_follows_its_own_grid_in_what_room_the_others_leave():
    here, there = forecast(300, 100, 300, 300, 300, 200), forecast(300, 100, 90, 300, 300, 300, zone="FR")
    starts = starts_within(1, [movable(here), movable(here), movable(there)], [], MIDNIGHT)
    assert sorted((start - MIDNIGHT) / HOUR for start in starts[:2]) == [1, 5]
    assert starts[2] == MIDNIGHT + 2 * HOUR


def test_a_time_that_no_forecast_knows_is_taken_last():
    grid = Forecast("GB", forecast(300, 100).slots[:1], "average, direct", "a test")
    assert starts_within(1, [movable(grid, slack_h=3)], [], MIDNIGHT) == [MIDNIGHT]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(2, 12)), max_size=8), st.integers(0, 4))
def test_what_exceeds_a_limit_is_counted_step_by_step(rows, cap):
    times = [Busy(MIDNIGHT + start * STEP, MIDNIGHT + (start + length) * STEP) for start, length in rows]
    moments = [MIDNIGHT + step * STEP + STEP / 2 for step in range(40)]
    loads = [sum(one.start <= at < one.end for one in times) for at in moments]
    assert above(cap, times, slack=timedelta(0)) == sum(max(0, load - cap) for load in loads) * STEP


def test_what_two_runs_share_for_less_than_a_step_is_no_crowd():
    first, second = Busy(MIDNIGHT, MIDNIGHT + HOUR), Busy(MIDNIGHT + HOUR - STEP, MIDNIGHT + 2 * HOUR)
    assert above(1, [first, second]) == timedelta(0)
    assert above(1, [first, second], slack=timedelta(0)) == STEP
    assert above(1, []) == timedelta(0)
    assert pytest.approx(starts_within(1, [], [first], MIDNIGHT)) == []
