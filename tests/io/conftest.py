from dataclasses import dataclass, field
from typing import Any, ClassVar

import fsspec
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from e2s_tasks.core import spans
from e2s_tasks.core.records import Kind, Status
from e2s_tasks.core.spans import status_of


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
    files_read: list[Any] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    failed: bool = False
    steps: list[str] = field(default_factory=list)

    def moved(self, *, bytes_read=0, bytes_written=0, rows=None, storage_j=None, network_j=None):
        self.bytes_read += bytes_read
        self.bytes_written += bytes_written
        for name, more in (("rows", rows), ("storage_j", storage_j), ("network_j", network_j)):
            if more is not None:
                setattr(self, name, (getattr(self, name) or 0) + more)

    def wrote(self, uri, **version):
        self.versions.append({"uri": uri, **version})

    def read(self, uri, *, files=None):
        self.reads.append(uri)
        self.files_read.append(files)

    def note(self, attributes):
        self.attributes.update(attributes)

    def start(self):
        self.steps.append("start")

    def resume(self):
        assert self.steps[-1] in ("start", "suspend")
        self.steps.append("resume")

    def suspend(self):
        assert self.steps[-1] == "resume"
        self.steps.append("suspend")

    def end(self, status):
        assert self.steps[-1] == "suspend"
        self.steps.append("end")
        self.failed = status is Status.FAILED

    def __enter__(self):
        self.start()
        self.resume()
        return self

    def __exit__(self, kind, error, trace):
        self.suspend()
        self.end(status_of(error))


class FakeRecorder:
    def __init__(self):
        self.spans: list[FakeSpan] = []

    @property
    def last(self) -> FakeSpan:
        return self.spans[-1]

    def span(self, name, kind=Kind.SPAN):
        self.spans.append(FakeSpan(name, kind))
        return self.last


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


@pytest.fixture(scope="module")
def recorded_spans():
    """The same, for properties that look at what was recorded."""
    patch, recorder = pytest.MonkeyPatch(), FakeRecorder()
    patch.setattr(spans, "factory", lambda: recorder)
    yield recorder
    patch.undo()


class RemoteFileSystem(MemoryFileSystem):
    """An object store as far as the library can tell; it counts what is opened and how much is read."""

    protocol = "remote"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]
    opened: ClassVar[list] = []

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol("memory://" + path.rpartition("://")[2].partition("?")[0])

    def _open(self, path, mode="rb", **options):
        if mode == "rb":
            self.opened.append(path)
        return super()._open(path, mode, **options)


fsspec.register_implementation("remote", RemoteFileSystem, clobber=True)


@pytest.fixture
def remote():
    RemoteFileSystem.store.clear()
    RemoteFileSystem.pseudo_dirs[:] = [""]
    RemoteFileSystem.opened.clear()
    return RemoteFileSystem()


@pytest.fixture
def flights():
    rows = 4000
    return pd.DataFrame(
        {
            "month": [1 + i * 4 // rows for i in range(rows)],
            "carrier": [("UA", "DL", "B6")[i % 3] for i in range(rows)],
            "delay": [float(i * 7919 % 1000) for i in range(rows)],
            "number": range(rows),
        }
    )
