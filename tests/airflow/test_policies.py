"""Which tasks have a carbon policy, and how: by tags and params of a DAG, a hook or a sensor, without any daemon."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from e2s_tasks import CarbonPolicy
from e2s_tasks.errors import SettingError
from e2s_tasks.integrations.airflow import CarbonIntensitySensor, carbon_gate, declared
from e2s_tasks.integrations.airflow.gate import BEGIN, CarbonGate, teach_operators
from e2s_tasks.integrations.airflow.provider import get_provider_info
from e2s_tasks.settings import settings

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
