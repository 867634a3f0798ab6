"""Spans that end where they did not begin: on another thread, in another context, after their thread."""

import _thread
import asyncio
import signal
import threading
import time

import pytest

from e2s_tasks import span
from tests.mixes.burning import burn

TOLERANCE = 0.03e9


def own_ns(record):
    return record.cpu_ns - record.shared_cpu_ns


def on_another_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.fixture
def waiter():
    """A span open on another thread all the time, which uses nothing."""
    ready, done = threading.Event(), threading.Event()

    def wait():
        with span("waiter"):
            ready.set()
            done.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    ready.wait()
    yield
    done.set()
    thread.join()


def test_a_span_that_another_thread_ended_is_given_nothing_that_comes_later(recorded, waiter):
    with span("outer"):
        inner = span("inner")
        inner.__enter__()
        burn(0.05)
        on_another_thread(lambda: inner.__exit__(None, None, None))
        burn(0.2)
        recorded.recorder.meter.tick()
    spans = recorded.spans()
    assert own_ns(spans["inner"]) == pytest.approx(0.05e9, abs=TOLERANCE)
    assert own_ns(spans["outer"]) == pytest.approx(0.2e9, abs=TOLERANCE)


def test_a_span_that_comes_after_one_that_ended_in_another_context_is_a_run_of_its_own(recorded):
    async def steps():
        with span("steps"):
            for _ in range(10):
                burn(0.005)
                yield
                await asyncio.sleep(0)

    async def main():
        async for _ in steps():
            break
        await asyncio.sleep(0.01)  # what was left is closed by the loop meanwhile

    def program():
        asyncio.run(main())
        with span("later"):
            burn(0.05)

    on_another_thread(program)
    spans = recorded.spans()
    assert spans["later"].parent_id is None
    assert spans["later"].run_id != spans["steps"].run_id
    assert spans["later"].static_j > 0
    assert spans["later"].idle_j is not None


def test_what_is_left_of_a_span_that_ended_on_another_thread_is_not_around_the_next_one(recorded):
    def program():
        first = span("first")
        first.__enter__()
        on_another_thread(lambda: first.__exit__(None, None, None))
        with span("next"):
            burn(0.05)

    on_another_thread(program)
    following = recorded.spans()["next"]
    assert (following.parent_id, following.static_j > 0) == (None, True)


@pytest.mark.parametrize("start", [on_another_thread, lambda work: _thread.start_new_thread(work, ())])
def test_a_span_keeps_what_its_thread_used_before_it_ended(recorded, waiter, start):
    left, ended = [], threading.Event()

    def leaving():
        left.append(span("left"))
        left[0].__enter__()
        burn(0.2)
        ended.set()

    start(leaving)
    ended.wait()
    give_up = time.monotonic() + 10
    while len(recorded.recorder.meter._threads) > 1 and time.monotonic() < give_up:  # beside the waiter's
        time.sleep(0.001)
    left[0].__exit__(None, None, None)
    assert own_ns(recorded.spans()["left"]) == pytest.approx(0.2e9, abs=TOLERANCE)


def test_a_thread_that_ends_with_its_span_open_waits_for_no_signal_handler_that_waits_for_it(recorded):
    meter, joined = recorded.recorder.meter, []
    go, left = threading.Event(), []

    def leaving():
        left.append(span("left"))
        left[0].__enter__()
        go.wait()

    thread = threading.Thread(target=leaving)
    thread.start()

    def handler(*_):
        go.set()
        thread.join(timeout=10)
        joined.append(not thread.is_alive())

    before = signal.signal(signal.SIGUSR1, handler)
    mine = meter._thread()
    try:
        with span("mine"), meter._in_turn():
            assert meter.is_in_turn
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    left[0].__exit__(None, None, None)
    assert joined == [True]
    assert not mine.inside
