"""Runs that would all wait for the same clean hour, within the limits that a real server keeps."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.states import Running, Scheduled

from e2s_tasks import CarbonPolicy
from e2s_tasks.core.policy_tags import tags_of
from e2s_tasks.integrations.prefect.awaiting import AWAITING, PLACED
from e2s_tasks.integrations.prefect.gate import passes
from e2s_tasks.settings import settings
from tests.prefect.future_runs import MINUTE, held

CLEAN = (200, 200, 90, 80, 200, 50, 200, 200, 200, 200, 200, 200)


@pytest.fixture
def pool(world):
    """Makes a deployment in a work pool with a limit; the pool's name."""
    made = []

    def make(limit, **options):
        name = f"pool {uuid4().hex[:8]}"
        world.client.create_work_pool(WorkPoolCreate(name=name, type="process", concurrency_limit=limit))
        made.append(name)
        flow_id = world.client.create_flow(held)
        world.deployment_id = world.client.create_deployment(
            flow_id, f"in {name}", work_pool_name=name, work_queue_name="default", **options
        )
        return name

    yield make
    for name in made:
        world.client.delete_work_pool(name)


def slots(world, runs):
    return sorted(world.slot(run_id) for run_id in runs)


def test_no_more_runs_wait_for_an_hour_than_their_pool_lets_run_at_once(world, pool):
    pool(1)
    world.grid(*CLEAN)
    runs = [world.run(10) for _ in range(3)]
    moves = world.round()
    assert slots(world, runs) == [2, 3, 5]
    assert all("lets 1 run at once: " in move.reason for move in moves.values())
    assert "90 instead of 200 gCO2eq/kWh (-55 %" in " ".join(move.reason for move in moves.values())
    assert all(PLACED in world.client.read_flow_run(run_id).tags for run_id in runs)
    assert {run_id for run_id, decision in world.planned if "limit" in decision.plan} == set(map(str, runs))
    assert world.round() == {}


@pytest.mark.slow
def test_a_pool_with_room_for_all_changes_nothing(world, pool):
    pool(3)
    world.grid(*CLEAN)
    runs = [world.run(10) for _ in range(3)]
    world.round()
    assert slots(world, runs) == [5, 5, 5]
    assert all(PLACED not in world.client.read_flow_run(run_id).tags for run_id in runs)


def test_a_limit_of_the_deployment_or_of_the_queue_counts_where_it_is_tighter(world, pool):
    name = pool(3, concurrency_limit=2)
    world.grid(*CLEAN)
    runs = [world.run(10) for _ in range(3)]
    world.round()
    assert slots(world, runs) == [3, 5, 5]
    queue = world.client.read_work_queue_by_name("default", work_pool_name=name)
    world.client.update_work_queue(queue.id, concurrency_limit=1)
    world.round()
    assert slots(world, runs) == [2, 3, 5]


def test_runs_that_nobody_plans_keep_their_places(world, pool):
    pool(1)
    world.grid(*CLEAN)
    other = world.run(50, "no policy")  # takes an hour, as far as anybody knows: the clean slot is taken
    mine = world.run(10)
    world.round()
    assert world.slot(mine) == 3
    assert world.slot(other) == 5


@pytest.mark.slow
def test_runs_that_run_now_have_their_places_until_they_are_expected_to_end(world, pool):
    pool(1)
    world.grid(*CLEAN)
    goes_on = world.run(0, *tags_of(CarbonPolicy("GB", max_delay="0s", expected_duration="35m")))
    world.client.set_flow_run_state(goes_on, Running(), force=True)
    mine = [world.run(10), world.run(10)]
    world.round()
    starts = sorted(world.state(run_id).state_details.scheduled_time for run_id in mine)
    assert [(start - world.started).total_seconds() for start in starts] == pytest.approx([35 * 60, 50 * 60])


def test_a_run_whose_slack_leaves_no_room_starts_in_time_and_that_is_said(world, pool):
    pool(1)
    world.grid(*CLEAN)
    urgent = tags_of(CarbonPolicy("GB", max_delay="10m", expected_duration="10m"))
    runs = [world.run(10, *urgent) for _ in range(3)]
    world.round()
    latest = world.started + 20 * MINUTE + timedelta(seconds=1)
    assert all(world.state(run_id).state_details.scheduled_time <= latest for run_id in runs)
    assert any("more will want to" in said for said in world.complaints.values())


@pytest.mark.parametrize("frozen", ["pool", "queue", "limit 0"])
def test_what_is_paused_in_prefect_is_left_alone(world, pool, frozen):
    name = pool(0 if frozen == "limit 0" else None)
    if frozen == "pool":
        world.client.update_work_pool(name, WorkPoolUpdate(is_paused=True))
    if frozen == "queue":
        queue = world.client.read_work_queue_by_name("default", work_pool_name=name)
        world.client.update_work_queue(queue.id, is_paused=True)
    world.grid(*CLEAN)
    run_id = world.run(10)
    assert world.round() == {}
    assert world.slot(run_id) == 1


def test_a_run_with_its_place_does_not_wait_again_until_the_place_is_its_own_no_more(world, pool):
    name = pool(1)
    world.grid(*CLEAN)
    runs = [world.run(10) for _ in range(2)]
    world.round()
    assert all(passes(world.client.read_flow_run(run_id), settings()) for run_id in runs)
    world.client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=2))
    world.round()
    assert slots(world, runs) == [5, 5]
    assert not any(passes(world.client.read_flow_run(run_id), settings()) for run_id in runs)


def test_a_dry_round_with_a_limit_changes_nothing(world, pool):
    pool(1)
    world.grid(*CLEAN)
    runs = [world.run(10) for _ in range(3)]
    assert len(world.round(dry_run=True)) == 3
    assert slots(world, runs) == [1, 1, 1]
    assert all(PLACED not in world.client.read_flow_run(run_id).tags for run_id in runs)


@pytest.mark.slow
def test_waiting_runs_stay_where_they_are_while_another_place_is_not_cleaner_by_enough(world, pool):
    pool(1)
    world.grid(*CLEAN)
    runs = [world.run(10) for _ in range(2)]
    world.round()
    before = [world.slot(run_id) for run_id in runs]
    world.grid(200, 200, 79.5, 80, 200, 50, 200, 200, 200, 200, 200, 200)
    assert world.round() == {}
    world.grid(200, 200, 40, 80, 200, 50, 200, 200, 200, 200, 200, 200)
    world.round()
    assert sorted(before) == [3, 5]
    assert slots(world, runs) == [2, 5]
    assert all(world.state(run_id).name == AWAITING for run_id in runs)


@pytest.mark.slow
def test_a_late_run_of_somebody_else_counts_from_now(world, pool):
    pool(1)
    world.grid(*CLEAN)
    world.run(0, "no policy", state=Scheduled(scheduled_time=datetime.now(UTC) - 30 * MINUTE))
    mine = world.run(10)
    world.round()
    assert world.slot(mine) == 6
