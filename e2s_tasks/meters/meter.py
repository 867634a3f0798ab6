"""The meter of a process: splits time into segments and books each one's joules on the spans that were open.

The hot path (`begin`, `finish`; `enter`, `leave` for each step of a coroutine) reads a thread's clock in a turn. A
boundary at least 5 ms after the last one closes a segment (`segments`). Splitting happens later, in `settle`, on the
recorder's thread.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from e2s_tasks.meters.account import Account
from e2s_tasks.meters.clocks import BusyClock, Clocks
from e2s_tasks.meters.owners import Owners
from e2s_tasks.meters.page import Page
from e2s_tasks.meters.source import Source
from e2s_tasks.meters.threads import MeasuredThread
from e2s_tasks.meters.users import Users

if TYPE_CHECKING:
    from e2s_tasks.meters.children import Children

COALESCE_NS = 5_000_000
ROUNDS = 2
SWEEP_NS = 5_000_000_000


class Meter(Owners):
    """One meter per process. `counted_j` = what the spans were booked + `other_j` + `idle_j`, to float rounding."""

    def __init__(
        self,
        sources: Iterable[Source],
        busy: BusyClock,
        clocks: Clocks | None = None,
        page: Page | None = None,
        children: "Children | None" = None,
    ) -> None:
        super().__init__(Meter.begin.__code__.co_filename, sources, busy, clocks=clocks, page=page, children=children)
        self._holder: dict[int, Any] = self._turn.holder
        self._swept_ns = 0

    # -- the hot path -------------------------------------------------------------------------------------------

    def begin(self, account: Account) -> None:
        """The account's span begins, and owns this thread."""
        try:
            thread = self._local.thread
        except AttributeError:
            thread = self._thread()
        if self._holder.setdefault(0, thread) is thread:
            inside, thread.inside = thread.inside, True
            try:
                if self._notes and not inside:
                    self._catch_up()
                self._begin_on(thread, account, self._now(), None)
            finally:
                thread.inside = inside
                if not inside:
                    self._holder.clear()
        else:
            self._notes.append((self._begin_on, thread, account, self._now(), self._cpu()))
        if self._notes:
            self._serve(thread)

    def finish(self, account: Account) -> None:
        """The account's span ends: nothing of later segments is booked on it."""
        try:
            thread = self._local.thread
        except AttributeError:
            thread = self._thread()
        account.closed_ns = now = self._now()
        cpu_ns = thread.used_ns(now, self._cpu)
        if self._holder.setdefault(0, thread) is thread:
            inside, thread.inside = thread.inside, True
            try:
                if self._notes and not inside:
                    self._catch_up()
                self._finish_on(thread, account, now, cpu_ns)
            finally:
                thread.inside = inside
                if not inside:
                    self._holder.clear()
        else:
            self._notes.append((self._finish_on, thread, account, now, cpu_ns))
        if self._notes:
            self._serve(thread)

    def _begin_on(self, thread: MeasuredThread | None, account: Account, now: int, cpu_ns: int | None) -> None:
        """The account is open from now on, and owns the thread, if one is given. cpu_ns: None if it is the caller's."""
        account.opened_ns = now
        if account.holder:  # before the segment closes, which then knows the integrals of idle power
            self._holders.add(account, now)
        if not self._open:
            self._begin(now)
        elif now - self._start_ns >= COALESCE_NS:
            self._close_segment(now)
        parent = account.parent
        if parent is None:
            self._roots[account] = None
        else:
            parent.open_children += 1
        self._open[account] = None
        if thread is None:
            return
        stack = thread.stack
        if stack or thread.steps:  # its clock is read as late as can be: the bookkeeping is none of the new span's
            thread.charge(thread.used_ns(now, self._cpu) if cpu_ns is None else cpu_ns, now, self._start_ns)
        else:
            thread.last_ns, thread.since_ns = self._cpu() if cpu_ns is None else cpu_ns, now
            self._threads[thread.tid] = thread
        stack.append(account)

    def _finish_on(self, thread: MeasuredThread | None, account: Account, now: int, cpu_ns: int) -> None:
        """The account is open no longer, and owns the thread no longer, if one is given."""
        if thread is not None:
            self._take_off(thread, account, now, cpu_ns)
        if account not in self._open:
            self._forget(account, now)
            return
        if account.lent or account.holder:
            self._give_up(account, now)
        children = self.children
        ends = now - self._start_ns >= COALESCE_NS or len(self._open) == 1
        if children is not None and children.owners:
            ends = children.read_pools_of(account) or ends or self._leaves_work(account, children)
        if ends and self._close_segment(now):
            account.ends_in = self._number - 1
        else:
            account.ends_in = self._number  # or the next, if this one is being closed
            self._ended.append(account)
        parent = account.parent
        if parent is None:
            del self._roots[account]
        else:
            parent.open_children -= 1
        del self._open[account]
        if not self._open:
            self._page.claim(0, 0, self._process_ns, open_=False)

    def _catch_up(self) -> None:
        """Book what other threads had to tell meanwhile: in a turn, and not within another one of the same thread.

        A note stays until it is booked, so that a segment that closes meanwhile knows of it.
        """
        self._noted_ns, self._known_notes = {}, 0  # anew: a signal handler's exception may have struck the last time
        left = len(self._notes)  # else threads that keep telling would keep this one for good
        while self._notes and left:
            left -= 1
            what, thread, account, now, cpu_ns = self._notes[0]
            try:
                what(thread, account, now, cpu_ns)
            finally:
                self._notes.popleft()
                self._is_booked(thread)

    def _serve(self, thread: MeasuredThread) -> None:
        """What came too late for whose turn it was; who takes the next one has the same to do."""
        for _ in range(ROUNDS):
            if not self._notes or thread.inside or self._holder.setdefault(0, thread) is not thread:
                return
            thread.inside = True
            try:
                self._catch_up()
            finally:
                self._turn.give(thread, inside=False)

    @contextmanager
    def _in_turn(self) -> Iterator[MeasuredThread]:
        thread = self._thread()
        inside = self._turn.take(thread) is True
        try:
            if not inside:
                self._catch_up()
            yield thread
        finally:
            self._turn.give(thread, inside=inside)
            self._serve(thread)

    @property
    def is_in_turn(self) -> bool:
        """Whether the calling thread works on the meter: a signal handler has struck in the middle of that."""
        return self._thread().inside

    def open(self, account: Account) -> None:
        """The account's span has begun, on no thread yet."""
        self._do_or_note(self._open_on, account)

    def close(self, account: Account) -> None:
        """The account's span has ended, on no thread any more."""
        account.closed_ns = self._now()
        self._do_or_note(self._close_on, account)

    def _open_on(self, _: MeasuredThread, account: Account, now: int, cpu_ns: int) -> None:
        self._begin_on(None, account, now, cpu_ns)

    def _close_on(self, _: MeasuredThread, account: Account, now: int, cpu_ns: int) -> None:
        account.closed_ns = now
        self._finish_on(None, account, now, cpu_ns)

    def _do_or_note(self, what: Callable[[MeasuredThread, Account, int, int], None], account: Account) -> None:
        """Do it in a turn, or leave a note where a signal handler runs in another's: it may wait for this thread."""
        thread = self._thread()
        inside = self._turn.take(thread, for_handlers=False)
        if inside is None:
            self._notes.append((what, thread, account, self._now(), self._cpu()))
            return
        try:
            if not inside:
                self._catch_up()
            what(thread, account, self._now(), 0)
        finally:
            self._turn.give(thread, inside=inside)
        self._serve(thread)

    def enter(self, accounts: list[Account]) -> int:
        """The accounts own this thread from now on, the last one pays (none: nobody); returns the depth to `leave` to.

        It is -1 where they do not, while a signal handler runs in another thread's turn: it may wait for this thread.
        """
        thread = self._thread()
        inside = self._turn.take(thread, for_handlers=False)
        if inside is None:
            return -1
        try:
            if self._notes and not inside:
                self._catch_up()
            stack = thread.stack
            depth = len(stack)
            now = self._now()
            cpu_ns = thread.used_ns(now, self._cpu)
            if stack or thread.steps:
                thread.charge(cpu_ns, now, self._start_ns)
            self._threads[thread.tid] = thread
            thread.steps, thread.orphaned = True, not (accounts or stack)
            for account in accounts:
                account.lent = True
            stack.extend(accounts)
            thread.last_ns, thread.since_ns = cpu_ns, now
        finally:
            self._turn.give(thread, inside=inside)
        if self._notes:
            self._serve(thread)
        return depth

    def leave(self, depth: int) -> list[Account]:
        """What was entered on this thread above a depth gives it back; returns it, to be entered again."""
        if depth < 0:
            return []
        thread, now = self._thread(), self._now()
        cpu_ns = thread.used_ns(now, self._cpu)
        inside = self._turn.take(thread, for_handlers=False)
        if inside is None:  # a signal handler may wait for this thread: who pays next is charged this, too
            left = thread.stack[depth:]
            del thread.stack[depth:]
            return left
        try:
            if self._notes and not inside:
                self._catch_up()
            stack = thread.stack
            thread.charge(cpu_ns, now, self._start_ns)
            left = stack[depth:]
            del stack[depth:]
        finally:
            self._turn.give(thread, inside=inside)
        if self._notes:
            self._serve(thread)
        return left

    def abandon(self, account: Account) -> None:
        """The account's span has ended, on a thread that could not say so."""
        with self._in_turn():
            now = self._now()
            account.closed_ns = account.closed_ns or now
            for thread in list(self._threads.values()):
                if account in thread.stack:
                    thread.charge(self._used(thread) or 0, now, self._start_ns)
                    thread.stack.remove(account)
                    thread.orphaned = not thread.stack
                    if not thread.stack and not thread.steps:
                        self._threads.pop(thread.tid, None)
            self._finish_on(None, account, now, 0)

    def _thread_ends(self, thread: MeasuredThread) -> None:
        """The calling thread ends while accounts own it, whose spans end on another one: nobody can read it later."""
        cpu_ns = self._cpu()
        inside = self._turn.take(thread, for_handlers=False)
        if inside is None:  # a signal handler runs in another's, which may wait for this thread: it is lost
            return
        try:
            if not inside:
                self._catch_up()
            thread.charge(cpu_ns, self._now(), self._start_ns)
            thread.stack.clear()
            self._threads.pop(thread.tid, None)
        finally:
            self._turn.give(thread, inside=inside)

    # -- segments -----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Close a segment now, whatever its length, and look for new children; nothing while no span is open."""
        with self._in_turn():
            if not self._open:
                return
            now = self._now()
            self._close_segment(now)
            if now - self._swept_ns >= SWEEP_NS:
                self._page.sweep(now)
                self._swept_ns = now
        if self.children is not None:
            found = self.children.look()
            with self._in_turn():
                self.children.meet(found, self._owner_of)

    def reaped(self, pid: int, total_ns: int) -> None:
        """A child has been reaped, and this is what it and its ended children used in all."""
        children = self.children
        if children is None:
            return
        children.told.append((pid, total_ns))  # whose turn it is may need it
        thread = self._thread()
        inside = self._turn.take(thread, for_handlers=False)
        if inside is None:  # a signal handler runs in another's, which may wait for this thread
            return
        try:
            if not inside:
                self._catch_up()
            children.take_told()
        finally:
            self._turn.give(thread, inside=inside)
        self._serve(thread)

    def hand(self, pids: Collection[int], users: Users, *, born: bool) -> None:
        """Processes are of a pool from now on. born: those not known have just been started for it."""
        if self.children is not None and pids:
            users.slots = len(pids)
            self.children.handed.append((pids, users, born))
            self._unless_anothers(self.children.take_over)

    def tell(self, users: Users, work: int, whose: Account | None, left: int) -> None:
        """Of a piece of work (or several, given as one) for a pool so many are not done."""
        if self._open and self._now() - self._start_ns >= COALESCE_NS and users.is_shared_with(whose):
            self._unless_anothers(self._cut)
        if users.tell(self._now(), work, whose, left):
            self._unless_anothers(users.replay)

    def _cut(self) -> None:
        if self._open:
            self._close_segment(self._now())

    def _unless_anothers(self, work: Callable[[], None]) -> None:
        """Do it in a turn, but wait for none: who has it may be in a signal handler that waits for a pool's thread."""
        thread = self._thread()
        inside = self._turn.take(thread, wait=False)
        if inside is None:
            return
        try:
            if not inside:
                self._catch_up()
            work()
        finally:
            self._turn.give(thread, inside=inside)
        self._serve(thread)

    def lose(self, users: Users, pieces: int) -> None:
        """So many processes of a pool have died in the middle of a piece."""
        users.lose(self._now(), pieces)

    def release(self) -> None:
        """The process measures no more: what it still has open answers for no idle power of later times."""
        with self._in_turn():
            self._page.release(self._now(), at_rest=not self._open)

    def own_thread(self) -> None:
        """The calling thread works for the measuring: its CPU time is never booked on a span."""
        thread = self._thread()
        thread.last_ns = self._cpu()
        self._own.append(thread)

    def leave_own_thread(self) -> None:
        """The calling thread, which was one of the measuring's own, is about to end: its clock may become another's."""
        clock = self._thread().clock
        with self._in_turn():
            for thread in [one for one in self._own if one.clock == clock]:
                self._own_ended_ns += self._cpu() - thread.last_ns
                self._own.remove(thread)

    def settle(self, *, force: bool = False) -> None:
        """Split the closed segments and book their joules; see Books."""
        self._books.settle(self._in_turn, force=force)
