"""What threads leave for whose turn it is on the meter is booked later as it was, and in no time that grows with it."""

from collections import deque

import pytest

from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.threads import Taker
from tests.fakes.world import World, WorldCounter, WorldMeter

MS = 1_000_000
MANY = 400


class CountingDeque(deque):
    """A deque that tells how many of its items were gone through."""

    gone_through = 0

    def __iter__(self):
        CountingDeque.gone_through += len(self)
        return super().__iter__()


@pytest.fixture
def meter():
    world = World()
    meter = WorldMeter(world, WorldCounter(world))
    meter._notes = meter._turn.notes = CountingDeque()
    CountingDeque.gone_through = 0
    return meter


def test_many_notes_are_booked_as_the_spans_were_and_each_is_gone_through_once(meter):
    world = meter.world
    meter.stop(meter.start(Account(Role.SPAN)))
    meter._turn.take(another := Taker())
    spans = []
    for number in range(MANY):
        world.run(2 * MS, {0: MS})
        spans.append(meter.start(Account(Role.SPAN)))
        world.run(2 * MS, {0: MS + number})
        meter.stop(spans[-1])
    assert len(meter._notes) == 2 * MANY
    meter._turn.give(another, inside=False)
    meter.tick()
    meter.settle(force=True)
    assert not meter._notes
    assert not meter.active
    assert [one.cpu_ns for one in spans] == [MS + number for number in range(MANY)]
    assert CountingDeque.gone_through <= 4 * MANY


def test_notes_of_several_threads_are_told_apart(meter):
    world = meter.world
    flow = meter.start(Account(Role.FLOW), thread=2)
    meter._turn.take(another := Taker())
    ones = []
    for _ in range(20):
        ones += [meter.start(Account(Role.SPAN, flow), thread=thread) for thread in (0, 1)]
        world.run(MS, {0: MS, 1: MS // 2})
        for one, thread in zip(ones[-2:], (0, 1), strict=True):
            meter.stop(one, thread=thread)
        world.run(MS, {2: MS // 4})
    meter._turn.give(another, inside=False)
    meter.stop(flow, thread=2)
    meter.settle(force=True)
    assert {one.cpu_ns for one in ones[::2]} == {MS}
    assert {one.cpu_ns for one in ones[1::2]} == {MS // 2}
    assert flow.cpu_ns == 20 * MS // 4


def test_a_thread_that_goes_on_to_its_next_span_while_a_segment_closes_has_each_as_long_as_it_was(meter):
    world = meter.world
    flow = meter.start(Account(Role.FLOW), thread=2)
    first, second = Account(Role.SPAN, flow), Account(Role.SPAN, flow)
    meter.start(first, thread=1)
    world.run(10 * MS, {1: 10 * MS, 2: MS})
    read = meter._other_thread

    def goes_on_meanwhile(clock):
        if clock == 1 and not meter._notes:
            closer = meter._local.thread
            meter.stop(first, thread=1)
            meter.start(second, thread=1)
            world.run(7 * MS, {1: 7 * MS})
            world.current, meter._local.thread = 2, closer
        return read(clock)

    world.current = 2
    meter._other_thread = goes_on_meanwhile
    meter.tick()
    meter._other_thread = read
    world.run(5 * MS, {1: 5 * MS})
    meter.stop(second, thread=1)
    meter.stop(flow, thread=2)
    meter.settle(force=True)
    assert (first.cpu_ns, second.cpu_ns, flow.cpu_ns) == (10 * MS, 12 * MS, MS)
