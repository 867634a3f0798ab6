"""A closed segment as it was read, and its booking: outside the measured window, on the recorder's thread."""

from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager
from typing import NamedTuple

from e2s_tasks.core.attribution import Reading, Segment, split
from e2s_tasks.meters.account import Account
from e2s_tasks.meters.holders import Held
from e2s_tasks.meters.source import Source, ready

# Two clocks read one after the other differ by less; a machine that slept differs by more.
SLEPT_NS = 50_000_000
COARSE_WINDOW_NS = 200_000_000
# Segments end at each tick, of a second by default. In one that lasted this long while the process used less than half
# a CPU, it did not run: it was stopped, or its guest was paused while the clocks went on. Code that keeps the
# interpreter to itself for so long delays the tick, too, but computes.
LONG_S = 60.0
RUNNING_CPUS = 0.5


class RawSegment(NamedTuple):
    """A closed segment, not yet split. All times in nanoseconds.

    own: CPU time of the threads and child processes that belong to an account. pooled: what of it is an even part of
    what a pool of processes did for several. shared_ns: CPU time of native pools and of children whose starter is not
    known. held: for how long threads ran for each span, its inner spans apart; only told where something is shared.
    slept_ns: how long the machine was suspended meanwhile.
    """

    number: int
    duration_ns: int
    slept_ns: int
    busy_ns: int | None
    own: dict[Account, int]
    pooled: dict[Account, int]
    shared_ns: int
    held: dict[Account, int]
    holders: Held
    roots: list[Account]
    before: list[int | None]
    after: list[int | None]


class Books:
    """Where closed segments wait and are booked. counted_j = what the accounts were given + other_j + idle_j.

    settled: the number of the last segment that is booked. coarse: the host's busy clock counts in long steps.
    """

    def __init__(self, sources: list[Source], *, coarse: bool) -> None:
        self._sources = sources
        self._coarse = coarse
        self._waiting: list[RawSegment] = []
        self.settled = -1
        self.counted_j = self.other_j = self.idle_j = 0.0

    def add(self, raw: RawSegment) -> None:
        """A segment has closed."""
        self._waiting.append(raw)

    def settle(self, in_turn: Callable[[], AbstractContextManager[object]], *, force: bool) -> None:
        """Split the segments that wait and book their joules; in one thread at a time.

        in_turn: while it is entered none is added. With a coarse host clock a window below 200 ms waits for more, and
        what a source tells late waits for that, unless forced.
        """
        with in_turn():
            window = sum(raw.duration_ns for raw in self._waiting)
            if self._coarse and window < COARSE_WINDOW_NS and not force:
                return
            known = len(self._waiting) if force else self._known()
            taken, self._waiting = self._waiting[:known], self._waiting[known:]
        for raw, busy_s in zip(taken, busy_seconds(taken, coarse=self._coarse), strict=True):
            self._book(raw, busy_s)
        if taken:
            self.settled = taken[-1].number

    def _known(self) -> int:
        """How many of the waiting segments every source can tell; external meters answer late."""
        for number, raw in enumerate(self._waiting):
            if not ready(self._sources, raw.after):
                return number
        return len(self._waiting)

    def _book(self, raw: RawSegment, busy_s: float) -> None:
        """Split a segment and give each account its joules and CPU time."""
        cpu_s, holders = _cpu_seconds(raw), raw.holders.seconds()
        duration_s = raw.duration_ns * 1e-9
        busy_s = max(busy_s, sum(cpu_s.values()))
        slept = raw.slept_ns > SLEPT_NS  # a counter may have been reset; a model knows only the time awake
        stopped = duration_s > LONG_S and sum(cpu_s.values()) < RUNNING_CPUS * duration_s
        readings = [
            source.reading(None if slept else before, after, duration_s, busy_s)
            for source, before, after in zip(self._sources, raw.before, raw.after, strict=True)
        ]
        if stopped:  # a model would book what it supposes of a time in which nobody looked
            readings = [
                Reading(reading.component, None) if source.records[0].provenance == "modelled" else reading
                for source, reading in zip(self._sources, readings, strict=True)
            ]
        self.counted_j += sum(reading.joules or 0.0 for reading in readings)
        result = split(Segment(duration_s, busy_s, cpu_s, holders, readings))
        for account, components in result.spans.items():
            account.book(components)
        if result.gaps:
            for account in (*cpu_s, *holders):
                account.gaps |= result.gaps
        for reading in readings:
            if reading.estimated is not None:
                for root in raw.roots:
                    root.estimate(reading.component, reading.estimated, reading.joules or 0.0)
        for root in raw.roots:
            root.other_j += result.other_j
            root.idle_j += result.idle_j
        self.other_j += result.other_j
        self.idle_j += result.idle_j


def _cpu_seconds(raw: RawSegment) -> dict[Account, float]:
    """CPU seconds of each account, its part of what is shared included; adds them up on the accounts."""
    cpu_s = {account: ns * 1e-9 for account, ns in raw.own.items()}
    for account, ns in raw.own.items():
        account.spend(ns)
    for account, ns in raw.pooled.items():
        account.shared_ns += ns
    if raw.shared_ns:
        sharers = _sharers(raw)
        weight, several = sum(sharers.values()), not _are_in_turn(sharers.keys(), raw)
        for account, part in sharers.items():
            share_ns = raw.shared_ns * part // weight
            cpu_s[account] = cpu_s.get(account, 0.0) + raw.shared_ns * part / weight * 1e-9
            account.spend(share_ns)
            account.shared_ns += share_ns if several else 0
    return cpu_s


def _sharers(raw: RawSegment) -> dict[Account, int]:
    """Who may have set native pools to work, weighted by nanoseconds: the spans that threads ran for.

    A span whose thread only waits for spans inside it on other threads is not at work itself.
    """
    inside: dict[Account, int] = {}
    for account, ns in raw.held.items():
        for above in _around(account):
            inside[above] = inside.get(above, 0) + ns
    weights = {
        account: min(ns, max(0, raw.duration_ns - inside[account])) if account in inside else ns
        for account, ns in raw.held.items()
    }
    at_work = {account: ns for account, ns in weights.items() if ns > 0}
    return at_work or dict.fromkeys(raw.held, 1)


def _are_in_turn(accounts: Set[Account], raw: RawSegment) -> bool:
    """Whether it is one, or one is inside all others and only one thread ran for them, as for a step and its reads."""
    if len(accounts) == 1:
        return True
    one_at_a_time = sum(raw.held.get(account, 0) for account in accounts) <= raw.duration_ns
    return one_at_a_time and any(accounts <= {one, *_around(one)} for one in accounts)


def _around(account: Account) -> Iterator[Account]:
    above = account.parent
    while above is not None:
        yield above
        above = above.parent


def busy_seconds(pending: list[RawSegment], *, coarse: bool) -> list[float]:
    """Host busy seconds of each segment; a coarse clock is read over the whole window, the others' part prorated."""
    if not coarse:
        return [(raw.busy_ns or 0) * 1e-9 for raw in pending]
    own = [sum(raw.own.values()) + raw.shared_ns for raw in pending]
    others = max(0, sum(raw.busy_ns or 0 for raw in pending) - sum(own))
    window = sum(raw.duration_ns for raw in pending) or 1
    return [(mine + others * raw.duration_ns / window) * 1e-9 for mine, raw in zip(own, pending, strict=True)]
