"""Watching what is pulled changes no call, and names every instance whose result it may have been."""

import inspect
import warnings
from itertools import product
from types import SimpleNamespace

import pytest
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.execution_time import xcom

from e2s_tasks.integrations.airflow import pulls
from e2s_tasks.integrations.airflow.identity import task_instance_id
from e2s_tasks.integrations.airflow.pulls import Pull
from e2s_tasks.integrations.airflow.xcoms import edges_of
from e2s_tasks.recorder.guard import MeteringWarning

WHO = {"dag_id": "d", "run_id": "r", "task_id": "t"}


@pytest.fixture
def watched(monkeypatch):
    """Has a class be the XCom backend of this process, and what it is asked for be noted."""

    def put(backend):
        monkeypatch.setattr(xcom, "XCom", backend)
        pulls.watch()
        pulls.taken()
        return backend

    return put


class Static(BaseXCom):
    @staticmethod
    def get_one(*, key, dag_id, task_id, run_id, map_index=None, include_prior_dates=False):
        return map_index


class Positional(BaseXCom):
    @classmethod
    def get_all(cls, key, dag_id, task_id, run_id, include_prior_dates=False):
        return [cls, key]


class Plain(BaseXCom):
    def get_one(key, **where):  # noqa: N805 - called on the class
        return where.get("map_index")


class HasOneKey(BaseXCom):
    @classmethod
    def get_one(cls, *, dag_id, task_id, run_id):
        return 1


class Raises(BaseXCom):
    @classmethod
    def get_one(cls, **where):
        raise LookupError(where["task_id"])


class Mixin:
    @classmethod
    def get_one(cls, *args, **where):
        return cls


class Inherits(Mixin, Static):
    pass


class HandsOn(Static):
    @classmethod
    def get_one(cls, *args, **where):
        return super().get_one(*args, **where)


def test_a_static_method_of_a_backend_is_called_as_before(watched):
    assert watched(Static).get_one(key="k", **WHO, map_index=3) == 3
    assert pulls.taken() == {Pull(**WHO, key="k", index=3)}


def test_a_method_with_positional_arguments_is_called_as_before(watched):
    assert watched(Positional).get_all("k", "d", "t", "r") == [Positional, "k"]
    assert pulls.taken() == {Pull(**WHO, key="k", count=2)}


def test_a_plain_function_of_a_backend_is_called_as_before(watched):
    assert watched(Plain).get_one("k", **WHO, map_index=0) == 0
    assert pulls.taken() == {Pull(**WHO, key="k", index=0)}


def test_a_backend_that_knows_no_keys_is_watched_too(watched):
    assert watched(HasOneKey).get_one(**WHO) == 1
    assert pulls.taken() == {Pull(**WHO, key=None, index=-1)}


def test_a_method_of_a_class_beside_the_backend_is_called_with_the_class_that_was_asked(watched):
    assert watched(Inherits).get_one(key="k", **WHO) is Inherits
    assert pulls.taken() == {Pull(**WHO, key="k", index=-1)}


def test_who_hands_on_what_it_is_asked_for_is_noted_once(watched):
    assert watched(HandsOn).get_one(key="k", **WHO, map_index=1) == 1
    assert pulls.taken() == {Pull(**WHO, key="k", index=1)}


def test_what_a_backend_raises_reaches_who_asked_and_is_no_pull(watched):
    with pytest.raises(LookupError, match="t"):
        watched(Raises).get_one(key="k", **WHO)
    assert pulls.taken() == set()


@pytest.mark.parametrize("wrong", [{}, {"nonsense": 1}, {"key": "k"}])
def test_a_call_that_is_wrong_fails_as_before(watched, wrong):
    backend = watched(Static)
    with pytest.raises(TypeError, match="get_one"):
        backend.get_one(**wrong)


def test_who_tells_nothing_by_name_is_called_without_a_warning(watched):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert watched(Inherits).get_one("k", "d", "t", "r") is Inherits


def test_nothing_found_is_no_pull_and_what_was_found_before_is_from_an_earlier_run(watched):
    watched(Static).get_one(key="k", **WHO)
    assert pulls.taken() == set()
    Static.get_one(key="k", **WHO, map_index=2, include_prior_dates=True)
    assert pulls.taken() == {Pull(**WHO, key="k", index=2, earlier=True)}


def test_watching_again_changes_nothing_and_kinds_of_methods_stay(watched):
    before = vars(watched(Static))["get_one"]
    pulls.watch()
    assert vars(Static)["get_one"] is before
    assert isinstance(before, staticmethod)
    assert isinstance(vars(watched(Positional))["get_all"], classmethod)
    assert inspect.isfunction(vars(watched(Plain))["get_one"])


STATES = ("success", "returned nothing", "skipped", "upstream_failed")
SLICES = [pulls.ALL, (1, None, None), (None, None, -1), (-2, None, None)]
ELEMENTS = [(at, at + 1 or None, None) for at in (-1, 0, 1)]


def _downstream(states):
    """A task instance after one of a mapped task with so many instances of these states."""
    told = {f"up_{index}": "success" if state in STATES[:2] else state for index, state in enumerate(states)}
    task = SimpleNamespace(is_mapped=True)
    return SimpleNamespace(
        dag_id="d", run_id="r", task_id="down", map_index=-1,
        task=SimpleNamespace(dag=SimpleNamespace(task_dict={"up": task})),
        get_ti_count=lambda **_: len(states),
        get_task_states=lambda **_: {"r": told},
    )  # fmt: skip


@pytest.mark.parametrize("part", [*SLICES, *ELEMENTS])
def test_every_result_of_a_list_has_its_edge_and_no_other_has_one_where_all_that_succeeded_have_a_result(part):
    steps = {task_instance_id("d", "r", "up", index): index for index in range(4)}
    for states in product(STATES, repeat=4):
        there = [index for index, state in enumerate(states) if state == "success"]
        pull = Pull("d", "r", "up", "return_value", part=part, count=len(there))
        found = {steps[upstream] for upstream, _ in edges_of(_downstream(states), [pull])}
        assert found >= set(there[slice(*part)])
        assert "upstream_failed" not in {states[index] for index in found}
        assert "returned nothing" in states or found == set(there[slice(*part)])


@pytest.mark.filterwarnings("ignore::e2s_tasks.recorder.guard.MeteringWarning")  # outside measured work
def test_of_what_may_be_from_an_earlier_run_only_an_instance_that_has_run_in_this_one_has_an_edge():
    for states in product(STATES, repeat=2):
        pull = Pull("d", "r", "up", "return_value", index=1, earlier=True)
        upstream = {one for one, _ in edges_of(_downstream(states), [pull])}
        ran = states[1] != "upstream_failed"
        assert upstream == ({task_instance_id("d", "r", "up", 1)} if ran else set())


def test_a_pull_of_which_airflow_does_not_answer_costs_no_other_its_edge():
    def does_not_answer(**_):
        raise RuntimeError("the API server is away")

    here = _downstream(["success"])
    here.get_ti_count = does_not_answer
    of_one, of_all = Pull("d", "r", "other", "return_value", index=-1), Pull("d", "r", "up", "return_value", count=1)
    with pytest.warns(MeteringWarning, match="following an XCom of the task up"):
        edges = edges_of(here, [of_all, of_one])
    assert edges == [(task_instance_id("d", "r", "other", -1), task_instance_id("d", "r", "down", -1))]
