"""The descendants of this process that the system and the host's page tell of, and whose each of them is."""

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from e2s_tasks.host import process_stat
from e2s_tasks.meters.account import Account
from e2s_tasks.meters.page import Measured
from e2s_tasks.meters.process_tree import descendants, ended_ns, ending, parent_of, process_cpu_ns, thread_children
from e2s_tasks.meters.users import Users

Owner = Account | Users | None  # whose a process is: who started it, or who uses its pool; None: unknown


@dataclass(slots=True)
class Process:
    """The process itself or a known descendant. foreign: it does not count. handed: it counts, whatever is above it.

    serves: it starts processes for pools, whose they are, and not its own; what is left of them in its sum counts.
    last_ns: how much of its own time is counted; below_ns: how much of the sum of its ended children is accounted for.
    claimed: the measured ones (see `_buried`) whose claims are in below_ns.
    heirs: whose the children are whose rest waits in that sum. awaited: who reaps it is going to tell what it used.
    metered: it has a meter, whose claims say what of both is not to be counted. mixed: one has ended below it of which
    nobody knows how much is to be counted, so that nothing of the sum is. whole: it has ended, and what is known of it
    is all that its end adds to the sum. stale_ns: names what the page holds of an earlier process with its pid.
    """

    parent: int
    owner: Owner = None
    last_ns: int = 0
    below_ns: int = 0
    claimed: frozenset[tuple[int, int]] = frozenset()
    foreign: bool = False
    handed: bool = False
    serves: bool = False
    heirs: tuple[Owner, ...] = ()
    metered: bool = False
    mixed: bool = False
    whole: bool = False
    awaited: bool = False
    stale_ns: int | None = None


