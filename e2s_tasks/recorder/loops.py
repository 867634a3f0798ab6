"""Event loops: each callback belongs to the span of its context, whoever made it and whenever.

asyncio runs every step of a task and every callback through a Handle with a context; the span of that context owns the
loop's thread meanwhile. So what a coroutine spawns (gathered tasks, task groups, timers) is its span's, and two tasks
with blocks around their awaits are kept apart. Loops that have handles of their own (uvloop) are left alone.
"""

import sys
from collections.abc import Callable
from threading import get_ident
from typing import Any

from e2s_tasks.meters.account import Account
from e2s_tasks.meters.meter import Meter
from e2s_tasks.recorder.guard import guarded, warn_once
from e2s_tasks.recorder.open_span import CURRENT

_of_process: Callable[[], Meter | None] = lambda: None  # noqa: E731
_unwatched: dict[int, int] = {}  # thread -> how many accounts owned it when its loop was first watched
watching = False


@guarded
def watch(meter_of_process: Callable[[], Meter | None]) -> None:
    """From now on, once asyncio is loaded, its callbacks are measured."""
    global _of_process, watching  # noqa: PLW0603
    _of_process = meter_of_process
    if not watching and "asyncio.base_events" in sys.modules:
        from asyncio import Handle

        watching = True
        _note_running_callback()
        # The one place that every step of every task goes through.
        setattr(Handle, "_run", _run(getattr(Handle, "_run")))  # noqa: B009, B010


def _note_running_callback() -> None:
    """The callback that runs now has begun unwatched: what it leaves on its thread is taken off before the next."""
    from asyncio import _get_running_loop

    meter = _of_process()
    if _get_running_loop() is not None and meter is not None:
        _unwatched[get_ident()] = meter.depth()


def _run(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def measured_run(handle: Any) -> Any:
        if _unwatched:
            _take_off()
        meter, depth = _enter(handle._context.get(CURRENT))  # noqa: SLF001
        try:
            return run(handle)
        finally:
            if meter is not None and (depth or meter.depth()):
                _leave(meter, depth)

    return measured_run


def _enter(span: Any) -> tuple[Meter | None, int]:
    """The span, or what is open around it, owns the thread; where there is none, what begins inside is taken off."""
    try:
        while span is not None and span.closed_ns:
            span = span.outer
        if span is None:
            meter = _of_process()
            return meter, 0 if meter is None else meter.depth()
        meter = span.recorder.meter
        return meter, 0 if meter.rests_on(span) else meter.enter(_line(span, meter.owner()))
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once("measuring a callback", error)
        return None, 0


def _line(span: Account, owner: Account | None) -> list[Account]:
    """A span and the open ones around it, the outermost first, which pay once it ends; without what owns the thread."""
    line: list[Account] = []
    around: Account | None = span
    while around is not None and around is not owner:
        if not around.closed_ns:
            line.append(around)
        around = around.parent
    return line[::-1]


@guarded
def _take_off() -> None:
    depth, meter = _unwatched.pop(get_ident(), None), _of_process()
    if depth is not None and meter is not None:
        _leave(meter, depth)


@guarded
def _leave(meter: Meter, depth: int) -> None:
    if meter.depth() > depth:
        meter.leave(depth)
