"""Which runs were written to since somebody last looked."""

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from e2s_tasks.core.records import CallRecord, SpanRecord
from e2s_tasks.ledger import Ledger
from e2s_tasks.ledger.changes import note


def test_nothing_is_new_at_first_and_then_what_is_written(ledger, flow, span):
    ledger.ingest([flow("before")])
    start = ledger.changes(None)
    assert start.runs == {}
    assert set(ledger.changes(start.until).runs) <= {"before"}
    ledger.ingest([flow("a"), span("s", run="a"), flow("b")])
    found = ledger.changes(start.until)
    assert {"a", "b"} <= set(found.runs)
    assert ledger.changes(ledger.changes(found.until).until).runs.keys() <= found.runs.keys()


def test_a_later_write_of_a_run_has_a_higher_number(ledger, flow, span):
    ledger.ingest([flow("a"), flow("b")])
    first = ledger.changes(0).runs
    ledger.ingest([span("s", run="a")])
    second = ledger.changes(0).runs
    assert second["a"] > first["a"]
    assert second["b"] == first["b"]


def test_a_flow_run_that_another_started_is_new_once_that_is_known(ledger, flow):
    ledger.ingest([flow("a"), flow("b")])
    before = ledger.changes(0).runs
    ledger.ingest([CallRecord("b", "a")])
    assert ledger.changes(0).runs["b"] > before["b"]
    assert ledger.root_runs(["b"]) == {"b": "a"}
    assert list(ledger.root_runs()) == ["a"]


def test_spent_has_the_spans_processes_and_decisions_of_a_run_alone(ledger, flow, version, read):
    ledger.ingest([flow("a", cpu_j=1.0), version("file:///x", 1.0, run="a"), read("file:///x", 2.0, run="a")])
    (found,) = ledger.spent(["a", "unknown"])
    assert [one.cpu_j for one in found.spans] == [1.0]
    assert (found.versions, found.reads) == ([], [])


@pytest.mark.slow
def test_in_postgresql_a_write_that_ends_after_a_later_one_is_not_missed(postgresql_url, flow):
    """Two transactions overlap: the one that began first is committed last."""
    ledger = Ledger.open(postgresql_url)
    ledger.ingest([flow("first")])
    engine = sa.create_engine(postgresql_url)
    start = ledger.changes(None).until
    with engine.connect() as slow:
        slow.execute(sa.text("INSERT INTO changed VALUES ('slow', pg_current_xact_id()::text::bigint)"))
        ledger.ingest([flow("quick")])
        found = ledger.changes(start)
        assert set(found.runs) == {"quick"}
        slow.commit()
    assert set(ledger.changes(found.until).runs) == {"slow", "quick"}
    assert ledger.changes(ledger.changes(found.until).until).runs == {}


@pytest.mark.slow
def test_in_postgresql_a_slow_write_of_a_run_shows_though_a_later_one_of_that_run_has_been_seen(postgresql_url, flow):
    ledger = Ledger.open(postgresql_url)
    ledger.ingest([flow("a")])
    engine = sa.create_engine(postgresql_url)
    before = ledger.changes(None).until
    with engine.connect() as slow:
        slow.execute(sa.text("SELECT pg_current_xact_id()"))  # it has begun
        ledger.ingest([flow("a", seq=2)])
        seen = ledger.changes(before)
        note(slow, insert, {SpanRecord: [{"run_id": "a"}]})
        slow.commit()
    found = ledger.changes(seen.until)
    assert found.runs["a"] != seen.runs["a"]
    assert ledger.changes(found.until).runs == {}
