"""CPU time of child processes that measured work starts: counted to who started them, while they run, and once.

A child with a meter of its own books its own work, and one that was there before any span belongs to none: both are
left out. A child that detaches itself (a daemon) is counted as long as it was seen before it left; what is not seen
appears among the other programs.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from e2s_tasks.host import process_stat
from e2s_tasks.meters.account import Account
from e2s_tasks.meters.process_tree import descendants, own_ended_ns, process_cpu_ns, thread_children, ticks_now


@dataclass(slots=True)
class _Child:
    """A known descendant. below_ns: what was counted of its own ended children. foreign: it does not count.

    mixed: a measured process has ended below it, so that its sum of ended children cannot be told apart.
    """

    parent: int
    starter: Account | None
    last_ns: int = 0
    below_ns: int = 0
    foreign: bool = False
    mixed: bool = False


class Children:
    """The CPU time of this process's unmeasured descendants.

    measured: those processes that have or had a meter of their own, and their parents. The system tells the time of
    ended children only as one sum. Where one that does not count has just ended, nothing of that sum is counted: better
    a little among the other programs than a joule twice.
    """

    def __init__(self, measured: Callable[[], dict[int, int]]) -> None:
        self._measured = measured
        self._pid = os.getpid()
        self._known: dict[int, _Child] = {}
        self._buried: set[int] = set()  # measured processes whose end was taken into account
        self._reaped = 0
        self._stirred = self._counting = False  # something has changed; a child that counts is known
        self._all_known = False
        self._begun_ticks = 0

    def begin(self) -> None:
        """Measured work begins: children that are there already belong to none of it."""
        self._begun_ticks = ticks_now()
        if not self._all_known:
            self._all_known = True
            for pid, (parent, _) in self.look().items():
                if process_stat(pid)[1] < self._begun_ticks:  # else another thread's work has just started it
                    self._known.setdefault(pid, _Child(parent, None, foreign=True))
        for pid, child in list(self._known.items()):
            child.foreign |= child.starter is None or child.starter.ends_in is not None
            if process_cpu_ns(pid) is None:  # its end is in the sum that counting starts from
                del self._known[pid]
        self._buried = {pid for pid in self._measured() if process_cpu_ns(pid) is None}
        self._reaped = own_ended_ns()

    def started(self, pid: int, starter: Account | None) -> None:
        """Work of `starter` (None: unmeasured work) has just started a child."""
        self._known[pid] = _Child(self._pid, starter, foreign=starter is None)
        self._stirred = True

    def forked(self, starter: Account | None) -> None:
        """The calling thread has just forked."""
        for pid in thread_children(self._pid, threading.get_native_id()):
            if pid not in self._known:
                self.started(pid, starter)

    def look(self) -> dict[int, tuple[int, int]]:
        """The live descendants: pid -> (parent's pid, the thread of this process that started it, else 0)."""
        return descendants()

    def meet(self, found: dict[int, tuple[int, int]], owner_of: Callable[[int], Account | None]) -> None:
        """Take in what `look` found; owner_of tells whom a thread of this process works for."""
        new = {pid: where for pid, where in found.items() if pid not in self._known}
        measured = self._measured() if new else {}
        for pid, (parent, tid) in new.items():
            above = self._known.get(parent)
            starter = above.starter if above else owner_of(tid)
            before = process_stat(pid)[1] < self._begun_ticks
            not_ours = before or self._is_measured(parent, measured) or (above is not None and above.foreign)
            self._known[pid] = _Child(parent, starter, foreign=not_ours)
            self._stirred = True

    def poll(self) -> dict[Account | None, int]:
        """CPU nanoseconds since the last poll, by who started the child; None: nobody knows."""
        reaped = own_ended_ns()
        if not self._stirred and not self._counting and self._reaped == reaped:
            return {}
        self._stirred = False
        reaped, self._reaped = reaped - self._reaped, reaped
        used: dict[Account | None, int] = {}
        measured = self._measured()
        ended: dict[int, _Child] = {}
        for pid, child in list(self._known.items()):
            above = self._known.get(child.parent)
            child.foreign |= self._is_measured(child.parent, measured) or (above is not None and above.foreign)
            now = process_cpu_ns(pid)
            if now is None:
                ended[pid] = self._known.pop(pid)
            elif child.foreign or pid in measured:
                child.foreign, child.last_ns = True, now
            else:
                used[child.starter] = used.get(child.starter, 0) + now - child.last_ns
                child.last_ns = now
        self._counting = any(not child.foreign for child in list(self._known.values()))
        self._buried |= ended.keys()
        if self._told_apart(ended, measured):
            self._add_reaped(reaped, ended, used)
        return used

    def _is_measured(self, parent: int, measured: dict[int, int]) -> bool:
        """Whether another process with a meter of its own has started what this is asked for."""
        return parent != self._pid and parent in measured

    def _told_apart(self, ended: dict[int, _Child], measured: dict[int, int]) -> bool:
        """Whether the time of what has just ended is that of unmeasured processes alone."""
        for pid, parent in measured.items():
            if parent not in ended and parent not in self._known and parent != self._pid:
                continue
            if pid not in self._buried and pid not in self._known and process_cpu_ns(pid) is None:
                self._buried.add(pid)
                ended[pid] = _Child(parent, None, foreign=True)
        for child in reversed(ended.values()):  # a child is known later than its parent
            above = self._known.get(child.parent) or ended.get(child.parent)
            if above is not None:
                above.below_ns += child.last_ns + child.below_ns
                above.mixed |= child.foreign or child.mixed
        return not any(child.foreign or child.mixed for child in ended.values() if child.parent == self._pid)

    def _add_reaped(self, reaped: int, ended: dict[int, _Child], used: dict[Account | None, int]) -> None:
        """Add what ended children used after they were last seen, and what their unseen children did."""
        direct = [child for child in ended.values() if child.parent == self._pid]
        rest = max(0, reaped - sum(child.last_ns + child.below_ns for child in direct))
        starters = list(dict.fromkeys(child.starter for child in direct)) or [None]
        for starter in starters:
            used[starter] = used.get(starter, 0) + rest // len(starters)
