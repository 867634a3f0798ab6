"""The user's signal handlers strike anywhere in our code, and are the user's all the same."""

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
import traceback

import pytest

from e2s_tasks import span
from e2s_tasks.recorder import open_span


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
    # before the first line of `__exit__` no Python code can catch it: the only place where a span stays open
    missed = [frames for frames in struck if frames[-2:] == ["__exit__", "handler"]]
    assert len(missed) < 8
    recorded.recorder.meter.tick()  # what spans told it while it was busy is booked
    assert len(recorded.recorder.meter.open_accounts) <= len(missed)


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
        with pytest.raises(InjectedError):
            if when == "begins":
                setattr(meter, clock, injecting(getattr(meter, clock)))
            with work:
                taken.append("work")
                setattr(meter, clock, injecting(getattr(meter, clock)))
                time.sleep(0.001)  # a CPU clock is not read again within microseconds
        assert taken == ([] if when == "begins" else ["work"])
        assert list(meter.open_accounts) == [work.outer]
    assert recorded.spans()["around"].status == "completed"


def test_what_another_thread_injects_as_a_span_is_made_reaches_the_user(recorded, monkeypatch):
    monkeypatch.setattr(open_span, "current_span", injecting(open_span.current_span))
    with pytest.raises(InjectedError):
        span("work")


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
    caught, left_open = (int(word) for word in done.stdout.split())
    assert caught == 30
    assert left_open < 10  # before the first line of `__exit__` no Python code can catch it
