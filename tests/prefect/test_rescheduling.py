"""The scheduler's round: which of Prefect's future runs it moves, to when, and which it leaves alone."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prefect.states import Pending, Scheduled

from e2s_tasks import CarbonPolicy, e2s_flow
from e2s_tasks.core.policy_tags import policy_of, tags_of
from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.prefect.awaiting import AWAITING, LEAST, NOW, arrival_of, start_of
from e2s_tasks.integrations.prefect.carbon import decide_again
from e2s_tasks.integrations.prefect.rescheduling import Rescheduler, release
from e2s_tasks.ledger import Ledger
from e2s_tasks.ledger.learned import Learned
from e2s_tasks.scheduler.again import Arrival
from e2s_tasks.settings import settings
from tests.prefect.future_runs import MINUTE, POLICY, held


def minutes_between(one, other):
    return round((one - other) / MINUTE)


def test_a_future_run_is_moved_to_the_cleanest_window_of_its_slack_and_stays_there(world):
    world.grid(200, 200, 150, 200, 100, 200, 90, 200, 200, 200, 200, 50, 50)
    run_id = world.run(10)
    (move,) = world.round().values()
    assert minutes_between(move.to, world.started) == 60
    state = world.state(run_id)
    assert (state.name, state.state_details.scheduled_time) == (AWAITING, move.to)
    assert state.message == move.reason
    assert "90 instead of 200" in move.reason
    assert world.round() == {}
    assert [(one, decision.expected) for one, decision in world.planned] == [(str(run_id), pytest.approx(90))]


def test_a_run_that_waits_is_moved_when_the_forecast_changes_by_more_than_a_little(world):
    world.grid(200, 200, 150, 200, 100, 200, 99, 200, 200)
    run_id = world.run(10)
    world.round()
    assert minutes_between(start_of(world.state(run_id)), world.started) == 60
    world.grid(200, 200, 150, 200, 98, 200, 99, 200, 200)
    assert world.round() == {}
    world.grid(200, 200, 150, 200, 80, 200, 99, 200, 200)
    assert minutes_between(world.round()[run_id].to, world.started) == 40


def test_slack_is_counted_from_when_the_run_would_have_started_however_often_it_is_moved(world):
    world.grid(200, 200, 150, 200, 100, 200, 200, 200, 200, 10, 10, 10)
    run_id = world.run(10)
    world.round()
    world.grid(200, 200, 150, 200, 190, 200, 189, 100, 200, 10, 10, 10)
    world.round()
    assert minutes_between(start_of(world.state(run_id)), world.started) == 69
    world.grid(200, 200, 150, 200, 190, 200, 189, 100, 20, 10, 10, 10)
    assert world.round() == {}


def test_a_dry_round_moves_nothing(world):
    world.grid(200, 200, 150, 200, 100, 200)
    run_id = world.run(10)
    assert list(world.round(dry_run=True)) == [run_id]
    assert world.state(run_id).name == "Scheduled"


def test_runs_that_a_worker_may_have_that_are_tried_again_or_released_or_have_no_policy_are_left_alone(world):
    world.grid(200, 200, 100, 100, 100)
    world.run(LEAST / MINUTE * 0.5)
    world.run(10, state=Pending())
    world.run(10, state=Scheduled(name="AwaitingRetry", scheduled_time=world.started + 10 * MINUTE))
    world.run(10, *tags_of(POLICY), NOW)
    world.run(10, "other")
    world.run(3 * 24 * 60)
    assert world.round() == {}


def test_a_run_whose_tags_say_no_whole_policy_is_told_of_and_hinders_no_other(world):
    world.grid(200, 200, 100, 100, 100)
    world.run(10, "e2s:carbon", "e2s:zone=GB")
    good = world.run(10)
    assert list(world.round()) == [good]
    (complaint,) = world.complaints.values()
    assert "add it, for example e2s:max-delay=12h" in complaint


def test_a_run_whose_tags_contradict_each_other_is_told_of_and_stays(world):
    world.grid(200, 200, 100, 100, 100)
    world.run(10, *tags_of(POLICY), "e2s:zone=FR")
    assert world.round() == {}
    (complaint,) = world.complaints.values()
    assert "e2s:zone=FR and e2s:zone=GB contradict each other" in complaint


def test_without_a_forecast_every_run_stays_where_it_is(world):
    world.grid(200, 200, 100, 100, 100)
    waiting = world.run(10)
    world.round()
    world.run(10)
    world.started -= timedelta(days=30)
    world.grid(200, 200)
    assert world.round() == {}
    assert world.state(waiting).name == AWAITING


def test_two_rounds_at_once_move_a_run_once(world):
    world.grid(200, 200, 100, 100, 100)
    run_id = world.run(10)
    one = Rescheduler(world.client, replace(settings(), trace=world.trace), lambda *_: None)
    seen = world.client.read_flow_run(run_id)
    wish = one._wish(seen, datetime.now(UTC))
    world.round()
    assert one._move(wish, datetime.now(UTC)).refused == "it has changed meanwhile"
    states = world.client.read_flow_run_states(run_id)
    assert [state.name for state in states].count(AWAITING) == 1


def test_a_run_that_waited_and_was_moved_by_somebody_stays_where_they_put_it(world):
    world.grid(200, 200, 150, 200, 100, 200, 90, 200, 50)
    run_id = world.run(10)
    world.round()
    theirs = world.started + 30 * MINUTE
    time.sleep(1.1)  # a run's first state is as old as the run
    world.client.set_flow_run_state(run_id, Scheduled(scheduled_time=theirs))
    for _ in range(2):
        assert world.round() == {}
    assert start_of(world.state(run_id)) == theirs
    arrival = arrival_of(world.client.read_flow_run_states(run_id), world.started)
    assert arrival == Arrival(world.started + 10 * MINUTE, moved=True, told=True, scheduled=True)
    options = replace(settings(), trace=world.trace)
    found = decide_again(POLICY, theirs, arrival, options)
    assert (found.start, found.reason) == (theirs, "start now: it has waited, and somebody has said when it starts")


def test_a_run_that_somebody_moved_before_it_waited_is_planned_from_where_they_put_it(world):
    world.grid(200, 200, 150, 200, 100, 200, 90, 200, 50)
    run_id = world.run(10)
    time.sleep(1.1)
    world.client.set_flow_run_state(run_id, Scheduled(scheduled_time=world.started + 20 * MINUTE))
    assert minutes_between(world.round()[run_id].to, world.started) == 79  # the last minute of its slack is kept back
    world.grid(200, 10, 150, 200, 100, 80, 90, 200, 200)
    world.round()
    assert minutes_between(start_of(world.state(run_id)), world.started) == 50  # never before where they put it


def test_a_released_run_starts_now_and_is_never_moved_again(world):
    world.grid(200, 200, 150, 200, 100, 200)
    run_id = world.run(10)
    world.round()
    _, would_have = release(world.client, str(run_id), datetime.now(UTC))
    assert minutes_between(would_have, world.started) == 40
    assert world.state(run_id).state_details.scheduled_time <= datetime.now(UTC)
    assert NOW in world.client.read_flow_run(run_id).tags
    assert world.round() == {}


def test_a_deployment_of_a_flow_with_a_policy_says_so_in_its_tags():
    heavy = e2s_flow(carbon=POLICY)(held)
    assert heavy.to_deployment("d", tags=["mine"]).tags == [
        "mine", "e2s:carbon", "e2s:zone=GB", "e2s:max-delay=1h", "e2s:expected-duration=10m"
    ]  # fmt: skip
    assert heavy.to_deployment("d", tags=["e2s:carbon", "e2s:zone=FR"]).tags == ["e2s:carbon", "e2s:zone=FR"]
    assert e2s_flow(held).to_deployment("d").tags == []


@hypothesis_settings(max_examples=200)
@given(
    st.sampled_from(["GB", "DE", "US-CAL-CISO"]),
    st.timedeltas(timedelta(0), timedelta(days=365)),
    st.timedeltas(timedelta(milliseconds=1), timedelta(days=300)),
    st.none() | st.datetimes(timezones=st.just(UTC)),
)
def test_tags_say_a_policy_to_the_second(zone, max_delay, expected_duration, deadline):
    aware = deadline.replace(microsecond=0) if deadline else None
    policy = CarbonPolicy(zone, max_delay, expected_duration, aware)
    read = policy_of(["other", *tags_of(policy)])
    assert (read.zone, read.deadline) == (policy.zone, policy.deadline)
    for name in ("max_delay", "expected_duration"):
        assert abs(getattr(read, name) - getattr(policy, name)) < timedelta(milliseconds=1)


def test_tags_say_a_policys_strategy_too():
    policy = CarbonPolicy("GB", "12h", strategy="percentile", percentile=10, minimum_gain="5%", p95_duration="1h")
    assert policy_of(tags_of(policy)) == policy


@pytest.mark.parametrize(
    ("tag", "complaint"),
    [
        ("e2s:deadline=soon", "e2s:deadline=soon is no time"),
        ("e2s:percentile=few", "e2s:percentile=few is no number"),
        ("e2s:deadline=2027-01-31T06:00", r"06:00 has no time zone: write for example e2s:deadline=2027-01-31T06:00Z"),
        ("e2s:expected_duration=2h", r"e2s:expected_duration=\.\.\. is none of a policy's, which are deadline, exp"),
    ],
)
def test_a_tag_that_cannot_be_read_is_told(tag, complaint):
    with pytest.raises(SettingError, match=complaint):
        policy_of([*tags_of(POLICY), tag])


def test_the_length_of_a_run_is_learned_from_earlier_ones(world, monkeypatch):
    """Of ten minutes that the policy declares and an hour that runs take, the hour decides."""
    lessons = {"held": Learned(6, 3600.0, 4000.0, 3.6e6)}
    monkeypatch.setattr(Ledger, "learned", lambda _, flow: lessons[flow])
    world.grid(200, 200, 90, 200, 200, 200, 200, 100, 100, 100, 100, 100, 100, 100, 100, 100)
    run_id = world.run(10)
    assert minutes_between(world.round()[run_id].to, world.started) == 69  # the last minute of its slack is kept back
    (_, decision) = world.planned[0]
    assert decision.plan["learned"]["runs"] == 6
    assert decision.plan["expected_g"] == pytest.approx((59 * 100 + 200) / 60)


@pytest.mark.slow
def test_a_command_says_what_it_found_and_ends_the_temporary_server_that_it_started(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "E2S_"))}
    environment |= {"PREFECT_HOME": str(tmp_path / "prefect"), "E2S_DATA_DIR": str(tmp_path / "e2s")}
    command = [Path(sys.executable).with_name("e2s"), "scheduler", "--once", "--dry-run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert "temporary server" in done.stderr
    assert "UTC nothing to move: " in done.stderr
    left = [one for one in Path("/proc").glob("[0-9]*/environ") if str(tmp_path).encode() in _content(one)]
    assert left == []


def _content(path):
    try:
        return path.read_bytes()
    except OSError:  # another user's, or gone
        return b""
