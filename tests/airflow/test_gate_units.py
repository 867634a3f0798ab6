"""What a gate, a trigger and the cluster policy do, without any daemon."""

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
from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.airflow import CarbonIntensitySensor, carbon_gate, declared
from e2s_tasks.integrations.airflow.arriving import arrive
from e2s_tasks.integrations.airflow.gate import BEGIN, CarbonGate, teach_operators
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.integrations.airflow.provider import get_provider_info
from e2s_tasks.integrations.airflow.trigger import CleanerGridTrigger
from e2s_tasks.ledger import Ledger
from e2s_tasks.settings import settings

HALF_HOUR, GB_TIME = timedelta(minutes=30), "%Y-%m-%dT%H:%MZ"
POLICY = CarbonPolicy("GB", max_delay="1h", expected_duration="2s")
DAG_FILE = """
from datetime import timedelta
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensor
from airflow.sdk import DAG, setup, task, teardown
from e2s_tasks import CarbonPolicy
from e2s_tasks.integrations.airflow import CarbonIntensitySensor, carbon_gate

def mine(context): pass

with DAG("d", schedule=None, tags={tags!r}, params={params!r}):
    @task
    def python(): pass

    @task
    def each(number): pass

    @setup
    def prepare(): pass

    @teardown
    def tidy(): pass

    first, last = prepare(), tidy()
    sensor = DateTimeSensor(task_id="sensor", target_time="2026-01-01")
    hooked = BashOperator(task_id="hooked", bash_command="true", pre_execute=mine)
    gated = BashOperator(task_id="gated", bash_command="true",
                         pre_execute=carbon_gate(CarbonPolicy("FR", "1h", "1h")))
    own = BashOperator(task_id="own", bash_command="true",
                       params={{"e2s": {{"zone": "DE", "max_delay": "1h", "expected_duration": "1h"}}}})
    of_a_stage = BashOperator(task_id="of_a_stage", bash_command="true", params={{"e2s": {{"stage": "training"}}}})
    never = BashOperator(task_id="never", bash_command="true", params={{"e2s": {{"wait": False}}}})
    EmptyOperator(task_id="start") >> sensor >> each.expand(number=[1, 2]) >> python() >> own
    python() >> of_a_stage
    hooked >> gated
    BashOperator.partial(task_id="bashes").expand(bash_command=["true", "false"])
    work = BashOperator(task_id="work", bash_command="true")
    first >> work >> last
    last.as_teardown(setups=first)
    clean = CarbonIntensitySensor(task_id="clean", zone="GB", max_delay="1h")
    clean >> BashOperator(task_id="in_a_clean_hour", bash_command="true")
    clean >> EmptyOperator(task_id="middle") >> BashOperator(task_id="further_on", bash_command="true")
"""
TAGS = ["e2s:carbon", "e2s:zone=GB", "e2s:max-delay=6h", "e2s:expected-duration=1h"]


@pytest.fixture
def dags(tmp_path, monkeypatch):
    """The tasks of a DAG with these tags and params, as a DAG processor has them; or its import errors."""

    def read(tags=(), params=None, auto="true"):
        try:
            from airflow.dag_processing.dagbag import DagBag
        except ImportError:  # Airflow 3.1
            from airflow.models.dagbag import DagBag

        monkeypatch.setenv("E2S_AUTO", auto)
        settings.cache_clear()
        (tmp_path / "dag.py").write_text(DAG_FILE.format(tags=list(tags), params=params or {}))
        bag = DagBag(str(tmp_path / "dag.py"))
        return bag.import_errors, {one.task_id: one for one in bag.dags["d"].tasks} if bag.dags else {}

    yield read
    settings.cache_clear()


def _gate(task):
    hook = getattr(task, "partial_kwargs", {}).get("pre_execute") or getattr(task, "_pre_execute_hook", None)
    return hook if isinstance(hook, CarbonGate) else None


