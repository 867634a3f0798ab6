"""A span begins and ends with the interpreter's lock kept: given up, it comes back behind all threads that compute."""

import sys
import time
from contextlib import nullcontext

import pytest

from e2s_tasks import span
from e2s_tasks.core.records import Kind
from e2s_tasks.recorder import process_recorder

GIVE_IT_UP = {"posix", "fcntl", "_io", "select", "_socket"}  # modules whose functions do, but for these
KEEP_IT = {"getpid", "sysconf"}


def _called(work):
    """The functions in C that the work calls on this thread, as (module, name)."""
    found = set()

    def seen(frame, event, function):
        if event == "c_call":
            home = getattr(function, "__self__", None)
            module = function.__module__ or (type(home).__module__ if home is not None else None)
            found.add((module, function.__name__))

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize("kind", [Kind.SPAN, Kind.ATTEMPT])
@pytest.mark.parametrize("around", [nullcontext, lambda: span("outer")], ids=["outermost", "inside another one"])
def test_no_function_that_gives_the_lock_up_is_called_when_a_span_begins_or_ends(around, kind):
    recorder = process_recorder()

    def spans():
        for pause_s in (0.0, 0.006, 0.006, 0.0):  # segments close and counters are read after some of them
            end = time.monotonic() + pause_s
            while time.monotonic() < end:
                pass
            with recorder.span("one", kind):
                pass

    with around():
        spans()
        called = _called(spans)
    assert len(called) > 10
    assert {one for one in called if one[0] in GIVE_IT_UP and one[1] not in KEEP_IT} == set()
    assert ("time", "sleep") not in called
