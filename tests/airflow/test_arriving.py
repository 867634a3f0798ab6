"""What a task with a carbon policy does when it arrives, and when it is marked meanwhile, without any daemon."""

import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.supervisor import InProcessSupervisorComms
from airflow_errors import TaskDeferred

from e2s_tasks import CarbonPolicy
from e2s_tasks.core.records import HELD_BACK, Kind, SpanRecord
from e2s_tasks.integrations.airflow import CarbonIntensitySensor, carbon_gate
from e2s_tasks.integrations.airflow.arriving import arrive
from e2s_tasks.integrations.airflow.gate import BEGIN
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.integrations.airflow.trigger import CleanerGridTrigger
from e2s_tasks.ledger import Ledger
from e2s_tasks.settings import settings

POLICY = CarbonPolicy("GB", max_delay="1h", expected_duration="2s")
LOOKS_BACK = """
import time
from e2s_tasks.core.records import DecisionRecord, Kind, SpanRecord
from e2s_tasks.integrations.airflow import runs
from e2s_tasks.ledger import Ledger
from e2s_tasks.recorder import process_recorder

recorder, now = process_recorder(), time.time()
run = SpanRecord("r", 1, "r", "r", Kind.FLOW, "dag", "completed", now - 5, ended_at=now, flow_run_id="r")
recorder.write(run)
recorder.write(DecisionRecord("d", "r", now - 5, "s", "s", "why", "GB", 200.0, now, plan={"rung": "trace"}))
recorder.flush()
runs._look_back(run)
recorder.flush()
with_it = Ledger.open(recorder.settings.ledger)
print([one.intensity for one in with_it.run("r").decisions if one.plan.get("observed")])
"""


