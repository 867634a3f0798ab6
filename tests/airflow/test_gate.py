"""Tasks that wait for a cleaner grid, in a real Airflow with real daemons."""

import json
import time
from collections import Counter
from datetime import UTC, datetime

import pytest
from daemons import Airflow

from e2s_tasks.integrations.airflow.identity import dag_run_id, task_instance_id
from e2s_tasks.ledger import Ledger, replay
from e2s_tasks.reporter import summarise_run

AHEAD_S = 50  # so long the grid is dirty: enough for all tasks to arrive
STEP_S = 5
RUN_S = 150
FIRST = {"bash", "python", "mapped", "retried", "defers"}
BY_TAGS = {"each", "prepare"}


class Gated:
    """An Airflow, and what its tasks tell of their work."""

    def __init__(self, airflow, home):
        self.airflow, self.worked, self.trace = airflow, home / "worked.jsonl", home / "trace.csv"

    def dirty_for(self, seconds):
        """From now on the grid is dirty for so long, and clean for an hour after that; when it becomes so."""
        begin = int(time.time()) // STEP_S * STEP_S
        clean = begin + seconds
        rows = (
            f"{datetime.fromtimestamp(at, UTC).isoformat()},{300 if at < clean else 100},GB"
            for at in range(begin, clean + 3600, STEP_S)
        )
        beside = self.trace.with_suffix(".new")
        beside.write_text("\n".join(["ts_utc,ci_g_per_kwh,zone", *rows]) + "\n")
        beside.replace(self.trace)
        return clean

    def works(self, run_id):
        """What was told of work in a DAG run."""
        lines = self.worked.read_text().splitlines() if self.worked.exists() else []
        return [one for one in map(json.loads, lines) if one["run"] == run_id]

    def wait_until_deferred(self, dag_id, run_id, count):
        """Return when so many task instances wait."""
        until = time.monotonic() + 60
        while True:
            states = Counter(one["state"] for one in self.airflow.task_instances(dag_id, run_id))
            if states["deferred"] >= count:
                return
            assert time.monotonic() < until, states
            time.sleep(0.5)

    def clear(self, dag_id, run_id, *task_ids):
        """Clear tasks, as a person does on their page."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": list(task_ids), "only_failed": False}
        self.airflow.client.post(f"/api/v2/dags/{dag_id}/clearTaskInstances", json=body).raise_for_status()

    def page(self, dag_id, run_id, task_id):
        """The Energy tab of a task."""
        asked = {"run_id": run_id, "task_id": task_id, "map_index": -1}
        return self.airflow.client.get(f"/e2s/dags/{dag_id}/task-instance", params=asked).text

    def run(self, dag_id, run_id):
        """The ledger's run, and its summary."""
        ledger = Ledger.open(f"sqlite:///{self.airflow.home / 'e2s' / 'ledger.db'}")
        replay(self.airflow.home / "e2s" / "journal", ledger)
        run = ledger.run(dag_run_id(dag_id, run_id))
        return run, summarise_run(ledger, run.run_id)


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """An Airflow whose triggers are taken over quickly when their triggerer dies."""
    home = tmp_path_factory.mktemp("gated")
    more = {
        "E2S_TRACE": str(home / "trace.csv"), "WORKED": str(home / "worked.jsonl"), "E2S_LEAST_WAIT_S": "5",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1", "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "5",
        "AIRFLOW__CORE__PARALLELISM": "8",
    }  # fmt: skip
    with Airflow(home, **more) as running:
        yield Gated(running, home)


@pytest.fixture(scope="module")
def waited(gated):
    """Runs of both DAGs that have waited: when the grid became clean, and their ids."""
    clean = gated.dirty_for(AHEAD_S)
    runs = {dag_id: gated.airflow.trigger(dag_id) for dag_id in ("gated", "gated_by_tags")}
    for dag_id, run_id in runs.items():
        assert gated.airflow.wait(dag_id, run_id, RUN_S) == "success"
    return clean, runs


def _of(works, *names):
    return [one for one in works if one["task"] in names]


def test_every_kind_of_task_waits_and_runs_once_in_its_first_try(gated, waited):
    clean, runs = waited
    first = [one for one in gated.works(runs["gated"]) if one["try"] == 1]
    assert Counter((one["task"], one["index"]) for one in _of(first, *FIRST)) == Counter(
        [("bash", -1), ("python", -1), ("mapped", 0), ("mapped", 1), ("retried", -1), ("defers", -1)]
    )
    assert all(one["at"] >= clean for one in _of(first, *FIRST))
    tries = {(one["task_id"], one["try_number"]) for one in gated.airflow.task_instances("gated", runs["gated"])}
    assert {name for name, number in tries if number != 1} == {"retried"}


def test_a_further_try_begins_at_once(gated, waited):
    first, second = sorted(one["at"] for one in _of(gated.works(waited[1]["gated"]), "retried"))
    assert second - first < 20


def test_a_sensor_that_skips_itself_when_it_fails_waits_looks_again_and_has_what_follows_run(gated, waited):
    clean, runs = waited
    works = gated.works(runs["gated"])
    assert [one["at"] >= clean for one in _of(works, "looks")] == [True, True]
    assert len(_of(works, "after_looking")) == 1


def test_a_zone_that_nobody_knows_makes_the_task_start_at_once(gated, waited):
    clean, runs = waited
    (work,) = _of(gated.works(runs["gated"]), "of_no_zone")
    assert work["at"] < clean