class Descendants:
    """Who is followed. measured: the processes that have or had a meter of their own."""

    def __init__(self, measured: Callable[[], dict[int, Measured]]) -> None:
        self._measured = measured
        self._pid = os.getpid()
        self._known: dict[int, Process] = {}  # parents before their children
        self._buried: set[tuple[int, int]] = set()  # measured processes whose end is accounted for: pid, beginning
        self._unread: set[int] = set()  # whose sum may tell something new
        self._stirred = False  # something has changed
        self._begun_ticks = 0  # when measured work began: what is older is nobody's
        self.owners: set[Owner] = set()  # whose the processes are that count
        self.handed: deque[tuple[Collection[int], Users, bool]] = deque()  # see `hand`; from any thread

    def started(self, pid: int, starter: Account | None) -> None:
        """Work of `starter` (None: unmeasured work) has just started a child."""
        process = self._known.get(pid)
        if process is None:
            process = self._known[pid] = Process(self._pid, starter, foreign=starter is None)
        elif process.owner is None:  # it was found before, and may have been counted
            process.owner = starter
        process.awaited = True
        self.owners.add(starter)
        self._stirred = True

    def take_over(self) -> None:
        """Follow what was handed to pools."""
        while self.handed:
            pids, users, born = self.handed.popleft()
            self.hand(pids, users, born=born)

    def hand(self, pids: Collection[int], users: Users, *, born: bool) -> None:
        """Processes are of a pool, with what runs below them. born: those not known are new, and count from the start.

        What has started one that is no child of this process is a forkserver.
        """
        measured, theirs = self._measured(), set(pids)
        self.owners.add(users)
        for pid in pids:
            process = self._known.get(pid)
            above = parent_of(pid) if process is None else process.parent
            if not above:  # it is gone
                continue
            if process is None:
                if above != self._pid:
                    self._meet_server(above, users)
                process = self._known[pid] = Process(above, foreign=not born)
            self._give(pid, process, users, measured)
        for pid, process in list(self._known.items()):  # parents before their children
            if process.parent in theirs and pid not in theirs and process.parent not in measured:
                theirs.add(pid)
                self._give(pid, process, users, measured)

    def _meet_server(self, pid: int, users: Users) -> None:
        """A forkserver is its starter's, for which the pool has been made; nobody's if it is older than all spans."""
        server = self._known.get(pid)
        if server is None:
            old = users.latest is None or process_stat(pid)[1] < self._begun_ticks
            server = self._known[pid] = Process(parent_of(pid) or self._pid, users.latest, foreign=old)
        if not server.serves:
            server.serves = True
            server.below_ns = (ended_ns(pid) if server.foreign else None) or server.below_ns

    def _give(self, pid: int, process: Process, users: Users, measured: dict[int, Measured]) -> None:
        if process.foreign:
            self._count_from_now(pid, process, process_cpu_ns(pid), measured)
        process.foreign, process.handed, process.owner = False, True, users
        self._stirred = True

    def _count_from_now(self, pid: int, process: Process, clock: int | None, measured: dict[int, Measured]) -> None:
        told = told_of(pid, process, clock, measured)
        process.last_ns = (clock if told is None else told.unclaimed_ns(clock)) or process.last_ns
        process.below_ns = ended_ns(pid) or process.below_ns

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
        measured = self._measured()
        self._buried &= {(pid, one.begun_ns) for pid, one in measured.items()}
        for pid, (parent, tid) in found.items():
            known = self._known.get(pid)
            if known is not None:
                known.parent = parent  # an orphan's is another than before
            elif not ending(pid):  # else its end may be accounted for already
                self._add(pid, parent, owner_of(tid), measured)
        self._unread |= self._known.keys()

    def _meet_measured(self, measured: dict[int, Measured]) -> None:
        """Take in the descendants that have a meter, and whoever lives between them and this process.

        What is below another measured process is that one's business.
        """
        for pid, one in measured.items():
            if self._pid not in one.parents or pid in self._known or (pid, one.begun_ns) in self._buried:
                continue
            line = one.parents[: one.parents.index(self._pid)]
            if any(between in measured for between in line):
                continue
            above = self._pid
            for between in reversed(line):
                if between not in self._known:
                    if parent_of(between) != above:  # it is gone
                        continue
                    self._add(between, above, None, measured)
                above = between
            self._add(pid, above, None, measured)

    def _add(self, pid: int, parent: int, owner: Owner, measured: dict[int, Measured]) -> None:
        above = self._known.get(parent)
        foreign = process_stat(pid)[1] < self._begun_ticks
        foreign |= (above is not None and above.foreign) or (parent != self._pid and parent in measured)
        self._known[pid] = Process(parent, above.owner if above else owner, foreign=foreign)
        self._stirred = True

    @property
    def pools(self) -> list[Users]:
        """The pools that have processes."""
        return [one for one in list(self.owners) if isinstance(one, Users)]

    def read_pools_of(self, account: Account) -> bool:
        """Have the next poll read what the processes of pools have waited for that the account has given work lately.

        Whether there are any. Else that is seen at a tick, and nobody's if the span has ended by then.
        """
        used = [pool for pool in self.pools if account in pool.lately]
        for pool in used:
            pool.lately.discard(account)
        self._read(used)
        return bool(used)

    def read_shared_pools(self) -> None:
        """The same of pools that several use at once, so that it is split among who used them when it ended."""
        self._read([pool for pool in self.pools if len(pool.lately) > 1])

    def _read(self, pools: list[Users]) -> None:
        if pools:
            self._unread |= {pid for pid, process in list(self._known.items()) if process.owner in pools}

    def works_for(self) -> Iterator[Account | None]:
        """Whose the processes are, or the pieces of work that those of pools do."""
        for owner in list(self.owners):
            if isinstance(owner, Users):
                yield from owner.users()
            else:
                yield owner


def told_of(pid: int, process: Process, clock: int | None, measured: dict[int, Measured]) -> Measured | None:
    """What the page tells of a process, which lives if it has a clock; not what it tells of one that had its pid."""
    told = measured.get(pid)
    if told is None or process.metered:
        return told
    if clock is not None:
        state, ticks = process_stat(pid)  # of one that waits to be reaped, too
        if ticks and (told.ticks != ticks if told.ticks > 0 else state not in "ZX"):
            process.stale_ns = told.begun_ns
    return None if told.begun_ns == process.stale_ns else told