def test_once_a_run_has_ended_it_is_written_down_what_the_grid_was(grid):
    grid(300)
    done = subprocess.run([sys.executable, "-c", LOOKS_BACK], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip().startswith("[300")


MARKED = """
from types import SimpleNamespace
from e2s_tasks.core.records import Kind, SpanRecord
from e2s_tasks.integrations.airflow import listener
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.ledger import Ledger
from e2s_tasks.recorder import process_recorder

def row(task_id, next_method, state, try_number=1):
    return SimpleNamespace(
        dag_id="d", run_id="r", task_id=task_id, map_index=-1, next_method=next_method, state=state,
        try_number=try_number,
    )

listener.on_task_instance_success(None, row("waits", "e2s_begin_after_waiting", "success"))
listener.on_task_instance_failed(None, row("sensor", "the_hour_has_come", "failed"), "marked")
listener.on_task_instance_skipped(None, row("another", "e2s_begin_after_waiting", "skipped"))
listener.on_task_instance_failed(None, row("waits for something else", "execute_complete", "failed"), "marked")
listener.on_task_instance_success(None, row("ran", None, "success", 2))
listener.on_task_instance_success(None, row("has not begun", None, "success", 0))
listener.on_task_instance_failed("running", row("was killed", None, "failed"), "in the scheduler")
recorder, run = process_recorder(), dag_run_id("d", "r")
recorder.write(SpanRecord("s", 1, run, run, Kind.FLOW, "d", "running", 1.0, flow_run_id=run))
recorder.flush()
for one in Ledger.open(recorder.settings.ledger).run(run).decisions:
    print(one.plan["waits"], one.reason)
for one in Ledger.open(recorder.settings.ledger).spans(kind="mark", to="arrow").to_pylist():
    print("mark:", one["name"], one["attempt"], one["status"], one["energy_j"])
"""


def test_that_a_task_is_marked_is_written_down_and_that_it_waits_no_more(grid):
    grid(300)
    done = subprocess.run([sys.executable, "-c", MARKED], capture_output=True, text=True, check=True, timeout=60)
    told = done.stdout.splitlines()
    assert sorted(one for one in told if one.startswith("False")) == [
        f"False nothing starts: the task was marked {state} while it waited"
        for state in ("failed", "skipped", "success")
    ]
    assert sorted(one for one in told if one.startswith("mark:")) == [
        "mark: another 1 skipped None", "mark: ran 2 completed None", "mark: sensor 1 failed None",
        "mark: waits 1 completed None", "mark: waits for something else 1 failed None",
        "mark: was killed 1 failed None",
    ]  # fmt: skip


@pytest.fixture
def arriving(grid, monkeypatch):
    """A task instance as Airflow has it in the process of an attempt, while the grid is dirty for a minute."""
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG

    grid(60)
    monkeypatch.setenv("E2S_AUTO", "false")  # nothing is to be measured here
    settings.cache_clear()

    def made(next_method=None, try_number=1, conf=None, looks=0, begun_s=0, of_task=None, **options):
        with DAG("d", schedule=None, **options):
            task = BashOperator(task_id="t", bash_command="true", **(of_task or {}))
        begun = datetime.now(UTC) - timedelta(seconds=begun_s)
        dag_run = SimpleNamespace(dag_id="d", run_id="r", start_date=begun, conf=conf)
        context = SimpleNamespace(dag_run=dag_run, next_method=next_method, task_reschedule_count=looks)
        return SimpleNamespace(
            dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=try_number, task=task,
            _ti_context_from_server=context,
        )  # fmt: skip

    return made


def test_the_trigger_of_a_sensor_fires_before_its_timeout_whatever_is_cleaner_later(arriving):
    sensor = CarbonIntensitySensor(task_id="s", policy=POLICY, timeout=300)
    waits = arrive(arriving(), sensor.policy).trigger
    assert waits.latest - waits.arrived == 300 - 30  # of which a tenth is kept back
    assert CleanerGridTrigger(**waits.serialize()[1]).latest == waits.latest


def test_a_task_that_arrives_in_a_dirty_hour_is_deferred_without_a_time_out(arriving):
    with pytest.raises(TaskDeferred) as deferred:
        carbon_gate(POLICY)({"ti": arriving()})
    assert (deferred.value.method_name, deferred.value.timeout) == (BEGIN, None)
    waits = deferred.value.trigger
    assert 50 < waits.start - waits.arrived < 65
    assert waits.latest - waits.arrived == 3600 - 60  # of which a minute is kept back


@pytest.mark.parametrize(
    "given",
    [
        {"try_number": 2},
        {"looks": 1},
        {"next_method": BEGIN},
        {"next_method": "the_operators_own"},
        {"conf": {"e2s": {"wait": False}}},
        {"params": {"e2s": {"wait": False}}},
    ],
)
def test_a_further_try_what_goes_on_and_what_says_so_begin_at_once(arriving, given):
    called = []
    assert carbon_gate(POLICY, then=called.append)({"ti": arriving(**given)}) is None
    assert len(called) == 1


def test_a_run_that_would_time_out_begins_at_once_and_says_why(arriving):
    arrived = arrive(arriving(dagrun_timeout=timedelta(seconds=30)), POLICY)
    assert arrived.trigger is None
    assert "dagrun_timeout would end it" in arrived.decision.reason
    assert arrived.decision.plan["waits"] is False


def test_a_start_is_planned_within_the_time_that_the_run_may_take(arriving, tmp_path):
    now = time.time()
    rows = ((now - 60 + 20 * i, 300 if i < 9 else 200 if i < 32 else 100) for i in range(200))  # cleanest too late
    lines = (f"{datetime.fromtimestamp(at, UTC).isoformat()},{value}" for at, value in rows)
    (tmp_path / "trace.csv").write_text("\n".join(["ts_utc,ci_g_per_kwh", *lines]) + "\n")
    arrived = arrive(arriving(dagrun_timeout=timedelta(minutes=10)), POLICY)
    assert now + 100 < arrived.trigger.start < arrived.trigger.latest
    assert arrived.decision.expected == pytest.approx(200)
    assert "dagrun_timeout" in arrived.decision.reason


def test_no_new_forecast_moves_a_start_to_where_the_run_would_time_out(arriving):
    ti = arriving(dagrun_timeout=timedelta(minutes=10))
    begun = ti._ti_context_from_server.dag_run.start_date.timestamp()
    waits = arrive(ti, POLICY).trigger
    assert waits.latest == pytest.approx(begun + 600 - 60 - 2, abs=0.1)  # a minute is kept back, and the task takes 2 s
    assert waits.start < waits.latest


@pytest.mark.parametrize("limit", ["max_active_tis_per_dag", "max_active_tis_per_dagrun"])
def test_of_instances_that_go_on_one_after_the_other_the_slack_counts_from_the_run_s_start(arriving, limit):
    ti = arriving(begun_s=600, of_task={limit: 1})
    begun = ti._ti_context_from_server.dag_run.start_date.timestamp()
    assert arrive(ti, POLICY).trigger.latest == pytest.approx(begun + 3600 - 60, abs=0.1)
    late = arrive(arriving(begun_s=3600, of_task={limit: 1}), POLICY)
    assert late.trigger is None
    assert late.decision.plan["arrived"] == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize("of_task", [{}, {"max_active_tis_per_dag": 1, "depends_on_past": True}])
def test_the_slack_of_all_other_tasks_counts_from_when_they_arrive(arriving, of_task):
    waits = arrive(arriving(begun_s=600, of_task=of_task), POLICY).trigger
    assert waits.latest - waits.arrived == 3600 - 60


def test_of_instances_that_go_on_one_after_the_other_the_slack_counts_from_the_end_of_what_came_before(arriving):
    from airflow.providers.standard.operators.empty import EmptyOperator

    ti, ended = arriving(begun_s=3600, of_task={"max_active_tis_per_dag": 1}), time.time() - 300
    with ti.task.dag:
        EmptyOperator(task_id="first") >> EmptyOperator(task_id="between") >> ti.task
    run = dag_run_id("d", "r")
    of_task = {"flow_run_id": run, "task_run_id": "first", "task_key": "d.first"}
    before = SpanRecord("a", 1, "p", run, Kind.ATTEMPT, "first", "completed", ended - 60, ended_at=ended, **of_task)
    unrelated = replace(before, id="b", task_key="d.beside", ended_at=ended + 100)
    assert arrive(ti, POLICY).trigger.latest == pytest.approx(time.time() + 3600 - 60, abs=5)  # nobody knows
    Ledger.open(settings().ledger).ingest([before, unrelated])
    assert arrive(ti, POLICY).trigger.latest == pytest.approx(ended + 3600 - 60, abs=0.1)


@pytest.mark.parametrize(("name", "value"), [("E2S_WAIT", "never"), ("E2S_ENABLED", "false")])
def test_where_waiting_is_switched_off_a_task_begins_at_once(arriving, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    settings.cache_clear()
    assert carbon_gate(POLICY)({"ti": arriving()}) is None


def test_a_command_that_would_wait_itself_as_dags_test_does_has_no_task_wait(arriving, monkeypatch):
    of_the_command = InProcessSupervisorComms.__new__(InProcessSupervisorComms)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", of_the_command, raising=False)
    assert carbon_gate(POLICY)({"ti": arriving()}) is None


@pytest.mark.parametrize(("count", "told"), [(2, ["d.after_0", "d.after_1", "d.last"]), (100, None)])
def test_what_comes_after_the_first_task_of_a_run_is_written_down_if_it_is_not_too_much(arriving, count, told):
    from airflow.providers.standard.operators.empty import EmptyOperator

    ti = arriving()
    with ti.task.dag:
        last = EmptyOperator(task_id="last")
        EmptyOperator(task_id="beside") >> last
        for number in range(count):
            ti.task >> EmptyOperator(task_id=f"after_{number}") >> last
    assert arrive(ti, POLICY, whole_run=True).decision.plan.get(HELD_BACK) == told
    assert HELD_BACK not in arrive(ti, POLICY).decision.plan


def test_a_task_of_which_nobody_knows_how_long_it_takes_begins_at_once_and_the_decision_says_why(arriving):
    found = arrive(arriving(), CarbonPolicy("GB", max_delay="1h"))
    assert found.trigger is None
    assert "give expected_duration" in found.decision.reason
    assert found.decision.plan["policy"] == {"zone": "GB", "max_delay_s": 3600, "deadline": None}


def test_a_zone_that_nobody_knows_is_told_with_the_policy_that_names_it(arriving, monkeypatch):
    monkeypatch.delenv("E2S_TRACE")
    monkeypatch.setenv("E2S_GRID", "none")
    settings.cache_clear()
    with pytest.warns(UserWarning, match="Unknown grid zone .*; the task starts now"):
        found = arrive(arriving(), CarbonPolicy("Atlantis", max_delay="1h", expected_duration="2s"))
    assert found.trigger is None
    assert "Unknown grid zone 'Atlantis': use a country code" in found.decision.reason
    assert found.decision.plan["policy"]["zone"] == "Atlantis"


def test_why_a_task_starts_now_is_said_once(arriving, monkeypatch):
    monkeypatch.delenv("E2S_TRACE")
    monkeypatch.setenv("E2S_GRID", "none")
    settings.cache_clear()
    ti, said = arriving(), []
    monkeypatch.setattr(ti.task.log, "info", said.append)
    arrive(ti, POLICY)
    assert said[0].startswith("e2s: the task starts now: no forecast for GB")


def test_a_sensor_that_is_tried_again_or_cleared_tells_that_what_follows_starts_now(arriving):
    sensor = CarbonIntensitySensor(task_id="s", policy=POLICY)
    told = type(sensor).execute.__wrapped__(sensor, {"ti": arriving(try_number=2)})
    assert told["start"] == pytest.approx(time.time(), abs=5)
    assert told["reason"].startswith("start now")


def test_whatever_goes_wrong_the_task_begins_at_once(arriving):
    broken = arriving()
    broken.task = None
    with pytest.warns(UserWarning, match="waiting for a cleaner grid failed .*; the task starts now"):
        carbon_gate(POLICY)({"ti": broken})


def test_a_hook_that_tells_of_assets_is_called_as_airflow_does(arriving):
    called = []

    def tells(context):
        called.append(context)
        yield

    ti = arriving(try_number=2)
    carbon_gate(POLICY, then=tells)({"ti": ti, "outlet_events": {}})
    assert len(called) == 1
