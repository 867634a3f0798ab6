"""From the journal to the ledger: what is not delivered stays in the journal, which is the outbox."""

import threading

from e2s_tasks.ledger.journal import Journal, read_journal
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.settings import Settings


class Delivery:
    """Takes what is new in a journal to the ledger; a ledger that does not answer costs one warning."""

    def __init__(self, journal: Journal, process_id: str, options: Settings) -> None:
        self._journal = journal
        self._process_id = process_id
        self._settings = options
        self._ledger: object | None = None
        self._offset = 0
        self._delivering = threading.Lock()
        self.complete = False

    def remove_journal(self) -> None:
        """Remove the journal, all of which has been delivered; what is appended later is delivered from its start."""
        with self._delivering:
            self._journal.remove()
            self._offset = 0

    def deliver(self) -> None:
        """Ingest what was appended since the last delivery. Idempotent: a record that arrives twice changes nothing."""
        with self._delivering:
            self.complete = False
            if self._journal.dropped and not self._journal.path.exists():
                return  # nothing could be written down, of which the journal has warned
            try:
                self._ingest()
            except Exception as error:  # noqa: BLE001 - law 5: the records wait in the journal
                self._ledger = None
                warn_once("delivery to the ledger", error)
            else:
                self.complete = True

    def _ingest(self) -> None:
        from e2s_tasks.ledger import Ledger

        ledger = self._ledger if isinstance(self._ledger, Ledger) else Ledger.open(self._settings.ledger)
        self._ledger = ledger
        records, offset = read_journal(self._journal.path, self._offset)
        if records:
            ledger.ingest(records, (self._process_id, offset))
        self._offset = offset
