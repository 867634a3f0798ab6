"""Segments: from one reading of the energy counters and of all clocks to the next, with what each span used in between.

What is read keeps the interpreter's lock, so that no other thread gets in between. All of it happens in a turn.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.clocks import BusyClock, Clocks
from e2s_tasks.meters.holders import Holders
from e2s_tasks.meters.page import LocalPage, Page
from e2s_tasks.meters.segment import Books, RawSegment
from e2s_tasks.meters.source import Source
from e2s_tasks.meters.threads import MeasuredThread, ThreadEnd
from e2s_tasks.meters.turn import Turn
from e2s_tasks.meters.users import Part, Users

if TYPE_CHECKING:
    from e2s_tasks.meters.children import Children, Used

Noted = dict[MeasuredThread, deque[int]]  # CPU times in ns, the first one first
NO_POOLS: Collection[Users] = ()
IDLE_NS = 3_000  # threads that together used less CPU time than that are not asked for it yet


class Segments:
    """The segment that is open, and who is open in it; closed ones go to the books.

    code: the file whose code works in turns.
    """

    _thread_ends: Callable[[MeasuredThread], None]

    def __init__(
        self,
        code: str,
        sources: Iterable[Source],
        busy: BusyClock,
        *,
        clocks: Clocks | None,
        page: Page | None,
        children: "Children | None",
    ) -> None:
        self._sources = list(sources)
        self._reads = [source.read for source in self._sources]
        self._busy = busy
        clocks = clocks or Clocks()
        self._now, self._cpu, self._process = clocks.now, clocks.thread, clocks.process
        self._other_thread, self._slept = clocks.other_thread, clocks.slept
        self._local = threading.local()
        self._turn = Turn(code)
        self._notes = self._turn.notes
        self._noted_ns: Noted = {}  # what is in the first so many of them
        self._known_notes = 0
        self._threads: dict[int, MeasuredThread] = {}
        self._open: dict[Account, None] = {}
        self._roots: dict[Account, None] = {}
        self._ended: list[Account] = []
        self._page = page or LocalPage()
        self._holders = Holders(self._page)
        self.children = children
        self._books = Books(self._sources, coarse=busy.coarse)
        self._number = 0
        self._closing = False
        self._start_ns = self._slept_ns = 0
        self._before: list[int | None] = []
        self._busy_before: int | None = None
        self._process_ns = self._carried_ns = 0
        self._own: list[MeasuredThread] = []
        self._own_ended_ns = 0  # what those that have ended had used since the last segment
        self._closer: MeasuredThread | None = None  # who closed the segment in which all threads were asked last
        self._others_ns = 0  # what all other threads of the process had used by then

    @property
    def active(self) -> bool:
        """Whether any span is open."""
        return bool(self._open)

    @property
    def open_accounts(self) -> list[Account]:
        """The accounts of the spans that are open now."""
        return list(self._open)

    @property
    def settled(self) -> int:
        """The number of the last segment that is settled; -1 before the first."""
        return self._books.settled

    @property
    def counted_j(self) -> float:
        """What the sources counted in the settled segments, in joules."""
        return self._books.counted_j

    @property
    def other_j(self) -> float:
        """The part of it that other programs used."""
        return self._books.other_j

    @property
    def idle_j(self) -> float:
        """The part of it that nobody is given."""
        return self._books.idle_j

    def _thread(self) -> MeasuredThread:
        try:
            return self._local.thread  # type: ignore[no-any-return]
        except AttributeError:
            thread = self._local.thread = MeasuredThread()
            self._local.end = ThreadEnd(thread, self._thread_ends)
            return thread

    def _noted(self) -> Noted:
        """The CPU times in the notes of each thread that has left some; what is later than the first goes with it.

        Kept while notes are booked: there may be thousands, each of which closes a segment.
        """
        if len(self._notes) != self._known_notes:
            notes = list(self._notes)
            while self._known_notes < len(notes):  # a signal handler's span may get on with it meanwhile
                _, thread, _, _, then_ns = notes[self._known_notes]
                self._noted_ns.setdefault(thread, deque()).append(then_ns)
                self._known_notes += 1
        return self._noted_ns

    def _is_booked(self, thread: MeasuredThread) -> None:
        """The first note, of this thread, has been booked and is gone."""
        if self._known_notes:
            self._known_notes -= 1
            self._noted_ns[thread].popleft()
            if not self._noted_ns[thread]:
                del self._noted_ns[thread]

    def _used(self, thread: MeasuredThread) -> int | None:
        """The thread's CPU time, or that at its first note; None: it has ended, or this system has no such clock.

        Its notes are looked at once its clock has been read: it may have left one just before that.
        """
        now_ns = self._other_thread(thread.clock)
        return self._noted_before(thread, now_ns) if self._notes else now_ns

    def _noted_before(self, thread: MeasuredThread, now_ns: int | None) -> int | None:
        times = self._noted().get(thread)
        if times is None:
            return now_ns
        return times[0] if now_ns is None else min(times[0], now_ns)

    def _begin(self, now: int) -> None:
        self._start_ns, self._slept_ns = now, self._slept()
        self._process_ns, self._carried_ns = self._process(), 0
        self._page.claim(self._own_used(), 0, self._process_ns, open_=True)
        for thread in self._threads.values():  # what they did while nothing was open is nobody's
            thread.last_ns = self._other_thread(thread.clock) or thread.last_ns
            thread.since_ns = now
        if self.children is not None:
            self.children.begin()
            for pool in self.children.pools:
                pool.take(now)
        self._busy_before = self._busy.read()
        self._before = [read() for read in self._reads]

    def _close_segment(self, now: int) -> bool:
        """End the segment; False: that goes on already, and a signal handler's span begins or ends in its middle."""
        if self._closing:
            return False
        self._closing = True
        try:
            self._read_segment(now)
            while self._ended:  # such a span's
                self._read_segment(self._now())
        finally:
            self._closing = False
        return True

    def _read_segment(self, now: int) -> None:
        now, start = max(now, self._start_ns), self._start_ns
        process_ns = self._process()  # before the threads' clocks: what these show more comes off the next segment
        mine_ns = self._cpu()
        after = [read() for read in self._reads]
        busy, slept = self._busy.read(), self._slept()
        alone = self._charge_closer(process_ns, mine_ns, now)
        outside_ns, noted_ns, own_ns = (0, 0, 0) if alone else self._charge_all(mine_ns, now)
        ended = len(self._ended)  # further ones are the next segment's
        own, held, roots = self._taken()
        rest_ns = process_ns - self._process_ns - own_ns - sum(own.values()) - outside_ns - noted_ns + self._carried_ns
        shared_ns = 0 if alone else max(0, rest_ns)
        self._carried_ns = rest_ns - shared_ns + noted_ns
        if outside_ns:
            _add_orchestration(outside_ns, roots, own)
        below_ns = 0
        pooled: dict[Account, int] = {}
        if self.children is not None:
            used = self.children.poll()
            unknown_ns = used.pop(None, 0)  # of children of which nobody knows who started them
            shared_ns += unknown_ns
            pools = self.children.pools if self.children.owners else NO_POOLS
            if used or pools:
                below_ns, pooled = self._add_children(used, self.children.take_divided(), pools, own, now)
            below_ns += unknown_ns
        if shared_ns:
            held = self._with_asleep(held, now) or self._innermost()
        self._page.claim(process_ns - self._process_ns, below_ns, process_ns, open_=True)
        busy_ns = None if busy is None or self._busy_before is None else busy - self._busy_before
        self._books.add(
            RawSegment(
                self._number, now - start, slept - self._slept_ns, busy_ns, own, pooled, shared_ns,
                held, self._holders.collect(now), roots, self._before, after,
            )
        )  # fmt: skip
        self._number += 1
        self._ended, self._process_ns = self._ended[ended:], process_ns
        self._start_ns, self._slept_ns, self._busy_before, self._before = now, slept, busy, after

    def _charge_closer(self, process_ns: int, mine_ns: int, now: int) -> bool:
        """Charge the calling thread, and tell whether no other one has to be asked: none has run since all were.

        What they may have used, 3 microseconds at most, is charged when they are asked next.
        """
        closer = self._thread()
        others_ns = process_ns - mine_ns
        # the last span's end leaves nothing behind; a closer between steps is orchestration
        last = len(self._open) == 1 or self._notes or closer.steps
        if last or closer is not self._closer or others_ns - self._others_ns > IDLE_NS:
            self._closer, self._others_ns = closer, others_ns
            return False
        if closer.stack:
            closer.charge(mine_ns, now, self._start_ns)
        return True

    def _taken(self) -> tuple[dict[Account, int], dict[Account, int], list[Account]]:
        """Take from each account the CPU time of this segment, and for how long threads ran for it; the root spans."""
        own: dict[Account, int] = {}
        held: dict[Account, int] = {}
        roots = list(self._roots)
        if self._ended:
            roots += [account for account in self._ended if account.parent is None]
            for account in self._ended:
                account.ends_in = self._number
        for account in (*self._open, *self._ended):
            if account.fresh_ns:
                own[account] = account.fresh_ns
                account.fresh_ns = 0
            if account.held_ns:
                held[account] = account.held_ns
                account.held_ns = 0
        return own, held, roots

    def _charge_all(self, mine_ns: int, now: int) -> tuple[int, int, int]:
        """Charge every owned thread. Returns CPU times: between steps, of what is only noted, of nobody's threads.

        mine_ns: the calling thread's. A thread that has left a note is read as it stood then: what it did since is
        booked with the note, and once.
        """
        outside_ns = noted_ns = nobodys_ns = 0
        notes, closer, read = self._notes, self._closer, self._other_thread
        for thread in list(self._threads.values()):
            cpu_ns = mine_ns if thread is closer and not notes else read(thread.clock)
            if notes:
                cpu_ns = self._noted_before(thread, cpu_ns)
            if cpu_ns is None:
                self._threads.pop(thread.tid, None)
                continue
            if cpu_ns != thread.last_ns:  # else it has slept, see `_with_asleep`
                thread.charge(cpu_ns, now, self._start_ns)
            if thread.outside_ns:
                if thread.orphaned:
                    nobodys_ns += thread.outside_ns
                else:
                    outside_ns += thread.outside_ns
                thread.outside_ns = 0
        for thread, times in list(self._noted().items()) if self._notes else ():
            noted_ns += max(0, (self._other_thread(thread.clock) or times[-1]) - times[0])
        return outside_ns, noted_ns, nobodys_ns + self._own_used()

    def _with_asleep(self, held: dict[Account, int], now: int) -> dict[Account, int]:
        """The same, with the time of threads that have used no CPU time: they may wait for what native pools do."""
        for thread in list(self._threads.values()):
            if thread.stack and thread.since_ns < now:
                account = thread.stack[-1]
                held[account] = held.get(account, 0) + now - max(thread.since_ns, self._start_ns)
                thread.since_ns = now
        return held

    def _innermost(self) -> dict[Account, int]:
        """The innermost open spans, where none is on any thread: each waits for what it has set to work."""
        return dict.fromkeys([account for account in self._open if not account.open_children] or self._open, 1)

    def _add_children(
        self, used: "Used", divided: "Used", pools: Collection[Users], own: dict[Account, int], now: int
    ) -> tuple[int, dict[Account, int]]:
        """Give the children's CPU time to whose they are; returns how much, and what of it is split among several."""
        given_ns = 0
        pooled: dict[Account, int] = {}
        for owner in used.keys() | set(pools):
            parts = self._parts(owner.take(now) if isinstance(owner, Users) else {owner: Part(1)})
            whole, ns = sum(part.ns for part in parts.values()), used.get(owner, 0)
            for account, part in parts.items():
                if account is not None and ns:
                    given_ns += ns * part.ns // whole
                    own[account] = own.get(account, 0) + ns * part.ns // whole
                    beside_ns = ns * part.beside_ns // whole if len(parts) > 1 else 0
                    beside_ns = max(beside_ns, divided.get(owner, 0) * part.ns // whole)
                    if beside_ns:
                        pooled[account] = pooled.get(account, 0) + beside_ns
        return given_ns, pooled

    def _parts(self, parts: Mapping[Account | None, Part]) -> dict[Account | None, Part]:
        """The same, where in place of who has ended stands what is still open around it, None if nothing is."""
        found: dict[Account | None, Part] = {}
        for account, part in parts.items():
            heir = self._heir(account)
            found[heir] = found.get(heir, Part()).plus(*part)
        return found

    def _heir(self, account: Account | None) -> Account | None:
        while account is not None and account not in self._open and account not in self._ended:
            account = account.parent
        return account

    def _leaves_work(self, account: Account, children: "Children") -> bool:
        """Whether children or pools still work for it, or for what has ended inside it: for what is around it then."""
        return any(self._heir(one) is account for one in children.works_for())

    def _owner_of(self, tid: int) -> Account | None:
        thread = self._threads.get(tid)
        return thread.stack[-1] if thread is not None and thread.stack else None

    def _own_used(self) -> int:
        """CPU time of the measuring's own threads since the last question."""
        used, self._own_ended_ns = self._own_ended_ns, 0
        for thread in self._own:
            now = self._other_thread(thread.clock)
            if now is not None:
                used += now - thread.last_ns
                thread.last_ns = now
        return used


def _add_orchestration(outside_ns: int, roots: list[Account], own: dict[Account, int]) -> None:
    """Between the steps that run on it a thread works for the flow runs; without one it is another program."""
    flows = [account for account in roots if account.role is Role.FLOW]
    for flow in flows:
        own[flow] = own.get(flow, 0) + outside_ns // len(flows)
