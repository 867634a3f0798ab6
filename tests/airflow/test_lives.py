"""When a run began and what it works for, however often it begins anew and whoever tells of it."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from e2s_tasks.core.records import Kind
from e2s_tasks.integrations.airflow.dag_runs import root_span
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.ledger import Ledger, replay
from e2s_tasks.reporter import summarise

DAG = "lives"
PATIENCE_S = 30


def _ledger(folder):
    ledger = Ledger.open(f"sqlite:///{folder / 'ledger.db'}")
    replay(folder / "journal", ledger)
    return ledger


def _run(airflow, run_id):
    """A DAG run that has ended, once the ledger knows it: its records."""
    until = time.monotonic() + PATIENCE_S
    while True:
        run = _ledger(airflow.home / "e2s").run(dag_run_id(DAG, run_id))
        if _root(run).status != "running":
            return run
        assert time.monotonic() < until
        time.sleep(0.5)


def _root(run):
    return next(one for one in run.spans if one.kind == Kind.FLOW)


def _attempts(run):
    return [one for one in run.spans if one.kind == Kind.ATTEMPT]


def _units(run):
    return summarise(run)["kpis"]["joules_per_row"]["denominator"]


def _logs(airflow, run_id):
    return "".join(one.read_text() for one in airflow.home.glob(f"logs/dag_id={DAG}/run_id={run_id}/**/*.log"))


@pytest.fixture(scope="module")
def ran(airflow):
    run_id = airflow.trigger(DAG)
    assert airflow.wait(DAG, run_id) == "success"
    return run_id


def _again(airflow, run_id):
    """Wait for a further life of a run: its records."""
    assert airflow.wait(DAG, run_id) == "success"
    until = time.monotonic() + PATIENCE_S
    while len(_attempts(run := _run(airflow, run_id))) < 2:
        assert time.monotonic() < until
        time.sleep(0.5)
    return run


@pytest.mark.parametrize("date", ["2026-11-01", "2031-05-06T07:08:09+00:00"])
def test_a_run_of_dags_test_began_with_its_first_task_whatever_its_date(airflow, tmp_path, date):
    before = time.time()
    env = airflow.env | {"E2S_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "airflow", "dags", "test", DAG, date]
    subprocess.run(command, env=env, check=True, capture_output=True, timeout=120)
    (row,) = _ledger(tmp_path).runs(since=before)
    assert row.status == "completed"
    assert before < row.started_at < row.ended_at < time.time()
    run = _ledger(tmp_path).run(row.run_id)
    assert _root(run).started_at == pytest.approx(_attempts(run)[0].started_at, abs=2)


@pytest.mark.parametrize("date", ["logical_date", "run_after"])
@pytest.mark.parametrize("has_ended", [True, False])
def test_a_start_that_is_exactly_the_runs_date_is_none(date, has_ended):
    from airflow.models.dagrun import DagRun

    now, then = datetime.now(UTC), datetime(2026, 11, 1, tzinfo=UTC)
    dates = {"logical_date": None, "run_after": now, date: then}
    dag_run = DagRun("d", "r", start_date=then, state="running", run_type="manual", **dates)
    if has_ended:
        dag_run.state = "success"
    assert root_span(dag_run).started_at == pytest.approx(now.timestamp(), abs=60)
    dag_run.start_date = now - timedelta(days=3)  # as of one whose tasks have waited for a pool
    assert root_span(dag_run).started_at == dag_run.start_date.timestamp()


def test_a_real_run_began_when_airflow_says_so(airflow, ran):
    told = airflow.client.get(f"/api/v2/dags/{DAG}/dagRuns/{ran}").raise_for_status().json()["start_date"]
    assert _root(_run(airflow, ran)).started_at == pytest.approx(datetime.fromisoformat(told).timestamp(), abs=1e-3)


def test_a_param_of_somebody_elses_costs_neither_the_solution_nor_a_warning(airflow, ran):
    assert _root(_run(airflow, ran)).solution == "lives"
    assert "e2s:" not in _logs(airflow, ran)


def test_a_mistake_in_a_runs_conf_is_told_and_costs_no_solution(airflow):
    run_id = airflow.trigger(DAG, {"e2s": {"solutoin": "x"}})
    assert airflow.wait(DAG, run_id) == "success"
    assert _root(_run(airflow, run_id)).solution == "lives"
    assert "has 'solutoin', which nobody knows. Did you mean 'solution'?" in _logs(airflow, run_id)


def test_a_policy_in_a_runs_conf_is_told_in_the_tasks_log_and_sets_no_zone(airflow):
    run_id = airflow.trigger(DAG, {"e2s": {"zone": "FR", "max_delay": "1h"}})
    assert airflow.wait(DAG, run_id) == "success"
    assert "a carbon policy in a run's conf (max_delay, zone) does nothing" in _logs(airflow, run_id)
    assert "FR" not in {one.zone for one in _run(airflow, run_id).decisions}


def test_a_run_that_was_cleared_began_with_its_first_life(airflow):
    run_id = airflow.trigger(DAG)
    assert airflow.wait(DAG, run_id) == "success"
    first = _root(_run(airflow, run_id))
    time.sleep(2)
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/clear"
    airflow.client.post(path, json={"dry_run": False}).raise_for_status()
    run = _again(airflow, run_id)
    assert _root(run).started_at == first.started_at
    assert _root(run).ended_at > first.ended_at + 2
    assert _units(run) == 10


def test_a_run_that_a_person_deleted_and_made_anew_counts_what_it_achieved_once(airflow):
    run_id, path = "nightly-1", f"/api/v2/dags/{DAG}/dagRuns"
    for life in range(2):
        time.sleep(5 * life)  # Airflow may hear of a task's end so late, and would take it for that of the new one
        airflow.client.delete(f"{path}/{run_id}")
        airflow.client.post(path, json={"dag_run_id": run_id, "logical_date": None}).raise_for_status()
        assert airflow.wait(DAG, run_id) == "success"
    run = _again(airflow, run_id)
    assert {one.attempt for one in _attempts(run)} == {1}
    assert _units(run) == 10
    assert summarise(run)["energy_j"]["total"] == pytest.approx(sum(one.joules or 0.0 for one in run.spans))


def test_a_run_that_a_person_marks_keeps_its_solution(airflow, ran):
    path = f"/api/v2/dags/{DAG}/dagRuns/{ran}"
    airflow.client.patch(path, json={"state": "failed"}).raise_for_status()
    until = time.monotonic() + PATIENCE_S
    while _root(_run(airflow, ran)).status != "failed":
        assert time.monotonic() < until
        time.sleep(0.5)
    assert _root(_run(airflow, ran)).solution == "lives"
