"""From the journal to the ledger: what is not delivered stays in the journal, which is the outbox."""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from e2s_tasks.errors import LedgerBusyError, LedgerError
from e2s_tasks.ledger.journal import Journal
from e2s_tasks.recorder.courier import Courier
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.settings import Settings

EVERY_S = 10.0
PATIENCE_S = 0.5  # measured work does not wait for a ledger that is locked; the records do
SLOW_S = 1.0  # a ledger that took longer to fail is not asked again for EVERY_S
SWEEP_EVERY_S = 600.0  # how often a process looks for journals that others left
LARGE = 1_000_000
MANY = 50


class Delivery:
    """Takes what is new in a journal to the ledger; a ledger that does not answer costs one warning.

    own_thread: called on the thread that delivers to a ledger that is not this host's own, before it starts.
    own_work: a block around each delivery, on whatever thread. meanwhile: called between two portions of a delivery by
    the thread that measures, which has other things to do.
    """

    def __init__(
        self,
        journal: Journal,
        process_id: str,
        options: Settings,
        *,
        own_thread: Callable[[], None] = lambda: None,
        own_work: Callable[[], AbstractContextManager[None]] = nullcontext,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self._journal = journal
        self._process_id = process_id
        self._settings = options
        self._own_work = own_work
        self._meanwhile = meanwhile
        self._ledger: object | None = None
        self._offset = 0
        self._delivered = time.monotonic()
        self._spared_until = 0.0
        self._swept = -SWEEP_EVERY_S
        self._delivering = threading.Lock()
        self._error: Exception | None = None
        self._hurried = False
        self.complete = False
        # Made now, since from Python 3.12 on no thread can be started when the process ends.
        elsewhere = options.ledger_url is not None and options.enabled
        self._courier = Courier(self._attempt, self._sweep, own_thread) if elsewhere else None

    @property
    def due(self) -> bool:
        """Whether to deliver while work goes on: a ledger of several hosts often, the own one when there is much."""
        if self._hurried and (self._settings.ledger_url is not None or _loaded()):
            return True
        if time.monotonic() - self._delivered < EVERY_S:
            return False
        return self._settings.ledger_url is not None or self._journal.size - self._offset > LARGE

    def hurry(self) -> None:
        """Have what is there delivered at the next opportunity: a run has ended, and is about to be told of."""
        self._hurried = True

    @property
    def at_exit(self) -> bool:
        """Whether to deliver when the process ends; whoever reads the own ledger takes in the journals that lie there.

        Opening the ledger takes a third of a second, which a process that has not opened it yet is spared.
        """
        if self._settings.ledger_url is not None or _loaded():
            return True
        try:
            return len(os.listdir(self._settings.journals)) > MANY  # noqa: PTH208 - only their number
        except OSError:
            return False

    def remove_journal(self) -> None:
        """Remove the journal, all of which has been delivered; what is appended later is delivered from its start."""
        with self._delivering:
            self._journal.remove()
            self._offset = 0

    def deliver(self, *, wait: bool = True) -> None:
        """Ingest what was appended since the last delivery. Idempotent: a record that arrives twice changes nothing.

        Waits for the end of it for as long as it gets on, or not at all; of what failed a warning tells.
        """
        self.complete = False
        if self._courier is None:
            self._attempt()
        elif time.monotonic() < self._spared_until:
            return  # it has just kept somebody waiting in vain
        elif not self._courier.send(wait=wait):
            self._error = LedgerError(f"the ledger does not answer for {self._courier.SILENCE_S:.0f} s")
        error, self._error = self._error, None
        if error is not None:
            warn_once("delivery to the ledger", error, f"the records wait in the journal {self._journal.path}")

    def _attempt(self) -> None:
        with self._delivering, self._own_work():
            self.complete = False
            self._delivered, self._hurried = (begun := time.monotonic()), False
            if self._settings.ledger_url is None and not self._journal.exists:
                return  # nothing could be written down, of which the journal has warned, and the ledger lies beside it
            try:
                self._ingest()
            except Exception as error:  # noqa: BLE001 - law 5: the records wait in the journal
                self._ledger, self._error = None, error
                failed = time.monotonic()
                self._spared_until = failed + EVERY_S if failed - begun > SLOW_S else 0.0
            else:
                self.complete = True

    def _ingest(self) -> None:
        from e2s_tasks.ledger import Ledger
        from e2s_tasks.ledger.replaying import portions

        ledger = self._ledger if isinstance(self._ledger, Ledger) else Ledger.open(self._settings.ledger, PATIENCE_S)
        self._ledger = ledger
        try:
            if self._journal.troubled:
                ledger.ingest(self._journal.waiting())  # a kill, or the end, would lose them
            for records, offset in portions(self._journal.path, self._offset) if self._journal.exists else ():
                ledger.ingest(records, (self._process_id, offset))
                self._offset = offset
                if self._courier is not None:
                    self._courier.got_on()
                else:
                    self._meanwhile()
        finally:
            ledger.close()  # a server has few connections, and this process needs none until the next time

    def _sweep(self) -> None:
        """Take in what killed processes of this host left: nobody may ever read a ledger of several hosts here."""
        from e2s_tasks.ledger import Ledger
        from e2s_tasks.ledger.replaying import replay_ended

        if not self.complete or time.monotonic() - self._swept < SWEEP_EVERY_S:
            return
        self._swept = time.monotonic()
        ledger = self._ledger
        if isinstance(ledger, Ledger):
            try:
                replay_ended(self._settings.journals, ledger)
            except (LedgerBusyError, LedgerError):
                return  # they wait for the next
            finally:
                ledger.close()


def _loaded() -> bool:
    """Whether this process has loaded the ledger, which takes a third of a second."""
    return "e2s_tasks.ledger.ledger" in sys.modules
