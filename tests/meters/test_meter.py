"""The meter against a world whose truth is known."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.model import CpuModel, DramModel
from tests.fakes.world import BUSY_W, IDLE_W, World, WorldCounter, WorldMeter
from tests.meters.test_sources import HOST

MS = 1_000_000


def booked(account: Account) -> float:
    return sum(account.joules.values())


def test_one_task_gets_its_dynamic_and_all_static_energy():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    task = meter.start(Account(Role.ATTEMPT))
    world.run(1000 * MS, {0: 500 * MS})
    meter.stop(task)
    meter.settle(force=True)
    assert task.joules["cpu"] == pytest.approx(0.5 * BUSY_W)
    assert task.joules["static"] == pytest.approx(IDLE_W)
    assert task.cpu_ns == 500 * MS


def test_four_concurrent_tasks_are_counted_once():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    flow = meter.start(Account(Role.FLOW))
    tasks = [meter.start(Account(Role.ATTEMPT, flow), thread) for thread in (1, 2, 3, 4)]
    world.run(1000 * MS, {thread: thread * 100 * MS for thread in (1, 2, 3, 4)}, others_ns=500 * MS)
    for thread, task in enumerate(tasks, 1):
        meter.stop(task, thread)
    meter.stop(flow)
    meter.settle(force=True)
    for thread, task in enumerate(tasks, 1):
        assert task.joules["cpu"] == pytest.approx(thread * 0.1 * BUSY_W)
        assert task.joules["static"] == pytest.approx(IDLE_W / 4)
    assert meter.other_j == pytest.approx(0.5 * BUSY_W)
    assert booked(flow) == pytest.approx(0, abs=1e-9)


def test_a_flow_run_answers_for_idle_power_only_while_no_attempt_is_open():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    flow = meter.start(Account(Role.FLOW))
    world.run(100 * MS, {})
    task = meter.start(Account(Role.ATTEMPT, flow), 1)
    nested = meter.start(Account(Role.ATTEMPT, task), 2)
    world.run(100 * MS, {})
    meter.stop(nested, 2)
    meter.stop(task, 1)
    world.run(100 * MS, {})
    meter.stop(flow)
    meter.settle(force=True)
    assert flow.joules["static"] == pytest.approx(0.2 * IDLE_W)
    assert task.joules["static"] == pytest.approx(0.1 * IDLE_W)
    assert "static" not in nested.joules


def test_a_nested_span_takes_its_own_part_out_of_its_parents():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    outer = meter.start(Account(Role.ATTEMPT))
    world.run(20 * MS, {0: 10 * MS})
    inner = meter.start(Account(Role.SPAN, outer))
    world.run(20 * MS, {0: 15 * MS})
    meter.stop(inner)
    world.run(20 * MS, {0: 5 * MS})
    meter.stop(outer)
    meter.settle(force=True)
    assert (outer.cpu_ns, inner.cpu_ns) == (15 * MS, 15 * MS)


def test_thirty_short_tasks_within_coalesced_boundaries_keep_their_cpu_time():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    flow = meter.start(Account(Role.FLOW))
    tasks = []
    for number in range(30):
        task = meter.start(Account(Role.ATTEMPT, flow))
        world.run(1 * MS, {0: (number % 3) * MS // 2})
        meter.stop(task)
        tasks.append(task)
    meter.stop(flow)
    meter.settle(force=True)
    assert [task.cpu_ns for task in tasks] == [(number % 3) * MS // 2 for number in range(30)]
    assert sum(task.joules.get("static", 0) for task in tasks) == pytest.approx(0.03 * IDLE_W, rel=1e-6)


def test_with_one_active_span_a_native_pools_time_is_its_own():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    flow = meter.start(Account(Role.FLOW))
    task = meter.start(Account(Role.ATTEMPT, flow), 1)
    world.run(100 * MS, {1: 50 * MS}, pool_ns=70 * MS)
    meter.stop(task, 1)
    meter.stop(flow)
    meter.settle(force=True)
    assert task.cpu_ns == 120 * MS
    assert task.shared_ns == 0


def test_with_several_active_spans_a_native_pools_time_is_split_and_labelled():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    tasks = [meter.start(Account(Role.ATTEMPT), thread) for thread in (1, 2)]
    world.run(100 * MS, {1: 50 * MS}, pool_ns=60 * MS)
    for thread, task in enumerate(tasks, 1):
        meter.stop(task, thread)
    meter.settle(force=True)
    assert [task.cpu_ns for task in tasks] == [80 * MS, 30 * MS]
    assert [task.shared_ns for task in tasks] == [30 * MS, 30 * MS]


def test_a_thread_that_sleeps_for_several_segments_has_its_part_of_a_native_pool_in_each():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    tasks = [meter.start(Account(Role.ATTEMPT), thread) for thread in (1, 2)]
    for pool_ns in (0, 40 * MS, 0, 20 * MS):
        world.run(100 * MS, {1: 50 * MS}, pool_ns=pool_ns)
        meter.tick()
    for thread, task in enumerate(tasks, 1):
        meter.stop(task, thread)
    meter.settle(force=True)
    assert [task.shared_ns for task in tasks] == [30 * MS, 30 * MS]
    assert [task.cpu_ns for task in tasks] == [230 * MS, 30 * MS]


def test_what_a_span_and_one_inside_it_use_in_turn_is_split_and_shared_with_nobody_else():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    task = meter.start(Account(Role.ATTEMPT), 1)
    world.run(2 * MS, {1: 2 * MS})
    inner = meter.start(Account(Role.SPAN, task), 1)
    world.run(6 * MS, {1: 2 * MS}, pool_ns=8 * MS)
    meter.stop(inner, 1)
    meter.stop(task, 1)
    meter.settle(force=True)
    assert inner.cpu_ns > 2 * MS
    assert task.cpu_ns + inner.cpu_ns == 12 * MS
    assert (task.shared_ns, inner.shared_ns) == (0, 0)


def test_what_native_pools_do_for_one_span_is_its_own_however_many_threads_of_it_run():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    task = meter.start(Account(Role.ATTEMPT), 1)
    world.current = 2
    meter._local.thread = meter._thread()
    depth = meter.enter([task])
    world.run(100 * MS, {1: 50 * MS}, pool_ns=60 * MS)
    world.current = 2
    meter.leave(depth)
    meter.stop(task, 1)
    meter.settle(force=True)
    assert (task.cpu_ns, task.shared_ns) == (110 * MS, 0)


def test_what_a_flow_and_its_only_step_use_at_once_is_split_and_labelled():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    flow = meter.start(Account(Role.FLOW), 1)
    world.run(3 * MS, {1: 3 * MS})
    step = meter.start(Account(Role.ATTEMPT, flow), 2)
    world.run(3 * MS, {1: MS, 2: MS}, pool_ns=4 * MS)
    meter.stop(step, 2)
    meter.stop(flow, 1)
    meter.settle(force=True)
    assert flow.cpu_ns + step.cpu_ns == 9 * MS
    assert min(flow.shared_ns, step.shared_ns) > 0


def test_a_signal_handlers_span_in_the_middle_of_a_boundary_is_counted_once_and_known_to_have_ended(monkeypatch):
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    flow, handlers = meter.start(Account(Role.FLOW)), []
    read = meter._busy.read

    def struck():
        busy = read()
        if not handlers:
            handlers.append(meter.start(Account(Role.SPAN, flow)))
            world.run(20 * MS, {0: 20 * MS})
            meter.stop(handlers[0])
        return busy

    world.run(900 * MS, {0: 900 * MS})
    monkeypatch.setattr(meter._busy, "read", struck)
    step = meter.start(Account(Role.SPAN, flow))
    world.run(80 * MS, {0: 80 * MS})
    meter.stop(step)
    meter.stop(flow)
    meter.settle(force=True)
    assert meter.counted_j == pytest.approx(world.energy_uj / 1e6)
    assert sum(map(booked, (flow, step, *handlers))) + meter.other_j + meter.idle_j == pytest.approx(meter.counted_j)
    assert handlers[0].cpu_ns == 20 * MS
    assert handlers[0].ends_in <= meter.settled


def test_a_suspended_coroutine_uses_no_cpu_energy_but_holds_its_share_of_idle_power():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    first, second = Account(Role.ATTEMPT), Account(Role.ATTEMPT)
    meter.open(first)
    meter.open(second)
    meter.enter([first])
    world.run(50 * MS, {0: 50 * MS})
    assert meter.leave(0) == [first]
    meter.enter([second])
    world.run(150 * MS, {0: 150 * MS})
    assert meter.leave(0) == [second]
    meter.close(second)
    meter.close(first)
    meter.settle(force=True)
    assert (first.cpu_ns, second.cpu_ns) == (50 * MS, 150 * MS)
    assert first.joules["static"] == pytest.approx(second.joules["static"])


def test_a_sensor_that_dies_leaves_a_gap_and_no_zero():
    world = World()
    counter = WorldCounter(world)
    meter = WorldMeter(world, counter)
    task = meter.start(Account(Role.ATTEMPT))
    counter.broken = True
    world.run(100 * MS, {0: 50 * MS})
    meter.stop(task)
    meter.settle(force=True)
    assert task.joules == {}
    assert task.gaps == {"cpu", "static"}
    assert task.cpu_ns == 50 * MS


def test_the_time_between_two_runs_belongs_to_nobody():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    for _ in range(2):
        task = meter.start(Account(Role.ATTEMPT))
        world.run(100 * MS, {0: 100 * MS})
        meter.stop(task)
        world.run(10_000 * MS, {0: 10_000 * MS})
    meter.settle(force=True)
    assert meter.counted_j == pytest.approx(0.2 * (IDLE_W + BUSY_W))


def test_a_coarse_host_clock_waits_for_a_window_that_it_can_tell():
    world = World()
    meter = WorldMeter(world, WorldCounter(world), step_ns=10 * MS)
    task = meter.start(Account(Role.ATTEMPT))
    world.run(50 * MS, {0: 7 * MS})
    meter.tick()
    meter.settle()
    assert task.joules == {}
    world.run(200 * MS, {0: 13 * MS}, others_ns=100 * MS)
    meter.tick()
    meter.settle()
    assert task.cpu_ns == 20 * MS
    assert meter.other_j == pytest.approx(0.1 * BUSY_W, rel=0.1)


steps = st.lists(
    st.tuples(
        st.sampled_from(["open", "nest", "flow", "close", "tick", "run", "settle"]),
        st.integers(0, 3),
        st.integers(0, 30),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(steps, st.sampled_from([1, 10 * MS]))
def test_every_joule_is_booked_exactly_once_under_any_overlap(actions, step_ns):
    world = World()
    meter = WorldMeter(world, WorldCounter(world), step_ns=step_ns)
    stacks: dict[int, list[Account]] = {}
    accounts: list[Account] = []
    truth_uj = 0.0
    for action, thread, amount in actions:
        stack = stacks.setdefault(thread, [])
        if action in {"open", "nest", "flow"}:
            parent = stack[-1] if stack and action == "nest" else None
            role = Role.FLOW if action == "flow" else Role.ATTEMPT
            stack.append(meter.start(Account(role, parent), thread))
            accounts.append(stack[-1])
        elif action == "close" and stack:
            meter.stop(stack.pop(), thread)
        elif action == "tick":
            meter.tick()
        elif action == "settle":
            meter.settle()
        elif action == "run":
            before = round(world.energy_uj)
            world.run(
                amount * MS,
                {t: amount * MS // (t + 2) for t in range(4)},
                pool_ns=amount * MS // 7,
                others_ns=thread * MS,
            )
            if meter.active:
                truth_uj += round(world.energy_uj) - before
    for thread, stack in stacks.items():
        while stack:
            meter.stop(stack.pop(), thread)
    meter.settle(force=True)
    spans = sum(booked(account) for account in accounts)
    assert spans + meter.other_j + meter.idle_j == pytest.approx(meter.counted_j, rel=1e-9, abs=1e-9)
    assert meter.counted_j == pytest.approx(truth_uj / 1e6, rel=1e-9, abs=1e-9)


def test_a_native_pool_is_the_running_spans_and_not_a_suspended_coroutines():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    flow = meter.start(Account(Role.FLOW))
    suspended = Account(Role.ATTEMPT, flow)
    meter.open(suspended)
    depth = meter.enter([suspended])
    world.run(1 * MS, {0: 1 * MS})
    meter.leave(depth)
    world.run(999 * MS, {0: 10 * MS}, pool_ns=1000 * MS)
    meter.close(suspended)
    meter.stop(flow)
    meter.settle(force=True)
    assert suspended.cpu_ns == pytest.approx(2 * MS, abs=MS / 10)
    assert flow.cpu_ns == pytest.approx(1009 * MS, abs=MS / 10)


def test_a_span_that_waits_for_spans_on_other_threads_has_no_part_in_their_native_pools():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    outer = meter.start(Account(Role.ATTEMPT))
    inner = [meter.start(Account(Role.SPAN, outer), thread) for thread in (1, 2)]
    world.run(100 * MS, {1: 10 * MS, 2: 10 * MS}, pool_ns=60 * MS)
    for thread, span in enumerate(inner, 1):
        meter.stop(span, thread)
    meter.stop(outer)
    meter.settle(force=True)
    assert (outer.cpu_ns, inner[0].cpu_ns, inner[1].cpu_ns) == (0, 40 * MS, 40 * MS)


def test_a_short_span_has_a_part_of_a_native_pool_only_for_as_long_as_it_ran():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    long, short = meter.start(Account(Role.ATTEMPT)), meter.start(Account(Role.ATTEMPT), 1)
    world.run(1 * MS, {})
    meter.stop(short, 1)
    world.run(99 * MS, {}, pool_ns=101 * MS)
    meter.stop(long)
    meter.settle(force=True)
    assert (long.cpu_ns, short.cpu_ns) == (100 * MS, 1 * MS)


def test_a_counter_that_a_suspended_machine_may_have_reset_is_a_gap_and_no_joule_is_invented():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    task = meter.start(Account(Role.ATTEMPT))
    world.slept_ns += 3600 * 1000 * MS
    world.run(100 * MS, {0: 50 * MS})
    meter.tick()
    world.run(100 * MS, {0: 50 * MS})
    meter.stop(task)
    meter.settle(force=True)
    assert meter.counted_j == pytest.approx(0.1 * IDLE_W + 0.05 * BUSY_W)
    assert task.gaps == {"cpu", "static"}
    assert task.cpu_ns == 100 * MS


def test_a_thread_that_outlives_its_span_works_for_what_is_open_around_it():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    flow = meter.start(Account(Role.FLOW))
    first = meter.start(Account(Role.ATTEMPT, flow))
    world.current = 1
    meter._local.thread = meter._thread()
    meter.enter([first])  # a thread that the span has started
    world.run(300 * MS, {1: 300 * MS})
    meter.stop(first)
    second = meter.start(Account(Role.ATTEMPT, flow))
    world.run(400 * MS, {0: 200 * MS, 1: 400 * MS})
    meter.stop(second)
    meter.stop(flow)
    meter.settle(force=True)
    assert (first.cpu_ns, second.cpu_ns, flow.cpu_ns) == (300 * MS, 200 * MS, 400 * MS)
    assert (first.shared_ns, second.shared_ns) == (0, 0)


def test_an_hour_in_which_the_process_was_stopped_is_a_gap_of_the_models_and_no_joule_is_supposed():
    world = World()
    meter = WorldMeter(world, CpuModel(HOST), DramModel(HOST))
    task = meter.start(Account(Role.ATTEMPT))
    world.run(1000 * MS, {0: 1000 * MS})
    meter.tick()
    world.run(3600 * 1000 * MS, {0: 1 * MS}, others_ns=3600 * 1000 * MS)
    meter.tick()
    world.run(1000 * MS, {0: 1000 * MS})
    meter.stop(task)
    meter.settle(force=True)
    assert task.gaps == {"cpu", "static", "dram"}
    assert task.joules == pytest.approx({"cpu": 2 * 9.0, "static": 2 * 4.0, "dram": 2 * 3.0})
    assert meter.counted_j == pytest.approx(sum(task.joules.values()) + meter.other_j + meter.idle_j)


def test_a_minute_of_computing_that_let_no_tick_through_is_booked_in_full():
    world = World()
    meter = WorldMeter(world, CpuModel(HOST), DramModel(HOST))
    task = meter.start(Account(Role.ATTEMPT))
    world.run(120 * 1000 * MS, {0: 119 * 1000 * MS})
    meter.stop(task)
    meter.settle(force=True)
    assert task.gaps == frozenset()
    assert task.joules["cpu"] == pytest.approx(119 * 9.0)


def test_what_a_sensor_counted_while_the_process_was_stopped_is_booked():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    task = meter.start(Account(Role.ATTEMPT))
    world.run(100 * 1000 * MS, {0: 1 * MS})
    meter.stop(task)
    meter.settle(force=True)
    assert task.joules["static"] == pytest.approx(100 * IDLE_W)


def test_an_attempt_that_an_exception_struck_while_it_began_answers_for_no_idle_power():
    world = World()
    counter = WorldCounter(world)
    meter = WorldMeter(world, counter)
    flow = meter.start(Account(Role.FLOW))
    world.run(100 * MS, {})
    struck = Account(Role.ATTEMPT, flow)

    def interrupted():
        raise KeyboardInterrupt

    reads, meter._reads = meter._reads, [interrupted]  # as a signal handler may, between any two lines
    with pytest.raises(KeyboardInterrupt):
        meter.start(struck)
    meter._reads = reads
    meter.stop(struck)
    world.run(100 * MS, {})
    meter.stop(flow)
    meter.settle(force=True)
    assert "static" not in struck.joules
    assert flow.joules["static"] == pytest.approx(0.2 * IDLE_W)
