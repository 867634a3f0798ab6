"""What the system says that a process has read and written: whatever its library, also what no span recorded.

Linux alone tells (`/proc/self/io`, see proc(5)). read and written are what read() and write() calls moved: from files,
from the page cache, through pipes; not through sockets nor memory maps. read_storage and written_storage are what
reached the storage device. The system adds the figures of an ended child process to its parent's.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, get_native_id
from time import monotonic_ns
from typing import NamedTuple

from e2s_tasks import keeping
from e2s_tasks.meters.counter_file import CounterFile
from e2s_tasks.meters.page import Measured

FRESH_NS = 1_000_000  # a reading of that age is not repeated: one takes some ten microseconds
SHARED_NS = 10_000_000  # the same while several spans share the figures, which nobody can split anyway
STUCK_NS = 1_000_000_000  # for so long nobody reads: a signal handler's exception has struck who was about to
NAMED = [b"rchar:", b"wchar:", b"syscr:", b"syscw:", b"read_bytes:", b"write_bytes:", b"cancelled_write_bytes:"]


class Moved(NamedTuple):
    """Bytes."""

    read: int = 0
    written: int = 0
    read_storage: int = 0
    written_storage: int = 0

    def plus(self, other: "Moved") -> "Moved":
        """The sum."""
        return Moved(self[0] + other[0], self[1] + other[1], self[2] + other[2], self[3] + other[3])

    def minus(self, other: "Moved") -> "Moved":
        """The difference; below 0 where the other is larger."""
        return Moved(self[0] - other[0], self[1] - other[1], self[2] - other[2], self[3] - other[3])

    def at_least(self, other: "Moved") -> "Moved":
        """The larger of both, each."""
        if self[0] >= other[0] and self[1] >= other[1] and self[2] >= other[2] and self[3] >= other[3]:
            return self
        return Moved(*map(max, self, other))


def moved(folder: str) -> Moved | None:
    """The counters of a process or thread, by its folder in /proc; None where the system does not tell."""
    return _moved(keeping.read(f"{folder}/io"))


def _moved(text: bytes) -> Moved | None:
    words = text.split()
    if words[: len(NAMED) * 2 : 2] != NAMED:
        return None
    try:
        read, written, read_storage, written_storage, cancelled = (
            int(words[1]), int(words[3]), int(words[9]), int(words[11]), int(words[13]),
        )  # fmt: skip
    except (ValueError, IndexError):
        return None
    return Moved(read, written, read_storage, max(0, written_storage - cancelled))


def _own_file() -> CounterFile | None:
    """The counters of this process, kept open: they are read in a third of the time."""
    try:
        return CounterFile(Path("/proc/self/io"))
    except OSError:
        return None


class ProcessIO:
    """Readings of this process's counters, without what measuring itself moves and what measured children answer for.

    measured: the processes of the host that have a meter of their own. journal: bytes appended to the journal.
    """

    def __init__(self, measured: Callable[[], Mapping[int, Measured]], journal: Callable[[], int]) -> None:
        self._measured, self._journal = measured, journal
        self._file = _own_file()
        self._own = self._gone = Moved()  # moved by measuring itself; by measured children that have ended
        self._children: dict[int, Moved] = {}
        self._seen: Mapping[int, Measured] | None = None  # the measured processes, when it was looked for children
        self._working: dict[int, Moved | None] = {}  # threads that do own work, with what they had moved before
        self._last: Moved | None = None
        self._taken_ns = 0
        self._lock = Lock()

    def now(self, fresh_ns: int = FRESH_NS) -> Moved | None:
        """What the process has moved since some moment of its life; None where the system does not tell.

        It may be a reading of that age. Another thread that just looks is not waited for: then it is the one of before.
        """
        if monotonic_ns() - self._taken_ns >= fresh_ns:
            lock = self._lock
            if lock.acquire(blocking=False):
                try:
                    self._read()
                finally:
                    lock.release()
            elif monotonic_ns() - self._taken_ns >= STUCK_NS:
                self._lock = Lock()
        return self._last

    def _read(self) -> None:
        text = (self._file.read() if self._file is not None else None) or b""
        found = _moved(text)
        if found is None:
            return
        self._follow_children()
        appended = self._journal()
        own = self._own
        for thread in self._working:
            own = own.plus(self._worked(thread))
        gone, last = self._gone, self._last
        net = Moved(  # spelled out, as each difference of two takes a microsecond
            found[0] - own[0] - gone[0] - keeping.counted.read,
            found[1] - own[1] - gone[1] - appended,
            found[2] - own[2] - gone[2],
            found[3] - own[3] - gone[3] - appended,
        )
        self._last = net if last is None else net.at_least(last)
        keeping.counted.read += len(text)  # the system counts it at the next reading
        self._taken_ns = monotonic_ns()

    def _follow_children(self) -> None:
        """Remember what measured children have moved: once they have ended, it is a part of this process's figures."""
        every = self._measured()
        if every is self._seen and not self._children:
            return
        pid, self._seen = os.getpid(), every
        below = {child for child, one in every.items() if pid in one.parents}
        for child in below | set(self._children):
            nearest = (
                next((parent for parent in every[child].parents if parent in every), pid) if child in every else pid
            )
            now = moved(f"/proc/{child}") if nearest == pid else None
            if now is not None:
                self._children[child] = now
            elif child in self._children and not keeping.read(f"/proc/{child}/stat"):
                self._gone = self._gone.plus(self._children.pop(child))

    @contextmanager
    def own_work(self) -> Iterator[None]:
        """A block that is measuring's own work, such as writing to the ledger; it may go on while others look."""
        thread = get_native_id()
        began = self._moved_by(thread)
        with self._reading():
            self._working[thread] = began
        try:
            yield
        finally:
            with self._reading():
                self._own = self._own.plus(self._worked(thread))
                del self._working[thread]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """A block in which no other thread reads; one that a signal handler's exception struck is not waited for."""
        if not self._lock.acquire(timeout=STUCK_NS * 1e-9):
            self._lock = Lock()
            self._lock.acquire()
        lock = self._lock
        try:
            yield
        finally:
            lock.release()

    def _worked(self, thread: int) -> Moved:
        """What a thread has moved since its own work began."""
        began, now = self._working[thread], self._moved_by(thread)
        return now.minus(began).at_least(Moved()) if began is not None and now is not None else Moved()

    def _moved_by(self, thread: int) -> Moved | None:
        """What a thread has moved, without what is taken off anyway."""
        found = moved(f"/proc/self/task/{thread}")
        return found and found.minus(Moved(keeping.counted.read))
