import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2s_tasks.core.planning import SAME, Forecast, Slot, best_window, mean_intensity, told_apart
from e2s_tasks.errors import GridError, SettingError

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def forecast(*intensities: float | None, start: datetime = MIDNIGHT, step: timedelta = 30 * MINUTE) -> Forecast:
    """A forecast with a slot per intensity; None leaves a gap."""
    slots = (Slot(start + i * step, start + (i + 1) * step, x) for i, x in enumerate(intensities) if x is not None)
    return Forecast("GB", tuple(slots), "average, direct", "a test")


def minutely_mean(curve: Forecast, start: int, length: int) -> float | None:
    """The mean over whole minutes, from nothing but the value at each minute; None across a gap."""
    values = [curve.at(MIDNIGHT + (start + i) * MINUTE) for i in range(length)]
    return None if None in values else math.fsum(values) / length


intensities = st.lists(st.one_of(st.none(), st.floats(1, 1000), st.integers(1, 4)), min_size=1, max_size=8)
steps = st.sampled_from([5, 7, 30])


def test_the_mean_is_exact_off_the_slot_grid() -> None:
    assert mean_intensity(forecast(100, 200), MIDNIGHT + 20 * MINUTE, 40 * MINUTE) == pytest.approx(175)


def test_the_mean_within_one_slot_is_its_very_figure() -> None:
    assert mean_intensity(forecast(123.4, 200.1), MIDNIGHT + 37 * MINUTE, 11 * MINUTE) == 200.1


def test_the_mean_over_a_gap_is_refused_not_guessed() -> None:
    with pytest.raises(GridError, match=r"no figures for all of 00:10 to 01:10.*with gaps"):
        mean_intensity(forecast(100, None, 100), MIDNIGHT + 10 * MINUTE, HOUR)


def test_the_cleanest_window_may_start_off_the_slot_grid() -> None:
    plan = best_window(forecast(300, 100, 200, 300), MIDNIGHT, 45 * MINUTE, MIDNIGHT + 2 * HOUR)
    assert (plan.start, plan.end) == (MIDNIGHT + 30 * MINUTE, MIDNIGHT + 75 * MINUTE)
    plan = best_window(forecast(300, 200, 100, 300), MIDNIGHT, 45 * MINUTE, MIDNIGHT + 2 * HOUR)
    assert (plan.start, plan.end) == (MIDNIGHT + 45 * MINUTE, MIDNIGHT + 90 * MINUTE)
    assert plan.expected == pytest.approx(400 / 3)


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (112.2, 187.4, ("112", "187")),
        (186.6, 187.2, ("186.6", "187.2")),
        (0.0004, 0.0007, ("0.0004", "0.0007")),
        (0.3, 12.0, ("0.3", "12.0")),
        (1e-12, 2e-12, ("1e-12", "2e-12")),
    ],
)
def test_two_intensities_are_told_so_that_they_differ(one: float, other: float, told: tuple[str, str]) -> None:
    assert told_apart(one, other) == told


def test_the_reason_names_both_starts_and_both_figures() -> None:
    now = MIDNIGHT + timedelta(hours=14, minutes=5)
    plan = best_window(forecast(*[187] * 52, *[112] * 4), now, HOUR, MIDNIGHT + timedelta(hours=28))
    assert plan.reason == "start at 02:00 UTC instead of 14:05: 112 instead of 187 gCO2eq/kWh (-40 %)"


def test_the_reason_tells_starts_within_a_minute_apart() -> None:
    now, clean = MIDNIGHT + timedelta(seconds=5), MIDNIGHT + timedelta(seconds=48)
    slots = (Slot(MIDNIGHT, clean, 187.0), Slot(clean, MIDNIGHT + HOUR, 112.0))
    plan = best_window(Forecast("GB", slots, "average, direct", "test"), now, MINUTE, MIDNIGHT + HOUR)
    assert plan.reason.startswith("start at 00:00:48 UTC instead of 00:00:05: 112 instead of")


def test_a_flat_forecast_starts_now() -> None:
    plan = best_window(forecast(*[0.1 + 0.2] * 9), MIDNIGHT + 7 * MINUTE, 47 * MINUTE, MIDNIGHT + 4 * HOUR)
    assert plan.start == MIDNIGHT + 7 * MINUTE
    assert plan.reason.startswith("start now: no start until 03:13 UTC is cleaner")


def test_without_slack_it_starts_now() -> None:
    plan = best_window(forecast(300, 100), MIDNIGHT, 30 * MINUTE, MIDNIGHT + 30 * MINUTE)
    assert plan.start == MIDNIGHT
    assert "no slack" in plan.reason


def test_a_deadline_that_cannot_be_met_starts_now_and_says_so() -> None:
    plan = best_window(forecast(300, 100), MIDNIGHT, HOUR, MIDNIGHT + 30 * MINUTE)
    assert plan.start == MIDNIGHT
    assert "miss its deadline" in plan.reason


def test_a_forecast_that_ends_early_is_used_as_far_as_it_goes() -> None:
    plan = best_window(forecast(300, 100), MIDNIGHT, 30 * MINUTE, MIDNIGHT + 5 * HOUR)
    assert plan.start == MIDNIGHT + 30 * MINUTE
    assert plan.reason.endswith("(the forecast ends at 01:00 UTC, before the latest end 05:00)")


