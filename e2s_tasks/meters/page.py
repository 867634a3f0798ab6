"""Where the measured processes of a host are counted, and tell each other what their spans have claimed."""

import os
from collections.abc import Callable
from typing import NamedTuple, Protocol


class Claims(NamedTuple):
    """The CPU time (ns) that a measured process has booked on its spans; the rest is that of who started it.

    own_ns: of its own clock. until_ns: how far that is accounted for. open: a span is, so that what comes after that is
    claimed too. all_ns: of its own, its children's, and what forgotten processes below it claimed.
    """

    own_ns: int
    until_ns: int
    open: bool
    all_ns: int


class Measured(NamedTuple):
    """A process with a meter of its own.

    parents: the pids above it, the nearest first. ticks: when it started (see `start_ticks`), unless it was found dead.
    begun_ns: CPU time that it and its ended children had used before it had its meter; ended_ns: what of that the
    children had, None where measured ones were among them. used_ns: all of theirs when it stopped measuring; None while
    it measures, and for good if it was killed. claims: what its spans have claimed by now.
    """

    parents: tuple[int, ...]
    ticks: int
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

    def release(self, now: int, *, at_rest: bool) -> None:
        """The process measures no more. at_rest: no span is open that it would still work for."""

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

    def release(self, now: int, *, at_rest: bool) -> None:
        """Nothing: there are no others."""

    def claim(self, own_ns: int, below_ns: int, until_ns: int, *, open_: bool) -> None:
        """Nothing: there are no others."""

    def processes(self) -> dict[int, Measured]:
        """The calling process alone."""
        return {os.getpid(): Measured((os.getppid(),), 0, 0, 0, None, lambda: Claims(0, 0, open=True, all_ns=0))}
