"""The user's signal handlers strike anywhere in our code, and are the user's all the same."""

import asyncio
import ctypes
import functools
import gc
import itertools
import operator
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import timeit
import traceback

import pytest

from e2s_tasks import span
from e2s_tasks.integrations.prefect.functions import MeasuredFunction
from e2s_tasks.recorder import drive, open_span
from e2s_tasks.recorder.guard import MeteringWarning, _warned
from tests.mixes.burning import burn


@pytest.mark.slow
def test_what_the_users_signal_handler_raises_reaches_the_user_wherever_it_strikes(recorded):
    class MineError(Exception):
        pass

    def handler(number, frame):
        raise MineError

    struck = []
    before = signal.signal(signal.SIGVTALRM, handler)
    gc.disable()  # Python swallows what a signal handler raises in a callback of the collector, such as Hypothesis's
    try:
        for _ in range(20):
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.002)
            give_up = time.monotonic() + 5
            try:
                while time.monotonic() < give_up:
                    with span("short"):
                        pass
            except MineError as error:
                struck.append([frame.name for frame in traceback.extract_tb(error.__traceback__)])
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        gc.enable()
    assert len(struck) == 20
    recorded.recorder.meter.tick()  # what spans told it while it was busy is booked
    assert recorded.recorder.meter.open_accounts == []


class InjectedError(Exception):
    """What another thread has raised in this one, as libraries do it for time-outs."""


def injecting(function):
    """The function, of C, in place of whose first call the calling thread is struck: in the frame that calls it."""
    strike = functools.partial(
        ctypes.pythonapi.PyThreadState_SetAsyncExc,
        ctypes.c_ulong(threading.get_ident()), ctypes.py_object(InjectedError),
    )  # fmt: skip
    return map(operator.call, itertools.chain([strike], itertools.repeat(function))).__next__


@pytest.mark.parametrize("clock", ["_now", "_cpu"])
@pytest.mark.parametrize("when", ["begins", "ends"])
def test_what_another_thread_injects_reaches_the_user_wherever_it_strikes(recorded, clock, when):
    meter, taken = recorded.recorder.meter, []
    with span("around"):
        work = span("work")

        def struck():
            if when == "begins":
                setattr(meter, clock, injecting(getattr(meter, clock)))
            with work:
                taken.append("work")
                setattr(meter, clock, injecting(getattr(meter, clock)))
                time.sleep(0.001)  # a CPU clock is not read again within microseconds

        with pytest.raises(InjectedError):
            struck()
        assert taken == ([] if when == "begins" else ["work"])
        assert list(meter.open_accounts) == [work.outer]
    assert recorded.spans()["around"].status == "completed"


def test_what_another_thread_injects_as_a_span_is_made_reaches_the_user(recorded, monkeypatch):
    monkeypatch.setattr(open_span, "current_span", injecting(open_span.current_span))
    with pytest.raises(InjectedError):
        span("work")


HUGE = set(range(500_000))
OTHER = set(HUGE)
HUGE_S = min(timeit.repeat("HUGE & OTHER", globals=globals(), number=1, repeat=3))  # without a look for signals


@pytest.fixture
def time_up():
    """Has a signal handler raise its error, in the middle of HUGE & OTHER."""

    class TimeUpError(Exception):
        pass

    def raises(*_):
        raise TimeUpError

    before = signal.signal(signal.SIGALRM, raises)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, HUGE_S / 3), TimeUpError
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_time_out_in_the_last_operator_of_a_block_ends_its_span(recorded, time_up):
    start, error = time_up

    def work():
        with span("outer"), span("inner"):
            start()
            HUGE & OTHER

    with span("around"):
        with pytest.raises(error) as struck:
            work()
        with span("next"):
            burn(0.05)
    assert [frame.name for frame in traceback.extract_tb(struck.tb)][-2:] == ["__exit__", "raises"]
    found = recorded.spans()
    assert [found[name].status for name in ("inner", "outer", "next", "around")] == [
        *["failed"] * 2,
        *["completed"] * 2,
    ]
    assert found["next"].cpu_ns >= 0.05e9
    assert found["inner"].cpu_ns >= 0.5 * HUGE_S * 1e9
    assert found["inner"].parent_id == found["outer"].id
    assert found["next"].parent_id == found["around"].id


