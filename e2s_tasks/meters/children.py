"""CPU time of child processes that measured work starts: counted to who started them, while they run, and once.

Those of a pool are of its users.

A child with a meter of its own books what its spans use, and only the rest is counted here; one that was there before
any span belongs to none. A child that detaches itself (a daemon) is counted as long as it was seen before it left; what
is not seen appears among the other programs.

The clock of a live process tells its time exactly; of ended ones the system tells only one sum, their parent's. So for
each process that is followed the part of its sum is kept that is accounted for already, and only what the sum has
beyond that is counted. In doubt the larger part is taken for accounted for: better a little among the other programs
than a joule twice.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from e2s_tasks.host import process_stat
from e2s_tasks.meters.account import Account
from e2s_tasks.meters.page import Measured
from e2s_tasks.meters.process_tree import (
    descendants,
    ended_ns,
    ending,
    own_ended_ns,
    parent_of,
    process_cpu_ns,
    thread_children,
    tick_ns,
    ticks_now,
)
from e2s_tasks.meters.users import Users

TRIES = 3
PATIENCE_S, PAUSE_S = 2e-3, 50e-6
OWN_SLACK_NS = 2_000  # this process's sum is rounded down by less

Owner = Account | Users | None  # whose a process is: who started it, or who uses its pool; None: unknown
Used = dict[Owner, int]


@dataclass(slots=True)
class _Process:
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


class Children:
    """The CPU time of this process's descendants, without what spans of their own have claimed.

    measured: the processes that have or had a meter of their own.
    """

    def __init__(self, measured: Callable[[], dict[int, Measured]]) -> None:
        self._measured = measured
        self._pid = os.getpid()
        self._own = _Process(0)
        self._known: dict[int, _Process] = {}  # parents before their children
        self._buried: set[tuple[int, int]] = set()  # measured processes whose end is accounted for: pid, beginning
        self._unread: set[int] = set()  # whose sum may tell something new
        self.owners: set[Owner] = set()  # whose the processes are that count
        self.handed: deque[tuple[Collection[int], Users, bool]] = deque()  # see `hand`; from any thread
        self.told: deque[tuple[int, int]] = deque()  # who was reaped, and what they had used; from any thread
        self._early: Used = {}  # what ended ones had used, as who reaped them was told
        self._divided: Used = {}  # even parts of what those of several had used that nobody read; see `take_divided`
        self._stirred = self._counting = False  # something has changed; a child that counts is known
        self._polled_ns = 0
        self._polling = self._all_known = False
        self._begun_ticks = 0
        self._slack_ns = 2 * tick_ns()

    def begin(self) -> None:
        """Measured work begins: children that are there already belong to none of it."""
        self.take_over()
        self._begun_ticks, measured = ticks_now(), self._measured()
        if not self._all_known:
            self._all_known = True
            for pid, (parent, _) in self.look().items():
                if process_stat(pid)[1] < self._begun_ticks:  # else another thread's work has just started it
                    self._known.setdefault(pid, _Process(parent, foreign=True))
        for pid, process in list(self._known.items()):
            clock = process_cpu_ns(pid)
            if clock is None:  # its end is in the sum that counting starts from
                del self._known[pid]
            elif isinstance(process.owner, Users):
                self._count_from_now(pid, process, clock, measured)
            else:
                process.foreign |= process.owner is None or process.owner.ends_in is not None
                process.below_ns = (ended_ns(pid) if process.serves else None) or process.below_ns
        self._buried = {(pid, one.begun_ns) for pid, one in measured.items() if process_cpu_ns(pid) is None}
        self._unread, self._polling = set(), False
        self._early, self._divided = {}, {}
        self._polled_ns = own_ended_ns()
        self._own = _Process(0, below_ns=self._polled_ns)

    # -- who is there -------------------------------------------------------------------------------------------

    def started(self, pid: int, starter: Account | None) -> None:
        """Work of `starter` (None: unmeasured work) has just started a child."""
        process = self._known.get(pid)
        if process is None:
            process = self._known[pid] = _Process(self._pid, starter, foreign=starter is None)
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
            if above is None:
                continue
            if process is None:
                if above != self._pid:
                    self._meet_server(above, users)
                process = self._known[pid] = _Process(above, foreign=not born)
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
            server = self._known[pid] = _Process(parent_of(pid) or self._pid, users.latest, foreign=old)
        if not server.serves:
            server.serves = True
            server.below_ns = (ended_ns(pid) if server.foreign else None) or server.below_ns

    def _give(self, pid: int, process: _Process, users: Users, measured: dict[int, Measured]) -> None:
        if process.foreign:
            self._count_from_now(pid, process, process_cpu_ns(pid), measured)
        process.foreign, process.handed, process.owner = False, True, users
        self._stirred = True

    def _count_from_now(self, pid: int, process: _Process, clock: int | None, measured: dict[int, Measured]) -> None:
        told = _told_of(pid, process, clock, measured)
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
        self._known[pid] = _Process(parent, above.owner if above else owner, foreign=foreign)
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
            pool.lately.clear()
        self._unread |= {pid for pid, process in list(self._known.items()) if process.owner in used}
        return bool(used)

    def works_for(self) -> Iterator[Account | None]:
        """Whose the processes are, or the pieces of work that those of pools do."""
        for owner in list(self.owners):
            if isinstance(owner, Users):
                yield from owner.users()
            else:
                yield owner

    # -- what they used -----------------------------------------------------------------------------------------

    def poll(self) -> Used:
        """CPU nanoseconds since the last poll, by whose the child is."""
        self.take_over()
        self.take_told()
        ended = own_ended_ns()
        used, self._early = self._early, {}
        if self._polling or (not self._stirred and not self._counting and self._polled_ns == ended):
            return used
        with self._once():
            self._stirred, self._polled_ns = False, ended
            for _ in range(TRIES):
                if self._follow(used):
                    break
            else:
                self._stirred = True
            self.owners = {process.owner for process in list(self._known.values()) if not process.foreign}
            self._counting = bool(self.owners)
        return used

    def take_divided(self) -> Used:
        """What of the used ones are even parts of what children of several used, since this was asked last."""
        divided, self._divided = self._divided, {}
        return divided

    def take_told(self) -> None:
        """Follow what was told of children that have been reaped; not in the middle of a poll, as a handler's span."""
        if not self._polling:
            self._take_told()

    def _take_told(self) -> None:
        while self.told:
            self._reaped(*self.told.popleft())

    def _reaped(self, pid: int, total_ns: int) -> None:
        """A child has been reaped, and this is what it and its ended children used in all.

        What measured ones among them claimed is theirs. If it, or one that is known, is measured, it waits for the sum.
        Of one that does not count, it is what nobody is given of the sum.
        """
        process, measured = self._known.get(pid), self._measured()
        if process is None or process.mixed or process.serves or process.parent != self._pid:
            return
        below = {child: one for child, one in measured.items() if pid in one.parents}
        gone = [one for child, one in self._known.items() if process_cpu_ns(child) is None and self._is_below(one, pid)]
        if not process.foreign:
            if pid in measured or any(child in self._known or process_cpu_ns(child) is not None for child in below):
                return
            if any(one.foreign or one.mixed for one in gone):
                return
        buried = process.claimed.union(*(one.claimed for one in gone))  # these claims are in what is known already
        claimed_ns = sum(one.claims().all_ns for child, one in below.items() if (child, one.begun_ns) not in buried)
        more_ns = total_ns - process.last_ns - process.below_ns - sum(one.last_ns + one.below_ns for one in gone)
        self._buried |= {(child, one.begun_ns) for child, one in below.items()}
        process.last_ns += max(0, more_ns)
        process.whole = True
        if more_ns > claimed_ns and not process.foreign:
            self._early[process.owner] = self._early.get(process.owner, 0) + more_ns - claimed_ns

    def _is_below(self, process: _Process, pid: int) -> bool:
        above = process.parent
        while above != pid and above in self._known:
            above = self._known[above].parent
        return above == pid

    @contextmanager
    def _once(self) -> Iterator[None]:
        """A signal handler's span may close a segment in the middle of a poll."""
        self._polling = True
        try:
            yield
        finally:
            self._polling = False

    def _follow(self, used: Used) -> bool:
        """Take what all clocks and sums tell; whether all of them could be taken.

        First the clocks: who is gone then is in the sums for certain. The page after both: who is not on it then had no
        meter, and who is in a sum is on it if it had one.
        """
        clocks = {pid: process_cpu_ns(pid) for pid in list(self._known)}
        ended = [pid for pid, clock in clocks.items() if clock is None]
        self._await_told(ended, used)
        self._unread |= {self._known[pid].parent for pid in ended}
        self._unread = {pid for pid in self._unread if clocks.get(pid) is not None}
        sums = {pid: ended_ns(pid) for pid in self._unread}
        sums[self._pid] = own_ended_ns()
        measured = self._measured()
        self._meet_measured(measured)
        for pid, clock in clocks.items():
            self._count(pid, clock, measured, used)
        for pid in reversed(ended):
            self._bury(pid, measured, used)
        for pid in self._known.keys() & measured.keys():
            told = _told_of(pid, self._known[pid], None, measured)
            if told is not None:
                _leave_to_meter(self._known[pid], told, measured, used)
        taken = [self._take(pid, total, used) for pid, total in sums.items() if total is not None]
        return all(taken)

    def _await_told(self, ended: list[int], used: Used) -> None:
        """Who has just reaped a child that does not count may not have told yet what that leaves of the sum."""
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            self._take_told()
            late = [one for pid in ended if (one := self._known[pid]).foreign and one.awaited and not one.whole]
            if not late:
                break
            time.sleep(PAUSE_S)
        early, self._early = self._early, {}
        for owner, ns in early.items():
            used[owner] = used.get(owner, 0) + ns

    def _count(self, pid: int, clock: int | None, measured: dict[int, Measured], used: Used) -> None:
        """Count what a process used since it was last seen; with a meter, what no span of its own has claimed."""
        process = self._known[pid]
        above = self._known.get(process.parent)
        if not process.handed:
            process.foreign |= above is not None and (above.foreign or process.parent in measured)
        if process.foreign:
            return
        told = _told_of(pid, process, clock, measured)
        if told is not None:
            clock = told.unclaimed_ns(clock)
        if clock is not None and clock > process.last_ns:
            clock, process.last_ns = clock - process.last_ns, clock
            used[process.owner] = used.get(process.owner, 0) + clock

    def _bury(self, pid: int, measured: dict[int, Measured], used: Used) -> None:
        """A process has ended: what is known of it is accounted for in the sum that its parent has now."""
        process = self._known[pid]
        above, told = self._above(process), _told_of(pid, process, None, measured)
        if told is not None:
            _leave_to_meter(process, told, measured, used)
        above.below_ns += process.last_ns + process.below_ns
        asked = not above.metered and (above.serves or not above.foreign)  # for its sum
        if asked and not process.whole:
            claimed = None if told is None else _claimed_ns(pid, told, measured, foreign=process.foreign)
            above.below_ns += claimed or 0
            if claimed is not None and above is not self._own:  # which has no page but its own to tell it again
                above.claimed |= {(one, its.begun_ns) for one, its in measured.items() if pid in (one, *its.parents)}
            above.mixed |= process.mixed or (process.foreign and claimed is None)
        if told is not None:
            self._buried.add((pid, told.begun_ns))
        if not process.foreign and not process.whole and process.owner not in above.heirs:
            above.heirs += (process.owner,)
        del self._known[pid]

    def _above(self, process: _Process) -> _Process:
        """In whose sum the end of a process appears; an orphan's new parent is unknown, and may be this process."""
        return self._known.get(process.parent, self._own)

    def _take(self, pid: int, total: int, used: Used) -> bool:
        """Count what a sum has beyond what is accounted for; not while another child's end may be in it already."""
        process = self._own if pid == self._pid else self._known.get(pid)
        if process is not None and not process.metered and (process.serves or not process.foreign):
            slack_ns = OWN_SLACK_NS if process is self._own else self._slack_ns
            if process.mixed:
                process.below_ns, process.mixed = total + slack_ns, False
            process.below_ns = min(process.below_ns, total + slack_ns)  # orphans ended elsewhere
            rest = total - process.below_ns
            if rest > 0:
                if any(self._above(one) is process and ending(child) for child, one in list(self._known.items())):
                    return False
                process.below_ns = total
                whose = process.heirs or (() if process.foreign else (process.owner,))
                for owner in whose:
                    used[owner] = used.get(owner, 0) + rest // len(whose)
                    if len(whose) > 1:
                        self._divided[owner] = self._divided.get(owner, 0) + rest // len(whose)
            process.heirs = ()
        self._unread.discard(pid)
        return True


