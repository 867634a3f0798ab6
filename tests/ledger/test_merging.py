"""A run that several processes tell of: what the ledger says of it does not depend on who is heard first."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2s_tasks.core.records import SOLUTION_SEQ, SpanRecord

TOLD = st.tuples(
    st.integers(0, 6), st.sampled_from(["running", "completed"]), st.sampled_from([5.0, 10.0, 20.0]),
    st.sampled_from([None, "churn", "delays"]), st.sampled_from([{}, {"pue": 1.2}]),
)  # fmt: skip


def _of(run, seq, status="running", at=0.0, solution=None, attributes=None):
    return SpanRecord(
        f"root of {run}", seq, run, run, "flow", "d", status, at,
        flow_run_id=run, solution=solution, attributes=attributes or {},
    )  # fmt: skip


def _in_portions(ledger, records, portion):
    for start in range(0, len(records), portion):
        ledger.ingest(records[start : start + portion])


def _row(ledger, run):
    [found] = ledger.run(run).spans
    return replace(found, id="", process_id="", run_id="", flow_run_id="")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TOLD, min_size=1, max_size=6), st.randoms(), st.integers(1, 6), st.integers(1, 6))
def test_any_order_and_any_portions_of_what_is_told_of_a_run_make_the_same_of_it(ledger, told, random, one, other):
    here, there = uuid4().hex, uuid4().hex
    _in_portions(ledger, [_of(here, *entry) for entry in told], one)
    shuffled = [*told, *told[:2]]  # some of it is heard twice
    random.shuffle(shuffled)
    _in_portions(ledger, [_of(there, *entry) for entry in shuffled], other)
    row = _row(ledger, here)
    assert _row(ledger, there) == row
    assert (row.seq, row.started_at) == (max(entry[0] for entry in told), min(entry[2] for entry in told))
    named = [entry for entry in told if entry[3] is not None]
    last = {entry[3] for entry in named if entry[0] == max(one[0] for one in named)} if named else {None}
    assert row.solution in last


@pytest.mark.parametrize("portion", [1, 4])
def test_a_run_that_was_deleted_and_made_anew_is_of_the_solution_that_it_was_last_told_of(ledger, portion):
    told = [(1, "running", 1.0, "old"), (2, "completed", 1.0, "old"), (3, "running", 9.0, "new"), (4, "completed", 9.0)]
    for number, order in enumerate(permutations(told)):
        run = f"run {number}"
        _in_portions(ledger, [_of(run, *entry) for entry in order], portion)
        row = _row(ledger, run)
        assert (row.solution, row.status, row.started_at) == ("new", "completed", 1.0), order


def test_what_names_no_solution_keeps_the_one_known_with_the_number_of_what_named_it(ledger):
    ledger.ingest([_of("run-1", 2, solution="delays"), _of("run-1", 5, "completed")])
    row = _row(ledger, "run-1")
    assert (row.solution, row.attributes) == ("delays", {SOLUTION_SEQ: 2})
    ledger.ingest([_of("run-1", 3, solution="churn")])
    assert _row(ledger, "run-1").solution == "churn"
    ledger.ingest([_of("run-1", 6, "completed", solution="rows")])
    assert (_row(ledger, "run-1").solution, _row(ledger, "run-1").attributes) == ("rows", {})


def test_nothing_is_lost_of_what_processes_tell_at_the_same_time(ledger):
    told = [(seq, "running", 100.0 - seq, "delays" if seq == 7 else None) for seq in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda entry: ledger.ingest([_of("run-1", *entry)]), told))
    row = _row(ledger, "run-1")
    assert (row.seq, row.started_at, row.solution) == (11, 89.0, "delays")
