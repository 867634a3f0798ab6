"""What operators do with themselves goes on as if nobody measured them."""

import time

import pytest

from e2s_tasks.core.records import Kind, Status
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.ledger import Ledger, replay
from e2s_tasks.reporter import summarise

PATIENCE_S = 30


def span_host_j(span):
    """Its host energy in joules."""
    return sum(one for one in (span.cpu_j, span.dram_j, span.gpu_j, span.static_j) if one is not None)


def _run(airflow, run_id, dag_id="unusual"):
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    replay(airflow.home / "e2s" / "journal", ledger)
    return ledger.run(dag_run_id(dag_id, run_id))


@pytest.fixture(scope="module")
def ran(airflow):
    run_id = airflow.trigger("unusual")  # whose param `e2s` is somebody else's
    airflow.wait("unusual", run_id)
    return run_id


def test_operators_that_copy_or_call_themselves_and_iterators_that_are_pulled_succeed(airflow, ran):
    states = {one["task_id"]: one["state"] for one in airflow.task_instances("unusual", ran)}
    assert states == dict.fromkeys(states, "success")


def test_an_operator_can_send_its_own_methods_to_other_processes(airflow):
    assert airflow.wait("pool", airflow.trigger("pool")) == "success"


def test_a_copy_of_an_operator_does_the_work(airflow, ran):
    path = f"/api/v2/dags/unusual/dagRuns/{ran}/taskInstances/copies/xcomEntries/return_value"
    assert airflow.client.get(path).raise_for_status().json()["value"] in {7, "7"}


def test_what_an_operator_does_after_it_called_itself_is_the_attempts(airflow, ran):
    (attempt,) = [one for one in _run(airflow, ran).spans if one.kind == Kind.ATTEMPT and one.name == "calls_itself"]
    assert attempt.cpu_ns > 0.45e9


def _attempt(run, name):
    (found,) = [one for one in run.spans if one.kind == Kind.ATTEMPT and one.name == name]
    return found


def test_callbacks_after_the_work_are_no_part_of_the_attempt_and_its_asset_tells_all_that_it_used(airflow, ran):
    attempt = _attempt(_run(airflow, ran), "is_called_back")
    assert attempt.ended_at - attempt.started_at < 8  # seconds, which the callback alone takes
    events = airflow.client.get("/api/v2/assets/events").raise_for_status().json()["asset_events"]
    [told] = [one["extra"]["e2s"] for one in events if one["name"] == "told of before the callback"]
    assert told["attempt_host_energy_j"] == pytest.approx(span_host_j(attempt), rel=1e-9)


def test_a_label_that_a_mapped_instance_gives_itself_is_its_name(airflow, ran):
    attempt = _attempt(_run(airflow, ran), "labels_itself")
    assert attempt.attributes["task_run_name"] == "labels_itself[number 1]"
    assert "Mapped" not in attempt.attributes["operator"]


def test_who_was_deferred_for_too_long_timed_out(airflow):
    run_id = airflow.trigger("deferred_for_too_long")
    assert airflow.wait("deferred_for_too_long", run_id) == "failed"
    stretches = [one for one in _run(airflow, run_id, "deferred_for_too_long").spans if one.kind == Kind.ATTEMPT]
    assert {one.status for one in stretches} == {Status.TIMED_OUT}


def test_who_fails_or_is_killed_after_its_work_was_not_successful_and_achieved_nothing(airflow):
    run_id = airflow.trigger("fails_after_its_work")
    assert airflow.wait("fails_after_its_work", run_id) == "failed"
    run = _run(airflow, run_id, "fails_after_its_work")
    killed = _attempt(run, "is_killed_while_its_result_is_sent")
    assert killed.status == Status.CRASHED  # the keeping of its result is a part of its work
    assert _attempt(run, "returns_what_cannot_be_sent").status == Status.FAILED
    assert {one["value"] for one in summarise(run)["kpis"].values()} == {None}


def test_a_run_that_a_person_marks_otherwise_afterwards_is_what_was_said_last(airflow, ran):
    path = f"/api/v2/dags/unusual/dagRuns/{ran}"
    airflow.client.patch(path, json={"state": "failed"}).raise_for_status()
    until = time.monotonic() + PATIENCE_S
    while next(one for one in _run(airflow, ran).spans if one.kind == Kind.FLOW).status != "failed":
        assert time.monotonic() < until
        time.sleep(0.5)
