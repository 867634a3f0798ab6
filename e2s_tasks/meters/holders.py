"""Who answers for idle power, and for how many seconds: the change of the host page's integrals."""

from collections.abc import Mapping
from typing import NamedTuple

from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.page import Page

FLOW, WAIT = Role.FLOW, Role.WAIT
NOBODY: Mapping[Account, float] = {}


class Held(NamedTuple):
    """Who answered for idle power in a segment, and by which integrals: reckoned up when the segment is booked.

    still: who does at its end, with the integral since when. before, after: the integrals at its beginning and end.
    left: the seconds of who has answered until it ended.
    """

    still: Mapping[Account, float]
    before: tuple[float, float]
    after: tuple[float, float]
    left: Mapping[Account, float]

    def seconds(self) -> dict[Account, float]:
        """Seconds for which each account has answered."""
        found = dict(self.left)
        for account, since in self.still.items():
            _add(found, account, since, self.before, self.after)
        return found


class Holders:
    """The open accounts of this process that hold idle power."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._open: dict[Account, float] = {}  # with the integral since when; made anew at each change
        self._before = (0.0, 0.0)  # the integrals at the last collection
        self._left: dict[Account, float] = {}
        self._looked, self._found = -1, (0.0, 0.0)  # the integrals at the last change: a segment often closes with it

    def add(self, account: Account, now: int) -> None:
        """The account is open from now on."""
        if account.role is WAIT:
            self._stand_in(account.parent, account, now)
            return
        flow = account.role is FLOW
        self._open = {**self._open, account: self._advance(now, int(not flow), int(flow))[flow]}

    def remove(self, account: Account, now: int) -> None:
        """The account is open no longer; nothing if it was not."""
        if account.role is WAIT:
            self._stand_in(account, account.parent, now)
            return
        if account not in self._open:
            return
        flow = account.role is FLOW
        self._take(account, self._advance(now, -int(not flow), -int(flow)))

    def collect(self, now: int) -> Held:
        """Who has answered since the last collection."""
        after = self._found if now == self._looked else self._page.integrals(now)
        held = Held(self._open, self._before, after, self._left or NOBODY)
        self._before, self._left = after, self._left and {}
        return held

    def _advance(self, now: int, work: int, flows: int) -> tuple[float, float]:
        self._looked, self._found = now, self._page.advance(now, work, flows)
        return self._found

    def _stand_in(self, one: Account | None, other: Account | None, now: int) -> None:
        """From now on the other answers in the place of the one, if that does: of a flow run and its waiting."""
        if one is None or other is None or one not in self._open:
            return
        integrals = self._page.integrals(now)
        self._take(one, integrals)
        self._open = {**self._open, other: integrals[_of_flows(other)]}

    def _take(self, account: Account, integrals: tuple[float, float]) -> None:
        _add(self._left, account, self._open[account], self._before, integrals)
        self._open = {one: since for one, since in self._open.items() if one is not account}


def _add(
    found: dict[Account, float], account: Account, since: float, before: tuple[float, float], after: tuple[float, float]
) -> None:
    flows = _of_flows(account)
    seconds = after[flows] - max(since, before[flows])
    if seconds > 0:
        found[account] = found.get(account, 0.0) + seconds


def _of_flows(account: Account) -> bool:
    """Whether it answers by the integral over flow runs."""
    return account.role is FLOW or account.role is WAIT
