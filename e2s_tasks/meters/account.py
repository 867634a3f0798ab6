"""What a span has used so far, as the meter books it."""

from enum import Enum
from typing import Optional


class Role(Enum):
    """What a span is to the meter: who answers for idle power depends on it."""

    FLOW = "flow"
    ATTEMPT = "attempt"
    SPAN = "span"


ATTEMPT = Role.ATTEMPT


class Account:
    """CPU nanoseconds and joules by host component of one span.

    holder: it answers for idle power. Outermost attempts and outermost spans do; an outermost flow run only while none
    of those is open. gaps: components for which a source was missing at some time. fresh_ns: CPU time of the segment
    that is not closed yet. ends_in: the last segment in which it was open; None while it is.
    """

    __slots__ = (
        "closed_ns", "cpu_ns", "ends_in", "fresh_ns", "gaps", "holder", "idle_j", "joules", "open_children",
        "opened_ns", "other_j", "parent", "role", "shared_ns", "since",
    )  # fmt: skip

    def __init__(self, role: Role, parent: Optional["Account"] = None) -> None:
        self.role = role
        self.parent = parent
        self.holder = parent is None or (role is ATTEMPT and not _inside_attempt(parent))
        self.fresh_ns = self.cpu_ns = self.shared_ns = 0
        self.opened_ns = self.closed_ns = 0
        self.joules: dict[str, float] = {}
        self.gaps: frozenset[str] = frozenset()
        self.other_j = self.idle_j = self.since = 0.0
        self.open_children = 0
        self.ends_in: int | None = None


def _inside_attempt(account: Account | None) -> bool:
    while account is not None:
        if account.role is ATTEMPT:
            return True
        account = account.parent
    return False
