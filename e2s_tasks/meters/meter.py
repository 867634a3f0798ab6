"""The meter of a process: splits time into segments and books each one's joules on the spans that were open.

The hot path (`enter`, `leave`) reads a thread clock under a lock; a boundary (`open`, `close`) that comes at least
5 ms after the last one closes a segment. Splitting happens later, in `settle`, outside the measured window.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from e2s_tasks.core.attribution import Segment, split
from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.clocks import BusyClock, thread_clock, thread_cpu_ns
from e2s_tasks.meters.host_page import LocalPage, Page
from e2s_tasks.meters.source import Source

COALESCE_NS = 5_000_000
COARSE_WINDOW_NS = 200_000_000
SWEEP_NS = 5_000_000_000
POLL_NS = 900_000_000


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks that the meter reads, in nanoseconds: real ones, or a test's."""

    now: Callable[[], int] = time.monotonic_ns
    thread: Callable[[], int] = time.thread_time_ns
    process: Callable[[], int] = time.process_time_ns
    other_thread: Callable[[int], int | None] = thread_cpu_ns


class ChildProcesses(Protocol):
    """CPU time of the unmeasured child processes."""

    @property
    def stirred(self) -> bool:
        """Whether a poll is due."""

    def begin(self) -> None:
        """Measured work begins."""

    def poll(self) -> int:
        """CPU nanoseconds since the last poll."""


class _Thread:
    """A thread's CPU clock and the stack of accounts that own the thread; the last one pays."""

    __slots__ = ("clock", "last_ns", "stack")

    def __init__(self) -> None:
        self.clock = thread_clock(threading.get_native_id())
        self.last_ns = 0
        self.stack: list[Account] = []


@dataclass(slots=True)
class _RawSegment:
    """A closed segment, not yet split. shared_ns: CPU time of native pools and child processes, over the sharers."""

    number: int
    duration_ns: int
    busy_ns: int | None
    cpu_ns: dict[Account, int]
    shared_ns: int
    sharers: list[Account]
    holders: dict[Account, float]
    roots: list[Account]
    before: list[int | None]
    after: list[int | None]


