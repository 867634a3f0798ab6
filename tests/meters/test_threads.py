"""The CPU clock of a thread is read where that can matter, and no nanosecond is lost or made where it is not."""

import pytest

from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.threads import BRIEF_NS
from tests.fakes.world import World, WorldCounter, WorldMeter

MS = 1_000_000


class CountingMeter(WorldMeter):
    """A meter that tells how often it has read the calling thread's clock."""

    def __init__(self, world):
        super().__init__(world, WorldCounter(world))
        self.readings, read = 0, self._cpu

        def counted():
            self.readings += 1
            return read()

        self._cpu = counted


@pytest.fixture
def world():
    return World()


@pytest.fixture
def meter(world):
    return CountingMeter(world)


def _spans(meter, world):
    """A span after a millisecond's work in another one, whose segment goes on."""
    outer = meter.start(Account(Role.SPAN))
    world.run(MS, {0: MS})
    return outer, meter.start(Account(Role.SPAN, outer))


def test_a_brief_span_is_given_its_time_without_a_reading_and_the_next_reading_puts_that_right(meter, world):
    outer, inner = _spans(meter, world)
    before = meter.readings
    world.run(BRIEF_NS - 1000, {0: 700})  # it was interrupted for a while
    meter.stop(inner)
    assert meter.readings == before
    world.run(MS, {0: MS})
    meter.stop(outer)
    meter.settle(force=True)
    assert (inner.cpu_ns, inner.cpu_ns + outer.cpu_ns) == (BRIEF_NS - 1000, 2 * MS + 700)


def test_a_thread_that_may_have_paused_is_asked(meter, world):
    outer, inner = _spans(meter, world)
    world.run(BRIEF_NS, {0: 700})
    meter.stop(inner)
    meter.stop(outer)
    meter.settle(force=True)
    assert (inner.cpu_ns, outer.cpu_ns) == (700, MS)


def test_many_brief_spans_one_after_the_other_are_given_no_more_than_their_thread_used(meter, world):
    outer, inner = _spans(meter, world)
    inners = [inner]
    for _ in range(1000):
        world.run(1000, {0: 600})
        meter.stop(inners[-1])
        world.run(1000, {0: 600})
        inners.append(meter.start(Account(Role.SPAN, outer)))
    meter.stop(inners[-1])
    world.run(MS, {0: MS})
    meter.stop(outer)
    meter.settle(force=True)
    used = sum(one.cpu_ns for one in (outer, *inners))
    assert used == world.process_ns
    assert sum(one.cpu_ns for one in inners) == pytest.approx(1000 * 1000, rel=0.01)


def test_the_closing_of_a_segment_is_no_work_of_the_span_that_begins_with_it(meter, world):
    outer = meter.start(Account(Role.SPAN))
    world.run(10 * MS, {0: 10 * MS})
    before = meter.readings
    inner = meter.start(Account(Role.SPAN, outer))
    assert meter.readings == before + 2  # when the segment closed, and when the span began
    meter.stop(inner)
    meter.stop(outer)


def test_a_thread_that_an_exception_struck_while_it_took_its_first_span_is_charged_nothing_twice(meter, world):
    meter.stop(meter.start(Account(Role.SPAN)))
    flow = meter.start(Account(Role.FLOW), thread=1)
    world.run(200 * MS, {0: 200 * MS})  # without a span: the flow's, the only one that is open
    meter.tick()
    read, struck = meter._cpu, Account(Role.SPAN, flow)

    def interrupted():
        read()
        raise TimeoutError  # as a signal handler may

    meter._cpu = interrupted
    with pytest.raises(TimeoutError):
        meter.start(struck)
    meter._cpu = read
    meter.stop(struck)
    world.run(MS, {1: MS})
    meter.stop(flow, thread=1)
    meter.settle(force=True)
    assert flow.cpu_ns + struck.cpu_ns == 201 * MS
