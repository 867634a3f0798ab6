"""Flow runs that another flow run started in a process of their own are a part of its run."""

import itertools

import pytest

from e2s_tasks.core.records import CallRecord, Kind


@pytest.fixture
def called(flow, span):
    """A flow run P with a task that starts C, whose task starts G; each in a process of its own."""
    return [
        flow("P", 0.0, id="p", cpu_j=1.0, solution="scoring"),
        span("task", "attempt", "P", 1.0, parent_id="p", task_run_id="t", cpu_j=10.0),
        flow("C", 2.0, id="c", cpu_j=100.0),
        flow("G", 3.0, id="g", cpu_j=1000.0),
        CallRecord("C", "P", "t"),
        CallRecord("G", "C"),
    ]


def test_they_are_no_runs_of_their_own_whatever_arrives_first(ledger, called):
    for order in itertools.islice(itertools.permutations(called), 0, None, 97):
        for record in order:
            ledger.ingest([record])
        assert [(run.run_id, run.energy.cpu, run.spans) for run in ledger.runs()] == [("P", 1111.0, 4)]
    assert [run.run_id for run in ledger.runs_of("scoring")] == ["P"]
    assert list(ledger.flow_runs()["run_id"]) == ["P"]
    assert set(ledger.spans("P")["span_id"]) == {"p", "task", "c", "g"}
    assert set(ledger.spans(solution="scoring")["span_id"]) == {"p", "task", "c", "g"}


def test_the_run_is_found_by_the_id_and_the_name_of_each_of_them(ledger, called):
    ledger.ingest(called)
    assert {ledger.find_run(text) for text in ("P", "C", "G", "name-of-G")} == {"P"}
    assert {ledger.root_run(text) for text in ("P", "C", "G")} == {"P"}


def test_each_is_inside_the_attempt_or_flow_run_that_started_it(ledger, called):
    ledger.ingest(called)
    assert {one.id: one.parent_id for one in ledger.run("P").spans} == {"p": None, "task": "p", "c": "task", "g": "c"}


def test_one_that_an_unmeasured_flow_run_started_is_a_root_run(ledger, called):
    ledger.ingest([one for one in called if getattr(one, "kind", None) != Kind.ATTEMPT and one.id != "p"])
    assert [(run.run_id, run.energy.cpu) for run in ledger.runs()] == [("C", 1100.0)]
    assert ledger.root_run("G") == "C"


def test_flow_runs_that_claim_to_have_started_each_other_hold_nobody_up(ledger, flow):
    ledger.ingest([flow("A"), flow("B"), CallRecord("A", "B"), CallRecord("B", "A")])
    assert ledger.root_run("A") in {"A", "B"}
    assert {one.run_id for one in ledger.run("A").spans} == {"A", "B"}


def test_the_grid_as_the_root_run_saw_it_holds_for_all(ledger, called):
    from e2s_tasks.core.records import DecisionRecord

    decisions = [
        DecisionRecord(f"d-{run}", run, at, "average", "a source", "no policy", intensity=intensity)
        for run, at, intensity in (("P", 0.5, 100.0), ("C", 2.5, 900.0))
    ]
    ledger.ingest([*called, *decisions])
    assert [one.intensity for one in ledger.run("P").decisions] == [100.0]