class Meter:
    """One meter per process. `counted_j` = what the spans were booked + `other_j` + `idle_j`, to float rounding."""

    def __init__(
        self,
        sources: Iterable[Source],
        busy: BusyClock,
        clocks: Clocks | None = None,
        page: Page | None = None,
        children: ChildProcesses | None = None,
    ) -> None:
        self._sources = list(sources)
        self._busy = busy
        self._clocks = clocks or Clocks()
        self._local = threading.local()
        self._lock = threading.RLock()  # re-entrant: a signal handler or a finaliser may open a span inside it
        self._settling = threading.Lock()
        self._threads: set[_Thread] = set()
        self._open: dict[Account, None] = {}
        self._page = page or LocalPage()
        self._swept_ns = 0
        self._children = children
        self._polled_ns = 0
        self._idle_holders = _Holders(self._page)
        self._pending: list[_RawSegment] = []
        self._number = 0
        self._start_ns = 0
        self._cpu_ns: dict[Account, int] = {}
        self._ended: list[Account] = []
        self._before: list[int | None] = []
        self._busy_before: int | None = None
        self._process_ns = 0
        self._own: _Thread | None = None
        self._own_ns = 0
        self.settled = -1
        self.counted_j = self.other_j = self.idle_j = 0.0

    @property
    def active(self) -> bool:
        """Whether any span is open."""
        return bool(self._open)

    @property
    def backlog(self) -> int:
        """Number of segments that wait to be settled."""
        return len(self._pending)

    # -- the hot path -------------------------------------------------------------------------------------------

    def open(self, account: Account) -> None:
        """The account's span has begun: it may answer for idle power and for native pools from now on."""
        with self._lock:
            now = self._clocks.now()
            if not self._open:
                self._begin(now)
            elif now - self._start_ns >= COALESCE_NS:
                self._close_segment(now)
            if account.parent is not None:
                account.parent.open_children += 1
            self._open[account] = None
            self._idle_holders.add(account, now)

    def close(self, account: Account) -> None:
        """The account's span has ended: nothing of later segments is booked on it."""
        with self._lock:
            if account not in self._open:
                return
            now = self._clocks.now()
            if len(self._open) == 1 or now - self._start_ns >= COALESCE_NS:
                self._close_segment(now)
                account.ends_in = self._number - 1
            else:
                account.ends_in = self._number
                self._ended.append(account)
            self._idle_holders.remove(account, now)
            if account.parent is not None:
                account.parent.open_children -= 1
            del self._open[account]

    def enter(self, accounts: list[Account]) -> None:
        """The accounts own this thread from now on (the last one pays), above those that own it already."""
        thread = self._thread()
        with self._lock:
            self._charge(thread, self._clocks.thread())
            thread.stack.extend(accounts)
            self._threads.add(thread)
            thread.last_ns = self._clocks.thread()

    def leave(self, account: Account) -> list[Account]:
        """The account, and what was entered above it, give this thread back; returns them, to be entered again."""
        cpu_ns = self._clocks.thread()
        thread = self._thread()
        with self._lock:
            self._charge(thread, cpu_ns)
            if account not in thread.stack:
                return []
            at = thread.stack.index(account)
            left = thread.stack[at:]
            del thread.stack[at:]
            if not thread.stack:
                self._threads.discard(thread)
            thread.last_ns = self._clocks.thread()
            return left

    def _thread(self) -> _Thread:
        try:
            return self._local.thread  # type: ignore[no-any-return]
        except AttributeError:
            thread = self._local.thread = _Thread()
            return thread

    def _charge(self, thread: _Thread, cpu_ns: int) -> None:
        if thread.stack and cpu_ns > thread.last_ns:
            owner = thread.stack[-1]
            self._cpu_ns[owner] = self._cpu_ns.get(owner, 0) + cpu_ns - thread.last_ns
            thread.last_ns = cpu_ns

    # -- segments -----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Close a segment now, whatever its length; nothing while no span is open."""
        with self._lock:
            if not self._open:
                return
            now = self._clocks.now()
            self._close_segment(now)
            if now - self._swept_ns >= SWEEP_NS:
                self._page.sweep(now)
                self._swept_ns = now

    def release(self) -> None:
        """The process measures no more: what it still has open answers for no idle power of later times."""
        with self._lock:
            self._page.release(self._clocks.now())

    def own_thread(self) -> None:
        """The calling thread works for the meter: its CPU time is never booked on a span."""
        self._own = self._thread()
        self._own_ns = self._clocks.thread()

    def _begin(self, now: int) -> None:
        self._cpu_ns, self._ended = {}, []
        self._start_ns = now
        self._process_ns = self._clocks.process()
        self._own_used()
        if self._children is not None:
            self._children.begin()
            self._polled_ns = now
        self._busy_before = self._busy.read()
        self._before = [source.read() for source in self._sources]

    def _close_segment(self, now: int) -> None:
        after = [source.read() for source in self._sources]
        busy = self._busy.read()
        self._charge_threads()
        used = sum(self._cpu_ns.values())
        shared = max(0, self._clocks.process() - self._process_ns - self._own_used() - used)
        self._process_ns = self._clocks.process()
        shared += self._children_used(now)
        self._pending.append(
            _RawSegment(
                number=self._number,
                duration_ns=now - self._start_ns,
                busy_ns=None if busy is None or self._busy_before is None else busy - self._busy_before,
                cpu_ns=self._cpu_ns,
                shared_ns=shared,
                sharers=self._sharers(),
                holders=self._idle_holders.collect(now),
                roots=[account for account in (*self._open, *self._ended) if account.parent is None],
                before=self._before,
                after=after,
            )
        )
        self._number += 1
        self._cpu_ns, self._ended = {}, []
        self._start_ns, self._busy_before, self._before = now, busy, after

    def _charge_threads(self) -> None:
        for thread in list(self._threads):
            cpu_ns = self._clocks.other_thread(thread.clock)
            if cpu_ns is None:  # the thread has ended, or this system has no such clock
                continue
            self._charge(thread, cpu_ns)

    def _own_used(self) -> int:
        """CPU time of the meter's own thread since the last question."""
        if self._own is None:
            return 0
        now = self._clocks.other_thread(self._own.clock)
        if now is None:
            return 0
        used, self._own_ns = now - self._own_ns, now
        return used

    def _children_used(self, now: int) -> int:
        """CPU time of child processes since the last question: asked each tick, and whenever one has ended or runs."""
        children = self._children
        if children is None or not (now - self._polled_ns >= POLL_NS or children.stirred):
            return 0
        self._polled_ns = now
        return children.poll()

    def _sharers(self) -> list[Account]:
        """Who may have set native pools to work: the innermost open spans, flow runs only if there is nothing else."""
        candidates = [account for account in self._open if not account.open_children]
        candidates += self._ended
        work = [account for account in candidates if account.role is not Role.FLOW]
        return work or candidates or list(self._open)

    # -- settling -----------------------------------------------------------------------------------------------

    def settle(self, *, force: bool = False) -> None:
        """Split the closed segments and book their joules.

        With a coarse host clock a window below 200 ms waits for more, unless forced.
        """
        with self._settling:
            with self._lock:
                window = sum(raw.duration_ns for raw in self._pending)
                if not self._pending or (self._busy.coarse and window < COARSE_WINDOW_NS and not force):
                    return
                pending, self._pending = self._pending, []
            for raw, busy_s in zip(pending, _busy_seconds(pending, coarse=self._busy.coarse), strict=True):
                self._book(raw, busy_s)
            self.settled = pending[-1].number

    def _book(self, raw: _RawSegment, busy_s: float) -> None:
        cpu_s = {account: ns * 1e-9 for account, ns in raw.cpu_ns.items()}
        for account, ns in raw.cpu_ns.items():
            account.cpu_ns += ns
        if raw.sharers and raw.shared_ns:
            part = raw.shared_ns // len(raw.sharers)
            for account in raw.sharers:
                cpu_s[account] = cpu_s.get(account, 0.0) + raw.shared_ns / len(raw.sharers) * 1e-9
                account.cpu_ns += part
                account.shared_ns += part if len(raw.sharers) > 1 else 0
        duration_s = raw.duration_ns * 1e-9
        busy_s = max(busy_s, sum(cpu_s.values()))
        readings = [
            source.reading(before, after, duration_s, busy_s)
            for source, before, after in zip(self._sources, raw.before, raw.after, strict=True)
        ]
        self.counted_j += sum(reading.joules or 0.0 for reading in readings)
        result = split(Segment(duration_s, busy_s, cpu_s, raw.holders, readings))
        for account, components in result.spans.items():
            for component, joules in components.items():
                account.joules[component] = account.joules.get(component, 0.0) + joules
        for account in (*cpu_s, *raw.holders):
            account.gaps |= result.gaps
        for root in raw.roots:
            root.other_j += result.other_j
            root.idle_j += result.idle_j
        self.other_j += result.other_j
        self.idle_j += result.idle_j


