import math
import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2s_tasks.core.planning import Forecast, Plan, Slot, best_window, mean_intensity
from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.core.strategies import HYSTERESIS, choose, replan, time_percentile
from e2s_tasks.errors import PolicyError, SettingError

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")


def forecast(*intensities, start=MIDNIGHT, step=HOUR):
    slots = (Slot(start + i * step, start + (i + 1) * step, float(x)) for i, x in enumerate(intensities))
    return Forecast("DE", tuple(slots), "average, direct", "a test")


def policy(slack_h=6.0, length_h=1.0, **more):
    return CarbonPolicy("DE", slack_h * HOUR, length_h * HOUR, **more)


figures = st.lists(st.integers(1, 500), min_size=12, max_size=12)
policies = st.one_of(
    st.just({}),
    st.just({"strategy": "now"}),
    st.builds(lambda limit: {"strategy": "threshold", "threshold": limit}, st.integers(1, 500)),
    st.builds(lambda share: {"strategy": "percentile", "percentile": share}, st.integers(0, 100)),
)
gains = st.sampled_from([None, "0%", "5%", "40 %", "3 g/h", "90g/h"])
hours = st.floats(0, 4)


@settings(max_examples=200)
@given(figures, policies, gains, hours, st.floats(0.01, 3), hours, st.sampled_from([None, 0.0, 3.6e6]))
def test_whatever_the_policy_a_plan_meets_the_deadline_and_is_never_predicted_to_be_dirtier_than_now(
    values, chosen, gain, now_h, length_h, slack_h, energy_j
):
    now = MIDNIGHT + now_h * HOUR
    wanted = policy(slack_h, length_h, minimum_gain=gain, **chosen)
    curve = forecast(*values)
    plan = choose(wanted, curve, now, energy_j=energy_j)
    assert now <= plan.start <= wanted.latest_start(now)
    assert plan.end == plan.start + wanted.expected_duration <= wanted.latest_end(now)
    assert plan.expected <= plan.run_now
    assert plan.expected == pytest.approx(mean_intensity(curve, plan.start, wanted.expected_duration))
    if energy_j is not None:
        assert plan.expected_g == pytest.approx(plan.expected * energy_j / 3.6e6)
    if gain and gain.endswith("%") and plan.start > now:
        assert 100 * (1 - plan.expected / plan.run_now) >= float(gain.rstrip("% "))


def test_now_starts_now_whatever_comes():
    plan = choose(policy(strategy="now"), forecast(9, 1, 1, 1, 1, 1, 1, 1), MIDNIGHT)
    assert (plan.start, plan.end, plan.expected) == (MIDNIGHT, MIDNIGHT + HOUR, 9)
    assert plan.reason == "start now: the policy says so"


def test_a_threshold_takes_the_first_clean_enough_start_not_the_cleanest():
    curve = forecast(300, 250, 140, 100, 90, 300, 300, 300)
    plan = choose(policy(strategy="threshold", threshold=150), curve, MIDNIGHT)
    assert plan.start == MIDNIGHT + 2 * HOUR
    assert plan.reason == "start at 02:00 UTC, the first at the threshold 150 gCO2eq/kWh or below: 140 gCO2eq/kWh"
    assert choose(policy(strategy="threshold", threshold=300), curve, MIDNIGHT).start == MIDNIGHT
    none = choose(policy(strategy="threshold", threshold=50), curve, MIDNIGHT)
    assert none.start == MIDNIGHT + 4 * HOUR
    assert none.reason.endswith("no start is at the threshold 50 gCO2eq/kWh or below")


def test_a_percentile_is_that_of_the_next_day():
    curve = forecast(*[300, 250, 140, 100] * 6, *[1] * 24)
    plan = choose(policy(strategy="percentile"), curve, MIDNIGHT)
    assert plan.start == MIDNIGHT + 3 * HOUR
    assert "P25 of the next 24 h, 100 gCO2eq/kWh," in plan.reason
    assert choose(policy(strategy="percentile", percentile=50), curve, MIDNIGHT).start == MIDNIGHT + 2 * HOUR


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 9)), min_size=1, max_size=8), st.integers(0, 100))
def test_a_percentile_counts_time_not_slots(rows, percentile):
    at, slots = MIDNIGHT, []
    for minutes, value in rows:
        slots.append(Slot(at, at + timedelta(minutes=minutes), float(value)))
        at = slots[-1].end
    by_minute = sorted(value for minutes, value in rows for _ in range(minutes))
    assert time_percentile(slots, percentile) == by_minute[max(0, math.ceil(len(by_minute) * percentile / 100) - 1)]