def test_a_block_that_a_time_out_left_takes_nothing_after_the_next_tick_and_ends_with_what_is_around_it(
    recorded, time_up
):
    start, error = time_up

    def work(name):
        with span(name):
            start()
            HUGE & OTHER

    with span("around"):
        with pytest.raises(error):
            work("first")
        recorded.recorder._tick()
        burn(0.1)
        with pytest.raises(error):
            work("second")
    found = recorded.spans()
    assert [found[name].status for name in ("first", "second", "around")] == ["failed", "failed", "completed"]
    assert found["around"].cpu_ns >= 0.1e9


def test_a_time_out_between_blocks_is_never_lost(recorded, time_up):
    def blocks():
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            with span("short"):
                pass

    gc.disable()  # Python swallows what strikes in a callback of the collector
    try:
        for _ in range(300):
            with pytest.raises(time_up[1]):
                blocks()
    finally:
        gc.enable()


def test_a_time_out_in_the_last_operator_of_a_measured_function_ends_its_span(recorded, time_up):
    start, error = time_up

    def work():
        start()
        return HUGE & OTHER

    with pytest.raises(error):
        MeasuredFunction(work, span)()
    assert not recorded.recorder.meter.active
    assert recorded.spans()["work"].status == "failed"


def test_a_coroutine_that_a_time_out_strikes_in_its_last_operator_ends_its_span(recorded, time_up):
    start, error = time_up

    async def work():
        start()
        return HUGE & OTHER

    with pytest.raises(error):
        asyncio.run(drive(recorded.recorder.span("work"), work()))
    assert not recorded.recorder.meter.active
    assert recorded.spans()["work"].status == "failed"


def test_a_span_whose_exit_is_asked_for_and_not_called_goes_on(recorded):
    one = span("work")
    assert hasattr(one, "__exit__")
    with one:
        assert hasattr(one, "__exit__")
        assert recorded.recorder.meter.active
    assert recorded.spans()["work"].status == "completed"


def test_a_span_that_is_entered_again_goes_on_and_says_so_once(recorded):
    _warned.clear()
    one = span("work")

    def work():
        with one:
            with one:
                burn(0.05)
            burn(0.05)
        with one:
            burn(0.1)

    with pytest.warns(MeteringWarning, match="needs a new span"):
        work()
    assert not recorded.recorder.meter.active
    assert recorded.spans()["work"].cpu_ns == pytest.approx(0.1e9, rel=0.2)


def test_a_generators_block_that_ends_in_the_middle_of_another_leaves_that_the_current_one(recorded):
    def loading():
        with span("load"):
            yield 1

    with span("root"):
        loaded = loading()
        next(loaded)
        with span("train") as train:
            loaded.close()
            assert open_span.current_span() is train
        with span("next") as after:
            pass
    assert after.parent is train.parent.parent


def test_a_signal_handlers_span_amid_what_others_noted_ends_and_loses_nothing(recorded):
    meter = recorded.recorder.meter
    thread = meter._thread()
    inner = []

    def interrupted(_thread, _account, _now, _cpu_ns):
        with span("handler") as one:
            inner.append(one)

    meter._notes.append((interrupted, thread, None, 0, 0))
    with span("work"):
        pass
    meter.tick()
    assert len(inner) == 1
    assert inner[0].ends_in is not None
    assert not meter._notes
    assert meter.open_accounts == []


def test_a_turn_that_a_signal_handlers_exception_left_taken_holds_nobody_up(recorded):
    meter = recorded.recorder.meter
    with span("work"):
        meter._turn.take(meter._thread())  # and never given back
        other = threading.Thread(target=meter.tick)
        other.start()
        other.join(10)
        assert not other.is_alive()
    assert recorded.spans()["work"].status == "completed"


def test_ctrl_c_reaches_the_user_wherever_it_strikes_and_leaves_no_span_open(tmp_path):
    program = """
        import gc, signal, time
        from e2s_tasks import span
        from e2s_tasks.recorder import process_recorder
        gc.disable()  # Python swallows what strikes in a callback of the collector
        signal.signal(signal.SIGVTALRM, signal.default_int_handler)
        caught = 0
        for number in range(30):
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.004)
            end = time.monotonic() + 5
            try:
                while time.monotonic() < end:
                    with span("short"):
                        pass
            except KeyboardInterrupt:
                caught += 1
        recorder = process_recorder()
        recorder.flush()
        print(caught, len(recorder.meter.open_accounts))
    """
    environment = os.environ | {"E2S_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == ["30", "0"]
