"""Whose turn it is to work on something, the meter for one: one thread's at a time.

It is no lock: a thread that blocks on one is given it while it still queues for the interpreter's, and all others pile
up behind it. Spans that begin or end while it is another's turn leave a note to that thread and go on.

An exception that a signal handler raises may strike between any two lines, so that a turn is not given back. Its thread
goes on with it at its next one; a thread that waits for it takes it back once its holder is elsewhere. One that runs in
the middle of a turn may take its time, and wait for another thread in turn: that one must not wait for the turn.
"""

import sys
import time
from collections import deque
from collections.abc import Callable

from e2s_tasks.meters.account import Account
from e2s_tasks.meters.threads import MeasuredThread, Taker
from e2s_tasks.signals import handler_codes

WAIT_S = 20e-6
PATIENCE = 500  # waits; the longest turn takes a millisecond of CPU time, unless its thread is not run

# what is to be booked; the thread, the account, the time (monotonic ns) and the thread's CPU time (ns)
Note = tuple[Callable[[MeasuredThread, Account, int, int], None], MeasuredThread, Account, int, int]


class Turn:
    """holder: the thread whose turn it is, under the key 0; no thread comes between asking for it and taking it.

    notes: what other threads had to tell meanwhile. code: the file whose code works in turns.
    """

    __slots__ = ("_code", "_interrupted", "holder", "notes")

    def __init__(self, code: str) -> None:
        self.holder: dict[int, Taker] = {}
        self.notes: deque[Note] = deque()
        self._code = code
        self._interrupted: Taker | None = None  # in whose turn a signal handler ran when it was last looked for

    def take(self, thread: Taker, *, wait: bool = True, for_handlers: bool = True) -> bool | None:
        """Whether it was the thread's turn before (a signal handler's span, within it); None: it is another's.

        wait: until it is the thread's. for_handlers: even while a signal handler runs in another's.
        """
        waits = 0
        while self.holder.setdefault(0, thread) is not thread:
            if not wait:
                return None
            waits += 1
            if waits % PATIENCE == 0 or (waits == 1 and self._interrupted is not None):
                if self._is_interrupted() and not for_handlers:
                    return None
                self._take_back()
            time.sleep(WAIT_S)
        inside, thread.inside = thread.inside, True
        return inside

    def give(self, thread: Taker, *, inside: bool) -> None:
        """The turn is over, unless the thread was inside it before."""
        thread.inside = inside
        if not inside:
            self.holder.clear()

    def _is_interrupted(self) -> bool:
        """Whether a signal handler runs in the middle of the turn."""
        handlers = handler_codes()
        holder, self._interrupted = self.holder.get(0), None
        frame = None if holder is None else sys._current_frames().get(holder.ident)  # noqa: SLF001 - as below
        while frame is not None and frame.f_code.co_filename != self._code:
            if frame.f_code in handlers:
                self._interrupted = holder
                return True
            frame = frame.f_back
        return False

    def _take_back(self) -> None:
        """End the turn of a thread that is not at work on the meter any more."""
        holder = self.holder.get(0)
        if holder is None:
            return
        frame = sys._current_frames().get(holder.ident)  # noqa: SLF001 - the only way to see where a thread is
        while frame is not None:
            if frame.f_code.co_filename == self._code:
                return
            frame = frame.f_back
        holder.inside = False
        self.holder.clear()
