"""What is said of a run's end by who knows it, where its processes could not tell."""

from e2s_tasks.core.records import ProcessRecord, RunRecords, Status
from e2s_tasks.ledger.endings import endings, goes_on

CRASHED, RUNNING = {"status": "crashed"}, {"status": "running", "ended_at": None}
HERE = ProcessRecord("p", "h", "b", 1, 2, 3.0, "dedicated")


def ended_so(spans, ended, *, lives=False):
    run = RunRecords("run-1", processes=[HERE], spans=spans)
    return {one.id: (str(one.status), one.seq) for one in endings(run, ended, lambda _: lives)}


def test_of_a_cancelled_run_what_looks_crashed_was_cancelled_with_it(flow, span):
    spans = [flow("run-1", **CRASHED), span("done"), span("a", at=1.0, **CRASHED), span("r", "read", at=1.0, **RUNNING)]
    expected = {"flow-run-1": ("cancelled", 2), "a": ("cancelled", 2), "r": ("cancelled", 2)}
    assert ended_so(spans, Status.CANCELLED) == expected


def test_what_runs_in_a_process_that_lives_is_left_to_it(flow, span):
    spans = [flow("run-1", **CRASHED), span("a", **RUNNING)]
    assert ended_so(spans, Status.CANCELLED, lives=True) == {"flow-run-1": ("cancelled", 2)}
    run = RunRecords("run-1", processes=[HERE], spans=spans)
    assert goes_on(run, lambda _: True)
    assert not goes_on(run, lambda _: False)


def test_an_earlier_life_and_an_attempt_that_was_repeated_have_crashed_all_the_same(flow, span):
    spans = [
        flow("run-1", id="first", **CRASHED),
        span("early", at=0.5, **CRASHED),
        flow("run-1", at=1.0, id="second", **CRASHED),
        span("one", at=2.0, task_run_id="t", attempt=1, **CRASHED),
        span("inside", "span", at=2.1, parent_id="one", **CRASHED),
        span("two", at=3.0, task_run_id="t", attempt=2, **CRASHED),
    ]
    assert ended_so(spans, Status.CANCELLED) == {"second": ("cancelled", 2), "two": ("cancelled", 2)}


def test_a_run_that_completed_all_the_same_is_completed_and_its_attempts_are_as_they_were_seen(flow, span):
    spans = [flow("run-1", **CRASHED), span("a", at=1.0, **CRASHED)]
    assert ended_so(spans, Status.COMPLETED) == {"flow-run-1": ("completed", 2)}


def test_what_its_process_told_is_never_changed(flow, span):
    spans = [flow("run-1", status="timed_out"), span("a", status="failed")]
    assert ended_so(spans, Status.CANCELLED) == {}


def test_the_ledger_takes_an_ending_and_keeps_who_started_what(ledger, flow, span):
    ledger.ingest([HERE, flow("run-1", **CRASHED), span("a", at=1.0, **CRASHED)])
    ledger.ingest(endings(ledger.as_written("run-1"), Status.CANCELLED, lambda _: False))
    assert {one.id: one.status for one in ledger.run("run-1").spans} == {"flow-run-1": "cancelled", "a": "cancelled"}
    assert [one.parent_id for one in ledger.as_written("run-1").spans] == [None, None]
