"""What the summary says in sentences."""

from dataclasses import replace

import pytest

from e2s_tasks.core.records import Kind, Status
from e2s_tasks.reporter import phrases
from e2s_tasks.reporter.summary import summarise
from tests.reporter.runs import NOON, root, run, span


@pytest.mark.parametrize(
    ("run_name", "shown"),
    [
        ("train large trees", "train: large trees"),
        ("train-large", "train: large"),
        ("train#2", "train: 2"),
        ("train/2026", "train: 2026"),
        ("training set", "train: training set"),
        ("trainer", "train: trainer"),
        ("restrain", "train: restrain"),
        ("train", "train"),
        ("train-", "train: train-"),
        ("train-3fa", "train"),
    ],
)
def test_a_step_s_own_name_is_cut_only_where_a_word_ends(run_name, shown):
    row = {"name": "train", "run_name": run_name, "spans": 1, "depth": 0}
    assert phrases.step_name(row) == shown


@pytest.mark.parametrize(
    ("name", "run_name", "shown"),
    [
        ("sub / one", "one-cbb", "sub / one"),
        ("sub / one", "one", "sub / one"),
        ("sub / one", "one large", "sub / one: large"),
        ("sub / one", "sub / one-cbb", "sub / one"),
        ("sub / one", "gone-cbb", "sub / one: gone-cbb"),
        ("sub / read / write", "read / write-cbb", "sub / read / write"),
        ("read / write", "read / write large", "read / write: large"),
        ("sub / one", "one[2]", "sub / one[2]"),
        ("one", "one[2]", "one[2]"),
    ],
)
def test_a_name_that_prefect_gave_is_left_out_in_a_subflow_too(name, run_name, shown):
    assert phrases.named(name, run_name) == shown


@pytest.mark.parametrize(
    ("tries", "told"),
    [
        ([1], "item,"),
        ([3], "item (3 attempts),"),
        ([1, 1], "item (2 task runs),"),
        ([1, 3, 1], "item (3 task runs, 5 attempts),"),
    ],
)
def test_task_runs_of_a_step_are_told_apart_from_attempts_of_one(tries, told):
    attempts = [(run_, number) for run_, count in enumerate(tries) for number in range(1, count + 1)]
    spans = [
        span(f"{run_} {number}", name="item", task_run_id=f"r{run_}", attempt=number, cpu_j=1.0)
        for run_, number in attempts
    ]
    assert f"100 % of it in {told}" in phrases.biggest(summarise(run(root(cpu_j=0.0), *spans)))


def cached(span_id, key):
    return span(span_id, status=Status.CACHED, result_key=key, started_at=NOON + 10, cpu_j=0.0)


def test_a_result_reused_from_another_run_says_what_that_avoided():
    summary = summarise(run(root(cpu_j=1.0), cached("c", "k")), lambda _: 120.0)
    assert phrases.cached(summary) == "1 cached task run avoided 120 J"


def test_a_result_reused_within_its_run_says_that_nothing_is_credited():
    summary = summarise(run(root(), span("m", result_key="k", cpu_j=5.0), cached("c", "k"), cached("d", "k")))
    assert phrases.cached(summary) == (
        "2 cached task runs reused what this run itself had made, so nothing is credited"
    )


def test_results_of_this_and_of_another_run_are_told_apart():
    made = span("m", result_key="k", cpu_j=5.0)
    summary = summarise(run(root(), made, cached("c", "k"), cached("d", "elsewhere")), lambda _: 120.0)
    avoided, here = phrases.cached(summary).split("; ")
    assert avoided == "1 cached task run avoided 120 J"
    assert here == "1 cached task run reused what this run itself had made, so nothing is credited"


def test_a_flow_that_failed_before_it_was_run_again_is_told():
    lives = [root(status=Status.FAILED, cpu_j=3.0), replace(root(cpu_j=4.0), id="again", started_at=NOON + 5)]
    assert phrases.lost(summarise(run(*lives))) == "the flow failed once and was run again"
    assert phrases.lost(summarise(run(lives[1]))) is None


def test_a_flow_inside_that_failed_is_told_beside_what_attempts_lost():
    spans = [
        root(cpu_j=1.0),
        span("sub", Kind.FLOW, "child", parent_id="root", status=Status.FAILED),
        span("x", parent_id="sub", status=Status.FAILED, cpu_j=7.0, attempt=1),
    ]
    said = ">= 7.00 J of it in attempts that did not succeed; the flow `child` inside it failed"
    assert phrases.lost(summarise(run(*spans))) == said
