"""Attempts that were suspended, and runs that live in an orchestrator, put together from what processes wrote down."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2s_tasks.core.records import (
    LAST_BEGAN,
    LOST,
    MOVED,
    STOPPED,
    TRY_ID,
    Kind,
    OutcomeRecord,
    ProcessRecord,
    SpanRecord,
    Status,
)
from e2s_tasks.core.steps import steps_of
from e2s_tasks.ledger import Ledger, replay
from e2s_tasks.reporter import summarise
from tests.ledger.journals import started

RUN = "5b6dff59-0000-4000-8000-000000000000"


def root(**fields):
    """A run that lives in an orchestrator's database: it names no process but itself."""
    given = {"seq": 0, "status": "running"} | fields
    return SpanRecord(
        id="root", process_id=RUN, run_id=RUN, flow_run_id=RUN, kind="flow", name="a-dag", started_at=0.0, **given
    )


def stretch(number, status="suspended", *, begin=None, joules=1.0, task="t", **fields):
    """A stretch of an attempt, in a process of its own, with the orchestration around it."""
    begin = 10.0 * number if begin is None else begin
    common = {"process_id": f"p{task}{number}", "run_id": RUN, "flow_run_id": RUN, "seq": 1, "ended_at": begin + 2.0}
    around = SpanRecord(
        id=f"around-{task}{number}", kind="orchestration", name="process", status="completed", started_at=begin - 0.5,
        cpu_j=0.5, **common,
    )  # fmt: skip
    given = {"task_run_id": f"run-of-{task}", "attempt": 1} | fields
    return around, SpanRecord(
        id=f"{task}{number}", kind="attempt", name=task, status=status, started_at=begin, parent_id=around.id,
        cpu_j=joules, **common, **given,
    )  # fmt: skip


@pytest.fixture
def of(ledger):
    def put(*spans):
        ledger.ingest(list(spans))
        return ledger.run(RUN)

    return put


def test_an_attempt_that_was_suspended_is_one_step_with_one_attempt_that_ended_as_its_last_stretch(of):
    run = of(root(), *stretch(0), *stretch(1), *stretch(2, "completed"))
    (step,) = steps_of(run).steps
    assert (step.attempts, step.status, step.energy.cpu) == (1, "completed", 3.0)


def test_a_stretch_that_nothing_has_followed_yet_leaves_the_attempt_suspended(of):
    run = of(root(), *stretch(0), *stretch(1))
    assert steps_of(run).steps[0].status == "suspended"


