"""What a span has used so far, as the meter books it."""

from collections.abc import Mapping
from enum import Enum
from typing import Optional


class Role(Enum):
    """What a span is to the meter: who answers for idle power depends on it."""

    FLOW = "flow"
    ATTEMPT = "attempt"
    SPAN = "span"
    WAIT = "wait"


ATTEMPT, WAIT = Role.ATTEMPT, Role.WAIT
MUCH = 0.1  # a figure of which a larger part was estimated is a model's


class Account:
    """CPU nanoseconds and joules by host component of one span.

    holder: it answers for idle power. Outermost attempts and outermost spans do; an outermost flow run only while none
    of those is open, and while it waits what it waits in does so in its place. gaps: components for which a source was
    missing at some time. fresh_ns: CPU time of the segment that is not closed yet; held_ns: for how long of it threads
    ran for this span, spans inside it on the same thread apart. estimates: by component, what late sources estimated
    while a root span was open and what they told in all, in joules. closed_ns: when its span ended, 0 until then.
    ends_in: the last segment in which it was open, once known. lent: threads that it did not begin on have worked for
    it. summed: inclusive_j and inclusive_cpu_ns, its joules and CPU time with all inside it, are kept.
    """

    fresh_ns = held_ns = cpu_ns = shared_ns = 0  # values of the class until they change: a span begins in less time
    opened_ns = closed_ns = open_children = 0
    other_j = idle_j = 0.0
    joules: dict[str, float] = {}  # noqa: RUF012 - never changed: `book` makes the account's own
    estimates: dict[str, tuple[float, float]] = {}  # noqa: RUF012 - never changed, either
    gaps: frozenset[str] = frozenset()
    ends_in: int | None = None
    lent = summed = holder = False
    inclusive_j = 0.0
    inclusive_cpu_ns = 0
    any_summed = False  # of the class: nobody's time is spent on it before one is

    def __init__(self, role: Role, parent: Optional["Account"] = None) -> None:
        self.role = role
        self.parent = parent
        if parent is None or role is WAIT or (role is ATTEMPT and not _inside_attempt(parent)):
            self.holder = True

    def book(self, components: Mapping[str, float]) -> None:
        """Add joules by component."""
        if not self.joules:
            self.joules = {}
        for component, joules in components.items():
            self.joules[component] = self.joules.get(component, 0.0) + joules
        if Account.any_summed:
            self._sum_up(sum(components.values()), 0)

    def spend(self, ns: int) -> None:
        """Add nanoseconds of CPU time."""
        self.cpu_ns += ns
        if Account.any_summed:
            self._sum_up(0.0, ns)

    def sum_up(self) -> None:
        """Keep inclusive_j and inclusive_cpu_ns from now on."""
        Account.any_summed = self.summed = True

    def _sum_up(self, joules: float, ns: int) -> None:
        account: Account | None = self
        while account is not None:
            if account.summed:
                account.inclusive_j += joules
                account.inclusive_cpu_ns += ns
            account = account.parent

    def estimate(self, component: str, estimated_j: float, told_j: float) -> None:
        """Note what a late source told, and how much of it was estimated (less than 0: put right since)."""
        before_j, all_j = self.estimates.get(component, (0.0, 0.0))
        self.estimates = {**self.estimates, component: (before_j + estimated_j, all_j + told_j)}

    @property
    def estimated(self) -> dict[str, float]:
        """The part, from 0 to 1, of each component that rests on estimates, where that is much."""
        parts = {name: part_j / all_j for name, (part_j, all_j) in self.estimates.items() if all_j > 0}
        return {name: min(part, 1.0) for name, part in parts.items() if part > MUCH}


def _inside_attempt(account: Account | None) -> bool:
    while account is not None:
        if account.role is ATTEMPT:
            return True
        account = account.parent
    return False
