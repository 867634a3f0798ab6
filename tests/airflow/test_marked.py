"""What a person marks was cancelled, be it deferred or at work, and whatever its process says of its end."""

import pytest
from daemons import until

from e2s_tasks.core.records import Kind
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.ledger import Ledger, replay


def _mark(airflow, dag_id, run_id, task_id, state):
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
    airflow.client.patch(path, json={"new_state": state}).raise_for_status()


def _statuses(airflow, dag_id, run_id):
    """The status of each task's attempt, by its name."""
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    replay(airflow.home / "e2s" / "journal", ledger)
    run = ledger.run(dag_run_id(dag_id, run_id))
    return {one.name: str(one.status) for one in run.spans if one.kind == Kind.ATTEMPT}


def test_a_task_that_is_marked_while_it_is_deferred_was_cancelled_at_once(airflow):
    run_id = airflow.trigger("marked")
    until(lambda: [one["state"] for one in airflow.task_instances("marked", run_id)].count("deferred") == 3)
    _mark(airflow, "marked", run_id, "succeeds", "success")
    _mark(airflow, "marked", run_id, "is_failed", "failed")
    found = {"succeeds": "cancelled", "is_failed": "cancelled", "keeps_the_run_going": "suspended"}
    assert until(lambda: _statuses(airflow, "marked", run_id) == found)
    _mark(airflow, "marked", run_id, "never_begins", "success")
    asked = {"run_id": run_id, "task_id": "never_begins"}
    tab = airflow.client.get("/e2s/dags/marked/task-instance", params=asked)
    assert (tab.status_code, "It was marked before it began" in tab.text) == (404, True)
    _mark(airflow, "marked", run_id, "keeps_the_run_going", "failed")
    assert airflow.wait("marked", run_id) == "failed"
    assert set(until(lambda: _statuses(airflow, "marked", run_id)).values()) == {"cancelled"}


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
