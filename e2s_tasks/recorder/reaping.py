"""Ended child processes are read before they are reaped: afterwards the system tells only one sum for all of them.

So what children used that begin and end within a tick is their own starters', also of several at work at once. Watched
are `os.waitpid` and `os.wait4`, with which `subprocess`, `multiprocessing` and `asyncio` reap one child; not `os.wait`,
which is asked for any.
"""

import functools
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from e2s_tasks.meters.meter import Meter
from e2s_tasks.recorder.guard import guarded

_registry: Callable[[], Meter | None] = lambda: None  # noqa: E731


def watch_reaping(registry: Callable[[], Meter | None]) -> None:
    """From now on the meter of the process reads each child that counts before it is reaped."""
    global _registry  # noqa: PLW0603
    _registry = registry
    if hasattr(os, "waitid"):  # macOS has it from Python 3.13 on, Windows never
        for name in ("waitpid", "wait4"):
            setattr(os, name, _reading_first(getattr(os, name)))


def watch_polls(subprocess: ModuleType) -> None:
    """The same for `Popen.poll`, which has kept the function as it was; up to Python 3.11 as a default value."""
    poll = subprocess.Popen._internal_poll  # noqa: SLF001 - `poll` and the garbage collector call it

    @functools.wraps(poll)
    def polled(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.returncode is None and hasattr(os, "waitid"):
            _read(self.pid, os.WNOHANG)
        return poll(self, *args, **kwargs)

    subprocess.Popen._internal_poll = polled  # noqa: SLF001


def _reading_first(reap: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(reap)
    def read_first(pid: int, options: int, /) -> Any:
        _read(pid, options)
        return reap(pid, options)

    return read_first


@guarded
def _read(pid: int, options: int) -> None:
    """Wait for a child's end as is about to be done, without reaping it, and read it."""
    meter = _registry()
    if meter is None or meter.children is None or options & ~os.WNOHANG or not meter.children.counts(pid):
        return
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | options)
    except ChildProcessError:  # another thread was first
        return
    if ended is not None:
        meter.read_ended(pid)
