"""Who answers for idle power, and for how many seconds: the change of the host page's integrals."""

from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.page import Page

FLOW, WAIT = Role.FLOW, Role.WAIT


class Holders:
    """The open accounts of this process that hold idle power."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._open: dict[Account, None] = {}
        self._left: dict[Account, float] = {}
        self._looked, self._found = -1, (0.0, 0.0)  # the integrals at the last change: a segment often closes with it

    def add(self, account: Account, now: int) -> None:
        """The account is open from now on."""
        if account.role is WAIT:
            self._stand_in(account.parent, account, now)
            return
        flow = account.role is FLOW
        account.since = self._advance(now, int(not flow), int(flow))[flow]
        self._open[account] = None

    def remove(self, account: Account, now: int) -> None:
        """The account is open no longer; nothing if it was not."""
        if account.role is WAIT:
            self._stand_in(account, account.parent, now)
            return
        if account not in self._open:
            return
        flow = account.role is FLOW
        self._take(account, self._advance(now, -int(not flow), -int(flow)))
        self._open.pop(account)

    def collect(self, now: int) -> dict[Account, float]:
        """Seconds for which each account has answered since the last collection."""
        integrals = self._found if now == self._looked else self._page.integrals(now)
        for account in self._open:
            self._take(account, integrals)
        left, self._left = self._left, {}
        return left

    def _advance(self, now: int, work: int, flows: int) -> tuple[float, float]:
        self._looked, self._found = now, self._page.advance(now, work, flows)
        return self._found

    def _stand_in(self, one: Account | None, other: Account | None, now: int) -> None:
        """From now on the other answers in the place of the one, if that does: of a flow run and its waiting."""
        if one is None or other is None or one not in self._open:
            return
        self._take(one, self._page.integrals(now))
        self._open.pop(one)
        self._open[other], other.since = None, one.since

    def _take(self, account: Account, integrals: tuple[float, float]) -> None:
        integral = integrals[account.role is FLOW or account.role is WAIT]
        seconds, account.since = integral - account.since, integral
        if seconds > 0:
            self._left[account] = self._left.get(account, 0.0) + seconds
