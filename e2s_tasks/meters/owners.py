"""Which spans own which threads: what a thread uses is charged to the span that owns it last."""

from e2s_tasks.meters.account import Account, Role
from e2s_tasks.meters.segments import Segments
from e2s_tasks.meters.threads import MeasuredThread

FLOW = Role.FLOW


class Owners(Segments):
    """Segments whose threads change hands. What begins with an underscore happens in a turn."""

    def depth(self) -> int:
        """How many accounts own the calling thread."""
        try:
            return len(self._local.thread.stack)
        except AttributeError:
            return 0

    def owner(self) -> Account | None:
        """The account that pays for what the calling thread does."""
        try:
            stack = self._local.thread.stack
        except AttributeError:
            return None
        return stack[-1] if stack else None

    def rests_on(self, account: Account) -> bool:
        """Whether what the calling thread does between steps is the account's anyway: of the only flow run."""
        try:
            thread = self._local.thread
        except AttributeError:
            return False
        return thread.steps and not thread.stack and account.role is FLOW and self._roots.keys() == {account}

    def _take_off(self, thread: MeasuredThread, account: Account, now: int, cpu_ns: int) -> None:
        stack = thread.stack
        if stack:
            thread.charge(cpu_ns, now, self._start_ns)
        if stack and stack[-1] is account:
            stack.pop()
        elif account in stack:
            stack.remove(account)
        else:
            account.lent = True  # to the thread that it began on, which works for it no longer
        if not stack and not thread.steps:  # a signal handler's exception may have left it there without any
            self._threads.pop(thread.tid, None)

    def _forget(self, account: Account, now: int) -> None:
        """An account that is not open has ended: a signal handler's exception may have struck while it was admitted."""
        if account.holder:
            self._holders.remove(account, now)
        if account.ends_in is None and account not in self._ended:
            account.ends_in = -1  # it has used nothing

    def _give_up(self, account: Account, now: int) -> None:
        """The account, about to end, has threads that work for it no longer, and answers for idle power no longer."""
        if account.lent:
            self._hand_on(account, now)
        if account.holder:
            self._holders.remove(account, now)

    def _hand_on(self, account: Account, now: int) -> None:
        """Threads that still work for an account which ends work for what is open around it from now on."""
        heir = account.parent
        while heir is not None and heir not in self._open:
            heir = heir.parent
        if heir is not None:
            heir.lent = True
        for thread in self._threads.values():
            if account in thread.stack:
                thread.charge(self._used(thread) or 0, now, self._start_ns)
                thread.stack = [heir or one if one is account else one for one in thread.stack]
                if heir is None:
                    thread.stack.remove(account)
                thread.orphaned = not thread.stack
