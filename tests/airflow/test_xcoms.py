"""What is handed over by XCom goes into what is made of it."""

import pytest

from e2s_tasks.core.records import Kind
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.ledger import Ledger, replay


@pytest.fixture(scope="module")
def edges(airflow):
    """The edges of a run, by the names and map indices of the task instances."""
    run_id = airflow.trigger("handed_over")
    assert airflow.wait("handed_over", run_id) == "success"
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    replay(airflow.home / "e2s" / "journal", ledger)
    run = ledger.run(dag_run_id("handed_over", run_id))
    told = {one.task_run_id: one.attributes["task_instance"] for one in run.spans if one.kind == Kind.ATTEMPT}
    names = {step: (one["task_id"], one["map_index"]) for step, one in told.items()}
    return {(names.get(one.upstream), names.get(one.downstream)) for one in run.edges}


@pytest.mark.parametrize("index", [0, 1])
def test_a_mapped_instance_was_handed_the_list_that_it_is_expanded_over(edges, index):
    assert (("numbers", -1), ("doubled", index)) in edges


@pytest.mark.parametrize("index", [0, 1])
def test_a_mapped_instance_was_handed_the_result_of_its_own_index(edges, index):
    assert (("doubled", index), ("squared", index)) in edges
    assert (("doubled", 1 - index), ("squared", index)) not in edges


@pytest.mark.parametrize("index", [0, 1])
def test_a_task_that_collects_was_handed_each_mapped_result(edges, index):
    assert (("squared", index), ("added", -1)) in edges


def test_an_argument_beside_a_mapped_one_was_handed_over_too(edges):
    assert (("one", -1), ("added", -1)) in edges


def test_what_a_task_pulls_was_handed_to_it(edges):
    assert (("one", -1), ("pulls", -1)) in edges


def test_what_a_template_pulls_was_handed_to_its_task(edges):
    assert (("one", -1), ("rendered", -1)) in edges


def test_no_edge_names_a_step_that_never_was(edges):
    assert all(upstream and downstream for upstream, downstream in edges)