def test_a_small_gain_is_not_waited_for():
    curve = forecast(100, 97, 100, 90, 100, 100, 100, 100)
    assert choose(policy(2, minimum_gain="2%"), curve, MIDNIGHT).start == MIDNIGHT + HOUR
    plan = choose(policy(2, minimum_gain="5%"), curve, MIDNIGHT)
    assert (plan.start, plan.expected) == (MIDNIGHT, 100)
    assert plan.reason == "start now: waiting until 01:00 UTC saves 3 %, not 5 %"


def test_grams_per_hour_of_delay_need_an_energy():
    curve = forecast(100, 100, 60, 100, 100, 100, 100, 100)
    wanted = policy(minimum_gain="30 g/h")
    assert choose(wanted, curve, MIDNIGHT, energy_j=2 * 3.6e6).start == MIDNIGHT + 2 * HOUR  # 80 g in 2 h
    assert choose(wanted, curve, MIDNIGHT, energy_j=3.6e6).start == MIDNIGHT
    unknown = choose(wanted, curve, MIDNIGHT)
    assert unknown.start == MIDNIGHT + 2 * HOUR
    assert unknown.reason.endswith("(the energy is not known, so 30 g/h was not asked for)")


def test_a_deadline_is_kept_with_twice_the_p95_in_hand():
    deadline = MIDNIGHT + 7 * HOUR
    curve = forecast(9, 8, 7, 6, 5, 4, 3, 2)
    assert choose(policy(9, deadline=deadline), curve, MIDNIGHT).end == deadline
    reserved = policy(9, deadline=deadline, p95_duration="90m")
    assert choose(reserved, curve, MIDNIGHT).start == MIDNIGHT + 4 * HOUR
    assert reserved.latest_start(MIDNIGHT + 5 * HOUR) == MIDNIGHT + 5 * HOUR
    late = choose(reserved, curve, MIDNIGHT + timedelta(hours=6, minutes=30))
    assert "expected to miss its deadline" in late.reason


