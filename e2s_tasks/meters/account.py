"""What a span has used so far, as the meter books it."""

from enum import Enum


class Role(Enum):
    """What a span is to the meter: who answers for idle power depends on it."""

    FLOW = "flow"
    ATTEMPT = "attempt"
    SPAN = "span"


class Account:
    """CPU nanoseconds and joules by host component of one span.

    holder: it answers for idle power. Outermost attempts and outermost spans do; an outermost flow run only while none
    of those is open. gaps: components for which a source was missing at some time.
    """

    __slots__ = (
        "cpu_ns", "ends_in", "gaps", "holder", "idle_j", "joules", "open_children", "other_j", "parent", "role",
        "shared_ns", "since",
    )  # fmt: skip

    def __init__(self, role: Role, parent: "Account | None" = None) -> None:
        self.role = role
        self.parent = parent
        self.holder = parent is None or (role is Role.ATTEMPT and not _inside_attempt(parent))
        self.cpu_ns = 0
        self.shared_ns = 0
        self.joules: dict[str, float] = {}
        self.gaps: set[str] = set()
        self.other_j = 0.0
        self.idle_j = 0.0
        self.open_children = 0
        self.since = 0.0
        self.ends_in: int | None = None


def _inside_attempt(account: Account | None) -> bool:
    while account is not None:
        if account.role is Role.ATTEMPT:
            return True
        account = account.parent
    return False