def test_what_an_attempt_does_after_it_waited_for_a_cleaner_grid_is_its_work_and_no_waiting(of):
    around, waiting = stretch(0)
    around.attributes = {MOVED: True}
    run = of(root(), around, waiting, *stretch(1), *stretch(2, "completed", joules=40.0))
    (step,) = steps_of(run).steps
    assert (step.attempts, step.status, step.energy.cpu) == (1, "completed", 41.0)
    summary = summarise(run)
    assert summary["waiting_j"] == 1.5  # the process that had it wait, and what it did for the attempt
    assert {row["kind"]: row["inclusive_j"] for row in summary["steps"]} == {
        "attempt": 41.0, "wait": 1.5, "orchestration": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("run", ["failed", "completed", "timed_out", "cancelled"])
def test_an_attempt_that_never_went_on_until_its_run_had_ended_was_cancelled_whatever_that_ended_as(of, run):
    run = of(root(seq=1, status=run, ended_at=99.0), *stretch(0), *stretch(1))
    assert {one.status for one in run.spans if one.kind == "attempt"} == {"cancelled"}


@pytest.mark.parametrize("next_try", [2, 1])  # the number is the same in a run that was deleted and made anew
@pytest.mark.parametrize("of_run", ["running", "failed"])
def test_an_attempt_that_was_cleared_while_it_was_suspended_was_cancelled_once_its_next_try_begins(
    of, of_run, next_try
):
    end = {} if of_run == "running" else {"seq": 1, "ended_at": 99.0}
    goes_on = stretch(2, "running", attempt=next_try, attributes={TRY_ID: "another"})
    run = of(root(status=of_run, **end), *stretch(0), *stretch(1), *goes_on, *stretch(3, task="u"))
    found = {one.id: one.status for one in run.spans if one.kind == "attempt"}
    still = "suspended" if of_run == "running" else "cancelled"
    assert found == {"t0": "cancelled", "t1": "cancelled", "t2": "running", "u3": still}


def test_an_attempt_that_was_cleared_while_it_was_suspended_was_cancelled_though_its_next_try_waits_for_a_cleaner_grid(
    of,
):
    around, waits = stretch(1, attempt=2)
    around.attributes = {MOVED: True}
    run = of(root(), *stretch(0), around, waits)
    assert {one.id: one.status for one in run.spans if one.kind == "attempt"}["t0"] == "cancelled"


def test_a_retry_after_a_suspended_attempt_is_another_attempt(of):
    run = of(root(), *stretch(0), *stretch(1, "failed"), *stretch(2, "completed", attempt=2))
    (step,) = steps_of(run).steps
    assert (step.attempts, step.status) == (2, "completed")
    assert {one.id: one.status for one in run.spans if one.kind == "attempt"} == {
        "t0": "failed", "t1": "failed", "t2": "completed",
    }  # fmt: skip


def test_in_a_run_that_was_made_anew_a_suspended_attempt_is_one_of_its_own_life(of):
    lives = [*stretch(0), *stretch(1, "failed"), *stretch(2), *stretch(3, "completed")]
    outcomes = [OutcomeRecord(f"o{number}", RUN, f"t{number}", 10.0 * number, "row", 10.0) for number in (1, 2)]
    run = of(root(), *lives, *outcomes)
    (step,) = steps_of(run).steps
    assert (step.attempts, step.status, step.energy.cpu) == (2, "completed", 4.0)
    assert {one.id: one.status for one in run.spans if one.kind == "attempt"} == {
        "t0": "failed", "t1": "failed", "t2": "completed", "t3": "completed",
    }  # fmt: skip
    assert summarise(run)["kpis"]["joules_per_row"]["denominator"] == 10.0


def tried(name):
    """What the stretches of one try have in common."""
    return {"attributes": {TRY_ID: name}}


@pytest.mark.parametrize("first", ["suspended", "crashed", "cancelled"])
def test_a_try_that_was_cut_short_is_no_part_of_the_one_of_the_same_number_that_came_after_it(of, first):
    lives = [*stretch(0, first, **tried("a")), *stretch(1, **tried("b")), *stretch(2, "completed", **tried("b"))]
    (step,) = steps_of(run := of(root(), *lives)).steps
    assert (step.attempts, step.status) == (2, "completed")
    assert {one.id: one.status for one in run.spans if one.kind == "attempt"} == {
        "t0": "cancelled" if first == "suspended" else first, "t1": "completed", "t2": "completed",
    }  # fmt: skip
    assert summarise(run)["unsuccessful_j"] == 1.0


def mark(status, *, at=40.0, task="t", **fields):
    """That somebody has marked a task instance, as the orchestrator's API tells it."""
    given = {"task_run_id": f"run-of-{task}", "attempt": 1} | fields
    return SpanRecord(
        id=f"mark-{at}", seq=0, process_id=RUN, run_id=RUN, flow_run_id=RUN, kind="mark", name=task, status=status,
        started_at=at, parent_id="root", **given,
    )  # fmt: skip


@pytest.mark.parametrize("run", ["running", "failed", "completed"])
@pytest.mark.parametrize("said", ["completed", "failed", "skipped"])
def test_an_attempt_that_is_marked_while_it_is_suspended_was_cancelled_whatever_becomes_of_its_run(of, run, said):
    end = {} if run == "running" else {"seq": 1, "ended_at": 99.0}
    found = of(root(status=run, **end), *stretch(0), *stretch(1), mark(said))
    assert {one.status for one in found.spans if one.kind == "attempt"} == {"cancelled"}
    (step,) = steps_of(found).steps
    assert (step.attempts, step.status, step.energy.cpu) == (1, "cancelled", 2.0)
    assert sum(row["inclusive_j"] for row in summarise(found)["steps"]) == 3.0  # with what was around it


@pytest.mark.parametrize("status", ["crashed", "skipped", "failed", "timed_out"])
def test_an_attempt_that_is_marked_while_it_works_and_ends_otherwise_was_cancelled(of, status):
    run = of(root(), *stretch(0, status), mark("completed", at=1.0))
    assert [one.status for one in run.spans if one.kind == "attempt"] == ["cancelled"]


@pytest.mark.parametrize(
    ("status", "said", "at"),
    [
        ("running", "failed", 1.0),
        ("completed", "failed", 1.0),  # its report was taken, so that the mark came after it
        ("skipped", "skipped", 1.0),
        ("failed", "failed", 1.0),
        ("crashed", "completed", 9.0),
        ("failed", "completed", 9.0),
    ],
)
def test_a_mark_changes_nothing_of_an_attempt_that_works_or_is_over_or_ended_so_by_itself(of, status, said, at):
    run = of(root(), *stretch(0, status), mark(said, at=at))
    assert [(one.kind, one.status) for one in run.spans if one.kind in {"attempt", "mark"}] == [("attempt", status)]


@pytest.mark.parametrize("run", ["running", "failed", "completed"])
def test_an_attempt_that_its_orchestrator_lost_while_it_was_suspended_has_failed_whatever_becomes_of_its_run(
    ledger, run
):
    end = {} if run == "running" else {"seq": 1, "ended_at": 99.0}
    ledger.ingest([root(status=run, **end), *stretch(0), *stretch(1), mark("failed", attributes={LOST: True})])
    for found in (ledger.run(RUN), *ledger.in_brief(ledger.period(-1.0))):
        assert {one.status for one in found.spans if one.kind == "attempt"} == {"failed"}


def test_an_attempt_that_its_orchestrator_lost_as_it_went_on_is_one_that_failed(of):
    run = of(root(), *stretch(0), mark("failed", at=9.0, attributes={LOST: True}), *stretch(1, "cancelled"))
    (step,) = steps_of(run).steps
    assert (step.attempts, step.status) == (1, "failed")


def test_an_attempt_whose_report_was_refused_has_failed_where_its_orchestrator_had_lost_it(of):
    run = of(root(), *stretch(0, "cancelled"), mark("failed", at=1.0, attributes={LOST: True}))
    assert [one.status for one in run.spans if one.kind == "attempt"] == ["failed"]


@pytest.mark.parametrize("status", ["cancelled", "suspended"])
def test_a_try_that_was_lost_while_its_process_had_it_wait_has_failed(of, status):
    first, attempt = stretch(0, status)
    first.attributes = {MOVED: True}
    run = of(root(), first, attempt, mark("failed", at=1.0, attributes={LOST: True}))
    assert [one.status for one in run.spans if one.kind == "attempt"] == ["failed"]


@pytest.mark.parametrize(("status", "said"), [("suspended", "suspended"), ("cancelled", "cancelled")])
def test_that_a_try_was_lost_says_nothing_of_the_one_of_the_same_number_that_came_after_it(of, status, said):
    lost = mark("failed", at=4.0, attributes={LOST: True})
    run = of(root(), *stretch(0, **tried("a")), lost, *stretch(5, status, **tried("b")))
    assert {one.id: one.status for one in run.spans if one.kind == "attempt"} == {"t0": "failed", "t5": said}


def test_an_attempt_that_ended_with_its_run_did_so_though_the_run_is_made_anew_for_another_task(of):
    first, second = ({"attributes": {LAST_BEGAN: began}} for began in (0.0, 60.0))
    ended = root(status="failed", seq=1, ended_at=50.0, **first)
    run = of(ended, *stretch(0, **first), *stretch(1, **first), root(seq=2, **second), *stretch(7, task="u", **second))
    found = {one.task_run_id: one.status for one in run.spans if one.kind == "attempt"}
    assert found == {"run-of-t": "cancelled", "run-of-u": "suspended"}


@pytest.mark.parametrize("status", ["running", "crashed", "skipped", "timed_out", "completed"])
def test_what_its_process_says_of_an_attempt_holds_though_its_orchestrator_lost_it(of, status):
    run = of(root(), *stretch(0, status), mark("failed", at=1.0, attributes={LOST: True}))
    assert [one.status for one in run.spans if one.kind == "attempt"] == [status]


def test_a_mark_says_nothing_of_another_task_another_try_or_the_same_one_of_a_later_life(of):
    run = of(root(), mark("failed", at=5.0), *stretch(1), mark("failed", at=15.0, task="u"),
             mark("failed", at=16.0, attempt=2))  # fmt: skip
    assert steps_of(run).steps[0].status == "suspended"


def test_a_mark_is_heard_by_who_sums_over_runs_too_and_is_still_there_when_inner_spans_are_folded(ledger):
    ledger.ingest([root(seq=1, status="failed", ended_at=99.0), *stretch(1, "skipped"), mark("completed", at=11.0)])
    ledger.prune(0.0)
    (run,) = ledger.in_brief(ledger.period(0.0))
    assert [one.status for one in run.spans if one.kind == "attempt"] == ["cancelled"]
    assert [row.ended_at for row in ledger.runs()] == [99.0]


def test_a_mark_is_none_of_the_spans_of_a_run(ledger):
    ledger.ingest([root(), *stretch(0), mark("failed")])
    assert [row.spans for row in ledger.runs()] == [3]
    assert ledger.flow_runs(to="arrow")["spans"].to_pylist() == [3]


def test_outcomes_of_all_stretches_of_a_successful_attempt_count(of):
    outcomes = [OutcomeRecord(f"o{number}", RUN, f"t{number}", 10.0 * number, "row", 10.0) for number in (0, 1)]
    summary = summarise(of(root(), *stretch(0), *stretch(1, "completed"), *outcomes))
    assert summary["kpis"]["joules_per_row"]["denominator"] == 20.0


def test_a_row_lasts_as_long_as_its_stretches_and_not_as_what_lay_between(of):
    summary = summarise(of(root(), *stretch(0), *stretch(1, "completed")))
    (row,) = [one for one in summary["steps"] if one["kind"] == "attempt"]
    assert (row["duration_s"], row["inclusive_j"], row["attempt"]) == (4.0, 2.0, 1)


def test_what_is_inside_a_later_stretch_is_inside_the_attempt(of):
    around, first = stretch(0)
    read = replace(first, id="read", kind="read", name="read x", parent_id="t1", status="completed", task_run_id=None,
                   attempt=None, started_at=11.0, process_id="pt1", cpu_j=0.25)  # fmt: skip
    run = of(root(), around, first, *stretch(1, "completed"), read)
    assert steps_of(run).steps[0].energy.cpu == 2.25
    assert [one["depth"] for one in summarise(run)["steps"]] == [0, 0]  # the attempt, and the orchestration


def test_what_an_orchestrators_process_did_around_an_attempt_is_orchestration(of):
    summary = summarise(of(root(), *stretch(0, "completed"), *stretch(1, "completed", task="u")))
    (row,) = [one for one in summary["steps"] if one["kind"] == "orchestration"]
    assert row["inclusive_j"] == 1.0
    assert summary["orchestration_j"] == 1.0


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("tuv"), st.integers(0, 50), st.integers(0, 100)), max_size=12, unique=True))
def test_every_joule_is_in_one_row_however_attempts_were_suspended(found):
    ledger = Ledger.open("sqlite://")
    spans = [
        one
        for number, (task, begin, joules) in enumerate(found)
        for one in stretch(number, begin=float(begin), joules=float(joules), task=task)
    ]
    ledger.ingest([root(), *spans])
    summary = summarise(ledger.run(RUN))
    rows = sum(one["inclusive_j"] or 0.0 for one in summary["steps"] if one["depth"] == 0)
    assert rows == pytest.approx(sum(one.cpu_j or 0.0 for one in spans))