def test_a_learned_duration_is_used_where_none_is_stated():
    unknown = CarbonPolicy("DE", "6h")
    with pytest.raises(PolicyError, match="Nobody knows how long the run takes: give expected_duration"):
        unknown.latest_end(MIDNIGHT)
    known = unknown.lasting("2h", "3h")
    assert (known.expected_duration, known.p95_duration) == (2 * HOUR, 3 * HOUR)
    assert policy(6, 1, p95_duration="2h").lasting("9h", "9h") == policy(6, 1, p95_duration="2h")
    assert unknown.lasting(None) == unknown


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strategy": "best"}, "strategy='best' is unknown: give one of window, now, threshold, percentile"),
        ({"strategy": "threshold"}, "needs a threshold in gCO2eq/kWh"),
        ({"strategy": "threshold", "threshold": 0}, "threshold=0 cannot be used: give a number above 0"),
        ({"strategy": "threshold", "threshold": math.nan}, "threshold=nan"),
        ({"strategy": "threshold", "threshold": "100"}, "threshold='100'"),
        ({"threshold": 100}, "threshold=100 has no use with strategy='window': give strategy='threshold'"),
        ({"strategy": "percentile", "percentile": 101}, "percentile=101 cannot be used: give a number from 0 to 100"),
        ({"strategy": "percentile", "percentile": True}, "percentile=True"),
        ({"minimum_gain": "a lot"}, "minimum_gain='a lot' is no saving: write for example '5%'"),
        ({"minimum_gain": "100%"}, "minimum_gain='100%'"),
        ({"minimum_gain": 5}, "minimum_gain=5 "),
        ({"minimum_gain": "-5%"}, "minimum_gain='-5%'"),
        ({"p95_duration": 0}, "p95_duration=0 is zero"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named_with_its_remedy(given, said):
    with pytest.raises(SettingError, match=said.replace("(", r"\(")):
        policy(**given)


def test_policies_are_values():
    one = policy(strategy="threshold", threshold=120, minimum_gain="5%", p95_duration="2h")
    assert one == policy(strategy="threshold", threshold=120, minimum_gain=" 5 % ", p95_duration=7200)
    assert one != policy(strategy="threshold", threshold=121, minimum_gain="5%", p95_duration="2h")
    assert pickle.loads(pickle.dumps(one)) == one
    assert hash(replace(one, max_delay=HOUR)) == hash(replace(one, max_delay="60m"))
    assert "strategy='threshold', threshold=120" in repr(one)


# -- planning again ------------------------------------------------------------------------------------------------


def stored(start, expected=50.0):
    return Plan(start, start + HOUR, expected, 100.0, "a reason")


@pytest.mark.parametrize(("other", "moves"), [(99, False), (97, True)])
def test_a_plan_moves_only_for_more_than_two_percent(other, moves):
    curve = forecast(200, 150, 100, other, 200, 200, 200, 200)
    plan = replan(stored(MIDNIGHT + 2 * HOUR), policy(), curve, MIDNIGHT, MIDNIGHT + 6 * HOUR)
    assert plan.start == MIDNIGHT + (3 if moves else 2) * HOUR
    assert plan.reason.startswith("start at" if moves else "still start at 02:00 UTC")


def test_a_plan_that_is_due_starts_unless_a_later_start_is_cleaner_at_all():
    curve = forecast(200, 200, 100, 99, 200, 200, 200, 200)
    due = MIDNIGHT + 2 * HOUR
    assert replan(stored(due), policy(), curve, due, MIDNIGHT + 6 * HOUR).start == due + HOUR
    assert replan(stored(due), policy(), curve, due, due).start == due


def test_a_plan_that_is_now_dirtier_than_starting_at_once_is_dropped():
    curve = forecast(100, 150, 101, 150, 150, 150, 150, 150)
    assert replan(stored(MIDNIGHT + 2 * HOUR), policy(), curve, MIDNIGHT, MIDNIGHT + 6 * HOUR).start == MIDNIGHT


def test_a_plan_outside_the_new_forecast_is_made_anew():
    plan = replan(stored(MIDNIGHT + 5 * HOUR), policy(), forecast(100, 90, 80), MIDNIGHT, MIDNIGHT + 6 * HOUR)
    assert plan.start == MIDNIGHT + 2 * HOUR


@settings(max_examples=150)
@given(figures, hours, hours, st.floats(-1, 9))
def test_a_plan_made_again_is_in_time_and_within_the_hysteresis_of_the_best(values, now_h, left_h, stored_h):
    now, latest = MIDNIGHT + now_h * HOUR, MIDNIGHT + (now_h + left_h) * HOUR
    curve = forecast(*values)
    plan = replan(stored(MIDNIGHT + stored_h * HOUR), policy(), curve, now, latest)
    best = best_window(curve, now, HOUR, latest + HOUR)
    assert now <= plan.start <= latest
    assert best.expected * (1 - 1e-9) <= plan.expected <= min(plan.run_now, best.expected / (1 - HYSTERESIS))


# -- nights on which clocks change ---------------------------------------------------------------------------------


@pytest.mark.parametrize("night", [datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)])
@given(st.lists(st.integers(1, 500), min_size=12, max_size=12), st.floats(0, 3), st.floats(0.1, 3), st.floats(0, 5))
@settings(max_examples=60)
def test_the_local_clock_changes_nothing_on_the_nights_that_change_it(night, values, now_h, length_h, slack_h):
    def at(zone):
        def local(moment):
            return moment.astimezone(zone)

        slots = [Slot(local(night + i * HOUR), local(night + (i + 1) * HOUR), float(x)) for i, x in enumerate(values)]
        curve = Forecast("DE", tuple(slots), "average, direct", "a test")
        now = local(night + now_h * HOUR)
        deadline = local(night + (now_h + length_h + slack_h) * HOUR)
        return choose(policy(9, length_h, deadline=deadline), curve, now)

    here, there = at(BERLIN), at(UTC)
    assert (here.start, here.end, here.expected, here.run_now) == (
        there.start,
        there.end,
        there.expected,
        there.run_now,
    )
    assert here.end - here.start == length_h * HOUR
    assert here.start.tzinfo is UTC


def test_an_hour_that_the_clock_shows_twice_is_two_hours():
    now = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)  # the first 02:30
    again = now.replace(fold=1)
    curve = forecast(300, 200, 100, 300, start=datetime(2026, 10, 25, 0, tzinfo=UTC))
    assert choose(policy(9, 0.5, deadline=again), curve, now).end <= again
    assert choose(policy(9, 0.5, deadline=again), curve, now).start == datetime(2026, 10, 25, 1, tzinfo=UTC)
