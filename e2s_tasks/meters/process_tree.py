"""What the system tells of the processes below this one, and of those above it: who, and CPU time in nanoseconds."""

import os
import resource
import time
from collections.abc import Iterator

from e2s_tasks.host import process_stat, stat_fields
from e2s_tasks.keeping import names, read

NS = 1_000_000_000


def process_cpu_ns(pid: int) -> int | None:
    """CPU time of another process; None once its parent has taken note of its end (Linux: no privilege needed)."""
    try:
        return time.clock_gettime_ns(((~pid) << 3) | 2)
    except OSError:
        return None


def own_ended_ns() -> int:
    """CPU time of this process's ended children, with what these knew of theirs; to 2 microseconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((usage.ru_utime + usage.ru_stime) * NS)


def ended_ns(pid: int) -> int | None:
    """The same of another process, rounded down by less than two clock ticks (20 ms); None once it is gone."""
    fields = stat_fields(pid)
    return (int(fields[13]) + int(fields[14])) * tick_ns() if fields else None


def tick_ns() -> int:
    """The step in which the system tells the times of other processes, usually 10 ms."""
    return NS // os.sysconf("SC_CLK_TCK")


def ending(pid: int) -> bool:
    """Whether a process is gone, or its time is just being added to its parent's sum."""
    return process_stat(pid)[0] in ("", "X")


def parent_of(pid: int) -> int:
    """The pid of a process's parent; 0 where it has none, or none is known."""
    fields = stat_fields(pid)
    return int(fields[1]) if fields else 0


def ancestors(most: int) -> list[int]:
    """The pids of the processes above this one, the nearest first."""
    found = [os.getppid()]
    while found[-1] and len(found) < most:
        found.append(parent_of(found[-1]))
    return found


def thread_children(pid: int | str, tid: int | str) -> list[int]:
    """The live children that a thread of a process has started; empty where the system does not tell."""
    return [int(child) for child in read(f"/proc/{pid}/task/{tid}/children").split()]


def _children(pid: int) -> Iterator[tuple[int, int]]:
    """(child, the thread that started it), for each live child of a process."""
    for tid in names(f"/proc/{pid}/task"):
        for child in thread_children(pid, tid):
            yield child, int(tid)


def descendants() -> dict[int, tuple[int, int]]:
    """Those that live: pid -> (parent's pid, the thread of this process that started it, else 0); parents first."""
    own = os.getpid()
    found: dict[int, tuple[int, int]] = {}
    waiting = [own]
    while waiting:
        parent = waiting.pop()
        for pid, tid in _children(parent):
            if pid not in found:
                found[pid] = parent, tid if parent == own else 0
                waiting.append(pid)
    return found


def ticks_now() -> int:
    """The time as /proc tells the start of processes: clock ticks since boot."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
