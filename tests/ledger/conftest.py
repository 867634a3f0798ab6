import itertools
import os

import pytest

from e2s_tasks.core.records import ReadRecord, SpanRecord, VersionRecord
from e2s_tasks.ledger import Ledger
from tests.servers.postgresql import PostgreSQL, missing

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server():
    """A PostgreSQL server; where there is none the test is skipped, or fails if TEST_SERVERS=required."""
    why = missing()
    if why is not None:
        (pytest.fail if os.environ.get("TEST_SERVERS") == "required" else pytest.skip)(why)
    found = PostgreSQL().start()
    yield found
    found.remove()


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'new' / 'directory' / 'ledger.db'}"


@pytest.fixture
def postgresql_url(server):
    """An empty database of its own."""
    return server.create(f"ledger_{next(_numbers)}")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request):
    """A ledger that does not exist yet, on each database."""
    return request.getfixturevalue(f"{request.param}_url")


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