def test_of_a_dag_with_a_policy_the_first_tasks_have_the_hook_and_those_with_a_policy_of_their_own(dags):
    errors, tasks = dags(TAGS)
    assert not errors
    zones = {name: _gate(one).policy.zone for name, one in tasks.items() if _gate(one)}
    by_dag = dict.fromkeys(["prepare", "each", "python__1", "hooked", "bashes"], "GB")
    assert zones == by_dag | {"own": "DE", "gated": "FR"}
    assert {name for name in zones if _gate(tasks[name]).whole_run} == set(by_dag)


def test_what_a_carbon_intensity_sensor_holds_back_does_not_wait_again(dags):
    _, tasks = dags(TAGS)
    assert [name for name in ("clean", "in_a_clean_hour", "further_on") if _gate(tasks[name])] == []


def test_a_hook_of_the_users_is_called_after_the_waiting(dags):
    _, tasks = dags(TAGS)
    assert _gate(tasks["hooked"]).then.__name__ == "mine"


def test_a_policy_may_be_the_param_of_a_dag(dags):
    _, tasks = dags(params={"e2s": {"zone": "FR", "max_delay": "2h"}})
    assert _gate(tasks["each"]).policy.max_delay == timedelta(hours=2)
    assert _gate(tasks["of_a_stage"]) is None


@pytest.mark.parametrize("given", [{"tags": TAGS, "auto": "false"}, {"tags": []}])
def test_without_a_policy_or_where_it_is_switched_off_no_task_of_the_dag_has_the_hook(dags, given):
    _, tasks = dags(**given)
    assert {name for name, one in tasks.items() if _gate(one)} - {"own"} == {"gated"}


def test_a_policy_that_cannot_be_used_is_an_import_error_that_names_the_value_and_the_remedy(dags):
    errors, _ = dags(["e2s:carbon", "e2s:zone=GB", "e2s:max-delay=soon"])
    (text,) = errors.values()
    assert "max_delay='soon'" in text
    assert "write for example '2h'" in text


def test_arguments_that_are_no_policy_are_told():
    with pytest.raises(SettingError, match="is no carbon policy: give"):
        carbon_gate("GB")
    with pytest.raises(SettingError, match="without max_delay"):
        CarbonIntensitySensor(task_id="s", zone="GB")
    with pytest.raises(SettingError, match="is no carbon policy: give"):
        CarbonIntensitySensor(task_id="s", policy="GB")
    with pytest.raises(SettingError, match="wait='no': give true or false"):
        declared.waits({"wait": "no"})


@pytest.mark.parametrize(
    "option",
    [
        {"zone": "GB"}, {"max_delay": "1h"}, {"expected_duration": "1h"}, {"p95_duration": "2h"},
        {"deadline": datetime(2027, 1, 1, tzinfo=UTC)}, {"strategy": "window"}, {"threshold": 100}, {"percentile": 20},
        {"minimum_gain": "5%"},
    ],
)  # fmt: skip
def test_a_sensor_refuses_an_option_beside_the_policy_that_it_would_be_a_part_of(option):
    (name,) = option
    with pytest.raises(
        SettingError, match=rf"either policy or {name}: put {name} into the policy, CarbonPolicy\(\.\.\., "
    ):
        CarbonIntensitySensor(task_id="s", policy=POLICY, **option)


def test_a_sensors_options_are_those_of_a_policy():
    parts = {"expected_duration": "1h", "deadline": datetime(2027, 1, 1, tzinfo=UTC), "strategy": "percentile",
             "percentile": 20, "minimum_gain": "5%", "p95_duration": "2h"}  # fmt: skip
    assert CarbonIntensitySensor(task_id="s", zone="GB", max_delay="6h", **parts).policy == CarbonPolicy(
        "GB", "6h", **parts
    )


@pytest.mark.parametrize(
    ("given", "longest"),
    [({}, 3600), ({"timeout": 300}, 300), ({"timeout": timedelta(minutes=5)}, 300), ({"timeout": 9e5}, 3600)],
)
def test_a_sensor_waits_no_longer_than_its_timeout(given, longest):
    sensor = CarbonIntensitySensor(task_id="s", policy=POLICY, **given)
    assert sensor.policy.max_delay == timedelta(seconds=longest)


