"""Idle power shared over all measured processes of a host: one small memory-mapped file, no daemon.

The page holds two integrals of dt / holders: over the outermost attempts open on the host, and, while there are none,
over its flow runs. A holder answers for the change of its integral between its start and its end, in seconds. Each
process has a slot with its own counts, so that those of a process that died can be taken back.
"""

import fcntl
import mmap
import os
import struct
import time
from pathlib import Path
from typing import Protocol

from e2s_tasks.host import boot_id, pid_namespace, start_ticks
from e2s_tasks.keeping import keeping_flock

MAGIC = b"E2SPAGE3"
# magic, version (odd while it is written), last advance (monotonic ns), integral over outermost work and over flow runs
# (s), open work, open flow runs, number of slots that may be in use
HEADER = struct.Struct("<8sqqddiiq")
# pid, open work, open flow runs, parent's pid, start ticks (of a dead process: minus the time it was found dead)
SLOT = struct.Struct("<iiiiq")
VERSION = struct.Struct("<q")
USED = struct.Struct("<q")
COUNTS = struct.Struct("<ii")  # of a slot: open work, open flow runs
STATE = struct.Struct("<qqddii")  # of the header, from the version to the open flow runs
SLOTS = 1024
TRIES = 20
PAUSE_S = 10e-6
REMEMBER_NS = 10_000_000_000
SIZE = HEADER.size + SLOTS * SLOT.size


class Page(Protocol):
    """Where the holders of idle power are counted."""

    def integrals(self, now: int) -> tuple[float, float]:
        """The two integrals (seconds) at `now` (monotonic ns)."""

    def advance(self, now: int, work: int, flows: int) -> tuple[float, float]:
        """The same, after which the counts change by `work` and `flows`."""

    def sweep(self, now: int) -> None:
        """Take back the counts of processes that died."""

    def release(self, now: int) -> None:
        """The process measures no more."""

    def processes(self) -> dict[int, int]:
        """The pids of all measured processes, and of those that ended lately; each with its parent's."""


def integrals_at(later_ns: int, of_work: float, of_flows: float, work: int, flows: int) -> tuple[float, float]:
    """The two integrals (seconds) after so many nanoseconds more."""
    if later_ns > 0:
        if work:
            of_work += later_ns * 1e-9 / work
        elif flows:
            of_flows += later_ns * 1e-9 / flows
    return of_work, of_flows


class LocalPage:
    """The same for one process alone, where no page can be shared."""

    def __init__(self) -> None:
        self._last = 0
        self._integrals = (0.0, 0.0)
        self._work = self._flows = 0

    def integrals(self, now: int) -> tuple[float, float]:
        """See Page."""
        return self.advance(now, 0, 0)

    def advance(self, now: int, work: int, flows: int) -> tuple[float, float]:
        """See Page."""
        self._integrals = integrals_at(now - self._last, *self._integrals, self._work, self._flows)
        self._last = max(now, self._last)
        self._work, self._flows = self._work + work, self._flows + flows
        return self._integrals

    def sweep(self, now: int) -> None:
        """Nothing: there are no others."""

    def release(self, now: int) -> None:
        """Nothing: there are no others."""

    def processes(self) -> dict[int, int]:
        """The calling process alone."""
        return {os.getpid(): os.getppid()}


def _set_size(fd: int, _offset: int, size: int) -> None:
    """In place of posix_fallocate, which macOS lacks."""
    if os.fstat(fd).st_size < size:
        os.ftruncate(fd, size)