def test_a_run_of_no_process_goes_on_when_the_process_that_wrote_it_down_dies(tmp_path, ledger):
    process = ProcessRecord("p", "host", "boot", 1, 1, 0.0, "dedicated")
    started(tmp_path, process).append(root(), replace(stretch(0, "running")[1], process_id="p"))
    replay(tmp_path, ledger, is_alive=lambda _: False)
    found = {one.id: one.status for one in ledger.as_written(RUN).spans}
    assert found == {"root": "running", "t0": "crashed"}


def test_who_was_told_to_stop_and_died_was_cancelled(tmp_path, ledger):
    process = ProcessRecord("p", "host", "boot", 1, 1, 0.0, "dedicated")
    told = replace(stretch(0, "running")[1], process_id="p", attributes={STOPPED: True})
    started(tmp_path, process).append(root(), told)
    replay(tmp_path, ledger, is_alive=lambda _: False)
    assert {one.status for one in ledger.as_written(RUN).spans if one.kind == Kind.ATTEMPT} == {Status.CANCELLED}


def test_the_end_of_a_run_of_no_process_is_told_by_whoever_knows_it(of):
    run = of(root(), root(seq=1, status="failed", ended_at=9.0), root(seq=0))
    assert [(one.status, one.ended_at) for one in run.spans] == [("failed", 9.0)]


def test_it_counts_for_no_process_whose_reads_nobody_knows(of):
    assert summarise(of(root(), *stretch(0, "completed")))["io"]["unknown"] == 1  # the attempt's


# -- what a process measures that measured work has started ----------------------------------------------------------


@pytest.mark.parametrize(
    ("process", "begin", "parent"),
    [
        ("child", 11.9, "t1"),
        ("child", 12.5, "around-t1"),
        ("child", 99.0, "root"),
        ("pt1", 99.0, "t1"),
    ],
)
def test_work_that_begins_after_the_span_that_started_its_process_is_under_what_was_open_around_it(
    of, process, begin, parent
):
    around, attempt = stretch(1, "completed")
    around = replace(around, ended_at=13.0)
    late = SpanRecord(
        id="late", kind="write", name="late", status="completed", started_at=begin, ended_at=begin + 1.0, seq=1,
        parent_id=attempt.id, process_id=process, run_id=RUN, flow_run_id=RUN,
    )  # fmt: skip
    run = of(root(), around, attempt, late)
    assert {one.id: one.parent_id for one in run.spans}["late"] == parent
