"""The thread that delivers to a ledger elsewhere, so that one that does not answer holds nobody up for long."""

import threading
import time
from collections.abc import Callable

from e2s_tasks.recorder.guard import guarded
from e2s_tasks.recorder.starts import OwnThread


class Courier:
    """Does its errand when it is sent, one after another. Whoever waits gives up once it no longer gets on.

    errand: what to do. afterwards: what nobody waits for. on_start: called on its thread first.
    """

    SILENCE_S = 5.0

    def __init__(
        self, errand: Callable[[], None], afterwards: Callable[[], None], on_start: Callable[[], None]
    ) -> None:
        self._errand, self._afterwards, self._on_start = errand, guarded(afterwards), guarded(on_start)
        self._changed = threading.Condition()
        self._asked = self._done = 0
        self._moved = time.monotonic()
        self._thread = OwnThread(target=self._run, name="e2s-courier", daemon=True)
        self._thread.start()

    def send(self, *, wait: bool) -> bool:
        """Have it begin its errand anew, and wait for the end; False if it gets on no more, and goes on by itself."""
        with self._changed:
            if self._asked == self._done:
                self._moved = time.monotonic()
            self._asked += 1
            number = self._asked
            self._changed.notify_all()
            while wait and self._done < number:
                left = self._moved + self.SILENCE_S - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return False
                self._changed.wait(left)
        return True

    def got_on(self) -> None:
        """A part of the errand is done."""
        self._moved = time.monotonic()

    def _run(self) -> None:
        self._on_start()
        while True:
            with self._changed:
                while self._asked == self._done:
                    self._changed.wait()
                asked = self._asked
            self._moved = time.monotonic()
            self._errand()
            with self._changed:
                self._done = asked
                self._changed.notify_all()
            self._afterwards()
