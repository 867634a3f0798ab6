"""Who uses a pool of processes: what its processes do is of those whose pieces of work run in it.

Which process runs which piece is not known from outside, but which pieces run is: pools begin them in the order in
which they are given, so that the oldest that are not done run, one in each process. What all processes use is split by
for how long pieces of each ran.
"""

from collections import OrderedDict, deque
from typing import NamedTuple

from e2s_tasks.meters.account import Account

MANY = 1_000  # events that wait
DEATH = 0  # in place of a piece of work: numbers of these begin at 1


class Part(NamedTuple):
    """For how long pieces ran, in ns, each counted; beside_ns: for how long of it together with another user's."""

    ns: int = 0
    beside_ns: int = 0

    def plus(self, ns: int, beside_ns: int) -> "Part":
        """With that added."""
        return Part(self.ns + ns, self.beside_ns + beside_ns)


NONE = Part()


class Users:
    """The pieces of work of one pool. Events may be told from any thread; all else happens in a turn of the meter.

    slots: how many processes there are. latest: whose the latest event is; None: nobody's, as what has no span.
    lately: the open ones whose events there were, until they are taken out.
    """

    def __init__(self, latest: Account | None) -> None:
        self.latest = latest
        self.slots = 0
        self.lately: set[Account] = set()
        self._events: deque[tuple[int, int, Account | None, int]] = deque()
        # pieces that are not done, the oldest first: of a dict that loses its first ones, what is left is found slowly
        self._left: OrderedDict[int, tuple[Account | None, int]] = OrderedDict()
        self._having: dict[Account | None, set[int]] = {}  # which of them each has
        self._lost = 0  # which nobody will do, as who did them has died
        self._ran: dict[Account | None, Part] = {}
        self._until_ns = 0
        self._last = latest  # who ran something last: what comes after that is theirs, too
        self._following = False  # a signal handler's span may ask in the middle of it

    def is_shared_with(self, whose: Account | None) -> bool:
        """Whether an event of somebody changes who uses the pool, as far as the events were followed."""
        return whose is not self.latest or not self._having.keys() <= {whose}

    def lose(self, now: int, pieces: int) -> None:
        """So many processes have died in the middle of a piece; its user is told of no end."""
        self._events.append((now, DEATH, self.latest, pieces))

    def tell(self, now: int, work: int, whose: Account | None, left: int) -> bool:
        """Of a piece of work, or several that were given as one, so many are not done; whether many events wait."""
        self.latest = whose
        if whose is not None and not whose.closed_ns:  # else nobody would take it out
            self.lately.add(whose)
        self._events.append((now, work, whose, left))
        return len(self._events) > MANY

    def take(self, now: int) -> dict[Account | None, Part]:
        """How long pieces of each ran since the last time; if none did, who ran one last."""
        self.replay(now)
        ran, self._ran = self._ran, {}
        return ran or {self._last: Part(1)}

    def users(self) -> list[Account | None]:
        """Those of whom something is not done."""
        self.replay()
        return list(self._having)

    def replay(self, now: int = 0) -> None:
        """Follow the events that were told, and what ran since the last of them until now."""
        if self._following:
            return
        self._following = True
        try:
            while self._events:  # one stays until it is followed: a signal handler may raise in the middle of it
                self._follow(*self._events[0])
                self._events.popleft()
            self._run(now)
        finally:
            self._following = False

    def _follow(self, now: int, work: int, whose: Account | None, left: int) -> None:
        self._run(now)
        if work == DEATH:
            self._lost = min(self._lost + left, sum(left for _, left in self._left.values()))
            return
        having = self._having.setdefault(whose, set())
        if left:
            having.add(work)
            self._left[work] = (whose, left)
        else:
            having.discard(work)
            self._left.pop(work, None)
        if not having:
            del self._having[whose]
        self._last = whose

    def _run(self, now: int) -> None:
        ns = now - self._until_ns
        if ns <= 0:
            return
        self._until_ns = now
        running = self._running()
        for whose, pieces in running.items():
            more_ns = pieces * ns
            self._ran[whose] = self._ran.get(whose, NONE).plus(more_ns, more_ns if len(running) > 1 else 0)

    def _running(self) -> dict[Account | None, int]:
        """How many pieces of each run; those that are lost become the oldest, as the others are done."""
        free, lost = max(self.slots, 1), self._lost
        running: dict[Account | None, int] = {}
        if lost:
            lost = self._lost = min(lost, sum(left for _, left in self._left.values()))
        for whose, left in self._left.values():
            lost, pieces = max(lost - left, 0), min(max(left - lost, 0), free)
            if pieces:
                running[whose] = running.get(whose, 0) + pieces
            free -= pieces
            if not free:
                break
        return running
