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

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from e2s_tasks.host import process_stat
from e2s_tasks.meters.descendants import Descendants, Owner, Process, told_of
from e2s_tasks.meters.page import Measured
from e2s_tasks.meters.process_tree import ended_ns, ending, own_ended_ns, process_cpu_ns, tick_ns, ticks_now
from e2s_tasks.meters.users import Users

TRIES = 3
PATIENCE_S, PAUSE_S = 2e-3, 50e-6
OWN_SLACK_NS = 2_000  # this process's sum is rounded down by less

Used = dict[Owner, int]


class Children(Descendants):
    """The CPU time of this process's descendants, without what spans of their own have claimed."""

    def __init__(self, measured: Callable[[], dict[int, Measured]]) -> None:
        super().__init__(measured)
        self._own = Process(0)
        self.told: deque[tuple[int, int]] = deque()  # who was reaped, and what they had used; from any thread
        self._early: Used = {}  # what ended ones had used, as who reaped them was told
        self._divided: Used = {}  # even parts of what those of several had used that nobody read; see `take_divided`
        self._counting = False  # a child that counts is known
        self._polled_ns = 0
        self._polling = self._all_known = False
        self._slack_ns = 2 * tick_ns()

    def begin(self) -> None:
        """Measured work begins: children that are there already belong to none of it."""
        self.take_over()
        self._begun_ticks, measured = ticks_now(), self._measured()
        if not self._all_known:
            self._all_known = True
            for pid, (parent, _) in self.look().items():
                if process_stat(pid)[1] < self._begun_ticks:  # else another thread's work has just started it
                    self._known.setdefault(pid, Process(parent, foreign=True))
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
        self._own = Process(0, below_ns=self._polled_ns)

    def poll(self) -> Used:
        """CPU nanoseconds since the last poll, by whose the child is."""
        self.take_over()
        self.take_told()
        self.read_shared_pools()
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

    def _is_below(self, process: Process, pid: int) -> bool:
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
            told = told_of(pid, self._known[pid], None, measured)
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
        told = told_of(pid, process, clock, measured)
        if told is not None:
            clock = told.unclaimed_ns(clock)
        if clock is not None and clock > process.last_ns:
            clock, process.last_ns = clock - process.last_ns, clock
            used[process.owner] = used.get(process.owner, 0) + clock

    def _bury(self, pid: int, measured: dict[int, Measured], used: Used) -> None:
        """A process has ended: what is known of it is accounted for in the sum that its parent has now."""
        process = self._known[pid]
        above, told = self._above(process), told_of(pid, process, None, measured)
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

    def _above(self, process: Process) -> Process:
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


def _leave_to_meter(process: Process, told: Measured, measured: dict[int, Measured], used: Used) -> None:
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
