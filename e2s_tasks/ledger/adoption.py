"""Which span is the parent of one that was recorded in another process than what it belongs to."""

from collections import defaultdict
from collections.abc import Mapping

from e2s_tasks.core.records import LOST, TRY_ID, CallRecord, Kind, SpanRecord, Status

PLAIN = {Kind.SPAN, Kind.READ, Kind.WRITE, Kind.MOVE}
# Ends of which a process tells that nobody has checked with the orchestrator.
UNCHECKED = {Status.CRASHED, Status.FAILED, Status.TIMED_OUT, Status.SKIPPED}
OVER = {Status.COMPLETED, Status.FAILED, Status.TIMED_OUT, Status.SKIPPED}  # what comes after that is of a new life


def adopt(spans: list[SpanRecord], run_id: str, calls: Mapping[str, CallRecord]) -> None:
    """Give what was recorded in another process than its flow's the flow span as its parent.

    Work goes to the last life of its flow run that had begun; a subflow to the attempt or flow run that started it, as
    far as that is known, else to the root flow run's. An attempt that was suspended in between is its first stretch.
    """
    _end_what_was_marked(spans)
    _join_stretches(spans)
    lives: dict[str | None, list[SpanRecord]] = defaultdict(list)
    for one in spans:
        if one.kind == Kind.FLOW and one.flow_run_id is not None:
            lives[one.flow_run_id].append(one)
        elif one.kind == Kind.ATTEMPT and one.task_run_id is not None:
            lives[one.task_run_id].append(one)
    for one in spans:
        if one.parent_id is not None:
            continue
        started = calls.get(one.flow_run_id or "") if one.kind == Kind.FLOW and one.flow_run_id != run_id else None
        known = (started.task_run_id, started.caller) if started is not None else ()
        parents = next((lives[home] for home in (*known, _home(one, run_id)) if home in lives), None)
        if parents:
            begun = [parent for parent in parents if parent.started_at <= one.started_at]
            one.parent_id = (begun[-1] if begun else parents[0]).id
    if len({one.process_id for one in spans}) > 1:
        _lift_the_late(spans)


def _lift_the_late(spans: list[SpanRecord]) -> None:
    """Put work of a process that began after the end of the span that started this under what was open around that."""
    by_id = {one.id: one for one in spans}
    for one in spans:
        around, seen = by_id.get(one.parent_id or "") if one.kind in PLAIN else None, {one.id}
        while around is not None and around.id not in seen and around.process_id != one.process_id:
            seen.add(around.id)
            one.parent_id = around.id
            over = around.ended_at is not None and around.ended_at <= one.started_at
            around = by_id.get(around.parent_id or "") if over else None


def _end_what_was_marked(spans: list[SpanRecord]) -> None:
    """Let attempts that somebody ended by hand, suspended or at work, have been cancelled; drop the marks.

    What its process says holds of one that is still at work, that has ended as it was marked, or that has succeeded:
    that report was taken, so that the mark came later. One that its orchestrator lost while it was suspended has
    failed: it was to go on, and no process of it was heard of.
    """
    marks = [one for one in spans if one.kind == Kind.MARK]
    if not marks:
        return
    spans[:] = [one for one in spans if one.kind != Kind.MARK]
    waits = _waits(spans)
    tries: dict[tuple[str | None, int | None], list[SpanRecord]] = defaultdict(list)
    for one in spans:
        if one.kind == Kind.ATTEMPT and one.parent_id not in waits:
            tries[one.task_run_id, one.attempt].append(one)
    for mark in marks:
        begun = [one for one in tries[mark.task_run_id, mark.attempt] if one.started_at <= mark.started_at]
        if begun and _is_suspended(begun[-1]):
            begun[-1].status = Status.FAILED if LOST in mark.attributes else Status.CANCELLED
        elif begun and LOST not in mark.attributes and _was_marked_before(begun[-1], mark):
            begun[-1].status = Status.CANCELLED


def _was_marked_before(one: SpanRecord, mark: SpanRecord) -> bool:
    meanwhile = one.ended_at is not None and mark.started_at <= one.ended_at
    return meanwhile and one.status in UNCHECKED and one.status != mark.status


def _join_stretches(spans: list[SpanRecord]) -> None:
    """Put the later stretches of an attempt that was suspended inside its first, and let all have ended as the last.

    One that has not gone on when another try of the same work has begun, or its orchestrator has ended the run, was
    ended by somebody, be it with the run: it was cancelled, whatever the run has ended as.
    Each stretch keeps its own time, so that what its joules met in the grid is not spread over the wait.
    """
    if not any(_is_suspended(one) for one in spans):
        return
    ends = [one.status for one in spans if one.kind == Kind.FLOW and one.is_of_no_process]
    is_over = bool(ends) and ends[-1] != Status.RUNNING
    newest = {one.task_run_id: one for one in spans if one.kind == Kind.ATTEMPT}
    for stretches in _tries(spans):
        last = stretches[-1]
        goes_on = newest[last.task_run_id] is last and not is_over
        status = Status.CANCELLED if last.status == Status.SUSPENDED and not goes_on else last.status
        for one in stretches:
            one.status = status
        for later in stretches[1:]:
            later.parent_id = stretches[0].id


def _tries(spans: list[SpanRecord]) -> list[list[SpanRecord]]:
    """The stretches of each try that was suspended, by its number: several where the same work has begun anew."""
    waits = _waits(spans)
    suspended = {(one.task_run_id, one.attempt) for one in spans if _is_suspended(one) and one.parent_id not in waits}
    found: dict[tuple[str | None, int | None], list[list[SpanRecord]]] = defaultdict(list)
    for one in spans:
        key = (one.task_run_id, one.attempt)
        if one.kind != Kind.ATTEMPT or key not in suspended or one.parent_id in waits:
            continue
        last = found[key][-1][-1] if found[key] else None
        if last is None or last.status in OVER or last.attributes.get(TRY_ID) != one.attributes.get(TRY_ID):
            found[key].append([])
        found[key][-1].append(one)
    return [stretches for lives in found.values() for stretches in lives]


def _waits(spans: list[SpanRecord]) -> set[str]:
    """What only waited: a process that had its task wait did none of its work."""
    return {one.id for one in spans if one.is_waiting}


def _is_suspended(one: SpanRecord) -> bool:
    return one.kind == Kind.ATTEMPT and one.status == Status.SUSPENDED and one.task_run_id is not None


def _home(orphan: SpanRecord, run_id: str) -> str | None:
    """The flow run that a span without a parent belongs under; None for the root flow run's own spans."""
    if orphan.kind != Kind.FLOW:
        return orphan.flow_run_id
    return run_id if orphan.flow_run_id != run_id else None
