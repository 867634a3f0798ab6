"""What a DAG declares in words that nobody reads is an import error which names the right one."""

from itertools import count
from types import SimpleNamespace

import pytest

from e2s_tasks.core.policy import CarbonPolicy
from e2s_tasks.core.policy_tags import tags_of
from e2s_tasks.integrations.airflow import declared, gating, runs, spelling
from e2s_tasks.integrations.airflow.conf import tell_of_a_policy
from e2s_tasks.integrations.airflow.gate import CarbonGate
from e2s_tasks.recorder.guard import MeteringWarning
from e2s_tasks.settings import settings

DAG_FILE = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("d", schedule=None, tags={tags!r}, params={params!r}):
    BashOperator(task_id="t", bash_command="true", params={own!r})
    BashOperator.partial(task_id="m", params={own!r}).expand(bash_command=["true"])
"""
FOREIGN = ["prod", ["stage"], 3, {"environment": "prod"}, {"env": "prod", "watt": 3, "age": 1}, {1: 2}]
POLICY = ["e2s:zone=GB", "e2s:max-delay=6h", "e2s:expected-duration=1h"]


@pytest.fixture
def read(tmp_path, monkeypatch):
    """The import error of a DAG with these tags, params and params of its tasks; None without one."""
    numbers = count()

    def found(tags=(), params=None, own=None, auto="true"):
        try:
            from airflow.dag_processing.dagbag import DagBag
        except ImportError:  # Airflow 3.1
            from airflow.models.dagbag import DagBag

        monkeypatch.setenv("E2S_AUTO", auto)
        settings.cache_clear()
        text = DAG_FILE.format(
            tags=list(tags), params={"e2s": params} if params else {}, own={"e2s": own} if own else {}
        )
        path = tmp_path / f"dag_{next(numbers)}.py"  # a file of the same size and second would be read from the cache
        path.write_text(text)
        return next(iter(DagBag(str(path)).import_errors.values()), None)

    yield found
    settings.cache_clear()


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("e2s:carbn", "did you mean e2s:carbon?"),
        ("E2S:Carbon", "did you mean e2s:carbon?"),
        (" e2s:carbon", "did you mean e2s:carbon?"),
        ("e2s:carbon=yes", "did you mean e2s:carbon?"),
        ("e2s:solutoin=x", "did you mean e2s:solution=x?"),
        ("E2S:solution=X", "did you mean e2s:solution=X?"),
        ("e2s:solution", "did you mean e2s:solution=?"),
        ("e2s:max_delay=6h", "did you mean e2s:max-delay=6h?"),
        ("e2s:no-carbn", "did you mean e2s:no-carbon?"),
        ("e2s:whatever", "There are: e2s:carbon, e2s:no-carbon, e2s:now, e2s:solution=, e2s:deadline="),
        ("e2s:stage=training", "stage is told by params={'e2s': {'stage': ...}}"),
    ],
)
def test_a_tag_that_is_ours_and_unknown_is_told_with_the_nearest_known_one(read, tag, meant):
    error = read([tag, "theirs"])
    assert f"d: The tag {tag} " in error
    assert meant in error


@pytest.mark.parametrize("tag", POLICY)
def test_a_part_of_a_policy_without_the_policy_is_told(read, tag):
    assert f"The tag {tag} says nothing without e2s:carbon: add that, or e2s:no-carbon" in read([tag])


@pytest.mark.parametrize(
    "tags",
    [
        [], ["theirs", "e2", "carbon"], ["e2s:solution=x"], ["e2s:carbon", *POLICY], ["e2s:no-carbon", *POLICY],
        ["e2s:now", *POLICY], ["e2s:carbon", "e2s:now", *POLICY],
    ],
)  # fmt: skip
def test_known_tags_are_no_error(read, tags):
    assert read(tags) is None


def test_all_tags_that_a_policy_is_written_as_are_known():
    from datetime import UTC, datetime

    from e2s_tasks import CarbonPolicy

    more = {"deadline": datetime(2027, 1, 1, tzinfo=UTC), "p95_duration": "2h", "minimum_gain": "5%"}
    for how in ({"strategy": "threshold", "threshold": 100}, {"strategy": "percentile", "percentile": 20}):
        for tag in tags_of(CarbonPolicy("GB", "6h", "1h", **more, **how)):
            spelling._check_tag(tag)


def test_tags_that_say_a_part_of_a_policy_twice_are_told(read):
    assert "t of d: The tags e2s:zone=DE and e2s:zone=GB contradict" in read(["e2s:carbon", *POLICY, "e2s:zone=DE"])


def test_tags_that_name_two_solutions_or_none_are_told(read):
    assert "the solutions a and b: a run has one" in read(["e2s:solution=a", "e2s:solution=b"])
    assert "solution='': give a name" in read(["e2s:solution="])


@pytest.mark.parametrize("where", ["params", "own"])
@pytest.mark.parametrize(
    ("param", "said"),
    [
        ({"soluton": "x"}, "has 'soluton', which nobody knows. Did you mean 'solution'?"),
        ({"Stage": "training"}, "has 'Stage', which nobody knows. Did you mean 'stage'?"),
        ({"wiat": False}, "has 'wiat', which nobody knows. Did you mean 'wait'?"),
        ({"zoen": "GB"}, "has 'zoen', which nobody knows. Did you mean 'zone'?"),
        ({"solution": " "}, "solution=' ': give a name"),
        ({"stage": "training", "color": "red"}, "has 'color', which nobody knows. There are: solution, stage"),
        ({"stage": "trainig"}, "stage='trainig' is no stage of a life cycle: give one of data_preparation"),
        ({"wait": "no"}, "wait='no': give true or false"),
    ],
)
def test_a_param_that_nobody_reads_is_told(read, where, param, said):
    assert said in read(**{where: param})


@pytest.mark.parametrize("where", ["params", "own"])
@pytest.mark.parametrize("param", FOREIGN)
@pytest.mark.parametrize("tags", [[], ["e2s:carbon", *POLICY]])
def test_a_param_of_somebody_elses_is_no_error(read, where, param, tags):
    assert read(tags, **{where: param}) is None


@pytest.mark.parametrize("param", FOREIGN)
def test_a_param_of_somebody_elses_holds_no_task_back_from_waiting(param):
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG

    with DAG("d", schedule=None, tags=["e2s:carbon", *POLICY], params={"e2s": param}):
        first = BashOperator(task_id="t", bash_command="true", params={"e2s": param})
    gating.gate(first)
    assert isinstance(first._pre_execute_hook, CarbonGate)


class Dag:
    """One whose tags and param say something."""

    def __init__(self, param, *tags):
        self.params, self.tags = {"e2s": param}, tags


@pytest.mark.parametrize("conf", [None, {}, {"e2s": None}, *({"e2s": param} for param in FOREIGN)])
def test_a_runs_conf_of_somebody_elses_says_nothing(conf, recwarn):
    assert declared.told_in_a_run(Dag({"solution": "delays"}), None, conf) == {"solution": "delays"}
    assert not recwarn.list


def test_a_mistake_in_a_runs_conf_is_told_and_leaves_what_its_dag_says():
    dag = Dag({"solution": "delays"}, "e2s:now")
    with pytest.warns(MeteringWarning, match="'zoone', which nobody knows. Did you mean 'zone'"):
        found = declared.told_in_a_run(dag, None, {"e2s": {"zoone": "GB", "wait": True}})
    assert found == {"solution": "delays", "wait": False}
    assert declared.told_in_a_run(dag, None, {"e2s": {"wait": True}})["wait"]


POLICY_OF_RUN = {"zone": "FR", "max_delay": "1h", "expected_duration": "2m"}


def test_a_policy_in_a_runs_conf_is_none_and_what_its_dag_says_holds():
    conf = {"e2s": {**POLICY_OF_RUN, "solution": "delays", "wait": False}}
    assert declared.told_in_a_run(Dag({}), None, conf) == {"solution": "delays", "wait": False}
    found = declared.told_in_a_run(Dag({"zone": "GB", "max_delay": "6h"}), None, conf)
    assert (found["zone"], found["max_delay"]) == ("GB", "6h")
    run = SimpleNamespace(dag=Dag({"zone": "GB", "max_delay": "6h"}), conf=conf)
    assert runs._zone(run) == "GB"


@pytest.fixture
def tasks():
    """Two tasks, one after the other, of a DAG with a policy."""
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG

    with DAG("d", schedule=None, params={"e2s": {"zone": "GB", "max_delay": "6h"}}):
        first, second = (BashOperator(task_id=name, bash_command="true") for name in ("first", "second"))
        first >> second
    return first, second


def test_a_policy_in_a_runs_conf_is_told_where_the_run_begins_with_what_would_do(tasks):
    with pytest.warns(MeteringWarning, match="expected_duration, max_delay, zone") as told:
        tell_of_a_policy(tasks[0], {"e2s": POLICY_OF_RUN})
    (said,) = (str(one.message) for one in told)
    assert "does nothing: which tasks wait, and for which zone, is fixed when the DAG's file is read" in said
    assert "{'e2s': {'wait': false}} in the conf has nothing of the run wait" in said


@pytest.mark.parametrize(
    "conf",
    [None, {}, {"e2s": {"wait": False}}, {"e2s": {"zone": "GB", "max_delay": "6h"}}, {"e2s": {"zoone": "GB"}},
     *({"e2s": param} for param in FOREIGN)],
)  # fmt: skip
def test_a_conf_without_a_policy_or_with_that_of_its_dag_is_not_told(tasks, conf, recwarn):
    tell_of_a_policy(tasks[0], conf)
    tell_of_a_policy(tasks[1], {"e2s": POLICY_OF_RUN})
    assert not recwarn.list


def test_a_part_of_a_policy_in_a_dags_param_is_told(read):
    policy = ["e2s:carbon", "e2s:zone=GB", "e2s:max-delay=6h"]
    assert "is a carbon policy without" in read(policy, params={"expected_duration": "1h"})


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"deadline": "garbage"}, "deadline=garbage is no time: write for example"),
        ({"minimum_gain": "garbage"}, "minimum_gain='garbage' is no saving: write for example"),
        ({"expected_duration": "long"}, "expected_duration='long' is no duration"),
        ({"strategy": "best"}, "strategy='best' is unknown: give one of"),
        ({"zone": " "}, "zone=' ' names no grid"),
    ],
)
def test_a_part_of_a_policy_in_a_tasks_param_that_cannot_be_used_is_told(read, own, said):
    assert said in read(["e2s:carbon", *POLICY], own=own)


@pytest.mark.parametrize("own", [{"strategy": "now"}, {"deadline": "2027-01-01T00:00Z"}, {"minimum_gain": "5%"}])
def test_a_part_of_a_policy_in_a_tasks_param_needs_its_dags_policy_or_the_rest_of_one(read, own):
    assert "is a carbon policy without zone and max_delay: add zone and max_delay" in read(own=own)
    assert "is a carbon policy without zone: add zone" in read(own=own | {"max_delay": "1h"})
    assert read(["e2s:carbon", *POLICY], own=own) is None
    assert read(params={"zone": "GB", "max_delay": "6h"}, own=own) is None


def test_parts_of_a_policy_in_a_dags_param_do_with_the_rest_in_its_tasks(read):
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG

    from e2s_tasks.integrations.airflow.gating import gate

    with DAG("d", params={"e2s": {"zone": "GB"}}) as dag:
        for number, own in enumerate(({"max_delay": "6h"}, {"max_delay": "2h"}, {"wait": False})):
            BashOperator(task_id=f"t{number}", bash_command="true", params={"e2s": own})
    for task in dag.tasks:
        gate(task)
    hooks = [getattr(one, "_pre_execute_hook", None) for one in dag.tasks]
    assert [hook and (hook.policy.zone, hook.policy.max_delay.seconds / 3600) for hook in hooks] == [
        ("GB", 6), ("GB", 2), None
    ]  # fmt: skip


def _gated(tags=(), params=None, own=None):
    """The hook of a task that comes after another one, as the cluster policy leaves it."""
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG

    with DAG("d", schedule=None, tags=list(tags), params={"e2s": params} if params else {}):
        first = BashOperator(task_id="first", bash_command="true")
        task = BashOperator(task_id="t", bash_command="true", params={"e2s": own} if own else {})
        first >> task
    gating.gate(task)
    return task._pre_execute_hook


@pytest.mark.parametrize(
    "of_dag",
    [
        {"tags": ["e2s:carbon", *POLICY, "e2s:strategy=threshold", "e2s:threshold=100"]},
        {"params": {"zone": "GB", "max_delay": "6h", "expected_duration": "1h", "strategy": "threshold",
                    "threshold": 100}},
    ],
)  # fmt: skip
def test_what_a_tasks_own_policy_leaves_out_is_its_dags(of_dag):
    threshold = {"strategy": "threshold", "threshold": 100}
    assert _gated(**of_dag, own={"minimum_gain": "5%"}).policy == CarbonPolicy(
        "GB", "6h", "1h", minimum_gain="5%", **threshold
    )
    assert _gated(**of_dag, own={"zone": "DE", "max_delay": "1h"}).policy == CarbonPolicy("DE", "1h", "1h", **threshold)
    assert _gated(**of_dag, own={"strategy": "now"}).policy == CarbonPolicy("GB", "6h", "1h", strategy="now")
    assert not _gated(**of_dag, own={"strategy": "now"}).whole_run


def test_the_tag_that_switches_policies_off_does_so_wherever_they_are_said():
    whole, tags = {"zone": "GB", "max_delay": "6h"}, ["e2s:carbon", *POLICY]
    assert isinstance(_gated(own=whole), CarbonGate)
    for given in ({"params": whole, "own": {"zone": "DE"}}, {"own": whole}, {"tags": tags, "own": {"strategy": "now"}}):
        assert _gated(**given | {"tags": [*given.get("tags", ()), "e2s:no-carbon"]}) is None


def test_a_solution_that_a_task_alone_names_is_told_with_where_it_belongs(read):
    said = read(own={"solution": "delays", "stage": "training"})
    assert "t of d: The param e2s of a task says solution='delays'" in said
    assert "put it in the DAG's tags (e2s:solution=delays) or its params ({'e2s': {'solution': 'delays'}})" in said
    assert "solution='delays'" in read(["e2s:solution=another"], own={"solution": "delays"})
    assert "solution='delays'" in read(params={"solution": "another"}, own={"solution": "delays"})


def test_a_tag_and_a_param_that_name_two_solutions_contradict_each_other(read):
    said = read(["e2s:solution=a"], params={"solution": "b"})
    assert "The tag e2s:solution=a and the param e2s with solution='b' contradict each other" in said
    assert read(["e2s:solution=a"], params={"solution": "a"}) is None


def test_a_task_may_name_the_solution_of_its_dag(read):
    assert read(["e2s:solution=delays"], own={"solution": "delays"}) is None
    assert read(params={"solution": "delays"}, own={"solution": "delays", "stage": "training"}) is None
    assert read(params={"solution": "delays"}) is None


def test_where_it_is_switched_off_nothing_is_checked(read):
    assert read(["e2s:carbn"], own={"soluton": "x"}, auto="false") is None


def test_the_dag_that_is_shown_has_no_error(monkeypatch):
    from pathlib import Path

    source = (Path(__file__).parents[2] / "flows" / "flight_delays_dag.py").read_text()
    (line,) = [one for one in source.splitlines() if one.startswith("TAGS = ")]
    tags = line.removeprefix("TAGS = ").strip("[]").replace('"', "").split(", ")
    for tag in tags:
        spelling._check_tag(tag)
    spelling._check_that_policies_are_said(tags)


def test_the_tags_that_switch_a_policy_off_do():
    class Dag:
        tags = ("e2s:carbon", *POLICY)
        params = ()

    assert declared.policy(Dag.tags, {}).zone == "GB"
    assert declared.policy([*Dag.tags, "e2s:no-carbon"], {}) is None
    assert declared.waits(declared.told(Dag))
    Dag.tags = (*Dag.tags, "e2s:now")
    assert not declared.waits(declared.told(Dag))
