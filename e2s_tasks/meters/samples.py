"""From the answers of a server to an energy curve: of a counter (energy so far), or of a gauge (power now)."""

from typing import Protocol

from e2s_tasks.meters.curve import Curve

MAX_POWER_W = 20_000.0  # no machine draws this
MOST_OF_A_FALL = 0.9  # what is used meanwhile is less


class Samples(Protocol):
    """Takes samples (monotonic ns; joules or watts) in the order of time and draws the curve through them."""

    def add(self, now: int, value: float) -> None:
        """The server showed this value."""

    def clear(self) -> None:
        """Forget all: the next sample is the first one."""


class CounterSamples:
    """A cumulative counter. A server shows the last scrape's value again and again: only a change tells something.

    When a value was scraped is known only if the server was also asked shortly before: the first value after a silence
    is not used, the next change is. A counter that ran backwards was reset; one that stands still for longer than
    `patience_ns`, as after an exporter's death, tells nothing either: both are gaps.
    """

    def __init__(self, curve: Curve, poll_ns: int, patience_ns: int, wraps_at: float | None = None) -> None:
        self._curve = curve
        self._wraps_at = wraps_at
        self._fresh_ns = 3 * poll_ns
        self._patience_ns = patience_ns
        self.clear()

    def clear(self) -> None:
        """Forget all: the next sample is the first one."""
        self._shown: tuple[int, float] | None = None  # the last answer
        self._point: tuple[int, float] | None = None  # the last value whose time is known
        self._fall: tuple[float, float] | None = None  # from and to where it ran backwards, until it is back there

    def add(self, now: int, value: float) -> None:
        """The server showed this many joules."""
        shown, self._shown = self._shown, (now, value)
        if shown is None:
            return
        if self._point is not None and now - self._point[0] > self._patience_ns:
            self._curve.add(self._point[0], now, None)
            self._point = None
        if value == shown[1] or now - shown[0] > self._fresh_ns:
            return
        if self._point is not None:
            since, before = self._point
            self._curve.add(since, now, self._used(before, value, now - since))
        elif self._curve.end is not None:
            self._curve.add(self._curve.end, now, None)  # from the gap's beginning to the first value after it
        self._point = (now, value)

    def _used(self, before: float, value: float, length_ns: int) -> float | None:
        """The joules between two values; one that ran backwards has wrapped. More than any machine draws is a gap.

        A sum of series jumps by all that one of them has ever counted when that is missing at a scrape, and back again;
        so does a counter that shows 0 for a while: after it ran backwards, one step back up is no energy.
        """
        change, fall = value - before, self._fall
        if change < 0 and not self._wraps_at:
            self._fall = before, value
        elif fall is not None and value >= fall[0]:
            self._fall = None
            if change >= MOST_OF_A_FALL * (fall[0] - fall[1]):
                return None
        used = change if change >= 0 else change + (self._wraps_at or 0.0)
        return used if 0 <= used <= MAX_POWER_W * (length_ns + self._fresh_ns) * 1e-9 else None


class GaugeSamples:
    """Power, integrated by the trapezoid rule; a gap where two samples are further apart than `patience_ns`.

    More than any machine draws is none: a meter that has just restarted may show its register's end.
    """

    def __init__(self, curve: Curve, patience_ns: int) -> None:
        self._curve = curve
        self._patience_ns = patience_ns
        self.clear()

    def clear(self) -> None:
        """Forget all: the next sample is the first one."""
        self._last: tuple[int, float] | None = None

    def add(self, now: int, value: float) -> None:
        """The server showed this many watts."""
        if value > MAX_POWER_W:
            return
        if self._last is not None:
            since, power = self._last
            joules = (power + value) / 2 * (now - since) * 1e-9
            self._curve.add(since, now, joules if now - since <= self._patience_ns else None)
        self._last = (now, value)
