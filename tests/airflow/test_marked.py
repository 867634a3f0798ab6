"""What a person marks was cancelled, be it deferred or at work, and whatever its process says of its end."""

import os
import subprocess
import sys

import pytest
from daemons import until

from e2s_tasks.core.records import LOST, Kind
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.ledger import Ledger, replay


def _mark(airflow, dag_id, run_id, task_id, state):
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
    airflow.client.patch(path, json={"new_state": state}).raise_for_status()


def _statuses(airflow, dag_id, run_id):
    """The status of each task's attempt, by its name."""
    return {one.name: str(one.status) for one in _attempts(airflow, dag_id, run_id)}


def _tries(airflow, dag_id, run_id):
    """The status of each try of the only task."""
    return {one.attempt: str(one.status) for one in _attempts(airflow, dag_id, run_id)}


def _attempts(airflow, dag_id, run_id):
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    replay(airflow.home / "e2s" / "journal", ledger)
    run = ledger.run(dag_run_id(dag_id, run_id))
    return [one for one in run.spans if one.kind == Kind.ATTEMPT]


def _tab(airflow, dag_id, run_id, task_id):
    """What the tab of a task says of which no attempt is known."""
    answer = airflow.client.get(f"/e2s/dags/{dag_id}/task-instance", params={"run_id": run_id, "task_id": task_id})
    assert answer.status_code == 404
    return answer.text


def test_a_task_that_is_marked_while_it_is_deferred_was_cancelled_at_once(airflow):
    run_id = airflow.trigger("marked")
    until(lambda: [one["state"] for one in airflow.task_instances("marked", run_id)].count("deferred") == 3)
    _mark(airflow, "marked", run_id, "succeeds", "success")
    _mark(airflow, "marked", run_id, "is_failed", "failed")
    found = {"succeeds": "cancelled", "is_failed": "cancelled", "keeps_the_run_going": "suspended"}
    assert until(lambda: _statuses(airflow, "marked", run_id) == found)
    for name in ("never_begins", "is_scheduled"):  # before it has a try, and when it has its first
        _mark(airflow, "marked", run_id, name, "success")
        assert until(lambda name=name: "It was marked before it began" in _tab(airflow, "marked", run_id, name))
    _mark(airflow, "marked", run_id, "keeps_the_run_going", "failed")
    assert airflow.wait("marked", run_id) == "failed"
    assert set(until(lambda: _statuses(airflow, "marked", run_id)).values()) == {"cancelled"}


def test_a_deferred_task_was_cancelled_once_it_is_cleared_and_begins_again_and_when_its_run_is_marked(airflow):
    run_id = airflow.trigger("cleared")
    until(lambda: [one["state"] for one in airflow.task_instances("cleared", run_id)] == ["deferred"])
    asked = {"dry_run": False, "dag_run_id": run_id, "task_ids": ["is_cleared"], "only_failed": False}
    airflow.client.post("/api/v2/dags/cleared/clearTaskInstances", json=asked).raise_for_status()
    found = {1: "cancelled", 2: "suspended"}
    assert until(lambda: _tries(airflow, "cleared", run_id) == found)
    airflow.client.patch(f"/api/v2/dags/cleared/dagRuns/{run_id}", json={"state": "failed"}).raise_for_status()
    found = {1: "cancelled", 2: "cancelled"}
    assert until(lambda: _tries(airflow, "cleared", run_id) == found)


@pytest.fixture(scope="module")
def marked_at_work(airflow):
    """The statuses of tasks of which one has skipped, one has failed for good, and one did not stop as it was told."""
    run_id = airflow.trigger("marked_at_work")
    for name, state in {"skips": "success", "fails": "success", "has_its_own_handler": "failed"}.items():
        until((airflow.home / f"{name}_works").exists)
        _mark(airflow, "marked_at_work", run_id, name, state)
        (airflow.home / f"{name}_is_marked").touch()

    def ended():
        found = _statuses(airflow, "marked_at_work", run_id)
        return found if len(found) == 3 and "running" not in found.values() else None

    return until(ended)


@pytest.mark.parametrize("name", ["skips", "fails", "has_its_own_handler"])
def test_a_task_that_is_marked_while_it_works_and_ends_otherwise_was_cancelled(marked_at_work, name):
    assert marked_at_work[name] == "cancelled"


LOSES = """
from types import SimpleNamespace
from e2s_tasks.integrations.airflow import listener
from e2s_tasks.recorder import process_recorder

for number, state in ((0, "failed"), (1, "up_for_retry"), (2, "failed")):
    lost = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=number, state=state)
    listener.on_task_instance_failed("running", lost, "Executor reported that the task instance finished, but ...")
process_recorder().close()
"""


def test_that_airflow_lost_a_task_is_told_of_each_try_that_has_begun(tmp_path):
    env = os.environ | {"E2S_AUTO": "true", "E2S_DATA_DIR": str(tmp_path), "E2S_GRID": "none"}
    subprocess.run([sys.executable, "-c", LOSES], env=env, check=True)
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    replay(tmp_path / "journal", ledger)
    told = [(one.attempt, one.status, one.attributes) for one in ledger.as_written(dag_run_id("d", "r")).spans]
    assert told == [(1, "failed", {LOST: True}), (2, "failed", {LOST: True})]