def _leave_to_meter(process: _Process, told: Measured, measured: dict[int, Measured], used: Used) -> None:
    """From now on a process's meter says what of its children is not to be counted; count what it had before that.

    What measured ones below it had claimed goes with that, too: at its end the page tells it.
    """
    if process.metered or process.foreign:
        return
    process.metered = True
    more_ns = max(0, (told.ended_ns or 0) - process.below_ns)
    told_anew = [one for pid, one in measured.items() if (pid, one.begun_ns) in process.claimed]
    process.below_ns += more_ns - sum(one.claims().all_ns for one in told_anew)
    if more_ns and not process.mixed:
        used[process.owner] = used.get(process.owner, 0) + more_ns
    process.mixed = False


def _claimed_ns(pid: int, told: Measured, measured: dict[int, Measured], *, foreign: bool) -> int | None:
    """What of a measured process's sums is not to be counted, with the claims of those below it; None: nobody knows."""
    own_ns = told.used_ns if foreign else told.claims().all_ns
    if own_ns is None:
        return None
    return own_ns + sum(one.claims().all_ns for one in measured.values() if pid in one.parents)


def _told_of(pid: int, process: _Process, clock: int | None, measured: dict[int, Measured]) -> Measured | None:
    """What the page tells of a process, which lives if it has a clock; not what it tells of one that had its pid."""
    told = measured.get(pid)
    if told is None or process.metered:
        return told
    if clock is not None:
        state, ticks = process_stat(pid)  # of one that waits to be reaped, too
        if ticks and (told.ticks != ticks if told.ticks > 0 else state not in "ZX"):
            process.stale_ns = told.begun_ns
    return None if told.begun_ns == process.stale_ns else told