class HostPage:
    """The page of a host, in a file. A lock that stays taken is not waited for: the change is made at the next call.

    Raises:
        OSError: the file cannot be made, allocated or mapped, or all its slots are taken.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            # A store into a page of a sparse file needs a block then; on a full disk it kills the process (SIGBUS).
            getattr(os, "posix_fallocate", _set_size)(self._fd, 0, SIZE)
            self._map = mmap.mmap(self._fd, SIZE)
            if self._map[: len(MAGIC)] != MAGIC:
                self._map[:] = bytes(SIZE)
                HEADER.pack_into(self._map, 0, MAGIC, 0, 0, 0.0, 0.0, 0, 0, 0)
            self._sweep(time.monotonic_ns())
            self._slot = self._take_slot()
        except BaseException:
            os.close(self._fd)  # which gives the lock up too
            raise
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._counts = [0, 0]
        self._owed = [0, 0]
        self._seen = (0.0, 0.0)
        self._flock = keeping_flock()

    def integrals(self, now: int) -> tuple[float, float]:
        """See Page. Takes no lock: what is read while somebody writes is read again."""
        if not any(self._owed):
            for _ in range(TRIES):
                version, last, *holding = STATE.unpack_from(self._map, len(MAGIC))
                if not version & 1 and VERSION.unpack_from(self._map, len(MAGIC))[0] == version:
                    self._seen = integrals_at(now - last, *holding)
                    return self._seen
        return self.advance(now, 0, 0)

    def advance(self, now: int, work: int, flows: int) -> tuple[float, float]:
        """See Page."""
        work += self._owed[0]
        flows += self._owed[1]
        if not self._locked():
            self._owed = [work, flows]
            return self._seen
        try:
            self._counts = [self._counts[0] + work, self._counts[1] + flows]
            COUNTS.pack_into(self._map, self._slot + 4, *self._counts)
            self._seen = self._advance(now, work, flows)
            self._owed = [0, 0]
        finally:
            self._flock(self._fd, fcntl.LOCK_UN)
        return self._seen

    def sweep(self, now: int) -> None:
        """See Page."""
        if self._locked():
            try:
                self._advance(now, 0, 0)
                self._sweep(now)
            finally:
                self._flock(self._fd, fcntl.LOCK_UN)

    def release(self, now: int) -> None:
        """See Page. The slot stays until a sweep finds the process gone: its parent has to know that it had a meter."""
        self.advance(now, -self._counts[0] - self._owed[0], -self._counts[1] - self._owed[1])

    def processes(self) -> dict[int, int]:
        """See Page."""
        end = HEADER.size + min(SLOTS, USED.unpack_from(self._map, HEADER.size - USED.size)[0]) * SLOT.size
        slots = SLOT.iter_unpack(self._map[HEADER.size : end])
        return {pid: parent for pid, _, _, parent, _ in slots if pid}

    def _locked(self) -> bool:
        """Take the lock, which others hold for microseconds; a tenth of a millisecond at most is spent on it."""
        for attempt in range(TRIES):
            if self._flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB) == 0:
                return True
            if attempt >= TRIES // 2:  # its holder may wait for this CPU
                time.sleep(PAUSE_S)
        return False

    def _advance(self, now: int, work: int, flows: int) -> tuple[float, float]:
        _, last, of_work, of_flows, working, flowing = STATE.unpack_from(self._map, len(MAGIC))
        of_work, of_flows = integrals_at(now - last, of_work, of_flows, working, flowing)
        self._write(max(now, last), of_work, of_flows, max(0, working + work), max(0, flowing + flows))
        return of_work, of_flows

    def _write(self, *state: float) -> None:
        """Write the state, under an odd version until it is complete; what a killed process left odd is mended."""
        writing = VERSION.unpack_from(self._map, len(MAGIC))[0] | 1
        STATE.pack_into(self._map, len(MAGIC), writing, *state)
        VERSION.pack_into(self._map, len(MAGIC), writing + 1)

    def _sweep(self, now: int) -> None:
        """Count anew what the live processes hold, and how far the slots in use reach.

        The pids of dead ones stay for a while: a parent has to know who had a meter.
        """
        work = flows = slots = 0
        for index in range(SLOTS):
            offset = HEADER.size + index * SLOT.size
            pid, held_work, held_flows, parent, ticks = SLOT.unpack_from(self._map, offset)
            if not pid:
                continue
            if ticks < 0 and now + ticks > REMEMBER_NS:
                SLOT.pack_into(self._map, offset, 0, 0, 0, 0, 0)
                continue
            slots = index + 1
            if ticks >= 0 and start_ticks(pid) != ticks:
                SLOT.pack_into(self._map, offset, pid, 0, 0, parent, -max(now, 1))
            elif ticks >= 0:
                work, flows = work + held_work, flows + held_flows
        _, last, of_work, of_flows, _, _ = STATE.unpack_from(self._map, len(MAGIC))
        self._write(last, of_work, of_flows, work, flows)
        USED.pack_into(self._map, HEADER.size - USED.size, slots)

    def _take_slot(self) -> int:
        pid = os.getpid()
        for index in range(SLOTS):
            offset = HEADER.size + index * SLOT.size
            if SLOT.unpack_from(self._map, offset)[0] == 0:
                SLOT.pack_into(self._map, offset, pid, 0, 0, os.getppid(), start_ticks(pid))
                used = USED.unpack_from(self._map, HEADER.size - USED.size)[0]
                USED.pack_into(self._map, HEADER.size - USED.size, max(used, index + 1))
                return offset
        raise OSError(f"all {SLOTS} slots of the page are taken")


def host_page(folder: Path) -> Page:
    """The page of this host (of this boot and pid namespace) in the folder; where it cannot be shared, a local one."""
    path = folder / f"idle-{boot_id()}-{pid_namespace()}.page"
    try:
        page = HostPage(path)
        for older in folder.glob("idle-*.page"):
            if not older.name.startswith(f"idle-{boot_id()}"):
                older.unlink(missing_ok=True)
    except OSError:
        return LocalPage()
    return page
