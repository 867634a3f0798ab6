"""What is handed over by XCom goes into what is made of it."""

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from daemons import Airflow

from e2s_tasks.core.records import Kind
from e2s_tasks.integrations.airflow.identity import dag_run_id
from e2s_tasks.ledger import Ledger, replay
from e2s_tasks.reporter import summarise_run


def _ledger(airflow):
    ledger = Ledger.open(f"sqlite:///{airflow.home / 'e2s' / 'ledger.db'}")
    replay(airflow.home / "e2s" / "journal", ledger)
    return ledger


def _ran(airflow, dag_id, conf=None):
    """The ledger, and the id of a run in it."""
    run_id = airflow.trigger(dag_id, conf)
    assert airflow.wait(dag_id, run_id) == "success"
    return _ledger(airflow), dag_run_id(dag_id, run_id)


def _edges(ledger, run_id):
    """The edges of a run, by the names and map indices of the task instances."""
    run = ledger.run(run_id)
    told = {one.task_run_id: one.attributes["task_instance"] for one in run.spans if one.kind == Kind.ATTEMPT}
    names = {step: (one["task_id"], one["map_index"]) for step, one in told.items()}
    return {(names.get(one.upstream), names.get(one.downstream)) for one in run.edges}


def _sources(edges, task_id, index=-1):
    """Whose results went into a task instance."""
    return {upstream for upstream, downstream in edges if downstream == (task_id, index)}


def _pulled_inputs(ledger, run_id):
    """The results of other runs that make the run's only artifact a lower bound."""
    [made] = summarise_run(ledger, run_id)["artifacts"]
    return {reason for reason in made["fully_loaded_reasons"] if "xcom:/" in reason}


@pytest.fixture(scope="module")
def ran(airflow):
    """The ledger, and the id of a run in it."""
    elsewhere = airflow.trigger("elsewhere")
    assert airflow.wait("elsewhere", elsewhere) == "success"
    return _ran(airflow, "handed_over", {"elsewhere": elsewhere})


@pytest.fixture(scope="module")
def edges(ran):
    """The edges of a run in which results are handed over in every way."""
    return _edges(*ran)


@pytest.fixture(scope="module")
def mapped(airflow):
    """The edges of a run whose mapped tasks get what Airflow picks for them."""
    return _edges(*_ran(airflow, "mapped"))


@pytest.fixture(scope="module")
def in_vain(airflow):
    """The ledger, and the id of a run whose tasks pull what is not there."""
    return _ran(airflow, "in_vain")


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
def test_of_joined_lists_each_instance_was_handed_its_own_element_and_the_list_that_the_others_are_counted_by(
    edges, index
):
    element = {("doubled", index - 2)} if index > 1 else set()
    assert _sources(edges, "counts", index) == {("more_numbers", -1)} | element


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


@pytest.mark.parametrize("index", range(6))
def test_of_a_product_of_two_mapped_tasks_each_instance_was_handed_one_of_each(mapped, index):
    assert _sources(mapped, "cells", index) == {("rows", index // 3), ("columns", index % 3)}


@pytest.mark.parametrize("index", [0, 1])
def test_an_instance_that_returned_nothing_moves_the_results_of_those_after_it(mapped, index):
    sources = _sources(mapped, "after", index)
    assert sources == {("some", index), ("some", index + 1)}  # which of them returned something Airflow does not tell


@pytest.mark.parametrize("index", [0, 1])
def test_a_skipped_instance_has_no_result_so_that_who_comes_after_it_was_handed_the_next(mapped, index):
    assert _sources(mapped, "after_a_skip", index) == {("unless_skipped", index + 1)}


@pytest.mark.parametrize(("index", "source"), [(0, "cheap"), (1, "dear")])
def test_of_a_written_list_of_results_each_instance_was_handed_its_own(mapped, index, source):
    assert _sources(mapped, "literal", index) == {(source, -1)}


@pytest.mark.parametrize("index", [0, 1])
def test_keywords_come_from_who_returned_their_list(mapped, index):
    assert _sources(mapped, "keywords", index) == {("pairs", -1)}


@pytest.mark.parametrize("index", range(5))
def test_of_joined_mapped_tasks_each_instance_was_handed_one_result(mapped, index):
    assert _sources(mapped, "of_joined", index) == {("rows", index) if index < 2 else ("columns", index - 2)}


@pytest.mark.parametrize("index", [0, 1])
def test_of_zipped_mapped_tasks_each_instance_was_handed_a_pair(mapped, index):
    assert _sources(mapped, "of_zipped", index) == {("rows", index), ("columns", index)}


@pytest.mark.parametrize("index", [0, 1])
def test_in_a_mapped_group_all_of_an_outer_task_and_ones_own_of_the_inner_was_handed_over(mapped, index):
    assert _sources(mapped, "group.first", index) == {("rows", index), *(("columns", other) for other in range(3))}
    assert _sources(mapped, "group.second", index) == {("group.first", index)}


def test_who_collects_what_a_mapped_group_made_was_handed_each(mapped):
    assert _sources(mapped, "collects") == {("group.second", 0), ("group.second", 1)}


def test_who_is_given_the_results_of_a_mapped_task_was_handed_each_whether_it_reads_it_or_not(mapped):
    assert _sources(mapped, "does_not_look") == {("columns", 0), ("columns", 1), ("columns", 2)}


def test_of_several_instances_that_are_asked_for_those_that_have_a_result_handed_it_over(mapped):
    assert _sources(mapped, "takes_the_first") == {("rows", 0)}


def test_no_edge_of_a_mapped_task_names_a_step_that_never_was(mapped):
    assert all(upstream and downstream for upstream, downstream in mapped)


def test_what_was_pulled_in_vain_is_no_edge_and_makes_no_lower_bound(in_vain):
    assert _edges(*in_vain) == {(("there", -1), ("pulls_in_vain", -1))}
    assert _pulled_inputs(*in_vain) == set()


def test_what_an_earlier_run_has_left_is_an_input_and_no_edge_from_who_comes_later(airflow):
    runs = [_ran(airflow, "with_a_watermark") for _ in range(2)]
    assert [_edges(*run) for run in runs] == [set(), set()]
    first, second = (_pulled_inputs(*run) for run in runs)
    assert (first, len(second)) == (set(), 2)


def test_what_a_callback_pulls_goes_into_no_task_that_follows_in_the_same_process(tmp_path):
    alone = Airflow(tmp_path)  # its daemons are not needed
    alone.run("db", "migrate")
    try:
        alone.run("dags", "test", "called_back")
    except AssertionError as error:
        if "ServerResponseError" in str(error):
            pytest.skip("`dags test` of this Airflow fails whether measured or not")
        raise
    ledger = _ledger(alone)
    run_id = ledger.find_run()
    assert {one.name for one in ledger.run(run_id).spans} >= {"there", "calls_back", "cheap"}
    assert _edges(ledger, run_id) == set()
