from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from e2s_tasks.core import spans
from e2s_tasks.core.records import Kind


@dataclass
class FakeSpan:
    name: str
    kind: Kind
    id: str = "span"
    bytes_read: int = 0
    bytes_written: int = 0
    rows: int | None = None
    storage_j: float | None = None
    network_j: float | None = None
    reads: list[str] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    failed: bool = False

    def moved(self, *, bytes_read=0, bytes_written=0, rows=None, storage_j=None, network_j=None):
        self.bytes_read += bytes_read
        self.bytes_written += bytes_written
        self.rows, self.storage_j, self.network_j = rows, storage_j, network_j

    def wrote(self, uri, **version):
        self.versions.append({"uri": uri, **version})

    def read(self, uri):
        self.reads.append(uri)

    def note(self, attributes):
        self.attributes.update(attributes)


class FakeRecorder:
    def __init__(self):
        self.spans: list[FakeSpan] = []

    @property
    def last(self) -> FakeSpan:
        return self.spans[-1]

    @contextmanager
    def span(self, name, kind=Kind.SPAN):
        span = FakeSpan(name, kind)
        self.spans.append(span)
        try:
            yield span
        except BaseException:
            span.failed = True
            raise


@pytest.fixture
def recorded(monkeypatch):
    recorder = FakeRecorder()
    monkeypatch.setattr(spans, "factory", lambda: recorder)
    return recorder


@pytest.fixture(scope="module")
def recorded_anywhere():
    """For properties, which outlive a function's fixtures."""
    patch = pytest.MonkeyPatch()
    patch.setattr(spans, "factory", FakeRecorder)
    yield
    patch.undo()
