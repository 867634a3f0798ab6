"""A task run as the orchestrator's pages tell it: its attempts, from the run's own summary."""

import re
import sys
from dataclasses import replace
from html import escape

import pytest

from e2s_tasks.core.records import PEAK_MEMORY, Kind, SourceRecord, Status
from e2s_tasks.reporter import phrases, summarise
from e2s_tasks.reporter.html.task_run_page import render_nothing, render_task_run
from e2s_tasks.reporter.task_run import summarise_task_runs
from tests.reporter.runs import NOON, full_run, process, root, run, span
from tests.reporter.test_report_pages import EVIL


def found(records, *task_run_ids):
    return summarise_task_runs(summarise(records), records, task_run_ids)


def test_a_task_runs_attempts_are_the_rows_of_the_runs_summary():
    records = full_run()
    one = found(records, "build")
    rows = [row for row in summarise(records)["steps"] if row["name"] == "build_features" and row["depth"] == 0]
    assert [row["attempt"] for row in rows] == [1, 2]
    for attempt, row in zip(one["attempts"], rows, strict=True):
        assert {name: attempt[name] for name in row} == row
        assert attempt["energy_j"]["total"] == pytest.approx(row["inclusive_j"])
    assert one["inclusive_j"] == pytest.approx(sum(row["inclusive_j"] for row in rows))
    assert one["share"] == pytest.approx(one["inclusive_j"] / summarise(records)["energy_j"]["total"])
    assert one["bytes_written"] == 9_600_000
    assert [artifact["uri"] for artifact in one["artifacts"]] == ["file:///data/features.parquet"]


def test_an_attempt_rests_on_the_sources_of_its_own_process():
    records = full_run()
    records.processes.append(replace(process([SourceRecord("cpu", "RAPL", "measured")]), id="p2"))
    second = next(one for one in records.spans if one.id == "f2")
    second.process_id, second.dram_j, second.static_j = "p2", None, None
    inside = next(one for one in records.spans if one.id == "w1")
    inside.process_id, inside.storage_j = "p2", None
    first, second = found(records, "build")["attempts"]
    assert (phrases.rests_on(first), phrases.rests_on(second)) == ("partly measured, partly modelled", "measured")
    assert second["energy_j_range"]["total"] == [41.0, 41.0]


def test_the_memory_of_an_attempt_is_the_most_that_one_of_its_stretches_had():
    def stretch(span_id, start, status, peak, **fields):
        return span(
            span_id, started_at=NOON + start, name="train", attempt=1, task_run_id="t", cpu_j=1.0, status=status,
            attributes={PEAK_MEMORY: peak}, **fields,
        )  # fmt: skip

    records = run(root(cpu_j=0.0, ended_at=NOON + 60), stretch("a", 0, Status.COMPLETED, 100),
                  stretch("b", 50, Status.COMPLETED, 300, parent_id="a"))  # fmt: skip
    one = found(records, "t")
    assert [row["peak_memory_bytes"] for row in one["attempts"]] == [300]
    assert one["duration_s"] == 4.0  # seconds of its two stretches, without the time between them


def test_nothing_is_known_of_a_task_that_is_not_in_the_run():
    assert found(full_run(), "no such task")["attempts"] == []


def test_task_runs_come_in_the_order_in_which_they_are_asked_for():
    records = run(root(cpu_j=0.0), *(span(name, task_run_id=name, cpu_j=1.0, attempt=1) for name in "abc"))
    assert [one["name"] for one in found(records, "c", "a")["attempts"]] == ["c", "a"]


def test_every_figure_that_lacks_a_part_is_marked_as_a_lower_bound():
    killed = {"status": Status.CRASHED, "attributes": {"killed": True}, "cpu_j": 1000.0}
    records = run(root(cpu_j=500.0), span("a", attempt=1, task_run_id="t", **killed))
    page = render_task_run(found(records, "t"), "t", "run")
    assert "&gt;= 1.00 kJ" in page
    assert "1.00 kJ" not in re.sub("(&gt;=|at least) 1.00 kJ", "", page)
    assert "of &gt;= 1.50 kJ that the run used" in page


def test_the_page_says_so_far_while_an_attempt_goes_on():
    records = full_run()
    goes_on = next(one for one in records.spans if one.id == "f2")
    goes_on.status, goes_on.ended_at = Status.RUNNING, None
    assert "Energy so far" in render_task_run(found(records, "build"), "build", "run")
    assert "so far" not in render_task_run(found(full_run(), "build"), "build", "run")


def test_an_unknown_energy_is_told_with_where_to_look():
    records = run(root(), span("a", task_run_id="a", attempt=1), processes=[])
    page = render_task_run(found(records, "a"), "a", "run")
    assert "e2s doctor" in page
    assert "0 J" not in page


def test_names_are_no_markup():
    records = run(root(cpu_j=1.0), span("a", name=EVIL, task_run_id="a", attempt=1, cpu_j=1.0))
    for page in (render_task_run(found(records, "a"), EVIL, "run?a=<b>"), render_nothing(EVIL, "It has not begun", [])):
        assert "<script" not in page
        assert "\x1b" not in page
        assert "<b>" not in page


def test_without_matplotlib_the_page_tells_the_same_in_words(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    one = found(full_run(), "build")
    page = render_task_run(one, "build", "run")
    assert "<svg" not in page
    assert "pip install" in page
    for attempt in one["attempts"]:
        assert escape(f"try {attempt['attempt']}: {phrases.row_joules(attempt)}") in page


def test_a_flow_span_is_no_attempt():
    records = full_run()
    records.spans[0].task_run_id = "root"
    assert records.spans[0].kind == Kind.FLOW
    assert found(records, "root")["attempts"] == []
