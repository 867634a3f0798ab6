"""An attempt's work is all that is done for it, from the loading of what it is handed to the keeping of its result."""

from collections import Counter

import pytest

from e2s_tasks.core.lineage import lineage_of
from e2s_tasks.core.records import Kind
from e2s_tasks.integrations.airflow.identity import dag_run_id, task_instance_id
from e2s_tasks.ledger import Ledger, replay


def _ran(airflow, dag_id):
    run_id = airflow.trigger(dag_id)
    airflow.wait(dag_id, run_id, 240)
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    replay(airflow.home / "e2s" / "journal", ledger)
    return ledger.run(dag_run_id(dag_id, run_id)), run_id


def _attempts(run, name):
    return [one for one in run.spans if one.kind == Kind.ATTEMPT and one.name == name]


@pytest.fixture(scope="module")
def around(airflow):
    return _ran(airflow, "around_the_work")


@pytest.fixture(scope="module")
def triggers(airflow):
    return _ran(airflow, "triggers")


def test_each_try_that_fails_before_its_operator_begins_is_an_attempt(around):
    found = _attempts(around[0], "cannot_be_rendered")
    assert [(one.attempt, one.status) for one in found] == [(1, "failed"), (2, "failed")]


@pytest.mark.parametrize("name", ["makes_much", "takes_much"])
def test_keeping_and_loading_a_result_is_a_part_of_the_step(around, name):
    run, _ = around
    (attempt,) = _attempts(run, name)
    (process,) = [one for one in run.spans if one.id == attempt.parent_id]
    assert process.kind == Kind.ORCHESTRATION
    assert attempt.cpu_ns > process.cpu_ns


def test_who_was_told_to_end_and_went_on_has_its_inputs(around):
    run, run_id = around
    (attempt,) = _attempts(run, "survives")
    feeds, survives = (task_instance_id("around_the_work", run_id, name, -1) for name in ("feeds", "survives"))
    assert attempt.status == "completed"
    assert (feeds, survives) in {(one.upstream, one.downstream) for one in run.edges}


def test_waiting_for_a_run_that_it_triggered_is_the_steps_own(triggers):
    (attempt,) = _attempts(triggers[0], "child_that_succeeds")
    assert attempt.status == "completed"
    assert attempt.ended_at - attempt.started_at > 3  # seconds, which the child sleeps


def test_the_event_of_an_asset_tells_the_energy_of_all_stretches_of_an_attempt_that_was_deferred(airflow, triggers):
    run, run_id = triggers
    stretches = _attempts(run, "child_that_succeeds_deferred")
    events = airflow.client.get("/api/v2/assets/events", params={"source_run_id": run_id}).raise_for_status().json()
    (told,) = [one for one in events["asset_events"] if one["name"] == "of child_that_succeeds_deferred"]
    assert len(stretches) == 2
    joules = [one.energy.host for one in stretches]
    assert told["extra"]["e2s"]["attempt_host_energy_j"] == pytest.approx(sum(joules), rel=1e-9)


def test_what_is_made_of_a_run_that_it_triggered_is_made_once_that_run_has_succeeded(airflow, triggers):
    run, run_id = triggers
    statuses = {name: [one.status for one in _attempts(run, name)] for name in ("child_that_fails",)}
    assert statuses == {"child_that_fails": ["failed"]}
    made = Counter(one.uri.rpartition("/")[2] for one in run.versions)
    assert made == {"of child_that_succeeds": 1, "of child_that_succeeds_deferred": 1}
    events = airflow.client.get("/api/v2/assets/events", params={"source_run_id": run_id}).raise_for_status().json()
    ids = {one.uri.rpartition("/")[2]: one.id for one in run.versions}
    assert {one["name"]: one["extra"]["e2s"]["version_id"] for one in events["asset_events"]} == ids


def test_what_a_program_that_a_task_runs_tells_and_writes_is_the_attempts(airflow):
    run, _ = _ran(airflow, "a_program")
    (attempt,) = _attempts(run, "runs")
    (write,) = [one for one in run.spans if one.kind == Kind.WRITE]
    assert (write.parent_id, write.run_id, write.flow_run_id) == (attempt.id, attempt.run_id, attempt.flow_run_id)
    assert [one.span_id for one in run.versions] == [write.id]
    assert [(one.span_id, one.units) for one in run.outcomes] == [(attempt.id, 3.0)]


def test_what_a_tasks_workers_tell_and_write_is_the_attempts(airflow):
    run, _ = _ran(airflow, "workers")
    (attempt,) = _attempts(run, "writes_in_workers")
    writes = [one for one in run.spans if one.kind == Kind.WRITE]
    assert [one.parent_id for one in writes] == [attempt.id] * 2
    assert [(one.span_id, one.units) for one in run.outcomes] == [(attempt.id, 1000.0)] * 2
    assert all(one.in_run_j > attempt.energy.total for one in lineage_of(run).versions.values())
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    assert not {one.name for one in writes} & {row.name for row in ledger.runs(limit=None)}