def test_the_sensor_succeeds_when_the_hour_has_come_and_tells_the_decision(gated, waited):
    clean, runs = waited
    (work,) = _of(gated.works(runs["gated"]), "told")
    assert work["at"] >= clean
    path = f"/api/v2/dags/gated/dagRuns/{runs['gated']}/taskInstances/sensor/xcomEntries/return_value"
    told = gated.airflow.client.get(path, params={"deserialize": True}).raise_for_status().json()["value"]
    told = json.loads(told) if isinstance(told, str) else told
    assert (told["zone"], told["run_now"], told["expected"]) == ("GB", pytest.approx(300), 100)
    assert told["start"] >= clean


def test_of_a_dag_with_a_policy_the_first_tasks_wait_and_those_after_them_do_not(gated, waited):
    clean, runs = waited
    works = gated.works(runs["gated_by_tags"])
    assert Counter(one["task"] for one in works) == {
        "found": 1, "prepare": 1, "each": 2, "second": 1, "tidy": 1, "at_once": 1, "own": 1
    }  # fmt: skip
    assert {one["task"] for one in works if one["at"] < clean} == {"found", "at_once"}
    waits = {one.plan["step"] for one in gated.run("gated_by_tags", runs["gated_by_tags"])[0].decisions
             if one.plan.get("waits")}  # fmt: skip
    name = "gated_by_tags", runs["gated_by_tags"]
    assert waits == {task_instance_id(*name, "prepare", -1), *(task_instance_id(*name, "each", n) for n in (0, 1))}


def test_the_first_tasks_of_a_run_held_back_what_comes_after_them_and_no_exempt_branch(gated, waited):
    run, _ = gated.run("gated_by_tags", waited[1]["gated_by_tags"])
    first = [one.plan for one in sorted(run.decisions, key=lambda one: one.at) if one.plan.get("held_back") is not None]
    held = {name for plan in first for name in plan["held_back"]}
    assert held == {f"gated_by_tags.{name}" for name in ("second", "own", "tidy")}
    assert len(first) == 3


def test_the_summary_tells_what_waiting_avoided(gated, waited):
    for dag_id, run_id in waited[1].items():
        _, summary = gated.run(dag_id, run_id)
        found = summary["waited"]
        assert found["would_have_been_gco2eq_per_kwh"] == pytest.approx(300, abs=1)
        assert found["realised_gco2eq_per_kwh"] == pytest.approx(100, abs=1)
        assert found["avoided_g"] + found["waiting_g"] > 0
        assert 0 < summary["waiting_j"] < summary["energy_j"]["total"]
        assert (summary["emissions_g"]["zone"], summary["emissions_g"]["signal"] != "missing") == ("GB", True)
        rows = sum(one["inclusive_j"] for one in summary["steps"] if one["depth"] == 0)
        assert rows == pytest.approx(summary["energy_j"]["total"], rel=1e-9)


def test_killed_triggerers_have_no_task_run_twice_or_after_its_latest_start(gated, waited):
    clean = gated.dirty_for(AHEAD_S)
    run_id = gated.airflow.trigger("gated")
    gated.wait_until_deferred("gated", run_id, len(FIRST) + 1 + 2)  # two are mapped; and the sensors
    for _ in range(2):
        gated.airflow.kill("triggerer")
        gated.airflow.start("triggerer")
        time.sleep(5)
    assert gated.airflow.wait("gated", run_id, RUN_S) == "success"
    first = [one for one in _of(gated.works(run_id), *FIRST) if one["try"] == 1]
    assert len(first) == len({(one["task"], one["index"]) for one in first}) == 6
    latest = {one.plan["step"]: one.plan["arrived"] + 240 for one in gated.run("gated", run_id)[0].decisions
              if one.plan.get("waits")}  # fmt: skip
    steps = {task_instance_id("gated", run_id, one["task"], one["index"]): one["at"] for one in first}
    assert all(clean <= at <= latest[step] for step, at in steps.items())


def test_a_run_that_says_so_does_not_wait(gated, waited):
    gated.dirty_for(240)
    run_id = gated.airflow.trigger("gated", conf={"e2s": {"wait": False}})
    assert gated.airflow.wait("gated", run_id, 60) == "success"


def test_a_waiting_task_that_is_cleared_begins_at_once_and_keeps_its_retries(gated, waited):
    clean = gated.dirty_for(200)
    run_id = gated.airflow.trigger("gated_by_tags")
    gated.wait_until_deferred("gated_by_tags", run_id, 3)
    assert "It waits for a cleaner grid" in gated.page("gated_by_tags", run_id, "prepare")
    gated.clear("gated_by_tags", run_id, "prepare", "each")
    assert gated.airflow.wait("gated_by_tags", run_id, RUN_S) == "success"
    assert max(one["at"] for one in gated.works(run_id) if one["task"] in BY_TAGS) < clean


def test_a_run_that_waited_and_is_cleared_has_avoided_no_more_by_what_did_not_wait(gated, waited):
    gated.dirty_for(0)
    run_id = waited[1]["gated_by_tags"]
    run, before = gated.run("gated_by_tags", run_id)
    path = f"/api/v2/dags/gated_by_tags/dagRuns/{run_id}/clear"
    gated.airflow.client.post(path, json={"dry_run": False}).raise_for_status()
    assert gated.airflow.wait("gated_by_tags", run_id, RUN_S) == "success"
    again, after = gated.run("gated_by_tags", run_id)
    assert len(again.spans) > len(run.spans)
    for name in ("predicted_avoided_g", "waited_s", "waiting_g"):
        assert after["waited"][name] == pytest.approx(before["waited"][name], rel=1e-6)
