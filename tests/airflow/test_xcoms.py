"""What is handed over by XCom goes into what is made of it."""

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from e2s_tasks.core.records import Kind
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.ledger import Ledger, replay
from e2s_tasks.reporter import summarise_run


@pytest.fixture(scope="module")
def ran(airflow):
    """The ledger, and the id of a run in it."""
    run_id = airflow.trigger("handed_over")
    assert airflow.wait("handed_over", run_id) == "success"
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    replay(airflow.home / "e2s" / "journal", ledger)
    return ledger, dag_run_id("handed_over", run_id)


@pytest.fixture(scope="module")
def edges(ran):
    """The edges of the run, by the names and map indices of the task instances."""
    ledger, run_id = ran
    run = ledger.run(run_id)
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


@pytest.mark.parametrize("index", [0, 1])
def test_who_pulls_of_a_mapped_task_without_an_index_was_handed_the_results_of_all(edges, index):
    assert (("doubled", index), ("rendered_of_all", -1)) in edges
    assert (("group.inside", index), ("pulls_of_a_group", -1)) in edges


def test_who_pulls_of_one_index_was_handed_that_alone(edges):
    assert (("doubled", 1), ("pulls_one_of_many", -1)) in edges
    assert (("doubled", 0), ("pulls_one_of_many", -1)) not in edges


def test_what_a_task_asks_the_class_for_was_handed_to_it_too(edges):
    assert (("one", -1), ("asks_for_it", -1)) in edges


def test_who_branches_by_what_it_pulled_was_handed_it_and_made_its_asset(ran, edges):
    ledger, run_id = ran
    assert (("one", -1), ("decides", -1)) in edges
    assert "asset:/of a branch" in {one["uri"] for one in summarise_run(ledger, run_id)["artifacts"]}


@pytest.mark.parametrize("index", [0, 1])
def test_a_mapped_instance_that_is_given_all_of_another_mapped_task_was_handed_each(edges, index):
    assert {(("doubled", 0), ("sums", index)), (("doubled", 1), ("sums", index))} <= edges


@pytest.mark.parametrize("index", range(4))
def test_of_joined_lists_no_index_tells_whose_result_was_handed_over_so_that_all_were(edges, index):
    assert {(one, ("counts", index)) for one in (("more_numbers", -1), ("doubled", 0), ("doubled", 1))} <= edges


def test_what_is_pulled_asynchronously_was_handed_over_too(edges):
    if not hasattr(RuntimeTaskInstance, "axcom_pull"):
        pytest.skip("this Airflow has no asynchronous pull")
    assert (("one", -1), ("pulls_asynchronously", -1)) in edges


def test_what_is_made_of_a_result_of_another_run_is_a_lower_bound(ran):
    ledger, run_id = ran
    made = next(one for one in summarise_run(ledger, run_id)["artifacts"] if "another run" in one["uri"])
    assert made["fully_loaded_lower_bound"]
    assert any("xcom:/elsewhere" in reason for reason in made["fully_loaded_reasons"]), made


def test_no_edge_names_a_step_that_never_was(edges):
    assert all(upstream and downstream for upstream, downstream in edges)
