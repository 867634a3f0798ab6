"""CPU time of child processes that measured work starts: counted while they run, and once.

A child with a meter of its own books its own work, and one that was there before any span belongs to none: both are
left out. A child that detaches itself (a daemon) is not found, and appears among the other programs.
"""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

NS = 1_000_000_000


def process_cpu_ns(pid: int) -> int | None:
    """CPU time of another process; None once it is gone (Linux: no privilege needed)."""
    try:
        return time.clock_gettime_ns(((~pid) << 3) | 2)
    except OSError:
        return None


def descendants(pid: int) -> set[int]:
    """The live children of a process, their children, and so on; empty where the system does not tell."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        try:
            tasks = list(Path(f"/proc/{waiting.pop()}/task").iterdir())
        except OSError:
            continue
        for task in tasks:
            try:
                children = {int(child) for child in (task / "children").read_text().split()} - found
            except (OSError, ValueError):
                continue
            found |= children
            waiting += children
    return found


def _reaped_ns() -> int:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((usage.ru_utime + usage.ru_stime) * NS)


class Children:
    """The CPU time of this process's unmeasured children. `measured`: those that have or had their own meter.

    The system tells the time of ended children only as one sum. Where one that does not count has just ended, nothing
    of that sum is counted: better a little among the other programs than a joule twice.
    """

    def __init__(self, measured: Callable[[], set[int]]) -> None:
        self._measured = measured
        self._ignored: set[int] = set()  # there before any span
        self._own: dict[int, int] = {}  # CPU time of the live children that count, at the last poll
        self._foreign: set[int] = set()  # live children that do not count
        self._buried: set[int] = set()  # ended measured processes that were taken into account
        self._reaped = 0
        self._debt = 0

    def begin(self) -> None:
        """Measured work begins: children that are there already belong to none of it."""
        self._ignored = descendants(os.getpid())
        self._foreign, self._own, self._debt = set(self._ignored), {}, 0
        self._buried = {pid for pid in self._measured() if process_cpu_ns(pid) is None}
        self._reaped = _reaped_ns()

    @property
    def stirred(self) -> bool:
        """Whether a poll is due before the next tick: a child has ended, or one is known to run."""
        return bool(self._own) or _reaped_ns() != self._reaped

    def poll(self) -> int:
        """CPU nanoseconds that unmeasured children have used since the last poll."""
        live, measured = descendants(os.getpid()), self._measured()
        before, self._reaped = self._reaped, _reaped_ns()
        used = self._debt - sum(self._own.pop(pid) for pid in list(self._own) if pid not in live)
        if self._foreign_ended(live, measured):
            used = 0
        else:
            used += self._reaped - before
        for pid in live:
            now = process_cpu_ns(pid)
            if pid in self._ignored or pid in measured:
                self._foreign.add(pid)
                self._own.pop(pid, None)
            elif now is not None:
                used += now - self._own.get(pid, 0)
                self._own[pid] = now
        self._debt = min(0, used)  # a grandchild's time is out of sight between its end and its parent's
        return max(0, used)

    def _foreign_ended(self, live: set[int], measured: set[int]) -> bool:
        known = {pid for pid in self._foreign if pid not in live}
        unseen = {pid for pid in measured - live - self._buried if process_cpu_ns(pid) is None}
        self._foreign -= known
        self._buried |= unseen | known
        return bool(known or unseen)
