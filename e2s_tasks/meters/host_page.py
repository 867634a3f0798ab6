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
from functools import partial
from pathlib import Path

from e2s_tasks.host import boot_id, pid_namespace, start_ticks
from e2s_tasks.keeping import keeping_flock
from e2s_tasks.meters.page import Claims, LocalPage, Measured, Page, integrals_at
from e2s_tasks.meters.process_tree import ancestors, own_ended_ns

MAGIC = b"E2SPAGE6"
# magic, version (odd while it is written), last advance (monotonic ns), integral over outermost work and over flow runs
# (s), open work, open flow runs, how often what `processes` tells has changed, number of slots that may be in use
HEADER = struct.Struct("<8sqqddiiqq")
PARENTS = 61
# pid, open work, open flow runs, the pids above it (the nearest first); CPU times (ns): that it and its ended children
# had used when it took the slot, and the latter alone (UNKNOWN if measured ones were among them); own, all and until of
# its Claims (until inverted while no span is open); what forgotten processes below it claimed; what it and its ended
# children had used when it stopped measuring (UNKNOWN before); start ticks (of a dead process: minus the time it was
# found dead)
SLOT = struct.Struct(f"<iii{PARENTS}iqqqqqqqq")
UNKNOWN = -1
NUMBER = struct.Struct("<q")
VERSION, CHANGES, USED = len(MAGIC), HEADER.size - 16, HEADER.size - 8  # of the header: where these numbers are
VERSION_CELL = VERSION // NUMBER.size
CLAIMS, FORGOTTEN, STOPPED, TICKS = (SLOT.size - 8 * back for back in (6, 3, 2, 1))  # the same of a slot
COUNTS = struct.Struct("<ii")  # of a slot, from 4: open work, open flow runs
STATE = struct.Struct("<qqddii")  # of the header, from the version to the open flow runs
SLOTS = 1024
TRIES = 20
PAUSE_S = 10e-6
PATIENCE, PATIENCE_S = 250, 0.25
REMEMBER_NS = 60_000_000_000
UNUSED_S = 86_400.0
LOCK, UNLOCK = fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN
NOBODY = 0, 0
SIZE = HEADER.size + SLOTS * SLOT.size


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
            self._cells = memoryview(self._map).cast("q")  # each is written at once: no reader sees half of one
            if self._map[: len(MAGIC)] != MAGIC:
                self._map[:] = bytes(SIZE)
                HEADER.pack_into(self._map, 0, MAGIC, 0, 0, 0.0, 0.0, 0, 0, 0, 0)
            self._sweep(time.monotonic_ns())
            self._slot = self._take_slot()
        except BaseException:
            os.close(self._fd)  # which gives the lock up too
            raise
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._stopped = False
        self._listed = -1, dict[int, Measured]()
        self._counts = NOBODY
        self._owed = NOBODY
        self._seen = STATE.unpack_from(self._map, VERSION)  # the state as it was when it was last looked at
        self._of_page = self._mine = self._seen[2:4]
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
            if self._stopped and (work > 0 or flows > 0):  # it measures again
                self._stop(UNKNOWN)
            self._counts = self._counts[0] + work, self._counts[1] + flows
            COUNTS.pack_into(self._map, self._slot + 4, *self._counts)
            self._owed = NOBODY
        finally:
            self._flock(self._fd, UNLOCK)
        return mine

    def _look(self, now: int) -> tuple[float, float]:
        """The page's integrals, without the lock: what is read while somebody writes is read again."""
        for _ in range(TRIES):
            if self._cells[VERSION_CELL] != self._seen[0]:
                seen = STATE.unpack_from(self._map, VERSION)
                if seen[0] & 1 or self._cells[VERSION_CELL] != seen[0]:
                    continue
                self._seen = seen
            _, last, of_work, of_flows, working, flowing = self._seen
            return integrals_at(now - last, of_work, of_flows, working, flowing)
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
        """See Page. The file shows that it is in use: writing to a map does not everywhere."""
        with contextlib.suppress(OSError):
            os.utime(self._fd)
        if self._locked():
            try:
                self._advance(now, 0, 0)
                self._sweep(now)
            finally:
                self._flock(self._fd, UNLOCK)

    def release(self, now: int, *, at_rest: bool) -> None:
        """See Page. The slot stays for a while after the process's end: its parents have to know what it claimed."""
        self.advance(now, -self._counts[0] - self._owed[0], -self._counts[1] - self._owed[1])
        if at_rest:
            self._stop(time.process_time_ns() + own_ended_ns())

    def _stop(self, used_ns: int) -> None:
        """Tell what the process had used when it stopped measuring; UNKNOWN: it measures."""
        self._stopped = used_ns != UNKNOWN
        self._cells[(self._slot + STOPPED) // NUMBER.size] = used_ns
        self._changed()

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
        return Claims(own, max(until, ~until), until >= 0, all_ + self._number(offset + FORGOTTEN))

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
            pid, _, _, *parents, begun_ns, ended_ns, _, _, _, _, used_ns, ticks = slot
            if pid:
                ended, used = (None if figure == UNKNOWN else figure for figure in (ended_ns, used_ns))
                above = tuple(filter(None, parents))
                one = Measured(above, ticks, begun_ns, ended, used, partial(self._claims_at, offset))
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

    def _forget(self, offset: int) -> None:
        """Empty a slot; what its process claimed is kept in that of the nearest measured one above it that lives."""
        parents = SLOT.unpack_from(self._map, offset)[3 : 3 + PARENTS]
        living = {pid: at for at in self._offsets() if (pid := self._living(at))}
        above = next((living[pid] for pid in parents if pid in living), None)
        if above is not None:
            kept = self._number(above + FORGOTTEN) + self._claims_at(offset).all_ns
            NUMBER.pack_into(self._map, above + FORGOTTEN, kept)
        self._map[offset : offset + SLOT.size] = bytes(SLOT.size)
        self._changed()

    def _living(self, offset: int) -> int:
        """The pid in a slot; 0 where it is empty or the process has been found dead."""
        pid, *_, ticks = SLOT.unpack_from(self._map, offset)
        return pid if ticks >= 0 else 0

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
        self._cells[VERSION_CELL] = writing + 1

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
                self._forget(offset)
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
        """A free slot, or else that of the process that has been dead for the longest time."""
        pid, ticks, parents = os.getpid(), start_ticks(os.getpid()), ancestors(PARENTS)
        used = self._number(USED)
        now_ns, ended_ns = time.process_time_ns(), own_ended_ns()
        claims = 0, 0
        free: list[tuple[int, int]] = []  # since when, where
        if used < SLOTS:
            free.append((1, HEADER.size + used * SLOT.size))
        for offset in self._offsets():
            holder, _, _, *above, _, _, own_ns, all_ns, _, _, _, its_ticks = SLOT.unpack_from(self._map, offset)
            if pid in above:
                ended_ns = UNKNOWN
            if holder == 0 or (holder == pid and its_ticks != ticks):  # of an earlier process with this pid
                self._forget(offset)
                free.append((0, offset))
            elif holder == pid:  # it measures anew, maybe as another program: what it claimed it has claimed
                claims = own_ns, all_ns
            elif its_ticks < 0:
                free.append((-its_ticks, offset))
        if not free:
            raise OSError(f"all {SLOTS} slots of the page are taken")
        offset = min(free)[1]
        self._forget(offset)
        parents += [0] * (PARENTS - len(parents))
        begun = now_ns + max(0, ended_ns), ended_ns
        SLOT.pack_into(self._map, offset, pid, 0, 0, *parents, *begun, *claims, ~now_ns, 0, UNKNOWN, ticks)
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
    """The page of this host's processes in the folder; where it cannot be shared, a local one.

    A folder may be many hosts', and a container's: pages that nobody has used for a day are removed.
    """
    path = folder / page_name()
    try:
        page = HostPage(path)
        os.utime(path)
    except OSError:
        return LocalPage()
    for other in {*folder.glob(".idle-*.page")} - {path}:
        with contextlib.suppress(OSError):  # another process removes it, too
            if other.stat().st_mtime < time.time() - UNUSED_S:
                other.unlink()
    return page


def page_name() -> str:
    """The page's file: of this boot, pid namespace, and its first process, as a number of a namespace comes again.

    Hidden: a backup's files that are copied back over it while it is mapped would kill who works with it.
    """
    return f".idle-{boot_id()}-{pid_namespace()}-{start_ticks(1)}.page"
