import pytest

from e2s_tasks.core.records import ReadRecord, SpanRecord, VersionRecord
from e2s_tasks.ledger import Ledger


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'new' / 'directory' / 'ledger.db'}"


@pytest.fixture
def ledger(url):
    return Ledger.open(url)


@pytest.fixture
def span():
    def make(id, kind="attempt", run="run-1", at=0.0, **fields):  # noqa: A002
        fields = {"seq": 1, "status": "completed", "ended_at": at + 1.0, "flow_run_id": run, "name": id} | fields
        return SpanRecord(id=id, process_id="p", run_id=run, kind=kind, started_at=at, **fields)

    return make


@pytest.fixture
def flow(span):
    def make(run, at=0.0, name="delays", run_name=None, **fields):
        attributes = {"flow_run_name": run_name or f"name-of-{run}"}
        return span(fields.pop("id", f"flow-{run}"), "flow", run, at, name=name, attributes=attributes, **fields)

    return make


@pytest.fixture
def version():
    def make(uri, at, id=None, run="run-1"):  # noqa: A002
        return VersionRecord(id or f"{uri}@{at}", uri, "w", run, at, bytes=1)

    return make


@pytest.fixture
def read():
    def make(uri, at, run="run-1", version_id=None):
        return ReadRecord(f"{uri}<{at}", uri, "r", run, at, version_id)

    return make