def test_the_trigger_of_a_sensor_fires_before_its_timeout_whatever_is_cleaner_later(arriving):
    sensor = CarbonIntensitySensor(task_id="s", policy=POLICY, timeout=300)
    waits = arrive(arriving(), sensor.policy).trigger
    assert waits.latest - waits.arrived == 300 - 30  # of which a tenth is kept back
    assert CleanerGridTrigger(**waits.serialize()[1]).latest == waits.latest


def test_an_operator_can_go_on_after_waiting_whether_it_has_a_hook_or_not():
    from airflow.sdk import BaseOperator

    teach_operators()
    assert callable(getattr(BaseOperator(task_id="any"), BEGIN))


@pytest.mark.parametrize("how", [{}, {"soft_fail": True}, {"never_fail": True}])
@pytest.mark.parametrize("finds", ["nothing_yet", "a_broken_service", "that_it_is_in_vain"])
def test_a_sensor_that_has_waited_ends_each_look_as_one_that_has_not(how, finds):
    from airflow.providers.standard.sensors.python import PythonSensor
    from airflow_errors import AirflowFailException

    raised = {"a_broken_service": ValueError("away"), "that_it_is_in_vain": AirflowFailException("gone")}.get(finds)

    def look():
        if raised is not None:
            raise raised

    def ends(begin):
        sensor = PythonSensor(
            task_id="s", python_callable=look, mode="reschedule", poke_interval=20, timeout=600, **how
        )
        ti = SimpleNamespace(get_first_reschedule_date=lambda _: None)
        with pytest.raises(Exception) as ended:  # noqa: PT011 - which one it is is compared
            begin(sensor, {"ti": ti})
        return type(ended.value).__name__

    teach_operators()
    at_once = ends(lambda sensor, context: type(sensor).execute.__wrapped__(sensor, context))
    assert ends(lambda sensor, context: sensor.resume_execution(BEGIN, {"event": None}, context)) == at_once
    assert finds != "nothing_yet" or at_once == "AirflowRescheduleException"


def test_the_provider_has_the_name_of_the_distribution():
    from importlib.metadata import distribution

    assert get_provider_info()["package-name"] == distribution("e2s-tasks").metadata["Name"]


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

def row(task_id, next_method, state):
    return SimpleNamespace(
        dag_id="d", run_id="r", task_id=task_id, map_index=-1, next_method=next_method, state=state
    )

listener.on_task_instance_success(None, row("waits", "e2s_begin_after_waiting", "success"))
listener.on_task_instance_failed(None, row("sensor", "the_hour_has_come", "failed"), "marked")
listener.on_task_instance_skipped(None, row("another", "e2s_begin_after_waiting", "skipped"))
listener.on_task_instance_failed(None, row("waits for something else", "execute_complete", "failed"), "marked")
listener.on_task_instance_success(None, row("ran", None, "success"))
recorder, run = process_recorder(), dag_run_id("d", "r")
recorder.write(SpanRecord("s", 1, run, run, Kind.FLOW, "d", "running", 1.0, flow_run_id=run))
recorder.flush()
for one in Ledger.open(recorder.settings.ledger).run(run).decisions:
    print(one.plan["waits"], one.reason)
"""


def test_that_a_task_which_waits_is_marked_is_written_down(grid):
    grid(300)
    done = subprocess.run([sys.executable, "-c", MARKED], capture_output=True, text=True, check=True, timeout=60)
    assert sorted(done.stdout.splitlines()[-3:]) == [
        f"False nothing starts: the task was marked {state} while it waited"
        for state in ("failed", "skipped", "success")
    ]


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


def test_a_run_that_would_time_out_begins_at_once_with_a_warning(arriving):
    with pytest.warns(UserWarning, match="dagrun_timeout would end it"):
        carbon_gate(POLICY)({"ti": arriving(dagrun_timeout=timedelta(seconds=30))})


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
