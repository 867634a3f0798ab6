"""Attempts of every kind, in a real Airflow with real daemons."""

import pytest

from e2s_tasks.core.records import Kind
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.ledger import Ledger, replay
from e2s_tasks.reporter import summarise_run

DAG = "every_kind"


@pytest.fixture(scope="module")
def ran(airflow):
    """A DAG run of every kind of attempt: Airflow's task instances, and the ledger's run."""
    run_id = airflow.trigger(DAG)
    assert airflow.wait(DAG, run_id) == "failed"  # for one of its tasks timed out
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    replay(airflow.home / "e2s" / "journal", ledger)
    run = ledger.run(dag_run_id(DAG, run_id))
    return airflow.task_instances(DAG, run_id), run, summarise_run(ledger, run.run_id)


def _attempts(run, name):
    by_id = {one.id: one for one in run.spans}
    tops = [one for one in run.spans if one.kind == Kind.ATTEMPT and one.name == name]
    return [one for one in tops if by_id[one.parent_id].kind != Kind.ATTEMPT]


def test_every_attempt_is_there_once(ran):
    instances, run, _ = ran
    found = sorted((one.name, one.attributes["task_instance"]["map_index"], one.attempt) for one in run.spans
                   if one.kind == Kind.ATTEMPT and one in _attempts(run, one.name))  # fmt: skip
    expected = sorted(
        (one["task_id"], one["map_index"], number) for one in instances for number in range(1, one["try_number"] + 1)
    )
    assert found == expected


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("python", ["completed"]),
        ("group.bash", ["completed"]),
        ("retried", ["failed", "completed"]),
        ("skipped", ["skipped"]),
        ("timed_out", ["timed_out"]),
        ("defers", ["completed"]),
        ("pokes", ["completed"]),
        ("prepare", ["completed"]),
        ("tidy", ["completed"]),
    ],
)
def test_an_attempt_has_ended_as_airflow_says(ran, name, statuses):
    _, run, _ = ran
    assert [str(one.status) for one in sorted(_attempts(run, name), key=lambda one: one.attempt)] == statuses


@pytest.mark.parametrize(("name", "more"), [("python", 0.2), ("group.bash", 0.4), ("defers", 0.2)])
def test_the_cpu_time_of_a_step_is_what_it_burned(ran, name, more):
    _, _, summary = ran
    row = next(one for one in summary["steps"] if one["name"] == name)
    assert 0.495 < row["cpu_s"] < 0.5 + more  # seconds; a child's interpreter starts


def test_a_deferred_attempt_is_one_row_that_did_not_last_while_it_waited(ran):
    _, run, summary = ran
    rows = [one for one in summary["steps"] if one["name"] == "defers"]
    assert len(rows) == 1
    stretches = [one for one in run.spans if one.name == "defers"]
    assert len(stretches) == 2
    assert rows[0]["duration_s"] < 9 < stretches[1].ended_at - stretches[0].started_at  # seconds, 9 in the triggerer


def test_what_was_handed_over_by_xcom_is_an_edge(ran):
    _, run, _ = ran
    steps = {one.name: one.task_run_id for one in run.spans if one.kind == Kind.ATTEMPT}
    assert (steps["python"], steps["double"]) in {(one.upstream, one.downstream) for one in run.edges}


def test_the_run_is_named_as_in_airflow_with_its_solution_and_its_grid(ran):
    _, _, summary = ran
    assert summary["flow_run"]["flow"] == DAG
    assert summary["flow_run"]["name"].startswith("manual__")
    assert summary["flow_run"]["status"] == "failed"
    assert summary["flow_run"]["solution"] == "test"
    assert summary["carbon"]["zone"] == "DE"


def test_stages_are_told_by_the_param_of_a_task(ran):
    _, run, _ = ran
    assert {one.stage for one in _attempts(run, "python")} == {"training"}


def test_what_airflow_does_around_the_attempts_is_orchestration(ran):
    _, run, summary = ran
    assert any(one.kind == Kind.ORCHESTRATION and one.cpu_ns > 0 for one in run.spans)
    row = next(one for one in summary["steps"] if one["kind"] == "orchestration")
    assert row["inclusive_j"] > 0


def test_every_joule_of_the_run_is_in_one_of_its_rows(ran):
    _, _, summary = ran
    rows = sum(one["inclusive_j"] for one in summary["steps"] if one["depth"] == 0)
    assert rows == pytest.approx(summary["energy_j"]["total"], rel=1e-9)
