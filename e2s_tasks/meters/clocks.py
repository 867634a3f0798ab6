"""CPU clocks: of a thread, of this process, of the host. All in nanoseconds."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from e2s_tasks.meters.counter_file import CounterFile

_CGROUP_V1 = Path("/sys/fs/cgroup/cpuacct/cpuacct.usage")
_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.stat")
_PROC_STAT = Path("/proc/stat")
_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def thread_clock(native_id: int) -> int:
    """The id of a thread's CPU clock, from its native id: readable from every thread of the process (Linux)."""
    return ((~native_id) << 3) | 6


def thread_cpu_ns(clock: int) -> int | None:
    """CPU time of the thread behind a clock id; None once the thread is gone or where the system has no such clock."""
    try:
        return time.clock_gettime_ns(clock)
    except OSError:
        return None


def slept_ns() -> int:
    """How long the machine has been suspended since boot: the time that only one of two clocks has counted."""
    return time.clock_gettime_ns(_BOOTTIME) - time.monotonic_ns() if _BOOTTIME is not None else 0


class Clocks(NamedTuple):
    """The clocks that the meter reads, in nanoseconds: real ones, or a test's. slept: time spent suspended so far."""

    now: Callable[[], int] = time.monotonic_ns
    thread: Callable[[], int] = time.thread_time_ns
    process: Callable[[], int] = time.process_time_ns
    other_thread: Callable[[int], int | None] = thread_cpu_ns
    slept: Callable[[], int] = slept_ns


class BusyClock(Protocol):
    """CPU time that all programs of the host together have used."""

    coarse: bool

    def read(self) -> int | None:
        """Nanoseconds of CPU time since some fixed moment; None is a gap."""


class CgroupBusy:
    """The root cgroup's CPU time: nanoseconds, all programs of the host."""

    coarse = False

    def __init__(self, path: Path) -> None:
        self._file = CounterFile(path)
        self._v2 = path.name == "cpu.stat"

    def read(self) -> int | None:
        """Nanoseconds of CPU time since boot."""
        text = self._file.read() or b""
        try:
            if not self._v2:
                return int(text)
            return int(text.split(b"usage_usec ", 1)[1].split(b"\n", 1)[0]) * 1000
        except (ValueError, IndexError):
            return None


class ProcStatBusy:
    """/proc/stat: steps of a clock tick (usually 10 ms), so good only over 200 ms and more."""

    coarse = True

    def __init__(self, path: Path = _PROC_STAT) -> None:
        self._file = CounterFile(path)
        self._tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

    def read(self) -> int | None:
        """Nanoseconds of CPU time since boot."""
        try:
            fields = (self._file.read() or b"").split(b"\n", 1)[0].split()
            user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[1:8])
        except ValueError:
            return None
        return (user + nice + system + irq + softirq) * self._tick_ns


class NoBusyClock:
    """No host-wide CPU clock: only measured work is known."""

    coarse = False

    def read(self) -> int | None:
        """Always a gap."""
        return None


def host_busy_clock() -> BusyClock:
    """The finest host-wide CPU clock that can be trusted here.

    Inside a container the root of the cgroup tree is the container's own: it is used only where it agrees with
    /proc/stat over the time since boot.
    """
    try:
        reference = ProcStatBusy()
    except OSError:
        return NoBusyClock()
    since_boot = reference.read() or 0
    for path in (_CGROUP_V1, _CGROUP_V2):
        try:
            clock = CgroupBusy(path)
        except OSError:
            continue
        usage = clock.read()
        if usage is not None and since_boot and 0.8 <= usage / since_boot <= 1.5:
            return clock
    return reference
