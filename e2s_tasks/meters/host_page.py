"""Idle power shared over all measured processes of a host: one small memory-mapped file, no daemon.

The page holds two integrals of dt / holders: over the outermost attempts open on the host, and, while there are none,
over its flow runs. A holder answers for the change of its integral between its start and its end, in seconds. Each
process has a slot with its own counts, so that those of a process that died can be taken back, and with the CPU time
that its spans have claimed, so that its parents count the rest and nothing twice.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from e2s_tasks.host import boot_id, pid_namespace, start_ticks
from e2s_tasks.keeping import keeping_flock
from e2s_tasks.meters.process_tree import ancestors, own_ended_ns, process_cpu_ns

MAGIC = b"E2SPAGE5"
# magic, version (odd while it is written), last advance (monotonic ns), integral over outermost work and over flow runs
# (s), open work, open flow runs, how often what `processes` tells has changed, number of slots that may be in use
HEADER = struct.Struct("<8sqqddiiqq")
PARENTS = 17
# pid, open work, open flow runs, the pids above it (the nearest first), whether a measured process was ever below it;
# CPU times (ns): that it and its ended children had used when it took the slot, and the latter alone (UNTOLD if
# measured ones were among them); own, all and until of its Claims (until inverted while no span is open); what it told
# at its end (UNTOLD before); start ticks (of a dead process: minus the time it was found dead)
SLOT = struct.Struct(f"<iii{PARENTS}iixxxxqqqqqqq")
UNTOLD = -1
NUMBER = struct.Struct("<q")
VERSION, CHANGES, USED = len(MAGIC), HEADER.size - 16, HEADER.size - 8  # of the header: where these numbers are
CLAIMS, TOLD, TICKS = SLOT.size - 40, SLOT.size - 16, SLOT.size - 8  # the same of a slot
COUNTS = struct.Struct("<ii")  # of a slot, from 4: open work, open flow runs
ABOVE = struct.Struct("<i")  # of a slot, from OTHERS: whether a measured process was below it
OTHERS = 4 * (3 + PARENTS)
STATE = struct.Struct("<qqddii")  # of the header, from the version to the open flow runs
SLOTS = 1024
TRIES = 20
PAUSE_S = 10e-6
PATIENCE, PATIENCE_S = 250, 0.25
REMEMBER_NS = 60_000_000_000
LOCK, UNLOCK = fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN
NOBODY = 0, 0
SIZE = HEADER.size + SLOTS * SLOT.size


class Claims(NamedTuple):
    """The CPU time (ns) that a measured process has booked on its spans; the rest is that of who started it.

    own_ns: of its own clock. until_ns: how far that is accounted for. open: a span is, so that what comes after that is
    claimed too. all_ns: of its own and its children's; None where a measured process was below it, whose part nobody
    knows.
    """

    own_ns: int
    until_ns: int
    open: bool
    all_ns: int | None


class Measured(NamedTuple):
    """A process with a meter of its own.

    parents: the pids above it, the nearest first. begun_ns: CPU time that it and its ended children had used before it
    had its meter; ended_ns: what of that the children had, None where measured ones were among them. used_ns: all of
    theirs that it answers for; None while it measures, and for good if it was killed. claims: what its spans have
    claimed by now.
    """

    parents: tuple[int, ...]
    begun_ns: int
    ended_ns: int | None
    used_ns: int | None
    claims: Callable[[], Claims]

    def unclaimed_ns(self, clock_ns: int | None) -> int:
        """What of its CPU time no span of its own has claimed; clock_ns: all of it, None if it has ended."""
        claims = self.claims()
        return (claims.until_ns if claims.open or clock_ns is None else clock_ns) - claims.own_ns


class Page(Protocol):
    """Where the holders of idle power are counted."""

    def integrals(self, now: int) -> tuple[float, float]:
        """The two integrals (seconds) at `now` (monotonic ns)."""

    def advance(self, now: int, work: int, flows: int) -> tuple[float, float]:
        """The same, after which the counts change by `work` and `flows`."""

    def sweep(self, now: int) -> None:
        """Take back the counts of processes that died."""

    def release(self, now: int, used_ns: Callable[[], int] | None = None) -> None:
        """The process measures no more; used_ns tells what it answers for, unless that may still change."""

    def claim(self, own_ns: int, below_ns: int, until_ns: int, *, open_: bool) -> None:
        """The process's spans have used that much more, of its own clock and of its children's; see Claims."""

    def processes(self) -> dict[int, Measured]:
        """All measured processes by their pids, and those that ended lately."""


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

    def release(self, now: int, used_ns: Callable[[], int] | None = None) -> None:
        """Nothing: there are no others."""

    def claim(self, own_ns: int, below_ns: int, until_ns: int, *, open_: bool) -> None:
        """Nothing: there are no others."""

    def processes(self) -> dict[int, Measured]:
        """The calling process alone."""
        return {os.getpid(): Measured((os.getppid(),), 0, 0, None, lambda: Claims(0, 0, open=True, all_ns=None))}


def _lock(fd: int) -> None:
    """Take the lock; OSError where it cannot be had for a quarter of a second: its holder may be stopped."""
    for _ in range(PATIENCE):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(PATIENCE_S / PATIENCE)
    return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


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
        try:
            _lock(self._fd)
            # A store into a page of a sparse file needs a block then; on a full disk it kills the process (SIGBUS).
            getattr(os, "posix_fallocate", _set_size)(self._fd, 0, SIZE)
            self._map = mmap.mmap(self._fd, SIZE)
            if self._map[: len(MAGIC)] != MAGIC:
                self._map[:] = bytes(SIZE)
                HEADER.pack_into(self._map, 0, MAGIC, 0, 0, 0.0, 0.0, 0, 0, 0, 0)
            self._sweep(time.monotonic_ns())
            self._cells = memoryview(self._map).cast("q")  # each is written at once: no reader sees half of one
            self._slot = self._take_slot()
        except BaseException:
            os.close(self._fd)  # which gives the lock up too
            raise
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._told = False
        self._listed = -1, dict[int, Measured]()
        self._counts = NOBODY
        self._owed = NOBODY
        self._of_page = self._mine = STATE.unpack_from(self._map, VERSION)[2:4]
        self._flock = keeping_flock()

    def integrals(self, now: int) -> tuple[float, float]:
        """See Page. Takes no lock."""
        if self._owed != NOBODY:
            return self.advance(now, 0, 0)
        return self._follow(self._look(now))

    def advance(self, now: int, work: int, flows: int) -> tuple[float, float]:
        """See Page."""
        if self._flock(self._fd, LOCK) and not self._locked():
            mine = self._follow(self._look(now))
            self._owed = self._owed[0] + work, self._owed[1] + flows
            return mine
        try:
            if self._owed != NOBODY:
                work, flows = work + self._owed[0], flows + self._owed[1]
            mine = self._follow(self._advance(now, work, flows))
            if self._told and (work > 0 or flows > 0):  # it measures again
                self._told = False
                self._tell(self._slot, UNTOLD)
            self._counts = self._counts[0] + work, self._counts[1] + flows
            COUNTS.pack_into(self._map, self._slot + 4, *self._counts)
            self._owed = NOBODY
        finally:
            self._flock(self._fd, UNLOCK)
        return mine

    def _look(self, now: int) -> tuple[float, float]:
        """The page's integrals, without the lock: what is read while somebody writes is read again."""
        for _ in range(TRIES):
            version, last, *holding = STATE.unpack_from(self._map, VERSION)
            if not version & 1 and self._number(VERSION) == version:
                return integrals_at(now - last, *holding)
        return self._of_page

    def _follow(self, of_page: tuple[float, float]) -> tuple[float, float]:
        """The process's integrals, now that the page's are these.

        While it holds another number than the page counts for it, its holders share what is due to the number counted.
        """
        of_work, of_flows = of_page[0] - self._of_page[0], of_page[1] - self._of_page[1]
        if self._owed != NOBODY:
            of_work, of_flows = (
                moved * counted / (counted + owed) if counted + owed > 0 else 0.0
                for moved, counted, owed in zip((of_work, of_flows), self._counts, self._owed, strict=True)
            )
        self._of_page = of_page
        self._mine = self._mine[0] + of_work, self._mine[1] + of_flows
        return self._mine

    def sweep(self, now: int) -> None:
        """See Page."""
        if self._locked():
            try:
                self._advance(now, 0, 0)
                self._sweep(now)
            finally:
                self._flock(self._fd, UNLOCK)

    def release(self, now: int, used_ns: Callable[[], int] | None = None) -> None:
        """See Page. The slot stays for a while after the process's end: its parents have to know that it had a meter.

        With measured processes below it nobody can say what will be in the sum of its ended children: it tells nothing.
        """
        self.advance(now, -self._counts[0] - self._owed[0], -self._counts[1] - self._owed[1])
        if used_ns is not None and self._locked():
            try:
                if not any(os.getpid() in one.parents and process_cpu_ns(pid) for pid, one in self.processes().items()):
                    self._tell(self._slot, used_ns())
                    self._told = True
            finally:
                self._flock(self._fd, UNLOCK)

    def claim(self, own_ns: int, below_ns: int, until_ns: int, *, open_: bool) -> None:
        """See Page. `until` last: who reads meanwhile takes too much for claimed, and never too little."""
        cells, at = self._cells, self._claims
        cells[at] += own_ns
        cells[at + 1] += own_ns + below_ns
        cells[at + 2] = until_ns if open_ else ~until_ns

    def _claims_at(self, offset: int) -> Claims:
        """The claims in a slot, whose process may be writing them."""
        cells, at = self._cells, (offset + CLAIMS) // NUMBER.size
        while True:
            until, own, all_ = cells[at + 2], cells[at], cells[at + 1]
            if until == cells[at + 2]:
                break
        others = ABOVE.unpack_from(self._map, offset + OTHERS)[0]
        return Claims(own, max(until, ~until), until >= 0, None if others else all_)

    def processes(self) -> dict[int, Measured]:
        """See Page."""
        changes = self._number(CHANGES)
        if self._listed[0] != changes:
            self._listed = changes, self._list()
        return self._listed[1]

    def _list(self) -> dict[int, Measured]:
        end = HEADER.size + min(SLOTS, self._number(USED)) * SLOT.size
        found: dict[int, Measured] = {}
        for offset, slot in zip(self._offsets(), SLOT.iter_unpack(self._map[HEADER.size : end]), strict=False):
            pid, _, _, *parents, _, begun_ns, ended_ns, _, _, _, told, _ = slot
            if pid:
                ended, used = (None if figure == UNTOLD else figure for figure in (ended_ns, told))
                one = Measured(tuple(parents), begun_ns, ended, used, partial(self._claims_at, offset))
                found[pid] = _together(found[pid], one) if pid in found else one
        return found

    def _offsets(self) -> range:
        """Where the slots are that may be in use."""
        return range(HEADER.size, HEADER.size + min(SLOTS, self._number(USED)) * SLOT.size, SLOT.size)

    def _number(self, offset: int) -> int:
        number: int = NUMBER.unpack_from(self._map, offset)[0]
        return number

    def _changed(self) -> None:
        """What `processes` tells is another from now on; after the change, so that nobody keeps half of it."""
        NUMBER.pack_into(self._map, CHANGES, self._number(CHANGES) + 1)

    def _tell(self, offset: int, used_ns: int) -> None:
        NUMBER.pack_into(self._map, offset + TOLD, used_ns)
        self._changed()

    def _locked(self) -> bool:
        """Take the lock, which others hold for microseconds; a tenth of a millisecond at most is spent on it."""
        for attempt in range(TRIES):
            if self._flock(self._fd, LOCK) == 0:
                return True
            if attempt >= TRIES // 2:  # its holder may wait for this CPU
                time.sleep(PAUSE_S)
        return False

    def _advance(self, now: int, work: int, flows: int) -> tuple[float, float]:
        version, last, of_work, of_flows, working, flowing = STATE.unpack_from(self._map, VERSION)
        of_work, of_flows = integrals_at(now - last, of_work, of_flows, working, flowing)
        working, flowing = working + work, flowing + flows
        if working < 0 or flowing < 0:
            working, flowing = max(0, working), max(0, flowing)
        self._write(version, max(now, last), of_work, of_flows, working, flowing)
        return of_work, of_flows

    def _write(self, version: int, *state: float) -> None:
        """Write the state, under an odd version until it is complete; what a killed process left odd is mended."""
        writing = version | 1
        STATE.pack_into(self._map, VERSION, writing, *state)
        NUMBER.pack_into(self._map, VERSION, writing + 1)

    def _sweep(self, now: int) -> None:
        """Count anew what the live processes hold, and how far the slots in use reach.

        The slots of dead ones stay for a while: a parent has to know who had a meter.
        """
        work = flows = slots = 0
        for index in range(SLOTS):
            offset = HEADER.size + index * SLOT.size
            pid, held_work, held_flows, *_, ticks = SLOT.unpack_from(self._map, offset)
            if not pid:
                continue
            if ticks < 0 and now + ticks > REMEMBER_NS:
                self._map[offset : offset + SLOT.size] = bytes(SLOT.size)
                self._changed()
                continue
            slots = index + 1
            if ticks >= 0 and start_ticks(pid) != ticks:
                COUNTS.pack_into(self._map, offset + 4, 0, 0)
                NUMBER.pack_into(self._map, offset + TICKS, -max(now, 1))
            elif ticks >= 0:
                work, flows = work + held_work, flows + held_flows
        version, last, of_work, of_flows, _, _ = STATE.unpack_from(self._map, VERSION)
        self._write(version, last, of_work, of_flows, work, flows)
        NUMBER.pack_into(self._map, USED, slots)

    def _take_slot(self) -> int:
        """A free slot, or else that of the process that has been dead for the longest time.

        What a process above has told does not hold any longer: this one may end in its sum.
        """
        pid, ticks, parents = os.getpid(), start_ticks(os.getpid()), ancestors(PARENTS)
        used = self._number(USED)
        now_ns, ended_ns = time.process_time_ns(), own_ended_ns()
        others = own_ns = all_ns = 0
        free: list[tuple[int, int]] = []  # since when, where
        if used < SLOTS:
            free.append((1, HEADER.size + used * SLOT.size))
        for offset in self._offsets():
            holder, _, _, *above, before, _, _, its_own, its_all, _, _, its_ticks = SLOT.unpack_from(self._map, offset)
            others |= pid in above
            if holder == 0 or (holder == pid and its_ticks != ticks):  # of an earlier process with this pid
                self._map[offset : offset + SLOT.size] = bytes(SLOT.size)
                free.append((0, offset))
            elif holder == pid:  # it measures anew, maybe as another program: what it claimed it has claimed
                others, own_ns, all_ns = others | before, its_own, its_all
            elif its_ticks < 0:
                free.append((-its_ticks, offset))
            elif holder in parents:
                ABOVE.pack_into(self._map, offset + OTHERS, 1)
                self._tell(offset, UNTOLD)
        if not free:
            raise OSError(f"all {SLOTS} slots of the page are taken")
        offset = min(free)[1]
        parents += [0] * (PARENTS - len(parents))
        begun, claims = (now_ns + ended_ns, UNTOLD if others else ended_ns), (own_ns, all_ns, ~now_ns)
        SLOT.pack_into(self._map, offset, pid, 0, 0, *parents, others, *begun, *claims, UNTOLD, ticks)
        self._claims = (offset + CLAIMS) // NUMBER.size
        slots = (offset - HEADER.size) // SLOT.size + 1
        NUMBER.pack_into(self._map, USED, max(used, slots))
        self._changed()
        return offset


def _together(one: Measured, other: Measured) -> Measured:
    """Two slots of one process, which has become another program and measures again: the later one holds."""
    earlier, later = sorted((one, other), key=lambda slot: slot.begun_ns)
    return later._replace(begun_ns=earlier.begun_ns, ended_ns=earlier.ended_ns)


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
