"""From the journal to the ledger: what is not delivered stays in the journal, which is the outbox."""

import os
import sys
import threading
import time

from e2s_tasks.ledger.journal import Journal, portions
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.settings import Settings

EVERY_S = 10.0
PATIENCE_S = 0.5  # measured work does not wait for a ledger that is locked; the records do
LARGE = 16_000_000
MANY = 50


class Delivery:
    """Takes what is new in a journal to the ledger; a ledger that does not answer costs one warning."""

    def __init__(self, journal: Journal, process_id: str, options: Settings) -> None:
        self._journal = journal
        self._process_id = process_id
        self._settings = options
        self._ledger: object | None = None
        self._offset = 0
        self._delivered = time.monotonic()
        self._delivering = threading.Lock()
        self.complete = False

    @property
    def due(self) -> bool:
        """Whether to deliver while work goes on: a ledger of several hosts often, the own one when there is much."""
        if time.monotonic() - self._delivered < EVERY_S:
            return False
        return self._settings.ledger_url is not None or self._journal.size - self._offset > LARGE

    @property
    def at_exit(self) -> bool:
        """Whether to deliver when the process ends; whoever reads the own ledger takes in the journals that lie there.

        Opening the ledger takes a third of a second, which a process that has not opened it yet is spared.
        """
        if self._settings.ledger_url is not None or "e2s_tasks.ledger.ledger" in sys.modules:
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

    def deliver(self) -> None:
        """Ingest what was appended since the last delivery. Idempotent: a record that arrives twice changes nothing."""
        with self._delivering:
            self.complete = False
            self._delivered = time.monotonic()
            if self._journal.troubled and not self._journal.path.exists():
                return  # nothing could be written down, of which the journal has warned
            try:
                self._ingest()
            except Exception as error:  # noqa: BLE001 - law 5: the records wait in the journal
                self._ledger = None
                waits = f"the records wait in the journal {self._journal.path}"
                warn_once("delivery to the ledger", error, waits)
            else:
                self.complete = True

    def _ingest(self) -> None:
        from e2s_tasks.ledger import Ledger

        ledger = self._ledger if isinstance(self._ledger, Ledger) else Ledger.open(self._settings.ledger, PATIENCE_S)
        self._ledger = ledger
        for records, offset in portions(self._journal.path, self._offset):
            ledger.ingest(records, (self._process_id, offset))
            self._offset = offset
