"""A plain span's line says what its record says."""

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks import span
from e2s_tasks.core.records import PROCESS_IO, Kind, SpanRecord
from e2s_tasks.ledger.journal import decode, encode
from e2s_tasks.recorder.guard import MeteringWarning
from e2s_tasks.recorder.plain import end_line, start_line
from e2s_tasks.recorder.recorder import SpanRecorder
from e2s_tasks.settings import Settings


@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    made = SpanRecorder(Settings(data_dir=tmp_path_factory.mktemp("data")))
    yield made
    made.flush()  # no delivery of its own goes on beside the next tests


@given(st.text(max_size=20), st.integers(0, 10**12), st.floats(0, 1e9), st.booleans())
def test_a_plain_spans_line_holds_the_record_that_it_stands_for(recorder, name, cpu_ns, joules, failed):
    with recorder.span("outer"), recorder.span("middle", facts={"solution": "a solution"}):
        inner = recorder.span(name)
        try:
            with inner:
                if failed:
                    int("no number")
        except ValueError:
            pass
        inner.cpu_ns, inner.joules = cpu_ns, {"cpu": joules}
        recorder._covered = {"cpu", "static"}
        line = end_line(inner, recorder._covered)
        assert line is not None
        plain = decode(line.rstrip(b"\n"))
        record = decode(encode(recorder._account_for(inner)).rstrip(b"\n"))
        assert isinstance(plain, SpanRecord)
        assert plain == record
        assert end_line(inner, set()) is None  # its record has been asked for


notes = st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.floats(0, 1) | st.text(max_size=5))


@given(notes, st.sampled_from(["of its own", "inside"]), st.integers(0, 10**12))
def test_the_line_of_a_span_with_facts_and_notes_holds_its_record(recorder, given_notes, where, cpu_ns):
    facts = {"task_run_id": "a run", "attempt": 2, "result_key": None, "attributes": {"task_run_name": 'b"c'}}
    with recorder.span("outer") if where == "inside" else nullcontext():
        attempt = recorder.span("work", Kind.ATTEMPT, facts)
        with attempt:
            attempt.note(given_notes)
    recorder.meter.tick()
    attempt.cpu_ns, attempt.joules = cpu_ns, {"cpu": 1.5}
    recorder._covered = {"cpu", "static"}
    line = end_line(attempt, recorder._covered)
    assert line is not None
    written = decode(line.rstrip(b"\n"))
    assert written == decode(encode(recorder._account_for(attempt)).rstrip(b"\n"))
    written.attributes.pop(PROCESS_IO, None)  # where a reading was taken in between
    assert written.attributes == {"task_run_name": 'b"c', **given_notes}


@given(st.text(max_size=5), st.sampled_from(["of its own", "inside"]))
def test_the_line_of_a_beginning_holds_its_record(recorder, name, where):
    facts = {"task_run_id": name, "attempt": 2, "result_key": None, "attributes": {"task_run_name": 'b"c'}}
    with recorder.span("outer", Kind.FLOW, {"flow_run_id": "f"}) if where == "inside" else nullcontext():
        attempt = recorder.span(name, Kind.ATTEMPT, facts)
        attempt.started_at = 12.5
        found = decode(start_line(attempt).rstrip(b"\n"))
        assert found == decode(encode(attempt.record).rstrip(b"\n"))
        assert (found.seq, found.status, found.task_run_id, found.run_id) == (0, "running", name, attempt.run_id)


def test_notes_that_cannot_be_written_cost_a_warning_and_no_span(recorded):
    circle = {}
    circle["again"] = circle
    with span("work") as work:
        work.note({"circle": circle})
    with pytest.warns(MeteringWarning, match="work"):
        recorded.recorder.drain(force=True)
    with span("later"):
        pass
    assert {name: one.status for name, one in recorded.spans().items()} == {"work": "completed", "later": "completed"}