class _Holders:
    """Who answers for idle power, and for how many seconds: the change of the host page's integrals."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._open: dict[Account, None] = {}
        self._left: dict[Account, float] = {}

    def add(self, account: Account, now: int) -> None:
        """The account is open from now on."""
        if account.holder:
            flow = account.role is Role.FLOW
            account.since = self._page.advance(now, work=int(not flow), flows=int(flow))[flow]
            self._open[account] = None

    def remove(self, account: Account, now: int) -> None:
        """The account is open no longer."""
        if account.holder:
            flow = account.role is Role.FLOW
            self._take(account, self._page.advance(now, work=-int(not flow), flows=-int(flow)))
            self._open.pop(account, None)

    def collect(self, now: int) -> dict[Account, float]:
        """Seconds for which each account has answered since the last collection."""
        integrals = self._page.advance(now)
        for account in self._open:
            self._take(account, integrals)
        left, self._left = self._left, {}
        return left

    def _take(self, account: Account, integrals: tuple[float, float]) -> None:
        integral = integrals[account.role is Role.FLOW]
        seconds, account.since = integral - account.since, integral
        if seconds > 0:
            self._left[account] = self._left.get(account, 0.0) + seconds


def _busy_seconds(pending: list[_RawSegment], *, coarse: bool) -> list[float]:
    """Host busy seconds of each segment; a coarse clock is read over the whole window, the others' part prorated."""
    if not coarse:
        return [(raw.busy_ns or 0) * 1e-9 for raw in pending]
    own = [sum(raw.cpu_ns.values()) + raw.shared_ns for raw in pending]
    others = max(0, sum(raw.busy_ns or 0 for raw in pending) - sum(own))
    window = sum(raw.duration_ns for raw in pending) or 1
    return [(mine + others * raw.duration_ns / window) * 1e-9 for mine, raw in zip(own, pending, strict=True)]
