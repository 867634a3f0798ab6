"""Of a child process that is reaped the system tells what it used, once: to whoever reaps it, and asks by `wait4`.

Afterwards it tells only one sum for all ended children. So what children used that begin and end within a tick is their
own starters', also of several at work at once. `os.waitpid` and `os.wait`, by which `subprocess`, `multiprocessing` and
`asyncio` reap, ask by `wait4` from the first span on, which is the same call with one more answer.
"""

import functools
import os
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, ModuleType
from typing import Any

from e2s_tasks.meters.meter import Meter
from e2s_tasks.recorder.guard import guarded

CALLS = "waitpid", "wait", "wait3", "wait4"
NS = 1_000_000_000
Reaped = tuple[int, int, Any]  # pid, status, resource usage
_plain_waitpid = getattr(os, "waitpid", None)
_registry: Callable[[], Meter | None] = lambda: None  # noqa: E731


def watch_reaping(registry: Callable[[], Meter | None]) -> None:
    """From now on the meter of the process is told what each child used that is reaped."""
    global _registry  # noqa: PLW0603
    _registry = registry
    if not all(isinstance(getattr(os, name, None), BuiltinFunctionType) for name in CALLS):
        return  # Windows, or other libraries have theirs, as gevent
    wait4, wait3 = _telling(os.wait4), _telling(os.wait3)

    @functools.wraps(os.waitpid)
    def waitpid(pid: int, options: int, /) -> tuple[int, int]:
        return wait4(pid, options)[:2]

    @functools.wraps(os.wait)
    def wait() -> tuple[int, int]:
        return wait3(0)[:2]

    for function in (wait4, wait3, waitpid, wait):
        setattr(os, function.__name__, function)


def watch_polls(subprocess: ModuleType) -> None:
    """The same for `Popen.poll`, where `subprocess` was loaded before and has kept the function as it was then."""
    poll, kept = subprocess.Popen._internal_poll, getattr(subprocess, "_del_safe", None)  # noqa: SLF001
    if kept is not None and kept.waitpid is _plain_waitpid:
        kept.waitpid = os.waitpid
    if poll.__defaults__:  # up to Python 3.11
        poll.__defaults__ = tuple(os.waitpid if one is _plain_waitpid else one for one in poll.__defaults__)


def _telling(reap: Callable[..., Reaped]) -> Callable[..., Reaped]:
    ends = sys.is_finalizing  # a finalizer may reap when this module is no more

    @functools.wraps(reap)
    def told(*args: int, **options: int) -> Reaped:
        found = reap(*args, **options)
        if found[0] and not ends():
            _tell(*found)
        return found

    return told


@guarded
def _tell(pid: int, status: int, usage: Any) -> None:
    meter = _registry()
    if meter is not None and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
        meter.reaped(pid, int((usage.ru_utime + usage.ru_stime) * NS))
