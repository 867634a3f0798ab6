"""What was killed, marked or left behind keeps the energy that it had used."""

import os
import signal
import subprocess
import sys
import time

import pytest
from daemons import until

from e2s_tasks.core.records import Kind, Status
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.ledger import Ledger, replay


def _ledger(airflow):
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    replay(airflow.home / "e2s" / "journal", ledger)
    return ledger


def _begun(airflow):
    """A run whose task has worked for some seconds: its id, and the task's process."""
    run_id = airflow.trigger("stopped")
    file = airflow.home / "pids" / run_id
    until(lambda: file.exists() and file.read_text())
    time.sleep(4)
    return run_id, int(file.read_text())


def _attempt(airflow, dag_id, run_id):
    run = _ledger(airflow).run(dag_run_id(dag_id, run_id))
    return run, next(one for one in run.spans if one.kind == Kind.ATTEMPT)


def _ended(airflow, dag_id, run_id):
    """The attempt once it has ended."""
    attempt = _attempt(airflow, dag_id, run_id)[1]
    return attempt if attempt.status != Status.RUNNING else None


def test_a_task_that_is_killed_crashed_with_what_it_had_used(airflow):
    run_id, pid = _begun(airflow)
    os.kill(pid, signal.SIGKILL)
    assert airflow.wait("stopped", run_id) == "failed"
    run, attempt = _attempt(airflow, "stopped", run_id)
    assert (attempt.status, attempt.is_cut_short) == (Status.CRASHED, True)
    assert attempt.cpu_ns > 0.3e9  # of 4 s, on a machine that others use
    root = next(one for one in run.spans if one.kind == Kind.FLOW)
    assert root.status == Status.FAILED  # as Airflow says: the run is no process of its own


def test_a_task_that_a_person_marks_failed_was_cancelled_and_killed_as_it_went_on_is_a_lower_bound(airflow):
    run_id, _ = _begun(airflow)
    path = f"/api/v2/dags/stopped/dagRuns/{run_id}/taskInstances/works_for_long"
    airflow.client.patch(path, json={"new_state": "failed"}).raise_for_status()
    attempt = until(lambda: _ended(airflow, "stopped", run_id))
    assert (attempt.status, attempt.is_cut_short) == (Status.CANCELLED, True)
    assert attempt.cpu_ns > 0.3e9


def test_an_attempt_that_outlives_a_signal_and_then_fails_by_itself_has_failed(airflow):
    run_id = airflow.trigger("outlives")
    assert airflow.wait("outlives", run_id) == "failed"
    run = _ledger(airflow).run(dag_run_id("outlives", run_id))
    assert [one.status for one in run.spans if one.kind == Kind.ATTEMPT] == [Status.FAILED, Status.FAILED]


def test_a_task_that_a_person_marks_failed_and_that_ends_in_order_was_cancelled_and_is_all_there(airflow):
    run_id = airflow.trigger("stops_in_order")
    until((airflow.home / "stops_in_order").exists)
    path = f"/api/v2/dags/stops_in_order/dagRuns/{run_id}/taskInstances/bash"
    airflow.client.patch(path, json={"new_state": "failed"}).raise_for_status()
    attempt = until(lambda: _ended(airflow, "stops_in_order", run_id))
    assert (attempt.status, attempt.is_cut_short) == (Status.CANCELLED, False)


def test_a_child_in_the_background_belongs_to_its_task_while_that_lives(airflow):
    run_id = airflow.trigger("in_the_background")
    assert airflow.wait("in_the_background", run_id) == "success"
    _, attempt = _attempt(airflow, "in_the_background", run_id)
    assert attempt.cpu_ns / 1e9 == pytest.approx(1.0, abs=0.3)


ENDS = """
import os
from types import SimpleNamespace
from e2s_tasks.settings import settings
from e2s_tasks.integrations.airflow import runs
from e2s_tasks.integrations.airflow.dag_runs import root_span
from e2s_tasks.recorder import process_recorder

for run_id in {run_ids!r}:
    begun = SimpleNamespace(dag_id={dag_id!r}, run_id=run_id, state="running", clear_number=0, start_date=None)
    process_recorder().write(root_span(begun, solution="kept"))
if {of_another!r}:
    os.environ["E2S_AIRFLOW"] = "another"
    settings.cache_clear()
runs.end_what_has_ended()
"""


def _ends(airflow, folder, run_ids, of_another=None):
    """The status of each run after it was looked for runs of whose end nobody told; by a further Airflow or its own."""
    code = ENDS.format(dag_id="in_the_background", run_ids=run_ids, of_another=of_another)
    subprocess.run([sys.executable, "-c", code], env=airflow.env | {"E2S_DATA_DIR": str(folder)}, check=True)
    ledger = Ledger.open(f"sqlite:///{folder / 'ledger.db'}")
    replay(folder / "journal", ledger)
    assert {one.solution for one in ledger.runs()} == {"kept"}
    return {one.flow_run_name: one.status for one in ledger.runs()}


def test_a_run_that_ended_while_no_scheduler_was_there_to_tell_is_ended_afterwards(airflow, tmp_path):
    run_id = airflow.trigger("in_the_background")
    assert airflow.wait("in_the_background", run_id) == "success"
    found = _ends(airflow, tmp_path, [run_id, "that Airflow has no more"])
    assert found == {run_id: "completed", "that Airflow has no more": "cancelled"}


def test_runs_of_another_airflow_with_the_same_ledger_go_on(airflow, tmp_path):
    assert _ends(airflow, tmp_path, ["elsewhere"], of_another=True) == {"elsewhere": "running"}


UNREACHABLE = """
from datetime import datetime, UTC
from types import SimpleNamespace
from e2s_tasks.integrations.airflow import runs

now = datetime.now(UTC)
runs.ended(SimpleNamespace(
    dag_id="d", run_id="r", state="success", clear_number=0, start_date=now, end_date=now, conf={}, dag=None
))
"""


def test_what_fails_beside_the_scheduler_is_told_in_words(tmp_path):
    env = os.environ | {"E2S_AUTO": "true", "E2S_DATA_DIR": str(tmp_path), "E2S_GRID": "none"}
    env["E2S_LEDGER_URL"] = "sqlite:////proc/nowhere/ledger.db"
    done = subprocess.run([sys.executable, "-c", UNREACHABLE], env=env, check=True, capture_output=True, text=True)
    assert "e2s: looking at the grid of a DAG run failed (LedgerError: " in done.stderr
    assert "<lambda>" not in done.stderr
