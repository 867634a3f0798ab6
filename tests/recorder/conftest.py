import pytest

from e2s_tasks.core import spans
from e2s_tasks.core.records import SpanRecord
from e2s_tasks.ledger.replaying import read_journal
from e2s_tasks.recorder.open_span import CURRENT
from e2s_tasks.recorder.recorder import SpanRecorder
from e2s_tasks.settings import Settings


class Recorded:
    """A recorder with a data directory of its own, and what it wrote."""

    def __init__(self, folder, **options) -> None:
        self.settings = Settings(**{"data_dir": folder, "tick_s": 0.05, **options})
        self.recorder = SpanRecorder(self.settings)

    def records(self, cls=SpanRecord):
        """The last word on each record of a type, by id, in the order of their first appearance."""
        self.recorder.flush()
        found, _ = read_journal(self.recorder._journal.path)
        return {record.id: record for record in found if isinstance(record, cls)}

    def spans(self):
        """The spans by name."""
        return {record.name: record for record in self.records().values()}


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    made = Recorded(tmp_path)
    monkeypatch.setattr(spans, "factory", lambda: made.recorder)
    yield made
    CURRENT.set(None)  # a span that a test left open is not around the next test's
    made.recorder.close()
    made.recorder.leave_behind()  # its thread ends, and works in no other test
    made.recorder._resume.set()
    made.recorder._wake.set()
    if made.recorder._thread is not None:
        made.recorder._thread.join()
