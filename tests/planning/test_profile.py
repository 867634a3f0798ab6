"""What a zone's past makes expect, and how a forecast is put right by what is known now."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.core.planning import Forecast, Slot
from e2s_tasks.core.profile import corrected, expected, from_history
from e2s_tasks.errors import GridError

NOW = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def history(values, step=HOUR, end=NOW):
    begin = end - len(values) * step
    slots = [
        Slot(begin + index * step, begin + (index + 1) * step, value) for index, value in enumerate(values) if value > 0
    ]
    return Forecast("XX", tuple(slots), "average, direct", "a history")


days = st.lists(st.floats(10, 900), min_size=24, max_size=24)


@given(days, st.integers(2, 10), st.integers(1, 60))
def test_days_that_are_all_alike_are_expected_to_go_on(day, number, ahead):
    found = expected(np.array(day * number), 24, ahead)
    assert found == pytest.approx((day * 3)[:ahead])


@given(days, st.floats(1, 50))
def test_how_far_the_last_slot_is_off_fades_over_the_next_ones(day, more):
    values = np.array(day * 3)
    values[-1] += more
    off = expected(values, 24, 24)[:-1] - np.array(day[:-1])
    assert np.all(np.diff(off) < 0)
    assert off[0] == pytest.approx(more * np.exp(-1 / 24))


@given(days, st.sets(st.integers(0, 71), max_size=40))
def test_missing_slots_change_nothing_where_days_are_alike(day, missing):
    values = np.array(day * 3)
    values[list(missing)] = np.nan
    found = expected(values, 24, 24)
    for hour in range(24):
        known = any(hour + 24 * number not in missing for number in range(3))
        assert np.isnan(found[hour]) if not known else found[hour] == pytest.approx(day[hour])


def test_yesterday_weighs_more_than_a_week_ago():
    values = np.array([100.0] * 24 * 7 + [200.0] * 24)
    assert 100 + 100 / 8 < expected(values, 24, 48)[-1] < 200  # more than one day in eight


def test_nothing_is_expected_to_be_lower_than_what_was_lowest():
    values = np.array([100.0, 20.0] * 36)
    values[-1] = 10.0
    assert expected(values, 24, 24).min() >= 10.0


def test_the_forecast_from_history_begins_at_the_slot_of_now_and_covers_the_time_asked_for():
    seen = history([100.0 + hour % 24 for hour in range(24 * 4)])
    found = from_history(seen, NOW + timedelta(minutes=20), NOW + timedelta(hours=30, minutes=1))
    assert (found.slots[0].start, found.slots[-1].end) == (NOW, NOW + timedelta(hours=31))
    assert found.slots[5].intensity == pytest.approx(105.0)
    assert (found.signal, found.source) == ("average, direct", "profile of a history")


def test_a_history_that_ended_hours_ago_still_tells_the_time_of_day():
    seen = history([100.0 + hour % 24 for hour in range(24 * 4)], end=NOW - 7 * HOUR)
    found = from_history(seen, NOW, NOW + 24 * HOUR)
    begin = (NOW - 7 * HOUR - 96 * HOUR).hour
    assert [slot.intensity for slot in found.slots] == pytest.approx(
        [100.0 + (slot.start.hour - begin) % 24 for slot in found.slots]
    )


@pytest.mark.parametrize("hours_ago", [1, 6, 12])
def test_history_in_quarter_hours_is_told_in_quarter_hours(hours_ago):
    quarter = timedelta(minutes=15)
    seen = history([50.0 + index % 96 for index in range(96 * 3)], quarter, NOW - hours_ago * HOUR)
    found = from_history(seen, NOW, NOW + HOUR)
    assert [slot.end - slot.start for slot in found.slots] == [quarter] * 4


@pytest.mark.parametrize(
    "seen", [history([]), history([100.0] * 20), history([100.0] * 72, end=NOW - timedelta(days=3))]
)
def test_too_little_history_is_refused_in_words(seen):
    with pytest.raises(GridError, match=r"a history: .* XX .* a day or more"):
        from_history(seen, NOW, NOW + HOUR)


def test_an_issued_forecast_is_put_right_most_for_the_next_slots():
    issued = history([200.0] * 24, end=NOW + 24 * HOUR)
    found = corrected(issued, 260.0, NOW + timedelta(minutes=30))
    off = [slot.intensity - 200.0 for slot in found.slots]
    assert off[0] == pytest.approx(60.0)
    assert off == sorted(off, reverse=True)
    assert off[12] == pytest.approx(60 * np.exp(-11.5 / 12))


def test_a_correction_leaves_intensities_positive_and_a_forecast_of_other_times_alone():
    issued = history([20.0] * 24, end=NOW + 24 * HOUR)
    assert min(slot.intensity for slot in corrected(issued, 0.001, NOW).slots) > 0
    assert corrected(issued, 50.0, NOW - HOUR) is issued
