"""What earlier runs of a flow teach about its length and energy."""

from dataclasses import replace

import pytest

from e2s_tasks.core.records import DecisionRecord, Kind, SpanRecord
from e2s_tasks.ledger import Ledger


@pytest.fixture
def ledger(tmp_path):
    with_it = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield with_it
    with_it.close()


def flow(number, seconds, joules=10.0, **fields):
    given = {
        "id": f"flow {number}", "seq": 1, "process_id": "p", "run_id": f"run {number}", "kind": Kind.FLOW,
        "name": "heavy", "status": "completed", "started_at": 1000.0 * number, "flow_run_id": f"run {number}",
        "ended_at": 1000.0 * number + seconds, "cpu_j": joules,
    }  # fmt: skip
    return SpanRecord(**given | fields)


def test_nothing_is_learned_from_fewer_than_five_runs(ledger):
    ledger.ingest([flow(number, 10.0) for number in range(4)])
    assert ledger.learned("heavy") is None
    assert ledger.learned("unknown") is None


def test_half_the_runs_take_the_median_and_almost_all_the_95th_percentile(ledger):
    ledger.ingest([flow(number, float(number + 1), joules=float(number)) for number in range(20)])
    found = ledger.learned("heavy")
    assert (found.runs, found.p50_s, found.p95_s) == (20, 10.5, 20.0)
    assert found.energy_j == 10.0


def test_failed_runs_subflows_and_other_flows_teach_nothing(ledger):
    others = [
        flow(90, 900.0, status="failed"),
        flow(91, 900.0, flow_run_id="of another"),
        flow(92, 900.0, name="other"),
        flow(93, 900.0, status="suspended"),
    ]
    ledger.ingest([*others, *(flow(number, 10.0) for number in range(6))])
    assert ledger.learned("heavy").p95_s == 10.0


def test_a_run_that_began_again_with_some_of_its_steps_teaches_nothing(ledger):
    runs = [flow(number, 10.0, attributes={"last_began_at": 1000.0 * number}) for number in range(5)]
    weeks = 20 * 86400.0
    cleared = flow(9, weeks, attributes={"last_began_at": 9000.0 + weeks - 5})
    ledger.ingest([*runs, cleared])
    assert (ledger.learned("heavy").runs, ledger.learned("heavy").p95_s) == (5, 10.0)


def test_what_a_run_waited_is_no_part_of_its_length(ledger):
    runs = [flow(number, 100.0) for number in range(5)]
    waits = [
        replace(one, id=f"wait {one.id}", kind=Kind.WAIT, ended_at=one.started_at + 80.0, parent_id=one.id, cpu_j=0.0)
        for one in runs
    ]
    ledger.ingest([*runs, *waits])
    assert ledger.learned("heavy").p50_s == 20.0


def test_what_single_steps_of_a_run_waited_while_nothing_else_went_on_is_no_part_of_its_length(ledger):
    runs = [flow(number, 100.0) for number in range(5)]
    steps = [
        replace(one, id=f"{part} {one.id}", kind=Kind.ATTEMPT, task_run_id=f"step of {one.id}", parent_id=one.id,
                started_at=one.started_at + begin, ended_at=one.started_at + end)
        for one in runs for part, begin, end in (("asks", 0.0, 1.0), ("works", 81.0, 100.0))
    ]  # fmt: skip
    waits = [
        DecisionRecord(f"of {one.id}", one.run_id, one.started_at + 0.5, "", "", "",
                       plan={"step": f"step of {one.id}", "waits": True, "arrived": one.started_at + 0.5})
        for one in runs
    ]  # fmt: skip
    ledger.ingest([*runs, *steps, *waits])
    assert ledger.learned("heavy").p50_s == 20.0
