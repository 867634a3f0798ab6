"""What is told of work that goes on is what its run's summary would say of it, and no large run takes long to tell."""

import sys
from dataclasses import replace
from types import SimpleNamespace

from hypothesis import given, settings

from e2s_tasks.core.records import VersionRecord
from e2s_tasks.core.upstream import Upstream
from e2s_tasks.reporter import summarise
from e2s_tasks.reporter.made import summarise_made
from e2s_tasks.reporter.tree import outermost, tree
from tests.lineage.ledgers import ledgers, loading
from tests.reporter.runs import NOON, RUN, decision, process, root, span
from tests.reporter.runs import run as run_of


def _ledger(runs):
    return SimpleNamespace(run={one.run_id: one for one in runs}.get, loader=lambda: loading(runs))


@settings(max_examples=60, deadline=None)
@given(ledgers())
def test_the_figures_of_what_an_attempt_made_are_those_of_the_summary(runs):
    for run in runs:
        summary = summarise(run, upstream=Upstream(loading(runs)))
        for version in run.versions:
            made = summarise_made(_ledger(runs), run.run_id, version.span_id, {version.uri})
            [row] = made["artifacts"]
            spans = tree(run.spans, run.run_id)
            own = {one.id for one in spans.within(outermost(spans.by_id[version.span_id], spans))}
            whole = [one for one in summary["artifacts"] if one["uri"] == version.uri and one["span_id"] in own][-1]
            assert row == {name: whole[name] for name in row}
            of_spans = {one["id"]: one for one in summary["spans"]}
            assert {one["id"] for one in made["spans"]} == own
            assert all(one == {name: of_spans[one["id"]][name] for name in one} for one in made["spans"])


def _lines(count):
    """How many lines are executed to summarise a run of so many tasks, each with a process and artifact of its own."""
    tasks = [
        span(f"t{number}", process_id=f"p{number}", task_run_id=f"t{number}", cpu_j=1.0, attributes={"gaps": ["gpu"]})
        for number in range(count)
    ]
    slots = [[NOON + at, NOON + at + 1.0, 100.0 + at] for at in range(3)]
    run = run_of(
        root(), *tasks,
        processes=[replace(process(), id=f"p{number}") for number in range(count)],
        versions=[VersionRecord(f"v{one.id}", f"asset:/{one.id}", one.id, RUN, NOON + 3) for one in tasks],
        decisions=[decision(plan={"rung": "service", "slots": slots})],
    )  # fmt: skip
    lines, before = 0, sys.gettrace()

    def trace(frame, event, value):
        nonlocal lines
        lines += event == "line"
        return trace

    sys.settrace(trace)
    try:
        summarise(run)
    finally:
        sys.settrace(before)
    return lines


def test_a_run_of_four_times_as_many_tasks_is_four_times_the_work_to_summarise():
    assert _lines(400) < 4.5 * _lines(100)
