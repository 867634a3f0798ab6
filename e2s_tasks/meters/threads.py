"""A thread that works for spans: its CPU clock, and who pays for it."""

import sys
import threading
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING

from e2s_tasks.meters.clocks import thread_clock

if TYPE_CHECKING:
    from e2s_tasks.meters.account import Account


BRIEF_NS = 5_000  # for so long a thread runs without a pause


class Taker:
    """The calling thread as one that takes turns. inside: it is in one now."""

    __slots__ = ("ident", "inside")

    def __init__(self) -> None:
        self.ident, self.inside = get_ident(), False


class MeasuredThread(Taker):
    """A thread's CPU clock and the stack of accounts that own the thread; the last one pays, since since_ns.

    steps: coroutines or generators run on it step by step. What it does between their steps is nobody's native pool: it
    is orchestration (outside_ns); orphaned: it is nobody's, as it works for what has ended.
    """

    __slots__ = ("clock", "last_ns", "orphaned", "outside_ns", "since_ns", "stack", "steps", "tid")

    def __init__(self) -> None:
        super().__init__()
        self.tid = threading.get_native_id()
        self.clock = thread_clock(self.tid)
        self.last_ns = self.outside_ns = self.since_ns = 0
        self.steps = self.orphaned = False
        self.stack: list[Account] = []

    def used_ns(self, now: int, read: Callable[[], int]) -> int:
        """What the calling thread's CPU clock shows: it is read, which is a call of the system and takes a microsecond.

        Not within 5 microseconds of the last charge: the time since then is taken for CPU time. What that is too much
        the thread's next reading puts right.
        """
        gone_ns = now - self.since_ns
        return self.last_ns + gone_ns if 0 < gone_ns < BRIEF_NS else read()

    def charge(self, cpu_ns: int, now: int, start_ns: int) -> None:
        """Give who pays the CPU time and the time since the last charge; the time not from before start_ns."""
        stack = self.stack
        if now > self.since_ns:
            if stack and now > start_ns:
                stack[-1].held_ns += now - max(self.since_ns, start_ns)
            self.since_ns = now
        used_ns = cpu_ns - self.last_ns
        if used_ns > 0:  # else a segment was closed after the clock was read
            if stack:
                stack[-1].fresh_ns += used_ns
            else:
                self.outside_ns += used_ns
            self.last_ns = cpu_ns


class ThreadEnd:
    """A local value of a thread: with it ends the thread, whose clock can still be read, but not from another one."""

    __slots__ = ("_tell", "_thread")

    def __init__(self, thread: MeasuredThread, tell: Callable[[MeasuredThread], None]) -> None:
        self._thread, self._tell = thread, tell

    def __del__(self, ends: Callable[[], bool] = sys.is_finalizing, ident: Callable[[], int] = get_ident) -> None:
        """Tell it where spans are left open; not in a forked child, nor as the process ends."""
        if self._thread.stack and self._thread.ident == ident() and not ends():
            self._tell(self._thread)
