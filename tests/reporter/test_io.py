"""Unrecorded bytes of a run, over processes and overlapping root spans."""

from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.core.records import PROCESS_IO, ReadRecord
from e2s_tasks.reporter import provenance, summarise
from e2s_tasks.reporter.io import process_io
from tests.reporter.runs import root, run, span


def told(begin, end):
    return {PROCESS_IO: [[begin] * 4, [end] * 4]}


def test_overlapping_root_spans_of_a_process_count_their_time_once():
    spans = [
        root(attributes=told(100, 300)),
        span("a", attributes=told(200, 400)),
        span("b", attributes=told(500, 600)),
    ]
    assert process_io(run(*spans))["read_bytes"] == 400


def test_processes_add_up_and_those_that_are_not_known_are_said():
    spans = [
        root(attributes=told(0, 10)),
        span("a", process_id="other", attributes=told(0, 5)),
        span("b", process_id="third"),
    ]
    found = process_io(run(*spans))
    assert (found["read_bytes"], found["processes"], found["unknown"]) == (15, 2, 1)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1))
def test_it_is_the_length_of_the_union(stretches):
    stretches = [(min(one), max(one)) for one in stretches]
    covered = {byte for begin, end in stretches for byte in range(begin, end)}
    spans = [span(f"s{number}", attributes=told(*one)) for number, one in enumerate(stretches)]
    assert process_io(run(*spans))["written_bytes"] == len(covered)


def test_what_went_over_a_network_is_not_among_the_systems_bytes():
    inside = [
        span("near", kind="read", bytes_read=300, storage_j=1.0),
        span("far", kind="read", bytes_read=5000, network_j=1.0),
        span("named", kind="read", bytes_read=7000),
    ]
    made = run(root(attributes=told(0, 1000)), *inside)
    made.reads.append(ReadRecord("r", "s3://lake/x", inside[2].id, made.run_id, 0.0))
    found = process_io(made)
    assert (found["recorded_read"], found["unrecorded_read"]) == (300, 700)
    assert provenance.unrecorded(summarise(made)).startswith("700 B read, 1.00 kB written, of 1.00 kB and 1.00 kB")
