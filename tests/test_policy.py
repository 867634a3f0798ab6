from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.core.policy import CarbonPolicy, duration
from e2s_tasks.core.policy_tags import policy_of
from e2s_tasks.errors import PolicyError, SettingError

NOW = datetime(2026, 3, 2, 14, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 7200),
        ("90m", 5400),
        ("90min", 5400),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1.5h", 5400),
        ("30s", 30),
        ("1d", 86400),
        ("1D12H", 129600),
        ("2w", 1209600),
        ("1y", 31536000),
        ("0", 0),
        ("45", 45),
        (45, 45),
        (0.5, 0.5),
        (timedelta(minutes=1), 60),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: object, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "h", "two hours", "2 fortnights", "1h-30m", "nan", "inf", "1e999", None, [], "2h2"]
)
def test_what_is_no_duration_is_named_with_a_remedy(text: object) -> None:
    with pytest.raises(SettingError, match=r"slack=.* is no duration: write for example '2h'"):
        duration(text, "slack")


@pytest.mark.parametrize("value", [-1, "-1", timedelta(seconds=-1)])
def test_a_negative_duration_is_refused(value: object) -> None:
    with pytest.raises(SettingError, match="is negative"):
        duration(value)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_the_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert duration(f"{hours}h{minutes}m{seconds}s") == timedelta(hours=hours, minutes=minutes, seconds=seconds)


def test_a_policy_holds_timedeltas_however_it_was_written() -> None:
    policy = CarbonPolicy(" GB ", max_delay="12h", expected_duration=5400)
    assert policy == CarbonPolicy("GB", timedelta(hours=12), timedelta(minutes=90))
    assert policy.latest_end(NOW) == NOW + timedelta(hours=13, minutes=30)


def test_the_deadline_and_the_delay_both_hold() -> None:
    deadline = NOW + timedelta(hours=3)
    assert CarbonPolicy("GB", "12h", "1h", deadline).latest_end(NOW) == deadline
    assert CarbonPolicy("GB", "1h", "1h", deadline).latest_end(NOW) == NOW + timedelta(hours=2)


@pytest.mark.parametrize("value", [0, "0s", "0h", timedelta(0)])
def test_a_run_that_takes_no_time_is_refused(value: object) -> None:
    with pytest.raises(SettingError, match=r"expected_duration=.* is zero: give more than zero"):
        CarbonPolicy("GB", "12h", value)


def test_a_negative_delay_is_refused_by_its_name() -> None:
    with pytest.raises(SettingError, match="max_delay='-1' is negative"):
        CarbonPolicy("GB", "-1", "1h")


@pytest.mark.parametrize("zone", ["", "  ", None, 44])
def test_a_policy_needs_a_zone(zone: object) -> None:
    with pytest.raises(SettingError, match="names no grid"):
        CarbonPolicy(zone, "1h", "1h")


def test_a_deadline_without_a_time_zone_is_refused() -> None:
    with pytest.raises(SettingError, match="deadline=2026-03-02T14:05:00 has no time zone"):
        CarbonPolicy("GB", "1h", "1h", NOW.replace(tzinfo=None))
    with pytest.raises(SettingError, match="now=2026-03-02T14:05:00 has no time zone"):
        CarbonPolicy("GB", "1h", "1h").latest_end(NOW.replace(tzinfo=None))


@pytest.mark.parametrize("deadline", ["2026-12-01T06:00Z", NOW.date(), NOW.timestamp()])
def test_a_deadline_is_a_moment(deadline: object) -> None:
    with pytest.raises(SettingError, match=r"deadline=.* is no moment: give a datetime with a time zone"):
        CarbonPolicy("GB", "1h", "1h", deadline)


def test_a_deadline_that_has_passed_cannot_be_met() -> None:
    with pytest.raises(
        PolicyError, match=r"2026-03-02 13:05 UTC has passed by 2026-03-02 14:05 UTC, when.*give a later"
    ):
        CarbonPolicy("GB", "1h", "1h", NOW - timedelta(hours=1)).latest_end(NOW)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["e2s:zone=FR"], "The tags e2s:zone=FR and e2s:zone=GB contradict each other: leave one of them out"),
        (["e2s:max-delay=9h", "e2s:max-delay=3h"], "The tags e2s:max-delay=3h and e2s:max-delay=6h contradict"),
    ],
)
def test_tags_that_say_a_part_of_a_policy_twice_contradict_each_other(more: list[str], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        policy_of(["e2s:carbon", "e2s:zone=GB", "e2s:max-delay=6h", *more])


def test_a_tag_that_is_there_twice_says_what_it_says_once() -> None:
    assert policy_of(["e2s:carbon", "e2s:zone=GB", "e2s:max-delay=6h", "e2s:zone=GB"]) == CarbonPolicy("GB", "6h")