def test_no_window_is_planned_across_a_gap() -> None:
    plan = best_window(forecast(300, 90, None, 90, 100, 100), MIDNIGHT, HOUR, MIDNIGHT + 3 * HOUR)
    assert plan.start == MIDNIGHT + 90 * MINUTE
    assert plan.reason.endswith("(the forecast has no figures for 01:00 to 01:30 UTC)")


@pytest.mark.parametrize("now", [MIDNIGHT - MINUTE, MIDNIGHT + 40 * MINUTE])
def test_a_forecast_that_does_not_cover_starting_now_is_refused(now: datetime) -> None:
    with pytest.raises(GridError, match="covers 2026-03-02 00:00 to 2026-03-02 01:00 UTC"):
        best_window(forecast(300, 100), now, 30 * MINUTE, MIDNIGHT + 5 * HOUR)


def test_an_empty_forecast_is_refused() -> None:
    with pytest.raises(GridError, match="holds no slot"):
        best_window(forecast(), MIDNIGHT, HOUR, MIDNIGHT + 5 * HOUR)


@pytest.mark.parametrize("length", [timedelta(0), -HOUR])
def test_a_run_must_take_time(length: timedelta) -> None:
    with pytest.raises(SettingError, match="is not positive"):
        best_window(forecast(1, 1), MIDNIGHT, length, MIDNIGHT + HOUR)


def test_times_need_a_time_zone() -> None:
    naive = MIDNIGHT.replace(tzinfo=None)
    for now, deadline in ((naive, MIDNIGHT), (MIDNIGHT, naive)):
        with pytest.raises(SettingError, match="has no time zone"):
            best_window(forecast(1, 1), now, HOUR, deadline)


@pytest.mark.parametrize("intensity", [0, -1, math.nan, math.inf])
def test_a_forecast_holds_only_positive_intensities(intensity: float) -> None:
    with pytest.raises(GridError, match="is no carbon intensity"):
        forecast(100, intensity)


def test_slots_that_overlap_are_refused() -> None:
    slots = (Slot(MIDNIGHT, MIDNIGHT + HOUR, 1.0), Slot(MIDNIGHT + 30 * MINUTE, MIDNIGHT + 2 * HOUR, 1.0))
    with pytest.raises(GridError, match="overlaps"):
        Forecast("GB", slots, "average, direct", "a test")


@settings(max_examples=150)
@given(intensities, steps, st.integers(0, 60), st.integers(1, 90), st.integers(0, 200))
def test_the_plan_is_the_best_of_all_starts(
    figures: list[float | None], step: int, now: int, length: int, slack: int
) -> None:
    curve = forecast(*figures, step=step * MINUTE)
    moment, duration, deadline = MIDNIGHT + now * MINUTE, length * MINUTE, MIDNIGHT + (now + length + slack) * MINUTE
    run_now = minutely_mean(curve, now, length)
    if run_now is None:
        with pytest.raises(GridError):
            best_window(curve, moment, duration, deadline)
        return
    plan = best_window(curve, moment, duration, deadline)
    means = {start: minutely_mean(curve, start, length) for start in range(now, now + slack + 1)}
    best = min(mean for mean in means.values() if mean is not None)
    assert plan.expected == pytest.approx(best, rel=1e-9)
    assert plan.run_now == pytest.approx(run_now, rel=1e-9)
    assert plan.expected <= plan.run_now
    assert moment <= plan.start
    assert plan.end == plan.start + duration <= deadline
    assert plan.expected == pytest.approx(mean_intensity(curve, plan.start, duration), rel=1e-9)
    earliest = min(start for start, mean in means.items() if mean is not None and mean <= best * (1 + SAME / 10))
    assert plan.start <= MIDNIGHT + earliest * MINUTE or plan.expected < best


@settings(max_examples=60)
@given(intensities, st.floats(0, 1), st.floats(0.001, 1), st.floats(0, 3), st.timedeltas(timedelta(-9), timedelta(9)))
def test_a_plan_moves_with_time(
    figures: list[float | None], now_h: float, length_h: float, slack_h: float, shift: timedelta
) -> None:
    east = timezone(timedelta(hours=5))
    plans = []
    for start in (MIDNIGHT, (MIDNIGHT + shift).astimezone(east)):
        now, length = start + now_h * HOUR, length_h * HOUR
        try:
            plan = best_window(forecast(*figures, start=start), now, length, now + length + slack_h * HOUR)
            plans.append((plan.start - now, plan.expected, plan.run_now))
        except GridError:
            plans.append(None)
    assert plans[0] == plans[1]


@settings(max_examples=60)
@given(st.lists(st.floats(1, 1000), min_size=4, max_size=8), st.floats(0.001, 1), st.floats(0, 1), st.floats(0, 1))
def test_more_slack_is_never_worse(figures: list[float], length_h: float, slack_h: float, more_h: float) -> None:
    expected = [
        best_window(forecast(*figures), MIDNIGHT, length_h * HOUR, MIDNIGHT + (length_h + slack) * HOUR).expected
        for slack in (slack_h, slack_h + more_h)
    ]
    assert expected[1] <= expected[0] * (1 + SAME)
